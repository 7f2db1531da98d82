/* guest/x86/run_int.h: what the files of the run side share among themselves.  Nobody outside guest/x86/ includes this.
 *
 * Rules to know before editing
 *   - A helper may be abandoned at any memory access (a fault, or "run this insn again alone"), so it changes guest
 *     state only after its last access that can fail.
 *   - CPL is SS.DPL (0 in real mode): seg[SEG_SS].attr always carries it, null SS of 64-bit mode included.
 *   - seg[].base is the architectural base; cpu.reg[X86_BASE_*] is what accesses add (0 for ES CS SS DS in 64-bit
 *     mode).  Whoever sets seg[].base calls x86_set_base, or x86_mode_update afterwards.
 *   - Whoever may have enabled an interrupt calls x86_check_kick; whoever changed something `mode` depends on,
 *     x86_mode_update.
 */
#ifndef RHEA_X86_RUN_INT_H
#define RHEA_X86_RUN_INT_H

#include "guest/x86/lift.h"
#include "guest/x86/run.h"
#include "mem/mem.h"

#define X86_HELPER(NAME, fn, doc) x86_helper_fn fn;
#include "guest/x86/helpers.def"

/* MAXPHYADDR, as CPUID 80000008H tells it. */
enum { X86_PHYS_BITS_LEAST = 32, X86_PHYS_BITS_MAX = 40 };
unsigned x86_model_phys_bits(const struct x86_model *m);
static inline unsigned x86_phys_bits(const struct x86 *x)
{
    return x86_model_phys_bits(x->model);
}
/* Bits of a physical address that name a page. */
static inline uint64_t x86_phys_page(const struct x86 *x)
{
    return mask_bits(x86_phys_bits(x)) & ~0xfffull;
}

/* ---- small questions ------------------------------------------------------------------------------------------- */

static inline bool x86_long_mode(const struct x86 *x)
{
    return (x->efer & EFER_LMA) != 0;
}
static inline bool x86_vm86(const struct x86 *x)
{
    return (x->mode & MODE_VM86) != 0;
}
static inline bool x86_protected(const struct x86 *x) /* protected or long mode, not virtual-8086 */
{
    return (x->mode & (MODE_PROT | MODE_VM86)) == MODE_PROT;
}
static inline unsigned x86_iopl(const struct x86 *x)
{
    return (x->flags >> 12) & 3;
}
/* RIP of a linear pc, and back. */
static inline uint64_t x86_rip(const struct x86 *x, uint64_t pc)
{
    return x->mode & MODE_64 ? pc : (uint32_t)(pc - x->seg[SEG_CS].base);
}
static inline uint64_t x86_pc(const struct x86 *x, uint64_t rip)
{
    return x->mode & MODE_64 ? rip : (uint32_t)(x->seg[SEG_CS].base + rip);
}
static inline void x86_set_zf(struct x86 *x, bool zf)
{
    x->cpu.cc = (uint16_t)((x->cpu.cc & ~0x4000u) | (zf ? 0x4000u : 0));
}

/* ---- fault.c ------------------------------------------------------------------------------------------------------ */

/* Set cpu.kick if an interrupt, NMI or debug trap can be taken after the current insn. */
void x86_check_kick(struct x86 *x);
/* #GP(0) unless CPL is 0. */
void x86_need_cpl0(struct x86 *x);
/* Note an I/O breakpoint (CR4.DE, DR7 R/W = 10) hit by ports [port, port+n).  For IN, OUT, INS, OUTS. */
void x86_watch_io(struct x86 *x, uint16_t port, unsigned n);

/* An event on its way to its handler.  Errors on the way carry `ext`, the EXT bit (vol. 3, 6.13). */
struct x86_event {
    uint8_t vector;
    bool soft; /* INT n, INT3, INTO: the gate's DPL counts */
    bool has_error;
    uint32_t error, ext;
    uint64_t rip;   /* return address */
    uint64_t flags; /* RFLAGS image to push */
};
void x86_deliver(struct x86 *x, const struct x86_event *e);
void x86_deliver_8086(struct x86 *x, uint8_t vector, uint64_t rip,
                      uint64_t flags); /* through the IVT at IDTR's base or 0 */

/* ---- segment.c ---------------------------------------------------------------------------------------------------- */

struct x86_descriptor {
    uint64_t low, high; /* high: only of 16-byte system descriptors */
    gva_t at;           /* where it lies */
    uint16_t selector;
};
/* Types of system descriptors, vol. 3, table 3-2. */
enum {
    SYS_TSS16 = 1,
    SYS_LDT = 2,
    SYS_TSS16_BUSY = 3,
    SYS_CALL16 = 4,
    SYS_TASK = 5,
    SYS_INT16 = 6,
    SYS_TRAP16 = 7,
    SYS_TSS32 = 9,
    SYS_TSS32_BUSY = 11,
    SYS_CALL32 = 12,
    SYS_INT32 = 14,
    SYS_TRAP32 = 15
};
static inline uint16_t x86_desc_attr(const struct x86_descriptor *d)
{
    return (uint16_t)((d->low >> 40) & 0xf0ff);
}
static inline bool seg_is_code(uint16_t a)
{
    return (a & (SEG_S | 8)) == (SEG_S | 8);
}
static inline bool seg_is_conforming(uint16_t a)
{
    return (a & (SEG_S | 8 | 4)) == (SEG_S | 8 | 4);
}
static inline bool seg_is_readable(uint16_t a) /* data, or readable code */
{
    return (a & SEG_S) && (!(a & 8) || (a & 2));
}
static inline bool seg_is_writable(uint16_t a)
{
    return (a & (SEG_S | 8 | 2)) == (SEG_S | 2);
}
static inline unsigned seg_type(uint16_t a) /* of a system descriptor */
{
    return a & 15;
}
/* Fetch the descriptor a selector names; false if it lies outside its table (or the LDT is null).  Null selectors:
 * the caller's business. */
