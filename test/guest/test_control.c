/* test/guest/test_control.c: single steps and breakpoints, control registers, jump cache tags, the interrupt shadow.
 * Expectations come from the Intel SDM vol. 3, chapters 2, 4 and 17. */
#include "test/guest/standalone.h"

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
    x86_fill_code(x, 0x600000, 0x601, 0);
    kernel = x->cpu.jc_tag;
    RUNS(e, help_write_cr(x, 3, PML4, 0));
    assert_true(x->cpu.jc_tag != kernel); /* an X entry is gone: old keys must not match */
    uint64_t now = x->cpu.jc_tag;
    RUNS(e, help_write_cr(x, 3, PML4, 0));
    assert_int_equal(x->cpu.jc_tag, now);

    /* PCIDs: each its own slot; bit 63 keeps it */
    RUNS(e, help_write_cr(x, 4, CR4_PAE | CR4_PCIDE, 0));
    RUNS(e, help_write_cr(x, 3, PML4 | 1, 0));
    unsigned one = x->cur_slot;
    x86_fill_code(x, 0x600000, 0x601, 0);
    uint64_t tag = x->cpu.jc_tag;
    tlb_fill(x->tlb, one, TLB_R_SUPAC, 0x600000, 0x1000, 0);
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

/* As exec/loop.c enters one. */
static void enter_entry(struct cpu *c, uint64_t pc, const void *hpc)
{
    unsigned table = (unsigned)(c->jc - c->jc_table[0]) / CPU_JC_SIZE;
    struct cpu_jc *e = cpu_jc_at(c->jc, cpu_jc_offset(pc));
    if (c->jc_logged[table] < CPU_JC_LOG)
        c->jc_log[table][c->jc_logged[table]++] = (uint16_t)(e - c->jc);
    else
        c->jc_logged[table] = CPU_JC_LOG + 1;
    *e = (struct cpu_jc){pc, hpc};
}

static unsigned entries_but(const struct cpu *c, const void *hpc)
{
    unsigned n = 0;
    for (unsigned i = 0; i < CPU_JC_SIZE; i++)
        n += c->jc[i].hpc != c->jc_none && c->jc[i].hpc != hpc;
    return n;
}

/* Whoever looks into the present table compares the address alone: nothing of another address space or mode, or of a
 * mapping that has gone, may be there. */
static void test_jump_cache_tables(void **state)
{
    enum { SPACES = 3 * CPU_JC_TABLES };
    struct env *e = *state;
    struct x86 *x = &e->x;
    struct cpu *c = &x->cpu;
    struct status st = {0};
    char here[SPACES]; /* what entries of each lead to */
    assert_true(tlb_init(&x->tlb, 1, &st));
    x->cpu.jc_none = &st;
    for (unsigned i = 0; i < CPU_JC_TABLES; i++)
        c->jc_logged[i] = CPU_JC_LOG + 1; /* of unknown contents */
    x86_reset(x, false);
    long_mode(e, 0);
    assert_int_equal(entries_but(c, NULL), 0);
    struct cpu_jc *kernel = c->jc;
    enter_entry(c, 0x600000, &here[0]);
    x->seg[SEG_SS].attr |= DPL3;
    x86_mode_update(x);
    assert_ptr_not_equal(c->jc, kernel);
    assert_int_equal(entries_but(c, NULL), 0);
    x->seg[SEG_SS].attr &= ~DPL3;
    x86_mode_update(x);
    assert_ptr_equal(c->jc, kernel);
    assert_int_equal(entries_but(c, NULL), 1);
    x86_jc_clear(x);
    assert_int_equal(entries_but(c, NULL), 0);

    help_write_cr(x, 4, CR4_PAE | CR4_PCIDE, 0);
    for (unsigned round = 0; round < 4; round++)
        for (unsigned n = 1; n < SPACES; n++) {
            unsigned pcid = round == 3 ? 1 + n % 3 : n;
            help_write_cr(x, 3, PML4 | pcid | 1ull << 63, 0);
            x86_fill_code(x, 0x600000, 0x600 + pcid, 0);
            assert_int_equal(entries_but(c, &here[pcid]), 0);
            for (unsigned i = 0; i < (n % 3 ? 20 : 2 * CPU_JC_LOG); i++)
                enter_entry(c, 0x600000 + i * 16, &here[pcid]);
            if (n % 4 == 0) { /* the mapping goes */
                help_invlpg(x, 0x600000, 0, 0);
                assert_int_equal(entries_but(c, NULL), 0);
            }
        }
    tlb_fini(x->tlb);
    x->tlb = NULL;
}

/* What is global survives whatever goes on between processes, the jump cache's keys for it included, until it is dropped. */
static void test_global_code_is_shared(void **state)
{
    struct env *e = *state;
    struct x86 *x = &e->x;
    struct status st = {0};
    assert_true(tlb_init(&x->tlb, 1, &st));
    x86_reset(x, false);
    long_mode(e, 0);
    help_write_cr(x, 4, CR4_PAE | CR4_PGE | CR4_PCIDE, 0);
    help_write_cr(x, 3, PML4 | 1, 0);
    x86_fill_code(x, 0x600000, 0x601, TLB_GLOBAL);
    uint64_t tag = x->cpu.jc_tag;
    tlb_fill(x->tlb, x->cur_slot, TLB_R_SUPAC, 0x700000, 0x1000, TLB_GLOBAL);
    tlb_fill(x->tlb, x->cur_slot, TLB_R_SUPAC, 0x800000, 0x1000, 0);
    unsigned one = x->cur_slot;
    for (unsigned pcid = 2; pcid < 40; pcid++) {
        help_write_cr(x, 3, PML4 | pcid, 0);
        assert_int_equal(x->cpu.jc_tag, tag);
    }
    assert_int_equal(*tlb_entry(tlb_table(x->tlb, one, TLB_R_SUPAC), 0x700000), 0x1000);
    assert_int_equal(*tlb_entry(tlb_table(x->tlb, one, TLB_R_SUPAC), 0x800000), 0); /* the slot is another's now */
    assert_int_equal(*tlb_entry(tlb_table(x->tlb, one, TLB_X_SUP), 0x600000), 0x601);

    /* A slot with code of its own has keys of its own, until that is flushed. */
    x86_fill_code(x, 0x900000, 0x901, 0);
    uint64_t own = x->cpu.jc_tag;
    assert_int_not_equal(own, tag);
    help_write_cr(x, 3, PML4 | 50, 0);
    assert_int_equal(x->cpu.jc_tag, tag);
    help_write_cr(x, 3, PML4 | 39 | 1ull << 63, 0);
    assert_int_equal(x->cpu.jc_tag, own);
    help_write_cr(x, 3, PML4 | 39, 0);
    assert_int_equal(x->cpu.jc_tag, tag);

    help_invlpg(x, 0x600000, 0, 0);
    assert_int_not_equal(x->cpu.jc_tag, tag);
    assert_int_equal(*tlb_entry(tlb_table(x->tlb, one, TLB_X_SUP), 0x600000), 0);
    x86_fill_code(x, 0x600000, 0x601, TLB_GLOBAL);
    tag = x->cpu.jc_tag;
    help_write_cr(x, 4, CR4_PAE | CR4_PCIDE, 0); /* without PGE nothing is global */
    assert_int_not_equal(x->cpu.jc_tag, tag);
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
        TEST(test_single_step),           TEST(test_instruction_breakpoint), TEST(test_data_breakpoint),
        TEST(test_control_checks),        TEST(test_jump_cache_tags),        TEST(test_sti_shadow_lasts_one_step),
        TEST(test_global_code_is_shared), TEST(test_jump_cache_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
