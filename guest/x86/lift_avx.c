/* guest/x86/lift_avx.c: VEX- and EVEX-encoded vector insns, and those on opmasks: the host's own instruction on the same
 * vector and mask registers (op AVX).
 *
 * One lifter serves nearly all rows.  The operand letters of x86.def say where registers stand and how long memory is,
 * the attributes which bytes of it count under a mask; only the encoding itself is handed on.  So an insn of a new
 * extension is a row of x86.def and a feature.
 *
 * Rules to know before editing
 *   - The host runs in 64-bit mode: what other modes ignore or take as 0 must be left out of the encoding.
 *   - Whether AVX may run at all is part of the mode (MODE_AVX, MODE_AVX512).  Without that bit the insn becomes a call
 *     of AVX_ENABLE, which raises #UD or #NM, or sets the bit and runs the insn again (SDM vol. 1, 14.3, 15.2).
 */
#include "guest/x86/decode_table.h"
#include "guest/x86/lift_int.h"

static bool on_masks(const struct x86_insn *i)
{
    for (unsigned n = 0; n < i->noperands; n++)
        if (i->op[n].kind == OPERAND_MASK)
            return true;
    return i->space == X86_EVEX;
}

/* False: the mode does not run this; what has to be done instead is appended. */
static bool available(struct x86_lift *l, const struct x86_insn *i)
{
    bool wide = on_masks(i);
    if (l->mode & (wide ? MODE_AVX512 : MODE_AVX))
        return true;
    ops_keep_shadow(l);
    ops_call_const(l, HELPER_AVX_ENABLE, wide ? 64 : 32, 0, 0);
    ops_leave(l, LEAVE_NEXT, l->off);
    return false;
}

static const struct x86_operand_form *form_of(const struct x86_insn *i, unsigned n)
{
    return &x86_operand_forms[i->row->operand[n]];
}

static enum ir_avx_at place_of(const struct x86_operand_form *f)
{
    switch (f->method) {
    case METHOD_G:
    case METHOD_V:
    case METHOD_KG:
    case METHOD_KGP: return IR_AT_REG;
    case METHOD_H:
    case METHOD_KH: return IR_AT_VVVV;
    case METHOD_L: return IR_AT_LAST;
    default: return IR_AT_RM;
    }
}

static ir_ref reference(const struct x86_operand *o)
{
    ir_ref first = o->kind == OPERAND_VEC ? IR_VEC0 : o->kind == OPERAND_MASK ? IR_MASK0 : IR_REG0;
    return (ir_ref)(first + o->reg);
}

/* ---- the encoding ----------------------------------------------------------------------------------------------- */

/* W where it means something to the host: a general register's width is that of the guest's mode. */
static bool w_of(const struct x86_insn *i)
{
    if (i->row->w == W_G0 || i->row->w == W_G1)
        return i->row->w == W_G1;
    for (unsigned n = 0; n < i->noperands; n++)
        if (form_of(i, n)->reg_size == SIZE_Y || form_of(i, n)->mem_size == SIZE_Y)
            return i->osize == 8;
    return i->rex & 8;
}

static struct ir_avx encoding_of(const struct x86_insn *i)
{
    bool rounds = i->evex_b && i->mod == 3;
    struct ir_avx x = {.opcode = i->opcode, .imm = (uint8_t)i->imm};
    x.map = i->map & 7;
    x.pp = i->mandatory == 0 ? 0 : i->mandatory == 0x66 ? 1 : i->mandatory == 0xf3 ? 2 : 3;
    x.l = (rounds ? i->evex_rc : i->vl) & 3;
    x.w = w_of(i);
    x.evex = i->space == X86_EVEX;
    x.z = i->evex_z & 1;
    x.b = i->evex_b & 1;
    x.ext = i->row->ext > 0 ? i->row->ext & 7 : 0;
    x.raises = (i->row->attr & ATTR_FP) != 0;
    return x;
}

/* How many elements of this size the insn computes, which is how many bits of a mask count. */
static unsigned element_count(const struct x86_insn *i, unsigned n, unsigned bytes)
{
    unsigned length = 16u << i->vl;
    switch (form_of(i, n)->mem_size) {
    case SIZE_VL: return length / bytes;
    case SIZE_HALF: return length / 2 / bytes;
    case SIZE_QUARTER: return length / 4 / bytes;
    case SIZE_EIGHTH: return length / 8 / bytes;
    default: return form_of(i, 0)->reg_size == SIZE_VL ? length / bytes : 1; /* a broadcast; a scalar */
    }
}

