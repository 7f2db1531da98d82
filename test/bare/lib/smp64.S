# test/bare/lib/smp64.S: where other processors start: from real mode at smp_at (a copy below 1 MB, see smp64.c) to smp_enter, on a stack of their own.

    .set AT, 0x8000                     # SMP_AT in smp64.c
    .section .rodata
    .globl smp_trampoline, smp_trampoline_end
    .balign 16
    .code16
smp_trampoline:
    cli
    cld
    xor %ax, %ax
    mov %ax, %ds
    lgdtl smp_gdt_pointer - smp_trampoline + AT
    mov $0x11, %eax                     # ET PE
    mov %eax, %cr0
    ljmpl $0x18, $(1f - smp_trampoline + AT)
    .code32
1:  mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $0x620, %eax                    # as start64.S
    mov %eax, %cr4
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    mov $0x900, %eax
    xor %edx, %edx
    wrmsr
    mov $0x80010033, %eax
    mov %eax, %cr0
    ljmp $0x08, $smp_start64
    .balign 4
smp_gdt_pointer:
    .word 64 * 8 - 1
    .long gdt
smp_trampoline_end:

    .text
    .code64
smp_start64:
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov $1, %edi
    lock xadd %edi, smp_counted(%rip)   # numbers in the order of arrival
    mov %edi, %eax
    shl $14, %rax
    lea smp_stacks(%rip), %rsp
    add %rax, %rsp
    lidt smp_idt_pointer(%rip)
    call smp_enter
1:  hlt
    jmp 1b
