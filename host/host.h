/* host: from optimised IR to host code.  One implementation a folder (host/amd64); this header is all that others see.
 *
 * The translate side is pure: it writes only into the given span and scratch.  Code may be written at `rw` and runs at
 * rw + rx_delta.
 *
 * Rules of generated code
 *   - At every block entry: guest registers in their pinned host registers or homes, F in cpu.cc (or as struct host_entry
 *     says), host stack aligned so that a call from the block is legal, direction flag clear, host MXCSR = cpu.mxcsr.
 *   - A memory op that misses its table jumps to its cold stub, which hands insn_off to a thunk; that saves the pinned
 *     registers and calls a slow path.  The same stub is entered from a host SIGSEGV at the access (host_faults_init).
 *   - Links: a GOTO compiles to a jump whose target is patched by host_link_set.  Unlinked it goes to an exit that
 *     leaves with LEAVE_LINK.  A jump that leaves the guest page first compares the target page's tab_x entry with
 *     the expected page number, also patched.
 */
#ifndef RHEA_HOST_H
#define RHEA_HOST_H

#include "ir/ir.h"

/* Code has two parts: what runs as a rule, and what seldom runs (slow paths, exits), apart so that it takes no room in
 * instruction caches.  Offsets in the cold part are from its own first byte. */
struct host_span {
    uint8_t *rw;       /* where to write */
    intptr_t rx_delta; /* add to a rw address to get where it runs */
    size_t size;       /* room */
    size_t used;       /* filled by host_emit */
    uint8_t *cold;     /* where to write the cold part: behind rw, within 2 GB; thunks have none */
    size_t cold_size, cold_used;
};

/* Where a jump that is not to another page has F: in cpu.cc; in the host's flags; nowhere, to be made anew. */
enum host_f { HOST_F_KEPT, HOST_F_LIVE, HOST_F_OWED };
/* What a block makes of the F it finds: overwrites it unseen, may show it in faults first, or wants it. */
enum host_f_use { HOST_F_UNSEEN, HOST_F_FAULTS, HOST_F_WANTED };

/* A block's entries: at offset 0 with F in the host's flags, at offset `at` with F in cpu.cc. */
struct host_entry {
    uint8_t at;
    uint8_t f_use;     /* enum host_f_use */
    uint16_t f_spoils; /* HOST_F_FAULTS: guest registers 0..15 that change before the last access that may show F */
};

/* A patchable jump.  Offsets are from the block's first byte. */
struct host_jump {
    bool present, cross; /* cross: leaves the guest page, has a guard */
    int64_t target;      /* page-relative target pc (from the block's PCB) */
    uint32_t jump_at;    /* offset of the 4-byte displacement */
    uint32_t cold_at;    /* offset of the cold part, in which miss_at and stub_at are */
    uint32_t miss_at;    /* offset of the exit it jumps to when not linked */
    uint32_t guard_at;   /* cross: offset of the 4-byte expected tab_x value */
    uint8_t f;           /* enum host_f */
    uint16_t f_regs;     /* HOST_F_OWED: the guest registers it is made of */
    uint32_t
        stub_at; /* HOST_F_OWED: offset of another displacement, of a jump that makes F first; reached by miss_at */
};

/* Where a host fault inside a block goes on. */
struct host_fault {
    /* offset of the faulting instruction, HOST_FAULT_COLD set if it is in the cold part; offset of its cold stub, 0: none */
    uint16_t at, cold;
    uint16_t insn_off; /* guest insn, page-relative */
};

enum { HOST_FAULT_COLD = 0x8000 };

struct host_code {
    struct host_entry entry;
    struct host_jump jump[2];
    struct host_fault *fault; /* in the scratch arena; nfaults of them, ascending */
    unsigned nfaults;
};

/* C functions that generated code calls; the same for every vCPU. */
/* Return "host address - gva" for the access, real or into cpu->bounce.  May raise a guest fault and not return. */
struct host_calls {
    int64_t (*mem_read)(struct cpu *, gva_t, unsigned desc);
    /* The same for a store or RMW; if cpu->pending is set afterwards the access must be followed by mem_commit. */
    int64_t (*mem_write)(struct cpu *, gva_t, unsigned desc);
    void (*mem_commit)(struct cpu *);
    /* The remembered entry of the access whose thunk was called from hpc missed often.  insn_off is set; does not return
     * if the block is not to go on. */
    void (*mem_worn)(struct cpu *, const void *hpc);
    void (*divide_error)(struct cpu *); /* raises the guest's #DE */
    void (*fp_error)(struct cpu *);     /* raises the guest's #XM */
};

/* A sequence of instructions that is copied into blocks, and which of its bytes are then patched (host/amd64/fixed.c). */
enum { HOST_FIXED_BYTES = 48, HOST_FIXED_PLACES = 3 };
struct host_fixed {
    uint8_t bytes[HOST_FIXED_BYTES], size, at[HOST_FIXED_PLACES];
};

