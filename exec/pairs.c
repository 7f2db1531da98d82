/* exec/pairs.c: which blocks are hot, and which of their accesses try a remembered table entry before the table.
 *
 * struct cpu has CPU_PAIRS of (page, entry).  Half of them are for supervisor code, half for user code, so a system
 * call forgets none; of each half, half are for reads and half for writes:
 *
 *     user | write | slot       slot: 0..15 accesses by way of that guest register, 16..31 others, by address of the insn
 *
 * A hit saves a few cycles, and takes the table out of the way from an address to its data.  A miss costs a mispredicted
 * branch and a thunk.  So it must be known that an insn is run often, and mostly on the page it was on before:
 *
 *   - Where the guest is when it is kicked (by its own timer, as a rule) is a sample.  A block met is hot, and so are the
 *     few it leads to by links, all of them when it is met again: they are dropped, to be translated again with pairs.
 *     Accesses by way of the stack pointer have them always.
 *   - A hot block counts how often it runs (cpu.executed), the thunk counts misses by place.  Every BUDGET misses it calls
 *     pairs_worn: if more than one run in HITS_A_MISS missed, the insn is marked, and its block translated again without.  A
 *     block that is not hot becomes so then (a kernel that leaves by way of another stack misses there each time).
 *
 * Rules to know before editing
 *   - A pair is a hint: any access may have any, or none.  The sets here may forget or mix up what they like.
 */
#include <string.h>

#include "exec/exec.h"

enum { BUDGET = 32, HITS_A_MISS = 24, REACH = 24, NEAR_REACH = 4, SLOT_NEAR = 4 };

/* ---- sets of guest-physical addresses -------------------------------------------------------------------------- */

static unsigned hash(gpa_t gpa)
{
    return (unsigned)((gpa ^ gpa >> 16 ^ gpa >> 32) & 0xffff);
}

static bool marked(const struct pair_marks *m, gpa_t gpa)
{
    unsigned n = hash(gpa);
    return __atomic_load_n(&m->bits[n / 64], __ATOMIC_RELAXED) >> n % 64 & 1;
}

/* Returns whether it was there already.  Of two who do this at once one may be forgotten. */
static bool mark(struct pair_marks *m, gpa_t gpa)
{
    unsigned n = hash(gpa);
    uint64_t *word = &m->bits[n / 64], bits = __atomic_load_n(word, __ATOMIC_RELAXED), bit = 1ull << n % 64;
    if (bits & bit)
        return true;
    __atomic_store_n(word, bits | bit, __ATOMIC_RELAXED);
    unsigned now = __atomic_load_n(&m->n, __ATOMIC_RELAXED) + 1;
    __atomic_store_n(&m->n, now, __ATOMIC_RELAXED);
    if (now > 1 << 14) { /* too many say nothing */
        __atomic_store_n(&m->n, 0, __ATOMIC_RELAXED);
        for (unsigned i = 0; i < ARRAY_LEN(m->bits); i++)
            __atomic_store_n(&m->bits[i], 0, __ATOMIC_RELAXED);
    }
    return false;
}

bool pairs_hot(const struct exec *e, gpa_t gpa)
{
    return !e->config.off[EXEC_PAIRS] && (e->config.off[EXEC_HEAT] || marked(&e->hot, gpa));
}

/* ---- translating ------------------------------------------------------------------------------------------------ */

/* Does o look an address up, or does another do that for it? */
static bool has_lookup(const struct ir_op *o)
{
    return ir_effects(o) & (IRE_READS | IRE_WRITES) && (!o->share || o->flags & IR_FIRST);
}

