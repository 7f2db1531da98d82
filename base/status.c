/* status.c: messages about problems of the outside world (files, options, limits of the host).
 *
 * A status holds the first problem only: what follows from it would hide it.
 */
#include "base/base.h"

bool status_set(struct status *s, const char *fmt, ...)
{
    va_list ap;

    if (!s || s->text[0])
        return false;
    va_start(ap, fmt);
    vsnprintf(s->text, sizeof(s->text), fmt, ap);
    va_end(ap);
    return false;
}
