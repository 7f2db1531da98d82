/* guest/x86/lift_bit.c: bit tests, scans and counts, and the BMI insns that plain ops can express.
 *
 * BT and its relatives with a memory operand and a register offset address a bit string: the offset is signed and
 * reaches any word around the operand (SDM vol. 2, BT).  With an immediate, or in registers, the offset is taken
 * modulo the width.
 */
#include "guest/x86/lift_int.h"

static ir_ref gpr(const struct x86_operand *o)
{
    return (ir_ref)(IR_REG0 + o->reg);
}

/* Linear address of the word that bit offset op1 of memory operand op0 falls into. */
static ir_ref bit_word(struct x86_lift *l, const struct x86_insn *i, bool write)
{
    unsigned bytes = i->op[0].bytes, log2_bytes = type_of(bytes);
    ir_ref offset = gpr(&i->op[1]);

    if (bytes < 8)
        offset = ops_op1(l, bytes == 2 ? IR_SX16 : IR_SX32, I64, IR_NONE, offset);
    ir_ref word = ops_op2(l, IR_SAR, I64, 0, IR_NONE, offset, ops_const(l, 3 + log2_bytes));
    return ops_segment(l, i->mem.seg, ops_ea(l, i, word, log2_bytes), bytes, write);
}

/* Bit 5..3 of the opcode (register offset) or of modrm (immediate): BT 4, BTS 5, BTR 6, BTC 7. */
void lift_bt(struct x86_lift *l, const struct x86_insn *i)
{
    static const uint8_t group[4] = {IR_BT, IR_BTS, IR_BTR, IR_BTC};
    bool by_reg = i->op[1].kind == OPERAND_GPR;
    enum ir_opcode op = group[(by_reg ? i->opcode : i->modrm) >> 3 & 3];
    unsigned bytes = i->op[0].bytes, setf = ops_flags_of(op);
    enum ir_type t = type_of(bytes);
    ir_ref bit = by_reg ? gpr(&i->op[1]) : ops_const(l, i->imm & (bytes * 8 - 1));

    if (i->op[0].kind == OPERAND_GPR) {
        ir_ref a = gpr(&i->op[0]);
        ir_alu(l->b, op, t, setf, op == IR_BT ? IR_NONE : a, a, bit);
        return;
    }
    if (op == IR_BT) {
        struct ops_place p = by_reg ? ops_at(bit_word(l, i, false), i->mem.seg) : ops_memory(l, i, bytes, false);
        ir_alu(l->b, IR_BT, t, setf, IR_NONE, ops_load(l, bytes, p), bit);
        return;
    }
    struct ops_place p = by_reg ? ops_at(bit_word(l, i, true), i->mem.seg) : ops_memory_whole(l, i, bytes, true);
    struct ir_op *o = ops_access(l, IR_RMW, t, IR_NONE, p, bit);
    o->setf = (uint8_t)setf;
    o->sub = (uint8_t)op;
    o->flags |= i->prefix & PREFIX_LOCK ? IR_LOCK : 0;
}

/* op0 = op(op1). */
static void scan(struct x86_lift *l, const struct x86_insn *i, enum ir_opcode op)
{
    ir_ref a = ops_read(l, i, 1);
    ir_alu(l->b, op, type_of(i->op[0].bytes), ops_flags_of(op), gpr(&i->op[0]), a, IR_NONE);
}

void lift_bsf(struct x86_lift *l, const struct x86_insn *i)
{
    scan(l, i, IR_BSF);
}

void lift_bsr(struct x86_lift *l, const struct x86_insn *i)
{
    scan(l, i, IR_BSR);
}

void lift_tzcnt(struct x86_lift *l, const struct x86_insn *i)
{
    scan(l, i, l->lacks ? IR_BSF : IR_TZCNT);
}

void lift_lzcnt(struct x86_lift *l, const struct x86_insn *i)
{
    scan(l, i, l->lacks ? IR_BSR : IR_LZCNT);
}

void lift_popcnt(struct x86_lift *l, const struct x86_insn *i)
{
    scan(l, i, IR_POPCNT);
}

/* ---- BMI1, BMI2 ----------------------------------------------------------------------------------------------- */

