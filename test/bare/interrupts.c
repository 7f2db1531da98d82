/* test/bare/interrupts.c: local APIC (vol. 3, chapter 10), PIC, PIT, HPET, RTC as interrupt sources, and their
 * priorities. Nothing is timed: a timer's interrupt either comes, or the test's patience (PATIENCE ticks of the TSC)
 * ends.
 */
#include "lib/bare.h"

#define PATIENCE 20000000000ull
#define LAPIC    ((volatile uint32_t *)0xfee00000)
#define HPET     ((volatile uint64_t *)0xfed00000)
enum {
    ID = 2,
    VERSION = 3,
    TPR = 8,
    PPR = 10,
    EOI = 11,
    LDR = 13,
    DFR = 14,
    SVR = 15,
    ISR = 16,
    TMR = 24,
    IRR = 32,
    ESR = 40,
    ICR = 48,
    ICR2 = 49,
    LVT_TIMER = 50,
    LVT_LINT0 = 53,
    LVT_LINT1 = 54,
    LVT_ERROR = 55,
    INIT_COUNT = 56,
    CUR_COUNT = 57,
    DIVIDE = 62
};
static uint32_t get(unsigned r)
{
    return LAPIC[4 * r];
}
static void set(unsigned r, uint32_t v)
{
    LAPIC[4 * r] = v;
}

static unsigned order[16], ordered;
static bool send_eoi = true;
static void note(struct frame *f)
{
    if (ordered < ARRAY_LEN(order))
        order[ordered] = (unsigned)f->vector;
    ordered++;
    if (send_eoi)
        set(EOI, 0);
}

static void self(unsigned vector)
{
    set(ICR, 0x40000 | vector);
}

static void window(void)
{
    __asm__ volatile("sti\nnop\nnop\ncli" : : : "memory");
}

static bool wait_for(unsigned n)
{
    uint64_t end = rdtsc() + PATIENCE;
    while (ordered < n && rdtsc() < end)
        window();
    return ordered >= n;
}

static void begin(void)
{
    ordered = 0;
}

/* ---- priorities: 10.8
 * ---------------------------------------------------------------------------------------------------------- */

static void priorities(void)
{
    for (unsigned v = 0x30; v < 0x100; v++)
        on_vector[v] = v == EXIT ? NULL : note;
    wrmsr(0x1b, rdmsr(0x1b) | 0x800);
    set(SVR, 0x1ff);
    set(TPR, 0);
    begin();
    self(0x41), self(0x92), self(0x55), self(0x91);
    CHECK("IRR holds them",
          get(IRR + 2) >> 1 & 1 && get(IRR + 2) >> 21 & 1 && get(IRR + 4) >> 17 & 1 && get(IRR + 4) >> 18 & 1, true);
    wait_for(4);
    CHECK("highest vector first", order[0] == 0x92 && order[1] == 0x91 && order[2] == 0x55 && order[3] == 0x41, true);
    CHECK("number of interrupts", ordered, 4);
    begin();
    self(0x60), self(0x60);
    window(), window(), window();
    CHECK("the same vector twice is one interrupt", ordered, 1);
    begin();
    set(TPR, 0x50);
    self(0x5f), self(0x60);
    window(), window(), window();
    CHECK("TPR 50H: class 5 waits, class 6 comes", ordered == 1 && order[0] == 0x60, true);
    CHECK("PPR is TPR", get(PPR), 0x50);
    CHECK("CR8 is TPR's upper half", READ_REG(cr8), 5);
    WRITE_REG(cr8, 4);
    window(), window();
    CHECK("CR8 = 4: it comes", ordered == 2 && order[1] == 0x5f, true);
    CHECK("TPR after CR8 = 4", get(TPR), 0x40);
    WRITE_REG(cr8, 0);
    begin();
    send_eoi = false; /* in service: what is not of a higher class waits for EOI */
    self(0x71);
    window(), window();
    CHECK("ISR", get(ISR + 3) >> 17 & 1, 1);
    CHECK("PPR is the class in service", get(PPR), 0x70);
    self(0x7f), self(0x61), self(0x83);
    window(), window(), window();
    CHECK("only a higher class interrupts", ordered == 2 && order[1] == 0x83, true);
    set(EOI, 0);
    window();
    CHECK("EOI ends the highest in service", ordered == 2 && get(PPR) == 0x70, true);
    set(EOI, 0);
    window(), window();
    CHECK("then 7FH", ordered == 3 && order[2] == 0x7f, true);
    set(EOI, 0);
    window(), window();
    CHECK("then 61H", ordered == 4 && order[3] == 0x61, true);
    set(EOI, 0);
    send_eoi = true;
    begin();
    set(ESR, 0);
    self(5); /* 10.5.3: illegal vector */
    set(ESR, 0);
    CHECK("ESR: send illegal vector", (get(ESR) >> 5 & 3) != 0, true);
    begin();
    set(LVT_TIMER, 0x10000 | 0x99);
    set(SVR, 0xff); /* software-disabled: 10.4.7.2 */
    CHECK("software-disabled: LVT entries are masked", get(LVT_TIMER) >> 16 & 1, 1);
    set(LVT_TIMER, 0x99);
    CHECK("and stay so", get(LVT_TIMER) >> 16 & 1, 1);
    set(SVR, 0x1ff);
    CHECK("version", get(VERSION) & 0xff, 0x14);
}

