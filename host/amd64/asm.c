/* host/amd64/asm.c: see asm.h.  Encodings: Intel SDM vol. 2, chapter 2 and the instruction pages. */
#include "host/amd64/asm.h"

/* Bytes that may be absent are written all the same, and the next one goes over them: a branch would cost more.  The
 * place to write is kept out of *a, which every byte stored might change for all the compiler knows. */
static uint8_t *put_if(uint8_t *p, bool present, unsigned v)
{
    *p = (uint8_t)v;
    return p + present;
}

/* ModRM, SIB and displacement of m, with a register field in place. */
static uint8_t *put_tail(uint8_t *p, unsigned r, struct rm m)
{
    bytes_put(p, m.tail | r, 8);
    return p + (m.how & RM_SIZE);
}

void asm_form(struct asmbuf *a, uint64_t form, int reg, struct rm m)
{
    uint8_t *p = a->p;
    unsigned prefix = form & 0xff, number = (unsigned)reg;
    unsigned rex = (form >> FORM_W & 8) | (number >> 1 & 4) | (m.how >> RM_REX & 3);
    unsigned byte =
        (number & form >> FORM_BYTE_REG & BYTE_REX) | (m.how >> RM_NUMBER & form >> FORM_BYTE_RM & BYTE_REX);
    if (m.how & RM_GS)
        *p++ = 0x65;
    p = put_if(p, prefix, prefix);
    p = put_if(p, rex | byte, 0x40 | rex);
    bytes_put(p, form >> FORM_ESCAPE, 2);
    p += form >> FORM_ESCAPES & 3;
    *p++ = (uint8_t)(form >> FORM_OPCODE);
    a->p = put_tail(p, (number & 7) << 3, m);
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

/* EVEX counts a displacement of one byte in units of its own (SDM vol. 2A, 2.7.5): have four bytes instead. */
static struct rm long_displacement(struct rm m)
{
    bool memory = (m.tail & 0xc0) == 0x40;
    unsigned at = (m.tail & 7) == 4 ? 16 : 8; /* behind a SIB, or not */
    if (!memory)
        return m;
    uint64_t disp = (uint32_t)sign_extend(m.tail >> at & 0xff, 8);
    return (struct rm){((m.tail & mask_bits(at)) ^ 0xc0) | disp << at, m.how + 3};
}

void asm_avx(struct asmbuf *a, const struct ir_avx *x, struct asm_avx r, struct rm m)
{
    unsigned rxb = (r.reg & 8 ? 4u : 0) | (m.how >> RM_REX & 3);
    if (m.how & RM_GS)
        asm_byte(a, 0x65);
    if (x->evex)
        put_evex(a, x, r, rxb);
    else
        put_vex(a, x, r, rxb);
    asm_byte(a, x->opcode);
    if (x->form != IR_AVX_PLAIN)
        a->p = put_tail(a->p, ((unsigned)r.reg & 7) << 3, x->evex ? long_displacement(m) : m);
    if (x->has_imm)
        asm_byte(a, x->imm | (unsigned)r.last << 4);
}

const uint64_t asm_types[IR_TYPE_COUNT] = {
    [I8] = ((uint64_t)BYTE_REX << FORM_BYTE_REG | (uint64_t)BYTE_REX << FORM_BYTE_RM) - (1 << FORM_OPCODE),
    [I16] = 0x66,
    [I64] = 8 << FORM_W,
};

void asm_load_part(struct asmbuf *a, enum ir_type t, int d, struct rm m)
{
    if (t == I8)
        asm_insn(a, 0, 1, 0xb6, ASM_BYTE_RM, d, m);
    else
        asm_insn(a, 0, 1, 0xb7, 0, d, m);
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

/* An immediate at a type's width, for forms with imm8 (I8), imm16 or imm32. */
static void put_imm(struct asmbuf *a, enum ir_type t, int64_t v)
{
    asm_imm(a, v, t == I8 ? 1 : t == I16 ? 2 : 4);
}

void asm_alu_imm(struct asmbuf *a, enum ir_type t, unsigned op, struct rm m, int64_t v)
{
    if (t >= I32) {
        bool byte = v == (int8_t)v;
        asm_typed(a, t, 0, byte ? 0x83 : 0x81, (int)op, m);
        bytes_put(a->p, (uint64_t)v, 4);
        a->p += byte ? 1 : 4;
    } else if (t == I16 && v == (int8_t)v) {
        asm_typed(a, t, 0, 0x83, (int)op, m);
        asm_imm(a, v, 1);
    } else {
        asm_insn(a, t == I16 ? 0x66 : 0, 0, t == I8 ? 0x80 : 0x81, t == I8 ? ASM_BYTE_RM : 0, (int)op, m);
        put_imm(a, t, v);
    }
}

void asm_test_imm(struct asmbuf *a, enum ir_type t, struct rm m, int32_t v)
{
    unsigned flags = t == I64 ? ASM_W : t == I8 ? ASM_BYTE_RM : 0;
    if (t == I8 && rm_is(m, RAX))
        asm_byte(a, 0xa8); /* test al, imm8 */
    else
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

uint32_t asm_jmp(struct asmbuf *a)
{
    uint8_t *p = a->p;
    p[0] = 0xe9;
    bytes_put(p + 1, 0, 4);
    a->p = p + 5;
    return (uint32_t)(p + 1 - a->start);
}

uint32_t asm_jcc(struct asmbuf *a, unsigned cc)
{
    uint8_t *p = a->p;
    bytes_put(p, 0x800f | cc << 8, 2);
    bytes_put(p + 2, 0, 4);
    a->p = p + 6;
    return (uint32_t)(p + 2 - a->start);
}

void asm_patch(struct asmbuf *a, uint32_t at, uint32_t to)
{
    bytes_put(a->start + at, (uint64_t)((int64_t)to - (int64_t)at - 4), 4);
}

/* A call or a jump. */
static uint8_t *put_abs(const struct asmbuf *a, uint8_t *p, unsigned opcode, const uint8_t *rx)
{
    int64_t rel = rx - (p + 5 + a->rx_delta);
    rh_assert(rel == (int32_t)rel, "host code lies within 2 GB of the thunks");
    p[0] = (uint8_t)opcode;
    bytes_put(p + 1, (uint64_t)rel, 4);
    return p + 5;
}

void asm_jmp_abs(struct asmbuf *a, const uint8_t *rx)
{
    a->p = put_abs(a, a->p, 0xe9, rx);
}

void asm_call_abs(struct asmbuf *a, const uint8_t *rx)
{
    a->p = put_abs(a, a->p, 0xe8, rx);
}

void asm_exit(struct asmbuf *a, int32_t v, bool call, const uint8_t *rx)
{
    uint8_t *p = a->p;
    p[0] = 0xb8; /* mov eax, imm32 */
    bytes_put(p + 1, (uint32_t)v, 4);
    a->p = put_abs(a, p + 5, call ? 0xe8 : 0xe9, rx);
}

void asm_align(struct asmbuf *a, unsigned ahead)
{
    static const uint32_t nop[4] = {0, 0x90, 0x9066, 0x001f0f};
    unsigned n = (0 - ((unsigned)(uintptr_t)a->p + ahead)) & 3;
    bytes_put(a->p, nop[n], 4);
    a->p += n;
}
