/* test/fuzz/parsers.c: random and half-right kernels, initrds, firmware images, command lines, log filters, processor
 * models and monitor commands.
 *
 * Each is taken or refused with a message; nothing here looks at which.  A kernel is made from a small right one (ELF
 * with and without a PVH note, multiboot, Linux's bzImage) by changing some bytes and its length.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test/fuzz/fuzz.h"
#include "tool/monitor.h"

enum { FILE_MAX = 0x6000, RAM = 8 << 20 };

/* ---- files -------------------------------------------------------------------------------------------------------- */

static size_t make_elf(struct rng *r, uint8_t *f)
{
    bool wide = rng_chance(r, 50);
    unsigned phsize = wide ? 56 : 32, ph = wide ? 64 : 52;
    static const uint8_t ident[] = {0x7f, 'E', 'L', 'F', 1, 1, 1};
    memcpy(f, ident, sizeof ident);
    f[4] = wide ? 2 : 1;
    bytes_put(f + 16, 2, 2);
    bytes_put(f + 18, wide ? 62 : 3, 2);
    bytes_put(f + 20, 1, 4);
    bytes_put(f + 24, 0x100000, wide ? 8 : 4);
    bytes_put(f + (wide ? 32 : 28), ph, wide ? 8 : 4);
    bytes_put(f + (wide ? 54 : 42), phsize, 2);
    bytes_put(f + (wide ? 56 : 44), 3, 2);
    for (unsigned i = 0; i < 3; i++) {
        uint8_t *p = f + ph + i * phsize;
        uint64_t value[] = {0x1000 + 0x800 * i, 0x100000 + 0x2000 * i, 0x100000 + 0x2000 * i, i == 2 ? 20 : 0x700,
                            0x1000};
        bytes_put(p, i == 2 ? 4 : 1, 4);
        for (unsigned k = 0; k < 5; k++)
            bytes_put(p + (wide ? 8 + 8 * k : 4 + 4 * k), rng_chance(r, 5) ? rng_edge(r) : value[k], wide ? 8 : 4);
    }
    static const uint8_t note[] = {4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 0, 0, 0x10, 0};
    memcpy(f + 0x2000, note, sizeof note);
    return 0x2100;
}

static size_t make_multiboot(struct rng *r, uint8_t *f)
{
    uint8_t *h = f + rng_below(r, 16) * 4;
    uint32_t flags = (rng_chance(r, 70) ? 0x10000 : 0) | (rng_chance(r, 50) ? rng_below(r, 8) : 0);
    const uint32_t value[] = {
        0x1badb002, flags,   0u - 0x1badb002 - flags, 0x100000 + (uint32_t)(h - f), 0x100000, 0x101000,
        0x102000,   0x100040};
    for (unsigned i = 0; i < 8; i++)
        bytes_put(h + 4 * i, i > 2 && rng_chance(r, 8) ? rng_edge(r) : value[i], 4);
    return 0x1000 + rng_below(r, 0x100);
}

static size_t make_linux(struct rng *r, uint8_t *f)
{
    f[0x1f1] = rng_chance(r, 80) ? 4 : (uint8_t)rng_next(r);
    bytes_put(f + 0x1f4, 0x100, 4);
    bytes_put(f + 0x1fe, 0xaa55, 2);
    memcpy(f + 0x202, "HdrS\x0f\x02", 6);
    memcpy(f + 0x202, "HdrS", 4);
    bytes_put(f + 0x206, rng_chance(r, 80) ? 0x20f : rng_next(r), 2);
    f[0x201] = 0x66;
    f[0x211] = 1;
    bytes_put(f + 0x22c, rng_chance(r, 80) ? 0x7fffffff : rng_edge(r), 4);
    bytes_put(f + 0x230, 0x200000, 4);
    f[0x234] = 1;
    bytes_put(f + 0x236, rng_below(r, 4), 2);
    bytes_put(f + 0x238, 0x7ff, 4);
    bytes_put(f + 0x248, rng_chance(r, 80) ? 0 : rng_edge(r), 8);
    bytes_put(f + 0x258, rng_chance(r, 80) ? 0x100000 : rng_edge(r), 8);
    bytes_put(f + 0x260, rng_chance(r, 80) ? 0x200000 : rng_edge(r), 4);
    return 0x200 * 5 + 0x1000;
}

