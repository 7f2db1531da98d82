/* Back ends over pipes, files and sockets with a real event loop: nothing lost when the consumer is slow, peers come
 * and go. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "dev/dev.h"

enum { TOTAL = 3000 };

/* Takes four bytes at most until somebody makes room. */
struct slow {
    struct back_char *back;
    struct loop *loop;
    atomic_uint held;
    uint8_t got[TOTAL + 64];
    atomic_uint n;
    unsigned want;
};

static size_t slow_room(void *arg)
{
    return 4 - atomic_load(&((struct slow *)arg)->held);
}

static void slow_receive(void *arg, const uint8_t *data, size_t n)
{
    struct slow *s = arg;
    assert_true(n <= slow_room(s));
    memcpy(s->got + s->n, data, n);
    atomic_fetch_add(&s->held, (unsigned)n);
    if (atomic_fetch_add(&s->n, (unsigned)n) + n == s->want)
        loop_stop(s->loop);
}

/* The "guest": takes one byte after the other from another thread. */
static void *slow_guest(void *arg)
{
    struct slow *s = arg;
    for (unsigned taken = 0; taken < s->want;) {
        if (!atomic_load(&s->held))
            continue;
        atomic_fetch_sub(&s->held, 1);
        taken++;
        back_accept(s->back);
    }
    return NULL;
}

static void test_flow_control(void **state)
{
    (void)state;
    struct status st = {{0}};
    struct slow *s = calloc(1, sizeof *s);
    uint8_t data[TOTAL];
    int in[2];
    pthread_t guest;
    s->want = TOTAL;
    for (unsigned i = 0; i < TOTAL; i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    assert_int_equal(pipe(in), 0);
    assert_int_equal(write(in[1], data, TOTAL), TOTAL);
    close(in[1]);
    assert_true(loop_init(&s->loop, &st));
    assert_true(back_fd_init(&s->back, s->loop, in[0], -1, true, &st));
    s->back->arg = s;
    s->back->room = slow_room;
    s->back->receive = slow_receive;
    pthread_create(&guest, NULL, slow_guest, s);
    loop_run(s->loop);
    pthread_join(guest, NULL);
    assert_int_equal(s->n, TOTAL);
    assert_memory_equal(s->got, data, TOTAL);
    back_fini(s->back);
    loop_fini(s->loop);
    free(s);
}

static void test_file(void **state)
{
    (void)state;
    struct status st = {{0}};
    struct back_char *b;
    char path[] = "/tmp/rhea-test-XXXXXX", spec[64], text[8] = {0};
    close(mkstemp(path));
    snprintf(spec, sizeof spec, "file:%s", path);
    assert_true(back_open(&b, NULL, spec, &st));
    back_write(b, "hello", 5);
    back_fini(b);
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof text), 5);
    assert_string_equal(text, "hello");
    close(fd);
    unlink(path);
    assert_false(back_open(&b, NULL, "file:/nonexistent/x", &st));
    assert_non_null(strstr(st.text, "/nonexistent/x"));
    st.text[0] = 0;
    assert_false(back_open(&b, NULL, "telepathy", &st));
    assert_non_null(strstr(st.text, "telepathy"));
    st.text[0] = 0;
    assert_false(back_open(&b, NULL, "tcp:nobody,server", &st));
    st.text[0] = 0;
    assert_false(back_open(&b, NULL, "unix:/tmp/x,sever", &st));
    assert_non_null(strstr(st.text, "sever"));
}

static int dial(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void test_socket_peers(void **state)
{
    (void)state;
    struct status st = {{0}};
    struct slow *s = calloc(1, sizeof *s);
    char path[] = "/tmp/rhea-test-XXXXXX", spec[64], text[8];
    close(mkstemp(path));
    snprintf(spec, sizeof spec, "unix:%s,server,nowait", path);
    assert_true(loop_init(&s->loop, &st));
    assert_true(back_open(&s->back, s->loop, spec, &st));
    s->back->arg = s;
    s->back->room = slow_room;
    s->back->receive = slow_receive;
    back_write(s->back, "lost", 4); /* nobody there */
    for (unsigned i = 1; i <= 2; i++) {
        int peer = dial(path);
        s->held = 0;
        s->want = i * 3;
        assert_int_equal(write(peer, "abc", 3), 3);
        loop_run(s->loop);
        back_write(s->back, "xy", 2);
        assert_int_equal(read(peer, text, sizeof text), 2);
        close(peer);
    }
    assert_memory_equal(s->got, "abcabc", 6);
    back_fini(s->back);
    loop_fini(s->loop);
    unlink(path);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flow_control),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_socket_peers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
