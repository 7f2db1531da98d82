/* test/bare/xmc.c: code that one processor changes while others run it.  SDM vol. 3, 8.1.3 (cross-modifying code): after
 * the store, and a serializing insn on the other processor, that one runs the new insn.  8.3 lists what serializes.
 *
 *     poke         Linux's text_poke_bp: INT3 over the first byte, all serialize by an interrupt, the rest of the
 *                  bytes, again, the first byte, again.  Runners never stop; what they run is the old insn, the new one,
 *                  or the breakpoint, whose handler does what the new one does; after the last interrupt only the new.
 *     handshake    store, flag; the other sees the flag, serializes, and must run the new insn.
 *     plain        a store and nothing else: seen at some time.
 *     live         an immediate that is stored to without end, beside functions in its page that are rewritten
 *     jit          whole functions in a ring of buffers, called through a pointer that is handed over.
 */
#include "lib/smp.h"

enum { VECTOR = 0x40, LINE = 64 };
static unsigned ncpus;
static uint32_t rounds;
static uint64_t patience, end; /* ticks of the TSC for one test; 0: until all rounds are done */
static volatile uint32_t stop;

typedef uint32_t fn0(void);

/* Processor 0 asks before each round; at the end the others are told by `stop`. */
static bool more(uint32_t k)
{
    bool yes = k <= rounds && (!patience || rdtsc() < end || k < 3);
    if (!yes)
        store32(&stop, 1);
    return yes;
}

static void run_all(void (*fn)(unsigned, void *), void *arg)
{
    stop = 0;
    end = rdtsc() + patience;
    smp_run(fn, arg);
}

/* mov $v, %eax; ret: the first at the start of a line, the second with its immediate across two pages. */
__asm__(".pushsection .text\n"
        ".balign 4096\n"
        "xmc_site: mov $0, %eax\n ret\n"
        ".balign 64\n"
        "xmc_nop: .byte 0x0f, 0x1f, 0x44, 0, 0\n" /* nop or jmp xmc_taken: a static key */
        "    xor %eax, %eax\n ret\n"
        "xmc_taken: mov $1, %eax\n ret\n"
        ".balign 64\n"
        "xmc_same_block: cpuid\n" /* looks at the flag, serializes, runs the insn in question, with no branch between */
        "    xor %eax, %eax\n"
        "    mov xmc_flag(%rip), %edi\n"
        "    cpuid\n"
        "xmc_after: mov $0, %eax\n ret\n"
        ".balign 64\n"
        "xmc_loop: mov $0, %eax\n"
        "    cmp %edi, %eax\n"
        "    jne xmc_loop\n"
        "    ret\n"
        ".balign 4096\n"
        ".skip 4093\n"
        "xmc_cross: mov $0, %eax\n ret\n"
        ".balign 4096\n"
        "xmc_live: mov $0, %eax\n ret\n"
        ".balign 16\n"
        "xmc_near: .skip 8 * 16, 0xcc\n"
        ".balign 4096\n"
        ".popsection\n");
extern uint8_t xmc_site[], xmc_nop[], xmc_taken[], xmc_same_block[], xmc_after[], xmc_loop[], xmc_cross[], xmc_live[],
    xmc_near[];

/* ---- poke ---------------------------------------------------------------------------------------------------------- */

static volatile uint32_t acks, poked, wrong, calls[SMP_MAX], hits;
static uint8_t *volatile poke_at;
static volatile uint32_t poke_value;

static void sync_handler(struct frame *f)
{
    (void)f;
    smp_eoi();
    __atomic_fetch_add(&acks, 1, __ATOMIC_SEQ_CST); /* and IRET serializes */
}

/* The insn that is being put there: mov $poke_value, %eax (5 bytes), or the static key's jump, taken or not. */
static void breakpoint(struct frame *f)
{
    __atomic_fetch_add(&hits, 1, __ATOMIC_RELAXED);
    if (f->ip != (uintptr_t)poke_at + 1) {
        wrong = 100;
        return;
    }
    f->ip += 4;
    if (poke_at == xmc_nop) {
        if (poke_value)
            f->ip = (uintptr_t)xmc_taken;
    } else {
        f->ax = poke_value;
    }
}

static void sync_all(void)
{
    store32(&acks, 0);
    smp_ipi(VECTOR);
    while (load32(&acks) < ncpus - 1)
        smp_pause();
}

static void poke(uint8_t *at, const uint8_t *with, uint32_t value)
{
    poke_at = at;
    poke_value = value;
    *(volatile uint8_t *)at = 0xcc;
    sync_all();
    for (unsigned i = 1; i < 5; i++)
        ((volatile uint8_t *)at)[i] = with[i];
    sync_all();
    *(volatile uint8_t *)at = with[0];
    sync_all();
}

struct poke_test {
    uint8_t *at;
    bool key;
};

