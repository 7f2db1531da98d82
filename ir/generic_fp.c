/* ir/generic_fp.c: the generic path's floating-point functions (Intel SDM vol. 2), over soft.c.
 *
 * The format goes by the size of the elements: 2 bytes half, 4 single, 8 double precision.
 */
#include "ir/generic.h"

#include <string.h>
#include <xmmintrin.h>

static const struct soft_format *format(const struct lane *l)
{
    return soft_of(l->bits);
}

static struct soft_env *env(const struct lane *l)
{
    return &l->g->env;
}

/* ---- arithmetic ------------------------------------------------------------------------------------------------- */

uint64_t lane_float_add(const struct lane *l)
{
    return soft_add(env(l), format(l), l->a, l->b, false);
}

uint64_t lane_float_sub(const struct lane *l)
{
    return soft_add(env(l), format(l), l->a, l->b, true);
}

uint64_t lane_float_add_odd(const struct lane *l)
{
    return soft_add(env(l), format(l), l->a, l->b, !(l->index & 1));
}

uint64_t lane_float_mul(const struct lane *l)
{
    return soft_multiply(env(l), format(l), l->a, l->b);
}

uint64_t lane_float_div(const struct lane *l)
{
    return soft_divide(env(l), format(l), l->a, l->b);
}

uint64_t lane_float_sqrt(const struct lane *l)
{
    return soft_sqrt(env(l), format(l), l->b);
}

/* The second unless the first is less; two zeros and NaNs give the second. */
static uint64_t extreme(const struct lane *l, enum soft_order wanted)
{
    const struct soft_format *f = format(l);
    enum soft_order order = soft_compare(env(l), f, l->a, l->b, true);
    uint64_t v = order == wanted ? l->a : l->b;
    struct soft x = soft_unpack(env(l), f, v);
    return x.class == SOFT_NOUGHT ? soft_zero(f, x.sign) : v;
}

uint64_t lane_float_min(const struct lane *l)
{
    return extreme(l, SOFT_LESS);
}

uint64_t lane_float_max(const struct lane *l)
{
    return extreme(l, SOFT_GREATER);
}

static uint64_t pair_of(struct generic *g, const uint8_t *from, bool subtract)
{
    const struct soft_format *f = soft_of(8 * g->size);
    return soft_add(&g->env, f, element(from, 0, g->size), element(from, 1, g->size), subtract);
}

static void horizontal(struct generic *g, unsigned at, bool subtract)
{
    unsigned n = 16 / g->size;
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *from = (i < n / 2 ? g->a : g->b) + at + 2 * g->size * (i % (n / 2));
        put_element(g->d + at, i, g->size, pair_of(g, from, subtract));
    }
}

void part_horizontal_float_add(struct generic *g, unsigned at)
{
    horizontal(g, at, false);
}

void part_horizontal_float_sub(struct generic *g, unsigned at)
{
    horizontal(g, at, true);
}

/* A step of several: false if one of its exceptions is unmasked, for the next is not begun then. */
static bool step(struct generic *g)
{
    if (g->env.flags & g->env.unmasked)
        return false;
    g->earlier |= g->env.flags;
    g->env.flags = 0;
    return true;
}

/* The sums of neighbours among n elements, to half as many. */
static void sum_pairs(struct generic *g, uint64_t *v, unsigned n)
{
    for (unsigned i = 0; i < n; i += 2)
        v[i / 2] = soft_add(&g->env, soft_of(8 * g->size), v[i], v[i + 1], false);
}

/* DPPS, DPPD: products that bits 7..4 choose, else 0, summed by pairs. */
void part_dot_product(struct generic *g, unsigned at)
{
    const struct soft_format *f = soft_of(8 * g->size);
    unsigned n = g->length / g->size, of_block = 16 / g->size;
    uint64_t v[8] = {0};
    (void)at;
    for (unsigned i = 0; i < n; i++)
        if (g->imm >> (4 + i % of_block) & 1)
            v[i] = soft_multiply(&g->env, f, element(g->a, i, g->size), element(g->b, i, g->size));
    for (unsigned left = of_block; left > 1; left /= 2, n /= 2) {
        if (!step(g))
            return;
        sum_pairs(g, v, n);
    }
    for (unsigned i = 0; i < g->length / g->size; i++)
        put_element(g->d, i, g->size, g->imm >> i % of_block & 1 ? v[i / of_block] : 0);
}

