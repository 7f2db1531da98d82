/* test/guest/test_walk.c: x86_walk against page tables built by hand; expectations from the Intel SDM vol. 3, chapter
 * 4.
 *
 * Tables lie in a small RAM: `map` writes one chain of entries for one linear address, and `entry` finds any of them
 * again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "guest/x86/run.h"
#include "mem/mem.h"

enum { P = 1, W = 2, U = 4, A = 32, D = 64, PS = 128, G = 256 };
#define NX   (1ull << 63)
#define PAGE 0x345000ull /* where leaves point */
enum { ROOT = 0x10000, RAM_SIZE = 16 << 20 };

struct fixture {
    struct x86 *x;
    struct ram ram;
    struct bus *bus;
    struct log log;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct status st = {0};
    f->x = aligned_alloc(64, (sizeof(*f->x) + 63) & ~63ul);
    memset(f->x, 0, sizeof(*f->x));
    assert_true(ram_init(&f->ram, RAM_SIZE, RAM_SIZE, &st));
    assert_true(bus_init(&f->bus, 52, &f->log, &st));
    assert_true(ram_map(&f->ram, f->bus));
    f->x->mem = f->bus;
    f->x->ram = &f->ram;
    f->x->log = &f->log;
    f->x->a20_mask = ~0ull;
    f->x->cr0 = CR0_PE | CR0_PG | CR0_WP;
    f->x->cr3 = ROOT;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    bus_fini(f->bus);
    ram_fini(&f->ram);
    free(f->x);
    free(f);
    return 0;
}

static void long_mode(struct x86 *x)
{
    x->cr4 |= CR4_PAE;
    x->efer |= EFER_LME | EFER_LMA | EFER_NXE;
}

/* The 8-byte entry of `gva` at `level` in a chain whose tables lie one after another from ROOT, top level first. */
static uint64_t *entry(struct fixture *f, gva_t gva, unsigned levels, unsigned level)
{
    uint64_t table = ROOT + (levels - level) * 0x1000;
    return (uint64_t *)(f->ram.host + table) + (gva >> (12 + 9 * (level - 1)) & 511);
}

static void map(struct fixture *f, gva_t gva, unsigned levels, unsigned leaf_level, uint64_t upper, uint64_t leaf)
{
    for (unsigned level = levels; level > leaf_level; level--)
        *entry(f, gva, levels, level) = (ROOT + (levels - level + 1) * 0x1000) | upper;
    *entry(f, gva, levels, leaf_level) = leaf;
}

static struct x86_walk good(struct fixture *f, gva_t gva, unsigned access)
{
    struct x86_walk w;
    assert_true(x86_walk(f->x, gva, access, &w));
    return w;
}

static uint32_t bad(struct fixture *f, gva_t gva, unsigned access)
{
    struct x86_walk w;
    assert_false(x86_walk(f->x, gva, access, &w));
    return w.error;
}

#define GVA 0xffff812345678abcull

static void test_no_paging(void **state)
{
    struct fixture *f = *state;
    f->x->cr0 = CR0_PE;
    f->x->a20_mask = ~0x100000ull;
    struct x86_walk w = good(f, 0x512345, WALK_WRITE);
    assert_int_equal(w.gpa, 0x412345);
    assert_true(w.writable);
}

static void test_accessed_dirty(void **state)
{
    struct fixture *f = *state;
    long_mode(f->x);
    map(f, GVA, 4, 1, P | W | U, PAGE | P | W);
    struct x86_walk w = good(f, GVA, WALK_PEEK);
    assert_false(*entry(f, GVA, 4, 4) & A);
    assert_false(*entry(f, GVA, 4, 1) & A);
    w = good(f, GVA, WALK_READ);
    assert_int_equal(w.gpa, PAGE + 0xabc);
    assert_false(w.writable); /* D is clear: the first write must be seen */
    assert_false(w.user);
    for (unsigned level = 1; level <= 4; level++)
        assert_true(*entry(f, GVA, 4, level) & A);
    assert_false(*entry(f, GVA, 4, 1) & D);
    w = good(f, GVA, WALK_WRITE);
    assert_true(w.writable);
    assert_true(*entry(f, GVA, 4, 1) & D);
    assert_false(*entry(f, GVA, 4, 2) & D);
    w = good(f, GVA, WALK_READ);
    assert_true(w.writable);
}

