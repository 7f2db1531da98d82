/* The event loop: order of timers, waking from other threads, descriptors that come and go. */
#include "base/base.h"

#include <pthread.h>
#include <setjmp.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define MS 1000000ull

struct trace {
    struct loop *loop;
    struct loop_timer timer[4];
    char text[64];
    unsigned n, again;
    int pipe[2];
    uint64_t ran_at;
};
struct mark {
    struct trace *trace;
    char c;
};

static void put(void *arg)
{
    struct mark *m = arg;
    m->trace->text[m->trace->n++] = m->c;
}

static void stop(void *arg)
{
    struct trace *t = arg;
    t->ran_at = os_nanoseconds();
    loop_stop(t->loop);
}

static void trace_init(struct trace *t)
{
    struct status st = {0};
    memset(t, 0, sizeof(*t));
    assert_true(loop_init(&t->loop, &st));
}

static void test_timer_order(void **state)
{
    struct trace t[2];
    (void)state;

    trace_init(&t[0]);
    trace_init(&t[1]);
    for (int i = 0; i < 2; i++) {
        struct mark m[3] = {{&t[i], 'a'}, {&t[i], 'b'}, {&t[i], 'c'}};
        uint64_t now = os_nanoseconds();
        for (int k = 0; k < 3; k++)
            loop_timer_init(&t[i].timer[k], t[i].loop, put, &m[k]);
        loop_timer_init(&t[i].timer[3], t[i].loop, stop, &t[i]);
        loop_timer_set(&t[i].timer[3], now + 30 * MS);
        loop_timer_set(&t[i].timer[0], now + 20 * MS);
        loop_timer_set(&t[i].timer[1], now + 10 * MS);
        loop_timer_set(&t[i].timer[2], now + 15 * MS);
        loop_timer_set(&t[i].timer[1], now + 25 * MS); /* replaced: now last */
        loop_timer_set(&t[i].timer[2], UINT64_MAX);    /* cleared */
        loop_timer_set(&t[i].timer[2], UINT64_MAX);
        loop_run(t[i].loop);
        assert_string_equal(t[i].text, "ab");
        assert_true(t[i].ran_at >= now + 30 * MS);
        assert_true(t[i].timer[0].deadline == UINT64_MAX);
    }
    loop_fini(t[0].loop);
    loop_fini(t[1].loop);
}

static void *set_soon(void *arg)
{
    struct trace *t = arg;
    usleep(20000);
    loop_timer_set(&t->timer[0], os_nanoseconds() + MS);
    return NULL;
}

/* The loop sleeps towards a far deadline; an earlier one from another thread must wake it. */
static void test_earlier_wakes(void **state)
{
    struct trace t;
    pthread_t thread;
    (void)state;

    trace_init(&t);
    uint64_t start = os_nanoseconds();
    loop_timer_init(&t.timer[0], t.loop, stop, &t);
    loop_timer_init(&t.timer[1], t.loop, stop, &t);
    loop_timer_set(&t.timer[1], start + 5000 * MS);
    pthread_create(&thread, NULL, set_soon, &t);
    loop_run(t.loop);
    pthread_join(thread, NULL);
    assert_true(os_nanoseconds() - start < 2000 * MS);
    loop_fini(t.loop);
}

static void rearm(void *arg)
{
    struct trace *t = arg;
    t->again++;
    loop_timer_set(&t->timer[0], 0);
}

/* A timer that is always due again must not keep the descriptors from their turn. */
static void on_readable(void *arg)
{
    struct trace *t = arg;
    char c;
    assert_int_equal(read(t->pipe[0], &c, 1), 1);
    t->text[t->n++] = c;
    if (c == '!')
        loop_stop(t->loop);
}

static void test_rearm_does_not_starve(void **state)
{
    struct trace t;
    (void)state;

    trace_init(&t);
    assert_int_equal(pipe(t.pipe), 0);
    assert_int_equal(write(t.pipe[1], "xy!", 3), 3);
    assert_true(loop_watch(t.loop, t.pipe[0], on_readable, &t));
    loop_timer_init(&t.timer[0], t.loop, rearm, &t);
    loop_timer_set(&t.timer[0], 0);
    loop_run(t.loop);
    assert_string_equal(t.text, "xy!");
    assert_in_range(t.again, 1, 10);
    loop_fini(t.loop);
    close(t.pipe[0]);
    close(t.pipe[1]);
}

struct pair {
    struct loop *loop;
    int fd[2], ran;
};

static void remove_both(void *arg)
{
    struct pair *p = arg;
    p->ran++;
    loop_watch(p->loop, p->fd[0], NULL, NULL);
    loop_watch(p->loop, p->fd[1], NULL, NULL);
    loop_stop(p->loop);
}

/* Two readable at once; the first one's callback removes both: the second must not run. */
static void test_watch_removed_in_callback(void **state)
{
    struct status st = {0};
    struct pair p = {0};
    int a[2], b[2];
    (void)state;

    assert_true(loop_init(&p.loop, &st));
    assert_int_equal(pipe(a), 0);
    assert_int_equal(pipe(b), 0);
    p.fd[0] = a[0];
    p.fd[1] = b[0];
    assert_int_equal(write(a[1], "x", 1), 1);
    assert_int_equal(write(b[1], "x", 1), 1);
    loop_watch(p.loop, a[0], remove_both, &p);
    loop_watch(p.loop, b[0], remove_both, &p);
    loop_run(p.loop);
    assert_int_equal(p.ran, 1);
    loop_fini(p.loop);
    for (int i = 0; i < 2; i++) {
        close(a[i]);
        close(b[i]);
    }
}

static void count(void *arg)
{
    ++*(unsigned *)arg;
}

static void *post_many(void *arg)
{
    struct trace *t = arg;
    for (int i = 0; i < 1000; i++)
        loop_post(t->loop, count, &t->again);
    loop_post(t->loop, stop, t);
    return NULL;
}

static void test_posts(void **state)
{
    struct trace t;
    pthread_t thread;
    (void)state;

    trace_init(&t);
    pthread_create(&thread, NULL, post_many, &t);
    loop_run(t.loop);
    pthread_join(thread, NULL);
    assert_int_equal(t.again, 1000);
    loop_stop(t.loop);
    loop_run(t.loop); /* a stop before the run ends it */
    loop_fini(t.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timer_order),
        cmocka_unit_test(test_earlier_wakes),
        cmocka_unit_test(test_rearm_does_not_starve),
        cmocka_unit_test(test_watch_removed_in_callback),
        cmocka_unit_test(test_posts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
