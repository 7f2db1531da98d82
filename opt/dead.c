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
 * this pass does not look.  Temps do not live across labels.  AVX ops stay: a VEC op hides only bits 127..0 of what they
 * wrote, and mask registers are not followed.
 */
#include "opt/opt.h"

#include <string.h>

enum { GONE = IR_OP_COUNT };

/* What may be seen of what was written, a bit an ir_ref: registers, vector registers, temps. */
struct live {
    uint64_t seen[IR_TEMP_MAX / 64];
};
enum { ANY_STATE = 0 }; /* the word of registers and vector registers */

static bool is_seen(const struct live *l, ir_ref r)
{
    return r != IR_NONE && (l->seen[r / 64] >> r % 64 & 1);
}

static void mark_read(struct live *l, ir_ref r)
{
    if (r < IR_CONST0)
        l->seen[r / 64] |= 1ull << r % 64;
}

/* A destination of o: a whole write hides what was there, a partial one keeps some of it. */
static void note_dest(struct live *l, const struct ir_op *o, unsigned n, char letter)
{
    ir_ref r = ir_get(o, n);
    if (r == IR_NONE)
        return;
    if (letter == 'W' || (letter == 'R' && ir_write_bits(o, n) == 64))
        l->seen[r / 64] &= ~(1ull << r % 64);
    else
        mark_read(l, r);
}

static void note(struct live *l, const struct ir_op *o, unsigned effects)
{
    if (ir_facts[o->op].plain_dest && o->type >= I32 && o->d != IR_NONE) {
        l->seen[o->d / 64] &= ~(1ull << o->d % 64);
    } else if (o->d != IR_NONE || o->e != IR_NONE) {
        const char *s = ir_operands(o);
        note_dest(l, o, IR_E, s[IR_E]);
        note_dest(l, o, IR_D, s[IR_D]);
    }
    if (effects & (IRE_CALLS | IRE_ENDS | IRE_FAULTS | IRE_STAYS))
        l->seen[ANY_STATE] = ~0ull;
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
    memset(l.seen, 0, (IR_TEMP0 + b->ntemps + 63) / 64 * sizeof l.seen[0]);
    l.seen[ANY_STATE] = ~0ull;
    for (unsigned i = b->nops; i-- > 0;) {
        struct ir_op *o = &b->op[i];
        if (o->op == IR_INSN)
            continue;
        unsigned effects = ir_effects(o);
        bool may_go = o->setf == 0 && o->op != IR_AVX && (effects & ~(unsigned)IRE_LOADS) == 0;
        if (may_go && !is_seen(&l, o->d) && !is_seen(&l, o->e)) {
            o->op = GONE;
            first = i;
            continue;
        }
        note(&l, o, effects);
    }
    compact(b, first);
}
