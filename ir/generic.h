/* ir/generic.h: what the files of the generic path share: vector operations in plain C, for hosts without the unit.
 *
 *     generic.def          one row an operation: its encodings, its function, how the function is put to the operands
 *     generic.c            finds the row, fetches operands, applies masks, stores the result
 *     generic_lane.c       integer functions of one element
 *     generic_move.c       functions of 16 bytes or of the whole register: shuffles, inserts, tests, masks
 *     generic_crypto.c     AES, SHA, carry-less and Galois field products
 *     generic_fp.c         floating-point functions of one element, over soft.c
 *
 * A function knows nothing of encodings, masks, memory or registers: these are generic.c's alone (but for VZEROALL's registers).
 */
#ifndef RHEA_IR_GENERIC_H
#define RHEA_IR_GENERIC_H

#include "ir/ir.h"
#include "ir/soft.h"

enum { GENERIC_BYTES = 64 };

/* One operation in the making. */
struct generic {
    struct cpu *c;
    unsigned length; /* bytes of a vector: 16, 32, 64 */
    unsigned size;   /* bytes of an element of the result */
    unsigned from;   /* bytes of an element, or of what is repeated, of the second source */
    unsigned out;    /* bytes of the result; what lies above becomes 0 */
    unsigned imm;    /* the immediate byte, or two of them */
    bool memory;     /* the second source came from memory */
    bool zero;       /* elements that are not selected become 0 */
    bool high;       /* the encoding's L: VZEROALL */
    uint64_t mask;   /* a bit an element: it is selected */
    uint32_t flags;
    /* The result; the destination before; the sources, a mask or general register in the low 8 bytes. */
    uint8_t d[GENERIC_BYTES], old[GENERIC_BYTES], a[GENERIC_BYTES], b[GENERIC_BYTES], last[GENERIC_BYTES];
    uint64_t pair;       /* VP2INTERSECT: the second mask */
    unsigned earlier;    /* exceptions of steps that are behind */
    struct soft_env env; /* rounding, and the exceptions raised so far */
};

/* One element. */
struct lane {
    uint64_t d, a, b; /* the destination before, the sources, zero-extended */
    unsigned bits;    /* of an element of the result */
    unsigned from;    /* bits of an element of the second source */
    unsigned index;
    uint8_t imm;
    struct generic *g;
};

typedef uint64_t lane_fn(const struct lane *);
/* The 16 bytes of g->d from `at` on; or, with at = 0, all of it. */
typedef void part_fn(struct generic *g, unsigned at);

enum generic_shape {
    SHAPE_LANES,  /* each element */
    SHAPE_SCALAR, /* the first; the others up to 16 bytes are the first source's */
    SHAPE_MERGE,  /* the first; the others up to 16 bytes stay */
    SHAPE_ONE,    /* the first; the others are 0 */
    SHAPE_IMM,    /* each: the second source by the immediate */
    SHAPE_COUNT,  /* each: the first source by the low 64 bits of the second */
    SHAPE_BLOCKS, /* a part_fn on each 16 bytes */
    SHAPE_WHOLE,  /* a part_fn, once */
};

/* Element n of 1, 2, 4 or 8 bytes; by cases, as copies of unknown size are slow. */
static inline uint64_t element(const uint8_t *v, unsigned n, unsigned size)
{
    switch (size) {
    case 1: return v[n];
    case 2: return bytes_get(v + 2 * n, 2);
    case 4: return bytes_get(v + 4 * n, 4);
    default: return bytes_get(v + 8 * n, 8);
    }
}
static inline void put_element(uint8_t *v, unsigned n, unsigned size, uint64_t value)
{
    switch (size) {
    case 1: v[n] = (uint8_t)value; break;
    case 2: bytes_put(v + 2 * n, value, 2); break;
    case 4: bytes_put(v + 4 * n, value, 4); break;
    default: bytes_put(v + 8 * n, value, 8); break;
    }
}

#define GENERIC_LANE(spaces, map, prefix, opcode, w, ext, shape, fn, ...) lane_fn fn;
#define GENERIC_PART(spaces, map, prefix, opcode, w, ext, shape, fn, ...) part_fn fn;
#include "ir/generic.def"

#endif
