/* exec: the translate pipe, the vCPU loop, slow paths, counters.
 *
 *     struct exec     what all vCPUs share: code cache, thunks, the board's buses and RAM
 *     struct vcpu     one guest processor and the host thread that runs it
 *
 * A vCPU's registers belong to its thread.  Others ask by vcpu_kick and the requests below, or look while it is paused.
 */
#ifndef RHEA_EXEC_H
#define RHEA_EXEC_H

#include <pthread.h>

#include "code/code.h"
#include "guest/x86/lift.h"
#include "guest/x86/run.h"
#include "host/host.h"
#include "mem/mem.h"
#include "opt/opt.h"

enum counter {
#define COUNTER(NAME, text) COUNT_##NAME,
#include "exec/counters.def"
    COUNT_MAX
};

enum exec_spent {
#define SPENT(NAME, text) SPENT_##NAME,
#include "exec/spent.def"
    SPENT_MAX
};

/* Beside MODE_ bits in a block's mode: it holds IR instead of host code. */
enum { EXEC_IR = 1 << MODE_BITS };
/* What -accel can turn off, for measuring. */
enum exec_optimisation {
#define OPTIMISATION(NAME, name, text) EXEC_##NAME,
#include "exec/optimisations.def"
    EXEC_OPTIMISATIONS
};

enum { BLOCK_INSNS_MAX = 512, VCPUS_MAX = 255 };

/* Bits of vcpu.requests; any thread sets them, then kicks. */
enum vcpu_request {
    REQUEST_PAUSE = 1, /* stand still until it is taken back */
    REQUEST_QUIT = 2,  /* leave the thread */
    REQUEST_INIT = 4,
    REQUEST_STARTUP = 8, /* SIPI with vcpu.startup_vector */
};

/* A store that waits for its commit. */
struct vcpu_slow {
    unsigned n;
    bool alone; /* locked: the other vCPUs stand still until then */
    struct slow_part {
        gpa_t gpa;
        uint8_t *host; /* RAM, or NULL: a device (or ROM) */
        unsigned len;
        uint64_t bytes; /* which of them are stored, a bit each */
    } part[2];
};

struct vcpu {
    struct x86 x86; /* first: cpu, x86 and vcpu share one address */
    struct exec *exec;
    unsigned index;
    bool in_code;       /* generated code runs (or a helper it called) */
    bool inside;        /* may hold blocks, links, table entries: see world.c; guarded by exec.world */
    struct block alone; /* the block of a one_insn run: never looked up */
    struct vcpu_slow slow;
    unsigned jc_turn; /* which of an address's two places in the jump cache is next */
    void *interp;     /* interp.c's own while it runs a block */
    const struct block *interp_block;
    uint32_t generic[(FEAT_COUNT + 31) / 32]; /* what this host has no unit for; bit 0: none at all */
    bool has_generic;                         /* ... and the model has some of it */
    uint32_t worn_at[CPU_PAIR_BUDGETS];       /* cpu.counter at the last mem_worn, as cpu.pair_budget */
    struct code_writer writer;
    struct arena arena;
    uint64_t count[COUNT_MAX];
    struct exec_stats *stats;           /* NULL without config.stats */
    const struct ir_block *translating; /* for a panic's message */

    pthread_t thread;
    pthread_mutex_t lock; /* guards halted, paused, requests' waiting */
    pthread_cond_t wake, changed;
    uint32_t requests; /* enum vcpu_request bits; atomic */
    uint8_t startup_vector;
    bool halted, paused, stopped, wait_sipi;
    uint64_t spin, spin_again, preempted; /* loop.c's own: how long it looks for an interrupt before it sleeps */
};

/* A set of guest-physical addresses, by a hash. */
struct pair_marks {
    uint32_t n;
    uint64_t bits[1024];
};

struct exec_config {
    size_t code_size;             /* bytes of code memory; 0: the default */
    unsigned vcpus;               /* how many there will be; 0: one */
    unsigned insns_max;           /* insns a block; 0: BLOCK_INSNS_MAX */
    bool single;                  /* thread=single: all vCPUs on one thread, in turn (single.c) */
    bool interp;                  /* -accel interp: run the IR, emit nothing */
    bool no_links;                /* every jump comes back to the loop (-d nochain) */
    bool named;                   /* code memory in which perf finds names (struct os_code) */
    bool stats;                   /* take the time of everything (stats.c) */
    unsigned vec_bytes;           /* vectors of at most so much on the host's units; 0: as the host has them */
    bool off[EXEC_OPTIMISATIONS]; /* -accel x-NAME=off: see optimisations.def */
};
struct exec {
    struct exec_config config;
    struct code *code;
    struct host_thunks thunks;
    struct host_faults faults;
    struct log *log;
    struct bus *mem, *io;
    struct ram *ram;
    struct vcpu *vcpu[VCPUS_MAX];
    unsigned nvcpus;
    pthread_mutex_t world; /* guards stopper and every vcpu.inside; taken before no other lock */
    pthread_cond_t world_changed;
    struct vcpu *stopper;              /* the vCPU that runs alone now */
    struct pair_marks warm, hot, worn; /* blocks sampled; blocks that get pairs; insns whose pairs miss: see pairs.c */
    struct pair_marks f_shown;         /* blocks that may show the F they find in a fault, then define it */
    const struct x86_access *access;
    /* Prints code for -d in_asm and out_asm (tool/ sets it; disassembly is not exec's business). */
    void (*disassemble)(void *arg, FILE *out, const uint8_t *code, size_t n, uint64_t pc, int bits);
    void *disassemble_arg;
    /* A block was made, at linear address pc, by the vCPU whose thread calls (tool/ sets it; may be NULL). */
    void (*made)(void *arg, const struct block *b, gva_t pc);
    void *made_arg;
};

