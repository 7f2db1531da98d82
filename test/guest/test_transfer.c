/* test/guest/test_transfer.c: delivery of faults and interrupts, IRET, far transfers, SYSCALL, task switches, single
 * steps.
 *
 * The processor stands alone: a plain struct x86_access walks and copies byte by byte, and leaving is a longjmp.
 * Descriptor tables and stacks are built at fixed places of a small RAM; expectations come from the Intel SDM vol. 3,
 * chapters 5 to 7, 17, 20.
 */
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

static uint64_t translate(struct x86 *x, gva_t gva, unsigned desc)
{
    struct x86_walk w;
    if (!x86_canonical(x, gva))
        x86_raise_error(x, desc >> MD_TAG_SHIFT == SEG_SS ? EX_SS : EX_GP, 0);
    if (!x86_walk(x, gva, x86_walk_access(x, desc), &w))
        x86_raise_pf(x, gva, w.error);
    return w.gpa;
}

static int64_t fake_read(struct cpu *c, gva_t gva, unsigned desc)
{
    struct x86 *x = (struct x86 *)c;
    for (unsigned n = 0; n < (desc & MD_SIZE); n++)
        c->bounce[n] = (uint8_t)bus_read(x->mem, translate(x, gva + n, desc), 1);
    return (int64_t)((uintptr_t)c->bounce - gva);
}

static int64_t fake_write(struct cpu *c, gva_t gva, unsigned desc)
{
    struct env *e = (struct env *)c;
    e->store_at = gva;
    e->store_n = desc & MD_SIZE;
    for (unsigned n = 0; n < e->store_n; n++)
        translate(&e->x, gva + n, desc);
    c->pending = 1;
    return (int64_t)((uintptr_t)c->bounce - gva);
}

static void fake_commit(struct cpu *c)
{
    struct env *e = (struct env *)c;
    c->pending = 0;
    for (unsigned n = 0; n < e->store_n; n++) {
        struct x86_walk w;
        assert_true(x86_walk(&e->x, e->store_at + n, WALK_PEEK, &w));
        bus_write(e->bus, w.gpa, c->bounce[n], 1);
    }
}

static _Noreturn void fake_leave(struct cpu *c, enum cpu_leave why)
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

static int fake_pending(void *dev)
{
    return ((struct env *)dev)->vector;
}

static int fake_accept(void *dev)
{
    struct env *e = dev;
    int v = e->vector;
    e->vector = -1;
    return v;
}

static void fake_reset(void *arg)
{
    ((struct env *)arg)->resets++;
}

static const struct x86_access fake_access = {fake_read, fake_write, fake_commit, fake_leave};

/* ---- the world ---------------------------------------------------------------------------------------------------- */

static uint8_t *at(struct env *e, uint64_t gpa)
{
    return e->ram.host + gpa;
}
static uint64_t get(struct env *e, uint64_t gpa, unsigned n)
{
    return bytes_get(at(e, gpa), n);
}
static void put(struct env *e, uint64_t gpa, uint64_t v, unsigned n)
{
    bytes_put(at(e, gpa), v, n);
}

static void put_segment(struct env *e, unsigned selector, uint64_t base, uint32_t limit, unsigned attr)
{
    uint64_t d = (limit & 0xffff) | (base & 0xffffff) << 16 | (uint64_t)attr << 40 |
                 (uint64_t)(limit >> 16 & 15) << 48 | (base >> 24 & 0xff) << 56;
    put(e, GDT + selector, d, 8);
}

static void put_gate(struct env *e, uint64_t where, unsigned selector, uint64_t offset, unsigned type, unsigned dpl,
                     unsigned extra, bool wide)
{
    put(e, where,
        (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)extra << 32 |
            (uint64_t)(0x80 | dpl << 5 | type) << 40 | (offset >> 16 & 0xffff) << 48,
        8);
    if (wide)
        put(e, where + 8, offset >> 32, 8);
}

static struct x86_segment segment(unsigned selector, unsigned attr)
{
    return (struct x86_segment){.selector = (uint16_t)selector, .attr = (uint16_t)attr, .limit = 0xffffffff};
}

enum { CODE64 = 0xa09b, CODE32 = 0xc09b, DATA32 = 0xc093, DPL3 = 0x60 };

static int setup(void **state)
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

static int teardown(void **state)
{
    struct env *e = *state;
    bus_fini(e->bus);
    ram_fini(&e->ram);
    free(e);
    return 0;
}

/* Long mode, first 16 MB mapped for everyone, running at `cpl`. */
static void long_mode(struct env *e, unsigned cpl)
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
static void protected_mode(struct env *e, unsigned cpl)
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

/* ---- long mode
 * ------------------------------------------------------------------------------------------------------ */

static void test_long_page_fault_and_back(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    long_mode(e, 3);
    x->cpu.insn_off = 0x123;
    FAULTS(e, EX_PF, 4, x86_load(x, HOLE + 8, 8, SEG_DS));
    assert_int_equal(x->cr2, HOLE + 8);
    assert_int_equal(x->cpu.pc, 0x600123);
    RUNS(e, x86_deliver_fault(x));
    assert_int_equal(x->cpu.pc, 0x50000e);
    assert_int_equal(x86_cpl(x), 0);
    assert_int_equal(x->cpu.reg[X86_RSP], STACK0 - 48);
    assert_int_equal(get(e, STACK0 - 48, 8), 4);
    assert_int_equal(get(e, STACK0 - 40, 8), 0x600123);
    assert_int_equal(get(e, STACK0 - 32, 8), C3_64 | 3);
    assert_int_equal(get(e, STACK0 - 24, 8), 2 | FL_IF | FL_CF | FL_ZF | FL_RF);
    assert_int_equal(get(e, STACK0 - 16, 8), STACK3);
    assert_int_equal(get(e, STACK0 - 8, 8), D3 | 3);
    assert_int_equal(x->seg[SEG_SS].selector, 0);
    assert_int_equal(x86_rflags(x), 2 | FL_CF | FL_ZF);
    assert_false(x->delivering);

    x->cpu.reg[X86_RSP] += 8;
    x->cpu.cc = 0;
    RUNS(e, help_iret(x, 8, 2, 0));
    assert_int_equal(x->cpu.pc, 0x600123);
    assert_int_equal(x86_cpl(x), 3);
    assert_int_equal(x->cpu.reg[X86_RSP], STACK3);
    assert_int_equal(x->seg[SEG_SS].selector, D3 | 3);
    assert_int_equal(x86_rflags(x) & ~(uint64_t)FL_RF, 2 | FL_IF | FL_CF | FL_ZF);
    assert_true(x->mode & MODE_64);
}

