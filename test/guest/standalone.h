/* test/guest/standalone.h: a processor by itself, for the run side's tests.
 *
 * A plain struct x86_access walks and copies byte by byte, and leaving is a longjmp.  Descriptor tables and stacks are built
 * at fixed places of a small RAM.
 */
#ifndef RHEA_TEST_STANDALONE_H
#define RHEA_TEST_STANDALONE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "guest/x86/run_int.h"

enum { GDT = 0x1000, IDT = 0x2000, TSS = 0x3000, TSS_2 = 0x4000, PML4 = 0x10000, STACK0 = 0x80000, STACK3 = 0x90000 };
enum { RAM_SIZE = 16 << 20, HOLE = 0x40000000 };
/* Selectors. */
enum {
    C0_64 = 0x08,
    D0 = 0x10,
    C3_32 = 0x18,
    D3 = 0x20,
    C3_64 = 0x28,
    TSS_SEL = 0x30,
    C0_32 = 0x40,
    D0_32 = 0x48,
    CONF = 0x50,
    GATE = 0x58,
    TSS2_SEL = 0x68,
    ABSENT = 0x70,
    READONLY = 0x78,
    GDT_END = 0x80
};

struct env {
    struct x86 x; /* first */
    struct ram ram;
    struct bus *bus;
    struct log log;
    jmp_buf out;
    bool guarded;
    uint64_t store_at;
    unsigned store_n;
    int vector; /* what the interrupt controller has */
    unsigned resets;
};

/* ---- memory and leaving ------------------------------------------------------------------------------------------- */

static inline uint64_t translate(struct x86 *x, gva_t gva, unsigned desc)
{
    struct x86_walk w;
    if (!x86_canonical(x, gva))
        x86_raise_error(x, desc >> MD_TAG_SHIFT == SEG_SS ? EX_SS : EX_GP, 0);
    if (!x86_walk(x, gva, x86_walk_access(x, desc), &w))
        x86_raise_pf(x, gva, w.error);
    return w.gpa;
}

static inline int64_t fake_read(struct cpu *c, gva_t gva, unsigned desc)
{
    struct x86 *x = (struct x86 *)c;
    for (unsigned n = 0; n < (desc & MD_SIZE); n++)
        c->bounce[n] = (uint8_t)bus_read(x->mem, translate(x, gva + n, desc), 1);
    return (int64_t)((uintptr_t)c->bounce - gva);
}

static inline int64_t fake_write(struct cpu *c, gva_t gva, unsigned desc)
{
    struct env *e = (struct env *)c;
    e->store_at = gva;
    e->store_n = desc & MD_SIZE;
    for (unsigned n = 0; n < e->store_n; n++)
        translate(&e->x, gva + n, desc);
    c->pending = 1;
    return (int64_t)((uintptr_t)c->bounce - gva);
}

static inline void fake_commit(struct cpu *c)
{
    struct env *e = (struct env *)c;
    c->pending = 0;
    for (unsigned n = 0; n < e->store_n; n++) {
        struct x86_walk w;
        assert_true(x86_walk(&e->x, e->store_at + n, WALK_PEEK, &w));
        bus_write(e->bus, w.gpa, c->bounce[n], 1);
    }
}

static inline _Noreturn void fake_leave(struct cpu *c, enum cpu_leave why)
{
    struct env *e = (struct env *)c;
    assert_true(e->guarded);
    longjmp(e->out, 1 + (int)why);
}

/* Run a statement; the reason it left for, or -1. */
#define LEAVES(e, statement)                                                                                           \
    ({                                                                                                                 \
        (e)->guarded = true;                                                                                           \
        int why_ = setjmp((e)->out);                                                                                   \
        if (!why_) {                                                                                                   \
            statement;                                                                                                 \
        }                                                                                                              \
        (e)->guarded = false;                                                                                          \
        why_ - 1;                                                                                                      \
    })
