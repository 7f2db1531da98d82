/* test/dev/fake.h: an environment for devices in which the test is the clock: time moves by fake_pass, timers fire in
 * order on the way.
 */
#ifndef RHEA_TEST_FAKE_H
#define RHEA_TEST_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "dev/dev.h"

enum { FAKE_TIMERS = 64 };
struct fake {
    struct arena arena;
    struct dev_clock clock;
    struct dev_env env;
    struct log log;
    uint64_t now;
    int64_t date;
    struct loop_timer *timer[FAKE_TIMERS];
    unsigned timers;
    bool line[64];
    unsigned rises[64];
    int request, requests;
};

static uint64_t fake_now(void *arg)
{
    return ((struct fake *)arg)->now;
}

static int64_t fake_date(void *arg)
{
    return ((struct fake *)arg)->date;
}

static void fake_set(void *arg, struct loop_timer *t, uint64_t deadline)
{
    struct fake *f = arg;
    unsigned i = 0;
    while (i < f->timers && f->timer[i] != t)
        i++;
    if (i == f->timers) {
        assert_true(f->timers < FAKE_TIMERS);
        f->timer[f->timers++] = t;
    }
    t->deadline = deadline;
}

static inline void fake_pass(struct fake *f, uint64_t ns)
{
    uint64_t end = f->now + ns;
    for (;;) {
        struct loop_timer *next = NULL;
        for (unsigned i = 0; i < f->timers; i++)
            if (f->timer[i]->deadline <= end && (!next || f->timer[i]->deadline < next->deadline))
                next = f->timer[i];
        if (!next)
            break;
        if (next->deadline > f->now)
            f->now = next->deadline;
        next->deadline = UINT64_MAX;
        next->fn(next->arg);
    }
    f->now = end;
}

static inline void fake_line(void *arg, unsigned n, bool level)
{
    struct fake *f = arg;
    f->rises[n] += level && !f->line[n];
    f->line[n] = level;
}

static inline struct dev_line fake_wire(struct fake *f, unsigned n)
{
    return (struct dev_line){fake_line, f, n};
}

static inline void fake_request(void *arg, int value)
{
    struct fake *f = arg;
    f->request = value;
    f->requests++;
}

static inline struct dev_request fake_listener(struct fake *f)
{
    return (struct dev_request){fake_request, f};
}

static inline void fake_init(struct fake *f)
{
    struct status st = {{0}};
    memset(f, 0, sizeof *f);
    f->now = 5000000000;
    f->clock = (struct dev_clock){.now = fake_now, .set = fake_set, .date = fake_date, .arg = f};
    assert_true(arena_init(&f->arena, 1 << 20, &st));
    f->env = (struct dev_env){.arena = &f->arena, .clock = &f->clock, .log = &f->log};
    assert_true(bus_init(&f->env.mem, 52, &f->log, &st));
    assert_true(bus_init(&f->env.io, 16, &f->log, &st));
}

static inline void fake_fini(struct fake *f)
{
    bus_fini(f->env.mem);
    bus_fini(f->env.io);
    arena_fini(&f->arena);
}

static inline void fake_out(struct fake *f, uint16_t port, uint8_t v)
{
    bus_write(f->env.io, port, v, 1);
}

static inline uint8_t fake_in(struct fake *f, uint16_t port)
{
    return (uint8_t)bus_read(f->env.io, port, 1);
}

#endif