static void test_long_ist_and_alignment(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    long_mode(e, 0);
    put_gate(e, IDT + 16 * 3, C0_64, 0x500003, SYS_TRAP32, 3, 1, true);
    x->cpu.insn_off = 0;
    RUNS(e, help_int(x, 3, 1, 1));
    uint64_t top = (STACK0 - 0x4008) & ~15ull; /* IST 1, aligned down */
    assert_int_equal(x->cpu.reg[X86_RSP], top - 40);
    assert_int_equal(get(e, top - 40, 8), 0x600001);
    assert_int_equal(get(e, top - 16, 8), STACK0 - 0x1000);
    assert_int_equal(x->seg[SEG_SS].selector, D0); /* same level: SS stays */
    assert_true(x->flags & FL_IF);                 /* trap gate */
    x->cpu.reg[X86_RSP] = STACK0 - 0x1004;
    put_gate(e, IDT + 16 * 3, C0_64, 0x500003, SYS_TRAP32, 3, 0, true);
    RUNS(e, help_int(x, 3, 1, 1));
    assert_int_equal(x->cpu.reg[X86_RSP], STACK0 - 0x1010 - 40);
}

static void test_soft_int_checks(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    long_mode(e, 3);
    FAULTS(e, EX_GP, 0x80 * 8 + 2, help_int(x, 0x80, 2, 0));
    assert_int_equal(x->cpu.pc, 0x600000);
    put_gate(e, IDT + 16 * 0x80, C0_64, 0x1234500080, SYS_INT32, 3, 0, true);
    RUNS(e, help_int(x, 0x80, 2, 0));
    assert_int_equal(x->cpu.pc, 0x1234500080);
    assert_int_equal(get(e, STACK0 - 40, 8), 0x600002);
    long_mode(e, 3);
    put(e, IDT + 16 * 0x80 + 5, 0xe0 & ~0x80, 1);
    FAULTS(e, EX_GP, 0x80 * 8 + 2, help_int(x, 0x80, 2, 0)); /* not a gate at all */
    put(e, IDT + 16 * 0x80 + 5, 0x6e, 1);
    FAULTS(e, EX_NP, 0x80 * 8 + 2, help_int(x, 0x80, 2, 0));
    put_gate(e, IDT + 16 * 0x80, D0, 0x500000, SYS_INT32, 3, 0, true);
    FAULTS(e, EX_GP, D0, help_int(x, 0x80, 2, 0));
    put_gate(e, IDT + 16 * 0x80, C0_32, 0x500000, SYS_INT32, 3, 0, true);
    FAULTS(e, EX_GP, C0_32, help_int(x, 0x80, 2, 0)); /* not 64-bit code */
    put_gate(e, IDT + 16 * 0x80, 0, 0x500000, SYS_INT32, 3, 0, true);
    FAULTS(e, EX_GP, 0, help_int(x, 0x80, 2, 0));
    put_gate(e, IDT + 16 * 0x80, C0_64, 0x800000000000, SYS_INT32, 3, 0, true);
    FAULTS(e, EX_GP, 0, help_int(x, 0x80, 2, 0));
}

static void test_double_and_triple_fault(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    long_mode(e, 3);
    put(e, TSS + 4, HOLE + 0x1000, 8);                                     /* no stack */
    put_gate(e, IDT + 16 * EX_DF, C0_64, 0x500008, SYS_INT32, 0, 1, true); /* but IST 1 for #DF */
    FAULTS(e, EX_GP, 0, x86_raise_error(x, EX_GP, 0));
    x->cpu.insn_off = 0x55;                    /* stale from here on */
    FAULTS(e, EX_PF, 2, x86_deliver_fault(x)); /* supervisor write, not present */
    assert_true(x->delivering);
    assert_int_equal(x->cpu.pc, 0x600000);
    assert_int_equal(x86_cpl(x), 3);
    /* contributory, then page fault: serially (table 6-5); the page fault meets another */
    FAULTS(e, EX_PF, 2, x86_deliver_fault(x));
    RUNS(e, x86_deliver_fault(x));
    assert_int_equal(x->cpu.pc, 0x500008);
    assert_int_equal(get(e, ((STACK0 - 0x4008) & ~15ull) - 48, 8), 0);
    assert_false(x->delivering);

    long_mode(e, 3);
    put(e, TSS + 4, HOLE + 0x1000, 8);
    FAULTS(e, EX_PF, 4, x86_load(x, HOLE, 1, SEG_DS));
    FAULTS(e, EX_PF, 2, x86_deliver_fault(x));
    FAULTS(e, EX_PF, 2, x86_deliver_fault(x)); /* #DF has no stack either */
    assert_int_equal(x->delivering_vector, EX_DF);
    assert_int_equal(LEAVES(e, x86_deliver_fault(x)), LEAVE_HALT);
    assert_true(x->triple);
    assert_int_equal(e->resets, 1);
}

static void test_external_interrupt(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    long_mode(e, 0);
    assert_false(x86_interrupt_ready(x));
    e->vector = 0x31;
    assert_true(x86_interrupt_ready(x));
    x->shadow = true;
    assert_false(x86_interrupt_ready(x));
    x->shadow = false;
    x->flags &= ~(uint32_t)FL_IF;
    assert_false(x86_interrupt_ready(x));
    x->flags |= FL_IF;
    RUNS(e, x86_take_interrupt(x));
    assert_int_equal(x->cpu.pc, 0x500031);
    assert_false(x->flags & FL_IF);
    assert_int_equal(get(e, STACK0 - 0x1000 - 40, 8), 0x600000);

    /* EXT is set in errors on the way, and the interrupt is benign whatever its number */
    long_mode(e, 0);
    e->vector = 0x2e;
    put(e, IDT + 16 * 0x2e + 5, 0x0e, 1);
    FAULTS(e, EX_NP, 0x2e * 8 + 3, x86_take_interrupt(x));
    RUNS(e, x86_deliver_fault(x));
    assert_int_equal(x->cpu.pc, 0x50000b);
    assert_int_equal(get(e, x->cpu.reg[X86_RSP], 8), 0x2e * 8 + 3);
}

