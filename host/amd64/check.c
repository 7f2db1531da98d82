/* host/amd64/check.c: watches place.c: at every op, is each value where place.c believes it is?
 *
 * A model beside the emitter's own books, fed by what the emitter does (check.h) and by what the IR says, never by what
 * place.c believes.  Every write of a ref makes a new version of it; the model knows which version of which ref each
 * scratch register, slot and home holds.  Then
 *     a source is read from where its newest version is;
 *     a partial write starts from the newest version;
 *     what is stored to a slot is the newest version of that temp;
 *     no register is handed out that the op has locked, and what an op uses is locked;
 *     homes are current at every op's end, and not written before the op's last chance to fault, so C sees the truth;
 *     after every op each temp that lives on, and each copy, is where place.c says, in its newest version.
 * A helper may write every home, and a label may be reached from elsewhere: both make new versions of all registers.
 *
 * Not watched: pinned registers (they are their own place), rax, and whether the host instructions compute the right
 * thing (test_emit).  A broken rule prints the block up to the op and panics.  Only built into use by -DRHEA_VERIFY.
 */
#include "host/amd64/emit.h"

struct value {
    ir_ref r;
    uint32_t version; /* 0: none yet */
};

struct check {
    struct value reg[NSCRATCH], slot[NSLOTS];
    uint32_t home[IR_NREG];
    uint32_t *version, *last; /* by ref; last: index of the last op that mentions a temp */
    int dst[2], done[2];      /* of d and e: host register computed in, stored from; NOREG: not so far in this op */
};

static void rule(struct emitter *e, bool holds, const char *broken, ir_ref r, int reg)
{
    if (holds)
        return;
    struct ir_block upto = *e->b;
    upto.nops = e->index + 1;
    ir_print(stderr, &upto, NULL);
    char name[16] = "";
    if (r < IR_CONST0)
        snprintf(name, sizeof name, "%c%d", ir_is_temp(r) ? 't' : 'r', ir_is_temp(r) ? r - IR_TEMP0 : r);
    rh_panic(__FILE__, __LINE__, "op %u (%s): %s: %s, host register %d", e->index, ir_shapes[e->op->op].name, broken,
             name, reg);
}

static int scratch_of(int reg)
{
    return reg == R14 ? 0 : reg == R15 ? 1 : -1;
}

bool check_begin(struct emitter *e, struct arena *scratch)
{
    const struct ir_block *b = e->b;
    unsigned refs = IR_TEMP0 + b->ntemps;
    struct check *c = e->check = arena_room(scratch, sizeof *c);
    uint32_t *words = arena_room(scratch, 2 * refs * sizeof *words);
    if (!c || !words)
        return false;
    *c = (struct check){.version = words, .last = words + refs, .dst = {NOREG, NOREG}, .done = {NOREG, NOREG}};
    for (unsigned i = 0; i < refs; i++) {
        c->version[i] = i < IR_TEMP0;
        c->last[i] = 0;
    }
    for (unsigned i = 0; i < IR_NREG; i++)
        c->home[i] = 1;
    for (unsigned i = 0; i < b->nops; i++)
        for (unsigned n = 0; n < IR_FIELDS && b->op[i].op != IR_INSN; n++)
            if (ir_is_temp(ir_get(&b->op[i], n)))
                c->last[ir_get(&b->op[i], n)] = i;
    return true;
}

static bool newest(const struct check *c, struct value v, ir_ref r)
{
    return v.r == r && v.version == c->version[r];
}

static int slot_of(const struct emitter *e, ir_ref r)
{
    return e->slot[r - IR_TEMP0];
}

static bool in_memory(const struct emitter *e, ir_ref r)
{
    const struct check *c = e->check;
    if (ir_is_reg(r))
        return c->home[r] == c->version[r];
    int slot = slot_of(e, r);
    return slot >= 0 && newest(c, c->slot[slot], r);
}

static bool is_source(const struct ir_op *o, ir_ref r)
{
    return o->a == r || o->b == r || o->c == r;
}

static void see_read(struct emitter *e, ir_ref r, int reg)
{
    const struct check *c = e->check;
    int i = scratch_of(reg);
    if (i >= 0)
        rule(e, e->locked >> i & 1, "a register in use is locked", r, reg);
    if (!is_source(e->op, r) || !c->version[r]) /* its place is asked for to write there */
        return;
    if (i >= 0)
        rule(e, newest(c, c->reg[i], r), "a source is read from the register that holds it", r, reg);
    else
        rule(e, in_memory(e, r), "a source is read from the memory that holds it", r, reg);
}

/* Whether bits of r's old value stay in the new one, or may. */
static bool builds_on_old(const struct ir_op *o, unsigned field)
{
    return ir_write_bits(o, field) < 64 || ir_operands(o)[field] == 'X';
}

