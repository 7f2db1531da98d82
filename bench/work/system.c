/* bench/work/system.c: what an operating system does for programs: calls, switches, processes, memory, files. */
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "work.h"

static void check(int good, const char *what)
{
    if (!good)
        work_fail(what);
}

static uint64_t run_getpid(unsigned n)
{
    uint64_t sum = 0;
    long pid = getpid();
    work_begin();
    for (unsigned i = 0; i < n; i++)
        sum += syscall(SYS_getpid) == pid;
    work_end();
    return sum;
}

static void child_ends(pid_t pid)
{
    int status;
    check(waitpid(pid, &status, 0) == pid && status == 0, "a child failed");
}

static uint64_t run_pipe(unsigned n)
{
    int there[2], back[2];
    check(!pipe(there) && !pipe(back), "pipe");
    pid_t pid = fork();
    uint64_t token = 1;
    if (!pid) {
        for (unsigned i = 0; i <= n; i++) {
            check(read(there[0], &token, 8) == 8, "read");
            token += 3;
            check(write(back[1], &token, 8) == 8, "write");
        }
        _exit(0);
    }
    for (unsigned i = 0; i <= n; i++) {
        if (i == 1)
            work_begin(); /* the child runs */
        check(write(there[1], &token, 8) == 8 && read(back[0], &token, 8) == 8, "ping-pong");
    }
    work_end();
    child_ends(pid);
    return token;
}

/* Two processes pass a word to and fro, sleeping in the kernel between. */
static uint64_t futexes(unsigned n, int two_processors)
{
    int *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    int me = pid ? 0 : 1;
    if (two_processors) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((unsigned)me, &set);
        if (sched_setaffinity(0, sizeof set, &set))
            work_skip("no second processor");
    }
    for (unsigned i = 0; i <= n; i++) {
        if (i == 1 && pid)
            work_begin();
        int value;
        while (((value = __atomic_load_n(word, __ATOMIC_SEQ_CST)) & 1) != me)
            syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
        __atomic_store_n(word, value + 1, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
    if (!pid)
        _exit(0);
    work_end();
    child_ends(pid);
    return (uint64_t)*word;
}

static uint64_t run_futex(unsigned n) { return futexes(n, 0); }
static uint64_t run_futex_smp(unsigned n) { return futexes(n, 1); }

static uint64_t run_fork(unsigned n)
{
    char *memory = malloc(4 << 20); /* something to copy page tables of */
    memset(memory, 1, 4 << 20);
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        pid_t pid = fork();
        if (!pid) {
            memory[i * 4096 % (4 << 20)]++;
            _exit(0);
        }
        child_ends(pid);
    }
    work_end();
    return n + (uint64_t)memory[0];
}

static uint64_t spawn(unsigned n, const char *path, const char *arg1, const char *arg2)
{
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        pid_t pid = vfork();
        if (!pid) {
            execl(path, path, arg1, arg2, (char *)NULL);
            _exit(127);
        }
        child_ends(pid);
    }
    work_end();
    return n;
}

static uint64_t run_exec(unsigned n) { return spawn(n, "/bench/true", NULL, NULL); }
/* A large binary of which each run executes an eighth: the same code again, new processes. */
static uint64_t run_wide(unsigned n) { return spawn(n, "/bench/cold", "eighth", NULL); }

static uint64_t run_faults(unsigned n)
{
    size_t size = n * 4096ul;
    char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(m != MAP_FAILED && !madvise(m, size, MADV_NOHUGEPAGE), "mmap");
    work_begin();
    for (size_t i = 0; i < size; i += 4096)
        m[i] = (char)(i >> 12);
    work_end();
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i += 4096)
        sum += (unsigned char)m[i];
    return sum;
}

static uint64_t run_mmap(unsigned n)
{
    uint64_t sum = 0;
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        char *m = mmap(NULL, 64 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        m[0] = (char)i;
        m[8192] = 1;
        sum += (unsigned char)m[0] + (unsigned char)m[8192];
        check(!munmap(m, 64 << 10), "munmap");
    }
    work_end();
    return sum;
}

/* A token goes round among 100 processes. */
enum { RING_MOST = 400 };

static uint64_t ring(unsigned processes, unsigned n)
{
    int pipes[RING_MOST][2];
    pid_t pid[RING_MOST];
    uint64_t token = 0;
    for (unsigned i = 0; i < processes; i++)
        check(!pipe(pipes[i]), "pipe");
    for (unsigned i = 1; i < processes; i++) {
        pid[i] = fork();
        if (pid[i])
            continue;
        for (unsigned k = 0; k <= n; k++) {
            check(read(pipes[i][0], &token, 8) == 8, "read");
            token += i;
            check(write(pipes[(i + 1) % processes][1], &token, 8) == 8, "write");
        }
        _exit(0);
    }
    for (unsigned k = 0; k <= n; k++) {
        if (k == 1)
            work_begin();
        check(write(pipes[1][1], &token, 8) == 8 && read(pipes[0][0], &token, 8) == 8, "ring");
    }
    work_end();
    for (unsigned i = 1; i < processes; i++)
        child_ends(pid[i]);
    return token;
}

static uint64_t run_ring(unsigned n)
{
    return ring(100, n);
}

static uint64_t run_ring_10(unsigned n)
{
    return ring(10, n);
}

static uint64_t run_ring_400(unsigned n)
{
    return ring(RING_MOST, n);
}

static uint64_t run_files(unsigned n)
{
    static char block[8192];
    uint64_t sum = 0;
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, "/tmp/file-%u", i % 16);
        int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
        block[i % sizeof block] = (char)i;
        for (unsigned k = 0; k < 8; k++)
            check(write(fd, block, sizeof block) == sizeof block, "write");
        check(lseek(fd, 0, SEEK_SET) == 0, "lseek");
        for (unsigned k = 0; k < 8; k++)
            check(read(fd, block, sizeof block) == sizeof block, "read");
        sum = work_mix(sum, (unsigned char)block[i % sizeof block]);
        close(fd);
        check(!unlink(name), "unlink");
    }
    work_end();
    return sum;
}

const struct work works[] = {{"getpid", run_getpid}, {"pipe", run_pipe}, {"futex", run_futex}, {"futex-smp", run_futex_smp}, {"fork", run_fork},
                             {"exec", run_exec},     {"wide", run_wide}, {"faults", run_faults}, {"mmap", run_mmap},         {"ring", run_ring},
                             {"files", run_files},   {"ring-10", run_ring_10}, {"ring-400", run_ring_400},   {NULL, NULL}};