static void test_nmi_blocks_until_iret(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    long_mode(e, 0);
    x->flags &= ~(uint32_t)FL_IF;
    x->nmi_pending = true;
    assert_true(x86_interrupt_ready(x));
    RUNS(e, x86_take_interrupt(x));
    assert_int_equal(x->cpu.pc, 0x500002);
    x->nmi_pending = true;
    assert_false(x86_interrupt_ready(x));
    RUNS(e, help_iret(x, 8, 2, 0));
    assert_int_equal(x->cpu.pc, 0x600000);
    assert_true(x86_interrupt_ready(x));
    assert_true(x->cpu.kick);
}

static void put_frame(struct env *e, uint64_t rsp, uint64_t rip, unsigned cs, uint64_t flags, uint64_t sp, unsigned ss)
{
    const uint64_t v[] = {rip, cs, flags, sp, ss};
    for (unsigned n = 0; n < 5; n++)
        put(e, rsp + 8 * n, v[n], 8);
    e->x.cpu.reg[X86_RSP] = rsp;
}

static void test_long_iret_checks(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    uint64_t sp = STACK0 - 0x200;
    long_mode(e, 0);
    put_frame(e, sp, 0x800000000000, C3_64 | 3, 2, STACK3, D3 | 3);
    FAULTS(e, EX_GP, 0, help_iret(x, 8, 2, 0));
    assert_int_equal(x86_cpl(x), 0);
    assert_int_equal(x->cpu.reg[X86_RSP], sp);
    put_frame(e, sp, 0x700000, C3_64 | 3, 2, STACK3, 3);
    FAULTS(e, EX_GP, 0, help_iret(x, 8, 2, 0)); /* null SS at CPL 3 */
    put_frame(e, sp, 0x700000, C3_64 | 3, 2, STACK3, READONLY | 3);
    FAULTS(e, EX_GP, READONLY, help_iret(x, 8, 2, 0));
    put_frame(e, sp, 0x700000, C3_64 | 3, 2, STACK3, ABSENT | 3);
    FAULTS(e, EX_SS, ABSENT, help_iret(x, 8, 2, 0));
    put_frame(e, sp, 0x700000, C3_64, 2, STACK3, D3 | 3);
    FAULTS(e, EX_GP, C3_64, help_iret(x, 8, 2, 0)); /* DPL is not RPL */
    put_frame(e, sp, 0x700000, 0, 2, STACK3, D3 | 3);
    FAULTS(e, EX_GP, 0, help_iret(x, 8, 2, 0));
    put_frame(e, sp, 0x700000, GDT_END | 3, 2, STACK3, D3 | 3);
    FAULTS(e, EX_GP, GDT_END, help_iret(x, 8, 2, 0));
    x->flags |= FL_NT;
    FAULTS(e, EX_GP, 0, help_iret(x, 8, 2, 0));
    x->flags &= ~(uint32_t)FL_NT;
    put_frame(e, sp, 0x700000, C0_64, 2, STACK0 - 8, 0); /* null SS is good at CPL 0 */
    RUNS(e, help_iret(x, 8, 2, 0));
    assert_int_equal(x->cpu.reg[X86_RSP], STACK0 - 8);
    put_frame(e, sp, 0x700000, C3_32 | 3, 2, 0xffff00000000 | STACK3, D3 | 3); /* to compatibility mode */
    x->seg[SEG_DS] = segment(D0, DATA32);
    x->seg[SEG_ES] = segment(D3 | 3, DATA32 | DPL3);
    RUNS(e, help_iret(x, 8, 2, 0));
    assert_false(x->mode & MODE_64);
    assert_true(x->mode & MODE_CS32);
    assert_int_equal(x->cpu.reg[X86_RSP], STACK3);
    assert_int_equal(x->seg[SEG_DS].selector, 0); /* was for level 0 only */
    assert_int_equal(x->seg[SEG_ES].selector, D3 | 3);
}

static void test_iret_keeps_iopl_and_if_from_users(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    long_mode(e, 3);
    put_frame(e, STACK3 - 0x100, 0x700000, C3_64 | 3, 2 | FL_IOPL | FL_AC | FL_DF, STACK3, D3 | 3);
    RUNS(e, help_iret(x, 8, 2, 0));
    assert_int_equal(x86_rflags(x), 2 | FL_IF | FL_AC | FL_DF);
}

static void test_syscall_sysret(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    long_mode(e, 3);
    x->star = (uint64_t)(C3_32 | 3) << 48 | (uint64_t)C0_64 << 32;
    x->lstar = 0xffffffff81000000;
    x->fmask = FL_IF | FL_TF | FL_CF;
    x->efer &= ~(uint64_t)EFER_SCE;
    assert_int_equal(LEAVES(e, help_syscall(x, 2, 0, 0)), LEAVE_FAULT);
    assert_int_equal(x->fault.vector, EX_UD);
    x->efer |= EFER_SCE;
    RUNS(e, help_syscall(x, 2, 0, 0));
    assert_int_equal(x->cpu.pc, 0xffffffff81000000);
    assert_int_equal(x->cpu.reg[X86_RCX], 0x600002);
    assert_int_equal(x->cpu.reg[11], 2 | FL_IF | FL_CF | FL_ZF);
    assert_int_equal(x86_rflags(x), 2 | FL_ZF);
    assert_int_equal(x86_cpl(x), 0);
    assert_int_equal(x->seg[SEG_CS].selector, C0_64);
    assert_int_equal(x->seg[SEG_SS].selector, D0);
    e->vector = 0x40;
    x->cpu.kick = 0;
    RUNS(e, help_sysret(x, 8, 0, 0));
    assert_int_equal(x->cpu.pc, 0x600002);
    assert_int_equal(x86_cpl(x), 3);
    assert_int_equal(x->seg[SEG_CS].selector, C3_64 | 3);
    assert_int_equal(x->seg[SEG_SS].selector, D3 | 3);
    assert_int_equal(x86_rflags(x), 2 | FL_IF | FL_CF | FL_ZF);
    assert_true(x->cpu.kick); /* an interrupt was waiting for IF */
    FAULTS(e, EX_GP, 0, help_sysret(x, 8, 0, 0));
    long_mode(e, 0);
    x->cpu.reg[X86_RCX] = 0x800000000000;
    FAULTS(e, EX_GP, 0, help_sysret(x, 8, 0, 0));
    RUNS(e, help_sysret(x, 4, 0, 0));
    assert_int_equal(x->seg[SEG_CS].selector, C3_32 | 3);
    assert_false(x->mode & MODE_64);
}

