/* exec/translate.c: the whole pipe on one page: guest bytes to a block in the code cache.
 *
 *     find the page (X table or page walk) -> look the block up -> else:
 *     mark the page -> lift -> passes -> reserve -> emit -> commit
 *
 * The page is marked as holding code, and every W table entry for it dropped, before its bytes are read: from then on
 * each store to it is seen by code/, so a block made from bytes that changed meanwhile is refused by code_commit and
 * made again.
 *
 * Code that does not lie in RAM (ROM, devices), and insns that must run alone (cpu.one_insn: single steps, stores
 * into their own block), are translated one insn at a time into room that is reserved but never committed.
 */
#include <string.h>

#include "exec/exec.h"

/* Where the bytes of a translation come from. */
struct fetch {
    struct vcpu *v;
    gva_t pc;
    gpa_t gpa, gpa2;
    const uint8_t *page;    /* host address of the first page, NULL: not memory */
    uint64_t index, index2; /* pages of RAM; UINT64_MAX: ROM, or none */
    uint32_t seen[2];
    uint8_t copy[32]; /* bytes of a device page, for one insn */
};

/* The table entry for code on pc's page, walked if need be; 0: the fault is raised by the caller from *w. */
static uint64_t exec_entry(struct vcpu *v, gva_t pc, struct x86_walk *w)
{
    struct x86 *x = &v->x86;
    uint64_t *entry = tlb_entry(x->cpu.tab_x, pc);
    if (*entry && x86_table_whole(pc))
        return *entry;
    v->count[COUNT_FETCH_WALKS]++;
    bool user = x86_cpl(x) == 3;
    if (!x86_walk(x, pc, WALK_FETCH | (user ? WALK_USER : 0), w))
        return 0;
    uint64_t value = (w->gpa >> 12) + 1;
    if (x86_table_whole(pc))
        x86_fill_code(x, pc, value, w->fill);
    return value;
}

/* Stores straight to a page with code are not seen by who translates from it: no more of them. */
static void unchart(struct vcpu *v, uint64_t index)
{
    struct exec *e = v->exec;
    world_stop(v);
    code_unchart(e->code, index);
    for (unsigned i = 0; i < e->nvcpus; i++)
        for (unsigned n = 0; n < CPU_DIRECT; n++)
            e->vcpu[i]->x86.cpu.direct_page[n] = CPU_NO_PAGE;
    world_start(v);
}

/* Mark a RAM page before its bytes are read.  A page that is not marked yet is marked, and every W table entry for it
 * dropped, with the other vCPUs standing outside: whoever sees the mark may rely on the drop. */
static uint32_t mark_page(struct vcpu *v, uint64_t index)
{
    struct exec *e = v->exec;
    for (;;) {
        bool fresh, hit, marked = __atomic_load_n(&e->ram->flags[index], __ATOMIC_SEQ_CST) & RAM_CODE;
        if (!marked)
            world_stop(v);
        uint32_t seen = code_page_begin(e->code, index, &fresh);
        if (fresh && marked) /* it lost its mark a moment ago: begin again, alone */
            world_stop(v);
        for (unsigned i = 0; fresh && i < e->nvcpus; i++)
            tlb_drop_writes(e->vcpu[i]->x86.tlb, e->ram, e->ram->host + index * 4096);
        if (fresh && marked) /* refuse what others made of it since */
            code_write(e->code, index, 0, 4096, NULL, &hit);
        if (fresh || !marked)
            world_start(v);
        if (e->nvcpus > 1 && code_charted(e->code, index))
            unchart(v, index);
        else if (!fresh || !marked)
            return seen;
    }
}

