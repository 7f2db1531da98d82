/* opt/fold.c: constants and copies forward.
 *
 *   needs   a verified block
 *   does    replaces temps by what they are copies of, and temps and registers by constants they hold; computes ops
 *   whose operands
 *           are all constants (the op itself becomes a MOV only if its setf is 0); folds constants into LEA; turns
 *           shifts by a count of zero into MOV; drops MOV.i64 of a place to itself
 *   keeps   guest registers at every op; F (setf of every op that stays)
 *   breaks  livef
 *
 * What is known about a place is "its low `bits` bits equal those of src", src a constant, register or temp.  Writing
 * a place bumps its version, which ends everything known through it: nothing is ever searched for.
 *
 * Most ops name nothing that anything is known about, and are passed by after one look at their sources (worth_a_look).
 *
 * Choices: a register is never replaced by another place (its home is as good, and a copy in memory would be worse);
 * a constant that does not fit a sign-extended 32-bit immediate stays where it is, except as the source of a MOV.
 */
#include "opt/opt.h"

#include <string.h>

struct known {
    ir_ref src;
    uint16_t src_version; /* src must still have this one */
    uint16_t version;
    uint16_t bits; /* 0: nothing known */
};

struct fold {
    struct ir_block *b;
    unsigned made;                   /* entries below are valid: a temp's is made when it is first written */
    struct known known[IR_TEMP_MAX]; /* by ir_ref; those of vector registers are never filled */
};

/* After a helper, which may have changed any. */
static void forget_registers(struct fold *f)
{
    for (unsigned r = 0; r < IR_NREG; r++) {
        f->known[r].bits = 0;
        f->known[r].version++;
    }
}

/* At a label, and at the begin: no temp lives that could be a copy of a register, so versions need not go on. */
static void begin_registers(struct fold *f)
{
    memset(f->known, 0, IR_TEMP0 * sizeof f->known[0]);
}

