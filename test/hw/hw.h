/* test/hw: comparison with the processor (issue: "proven against the processor").
 *
 *     encode.c     a row of the instruction table -> bytes
 *     generate.c   a row and a number -> a case: bytes, registers, memory
 *     sequence.c   the same for runs of 5 to 50 insns with branches
 *     native.c     a child process runs cases on this machine's processor
 *     emulate.c    rhea runs them: lift, passes, emit, enter; or by the reference interpreter
 *     compare.c    what differs, simplifying a failing case, printing it
 *     run.c        batches, processes
 *     report.c     coverage
 *     test_hw.c    options, make test
 *
 * Both sides see the same small address space in the low 4 GB (so that 32-bit addresses reach it), user rights, 64-bit
 * mode:
 *
 *     HW_CODE   two pages of code filled with INT3, unmapped before and behind
 *     HW_DATA   unmapped | RW | RW | unmapped | read-only | RW | unmapped
 *
 * A case ends with the first exception; running off the end of its bytes is one too (INT3, vector 3).
 */
#ifndef RHEA_TEST_HW_H
#define RHEA_TEST_HW_H

#include "guest/x86/decode.h"

enum {
    HW_NATIVE = 0x0e5a7000, /* the native side's own pages, absent in the guest */
    HW_NATIVE_SIZE = 0x5000,
    HW_CODE = 0x10000000,
    HW_CODE_SIZE = 0x2000,
    HW_DATA = 0x10010000,
    HW_DATA_PAGES = 7,
    HW_MEM_SIZE = 4 * 4096, /* the four mapped data pages, one after another */
    HW_BYTES_MAX = 640,
    HW_CHANGES_MAX = 160,
    HW_PATCHES_MAX = 6,
    HW_FX = 160,
    HW_FEATURE_WORDS = (FEAT_COUNT + 31) / 32,
};

/* Offset in the HW_MEM_SIZE bytes of memory at address a, or -1 where nothing is mapped. */
static inline int hw_mem_offset(uint64_t a)
{
    static const int8_t page[HW_DATA_PAGES] = {-1, 0, 1, -1, 2, 3, -1};
    uint64_t n = (a - HW_DATA) >> 12;
    return n < HW_DATA_PAGES && page[n] >= 0 ? page[n] * 4096 + (int)(a & 0xfff) : -1;
}

/* Entries of the local descriptor table, of both sides.  A case in 16- or 32-bit code has one of them in each segment
 * register, or the flat segments of the host's kernel (HW_FLAT), or nothing (HW_NULL). */
struct hw_segment {
    uint32_t base, limit; /* limit: in pages if `pages` */
    bool code, big, pages, read_only, down;
};
enum { HW_FLAT, HW_SEGMENTS = 15, HW_NULL = 15 };
extern const struct hw_segment hw_segments[HW_SEGMENTS]; /* from 1 */
static inline unsigned hw_selector(unsigned segment, unsigned flat)
{
    return segment == HW_FLAT ? flat : segment == HW_NULL ? 0 : segment * 8 + 7;
}

struct hw_state {
    uint64_t gpr[16], flags, fs, gs;
    uint64_t k[8];       /* mask registers */
    uint8_t fx[HW_FX];   /* the beginning of an FXSAVE64 image: x87, MXCSR */
    uint8_t vec[32][64]; /* ZMM */
};
enum { FX_FCW = 0, FX_FSW = 2, FX_FTW = 4, FX_MXCSR = 24, FX_ST = 32 };

