/* test/bare/lib/trap32.c: the 32-bit runtime's descriptor tables and its one trap handler. */
#include "bare.h"

uint64_t idt[256];
struct tss32 tss32 __attribute__((aligned(128)));
static bool armed;

bool catch_run(void (*fn)(void *), void *arg, unsigned cs, unsigned ss, uintptr_t stack);
extern char catch_return[];

void runtime_init(void)
{
    for (unsigned v = 0; v < 256; v++) {
        uintptr_t at = (uintptr_t)stub_table + 16 * v;
        unsigned dpl = v == BP || v == OF || v == EXIT ? 3 : 0;
        idt[v] = (at & 0xffff) | (uint64_t)KCODE << 16 | (uint64_t)(0x8e | dpl << 5) << 40 | (uint64_t)(at >> 16) << 48;
    }
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) p = {sizeof idt - 1, (uintptr_t)idt};
    __asm__ volatile("lidt %0" : : "m"(p));
    tss32.esp0 = (uintptr_t)kernel_stack_top;
    tss32.ss0 = KDATA;
    tss32.map = 104;
    memset(tss32.bitmap, 0xff, sizeof tss32.bitmap);
    gdt[TSS / 8] = descriptor((uintptr_t)&tss32, sizeof tss32 - 1, 0x89, 0);
    __asm__ volatile("ltr %w0" : : "r"(TSS));
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
}

void trap(struct frame *f)
{
    unsigned v = f->vector;
    interrupts[v]++;
    if (on_vector[v]) {
        on_vector[v](f);
        return;
    }
    if (!armed) {
        put("FAIL unexpected vector %u error %x at %x cs %x flags %x cr2 %x\n", v, (uint64_t)f->error, (uint64_t)f->ip,
            (uint64_t)f->cs, (uint64_t)f->flags, (uint64_t)READ_REG(cr2));
        put("0 passed, 1 failed\n");
        for (;;)
            out32(0xf4, 2);
    }
    armed = false;
    caught = *f;
    caught_cr2 = READ_REG(cr2);
    caught_at = (uintptr_t)&f->error;
    __asm__ volatile("jmp *%0" : : "r"(catch_return));
    __builtin_unreachable();
}

static bool catch_begin(void (*fn)(void *), void *arg, unsigned cs, unsigned ss, uintptr_t stack)
{
    memset(&caught, 0, sizeof caught);
    caught.vector = NONE;
    armed = true;
    bool r = catch_run(fn, arg, cs, ss, stack);
    armed = false;
    return r;
}

bool catch_call(void (*fn)(void *), void *arg)
{
    return catch_begin(fn, arg, KCODE, KDATA, 0);
}

bool catch_user(void (*fn)(void *), void *arg)
{
    return catch_begin(fn, arg, USER32, USERDS, (uintptr_t)user_stack_top - 64);
}
