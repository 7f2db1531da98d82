/* guest/x86/lift_control.c: jumps, calls, returns, software interrupts, and every way a block ends.
 *
 * A direct jump is a GOTO to a page offset and links.  It becomes a GOTOI of a computed address where the target
 * cannot be told at translate time: 16-bit operand size (IP is cut), a code segment that is not flat (the same page
 * may be reached at several IPs), and displacements so large that EIP may wrap.  What wraps in spite of that (flat
 * 32-bit code at the very ends of its 4 GB) is cut by the loop, which sees a pc above 4 GB.
 *
 * An indirect near branch to a non-canonical address faults when the loop looks for its target (exec/loop.c,
 * branch_fault), but for CALL, which is found out before it stores the return address.  A relative one, which can reach
 * such an address from the last 2 GB before it only, is found out where the block is lifted (a page mapped at another
 * address too, and run there first, is lifted without the check: the fault is at the target then).
 */
#include "guest/x86/lift_int.h"

/* ---- ends ------------------------------------------------------------------------------------------------------- */

void ops_leave(struct x86_lift *l, enum cpu_leave why, int64_t target)
{
    struct ir_op *o = ir_append(l->b, IR_LEAVE, I64);
    o->sub = (uint8_t)why;
    o->imm = target;
    l->ended = true;
}

void ops_goto(struct x86_lift *l, unsigned slot, int64_t target, bool poll)
{
    if (l->one_insn) {
        ops_leave(l, LEAVE_NEXT, target);
        return;
    }
    struct ir_op *o = ir_append(l->b, IR_GOTO, I64);
    o->sub = (uint8_t)slot;
    o->imm = target;
    o->flags = poll || l->shadowed ? IR_POLL : 0;
    l->ended = true;
}

void ops_goto_linear(struct x86_lift *l, ir_ref pc)
{
    struct ir_op *o = ir_append(l->b, l->one_insn ? IR_LEAVEI : IR_GOTOI, I64);
    o->sub = l->one_insn ? LEAVE_NEXT : 0;
    o->a = pc;
    l->ended = true;
}

void ops_goto_ip(struct x86_lift *l, ir_ref ip)
{
    if (!mode_flat(l))
        ip = ops_lea(l, I32, IR_NONE, ip, X86_BASE_CS, 0, 0);
    ops_goto_linear(l, ip);
}

static ir_ref linear_pc(struct x86_lift *l, int64_t target)
{
    ir_ref t = ops_pc(l, IR_NONE, target);
    return mode64(l) ? t : ops_zero_extend(l, 4, t);
}

void ops_goto_next(struct x86_lift *l)
{
    ops_goto_linear(l, linear_pc(l, l->next));
}

void ops_goto_jumped(struct x86_lift *l)
{
    ops_goto_linear(l, ops_field(l, 8, offsetof(struct cpu, pc)));
}

void ops_raise(struct x86_lift *l, enum x86_vector v)
{
    ops_call_const(l, HELPER_RAISE, v, 0, v == EX_GP || v == EX_SS || v == EX_NP || v == EX_TS);
    ops_leave(l, LEAVE_NEXT, l->off);
}

/* IP of page offset `target`, not cut to any operand size. */
static ir_ref ip_of(struct x86_lift *l, int64_t target)
{
    ir_ref pc = linear_pc(l, target);
    return mode_flat(l) ? pc : ops_op2(l, IR_SUB, I32, 0, IR_NONE, pc, X86_BASE_CS);
}

ir_ref ops_return_address(struct x86_lift *l)
{
    return ip_of(l, l->next);
}

/* A near branch beyond CS's limit faults itself, before anything has changed (SDM vol. 2, JMP, CALL, RET).  In 64-bit
 * mode the same holds for targets that are not canonical: they miss the jump cache, and the loop sees to them
 * (exec/loop.c, branch_fault). */
static void check_target(struct x86_lift *l, ir_ref ip)
{
    if (!mode_flat(l))
        ops_call(l, HELPER_JUMP_CHECK, ip, IR_NONE, IR_NONE);
}

