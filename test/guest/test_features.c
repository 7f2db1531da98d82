/* Test of lifting against a CPU model's features: every form of x86.def that names a feature raises #UD when the model
 * lacks it, and does not when the model has it (SDM vol. 2, "CPUID Feature Flag" of each insn).
 *
 * A row's bytes are made from its selecting columns, with registers 1 and 2 or [RBX]; a decoder that finds another row
 * in them (one further down, more special) is not asked further. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "guest/x86/lift.h"

enum { LONG = MODE_64 | MODE_FLAT | MODE_FLAT_FSGS | MODE_PROT | MODE_CS32 | MODE_SS32, OFFSET = 0x100 };

static unsigned put_legacy(const struct x86_row *r, uint8_t *p)
{
    unsigned n = 0;

    if (!(r->prefix & PFX_NP))
        p[n++] = r->prefix & PFX_66 ? 0x66 : r->prefix & PFX_F3 ? 0xf3 : 0xf2;
    if (r->w == W_1 || r->w == W_G1)
        p[n++] = 0x48;
    if (r->map)
        p[n++] = 0x0f;
    if (r->map > 1)
        p[n++] = r->map == 2 ? 0x38 : 0x3a;
    p[n++] = r->opcode;
    return n;
}

static unsigned put_vex(const struct x86_row *r, uint8_t *p)
{
    bool w = r->w == W_1 || r->w == W_G1, l = !(r->l & 1);
    unsigned pp = r->prefix & PFX_NP ? 0 : r->prefix & PFX_66 ? 1 : r->prefix & PFX_F3 ? 2 : 3;

    p[0] = 0xc4;
    p[1] = (uint8_t)(0xe0 | r->map);
    p[2] = (uint8_t)((w ? 0x80 : 0) | (r->vvvv ? 12 : 15) << 3 | (l ? 4 : 0) | pp);
    p[3] = r->opcode;
    return 4;
}

static unsigned put_row(const struct x86_row *r, uint8_t p[32])
{
    unsigned n = r->space == X86_VEX ? put_vex(r, p) : put_legacy(r, p);

    if (r->modrm) {
        unsigned reg = r->ext < 0 ? 1 : (unsigned)r->ext, rm = r->rm < 0 ? 2 : (unsigned)r->rm;
        p[n++] = (uint8_t)(r->mod == 2 ? reg << 3 | 3 : 0xc0 | reg << 3 | rm);
    }
    memset(p + n, 0, 32 - n); /* immediates */
    return n;
}

/* Lifted to #UD at once? */
static bool undefined(const uint8_t *bytes, unsigned n, const uint32_t *features)
{
    struct x86_source src = {.bytes = bytes, .nbytes = n};
    struct arena arena;
    struct ir_block b;
    struct status st = {""};
    bool second;

    assert_true(arena_init(&arena, 1 << 20, &st));
    assert_true(ir_block_init(&b, &arena, 512));
    assert_int_equal(x86_lift_block(&b, LONG, features, NULL, OFFSET, &src, 1, false, &second), X86_LIFT_OK);
    const struct ir_op *o = &b.op[1];
    bool raises = b.nops > 1 && o->op == IR_CALL && o->imm == HELPER_RAISE && ir_const_value(&b, o->a) == EX_UD;
    arena_fini(&arena);
    return raises;
}

/* TZCNT, LZCNT, WBNOINVD: other insns to a processor without them. */
static bool falls_back(const struct x86_row *r)
{
    return r->map == 1 && (r->opcode == 0xbc || r->opcode == 0xbd || r->opcode == 0x09);
}

static void test_rows(void **state)
{
    uint32_t all[(FEAT_COUNT + 31) / 32], less[(FEAT_COUNT + 31) / 32];
    unsigned tried = 0, features = 0;
    bool seen[FEAT_COUNT] = {false};
    (void)state;

    memset(all, 0xff, sizeof all);
    for (unsigned k = 0; k < x86_row_count; k++) {
        const struct x86_row *r = &x86_rows[k];
        uint8_t bytes[32];
        struct x86_insn i;
        if (!r->feature || r->space == X86_EVEX || r->lift == LIFT_none || (r->attr & ATTR_NO64))
            continue;
        put_row(r, bytes);
        if (x86_decode(X86_64, bytes, sizeof bytes, &i) != X86_OK || i.row != r)
            continue;
        memcpy(less, all, sizeof less);
        less[r->feature / 32] &= ~(1u << (r->feature % 32));
        if (undefined(bytes, i.length, all))
            fail_msg("%s (row %u): #UD though the model has it", r->name, k);
        if (undefined(bytes, i.length, less) == falls_back(r))
            fail_msg("%s (row %u): no #UD though the model lacks it", r->name, k);
        tried++;
        features += !seen[r->feature];
        seen[r->feature] = true;
    }
    assert_true(tried > 600);
    assert_true(features >= 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
