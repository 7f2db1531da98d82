/* test/hw/random.c: numbers for cases: integers, vectors and x87 registers near what breaks, and whole states;
 * memory's template and patches. */
#include <string.h>

#include "test/hw/hw.h"

uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->s += 0x9e3779b97f4a7c15ull); /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

uint64_t rng_edge(struct rng *r)
{
    static const uint64_t edges[] = {
        0,
        1,
        2,
        3,
        7,
        8,
        0x0f,
        0x10,
        0x1f,
        0x20,
        0x3f,
        0x40,
        0x7e,
        0x7f,
        0x80,
        0x81,
        0xfe,
        0xff,
        0x100,
        0x7fff,
        0x8000,
        0xffff,
        0x10000,
        0x7fffffff,
        0x80000000,
        0x80000001,
        0xfffffffe,
        0xffffffff,
        0x100000000,
        0x7fffffffffffffff,
        0x8000000000000000,
        0x8000000000000001,
        0xfffffffffffffffe,
        0xffffffffffffffff,
        0xffffffff80000000,
        0xffffffff7fffffff,
        0xffffffffffffff80,
        0xffffffffffff8000,
        0x5555555555555555,
        0xaaaaaaaaaaaaaaaa,
        0x0123456789abcdef,
    };
    switch (rng_below(r, 8)) {
    case 0:
    case 1:
    case 2: return edges[rng_below(r, ARRAY_LEN(edges))];
    case 3: return 1ull << rng_below(r, 64);
    case 4: return (1ull << rng_below(r, 64)) - 1;
    case 5: return rng_below(r, 70);
    case 6: return rng_next(r) >> rng_below(r, 64);
    default: return rng_next(r);
    }
}

static uint32_t edge_float(struct rng *r)
{
    static const uint32_t edges[] = {
        0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000,
        0x7f800001, 0xffa12345, 0x7fc12345, 1,          0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff,
        0xff7fffff, 0x4effffff, 0x4f000000, 0xcf000000, 0x4f800000, 0x5f000000, 0x3f000000, 0x3fc00000,
        0x40200000, 0x33800000, 0x4b000001, 0x00000fff, 0x3effffff,
    };
    uint32_t v = (uint32_t)rng_next(r);
    switch (rng_below(r, 4)) {
    case 0:
    case 1: return edges[rng_below(r, ARRAY_LEN(edges))];
    case 2: return (v & 0x807fffff) | (110 + rng_below(r, 50)) << 23;
    default: return v;
    }
}

static uint64_t edge_double(struct rng *r)
{
    static const uint64_t edges[] = {
        0,
        0x8000000000000000,
        0x3ff0000000000000,
        0xbff0000000000000,
        0x7ff0000000000000,
        0xfff0000000000000,
        0x7ff8000000000000,
        0xfff8000000000000,
        0x7ff0000000000001,
        0xfff4567812345678,
        0x7ff8123400000001,
        1,
        0x8000000000000001,
        0x000fffffffffffff,
        0x0010000000000000,
        0x7fefffffffffffff,
        0xffefffffffffffff,
        0x41dfffffffc00000,
        0x41e0000000000000,
        0xc1e0000000000000,
        0xc1e0000000200000,
        0x43e0000000000000,
        0xc3e0000000000000,
        0x43f0000000000000,
        0x3fe0000000000000,
        0x3ff8000000000000,
        0x47efffffffffffff,
        0x36a0000000000000,
        0x380fffffffffffff,
        0x4340000000000001,
    };
    uint64_t v = rng_next(r);
    switch (rng_below(r, 4)) {
    case 0:
    case 1: return edges[rng_below(r, ARRAY_LEN(edges))];
    case 2: return (v & 0x800fffffffffffff) | (uint64_t)(1000 + rng_below(r, 60)) << 52;
    default: return v;
    }
}

enum { DOUBLES, FLOATS, EDGES, ANY, WORDS, KINDS };

static void vector_of_kind(struct rng *r, unsigned kind, uint8_t to[16])
{
    for (unsigned i = 0; i < 2; i++) {
        uint64_t v = kind == DOUBLES  ? edge_double(r)
                     : kind == FLOATS ? edge_float(r) | (uint64_t)edge_float(r) << 32
                     : kind == EDGES  ? rng_edge(r)
                     : kind == ANY    ? rng_next(r)
                                      : (rng_edge(r) & 0xffff) * 0x0001000100010001ull;
        bytes_put(to + 8 * i, v, 8);
    }
}

void rng_vector(struct rng *r, uint8_t to[16])
{
    vector_of_kind(r, rng_below(r, KINDS), to);
}

/* Registers take their lanes from a few vectors, most of one kind, so that operands fit each other and lanes are often
 * the same. */
static void random_vectors(struct rng *r, uint8_t vec[32][64])
{
    enum { POOL = 32 };
    uint8_t pool[POOL][16];
    unsigned usual = rng_below(r, KINDS);
    for (unsigned i = 0; i < POOL; i++)
        vector_of_kind(r, rng_chance(r, 70) ? usual : rng_below(r, KINDS), pool[i]);
    for (unsigned i = 0; i < 32; i++) {
        uint64_t which = rng_next(r) >> 20;
        for (unsigned lane = 0; lane < 4; lane++)
            memcpy(vec[i] + 16 * lane, pool[which >> (5 * lane) & (POOL - 1)], 16);
    }
}

