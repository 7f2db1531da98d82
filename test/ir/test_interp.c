/* test_interp: control flow, memory and struct cpu as the interpreter sees them.  Arithmetic is test_eval's. */
#include "test/ir/irtest.h"

enum { MEM_SIZE = 4096 };

/* The cpu must come first: calls get a pointer to it. */
struct machine {
    struct cpu cpu;
    struct irtest t;
    uint8_t mem[MEM_SIZE]; /* guest addresses 0x10000.. */
    gva_t bounce_at;       /* accesses here go through the bounce buffer; 0: none */
    unsigned last_desc, reads, writes, commits, insn_off, divides;
    const void *helpers[2];
    unsigned slot;
    jmp_buf fault;
};
#define GUEST_BASE 0x10000

static struct machine *machine_of(struct cpu *c)
{
    return (struct machine *)c;
}

static int64_t reach(struct machine *m, gva_t gva, unsigned desc)
{
    m->last_desc = desc;
    m->insn_off = m->cpu.insn_off;
    if (gva < GUEST_BASE || gva >= GUEST_BASE + MEM_SIZE)
        longjmp(m->fault, 1);
    if (gva != m->bounce_at)
        return (int64_t)((uintptr_t)m->mem - GUEST_BASE);
    memcpy(m->cpu.bounce, m->mem + (gva - GUEST_BASE), desc & MD_SIZE);
    m->cpu.pending = (desc & MD_WRITE) != 0;
    return (int64_t)((uintptr_t)m->cpu.bounce - gva);
}

static int64_t mem_read(struct cpu *c, gva_t gva, unsigned desc)
{
    machine_of(c)->reads++;
    return reach(machine_of(c), gva, desc);
}

static int64_t mem_write(struct cpu *c, gva_t gva, unsigned desc)
{
    machine_of(c)->writes++;
    return reach(machine_of(c), gva, desc);
}

static void mem_commit(struct cpu *c)
{
    struct machine *m = machine_of(c);
    m->commits++;
    memcpy(m->mem + (m->bounce_at - GUEST_BASE), c->bounce, m->last_desc & MD_SIZE);
    c->pending = 0;
}

static void divide_error(struct cpu *c)
{
    machine_of(c)->divides++;
    machine_of(c)->insn_off = c->insn_off;
    longjmp(machine_of(c)->fault, 1);
}

/* Stands in for the host: MOVD-like rows copy between reg and vec, whatever the row says. */
static void vec(struct cpu *c, const struct ir_op *o, void *mem)
{
    const char *s = ir_operands(o);
    if (s[IR_D] == 'R')
        c->reg[o->d] = mem ? bytes_get(mem, 1) : c->vec[o->a - IR_VEC0][0] + 1u;
    else if (s[IR_A] == 'T')
        c->vec[o->d - IR_VEC0][0] = (uint8_t)c->reg[o->a];
    else if (s[IR_D] == '.' && mem)
        bytes_put(mem, c->vec[o->b - IR_VEC0][0], 1);
}

static const struct ir_interp_calls calls = {mem_read, mem_write, mem_commit, vec, divide_error, NULL};

static uint64_t helper_alpha(struct cpu *c, uint64_t a, uint64_t b, uint64_t d)
{
    machine_of(c)->insn_off = c->insn_off;
    c->reg[9] = 99;
    return a + 10 * b + 100 * d;
}

static int setup(void **state)
{
    struct machine *m = aligned_alloc(64, (sizeof *m + 63) & ~(size_t)63);
    memset(m, 0, sizeof *m);
    irtest_init(&m->t);
    m->helpers[0] = (const void *)(uintptr_t)helper_alpha;
    m->cpu.helper = m->helpers;
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    struct machine *m = *state;
    irtest_fini(&m->t);
    free(m);
    return 0;
}

/* Parse, verify, run.  -1: a fault. */
static int run(struct machine *m, const char *text)
{
    irtest_parse(&m->t, text);
    irtest_verify(&m->t, &m->t.block);
    if (setjmp(m->fault))
        return -1;
    return (int)ir_interp(&m->t.block, &m->cpu, &calls, &m->slot);
}

#define END "leave.next @0x0\n"

