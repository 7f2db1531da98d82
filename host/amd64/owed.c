/* host/amd64/owed.c: F that only a fault may want.
 *
 * Between an op that defines F and the next that does, memory accesses often are all there is: F is wanted just in case
 * one of them faults.  Then it is not put into cpu.cc on the hot path; the cold stub of the access computes it anew from
 * the registers of the op that defined it (its maker), if they still hold what they held:
 *
 *     CMP a, b    TEST a, b       again
 *     AND OR XOR  d               test d, d
 *     ADD d, b    SUB d, b        undone and done again, in rax
 *
 * AF, undefined after the logic ops, is 0 after each of them on the host.  Nothing else is a maker: shifts lose bits, INC
 * and DEC keep a CF from before.
 *
 * Across links.  A block says what it makes of the F it finds (struct host_entry, from f_look_ahead), a jump in the page how
 * it has F; host_link_set picks:
 *
 *     F at the jump           the block overwrites it unseen     may show it in faults         wants it
 *     in cpu.cc               its entry                          its entry                     its entry
 *     in the host's flags     its entry (offset 0)               offset 0, where F is put away and the entry follows
 *     owed (it can be made)   its entry                          its entry, or as wanted (1)   a stub makes it, then offset 0
 *
 * (1) The jump has left the address of code that makes F in cpu.f_maker, which the cold stubs of those accesses call
 * (f_resolve).  That needs the maker's registers, so the entry is taken if none of them changes before the last of these
 * accesses.  Whoever puts F away sets f_maker to 0; where a block is entered with F in cpu.cc it is 0.
 */
#include "host/amd64/emit.h"

enum { LOOK_AHEAD = 24 };

/* In a host register or in its home, whoever asks. */
static bool general(ir_ref r)
{
    return r < 16;
}

static bool general_or_imm(const struct emitter *e, const struct ir_op *o, ir_ref r)
{
    return general(r) ||
           (ir_is_const(r) && fits32(sign_extend((uint64_t)ir_const_value(e->b, r), ir_bits((enum ir_type)o->type))));
}

static bool can_make(const struct emitter *e, const struct ir_op *o)
{
    switch (o->op) {
    case IR_CMP:
    case IR_TEST: return general(o->a) && general_or_imm(e, o, o->b);
    case IR_AND:
    case IR_OR:
    case IR_XOR: return general(o->d);
    case IR_ADD:
    case IR_SUB: return general(o->d) && o->d == o->a && o->b != o->d && general_or_imm(e, o, o->b);
    default: return false;
    }
}

static bool writes(const struct ir_op *o, ir_ref r)
{
    return ir_is_reg(r) && (o->d == r || o->e == r);
}

static bool spoils(const struct ir_op *o, const struct ir_op *maker)
{
    return writes(o, maker->d) || writes(o, maker->a) || writes(o, maker->b);
}

/* The op defines F, and nobody wants what was before. */
static bool ends_f(const struct ir_op *o)
{
    return o->setf && !(o->livef & ~ir_writes_f(o));
}

/* A plain RMW: F from before is wanted if its access faults, no longer afterwards. */
static bool plain_rmw(const struct ir_op *o)
{
    return o->op == IR_RMW && ends_f(o) &&
           (o->sub == IR_ADD || o->sub == IR_SUB || o->sub == IR_AND || o->sub == IR_OR || o->sub == IR_XOR);
}

/* A reader that has F made anew if need be. */
static bool makes_anew(const struct emitter *e, const struct ir_op *o)
{
    switch (o->op) {
    case IR_BRCC:
    case IR_GOTOCC:
    case IR_SETCC:
    case IR_CMOV: return true;
    case IR_GOTO: return !e->t->f_kept && !(o->imm & ~0xfffll);
    default: return false;
    }
}

/* Whether until F is defined or made anew only accesses want it, each while the maker's registers are as it left them. */
static bool only_faults_want(const struct emitter *e, const struct ir_op *maker)
{
    const struct ir_op *now = e->op, *end = e->b->op + e->b->nops;
    bool spoilt = false;
    if (end - maker > LOOK_AHEAD)
        end = maker + LOOK_AHEAD;
    for (const struct ir_op *o = maker + 1; o < end; o++) {
        if (o->op == IR_LABEL || o->op == IR_BRZ || o->op == IR_BRNZ)
            return false;
        if (o >= now && ir_reads_f(o) && (spoilt || !(ir_access_only(o) || plain_rmw(o))))
            return !spoilt && makes_anew(e, o);
        if (ends_f(o) || (o >= now && !o->livef))
            return true;
        if (o->setf) /* it keeps some flags from before */
            return false;
        spoilt |= spoils(o, maker);
    }
    return false;
}

uint32_t f_for_faults(struct emitter *e)
{
    const struct ir_op *maker = &e->b->op[e->f_maker];
    if (!e->f_mem && (e->f_owed || (e->f_host && can_make(e, maker) && only_faults_want(e, maker))))
        e->f_owed = true;
    else
        f_save(e);
    e->f_host = false;
    return e->f_owed ? e->f_maker + 1 : 0;
}