#define RUNS(e, statement) assert_int_equal(LEAVES(e, statement), -1)
#define FAULTS(e, v, err, statement)                                                                                   \
    do {                                                                                                               \
        assert_int_equal(LEAVES(e, statement), LEAVE_FAULT);                                                           \
        assert_int_equal((e)->x.fault.vector, v);                                                                      \
        assert_int_equal((e)->x.fault.error, err);                                                                     \
    } while (0)

static inline int fake_pending(void *dev)
{
    return ((struct env *)dev)->vector;
}

static inline int fake_accept(void *dev)
{
    struct env *e = dev;
    int v = e->vector;
    e->vector = -1;
    return v;
}

static inline void fake_reset(void *arg)
{
    ((struct env *)arg)->resets++;
}

static const struct x86_access fake_access = {fake_read, fake_write, fake_commit, fake_leave};

/* ---- the world ---------------------------------------------------------------------------------------------------- */

static inline uint8_t *at(struct env *e, uint64_t gpa)
{
    return e->ram.host + gpa;
}
static inline uint64_t get(struct env *e, uint64_t gpa, unsigned n)
{
    return bytes_get(at(e, gpa), n);
}
static inline void put(struct env *e, uint64_t gpa, uint64_t v, unsigned n)
{
    bytes_put(at(e, gpa), v, n);
}

static inline void put_segment(struct env *e, unsigned selector, uint64_t base, uint32_t limit, unsigned attr)
{
    uint64_t d = (limit & 0xffff) | (base & 0xffffff) << 16 | (uint64_t)attr << 40 |
                 (uint64_t)(limit >> 16 & 15) << 48 | (base >> 24 & 0xff) << 56;
    put(e, GDT + selector, d, 8);
}

static inline void put_gate(struct env *e, uint64_t where, unsigned selector, uint64_t offset, unsigned type,
                            unsigned dpl, unsigned extra, bool wide)
{
    put(e, where,
        (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)extra << 32 |
            (uint64_t)(0x80 | dpl << 5 | type) << 40 | (offset >> 16 & 0xffff) << 48,
        8);
    if (wide)
        put(e, where + 8, offset >> 32, 8);
}

static inline struct x86_segment segment(unsigned selector, unsigned attr)
{
    return (struct x86_segment){.selector = (uint16_t)selector, .attr = (uint16_t)attr, .limit = 0xffffffff};
}

enum { CODE64 = 0xa09b, CODE32 = 0xc09b, DATA32 = 0xc093, DPL3 = 0x60 };

static inline int setup(void **state)
{
    struct env *e = aligned_alloc(64, (sizeof(*e) + 63) & ~63ul);
    struct status st = {0};
    memset(e, 0, sizeof(*e));
    assert_true(ram_init(&e->ram, RAM_SIZE, RAM_SIZE, &st));
    assert_true(bus_init(&e->bus, 52, &e->log, &st));
    assert_true(ram_map(&e->ram, e->bus));
    struct x86 *x = &e->x;
    x->mem = e->bus;
    x->ram = &e->ram;
    x->log = &e->log;
    x->access = &fake_access;
    x->reset_request = fake_reset;
    x->reset_arg = e;
    x->intc = (struct x86_intc){.dev = e, .pending = fake_pending, .accept = fake_accept};
    e->vector = -1;
    x86_reset(x, false);
    x->gdtr.base = GDT;
    x->gdtr.limit = GDT_END - 1;
    x->idtr.base = IDT;
    put_segment(e, C0_64, 0, 0xfffff, CODE64);
    put_segment(e, D0, 0, 0xfffff, DATA32);
    put_segment(e, C3_32, 0, 0xfffff, CODE32 | DPL3);
    put_segment(e, D3, 0, 0xfffff, DATA32 | DPL3);
    put_segment(e, C3_64, 0, 0xfffff, CODE64 | DPL3);
    put_segment(e, C0_32, 0, 0xfffff, CODE32);
    put_segment(e, D0_32, 0, 0xfffff, DATA32);
    put_segment(e, CONF, 0, 0xfffff, CODE32 | 4);
    put_segment(e, ABSENT, 0, 0xfffff, (DATA32 | DPL3) & ~0x80);
    put_segment(e, READONLY, 0, 0xfffff, (DATA32 | DPL3) & ~2);
    *state = e;
    return 0;
}

