/* Tests of guest/x86/sys_x87.c, sys_mmx.c and sys_xsave.c.  Expected values are the manual's, or what the host does
 * with the same state by itself. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/guest/sysfake.h"

enum { M = 0x3000, AREA = 0x6000 }; /* a memory operand; a 64-byte aligned save area */
enum { LENGTH = 2 };                /* of every insn */

static uint64_t packed(unsigned op, unsigned modrm, unsigned osize)
{
    return op | modrm << 8 | (uint64_t)osize << 48;
}

static int x87(struct fake *f, unsigned op, unsigned modrm)
{
    return fake_call(f, help_x87, packed(op, modrm, 4), M, (uint64_t)SEG_DS << 24 | LENGTH);
}

static int wait(struct fake *f) /* FWAIT */
{
    return fake_call(f, help_sse_check, 4, 0, 0);
}

static int mmx(struct fake *f, unsigned op, unsigned modrm, unsigned prefix, unsigned imm, unsigned rex)
{
    uint64_t a = op | modrm << 8 | 1u << 16 | (uint64_t)prefix << 24 | (uint64_t)imm << 32 | (uint64_t)rex << 40;
    return fake_call(f, help_x87, a, M, (uint64_t)SEG_DS << 24);
}

/* An insn that may change whether an exception is unmasked: then the mode is another, and the block is left behind it. */
static void x87_mode_change(struct fake *f, unsigned op, unsigned modrm)
{
    uint32_t before = f->x.mode;
    int why = x87(f, op, modrm);

    assert_int_equal((fx_get(&f->x, FX_CW) & 0x3f) != 0x3f, (f->x.mode & MODE_X87_IMAGE) != 0);
    assert_int_equal(why, before == f->x.mode ? -1 : LEAVE_NEXT);
    assert_true(before == f->x.mode || f->x.cpu.pc == cpu_insn_pc(&f->x.cpu) + LENGTH);
}

static void load_double(struct fake *f, double v)
{
    memcpy(f->mem + M, &v, 8);
    assert_int_equal(x87(f, 0xdd, 0x00), -1); /* FLD m64 */
}

static double pop_double(struct fake *f)
{
    double v;
    assert_int_equal(x87(f, 0xdd, 0x18), -1); /* FSTP m64 */
    memcpy(&v, f->mem + M, 8);
    return v;
}

static unsigned status_word(struct fake *f)
{
    f->x.cpu.reg[X86_RAX] = 0x1111111111110000;
    assert_int_equal(x87(f, 0xdf, 0xe0), -1); /* FNSTSW AX */
    assert_true(f->x.cpu.reg[X86_RAX] >> 16 == 0x111111111111);
    return f->x.cpu.reg[X86_RAX] & 0xffff;
}

static void control_word(struct fake *f, unsigned cw)
{
    bytes_put(f->mem + M, cw, 2);
    x87_mode_change(f, 0xd9, 0x28); /* FLDCW */
}

static void test_arithmetic(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    load_double(f, 3.0);
    load_double(f, 4.0);
    assert_int_equal(status_word(f) >> 11 & 7, 6);
    x87(f, 0xd8, 0xc8); /* FMUL ST, ST: 16 */
    x87(f, 0xd9, 0xc9); /* FXCH */
    x87(f, 0xd8, 0xc8); /* 9 */
    x87(f, 0xde, 0xc1); /* FADDP */
    x87(f, 0xd9, 0xfa); /* FSQRT */
    assert_true(pop_double(f) == 5.0);
    assert_int_equal(status_word(f), 0);
    x87(f, 0xd8, 0xc1); /* FADD on an empty stack: IE and SF */
    assert_int_equal(status_word(f) & 0x41, 0x41);
    fake_free(f);
}

