/* os_linux.c: what rhea asks of Linux for memory and time.
 *
 * The reservations are large (half a terabyte for one translation table) and mostly never touched.  They rely on the
 * host handing out address space without counting it as memory, that is vm.overcommit_memory other than 2, and no
 * `ulimit -v`.
 *
 * Code memory is one memory mapped twice, so that no page is ever writable and executable at one address.
 */
#include "base/base.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

void *os_reserve(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, size, MADV_DONTDUMP);
    return p;
}

void os_release(void *p, size_t size)
{
    int r = munmap(p, size);
    rh_assert(r == 0, "munmap(%p, %zu): %s", p, size, strerror(errno));
}

void os_discard(void *p, size_t size)
{
    int r = madvise(p, size, MADV_DONTNEED);
    rh_assert(r == 0, "madvise(%p, %zu): %s", p, size, strerror(errno));
}

void os_prefer_huge(void *p, size_t size)
{
    /* A wish: kernels without huge pages refuse, and all still works. */
    madvise(p, size, MADV_HUGEPAGE);
}

void os_prefer_small(void *p, size_t size)
{
    madvise(p, size, MADV_NOHUGEPAGE);
}

enum { PAGE_BYTES = 4096 };

void os_touch(void *p, size_t size)
{
    size_t before = (uintptr_t)p % PAGE_BYTES;
    madvise((uint8_t *)p - before, size + before, MADV_POPULATE_WRITE);
}

/* A file without a name; a limit to the size of files, or a host that wants nothing of it executed, is no error. */
static int code_file(size_t size)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur < size)
        return -1;
    int file = memfd_create("rhea-code", MFD_CLOEXEC);
    if (file < 0)
        return -1;
    if (!ftruncate(file, (off_t)size)) {
        void *x = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
        if (x != MAP_FAILED && !munmap(x, PAGE_BYTES))
            return file;
    }
    close(file);
    return -1;
}

bool os_code_memory(struct os_code *c, size_t size, bool named, struct status *st)
{
    int file = named ? -1 : code_file(size), flags = MAP_SHARED | MAP_NORESERVE | (file < 0 ? MAP_ANONYMOUS : 0);
    void *w = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, file, 0);
    if (w == MAP_FAILED) {
        if (file >= 0)
            close(file);
        return status_set(st, "code memory of %zu bytes: %s", size, strerror(errno));
    }
    void *x = file >= 0 ? mmap(NULL, size, PROT_READ | PROT_EXEC, flags, file, 0)
                        : mremap(w, 0, size, MREMAP_MAYMOVE); /* of length 0: the same pages once more */
    *c = (struct os_code){.rw = w, .rx = x == MAP_FAILED ? NULL : x, .size = size, .file = file};
    if (!c->rx || (file < 0 && mprotect(x, size, PROT_READ | PROT_EXEC))) {
        status_set(st,
                   "code memory of %zu bytes: cannot map it executable (does the host forbid running code from "
                   "memory?): %s",
                   size, strerror(errno));
        os_code_memory_free(c);
        return false;
    }
    return true;
}

/* Writing to the file makes pages without a fault each; reading one then maps its neighbours (fault-around). */
void os_code_touch(const struct os_code *c, uint8_t *rw, size_t size)
{
    static const uint8_t zero[PAGE_BYTES];
    struct iovec v[OS_TOUCH / PAGE_BYTES];
    if (c->file < 0) {
        os_touch(rw, size);
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(v); i++)
        v[i] = (struct iovec){(void *)zero, PAGE_BYTES};
    for (uint8_t *end = rw + size; rw < end;) {
        size_t part = OS_TOUCH - (uintptr_t)rw % OS_TOUCH;
        part = part < (size_t)(end - rw) ? part : (size_t)(end - rw);
        if (pwritev(c->file, v, (int)(part / PAGE_BYTES), rw - c->rw) < 0)
            return;
        (void)*(volatile uint8_t *)rw;
        rw += part;
    }
}

#ifdef __SANITIZE_THREAD__
void AnnotateBenignRaceSized(const char *file, int line, const volatile void *p, size_t size, const char *why);
#else
#define AnnotateBenignRaceSized(file, line, p, size, why) ((void)(p), (void)(size))
#endif

void os_shared_with_guest(void *p, size_t size)
{
    AnnotateBenignRaceSized(__FILE__, __LINE__, p, size, "RAM of the guest");
}

/* Registering is cheap and may be repeated; who cannot (old kernels) relies on the host's caches being coherent. */
void os_code_changed(void)
{
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) && errno == EPERM &&
        !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0))
        syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
}

unsigned os_processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) ? 0 : CPU_COUNT(&set);
    return n > 0 ? (unsigned)n : 1;
}

uint64_t os_times_preempted(void)
{
    struct rusage u;
    return getrusage(RUSAGE_THREAD, &u) ? 0 : (uint64_t)u.ru_nivcsw;
}

void os_code_memory_free(struct os_code *c)
{
    if (c->rw)
        os_release(c->rw, c->size);
    if (c->rx)
        os_release(c->rx, c->size);
    if (c->file >= 0)
        close(c->file);
    *c = (struct os_code){.file = -1};
}

uint64_t os_nanoseconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- faults of the host processor ---------------------------------------------------------------------------- */

/* A signal handler gets no argument of ours, so this is the one thing a process can have only one of. */
static struct {
    bool (*fn)(void *arg, enum os_fault what, void *context);
    void *arg;
} catcher;

static void on_signal(int sig, siginfo_t *info, void *context)
{
    bool integer = info->si_code == FPE_INTDIV || info->si_code == FPE_INTOVF;
    enum os_fault what = sig != SIGFPE ? OS_FAULT_MEMORY : integer ? OS_FAULT_DIVIDE : OS_FAULT_FLOAT;
    if (!catcher.fn(catcher.arg, what, context))
        signal(sig, SIG_DFL); /* die of it when the instruction runs again */
}

bool os_catch_faults(bool (*fn)(void *arg, enum os_fault what, void *context), void *arg, struct status *st)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    const int which[] = {SIGSEGV, SIGBUS, SIGFPE};
    catcher.fn = fn;
    catcher.arg = arg;
    for (unsigned i = 0; i < ARRAY_LEN(which); i++)
        if (sigaction(which[i], &sa, NULL))
            return status_set(st, "cannot install a signal handler: %s", strerror(errno));
    return true;
}

void os_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    memset(r, 0, 4 * sizeof *r);
#ifdef __x86_64__
    __get_cpuid_count(leaf, subleaf, &r[0], &r[1], &r[2], &r[3]);
#else
    (void)leaf, (void)subleaf;
#endif
}
