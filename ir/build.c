/* ir/build.c: appending ops to a block.
 *
 * Storage is taken once, from the caller's arena; nothing here allocates afterwards.  "Full" is an ordinary result: the
 * builder goes on accepting calls (into a scratch op) so that lifters need no checks, and b->full tells at the end.
 */
#include "ir/ir.h"

enum {
    CONSTS_PER_OP = 2,
    RECENT_CONSTS = 4, /* how far back ir_const looks for the same value */
};

bool ir_block_init(struct ir_block *b, struct arena *a, unsigned max_ops)
{
    *b = (struct ir_block){.op_cap = max_ops, .const_cap = max_ops * CONSTS_PER_OP};
    if (b->const_cap > IR_NONE - IR_CONST0)
        b->const_cap = IR_NONE - IR_CONST0;
    size_t ops = (max_ops + 1) * sizeof(struct ir_op); /* one more: the scratch op */
    b->op = arena_room(a, ops + b->const_cap * sizeof(int64_t));
    b->consts = b->op ? (int64_t *)(void *)((uint8_t *)b->op + ops) : NULL;
    return b->op != NULL;
}

static const struct ir_op blank = {.d = IR_NONE, .e = IR_NONE, .a = IR_NONE, .b = IR_NONE, .c = IR_NONE};

struct ir_op *ir_append(struct ir_block *b, enum ir_opcode op, enum ir_type type)
{
    struct ir_op *o = &b->op[b->nops];
    if (b->nops < b->op_cap)
        b->nops++;
    else
        b->full = true;
    b->accesses += ir_facts[op].accesses;
    *o = blank;
    o->op = (uint8_t)op;
    o->type = (uint8_t)type;
    return o;
}

ir_ref ir_temp(struct ir_block *b)
{
    if (IR_TEMP0 + b->ntemps >= IR_TEMP_MAX) {
        b->full = true;
        return IR_TEMP0;
    }
    return (ir_ref)(IR_TEMP0 + b->ntemps++);
}

ir_ref ir_const(struct ir_block *b, int64_t v)
{
    unsigned from = b->nconsts > RECENT_CONSTS ? b->nconsts - RECENT_CONSTS : 0;
    for (unsigned i = from; i < b->nconsts; i++)
        if (b->consts[i] == v)
            return (ir_ref)(IR_CONST0 + i);
    if (b->nconsts >= b->const_cap) {
        b->full = true;
        return IR_CONST0;
    }
    b->consts[b->nconsts] = v;
    return (ir_ref)(IR_CONST0 + b->nconsts++);
}

int ir_label(struct ir_block *b)
{
    if (b->nlabels >= IR_LABEL_MAX) {
        b->full = true;
        return 0;
    }
    return (int)b->nlabels++;
}

struct ir_op *ir_alu(struct ir_block *b, enum ir_opcode op, enum ir_type t, unsigned setf, ir_ref d, ir_ref x, ir_ref y)
{
    struct ir_op *o = ir_append(b, op, t);
    o->setf = (uint8_t)setf;
    o->d = d;
    o->a = x;
    o->b = y;
    return o;
}
