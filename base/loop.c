/* loop.c: the event loop.  One thread runs it; timers, posts and readable descriptors call back on that thread.
 *
 * A pass: posts, then due timers in order of deadline, then ppoll until the next deadline, then the readable
 * descriptors.  An eventfd cuts the wait short when another thread posts, stops, or sets a timer that is due before
 * all others.
 *
 * Rules to know before editing
 *   - `lock` guards the timer list, the posts and `stop`.  It is a leaf: no callback runs with it held, and callers
 *     may hold any other lock.
 *   - A pass runs no more timers than were due when it began, so a timer that keeps setting itself to the past cannot
 *     starve the descriptors.
 *   - Clearing a timer from another thread does not wait for a callback that is already running.
 *   - Descriptors are the loop thread's own (no lock).  Callbacks may add and remove them, also their own: a removed
 *     one is left in place, dead, until the next pass.
 */
#include "base/base.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { LOOP_WATCHES = 64 };

struct loop_call {
    void (*fn)(void *arg);
    void *arg;
};

struct loop_calls {
    struct loop_call *call;
    size_t n, size;
};

struct loop {
    pthread_mutex_t lock;
    struct loop_timer *timers; /* by deadline; those with one */
    struct loop_calls posts;
    bool stop;
    int wake_fd;

    struct loop_calls running; /* the loop thread's: posts taken off the list */
    unsigned nwatches;
    struct {
        int fd;
        struct loop_call call; /* fn NULL: dead */
    } watch[LOOP_WATCHES];
};

bool loop_init(struct loop **out, struct status *st)
{
    struct loop *l = calloc(1, sizeof(*l));
    if (!l)
        return status_set(st, "event loop: no memory");
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0) {
        free(l);
        return status_set(st, "event loop: eventfd: %s", strerror(errno));
    }
    pthread_mutex_init(&l->lock, NULL);
    *out = l;
    return true;
}

void loop_fini(struct loop *l)
{
    if (!l)
        return;
    close(l->wake_fd);
    pthread_mutex_destroy(&l->lock);
    free(l->posts.call);
    free(l->running.call);
    free(l);
}

static void loop_wake(struct loop *l)
{
    /* A full counter (EAGAIN) wakes as well as any other value. */
    if (eventfd_write(l->wake_fd, 1) != 0)
        rh_assert(errno == EAGAIN, "eventfd: %s", strerror(errno));
}

void loop_stop(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_mutex_unlock(&l->lock);
    loop_wake(l);
}

void loop_post(struct loop *l, void (*fn)(void *), void *arg)
{
    pthread_mutex_lock(&l->lock);
    struct loop_calls *q = &l->posts;
    if (q->n == q->size) {
        /* Grows to the most that were ever waiting at once, then never again. */
        q->size = q->size ? q->size * 2 : 64;
        q->call = realloc(q->call, q->size * sizeof(*q->call));
        rh_assert(q->call, "no memory for %zu posts", q->size);
    }
    q->call[q->n++] = (struct loop_call){fn, arg};
    pthread_mutex_unlock(&l->lock);
    loop_wake(l);
}

void loop_timer_init(struct loop_timer *t, struct loop *l, void (*fn)(void *), void *arg)
{
    *t = (struct loop_timer){.loop = l, .fn = fn, .arg = arg, .deadline = UINT64_MAX};
}

/* With the lock held. */
static void loop_timer_remove(struct loop_timer *t)
{
    if (t->deadline == UINT64_MAX)
        return;
    struct loop_timer **at = &t->loop->timers;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    t->deadline = UINT64_MAX;
}

void loop_timer_set(struct loop_timer *t, uint64_t deadline)
{
    struct loop *l = t->loop;
    bool first = false;

    pthread_mutex_lock(&l->lock);
    loop_timer_remove(t);
    if (deadline != UINT64_MAX) {
        struct loop_timer **at = &l->timers;
        while (*at && (*at)->deadline <= deadline)
            at = &(*at)->next;
        first = at == &l->timers;
        t->deadline = deadline;
        t->next = *at;
        *at = t;
    }
    pthread_mutex_unlock(&l->lock);
    if (first)
        loop_wake(l);
}

