/* ir/generic_lane.c: the generic path's integer functions of one element (Intel SDM vol. 2, the insn that each row of
 * generic.def names).  They return more bits than an element has where it is simpler: the caller stores as many as fit.
 */
#include "ir/generic.h"

static int64_t sa(const struct lane *l)
{
    return sign_extend(l->a, l->bits);
}

static int64_t sb(const struct lane *l)
{
    return sign_extend(l->b, l->bits);
}

static uint64_t all_ones(bool yes)
{
    return yes ? ~0ull : 0;
}

/* ---- moves and logic -------------------------------------------------------------------------------------------- */

uint64_t lane_second(const struct lane *l)
{
    return l->b;
}

uint64_t lane_and(const struct lane *l)
{
    return l->a & l->b;
}

uint64_t lane_andn(const struct lane *l)
{
    return ~l->a & l->b;
}

uint64_t lane_or(const struct lane *l)
{
    return l->a | l->b;
}

uint64_t lane_xor(const struct lane *l)
{
    return l->a ^ l->b;
}

uint64_t lane_xnor(const struct lane *l)
{
    return ~(l->a ^ l->b);
}

uint64_t lane_not(const struct lane *l)
{
    return ~l->b;
}

/* Bit n of the immediate is the result where the bits of destination, first and second source make the number n. */
uint64_t lane_ternary(const struct lane *l)
{
    uint64_t v = 0;
    for (unsigned n = 0; n < 8; n++)
        if (l->imm >> n & 1)
            v |= (n & 4 ? l->d : ~l->d) & (n & 2 ? l->a : ~l->a) & (n & 1 ? l->b : ~l->b);
    return v;
}

uint64_t lane_test(const struct lane *l)
{
    return all_ones((l->a & l->b) != 0);
}

uint64_t lane_test_not(const struct lane *l)
{
    return all_ones((l->a & l->b) == 0);
}

uint64_t lane_sign_extend(const struct lane *l)
{
    return (uint64_t)sign_extend(l->b, l->from);
}

uint64_t lane_unpack_masks(const struct lane *l)
{
    unsigned half = l->bits / 2;
    return l->a << half | (l->b & mask_bits(half));
}

/* ---- sums, differences ------------------------------------------------------------------------------------------ */

uint64_t lane_add(const struct lane *l)
{
    return l->a + l->b;
}

uint64_t lane_sub(const struct lane *l)
{
    return l->a - l->b;
}

static uint64_t clamp_signed(int64_t v, unsigned bits)
{
    int64_t most = (int64_t)mask_bits(bits - 1);
    return (uint64_t)(v > most ? most : v < -most - 1 ? -most - 1 : v);
}

static uint64_t clamp_unsigned(int64_t v, unsigned bits)
{
    int64_t most = (int64_t)mask_bits(bits);
    return (uint64_t)(v > most ? most : v < 0 ? 0 : v);
}

uint64_t lane_add_signed(const struct lane *l)
{
    return clamp_signed(sa(l) + sb(l), l->bits);
}

uint64_t lane_sub_signed(const struct lane *l)
{
    return clamp_signed(sa(l) - sb(l), l->bits);
}

uint64_t lane_add_unsigned(const struct lane *l)
{
    return clamp_unsigned((int64_t)(l->a + l->b), l->bits);
}

uint64_t lane_sub_unsigned(const struct lane *l)
{
    return clamp_unsigned((int64_t)(l->a - l->b), l->bits);
}

uint64_t lane_average(const struct lane *l)
{
    return (l->a + l->b + 1) >> 1;
}

uint64_t lane_abs(const struct lane *l)
{
    return sb(l) < 0 ? -l->b : l->b;
}

uint64_t lane_sign(const struct lane *l)
{
    return sb(l) < 0 ? -l->a : sb(l) == 0 ? 0 : l->a;
}

/* PSADBW: the absolute differences of eight bytes. */
uint64_t lane_sum_differences(const struct lane *l)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < 64; i += 8) {
        int x = (int)(l->a >> i & 0xff), y = (int)(l->b >> i & 0xff);
        sum += (uint64_t)(x > y ? x - y : y - x);
    }
    return sum;
}

uint64_t lane_saturate_signed(const struct lane *l)
{
    return clamp_signed(sign_extend(l->b, l->from), l->bits);
}

uint64_t lane_saturate_unsigned(const struct lane *l)
{
    return l->b > mask_bits(l->bits) ? mask_bits(l->bits) : l->b;
}

