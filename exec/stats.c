/* exec/stats.c: where a vCPU's time goes, with -accel tcg,stats=on.
 *
 * At any moment a thread's time is charged to one row of spent.def; exec_spend names the next one.  Without stats=on vcpu.stats is NULL and
 * that is one test.  Slow paths and helpers are reached from generated code through tables of function pointers (struct host_calls, cpu.helper);
 * with stats=on the tables lead to the functions here, which do the same and take the time.  So generated code is the same code.
 *
 * A helper's time includes the slow accesses it makes.  What a helper or slow path leaves by host_leave has no end here: the loop charges
 * the next stretch when it goes on, and a call's time ends there.  After a helper the guest may be in another mode, so generated code is
 * charged to the mode found after each.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "exec/exec.h"

struct exec_stats {
    uint64_t since; /* host_ticks() */
    enum exec_spent now;
    enum x86_helper helper; /* the one that `now` HELPER means */
    uint64_t ticks[SPENT_MAX], times[SPENT_MAX];
    uint64_t helper_ticks[X86_HELPER_COUNT], helper_times[X86_HELPER_COUNT];
    uint64_t began_ticks, began_ns;
};

void exec_stats_switch(struct exec_stats *s, enum exec_spent next)
{
    uint64_t now = host_ticks();
    s->ticks[s->now] += now - s->since;
    if (s->now == SPENT_HELPER)
        s->helper_ticks[s->helper] += now - s->since;
    s->since = now;
    s->now = next;
    s->times[next]++;
}

void exec_spend_code(struct vcpu *v)
{
    if (v->stats)
        exec_stats_switch(v->stats, x86_cpl(&v->x86) == 3 ? SPENT_CODE_USER : SPENT_CODE_KERNEL);
}

/* ---- what generated code calls instead ---------------------------------------------------------------------------- */

/* What was begun as `was` turned out to be `is`; it is over. */
static void spent_as(struct vcpu *v, enum exec_spent was, enum exec_spent is)
{
    v->stats->now = is;
    v->stats->times[is]++;
    v->stats->times[was]--;
    exec_spend_code(v);
}

static int64_t timed_read(struct cpu *c, gva_t gva, unsigned desc)
{
    struct vcpu *v = (struct vcpu *)c;
    uint64_t fills = v->count[COUNT_SLOW_READ_FILL], devices = v->count[COUNT_SLOW_READ_DEV];
    exec_spend(v, SPENT_READ);
    int64_t addend = exec_host_calls()->mem_read(c, gva, desc);
    spent_as(v, SPENT_READ,
             v->count[COUNT_SLOW_READ_FILL] != fills    ? SPENT_READ_FILL
             : v->count[COUNT_SLOW_READ_DEV] != devices ? SPENT_READ_DEVICE
                                                        : SPENT_READ_OTHER);
    return addend;
}

static int64_t timed_write(struct cpu *c, gva_t gva, unsigned desc)
{
    struct vcpu *v = (struct vcpu *)c;
    uint64_t fills = v->count[COUNT_SLOW_WRITE_FILL], code = v->count[COUNT_SLOW_WRITE_CODE];
    exec_spend(v, SPENT_WRITE);
    int64_t addend = exec_host_calls()->mem_write(c, gva, desc);
    spent_as(v, SPENT_WRITE,
             v->count[COUNT_SLOW_WRITE_FILL] != fills  ? SPENT_WRITE_FILL
             : v->count[COUNT_SLOW_WRITE_CODE] != code ? SPENT_WRITE_CODE
                                                       : SPENT_WRITE_OTHER);
    return addend;
}

static void timed_commit(struct cpu *c)
{
    struct vcpu *v = (struct vcpu *)c;
    exec_spend(v, SPENT_COMMIT);
    exec_host_calls()->mem_commit(c);
    exec_spend_code(v);
}

static uint64_t timed_helper(struct x86 *x, enum x86_helper h, uint64_t a, uint64_t b, uint64_t c)
{
    struct vcpu *v = (struct vcpu *)x;
    exec_spend(v, SPENT_HELPER);
    v->stats->helper = h;
    v->stats->helper_times[h]++;
    uint64_t result = x86_helpers[h](x, a, b, c);
    exec_spend_code(v);
    return result;
}

#define X86_HELPER(NAME, fn, doc)                                                                                      \
    static uint64_t timed_##fn(struct x86 *x, uint64_t a, uint64_t b, uint64_t c)                                      \
    {                                                                                                                  \
        return timed_helper(x, HELPER_##NAME, a, b, c);                                                                \
    }
#include "guest/x86/helpers.def"

static x86_helper_fn *const timed_helpers[] = {
#define X86_HELPER(NAME, fn, doc) timed_##fn,
#include "guest/x86/helpers.def"
};

struct host_calls exec_stats_calls(void)
{
    struct host_calls calls = *exec_host_calls();
    calls.mem_read = timed_read;
    calls.mem_write = timed_write;
    calls.mem_commit = timed_commit;
    return calls;
}

bool exec_stats_new(struct vcpu *v)
{
    v->stats = calloc(1, sizeof *v->stats);
    if (!v->stats)
        return false;
    v->stats->now = SPENT_WAIT;
    v->stats->since = v->stats->began_ticks = host_ticks();
    v->stats->began_ns = os_nanoseconds();
    v->x86.cpu.helper = (const void *const *)timed_helpers;
    return true;
}

void exec_stats_free(struct vcpu *v)
{
    free(v->stats);
}

/* ---- the table at the end ------------------------------------------------------------------------------------------- */

static void print_row(FILE *out, double ms, double all, uint64_t times, const char *text)
{
    if (times || ms > 0)
        fprintf(out, "%12.1f ms %5.1f %% %12" PRIu64 "  %s\n", ms, all > 0 ? 100 * ms / all : 0, times, text);
}

static void print_helpers(FILE *out, const struct exec_stats *s, double ticks_a_ms, double all)
{
    bool done[X86_HELPER_COUNT] = {0};
    for (;;) { /* the dearest first */
        unsigned best = X86_HELPER_COUNT;
        for (unsigned h = 0; h < X86_HELPER_COUNT; h++)
            if (!done[h] && s->helper_times[h] &&
                (best == X86_HELPER_COUNT || s->helper_ticks[h] > s->helper_ticks[best]))
                best = h;
        if (best == X86_HELPER_COUNT)
            return;
        done[best] = true;
        char name[64];
        snprintf(name, sizeof name, "helper %s", x86_helper_name(best));
        print_row(out, (double)s->helper_ticks[best] / ticks_a_ms, all, s->helper_times[best], name);
    }
}

static void print_one(FILE *out, const struct vcpu *v)
{
    static const char *const text[] = {
#define SPENT(NAME, text) text,
#include "exec/spent.def"
    };
    const struct exec_stats *s = v->stats;
    double ticks_a_ms = (double)(host_ticks() - s->began_ticks) * 1e6 / (double)(os_nanoseconds() - s->began_ns);
    double all = 0;
    for (unsigned i = 0; i < SPENT_MAX; i++)
        all += (double)s->ticks[i] / ticks_a_ms;
    fprintf(out, "vCPU %u: %.1f ms, of them\n", v->index, all);
    for (unsigned i = 0; i < SPENT_MAX; i++)
        print_row(out, (double)s->ticks[i] / ticks_a_ms, all, s->times[i], text[i]);
    print_helpers(out, s, ticks_a_ms, all);
}

void exec_stats_print(FILE *out, const struct exec *e)
{
    for (unsigned i = 0; i < e->nvcpus; i++)
        if (e->vcpu[i]->stats)
            print_one(out, e->vcpu[i]);
}
