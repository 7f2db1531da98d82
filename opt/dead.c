/* opt/dead.c: ops whose results nobody reads go.
 *
 *   needs   a verified block; opt_flags before it, or few ops have lost their setf
 *   does    backward: deletes ops without effects whose setf is 0 and whose results are temps not read afterwards, or
 *   registers
 *           wholly overwritten before anyone can see them
 *   keeps   the order of all other ops; livef
 *   breaks  nothing
 *
 * "Can see" a register: whatever reads it; a fault, a call, the end of the block; and a branch or label, beyond which
 * this pass does not look.  Temps do not live across labels.
 */
#include "opt/opt.h"

#include <string.h>

enum { GONE = IR_OP_COUNT };

struct live {
    uint64_t lost;                   /* registers (vector ones from bit 32) overwritten before seen */
    uint64_t temp[IR_TEMP_MAX / 64]; /* temps read before written; indexed by ir_ref */
};

static bool is_lost(const struct live *l, ir_ref r)
{
    if (r == IR_NONE)
        return true;
    if (ir_is_temp(r))
        return !(l->temp[r / 64] >> r % 64 & 1);
    return l->lost >> r & 1;
}

static void mark_read(struct live *l, ir_ref r)
{
    if (ir_is_const(r) || r == IR_NONE)
        return;
    if (ir_is_temp(r))
        l->temp[r / 64] |= 1ull << r % 64;
    else
        l->lost &= ~(1ull << r);
}

static void mark_written(struct live *l, ir_ref r)
{
    if (r == IR_NONE)
        return;
    if (ir_is_temp(r))
        l->temp[r / 64] &= ~(1ull << r % 64);
    else
        l->lost |= 1ull << r;
}

/* A destination of o: a whole write hides what was there, a partial one keeps some of it. */
static void note_dest(struct live *l, const struct ir_op *o, unsigned n, char letter)
{
    if (letter == 'W' || (letter == 'R' && ir_write_bits(o, n) == 64))
        mark_written(l, ir_get(o, n));
    else if (letter != '.')
        mark_read(l, ir_get(o, n));
}

static void note(struct live *l, const struct ir_op *o, unsigned effects, const char *s)
{
    note_dest(l, o, IR_E, s[IR_E]);
    note_dest(l, o, IR_D, s[IR_D]);
    if (effects & (IRE_CALLS | IRE_ENDS | IRE_FAULTS | IRE_STAYS))
        l->lost = 0;
    mark_read(l, o->a);
    mark_read(l, o->b);
    mark_read(l, o->c);
}

static void compact(struct ir_block *b, unsigned from)
{
    unsigned to = from;
    for (unsigned i = from; i < b->nops; i++)
        if (b->op[i].op != GONE)
            b->op[to++] = b->op[i];
    b->nops = to;
}

void opt_dead(struct ir_block *b)
{
    struct live l;
    unsigned first = b->nops;
    l.lost = 0;
    memset(l.temp, 0, (IR_TEMP0 + b->ntemps + 63) / 64 * sizeof l.temp[0]);
    for (unsigned i = b->nops; i-- > 0;) {
        struct ir_op *o = &b->op[i];
        if (o->op == IR_INSN)
            continue;
        unsigned effects = ir_effects(o);
        if (o->setf == 0 && (effects & ~(unsigned)IRE_LOADS) == 0 && is_lost(&l, o->d) && is_lost(&l, o->e)) {
            o->op = GONE;
            first = i;
            continue;
        }
        note(&l, o, effects, ir_operands(o));
    }
    compact(b, first);
}
