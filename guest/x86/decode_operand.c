/* guest/x86/decode_operand.c: the memory operand and the operand list of one instruction.
 *
 * Each operand of the row names a form of operand.def: where it is (method) and how many bytes (size, by register or
 * memory).  Tables tell what that comes to (x86_operand_at); what a few methods ask for beside is in decode_operand.
 * Memory operands all share insn->mem, since no form has two given by ModRM.  Immediates are taken in the order of the
 * operands, which is the order of the bytes.
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
    unsigned n = i->mod == 1 ? 1 : i->mod == 2 || absolute ? 2 : 0;
    i->mem.seg = i->mem.base == X86_RBP ? SEG_SS : SEG_DS;
    i->mem.disp = x86_displacement(d->bytes + d->at, n);
    d->at += n;
}

void x86_decode_memory(struct x86_decoder *d)
{
    struct x86_insn *i = d->insn;
    if (i->asize == 2) {
        decode_memory_16(d);
    } else {
        d->sib = (i->rm & 7) == 4;
        d->at += x86_decode_address(&i->mem, d->bytes + d->at, i->modrm, i->rex, d->bits == X86_64);
    }
    if (d->seg != SEG_NONE) {
        i->mem.seg = d->seg;
    }
}

static unsigned size_by_rule(const struct x86_decoder *d, unsigned size)
{
    const struct x86_insn *i = d->insn;
    unsigned vl = 16u << i->vl, mode = d->bits == X86_64 ? 8 : 4;
    switch (size) {
    case SIZE_MODE: return mode;
    case SIZE_MODE2: return 2 * mode;
    case SIZE_ADDR: return i->asize;
    case SIZE_TABLE: return d->bits == X86_64 ? 10 : 6;
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

static uint64_t numbers_of(const struct x86_insn *i)
{
    uint64_t vector = i->rm | (i->space == X86_EVEX && (i->rex & 2) ? 16u : 0);
    return x86_numbers(i->reg, i->rm, i->opcode, i->rex) | vector << FROM_RM_VECTOR |
           (uint64_t)(i->rm & 7) << FROM_RM_LOW | (uint64_t)(i->reg & 7) << FROM_REG_LOW |
           (uint64_t)i->vvvv << FROM_VVVV;
}

static void place_operand(const struct x86_decoder *d, uint64_t numbers, unsigned k)
{
    struct x86_insn *i = d->insn;
    const struct x86_operand_form *form = &x86_operand_forms[i->row->operand[k]];
    unsigned size = form->size[d->memory];
    x86_place_operand(&i->op[k], form, (unsigned)__builtin_ctz(i->osize), d->memory, numbers);
    if (size > SIZE_LAST_OSIZE) {
        i->op[k].bytes = size_by_rule(d, size) & 0x7fff;
    }
    if (i->space == X86_LEGACY && !(i->prefix & PREFIX_REX)) {
        x86_high_byte(&i->op[k]);
    }
}

/* ---- what more an operand asks -------------------------------------------------------------------------------- */

/* EVEX scales an 8-bit displacement by what the operand occupies (vol. 2A, 2.7.5). */
static bool evex_memory(struct x86_decoder *d, struct x86_operand *o)
{
    struct x86_insn *i = d->insn;
    uint32_t attr = i->row->attr;
    if (i->evex_b) {
        o->bytes = attr & ATTR_BCAST16 ? 2 : attr & ATTR_BCAST32 ? 4 : 8;
    }
    if (i->mod == 1) {
        unsigned n = attr & ATTR_N1 ? 1 : attr & ATTR_N2 ? 2 : attr & ATTR_N4 ? 4 : attr & ATTR_N8 ? 8 : o->bytes;
        i->mem.disp *= n;
    }
    return !(i->evex_z && o == &i->op[0]);
}

static bool operand_vsib(struct x86_decoder *d)
{
    struct x86_insn *i = d->insn;
    unsigned index = (i->mem.index < 0 ? 4 : i->mem.index) | (i->space == X86_EVEX ? i->vvvv & 16 : 0);
    i->mem.index = (int8_t)index;
    return d->sib;
}

