/* guest/x86/sys_string.c: MOVS CMPS STOS LODS SCAS INS OUTS, with and without a repeat prefix.
 *
 * One call does all iterations, or as many as it can before a fault or an interrupt.  An iteration touches memory
 * first and registers last, so wherever it faults the registers say "this iteration is still to do", and the insn can
 * be run again from the same RIP (SDM vol. 2, REP).
 *
 * MOVS and STOS upwards go by page runs: as many elements as fit before either address leaves its page (or wraps at the
 * address size) are done by the host at once.  A run needs real host addresses on all sides; where access->read or
 * write answers with cpu.bounce (device, watchpoint, page crossing) the iteration is done alone; stores to RAM that
 * holds code go 64 bytes at a time. Everything else goes element by element, through the current tables where they
 * know the page.
 *
 * Rules to know before editing
 *   - Overlap: the result is always that of one element after the other (copy_elements).
 *   - EFLAGS change only when the insn ends, or leaves for an interrupt between two iterations: a fault in CMPS or
 *     SCAS leaves the flags as they were before the insn.
 *   - INS checks that its destination can be written before it reads the port; a port read cannot be taken back.
 *   - Under MODE_STEP the trap comes after every iteration (vol. 3, 18.3.1.4), that of a data breakpoint after the
 *     one that hit it.
 */
#include "guest/x86/sys.h"

enum { POLL_ELEMENTS = 256 }; /* single iterations between two looks at cpu.kick */

struct string {
    struct x86 *x;
    enum x86_string kind;
    enum x86_seg seg; /* of the source */
    unsigned bytes;   /* an element */
    uint64_t mask;    /* address size */
    unsigned rep;     /* 0, 1 REP/REPE, 2 REPNE */
    bool up, flat_src, flat_dst;
    uint32_t flags; /* of the last comparison */
};

/* ---- registers by address size --------------------------------------------------------------------------------- */

static uint64_t reg_get(const struct string *s, unsigned reg)
{
    return s->x->cpu.reg[reg] & s->mask;
}

static void reg_put(const struct string *s, unsigned reg, uint64_t v)
{
    uint64_t *r = &s->x->cpu.reg[reg];

    *r = s->mask == 0xffff ? (*r & ~0xffffull) | (v & 0xffff) : v & s->mask;
}

static void reg_step(const struct string *s, unsigned reg, uint64_t elements)
{
    uint64_t by = elements * s->bytes;

    reg_put(s, reg, reg_get(s, reg) + (s->up ? by : 0 - by));
}

/* ---- addresses ------------------------------------------------------------------------------------------------- */

static bool is_flat(const struct x86 *x, enum x86_seg seg)
{
    if (x->mode & MODE_64)
        return true;
    return (x->mode & MODE_FLAT) && (seg < SEG_FS || (x->mode & MODE_FLAT_FSGS));
}

static gva_t linear(const struct string *s, unsigned reg, bool write)
{
    struct x86 *x = s->x;
    enum x86_seg seg = reg == X86_RDI ? SEG_ES : s->seg;
    uint64_t offset = reg_get(s, reg);

    if (!(reg == X86_RDI ? s->flat_dst : s->flat_src))
        return help_seg_linear(x, offset, seg, s->bytes | (write ? SEG_WRITES : 0u));
    gva_t gva = x->cpu.reg[X86_BASE_ES + seg] + offset;
    return x->mode & MODE_64 ? gva : (uint32_t)gva;
}

/* The host address of [gva, gva + bytes) if the current table knows the page, else NULL. */
static uint8_t *known(const struct x86 *x, uint8_t *table, gva_t gva, unsigned bytes)
{
    if (!table || (gva & 4095) + bytes > 4096 || !x86_canonical(x, gva))
        return NULL;
    uint64_t addend = x86_table_entry(x, table, gva);
    return addend ? (uint8_t *)(uintptr_t)(gva + addend) : NULL;
}

static bool in_bounce(const struct x86 *x, const uint8_t *host)
{
    uintptr_t p = (uintptr_t)host, b = (uintptr_t)x->cpu.bounce;

    return p >= b && p < b + sizeof x->cpu.bounce;
}

static uint64_t load(const struct string *s, gva_t gva, enum x86_seg seg)
{
    const uint8_t *host = known(s->x, s->x->cpu.tab_r, gva, s->bytes);

    return host ? bytes_get(host, s->bytes) : x86_load(s->x, gva, s->bytes, seg);
}

static void store(const struct string *s, gva_t gva, uint64_t v)
{
    uint8_t *host = known(s->x, s->x->cpu.tab_w, gva, s->bytes);

    if (host)
        bytes_put(host, v, s->bytes);
    else
        x86_store(s->x, gva, v, s->bytes, SEG_ES);
}

/* ---- page runs --------------------------------------------------------------------------------------------------- */

