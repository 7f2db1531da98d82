/* test_passes: each pass on small blocks, text in, text out. */
#include "opt/opt.h"
#include "test/ir/irtest.h"

#define END "leave.next @0x0\n"

struct example {
    const char *before, *after;
};

static void check(void (*pass)(struct ir_block *), const struct example *e, unsigned n)
{
    struct irtest t;
    irtest_init(&t);
    for (unsigned i = 0; i < n; i++) {
        irtest_parse(&t, e[i].before);
        irtest_verify(&t, &t.block);
        pass(&t.block);
        if (strcmp(irtest_print(&t, &t.block), e[i].after) != 0)
            fail_msg("of\n%swanted\n%sgot\n%s", e[i].before, e[i].after, t.text);
        irtest_verify(&t, &t.block);
    }
    irtest_fini(&t);
}

static void test_fold(void **state)
{
    (void)state;
    static const struct example e[] = {
        /* copies of temps, by width */
        {"mov.i64 t0 = r1\nadd.i64 r2 = r2, t0\n" END, "mov.i64 t0 = r1\nadd.i64 r2 = r2, r1\n" END},
        {"mov.i32 t0 = r1\nadd.i64 r2 = r2, t0\n" END, "mov.i32 t0 = r1\nadd.i64 r2 = r2, t0\n" END},
        {"mov.i32 t0 = r1\nadd.i16 r2 = r2, t0\n" END, "mov.i32 t0 = r1\nadd.i16 r2 = r2, r1\n" END},
        {"mov.i64 t0 = r1\nmov.i64 t1 = t0\nst.i8 t1, t0\n" END,
         "mov.i64 t0 = r1\nmov.i64 t1 = r1\nst.i8 r1, r1\n" END},
        /* until either side is written, partly or wholly */
        {"mov.i64 t0 = r1\nadd.i64 r1 = r1, #0x8\nadd.i64 r2 = r2, t0\n" END,
         "mov.i64 t0 = r1\nadd.i64 r1 = r1, #0x8\nadd.i64 r2 = r2, t0\n" END},
        {"mov.i64 t0 = r1\nmov.i8 r1 = r3\nmov.i64 r2 = t0\n" END,
         "mov.i64 t0 = r1\nmov.i8 r1 = r3\nmov.i64 r2 = t0\n" END},
        {"mov.i64 t0 = r1\nmov.i8 t0 = r3\nmov.i64 r2 = t0\n" END,
         "mov.i64 t0 = r1\nmov.i8 t0 = r3\nmov.i64 r2 = t0\n" END},
        {"mov.i64 t0 = r1\ncall.i64 _ = _, _, _, alpha\nmov.i64 r2 = t0\n" END,
         "mov.i64 t0 = r1\ncall.i64 _ = _, _, _, alpha\nmov.i64 r2 = t0\n" END},
        /* a register is not replaced by a register, but by a small constant */
        {"mov.i64 r0 = r1\nadd.i64 r2 = r2, r0\n" END, "mov.i64 r0 = r1\nadd.i64 r2 = r2, r0\n" END},
        {"mov.i64 r0 = #0x5\nadd.i64 r2 = r2, r0\n" END, "mov.i64 r0 = #0x5\nadd.i64 r2 = r2, #0x5\n" END},
        {"mov.i64 r0 = #0x123456789\nadd.i64 r2 = r2, r0\nadd.i32 r3 = r3, r0\n" END,
         "mov.i64 r0 = #0x123456789\nadd.i64 r2 = r2, r0\nadd.i32 r3 = r3, #0x123456789\n" END},
        {"mov.i64 r0 = #0x5\nlabel L0\nadd.i64 r2 = r2, r0\n" END,
         "mov.i64 r0 = #0x5\nlabel L0\nadd.i64 r2 = r2, r0\n" END},
        {"mov.i32 r0 = #-0x1\nmov.i64 r1 = r0\n" END, "mov.i32 r0 = #-0x1\nmov.i64 r1 = #0xffffffff\n" END},
        {"mov.i8 r0 = #0x7\nadd.i8 r1 = r1, r0\nadd.i16 r2 = r2, r0\n" END,
         "mov.i8 r0 = #0x7\nadd.i8 r1 = r1, #0x7\nadd.i16 r2 = r2, r0\n" END},
        /* constants through ops; an op that sets flags stays itself */
        {"mov.i64 t0 = #0x6\nmul.i64 t1 = t0, #0x7\nmov.i64 r0 = t1\n" END,
         "mov.i64 t0 = #0x6\nmov.i64 t1 = #0x2a\nmov.i64 r0 = #0x2a\n" END},
        {"add.i8 t0 = #0xff, #0x2 !CZSOAP\nmov.i8 r0 = t0\n" END,
         "add.i8 t0 = #0xff, #0x2 !CZSOAP\nmov.i8 r0 = #0x1\n" END},
        {"xor.i32 r0 = r0, r0 !CZSOAP\nmov.i64 r1 = r0\n" END, "xor.i32 r0 = r0, r0 !CZSOAP\nmov.i64 r1 = #0x0\n" END},
        {"adc.i64 r0 = #0x1, #0x2\n" END, "adc.i64 r0 = #0x1, #0x2\n" END},
        /* LEA */
        {"mov.i64 t0 = #0x10\nlea.i64.3 t1 = r1, t0, #0x4\nld.i8 r0 = t1\n" END,
         "mov.i64 t0 = #0x10\nlea.i64 t1 = r1, _, #0x84\nld.i8 r0 = t1\n" END},
        {"lea.i64 t1 = r1, _, #0x0\nld.i8 r0 = t1\n" END, "mov.i64 t1 = r1\nld.i8 r0 = r1\n" END},
        {"mov.i64 t0 = #0x80000000\nlea.i64 t1 = r1, t0, #0x4\nld.i8 r0 = t1\n" END,
         "mov.i64 t0 = #0x80000000\nlea.i64 t1 = r1, t0, #0x4\nld.i8 r0 = t1\n" END},
        {"lea.i32.1 r0 = #0xfffffffe, #0x2, #0x3\n" END, "mov.i32 r0 = #0x5\n" END},
        /* a base with a displacement stays a register */
        {"mov.i64 r1 = #0x1000\ninsn.4 @0x4\nld.i8 t0 = r1\nld.i8 r2 = r1 disp=8\n" END,
         "mov.i64 r1 = #0x1000\ninsn.4 @0x4\nld.i8 t0 = #0x1000\nld.i8 r2 = r1 disp=8\n" END},
        /* moves and shifts that do nothing */
        {"mov.i64 r0 = r0\nmov.i32 r1 = r1\n" END, "mov.i32 r1 = r1\n" END},
        {"mov.i64 t0 = #0x20\nshl.i32 r0 = r1, t0 !CZSOAP\n" END, "mov.i64 t0 = #0x20\nmov.i32 r0 = r1\n" END},
        {"mov.i64 t0 = #0x0\nrmw.i8.shl r1, t0\n" END, "mov.i64 t0 = #0x0\nrmw.i8.shl r1, t0\n" END},
        /* X operands are not sources to replace */
        {"mov.i64 t0 = #0x0\ncmov.i64.e t0 = r1\nmov.i64 r0 = t0\n" END,
         "mov.i64 t0 = #0x0\ncmov.i64.e t0 = r1\nmov.i64 r0 = t0\n" END},
    };
    check(opt_fold, e, ARRAY_LEN(e));
}