static void init(struct fold *f, struct ir_block *b)
{
    f->b = b;
    f->made = IR_TEMP0;
    begin_registers(f);
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

/* What the low `bits` bits of r equal: a constant, another place, or r itself. */
static ir_ref resolve(const struct fold *f, ir_ref r, unsigned bits)
{
    if (ir_is_const(r) || r == IR_NONE)
        return r;
    const struct known *k = &f->known[r];
    if (k->bits < bits)
        return r;
    if (ir_is_const(k->src))
        return k->src;
    return ir_is_temp(r) && f->known[k->src].version == k->src_version ? k->src : r;
}

static bool fits(const struct fold *f, const struct ir_op *o, ir_ref constant)
{
    int64_t v = ir_const_value(f->b, constant);
    return o->op == IR_MOV || o->op == IR_LEA || o->type < I64 || v == (int32_t)v;
}

/* May field n of o take this constant? */
static bool takes(const struct fold *f, const struct ir_op *o, unsigned n, ir_ref constant)
{
    if (o->op == IR_RMW && ir_is_shift(o->sub) && n == (o->sub >= IR_SHLD ? IR_C : IR_B))
        return (ir_const_value(f->b, constant) & ir_count_mask(o->type)) != 0;
    return n == IR_A && ir_effects(o) & (IRE_READS | IRE_WRITES)
               ? ir_const_value(f->b, constant) == (int32_t)ir_const_value(f->b, constant)
               : fits(f, o, constant);
}

/* Replace the sources; all[] gets what each equals, constants that the op cannot take included. */
static void resolve_sources(const struct fold *f, struct ir_op *o, const char *s, ir_ref all[IR_FIELDS])
{
    for (unsigned n = IR_A; n < IR_FIELDS; n++) {
        ir_ref *field = ir_field(o, n);
        all[n] = *field;
        if (s[n] != 'V' && s[n] != 'A' && s[n] != 'T')
            continue;
        ir_ref r = all[n] = resolve(f, *field, ir_read_bits(o, n));
        if (!ir_is_const(r) || (s[n] != 'T' && takes(f, o, n, r)))
            *field = r;
    }
}

/* ---- computing --------------------------------------------------------------------------------------------- */

static bool foldable(unsigned op)
{
    switch (op) {
    case IR_ADC:
    case IR_SBB:
    case IR_RCL:
    case IR_RCR: return false;
    case IR_BSWAP:
    case IR_BTS:
    case IR_BTR:
    case IR_BTC:
    case IR_TZCNT:
    case IR_LZCNT:
    case IR_PDEP:
    case IR_PEXT:
    case IR_POPCNT: return true;
    default: return op >= IR_ZX8 && op <= IR_MUL && op != IR_PC && op != IR_CMP && op != IR_TEST;
    }
}

static uint64_t value(const struct fold *f, ir_ref r)
{
    return r == IR_NONE ? 0 : (uint64_t)ir_const_value(f->b, r);
}

/* *v = o's result, if that is known now. */
static bool compute(const struct fold *f, const struct ir_op *o, const ir_ref all[IR_FIELDS], uint64_t *v)
{
    if (!foldable(o->op))
        return false;
    if ((o->op == IR_XOR || o->op == IR_SUB) && all[IR_A] == all[IR_B]) {
        *v = 0;
        return true;
    }
    for (unsigned n = IR_A; n < IR_FIELDS; n++)
        if (all[n] < IR_CONST0) /* neither constant nor absent */
            return false;
    *v = ir_eval(o, 0, value(f, all[IR_A]), value(f, all[IR_B]), value(f, all[IR_C]), 0).d;
    return true;
}

static void become_mov(struct ir_op *o, ir_ref a)
{
    o->op = IR_MOV;
    o->a = a;
    o->b = o->c = IR_NONE;
    o->imm = 0;
    o->sub = 0;
    o->setf = 0;
}

/* Constants of a LEA belong in its displacement.  What does not fit goes back to where it was. */
static void fold_lea(const struct fold *f, struct ir_op *o, ir_ref a, ir_ref b)
{
    if (ir_is_const(o->b)) {
        uint64_t sum = (uint64_t)o->imm + (value(f, o->b) << o->sub);
        int64_t imm = o->type == I32 ? (int32_t)sum : (int64_t)sum;
        bool ok = imm == (int32_t)imm;
        o->b = ok ? IR_NONE : b;
        o->imm = ok ? imm : o->imm;
        o->sub = ok ? 0 : o->sub;
    }
    if (ir_is_const(o->a)) {
        uint64_t sum = (uint64_t)o->imm + value(f, o->a);
        int64_t imm = o->type == I32 ? (int32_t)sum : (int64_t)sum;
        bool ok = imm == (int32_t)imm;
        o->a = ok ? IR_NONE : a;
        o->imm = ok ? imm : o->imm;
    }
    if (o->b == IR_NONE && o->a != IR_NONE && o->imm == 0)
        become_mov(o, o->a);
}

static bool is_null_shift(const struct fold *f, const struct ir_op *o)
{
    if (!ir_is_shift(o->op))
        return false;
    ir_ref count = o->op >= IR_SHLD ? o->c : o->b;
    return ir_is_const(count) && (value(f, count) & ir_count_mask(o->type)) == 0;
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

static void forget(struct fold *f, ir_ref r)
{
    if (r == IR_NONE || ir_is_vec(r))
        return;
    while (f->made <= r)
        f->known[f->made++] = (struct known){.bits = 0};
    f->known[r].bits = 0;
    f->known[r].version++;
}

static void remember(struct fold *f, ir_ref d, ir_ref src, unsigned bits)
{
    struct known *k = &f->known[d];
    if (src == d)
        return;
    k->src = src;
    k->bits = (uint16_t)bits;
    k->src_version = ir_is_const(src) ? 0 : f->known[src].version;
}

static bool room_for_const(const struct ir_block *b)
{
    return b->nconsts < b->const_cap;
}

static bool is_known(const struct fold *f, ir_ref r)
{
    return r < IR_TEMP_MAX && f->known[r].bits;
}

/* May anything come of o beyond that its destinations change?  (What has constants only has one in a, or is a LEA.) */
static bool worth_a_look(const struct fold *f, const struct ir_op *o)
{
    switch (o->op) {
    case IR_MOV:
    case IR_LEA:
    case IR_XOR:
    case IR_SUB: return true;
    default: return ir_is_const(o->a) || is_known(f, o->a) || is_known(f, o->b) || is_known(f, o->c);
    }
}

/* One op; false: it goes. */
static bool fold_op(struct fold *f, struct ir_op *o)
{
    if (!worth_a_look(f, o)) {
        forget(f, o->d);
        forget(f, o->e);
        return true;
    }
    const char *s = ir_operands(o);
    ir_ref all[IR_FIELDS];
    ir_ref a = o->a, b = o->b;
    uint64_t v;
    resolve_sources(f, o, s, all);
    bool constant = room_for_const(f->b) && compute(f, o, all, &v);
    ir_ref result = constant ? ir_const(f->b, (int64_t)v) : IR_NONE;
    if (is_null_shift(f, o))
        become_mov(o, o->a);
    else if (constant && o->setf == 0)
        become_mov(o, result);
    else if (o->op == IR_LEA)
        fold_lea(f, o, a, b);
    if (o->op == IR_MOV && o->type == I64 && o->a == o->d)
        return false;
    forget(f, o->d);
    forget(f, o->e);
    if (o->op == IR_MOV && !constant)
        result = resolve(f, o->a, ir_bits(o->type));
    if (result == IR_NONE)
        return true;
    unsigned bits = ir_bits(o->type);
    if (ir_is_const(result) && o->type == I32 && room_for_const(f->b)) {
        result = ir_const(f->b, (uint32_t)ir_const_value(f->b, result));
        bits = 64;
    }
    remember(f, o->d, result, bits);
    return true;
}

void opt_fold(struct ir_block *b)
{
    struct fold f;
    unsigned to = 0;
    init(&f, b);
    for (unsigned i = 0; i < b->nops; i++) {
        struct ir_op *o = &b->op[i];
        if (o->op != IR_INSN && !fold_op(&f, o))
            continue;
        if (o->op == IR_CALL)
            forget_registers(&f);
        else if (o->op == IR_LABEL)
            begin_registers(&f);
        if (to != i)
            b->op[to] = *o;
        to++;
    }
    b->nops = to;
}