static void test_widths(void **state)
{
    struct machine *m = *state;
    m->cpu.reg[0] = m->cpu.reg[1] = m->cpu.reg[2] = 0x1111111111111111;
    m->cpu.reg[3] = 0xfedcba9876543210;
    run(m, "mov.i8 r0 = r3\nmov.i16 r1 = r3\nmov.i32 r2 = r3\n" END);
    assert_true(m->cpu.reg[0] == 0x1111111111111110);
    assert_true(m->cpu.reg[1] == 0x1111111111113210);
    assert_true(m->cpu.reg[2] == 0x76543210);
    run(m, "add.i8 t0 = r3, #0xf0\nmov.i8 r0 = t0\nsx8.i16 r1 = r0\nsetcc.i8.no r2 =\n" END);
    assert_true(m->cpu.reg[0] == 0x1111111111111100);
    assert_true(m->cpu.reg[1] == 0x1111111111110000);
    assert_true(m->cpu.reg[2] == 0x76543201);
}

static void test_ends(void **state)
{
    struct machine *m = *state;
    m->cpu.reg[IR_PCB] = 0x7000;
    assert_int_equal(run(m, "goto.1 @0x123 poll\n"), LEAVE_LINK);
    assert_true(m->cpu.pc == 0x7123);
    assert_int_equal(m->slot, 1);
    m->cpu.reg[4] = 0x42;
    assert_int_equal(run(m, "gotoi.i64 r4\n"), LEAVE_LOOKUP);
    assert_true(m->cpu.pc == 0x42);
    assert_int_equal(run(m, "leave.halt @-0x1\n"), LEAVE_HALT);
    assert_true(m->cpu.pc == 0x6fff);
    assert_int_equal(run(m, "pc.i64 t0 = @0x10\nleavei.i64.again t0\n"), LEAVE_AGAIN);
    assert_true(m->cpu.pc == 0x7010);
    m->cpu.kick = 1;
    assert_int_equal(run(m, "goto.1 @0x123 poll\n"), LEAVE_KICK);
    assert_int_equal(run(m, "goto.0 @0x123\n"), LEAVE_LINK);
    assert_int_equal(run(m, "gotoi.i64 r4\n"), LEAVE_KICK);
}

static void test_branches(void **state)
{
    struct machine *m = *state;
    static const char text[] = "cmp.i32 r0, #0x5 !CZSOAP\nbrcc.b L0\nbrz.i8 r1, L1\nmov.i64 r2 = #0x1\n" END
                               "label L0\nmov.i64 r2 = #0x2\n" END "label L1\nmov.i64 r2 = #0x3\n" END;
    m->cpu.reg[0] = 4;
    run(m, text);
    assert_int_equal(m->cpu.reg[2], 2);
    m->cpu.reg[0] = 0xffffffff00000005;
    m->cpu.reg[1] = 0x100;
    run(m, text);
    assert_int_equal(m->cpu.reg[2], 3);
    m->cpu.reg[1] = 1;
    run(m, text);
    assert_int_equal(m->cpu.reg[2], 1);
}

static void test_flags_kept(void **state)
{
    struct machine *m = *state;
    cpu_set_flags(&m->cpu, CPU_ARITH);
    run(m, "add.i64 r0 = #0x1, #0x1\ncmp.i64 #0x1, #0x2\nstc\nclc\n" END);
    assert_int_equal(cpu_flags(&m->cpu), CPU_ARITH);
    run(m, "inc.i64 r0 = #0x1 !Z\nclc !C\n" END);
    assert_int_equal(cpu_flags(&m->cpu), 0);
    run(m, "setf.i64.33 #0xfff, #0x801 !CO\ngetf.i64 r0 =\n" END);
    assert_int_equal(m->cpu.reg[0], 0x801);
}

static void test_loads_and_stores(void **state)
{
    struct machine *m = *state;
    bytes_put(m->mem + 8, 0x8182838485868788, 8);
    m->cpu.reg[1] = GUEST_BASE + 8;
    m->cpu.reg[0] = m->cpu.reg[2] = m->cpu.reg[3] = m->cpu.reg[4] = ~0ull;
    run(m, "insn.1 @0x33\nld.i8 r0 = r1 tag=5\ninsn.1 @0x34\nld.i32 r2 = r1\ninsn.1 @0x35\nldz.i16 r3 = r1\n"
           "insn.1 @0x36\nlds.i8.i16 r4 = r1\ninsn.1 @0x37\nlds.i16.i64 r5 = r1\n" END);
    assert_true(m->cpu.reg[0] == 0xffffffffffffff88);
    assert_true(m->cpu.reg[2] == 0x85868788);
    assert_true(m->cpu.reg[3] == 0x8788);
    assert_true(m->cpu.reg[4] == 0xffffffffffffff88);
    assert_true(m->cpu.reg[5] == 0xffffffffffff8788);
    assert_int_equal(m->insn_off, 0x37);
    assert_int_equal(m->last_desc, 2);
    run(m, "st.i16 r1, #0x1234 tag=5\n" END);
    assert_true(bytes_get(m->mem + 8, 8) == 0x8182838485861234);
    assert_int_equal(m->last_desc, 2 | MD_WRITE | 5 << MD_TAG_SHIFT);
    assert_int_equal(m->commits, 0);
    m->bounce_at = GUEST_BASE + 8;
    run(m, "st.i8 r1, #0x77\n" END);
    assert_int_equal(m->commits, 1);
    assert_true(bytes_get(m->mem + 8, 8) == 0x8182838485861277);
    m->bounce_at = 0;
    m->cpu.reg[1] = 0;
    assert_int_equal(run(m, "insn.1 @0x5\nmov.i64 t0 = #0x7\nst.i8 r1, t0\nmov.i64 r2 = #0x1\n" END), -1);
    assert_true(m->cpu.reg[2] == 0x85868788);
    assert_int_equal(m->insn_off, 5);
    unsigned writes = m->writes;
    assert_int_equal(run(m, "probe r1, #0x10\n" END), -1);
    assert_int_equal(m->last_desc, 16 | MD_WRITE | MD_PROBE);
    assert_int_equal(m->writes, writes + 1);
}

