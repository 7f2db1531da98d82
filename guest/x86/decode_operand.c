/* guest/x86/decode_operand.c: the memory operand and the operand list of one instruction.
 *
 * Each operand of the row names a form of operand.def: where it is (method) and how many bytes (size, by register or
 * memory).  Memory operands all share insn->mem, since no form has two given by ModRM.  Immediates are taken in the
 * order of the operands, which is the order of the bytes.
 */
#include "guest/x86/decode_table.h"
#include "guest/x86/state.h"

/* Vol. 2A, table 2-1. */
static void decode_memory_16(struct x86_decoder *d)
{
    static const int8_t base[8] = {X86_RBX, X86_RBX, X86_RBP, X86_RBP, X86_RSI, X86_RDI, X86_RBP, X86_RBX};
    static const int8_t index[8] = {X86_RSI, X86_RDI, X86_RSI, X86_RDI, -1, -1, -1, -1};
    struct x86_insn *i = d->insn;
    unsigned rm = i->modrm & 7;
    bool absolute = i->mod == 0 && rm == 6;
    i->mem.base = absolute ? -1 : base[rm];
    i->mem.index = index[rm];
    if (i->mod == 1) {
        i->mem.disp = sign_extend(x86_decoder_take(d, 1), 8);
    } else if (i->mod == 2 || absolute) {
        i->mem.disp = sign_extend(x86_decoder_take(d, 2), 16);
    }
}

/* Vol. 2A, tables 2-2 and 2-3; RIP-relative: 2.2.1.6. */
static void decode_memory_32(struct x86_decoder *d)
{
    struct x86_insn *i = d->insn;
    unsigned rm = i->modrm & 7, base = rm;
    d->sib = rm == 4;
    if (d->sib) {
        uint8_t sib = x86_decoder_take(d, 1);
        unsigned index = (sib >> 3 & 7) | (i->rex & 2 ? 8 : 0);
        i->mem.scale = sib >> 6;
        i->mem.index = index == 4 ? -1 : (int8_t)index;
        base = sib & 7;
    }
    bool absent = i->mod == 0 && base == 5;
    if (!absent) {
        i->mem.base = (int8_t)(base | (i->rex & 1 ? 8 : 0));
    }
    i->mem.rip = absent && !d->sib && d->bits == X86_64;
    if (i->mod == 1) {
        i->mem.disp = sign_extend(x86_decoder_take(d, 1), 8);
    } else if (i->mod == 2 || absent) {
        i->mem.disp = sign_extend(x86_decoder_take(d, 4), 32);
    }
}

void x86_decode_memory(struct x86_decoder *d)
{
    struct x86_insn *i = d->insn;
    if (i->asize == 2) {
        decode_memory_16(d);
    } else {
        decode_memory_32(d);
    }
    bool stack = i->mem.base == X86_RSP || i->mem.base == X86_RBP; /* vol. 1, table 3-5 */
    i->mem.seg = d->seg != SEG_NONE ? d->seg : stack ? SEG_SS : SEG_DS;
}

static unsigned size_by_rule(const struct x86_decoder *d, unsigned size)
{
    const struct x86_insn *i = d->insn;
    unsigned vl = 16u << i->vl, mode = d->bits == X86_64 ? 8 : 4;
    switch (size) {
    case SIZE_Y: return i->osize == 8 ? 8 : 4;
    case SIZE_MODE: return mode;
    case SIZE_MODE2: return 2 * mode;
    case SIZE_ADDR: return i->asize;
    case SIZE_FAR: return i->osize + 2u;
    case SIZE_TABLE: return d->bits == X86_64 ? 10 : 6;
    case SIZE_PAIR: return 2u * i->osize;
    case SIZE_VL: return vl;
    case SIZE_HALF: return vl / 2;
    case SIZE_QUARTER: return vl / 4;
    case SIZE_EIGHTH: return vl / 8;
    case SIZE_DUP: return i->vl ? vl : 8;
    case SIZE_ENV: return i->osize == 2 ? 14 : 28;
    case SIZE_STATE: return i->osize == 2 ? 94 : 108;
    case SIZE_FX: return 512;
    }
    rh_assert(false, "size rule %u", size);
}

static inline unsigned size_of(const struct x86_decoder *d, unsigned size)
{
    unsigned osize = d->insn->osize;
    if (size <= 64)
        return size;
    return size == SIZE_V ? osize : size == SIZE_Z ? (osize == 2 ? 2 : 4) : size_by_rule(d, size);
}

static bool operand_reg(struct x86_operand *o, enum x86_operand_kind kind, unsigned reg)
{
    o->kind = kind;
    o->reg = reg;
    return true;
}

