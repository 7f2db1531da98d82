/* Translation tables: fill, the kinds of flush, global, large and huge pages, full logs, dropping writable entries. */
#include "mem/mem.h"

#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

static struct tlb *make(unsigned nvcpus)
{
    struct status st = {0};
    struct tlb *t = NULL;
    if (!tlb_init(&t, nvcpus, &st))
        fail_msg("%s", st.text);
    return t;
}

/* Each test runs with direct tables and with two levels. */
static unsigned many(void **state)
{
    return *state ? 9 : 1;
}

static uint64_t entry(struct tlb *t, unsigned slot, enum tlb_kind k, gva_t gva)
{
    return *tlb_entry(tlb_table(t, slot, k), gva);
}

static void count_one(void *arg, enum tlb_kind k, gva_t gva, uint64_t e)
{
    (void)k, (void)gva, (void)e;
    ++*(unsigned *)arg;
}
static unsigned live(struct tlb *t, unsigned slot)
{
    unsigned n = 0;
    tlb_each(t, slot, count_one, &n);
    return n;
}

static unsigned flush_page(struct tlb *t, unsigned slot, gva_t gva)
{
    unsigned x = 0;
    return tlb_flush_page(t, slot, gva, &x);
}

static void test_slots(void **state)
{
#ifdef __SANITIZE_ADDRESS__ /* less address space: mem/tlb.c */
    static const unsigned row[][2] = {{1, 8}, {3, 5}, {4, 4}, {5, 3}, {8, 2}, {9, 8}, {32, 8}, {255, 8}};
#else
    static const unsigned row[][2] = {{1, 8}, {3, 8}, {4, 6}, {5, 4}, {8, 3}, {9, 8}, {32, 8}, {255, 8}};
#endif
    struct status st = {0};
    struct tlb *t = NULL;
    (void)state;

    for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
        t = make(row[i][0]);
        assert_int_equal(tlb_slots(t), row[i][1]);
        tlb_fini(t);
    }
    assert_false(tlb_init(&t, 256, &st));
    assert_non_null(strstr(st.text, "256 vCPUs"));
}

static void test_fill_and_page(void **state)
{
    static const gva_t at[] = {0, 0x1000, 0x7ffffffff000, 0xffff800000000000, 0xffffffff81000000, 0xfffffffffffff000};
    struct tlb *t = make(many(state)), *u = make(many(state));
    (void)state;

    for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
        tlb_fill(t, 1, TLB_R_USER, at[i], 100 + i, 0);
        tlb_fill(t, 1, TLB_X_SUP, at[i], 200 + i, 0);
        tlb_fill(t, 2, TLB_R_USER, at[i], 300 + i, 0);
    }
    for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
        assert_int_equal(entry(t, 1, TLB_R_USER, at[i] + 0xfff), 100 + i);
        assert_int_equal(entry(t, 1, TLB_X_SUP, at[i]), 200 + i);
        assert_int_equal(entry(t, 1, TLB_R_SUP, at[i]), 0);
        assert_int_equal(entry(u, 1, TLB_R_USER, at[i]), 0);
    }
    assert_int_equal(live(t, 1), 12);
    for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
        unsigned x = 0;
        assert_int_equal(tlb_flush_page(t, 1, at[i] + 123, &x), 2);
        assert_true(x);
        assert_int_equal(entry(t, 1, TLB_R_USER, at[i]), 0);
        assert_int_equal(entry(t, 1, TLB_X_SUP, at[i]), 0);
        assert_int_equal(entry(t, 2, TLB_R_USER, at[i]), 300 + i);
        x = false;
        assert_int_equal(tlb_flush_page(t, 1, at[i], &x), 0);
        assert_int_equal(tlb_flush_page(t, 2, at[i], &x), 1);
        assert_false(x);
    }
    assert_int_equal(live(t, 1) + live(t, 2), 0);
    tlb_fini(t);
    tlb_fini(u);
}

static void test_flush_slot(void **state)
{
    struct tlb *t = make(2);
    unsigned x = 0;
    (void)state;

    for (unsigned i = 0; i < 100; i++) {
        tlb_fill(t, 0, TLB_R_SUP, i << 12, 1 + i, i % 2 ? TLB_GLOBAL : 0);
        tlb_fill(t, 0, TLB_W_SUP, i << 12, 1 + i, 0);
        tlb_fill(t, 1, TLB_X_USER, i << 12, 1 + i, 0);
    }
    assert_int_equal(tlb_flush_slot(t, 0, true, &x), 150);
    assert_false(x);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(entry(t, 0, TLB_R_SUP, i << 12), i % 2 ? 1 + i : 0);
    assert_int_equal(tlb_flush_slot(t, 0, true, &x), 0);
    assert_int_equal(tlb_flush_slot(t, 0, false, &x), 50);
    assert_int_equal(live(t, 0), 0);
    assert_int_equal(live(t, 1), 100);
    tlb_fill(t, 0, TLB_R_SUP, 0x5000, 7, TLB_GLOBAL);
    assert_false(x);
    assert_int_equal(tlb_flush_all(t, &x), 101);
    assert_true(x);
    assert_int_equal(live(t, 0) + live(t, 1), 0);
    tlb_fini(t);
}