/* RMW is the register op of that name on memory, flags too. */
static void test_rmw(void **state)
{
    static const uint8_t subs[] = {IR_ADD, IR_SUB, IR_ADC,  IR_SBB,  IR_AND, IR_OR,  IR_XOR, IR_NOT,
                                   IR_NEG, IR_INC, IR_DEC,  IR_SHL,  IR_SHR, IR_SAR, IR_ROL, IR_ROR,
                                   IR_RCL, IR_RCR, IR_SHLD, IR_SHRD, IR_BTS, IR_BTR, IR_BTC};
    struct machine *m = *state;
    m->cpu.reg[1] = GUEST_BASE + 64;
    for (unsigned i = 0; i < ARRAY_LEN(subs); i++)
        for (unsigned type = subs[i] >= IR_SHLD && subs[i] <= IR_BTC ? I16 : I8; type <= I64; type++)
            for (unsigned mode = 0; mode < 3; mode++) {
                struct ir_block *b = &m->t.block;
                b->nops = 0;
                struct ir_op *o = ir_append(b, IR_RMW, type);
                bool unary = subs[i] >= IR_NOT && subs[i] <= IR_DEC, shift = ir_is_shift(subs[i]);
                bool two = subs[i] == IR_SHLD || subs[i] == IR_SHRD;
                o->sub = subs[i];
                o->flags = mode == 1 && !shift ? IR_LOCK : 0;
                o->a = 1;
                o->b = unary ? IR_NONE : 2;
                o->c = two ? 3 : IR_NONE;
                o->setf = IRF_ALL;
                o->setf = (uint8_t)ir_writes_f(o);
                ir_append(b, IR_LEAVE, I64)->sub = LEAVE_NEXT;
                irtest_verify(&m->t, b);
                m->bounce_at = mode == 2 ? GUEST_BASE + 64 : 0;
                uint64_t old = 0x89abcdef01234567, x = 0x1122334455667785;
                bytes_put(m->mem + 64, old, 8);
                m->cpu.reg[2] = x;
                m->cpu.reg[3] = 7;
                cpu_set_flags(&m->cpu, 0x811);
                assert_int_equal(ir_interp(b, &m->cpu, &calls, &m->slot), LEAVE_NEXT);
                struct ir_op alu = *o;
                alu.op = subs[i];
                struct ir_result v = ir_eval(&alu, 0, old, x, 7, IRF_CF | IRF_AF | IRF_OF);
                unsigned bits = ir_bits(type);
                assert_true(bytes_get(m->mem + 64, 8) == ((old & ~mask_bits(bits)) | v.d));
                unsigned f = ir_writes_f(o);
                assert_int_equal(ir_f_of_x86(cpu_flags(&m->cpu)), (v.f & f) | ((IRF_CF | IRF_AF | IRF_OF) & ~f));
                assert_int_equal(m->last_desc, (1u << type) | MD_WRITE | MD_RMW | (o->flags ? MD_LOCK : 0));
            }
}

