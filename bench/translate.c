/* bench/translate.c: how fast translating is: every block of a kernel's text, once, through the pipe that the vCPU loop
 * uses.
 *
 *     usage: translate VMLINUX [ROUNDS [INSNS]]      (`make bench-translate` makes the arguments)
 *
 * Text is walked linearly: where a block ends the next begins.  The kernel lies in guest RAM as its program headers say
 * and one vCPU stands in 64-bit mode at CPL 0 with page tables for it; nothing of it is run.
 *
 * A stage's time is the difference of two pipes, each run over all blocks with nothing measured on the way:
 *     decode | decode, lift | ..., passes | ..., emit into one buffer | exec_block, with code memory fresh
 * So the split costs nothing, and the last line holds what only the whole does: lookups, page marks, first touches of code
 * memory, publishing.  Every pipe is run ROUNDS times and the fastest counts, in processor time.  Then exec_block once
 * more, with less code memory than the blocks need and all of it used before: evictions in place of first touches.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "exec/exec.h"
#include "guest/x86/sys.h"

enum {
    RAM_SIZE = 256 << 20,
    CODE_MEMORY = 384 << 20,
    LITTLE_CODE_MEMORY = 64 << 20,
    BLOCKS_MAX = 4 << 20,
    ARENA_BYTES = 8 << 20,
    HOST_BYTES = 1 << 20
};
enum { PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, COUNTED = 64, INT3 = 0xcc };
enum { MODE = MODE_64 | MODE_FLAT | MODE_FLAT_FSGS | MODE_PROT }; /* CPL 0 */
#define KERNEL_BASE 0xffffffff80000000ull

struct section {
    uint64_t gva, size;
};

struct bench {
    struct ram ram;
    struct bus *mem, *io;
    struct log log;
    struct x86_model *model;
    struct exec exec;
    struct vcpu *v; /* NULL: this host has no room for its tables (valgrind) */
    struct arena arena;
    struct section text[16];
    unsigned nsections;
    struct piece {
        uint32_t gpa, bytes;
    } * block; /* in the order of the walk */
    unsigned nblocks;
    uint64_t ninsns, nbytes, most; /* most: insns wanted; 0: all */
    uint8_t *host;                 /* where the emit stage writes */
    uint64_t nops;
};

/* ---- the guest -------------------------------------------------------------------------------------------------- */

static void map_kernel(struct bench *b)
{
    enum { P = 1, W = 2, LARGE = 0x80 };
    uint8_t *ram = b->ram.host;
    bytes_put(ram + PML4 + 8 * 511, PDPT | P | W, 8);
    bytes_put(ram + PDPT + 8 * 510, PD | P | W, 8);
    for (uint64_t i = 0; i < RAM_SIZE >> 21; i++)
        bytes_put(ram + PD + 8 * i, i << 21 | P | W | LARGE, 8);
}

static void make_processor(struct x86 *x)
{
    x->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
    x->cr3 = PML4;
    x->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    x->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    x->xcr0 = 3;
    bytes_put(x->fx, 0x37f, 2); /* FCW as FNINIT leaves it */
    x->seg[SEG_CS] = (struct x86_segment){.selector = 0x10, .attr = 0xa09b, .limit = 0xffffffff};
    x->seg[SEG_SS] = (struct x86_segment){.selector = 0x18, .attr = 0xc093, .limit = 0xffffffff};
    x86_mode_update(x);
}

static bool load(struct bench *b, const char *path, struct status *st)
{
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &s))
        return status_set(st, "cannot read %s", path);
    const uint8_t *file = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    const Elf64_Ehdr *h = (const void *)file;
    if (file == MAP_FAILED || memcmp(h->e_ident, ELFMAG, SELFMAG) || h->e_machine != EM_X86_64)
        return status_set(st, "%s is no 64-bit kernel's ELF file", path);
    const Elf64_Phdr *p = (const void *)(file + h->e_phoff);
    for (unsigned i = 0; i < h->e_phnum; i++)
        if (p[i].p_type == PT_LOAD && p[i].p_paddr + p[i].p_filesz <= RAM_SIZE)
            memcpy(b->ram.host + p[i].p_paddr, file + p[i].p_offset, p[i].p_filesz);
    const Elf64_Shdr *sh = (const void *)(file + h->e_shoff);
    for (unsigned i = 0; i < h->e_shnum && b->nsections < ARRAY_LEN(b->text); i++)
        if ((sh[i].sh_flags & SHF_EXECINSTR) && sh[i].sh_addr >= KERNEL_BASE)
            b->text[b->nsections++] = (struct section){sh[i].sh_addr, sh[i].sh_size};
    munmap((void *)file, (size_t)s.st_size);
    return b->nsections || status_set(st, "%s has no section of code", path);
}

