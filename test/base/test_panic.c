/* A broken belief ends the process with a message and what the thread's hook prints, once. */
#include "base/base.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void hook(void *arg)
{
    fprintf(stderr, "hook says %s\n", (const char *)arg);
    rh_assert(0, "inside the hook");
}

static void *set_other_hook(void *arg)
{
    rh_panic_hook(hook, "wrong thread");
    return arg;
}

static void test_assert(void **state)
{
    char text[1000] = "";
    int p[2], how;
    (void)state;

    assert_int_equal(pipe(p), 0);
    pid_t child = fork();
    if (child == 0) {
        pthread_t t;
        signal(SIGABRT, SIG_DFL);
        dup2(p[1], 2);
        rh_panic_hook(hook, "hello");
        pthread_create(&t, NULL, set_other_hook, NULL);
        pthread_join(t, NULL);
        rh_assert(1 % 2 == 1);
        rh_assert(5 % 2 == 0, "value %d", 5);
        _exit(0);
    }
    close(p[1]);
    for (size_t n = 0, got; (got = (size_t)read(p[0], text + n, sizeof(text) - 1 - n)) > 0;)
        n += got;
    close(p[0]);
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGABRT);
    assert_non_null(strstr(text, "test_panic.c:"));
    assert_non_null(strstr(text, "not true: 5 % 2 == 0: value 5\n"));
    char *said = strstr(text, "hook says hello\n");
    assert_non_null(said);
    assert_null(strstr(said + 1, "hook says"));
    assert_non_null(strstr(said, "inside the hook"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_assert)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
