/* irmake.h: random IR blocks that verify, for tests that run the same block in two ways.
 *
 * Memory operands lie in [MAKE_MEM_BASE, + MAKE_MEM_SIZE) or, now and then, near 0, where tests let them fault.
 */
#ifndef RHEA_IRMAKE_H
#define RHEA_IRMAKE_H

#include "ir/text.h"
#include "test/ir/irmake_avx.h"
#include "test/ir/irtest.h"

enum { MAKE_INSNS = 10, MAKE_MEM_SIZE = 256, MAKE_MEM_BASE = 0x40f80, MAKE_TEMPS = 12 };

struct maker {
    struct ir_block *b;
    uint64_t seed;
    unsigned regs;              /* guest registers to use: 0.. */
    bool x87;                   /* with X87 ops */
    unsigned avx;               /* with AVX ops, for vectors of so many bytes; 0: none */
    bool full_temp[MAKE_TEMPS]; /* written whole since the last label */
    int open_label;             /* branched to, not placed; -1: none */
    int open_for;
};

static inline unsigned pick(struct maker *m, unsigned n)
{
    m->seed ^= m->seed << 13;
    m->seed ^= m->seed >> 7;
    m->seed ^= m->seed << 17;
    return (unsigned)(m->seed >> 20) % n;
}

static inline ir_ref any_const(struct maker *m)
{
    static const int64_t some[] = {0,    1,    2,    5,      8,  31,        32,         63,
                                   0x7f, 0x80, 0xff, 0x8000, -1, INT64_MIN, 0x80000000, 0x123456789};
    return ir_const(m->b, some[pick(m, ARRAY_LEN(some))]);
}

static inline ir_ref source(struct maker *m)
{
    unsigned k = pick(m, 8);
    if (k == 0)
        return any_const(m);
    for (unsigned i = 0; k < 5 && i < 4; i++) {
        unsigned t = pick(m, MAKE_TEMPS);
        if (m->full_temp[t])
            return (ir_ref)(IR_TEMP0 + t);
    }
    return (ir_ref)pick(m, m->regs);
}

/* temps_only: before the last op of the insn that may fault. */
static inline ir_ref dest(struct maker *m, bool temps_only)
{
    return temps_only || pick(m, 2) ? (ir_ref)(IR_TEMP0 + pick(m, MAKE_TEMPS)) : (ir_ref)pick(m, m->regs);
}

static inline void wrote(struct maker *m, const struct ir_op *o)
{
    for (unsigned n = IR_D; n <= IR_E; n++) {
        ir_ref r = ir_get(o, n);
        if (r != IR_NONE && ir_is_temp(r) && ir_write_bits(o, n) == 64)
            m->full_temp[r - IR_TEMP0] = true;
    }
}

