/* test/bare/lib/trap64.c: the 64-bit runtime's descriptor tables and its one trap handler. */
#include "bare.h"

uint64_t idt[256][2];
uint8_t tss64[104 + 8192 + 1] __attribute__((aligned(16)));
static bool armed;

bool catch_run(void (*fn)(void *), void *arg, unsigned cs, unsigned ss, uint64_t stack);
extern char catch_return[];

static void gate_set(unsigned vector, unsigned dpl, unsigned ist)
{
    uint64_t at = (uintptr_t)stub_table + 16 * vector;
    idt[vector][0] = (at & 0xffff) | (uint64_t)KCODE << 16 | (uint64_t)ist << 32 | (uint64_t)(0x8e | dpl << 5) << 40 |
                     (at >> 16 & 0xffff) << 48;
    idt[vector][1] = at >> 32;
}

void runtime_init(void)
{
    for (unsigned v = 0; v < 256; v++)
        gate_set(v, v == BP || v == OF || v == EXIT ? 3 : 0, v == DF ? 7 : 0);
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) p = {sizeof idt - 1, (uintptr_t)idt};
    __asm__ volatile("lidt %0" : : "m"(p));
    uint64_t sp = (uintptr_t)kernel_stack_top, ist = (uintptr_t)catch_stack_top, base = (uintptr_t)tss64;
    memcpy(tss64 + 4, &sp, 8);
    memcpy(tss64 + 36 + 6 * 8, &ist, 8);
    *(uint16_t *)(tss64 + 102) = 104; /* I/O bitmap: all ports denied, ends with FFH */
    memset(tss64 + 104, 0xff, 8193);
    gdt[TSS / 8] = descriptor((uint32_t)base, sizeof tss64 - 1, 0x89, 0);
    gdt[TSS / 8 + 1] = base >> 32;
    __asm__ volatile("ltr %w0" : : "r"(TSS));
    out8(0x21, 0xff); /* both PICs masked */
    out8(0xa1, 0xff);
}

void trap(struct frame *f)
{
    unsigned v = (unsigned)f->vector;
    interrupts[v]++;
    if (on_vector[v]) {
        on_vector[v](f);
        return;
    }
    if (!armed) {
        put("FAIL unexpected vector %u error %x at %x cs %x sp %x cr2 %x\n", v, f->error, f->ip, f->cs, f->sp,
            READ_REG(cr2));
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

static bool catch_begin(void (*fn)(void *), void *arg, unsigned cs, unsigned ss, uint64_t stack)
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
    extern char user_exit[];
    uint64_t *sp = (uint64_t *)user_stack_top - 8;
    *sp = (uintptr_t)user_exit;
    return catch_begin(fn, arg, USER64, USERDS, (uintptr_t)sp);
}

bool catch_user_at(void (*fn)(void *), void *arg, uintptr_t stack)
{
    return catch_begin(fn, arg, USER64, USERDS, stack);
}

bool catch_user32(void (*fn)(void *), void *arg)
{
    return catch_begin(fn, arg, USER32, USERDS, (uintptr_t)user_stack_top - 64);
}
