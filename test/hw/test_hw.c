/* test_hw: rhea against the processor it runs on.  Without arguments, a bounded set for `make test`; with arguments,
 * as many cases as wanted:
 *
 *     test_hw --count N         cases of single insns, all rows in turn       --sequences N   cases of sequences
 *     test_hw --row NAME        only rows of that mnemonic                    --index N       only that row
 *     test_hw --case SEED       one case again (with --index or --sequence), simplified and printed
 *     test_hw --bits 32         compatibility mode
 *     test_hw --seed SEED       another set                                   --coverage      a line for every row
 *     test_hw --failures N      how many differences to print (one a row)     --no-shrink
 *
 * Cases go in batches: while the child runs one half of the shared cases on the processor, rhea runs the other.
 */
#include <cpuid.h>
#include <getopt.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "test/hw/hw.h"

enum { BATCH = 512 };

struct options {
    uint64_t seed, count, sequences, one;
    const char *row;
    long index;
    unsigned failures, bits;
    bool has_one, coverage, no_shrink, sequence;
};

struct row_count {
    uint64_t run, refused, unlifted, differ, undefined, faults;
};

struct rig {
    struct native *native;
    struct emulator *emulator;
    const struct options *o;
    struct row_count *rows; /* one more: sequences */
    uint32_t *chosen, *in_sequence;
    unsigned nchosen, nin_sequence, printed;
    uint64_t next, differ, cases, insns;
};

static struct row_count *count_of(struct rig *g, uint32_t row)
{
    return &g->rows[row == HW_SEQUENCE ? x86_row_count : row];
}

/* ---- one half of the batch
 * ------------------------------------------------------------------------------------------- */

static uint64_t case_seed(const struct rig *g, uint64_t n, bool sequence)
{
    struct rng r = {g->o->seed * 0x9e3779b97f4a7c15ull + n * 2 + sequence};
    rng_next(&r);
    return rng_next(&r);
}

/* Make cases first + at .. until the half is full or `last` is reached; returns how many were made. */
static unsigned make_half(struct rig *g, unsigned at, uint64_t last, bool sequence)
{
    unsigned n = 0;
    struct hw_case *cases = native_cases(g->native);
    while (n < BATCH && g->next < last) {
        uint64_t k = g->next++, seed = case_seed(g, k, sequence);
        struct hw_case *c = &cases[at + n];
        if (sequence) {
            hw_sequence(c, g->o->bits, seed, g->in_sequence, g->nin_sequence);
            n++;
            continue;
        }
        uint32_t row = g->chosen[k % g->nchosen];
        if (hw_generate(c, row, g->o->bits, seed))
            n++;
        else
            g->rows[row].refused++;
    }
    return n;
}

/* As first seen. */
struct failure {
    struct hw_case c;
    struct hw_result native, rhea;
};

static void report(struct rig *g, const struct failure *f)
{
    const struct hw_case *c = &f->c;
    uint32_t undefined;
    struct row_count *count = count_of(g, c->row);
    g->differ++;
    if (count->differ++ && c->row != HW_SEQUENCE)
        return;
    if (g->printed >= g->o->failures)
        return;
    g->printed++;
    struct hw_case copy = *c;
    if (!g->o->no_shrink)
        hw_shrink(g->native, g->emulator, &copy);
    hw_print(stdout, g->native, g->emulator, &copy);
    printf("  as first seen: processor vector %u at %" PRIx64 "\n", f->native.vector, f->native.pc);
    hw_differ(stdout, c, &f->native, &f->rhea, &undefined);
    fflush(stdout);
}

/* Failing cases are kept aside: looking closer at them needs the native side. */
static void run_half(struct rig *g, unsigned at, unsigned n, struct failure *failed, unsigned *nfailed)
{
    for (unsigned i = at; i < at + n; i++) {
        const struct hw_case *c = &native_cases(g->native)[i];
        const struct hw_result *native = &native_results(g->native)[i];
        struct row_count *count = count_of(g, c->row);
        struct hw_result r;
        uint32_t undefined;
        emulator_run(g->emulator, c, false, &r);
        g->cases++;
        g->insns += c->ninsns;
        if (r.unlifted) {
            count->unlifted++;
            continue;
        }
        count->run++;
        count->faults += native->vector != 3;
        bool differs = hw_differ(NULL, c, native, &r, &undefined);
        count->undefined += undefined != 0;
        if (differs)
            failed[(*nfailed)++] = (struct failure){*c, *native, r};
    }
}

