/* host/amd64/emit_alu.c: arithmetic, logic, shifts, multiplication, division, bit ops: one op, the host instruction
 * of that name. */
#include "host/amd64/emit.h"

/* /n of the 80..83 group and (n << 3 | 3) of the one-byte map. */
unsigned alu_number(unsigned op)
{
    switch (op) {
    case IR_ADD: return 0;
    case IR_OR: return 1;
    case IR_ADC: return 2;
    case IR_SBB: return 3;
    case IR_AND: return 4;
    case IR_SUB: return 5;
    case IR_XOR: return 6;
    default: return 7; /* CMP */
    }
}

/* reg = reg <op> r */
static void alu_apply(struct emitter *e, unsigned n, enum ir_type t, int reg, ir_ref r)
{
    if (ir_is_const(r)) {
        int64_t v = sign_extend((uint64_t)ir_const_value(e->b, r), ir_bits(t));
        if (fits32(v)) {
            asm_alu_imm(&e->a, t, n, rm_reg(reg), v);
            return;
        }
        int spare = reg == RAX ? place_scratch(e) : RAX;
        asm_mov_imm(&e->a, spare, v);
        asm_alu(&e->a, t, n, reg, rm_reg(spare));
        return;
    }
    asm_alu(&e->a, t, n, reg, place_rm(e, r));
}

void bring(struct emitter *e, enum ir_type t, int reg, ir_ref a)
{
    int ra = place_reg_of(e, a);
    if (ra != NOREG)
        asm_mov_rr(&e->a, t == I32 && ra == reg ? I64 : t, reg, ra);
    else if (ir_is_const(a) && t >= I32)
        asm_mov_imm(&e->a, reg, t == I32 ? (int64_t)(uint32_t)ir_const_value(e->b, a) : ir_const_value(e->b, a));
    else if (ir_is_const(a)) {
        asm_insn(&e->a, t == I16 ? 0x66 : 0, 0, t == I8 ? 0xc6 : 0xc7, ASM_BYTE_RM, 0, rm_reg(reg));
        asm_imm(&e->a, ir_const_value(e->b, a), t == I8 ? 1 : 2);
    } else if (t >= I32)
        asm_load(&e->a, t, reg, place_rm(e, a));
    else
        asm_typed(&e->a, t, 0, 0x8b, reg, place_rm(e, a)); /* merging load */
}

static bool same_place(struct emitter *e, int reg, ir_ref r)
{
    return place_reg_of(e, r) == reg;
}

static bool commutes(unsigned op)
{
    return op == IR_ADD || op == IR_OR || op == IR_AND || op == IR_XOR || op == IR_ADC || op == IR_MUL;
}

/* d = the address m, whose registers are locked; `from` may give d its register. */
static void lea_to(struct emitter *e, ir_ref from, struct rm m)
{
    const struct ir_op *o = e->op;
    int work = place_early(e, from);
    asm_lea(&e->a, o->type, work, m);
    place_early_done(e, work);
}

/* ADD and SUB that must leave F alone are LEA. */
static bool alu_as_lea(struct emitter *e)
{
    const struct ir_op *o = e->op;
    if (o->setf || o->type < I32 || (o->op != IR_ADD && o->op != IR_SUB))
        return false;
    ir_ref a = o->a, b = o->b;
    if (o->op == IR_ADD && ir_is_const(a)) {
        a = o->b;
        b = o->a;
    }
    int ra = place_reg_of(e, a);
    if (ra == NOREG)
        return false;
    if (ir_is_const(b)) {
        int64_t v = ir_const_value(e->b, b);
        if (o->type == I32)
            v = (int32_t)v;
        if (o->op == IR_SUB)
            v = (int64_t) - (uint64_t)v;
        if (!fits32(v))
            return false;
        lea_to(e, a, rm_mem(ra, (int32_t)v));
        return true;
    }
    int rb = place_reg_of(e, b);
    if (o->op == IR_SUB || rb == NOREG)
        return false;
    lea_to(e, a, rm_index(ra, rb, 0, 0));
    return true;
}