/* Accesses of a hot block, all of them but those that are known to wear theirs out. */
static void assign_hot(struct exec *e, struct ir_block *b, unsigned half, gpa_t gpa)
{
    ir_ref base[256]; /* by temp modulo its size: the register its address comes from */
    unsigned other = 0;
    bool skip = false;
    memset(base, 0xff, sizeof base);
    for (struct ir_op *o = b->op; o < b->op + b->nops; o++) {
        if (o->op == IR_INSN) {
            gpa_t at = (gpa & ~0xfffull) + (uint64_t)o->imm;
            other = (unsigned)(at ^ at >> 4) & 15;
            skip = marked(&e->worn, at);
        }
        if (ir_is_temp(o->d))
            base[o->d % ARRAY_LEN(base)] = o->op != IR_LEA   ? IR_NONE
                                           : ir_is_reg(o->a) ? o->a
                                           : ir_is_reg(o->b) ? o->b
                                                             : IR_NONE;
        if (skip || !has_lookup(o))
            continue;
        b->counter = 1 + hash(gpa) % CPU_COUNTERS;
        ir_ref r = ir_is_temp(o->a) ? base[o->a % ARRAY_LEN(base)] : o->a;
        unsigned slot = o->flags & IR_NEAR ? SLOT_NEAR : r < 16 ? r : 16 + other;
        bool write = o->share ? b->share[o->share - 1].write : ir_effects(o) & IRE_WRITES || o->flags & IR_NEAR;
        o->pair = (uint8_t)(1 + half + (write ? CPU_PAIRS / 4 : 0) + slot);
    }
}

static bool shows_f(const struct exec *e, gpa_t gpa, int64_t target)
{
    return !(target & ~0xfffll) && marked(&e->f_shown, (gpa & ~0xfffull) | (uint64_t)target);
}

/* What is known of the blocks that a hot one jumps to on its page. */
static void look_ahead(struct exec *e, struct ir_block *b, gpa_t gpa)
{
    for (unsigned i = 0; i < b->nops; i++) {
        const struct ir_op *o = &b->op[i];
        if (o->op == IR_GOTO)
            b->f_shown[o->sub] = shows_f(e, gpa, o->imm);
        if (o->op == IR_GOTOCC) {
            b->f_shown[0] = shows_f(e, gpa, o->disp);
            b->f_shown[1] = shows_f(e, gpa, o->imm);
        }
    }
}

void pairs_assign(struct exec *e, struct ir_block *b, uint32_t mode, gpa_t gpa)
{
    unsigned half = (mode & MODE_CPL) == 3 ? CPU_PAIRS / 2 : 0;
    if (!pairs_hot(e, gpa)) {
        b->near_pair = (uint8_t)(1 + half + CPU_PAIRS / 4 + SLOT_NEAR);
        return;
    }
    assign_hot(e, b, half, gpa);
    look_ahead(e, b, gpa);
}

void pairs_note(struct exec *e, gpa_t gpa, const struct host_entry *entry)
{
    if (entry->f_use == HOST_F_FAULTS)
        mark(&e->f_shown, gpa);
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

void pairs_sample(struct vcpu *v)
{
    struct exec *e = v->exec;
    gva_t pc = v->x86.cpu.pc;
    struct block *reach[REACH];
    if (e->config.off[EXEC_PAIRS] || e->config.interp || e->config.single || !x86_table_whole(pc))
        return;
    uint64_t entry = *tlb_entry(v->x86.cpu.tab_x, pc);
    struct block *b = entry ? code_lookup(e->code, (entry - 1) << 12 | (pc & 0xfff), v->x86.mode) : NULL;
    if (!b)
        return;
    unsigned n = code_reach(e->code, b, reach, mark(&e->warm, b->gpa) ? REACH : NEAR_REACH);
    for (unsigned i = 0; i < n; i++)
        if (!mark(&e->hot, reach[i]->gpa))
            code_drop(e->code, reach[i]);
}

void pairs_worn(struct cpu *c, const void *hpc)
{
    struct vcpu *v = (struct vcpu *)c;
    struct exec *e = v->exec;
    struct block *b = code_find_host(e->code, hpc);
    unsigned place = (uint32_t)(uintptr_t)hpc >> 3 & (CPU_PAIR_BUDGETS - 1);
    c->pair_budget[place] = BUDGET;
    if (!b || e->config.off[EXEC_PAIRS])
        return;
    if (!pairs_hot(e, b->gpa)) { /* by way of the stack pointer: begin to count its runs */
        mark(&e->hot, b->gpa);
        code_drop(e->code, b);
        return;
    }
    uint32_t now = c->counter[hash(b->gpa) % CPU_COUNTERS], before = v->worn_at[place];
    v->worn_at[place] = now;
    if (!before || now - before > BUDGET * HITS_A_MISS)
        return;
    mark(&e->worn, (b->gpa & ~0xfffull) + c->insn_off);
    code_drop(e->code, b);
    c->pc = cpu_insn_pc(c);
    host_leave(c, LEAVE_AGAIN);
}
