/* test/hw/compare.c: what differs between the processor and rhea, and the smallest form of a case in which it still
 * does.
 *
 * Not compared: RF (a fault sets it in the pushed image only), the x87's last instruction and operand pointers, flags
 * that the row calls undefined
 * (they are told apart, since both sides run the same processor in the end), bytes that the manual leaves undefined.
 */
#include <inttypes.h>
#include <string.h>

#include "guest/x86/state.h"
#include "test/hw/hw.h"
#include "tool/disasm.h"

enum { COMPARED = 0x244dd5 }; /* ID AC NT OF DF TF SF ZF AF PF CF */

static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

static const char *const segment_names[6] = {"es", "cs", "ss", "ds", "fs", "gs"};

struct diff {
    FILE *out;
    bool any;
};

static void differ(struct diff *d, const char *what, uint64_t native, uint64_t rhea)
{
    if (native == rhea)
        return;
    d->any = true;
    if (d->out)
        fprintf(d->out, "    %-10s processor %016" PRIx64 "  rhea %016" PRIx64 "\n", what, native, rhea);
}

static void differ_fx(struct diff *d, const uint8_t *n, const uint8_t *r)
{
    char what[16];
    differ(d, "fcw", bytes_get(n + FX_FCW, 2), bytes_get(r + FX_FCW, 2));
    differ(d, "fsw", bytes_get(n + FX_FSW, 2), bytes_get(r + FX_FSW, 2));
    differ(d, "ftw", n[FX_FTW], r[FX_FTW]);
    differ(d, "mxcsr", bytes_get(n + FX_MXCSR, 4), bytes_get(r + FX_MXCSR, 4));
    for (unsigned i = 0; i < 8 && memcmp(n + FX_ST, r + FX_ST, HW_FX - FX_ST); i++) {
        snprintf(what, sizeof what, "st%u.f", i);
        differ(d, what, bytes_get(n + FX_ST + 16 * i, 8), bytes_get(r + FX_ST + 16 * i, 8));
        snprintf(what, sizeof what, "st%u.e", i);
        differ(d, what, bytes_get(n + FX_ST + 16 * i + 8, 2), bytes_get(r + FX_ST + 16 * i + 8, 2));
    }
}

static void differ_vectors(struct diff *d, const struct hw_state *n, const struct hw_state *r)
{
    char what[16];
    for (unsigned i = 0; i < 8 && memcmp(n->k, r->k, sizeof n->k); i++) {
        snprintf(what, sizeof what, "k%u", i);
        differ(d, what, n->k[i], r->k[i]);
    }
    for (unsigned i = 0; i < 32; i++)
        for (unsigned at = 0; at < 64 && memcmp(n->vec[i], r->vec[i], 64); at += 8) {
            snprintf(what, sizeof what, "zmm%u[%u]", i, at / 8);
            differ(d, what, bytes_get(n->vec[i] + at, 8), bytes_get(r->vec[i] + at, 8));
        }
}

static bool skipped(const struct hw_case *c, uint64_t at)
{
    uint64_t n = at - c->skip_at;
    return n < 512 && (c->skip[n / 64] >> (n % 64) & 1);
}

static uint64_t address_of(unsigned offset)
{
    static const uint8_t page[4] = {1, 2, 4, 5};
    return HW_DATA + page[offset >> 12] * 0x1000u + (offset & 0xfff);
}

/* A word as far as its bytes are defined. */
static uint64_t defined(const struct hw_case *c, uint64_t at, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        if (skipped(c, at + i))
            v &= ~(0xffull << (8 * i));
    return v;
}

static void differ_memory(struct diff *d, const struct hw_case *c, const struct hw_result *n, const struct hw_result *r)
{
    uint8_t template[HW_MEM_SIZE];
    bool have = false;
    unsigned i = 0, k = 0;
    while (i < n->nchanges || k < r->nchanges) {
        unsigned wi = i < n->nchanges ? n->change[i].word : 0xffff, wk = k < r->nchanges ? r->change[k].word : 0xffff;
        unsigned word = wi < wk ? wi : wk;
        if (wi == wk && n->change[i].value == r->change[k].value) {
            i++, k++;
            continue;
        }
        if (!have)
            hw_template(template);
        have = true;
        uint64_t was = bytes_get(template + 8 * word, 8), at = address_of(8 * word);
        uint64_t vi = wi == word ? n->change[i++].value : was, vk = wk == word ? r->change[k++].value : was;
        char what[24];
        snprintf(what, sizeof what, "[%08" PRIx64 "]", at);
        differ(d, what, defined(c, at, vi), defined(c, at, vk));
    }
}