/* Offsets (from the thunk area's first byte) of code shared by all blocks. */
struct host_thunks {
    uint8_t *rx;
    uint32_t enter, leave, mem_read, mem_write, near_read, pair_read, pair_write, span_read, span_write, mem_commit,
        call, divide_error, fp_error, exit_link, exit_lookup, exit_kick, exit_kick_off, exit_lookup_off, guard, entry_r,
        entry_w, entry_x, save_vectors, load_vectors, exit_link_f, exit_kick_f, f_resolve, jc_none;
    bool two_levels; /* of the translation tables: see ir/cpu.h */
    bool f_kept;     /* F is in cpu.cc at every jump (an optimisation less) */
    size_t size;
    struct host_fixed save_f, poll, cross, probe, lookup[2][2]; /* lookup: for writing; of more than a byte */
};
/* Write the shared code into s (once, at the start of code memory). false: no room. */
bool host_thunks_emit(struct host_thunks *t, struct host_span *s, const struct host_calls *calls, bool two_levels);

/* Compile b.  false: no room in s or arena, or too long for 16-bit offsets (an ordinary result). */
bool host_emit(const struct host_thunks *t, const struct ir_block *b, struct host_span *s, struct arena *scratch,
               struct host_code *out);

/* Run generated code at hpc until it leaves. */
enum cpu_leave host_enter(const struct host_thunks *t, struct cpu *c, const void *hpc);
/* Run fn(c) so that host_leave works inside it; LEAVE_NEXT if it returns by itself. */
enum cpu_leave host_guard(const struct host_thunks *t, struct cpu *c, void (*fn)(struct cpu *));
/* From a slow path or helper: abandon the block and return `why` from host_enter.  All guest registers are in cpu. */
_Noreturn void host_leave(struct cpu *c, enum cpu_leave why);

/* Point a jump at `target` (a block's code; tab_x value `expect` for cross jumps), by the entry that suits both, or back at its
 * miss exit (NULL).  Atomic with respect to vCPUs that run the code; but one that has just passed the guard of a crossing jump
 * goes on to its target of then, or of now: no vCPU may be there when it gets a target on another page than before. */
void host_link_set(uint8_t *code_rw, intptr_t rx_delta, const struct host_jump *j, const void *target,
                   const struct host_entry *entry, uint32_t expect);
/* Once per vCPU thread: make c the state that generated code sees. */
void host_thread_init(struct cpu *c);
/* Host faults in generated code.  find(arg, hpc) returns the fault record of the host instruction at hpc and its
 * block's first executable cold byte, or NULL if hpc is not generated code: the fault is then rhea's own bug and kills it.
 * Async-signal-safe. */
struct host_faults {
    const struct host_thunks *thunks;
    const struct host_fault *(*find)(void *arg, const void *hpc, const uint8_t **cold);
    void *arg;
};
/* Once per process: take SIGSEGV, SIGBUS and SIGFPE.  *h must stay. */
bool host_faults_init(struct host_faults *h, struct status *st);
/* A clock that is cheap to read, of a rate that stays the same (on amd64 the time-stamp counter). */
uint64_t host_ticks(void);
/* True and *why filled if this processor lacks what generated code needs (x86-64-v2). */
bool host_supported(struct status *why);

/* How wide this processor's vector registers are, in bytes: 16, 32 (AVX2) or 64 (AVX-512 F, BW, DQ, VL). */
unsigned host_vec_bytes(void);

/* Disassembly of host or guest code for logs lives in tool/; how pinned registers are called, for explain: */
const char *host_reg_home(unsigned guest_reg); /* "rcx", "memory", ... */

/* Run one vector op, VEC or AVX, natively on cpu state (reference interpreter); mem: host address of its memory operand.  false:
 * an exception that cpu.mxcsr unmasks, nothing but its flags written. */
bool host_vec_exec(struct cpu *c, const struct ir_op *o, void *mem);
/* The same for an X87 op, on an FXSAVE64 image; FIP, FDP and FOP of it stay as they are. */
void host_x87_exec(struct cpu *c, void *fx, const struct ir_op *o, void *mem);
/* The x87 state of generated code is the host's own: move it to and from an FXSAVE64 image, of which only FCW, FSW,
 * FTW and the registers count.  All exceptions must be masked, for C code runs with it. */
void host_x87_save(void *fx);
void host_x87_load(void *fx);
/* Run one x87 or MMX instruction natively on a 512-byte FXSAVE64 image; its memory operand, if any, is encoded as
 * [rax] and lies at mem. */
void host_native_run(void *fx, const uint8_t *code, unsigned len, void *mem);

#endif
