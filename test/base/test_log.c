/* The log: -d lists, -dfilter ranges, and what is printed. */
#include "base/base.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_parse(void **state)
{
    struct log l = {0}, other = {0};
    struct status st = {0};
    (void)state;

    assert_true(log_parse(&l, "in_asm,int", &st));
    assert_int_equal(l.items, LOG_IN_ASM | LOG_INT);
    assert_int_equal(other.items, 0);
    assert_true(log_on(&l, LOG_INT));
    assert_false(log_on(&l, LOG_OP | LOG_OP_OPT));
    assert_true(log_parse(&l, "op", &st));
    assert_int_equal(l.items, LOG_OP);
    assert_true(log_parse(&l, "all", &st));
    assert_true(log_on(&l, LOG_UNIMP) && log_on(&l, LOG_IN_ASM));
}

static void test_parse_errors(void **state)
{
    static const char *const bad[] = {"help", "in_as", "in_asmx", "in_asm,", ",int", "in_asm,,int", "in_asm,help"};
    struct log l = {.items = LOG_CPU};
    (void)state;

    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct status st = {0};
        assert_false(log_parse(&l, bad[i], &st));
        /* Every item is listed, to the last word. */
        assert_non_null(strstr(st.text, "in_asm "));
        assert_non_null(strstr(st.text, "guest_errors"));
        assert_non_null(strstr(st.text, "not implemented"));
        assert_int_equal(l.items, LOG_CPU);
    }
}

static void test_filter(void **state)
{
    struct log l = {0};
    struct status st = {0};
    (void)state;

    assert_true(log_wants_pc(&l, 0));
    assert_true(log_filter(&l, "0x1000..0x2000,0x3000+0x200,0x5000-0x100", &st));
    static const struct {
        gva_t pc;
        bool want;
    } row[] = {
        {0xfff, false}, {0x1000, true},  {0x2000, true},  {0x2001, false}, {0x2fff, false}, {0x3000, true},
        {0x31ff, true}, {0x3200, false}, {0x4f00, false}, {0x4f01, true},  {0x5000, true},  {0x5001, false},
    };
    for (unsigned i = 0; i < ARRAY_LEN(row); i++)
        assert_int_equal(log_wants_pc(&l, row[i].pc), row[i].want);
    assert_true(log_filter(&l, "0xffffffff80000000..0xffffffffffffffff", &st));
    assert_true(log_wants_pc(&l, ~0ull));
    assert_false(log_wants_pc(&l, 0x1000));
}

static void test_filter_errors(void **state)
{
    static const char *const bad[] = {"",
                                      "0x1000",
                                      "0x1000..",
                                      "0x2000..0x1000",
                                      "0x1000+0",
                                      "+0x100",
                                      "x..y",
                                      "0x1000.0x2000",
                                      "0x1000..0x2000,",
                                      "0x1000..0x2000x",
                                      "5-7",
                                      "-1..3",
                                      "0xffffffffffffffff+2",
                                      "0x10000000000000000..1"};
    struct log l = {.nranges = 1};
    (void)state;

    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct status st = {0};
        assert_false(log_filter(&l, bad[i], &st));
        assert_true(st.text[0]);
        assert_int_equal(l.nranges, 1);
    }
    struct status st = {0};
    char many[400] = "1..2";
    for (int i = 0; i < 15; i++)
        strcat(many, ",1..2");
    assert_true(log_filter(&l, many, &st));
    strcat(many, ",1..2");
    assert_false(log_filter(&l, many, &st));
}

static void test_print(void **state)
{
    char *text;
    size_t size;
    struct log l = {.out = open_memstream(&text, &size)};
    (void)state;

    log_print(&l, "block at 0x%x\n", 0x1234);
    fclose(l.out);
    assert_string_equal(text, "block at 0x1234\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),         cmocka_unit_test(test_parse_errors), cmocka_unit_test(test_filter),
        cmocka_unit_test(test_filter_errors), cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