/* ---- the timer: 10.5.4
 * ------------------------------------------------------------------------------------------------------------- */

static void timers(void)
{
    begin();
    set(DIVIDE, 0xb);
    set(LVT_TIMER, 0x31);
    set(INIT_COUNT, 100000);
    CHECK("APIC timer: one-shot", wait_for(1) && order[0] == 0x31, true);
    CHECK("APIC timer: count is 0 then", get(CUR_COUNT), 0);
    window();
    CHECK("APIC timer: once", ordered, 1);
    begin();
    set(LVT_TIMER, 0x20032);
    set(INIT_COUNT, 50000);
    CHECK("APIC timer: periodic", wait_for(5), true);
    set(INIT_COUNT, 0);
    set(LVT_TIMER, 0x10000);
    window(), window(); /* one may be pending still */
    begin();
    set(LVT_TIMER, 0x10033);
    set(INIT_COUNT, 1000);
    uint64_t end = rdtsc() + 2000000;
    while (rdtsc() < end)
        window();
    CHECK("APIC timer: masked", ordered, 0);
    if (cpuid(1, 0).c >> 24 & 1) { /* 10.5.4.1 */
        begin();
        set(LVT_TIMER, 0x40034);
        __asm__ volatile("mfence");
        uint64_t at = rdtsc() + 1000000;
        wrmsr(0x6e0, at);
        CHECK("TSC deadline reads back", rdmsr(0x6e0) == at || rdmsr(0x6e0) == 0, true);
        CHECK("TSC deadline", wait_for(1) && order[0] == 0x34, true);
        CHECK("TSC deadline: not early", rdtsc() >= at, true);
        CHECK("TSC deadline: the MSR is 0 then", rdmsr(0x6e0), 0);
        begin();
        wrmsr(0x6e0, 1);
        CHECK("TSC deadline in the past: at once", wait_for(1), true);
        begin();
        wrmsr(0x6e0, rdtsc() + PATIENCE);
        wrmsr(0x6e0, 0);
        window();
        CHECK("TSC deadline disarmed", ordered == 0 && rdmsr(0x6e0) == 0, true);
        begin();
        wrmsr(0x6e0, rdtsc() + 1000000); /* HLT wakes up */
        __asm__ volatile("sti\nhlt\ncli" : : : "memory");
        CHECK("HLT until the deadline", ordered, 1);
    } else {
        put("skip: no TSC deadline\n");
    }
    set(LVT_TIMER, 0x10000);
}

/* ---- x2APIC: 10.12
 * ------------------------------------------------------------------------------------------------------------------- */

CODE(x2_bad, "mov $0x802, %ecx; xor %eax, %eax; xor %edx, %edx\n" AT(x2_bad) "wrmsr")
CODE(x2_icr2, "mov $0x831, %ecx\n" AT(x2_icr2) "rdmsr")
CODE(x2_self, "mov $0x83f, %ecx; mov $0x77, %eax; xor %edx, %edx\n" AT(x2_self) "wrmsr")
CODE(x2_back, "mov $0x1b, %ecx; rdmsr; and $~0x400, %eax\n" AT(x2_back) "wrmsr")