/* Without REX, byte registers 4..7 are AH CH DH BH (vol. 2A, table 2-1 and 2.2.1.2). */
static bool operand_gpr(const struct x86_decoder *d, struct x86_operand *o, unsigned reg)
{
    o->high = o->bytes == 1 && reg >= 4 && reg < 8 && !(d->insn->prefix & PREFIX_REX) && d->insn->space == X86_LEGACY;
    return reg < 16 && operand_reg(o, OPERAND_GPR, o->high ? reg - 4 : reg);
}

/* EVEX scales an 8-bit displacement by what the operand occupies (vol. 2A, 2.7.5). */
static bool operand_memory(struct x86_decoder *d, struct x86_operand *o)
{
    struct x86_insn *i = d->insn;
    uint32_t attr = i->row->attr;
    o->kind = OPERAND_MEM;
    if (i->space != X86_EVEX) {
        return true;
    }
    if (i->evex_b) {
        o->bytes = attr & ATTR_BCAST16 ? 2 : attr & ATTR_BCAST32 ? 4 : 8;
    }
    if (i->mod == 1) {
        unsigned n = attr & ATTR_N1 ? 1 : attr & ATTR_N2 ? 2 : attr & ATTR_N4 ? 4 : attr & ATTR_N8 ? 8 : o->bytes;
        i->mem.disp *= n;
    }
    return !(i->evex_z && o == &i->op[0]);
}

static bool operand_vsib(struct x86_decoder *d, struct x86_operand *o)
{
    struct x86_insn *i = d->insn;
    if (!d->sib) {
        return false;
    }
    unsigned index = (i->mem.index < 0 ? 4 : i->mem.index) | (i->space == X86_EVEX ? i->vvvv & 16 : 0);
    i->mem.index = (int8_t)index;
    return operand_memory(d, o);
}

static unsigned data_segment(const struct x86_decoder *d)
{
    return d->seg != SEG_NONE ? d->seg : SEG_DS;
}

static bool operand_at(struct x86_decoder *d, struct x86_operand *o, unsigned base, unsigned seg)
{
    struct x86_insn *i = d->insn;
    o->kind = OPERAND_MEM;
    o->reg = base;
    if (seg == SEG_ES && i->mem.base >= 0) {
        return true; /* MOVS, CMPS: insn->mem is the rSI operand */
    }
    i->mem.base = (int8_t)base;
    i->mem.seg = seg;
    return true;
}

static bool operand_immediate(struct x86_decoder *d, struct x86_operand *o, enum x86_operand_kind kind, bool is_signed)
{
    struct x86_insn *i = d->insn;
    uint64_t v = x86_decoder_take(d, o->bytes);
    int64_t value = is_signed ? sign_extend(v, 8 * o->bytes) : (int64_t)v;
    bool second = false;
    for (struct x86_operand *before = i->op; before < o; before++) {
        second |= before->kind == OPERAND_IMM;
    }
    if (second) {
        i->imm2 = value;
    } else {
        i->imm = value;
    }
    o->kind = kind;
    return true;
}

static bool operand_far(struct x86_decoder *d, struct x86_operand *o)
{
    o->kind = OPERAND_FAR;
    d->insn->imm = (int64_t)x86_decoder_take(d, d->insn->osize);
    d->insn->imm2 = (int64_t)x86_decoder_take(d, 2);
    return true;
}

static bool operand_offset(struct x86_decoder *d, struct x86_operand *o)
{
    o->kind = OPERAND_MEM;
    d->insn->mem.seg = data_segment(d);
    d->insn->mem.disp = (int64_t)x86_decoder_take(d, d->insn->asize);
    return true;
}

/* CS cannot be loaded; segment numbers 6 and 7 do not exist: the rows see to both.  CR: vol. 2B, MOV to/from control
 * registers. */
static bool operand_control(const struct x86_decoder *d, struct x86_operand *o)
{
    unsigned reg = d->insn->reg;
    return (reg == 0 || (reg >= 2 && reg <= 4) || reg == 8) && operand_reg(o, OPERAND_CR, reg);
}

static bool operand_vector_or_memory(struct x86_decoder *d, struct x86_operand *o, bool is_reg)
{
    const struct x86_insn *i = d->insn;
    if (!is_reg) {
        return operand_memory(d, o);
    }
    return operand_reg(o, OPERAND_VEC, i->rm | (i->space == X86_EVEX && (i->rex & 2) ? 16u : 0));
}

static bool operand_mask(struct x86_operand *o, unsigned reg)
{
    return reg < 8 && operand_reg(o, OPERAND_MASK, reg);
}

static bool operand_immediate_register(struct x86_decoder *d, struct x86_operand *o)
{
    uint8_t b = x86_decoder_take(d, 1);
    d->insn->imm = b & 15;
    return operand_reg(o, OPERAND_VEC, d->bits == X86_64 ? b >> 4 : b >> 4 & 7);
}

