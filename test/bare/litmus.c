/* test/bare/litmus.c: what order processors see each other's loads and stores in.  SDM vol. 3, 8.2.2 and 8.2.3:
 * stores are seen by all in one order, loads are not moved over loads, stores not over older loads or stores; a load
 * may be moved over an older store to another place (store buffering), unless MFENCE, a locked insn or XCHG stands
 * between.  Locked operations are atomic at any size and alignment (8.1.2.2).
 *
 *     SB   x=1 r=y | y=1 r=x              both 0: allowed, must be seen; forbidden with a fence between
 *     MP   x=1 y=1 | r=y r=x              1 0: forbidden
 *     LB   r=x y=1 | r=y x=1              both 1: forbidden
 *     IRIW x=1 | y=1 | r=x r=y | r=y r=x  1 0 1 0: forbidden
 *
 * A round is one cell of x and y, each in a cache line of its own; processors go over a batch of cells side by side.
 * With 4 processors two pairs run the shapes of two at once.  Command line: rounds=N.  y may lie in a page that holds
 * code, so that its stores take the slow path; and x across two pages.
 */
#include "lib/smp.h"

enum { CELLS = 512, LINE = 64 };
#define PATIENCE 60000000000ull /* ticks of the TSC */

struct cell {
    volatile uint32_t v;
    uint32_t pad[LINE / 4 - 1];
};
static struct cell x[2][CELLS] __attribute__((aligned(4096))), y[2][CELLS] __attribute__((aligned(4096)));
static uint32_t r[4][CELLS][2];
static unsigned ncpus;

enum fence { PLAIN, MFENCE, LOCKED, XCHG };

static inline uint32_t get(const struct cell *c)
{
    uint32_t v;
    __asm__ volatile("mov %1, %0" : "=r"(v) : "m"(c->v) : "memory");
    return v;
}
static inline void put1(struct cell *c)
{
    __asm__ volatile("movl $1, %0" : "=m"(c->v) : : "memory");
}
static inline void put1_xchg(struct cell *c)
{
    uint32_t v = 1;
    __asm__ volatile("xchg %0, %1" : "+r"(v), "+m"(c->v) : : "memory");
}
static inline void locked_nop(void)
{
    uint32_t on_stack = 0;
    __asm__ volatile("lock addl $0, %0" : "+m"(on_stack) : : "memory");
}

/* Two neighbours begin a cell together, if both run at all; else they stop waiting for this batch. */
static volatile struct {
    uint32_t at;
    uint32_t pad[LINE / 4 - 1];
} progress[4];
struct meeting {
    unsigned cpu;
    uint32_t base;
    bool given_up;
};

static inline void meet(struct meeting *m, unsigned i)
{
    store32(&progress[m->cpu].at, m->base + i);
    for (unsigned tries = 0; !m->given_up && (int32_t)(load32(&progress[m->cpu ^ 1].at) - m->base - i) < 0; tries++)
        m->given_up = tries == 3000;
}

#define OVER_CELLS(body)                                                                                               \
    for (unsigned i = 0; i < CELLS; i++) {                                                                             \
        meet(m, i);                                                                                                    \
        body                                                                                                           \
    }

static void sb(struct meeting *m, struct cell *mine, struct cell *other, uint32_t (*out)[2], enum fence f)
{
    switch (f) {
    case PLAIN: OVER_CELLS(put1(&mine[i]); out[i][0] = get(&other[i]);) break;
    case MFENCE: OVER_CELLS(put1(&mine[i]); __asm__ volatile("mfence" ::: "memory"); out[i][0] = get(&other[i]);) break;
    case LOCKED: OVER_CELLS(put1(&mine[i]); locked_nop(); out[i][0] = get(&other[i]);) break;
    case XCHG: OVER_CELLS(put1_xchg(&mine[i]); out[i][0] = get(&other[i]);) break;
    }
}

static void mp_write(struct meeting *m, struct cell *a, struct cell *b, enum fence f)
{
    if (f == XCHG)
        OVER_CELLS(put1_xchg(&a[i]); put1(&b[i]);)
    else
        OVER_CELLS(put1(&a[i]); put1(&b[i]);)
}

