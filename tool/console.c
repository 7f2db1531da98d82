/* tool/console.c: what -serial, -monitor, -debugcon and -nographic mean in back ends.
 *
 *     -nographic (and nothing else said)      COM1 and the monitor share the terminal: a mux on it, Ctrl-a c switches
 *     -serial mon:X                           the same on X
 *     -serial none                            the port is absent;  null: it is there, nobody listens
 *
 * The terminal can be given away once.  It is put back by consoles_close, and by a handler of SIGABRT if rhea finds a
 * bug in itself: that is what the one variable of this file is for.
 */
#include "tool/tool.h"

#include <signal.h>
#include <string.h>

static struct back_char *terminal;

static void restore_on_abort(int sig)
{
    if (terminal)
        back_stdio_restore(terminal);
    signal(sig, SIG_DFL);
}

static void quit(void *arg)
{
    machine_quit(arg, 0);
}

static bool open_stdio(struct machine *m, bool signals, struct back_char **b, struct status *st)
{
    if (m->consoles.stdio_used)
        return status_set(
            st, "the terminal is asked for twice; -serial mon:stdio shares it between serial port and monitor");
    m->consoles.stdio_used = true;
    if (!back_stdio_init(b, m->loop, signals, st))
        return false;
    terminal = *b;
    signal(SIGABRT, restore_on_abort);
    return true;
}

static bool open_back(struct machine *m, const char *option, const char *word, bool signals, struct back_char **b,
                      struct status *st)
{
    struct status why = {""};
    bool good = !strcmp(word, "stdio") ? open_stdio(m, signals, b, &why) : back_open(b, m->loop, word, &why);
    return good || status_set(st, "%s: %s", option, why.text);
}

static bool open_owned(struct machine *m, const char *option, const char *word, struct back_char **b, struct status *st)
{
    struct consoles *c = &m->consoles;
    if (!open_back(m, option, word, !m->options->nographic, b, st))
        return false;
    c->owned[c->nowned++] = *b;
    return true;
}

static bool open_mux(struct machine *m, const char *word, struct back_char **serial, struct status *st)
{
    struct consoles *c = &m->consoles;
    struct back_char *under;
    if (c->mux)
        return status_set(st, "-serial: mon: is given twice");
    if (!open_back(m, "-serial", word, false, &under, st))
        return false;
    if (!back_mux_init(&c->mux, m->loop, under, quit, m, st)) {
        back_fini(under);
        return false;
    }
    *serial = back_mux_end(c->mux, 0);
    c->monitor = back_mux_end(c->mux, 1);
    return true;
}

static bool open_serial(struct machine *m, unsigned n, const char *word, struct status *st)
{
    if (!strcmp(word, "none"))
        return true;
    if (!strncmp(word, "mon:", 4))
        return open_mux(m, word + 4, &m->consoles.serial[n], st);
    return open_owned(m, "-serial", word, &m->consoles.serial[n], st);
}

bool consoles_open(struct machine *m, struct status *st)
{
    const struct options *o = m->options;
    bool share = o->nographic || !o->no_display;
    const char *serial = "null", *monitor = o->monitor;
    if (share)
        serial = !monitor ? "mon:stdio" : !strcmp(monitor, "stdio") ? "null" : "stdio";
    if (!o->nserial && !open_serial(m, 0, serial, st))
        return false;
    for (unsigned i = 0; i < o->nserial; i++)
        if (!open_serial(m, i, o->serial[i], st))
            return false;
    if (o->debugcon && !open_owned(m, "-debugcon", o->debugcon, &m->consoles.debugcon, st))
        return false;
    if (!monitor && o->nographic && !m->consoles.stdio_used)
        monitor = "stdio";
    if (!monitor || !strcmp(monitor, "none") || !strcmp(monitor, "null"))
        return true;
    if (m->consoles.mux)
        return status_set(st, "-monitor %s: -serial mon: gave the monitor a place already", monitor);
    return open_owned(m, "-monitor", monitor, &m->consoles.monitor, st);
}

void consoles_close(struct machine *m)
{
    struct consoles *c = &m->consoles;
    terminal = NULL;
    back_mux_fini(c->mux);
    for (unsigned i = 0; i < c->nowned; i++)
        back_fini(c->owned[i]);
    memset(c, 0, sizeof *c);
}
