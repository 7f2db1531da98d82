/* test/fuzz/test_fuzz.c: without options a short run for `make test`, always of the same inputs; with options the
 * fuzzer itself (`make fuzz`).
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

/* What the fuzzer found, as small as it can be: each killed rhea once. */
static const struct found {
    enum fuzz_mode mode;
    uint32_t ring, how, pc, n;
    uint8_t bytes[16];
} found[] = {
    /* jmp 2 GB away, farther from the page's begin;  lea rax, [rip + 2 GB]; mov eax, [rax] */
    {FUZZ_64, 3, 0, GPA_CODE + 0x100, 5, {0xe9, 0xff, 0xff, 0xff, 0x7f}},
    {FUZZ_64, 3, 0, GPA_CODE + 0x100, 9, {0x48, 0x8d, 0x05, 0xff, 0xff, 0xff, 0x7f, 0x8b, 0x00}},
    /* xorps, divps: 0 / 0, unmasked, interpreted */
    {FUZZ_64, 3, HOW_INTERP, GPA_CODE, 6, {0x0f, 0x57, 0xc0, 0x0f, 0x5e, 0xc0}},
    /* an insn that begins in RAM and ends in ROM, as a block's first and second */
    {FUZZ_32, 0, 0, GPA_ROM - 1, 5, {0xb8, 1, 2, 3, 4}},
    {FUZZ_32, 0, 0, GPA_ROM - 2, 6, {0x90, 0xb8, 1, 2, 3, 4}},
};

static void test_found(void **state)
{
    (void)state;
    struct guest *g;
    struct status st = {""};
    struct fuzz_input *in = malloc(sizeof *in);
    assert_non_null(in);
    if (!guest_init(&g, &st))
        fail_msg("%s", st.text);
    for (unsigned i = 0; i < ARRAY_LEN(found); i++) {
        const struct found *f = &found[i];
        input_make(in, 1, i, f->mode, (int)f->ring);
        in->how = f->how;
        in->cr0 &= f->mode == FUZZ_64 ? ~0ull : ~(uint64_t)CR0_PG;
        in->rflags = 2;
        in->mxcsr = 0x1f00;
        in->pc = f->pc;
        memcpy(in->ram + f->pc, f->bytes, f->n);
        memset(in->rom, 0xf4, 64);
        if (f->pc < GPA_ROM)
            memcpy(in->rom, f->bytes + (GPA_ROM - f->pc < f->n ? GPA_ROM - f->pc : f->n),
                   GPA_ROM - f->pc < f->n ? f->n - (GPA_ROM - f->pc) : 0);
        guest_run(g, in);
    }
    guest_fini(g);
    free(in);
}

/* #AC handlers that run at CPL 3 on a misaligned stack: delivering #AC raises #AC.  The vCPU must still quit when
 * asked. */
static void test_endless_delivery(void **state)
{
    (void)state;
    enum { GATE = SEG_P | 3 << 5 | 14, CS = (GDT_CODE32 + 1) * 8 | 3 };
    struct guest *g;
    struct status st = {""};
    struct fuzz_input *in = malloc(sizeof *in);
    assert_non_null(in);
    if (!guest_init(&g, &st))
        fail_msg("%s", st.text);
    input_make(in, 1, 0, FUZZ_32, 3);
    in->how = 0;
    in->cr0 = (in->cr0 | CR0_AM) & ~(uint64_t)CR0_PG;
    in->efer &= ~(uint64_t)(EFER_LME | EFER_LMA);
    in->rflags = 2 | FL_AC;
    in->gpr[X86_RSP] = GPA_STACK + 0x801;
    in->seg[SEG_SS].base = 0;
    in->seg[SEG_SS].limit = 0xffffffff;
    for (unsigned v = 0; v < 256; v++)
        bytes_put(in->ram + GPA_IDT + 8 * v, GPA_HANDLERS | (uint64_t)CS << 16 | (uint64_t)GATE << 40, 8);
    memset(in->ram + in->pc, 0x50, 16); /* push eax */
    guest_run(g, in);
    guest_fini(g);
    free(in);
}

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
        else if (!strcmp(o, "--how"))
            s.how = (uint32_t)strtoul(v, NULL, 0);
        else if (!strcmp(o, "--folder"))
            s.folder = v;
        else if ((flag = !strcmp(o, "--parsers")))
            s.parsers = true;
        else if ((flag = !strcmp(o, "--verbose")))
            s.verbose = true;
        else {
            fprintf(
                stderr,
                "usage: test_fuzz [--seed N] [--first N] [--runs N] [--seconds N] [--mode 64|32|16|real] [--ring 0|3]\n"
                "                 [--engine emit|interp] [--how HOW_ bits] [--parsers] [--folder DIR] [--verbose] | "
                "--replay FILE\n");
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
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_endless_delivery),
        cmocka_unit_test(test_guests),
        cmocka_unit_test(test_parsers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
