/* guest/x86/lift_operand.c: operands: constants, registers, addresses, the stack.
 *
 * What an address costs at run time depends on the mode the block is lifted for (SDM vol. 3, 3.2 and vol. 1, 3.3.7):
 *
 *     64-bit                     a register and a displacement, or one LEA; FS and GS add their base in it
 *     flat 32-bit                one LEA.i32 (offsets wrap at 4 GB); FS and GS add their base at 32 bits
 *     anything else              LEA.i32, ZX16 for 16-bit forms, then a call of SEG_LINEAR, which knows limits and
 *     rights
 *
 * It never writes a guest register except in ops_set_reg, ops_put_high, ops_write and the stack's own.
 */
#include "guest/x86/lift_int.h"

/* ---- ops ------------------------------------------------------------------------------------------------------ */

ir_ref ops_const(struct x86_lift *l, int64_t v)
{
    return ir_const(l->b, v);
}

ir_ref ops_temp(struct x86_lift *l)
{
    return ir_temp(l->b);
}

ir_ref ops_op2(struct x86_lift *l, enum ir_opcode op, enum ir_type t, unsigned setf, ir_ref d, ir_ref a, ir_ref b)
{
    if (d == IR_NONE)
        d = ops_temp(l);
    ir_alu(l->b, op, t, setf, d, a, b);
    return d;
}

ir_ref ops_op1(struct x86_lift *l, enum ir_opcode op, enum ir_type t, ir_ref d, ir_ref a)
{
    return ops_op2(l, op, t, 0, d, a, IR_NONE);
}

ir_ref ops_lea(struct x86_lift *l, enum ir_type t, ir_ref d, ir_ref a, ir_ref b, unsigned shift, int64_t imm)
{
    if (d == IR_NONE)
        d = ops_temp(l);
    struct ir_op *o = ir_alu(l->b, IR_LEA, t, 0, d, a, b);
    o->sub = (uint8_t)shift;
    o->imm = imm;
    return d;
}

ir_ref ops_copy(struct x86_lift *l, ir_ref a)
{
    return ops_op1(l, IR_MOV, I64, IR_NONE, a);
}

ir_ref ops_zero_extend(struct x86_lift *l, unsigned bytes, ir_ref a)
{
    if (ir_is_const(a))
        return ops_const(l, (int64_t)((uint64_t)ir_const_value(l->b, a) & mask_bits(bytes * 8)));
    switch (bytes) {
    case 1: return ops_op1(l, IR_ZX8, I32, IR_NONE, a);
    case 2: return ops_op1(l, IR_ZX16, I32, IR_NONE, a);
    case 4: return ops_op1(l, IR_MOV, I32, IR_NONE, a);
    default: return a;
    }
}

struct ir_op *ops_access(struct x86_lift *l, enum ir_opcode op, enum ir_type t, ir_ref d, struct ops_place p, ir_ref b)
{
    struct ir_op *o = ir_alu(l->b, op, t, 0, d, (ir_ref)p.base, b);
    o->disp = (int16_t)p.disp;
    o->tag = (uint8_t)p.seg;
    o->flags = (uint8_t)p.flags;
    return o;
}

ir_ref ops_load(struct x86_lift *l, unsigned bytes, struct ops_place p)
{
    ir_ref d = ops_temp(l);
    ops_access(l, IR_LDZ, type_of(bytes), d, p, IR_NONE);
    return d;
}

void ops_store(struct x86_lift *l, unsigned bytes, struct ops_place p, ir_ref v)
{
    ops_access(l, IR_ST, type_of(bytes), IR_NONE, p, v);
}

ir_ref ops_field(struct x86_lift *l, unsigned bytes, size_t offset)
{
    ir_ref d = ops_temp(l);
    struct ir_op *o = ir_append(l->b, IR_LDF, type_of(bytes));
    o->d = d;
    o->imm = (int64_t)offset;
    return d;
}

ir_ref ops_call(struct x86_lift *l, enum x86_helper h, ir_ref a, ir_ref b, ir_ref c)
{
    ir_ref d = ops_temp(l);
    struct ir_op *o = ir_append(l->b, IR_CALL, I64);
    o->d = d;
    o->a = a;
    o->b = b;
    o->c = c;
    o->imm = (int64_t)h;
    return d;
}

ir_ref ops_call_const(struct x86_lift *l, enum x86_helper h, int64_t a, int64_t b, int64_t c)
{
    return ops_call(l, h, ops_const(l, a), ops_const(l, b), ops_const(l, c));
}

void ops_label(struct x86_lift *l, int label)
{
    ir_append(l->b, IR_LABEL, I64)->imm = label;
}

