/* dev/back_mux.c: one terminal for two consumers, the guest's serial port and the monitor.
 *
 * Ctrl-a is the escape key: x quits, c gives the keyboard to the other consumer, b sends a break, h prints the keys,
 * Ctrl-a sends itself.  Both may write at any time; only the one with the focus gets keys.  Keys wait in a buffer per
 * consumer, so that the escape key works while a guest is not reading; when the buffer is full, input waits in the
 * back end below.
 *
 * Buffers belong to the loop's thread.  `waiting` works as `paused` in back_fd.c.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "dev/dev.h"

enum { ENDS = 2, BUFFER = 4096, ESCAPE = 1 };

struct end {
    struct back_char back; /* first: what the consumer holds */
    struct back_mux *mux;
    uint8_t keys[BUFFER];
    unsigned head, count;
    atomic_bool waiting; /* for the consumer's room */
};

struct back_mux {
    struct back_char *under;
    struct loop *loop;
    struct end end[ENDS];
    atomic_uint focus;
    bool escaped; /* the last key was the escape key */
    void (*quit)(void *arg);
    void *arg;
};

static size_t end_room(const struct end *e)
{
    const struct back_char *b = &e->back;
    return b->room && b->receive ? b->room(b->arg) : SIZE_MAX;
}

/* Hand over what the consumer takes. */
static void end_pump(void *arg)
{
    struct end *e = arg;
    while (e->count) {
        size_t room = end_room(e);
        if (!room) {
            atomic_store(&e->waiting, true);
            room = end_room(e);
            if (!room)
                break;
            atomic_store(&e->waiting, false);
        }
        size_t n = e->count < BUFFER - e->head ? e->count : BUFFER - e->head;
        n = n < room ? n : room;
        unsigned from = e->head;
        e->head = (unsigned)(e->head + n) % BUFFER;
        e->count -= (unsigned)n;
        if (e->back.receive)
            e->back.receive(e->back.arg, e->keys + from, n);
    }
    back_accept(e->mux->under);
}

static void end_accept(struct back_char *b)
{
    struct end *e = (struct end *)b;
    if (atomic_exchange(&e->waiting, false))
        loop_post(e->mux->loop, end_pump, e);
}

static void end_write(struct back_char *b, const void *data, size_t n)
{
    back_write(((struct end *)b)->mux->under, data, n);
}

static void end_fini(struct back_char *b)
{
    (void)b; /* part of the mux */
}

static void mux_help(struct back_mux *m)
{
    static const char text[] = "\r\nC-a h    print this help\r\n"
                               "C-a x    quit\r\n"
                               "C-a b    send break\r\n"
                               "C-a c    switch between console and monitor\r\n"
                               "C-a C-a  send C-a\r\n";
    back_write(m->under, text, sizeof text - 1);
}

static void mux_command(struct back_mux *m, struct end *e, uint8_t key)
{
    switch (key) {
    case 'h':
    case '?': mux_help(m); break;
    case 'x': m->quit(m->arg); break;
    case 'b':
        if (e->back.line_break)
            e->back.line_break(e->back.arg);
        break;
    case 'c': back_mux_focus(m, !atomic_load(&m->focus)); break;
    }
}

static void mux_receive(void *arg, const uint8_t *data, size_t n)
{
    struct back_mux *m = arg;
    for (size_t i = 0; i < n; i++) {
        struct end *e = &m->end[atomic_load(&m->focus)];
        bool escaped = m->escaped;
        m->escaped = !escaped && data[i] == ESCAPE;
        if (m->escaped)
            continue;
        if (escaped && data[i] != ESCAPE)
            mux_command(m, e, data[i]);
        else if (e->count < BUFFER)
            e->keys[(e->head + e->count++) % BUFFER] = data[i];
    }
    for (unsigned i = 0; i < ENDS; i++)
        end_pump(&m->end[i]);
}

static size_t mux_room(void *arg)
{
    struct back_mux *m = arg;
    return BUFFER - m->end[atomic_load(&m->focus)].count;
}

void back_mux_focus(struct back_mux *m, unsigned n)
{
    atomic_store(&m->focus, n % ENDS);
}

struct back_char *back_mux_end(struct back_mux *m, unsigned n)
{
    return &m->end[n].back;
}

bool back_mux_init(struct back_mux **out, struct loop *l, struct back_char *under, void (*quit)(void *arg), void *arg,
                   struct status *st)
{
    struct back_mux *m = calloc(1, sizeof *m);
    if (!m)
        return status_set(st, "no memory for the console multiplexer");
    m->under = under;
    m->loop = l;
    m->quit = quit;
    m->arg = arg;
    for (unsigned i = 0; i < ENDS; i++) {
        m->end[i].back = (struct back_char){.write = end_write, .accept = end_accept, .fini = end_fini};
        m->end[i].mux = m;
    }
    under->room = mux_room;
    under->receive = mux_receive;
    under->arg = m;
    *out = m;
    return true;
}

void back_mux_fini(struct back_mux *m)
{
    if (!m)
        return;
    back_fini(m->under);
    free(m);
}