/* ---- protected mode
 * ------------------------------------------------------------------------------------------------- */

static void test_protected_fault_and_back(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    protected_mode(e, 3);
    FAULTS(e, EX_GP, 0x50, help_raise(x, EX_GP, 0x50, 1));
    RUNS(e, x86_deliver_fault(x));
    assert_int_equal(x->cpu.pc, 0x50000d);
    assert_int_equal(x->cpu.reg[X86_RSP], STACK0 - 24);
    const uint64_t want[] = {0x50, 0x600000, C3_32 | 3, 2 | FL_IF | FL_CF | FL_RF, STACK3, D3 | 3};
    for (unsigned n = 0; n < 6; n++)
        assert_int_equal(get(e, STACK0 - 24 + 4 * n, 4), want[n]);
    assert_int_equal(x->seg[SEG_SS].selector, D0_32);
    assert_int_equal(x->seg[SEG_DS].selector, D3 | 3);
    assert_int_equal(x86_cpl(x), 0);
    x->cpu.reg[X86_RSP] += 4;
    RUNS(e, help_iret(x, 4, 1, 0));
    assert_int_equal(x->cpu.pc, 0x600000);
    assert_int_equal(x86_cpl(x), 3);
    assert_int_equal(x->cpu.reg[X86_RSP], STACK3);

    put_segment(e, READONLY, 0, 0xfffff, DATA32 & ~2);
    put(e, TSS + 8, READONLY, 4); /* a stack segment that is none */
    FAULTS(e, EX_UD, 0, x86_raise(x, EX_UD));
    FAULTS(e, EX_TS, READONLY | 1, x86_deliver_fault(x));
}

static void test_same_level_16_bit_gate(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    protected_mode(e, 0);
    put_gate(e, IDT + 8 * 5, C0_32, 0x77771234, SYS_TRAP16, 0, 0, false);
    RUNS(e, help_int(x, 5, 2, 0));
    assert_int_equal(x->cpu.pc, 0x1234);
    assert_int_equal(x->cpu.reg[X86_RSP], STACK0 - 0x1000 - 6);
    assert_int_equal(get(e, STACK0 - 0x1000 - 6, 2), 0x0002);
    assert_int_equal(get(e, STACK0 - 0x1000 - 4, 2), C0_32);
    assert_int_equal(get(e, STACK0 - 0x1000 - 2, 2), 2 | FL_IF | FL_CF);
}

static void test_call_gate(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    protected_mode(e, 3);
    put_gate(e, GDT + GATE, C0_32, 0x512345, SYS_CALL32, 3, 2, false);
    put(e, STACK3, 0x11111111, 4);
    put(e, STACK3 + 4, 0x22222222, 4);
    FAULTS(e, EX_GP, C0_32, help_jmp_far(x, GATE | 3, 0, 4 | 7 << 8));
    RUNS(e, help_call_far(x, GATE | 3, 0xdead, 4 | 7 << 8));
    assert_int_equal(x->cpu.pc, 0x512345);
    assert_int_equal(x86_cpl(x), 0);
    assert_int_equal(x->seg[SEG_CS].selector, C0_32);
    const uint64_t want[] = {0x600007, C3_32 | 3, 0x11111111, 0x22222222, STACK3, D3 | 3};
    assert_int_equal(x->cpu.reg[X86_RSP], STACK0 - 24);
    for (unsigned n = 0; n < 6; n++)
        assert_int_equal(get(e, STACK0 - 24 + 4 * n, 4), want[n]);
    x->seg[SEG_ES] = segment(D0_32, DATA32);
    RUNS(e, help_ret_far(x, 4, 8, 0));
    assert_int_equal(x->cpu.pc, 0x600007);
    assert_int_equal(x86_cpl(x), 3);
    assert_int_equal(x->cpu.reg[X86_RSP], STACK3 + 8);
    assert_int_equal(x->seg[SEG_ES].selector, 0);
    put_gate(e, GDT + GATE, C0_32, 0x512345, SYS_CALL32, 2, 2, false);
    FAULTS(e, EX_GP, GATE, help_call_far(x, GATE | 3, 0, 4 | 7 << 8));
}

static void test_far_jump(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    protected_mode(e, 3);
    FAULTS(e, EX_GP, C0_32, help_jmp_far(x, C0_32, 0x1000, 4));
    FAULTS(e, EX_GP, 0, help_jmp_far(x, 2, 0x1000, 4));
    FAULTS(e, EX_GP, D3, help_jmp_far(x, D3 | 3, 0x1000, 4));
    RUNS(e, help_jmp_far(x, CONF, 0x1000, 4));
    assert_int_equal(x->cpu.pc, 0x1000);
    assert_int_equal(x->seg[SEG_CS].selector, CONF | 3);
    assert_int_equal(x86_cpl(x), 3);
    put_segment(e, C3_32, 0x10000, 0xfff, (CODE32 | DPL3) & ~0x8001); /* byte granular, not yet accessed */
    FAULTS(e, EX_GP, 0, help_jmp_far(x, C3_32 | 3, 0x1000, 4));
    RUNS(e, help_jmp_far(x, C3_32 | 3, 0xffc, 4));
    assert_int_equal(x->cpu.pc, 0x10ffc);
    assert_true(get(e, GDT + C3_32 + 5, 1) & 1);
    assert_false(x->mode & MODE_FLAT);
}

