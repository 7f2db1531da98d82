/* test/bare/privilege.c: between privilege levels in long mode: SYSCALL, SYSENTER, call gates, far RET, IRET, IST,
 * compatibility mode. Sections: Intel SDM vol. 3 unless named otherwise.
 */
#include "lib/bare.h"

#define PA(p) ((uint64_t)(uintptr_t)(p))
enum { STAR = 0xc0000081, LSTAR, CSTAR, FMASK, FS_BASE = 0xc0000100, GS_BASE, KERNEL_GS };

/* ---- SYSCALL and SYSRET: vol. 2
 * ---------------------------------------------------------------------------------------- */

/* The kernel side: ends the test with int $0x80, all registers as SYSCALL left them. */
__asm__(".pushsection .text\n"
        "syscall_end: int $0x80\n"
        "syscall_back: sysretq\n"
        "syscall_back32: sysretl\n"
        ".popsection\n");
extern char syscall_end[], syscall_back[], syscall_back32[];
CODE(do_syscall, "pushq $0x40ed7\npopfq\n" AT(do_syscall) "syscall" NEXT(
                     do_syscall) "pushfq\npop %rbx\nmov %cs, %eax\nmov %ss, %edx\nint $0x80")
CODE(do_syscall32, ".code32\n mov $1, %eax\n" AT(do_syscall32) "syscall\n.code64")
CODE(sysret_bad, "mov $0x800000000000, %rcx\n" AT(sysret_bad) "sysretq")
CODE(sysret_flags,
     "lea 1f(%rip), %rcx\nmov $0x3ffad7 | 0x10000, %r11\nand $~0x100, %r11\nsysretq\n1: pushfq\npop %rax\nint $0x80")
CODE(sysret_if, "lea 1f(%rip), %rcx\nmov $0x202, %r11\nsysretq\n1: mov %cs, %eax\nmov %ss, %edx\nint $0x80")
CODE(sysret_to32, "lea 1f(%rip), %rcx\nbts $40, %rcx\nmov $2, %r11\nsysretl\n.code32\n1: mov %cs, %eax\nmov %ss, "
                  "%edx\nint $0x80\n.code64")

static void syscalls(void)
{
    catch_user(do_syscall, NULL);
    CHECK_CAUGHT("#UD: SYSCALL without EFER.SCE", UD, 0, do_syscall_at);
    wrmsr(EFER, rdmsr(EFER) | 1);
    wrmsr(STAR, (uint64_t)KCODE << 32 | (uint64_t)(USER32 & ~3u) << 48);
    wrmsr(LSTAR, PA(syscall_end));
    wrmsr(FMASK, F_DF | F_CF | F_TF);
    catch_user(do_syscall, NULL);
    CHECK_CAUGHT("SYSCALL enters at LSTAR", EXIT, 0, PA(syscall_end) + 2);
    CHECK("SYSCALL: CS and SS from STAR", caught.cs << 16 | caught.ss, KCODE << 16 | KDATA);
    CHECK("SYSCALL: RCX is the return address", caught.cx, PA(do_syscall_next));
    CHECK("SYSCALL: R11 holds RFLAGS", caught.r11, 0x40ed7 & ~F_IF);
    CHECK("SYSCALL: RFLAGS masked by FMASK", caught.flags & (F_DF | F_CF | F_ZF | F_SF | F_OF | F_AC),
          F_ZF | F_SF | F_OF | F_AC);
    CHECK("SYSCALL: RSP unchanged", caught.sp, (uintptr_t)user_stack_top - 64);
    wrmsr(LSTAR, PA(syscall_back));
    catch_user(do_syscall, NULL);
    CHECK("SYSRET: CS and SS", caught.vector == EXIT ? caught.ax << 16 | caught.dx : caught.vector,
          USER64 << 16 | USERDS);
    CHECK("SYSRET: RFLAGS from R11", caught.bx, 0x40ed7 & ~F_IF);
    catch_user32(do_syscall32, NULL);
    CHECK_CAUGHT("#UD: SYSCALL in compatibility mode (Intel)", UD, 0, do_syscall32_at);
    catch_call(sysret_bad, NULL);
    CHECK_CAUGHT("#GP: SYSRET to a non-canonical address, at CPL 0", GP, 0, sysret_bad_at);
    CHECK("its CS", caught.cs, KCODE);
    catch_call(sysret_flags, NULL); /* RFLAGS = R11 & 3C7FD7H | 2: no RF, no VM */
    CHECK("SYSRET: RF and VM are not loaded", caught.ax, (0x3ffad7u & ~0x100u & 0x3c7fd7) | 2);
    catch_call(sysret_if, NULL);
    CHECK("SYSRET from CPL 0: CS and SS", caught.ax << 16 | caught.dx, USER64 << 16 | USERDS);
    CHECK("SYSRET: IF from R11", caught.flags & F_IF, F_IF);
    catch_call(sysret_to32, NULL);
    CHECK("SYSRET to 32-bit code: CS, SS, EIP of 32 bits", caught.ax << 16 | caught.dx, USER32 << 16 | USERDS);
    CHECK("and it is 32-bit code", caught.cs, USER32);
}