static void test_denied_leaves_leaf_alone(void **state)
{
    struct fixture *f = *state;
    long_mode(f->x);
    map(f, GVA, 4, 1, P | W | U, PAGE | P);
    assert_int_equal(bad(f, GVA, WALK_WRITE), P | W);
    assert_int_equal(*entry(f, GVA, 4, 1), PAGE | P);
}

struct right {
    const char *what;
    uint64_t upper, leaf;
    unsigned access;
    uint64_t cr4;
    bool wp, ac;
    int error; /* -1: allowed */
};
enum { R_ = WALK_READ, W_ = WALK_WRITE, X_ = WALK_FETCH, US = WALK_USER, IM = WALK_IMPLICIT };
enum { EP = 1, EW = 2, EU = 4, EI = 16, EPK = 32 };

/* Vol. 3, 4.6.1, sentence by sentence. */
static const struct right rights[] = {
    {"supervisor reads supervisor page", P, P, R_, 0, true, false, -1},
    {"supervisor reads user page", P | U, P | U, R_, 0, true, false, -1},
    {"same with SMAP", P | U, P | U, R_, CR4_SMAP, true, false, EP},
    {"same with SMAP and AC", P | U, P | U, R_, CR4_SMAP, true, true, -1},
    {"implicit with SMAP and AC", P | U, P | U, R_ | IM, CR4_SMAP, true, true, EP},
    {"page is supervisor if any level says so: SMAP is silent", P, P | U, R_, CR4_SMAP, true, false, -1},
    {"supervisor writes read-only, WP", P | W, P, W_, 0, true, false, EP | EW},
    {"supervisor writes read-only above, WP", P, P | W, W_, 0, true, false, EP | EW},
    {"supervisor writes read-only, no WP", P, P, W_, 0, false, false, -1},
    {"supervisor writes read-only user page, no WP", P | U, P | U, W_, 0, false, false, -1},
    {"the same under SMAP", P | U, P | U, W_, CR4_SMAP, false, false, EP | EW},
    {"the same with AC, WP", P | U, P | U, W_, CR4_SMAP, true, true, EP | EW},
    {"supervisor writes user page under SMAP with AC", P | W | U, P | W | U, W_, CR4_SMAP, true, true, -1},
    {"supervisor fetches NX", P, P | NX, X_, 0, true, false, EP | EI},
    {"supervisor fetches NX above", P | NX, P, X_, 0, true, false, EP | EI},
    {"supervisor fetches user page", P | U, P | U, X_, 0, true, false, -1},
    {"same with SMEP", P | U, P | U, X_, CR4_SMEP, true, false, EP | EI},
    {"SMAP is not about fetches", P | U, P | U, X_, CR4_SMAP, true, false, -1},
    {"supervisor fetches supervisor page with SMEP", P, P | U, X_, CR4_SMEP, true, false, -1},
    {"user reads user page", P | U, P | U, R_ | US, CR4_SMAP | CR4_SMEP, true, false, -1},
    {"user reads supervisor page", P | U, P, R_ | US, 0, true, false, EP | EU},
    {"user reads below supervisor directory", P, P | U, R_ | US, 0, true, false, EP | EU},
    {"user writes", P | W | U, P | W | U, W_ | US, 0, false, false, -1},
    {"user writes read-only, WP does not matter", P | W | U, P | U, W_ | US, 0, false, false, EP | EW | EU},
    {"user writes read-only above", P | U, P | W | U, W_ | US, 0, true, false, EP | EW | EU},
    {"user fetches", P | U, P | U, X_ | US, CR4_SMEP, true, false, -1},
    {"user fetches NX", P | U, P | U | NX, X_ | US, 0, true, false, EP | EU | EI},
    {"user fetches supervisor page", P | U, P, X_ | US, 0, true, false, EP | EU | EI},
    {"NX does not stop reads", P | U, P | U | NX, R_ | US, 0, true, false, -1},
};

