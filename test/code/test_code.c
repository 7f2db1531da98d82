/* Code memory: commit, lookup, links, self-modifying code to the byte, eviction.  The host back end is a list of what
 * it was told. */
#include "code/code.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { PAGES = 1 << 16 };

struct told {
    struct link *l;
    const struct block *to;
};
struct fixture {
    struct code *c;
    uint8_t *marks;
    struct code_writer w;
    struct told told[64]; /* the last ones */
    unsigned ntold, stops, starts, ndropped;
    const struct block *dropped; /* the last one */
};

static void fake_link_set(void *arg, struct link *l, const struct block *to)
{
    struct fixture *f = arg;
    f->told[f->ntold++ % ARRAY_LEN(f->told)] = (struct told){l, to};
}
static void fake_dropped(void *arg, const struct block *b)
{
    struct fixture *f = arg;
    assert_int_not_equal(b->death, ALIVE);
    f->ndropped++;
    f->dropped = b;
}
static void fake_stop(void *arg, struct code_writer *w)
{
    (void)w;
    ((struct fixture *)arg)->stops++;
}
static void fake_start(void *arg, struct code_writer *w)
{
    (void)w;
    ((struct fixture *)arg)->starts++;
}

static void fixture_init(struct fixture *f, size_t size)
{
    struct status st = {0};
    struct code_hooks h = {f, .link_set = fake_link_set, .dropped = fake_dropped, .stop_others = fake_stop,
                           .start_others = fake_start};

    *f = (struct fixture){.w.region = -1};
    f->marks = calloc(1, PAGES);
    if (!code_init(&f->c, size, PAGES, f->marks, &h, &st))
        fail_msg("%s", st.text);
}
static void fixture_fini(struct fixture *f)
{
    code_fini(f->c);
    free(f->marks);
}
static int setup(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    fixture_init(f, 8 << 20);
    *state = f;
    return 0;
}
static int teardown(void **state)
{
    fixture_fini(*state);
    free(*state);
    return 0;
}

struct want {
    gpa_t gpa, gpa2;
    uint32_t mode, guest, host;
};

/* The first half of a translation: marks, versions, reserve, "emit". */
struct open {
    struct code_span s;
    uint64_t page[2];
    uint32_t seen[2];
    bool fresh[2];
};
static struct open begin(struct fixture *f, struct want w)
{
    struct open o = {.page = {w.gpa >> 12, w.gpa2 ? w.gpa2 >> 12 : ~0ull}};

    o.seen[0] = code_page_begin(f->c, o.page[0], &o.fresh[0]);
    if (w.gpa2)
        o.seen[1] = code_page_begin(f->c, o.page[1], &o.fresh[1]);
    uint32_t host = w.host ? w.host : 100;
    code_reserve(f->c, &f->w, host + 50, &o.s);
    assert_int_equal((uintptr_t)o.s.rw % 16, 0);
    assert_true(o.s.size >= host + 50);
    memset(o.s.rw, 0xcc, host);
    struct block *b = o.s.block;
    b->gpa = w.gpa;
    b->two_pages = w.gpa2;
    o.s.gpa2 = w.gpa2;
    b->mode = w.mode;
    b->guest_size = (uint16_t)(w.guest ? w.guest : 16);
    memset(o.s.cold, 0xcd, host);
    b->host_size = b->cold_size = (uint16_t)host;
    memset(code_aux(&o.s, 32), 0xf1, 32);
    b->link[0].present = b->link[1].present = true;
    return o;
}
static struct block *commit(struct fixture *f, struct open *o)
{
    return code_commit(f->c, &o->s, o->page, o->seen);
}
static struct block *make(struct fixture *f, struct want w)
{
    struct open o = begin(f, w);
    return commit(f, &o);
}
static struct block *link_to(struct fixture *f, const struct link *l)
{
    return code_numbered(f->c, l->to);
}
static bool overlaps_drop(struct fixture *f, gpa_t gpa, unsigned len, unsigned n)
{
    bool self;
    return code_write(f->c, gpa >> 12, gpa & 0xfff, len, NULL, &self) == n && !self;
}

