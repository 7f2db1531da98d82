/* Tests of guest/x86/sys_string.c: results against a plain element-by-element model, registers at faults, flags
 * against the host's own CMP. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "guest/x86/lift.h"
#include "test/guest/sysfake.h"

static uint64_t string_arg(enum x86_string kind, unsigned bytes, unsigned asize, unsigned rep)
{
    return (uint64_t)kind | bytes << 8 | asize << 16 | (uint64_t)SEG_DS << 24 | (uint64_t)rep << 28;
}

static int run(struct fake *f, enum x86_string kind, unsigned bytes, unsigned asize, unsigned rep)
{
    return fake_call(f, help_string, string_arg(kind, bytes, asize, rep), 0, 0);
}

static void put(struct fake *f, uint64_t rcx, uint64_t rsi, uint64_t rdi)
{
    f->x.cpu.reg[X86_RCX] = rcx;
    f->x.cpu.reg[X86_RSI] = rsi;
    f->x.cpu.reg[X86_RDI] = rdi;
}

static void expect(const struct fake *f, uint64_t rcx, uint64_t rsi, uint64_t rdi)
{
    assert_int_equal(f->x.cpu.reg[X86_RCX], rcx);
    assert_int_equal(f->x.cpu.reg[X86_RSI], rsi);
    assert_int_equal(f->x.cpu.reg[X86_RDI], rdi);
}

static void fill(struct fake *f)
{
    for (unsigned i = 0; i < FAKE_BYTES; i++)
        f->mem[i] = (uint8_t)(i * 2654435761u >> 13);
}

/* MOVS in all sizes, both ways, at distances that overlap, over page borders and slow pages. */
static void test_movs_is_element_by_element(void **state)
{
    static const int distances[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 64, 4096, 5000, -1, -3, -8, -100};
    struct fake *f = fake_new("max");
    uint8_t *model = malloc(FAKE_BYTES);
    (void)state;

    f->page[12] = PAGE_SLOW;
    for (unsigned i = 0; i < ARRAY_LEN(distances); i++)
        for (unsigned bytes = 1; bytes <= 8; bytes *= 2)
            for (int step = 1; step >= -1; step -= 2) {
                uint64_t from = 0x8ff3, count = 20000 / bytes, to = from + (uint64_t)(int64_t)distances[i];
                if (step < 0)
                    from += 20000, to += 20000;
                fill(f);
                memcpy(model, f->mem, FAKE_BYTES);
                uint64_t s = from, d = to;
                for (uint64_t n = 0; n < count; n++, s += step * (int)bytes, d += step * (int)bytes) {
                    uint8_t element[8];
                    memcpy(element, model + s, bytes);
                    memcpy(model + d, element, bytes);
                }
                f->x.cpu.reg[X86_DF] = (uint64_t)(int64_t)step;
                put(f, count, from, to);
                assert_int_equal(run(f, STR_MOVS, bytes, 8, 1), -1);
                expect(f, 0, s, d);
                assert_memory_equal(f->mem, model, FAKE_BYTES);
            }
    assert_true(f->commits > 0);
    free(model);
    fake_free(f);
}

static void test_stos_and_lods(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    for (unsigned bytes = 1; bytes <= 8; bytes *= 2) {
        fill(f);
        f->x.cpu.reg[X86_RAX] = 0x8877665544332211;
        put(f, 3000, 7, 0x2ffd);
        assert_int_equal(run(f, STR_STOS, bytes, 8, 1), -1);
        expect(f, 0, 7, 0x2ffd + 3000 * bytes);
        for (unsigned i = 0; i < 3000 * bytes; i++)
            assert_int_equal(f->mem[0x2ffd + i], 0x11 * (1 + i % bytes));
        f->x.cpu.reg[X86_RAX] = ~0ull;
        put(f, 9, 0x2ffd, 0);
        assert_int_equal(run(f, STR_LODS, bytes, 8, 0), -1);
        expect(f, 9, 0x2ffd + bytes, 0);
        uint64_t low = 0x8877665544332211 & mask_bits(8 * bytes);
        assert_true(f->x.cpu.reg[X86_RAX] == (bytes < 4 ? (~0ull << (8 * bytes)) | low : low));
    }
    fake_free(f);
}

/* A hole stops the insn with the registers at the element that faults, whole elements before it done. */
static void test_fault_is_exact(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    fill(f);
    f->page[5] = PAGE_HOLE;
    put(f, 1000, 0x8000, 0x4ff1); /* 15 bytes: one element of 8, the second crosses into the hole */
    assert_int_equal(run(f, STR_MOVS, 8, 8, 1), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_PF);
    expect(f, 999, 0x8008, 0x4ff9);
    assert_int_equal(f->x.cpu.pc, FAKE_PC);
    put(f, 5000, 0x4000, 0x8000);
    assert_int_equal(run(f, STR_MOVS, 1, 8, 1), LEAVE_FAULT);
    expect(f, 5000 - 4096, 0x5000, 0x9000);
    put(f, 500, 0, 0x4ffc);
    assert_int_equal(run(f, STR_STOS, 4, 8, 1), LEAVE_FAULT);
    expect(f, 499, 0, 0x5000);
    fake_free(f);
}