static inline void alu(struct maker *m, bool early)
{
    static const uint8_t ops[] = {
        IR_MOV,  IR_MOV,   IR_MOV,   IR_MOV,   IR_ZX8,    IR_ZX16,  IR_SX8,   IR_SX16, IR_SX32, IR_LEA,
        IR_LEA,  IR_ADD,   IR_SUB,   IR_ADC,   IR_SBB,    IR_AND,   IR_OR,    IR_XOR,  IR_CMP,  IR_TEST,
        IR_NOT,  IR_NEG,   IR_INC,   IR_DEC,   IR_SHL,    IR_SHR,   IR_SAR,   IR_ROL,  IR_ROR,  IR_RCL,
        IR_RCR,  IR_SHLD,  IR_SHRD,  IR_MUL,   IR_UMUL,   IR_SMUL,  IR_BT,    IR_BTS,  IR_BTR,  IR_BTC,
        IR_BSF,  IR_BSR,   IR_TZCNT, IR_LZCNT, IR_POPCNT, IR_CRC32, IR_CRC32, IR_PDEP, IR_PEXT, IR_BSWAP,
        IR_CMOV, IR_SETCC, IR_GETF,  IR_SETF,  IR_STC,    IR_CLC,   IR_CMC,   IR_PC,   IR_LDF,  IR_LDC,
    };
    unsigned op = ops[pick(m, ARRAY_LEN(ops))];
    const char *s = ir_shapes[op].operands;
    struct ir_op *o = ir_append(m->b, op, pick(m, 4) ? I32 + pick(m, 2) : pick(m, 2));
    if (o->type < I32 &&
        (s[0] == 'X' || op == IR_LEA || op == IR_BSWAP || (op >= IR_ZX8 && op <= IR_SX32) || op == IR_UMUL ||
         op == IR_SMUL || op == IR_PDEP || op == IR_PEXT || (op >= IR_SHLD && op <= IR_POPCNT)))
        o->type = I32;
    if (op == IR_SX32)
        o->type = I64;
    for (unsigned n = IR_A; n < IR_FIELDS; n++)
        if (s[n] == 'V')
            *ir_field(o, n) = source(m);
    if (s[IR_D] != '.')
        o->d = dest(m, early);
    if (s[IR_D] == 'X' && ir_is_temp(o->d) && !m->full_temp[o->d - IR_TEMP0])
        o->op = IR_MOV; /* an X operand must have a value before */
    if (s[IR_E] != '.')
        do
            o->e = dest(m, early);
        while (o->e == o->d);
    if (ir_is_shift(op)) {
        ir_ref *count = op >= IR_SHLD ? &o->c : &o->b;
        if (ir_is_const(*count))
            *count = ir_const(m->b, 1 + pick(m, 31));
    }
    if (op == IR_LEA)
        o->sub = (uint8_t)pick(m, 4), o->imm = (int)pick(m, 100) - 50;
    if (o->op == IR_CMOV || op == IR_SETCC)
        o->sub = (uint8_t)pick(m, 16);
    if (op == IR_LDF)
        o->imm = m->avx ? offsetof(struct cpu, tsc_offset) : offsetof(struct cpu, mxcsr);
    if (op == IR_LDC) {
        static const uint8_t code[16] = {0x12, 0x93, 0xf4, 0x85, 0x56, 0xe7, 0x28, 0x89,
                                         0x9a, 0x1b, 0xcc, 0xbd, 0x3e, 0xdf, 0x70, 0xa1};
        o->imm = (int64_t)(uintptr_t)(code + pick(m, 8));
    }
    if (op == IR_SETF) {
        o->sub = (uint8_t)(1 + pick(m, 63));
        o->imm = ir_f_to_x86(o->sub);
    }
    if (!early && pick(m, 4)) {
        o->setf = 1;
        o->setf = (uint8_t)ir_writes_f(o);
    }
    wrote(m, o);
}

