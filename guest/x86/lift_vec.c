/* guest/x86/lift_vec.c: SSE: from an insn to the row of vec.def that is its encoding.
 *
 * Which rows exist decides what is lifted: an insn without a row counts as not lifted.  A row tells whether the
 * destination is read too (Y) or only written (W), how much memory it touches and with which alignment; nothing here
 * knows single insns, except that a store opcode between two registers is its load opcode turned round.
 */
#include "guest/x86/lift_int.h"

static ir_ref vec(const struct x86_operand *o)
{
    return (ir_ref)(IR_VEC0 + o->reg);
}

static ir_ref gpr(const struct x86_operand *o)
{
    return (ir_ref)(IR_REG0 + o->reg);
}

/* REX.W is ignored by most encodings: a row with W = 0 serves both. */
static int find_ext(const struct x86_insn *i, enum ir_vec_form form, unsigned prefix, unsigned opcode, unsigned ext)
{
    unsigned w = i->rex >> 3 & 1;
    int row = i->space == X86_LEGACY ? ir_vec_find(form, prefix, i->map, opcode, w, ext) : -1;

    if (row < 0 && w && i->space == X86_LEGACY)
        row = ir_vec_find(form, prefix, i->map, opcode, 0, ext);
    return row;
}

static int find(const struct x86_insn *i, enum ir_vec_form form, unsigned prefix, unsigned opcode)
{
    int row = find_ext(i, form, prefix, opcode, form == VF_Y ? i->modrm >> 3 & 7 : 0);
    return row < 0 && form == VF_R_U ? find_ext(i, form, prefix, opcode, 1) : row;
}

/* a: an address, or a register. */
static void append(struct x86_lift *l, const struct x86_insn *i, int row, ir_ref d, struct ops_place a, ir_ref b)
{
    const struct ir_vec_row *r = &ir_vec_rows[row];
    bool flags = r->form == VF_F_U || r->form == VF_F_M || r->form >= VF_I_U;
    struct ir_op *o = ops_access(l, IR_VEC, r->w ? I64 : I32, d, a, b);

    o->setf = flags ? IRF_ALL : 0;
    o->row = (uint16_t)row;
    o->imm = r->has_imm == 0 ? 0 : (uint8_t)i->imm | (r->has_imm == 2 ? (uint8_t)i->imm2 << 8 : 0);
    if (r->form >= VF_I_U) {
        o->e = X86_RAX;
        o->c = X86_RDX;
    }
}

static void check_sse(struct x86_lift *l)
{
    if (l->mode & MODE_NOSSE)
        ops_call_const(l, HELPER_SSE_CHECK, 0, 0, 0);
}

static struct ops_place memory(struct x86_lift *l, const struct x86_insn *i, int row)
{
    unsigned form = ir_vec_rows[row].form;
    return ops_memory(l, i, ir_vec_rows[row].msize, form == VF_M_U);
}

/* Operand n: memory, a vector register or a general one. */
static struct ops_place operand(struct x86_lift *l, const struct x86_insn *i, unsigned n, int row)
{
    const struct x86_operand *o = &i->op[n];
    if (o->kind == OPERAND_MEM)
        return memory(l, i, row);
    return ops_at(o->kind == OPERAND_GPR ? gpr(o) : vec(o), 0);
}

/* The first of two forms that has a row, or -1. */
static int either(const struct x86_insn *i, enum ir_vec_form first, enum ir_vec_form second)
{
    int row = find(i, first, i->mandatory, i->opcode);
    return row >= 0 ? row : find(i, second, i->mandatory, i->opcode);
}

/* Operand 0 a vector register, operand 1 a vector register, a general one or memory. */
void lift_vec(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned kind = i->op[1].kind;
    int row = kind == OPERAND_MEM   ? either(i, VF_W_M, VF_Y_M)
              : kind == OPERAND_GPR ? either(i, VF_W_R, VF_Y_R)
                                    : either(i, VF_W_U, VF_Y_U);

    if (row < 0) {
        lift_none(l, i);
        return;
    }
    check_sse(l);
    append(l, i, row, vec(&i->op[0]), operand(l, i, 1, row), IR_NONE);
}

void lift_vec_from_gpr(struct x86_lift *l, const struct x86_insn *i)
{
    lift_vec(l, i);
}