/* ---- set-up ---------------------------------------------------------------------------------------------------- */

bool exec_init(struct exec *e, const struct exec_config *c, struct bus *mem, struct bus *io, struct ram *ram,
               struct log *log, struct status *st);
void exec_fini(struct exec *e);
/* A processor of the given model, reset.  `nvcpus` is how many there will be. */
bool vcpu_new(struct vcpu **v, struct exec *e, unsigned index, unsigned nvcpus, const struct x86_model *model,
              struct status *st);
void vcpu_free(struct vcpu *v);

/* ---- running (loop.c) --------------------------------------------------------------------------------------------- */

bool vcpu_start(struct vcpu *v, struct status *st); /* its thread; starts paused if REQUEST_PAUSE is set */
void vcpu_join(struct vcpu *v);
void vcpu_kick(struct vcpu *v);                   /* any thread: look at interrupts and requests soon */
void vcpu_ask(struct vcpu *v, uint32_t requests); /* any thread: set bits and kick */
void vcpu_nmi(struct vcpu *v);                    /* any thread */
void vcpu_pause(struct vcpu *v);                  /* any other thread: returns when it stands still */
void vcpu_resume(struct vcpu *v);
/* The vCPU loop itself, on the calling thread, until REQUEST_QUIT. */
void vcpu_loop(struct vcpu *v);
/* One round of it. */
enum vcpu_round { ROUND_RAN, ROUND_WAITS /* halted, or asked to stand still */, ROUND_QUIT };
enum vcpu_round vcpu_round(struct vcpu *v);
bool vcpu_runnable(struct vcpu *v); /* a vCPU that waits need not any longer */
void vcpu_begin(struct vcpu *v);    /* the calling thread runs v from now on */
void vcpu_end(struct vcpu *v);      /* v will not run again */
/* single.c: all vCPUs on the calling thread, until REQUEST_QUIT; `enter` is told which one is next. */
void exec_single_loop(struct exec *e, void (*enter)(void *arg, unsigned index), void *arg);

/* ---- running alone (world.c)
 * ------------------------------------------------------------------------------------------ */

void world_enter(struct vcpu *v); /* before looking for a block; waits while another vCPU runs alone */
void world_leave(struct vcpu *v);
/* Between the two, no other vCPU is inside.  The caller must be; what it got from lookups before may be gone
 * afterwards. */
void world_stop(struct vcpu *v);
void world_start(struct vcpu *v);

/* ---- the pipe (translate.c)
 * ------------------------------------------------------------------------------------------ */

/* The block at linear address pc, translated if need be; NULL: a fault was raised (LEAVE_FAULT's state is filled).
 * With cpu.one_insn set the block is v->alone. */
struct block *exec_block(struct vcpu *v, gva_t pc, bool *fault);
/* The branch that ended a block led to a non-canonical address: true, with the branch's own fault raised. */
bool exec_branched_nowhere(struct vcpu *v, enum cpu_leave why);
/* The jump whose exit stub ends at `after` (cpu.link), or NULL if its block is no more. */
struct link *exec_link_of(struct vcpu *v, const void *after);

/* ---- slow paths (slow.c)
 * ------------------------------------------------------------------------------------------------ */

extern const struct x86_access exec_access;
const struct host_calls *exec_host_calls(void);
/* Bytes as the guest sees them at linear address gva (debugger, monitor): false where nothing is mapped. */
bool exec_peek(struct vcpu *v, gva_t gva, void *to, size_t n);

/* Run b, a block with EXEC_IR, once by the reference interpreter (interp.c).  What such a block keeps as its aux: */
enum cpu_leave exec_interp(struct vcpu *v, struct block *b);
size_t exec_ir_size(const struct ir_block *ir);
void exec_ir_keep(void *aux, const struct ir_block *ir);

/* ---- remembered entries (pairs.c) ------------------------------------------------------------------------------- */

/* The block there was met running, or missed often. */
bool pairs_hot(const struct exec *e, gpa_t gpa);
/* Choose ir_op.pair for the memory ops of a block whose page is gpa's; in a hot one find out which jumps lead to blocks that may
 * show F in a fault (hints, from what pairs_note was told). */
void pairs_assign(struct exec *e, struct ir_block *b, uint32_t mode, gpa_t gpa);
void pairs_note(struct exec *e, gpa_t gpa, const struct host_entry *entry);
void pairs_sample(struct vcpu *v);               /* generated code was left for a kick, at the block at pc */
void pairs_worn(struct cpu *c, const void *hpc); /* host_calls.mem_worn */

/* ---- counters
 * ----------------------------------------------------------------------------------------------------------------- */

/* Times by cause (stats.c).  From here on, v's time is spent on `next`. */
void exec_stats_switch(struct exec_stats *s, enum exec_spent next);
static inline void exec_spend(struct vcpu *v, enum exec_spent next)
{
    if (v->stats)
        exec_stats_switch(v->stats, next);
}
void exec_spend_code(struct vcpu *v);     /* on generated code, in the guest's present mode */
struct host_calls exec_stats_calls(void); /* exec_host_calls, timed */
bool exec_stats_new(struct vcpu *v);
void exec_stats_free(struct vcpu *v);
void exec_stats_print(FILE *out, const struct exec *e);

const char *exec_counter_text(enum counter c);
/* `info jit`: counters by cause, code memory, throughput. */
void exec_print_counters(FILE *out, struct exec *e);

#endif
