/* Tests of guest/x86/sys_avx.c and of what sys_xsave.c does with AVX's and AVX-512's state. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/guest/sysfake.h"

enum { AREA = 0x6000, ALL = XCOMP_X87 | XCOMP_SSE | XCOMP_AVX | XCOMP_AVX512 };

static int setup(void **state)
{
    *state = fake_new("max");
    return 0;
}

static int teardown(void **state)
{
    fake_free(*state);
    return 0;
}

static int xcall(struct fake *f, x86_helper_fn *fn, uint64_t components, unsigned kind)
{
    f->x.cpu.reg[X86_RAX] = (uint32_t)components;
    f->x.cpu.reg[X86_RDX] = components >> 32;
    return fake_call(f, fn, AREA, 1 | SEG_DS << 8, kind);
}

static int xsetbv(struct fake *f, uint64_t v)
{
    f->x.cpu.reg[X86_RAX] = (uint32_t)v;
    f->x.cpu.reg[X86_RDX] = v >> 32;
    f->x.cpu.reg[X86_RCX] = 0;
    return fake_call(f, help_xsetbv, 0, 0, 0);
}

/* AVX by itself needs SSE; AVX-512 is three components at once, and AVX (SDM vol. 1, 13.3).  Good values are tried by
 * whole boots. */
static void test_xsetbv(void **state)
{
    static const uint64_t bad[] = {0,
                                   XCOMP_SSE,
                                   XCOMP_X87 | XCOMP_AVX,
                                   XCOMP_X87 | XCOMP_SSE | XCOMP_AVX512,
                                   ALL & ~(1 << 5),
                                   ALL & ~(1 << 6),
                                   ALL & ~(1 << 7),
                                   ALL | 1 << 3,
                                   ALL | 1ull << 62};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct fake *f = *state;
        assert_int_equal(xsetbv(f, bad[i]), LEAVE_FAULT);
        assert_int_equal(f->x.fault.vector, EX_GP);
        assert_int_equal(f->x.xcr0, XCOMP_X87 | XCOMP_SSE);
    }
}

/* Who may run AVX: vol. 2, 2.4.3 (types 4 and 8), table 2-46. */
static void test_enable(void **state)
{
    struct fake *f = *state;
    static const struct {
        uint64_t xcr0, cr4, cr0;
        unsigned bytes, vector;
    } cases[] = {
        {XCOMP_X87 | XCOMP_SSE, CR4_OSXSAVE, 0, 32, EX_UD},
        {ALL, 0, 0, 32, EX_UD},
        {ALL, 0, 0, 64, EX_UD},
        {XCOMP_X87 | XCOMP_SSE | XCOMP_AVX, CR4_OSXSAVE, 0, 64, EX_UD},
        {XCOMP_X87 | XCOMP_SSE | XCOMP_AVX, CR4_OSXSAVE, CR0_TS, 64, EX_UD},
        {XCOMP_X87 | XCOMP_SSE | XCOMP_AVX, CR4_OSXSAVE, CR0_TS, 32, EX_NM},
        {ALL, CR4_OSXSAVE, CR0_TS | CR0_EM, 64, EX_NM},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        f->x.xcr0 = cases[i].xcr0;
        f->x.cr4 = CR4_PAE | cases[i].cr4;
        f->x.cr0 = CR0_PE | CR0_NE | CR0_PG | cases[i].cr0;
        f->x.fault.vector = 0xff;
        assert_int_equal(fake_call(f, help_avx_enable, cases[i].bytes, 0, 0), LEAVE_FAULT);
        assert_int_equal(f->x.fault.vector, cases[i].vector);
    }
}

static void fill(struct fake *f)
{
    for (unsigned r = 0; r < IR_NVEC; r++)
        for (unsigned i = 0; i < 64; i++)
            f->x.cpu.vec[r][i] = (uint8_t)(r * 64 + i * 3 + 1);
    for (unsigned k = 0; k < IR_NMASK; k++)
        f->x.cpu.mask[k] = 0x1111111111111111ull * (k + 1);
}

/* Where Intel's processors have the components: the same that CPUID leaf 0DH of e.g. Ice Lake says. */
static void test_xsave_standard(void **state)
{
    struct fake *f = *state;
    f->x.xcr0 = ALL;
    fill(f);
    assert_int_equal(xsave_area_size(ALL, false), 2688);
    assert_int_equal(xcall(f, help_xsave, ~0ull, 0), -1);
    const uint8_t *area = f->mem + AREA;
    assert_int_equal(bytes_get(area + 512, 8), ALL & ~XCOMP_X87); /* x87 is as after FNINIT */
    for (unsigned r = 0; r < 16; r++) {
        assert_memory_equal(area + 160 + 16 * r, f->x.cpu.vec[r], 16);
        assert_memory_equal(area + 576 + 16 * r, f->x.cpu.vec[r] + 16, 16);
        assert_memory_equal(area + 1152 + 32 * r, f->x.cpu.vec[r] + 32, 32);
        assert_memory_equal(area + 1664 + 64 * r, f->x.cpu.vec[16 + r], 64);
    }
    assert_memory_equal(area + 1088, f->x.cpu.mask, 64);

    struct cpu was = f->x.cpu;
    memset(f->x.cpu.vec, 0x5a, sizeof was.vec);
    memset(f->x.cpu.mask, 0x5a, sizeof was.mask);
    assert_int_equal(xcall(f, help_xrstor, ~0ull, 0), -1);
    assert_memory_equal(f->x.cpu.vec, was.vec, sizeof was.vec);
    assert_memory_equal(f->x.cpu.mask, was.mask, sizeof was.mask);

    bytes_put(f->mem + AREA + 512, XCOMP_SSE | 1 << 7, 8); /* the others: initial state */
    assert_int_equal(xcall(f, help_xrstor, ~0ull, 0), -1);
    static const uint8_t zeros[64];
    for (unsigned r = 0; r < 16; r++) {
        assert_memory_equal(f->x.cpu.vec[r], was.vec[r], 16);
        assert_memory_equal(f->x.cpu.vec[r] + 16, zeros, 48);
        assert_memory_equal(f->x.cpu.vec[16 + r], was.vec[16 + r], 64);
    }
    assert_memory_equal(f->x.cpu.mask, zeros, 64);
}

