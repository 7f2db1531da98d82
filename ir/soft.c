/* ir/soft.c: floating point by integer arithmetic.
 *
 * One form for all formats: unpack, compute on a normalised 64-bit significand whose lowest bit also stands for all
 * that lies below it (64 bits are more than twice what rounding to 53 needs to know), round, pack.
 *
 * Rules to know before editing
 *   - Exceptions before the result (invalid, denormal, zero divide) are raised by soft_operands and the operation,
 *     those after it by soft_pack alone.
 *   - A denormal operand is told only if no operand is a NaN and the operation is not invalid (SDM vol. 1, 4.9.2).
 *   - Tininess is found after rounding, as if the exponent had no limits (vol. 1, 4.9.1.5).
 *   - Where underflow or overflow is unmasked, inexact is about the result with an exponent without limits, and an exact
 *     tiny result is an underflow (vol. 1, 4.9.1.4, 4.9.1.5).
 *   - With flush to zero, in force only while underflow is masked, a tiny result is a signed 0, underflow and inexact.
 */
#include "ir/soft.h"

typedef __uint128_t wide;

const struct soft_format soft_half = {10, 5}, soft_single = {23, 8}, soft_double = {52, 11};

const struct soft_format *soft_of(unsigned bits)
{
    return bits == 16 ? &soft_half : bits == 32 ? &soft_single : &soft_double;
}

static int bias(const struct soft_format *f)
{
    return (1 << (f->exponent - 1)) - 1;
}

struct soft soft_unpack(const struct soft_env *e, const struct soft_format *f, uint64_t v)
{
    uint64_t fraction = v & mask_bits(f->fraction);
    int exp = (int)(v >> f->fraction & mask_bits(f->exponent)), top = (int)mask_bits(f->exponent);
    struct soft s = {.sign = v >> (f->fraction + f->exponent) & 1, .exp = exp - bias(f)};
    s.sig = fraction << (63 - f->fraction);
    if (exp == top) {
        s.class = fraction ? SOFT_NAN : SOFT_INFINITE;
        s.signaling = fraction && !(s.sig >> 62 & 1);
    } else if (exp) {
        s.class = SOFT_FINITE;
        s.sig |= 1ull << 63;
    } else if (fraction && !e->daz) {
        unsigned up = (unsigned)__builtin_clzll(s.sig);
        s.class = SOFT_FINITE;
        s.denormal = true;
        s.exp = 1 - bias(f) - (int)up;
        s.sig <<= up;
    } else {
        s.class = SOFT_NOUGHT;
        s.sig = 0;
    }
    return s;
}

uint64_t soft_infinity(const struct soft_format *f, bool sign)
{
    return soft_zero(f, sign) | mask_bits(f->exponent) << f->fraction;
}

uint64_t soft_quiet(const struct soft_format *f, const struct soft *nan)
{
    return soft_infinity(f, nan->sign) | (nan->sig | 1ull << 62) >> (63 - f->fraction);
}

uint64_t soft_indefinite(struct soft_env *e, const struct soft_format *f)
{
    e->flags |= SOFT_INVALID;
    return soft_infinity(f, true) | 1ull << (f->fraction - 1);
}

bool soft_operands(struct soft_env *e, const struct soft_format *f, const struct soft *x, unsigned n, uint64_t *v)
{
    const struct soft *nan = NULL;
    bool denormal = false;
    for (unsigned i = 0; i < n; i++) {
        if (x[i].class == SOFT_NAN && !nan)
            nan = &x[i];
        if (x[i].signaling)
            e->flags |= SOFT_INVALID;
        denormal |= x[i].denormal;
    }
    if (nan)
        *v = soft_quiet(f, nan);
    else if (denormal)
        e->flags |= SOFT_DENORMAL;
    return nan != NULL;
}

/* ---- rounding ----------------------------------------------------------------------------------------------------- */

/* x >> n, the lowest bit standing for what is lost. */
static uint64_t shift_down(uint64_t x, unsigned n)
{
    if (n == 0)
        return x;
    return n > 63 ? x != 0 : x >> n | ((x & mask_bits(n)) != 0);
}