/* op0 = ~op1 & op2; CF and OF 0, SF and ZF by the result, as AND has them. */
void lift_andn(struct x86_lift *l, const struct x86_insn *i)
{
    enum ir_type t = type_of(i->op[0].bytes);
    ir_ref b = ops_read(l, i, 2), inverted = ops_op1(l, IR_NOT, t, IR_NONE, gpr(&i->op[1]));

    ops_op2(l, IR_AND, t, IRF_ALL, gpr(&i->op[0]), inverted, b);
}

/* op0:op1 = RDX * op2, flags unchanged; the same register twice gets the high half. */
void lift_mulx(struct x86_lift *l, const struct x86_insn *i)
{
    enum ir_type t = type_of(i->op[0].bytes);
    ir_ref b = ops_read(l, i, 2), high = ops_temp(l), low = ops_temp(l);

    ir_alu(l->b, IR_UMUL, t, 0, low, X86_RDX, b)->e = high;
    ops_op1(l, IR_MOV, t, gpr(&i->op[1]), low);
    ops_op1(l, IR_MOV, t, gpr(&i->op[0]), high);
}

void lift_rorx(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned bytes = i->op[0].bytes, n = (unsigned)i->imm & (bytes * 8 - 1);
    ir_ref a = ops_read(l, i, 1);

    if (n == 0)
        ops_set_reg(l, bytes, i->op[0].reg, a);
    else
        ops_op2(l, IR_ROR, type_of(bytes), 0, gpr(&i->op[0]), a, ops_const(l, n));
}

/* SHLX 66, SARX F3, SHRX F2. */
void lift_shiftx(struct x86_lift *l, const struct x86_insn *i)
{
    enum ir_opcode op = i->mandatory == 0x66 ? IR_SHL : i->mandatory == 0xf3 ? IR_SAR : IR_SHR;
    ir_ref a = ops_read(l, i, 1);

    ops_op2(l, op, type_of(i->op[0].bytes), 0, gpr(&i->op[0]), a, gpr(&i->op[2]));
}

/* CF = bit 0 of `carry`, the rest of F as it is. */
static void set_carry(struct x86_lift *l, ir_ref carry)
{
    struct ir_op *o = ir_append(l->b, IR_SETF, I64);
    o->a = carry;
    o->imm = 1;
    o->sub = o->setf = IRF_CF;
}

static ir_ref get_flags(struct x86_lift *l)
{
    ir_ref f = ops_temp(l);
    ir_append(l->b, IR_GETF, I64)->d = f;
    return f;
}

/* BLSR /1: op1 & (op1 - 1), BLSMSK /2: op1 ^ (op1 - 1), BLSI /3: op1 & -op1.  CF is that of the inner operation. */
void lift_bls(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned which = i->modrm >> 3 & 7;
    enum ir_type t = type_of(i->op[0].bytes);
    ir_ref a = ops_read(l, i, 1), inner = ops_temp(l);

    if (which == 3)
        ir_alu(l->b, IR_NEG, t, IRF_ALL, inner, a, IR_NONE);
    else
        ir_alu(l->b, IR_SUB, t, IRF_ALL, inner, a, ops_const(l, 1));
    ir_ref f = get_flags(l);
    ops_op2(l, which == 2 ? IR_XOR : IR_AND, t, IRF_ALL, gpr(&i->op[0]), a, inner);
    set_carry(l, f);
}

/* op0 = low op2[7:0] bits of op1; CF: more than there are. */
void lift_bzhi(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned bits = i->op[0].bytes * 8;
    enum ir_type t = type_of(i->op[0].bytes);
    ir_ref a = ops_read(l, i, 1), n = ops_zero_extend(l, 1, gpr(&i->op[2]));
    ir_ref above = ops_op2(l, IR_SHL, t, 0, IR_NONE, ops_const(l, -1), n);
    ir_ref mask = ops_op1(l, IR_NOT, t, IR_NONE, above);

    ir_alu(l->b, IR_CMP, I32, IRF_ALL, IR_NONE, n, ops_const(l, bits - 1));
    ir_alu(l->b, IR_CMOV, t, 0, mask, ops_copy(l, ops_const(l, -1)), IR_NONE)->sub = CC_A;
    ir_ref carry = ops_copy(l, ops_const(l, 0));
    struct ir_op *o = ir_append(l->b, IR_SETCC, I8);
    o->d = carry;
    o->sub = CC_A;
    ops_op2(l, IR_AND, t, IRF_ALL, gpr(&i->op[0]), a, mask);
    set_carry(l, carry);
}

