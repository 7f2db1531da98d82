/* guest/x86/run.h: the run side: faults, page walks, system instructions.  Called by helpers' numbers and by exec.
 */
#ifndef RHEA_X86_RUN_H
#define RHEA_X86_RUN_H

#include "guest/x86/state.h"

typedef uint64_t x86_helper_fn(struct x86 *x, uint64_t a, uint64_t b, uint64_t c);
extern x86_helper_fn *const x86_helpers[]; /* by enum x86_helper: cpu.helper points here */

/* ---- faults and interrupts ----------------------------------------------------------------------------------- */

/* Raise a fault of the insn at cpu_insn_pc: fills x->fault, sets cpu.pc, leaves with LEAVE_FAULT. */
_Noreturn void x86_raise(struct x86 *x, enum x86_vector v);
_Noreturn void x86_raise_error(struct x86 *x, enum x86_vector v, uint32_t error);
/* Called by the loop after LEAVE_FAULT: push the frame, enter the handler (cpu.pc is set).  Nested faults during
 * delivery are handled inside: they become contributory, double, triple faults by the rules of vol. 3, 6.15 (each
 * memory access of delivery may leave with LEAVE_FAULT again; the loop then calls this again, which sees
 * x->delivering). */
void x86_deliver_fault(struct x86 *x);
void x86_nmi_ask(struct x86 *x); /* an NMI comes; any thread, which then kicks */
/* True if an interrupt, NMI or debug trap can be taken now at cpu.pc (an insn boundary). */
bool x86_interrupt_ready(struct x86 *x);
/* Take the highest-priority one. */
void x86_take_interrupt(struct x86 *x);
/* After an insn ran alone under MODE_STEP: raise the debug trap that is due, if any (fills x->fault; true: call
 * x86_deliver_fault). */
bool x86_after_step(struct x86 *x);
/* Before an insn under MODE_STEP: instruction breakpoints.  true: x->fault is #DB, deliver it. */
bool x86_before_step(struct x86 *x);

/* ---- state ------------------------------------------------------------------------------------------------------ */

/* Power-on or INIT state (vol. 3, 10.1.1, table 10-1). */
void x86_reset(struct x86 *x, bool init_only);
/* Forget all entries of the jump cache. */
void x86_jc_clear(struct x86 *x);
/* Recompute mode, bases for accesses, cpu.tab_*, cpu.jc_tag after CPL, segments, CR0, CR3, CR4, EFER, AC, TF, DR7,
 * XCR0 changed. */
void x86_mode_update(struct x86 *x);
/* x87: before generated code runs; make x->fx current (the state stays where it is); x->fx was written by others than
 * helpers (then x86_mode_update is due). */
void x86_x87_enter(struct x86 *x);
void x86_x87_fetch(struct x86 *x);
void x86_x87_changed(struct x86 *x);
/* The vector bytes that CR4 and XCR0 let insns use: 16 (SSE only), 32 (AVX) or 64 (AVX-512). */
unsigned x86_vec_usable(const struct x86 *x);
void x86_print(FILE *out, const struct x86 *x); /* registers as `info registers` and triple faults show them */

/* ---- paging ----------------------------------------------------------------------------------------------------- */

enum {
    WALK_READ = 0,
    WALK_WRITE = 1,
    WALK_FETCH = 2,
    WALK_USER = 4,
    WALK_IMPLICIT = 8 /* supervisor access by the processor itself */,
    WALK_PEEK = 16 /* debugger: set no A and D bits, ignore rights */
};
struct x86_walk {
    gpa_t gpa;      /* of gva itself */
    unsigned fill;  /* TLB_ flags */
    bool writable;  /* a W entry may be made too: rights allow it and D is set */
    bool user;      /* user page (U/S = 1 at every level) */
    uint32_t error; /* page-fault error code when the walk fails */
};
/* Walk for the access; sets A and D bits atomically.  false: w->error is the error code (vol. 3, 4.7).  CR2 is not
 * changed. */
bool x86_walk(struct x86 *x, gva_t gva, unsigned access, struct x86_walk *w);
/* Put what such a walk for code at pc gave (x86_walk.fill) into the current X table. */
void x86_fill_code(struct x86 *x, gva_t pc, uint64_t entry, unsigned fill);
/* The table (enum tlb_kind of mem.h) that serves an access (WALK_ bits as for x86_walk) now; cpu.tab_* are those of
 * explicit accesses. */
unsigned x86_table_kind(const struct x86 *x, unsigned access);
/* WALK_ bits of a memory access described by an MD_ desc (ir.h): privilege, implicit, write. */
unsigned x86_walk_access(const struct x86 *x, unsigned desc);
/* Raise #PF for a failed walk: sets CR2. */
_Noreturn void x86_raise_pf(struct x86 *x, gva_t gva, uint32_t error);
bool x86_canonical(const struct x86 *x, gva_t gva);
/* What an R or W table says of gva: "host address - gva", or 0.  Tables are indexed by bits 47..12; with 57-bit
 * addresses the entry may be another address's, and the sum then lies nowhere in RAM (generated code finds out by a
 * host fault). */
uint64_t x86_table_entry(const struct x86 *x, uint8_t *table, gva_t gva);
/* Whether W and X entries may be made for an address: only for those that 48 bits tell apart, as W entries are
 * searched by where they lead and X entries are not checked by the sum. */
bool x86_table_whole(gva_t gva);
/* Data breakpoint (DR7) hit by an access to [gva, gva+n): remember it for x86_after_step / the end of the insn. */
void x86_watch(struct x86 *x, gva_t gva, unsigned n, bool write);
bool x86_page_watched(const struct x86 *x, gva_t gva); /* such pages never enter the tables */

/* Memory as the current insn sees it (CPL's rights); faults do not return. */
uint64_t x86_load(struct x86 *x, gva_t gva, unsigned bytes, enum x86_seg seg);
void x86_store(struct x86 *x, gva_t gva, uint64_t v, unsigned bytes, enum x86_seg seg);
/* As the processor itself (descriptor tables, TSS): supervisor rights whatever CPL is. */
uint64_t x86_load_system(struct x86 *x, gva_t gva, unsigned bytes);
void x86_store_system(struct x86 *x, gva_t gva, uint64_t v, unsigned bytes);

/* ---- CPU models (CPUID) ------------------------------------------------------------------------------------------- */

/* The value of -cpu: a model's name and words (model_words.c); false with a message that says what is wrong. */
bool x86_model_parse(struct x86_model **m, const char *text, struct status *st);
void x86_model_free(struct x86_model *m);
/* Tell the user which features `text`, that m was made from, asked for in vain; nothing if there are none. */
void x86_model_warn(const struct x86_model *m, const char *text, FILE *out);
const uint32_t *x86_model_features(const struct x86_model *m); /* bit set by FEAT_ number, for the lifter */
/* The features that run in C here, for the host lacks the unit or keeps vectors of vec_bytes only (bit set by FEAT_ number);
 * false: the model has none of them. */
bool x86_model_generic(const struct x86_model *m, unsigned vec_bytes, uint32_t *set);
/* Give x this model: CPUID, reset's EDX, the bits CR4 and EFER may have.  Before x86_reset. */
void x86_model_apply(struct x86 *x, const struct x86_model *m);
void x86_model_list(FILE *out); /* -cpu help */

#endif