/* ---- direct jumps ----------------------------------------------------------------------------------------------- */

enum { FAR_ENOUGH_TO_WRAP = 1 << 28 };

static ir_ref relative_ip(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref ip = ip_of(l, l->next + i->imm);
    return i->osize == 2 ? ops_zero_extend(l, 2, ip) : ip;
}

/* Of 48 bits; more may be canonical too, and lose nothing by being looked at when they run. */
static bool canonical(uint64_t linear)
{
    return (uint64_t)sign_extend(linear, 48) == linear;
}

static bool strays(const struct x86_lift *l, const struct x86_insn *i)
{
    return mode64(l) && !canonical(l->page + (uint64_t)(l->next + i->imm));
}

static void check_stray(struct x86_lift *l, const struct x86_insn *i)
{
    if (strays(l, i))
        ops_call(l, HELPER_JUMP_CHECK, relative_ip(l, i), IR_NONE, IR_NONE);
}

/* A GOTO will do. */
static bool is_direct(const struct x86_lift *l, const struct x86_insn *i)
{
    int64_t target = l->next + i->imm;
    bool near_by = i->imm > -FAR_ENOUGH_TO_WRAP && i->imm < FAR_ENOUGH_TO_WRAP;
    bool reaches = target == (int32_t)target; /* a GOTO's offset is from the page's begin */
    return mode64(l) ? reaches : (l->mode & MODE_FLAT) && i->osize == 4 && near_by;
}

static void jump_relative(struct x86_lift *l, const struct x86_insn *i, unsigned slot, bool check)
{
    int64_t target = l->next + i->imm;

    check_stray(l, i);
    if (is_direct(l, i)) {
        ops_goto(l, slot, target, target <= l->off);
        return;
    }
    if (mode64(l)) {
        ops_goto_linear(l, linear_pc(l, target));
        return;
    }
    ir_ref ip = relative_ip(l, i);
    if (check)
        check_target(l, ip);
    ops_goto_ip(l, ip);
}

/* Fall through here; `taken` is where the jump is made. */
static void split(struct x86_lift *l, const struct x86_insn *i, int taken)
{
    ops_goto(l, 0, l->next, false);
    ops_label(l, taken);
    jump_relative(l, i, 1, true);
}

void lift_jcc(struct x86_lift *l, const struct x86_insn *i)
{
    enum ir_cc cc = (enum ir_cc)(i->opcode & 15);

    if (is_direct(l, i) && !strays(l, i) && !l->one_insn && !l->shadowed) {
        int64_t target = l->next + i->imm;
        struct ir_op *o = ir_append(l->b, IR_GOTOCC, I64);
        o->sub = (uint8_t)cc;
        o->imm = target;
        o->disp = (int16_t)l->next;
        o->flags = target <= l->off ? IR_POLL : 0;
        l->ended = true;
        return;
    }
    int taken = ir_label(l->b);
    ops_branch(l, cc, taken);
    split(l, i, taken);
}

void lift_jcxz(struct x86_lift *l, const struct x86_insn *i)
{
    int taken = ir_label(l->b);

    ops_branch_zero(l, true, type_of(i->asize), X86_RCX, taken);
    split(l, i, taken);
}

static void count_down(struct x86_lift *l, const struct x86_insn *i)
{
    if (i->asize == 2)
        ops_set_reg(l, 2, X86_RCX, ops_lea(l, I32, IR_NONE, X86_RCX, IR_NONE, 0, -1));
    else
        ops_lea(l, type_of(i->asize), X86_RCX, X86_RCX, IR_NONE, 0, -1);
}

