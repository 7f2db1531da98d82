/* test_lift.c: insns as IR, and IR against the processor at hand.
 *
 * Text cases are written from the rules of ir.h and lift_int.h; INSN lines and the last GOTO to the next insn are
 * left out. The native part runs random register and memory forms of plain integer insns on the host and by the
 * interpreter.
 */
#include "guest/x86/lift.h"
#include "host/host.h"

#include <cpuid.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

enum {
    LONG = MODE_64 | MODE_FLAT | MODE_FLAT_FSGS | MODE_PROT | MODE_CS32 | MODE_SS32,
    USER64 = LONG | 3,
    FLAT32 = MODE_CS32 | MODE_SS32 | MODE_FLAT | MODE_PROT,
    AVX512 = USER64 | MODE_AVX | MODE_AVX512,
    REAL = 0,
};

struct lifted {
    struct arena arena;
    struct ir_block block;
    struct status st;
    bool second;
};

static const uint8_t *next_page(void *arg)
{
    return arg;
}

static enum x86_lift_result lift(struct lifted *f, uint32_t mode, const uint8_t *bytes, unsigned n, unsigned max,
                                 bool one)
{
    struct x86_source src = {.bytes = bytes, .nbytes = n, .next_page = next_page};

    memset(f, 0, sizeof *f);
    assert_true(arena_init(&f->arena, 1 << 20, &f->st));
    assert_true(ir_block_init(&f->block, &f->arena, 1024));
    enum x86_lift_result r = x86_lift_block(&f->block, mode, NULL, NULL, 0x100, &src, max, one, &f->second);
    if (r == X86_LIFT_OK && !ir_verify(&f->block, &f->st)) {
        ir_print(stderr, &f->block, x86_helper_name);
        fail_msg("%s", f->st.text);
    }
    return r;
}

/* "48 01 d8" to bytes. */
static unsigned parse_hex(const char *hex, uint8_t *out)
{
    unsigned n = 0;
    char *end;

    for (const char *p = hex; *p; p = end) {
        out[n++] = (uint8_t)strtoul(p, &end, 16);
        while (*end == ' ')
            end++;
    }
    return n;
}

/* The block's text without INSN lines and without a last GOTO to what follows. */
static char *plain_text(const struct ir_block *b)
{
    char *text = NULL, *out, next[32];
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);

    ir_print(f, b, x86_helper_name);
    fclose(f);
    out = calloc(1, size + 1);
    snprintf(next, sizeof next, "goto.i64 @%#x\n", (unsigned)b->guest_off + b->guest_size);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        if (strncmp(line, "insn.", 5) != 0 && strcmp(line, next) != 0)
            strncat(out, line, (size_t)(end + 1 - line));
    }
    free(text);
    return out;
}

struct text_case {
    uint32_t mode;
    const char *hex, *want;
};