/* ---- a * b + c: 132, 213 and 231 tell which operands these are ------------------------------------------------------ */

static uint64_t fused(const struct lane *l, unsigned opcode, bool negate, bool subtract)
{
    uint64_t x = opcode == 2 ? l->a : l->d, y = l->b, z = l->a;
    if (opcode == 1) {
        x = l->a;
        y = l->d;
        z = l->b;
    } else if (opcode == 2) {
        z = l->d;
    }
    return soft_multiply_add(env(l), format(l), x, y, z, negate, subtract);
}

#define FUSED(order, n)                                                                                                \
    uint64_t lane_fused_add_##order(const struct lane *l)                                                              \
    {                                                                                                                  \
        return fused(l, n, false, false);                                                                              \
    }                                                                                                                  \
    uint64_t lane_fused_sub_##order(const struct lane *l)                                                              \
    {                                                                                                                  \
        return fused(l, n, false, true);                                                                               \
    }                                                                                                                  \
    uint64_t lane_fused_negated_add_##order(const struct lane *l)                                                      \
    {                                                                                                                  \
        return fused(l, n, true, false);                                                                               \
    }                                                                                                                  \
    uint64_t lane_fused_negated_sub_##order(const struct lane *l)                                                      \
    {                                                                                                                  \
        return fused(l, n, true, true);                                                                                \
    }                                                                                                                  \
    uint64_t lane_fused_add_odd_##order(const struct lane *l)                                                          \
    {                                                                                                                  \
        return fused(l, n, false, !(l->index & 1));                                                                    \
    }                                                                                                                  \
    uint64_t lane_fused_sub_odd_##order(const struct lane *l)                                                          \
    {                                                                                                                  \
        return fused(l, n, false, l->index & 1);                                                                       \
    }
FUSED(132, 0)
FUSED(213, 1)
FUSED(231, 2)

/* ---- comparisons ------------------------------------------------------------------------------------------------------ */

/* For each predicate the outcomes that hold: soft_order bits. */
static const uint8_t predicates[16] = {4, 1, 5, 8, 11, 14, 10, 7, 12, 9, 13, 0, 3, 6, 2, 15};
enum { SIGNALING_PREDICATES = 0x6666 }; /* of the first 16; of the others those that these are not */

static uint64_t compare(const struct lane *l, unsigned predicate)
{
    bool signals = (SIGNALING_PREDICATES >> (predicate & 15) & 1) ^ predicate >> 4;
    return predicates[predicate & 15] & soft_compare(env(l), format(l), l->a, l->b, signals) ? ~0ull : 0;
}

uint64_t lane_float_compare(const struct lane *l)
{
    return compare(l, l->imm & 31);
}

uint64_t lane_float_compare_legacy(const struct lane *l)
{
    return compare(l, l->imm & 7);
}

static void compare_flags(struct generic *g, bool signals)
{
    enum { CF = 1, PF = 4, ZF = 0x40 };
    uint64_t a = element(g->a, 0, g->size), b = element(g->b, 0, g->size);
    switch (soft_compare(&g->env, soft_of(8 * g->size), a, b, signals)) {
    case SOFT_LESS: g->flags = CF; break;
    case SOFT_GREATER: g->flags = 0; break;
    case SOFT_EQUAL: g->flags = ZF; break;
    case SOFT_UNORDERED: g->flags = ZF | PF | CF; break;
    }
}

void part_compare_ordered(struct generic *g, unsigned at)
{
    (void)at;
    compare_flags(g, true);
}

void part_compare_unordered(struct generic *g, unsigned at)
{
    (void)at;
    compare_flags(g, false);
}