/* A machine whose code memory nobody has touched. */
static bool fresh_machine(struct bench *b, size_t code_size, struct status *st)
{
    const struct exec_config config = {.code_size = code_size};
    memset(b->ram.flags, 0, RAM_SIZE >> 12);
    if (b->v)
        vcpu_free(b->v);
    if (b->exec.code)
        exec_fini(&b->exec);
    b->v = NULL;
    if (!exec_init(&b->exec, &config, b->mem, b->io, &b->ram, &b->log, st) ||
        !vcpu_new(&b->v, &b->exec, 0, 1, b->model, st))
        return false;
    make_processor(&b->v->x86);
    return b->v->x86.mode == MODE || status_set(st, "the vCPU's mode is 0x%x", b->v->x86.mode);
}

static bool bench_init(struct bench *b, const char *path, struct status *st)
{
    if (!ram_init(&b->ram, RAM_SIZE, RAM_SIZE, st) || !bus_init(&b->mem, 52, &b->log, st) ||
        !bus_init(&b->io, 16, &b->log, st) || !x86_model_parse(&b->model, "max", st) ||
        !arena_init(&b->arena, ARENA_BYTES, st) || !load(b, path, st))
        return false;
    b->block = os_reserve(BLOCKS_MAX * sizeof *b->block);
    b->host = aligned_alloc(4096, 2 * (size_t)HOST_BYTES);
    if (!b->block || !b->host || !ram_map(&b->ram, b->mem))
        return status_set(st, "no memory");
    map_kernel(b);
    const struct exec_config config = {.code_size = CODE_MEMORY};
    return exec_init(&b->exec, &config, b->mem, b->io, &b->ram, &b->log, st);
}

/* ---- the pipes -------------------------------------------------------------------------------------------------- */

static bool lift(struct bench *b, const struct piece *p, bool passes, struct ir_block *ir)
{
    unsigned off = p->gpa & 0xfff;
    struct x86_source src = {.bytes = b->ram.host + p->gpa, .nbytes = 0x1000 - off, .pc = off};
    bool second;
    arena_reset(&b->arena);
    if (src.nbytes < p->bytes) /* runs over the page's end; here the next page follows */
        src.nbytes = p->bytes;
    if (!ir_block_init(ir, &b->arena, BLOCK_INSNS_MAX * 24 + 64) ||
        x86_lift_block(ir, MODE, x86_model_features(b->model), NULL, off, &src, BLOCK_INSNS_MAX, false, &second) !=
            X86_LIFT_OK)
        return false;
    if (passes)
        opt_run(ir, OPT_NO_FOLD, NULL); /* as a block that is not hot */
    return true;
}

static void run_decode(struct bench *b)
{
    struct x86_insn i;
    for (unsigned n = 0; n < b->nblocks; n++) {
        const struct piece *p = &b->block[n];
        for (unsigned at = 0; at < p->bytes; at += i.length)
            if (x86_decode(X86_64, b->ram.host + p->gpa + at, 0x1000, &i) == X86_MORE || !i.length)
                break;
    }
}

static void run_lift(struct bench *b)
{
    struct ir_block ir;
    for (unsigned n = 0; n < b->nblocks; n++)
        lift(b, &b->block[n], false, &ir);
}

static void run_passes(struct bench *b)
{
    struct ir_block ir;
    b->nops = 0;
    for (unsigned n = 0; n < b->nblocks; n++)
        if (lift(b, &b->block[n], true, &ir))
            b->nops += ir.nops;
}

static bool emit(struct bench *b, const struct piece *p, struct host_span *span)
{
    struct ir_block ir;
    struct host_code code;
    *span =
        (struct host_span){.rw = b->host, .size = HOST_BYTES, .cold = b->host + HOST_BYTES, .cold_size = HOST_BYTES};
    uint8_t *thunks = code_fixed(b->exec.code, &(size_t){0});
    span->rx_delta = code_rx_delta(b->exec.code) + (thunks - b->host); /* reach them as if the buffer lay there */
    return lift(b, p, true, &ir) && host_emit(&b->exec.thunks, &ir, span, &b->arena, &code);
}

static void run_emit(struct bench *b)
{
    struct host_span span;
    for (unsigned n = 0; n < b->nblocks; n++)
        emit(b, &b->block[n], &span);
}

/* Of all host code: the same before and after a change that should leave it alone. */
static uint64_t checksum(struct bench *b)
{
    uint64_t sum = 0xcbf29ce484222325ull; /* FNV-1a */
    struct host_span span;
    for (unsigned n = 0; n < b->nblocks; n++) {
        bool good = emit(b, &b->block[n], &span);
        for (size_t i = 0; good && i < span.used; i++)
            sum = (sum ^ span.rw[i]) * 0x100000001b3ull;
        for (size_t i = 0; good && i < span.cold_used; i++)
            sum = (sum ^ span.cold[i]) * 0x100000001b3ull;
    }
    return sum;
}

static void run_all(struct bench *b)
{
    bool fault;
    for (unsigned n = 0; n < b->nblocks && b->v; n++)
        exec_block(b->v, KERNEL_BASE + b->block[n].gpa, &fault);
}

static void prepare(struct bench *b, size_t code_size)
{
    struct status st = {""};
    if (!fresh_machine(b, code_size, &st))
        fprintf(stderr, "translate: %s\n", st.text);
}

static void prepare_fresh(struct bench *b)
{
    prepare(b, CODE_MEMORY);
}