static void test_pointers(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    load_double(f, 1.0);
    assert_int_equal(bytes_get(f->x.fx + FX_IP, 8), FAKE_PC);
    assert_int_equal(bytes_get(f->x.fx + FX_DP, 8), M);
    f->x.cpu.insn_off++;
    x87(f, 0xd9, 0xe1); /* FABS moves FIP only, */
    assert_int_equal(bytes_get(f->x.fx + FX_IP, 8), FAKE_PC + 1);
    assert_int_equal(bytes_get(f->x.fx + FX_DP, 8), M);
    f->x.cpu.insn_off++;
    control_word(f, 0x37f); /* a control insn nothing */
    assert_int_equal(bytes_get(f->x.fx + FX_IP, 8), FAKE_PC + 1);
    fake_free(f);
}

/* A store that faults leaves the stack as it was. */
static void test_store_fault(void **state)
{
    struct fake *f = fake_new("max");
    uint8_t before[512];
    (void)state;

    load_double(f, 1.5);
    memcpy(before, f->x.fx, 512);
    f->page[M / 4096] = PAGE_HOLE;
    assert_int_equal(x87(f, 0xdd, 0x18), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_PF);
    assert_memory_equal(before, f->x.fx, 512);
    f->page[M / 4096] = PAGE_AGAIN; /* the insn is to run once more, from the same state */
    assert_int_equal(x87(f, 0xdd, 0x18), LEAVE_AGAIN);
    assert_memory_equal(before, f->x.fx, 512);
    f->page[M / 4096] = PAGE_SLOW;
    assert_true(pop_double(f) == 1.5);
    assert_int_equal(f->commits, 1);
    fake_free(f);
}

static void test_unmasked_exception(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    control_word(f, 0x37b); /* ZM = 0 */
    load_double(f, 1.0);
    x87(f, 0xd9, 0xee);                       /* FLDZ */
    assert_int_equal(x87(f, 0xd8, 0xf9), -1); /* FDIVR: 1 / 0, reported by the next insn that waits */
    assert_int_equal(status_word(f) & 0x8084, 0x8084);
    assert_int_equal(x87(f, 0xd9, 0xe8), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_MF);
    assert_int_equal(wait(f), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_MF);
    assert_int_equal(x87(f, 0xdb, 0xe2), -1); /* FNCLEX */
    assert_int_equal(status_word(f) & 0x80ff, 0);
    assert_int_equal(x87(f, 0xd9, 0xe8), -1);

    x87_mode_change(f, 0xdb, 0xe3); /* FNINIT, then a store that an unmasked invalid suppresses */
    control_word(f, 0x37e);
    load_double(f, 1e300);
    memset(f->mem + M, 0x5a, 8);
    assert_int_equal(x87(f, 0xdb, 0x18), -1); /* FISTP m32 */
    assert_int_equal(bytes_get(f->mem + M, 4), 0x5a5a5a5a);
    assert_int_equal(status_word(f) & 0x81, 0x81);

    x87_mode_change(f, 0xdb, 0xe3); /* a flag that FLDCW unmasks */
    x87(f, 0xd8, 0xc1);
    control_word(f, 0x37e);
    assert_int_equal(x87(f, 0xd9, 0xe8), LEAVE_FAULT);
    fake_free(f);
}

static void test_not_available(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    f->x.cr0 |= CR0_TS;
    assert_int_equal(x87(f, 0xd9, 0xe8), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_NM);
    assert_int_equal(wait(f), -1); /* FWAIT looks at MP too */
    f->x.cr0 |= CR0_MP;
    assert_int_equal(wait(f), LEAVE_FAULT);
    f->x.cr0 = CR0_PE | CR0_EM;
    assert_int_equal(mmx(f, 0xfc, 0xc1, 0, 0, 0), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_UD);
    f->x.cr0 = CR0_PE;
    assert_int_equal(x87(f, 0xdb, 0x20), LEAVE_FAULT); /* no such insns */
    assert_int_equal(mmx(f, 0xff, 0xc1, 0, 0, 0), LEAVE_FAULT);
    assert_int_equal(mmx(f, 0x71, 0xc1, 0, 0, 0), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_UD);
    fake_free(f);
}

