/* host/amd64/asm.c: see asm.h.  Encodings: Intel SDM vol. 2, chapter 2 and the instruction pages. */
#include "host/amd64/asm.h"

/* Bytes that may be absent are written all the same, and the next one goes over them: a branch would cost more.  The
 * place to write is kept out of *a, which every byte stored might change for all the compiler knows. */
static uint8_t *put_if(uint8_t *p, bool present, unsigned v)
{
    *p = (uint8_t)v;
    return p + present;
}

/* ModRM of a memory operand, SIB and displacement.  EVEX counts a displacement of one byte in units of its own (SDM vol. 2A,
 * 2.7.5), so there one of four bytes stands. */
static uint8_t *put_memory(uint8_t *p, unsigned r, struct rm m, bool evex)
{
    if (m.base == NOREG) { /* [disp32] or [index*scale + disp32], never RIP-relative */
        unsigned index = m.index == NOREG ? 4 : (unsigned)m.index & 7;
        *p++ = (uint8_t)(r | 4);
        *p++ = (uint8_t)((unsigned)m.scale << 6 | index << 3 | 5);
        bytes_put(p, (uint32_t)m.disp, 4);
        return p + 4;
    }
    unsigned base = (unsigned)m.base & 7;
    unsigned mod = m.disp == 0 && base != 5 ? 0 : (evex ? !m.disp : m.disp == (int8_t)m.disp) ? 1 : 2;
    unsigned index = m.index == NOREG ? 4 : (unsigned)m.index & 7;
    bool sib = m.index != NOREG || base == 4;
    p[0] = (uint8_t)(mod << 6 | r | (sib ? 4 : base));
    p[1] = (uint8_t)((unsigned)m.scale << 6 | index << 3 | base); /* the displacement goes over it if there is none */
    p += 1 + sib;
    static const uint8_t disp_bytes[3] = {0, 1, 4};
    bytes_put(p, (uint32_t)m.disp, 4);
    return p + disp_bytes[mod];
}

/* What stands before the opcode, but for GS. */
static uint8_t *put_head(uint8_t *p, unsigned prefix, unsigned map, unsigned rex, bool byte)
{
    p = put_if(p, prefix, prefix);
    p = put_if(p, rex || byte, 0x40 | rex);
    if (map) {
        *p++ = 0x0f;
        p = put_if(p, map > 1, map == 2 ? 0x38 : 0x3a);
    }
    return p;
}

void asm_insn(struct asmbuf *a, unsigned prefix, unsigned map, unsigned opcode, unsigned flags, int reg, struct rm m)
{
    uint8_t *p = a->p;
    unsigned r = ((unsigned)reg & 7) << 3, rex = (flags & ASM_W ? 8u : 0) | (unsigned)(reg >= 8) << 2;
    bool byte = (flags & ASM_BYTE_REG) && reg >= 4;
    if (m.kind == RM_REG) {
        byte |= (flags & ASM_BYTE_RM) && m.base >= 4;
        p = put_head(p, prefix, map, rex | (m.base >= 8), byte);
        p[0] = (uint8_t)opcode;
        p[1] = (uint8_t)(0xc0 | r | ((unsigned)m.base & 7));
        a->p = p + 2;
        return;
    }
    p = put_if(p, m.kind == RM_GS, 0x65);
    p = put_head(p, prefix, map, rex | (unsigned)(m.index >= 8) << 1 | (m.base >= 8), byte);
    *p++ = (uint8_t)opcode;
    a->p = put_memory(p, r, m, false);
}

static void put_vex(struct asmbuf *a, const struct ir_avx *x, struct asm_avx r, unsigned rxb)
{
    unsigned rest = (~(unsigned)r.vvvv & 15) << 3 | (unsigned)x->l << 2 | x->pp;
    if (x->map == 1 && !x->w && !(rxb & 3)) {
        asm_byte(a, 0xc5);
        asm_byte(a, (rxb & 4 ? 0 : 0x80u) | rest);
        return;
    }
    asm_byte(a, 0xc4);
    asm_byte(a, (~rxb & 7) << 5 | x->map);
    asm_byte(a, (unsigned)x->w << 7 | rest);
}

