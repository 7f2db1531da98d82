/* bench/work/memory.c: copying and filling by size, chasing pointers by footprint. */
#include "work.h"

/* Not a size the compiler could see: the C library's function is called. */
static uint64_t copy(unsigned n, size_t size)
{
    char *from = malloc(size + 64), *to = malloc(size + 64);
    void *(*volatile function)(void *, const void *, size_t) = memcpy;
    for (size_t i = 0; i < size + 64; i++)
        from[i] = (char)(i * 7);
    function(to, from, size);
    work_begin();
    for (unsigned i = 0; i < n; i++)
        function(to + (i & 15), from, size);
    work_end();
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = work_mix(sum, (unsigned char)to[i]);
    return sum;
}

static uint64_t fill(unsigned n, size_t size)
{
    char *to = calloc(size, 1);
    void *(*volatile function)(void *, int, size_t) = memset;
    uint64_t sum = 0;
    function(to, 1, size);
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        function(to, (int)i, size);
        sum += (unsigned char)to[i % size];
    }
    work_end();
    return sum;
}

static uint64_t copy_64(unsigned n) { return copy(n, 64); }
static uint64_t copy_4k(unsigned n) { return copy(n, 4096); }
static uint64_t copy_1m(unsigned n) { return copy(n, 1 << 20); }
static uint64_t fill_64(unsigned n) { return fill(n, 64); }
static uint64_t fill_4k(unsigned n) { return fill(n, 4096); }
static uint64_t fill_1m(unsigned n) { return fill(n, 1 << 20); }

/* One cycle through all lines of `size` bytes in random order; each load waits for the one before. */
static uint64_t chase(unsigned n, size_t size)
{
    size_t lines = size / 64;
    uint32_t *at = aligned_alloc(4096, size);
    uint32_t *order = malloc(lines * sizeof *order);
    uint64_t seed = 5;
    for (size_t i = 0; i < lines; i++)
        order[i] = (uint32_t)i;
    for (size_t i = lines - 1; i > 0; i--) {
        size_t k = work_random(&seed) % i;
        uint32_t t = order[i];
        order[i] = order[k];
        order[k] = t;
    }
    for (size_t i = 0; i < lines; i++)
        at[order[i] * 16ul] = order[(i + 1) % lines];
    uint32_t p = 0;
    work_begin();
    for (unsigned i = 0; i < n; i++)
        p = at[p * 16ul];
    work_end();
    return p;
}

static uint64_t chase_32k(unsigned n) { return chase(n, 32 << 10); }
static uint64_t chase_2m(unsigned n) { return chase(n, 2 << 20); }
static uint64_t chase_64m(unsigned n) { return chase(n, 64 << 20); }

const struct work works[] = {{"memcpy-64", copy_64},    {"memcpy-4k", copy_4k}, {"memcpy-1m", copy_1m},   {"memset-64", fill_64}, {"memset-4k", fill_4k},
                             {"memset-1m", fill_1m},    {"chase-32k", chase_32k}, {"chase-2m", chase_2m}, {"chase-64m", chase_64m}, {NULL, NULL}};