static void test_load_seg(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    protected_mode(e, 3);
    FAULTS(e, EX_GP, D0_32, help_load_seg(x, SEG_DS, D0_32, 0));
    FAULTS(e, EX_NP, ABSENT, help_load_seg(x, SEG_DS, ABSENT | 3, 0));
    FAULTS(e, EX_SS, ABSENT, help_load_seg(x, SEG_SS, ABSENT | 3, 0));
    FAULTS(e, EX_GP, READONLY, help_load_seg(x, SEG_SS, READONLY | 3, 0));
    FAULTS(e, EX_GP, 0, help_load_seg(x, SEG_SS, 0, 0));
    FAULTS(e, EX_GP, D3, help_load_seg(x, SEG_SS, D3, 0));       /* RPL 0 */
    FAULTS(e, EX_GP, 0xffc, help_load_seg(x, SEG_ES, 0xfff, 0)); /* no LDT: reset's is there, but empty of use */
    assert_true(x->mode & MODE_FLAT);
    RUNS(e, help_load_seg(x, SEG_ES, READONLY | 3, 0));
    assert_false(x->mode & MODE_FLAT);
    FAULTS(e, EX_GP, 0, help_seg_linear(x, 0, SEG_ES, 4 | 0x100));
    RUNS(e, help_seg_linear(x, 0, SEG_ES, 4));
    RUNS(e, help_load_seg(x, SEG_ES, 0, 0));
    FAULTS(e, EX_GP, 0, help_seg_linear(x, 0, SEG_ES, 4));
    RUNS(e, help_load_seg(x, SEG_ES, D3, 0));
    assert_true(x->mode & MODE_FLAT);
}

static void test_limits(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    protected_mode(e, 3);
    x->seg[SEG_DS].base = 0x5000;
    x->seg[SEG_DS].limit = 0xfff;
    x86_mode_update(x);
    assert_int_equal(help_seg_linear(x, 0xffc, SEG_DS, 4), 0x5ffc);
    FAULTS(e, EX_GP, 0, help_seg_linear(x, 0xffd, SEG_DS, 4));
    x->seg[SEG_DS].attr |= 4; /* expand-down */
    FAULTS(e, EX_GP, 0, help_seg_linear(x, 0xfff, SEG_DS, 1));
    assert_int_equal(help_seg_linear(x, 0x1000, SEG_DS, 4), 0x6000);
    FAULTS(e, EX_GP, 0, help_seg_linear(x, 0xfffffffe, SEG_DS, 4));
    x->seg[SEG_SS].limit = 0xff;
    FAULTS(e, EX_SS, 0, help_seg_linear(x, 0x100, SEG_SS, 1));
}

static void test_lar_lsl_verr(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    protected_mode(e, 3);
    assert_int_equal(help_lar(x, C3_32, 99, 4), 0xc0fb00);
    assert_true(x86_rflags(x) & FL_ZF);
    assert_int_equal(help_lar(x, C0_32, 99, 4), 99);
    assert_false(x86_rflags(x) & FL_ZF);
    assert_int_equal(help_lsl(x, D3, 99, 4), 0xffffffff);
    put_segment(e, D3, 0, 0x123, 0x40f3);
    assert_int_equal(help_lsl(x, D3, 99, 4), 0x123);
    help_verr(x, READONLY | 3, 0, 0);
    assert_true(x86_rflags(x) & FL_ZF);
    help_verr(x, READONLY | 3, 1, 0);
    assert_false(x86_rflags(x) & FL_ZF);
    assert_int_equal(help_arpl(x, 0x101, 3, 0), 0x103);
    assert_true(x86_rflags(x) & FL_ZF);
    assert_int_equal(help_arpl(x, 0x103, 1, 0), 0x103);
    assert_false(x86_rflags(x) & FL_ZF);
}

static void test_task_switch(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    protected_mode(e, 0);
    put_segment(e, TSS2_SEL, TSS_2, 103, 0x89);
    put(e, TSS_2 + 32, 0x700000, 4);
    put(e, TSS_2 + 36, 2, 4);
    put(e, TSS_2 + 40, 0xaaaa, 4);
    put(e, TSS_2 + 56, STACK3, 4);
    const unsigned selectors[] = {D3 | 3, C3_32 | 3, D3 | 3, 0, D3 | 3, 0};
    for (unsigned n = 0; n < 6; n++)
        put(e, TSS_2 + 72 + 4 * n, selectors[n], 4);
    x->cpu.reg[X86_RAX] = 0x1234;
    RUNS(e, help_call_far(x, TSS2_SEL, 0, 4 | 7 << 8));
    assert_int_equal(x->cpu.pc, 0x700000);
    assert_int_equal(x86_cpl(x), 3);
    assert_int_equal(x->cpu.reg[X86_RAX], 0xaaaa);
    assert_int_equal(x->cpu.reg[X86_RSP], STACK3);
    assert_int_equal(x->tr.selector, TSS2_SEL);
    assert_true(x->flags & FL_NT);
    assert_true(x->cr0 & CR0_TS);
    assert_int_equal(x->seg[SEG_DS].selector, 0);
    assert_int_equal(x->seg[SEG_FS].limit, 0xffffffff);
    assert_int_equal(get(e, TSS_2, 2), TSS_SEL);
    assert_int_equal(get(e, TSS + 32, 4), 0x600007);
    assert_int_equal(get(e, TSS + 40, 4), 0x1234);
    assert_int_equal(get(e, GDT + TSS2_SEL + 5, 1), 0x8b);
    assert_int_equal(get(e, GDT + TSS_SEL + 5, 1), 0x8b);
    x->cpu.reg[IR_PCB] = 0x700000;
    x->cpu.insn_off = 0x10;
    RUNS(e, help_iret(x, 4, 1, 0));
    assert_int_equal(x->cpu.pc, 0x600007);
    assert_int_equal(x86_cpl(x), 0);
    assert_int_equal(x->cpu.reg[X86_RAX], 0x1234);
    assert_int_equal(x->tr.selector, TSS_SEL);
    assert_false(x->flags & FL_NT);
    assert_int_equal(get(e, GDT + TSS2_SEL + 5, 1), 0x89);
    assert_int_equal(get(e, TSS_2 + 32, 4), 0x700011);
    assert_int_equal(get(e, TSS_2 + 36, 4), 2); /* without NT */
    /* a bad segment in the new task is the new task's fault */
    put(e, TSS_2 + 80, ABSENT | 3, 4);
    FAULTS(e, EX_SS, ABSENT, help_jmp_far(x, TSS2_SEL, 0, 4 | 7 << 8));
    assert_int_equal(x->cpu.pc, 0x700011);
    assert_int_equal(x->tr.selector, TSS2_SEL);
}

