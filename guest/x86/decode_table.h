/* guest/x86/decode_table.h: private to the decoder: x86.def and operand.def as constants. */
#ifndef RHEA_X86_DECODE_TABLE_H
#define RHEA_X86_DECODE_TABLE_H

#include "guest/x86/decode.h"
#include "guest/x86/state.h"

/* clang-format off */
/* How an operand is found. */
enum x86_method {
    METHOD_NONE,
#define X86_METHOD(name, kind, memory, number, doc) METHOD_##name,
#include "guest/x86/method.def"
    METHOD_LAST_MODRM = METHOD_MSIB,
};

/* Operand bytes: numbers up to 64 stand for themselves; up to SIZE_LAST_OSIZE the operand size tells. */
enum x86_size {
    SIZE_0 = 0, SIZE_1 = 1, SIZE_2 = 2, SIZE_4 = 4, SIZE_8 = 8, SIZE_10 = 10, SIZE_16 = 16, SIZE_32 = 32, SIZE_64 = 64,
    SIZE_V = 65,                                        /* operand size: 2, 4, 8 */
    SIZE_Z,                                             /* 2, 4 */
    SIZE_Y,                                             /* 4, 8 */
    SIZE_FAR,                                           /* operand size and a selector */
    SIZE_PAIR,                                          /* two of operand size */
    SIZE_LAST_OSIZE = SIZE_PAIR,
    SIZE_MODE,                                          /* 8 in 64-bit mode, else 4 */
    SIZE_MODE2,                                         /* twice that */
    SIZE_ADDR,                                          /* address size */
    SIZE_TABLE,                                         /* pseudo-descriptor */
    SIZE_VL,                                            /* vector length, and parts of it */
    SIZE_HALF,
    SIZE_QUARTER,
    SIZE_EIGHTH,
    SIZE_DUP,                                           /* MOVDDUP: 8, 32, 64 */
    SIZE_ENV,                                           /* x87 environment */
    SIZE_STATE,                                         /* x87 state */
    SIZE_FX,                                            /* FXSAVE area */
};

/* clang-format on */
struct x86_operand_form {
    uint8_t method, fixed, reg_size, mem_size;
    uint8_t size[2];   /* bytes, if ModRM names memory in [1]: of what it has, where it has one only */
    uint8_t number[2]; /* which of the insn's numbers is a register's, FROM_: likewise */
    /* The operand but for that number, by log2 of the operand size, likewise; bytes by rules beyond SIZE_LAST_OSIZE are those of
     * 64-bit code, vectors' missing. */
    struct x86_operand operand[4][2];
};
extern const struct x86_operand_form x86_operand_forms[];

/* The last row of a key that may go with a ModRM.reg, and of that what tells the length of an insn: the next one waits for it. */
enum { X86_KEY_COUNT = 12 * 256 };
struct x86_last_row {
    uint16_t number; /* plus one; 0: no rows */
    uint8_t modrm;
    uint8_t imm_bytes; /* with REX.W in bits 7..4 */
};
extern const struct x86_last_row x86_last_row[X86_KEY_COUNT][8];

/* Legacy maps 0..3, VEX maps 1..3, EVEX maps 1 2 3 5 6 are the planes 0..3, 4..6, 7..11. */
#define X86_PLANE(space, map)                                                                                          \
    ((space) == X86_LEGACY ? (map) : (space) == X86_VEX ? 3 + (map) : (map) < 4 ? 6 + (map) : 5 + (map))
#define X86_KEY(space, map, opcode) (X86_PLANE(space, map) * 256 + (opcode))

/* decode_operand.c */
struct x86_decoder {
    enum x86_bits bits;
    unsigned at;    /* next byte */
    uint8_t seg;    /* override, SEG_NONE */
    uint8_t prefix; /* PFX_: rows that the prefixes select */
    bool memory;    /* ModRM names memory */
    bool sib;
    struct x86_insn *insn;
    const uint8_t *bytes; /* the insn and what follows, zeros or not: as far as anything can reach */
};
static inline uint64_t x86_decoder_take(struct x86_decoder *d, unsigned n) /* n = 1..8 */
{
    uint64_t v = bytes_get(d->bytes + d->at, 8) & mask_bits(8 * n);
    d->at += n;
    return v;
}
/* decode_simple.c: an insn of 64-bit code at p, of which 48 bytes can be read, if it is of the many that ask for little; else
 * false, and nothing is done. */
