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

enum { GONE = IR_OP_COUNT, STATE = IR_MASK0 }; /* STATE: registers and vector registers, which come first */

/* What may be seen of what was written, by ir_ref: registers, vector registers, masks, temps.  Constants are marked, too, and
 * never looked at, which is cheaper than to ask; IR_NONE stays unseen. */
struct live {
    uint8_t seen[IR_NONE + 1];
};

/* A destination of o: a whole write hides what was there, a partial one keeps some of it. */
static void note_dest(struct live *l, const struct ir_op *o, unsigned n, char letter)
{
    ir_ref r = ir_get(o, n);
    if (r != IR_NONE)
        l->seen[r] = !(letter == 'W' || (letter == 'R' && ir_write_bits(o, n) == 64));
}

static void note(struct live *l, const struct ir_op *o, unsigned effects)
{
    unsigned dest = ir_facts[o->op].dest;
    if (dest == IR_DEST_WHOLE || (dest == IR_DEST_TYPE && o->type >= I32)) {
        l->seen[o->d] = false;
    } else if ((o->d & o->e) != IR_NONE) {
        const char *s = ir_operands(o);
        note_dest(l, o, IR_E, s[IR_E]);
        note_dest(l, o, IR_D, s[IR_D]);
    }
    if (effects & (IRE_CALLS | IRE_ENDS | IRE_FAULTS | IRE_STAYS))
        memset(l->seen, true, STATE);
    l->seen[o->a] = true;
    l->seen[o->b] = true;
    l->seen[o->c] = true;
    l->seen[IR_NONE] = false;
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
    memset(l.seen, true, STATE);
    memset(l.seen + STATE, false, IR_TEMP0 - STATE + b->ntemps);
    l.seen[IR_NONE] = false;
    for (struct ir_op *o = b->op + b->nops; o-- > b->op;) {
        if (o->op == IR_INSN)
            continue;
        unsigned effects = ir_effects(o);
        bool may_go = o->setf == 0 && o->op != IR_AVX && (effects & ~(unsigned)IRE_LOADS) == 0;
        if (may_go && !(l.seen[o->d] | l.seen[o->e])) {
            o->op = GONE;
            first = (unsigned)(o - b->op);
            continue;
        }
        note(&l, o, effects);
    }
    compact(b, first);
}