/* ---- SYSENTER and SYSEXIT: vol. 2, 5.8.7
 * --------------------------------------------------------------------------------- */

CODE(do_sysenter, "pushq $0x40ad7\npopfq\n" AT(do_sysenter) "sysenter")
CODE(do_sysexit, "lea 1f(%rip), %rdx\nlea -64(%rdi), %rcx\nsysexitq\n1: mov %cs, %eax\nmov %ss, %edx\nint $0x80")
CODE(do_sysexit_bad, "mov $0x800000000000, %rcx\nlea 1f(%rip), %rdx\n" AT(do_sysexit_bad) "sysexitq\n1: nop")
static void sysenter(void)
{
    wrmsr(0x174, 0);
    catch_user(do_sysenter, NULL);
    CHECK_CAUGHT("#GP: SYSENTER with a null SYSENTER_CS", GP, 0, do_sysenter_at);
    wrmsr(0x174, KCODE);
    wrmsr(0x175, (uintptr_t)kernel_stack_top - 256);
    wrmsr(0x176, PA(syscall_end));
    catch_user(do_sysenter, NULL);
    CHECK_CAUGHT("SYSENTER", EXIT, 0, PA(syscall_end) + 2);
    CHECK("SYSENTER: CS and SS", caught.cs << 16 | caught.ss, KCODE << 16 | KDATA);
    CHECK("SYSENTER: RSP", caught.sp, (uintptr_t)kernel_stack_top - 256);
    CHECK("SYSENTER: other flags stay", caught.flags & (F_CF | F_ZF | F_AC | F_IF), F_CF | F_ZF | F_AC);
    catch_call(do_sysexit, user_stack_top);
    CHECK("SYSEXIT to 64-bit: CS and SS", caught.ax << 16 | caught.dx, ((KCODE + 32) | 3) << 16 | (KCODE + 40) | 3);
    CHECK("SYSEXIT: RSP", caught.sp, (uintptr_t)user_stack_top - 64);
    catch_call(do_sysexit_bad, NULL);
    CHECK_CAUGHT("#GP: SYSEXIT with a non-canonical RSP", GP, 0, do_sysexit_bad_at);
    catch_user(do_sysexit, user_stack_top);
    CHECK("#GP: SYSEXIT at CPL 3", caught.vector, GP);
}

/* ---- call gates, far transfers: 5.8.3 to 5.8.6
 * ------------------------------------------------------------------------------ */

