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
/* Write on there; offsets are still from the first byte of all. */
static inline void asm_go(struct asmbuf *a, uint8_t *p, size_t size)
{
    a->p = p;
    a->end = p + size;
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

struct rm {
    enum { RM_REG, RM_MEM, RM_GS } kind;
    int8_t base, index; /* RM_REG: base is the register; RM_MEM, RM_GS: NOREG for none */
    uint8_t scale;      /* log2 */
    int32_t disp;
};
static inline struct rm rm_reg(int r)
{
    return (struct rm){RM_REG, (int8_t)r, NOREG, 0, 0};
}
static inline struct rm rm_mem(int base, int32_t disp)
{
    return (struct rm){RM_MEM, (int8_t)base, NOREG, 0, disp};
}
static inline struct rm rm_index(int base, int index, unsigned scale, int32_t disp)
{
    return (struct rm){RM_MEM, (int8_t)base, (int8_t)index, (uint8_t)scale, disp};
}
/* A field of struct cpu at byte offset disp. */
static inline struct rm rm_gs(size_t disp)
{
    return (struct rm){RM_GS, NOREG, NOREG, 0, (int32_t)disp};
}

enum { ASM_W = 1, ASM_BYTE_REG = 2, ASM_BYTE_RM = 4 }; /* REX.W; the reg or r/m field names an 8-bit register */

/* One instruction but for its immediate.  prefix: 0, 0x66, 0xf2, 0xf3.  map: 0 none, 1 0F, 2 0F 38, 3 0F 3A. */
void asm_insn(struct asmbuf *a, unsigned prefix, unsigned map, unsigned opcode, unsigned flags, int reg, struct rm m);

/* A VEX- or EVEX-encoded instruction, immediate included.  Registers by number: reg and vvvv 0..31, mask 0..7, last (bits
 * 7..4 of the immediate) 0..15; 0 for absent ones.  m is a vector, mask or general register, or memory without
 * displacement (EVEX scales short ones). */
struct asm_avx {
    int reg, vvvv, mask, last;
};
void asm_avx(struct asmbuf *a, const struct ir_avx *x, struct asm_avx r, struct rm m);

/* The classic forms at a type: opcode is the 32-bit form's; I8 uses opcode - 1 when byte_form, I16 gets the 66
 * prefix. */
void asm_typed(struct asmbuf *a, enum ir_type t, unsigned map, unsigned opcode, int reg, struct rm m);

void asm_mov_rr(struct asmbuf *a, enum ir_type t, int d, int s); /* I8, I16 merge; nothing if I64 and d = s */
void asm_load(struct asmbuf *a, enum ir_type t, int d,
              struct rm m); /* zero-extends I8 and I16 to 32 bits and so to 64 */
void asm_store(struct asmbuf *a, enum ir_type t, struct rm m, int s);
void asm_mov_imm(struct asmbuf *a, int d, int64_t v); /* shortest form that leaves flags alone; 64 bits */
/* op: 0 ADD 1 OR 2 ADC 3 SBB 4 AND 5 SUB 6 XOR 7 CMP */
void asm_alu(struct asmbuf *a, enum ir_type t, unsigned op, int d, struct rm m);    /* d = d op m */
void asm_alu_to(struct asmbuf *a, enum ir_type t, unsigned op, struct rm m, int s); /* m = m op s */
void asm_alu_imm(struct asmbuf *a, enum ir_type t, unsigned op, struct rm m,
                 int64_t v); /* v fits a sign-extended imm32 */
void asm_test_imm(struct asmbuf *a, enum ir_type t, struct rm m, int32_t v);
void asm_shift_imm(struct asmbuf *a, enum ir_type t, unsigned op, struct rm m, unsigned n); /* op: 0 ROL .. 7 SAR */
void asm_lea(struct asmbuf *a, enum ir_type t, int d, struct rm m);

/* Jumps with 32-bit displacements.  The return value is the offset of the displacement, for asm_patch. */
uint32_t asm_jmp(struct asmbuf *a);
uint32_t asm_jcc(struct asmbuf *a, unsigned cc);
void asm_patch(struct asmbuf *a, uint32_t at, uint32_t to); /* make the displacement at `at` reach offset `to` */
void asm_jmp_abs(struct asmbuf *a, const uint8_t *rx);      /* jmp or call to an executable address within 2 GB */
void asm_call_abs(struct asmbuf *a, const uint8_t *rx);
/* Pad with NOPs until (offset + ahead) is a multiple of 4, so that a displacement `ahead` bytes on can be patched
 * atomically. */
void asm_align(struct asmbuf *a, unsigned ahead);

#endif