static void test_compare_to_flags(void **state)
{
    static const struct {
        double st0, st1;
        uint32_t flags;
    } cases[] = {{2, 1, 0}, {1, 2, FL_CF}, {1, 1, FL_ZF}, {1, __builtin_nan(""), FL_ZF | FL_PF | FL_CF}};
    struct fake *f = fake_new("max");
    (void)state;

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
        for (unsigned op = 0xdb; op <= 0xdf; op += 4)
            for (unsigned modrm = 0xe9; modrm <= 0xf1; modrm += 8) {
                x87(f, 0xdb, 0xe3);
                load_double(f, cases[i].st1);
                load_double(f, cases[i].st0);
                cpu_set_flags(&f->x.cpu, CPU_ARITH & ~cases[i].flags);
                assert_int_equal(x87(f, op, modrm), -1);
                assert_int_equal(cpu_flags(&f->x.cpu), cases[i].flags);
                assert_int_equal(status_word(f) >> 11 & 7, op == 0xdb ? 6 : 7);
            }
    fake_free(f);
}

static void test_conditional_move(void **state)
{
    static const uint32_t tested[4] = {FL_CF, FL_ZF, FL_CF | FL_ZF, FL_PF};
    static const uint32_t flags[] = {0, FL_CF, FL_ZF, FL_PF, FL_CF | FL_ZF, FL_SF | FL_OF | FL_AF};
    struct fake *f = fake_new("max");
    (void)state;

    for (unsigned cc = 0; cc < 4; cc++)
        for (unsigned i = 0; i < ARRAY_LEN(flags); i++)
            for (unsigned op = 0xda; op <= 0xdb; op++) {
                bool moves = !!(flags[i] & tested[cc]) == (op == 0xda);
                x87(f, 0xdb, 0xe3);
                load_double(f, 2.0);
                load_double(f, 1.0);
                cpu_set_flags(&f->x.cpu, flags[i]);
                assert_int_equal(x87(f, op, 0xc1 | cc << 3), -1);
                assert_true(pop_double(f) == (moves ? 2.0 : 1.0));
                assert_int_equal(cpu_flags(&f->x.cpu), flags[i]);
            }
    fake_free(f);
}

/* A stack with something of every kind in it, TOP in the middle. */
static void load_kinds(struct fake *f)
{
    uint64_t denormal = 1;
    double d;

    x87(f, 0xdb, 0xe3);
    x87(f, 0xd9, 0xe8);
    x87(f, 0xd9, 0xee);
    load_double(f, __builtin_inf());
    memcpy(&d, &denormal, 8);
    load_double(f, -2.75);
    bytes_put(f->mem + M, 1, 8); /* a denormal extended real */
    bytes_put(f->mem + M + 8, 0, 2);
    x87(f, 0xdb, 0x28);
}

static void host_fnsave(const void *fx, void *image)
{
    __asm__ volatile("fxrstor64 (%0)\n fnsave (%1)" : : "r"(fx), "r"(image) : "memory");
}

static void host_frstor(void *fx, const void *image)
{
    __asm__ volatile("frstor (%1)\n fxsave64 (%0)\n fninit" : : "r"(fx), "r"(image) : "memory");
}

/* FNSAVE and FRSTOR do with the image what the host does with the same state, pointers apart. */
static void test_save_as_the_host_does(void **state)
{
    struct fake *f = fake_new("max");
    uint8_t want[108] = {0}, restored[512] __attribute__((aligned(64)));
    (void)state;

    load_kinds(f);
    host_fnsave(f->x.fx, want);
    assert_int_equal(fake_call(f, help_x87, packed(0xdd, 0x30, 4), AREA, (uint64_t)SEG_DS << 24), -1);
    assert_memory_equal(f->mem + AREA, want, 12);
    assert_memory_equal(f->mem + AREA + 28, want + 28, 80);
    assert_int_equal(status_word(f), 0);
    assert_int_equal(fx_get(&f->x, FX_CW), 0x37f);
    assert_int_equal(fake_call(f, help_x87, packed(0xdd, 0x20, 4), AREA, (uint64_t)SEG_DS << 24), -1);
    host_frstor(restored, want);
    assert_memory_equal(f->x.fx, restored, 6);
    for (unsigned r = 0; r < 8; r++)
        assert_memory_equal(f->x.fx + FX_ST + 16 * r, restored + FX_ST + 16 * r, 10);
    fake_free(f);
}

