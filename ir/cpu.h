/* ir/cpu.h: the machine state that IR ops act on.  Generated code reaches it through the host's GS base, the
 * interpreter through a pointer.  It is the first member of the guest's own state (struct x86), which is the first
 * member of struct vcpu, so one pointer serves all three.
 *
 * Rules to know before editing
 *   - Generated code embeds the offsets; the struct may change freely, nothing outside the process sees it.
 *   - Only the vCPU's own thread writes here, except `kick`, which any thread may set (atomically) to ask the vCPU to
 *     leave generated code at its next poll.
 *   - Arithmetic flags are kept in `cc` in the form the host gets them cheapest:
 *         bits 15..8  the LAHF byte: SF ZF - AF - PF - CF (x86 positions 7 6 4 2 0)
 *         bits  7..0  OF: 0 or 1
 *   - A program counter is a *linear* address split in two: reg[IR_PCB] is the address of its page, and every block
 *     knows its offset, so a block works at any virtual address.  `pc` is the whole address, valid only outside
 *     generated code.
 *   - Translation tables hold one 8-byte entry per guest page, index = (gva >> 12) & (2^36 - 1), so byte offset =
 *     (gva >> 9) & page_mask with page_mask = 0x7ffffffff8.  tab_r and tab_w entries are "host address - guest
 *     address"; tab_x entries are guest-physical page number + 1.  Zero always means: take the slow path.  With many
 *     vCPUs tables have two levels (cpu_table_entry).
 */
#ifndef RHEA_IR_CPU_H
#define RHEA_IR_CPU_H

#include "base/base.h"

/* 0..15: the guest's general registers, in the guest's own numbering.  16..31: meaning given by the guest module. */
enum {
    IR_NREG = 32,
    IR_PCB = 31, /* linear address of the page the current block starts on */
    IR_NVEC = 32,
    IR_NMASK = 8,
};

enum {
    CPU_STACK = 32 << 10,
    CPU_SLOTS = 60,
    CPU_PAIRS = 128,
    CPU_SHARES = 8,
    CPU_PAIR_BUDGETS = 1024,
    CPU_COUNTERS = 1024,
    CPU_DIRECT = 8
};

/* Far from canonical: it matches addresses only that make no canonical host address with any entry. */
#define CPU_NO_PAGE (1ull << 63)

/* The jump cache: from the linear address that an indirect jump leads to, to host code.  There is a table for each of the
 * last few (address space, mode) that ran, so who looks into the present one compares the address alone.  Only its own
 * thread enters, but others let entries lead to cpu.jc_none, as those do that are empty: code that leaves to look. */
enum { CPU_JC_BITS = 12, CPU_JC_SIZE = 1 << CPU_JC_BITS, CPU_JC_TABLES = 8, CPU_JC_LOG = 512 };
struct cpu_jc {
    uint64_t pc;
    const void *hpc;
};
#define CPU_JC_NO_TAG (~0ull) /* of a table in which nothing will be looked for again; no tag is that */

/* Byte offset in a table of the first of the two entries that a pc may be in, which are neighbours (offset ^ CPU_JC_OTHER);
 * the host's inline lookup computes the same.  Bits 5..11 of it are those of pc's offset in its page times CPU_JC_TIMES,
 * so who does not know the page has CPU_JC_WAYS pairs to look at. */
enum {
    CPU_JC_OTHER = sizeof(struct cpu_jc),
    CPU_JC_MASK = CPU_JC_SIZE * sizeof(struct cpu_jc) - 2 * sizeof(struct cpu_jc),
    CPU_JC_WAYS = CPU_JC_SIZE * sizeof(struct cpu_jc) >> 12,
    CPU_JC_TIMES = 65
};
static inline uint32_t cpu_jc_offset(uint64_t pc)
{
    return ((uint32_t)pc * CPU_JC_TIMES) & CPU_JC_MASK;
}
static inline struct cpu_jc *cpu_jc_at(struct cpu_jc *table, uint32_t offset)
{
    return (struct cpu_jc *)(void *)((char *)table + offset);
}
/* Way n of CPU_JC_WAYS: the first of two entries for an address of which only the offset in its page is known. */
static inline uint32_t cpu_jc_way(uint64_t page_offset, unsigned n)
{
    return (cpu_jc_offset(page_offset) & 0xfff) | n << 12;
}