static void make_file(struct rng *r, const char *path)
{
    uint8_t f[FILE_MAX] = {0};
    size_t n;
    for (unsigned i = 0x1000; i < 0x3000; i += 8)
        bytes_put(f + i, rng_next(r), 8);
    switch (rng_below(r, 4)) {
    case 0: n = make_elf(r, f); break;
    case 1: n = make_multiboot(r, f); break;
    case 2: n = make_linux(r, f); break;
    default: n = rng_below(r, FILE_MAX); break;
    }
    for (unsigned i = rng_chance(r, 50) ? 0 : rng_below(r, 12); i; i--) {
        size_t at = rng_below(r, rng_chance(r, 80) ? 0x280 : FILE_MAX - 8);
        bytes_put(f + at, rng_edge(r), 1u << rng_below(r, 4));
    }
    if (rng_chance(r, 20))
        n = rng_below(r, (unsigned)n + 1);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    rh_assert(fd >= 0 && write(fd, f, n) == (ssize_t)n, "cannot write %s", path);
    close(fd);
}

/* ---- text: pieces that mean something, cut and glued at random
 * ----------------------------------------------------------------- */

/* clang-format off */
static const char *const words[] = {
    "-m", "-smp", "-cpu", "-machine", "-accel", "-kernel", "-initrd", "-append", "-bios", "-serial", "-monitor",
    "-debugcon", "-device", "-d", "-dfilter", "-name", "-rtc", "-display", "--nographic", "-S", "-no-acpi",
    "isa-debug-exit", "pc-testdev", "iobase=", "iosize=", "max", "qemu64", "+sse4.2", "-avx", "sse=off", "pc", "accel=tcg",
    "tb-size=", "interp", "size=", "cpus=", "512M", "1G", "0x", "..", "+", "-", ",", ",,", "=", ":", "tcp:", "unix:",
    "file:", "help", "none", "0xffffffffffffffff", "18446744073709551616", "18446744073709551615", "0", "1", "-1",
    "08", "4096", "in_asm", "op_opt", "int", "all", "base=utc", "info ", "registers", "-a", "jit", "mem", "tlb",
    "mtree", "cpus", "lapic", "pic", "pci", "status", "x/", "xp/", "print ", "p/", "gva2gpa ", "cpu ", "stop",
    "cont", "log ", "help ", "system_reset", "nmi", "$rip", "$rsp", "$eax", "$cs", "$cr3", "$xmm0", "$", "(", ")",
    "*", "/", "%", "10i", "4xg", "3c", "99999999999", "1u", "b", "h", "w", "g", " ", "\x1b[A", "\x1b[B", "\b", "\n",
    "\x03", "~", "\xff", "%s%n", "0x100000", "0xfee00000", "0xfffffff0"
};
/* clang-format on */

static void make_text(struct rng *r, char *to, size_t size, unsigned most)
{
    size_t n = 0;
    for (unsigned i = 1 + rng_below(r, most); i; i--) {
        const char *w = words[rng_below(r, ARRAY_LEN(words))];
        size_t len = strlen(w), from = rng_chance(r, 10) ? rng_below(r, (unsigned)len) : 0;
        unsigned times = rng_chance(r, 1) ? 300 : 1;
        for (; times && n + len - from + 24 < size; times--) {
            memcpy(to + n, w + from, len - from);
            n += len - from;
        }
        if (rng_chance(r, 15) && n + 24 < size)
            n += (size_t)snprintf(to + n, 24, rng_chance(r, 50) ? "%llu" : "0x%llx", (unsigned long long)rng_edge(r));
        if (rng_chance(r, 3) && n + 1 < size)
            to[n++] = (char)(1 + rng_below(r, 255));
    }
    to[n] = 0;
}

static void run_command_line(struct rng *r)
{
    enum { WORDS = 8, LENGTH = 3000 };
    char(*text)[LENGTH] = malloc(WORDS * sizeof *text), *argv[WORDS + 1] = {0};
    rh_assert(text, "no memory");
    int argc = (int)rng_below(r, WORDS + 1);
    for (int i = 0; i < argc; i++) {
        argv[i] = text[i];
        if (rng_chance(r, 60))
            strcpy(text[i], words[rng_below(r, 21)]);
        else
            make_text(r, text[i], sizeof text[i], 6);
    }
    struct status st = {""};
    struct options o;
    struct log l = {0};
    struct x86_model *model = NULL;
    if (options_parse(&o, argc, argv, &st) == OPTIONS_RUN && o.log_filter)
        log_filter(&l, o.log_filter, &st);
    make_text(r, text[0], sizeof text[0], 5);
    log_filter(&l, text[0], &st);
    log_parse(&l, text[0], &st);
    if (x86_model_parse(&model, text[0], &st))
        x86_model_free(model);
    free(text);
}

/* ---- whole machines
 * ------------------------------------------------------------------------------------------------------------------ */

static void null_write(struct back_char *b, const void *data, size_t n)
{
    (void)b, (void)data, (void)n;
}

