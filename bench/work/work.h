/* bench/work/work.h: what the benchmark's workloads share.
 *
 * A program holds several workloads, named in its table `works`; `PROGRAM NAME N` runs one.  A workload prepares, calls work_begin, does its
 * N rounds, calls work_end and returns a checksum of everything it worked out: the same wherever it runs, or the row has failed.  main prints
 *     seconds S sum X
 * by the clock of the system it runs on.  A workload that needs what this processor lacks calls work_skip.
 */
#ifndef RHEA_BENCH_WORK_H
#define RHEA_BENCH_WORK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct work {
    const char *name;
    uint64_t (*run)(unsigned n);
};
extern const struct work works[]; /* ends with a row of NULL */

void work_begin(void);
void work_end(void);
void work_skip(const char *why) __attribute__((noreturn));
/* Ends the program: what a workload relies on is not so. */
void work_fail(const char *what) __attribute__((noreturn));

static inline uint64_t work_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Fold a value into a checksum. */
static inline uint64_t work_mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * 0x9e3779b97f4a7c15ull + (sum >> 29);
}

/* A result of floating-point arithmetic: to nine digits, since a C library may compute in another order where FMA is offered. */
static inline uint64_t work_mix_double(uint64_t sum, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.9g", value);
    for (const char *p = text; *p; p++)
        sum = work_mix(sum, (unsigned char)*p);
    return sum;
}

#endif
