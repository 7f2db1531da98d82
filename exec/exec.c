/* exec/exec.c: making and giving back what the run time consists of; how code/ reaches the host back end; counters'
 * names and print. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "exec/exec.h"

#define CODE_SIZE_DEFAULT ((size_t)256 << 20)
#define CODE_SIZE_A_VCPU  ((size_t)4 << 20)
#define CODE_SIZE_LEAST   ((size_t)2 << 20) /* a vCPU: two regions, one to fill and one to evict */
enum { ARENA_SIZE = 4 << 20 };

/* ---- hooks
 * ------------------------------------------------------------------------------------------------------------ */

static void link_set(void *arg, struct link *l, const struct block *to)
{
    const struct exec *e = arg;
    struct host_jump j = {.present = true,
                          .cross = l->cross,
                          .jump_at = l->jump_at,
                          .cold_at = link_from(l)->cold_at,
                          .miss_at = l->miss_at,
                          .guard_at = l->guard_at,
                          .stub_at = l->cross ? 0 : l->stub_at,
                          .f = l->f,
                          .f_regs = l->cross ? 0 : l->f_regs};
    struct host_entry entry = {0, 0, 0};
    if (to)
        entry = (struct host_entry){to->entry, to->f_use, to->f_spoils};
    host_link_set(code_rw(e->code, link_from(l)), code_rx_delta(e->code), &j, to ? to->rx : NULL, &entry,
                  to ? (uint32_t)(to->gpa >> 12) + 1 : 0);
}

/* Let b's entries in a table of v's jump cache lead nowhere. */
static void forget_entries(struct cpu *c, unsigned table, const struct block *b)
{
    for (unsigned n = 0; n < 2 * CPU_JC_WAYS; n++) {
        struct cpu_jc *e = cpu_jc_at(c->jc_table[table], cpu_jc_way(b->gpa & 0xfff, n / 2));
        e += n & 1;
        if (__atomic_load_n(&e->hpc, __ATOMIC_RELAXED) == block_entry(b))
            __atomic_store_n(&e->hpc, c->jc_none, __ATOMIC_RELEASE);
    }
}

/* A block dies: no jump cache may lead to it. */
static void dropped(void *arg, const struct block *b)
{
    struct exec *e = arg;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* see after_lookup (loop.c) */
    unsigned tables = __atomic_load_n(&b->remembered, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < e->nvcpus && tables; i++)
        for (unsigned n = 0; n < CPU_JC_TABLES; n++)
            if (tables >> n & 1)
                forget_entries(&e->vcpu[i]->x86.cpu, n, b);
}

/* The block whose code holds hpc, those that run alone included. */
static struct block *block_at(const struct exec *e, const void *hpc)
{
    struct block *b = code_find_host(e->code, hpc);
    for (unsigned i = 0; i < e->nvcpus && !b; i++) {
        struct block *alone = &e->vcpu[i]->alone;
        if (alone->rx && block_holds(alone, hpc))
            b = alone;
    }
    return b;
}

struct link *exec_link_of(struct vcpu *v, const void *after)
{
    const void *hpc = (const uint8_t *)after - 1; /* the stub's call may be the block's last instruction */
    struct block *b = block_at(v->exec, hpc);
    if (!b)
        return NULL;
    uint32_t at = (uint32_t)((const uint8_t *)hpc - block_cold(b));
    struct link *l = &b->link[0], *m = &b->link[1];
    if (l->present && m->present) /* stubs follow each other: the last that begins before hpc */
        return (m->miss_at < at) && (l->miss_at >= at || m->miss_at > l->miss_at) ? m : l;
    return m->present ? m : l;
}

static void stop_others(void *arg, struct code_writer *w)
{
    (void)arg;
    world_stop(CONTAINER_OF(w, struct vcpu, writer));
}

static void start_others(void *arg, struct code_writer *w)
{
    struct exec *e = arg;
    if (e->nvcpus > 1)
        os_code_changed();
    world_start(CONTAINER_OF(w, struct vcpu, writer));
}

