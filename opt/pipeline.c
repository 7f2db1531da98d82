/* opt/pipeline.c: the passes, in order.
 *
 * fold before flags: a shift count that becomes constant no longer reads the flags it writes.  flags before dead: an
 * op whose flags nobody wants can go.
 */
#include "opt/opt.h"

static const struct {
    const char *name;
    void (*run)(struct ir_block *b);
} passes[] = {
    {"fold", opt_fold},
    {"flags", opt_flags},
    {"dead", opt_dead},
};

void opt_run(struct ir_block *b, struct opt_trace *t)
{
    for (unsigned i = 0; i < ARRAY_LEN(passes); i++) {
        passes[i].run(b);
        if (t)
            t->after(t->arg, passes[i].name, b);
    }
}