static void run_cases(struct rig *g, uint64_t count, bool sequence)
{
    struct failure *failed = calloc(2 * BATCH, sizeof *failed);
    unsigned nfailed = 0, at = 0;
    g->next = 0;
    unsigned n = make_half(g, 0, count, sequence);
    native_start(g->native, 0, n);
    while (n) {
        native_wait(g->native);
        for (unsigned i = 0; i < nfailed; i++) { /* the native side is idle, its slot 0 may be in use */
            struct hw_case kept = native_cases(g->native)[0];
            struct hw_result kept_result = native_results(g->native)[0];
            report(g, &failed[i]);
            native_cases(g->native)[0] = kept;
            ((struct hw_result *)native_results(g->native))[0] = kept_result;
        }
        nfailed = 0;
        unsigned other = BATCH - at, more = make_half(g, other, count, sequence);
        native_start(g->native, other, other + more);
        run_half(g, at, n, failed, &nfailed);
        at = other;
        n = more;
    }
    native_wait(g->native);
    for (unsigned i = 0; i < nfailed; i++)
        report(g, &failed[i]);
    free(failed);
}

/* ---- rows
 * -------------------------------------------------------------------------------------------------------------- */

static void choose_rows(struct rig *g)
{
    const uint32_t *features = emulator_features(g->emulator);
    g->rows = calloc(x86_row_count + 1, sizeof *g->rows);
    g->chosen = calloc(x86_row_count, sizeof *g->chosen);
    g->in_sequence = calloc(x86_row_count, sizeof *g->in_sequence);
    for (uint32_t i = 0; i < x86_row_count; i++) {
        const struct x86_row *row = &x86_rows[i];
        if (hw_row_excluded(row, features, g->o->bits))
            continue;
        if (hw_row_in_sequence(row))
            g->in_sequence[g->nin_sequence++] = i;
        bool wanted =
            (!g->o->row || strcasecmp(g->o->row, row->name) == 0) && (g->o->index < 0 || g->o->index == (long)i);
        if (wanted)
            g->chosen[g->nchosen++] = i;
    }
}

static void print_reasons(struct rig *g)
{
    const uint32_t *features = emulator_features(g->emulator);
    const char *seen[32];
    unsigned nseen = 0;
    for (uint32_t i = 0; i < x86_row_count; i++) {
        const char *why = hw_row_excluded(&x86_rows[i], features, g->o->bits);
        bool new = why != NULL;
        for (unsigned k = 0; new &&k < nseen; k++)
            new = strcmp(seen[k], why) != 0;
        if (new &&nseen < ARRAY_LEN(seen))
            seen[nseen++] = why;
    }
    for (unsigned k = 0; k < nseen; k++) {
        unsigned n = 0;
        for (uint32_t i = 0; i < x86_row_count; i++) {
            const char *why = hw_row_excluded(&x86_rows[i], features, g->o->bits);
            n += why && strcmp(why, seen[k]) == 0;
        }
        printf("%6u rows not compared: %s\n", n, seen[k]);
    }
}

static void print_row(struct rig *g, uint32_t i)
{
    const struct row_count *n = &g->rows[i];
    const struct x86_row *row = &x86_rows[i];
    const char *why = hw_row_excluded(row, emulator_features(g->emulator), g->o->bits);
    printf("%5u %-10s %u %02x", i, row->name, row->map, row->opcode);
    if (row->ext >= 0)
        printf(" /%d", row->ext);
    if (why)
        printf("  not compared: %s\n", why);
    else
        printf("  run %" PRIu64 ", with faults %" PRIu64 ", no such case %" PRIu64 ", no lifter %" PRIu64
               ", undefined flags differ %" PRIu64 ", DIFFER %" PRIu64 "\n",
               n->run, n->faults, n->refused, n->unlifted, n->undefined, n->differ);
}

static void print_summary(struct rig *g)
{
    unsigned compared = 0, never = 0, differing = 0, unlifted = 0, undefined = 0;
    uint64_t least = UINT64_MAX;
    for (unsigned k = 0; k < g->nchosen; k++) {
        const struct row_count *n = &g->rows[g->chosen[k]];
        compared += n->run != 0;
        never += n->run == 0 && n->unlifted == 0;
        unlifted += n->unlifted != 0;
        differing += n->differ != 0;
        undefined += n->undefined != 0;
        least = n->run && n->run < least ? n->run : least;
        if (g->o->coverage || n->differ > 0 || (n->run == 0 && n->unlifted == 0 && g->o->count > 100000))
            print_row(g, g->chosen[k]);
    }
    if (g->o->coverage)
        for (uint32_t i = 0; i < x86_row_count; i++)
            if (hw_row_excluded(&x86_rows[i], emulator_features(g->emulator), g->o->bits))
                print_row(g, i);
    print_reasons(g);
    printf("%6u rows compared, the least often %" PRIu64
           " times; %u never, %u with cases that have no lifter; %u with undefined flags that differ\n",
           compared, compared ? least : 0, never, unlifted, undefined);
    printf("%" PRIu64 " cases, %" PRIu64 " insns, seed 0x%" PRIx64 ": %" PRIu64 " differ, in %u rows and %" PRIu64
           " sequences\n",
           g->cases, g->insns, g->o->seed, g->differ, differing, g->rows[x86_row_count].differ);
}

