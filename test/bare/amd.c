/* test/bare/amd.c: what AMD's processors do and Intel's do not, under `-cpu max,vendor=AuthenticAMD,+cr8legacy`.
 * Sections: AMD APM vol. 3 unless named otherwise.
 */
#include "lib/bare.h"

#define PA(p) ((uint64_t)(uintptr_t)(p))
enum { STAR = 0xc0000081, LSTAR, CSTAR, FMASK };

__asm__(".pushsection .text\n"
        "enter_long: int $0x80\n"
        "enter_compat: int $0x80\n"
        ".popsection\n");
extern char enter_long[], enter_compat[];

/* ---- SYSCALL and SYSRET in compatibility mode: SYSCALL, SYSRET ---- */

CODE(do_syscall, AT(do_syscall) "syscall")
CODE(do_syscall32, ".code32\nmov $0x55, %ebx\n" AT(do_syscall32) "syscall" NEXT(do_syscall32) "nop\n.code64")
CODE(sysret_far_away, "mov $0x800000000000, %rcx\nmov $0x202, %r11\n" AT(sysret_far_away) "sysretq")

CODE(sysret_null_ss,
     "xor %eax, %eax\nmov %eax, %ss\nlea sysret_null_ss_user(%rip), %rcx\nmov $2, %r11\nsysretl\n.code32\n"
     "sysret_null_ss_user: mov %ss, %ebx\n" AT(sysret_null_ss) "push %eax\n.code64")

static void syscalls(void)
{
    wrmsr(EFER, rdmsr(EFER) | 1);
    wrmsr(STAR, (uint64_t)KCODE << 32 | (uint64_t)(USER32 & ~3u) << 48 | PA(enter_long));
    wrmsr(LSTAR, PA(enter_long));
    wrmsr(CSTAR, PA(enter_compat));
    wrmsr(FMASK, F_IF | F_DF);
    catch_user(do_syscall, NULL);
    CHECK_CAUGHT("SYSCALL in 64-bit mode enters at LSTAR", EXIT, 0, PA(enter_long) + 2);
    catch_user32(do_syscall32, NULL);
    CHECK_CAUGHT("SYSCALL in compatibility mode enters at CSTAR", EXIT, 0, PA(enter_compat) + 2);
    CHECK("it enters 64-bit code at CPL 0", caught.cs << 16 | caught.ss, KCODE << 16 | KDATA);
    CHECK("RCX is the next EIP", caught.cx, PA(do_syscall32_next));
    CHECK("RBX is as it was", caught.bx, 0x55);
    catch_call(sysret_far_away, NULL);
    CHECK_CAUGHT("SYSRET to a non-canonical address: #GP there", GP, 0, 0x800000000000);
    CHECK("and at CPL 3", caught.cs & 3, 3);
    catch_call(sysret_null_ss, NULL);
    CHECK_CAUGHT("SYSRET leaves a null SS unusable: #SS by PUSH in compatibility mode", SS, 0, sysret_null_ss_at);
    CHECK("but changes its selector", caught.bx & 0xffff, ((USER32 & ~3u) + 8) | 3);
    wrmsr(EFER, rdmsr(EFER) & ~1ull);
    catch_user32(do_syscall32, NULL);
    CHECK_CAUGHT("#UD: SYSCALL without EFER.SCE", UD, 0, do_syscall32_at);
}

/* ---- SYSENTER and SYSEXIT: "invalid in long mode" ---- */

CODE(do_sysenter, AT(do_sysenter) "sysenter")
CODE(do_sysenter32, ".code32\n" AT(do_sysenter32) "sysenter\n.code64")
CODE(do_sysexit, AT(do_sysexit) "sysexitq")

static void sysenters(void)
{
    wrmsr(0x174, KCODE);
    wrmsr(0x176, PA(enter_long));
    catch_user(do_sysenter, NULL);
    CHECK_CAUGHT("#UD: SYSENTER in 64-bit mode", UD, 0, do_sysenter_at);
    catch_user32(do_sysenter32, NULL);
    CHECK_CAUGHT("#UD: SYSENTER in compatibility mode", UD, 0, do_sysenter32_at);
    catch_call(do_sysexit, NULL);
    CHECK_CAUGHT("#UD: SYSEXIT in 64-bit mode", UD, 0, do_sysexit_at);
}

/* ---- LOCK MOV of CR0 is MOV of CR8: MOV CRn ---- */

CODE(read_cr8, AT(read_cr8) ".byte 0xf0\nmov %cr0, %rax\nmov %cr8, %rbx\nint $0x80")
CODE(write_cr8, "mov $9, %eax\n.byte 0xf0\nmov %rax, %cr0\nmov %cr8, %rbx\nmov %cr0, %rdx\nint $0x80")
CODE(lock_cr3, AT(lock_cr3) ".byte 0xf0\nmov %cr3, %rax")
CODE(read_cr8_user, AT(read_cr8_user) ".byte 0xf0\nmov %cr0, %rax")

static void locked_moves(void)
{
    __asm__ volatile("mov %0, %%cr8" : : "r"(5ull));
    catch_call(read_cr8, NULL);
    CHECK("LOCK MOV from CR0 reads CR8", caught.vector == EXIT ? caught.ax << 8 | caught.bx : caught.vector, 0x505);
    uintptr_t cr0 = READ_REG(cr0);
    catch_call(write_cr8, NULL);
    CHECK("LOCK MOV to CR0 writes CR8", caught.bx, 9);
    CHECK("and not CR0", caught.dx, cr0);
    catch_call(lock_cr3, NULL);
    CHECK_CAUGHT("#UD: LOCK MOV of another register", UD, 0, lock_cr3_at);
    catch_user(read_cr8_user, NULL);
    CHECK_CAUGHT("#GP: LOCK MOV from CR0 at CPL 3", GP, 0, read_cr8_user_at);
}

void test_main(void)
{
    CHECK("an AMD", cpuid(0, 0).b, 0x68747541);
    syscalls();
    sysenters();
    locked_moves();
}