bool x86_desc_read(struct x86 *x, uint16_t selector, struct x86_descriptor *d);
/* The second half of a 16-byte system descriptor (long mode); false: outside the table, or not zero where it must be. */
bool x86_desc_read_high(struct x86 *x, struct x86_descriptor *d);
void x86_desc_accessed(struct x86 *x, struct x86_descriptor *d); /* set the accessed bit in memory if it is not */
struct x86_segment x86_desc_segment(const struct x86_descriptor *d, uint16_t selector);
/* True if [off, off+n) lies within the segment's limit. */
bool x86_seg_within(const struct x86_segment *s, uint64_t off, unsigned n);
/* Fill in what loading a selector in real (keep) or virtual-8086 mode makes. */
void x86_seg_8086(struct x86_segment *s, uint16_t selector, bool vm86);
void x86_set_base(struct x86 *x, enum x86_seg seg, uint64_t base); /* FS, GS: MSRs and WRFSBASE */
/* Load a data segment register as MOV Sreg does; faults.  v/e: NULL checks apply. */
void x86_seg_load(struct x86 *x, enum x86_seg seg, uint16_t selector);

/* ---- access.c
 * ------------------------------------------------------------------------------------------------------ */

/* A stack that is being pushed to or popped from, before any of it is committed. */
struct x86_stack {
    struct x86_segment ss;
    uint64_t sp, mask; /* mask: 64-, 32- or 16-bit stack */
    unsigned md;       /* MD_SYSTEM or 0 */
    bool flat;         /* 64-bit: no base, no limit */
    uint32_t error;    /* of the #SS when it does not fit */
};
void x86_stack_current(const struct x86 *x, struct x86_stack *s);
void x86_push(struct x86 *x, struct x86_stack *s, uint64_t v, unsigned bytes);
uint64_t x86_pop(struct x86 *x, struct x86_stack *s, unsigned bytes);
void x86_stack_commit(struct x86 *x, const struct x86_stack *s); /* RSP only */
/* Several bytes at once; md: MD_SYSTEM or 0.  n <= 64. */
void x86_read_bytes(struct x86 *x, gva_t gva, void *to, unsigned n, unsigned md);
void x86_write_bytes(struct x86 *x, gva_t gva, const void *from, unsigned n, unsigned md);

/* ---- transfer.c, task.c
 * ----------------------------------------------------------------------------------------------- */

/* Enter a code segment: CS and cpu.pc; mode update; kick. */
void x86_enter_cs(struct x86 *x, const struct x86_segment *cs, uint64_t rip);
/* RET and IRET: checks of the CS and SS they popped; to64: into 64-bit code, where SS may be null. */
struct x86_segment x86_return_code(struct x86 *x, uint16_t selector);
struct x86_segment x86_return_stack(struct x86 *x, uint16_t selector, unsigned cpl, bool to64);
/* #GP(0) unless rip is canonical (64-bit code) or within the limit. */
void x86_check_target(struct x86 *x, const struct x86_segment *cs, uint64_t rip);
/* Registers of outer levels that the new CPL may not use become null (vol. 2, RET). */
void x86_null_outer_segments(struct x86 *x, unsigned new_cpl);
void x86_nmi_count(struct x86 *x); /* NMIs that came become pending ones; before nmi_blocked ends */
/* A debug exception is due: its condition bits into DR6. */
void x86_debug_status(struct x86 *x, uint64_t conditions);
/* Stack for privilege level `cpl` from the current TSS: loads and checks SS of legacy modes (#TS), RSP of long mode.
 * ist: 1..7 or 0. */
void x86_inner_stack(struct x86 *x, unsigned cpl, unsigned ist, uint32_t ext, struct x86_stack *s);

enum x86_task_reason { TASK_JMP, TASK_CALL, TASK_IRET, TASK_GATE };
/* Switch to the task of a TSS descriptor already checked for presence and type; next_rip goes into the old TSS.
 * error: pushed on the new stack if has_error. */
void x86_task_switch(struct x86 *x, const struct x86_descriptor *tss, enum x86_task_reason why, uint64_t next_rip,
                     uint32_t ext);
/* Through a task gate in the IDT, GDT or LDT: selector is the TSS selector it holds. */
void x86_task_gate(struct x86 *x, uint16_t selector, enum x86_task_reason why, uint64_t next_rip, uint32_t ext);

/* ---- control.c
 * --------------------------------------------------------------------------------------------------------- */

void x86_write_efer(struct x86 *x, uint64_t v); /* WRMSR: checks (#GP), consequences, x86_mode_update */
void x86_write_cr0(struct x86 *x, uint64_t v);
void x86_write_cr3(struct x86 *x, uint64_t v); /* bit 63 as MOV CR3 */
void x86_write_cr4(struct x86 *x, uint64_t v);
void x86_flush_all(struct x86 *x); /* every translation, globals too (WRPKRU, WP, ...) */
void x86_jc_enter(struct x86 *x, uint64_t tag); /* cpu.jc becomes the table of that tag */
/* tlb_table, remembered: privilege changes all the time. */
static inline uint8_t *x86_table(struct x86 *x, unsigned slot, unsigned kind)
{
    if (__builtin_expect(!x->table[slot][kind], 0))
        x->table[slot][kind] = tlb_table(x->tlb, slot, (enum tlb_kind)kind);
    return x->table[slot][kind];
}

#endif