/* LOOP where the target may be beyond CS's limit: it must be known good before the count changes. */
static void loop_checked(struct x86_lift *l, const struct x86_insn *i)
{
    enum ir_type t = type_of(i->asize);
    int out = ir_label(l->b);

    ops_branch_zero(l, true, t, ops_op2(l, IR_SUB, t, 0, IR_NONE, X86_RCX, ops_const(l, 1)), out);
    if (i->opcode != 0xe2)
        ops_branch(l, i->opcode == 0xe1 ? CC_NE : CC_E, out);
    check_target(l, relative_ip(l, i));
    check_stray(l, i);
    count_down(l, i);
    jump_relative(l, i, 1, false);
    ops_label(l, out);
    count_down(l, i);
    ops_goto(l, 0, l->next, false);
}

/* LOOPNE E0, LOOPE E1, LOOP E2: no flags change. */
void lift_loop(struct x86_lift *l, const struct x86_insn *i)
{
    int taken = ir_label(l->b);
    enum ir_type t = type_of(i->asize);

    if (!mode_flat(l)) {
        loop_checked(l, i);
        return;
    }
    count_down(l, i);
    if (i->opcode == 0xe2)
        ops_branch_zero(l, false, t, X86_RCX, taken);
    else {
        int out = ir_label(l->b);
        ops_branch_zero(l, true, t, X86_RCX, out);
        ops_branch(l, i->opcode == 0xe1 ? CC_E : CC_NE, taken);
        ops_label(l, out);
    }
    split(l, i, taken);
}

/* ---- calls and returns ------------------------------------------------------------------------------------------ */

/* Target of an indirect near branch, cut to the operand size. */
static ir_ref indirect_target(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref t = ops_read(l, i, 0);

    if (i->op[0].kind == OPERAND_MEM)
        return t;
    return i->osize == 8 ? t : ops_zero_extend(l, i->osize, t);
}

void lift_jmp(struct x86_lift *l, const struct x86_insn *i)
{
    if (i->op[0].kind == OPERAND_REL) {
        jump_relative(l, i, 0, true);
    } else {
        ir_ref t = indirect_target(l, i);
        check_target(l, t);
        ops_goto_ip(l, t);
    }
}

/* Branch if `t` is not in the half of the address space that this page is in: it may not be canonical.  The label to
 * place. */
static int leave_half(struct x86_lift *l, ir_ref t)
{
    enum { HALF = 47 };
    int label = ir_label(l->b);
    ir_ref differ = ops_op2(l, IR_XOR, I64, 0, IR_NONE, t, IR_PCB);

    ops_branch_zero(l, false, I64, ops_op2(l, IR_SHR, I64, 0, IR_NONE, differ, ops_const(l, HALF)), label);
    return label;
}

static void call_indirect(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref t = indirect_target(l, i);

    if (t == X86_RSP)
        t = ops_copy(l, t);
    check_target(l, t);
    int far_away = mode64(l) ? leave_half(l, t) : -1;
    ops_push(l, i->osize, i->osize, ops_return_address(l));
    ops_goto_ip(l, t);
    if (far_away < 0)
        return;
    ops_label(l, far_away);
    ops_call(l, HELPER_CALL_NEAR, indirect_target(l, i), ops_return_address(l), IR_NONE);
    ops_goto_jumped(l);
}

void lift_call(struct x86_lift *l, const struct x86_insn *i)
{
    if (i->op[0].kind != OPERAND_REL) {
        call_indirect(l, i);
        return;
    }
    if (strays(l, i)) {
        ops_call(l, HELPER_CALL_NEAR, linear_pc(l, l->next + i->imm), ops_return_address(l), IR_NONE);
        ops_goto_jumped(l);
        return;
    }
    if (!mode_flat(l))
        check_target(l, relative_ip(l, i));
    ops_push(l, i->osize, i->osize, ops_return_address(l));
    jump_relative(l, i, 0, false);
}

/* RET, and RET n, which releases n more bytes. */
void lift_ret(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref t = ops_top(l, i->osize);

    check_target(l, t);
    ops_add_sp(l, i->osize + (i->opcode == 0xc2 ? (uint16_t)i->imm : 0));
    ops_goto_ip(l, t);
}

/* ---- far ---------------------------------------------------------------------------------------------------------- */