static void test_exchanges(void **state)
{
    struct machine *m = *state;
    m->bounce_at = 0;
    m->cpu.reg[1] = GUEST_BASE + 3; /* not aligned */
    bytes_put(m->mem + 3, 0x80000000, 4);
    m->cpu.reg[2] = 0x180000001;
    run(m, "xadd.i32 r3 = r1, r2 !CZSOAP lock\n" END);
    assert_true(m->cpu.reg[3] == 0x80000000);
    assert_true(bytes_get(m->mem + 3, 4) == 1);
    assert_int_equal(cpu_flags(&m->cpu), 0x801);
    run(m, "xchg.i16 r2 = r1, r1\n" END);
    assert_true(m->cpu.reg[2] == 0x180000001);
    assert_true(bytes_get(m->mem + 3, 4) == 3);
    assert_true(m->last_desc & MD_LOCK);
    m->cpu.reg[0] = 0xffffffff00000003;
    run(m, "cmpxchg.i32 r0 = r1, #0x55 !CZSOAP lock\n" END);
    assert_true(m->cpu.reg[0] == 0xffffffff00000003);
    assert_true(bytes_get(m->mem + 3, 4) == 0x55);
    assert_true(cpu_flags(&m->cpu) & 0x40);
    run(m, "cmpxchg.i32 r0 = r1, #0x66 !CZSOAP\n" END);
    assert_true(m->cpu.reg[0] == 0x55);
    assert_true(bytes_get(m->mem + 3, 4) == 0x55);
    assert_int_equal(cpu_flags(&m->cpu) & 0x41, 1); /* 3 - 0x55 borrows */
    m->bounce_at = GUEST_BASE + 3;
    unsigned commits = m->commits;
    run(m, "cmpxchg.i32 r0 = r1, #0x77 !CZSOAP lock\n" END);
    assert_int_equal(m->commits, commits + 1);
    assert_true(bytes_get(m->mem + 3, 4) == 0x77);
}

static void test_calls_and_fields(void **state)
{
    struct machine *m = *state;
    m->bounce_at = 0;
    m->cpu.reg[5] = 1;
    m->cpu.mxcsr = 0xfffffff0;
    run(m, "insn.2 @0x99\nmov.i64 t0 = #0x2\ncall.i64 r6 = r5, t0, #0x3, alpha\nldf.i32 r7 = #0x817c\nstf.i16 #0x1, "
           "#0x817c\n" END);
    assert_int_equal(m->cpu.reg[6], 321);
    assert_int_equal(m->cpu.reg[9], 99);
    assert_int_equal(m->insn_off, 0x99);
    assert_int_equal(offsetof(struct cpu, mxcsr), 0x817c);
    assert_true(m->cpu.reg[7] == 0xfffffff0);
    assert_true(m->cpu.mxcsr == 0xffff0001);
    assert_int_equal(run(m, "insn.2 @0x77\nudiv.i32 r0, r2 = r0, r2, #0x0\n" END), -1);
    assert_int_equal(m->divides, 1);
    assert_int_equal(m->insn_off, 0x77);
}

/* Temps as general operands of vector rows, and rows that touch memory. */
static void test_vec(void **state)
{
    struct machine *m = *state;
    struct ir_block *b = &m->t.block;
    m->bounce_at = GUEST_BASE + 32;
    for (unsigned row = 0; row < ir_vec_row_count; row++) {
        unsigned form = ir_vec_rows[row].form;
        if (form != VF_W_R && form != VF_R_U && form != VF_M_U && form != VF_R_M)
            continue;
        irtest_parse(&m->t, "mov.i64 t0 = #0x41\nstc\nmov.i64 r5 = t0\n" END);
        struct ir_op *o = &b->op[1];
        o->op = IR_VEC;
        o->row = (uint16_t)row;
        o->d = form == VF_W_R ? IR_VEC0 + 1 : form == VF_M_U ? IR_NONE : IR_TEMP0;
        o->a = form == VF_W_R ? IR_TEMP0 : form == VF_R_U ? IR_VEC0 + 2 : 1;
        o->b = form == VF_M_U ? IR_VEC0 + 2 : IR_NONE;
        m->cpu.reg[0] = 1234;
        m->cpu.reg[1] = GUEST_BASE + 32;
        m->cpu.vec[2][0] = 7;
        m->mem[32] = 9;
        unsigned commits = m->commits;
        irtest_verify(&m->t, b);
        assert_int_equal(ir_interp(b, &m->cpu, &calls, &m->slot), LEAVE_NEXT);
        assert_int_equal(m->cpu.reg[0], 1234);
        if (form == VF_W_R)
            assert_int_equal(m->cpu.vec[1][0], 0x41);
        assert_int_equal(m->cpu.reg[5], form == VF_R_U ? 8 : form == VF_R_M ? 9 : 0x41);
        assert_int_equal(m->mem[32], form == VF_M_U ? 7 : 9);
        assert_int_equal(m->commits, commits + (form == VF_M_U));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_widths),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_branches),
        cmocka_unit_test(test_flags_kept),
        cmocka_unit_test(test_loads_and_stores),
        cmocka_unit_test(test_rmw),
        cmocka_unit_test(test_exchanges),
        cmocka_unit_test(test_calls_and_fields),
        cmocka_unit_test(test_vec),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