struct far_pointer {
    uint64_t offset;
    uint16_t selector;
} __attribute__((packed)) far_pointer;
CODE(call_far, "movabs $far_pointer, %rax\n" AT(call_far) "rex.w lcall *(%rax)" NEXT(call_far) "int $0x80")
CODE(jmp_far, "movabs $far_pointer, %rax\n" AT(jmp_far) "rex.w ljmp *(%rax)")
CODE(gate_target, "int $0x80\nlretq")
CODE(gate_return, "mov %cs, %ebx\nmov %ss, %ebp\nlretq")
CODE(lret_outer, "push $0x2b\npush %rdi\npush $0x33\nlea 1f(%rip), %rax\npush %rax\n" AT(
                     lret_outer) "lretq\n1: mov %cs, %eax\nmov %ds, %edx\nint $0x80")

static void gate(unsigned index, unsigned selector, uint64_t target, unsigned type_dpl)
{
    gdt[index] =
        (target & 0xffff) | (uint64_t)selector << 16 | (uint64_t)type_dpl << 40 | (target >> 16 & 0xffff) << 48;
    gdt[index + 1] = target >> 32;
}

static void gates(void)
{
    unsigned g = FREE / 8;
    far_pointer.selector = FREE | 3;
    gate(g, KCODE, PA(gate_target), 0xec);
    catch_user(call_far, NULL);
    CHECK_CAUGHT("call gate from CPL 3 to CPL 0", EXIT, 0, PA(gate_target) + 2);
    CHECK("call gate: CS, SS (null with RPL 0: 5.8.5.1)", caught.cs << 16 | caught.ss, KCODE << 16);
    CHECK("call gate: stack from TSS.RSP0, 4 words on it", caught.sp, (uintptr_t)kernel_stack_top - 32);
    uint64_t *sp = (uint64_t *)caught.sp;
    CHECK("call gate: return address", sp[0], PA(call_far_next));
    CHECK("call gate: CS, SS pushed", sp[1] << 16 | sp[3], USER64 << 16 | USERDS);
    CHECK("call gate: RSP pushed", sp[2], (uintptr_t)user_stack_top - 64);
    gate(g, KCODE, PA(gate_return), 0xec);
    catch_user(call_far, NULL);
    CHECK_CAUGHT("call gate and far RET", EXIT, 0, PA(call_far_next) + 2);
    CHECK("far RET: CS, SS, RSP as before", caught.cs << 16 | caught.ss, USER64 << 16 | USERDS);
    CHECK("far RET: RSP", caught.sp, (uintptr_t)user_stack_top - 64);
    CHECK("in between CPL was 0", caught.bx, KCODE);
    catch_user(jmp_far, NULL);
    CHECK_CAUGHT("#GP: JMP through a gate to a more privileged segment", GP, KCODE, jmp_far_at);
    gate(g, KCODE, PA(gate_target), 0x8c);
    catch_user(call_far, NULL);
    CHECK_CAUGHT("#GP: gate of DPL 0 from CPL 3", GP, FREE, call_far_at);
    gate(g, KCODE, PA(gate_target), 0x6c);
    catch_user(call_far, NULL);
    CHECK_CAUGHT("#NP: gate not present", NP, FREE, call_far_at);
    gate(g, KCODE32, PA(gate_target), 0xec);
    catch_user(call_far, NULL);
    CHECK_CAUGHT("#GP: gate to 32-bit code", GP, KCODE32, call_far_at);
    gate(g, KDATA, PA(gate_target), 0xec);
    catch_user(call_far, NULL);
    CHECK_CAUGHT("#GP: gate to data", GP, KDATA, call_far_at);
    gate(g, KCODE, PA(gate_target), 0xec);
    gdt[g + 1] |= 0x1full << 40;
    catch_user(call_far, NULL);
    CHECK_CAUGHT("#GP: gate whose upper half has a type (5.8.3.1)", GP, FREE, call_far_at);
    gate(g, KCODE, PA(gate_target), 0xec);
    catch_call(call_far, NULL);
    CHECK_CAUGHT("call gate at CPL 0", EXIT, 0, PA(gate_target) + 2);
    far_pointer.selector = TSS;
    catch_call(call_far, NULL);
    CHECK_CAUGHT("#GP: CALL of a TSS in long mode (7.2.2)", GP, TSS, call_far_at);
    far_pointer.selector = 0;
    catch_call(call_far, NULL);
    CHECK_CAUGHT("#GP: CALL of a null selector", GP, 0, call_far_at);
    far_pointer.selector = USER64;
    catch_call(call_far, NULL);
    CHECK_CAUGHT("#GP: CALL of a less privileged segment", GP, USER64 & ~3u, call_far_at);
    gdt[g] = descriptor(0, 0xfffff, 0x9f, 10); /* conforming, DPL 0 */
    far_pointer.selector = FREE;
    far_pointer.offset = PA(gate_target);
    catch_user(call_far, NULL);
    CHECK_CAUGHT("CALL of a conforming segment of DPL 0 from CPL 3", EXIT, 0, PA(gate_target) + 2);
    CHECK("stays at CPL 3", caught.cs, FREE | 3);
    far_pointer.offset = 0x800000000000;
    catch_call(jmp_far, NULL);
    CHECK_CAUGHT("#GP: far JMP to a non-canonical address", GP, 0, jmp_far_at);
    catch_call(lret_outer, user_stack_top - 64);
    CHECK("far RET to CPL 3", caught.ax, USER64);
    CHECK("data segments of DPL 0 become null (vol. 2, RET)", caught.dx, 0);
}