void ops_branch(struct x86_lift *l, enum ir_cc cc, int label)
{
    struct ir_op *o = ir_append(l->b, IR_BRCC, I64);
    o->sub = (uint8_t)cc;
    o->imm = label;
}

void ops_branch_zero(struct x86_lift *l, bool if_zero, enum ir_type t, ir_ref a, int label)
{
    struct ir_op *o = ir_append(l->b, if_zero ? IR_BRZ : IR_BRNZ, t);
    o->a = a;
    o->imm = label;
}

/* ---- memory operands ------------------------------------------------------------------------------------------ */

ir_ref ops_address_reg(struct x86_lift *l, unsigned asize, ir_ref reg)
{
    return ops_zero_extend(l, asize, reg);
}

static ir_ref gpr_or_none(int reg)
{
    return reg < 0 ? IR_NONE : (ir_ref)(IR_REG0 + reg);
}

static bool fits32(int64_t v)
{
    return v == (int32_t)v;
}

/* ea + (x << shift), leaving F alone: LEA, never ADD. */
static ir_ref add_address(struct x86_lift *l, enum ir_type t, ir_ref ea, ir_ref x, unsigned shift)
{
    if (!ir_is_const(ea))
        return ops_lea(l, t, IR_NONE, ea, x, shift, 0);
    int64_t v = ir_const_value(l->b, ea);
    if (fits32(v) && shift == 0)
        return ops_lea(l, t, IR_NONE, x, IR_NONE, 0, v);
    return ops_lea(l, t, IR_NONE, ops_copy(l, ea), x, shift, 0);
}

ir_ref ops_pc(struct x86_lift *l, ir_ref d, int64_t target)
{
    enum { STEP = 1 << 30 };
    int64_t rest = fits32(target) ? 0
                   : target < 0   ? -STEP
                                  : STEP; /* PC reaches as far as a displacement does, from the page's begin */
    struct ir_op *o = ir_append(l->b, IR_PC, I64);
    ir_ref t = d == IR_NONE || rest ? ops_temp(l) : d;
    o->d = t;
    o->imm = target - rest;
    return rest ? ops_lea(l, I64, d, t, IR_NONE, 0, rest) : t;
}

static ir_ref ea_rip(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref t = ops_pc(l, IR_NONE, l->next + i->mem.disp);
    return i->asize == 8 ? t : ops_zero_extend(l, i->asize, t);
}

ir_ref ops_ea(struct x86_lift *l, const struct x86_insn *i, ir_ref more, unsigned shift)
{
    ir_ref base = gpr_or_none(i->mem.base), index = gpr_or_none(i->mem.index), ea;
    int64_t disp = i->mem.disp;

    if (i->mem.rip)
        ea = ea_rip(l, i);
    else if (base == IR_NONE && index == IR_NONE)
        ea = ops_const(l, (int64_t)((uint64_t)disp & mask_bits(i->asize * 8)));
    else if (index == IR_NONE && disp == 0)
        ea = ops_address_reg(l, i->asize, base);
    else {
        ea = ops_lea(l, i->asize == 8 ? I64 : I32, IR_NONE, base, index, i->mem.scale, disp);
        if (i->asize == 2)
            ea = ops_zero_extend(l, 2, ea);
    }
    if (more == IR_NONE)
        return ea;
    ea = add_address(l, i->asize == 8 ? I64 : I32, ea, more, shift);
    return i->asize == 2 ? ops_zero_extend(l, 2, ea) : ea;
}

void ops_ea_into(struct x86_lift *l, const struct x86_insn *i, enum ir_type t, ir_ref d)
{
    bool direct = t >= I32 && i->asize >= 4 && (i->mem.base >= 0 || i->mem.index >= 0) && fits32(i->mem.disp);

    if (direct && !i->mem.rip) {
        enum ir_type at = i->asize == 4 ? I32 : t; /* a 32-bit address is zero-extended, a 32-bit result cut */
        ops_lea(l, at, d, gpr_or_none(i->mem.base), gpr_or_none(i->mem.index), i->mem.scale, i->mem.disp);
    } else if (i->mem.rip && t == I64 && i->asize == 8)
        ops_pc(l, d, l->next + i->mem.disp);
    else
        ops_op1(l, IR_MOV, t, d, ops_ea(l, i, IR_NONE, 0));
}

static bool segment_is_free(const struct x86_lift *l, unsigned seg) /* base needs no check */
{
    if (seg == SEG_FS || seg == SEG_GS)
        return mode64(l) || ((l->mode & MODE_FLAT) && (l->mode & MODE_FLAT_FSGS));
    return mode_flat(l);
}

