/* ir/generic_move.c: the generic path's functions of 16 bytes or of the whole register: shuffles, packs, inserts and
 * extracts, broadcasts, compression, tests.  (Intel SDM vol. 2.)
 */
#include "ir/generic.h"

#include <string.h>

/* Functions of the whole register get 0 and have no use for it. */
#define WHOLE(at) ((void)(at))

static unsigned elements(const struct generic *g)
{
    return g->length / g->size;
}

static void put_word(struct generic *g, uint64_t v)
{
    memset(g->d, 0, sizeof g->d);
    bytes_put(g->d, v, 8);
    g->out = 8;
}

/* ---- halves and duplicates ---------------------------------------------------------------------------------------- */

/* MOVLPS; MOVHLPS, which is its register form. */
void part_low(struct generic *g, unsigned at)
{
    memcpy(g->d + at, g->b + at + (g->memory ? 0 : 8), 8);
    memcpy(g->d + at + 8, g->a + at + 8, 8);
}

void part_high(struct generic *g, unsigned at)
{
    memcpy(g->d + at, g->a + at, 8);
    memcpy(g->d + at + 8, g->b + at, 8);
}

void part_from_high(struct generic *g, unsigned at)
{
    WHOLE(at);
    memcpy(g->d, g->b + 8, 8);
    g->out = 8;
}

static void duplicate(struct generic *g, unsigned at, unsigned odd)
{
    for (unsigned i = 0; i < 16 / g->size; i++)
        put_element(g->d + at, i, g->size, element(g->b + at, (i & ~1u) + odd, g->size));
}

void part_duplicate_low(struct generic *g, unsigned at)
{
    duplicate(g, at, 0);
}

void part_duplicate_high(struct generic *g, unsigned at)
{
    duplicate(g, at, 1);
}

/* ---- within 16 bytes ---------------------------------------------------------------------------------------------- */

static void unpack(struct generic *g, unsigned at, unsigned half)
{
    for (unsigned i = 0; i < 8 / g->size; i++) {
        put_element(g->d + at, 2 * i, g->size, element(g->a + at + half, i, g->size));
        put_element(g->d + at, 2 * i + 1, g->size, element(g->b + at + half, i, g->size));
    }
}

void part_unpack_low(struct generic *g, unsigned at)
{
    unpack(g, at, 0);
}

void part_unpack_high(struct generic *g, unsigned at)
{
    unpack(g, at, 8);
}

/* Signed elements of twice the size, those of a first. */
static void pack(struct generic *g, unsigned at, int64_t least, int64_t most)
{
    unsigned n = 16 / g->size;
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *from = i < n / 2 ? g->a : g->b;
        int64_t v = sign_extend(element(from + at, i % (n / 2), 2 * g->size), 16 * g->size);
        put_element(g->d + at, i, g->size, (uint64_t)(v < least ? least : v > most ? most : v));
    }
}

void part_pack_signed(struct generic *g, unsigned at)
{
    int64_t most = (int64_t)mask_bits(8 * g->size - 1);
    pack(g, at, -most - 1, most);
}

void part_pack_unsigned(struct generic *g, unsigned at)
{
    pack(g, at, 0, (int64_t)mask_bits(8 * g->size));
}

/* PSHUFD, PERMILPS */
void part_shuffle_dwords(struct generic *g, unsigned at)
{
    for (unsigned i = 0; i < 4; i++)
        put_element(g->d + at, i, 4, element(g->b + at, g->imm >> 2 * i & 3, 4));
}

static void shuffle_words(struct generic *g, unsigned at, unsigned half)
{
    memcpy(g->d + at, g->b + at, 16);
    for (unsigned i = 0; i < 4; i++)
        put_element(g->d + at + half, i, 2, element(g->b + at + half, g->imm >> 2 * i & 3, 2));
}

void part_shuffle_low_words(struct generic *g, unsigned at)
{
    shuffle_words(g, at, 0);
}

void part_shuffle_high_words(struct generic *g, unsigned at)
{
    shuffle_words(g, at, 8);
}

void part_shuffle_floats(struct generic *g, unsigned at)
{
    for (unsigned i = 0; i < 4; i++)
        put_element(g->d + at, i, 4, element((i < 2 ? g->a : g->b) + at, g->imm >> 2 * i & 3, 4));
}

/* The immediate goes on from 16 bytes to the next. */
void part_shuffle_doubles(struct generic *g, unsigned at)
{
    for (unsigned i = 0; i < 2; i++)
        put_element(g->d + at, i, 8, element((i ? g->b : g->a) + at, g->imm >> (at / 8 + i) & 1, 8));
}