static const struct host_fault *find_fault(void *arg, const void *hpc, const uint8_t **cold)
{
    const struct block *b = block_at(arg, hpc);
    if (!b)
        return NULL;
    uint32_t at = (uint32_t)((const uint8_t *)hpc - b->rx);
    const struct host_fault *fault = block_aux(b);
    *cold = block_cold(b);
    if (at >= b->host_size)
        at = (uint32_t)((const uint8_t *)hpc - *cold) | HOST_FAULT_COLD;
    for (unsigned low = 0, high = b->nfaults; low < high;) {
        unsigned mid = (low + high) / 2;
        if (fault[mid].at == at)
            return &fault[mid];
        if (fault[mid].at < at)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* ---- set-up
 * ----------------------------------------------------------------------------------------------------------- */

/* 0: what was asked for is too little. */
static size_t code_size_for(const struct exec_config *c)
{
    size_t vcpus = c->vcpus ? c->vcpus : 1, all = vcpus * CODE_SIZE_A_VCPU;
    if (c->code_size)
        return c->code_size < vcpus * CODE_SIZE_LEAST ? 0 : c->code_size;
    return all > CODE_SIZE_DEFAULT ? all : CODE_SIZE_DEFAULT;
}

bool exec_init(struct exec *e, const struct exec_config *c, struct bus *mem, struct bus *io, struct ram *ram,
               struct log *log, struct status *st)
{
    *e = (struct exec){.config = *c, .mem = mem, .io = io, .ram = ram, .log = log, .access = &exec_access};
    pthread_mutex_init(&e->world, NULL);
    pthread_cond_init(&e->world_changed, NULL);
    if (!e->config.insns_max)
        e->config.insns_max = BLOCK_INSNS_MAX;
    if (!host_supported(st))
        return false;
    struct code_hooks hooks = {.arg = e,
                               .named = c->named,
                               .link_set = link_set,
                               .dropped = dropped,
                               .stop_others = stop_others,
                               .start_others = start_others,
                               .ram = c->vcpus > 1 || c->off[EXEC_WAKE] ? NULL : ram->host,
                               .live_operands = !c->off[EXEC_LIVE]};
    size_t size = code_size_for(c);
    if (!size)
        return status_set(st, "%zu MB of code memory is too little for %u processors: give tb-size=%zu or more",
                          c->code_size >> 20, c->vcpus, c->vcpus * CODE_SIZE_LEAST >> 20);
    if (!code_init(&e->code, size, ram->size >> 12, ram->flags, &hooks, st))
        return false;
    struct host_span s = {.rx_delta = code_rx_delta(e->code)};
    s.rw = code_fixed(e->code, &s.size);
    struct host_calls calls = c->stats ? exec_stats_calls() : *exec_host_calls();
    rh_assert(host_thunks_emit(&e->thunks, &s, &calls, tlb_two_levels(e->config.vcpus)), "thunks fit their page");
    e->thunks.f_kept = e->config.off[EXEC_OWED];
    e->faults = (struct host_faults){&e->thunks, find_fault, e};
    return host_faults_init(&e->faults, st);
}

void exec_fini(struct exec *e)
{
    if (e->code)
        code_fini(e->code);
    e->code = NULL;
    pthread_mutex_destroy(&e->world);
    pthread_cond_destroy(&e->world_changed);
}

/* Which insns run in C. */
static void find_units(struct vcpu *v)
{
    const struct exec_config *config = &v->exec->config;
    unsigned host = host_vec_bytes();
    if (config->vec_bytes && config->vec_bytes < host)
        host = config->vec_bytes;
    if (config->off[EXEC_UNITS])
        host = 16;
    v->x86.vec_host = (uint8_t)host;
    v->has_generic = x86_model_generic(v->x86.model, host, v->generic);
    if (config->off[EXEC_UNITS]) {
        v->generic[0] |= 1;
        v->has_generic = true;
    }
}

bool vcpu_new(struct vcpu **out, struct exec *e, unsigned index, unsigned nvcpus, const struct x86_model *model,
              struct status *st)
{
    struct vcpu *v = aligned_alloc(64, (sizeof *v + 63) & ~63ul);
    if (!v)
        return status_set(st, "no memory for vCPU %u", index);
    rh_assert(tlb_two_levels(nvcpus) == tlb_two_levels(e->config.vcpus), "exec_config.vcpus is not %u", nvcpus);
    memset(v, 0, sizeof *v);
    v->exec = e;
    v->index = index;
    v->writer.region = -1;
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->wake, NULL);
    pthread_cond_init(&v->changed, NULL);
    struct x86 *x = &v->x86;
    x->cpu.self = &x->cpu;
    x->cpu.page_mask = CPU_PAGE_MASK;
    x->cpu.jc_none = e->thunks.rx + e->thunks.jc_none;
    for (unsigned i = 0; i < CPU_JC_TABLES; i++)
        x->cpu.jc_logged[i] = CPU_JC_LOG + 1;
    x->cpu.helper = (const void *const *)x86_helpers;
    x->mem = e->mem;
    x->io = e->io;
    x->ram = e->ram;
    x->log = e->log;
    x->access = e->access;
    x->native = host_native_run;
    x->x87_save = host_x87_save;
    x->x87_load = host_x87_load;
    x->index = x->apic_id = index;
    x->nvcpus = nvcpus;
    x->crowded = nvcpus > os_processors();
    x->no_string_runs = e->config.off[EXEC_STRING_RUNS];
    x->a20_mask = ~0ull;
    x->unlifted = calloc(x86_row_count, sizeof *x->unlifted);
    if ((e->config.stats && !exec_stats_new(v)) || !x->unlifted || !arena_init(&v->arena, ARENA_SIZE, st) ||
        !tlb_init(&x->tlb, nvcpus, st)) {
        vcpu_free(v);
        return st->text[0] ? false : status_set(st, "no memory for vCPU %u", index);
    }
    tlb_remembered(x->tlb, 0, x->cpu.pair_page, CPU_PAIRS, CPU_NO_PAGE);
    tlb_remembered(x->tlb, 1, x->cpu.shared, CPU_SHARES, 0);
    tlb_remembered(x->tlb, 2, x->cpu.direct_page, CPU_DIRECT, CPU_NO_PAGE);
    x86_model_apply(x, model);
    find_units(v);
    x86_reset(x, false);
    x86_mode_update(x);
    e->vcpu[index] = v;
    if (e->nvcpus < index + 1)
        e->nvcpus = index + 1;
    *out = v;
    return true;
}

void vcpu_free(struct vcpu *v)
{
    if (v->x86.tlb)
        tlb_fini(v->x86.tlb);
    if (v->arena.base)
        arena_fini(&v->arena);
    free(v->x86.unlifted);
    exec_stats_free(v);
    pthread_mutex_destroy(&v->lock);
    pthread_cond_destroy(&v->wake);
    pthread_cond_destroy(&v->changed);
    free(v);
}

/* ---- counters
 * ---------------------------------------------------------------------------------------------------------- */

const char *exec_counter_text(enum counter c)
{
    static const char *const text[] = {
#define COUNTER(NAME, text) text,
#include "exec/counters.def"
    };
    return text[c];
}

static void print_unlifted(FILE *out, struct exec *e)
{
    for (unsigned row = 0; row < x86_row_count; row++) {
        uint64_t n = 0;
        for (unsigned i = 0; i < e->nvcpus; i++)
            n += e->vcpu[i]->x86.unlifted[row];
        if (n)
            fprintf(out, "%14" PRIu64 "  not implemented, raised #UD: %s\n", n, x86_rows[row].name);
    }
}

void exec_print_counters(FILE *out, struct exec *e)
{
    uint64_t sum[COUNT_MAX] = {0};
    for (unsigned i = 0; i < e->nvcpus; i++)
        for (unsigned k = 0; k < COUNT_MAX; k++)
            sum[k] += e->vcpu[i]->count[k];
    for (unsigned k = 0; k < COUNT_MAX; k++)
        if (sum[k])
            fprintf(out, "%14" PRIu64 "  %s\n", sum[k], exec_counter_text(k));
    const struct code_counts *c = code_counts(e->code);
    size_t used, size = code_size(e->code, &used);
    fprintf(out, "%14zu  code memory: bytes of %zu in use\n", used, size);
    fprintf(out, "%14" PRIu64 "  links made\n%14" PRIu64 "  links cut\n", c->links_made, c->links_cut);
    fprintf(out, "%14" PRIu64 "  blocks dropped: their bytes were stored to\n", c->dropped[DEAD_WRITE]);
    fprintf(out, "%14" PRIu64 "  of them used again: their bytes came back\n", c->woken);
    fprintf(out, "%14" PRIu64 "  blocks dropped: region evicted (%" PRIu64 " evictions)\n", c->dropped[DEAD_EVICTED],
            c->evictions);
    fprintf(out, "%14" PRIu64 "  blocks dropped: remembered entries missed too often\n", c->dropped[DEAD_WORN]);
    fprintf(out, "%14" PRIu64 "  blocks dropped: flush\n", c->dropped[DEAD_FLUSH]);
    fprintf(out, "%14" PRIu64 "  stores to pages with code, %" PRIu64 " of them hit a block\n", c->code_stores,
            c->code_stores_hit);
    fprintf(out, "%14" PRIu64 "  times a page began to hold code\n", c->pages);
    if (sum[COUNT_TRANS_NS])
        fprintf(out, "%14.2f  million guest insns translated a second\n",
                (double)sum[COUNT_TRANS_INSNS] * 1e3 / (double)sum[COUNT_TRANS_NS]);
    print_unlifted(out, e);
    exec_stats_print(out, e);
}