static wide shift_down_wide(wide x, unsigned n)
{
    if (n == 0)
        return x;
    return n > 127 ? x != 0 : x >> n | ((x & (((wide)1 << n) - 1)) != 0);
}

/* x without its lowest n bits, 1 <= n <= 63, or one more of what is left. */
static uint64_t round_off(uint64_t x, unsigned n, enum soft_round round, bool sign, bool *inexact)
{
    uint64_t rest = x & mask_bits(n), half = 1ull << (n - 1), kept = x >> n;
    *inexact = rest != 0;
    bool up = false;
    switch (round) {
    case SOFT_NEAREST: up = rest > half || (rest == half && kept & 1); break;
    case SOFT_DOWN: up = sign && rest; break;
    case SOFT_UP: up = !sign && rest; break;
    case SOFT_TRUNCATE: break;
    }
    return kept + up;
}

static uint64_t overflow(struct soft_env *e, const struct soft_format *f, bool sign, bool inexact)
{
    e->flags |= SOFT_OVERFLOW | (inexact || !(e->unmasked & SOFT_OVERFLOW) ? SOFT_INEXACT : 0);
    bool infinite = e->round == SOFT_NEAREST || e->round == (sign ? SOFT_DOWN : SOFT_UP);
    return soft_infinity(f, sign) - !infinite;
}

/* Below the normal numbers. */
static uint64_t pack_tiny(struct soft_env *e, const struct soft_format *f, const struct soft *v, int below)
{
    unsigned drop = 63 - f->fraction;
    bool inexact, tiny = below > 1 || round_off(v->sig, drop, e->round, v->sign, &inexact) < 2ull << f->fraction;
    if (tiny && e->ftz) {
        e->flags |= SOFT_UNDERFLOW | SOFT_INEXACT;
        return soft_zero(f, v->sign);
    }
    bool unbounded;
    round_off(v->sig, drop, e->round, v->sign, &unbounded);
    uint64_t bits = round_off(shift_down(v->sig, (unsigned)below), drop, e->round, v->sign, &inexact);
    if (tiny && e->unmasked & SOFT_UNDERFLOW)
        inexact = unbounded;
    if (tiny && (inexact || e->unmasked & SOFT_UNDERFLOW))
        e->flags |= SOFT_UNDERFLOW;
    if (inexact)
        e->flags |= SOFT_INEXACT;
    return soft_zero(f, v->sign) | bits; /* rounded up to the least normal number: the carry is its exponent */
}

uint64_t soft_pack(struct soft_env *e, const struct soft_format *f, const struct soft *v)
{
    bool inexact;
    switch (v->class) {
    case SOFT_NOUGHT: return soft_zero(f, v->sign);
    case SOFT_INFINITE: return soft_infinity(f, v->sign);
    case SOFT_NAN: return soft_quiet(f, v);
    case SOFT_FINITE: break;
    }
    int exp = v->exp + bias(f);
    if (exp < 1)
        return pack_tiny(e, f, v, 1 - exp);
    uint64_t bits = round_off(v->sig, 63 - f->fraction, e->round, v->sign, &inexact);
    if (bits >> (f->fraction + 1)) {
        bits >>= 1;
        exp++;
    }
    if (exp >= (int)mask_bits(f->exponent))
        return overflow(e, f, v->sign, inexact);
    if (inexact)
        e->flags |= SOFT_INEXACT;
    return soft_zero(f, v->sign) | (uint64_t)exp << f->fraction | (bits & mask_bits(f->fraction));
}

/* ---- arithmetic ---------------------------------------------------------------------------------------------------- */