/* ---- IRET: vol. 2
 * ------------------------------------------------------------------------------------------------------------- */

struct iret {
    uint64_t ip, cs, flags, sp, ss;
};
CODE(do_iret, "pushq 32(%rdi); pushq 24(%rdi); pushq 16(%rdi); pushq 8(%rdi); pushq (%rdi)\n" AT(do_iret) "iretq")
CODE(iret_landing, "pushfq\npop %rax\nmov %ss, %edx\nint $0x80")
CODE(iret_landing32, ".code32\nmov %ss, %edx\nmov $0x12345678, %eax\n.byte 0x48\nint $0x80\n.code64")
CODE(iret_nt, "pushfq\norl $0x4000, (%rsp)\npopfq\n" AT(iret_nt) "iretq")

static void irets(void)
{
    static uint64_t stack[64];
    struct iret good = {PA(iret_landing), KCODE, F_CF | 2, PA(stack + 60), KDATA}, i = good;
    catch_call(do_iret, &i);
    CHECK_CAUGHT("IRETQ to the same level", EXIT, 0, PA(iret_landing) + 6);
    CHECK("RSP and SS are loaded too (6.14.3)", caught.sp, PA(stack + 60));
    CHECK("flags", caught.ax & 0xfff, F_CF | 2);
    i.ss = 0;
    catch_call(do_iret, &i);
    CHECK("null SS to CPL 0 in 64-bit mode", caught.vector == EXIT ? caught.dx : caught.vector, 0);
    i.ss = 3;
    catch_call(do_iret, &i);
    CHECK_CAUGHT("#GP: SS with another RPL", GP, 0, do_iret_at);
    i = good;
    i.cs = USER64, i.ss = USERDS, i.flags = 0x3202;
    catch_call(do_iret, &i);
    CHECK("IRETQ to CPL 3: CS", caught.vector == EXIT ? caught.cs : caught.vector, USER64);
    CHECK("IOPL and IF are loaded at CPL 0", caught.ax & 0x3200, 0x3200);
    i.flags = 2;
    i.ss = KDATA;
    catch_call(do_iret, &i);
    CHECK_CAUGHT("#GP: SS of DPL 0 for CPL 3", GP, KDATA, do_iret_at);
    i.ss = 3;
    catch_call(do_iret, &i);
    CHECK_CAUGHT("#GP: null SS for CPL 3", GP, 0, do_iret_at);
    i = good;
    i.ip = 0x800000000000;
    catch_call(do_iret, &i);
    CHECK_CAUGHT("#GP: non-canonical RIP", GP, 0, do_iret_at);
    CHECK("nothing changed", caught.ss, KDATA);
    i = good;
    i.cs = KDATA;
    catch_call(do_iret, &i);
    CHECK_CAUGHT("#GP: CS is data", GP, KDATA, do_iret_at);
    i.cs = 0;
    catch_call(do_iret, &i);
    CHECK_CAUGHT("#GP: CS null", GP, 0, do_iret_at);
    i.cs = USER64 & ~3u;
    catch_call(do_iret, &i);
    CHECK_CAUGHT("#GP: RPL differs from DPL", GP, USER64 & ~3u, do_iret_at);
    i = good;
    i.cs = KCODE;
    i.ip = PA(iret_landing);
    i.flags = 2 | F_ID | F_AC | F_VM;
    catch_call(do_iret, &i);
    CHECK("VM in the image is ignored in long mode",
          caught.vector == EXIT ? caught.ax & (F_VM | F_ID | F_AC) : caught.vector, F_ID | F_AC);
    i.flags = 2;
    i.cs = USER64;
    i.ss = USERDS;
    catch_user(do_iret, &i);
    CHECK("IRETQ at CPL 3 to CPL 3", caught.vector, EXIT);
    i.flags = 0x3202;
    catch_user(do_iret, &i);
    CHECK("it cannot set IOPL or IF", caught.vector == EXIT ? caught.ax & 0x3200 : 1, 0);
    i.cs = KCODE;
    catch_user(do_iret, &i);
    CHECK_CAUGHT("#GP: IRETQ at CPL 3 to CPL 0", GP, KCODE, do_iret_at);
    i = good;
    i.cs = USER32, i.ss = USERDS, i.ip = PA(iret_landing32),
    i.sp = 0x7fff12340000ull | (uintptr_t)(user_stack_top - 64);
    i.sp = (uintptr_t)(user_stack_top - 64);
    catch_call(do_iret, &i);
    CHECK("IRETQ to compatibility mode", caught.vector == EXIT ? caught.cs : caught.vector, USER32);
    CHECK("48H is DEC EAX there", caught.ax, 0x12345677);
    catch_call(iret_nt, NULL);
    CHECK_CAUGHT("#GP: IRET with NT in long mode", GP, 0, iret_nt_at);
}