static void runner(unsigned cpu, const struct poke_test *t)
{
    fn0 *f = (fn0 *)t->at;
    __asm__ volatile("sti" ::: "memory");
    for (uint32_t n = 0; !stop; n++) {
        uint32_t before = load32(&poked), got = f(), after = load32(&poked);
        /* While round k is on its way `poked` is k - 1, and either value is right. */
        if (t->key ? got > 1 : got - before > after + 1 - before)
            wrong = wrong ? wrong : 1 + got;
        calls[cpu] = n;
    }
    __asm__ volatile("cli" ::: "memory");
}

/* Between rounds nothing is on its way: `quiet` is the value that must be seen, by those who see `quiet` set before and
 * after. */
static volatile uint32_t quiet;

static void quiet_runner(unsigned cpu, const struct poke_test *t)
{
    fn0 *f = (fn0 *)t->at;
    __asm__ volatile("sti" ::: "memory");
    for (uint32_t n = 0; !stop; n++) {
        uint32_t before = load32(&quiet), got = f(), after = load32(&quiet);
        if (before && before == after && got != (t->key ? before & 1 : before))
            wrong = wrong ? wrong : 0x1000 + got;
        calls[cpu] = n;
    }
    __asm__ volatile("cli" ::: "memory");
}

static void poke_rounds(unsigned cpu, void *arg)
{
    const struct poke_test *t = arg;
    if (cpu) {
        (cpu & 1 ? quiet_runner : runner)(cpu, t);
        return;
    }
    for (uint32_t k = 1; more(k); k++) {
        uint8_t with[5] = {0xb8};
        int32_t distance = (int32_t)(xmc_taken - (xmc_nop + 5));
        static const uint8_t nop[5] = {0x0f, 0x1f, 0x44, 0, 0};
        if (!t->key) {
            memcpy(with + 1, &k, 4);
        } else if (k & 1) {
            with[0] = 0xe9;
            memcpy(with + 1, &distance, 4);
        } else {
            memcpy(with, nop, 5);
        }
        store32(&quiet, 0);
        poke(t->at, with, t->key ? k & 1 : k);
        store32(&poked, k);
        store32(&quiet, k);
        for (volatile unsigned wait = k % 64; wait; wait--)
            ;
    }
}

static void poke_test(const char *name, uint8_t *at, bool key)
{
    struct poke_test t = {at, key};
    wrong = poked = quiet = 0;
    if (!key)
        memset(at + 1, 0, 4);
    run_all(poke_rounds, &t);
    CHECK(name, wrong, 0);
}

/* ---- handshake ----------------------------------------------------------------------------------------------------- */

enum serializer { BY_CPUID, BY_IRET, BY_CR, SERIALIZERS };
struct shake {
    uint8_t *imm;   /* what is stored to */
    fn0 *run;       /* what is run */
    bool by_itself; /* it looks at the flag and serializes */
};
volatile uint32_t xmc_flag;
static volatile uint32_t shaken;

static void serialize(unsigned how)
{
    switch (how % SERIALIZERS) {
    case BY_CPUID: cpuid(0, 0); break;
    case BY_CR: WRITE_REG(cr2, 0); break;
    default:
        __asm__ volatile(
            "mov %%rsp, %%rax\n push %0\n push %%rax\n pushf\n push %1\n lea 1f(%%rip), %%rax\n push %%rax\n iretq\n1:"
            :
            : "r"((uint64_t)KDATA), "r"((uint64_t)KCODE)
            : "rax", "memory");
    }
}

/* `flag`: what the code saw of the flag, if it looks. */
static uint32_t call(fn0 *f, uint32_t *flag)
{
    uint32_t a;
    __asm__ volatile("call *%2" : "=a"(a), "=D"(*flag) : "r"(f) : "rbx", "rcx", "rdx", "memory");
    return a;
}

static void shake_rounds(unsigned cpu, void *arg)
{
    const struct shake *s = arg;
    for (uint32_t k = 1; cpu || more(k); k++) {
        if (cpu == 0) {
            for (volatile unsigned wait = k * 37 % 1024; wait; wait--)
                ;
            *(volatile uint32_t *)s->imm = k;
            store32(&xmc_flag, k);
            while (load32(&shaken) < k * (ncpus - 1))
                smp_pause();
            continue;
        }
        uint32_t got, seen = 0;
        while (!s->by_itself && load32(&xmc_flag) != k && !stop)
            smp_pause();
        do {
            serialize(k + cpu);
            got = call(s->run, &seen);
        } while (s->by_itself && seen != k && !stop);
        if (stop)
            return;
        if (got != k)
            wrong = wrong ? wrong : got + 1;
        __atomic_fetch_add(&shaken, 1, __ATOMIC_SEQ_CST);
    }
}

static void shake_test(const char *name, uint8_t *imm, uint8_t *run, bool by_itself)
{
    struct shake s = {imm, (fn0 *)run, by_itself};
    wrong = xmc_flag = shaken = 0;
    run_all(shake_rounds, &s);
    CHECK(name, wrong, 0);
}

/* ---- plain ---------------------------------------------------------------------------------------------------------- */

