/* test_emit: random IR blocks run by the reference interpreter and as host code give the same registers, flags,
 * memory, and the same state at every slow path and helper call, where a fault would show it to the guest. */
#include <sys/mman.h>

#include "host/host.h"
#include "opt/opt.h"
#include "test/ir/irmake.h"

enum { BLOCKS = 6000, REGS = 16, PAGES = 2 * 4096, COLD_AT = 1 << 19 };

struct machine {
    struct cpu cpu; /* first: calls get a pointer to it */
    uint64_t seen;  /* hash of what slow paths and helpers saw */
    uint8_t *mem;   /* two pages, guest address 0x40000 */
    bool bounce;    /* stores go through the bounce buffer */
    gva_t store_at;
    unsigned store_len;
    const void *helpers[2];
    bool native;
    uint8_t fx[512] __attribute__((aligned(16))); /* the x87 state, but while generated code has it */
    jmp_buf fault;
};

static void see(struct machine *m, uint64_t v)
{
    m->seen = (m->seen ^ v) * 0x9e3779b97f4a7c15 + (m->seen >> 29);
}

static void see_state(struct machine *m, uint64_t what)
{
    see(m, what);
    see(m, m->cpu.insn_off);
    see(m, m->cpu.x87_ip);
    see(m, cpu_flags(&m->cpu));
    for (unsigned i = 0; i < REGS; i++)
        see(m, m->cpu.reg[i]);
    for (unsigned i = 0; i < sizeof m->cpu.vec; i += 64)
        see(m, bytes_get(m->cpu.vec[0] + i, 8) ^ bytes_get(m->cpu.vec[0] + i + 48, 8));
    for (unsigned i = 0; i < IR_NMASK; i++)
        see(m, m->cpu.mask[i]);
}

static void leave(struct machine *m)
{
    if (m->native)
        host_leave(&m->cpu, LEAVE_FAULT);
    longjmp(m->fault, 1);
}

static uint8_t *reach(struct machine *m, gva_t gva, unsigned desc)
{
    see_state(m, gva ^ (uint64_t)(desc & 0xffff) << 40);
    if (desc & MD_SELECT)
        see(m, ir_avx_selected(m->cpu.select_how, m->cpu.select) & mask_bits(desc & MD_SIZE));
    bool misaligned = desc & MD_ALIGN && gva & ((desc & MD_SIZE) - 1);
    if (gva < MAKE_MEM_BASE || gva >= MAKE_MEM_BASE + MAKE_MEM_SIZE || misaligned)
        leave(m);
    return m->mem + (gva - 0x40000);
}

static int64_t read_slow(struct cpu *c, gva_t gva, unsigned desc)
{
    struct machine *m = (struct machine *)c;
    uint8_t *at = reach(m, gva, desc);
    if (!m->bounce)
        return (int64_t)((uintptr_t)at - gva);
    memcpy(c->bounce, at, desc & MD_SIZE);
    return (int64_t)((uintptr_t)c->bounce - gva);
}

static int64_t write_slow(struct cpu *c, gva_t gva, unsigned desc)
{
    struct machine *m = (struct machine *)c;
    uint8_t *at = reach(m, gva, desc);
    if (!m->bounce || (desc & MD_PROBE))
        return (int64_t)((uintptr_t)at - gva);
    memcpy(c->bounce, at, desc & MD_SIZE);
    m->store_at = gva;
    m->store_len = desc & MD_SIZE;
    c->pending = 1;
    return (int64_t)((uintptr_t)c->bounce - gva);
}

static void commit(struct cpu *c)
{
    struct machine *m = (struct machine *)c;
    memcpy(m->mem + (m->store_at - 0x40000), c->bounce, m->store_len);
    c->pending = 0;
}

static void worn(struct cpu *c, const void *hpc)
{
    assert_non_null(hpc);
    for (unsigned i = 0; i < ARRAY_LEN(c->pair_budget); i++)
        c->pair_budget[i] = 2;
}

static void divide(struct cpu *c)
{
    struct machine *m = (struct machine *)c;
    see_state(m, 0xde);
    leave(m);
}

static uint64_t helper(struct cpu *c, uint64_t a, uint64_t b, uint64_t d)
{
    struct machine *m = (struct machine *)c;
    see_state(m, a * 3 + b * 5 + d);
    c->reg[a & 15] ^= b;
    cpu_set_flags(c, (uint32_t)(a ^ b));
    return a - b;
}

