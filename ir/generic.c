/* ir/generic.c: the generic path: run a VEC or AVX op in plain C on struct cpu, as the host's own instruction would.
 *
 * An op becomes a struct generic: sources, destination before, selected elements, rounding.  Its row (generic.def) says
 * which function makes the result and how it is put to the operands.  Afterwards elements that are not selected are put
 * back, and the result goes to its register, mask, general register or memory.
 *
 * Rules to know before editing
 *   - The guest's state changes only after the exceptions are known: an unmasked one leaves all but MXCSR's flags.
 *   - Of memory under a mask only selected elements may be written; what is read of the others means nothing.
 *   - Legacy forms keep what lies above bit 127; VEX and EVEX clear what lies above the result (SDM vol. 2A, 2.3.10.1).
 */
#include "ir/generic.h"

#include <string.h>

enum { SPACE_L = 1, SPACE_V = 2, SPACE_E = 4 };
enum { SPACE_LV = SPACE_L | SPACE_V, SPACE_VE = SPACE_V | SPACE_E, SPACE_LVE = SPACE_LV | SPACE_E };
enum { P_NP, P_66, P_F3, P_F2 };
enum { W0, W1, ANY = 0xff };
enum { BW = 0x80, DQ = 0x81 };

struct row {
    uint16_t key;
    uint8_t spaces, w, ext, shape, size, from;
    lane_fn *lane;
    part_fn *part;
};

static inline unsigned key_of(unsigned map, unsigned prefix, unsigned opcode)
{
    return map << 10 | opcode << 2 | prefix;
}

