/* opt/pipeline.c: the passes, in order.
 *
 * fold first: a shift count that becomes constant no longer reads the flags it writes.  wanted last: the others leave ops
 * that nobody wants.
 */
#include "opt/opt.h"

static const struct {
    const char *name;
    void (*run)(struct ir_block *b);
    unsigned off, on; /* bits of enum opt_without: any of `off` leaves it out, one of `on`, if there are, must be set */
} passes[] = {
    {"fold", opt_fold, OPT_NO_CHANGES | OPT_NO_FOLD, 0},
    {"share", opt_share, OPT_NO_CHANGES | OPT_NO_SHARES, 0},
    {"wanted", opt_wanted, OPT_NO_CHANGES | OPT_ALL_FLAGS, 0},
    {"flags", opt_flags, OPT_ALL_FLAGS, OPT_NO_CHANGES},
    {"flags", opt_flags_all, 0, OPT_ALL_FLAGS},
};

void opt_run(struct ir_block *b, unsigned without, struct opt_trace *t)
{
    for (unsigned i = 0; i < ARRAY_LEN(passes); i++) {
        if (without & passes[i].off || (passes[i].on && !(without & passes[i].on)))
            continue;
        passes[i].run(b);
        if (t)
            t->after(t->arg, passes[i].name, b);
    }
}
