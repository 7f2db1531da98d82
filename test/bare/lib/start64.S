# test/bare/lib/start64.S: multiboot entry in 32-bit mode, to long mode, to test_main; exception stubs; the catch mechanism (see bare.h).
#
# Memory: image from 1 MB.  The first 4 GB map to themselves by 2 MB pages, P W U, so that code at CPL 3 can run anywhere.

    .section .multiboot, "a"
    .balign 4
    .long 0x1badb002, 0, -0x1badb002

    .text
    .code32
    .globl _start
_start:
    cli
    cld
    mov $boot_stack_top, %esp
    mov %ebx, boot_info
    mov $pml4, %edi
    mov $pdpt + 7, %eax
    mov %eax, (%edi)
    mov $pdpt, %edi
    mov $pds + 7, %eax
    mov $4, %ecx
1:  mov %eax, (%edi)
    add $8, %edi
    add $4096, %eax
    loop 1b
    mov $pds, %edi
    mov $0x87, %eax
    mov $2048, %ecx
1:  mov %eax, (%edi)
    add $8, %edi
    add $0x200000, %eax
    loop 1b
    mov $0x620, %eax                    # PAE, OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    mov $0x900, %eax                    # LME, NXE
    xor %edx, %edx
    wrmsr
    mov $0x80010033, %eax               # PG WP NE ET MP PE
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $0x08, $start64

    .code64
start64:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    lea boot_stack_top(%rip), %rsp
    call runtime_init
    call test_main
    call finish

# ---- exception stubs: 16 bytes each ---------------------------------------------------------------------------------------
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
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, %rdi
    cld
    lea trap(%rip), %rax
    and $~15, %rsp
    mov %rdi, %rbx
    call *%rax
    mov %rbx, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rbp
    pop %rbx
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq

# ---- catch -------------------------------------------------------------------------------------------------------------
    .globl catch_run, catch_return
# bool catch_run(fn rdi, arg rsi, cs edx, ss ecx, stack r8): stack 0: at CPL 0, here
catch_run:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, catch_sp(%rip)
    test %r8, %r8
    jnz 1f
    mov %rdi, %rax
    mov %rsi, %rdi
    sub $8, %rsp
    call *%rax
    xor %eax, %eax
    jmp catch_return_value
1:  mov %ecx, %ds                       # so that data segments are what CPL 3 has
    mov %ecx, %es
    push %rcx
    push %r8
    push $0x2
    push %rdx
    push %rdi
    mov %rsi, %rdi
    iretq
catch_return:                           # jumped to by trap()
    mov $1, %eax
catch_return_value:
    mov catch_sp(%rip), %rsp
    mov $0x10, %ecx
    mov %ecx, %ds
    mov %ecx, %es
    mov %ecx, %ss
    push $2
    popf
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .globl user_exit
user_exit:
    int $0x80

    .data
    .balign 16
    .globl gdt, gdt_pointer
gdt:
    .quad 0
    .quad 0x00af9b000000ffff            # 08 kernel code, 64-bit
    .quad 0x00cf93000000ffff            # 10 kernel data
    .quad 0x00cf9b000000ffff            # 18 kernel code, 32-bit
    .quad 0x00cffb000000ffff            # 20 user code, 32-bit
    .quad 0x00cff3000000ffff            # 28 user data
    .quad 0x00affb000000ffff            # 30 user code, 64-bit
    .quad 0x000f9b000000ffff            # 38 code, 16-bit, limit FFFFFH bytes
    .quad 0x000f93000000ffff            # 40 data, 16-bit
    .fill 55, 8, 0
gdt_pointer:
    .word 64 * 8 - 1
    .quad gdt

    .bss
    .balign 4096
    .globl pml4, pdpt, pds
pml4: .skip 4096
pdpt: .skip 4096
pds:  .skip 16384
    .skip 16384
boot_stack_top:
    .skip 16384
    .globl kernel_stack_top, user_stack, user_stack_top, catch_stack_top
kernel_stack_top:                       # TSS.RSP0
    .skip 8192
catch_stack_top:                        # for IST tests and double faults
user_stack:
    .skip 8192
user_stack_top:
catch_sp: .skip 8
    .globl boot_info
boot_info: .skip 8                      # where the multiboot information is