/* A significand of 128 bits, the highest not necessarily set: sig * 2^(exp - 127). */
static struct soft normalise(bool sign, int exp, wide sig)
{
    uint64_t high = (uint64_t)(sig >> 64), low = (uint64_t)sig;
    if (!sig)
        return (struct soft){.class = SOFT_NOUGHT, .sign = sign};
    unsigned up = high ? (unsigned)__builtin_clzll(high) : 64 + (unsigned)__builtin_clzll(low);
    sig <<= up;
    return (struct soft){
        .class = SOFT_FINITE, .sign = sign, .exp = exp - (int)up, .sig = (uint64_t)(sig >> 64) | ((uint64_t)sig != 0)};
}

struct term {
    bool sign;
    int exp;
    wide sig; /* highest bit set, or 0 */
};

/* x + y.  Both have zeros below, so that what the shift loses is lost only when it cannot matter. */
static struct soft sum(const struct soft_env *e, struct term x, struct term y)
{
    if (!x.sig || (y.sig && y.exp > x.exp)) {
        struct term t = x;
        x = y;
        y = t;
    }
    if (!x.sig) /* 0 + 0 */
        return (struct soft){.class = SOFT_NOUGHT, .sign = x.sign == y.sign ? x.sign : e->round == SOFT_DOWN};
    unsigned apart = y.sig ? (unsigned)(x.exp - y.exp) : 0;
    wide a = shift_down_wide(x.sig, 1), b = shift_down_wide(y.sig, apart < 200 ? apart + 1 : 200);
    if (x.sign == y.sign)
        return normalise(x.sign, x.exp + 1, a + b);
    if (a == b)
        return (struct soft){.class = SOFT_NOUGHT, .sign = e->round == SOFT_DOWN};
    return a > b ? normalise(x.sign, x.exp + 1, a - b) : normalise(y.sign, x.exp + 1, b - a);
}

static struct term term_of(const struct soft *s)
{
    return (struct term){s->sign, s->exp, (wide)s->sig << 64};
}

uint64_t soft_add(struct soft_env *e, const struct soft_format *f, uint64_t a, uint64_t b, bool subtract)
{
    struct soft x[2] = {soft_unpack(e, f, a), soft_unpack(e, f, b)};
    uint64_t nan;
    bool both = x[0].class == SOFT_INFINITE && x[1].class == SOFT_INFINITE;
    if (both && x[0].sign != (x[1].sign ^ subtract))
        return soft_indefinite(e, f);
    if (soft_operands(e, f, x, 2, &nan))
        return nan;
    x[1].sign ^= subtract;
    for (unsigned i = 0; i < 2; i++)
        if (x[i].class == SOFT_INFINITE)
            return soft_infinity(f, x[i].sign);
    struct soft r = sum(e, term_of(&x[0]), term_of(&x[1]));
    return soft_pack(e, f, &r);
}

static bool nought_by_infinity(const struct soft *x, const struct soft *y)
{
    return (x->class == SOFT_NOUGHT && y->class == SOFT_INFINITE) ||
           (x->class == SOFT_INFINITE && y->class == SOFT_NOUGHT);
}

uint64_t soft_multiply(struct soft_env *e, const struct soft_format *f, uint64_t a, uint64_t b)
{
    struct soft x[2] = {soft_unpack(e, f, a), soft_unpack(e, f, b)};
    bool sign = x[0].sign ^ x[1].sign;
    uint64_t nan;
    if (nought_by_infinity(&x[0], &x[1]))
        return soft_indefinite(e, f);
    if (soft_operands(e, f, x, 2, &nan))
        return nan;
    if (x[0].class == SOFT_INFINITE || x[1].class == SOFT_INFINITE)
        return soft_infinity(f, sign);
    struct soft r = normalise(sign, x[0].exp + x[1].exp + 1, (wide)x[0].sig * x[1].sig);
    return soft_pack(e, f, &r);
}

