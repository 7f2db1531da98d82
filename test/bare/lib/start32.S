# test/bare/lib/start32.S: the 32-bit runtime: protected mode, paging off; exception stubs; the catch mechanism (see bare.h).

    .section .multiboot, "a"
    .balign 4
    .long 0x1badb002, 0, -0x1badb002

    .text
    .globl _start
_start:
    cli
    cld
    mov $boot_stack_top, %esp
    lgdt gdt_pointer
    ljmp $0x08, $1f
1:  mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    lldt %ax
    mov $0x600, %eax                    # OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $0x00010033, %eax               # WP NE ET MP PE
    mov %eax, %cr0
    call runtime_init
    call test_main
    call finish

    .globl stub_table
    .balign 16
stub_table:
vector = 0
    .rept 256
    .balign 16
    .if (vector != 8) && ((vector < 10) || (vector > 14)) && (vector != 17)
    push $0
    .endif
    push $vector
    jmp trap_entry
vector = vector + 1
    .endr

trap_entry:
    pusha
    push %ds
    push %es
    push %fs
    push %gs
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    cld
    mov %esp, %eax
    push %eax
    call trap
    add $4, %esp
    pop %gs
    pop %fs
    pop %es
    pop %ds
    popa
    add $8, %esp
    iret

    .globl catch_run, catch_return
# bool catch_run(fn, arg, cs, ss, stack): stack 0: at CPL 0, here
catch_run:
    push %ebx
    push %ebp
    push %esi
    push %edi
    mov %esp, catch_sp
    mov 20(%esp), %eax                  # fn
    mov 24(%esp), %ecx                  # arg
    mov 28(%esp), %edx                  # cs
    mov 32(%esp), %ebx                  # ss
    mov 36(%esp), %esi                  # stack
    test %esi, %esi
    jnz 1f
    push %ecx
    call *%eax
    xor %eax, %eax
    jmp catch_return_value
1:  mov %ecx, 4(%esi)                   # argument and return address on the user's stack
    movl $user_exit, (%esi)
    mov %ebx, %ds
    mov %ebx, %es
    push %ebx
    push %esi
    push $2
    push %edx
    push %eax
    iret
catch_return:
    mov $1, %eax
catch_return_value:
    mov $0x10, %ecx
    mov %ecx, %ds
    mov %ecx, %es
    mov %ecx, %ss
    mov catch_sp, %esp
    push $2
    popf
    pop %edi
    pop %esi
    pop %ebp
    pop %ebx
    ret

    .globl user_exit
user_exit:
    int $0x80

    .data
    .balign 16
    .globl gdt, gdt_pointer
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            # 08 kernel code
    .quad 0x00cf93000000ffff            # 10 kernel data
    .quad 0x00cf9b000000ffff            # 18 kernel code
    .quad 0x00cffb000000ffff            # 20 user code
    .quad 0x00cff3000000ffff            # 28 user data
    .quad 0x00cffb000000ffff            # 30 user code
    .quad 0x00009b000000ffff            # 38 code, 16-bit, 64 KB
    .quad 0x000093000000ffff            # 40 data, 16-bit, 64 KB
    .fill 55, 8, 0
gdt_pointer:
    .word 64 * 8 - 1
    .long gdt

    .bss
    .balign 4096
    .skip 16384
boot_stack_top:
    .skip 8192
    .globl kernel_stack_top, user_stack, user_stack_top, catch_stack_top
kernel_stack_top:                       # TSS.ESP0
    .skip 8192
catch_stack_top:
user_stack:
    .skip 8192
user_stack_top:
catch_sp: .skip 4
