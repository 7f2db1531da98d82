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

void opt_flags(struct ir_block *b)
{
    uint8_t at_label[IR_LABEL_MAX];
    unsigned live = 0; /* the last op ends the block and reads what it must */
    for (struct ir_op *o = b->op + b->nops; o-- > b->op;) {
        switch (o->op) {
        case IR_INSN: o->livef = (uint8_t)live; continue;
        case IR_LABEL: at_label[o->imm] = (uint8_t)live; break;
        case IR_BRCC:
        case IR_BRZ:
        case IR_BRNZ: live |= at_label[o->imm]; break;
        case IR_GOTO:
        case IR_GOTOI:
        case IR_LEAVE:
        case IR_LEAVEI: live = 0; break;
        default: break;
        }
        o->livef = (uint8_t)live;
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
