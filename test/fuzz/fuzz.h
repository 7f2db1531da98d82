/* test/fuzz: random guests.  A guest of any contents must not harm rhea: no crash, no failed assertion, no byte of
 * host memory outside the guest's RAM touched, and every vCPU answers a kick within a second.  What the guest
 * computes does not matter here (test/hw compares that).
 *
 *     bytes.c      random instruction bytes: noise, rows of the instruction table, small system programs
 *     input.c      a number -> an input: processor state, page tables, descriptor tables, code
 *     guest.c      one machine; runs inputs through vcpu_loop and watches
 *     parsers.c    the same for files, command lines and monitor commands that users give
 *     session.c    child processes that run inputs, what is saved when one dies
 *     test_fuzz.c  options, and the short run of `make test`
 *
 * Input `run` of `seed` is a function of the two, so a run can be made again; what fails is saved as a file too,
 * which outlives changes here.
 */
#ifndef RHEA_TEST_FUZZ_H
#define RHEA_TEST_FUZZ_H

#include "guest/x86/decode.h"
#include "guest/x86/state.h"

enum fuzz_mode { FUZZ_ANY, FUZZ_64, FUZZ_32, FUZZ_16, FUZZ_REAL };
enum fuzz_engine { ENGINE_ANY, ENGINE_EMIT, ENGINE_INTERP };
enum { RING_ANY = -1 };

/* The guest's physical memory. */
enum {
    RAM_LOW = 0xf0000,
    RAM_SIZE = 0x100000, /* the rest of RAM lies at 4 GB */
    GPA_DEVICE = 0xd0000,
    GPA_ROM = 0xe0000, /* a page of registers, one of ROM: they hide RAM, see guest.c */
    GPA_DEVICE_CODE = 0x14000,
    GPA_DEVICE_DATA = 0x23000,
    GPA_DEVICE_STACK = 0x32000,
    GPA_PML4 = 0x1000,
    GPA_PDPT = 0x2000,
    GPA_PD = 0x3000,
    GPA_PT = 0x4000,
    GPA_PDPT_PAE = 0x5000,
    GPA_PD32 = 0x6000,
    GPA_PT32 = 0x7000,
    GPA_GDT = 0x8000,
    GPA_IDT = 0x9000,
    GPA_TSS = 0xa000,
    GPA_LDT = 0xb000,
    GPA_HANDLERS = 0xc000,
    GPA_PML5 = 0xd000,
    GPA_CODE = 0x10000,
    CODE_SIZE = 0x4000,
    GPA_DATA = 0x20000,
    DATA_SIZE = 0x8000,
    GPA_STACK = 0x30000,
    STACK_SIZE = 0x2000,
};
/* The GDT: index of the first descriptor of each kind; ring 3's follow ring 0's. */
enum {
    GDT_CODE64 = 1,
    GDT_CODE32 = 3,
    GDT_CODE16 = 5,
    GDT_DATA = 7,
    GDT_DATA16 = 9,
    GDT_TSS = 12,
    GDT_LDT = 14,
    GDT_GATES = 16,
    GDT_COUNT = 64
};

/* Fuzz_input.how. */
enum {
    HOW_INTERP = 1,
    HOW_NO_LINKS = 2,
    HOW_NO_PASSES = 4,
    HOW_SHORT_BLOCKS = 8,
    HOW_SMP = 16,
    HOW_INTERRUPTS = 32,
    HOW_LOG = 64,
    HOW_MODEL = 3 << 8, /* which of guest.c's models; 2: with 5-level paging */
};

struct fuzz_input {
    char magic[8]; /* "rheafuz1" */
    uint64_t seed, run;
    uint32_t mode, ring, how, microseconds; /* how long it may run */
    uint64_t gpr[16], pc, rflags, cr0, cr3, cr4, efer, dr7, xcr0;
    uint32_t mxcsr;
    uint8_t fx[512], vec[16][16];
    struct x86_segment seg[SEG_COUNT], ldtr, tr;
    uint16_t gdt_limit, idt_limit;
    uint8_t ram[RAM_SIZE], rom[4096];
};

struct rng {
    uint64_t s;
};
uint64_t rng_next(struct rng *r);
static inline unsigned rng_below(struct rng *r, unsigned n)
{
    return (unsigned)((rng_next(r) >> 33) % n);
}
static inline bool rng_chance(struct rng *r, unsigned percent)
{
    return rng_below(r, 100) < percent;
}
uint64_t rng_edge(struct rng *r);    /* integers near what breaks */
uint64_t rng_address(struct rng *r); /* linear addresses near what breaks */

/* ---- bytes.c ---- */

/* Fill `size` bytes with instructions for code of the given default size; ring-0 programs among them if `system`. */
void bytes_fill(struct rng *r, enum x86_bits bits, bool system, uint8_t *to, unsigned size);

/* ---- input.c ---- */

void input_make(struct fuzz_input *in, uint64_t seed, uint64_t run, enum fuzz_mode mode, int ring);

/* ---- guest.c ---- */

struct guest;
bool guest_init(struct guest **g, struct status *st);
void guest_fini(struct guest *g);
/* Aborts if something is wrong. */
void guest_run(struct guest *g, const struct fuzz_input *in);
uint64_t guest_insns(const struct guest *g);        /* guest insns translated so far */
void guest_print(FILE *out, const struct guest *g); /* counters by cause */

/* ---- parsers.c ---- */

/* One random use of a parser; its files lie in `folder`. */
void parsers_run(uint64_t seed, uint64_t run, const char *folder);

/* ---- session.c ---- */

struct session {
    uint64_t seed, first, runs; /* runs: 0 no limit */
    double seconds;
    enum fuzz_mode mode;
    enum fuzz_engine engine;
    uint32_t how; /* HOW_ bits that every input gets */
    int ring;
    bool parsers, verbose;
    const char *folder; /* where failing inputs are saved */
};
/* How many inputs failed; *done: inputs run. */
unsigned session_run(const struct session *s, uint64_t *done);
bool session_replay(const char *path); /* false: it cannot be read, or failed again */

#endif