uint64_t soft_multiply_add(struct soft_env *e, const struct soft_format *f, uint64_t a, uint64_t b, uint64_t c,
                           bool negate, bool subtract)
{
    struct soft x[3] = {soft_unpack(e, f, a), soft_unpack(e, f, b), soft_unpack(e, f, c)};
    bool sign = x[0].sign ^ x[1].sign ^ negate, sign_c = x[2].sign ^ subtract;
    bool infinite = x[0].class == SOFT_INFINITE || x[1].class == SOFT_INFINITE;
    uint64_t nan;
    if (x[0].class != SOFT_NAN && x[1].class != SOFT_NAN && x[2].class != SOFT_NAN) {
        bool opposed = infinite && x[2].class == SOFT_INFINITE && sign != sign_c;
        if (nought_by_infinity(&x[0], &x[1]) || opposed)
            return soft_indefinite(e, f);
    }
    if (soft_operands(e, f, x, 3, &nan))
        return nan;
    if (infinite || x[2].class == SOFT_INFINITE)
        return soft_infinity(f, infinite ? sign : sign_c);
    wide product = (wide)x[0].sig * x[1].sig;
    bool high = product >> 127;
    struct term p = {sign, x[0].exp + x[1].exp + high, high ? product : product << 1};
    struct term t = {sign_c, x[2].exp, (wide)x[2].sig << 64};
    struct soft r = sum(e, p, t);
    return soft_pack(e, f, &r);
}

uint64_t soft_divide(struct soft_env *e, const struct soft_format *f, uint64_t a, uint64_t b)
{
    struct soft x[2] = {soft_unpack(e, f, a), soft_unpack(e, f, b)};
    bool sign = x[0].sign ^ x[1].sign;
    uint64_t nan;
    if (x[0].class == x[1].class && (x[0].class == SOFT_NOUGHT || x[0].class == SOFT_INFINITE))
        return soft_indefinite(e, f);
    if (x[0].class == SOFT_FINITE && x[1].class == SOFT_NOUGHT) {
        e->flags |= SOFT_ZERO; /* alone: a denormal dividend is not told */
        return soft_infinity(f, sign);
    }
    if (soft_operands(e, f, x, 2, &nan))
        return nan;
    if (x[0].class == SOFT_INFINITE)
        return soft_infinity(f, sign);
    if (x[0].class == SOFT_NOUGHT || x[1].class == SOFT_INFINITE)
        return soft_zero(f, sign);
    wide n = (wide)x[0].sig << 63, q = n / x[1].sig; /* between 2^62 and 2^64 */
    struct soft r = normalise(sign, x[0].exp - x[1].exp, q << 64 | (n % x[1].sig != 0));
    return soft_pack(e, f, &r);
}

/* The root of x, rounded down, bit by bit; *rest: there is more. */
static uint64_t root(wide x, bool *rest)
{
    uint64_t r = 0;
    for (unsigned bit = 64; bit-- > 0;) {
        uint64_t more = r | 1ull << bit;
        if ((wide)more * more <= x)
            r = more;
    }
    *rest = (wide)r * r != x;
    return r;
}

uint64_t soft_sqrt(struct soft_env *e, const struct soft_format *f, uint64_t a)
{
    struct soft x = soft_unpack(e, f, a);
    uint64_t nan;
    bool rest;
    if (x.class != SOFT_NAN && x.class != SOFT_NOUGHT && x.sign)
        return soft_indefinite(e, f);
    if (soft_operands(e, f, &x, 1, &nan))
        return nan;
    if (x.class != SOFT_FINITE)
        return soft_pack(e, f, &x);
    unsigned odd = (unsigned)x.exp & 1;
    uint64_t r = root((wide)x.sig << (odd ? 64 : 63), &rest);
    struct soft s = {.class = SOFT_FINITE, .exp = (x.exp - (int)odd) / 2, .sig = r | rest};
    return soft_pack(e, f, &s);
}

/* ---- comparison ------------------------------------------------------------------------------------------------------ */

