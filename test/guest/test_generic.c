/* The generic path: which ops it has, which insns are sent there, and what the hardware comparison cannot tell: estimates.
 * Everything else about it is proven by test/hw (--generic). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "guest/x86/lift_int.h"
#include "guest/x86/run.h"

enum { WORDS = (FEAT_COUNT + 31) / 32 };

static struct ir_op op_of(const struct x86_row *row, bool w)
{
    struct ir_op o = {.op = IR_AVX};
    o.avx.map = row->map & 7;
    o.avx.pp = row->prefix == PFX_66 ? 1 : row->prefix == PFX_F3 ? 2 : row->prefix == PFX_F2 ? 3 : 0;
    o.avx.opcode = row->opcode;
    o.avx.evex = row->space == X86_EVEX;
    o.avx.w = w;
    o.avx.ext = row->ext > 0 ? row->ext & 7 : 0;
    return o;
}

static void every_vector_row_has_a_function(void **state)
{
    (void)state;
    unsigned seen = 0;
    for (unsigned i = 0; i < x86_row_count; i++) {
        const struct x86_row *row = &x86_rows[i];
        if (row->lift != LIFT_avx && row->lift != LIFT_avx_zero)
            continue;
        seen++;
        for (unsigned w = 0; w < 2; w++) {
            struct ir_op o = op_of(row, w);
            bool applies = w ? row->w != W_0 && row->w != W_G0 : row->w != W_1 && row->w != W_G1;
            if (applies && !ir_generic_has(&o))
                fail_msg("%s (row %u), W%u: no row of generic.def", row->name, i, w);
        }
    }
    assert_true(seen > 1000);
    for (unsigned i = 0; i < ir_vec_row_count; i++) {
        struct ir_op o = {.op = IR_VEC, .row = (uint16_t)i};
        if (ir_vec_rows[i].form < VF_I_U && !ir_generic_has(&o)) /* string comparisons: every host has them */
            fail_msg("vec.def %s: no row of generic.def", ir_vec_rows[i].name);
    }
}

/* ---- estimates: SDM vol. 2, VRCP14PS, VRSQRT14PS: within 2^-14 of the value ------------------------------------------ */

static float estimate(uint8_t opcode, float x)
{
    struct cpu *c = aligned_alloc(64, sizeof *c);
    struct ir_op o = {.op = IR_AVX, .d = IR_VEC0, .a = IR_VEC0 + 1, .e = IR_NONE, .b = IR_NONE, .c = IR_NONE};
    o.avx = (struct ir_avx){.form = IR_AVX_REG_RM, .map = 2, .pp = 1, .evex = 1, .opcode = opcode};
    memset(c, 0, sizeof *c);
    c->mxcsr = 0x1f80;
    memcpy(c->vec[1], &x, 4);
    assert_true(ir_generic(c, &o, NULL));
    assert_int_equal(c->mxcsr, 0x1f80);
    memcpy(&x, c->vec[0], 4);
    free(c);
    return x;
}

static void estimates_are_near(void **state)
{
    static const double LEAST = 1 - 0x1p-14, MOST = 1 + 0x1p-14;
    (void)state;
    uint32_t bits = 1;
    for (unsigned i = 0; i < 20000; i++) {
        float x;
        bits = bits * 1664525 + 1013904223;
        uint32_t v = (bits & 0x807fffff) | (32 + bits % 190) << 23;
        memcpy(&x, &v, 4);
        double product = (double)estimate(0x4c, x) * x;
        assert_true(product > LEAST && product < MOST);
        x = fabsf(x);
        double square = (double)estimate(0x4e, x) * (double)estimate(0x4e, x) * x;
        assert_true(square > LEAST * LEAST && square < MOST * MOST);
    }
    assert_true(estimate(0x4c, INFINITY) == 0);
    assert_true(estimate(0x4c, -0.0f) == -INFINITY);
    assert_true(estimate(0x4e, INFINITY) == 0);
    assert_true(estimate(0x4e, 0.0f) == INFINITY);
    assert_true(isnan(estimate(0x4e, -1.0f)));
    assert_true(estimate(0x4c, 4.0f) == 0.25f && estimate(0x4e, 0.25f) == 2.0f); /* powers of 2 exactly */
}

/* ---- who is sent there ------------------------------------------------------------------------------------------------ */

static bool has(const uint32_t *set, unsigned f)
{
    return set[f / 32] >> f % 32 & 1;
}

