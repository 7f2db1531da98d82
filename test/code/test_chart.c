/* Charted pages and live bytes (code/chart.c): the map has every byte that a block rests on and, once it is quiet, no
 * other; who translates is told of what he cannot have seen. */
#include "code/code.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { PAGES = 16, PAGE = 4 };

struct fixture {
    struct code *c;
    uint8_t marks[PAGES];
    struct code_writer w;
};

static void no_link_set(void *arg, struct link *l, const struct block *to)
{
    (void)arg, (void)l, (void)to;
}

static void start(struct fixture *f, bool live)
{
    struct status st = {0};
    struct code_hooks h = {.link_set = no_link_set, .live_operands = live};
    *f = (struct fixture){.w.region = -1};
    if (!code_init(&f->c, 8 << 20, PAGES, f->marks, &h, &st))
        fail_msg("%s", st.text);
}

static uint32_t begin(struct fixture *f, uint64_t page)
{
    bool fresh;
    return code_page_begin(f->c, page, &fresh);
}

/* The rest of a translation that began at `seen`; NULL if it was refused. */
static struct block *finish(struct fixture *f, uint32_t seen, gpa_t gpa, unsigned bytes, uint32_t mode)
{
    struct code_span s;
    uint64_t page[2] = {gpa >> 12, ~0ull};
    uint32_t version[2] = {seen};
    code_reserve(f->c, &f->w, 100, &s);
    s.block->gpa = gpa;
    s.block->mode = mode;
    s.block->guest_size = (uint16_t)bytes;
    s.block->host_size = 50;
    return code_commit(f->c, &s, page, version);
}

static struct block *make(struct fixture *f, gpa_t gpa, unsigned bytes, uint32_t mode)
{
    return finish(f, begin(f, gpa >> 12), gpa, bytes, mode);
}

static unsigned store(struct fixture *f, unsigned off, unsigned len)
{
    bool self;
    return code_write(f->c, PAGE, off, len, NULL, &self);
}

static bool bit(const uint64_t *map, unsigned off)
{
    return map[off / 64] >> off % 64 & 1;
}

static void test_map(void **state)
{
    struct fixture f;
    struct block *b[40] = {NULL};
    unsigned seed = 5;
    (void)state;
    start(&f, false);
    assert_null(code_chart(f.c, PAGE, true)); /* no block there */
    make(&f, PAGE << 12, 1, 99);
    const uint64_t *map = code_chart(f.c, PAGE, true);
    assert_non_null(map);
    for (unsigned round = 0; round < 3000; round++) {
        seed = seed * 1103515245 + 12345;
        unsigned n = (seed >> 8) % ARRAY_LEN(b), off = 1 + (seed >> 16) % 4000, len = 1 + (seed >> 28) * 5;
        if (round % 3 == 2) {
            store(&f, off, len % 9);
        } else if (!b[n] || b[n]->death != ALIVE) {
            b[n] = make(&f, (PAGE << 12) + off, len, n);
            assert_non_null(b[n]);
        }
        bool wanted[4096] = {true};
        for (unsigned i = 0; i < ARRAY_LEN(b); i++)
            if (b[i] && b[i]->death == ALIVE)
                memset(wanted + b[i]->gpa % 4096, true, b[i]->guest_size);
        for (unsigned i = 0; i < 4096; i++)
            if (bit(map, i) != wanted[i])
                fail_msg("round %u: byte %u: %d in the map, %d wanted", round, i, bit(map, i), wanted[i]);
    }
    code_fini(f.c);
}

/* With other vCPUs a page must be stored to for a while, longer each time that it was for nothing; whoever translates when
 * charting begins is refused, because he does not see the stores of others any longer. */
static void test_others(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, false);
    make(&f, PAGE << 12, 8, 0);
    uint64_t asked[4] = {0};
    for (unsigned i = 0; i < ARRAY_LEN(asked); i++) {
        uint32_t seen = begin(&f, PAGE);
        assert_false(code_charted(f.c, PAGE));
        while (!code_chart(f.c, PAGE, false))
            asked[i]++;
        assert_true(code_charted(f.c, PAGE));
        assert_null(finish(&f, seen, (PAGE << 12) + 64, 8, 0));
        code_unchart(f.c, PAGE);
        assert_true(i == 0 || asked[i] + 1 == 2 * (asked[i - 1] + 1));
    }
    assert_true(asked[0] > 4);
    assert_non_null(make(&f, (PAGE << 12) + 64, 8, 0));
    code_fini(f.c);
}

/* Store to off until the bytes are live; returns how often that was. */
static unsigned wear(struct fixture *f, unsigned off, unsigned len)
{
    unsigned n = 0;
    while (n < 1000 && !(code_live(f->c, PAGE) && bit(code_live(f->c, PAGE), off))) {
        make(f, PAGE << 12, 8, 0);
        assert_int_equal(store(f, off, len), 1);
        n++;
    }
    return n;
}

static void test_live(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, true);
    struct block *other = make(&f, (PAGE << 12) + 0x800, 8, 0);
    const uint64_t *map = code_chart(f.c, PAGE, true);
    unsigned first = wear(&f, 1, 4);
    assert_true(first > 1 && first < 10);
    struct block *b = make(&f, PAGE << 12, 8, 0);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(bit(code_live(f.c, PAGE), i), i >= 1 && i < 5);
        assert_int_equal(bit(map, i), i < 8 && !(i >= 1 && i < 5));
    }
    /* live bytes only, of several sizes: nothing is dropped; one more byte: dropped */
    assert_int_equal(store(&f, 1, 4) + store(&f, 2, 2) + store(&f, 4, 1), 0);
    assert_false(code_overlaps(f.c, PAGE, 2, 3));
    assert_true(code_overlaps(f.c, PAGE, 4, 2));
    assert_int_equal(b->death, ALIVE);
    assert_int_equal(store(&f, 4, 2), 1);
    assert_int_equal(b->death, DEAD_WRITE);
    /* they are no operand */
    code_not_live(f.c, PAGE, 0, 5);
    assert_null(code_live(f.c, PAGE));
    b = make(&f, PAGE << 12, 8, 0);
    for (unsigned i = 0; i < 8; i++)
        assert_true(bit(map, i));
    assert_int_equal(store(&f, 1, 4), 1);
    assert_int_equal(wear(&f, 1, 4) + 1, 2 * first);
    assert_int_equal(other->death, ALIVE);
    /* everything goes: so does what was known of it */
    code_flush(f.c);
    assert_null(code_live(f.c, PAGE));
    code_fini(f.c);
}

/* Who began to translate before the bytes were live takes them for constants. */
static void test_live_meanwhile(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, true);
    make(&f, (PAGE << 12) + 0x800, 8, 0);
    unsigned times = wear(&f, 1, 4);
    code_flush(f.c);
    make(&f, (PAGE << 12) + 0x800, 8, 0);
    for (unsigned i = 0; i + 1 < times; i++) {
        make(&f, PAGE << 12, 8, 0);
        store(&f, 1, 4);
    }
    assert_null(code_live(f.c, PAGE));
    make(&f, PAGE << 12, 8, 0);
    uint32_t seen = begin(&f, PAGE);
    store(&f, 1, 4);
    assert_non_null(code_live(f.c, PAGE));
    assert_null(finish(&f, seen, PAGE << 12, 8, 1));
    code_fini(f.c);
    start(&f, false); /* not asked for */
    assert_int_equal(wear(&f, 1, 4), 1000);
    code_fini(f.c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_map), cmocka_unit_test(test_others),
                                       cmocka_unit_test(test_live), cmocka_unit_test(test_live_meanwhile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