static inline int teardown(void **state)
{
    struct env *e = *state;
    bus_fini(e->bus);
    ram_fini(&e->ram);
    free(e);
    return 0;
}

/* Long mode, first 16 MB mapped for everyone, running at `cpl`. */
static inline void long_mode(struct env *e, unsigned cpl)
{
    struct x86 *x = &e->x;
    put(e, PML4, (PML4 + 0x1000) | 7, 8);
    put(e, PML4 + 0x1000, (PML4 + 0x2000) | 7, 8);
    for (unsigned n = 0; n < 8; n++)
        put(e, PML4 + 0x2000 + 8 * n, (uint64_t)n << 21 | 0x87, 8);
    x->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_ET;
    x->cr3 = PML4;
    x->cr4 = CR4_PAE;
    x->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
    x->seg[SEG_CS] = cpl ? segment(C3_64 | 3, CODE64 | DPL3) : segment(C0_64, CODE64);
    x->seg[SEG_SS] = cpl ? segment(D3 | 3, DATA32 | DPL3) : segment(D0, DATA32);
    for (unsigned s = SEG_DS; s < SEG_COUNT; s++)
        x->seg[s] = (struct x86_segment){0};
    x->tr = (struct x86_segment){.selector = TSS_SEL, .base = TSS, .limit = 103, .attr = 0x8b};
    put(e, TSS + 4, STACK0, 8);
    put(e, TSS + 36, STACK0 - 0x4008, 8); /* IST1 */
    x->idtr.limit = 0xfff;
    for (unsigned v = 0; v < 256; v++)
        put_gate(e, IDT + 16 * v, C0_64, 0x500000 + v, SYS_INT32, 0, 0, true);
    x->cpu.reg[X86_RSP] = cpl ? STACK3 : STACK0 - 0x1000;
    x86_set_rflags(x, 2 | FL_IF | FL_CF | FL_ZF);
    x86_mode_update(x);
    x->cpu.pc = 0x600000;
    x->cpu.reg[IR_PCB] = 0x600000;
    x->cpu.insn_off = 0;
}

/* 32-bit protected mode without paging. */
static inline void protected_mode(struct env *e, unsigned cpl)
{
    struct x86 *x = &e->x;
    x->cr0 = CR0_PE | CR0_ET;
    x->seg[SEG_CS] = cpl ? segment(C3_32 | 3, CODE32 | DPL3) : segment(C0_32, CODE32);
    for (unsigned s = 0; s < SEG_COUNT; s++)
        if (s != SEG_CS)
            x->seg[s] = cpl ? segment(D3 | 3, DATA32 | DPL3) : segment(D0_32, DATA32);
    x->tr = (struct x86_segment){.selector = TSS_SEL, .base = TSS, .limit = 103, .attr = 0x8b};
    put_segment(e, TSS_SEL, TSS, 103, 0x8b);
    put(e, TSS + 4, STACK0, 4);
    put(e, TSS + 8, D0_32, 4);
    x->idtr.limit = 0x7ff;
    for (unsigned v = 0; v < 256; v++)
        put_gate(e, IDT + 8 * v, C0_32, 0x500000 + v, SYS_INT32, 0, 0, false);
    x->cpu.reg[X86_RSP] = cpl ? STACK3 : STACK0 - 0x1000;
    x86_set_rflags(x, 2 | FL_IF | FL_CF);
    x86_mode_update(x);
    x->cpu.pc = 0x600000;
    x->cpu.reg[IR_PCB] = 0x600000;
    x->cpu.insn_off = 0;
}

#endif