/* Copy n bytes upwards as if in elements of `bytes`, one after the other. */
static void copy_elements(uint8_t *to, const uint8_t *from, size_t n, unsigned bytes)
{
    size_t distance = (size_t)(to - from);

    if (to <= from || distance >= n) {
        memmove(to, from, n);
        return;
    }
    if (distance < bytes) {
        for (size_t done = 0; done < n; done += bytes)
            bytes_put(to + done, bytes_get(from + done, bytes), bytes);
        return;
    }
    /* The result repeats the first `distance` bytes; each copy doubles what is there. */
    for (size_t done = 0; done < n;) {
        size_t have = distance + done, k = have < n - done ? have : n - done;
        memcpy(to + done, from, k);
        done += k;
    }
}

static void fill_elements(uint8_t *to, uint64_t v, size_t n, unsigned bytes)
{
    bool uniform = true;

    for (unsigned i = 1; i < bytes; i++)
        uniform &= (uint8_t)(v >> (8 * i)) == (uint8_t)v;
    if (uniform) {
        memset(to, (int)(v & 0xff), n);
        return;
    }
    bytes_put(to, v, bytes);
    if (n > bytes)
        copy_elements(to + bytes, to, n - bytes, bytes);
}

/* Elements before the address in `reg` leaves its page or wraps. */
static uint64_t run_length(const struct string *s, unsigned reg, gva_t gva)
{
    uint64_t page = 4096 - (gva & 4095), wrap = s->mask - reg_get(s, reg);

    return (wrap < page - 1 ? wrap + 1 : page) / s->bytes;
}

/* Real host address of the element at gva, or NULL. */
static uint8_t *run_source(const struct string *s, gva_t gva)
{
    uint8_t *host = known(s->x, s->x->cpu.tab_r, gva, s->bytes);

    if (!host)
        host = sys_host(gva, s->x->access->read(&s->x->cpu, gva, s->bytes | sys_tag(s->seg)));
    return in_bounce(s->x, host) ? NULL : host;
}

static uint8_t *run_target(const struct string *s, gva_t gva)
{
    struct x86 *x = s->x;
    uint8_t *host = known(x, x->cpu.tab_w, gva, s->bytes);

    if (host)
        return host;
    host = sys_host(gva, x->access->write(&x->cpu, gva, s->bytes | MD_WRITE | MD_PROBE | sys_tag(SEG_ES)));
    bool real = !in_bounce(x, host) && !x->cpu.pending;
    x->cpu.pending = 0;
    return real ? host : NULL;
}

/* RAM that holds code takes stores through the slow path only, but up to 64 bytes at once.  0: something else, or an
 * overlap. */
static uint64_t code_run(const struct string *s, gva_t dst, const uint8_t *from, uint64_t n)
{
    struct x86 *x = s->x;
    struct x86_walk w;
    uint8_t buf[64];

    if (x86_table_kind(x, x86_walk_access(x, MD_WRITE)) == TLB_NONE)
        return 0; /* alignment is checked, element by element */
    if (n > sizeof buf / s->bytes)
        n = sizeof buf / s->bytes;
    size_t size = n * s->bytes;
    if (!x->mem || x86_page_watched(x, dst) || !x86_walk(x, dst, x86_walk_access(x, MD_WRITE), &w))
        return 0;
    const uint8_t *to = bus_host(x->mem, w.gpa, size, true);
    if (!to || (from && to < from + size && from < to + size))
        return 0;
    if (from)
        memcpy(buf, from, size);
    else
        fill_elements(buf, x->cpu.reg[X86_RAX], size, s->bytes);
    sys_write(x, dst, buf, (unsigned)size, SEG_ES);
    return n;
}

static void run_done(const struct string *s, uint64_t n)
{
    if (s->kind == STR_MOVS)
        reg_step(s, X86_RSI, n);
    reg_step(s, X86_RDI, n);
}

/* Do up to `count` iterations of MOVS or STOS by the host; 0: do the next one alone. */
static uint64_t page_run(const struct string *s, uint64_t count)
{
    bool copies = s->kind == STR_MOVS;
    uint8_t *from = NULL;

    if (!s->up || !s->flat_dst || (copies && !s->flat_src) || (!copies && s->kind != STR_STOS))
        return 0;
    gva_t dst = linear(s, X86_RDI, true);
    uint64_t n = run_length(s, X86_RDI, dst);
    if (n > count)
        n = count;
    if (copies) {
        gva_t src = linear(s, X86_RSI, false);
        uint64_t run = run_length(s, X86_RSI, src);
        if (run < n)
            n = run;
        if (n < 2 || !(from = run_source(s, src)))
            return 0;
    }
    if (n < 2)
        return 0;
    uint8_t *to = run_target(s, dst);
    if (!to)
        n = code_run(s, dst, from, n);
    else if (copies)
        copy_elements(to, from, n * s->bytes, s->bytes);
    else
        fill_elements(to, s->x->cpu.reg[X86_RAX], n * s->bytes, s->bytes);
    run_done(s, n);
    return n;
}

/* ---- one iteration ------------------------------------------------------------------------------------------------ */

