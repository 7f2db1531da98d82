/* tool/perf.c: tells Linux's perf what blocks of generated code are: -perfmap and -jitdump.
 *
 *     /tmp/perf-PID.map   lines ADDRESS SIZE NAME, which `perf report` reads by itself
 *     jit-PID.dump        in the current directory, with the code itself and the time of each block (tools/perf/Documentation/jitdump-specification.txt
 *                         in Linux); `perf record -k mono`, then `perf inject --jit`, then report and annotate
 *
 * A block is called by the guest's privilege, the linear address it was first translated at, and the guest's symbol if a table is given
 * (-symbols).  One block serves all address spaces, so a library's blocks are called by the first process's addresses.
 *
 * Code memory is used again after an eviction.  A map has no times: then it is written anew at the end, with the newest block of each place.  A jitdump
 * has times, so perf tells old from new.
 *
 * Any vCPU's thread comes here: `lock` guards everything and is a leaf.
 */
#include "tool/tool.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct record {
    const uint8_t *rx;
    uint32_t size, mode;
    gva_t pc;
};
struct perf {
    pthread_mutex_t lock;
    struct symbols *symbols;
    FILE *map, *dump;
    char map_path[64];
    void *marker; /* perf notices a jitdump by its being mapped executable */
    struct record *record;
    size_t n, room;
    uint64_t index;
    const struct exec *exec;
};

/* ---- jitdump's layout --------------------------------------------------------------------------------------------- */

struct dump_header {
    uint32_t magic, version, total_size, elf_machine, pad, pid;
    uint64_t timestamp, flags;
};
struct dump_load {
    uint32_t id, total_size;
    uint64_t timestamp;
    uint32_t pid, tid;
    uint64_t vma, code_address, code_size, code_index;
};
enum { DUMP_MAGIC = 0x4a695444, DUMP_VERSION = 1, DUMP_CODE_LOAD = 0 };

static uint64_t dump_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* what perf's -k mono means */
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void dump_code(struct perf *p, const uint8_t *rx, size_t size, const char *name)
{
    struct dump_load l = {.id = DUMP_CODE_LOAD,
                          .total_size = (uint32_t)(sizeof l + strlen(name) + 1 + size),
                          .timestamp = dump_clock(),
                          .pid = (uint32_t)getpid(),
                          .tid = (uint32_t)syscall(SYS_gettid),
                          .vma = (uintptr_t)rx,
                          .code_address = (uintptr_t)rx,
                          .code_size = size,
                          .code_index = p->index++};
    fwrite(&l, sizeof l, 1, p->dump);
    fwrite(name, strlen(name) + 1, 1, p->dump);
    fwrite(rx, size, 1, p->dump);
}

static bool dump_open(struct perf *p, struct status *st)
{
    char path[64];
    snprintf(path, sizeof path, "jit-%d.dump", (int)getpid());
    p->dump = fopen(path, "w+e");
    if (!p->dump)
        return status_set(st, "-jitdump: cannot write %s: %s", path, strerror(errno));
    struct dump_header h = {.magic = DUMP_MAGIC,
                            .version = DUMP_VERSION,
                            .total_size = sizeof h,
                            .elf_machine = EM_X86_64,
                            .pid = (uint32_t)getpid(),
                            .timestamp = dump_clock()};
    fwrite(&h, sizeof h, 1, p->dump);
    fflush(p->dump);
    p->marker = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fileno(p->dump), 0);
    return p->marker != MAP_FAILED || status_set(st, "-jitdump: cannot map %s: %s", path, strerror(errno));
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

static void name_of(const struct perf *p, gva_t pc, uint32_t mode, char *name, size_t size)
{
    uint64_t offset;
    bool user = (mode & MODE_CPL) == 3;
    const char *symbol = user ? NULL : symbols_find(p->symbols, pc, &offset);
    if (symbol)
        snprintf(name, size, "guest kernel %s+0x%llx 0x%llx", symbol, (unsigned long long)offset,
                 (unsigned long long)pc);
    else
        snprintf(name, size, "guest %s 0x%llx", user ? "user" : "kernel", (unsigned long long)pc);
}