static void test_long_call_gate(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    long_mode(e, 3);
    put_gate(e, GDT + GATE, C0_64, 0xffffffff81234567, SYS_CALL32, 3, 0, true);
    put(e, TSS2_SEL + GDT, 0, 8);
    RUNS(e, help_call_far(x, GATE | 3, 0, 4 | 6 << 8));
    assert_int_equal(x->cpu.pc, 0xffffffff81234567);
    assert_int_equal(x86_cpl(x), 0);
    assert_int_equal(x->seg[SEG_SS].selector, 0);
    assert_int_equal(x->cpu.reg[X86_RSP], STACK0 - 32);
    const uint64_t want[] = {0x600006, C3_64 | 3, STACK3, D3 | 3};
    for (unsigned n = 0; n < 4; n++)
        assert_int_equal(get(e, STACK0 - 32 + 8 * n, 8), want[n]);
    RUNS(e, help_ret_far(x, 8, 0, 0));
    assert_int_equal(x->cpu.pc, 0x600006);
    assert_int_equal(x->cpu.reg[X86_RSP], STACK3);
    put(e, GDT + GATE + 8, 0x1f00ull << 32 | 0xffffffff, 8); /* not zero where a type would be */
    FAULTS(e, EX_GP, GATE, help_call_far(x, GATE | 3, 0, 4 | 6 << 8));
    put_gate(e, GDT + GATE, C0_32, 0x1000, SYS_CALL32, 3, 0, true);
    FAULTS(e, EX_GP, C0_32, help_call_far(x, GATE | 3, 0, 4 | 6 << 8));
}

/* A 16-bit task as the handler of #GP: the error code is on its stack, NT links back. */
static void test_task_gate_in_idt(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    protected_mode(e, 3);
    put_segment(e, TSS2_SEL, TSS_2, 43, 0x81);
    put_gate(e, IDT + 8 * EX_GP, TSS2_SEL, 0, SYS_TASK, 0, 0, false);
    put(e, TSS_2 + 14, 0x4321, 2);
    put(e, TSS_2 + 16, 2, 2);
    put(e, TSS_2 + 26, 0x8000, 2);
    const unsigned selectors[] = {D0_32, C0_32, D0_32, D0_32};
    for (unsigned n = 0; n < 4; n++)
        put(e, TSS_2 + 34 + 2 * n, selectors[n], 2);
    FAULTS(e, EX_GP, 0x50, help_raise(x, EX_GP, 0x50, 1));
    RUNS(e, x86_deliver_fault(x));
    assert_int_equal(x->cpu.pc, 0x4321);
    assert_int_equal(x86_cpl(x), 0);
    assert_int_equal(x->cpu.reg[X86_RSP] & 0xffff, 0x7ffe);
    assert_int_equal(get(e, (x->cpu.reg[X86_RSP] & 0xffff0000) + 0x7ffe, 2), 0x50);
    assert_true(x->flags & FL_NT);
    assert_int_equal(get(e, TSS + 32, 4), 0x600000);
    x->cpu.reg[X86_RSP] += 2;
    RUNS(e, help_iret(x, 4, 1, 0));
    assert_int_equal(x->cpu.pc, 0x600000);
    assert_int_equal(x86_cpl(x), 3);
    assert_int_equal(x->cpu.reg[X86_RSP], STACK3);
    put_segment(e, TSS2_SEL, TSS_2, 42, 0x81); /* too short */
    FAULTS(e, EX_GP, 0x50, help_raise(x, EX_GP, 0x50, 1));
    FAULTS(e, EX_TS, TSS2_SEL | 1, x86_deliver_fault(x));
}

/* ---- real and virtual-8086 mode
 * ----------------------------------------------------------------------------------------- */

static void test_real_mode(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    assert_int_equal(x->cpu.pc, 0xfffffff0);
    assert_int_equal(x->cr0, 0x60000010);
    x->idtr.base = 0;
    x->idtr.limit = 0x3ff;
    put(e, 0x21 * 4, 0x12340056, 4);
    x->cpu.reg[X86_RSP] = 0xdead0100;
    RUNS(e, help_load_seg(x, SEG_SS, 0x2000, 0));
    RUNS(e, help_jmp_far(x, 0x3000, 0x10, 2));
    assert_int_equal(x->cpu.pc, 0x30010);
    x->cpu.reg[IR_PCB] = 0x30000;
    x->cpu.insn_off = 0x10;
    x86_set_rflags(x, 2 | FL_IF | FL_SF);
    RUNS(e, help_int(x, 0x21, 2, 0));
    assert_int_equal(x->cpu.pc, 0x12396);
    assert_int_equal(x->cpu.reg[X86_RSP], 0xdead00fa);
    assert_int_equal(get(e, 0x200fa, 6), 0x0282300000120000 >> 16);
    assert_false(x->flags & FL_IF);
    RUNS(e, help_iret(x, 2, 1, 0));
    assert_int_equal(x->cpu.pc, 0x30012);
    assert_int_equal(x86_rflags(x), 2 | FL_IF | FL_SF);
    assert_int_equal(x->cpu.reg[X86_RSP], 0xdead0100);
    x->idtr.limit = 0x21 * 4 + 2;
    FAULTS(e, EX_GP, 0x21 * 8 + 2, help_int(x, 0x21, 2, 0));
}