struct hw_case {
    uint64_t seed;   /* what it was made from, with row */
    uint32_t row;    /* HW_SEQUENCE: a sequence */
    uint16_t length; /* bytes of code */
    uint16_t body;   /* sequences: bytes before the loop's end */
    uint16_t ninsns;
    uint16_t lift; /* LIFT_ of a single insn */
    uint8_t loose_reg;
    uint8_t bits;                        /* 64; 32, 16: compatibility mode */
    uint8_t seg[6];                      /* of hw_segments, by enum x86_seg */
    bool aligned;                        /* its memory operand must be */
    bool spoiled;                        /* by hw_spoil: perhaps another row's */
    bool no_insn;                        /* undefined bytes */
    bool native_only;                    /* the row has no lifter */
    bool stub;                           /* native: leave by a jump at the end, not by INT3 (faster) */
    bool flush;                          /* emulated: empty the translation tables first */
    uint32_t undefined, undefined_fault; /* arithmetic flags that may differ at the end; after a fault before it */
    uint64_t pc;
    uint64_t loose_bits; /* of register loose_reg: undefined */
    uint64_t skip_at;    /* memory that holds undefined bytes: from skip_at, a bit a byte */
    uint64_t skip[8];
    uint8_t code[HW_BYTES_MAX];
    struct {
        uint64_t at;
        uint8_t bytes[64];
    } patch[HW_PATCHES_MAX]; /* memory before; at = 0: none */
    struct hw_state in;
};
enum { HW_SEQUENCE = 0xffffffffu };

struct hw_result {
    struct hw_state out;
    uint16_t selector[6]; /* by enum x86_seg; CS is not told */
    uint64_t pc, cr2;     /* of the exception; cr2 for #PF only, else 0 */
    uint32_t error;
    uint8_t vector; /* HW_DIED and so on: not an exception */
    bool unlifted;  /* emulated: an insn had no lifter */
    uint16_t nchanges;
    struct {
        uint16_t word; /* 8-byte word of memory that is not as in the template */
        uint64_t value;
    } change[HW_CHANGES_MAX];
};
enum { HW_DIED = 250, HW_HALTED = 251, HW_STUCK = 252 };

/* ---- memory before a case: a template that patches are put on ---- */

void hw_template(uint8_t mem[HW_MEM_SIZE]);
void hw_patch(const struct hw_case *c, uint8_t mem[HW_MEM_SIZE]);
/* List the words of mem that are not as in the template, and put them back. */
void hw_collect(uint8_t mem[HW_MEM_SIZE], const uint8_t template[HW_MEM_SIZE], struct hw_result *r);

/* ---- random numbers ---- */

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
uint64_t rng_edge(struct rng *r);               /* integers near what breaks */
void rng_vector(struct rng *r, uint8_t to[16]); /* lanes of integers or floats, special values preferred */
void rng_state(struct rng *r, struct hw_state *s, bool x87);

static inline enum x86_bits hw_mode(unsigned bits)
{
    return bits == 64 ? X86_64 : bits == 32 ? X86_32 : X86_16;
}

/* ---- segments.c ---- */

uint64_t hw_segment_base(const struct hw_case *c, unsigned seg);
void hw_no_read_only(struct hw_case *c); /* whether ARPL writes what it leaves alone is not told */
uint32_t hw_code_limit(const struct hw_case *c);
uint64_t hw_descriptor(unsigned segment);                  /* as it lies in the table */
void hw_choose_segments(struct rng *r, struct hw_case *c); /* after bits and the registers' values */
/* A register's value that leads to linear address `at` by way of a segment, with what is beyond the address size at
 * random. */
uint64_t hw_offset(struct rng *r, const struct hw_case *c, unsigned seg, uint64_t at, unsigned asize);

/* ---- encode.c ---- */

/* The bytes of one form of a row, and its decoding; addresses are not chosen yet. disp_at: where its displacement
 * lies. */
bool hw_encode(struct rng *r, const struct x86_row *row, unsigned bits, bool plain, uint8_t bytes[32],
               struct x86_insn *insn, unsigned *disp_at);
/* Change bytes at random and decode them anew; false: they must not be run. */
bool hw_spoil(struct rng *r, unsigned bits, uint8_t bytes[32], struct x86_insn *insn, enum x86_status *status);
bool hw_indexed_by_vector(const struct x86_row *row); /* VSIB */

/* ---- run.c ---- */