static void test_commit_lookup(void **state)
{
    struct fixture *f = *state;
    struct block *a = make(f, (struct want){.gpa = 0x1000, .mode = 1});
    struct block *b = make(f, (struct want){.gpa = 0x1000, .mode = 2, .host = 33});
    struct block *d = make(f, (struct want){.gpa = 0x1010, .mode = 1});

    assert_ptr_equal(code_lookup(f->c, 0x1000, 1), a);
    assert_ptr_equal(code_lookup(f->c, 0x1000, 2), b);
    assert_ptr_equal(code_lookup(f->c, 0x1010, 1), d);
    assert_null(code_lookup(f->c, 0x1010, 2));
    assert_null(code_lookup(f->c, 0x1001, 1));
    assert_ptr_equal(b->rx, code_rw(f->c, b) + code_rx_delta(f->c));
    assert_int_equal(b->rx[32], 0xcc);
    for (int i = 0; i < 32; i++)
        assert_int_equal(((const uint8_t *)block_aux(b))[i], 0xf1);
    assert_int_equal(block_cold(b)[32], 0xcd);
    /* The next block did not tread on the aux. */
    assert_true(block_cold(d) >= (const uint8_t *)block_aux(b) + 32);
    assert_int_equal(code_counts(f->c)->blocks, 3);
    assert_int_equal(code_counts(f->c)->guest_bytes, 48);
    assert_int_equal(code_counts(f->c)->host_bytes, 2 * 233);
    assert_int_equal(f->marks[1], 1);
    assert_int_equal(f->marks[2], 0);
}

/* The same key twice: the first one stays.  Same place, other second page: both are there. */
static void test_same_key(void **state)
{
    struct fixture *f = *state;
    struct open one = begin(f, (struct want){.gpa = 0x1ff8, .gpa2 = 0x5000, .mode = 1});
    struct block *a = commit(f, &one);
    struct block *again = make(f, (struct want){.gpa = 0x1ff8, .gpa2 = 0x5000, .mode = 1});
    struct block *b = make(f, (struct want){.gpa = 0x1ff8, .gpa2 = 0x7000, .mode = 1});

    assert_true(one.fresh[0] && one.fresh[1]);
    assert_ptr_equal(a, again);
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(code_lookup(f->c, 0x1ff8, 1), b);
    assert_ptr_equal(code_lookup_next(f->c, b), a);
    assert_null(code_lookup_next(f->c, a));
    assert_int_equal(code_counts(f->c)->blocks, 2);
    /* The one given up left no trace in the lists. */
    assert_true(overlaps_drop(f, 0x5007, 1, 1));
    assert_true(overlaps_drop(f, 0x7007, 1, 1));
    assert_true(overlaps_drop(f, 0x1ff8, 8, 0));
}

static void test_find_host(void **state)
{
    struct fixture *f = *state;
    struct block *b[50];
    struct code_writer other = {-1}, mine;

    for (int i = 0; i < 50; i++) {
        mine = f->w;
        if (i % 3 == 0)
            f->w = other; /* two writers in turn: two regions */
        b[i] = make(f, (struct want){.gpa = 0x1000 + i * 16, .host = 10 + i * 7});
        if (i % 3 == 0) {
            other = f->w;
            f->w = mine;
        }
    }
    assert_true(f->w.region != other.region);
    for (int i = 0; i < 50; i++) {
        const uint8_t *part[] = {b[i]->rx, block_cold(b[i])};
        for (int k = 0; k < 2; k++) {
            assert_ptr_equal(code_find_host(f->c, part[k]), b[i]);
            assert_ptr_equal(code_find_host(f->c, part[k] + b[i]->host_size - 1), b[i]);
            assert_ptr_not_equal(code_find_host(f->c, part[k] - 1), b[i]);
            assert_ptr_not_equal(code_find_host(f->c, part[k] + b[i]->host_size), b[i]);
        }
        assert_null(code_find_host(f->c, part[1] + b[i]->host_size)); /* its aux */
    }
    /* A fault may come from a block that has just died. */
    assert_true(overlaps_drop(f, 0x1000, 1, 1));
    assert_ptr_equal(code_find_host(f->c, b[0]->rx), b[0]);
    size_t fixed;
    uint8_t *thunks = code_fixed(f->c, &fixed);
    assert_null(code_find_host(f->c, thunks + code_rx_delta(f->c)));
    assert_null(code_find_host(f->c, &fixed));
    assert_null(code_find_host(f->c, NULL));
    assert_true(thunks + fixed <= code_rw(f->c, b[0]) || thunks > code_rw(f->c, b[0]));
}

static void test_abort(void **state)
{
    struct fixture *f = *state;
    struct open o = begin(f, (struct want){.gpa = 0x1000});
    uint8_t *rw = o.s.rw;

    code_abort(f->c, &o.s);
    assert_null(code_lookup(f->c, 0x1000, 0));
    assert_null(code_find_host(f->c, rw + code_rx_delta(f->c)));
    struct block *b = make(f, (struct want){.gpa = 0x1000});
    assert_ptr_equal(code_rw(f->c, b), rw);
}