void part_permute_doubles_imm(struct generic *g, unsigned at)
{
    for (unsigned i = 0; i < 2; i++)
        put_element(g->d + at, i, 8, element(g->b + at, g->imm >> (at / 8 + i) & 1, 8));
}

void part_shuffle_bytes(struct generic *g, unsigned at)
{
    for (unsigned i = 0; i < 16; i++)
        g->d[at + i] = g->b[at + i] & 0x80 ? 0 : g->a[at + (g->b[at + i] & 15)];
}

/* PERMILPS, PERMILPD: of a double the selector is bit 1. */
void part_permute_block(struct generic *g, unsigned at)
{
    for (unsigned i = 0; i < 16 / g->size; i++) {
        uint64_t which = element(g->b + at, i, g->size);
        put_element(g->d + at, i, g->size, element(g->a + at, g->size == 8 ? which >> 1 & 1 : which & 3, g->size));
    }
}

void part_align_bytes(struct generic *g, unsigned at)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned from = g->imm + i;
        g->d[at + i] = from < 16 ? g->b[at + from] : from < 32 ? g->a[at + from - 16] : 0;
    }
}

void part_shift_left(struct generic *g, unsigned at)
{
    for (unsigned i = g->imm; i < 16; i++)
        g->d[at + i] = g->b[at + i - g->imm];
}

void part_shift_right(struct generic *g, unsigned at)
{
    for (unsigned i = 0; i + g->imm < 16; i++)
        g->d[at + i] = g->b[at + i + g->imm];
}

/* Neighbours of a, then of b. */
static void horizontal(struct generic *g, unsigned at, lane_fn *fn)
{
    unsigned n = 16 / g->size;
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *from = (i < n / 2 ? g->a : g->b) + at;
        struct lane l = {.bits = 8 * g->size, .g = g};
        l.a = element(from, 2 * (i % (n / 2)), g->size);
        l.b = element(from, 2 * (i % (n / 2)) + 1, g->size);
        put_element(g->d + at, i, g->size, fn(&l));
    }
}

void part_horizontal_add(struct generic *g, unsigned at)
{
    horizontal(g, at, lane_add);
}

void part_horizontal_add_signed(struct generic *g, unsigned at)
{
    horizontal(g, at, lane_add_signed);
}

void part_horizontal_sub(struct generic *g, unsigned at)
{
    horizontal(g, at, lane_sub);
}

void part_horizontal_sub_signed(struct generic *g, unsigned at)
{
    horizontal(g, at, lane_sub_signed);
}

static unsigned differences(const uint8_t *x, const uint8_t *y)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < 4; i++)
        sum += (unsigned)(x[i] > y[i] ? x[i] - y[i] : y[i] - x[i]);
    return sum;
}

/* MPSADBW: each odd 16 bytes have three bits of the immediate of their own. */
void part_sums_of_differences(struct generic *g, unsigned at)
{
    unsigned imm = g->imm >> (at & 16 ? 3 : 0);
    for (unsigned i = 0; i < 8; i++)
        put_element(g->d + at, i, 2, differences(g->a + at + (imm & 4) + i, g->b + at + 4 * (imm & 3)));
}

/* VDBPSADBW */
void part_double_block_sums(struct generic *g, unsigned at)
{
    uint8_t shuffled[16];
    for (unsigned i = 0; i < 4; i++)
        memcpy(shuffled + 4 * i, g->b + at + 4 * (g->imm >> 2 * i & 3), 4);
    for (unsigned i = 0; i < 8; i++)
        put_element(g->d + at, i, 2,
                    differences(g->a + at + 4 * (i / 2), shuffled + i % 2 + 2 * (i % 4 / 2) + 8 * (i / 4)));
}

/* ---- across the register ------------------------------------------------------------------------------------------- */

void part_permute(struct generic *g, unsigned at)
{
    WHOLE(at);
    for (unsigned i = 0, n = elements(g); i < n; i++)
        put_element(g->d, i, g->size, element(g->b, element(g->a, i, g->size) & (n - 1), g->size));
}

/* Of two tables, one after the other. */
static void permute_two(struct generic *g, const uint8_t *index, const uint8_t *low, const uint8_t *high)
{
    for (unsigned i = 0, n = elements(g); i < n; i++) {
        uint64_t which = element(index, i, g->size);
        put_element(g->d, i, g->size, element(which & n ? high : low, which & (n - 1), g->size));
    }
}

void part_permute_indices(struct generic *g, unsigned at)
{
    WHOLE(at);
    permute_two(g, g->old, g->a, g->b);
}

