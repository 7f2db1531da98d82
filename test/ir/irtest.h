/* irtest.h: blocks from text and back, for the tests of ir and opt. */
#ifndef RHEA_IRTEST_H
#define RHEA_IRTEST_H

#include "ir/ir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct irtest {
    struct arena arena;
    struct ir_block block;
    struct status st;
    char *text; /* of the last irtest_print */
    size_t text_size;
};

static inline void irtest_init(struct irtest *t)
{
    memset(t, 0, sizeof *t);
    assert_true(arena_init(&t->arena, 1 << 20, &t->st));
    assert_true(ir_block_init(&t->block, &t->arena, 512));
}

static inline void irtest_fini(struct irtest *t)
{
    free(t->text);
    arena_fini(&t->arena);
}

static inline int irtest_helper_number(const char *name)
{
    return strcmp(name, "alpha") == 0 ? 0 : strcmp(name, "beta") == 0 ? 1 : -1;
}

static inline const char *irtest_helper_name(unsigned n)
{
    return n == 0 ? "alpha" : n == 1 ? "beta" : NULL;
}

static inline void irtest_parse(struct irtest *t, const char *text)
{
    arena_reset(&t->arena);
    assert_true(ir_block_init(&t->block, &t->arena, 512));
    t->st.text[0] = 0;
    if (!ir_parse(&t->block, text, irtest_helper_number, &t->st))
        fail_msg("%s\nin\n%s", t->st.text, text);
}

static inline const char *irtest_print(struct irtest *t, const struct ir_block *b)
{
    free(t->text);
    FILE *f = open_memstream(&t->text, &t->text_size);
    assert_non_null(f);
    ir_print(f, b, irtest_helper_name);
    fclose(f);
    return t->text;
}

static inline void irtest_verify(struct irtest *t, const struct ir_block *b)
{
    if (!ir_verify(b, &t->st))
        fail_msg("%s\nin\n%s", t->st.text, irtest_print(t, b));
}

#endif
