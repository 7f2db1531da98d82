/* test_verify: each rule of the verifier, kept and broken.  A row: a block, and a word of the complaint (NULL: it is
 * fine). */
#include "test/ir/irtest.h"

#define END "leave.next @0x0\n"

static const struct {
    const char *text, *complaint;
} cases[] = {
    /* operand classes */
    {"mov.i64 r0 = r1\n" END, NULL},
    {"mov.i64 v0 = r1\n" END, "class"},
    {"mov.i64 r0 = v1\n" END, "class"},
    {"mov.i64 #1 = r1\n" END, "class"},
    {"mov.i64 r0 =\n" END, "missing"},
    {"cmp.i64 r0\n" END, "missing"},
    {"umul.i64 r0 = r0, r1\n" END, "missing"},
    {"umul.i64 r0, r0 = r0, r1\n" END, "one place"},
    {"umul.i8 r0 = r0, r1\n" END, NULL},
    {"umul.i8 r0, r2 = r0, r1\n" END, "one too many"},
    {"udiv.i8 r0 = r0, _, r1\n" END, NULL},
    {"udiv.i8 r0 = r0, r2, r1\n" END, "one too many"},
    {"rmw.i8.not r0\n" END, NULL},
    {"rmw.i8.not r0, r1\n" END, "one too many"},
    {"rmw.i8.add r0\n" END, "missing"},
    {"rmw.i16.shld r0, r1, r2\n" END, NULL},
    {"rmw.i16.shl r0, r1, r2\n" END, "one too many"},
    {"lea.i64 r0 = _, _, #0x5\n" END, NULL},
    /* types and subs */
    {"lea.i16 r0 = r1, _, #0x5\n" END, "type"},
    {"lea.i64 r0 = r1, _, #0x80000000\n" END, "displacement"},
    {"lea.i64.4 r0 = r1, r1, #0x0\n" END, "sub"},
    {"bswap.i16 r0 = r0\n" END, "type"},
    {"zx16.i16 r0 = r0\n" END, "type"},
    {"sx32.i32 r0 = r0\n" END, "type"},
    {"lds.i32.i32 r0 = r0\n" END, "type"},
    {"lds.i16.i32 r0 = r0\n" END, NULL},
    {"cmov.i8.e r0 = r1\n" END, "type"},
    {"rmw.i8.bts r0, r1\n" END, "type"},
    {"rmw.i32.ld r0, r1\n" END, "sub"},
    {"rmw.i32.shl r0, r1 lock\n" END, "sub"},
    {"rmw.i32.add r0, r1 lock\n" END, NULL},
    {"add.i32 r0 = r0, r1 lock\n" END, "lock"},
    {"ld.i64 r0 = r1 disp=-8\n" END, NULL},
    {"rmw.i32.add r0, r1 disp=8\n" END, NULL},
    {"rmw.i32.add r0, r1 lock disp=8\n" END, "disp"},
    {"rmw.i32.adc r0, r1 disp=8\n" END, "disp"},
    {"xchg.i32 r0 = r1, r2 disp=8\n" END, "disp"},
    {"probe r0, #0x8 disp=8\n" END, "disp"},
    {"mov.i64 r0 = r1 disp=8\n" END, "disp"},
    {"goto @0x5 poll\n", NULL},
    {"goto.2 @0x5\n", "sub"},
    {"leave.next @0x5 poll\n", "poll"},
    {"setf.i64.9 r0, #0x41 !CZ\n" END, NULL},
    {"setf.i64.9 r0, #0x40 !CZ\n" END, "sub"},
    {"shl.i32 r0 = r0, #0x20\n" END, "zero"},
    {"shl.i64 r0 = r0, #0x20\n" END, NULL},
    {"rmw.i32.shl r0, #0x0\n" END, "zero"},
    {"probe r0, #0x0\n" END, "probe"},
    {"ldf.i64 r0 = #0x8078\n" END, "field"},
    {"stf.i64 r0, #0x8078\n" END, "field"},
    {"ldf.i32 r0 = #0x8018\n" END, NULL},
    {"ldf.i16 r0 = #0x8020\n" END, "field"},
    {"brcc.e L0\ngoto @0x1\nlabel L0\ngoto.1 @0x2\n", NULL},
    {"brcc.e L0\ngoto @0x1\nlabel L0\ngoto @0x2\n", "slot"},
    /* flags */
    {"add.i64 r0 = r0, r1 !CZSOAP\n" END, NULL},
    {"inc.i64 r0 = r0 !C\n" END, "setf"},
    {"mov.i64 r0 = r1 !C\n" END, "setf"},
    {"rmw.i64.inc r0 !C\n" END, "setf"},
    {"rmw.i64.dec r0 !Z\n" END, NULL},
    {"rol.i64 r0 = r0, r1 !Z\n" END, "setf"},
    /* temps */
    {"mov.i64 r0 = t0\n" END, "not written"},
    {"mov.i64 t0 = r0\nmov.i64 r1 = t0\n" END, NULL},
    {"mov.i8 t0 = r0\nmov.i64 r1 = t0\n" END, "wider"},
    {"mov.i8 t0 = r0\nmov.i8 r1 = t0\n" END, NULL},
    {"mov.i32 t0 = r0\nmov.i64 r1 = t0\n" END, NULL},
    {"mov.i8 t0 = r0\nzx8.i64 r1 = t0\n" END, NULL},
    {"mov.i8 t0 = r0\nshl.i64 r1 = r1, t0\n" END, NULL},
    {"mov.i64 t0 = r0\nmov.i8 t0 = r1\nmov.i64 r1 = t0\n" END, NULL},
    {"mov.i64 t0 = r0\nbrz.i64 r0, L0\nlabel L0\nmov.i64 r1 = t0\n" END, "not written"},
    {"mov.i64 t0 = r0\nbrz.i64 r0, L0\nmov.i64 r1 = t0\nlabel L0\n" END, NULL},
    {"cmov.i64.e t0 = r0\n" END, "not written"},
    /* labels and ends */
    {"mov.i64 r0 = r1\n", "runs off"},
    {"", "no ops"},
    {"brcc.e L0\n" END, "never placed"},
    {"brcc.e L0\nlabel L0\nlabel L0\n" END, "twice"},
    {"label L0\nbrcc.e L0\n" END, "behind"},
    {END "mov.i64 r0 = r1\n" END, "nothing leads here"},
    {END "label L0\n" END, "nothing leads here"},
    {"brcc.e L0\n" END "label L0\n" END, NULL},
    /* precise faults */
    {"insn @0x0\nmov.i64 r0 = r1\nld.i64 r2 = r3\n" END, "may fault"},
    {"insn @0x0\nld.i64 r0 = r1\nld.i64 r2 = r3\n" END, "may fault"},
    {"insn @0x0\nld.i64 t0 = r1\nld.i64 r2 = r3\nmov.i64 r0 = t0\n" END, NULL},
    {"insn @0x0\ncmp.i64 r0, r1 !C\nst.i64 r2, r3\n" END, "may fault"},
    {"insn @0x0\ncmp.i64 r0, r1 !C\ninsn @0x3\nst.i64 r2, r3\n" END, NULL},
    {"insn @0x0\nrmw.i64.add r0, r1 !C\n" END, NULL},
    {"insn @0x0\nrmw.i64.add r0, r1 !C\nld.i8 r0 = r1\n" END, "may fault"},
    {"insn @0x0\nst.i64 r0, r1\nst.i64 r2, r1\n" END, NULL},
    {"insn @0x0\nmov.i64 r0 = r1\nudiv.i64 r0, r2 = r0, r2, r3\n" END, "may fault"},
    {"insn @0x0\nmov.i64 r0 = r1\ncall.i64 _ = #0x0\n" END, "immediate"},
    {"insn @0x0\nmov.i64 r0 = r1\ncall.i64 _ = _, _, _, #0x0\n" END, NULL},
    {"insn @0x0\ncall.i64 _ = _, _, _, #0x0\nld.i8 r0 = r1\n" END, NULL},
    {"insn @0x0\nstf.i64 r0, #0x8178\nld.i8 r0 = r1\n" END, "may fault"},
    /* vector rows */
    {"vec.movaps.w_u v0 = v1, #0x0\n" END, NULL},
    {"vec.movaps.w_u v0 = r1, #0x0\n" END, "class"},
    {"vec.movaps.w_m v0 = r1, #0x0\n" END, NULL},
    {"vec.movaps.w_m r0 = r1, #0x0\n" END, "class"},
    {"vec.movaps.m_u r0, v1, #0x0\n" END, NULL},
    {"vec.movd.w_r v0 = r1, #0x0\n" END, NULL},
    {"vec.movd.w_r v0 = #0x1, #0x0\n" END, "class"},
    {"vec.ucomiss.f_u v0, v1, #0x0 !CZSOAP\n" END, NULL},
    {"vec.addps.y_u v0 = v1, #0x0 !C\n" END, "setf"},
    {"insn @0x0\nvec.movaps.w_u v0 = v1, #0x0\nvec.movaps.w_m v2 = r1, #0x0\n" END, "may fault"},
    {"insn @0x0\nvec.movaps.w_u v24 = v1, #0x0\nvec.movaps.w_m v2 = r1, #0x0\n" END, "may fault"},
    {"insn @0x0\nvec.movaps.w_u v0 = v1, #0x0\nvec.addps.y_u v2 = v1, #0x0\n" END, "may fault"},
    {"insn @0x0\nvec.movaps.w_u v0 = v1, #0x0\nvec.paddb.y_u v2 = v1, #0x0\n" END, NULL},
    /* AVX */
    {"avx.reg_vvvv_rm.vex.256.66.0f.w0.fe v0 = v1, v2\n" END, NULL},
    {"avx.reg_vvvv_rm.evex.512.66.0f.w0.fe.z v0 = v1, v2, k3\n" END, NULL},
    {"avx.reg_vvvv_rm.vex.256.66.0f.w0.fe v0 = v1\n" END, "missing"},
    {"avx.reg_vvvv_rm.vex.256.66.0f.w0.fe v0 = v1, t0\n" END, "class"},
    {"avx.reg_vvvv_rm.vex.256.66.0f.w0.fe.m32 v0 = v1, v2\n" END, "no such"},
    {"avx.reg_vvvv_mem.vex.256.66.0f.w0.fe v0 = r1, v2\n" END, "no such"},
    {"avx.reg_vvvv_mem.vex.256.66.0f.w0.fe.m32 v0 = r1, v2\n" END, NULL},
    {"avx.f_reg_rm.vex.128.66.0f38.w0.17 v0, v2 !CZSOAP\n" END, NULL},
    {"avx.reg_rm.vex.128.66.0f38.w0.17 v0 = v2 !CZSOAP\n" END, "setf"},
    {"insn @0x0\navx.reg_rm.vex.128.np.0f.w0.92 k1 = r2\navx.reg_mem.vex.128.np.0f.w0.90.m2 k2 = r3\n" END,
     "may fault"},
    {"insn @0x0\navx.reg_rm.vex.128.np.0f.w0.92 k1 = r2\navx.reg_rm.vex.128.np.0f.w0.51 v1 = v2\n" END, NULL},
    {"insn @0x0\navx.reg_rm.vex.128.np.0f.w0.92 k1 = r2\navx.reg_rm.vex.128.np.0f.w0.51.x v1 = v2\n" END, "may fault"},
    /* precise faults on paths */
    {"insn @0x0\nbrcc.e L0\nmov.i64 r0 = r1\nlabel L0\nld.i8 r0 = r1\n" END, "may fault"},
    {"insn @0x0\nbrcc.e L0\nmov.i64 r0 = r1\ngoto @0x3\nlabel L0\nld.i8 r0 = r1\n" END, NULL},
    {"insn @0x0\nbrcc.e L0\ninsn @0x2\nmov.i64 r0 = r1\nlabel L0\nld.i8 r0 = r1\n" END, "path"},
    {"insn @0x0\nbrcc.e L0\ninsn @0x2\nmov.i64 r0 = r1\nlabel L0\ninsn @0x5\nld.i8 r0 = r1\n" END, NULL},
    {"insn @0x0\nbrcc.e L0\ninsn @0x2\ngoto @0x3\nlabel L0\nld.i8 r0 = r1\n" END, "path"},
};

