/* guest/x86/lift_generic.c: insns whose unit the host lacks: their ops become calls of helpers that do the same in C.
 *
 * VEC and AVX ops go to GENERIC (ir/generic.c), bit counts and deposits, which every host's interpreter knows, to EVAL
 * (ir/eval.c).  An op becomes one call in its place, so passes, verifier, emitter and interpreter know nothing of it.
 */
#include "guest/x86/lift_int.h"

/* A general operand, of which a VEC or AVX op has one at most beside its destination: it, or the address, is the call's
 * first argument. */
static ir_ref *general_source(struct ir_op *o)
{
    const char *s = ir_operands(o);
    for (unsigned n = IR_A; n <= IR_B; n++)
        if (s[n] == 'A' || s[n] == 'T' || (s[n] == 'S' && ir_is_reg(ir_get(o, n))))
            return ir_field(o, n);
    return NULL;
}

static bool is_general(ir_ref r)
{
    return ir_is_reg(r) || ir_is_temp(r);
}

static void call_generic(struct x86_lift *l, struct ir_op *o)
{
    struct ir_op call = {.op = IR_CALL, .type = I64, .imm = HELPER_GENERIC, .d = IR_NONE, .e = IR_NONE, .a = IR_NONE};
    struct ir_op plain = *o;
    ir_ref *source = general_source(&plain);
    union x86_generic g = {.packed = 0};
    if (source) {
        call.a = *source;
        *source = IR_REG0;
    }
    if (is_general(o->d)) {
        call.d = o->d;
        plain.d = IR_REG0;
    }
    g.d = (uint8_t)plain.d;
    g.a = (uint8_t)plain.a;
    g.b = (uint8_t)plain.b;
    g.c = (uint8_t)plain.c;
    g.avx = o->op == IR_AVX;
    g.row = o->row & 0x7fffu;
    g.tag = o->tag;
    g.setf = o->setf != 0;
    call.b = ops_const(l, o->imm);
    call.c = ops_const(l, (int64_t)g.packed);
    *o = call;
}

static void call_eval(struct x86_lift *l, struct ir_op *o)
{
    struct ir_op call = {.op = IR_CALL, .type = I64, .imm = HELPER_EVAL, .d = o->d, .e = IR_NONE, .a = o->a, .b = o->b};
    if (o->type == I16) /* the rest of the register stays */
        call.b = o->d;
    call.c = ops_const(l, o->op | o->type << 8 | (int64_t)(o->setf != 0) << 16);
    *o = call;
}

static bool is_bit_op(const struct ir_op *o)
{
    return o->op == IR_TZCNT || o->op == IR_LZCNT || o->op == IR_PDEP || o->op == IR_PEXT;
}

bool lift_lacks_unit(const struct x86_lift *l, const struct x86_insn *i)
{
    const uint32_t *set = l->generic;
    if (!set)
        return false;
    unsigned feature = i->row->feature;
    /* the host keeps no AVX-512 state: none of what shares its registers may run on the host's */
    bool avx512 = l->mode & MODE_AVX512 && set[FEAT_AVX512F / 32] >> FEAT_AVX512F % 32 & 1 && i->space != X86_LEGACY;
    return set[0] & 1 || avx512 || (set[feature / 32] >> feature % 32 & 1);
}

void lift_generic(struct x86_lift *l, unsigned from)
{
    for (; from < l->b->nops; from++) {
        struct ir_op *o = &l->b->op[from];
        if ((o->op == IR_VEC || o->op == IR_AVX) && ir_generic_has(o))
            call_generic(l, o);
        else if (is_bit_op(o))
            call_eval(l, o);
    }
}
