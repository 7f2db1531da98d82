/* tool/explain.c: `rhea explain`: what becomes of a block of guest code, stage by stage.  No guest runs.
 *
 *     guest instructions -> ops as lifted -> ops after each pass that changed something -> where guest registers live
 *     -> host code
 *
 * The output is the same in every run (nothing prints an address of this process), so golden files can hold it.  Host
 * code is shown as if code memory began at 0: the shared thunks first, the block at BLOCK_AT, its cold part at COLD_AT.
 */
#include "tool/tool.h"
#include "tool/explain.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_AT = 0x4000, COLD_AT = 0x40000, CODE_BYTES = 1 << 20, ARENA_BYTES = 32 << 20 };

struct explain {
    struct explain_code code;
    const char *bytes, *file, *symbol;
    bool at, host_only;
    unsigned cpl, insns;
    struct arena arena;
    struct ir_block ir;
    char *text; /* the block as it was printed last */
};

static const char usage[] =
    "usage: rhea explain --bytes \"48 01 d8 74 05\" [--mode 64|32|16] [--addr X] [--cpl 0..3] [--insns N]\n"
    "       rhea explain FILE --symbol NAME | --at ADDR\n\n"
    "Shows each stage of the first block: guest instructions, ops as lifted and after each pass, homes of registers, "
    "host code.\n"
    "  --bytes HEX    guest code\n"
    "  --mode N       64 (default), 32 (flat protected mode), 16 (real mode)\n"
    "  --addr X       the code's address (default 0x1000)\n"
    "  --cpl N        privilege level (default 3; real mode has none)\n"
    "  --insns N      at most N guest insns in the block (default 512)\n"
    "  --host         the host code only\n"
    "  --symbol NAME  code of this function of an ELF file;  --at ADDR: code at this address of it\n";

/* ---- arguments
 * -------------------------------------------------------------------------------------------------------- */

static bool read_bytes(struct explain *x, struct status *st)
{
    uint8_t *to = x->code.page + (x->code.addr & 4095);
    const uint8_t *end = x->code.page + EXPLAIN_BYTES;
    for (const char *p = x->bytes; *p;) {
        char digits[3] = {p[0], p[1], 0};
        char *stop;
        if (*p == ' ' || *p == ',' || *p == '\n' || *p == '\t') {
            p++;
            continue;
        }
        unsigned long v = strtoul(digits, &stop, 16);
        if (stop != digits + 2)
            return status_set(st, "--bytes: '%.8s' is not two hexadecimal digits", p);
        if (to == end)
            return status_set(st, "--bytes: too many");
        *to++ = (uint8_t)v;
        x->code.n++;
        p += 2;
    }
    return x->code.n || status_set(st, "--bytes: none given");
}

static bool set_argument(struct explain *x, const char *name, const char *value, struct status *st)
{
    uint64_t n = 0;
    if (!strcmp(name, "bytes"))
        x->bytes = value;
    else if (!strcmp(name, "symbol"))
        x->symbol = value;
    else if (!strcmp(name, "addr") || !strcmp(name, "at")) {
        if (!option_number(value, 0, UINT64_MAX, &x->code.addr))
            return status_set(st, "--%s: '%s' is not an address", name, value);
        x->at |= name[1] == 't';
    } else if (!strcmp(name, "mode")) {
        if (!option_number(value, 16, 64, &n) || (n != 16 && n != 32 && n != 64))
            return status_set(st, "--mode: 64, 32 or 16, not '%s'", value);
        x->code.bits = (int)n;
    } else if (!strcmp(name, "cpl")) {
        if (!option_number(value, 0, 3, &n))
            return status_set(st, "--cpl: 0 to 3, not '%s'", value);
        x->cpl = (unsigned)n;
    } else if (!strcmp(name, "insns")) {
        if (!option_number(value, 1, BLOCK_INSNS_MAX, &n))
            return status_set(st, "--insns: 1 to %d, not '%s'", BLOCK_INSNS_MAX, value);
        x->insns = (unsigned)n;
    } else
        return status_set(st, "unknown option --%s; rhea explain --help lists them", name);
    return true;
}

static bool parse(struct explain *x, int argc, char **argv, struct status *st)
{
    for (int i = 0; i < argc; i++) {
        const char *name = argv[i];
        if (name[0] != '-') {
            if (x->file)
                return status_set(st, "two files are given: %s and %s", x->file, name);
            x->file = name;
            continue;
        }
        name += name[1] == '-' ? 2 : 1;
        if (!strcmp(name, "host")) {
            x->host_only = true;
            continue;
        }
        if (i + 1 == argc)
            return status_set(st, "--%s: unknown, or its argument is missing; rhea explain --help lists the options",
                              name);
        if (!set_argument(x, name, argv[++i], st))
            return false;
    }
    if (!x->bytes == !x->file)
        return status_set(st, "give either --bytes \"...\" or an ELF file");
    if (x->file && !x->symbol == !x->at)
        return status_set(st, "say which code of %s: --symbol NAME or --at ADDR", x->file);
    if (x->file)
        return elf_code(&x->code, x->file, x->symbol, st);
    if (!x->code.bits)
        x->code.bits = 64;
    return read_bytes(x, st);
}