static bool decode_operand(struct x86_decoder *d, const struct x86_operand_form *form, struct x86_operand *o)
{
    struct x86_insn *i = d->insn;
    bool is_reg = i->mod == 3;
    o->bytes = size_of(d, form->size[i->has_modrm && !is_reg]);
    switch ((enum x86_method)form->method) {
    case METHOD_E: return is_reg ? operand_gpr(d, o, i->rm) : operand_memory(d, o);
    case METHOD_R: return operand_gpr(d, o, i->rm);
    case METHOD_M: return operand_memory(d, o);
    case METHOD_G: return operand_gpr(d, o, i->reg);
    case METHOD_B: return operand_gpr(d, o, i->vvvv);
    case METHOD_Z: return operand_gpr(d, o, (i->opcode & 7) | (i->rex & 1 ? 8 : 0));
    case METHOD_REG: return operand_reg(o, OPERAND_GPR, form->fixed);
    case METHOD_V: return operand_reg(o, OPERAND_VEC, i->reg);
    case METHOD_H: return operand_reg(o, OPERAND_VEC, i->vvvv);
    case METHOD_W: return operand_vector_or_memory(d, o, is_reg);
    case METHOD_U: return operand_vector_or_memory(d, o, true);
    case METHOD_L: return operand_immediate_register(d, o);
    case METHOD_XMM: return operand_reg(o, OPERAND_VEC, form->fixed);
    case METHOD_VM: o->bytes = form->mem_size; return operand_vsib(d, o);
    case METHOD_MSIB: return d->sib && operand_memory(d, o);
    case METHOD_P: return operand_reg(o, OPERAND_MMX, i->reg & 7);
    case METHOD_Q: return is_reg ? operand_reg(o, OPERAND_MMX, i->rm & 7) : operand_memory(d, o);
    case METHOD_N: return operand_reg(o, OPERAND_MMX, i->rm & 7);
    case METHOD_S: return operand_reg(o, OPERAND_SEG, i->reg & 7);
    case METHOD_SEG: return operand_reg(o, OPERAND_SEG, form->fixed);
    case METHOD_C: return operand_control(d, o);
    case METHOD_D: return i->reg < 8 && operand_reg(o, OPERAND_DR, i->reg);
    case METHOD_KG: return operand_mask(o, i->reg);
    case METHOD_KGP: return operand_mask(o, i->reg & ~1u);
    case METHOD_KE: return is_reg ? operand_mask(o, i->rm & 7) : operand_memory(d, o);
    case METHOD_KR: return operand_mask(o, i->rm & 7);
    case METHOD_KH: return operand_mask(o, i->vvvv);
    case METHOD_ST: return operand_reg(o, OPERAND_ST, form->fixed);
    case METHOD_STI: return operand_reg(o, OPERAND_ST, i->rm & 7);
    case METHOD_TG: return i->reg < 8 && operand_reg(o, OPERAND_TILE, i->reg);
    case METHOD_TE: return i->rm < 8 && operand_reg(o, OPERAND_TILE, i->rm);
    case METHOD_TH: return i->vvvv < 8 && operand_reg(o, OPERAND_TILE, i->vvvv);
    case METHOD_I: return operand_immediate(d, o, OPERAND_IMM, false);
    case METHOD_IS: return operand_immediate(d, o, OPERAND_IMM, true);
    case METHOD_J: return operand_immediate(d, o, OPERAND_REL, true);
    case METHOD_A: return operand_far(d, o);
    case METHOD_O: return operand_offset(d, o);
    case METHOD_X: return operand_at(d, o, form->fixed, data_segment(d));
    case METHOD_Y: return operand_at(d, o, form->fixed, SEG_ES);
    case METHOD_AT: return operand_at(d, o, form->fixed, data_segment(d));
    case METHOD_ONE:
        o->kind = OPERAND_IMM;
        i->imm = form->fixed;
        return true;
    case METHOD_NONE: break;
    }
    rh_assert(false, "operand method %u", form->method);
}

/* Gathers, tile products and complex multiplications: #UD if registers that must differ do not (vol. 2, their
 * exceptions). */
static bool registers_are_distinct(const struct x86_insn *i)
{
    uint32_t seen = 0;
    for (unsigned k = 0; k < i->noperands; k++) {
        bool is_mem = i->op[k].kind == OPERAND_MEM;
        unsigned reg = is_mem ? (unsigned)i->mem.index : i->op[k].reg;
        bool may_repeat = is_mem && !(x86_operand_forms[i->row->operand[k]].method == METHOD_VM);
        if (may_repeat) {
            continue;
        }
        if (seen >> reg & 1) {
            return false;
        }
        seen |= 1u << reg;
    }
    return true;
}

bool x86_decode_operands(struct x86_decoder *d)
{
    struct x86_insn *i = d->insn;
    for (unsigned k = 0; k < ARRAY_LEN(i->op) && i->row->operand[k]; k++) {
        i->noperands = k + 1;
        if (!decode_operand(d, &x86_operand_forms[i->row->operand[k]], &i->op[k])) {
            return false;
        }
    }
    return !(i->row->attr & ATTR_DISTINCT) || registers_are_distinct(i);
}
