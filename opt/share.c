/* opt/share.c: accesses off one base are looked up together.
 *
 *   needs   a verified block
 *   does    forward: finds accesses at constant distances from one another (pushes and pops, fields of a frame or an
 *           object), within IR_SHARE_BYTES; gives them one number (share), the first of them IR_FIRST and the block the bytes
 *           that hold them all (ir_block.share)
 *   keeps   the order of all ops; setf, livef
 *   breaks  nothing
 *
 * The host looks the page up once, at the first, and remembers the entry (cpu.shared) for the others, which are then an
 * access each.  Where that cannot be, because the bytes lie on two pages or one of them may not be touched as the block
 * wants, each access looks for itself; so sharing is a hint, and what faults does so where it would have.
 *
 * What is known of a register or temp is one number, its value as far as anyone can tell: values that nothing is known about
 * are SPACE apart, a constant added to one is added to its number.  Where that leads out of the space around it, it is a
 * value that nothing is known about.
 *
 * Choices: nothing is shared across a call (C may drop entries; those that slow paths drop are forgotten) or a label.
 *
 * A block that accesses memory once has nothing to share, and the walk ends at a block's last access: b->accesses, a count made
 * while the ops were appended, tells.
 */
#include "opt/opt.h"

enum { LEADS = 8, NOT_SHARED = 0, SPACE_BITS = 32 };

#define SPACE (1ull << SPACE_BITS)

/* An access that others may share with, or do. */
struct lead {
    struct ir_op *op;
    uint64_t base, low, high; /* values: of the op's base; of the bytes of all so far */
    uint8_t share;
    bool write;
};

struct share {
    struct ir_block *b;
    uint64_t value[IR_TEMP_MAX]; /* by ir_ref: registers, temps */
    uint64_t fresh;              /* the last value that nothing is known about */
    struct lead lead[LEADS];
    unsigned nleads, nshares;
};

static uint64_t fresh(struct share *s)
{
    return s->fresh += SPACE;
}

static bool same_space(uint64_t v, uint64_t w)
{
    return (v ^ w) >> SPACE_BITS == 0;
}

/* Whatever the registers held, C may have changed it. */
static void forget_all(struct share *s)
{
    for (ir_ref r = IR_REG0; ir_is_reg(r); r++)
        s->value[r] = fresh(s);
    s->nleads = 0;
}

static void add(struct share *s, ir_ref d, ir_ref a, int64_t distance)
{
    uint64_t v = s->value[a] + (uint64_t)distance;
    s->value[d] = same_space(v, s->value[a]) ? v : fresh(s);
}

/* What o writes. */
static void note(struct share *s, const struct ir_op *o)
{
    if (o->e < IR_TEMP_MAX)
        s->value[o->e] = fresh(s);
    if (o->d >= IR_TEMP_MAX)
        return;
    bool whole = o->type == I64 && o->a < IR_TEMP_MAX;
    if (o->op == IR_LEA && whole && o->b == IR_NONE)
        add(s, o->d, o->a, o->imm);
    else if (o->op == IR_MOV && whole)
        add(s, o->d, o->a, 0);
    else if (o->op == IR_PC)
        add(s, o->d, IR_PCB, o->imm);
    else if (o->op == IR_ADD && whole && ir_is_const(o->b))
        add(s, o->d, o->a, ir_const_value(s->b, o->b));
    else if (o->op == IR_SUB && whole && ir_is_const(o->b))
        add(s, o->d, o->a, (int64_t)(0 - (uint64_t)ir_const_value(s->b, o->b)));
    else
        s->value[o->d] = fresh(s);
}

/* Bytes of an access that may share; 0: it may not. */
static unsigned shareable(const struct ir_op *o)
{
    switch (o->op) {
    case IR_LD:
    case IR_LDZ:
    case IR_LDS:
    case IR_ST: return 1u << o->type;
    case IR_RMW: { /* those before which F need not be loaded */
        bool plain = o->sub == IR_ADD || o->sub == IR_SUB || o->sub == IR_AND || o->sub == IR_OR || o->sub == IR_XOR;
        return plain && !(o->flags & IR_LOCK) ? 1u << o->type : NOT_SHARED;
    }
    case IR_VEC: {
        unsigned form = ir_vec_rows[o->row].form;
        bool memory = form == VF_W_M || form == VF_Y_M || form == VF_M_U || form == VF_F_M || form == VF_Y_M0;
        return memory ? ir_vec_rows[o->row].msize : NOT_SHARED;
    }
    case IR_AVX: return o->avx.select ? NOT_SHARED : o->avx.msize;
    default: return NOT_SHARED;
    }
}

/* Let n in with the accesses of l; false: too far away. */
static bool join(struct share *s, struct lead *l, const struct lead *n)
{
    uint64_t low = n->low < l->low ? n->low : l->low, high = n->high > l->high ? n->high : l->high;
    int64_t from = (int64_t)(low - l->base);
    if (high - low > IR_SHARE_BYTES || from != (int16_t)from)
        return false;
    if (!l->share) {
        if (s->nshares == IR_SHARES)
            return false;
        l->op->share = l->share = (uint8_t)++s->nshares;
        l->op->flags |= IR_FIRST;
    }
    n->op->share = l->share;
    l->low = low;
    l->high = high;
    l->write |= n->write;
    s->b->share[l->share - 1] =
        (struct ir_share){.from = (int16_t)from, .size = (uint8_t)(high - low), .write = l->write};
    return true;
}

static void access(struct share *s, struct ir_op *o, unsigned size)
{
    struct lead n = {.op = o, .base = s->value[o->a]}, *l = s->lead, *end = l + (s->nleads < LEADS ? s->nleads : LEADS);
    n.low = n.base + (uint64_t)o->disp;
    n.high = n.low + size;
    n.write = ir_effects(o) & IRE_WRITES || o->flags & IR_NEAR;
    while (l < end && !same_space(l->base, n.base))
        l++;
    if (l == end) /* the oldest goes */
        s->lead[s->nleads++ % LEADS] = n;
    else if (!join(s, l, &n))
        *l = n;
}

void opt_share(struct ir_block *b)
{
    struct share s;
    unsigned left = b->accesses, size; /* accesses from here on, at most */
    if (left < 2)
        return;
    s.b = b;
    s.fresh = SPACE / 2;
    s.nshares = 0;
    forget_all(&s);
    for (struct ir_op *o = b->op, *end = o + b->nops; o < end; o++) {
        if (ir_facts[o->op].accesses) {
            if (!ir_is_const(o->a) && (size = shareable(o)) != NOT_SHARED)
                access(&s, o, size);
            if (!--left)
                return;
        } else if (o->op == IR_CALL || o->op == IR_LABEL) {
            if (left < 2)
                return;
            forget_all(&s);
        }
        note(&s, o);
    }
}
