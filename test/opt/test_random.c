/* test_random: on random blocks, what runs before the passes and after each of them is the same.
 *
 * "The same": registers, flags and memory at the end, and also registers and flags at every access to memory and
 * every call, since each may turn out to be a fault that shows them to the guest.
 */
#include "opt/opt.h"
#include "test/ir/irmake.h"

enum { BLOCKS = 6000, REGS = 8 };

struct machine {
    struct cpu cpu; /* first: calls get a pointer to it */
    uint8_t mem[MAKE_MEM_SIZE + 64];
    uint64_t seen; /* hash of what slow paths saw */
    const void *helpers[2];
    jmp_buf fault;
};

/* ---- running ----------------------------------------------------------------------------------------------- */

static void see(struct machine *m, uint64_t v)
{
    m->seen = (m->seen ^ v) * 0x9e3779b97f4a7c15 + (m->seen >> 29);
}

static void see_state(struct machine *m, uint64_t what)
{
    see(m, what);
    see(m, m->cpu.insn_off);
    see(m, cpu_flags(&m->cpu));
    for (unsigned i = 0; i < REGS; i++)
        see(m, m->cpu.reg[i]);
}

static int64_t reach(struct cpu *c, gva_t gva, unsigned desc)
{
    struct machine *m = (struct machine *)c;
    see_state(m, gva ^ (uint64_t)desc << 40);
    if (gva < MAKE_MEM_BASE || gva >= MAKE_MEM_BASE + MAKE_MEM_SIZE)
        longjmp(m->fault, 1);
    return (int64_t)((uintptr_t)m->mem - MAKE_MEM_BASE);
}

static uint64_t helper(struct cpu *c, uint64_t a, uint64_t b, uint64_t d)
{
    struct machine *m = (struct machine *)c;
    see_state(m, a * 3 + b * 5 + d);
    c->reg[a & 7] ^= b;
    cpu_set_flags(c, (uint32_t)(a ^ b));
    return a - b;
}

static void start(struct machine *m, uint64_t seed)
{
    memset(m, 0, sizeof *m);
    m->helpers[0] = (const void *)(uintptr_t)helper;
    m->cpu.helper = m->helpers;
    for (unsigned i = 0; i < REGS; i++)
        m->cpu.reg[i] = (seed = seed * 6364136223846793005 + 1442695040888963407) >> (i % 3 * 20);
    for (unsigned i = 0; i < MAKE_MEM_SIZE; i++)
        m->mem[i] = (uint8_t)(i * 37);
    cpu_set_flags(&m->cpu, (uint32_t)(seed >> 30));
}

static void run(struct machine *m, const struct ir_block *b)
{
    static const struct ir_interp_calls calls = {.mem_read = reach, .mem_write = reach};
    unsigned slot = 9;
    if (setjmp(m->fault)) {
        see(m, 1);
        return;
    }
    see(m, ir_interp(b, &m->cpu, &calls, &slot));
    see(m, m->cpu.pc);
    see_state(m, slot);
}

static bool same(const struct machine *x, const struct machine *y)
{
    return x->seen == y->seen && memcmp(x->mem, y->mem, sizeof x->mem) == 0;
}

struct check {
    struct machine *wanted, *got;
    struct irtest *before, *now;
    uint64_t seed;
};

static void check_pass(void *arg, const char *pass, const struct ir_block *b)
{
    struct check *k = arg;
    irtest_verify(k->now, b);
    start(k->got, k->seed);
    run(k->got, b);
    if (!same(k->wanted, k->got))
        fail_msg("%s changed the meaning, seed %llu\n%s\ninto\n%s", pass, (unsigned long long)k->seed, k->before->text,
                 irtest_print(k->now, b));
}

static void test_random(void **state)
{
    (void)state;
    struct irtest before, now;
    struct check k = {.wanted = aligned_alloc(64, sizeof(struct machine)),
                      .got = aligned_alloc(64, sizeof(struct machine)),
                      .before = &before,
                      .now = &now};
    struct opt_trace trace = {check_pass, &k};
    struct maker m = {.seed = 0x1234567, .regs = REGS};
    unsigned fewer = 0;
    irtest_init(&before);
    irtest_init(&now);
    m.b = &before.block;
    for (unsigned i = 0; i < BLOCKS; i++) {
        make_block(&m);
        irtest_verify(&before, &before.block);
        k.seed = m.seed;
        start(k.wanted, k.seed);
        run(k.wanted, &before.block);
        irtest_parse(&now, irtest_print(&before, &before.block));
        opt_run(&now.block, 0, &trace);
        fewer += now.block.nops < before.block.nops;
    }
    assert_true(fewer > BLOCKS / 2); /* the passes do something at all */
    free(k.wanted);
    free(k.got);
    irtest_fini(&before);
    irtest_fini(&now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