static void plain_rounds(unsigned cpu, void *arg)
{
    (void)arg;
    for (uint32_t k = 1; cpu || more(10 * k); k++) {
        if (cpu == 0) {
            store32(&xmc_flag, k);
            for (volatile unsigned wait = k % 512; wait; wait--)
                ;
            *(volatile uint32_t *)(xmc_loop + 1) = k;
            while (load32(&shaken) < k * (ncpus - 1))
                smp_pause();
        } else {
            while (load32(&xmc_flag) < k && !stop)
                smp_pause();
            if (stop)
                return;
            uint32_t got; /* a loop of one block, which leaves when its own immediate is k */
            __asm__ volatile("call xmc_loop" : "=a"(got) : "D"(k) : "memory");
            wrong += got != k;
            __atomic_fetch_add(&shaken, 1, __ATOMIC_SEQ_CST);
        }
    }
}

/* ---- live ----------------------------------------------------------------------------------------------------------- */

/* mov $v, %eax; ret in one store, as 5 bytes or as 6. */
static void write_near(uint32_t n, uint32_t v)
{
    uint64_t code = n & 1 ? 0xb8 | (uint64_t)v << 8 | 0xc3ull << 40 : 0xb890 | (uint64_t)v << 16 | 0xc3ull << 48;
    __atomic_store_n((uint64_t *)(xmc_near + 16 * (n % 8)), code, __ATOMIC_SEQ_CST);
}

static void live_rounds(unsigned cpu, void *arg)
{
    (void)arg;
    if (cpu == 0) {
        for (uint32_t k = 1; more(k / 512); k++) {
            *(volatile uint32_t *)(xmc_live + 1) = k;
            if (k % 64 == 0)
                for (uint32_t n = 0; n < 8; n++)
                    write_near(n + k / 64, k);
            store32(&poked, k);
            uint32_t runs = load32(&shaken); /* now and then they run all of it, as it is */
            while (k % 1024 == 0 && load32(&shaken) < runs + 10 * (ncpus - 1))
                smp_pause();
            for (volatile unsigned wait = k % 32; wait; wait--)
                ;
        }
        return;
    }
    for (uint32_t n = cpu; !stop; n++) {
        uint32_t before = load32(&poked), unused;
        serialize(n);
        uint32_t got = call((fn0 *)xmc_live, &unused), near = call((fn0 *)(xmc_near + 16 * (n % 8)), &unused);
        uint32_t after = load32(&poked);
        if (got - before > after + 1 - before)
            wrong = wrong ? wrong : 1 + got;
        if (near - before / 64 * 64 > after + 1 - before / 64 * 64 || near % 64)
            wrong = wrong ? wrong : 0x10000000 + near;
        __atomic_fetch_add(&shaken, 1, __ATOMIC_SEQ_CST);
    }
}

/* ---- jit ------------------------------------------------------------------------------------------------------------ */

static uint8_t ring[16][256] __attribute__((aligned(4096)));
static fn0 *volatile handed;

static void jit_rounds(unsigned cpu, void *arg)
{
    (void)arg;
    for (uint32_t k = 1; cpu || more(k); k++) {
        if (cpu == 0) {
            uint8_t *at = ring[k % ARRAY_LEN(ring)];
            unsigned n = k % 40;
            memset(at, 0x90, n);
            at[n] = 0xb8;
            memcpy(at + n + 1, &k, 4);
            at[n + 5] = 0xc3;
            handed = (fn0 *)at;
            store32(&xmc_flag, k);
            while (load32(&shaken) < k * (ncpus - 1))
                smp_pause();
            continue;
        }
        while (load32(&xmc_flag) != k && !stop)
            smp_pause();
        if (stop)
            return;
        serialize(k);
        uint32_t seen;
        wrong += call(handed, &seen) != k;
        __atomic_fetch_add(&shaken, 1, __ATOMIC_SEQ_CST);
    }
}

void test_main(void)
{
    on_vector[VECTOR] = sync_handler;
    on_vector[BP] = breakpoint;
    rounds = (uint32_t)command_line("rounds", 0);
    patience = rounds ? 0 : 5000000000;
    rounds = rounds ? rounds : 1000;
    ncpus = smp_start();
    put("%u processors, %u rounds\n", ncpus, rounds);
    shake_test("store, flag, serialize: runs the new insn", xmc_site + 1, xmc_site, false);
    shake_test("the same, the insn across two pages", xmc_cross + 1, xmc_cross, false);
    shake_test("the same, flag, serializing insn and new insn in one piece", xmc_after + 1, xmc_same_block, true);
    wrong = xmc_flag = shaken = 0;
    run_all(plain_rounds, NULL);
    CHECK("a plain store is seen by a loop that runs it", wrong, 0);
    wrong = poked = shaken = 0;
    for (uint32_t n = 0; n < 8; n++)
        write_near(n, 0);
    run_all(live_rounds, NULL);
    CHECK("an immediate that is stored to without end, and its neighbours", wrong, 0);
    wrong = xmc_flag = shaken = 0;
    run_all(jit_rounds, NULL);
    CHECK("functions written by one and called by others", wrong, 0);
    poke_test("poke: mov with another immediate", xmc_site, false);
    poke_test("poke: a static key, nop and jump", xmc_nop, true);
    poke_test("poke: across two pages", xmc_cross, false);
    CHECK("the breakpoint was met", hits > 0, true);
}