static const uint8_t *next_page(void *arg)
{
    struct fetch *f = arg;
    struct x86_walk w;
    gva_t second = (f->pc & ~0xfffull) + 0x1000;
    if (!(f->v->x86.mode & MODE_64))
        second = (uint32_t)second;
    uint64_t entry = exec_entry(f->v, second, &w);
    if (!entry)
        return NULL;
    f->gpa2 = (entry - 1) << 12;
    const uint8_t *host = bus_host(f->v->x86.mem, f->gpa2, 4096, false);
    if (!host)
        return NULL;
    f->index2 = ram_page_of_host(f->v->exec->ram, host);
    if (f->index2 != UINT64_MAX)
        f->seen[1] = mark_page(f->v, f->index2);
    return host;
}

/* Bytes that were found to be no operand. */
static void refuse_live(struct vcpu *v, const struct fetch *f, const struct x86_live *live, bool second)
{
    struct code *c = v->exec->code;
    v->count[COUNT_LIVE] += live->partly_to ? 0 : live->operands; /* they will be: see make_block */
    v->count[COUNT_NOT_LIVE] += live->refused;
    if (live->refused)
        code_not_live(c, f->index, live->refused_from, live->refused_to - live->refused_from);
    if (second && code_live(c, f->index))
        code_not_live(c, f->index, (unsigned)(f->pc & 0xfff), 0x1000 - (unsigned)(f->pc & 0xfff));
    if (second && code_live(c, f->index2))
        code_not_live(c, f->index2, 0, 16);
}

static void trace_ir(struct exec *e, const char *what, const struct ir_block *b)
{
    log_print(e->log, "%s:\n", what);
    ir_print(e->log->out, b, x86_helper_name);
    log_print(e->log, "\n");
}

static unsigned passes_without(const struct exec *e, gpa_t gpa)
{
    const struct exec_config *c = &e->config;
    return (pairs_hot(e, gpa) ? 0 : OPT_NO_FOLD) | (c->off[EXEC_PASSES] ? OPT_NO_CHANGES : 0) |
           (c->off[EXEC_FLAGS] ? OPT_ALL_FLAGS : 0) | (c->off[EXEC_SHARES] ? OPT_NO_SHARES : 0);
}

static bool lift(struct vcpu *v, struct ir_block *b, gpa_t gpa, const struct x86_source *src, unsigned max, bool one,
                 bool *second, enum x86_lift_result *result)
{
    struct exec *e = v->exec;
    exec_spend(v, SPENT_LIFT);
    if (!ir_block_init(b, &v->arena, max * 24 + 64))
        return false;
    *result = x86_lift_block(b, v->x86.mode, x86_model_features(v->x86.model), v->has_generic ? v->generic : NULL,
                             (int64_t)(gpa & 0xfff), src, max, one, second);
    if (*result != X86_LIFT_OK || b->full)
        return false;
    if (log_on(e->log, LOG_OP))
        trace_ir(e, "OP", b);
#ifdef RHEA_VERIFY
    struct status bad = {""};
    rh_assert(ir_verify(b, &bad), "lifted IR is valid: %s", bad.text);
#endif
    exec_spend(v, SPENT_PASSES);
    opt_run(b, passes_without(e, gpa), NULL);
#ifdef RHEA_VERIFY
    rh_assert(ir_verify(b, &bad), "IR is valid after the passes: %s", bad.text);
#endif
    if (log_on(e->log, LOG_OP_OPT))
        trace_ir(e, "OP after the passes", b);
    return true;
}

/* A block that runs into a second page makes sure, each time it is entered, that it still is that page. */
static void expect_second(struct ir_block *b, gpa_t gpa2)
{
    for (unsigned i = 0; i < b->nops; i++)
        if (b->op[i].op == IR_XPAGE)
            b->op[i].imm = (int64_t)(gpa2 >> 12) + 1;
}