static void read_two(struct meeting *m, const struct cell *a, const struct cell *b, uint32_t (*out)[2])
{
    OVER_CELLS(out[i][0] = get(&a[i]); out[i][1] = get(&b[i]);)
}

static void lb(struct meeting *m, const struct cell *read, struct cell *write, uint32_t (*out)[2], enum fence f)
{
    if (f == XCHG)
        OVER_CELLS(out[i][0] = get(&read[i]); put1_xchg(&write[i]);)
    else
        OVER_CELLS(out[i][0] = get(&read[i]); put1(&write[i]);)
}

enum shape { SB, MP, LB, IRIW };
struct litmus {
    const char *name;
    enum shape shape;
    enum fence fence;
    bool allowed;
    uint64_t batches, seen;
};

static void one_batch(struct meeting *m, unsigned cpu, const struct litmus *t)
{
    unsigned pair = t->shape == IRIW ? 0 : cpu / 2, role = t->shape == IRIW ? cpu : cpu % 2;
    struct cell *a = x[pair], *b = y[pair];
    switch (t->shape) {
    case SB: sb(m, role ? b : a, role ? a : b, r[cpu], t->fence); break;
    case MP:
        if (role)
            read_two(m, b, a, r[cpu]);
        else
            mp_write(m, a, b, t->fence);
        break;
    case LB: lb(m, role ? b : a, role ? a : b, r[cpu], t->fence); break;
    case IRIW:
        if (role == 0)
            mp_write(m, a, a, t->fence);
        else if (role == 1)
            mp_write(m, b, b, t->fence);
        else
            read_two(m, role == 2 ? a : b, role == 2 ? b : a, r[cpu]);
        break;
    }
}

static uint64_t count_seen(const struct litmus *t)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < CELLS; i++) {
        if (t->shape == IRIW) {
            n += r[2][i][0] == 1 && r[2][i][1] == 0 && r[3][i][0] == 1 && r[3][i][1] == 0;
            continue;
        }
        for (unsigned c = 0; c + 1 < ncpus; c += 2)
            switch (t->shape) {
            case SB: n += r[c][i][0] == 0 && r[c + 1][i][0] == 0; break;
            case MP: n += r[c + 1][i][0] == 1 && r[c + 1][i][1] == 0; break;
            default: n += r[c][i][0] == 1 && r[c + 1][i][0] == 1; break;
            }
    }
    return n;
}

static void batches(unsigned cpu, void *arg)
{
    struct litmus *t = arg;
    static volatile uint32_t all_batches;
    for (uint64_t n = 0; n < t->batches; n++) {
        if (cpu == 0) {
            memset(x, 0, sizeof x);
            memset(y, 0, sizeof y);
            all_batches++;
        }
        smp_barrier(ncpus);
        struct meeting m = {cpu, all_batches * CELLS, false};
        for (volatile unsigned skew = (unsigned)(n * 7 + cpu * 5) % 13; skew; skew--)
            ;
        one_batch(&m, cpu, t);
        smp_barrier(ncpus);
        if (cpu == 0)
            t->seen += count_seen(t);
        smp_barrier(ncpus);
    }
}

static void shapes(uint64_t rounds)
{
    static struct litmus all[] = {
        {"SB: both loads pass the stores (allowed)", SB, PLAIN, true, 0, 0},
        {"SB with MFENCE", SB, MFENCE, false, 0, 0},
        {"SB with a locked insn", SB, LOCKED, false, 0, 0},
        {"SB with XCHG", SB, XCHG, false, 0, 0},
        {"MP", MP, PLAIN, false, 0, 0},
        {"MP with XCHG", MP, XCHG, false, 0, 0},
        {"LB", LB, PLAIN, false, 0, 0},
        {"LB with XCHG", LB, XCHG, false, 0, 0},
        {"IRIW", IRIW, PLAIN, false, 0, 0},
        {"IRIW with XCHG", IRIW, XCHG, false, 0, 0},
    };
    for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
        struct litmus *t = &all[i];
        if (t->shape == IRIW && ncpus < 4)
            continue;
        uint64_t end = rdtsc() + PATIENCE;
        t->batches = rounds / CELLS + 1;
        do
            smp_run(batches, t);
        while (t->allowed && !t->seen && rdtsc() < end);
        if (t->allowed && !t->seen && !command_line("rounds", 0))
            put("not seen, so this run shows little: %s\n", t->name); /* a busy host never ran two at once */
        else if (t->allowed)
            CHECK(t->name, t->seen > 0, true);
        else
            CHECK(t->name, t->seen, 0);
    }
}