/* ---- stages
 * ----------------------------------------------------------------------------------------------------------- */

static const uint8_t *next_page(void *arg)
{
    struct explain *x = arg;
    return (x->code.addr & 4095) + x->code.n > 4096 ? x->code.page + 4096 : NULL;
}

static uint32_t mode_bits(const struct explain *x)
{
    switch (x->code.bits) {
    case 64: return MODE_64 | MODE_FLAT | MODE_FLAT_FSGS | MODE_PROT | MODE_AVX | MODE_AVX512 | x->cpl;
    case 32: return MODE_CS32 | MODE_SS32 | MODE_FLAT | MODE_FLAT_FSGS | MODE_PROT | MODE_AVX | MODE_AVX512 | x->cpl;
    default: return 0;
    }
}

static bool lift(struct explain *x, struct status *st)
{
    unsigned off = (unsigned)(x->code.addr & 4095), rest = 4096 - off;
    struct x86_source src = {x->code.page + off, x->code.n < rest ? x->code.n : rest, next_page, x, off, NULL};
    bool second = false;
    if (!ir_block_init(&x->ir, &x->arena, x->insns * 24 + 64))
        return status_set(st, "no memory for the block");
    switch (x86_lift_block(&x->ir, mode_bits(x), NULL, NULL, off, &src, x->insns, false, &second)) {
    case X86_LIFT_OK: return true;
    case X86_LIFT_FETCH: return status_set(st, "the bytes end inside the first instruction");
    default: return status_set(st, "the block is too large; try --insns with a smaller number");
    }
}

static char *ir_text(const struct ir_block *b)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return NULL;
    ir_print(f, b, x86_helper_name);
    fclose(f);
    return text;
}

static void head(const struct explain *x, const char *what)
{
    if (!x->host_only)
        printf("---- %s\n", what);
}

static void after_pass(void *arg, const char *pass, const struct ir_block *b)
{
    struct explain *x = arg;
    char *text = ir_text(b), title[128];
    bool same = text && x->text && !strcmp(text, x->text);
    if (!x->host_only) {
        snprintf(title, sizeof title, same ? "after %s: the same" : "after %s: %u ops", pass, b->nops);
        head(x, title);
        if (!same && text)
            fputs(text, stdout);
    }
    free(x->text);
    x->text = text;
}

/* Which registers the block names, and where they are while generated code runs. */
static void print_homes(const struct explain *x)
{
    static const char *const name[IR_NREG] = {
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp",     "rsi",     "rdi",     "r8",      "r9",         "r10",
        "r11", "r12", "r13", "r14", "r15", "ES base", "CS base", "SS base", "DS base", "FS base",    "GS base",
        "DF",  NULL,  NULL,  NULL,  NULL,  NULL,      NULL,      NULL,      NULL,      "page of pc",
    };
    bool used[IR_NREG] = {false};
    for (unsigned i = 0; i < x->ir.nops; i++)
        for (unsigned f = 0; f < IR_FIELDS; f++) {
            ir_ref r = ir_get(&x->ir.op[i], f);
            if (ir_is_reg(r))
                used[r] = true;
        }
    for (unsigned r = 0; r < IR_NREG; r++)
        if (used[r])
            printf("r%-3u %-10s in %s\n", r, name[r] ? name[r] : "", host_reg_home(r));
}

/* What is at this offset of the shared code. */
static const char *thunk_name(const struct host_thunks *t, uint64_t at)
{
    const struct {
        uint32_t at;
        const char *name;
    } names[] = {
        {t->leave, "leave"},
        {t->mem_read, "slow read"},
        {t->mem_write, "slow write"},
        {t->mem_commit, "commit a slow write"},
        {t->call, "call a helper"},
        {t->divide_error, "divide error"},
        {t->fp_error, "floating-point error"},
        {t->exit_link, "exit: not linked"},
        {t->exit_link_f, "exit: not linked, F in the host's flags"},
        {t->exit_kick_f, "exit: kicked, F in the host's flags"},
        {t->f_resolve, "F, if it is owed"},
        {t->exit_lookup, "exit: look up"},
        {t->exit_kick, "exit: kicked"},
        {t->exit_kick_off, "exit: kicked"},
        {t->exit_lookup_off, "exit: look up"},
    };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].at == at)
            return names[i].name;
    /* The memory thunks have an entry for each register that may hold the address. */
    if (at > t->mem_read && at < t->mem_write)
        return "slow read";
    if (at > t->mem_write && at < t->near_read)
        return "slow write";
    return at >= t->near_read && at < t->mem_commit ? "another page" : NULL;
}