static bool large_operand(const struct hw_case *c)
{
    if (c->row == HW_SEQUENCE)
        return false;
    unsigned lift = c->lift;
    return lift == LIFT_fxsave || lift == LIFT_fxrstor || lift == LIFT_x87;
}

/* An access across 4 GB in a segment whose limit is 4 GB may or may not raise #GP or #SS (SDM vol. 3, 5.3).  Long
 * operands are touched in pieces: a missing page or a misaligned first piece may be met before the segment's end. */
static bool wraps(const struct hw_case *c, const struct hw_result *n, const struct hw_result *r)
{
    if (large_operand(c) && (n->vector == 14 || n->vector == 17) && (r->vector == 12 || r->vector == 13))
        return true;
    bool limit = n->vector == 12 || n->vector == 13;
    return limit && (r->vector == 17 || (r->vector == 14 && (uint32_t)(r->cr2 + 512) < 1024));
}

/* #UD, or what comes before it if more bytes are fetched: processors differ in how many an undefined insn has. */
static bool never_ran(const struct hw_result *r)
{
    bool fetch = r->vector == 14 && r->error == 0x14;
    return r->vector == 6 || fetch || (r->vector == 13 && r->error == 0);
}

/* A misaligned SSE operand beyond the limit of SS: #GP or #SS, the manuals do not say which is first. */
static bool both_segment(const struct hw_case *c, const struct hw_result *n, const struct hw_result *r)
{
    return c->bits != 64 && c->aligned && n->vector == 13 && r->vector == 12 && n->error == 0 && r->error == 0;
}

/* CALL beyond the limit of CS and onto a bad stack: Intel's look at the target first, AMD's push first. */
static bool call_order(const struct hw_case *c, const struct hw_result *n, const struct hw_result *r)
{
    bool stack = n->vector == 12 || n->vector == 14 || n->vector == 17;
    bool beyond = r->vector == 12 || r->vector == 13;
    if (c->lift == LIFT_bound || c->lift == LIFT_load_far) /* it reads one part after the other */
        return (n->vector == 14 || n->vector == 17) && beyond;
    return c->bits != 64 && c->lift == LIFT_call && stack && r->vector == 13;
}

/* Returning from the host's kernel clears the privilege level of a null selector (SDM vol. 2, IRET). */
static unsigned told(unsigned selector)
{
    return selector < 4 ? 0 : selector;
}

/* A random address led to what the native side has for itself. */
static bool meets_native(const struct hw_result *r)
{
    return r->vector == EX_PF && r->cr2 - HW_NATIVE < HW_NATIVE_SIZE;
}

bool hw_differ(FILE *out, const struct hw_case *c, const struct hw_result *n, const struct hw_result *r,
               uint32_t *undefined)
{
    struct diff d = {.out = out};
    *undefined = 0;
    if ((c->bits != 64 && wraps(c, n, r)) || both_segment(c, n, r) || call_order(c, n, r) ||
        meets_native(r) || (c->no_insn && never_ran(n) && never_ran(r)))
        return false;
    differ(&d, "vector", n->vector, r->vector);
    uint32_t error_told = n->cr2 >= 0x7ffffffff000 ? ~1u : ~0u; /* Linux tells P for all beyond the last user page */
    if (c->lift == LIFT_arpl)                                   /* whether it writes what it leaves alone */
        error_told &= ~2u;
    differ(&d, "error", n->error & error_told, r->error & error_told);
    bool other_page = large_operand(c) && n->cr2 - r->cr2 + 0x1000 < 0x2000;
    uint64_t order = other_page ? 0 : ~0ull; /* which byte of it is touched first is not told */
    differ(&d, "cr2", n->cr2 & order, r->cr2 & order);
    differ(&d, "rip", n->pc, r->pc);
    uint64_t width = c->bits == 64 ? ~0ull : 0xffffffff;
    for (unsigned i = 0; i < (c->bits == 64 ? 16 : 8); i++) {
        uint64_t told = i == c->loose_reg ? width & ~c->loose_bits : width;
        differ(&d, names[i], n->out.gpr[i] & told, r->out.gpr[i] & told);
    }
    bool finished = c->row == HW_SEQUENCE ? n->pc == c->pc + c->length : n->pc != c->pc;
    uint32_t loose = finished ? c->undefined : c->undefined_fault;
    *undefined = (uint32_t)(n->out.flags ^ r->out.flags) & loose;
    differ(&d, "flags", n->out.flags & COMPARED & ~loose, r->out.flags & COMPARED & ~loose);
    differ(&d, "fs base", n->out.fs, r->out.fs);
    differ(&d, "gs base", n->out.gs, r->out.gs);
    for (unsigned i = 0; i < 6; i++)
        if (i != SEG_CS)
            differ(&d, segment_names[i], told(n->selector[i]), told(r->selector[i]));
    differ_fx(&d, n->out.fx, r->out.fx);
    differ_vectors(&d, &n->out, &r->out);
    differ_memory(&d, c, n, r);
    return d.any;
}