bool x86_decode_simple(const uint8_t *p, struct x86_insn *out);
void x86_decode_memory(struct x86_decoder *d);
bool x86_decode_operands(struct x86_decoder *d); /* false: #UD */

/* ---- what both have ------------------------------------------------------------------------------------------------- */

/* Numbers of an insn that may be a register's, as bits of x86_numbers. */
enum x86_from {
    FROM_NONE = 0,
    FROM_RM = 8,
    FROM_RM_VECTOR = 16,
    FROM_REG = 24,
    FROM_OPCODE = 32,
    FROM_RM_LOW = 40,
    FROM_REG_LOW = 48,
    FROM_VVVV = 56,
};
/* Those of general registers in legacy insns. */
static inline uint64_t x86_numbers(uint64_t reg, uint64_t rm, unsigned opcode, unsigned rex)
{
    uint64_t of_opcode = (opcode & 7) | (rex & 1) << 3;
    return rm << FROM_RM | reg << FROM_REG | of_opcode << FROM_OPCODE;
}

static inline void x86_place_operand(struct x86_operand *o, const struct x86_operand_form *form, unsigned log_osize,
                                     bool memory, uint64_t numbers)
{
    unsigned reg = form->operand[log_osize][memory].reg + (unsigned)(numbers >> form->number[memory]);
    *o = form->operand[log_osize][memory];
    o->reg = (uint8_t)reg;
}

/* Without REX, byte registers 4..7 are AH CH DH BH (vol. 2A, table 2-1 and 2.2.1.2). */
static inline void x86_high_byte(struct x86_operand *o)
{
    if (o->kind == OPERAND_GPR && o->bytes == 1 && o->reg >> 2 == 1) {
        o->reg -= 4;
        o->high = true;
    }
}

/* Of 0, 1, 2 or 4 bytes; no question is asked that a processor would have to guess at. */
static inline int64_t x86_displacement(const uint8_t *p, unsigned n)
{
    unsigned others = 32 - 8 * n;
    int64_t high = (int32_t)(uint32_t)(bytes_get(p, 4) << others);
    return high >> others;
}

/* Of no, 1, 2, 4 or 8 bytes. */
static inline int64_t x86_immediate(bool is_signed, const uint8_t *p, unsigned n)
{
    static const uint64_t masks[9] = {0, 0xff, 0xffff, 0, 0xffffffff, 0, 0, 0, ~0ull};
    uint64_t sign = is_signed ? masks[n] / 2 + 1 : 0;
    return (int64_t)(((bytes_get(p, 8) & masks[n]) ^ sign) - sign);
}

/* A memory operand with 32- or 64-bit addresses; p is behind ModRM.  Its bytes.  (Vol. 2A, tables 2-2 and 2-3; RIP-relative:
 * 2.2.1.6; segments: vol. 1, table 3-5.) */
static inline unsigned x86_decode_address(struct x86_memory *m, const uint8_t *p, unsigned modrm, unsigned rex,
                                          bool has_rip)
{
    unsigned mod = modrm >> 6, base = modrm & 7, sib = base == 4;
    int index = -1;
    if (sib) {
        index = (*p >> 3 & 7) | (rex & 2) << 2;
        index = index == 4 ? -1 : index;
        m->scale = *p >> 6;
        base = *p & 7;
    }
    bool absent = mod == 0 && base == 5;
    static const uint8_t bytes[4] = {0, 1, 4, 0};
    unsigned n = absent ? 4 : bytes[mod];
    bool stack = !absent && !(rex & 1) && base >> 1 == 2;
    int64_t disp = x86_displacement(p + sib, n);
    m->seg = stack ? SEG_SS : SEG_DS;
    m->index = (int8_t)index;
    m->base = absent ? -1 : (int8_t)(base | (rex & 1) << 3);
    m->rip = absent && !sib && has_rip;
    m->disp = disp;
    return n + sib;
}

#endif