static void put_evex(struct asmbuf *a, const struct ir_avx *x, struct asm_avx r, unsigned rxb)
{
    asm_byte(a, 0x62);
    asm_byte(a, (~rxb & 7) << 5 | (r.reg & 16 ? 0 : 0x10u) | x->map);
    asm_byte(a, (unsigned)x->w << 7 | (~(unsigned)r.vvvv & 15) << 3 | 4 | x->pp);
    asm_byte(a, (unsigned)x->z << 7 | (unsigned)x->l << 5 | (unsigned)x->b << 4 | (r.vvvv & 16 ? 0 : 8u) |
                    (unsigned)r.mask);
}

void asm_avx(struct asmbuf *a, const struct ir_avx *x, struct asm_avx r, struct rm m)
{
    unsigned rxb = (r.reg & 8 ? 4u : 0) | (m.base != NOREG && m.base & 8 ? 1u : 0);
    if (m.kind == RM_REG ? m.base & 16 : m.index != NOREG && m.index & 8)
        rxb |= 2;
    if (m.kind == RM_GS)
        asm_byte(a, 0x65);
    if (x->evex)
        put_evex(a, x, r, rxb);
    else
        put_vex(a, x, r, rxb);
    asm_byte(a, x->opcode);
    unsigned reg = ((unsigned)r.reg & 7) << 3;
    if (x->form != IR_AVX_PLAIN && m.kind == RM_REG)
        asm_byte(a, 0xc0 | reg | ((unsigned)m.base & 7));
    else if (x->form != IR_AVX_PLAIN)
        a->p = put_memory(a->p, reg, m, x->evex);
    if (x->has_imm)
        asm_byte(a, x->imm | (unsigned)r.last << 4);
}

void asm_typed(struct asmbuf *a, enum ir_type t, unsigned map, unsigned opcode, int reg, struct rm m)
{
    unsigned flags = t == I64 ? ASM_W : t == I8 ? ASM_BYTE_REG | ASM_BYTE_RM : 0;
    asm_insn(a, t == I16 ? 0x66 : 0, map, t == I8 ? opcode - 1 : opcode, flags, reg, m);
}

void asm_mov_rr(struct asmbuf *a, enum ir_type t, int d, int s)
{
    if (d == s && t != I32)
        return;
    asm_typed(a, t, 0, 0x89, s, rm_reg(d));
}

void asm_load(struct asmbuf *a, enum ir_type t, int d, struct rm m)
{
    if (t == I8)
        asm_insn(a, 0, 1, 0xb6, ASM_BYTE_RM, d, m);
    else if (t == I16)
        asm_insn(a, 0, 1, 0xb7, 0, d, m);
    else
        asm_typed(a, t, 0, 0x8b, d, m);
}

void asm_store(struct asmbuf *a, enum ir_type t, struct rm m, int s)
{
    asm_typed(a, t, 0, 0x89, s, m);
}

void asm_mov_imm(struct asmbuf *a, int d, int64_t v)
{
    if (v == (int64_t)(uint32_t)v) { /* mov r32, imm32 */
        if (d >= 8)
            asm_byte(a, 0x41);
        asm_byte(a, 0xb8 | (d & 7));
        asm_imm(a, v, 4);
    } else if (v == (int32_t)v) {
        asm_insn(a, 0, 0, 0xc7, ASM_W, 0, rm_reg(d));
        asm_imm(a, v, 4);
    } else {
        asm_byte(a, d >= 8 ? 0x49 : 0x48);
        asm_byte(a, 0xb8 | (d & 7));
        asm_imm(a, v, 8);
    }
}