struct far_pointer {
    ir_ref selector, offset;
};

static struct far_pointer far_target(struct x86_lift *l, const struct x86_insn *i)
{
    if (i->op[0].kind == OPERAND_FAR) {
        uint64_t offset = (uint64_t)i->imm & mask_bits(i->osize * 8);
        return (struct far_pointer){ops_const(l, (uint16_t)i->imm2), ops_const(l, (int64_t)offset)};
    }
    ir_ref addr = ops_linear(l, i, i->osize + 2u, false);
    ir_ref offset = ops_load(l, i->osize, ops_at(addr, i->mem.seg));
    return (struct far_pointer){ops_load(l, 2, ops_at(ops_linear_plus(l, addr, i->osize), i->mem.seg)), offset};
}

void lift_jmp_far(struct x86_lift *l, const struct x86_insn *i)
{
    struct far_pointer to = far_target(l, i);

    ops_call(l, HELPER_JMP_FAR, to.selector, to.offset, ops_const(l, i->osize | i->length << 8));
    ops_goto_jumped(l);
}

void lift_call_far(struct x86_lift *l, const struct x86_insn *i)
{
    struct far_pointer to = far_target(l, i);

    ops_call(l, HELPER_CALL_FAR, to.selector, to.offset, ops_const(l, i->osize | i->length << 8));
    ops_goto_jumped(l);
}

void lift_ret_far(struct x86_lift *l, const struct x86_insn *i)
{
    ops_call_const(l, HELPER_RET_FAR, i->osize, i->opcode == 0xca ? (uint16_t)i->imm : 0, 0);
    ops_goto_jumped(l);
}

/* ---- interrupts and system calls ---------------------------------------------------------------------------------- */

/* INT n CD, INT3 CC, INT1 F1. */
void lift_int(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned vector = i->opcode == 0xcd ? (uint8_t)i->imm : i->opcode == 0xcc ? EX_BP : EX_DB;
    unsigned kind = i->opcode == 0xcd ? 0 : i->opcode == 0xcc ? 1 : 3;

    ops_call_const(l, HELPER_INT, vector, i->length, kind);
    ops_goto_jumped(l);
}

void lift_into(struct x86_lift *l, const struct x86_insn *i)
{
    int overflow = ir_label(l->b);

    ops_branch(l, CC_O, overflow);
    ops_goto(l, 0, l->next, false);
    ops_label(l, overflow);
    ops_call_const(l, HELPER_INT, EX_OF, i->length, 2);
    ops_goto_jumped(l);
}

/* A helper that takes the operand size (or nothing) and jumps. */
static void jumps(struct x86_lift *l, const struct x86_insn *i, enum x86_helper h)
{
    ops_call_const(l, h, i->osize, 0, 0);
    ops_goto_jumped(l);
}

void lift_iret(struct x86_lift *l, const struct x86_insn *i)
{
    jumps(l, i, HELPER_IRET);
}

void lift_sysret(struct x86_lift *l, const struct x86_insn *i)
{
    jumps(l, i, HELPER_SYSRET);
}

void lift_sysenter(struct x86_lift *l, const struct x86_insn *i)
{
    jumps(l, i, HELPER_SYSENTER);
}

void lift_sysexit(struct x86_lift *l, const struct x86_insn *i)
{
    jumps(l, i, HELPER_SYSEXIT);
}

void lift_syscall(struct x86_lift *l, const struct x86_insn *i)
{
    ops_call_const(l, HELPER_SYSCALL, i->length, 0, 0);
    ops_goto_jumped(l);
}

static void halts(struct x86_lift *l, enum x86_helper h)
{
    ops_call_const(l, h, 0, 0, 0);
    ops_leave(l, LEAVE_HALT, l->next);
}

void lift_hlt(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    halts(l, HELPER_HLT);
}

void lift_mwait(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    halts(l, HELPER_MWAIT);
}

void lift_ud(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    ops_raise(l, EX_UD);
}