static void test_links(void **state)
{
    struct fixture *f = *state;
    struct block *a = make(f, (struct want){.gpa = 0x1000}), *b = make(f, (struct want){.gpa = 0x2000}),
                 *d = make(f, (struct want){.gpa = 0x3000});

    code_link(f->c, &a->link[0], b, true);
    code_link(f->c, &a->link[1], d, true);
    code_link(f->c, &d->link[0], b, true);
    code_link(f->c, &b->link[0], b, true); /* itself */
    code_link(f->c, &b->link[1], d, true);
    code_link(f->c, &a->link[0], d, true); /* already linked */
    d->link[1].present = false;
    code_link(f->c, &d->link[1], a, true); /* no such jump */
    assert_int_equal(f->ntold, 5);
    assert_ptr_equal(f->told[0].l, &a->link[0]);
    assert_ptr_equal(f->told[0].to, b);
    assert_ptr_equal(link_to(f, &a->link[0]), b);
    assert_int_equal(code_counts(f->c)->links_made, 5);

    /* b dies: four jumps go back to their misses, each told once, and d's list has only a's left. */
    assert_true(overlaps_drop(f, 0x200f, 4, 1));
    assert_int_equal(b->death, DEAD_WRITE);
    assert_int_equal(f->ndropped, 1);
    assert_ptr_equal(f->dropped, b);
    assert_int_equal(f->ntold, 9);
    for (unsigned i = 5; i < 9; i++) {
        assert_null(f->told[i].to);
        assert_int_equal(f->told[i].l->to, 0);
        for (unsigned k = 5; k < i; k++)
            assert_ptr_not_equal(f->told[i].l, f->told[k].l);
    }
    assert_int_equal(b->in, 0);
    assert_ptr_equal(code_numbered_link(f->c, d->in), &a->link[1]);
    assert_int_equal(a->link[1].next_in, 0);
    assert_int_equal(code_counts(f->c)->links_cut, 4);
    code_link(f->c, &a->link[0], b, true); /* to a dead block */
    code_link(f->c, &b->link[0], a, true); /* from a dead block */
    assert_int_equal(f->ntold, 9);

    struct block *b2 = make(f, (struct want){.gpa = 0x2000});
    code_link(f->c, &a->link[0], b2, true);
    assert_ptr_equal(link_to(f, &a->link[0]), b2);
}

/* A crossing jump that was cut goes back to the same page at any time, to another one only alone. */
static void test_link_other_page(void **state)
{
    struct fixture *f = *state;
    struct block *a = make(f, (struct want){.gpa = 0x1000}), *b = make(f, (struct want){.gpa = 0x2000}),
                 *d = make(f, (struct want){.gpa = 0x3000});

    a->link[0].cross = true;
    assert_true(code_link(f->c, &a->link[0], b, false));
    assert_true(overlaps_drop(f, 0x2000, 4, 1));
    b = make(f, (struct want){.gpa = 0x2000});
    assert_true(code_link(f->c, &a->link[0], b, false));
    assert_ptr_equal(link_to(f, &a->link[0]), b);
    assert_true(overlaps_drop(f, 0x2000, 4, 1));
    assert_false(code_link(f->c, &a->link[0], d, false));
    assert_int_equal(a->link[0].to, 0);
    assert_true(code_link(f->c, &a->link[0], d, true));
    assert_ptr_equal(link_to(f, &a->link[0]), d);
}

/* A store drops a block if and only if it overlaps its bytes. */
static void test_smc_exact(void **state)
{
    static const struct {
        unsigned off, len;
        bool hit;
    } row[] = {
        /* the block is at 0x7c .. 0x8b, over the line border at 0x80 */
        {0x7b, 1, false}, {0x78, 4, false}, {0x7b, 2, true},  {0x7c, 1, true},   {0x8b, 1, true},
        {0x8c, 1, false}, {0x8c, 8, false}, {0x70, 64, true}, {0x40, 8, false},  {0xc0, 8, false},
        {0, 4096, true},  {0, 0, false},    {0x84, 2, true},  {0xfff, 1, false},
    };
    struct fixture *f = *state;
    unsigned emptied = 0;

    for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
        struct block *b = make(f, (struct want){.gpa = 0x407c, .guest = 16});
        assert_ptr_equal(code_lookup(f->c, 0x407c, 0), b);
        assert_int_equal(code_overlaps(f->c, 4, row[i].off, row[i].len), row[i].hit);
        assert_int_equal(b->death, ALIVE);
        assert_true(overlaps_drop(f, 0x4000 + row[i].off, row[i].len, row[i].hit));
        assert_int_equal(b->death, row[i].hit ? DEAD_WRITE : ALIVE);
        assert_ptr_equal(code_lookup(f->c, 0x407c, 0), row[i].hit ? NULL : b);
        emptied += row[i].hit;
        assert_int_equal(f->marks[4], !row[i].hit || emptied > 2); /* it will have another block soon */
    }
}

