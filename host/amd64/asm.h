/* host/amd64/asm.h: the encoder: one function writes one instruction.
 *
 * An instruction is described by map and opcode, a register field and an r/m operand (struct rm).  The bytes, in order:
 *     [65 gs] [66 | F2 | F3] [REX] [0F | 0F 38 | 0F 3A] opcode modrm [sib] [disp8 | disp32] [imm]
 *     [65 gs] [VEX | EVEX]                              opcode modrm ...
 * Nothing here checks for room per byte: the emitter checks once an op that ASM_ROOM bytes are left.
 */
#ifndef RHEA_HOST_ASM_H
#define RHEA_HOST_ASM_H

#include "ir/ir.h"

enum hreg { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15, NOREG = -1 };
enum { ASM_ROOM = 1024 };

/* Offsets are from `start`, which may lie before the buffer. */
struct asmbuf {
    uint8_t *start, *p, *end;
    intptr_t rx_delta;
};
static inline uint32_t asm_at(const struct asmbuf *a)
{
    return (uint32_t)(a->p - a->start);
}
static inline bool asm_full(const struct asmbuf *a)
{
    return a->end - a->p < ASM_ROOM;
}
static inline void asm_byte(struct asmbuf *a, unsigned v)
{
    *a->p++ = (uint8_t)v;
}
static inline void asm_imm(struct asmbuf *a, int64_t v, unsigned n)
{
    bytes_put(a->p, (uint64_t)v, n);
    a->p += n;
}

/* REX.W; the reg or r/m field names an 8-bit register. */
enum { ASM_W = 1, ASM_BYTE_REG = 2, ASM_BYTE_RM = 4 };

/* An r/m operand, encoded when it is made, which is mostly when rhea is compiled. */
struct rm {
    uint64_t tail; /* ModRM with 0 for its register, SIB and displacement */
    uint32_t how;  /* bytes of those; RM_ */
};
enum {
    RM_SIZE = 0xff,
    RM_REX = 8,      /* first bit: REX.X and REX.B; for registers bits 4 and 3 of their number */
    RM_NUMBER = 16,  /* first bit: a register's number; those of which a bit of BYTE_REX is set need REX as 8 bits */
    RM_GS = 1 << 24, /* after GS */
};
enum { BYTE_REX = 12 };
static inline struct rm rm_reg(int r)
{
    unsigned n = (unsigned)r;
    return (struct rm){0xc0 | (n & 7), 1 | (n >> 3 & 3) << RM_REX | (n & 15) << RM_NUMBER};
}
static inline bool rm_is(struct rm m, int r)
{
    return m.tail == rm_reg(r).tail && m.how == rm_reg(r).how;
}
/* [base + (index << scale) + disp]; NOREG for none of either. */
static inline struct rm rm_index(int base, int index, unsigned scale, int32_t disp)
{
    unsigned b = base == NOREG ? 5 : (unsigned)base & 7, i = index == NOREG ? 4 : (unsigned)index & 7;
    unsigned mod = base == NOREG || (disp == 0 && b != 5) ? 0 : disp == (int8_t)disp ? 1 : 2;
    unsigned disp_bytes = base == NOREG ? 4 : mod * mod;
    uint32_t how = (unsigned)(index >= 8) << (RM_REX + 1) | (unsigned)(base >= 8) << RM_REX | disp_bytes;
    bool sib = index != NOREG || base == NOREG || b == 4; /* without one, [disp32] would be relative to RIP */
    uint64_t d = disp_bytes ? (uint32_t)disp : 0;
    if (!sib)
        return (struct rm){mod << 6 | b | d << 8, how + 1};
    return (struct rm){mod << 6 | 4 | (scale << 6 | i << 3 | b) << 8 | d << 16, how + 2};
}
/* [base + disp] */
static inline struct rm rm_mem(int base, int32_t disp)
{
    unsigned b = (unsigned)base & 7, sib = b == 4, mod = disp == 0 && b != 5 ? 0 : disp == (int8_t)disp ? 1 : 2;
    return (struct rm){(uint64_t)(uint32_t)disp << (8 + 8 * sib) | (sib ? 0x2400 : 0) | mod << 6 | b,
                       (1 + sib + mod * mod) | (unsigned)(base >= 8) << RM_REX};
}
/* A field of struct cpu at byte offset disp; that of an array at register `index`, NOREG for none. */
static inline struct rm rm_gs_index(size_t disp, int index, unsigned scale)
{
    struct rm m = rm_index(NOREG, index, scale, (int32_t)disp);
    m.how |= RM_GS;
    return m;
}
static inline struct rm rm_gs(size_t disp)
{
    return rm_gs_index(disp, NOREG, 0);
}

/* What selects an instruction, and those, in one word, most often a constant: prefix; opcode; REX.W; bytes of escape; BYTE_REX for
 * either field; escape. */
enum { FORM_OPCODE = 8, FORM_W = 16, FORM_ESCAPES = 24, FORM_BYTE_REG = 32, FORM_BYTE_RM = 40, FORM_ESCAPE = 48 };
static inline uint64_t asm_form_of(unsigned prefix, unsigned map, unsigned opcode, unsigned flags)
{
    uint64_t escape = map == 0 ? 0 : map == 1 ? 0x0f : map == 2 ? 0x380f : 0x3a0f;
    return prefix | opcode << FORM_OPCODE | (flags & ASM_W ? 8u << FORM_W : 0) | (map < 2 ? map : 2u) << FORM_ESCAPES |
           (flags & ASM_BYTE_REG ? (uint64_t)BYTE_REX << FORM_BYTE_REG : 0) |
           (flags & ASM_BYTE_RM ? (uint64_t)BYTE_REX << FORM_BYTE_RM : 0) | escape << FORM_ESCAPE;
}
/* One-byte opcode, 32 or 64 bits, as most instructions are.  REX is written whether it is needed or not, and the next byte goes
 * over it: a branch would cost more. */