/* ---- whole runs
 * ------------------------------------------------------------------------------------------------------------ */

static void one_case(struct rig *g)
{
    struct hw_case c;
    if (g->o->sequence)
        hw_sequence(&c, g->o->bits, g->o->one, g->in_sequence, g->nin_sequence);
    else if (g->o->index < 0 || !hw_generate(&c, (uint32_t)g->o->index, g->o->bits, g->o->one)) {
        printf("no such case: give --index and --case as they were printed\n");
        return;
    }
    hw_print(stdout, g->native, g->emulator, &c);
    hw_shrink(g->native, g->emulator, &c);
    hw_print(stdout, g->native, g->emulator, &c);
}

/* Returns how many cases differed. */
static uint64_t run_all(const struct options *o, uint64_t *cases)
{
    struct status st = {""};
    struct rig g = {.o = o};
    bool ok = native_init(&g.native, 2 * BATCH, &st) && emulator_init(&g.emulator, &st);
    rh_assert(ok, "the comparison starts: %s", st.text);
    choose_rows(&g);
    if (o->has_one) {
        one_case(&g);
    } else {
        if (g.nchosen)
            run_cases(&g, o->count, false);
        run_cases(&g, o->sequences, true);
        print_summary(&g);
    }
    native_fini(g.native);
    emulator_fini(g.emulator);
    free(g.rows);
    free(g.chosen);
    free(g.in_sequence);
    *cases = g.cases;
    return g.differ;
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option options[] = {
        {"seed", 1, NULL, 's'},  {"count", 1, NULL, 'c'},     {"sequences", 1, NULL, 'q'}, {"row", 1, NULL, 'r'},
        {"index", 1, NULL, 'i'}, {"case", 1, NULL, 'o'},      {"failures", 1, NULL, 'f'},  {"coverage", 0, NULL, 'v'},
        {"bits", 1, NULL, 'b'},  {"no-shrink", 0, NULL, 'n'}, {"sequence", 0, NULL, 'S'},  {0}};
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        uint64_t v = optarg ? strtoull(optarg, NULL, 0) : 0;
        switch (c) {
        case 's': o->seed = v; break;
        case 'c': o->count = v; break;
        case 'q': o->sequences = v; break;
        case 'r': o->row = optarg; break;
        case 'i': o->index = (long)v; break;
        case 'o': o->one = v, o->has_one = true; break;
        case 'f': o->failures = (unsigned)v; break;
        case 'b': o->bits = v == 32 ? 32 : 64; break;
        case 'v': o->coverage = true; break;
        case 'n': o->no_shrink = true; break;
        case 'S': o->sequence = true; break;
        default: return false;
        }
    }
    return true;
}

/* ---- make test
 * ----------------------------------------------------------------------------------------------------------------- */

static bool can_run(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_FSGSBASE);
}

/* Sanitizers keep their shadow where cases that go astray expect nothing. */
static bool low_memory_is_free(void)
{
    return mincore((void *)0x80000000, 4096, &(unsigned char){0}) != 0;
}

static void run_bounded(unsigned bits, uint64_t count, uint64_t sequences)
{
    const struct options o = {
        .seed = 1, .count = count, .sequences = sequences, .index = -1, .failures = 10, .bits = bits};
    uint64_t cases;
    if (!can_run()) {
        printf("skipped: this processor has no RDFSBASE\n");
        skip();
    }
    if ((bits == 32 || sequences) && !low_memory_is_free()) {
        printf("skipped: address 0x80000000 is in use (a sanitizer's shadow)\n");
        skip();
    }
    assert_int_equal(run_all(&o, &cases), 0);
    assert_true(cases > (count + sequences) / 2);
}

static void single_insns_agree(void **state)
{
    (void)state;
    run_bounded(64, 250000, 0);
}

static void sequences_agree(void **state)
{
    (void)state;
    run_bounded(64, 0, 40000);
}

static void single_insns_agree_in_32_bits(void **state)
{
    (void)state;
    run_bounded(32, 150000, 0);
}

static void sequences_agree_in_32_bits(void **state)
{
    (void)state;
    run_bounded(32, 0, 20000);
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1, .index = -1, .failures = 20, .bits = 64};
    uint64_t cases;
    if (argc > 1) {
        if (!parse(argc, argv, &o))
            return 2;
        return run_all(&o, &cases) != 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(single_insns_agree), cmocka_unit_test(sequences_agree),
                                       cmocka_unit_test(single_insns_agree_in_32_bits),
                                       cmocka_unit_test(sequences_agree_in_32_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
