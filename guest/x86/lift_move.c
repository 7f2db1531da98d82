/* guest/x86/lift_move.c: data movement: MOV and its relatives, the stack, exchanges, conditional moves.
 *
 * Rule to know before editing: what is read from memory may land in a guest register at once only if nothing after it
 * can fault; a push stores before it moves RSP, a pop moves RSP after the last store.
 */
#include "guest/x86/lift_int.h"

static ir_ref gpr(const struct x86_operand *o)
{
    return (ir_ref)(IR_REG0 + o->reg);
}

/* GPR operand n = memory, without a temp where widths allow.  LD keeps the bits it does not load, as MOV does. */
static void load_into(struct x86_lift *l, const struct x86_insn *i, unsigned n)
{
    const struct x86_operand *o = &i->op[n];
    struct ops_place p = ops_memory(l, i, o->bytes, false);

    if (o->high)
        ops_put_high(l, o->reg, ops_load(l, 1, p));
    else
        ops_access(l, o->bytes >= 4 ? IR_LDZ : IR_LD, type_of(o->bytes), gpr(o), p, IR_NONE);
}

void lift_mov(struct x86_lift *l, const struct x86_insn *i)
{
    if (i->op[1].kind == OPERAND_MEM)
        load_into(l, i, 0);
    else
        ops_write(l, i, 0, ops_read(l, i, 1));
}

static void extend(struct x86_lift *l, const struct x86_insn *i, bool is_signed)
{
    static const uint8_t from_reg[2][4] = {{IR_ZX8, IR_ZX16, IR_MOV, 0}, {IR_SX8, IR_SX16, IR_SX32, 0}};
    const struct x86_operand *to = &i->op[0], *from = &i->op[1];
    enum ir_type tt = type_of(to->bytes), ft = type_of(from->bytes);

    if (tt <= ft) /* MOVSXD without REX.W, MOVZX r16, r/m16: a plain move */
        lift_mov(l, i);
    else if (from->kind == OPERAND_GPR) {
        if (!is_signed && tt == I64) /* zero-extended either way, and shorter */
            tt = I32;
        ops_op1(l, (enum ir_opcode)from_reg[is_signed][ft], tt, gpr(to), ops_read(l, i, 1));
    } else {
        struct ops_place p = ops_memory(l, i, from->bytes, false);
        ir_ref d = tt == I16 ? ops_temp(l) : gpr(to);
        ops_access(l, is_signed ? IR_LDS : IR_LDZ, ft, d, p, IR_NONE)->sub = is_signed ? (uint8_t)tt : 0;
        if (tt == I16)
            ops_op1(l, IR_MOV, I16, gpr(to), d);
    }
}

void lift_movzx(struct x86_lift *l, const struct x86_insn *i)
{
    extend(l, i, false);
}

void lift_movsx(struct x86_lift *l, const struct x86_insn *i) /* and MOVSXD */
{
    extend(l, i, true);
}

void lift_lea(struct x86_lift *l, const struct x86_insn *i)
{
    ops_ea_into(l, i, type_of(i->op[0].bytes), gpr(&i->op[0]));
}

/* CBW CWDE CDQE. */
void lift_cbw(struct x86_lift *l, const struct x86_insn *i)
{
    enum ir_opcode op = i->osize == 2 ? IR_SX8 : i->osize == 4 ? IR_SX16 : IR_SX32;
    ops_op1(l, op, type_of(i->osize), X86_RAX, X86_RAX);
}

/* CWD CDQ CQO. */
void lift_cwd(struct x86_lift *l, const struct x86_insn *i)
{
    ops_op2(l, IR_SAR, type_of(i->osize), 0, X86_RDX, X86_RAX, ops_const(l, i->osize * 8 - 1));
}

void lift_bswap(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref d = gpr(&i->op[0]);

    if (i->osize == 2) /* undefined; processors give zero */
        ops_set_reg(l, 2, i->op[0].reg, ops_const(l, 0));
    else
        ops_op1(l, IR_BSWAP, type_of(i->osize), d, d);
}

static ir_ref swap_bytes(struct x86_lift *l, unsigned bytes, ir_ref v)
{
    if (bytes == 2)
        return ops_op2(l, IR_ROL, I16, 0, IR_NONE, v, ops_const(l, 8));
    return ops_op1(l, IR_BSWAP, type_of(bytes), IR_NONE, v);
}

