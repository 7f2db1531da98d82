/* Blocks that sleep (code/asleep.c): woken when, and only when, their bytes are as they were; gone with what they were
 * made for. */
#include "code/code.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { PAGES = 16, PAGE = 4, HOST_BYTES = 64 };

struct fixture {
    struct code *c;
    uint8_t marks[PAGES];
    uint8_t ram[PAGES * 4096];
    struct code_writer w;
    unsigned nset;
};

static void count_link_set(void *arg, struct link *l, const struct block *to)
{
    (void)l, (void)to;
    ((struct fixture *)arg)->nset++;
}

static int start(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct status st = {0};
    struct code_hooks h = {f, .link_set = count_link_set, .ram = f->ram};
    f->w.region = -1;
    if (!code_init(&f->c, 8 << 20, PAGES, f->marks, &h, &st))
        fail_msg("%s", st.text);
    *state = f;
    return 0;
}

static int end(void **state)
{
    code_fini(((struct fixture *)*state)->c);
    free(*state);
    return 0;
}

static struct block *make(struct fixture *f, gpa_t gpa, unsigned bytes, uint32_t mode)
{
    struct code_span s;
    bool fresh;
    uint64_t page[2] = {gpa >> 12, ~0ull};
    uint32_t seen[2] = {code_page_begin(f->c, page[0], &fresh)};
    code_reserve(f->c, &f->w, HOST_BYTES, &s);
    s.block->gpa = gpa;
    s.block->mode = mode;
    s.block->guest_size = (uint16_t)bytes;
    s.block->host_size = HOST_BYTES;
    s.block->link[0].present = true;
    memset(s.rw, 0, HOST_BYTES);
    memcpy(s.rw, f->ram + gpa, bytes < HOST_BYTES ? bytes : HOST_BYTES);
    return code_commit(f->c, &s, page, seen);
}

/* The guest's store. */
static void store(struct fixture *f, gpa_t gpa, const void *bytes, unsigned n)
{
    bool self;
    code_overwrite(f->c, gpa >> 12, gpa & 0xfff, n, NULL, &self);
    memcpy(f->ram + gpa, bytes, n);
}

static struct block *wake(struct fixture *f, gpa_t gpa, uint32_t mode)
{
    return code_wake(f->c, gpa, mode, gpa >> 12);
}

static void test_to_and_fro(void **state)
{
    struct fixture *f = *state;
    const gpa_t at = PAGE << 12 | 0x100;
    struct block *b[5], *next = make(f, PAGE << 12 | 0x800, 8, 1);
    const uint64_t *map = code_chart(f->c, PAGE, true);
    for (uint8_t k = 0; k < 5; k++) {
        store(f, at + 2, &k, 1);
        assert_null(wake(f, at, 1));
        b[k] = make(f, at, 10, 1);
        assert_true(code_link(f->c, &b[k]->link[0], next, true));
    }
    unsigned set = f->nset;
    for (unsigned n = 0; n < 100; n++) {
        uint8_t k = (uint8_t)(n * 7 % 5);
        store(f, at + 2, &k, 1);
        if (n && k == (n - 1) * 7 % 5)
            continue;
        assert_null(code_lookup(f->c, at, 1));
        assert_null(wake(f, at, 2));
        assert_null(wake(f, at + 1, 1));
        assert_int_equal(map[0x100 / 64], 0);
        assert_ptr_equal(wake(f, at, 1), b[k]);
        assert_ptr_equal(code_lookup(f->c, at, 1), b[k]);
        assert_int_equal(b[k]->death, ALIVE);
        assert_true(code_overlaps(f->c, PAGE, 0x109, 1));
        assert_int_equal(map[0x100 / 64], 0x3ff);
        assert_ptr_equal(code_numbered(f->c, b[k]->link[0].to), next); /* and nothing was patched */
        assert_null(wake(f, at, 1));
    }
    assert_int_equal(f->nset, set);
    assert_int_equal(code_counts(f->c)->woken, 100);
    /* What it leads to dies */
    uint8_t other = 77;
    store(f, PAGE << 12 | 0x800, &other, 1);
    for (unsigned k = 0; k < 5; k++)
        assert_int_equal(b[k]->link[0].to, 0);
    assert_true(f->nset == set + 5);
}

/* Links to a sleeper are cut: who comes by one would not look at the bytes. */
static void test_links(void **state)
{
    struct fixture *f = *state;
    struct block *a = make(f, PAGE << 12, 8, 1), *b = make(f, PAGE << 12 | 0x40, 8, 1);
    assert_true(code_link(f->c, &a->link[0], b, true));
    uint8_t one = 1, zero = 0;
    store(f, PAGE << 12 | 0x40, &one, 1);
    assert_int_equal(a->link[0].to, 0);
    assert_false(b->death == ALIVE);
    assert_true(code_link(f->c, &a->link[0], b, true));
    assert_int_equal(a->link[0].to, 0); /* no link to it either */
    store(f, PAGE << 12 | 0x40, &zero, 1);
    assert_ptr_equal(wake(f, PAGE << 12 | 0x40, 1), b);
    assert_true(code_link(f->c, &a->link[0], b, true));
    assert_ptr_equal(code_numbered(f->c, a->link[0].to), b);
}