enum { HW_JOBS_MAX = 64 };
struct hw_options {
    uint64_t seed, count, sequences, one;
    const char *row, *report;
    long index;
    unsigned failures, bits, jobs;
    bool has_one, no_shrink, sequence;
    bool generic;    /* vector insns in plain C, as where the host has no unit */
    unsigned vector; /* ... those of vectors longer than so many bytes; 0: none for that reason */
};

/* How cases ended on the processor: vectors up to #XM, and two more. */
enum { HW_XM = 19, HW_FINISHED, HW_LOST, HW_OUTCOMES };
#define HW_COUNTS (x86_row_count + 2)
/* 64-bit words only. */
struct hw_count {
    uint64_t run, insns, refused, unlifted, differ, undefined;
    uint64_t native_only, native_ud; /* rows without a lifter */
    uint64_t outcome[HW_OUTCOMES];
};

struct hw_run {
    const struct hw_options *options;
    uint32_t features[HW_FEATURE_WORDS]; /* the host's */
    bool *allowed;                       /* a row: may be run */
    uint32_t *chosen, *in_sequence;      /* rows to make cases of, rows that may stand in sequences */
    unsigned nchosen, nin_sequence;
    struct hw_count *counts; /* HW_COUNTS for each job: rows, sequences, spoiled cases */
    struct hw_shared *shared;
};
void hw_run_init(struct hw_run *g, const struct hw_options *o);
bool hw_run_all(struct hw_run *g); /* false: a job died */
void hw_run_one(struct hw_run *g); /* one case again, simplified and printed */
void hw_run_fini(struct hw_run *g);

/* ---- report.c ---- */

void hw_report(FILE *out, const struct hw_run *g);
uint64_t hw_summary(const struct hw_run *g, uint64_t *cases); /* returns how many differ */

/* ---- generate.c, sequence.c ---- */

/* Why a row cannot be compared, or NULL. */
const char *hw_row_excluded(const struct x86_row *row, const struct hw_run *run);
/* false: no such case could be made (row and seed do not fit together). */
bool hw_generate(struct hw_case *c, const struct hw_run *run, uint32_t row, uint64_t seed);
void hw_narrow(struct hw_case *c);                            /* 32-bit registers only outside 64-bit mode */
bool hw_vendor_form(const struct x86_insn *i, unsigned bits); /* what it does depends on who made the processor */
uint32_t hw_flag_bits(unsigned irf);                          /* IRF_ bits as they lie in RFLAGS */
void hw_sequence(struct hw_case *c, const struct hw_run *run, uint64_t seed);
/* Rows that may stand in a sequence. */
bool hw_row_in_sequence(const struct x86_row *row);

/* ---- native.c ---- */

bool hw_segments_allowed(void); /* by the host's kernel */
struct native;
bool native_init(struct native **n, unsigned batch, struct status *st);
void native_fini(struct native *n);
struct hw_case *native_cases(struct native *n); /* room for `batch` cases, shared with the child */
const struct hw_result *native_results(struct native *n);
void native_start(struct native *n, unsigned from, unsigned to);
void native_wait(struct native *n);

/* ---- emulate.c ---- */

struct emulator;
bool emulator_init(struct emulator **e, const struct hw_options *o, struct status *st);
void emulator_fini(struct emulator *e);
void hw_host_features(uint32_t features[HW_FEATURE_WORDS]); /* bits by FEAT_ number */
void emulator_run(struct emulator *e, const struct hw_case *c, bool interp, struct hw_result *r);

/* ---- compare.c ---- */

/* Print (if out) what differs; false: nothing does. *undefined gets flags that are undefined and differ. */
bool hw_differ(FILE *out, const struct hw_case *c, const struct hw_result *native, const struct hw_result *rhea,
               uint32_t *undefined);
/* Simplify a failing case, in place (uses slot 0 of the native side). */
void hw_shrink(struct native *n, struct emulator *e, struct hw_case *c);
void hw_print(FILE *out, struct native *n, struct emulator *e, const struct hw_case *c);

#endif