/* Which elements of memory operand n are touched.  Without a mask all are; VEX insns have theirs in a vector. */
static void set_select(struct ir_avx *x, const struct x86_insn *i, unsigned n)
{
    uint32_t attr = i->row->attr, packed = ATTR_N1 | ATTR_N2 | ATTR_N4 | ATTR_N8;
    unsigned element = attr & ATTR_E1 ? 0 : attr & ATTR_E2 ? 1 : attr & ATTR_E4 ? 2 : 3;
    if (!(attr & (ATTR_E1 | ATTR_E2 | ATTR_E4 | ATTR_E8)) || (x->evex && !i->evex_mask))
        return;
    x->select = !x->evex ? IR_SELECT_SIGN : attr & packed ? IR_SELECT_PACKED : IR_SELECT_MASK;
    x->element = element & 3;
    x->count = (unsigned)__builtin_ctz(element_count(i, n, 1u << element)) & 7;
}

static void set_memory(struct ir_avx *x, const struct x86_insn *i, unsigned n)
{
    x->msize = (uint8_t)i->op[n].bytes;
    x->align = (i->row->attr & ATTR_ALIGN) != 0;
    set_select(x, i, n);
}

/* The address of memory operand n, checked as far as the elements of x that are touched go. */
static struct ops_place address_of(struct x86_lift *l, const struct x86_insn *i, unsigned n, const struct ir_avx *x)
{
    unsigned seg = i->mem.seg;
    bool store = n == 0;
    if (!x->select || !ops_segment_is_checked(l, seg, store))
        return ops_memory(l, i, i->op[n].bytes, store);
    unsigned reg = x->select == IR_SELECT_SIGN ? i->vvvv : i->evex_mask;
    ir_ref ea = ops_ea(l, i, IR_NONE, 0);
    unsigned flags = (store ? 1 << 8 : 0) | (x->align ? 1 << 9 : 0);
    return ops_at(ops_call(l, HELPER_AVX_LINEAR, ea, ops_const(l, seg | flags | (int64_t)reg << 16),
                           ops_const(l, ir_avx_select_how(x))),
                  seg);
}

static enum ir_avx_form memory_form(const struct x86_insn *i, const ir_ref at[], bool store)
{
    bool second = at[IR_AT_VVVV] != IR_NONE;
    if (store)
        return second ? IR_AVX_MEM_VVVV_REG : IR_AVX_MEM_REG;
    if (i->row->flags_written)
        return IR_AVX_F_REG_MEM;
    if (place_of(form_of(i, 0)) == IR_AT_VVVV)
        return IR_AVX_VVVV_MEM;
    return second ? IR_AVX_REG_VVVV_MEM : IR_AVX_REG_MEM;
}

static enum ir_avx_form register_form(const struct x86_insn *i, const ir_ref at[])
{
    bool second = at[IR_AT_VVVV] != IR_NONE;
    if (i->row->flags_written)
        return IR_AVX_F_REG_RM;
    switch (place_of(form_of(i, 0))) {
    case IR_AT_REG: return second ? IR_AVX_REG_VVVV_RM : IR_AVX_REG_RM;
    case IR_AT_VVVV: return IR_AVX_VVVV_RM;
    default: return second ? IR_AVX_RM_VVVV_REG : IR_AVX_RM_REG;
    }
}

void lift_avx(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref at[IR_AT_LAST + 1] = {IR_NONE, IR_NONE, IR_NONE, IR_NONE, IR_NONE};
    struct ops_place address = ops_at(IR_NONE, 0);
    bool store = i->op[0].kind == OPERAND_MEM;

    if (!available(l, i))
        return;
    struct ir_avx x = encoding_of(i);
    for (unsigned n = 0; n < i->noperands; n++) {
        switch (i->op[n].kind) {
        case OPERAND_IMM: x.has_imm = 1; break;
        case OPERAND_MEM:
            set_memory(&x, i, n);
            address = address_of(l, i, n, &x);
            break;
        default: at[place_of(form_of(i, n))] = reference(&i->op[n]); break;
        }
    }
    if (at[IR_AT_LAST] != IR_NONE)
        x.has_imm = 1;
    if (i->evex_mask)
        at[IR_AT_LAST] = (ir_ref)(IR_MASK0 + i->evex_mask);
    x.form = (uint8_t)(x.msize ? memory_form(i, at, store) : register_form(i, at));
    const struct ir_avx_form_row *f = &ir_avx_forms[x.form];
    struct ir_op *o = ops_access(l, IR_AVX, I8, at[f->d], x.msize ? address : ops_at(at[f->a], 0), at[f->b]);
    o->setf = ir_avx_sets_flags(&x) ? IRF_ALL : 0;
    o->c = at[f->c];
    o->avx = x;
}

