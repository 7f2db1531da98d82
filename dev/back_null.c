/* dev/back_null.c: a back end with nothing behind it.
 */
#include <stdlib.h>

#include "dev/dev.h"

static void null_write(struct back_char *b, const void *data, size_t n)
{
    (void)b, (void)data, (void)n;
}

static void null_fini(struct back_char *b)
{
    free(b);
}

bool back_null_init(struct back_char **b, struct status *st)
{
    *b = calloc(1, sizeof **b);
    if (!*b)
        return status_set(st, "no memory for a character back end");
    (*b)->write = null_write;
    (*b)->fini = null_fini;
    return true;
}