/* Every offset of a page with many blocks, against a plain array of who owns which byte. */
static void test_smc_model(void **state)
{
    struct fixture *f = *state;
    unsigned seed = 12345;

    for (unsigned round = 0; round < 300; round++) {
        struct block *b[12];
        for (unsigned i = 0; i < 12; i++) {
            seed = seed * 1103515245 + 12345;
            /* Blocks may overlap; different modes keep them apart. */
            b[i] =
                make(f, (struct want){.gpa = 0x6000 + (seed >> 8) % 4000, .mode = i, .guest = 1 + (seed >> 20) % 90});
        }
        seed = seed * 1103515245 + 12345;
        unsigned off = (seed >> 8) % 4096, len = 1 + (seed >> 20) % 200, want = 0;
        if (off + len > 4096)
            len = 4096 - off;
        bool hit[12];
        for (unsigned i = 0; i < 12; i++) {
            hit[i] = false;
            for (unsigned k = 0; k < b[i]->guest_size; k++)
                hit[i] |= (b[i]->gpa & 0xfff) + k >= off && (b[i]->gpa & 0xfff) + k < off + len;
            want += hit[i];
        }
        assert_int_equal(code_overlaps(f->c, 6, off, len), want > 0);
        assert_true(overlaps_drop(f, 0x6000 + off, len, want));
        for (unsigned i = 0; i < 12; i++)
            assert_int_equal(b[i]->death, hit[i] ? DEAD_WRITE : ALIVE);
        assert_true(overlaps_drop(f, 0x6000, 4096, 12 - want));
        assert_int_equal(f->marks[6], round >= 2);
    }
}

static void test_smc_two_pages(void **state)
{
    struct fixture *f = *state;
    struct want w = {.gpa = 0x4ff8, .gpa2 = 0x9000, .guest = 20}; /* 8 bytes, then 12 */

    make(f, w);
    assert_true(overlaps_drop(f, 0x4ff7, 1, 0));
    assert_true(overlaps_drop(f, 0x900c, 4, 0));
    assert_true(overlaps_drop(f, 0x900b, 1, 1));
    assert_int_equal(f->marks[4] | f->marks[9], 0);
    make(f, w);
    assert_true(overlaps_drop(f, 0x4ff8, 1, 1));
    assert_int_equal(f->marks[4] | f->marks[9], 0);
    /* Both virtual pages may be one physical page. */
    w.gpa2 = 0x4000;
    make(f, w);
    assert_true(overlaps_drop(f, 0x400c, 0xfec, 0));
    assert_true(overlaps_drop(f, 0x4000, 4096, 1));
    assert_int_equal(f->marks[4], 1); /* the third time */
}

static void test_smc_self(void **state)
{
    struct fixture *f = *state;
    struct block *a = make(f, (struct want){.gpa = 0x4000}), *b = make(f, (struct want){.gpa = 0x4008});
    bool self;

    assert_int_equal(code_write(f->c, 4, 8, 4, b, &self), 0);
    assert_true(self);
    assert_true(a->death == ALIVE && b->death == ALIVE);
    assert_int_equal(code_write(f->c, 4, 4, 2, b, &self), 1);
    assert_false(self);
    assert_true(a->death == DEAD_WRITE && b->death == ALIVE);
    assert_int_equal(code_write(f->c, 4, 8, 4, NULL, &self), 1);
    assert_int_equal(code_counts(f->c)->dropped[DEAD_WRITE], 2);
    assert_int_equal(code_counts(f->c)->code_stores_hit, 2);
}