/* VFPCLASS: bit by bit of the immediate: QNaN, +0, -0, +infinity, -infinity, denormal, finite negative, SNaN. */
uint64_t lane_float_class(const struct lane *l)
{
    struct soft x = soft_unpack(env(l), soft_of(l->from), l->b);
    unsigned is = 0;
    switch (x.class) {
    case SOFT_NAN: is = x.signaling ? 0x80 : 1; break;
    case SOFT_NOUGHT: is = x.sign ? 4 : 2; break;
    case SOFT_INFINITE: is = x.sign ? 0x10 : 8; break;
    case SOFT_FINITE: is = (x.denormal ? 0x20 : 0) | (x.sign ? 0x40 : 0); break;
    }
    return l->imm & is ? ~0ull : 0;
}

/* ---- conversions ------------------------------------------------------------------------------------------------------ */

uint64_t lane_float_to_float(const struct lane *l)
{
    return soft_convert(env(l), format(l), soft_of(l->from), l->b);
}

static uint64_t to_int(const struct lane *l, bool is_signed, bool truncate)
{
    enum soft_round round = truncate ? SOFT_TRUNCATE : env(l)->round;
    return soft_to_int(env(l), soft_of(l->from), l->b, l->bits, is_signed, round);
}

uint64_t lane_float_to_signed(const struct lane *l)
{
    return to_int(l, true, false);
}

uint64_t lane_float_to_unsigned(const struct lane *l)
{
    return to_int(l, false, false);
}

uint64_t lane_truncate_signed(const struct lane *l)
{
    return to_int(l, true, true);
}

uint64_t lane_truncate_unsigned(const struct lane *l)
{
    return to_int(l, false, true);
}

uint64_t lane_signed_to_float(const struct lane *l)
{
    int64_t v = sign_extend(l->b, l->from);
    return soft_from_int(env(l), format(l), v < 0 ? -(uint64_t)v : (uint64_t)v, v < 0);
}

uint64_t lane_unsigned_to_float(const struct lane *l)
{
    return soft_from_int(env(l), format(l), l->b, false);
}

/* VCVTPH2PS: denormals count whatever MXCSR says, and raise nothing. */
uint64_t lane_half_to_single(const struct lane *l)
{
    struct soft_env e = {.round = SOFT_NEAREST};
    uint64_t v = soft_convert(&e, &soft_single, &soft_half, l->b);
    env(l)->flags |= e.flags & SOFT_INVALID;
    return v;
}

/* The rounding that an immediate's bits 2..0 ask for. */
static enum soft_round rounding(const struct lane *l)
{
    return l->imm & 4 ? env(l)->control : (enum soft_round)(l->imm & 3);
}

/* VCVTPS2PH: results are not flushed to zero. */
uint64_t lane_single_to_half(const struct lane *l)
{
    struct soft_env e = *env(l);
    e.round = rounding(l);
    e.ftz = false;
    uint64_t v = soft_convert(&e, &soft_half, &soft_single, l->b);
    env(l)->flags = e.flags;
    return v;
}

/* ---- AVX-512's own -------------------------------------------------------------------------------------------------------- */

/* ROUNDPS, VRNDSCALE: the immediate's upper half is how many binary places are left. */
uint64_t lane_float_round(const struct lane *l)
{
    return soft_integral(env(l), format(l), l->b, l->imm >> 4, rounding(l), l->imm & 8);
}

uint64_t lane_float_round_plain(const struct lane *l)
{
    return soft_integral(env(l), format(l), l->b, 0, rounding(l), l->imm & 8);
}

/* VREDUCE: what VRNDSCALE takes away. */
uint64_t lane_float_reduce(const struct lane *l)
{
    struct soft x = soft_unpack(env(l), format(l), l->b);
    if (x.class == SOFT_INFINITE)
        return 0;
    uint64_t rounded = soft_integral(env(l), format(l), l->b, l->imm >> 4, rounding(l), true);
    if (x.class == SOFT_NAN)
        return rounded;
    struct soft_env e = {.round = rounding(l), .daz = env(l)->daz, .ftz = env(l)->ftz};
    uint64_t v = soft_add(&e, format(l), l->b, rounded, true);
    env(l)->flags |= l->imm & 8 ? 0 : e.flags & SOFT_INEXACT;
    return v;
}

