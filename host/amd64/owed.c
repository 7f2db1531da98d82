/* host/amd64/owed.c: F that only a fault may want.
 *
 * Between an op that defines F and the next that does, memory accesses often are all there is: F is wanted just in case
 * one of them faults.  Then it is not put into cpu.cc on the hot path; the cold stub of the access computes it anew from
 * the registers of the op that defined it (its maker), if they still hold what they held:
 *
 *     CMP a, b    TEST a, b       again
 *     AND OR XOR  d               test d, d
 *     ADD d, b    SUB d, b        undone and done again, in rax
 *
 * AF, undefined after the logic ops, is 0 after each of them on the host.  Nothing else is a maker: shifts lose bits, INC
 * and DEC keep a CF from before.
 */
#include "host/amd64/emit.h"

enum { LOOK_AHEAD = 24 };

static bool pinned(ir_ref r)
{
    return ir_is_reg(r) && host_pin[r] != NOREG;
}

static bool pinned_or_imm(const struct emitter *e, const struct ir_op *o, ir_ref r)
{
    return pinned(r) ||
           (ir_is_const(r) && fits32(sign_extend((uint64_t)ir_const_value(e->b, r), ir_bits((enum ir_type)o->type))));
}

static bool can_make(const struct emitter *e, const struct ir_op *o)
{
    switch (o->op) {
    case IR_CMP:
    case IR_TEST: return pinned(o->a) && pinned_or_imm(e, o, o->b);
    case IR_AND:
    case IR_OR:
    case IR_XOR: return pinned(o->d);
    case IR_ADD:
    case IR_SUB: return pinned(o->d) && o->d == o->a && o->b != o->d && pinned_or_imm(e, o, o->b);
    default: return false;
    }
}

static bool writes(const struct ir_op *o, ir_ref r)
{
    return ir_is_reg(r) && (o->d == r || o->e == r);
}

/* Whether until F is defined anew only accesses want it, each while the maker's registers are as it left them. */
static bool only_faults_want(const struct emitter *e, const struct ir_op *maker)
{
    const struct ir_op *now = e->op, *end = e->b->op + e->b->nops;
    bool spoilt = false;
    if (end - maker > LOOK_AHEAD)
        end = maker + LOOK_AHEAD;
    for (const struct ir_op *o = maker + 1; o < end; o++) {
        bool ends = o->setf && !(o->livef & ~ir_writes_f(o)), plain_rmw = false;
        if (o->op == IR_LABEL || o->op == IR_BRZ || o->op == IR_BRNZ)
            return false;
        if (o->op == IR_RMW)
            plain_rmw = ends && (o->sub == IR_ADD || o->sub == IR_SUB || o->sub == IR_AND || o->sub == IR_OR ||
                                 o->sub == IR_XOR);
        if (o >= now && ir_reads_f(o) && (spoilt || !(ir_access_only(o) || plain_rmw)))
            return false;
        if (ends || (o >= now && !o->livef))
            return true;
        spoilt |= writes(o, maker->d) || writes(o, maker->a) || writes(o, maker->b);
    }
    return false;
}

void f_for_faults(struct emitter *e, struct cold *c)
{
    const struct ir_op *maker = &e->b->op[e->f_maker];
    if (!e->f_mem && (e->f_owed || (e->f_host && can_make(e, maker) && only_faults_want(e, maker)))) {
        e->f_owed = true;
        c->maker = e->f_maker + 1;
    } else {
        f_spoil(e);
        f_save(e);
    }
    e->f_host = false;
}

void f_make(struct emitter *e, unsigned maker)
{
    const struct ir_op *o = &e->b->op[maker];
    struct asmbuf *a = &e->a;
    enum ir_type t = o->type;
    bool imm = ir_is_const(o->b);
    int64_t v = imm ? sign_extend((uint64_t)ir_const_value(e->b, o->b), ir_bits(t)) : 0;
    struct rm b = imm || !pinned(o->b) ? rm_reg(RAX) : rm_reg(host_pin[o->b]);
    int reg = host_pin[o->op == IR_CMP || o->op == IR_TEST ? o->a : o->d];

    if (o->op == IR_TEST && imm) {
        asm_test_imm(a, t, rm_reg(reg), (int32_t)v);
    } else if (o->op == IR_TEST) {
        asm_typed(a, t, 0, 0x85, reg, b);
    } else if (o->op == IR_CMP) {
        imm ? asm_alu_imm(a, t, 7, rm_reg(reg), v) : asm_alu(a, t, 7, reg, b);
    } else if (o->op == IR_ADD || o->op == IR_SUB) {
        unsigned undo = alu_number(o->op == IR_ADD ? IR_SUB : IR_ADD), redo = alu_number(o->op);
        asm_mov_rr(a, I64, RAX, reg);
        imm ? asm_alu_imm(a, t, undo, rm_reg(RAX), v) : asm_alu(a, t, undo, RAX, b);
        imm ? asm_alu_imm(a, t, redo, rm_reg(RAX), v) : asm_alu(a, t, redo, RAX, b);
    } else {
        asm_typed(a, t, 0, 0x85, reg, rm_reg(reg));
    }
}

void f_pay(struct emitter *e, const struct cold *c)
{
    struct rm rax = rm_cpu(offsetof(struct cpu, scratch[3]));
    if (!c->maker)
        return;
    asm_store(&e->a, I64, rax, RAX);
    f_make(e, c->maker - 1);
    e->f_host = true;
    e->f_mem = e->f_owed = false;
    f_save(e);
    asm_load(&e->a, I64, RAX, rax);
}
