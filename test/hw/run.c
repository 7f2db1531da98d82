/* test/hw/run.c: many cases: batches, processes, what is reported.
 *
 * Cases are numbered from 0; a number and the seed make a case, rows take turns.  Each job is a process of its own and
 * takes every jobs-th chunk of numbers, so that what is run does not depend on how many there are.  Within a job, while
 * the child of native.c runs one half of the shared cases on the processor, rhea runs the other.
 *
 * Counts lie in memory that all jobs share, an array a job; differences are printed by the job that finds them, one a
 * row and as many as asked for.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/hw/hw.h"

enum { HALF = 128 }; /* cases; what both sides touch stays in the second-level cache */

struct hw_shared {
    unsigned printed;
    uint8_t reported[]; /* a flag a row */
};

struct job {
    const struct hw_run *run;
    struct native *native;
    struct emulator *emulator;
    struct hw_count *counts;
    unsigned number;
    uint64_t chunk, next; /* cases chunk * HALF up to the next chunk, from `next` on */
};

static uint64_t case_seed(const struct hw_options *o, uint64_t n, bool sequence)
{
    struct rng r = {o->seed * 0x9e3779b97f4a7c15ull + n * 2 + sequence};
    rng_next(&r);
    return rng_next(&r);
}

static struct hw_count *count_of(struct job *j, const struct hw_case *c)
{
    return &j->counts[c->spoiled ? x86_row_count + 1 : c->row == HW_SEQUENCE ? x86_row_count : c->row];
}

/* The number of the next case of this job. */
static uint64_t next_number(struct job *j)
{
    uint64_t n = j->chunk * HALF + j->next;
    if (++j->next == HALF) {
        j->next = 0;
        j->chunk += j->run->options->jobs;
    }
    return n;
}

/* Make cases at `at` until the half is full or `last` is reached; returns how many were made. */
static unsigned make_half(struct job *j, unsigned at, uint64_t last, bool sequence)
{
    const struct hw_run *run = j->run;
    unsigned n = 0;
    while (n < HALF && j->chunk * HALF + j->next < last) {
        uint64_t k = next_number(j), seed = case_seed(run->options, k, sequence);
        struct hw_case *c = &native_cases(j->native)[at + n];
        if (sequence) {
            hw_sequence(c, run, seed);
            n++;
            continue;
        }
        uint32_t row = run->chosen[k % run->nchosen];
        if (hw_generate(c, run, row, seed))
            n++;
        else
            j->counts[row].refused++;
    }
    return n;
}

/* As first seen. */
struct failure {
    struct hw_case c;
    struct hw_result native, rhea;
};

static void report(struct job *j, const struct failure *f)
{
    const struct hw_options *o = j->run->options;
    const struct hw_case *c = &f->c;
    struct hw_shared *shared = j->run->shared;
    uint32_t undefined;
    count_of(j, c)->differ++;
    if (c->row != HW_SEQUENCE && __atomic_exchange_n(&shared->reported[c->row], 1, __ATOMIC_RELAXED))
        return;
    if (__atomic_fetch_add(&shared->printed, 1, __ATOMIC_RELAXED) >= o->failures)
        return;
    struct hw_case copy = *c;
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!o->no_shrink)
        hw_shrink(j->native, j->emulator, &copy);
    hw_print(out, j->native, j->emulator, &copy);
    fprintf(out, "  as first seen: processor vector %u at %llx\n", f->native.vector, (unsigned long long)f->native.pc);
    hw_differ(out, c, &f->native, &f->rhea, &undefined);
    fclose(out);
    fputs(text, stdout);
    fflush(stdout);
    free(text);
}

static unsigned outcome_of(const struct hw_result *r)
{
    return r->vector == 3 ? HW_FINISHED : r->vector < HW_FINISHED ? r->vector : HW_LOST;
}

/* Failing cases are kept aside: looking closer at them needs the native side. */
static void run_half(struct job *j, unsigned at, unsigned n, struct failure *failed, unsigned *nfailed)
{
    for (unsigned i = at; i < at + n; i++) {
        const struct hw_case *c = &native_cases(j->native)[i];
        const struct hw_result *native = &native_results(j->native)[i];
        struct hw_count *count = count_of(j, c);
        struct hw_result r;
        uint32_t undefined;
        count->insns += c->ninsns;
        if (c->native_only) {
            count->native_only++;
            count->native_ud += native->vector == 6;
            if (native->vector == 6 && x86_rows[c->row].space != X86_LEGACY) /* the decoder ought to have said so */
                failed[(*nfailed)++] = (struct failure){*c, *native, {.vector = HW_LOST}};
            continue;
        }
        emulator_run(j->emulator, c, false, &r);
        if (r.unlifted) {
            count->unlifted++;
            continue;
        }
        count->run++;
        count->outcome[outcome_of(native)]++;
        bool differs = hw_differ(NULL, c, native, &r, &undefined);
        count->undefined += undefined != 0;
        if (differs)
            failed[(*nfailed)++] = (struct failure){*c, *native, r};
    }
}