void lift_movbe(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned bytes = i->op[0].bytes;
    ir_ref v = ops_read(l, i, 1);

    if (bytes == 2)
        v = ops_copy(l, v);
    ops_write(l, i, 0, swap_bytes(l, bytes, v));
}

void lift_xlat(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref al = ops_zero_extend(l, 1, X86_RAX);
    ir_ref ea = ops_lea(l, i->asize == 8 ? I64 : I32, IR_NONE, X86_RBX, al, 0, 0);

    if (i->asize == 2)
        ea = ops_zero_extend(l, 2, ea);
    ir_ref addr = ops_segment(l, i->mem.seg, ea, 1, false);
    ops_access(l, IR_LD, I8, X86_RAX, ops_at(addr, i->mem.seg), IR_NONE);
}

/* ---- conditions --------------------------------------------------------------------------------------------------- */

void lift_cmov(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref v = ops_read(l, i, 1);
    ir_alu(l->b, IR_CMOV, type_of(i->op[0].bytes), 0, gpr(&i->op[0]), v, IR_NONE)->sub = i->opcode & 15;
}

void lift_setcc(struct x86_lift *l, const struct x86_insn *i)
{
    const struct x86_operand *o = &i->op[0];
    bool direct = o->kind == OPERAND_GPR && !o->high;
    ir_ref d = direct ? gpr(o) : ops_temp(l);
    struct ir_op *set = ir_append(l->b, IR_SETCC, I8);

    set->d = d;
    set->sub = i->opcode & 15;
    if (!direct)
        ops_write(l, i, 0, d);
}

/* ---- exchanges ---------------------------------------------------------------------------------------------------- */

static unsigned memory_operand(const struct x86_insn *i)
{
    return i->op[1].kind == OPERAND_MEM;
}

void lift_xchg(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned m = memory_operand(i), bytes = i->op[0].bytes;
    const struct x86_operand *r = &i->op[!m];

    if (i->op[m].kind != OPERAND_MEM) {
        ir_ref a = ops_read(l, i, 0), b = ops_read(l, i, 1);
        if (!i->op[0].high)
            a = ops_op1(l, IR_MOV, bytes >= 4 ? type_of(bytes) : I32, IR_NONE, a);
        ops_write(l, i, 0, b);
        ops_write(l, i, 1, a);
        return;
    }
    struct ops_place p = ops_memory_whole(l, i, bytes, true);
    ir_ref v = ops_read(l, i, !m), d = r->high ? ops_temp(l) : gpr(r);
    ops_access(l, IR_XCHG, type_of(bytes), d, p, v);
    if (r->high)
        ops_put_high(l, r->reg, d);
}

void lift_xadd(struct x86_lift *l, const struct x86_insn *i)
{
    const struct x86_operand *r = &i->op[1];
    enum ir_type t = type_of(r->bytes);

    if (i->op[0].kind != OPERAND_MEM) {
        ir_ref a = ops_read(l, i, 0), b = ops_read(l, i, 1);
        ir_ref sum = ops_op2(l, IR_ADD, t, IRF_ALL, IR_NONE, a, b);
        ops_write(l, i, 1, a);
        ops_write(l, i, 0, sum);
        return;
    }
    struct ops_place p = ops_memory_whole(l, i, r->bytes, true);
    ir_ref v = ops_read(l, i, 1), d = r->high ? ops_temp(l) : gpr(r);
    struct ir_op *o = ops_access(l, IR_XADD, t, d, p, v);
    o->setf = IRF_ALL;
    o->flags |= i->prefix & PREFIX_LOCK ? IR_LOCK : 0;
    if (r->high)
        ops_put_high(l, r->reg, d);
}

/* Registers: flags of rAX - op0; equal: op0 = op1, else rAX = op0.  Of two 32-bit registers the one that does not
 * change keeps its upper half, as processors do it. */
static void cmpxchg_reg(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned bytes = i->op[0].bytes, whole = bytes == 4 ? 8 : bytes;
    ir_ref old = ops_read(l, i, 0), new = ops_read(l, i, 1);

    ir_alu(l->b, IR_CMP, type_of(bytes), IRF_ALL, IR_NONE, X86_RAX, old);
    ir_ref to = ops_copy(l, old), acc = ops_copy(l, X86_RAX);
    if (bytes == 4) {
        old = ops_zero_extend(l, 4, old);
        new = ops_zero_extend(l, 4, new);
    }
    ir_alu(l->b, IR_CMOV, I64, 0, acc, old, IR_NONE)->sub = CC_NE;
    ir_alu(l->b, IR_CMOV, I64, 0, to, new, IR_NONE)->sub = CC_E;
    ops_set_reg(l, whole, X86_RAX, acc);
    if (i->op[0].high)
        ops_put_high(l, i->op[0].reg, to);
    else
        ops_set_reg(l, whole, i->op[0].reg, to);
}

