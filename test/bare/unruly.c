/* test/bare/unruly.c: guests that nothing in them can stop, for test/system/control.sh.  On the command line
 *     mode=1     every processor loops with interrupts off, in a loop of one insn
 *     mode=2     every processor sends interrupts, NMIs among them, to all, without end
 *     mode=3     the others are started, again and again, at pages of rubbish
 *     mode=4     every processor makes locked accesses across pages (the others stand still for each) without end
 *     mode=5     every processor stores into code that the others run, without end
 */
#include "lib/smp.h"

#define LAPIC ((volatile uint32_t *)0xfee00000)
enum { ICR = 0x300 / 4, ALL_AND_SELF = 0x80000, ALL_OTHERS = 0xc0000, SEND_NMI = 0x400, INIT = 0x4500, SIPI = 0x4600 };
static uint8_t pages[3 * 4096] __attribute__((aligned(4096)));
static uint64_t mode;

static void nothing(struct frame *f)
{
    if (f->vector != NMI)
        smp_eoi();
}

static void rubbish(void)
{
    uint32_t seed = 12345;
    for (unsigned page = 0x10; page < 0x80; page++)
        for (unsigned i = 0; i < 4096; i += 4) {
            seed = seed * 1664525 + 1013904223;
            *(volatile uint32_t *)(uintptr_t)(page * 4096 + i) = page & 1 ? seed : 0xfeebfeeb; /* jmp to itself */
        }
    for (unsigned n = 0;; n++) {
        LAPIC[ICR] = ALL_OTHERS | INIT;
        LAPIC[ICR] = ALL_OTHERS | SIPI | (0x10 + 2 * (n % 40));
    }
}

static void misbehave(unsigned cpu, void *arg)
{
    (void)arg;
    if (cpu == 0)
        put("ready\n");
    switch (mode) {
    case 1:
        for (;;)
            __asm__ volatile("cli\n1: jmp 1b");
    case 2:
        __asm__ volatile("sti");
        for (unsigned n = 0;; n++)
            LAPIC[ICR] = n % 16 ? ALL_AND_SELF | (0x40 + n % 64) : ALL_OTHERS | SEND_NMI;
    case 4:
        for (;;)
            __asm__ volatile("lock incq %0" : "+m"(*(uint64_t *)(pages + 4092)) : : "memory");
    case 5:
        for (uint32_t n = 0;; n++) {
            pages[0] = 0xb8;
            *(volatile uint32_t *)(pages + 1) = n;
            pages[5] = 0xc3;
            __asm__ volatile("call *%0" : : "r"(pages) : "rax", "memory");
        }
    default:
        if (cpu == 0)
            rubbish();
    }
}

void test_main(void)
{
    mode = command_line("mode", 1);
    for (unsigned v = 0x40; v < 0x80; v++)
        on_vector[v] = nothing;
    on_vector[NMI] = nothing;
    smp_start();
    smp_run(misbehave, NULL);
}