static unsigned field_of(const struct ir_op *o, ir_ref r)
{
    return r == o->d ? IR_D : IR_E;
}

static void see_dst(struct emitter *e, ir_ref r, int reg)
{
    struct check *c = e->check;
    unsigned field = field_of(e->op, r);
    int i = scratch_of(reg);
    rule(e, r == ir_get(e->op, field), "what is computed is a destination", r, reg);
    c->dst[field] = reg;
    if (i < 0)
        return;
    rule(e, e->locked >> i & 1, "a register in use is locked", r, reg);
    if (ir_is_temp(r) && c->version[r] && c->last[r] > e->index && builds_on_old(e->op, field))
        rule(e, newest(c, c->reg[i], r), "a temp written in part is there before", r, reg);
}

static bool written(const struct ir_op *o, unsigned field)
{
    ir_ref r = ir_get(o, field);
    char letter = ir_operands(o)[field];
    return (letter == 'R' || letter == 'X' || letter == 'D') && (ir_is_reg(r) || ir_is_temp(r));
}

/* The op has written r: from now on only the places it was written to hold it. */
static void new_version(struct emitter *e, unsigned field)
{
    struct check *c = e->check;
    ir_ref r = ir_get(e->op, field);
    struct value v = {r, ++c->version[r]};
    int reg = c->dst[field];
    if (ir_is_reg(r)) {
        bool direct = reg == NOREG || !place_unpinned(r);
        rule(e, direct || c->done[field] != NOREG, "an unpinned register is stored to its home", r, reg);
        c->home[r] = v.version;
        if (reg != c->done[field])
            return;
    } else if (reg == NOREG) { /* on the place it had, which the op has asked for */
        reg = e->reg[r];
        if (reg == NOREG && slot_of(e, r) >= 0)
            c->slot[slot_of(e, r)] = v;
    }
    if (scratch_of(reg) >= 0)
        c->reg[scratch_of(reg)] = v;
}

static void compare_places(struct emitter *e)
{
    const struct check *c = e->check;
    for (unsigned i = 0; i < NSCRATCH; i++)
        if (e->held[i] != IR_NONE)
            rule(e, newest(c, c->reg[i], e->held[i]), "a register holds what it is believed to", e->held[i],
                 i ? R15 : R14);
    for (unsigned n = 0; n < e->b->ntemps; n++) {
        ir_ref r = (ir_ref)(IR_TEMP0 + n);
        int reg = e->reg[r];
        if (!c->version[r] || c->last[r] <= e->index)
            continue;
        if (reg == NOREG || place_in_slot(e, r))
            rule(e, place_in_slot(e, r) && in_memory(e, r), "the slot of a temp that lives on holds it", r, reg);
        if (reg != NOREG)
            rule(e, newest(c, c->reg[scratch_of(reg)], r), "the register of a temp that lives on holds it", r, reg);
    }
}

static void see_end(struct emitter *e)
{
    struct check *c = e->check;
    for (unsigned r = 0; r < IR_NREG && (e->op->op == IR_CALL || e->op->op == IR_LABEL); r++)
        c->home[r] = ++c->version[r];
    for (unsigned field = IR_D; field <= IR_E; field++) {
        if (written(e->op, field))
            new_version(e, field);
        c->dst[field] = c->done[field] = NOREG;
    }
    compare_places(e);
}

void check_see(struct emitter *e, enum check_event what, ir_ref r, int reg)
{
    struct check *c = e->check;
    int i = scratch_of(reg);
    switch (what) {
    case CHECK_READ: see_read(e, r, reg); break;
    case CHECK_LOAD:
        rule(e, in_memory(e, r) || !c->version[r], "what is loaded is in memory", r, reg);
        c->reg[i] = (struct value){r, c->version[r]};
        break;
    case CHECK_SPILL:
        rule(e, newest(c, c->reg[i], r) || c->last[r] <= e->index, "what is spilled is the temp", r, reg);
        c->slot[slot_of(e, r)] = c->reg[i];
        break;
    case CHECK_TAKE:
        rule(e, !(e->locked >> i & 1), "a locked register is not handed out", r, reg);
        /* fall through */
    case CHECK_SPOIL:
        if (i >= 0)
            c->reg[i] = (struct value){IR_NONE, 0};
        break;
    case CHECK_DST: see_dst(e, r, reg); break;
    case CHECK_DONE: c->done[field_of(e->op, r)] = reg; break;
    case CHECK_FAULT:
        rule(e, c->done[0] == NOREG && c->done[1] == NOREG, "no home is written before the last fault", e->op->d, reg);
        break;
    case CHECK_END: see_end(e); break;
    }
}