/* Make o a random insn of that form. */
static inline void x87_insn(struct maker *m, struct ir_op *o, enum ir_x87_form form)
{
    static const struct {
        uint8_t form, map, opcode, modrm, any, bytes; /* any: how many values of modrm from that on */
        bool imm, w;
    } insns[] = {
        {X87_REG, 0, 0xd8, 0xc0, 64, 0, 0, 0},      {X87_REG, 0, 0xd9, 0xc0, 16, 0, 0, 0},
        {X87_REG, 0, 0xd9, 0xe8, 7, 0, 0, 0},       {X87_REG, 0, 0xd9, 0xe0, 2, 0, 0, 0},
        {X87_REG, 0, 0xdc, 0xc0, 64, 0, 0, 0},      {X87_REG, 0, 0xdd, 0xc0, 40, 0, 0, 0},
        {X87_REG, 0, 0xdb, 0xe2, 1, 0, 0, 0},       {X87_REG, 1, 0xfc, 0xc0, 64, 0, 0, 0},
        {X87_REG, 1, 0x77, 0, 1, 0, 0, 0},          {X87_REG, 1, 0x70, 0xc0, 64, 0, 1, 0},
        {X87_REG, 2, 0x00, 0xc0, 64, 0, 0, 0},      {X87_READ, 0, 0xd8, 0, 1, 4, 0, 0},
        {X87_READ, 0, 0xdd, 0, 1, 8, 0, 0},         {X87_READ, 0, 0xdb, 0x28, 1, 10, 0, 0},
        {X87_READ, 0, 0xdf, 0, 1, 2, 0, 0},         {X87_READ, 1, 0x6f, 0, 64, 8, 0, 0},
        {X87_READ, 1, 0x6e, 0, 64, 4, 0, 0},        {X87_READ, 1, 0xc4, 0, 64, 2, 1, 0},
        {X87_WRITE, 0, 0xd9, 0x18, 1, 4, 0, 0},     {X87_WRITE, 0, 0xdd, 0x18, 1, 8, 0, 0},
        {X87_WRITE, 0, 0xdb, 0x38, 1, 10, 0, 0},    {X87_WRITE, 0, 0xdf, 0x38, 1, 8, 0, 0},
        {X87_WRITE, 0, 0xd9, 0x38, 1, 2, 0, 0},     {X87_WRITE, 1, 0x7f, 0, 64, 8, 0, 0},
        {X87_WRITE, 1, 0x7e, 0, 64, 8, 0, 1},       {X87_TO_GPR, 0, 0xdf, 0xe0, 1, 0, 0, 0},
        {X87_TO_GPR, 1, 0x7e, 0xc0, 64, 0, 0, 0},   {X87_TO_GPR, 1, 0x7e, 0xc0, 64, 0, 0, 1},
        {X87_TO_GPR, 1, 0xc5, 0xc0, 64, 0, 1, 0},   {X87_TO_GPR, 1, 0xd7, 0xc0, 64, 0, 0, 0},
        {X87_FROM_GPR, 1, 0x6e, 0xc0, 64, 0, 0, 0}, {X87_FROM_GPR, 1, 0x6e, 0xc0, 64, 0, 0, 1},
        {X87_FROM_GPR, 1, 0xc4, 0xc0, 64, 0, 1, 0}, {X87_FLAGS, 0, 0xdb, 0xe8, 16, 0, 0, 0},
        {X87_FLAGS, 0, 0xdf, 0xe8, 16, 0, 0, 0},    {X87_CMOV, 0, 0xda, 0xc0, 32, 0, 0, 0},
        {X87_CMOV, 0, 0xdb, 0xc0, 32, 0, 0, 0},
    };
    unsigned n;
    do
        n = pick(m, ARRAY_LEN(insns));
    while (insns[n].form != form);
    unsigned modrm = insns[n].modrm + pick(m, insns[n].any);
    o->sub = (uint8_t)form;
    o->imm = insns[n].opcode | modrm << IR_X87_MODRM | insns[n].map << IR_X87_MAP;
    o->imm |= (int64_t)insns[n].bytes << IR_X87_BYTES;
    o->imm |= insns[n].imm ? IR_X87_HAS_IMM | (int64_t)pick(m, 256) << IR_X87_IMM : 0;
    o->imm |= (insns[n].w ? IR_X87_W : 0) | (pick(m, 2) ? IR_X87_RECORDS : 0);
}

static inline void x87(struct maker *m)
{
    static const uint8_t forms[] = {X87_REG, X87_REG, X87_REG, X87_TO_GPR, X87_FROM_GPR, X87_FLAGS, X87_CMOV};
    struct ir_op *o = ir_append(m->b, IR_X87, I64);
    x87_insn(m, o, forms[pick(m, ARRAY_LEN(forms))]);
    if (o->sub == X87_TO_GPR)
        o->d = dest(m, false);
    if (o->sub == X87_FROM_GPR)
        do
            o->a = source(m);
        while (ir_is_const(o->a));
    o->setf = o->sub == X87_FLAGS ? IRF_ALL : 0;
    wrote(m, o);
}

static inline ir_ref avx_operand(struct maker *m, char class, bool evex, bool write_mask)
{
    switch (class) {
    case 'v': return (ir_ref)(IR_VEC0 + pick(m, evex ? 32 : 16));
    case 'k': return (ir_ref)(IR_MASK0 + (write_mask ? 1 + pick(m, 7) : pick(m, 8)));
    case 'g': return (ir_ref)pick(m, m->regs);
    default: return IR_NONE;
    }
}

