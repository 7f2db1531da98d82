/* host/amd64/emit_move.c: values from place to place: moves, extensions, addresses, fields of struct cpu. */
#include "host/amd64/emit.h"

void emit_mov(struct emitter *e)
{
    const struct ir_op *o = e->op;
    bool unpinned = place_unpinned(o->d);
    if (unpinned && ir_is_const(o->a)) {
        int64_t v = ir_const_value(e->b, o->a);
        if (o->type == I32)
            v = (int64_t)(uint32_t)v;
        if (o->type >= I32 && fits32(v)) {
            asm_insn(&e->a, 0, 0, 0xc7, ASM_W, 0, place_home(o->d));
            asm_imm(&e->a, v, 4);
            place_forget(e, o->d);
            return;
        }
    }
    if (unpinned && place_reg_of(e, o->a) != NOREG && o->type != I32) {
        asm_store(&e->a, o->type, place_home(o->d), place_reg_of(e, o->a));
        place_forget(e, o->d);
        return;
    }
    int d = place_dst(e, o->d, o->a);
    if (o->type == I32 && place_reg_of(e, o->a) == d)
        asm_mov_rr(&e->a, I32, d, d);
    else
        bring(e, o->type, d, o->a);
    place_dst_done(e, o->d, o->type, d);
}

void emit_extend(struct emitter *e)
{
    const struct ir_op *o = e->op;
    int s = NOREG;
    if (ir_is_const(o->a))
        s = place_src(e, o->a, I64, RAX);
    struct rm m = s == NOREG ? place_rm(e, o->a) : rm_reg(s);
    int d = place_dst(e, o->d, o->a);
    enum ir_type t = o->type;
    bool sign = o->op == IR_SX8 || o->op == IR_SX16 || o->op == IR_SX32;
    if (t == I16)
        asm_byte(&e->a, 0x66);
    unsigned w = sign && t == I64 ? ASM_W : 0;
    if (o->op == IR_SX32)
        asm_insn(&e->a, 0, 0, 0x63, w, d, m); /* movsxd */
    else
        asm_insn(&e->a, 0, 1, (sign ? 0xbe : 0xb6) | (o->op == IR_ZX16 || o->op == IR_SX16),
                 w | (o->op == IR_ZX8 || o->op == IR_SX8 ? ASM_BYTE_RM : 0), d, m);
    place_dst_done(e, o->d, t, d);
}

void emit_pc(struct emitter *e)
{
    const struct ir_op *o = e->op;
    int d = place_dst(e, o->d, IR_NONE);
    asm_load(&e->a, I64, d, rm_cpu(offsetof(struct cpu, reg[IR_PCB])));
    rh_assert(fits32(o->imm), "a program counter lies near its block");
    if (o->imm)
        asm_lea(&e->a, I64, d, rm_mem(d, (int32_t)o->imm));
    place_dst_done(e, o->d, I64, d);
}

void emit_load_field(struct emitter *e)
{
    const struct ir_op *o = e->op;
    int d = place_dst(e, o->d, IR_NONE);
    asm_load(&e->a, o->type, d, rm_cpu((size_t)o->imm));
    place_dst_done(e, o->d, I64, d);
}

void emit_store_field(struct emitter *e)
{
    const struct ir_op *o = e->op;
    asm_store(&e->a, o->type, rm_cpu((size_t)o->imm), place_src(e, o->a, o->type, RAX));
}

void emit_load_live(struct emitter *e)
{
    const struct ir_op *o = e->op;
    int d = place_dst(e, o->d, IR_NONE);
    asm_mov_imm(&e->a, RAX, o->imm);
    if (o->type == I64)
        asm_load(&e->a, I64, d, rm_mem(RAX, 0));
    else if (o->type == I32)
        asm_insn(&e->a, 0, 0, 0x63, ASM_W, d, rm_mem(RAX, 0));
    else
        asm_insn(&e->a, 0, 1, o->type == I8 ? 0xbe : 0xbf, ASM_W, d, rm_mem(RAX, 0));
    place_dst_done(e, o->d, I64, d);
}

void emit_lea(struct emitter *e)
{
    const struct ir_op *o = e->op;
    int base = NOREG, index = NOREG;
    int64_t disp = o->imm;
    if (o->a != IR_NONE && ir_is_const(o->a))
        disp = (int64_t)((uint64_t)disp + (uint64_t)ir_const_value(e->b, o->a));
    else if (o->a != IR_NONE)
        base = place_src(e, o->a, I64, RAX);
    if (o->b != IR_NONE && ir_is_const(o->b))
        disp = (int64_t)((uint64_t)disp + ((uint64_t)ir_const_value(e->b, o->b) << o->sub));
    else if (o->b != IR_NONE)
        index = base == RAX ? place_src_kept(e, o->b, I64) : place_src(e, o->b, I64, RAX);
    if (o->type == I32)
        disp = (int32_t)disp;
    int work = place_early(e, o->a);
    if (base == NOREG && index == NOREG) {
        asm_mov_imm(&e->a, work, o->type == I32 ? (int64_t)(uint32_t)disp : disp);
    } else if (fits32(disp)) {
        if (base == NOREG && o->sub == 0) {
            base = index;
            index = NOREG;
        }
        asm_lea(&e->a, o->type, work, rm_index(base, index, index == NOREG ? 0 : o->sub, (int32_t)disp));
    } else { /* a displacement of 64 bits */
        int sum = base == RAX || index == RAX ? place_scratch(e) : RAX;
        asm_mov_imm(&e->a, sum, disp);
        if (index != NOREG)
            asm_lea(&e->a, I64, sum, rm_index(sum, index, o->sub, 0));
        if (base != NOREG)
            asm_lea(&e->a, I64, sum, rm_index(sum, base, 0, 0));
        asm_mov_rr(&e->a, I64, work, sum);
    }
    place_early_done(e, work);
}

void emit_cmov(struct emitter *e)
{
    const struct ir_op *o = e->op;
    unsigned cc = f_condition(e, o->sub);
    /* f_condition may have used rax: bring values only now; MOV and loads leave the flags alone. */
    int s = NOREG;
    if (ir_is_const(o->a)) {
        s = place_scratch(e);
        asm_mov_imm(&e->a, s, ir_const_value(e->b, o->a));
    }
    struct rm m = s == NOREG ? place_rm(e, o->a) : rm_reg(s);
    bool copied = o->type != I16 && place_reg_of(e, o->d) != NOREG;
    int d = place_dst(e, o->d, IR_NONE);
    if (place_unpinned(o->d) && !copied)
        asm_load(&e->a, I64, d, place_home(o->d));
    asm_insn(&e->a, o->type == I16 ? 0x66 : 0, 1, 0x40 | cc, o->type == I64 ? ASM_W : 0, d, m);
    place_dst_done(e, o->d, o->type == I16 ? I16 : I64, d);
}
