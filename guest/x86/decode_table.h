/* guest/x86/decode_table.h: private to the decoder: x86.def and operand.def as constants. */
#ifndef RHEA_X86_DECODE_TABLE_H
#define RHEA_X86_DECODE_TABLE_H

#include "guest/x86/decode.h"

/* clang-format off */
/* How an operand is found.  Those up to METHOD_LAST_MODRM need a ModRM byte. */
enum x86_method {
    METHOD_NONE,
    METHOD_E,                                           /* general register or memory, modrm.rm */
    METHOD_R,                                           /* general register, modrm.rm */
    METHOD_M,                                           /* memory only */
    METHOD_G,                                           /* general register, modrm.reg */
    METHOD_V,                                           /* vector register, modrm.reg */
    METHOD_W,                                           /* vector register or memory, modrm.rm */
    METHOD_U,                                           /* vector register, modrm.rm */
    METHOD_H,                                           /* vector register, vvvv */
    METHOD_L,                                           /* vector register, bits 7..4 of an immediate byte */
    /* memory with a vector of indices (VSIB); register bytes: the index vector */
    METHOD_VM,
    METHOD_B,                                           /* general register, vvvv */
    METHOD_P,                                           /* MMX register, modrm.reg */
    METHOD_Q,                                           /* MMX register or memory, modrm.rm */
    METHOD_N,                                           /* MMX register, modrm.rm */
    METHOD_S,                                           /* segment register, modrm.reg */
    METHOD_C,                                           /* control register, modrm.reg */
    METHOD_D,                                           /* debug register, modrm.reg */
    METHOD_KG,                                          /* mask register, modrm.reg */
    METHOD_KGP,                                         /* even and odd mask register, modrm.reg */
    METHOD_KE,                                          /* mask register or memory, modrm.rm */
    METHOD_KR,                                          /* mask register, modrm.rm */
    METHOD_KH,                                          /* mask register, vvvv */
    METHOD_STI,                                         /* ST(modrm.rm) */
    METHOD_TG,                                          /* tile, modrm.reg */
    METHOD_TE,                                          /* tile, modrm.rm */
    METHOD_TH,                                          /* tile, vvvv */
    METHOD_MSIB,                                        /* memory that must be given with a SIB byte */
    METHOD_LAST_MODRM = METHOD_MSIB,
    METHOD_Z,                                           /* general register, low bits of the opcode */
    METHOD_I,                                           /* immediate, zero-extended */
    METHOD_IS,                                          /* immediate, sign-extended */
    METHOD_J,                                           /* displacement of a jump */
    METHOD_A,                                           /* far pointer */
    METHOD_O,                                           /* memory, whole address in the insn */
    METHOD_X,                                           /* memory at rSI */
    METHOD_Y,                                           /* memory at ES:rDI */
    METHOD_AT,                                          /* memory at the fixed register, DS or the override */
    METHOD_REG,                                         /* fixed general register */
    METHOD_SEG,                                         /* fixed segment register */
    METHOD_ONE,                                         /* the constant in `fixed` */
    METHOD_ST,                                          /* fixed x87 register */
    METHOD_XMM,                                         /* fixed vector register */
};

/* Operand bytes: numbers up to 64 stand for themselves. */
enum x86_size {
    SIZE_0 = 0, SIZE_1 = 1, SIZE_2 = 2, SIZE_4 = 4, SIZE_8 = 8, SIZE_10 = 10, SIZE_16 = 16, SIZE_32 = 32, SIZE_64 = 64,
    SIZE_V = 65,                                        /* operand size: 2, 4, 8 */
    SIZE_Z,                                             /* 2, 4 */
    SIZE_Y,                                             /* 4, 8 */
    SIZE_MODE,                                          /* 8 in 64-bit mode, else 4 */
    SIZE_MODE2,                                         /* twice that */
    SIZE_ADDR,                                          /* address size */
    SIZE_FAR,                                           /* operand size and a selector */
    SIZE_TABLE,                                         /* pseudo-descriptor */
    SIZE_PAIR,                                          /* two of operand size */
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
    uint8_t size[2]; /* bytes, if ModRM names memory in [1]: of what it has, where it has one only */
};
extern const struct x86_operand_form x86_operand_forms[];

/* Number of the last row of a key, plus one; 0: no rows. */
enum { X86_KEY_COUNT = 12 * 256 };
extern const uint16_t x86_last_row[X86_KEY_COUNT];

/* Legacy maps 0..3, VEX maps 1..3, EVEX maps 1 2 3 5 6 are the planes 0..3, 4..6, 7..11. */
#define X86_PLANE(space, map)                                                                                          \
    ((space) == X86_LEGACY ? (map) : (space) == X86_VEX ? 3 + (map) : (map) < 4 ? 6 + (map) : 5 + (map))
#define X86_KEY(space, map, opcode) (X86_PLANE(space, map) * 256 + (opcode))

/* decode_operand.c */
struct x86_decoder {
    enum x86_bits bits;
    unsigned at; /* next byte */
    uint8_t seg;    /* override, SEG_NONE */
    uint8_t prefix; /* PFX_: rows that the prefixes select */
    bool disp8;  /* EVEX: displacement still to be scaled */
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
void x86_decode_memory(struct x86_decoder *d);
bool x86_decode_operands(struct x86_decoder *d); /* false: #UD */

#endif