/* FNSTENV, an FLDENV with another TOP and back: physical registers stay where they are. */
static void test_environment(void **state)
{
    struct fake *f = fake_new("max");
    uint8_t before[512];
    (void)state;

    for (unsigned osize = 2; osize <= 4; osize += 2) {
        load_kinds(f);
        memcpy(before, f->x.fx, 512);
        assert_int_equal(fake_call(f, help_x87, packed(0xd9, 0x30, osize), AREA, (uint64_t)SEG_DS << 24), -1);
        unsigned sw = (unsigned)bytes_get(f->mem + AREA + osize, 2);
        assert_int_equal(sw >> 11 & 7, 3);
        memcpy(f->mem + AREA + 64, f->mem + AREA, 28);
        bytes_put(f->mem + AREA + 64 + osize, (sw & ~0x3800u) | 5 << 11, 2);
        assert_int_equal(fake_call(f, help_x87, packed(0xd9, 0x20, osize), AREA + 64, (uint64_t)SEG_DS << 24), -1);
        assert_memory_equal(f->x.fx + FX_ST, before + FX_ST + 2 * 16, 10);
        assert_int_equal(fake_call(f, help_x87, packed(0xd9, 0x20, osize), AREA, (uint64_t)SEG_DS << 24), -1);
        assert_memory_equal(f->x.fx, before, 6);
        assert_memory_equal(f->x.fx + FX_ST, before + FX_ST, 128);
    }
    fake_free(f);
}

static void test_mmx(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    load_double(f, 1.0); /* TOP = 7: MM0 is ST(1) */
    bytes_put(f->mem + M, 0x80ff7f0102030405, 8);
    assert_int_equal(mmx(f, 0x6f, 0x00, 0, 0, 0), -1); /* MOVQ MM0, m64 */
    assert_int_equal(status_word(f) >> 11 & 7, 0);
    assert_int_equal(f->x.fx[FX_TW], 0xff);
    f->x.cpu.reg[X86_RBX] = 0x0101010101010101;
    assert_int_equal(mmx(f, 0x6e, 0xcb, 0, 0, 8), -1); /* MOVQ MM1, RBX */
    assert_int_equal(mmx(f, 0xfc, 0xc1, 0, 0, 0), -1); /* PADDB MM0, MM1 */
    assert_int_equal(mmx(f, 0x7e, 0xc2, 0, 0, 9), -1); /* MOVQ R10, MM0 */
    assert_true(f->x.cpu.reg[10] == 0x8100800203040506);
    f->x.cpu.reg[X86_RDX] = ~0ull;
    assert_int_equal(mmx(f, 0x7e, 0xc2, 0, 0, 0), -1); /* MOVD EDX, MM0 */
    assert_true(f->x.cpu.reg[X86_RDX] == 0x03040506);
    assert_int_equal(mmx(f, 0xd7, 0xd0, 0, 0, 0), -1); /* PMOVMSKB EDX, MM0 */
    assert_int_equal(f->x.cpu.reg[X86_RDX], 0xa0);
    assert_int_equal(mmx(f, 0xc5, 0xd0, 0, 2, 0), -1); /* PEXTRW EDX, MM0, 2 */
    assert_int_equal(f->x.cpu.reg[X86_RDX], 0x8002);
    f->x.cpu.reg[X86_RDX] = 0xffff1234;
    assert_int_equal(mmx(f, 0xc4, 0xc2, 0, 1, 0), -1); /* PINSRW MM0, EDX, 1 */
    assert_int_equal(mmx(f, 0x71, 0xd0, 0, 4, 0), -1); /* PSRLW MM0, 4 */
    memset(f->mem + M, 0, 16);
    assert_int_equal(mmx(f, 0x7f, 0x00, 0, 0, 0), -1); /* MOVQ m64, MM0 */
    assert_true(bytes_get(f->mem + M, 8) == 0x0810080001230050);
    memset(f->mem + M, 0xee, 16);
    f->x.cpu.reg[X86_RBX] = 0x80000000000080ff;
    mmx(f, 0x6e, 0xcb, 0, 0, 8);
    assert_int_equal(mmx(f, 0xf7, 0xc1, 0, 0, 0), -1); /* MASKMOVQ MM0, MM1 */
    assert_true(bytes_get(f->mem + M, 8) == 0x08eeeeeeeeee0050);
    assert_int_equal(mmx(f, 0x77, 0, 0, 0, 0), -1); /* EMMS */
    assert_int_equal(f->x.fx[FX_TW], 0);
    fake_free(f);
}

