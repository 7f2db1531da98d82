/* dev/back_socket.c: back ends on sockets: "unix:PATH" and "tcp:HOST:PORT", as a client or, with ",server", waiting
 * for peers.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "dev/dev.h"

struct socket_spec {
    char address[256]; /* PATH or HOST:PORT */
    bool local, server, wait;
};

static bool is_off(const char *value)
{
    return !strcmp(value, "off") || !strcmp(value, "no");
}

static bool spec_option(struct socket_spec *s, const char *word, struct status *st)
{
    const char *equals = strchr(word, '=');
    size_t n = equals ? (size_t)(equals - word) : strlen(word);
    bool on = !equals || !is_off(equals + 1);
    if (n == 6 && !strncmp(word, "server", n))
        s->server = on;
    else if (n == 4 && !strncmp(word, "wait", n))
        s->wait = on;
    else if (!strcmp(word, "nowait"))
        s->wait = false;
    else if (n != 7 || strncmp(word, "nodelay", n))
        return status_set(st, "unknown socket option '%s': use server, wait or nowait", word);
    return true;
}

static bool spec_parse(struct socket_spec *s, const char *text, struct status *st)
{
    *s = (struct socket_spec){.local = !strncmp(text, "unix:", 5), .wait = true};
    const char *from = strchr(text, ':') + 1, *end = strchrnul(from, ',');
    if (end == from || (size_t)(end - from) >= sizeof s->address)
        return status_set(st, "'%s' names no address: use unix:PATH or tcp:HOST:PORT", text);
    memcpy(s->address, from, (size_t)(end - from));
    while (*end) {
        char word[64];
        const char *next = strchrnul(end + 1, ',');
        size_t n = (size_t)(next - end - 1);
        if (n >= sizeof word)
            return status_set(st, "socket option too long in '%s'", text);
        memcpy(word, end + 1, n);
        word[n] = 0;
        if (!spec_option(s, word, st))
            return false;
        end = next;
    }
    return true;
}

/* A socket bound or connected to the address; -1 with errno set. */
static int socket_attach(int family, const struct sockaddr *a, socklen_t n, bool server)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    bool ok = server ? bind(fd, a, n) == 0 && listen(fd, 1) == 0 : connect(fd, a, n) == 0;
    if (!ok) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static int open_local(const struct socket_spec *s, struct status *st)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(s->address) >= sizeof a.sun_path) {
        status_set(st, "socket path '%s' is too long: at most %zu bytes", s->address, sizeof a.sun_path - 1);
        return -1;
    }
    strcpy(a.sun_path, s->address);
    if (s->server)
        unlink(s->address);
    int fd = socket_attach(AF_UNIX, (struct sockaddr *)&a, sizeof a, s->server);
    if (fd < 0)
        status_set(st, "cannot %s socket %s: %s", s->server ? "listen on" : "connect to", s->address, strerror(errno));
    return fd;
}

static int open_tcp(struct socket_spec *s, struct status *st)
{
    char *colon = strrchr(s->address, ':');
    if (!colon) {
        status_set(st, "'tcp:%s' names no port: use tcp:HOST:PORT", s->address);
        return -1;
    }
    *colon = 0;
    struct addrinfo *list, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = s->server ? AI_PASSIVE : 0};
    int error = getaddrinfo(*s->address ? s->address : NULL, colon + 1, &hints, &list);
    if (error) {
        status_set(st, "cannot find %s port %s: %s", s->address, colon + 1, gai_strerror(error));
        return -1;
    }
    int fd = -1;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
        fd = socket_attach(a->ai_family, a->ai_addr, a->ai_addrlen, s->server);
    freeaddrinfo(list);
    if (fd < 0)
        status_set(st, "cannot %s %s port %s: %s", s->server ? "listen on" : "connect to", s->address, colon + 1,
                   strerror(errno));
    return fd;
}

/* Until someone connects; false: a signal that ends the program came first (it may be blocked, for the loop to take). */
static bool wait_peer(int fd)
{
    enum { LOOK_MS = 200 };
    const int ends[] = {SIGINT, SIGTERM, SIGHUP};
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, LOOK_MS) <= 0) {
        sigset_t pending;
        sigpending(&pending);
        for (unsigned i = 0; i < ARRAY_LEN(ends); i++)
            if (sigismember(&pending, ends[i]))
                return false;
    }
    return true;
}

bool back_socket_init(struct back_char **b, struct loop *l, const char *text, struct status *st)
{
    struct socket_spec s;
    if (!spec_parse(&s, text, st))
        return false;
    int fd = s.local ? open_local(&s, st) : open_tcp(&s, st);
    if (fd < 0)
        return false;
    if (!s.server)
        return back_fd_init(b, l, fd, fd, true, st);
    if (!s.wait)
        return back_fd_listen(b, l, fd, st);
    fprintf(stderr, "rhea: waiting for a connection on %s\n", text);
    if (!wait_peer(fd)) {
        close(fd);
        return status_set(st, "ended by a signal while waiting for a connection on %s", text);
    }
    int peer = accept(fd, NULL, NULL);
    int error = errno;
    close(fd);
    if (peer < 0)
        return status_set(st, "nobody connected to %s: %s", text, strerror(error));
    return back_fd_init(b, l, peer, peer, true, st);
}