uint64_t lane_float_exponent(const struct lane *l)
{
    const struct soft_format *f = format(l);
    struct soft x = soft_unpack(env(l), f, l->b);
    uint64_t v;
    if (soft_operands(env(l), f, &x, 1, &v))
        return v;
    if (x.class != SOFT_FINITE)
        return soft_infinity(f, x.class == SOFT_NOUGHT);
    return soft_from_int(env(l), f, (uint64_t)(x.exp < 0 ? -x.exp : x.exp), x.exp < 0);
}

/* VGETMANT: bits 1..0: the interval; 2: positive; 3: of negative numbers invalid. */
uint64_t lane_float_mantissa(const struct lane *l)
{
    const struct soft_format *f = format(l);
    struct soft x = soft_unpack(env(l), f, l->b);
    uint64_t v;
    bool sign = x.sign && !(l->imm & 4);
    if (x.class != SOFT_NAN && x.class != SOFT_NOUGHT && x.sign && l->imm & 8)
        return soft_indefinite(env(l), f);
    if (soft_operands(env(l), f, &x, 1, &v))
        return v;
    struct soft m = {.class = SOFT_FINITE, .sign = sign, .sig = x.class == SOFT_FINITE ? x.sig : 1ull << 63};
    if (x.class == SOFT_FINITE)
        switch (l->imm & 3) {
        case 0: break;
        case 1: m.exp = -(x.exp & 1); break;
        case 2: m.exp = -1; break;
        case 3: m.exp = -(int)(m.sig >> 62 & 1); break;
        }
    return soft_pack(env(l), f, &m);
}

/* VSCALEF: a * 2^floor(b) */
uint64_t lane_float_scale(const struct lane *l)
{
    enum { FAR = 1 << 20 };
    const struct soft_format *f = format(l);
    struct soft x[2] = {soft_unpack(env(l), f, l->a), soft_unpack(env(l), f, l->b)};
    uint64_t v;
    bool lost = x[0].class == SOFT_NOUGHT && x[1].class == SOFT_INFINITE && !x[1].sign;
    lost |= x[0].class == SOFT_INFINITE && x[1].class == SOFT_INFINITE && x[1].sign;
    if (lost)
        return soft_indefinite(env(l), f);
    x[1].denormal = false;
    if (soft_operands(env(l), f, x, 2, &v)) {
        bool quiet = x[0].class == SOFT_NAN && !x[0].signaling && x[1].class == SOFT_INFINITE;
        return quiet ? (x[1].sign ? 0 : soft_infinity(f, false)) : v;
    }
    if (x[1].class == SOFT_INFINITE)
        return x[1].sign ? soft_zero(f, x[0].sign) : soft_infinity(f, x[0].sign);
    if (x[0].class != SOFT_FINITE)
        return soft_pack(env(l), f, &x[0]);
    struct soft_env e = {.round = SOFT_DOWN};
    int64_t by = x[1].class == SOFT_NOUGHT ? 0 : x[1].exp >= 20 ? (x[1].sign ? -FAR : FAR) : 0;
    if (x[1].class == SOFT_FINITE && x[1].exp < 20)
        by = (int64_t)soft_to_int(&e, f, l->b, 64, true, SOFT_DOWN);
    x[0].exp += (int)by;
    return soft_pack(env(l), f, &x[0]);
}

