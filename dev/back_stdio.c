/* dev/back_stdio.c: back ends on terminals: our own standard input and output, and a new pseudo terminal for another
 * program.
 *
 * Our terminal is set raw (no echo, no line editing, no flow control characters) and put back by fini, or by
 * back_stdio_restore from places that cannot clean up.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "dev/dev.h"

struct stdio_end {
    struct back_char back;
    struct back_char *fd;
    struct termios saved;
    atomic_bool raw;
};

static void stdio_write(struct back_char *b, const void *data, size_t n)
{
    back_write(((struct stdio_end *)b)->fd, data, n);
}

static void stdio_accept(struct back_char *b)
{
    back_accept(((struct stdio_end *)b)->fd);
}

void back_stdio_restore(struct back_char *b)
{
    struct stdio_end *s = (struct stdio_end *)b;
    if (atomic_exchange(&s->raw, false))
        tcsetattr(STDIN_FILENO, TCSANOW, &s->saved);
}

static void stdio_fini(struct back_char *b)
{
    struct stdio_end *s = (struct stdio_end *)b;
    back_stdio_restore(b);
    back_fini(s->fd);
    free(s);
}

static void stdio_raw(struct stdio_end *s, bool signals)
{
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &s->saved))
        return;
    struct termios t = s->saved;
    t.c_iflag &= (tcflag_t) ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    t.c_lflag &= (tcflag_t) ~(ECHO | ECHONL | ICANON | IEXTEN);
    if (!signals)
        t.c_lflag &= (tcflag_t)~ISIG;
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    s->raw = tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
}

bool back_stdio_init(struct back_char **b, struct loop *l, bool signals, struct status *st)
{
    struct stdio_end *s = calloc(1, sizeof *s);
    if (!s)
        return status_set(st, "no memory for a character back end");
    s->back = (struct back_char){.write = stdio_write, .accept = stdio_accept, .fini = stdio_fini};
    if (!back_fd_init(&s->fd, l, STDIN_FILENO, STDOUT_FILENO, false, st)) {
        free(s);
        return false;
    }
    back_forward(s->fd, &s->back);
    stdio_raw(s, signals);
    *b = &s->back;
    return true;
}

bool back_pty_init(struct back_char **b, struct loop *l, char *name, size_t name_size, struct status *st)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || grantpt(fd) || unlockpt(fd) || ptsname_r(fd, name, name_size)) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return status_set(st, "cannot make a pseudo terminal: %s", strerror(error));
    }
    /* Our own hold on the other side: without it, reads fail whenever no program has it open. */
    int peer = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios t;
    if (peer >= 0 && tcgetattr(peer, &t) == 0) {
        cfmakeraw(&t);
        tcsetattr(peer, TCSANOW, &t);
    }
    return back_fd_init(b, l, fd, fd, true, st);
}