void emit_compare(struct emitter *e)
{
    const struct ir_op *o = e->op;
    f_define(e);
    if (o->op == IR_CMP) {
        if (ir_is_const(o->b) && !ir_is_const(o->a)) {
            int64_t v = sign_extend((uint64_t)ir_const_value(e->b, o->b), ir_bits(o->type));
            if (fits32(v)) {
                asm_alu_imm(&e->a, o->type, 7, place_rm(e, o->a), v);
                f_defined(e);
                return;
            }
        }
        int ra = place_src(e, o->a, o->type, RAX);
        alu_apply(e, 7, o->type, ra, o->b);
    } else {
        ir_ref a = o->a, b = o->b;
        if (ir_is_const(a)) {
            a = o->b;
            b = o->a;
        }
        int64_t v = ir_is_const(b) ? sign_extend((uint64_t)ir_const_value(e->b, b), ir_bits(o->type)) : 0;
        if (ir_is_const(b) && !ir_is_const(a) && fits32(v)) {
            asm_test_imm(&e->a, o->type, place_rm(e, a), (int32_t)v);
        } else {
            int ra = place_src(e, a, o->type, RAX);
            int rb = place_reg_of(e, b);
            if (rb == NOREG && ir_is_const(b)) {
                rb = ra == RAX ? place_scratch(e) : RAX;
                asm_mov_imm(&e->a, rb, ir_const_value(e->b, b));
            }
            if (rb != NOREG)
                asm_typed(&e->a, o->type, 0, 0x85, rb, rm_reg(ra));
            else
                asm_typed(&e->a, o->type, 0, 0x85, ra, place_rm(e, b));
        }
    }
    f_defined(e);
}

void emit_alu(struct emitter *e)
{
    const struct ir_op *o = e->op;
    if (alu_as_lea(e))
        return;
    e->locked = 0;
    f_define(e);
    ir_ref a = o->a, b = o->b;
    if (o->type < I32 && place_unpinned(o->d))
        place_forget(e, o->d);
    if (o->op != IR_MUL && place_unpinned(o->d) && a == o->d && o->type != I32 && place_reg_of(e, o->d) == NOREG) {
        struct rm m = place_home(o->d); /* straight on the home of an unpinned register */
        int rb = place_reg_of(e, b);
        int64_t v = ir_is_const(b) ? sign_extend((uint64_t)ir_const_value(e->b, b), ir_bits(o->type)) : 0;
        if (rb != NOREG || (ir_is_const(b) && fits32(v))) {
            if (rb != NOREG)
                asm_alu_to(&e->a, o->type, alu_number(o->op), m, rb);
            else
                asm_alu_imm(&e->a, o->type, alu_number(o->op), m, v);
            f_defined(e);
            return;
        }
    }
    int d = place_dst(e, o->d, a);
    if (b != a && d != RAX && same_place(e, d, b) && !same_place(e, d, a)) {
        if (commutes(o->op)) {
            a = o->b;
            b = o->a;
        } else {
            bring(e, o->type, RAX, a); /* d holds b: work in rax */
            asm_alu(&e->a, o->type, alu_number(o->op), RAX, rm_reg(d));
            asm_mov_rr(&e->a, o->type, d, RAX);
            place_dst_done(e, o->d, o->type, d);
            f_defined(e);
            return;
        }
    }
    if (o->op == IR_MUL && ir_is_const(a)) {
        a = o->b;
        b = o->a;
    }
    if (o->op == IR_MUL && ir_is_const(b) && !ir_is_const(a) &&
        fits32(sign_extend((uint64_t)ir_const_value(e->b, b), ir_bits(o->type)))) {
        int64_t v = sign_extend((uint64_t)ir_const_value(e->b, b), ir_bits(o->type));
        asm_typed(&e->a, o->type, 0, 0x69, d, place_rm(e, a));
        asm_imm(&e->a, v, o->type == I16 ? 2 : 4);
    } else {
        bring(e, o->type, d, a);
        if (o->op != IR_MUL)
            alu_apply(e, alu_number(o->op), o->type, d, b);
        else if (ir_is_const(b))
            asm_typed(&e->a, o->type, 1, 0xaf, d, rm_reg(place_src(e, b, o->type, d == RAX ? place_scratch(e) : RAX)));
        else
            asm_typed(&e->a, o->type, 1, 0xaf, d, place_rm(e, b));
    }
    place_dst_done(e, o->d, o->type, d);
    f_defined(e);
}

