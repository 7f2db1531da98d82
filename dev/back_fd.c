/* dev/back_fd.c: back end over descriptors: files, pipes, terminals, sockets.
 *
 * Input is read when the loop says it is there, never more than the consumer has room for; without room the
 * descriptor is not watched until the consumer calls accept.  `paused` passes between the two threads: the loop's
 * sets it and asks for room once more, the consumer's clears it and posts the resumption, so neither can miss the
 * other.
 *
 * Output is written in the caller's thread and waits if the descriptor does.  `lock` guards `out` against a peer that
 * goes away.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dev/dev.h"

struct fd_end {
    struct back_char back;
    struct loop *loop;
    pthread_mutex_t lock;
    int in, out, listener; /* -1: none */
    bool owned;
    atomic_bool paused;
};

static void fd_write(struct back_char *b, const void *data, size_t n)
{
    struct fd_end *f = (struct fd_end *)b;
    const char *p = data;
    pthread_mutex_lock(&f->lock);
    while (n && f->out >= 0) {
        ssize_t done = send(f->out, p, n, MSG_NOSIGNAL); /* a peer that has gone is no reason to die */
        if (done < 0 && errno == ENOTSOCK)
            done = write(f->out, p, n);
        if (done >= 0) {
            p += done;
            n -= (size_t)done;
        } else if (errno == EAGAIN) {
            poll(&(struct pollfd){.fd = f->out, .events = POLLOUT}, 1, 1000);
        } else if (errno != EINTR) {
            break;
        }
    }
    pthread_mutex_unlock(&f->lock);
}

static size_t fd_room(const struct fd_end *f)
{
    return f->back.room && f->back.receive ? f->back.room(f->back.arg) : SIZE_MAX;
}

static void fd_accept_peer(void *arg);

/* End of input.  A listening end waits for the next peer. */
static void fd_closed(struct fd_end *f)
{
    loop_watch(f->loop, f->in, NULL, NULL);
    if (f->listener < 0) {
        f->in = -1;
        return;
    }
    pthread_mutex_lock(&f->lock);
    close(f->in);
    f->in = f->out = -1;
    pthread_mutex_unlock(&f->lock);
    loop_watch(f->loop, f->listener, fd_accept_peer, f);
}

static void fd_readable(void *arg)
{
    struct fd_end *f = arg;
    uint8_t buffer[4096];
    size_t room = fd_room(f);
    if (!room) {
        atomic_store(&f->paused, true);
        room = fd_room(f);
        if (!room) {
            loop_watch(f->loop, f->in, NULL, NULL);
            return;
        }
        atomic_store(&f->paused, false);
    }
    ssize_t n = read(f->in, buffer, room < sizeof buffer ? room : sizeof buffer);
    if (n > 0 && f->back.receive)
        f->back.receive(f->back.arg, buffer, (size_t)n);
    else if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
        fd_closed(f);
}

static void fd_resume(void *arg)
{
    struct fd_end *f = arg;
    if (f->in >= 0)
        loop_watch(f->loop, f->in, fd_readable, f);
}

static void fd_accept(struct back_char *b)
{
    struct fd_end *f = (struct fd_end *)b;
    if (atomic_exchange(&f->paused, false))
        loop_post(f->loop, fd_resume, f);
}

static void fd_accept_peer(void *arg)
{
    struct fd_end *f = arg;
    int peer = accept(f->listener, NULL, NULL);
    if (peer < 0)
        return;
    loop_watch(f->loop, f->listener, NULL, NULL);
    pthread_mutex_lock(&f->lock);
    f->in = f->out = peer;
    pthread_mutex_unlock(&f->lock);
    loop_watch(f->loop, f->in, fd_readable, f);
}

static void fd_fini(struct back_char *b)
{
    struct fd_end *f = (struct fd_end *)b;
    if (f->in >= 0)
        loop_watch(f->loop, f->in, NULL, NULL);
    if (f->listener >= 0 && f->in < 0)
        loop_watch(f->loop, f->listener, NULL, NULL);
    if (f->owned && f->in >= 0)
        close(f->in);
    if (f->owned && f->out >= 0 && f->out != f->in)
        close(f->out);
    if (f->listener >= 0)
        close(f->listener);
    free(f);
}

static struct fd_end *fd_new(struct loop *l, struct status *st)
{
    struct fd_end *f = calloc(1, sizeof *f);
    if (!f) {
        status_set(st, "no memory for a character back end");
        return NULL;
    }
    f->back = (struct back_char){.write = fd_write, .accept = fd_accept, .fini = fd_fini};
    f->loop = l;
    f->in = f->out = f->listener = -1;
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

bool back_fd_init(struct back_char **b, struct loop *l, int in, int out, bool owned, struct status *st)
{
    struct fd_end *f = fd_new(l, st);
    if (!f)
        return false;
    f->in = in;
    f->out = out;
    f->owned = owned;
    /* A regular file cannot be waited for; what refuses to be watched gives no input. */
    if (in >= 0 && !loop_watch(l, in, fd_readable, f))
        f->in = -1;
    *b = &f->back;
    return true;
}

bool back_fd_listen(struct back_char **b, struct loop *l, int listener, struct status *st)
{
    struct fd_end *f = fd_new(l, st);
    if (!f)
        return false;
    f->listener = listener;
    f->owned = true;
    if (!loop_watch(l, listener, fd_accept_peer, f)) {
        free(f);
        return status_set(st, "cannot wait for connections on the socket");
    }
    *b = &f->back;
    return true;
}

static size_t forward_room(void *arg)
{
    const struct back_char *outer = arg;
    return outer->room && outer->receive ? outer->room(outer->arg) : SIZE_MAX;
}

static void forward_receive(void *arg, const uint8_t *data, size_t n)
{
    const struct back_char *outer = arg;
    if (outer->receive)
        outer->receive(outer->arg, data, n);
}

static void forward_break(void *arg)
{
    const struct back_char *outer = arg;
    if (outer->line_break)
        outer->line_break(outer->arg);
}

void back_forward(struct back_char *inner, struct back_char *outer)
{
    inner->room = forward_room;
    inner->receive = forward_receive;
    inner->line_break = forward_break;
    inner->arg = outer;
}

void back_fini(struct back_char *b)
{
    if (b)
        b->fini(b);
}
