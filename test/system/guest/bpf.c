/* Runs in a Linux guest: loads BPF programs, which the kernel compiles to code, runs each and gives it back, over and
 * over on several processes.  Each program returns another number, so a stale translation shows.
 *     bpf PROCESSES SECONDS     prints "bpf: N programs" or what went wrong
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long bpf(int cmd, union bpf_attr *a)
{
    return syscall(SYS_bpf, cmd, a, sizeof *a);
}

/* r0 = n; r0 += 1, `extra` times; exit */
static int load(unsigned n, unsigned extra)
{
    struct bpf_insn code[64];
    unsigned at = 0;
    code[at++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = (int)n};
    for (unsigned i = 0; i < extra; i++)
        code[at++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 0, .imm = 1};
    code[at++] = (struct bpf_insn){.code = BPF_JMP | BPF_EXIT};
    union bpf_attr a;
    memset(&a, 0, sizeof a);
    a.prog_type = BPF_PROG_TYPE_SCHED_CLS;
    a.insns = (uintptr_t)code;
    a.insn_cnt = at;
    a.license = (uintptr_t) "GPL";
    return (int)bpf(BPF_PROG_LOAD, &a);
}

static int run(int fd, unsigned repeat, unsigned *value)
{
    char packet[64] = {0};
    union bpf_attr a;
    memset(&a, 0, sizeof a);
    a.test.prog_fd = (unsigned)fd;
    a.test.data_in = (uintptr_t)packet;
    a.test.data_size_in = sizeof packet;
    a.test.repeat = repeat;
    int r = (int)bpf(BPF_PROG_TEST_RUN, &a);
    *value = a.test.retval;
    return r;
}

static int work(unsigned seed, time_t until)
{
    unsigned n = 0;
    for (; time(NULL) < until; n++) {
        unsigned number = (seed * 7919 + n * 31) & 0xffffff, extra = n % 50, got = 0;
        int fd = load(number, extra);
        if (fd < 0 || run(fd, 1 + n % 20, &got) < 0) {
            printf("bpf: %s: %s\n", fd < 0 ? "load" : "run", strerror(errno));
            return 1;
        }
        close(fd);
        if (got != number + extra) {
            printf("bpf: wrong result: %u instead of %u\n", got, number + extra);
            return 1;
        }
    }
    printf("bpf: %u programs\n", n);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned processes = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    time_t until = time(NULL) + (argc > 2 ? atoi(argv[2]) : 1);
    int bad = 0, status;
    for (unsigned i = 1; i < processes; i++)
        if (fork() == 0)
            return work(i, until);
    bad = work(0, until);
    while (wait(&status) > 0)
        bad |= status != 0;
    return bad;
}