/* NOT NEG INC DEC and, by /n of the C0, D0, D2 groups, shifts. */
static void unary(struct emitter *e, unsigned opcode, unsigned n)
{
    const struct ir_op *o = e->op;
    f_define(e);
    int d = place_dst(e, o->d, o->a);
    bring(e, o->type, d, o->a);
    asm_typed(&e->a, o->type, 0, opcode, (int)n, rm_reg(d));
    place_dst_done(e, o->d, o->type, d);
    f_defined(e);
}

unsigned shift_number(unsigned op)
{
    switch (op) {
    case IR_ROL: return 0;
    case IR_ROR: return 1;
    case IR_RCL: return 2;
    case IR_RCR: return 3;
    case IR_SHL: return 4;
    case IR_SHR: return 5;
    default: return 7; /* SAR */
    }
}

/* The host instruction itself: shift or double shift of m; the count is in CL or a constant. */
static void shift_apply(struct emitter *e, unsigned op, enum ir_type t, struct rm m, ir_ref fill, ir_ref count)
{
    if (op == IR_SHLD || op == IR_SHRD) {
        unsigned opcode = op == IR_SHLD ? 0xa4 : 0xac;
        int rf = rm_is(m, RAX) ? place_src_kept(e, fill, t) : place_src(e, fill, t, RAX);
        asm_insn(&e->a, t == I16 ? 0x66 : 0, 1, ir_is_const(count) ? opcode : opcode + 1, t == I64 ? ASM_W : 0, rf, m);
        if (ir_is_const(count))
            asm_byte(&e->a, (unsigned)ir_const_value(e->b, count) & 0xff);
    } else if (ir_is_const(count)) {
        asm_shift_imm(&e->a, t, shift_number(op), m, (unsigned)ir_const_value(e->b, count) & 0xff);
    } else {
        asm_typed(&e->a, t, 0, 0xd3, (int)shift_number(op), m);
    }
}

/* A count in another place than CL: put it there around the shift, which then runs on rax.  Nothing here can fault. */
static void shift_by_any(struct emitter *e, ir_ref fill, ir_ref count)
{
    const struct ir_op *o = e->op;
    struct rm keep = rm_cpu(offsetof(struct cpu, scratch[3]));
    bring(e, o->type, RAX, o->a);
    e->locked = 0; /* a is in rax now */
    int rf = fill == IR_NONE ? NOREG : place_src_kept(e, fill, o->type);
    asm_store(&e->a, I64, keep, RCX);
    if (rf == RCX) {
        rf = place_scratch(e);
        asm_mov_rr(&e->a, I64, rf, RCX);
    }
    if (place_reg_of(e, count) != NOREG)
        asm_mov_rr(&e->a, I64, RCX, place_reg_of(e, count));
    else
        asm_load(&e->a, I64, RCX, place_rm(e, count));
    if (fill != IR_NONE)
        asm_insn(&e->a, o->type == I16 ? 0x66 : 0, 1, o->op == IR_SHLD ? 0xa5 : 0xad, o->type == I64 ? ASM_W : 0, rf,
                 rm_reg(RAX));
    else
        asm_typed(&e->a, o->type, 0, 0xd3, (int)shift_number(o->op), rm_reg(RAX));
    asm_load(&e->a, I64, RCX, keep);
    e->locked = 0;
    int d = place_dst(e, o->d, IR_NONE);
    asm_mov_rr(&e->a, o->type, d, RAX);
    place_dst_done(e, o->d, o->type, d);
}

void emit_shift(struct emitter *e)
{
    const struct ir_op *o = e->op;
    bool twice = o->op == IR_SHLD || o->op == IR_SHRD;
    ir_ref fill = twice ? o->b : IR_NONE, count = twice ? o->c : o->b;
    f_define(e);
    if (!ir_is_const(count) && place_reg_of(e, count) != RCX) {
        shift_by_any(e, fill, count);
        f_defined(e);
        return;
    }
    int d = place_dst(e, o->d, o->a);
    bool awkward = (d == RCX && !ir_is_const(count) && !same_place(e, d, o->a)) ||
                   (twice && fill != o->a && same_place(e, d, fill));
    int work = awkward ? RAX : d;
    bring(e, o->type, work, o->a);
    shift_apply(e, o->op, o->type, rm_reg(work), fill, count);
    if (work != d)
        asm_mov_rr(&e->a, o->type, d, work);
    place_dst_done(e, o->d, o->type, d);
    f_defined(e);
}