static inline void asm_short(struct asmbuf *a, unsigned w, unsigned opcode, int reg, struct rm m)
{
    uint8_t *p = a->p;
    unsigned number = (unsigned)reg, rex = w | (number >> 1 & 4) | (m.how >> RM_REX & 3);
    *p = (uint8_t)(0x40 | rex);
    p += rex != 0;
    *p = (uint8_t)opcode;
    bytes_put(p + 1, m.tail | (number & 7) << 3, 8);
    a->p = p + 1 + (m.how & RM_SIZE);
}

void asm_form(struct asmbuf *a, uint64_t form, int reg, struct rm m);
/* One instruction but for its immediate.  prefix: 0, 0x66, 0xf2, 0xf3.  map: 0 none, 1 0F, 2 0F 38, 3 0F 3A. */
static inline void asm_insn(struct asmbuf *a, unsigned prefix, unsigned map, unsigned opcode, unsigned flags, int reg,
                            struct rm m)
{
    if (prefix == 0 && map == 0 && !(flags & ~(unsigned)ASM_W) && !(m.how & RM_GS))
        asm_short(a, flags & ASM_W ? 8 : 0, opcode, reg, m);
    else
        asm_form(a, asm_form_of(prefix, map, opcode, flags), reg, m);
}

/* A VEX- or EVEX-encoded instruction, immediate included.  Registers by number: reg and vvvv 0..31, mask 0..7, last (bits
 * 7..4 of the immediate) 0..15; 0 for absent ones.  m is a vector, mask or general register, or memory. */
struct asm_avx {
    int reg, vvvv, mask, last;
};
void asm_avx(struct asmbuf *a, const struct ir_avx *x, struct asm_avx r, struct rm m);

/* The classic forms at a type: opcode is the 32-bit form's; I8 uses opcode - 1 when byte_form, I16 gets the 66
 * prefix.  asm_types: what a type adds to a form. */
extern const uint64_t asm_types[IR_TYPE_COUNT];
static inline void asm_typed(struct asmbuf *a, enum ir_type t, unsigned map, unsigned opcode, int reg, struct rm m)
{
    if (t >= I32 && map == 0 && !(m.how & RM_GS))
        asm_short(a, t == I64 ? 8 : 0, opcode, reg, m);
    else
        asm_form(a, asm_form_of(0, map, opcode, 0) + asm_types[t], reg, m);
}

/* I8, I16 merge; nothing if I64 and d = s. */
static inline void asm_mov_rr(struct asmbuf *a, enum ir_type t, int d, int s)
{
    if (d != s || t == I32)
        asm_typed(a, t, 0, 0x89, s, rm_reg(d));
}
void asm_load_part(struct asmbuf *a, enum ir_type t, int d, struct rm m);
/* Zero-extends I8 and I16 to 32 bits and so to 64. */
static inline void asm_load(struct asmbuf *a, enum ir_type t, int d, struct rm m)
{
    if (t >= I32)
        asm_typed(a, t, 0, 0x8b, d, m);
    else
        asm_load_part(a, t, d, m);
}
static inline void asm_store(struct asmbuf *a, enum ir_type t, struct rm m, int s)
{
    asm_typed(a, t, 0, 0x89, s, m);
}
void asm_mov_imm(struct asmbuf *a, int d, int64_t v); /* shortest form that leaves flags alone; 64 bits */
/* op: 0 ADD 1 OR 2 ADC 3 SBB 4 AND 5 SUB 6 XOR 7 CMP */
static inline void asm_alu(struct asmbuf *a, enum ir_type t, unsigned op, int d, struct rm m) /* d = d op m */
{
    asm_typed(a, t, 0, op << 3 | 3, d, m);
}
static inline void asm_alu_to(struct asmbuf *a, enum ir_type t, unsigned op, struct rm m, int s) /* m = m op s */
{
    asm_typed(a, t, 0, op << 3 | 1, s, m);
}
void asm_alu_imm(struct asmbuf *a, enum ir_type t, unsigned op, struct rm m,
                 int64_t v); /* v fits a sign-extended imm32 */
void asm_test_imm(struct asmbuf *a, enum ir_type t, struct rm m, int32_t v);
static inline void asm_test_self(struct asmbuf *a, enum ir_type t, int reg)
{
    asm_typed(a, t, 0, 0x85, reg, rm_reg(reg));
}
void asm_shift_imm(struct asmbuf *a, enum ir_type t, unsigned op, struct rm m, unsigned n); /* op: 0 ROL .. 7 SAR */
static inline void asm_lea(struct asmbuf *a, enum ir_type t, int d, struct rm m)
{
    asm_typed(a, t, 0, 0x8d, d, m);
}

/* Jumps with 32-bit displacements.  The return value is the offset of the displacement, for asm_patch. */
uint32_t asm_jmp(struct asmbuf *a);
uint32_t asm_jcc(struct asmbuf *a, unsigned cc);
void asm_patch(struct asmbuf *a, uint32_t at, uint32_t to); /* make the displacement at `at` reach offset `to` */
void asm_jmp_abs(struct asmbuf *a, const uint8_t *rx);      /* jmp or call to an executable address within 2 GB */
void asm_call_abs(struct asmbuf *a, const uint8_t *rx);
void asm_exit(struct asmbuf *a, int32_t v, bool call, const uint8_t *rx); /* eax = v, then one of those */
/* Pad with NOPs until (offset + ahead) is a multiple of 4, so that a displacement `ahead` bytes on can be patched
 * atomically. */
void asm_align(struct asmbuf *a, unsigned ahead);

#endif
