/* ir/soft.h: floating point by integer arithmetic, exactly as SSE, AVX and AVX-512 have it: results, NaNs, denormals and
 * exception flags (Intel SDM vol. 1, 4.8, 4.9, 11.5).
 *
 * A value is its bits in a uint64_t, of the format that goes with it.  Exceptions are collected in the environment; the
 * results are those of masked ones.
 */
#ifndef RHEA_IR_SOFT_H
#define RHEA_IR_SOFT_H

#include "base/base.h"

/* Exceptions, as in MXCSR. */
enum { SOFT_INVALID = 1, SOFT_DENORMAL = 2, SOFT_ZERO = 4, SOFT_OVERFLOW = 8, SOFT_UNDERFLOW = 16, SOFT_INEXACT = 32 };
enum soft_round { SOFT_NEAREST, SOFT_DOWN, SOFT_UP, SOFT_TRUNCATE };

struct soft_env {
    enum soft_round round, control; /* in force; MXCSR's, whatever the insn says */
    bool daz, ftz;
    unsigned flags, unmasked;
};

struct soft_format {
    unsigned fraction, exponent; /* bits */
};
extern const struct soft_format soft_half, soft_single, soft_double;
const struct soft_format *soft_of(unsigned bits);

/* A value taken apart: sig * 2^(exp - 63), the highest bit of sig set.  Of a NaN, sig is the fraction, from bit 62 down. */
enum soft_class { SOFT_NOUGHT, SOFT_FINITE, SOFT_INFINITE, SOFT_NAN };
struct soft {
    enum soft_class class;
    bool sign, denormal, signaling;
    int exp;
    uint64_t sig;
};
/* Denormals become 0 if the environment says so; nothing is raised. */
struct soft soft_unpack(const struct soft_env *e, const struct soft_format *f, uint64_t v);
/* Rounded, with exceptions. */
uint64_t soft_pack(struct soft_env *e, const struct soft_format *f, const struct soft *v);
uint64_t soft_quiet(const struct soft_format *f, const struct soft *nan);
uint64_t soft_indefinite(struct soft_env *e, const struct soft_format *f); /* raises invalid */
uint64_t soft_infinity(const struct soft_format *f, bool sign);
static inline uint64_t soft_zero(const struct soft_format *f, bool sign)
{
    return (uint64_t)sign << (f->fraction + f->exponent);
}
/* What operands raise before anything is computed: true, with the result in *v, if one is a NaN. */
bool soft_operands(struct soft_env *e, const struct soft_format *f, const struct soft *x, unsigned n, uint64_t *v);

uint64_t soft_add(struct soft_env *e, const struct soft_format *f, uint64_t a, uint64_t b, bool subtract);
uint64_t soft_multiply(struct soft_env *e, const struct soft_format *f, uint64_t a, uint64_t b);
uint64_t soft_divide(struct soft_env *e, const struct soft_format *f, uint64_t a, uint64_t b);
uint64_t soft_sqrt(struct soft_env *e, const struct soft_format *f, uint64_t a);
/* +-(a * b) +- c */
uint64_t soft_multiply_add(struct soft_env *e, const struct soft_format *f, uint64_t a, uint64_t b, uint64_t c,
                           bool negate, bool subtract);

enum soft_order { SOFT_LESS = 1, SOFT_GREATER = 2, SOFT_EQUAL = 4, SOFT_UNORDERED = 8 };
/* signals: a quiet NaN is invalid too. */
enum soft_order soft_compare(struct soft_env *e, const struct soft_format *f, uint64_t a, uint64_t b, bool signals);
enum soft_order soft_order(const struct soft *a, const struct soft *b); /* of numbers */

uint64_t soft_convert(struct soft_env *e, const struct soft_format *to, const struct soft_format *from, uint64_t a);
/* To an integer of `bits`; the integer indefinite if it does not fit. */
uint64_t soft_to_int(struct soft_env *e, const struct soft_format *f, uint64_t a, unsigned bits, bool is_signed,
                     enum soft_round round);
uint64_t soft_from_int(struct soft_env *e, const struct soft_format *f, uint64_t magnitude, bool sign);
/* Rounded to a multiple of 2^-places; quietly: inexact is not raised. */
uint64_t soft_integral(struct soft_env *e, const struct soft_format *f, uint64_t a, unsigned places,
                       enum soft_round round, bool quietly);

#endif