static void x2apic(void)
{
    catch_call(x2_self, NULL);
    CHECK_CAUGHT("#GP: x2APIC register in xAPIC mode", GP, 0, x2_self_at);
    if (!(cpuid(1, 0).c >> 21 & 1)) {
        put("skip: no x2APIC\n");
        return;
    }
    uint32_t id = get(ID) >> 24;
    wrmsr(0x1b, rdmsr(0x1b) | 0xc00);
    CHECK("x2APIC: ID", rdmsr(0x802), id);
    CHECK("x2APIC: LDR from the ID (10.12.10.2)", rdmsr(0x80d), (id >> 4) << 16 | 1 << (id & 15));
    begin();
    wrmsr(0x83f, 0x77);
    send_eoi = false;
    window(), window();
    wrmsr(0x80b, 0);
    CHECK("x2APIC: self IPI", ordered == 1 && order[0] == 0x77, true);
    begin();
    wrmsr(0x830, (uint64_t)id << 32 | 0x78);
    window(), window();
    wrmsr(0x80b, 0);
    CHECK("x2APIC: ICR of 64 bits", ordered == 1 && order[0] == 0x78, true);
    send_eoi = true;
    catch_call(x2_bad, NULL);
    CHECK_CAUGHT("#GP: write of a read-only register", GP, 0, x2_bad_at);
    catch_call(x2_icr2, NULL);
    CHECK_CAUGHT("#GP: register 831H does not exist", GP, 0, x2_icr2_at);
    catch_call(x2_back, NULL);
    CHECK_CAUGHT("#GP: x2APIC to xAPIC directly (10.12.5)", GP, 0, x2_back_at);
    wrmsr(0x1b, rdmsr(0x1b) & ~0xc00ull);
    wrmsr(0x1b, rdmsr(0x1b) | 0x800);
    CHECK("back through disabled", rdmsr(0x1b) >> 10 & 3, 2);
    set(SVR, 0x1ff);
}

/* ---- PIC and PIT by LINT0 (ExtINT): 10.5.1; Intel 8259A, 8254 data sheets
 * ------------------------------------------------------------ */

static void pic_note(struct frame *f)
{
    if (ordered < ARRAY_LEN(order))
        order[ordered] = (unsigned)f->vector;
    ordered++;
    out8(0x20, 0x20);
}

static void pit(void)
{
    out8(0x20, 0x11), out8(0x21, 0x20), out8(0x21, 4), out8(0x21, 1);
    out8(0xa0, 0x11), out8(0xa1, 0x28), out8(0xa1, 2), out8(0xa1, 1);
    for (unsigned v = 0x20; v < 0x30; v++)
        on_vector[v] = pic_note;
    out8(0x21, 0xfe);
    out8(0xa1, 0xff);
    CHECK("PIC: mask reads back", in8(0x21), 0xfe);
    set(LVT_LINT0, 0x700);
    begin();
    out8(0x43, 0x34);                /* channel 0, mode 2 */
    out8(0x40, 0xa9), out8(0x40, 4); /* 1193: 1 kHz */
    CHECK("PIT, PIC, LINT0: periodic interrupts", wait_for(3) && order[0] == 0x20, true);
    out8(0x21, 0xff);
    window(), window();
    begin();
    uint64_t end = rdtsc() + 10000000;
    while (rdtsc() < end)
        window();
    CHECK("PIC: masked", ordered, 0);
    out8(0x20, 0x0a);
    CHECK("PIC: IRR shows the line", in8(0x20) & 1, 1);
    out8(0x43, 0x30); /* mode 0: stops */
    out8(0x40, 0), out8(0x40, 0);
    set(LVT_LINT0, 0x10000);
}

/* ---- HPET by the I/O APIC (IA-PC HPET specification 2.3)
 * ---------------------------------------------------------------------------------- */

static void ioapic(unsigned reg, uint32_t v)
{
    *(volatile uint32_t *)0xfec00000 = reg;
    *(volatile uint32_t *)0xfec00010 = v;
}

static void hpet(void)
{
    uint64_t cap = HPET[0];
    if ((uint32_t)cap == 0xffffffff || !cap) {
        put("skip: no HPET\n");
        return;
    }
    CHECK("HPET: period in femtoseconds, at most 100 ns", cap >> 32 > 0 && cap >> 32 <= 100000000, true);
    HPET[2] = 0;
    HPET[0xf0 / 8] = 0;
    HPET[2] = 1;
    uint64_t a = HPET[0xf0 / 8];
    for (volatile unsigned n = 0; n < 10000; n++)
        ;
    CHECK("HPET: the counter runs", HPET[0xf0 / 8] > a, true);
    uint32_t routes = (uint32_t)(HPET[0x100 / 8] >> 32);
    unsigned line = 31;
    while (line && !(routes >> line & 1))
        line--;
    ioapic(0x10 + 2 * line, 0x39);
    ioapic(0x11 + 2 * line, get(ID));
    begin();
    HPET[2] = 0;
    HPET[0xf0 / 8] = 0;
    HPET[0x108 / 8] = 1000000000000ull / (cap >> 32); /* 1 ms */
    HPET[0x100 / 8] = 4 | line << 9;
    HPET[2] = 1;
    CHECK("HPET: one-shot by the I/O APIC", wait_for(1) && order[0] == 0x39, true);
    HPET[2] = 0;
    HPET[0x100 / 8] = 0;
    ioapic(0x10 + 2 * line, 0x10000);
}

void test_main(void)
{
    priorities();
    timers();
    x2apic();
    pit();
    hpet();
}