static const struct text_case text_cases[] = {
    /* one op on the guest's own registers */
    {USER64, "48 01 d8", "add.i64 r0 = r0, r3 !CZSOAP\n"},
    {USER64, "01 d8", "add.i32 r0 = r0, r3 !CZSOAP\n"},
    {USER64, "66 29 d8", "sub.i16 r0 = r0, r3 !CZSOAP\n"},
    {USER64, "31 c0", "xor.i32 r0 = r0, r0 !CZSOAP\n"},
    {USER64, "48 83 c8 ff", "or.i64 r0 = r0, #-0x1 !CZSOAP\n"},
    {USER64, "3c 05", "cmp.i8 r0, #0x5 !CZSOAP\n"},
    {USER64, "48 ff c1", "inc.i64 r1 = r1 !ZSOAP\n"},
    {USER64, "48 f7 d0", "not.i64 r0 = r0\n"},
    {USER64, "48 c1 e0 03", "shl.i64 r0 = r0, #0x3 !CZSOAP\n"},
    {USER64, "d3 f8", "sar.i32 r0 = r0, r1 !CZSOAP\n"},
    {USER64, "c1 e0 20", "mov.i32 r0 = r0\n"},
    {USER64, "48 f7 e3", "umul.i64 r0, r2 = r0, r3 !CZSOAP\n"},
    {USER64, "f6 f3", "udiv.i8 r0 = r0, _, r3\n"},
    {USER64, "48 f7 fb", "sdiv.i64 r0, r2 = r0, r2, r3\n"},
    {USER64, "48 98", "sx32.i64 r0 = r0\n"},
    {USER64, "99", "sar.i32 r2 = r0, #0x1f\n"},
    {USER64, "4c 89 c7", "mov.i64 r7 = r8\n"},
    {USER64, "0f b6 c3", "zx8.i32 r0 = r3\n"},
    {USER64, "48 63 c3", "sx32.i64 r0 = r3\n"},
    {USER64, "0f 44 c1", "cmov.i32.e r0 = r1\n"},
    {USER64, "0f 94 c1", "setcc.i8.e r1 =\n"},
    {USER64, "0f ab c8", "bts.i32 r0 = r0, r1 !CSOAP\n"},
    {USER64, "fd", "mov.i64 r22 = #-0x1\n"},
    {USER64, "f9", "stc.i64 !C\n"},
    {USER64, "f2 0f 38 f1 c3", "crc32.i32 r0 = r0, r3\n"},
    {USER64, "f2 48 0f 38 f0 c3", "crc32.i8 r0 = r0, r3\n"},
    {USER64, "c4 e2 e3 f5 c1", "pdep.i64 r0 = r3, r1\n"},
    {USER64, "c4 e2 62 f5 c1", "pext.i32 r0 = r3, r1\n"},
    {USER64, "66 0f 38 10 ca", "vec.i32.pblendvb.y_u0 v1 = v2, v0, #0x0\n"},
    {USER64, "66 0f 3a 63 ca 0c", "vec.i32.pcmpistri.i_u r1, r0 = v2, v1, r2, #0xc !CZSOAP\n"},
    {USER64, "66 48 0f 3a 60 ca 0c", "vec.i64.pcmpestrm_64.k_u v0, r0 = v2, v1, r2, #0xc !CZSOAP\n"},
    {USER64, "66 0f 78 c1 05 06", "vec.i32.extrq.y v1 = #0x605\n"},
    {USER64, "48 0f 38 f9 18", "st.i64 r0, r3 tag=3\n"},
    /* addresses */
    {USER64, "48 8b 03", "ldz.i64 r0 = r3 tag=3\n"},
    {USER64, "8a 03", "ld.i8 r0 = r3 tag=3\n"},
    {USER64, "48 8b 44 8b 10", "lea.i64.2 t0 = r3, r1, #0x10\nldz.i64 r0 = t0 tag=3\n"},
    {USER64, "8b 05 10 00 00 00", "ldz.i32 r0 = r31 disp=278 tag=3\n"},
    {USER64, "8b 05 00 00 10 00", "pc.i64 t0 = @0x100106\nldz.i32 r0 = t0 tag=3\n"},
    {USER64, "8b 43 08", "ldz.i32 r0 = r3 disp=8 tag=3\n"},
    {USER64, "8b 83 ff 7f 00 00", "ldz.i32 r0 = r3 disp=32767 tag=3\n"},
    {USER64, "8b 83 00 80 00 00", "lea.i64 t0 = r3, _, #0x8000\nldz.i32 r0 = t0 tag=3\n"},
    {USER64, "67 8b 43 08", "lea.i32 t0 = r3, _, #0x8\nldz.i32 r0 = t0 tag=3\n"},
    {USER64, "67 8b 03", "mov.i32 t0 = r3\nldz.i32 r0 = t0 tag=3\n"},
    {USER64, "64 48 8b 04 25 28 00 00 00", "ldz.i64 r0 = r20 disp=40 tag=4\n"},
    {USER64, "65 8b 43 08", "lea.i64 t0 = r21, r3, #0x8\nldz.i32 r0 = t0 tag=5\n"},
    {USER64, "48 8d 44 9b 08", "lea.i64.2 r0 = r3, r3, #0x8\n"},
    {USER64, "8d 43 01", "lea.i32 r0 = r3, _, #0x1\n"},
    {USER64, "48 03 03", "ldz.i64 t0 = r3 tag=3\nadd.i64 r0 = r0, t0 !CZSOAP\n"},
    {USER64, "48 01 03", "rmw.i64.add r3, r0 !CZSOAP tag=3\n"},
    {USER64, "48 01 43 08", "rmw.i64.add r3, r0 !CZSOAP disp=8 tag=3\n"},
    {USER64, "48 11 43 08", "lea.i64 t0 = r3, _, #0x8\nrmw.i64.adc t0, r0 !CZSOAP tag=3\n"},
    {USER64, "48 ff 43 08", "lea.i64 t0 = r3, _, #0x8\nrmw.i64.inc t0 !ZSOAP tag=3\n"},
    {USER64, "f0 48 01 43 08", "lea.i64 t0 = r3, _, #0x8\nrmw.i64.add t0, r0 !CZSOAP lock tag=3\n"},
    {USER64, "48 87 43 08", "lea.i64 t0 = r3, _, #0x8\nxchg.i64 r0 = t0, r0 tag=3\n"},
    {USER64, "0f ba 63 08 07", "ldz.i32 t0 = r3 disp=8 tag=3\nbt.i32 t0, #0x7 !CSOAP\n"},
    {USER64, "f0 0f ba 2b 07", "rmw.i32.bts r3, #0x7 !CSOAP lock tag=3\n"},
    {USER64, "48 87 03", "xchg.i64 r0 = r3, r0 tag=3\n"},
    {USER64, "f0 0f b1 0b", "cmpxchg.i32 r0 = r3, r1 !CZSOAP lock tag=3\n"},
    {USER64, "48 0f be 03", "lds.i8.i64 r0 = r3 tag=3\n"},
    {FLAT32, "8b 03", "mov.i32 t0 = r3\nldz.i32 r0 = t0 tag=3\n"},
    {FLAT32, "65 8b 00", "mov.i32 t0 = r0\ncall.i64 t1 = t0, #0x5, #0x4, SEG_LINEAR\nldz.i32 r0 = t1 tag=5\n"},
    /* high bytes go through a temp and leave F alone */
    {USER64, "00 cc",
     "shr.i32 t1 = r0, #0x8\nadd.i8 t0 = t1, r1 !CZSOAP\nzx8.i32 t2 = t0\nshl.i32 t3 = t2, #0x8\n"
     "and.i64 t4 = r0, #-0xff01\nor.i64 r0 = t4, t3\n"},
    /* the stack pointer moves after the last access */
    {USER64, "53", "st.i64 r4, r3 near disp=-8 tag=2\nlea.i64 r4 = r4, _, #-0x8\n"},
    {USER64, "54", "st.i64 r4, r4 near disp=-8 tag=2\nlea.i64 r4 = r4, _, #-0x8\n"},
    {USER64, "5b", "ldz.i64 r3 = r4 near tag=2\nlea.i64 r4 = r4, _, #0x8\n"},
    {USER64, "5c", "ldz.i64 t0 = r4 near tag=2\nlea.i64 r4 = r4, _, #0x8\nmov.i64 r4 = t0\n"},
    {USER64, "8f 04 24", "ldz.i64 t0 = r4 near tag=2\nst.i64 r4, t0 near disp=8 tag=2\nlea.i64 r4 = r4, _, #0x8\n"},
    {USER64, "c9", "ldz.i64 t0 = r5 near tag=2\nlea.i64 r4 = r5, _, #0x8\nmov.i64 r5 = t0\n"},
    {FLAT32, "53", "lea.i32 t0 = r4, _, #-0x4\nst.i32 t0, r3 near tag=2\nmov.i32 r4 = t0\n"},
    /* control */
    {USER64, "eb fe", "goto.i64 @0x100 poll\n"},
    {USER64, "74 10", "gotocc.i64.e @0x112 disp=258\n"},
    {USER64, "74 f0", "gotocc.i64.e @0xf2 poll disp=258\n"},
    {USER64, "c3", "ldz.i64 t0 = r4 near tag=2\nlea.i64 r4 = r4, _, #0x8\ngotoi.i64 t0\n"},
    {USER64, "e8 0b 00 00 00",
     "pc.i64 t0 = @0x105\nst.i64 r4, t0 near disp=-8 tag=2\nlea.i64 r4 = r4, _, #-0x8\ngoto.i64 @0x110\n"},
    {USER64, "ff e0", "gotoi.i64 r0\n"},
    {USER64, "e2 0e", "lea.i64 r1 = r1, _, #-0x1\nbrnz.i64 r1, L0\ngoto.i64 @0x102\nlabel.i64 L0\ngoto.i64.1 @0x110\n"},
    {USER64, "f4", "call.i64 t0 = #0xd, #0x0, #0x1, RAISE\nleave.i64.next @0x100\n"},
    {LONG, "f4", "call.i64 t0 = #0x0, #0x0, #0x0, HLT\nleave.i64.halt @0x101\n"},
    {USER64, "06", "call.i64 t0 = #0x6, #0x0, #0x0, RAISE\nleave.i64.next @0x100\n"},
    {REAL, "eb 02",
     "call.i64 t0 = #0x100, #0x2, #0x0, CS_CHECK\npc.i64 t1 = @0x104\nmov.i32 t2 = t1\nsub.i32 t3 = t2, r17\n"
     "zx16.i32 t4 = t3\ncall.i64 t5 = t4, _, _, JUMP_CHECK\nlea.i32 t6 = t4, r17, #0x0\ngotoi.i64 t6\n"},
    /* 16-bit stack in a mode where SS is checked: SP alone moves, after the store */
    {MODE_PROT | MODE_CS32, "53",
     "call.i64 t0 = #0x100, #0x1, #0x0, CS_CHECK\nlea.i32 t1 = r4, _, #-0x4\nzx16.i32 t2 = t1\n"
     "call.i64 t3 = t2, #0x2, #0x10004, SEG_LINEAR\nst.i32 t3, r3 near tag=2\nmov.i16 r4 = t1\n"},
    {REAL, "8b 42 10", /* mov 0x10(%bp,%si), %ax */
     "call.i64 t0 = #0x100, #0x3, #0x0, CS_CHECK\nlea.i32 t1 = r5, r6, #0x10\nzx16.i32 t2 = t1\n"
     "call.i64 t3 = t2, #0x2, #0x2, SEG_LINEAR\nld.i16 r0 = t3 tag=2\n"},
    /* AVX */
    {USER64, "c5 f5 fe c2", "call.i64 t0 = #0x20, #0x0, #0x0, AVX_ENABLE\nleave.i64.next @0x100\n"},
    {USER64 | MODE_AVX, "c5 f8 41 c2", "call.i64 t0 = #0x6, #0x0, #0x0, RAISE\nleave.i64.next @0x100\n"}, /* KANDW: L */
    {USER64 | MODE_AVX, "c5 fc 41 c2", "call.i64 t0 = #0x40, #0x0, #0x0, AVX_ENABLE\nleave.i64.next @0x100\n"},
    {AVX512, "c5 fc 41 c2", "avx.reg_vvvv_rm.vex.256.np.0f.w0.41 k0 = k0, k2\n"},
    {AVX512, "c5 f5 fe c2", "avx.reg_vvvv_rm.vex.256.66.0f.w0.fe v0 = v1, v2\n"},
    {AVX512, "c5 fd 6f 03", "avx.reg_mem.vex.256.66.0f.w0.6f.m32a v0 = r3 tag=3\n"},
    {AVX512, "c5 fe 7f 04 24", "avx.mem_reg.vex.256.f3.0f.w0.7f.m32 r4, v0 near tag=2\n"},
    {AVX512, "c4 e3 6d 4a cb 40", "avx.reg_vvvv_rm.vex.256.66.0f3a.w0.4a.i00 v1 = v2, v3, v4\n"},
    {AVX512, "c4 e2 7d 17 c1", "avx.f_reg_rm.vex.256.66.0f38.w0.17 v0, v1 !CZSOAP\n"},
    {AVX512, "c5 f5 72 d2 05", "avx.vvvv_rm.vex.256.66.0f.w0.72/2.i05 v1 = v2\n"},
    {AVX512, "c4 e3 79 16 c8 01", "avx.rm_reg.vex.128.66.0f3a.w0.16.i01 r0 = v1\n"},
    {AVX512, "c4 e2 6d 2c 0b", "avx.reg_vvvv_mem.vex.256.66.0f38.w0.2c.m32.sign.4x8 v1 = r3, v2 tag=3\n"},
    {AVX512, "62 f1 6c 59 58 4b 01", /* vaddps zmm1{k1}, zmm2, [rbx + 4]{1to16} */
     "avx.reg_vvvv_mem.evex.512.np.0f.w0.58.b.x.m4.mask.4x16 v1 = r3, v2, k1 disp=4 tag=3\n"},
    {AVX512, "62 f1 6c 79 58 cb", "avx.reg_vvvv_rm.evex.1024.np.0f.w0.58.b.x v1 = v2, v3, k1\n"},
    {AVX512, "62 f2 7d 49 8a 0b", "avx.mem_reg.evex.512.66.0f38.w0.8a.m64.packed.4x16 r3, v1, k1 tag=3\n"},
    {AVX512, "62 e1 f7 08 2a c3", "avx.reg_vvvv_rm.evex.128.f2.0f.w1.2a.x v16 = v1, r3\n"},
    {AVX512, "c5 f8 77", "avx.plain.vex.128.np.0f.w0.77\n"},
    /* strings */
    {USER64, "a4", "ldz.i8 t0 = r6 tag=3\nst.i8 r7, t0\nlea.i64 r6 = r6, r22, #0x0\nlea.i64 r7 = r7, r22, #0x0\n"},
    {USER64, "48 ab", "st.i64 r7, r0\nlea.i64.3 r7 = r7, r22, #0x0\n"},
    {USER64, "f3 aa", "call.i64 t0 = #0x13080102, #0x0, #0x0, STRING\n"},
    /* vectors */
    {USER64, "66 0f 58 c1", "vec.i32.addpd.y_u v0 = v1, #0x0\n"},
    {USER64, "0f 28 03", "vec.i32.movaps.w_m v0 = r3, #0x0 tag=3\n"},
    {USER64, "0f 28 43 10", "vec.i32.movaps.w_m v0 = r3, #0x0 disp=16 tag=3\n"},
    {USER64, "0f 29 c1", "vec.i32.movaps.w_u v1 = v0, #0x0\n"},
    {USER64, "66 48 0f 6e c3", "vec.i64.movq_gpr.w_r v0 = r3, #0x0\n"},
    {USER64, "f2 48 0f 2a c3", "vec.i64.cvtsi2sdq.y_r v0 = r3, #0x0\n"},
    {USER64, "66 0f 2e c1", "vec.i32.ucomisd.f_u v1, v0, #0x0 !CZSOAP\n"},
    {USER64, "66 0f 73 d9 04", "vec.i32.psrldq.y v1 = #0x4\n"},
    {USER64, "0f c6 c1 1b", "vec.i32.shufps.y_u v0 = v1, #0x1b\n"},
    /* x87 and MMX: opcode, modrm << 8, map << 16, bytes << 32, 1 << 42 where FIP is recorded; FWAIT waits for nothing while
       all is masked */
    {USER64, "d9 e8", "x87.i64 #0x4000000e8d9\n"},
    {USER64, "df e0", "x87.i64.3 t0 = #0xe0df\nmov.i16 r0 = t0\n"},
    {USER64, "db e9", "x87.i64.5 #0x4000000e9db !CZSOAP\n"},
    {USER64, "da c1", "x87.i64.6 #0x4000000c1da\n"},
    {USER64, "9b", ""},
    {USER64, "dd 3b", "x87.i64.2 r3, #0x200003bdd tag=3\n"},
    {USER64, "0f ef 03", "x87.i64.1 r3, #0x8000103ef tag=3\n"},
    {USER64, "48 0f 7e c3", "x87.i64.3 r3 = #0x2000001c37e\n"},
    {USER64, "d9 d1", "call.i64 t0 = #0x6, #0x0, #0x0, RAISE\nleave.i64.next @0x100\n"},
    {USER64 | MODE_X87_IMAGE, "9b", "call.i64 t0 = #0x4, #0x0, #0x0, SSE_CHECK\n"},
    {USER64 | MODE_NOFPU, "9b", "call.i64 t0 = #0x4, #0x0, #0x0, SSE_CHECK\n"},
};

