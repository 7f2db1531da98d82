/* dev/back_file.c: what the guest writes goes to a file; and back_open, which makes any back end from its word on the
 * command line.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "dev/dev.h"

bool back_file_init(struct back_char **b, const char *path, struct status *st)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return status_set(st, "cannot write %s: %s", path, strerror(errno));
    return back_fd_init(b, NULL, -1, fd, true, st);
}

static bool open_pty(struct back_char **b, struct loop *l, struct status *st)
{
    char name[128];
    if (!back_pty_init(b, l, name, sizeof name, st))
        return false;
    fprintf(stderr, "serial port is at %s\n", name);
    return true;
}

bool back_open(struct back_char **b, struct loop *l, const char *spec, struct status *st)
{
    if (!strcmp(spec, "null") || !strcmp(spec, "none"))
        return back_null_init(b, st);
    if (!strcmp(spec, "stdio"))
        return back_stdio_init(b, l, true, st);
    if (!strcmp(spec, "pty"))
        return open_pty(b, l, st);
    if (!strncmp(spec, "file:", 5))
        return back_file_init(b, spec + 5, st);
    if (!strncmp(spec, "unix:", 5) || !strncmp(spec, "tcp:", 4))
        return back_socket_init(b, l, spec, st);
    return status_set(st,
                      "unknown character device '%s': use stdio, null, pty, file:PATH, unix:PATH[,server][,nowait] or "
                      "tcp:HOST:PORT[,server][,nowait]",
                      spec);
}
