/* test/guest/test_transfer.c: delivery of faults and interrupts, IRET, far transfers, SYSCALL, task switches.
 * Expectations come from the Intel SDM vol. 3, chapters 5 to 7 and 20. */
#include "test/guest/standalone.h"

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

/* Vol. 3, 6.7.1: while a handler runs one NMI is remembered.  Two that come before either is looked at: the first would
 * have been taken by then. */
static void test_nmis_are_counted(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    long_mode(e, 0);
    x->flags &= ~(uint32_t)FL_IF;
    for (unsigned n = 0; n < 5; n++)
        x86_nmi_ask(x);
    for (unsigned taken = 0; taken < 2; taken++) {
        assert_true(x86_interrupt_ready(x));
        RUNS(e, x86_take_interrupt(x));
        assert_false(x86_interrupt_ready(x));
        RUNS(e, help_iret(x, 8, 2, 0));
    }
    assert_false(x86_interrupt_ready(x));
    x86_nmi_ask(x);
    RUNS(e, x86_take_interrupt(x));
    for (unsigned n = 0; n < 5; n++)
        x86_nmi_ask(x);
    RUNS(e, help_iret(x, 8, 2, 0));
    RUNS(e, x86_take_interrupt(x));
    RUNS(e, help_iret(x, 8, 2, 0));
    assert_false(x86_interrupt_ready(x));
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
    FAULTS(e, EX_GP, 0, help_seg_linear(x, 0, SEG_ES, 4 | SEG_WRITES));
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
        TEST(test_nmis_are_counted),
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