/* ADCX 66: add with CF, only CF changes.  ADOX F3: the same with OF in its place. */
void lift_adx(struct x86_lift *l, const struct x86_insn *i)
{
    bool by_of = i->mandatory == 0xf3;
    enum ir_type t = type_of(i->op[0].bytes);
    ir_ref b = ops_read(l, i, 1), old = get_flags(l);

    if (by_of)
        set_carry(l, ops_op2(l, IR_SHR, I32, 0, IR_NONE, old, ops_const(l, 11)));
    ops_op2(l, IR_ADC, t, IRF_ALL, gpr(&i->op[0]), gpr(&i->op[0]), b);
    struct ir_op *o;
    if (by_of) {
        ir_ref carry = ops_op2(l, IR_AND, I32, 0, IR_NONE, get_flags(l), ops_const(l, 1));
        ir_ref rest = ops_op2(l, IR_AND, I32, 0, IR_NONE, old, ops_const(l, ~0x800));
        ir_ref f =
            ops_op2(l, IR_OR, I32, 0, IR_NONE, rest, ops_op2(l, IR_SHL, I32, 0, IR_NONE, carry, ops_const(l, 11)));
        o = ir_append(l->b, IR_SETF, I64);
        o->a = f;
        o->imm = CPU_ARITH;
        o->sub = o->setf = IRF_ALL;
        return;
    }
    o = ir_append(l->b, IR_SETF, I64);
    o->a = old;
    o->imm = CPU_ARITH & ~1u;
    o->sub = o->setf = IRF_ALL & ~IRF_CF;
}

void lift_crc32(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref b = ops_read(l, i, 1);
    ops_op2(l, IR_CRC32, type_of(i->op[1].bytes), 0, gpr(&i->op[0]), gpr(&i->op[0]), b);
}

/* d = `value` where n > limit, else d as it is.  Changes F. */
static void replace_above(struct x86_lift *l, enum ir_type t, ir_ref n, unsigned limit, ir_ref d, int64_t value)
{
    ir_alu(l->b, IR_CMP, I32, IRF_ALL, IR_NONE, n, ops_const(l, limit));
    ir_alu(l->b, IR_CMOV, t, 0, d, ops_copy(l, ops_const(l, value)), IR_NONE)->sub = CC_A;
}

/* op0 = op2[15:8] bits of op1 from bit op2[7:0] on.  AND's flags are right: CF and OF 0, ZF by the result. */
void lift_bextr(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned bits = i->op[0].bytes * 8;
    enum ir_type t = type_of(i->op[0].bytes);
    ir_ref a = ops_read(l, i, 1), control = gpr(&i->op[2]), start = ops_zero_extend(l, 1, control);
    ir_ref n = ops_zero_extend(l, 1, ops_op2(l, IR_SHR, I32, 0, IR_NONE, control, ops_const(l, 8)));
    ir_ref field = ops_op2(l, IR_SHR, t, 0, IR_NONE, a, start);
    ir_ref mask = ops_op1(l, IR_NOT, t, IR_NONE, ops_op2(l, IR_SHL, t, 0, IR_NONE, ops_const(l, -1), n));

    replace_above(l, t, start, bits - 1, field, 0);
    replace_above(l, t, n, bits - 1, mask, -1);
    ops_op2(l, IR_AND, t, IRF_ALL, gpr(&i->op[0]), field, mask);
}

static void deposit(struct x86_lift *l, const struct x86_insn *i, enum ir_opcode op)
{
    ir_ref mask = ops_read(l, i, 2);
    ops_op2(l, op, type_of(i->op[0].bytes), 0, gpr(&i->op[0]), gpr(&i->op[1]), mask);
}

void lift_pdep(struct x86_lift *l, const struct x86_insn *i)
{
    deposit(l, i, IR_PDEP);
}

void lift_pext(struct x86_lift *l, const struct x86_insn *i)
{
    deposit(l, i, IR_PEXT);
}