/* 80 bits: values of every class, the ones the 8087 knew and its successors reject among them (SDM vol. 1, 8.2.2). */
static void edge_extended(struct rng *r, uint8_t to[16])
{
    static const uint16_t exponents[] = {0,      0,      1,      0x3fff, 0x3ffe, 0x4000, 0x7fff, 0x7fff, 0x7ffe,
                                         0x403e, 0x403f, 0x401e, 0x400e, 0x3fbf, 0x3c01, 0x43fe, 0x3f81, 0x407e};
    static const uint64_t fractions[] = {0,
                                         1,
                                         0x8000000000000000,
                                         0xc000000000000000,
                                         0xffffffffffffffff,
                                         0x8000000000000001,
                                         0xa000000000000000,
                                         0x4000000000000000,
                                         0x7fffffffffffffff,
                                         0xfffffffffffff800,
                                         0xffffff8000000000,
                                         0xc90fdaa22168c235};
    unsigned exponent =
        rng_chance(r, 60) ? exponents[rng_below(r, ARRAY_LEN(exponents))] : 0x3fff - 70 + rng_below(r, 140);
    uint64_t fraction = rng_chance(r, 60) ? fractions[rng_below(r, ARRAY_LEN(fractions))] : rng_next(r);
    if (exponent && rng_chance(r, 80))
        fraction |= 1ull << 63;
    bytes_put(to, fraction, 8);
    bytes_put(to + 8, exponent | (rng_chance(r, 50) ? 0x8000 : 0), 2);
    memset(to + 10, 0, 6);
}

static void random_x87(struct rng *r, uint8_t *fx)
{
    static const uint8_t precision[4] = {3, 3, 2, 0};
    unsigned masks = rng_chance(r, 80) ? 0x3f : rng_below(r, 64);
    unsigned control = 0x40 | masks | (unsigned)precision[rng_below(r, 4)] << 8 | rng_below(r, 4) << 10 |
                       (rng_chance(r, 10) ? 0x1000 : 0);
    unsigned status = rng_chance(r, 50) ? 0 : (unsigned)rng_next(r) & 0x477f;
    status |= rng_chance(r, 50) ? 0 : rng_below(r, 8) << 11;
    if (status & ~control & 0x3f)
        status |= 0x8080; /* ES and B */
    bytes_put(fx + FX_FCW, control, 2);
    bytes_put(fx + FX_FSW, status, 2);
    fx[FX_FTW] = rng_chance(r, 70) ? 0xff : (uint8_t)rng_next(r);
}

void rng_state(struct rng *r, struct hw_state *s, bool x87)
{
    *s = (struct hw_state){0};
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = rng_edge(r);
    s->flags = 2 | (rng_next(r) & 0x8d5) | (rng_chance(r, 50) ? 0x400 : 0);
    s->fs = rng_next(r) >> 17;
    s->gs = rng_next(r) >> 17;
    bytes_put(s->fx + FX_FCW, 0x37f, 2);
    if (x87)
        random_x87(r, s->fx);
    for (unsigned i = 0; i < 8; i++)
        edge_extended(r, s->fx + FX_ST + 16 * i);
    random_vectors(r, s->vec);
    for (unsigned i = 0; i < 8; i++)
        s->k[i] = rng_chance(r, 30) ? rng_edge(r) : rng_next(r);
    unsigned masks = rng_chance(r, 85) ? 0x1f80 : (unsigned)rng_next(r) & 0x1f80;
    unsigned mxcsr = masks | (rng_chance(r, 50) ? rng_below(r, 4) << 13 : 0) | (rng_chance(r, 15) ? 0x8000 : 0) |
                     (rng_chance(r, 15) ? 0x40 : 0);
    mxcsr |= rng_chance(r, 50) ? 0 : rng_below(r, 64);
    bytes_put(s->fx + FX_MXCSR, mxcsr, 4);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

void hw_template(uint8_t mem[HW_MEM_SIZE])
{
    struct rng r = {12345};
    for (unsigned i = 0; i < HW_MEM_SIZE; i += 8)
        bytes_put(mem + i, rng_next(&r), 8);
}

void hw_patch(const struct hw_case *c, uint8_t mem[HW_MEM_SIZE])
{
    for (unsigned i = 0; i < HW_PATCHES_MAX && c->patch[i].at; i++)
        for (unsigned k = 0; k < sizeof c->patch[i].bytes; k++) {
            int off = hw_mem_offset(c->patch[i].at + k);
            if (off >= 0)
                mem[off] = c->patch[i].bytes[k];
        }
}

void hw_collect(uint8_t mem[HW_MEM_SIZE], const uint8_t template[HW_MEM_SIZE], struct hw_result *r)
{
    r->nchanges = 0;
    for (unsigned line = 0; line < HW_MEM_SIZE; line += 64) {
        if (memcmp(mem + line, template + line, 64) == 0)
            continue;
        for (unsigned at = line; at < line + 64; at += 8) {
            uint64_t v = bytes_get(mem + at, 8), was = bytes_get(template + at, 8);
            if (v == was)
                continue;
            if (r->nchanges < HW_CHANGES_MAX) {
                r->change[r->nchanges].word = (uint16_t)(at / 8);
                r->change[r->nchanges].value = v;
            }
            r->nchanges++;
            bytes_put(mem + at, was, 8);
        }
    }
    if (r->nchanges > HW_CHANGES_MAX)
        r->nchanges = HW_CHANGES_MAX;
}
