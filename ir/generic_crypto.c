/* ir/generic_crypto.c: the generic path's AES (FIPS 197), SHA (FIPS 180-4), carry-less product and GF(2^8) (Intel SDM
 * vol. 2).
 *
 * AES is computed from its definition, not from tables: a substitution is an inverse in GF(2^8) and an affine map.
 * That is slow; a guest that asks for speed here has to be on a host with the unit.
 */
#include "ir/generic.h"

#include <string.h>

/* ---- GF(2^8) with the polynomial x^8 + x^4 + x^3 + x + 1 -------------------------------------------------------- */

static uint8_t galois_product(unsigned x, unsigned y)
{
    unsigned r = 0;
    for (; y; y >>= 1) {
        r ^= y & 1 ? x : 0;
        x = x << 1 ^ (x & 0x80 ? 0x11b : 0);
    }
    return (uint8_t)r;
}

/* x^254; that of 0 is 0. */
static uint8_t galois_inverse(uint8_t x)
{
    uint8_t r = 1;
    for (unsigned i = 0; i < 7; i++) {
        x = galois_product(x, x);
        r = galois_product(r, x);
    }
    return r;
}

uint64_t lane_galois_product(const struct lane *l)
{
    return galois_product((unsigned)l->a, (unsigned)l->b);
}

/* Bit i of the result: the parity of x under byte 7 - i of the matrix. */
static uint64_t affine(uint64_t matrix, uint8_t x, uint8_t constant)
{
    unsigned r = 0;
    for (unsigned i = 0; i < 8; i++)
        r |= (unsigned)__builtin_parity((unsigned)(matrix >> 8 * (7 - i) & x)) << i;
    return r ^ constant;
}

/* The matrix: the eight bytes of b around this byte. */
uint64_t lane_affine(const struct lane *l)
{
    return affine(element(l->g->b, l->index / 8, 8), (uint8_t)l->a, l->imm);
}

uint64_t lane_affine_inverse(const struct lane *l)
{
    return affine(element(l->g->b, l->index / 8, 8), galois_inverse((uint8_t)l->a), l->imm);
}

static void carryless(uint64_t x, uint64_t y, uint8_t to[16])
{
    uint64_t low = 0, high = 0;
    for (unsigned i = 0; i < 64; i++)
        if (y >> i & 1) {
            low ^= x << i;
            high ^= i ? x >> (64 - i) : 0;
        }
    put_element(to, 0, 8, low);
    put_element(to, 1, 8, high);
}

void part_carryless(struct generic *g, unsigned at)
{
    carryless(element(g->a + at, g->imm & 1, 8), element(g->b + at, g->imm >> 4 & 1, 8), g->d + at);
}

/* ---- AES: byte 4 * column + row of the state ------------------------------------------------------------------------ */

static uint8_t rotate_byte(uint8_t x, unsigned n)
{
    return (uint8_t)(x << n | x >> (8 - n));
}

static uint8_t substitute(uint8_t x)
{
    x = galois_inverse(x);
    return x ^ rotate_byte(x, 1) ^ rotate_byte(x, 2) ^ rotate_byte(x, 3) ^ rotate_byte(x, 4) ^ 0x63;
}

static uint8_t substitute_back(uint8_t x)
{
    return galois_inverse((uint8_t)(rotate_byte(x, 1) ^ rotate_byte(x, 3) ^ rotate_byte(x, 6) ^ 0x05));
}

/* Row r of the state moves by r columns; every byte is substituted. */
static void shift_and_substitute(const uint8_t *s, bool back, uint8_t to[16])
{
    for (unsigned column = 0; column < 4; column++)
        for (unsigned row = 0; row < 4; row++) {
            uint8_t x = s[4 * ((column + (back ? 4 - row : row)) & 3) + row];
            to[4 * column + row] = back ? substitute_back(x) : substitute(x);
        }
}

/* Each column times the polynomial whose coefficients are m, lowest last. */
static void mix_columns(const uint8_t m[4], const uint8_t s[16], uint8_t to[16])
{
    for (unsigned i = 0; i < 16; i++) {
        const uint8_t *column = s + (i & ~3u);
        uint8_t r = 0;
        for (unsigned k = 0; k < 4; k++)
            r ^= galois_product(m[(k - i) & 3], column[k]);
        to[i] = r;
    }
}

static const uint8_t mix_forward[4] = {2, 3, 1, 1}, mix_back[4] = {14, 11, 13, 9};

static void add_key(struct generic *g, unsigned at, const uint8_t s[16])
{
    for (unsigned i = 0; i < 16; i++)
        g->d[at + i] = s[i] ^ g->b[at + i];
}

static void aes_round(struct generic *g, unsigned at, bool decrypt, bool last)
{
    uint8_t s[16], mixed[16];
    shift_and_substitute(g->a + at, decrypt, s);
    if (!last)
        mix_columns(decrypt ? mix_back : mix_forward, s, mixed);
    add_key(g, at, last ? s : mixed);
}

void part_aes_encrypt(struct generic *g, unsigned at)
{
    aes_round(g, at, false, false);
}

void part_aes_encrypt_last(struct generic *g, unsigned at)
{
    aes_round(g, at, false, true);
}

void part_aes_decrypt(struct generic *g, unsigned at)
{
    aes_round(g, at, true, false);
}

void part_aes_decrypt_last(struct generic *g, unsigned at)
{
    aes_round(g, at, true, true);
}

void part_aes_mix(struct generic *g, unsigned at)
{
    mix_columns(mix_back, g->b + at, g->d + at);
}

