/* test/hw/segments.c: the local descriptor table that cases in 16- and 32-bit code choose their segments from.
 *
 * Bases are such that the code and data of hw.h lie within 64 KB of them; limits end in the middle of mapped pages, so
 * that limits (#GP, #SS) are met before missing pages are.  Bases keep what is aligned aligned.
 */
#include "guest/x86/state.h"
#include "test/hw/hw.h"

enum { CODE_16 = 1, CODE_16_SHORT, CODE_32, CODE_32_MOVED, FIRST_DATA, READ_ONLY = 12 };

/* clang-format off */
const struct hw_segment hw_segments[HW_SEGMENTS] = {
    [CODE_16]       = {.base = HW_CODE, .limit = 0xffff, .code = true},
    [CODE_16_SHORT] = {.base = HW_CODE, .limit = 0x09ff, .code = true},
    [CODE_32]       = {.base = HW_CODE, .limit = 0xfffff, .code = true, .big = true, .pages = true},
    [CODE_32_MOVED] = {.base = HW_CODE - 0x8000, .limit = 0x88ff, .code = true, .big = true},
    [FIRST_DATA]    = {.base = HW_DATA, .limit = 0xffff},
    [6]             = {.base = HW_DATA, .limit = 0x27ff},
    [7]             = {.base = HW_DATA + 0x800, .limit = 0x17ff, .big = true},
    [8]             = {.base = HW_DATA - 0x7640, .limit = 0xfffff, .big = true, .pages = true},
    [9]             = {.base = HW_DATA, .limit = 0x17ff, .down = true},
    [10]            = {.base = HW_DATA, .limit = 0x1fff, .big = true, .down = true},
    [11]            = {.base = 0, .limit = 0xfffff, .big = true, .pages = true},
    [READ_ONLY]     = {.base = HW_DATA, .limit = 0xfffff, .big = true, .pages = true, .read_only = true},
    [13]            = {.base = HW_DATA + 0x1000, .limit = 0xffff, .big = true},
    [14]            = {.base = HW_DATA, .limit = 0x6, .pages = true},
};
/* clang-format on */

/* SDM vol. 3, 3.4.5; accessed, as Linux makes them. */
uint64_t hw_descriptor(unsigned segment)
{
    const struct hw_segment *s = &hw_segments[segment];
    uint64_t type = s->code ? 0xb : 1 | (s->read_only ? 0 : 2) | (s->down ? 4 : 0);
    uint64_t attr = type | 0xf0 | (s->big ? 0x4000u : 0) | (s->pages ? 0x8000u : 0);
    return (s->limit & 0xffff) | (uint64_t)(s->base & 0xffffff) << 16 | attr << 40 |
           (uint64_t)(s->limit >> 16 & 15) << 48 | (uint64_t)(s->base >> 24) << 56;
}

uint64_t hw_segment_base(const struct hw_case *c, unsigned seg)
{
    unsigned n = c->seg[seg];
    if (n != HW_FLAT && n != HW_NULL)
        return hw_segments[n].base;
    return seg == SEG_FS ? c->in.fs : seg == SEG_GS ? c->in.gs : 0;
}

uint32_t hw_code_limit(const struct hw_case *c)
{
    const struct hw_segment *s = &hw_segments[c->seg[SEG_CS]];
    return c->seg[SEG_CS] == HW_FLAT || s->pages ? 0xffffffff : s->limit;
}

uint64_t hw_offset(struct rng *r, const struct hw_case *c, unsigned seg, uint64_t at, unsigned asize)
{
    uint64_t offset = at - hw_segment_base(c, seg), beyond = rng_next(r);
    return asize == 8 ? offset : asize == 4 ? (uint32_t)offset | beyond << 32 : (offset & 0xffff) | beyond << 16;
}

void hw_no_read_only(struct hw_case *c)
{
    for (unsigned s = 0; s < 6; s++)
        if (c->seg[s] == READ_ONLY)
            c->seg[s] = FIRST_DATA;
}

static unsigned data_segment(struct rng *r)
{
    return rng_chance(r, 3) ? HW_NULL : FIRST_DATA + rng_below(r, HW_SEGMENTS - FIRST_DATA);
}

void hw_choose_segments(struct rng *r, struct hw_case *c)
{
    if (c->bits == 64 || (c->bits == 32 && rng_chance(r, 60)))
        return;
    bool narrow = c->bits == 16;
    if (narrow)
        c->seg[SEG_CS] = rng_chance(r, 10) ? CODE_16_SHORT : CODE_16;
    else if (rng_chance(r, 30))
        c->seg[SEG_CS] = rng_chance(r, 50) ? CODE_32_MOVED : CODE_32;
    for (unsigned s = 0; s < 6; s++)
        if (s != SEG_CS && (narrow || rng_chance(r, 50)))
            c->seg[s] = data_segment(r);
    while (c->seg[SEG_SS] == READ_ONLY || c->seg[SEG_SS] == HW_NULL) /* the stack must be writable */
        c->seg[SEG_SS] = data_segment(r);
    if (c->seg[SEG_FS])
        c->in.fs = hw_segment_base(c, SEG_FS);
    if (c->seg[SEG_GS])
        c->in.gs = hw_segment_base(c, SEG_GS);
}