static const struct row rows[] = {
#define GENERIC_LANE(spaces, map, prefix, opcode, w, ext, shape, fn, size, from)                                       \
    {map << 10 | opcode << 2 | prefix, SPACE_##spaces, w, ext, SHAPE_##shape, size, from, fn, NULL},
#define GENERIC_PART(spaces, map, prefix, opcode, w, ext, shape, fn, size, from)                                       \
    {map << 10 | opcode << 2 | prefix, SPACE_##spaces, w, ext, SHAPE_##shape, size, from, NULL, fn},
#include "ir/generic.def"
};

/* What an op asks for, whether of vec.def or of avx.def. */
struct request {
    unsigned map, prefix, opcode, space, w, ext;
};

static const struct row *find(const struct request *q)
{
    unsigned key = key_of(q->map, q->prefix, q->opcode), low = 0, high = ARRAY_LEN(rows);
    while (low < high) {
        unsigned mid = (low + high) / 2;
        if (rows[mid].key < key)
            low = mid + 1;
        else
            high = mid;
    }
    for (const struct row *r = rows + low; r < rows + ARRAY_LEN(rows) && r->key == key; r++)
        if (r->spaces & q->space && (r->w == ANY || r->w == q->w) && (r->ext == ANY || r->ext == q->ext))
            return r;
    return NULL;
}

static struct request request_of(const struct ir_op *o)
{
    if (o->op == IR_AVX) {
        const struct ir_avx *x = &o->avx;
        static const uint8_t prefix[4] = {P_NP, P_66, P_F3, P_F2};
        return (struct request){x->map, prefix[x->pp], x->opcode, x->evex ? SPACE_E : SPACE_V, x->w, x->ext};
    }
    const struct ir_vec_row *v = &ir_vec_rows[o->row];
    unsigned prefix = v->prefix == 0 ? P_NP : v->prefix == 0x66 ? P_66 : v->prefix == 0xf3 ? P_F3 : P_F2;
    return (struct request){v->map, prefix, v->opcode, SPACE_L, v->w, v->form == VF_Y ? v->ext : 0};
}

bool ir_generic_has(const struct ir_op *o)
{
    struct request q = request_of(o);
    return find(&q) != NULL;
}

static unsigned bytes_by(unsigned size, unsigned w)
{
    return size == BW ? 1u << w : size == DQ ? 4u << w : size;
}

/* ---- operands ------------------------------------------------------------------------------------------------- */

static void fetch(const struct cpu *c, ir_ref r, uint8_t to[GENERIC_BYTES])
{
    if (ir_is_vec(r))
        memcpy(to, c->vec[r - IR_VEC0], GENERIC_BYTES);
    else if (ir_is_mask(r))
        memcpy(to, &c->mask[r - IR_MASK0], 8);
    else if (r != IR_NONE)
        memcpy(to, &c->reg[r], 8);
}

static void set_env(struct generic *g, bool rounds, unsigned rc)
{
    uint32_t mxcsr = g->c->mxcsr;
    g->env.control = (enum soft_round)(mxcsr >> 13 & 3);
    g->env.round = rounds ? (enum soft_round)rc : g->env.control;
    g->env.daz = mxcsr >> 6 & 1;
    g->env.unmasked = rounds ? 0 : ~(mxcsr >> 7) & 0x3f;
    g->env.ftz = mxcsr >> 15 & 1 && !(g->env.unmasked & SOFT_UNDERFLOW);
}

/* Embedded rounding, or the suppression of exceptions: EVEX.b of a register form (SDM vol. 2A, 2.7.8). */
static bool silent(const struct ir_op *o)
{
    return o->op == IR_AVX && o->avx.evex && o->avx.b && !o->avx.msize && o->avx.raises;
}

static void prepare_avx(struct generic *g, const struct ir_op *o, const void *mem)
{
    const struct ir_avx *x = &o->avx;
    const struct ir_avx_form_row *f = &ir_avx_forms[x->form];
    bool store = ir_avx_stores(x), second_is_c = x->form == IR_AVX_MEM_VVVV_REG;
    g->length = x->evex && x->b && !x->msize ? GENERIC_BYTES : 16u << x->l;
    g->imm = x->imm;
    g->zero = x->z;
    g->high = x->l;
    g->memory = x->msize && !store;
    g->mask = x->evex && o->c != IR_NONE ? g->c->mask[o->c - IR_MASK0] : ~0ull;
    if (!x->evex && o->c != IR_NONE && !second_is_c)
        fetch(g->c, o->c, g->last);
    fetch(g->c, o->d, g->old);
    if (g->memory) {
        fetch(g->c, o->b, g->a);
        for (unsigned at = 0; at < (x->b ? g->length : 1u); at += x->msize)
            memcpy(g->b + at, mem, x->msize);
    } else if (second_is_c) {
        fetch(g->c, o->b, g->a);
        fetch(g->c, o->c, g->b);
    } else if (store || f->b == IR_AT_NONE) {
        fetch(g->c, store ? o->b : o->a, g->b);
    } else {
        fetch(g->c, o->a, g->a);
        fetch(g->c, o->b, g->b);
    }
    set_env(g, silent(o), x->l);
}

static void prepare_legacy(struct generic *g, const struct ir_op *o, const void *mem)
{
    const struct ir_vec_row *v = &ir_vec_rows[o->row];
    g->length = 16;
    g->imm = (uint16_t)o->imm;
    g->mask = ~0ull;
    g->memory = mem && v->form != VF_M_U;
    switch ((enum ir_vec_form)v->form) {
    case VF_M_U: fetch(g->c, o->b, g->b); break;
    case VF_F_U:
    case VF_F_M: fetch(g->c, o->b, g->a); break;
    case VF_Y: fetch(g->c, o->d, g->b); break;
    case VF_W_U:
    case VF_W_M:
    case VF_W_R:
    case VF_R_U:
    case VF_R_M: break;
    default: fetch(g->c, o->d, g->a); break;
    }
    if (ir_is_vec(o->d))
        fetch(g->c, o->d, g->old);
    if (g->memory)
        memcpy(g->b, mem, v->msize);
    else if (v->form != VF_M_U && v->form != VF_Y)
        fetch(g->c, o->a, g->b);
    memcpy(g->last, g->c->vec[0], 16);
    set_env(g, false, 0);
}

/* ---- the function ----------------------------------------------------------------------------------------------- */

/* Every element; a comparison into a mask gives a bit each. */
static void run_lanes(struct generic *g, const struct row *r, bool to_mask)
{
    unsigned widest = g->size > g->from ? g->size : g->from;
    unsigned n = r->shape == SHAPE_SCALAR || r->shape == SHAPE_MERGE || r->shape == SHAPE_ONE ? 1 : g->length / widest;
    uint64_t bits = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!(g->mask >> i & 1))
            continue;
        struct lane l = {.bits = g->size * 8, .from = g->from * 8, .index = i, .imm = (uint8_t)g->imm, .g = g};
        l.d = element(g->old, i, g->size);
        l.a = element(r->shape == SHAPE_IMM ? g->b : g->a, i, g->size);
        l.b = r->shape == SHAPE_IMM     ? (uint8_t)g->imm
              : r->shape == SHAPE_COUNT ? bytes_get(g->b, 8)
                                        : element(g->b, i, g->from);
        uint64_t v = r->lane(&l);
        put_element(g->d, i, g->size, v);
        bits |= (v & 1) << i;
    }
    g->out = n * g->size;
    if (to_mask) {
        memset(g->d, 0, sizeof g->d);
        bytes_put(g->d, bits, 8);
        g->out = 8;
    } else if (r->shape == SHAPE_SCALAR || r->shape == SHAPE_MERGE) {
        g->out = 16;
        memcpy(g->d + g->size, (r->shape == SHAPE_MERGE ? g->old : g->a) + g->size, 16 - g->size);
        g->mask |= ~1ull;
    } else if (r->shape == SHAPE_ONE) {
        g->out = g->size;
    }
}