static void fill_block(struct block *b, const struct ir_block *ir, const struct host_code *hc,
                       const struct host_span *s)
{
    b->guest_size = (uint16_t)ir->guest_size;
    b->ninsns = (uint16_t)ir->ninsns;
    b->host_size = (uint16_t)s->used;
    b->cold_size = (uint16_t)s->cold_used;
    b->nfaults = (uint16_t)hc->nfaults;
    b->entry = hc->entry.at;
    b->f_use = hc->entry.f_use;
    b->f_spoils = hc->entry.f_spoils;
    for (unsigned i = 0; i < 2; i++) {
        const struct host_jump *j = &hc->jump[i];
        b->link[i] = (struct link){.jump_at = (uint16_t)j->jump_at,
                                   .miss_at = (uint16_t)j->miss_at,
                                   .guard_at = (uint16_t)j->guard_at,
                                   .stub_at = (uint16_t)j->stub_at, /* cross: 0, as it has led to no page */
                                   .f_regs = j->f_regs,
                                   .f = j->f & 3,
                                   .present = j->present,
                                   .cross = j->cross,
                                   .second = i == 1};
    }
}

static void log_block(struct vcpu *v, const struct fetch *f, const struct x86_source *src, const struct ir_block *ir,
                      const struct host_span *s)
{
    struct exec *e = v->exec;
    int bits = v->x86.mode & MODE_64 ? 64 : v->x86.mode & MODE_CS32 ? 32 : 16;
    if (!e->disassemble || !log_wants_pc(e->log, f->pc))
        return;
    if (log_on(e->log, LOG_IN_ASM)) {
        log_print(e->log, "IN: 0x%llx\n", (unsigned long long)f->pc);
        unsigned n = ir->guest_size < src->nbytes ? ir->guest_size : src->nbytes;
        e->disassemble(e->disassemble_arg, e->log->out, src->bytes, n, f->pc, bits);
        log_print(e->log, "\n");
    }
    if (log_on(e->log, LOG_OUT_ASM)) {
        log_print(e->log, "OUT: %zu bytes\n", s->used);
        e->disassemble(e->disassemble_arg, e->log->out, s->rw, s->used, (uint64_t)(uintptr_t)(s->rw + s->rx_delta), 64);
        log_print(e->log, "COLD: %zu bytes\n", s->cold_used);
        e->disassemble(e->disassemble_arg, e->log->out, s->cold, s->cold_used,
                       (uint64_t)(uintptr_t)(s->cold + s->rx_delta), 64);
        log_print(e->log, "\n");
    }
}

/* Of the blocks that v runs: see interp.c. */
static uint32_t block_mode(const struct vcpu *v)
{
    return v->x86.mode | (v->exec->config.interp ? EXEC_IR : 0);
}

/* Room for a block of `need` bytes; false: a shorter one is needed. */
static bool reserve(struct vcpu *v, size_t need, const struct ir_block *ir, struct code_span *span)
{
    if (need > (250u << 10) && ir->ninsns > 1)
        return false;
    code_reserve(v->exec->code, &v->writer, need, span);
    return true;
}

/* The block's host code. */
static bool emit(struct vcpu *v, const struct ir_block *ir, struct code_span *span, struct host_span *hs,
                 struct host_code *hc)
{
    struct exec *e = v->exec;
    size_t code = (size_t)ir->nops * 224 + 4096, faults = (2 * ir->nops + 1) * sizeof(struct host_fault);
    if (!reserve(v, code + faults, ir, span))
        return false;
    *hs = (struct host_span){
        .rw = span->rw, .cold = span->cold, .rx_delta = code_rx_delta(e->code), .size = code, .cold_size = code};
    v->translating = ir;
    bool emitted = host_emit(&e->thunks, ir, hs, &v->arena, hc);
    v->translating = NULL;
    if (!emitted)
        code_abort(e->code, span);
    return emitted;
}

/* What is kept behind it: the fault table; for the interpreter, which has no host code, the IR itself. */
static void keep(struct vcpu *v, const struct ir_block *ir, struct code_span *span, const struct host_code *hc)
{
    if (v->exec->config.interp)
        exec_ir_keep(code_aux(span, exec_ir_size(ir)), ir);
    else if (hc->nfaults)
        memcpy(code_aux(span, hc->nfaults * sizeof *hc->fault), hc->fault, hc->nfaults * sizeof *hc->fault);
}