void lift_cmpxchg(struct x86_lift *l, const struct x86_insn *i)
{
    if (i->op[0].kind != OPERAND_MEM) {
        cmpxchg_reg(l, i);
        return;
    }
    unsigned bytes = i->op[0].bytes;
    struct ops_place p = ops_memory_whole(l, i, bytes, true);
    struct ir_op *o = ops_access(l, IR_CMPXCHG, type_of(bytes), X86_RAX, p, ops_read(l, i, 1));
    o->setf = IRF_ALL;
    o->flags |= i->prefix & PREFIX_LOCK ? IR_LOCK : 0;
}

void lift_cmpxchg8b(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned bytes = i->rex & 8 ? 16 : 8;
    ir_ref addr = ops_linear(l, i, bytes, true);

    ops_call(l, HELPER_CMPXCHG8B, addr, ops_const(l, bytes),
             ops_const(l, (i->prefix & PREFIX_LOCK ? 1 : 0) | i->mem.seg << 8));
}

/* ---- stack -------------------------------------------------------------------------------------------------------- */

void lift_push(struct x86_lift *l, const struct x86_insn *i)
{
    ops_push(l, i->osize, i->osize, ops_read(l, i, 0));
}

/* POP to memory computes its address with the popped RSP (SDM vol. 2, POP). */
static void pop_mem(struct x86_lift *l, const struct x86_insn *i)
{
    struct x86_insn after = *i;
    ir_ref v = ops_top(l, i->osize);

    if (i->mem.base == X86_RSP)
        after.mem.disp += i->osize;
    ops_store(l, i->osize, ops_memory(l, &after, i->osize, true), v);
    ops_add_sp(l, i->osize);
}

void lift_pop(struct x86_lift *l, const struct x86_insn *i)
{
    const struct x86_operand *o = &i->op[0];

    if (o->kind == OPERAND_MEM)
        pop_mem(l, i);
    else if (o->reg == X86_RSP) {
        ir_ref v = ops_top(l, i->osize);
        ops_add_sp(l, i->osize);
        ops_set_reg(l, i->osize, X86_RSP, v);
    } else {
        struct ops_place top = ops_top_place(l, i->osize);
        ops_access(l, i->osize >= 4 ? IR_LDZ : IR_LD, type_of(i->osize), gpr(o), top, IR_NONE);
        ops_add_sp(l, i->osize);
    }
}

void lift_pushf(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref image;
    if (l->mode & MODE_VM86) {
        image = ops_call_const(l, HELPER_PUSHF, i->osize, 0, 0);
    } else {
        image = ir_temp(l->b);
        ir_append(l->b, IR_GETF, I64)->d = image;
        ops_op2(l, IR_OR, I64, 0, image, image, ops_op2(l, IR_AND, I64, 0, IR_NONE, X86_DF, ops_const(l, FL_DF)));
        ir_ref others = ops_field(l, 4, offsetof(struct x86, flags));
        ops_op2(l, IR_AND, I32, 0, others, others, ops_const(l, ~(int64_t)(FL_RF | FL_VM)));
        ops_op2(l, IR_OR, I64, 0, image, image, others);
    }
    ops_push(l, i->osize, i->osize, image);
}

void lift_popf(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref image = ops_top(l, i->osize);

    ops_call(l, HELPER_POPF, image, ops_const(l, i->osize), IR_NONE);
    ops_add_sp(l, i->osize);
    ops_goto_next(l);
}

void lift_pusha(struct x86_lift *l, const struct x86_insn *i)
{
    ops_call_const(l, HELPER_PUSHA, i->osize, 0, 0);
}

void lift_popa(struct x86_lift *l, const struct x86_insn *i)
{
    ops_call_const(l, HELPER_POPA, i->osize, 0, 0);
}

void lift_enter(struct x86_lift *l, const struct x86_insn *i)
{
    ops_call_const(l, HELPER_ENTER, (uint16_t)i->imm, (uint8_t)i->imm2, i->osize);
}

