/* test_text: printer and parser agree, for every op and attribute; what is not the language is refused with its line. */
#include "test/ir/irtest.h"

static unsigned count_of_subs(unsigned op)
{
    switch (op) {
    case IR_CMOV:
    case IR_SETCC:
    case IR_BRCC:
    case IR_GOTOCC: return 16;
    case IR_RMW: return IR_OP_COUNT;
    case IR_LDS: return IR_TYPE_COUNT;
    case IR_LEAVE:
    case IR_LEAVEI: return LEAVE_NEXT + 1;
    case IR_VEC:
    case IR_AVX: return 1;
    default: return 4;
    }
}

static struct ir_avx some_avx(unsigned n)
{
    struct ir_avx x = {.form = (uint8_t)(n % IR_AVX_FORM_COUNT), .opcode = (uint8_t)(n * 37)};
    bool mem = strchr(ir_avx_forms[x.form].operands, 'A');
    x.map = 1 + n % 3;
    x.pp = n & 3;
    x.l = n % 3 & 3;
    x.w = n & 1;
    x.evex = n >> 1 & 1;
    x.z = n >> 2 & 1;
    x.b = n >> 1 & 1;
    x.ext = n & 7;
    x.raises = n >> 3 & 1;
    x.has_imm = n & 1;
    x.imm = n & 1 ? (uint8_t)(n * 5) : 0;
    if (!mem)
        return x;
    x.msize = (uint8_t)(1 << n % 7);
    x.align = n & 1;
    x.select = n & 3;
    x.element = x.select ? n & 3 : 0;
    x.count = x.select ? n % 7 & 7 : 0;
    return x;
}

/* An op with every operand its shape knows, chosen by n. */
static void add_op(struct ir_block *b, unsigned op, unsigned type, unsigned sub, unsigned n)
{
    struct ir_op *o = ir_append(b, op, type);
    o->sub = (uint8_t)sub;
    o->setf = (uint8_t)(n * 7 % 64);
    o->livef = (uint8_t)(n * 13 % 64);
    o->flags = n % 4;
    o->tag = (uint8_t)(n * 31);
    o->disp = (int16_t)(n * 2657 - (n % 2 ? 30000 : 0));
    if (op == IR_VEC)
        o->row = (uint16_t)(n % ir_vec_row_count);
    if (op == IR_AVX)
        o->avx = some_avx(n);
    const char *s = ir_operands(o);
    for (unsigned i = 0; i < IR_FIELDS; i++) {
        unsigned k = (n + i) % 4;
        if (s[i] == '.' || k == 3)
            continue;
        if (strchr("WYU", s[i]))
            *ir_field(o, i) = (ir_ref)(IR_VEC0 + (n + i) % IR_NVEC);
        else if (strchr("DS", s[i]))
            *ir_field(o, i) = (ir_ref)((n + i) * 5 % IR_TEMP0);
        else if (k == 0)
            *ir_field(o, i) = (ir_ref)((n + i) % IR_NREG);
        else if (k == 1 || strchr("RXT", s[i]))
            *ir_field(o, i) = (ir_ref)(IR_TEMP0 + (n + i) % 64);
        else
            *ir_field(o, i) = ir_const(b, n % 2 ? -(int64_t)n : INT64_MIN + n);
    }
    if (s[IR_FIELDS] != '.')
        o->imm = s[IR_FIELDS] == 'L' ? n % 8 : (n % 2 ? 1 : -1) * (int64_t)(n * 977u);
    if (op == IR_CALL)
        o->imm = n % 5;
}

static void same_op(const struct ir_block *a, const struct ir_op *x, const struct ir_block *b, const struct ir_op *y)
{
    assert_int_equal(x->op, y->op);
    assert_int_equal(x->type, y->type);
    assert_int_equal(x->sub, y->sub);
    assert_int_equal(x->flags, y->flags);
    assert_int_equal(x->setf, y->setf);
    assert_int_equal(x->livef, y->livef);
    assert_int_equal(x->tag, y->tag);
    assert_int_equal(x->disp, y->disp);
    assert_int_equal(x->row, y->row);
    assert_true(x->imm == y->imm);
    for (unsigned n = 0; n < IR_FIELDS; n++) {
        ir_ref r = ir_get(x, n), q = ir_get(y, n);
        if (ir_is_const(r) && ir_is_const(q))
            assert_true(ir_const_value(a, r) == ir_const_value(b, q));
        else
            assert_int_equal(r, q);
    }
}

static void test_every_op(void **state)
{
    (void)state;
    struct irtest made, read;
    irtest_init(&made);
    irtest_init(&read);
    for (unsigned op = 0; op < IR_OP_COUNT; op++)
        for (unsigned type = 0; type < IR_TYPE_COUNT; type++)
            for (unsigned sub = 0; sub < count_of_subs(op); sub++) {
                if (op == IR_VEC && ir_vec_row_count == 0)
                    continue;
                made.block.nops = made.block.nconsts = 0;
                for (unsigned n = 0; n < 12; n++)
                    add_op(&made.block, op, type, sub, n + sub * 5 + type * 3);
                irtest_parse(&read, irtest_print(&made, &made.block));
                assert_int_equal(read.block.nops, made.block.nops);
                for (unsigned i = 0; i < made.block.nops; i++)
                    same_op(&made.block, &made.block.op[i], &read.block, &read.block.op[i]);
                assert_string_equal(irtest_print(&made, &made.block), irtest_print(&read, &read.block));
            }
    irtest_fini(&made);
    irtest_fini(&read);
}