static void test_flags(void **state)
{
    (void)state;
    static const struct example e[] = {
        /* overwritten flags are not wanted; at the end all are */
        {"add.i64 r0 = r0, r1 !CZSOAP\nsub.i64 r0 = r0, r1 !CZSOAP\n" END,
         "add.i64 r0 = r0, r1\nsub.i64 r0 = r0, r1 !CZSOAP ?CZSOAP\n" END},
        {"add.i64 r0 = r0, r1 !CZSOAP\ninc.i64 r0 = r0 !ZSOAP\n" END,
         "add.i64 r0 = r0, r1 !C ?C\ninc.i64 r0 = r0 !ZSOAP ?CZSOAP\n" END},
        /* readers */
        {"cmp.i64 r0, r1 !CZSOAP\nsetcc.i8.be r2 =\nxor.i64 r3 = r3, r3 !CZSOAP\n" END,
         "cmp.i64 r0, r1 !CZ ?CZ\nsetcc.i8.be r2 =\nxor.i64 r3 = r3, r3 !CZSOAP ?CZSOAP\n" END},
        {"add.i64 r0 = r0, r1 !CZSOAP\nadc.i64 r2 = r2, r3 !CZSOAP\n" END,
         "add.i64 r0 = r0, r1 !C ?C\nadc.i64 r2 = r2, r3 !CZSOAP ?CZSOAP\n" END},
        /* a variable count may leave F as it was, a constant one not */
        {"add.i64 r0 = r0, r1 !CZSOAP\nshl.i64 r0 = r0, r1 !CZSOAP\n" END,
         "add.i64 r0 = r0, r1 !CZSOAP ?CZSOAP\nshl.i64 r0 = r0, r1 !CZSOAP ?CZSOAP\n" END},
        {"add.i64 r0 = r0, r1 !CZSOAP\nshl.i64 r0 = r0, #0x1 !CZSOAP\n" END,
         "add.i64 r0 = r0, r1\nshl.i64 r0 = r0, #0x1 !CZSOAP ?CZSOAP\n" END},
        {"add.i64 r0 = r0, r1 !CZSOAP\nrcl.i64 r0 = r0, #0x1 !CO\nxor.i64 r3 = r3, r3 !CZSOAP\n" END,
         "add.i64 r0 = r0, r1 !C ?C\nrcl.i64 r0 = r0, #0x1\nxor.i64 r3 = r3, r3 !CZSOAP ?CZSOAP\n" END},
        {"add.i64 r0 = r0, r1 !CZSOAP\nbt.i64 r0, r1 !CSOAP\n" END,
         "add.i64 r0 = r0, r1 !ZSOAP ?ZSOAP\nbt.i64 r0, r1 !CSOAP ?CZSOAP\n" END},
        /* a fault sees all, a plain store of temps nothing else */
        {"insn.1 @0x0\nadd.i64 r0 = r0, r1 !CZSOAP\ninsn.1 @0x1\nst.i64 r0, r1\nsub.i64 r0 = r0, r1 !CZSOAP\n" END,
         "insn.1 @0x0\nadd.i64 r0 = r0, r1 !CZSOAP ?CZSOAP\ninsn.1 @0x1 ?CZSOAP\nst.i64 r0, r1\n"
         "sub.i64 r0 = r0, r1 !CZSOAP ?CZSOAP\n" END},
        {"stc !C\nclc !C\n" END, "stc ?ZSOAP\nclc !C ?CZSOAP\n" END},
        {"add.i64 r0 = r0, r1 !CZSOAP\nsetf.i64.9 r1, #0x41 !CZ\n" END,
         "add.i64 r0 = r0, r1 !SOAP ?SOAP\nsetf.i64.9 r1, #0x41 !CZ ?CZSOAP\n" END},
        {"vec.ucomiss.f_u v0, v1, #0x0 !CZSOAP\nstc !C\nsetcc.i8.p r0 =\nxor.i64 r3 = r3, r3 !CZSOAP\n" END,
         "vec.ucomiss.f_u v0, v1, #0x0 !P ?P\nstc ?P\nsetcc.i8.p r0 =\nxor.i64 r3 = r3, r3 !CZSOAP ?CZSOAP\n" END},
        /* branches: the sum of both ways */
        {"cmp.i64 r0, r1 !CZSOAP\nbrz.i8 r1, L0\nxor.i64 r3 = r3, r3 !CZSOAP\nleave.next @0x0\nlabel L0\nsetcc.i8.o r0 "
         "=\n"
         "xor.i64 r3 = r3, r3 !CZSOAP\n" END,
         "cmp.i64 r0, r1 !O ?O\nbrz.i8 r1, L0 ?O\nxor.i64 r3 = r3, r3 !CZSOAP ?CZSOAP\nleave.next @0x0\nlabel L0 ?O\n"
         "setcc.i8.o r0 =\nxor.i64 r3 = r3, r3 !CZSOAP ?CZSOAP\n" END},
    };
    check(opt_flags, e, ARRAY_LEN(e));
}