/* The native side is idle; its slot 0 may be in use. */
static void report_all(struct job *j, const struct failure *failed, unsigned n)
{
    struct hw_case *c = native_cases(j->native);
    struct hw_result *r = (struct hw_result *)native_results(j->native);
    for (unsigned i = 0; i < n; i++) {
        struct hw_case kept = *c;
        struct hw_result kept_result = *r;
        report(j, &failed[i]);
        *c = kept;
        *r = kept_result;
    }
}

static void run_cases(struct job *j, uint64_t count, bool sequence)
{
    struct failure *failed = calloc(2 * HALF, sizeof *failed);
    unsigned nfailed = 0, at = 0;
    j->next = 0;
    j->chunk = j->number;
    unsigned n = make_half(j, 0, count, sequence);
    native_start(j->native, 0, n);
    while (n) {
        native_wait(j->native);
        report_all(j, failed, nfailed);
        nfailed = 0;
        unsigned other = HALF - at, more = make_half(j, other, count, sequence);
        native_start(j->native, other, other + more);
        run_half(j, at, n, failed, &nfailed);
        at = other;
        n = more;
    }
    native_wait(j->native);
    report_all(j, failed, nfailed);
    free(failed);
}

static void run_job(const struct hw_run *run, unsigned number)
{
    struct status st = {""};
    struct job j = {.run = run, .number = number, .counts = run->counts + number * HW_COUNTS};
    bool ok = native_init(&j.native, 2 * HALF, &st) && emulator_init(&j.emulator, run->options, &st);
    rh_assert(ok, "the comparison starts: %s", st.text);
    if (run->nchosen)
        run_cases(&j, run->options->count, false);
    run_cases(&j, run->options->sequences, true);
    native_fini(j.native);
    emulator_fini(j.emulator);
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static bool wanted(const struct hw_options *o, uint32_t i)
{
    return (!o->row || strcasecmp(o->row, x86_rows[i].name) == 0) && (o->index < 0 || o->index == (long)i);
}

static void choose_rows(struct hw_run *g)
{
    g->allowed = calloc(x86_row_count, 1);
    g->chosen = calloc(x86_row_count, sizeof *g->chosen);
    g->in_sequence = calloc(x86_row_count, sizeof *g->in_sequence);
    for (uint32_t i = 0; i < x86_row_count; i++) {
        if (hw_row_excluded(&x86_rows[i], g))
            continue;
        g->allowed[i] = true;
        if (hw_row_in_sequence(&x86_rows[i]))
            g->in_sequence[g->nin_sequence++] = i;
        if (wanted(g->options, i))
            g->chosen[g->nchosen++] = i;
    }
}

static void *shared_memory(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    rh_assert(p != MAP_FAILED, "memory for counts");
    return p;
}

static size_t counts_size(const struct hw_run *g)
{
    return g->options->jobs * HW_COUNTS * sizeof *g->counts;
}

void hw_run_init(struct hw_run *g, const struct hw_options *o)
{
    *g = (struct hw_run){.options = o};
    hw_host_features(g->features);
    choose_rows(g);
    g->counts = shared_memory(counts_size(g));
    g->shared = shared_memory(sizeof *g->shared + x86_row_count);
}

void hw_run_fini(struct hw_run *g)
{
    free(g->allowed);
    free(g->chosen);
    free(g->in_sequence);
    munmap(g->counts, counts_size(g));
    munmap(g->shared, sizeof *g->shared + x86_row_count);
}

/* The first job's counts get those of the others. */
static void add_up(struct hw_run *g)
{
    enum { WORDS = sizeof(struct hw_count) / 8 };
    uint64_t *sum = (uint64_t *)g->counts;
    size_t n = HW_COUNTS * WORDS;
    for (unsigned j = 1; j < g->options->jobs; j++)
        for (size_t i = 0; i < n; i++)
            sum[i] += sum[j * n + i];
}

bool hw_run_all(struct hw_run *g)
{
    bool good = true;
    unsigned jobs = g->options->jobs;
    pid_t child[HW_JOBS_MAX];
    fflush(NULL);
    for (unsigned j = 1; j < jobs; j++) {
        child[j] = fork();
        rh_assert(child[j] >= 0, "a process for each job");
        if (child[j] == 0) {
            run_job(g, j);
            _exit(0);
        }
    }
    run_job(g, 0);
    for (unsigned j = 1; j < jobs; j++) {
        int how;
        good &= waitpid(child[j], &how, 0) == child[j] && how == 0;
    }
    add_up(g);
    return good;
}

void hw_run_one(struct hw_run *g)
{
    struct status st = {""};
    struct hw_case c;
    struct native *n;
    struct emulator *e;
    const struct hw_options *o = g->options;
    bool ok = native_init(&n, 1, &st) && emulator_init(&e, o, &st);
    rh_assert(ok, "the comparison starts: %s", st.text);
    bool made = o->sequence || (o->index >= 0 && hw_generate(&c, g, (uint32_t)o->index, o->one));
    if (o->sequence)
        hw_sequence(&c, g, o->one);
    if (made) {
        hw_print(stdout, n, e, &c);
        hw_shrink(n, e, &c);
        hw_print(stdout, n, e, &c);
    } else {
        printf("no such case: give --index and --case as they were printed\n");
    }
    native_fini(n);
    emulator_fini(e);
}