enum made { MADE, MADE_FETCH_FAULT, MADE_AGAIN, MADE_SMALLER, MADE_ALONE };

/* One attempt at a block of at most `max` insns. */
static enum made make_block(struct vcpu *v, struct fetch *f, unsigned max, bool alone, struct block **out)
{
    struct exec *e = v->exec;
    arena_reset(&v->arena);
    f->gpa2 = ~0ull;
    f->index2 = UINT64_MAX;
    exec_spend(v, SPENT_MARK);
    if (!alone)
        f->seen[0] = mark_page(v, f->index);
    unsigned off = (unsigned)(f->pc & 0xfff);
    struct x86_live live = {.bits = alone ? NULL : code_live(e->code, f->index)};
    struct x86_source src = {f->page ? f->page + off : f->copy, 0x1000 - off, next_page, f, f->pc, NULL};
    if (live.bits)
        src.live = &live;
    if (!f->page && src.nbytes > 16)
        src.nbytes = 16;
    struct ir_block ir;
    bool second = false;
    enum x86_lift_result lifted = X86_LIFT_FULL;
    if (!lift(v, &ir, f->gpa, &src, max, alone, &second, &lifted))
        return lifted == X86_LIFT_FETCH ? MADE_FETCH_FAULT : MADE_SMALLER;
    if (second && f->index2 == UINT64_MAX && !alone)
        return MADE_ALONE; /* from RAM into ROM: nothing would tell of changes */
    if (second)
        expect_second(&ir, f->gpa2);
    if (!alone)
        refuse_live(v, f, &live, second);
    if (live.partly_to) {
        code_all_live(e->code, f->index, live.partly_from, live.partly_to - live.partly_from);
        return MADE_AGAIN;
    }
    pairs_assign(e, &ir, v->x86.mode, f->gpa);
    struct code_span span;
    struct host_span hs = {.used = 0};
    struct host_code hc = {.nfaults = 0};
    exec_spend(v, SPENT_EMIT);
    if (!(e->config.interp ? reserve(v, exec_ir_size(&ir), &ir, &span) : emit(v, &ir, &span, &hs, &hc)))
        return MADE_SMALLER;
    pairs_note(e, f->gpa, &hc.entry);
    exec_spend(v, SPENT_PUBLISH);
    log_block(v, f, &src, &ir, &hs);
    struct block *b = span.block;
    fill_block(b, &ir, &hc, &hs);
    b->gpa = f->gpa;
    b->mode = block_mode(v);
    b->two_pages = second && !alone;
    span.gpa2 = f->gpa2;
    keep(v, &ir, &span, &hc);
    v->count[COUNT_TRANSLATIONS]++;
    v->count[COUNT_TRANS_INSNS] += ir.ninsns;
    v->count[COUNT_TRANS_BYTES] += ir.guest_size;
    v->count[COUNT_TRANS_HOST] += hs.used + hs.cold_used;
    if (alone) {
        v->alone = *b;
        *out = b = &v->alone;
        code_abort(e->code, &span); /* nothing else of this vCPU is emitted until it has run */
        return MADE;
    }
    const uint64_t page[2] = {f->index, second ? f->index2 : UINT64_MAX};
    *out = code_commit(e->code, &span, page, f->seen);
    if (e->made && *out)
        e->made(e->made_arg, *out, f->pc);
    return *out ? MADE : MADE_AGAIN;
}