static void test_results(void **state)
{
    (void)state;
    static const struct example e[] = {
        {"mov.i64 t0 = r1\nlea.i64 t1 = t0, _, #0x8\n" END, END},
        {"mov.i64 t0 = r1\nmov.i8 t0 = r2\nmov.i64 r0 = t0\n" END,
         "mov.i64 t0 = r1 ?CZSOAP\nmov.i8 t0 = r2 ?CZSOAP\nmov.i64 r0 = t0 ?CZSOAP\n" END},
        {"mov.i64 t0 = r1\nmov.i32 t0 = r2\nmov.i64 r0 = t0\n" END,
         "mov.i32 t0 = r2 ?CZSOAP\nmov.i64 r0 = t0 ?CZSOAP\n" END},
        /* flags that are wanted keep an op */
        {"add.i64 t0 = r1, r2 !C\n" END, "add.i64 t0 = r1, r2 !CZSOAP ?CZSOAP\n" END},
        {"cmp.i64 r1, r2\nstc\nbt.i64 r1, r2\n" END, END},
        /* registers: overwritten unseen */
        {"mov.i64 r0 = r1\nmov.i64 r0 = r2\n" END, "mov.i64 r0 = r2 ?CZSOAP\n" END},
        {"mov.i64 r0 = r1\nmov.i32 r0 = r2\n" END, "mov.i32 r0 = r2 ?CZSOAP\n" END},
        {"mov.i64 r0 = r1\nmov.i16 r0 = r2\n" END, "mov.i64 r0 = r1 ?CZSOAP\nmov.i16 r0 = r2 ?CZSOAP\n" END},
        {"mov.i64 r0 = r1\nadd.i64 r0 = r0, r2\n" END, "mov.i64 r0 = r1 ?CZSOAP\nadd.i64 r0 = r0, r2 ?CZSOAP\n" END},
        {"mov.i64 r0 = r1\ncmov.i64.e r0 = r2\n" END, "mov.i64 r0 = r1 ?CZSOAP\ncmov.i64.e r0 = r2 ?CZSOAP\n" END},
        {"mov.i8 r0 = r1\ninsn.1 @0x1\nmov.i64 r0 = r2\n" END, "insn.1 @0x1 ?CZSOAP\nmov.i64 r0 = r2 ?CZSOAP\n" END},
        /* seen: by a fault (the load's own result included), a call, a branch, the end */
        {"mov.i64 r0 = r1\ninsn.1 @0x1\nld.i64 r0 = r2\n" END,
         "mov.i64 r0 = r1 ?CZSOAP\ninsn.1 @0x1 ?CZSOAP\nld.i64 r0 = r2 ?CZSOAP\n" END},
        {"mov.i64 r0 = r1\ncall.i64 r0 = _, _, _, alpha\n" END,
         "mov.i64 r0 = r1 ?CZSOAP\ncall.i64 r0 = _, _, _, alpha ?CZSOAP\n" END},
        {"mov.i64 r0 = r1\nbrcc.e L0\nmov.i64 r0 = r2\nlabel L0\n" END,
         "mov.i64 r0 = r1 ?CZSOAP\nbrcc.e L0 ?CZSOAP\nmov.i64 r0 = r2 ?CZSOAP\nlabel L0 ?CZSOAP\n" END},
        /* what goes wants nothing, flags either */
        {"cmp.i64 r0, r1 !CZSOAP\nsetcc.i8.be t0 =\nxor.i64 r3 = r3, r3 !CZSOAP\n" END,
         "xor.i64 r3 = r3, r3 !CZSOAP ?CZSOAP\n" END},
        {"add.i64 t0 = r1, r2 !CZSOAP\nadd.i64 t1 = t0, r2 !CZSOAP\nxor.i64 r3 = r3, r3 !CZSOAP\n" END,
         "xor.i64 r3 = r3, r3 !CZSOAP ?CZSOAP\n" END},
        /* effects stay, loads of fields go */
        {"ld.i64 t0 = r1\nfence\nldf.i64 t1 = #0x128\n" END, "ld.i64 t0 = r1 ?CZSOAP\nfence ?CZSOAP\n" END},
        {"udiv.i64 t0, t1 = r1, r2, r3\numul.i64 t2, t3 = r1, r2\n" END, "udiv.i64 t0, t1 = r1, r2, r3 ?CZSOAP\n" END},
        /* vector registers; what may raise an exception stays */
        {"vec.movaps.w_u v0 = v1, #0x0\nvec.movaps.w_u v0 = v2, #0x0\n" END,
         "vec.movaps.w_u v0 = v2, #0x0 ?CZSOAP\n" END},
        {"vec.movaps.w_u v0 = v1, #0x0\nvec.paddb.y_u v0 = v2, #0x0\n" END,
         "vec.movaps.w_u v0 = v1, #0x0 ?CZSOAP\nvec.paddb.y_u v0 = v2, #0x0 ?CZSOAP\n" END},
        {"vec.addps.y_u v0 = v1, #0x0\ninsn.3 @0x3\nvec.movaps.w_u v0 = v2, #0x0\n" END,
         "vec.addps.y_u v0 = v1, #0x0 ?CZSOAP\ninsn.3 @0x3 ?CZSOAP\nvec.movaps.w_u v0 = v2, #0x0 ?CZSOAP\n" END},
        {"vec.movd.r_u t0 = v1, #0x0\n" END, END},
        /* the upper half of a YMM register, and a mask */
        {"avx.reg_vvvv_rm.vex.256.66.0f.w0.fe v0 = v1, v2\nvec.movaps.w_u v0 = v2, #0x0\n" END,
         "avx.reg_vvvv_rm.vex.256.66.0f.w0.fe v0 = v1, v2 ?CZSOAP\nvec.movaps.w_u v0 = v2, #0x0 ?CZSOAP\n" END},
        {"avx.reg_rm.vex.128.np.0f.w0.92 k1 = r1\n" END, "avx.reg_rm.vex.128.np.0f.w0.92 k1 = r1 ?CZSOAP\n" END},
        {"umul.i64 t2, t3 = r1, r2\nmov.i64 r2 = t3\n" END,
         "umul.i64 t2, t3 = r1, r2 ?CZSOAP\nmov.i64 r2 = t3 ?CZSOAP\n" END},
    };
    check(opt_wanted, e, ARRAY_LEN(e));
}