static void test_mmx_with_xmm(void **state)
{
    struct fake *f = fake_new("max");
    float two[2];
    (void)state;

    f->x.cpu.reg[X86_RBX] = 0xfffffffd00000007; /* 7, -3 */
    mmx(f, 0x6e, 0xc3, 0, 0, 8);
    assert_int_equal(mmx(f, 0x2a, 0xc8, 0, 0, 4), -1); /* CVTPI2PS XMM9, MM0 */
    memcpy(two, f->x.cpu.vec[9], 8);
    assert_true(two[0] == 7.0f && two[1] == -3.0f);
    two[0] = 2.5f;
    memcpy(f->x.cpu.vec[9], two, 8);
    assert_int_equal(mmx(f, 0x2c, 0xd1, 0, 0, 1), -1); /* CVTTPS2PI MM2, XMM9: inexact */
    assert_int_equal(mmx(f, 0x7e, 0xd2, 0, 0, 8), -1);
    assert_true(f->x.cpu.reg[X86_RDX] == 0xfffffffd00000002);
    assert_int_equal(f->x.cpu.mxcsr, 0x1fa0);
    f->x.cpu.mxcsr = 0x0f80; /* inexact unmasked */
    assert_int_equal(mmx(f, 0x2c, 0xd1, 0, 0, 1), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_XM);
    memset(f->x.cpu.vec[3], 0xff, 64);
    assert_int_equal(mmx(f, 0xd6, 0xda, 0xf3, 0, 0), -1); /* MOVQ2DQ XMM3, MM2 */
    assert_true(bytes_get(f->x.cpu.vec[3], 8) == 0xfffffffd00000002 && !bytes_get(f->x.cpu.vec[3] + 8, 8));
    fake_free(f);
}

/* ---- save areas
 * ---------------------------------------------------------------------------------------------------- */

static void fill_vectors(struct fake *f)
{
    for (unsigned r = 0; r < 16; r++)
        for (unsigned i = 0; i < 64; i++)
            f->x.cpu.vec[r][i] = (uint8_t)(r * 16 + i + 1);
}

static int xcall(struct fake *f, x86_helper_fn *fn, uint64_t components, unsigned kind)
{
    f->x.cpu.reg[X86_RAX] = (uint32_t)components;
    f->x.cpu.reg[X86_RDX] = components >> 32;
    return fake_call(f, fn, AREA, 1, kind);
}

