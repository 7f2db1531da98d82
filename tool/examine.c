/* tool/examine.c: the monitor's x, xp, print: expressions, formats, memory. */
#include "tool/monitor.h"

#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

/* ---- expressions
 * ---------------------------------------------------------------------------------------------------- */

static bool register_value(struct monitor *mon, const char *name, size_t n, uint64_t *v)
{
    static const char *const general[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static const char *const segment[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    const struct x86 *x = &monitor_vcpu(mon)->x86;
    const struct {
        const char *name;
        uint64_t value;
    } others[] = {
        {"pc", x->cpu.pc},
        {"rip", x->cpu.pc - (x->mode & MODE_64 ? 0 : x->seg[SEG_CS].base)},
        {"eip", x->cpu.pc - (x->mode & MODE_64 ? 0 : x->seg[SEG_CS].base)},
        {"eflags", x86_rflags(x)},
        {"rflags", x86_rflags(x)},
        {"cr0", x->cr0},
        {"cr2", x->cr2},
        {"cr3", x->cr3},
        {"cr4", x->cr4},
        {"efer", x->efer},
        {"fs.base", x->seg[SEG_FS].base},
        {"gs.base", x->seg[SEG_GS].base},
        {"gdtr", x->gdtr.base},
        {"idtr", x->idtr.base},
    };
    for (unsigned i = 0; i < 16; i++) {
        bool narrow = i < 8 && n == 3 && name[0] == 'e' && !memcmp(general[i] + 1, name + 1, 2);
        if (narrow || (strlen(general[i]) == n && !memcmp(general[i], name, n))) {
            *v = narrow ? (uint32_t)x->cpu.reg[i] : x->cpu.reg[i];
            return true;
        }
    }
    for (unsigned i = 0; i < SEG_COUNT; i++)
        if (n == 2 && !memcmp(segment[i], name, 2)) {
            *v = x->seg[i].selector;
            return true;
        }
    for (unsigned i = 0; i < ARRAY_LEN(others); i++)
        if (strlen(others[i].name) == n && !memcmp(others[i].name, name, n)) {
            *v = others[i].value;
            return true;
        }
    return false;
}

struct parser {
    struct monitor *mon;
    const char *at, *why;
    unsigned depth;
};
static uint64_t parse_sum(struct parser *p);

static uint64_t parse_value(struct parser *p)
{
    uint64_t v = 0;
    char *end;
    p->at += strspn(p->at, " ");
    if (++p->depth > 64) {
        p->why = "too deep";
    } else if (*p->at == '(') {
        p->at++;
        v = parse_sum(p);
        if (*p->at == ')')
            p->at++;
        else
            p->why = "a ) is missing";
    } else if (*p->at == '-') {
        p->at++;
        v = -parse_value(p);
    } else if (*p->at == '$') {
        size_t n = strspn(p->at + 1, "abcdefghijklmnopqrstuvwxyz0123456789.");
        if (!register_value(p->mon, p->at + 1, n, &v))
            p->why = "no such register";
        p->at += n + 1;
    } else if (*p->at >= '0' && *p->at <= '9') {
        v = strtoull(p->at, &end, 0);
        p->at = end;
    } else {
        p->why = "a number or $register is missing";
    }
    p->depth--;
    p->at += strspn(p->at, " ");
    return v;
}

static uint64_t parse_product(struct parser *p)
{
    uint64_t v = parse_value(p);
    while (!p->why && (*p->at == '*' || *p->at == '/')) {
        char op = *p->at++;
        uint64_t w = parse_value(p);
        if (op == '/' && !w)
            p->why = "division by zero";
        v = op == '*' ? v * w : v / (w ? w : 1);
    }
    return v;
}

static uint64_t parse_sum(struct parser *p)
{
    uint64_t v = parse_product(p);
    while (!p->why && (*p->at == '+' || *p->at == '-')) {
        bool plus = *p->at++ == '+';
        uint64_t w = parse_product(p);
        v = plus ? v + w : v - w;
    }
    return v;
}

bool monitor_expression(struct monitor *mon, const char **text, uint64_t *v, const char **why)
{
    struct parser p = {.mon = mon, .at = *text};
    *v = parse_sum(&p);
    *text = p.at;
    *why = p.why ? p.why : *p.at ? "something follows the expression" : NULL;
    return !*why;
}

/* ---- formats
 * ------------------------------------------------------------------------------------------------------------ */

struct format {
    unsigned count;
    char how; /* x d u o c i */
    unsigned bytes;
};

/* "/4xw" at *args, which moves past it; without one, one item as last time. */
static bool read_format(struct monitor *mon, const char **args, struct format *f)
{
    const char *p = *args;
    f->count = 1;
    if (*p == '/') {
        char *end;
        p++;
        if (*p >= '0' && *p <= '9') {
            unsigned long n = strtoul(p, &end, 10);
            f->count = n < 65536 ? (unsigned)n : 65536;
            p = end;
        }
        for (; *p && *p != ' '; p++) {
            if (strchr("xduoci", *p))
                mon->format = *p;
            else if (strchr("bhwg", *p))
                mon->size = *p;
            else {
                fprintf(mon->out, "format '%c' is not there; a format is a count, one of x d u o c i, one of b h w g\n",
                        *p);
                return false;
            }
        }
    }
    f->how = mon->format;
    f->bytes = mon->size == 'b' ? 1 : mon->size == 'h' ? 2 : mon->size == 'w' ? 4 : 8;
    if (f->how == 'c')
        f->bytes = 1;
    *args = p + strspn(p, " ");
    return true;
}

static void print_item(FILE *out, const struct format *f, uint64_t v)
{
    switch (f->how) {
    case 'd': fprintf(out, "%lld", (long long)sign_extend(v, 8 * f->bytes)); break;
    case 'u': fprintf(out, "%llu", (ull)v); break;
    case 'o': fprintf(out, "0%0*llo", (int)(8 * f->bytes + 2) / 3, (ull)v); break;
    case 'c':
        if (v >= ' ' && v < 127)
            fprintf(out, v == '\'' || v == '\\' ? "'\\%c'" : "'%c'", (int)v);
        else
            fprintf(out, "'\\x%02x'", (unsigned)v);
        break;
    default: fprintf(out, "0x%0*llx", (int)(2 * f->bytes), (ull)v);
    }
}

/* ---- memory
 * ---------------------------------------------------------------------------------------------------------------- */

static bool fetch(struct monitor *mon, bool physical, uint64_t at, void *to, size_t n)
{
    struct vcpu *v = monitor_vcpu(mon);
    if (!physical)
        return exec_peek(v, at, to, n);
    const uint8_t *host = bus_host(v->x86.mem, at, n, false); /* never a device: looking must change nothing */
    if (host)
        memcpy(to, host, n);
    return host != NULL;
}

static void print_insns(struct monitor *mon, bool physical, uint64_t at, unsigned count)
{
    uint32_t mode = monitor_vcpu(mon)->x86.mode;
    int bits = mode & MODE_64 ? 64 : mode & MODE_CS32 ? 32 : 16;
    for (unsigned i = 0; i < count; i++) {
        uint8_t bytes[15];
        unsigned n = sizeof bytes;
        while (n && !fetch(mon, physical, at, bytes, n))
            n--;
        if (!n) {
            fprintf(mon->out, "cannot read memory at 0x%llx\n", (ull)at);
            return;
        }
        at += disasm_one(mon->out, bytes, n, at, bits);
    }
}

static void print_memory(struct monitor *mon, bool physical, const struct format *f, uint64_t at)
{
    unsigned per_line = (f->bytes == 1 ? 8 : 16) / f->bytes;
    for (unsigned i = 0; i < f->count; i++, at += f->bytes) {
        uint64_t v = 0;
        if (i % per_line == 0)
            fprintf(mon->out, "%s%016llx:", i ? "\n" : "", (ull)at);
        if (!fetch(mon, physical, at, &v, f->bytes)) {
            fprintf(mon->out, " cannot read memory");
            break;
        }
        fputc(' ', mon->out);
        print_item(mon->out, f, v);
    }
    fputc('\n', mon->out);
}

static void examine(struct monitor *mon, const char *args, bool physical)
{
    struct format f;
    uint64_t at;
    const char *why;
    if (!read_format(mon, &args, &f))
        return;
    if (!monitor_expression(mon, &args, &at, &why))
        fprintf(mon->out, "%s; write, for example, x/4xw $rsp+8\n", why);
    else if (f.how == 'i')
        print_insns(mon, physical, at, f.count);
    else
        print_memory(mon, physical, &f, at);
}

void command_x(struct monitor *mon, const char *args)
{
    examine(mon, args, false);
}

void command_xp(struct monitor *mon, const char *args)
{
    examine(mon, args, true);
}

void command_print(struct monitor *mon, const char *args)
{
    struct format f = {1, 'x', 8};
    char how = mon->format, size = mon->size;
    uint64_t v;
    const char *why;
    if (*args == '/' && !read_format(mon, &args, &f))
        return;
    mon->format = how;
    mon->size = size;
    f.bytes = 8;
    if (!monitor_expression(mon, &args, &v, &why)) {
        fprintf(mon->out, "%s\n", why);
        return;
    }
    if (f.how == 'x' || f.how == 'i')
        fprintf(mon->out, "%#llx", (ull)v);
    else
        print_item(mon->out, &f, v);
    fputc('\n', mon->out);
}

void command_gva2gpa(struct monitor *mon, const char *args)
{
    struct x86_walk w;
    uint64_t at;
    const char *why;
    if (!monitor_expression(mon, &args, &at, &why))
        fprintf(mon->out, "%s\n", why);
    else if (!x86_walk(&monitor_vcpu(mon)->x86, at, WALK_PEEK, &w))
        fprintf(mon->out, "not mapped\n");
    else
        fprintf(mon->out, "gpa: %#llx\n", (ull)w.gpa);
}