void part_permute_tables(struct generic *g, unsigned at)
{
    WHOLE(at);
    permute_two(g, g->a, g->old, g->b);
}

void part_permute_imm(struct generic *g, unsigned at)
{
    WHOLE(at);
    for (unsigned i = 0; i < elements(g); i++)
        put_element(g->d, i, 8, element(g->b, (i & ~3u) + (g->imm >> 2 * (i & 3) & 3), 8));
}

/* VPERM2F128, VPERM2I128 */
void part_permute_halves(struct generic *g, unsigned at)
{
    WHOLE(at);
    for (unsigned i = 0; i < 2; i++) {
        unsigned how = g->imm >> 4 * i;
        if (!(how & 8))
            memcpy(g->d + 16 * i, (how & 2 ? g->b : g->a) + 16 * (how & 1), 16);
    }
}

/* VSHUFF32X4 and its like: the lower half of the register from a, the upper from b. */
void part_shuffle_blocks(struct generic *g, unsigned at)
{
    unsigned n = g->length / 16, bits = n == 4 ? 2 : 1;
    WHOLE(at);
    for (unsigned i = 0; i < n; i++)
        memcpy(g->d + 16 * i, (i < n / 2 ? g->a : g->b) + 16 * (g->imm >> bits * i & (n - 1)), 16);
}

void part_align(struct generic *g, unsigned at)
{
    unsigned n = elements(g), by = g->imm & (n - 1);
    WHOLE(at);
    for (unsigned i = 0; i < n; i++)
        put_element(g->d, i, g->size, i + by < n ? element(g->b, i + by, g->size) : element(g->a, i + by - n, g->size));
}

void part_broadcast(struct generic *g, unsigned at)
{
    WHOLE(at);
    for (unsigned i = 0; i < g->length; i += g->from)
        memcpy(g->d + i, g->b, g->from);
}

void part_broadcast_mask(struct generic *g, unsigned at)
{
    WHOLE(at);
    for (unsigned i = 0; i < elements(g); i++)
        put_element(g->d, i, g->size, bytes_get(g->b, g->from));
}

void part_expand(struct generic *g, unsigned at)
{
    WHOLE(at);
    for (unsigned i = 0, next = 0; i < elements(g); i++)
        if (g->mask >> i & 1)
            put_element(g->d, i, g->size, element(g->b, next++, g->size));
}

/* What is not filled stays, or is 0; in memory it is not touched. */
void part_compress(struct generic *g, unsigned at)
{
    unsigned next = 0;
    WHOLE(at);
    for (unsigned i = 0; i < elements(g); i++)
        if (g->mask >> i & 1)
            put_element(g->d, next++, g->size, element(g->b, i, g->size));
    g->mask = mask_bits(next);
}

void part_conflicts(struct generic *g, unsigned at)
{
    WHOLE(at);
    for (unsigned i = 0; i < elements(g); i++) {
        uint64_t same = 0;
        for (unsigned k = 0; k < i; k++)
            same |= (uint64_t)(element(g->b, k, g->size) == element(g->b, i, g->size)) << k;
        put_element(g->d, i, g->size, same);
    }
}

/* VP2INTERSECT: the even mask register tells of a, the odd one of b. */
void part_intersect(struct generic *g, unsigned at)
{
    uint64_t first = 0;
    WHOLE(at);
    for (unsigned i = 0; i < elements(g); i++)
        for (unsigned k = 0; k < elements(g); k++)
            if (element(g->a, i, g->size) == element(g->b, k, g->size)) {
                first |= 1ull << i;
                g->pair |= 1ull << k;
            }
    put_word(g, first);
}

/* PHMINPOSUW */
void part_min_position(struct generic *g, unsigned at)
{
    unsigned least = 0;
    WHOLE(at);
    for (unsigned i = 1; i < 8; i++)
        if (element(g->b, i, 2) < element(g->b, least, 2))
            least = i;
    put_word(g, element(g->b, least, 2) | least << 16);
}

/* ---- blends -------------------------------------------------------------------------------------------------------- */

void part_blend_imm(struct generic *g, unsigned at)
{
    unsigned n = g->size == 2 ? 8 : elements(g); /* PBLENDW: the same bits for each 16 bytes */
    for (unsigned i = 0; i < n; i++)
        put_element(g->d + at, i, g->size, element((g->imm >> i & 1 ? g->b : g->a) + at, i, g->size));
}

static bool negative(const uint8_t *v, unsigned n, unsigned size)
{
    return v[n * size + size - 1] & 0x80;
}