#define NEXT "insn.4 @0x4\n"

static void test_share(void **state)
{
    (void)state;
    static const struct example e[] = {
        /* fields of one object: what the first looks up holds both */
        {"ld.i64 r2 = r1 disp=8\n" NEXT "st.i32 r1, r3 disp=16\n" END,
         "ld.i64 r2 = r1 disp=8 share=1[8,12,w]\n" NEXT "st.i32 r1, r3 disp=16 share=1\n" END},
        {"lea.i64 t0 = r1, _, #0x8\nld.i64 r2 = t0\n" NEXT "st.i32 r1, r3 disp=16\n" END,
         "lea.i64 t0 = r1, _, #0x8\nld.i64 r2 = t0 share=1[0,12,w]\n" NEXT "st.i32 r1, r3 disp=16 share=1\n" END},
        /* pushes: each from where the register stands then */
        {"st.i64 r4, r3 near disp=-8\nlea.i64 r4 = r4, _, #-0x8\n" NEXT
         "st.i64 r4, r5 near disp=-8\nlea.i64 r4 = r4, _, #-0x8\n" END,
         "st.i64 r4, r3 near disp=-8 share=1[-16,16,w]\nlea.i64 r4 = r4, _, #-0x8\n" NEXT
         "st.i64 r4, r5 near disp=-8 share=1\nlea.i64 r4 = r4, _, #-0x8\n" END},
        /* the base was written meanwhile, with nobody knows what; the temp still has its distance */
        {"lea.i64 t0 = r1, _, #0x8\nld.i64 r2 = r1\nmov.i64 r1 = r5\n" NEXT "ld.i64 r3 = t0\n" END,
         "lea.i64 t0 = r1, _, #0x8\nld.i64 r2 = r1 share=1[0,16]\nmov.i64 r1 = r5\n" NEXT
         "ld.i64 r3 = t0 share=1\n" END},
        {"ld.i64 r1 = r1\n" NEXT "ld.i64 r3 = r1\n" END, "ld.i64 r1 = r1\n" NEXT "ld.i64 r3 = r1\n" END},
        {"ld.i64 r2 = r1\nadd.i32 r1 = r1, #0x8\n" NEXT "ld.i64 r3 = r1\n" END,
         "ld.i64 r2 = r1\nadd.i32 r1 = r1, #0x8\n" NEXT "ld.i64 r3 = r1\n" END},
        /* too far for one look */
        {"ld.i64 r2 = r1\n" NEXT "ld.i64 r3 = r1 disp=120\n" END,
         "ld.i64 r2 = r1\n" NEXT "ld.i64 r3 = r1 disp=120\n" END},
        /* as far as distances are followed, and beyond */
        {"lea.i64 t0 = r1, _, #0x7ffffff0\nld.i64 r2 = t0\n" NEXT
         "lea.i64 t1 = r1, _, #0x7ffffffc\nld.i64 r3 = t1\n" END,
         "lea.i64 t0 = r1, _, #0x7ffffff0\nld.i64 r2 = t0 share=1[0,20]\n" NEXT
         "lea.i64 t1 = r1, _, #0x7ffffffc\nld.i64 r3 = t1 share=1\n" END},
        {"lea.i64 t0 = r1, _, #0x7ffffff0\nld.i64 r2 = t0\n" NEXT "lea.i64 t1 = t0, _, #0x10\nld.i64 r3 = t1\n" END,
         "lea.i64 t0 = r1, _, #0x7ffffff0\nld.i64 r2 = t0\n" NEXT "lea.i64 t1 = t0, _, #0x10\nld.i64 r3 = t1\n" END},
        {"lea.i64 t0 = r1, _, #-0x80000000\nld.i64 r2 = t0\n" NEXT "lea.i64 t1 = t0, _, #-0x8\nld.i64 r3 = t1\n" END,
         "lea.i64 t0 = r1, _, #-0x80000000\nld.i64 r2 = t0\n" NEXT "lea.i64 t1 = t0, _, #-0x8\nld.i64 r3 = t1\n" END},
        /* C may run in between, or control come from elsewhere */
        {"ld.i64 r2 = r1\n" NEXT "call.i64 _ = _, _, _, alpha\n" NEXT "ld.i64 r3 = r1\n" END,
         "ld.i64 r2 = r1\n" NEXT "call.i64 _ = _, _, _, alpha\n" NEXT "ld.i64 r3 = r1\n" END},
        {"ld.i64 r2 = r1\nbrcc.i64.e L0\nlabel.i64 L0\n" NEXT "ld.i64 r3 = r1\n" END,
         "ld.i64 r2 = r1\nbrcc.i64.e L0\nlabel.i64 L0\n" NEXT "ld.i64 r3 = r1\n" END},
        /* what is looked up in its own way */
        {"ld.i64 r2 = r1\n" NEXT "rmw.i64.add r1, r3 lock\n" NEXT "xchg.i64 r5 = r1, r3\n" END,
         "ld.i64 r2 = r1\n" NEXT "rmw.i64.add r1, r3 lock\n" NEXT "xchg.i64 r5 = r1, r3\n" END},
    };
    check(opt_share, e, ARRAY_LEN(e));
}

static void note_pass(void *arg, const char *pass, const struct ir_block *b)
{
    strcat(arg, pass);
    strcat(arg, b->nops ? " " : "!");
}

static void test_pipeline(void **state)
{
    (void)state;
    struct irtest t;
    char seen[64] = "";
    struct opt_trace trace = {note_pass, seen};
    irtest_init(&t);
    irtest_parse(&t, "mov.i64 t0 = r3\nadd.i64 t0 = t0, #0x0 !CZSOAP\nmov.i64 t1 = r2\ncmp.i64 t1, r3 !CZSOAP\n" END);
    opt_run(&t.block, 0, &trace);
    assert_string_equal(irtest_print(&t, &t.block), "cmp.i64 r2, r3 !CZSOAP ?CZSOAP\n" END);
    assert_string_equal(seen, "fold share wanted ");
    opt_run(&t.block, 0, NULL);
    irtest_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fold),  cmocka_unit_test(test_flags),    cmocka_unit_test(test_results),
        cmocka_unit_test(test_share), cmocka_unit_test(test_pipeline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