static void test_cases(void **state)
{
    (void)state;
    struct irtest t;
    irtest_init(&t);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        t.block.nops = t.block.nconsts = t.block.ntemps = t.block.nlabels = 0;
        t.st.text[0] = 0;
        bool ok = ir_parse(&t.block, cases[i].text, NULL, &t.st) && ir_verify(&t.block, &t.st);
        if (cases[i].complaint ? ok || !strstr(t.st.text, cases[i].complaint) : !ok)
            fail_msg("%swanted: %s\ngot: %s", cases[i].text, cases[i].complaint ? cases[i].complaint : "no complaint",
                     t.st.text);
    }
    irtest_fini(&t);
}

/* What text cannot say. */
static void test_raw(void **state)
{
    (void)state;
    struct irtest t;
    irtest_init(&t);
    irtest_parse(&t, "mov.i64 t0 = #0x1\n" END);
    t.block.op[0].a = IR_CONST0 + 7;
    assert_false(ir_verify(&t.block, &t.st));
    t.block.op[0].a = IR_CONST0;
    assert_true(ir_verify(&t.block, &t.st));
    t.block.op[0].d = IR_TEMP0 + 1;
    assert_false(ir_verify(&t.block, &t.st));
    t.block.op[0].d = IR_TEMP0;
    t.block.op[0].e = 3;
    assert_false(ir_verify(&t.block, &t.st));
    t.block.op[0].e = IR_NONE;
    t.block.op[0].op = IR_OP_COUNT;
    assert_false(ir_verify(&t.block, &t.st));
    irtest_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_raw)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