static void prepare_used(struct bench *b)
{
    prepare(b, LITTLE_CODE_MEMORY);
    run_all(b);
}

/* The list of blocks that all pipes walk. */
static void list_blocks(struct bench *b)
{
    struct ir_block ir;
    for (unsigned s = 0; s < b->nsections; s++)
        for (uint64_t at = b->text[s].gva; at < b->text[s].gva + b->text[s].size;) {
            struct piece *p = &b->block[b->nblocks];
            if (b->nblocks == BLOCKS_MAX || (b->most && b->ninsns >= b->most))
                return;
            *p = (struct piece){(uint32_t)(at - KERNEL_BASE), 15};
            if (b->ram.host[p->gpa] == INT3 || !lift(b, p, false, &ir)) { /* padding */
                at++;
                continue;
            }
            p->bytes = ir.guest_size;
            b->nblocks++;
            b->ninsns += ir.ninsns;
            b->nbytes += ir.guest_size;
            at += ir.guest_size;
        }
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

/* Of this process, so that what else the machine does disturbs less. */
static uint64_t cpu_nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double best_of(struct bench *b, unsigned rounds, void (*ready)(struct bench *b), void (*run)(struct bench *b))
{
    uint64_t best = UINT64_MAX;
    for (unsigned i = 0; i < rounds; i++) {
        if (ready)
            ready(b);
        uint64_t began = cpu_nanoseconds();
        run(b);
        uint64_t took = cpu_nanoseconds() - began;
        best = took < best ? took : best;
    }
    return (double)best / (double)b->ninsns;
}

/* Host instructions, read by our own decoder; the words behind a cold stub's call count as what they look like. */
struct counts {
    uint64_t guest, host, in_block;
};

static void count_block(void *arg, const struct block *k)
{
    struct counts *c = arg;
    struct x86_insn i;
    if (c->in_block++ % COUNTED)
        return;
    for (unsigned cold = 0; cold < 2; cold++) {
        const uint8_t *code = cold ? block_cold(k) : k->rx;
        uint32_t size = cold ? k->cold_size : k->host_size;
        for (uint32_t at = 0; at < size; at += i.length) {
            if (x86_decode(X86_64, code + at, size - at, &i) != X86_OK || !i.length)
                i.length = 1;
            else
                c->host++;
        }
    }
    c->guest += k->ninsns;
}

static void print_sizes(struct bench *b)
{
    struct counts c = {0};
    size_t used;
    char sum[20];
    snprintf(sum, sizeof sum, "%016llx", (unsigned long long)checksum(b));
    code_each(b->exec.code, count_block, &c);
    code_size(b->exec.code, &used);
    printf("%10.2f  host bytes a guest byte; %.2f of code memory, with fault tables and blocks\n",
           (double)code_counts(b->exec.code)->host_bytes / (double)b->nbytes, (double)used / (double)b->nbytes);
    printf("%10.2f  host insns a guest insn, cold parts included (every %dth block)\n",
           (double)c.host / (double)c.guest, COUNTED);
    printf("%10.2f  ops a guest insn after the passes\n", (double)b->nops / (double)b->ninsns);
    printf("%10.8s  begins the checksum of the host code\n", sum);
    printf("%10.2f  guest insns a block, %.2f bytes an insn\n", (double)b->ninsns / (double)b->nblocks,
           (double)b->nbytes / (double)b->ninsns);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*ready)(struct bench *b), (*run)(struct bench *b);
    } pipes[] = {
        {"decode", NULL, run_decode},        {"lift", NULL, run_lift},
        {"passes", NULL, run_passes},        {"emit", NULL, run_emit},
        {"publish", prepare_fresh, run_all},
    };
    struct status st = {""};
    struct bench *b = calloc(1, sizeof *b);
    if (argc < 2 || !b || !bench_init(b, argv[1], &st)) {
        fprintf(stderr, "translate: %s\n", argc < 2 ? "usage: translate VMLINUX [ROUNDS [INSNS]]" : st.text);
        return 1;
    }
    unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 5;
    b->most = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
    list_blocks(b);
    printf("%llu guest insns, %llu bytes, in %u blocks\n\n", (unsigned long long)b->ninsns,
           (unsigned long long)b->nbytes, b->nblocks);
    double before = 0, emitted = 0;
    for (unsigned i = 0; i < ARRAY_LEN(pipes); i++) {
        double ns = best_of(b, rounds, pipes[i].ready, pipes[i].run);
        printf("%10.1f  ns an insn: %s\n", ns - before, pipes[i].name);
        emitted = before;
        before = ns;
    }
    printf("%10.1f  ns an insn: lifted and emitted, %.2f million insns a second\n", emitted, 1e3 / emitted);
    printf("%10.1f  ns an insn: all, %.2f million insns a second\n", before, 1e3 / before);
    print_sizes(b);
    double used = best_of(b, rounds, prepare_used, run_all);
    printf("%10.1f  ns an insn: all, in code memory that is used again, %.2f million insns a second\n", used,
           1e3 / used);
    return 0;
}
