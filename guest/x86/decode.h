/* guest/x86/decode.h: from bytes to one instruction.  Pure: no heap, no globals, no guest state; bytes and mode in,
 * struct out.
 *
 * The table x86.def holds a row an instruction form, in the manual's own vocabulary (Intel SDM vol. 2, appendix A).
 * Everything else about a form (name, operands, flags, lifter, whether the CPU model must have a feature) is found
 * through insn->row.
 */
#ifndef RHEA_X86_DECODE_H
#define RHEA_X86_DECODE_H

#include "base/base.h"

enum x86_bits { X86_16, X86_32, X86_64 }; /* default operand and address size: CS.D, CS.L */

enum x86_status {
    X86_OK,
    X86_MORE,      /* the bytes end inside the insn */
    X86_UNDEFINED, /* no such insn: #UD; length is set */
    X86_LONG,      /* over 15 bytes: #GP(0) */
};

enum x86_space { X86_LEGACY, X86_VEX, X86_EVEX };

enum x86_operand_kind {
    OPERAND_NONE,
    OPERAND_GPR, /* reg 0..15; `high`: AH CH DH BH (reg is 0..3 then) */
    OPERAND_MEM, /* insn->mem; string insns: reg is 6 for the rSI operand, 7 for the ES:rDI one */
    OPERAND_IMM, /* imm, already sign-extended as the form says */
    OPERAND_REL, /* imm = displacement from the next insn */
    OPERAND_FAR, /* immediate far pointer: imm = offset, selector in imm2 */
    OPERAND_SEG,
    OPERAND_CR,
    OPERAND_DR,
    OPERAND_VEC, /* XMM, YMM, ZMM by `bytes` */
    OPERAND_MMX,
    OPERAND_ST,
    OPERAND_MASK,
    OPERAND_TILE,
};
struct x86_operand {
    uint8_t kind;
    uint8_t reg;
    uint16_t
        bytes : 15; /* what the form uses: 1 2 4 8 10 16 32 64, 512 for FXSAVE areas... 0 if it has none (LEA, XSAVE);
                                                         * a scalar in a vector register: its own width; a broadcast:
                                                         * one element; immediates: as encoded */
    uint16_t high : 1;
};

/* Insn->prefix. */
enum {
    PREFIX_LOCK = 1,
    PREFIX_REPNE = 2,
    PREFIX_REP = 4,
    PREFIX_66 = 8,
    PREFIX_67 = 16,
    PREFIX_SEG = 32,
    PREFIX_REX = 64,
    /* REPNE and REP: only the last one counts and is told */
};

struct x86_row; /* see below */

struct x86_insn {
    const struct x86_row *row;
    uint8_t length;             /* bytes, 1..15 */
    uint8_t prefix;             /* PREFIX_ bits */
    uint8_t space, map, opcode; /* enum x86_space; 0 one-byte, 1 0F, 2 0F38, 3 0F3A, 5, 6 */
    uint8_t mandatory;          /* 0, 0x66, 0xf3, 0xf2: the prefix that selects among rows, VEX.pp likewise */
    uint8_t osize;              /* operand size in bytes: 2, 4, 8 (default-64 forms resolved), 1 with ATTR_BYTE */
    uint8_t asize;              /* address size in bytes: 2, 4, 8 */
    uint8_t rex;                /* W=8 R=4 X=2 B=1, also from VEX/EVEX */
    bool has_modrm;
    uint8_t modrm, mod, reg, rm; /* reg and rm with their extension bits (4 bits; 5 for EVEX) */
    uint8_t vvvv, vl;            /* VEX, EVEX; vl 0: 128, 1: 256, 2: 512 */
    uint8_t evex_mask, evex_z, evex_b, evex_rc;
    uint8_t noperands;
    struct x86_operand op[4];
    struct x86_memory {
        uint8_t seg;        /* enum x86_seg (state.h) after override and default rules */
        int8_t base, index; /* GPR 0..15, -1 none; index may be a vector register 0..31 (VSIB) */
        uint8_t scale;      /* log2 */
        bool rip;           /* base is the next insn's address */
        int64_t disp;       /* sign-extended; moffs: the whole address */
    } mem;
    int64_t imm;
    int64_t imm2; /* second immediate (ENTER, far pointers, EXTRQ) */
};

/* Lift functions, by name in x86.def's last column. */
struct x86_lift;
typedef void x86_lift_fn(struct x86_lift *l, const struct x86_insn *i);

