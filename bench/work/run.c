/* bench/work/run.c: runs the rows of /bench/todo one after another and prints how long each took; the same program in a guest and natively.
 *
 * In a guest it is process 1: it mounts what programs expect and powers the machine off at the end.  Natively it runs under chroot in the same
 * root.  A line of todo is
 *     NAME SECONDS PROGRAM ARGUMENT... [<FILE]
 * where SECONDS limits the row's time.  Its lines are from "@ " to " .", since a kernel may write to the same console:
 *     @ begin NAME .
 *     @ row NAME SECONDS SUM .        or   @ skip NAME WHY .   or   @ fail NAME WHY .
 *     @ end SECONDS .                 all rows together, for a check of the clock
 * A program that measures itself prints "seconds S sum X" (see work.h).  Of any other the time is from fork to exit, the sum is of its output.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void become_init(void)
{
    mkdir("/proc", 0755);
    mkdir("/tmp", 0777);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sys", "/sys", "sysfs", 0, NULL);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    mkdir("/dev/shm", 0777);
    mount("tmp", "/tmp", "tmpfs", 0, NULL);
    int fd = open("/dev/console", O_RDWR);
    for (int i = 0; i < 3; i++)
        dup2(fd, i);
}

static void run_program(char **word, const char *input, int out)
{
    setpgid(0, 0);
    int in = open(input ? input : "/dev/null", O_RDONLY);
    if (in < 0) {
        perror(input);
        _exit(126);
    }
    dup2(in, 0);
    dup2(out, 1);
    dup2(out, 2);
    execvp(word[0], word);
    fprintf(stderr, "%s: %s", word[0], strerror(errno));
    _exit(127);
}

/* Everything the program writes: into text as far as it fits, all of it into the sum.  false: out of time. */
static bool read_output(int fd, double until, char *text, size_t size, uint64_t *sum)
{
    static uint8_t buffer[65536];
    size_t kept = 0;
    *sum = 14695981039346656037ull;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        double left = until - now();
        if (left <= 0)
            return false;
        if (poll(&p, 1, (int)(left * 1000) + 1) <= 0)
            continue;
        ssize_t n = read(fd, buffer, sizeof buffer);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++) {
            *sum = (*sum ^ buffer[i]) * 1099511628211ull;
            if (kept + 1 < size)
                text[kept++] = (char)buffer[i];
        }
    }
    text[kept] = 0;
    return true;
}

static void one_line(char *text)
{
    for (; *text; text++)
        if (*text == '\n' || *text == '\r')
            *text = ' ';
}

static void run_row(const char *name, double limit, char **word, const char *input)
{
    static char text[200];
    int fd[2], status;
    uint64_t sum;
    printf("@ begin %s .\n", name);
    if (pipe2(fd, O_CLOEXEC))
        return;
    double began = now();
    pid_t pid = fork();
    if (!pid)
        run_program(word, input, fd[1]);
    close(fd[1]);
    bool in_time = read_output(fd[0], began + limit, text, sizeof text, &sum);
    if (!in_time)
        kill(-pid, SIGKILL);
    waitpid(pid, &status, 0);
    double seconds = now() - began;
    close(fd[0]);
    char *measured = strstr(text, "seconds ");
    char sum_text[32];
    snprintf(sum_text, sizeof sum_text, "%016" PRIx64, sum);
    if (!in_time)
        printf("@ fail %s not done in %.0f seconds .\n", name, limit);
    else if (WIFSIGNALED(status))
        printf("@ fail %s ended by signal %d .\n", name, WTERMSIG(status));
    else if (WEXITSTATUS(status))
        one_line(text), printf("@ fail %s status %d: %s .\n", name, WEXITSTATUS(status), text);
    else if (!strncmp(text, "skip ", 5))
        one_line(text), printf("@ skip %s %s .\n", name, text + 5);
    else if (measured && sscanf(measured, "seconds %lf sum %31s", &seconds, sum_text) != 2)
        one_line(text), printf("@ fail %s printed: %s .\n", name, text);
    else
        printf("@ row %s %.9f %s .\n", name, seconds, sum_text);
}

static void run_line(char *line)
{
    char *word[64] = {0}, *save, *input = NULL;
    unsigned n = 0;
    for (char *w = strtok_r(line, " \n", &save); w && n < 63; w = strtok_r(NULL, " \n", &save)) {
        if (*w == '<')
            input = w + 1;
        else
            word[n++] = w;
    }
    if (n >= 3)
        run_row(word[0], atof(word[1]), word + 2, input);
}

int main(void)
{
    bool init = getpid() == 1;
    char line[1024];
    if (init)
        become_init();
    setvbuf(stdout, NULL, _IOLBF, 0);
    setenv("PATH", "/bench/bin:/usr/bin:/bin", 1);
    setenv("LC_ALL", "C", 1);
    setenv("HOME", "/tmp", 1);
    setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
    if (chdir("/tmp"))
        perror("/tmp");
    FILE *todo = fopen("/bench/todo", "re");
    printf("@ start .\n");
    double began = now();
    while (todo && fgets(line, sizeof line, todo))
        run_line(line);
    printf("@ end %.6f .\n", now() - began);
    if (init) {
        sync();
        reboot(RB_POWER_OFF);
    }
    return 0;
}
