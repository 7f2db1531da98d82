/* guest/x86/lift_int.h: what the lifters share.  Internal to guest/x86/lift*.c.
 *
 * Vocabulary
 *   - lift_NAME: the lifter that lift.def's row NAME names.
 *   - ops_what: appends the ops for `what`; every lifter is made of these.
 *   - ea: an effective address, an offset into a segment, already cut to the insn's address size.
 *   - linear: ea plus segment base, checked where the mode demands a check.
 *   - place: what memory ops take: linear, as a register and a displacement where that will do.
 *   - width: 1, 2, 4, 8 bytes; type: I8..I64.
 *
 * Rules to know before editing
 *   - A ref that ops_ea, ops_linear or ops_read returns may be a guest register itself, and so may the base of a place.  Do
 *     not write into it, and copy it (ops_copy) when the insn changes that register before the ref is used for the last time.
 *   - Upper halves of registers are kept by 16- and 32-bit modes as hardware keeps them, so an address of 32 or 16
 *     bits is always cut explicitly; nothing may assume that a register is below 4 GB outside 64-bit mode.
 *   - Helpers that take a value look at all 64 bits of it: cut with ops_zero_extend first.
 */
#ifndef RHEA_X86_LIFT_INT_H
#define RHEA_X86_LIFT_INT_H

#include "guest/x86/lift.h"

#define X86_LIFT(name) x86_lift_fn lift_##name;
#include "guest/x86/lift.def"

bool lift_has_feature(const struct x86_lift *l, unsigned feature); /* FEAT_ number; 0: nothing needed */
/* lift_generic.c: does the host lack a unit that this insn needs?  Then its ops, from `from` on, are run in C. */
bool lift_lacks_unit(const struct x86_lift *l, const struct x86_insn *i);
void lift_generic(struct x86_lift *l, unsigned from);
static inline enum ir_type type_of(unsigned bytes)
{
    return bytes == 1 ? I8 : bytes == 2 ? I16 : bytes == 4 ? I32 : I64;
}
static inline bool mode64(const struct x86_lift *l)
{
    return l->mode & MODE_64;
}
static inline bool mode_flat(const struct x86_lift *l) /* base of CS is 0, no limit checks on ES CS SS DS */
{
    return l->mode & (MODE_64 | MODE_FLAT);
}

/* ---- ops ------------------------------------------------------------------------------------------------------ */

ir_ref ops_const(struct x86_lift *l, int64_t v);
ir_ref ops_temp(struct x86_lift *l);
/* d = op(a, b) with flags setf; d IR_NONE makes a temp.  Returns d. */
ir_ref ops_op2(struct x86_lift *l, enum ir_opcode op, enum ir_type t, unsigned setf, ir_ref d, ir_ref a, ir_ref b);
ir_ref ops_op1(struct x86_lift *l, enum ir_opcode op, enum ir_type t, ir_ref d, ir_ref a);
/* d = a + (b << shift) + imm; d IR_NONE makes a temp; a, b may be IR_NONE. */
ir_ref ops_lea(struct x86_lift *l, enum ir_type t, ir_ref d, ir_ref a, ir_ref b, unsigned shift, int64_t imm);
/* The linear address of page offset `target`; d: where to, or IR_NONE. */
ir_ref ops_pc(struct x86_lift *l, ir_ref d, int64_t target);
ir_ref ops_copy(struct x86_lift *l, ir_ref a); /* all 64 bits, in a fresh temp */
ir_ref ops_zero_extend(struct x86_lift *l, unsigned bytes,
                       ir_ref a); /* a fresh temp, or a itself if bytes is 8 or it is a constant */
ir_ref ops_field(struct x86_lift *l, unsigned bytes, size_t offset); /* LDF */
/* Call a helper; the result is in the returned temp. */
ir_ref ops_call(struct x86_lift *l, enum x86_helper h, ir_ref a, ir_ref b, ir_ref c);
ir_ref ops_call_const(struct x86_lift *l, enum x86_helper h, int64_t a, int64_t b, int64_t c);
void ops_label(struct x86_lift *l, int label);
void ops_branch(struct x86_lift *l, enum ir_cc cc, int label);
void ops_branch_zero(struct x86_lift *l, bool if_zero, enum ir_type t, ir_ref a, int label);

/* ---- memory operands ------------------------------------------------------------------------------------------ */