bool ops_segment_is_checked(const struct x86_lift *l, unsigned seg, bool write)
{
    bool into_code = write && seg == SEG_CS && !mode64(l); /* #GP in protected mode, however flat (vol. 3, 3.4.5.1) */
    return !segment_is_free(l, seg) || into_code;
}

ir_ref ops_segment(struct x86_lift *l, unsigned seg, ir_ref ea, unsigned bytes, bool write)
{
    ir_ref base = (ir_ref)(IR_REG0 + X86_BASE_ES + seg);

    if (ops_segment_is_checked(l, seg, write))
        return ops_call(l, HELPER_SEG_LINEAR, ea, ops_const(l, seg), ops_const(l, bytes | (write ? SEG_WRITES : 0u)));
    if (seg != SEG_FS && seg != SEG_GS)
        return ea;
    return add_address(l, mode64(l) ? I64 : I32, ea, base, 0);
}

ir_ref ops_linear(struct x86_lift *l, const struct x86_insn *i, unsigned bytes, bool write)
{
    unsigned seg = i->mem.seg;
    bool fs_gs = seg == SEG_FS || seg == SEG_GS;

    /* FS and GS with one register: base, register and displacement are one LEA. */
    if (fs_gs && mode64(l) && i->asize == 8 && !i->mem.rip && i->mem.base >= 0 && i->mem.index < 0)
        return ops_lea(l, I64, IR_NONE, (ir_ref)(IR_REG0 + X86_BASE_ES + seg), gpr_or_none(i->mem.base), 0,
                       i->mem.disp);
    return ops_segment(l, seg, ops_ea(l, i, IR_NONE, 0), bytes, write);
}

/* Accesses by way of rSP stay on one page for long, unless they index a table.  (rBP is as often any pointer as it is a
 * frame's.) */
uint8_t ops_near(const struct x86_insn *i)
{
    return i->mem.base == X86_RSP && i->mem.index < 0 && i->mem.seg == SEG_SS ? IR_NEAR : 0;
}

struct ops_place ops_memory_whole(struct x86_lift *l, const struct x86_insn *i, unsigned bytes, bool write)
{
    return (struct ops_place){ops_linear(l, i, bytes, write), 0, i->mem.seg, ops_near(i)};
}

/* Registers need no LEA where offsets do not wrap and segments do not count. */
struct ops_place ops_memory(struct x86_lift *l, const struct x86_insn *i, unsigned bytes, bool write)
{
    unsigned seg = i->mem.seg;
    bool fs_gs = seg == SEG_FS || seg == SEG_GS;

    if (mode64(l) && i->asize == 8 && i->mem.index < 0 && !l->in_c) {
        int64_t disp = i->mem.rip ? l->next + i->mem.disp : i->mem.disp;
        int base = i->mem.rip ? IR_PCB : fs_gs && i->mem.base < 0 ? (int)(X86_BASE_ES + seg) : i->mem.base;
        bool one = base >= 0 && !(fs_gs && (i->mem.rip || i->mem.base >= 0));
        if (one && disp == (int16_t)disp)
            return (struct ops_place){(uint32_t)(IR_REG0 + base), (int32_t)disp, seg, ops_near(i)};
    }
    return ops_memory_whole(l, i, bytes, write);
}

ir_ref ops_linear_plus(struct x86_lift *l, ir_ref linear, int64_t n)
{
    return ops_lea(l, mode64(l) ? I64 : I32, IR_NONE, linear, IR_NONE, 0, n);
}

/* ---- operands ------------------------------------------------------------------------------------------------- */

ir_ref ops_get_high(struct x86_lift *l, unsigned reg)
{
    return ops_op2(l, IR_SHR, I32, 0, IR_NONE, (ir_ref)(IR_REG0 + reg), ops_const(l, 8));
}

void ops_put_high(struct x86_lift *l, unsigned reg, ir_ref v)
{
    ir_ref d = (ir_ref)(IR_REG0 + reg), byte;

    if (ir_is_const(v))
        byte = ops_const(l, (ir_const_value(l->b, v) & 0xff) << 8);
    else
        byte = ops_op2(l, IR_SHL, I32, 0, IR_NONE, ops_zero_extend(l, 1, v), ops_const(l, 8));
    ir_ref rest = ops_op2(l, IR_AND, I64, 0, IR_NONE, d, ops_const(l, ~0xff00ll));
    ops_op2(l, IR_OR, I64, 0, d, rest, byte);
}

static ir_ref const_operand(struct x86_lift *l, unsigned bytes, int64_t v)
{
    return ops_const(l, bytes && bytes < 8 ? sign_extend((uint64_t)v, bytes * 8) : v);
}