/* The dividend's high half into rdx.  16 bits leave the rest of rdx alone, which may be a guest register that is
 * about to get the remainder. */
static void bring_high(struct emitter *e, enum ir_type t, ir_ref b)
{
    enum ir_type move = t == I16 ? I16 : I64;
    if (ir_is_const(b) && t == I16) { /* mov dx, imm16 */
        asm_byte(&e->a, 0x66);
        asm_byte(&e->a, 0xba);
        asm_imm(&e->a, ir_const_value(e->b, b), 2);
    } else if (ir_is_const(b)) {
        asm_mov_imm(&e->a, RDX, ir_const_value(e->b, b));
    } else if (place_reg_of(e, b) != NOREG) {
        asm_mov_rr(&e->a, move, RDX, place_reg_of(e, b));
    } else {
        asm_typed(&e->a, move, 0, 0x8b, RDX, place_rm(e, b));
    }
}

/* MUL and DIV work on rax and rdx.  rdx is the pinned register of an IR register: keep it around the instruction
 * unless it is a destination. */
void emit_mul_div(struct emitter *e)
{
    const struct ir_op *o = e->op;
    bool divide = o->op == IR_UDIV || o->op == IR_SDIV;
    unsigned n = o->op == IR_UMUL ? 4 : o->op == IR_SMUL ? 5 : o->op == IR_UDIV ? 6 : 7;
    ir_ref source = divide ? o->c : o->b;
    f_define(e);
    bool wide = o->type != I8;
    bool e_is_rdx = ir_is_reg(o->e) && host_pin[o->e] == RDX;
    bool b_is_rdx = divide && ir_is_reg(o->b) && host_pin[o->b] == RDX;
    bool keep_rdx = wide && !(e_is_rdx && (!divide || b_is_rdx));
    struct rm m;
    if (ir_is_const(source) || (keep_rdx && place_reg_of(e, source) == RDX)) {
        int reg = place_scratch(e);
        if (ir_is_const(source))
            asm_mov_imm(&e->a, reg, ir_const_value(e->b, source));
        else
            asm_mov_rr(&e->a, I64, reg, RDX);
        m = rm_reg(reg);
    } else {
        m = place_rm(e, source);
    }
    if (keep_rdx)
        asm_store(&e->a, I64, rm_cpu(offsetof(struct cpu, scratch[3])), RDX);
    enum ir_type at = divide && !wide ? I16 : o->type;
    if (ir_is_const(o->a))
        asm_mov_imm(&e->a, RAX, ir_const_value(e->b, o->a));
    else if (place_reg_of(e, o->a) != NOREG)
        asm_mov_rr(&e->a, at < I32 ? I64 : at, RAX, place_reg_of(e, o->a));
    else
        asm_load(&e->a, at, RAX, place_rm(e, o->a));
    if (divide && wide && !b_is_rdx)
        bring_high(e, o->type, o->b);
    if (divide)
        fault_divide_here(e, keep_rdx);
    asm_typed(&e->a, o->type, 0, 0xf7, (int)n, m);
    e->locked = 0; /* sources are read: their registers are free for d and e */
    enum ir_type rt = wide ? o->type : I16;
    ir_ref d = o->d, high = wide ? o->e : IR_NONE;
    if (keep_rdx && high != IR_NONE && high != d) { /* the high half to its place, by way of cpu if that is memory */
        if (place_unpinned(high)) {
            place_forget(e, high);
            asm_store(&e->a, rt == I32 ? I64 : rt, place_home(high), RDX);
        } else {
            asm_mov_rr(&e->a, rt, place_dst(e, high, IR_NONE), RDX);
        }
    }
    if (keep_rdx && !e_is_rdx)
        asm_load(&e->a, I64, RDX, rm_cpu(offsetof(struct cpu, scratch[3])));
    int rd = place_dst(e, d, IR_NONE);
    if (rd != RAX)
        asm_mov_rr(&e->a, rt, rd, RAX);
    place_dst_done(e, d, rt, rd);
    f_defined(e);
}