/* ---- comparisons ------------------------------------------------------------------------------------------------- */

uint64_t lane_min_signed(const struct lane *l)
{
    return sa(l) < sb(l) ? l->a : l->b;
}

uint64_t lane_max_signed(const struct lane *l)
{
    return sa(l) > sb(l) ? l->a : l->b;
}

uint64_t lane_min_unsigned(const struct lane *l)
{
    return l->a < l->b ? l->a : l->b;
}

uint64_t lane_max_unsigned(const struct lane *l)
{
    return l->a > l->b ? l->a : l->b;
}

uint64_t lane_eq(const struct lane *l)
{
    return all_ones(l->a == l->b);
}

uint64_t lane_gt(const struct lane *l)
{
    return all_ones(sa(l) > sb(l));
}

/* EQ, LT, LE, FALSE; NE, NLT, NLE, TRUE. */
static uint64_t compare(unsigned predicate, bool equal, bool less)
{
    static const uint8_t holds[8] = {4, 1, 5, 0, 3, 6, 2, 7}; /* bits: less, greater, equal */
    unsigned is = equal ? 4 : less ? 1 : 2;
    return all_ones(holds[predicate & 7] & is);
}

uint64_t lane_compare_signed(const struct lane *l)
{
    return compare(l->imm, l->a == l->b, sa(l) < sb(l));
}