enum soft_order soft_order(const struct soft *a, const struct soft *b)
{
    bool less;
    if (a->class == SOFT_NOUGHT && b->class == SOFT_NOUGHT)
        return SOFT_EQUAL;
    bool negative = a->class == SOFT_NOUGHT ? !b->sign : a->sign;
    if (a->class != SOFT_NOUGHT && b->class != SOFT_NOUGHT && a->sign != b->sign)
        return a->sign ? SOFT_LESS : SOFT_GREATER;
    if (a->class == SOFT_NOUGHT || b->class == SOFT_NOUGHT)
        return negative ? SOFT_LESS : SOFT_GREATER;
    if (a->class != b->class)
        less = a->class < b->class;
    else if (a->class == SOFT_INFINITE || (a->exp == b->exp && a->sig == b->sig))
        return SOFT_EQUAL;
    else
        less = a->exp != b->exp ? a->exp < b->exp : a->sig < b->sig;
    return less != a->sign ? SOFT_LESS : SOFT_GREATER;
}

enum soft_order soft_compare(struct soft_env *e, const struct soft_format *f, uint64_t a, uint64_t b, bool signals)
{
    struct soft x[2] = {soft_unpack(e, f, a), soft_unpack(e, f, b)};
    uint64_t nan;
    if (!soft_operands(e, f, x, 2, &nan))
        return soft_order(&x[0], &x[1]);
    e->flags |= signals ? SOFT_INVALID : 0;
    return SOFT_UNORDERED;
}

/* ---- conversions ----------------------------------------------------------------------------------------------------- */

uint64_t soft_convert(struct soft_env *e, const struct soft_format *to, const struct soft_format *from, uint64_t a)
{
    struct soft x = soft_unpack(e, from, a);
    uint64_t nan;
    return soft_operands(e, to, &x, 1, &nan) ? nan : soft_pack(e, to, &x);
}

uint64_t soft_from_int(struct soft_env *e, const struct soft_format *f, uint64_t magnitude, bool sign)
{
    struct soft x = normalise(sign, 127, magnitude);
    x.sign = magnitude && sign;
    return soft_pack(e, f, &x);
}

/* The integer nearest to v, of at most 64 bits; *fits. */
static uint64_t integer_of(const struct soft *v, enum soft_round round, bool *inexact, bool *fits)
{
    *inexact = false;
    *fits = v->class == SOFT_NOUGHT || (v->class == SOFT_FINITE && v->exp < 64);
    if (v->class == SOFT_NOUGHT || !*fits || v->exp == 63)
        return v->sig;
    int drop = 63 - v->exp;
    if (drop > 63) /* below 1: two bits are enough, a half and what is less */
        return round_off(shift_down(v->sig, (unsigned)(drop > 70 ? 70 : drop) - 2), 2, round, v->sign, inexact);
    return round_off(v->sig, (unsigned)drop, round, v->sign, inexact);
}

uint64_t soft_to_int(struct soft_env *e, const struct soft_format *f, uint64_t a, unsigned bits, bool is_signed,
                     enum soft_round round)
{
    struct soft x = soft_unpack(e, f, a);
    bool inexact, fits;
    uint64_t v = integer_of(&x, round, &inexact, &fits);
    uint64_t most = is_signed ? mask_bits(bits - 1) + x.sign : x.sign ? 0 : mask_bits(bits);
    if (!fits || v > most) {
        e->flags |= SOFT_INVALID;
        return is_signed ? 1ull << (bits - 1) : mask_bits(bits);
    }
    e->flags |= inexact ? SOFT_INEXACT : 0;
    return (x.sign ? -v : v) & mask_bits(bits);
}

uint64_t soft_integral(struct soft_env *e, const struct soft_format *f, uint64_t a, unsigned places,
                       enum soft_round round, bool quietly)
{
    struct soft x = soft_unpack(e, f, a);
    bool inexact, fits;
    if (x.signaling)
        e->flags |= SOFT_INVALID;
    if (x.class != SOFT_FINITE)
        return soft_pack(e, f, &x);
    x.exp += (int)places;
    uint64_t v = integer_of(&x, round, &inexact, &fits);
    if (!fits) /* an integer already */
        return a;
    if (inexact && !quietly)
        e->flags |= SOFT_INEXACT;
    struct soft r = normalise(x.sign, 127 - (int)places, v);
    struct soft_env exact = {.round = SOFT_NEAREST};
    return soft_pack(&exact, f, &r);
}