/* VRANGE: bits 1..0: least, greatest, by magnitude; 3..2: sign of the first, of the result, 0, 1. */
uint64_t lane_float_range(const struct lane *l)
{
    const struct soft_format *f = format(l);
    uint64_t sign_bit = 1ull << (l->bits - 1);
    struct soft x[2] = {soft_unpack(env(l), f, l->a), soft_unpack(env(l), f, l->b)};
    bool nan[2] = {x[0].class == SOFT_NAN, x[1].class == SOFT_NAN};
    struct soft_env e = {.round = SOFT_NEAREST};
    uint64_t v, ignored;
    soft_operands(env(l), f, x, 2, &ignored);
    for (unsigned i = 0; i < 2; i++)
        if (x[i].signaling)
            return soft_quiet(f, &x[i]);
    if (nan[0] || nan[1]) {
        v = soft_pack(&e, f, &x[nan[0] && !nan[1]]);
    } else {
        bool greatest = l->imm & 1, by_magnitude = l->imm & 2;
        struct soft y[2] = {x[0], x[1]};
        y[0].sign &= !by_magnitude;
        y[1].sign &= !by_magnitude;
        enum soft_order order = soft_order(&y[0], &y[1]);
        if (order == SOFT_EQUAL) /* by sign */
            order = x[0].sign == x[1].sign ? SOFT_EQUAL : x[0].sign ? SOFT_LESS : SOFT_GREATER;
        bool second = order == (greatest ? SOFT_LESS : SOFT_GREATER);
        v = soft_pack(&e, f, &x[second]);
    }
    switch (l->imm >> 2 & 3) {
    case 0: return (v & ~sign_bit) | (l->a & sign_bit);
    case 1: return v;
    case 2: return v & ~sign_bit;
    default: return v | sign_bit;
    }
}

/* RCPSS, RSQRTSS: what the host has, as its own legacy insns give it; every host has these. */
static uint64_t estimate(uint64_t v, bool root)
{
    float x, y;
    memcpy(&x, &v, sizeof x);
    y = root ? _mm_cvtss_f32(_mm_rsqrt_ss(_mm_set_ss(x))) : _mm_cvtss_f32(_mm_rcp_ss(_mm_set_ss(x)));
    v = 0;
    memcpy(&v, &y, sizeof y);
    return v;
}

uint64_t lane_float_estimate(const struct lane *l)
{
    return estimate(l->b, false);
}

uint64_t lane_float_root_estimate(const struct lane *l)
{
    return estimate(l->b, true);
}

/* VRCP14, VRSQRT14: processors may differ within 2^-14 of the value; here it is the value, cut to 15 bits.  Nothing is
 * raised. */
static uint64_t cut(const struct lane *l, struct soft_env *e, uint64_t v)
{
    const struct soft_format *f = format(l);
    struct soft x = soft_unpack(e, f, v);
    if (x.class == SOFT_FINITE)
        x.sig &= ~mask_bits(64 - 15);
    e->ftz = env(l)->ftz;
    return soft_pack(e, f, &x);
}

uint64_t lane_float_reciprocal(const struct lane *l)
{
    struct soft_env e = {.round = SOFT_NEAREST, .daz = env(l)->daz};
    struct soft_env with_one = e;
    uint64_t one = soft_from_int(&with_one, format(l), 1, false);
    return cut(l, &e, soft_divide(&e, format(l), one, l->b));
}

uint64_t lane_float_reciprocal_root(const struct lane *l)
{
    struct soft_env e = {.round = SOFT_NEAREST, .daz = env(l)->daz};
    struct soft_env with_one = e;
    uint64_t one = soft_from_int(&with_one, format(l), 1, false), root = soft_sqrt(&e, format(l), l->b);
    return cut(l, &e, soft_divide(&e, format(l), one, root));
}

/* The kind of a number as VFIXUPIMM counts: QNaN, SNaN, 0, 1, -infinity, infinity, negative, positive. */
static unsigned fixup_kind(const struct soft *x)
{
    switch (x->class) {
    case SOFT_NAN: return x->signaling;
    case SOFT_NOUGHT: return 2;
    case SOFT_INFINITE: return x->sign ? 4 : 5;
    case SOFT_FINITE: break;
    }
    return x->sign ? 6 : x->exp == 0 && x->sig == 1ull << 63 ? 3 : 7;
}

