/* host/amd64/fixed.c: sequences that blocks have again and again, put together once and then copied.
 *
 * They are written by the same functions as everything else, into struct host_fixed of the thunks, and differ from place to
 * place in a few bytes only, whose offsets are kept: the copy's user patches those.  Nothing in them depends on where they
 * lie.
 */
#include <string.h>

#include "host/amd64/emit.h"

static struct asmbuf begin(struct host_fixed *f)
{
    return (struct asmbuf){.start = f->bytes, .p = f->bytes, .end = f->bytes + sizeof f->bytes};
}

static void end(struct host_fixed *f, const struct asmbuf *a)
{
    rh_assert(asm_at(a) <= sizeof f->bytes, "%u bytes of a fixed sequence", asm_at(a));
    f->size = (uint8_t)asm_at(a);
}

static void make_lookup(struct host_fixed *f, const struct host_thunks *t, bool write, bool sized)
{
    struct asmbuf a = begin(f);
    struct mem_lookup at = mem_lookup(&a, t, write, sized);
    f->at[FIXED_MISS] = (uint8_t)at.miss;
    f->at[FIXED_MISALIGNED] = (uint8_t)at.misaligned;
    f->at[FIXED_LOW_BITS] = (uint8_t)at.low_bits;
    end(f, &a);
}

static void make_cross(struct host_fixed *f, const struct host_thunks *t)
{
    struct asmbuf a = begin(f);
    asm_load(&a, I64, RAX, rm_cpu(offsetof(struct cpu, reg[IR_PCB])));
    asm_lea(&a, I64, RAX, rm_mem(RAX, 0x1000));
    f->at[FIXED_PAGES] = (uint8_t)(asm_at(&a) - 4);
    asm_mov_rr(&a, I64, R14, RAX);
    mem_table_entry(&a, t, TABLE_X, R14, rm_cpu);
    end(f, &a);
}

static void make_save_f(struct host_fixed *f)
{
    struct asmbuf a = begin(f);
    f_put_away(&a, rm_cpu(offsetof(struct cpu, cc)));
    end(f, &a);
}

static void make_poll(struct host_fixed *f)
{
    struct asmbuf a = begin(f);
    asm_alu_imm(&a, I32, 7, rm_cpu(offsetof(struct cpu, kick)), 0);
    f->at[FIXED_MISS] = (uint8_t)asm_jcc(&a, CC_NE);
    end(f, &a);
}

static void make_probe(struct host_fixed *f)
{
    struct asmbuf a = begin(f);
    f->at[FIXED_MISS] = (uint8_t)jump_probe(&a);
    end(f, &a);
}

void fixed_make(struct host_thunks *t)
{
    make_probe(&t->probe);
    make_save_f(&t->save_f);
    make_poll(&t->poll);
    if (t->two_levels) /* their lookups are calls, which depend on where they lie */
        return;
    make_cross(&t->cross, t);
    for (unsigned n = 0; n < 4; n++)
        make_lookup(&t->lookup[n >> 1][n & 1], t, n >> 1, n & 1);
}