static void start(struct machine *m, uint64_t seed, bool bounce)
{
    for (unsigned i = 0; i < REGS; i++)
        m->cpu.reg[i] = (seed = seed * 6364136223846793005 + 1442695040888963407) >> (i % 3 * 20);
    for (unsigned i = 0; i < PAGES; i++)
        m->mem[i] = (uint8_t)(i * 37);
    cpu_set_flags(&m->cpu, (uint32_t)(seed >> 30));
    m->seen = 0;
    m->cpu.insn_off = 0;
    m->bounce = bounce;
    m->cpu.pending = 0;
    m->cpu.kick = 0;
    m->cpu.mxcsr = 0x1f80;
    m->cpu.reg[IR_PCB] = 0x7000;
    for (unsigned i = 0; i < sizeof m->cpu.vec / 8; i++)
        bytes_put(m->cpu.vec[0] + 8 * i, i % 5 ? seed * (2 * i + 1) : 0, 8);
    for (unsigned i = 0; i < IR_NMASK; i++)
        m->cpu.mask[i] = i == 6 ? 0 : i == 7 ? ~0ull : seed >> (i * 7);
    m->cpu.vec_bytes = (uint8_t)host_vec_bytes();
    m->cpu.x87_ip = 0;
    memset(m->fx, 0, sizeof m->fx);
    bytes_put(m->fx, 0x37f, 2);
    bytes_put(m->fx + 2, (seed >> 8 & 7) << 11, 2);
    m->fx[4] = (uint8_t)(seed >> 16);
    for (unsigned i = 0; i < 8; i++) { /* 1 with some bits after the point */
        bytes_put(m->fx + 32 + 16 * i, 1ull << 63 | seed >> (i + 3), 8);
        bytes_put(m->fx + 40 + 16 * i, 0x3fff, 2);
    }
    for (unsigned i = 0; i < CPU_PAIRS; i++)
        m->cpu.pair_page[i] = CPU_NO_PAGE;
}

static void finish(struct machine *m, enum cpu_leave why)
{
    if (why != LEAVE_FAULT)
        see(m, m->cpu.pc);
    m->cpu.insn_off = 0; /* means nothing here */
    see_state(m, why);
}

static void vec_interp(struct cpu *c, const struct ir_op *o, void *mem)
{
    assert_true(host_vec_exec(c, o, mem)); /* all exceptions are masked */
}

static void x87_interp(struct cpu *c, const struct ir_op *o, void *mem)
{
    host_x87_exec(c, ((struct machine *)c)->fx, o, mem);
}

static void run_interp(struct machine *m, const struct ir_block *b)
{
    static const struct ir_interp_calls calls = {.mem_read = read_slow,
                                                 .mem_write = write_slow,
                                                 .mem_commit = commit,
                                                 .divide_error = divide,
                                                 .vec = vec_interp,
                                                 .x87 = x87_interp};
    unsigned slot = 9;
    m->native = false;
    if (setjmp(m->fault))
        finish(m, LEAVE_FAULT);
    else
        finish(m, ir_interp(b, &m->cpu, &calls, &slot));
}

struct rig {
    struct irtest before, now;
    struct arena scratch;
    struct machine *wanted, *got;
    struct host_thunks thunks;
    struct host_faults faults;
    struct os_code code_memory;
    uint8_t *rw, *rx, *table;
    uint8_t *top[512];
    struct host_code code;
    size_t thunk_size, size;
};

static const struct host_fault *find(void *arg, const void *hpc, const uint8_t **cold)
{
    struct rig *r = arg;
    *cold = r->rx + COLD_AT;
    for (unsigned i = 0; i < r->code.nfaults; i++) {
        unsigned at = r->code.fault[i].at;
        if (r->rx + (at & HOST_FAULT_COLD ? COLD_AT + (at & ~HOST_FAULT_COLD) : r->thunk_size + at) == hpc)
            return &r->code.fault[i];
    }
    return NULL;
}