/* A page that is in no W table because it holds code: a store that touches none of the bytes that blocks rest on may go
 * straight there all the same. */
struct cpu_direct {
    uint8_t *table;      /* tab_w that it belongs to */
    uint64_t addend;     /* as in a W entry */
    const uint64_t *map; /* of those bytes, a bit each */
    uint32_t left;       /* stores until C hears of one again */
    uint32_t spare;
};

#define CPU_PAGE_MASK 0x7ffffffff8ull

/* The entry for an address (mem.h's tlb_entry says the same): bit 0 of tab_* set: two levels. */
static inline uint64_t *cpu_table_entry(uint8_t *table, uint64_t gva)
{
    if ((uintptr_t)table & 1)
        return (uint64_t *)(void *)(((uint8_t **)(void *)(table - 1))[gva >> 39 & 511] + (gva >> 9 & 0x3ffffff8));
    return (uint64_t *)(void *)(table + (gva >> 9 & CPU_PAGE_MASK));
}

/* Why generated code came back to the loop. */
enum cpu_leave {
    LEAVE_LINK,   /* a direct jump without a link: cpu.link says which; pc is the target */
    LEAVE_LOOKUP, /* an indirect jump missed the jump cache: pc is the target */
    LEAVE_KICK,   /* the poll saw `kick`: pc is the next insn */
    LEAVE_FAULT,  /* a helper raised a guest fault: see the guest's state; pc is the insn */
    LEAVE_HALT,   /* the guest waits for an interrupt; pc is the next insn */
    LEAVE_AGAIN,  /* run the insn at pc once more; alone if one_insn is set */
    LEAVE_NEXT,   /* nothing special: look at interrupts, go on at pc */
};

