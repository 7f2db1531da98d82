/* guest/x86/lift_alu.c: integer arithmetic, logic, shifts, multiplication, division.
 *
 * The common case is one op on the guest's own registers.  A memory destination is one RMW; a memory source is a load
 * and the op. High byte registers are taken out to a temp and put back with ops that leave F alone.
 *
 * Rules to know before editing
 *   - setf is everything the op defines; passes shrink it.
 *   - A shift by a constant that masks to zero must not become an op (ops.def), but a 32-bit register is still
 *     zero-extended.
 */
#include "guest/x86/lift_int.h"

static ir_ref gpr(const struct x86_operand *o)
{
    return (ir_ref)(IR_REG0 + o->reg);
}

/* op0 = op(op0, b, c) for a register operand. */
static void alu_reg(struct x86_lift *l, const struct x86_insn *i, enum ir_opcode op, ir_ref b, ir_ref c)
{
    const struct x86_operand *o = &i->op[0];
    ir_ref d = o->high ? ops_temp(l) : gpr(o);
    ir_ref a = o->high ? ops_get_high(l, o->reg) : d;

    ir_alu(l->b, op, type_of(o->bytes), ops_flags_of(op), d, a, b)->c = c;
    if (o->high)
        ops_put_high(l, o->reg, d);
}

static void alu(struct x86_lift *l, const struct x86_insn *i, enum ir_opcode op, ir_ref b, ir_ref c)
{
    if (i->op[0].kind == OPERAND_MEM)
        ops_rmw(l, i, op, ops_flags_of(op), b, c);
    else
        alu_reg(l, i, op, b, c);
}

static void compare(struct x86_lift *l, const struct x86_insn *i, enum ir_opcode op)
{
    ir_ref a = ops_read(l, i, 0), b = ops_read(l, i, 1);
    ir_alu(l->b, op, type_of(i->op[0].bytes), IRF_ALL, IR_NONE, a, b);
}

/* The eight operations of group 1 in the manual's order, by opcode or modrm.reg. */
void lift_alu(struct x86_lift *l, const struct x86_insn *i)
{
    static const uint8_t group[8] = {IR_ADD, IR_OR, IR_ADC, IR_SBB, IR_AND, IR_SUB, IR_XOR, IR_CMP};
    enum ir_opcode op = group[(i->opcode >= 0x80 ? i->modrm : i->opcode) >> 3 & 7];

    if (op == IR_CMP)
        compare(l, i, IR_CMP);
    else
        alu(l, i, op, ops_read(l, i, 1), IR_NONE);
}

void lift_test(struct x86_lift *l, const struct x86_insn *i)
{
    compare(l, i, IR_TEST);
}

void lift_inc(struct x86_lift *l, const struct x86_insn *i)
{
    alu(l, i, IR_INC, IR_NONE, IR_NONE);
}

void lift_dec(struct x86_lift *l, const struct x86_insn *i)
{
    alu(l, i, IR_DEC, IR_NONE, IR_NONE);
}

void lift_neg(struct x86_lift *l, const struct x86_insn *i)
{
    alu(l, i, IR_NEG, IR_NONE, IR_NONE);
}

void lift_not(struct x86_lift *l, const struct x86_insn *i)
{
    alu(l, i, IR_NOT, IR_NONE, IR_NONE);
}

/* ---- shifts and rotates (SDM vol. 2, SAL, RCL, SHLD) ------------------------------------------------------------- */

static unsigned count_mask(const struct x86_insn *i)
{
    return i->op[0].bytes == 8 ? 63 : 31;
}

/* A count of zero: nothing changes, but memory is written all the same, and a 32-bit register loses its upper half. */
static void shift_by_zero(struct x86_lift *l, const struct x86_insn *i)
{
    if (i->op[0].kind == OPERAND_MEM)
        ops_rmw(l, i, IR_OR, 0, ops_const(l, 0), IR_NONE);
    else if (i->op[0].bytes == 4)
        ops_op1(l, IR_MOV, I32, gpr(&i->op[0]), gpr(&i->op[0]));
}

/* The count is operand 1: an immediate (also of the forms that shift by one), or CL. */
void lift_shift(struct x86_lift *l, const struct x86_insn *i)
{
    static const uint8_t group[8] = {IR_ROL, IR_ROR, IR_RCL, IR_RCR, IR_SHL, IR_SHR, IR_SHL, IR_SAR};
    enum ir_opcode op = group[i->modrm >> 3 & 7];
    bool by_cl = i->op[1].kind == OPERAND_GPR;
    unsigned n = (unsigned)i->imm & count_mask(i);

    if (!by_cl && n == 0)
        shift_by_zero(l, i);
    else
        alu(l, i, op, by_cl ? X86_RCX : ops_const(l, n), IR_NONE);
}

