/* guest/x86/lift.h: from instructions to IR.  Translate side: pure.
 *
 * A lifter is a function  void lift_NAME(struct x86_lift *l, const struct x86_insn *i)  that appends the ops of one
 * insn.  Rules:
 *   - write guest registers and F only after the last op that can fault;
 *   - check nothing at run time that l->mode already tells;
 *   - an insn that jumps ends the block (l->ended = true after a terminal op).
 */
#ifndef RHEA_X86_LIFT_H
#define RHEA_X86_LIFT_H

#include "guest/x86/decode.h"
#include "guest/x86/state.h"
#include "ir/ir.h"

enum x86_helper {
#define X86_HELPER(NAME, fn, doc) HELPER_##NAME,
#include "guest/x86/helpers.def"
    X86_HELPER_COUNT
};
const char *x86_helper_name(unsigned n);
int x86_helper_number(const char *name); /* -1: no such */

enum x86_string { STR_MOVS, STR_CMPS, STR_STOS, STR_LODS, STR_SCAS, STR_INS, STR_OUTS };

/* Bytes that may change while the block lives (code/chart.c): `bits` has one a byte of the page, from its begin.  An insn with
 * such bytes in its immediate only reads that anew each time it runs.  Bytes of others, in a block that lies on one page,
 * are told by refused_from and refused_to (page offsets): they must not change. */
struct x86_live {
    const uint64_t *bits;
    unsigned operands; /* that are read so */
    unsigned refused, refused_from, refused_to;
    unsigned partly_from, partly_to; /* an immediate of which some bytes are not live */
};

/* Where the bytes come from.  `bytes` are those from the first insn to the end of its page. */
struct x86_source {
    const uint8_t *bytes;
    unsigned nbytes;
    const uint8_t *(*next_page)(void *arg); /* the following page's 4096 bytes, or NULL: fetching there faults */
    void *arg;
    uint64_t pc; /* linear address of the first; blocks do not depend on it but for what lift_control.c says */
    struct x86_live *live; /* NULL: nothing changes */
};

struct x86_lift {
    struct ir_block *b;
    uint32_t mode;            /* MODE_ bits */
    uint32_t denied;          /* ATTR_ bits: no insn with one of these may run */
    const uint32_t *features; /* bit set by FEAT_ number: what the CPU model has; NULL: all */
    const uint32_t *generic;  /* the same: what this host has no unit for (bit 0: none at all); NULL: nothing */
    int64_t off;              /* page offset of the insn being lifted */
    uint64_t page;            /* linear address of its page, where the block is first lifted */
    int64_t next;             /* page offset of the insn after it */
    bool ended;               /* a terminal op was appended */
    bool one_insn;            /* end with LEAVE LEAVE_NEXT instead of GOTO, GOTOI */
    uint8_t last;     /* end the block after the insn that follows: 1 STI, 2 MOV SS; x86.shadow when none does */
    uint8_t shadowed; /* this insn is the one that follows: its `last` */
    bool in_c;  /* the host lacks the unit that the insn needs: C does what its ops do, and wants whole addresses */
    bool lacks; /* the CPU model lacks the row's feature (TZCNT, LZCNT: BSF, BSR then) */
    const struct x86_insn *insn;
    const uint8_t *live; /* this insn's immediate, to be read when it runs; NULL: it is a constant */
};

enum x86_lift_result {
    X86_LIFT_OK,
    X86_LIFT_FETCH, /* the first insn runs into the next page, which cannot be fetched */
    X86_LIFT_FULL,  /* the IR block was too small: try fewer insns */
};
/* Lift from page offset `off` up to max_insns insns, the page's end, or an insn that ends the block.  *second is set
 * if bytes of the next page were used (only by the last insn). */
enum x86_lift_result x86_lift_block(struct ir_block *b, uint32_t mode, const uint32_t *features,
                                    const uint32_t *generic, int64_t off, const struct x86_source *src,
                                    unsigned max_insns, bool one_insn, bool *second);

#endif