static void short_vectors_take_long_ones_along(void **state)
{
    (void)state;
    struct status st = {""};
    struct x86_model *m;
    uint32_t at16[WORDS], at32[WORDS], at64[WORDS];
    assert_true(x86_model_parse(&m, "x86-64-v4", &st)); /* by name it can be had on any host */
    assert_true(has(x86_model_features(m), FEAT_AVX512VL));
    assert_true(x86_model_generic(m, 16, at16));
    assert_true(x86_model_generic(m, 32, at32));
    x86_model_generic(m, 64, at64);
    assert_true(has(at16, FEAT_AVX) && has(at16, FEAT_F16C) && has(at16, FEAT_AVX512BW));
    assert_true(has(at32, FEAT_AVX512F) && has(at32, FEAT_AVX512VL));
    for (unsigned i = 0; i < WORDS; i++) {
        assert_int_equal(at64[i] & ~at32[i], 0);
        assert_int_equal(at32[i] & ~at16[i], 0);
    }
    x86_model_free(m);
    assert_true(x86_model_parse(&m, "qemu64", &st));
    assert_false(x86_model_generic(m, 16, at16)); /* asks for nothing of all that */
    x86_model_free(m);
}

/* The ops of one insn that the host has no unit for. */
static void lift(const char *bytes, unsigned n, uint32_t mode, const uint32_t *set, struct ir_block *b, struct arena *a)
{
    struct x86_source src = {.bytes = (const uint8_t *)bytes, .nbytes = n};
    struct status st = {""};
    bool second;
    arena_reset(a);
    assert_true(ir_block_init(b, a, 64));
    assert_int_equal(x86_lift_block(b, mode, NULL, set, 0x100, &src, 1, false, &second), X86_LIFT_OK);
    if (!ir_verify(b, &st))
        fail_msg("%s", st.text);
}

static unsigned count(const struct ir_block *b, enum ir_opcode op, int64_t helper)
{
    unsigned n = 0;
    for (unsigned i = 0; i < b->nops; i++)
        n += b->op[i].op == op && (op != IR_CALL || b->op[i].imm == helper);
    return n;
}

static void insns_without_a_unit_become_calls(void **state)
{
    (void)state;
    enum { LONG = MODE_PROT | MODE_64 | MODE_FLAT | MODE_FLAT_FSGS | 3 };
    static const char vpaddd[] = "\xc5\xed\xfe\xcb", vpaddd_evex[] = "\x62\xf1\x6d\x48\xfe\xcb";
    static const char tzcnt[] = "\x66\xf3\x0f\xbc\xc3";
    struct arena a;
    struct ir_block b;
    struct status st = {""};
    uint32_t set[WORDS] = {0};
    assert_true(arena_init(&a, 1 << 20, &st));
    lift(vpaddd, 4, LONG | MODE_AVX, set, &b, &a);
    assert_int_equal(count(&b, IR_AVX, 0), 1);
    set[FEAT_AVX2 / 32] |= 1u << FEAT_AVX2 % 32;
    lift(vpaddd, 4, LONG | MODE_AVX, set, &b, &a);
    assert_int_equal(count(&b, IR_AVX, 0), 0);
    assert_int_equal(count(&b, IR_CALL, HELPER_GENERIC), 1);
    memset(set, 0, sizeof set); /* AVX-512's registers are not the host's: nor are what VEX insns clear of them */
    set[FEAT_AVX512F / 32] |= 1u << FEAT_AVX512F % 32;
    lift(vpaddd, 4, LONG | MODE_AVX, set, &b, &a);
    assert_int_equal(count(&b, IR_AVX, 0), 1);
    lift(vpaddd, 4, LONG | MODE_AVX | MODE_AVX512, set, &b, &a);
    assert_int_equal(count(&b, IR_CALL, HELPER_GENERIC), 1);
    lift(vpaddd_evex, 6, LONG | MODE_AVX | MODE_AVX512, set, &b, &a);
    assert_int_equal(count(&b, IR_CALL, HELPER_GENERIC), 1);
    set[FEAT_BMI1 / 32] |= 1u << FEAT_BMI1 % 32;
    lift(tzcnt, 5, LONG, set, &b, &a);
    assert_int_equal(count(&b, IR_TZCNT, 0), 0);
    assert_int_equal(count(&b, IR_CALL, HELPER_EVAL), 1);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_row_has_a_function),
        cmocka_unit_test(estimates_are_near),
        cmocka_unit_test(short_vectors_take_long_ones_along),
        cmocka_unit_test(insns_without_a_unit_become_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
