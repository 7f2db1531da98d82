/* host/amd64/run.c: generated code at run time: entering it, leaving it from C, patching links, host faults.
 *
 * GS.  The GS base of a vCPU's thread holds its struct cpu (user-space code does not use GS on Linux; FS is the C
 * library's).  It is set by WRGSBASE or by arch_prctl where the kernel does not allow that instruction.
 *
 * Host faults.  A SIGSEGV, SIGBUS or SIGFPE whose instruction lies in generated code goes on at the cold stub that
 * host_fault names; any other is rhea's own and gets the default action.
 */
#include <asm/prctl.h>
#include <cpuid.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "host/amd64/emit.h"

bool host_supported(struct status *why)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_2) || !(c & bit_POPCNT) || !(c & bit_CMPXCHG16B) ||
        !(c & bit_SSSE3))
        return status_set(why,
                          "this processor is older than x86-64-v2 (SSE4.2, POPCNT, CMPXCHG16B): rhea cannot run on it");
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & bit_LAHF_LM))
        return status_set(why, "this processor lacks LAHF in 64-bit mode (x86-64-v2): rhea cannot run on it");
    return true;
}

uint64_t host_ticks(void)
{
    return __builtin_ia32_rdtsc();
}

unsigned host_vec_bytes(void)
{
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return wide ? 64 : __builtin_cpu_supports("avx2") ? 32 : 16;
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
    /* The frame of enter and guard: 8 bytes, then r15 r14 r13 r12 rbp rbx. */
    __asm__ volatile("mov %0, %%rsp\n\t"
                     "add %2, %%rsp\n\t"
                     "pop %%r15; pop %%r14; pop %%r13; pop %%r12; pop %%rbp; pop %%rbx\n\t"
                     "ret"
                     :
                     : "r"(c->host_rsp), "a"(why), "i"(8)
                     : "memory");
    __builtin_unreachable();
}

static void put32(uint8_t *at, uint32_t v)
{
    __atomic_store_n((uint32_t *)at, v, __ATOMIC_RELEASE);
}

/* Whether a jump that owes F may lead to where cpu.cc has it. */
static bool may_owe(const struct host_jump *j, const struct host_entry *n)
{
    return n->f_use == HOST_F_UNSEEN || (n->f_use == HOST_F_FAULTS && !(j->f_regs & n->f_spoils));
}

void host_link_set(uint8_t *code_rw, intptr_t rx_delta, const struct host_jump *j, const void *target,
                   const struct host_entry *entry, uint32_t expect)
{
    bool owes = j->f == HOST_F_OWED, stub = owes && target && !may_owe(j, entry);
    uint8_t *cold = code_rw + j->cold_at, *at = stub ? cold + j->stub_at : code_rw + j->jump_at;
    const uint8_t *to = cold + rx_delta + j->miss_at;
    if (target)
        to = (const uint8_t *)target + (stub || j->f == HOST_F_LIVE ? 0 : entry->at);
    else if (owes)
        put32(cold + j->stub_at, 0);
    uint32_t rel = (uint32_t)(to - (at + rx_delta + 4));
    /* Behind its guard a crossing jump has no exit (PCB is the target's by then): closing the guard unlinks it, and
     * who has just passed goes where it led. */
    if (!j->cross || target)
        put32(at, rel);
    if (j->cross)
        put32(code_rw + j->guard_at, target ? expect : 0xffffffffu);
}

static bool on_fault(void *arg, enum os_fault what, void *context)
{
    const struct host_faults *h = arg;
    greg_t *reg = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *cold = NULL;
    const struct host_fault *f = h->find(h->arg, (const void *)reg[REG_RIP], &cold);
    if (!f)
        return false;
    struct cpu *c;
    __asm__("mov %%gs:%c1, %0" : "=r"(c) : "i"(offsetof(struct cpu, self)));
    c->insn_off = (uint32_t)f->insn_off;
    if (what == OS_FAULT_FLOAT) {
        reg[REG_RIP] = (greg_t)(h->thunks->rx + h->thunks->fp_error);
    } else if (f->cold) {
        reg[REG_RIP] = (greg_t)(cold + f->cold);
        reg[REG_RAX] = 0; /* a memory access: no addend, take the slow path */
        c->faulted = 1;
    } else {
        reg[REG_RIP] = (greg_t)(h->thunks->rx + h->thunks->divide_error);
    }
    return true;
}

bool host_faults_init(struct host_faults *h, struct status *st)
{
    return os_catch_faults(on_fault, h, st);
}