static void test_text(void **state)
{
    (void)state;
    for (unsigned n = 0; n < ARRAY_LEN(text_cases); n++) {
        const struct text_case *c = &text_cases[n];
        uint8_t bytes[32];
        struct lifted f;
        unsigned size = parse_hex(c->hex, bytes);

        assert_int_equal(lift(&f, c->mode, bytes, size, 1, false), X86_LIFT_OK);
        assert_int_equal(f.block.guest_size, size);
        char *text = plain_text(&f.block);
        if (strcmp(text, c->want) != 0)
            fail_msg("%s:\n%s\nwanted:\n%s", c->hex, text, c->want);
        free(text);
        arena_fini(&f.arena);
    }
}

/* ---- blocks ------------------------------------------------------------------------------------------------------- */

static const struct ir_op *last_op(const struct lifted *f)
{
    return &f->block.op[f->block.nops - 1];
}

static void test_block_ends(void **state)
{
    (void)state;
    static const uint8_t nops[8] = {0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90};
    struct lifted f;

    lift(&f, USER64, nops, 8, 3, false); /* the caller's limit */
    assert_int_equal(f.block.ninsns, 3);
    assert_int_equal(last_op(&f)->op, IR_GOTO);
    assert_int_equal(last_op(&f)->imm, 0x103);
    arena_fini(&f.arena);
    lift(&f, USER64, nops, 8, 100, false); /* the page's end */
    assert_int_equal(f.block.ninsns, 8);
    assert_int_equal(last_op(&f)->imm, 0x108);
    arena_fini(&f.arena);
    lift(&f, USER64, nops, 8, 100, true);
    assert_int_equal(f.block.ninsns, 1);
    assert_int_equal(last_op(&f)->op, IR_LEAVE);
    assert_int_equal(last_op(&f)->sub, LEAVE_NEXT);
    arena_fini(&f.arena);
}