/* A page that was global and is filled again as non-global, with or without a drop in between, must not survive. */
static void test_global_changes(void **state)
{
    struct tlb *t = make(many(state));
    unsigned x = 0;
    (void)state;

    for (unsigned drop = 0; drop < 2; drop++) {
        tlb_fill(t, 0, TLB_R_SUP, 0x5000, 1, TLB_GLOBAL);
        if (drop)
            assert_int_equal(flush_page(t, 0, 0x5000), 1);
        tlb_fill(t, 0, TLB_R_SUP, 0x5000, 2, 0);
        tlb_flush_slot(t, 0, true, &x);
        assert_int_equal(entry(t, 0, TLB_R_SUP, 0x5000), 0);
    }
    tlb_fini(t);
}

/* INVLPG reaches global entries of every slot, and of no slot the others (SDM 3A 4.10.4.1). */
static void test_global_page(void **state)
{
    struct tlb *t = make(many(state));
    unsigned x = 0;
    (void)state;

    for (unsigned s = 0; s < 4; s++) {
        tlb_fill(t, s, TLB_R_SUP, 0xffffffff80001000, 5, s == 3 ? 0 : TLB_GLOBAL);
        tlb_fill(t, s, TLB_R_SUP, 0xffffffff80002000, 5, TLB_GLOBAL);
    }
    tlb_fill(t, 2, TLB_X_SUP, 0xffffffff80001000, 5, TLB_GLOBAL);
    assert_int_equal(tlb_flush_page(t, 0, 0xffffffff80001000, &x), 4);
    assert_true(x);
    for (unsigned s = 0; s < 4; s++) {
        assert_int_equal(entry(t, s, TLB_R_SUP, 0xffffffff80001000), s == 3 ? 5 : 0);
        assert_int_equal(entry(t, s, TLB_R_SUP, 0xffffffff80002000), 5);
    }
    /* Global again after the bookkeeping was used up: still found. */
    tlb_fill(t, 1, TLB_R_SUP, 0xffffffff80001000, 6, TLB_GLOBAL);
    assert_int_equal(flush_page(t, 0, 0xffffffff80001000), 1);
    /* Entries that a non-global flush left are still found. */
    tlb_flush_slot(t, 1, true, &x);
    assert_int_equal(flush_page(t, 5, 0xffffffff80002000), 4);
    tlb_fini(t);
}

static void test_large(void **state)
{
    struct tlb *t = make(many(state));
    gva_t base = 0x7f0000400000;
    unsigned x = 0;
    (void)state;

    /* 2 MB: any address of the page drops all of it, in this slot. */
    for (unsigned i = 0; i < 512; i += 7) {
        tlb_fill(t, 0, TLB_R_USER, base + i * 4096, 9, TLB_LARGE);
        tlb_fill(t, 1, TLB_R_USER, base + i * 4096, 9, TLB_LARGE);
    }
    tlb_fill(t, 0, TLB_R_USER, base - 4096, 9, 0);
    tlb_fill(t, 0, TLB_R_USER, base + 0x400000, 9, 0);
    assert_int_equal(flush_page(t, 0, base + 0x1ff000), 74);
    assert_int_equal(live(t, 0), 2);
    assert_int_equal(live(t, 1), 74);
    /* Also what a non-global flush left, and what was filled after the last INVLPG there. */
    tlb_fill(t, 0, TLB_R_SUP, base, 9, TLB_LARGE | TLB_GLOBAL);
    tlb_fill(t, 0, TLB_R_SUP, base + 4096, 9, TLB_LARGE);
    tlb_flush_slot(t, 0, true, &x);
    assert_int_equal(live(t, 0), 1);
    assert_int_equal(flush_page(t, 0, base + 0x100000), 1);
    /* Global: in every slot that has it. */
    for (unsigned s = 2; s < 5; s++)
        tlb_fill(t, s, TLB_W_SUP, base + s * 4096, 9, TLB_LARGE | TLB_GLOBAL);
    assert_int_equal(flush_page(t, 7, base), 3);
    assert_int_equal(live(t, 1), 74);
    /* 4 MB: the other half is the same page. */
    tlb_fill(t, 0, TLB_R_USER, base, 9, TLB_LARGE);
    assert_int_equal(flush_page(t, 0, base + 0x3ff000), 1);
    tlb_fini(t);
}