static void test_count_zero_does_nothing(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    f->page[5] = PAGE_HOLE;
    put(f, 0x100000000, 0x5000, 0x5000); /* ECX is zero */
    assert_int_equal(run(f, STR_MOVS, 1, 4, 1), -1);
    expect(f, 0x100000000, 0x5000, 0x5000);
    fake_free(f);
}

/* Slow pages that are RAM (they hold code): 64 bytes a store, with the same result; slow pages that are not: element
 * by element. */
static void test_ram_with_code(void **state)
{
    struct fake *f = fake_new("max");
    struct log log = {.out = stderr};
    struct status st;
    (void)state;

    assert_true(bus_init(&f->x.mem, 52, &log, &st));
    struct bus_range r = {.base = 0, .size = 0x8000, .host = f->mem, .name = "ram"};
    assert_true(bus_map(f->x.mem, &r));
    f->x.cr0 = CR0_PE;
    f->x.a20_mask = ~0ull;
    fill(f);
    f->page[3] = f->page[9] = PAGE_SLOW;
    f->x.cpu.reg[X86_RAX] = 0x0807060504030201;
    put(f, 512, 0, 0x3000);
    assert_int_equal(run(f, STR_STOS, 8, 8, 1), -1);
    expect(f, 0, 0, 0x4000);
    assert_int_equal(f->commits, 64);
    for (unsigned i = 0; i < 4096; i++)
        assert_int_equal(f->mem[0x3000 + i], i % 8 + 1);
    f->commits = 0;
    put(f, 4096, 0x10010, 0x3000);
    assert_int_equal(run(f, STR_MOVS, 1, 8, 1), -1);
    expect(f, 0, 0x11010, 0x4000);
    assert_memory_equal(f->mem + 0x3000, f->mem + 0x10010, 4096);
    assert_in_range(f->commits, 64, 66);
    f->commits = 0;
    put(f, 4096, 0x10010, 0x9000);
    assert_int_equal(run(f, STR_MOVS, 1, 8, 1), -1);
    assert_memory_equal(f->mem + 0x9000, f->mem + 0x10010, 4096);
    assert_int_equal(f->commits, 4096);
    f->mem[0x2fff] = 0x77; /* overlap by one: spreads the byte */
    put(f, 100, 0x2fff, 0x3000);
    assert_int_equal(run(f, STR_MOVS, 1, 8, 1), -1);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(f->mem[0x3000 + i], 0x77);
    bus_fini(f->x.mem);
    fake_free(f);
}

/* 16-bit addresses wrap inside 64 KB and keep the upper halves. */
static void test_address_wraps(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    fill(f);
    f->x.mode = MODE_PROT | MODE_FLAT | MODE_FLAT_FSGS;
    f->x.cpu.reg[X86_RAX] = 0xab;
    put(f, 0x70008, 0, 0x1fffc);
    assert_int_equal(run(f, STR_STOS, 1, 2, 1), -1);
    expect(f, 0x70000, 0, 0x10004);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(f->mem[i], 0xab);
        assert_int_equal(f->mem[0xfffc + i], 0xab);
    }
    assert_int_not_equal(f->mem[0x10000], 0xab);

    f->x.cpu.reg[X86_BASE_FS] = 0x800; /* the wrap is in the middle of a page */
    put(f, 8, 0xfffc, 0x20000 | 0x3000);
    uint64_t a = string_arg(STR_MOVS, 1, 2, 1);
    a = (a & ~(15ull << 24)) | (uint64_t)SEG_FS << 24;
    assert_int_equal(fake_call(f, help_string, a, 0, 0), -1);
    assert_memory_equal(f->mem + 0x3000, f->mem + 0x107fc, 4);
    assert_memory_equal(f->mem + 0x3004, f->mem + 0x800, 4);
    expect(f, 0, 4, 0x23008);
    fake_free(f);
}

static uint32_t host_compare(uint64_t p, uint64_t q, unsigned bytes)
{
    uint64_t flags;

    switch (bytes) {
    case 1: __asm__("cmpb %b2, %b1\n pushfq\n popq %0" : "=r"(flags) : "r"(p), "r"(q) : "cc"); break;
    case 2: __asm__("cmpw %w2, %w1\n pushfq\n popq %0" : "=r"(flags) : "r"(p), "r"(q) : "cc"); break;
    case 4: __asm__("cmpl %k2, %k1\n pushfq\n popq %0" : "=r"(flags) : "r"(p), "r"(q) : "cc"); break;
    default: __asm__("cmpq %2, %1\n pushfq\n popq %0" : "=r"(flags) : "r"(p), "r"(q) : "cc"); break;
    }
    return (uint32_t)flags & CPU_ARITH;
}