/* Words 1 and 3 substituted, and again rotated by a byte and with the round's constant. */
void part_aes_key(struct generic *g, unsigned at)
{
    for (unsigned i = 0; i < 4; i++) {
        g->d[at + i] = substitute(g->b[at + 4 + i]);
        g->d[at + 8 + i] = substitute(g->b[at + 12 + i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        g->d[at + 4 + i] = g->d[at + ((i + 1) & 3)];
        g->d[at + 12 + i] = g->d[at + 8 + ((i + 1) & 3)];
    }
    g->d[at + 4] ^= (uint8_t)g->imm;
    g->d[at + 12] ^= (uint8_t)g->imm;
}

/* ---- SHA: a is the destination before.  Words by their index in the manual's pseudocode ------------------------------ */

static uint32_t word(const uint8_t *v, unsigned n)
{
    return (uint32_t)element(v, n, 4);
}

static uint32_t rotate_left(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static uint32_t rotate_right(uint32_t x, unsigned n)
{
    return rotate_left(x, 32 - n);
}

static uint32_t choose(uint32_t x, uint32_t y, uint32_t z)
{
    return (x & y) ^ (~x & z);
}

static uint32_t majority(uint32_t x, uint32_t y, uint32_t z)
{
    return (x & y) ^ (x & z) ^ (y & z);
}

void part_sha1_next(struct generic *g, unsigned at)
{
    memcpy(g->d + at, g->b + at, 16);
    put_element(g->d + at, 3, 4, word(g->b + at, 3) + rotate_left(word(g->a + at, 3), 30));
}

/* Words 3 to 0 are W0 to W3 of a, W4 and W5 of b. */
void part_sha1_message1(struct generic *g, unsigned at)
{
    for (unsigned i = 0; i < 4; i++) {
        uint32_t later = i < 2 ? word(g->b + at, i + 2) : word(g->a + at, i - 2);
        put_element(g->d + at, i, 4, word(g->a + at, i) ^ later);
    }
}

void part_sha1_message2(struct generic *g, unsigned at)
{
    uint32_t w16 = rotate_left(word(g->a + at, 3) ^ word(g->b + at, 2), 1);
    put_element(g->d + at, 3, 4, w16);
    put_element(g->d + at, 2, 4, rotate_left(word(g->a + at, 2) ^ word(g->b + at, 1), 1));
    put_element(g->d + at, 1, 4, rotate_left(word(g->a + at, 1) ^ word(g->b + at, 0), 1));
    put_element(g->d + at, 0, 4, rotate_left(word(g->a + at, 0) ^ w16, 1));
}

static uint32_t sha1_function(unsigned which, uint32_t b, uint32_t c, uint32_t d)
{
    return which == 0 ? choose(b, c, d) : which == 2 ? majority(b, c, d) : b ^ c ^ d;
}

/* Four rounds; E is added to the first word already. */
void part_sha1_rounds(struct generic *g, unsigned at)
{
    static const uint32_t k[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    unsigned which = g->imm & 3;
    uint32_t a = word(g->a + at, 3), b = word(g->a + at, 2), c = word(g->a + at, 1), d = word(g->a + at, 0), e = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint32_t next = sha1_function(which, b, c, d) + rotate_left(a, 5) + word(g->b + at, 3 - i) + e + k[which];
        e = d;
        d = c;
        c = rotate_left(b, 30);
        b = a;
        a = next;
    }
    put_element(g->d + at, 3, 4, a);
    put_element(g->d + at, 2, 4, b);
    put_element(g->d + at, 1, 4, c);
    put_element(g->d + at, 0, 4, d);
}

/* Two rounds: a holds C, D, G, H, b holds A, B, E, F, register 0 the words with their constants. */
void part_sha256_rounds(struct generic *g, unsigned at)
{
    const uint8_t *x = g->a + at, *y = g->b + at;
    uint32_t a = word(y, 3), b = word(y, 2), c = word(x, 3), d = word(x, 2), e = word(y, 1), f = word(y, 0),
             k = word(x, 1), h = word(x, 0);
    for (unsigned i = 0; i < 2; i++) {
        uint32_t one =
            choose(e, f, k) + (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25)) + word(g->last, i) + h;
        uint32_t two = majority(a, b, c) + (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22));
        h = k;
        k = f;
        f = e;
        e = one + d;
        d = c;
        c = b;
        b = a;
        a = one + two;
    }
    put_element(g->d + at, 3, 4, a);
    put_element(g->d + at, 2, 4, b);
    put_element(g->d + at, 1, 4, e);
    put_element(g->d + at, 0, 4, f);
}

void part_sha256_message1(struct generic *g, unsigned at)
{
    for (unsigned i = 0; i < 4; i++) {
        uint32_t w = i < 3 ? word(g->a + at, i + 1) : word(g->b + at, 0);
        put_element(g->d + at, i, 4, word(g->a + at, i) + (rotate_right(w, 7) ^ rotate_right(w, 18) ^ w >> 3));
    }
}

void part_sha256_message2(struct generic *g, unsigned at)
{
    uint32_t w[6] = {word(g->b + at, 2), word(g->b + at, 3)};
    for (unsigned i = 0; i < 4; i++) {
        w[i + 2] = word(g->a + at, i) + (rotate_right(w[i], 17) ^ rotate_right(w[i], 19) ^ w[i] >> 10);
        put_element(g->d + at, i, 4, w[i + 2]);
    }
}