static void test_fxsave(void **state)
{
    struct fake *f = fake_new("max");
    uint8_t fx[512], vec[16][64];
    (void)state;

    load_kinds(f);
    fill_vectors(f);
    f->x.cpu.mxcsr = 0x5f80;
    memset(f->mem + AREA, 0xcc, 1024);
    assert_int_equal(fake_call(f, help_fxsave, AREA, 1, 0), -1);
    assert_memory_equal(f->mem + AREA, f->x.fx, 24);
    assert_int_equal(bytes_get(f->mem + AREA + 24, 4), 0x5f80);
    for (unsigned r = 0; r < 16; r++)
        assert_memory_equal(f->mem + AREA + 160 + 16 * r, f->x.cpu.vec[r], 16);
    assert_int_equal(f->mem[AREA + 464], 0xcc); /* for software */
    memcpy(fx, f->x.fx, 512);
    memcpy(vec, f->x.cpu.vec, sizeof vec);
    x87_init(&f->x);
    memset(f->x.cpu.vec, 0, sizeof vec);
    f->x.cpu.mxcsr = 0x1f80;
    assert_int_equal(fake_call(f, help_fxrstor, AREA, 1, 0), -1);
    assert_memory_equal(f->x.fx, fx, 24);
    assert_memory_equal(f->x.fx + 32, fx + 32, 128);
    assert_int_equal(f->x.cpu.mxcsr, 0x5f80);
    for (unsigned r = 0; r < 16; r++)
        assert_memory_equal(f->x.cpu.vec[r], vec[r], 16);
    assert_int_equal(fake_call(f, help_fxsave, AREA + 8, 1, 0), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_GP);
    bytes_put(f->mem + AREA + 24, 0x10000, 4);
    assert_int_equal(fake_call(f, help_fxrstor, AREA, 1, 0), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_GP);
    fake_free(f);
}

static void test_xsave_standard(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    f->x.xcr0 = XCOMP_X87 | XCOMP_SSE | XCOMP_PKRU;
    fill_vectors(f);
    f->x.pkru = 0x55555554;
    memset(f->mem + AREA, 0, 4096);
    bytes_put(f->mem + AREA + 512, 0xf0, 8); /* bits not asked for stay */
    assert_int_equal(xcall(f, help_xsave, XCOMP_X87 | XCOMP_SSE | XCOMP_PKRU, 0), -1);
    assert_int_equal(bytes_get(f->mem + AREA + 512, 8),
                     0xf0 | XCOMP_SSE | XCOMP_PKRU); /* x87 is in its initial state */
    assert_int_equal(bytes_get(f->mem + AREA, 2), 0x37f);
    assert_int_equal(bytes_get(f->mem + AREA + xsave_component_offset(9), 4), 0x55555554);

    bytes_put(f->mem + AREA + 512, XCOMP_PKRU, 8); /* restored: PKRU; initial: SSE; untouched: x87 */
    load_double(f, 1.0);
    bytes_put(f->mem + AREA + 24, 0x3f80, 4);
    assert_int_equal(xcall(f, help_xrstor, XCOMP_SSE | XCOMP_PKRU, 0), -1);
    assert_int_equal(f->x.fx[FX_TW], 0x80);
    assert_int_equal(f->x.cpu.mxcsr, 0x3f80); /* from memory even so (vol. 1, 13.8.1) */
    assert_int_equal(bytes_get(f->x.cpu.vec[15], 8), 0);
    assert_int_equal(f->x.cpu.vec[15][16], (15 * 16 + 17) & 255);

    f->mem[AREA + 512] = 4; /* AVX is not enabled */
    assert_int_equal(xcall(f, help_xrstor, 7, 0), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_GP);
    f->mem[AREA + 512] = 3;
    f->mem[AREA + 529] = 1; /* bytes 23..8 of the header must be zero */
    assert_int_equal(xcall(f, help_xrstor, 7, 0), LEAVE_FAULT);
    f->x.cr4 &= ~(uint64_t)CR4_OSXSAVE;
    assert_int_equal(xcall(f, help_xrstor, 7, 0), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_UD);
    fake_free(f);
}

