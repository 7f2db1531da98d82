/* test/fuzz/test_fuzz.c: without options a short run for `make test`, always of the same inputs; with options the fuzzer itself (`make fuzz`).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "test/fuzz/fuzz.h"

enum { TEST_SECONDS = 8, TEST_PARSER_SECONDS = 2 };

static void test_guests(void **state)
{
    (void)state;
    uint64_t done;
    const struct session s = {.seed = 1, .seconds = TEST_SECONDS, .ring = RING_ANY, .folder = "/tmp"};
    assert_int_equal(session_run(&s, &done), 0);
    assert_true(done > 0);
}

static void test_parsers(void **state)
{
    (void)state;
    uint64_t done;
    const struct session s = {.seed = 1, .seconds = TEST_PARSER_SECONDS, .parsers = true, .folder = "/tmp"};
    assert_int_equal(session_run(&s, &done), 0);
    assert_true(done > 0);
}

static enum fuzz_mode mode_of(const char *text)
{
    static const char *const names[] = {"any", "64", "32", "16", "real"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(text, names[i]))
            return (enum fuzz_mode)i;
    fprintf(stderr, "fuzz: --mode any, 64, 32, 16 or real\n");
    exit(1);
}

static enum fuzz_engine engine_of(const char *text)
{
    return !strcmp(text, "interp") ? ENGINE_INTERP : !strcmp(text, "emit") ? ENGINE_EMIT : ENGINE_ANY;
}

static int fuzz_main(int argc, char **argv)
{
    struct session s = {.seed = (uint64_t)time(NULL), .seconds = 1e9, .ring = RING_ANY, .folder = "."};
    for (int i = 1; i < argc; i++) {
        const char *o = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
        bool flag = false;
        if (!strcmp(o, "--replay"))
            return session_replay(v) ? 0 : 1;
        else if (!strcmp(o, "--seed"))
            s.seed = strtoull(v, NULL, 0);
        else if (!strcmp(o, "--first"))
            s.first = strtoull(v, NULL, 0);
        else if (!strcmp(o, "--runs"))
            s.runs = strtoull(v, NULL, 0);
        else if (!strcmp(o, "--seconds"))
            s.seconds = strtod(v, NULL);
        else if (!strcmp(o, "--mode"))
            s.mode = mode_of(v);
        else if (!strcmp(o, "--engine"))
            s.engine = engine_of(v);
        else if (!strcmp(o, "--ring"))
            s.ring = atoi(v);
        else if (!strcmp(o, "--folder"))
            s.folder = v;
        else if ((flag = !strcmp(o, "--parsers")))
            s.parsers = true;
        else if ((flag = !strcmp(o, "--verbose")))
            s.verbose = true;
        else {
            fprintf(stderr, "usage: test_fuzz [--seed N] [--first N] [--runs N] [--seconds N] [--mode 64|32|16|real] [--ring 0|3]\n"
                            "                 [--engine emit|interp] [--parsers] [--folder DIR] [--verbose] | --replay FILE\n");
            return 1;
        }
        i += !flag;
    }
    uint64_t done;
    printf("fuzz: --seed %llu\n", (unsigned long long)s.seed);
    return session_run(&s, &done) ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return fuzz_main(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guests),
        cmocka_unit_test(test_parsers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