static void test_virtual_8086(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    protected_mode(e, 0);
    uint64_t sp = STACK0 - 36;
    const uint32_t frame[] = {0x100,  0x3000, 2 | FL_VM | FL_IF | FL_IOPL, 0xfff0, 0x4000, 0x5000, 0x6000,
                              0x7000, 0x8000};
    memcpy(at(e, sp), frame, sizeof(frame));
    x->cpu.reg[X86_RSP] = sp;
    RUNS(e, help_iret(x, 4, 1, 0));
    assert_true(x->mode & MODE_VM86);
    assert_int_equal(x86_cpl(x), 3);
    assert_int_equal(x->cpu.pc, 0x30100);
    assert_int_equal(x->cpu.reg[X86_RSP], 0xfff0);
    assert_int_equal(x->cpu.reg[X86_BASE_SS], 0x40000);
    assert_int_equal(x->cpu.reg[X86_BASE_ES], 0x50000);
    assert_int_equal(x->cpu.reg[X86_BASE_GS], 0x80000);
    x->cpu.reg[IR_PCB] = 0x30000;
    x->cpu.insn_off = 0x100;
    FAULTS(e, EX_GP, 0, help_raise(x, EX_GP, 0, 1));
    RUNS(e, x86_deliver_fault(x));
    assert_int_equal(x->cpu.pc, 0x50000d);
    assert_int_equal(x->cpu.reg[X86_RSP], sp - 4);
    assert_int_equal(get(e, sp + 8, 4), frame[2] | FL_RF);
    put(e, sp + 8, frame[2], 4);
    assert_memory_equal(at(e, sp), frame, sizeof(frame));
    assert_int_equal(x->seg[SEG_GS].selector, 0);
    assert_false(x->mode & MODE_VM86);
    /* INT n with IOPL < 3 and no VME */
    x->cpu.reg[X86_RSP] = sp;
    put(e, sp + 8, 2 | FL_VM | FL_IF, 4);
    RUNS(e, help_iret(x, 4, 1, 0));
    FAULTS(e, EX_GP, 0, help_int(x, 0x21, 2, 0));
    FAULTS(e, EX_GP, 0, help_iret(x, 2, 1, 0));
    /* with VME and a clear bit in the redirection map the task's own handler runs, IF standing in VIF */
    x->cr4 |= CR4_VME;
    x->tr.limit = 0xfff;
    put(e, TSS + 102, 0x90, 2);
    put(e, TSS + 0x70, 0, 8);
    put(e, TSS + 0x74, 2, 1); /* vector 21H to the monitor: bit 1 of byte 4 */
    put(e, 0x20 * 4, 0x00500060, 4);
    FAULTS(e, EX_GP, 0, help_int(x, 0x21, 2, 0));
    RUNS(e, help_int(x, 0x20, 2, 0));
    assert_int_equal(x->cpu.pc, 0x560);
    assert_true(x->flags & FL_IF);
    assert_int_equal(get(e, 0x40000 + 0xfff0 - 2, 2), 2 | FL_IOPL);
    x->flags |= FL_VIF;
    x->cpu.reg[X86_RSP] = 0xfff0 - 6;
    RUNS(e, help_iret(x, 2, 1, 0));
    assert_int_equal(x->cpu.pc, 0x30102);
    assert_false(x->flags & FL_VIF);
}

/* ---- debugging
 * ---------------------------------------------------------------------------------------------------------- */

static void test_single_step(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    long_mode(e, 3);
    x->flags |= FL_TF;
    x86_mode_update(x);
    assert_true(x->mode & MODE_STEP);
    assert_false(x86_before_step(x));
    x->cpu.pc = 0x600003;
    assert_true(x86_after_step(x));
    assert_int_equal(x->dr[6], 0xffff4ff0);
    RUNS(e, x86_deliver_fault(x));
    assert_int_equal(x->cpu.pc, 0x500001);
    assert_int_equal(get(e, STACK0 - 40, 8), 0x600003);
    assert_true(get(e, STACK0 - 24, 8) & FL_TF);
    assert_false(get(e, STACK0 - 24, 8) & FL_RF); /* a trap */
    assert_false(x->mode & MODE_STEP);
    /* IRET back to TF: no trap after IRET itself, one after the next insn */
    RUNS(e, help_iret(x, 8, 2, 0));
    assert_true(x->mode & MODE_STEP);
    assert_false(x86_before_step(x));
    assert_true(x->step_tf);
}

static void test_instruction_breakpoint(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    long_mode(e, 0);
    RUNS(e, help_write_dr(x, 1, 0x600000, 0));
    RUNS(e, help_write_dr(x, 7, 4, 0)); /* L1, execute */
    assert_true(x->mode & MODE_STEP);
    assert_true(x86_before_step(x));
    assert_int_equal(x->dr[6] & 15, 2);
    RUNS(e, x86_deliver_fault(x));
    put(e, x->cpu.reg[X86_RSP] + 16, 2 | FL_RF, 8); /* the handler sets RF */
    x->flags |= FL_RF;
    assert_false(x86_before_step(x)); /* IRET itself runs with RF; the RF it loads stays */
    RUNS(e, help_iret(x, 8, 2, 0));
    assert_false(x86_after_step(x));
    assert_int_equal(x->cpu.pc, 0x600000);
    assert_false(x86_before_step(x)); /* RF */
    assert_false(x86_after_step(x));
    assert_true(x86_before_step(x));
    RUNS(e, help_write_dr(x, 7, 1 << 13, 0));
    FAULTS(e, EX_DB, 0, help_read_dr(x, 0, 0, 0));
    assert_true(x->dr[6] & 1 << 13);
    RUNS(e, x86_deliver_fault(x));
    RUNS(e, help_read_dr(x, 0, 0, 0)); /* GD was cleared */
}

static void test_data_breakpoint(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    long_mode(e, 0);
    RUNS(e, help_write_dr(x, 0, 0x700004, 0));
    RUNS(e, help_write_dr(x, 7, 2 | 1 << 16 | 3 << 18, 0)); /* G0, write, 4 bytes */
    assert_true(x86_page_watched(x, 0x700fff));
    assert_false(x86_page_watched(x, 0x701000));
    RUNS(e, x86_watch(x, 0x700004, 4, false));
    RUNS(e, x86_watch(x, 0x700008, 4, true));
    assert_int_equal(x->pending_db, 0);
    assert_int_equal(LEAVES(e, x86_watch(x, 0x700000, 8, true)), LEAVE_AGAIN); /* the insn must run alone */
    assert_true(x->cpu.one_insn);
    RUNS(e, x86_watch(x, 0x700000, 8, true));
    assert_int_equal(x->pending_db, 1);
    x->cpu.pc = 0x600005;
    assert_true(x86_interrupt_ready(x));
    RUNS(e, x86_take_interrupt(x));
    assert_int_equal(x->cpu.pc, 0x500001);
    assert_int_equal(x->dr[6], 0xffff0ff1);
}

/* ---- control registers and jump cache tags
 * --------------------------------------------------------------------------------- */