uint64_t lane_compare_unsigned(const struct lane *l)
{
    return compare(l->imm, l->a == l->b, l->a < l->b);
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

uint64_t lane_mul_low(const struct lane *l)
{
    return l->a * l->b;
}

uint64_t lane_mul_high_signed(const struct lane *l)
{
    return (uint64_t)(sa(l) * sb(l) >> 16);
}

uint64_t lane_mul_high_unsigned(const struct lane *l)
{
    return l->a * l->b >> 16;
}

uint64_t lane_mul_round(const struct lane *l)
{
    return (uint64_t)(((sa(l) * sb(l) >> 14) + 1) >> 1);
}

uint64_t lane_mul_wide_unsigned(const struct lane *l)
{
    return (uint64_t)(uint32_t)l->a * (uint32_t)l->b;
}

uint64_t lane_mul_wide_signed(const struct lane *l)
{
    return (uint64_t)((int64_t)(int32_t)l->a * (int32_t)l->b);
}

static __uint128_t product_52(const struct lane *l)
{
    return (__uint128_t)(l->a & mask_bits(52)) * (l->b & mask_bits(52));
}

uint64_t lane_mul52_low(const struct lane *l)
{
    return l->d + ((uint64_t)product_52(l) & mask_bits(52));
}

uint64_t lane_mul52_high(const struct lane *l)
{
    return l->d + (uint64_t)(product_52(l) >> 52);
}

static int64_t signed_word(uint64_t v, unsigned n)
{
    return sign_extend(v >> 16 * n, 16);
}

static int64_t dot_words(const struct lane *l)
{
    return signed_word(l->a, 0) * signed_word(l->b, 0) + signed_word(l->a, 1) * signed_word(l->b, 1);
}

/* n products of unsigned bytes of a with signed ones of b. */
static int64_t dot_bytes(const struct lane *l, unsigned n)
{
    int64_t sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += (int64_t)(l->a >> 8 * i & 0xff) * sign_extend(l->b >> 8 * i, 8);
    return sum;
}

uint64_t lane_multiply_add_words(const struct lane *l)
{
    return (uint64_t)dot_words(l);
}

uint64_t lane_multiply_add_bytes(const struct lane *l)
{
    return clamp_signed(dot_bytes(l, 2), 16);
}

uint64_t lane_dot_words(const struct lane *l)
{
    return l->d + (uint64_t)dot_words(l);
}

uint64_t lane_dot_words_saturated(const struct lane *l)
{
    return clamp_signed(sign_extend(l->d, 32) + dot_words(l), 32);
}

uint64_t lane_dot_bytes(const struct lane *l)
{
    return l->d + (uint64_t)dot_bytes(l, 4);
}

uint64_t lane_dot_bytes_saturated(const struct lane *l)
{
    return clamp_signed(sign_extend(l->d, 32) + dot_bytes(l, 4), 32);
}

/* ---- shifts: b is the count, of any size -------------------------------------------------------------------------- */

uint64_t lane_shl(const struct lane *l)
{
    return l->b < l->bits ? l->a << l->b : 0;
}

uint64_t lane_shr(const struct lane *l)
{
    return l->b < l->bits ? l->a >> l->b : 0;
}

uint64_t lane_sar(const struct lane *l)
{
    return (uint64_t)(sa(l) >> (l->b < l->bits ? l->b : l->bits - 1));
}

static uint64_t rotate_left(uint64_t v, unsigned n, unsigned bits)
{
    n %= bits;
    return n ? v << n | v >> (bits - n) : v;
}

uint64_t lane_rol(const struct lane *l)
{
    return rotate_left(l->a, (unsigned)(l->b % l->bits), l->bits);
}

uint64_t lane_ror(const struct lane *l)
{
    return rotate_left(l->a, l->bits - (unsigned)(l->b % l->bits), l->bits);
}

/* The upper half of high:low shifted left. */
static uint64_t shift_double(uint64_t high, uint64_t low, uint64_t n, unsigned bits)
{
    n &= bits - 1;
    return n ? high << n | low >> (bits - n) : high;
}

uint64_t lane_shift_left_by(const struct lane *l)
{
    return shift_double(l->d, l->a, l->b, l->bits);
}

uint64_t lane_shift_left_imm(const struct lane *l)
{
    return shift_double(l->a, l->b, l->imm, l->bits);
}

/* Right by n is left by the others, of the two exchanged; by 0 it is the lower half. */
static uint64_t shift_double_right(uint64_t high, uint64_t low, uint64_t n, unsigned bits)
{
    n &= bits - 1;
    return n ? shift_double(high, low, bits - n, bits) : low;
}

uint64_t lane_shift_right_by(const struct lane *l)
{
    return shift_double_right(l->a, l->d, l->b, l->bits);
}

uint64_t lane_shift_right_imm(const struct lane *l)
{
    return shift_double_right(l->b, l->a, l->imm, l->bits);
}

uint64_t lane_shift_mask_left(const struct lane *l)
{
    return l->imm < l->bits ? l->b << l->imm : 0;
}

uint64_t lane_shift_mask_right(const struct lane *l)
{
    return l->imm < l->bits ? l->b >> l->imm : 0;
}

/* ---- bits --------------------------------------------------------------------------------------------------------- */

uint64_t lane_leading_zeros(const struct lane *l)
{
    return l->b ? (unsigned)__builtin_clzll(l->b) - (64 - l->bits) : l->bits;
}

uint64_t lane_ones(const struct lane *l)
{
    return (unsigned)__builtin_popcountll(l->b);
}

/* VPMULTISHIFTQB: the eight bits of b's eight bytes from the bit on that this byte of a tells, around their end. */
uint64_t lane_multishift(const struct lane *l)
{
    return rotate_left(element(l->g->b, l->index / 8, 8), 64 - (unsigned)(l->a & 63), 64);
}

/* VPSHUFBITQMB: of the 64 bits of a around this byte, the one that b tells. */
uint64_t lane_shuffle_bit(const struct lane *l)
{
    return element(l->g->a, l->index / 8, 8) >> (l->b & 63) & 1;
}

/* ---- SSE4a (AMD APM vol. 4, EXTRQ, INSERTQ): fields of `length` bits from `at` on; a length of 0 is 64 ------------- */

static uint64_t field_mask(unsigned length)
{
    return mask_bits(length & 63 ? length & 63 : 64);
}

static uint64_t insert_field(uint64_t to, uint64_t v, unsigned length, unsigned at)
{
    uint64_t mask = field_mask(length) << (at & 63);
    return (to & ~mask) | (v << (at & 63) & mask);
}

uint64_t lane_extract_field(const struct lane *l)
{
    return l->b >> (l->g->imm >> 8 & 63) & field_mask(l->g->imm);
}

uint64_t lane_extract_field_by(const struct lane *l)
{
    return l->a >> (l->b >> 8 & 63) & field_mask((unsigned)l->b);
}

uint64_t lane_insert_field(const struct lane *l)
{
    return insert_field(l->a, l->b, l->g->imm, l->g->imm >> 8);
}

void part_insert_field_by(struct generic *g, unsigned at)
{
    uint64_t how = bytes_get(g->b + 8, 8);
    (void)at;
    bytes_put(g->d, insert_field(bytes_get(g->a, 8), bytes_get(g->b, 8), (unsigned)how, (unsigned)(how >> 8)), 8);
}