static void test_page_crossing(void **state)
{
    (void)state;
    static uint8_t next[4096] = {0x34, 0x56, 0x78}; /* rest of mov $0x78563412, %eax */
    static const uint8_t bytes[] = {0x90, 0xb8, 0x12};
    struct lifted f;
    struct x86_source src = {.bytes = bytes, .nbytes = 3, .next_page = next_page, .arg = next};

    lift(&f, USER64, bytes, 3, 100, false); /* a crossing insn is left for a block of its own */
    assert_int_equal(f.block.ninsns, 1);
    assert_int_equal(f.block.guest_size, 1);
    assert_false(f.second);
    arena_fini(&f.arena);
    assert_int_equal(lift(&f, USER64, bytes + 1, 2, 100, false), X86_LIFT_FETCH);
    arena_reset(&f.arena);
    assert_true(ir_block_init(&f.block, &f.arena, 64));
    src.bytes++, src.nbytes--;
    assert_int_equal(x86_lift_block(&f.block, USER64, NULL, NULL, 0xffe, &src, 100, false, &f.second), X86_LIFT_OK);
    assert_true(f.second);
    assert_int_equal(f.block.ninsns, 1);
    assert_int_equal(f.block.guest_size, 5);
    assert_int_equal(f.block.op[1].op, IR_XPAGE); /* makes sure of the second page first */
    assert_int_equal(ir_const_value(&f.block, f.block.op[2].a), 0x78563412);
    arena_fini(&f.arena);
}

/* STI: exactly one more insn, then a poll. */
static void test_sti_shadow(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0xfb, 0x90, 0x90}, jump[] = {0xfb, 0x74, 0x10};
    struct lifted f;

    lift(&f, LONG, bytes, 3, 100, false);
    assert_int_equal(f.block.ninsns, 2);
    assert_int_equal(last_op(&f)->op, IR_GOTO);
    assert_int_equal(last_op(&f)->flags, IR_POLL);
    assert_int_equal(last_op(&f)->imm, 0x102);
    arena_fini(&f.arena);
    lift(&f, LONG, jump, 3, 100, false); /* STI, JE: both ways poll */
    unsigned polls = 0;
    for (unsigned n = 0; n < f.block.nops; n++)
        polls += f.block.op[n].op == IR_GOTO && f.block.op[n].flags == IR_POLL;
    assert_int_equal(polls, 2);
    arena_fini(&f.arena);
}

/* A helper that jumps leaves the new pc in struct cpu. */
static void test_helper_jumps(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x0f, 0x05}; /* SYSCALL */
    struct lifted f;

    lift(&f, USER64, bytes, 2, 100, false);
    assert_int_equal(f.block.nops, 4); /* INSN, CALL, LDF, GOTOI */
    assert_int_equal(f.block.op[1].imm, HELPER_SYSCALL);
    assert_int_equal(f.block.op[2].imm, offsetof(struct cpu, pc));
    assert_int_equal(last_op(&f)->op, IR_GOTOI);
    assert_int_equal(last_op(&f)->a, f.block.op[2].d);
    arena_fini(&f.arena);
}

static void test_helper_names(void **state)
{
    (void)state;
    for (unsigned n = 0; n < X86_HELPER_COUNT; n++)
        assert_int_equal(x86_helper_number(x86_helper_name(n)), n);
    assert_int_equal(x86_helper_number("NOT_A_HELPER"), -1);
    assert_null(x86_helper_name(X86_HELPER_COUNT));
}

