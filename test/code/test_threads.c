/* Two translators and two writers on the same few pages: whenever all is quiet, no block may hold bytes that memory no
 * longer holds. */
#include "code/code.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { PAGES = 2, PLACES = 24, SIZE = 8, BURSTS = 2000, ROUNDS = 20 };

struct world {
    struct code *c;
    pthread_barrier_t barrier; /* the four workers and the one who looks */
    uint8_t marks[PAGES];
    uint8_t ram[PAGES * 4096];
};
struct worker {
    struct world *w;
    void (*job)(struct worker *me);
    unsigned seed;
    struct code_writer writer;
    uint64_t done;
};

static unsigned next(unsigned *seed)
{
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 8;
}

/* Every third place lies over the border of the pages. */
static gpa_t place(unsigned n)
{
    return n % 3 == 0 ? 4096 - 1 - n / 3 : (gpa_t)(n % 2) * 4096 + 64 + n * 5;
}

static void quiet_link_set(void *arg, struct link *l, const struct block *to)
{
    (void)arg, (void)l, (void)to;
}

static void translate(struct worker *me)
{
    struct code *c = me->w->c;

    for (unsigned i = 0; i < ROUNDS; i++) {
        gpa_t gpa = place(next(&me->seed) % PLACES);
        struct block *b = code_lookup(c, gpa, 0);
        if (b)
            continue;
        bool two = gpa % 4096 + SIZE > 4096, fresh;
        uint64_t page[2] = {gpa >> 12, two ? (gpa >> 12) + 1 : ~0ull};
        uint32_t seen[2] = {code_page_begin(c, page[0], &fresh)};
        if (two)
            seen[1] = code_page_begin(c, page[1], &fresh);
        struct code_span s;
        code_reserve(c, &me->writer, SIZE, &s);
        for (unsigned k = 0; k < SIZE; k++)
            s.rw[k] = __atomic_load_n(&me->w->ram[gpa + k], __ATOMIC_RELAXED);
        if (i % 2)
            sched_yield(); /* let stores happen between the reading and the commit */
        s.block->gpa = gpa;
        s.block->two_pages = two;
        s.gpa2 = 4096;
        s.block->guest_size = s.block->host_size = SIZE;
        s.block->link[0].present = true;
        b = code_commit(c, &s, page, seen);
        me->done += b == s.block;
        if (b)
            code_link(c, &b->link[0], b, true);
    }
}

static void store(struct worker *me)
{
    bool self;

    for (unsigned i = 0; i < ROUNDS; i++) {
        gpa_t at = place(next(&me->seed) % PLACES) + next(&me->seed) % SIZE;
        __atomic_store_n(&me->w->ram[at], (uint8_t)next(&me->seed), __ATOMIC_RELAXED);
        me->done += code_write(me->w->c, at >> 12, at & 0xfff, 1, NULL, &self);
    }
}

static void *work(void *arg)
{
    struct worker *me = arg;

    for (unsigned i = 0; i < BURSTS; i++) {
        pthread_barrier_wait(&me->w->barrier);
        me->job(me);
        pthread_barrier_wait(&me->w->barrier);
    }
    return NULL;
}

/* How many blocks there are; each must hold the bytes of now. */
static uint64_t check_blocks(const struct world *w)
{
    uint64_t alive = 0;

    for (unsigned i = 0; i < PLACES; i++) {
        const struct block *b = code_lookup(w->c, place(i), 0);
        if (!b)
            continue;
        alive++;
        assert_memory_equal(b->rx, w->ram + b->gpa, SIZE);
    }
    return alive;
}

static void test_no_stale_block(void **state)
{
    struct world w = {0};
    struct code_hooks h = {.link_set = quiet_link_set};
    struct status st = {0};
    struct worker worker[4];
    pthread_t thread[4];
    (void)state;

    assert_true(code_init(&w.c, 64 << 20, PAGES, w.marks, &h, &st));
    pthread_barrier_init(&w.barrier, NULL, 5);
    for (unsigned i = 0; i < 4; i++) {
        worker[i] = (struct worker){&w, i < 2 ? translate : store, i + 1, {-1}, 0};
        pthread_create(&thread[i], NULL, work, &worker[i]);
    }
    uint64_t alive = 0;
    for (unsigned i = 0; i < BURSTS; i++) {
        pthread_barrier_wait(&w.barrier);
        pthread_barrier_wait(&w.barrier);
        alive = check_blocks(&w);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&w.barrier);

    struct code_counts *n = code_counts(w.c);
    assert_int_equal(n->evictions, 0);
    assert_true(worker[0].done + worker[1].done == n->blocks);
    assert_true(worker[2].done + worker[3].done == n->dropped[DEAD_WRITE]);
    assert_true(n->blocks - n->dropped[DEAD_WRITE] == alive);
    assert_true(n->dropped[DEAD_WRITE] > 0);
    code_fini(w.c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_stale_block)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