/* ---- a smaller case
 * -------------------------------------------------------------------------------------------------- */

static bool fails(struct native *n, struct emulator *e, const struct hw_case *c)
{
    struct hw_result r;
    uint32_t undefined;
    native_cases(n)[0] = *c;
    native_start(n, 0, 1);
    native_wait(n);
    emulator_run(e, c, false, &r);
    return hw_differ(NULL, c, &native_results(n)[0], &r, &undefined);
}

/* Take `with` for n bytes at `at` if the case still fails. */
static void try_bytes(struct native *n, struct emulator *e, struct hw_case *c, void *at, const void *with, size_t size)
{
    uint8_t was[512];
    if (memcmp(at, with, size) == 0)
        return;
    memcpy(was, at, size);
    memcpy(at, with, size);
    if (!fails(n, e, c))
        memcpy(at, was, size);
}

/* Replace single insns of a sequence by NOPs. */
static void shrink_code(struct native *n, struct emulator *e, struct hw_case *c)
{
    static const uint8_t nops[16] = {0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
                                     0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90};
    struct x86_insn i;
    for (unsigned at = 0; at < c->body; at += i.length) {
        if (x86_decode(hw_mode(c->bits), c->code + at, 15, &i) != X86_OK)
            return;
        try_bytes(n, e, c, c->code + at, nops, i.length);
    }
}

/* The shortest beginning that fails, then without the NOPs in front (everything keeps its address). */
static void shrink_length(struct native *n, struct emulator *e, struct hw_case *c)
{
    struct x86_insn i;
    unsigned nops = 0;
    for (unsigned at = 0; at < c->length && c->body == c->length; at += i.length) {
        if (x86_decode(hw_mode(c->bits), c->code + at, 15, &i) != X86_OK)
            break;
        struct hw_case shorter = *c;
        shorter.length = shorter.body = (uint16_t)(at + i.length);
        shorter.undefined |= c->undefined_fault;
        if (fails(n, e, &shorter))
            *c = shorter;
    }
    while (c->body == c->length && nops < c->length && c->code[nops] == 0x90)
        nops++;
    struct hw_case later = *c;
    memmove(later.code, c->code + nops, c->length - nops);
    later.length = later.body = (uint16_t)(c->length - nops);
    later.pc += nops;
    if (nops && fails(n, e, &later))
        *c = later;
}

/* First whole registers, then parts of those that matter. */
static void shrink_vectors(struct native *n, struct emulator *e, struct hw_case *c)
{
    static const uint8_t zero[64];
    for (unsigned size = 64; size >= 4; size /= 4)
        for (unsigned i = 0; i < 32; i++)
            for (unsigned at = 0; at < 64; at += size)
                try_bytes(n, e, c, c->in.vec[i] + at, zero, size);
}

void hw_shrink(struct native *n, struct emulator *e, struct hw_case *c)
{
    struct hw_state simple = {.flags = 2};
    bytes_put(simple.fx + FX_FCW, 0x37f, 2);
    bytes_put(simple.fx + FX_MXCSR, 0x1f80, 4);
    uint8_t zero[64] = {0};
    c->flush = true; /* no state from the case before */
    if (!fails(n, e, c))
        return;
    if (c->row == HW_SEQUENCE)
        shrink_code(n, e, c);
    if (c->row == HW_SEQUENCE)
        shrink_length(n, e, c);
    unsigned counter =
        c->body < c->length ? (c->bits == 64 ? 13 : 5) : 16; /* of a loop: from zero it runs for minutes */
    for (unsigned i = 0; i < 16; i++)
        if (c->row != HW_SEQUENCE || i != counter)
            try_bytes(n, e, c, &c->in.gpr[i], zero, 8);
    try_bytes(n, e, c, &c->in.flags, &simple.flags, 8);
    for (unsigned i = 0; i < 6; i++)
        if (i != SEG_CS || c->bits == 32)
            try_bytes(n, e, c, &c->seg[i], zero, 1);
    if (!c->seg[SEG_FS])
        try_bytes(n, e, c, &c->in.fs, zero, 8);
    if (!c->seg[SEG_GS])
        try_bytes(n, e, c, &c->in.gs, zero, 8);
    try_bytes(n, e, c, c->in.fx, simple.fx, 24);
    try_bytes(n, e, c, c->in.fx + FX_MXCSR, simple.fx + FX_MXCSR, 4);
    for (unsigned i = 0; i < 8; i++)
        try_bytes(n, e, c, c->in.fx + FX_ST + 16 * i, zero, 16);
    for (unsigned i = 0; i < 8; i++)
        try_bytes(n, e, c, &c->in.k[i], zero, 8);
    shrink_vectors(n, e, c);
    for (unsigned i = 0; i < HW_PATCHES_MAX; i++)
        if (c->patch[i].at)
            try_bytes(n, e, c, c->patch[i].bytes, zero, 64);
}

