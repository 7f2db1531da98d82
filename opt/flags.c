/* opt/flags.c: which flags are wanted.
 *
 *   needs   a verified block
 *   does    backward: livef = flags that somebody may read after the op; setf shrinks to what is wanted of what the
 *   op writes
 *   keeps   everything but setf, livef
 *   breaks  nothing
 *
 * Beyond the end of the block all six flags are wanted, and wherever a fault or a call may look at them.  An op with
 * setf != 0 may change every flag in its writes-F, so setf becomes all of those that are wanted; 0 if none is: the op
 * then leaves F alone.
 *
 * Branches go forward only, so one backward walk meets every label before the branches to it.
 */
#include "opt/opt.h"

/* What is wanted before a LABEL, a branch or an end, of what is after it. */
static unsigned at_control(const struct ir_op *o, unsigned live, uint8_t at_label[IR_LABEL_MAX])
{
    switch (o->op) {
    case IR_LABEL: at_label[o->imm] = (uint8_t)live; return live;
    case IR_BRCC:
    case IR_BRZ:
    case IR_BRNZ: return live | at_label[o->imm];
    default: return 0;
    }
}

void opt_flags(struct ir_block *b)
{
    uint8_t at_label[IR_LABEL_MAX];
    unsigned live = 0; /* the last op ends the block and reads what it must */
    for (struct ir_op *o = b->op + b->nops; o-- > b->op;) {
        if (o->op >= IR_LABEL) /* the last rows of ops.def */
            live = at_control(o, live, at_label);
        o->livef = (uint8_t)live;
        if (o->op == IR_INSN)
            continue;
        if (o->setf) {
            unsigned writes = ir_writes_f(o);
            o->setf = (uint8_t)(writes & live);
            live &= ~writes;
        }
        live |= ir_reads_f(o);
    }
}

void opt_flags_all(struct ir_block *b)
{
    for (struct ir_op *o = b->op; o < b->op + b->nops; o++) {
        o->livef = IRF_ALL;
        if (o->setf)
            o->setf = (uint8_t)ir_writes_f(o);
    }
}