/* What is stored between the reading of the bytes and the commit. */
static void test_stored_meanwhile(void **state)
{
    struct fixture *f = *state;
    struct want w = {.gpa = 0x4ff8, .gpa2 = 0x9000, .guest = 20};
    bool self;

    static const struct {
        unsigned page, off, len;
        bool spoils;
    } row[] = {{4, 0xff7, 1, false}, {4, 0xff8, 1, true}, {9, 11, 8, true}, {9, 12, 8, false}, {5, 0, 64, false}};
    for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
        struct open o = begin(f, w);
        code_write(f->c, row[i].page, row[i].off, row[i].len, NULL, &self);
        struct block *b = commit(f, &o);
        assert_int_equal(b == NULL, row[i].spoils);
        assert_int_equal(code_overlaps(f->c, 9, 0, 8), !row[i].spoils);
        if (b)
            assert_true(overlaps_drop(f, 0x9000, 1, 1));
    }
    /* The page loses its mark meanwhile (stores are not seen any more), or everything is flushed. */
    make(f, (struct want){.gpa = 0xa800});
    struct open o = begin(f, (struct want){.gpa = 0x4ff8, .gpa2 = 0xa000, .guest = 20});
    assert_true(overlaps_drop(f, 0xa800, 1, 1));
    assert_null(commit(f, &o));
    o = begin(f, w);
    code_flush(f->c);
    assert_null(commit(f, &o));
    /* Very many stores elsewhere must not let one to these bytes be forgotten. */
    make(f, (struct want){.gpa = 0x3000});
    o = begin(f, w);
    code_write(f->c, 9, 0, 1, NULL, &self);
    for (unsigned i = 0; i < 20000; i++)
        code_write(f->c, 3, 100, 1, NULL, &self);
    assert_null(commit(f, &o));
    assert_non_null(make(f, w));
}

/* A mark that nobody made a block for goes away in the end. */
static void test_idle_mark(void **state)
{
    struct fixture *f = *state;
    bool self, fresh;

    code_page_begin(f->c, 7, &fresh);
    assert_true(fresh);
    code_page_begin(f->c, 7, &fresh);
    assert_false(fresh);
    code_write(f->c, 7, 0, 8, NULL, &self);
    assert_int_equal(f->marks[7], 1);
    f->marks[7] |= 2; /* somebody else's bit */
    for (unsigned i = 0; i < 5000; i++)
        code_write(f->c, 7, 0, 8, NULL, &self);
    assert_int_equal(f->marks[7], 2);
    code_page_begin(f->c, 7, &fresh);
    assert_true(fresh);
}

static void count_block(void *arg, const struct block *b)
{
    (void)b;
    ++*(unsigned *)arg;
}

static void test_flush(void **state)
{
    struct fixture *f = *state;
    struct block *a = make(f, (struct want){.gpa = 0x1000}), *b = make(f, (struct want){.gpa = 0x2000});
    unsigned n = 0;

    code_link(f->c, &a->link[0], b, true);
    code_each(f->c, count_block, &n);
    assert_int_equal(n, 2);
    code_flush(f->c);
    code_each(f->c, count_block, &n);
    assert_int_equal(n, 2);
    assert_null(code_lookup(f->c, 0x1000, 0));
    assert_int_equal(a->death, DEAD_FLUSH);
    assert_int_equal(a->link[0].to, 0);
    assert_int_equal(f->marks[1] | f->marks[2], 0);
    assert_int_equal(code_counts(f->c)->dropped[DEAD_FLUSH], 2);
    assert_non_null(make(f, (struct want){.gpa = 0x1000}));
}