void asm_alu(struct asmbuf *a, enum ir_type t, unsigned op, int d, struct rm m)
{
    asm_typed(a, t, 0, op << 3 | 3, d, m);
}

void asm_alu_to(struct asmbuf *a, enum ir_type t, unsigned op, struct rm m, int s)
{
    asm_typed(a, t, 0, op << 3 | 1, s, m);
}

/* An immediate at a type's width, for forms with imm8 (I8), imm16 or imm32. */
static void put_imm(struct asmbuf *a, enum ir_type t, int64_t v)
{
    asm_imm(a, v, t == I8 ? 1 : t == I16 ? 2 : 4);
}

void asm_alu_imm(struct asmbuf *a, enum ir_type t, unsigned op, struct rm m, int64_t v)
{
    if (t != I8 && v == (int8_t)v) {
        asm_typed(a, t, 0, 0x83, (int)op, m);
        asm_imm(a, v, 1);
    } else {
        unsigned flags = t == I64 ? ASM_W : t == I8 ? ASM_BYTE_RM : 0;
        asm_insn(a, t == I16 ? 0x66 : 0, 0, t == I8 ? 0x80 : 0x81, flags, (int)op, m);
        put_imm(a, t, v);
    }
}

void asm_test_imm(struct asmbuf *a, enum ir_type t, struct rm m, int32_t v)
{
    unsigned flags = t == I64 ? ASM_W : t == I8 ? ASM_BYTE_RM : 0;
    asm_insn(a, t == I16 ? 0x66 : 0, 0, t == I8 ? 0xf6 : 0xf7, flags, 0, m);
    put_imm(a, t, v);
}

void asm_shift_imm(struct asmbuf *a, enum ir_type t, unsigned op, struct rm m, unsigned n)
{
    unsigned flags = t == I64 ? ASM_W : t == I8 ? ASM_BYTE_RM : 0;
    unsigned byte = t == I8 ? 0 : 1;
    asm_insn(a, t == I16 ? 0x66 : 0, 0, (n == 1 ? 0xd0 : 0xc0) | byte, flags, (int)op, m);
    if (n != 1)
        asm_byte(a, n);
}

void asm_lea(struct asmbuf *a, enum ir_type t, int d, struct rm m)
{
    asm_typed(a, t, 0, 0x8d, d, m);
}

uint32_t asm_jmp(struct asmbuf *a)
{
    asm_byte(a, 0xe9);
    asm_imm(a, 0, 4);
    return asm_at(a) - 4;
}

uint32_t asm_jcc(struct asmbuf *a, unsigned cc)
{
    asm_byte(a, 0x0f);
    asm_byte(a, 0x80 | cc);
    asm_imm(a, 0, 4);
    return asm_at(a) - 4;
}

void asm_patch(struct asmbuf *a, uint32_t at, uint32_t to)
{
    bytes_put(a->start + at, (uint64_t)((int64_t)to - (int64_t)at - 4), 4);
}

static void put_rel(struct asmbuf *a, const uint8_t *rx)
{
    const uint8_t *next = a->p + 4 + a->rx_delta;
    int64_t rel = rx - next;
    rh_assert(rel == (int32_t)rel, "host code lies within 2 GB of the thunks");
    asm_imm(a, rel, 4);
}

void asm_jmp_abs(struct asmbuf *a, const uint8_t *rx)
{
    asm_byte(a, 0xe9);
    put_rel(a, rx);
}

void asm_call_abs(struct asmbuf *a, const uint8_t *rx)
{
    asm_byte(a, 0xe8);
    put_rel(a, rx);
}

void asm_align(struct asmbuf *a, unsigned ahead)
{
    static const uint8_t nop[4][3] = {{0}, {0x90}, {0x66, 0x90}, {0x0f, 0x1f, 0x00}};
    unsigned n = (0 - ((unsigned)(uintptr_t)a->p + ahead)) & 3;
    for (unsigned i = 0; i < n; i++)
        asm_byte(a, nop[n][i]);
}