bool loop_watch(struct loop *l, int fd, void (*fn)(void *arg), void *arg)
{
    for (unsigned i = 0; i < l->nwatches; i++)
        if (l->watch[i].fd == fd && l->watch[i].call.fn) {
            l->watch[i].call = (struct loop_call){fn, arg};
            return true;
        }
    if (!fn)
        return true;
    if (l->nwatches == LOOP_WATCHES)
        return false;
    /* Never in a dead one's place: this pass may still hold an event for it. */
    l->watch[l->nwatches].fd = fd;
    l->watch[l->nwatches++].call = (struct loop_call){fn, arg};
    return true;
}

static void loop_run_posts(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct loop_calls taken = l->posts;
    l->posts = (struct loop_calls){.call = l->running.call, .size = l->running.size};
    l->running = taken;
    pthread_mutex_unlock(&l->lock);

    for (size_t i = 0; i < taken.n; i++)
        taken.call[i].fn(taken.call[i].arg);
}

static void loop_run_timers(struct loop *l)
{
    uint64_t now = os_nanoseconds();
    unsigned due = 0;

    pthread_mutex_lock(&l->lock);
    for (struct loop_timer *t = l->timers; t && t->deadline <= now; t = t->next)
        due++;
    for (struct loop_timer *t; due-- && (t = l->timers) && t->deadline <= now;) {
        struct loop_call call = {t->fn, t->arg};
        loop_timer_remove(t);
        pthread_mutex_unlock(&l->lock);
        call.fn(call.arg);
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
}

/* How long ppoll may wait, in *ts; NULL: for ever. */
static struct timespec *loop_timeout(struct loop *l, struct timespec *ts)
{
    pthread_mutex_lock(&l->lock);
    uint64_t deadline = l->timers ? l->timers->deadline : UINT64_MAX;
    if (l->stop || l->posts.n)
        deadline = 0;
    pthread_mutex_unlock(&l->lock);

    if (deadline == UINT64_MAX)
        return NULL;
    uint64_t now = os_nanoseconds();
    uint64_t wait = deadline > now ? deadline - now : 0;
    *ts = (struct timespec){.tv_sec = (time_t)(wait / 1000000000u), .tv_nsec = (long)(wait % 1000000000u)};
    return ts;
}

static void loop_poll(struct loop *l)
{
    struct pollfd pfd[LOOP_WATCHES + 1];
    struct timespec ts;
    unsigned n = 0;

    for (unsigned i = 0; i < l->nwatches; i++)
        if (l->watch[i].call.fn)
            l->watch[n++] = l->watch[i];
    l->nwatches = n;
    for (unsigned i = 0; i < n; i++)
        pfd[i] = (struct pollfd){.fd = l->watch[i].fd, .events = POLLIN};
    pfd[n] = (struct pollfd){.fd = l->wake_fd, .events = POLLIN};

    if (ppoll(pfd, n + 1, loop_timeout(l, &ts), NULL) < 0) {
        rh_assert(errno == EINTR || errno == ENOMEM, "ppoll: %s", strerror(errno));
        return;
    }
    eventfd_t ignored;
    if (pfd[n].revents)
        eventfd_read(l->wake_fd, &ignored);
    for (unsigned i = 0; i < n; i++) {
        struct loop_call call = l->watch[i].call;
        if (!pfd[i].revents || !call.fn)
            continue;
        rh_assert(!(pfd[i].revents & POLLNVAL), "descriptor %d was closed while watched", pfd[i].fd);
        call.fn(call.arg);
    }
}

static bool loop_stopped(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    bool stop = l->stop;
    l->stop = false;
    pthread_mutex_unlock(&l->lock);
    return stop;
}

void loop_run(struct loop *l)
{
    while (!loop_stopped(l)) {
        loop_run_posts(l);
        loop_run_timers(l);
        loop_poll(l);
    }
}