static void test_rights(void **state)
{
    struct fixture *f = *state;
    long_mode(f->x);
    for (unsigned n = 0; n < ARRAY_LEN(rights); n++) {
        const struct right *r = &rights[n];
        map(f, GVA, 4, 1, r->upper, PAGE | r->leaf);
        f->x->cr0 = CR0_PE | CR0_PG | (r->wp ? CR0_WP : 0);
        f->x->cr4 = CR4_PAE | r->cr4;
        f->x->flags = r->ac ? FL_AC : 0;
        struct x86_walk w;
        bool ok = x86_walk(f->x, GVA, r->access, &w);
        if (ok != (r->error < 0) || (!ok && w.error != (uint32_t)r->error))
            fail_msg("%s: got %s %x", r->what, ok ? "allowed" : "error", w.error);
    }
}

static void test_not_present(void **state)
{
    struct fixture *f = *state;
    long_mode(f->x);
    for (unsigned level = 1; level <= 4; level++) {
        map(f, GVA, 4, 1, P | W | U, PAGE | P | W | U);
        *entry(f, GVA, 4, level) &= ~(uint64_t)P;
        assert_int_equal(bad(f, GVA, WALK_READ), 0);
        assert_int_equal(bad(f, GVA, WALK_WRITE | WALK_USER), 2 | 4);
        assert_int_equal(bad(f, GVA, WALK_FETCH), 16);
    }
    /* the I bit exists only with NXE or SMEP: vol. 3, 4.7 */
    f->x->efer &= ~(uint64_t)EFER_NXE;
    assert_int_equal(bad(f, GVA, WALK_FETCH), 0);
    f->x->cr4 |= CR4_SMEP;
    assert_int_equal(bad(f, GVA, WALK_FETCH), 16);
}

static void test_reserved(void **state)
{
    struct fixture *f = *state;
    long_mode(f->x);
    for (unsigned level = 1; level <= 4; level++)
        for (unsigned bit = 40; bit < 64; bit++) {
            map(f, GVA, 4, 1, P | W | U, PAGE | P | W | U);
            *entry(f, GVA, 4, level) |= 1ull << bit;
            if (bit < 52)
                assert_int_equal(bad(f, GVA, WALK_READ | WALK_USER), 1 | 4 | 8);
            else
                good(f, GVA, WALK_READ | WALK_USER);
        }
    map(f, GVA, 4, 1, P | W, PAGE | P | NX);
    f->x->efer &= ~(uint64_t)EFER_NXE; /* then bit 63 is reserved */
    assert_int_equal(bad(f, GVA, WALK_WRITE), 1 | 2 | 8);
    f->x->efer |= EFER_NXE;
    map(f, GVA, 4, 1, P | W, PAGE | P | W);
    *entry(f, GVA, 4, 4) |= PS;
    assert_int_equal(bad(f, GVA, WALK_READ), 1 | 8);
}