/* VEX.LZ.0F38 F5 /r on registers: PDEP F2, PEXT F3. */
static void put_deposit(struct asmbuf *a, bool extract, enum ir_type t, int d, int source, int mask)
{
    asm_byte(a, 0xc4);
    asm_byte(a, (d < 8 ? 0x80u : 0) | 0x40 | (mask < 8 ? 0x20u : 0) | 2);
    asm_byte(a, (t == I64 ? 0x80u : 0) | (~(unsigned)source & 15) << 3 | (extract ? 2 : 3));
    asm_byte(a, 0xf5);
    asm_byte(a, 0xc0 | ((unsigned)d & 7) << 3 | ((unsigned)mask & 7));
}

/* d = op(a, b): CRC32 continues in place, so that it works in rax where b may be in d. */
void emit_two_sources(struct emitter *e)
{
    const struct ir_op *o = e->op;
    int mask = place_src_kept(e, o->b, o->type);
    if (o->op == IR_CRC32) {
        bring(e, I32, RAX, o->a);
        if (o->type == I16)
            asm_byte(&e->a, 0x66);
        asm_insn(&e->a, 0xf2, 2, o->type == I8 ? 0xf0 : 0xf1,
                 o->type == I64  ? ASM_W
                 : o->type == I8 ? ASM_BYTE_RM
                                 : 0,
                 RAX, rm_reg(mask));
    } else {
        put_deposit(&e->a, o->op == IR_PEXT, o->type, RAX, place_src(e, o->a, o->type, RAX), mask);
    }
    e->locked = 0;
    int d = place_dst(e, o->d, IR_NONE);
    if (d != RAX)
        asm_mov_rr(&e->a, I64, d, RAX);
    place_dst_done(e, o->d, I64, d);
}

void emit_bits(struct emitter *e)
{
    const struct ir_op *o = e->op;
    f_define(e);
    switch (o->op) {
    case IR_BT:
    case IR_BTS:
    case IR_BTR:
    case IR_BTC: {
        unsigned n = o->op == IR_BT ? 4 : o->op == IR_BTS ? 5 : o->op == IR_BTR ? 6 : 7;
        int d = RAX;
        if (o->op == IR_BT) {
            d = place_src(e, o->a, o->type, RAX);
        } else {
            d = place_dst(e, o->d, o->a);
            if (o->b != o->a && same_place(e, d, o->b) && !same_place(e, d, o->a))
                d = RAX;
            bring(e, o->type, d, o->a);
        }
        if (ir_is_const(o->b)) {
            asm_typed(&e->a, o->type, 1, 0xba, (int)n, rm_reg(d));
            asm_byte(&e->a, (unsigned)ir_const_value(e->b, o->b) & 0xff);
        } else {
            int rb = d == RAX ? place_src_kept(e, o->b, o->type) : place_src(e, o->b, o->type, RAX);
            asm_typed(&e->a, o->type, 1, 0x83 | n << 3, rb, rm_reg(d));
        }
        if (o->op != IR_BT) {
            int home = place_dst(e, o->d, IR_NONE);
            if (home != d)
                asm_mov_rr(&e->a, o->type, home, d);
            place_dst_done(e, o->d, o->type, home);
        }
        break;
    }
    case IR_BSWAP: {
        int d = place_dst(e, o->d, o->a);
        bring(e, o->type, d, o->a);
        if (o->type == I64 || d >= 8)
            asm_byte(&e->a, 0x40 | (o->type == I64 ? 8 : 0) | (d >= 8 ? 1 : 0));
        asm_byte(&e->a, 0x0f);
        asm_byte(&e->a, 0xc8 | (d & 7));
        place_dst_done(e, o->d, o->type, d);
        break;
    }
    default: { /* d = count of a */
        unsigned prefix = o->op == IR_TZCNT || o->op == IR_LZCNT || o->op == IR_POPCNT ? 0xf3 : 0;
        unsigned opcode = o->op == IR_BSF || o->op == IR_TZCNT ? 0xbc : o->op == IR_POPCNT ? 0xb8 : 0xbd;
        bool keeps = o->op == IR_BSF || o->op == IR_BSR; /* d is an input: brought along when a = 0 */
        int s = place_src_kept(e, o->a, o->type);
        int had = place_reg_of(e, o->d); /* a copy may be elsewhere: it is a source, too */
        int d = place_dst(e, o->d, IR_NONE);
        if (keeps && place_unpinned(o->d) && had != d)
            asm_load(&e->a, I64, d, place_home(o->d));
        if (o->type == I16)
            asm_byte(&e->a, 0x66);
        asm_insn(&e->a, prefix, 1, opcode, o->type == I64 ? ASM_W : 0, d, rm_reg(s));
        place_dst_done(e, o->d, keeps ? I64 : o->type, d);
        break;
    }
    }
    f_defined(e);
}