/* Fill code memory several times over.  The oldest go, the newest stay, and nobody keeps a link to one that went. */
static void test_eviction(void **state)
{
    enum { N = 1000, HOST = 30000 };
    struct fixture f[2];
    struct block *last[2], *b;
    unsigned gone_before_all_full = 0;
    (void)state;

    fixture_init(&f[0], 8 << 20);
    fixture_init(&f[1], 8 << 20);
    for (uint32_t i = 0; i < N; i++)
        for (uint32_t k = 0; k < 2; k++) {
            b = make(&f[k], (struct want){.gpa = 0x1000 + i * 0x1000, .host = HOST});
            assert_non_null(b);
            if (i > 0)
                code_link(f[k].c, &b->link[0], last[k], true); /* may go to a block that was just evicted: refused */
            if (i % 2)
                code_link(f[k].c, &last[k]->link[1], b, true);
            last[k] = b;
            if (i < 100 && code_evictions(f[k].c))
                gone_before_all_full++;
        }
    assert_int_equal(gone_before_all_full, 0);
    for (uint32_t k = 0; k < 2; k++) {
        struct code_counts *n = code_counts(f[k].c);
        assert_true(n->evictions > 30);
        assert_int_equal(f[k].stops, n->evictions);
        assert_int_equal(f[k].starts, n->evictions);
        assert_int_equal(n->blocks, N);
        unsigned alive = 0, oldest = N;
        code_each(f[k].c, count_block, &alive);
        assert_int_equal(alive + n->dropped[DEAD_EVICTED], N);
        assert_int_equal(f[k].ndropped, n->dropped[DEAD_EVICTED]);
        assert_int_equal(n->dropped[DEAD_WRITE], 0);
        /* The living are the newest, without a gap, and fill most of the memory. */
        for (uint32_t i = N; i-- > 0 && code_lookup(f[k].c, 0x1000 + i * 0x1000, 0);)
            oldest = i;
        assert_int_equal(N - oldest, alive);
        assert_in_range(alive, 110, 140);
        for (uint32_t i = 0; i < N; i++)
            assert_int_equal(f[k].marks[1 + i], i >= oldest);
        /* Every link of a living block goes to a living block that knows it. */
        uint64_t links = 0;
        for (uint32_t i = oldest; i < N; i++) {
            b = code_lookup(f[k].c, 0x1000 + i * 0x1000, 0);
            for (struct link *l = NULL; (l = code_numbered_link(f[k].c, l ? l->next_in : b->in)); links++) {
                assert_ptr_equal(link_to(&f[k], l), b);
                assert_int_equal(link_from(l)->death, ALIVE);
            }
        }
        assert_int_equal(links, n->links_made - n->links_cut);
        size_t used, size = code_size(f[k].c, &used);
        assert_true(used <= size && used > size / 2);
    }
    fixture_fini(&f[0]);
    fixture_fini(&f[1]);
}

static void test_small_blocks(void **state)
{
    struct fixture *f = *state;

    /* Enough to fill all regions with blocks before they are full of code. */
    for (uint32_t i = 0; i < 60000; i++) {
        struct open o = begin(f, (struct want){.gpa = 0x1000 + (uint64_t)i * 64, .host = 20});
        memset(code_aux(&o.s, 3), 0xf2, 3);
        struct block *b = commit(f, &o);
        assert_int_equal(((const uint8_t *)block_aux(b))[2], 0xf2);
        assert_ptr_equal(code_find_host(f->c, b->rx + 19), b);
        assert_int_equal(b->rx[19], 0xcc);
    }
    assert_true(code_evictions(f->c) > 0);
    /* The largest that is promised. */
    struct code_span s;
    for (unsigned i = 0; i < 100; i++)
        code_reserve(f->c, &f->w, 256 << 10, &s);
    assert_int_equal(s.size, 256 << 10);
}

static void assert_filled(const uint8_t *p, unsigned n, uint8_t with, const char *what, unsigned block)
{
    for (unsigned k = 0; k < n; k++)
        if (p[k] != with)
            fail_msg("block %u lost byte %u of %u of its %s", block, k, n, what);
}

/* Memory is made ahead of what is written, and never where something was: of any sizes, all blocks stay as they were. */
static void test_sizes(void **state)
{
    struct fixture *f = *state;
    struct block *b[120];
    for (unsigned i = 0; i < ARRAY_LEN(b); i++)
        b[i] = make(f, (struct want){.gpa = 0x1000 + 32 * i, .host = i % 3 == 2 ? 60000 : 1 + 997 * i % 9000});
    for (unsigned i = 0; i < ARRAY_LEN(b); i++) {
        assert_filled(b[i]->rx, b[i]->host_size, 0xcc, "code", i);
        assert_filled(block_cold(b[i]), b[i]->cold_size, 0xcd, "cold part", i);
        assert_filled(block_aux(b[i]), 32, 0xf1, "aux", i);
    }
}

static void test_init_errors(void **state)
{
    struct status st = {0};
    struct code_hooks h = {0};
    struct code *c;
    uint8_t marks[1];
    (void)state;

    assert_false(code_init(&c, 4 << 20, 1, marks, &h, &st));
    assert_non_null(strstr(st.text, "8 MB"));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_commit_lookup),   T(test_same_key),  T(test_find_host),
        T(test_abort),           T(test_links),     T(test_smc_exact),
        T(test_link_other_page), T(test_smc_exact), T(test_smc_model),
        T(test_smc_two_pages),   T(test_smc_self),  T(test_stored_meanwhile),
        T(test_idle_mark),       T(test_flush),     cmocka_unit_test(test_eviction),
        T(test_small_blocks),    T(test_sizes),     cmocka_unit_test(test_init_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
