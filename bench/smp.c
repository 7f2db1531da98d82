/* Runs in a Linux guest with 2 processors: what two do against one.  Prints "NAME VALUE" lines, the most of five tries.
 *     one, two       rounds of independent work a second, by one thread and by two together
 *     pingpong       futex round trips a second between two threads, each on a processor of its own
 *     counter1, 2    locked increments of one counter a second, by one thread and by two together
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 5 };
static const double seconds = 0.4;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static cpu_set_t all; /* processors that this process may use */

/* Stay on the nth of them: else both threads may meet on one. */
static void settle(uintptr_t n)
{
    cpu_set_t one;
    unsigned cpu = 0;
    for (uintptr_t left = n + 1; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && --left == 0)
            break;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}

/* ---- work ------------------------------------------------------------------------------------------------------- */

static double end;
static uint64_t counter;

static void *work(void *arg)
{
    static uint32_t table[2][4096];
    uint32_t *t = table[(uintptr_t)arg], x = 1;
    uint64_t n = 0;
    settle((uintptr_t)arg);
    for (; now() < end; n++)
        for (unsigned i = 0; i < 20000; i++) {
            x = x * 1664525 + 1013904223;
            t[x >> 20] += x ^ t[x >> 21];
        }
    return (void *)(uintptr_t)n;
}

static void *count(void *arg)
{
    uint64_t n = 0;
    settle((uintptr_t)arg);
    for (; now() < end; n++)
        for (unsigned i = 0; i < 20000; i++)
            __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
    return (void *)(uintptr_t)n;
}

static double rate(void *(*fn)(void *), unsigned threads)
{
    double best = 0;
    for (unsigned try = 0; try < TRIES; try++) {
        pthread_t t[2];
        uint64_t n = 0;
        double began = now();
        end = began + seconds;
        for (uintptr_t i = 1; i < threads; i++)
            pthread_create(&t[i], NULL, fn, (void *)i);
        n += (uintptr_t)fn((void *)0);
        for (unsigned i = 1; i < threads; i++) {
            void *r;
            pthread_join(t[i], &r);
            n += (uintptr_t)r;
        }
        double r = (double)n / (now() - began);
        best = r > best ? r : best;
    }
    return best;
}

/* ---- ping-pong ------------------------------------------------------------------------------------------------- */

static uint32_t turn;

static void pass(uint32_t from, uint32_t to)
{
    uint32_t t;
    while ((t = __atomic_load_n(&turn, __ATOMIC_ACQUIRE)) != from)
        syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, t, NULL, NULL, 0);
    __atomic_store_n(&turn, to, __ATOMIC_RELEASE);
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *pong(void *arg)
{
    settle(1);
    for (unsigned i = 0; i < *(unsigned *)arg; i++)
        pass(1, 0);
    return NULL;
}

static double pingpong(void)
{
    double best = 0;
    for (unsigned try = 0; try < TRIES; try++) {
        unsigned n = 3000;
        pthread_t t;
        double began = now();
        turn = 0;
        settle(0);
        pthread_create(&t, NULL, pong, &n);
        for (unsigned i = 0; i < n; i++)
            pass(0, 1);
        pthread_join(t, NULL);
        double r = n / (now() - began);
        best = r > best ? r : best;
    }
    return best;
}

int main(void)
{
    sched_getaffinity(0, sizeof all, &all);
    printf("one %.0f\n", rate(work, 1));
    printf("two %.0f\n", rate(work, 2));
    printf("pingpong %.0f\n", pingpong());
    printf("counter1 %.0f\n", rate(count, 1) * 20000);
    printf("counter2 %.0f\n", rate(count, 2) * 20000);
    return 0;
}