static void test_huge(void **state)
{
    struct tlb *t = make(many(state));
    gva_t base = 0xffff888040000000;
    (void)state;

    tlb_fill(t, 0, TLB_R_SUP, base, 9, TLB_HUGE);
    tlb_fill(t, 0, TLB_W_SUP, base + 0x3ffff000, 9, TLB_HUGE | TLB_GLOBAL);
    tlb_fill(t, 1, TLB_R_SUP, base + 0x5000, 9, TLB_HUGE | TLB_GLOBAL);
    tlb_fill(t, 2, TLB_R_SUP, base + 0x5000, 9, TLB_HUGE);
    assert_int_equal(flush_page(t, 0, base - 1), 0);
    assert_int_equal(flush_page(t, 0, base + 0x40000000), 0);
    assert_int_equal(flush_page(t, 0, base + 0x12345678), 3);
    assert_int_equal(live(t, 0) + live(t, 1), 0);
    assert_int_equal(live(t, 2), 1);
    tlb_fini(t);
}

/* More pages than the log holds: entries may go, but what is there is known, and a flush drops it. */
static void test_log_overflow(void **state)
{
    enum { N = 300000 };
    struct tlb *t = make(many(state));
    unsigned x = 0;
    (void)state;

    for (uint64_t i = 0; i < N; i++)
        tlb_fill(t, 0, TLB_R_USER, i << 12, i + 1, 0);
    unsigned there = 0;
    for (uint64_t i = 0; i < N; i++)
        there += entry(t, 0, TLB_R_USER, i << 12) != 0;
    assert_int_equal(entry(t, 0, TLB_R_USER, (gva_t)(N - 1) << 12), N);
    assert_in_range(there, 1, N - 1);
    assert_int_equal(live(t, 0), there);
    assert_int_equal(tlb_flush_slot(t, 0, false, &x), there);
    assert_false(x);
    for (uint64_t i = 0; i < N; i++)
        assert_int_equal(entry(t, 0, TLB_R_USER, i << 12), 0);
    tlb_fini(t);
}

/* The same page over and over must not use the log up: another page's entry would fall out. */
static void test_log_same_page(void **state)
{
    struct tlb *t = make(many(state));
    (void)state;

    tlb_fill(t, 0, TLB_R_USER, 0x9000, 3, 0);
    for (unsigned i = 0; i < 600000; i++) {
        tlb_fill(t, 0, TLB_R_USER, 0x5000, 7, 0);
        assert_int_equal(flush_page(t, 0, 0x5000), 1);
    }
    assert_int_equal(entry(t, 0, TLB_R_USER, 0x9000), 3);
    assert_int_equal(live(t, 0), 1);
    tlb_fini(t);
}

/* X entries that fell out of a full log were never reported: from then on flushes say so until all is flushed. */
static void test_x_overflow_is_told(void **state)
{
    struct tlb *t = make(many(state));
    unsigned x = 0;
    (void)state;

    for (uint64_t i = 0; i < 270000; i++)
        tlb_fill(t, 0, TLB_X_USER, i << 12, i + 1, 0);
    assert_int_equal(entry(t, 0, TLB_X_USER, 0), 0);
    tlb_flush_page(t, 0, 0, &x);
    assert_true(x);
    tlb_flush_all(t, &x);
    x = false;
    tlb_flush_page(t, 0, 0, &x);
    assert_false(x);
    tlb_fini(t);
}

static void test_drop_writes(void **state)
{
    struct status st = {0};
    struct ram r;
    struct tlb *t = make(many(state)), *u = make(many(state));
    (void)state;

    assert_true(ram_init(&r, 64 << 20, 64 << 20, &st));
    uint8_t *host = r.host + 0x5000;
    const gva_t at[] = {0x400000, 0x7ffff0000000, 0xffff888000005000};
    for (unsigned i = 0; i < 3; i++) {
        tlb_fill(t, i, TLB_W_USER + i, at[i], (uintptr_t)host - at[i], 0);
        tlb_fill(t, i, TLB_R_USER + i, at[i], (uintptr_t)host - at[i], 0);
        tlb_fill(t, i, TLB_W_USER + i, at[i] + 4096, (uintptr_t)host - at[i], 0); /* next page to next page */
    }
    tlb_fill(u, 0, TLB_W_SUP, at[0], (uintptr_t)host - at[0], 0);
    assert_int_equal(tlb_drop_writes(t, &r, host), 0); /* the flag says nobody filled one */
    r.flags[5] = r.flags[6] = RAM_WMAPPED;
    assert_int_equal(tlb_drop_writes(t, &r, host + 0xfff), 3);
    assert_int_equal(tlb_drop_writes(t, &r, host), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(entry(t, i, TLB_W_USER + i, at[i]), 0);
        assert_true(entry(t, i, TLB_R_USER + i, at[i]) != 0);
        assert_true(entry(t, i, TLB_W_USER + i, at[i] + 4096) != 0);
    }
    assert_int_equal(tlb_drop_writes(u, &r, host), 1);
    assert_int_equal(tlb_drop_writes(t, &r, host + 4096), 3);
    assert_int_equal(r.flags[5], RAM_WMAPPED);
    assert_int_equal(tlb_drop_writes(t, &r, (uint8_t *)&r), 0);
    ram_fini(&r);
    tlb_fini(t);
    tlb_fini(u);
}

