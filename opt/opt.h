/* opt: IR to IR.  pipeline.c names the passes in order; each is one file with its contract at the head.
 *
 * Rules for every pass
 *   - linear in the ops of the block, no allocation, no state between blocks: translating must stay near 200 ns an
 *     insn, all in;
 *   - nothing moves across an op with effects; at every op that may fault the guest's state is what it was before the
 *     pass;
 *   - a verified block stays verified.
 */
#ifndef RHEA_OPT_H
#define RHEA_OPT_H

#include "ir/ir.h"

/* Who wants to see the block after every pass. */
struct opt_trace {
    void (*after)(void *arg, const char *pass, const struct ir_block *b);
    void *arg;
};
/* What to leave out, for measuring and tests. */
enum opt_without {
    OPT_NO_CHANGES = 1, /* only what emission needs: flag liveness */
    OPT_ALL_FLAGS = 2,  /* as if every flag were wanted everywhere */
    OPT_NO_SHARES = 4,  /* each access is looked up by itself */
    OPT_NO_FOLD = 8, /* constants and copies stay where they are: they are rare, so that only hot blocks are searched */
};
/* All passes in order; `without` is of enum opt_without; t may be NULL. */
void opt_run(struct ir_block *b, unsigned without, struct opt_trace *t);

/* Constants and copies forward; see fold.c. */
void opt_fold(struct ir_block *b);
/* Accesses off one base are looked up together; see share.c. */
void opt_share(struct ir_block *b);
/* Which flags and results are wanted: setf, livef; ops that nobody wants go.  See wanted.c.  Then the same for flags only, and one
 * that says that all are wanted. */
void opt_wanted(struct ir_block *b);
void opt_flags(struct ir_block *b);
void opt_flags_all(struct ir_block *b);

#endif