/* Components in use only, one behind the other. */
static void test_xsave_compacted(void **state)
{
    struct fake *f = *state;
    f->x.xcr0 = ALL;
    f->x.cpu.mask[3] = 7;
    f->x.cpu.vec[20][63] = 1;
    assert_int_equal(xcall(f, help_xsave, XCOMP_SSE | XCOMP_AVX512, 2), -1);
    const uint8_t *area = f->mem + AREA;
    assert_int_equal(bytes_get(area + 512, 8), 1 << 5 | 1 << 7);
    assert_true(bytes_get(area + 520, 8) == (XCOMP_COMPACT | XCOMP_SSE | XCOMP_AVX512));
    assert_int_equal(bytes_get(area + 576 + 24, 8), 7);
    assert_int_equal(area[576 + 64 + 512 + 4 * 64 + 63], 1);
    f->x.cpu.mask[3] = f->x.cpu.mask[1] = 9;
    f->x.cpu.vec[20][63] = 0;
    f->x.cpu.vec[2][40] = 1;
    assert_int_equal(xcall(f, help_xrstor, ~0ull, 0), -1);
    assert_int_equal(f->x.cpu.mask[3], 7);
    assert_int_equal(f->x.cpu.mask[1], 0);
    assert_int_equal(f->x.cpu.vec[20][63], 1);
    assert_int_equal(f->x.cpu.vec[2][40], 0);
}

/* Outside 64-bit mode registers 8 and up stay as they are. */
static void test_xrstor_in_32_bits(void **state)
{
    struct fake *f = *state;
    f->x.xcr0 = ALL;
    fill(f);
    f->x.mode &= ~(uint32_t)MODE_64;
    memset(f->mem + AREA, 0, 4096);
    struct cpu was = f->x.cpu;
    bytes_put(f->mem + AREA + 24, 0x1f80, 4);
    assert_int_equal(xcall(f, help_xrstor, ~0ull, 0), -1);
    static const uint8_t zeros[8 * 64];
    assert_memory_equal(f->x.cpu.vec, zeros, sizeof zeros);
    assert_memory_equal(f->x.cpu.vec[8], was.vec[8], 24 * 64);
    assert_memory_equal(f->x.cpu.mask, zeros, 64);
}

/* A fault in the midst of a gather: what is before it is done, and its mask clear (SDM vol. 2, VPGATHERDD). */
static void test_gather_fault(void **state)
{
    struct fake *f = *state;
    union x86_gather g = {.packed = 0};
    g.data = 17;
    g.index = 18;
    g.mask = 2;
    g.scale = 2;
    g.evex = 1;
    g.count = 4;
    g.seg = SEG_DS;
    g.asize = 8;
    f->page[3] = PAGE_HOLE;
    static const uint32_t index[4] = {1, 0x100, 0x400, 5}; /* the third: in the hole */
    memcpy(f->x.cpu.vec[18], index, sizeof index);
    memset(f->x.cpu.vec[17], 0xee, 64);
    bytes_put(f->mem + 0x2000 + 4, 0x12345678, 4);
    f->x.cpu.mask[2] = 0xfd; /* not the second */
    assert_int_equal(fake_call(f, help_gather, 0x2000, g.packed, 0), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_PF);
    assert_int_equal(f->x.cr2, 0x3000);
    assert_int_equal(f->x.cpu.mask[2], 0xfc);
    assert_int_equal(bytes_get(f->x.cpu.vec[17], 4), 0x12345678);
    assert_int_equal(bytes_get(f->x.cpu.vec[17] + 8, 4), 0xeeeeeeee);
    f->page[3] = PAGE_RAM;
    bytes_put(f->mem + 0x3000, 0x33333333, 4);
    bytes_put(f->mem + 0x2000 + 20, 0x55555555, 4);
    assert_int_equal(fake_call(f, help_gather, 0x2000, g.packed, 0), -1);
    assert_int_equal(f->x.cpu.mask[2], 0);
    assert_true(bytes_get(f->x.cpu.vec[17], 8) == 0xeeeeeeee12345678);
    assert_true(bytes_get(f->x.cpu.vec[17] + 8, 8) == 0x5555555533333333);
    assert_int_equal(bytes_get(f->x.cpu.vec[17] + 16, 8), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_xsetbv, setup, teardown),
        cmocka_unit_test_setup_teardown(test_enable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_xsave_standard, setup, teardown),
        cmocka_unit_test_setup_teardown(test_xsave_compacted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_xrstor_in_32_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gather_fault, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