/* Make o a random AVX op with or without memory; its address, o->a, is there. */
static inline void avx_op(struct maker *m, struct ir_op *o, bool mem)
{
    const struct avx_sample *s;
    char text[96];
    do
        s = &avx_samples[pick(m, ARRAY_LEN(avx_samples))];
    while ((strchr(s->operands, 'm') != NULL) != mem || (avx_sample_is_wide(s) && m->avx < 64));
    snprintf(text, sizeof text, "%s", s->text);
    assert_true(ir_avx_parse(text, &o->avx));
    const struct ir_avx_form_row *f = &ir_avx_forms[o->avx.form];
    bool evex = o->avx.evex;
    o->type = I8;
    o->d = avx_operand(m, s->operands[0], evex, false);
    if (!mem)
        o->a = avx_operand(m, s->operands[1], evex, false);
    bool second = f->operands[IR_B] != '.';
    o->b = second ? avx_operand(m, s->operands[2], evex, false) : IR_NONE;
    char last = s->operands[second ? 3 : 2];
    o->c = avx_operand(m, last, evex, f->c == IR_AT_LAST);
    if (ir_avx_sets_flags(&o->avx))
        o->setf = IRF_ALL;
}

static inline void avx(struct maker *m)
{
    struct ir_op *insn = ir_append(m->b, IR_INSN, I8); /* it may fault */
    insn->imm = 101;
    insn->sub = 1;
    avx_op(m, ir_append(m->b, IR_AVX, I8), false);
}

static inline void memory(struct maker *m)
{
    static const uint8_t ops[] = {IR_LD, IR_LDZ, IR_LDS, IR_ST, IR_ST, IR_RMW, IR_XADD, IR_XCHG, IR_CMPXCHG, IR_PROBE};
    static const uint8_t subs[] = {IR_ADD, IR_SBB, IR_XOR, IR_INC, IR_SHL, IR_RCR, IR_BTS, IR_BTC, IR_NOT, IR_AND};
    unsigned op = m->x87 && pick(m, 3) ? IR_X87 : m->avx && pick(m, 3) ? IR_AVX : ops[pick(m, ARRAY_LEN(ops))];
    unsigned sub = op == IR_RMW ? subs[pick(m, ARRAY_LEN(subs))] : 0;
    int disp = ir_takes_disp(op, sub, 0) && pick(m, 2) ? (int)pick(m, pick(m, 2) ? 200 : 0x10000) - 100 : 0;
    struct ir_op *o = ir_append(m->b, IR_AND, I64);
    ir_ref t = o->d = (ir_ref)(IR_TEMP0 + pick(m, MAKE_TEMPS));
    o->a = source(m);
    o->b = ir_const(m->b, MAKE_MEM_SIZE - 1);
    wrote(m, o);
    o = ir_append(m->b, IR_LEA, I64);
    o->d = o->a = t;
    o->imm = pick(m, 20) ? MAKE_MEM_BASE - (int16_t)disp : 0; /* sometimes it faults */
    if (pick(m, 2)) { /* the address in a guest register: written by an insn of its own */
        unsigned at = pick(m, m->regs);
        struct ir_op *mov = ir_append(m->b, IR_MOV, I64);
        mov->d = (ir_ref)at;
        mov->a = t;
        struct ir_op *insn = ir_append(m->b, IR_INSN, I8);
        insn->imm = 100;
        insn->sub = 1;
        t = (ir_ref)at;
    }
    o = ir_append(m->b, op, pick(m, 4));
    const char *s = ir_shapes[op].operands;
    o->a = t;
    o->disp = (int16_t)disp;
    o->sub = (uint8_t)sub;
    o->flags = pick(m, 3) ? 0 : IR_NEAR;
    o->pair = (uint8_t)(pick(m, 2) ? 1 + pick(m, 3) : 0);
    if (op == IR_X87) {
        x87_insn(m, o, pick(m, 2) ? X87_READ : X87_WRITE);
        return;
    }
    if (op == IR_AVX) {
        avx_op(m, o, true);
        return;
    }
    o->imm = op == IR_PROBE ? 8 : 0;
    if (op == IR_RMW && (o->sub == IR_BTS || o->sub == IR_BTC) && o->type == I8)
        o->type = I16;
    if (s[IR_B] == 'V' && !(op == IR_RMW && (o->sub == IR_INC || o->sub == IR_NOT)))
        o->b = source(m);
    if (op == IR_RMW && ir_is_shift(o->sub) && ir_is_const(o->b))
        o->b = ir_const(m->b, 3);
    else if (op == IR_RMW && ir_is_shift(o->sub))
        o->b = 1; /* a variable count of memory shifts is in register 1 */
    if (op == IR_LDS) {
        o->type = (uint8_t)pick(m, 3);
        o->sub = (uint8_t)(o->type + 1);
    }
    if (s[IR_D] != '.')
        o->d = s[IR_D] == 'X' ? (ir_ref)pick(m, m->regs) : dest(m, false);
    o->setf = (uint8_t)(pick(m, 2));
    o->setf = (uint8_t)ir_writes_f(o);
    wrote(m, o);
}

