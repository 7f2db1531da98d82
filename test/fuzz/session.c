/* test/fuzz/session.c: child processes that run inputs, and what happens when one dies.
 *
 * A child runs BATCH inputs and notes in shared memory which one it is at.  When it dies of one, that input is run
 * again by a child of its own: if that dies too the input alone is enough and is saved as a file; else what came
 * before it in the batch matters, and the numbers to run again are printed.  Then the next batch begins after it.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/fuzz/fuzz.h"

enum { BATCH = 1024, STUCK_SECONDS = 40, FAILURES_MAX = 12 };

struct shared {
    uint64_t run; /* the child is at this one */
    uint64_t insns;
};

static void make_input(const struct session *s, struct fuzz_input *in, uint64_t run)
{
    input_make(in, s->seed, run, s->mode, s->ring);
    in->how |= s->how;
    if (s->engine == ENGINE_EMIT)
        in->how &= ~HOW_INTERP;
    else if (s->engine == ENGINE_INTERP)
        in->how |= HOW_INTERP;
}

static void run_inputs(const struct session *s, struct shared *sh, uint64_t first, uint64_t count,
                       const struct fuzz_input *given)
{
    struct status st = {""};
    struct guest *g = NULL;
    struct fuzz_input *in = malloc(sizeof *in);
    rh_assert(in != NULL, "no memory");
    if (!s->parsers)
        rh_assert(guest_init(&g, &st), "%s", st.text);
    else /* what help prints is not for the terminal */
        rh_assert(freopen("/dev/null", "w", stdout) != NULL, "no /dev/null");
    for (uint64_t run = first; run < first + count; run++) {
        sh->run = run;
        alarm(STUCK_SECONDS); /* the parent sees a death by SIGALRM */
        if (s->parsers) {
            parsers_run(s->seed, run, s->folder);
        } else {
            if (!given)
                make_input(s, in, run);
            guest_run(g, given ? given : in);
        }
    }
    sh->run = first + count;
    if (g) {
        sh->insns += guest_insns(g);
        if (s->verbose)
            guest_print(stderr, g);
        guest_fini(g);
    }
    free(in);
}

/* A child's exit status: 0 all well. */
static int in_child(const struct session *s, struct shared *sh, uint64_t first, uint64_t count,
                    const struct fuzz_input *given)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit none = {0};
        setrlimit(RLIMIT_CORE, &none);
        run_inputs(s, sh, first, count, given);
        _exit(0);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static void save_input(const struct session *s, uint64_t run)
{
    char path[512];
    struct fuzz_input *in = malloc(sizeof *in);
    if (!in)
        return;
    make_input(s, in, run);
    snprintf(path, sizeof path, "%s/fuzz-%" PRIx64 "-%" PRIu64 ".input", s->folder, s->seed, run);
    FILE *f = fopen(path, "wb");
    if (f) {
        fwrite(in, sizeof *in, 1, f);
        fclose(f);
        fprintf(stderr, "fuzz: saved; run it again by --replay %s\n", path);
    }
    free(in);
}

static void report(const struct session *s, struct shared *sh, uint64_t first, int status)
{
    uint64_t run = sh->run;
    fprintf(stderr, "fuzz: --seed %" PRIu64 " run %" PRIu64 " FAILED: %s %d\n", s->seed, run,
            WIFSIGNALED(status) ? "signal" : "exit status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    bool alone = in_child(s, sh, run, 1, NULL) != 0;
    if (alone && !s->parsers)
        save_input(s, run);
    else
        fprintf(stderr, "fuzz: %s run it again by --seed %" PRIu64 " --first %" PRIu64 " --runs %" PRIu64 "%s\n",
                alone ? "" : "only after others;", s->seed, alone ? run : first, alone ? 1 : run - first + 1,
                s->parsers ? " --parsers" : "");
}

unsigned session_run(const struct session *s, uint64_t *done)
{
    struct shared *sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    rh_assert(sh != MAP_FAILED, "no memory");
    uint64_t began = os_nanoseconds(), run = s->first, end = s->runs ? s->first + s->runs : UINT64_MAX;
    unsigned failures = 0;
    while (run < end && failures < FAILURES_MAX && (double)(os_nanoseconds() - began) < s->seconds * 1e9) {
        uint64_t count = end - run < BATCH ? end - run : BATCH;
        int status = in_child(s, sh, run, count, NULL);
        if (status == 0) {
            run += count;
            continue;
        }
        uint64_t failed = sh->run;
        report(s, sh, run, status);
        failures++;
        run = failed + 1;
    }
    *done = run - s->first;
    printf("fuzz: %" PRIu64 " inputs, %" PRIu64 " insns translated, %.0f s, %u failed\n", *done, sh->insns,
           (double)(os_nanoseconds() - began) / 1e9, failures);
    munmap(sh, sizeof *sh);
    return failures;
}

bool session_replay(const char *path)
{
    struct fuzz_input *in = malloc(sizeof *in);
    FILE *f = fopen(path, "rb");
    bool good = in && f && fread(in, sizeof *in, 1, f) == 1 && !memcmp(in->magic, "rheafuz1", 8);
    if (f)
        fclose(f);
    if (good) {
        struct session s = {.folder = ".", .verbose = true};
        struct shared sh = {0};
        run_inputs(&s, &sh, 0, 1, in);
    } else {
        fprintf(stderr, "fuzz: %s is not an input of this version\n", path);
    }
    free(in);
    return good;
}