/* ---- IST, segment bases
 * ---------------------------------------------------------------------------------------------------------- */

CODE(int50, "int $0x50")
CODE(load_fs, "mov %edi, %fs")
CODE(read_fs, "mov %fs:0, %rax\nint $0x80")
CODE(read_gs, "mov %gs:0, %rax\nint $0x80")
CODE(user_gs, "mov %gs:0, %rax\nmov %gs, %edx\nint $0x80")
CODE(swap_read, "swapgs\nmov %gs:0, %rax\nswapgs\nint $0x80")
CODE(fs_far, AT(fs_far) "mov %fs:(%rdi), %rax")
CODE(wrfsbase_insn, AT(wrfsbase_insn) "wrfsbase %rdi")

static void ist_and_bases(void)
{
    uint64_t old = idt[0x50][0];
    static uint64_t own[32] __attribute__((aligned(16)));
    uint64_t top = PA(own + 32) - 8; /* not aligned: the processor aligns it (6.14.2) */
    memcpy(tss64 + 36, &top, 8);
    idt[0x50][0] = old | 1ull << 32;
    catch_call(int50, NULL);
    CHECK("IST1 at CPL 0: the frame is on it, aligned", caught_at, (top & ~15ull) - 48);
    CHECK("IST1 at CPL 0: SS pushed is the old one", caught.ss, KDATA);
    idt[0x50][0] = old;
    static uint64_t a = 0xaaaa, b = 0xbbbb;
    wrmsr(FS_BASE, PA(&a));
    wrmsr(GS_BASE, PA(&a));
    wrmsr(KERNEL_GS, PA(&b));
    catch_user(read_fs, NULL);
    CHECK("FS base in user mode", caught.ax, 0xaaaa);
    catch_call(swap_read, NULL);
    CHECK("SWAPGS", caught.ax, 0xbbbb);
    catch_call(read_gs, NULL);
    CHECK("and back", caught.ax, 0xaaaa);
    __asm__ volatile("mov %0, %%gs" : : "r"(KDATA));
    wrmsr(GS_BASE, PA(&b));
    catch_user(user_gs, NULL);
    CHECK("IRET to CPL 3: GS of DPL 0 becomes null (vol. 2, IRET)", caught.dx, 0);
    CHECK("and keeps its base", caught.ax, 0xbbbb);
    catch_call(fs_far, (void *)(0x800000000000ull - PA(&a)));
    CHECK_CAUGHT("#GP: FS base + offset non-canonical", GP, 0, fs_far_at);
    catch_call(load_fs, (void *)KDATA);
    CHECK("MOV FS loads the descriptor's base", rdmsr(FS_BASE), 0);
    catch_call(wrfsbase_insn, (void *)PA(&a));
    CHECK_CAUGHT("#UD: WRFSBASE without CR4.FSGSBASE", UD, 0, wrfsbase_insn_at);
    if (cpuid(7, 0).b & 1) {
        WRITE_REG(cr4, READ_REG(cr4) | CR4_FSGSBASE);
        catch_user(wrfsbase_insn, (void *)PA(&b));
        CHECK("WRFSBASE at CPL 3", rdmsr(FS_BASE), PA(&b));
        catch_user(wrfsbase_insn, (void *)(1ull << 63));
        CHECK_CAUGHT("#GP: WRFSBASE non-canonical", GP, 0, wrfsbase_insn_at);
        WRITE_REG(cr4, READ_REG(cr4) & ~(uintptr_t)CR4_FSGSBASE);
    }
}