void emit_setcc(struct emitter *e)
{
    const struct ir_op *o = e->op;
    unsigned c = f_condition(e, o->sub);
    place_forget(e, o->d);
    struct rm m = ir_is_reg(o->d) ? place_rm(e, o->d) : rm_reg(place_dst(e, o->d, IR_NONE));
    asm_insn(&e->a, 0, 1, 0x90 | c, ASM_BYTE_RM, 0, m);
}

void emit_getf(struct emitter *e)
{
    const struct ir_op *o = e->op;
    size_t cc = offsetof(struct cpu, cc);
    f_save(e);
    e->f_host = false;
    int d = place_dst(e, o->d, IR_NONE);
    int low = d == RAX ? place_scratch(e) : RAX;
    asm_load(&e->a, I8, d, rm_cpu(cc));
    asm_shift_imm(&e->a, I32, 4, rm_reg(d), 11);
    asm_load(&e->a, I8, low, rm_cpu(cc + 1));
    asm_alu_imm(&e->a, I32, 4, rm_reg(low), 0xd5);
    asm_alu(&e->a, I32, 1, d, rm_reg(low));
    place_dst_done(e, o->d, I64, d);
}

/* rax = o->a, which SETF reads twice. */
static void bring_flags(struct emitter *e)
{
    ir_ref a = e->op->a;
    if (ir_is_const(a))
        asm_mov_imm(&e->a, RAX, ir_const_value(e->b, a));
    else if (place_reg_of(e, a) != NOREG)
        asm_mov_rr(&e->a, I64, RAX, place_reg_of(e, a));
    else
        asm_load(&e->a, I64, RAX, place_rm(e, a));
}

void emit_setf(struct emitter *e)
{
    const struct ir_op *o = e->op;
    size_t cc = offsetof(struct cpu, cc);
    uint32_t mask = (uint32_t)o->imm & CPU_ARITH;
    if (!o->setf)
        return;
    if (mask != CPU_ARITH && (e->f_host || e->f_owed))
        f_save(e);
    e->f_host = false;
    asm_insn(&e->a, 0, 0, 0xc7, 0, 0, rm_cpu(offsetof(struct cpu, f_maker)));
    asm_imm(&e->a, 0, 4);
    int work = place_scratch(e);
    if (mask & 0xd5) {
        bring_flags(e);
        asm_alu_imm(&e->a, I32, 4, rm_reg(RAX), (int64_t)(mask & 0xd5));
        if ((mask & 0xd5) != 0xd5) {
            asm_load(&e->a, I8, work, rm_cpu(cc + 1));
            asm_alu_imm(&e->a, I32, 4, rm_reg(work), (int64_t)(0xd5 & ~mask));
            asm_alu(&e->a, I32, 1, RAX, rm_reg(work));
        }
        asm_alu_imm(&e->a, I32, 1, rm_reg(RAX), 2);
        asm_store(&e->a, I8, rm_cpu(cc + 1), RAX);
    }
    if (mask & 0x800) {
        bring_flags(e);
        asm_shift_imm(&e->a, I32, 5, rm_reg(RAX), 11);
        asm_alu_imm(&e->a, I32, 4, rm_reg(RAX), 1);
        asm_store(&e->a, I8, rm_cpu(cc), RAX);
    }
    e->f_mem = true;
    e->f_owed = false;
}

void emit_carry(struct emitter *e)
{
    f_define(e);
    asm_byte(&e->a, e->op->op == IR_STC ? 0xf9 : e->op->op == IR_CLC ? 0xf8 : 0xf5);
    f_defined(e);
}

void emit_unary(struct emitter *e)
{
    switch (e->op->op) {
    case IR_NOT: unary(e, 0xf7, 2); break;
    case IR_NEG: unary(e, 0xf7, 3); break;
    case IR_INC: unary(e, 0xff, 0); break;
    default: unary(e, 0xff, 1); /* DEC */
    }
}