struct cpu {
    /* The host's stack pointer is at the end of this while generated code runs, so that what follows is reached from it
     * (processors rename such operands like registers, which they do not with those of a segment).  Holds return
     * addresses of thunks and frames of signal handlers; C runs on the thread's own stack. */
    uint8_t stack[CPU_STACK] __attribute__((aligned(64)));
    uint64_t page_mask;     /* CPU_PAGE_MASK, a memory operand for generated code */
    uint8_t *tab_r, *tab_w; /* tables of the current address space and privilege */
    uint32_t kick;          /* nonzero: leave at the next poll */
    uint8_t pending;        /* a slow store waits in `bounce` for its commit */
    uint8_t one_insn;       /* the next translation holds one insn and is not kept */
    /* Arithmetic flags, see above.  Generated code writes both words at once; only from a jump that owes F to the block's
     * next definition of F (host/amd64/owed.c) f_maker may be other than 0, and cc old. */
    uint16_t cc __attribute__((aligned(8)));
    uint32_t f_maker;
    uint8_t *tab_x;              /* as tab_r */
    struct cpu_jc *jc;           /* the jump cache's table for jc_tag */
    uint64_t shared[CPU_SHARES]; /* entries that accesses of the running block share; 0: each is to look for itself */
    uint64_t reg[IR_NREG];       /* homes; while in generated code the pinned ones are in host registers */
    uint32_t insn_off;           /* slow paths and helper calls: offset of the insn from reg[IR_PCB] */
    uint32_t mxcsr;              /* the guest's; loaded while generated code runs */
    uint64_t pc;
    uint64_t slot[CPU_SLOTS]; /* spilled temps of a block */
    /* Remembered entries: pair_addend[n] is the R or W entry of the page at pair_page[n], or that is CPU_NO_PAGE. */
    uint64_t pair_page[CPU_PAIRS], pair_addend[CPU_PAIRS];
    uint32_t counter[CPU_COUNTERS];         /* how often blocks ran, those that count it (ir_block.counter) */
    uint32_t pair_budget[CPU_PAIR_BUDGETS]; /* misses until mem_worn is called, by place of the access */
    uint8_t faulted;     /* the host faulted at an access: set by the signal handler, cleared by who cares */
    uint8_t vec_ran;     /* vector insns may have run since the last helper call: homes and mxcsr may be old */
    const void *link;    /* LEAVE_LINK: a host address inside the exit stub of the jump that was taken */
    uint64_t tsc_offset; /* guest TSC = host TSC + tsc_offset (unless scaled by a helper) */
    struct cpu *self;    /* this very address */
    uint64_t host_rsp;   /* the thread's own stack pointer, to leave with and for C */
    uint32_t host_mxcsr;
    uint8_t vec_bytes;                                /* how much vector state is in host registers: see vec */
    const void *const *helper;                        /* helper entry points, by number */
    uint64_t scratch[8];                              /* thunks' own */
    uint64_t x87_ip, x87_dp;                          /* FIP and FDP: see IR_X87_RECORDS */
    uint8_t bounce[128] __attribute__((aligned(64))); /* data of an access that cannot go straight to host memory */
    /* Vector and mask registers: homes, as for reg[].  While in generated code host registers hold, by vec_bytes,
     *     16   bits 127..0 of 0..15      32   bits 255..0 of 0..15      64   all of them, and the masks
     * and the homes the rest, which no op of that block touches. */
    uint8_t vec[IR_NVEC][64] __attribute__((aligned(64)));
    uint64_t mask[IR_NMASK];
    /* A slow access that touches only some elements (MD_SELECT): the host's cold stub leaves here which. */
    uint64_t select;
    uint32_t select_how; /* ir_select */
    uint64_t jc_tag;     /* address space (high half) and mode (low half) */
    uint64_t jc_tags[CPU_JC_TABLES], jc_used[CPU_JC_TABLES], jc_clock; /* of jc_table */
    uint16_t jc_log[CPU_JC_TABLES][CPU_JC_LOG],
        jc_logged[CPU_JC_TABLES]; /* entries made since it was empty; more than CPU_JC_LOG: any */
    const void *jc_none;
    struct cpu_jc jc_table[CPU_JC_TABLES][CPU_JC_SIZE] __attribute__((aligned(64)));
    /* Pages with code that may be stored to, see struct cpu_direct, by the low bits of the page's number: its address, + 1, or CPU_NO_PAGE. */
    uint64_t direct_page[CPU_DIRECT];
    struct cpu_direct direct[CPU_DIRECT];
};

/* Where the host's stack pointer points to in generated code. */
enum { CPU_FRAME = offsetof(struct cpu, page_mask) };
_Static_assert(CPU_FRAME % 64 == 0, "generated code may call");

/* In C that generated code called by way of a thunk: where it goes on. */
static inline const void *cpu_return_address(const struct cpu *c)
{
    return *(const void *const *)(const void *)(c->stack + CPU_STACK - 8);
}

/* Arithmetic flags as bits in the x86 positions: CF 0, PF 2, AF 4, ZF 6, SF 7, OF 11. */
#define CPU_ARITH 0x8d5u
static inline uint32_t cpu_flags(const struct cpu *c)
{
    return ((c->cc >> 8) & 0xd5u) | ((uint32_t)(c->cc & 1) << 11);
}
static inline void cpu_set_flags(struct cpu *c, uint32_t f)
{
    c->cc = (uint16_t)(((f & 0xd5u) | 2u) << 8 | ((f >> 11) & 1u));
}

/* The address of the insn a helper runs for, from insn_off. */
static inline uint64_t cpu_insn_pc(const struct cpu *c)
{
    return c->reg[IR_PCB] + (uint64_t)(int64_t)(int32_t)c->insn_off;
}

#endif