void f_make(struct emitter *e, struct asmbuf *a, unsigned maker, cpu_field *field)
{
    const struct ir_op *o = &e->b->op[maker];
    enum ir_type t = o->type;
    bool imm = ir_is_const(o->b), undone = o->op == IR_ADD || o->op == IR_SUB;
    int64_t v = imm ? sign_extend((uint64_t)ir_const_value(e->b, o->b), ir_bits(t)) : 0;
    ir_ref left = o->op == IR_CMP || o->op == IR_TEST ? o->a : o->d;
    struct rm b = !general(o->b)         ? rm_reg(RAX)
                  : place_unpinned(o->b) ? place_home_by(o->b, field)
                                         : rm_reg(host_pin[o->b]);
    int reg = host_pin[left];
    if (undone || place_unpinned(left)) {
        place_unpinned(left) ? asm_load(a, I64, RAX, place_home_by(left, field)) : asm_mov_rr(a, I64, RAX, reg);
        reg = RAX;
    }
    if (undone) {
        unsigned undo = alu_number(o->op == IR_ADD ? IR_SUB : IR_ADD), redo = alu_number(o->op);
        imm ? asm_alu_imm(a, t, undo, rm_reg(RAX), v) : asm_alu(a, t, undo, RAX, b);
        imm ? asm_alu_imm(a, t, redo, rm_reg(RAX), v) : asm_alu(a, t, redo, RAX, b);
    } else if (o->op == IR_CMP) {
        imm ? asm_alu_imm(a, t, 7, rm_reg(reg), v) : asm_alu(a, t, 7, reg, b);
    } else if (o->op == IR_TEST && imm) {
        asm_test_imm(a, t, rm_reg(reg), (int32_t)v);
    } else {
        asm_typed(a, t, 0, 0x85, reg, o->op == IR_TEST ? b : rm_reg(reg));
    }
}

void f_pay(struct emitter *e, uint32_t maker)
{
    struct rm rax = rm_cpu(offsetof(struct cpu, scratch[3]));
    asm_store(&e->cold, I64, rax, RAX);
    f_make(e, &e->cold, maker - 1, rm_cpu);
    fixed_copy(&e->cold, &e->t->save_f);
    asm_load(&e->cold, I64, RAX, rax);
}

/* ---- from block to block ------------------------------------------------------------------------------------------ */

/* Guest registers that ops from o to before end write. */
static uint16_t written(const struct ir_op *o, const struct ir_op *end)
{
    unsigned regs = 0;
    for (; o < end; o++)
        regs |= (unsigned)general(o->d) << (o->d & 15) | (unsigned)general(o->e) << (o->e & 15);
    return (uint16_t)regs;
}

void f_look_ahead(struct emitter *e)
{
    struct host_entry *n = &e->out->entry;
    const struct ir_op *end = e->b->op + e->b->nops, *last = NULL; /* the last access that may show F */
    bool wanted = false;
    if (e->t->f_kept)
        return;
    for (const struct ir_op *o = e->b->op; o < end && !wanted; o++) {
        if (o->op == IR_INSN)
            continue;
        if (ir_reads_f(o) | ir_effects(o)) {
            last = o;
            wanted = !ir_access_only(o) && !plain_rmw(o);
        }
        if (o->setf || !o->livef) {
            wanted |= o->setf && !ends_f(o);
            break;
        }
    }
    n->f_use = wanted ? HOST_F_WANTED : last ? HOST_F_FAULTS : HOST_F_UNSEEN;
    n->f_spoils = n->f_use == HOST_F_FAULTS ? written(e->b->op, last) : 0;
    e->f_entry = n->f_use == HOST_F_FAULTS;
    if (n->f_use != HOST_F_UNSEEN)
        fixed_copy(&e->a, &e->t->save_f);
    n->at = (uint8_t)asm_at(&e->a);
}

bool f_can_make(const struct emitter *e)
{
    const struct ir_op *maker = &e->b->op[e->f_maker];
    if (!can_make(e, maker))
        return false;
    for (const struct ir_op *o = maker + 1; o <= e->op; o++)
        if (spoils(o, maker))
            return false;
    return true;
}

uint16_t f_made_of(const struct emitter *e)
{
    const struct ir_op *o = &e->b->op[e->f_maker];
    unsigned regs = 0;
    const ir_ref of[3] = {o->d, o->a, o->b};
    for (unsigned i = 0; i < ARRAY_LEN(of); i++)
        if (general(of[i]))
            regs |= 1u << of[i];
    return (uint16_t)regs;
}

void f_emit_maker(struct emitter *e)
{
    if (!e->nowes)
        return;
    int64_t at = e->cold.p + e->cold.rx_delta - e->t->rx;
    f_make(e, &e->cold, e->f_maker, rm_gs);
    asm_byte(&e->cold, 0xc3);
    for (unsigned i = 0; i < e->nowes; i++)
        bytes_put(e->a.start + e->owes[i], (uint64_t)at, 4);
}
