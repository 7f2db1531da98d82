/* test/bare/lib/smp64.c: starting the other processors by INIT and SIPI (SDM vol. 3, 8.4.4.1), and giving them work. */
#include "smp.h"

#define LAPIC ((volatile uint32_t *)0xfee00000)
enum {
    EOI = 0xb0 / 4,
    SVR = 0xf0 / 4,
    ICR = 0x300 / 4,
    ALL_OTHERS = 0xc0000,
    INIT = 0x4500,
    SIPI = 0x4600,
    SMP_AT = 0x8000
};

extern char smp_trampoline[], smp_trampoline_end[];
uint8_t smp_stacks[(SMP_MAX + 1) << 14] __attribute__((aligned(16)));
uint32_t smp_counted = 1;
struct {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed)) smp_idt_pointer = {sizeof idt - 1, (uint64_t)(uintptr_t)idt};

static volatile uint32_t here = 1, work, done, arrived, turn;
static void (*volatile work_fn)(unsigned, void *);
static void *volatile work_arg;

_Noreturn void smp_enter(unsigned cpu)
{
    LAPIC[SVR] = 0x1ff;
    __atomic_fetch_add(&here, 1, __ATOMIC_SEQ_CST);
    for (uint32_t seen = 0;; seen++) {
        while (load32(&work) == seen)
            smp_pause();
        work_fn(cpu, work_arg);
        __asm__ volatile("cli" : : : "memory");
        __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
    }
}

/* Leaf 0BH, the level of cores: how many there are in the package. */
unsigned smp_start(void)
{
    unsigned n = cpuid(0xb, 1).b;
    memcpy((void *)SMP_AT, smp_trampoline, (size_t)(smp_trampoline_end - smp_trampoline));
    LAPIC[SVR] = 0x1ff;
    LAPIC[ICR] = ALL_OTHERS | INIT;
    LAPIC[ICR] = ALL_OTHERS | SIPI | SMP_AT >> 12;
    while (load32(&here) < n)
        smp_pause();
    return n;
}

void smp_run(void (*fn)(unsigned cpu, void *arg), void *arg)
{
    work_fn = fn;
    work_arg = arg;
    store32(&done, 0);
    __atomic_fetch_add(&work, 1, __ATOMIC_SEQ_CST);
    fn(0, arg);
    while (load32(&done) < here - 1)
        smp_pause();
}

void smp_barrier(unsigned n)
{
    uint32_t now = load32(&turn);
    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST) == n) {
        store32(&arrived, 0);
        __atomic_fetch_add(&turn, 1, __ATOMIC_SEQ_CST);
    }
    for (unsigned tries = 0; load32(&turn) == now; tries++) /* all leave at once, if they run at all */
        if (tries > 3000)
            smp_pause();
}

void smp_ipi(unsigned vector)
{
    LAPIC[ICR] = ALL_OTHERS | 0x4000 | vector;
}

void smp_eoi(void)
{
    LAPIC[EOI] = 0;
}

uint64_t command_line(const char *name, uint64_t otherwise)
{
    const uint32_t *info = (const uint32_t *)(uintptr_t)*boot_info;
    size_t n = 0;
    while (name[n])
        n++;
    for (const char *s = (const char *)(uintptr_t)info[4]; *s; s++) {
        if (s[0] != ' ' || memcmp(s + 1, name, n) || s[n + 1] != '=')
            continue;
        uint64_t v = 0;
        for (s += n + 2; *s >= '0' && *s <= '9'; s++)
            v = v * 10 + (uint64_t)(*s - '0');
        return v;
    }
    return otherwise;
}