/* Whatever the bytes and the mode, a block comes out and the verifier accepts it. */
static void test_random_bytes(void **state)
{
    (void)state;
    static const uint32_t modes[] = {LONG,
                                     USER64,
                                     FLAT32,
                                     FLAT32 | 3,
                                     MODE_CS32 | MODE_PROT | 3,
                                     MODE_PROT,
                                     REAL,
                                     MODE_PROT | MODE_VM86 | 3,
                                     LONG | MODE_NOFPU | MODE_NOSSE};
    static uint8_t bytes[4096], next[4096];
    struct lifted f;

    srand(1);
    for (unsigned round = 0; round < 300; round++) {
        for (unsigned n = 0; n < sizeof bytes; n++)
            bytes[n] = (uint8_t)(rand() >> 7);
        struct x86_source src = {.bytes = bytes, .nbytes = 256, .next_page = next_page, .arg = next};
        for (unsigned m = 0; m < ARRAY_LEN(modes); m++) {
            memset(&f, 0, sizeof f);
            assert_true(arena_init(&f.arena, 1 << 20, &f.st));
            assert_true(ir_block_init(&f.block, &f.arena, 1024));
            assert_int_equal(x86_lift_block(&f.block, modes[m], NULL, NULL, 0xf00, &src, 32, round & 1, &f.second),
                             X86_LIFT_OK);
            if (!ir_verify(&f.block, &f.st))
                fail_msg("mode %#x: %s", modes[m], f.st.text);
            arena_fini(&f.arena);
        }
    }
}

/* ---- the vector table against the insn table
 * ------------------------------------------------------------------------ */

/* The row's own encoding with registers 1 and 2, or [RBX]. */
static unsigned encode_row(const struct ir_vec_row *r, uint8_t *p)
{
    bool mem = r->msize != 0;
    unsigned n = 0, reg = r->form == VF_Y ? r->ext : 1;

    if (r->prefix)
        p[n++] = r->prefix;
    if (r->w)
        p[n++] = 0x48;
    p[n++] = 0x0f;
    if (r->map > 1)
        p[n++] = r->map == 2 ? 0x38 : 0x3a;
    p[n++] = r->opcode;
    p[n++] = (uint8_t)(mem ? 1 << 3 | 3 : 0xc0 | reg << 3 | 2);
    for (unsigned k = 0; k < r->has_imm; k++)
        p[n++] = 1;
    return n;
}

static bool begins_with(const char *mnemonic, const char *row)
{
    for (; *mnemonic && (*mnemonic | 32) == *row; mnemonic++)
        row++;
    return *row == 0 || *row == '_' || strcmp(row, "q") == 0;
}

static void test_vec_rows(void **state)
{
    (void)state;
    for (unsigned n = 0; n < ir_vec_row_count; n++) {
        const struct ir_vec_row *r = &ir_vec_rows[n];
        uint8_t bytes[16];
        struct x86_insn i;
        struct lifted f;
        unsigned size = encode_row(r, bytes), mem_bytes = 0;

        if (x86_decode(X86_64, bytes, size, &i) != X86_OK || i.length != size)
            fail_msg("row %u, %s: not decoded to its end", n, r->name);
        if (!begins_with(i.row->name, r->name) && strncmp(i.row->name, "GF2P8", 5) && strncmp(i.row->name, "AESKEY", 6))
            fail_msg("row %u, %s: is %s", n, r->name, i.row->name);
        for (unsigned k = 0; k < i.noperands; k++)
            if (i.op[k].kind == OPERAND_MEM)
                mem_bytes = i.op[k].bytes;
        if (mem_bytes != r->msize || (r->msize && (r->align == 16) != !!(i.row->attr & ATTR_ALIGN)))
            fail_msg("row %u, %s: memory operand of %u bytes", n, r->name, mem_bytes);
        lift(&f, USER64, bytes, size, 1, false);
        if (f.block.op[1].op != IR_VEC || f.block.op[1].row != n)
            fail_msg("row %u, %s: lifted to something else", n, r->name);
        arena_fini(&f.arena);
    }
}

/* ---- against the processor
 * ------------------------------------------------------------------------------------------ */

struct regs {
    uint64_t r[4], flags; /* RAX RCX RDX RBX */
};

static uint8_t *code_page;
static uint8_t data[64] __attribute__((aligned(64)));

/* Run code_page with RSI at the middle of data. */
static void run_native(struct regs *s)
{
    uint64_t a = s->r[0], c = s->r[1], d = s->r[2], b = s->r[3], f = s->flags;

    __asm__ volatile("sub $256, %%rsp\n\t"
                     "push %[f]\n\t"
                     "popfq\n\t"
                     "call *%[code]\n\t"
                     "pushfq\n\t"
                     "pop %[f]\n\t"
                     "add $256, %%rsp"
                     : "+a"(a), "+c"(c), "+d"(d), "+b"(b), [f] "+&r"(f)
                     : [code] "r"(code_page), "S"(data + 32)
                     : "memory", "cc");
    *s = (struct regs){{a, c, d, b}, f & CPU_ARITH};
}

static int64_t identity(struct cpu *c, gva_t gva, unsigned desc)
{
    (void)c, (void)gva, (void)desc;
    return 0;
}

static void nothing(struct cpu *c)
{
    (void)c;
}

static void run_interp(const struct ir_block *b, struct cpu *c, struct regs *s)
{
    static const struct ir_interp_calls calls = {.mem_read = identity, .mem_write = identity, .mem_commit = nothing};
    unsigned slot;

    memcpy(c->reg, s->r, sizeof s->r);
    c->reg[X86_RSI] = (uint64_t)(uintptr_t)(data + 32);
    cpu_set_flags(c, (uint32_t)s->flags);
    ir_interp(b, c, &calls, &slot);
    memcpy(s->r, c->reg, sizeof s->r);
    s->flags = cpu_flags(c);
}

