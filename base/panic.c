/* panic.c: what happens when one of our own beliefs turns out false.
 *
 * rh_panic and rh_broken (a failed rh_assert) say what and where on stderr, let the hook of this thread print what it
 * was working on (the translator shows the block and its IR), and abort.  They never return, never allocate, and take
 * no lock but stdio's.
 *
 * The hook is the one writable variable outside a struct in rhea: an assertion has no machine at hand to look it up in.
 * It belongs to the thread, so two machines in one process do not see each other's.
 */
#include "base/base.h"

#include <stdlib.h>

struct panic_hook {
    void (*print)(void *arg);
    void *arg;
};
static _Thread_local struct panic_hook panic_hook;

void rh_panic_hook(void (*print)(void *arg), void *arg)
{
    panic_hook = (struct panic_hook){print, arg};
}

static _Noreturn void panic_end(const char *fmt, va_list ap)
{
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);

    /* Cleared first: a hook that panics itself must not come back here for ever. */
    struct panic_hook hook = panic_hook;
    rh_panic_hook(NULL, NULL);
    if (hook.print)
        hook.print(hook.arg);
    fflush(NULL);
    abort();
}

void rh_panic(const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "rhea: internal error at %s:%d: ", file, line);
    va_start(ap, fmt);
    panic_end(fmt, ap);
}

void rh_broken(const char *file, int line, const char *cond, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "rhea: internal error at %s:%d: not true: %s:", file, line, cond);
    va_start(ap, fmt);
    panic_end(fmt, ap);
}