void part_blend_by(struct generic *g, unsigned at)
{
    WHOLE(at);
    for (unsigned i = 0; i < elements(g); i++)
        put_element(g->d, i, g->size, element(negative(g->last, i, g->size) ? g->b : g->a, i, g->size));
}

/* Elements that are not selected are a's. */
void part_blend_mask(struct generic *g, unsigned at)
{
    WHOLE(at);
    memcpy(g->d, g->b, g->length);
    memcpy(g->old, g->a, g->length);
}

/* VMASKMOVPS and its like: a is the mask. */
void part_move_masked(struct generic *g, unsigned at)
{
    WHOLE(at);
    memcpy(g->d, g->b, g->length);
    g->mask = ir_avx_signs(g->a, g->size);
    g->zero = true;
}

/* ---- inserts and extracts ------------------------------------------------------------------------------------------ */

void part_insert(struct generic *g, unsigned at)
{
    WHOLE(at);
    memcpy(g->d, g->a, 16);
    put_element(g->d, g->imm & (16 / g->size - 1), g->size, bytes_get(g->b, 8));
}

void part_extract(struct generic *g, unsigned at)
{
    WHOLE(at);
    put_word(g, element(g->b, g->imm & (16 / g->size - 1), g->size));
    g->out = g->size;
}

void part_insert_float(struct generic *g, unsigned at)
{
    uint64_t v = element(g->b, g->memory ? 0 : g->imm >> 6 & 3, 4);
    WHOLE(at);
    memcpy(g->d, g->a, 16);
    put_element(g->d, g->imm >> 4 & 3, 4, v);
    for (unsigned i = 0; i < 4; i++)
        if (g->imm >> i & 1)
            put_element(g->d, i, 4, 0);
}

void part_insert_part(struct generic *g, unsigned at)
{
    WHOLE(at);
    memcpy(g->d, g->a, g->length);
    memcpy(g->d + g->from * (g->imm & (g->length / g->from - 1)), g->b, g->from);
}

void part_extract_part(struct generic *g, unsigned at)
{
    WHOLE(at);
    memcpy(g->d, g->b + g->from * (g->imm & (g->length / g->from - 1)), g->from);
    g->out = g->from;
}

/* ---- masks, signs, tests ------------------------------------------------------------------------------------------- */

void part_signs(struct generic *g, unsigned at)
{
    WHOLE(at);
    put_word(g, ir_avx_signs(g->b, g->size) & mask_bits(elements(g)));
}

void part_mask_to_vector(struct generic *g, unsigned at)
{
    uint64_t mask = bytes_get(g->b, 8);
    WHOLE(at);
    for (unsigned i = 0; i < elements(g); i++)
        put_element(g->d, i, g->size, mask >> i & 1 ? ~0ull : 0);
}

enum { CF = 1, ZF = 0x40 };

static void set_flags(struct generic *g, bool zero, bool carry)
{
    g->flags = (zero ? ZF : 0) | (carry ? CF : 0);
}

void part_kortest(struct generic *g, unsigned at)
{
    uint64_t v = bytes_get(g->a, g->size) | bytes_get(g->b, g->size);
    WHOLE(at);
    set_flags(g, !v, v == mask_bits(8 * g->size));
}

void part_ktest(struct generic *g, unsigned at)
{
    uint64_t a = bytes_get(g->a, g->size), b = bytes_get(g->b, g->size);
    WHOLE(at);
    set_flags(g, !(a & b), !(~a & b));
}

/* PTEST; or, with smaller elements, the signs alone. */
static void test(struct generic *g, uint64_t bits)
{
    bool zero = true, carry = true;
    for (unsigned i = 0; i < g->length / 8; i++) {
        uint64_t a = element(g->a, i, 8), b = element(g->b, i, 8);
        zero &= !(a & b & bits);
        carry &= !(~a & b & bits);
    }
    set_flags(g, zero, carry);
}

void part_test(struct generic *g, unsigned at)
{
    WHOLE(at);
    test(g, ~0ull);
}

void part_test_signs(struct generic *g, unsigned at)
{
    WHOLE(at);
    test(g, g->size == 4 ? 0x8000000080000000ull : 0x8000000000000000ull);
}

/* VZEROUPPER, VZEROALL: registers 16 and up are left alone. */
void part_zero(struct generic *g, unsigned at)
{
    unsigned keep = g->high ? 0 : 16;
    WHOLE(at);
    for (unsigned i = 0; i < 16; i++)
        memset(g->c->vec[i] + keep, 0, GENERIC_BYTES - keep);
}
