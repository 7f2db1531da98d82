/* host/amd64/place.c: where values live: pinned registers, temps in r14 and r15, spill slots; copies of unpinned
 * registers.
 *
 * Allocation happens in the one forward walk that also emits.  A temp gets a scratch register when it is written;
 * when both are needed by others it moves to a slot on the host stack and is used from there, or loaded again.
 * `last` (from one walk over the block) tells when it dies.
 *
 * An unpinned IR register lives in struct cpu, always up to date (a fault may show it), but a scratch register that
 * is not needed for a temp keeps a copy of what was last read from or written to it.  Copies are dropped freely; all
 * of them where C may have changed the original, and at labels.
 */
#include "host/amd64/emit.h"

#include <string.h>

const int8_t host_pin[IR_NREG] = {
    R12,   RCX,   RDX,   RBX,   R13,   RBP,   RSI,   RDI,   NOREG, NOREG, NOREG, NOREG, R8,    R9,    R10,   R11,
    NOREG, NOREG, NOREG, NOREG, NOREG, NOREG, NOREG, NOREG, NOREG, NOREG, NOREG, NOREG, NOREG, NOREG, NOREG, NOREG,
};

const char *host_reg_home(unsigned guest_reg)
{
    static const char *const name[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                         "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    return guest_reg < IR_NREG && host_pin[guest_reg] != NOREG ? name[host_pin[guest_reg]] : "memory";
}

static int scratch_reg(unsigned i)
{
    return i == 0 ? R14 : R15;
}

static int scratch_index(int reg)
{
    return reg - R14;
}

static int8_t *slot_of(struct emitter *e, ir_ref r)
{
    return &e->slot[r - IR_TEMP0];
}

static struct rm slot_rm(int slot)
{
    return rm_cpu(offsetof(struct cpu, slot) + (unsigned)slot * 8u);
}

bool place_in_slot(const struct emitter *e, ir_ref r)
{
    int slot = e->slot[r - IR_TEMP0];
    return slot >= 0 && e->current >> slot & 1;
}

/* Its slot, if it has one, holds what r was before. */
static void outdate_slot(struct emitter *e, ir_ref r)
{
    int slot = *slot_of(e, r);
    if (slot >= 0)
        e->current &= ~(1ull << slot);
}

/* Scratch register i holds r, IR_NONE: nothing, and no longer what it held. */
static void hold(struct emitter *e, int i, ir_ref r)
{
    if (e->held[i] != IR_NONE)
        e->reg[e->held[i]] = NOREG;
    e->held[i] = r;
    if (r != IR_NONE)
        e->reg[r] = (int8_t)scratch_reg((unsigned)i);
}

bool place_init(struct emitter *e, struct arena *scratch)
{
    const struct ir_block *b = e->b;
    uint16_t *last = e->last = arena_room(scratch, (IR_NONE + 1) * sizeof *e->last + IR_TEMP0 + 2 * b->ntemps);
    if (!last || b->nops > UINT16_MAX)
        return false;
    e->reg = (int8_t *)(last + IR_NONE + 1);
    e->slot = e->reg + IR_TEMP0 + b->ntemps;
    memcpy(e->reg, host_pin, IR_NREG);
    memset(e->reg + IR_NREG, NOREG, IR_TEMP0 - IR_NREG + 2 * b->ntemps); /* nor slots */
    for (unsigned i = 0; b->ntemps && i < b->nops; i++) {
        const struct ir_op *o = &b->op[i];
        last[o->d] = last[o->e] = last[o->a] = last[o->b] = last[o->c] = (uint16_t)i;
    }
    for (unsigned i = 0; i < NSCRATCH; i++)
        e->held[i] = IR_NONE;
    return check_start(e, scratch);
}

void place_op_end(struct emitter *e)
{
    e->locked = 0;
    for (unsigned i = 0; e->b->ntemps && i < NSCRATCH; i++) { /* without a branch, which would be hard to predict */
        ir_ref r = e->held[i];
        e->held[i] = ir_is_temp(r) & (e->last[r] <= e->index) ? IR_NONE : r;
    }
    for (unsigned n = 0; n < IR_FIELDS && e->slots; n++) {
        ir_ref r = ir_get(e->op, n);
        if (!ir_is_temp(r) || e->last[r] > e->index)
            continue;
        int8_t *slot = slot_of(e, r);
        if (*slot >= 0)
            e->slots &= ~(1ull << *slot);
        *slot = -1;
    }
    check(e, CHECK_END, IR_NONE, NOREG);
}

static void spill(struct emitter *e, ir_ref r)
{
    int8_t *slot = slot_of(e, r);
    if (place_in_slot(e, r))
        return;
    if (*slot < 0) {
        *slot = (int8_t)__builtin_ctzll(~e->slots | 1ull << 63);
        rh_assert(*slot < NSLOTS, "a block never has %d temps alive at once", NSLOTS);
        e->slots |= 1ull << *slot;
    }
    asm_store(&e->a, I64, slot_rm(*slot), e->reg[r]);
    check(e, CHECK_SPILL, r, e->reg[r]);
    e->current |= 1ull << *slot;
}

void place_gone(struct emitter *e, ir_ref r)
{
    int reg = e->reg[r];
    if (reg == NOREG)
        return;
    if (e->last[r] > e->index)
        spill(e, r);
    hold(e, scratch_index(reg), IR_NONE);
    e->reg[r] = NOREG;
}

static bool op_mentions_source(const struct ir_op *o, ir_ref r)
{
    return o->a == r || o->b == r || o->c == r;
}

static bool op_mentions(const struct ir_op *o, ir_ref r)
{
    return o->d == r || o->e == r || o->a == r || o->b == r || o->c == r;
}

/* A scratch register to take over: a free one; else a copy this op does not mention, any copy, a temp it does not
 * mention, any temp.  -1: all locked. */
static int pick_scratch(const struct emitter *e)
{
    int pick = -1, best = 5;
    for (int i = 0; i < NSCRATCH && best; i++) {
        ir_ref r = e->held[i];
        int cost = r == IR_NONE ? 0 : (ir_is_temp(r) ? 3 : 1) + op_mentions(e->op, r);
        if (!(e->locked >> i & 1) && cost < best) {
            pick = i;
            best = cost;
        }
    }
    return pick;
}

static int take_scratch(struct emitter *e, int pick)
{
    ir_ref r = e->held[pick];
    if (ir_is_temp(r))
        spill(e, r);
    hold(e, pick, IR_NONE);
    check(e, CHECK_TAKE, IR_NONE, scratch_reg((unsigned)pick));
    e->locked |= 1u << pick;
    return scratch_reg((unsigned)pick);
}

int place_scratch(struct emitter *e)
{
    int pick = pick_scratch(e);
    rh_assert(pick >= 0, "an op needs at most two scratch registers (%s)", ir_shapes[e->op->op].name);
    return take_scratch(e, pick);
}

void place_forget(struct emitter *e, ir_ref r)
{
    if (place_unpinned(r) && e->reg[r] != NOREG)
        hold(e, scratch_index(e->reg[r]), IR_NONE);
}

void place_forget_all(struct emitter *e)
{
    for (int i = 0; i < NSCRATCH; i++)
        if (ir_is_reg(e->held[i]))
            hold(e, i, IR_NONE);
}

struct rm place_home_by(ir_ref r, cpu_field *field)
{
    return field(offsetof(struct cpu, reg) + r * 8u);
}

struct rm place_home(ir_ref r)
{
    return place_home_by(r, rm_cpu);
}

struct rm place_rm(struct emitter *e, ir_ref r)
{
    int reg = place_reg_of(e, r);
    if (reg != NOREG)
        return rm_reg(reg);
    check(e, CHECK_READ, r, NOREG);
    if (ir_is_reg(r))
        return place_home(r);
    rh_assert(ir_is_temp(r) && *slot_of(e, r) >= 0, "operand of %s has a place", ir_shapes[e->op->op].name);
    return slot_rm(*slot_of(e, r));
}

int place_src(struct emitter *e, ir_ref r, enum ir_type t, int spare)
{
    int reg = place_reg_of(e, r);
    if (reg != NOREG)
        return reg;
    if (ir_is_const(r))
        asm_mov_imm(&e->a, spare, ir_const_value(e->b, r));
    else
        asm_load(&e->a, t, spare, place_rm(e, r));
    return spare;
}

int place_src_kept(struct emitter *e, ir_ref r, enum ir_type t)
{
    int reg = place_reg_of(e, r);
    if (reg != NOREG)
        return reg;
    int spare = place_scratch(e);
    if (ir_is_const(r))
        return place_src(e, r, t, spare);
    asm_load(&e->a, I64, spare, place_rm(e, r)); /* whole: it may live on in this register */
    check(e, CHECK_LOAD, r, spare);
    hold(e, scratch_index(spare), r);
    return spare;
}

static bool can_dst(const struct emitter *e, ir_ref d, ir_ref from)
{
    return ir_is_reg(d) || e->reg[d] != NOREG || e->locked != (1u << NSCRATCH) - 1 ||
           (from != d && place_dies(e, from) && e->reg[from] != NOREG);
}

/* Where to compute an unpinned register: in its copy, in a register that becomes its copy, or in rax.  A part of it is
 * written in a copy of all of it, which is then stored whole: a load of more than was stored last would have to wait. */
static int dst_unpinned(struct emitter *e, ir_ref d)
{
    bool part = ir_write_bits(e->op, d == e->op->d ? IR_D : IR_E) < 64;
    int reg = place_reg_of(e, d);
    if (reg != NOREG)
        return reg;
    int pick = pick_scratch(e);
    if (pick < 0 || ir_is_temp(e->held[pick]))
        return RAX;
    reg = take_scratch(e, pick);
    if (part || op_mentions_source(e->op, d)) {
        asm_load(&e->a, I64, reg, place_home(d));
        check(e, CHECK_LOAD, d, reg);
    }
    hold(e, pick, d);
    return reg;
}

/* Of what d held before, o keeps a part, or reads it. */
static bool keeps_some(const struct ir_op *o, ir_ref d)
{
    unsigned field = d == o->d ? IR_D : IR_E;
    return ir_write_bits(o, field) < 64 || ir_operands(o)[field] == 'X' || op_mentions_source(o, d);
}

static int dst_temp(struct emitter *e, ir_ref d, ir_ref from)
{
    bool in_slot = place_in_slot(e, d);
    outdate_slot(e, d);
    bool reload = in_slot && keeps_some(e->op, d);
    if (e->reg[d] == NOREG && !reload && from != d && place_dies(e, from) && e->reg[from] != NOREG) {
        e->held[scratch_index(e->reg[from])] = d; /* both names are good until this op ends */
        e->reg[d] = e->reg[from];
    }
    int reg = e->reg[d];
    if (reg != NOREG) {
        e->locked |= 1u << scratch_index(reg);
        return reg;
    }
    reg = place_scratch(e);
    if (reload) {
        asm_load(&e->a, I64, reg, slot_rm(*slot_of(e, d)));
        check(e, CHECK_LOAD, d, reg);
    }
    hold(e, scratch_index(reg), d);
    return reg;
}

int place_dst_in_memory(struct emitter *e, ir_ref d, ir_ref from)
{
    int reg = ir_is_temp(d) ? dst_temp(e, d, from) : dst_unpinned(e, d);
    check(e, CHECK_DST, d, reg);
    return reg;
}

void place_home_done(struct emitter *e, ir_ref d, enum ir_type t, int reg)
{
    for (unsigned i = 0; i < NSCRATCH; i++) {
        if (e->held[i] != d)
            continue;
        if (scratch_reg(i) == reg)
            t = I64; /* all of it */
        else
            hold(e, (int)i, IR_NONE); /* a copy of what it was before */
    }
    asm_store(&e->a, t == I32 ? I64 : t, place_home(d), reg);
    check(e, CHECK_DONE, d, reg);
}

int place_early(struct emitter *e, ir_ref from)
{
    ir_ref d = e->op->d;
    return can_dst(e, d, from) ? place_dst(e, d, from) : RAX;
}

void place_early_done(struct emitter *e, int work)
{
    const struct ir_op *o = e->op;
    if (work != RAX && !place_unpinned(o->d))
        return;
    e->locked = 0;
    int d = place_dst(e, o->d, IR_NONE);
    if (d != work)
        asm_mov_rr(&e->a, I64, d, work);
    place_dst_done(e, o->d, o->type, d);
}