/* ---- atomicity at any size and alignment ------------------------------------------------------------------------ */

static uint8_t counters[3 * 4096] __attribute__((aligned(4096)));
struct counting {
    uint8_t *at;
    unsigned size, times;
};

static void count(unsigned cpu, void *arg)
{
    const struct counting *c = arg;
    (void)cpu;
    for (unsigned i = 0; i < c->times; i++)
        switch (c->size) {
        case 2: __asm__ volatile("lock incw %0" : "+m"(*(uint16_t *)c->at) : : "memory"); break;
        case 4: __asm__ volatile("lock incl %0" : "+m"(*(uint32_t *)c->at) : : "memory"); break;
        case 8: __asm__ volatile("lock incq %0" : "+m"(*(uint64_t *)c->at) : : "memory"); break;
        default: { /* CMPXCHG16B, aligned: counts in both halves */
            uint64_t low = 0, high = 0;
            bool done;
            do {
                uint64_t b = low + 1, d = high + 3;
                __asm__ volatile("lock cmpxchg16b %1"
                                 : "=@ccz"(done), "+m"(*(unsigned __int128 *)c->at), "+a"(low), "+d"(high)
                                 : "b"(b), "c"(d)
                                 : "memory");
            } while (!done);
        }
        }
}

static void atomics(unsigned times)
{
    static const struct {
        const char *name;
        unsigned offset, size;
    } row[] = {{"LOCK INC, 2 bytes", 0, 2},
               {"LOCK INC, 4 bytes", 4, 4},
               {"LOCK INC, 8 bytes", 8, 8},
               {"LOCK INC, 8 bytes, misaligned in a line", 3, 8},
               {"LOCK INC, 4 bytes across lines", 62, 4},
               {"LOCK INC, 8 bytes across lines", 4096 + 59, 8},
               {"LOCK INC, 2 bytes across pages", 4095, 2},
               {"LOCK INC, 4 bytes across pages", 4094, 4},
               {"LOCK INC, 8 bytes across pages", 4093, 8},
               {"LOCK CMPXCHG16B", 32, 16}};
    for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
        memset(counters, 0, sizeof counters);
        struct counting c = {counters + row[i].offset, row[i].size, times};
        smp_run(count, &c);
        uint64_t got = 0, wanted = (uint64_t)times * ncpus;
        memcpy(&got, c.at, c.size < 8 ? c.size : 8);
        CHECK(row[i].name, got, c.size == 2 ? wanted & 0xffff : wanted);
        if (c.size == 16)
            CHECK("LOCK CMPXCHG16B, upper half", *(uint64_t *)(c.at + 8), 3 * wanted);
    }
}

/* A counter in a page that holds code: its accesses take the slow path and must still be atomic. */
__asm__(".pushsection .text\n.balign 4096\ncode_counter_page: ret\n.balign 64\ncode_counter: .quad 0\n.balign "
        "4096\n.popsection\n");
extern char code_counter_page[];
extern uint64_t code_counter;

static void count_in_code(unsigned cpu, void *arg)
{
    (void)cpu;
    for (unsigned i = *(unsigned *)arg; i; i--) {
        __asm__ volatile("call code_counter_page" ::: "memory");
        __asm__ volatile("lock incq %0" : "+m"(code_counter) : : "memory");
    }
}

void test_main(void)
{
    uint64_t rounds = command_line("rounds", 20000);
    ncpus = smp_start();
    put("%u processors, %u rounds\n", ncpus, (unsigned)rounds);
    shapes(rounds);
    unsigned times = rounds < 100000 ? 2000 : (unsigned)(rounds / 50);
    atomics(times);
    smp_run(count_in_code, &times);
    CHECK("LOCK INC in a page with code", code_counter, (uint64_t)times * ncpus);
}