static void test_every_row(void **state)
{
    (void)state;
    struct irtest made, read;
    irtest_init(&made);
    irtest_init(&read);
    for (unsigned row = 0; row < ir_vec_row_count; row++) {
        const struct ir_vec_row *r = &ir_vec_rows[row];
        made.block.nops = 0;
        ir_append(&made.block, IR_VEC, I8)->row = (uint16_t)row;
        irtest_parse(&read, irtest_print(&made, &made.block));
        assert_int_equal(read.block.op[0].row, row);
        assert_int_equal(ir_vec_find(r->form, r->prefix, r->map, r->opcode, r->w, r->ext), row);
    }
    assert_int_equal(ir_vec_find(VF_Y, 0xf2, 3, 0xff, 1, 7), -1);
    irtest_fini(&made);
    irtest_fini(&read);
}

/* The form itself: what a reader of ir.h expects to see. */
static void test_form(void **state)
{
    (void)state;
    static const char text[] = "insn.3 @0x10\n"
                               "add.i64 r0 = r0, r3 !CZSOAP ?CZ\n"
                               "lea.i64.2 t1 = r1, t0, #-0x8\n"
                               "lea.i32 t1 = _, _, #0x8\n"
                               "umul.i32 r0, r2 = r0, #0x10\n"
                               "ld.i16 r5 = t1 tag=3\n"
                               "lds.i8.i32 t2 = r1\n"
                               "rmw.i32.add t1, r2 !C lock\n"
                               "setcc.i8.ne r1 =\n"
                               "setf.i64.9 t2, #0x41 !CZ\n"
                               "call.i64 t3 = r1, _, #0x5, beta\n"
                               "brcc.be L1\n"
                               "goto.1 @0x7f poll\n"
                               "label L1\n"
                               "leave.next @-0x2\n";
    struct irtest t;
    irtest_init(&t);
    irtest_parse(&t, text);
    const struct ir_op *o = t.block.op;
    assert_int_equal(o[0].op, IR_INSN);
    assert_int_equal(o[0].sub, 3);
    assert_int_equal(o[0].imm, 0x10);
    assert_int_equal(o[1].setf, IRF_ALL);
    assert_int_equal(o[1].livef, IRF_CF | IRF_ZF);
    assert_int_equal(o[1].b, 3);
    assert_int_equal(o[2].sub, 2);
    assert_int_equal(o[2].b, IR_TEMP0);
    assert_int_equal(o[2].imm, -8);
    assert_int_equal(o[4].e, 2);
    assert_int_equal(ir_const_value(&t.block, o[4].b), 16);
    assert_int_equal(o[5].tag, 3);
    assert_int_equal(o[6].sub, I32);
    assert_int_equal(o[7].sub, IR_ADD);
    assert_int_equal(o[7].flags, IR_LOCK);
    assert_int_equal(o[8].sub, CC_NE);
    assert_int_equal(o[10].imm, 1);
    assert_int_equal(o[10].b, IR_NONE);
    assert_int_equal(o[12].flags, IR_POLL);
    assert_int_equal(o[14].imm, -2);
    assert_int_equal(o[14].sub, LEAVE_NEXT);
    assert_int_equal(t.block.ntemps, 4);
    assert_int_equal(t.block.nlabels, 2);
    assert_int_equal(t.block.ninsns, 1);
    assert_string_equal(irtest_print(&t, &t.block), text);
    irtest_fini(&t);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "frob.i64 r0 = r1",
        "add.i64.x r0 = r0, r1",
        "add.i64 r0 = r0, r1, r2",
        "add.i64 r32 = r0, r1",
        "add.i64 x0 = r0, r1",
        "add.i64 r0 = r0, #",
        "add.i64 r0 = r0, r1 !Q",
        "setcc.i8 r0 =",
        "setcc.i8.zz r0 =",
        "rmw.i8.frob r0, r1",
        "label L300",
        "label",
        "goto #5",
        "call.i64 _ = _, _, _, gamma",
        "vec.nothing.y_u v0 = v1, #0",
        "ld.i8 r0 = r1 tag=256",
    };
    struct irtest t;
    irtest_init(&t);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        char text[128];
        snprintf(text, sizeof text, "; comment\n\n%s\n", bad[i]);
        t.block.nops = 0;
        t.st.text[0] = 0;
        if (ir_parse(&t.block, text, irtest_helper_number, &t.st))
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(strstr(t.st.text, "line 3"));
    }
    irtest_fini(&t);
}

static void test_full(void **state)
{
    (void)state;
    struct irtest t;
    struct ir_block b;
    irtest_init(&t);
    assert_true(ir_block_init(&b, &t.arena, 2));
    for (unsigned i = 0; i < 2; i++)
        ir_append(&b, IR_STC, I8);
    assert_false(b.full);
    ir_append(&b, IR_STC, I8);
    assert_true(b.full);
    assert_int_equal(b.nops, 2);
    assert_true(ir_block_init(&b, &t.arena, 2));
    for (unsigned i = 0; i < 4; i++)
        ir_const(&b, i);
    assert_int_equal(b.nconsts, 4);
    assert_int_equal(ir_const(&b, 2), IR_CONST0 + 2);
    assert_false(b.full);
    ir_const(&b, 99);
    assert_true(b.full);
    irtest_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_op), cmocka_unit_test(test_every_row), cmocka_unit_test(test_form),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
