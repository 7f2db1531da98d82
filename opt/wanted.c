/* opt/wanted.c: what is wanted, flags and results; ops that nobody wants go.
 *
 *   needs   a verified block
 *   does    backward: livef = flags that somebody may read after the op; setf shrinks to what is wanted of what the op writes;
 *           deletes ops without effects whose setf is then 0 and whose results are temps not read afterwards, or registers
 *           wholly overwritten before anyone can see them.  What is deleted wants nothing itself.
 *   keeps   the order of all other ops
 *   breaks  nothing
 *
 * Flags.  Beyond the end of the block all six are wanted, and wherever a fault or a call may look at them.  An op with
 * setf != 0 may change every flag in its writes-F, so setf becomes all of those that are wanted; 0 if none is: the op then
 * leaves F alone.  Branches go forward only, so one backward walk meets every label before the branches to it.
 *
 * Results.  "Can see" a register: whatever reads it; a fault, a call, the end of the block; and a branch or label, beyond which
 * this pass does not look.  Temps do not live across labels.  AVX ops stay: a VEC op hides only bits 127..0 of what they wrote,
 * and mask registers are not followed.
 *
 * Nearly every op takes the same few steps here, by the table of facts (ir.h): what branches is a guess of the processor's
 * about each op anew, and one wrong guess costs as much as ten ops.
 */
#include "opt/opt.h"

#include <string.h>

enum { GONE = IR_OP_COUNT, STATE = IR_MASK0 }; /* STATE: registers and vector registers, which come first */

/* What may be seen of what was written, by ir_ref: registers, vector registers, masks, temps.  Constants are marked, too, and
 * never looked at, which is cheaper than to ask; IR_NONE stays unseen. */
struct live {
    uint8_t seen[IR_NONE + 1];
};

static void init(struct live *l, const struct ir_block *b)
{
    enum { PIECE = 64 }; /* at a time: temps are few */
    memset(l->seen, true, STATE);
    for (unsigned at = STATE; at < IR_TEMP0 + b->ntemps; at += PIECE)
        memset(l->seen + at, false, PIECE);
    l->seen[IR_NONE] = false;
}

/* Flags wanted before what is behind a LABEL, a branch or an end: f are. */
static inline unsigned at_control(const struct ir_op *o, unsigned f, uint8_t at_label[IR_LABEL_MAX])
{
    if (o->op > IR_BRNZ)
        return 0;
    if (o->op != IR_LABEL)
        return f | at_label[o->imm];
    at_label[o->imm] = (uint8_t)f;
    return f;
}

/* A destination of o: a whole write hides what was there, a partial one keeps some of it. */
static void note_dest(struct live *l, const struct ir_op *o, unsigned n, char letter)
{
    ir_ref r = ir_get(o, n);
    if (r != IR_NONE)
        l->seen[r] = !(letter == 'W' || (letter == 'R' && ir_write_bits(o, n) == 64));
}

static void note(struct live *l, const struct ir_op *o, unsigned effects)
{
    const struct ir_facts *f = &ir_facts[o->op];
    if (f->odd & IR_ODD_DEST) {
        const char *s = ir_operands(o);
        note_dest(l, o, IR_E, s[IR_E]);
        note_dest(l, o, IR_D, s[IR_D]);
    } else {
        l->seen[o->d] = !(f->whole >> o->type & 1);
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

static inline __attribute__((always_inline)) void walk(struct ir_block *b, bool delete)
{
    struct live l;
    uint8_t at_label[IR_LABEL_MAX];
    unsigned first = b->nops, f = 0; /* f: flags wanted; the last op ends the block and reads what it must */
    init(&l, b);
    for (struct ir_op *o = b->op + b->nops; o-- > b->op;) {
        if (o->op >= IR_LABEL) /* the last rows of ops.def */
            f = at_control(o, f, at_label);
        o->livef = (uint8_t)f;
        if (o->op == IR_INSN)
            continue;
        unsigned effects = ir_effects(o), writes = ir_writes_f(o), setf = writes & f;
        o->setf = (uint8_t)setf;
        if (delete &&!((effects & ~(unsigned)IRE_LOADS) | setf | l.seen[o->d] | l.seen[o->e]) && o->op != IR_AVX) {
            o->op = GONE;
            first = (unsigned)(o - b->op);
            continue;
        }
        f = (f & ~writes) | ir_reads_f(o);
        if (delete)
            note(&l, o, effects);
    }
    if (delete)
        compact(b, first);
}

void opt_wanted(struct ir_block *b)
{
    walk(b, true);
}

void opt_flags(struct ir_block *b)
{
    walk(b, false);
}

void opt_flags_all(struct ir_block *b)
{
    for (struct ir_op *o = b->op; o < b->op + b->nops; o++) {
        o->livef = IRF_ALL;
        if (o->setf)
            o->setf = (uint8_t)ir_writes_f(o);
    }
}
