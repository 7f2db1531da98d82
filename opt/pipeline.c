/* opt/pipeline.c: the passes, in order.
 *
 * fold first: a shift count that becomes constant no longer reads the flags it writes.  wanted last: the others leave ops
 * that nobody wants.
 */
#include "opt/opt.h"

static void step(struct ir_block *b, struct opt_trace *t, const char *name, void (*pass)(struct ir_block *))
{
    pass(b);
    if (t)
        t->after(t->arg, name, b);
}

void opt_run(struct ir_block *b, unsigned without, struct opt_trace *t)
{
    if (!(without & (OPT_NO_CHANGES | OPT_NO_FOLD)))
        step(b, t, "fold", opt_fold);
    if (!(without & (OPT_NO_CHANGES | OPT_NO_SHARES)))
        step(b, t, "share", opt_share);
    if (without & OPT_ALL_FLAGS)
        step(b, t, "flags", opt_flags_all);
    else if (without & OPT_NO_CHANGES)
        step(b, t, "flags", opt_flags);
    else
        step(b, t, "wanted", opt_wanted);
}