static void test_large(void **state)
{
    struct fixture *f = *state;
    long_mode(f->x);
    f->x->cr4 |= CR4_PGE;
    map(f, GVA, 4, 2, P | W, 0x2345600000 | P | W | PS | G);
    struct x86_walk w = good(f, GVA, WALK_WRITE);
    assert_int_equal(w.gpa, 0x2345600000 | (GVA & 0x1fffff));
    assert_int_equal(w.fill, TLB_GLOBAL | TLB_LARGE);
    *entry(f, GVA, 4, 2) |= 1 << 12; /* PAT */
    w = good(f, GVA, WALK_READ);
    assert_int_equal(w.gpa, 0x2345600000 | (GVA & 0x1fffff));
    *entry(f, GVA, 4, 2) |= 1 << 13;
    assert_int_equal(bad(f, GVA, WALK_READ), 1 | 8);
    map(f, GVA, 4, 3, P | W, 0x7fc0000000 | P | W | PS);
    w = good(f, GVA, WALK_READ);
    assert_int_equal(w.gpa, 0x7fc0000000 | (GVA & 0x3fffffff));
    assert_int_equal(w.fill, TLB_HUGE);
    *entry(f, GVA, 4, 3) |= 1 << 29;
    assert_int_equal(bad(f, GVA, WALK_READ), 1 | 8);
}

static void test_global(void **state)
{
    struct fixture *f = *state;
    long_mode(f->x);
    map(f, GVA, 4, 1, P | G, PAGE | P | G);
    assert_int_equal(good(f, GVA, WALK_READ).fill, 0);
    f->x->cr4 |= CR4_PGE;
    assert_int_equal(good(f, GVA, WALK_READ).fill, TLB_GLOBAL);
    map(f, GVA, 4, 1, P | G, PAGE | P);
    assert_int_equal(good(f, GVA, WALK_READ).fill, 0);
}

static void test_five_levels(void **state)
{
    struct fixture *f = *state;
    gva_t gva = 0xff1234567890a123;
    long_mode(f->x);
    f->x->cr4 |= CR4_LA57;
    assert_true(x86_canonical(f->x, gva));
    map(f, gva, 5, 1, P | W, PAGE | P | W);
    assert_int_equal(good(f, gva, WALK_READ).gpa, PAGE + 0x123);
    *entry(f, gva, 5, 5) = 0;
    assert_int_equal(bad(f, gva, WALK_READ), 0);
    f->x->cr4 &= ~(uint64_t)CR4_LA57;
    assert_false(x86_canonical(f->x, gva));
    assert_true(x86_canonical(f->x, 0x7fffffffffff));
    assert_false(x86_canonical(f->x, 0x800000000000));
}

static void test_pae(void **state)
{
    struct fixture *f = *state;
    gva_t gva = 0xc0745abc; /* PDPTE 3 */
    f->x->cr4 |= CR4_PAE;
    f->x->efer |= EFER_NXE;
    f->x->pdpte[3] = ROOT | P;
    map(f, gva, 2, 1, P | W | U, PAGE | P | W | U);
    assert_int_equal(good(f, gva, WALK_WRITE | WALK_USER).gpa, PAGE + 0xabc);
    *entry(f, gva, 2, 1) |= 1ull << 55; /* reserved here, ignored in long mode */
    assert_int_equal(bad(f, gva, WALK_READ), 1 | 8);
    map(f, gva, 2, 2, P, 0x8000600000 | P | PS | NX);
    assert_int_equal(good(f, gva, WALK_READ).gpa, 0x8000600000 | (gva & 0x1fffff));
    assert_int_equal(bad(f, gva, WALK_FETCH), 1 | 16);
    f->x->pdpte[3] = ROOT;
    assert_int_equal(bad(f, gva, WALK_WRITE), 2);
}

static void test_32_bit(void **state)
{
    struct fixture *f = *state;
    gva_t gva = 0xc0745abc;
    uint32_t *pde = (uint32_t *)(f->ram.host + ROOT) + (gva >> 22);
    uint32_t *pte = (uint32_t *)(f->ram.host + ROOT + 0x1000) + (gva >> 12 & 1023);
    *pde = (ROOT + 0x1000) | P | W | U | PS; /* PS is ignored without CR4.PSE */
    *pte = PAGE | P | W | U;
    struct x86_walk w = good(f, gva, WALK_WRITE | WALK_USER);
    assert_int_equal(w.gpa, PAGE + 0xabc);
    assert_true(*pte & D && *pte & A && *pde & A && !(*pde & D));
    assert_int_equal(pte[1], 0); /* four bytes were changed, not eight */
    f->x->cr4 |= CR4_PSE;
    *pde = 0x12400000 | 0x5b << 13 | P | PS;
    w = good(f, gva, WALK_READ);
    assert_int_equal(w.gpa, 0x5b12400000 | (gva & 0x3fffff));
    assert_int_equal(w.fill, TLB_LARGE);
    *pde |= 1 << 21; /* bits above MAXPHYADDR = 40 */
    assert_int_equal(bad(f, gva, WALK_READ), 1 | 8);
    *pde = 0;
    assert_int_equal(bad(f, gva, WALK_FETCH), 0);
}