/* Values the answer table's nibbles from 3 on name, apart from those that depend on the sign. */
static uint64_t fixup_value(const struct lane *l, const struct soft *x, unsigned token)
{
    const struct soft_format *f = format(l);
    struct soft_env e = {.round = SOFT_NEAREST};
    uint64_t one = soft_from_int(&e, f, 1, false), half_turn = l->bits == 32 ? 0x3fc90fdbu : 0x3ff921fb54442d18ull;
    switch (token) {
    case 3: return soft_indefinite(&e, f);
    case 4: return soft_infinity(f, true);
    case 5: return soft_infinity(f, false);
    case 6: return soft_infinity(f, x->sign);
    case 7: return soft_zero(f, true);
    case 8: return 0;
    case 9: return one | soft_zero(f, true);
    case 10: return one;
    case 11: return soft_from_int(&e, f, 1, false) - (1ull << f->fraction); /* a half */
    case 12: return l->bits == 32 ? 0x42b40000u : 0x4056800000000000ull;    /* 90 */
    case 13: return half_turn;
    case 14: return soft_infinity(f, false) - 1;
    default: return soft_infinity(f, true) - 1;
    }
}

/* VFIXUPIMM: a by its kind chooses a nibble of b; the immediate says which kinds raise what. */
uint64_t lane_float_fixup(const struct lane *l)
{
    const struct soft_format *f = format(l);
    struct soft x = soft_unpack(env(l), f, l->a);
    unsigned kind = fixup_kind(&x), token = (unsigned)(l->b >> 4 * kind) & 15;
    bool zero_raised = (kind == 2 && l->imm & 1) || (kind == 3 && l->imm & 4);
    bool invalid = (kind == 2 && l->imm & 2) || (kind == 3 && l->imm & 8) || (kind == 1 && l->imm & 0x10) ||
                   (kind == 4 && l->imm & 0x20) || (kind == 6 && l->imm & 0x40) || (kind == 5 && l->imm & 0x80);
    env(l)->flags |= (zero_raised ? SOFT_ZERO : 0) | (invalid ? SOFT_INVALID : 0);
    if (token == 0)
        return l->d;
    if (token == 1)
        return x.class == SOFT_NOUGHT ? soft_zero(f, x.sign) : l->a;
    if (token == 2)
        return soft_infinity(f, x.sign) | (x.class == SOFT_NOUGHT ? 0 : l->a) | 1ull << (f->fraction - 1);
    return fixup_value(l, &x, token);
}

/* ---- bfloat16: the upper half of a single, to nearest; denormals are 0; nothing is raised ------------------------------------ */

static uint64_t to_bfloat(uint64_t v)
{
    struct soft_env e = {.round = SOFT_NEAREST, .daz = true};
    struct soft x = soft_unpack(&e, &soft_single, v);
    if (x.class == SOFT_NAN)
        return v >> 16 | 0x40;
    if (x.class != SOFT_FINITE)
        return soft_pack(&e, &soft_single, &x) >> 16;
    return (v + 0x7fff + (v >> 16 & 1)) >> 16;
}

uint64_t lane_to_bfloat(const struct lane *l)
{
    return to_bfloat(l->b);
}

/* VCVTNE2PS2BF16: the lower half from b, the upper from a. */
void part_two_to_bfloat(struct generic *g, unsigned at)
{
    unsigned n = g->length / 4;
    (void)at;
    for (unsigned i = 0; i < 2 * n; i++)
        put_element(g->d, i, 2, to_bfloat(element(i < n ? g->b : g->a, i % n, 4)));
}

/* VDPBF16PS: the odd products first, each step rounded, to nearest. */
uint64_t lane_dot_bfloat(const struct lane *l)
{
    struct soft_env e = {.round = SOFT_NEAREST, .daz = true, .ftz = true};
    uint64_t v = l->d;
    for (unsigned i = 2; i-- > 0;) {
        uint64_t x = (l->a >> 16 * i & 0xffff) << 16, y = (l->b >> 16 * i & 0xffff) << 16;
        v = soft_multiply_add(&e, &soft_single, x, y, v, false, false);
    }
    return v;
}