/* The highest 8 bytes first, from the first that are not zero. */
static void print_vector(FILE *out, unsigned number, const uint8_t v[64])
{
    unsigned n = 8;
    while (n && !bytes_get(v + 8 * (n - 1), 8))
        n--;
    if (n)
        fprintf(out, "      zmm%u", number);
    for (unsigned k = n; k; k--)
        fprintf(out, " %016" PRIx64 "%s", bytes_get(v + 8 * (k - 1), 8), k == 1 ? "\n" : "");
}

static void print_state(FILE *out, const struct hw_case *c)
{
    const struct hw_state *s = &c->in;
    fprintf(out, "  in: flags %04" PRIx64, s->flags);
    for (unsigned i = 0; i < 16; i++)
        if (s->gpr[i])
            fprintf(out, " %s %" PRIx64, names[i], s->gpr[i]);
    fprintf(out, " fcw %04" PRIx64 " fsw %04" PRIx64 " ftw %02x mxcsr %04" PRIx64 " fs %" PRIx64 " gs %" PRIx64 "\n",
            bytes_get(s->fx + FX_FCW, 2), bytes_get(s->fx + FX_FSW, 2), s->fx[FX_FTW], bytes_get(s->fx + FX_MXCSR, 4),
            s->fs, s->gs);
    for (unsigned i = 0; i < 8; i++) {
        const uint8_t *v = s->fx + FX_ST + 16 * i;
        if (bytes_get(v, 8) || bytes_get(v + 8, 8))
            fprintf(out, "      st%u %016" PRIx64 " %016" PRIx64 "\n", i, bytes_get(v + 8, 8), bytes_get(v, 8));
    }
    for (unsigned i = 0; i < 8; i++)
        if (s->k[i])
            fprintf(out, "      k%u %016" PRIx64 "\n", i, s->k[i]);
    for (unsigned i = 0; i < 32; i++)
        print_vector(out, i, s->vec[i]);
    for (unsigned i = 0; i < 6; i++)
        if (c->seg[i])
            fprintf(out, "      %s: segment %u\n", segment_names[i], c->seg[i]);
    for (unsigned i = 0; i < HW_PATCHES_MAX && c->patch[i].at; i++) {
        fprintf(out, "      [%08" PRIx64 "] =", c->patch[i].at);
        for (unsigned k = 0; k < 32; k += 8)
            fprintf(out, " %016" PRIx64, bytes_get(c->patch[i].bytes + k, 8));
        fprintf(out, "\n");
    }
}

void hw_print(FILE *out, struct native *n, struct emulator *e, const struct hw_case *c)
{
    struct hw_result r;
    uint32_t undefined;
    if (c->row == HW_SEQUENCE)
        fprintf(out, "DIFFERS: sequence, --bits %u --sequence --case 0x%" PRIx64 "\n", c->bits, c->seed);
    else
        fprintf(out, "DIFFERS: %s (row %u), --bits %u --index %u --case 0x%" PRIx64 "\n", x86_rows[c->row].name, c->row,
                c->bits, c->row, c->seed);
    for (unsigned at = 0; at < c->length;)
        at += disasm_one(out, c->code + at, c->length - at, c->pc + at, c->bits);
    native_cases(n)[0] = *c;
    native_start(n, 0, 1);
    native_wait(n);
    const struct hw_result *native = &native_results(n)[0];
    print_state(out, c);
    fprintf(out, "  processor: vector %u error %x at %" PRIx64 "\n", native->vector, native->error, native->pc);
    emulator_run(e, c, false, &r);
    fprintf(out, "  emitted code:\n");
    hw_differ(out, c, native, &r, &undefined);
    emulator_run(e, c, true, &r);
    fprintf(out, "  interpreted IR:\n");
    if (!hw_differ(out, c, native, &r, &undefined))
        fprintf(out, "    no difference\n");
}
