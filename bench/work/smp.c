/* bench/work/smp.c: several processors: independent work on one and on two, a shared counter, a shared lock. */
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "work.h"

struct thread {
    pthread_t id;
    unsigned index, n;
    void (*body)(struct thread *);
    uint64_t sum;
};

static pthread_barrier_t barrier;

static void *start(void *arg)
{
    struct thread *t = arg;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(t->index, &set);
    if (pthread_setaffinity_np(pthread_self(), sizeof set, &set))
        work_skip("no second processor");
    pthread_barrier_wait(&barrier);
    t->body(t);
    return NULL;
}

static uint64_t threads(unsigned count, unsigned n, void (*body)(struct thread *))
{
    struct thread t[2];
    uint64_t sum = 0;
    pthread_barrier_init(&barrier, NULL, count + 1);
    for (unsigned i = 0; i < count; i++) {
        t[i] = (struct thread){.index = i, .n = n, .body = body};
        if (pthread_create(&t[i].id, NULL, start, &t[i]))
            work_fail("pthread_create");
    }
    pthread_barrier_wait(&barrier);
    work_begin();
    for (unsigned i = 0; i < count; i++) {
        pthread_join(t[i].id, NULL);
        sum += t[i].sum;
    }
    work_end();
    return sum;
}

/* A mix of arithmetic, branches and memory, nothing shared. */
static void independent(struct thread *t)
{
    uint64_t table[1024] = {0}, seed = 17;
    for (unsigned i = 0; i < t->n; i++) {
        uint64_t r = work_random(&seed);
        if (r & 4)
            table[r >> 54] += i;
        else
            table[r >> 54] ^= r;
    }
    for (unsigned i = 0; i < 1024; i++)
        t->sum = work_mix(t->sum, table[i]);
}

static uint64_t counter;

static void count(struct thread *t)
{
    for (unsigned i = 0; i < t->n; i++)
        __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void lock(struct thread *t)
{
    for (unsigned i = 0; i < t->n; i++) {
        pthread_mutex_lock(&mutex);
        counter += i;
        pthread_mutex_unlock(&mutex);
    }
}

static uint64_t run_one(unsigned n) { return threads(1, n, independent); }
static uint64_t run_two(unsigned n) { return threads(2, n, independent); }
static uint64_t run_counter(unsigned n) { return threads(2, n, count) + counter; }
static uint64_t run_lock(unsigned n) { return threads(2, n, lock) + counter; }

const struct work works[] = {{"one", run_one}, {"two", run_two}, {"counter", run_counter}, {"lock", run_lock}, {NULL, NULL}};