/* LEAVE: rSP = rBP, then POP rBP. */
void lift_leave(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned width = ops_stack_width(l);
    ir_ref v = ops_load(l, i->osize, ops_on_stack(l, ops_address_reg(l, width, X86_RBP), i->osize, false));

    if (width == 2)
        ops_set_reg(l, 2, X86_RSP, ops_lea(l, I32, IR_NONE, X86_RBP, IR_NONE, 0, i->osize));
    else
        ops_lea(l, width == 8 ? I64 : I32, X86_RSP, X86_RBP, IR_NONE, 0, i->osize);
    ops_set_reg(l, i->osize, X86_RBP, v);
}

/* ---- segment registers -------------------------------------------------------------------------------------------- */

static ir_ref selector(struct x86_lift *l, unsigned seg)
{
    return ops_field(l, 2, offsetof(struct x86, seg[seg].selector));
}

static void mov_from_seg(struct x86_lift *l, const struct x86_insn *i)
{
    const struct x86_operand *o = &i->op[0];
    ir_ref v = selector(l, i->op[1].reg);

    if (o->kind == OPERAND_MEM)
        ops_store(l, 2, ops_memory(l, i, 2, true), v);
    else
        ops_set_reg(l, i->osize, o->reg, v);
}

/* After a load of SS, interrupts wait for one insn, which must be in this block: go on if the mode is still what the
 * block was lifted for. */
static void end_if_mode_changed(struct x86_lift *l)
{
    int same = ir_label(l->b);
    ir_ref now = ops_field(l, 4, offsetof(struct x86, mode));
    ir_ref changed = ops_op2(l, IR_XOR, I32, 0, IR_NONE, now, ops_const(l, l->mode));

    ops_branch_zero(l, true, I32, changed, same);
    ops_goto_next(l);
    ops_label(l, same);
    l->ended = false;
}

/* In 64-bit mode no segment register but CS changes the mode. */
static void after_load_seg(struct x86_lift *l, unsigned seg, bool shadow)
{
    if (shadow && seg == SEG_SS) {
        if (!mode64(l) && !l->one_insn)
            end_if_mode_changed(l);
        l->last = 2;
    } else if (!mode64(l))
        ops_goto_next(l);
}

static void mov_to_seg(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned seg = i->op[0].reg;
    ir_ref v;

    if (seg == SEG_CS) {
        ops_raise(l, EX_UD);
        return;
    }
    if (i->op[1].kind == OPERAND_MEM)
        v = ops_load(l, 2, ops_memory(l, i, 2, false));
    else
        v = ops_zero_extend(l, 2, gpr(&i->op[1]));
    ops_call(l, HELPER_LOAD_SEG, ops_const(l, seg), v, IR_NONE);
    after_load_seg(l, seg, true);
}

void lift_mov_seg(struct x86_lift *l, const struct x86_insn *i)
{
    if (i->opcode == 0x8c)
        mov_from_seg(l, i);
    else
        mov_to_seg(l, i);
}

/* PUSH of a segment register: recent processors write 2 bytes of a 4-byte slot, and 8 of an 8-byte slot (SDM vol. 2,
 * PUSH). */
void lift_push_seg(struct x86_lift *l, const struct x86_insn *i)
{
    ops_push(l, i->osize, i->osize == 8 ? 8 : 2, selector(l, i->op[0].reg));
}

void lift_pop_seg(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned seg = i->op[0].reg;
    ir_ref v = ops_top(l, 2);

    ops_call(l, HELPER_LOAD_SEG, ops_const(l, seg), v, IR_NONE);
    ops_add_sp(l, i->osize);
    after_load_seg(l, seg, true);
}

/* LES C4, LDS C5, LSS 0F B2, LFS B4, LGS B5. */
void lift_load_far(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned seg = i->map == 0 ? (i->opcode == 0xc4 ? SEG_ES : SEG_DS) : i->opcode & 7;
    ir_ref addr = ops_linear(l, i, i->osize + 2u, false);
    ir_ref offset = ops_load(l, i->osize, ops_at(addr, i->mem.seg));
    ir_ref v = ops_load(l, 2, ops_at(ops_linear_plus(l, addr, i->osize), i->mem.seg));

    ops_call(l, HELPER_LOAD_SEG, ops_const(l, seg), v, IR_NONE);
    ops_set_reg(l, i->osize, i->op[0].reg, offset);
    after_load_seg(l, seg, false);
}
