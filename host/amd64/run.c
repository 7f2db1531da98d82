/* host/amd64/run.c: generated code at run time: entering it, leaving it from C, patching links, host faults.
 *
 * GS.  The GS base of a vCPU's thread holds its struct cpu (user-space code does not use GS on Linux; FS is the C library's).  It is set by WRGSBASE or
 * by arch_prctl where the kernel does not allow that instruction.
 *
 * Host faults.  A SIGSEGV, SIGBUS or SIGFPE whose instruction lies in generated code goes on at the cold stub that host_fault names; any other is rhea's
 * own and gets the default action.
 */
#include <asm/prctl.h>
#include <cpuid.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "host/amd64/emit.h"

struct signals {                                        /* read by the handlers; written once, before any vCPU runs */
    const struct host_thunks *thunks;
    host_find_fault *find;
    void *arg;
};
static struct signals signals;

bool host_supported(struct status *why)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_2) || !(c & bit_POPCNT) || !(c & bit_CMPXCHG16B) || !(c & bit_SSSE3))
        return status_set(why, "this processor is older than x86-64-v2 (SSE4.2, POPCNT, CMPXCHG16B): rhea cannot run on it");
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & bit_LAHF_LM))
        return status_set(why, "this processor lacks LAHF in 64-bit mode (x86-64-v2): rhea cannot run on it");
    return true;
}

void host_thread_init(struct cpu *c)
{
    c->self = c;
    syscall(SYS_arch_prctl, ARCH_SET_GS, (unsigned long)c);
}

enum cpu_leave host_enter(const struct host_thunks *t, struct cpu *c, const void *hpc)
{
    enum cpu_leave (*enter)(struct cpu *, const void *) = (void *)(t->rx + t->enter);
    return enter(c, hpc);
}

enum cpu_leave host_guard(const struct host_thunks *t, struct cpu *c, void (*fn)(struct cpu *))
{
    enum cpu_leave (*guard)(struct cpu *, void (*)(struct cpu *)) = (void *)(t->rx + t->guard);
    return guard(c, fn);
}

_Noreturn void host_leave(struct cpu *c, enum cpu_leave why)
{
    /* The frame of enter and guard: FRAME + 8 bytes, then r15 r14 r13 r12 rbp rbx. */
    __asm__ volatile("mov %0, %%rsp\n\t"
                     "add %2, %%rsp\n\t"
                     "pop %%r15; pop %%r14; pop %%r13; pop %%r12; pop %%rbp; pop %%rbx\n\t"
                     "ret"
                     :
                     : "r"(c->host_rsp), "a"(why), "i"(FRAME + 8)
                     : "memory");
    __builtin_unreachable();
}

static void put32(uint8_t *at, uint32_t v)
{
    __atomic_store_n((uint32_t *)at, v, __ATOMIC_RELEASE);
}

void host_link_set(uint8_t *code_rw, intptr_t rx_delta, const struct host_jump *j, const void *target, uint32_t expect)
{
    uint8_t *at = code_rw + j->jump_at;
    const uint8_t *to = target ? target : code_rw + rx_delta + j->miss_at;
    uint32_t rel = (uint32_t)(to - (at + rx_delta + 4));
    if (!target && j->cross)
        put32(code_rw + j->guard_at, 0xffffffffu);
    put32(at, rel);
    if (target && j->cross)
        put32(code_rw + j->guard_at, expect);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    greg_t *rip = &u->uc_mcontext.gregs[REG_RIP];
    const uint8_t *code = NULL;
    const struct host_fault *f = signals.find(signals.arg, (const void *)*rip, &code);
    if (!f) {
        signal(sig, SIG_DFL);                           /* ours: die of it when the instruction runs again */
        return;
    }
    const struct host_thunks *t = signals.thunks;
    struct cpu *c;
    __asm__("mov %%gs:%c1, %0" : "=r"(c) : "i"(offsetof(struct cpu, self)));
    c->insn_off = (uint32_t)f->insn_off;
    if (sig == SIGFPE && info->si_code != FPE_INTDIV && info->si_code != FPE_INTOVF)
        *rip = (greg_t)(t->rx + t->fp_error);
    else if (f->cold) {
        *rip = (greg_t)(code + f->cold);
        u->uc_mcontext.gregs[REG_RAX] = 0;              /* a memory access: no addend, take the slow path */
    }
    else
        *rip = (greg_t)(t->rx + t->divide_error);
}

bool host_signals_init(const struct host_thunks *t, host_find_fault *find, void *arg, struct status *st)
{
    signals = (struct signals){t, find, arg};
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    const int which[] = {SIGSEGV, SIGBUS, SIGFPE};
    for (unsigned i = 0; i < ARRAY_LEN(which); i++)
        if (sigaction(which[i], &sa, NULL))
            return status_set(st, "cannot install a signal handler");
    return true;
}