static struct block *translate(struct vcpu *v, struct fetch *f, bool alone, bool *fault)
{
    unsigned max = alone ? 1 : v->exec->config.insns_max;
    uint64_t began = v->stats ? os_nanoseconds() : 0;
    struct block *b = NULL;
    for (;;) {
        enum made made = make_block(v, f, max, alone, &b);
        if (made == MADE)
            break;
        if (made == MADE_FETCH_FAULT) {
            *fault = true;
            return NULL;
        }
        v->count[COUNT_TRANS_AGAIN]++;
        if (made == MADE_ALONE) {
            alone = true;
            max = 1;
        }
        if (made == MADE_SMALLER) {
            rh_assert(max > 1, "one insn at 0x%llx fits a block", (unsigned long long)f->pc);
            max /= 2;
        }
    }
    if (v->stats)
        v->count[COUNT_TRANS_NS] += os_nanoseconds() - began;
    return b;
}

/* Does a block that runs over its page's end still lie where pc's pages do? */
static bool second_page_agrees(struct vcpu *v, const struct block *b, gva_t pc)
{
    struct x86_walk w;
    gva_t second = (pc & ~0xfffull) + 0x1000;
    uint64_t entry = exec_entry(v, v->x86.mode & MODE_64 ? second : (uint32_t)second, &w);
    return entry && (entry - 1) << 12 == block_second(b)->gpa;
}

/* Runs guarded: raises what fetching at v->x86.cpu.pc raises. */
static void raise_fetch(struct cpu *c)
{
    struct x86 *x = (struct x86 *)c;
    struct x86_walk w;
    unsigned access = WALK_FETCH | (x86_cpl(x) == 3 ? WALK_USER : 0);
    gva_t pc = c->pc, second = (pc & ~0xfffull) + 0x1000;
    c->reg[IR_PCB] = pc & ~0xfffull;
    c->insn_off = (uint32_t)(pc & 0xfff);
    if (!x86_canonical(x, pc))
        x86_raise_error(x, EX_GP, 0);
    if (!x86_walk(x, pc, access, &w))
        x86_raise_pf(x, pc, w.error);
    second = x->mode & MODE_64 ? second : (uint32_t)second;
    if (!x86_canonical(x, second))
        x86_raise_error(x, EX_GP, 0);
    if (!x86_walk(x, second, access, &w))
        x86_raise_pf(x, second, w.error);
    x86_raise_error(x, EX_GP, 0); /* an insn that runs from memory into a device */
}

struct block *exec_block(struct vcpu *v, gva_t pc, bool *fault)
{
    struct x86 *x = &v->x86;
    struct x86_walk w;
    bool alone = x->cpu.one_insn;
    *fault = false;
    v->count[COUNT_LOOKUPS]++;
    exec_spend(v, SPENT_LOOKUP);
    uint64_t entry = x86_canonical(x, pc) ? exec_entry(v, pc, &w) : 0;
    if (entry) {
        struct fetch f = {.v = v, .pc = pc, .gpa = ((entry - 1) << 12) | (pc & 0xfff)};
        f.page = bus_host(x->mem, f.gpa & ~0xfffull, 4096, false);
        f.index = f.page ? ram_page_of_host(x->ram, f.page) : UINT64_MAX;
        if (f.index == UINT64_MAX || alone) {
            if (!f.page)
                for (unsigned i = 0; i < 16 && (f.gpa & 0xfff) + i < 4096; i++)
                    f.copy[i] = (uint8_t)bus_read(x->mem, f.gpa + i, 1);
            v->count[COUNT_ALONE]++;
            struct block *b = translate(v, &f, true, fault);
            if (b)
                return b;
        } else {
            struct block *b = code_lookup(v->exec->code, f.gpa, block_mode(v));
            bool stale = b && b->two_pages && !second_page_agrees(v, b, pc);
            if (b && !stale)
                return b;
            if (!b && (b = code_wake(v->exec->code, f.gpa, block_mode(v), f.index)))
                return b;
            v->count[COUNT_LOOKUP_MISSES]++;
            b = translate(v, &f, stale,
                          fault); /* its second page is another one now: that one stays, this runs alone */
            if (b)
                return b;
        }
    }
    *fault = true;
    host_guard(&v->exec->thunks, &x->cpu, raise_fetch);
    return NULL;
}