/* ---- insns of their own ------------------------------------------------------------------------------------------ */

/* An insn of map 0F that writes bits 127..0 of a register, and so clears the others. */
static struct ir_avx write_of_128(uint8_t opcode, enum ir_avx_form form)
{
    return (struct ir_avx){.opcode = opcode, .form = (uint8_t)form, .map = 1};
}

/* VZEROUPPER and VZEROALL: all registers, but outside 64-bit mode only those that can be named. */
void lift_avx_zero(struct x86_lift *l, const struct x86_insn *i)
{
    bool all = i->vl;

    if (!available(l, i))
        return;
    if (mode64(l)) {
        struct ir_avx x = encoding_of(i);
        x.form = IR_AVX_PLAIN;
        ir_append(l->b, IR_AVX, I8)->avx = x;
        return;
    }
    for (unsigned n = 0; n < 8; n++) { /* VXORPS, or VMOVAPS, of the register with itself */
        ir_ref v = (ir_ref)(IR_VEC0 + n);
        ir_alu(l->b, IR_AVX, I8, 0, v, v, all ? v : IR_NONE)->avx =
            all ? write_of_128(0x57, IR_AVX_REG_VVVV_RM) : write_of_128(0x28, IR_AVX_REG_RM);
    }
}

/* VPCMPESTRM and its like: as the SSE4.2 forms, but a mask in register 0 clears what lies beyond it. */
void lift_avx_string(struct x86_lift *l, const struct x86_insn *i)
{
    struct x86_insn legacy = *i;

    if (!available(l, i))
        return;
    legacy.space = X86_LEGACY;
    legacy.rex = mode64(l) ? i->rex : 0;
    lift_vec_string(l, &legacy);
    if (!(i->opcode & 1))
        ir_alu(l->b, IR_AVX, I8, 0, IR_VEC0, IR_VEC0, IR_NONE)->avx = write_of_128(0x28, IR_AVX_REG_RM);
}

void lift_avx_gather(struct x86_lift *l, const struct x86_insn *i)
{
    bool scatter = i->op[0].kind == OPERAND_MEM, evex = i->space == X86_EVEX;
    const struct x86_operand *mem = &i->op[!scatter], *data = &i->op[scatter];

    if (!available(l, i))
        return;
    union x86_gather g = {.packed = 0};
    g.data = data->reg & 31u;
    g.index = (unsigned)i->mem.index & 31;
    g.mask = (evex ? i->evex_mask : i->op[2].reg) & 31u;
    g.scale = i->mem.scale & 3u;
    g.data8 = mem->bytes == 8;
    g.index8 = i->opcode & 1;
    g.evex = evex;
    g.scatter = scatter;
    g.count = (16u << i->vl) / (g.data8 || g.index8 ? 8u : 4u) & 31;
    g.seg = i->mem.seg & 7u;
    g.asize = i->asize & 15u;
    struct x86_insn plain = *i;
    plain.mem.index = -1;
    ops_call(l, HELPER_GATHER, ops_ea(l, &plain, IR_NONE, 0), ops_const(l, (int64_t)g.packed), IR_NONE);
}

void lift_avx_maskmov(struct x86_lift *l, const struct x86_insn *i)
{
    if (available(l, i))
        lift_maskmov(l, i);
}

void lift_avx_ldmxcsr(struct x86_lift *l, const struct x86_insn *i)
{
    if (available(l, i))
        lift_ldmxcsr(l, i);
}

void lift_avx_stmxcsr(struct x86_lift *l, const struct x86_insn *i)
{
    if (available(l, i))
        lift_stmxcsr(l, i);
}