static void store_to_register(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned prefix = i->mandatory, opcode = i->opcode;

    switch (i->opcode) {
    case 0x11: opcode = 0x10; break;
    case 0x29: opcode = 0x28; break;
    case 0x7f: opcode = 0x6f; break;
    case 0xd6: opcode = 0x7e, prefix = 0xf3; break;
    }
    int row = find(i, VF_W_U, prefix, opcode);
    if (row < 0)
        row = find(i, VF_Y_U, prefix, opcode);
    if (row < 0) {
        lift_none(l, i);
        return;
    }
    check_sse(l);
    append(l, i, row, vec(&i->op[0]), operand(l, i, 1, row), IR_NONE);
}

static void store(struct x86_lift *l, const struct x86_insn *i)
{
    int row = find(i, VF_M_U, i->mandatory, i->opcode);

    if (row < 0) {
        lift_none(l, i);
        return;
    }
    check_sse(l);
    append(l, i, row, IR_NONE, memory(l, i, row), vec(&i->op[1]));
}

void lift_vec_store(struct x86_lift *l, const struct x86_insn *i)
{
    if (i->op[0].kind == OPERAND_MEM)
        store(l, i);
    else
        store_to_register(l, i);
}

void lift_vec_to_gpr(struct x86_lift *l, const struct x86_insn *i)
{
    if (i->op[0].kind == OPERAND_MEM) {
        store(l, i);
        return;
    }
    bool mem = i->op[1].kind == OPERAND_MEM;
    int row = find(i, mem ? VF_R_M : VF_R_U, i->mandatory, i->opcode);
    if (row < 0) {
        lift_none(l, i);
        return;
    }
    check_sse(l);
    append(l, i, row, gpr(&i->op[0]), operand(l, i, 1, row), IR_NONE);
}

/* COMISS and its like, PTEST: flags of (operand 0, operand 1). */
void lift_vec_flags(struct x86_lift *l, const struct x86_insn *i)
{
    bool mem = i->op[1].kind == OPERAND_MEM;
    int row = find(i, mem ? VF_F_M : VF_F_U, i->mandatory, i->opcode);

    if (row < 0) {
        lift_none(l, i);
        return;
    }
    check_sse(l);
    append(l, i, row, IR_NONE, operand(l, i, 1, row), vec(&i->op[0]));
}

/* PBLENDVB and others that read xmm0 without naming it. */
void lift_vec_xmm0(struct x86_lift *l, const struct x86_insn *i)
{
    int row = find(i, i->op[1].kind == OPERAND_MEM ? VF_Y_M0 : VF_Y_U0, i->mandatory, i->opcode);

    check_sse(l);
    append(l, i, row, vec(&i->op[0]), operand(l, i, 1, row), IR_VEC0);
}

/* PCMPxSTRI and PCMPxSTRM: compare strings op0 and op1, of EAX and EDX elements or up to a zero. */
void lift_vec_string(struct x86_lift *l, const struct x86_insn *i)
{
    bool mem = i->op[1].kind == OPERAND_MEM, index = i->opcode & 1;
    int row = find(i, index ? (mem ? VF_I_M : VF_I_U) : mem ? VF_K_M : VF_K_U, i->mandatory, i->opcode);

    check_sse(l);
    append(l, i, row, index ? (ir_ref)X86_RCX : (ir_ref)IR_VEC0, operand(l, i, 1, row), vec(&i->op[0]));
}

void lift_vec_shift_imm(struct x86_lift *l, const struct x86_insn *i)
{
    int row = find(i, VF_Y, i->mandatory, i->opcode);

    if (row < 0) {
        lift_none(l, i);
        return;
    }
    check_sse(l);
    append(l, i, row, vec(&i->op[0]), ops_at(IR_NONE, 0), IR_NONE);
}

/* ---- MXCSR
 * ------------------------------------------------------------------------------------------------------------ */

void lift_ldmxcsr(struct x86_lift *l, const struct x86_insn *i)
{
    check_sse(l);
    ops_call(l, HELPER_LDMXCSR, ops_read(l, i, 0), IR_NONE, IR_NONE);
}

/* While generated code runs the host holds MXCSR; any helper call brings cpu.mxcsr up to date. */
void lift_stmxcsr(struct x86_lift *l, const struct x86_insn *i)
{
    ops_call_const(l, HELPER_SSE_CHECK, 0, 0, 0);
    ops_write(l, i, 0, ops_field(l, 4, offsetof(struct cpu, mxcsr)));
}

/* MASKMOVDQU: op 0 is the data, op 1 the mask, memory at DS:rDI. */
void lift_maskmov(struct x86_lift *l, const struct x86_insn *i)
{
    check_sse(l);
    ir_ref addr = ops_linear(l, i, 16, true);
    ops_call(l, HELPER_MASKMOVDQU, addr, ops_const(l, i->op[0].reg | (int64_t)i->op[1].reg << 8),
             ops_const(l, i->mem.seg));
}