static void test_control_checks(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    FAULTS(e, EX_GP, 0, help_write_cr(x, 0, CR0_PG, 0)); /* without PE */
    FAULTS(e, EX_GP, 0, help_write_cr(x, 0, CR0_NW, 0));
    FAULTS(e, EX_GP, 0, help_write_cr(x, 4, 1u << 31, 0));
    FAULTS(e, EX_GP, 0, help_write_cr(x, 4, CR4_PCIDE, 0)); /* not in long mode */
    RUNS(e, help_lmsw(x, 1, 0, 0));
    RUNS(e, help_lmsw(x, 0, 0, 0));
    assert_true(x->cr0 & CR0_PE);
    RUNS(e, x86_write_efer(x, EFER_LME));
    FAULTS(e, EX_GP, 0, help_write_cr(x, 0, CR0_PG | CR0_PE, 0)); /* LME without PAE */
    RUNS(e, help_write_cr(x, 4, CR4_PAE, 0));
    RUNS(e, help_write_cr(x, 0, CR0_PG | CR0_PE, 0));
    assert_int_equal(x->efer, EFER_LME | EFER_LMA);
    FAULTS(e, EX_GP, 0, x86_write_efer(x, 0));
    long_mode(e, 0);
    FAULTS(e, EX_GP, 0, help_write_cr(x, 4, 0, 0));
    FAULTS(e, EX_GP, 0, help_write_cr(x, 0, CR0_PE, 0)); /* PG off in 64-bit mode */
    FAULTS(e, EX_GP, 0, help_write_cr(x, 3, 1ull << 40, 0));
    FAULTS(e, EX_GP, 0, help_write_cr(x, 3, 1ull << 63, 0)); /* no PCIDE */
    long_mode(e, 3);
    FAULTS(e, EX_GP, 0, help_read_cr(x, 0, 0, 0));
}

static void test_jump_cache_tags(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    struct status st = {0};
    assert_true(tlb_init(&x->tlb, 1, &st));
    x86_reset(x, false);
    long_mode(e, 3);
    uint64_t user = x->cpu.jc_tag;
    x->seg[SEG_SS].attr &= ~DPL3;
    x86_mode_update(x);
    uint64_t kernel = x->cpu.jc_tag;
    assert_true(user != kernel && user != ~0ull && kernel != ~0ull); /* ~0: an empty entry */
    assert_ptr_equal(x->cpu.tab_x, tlb_table(x->tlb, x->cur_slot, TLB_X_SUP));
    x->seg[SEG_SS].attr |= DPL3;
    x86_mode_update(x);
    assert_int_equal(x->cpu.jc_tag, user); /* going back and forth costs nothing */
    x->seg[SEG_SS].attr &= ~DPL3;
    x86_mode_update(x);
    tlb_fill(x->tlb, x->cur_slot, TLB_X_SUP, 0x600000, 0x601, 0);
    RUNS(e, help_write_cr(x, 3, PML4, 0));
    assert_true(x->cpu.jc_tag != kernel); /* an X entry is gone: old keys must not match */
    uint64_t now = x->cpu.jc_tag;
    RUNS(e, help_write_cr(x, 3, PML4, 0));
    assert_int_equal(x->cpu.jc_tag, now);

    /* PCIDs: each its own slot; bit 63 keeps it */
    RUNS(e, help_write_cr(x, 4, CR4_PAE | CR4_PCIDE, 0));
    RUNS(e, help_write_cr(x, 3, PML4 | 1, 0));
    unsigned one = x->cur_slot;
    uint64_t tag = x->cpu.jc_tag;
    tlb_fill(x->tlb, one, TLB_R_SUPAC, 0x600000, 0x1000, 0);
    tlb_fill(x->tlb, one, TLB_X_SUP, 0x600000, 0x601, 0);
    RUNS(e, help_write_cr(x, 3, PML4 | 2, 0));
    assert_int_not_equal(x->cur_slot, one);
    assert_true(x->cpu.jc_tag != tag);
    RUNS(e, help_write_cr(x, 3, PML4 | 1 | 1ull << 63, 0));
    assert_int_equal(x->cur_slot, one);
    assert_int_equal(x->cpu.jc_tag, tag);
    assert_int_equal(*tlb_entry(x->cpu.tab_r, 0x600000), 0x1000);
    RUNS(e, help_write_cr(x, 3, PML4 | 2 | 1ull << 63, 0));
    put(e, 0x20000, 1, 8); /* INVPCID descriptor: PCID 1 */
    put(e, 0x20008, 0x600000, 8);
    RUNS(e, help_invpcid(x, 0, 0x20000, 0));
    assert_int_equal(*tlb_entry(tlb_table(x->tlb, one, TLB_R_SUPAC), 0x600000), 0);
    for (unsigned pcid = 3; pcid < 40; pcid++)
        help_write_cr(x, 3, PML4 | pcid | 1ull << 63, 0);
    RUNS(e, help_write_cr(x, 3, PML4 | 1 | 1ull << 63, 0));
    assert_true(x->cpu.jc_tag != tag || x->cur_slot == one);
    tlb_fini(x->tlb);
    x->tlb = NULL;
}

static void test_sti_shadow_lasts_one_step(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    long_mode(e, 0);
    e->vector = 0x31;
    assert_false(x86_before_step(x)); /* STI runs alone and sets the shadow */
    x->shadow = true;
    assert_false(x86_after_step(x));
    assert_false(x86_interrupt_ready(x));
    assert_false(x86_before_step(x));
    assert_false(x86_after_step(x));
    assert_true(x86_interrupt_ready(x));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_long_page_fault_and_back),
        TEST(test_long_ist_and_alignment),
        TEST(test_soft_int_checks),
        TEST(test_double_and_triple_fault),
        TEST(test_external_interrupt),
        TEST(test_nmi_blocks_until_iret),
        TEST(test_long_iret_checks),
        TEST(test_iret_keeps_iopl_and_if_from_users),
        TEST(test_syscall_sysret),
        TEST(test_protected_fault_and_back),
        TEST(test_same_level_16_bit_gate),
        TEST(test_call_gate),
        TEST(test_far_jump),
        TEST(test_load_seg),
        TEST(test_limits),
        TEST(test_lar_lsl_verr),
        TEST(test_task_switch),
        TEST(test_long_call_gate),
        TEST(test_task_gate_in_idt),
        TEST(test_real_mode),
        TEST(test_virtual_8086),
        TEST(test_single_step),
        TEST(test_instruction_breakpoint),
        TEST(test_data_breakpoint),
        TEST(test_control_checks),
        TEST(test_jump_cache_tags),
        TEST(test_sti_shadow_lasts_one_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