/* Many aliases of one page, many pages, entries that moved: against a model that looks at every entry. */
static void test_drop_writes_model(void **state)
{
    enum { PAGES = 64, GVAS = 4096 };
    struct status st = {0};
    struct ram r;
    struct tlb *t = make(many(state));
    uint64_t seed = 88172645463325252ull;
    (void)state;

    assert_true(ram_init(&r, PAGES * 4096, PAGES * 4096, &st));
    memset(r.flags, RAM_WMAPPED, PAGES);
    for (unsigned round = 0; round < 400; round++) {
        for (unsigned i = 0; i < 200; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            gva_t gva = (seed >> 20) % GVAS << 12;
            uint8_t *host = r.host + (seed >> 40) % PAGES * 4096;
            tlb_fill(t, seed % 2, TLB_W_USER + seed % 3, gva, (uintptr_t)host - gva, 0);
        }
        unsigned x = 0;
        if (round % 50 == 20)
            tlb_flush_slot(t, round / 50 % 2, false, &x);
        if (round % 170 == 30)
            tlb_flush_all(t, &x);
        uint64_t page = seed % PAGES;
        unsigned want = 0, left = 0;
        for (unsigned pass = 0; pass < 2; pass++) {
            for (unsigned s = 0; s < 2; s++)
                for (unsigned k = TLB_W_USER; k <= TLB_W_SUPAC; k++)
                    for (gva_t g = 0; g < GVAS << 12; g += 4096) {
                        uint64_t e = entry(t, s, k, g);
                        *(pass ? &left : &want) += e && e + g == (uintptr_t)r.host + page * 4096;
                    }
            if (pass == 0)
                assert_int_equal(tlb_drop_writes(t, &r, r.host + page * 4096), want);
        }
        assert_int_equal(left, 0);
    }
    ram_fini(&r);
    tlb_fini(t);
}

static gva_t at(uint64_t i)
{
    return (gva_t)sign_extend(i % 512 << 39, 48);
}

/* More top-level regions than the pool has leaves: entries may go, but what is there is right, and flushes drop it. */
static void test_leaf_overflow(void **state)
{
    enum { N = 600 };
    struct tlb *t = make(many(state));
    unsigned x = 0;

    for (uint64_t i = 0; i < N; i++) {
        tlb_fill(t, (unsigned)i / 512, TLB_R_USER, at(i), i + 1, 0);
        tlb_fill(t, (unsigned)i / 512, TLB_X_USER, at(i), i + 1, 0);
    }
    unsigned there = 0;
    for (uint64_t i = 0; i < N; i++) {
        uint64_t e = entry(t, (unsigned)i / 512, TLB_R_USER, at(i));
        assert_true(e == 0 || e == i + 1);
        there += e != 0;
    }
    assert_int_equal(entry(t, (N - 1) / 512, TLB_X_USER, at(N - 1)), N);
    assert_int_equal(live(t, 0) + live(t, 1), 2 * there);
    tlb_flush_page(t, 0, 0, &x);
    assert_true(x);
    tlb_flush_all(t, &x);
    assert_int_equal(live(t, 0) + live(t, 1), 0);
    tlb_fini(t);
}

int main(void)
{
    int two = 1;
#define BOTH(f)                                                                                                        \
    cmocka_unit_test(f),                                                                                               \
    {                                                                                                                  \
#f "_two_levels", f, NULL, NULL, &two                                                                          \
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots),
        BOTH(test_fill_and_page),
        BOTH(test_flush_slot),
        BOTH(test_global_changes),
        BOTH(test_global_page),
        BOTH(test_large),
        BOTH(test_huge),
        BOTH(test_log_overflow),
        BOTH(test_log_same_page),
        BOTH(test_x_overflow_is_told),
        BOTH(test_drop_writes),
        BOTH(test_drop_writes_model),
        BOTH(test_leaf_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