struct x86_row {
    const char *name; /* mnemonic, upper case */
    uint32_t attr;    /* ATTR_ bits */
    uint16_t key;     /* space, map and opcode in one: rows of one key stand together */
    uint8_t space, map, opcode;
    uint8_t prefix;     /* PFX_: which mandatory prefixes select the row */
    int8_t ext;         /* modrm.reg, or -1 */
    int8_t rm;          /* modrm.rm, or -1 */
    uint8_t mod;        /* 0 any, 1 register (mod = 3) only, 2 memory only */
    uint8_t w;          /* W_: required value of W */
    uint8_t l;          /* one bit a permitted value of VEX.L, EVEX.LL */
    bool plain;         /* asks nothing but its key, and maybe a ModRM.reg, of an insn */
    bool modrm, vvvv;   /* has a ModRM byte; uses the VEX.vvvv register */
    uint8_t operand[4]; /* OP_: rows of operand.def */
    uint8_t noperands;
    bool simple;          /* decode_simple.c knows all of its operands */
    bool byte;            /* a byte register may be among them */
    uint8_t imm_bytes[2]; /* of its immediate, by REX.W, without 66 */
    bool imm_signed;
    uint8_t log_osize[2];  /* log2 of the operand size in 64-bit mode without 66, by REX.W */
    uint8_t asked, answer; /* of mod = 3 (bit 6), reg and rm: which bits, and what they must be */
    uint8_t flags_read, flags_written, flags_undefined; /* IRF_ bits */
    uint16_t feature; /* CPUID feature the form needs: FEAT_ number, 0: always there */
    uint16_t lift;    /* LIFT_ number; 0: not lifted */
};
/* Row->prefix, a set. */
enum {
    PFX_NP = 1,
    PFX_66 = 2,
    PFX_F3 = 4,
    PFX_F2 = 8,
    PFX_NP66 = PFX_NP | PFX_66,
    PFX_NOF3 = 15 - PFX_F3,
    PFX__ = 15,
};
/* Row->w, a set: W may be 0, 1, and the same outside 64-bit mode.  G: W is a general register's width, taken as 0 there. */
enum {
    W__ = 15,
    W_0 = 1 | 4,
    W_1 = 2 | 8,
    W_G0 = 1 | 4 | 8,
    W_G1 = 2,
};
/* Attr. */
enum {
    ATTR_LOCK = 1 << 0,     /* LOCK allowed with a memory destination */
    ATTR_D64 = 1 << 1,      /* default operand size 64 in 64-bit mode (66 gives 16) */
    ATTR_F64 = 1 << 2,      /* operand size forced to 64 in 64-bit mode */
    ATTR_NO64 = 1 << 3,     /* #UD in 64-bit mode */
    ATTR_ONLY64 = 1 << 4,   /* #UD outside 64-bit mode */
    ATTR_CPL0 = 1 << 5,     /* #GP(0) unless CPL = 0 */
    ATTR_ENDS = 1 << 6,     /* always ends the block */
    ATTR_PROT = 1 << 7,     /* #UD in real and virtual-8086 mode; so is everything VEX and EVEX */
    ATTR_ALIGN = 1 << 8,    /* vector memory operand must be aligned to its size */
    ATTR_BYTE = 1 << 9,     /* operand size is 8 bits whatever prefixes say */
    ATTR_NO66 = 1 << 10,    /* 66 does not change the operand size */
    ATTR_MODREG = 1 << 11,  /* ModRM.mod is ignored and taken as 3 */
    ATTR_BCAST16 = 1 << 12, /* EVEX.b with memory: broadcast of one element of 2, 4, 8 bytes */
    ATTR_BCAST32 = 1 << 13,
    ATTR_BCAST64 = 1 << 14,
    ATTR_ER = 1 << 15,  /* EVEX.b with registers: rounding mode in EVEX.LL, vector length 512 */
    ATTR_SAE = 1 << 16, /* EVEX.b with registers: no exceptions, vector length 512 */
    ATTR_N1 = 1 << 17,  /* disp8 counts elements of 1, 2, 4, 8 bytes though the operand is longer */
    ATTR_N2 = 1 << 18,
    ATTR_N4 = 1 << 19,
    ATTR_N8 = 1 << 20,
    ATTR_MASK = 1 << 21,     /* EVEX.aaa may name a mask */
    ATTR_ZERO = 1 << 22,     /* and EVEX.z may be set (not with a memory destination) */
    ATTR_MASKREQ = 1 << 23,  /* EVEX.aaa must name a mask */
    ATTR_DISTINCT = 1 << 24, /* #UD if two register operands, index included, are the same */
    ATTR_E1 = 1 << 25,       /* under a mask only the memory of enabled elements, of 1, 2, 4, 8 bytes, is touched; */
    ATTR_E2 = 1 << 26,       /* without one of these all of the operand is */
    ATTR_E4 = 1 << 27,
    ATTR_E8 = 1 << 28,
    ATTR_FP = 1 << 29, /* AVX, AVX-512: may raise a floating-point exception */
};
enum x86_feature {
    FEAT__,
#define X86_FEATURE(NAME, text, leaf, subleaf, reg, bit) FEAT_##NAME,
#include "guest/x86/features.def"
    FEAT_COUNT
};
enum x86_lift_number {
#define X86_LIFT(name) LIFT_##name,
#include "guest/x86/lift.def"
    LIFT_COUNT
};

/* Decode at most n bytes at p.  Fills *out on X86_OK; on X86_UNDEFINED only out->length, the bytes that were looked
 * at. */
enum x86_status x86_decode(enum x86_bits bits, const uint8_t *p, size_t n, struct x86_insn *out);

extern const struct x86_row x86_rows[];
extern const unsigned x86_row_count;
static inline unsigned x86_row_index(const struct x86_row *r)
{
    return (unsigned)(r - x86_rows);
}

#endif