/* Store something else to b's first byte, and what was there before. */
static struct block *lay_down_and_wake(struct fixture *f, const struct block *b)
{
    uint8_t was = f->ram[b->gpa], other = (uint8_t)(was + 1);
    gpa_t at = b->gpa;
    store(f, at, &other, 1);
    store(f, at, &was, 1);
    return wake(f, at, b->mode);
}

static void test_never(void **state)
{
    struct fixture *f = *state;
    make(f, PAGE << 12 | 0xf00, 8, 1);                              /* keeps the mark */
    assert_null(lay_down_and_wake(f, make(f, PAGE << 12, 200, 1))); /* too long */
    struct block *b = make(f, PAGE << 12, 20, 1);
    assert_ptr_equal(lay_down_and_wake(f, b), b);
    /* a device stores: before or after, with or without a block there */
    uint8_t one = 1, zero = 0;
    bool self;
    store(f, PAGE << 12, &one, 1);
    code_write(f->c, PAGE, 0x500, 1, NULL, &self);
    store(f, PAGE << 12, &zero, 1);
    assert_null(wake(f, PAGE << 12, 1));
    b = make(f, PAGE << 12, 20, 1);
    code_write(f->c, PAGE, 3, 1, NULL, &self);
    assert_int_equal(b->death, DEAD_WRITE);
    assert_null(wake(f, PAGE << 12, 1));
    /* worn: it is to be made otherwise */
    b = make(f, PAGE << 12, 20, 1);
    code_drop(f->c, b);
    assert_null(lay_down_and_wake(f, b));
    /* flush, with everything else */
    b = make(f, PAGE << 12, 20, 1);
    store(f, PAGE << 12, &one, 1);
    store(f, PAGE << 12, &zero, 1);
    code_flush(f->c);
    make(f, PAGE << 12 | 0xf00, 8, 1);
    assert_null(wake(f, PAGE << 12, 1));
    /* bytes became live since: it takes them for constants */
    b = make(f, PAGE << 12, 20, 1);
    store(f, (PAGE << 12) + 19, &one, 1);
    store(f, (PAGE << 12) + 19, &zero, 1);
    code_all_live(f->c, PAGE, 4, 4);
    assert_null(wake(f, PAGE << 12, 1));
    code_not_live(f->c, PAGE, 4, 4);
    assert_ptr_equal(wake(f, PAGE << 12, 1), b);
    /* no mark: somebody has to make sure that stores are seen */
    store(f, (PAGE + 1) << 12, &one, 1);
    b = make(f, (PAGE + 1) << 12, 20, 1);
    store(f, (PAGE + 1) << 12, &zero, 1);
    store(f, (PAGE + 1) << 12, &one, 1);
    assert_int_equal(f->marks[PAGE + 1], 0);
    assert_null(wake(f, (PAGE + 1) << 12, 1));
    bool fresh;
    code_page_begin(f->c, PAGE + 1, &fresh);
    assert_true(fresh);
    assert_ptr_equal(wake(f, (PAGE + 1) << 12, 1), b);
}

/* Its memory is used for others. */
static void test_evicted(void **state)
{
    struct fixture *f = *state;
    make(f, PAGE << 12 | 0xf00, 8, 1);
    struct block *b = make(f, PAGE << 12, 20, 1);
    uint32_t mode = 2;
    int first = f->w.region;
    while (f->w.region == first)
        make(f, PAGE << 12 | 0x80, 20, mode++);
    struct block *to = make(f, PAGE << 12 | 0x40, 8, 1);
    assert_true(code_link(f->c, &b->link[0], to, true));
    uint8_t one = 1, zero = 0;
    store(f, PAGE << 12, &one, 1);
    assert_ptr_equal(code_numbered_link(f->c, to->in), &b->link[0]);
    while (code_evictions(f->c) == 0)
        make(f, PAGE << 12 | 0x80, 20, mode++);
    assert_int_equal(to->in, 0);
    store(f, PAGE << 12, &zero, 1);
    assert_null(wake(f, PAGE << 12, 1));
}

/* Random stores and lookups: what is found always is what memory says. */
static void test_random(void **state)
{
    struct fixture *f = *state;
    unsigned seed = 3, woken = 0;
    for (unsigned n = 0; n < 100000; n++) {
        seed = seed * 1103515245 + 12345;
        gpa_t at = PAGE << 12 | (seed >> 8) % 64;
        uint8_t v = seed >> 16 & 1;
        if (seed >> 20 & 1) {
            store(f, at, &v, 1);
            continue;
        }
        struct block *b = code_lookup(f->c, at, 1);
        if (!b && (b = wake(f, at, 1)))
            woken++;
        if (!b)
            b = make(f, at, 4 + (seed >> 24) % 4, 1);
        const uint64_t *live = code_live(f->c, PAGE);
        for (unsigned i = 0; b && i < b->guest_size; i++) {
            unsigned off = (unsigned)(at & 0xfff) + i;
            if (code_rw(f->c, b)[i] != f->ram[at + i] && !(live && live[off / 64] >> off % 64 & 1))
                fail_msg("%u: byte %u of the block at 0x%llx", n, i, (unsigned long long)at);
        }
    }
    assert_true(woken > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_to_and_fro, start, end),
        cmocka_unit_test_setup_teardown(test_links, start, end),
        cmocka_unit_test_setup_teardown(test_never, start, end),
        cmocka_unit_test_setup_teardown(test_evicted, start, end),
        cmocka_unit_test_setup_teardown(test_random, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