/* Where an access goes: linear address base + disp, by way of segment seg. */
struct ops_place {
    uint32_t base; /* ir_ref; gcc puts narrower fields together in memory, where it waits for them */
    int32_t disp;  /* of 16 bits */
    uint32_t seg;
    uint32_t flags; /* IR_NEAR */
};
static inline struct ops_place ops_at(ir_ref linear, unsigned seg)
{
    return (struct ops_place){linear, 0, seg, 0};
}
uint8_t ops_near(const struct x86_insn *i); /* IR_NEAR, if the memory operand is by way of rSP */
/* An op on memory; d and b as the op has them. */
struct ir_op *ops_access(struct x86_lift *l, enum ir_opcode op, enum ir_type t, ir_ref d, struct ops_place p, ir_ref b);
ir_ref ops_load(struct x86_lift *l, unsigned bytes, struct ops_place p); /* zero-extended into a fresh temp */
void ops_store(struct x86_lift *l, unsigned bytes, struct ops_place p, ir_ref v);
/* The memory operand, for an op that takes a displacement (ir_takes_disp), and for any. */
struct ops_place ops_memory(struct x86_lift *l, const struct x86_insn *i, unsigned bytes, bool write);
struct ops_place ops_memory_whole(struct x86_lift *l, const struct x86_insn *i, unsigned bytes, bool write);
/* Effective address of i->mem plus `more` << shift (IR_NONE: nothing). */
ir_ref ops_ea(struct x86_lift *l, const struct x86_insn *i, ir_ref more, unsigned shift);
/* The same value, destination given (LEA): writes d at type t. */
void ops_ea_into(struct x86_lift *l, const struct x86_insn *i, enum ir_type t, ir_ref d);
/* Does an access by way of this segment need a check at run time? */
bool ops_segment_is_checked(const struct x86_lift *l, unsigned seg, bool write);
/* Offset ea (address size in bytes) of segment `seg` as a linear address, for `bytes` bytes. */
ir_ref ops_segment(struct x86_lift *l, unsigned seg, ir_ref ea, unsigned bytes, bool write);
ir_ref ops_linear(struct x86_lift *l, const struct x86_insn *i, unsigned bytes, bool write);
ir_ref ops_linear_plus(struct x86_lift *l, ir_ref linear, int64_t n); /* n bytes further */
/* A guest register as an address of `asize` bytes. */
ir_ref ops_address_reg(struct x86_lift *l, unsigned asize, ir_ref reg);

/* ---- operands ------------------------------------------------------------------------------------------------- */

ir_ref ops_get_high(struct x86_lift *l, unsigned reg); /* AH CH DH BH in the low 8 bits of a temp, rubbish above */
void ops_put_high(struct x86_lift *l, unsigned reg, ir_ref v);
/* Operand n: a register itself, a constant, or a temp loaded from memory (zero-extended). */
ir_ref ops_read(struct x86_lift *l, const struct x86_insn *i, unsigned n);
/* Write register operand n at its width; or memory, whose address must still be computable. */
void ops_write(struct x86_lift *l, const struct x86_insn *i, unsigned n, ir_ref v);
/* Write GPR `reg` at width. */
void ops_set_reg(struct x86_lift *l, unsigned bytes, unsigned reg, ir_ref v);
/* mem[operand 0] = op(mem, b, c). */
void ops_rmw(struct x86_lift *l, const struct x86_insn *i, enum ir_opcode op, unsigned setf, ir_ref b, ir_ref c);
/* All flags that op defines. */
unsigned ops_flags_of(enum ir_opcode op);

/* ---- stack ---------------------------------------------------------------------------------------------------- */

/* Push v (bytes of it, in a slot of `slot` bytes); RSP changes after the store. */
void ops_push(struct x86_lift *l, unsigned slot, unsigned bytes, ir_ref v);
/* An access on the stack, at ea. */
struct ops_place ops_on_stack(struct x86_lift *l, ir_ref ea, unsigned bytes, bool write);
/* The top of the stack; the value there, zero-extended.  RSP does not change yet. */
struct ops_place ops_top_place(struct x86_lift *l, unsigned bytes);
ir_ref ops_top(struct x86_lift *l, unsigned bytes);
void ops_add_sp(struct x86_lift *l, int64_t n);     /* RSP += n at the stack's width */
unsigned ops_stack_width(const struct x86_lift *l); /* 2, 4, 8 */

/* ---- ends ----------------------------------------------------------------------------------------------------- */

void ops_goto(struct x86_lift *l, unsigned slot, int64_t target, bool poll); /* page offset */
void ops_goto_linear(struct x86_lift *l, ir_ref pc);
void ops_goto_ip(struct x86_lift *l, ir_ref ip); /* IP, EIP, RIP: already cut to the operand size */
void ops_goto_next(struct x86_lift *l);          /* helpers that "end": everything may have changed */
void ops_goto_jumped(struct x86_lift *l);        /* helpers that "jump" */
void ops_leave(struct x86_lift *l, enum cpu_leave why, int64_t target);
/* Before an op that leaves to run this insn again: interrupts wait for it still if STI or MOV SS stands before it. */
void ops_keep_shadow(struct x86_lift *l);
void ops_raise(struct x86_lift *l, enum x86_vector v); /* error code 0 where the vector has one; ends the block */
ir_ref ops_return_address(struct x86_lift *l);         /* IP after this insn, uncut */

#endif