static inline void place_label(struct maker *m)
{
    ir_append(m->b, IR_LABEL, I8)->imm = m->open_label;
    m->open_label = -1;
    memset(m->full_temp, 0, sizeof m->full_temp);
}

static inline void branch(struct maker *m)
{
    static const uint8_t ops[] = {IR_BRCC, IR_BRZ, IR_BRNZ};
    struct ir_op *o = ir_append(m->b, ops[pick(m, 3)], pick(m, 4));
    m->open_label = ir_label(m->b);
    m->open_for = (int)pick(m, 3);
    o->imm = m->open_label;
    if (o->op == IR_BRCC)
        o->sub = (uint8_t)pick(m, 16);
    else
        o->a = source(m);
}

static inline void call(struct maker *m)
{
    struct ir_op *o = ir_append(m->b, IR_CALL, I64);
    o->a = source(m);
    o->b = source(m);
    o->c = source(m);
    o->d = dest(m, false);
    wrote(m, o);
}

static inline void make_block(struct maker *m)
{
    m->b->nops = m->b->nconsts = m->b->nlabels = 0;
    m->b->ntemps = MAKE_TEMPS;
    m->open_label = -1;
    memset(m->full_temp, 0, sizeof m->full_temp);
    for (unsigned i = 0; i < MAKE_INSNS; i++) {
        if (m->open_label >= 0 && m->open_for-- == 0)
            place_label(m);
        struct ir_op *o = ir_append(m->b, IR_INSN, I8);
        o->imm = i;
        o->sub = 1;
        for (unsigned k = pick(m, 3); k > 0; k--)
            alu(m, true);
        if (pick(m, 3) == 0)
            memory(m);
        for (unsigned k = pick(m, 4); k > 0; k--)
            alu(m, false);
        for (unsigned k = m->x87 ? pick(m, 3) : 0; k > 0; k--)
            x87(m);
        for (unsigned k = m->avx ? pick(m, 3) : 0; k > 0; k--)
            avx(m);
        if (pick(m, 12) == 0)
            call(m);
        if (m->open_label < 0 && pick(m, 5) == 0)
            branch(m);
    }
    if (m->open_label >= 0)
        place_label(m);
    struct ir_op *end = ir_append(m->b, pick(m, 2) ? IR_GOTO : IR_GOTOCC, I8);
    end->imm = 77;
    if (end->op == IR_GOTOCC) {
        end->sub = (uint8_t)pick(m, 16);
        end->disp = 55;
        end->imm = pick(m, 2) ? 77 : 0x1077;
        end->flags = pick(m, 2) ? IR_POLL : 0;
    }
}

#endif