static void test_keys(void **state)
{
    struct fixture *f = *state;
    struct x86 *x = f->x;
    long_mode(x);
    x->cr4 |= CR4_PKE;
    map(f, GVA, 4, 1, P | W | U, PAGE | P | W | U | 5ull << 59);
    x->pkru = 1u << 10; /* AD of key 5 */
    assert_int_equal(bad(f, GVA, WALK_READ | WALK_USER), 1 | 4 | 32);
    assert_int_equal(bad(f, GVA, WALK_READ), 1 | 32);
    good(f, GVA, WALK_FETCH | WALK_USER);
    x->pkru = 2u << 10; /* WD */
    assert_int_equal(bad(f, GVA, WALK_WRITE | WALK_USER), 1 | 2 | 4 | 32);
    assert_false(good(f, GVA, WALK_READ | WALK_USER).writable);
    assert_int_equal(bad(f, GVA, WALK_WRITE), 1 | 2 | 32);
    x->cr0 &= ~(uint64_t)CR0_WP; /* WD binds the supervisor only with WP */
    good(f, GVA, WALK_WRITE);
    assert_int_equal(bad(f, GVA, WALK_WRITE | WALK_USER), 1 | 2 | 4 | 32);
    map(f, GVA, 4, 1, P | W, PAGE | P | W | 5ull << 59);
    x->pkru = 3u << 10;
    good(f, GVA, WALK_WRITE); /* PKRU is not for supervisor pages */
    x->cr4 |= CR4_PKS;
    x->pkrs = 1u << 10;
    assert_int_equal(bad(f, GVA, WALK_READ), 1 | 32);
    good(f, GVA, WALK_FETCH);
    x->pkrs = 2u << 10;
    good(f, GVA, WALK_WRITE);
    x->cr0 |= CR0_WP;
    assert_int_equal(bad(f, GVA, WALK_WRITE), 1 | 2 | 32);
    assert_false(good(f, GVA, WALK_READ).writable);
    x->cr4 &= ~(uint64_t)CR4_PKS;
    good(f, GVA, WALK_WRITE);
}

static void test_tables_in_rom(void **state)
{
    struct fixture *f = *state;
    static uint64_t rom[512];
    long_mode(f->x);
    map(f, GVA, 4, 1, P | W, PAGE | P | W);
    *entry(f, GVA, 4, 2) = 0x40000000 | P | W;
    memset(rom, 0, sizeof(rom));
    rom[GVA >> 12 & 511] = PAGE | P | W;
    struct bus_range r = {
        .base = 0x40000000, .size = sizeof(rom), .host = (uint8_t *)rom, .readonly = true, .name = "rom"};
    assert_true(bus_map(f->bus, &r));
    assert_int_equal(good(f, GVA, WALK_WRITE).gpa, PAGE + 0xabc);
    assert_int_equal(rom[GVA >> 12 & 511], PAGE | P | W);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_paging, setup, teardown),
        cmocka_unit_test_setup_teardown(test_accessed_dirty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_denied_leaves_leaf_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rights, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_present, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reserved, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_global, setup, teardown),
        cmocka_unit_test_setup_teardown(test_five_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pae, setup, teardown),
        cmocka_unit_test_setup_teardown(test_32_bit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tables_in_rom, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
