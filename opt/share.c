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
 * What is known of a register or temp is its root, a number for a value that nothing is known about, and its distance
 * from that.
 *
 * Choices: nothing is shared across a call (C may drop entries; those that slow paths drop are forgotten) or a label.
 */
#include "opt/opt.h"

struct value {
    uint32_t root;
    int32_t off;
};

/* An access that others may share with, or do. */
struct lead {
    struct ir_op *op;
    uint32_t root;
    int32_t low, high; /* distances from the root: the bytes of all so far */
    int32_t base_off;  /* of the op's base */
    uint8_t share;
    bool write;
};

enum { LEADS = 8, NOT_SHARED = 0, OFF_MAX = 1 << 30 };

struct share {
    struct ir_block *b;
    struct value value[IR_TEMP_MAX]; /* by ir_ref: registers, temps */
    uint32_t known; /* a bit a register: its value is made out; that of others will be when it is asked for */
    uint32_t roots;
    struct lead lead[LEADS];
    unsigned nleads, nshares;
};

static const struct value *value_of(struct share *s, ir_ref r)
{
    if (ir_is_reg(r) && !(s->known >> r & 1)) {
        s->known |= 1u << r;
        s->value[r] = (struct value){++s->roots, 0};
    }
    return &s->value[r];
}

static void set(struct share *s, ir_ref d, uint32_t root, int64_t off)
{
    if (off < -OFF_MAX || off > OFF_MAX) /* so that an access's end is no larger than 32 bits hold, either */
        root = ++s->roots, off = 0;
    if (ir_is_reg(d))
        s->known |= 1u << d;
    s->value[d] = (struct value){root, (int32_t)off};
}

/* Whatever the registers held, C may have changed it. */
static void forget_all(struct share *s)
{
    s->known = 0;
    s->nleads = 0;
}

static void add(struct share *s, ir_ref d, ir_ref a, int64_t distance)
{
    const struct value *v = value_of(s, a);
    set(s, d, v->root, (int64_t)((uint64_t)v->off + (uint64_t)distance));
}

/* What o writes. */
static void note(struct share *s, const struct ir_op *o)
{
    if (ir_is_reg(o->e) || ir_is_temp(o->e))
        set(s, o->e, ++s->roots, 0);
    if (!ir_is_reg(o->d) && !ir_is_temp(o->d))
        return;
    bool whole = o->type == I64, by_const = whole && ir_is_const(o->b) && !ir_is_const(o->a);
    if (o->op == IR_LEA && whole && o->a != IR_NONE && o->b == IR_NONE && !ir_is_const(o->a))
        add(s, o->d, o->a, o->imm);
    else if (o->op == IR_MOV && whole && !ir_is_const(o->a))
        add(s, o->d, o->a, 0);
    else if (o->op == IR_PC)
        add(s, o->d, IR_PCB, o->imm);
    else if (by_const && o->op == IR_ADD)
        add(s, o->d, o->a, ir_const_value(s->b, o->b));
    else if (by_const && o->op == IR_SUB)
        add(s, o->d, o->a, (int64_t)(0 - (uint64_t)ir_const_value(s->b, o->b)));
    else
        set(s, o->d, ++s->roots, 0);
}

/* Bytes of an access that may share; 0: it may not. */
static unsigned shareable(const struct ir_op *o)
{
    switch (o->op) {
    case IR_LD:
    case IR_LDZ:
    case IR_LDS:
    case IR_ST: return 1u << o->type;
    case IR_RMW: { /* unless F must be loaded before it */
        bool plain = o->sub == IR_ADD || o->sub == IR_SUB || o->sub == IR_AND || o->sub == IR_OR || o->sub == IR_XOR;
        bool kept = o->setf && o->livef & ~ir_writes_f(o);
        return plain && !kept && !(o->flags & IR_LOCK) ? 1u << o->type : NOT_SHARED;
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
    int32_t low = n->low < l->low ? n->low : l->low, high = n->high > l->high ? n->high : l->high;
    int64_t from = (int64_t)low - l->base_off;
    if ((int64_t)high - low > IR_SHARE_BYTES || from != (int16_t)from)
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
    const struct value *v = value_of(s, o->a);
    struct lead n = {.op = o, .root = v->root, .base_off = v->off, .low = v->off + o->disp};
    n.high = n.low + (int32_t)size;
    n.write = ir_effects(o) & IRE_WRITES || o->flags & IR_NEAR;
    struct lead *old = NULL;
    for (struct lead *l = s->lead; l < s->lead + s->nleads; l++)
        if (l->root == n.root) {
            if (join(s, l, &n))
                return;
            old = l;
        }
    if (!old)
        old = &s->lead[s->nleads < LEADS ? s->nleads++ : n.root % LEADS];
    *old = n;
}

/* Whether there may be an access from o on. */
static bool accesses(const struct ir_op *o, const struct ir_op *end)
{
    while (o < end && !ir_facts[o->op].accesses)
        o++;
    return o < end;
}

void opt_share(struct ir_block *b)
{
    struct share s;
    struct ir_op *end = b->op + b->nops;
    if (!accesses(b->op, end))
        return;
    s.b = b;
    s.roots = s.nshares = 0;
    forget_all(&s);
    for (struct ir_op *o = b->op; o < end; o++) {
        if (o->op == IR_INSN)
            continue;
        unsigned does = ir_effects(o), size;
        if (does & IRE_CALLS || o->op == IR_LABEL) {
            if (!accesses(o + 1, end))
                return;
            forget_all(&s);
        } else if (does & (IRE_READS | IRE_WRITES) && !ir_is_const(o->a) && (size = shareable(o)) != NOT_SHARED)
            access(&s, o, size);
        note(&s, o);
    }
}