static void run_monitor(struct rng *r, struct machine *m, struct back_char *back)
{
    struct status st = {""};
    char line[2000];
    if (!monitor_init(&m->monitor, m, back, &st))
        return;
    struct x86 *x = &m->cpu[0].vcpu->x86;
    if (rng_chance(r, 30)) { /* page tables made of what is there */
        x->cr0 = CR0_PE | CR0_PG;
        x->cr3 = rng_edge(r) & 0x7ff000;
        x->cr4 = rng_chance(r, 70) ? CR4_PAE : CR4_PSE;
        x->efer = rng_chance(r, 70) && x->cr4 & CR4_PAE ? EFER_LME | EFER_LMA : 0;
        for (uint64_t i = 0; i < m->pc.ram.size; i += 8)
            bytes_put(m->pc.ram.host + i, rng_next(r) & 0x7ff0e7, 8);
        x86_mode_update(x);
    }
    for (unsigned i = 0; i < 40; i++) {
        make_text(r, line, sizeof line, 6);
        strcat(line, "\n");
        back->receive(back->arg, (const uint8_t *)line, strlen(line));
        m->ending = false;
    }
}

static void run_machine(struct rng *r, const char *folder)
{
    char kernel[300], initrd[300], text[3000];
    struct status st = {""};
    struct back_char back = {.write = null_write}; /* the monitor's, until machine_fini */
    struct machine *m = calloc(1, sizeof *m);
    rh_assert(m, "no memory");
    snprintf(kernel, sizeof kernel, "%s/fuzz-kernel-%d", folder, (int)getpid());
    snprintf(initrd, sizeof initrd, "%s/fuzz-initrd-%d", folder, (int)getpid());
    make_file(r, kernel);
    make_file(r, initrd);
    make_text(r, text, sizeof text, 10);
    struct options o = {.ram = RAM >> rng_below(r, 5),
                        .cpus = 1 + rng_below(r, 4),
                        .cpu = "max",
                        .start_stopped = true,
                        .no_display = true,
                        .serial = {"null"},
                        .nserial = 1,
                        .exec.code_size = 8 << 20};
    o.ram += rng_chance(r, 50) ? 4096 * rng_below(r, 64) : 0;
    o.kernel = rng_chance(r, 90) ? kernel : NULL;
    if (rng_chance(r, 30)) /* several modules, with arguments */
        snprintf(initrd + strlen(initrd), 20, rng_chance(r, 50) ? " a b,/etc/passwd" : ",,");
    o.initrd = rng_chance(r, 40) ? initrd : NULL;
    o.append = rng_chance(r, 50) ? text : NULL;
    o.bios = rng_chance(r, 10) ? kernel : NULL;
    if (machine_init(m, &o, &st)) {
        run_monitor(r, m, &back);
        if (rng_chance(r, 20))
            pc_reset(&m->pc, &st);
    }
    machine_fini(m);
    free(m);
    unlink(kernel);
    initrd[strcspn(initrd, " ,")] = 0;
    unlink(initrd);
}

/* rhea explain: random bytes through the whole pipe, or a random ELF file. */
static void run_explain(struct rng *r, const char *folder)
{
    static char *const modes[] = {"64", "32", "16"};
    char file[300], bytes[200] = "", number[32];
    unsigned mode = rng_below(r, 3);
    uint8_t code[64];
    snprintf(file, sizeof file, "%s/fuzz-elf-%d", folder, (int)getpid());
    snprintf(number, sizeof number, "0x%llx", (unsigned long long)rng_edge(r));
    char *of_bytes[] = {"--bytes", bytes, "--mode", modes[mode], "--addr", number},
         *of_file[] = {file, "--at", "0x100010"}, *of_symbol[] = {file, "--symbol", "x"};
    bytes_fill(r, (enum x86_bits)(X86_64 - mode), true, code, sizeof code);
    for (unsigned i = 0, n = rng_below(r, sizeof code); i <= n; i++)
        snprintf(bytes + 2 * i, 3, "%02x", code[i]);
    FILE *err = stderr, *none = fopen("/dev/null", "w");
    stderr = none; /* refusals are not for the terminal */
    if (rng_chance(r, 60)) {
        explain_main(6, of_bytes);
    } else {
        make_file(r, file);
        explain_main(3, rng_chance(r, 70) ? of_file : of_symbol);
        unlink(file);
    }
    stderr = err;
    fclose(none);
}

void parsers_run(uint64_t seed, uint64_t run, const char *folder)
{
    struct rng r = {seed ^ run * 0xd1342543de82ef95ull};
    rng_next(&r);
    unsigned kind = rng_below(&r, 100);
    if (kind < 70)
        run_command_line(&r);
    else if (kind < 85)
        run_explain(&r, folder);
    else
        run_machine(&r, folder);
}