/* Code from offset `at` to `end` of memory. */
static void print_host(const struct host_thunks *t, const uint8_t *memory, size_t at, size_t end)
{
    while (at < end) {
        char *line = NULL;
        size_t length;
        FILE *f = open_memstream(&line, &length);
        if (!f)
            return;
        at += disasm_one(f, memory + at, end - at, at, 64);
        fclose(f);
        line[strcspn(line, "\n")] = 0;
        const char *last = strrchr(line, ' ');
        bool jumps = last && (strstr(line, " j") || strstr(line, " call"));
        const char *name = jumps ? thunk_name(t, strtoull(last + 1, NULL, 16)) : NULL;
        printf(name ? "%s   ; %s\n" : "%s\n", line, name);
        free(line);
    }
}

static bool emit(struct explain *x, struct status *st)
{
    struct host_thunks thunks;
    struct host_code code;
    uint8_t *memory = calloc(1, CODE_BYTES);
    struct host_span shared = {.rw = memory, .size = BLOCK_AT};
    if (!memory)
        return status_set(st, "no memory for host code");
    struct host_span block = {.rw = memory + BLOCK_AT,
                              .size = COLD_AT - BLOCK_AT,
                              .cold = memory + COLD_AT,
                              .cold_size = CODE_BYTES - COLD_AT};
    bool good = host_thunks_emit(&thunks, &shared, exec_host_calls(), false) &&
                host_emit(&thunks, &x->ir, &block, &x->arena, &code);
    if (good) {
        char title[128];
        snprintf(title, sizeof title, "host code: %zu bytes for %u bytes of guest code in %u insns", block.used,
                 x->ir.guest_size, x->ir.ninsns);
        head(x, title);
        print_host(&thunks, memory, BLOCK_AT, BLOCK_AT + block.used);
        snprintf(title, sizeof title, "cold part, which seldom runs: %zu bytes", block.cold_used);
        head(x, title);
        print_host(&thunks, memory, COLD_AT + 1, COLD_AT + block.cold_used);
        for (unsigned i = 0; i < 2 && !x->host_only; i++)
            if (code.jump[i].present)
                printf("link %u: the jump at 0x%x, to guest 0x%llx%s\n", i, BLOCK_AT + code.jump[i].jump_at - 1,
                       (x->code.addr & ~0xfffull) + (uint64_t)code.jump[i].target,
                       code.jump[i].cross ? ", another page: guarded" : "");
    }
    free(memory);
    return good || status_set(st, "the block is too large for the host code buffer; try --insns with a smaller number");
}

static bool explain(struct explain *x, struct status *st)
{
    char title[128];
    if (!lift(x, st))
        return false;
    struct opt_trace trace = {after_pass, x};
    x->text = ir_text(&x->ir);
    snprintf(title, sizeof title, "guest: %u insns, %u bytes, %d-bit code", x->ir.ninsns, x->ir.guest_size,
             x->code.bits);
    head(x, title);
    if (!x->host_only)
        disasm_print(NULL, stdout, x->code.page + (x->code.addr & 4095), x->ir.guest_size, x->code.addr, x->code.bits);
    snprintf(title, sizeof title, "as lifted: %u ops", x->ir.nops);
    head(x, title);
    if (!x->host_only && x->text)
        fputs(x->text, stdout);
    opt_run(&x->ir, 0, &trace);
    head(x, "where registers live");
    if (!x->host_only)
        print_homes(x);
    return emit(x, st);
}

int explain_main(int argc, char **argv)
{
    if (!argc || !strcmp(argv[0], "help") || !strcmp(argv[0], "--help") || !strcmp(argv[0], "-help") ||
        !strcmp(argv[0], "-h")) {
        fputs(usage, stdout);
        return 0;
    }
    struct status st = {""};
    struct explain *x = calloc(1, sizeof *x);
    if (!x || !arena_init(&x->arena, ARENA_BYTES, &st)) {
        fprintf(stderr, "rhea explain: no memory\n");
        free(x);
        return 1;
    }
    x->code.addr = 0x1000;
    x->cpl = 3;
    x->insns = BLOCK_INSNS_MAX;
    bool good = parse(x, argc, argv, &st) && explain(x, &st);
    if (!good)
        fprintf(stderr, "rhea explain: %s\n", st.text);
    free(x->text);
    arena_fini(&x->arena);
    free(x);
    return good ? 0 : 1;
}