static void test_compare_flags(void **state)
{
    static const uint64_t values[] = {0,
                                      1,
                                      0x7f,
                                      0x80,
                                      0xff,
                                      0x7fff,
                                      0x8000,
                                      0x0f,
                                      0x10,
                                      0x7fffffff,
                                      0x80000000,
                                      0x7fffffffffffffff,
                                      0x8000000000000000,
                                      ~0ull,
                                      0x123456789abcdef0};
    struct fake *f = fake_new("max");
    (void)state;

    for (unsigned i = 0; i < ARRAY_LEN(values); i++)
        for (unsigned k = 0; k < ARRAY_LEN(values); k++)
            for (unsigned bytes = 1; bytes <= 8; bytes *= 2) {
                uint32_t want = host_compare(values[i], values[k], bytes);
                memcpy(f->mem + 0x100, &values[i], 8);
                memcpy(f->mem + 0x200, &values[k], 8);
                put(f, 1, 0x100, 0x200);
                assert_int_equal(run(f, STR_CMPS, bytes, 8, 0), -1);
                assert_int_equal(cpu_flags(&f->x.cpu), want);
                f->x.cpu.reg[X86_RAX] = values[i];
                put(f, 1, 0, 0x200);
                assert_int_equal(run(f, STR_SCAS, bytes, 8, 2), -1);
                assert_int_equal(cpu_flags(&f->x.cpu), want);
            }
    fake_free(f);
}

static void test_repeat_conditions(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    strcpy((char *)f->mem + 0x1ff0, "a string of some length over a page border");
    put(f, ~0ull, 0, 0x1ff0); /* strlen */
    f->x.cpu.reg[X86_RAX] = 0;
    assert_int_equal(run(f, STR_SCAS, 1, 8, 2), -1);
    expect(f, ~0ull - 43, 0, 0x1ff0 + 43);
    assert_true(cpu_flags(&f->x.cpu) & FL_ZF);
    memcpy(f->mem + 0x5000, f->mem + 0x1ff0, 100);
    f->mem[0x5000 + 20] ^= 1;
    put(f, 100, 0x5000, 0x1ff0);
    assert_int_equal(run(f, STR_CMPS, 1, 8, 1), -1);
    expect(f, 79, 0x5000 + 21, 0x1ff0 + 21);
    assert_false(cpu_flags(&f->x.cpu) & FL_ZF);
    cpu_set_flags(&f->x.cpu, FL_CF | FL_OF); /* a fault keeps the flags from before the insn */
    f->page[6] = PAGE_HOLE;
    memset(f->mem + 0x5ff0, 0, 16);
    memset(f->mem + 0x7ff0, 0, 32);
    put(f, 100, 0x5ff0, 0x7ff0);
    assert_int_equal(run(f, STR_CMPS, 2, 8, 1), LEAVE_FAULT);
    expect(f, 92, 0x6000, 0x8000);
    assert_int_equal(cpu_flags(&f->x.cpu), FL_CF | FL_OF);
    fake_free(f);
}

/* An interrupt between page runs: leaves at the insn, and running it again finishes the work. */
static void test_kick_between_runs(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    fill(f);
    f->kick_after = 3; /* in the middle of the second page run */
    put(f, 0x8000, 0x10000, 0x20000);
    assert_int_equal(run(f, STR_MOVS, 1, 8, 1), LEAVE_KICK);
    expect(f, 0x6000, 0x12000, 0x22000);
    assert_int_equal(f->x.cpu.pc, FAKE_PC);
    f->x.cpu.kick = 0;
    assert_int_equal(run(f, STR_MOVS, 1, 8, 1), -1);
    expect(f, 0, 0x18000, 0x28000);
    assert_memory_equal(f->mem + 0x20000, f->mem + 0x10000, 0x8000);
    fake_free(f);
}

static void test_step_traps_each_iteration(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    f->x.mode |= MODE_STEP;
    put(f, 3, 0x100, 0x200);
    assert_int_equal(run(f, STR_MOVS, 1, 8, 1), LEAVE_NEXT);
    expect(f, 2, 0x101, 0x201);
    assert_int_equal(f->x.cpu.pc, FAKE_PC);
    fake_free(f);
}

/* Port I/O without the right to it: #GP before memory or the port is touched. */
static void test_ports_need_permission(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    f->x.mode |= 3;
    f->page[5] = PAGE_HOLE;
    put(f, 1, 0x5000, 0x5000);
    assert_int_equal(run(f, STR_INS, 1, 8, 0), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_GP);
    assert_int_equal(run(f, STR_OUTS, 1, 8, 0), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_GP);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_movs_is_element_by_element),
        cmocka_unit_test(test_stos_and_lods),
        cmocka_unit_test(test_fault_is_exact),
        cmocka_unit_test(test_count_zero_does_nothing),
        cmocka_unit_test(test_ram_with_code),
        cmocka_unit_test(test_address_wraps),
        cmocka_unit_test(test_compare_flags),
        cmocka_unit_test(test_repeat_conditions),
        cmocka_unit_test(test_kick_between_runs),
        cmocka_unit_test(test_step_traps_each_iteration),
        cmocka_unit_test(test_ports_need_permission),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
