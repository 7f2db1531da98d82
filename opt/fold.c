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
 * a place ends what is known of it, and what is known of others through it: seldom anything, which a bit tells.
 *
 * Most ops name nothing that anything is known about, and are passed by after one look at their sources (worth_a_look), or
 * none, as long as nothing is known at all (`any`).
 *
 * Choices: a register is never replaced by another place (its home is as good, and a copy in memory would be worse);
 * a constant that does not fit a sign-extended 32-bit immediate stays where it is, except as the source of a MOV.
 */
#include "opt/opt.h"

#include <string.h>

struct known {
    ir_ref src;
    uint16_t bits;
};

/* Places: registers and temps, by ir_ref. */
enum { WORD = 64, WORDS = IR_TEMP_MAX / WORD };

struct fold {
    struct ir_block *b;
    unsigned words;           /* of those below, that places of this block are in */
    bool any;                 /* something is known; until then the rest is not even cleared */
    uint64_t is_known[WORDS]; /* a bit a place: its entry in `known` holds */
    uint64_t is_src[WORDS];   /* a bit a place: some entry may name it as src */
    struct known known[IR_TEMP_MAX];
};

static bool has_bit(const uint64_t *set, ir_ref r)
{
    return r < IR_TEMP_MAX && set[r / WORD] >> r % WORD & 1;
}

static void forget_all(struct fold *f)
{
    f->any = false;
}

static void init(struct fold *f, struct ir_block *b)
{
    f->b = b;
    f->words = (IR_TEMP0 + b->ntemps + WORD - 1) / WORD;
    f->any = false;
}

static void begin_to_know(struct fold *f)
{
    memset(f->is_known, 0, f->words * sizeof f->is_known[0]);
    memset(f->is_src, 0, f->words * sizeof f->is_src[0]);
    f->any = true;
}

/* What is known through places from to last - 1 holds no longer. */
static void forget_through(struct fold *f, ir_ref first, ir_ref last)
{
    for (unsigned w = 0; w < f->words; w++)
        for (uint64_t left = f->is_known[w]; left; left &= left - 1) {
            ir_ref src = f->known[w * WORD + (unsigned)__builtin_ctzll(left)].src;
            if (src >= first && src < last)
                f->is_known[w] &= ~(left & -left);
        }
}

/* After a helper, which may have changed any. */
static void forget_registers(struct fold *f)
{
    f->is_known[0] &= ~mask_bits(IR_NREG);
    if (f->is_src[0] & mask_bits(IR_NREG))
        forget_through(f, 0, IR_NREG);
    f->is_src[0] &= ~mask_bits(IR_NREG);
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

/* What the low `bits` bits of r equal: a constant, another place, or r itself. */
static ir_ref resolve(const struct fold *f, ir_ref r, unsigned bits)
{
    if (!f->any || !has_bit(f->is_known, r) || f->known[r].bits < bits)
        return r;
    return ir_is_temp(r) || ir_is_const(f->known[r].src) ? f->known[r].src : r;
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
               ? !o->disp && ir_const_value(f->b, constant) == (int32_t)ir_const_value(f->b, constant)
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
    if (!f->any || r >= IR_TEMP_MAX)
        return;
    uint64_t bit = 1ull << r % WORD;
    f->is_known[r / WORD] &= ~bit;
    if (f->is_src[r / WORD] & bit) {
        f->is_src[r / WORD] &= ~bit;
        forget_through(f, r, r + 1);
    }
}

static void remember(struct fold *f, ir_ref d, ir_ref src, unsigned bits)
{
    if (src == d || (ir_is_reg(d) && !ir_is_const(src))) /* of no use */
        return;
    if (!f->any)
        begin_to_know(f);
    f->known[d] = (struct known){src, (uint16_t)bits};
    f->is_known[d / WORD] |= 1ull << d % WORD;
    if (src < IR_TEMP_MAX)
        f->is_src[src / WORD] |= 1ull << src % WORD;
}

static bool room_for_const(const struct ir_block *b)
{
    return b->nconsts < b->const_cap;
}

static bool names_known(const struct fold *f, const struct ir_op *o)
{
    return f->any && (has_bit(f->is_known, o->a) || has_bit(f->is_known, o->b) || has_bit(f->is_known, o->c));
}

/* May anything come of o, whatever is known, beyond that its destinations change?  (What has constants only has one in a, or
 * is a LEA.) */
static bool worth_a_look(const struct ir_op *o)
{
    if (ir_is_const(o->a))
        return true;
    switch (o->op) {
    case IR_MOV: return true;
    case IR_LEA: return ir_is_const(o->b) || (o->b == IR_NONE && o->imm == 0);
    case IR_XOR:
    case IR_SUB: return o->a == o->b;
    default: return false;
    }
}

/* MOV, the op looked at most often; false: it goes. */
static bool fold_mov(struct fold *f, struct ir_op *o)
{
    unsigned bits = ir_bits(o->type);
    o->a = resolve(f, o->a, bits);
    if (o->type == I64 && o->a == o->d)
        return false;
    forget(f, o->d);
    ir_ref result = resolve(f, o->a, bits);
    if (ir_is_const(result) && o->type == I32 && room_for_const(f->b)) {
        result = ir_const(f->b, (uint32_t)ir_const_value(f->b, result));
        bits = 64;
    }
    remember(f, o->d, result, bits);
    return true;
}

/* One op; false: it goes. */
static bool fold_op(struct fold *f, struct ir_op *o)
{
    if (o->op == IR_MOV)
        return fold_mov(f, o);
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
    if (o->op == IR_MOV && !constant)
        return fold_mov(f, o);
    if (o->op == IR_MOV && o->type == I64 && o->a == o->d)
        return false;
    forget(f, o->d);
    forget(f, o->e);
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

/* What ends with o of what is known. */
static void pass_by(struct fold *f, const struct ir_op *o)
{
    forget(f, o->d);
    forget(f, o->e);
    if (o->op == IR_CALL)
        forget_registers(f);
    else if (o->op == IR_LABEL)
        forget_all(f);
}

void opt_fold(struct ir_block *b)
{
    struct fold f;
    struct ir_op *to = b->op, *end = b->op + b->nops;
    init(&f, b);
    for (struct ir_op *o = b->op; o < end; o++) {
        if (o->op != IR_INSN) {
            bool look = worth_a_look(o) || names_known(&f, o);
            if (look && !fold_op(&f, o))
                continue;
            if (f.any && !(look && o->op != IR_CALL))
                pass_by(&f, o);
        }
        if (to != o)
            *to = *o;
        to++;
    }
    b->nops = (unsigned)(to - b->op);
}
