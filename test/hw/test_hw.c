/* test_hw: rhea against the processor it runs on.  Without arguments, a bounded set for `make test`; with arguments,
 * as many cases as wanted:
 *
 *     test_hw --count N         cases of single insns, all rows in turn       --sequences N   cases of sequences
 *     test_hw --row NAME        only rows of that mnemonic                    --index N       only that row
 *     test_hw --case SEED       one case again (with --index or --sequence), simplified and printed
 *     test_hw --bits 32, 16     compatibility mode                            --jobs N        processes (2)
 *     test_hw --seed SEED       another set                                   --report FILE   a line for every row
 *     test_hw --failures N      how many differences to print (one a row)     --no-shrink
 *
 *     test_hw --generic         vector insns by the generic path (ir/generic.c)
 *     test_hw --vector 32, 16   the same for those of longer vectors only, as where the host has no AVX-512 or AVX2
 *
 * doc/hardware-comparison.md says how to read what it prints.
 */
#include <cpuid.h>
#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "test/hw/hw.h"

static bool write_report(const struct hw_run *g)
{
    FILE *out = fopen(g->options->report, "w");
    if (!out)
        return false;
    hw_report(out, g);
    return fclose(out) == 0;
}

/* Returns how many cases differed, or one if something else went wrong. */
static uint64_t run_all(const struct hw_options *o, uint64_t *cases)
{
    struct hw_run g;
    uint64_t differ = 0;
    *cases = 0;
    hw_run_init(&g, o);
    if (o->has_one) {
        hw_run_one(&g);
    } else {
        bool good = hw_run_all(&g);
        differ = hw_summary(&g, cases);
        if (!good)
            printf("a process of the comparison ended early\n");
        if (o->report && !write_report(&g))
            good = printf("%s cannot be written\n", o->report) < 0;
        differ += !good;
    }
    hw_run_fini(&g);
    return differ;
}

static bool parse(int argc, char **argv, struct hw_options *o)
{
    static const struct option options[] = {
        {"seed", 1, NULL, 's'},      {"count", 1, NULL, 'c'},    {"sequences", 1, NULL, 'q'},
        {"row", 1, NULL, 'r'},       {"index", 1, NULL, 'i'},    {"case", 1, NULL, 'o'},
        {"failures", 1, NULL, 'f'},  {"report", 1, NULL, 'v'},   {"bits", 1, NULL, 'b'},
        {"no-shrink", 0, NULL, 'n'}, {"sequence", 0, NULL, 'S'}, {"jobs", 1, NULL, 'j'},
        {"generic", 0, NULL, 'g'},   {"vector", 1, NULL, 'V'},   {0}};
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
        case 'b': o->bits = v == 16 || v == 32 ? (unsigned)v : 64; break;
        case 'j': o->jobs = v < 1 ? 1 : v > HW_JOBS_MAX ? HW_JOBS_MAX : (unsigned)v; break;
        case 'v': o->report = optarg; break;
        case 'V': o->vector = (unsigned)v; break;
        case 'g': o->generic = true; break;
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
    bool xsave = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_OSXSAVE);
    return xsave && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_FSGSBASE);
}

/* Sanitizers keep their shadow where cases that go astray expect nothing. */
static bool low_memory_is_free(void)
{
    return mincore((void *)0x80000000, 4096, &(unsigned char){0}) != 0;
}

static void run_bounded_as(unsigned bits, uint64_t count, uint64_t sequences, bool generic)
{
    const struct hw_options o = {.seed = 1,
                                 .count = count,
                                 .sequences = sequences,
                                 .index = -1,
                                 .failures = 10,
                                 .bits = bits,
                                 .jobs = 2,
                                 .generic = generic};
    uint64_t cases;
    if (!can_run()) {
        printf("skipped: this processor has no RDFSBASE or no XSAVE\n");
        skip();
    }
    if (bits != 64 && !hw_segments_allowed()) {
        printf("skipped: the host's kernel gives no segments (modify_ldt)\n");
        skip();
    }
    if (!low_memory_is_free()) {
        printf("skipped: address 0x80000000 is in use (a sanitizer's shadow)\n");
        skip();
    }
    assert_int_equal(run_all(&o, &cases), 0);
    assert_true(cases > (count + sequences) / 2);
}

static void run_bounded(unsigned bits, uint64_t count, uint64_t sequences)
{
    run_bounded_as(bits, count, sequences, false);
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

static void single_insns_agree_in_16_bits(void **state)
{
    (void)state;
    run_bounded(16, 120000, 0);
}

static void sequences_agree_in_16_bits(void **state)
{
    (void)state;
    run_bounded(16, 0, 15000);
}

/* As on a host without units: see ir/generic.c. */
static void the_generic_path_agrees(void **state)
{
    (void)state;
    run_bounded_as(64, 250000, 15000, true);
}

static void the_generic_path_agrees_in_32_bits(void **state)
{
    (void)state;
    run_bounded_as(32, 60000, 5000, true);
}

int main(int argc, char **argv)
{
    struct hw_options o = {.seed = 1, .index = -1, .failures = 20, .bits = 64, .jobs = 2};
    uint64_t cases;
    if (argc > 1) {
        if (!parse(argc, argv, &o))
            return 2;
        return run_all(&o, &cases) != 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(single_insns_agree),
                                       cmocka_unit_test(sequences_agree),
                                       cmocka_unit_test(single_insns_agree_in_32_bits),
                                       cmocka_unit_test(sequences_agree_in_32_bits),
                                       cmocka_unit_test(single_insns_agree_in_16_bits),
                                       cmocka_unit_test(sequences_agree_in_16_bits),
                                       cmocka_unit_test(the_generic_path_agrees),
                                       cmocka_unit_test(the_generic_path_agrees_in_32_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
