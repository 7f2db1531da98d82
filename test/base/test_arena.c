/* The arena: alignment, zeroing, "no room", reset; two at once. */
#include "base/base.h"

#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

static void test_alloc(void **state)
{
    struct status st = {0};
    struct arena a, b;
    (void)state;

    assert_true(arena_init(&a, 1 << 20, &st));
    assert_true(arena_init(&b, 1 << 20, &st));
    uint8_t *p = arena_alloc(&a, 5), *q = arena_alloc(&a, 1), *other = arena_alloc(&b, 5);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 16, 0);
    assert_int_equal((uintptr_t)q % 16, 0);
    assert_true(q >= p + 5);
    assert_true(other != p);
    memset(p, 0xaa, 5);
    assert_int_equal(q[0], 0);
    assert_int_equal(other[0], 0);

    arena_reset(&a);
    uint8_t *again = arena_alloc(&a, 5);
    assert_ptr_equal(again, p);
    for (int i = 0; i < 5; i++)
        assert_int_equal(again[i], 0);
    arena_fini(&a);
    arena_fini(&b);
}

static void test_full(void **state)
{
    struct status st = {0};
    struct arena a;
    (void)state;

    assert_true(arena_init(&a, 4096, &st));
    assert_null(arena_alloc(&a, 4097));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_non_null(arena_alloc(&a, 4090));
    assert_null(arena_alloc(&a, 7));
    arena_reset(&a);
    assert_non_null(arena_alloc(&a, 4096));
    assert_null(arena_alloc(&a, 1));
    arena_fini(&a);
}

static void test_bytes(void **state)
{
    uint8_t m[8] = {1, 2, 3, 4, 5, 6, 7, 0x88};
    (void)state;

    assert_int_equal(bytes_get(m, 3), 0x030201);
    bytes_put(m + 1, 0xaabb, 2);
    assert_int_equal(m[1], 0xbb);
    assert_int_equal(m[2], 0xaa);
    assert_int_equal(m[3], 4);
    assert_int_equal(sign_extend(0x80, 8), -128);
    assert_int_equal(sign_extend(0x7f, 8), 127);
    assert_true(mask_bits(0) == 0 && mask_bits(8) == 0xff && mask_bits(64) == ~0ull);
}

static void test_status_keeps_first(void **state)
{
    struct status st = {0};
    (void)state;

    assert_false(status_set(&st, "file %d", 1));
    assert_false(status_set(&st, "file %d", 2));
    assert_string_equal(st.text, "file 1");
}

static void test_code_memory(void **state)
{
    struct status st = {0};
    struct os_code c;
    (void)state;

    for (unsigned named = 0; named < 2; named++) {
        assert_true(os_code_memory(&c, 1 << 18, named, &st));
        assert_true(named ? c.file < 0 : c.file >= 0);
        /* mov eax, 42; ret */
        memcpy(c.rw + 64, "\xb8\x2a\0\0\0\xc3", 6);
        os_code_touch(&c, c.rw + 4096, (1 << 18) - 2 * 4096);
        int (*fn)(void);
        uint8_t *at = c.rx + 64;
        memcpy(&fn, &at, sizeof(fn));
        assert_int_equal(fn(), 42);
        c.rw[4096] = 7;
        assert_int_equal(c.rx[4096], 7);
        os_code_memory_free(&c);
    }
}

static void test_discard(void **state)
{
    uint8_t *p = os_reserve(1ull << 39);
    (void)state;

    assert_non_null(p);
    p[1ull << 38] = 1;
    os_discard(p, 1ull << 39);
    assert_int_equal(p[1ull << 38], 0);
    os_release(p, 1ull << 39);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc),       cmocka_unit_test(test_full),
        cmocka_unit_test(test_bytes),       cmocka_unit_test(test_status_keeps_first),
        cmocka_unit_test(test_code_memory), cmocka_unit_test(test_discard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