static unsigned data_segment(const struct x86_decoder *d)
{
    return d->seg != SEG_NONE ? d->seg : SEG_DS;
}

static bool operand_at(struct x86_decoder *d, unsigned base, unsigned seg)
{
    struct x86_insn *i = d->insn;
    if (seg == SEG_ES && i->mem.base >= 0) {
        return true; /* MOVS, CMPS: insn->mem is the rSI operand */
    }
    i->mem.base = (int8_t)base;
    i->mem.seg = seg;
    return true;
}

static bool operand_immediate(struct x86_decoder *d, const struct x86_operand_form *form, const struct x86_operand *o)
{
    struct x86_insn *i = d->insn;
    bool second = false;
    for (const struct x86_operand *before = i->op; before < o; before++) {
        second |= before->kind == OPERAND_IMM;
    }
    *(second ? &i->imm2 : &i->imm) = x86_immediate(form->method != METHOD_I, d->bytes + d->at, o->bytes);
    d->at += o->bytes;
    return true;
}

static bool operand_far(struct x86_decoder *d)
{
    d->insn->imm = (int64_t)x86_decoder_take(d, d->insn->osize);
    d->insn->imm2 = (int64_t)x86_decoder_take(d, 2);
    return true;
}

static bool operand_offset(struct x86_decoder *d)
{
    d->insn->mem.seg = data_segment(d);
    d->insn->mem.disp = (int64_t)x86_decoder_take(d, d->insn->asize);
    return true;
}

/* CS cannot be loaded; segment numbers 6 and 7 do not exist: the rows see to both.  CR: vol. 2B, MOV to/from control
 * registers. */
static bool is_control(unsigned reg)
{
    return reg == 0 || (reg >= 2 && reg <= 4) || reg == 8;
}

static bool operand_immediate_register(struct x86_decoder *d, struct x86_operand *o)
{
    uint8_t b = x86_decoder_take(d, 1);
    d->insn->imm = b & 15;
    o->reg = d->bits == X86_64 ? b >> 4 : b >> 4 & 7;
    return true;
}

static bool decode_operand(struct x86_decoder *d, uint64_t numbers, unsigned k)
{
    struct x86_insn *i = d->insn;
    struct x86_operand *o = &i->op[k];
    const struct x86_operand_form *form = &x86_operand_forms[i->row->operand[k]];
    place_operand(d, numbers, k);
    if (i->space == X86_EVEX && o->kind == OPERAND_MEM && !evex_memory(d, o)) {
        return false;
    }
    if (o->kind == OPERAND_GPR) {
        return o->reg < 16;
    }
    switch ((enum x86_method)form->method) {
    case METHOD_L: return operand_immediate_register(d, o);
    case METHOD_VM: return operand_vsib(d);
    case METHOD_MSIB: return d->sib;
    case METHOD_C: return is_control(o->reg);
    case METHOD_KGP: o->reg &= ~1u; return o->reg < 8;
    case METHOD_D:
    case METHOD_KG:
    case METHOD_KH:
    case METHOD_TG:
    case METHOD_TE:
    case METHOD_TH: return o->reg < 8;
    case METHOD_I:
    case METHOD_IS:
    case METHOD_J: return operand_immediate(d, form, o);
    case METHOD_A: return operand_far(d);
    case METHOD_O: return operand_offset(d);
    case METHOD_X:
    case METHOD_AT: return operand_at(d, form->fixed, data_segment(d));
    case METHOD_Y: return operand_at(d, form->fixed, SEG_ES);
    case METHOD_ONE: i->imm = form->fixed; return true;
    default: return true;
    }
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
    uint64_t numbers = numbers_of(i);
    for (; i->noperands < i->row->noperands; i->noperands++) {
        if (!decode_operand(d, numbers, i->noperands)) {
            return false;
        }
    }
    return !(i->row->attr & ATTR_DISTINCT) || registers_are_distinct(i);
}