static uint32_t flags_sub(uint64_t p, uint64_t q, unsigned bits)
{
    uint64_t r = (p - q) & mask_bits(bits), top = 1ull << (bits - 1);
    uint32_t f = 0;

    if (p < q)
        f |= FL_CF;
    if (!__builtin_parity((unsigned)(r & 0xff)))
        f |= FL_PF;
    if ((p ^ q ^ r) & 16)
        f |= FL_AF;
    if (!r)
        f |= FL_ZF;
    if (r & top)
        f |= FL_SF;
    if ((p ^ q) & (p ^ r) & top)
        f |= FL_OF;
    return f;
}

static void do_port(struct string *s)
{
    struct x86 *x = s->x;
    unsigned port = x->cpu.reg[X86_RDX] & 0xffff;

    sys_io_check(x, port, s->bytes);
    if (s->kind == STR_INS) {
        gva_t dst = linear(s, X86_RDI, true);
        sys_probe_operand(x, dst, s->bytes, SEG_ES);
        store(s, dst, bus_read(x->io, port, s->bytes));
        reg_step(s, X86_RDI, 1);
    } else {
        bus_write(x->io, port, load(s, linear(s, X86_RSI, false), s->seg), s->bytes);
        reg_step(s, X86_RSI, 1);
    }
}

static void do_element(struct string *s)
{
    struct x86 *x = s->x;
    unsigned bits = s->bytes * 8;
    uint64_t rax = x->cpu.reg[X86_RAX], v;
    gva_t dst;

    switch (s->kind) {
    case STR_MOVS:
        v = load(s, linear(s, X86_RSI, false), s->seg);
        store(s, linear(s, X86_RDI, true), v);
        reg_step(s, X86_RSI, 1);
        reg_step(s, X86_RDI, 1);
        break;
    case STR_CMPS:
        v = load(s, linear(s, X86_RSI, false), s->seg);
        dst = linear(s, X86_RDI, false);
        s->flags = flags_sub(v, load(s, dst, SEG_ES), bits);
        reg_step(s, X86_RSI, 1);
        reg_step(s, X86_RDI, 1);
        break;
    case STR_STOS:
        store(s, linear(s, X86_RDI, true), rax & mask_bits(bits));
        reg_step(s, X86_RDI, 1);
        break;
    case STR_LODS:
        v = load(s, linear(s, X86_RSI, false), s->seg);
        x->cpu.reg[X86_RAX] = s->bytes < 4 ? (rax & ~mask_bits(bits)) | v : v;
        reg_step(s, X86_RSI, 1);
        break;
    case STR_SCAS:
        dst = linear(s, X86_RDI, false);
        s->flags = flags_sub(rax & mask_bits(bits), load(s, dst, SEG_ES), bits);
        reg_step(s, X86_RDI, 1);
        break;
    case STR_INS:
    case STR_OUTS: do_port(s); break;
    }
}

/* ---- the insn ---------------------------------------------------------------------------------------------------- */

static bool compares(const struct string *s)
{
    return s->kind == STR_CMPS || s->kind == STR_SCAS;
}

/* Between two iterations: leave if something waits.  The insn goes on from its own start. */
static void poll(const struct string *s)
{
    struct x86 *x = s->x;
    bool step = x->mode & MODE_STEP;

    if (!step && !x->pending_db && !__atomic_load_n(&x->cpu.kick, __ATOMIC_RELAXED))
        return;
    if (compares(s))
        cpu_set_flags(&x->cpu, s->flags);
    x->cpu.pc = cpu_insn_pc(&x->cpu);
    x->access->leave(&x->cpu, step ? LEAVE_NEXT : LEAVE_KICK);
}

static void repeat(struct string *s)
{
    struct x86 *x = s->x;
    uint64_t count = reg_get(s, X86_RCX), alone = 0;

    if (!count)
        return;
    for (;;) {
        uint64_t n = x->mode & MODE_STEP || x->no_string_runs ? 0 : page_run(s, count);
        if (!n) {
            do_element(s);
            n = 1;
            alone++;
        }
        count -= n;
        reg_put(s, X86_RCX, count);
        if (!count || (compares(s) && !(s->flags & FL_ZF) == (s->rep == 1)))
            break;
        if (n > 1 || alone % POLL_ELEMENTS == 0 || x->mode & MODE_STEP || x->pending_db)
            poll(s);
    }
    if (compares(s))
        cpu_set_flags(&x->cpu, s->flags);
}

X86_HELP(help_string)
{
    struct string s = {
        .x = x,
        .kind = (enum x86_string)(a & 0xff),
        .bytes = (a >> 8) & 0xff,
        .mask = mask_bits((unsigned)(a >> 16 & 0xff) * 8),
        .seg = (enum x86_seg)(a >> 24 & 15),
        .rep = (a >> 28) & 3,
        .up = (int64_t)x->cpu.reg[X86_DF] > 0,
    };

    s.flat_src = is_flat(x, s.seg);
    s.flat_dst = is_flat(x, SEG_ES);
    x->count.strings++;
    if (s.rep) {
        repeat(&s);
        return 0;
    }
    do_element(&s);
    if (compares(&s))
        cpu_set_flags(&x->cpu, s.flags);
    return 0;
}