static void test_xsave_optimised_and_compacted(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    f->x.xcr0 = XCOMP_X87 | XCOMP_SSE | XCOMP_PKRU;
    memset(f->mem + AREA, 0xcc, 4096);
    memset(f->mem + AREA + 512, 0, 64);
    assert_int_equal(xcall(f, help_xsave, ~0ull, 1), -1); /* XSAVEOPT with nothing in use: MXCSR and XSTATE_BV only */
    assert_int_equal(bytes_get(f->mem + AREA, 8), 0xcccccccccccccccc);
    assert_int_equal(bytes_get(f->mem + AREA + 24, 4), 0x1f80);
    assert_int_equal(bytes_get(f->mem + AREA + 160, 4), 0xcccccccc);
    assert_int_equal(bytes_get(f->mem + AREA + 512, 8), 0);

    f->x.pkru = 0x1234;
    f->x.cpu.mxcsr = 0x1fa0;
    assert_int_equal(xcall(f, help_xsave, ~0ull, 2), -1); /* XSAVEC: MXCSR alone makes SSE be in use */
    assert_int_equal(bytes_get(f->mem + AREA + 512, 8), XCOMP_SSE | XCOMP_PKRU);
    assert_true(bytes_get(f->mem + AREA + 520, 8) == (XCOMP_COMPACT | 0x203));
    assert_int_equal(bytes_get(f->mem + AREA + 576, 8), 0x1234);

    f->x.pkru = 0;
    f->x.cpu.mxcsr = 0x1f80;
    load_double(f, 1.0);
    assert_int_equal(xcall(f, help_xrstor, ~0ull, 0), -1);
    assert_int_equal(f->x.pkru, 0x1234);
    assert_int_equal(f->x.cpu.mxcsr, 0x1fa0);
    assert_int_equal(f->x.fx[FX_TW], 0);
    f->mem[AREA + 513] = 0x80; /* a component that XCOMP_BV does not have */
    assert_int_equal(xcall(f, help_xrstor, ~0ull, 0), LEAVE_FAULT);
    f->mem[AREA + 513] = 2;
    f->mem[AREA + 540] = 1;
    assert_int_equal(xcall(f, help_xrstor, ~0ull, 0), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_GP);
    fake_free(f);
}

/* No byte is stored when the area's end cannot be. */
static void test_xsave_fault_stores_nothing(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    f->page[7] = PAGE_HOLE;
    fill_vectors(f);
    f->x.cpu.reg[X86_RAX] = 3;
    assert_int_equal(fake_call(f, help_xsave, 0x7000 - 512, 1, 0), LEAVE_FAULT);
    assert_int_equal(fake_call(f, help_xsave, 0x7000 - 512, 1, 2), LEAVE_FAULT);
    assert_int_equal(fake_call(f, help_fxsave, 0x7000 - 256, 1, 0), LEAVE_FAULT);
    for (unsigned i = 0; i < 512; i++)
        assert_int_equal(f->mem[0x7000 - 512 + i], 0);
    fake_free(f);
}

static void test_xsetbv(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    f->x.cpu.reg[X86_RCX] = 0;
    assert_int_equal(xcall(f, help_xsetbv, 2, 0), LEAVE_FAULT); /* x87 must stay */
    assert_int_equal(xcall(f, help_xsetbv, 1 << 3, 0), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_GP);
    assert_int_equal(xcall(f, help_ldmxcsr, 0, 0), -1);
    assert_int_equal(fake_call(f, help_ldmxcsr, 0x10000, 0, 0), LEAVE_FAULT);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_pointers),
        cmocka_unit_test(test_store_fault),
        cmocka_unit_test(test_unmasked_exception),
        cmocka_unit_test(test_not_available),
        cmocka_unit_test(test_compare_to_flags),
        cmocka_unit_test(test_conditional_move),
        cmocka_unit_test(test_save_as_the_host_does),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_mmx),
        cmocka_unit_test(test_mmx_with_xmm),
        cmocka_unit_test(test_fxsave),
        cmocka_unit_test(test_xsave_standard),
        cmocka_unit_test(test_xsave_optimised_and_compacted),
        cmocka_unit_test(test_xsave_fault_stores_nothing),
        cmocka_unit_test(test_xsetbv),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