static uint64_t random_value(void)
{
    static const uint64_t edges[] = {0,      1,      2,      0x7f,       0x80,       0xff,
                                     0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff};
    uint64_t v = (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand();

    switch (rand() % 4) {
    case 0: return edges[(unsigned)rand() % ARRAY_LEN(edges)];
    case 1: return ~edges[(unsigned)rand() % ARRAY_LEN(edges)];
    default: return v;
    }
}

/* Opcodes of plain integer insns with ModRM; 0x1xx: of the 0F map. */
static const uint16_t opcodes[] = {
    0x00,  0x01,  0x02,  0x03,  0x08,  0x09,  0x0b,  0x10,  0x11,  0x13,  0x18,  0x19,  0x1b,  0x20,  0x21,
    0x28,  0x29,  0x2a,  0x30,  0x31,  0x38,  0x39,  0x3a,  0x3b,  0x63,  0x69,  0x6b,  0x80,  0x81,  0x83,
    0x84,  0x85,  0x86,  0x87,  0x88,  0x89,  0x8a,  0x8b,  0xc0,  0xc1,  0xd0,  0xd1,  0xd2,  0xd3,  0xc6,
    0xc7,  0xf6,  0xf7,  0xfe,  0xff,  0x140, 0x142, 0x144, 0x147, 0x14c, 0x14f, 0x190, 0x192, 0x195, 0x19e,
    0x1a3, 0x1a4, 0x1a5, 0x1ab, 0x1ac, 0x1ad, 0x1af, 0x1b0, 0x1b1, 0x1b3, 0x1b6, 0x1b7, 0x1ba, 0x1bb, 0x1bc,
    0x1bd, 0x1be, 0x1bf, 0x1c0, 0x1c1, 0x98,  0x99,  0x9e,  0x9f,  0xf5,
};

/* A random insn on RAX RCX RDX RBX (and their bytes) or the memory at RSI. */
static unsigned random_insn(uint8_t *p)
{
    unsigned n = 0, op = opcodes[(unsigned)rand() % ARRAY_LEN(opcodes)];
    bool byte_op = !(op & 1) && op < 0x100;
    bool mem = rand() % 3 == 0, rex = rand() % 3 == 0;
    unsigned low = rex || !byte_op ? 3 : 7;

    if (rand() % 4 == 0)
        p[n++] = 0x66;
    if (rex)
        p[n++] = 0x48;
    if (op >= 0x100)
        p[n++] = 0x0f;
    p[n++] = (uint8_t)op;
    if (op == 0x98 || op == 0x99 || op == 0x9e || op == 0x9f || op == 0xf5)
        return n;
    unsigned reg = (unsigned)rand() & (op == 0x1b0 || op == 0x1c0 || (op >= 0x190 && op < 0x1a0) ? 3 : low);
    if (op == 0x80 || op == 0x81 || op == 0x83 || (op >= 0xc0 && op <= 0xd3 && op != 0xc6 && op != 0xc7))
        reg = (unsigned)rand() & 7;
    if (op == 0xf6 || op == 0xf7)
        reg = (unsigned)rand() % 6; /* no division */
    if (op == 0xc6 || op == 0xc7)
        reg = 0;
    if (op == 0xfe || op == 0xff)
        reg = (unsigned)rand() & 1;
    if (op == 0x1ba)
        reg = 4 + ((unsigned)rand() & 3);
    p[n++] = (uint8_t)(mem ? reg << 3 | 6 : 0xc0 | reg << 3 | ((unsigned)rand() & (op > 0x100 ? 3 : low)));
    for (unsigned k = 0; k < 4; k++)
        p[n + k] = (uint8_t)(rand() >> 5);
    return n + 4; /* the decoder tells how many of the last four it wants */
}

/* Flags of which nothing can be said: those the manual leaves undefined, OF of shifts by more than one. */
static uint64_t comparable(const struct x86_insn *i)
{
    unsigned undefined = i->row->flags_undefined;
    bool shift = (i->map == 0 && i->opcode >= 0xc0 && i->opcode <= 0xd3) || (i->map == 1 && (i->opcode & 0xf6) == 0xa4);
    uint64_t f = 0;

    if (shift)
        undefined |= IRF_OF | IRF_AF | IRF_CF * (i->map == 1 || i->op[0].bytes < 4);
    for (unsigned bit = 0; bit < 6; bit++)
        if (!(undefined & 1u << bit))
            f |= (uint64_t[]){1, 4, 16, 64, 128, 2048}[bit];
    return f;
}

static void compare_one(struct cpu *c, const uint8_t *bytes, unsigned max)
{
    struct x86_insn i;
    struct lifted f;
    uint8_t before[64], after[64];

    if (x86_decode(X86_64, bytes, max, &i) != X86_OK)
        return;
    struct regs start, want, got;
    bool bit_string = i.map == 1 && (i.opcode & 0xe7) == 0xa3;
    for (unsigned r = 0; r < 4; r++)
        start.r[r] = bit_string ? (uint64_t)(int64_t)(int8_t)rand() & (i.osize == 2 ? 0xffff : ~0ull) : random_value();
    start.flags = random_value() & CPU_ARITH;
    for (unsigned n = 0; n < sizeof data; n++)
        before[n] = (uint8_t)rand();
    bool double_shift_16 = i.map == 1 && (i.opcode & 0xf6) == 0xa4 && i.osize == 2;
    if (double_shift_16) /* undefined beyond 16 */
        return;
    memcpy(code_page, bytes, i.length);
    code_page[i.length] = 0xc3;
    want = got = start;
    memcpy(data, before, sizeof data);
    run_native(&want);
    memcpy(after, data, sizeof data);
    memcpy(data, before, sizeof data);
    assert_int_equal(lift(&f, USER64, bytes, i.length, 1, false), X86_LIFT_OK);
    run_interp(&f.block, c, &got);
    uint64_t flags = comparable(&i);
    if (memcmp(want.r, got.r, sizeof want.r) || memcmp(after, data, sizeof data) ||
        ((want.flags ^ got.flags) & flags)) {
        for (unsigned n = 0; n < i.length; n++)
            print_error("%02x ", bytes[n]);
        for (unsigned r = 0; r < 4; r++)
            print_error("\nr%u: before %016lx native %016lx lifted %016lx", r, start.r[r], want.r[r], got.r[r]);
        fail_msg("\n%s: flags before %lx native %lx lifted %lx (of %lx)", i.row->name, start.flags, want.flags,
                 got.flags, flags);
    }
    arena_fini(&f.arena);
}

/* Newer insns: bytes up to ModRM; in VEX ones the vvvv field stands as 0 and is filled in. */
static const struct {
    const char *feature, *hex;
    bool imm;
} newer[] = {
    {"popcnt", "f3 0f b8", 0},   {"popcnt", "f3 48 0f b8", 0}, {"lzcnt", "f3 0f bd", 0},
    {"lzcnt", "f3 48 0f bd", 0}, {"bmi", "f3 0f bc", 0},       {"bmi", "66 f3 0f bc", 0},
    {"bmi", "c4 e2 00 f2", 0},   {"bmi", "c4 e2 80 f2", 0},    {"bmi", "c4 e2 00 f3", 0},
    {"bmi", "c4 e2 80 f3", 0},   {"bmi2", "c4 e2 00 f5", 0},   {"bmi2", "c4 e2 80 f5", 0},
    {"bmi2", "c4 e2 01 f7", 0},  {"bmi2", "c4 e2 82 f7", 0},   {"bmi2", "c4 e2 83 f7", 0},
    {"bmi2", "c4 e2 83 f6", 0},  {"bmi2", "c4 e2 03 f6", 0},   {"bmi2", "c4 e3 7b f0", 1},
    {"bmi2", "c4 e3 fb f0", 1},  {"adx", "66 0f 38 f6", 0},    {"adx", "66 48 0f 38 f6", 0},
    {"adx", "f3 0f 38 f6", 0},   {"adx", "f3 48 0f 38 f6", 0},
};

/* SDM vol. 2, CPUID: leaf 1 ECX, leaf 7 EBX, leaf 80000001 ECX. */
static bool host_has(const char *feature)
{
    unsigned a, b, c, d, basic = 0, structured = 0, extended = 0;

    __get_cpuid(1, &a, &b, &basic, &d);
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
        structured = b;
    if (__get_cpuid(0x80000001, &a, &b, &c, &d))
        extended = c;
    switch (feature[0]) {
    case 'p': return basic >> 23 & 1;
    case 'l': return extended >> 5 & 1;
    case 'b': return (structured >> 3 & 1) && (structured >> 8 & 1);
    default: return structured >> 19 & 1;
    }
}

static unsigned newer_insn(unsigned k, uint8_t *p)
{
    unsigned n = parse_hex(newer[k].hex, p), reg = (unsigned)rand() & 3;

    if (p[0] == 0xc4 && p[1] == 0xe2)
        p[2] |= (15u - ((unsigned)rand() & 3)) << 3;
    if (p[0] == 0xc4 && p[1] == 0xe2 && p[3] == 0xf3)
        reg = 1 + (unsigned)rand() % 3; /* BLSR, BLSMSK, BLSI */
    p[n++] = (uint8_t)(rand() % 3 == 0 ? reg << 3 | 6 : 0xc0 | reg << 3 | ((unsigned)rand() & 3));
    if (newer[k].imm)
        p[n++] = (uint8_t)rand();
    return n;
}

static void test_native(void **state)
{
    (void)state;
    static struct cpu cpu;
    uint8_t bytes[16];

    code_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(code_page, MAP_FAILED);
    cpu.page_mask = CPU_PAGE_MASK;
    srand(2);
    for (unsigned n = 0; n < 20000; n++) {
        unsigned max = random_insn(bytes);
        compare_one(&cpu, bytes, max);
    }
    for (unsigned k = 0; k < ARRAY_LEN(newer); k++)
        for (unsigned n = 0; n < 200 && host_has(newer[k].feature); n++)
            compare_one(&cpu, bytes, newer_insn(k, bytes));
    munmap(code_page, 4096);
}

/* ---- vector insns ------------------------------------------------------------------------------------------------- */

struct vec_regs {
    struct regs g;
    uint8_t xmm[4][16] __attribute__((aligned(16)));
};

static void run_native_vec(struct vec_regs *s)
{
    uint64_t a = s->g.r[0], c = s->g.r[1], d = s->g.r[2], b = s->g.r[3], f = s->g.flags;

    __asm__ volatile("movaps (%%rdi), %%xmm0\n\t"
                     "movaps 16(%%rdi), %%xmm1\n\t"
                     "movaps 32(%%rdi), %%xmm2\n\t"
                     "movaps 48(%%rdi), %%xmm3\n\t"
                     "sub $256, %%rsp\n\t"
                     "push %[f]\n\t"
                     "popfq\n\t"
                     "call *%[code]\n\t"
                     "pushfq\n\t"
                     "pop %[f]\n\t"
                     "add $256, %%rsp\n\t"
                     "movaps %%xmm0, (%%rdi)\n\t"
                     "movaps %%xmm1, 16(%%rdi)\n\t"
                     "movaps %%xmm2, 32(%%rdi)\n\t"
                     "movaps %%xmm3, 48(%%rdi)"
                     : "+a"(a), "+c"(c), "+d"(d), "+b"(b), [f] "+&r"(f)
                     : [code] "r"(code_page), "S"(data + 32), "D"(s->xmm)
                     : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3");
    s->g = (struct regs){{a, c, d, b}, f & CPU_ARITH};
}

static void run_vec(struct cpu *c, const struct ir_op *o, void *mem)
{
    assert_true(host_vec_exec(c, o, mem));
}

static void run_interp_vec(const struct ir_block *b, struct cpu *c, struct vec_regs *s)
{
    static const struct ir_interp_calls calls = {
        .mem_read = identity, .mem_write = identity, .mem_commit = nothing, .vec = run_vec};
    unsigned slot;

    for (unsigned n = 0; n < 4; n++)
        memcpy(c->vec[n], s->xmm[n], 16);
    memcpy(c->reg, s->g.r, sizeof s->g.r);
    c->reg[X86_RSI] = (uint64_t)(uintptr_t)(data + 32);
    c->mxcsr = 0x1f80;
    cpu_set_flags(c, (uint32_t)s->g.flags);
    ir_interp(b, c, &calls, &slot);
    for (unsigned n = 0; n < 4; n++)
        memcpy(s->xmm[n], c->vec[n], 16);
    memcpy(s->g.r, c->reg, sizeof s->g.r);
    s->g.flags = cpu_flags(c);
}

static void random_bytes(void *p, size_t n)
{
    static const uint32_t numbers[] = {0x3f800000, 0xc0490fdb, 0x7f800000, 0x7fc00001,
                                       0x3ff00000, 0xc0590000, 0,          0x80000000};

    for (size_t k = 0; k < n; k += 4) {
        uint32_t v = rand() & 1 ? (uint32_t)random_value() : numbers[rand() & 7];
        memcpy((uint8_t *)p + k, &v, 4);
    }
}

static void compare_vec(struct cpu *c, const uint8_t *bytes, unsigned size, const char *name)
{
    struct vec_regs want, got;
    struct lifted f;
    uint8_t before[sizeof data], after[sizeof data];

    random_bytes(&want, sizeof want);
    want.g.flags &= CPU_ARITH;
    random_bytes(before, sizeof before);
    got = want;
    memcpy(code_page, bytes, size);
    code_page[size] = 0xc3;
    memcpy(data, before, sizeof data);
    run_native_vec(&want);
    memcpy(after, data, sizeof data);
    memcpy(data, before, sizeof data);
    lift(&f, USER64, bytes, size, 1, false);
    run_interp_vec(&f.block, c, &got);
    if (memcmp(&want, &got, sizeof want) || memcmp(after, data, sizeof data)) {
        for (unsigned n = 0; n < size; n++)
            print_error("%02x ", bytes[n]);
        fail_msg("%s: lifted gives something else", name);
    }
    arena_fini(&f.arena);
}

/* Store opcodes between registers, which are lifted as their load opcodes. */
static const char *const turned[] = {"0f 11 ca",    "66 0f 11 ca", "f3 0f 11 ca", "f2 0f 11 ca", "0f 29 ca",
                                     "66 0f 29 ca", "66 0f 7f ca", "f3 0f 7f ca", "66 0f d6 ca"};

static void test_native_vec(void **state)
{
    (void)state;
    static struct cpu cpu;
    uint8_t bytes[16];

    code_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(code_page, MAP_FAILED);
    cpu.page_mask = CPU_PAGE_MASK;
    srand(3);
    for (unsigned n = 0; n < ir_vec_row_count; n++) {
        const struct ir_vec_row *r = &ir_vec_rows[n];
        unsigned size = encode_row(r, bytes);
        bool rare = strncmp(r->name, "sha", 3) == 0 || strncmp(r->name, "gf2", 3) == 0 ||
                    strncmp(r->name, "rcp", 3) == 0 || strncmp(r->name, "rsqrt", 5) == 0 ||
                    strncmp(r->name, "aes", 3) == 0 || strncmp(r->name, "pcl", 3) == 0;
        if (rare) /* not on every host, or not the same on all */
            continue;
        if (r->msize)
            bytes[size - 1 - r->has_imm] = 1 << 3 | 6; /* [RSI] */
        for (unsigned k = 0; k < 20; k++) {
            if (r->has_imm)
                bytes[size - 1] = (uint8_t)(rand() >> 4);
            compare_vec(&cpu, bytes, size, r->name);
        }
    }
    for (unsigned n = 0; n < ARRAY_LEN(turned); n++)
        compare_vec(&cpu, bytes, parse_hex(turned[n], bytes), turned[n]);
    munmap(code_page, 4096);
}

/* Bytes that are live: an immediate is read from where it stands when the insn runs, anything else is refused. */
static void test_live(void **state)
{
    static const struct {
        const char *hex;
        unsigned from, to;            /* live, from the block's begin */
        unsigned ldc, type;           /* where the immediate is read, 0: nowhere; its width */
        unsigned refused, refused_to; /* bytes */
    } row[] = {
        {"b8 11 22 33 44", 1, 5, 1, I32, 0, 0},
        {"b8 11 22 33 44", 2, 3, 1, I32, 0, 0},
        {"48 b8 1 2 3 4 5 6 7 8", 9, 10, 2, I64, 0, 0},
        {"66 05 11 22", 2, 3, 2, I16, 0, 0},
        {"83 c0 11", 2, 3, 2, I8, 0, 0},
        {"90 6a 11 90", 2, 3, 2, I8, 0, 0},
        {"c7 40 04 11 22 33 44", 3, 7, 3, I32, 0, 0},
        {"c7 40 04 11 22 33 44", 2, 3, 0, 0, 0, 7},
        {"b8 11 22 33 44", 0, 1, 0, 0, 0, 5},
        {"90 b8 11 22 33 44 90", 5, 7, 2, I32, 6, 7},
        {"8b 05 11 22 33 44", 2, 6, 0, 0, 0, 6},
        {"c1 e0 04", 2, 3, 0, 0, 0, 3},
        {"c8 10 00 01", 3, 4, 0, 0, 0, 4},
        {"90 0f ff 00", 2, 3, 0, 0, 1, 4},
        {"90 e9 00 00 00 00", 2, 3, 0, 0, 1, 6},
        {"66 0f 70 c0 11", 4, 5, 0, 0, 0, 5},
        {"b0 01 c1 e0 04 b0 01 c1 e0 05", 1, 10, 1, I8, 2, 10},
        {"b8 11 22 33 44", 5, 9, 0, 0, 0, 0},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
        uint8_t bytes[32] = {0};
        uint64_t bits[64] = {0};
        struct x86_live live = {.bits = bits};
        unsigned n = parse_hex(row[i].hex, bytes), refused = row[i].refused_to != 0;
        for (unsigned k = 0x100 + row[i].from; k < 0x100 + row[i].to; k++)
            bits[k / 64] |= 1ull << k % 64;
        struct x86_source src = {.bytes = bytes, .nbytes = n, .live = &live};
        struct lifted f = {.second = false};
        assert_true(arena_init(&f.arena, 1 << 20, &f.st));
        assert_true(ir_block_init(&f.block, &f.arena, 1024));
        assert_int_equal(x86_lift_block(&f.block, USER64, NULL, NULL, 0x100, &src, 99, false, &f.second), X86_LIFT_OK);
        assert_true(ir_verify(&f.block, &f.st));
        assert_int_equal(live.refused != 0, refused);
        if (refused) {
            assert_int_equal(live.refused_from, 0x100 + row[i].refused);
            assert_int_equal(live.refused_to, 0x100 + row[i].refused_to);
        }
        const struct ir_op *ldc = NULL;
        for (const struct ir_op *o = f.block.op; o < f.block.op + f.block.nops && !ldc; o++)
            ldc = o->op == IR_LDC ? o : NULL;
        assert_int_equal(ldc != NULL, row[i].ldc != 0);
        assert_int_equal(live.operands > 0, row[i].ldc != 0);
        if (ldc) {
            assert_int_equal(ldc->imm, (uintptr_t)bytes + row[i].ldc);
            assert_int_equal(ldc->type, row[i].type);
        }
        arena_fini(&f.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),         cmocka_unit_test(test_block_ends),   cmocka_unit_test(test_page_crossing),
        cmocka_unit_test(test_sti_shadow),   cmocka_unit_test(test_helper_names), cmocka_unit_test(test_helper_jumps),
        cmocka_unit_test(test_random_bytes), cmocka_unit_test(test_vec_rows),     cmocka_unit_test(test_native),
        cmocka_unit_test(test_native_vec),   cmocka_unit_test(test_live),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