static void run_row(struct generic *g, const struct row *r, bool to_mask)
{
    g->out = g->length;
    if (r->lane)
        run_lanes(g, r, to_mask && r->shape != SHAPE_ONE);
    else if (r->shape == SHAPE_WHOLE)
        r->part(g, 0);
    else
        for (unsigned at = 0; at < g->length; at += 16)
            r->part(g, at);
}

/* Put back what is not selected. */
static void merge(struct generic *g)
{
    if (!~g->mask)
        return;
    for (unsigned i = 0; i < g->out / g->size; i++)
        if (!(g->mask >> i & 1))
            put_element(g->d, i, g->size, g->zero ? 0 : element(g->old, i, g->size));
}

static void store(const struct generic *g, uint8_t *mem, unsigned bytes)
{
    if (g->out < bytes)
        bytes = g->out;
    for (unsigned i = 0; i * g->size < bytes; i++)
        if (g->mask >> i & 1)
            memcpy(mem + i * g->size, g->d + i * g->size, g->size);
}

/* MXCSR gets the exceptions raised; false: one of them is unmasked.  Those found before the result come alone (SDM vol.
 * 1, 11.5.2). */
static bool settle(struct generic *g)
{
    unsigned flags = g->env.flags, unmasked = flags & ~(g->c->mxcsr >> 7);
    if (unmasked & 7)
        flags &= 7;
    g->c->mxcsr |= flags | g->earlier;
    return !unmasked;
}

static void put_register(struct generic *g, ir_ref d, bool legacy)
{
    struct cpu *c = g->c;
    if (ir_is_reg(d)) {
        c->reg[d] = bytes_get(g->d, 8);
    } else if (ir_is_mask(d)) {
        c->mask[d - IR_MASK0] = bytes_get(g->d, 8);
    } else if (ir_is_vec(d)) {
        uint8_t *v = c->vec[d - IR_VEC0];
        if (!legacy)
            memset(v, 0, GENERIC_BYTES);
        memcpy(v, g->d, legacy ? 16 : g->out);
    }
}

bool ir_generic(struct cpu *c, const struct ir_op *o, void *mem)
{
    struct request q = request_of(o);
    const struct row *r = find(&q);
    bool legacy = o->op == IR_VEC, silent_op = silent(o), to_mask = ir_is_mask(o->d);
    rh_assert(r, "an operation of the generic path");
    struct generic g = {.c = c, .size = bytes_by(r->size, q.w)};
    g.from = r->from ? bytes_by(r->from, q.w) : g.size;
    if (legacy)
        prepare_legacy(&g, o, mem);
    else
        prepare_avx(&g, o, mem);
    run_row(&g, r, to_mask);
    if (!silent_op && !settle(&g))
        return false;
    bool stores = legacy ? ir_vec_rows[o->row].form == VF_M_U : ir_avx_stores(&o->avx);
    if (stores) {
        store(&g, mem, legacy ? ir_vec_rows[o->row].msize : o->avx.msize);
        return true;
    }
    if (ir_is_vec(o->d))
        merge(&g);
    put_register(&g, o->d, legacy);
    if (q.space == SPACE_E && to_mask && q.opcode == 0x68)
        c->mask[(o->d - IR_MASK0) ^ 1] = g.pair;
    if (legacy ? ir_writes_f(o) != 0 : ir_avx_sets_flags(&o->avx))
        cpu_set_flags(c, g.flags);
    return true;
}