static ir_ref live_operand(struct x86_lift *l, unsigned bytes)
{
    struct ir_op *o = ir_append(l->b, IR_LDC, type_of(bytes));
    o->d = ir_temp(l->b);
    o->imm = (int64_t)(uintptr_t)l->live;
    l->live = NULL;
    return o->d;
}

ir_ref ops_read(struct x86_lift *l, const struct x86_insn *i, unsigned n)
{
    const struct x86_operand *o = &i->op[n];

    switch (o->kind) {
    case OPERAND_GPR: return o->high ? ops_get_high(l, o->reg) : (ir_ref)(IR_REG0 + o->reg);
    case OPERAND_MEM: return ops_load(l, o->bytes, ops_memory(l, i, o->bytes, false));
    default: return l->live ? live_operand(l, o->bytes) : const_operand(l, o->bytes, i->imm);
    }
}

void ops_set_reg(struct x86_lift *l, unsigned bytes, unsigned reg, ir_ref v)
{
    ops_op1(l, IR_MOV, type_of(bytes), (ir_ref)(IR_REG0 + reg), v);
}

void ops_write(struct x86_lift *l, const struct x86_insn *i, unsigned n, ir_ref v)
{
    const struct x86_operand *o = &i->op[n];

    if (o->kind == OPERAND_MEM)
        ops_store(l, o->bytes, ops_memory(l, i, o->bytes, true), v);
    else if (o->high)
        ops_put_high(l, o->reg, v);
    else
        ops_set_reg(l, o->bytes, o->reg, v);
}

unsigned ops_flags_of(enum ir_opcode op)
{
    struct ir_op o = {.op = (uint8_t)op, .setf = IRF_ALL};
    return ir_writes_f(&o);
}

void ops_rmw(struct x86_lift *l, const struct x86_insn *i, enum ir_opcode op, unsigned setf, ir_ref b, ir_ref c)
{
    unsigned bytes = i->op[0].bytes, flags = i->prefix & PREFIX_LOCK ? IR_LOCK : 0;
    bool disp = ir_takes_disp(IR_RMW, op, flags);
    struct ops_place p = disp ? ops_memory(l, i, bytes, true) : ops_memory_whole(l, i, bytes, true);
    struct ir_op *o = ops_access(l, IR_RMW, type_of(bytes), IR_NONE, p, b);

    o->setf = (uint8_t)setf;
    o->c = c;
    o->sub = (uint8_t)op;
    o->flags |= (uint8_t)flags;
}

/* ---- stack (SDM vol. 1, 6.2.3) ---------------------------------------------------------------------------------- */

unsigned ops_stack_width(const struct x86_lift *l)
{
    return mode64(l) ? 8 : l->mode & MODE_SS32 ? 4 : 2;
}

static enum ir_type stack_type(const struct x86_lift *l)
{
    return mode64(l) ? I64 : I32;
}

struct ops_place ops_on_stack(struct x86_lift *l, ir_ref ea, unsigned bytes, bool write)
{
    return (struct ops_place){ops_segment(l, SEG_SS, ea, bytes, write), 0, SEG_SS, IR_NEAR};
}

void ops_push(struct x86_lift *l, unsigned slot, unsigned bytes, ir_ref v)
{
    unsigned width = ops_stack_width(l);

    if (width == 8) {
        ops_store(l, bytes, (struct ops_place){X86_RSP, -(int32_t)slot, SEG_SS, IR_NEAR}, v);
        ops_add_sp(l, -(int64_t)slot);
        return;
    }
    ir_ref sp = ops_lea(l, stack_type(l), IR_NONE, X86_RSP, IR_NONE, 0, -(int64_t)slot);
    ir_ref ea = width == 2 ? ops_zero_extend(l, 2, sp) : sp;

    ops_store(l, bytes, ops_on_stack(l, ea, bytes, true), v);
    ops_set_reg(l, width, X86_RSP, sp);
}

struct ops_place ops_top_place(struct x86_lift *l, unsigned bytes)
{
    return ops_on_stack(l, ops_address_reg(l, ops_stack_width(l), X86_RSP), bytes, false);
}

ir_ref ops_top(struct x86_lift *l, unsigned bytes)
{
    return ops_load(l, bytes, ops_top_place(l, bytes));
}

void ops_add_sp(struct x86_lift *l, int64_t n)
{
    unsigned width = ops_stack_width(l);

    if (width == 2)
        ops_set_reg(l, 2, X86_RSP, ops_lea(l, I32, IR_NONE, X86_RSP, IR_NONE, 0, n));
    else
        ops_lea(l, stack_type(l), X86_RSP, X86_RSP, IR_NONE, 0, n);
}