static struct machine *machine_new(uint8_t *table)
{
    struct machine *m = aligned_alloc(64, (sizeof *m + 63) & ~63ul);
    memset(m, 0, sizeof *m);
    m->mem = mmap(NULL, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    m->helpers[0] = (const void *)helper;
    m->cpu.helper = m->helpers;
    m->cpu.page_mask = CPU_PAGE_MASK;
    m->cpu.tab_r = m->cpu.tab_w = m->cpu.tab_x = table;
    return m;
}

/* The table seen as one of two levels: its leaves lie one behind the other, so entries are where they were. */
static void set_levels(struct rig *r)
{
    for (unsigned i = 0; i < 512; i++)
        r->top[i] = r->table + ((size_t)i << 30);
    struct cpu *c[2] = {&r->wanted->cpu, &r->got->cpu};
    for (unsigned i = 0; i < 2; i++)
        c[i]->tab_r = c[i]->tab_w = c[i]->tab_x = (uint8_t *)r->top + 1;
}

static void setup(struct rig *r, bool two_levels)
{
    struct status st;
    static const struct host_calls calls = {read_slow, write_slow, commit, worn, divide, divide};
    memset(r, 0, sizeof *r);
    irtest_init(&r->before);
    irtest_init(&r->now);
    assert_true(arena_init(&r->scratch, 1 << 20, &st));
    assert_true(os_code_memory(&r->code_memory, 1 << 20, false, &st));
    r->rw = r->code_memory.rw;
    r->rx = r->code_memory.rx;
    r->table = os_reserve((size_t)1 << 39);
    assert_non_null(r->table);
    r->wanted = machine_new(r->table);
    r->got = machine_new(r->table);
    if (two_levels)
        set_levels(r);
    struct host_span s = {.rw = r->rw, .rx_delta = r->rx - r->rw, .size = 64 << 10};
    assert_true(host_thunks_emit(&r->thunks, &s, &calls, two_levels));
    r->thunk_size = (s.used + 15) & ~15ul;
    host_thread_init(&r->got->cpu);
    r->faults = (struct host_faults){&r->thunks, find, r};
    assert_true(host_faults_init(&r->faults, &st));
}

static void machine_free(struct machine *m)
{
    munmap(m->mem, PAGES);
    free(m);
}

static void teardown(struct rig *r)
{
    machine_free(r->wanted);
    machine_free(r->got);
    os_release(r->table, (size_t)1 << 39);
    os_code_memory_free(&r->code_memory);
    arena_fini(&r->scratch);
    irtest_fini(&r->before);
    irtest_fini(&r->now);
}

static void fill_table(struct rig *r, bool fill)
{
    for (unsigned page = 0; page < 2; page++) {
        uint64_t gva = 0x40000 + page * 4096;
        *(uint64_t *)(r->table + ((gva >> 9) & CPU_PAGE_MASK)) =
            fill ? (uint64_t)((uintptr_t)r->got->mem - 0x40000) : 0;
    }
}

static void run_native(struct rig *r, const struct ir_block *b)
{
    arena_reset(&r->scratch);
    struct host_span s = {.rw = r->rw + r->thunk_size, .rx_delta = r->rx - r->rw, .size = COLD_AT - r->thunk_size};
    s.cold = r->rw + COLD_AT;
    s.cold_size = (1 << 20) - COLD_AT;
    assert_true(host_emit(&r->thunks, b, &s, &r->scratch, &r->code));
    r->size = s.used;
    r->got->native = true;
    host_x87_load(r->got->fx);
    enum cpu_leave why = host_enter(&r->thunks, &r->got->cpu, r->rx + r->thunk_size + r->code.entry.at);
    host_x87_save(r->got->fx);
    finish(r->got, why);
}

static bool agree(const struct rig *r, bool seen)
{
    const struct machine *w = r->wanted, *g = r->got;
    return (!seen || w->seen == g->seen) && memcmp(w->mem, g->mem, PAGES) == 0 &&
           cpu_flags(&w->cpu) == cpu_flags(&g->cpu) && w->cpu.x87_ip == g->cpu.x87_ip && memcmp(w->fx, g->fx, 6) == 0 &&
           memcmp(w->fx + 32, g->fx + 32, 128) == 0 && memcmp(w->cpu.vec, g->cpu.vec, sizeof w->cpu.vec) == 0 &&
           memcmp(w->cpu.mask, g->cpu.mask, sizeof w->cpu.mask) == 0 && w->cpu.mxcsr == g->cpu.mxcsr &&
           memcmp(w->cpu.reg, g->cpu.reg, REGS * 8) == 0;
}

struct trial {
    uint64_t seed;
    bool bounce, table;
};

static bool run_both(struct rig *r, const struct ir_block *b, const struct trial *t)
{
    fill_table(r, false);
    start(r->wanted, t->seed, t->bounce);
    run_interp(r->wanted, b);
    fill_table(r, t->table);
    start(r->got, t->seed, t->bounce);
    run_native(r, b);
    return agree(r, !t->table);
}

/* Leave ops out as long as the rest still verifies and fails. */
static void shrink(struct rig *r, struct ir_block *b, const struct trial *t)
{
    struct status st;
    for (unsigned i = b->nops; i-- > 0;) {
        struct ir_op saved = b->op[i];
        memmove(&b->op[i], &b->op[i + 1], (--b->nops - i) * sizeof saved);
        if (ir_verify(b, &st)) {
            opt_flags(b);
            if (!run_both(r, b, t)) {
                i = b->nops;
                continue;
            }
        }
        memmove(&b->op[i + 1], &b->op[i], (b->nops++ - i) * sizeof saved);
        b->op[i] = saved;
    }
    opt_flags(b);
    run_both(r, b, t);
}

static void explain(struct rig *r, const struct ir_block *b)
{
    const struct machine *w = r->wanted, *g = r->got;
    for (unsigned i = 0; i < REGS; i++)
        if (w->cpu.reg[i] != g->cpu.reg[i])
            print_error("r%u: wanted %llx got %llx\n", i, (unsigned long long)w->cpu.reg[i],
                        (unsigned long long)g->cpu.reg[i]);
    for (unsigned i = 0; i < sizeof w->cpu.vec; i += 8)
        if (memcmp(w->cpu.vec[0] + i, g->cpu.vec[0] + i, 8))
            print_error("v%u[%u]: wanted %llx got %llx\n", i / 64, i % 64,
                        (unsigned long long)bytes_get(w->cpu.vec[0] + i, 8),
                        (unsigned long long)bytes_get(g->cpu.vec[0] + i, 8));
    for (unsigned i = 0; i < IR_NMASK; i++)
        if (w->cpu.mask[i] != g->cpu.mask[i])
            print_error("k%u: wanted %llx got %llx\n", i, (unsigned long long)w->cpu.mask[i],
                        (unsigned long long)g->cpu.mask[i]);
    print_error("mxcsr: wanted %x got %x\n", w->cpu.mxcsr, g->cpu.mxcsr);
    print_error("flags: wanted %x got %x, seen %s, host code:", cpu_flags(&w->cpu), cpu_flags(&g->cpu),
                w->seen == g->seen ? "same" : "differs");
    for (size_t i = 0; i < r->size; i++)
        print_error(" %02x", r->rw[r->thunk_size + i]);
    print_error("\n%s\n", irtest_print(&r->now, b));
}

enum { BOUNCE = 1, TABLE = 2, TWO_LEVELS = 4, X87 = 8, AVX = 16 };

static void random_blocks(unsigned how, uint64_t seed)
{
    struct rig r;
    struct maker m = {.seed = seed, .regs = REGS, .x87 = how & X87, .avx = how & AVX ? host_vec_bytes() : 0};
    setup(&r, how & TWO_LEVELS);
    m.b = &r.before.block;
    for (unsigned i = 0; i < BLOCKS; i++) {
        make_block(&m);
        irtest_verify(&r.before, &r.before.block);
        irtest_parse(&r.now, irtest_print(&r.before, &r.before.block));
        if (i & 1)
            opt_run(&r.now.block, 0, NULL);
        else
            opt_flags(&r.now.block);
        struct trial t = {m.seed, how & BOUNCE, how & TABLE};
        if (!run_both(&r, &r.now.block, &t)) {
            shrink(&r, &r.now.block, &t);
            explain(&r, &r.now.block);
            fail_msg("host code differs from the interpreter, seed %llu", (unsigned long long)m.seed);
        }
    }
    teardown(&r);
}

static void test_slow(void **state)
{
    (void)state;
    random_blocks(0, 0x1234567);
}
static void test_bounce(void **state)
{
    (void)state;
    random_blocks(BOUNCE, 0x7654321);
}
static void test_table(void **state)
{
    (void)state;
    random_blocks(TABLE, 0xabcdef);
}
static void test_two_levels(void **state)
{
    (void)state;
    random_blocks(TABLE | TWO_LEVELS, 0xfedcba);
}

static void test_x87(void **state)
{
    (void)state;
    random_blocks(X87, 0x2468ace);
    random_blocks(X87 | BOUNCE, 0x13579bd);
    random_blocks(X87 | TABLE, 0x87878787);
    random_blocks(X87 | TABLE | TWO_LEVELS, 0x78787878);
}

static void test_avx(void **state)
{
    (void)state;
    if (host_vec_bytes() < 32)
        skip();
    random_blocks(AVX, 0x369cf258);
    random_blocks(AVX | BOUNCE, 0x147ad036);
    random_blocks(AVX | TABLE, 0x258be147);
    random_blocks(AVX | TABLE | TWO_LEVELS, 0x36912480);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_slow),  cmocka_unit_test(test_bounce),
                                       cmocka_unit_test(test_table), cmocka_unit_test(test_two_levels),
                                       cmocka_unit_test(test_x87),   cmocka_unit_test(test_avx)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