static void map_line(struct perf *p, const uint8_t *rx, size_t size, const char *name)
{
    fprintf(p->map, "%llx %zx %s\n", (unsigned long long)(uintptr_t)rx, size, name);
}

static void remember(struct perf *p, const uint8_t *rx, size_t size, uint32_t mode, gva_t pc)
{
    if (p->n == p->room) {
        size_t room = p->room ? 2 * p->room : 4096;
        struct record *r = realloc(p->record, room * sizeof *r);
        if (!r)
            return;
        p->record = r;
        p->room = room;
    }
    p->record[p->n++] = (struct record){rx, (uint32_t)size, mode, pc};
}

void perf_block(void *arg, const struct block *b, gva_t pc)
{
    struct perf *p = arg;
    char name[384];
    pthread_mutex_lock(&p->lock);
    name_of(p, pc, b->mode, name, sizeof name);
    for (unsigned cold = 0; cold < 2; cold++) {
        const uint8_t *rx = cold ? block_cold(b) : b->rx;
        size_t size = cold ? b->cold_size : b->host_size;
        if (p->map) {
            map_line(p, rx, size, name);
            remember(p, rx, size, b->mode, pc);
        }
        if (p->dump)
            dump_code(p, rx, size, name);
    }
    pthread_mutex_unlock(&p->lock);
}

/* ---- from start to end -------------------------------------------------------------------------------------------- */

bool perf_init(struct perf **out, const struct options *o, const struct exec *e, struct status *st)
{
    struct perf *p = calloc(1, sizeof *p);
    *out = p;
    if (!p)
        return status_set(st, "no memory");
    pthread_mutex_init(&p->lock, NULL);
    p->exec = e;
    p->marker = MAP_FAILED;
    if (o->symbols && !symbols_read(&p->symbols, o->symbols, st))
        return false;
    if (o->perfmap) {
        snprintf(p->map_path, sizeof p->map_path, "/tmp/perf-%d.map", (int)getpid());
        p->map = fopen(p->map_path, "we");
        if (!p->map)
            return status_set(st, "-perfmap: cannot write %s: %s", p->map_path, strerror(errno));
        map_line(p, e->thunks.rx, e->thunks.size, "rhea thunks");
    }
    if (o->jitdump && !dump_open(p, st))
        return false;
    if (p->dump)
        dump_code(p, e->thunks.rx, e->thunks.size, "rhea thunks");
    return true;
}

/* The map again, without blocks whose place was taken by later ones. */
static void map_newest(struct perf *p)
{
    uintptr_t low = (uintptr_t)p->exec->thunks.rx;
    size_t size, used;
    size = code_size(p->exec->code, &used);
    uint8_t *taken = calloc(size / 8 + 1, 1); /* a bit a byte of code memory */
    FILE *again = taken ? freopen(p->map_path, "we", p->map) : NULL;
    p->map = taken ? again : p->map;
    if (again)
        map_line(p, p->exec->thunks.rx, p->exec->thunks.size, "rhea thunks");
    for (size_t i = p->n; again && i-- > 0;) {
        const struct record *r = &p->record[i];
        size_t at = (uintptr_t)r->rx - low;
        bool free_still = at + r->size <= size;
        for (size_t k = at; free_still && k < at + r->size; k++)
            free_still = !(taken[k / 8] >> (k & 7) & 1);
        if (!free_still)
            continue;
        for (size_t k = at; k < at + r->size; k++)
            taken[k / 8] |= (uint8_t)(1 << (k & 7));
        char name[384];
        name_of(p, r->pc, r->mode, name, sizeof name);
        map_line(p, r->rx, r->size, name);
    }
    free(taken);
}

void perf_fini(struct perf *p)
{
    if (p->map && code_evictions(p->exec->code))
        map_newest(p);
    if (p->map)
        fclose(p->map);
    if (p->marker != MAP_FAILED)
        munmap(p->marker, 4096);
    if (p->dump)
        fclose(p->dump);
    symbols_free(p->symbols);
    free(p->record);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