/* SHLD, SHRD: operand 1 fills, operand 2 counts. */
void lift_shiftd(struct x86_lift *l, const struct x86_insn *i)
{
    bool by_cl = i->op[2].kind == OPERAND_GPR;
    unsigned n = (unsigned)i->imm & count_mask(i);

    if (!by_cl && n == 0)
        shift_by_zero(l, i);
    else
        alu(l, i, i->opcode < 0xa8 ? IR_SHLD : IR_SHRD, gpr(&i->op[1]), by_cl ? X86_RCX : ops_const(l, n));
}

/* ---- multiplication and division ---------------------------------------------------------------------------------- */

static void multiply(struct x86_lift *l, const struct x86_insn *i, enum ir_opcode op)
{
    unsigned bytes = i->op[0].bytes;
    ir_ref b = ops_read(l, i, 0);
    struct ir_op *o = ir_alu(l->b, op, type_of(bytes), IRF_ALL, X86_RAX, X86_RAX, b);

    o->e = bytes == 1 ? IR_NONE : X86_RDX;
}

void lift_mul(struct x86_lift *l, const struct x86_insn *i)
{
    multiply(l, i, IR_UMUL);
}

void lift_imul(struct x86_lift *l, const struct x86_insn *i)
{
    multiply(l, i, IR_SMUL);
}

static void divide(struct x86_lift *l, const struct x86_insn *i, enum ir_opcode op)
{
    unsigned bytes = i->op[0].bytes;
    ir_ref c = ops_read(l, i, 0);
    struct ir_op *o = ir_alu(l->b, op, type_of(bytes), 0, X86_RAX, X86_RAX, IR_NONE);

    o->e = bytes == 1 ? IR_NONE : X86_RDX;
    o->b = bytes == 1 ? IR_NONE : X86_RDX;
    o->c = c;
}

void lift_div(struct x86_lift *l, const struct x86_insn *i)
{
    divide(l, i, IR_UDIV);
}

void lift_idiv(struct x86_lift *l, const struct x86_insn *i)
{
    divide(l, i, IR_SDIV);
}

/* IMUL with two operands (op0 *= op1) or three (op0 = op1 * op2). */
void lift_imul2(struct x86_lift *l, const struct x86_insn *i)
{
    bool three = i->op[2].kind == OPERAND_IMM;
    ir_ref a = ops_read(l, i, three ? 1 : 0), b = ops_read(l, i, three ? 2 : 1);

    ops_op2(l, IR_MUL, type_of(i->op[0].bytes), IRF_ALL, gpr(&i->op[0]), a, b);
}

/* DAA 27, DAS 2F, AAA 37, AAS 3F, AAM D4, AAD D5, numbered as the helper wants them. */
void lift_bcd(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned kind = i->opcode >= 0xd4 ? 4 + (i->opcode & 1u) : (i->opcode - 0x27u) / 8;
    ops_call_const(l, HELPER_BCD, kind, (uint8_t)i->imm, 0);
}

/* ---- flags
 * --------------------------------------------------------------------------------------------------------- */

/* CMC F5, CLC F8, STC F9. */
void lift_flag(struct x86_lift *l, const struct x86_insn *i)
{
    enum ir_opcode op = i->opcode == 0xf5 ? IR_CMC : i->opcode == 0xf8 ? IR_CLC : IR_STC;
    ir_append(l->b, op, I64)->setf = IRF_CF;
}

void lift_cld(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    ops_op1(l, IR_MOV, I64, X86_DF, ops_const(l, 1));
}

void lift_std(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    ops_op1(l, IR_MOV, I64, X86_DF, ops_const(l, -1));
}

/* SALC: AL = CF ? FF : 0; flags stay. */
void lift_salc(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    ir_ref t = ops_temp(l);
    struct ir_op *o = ir_append(l->b, IR_SETCC, I8);
    o->d = t;
    o->sub = CC_B;
    ops_op1(l, IR_MOV, I8, X86_RAX, ops_op1(l, IR_NEG, I8, IR_NONE, t));
}

void lift_lahf(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    ir_ref f = ops_temp(l);
    ir_append(l->b, IR_GETF, I64)->d = f;
    ops_put_high(l, X86_RAX, ops_op2(l, IR_OR, I32, 0, IR_NONE, f, ops_const(l, 2)));
}

void lift_sahf(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    ir_ref ah = ops_get_high(l, X86_RAX);
    struct ir_op *o = ir_append(l->b, IR_SETF, I64);
    o->a = ah;
    o->imm = CPU_ARITH & 0xff;
    o->sub = o->setf = IRF_ALL & ~IRF_OF;
}
