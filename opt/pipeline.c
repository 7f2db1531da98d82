/* opt/pipeline.c: the passes, in order.
 *
 * fold before flags: a shift count that becomes constant no longer reads the flags it writes.  flags before dead: an
 * op whose flags nobody wants can go.  share after flags: it asks what flags are wanted after a read-modify-write; before dead: it
 * leaves ops that nobody wants.
 */
#include "opt/opt.h"

static const struct {
    const char *name;
    void (*run)(struct ir_block *b);
    unsigned off; /* bits of enum opt_without, one of which leaves it out */
    void (*instead)(struct ir_block *b);
} passes[] = {
    {"fold", opt_fold, OPT_NO_CHANGES, NULL},
    {"flags", opt_flags, OPT_ALL_FLAGS, opt_flags_all},
    {"share", opt_share, OPT_NO_CHANGES | OPT_NO_SHARES, NULL},
    {"dead", opt_dead, OPT_NO_CHANGES, NULL},
};

void opt_run(struct ir_block *b, unsigned without, struct opt_trace *t)
{
    for (unsigned i = 0; i < ARRAY_LEN(passes); i++) {
        void (*run)(struct ir_block *) = without & passes[i].off ? passes[i].instead : passes[i].run;
        if (!run)
            continue;
        run(b);
        if (t)
            t->after(t->arg, passes[i].name, b);
    }
}