/* ---- compatibility mode
 * ---------------------------------------------------------------------------------------------------------- */

CODE(compat_wrap,
     ".code32\nmov $0xfffffffc, %ebx\nmov $0, %eax\n1: mov 8(%ebx), %ecx\nmov %cs, %eax\nint $0x80\n.code64")
CODE(compat_bound, ".code32\nsub $8, %esp\nmovl $5, (%esp)\nmovl $9, 4(%esp)\nmov $10, %eax\n" AT(
                       compat_bound) "bound %eax, (%esp)\n.code64")
CODE(compat_into, ".code32\nmov $0x7fffffff, %eax\ninc %eax\ninto" NEXT(compat_into) "nop\n.code64")
CODE(compat_upper, ".code32\nmov $0x9abcdef0, %eax\nmov %eax, %ebx\nint $0x80\n.code64")

static void compatibility(void)
{
    catch_user32(compat_wrap, NULL); /* vol. 1, 3.3.7: effective addresses are 32 bits: 4 is read */
    CHECK("32-bit addresses wrap", caught.vector == EXIT ? caught.ax : caught.vector, USER32);
    catch_user32(compat_bound, NULL);
    CHECK_CAUGHT("#BR: BOUND", BR, 0, compat_bound_at);
    catch_user32(compat_into, NULL);
    CHECK_CAUGHT("#OF: INTO", OF, 0, compat_into_next);
    catch_user32(compat_upper, NULL);
    CHECK("32-bit results are zero-extended", caught.ax, 0x9abcdef0);
    CHECK("RSP pushed from compatibility mode", caught.sp, (uintptr_t)user_stack_top - 64);
}

void test_main(void)
{
    syscalls();
    sysenter();
    gates();
    irets();
    ist_and_bases();
    compatibility();
}
