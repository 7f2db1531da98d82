/* exec/slow.c: memory accesses that do not hit a translation table, and every access made by C code for the guest.
 *
 * The contract (host.h): give back "host address - guest address" such that `access` can be run on it.  That is the
 * real addend for RAM, and the distance to cpu.bounce for everything else: two pages, devices, pages that hold code,
 * watched pages.  Reads put the bytes into the bounce buffer first.  Writes leave a note in v->slow and set
 * cpu.pending: after the access has run on the bounce buffer, slow_commit carries the bytes to where they belong.
 *
 * Accesses under a mask (MD_SELECT) touch some bytes only; the others are neither checked nor moved.
 *
 * All rights of all bytes are checked before anything is read or written, so a fault leaves no trace (Intel SDM vol.
 * 3, 6.5: faults are restartable).
 *
 * Stores to code.  If the store hits the very block that runs, nothing is done: the block is left and the insn runs
 * again, alone (LEAVE_AGAIN), in a translation that is not kept, so the next insn sees the new bytes (vol. 3, 11.6).
 * If no block rests on the bytes it goes straight to RAM, and thunks need not ask for its page again (fill_direct).  A
 * store that changes nothing drops nothing.
 */
#include <string.h>

#include "exec/exec.h"

enum { DIRECT_STORES = 4096 }; /* straight to a page with code, until it is looked at whether it still holds any */

static struct vcpu *vcpu_of(struct cpu *c)
{
    return (struct vcpu *)c;
}

/* Where one page's part of an access lies. */
struct place {
    uint64_t bytes; /* which bytes of it are touched, a bit each; 0: the rest has no meaning */
    gpa_t gpa;
    uint8_t *host;     /* of the first byte; NULL: no RAM or ROM there */
    uint64_t ram_page; /* index in ram.flags, UINT64_MAX: not RAM */
    struct x86_walk walk;
};

/* Translate gva for the access; raises #PF. */
static struct place find(struct vcpu *v, gva_t gva, unsigned desc)
{
    struct x86 *x = &v->x86;
    struct place p = {.ram_page = UINT64_MAX};
    if (!x86_walk(x, gva, x86_walk_access(x, desc), &p.walk))
        x86_raise_pf(x, gva, p.walk.error);
    p.gpa = p.walk.gpa;
    p.host = bus_host(x->mem, p.gpa, 1, false);
    if (p.host)
        p.ram_page = ram_page_of_host(x->ram, p.host);
    return p;
}

/* What alignment checks ask of an access: its own size, but at most 16, and 8 of an x87 register; under an opmask the
 * size of an element. */
static unsigned checked_alignment(const struct cpu *c, unsigned desc)
{
    unsigned size = desc & MD_SIZE;
    if (desc & MD_ANY_ALIGN)
        return 1;
    if (desc & MD_SELECT)
        return ir_avx_checked_alignment(c->select_how);
    return size == 10 ? 8 : size & (size - 1) ? 1 : size < 16 ? size : 16;
}

/* Which bytes an access touches, a bit each. */
static uint64_t touched(const struct cpu *c, unsigned desc)
{
    uint64_t all = mask_bits(desc & MD_SIZE);
    return desc & MD_SELECT ? all & ir_avx_selected(c->select_how, c->select) : all;
}

static unsigned lowest(uint64_t bytes)
{
    return (unsigned)__builtin_ctzll(bytes);
}

static unsigned highest(uint64_t bytes)
{
    return 63 - (unsigned)__builtin_clzll(bytes);
}

/* The part at gva, of which `bytes` are touched; a fault is at the first of these. */
static struct place find_part(struct vcpu *v, gva_t gva, unsigned desc, uint64_t bytes)
{
    if (!bytes)
        return (struct place){.ram_page = UINT64_MAX};
    unsigned first = lowest(bytes);
    struct place p = find(v, gva + first, desc);
    p.bytes = bytes;
    p.gpa -= first;
    p.host -= p.host ? first : 0;
    return p;
}

static void raise_address(struct x86 *x, unsigned desc)
{
    x86_raise_error(x, (desc >> MD_TAG_SHIFT) == SEG_SS ? EX_SS : EX_GP, 0);
}

/* Which table the access belongs to. */
static enum tlb_kind kind_of(const struct x86 *x, unsigned desc)
{
    return x86_table_kind(x, x86_walk_access(x, desc));
}

static void check_address(struct x86 *x, gva_t gva, unsigned desc, uint64_t bytes)
{
    unsigned size = desc & MD_SIZE;
    if ((desc & MD_ALIGN) && (gva & (size - 1)))
        x86_raise_error(x, EX_GP, 0);
    if (!x86_canonical(x, gva + lowest(bytes)) || !x86_canonical(x, gva + highest(bytes)))
        raise_address(x, desc);
    if (gva & (checked_alignment(&x->cpu, desc) - 1) && kind_of(x, desc) == TLB_NONE)
        x86_raise_error(x, EX_AC, 0); /* vol. 3, 6.15, interrupt 17 */
}

static uint64_t known(struct x86 *x, gva_t gva, unsigned desc)
{
    return x86_table_entry(x, tlb_table(x->tlb, x->cur_slot, kind_of(x, desc)), gva);
}

static bool crosses(gva_t gva, unsigned desc)
{
    return (gva & 0xfff) + (desc & MD_SIZE) > 0x1000;
}

static int64_t to_bounce(struct vcpu *v, gva_t gva)
{
    return (int64_t)((uintptr_t)v->x86.cpu.bounce - gva);
}

/* The largest piece of n bytes that a device takes at once. */
static unsigned device_piece(unsigned n)
{
    return n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
}

static void read_device(struct vcpu *v, gpa_t gpa, uint8_t *to, unsigned n)
{
    for (unsigned done = 0; done < n;) { /* the largest piece that is aligned as devices expect */
        unsigned piece = device_piece(n - done);
        bytes_put(to + done, bus_read(v->x86.mem, gpa + done, piece), piece);
        done += piece;
    }
}

/* The next run of touched bytes at or after *at: its length, 0 at the end. */
static unsigned next_run(uint64_t bytes, unsigned *at)
{
    if (*at >= 64 || !(bytes >> *at))
        return 0;
    *at += lowest(bytes >> *at);
    uint64_t rest = ~(bytes >> *at);
    return rest ? lowest(rest) : 64;
}

static void read_part(struct vcpu *v, const struct place *p, uint8_t *to, unsigned n)
{
    if (p->host)
        memcpy(to, p->host, n);
    else
        for (unsigned at = 0, run; (run = next_run(p->bytes, &at)); at += run)
            read_device(v, p->gpa + at, to + at, run);
}

/* The parts of an access: one, or two where it crosses a page.  All translated before anything else happens. */
static unsigned find_all(struct vcpu *v, gva_t gva, unsigned desc, uint64_t bytes, struct place p[2], unsigned len[2])
{
    unsigned size = desc & MD_SIZE;
    if (!crosses(gva, desc)) {
        len[0] = size;
        p[0] = find_part(v, gva, desc, bytes);
        return 1;
    }
    len[0] = 0x1000 - (gva & 0xfff);
    len[1] = size - len[0];
    p[0] = find_part(v, gva, desc, bytes & mask_bits(len[0]));
    gva_t second = gva + len[0];
    p[1] = find_part(v, v->x86.mode & MODE_64 ? second : (uint32_t)second, desc, bytes >> len[0]);
    return 2;
}

/* Is a debug register's address in a page that the access touches? */
static bool watched(struct vcpu *v, gva_t gva, uint64_t bytes)
{
    return x86_page_watched(&v->x86, gva + lowest(bytes)) || x86_page_watched(&v->x86, gva + highest(bytes));
}

static void watch(struct vcpu *v, gva_t gva, uint64_t bytes, bool write)
{
    x86_watch(&v->x86, gva + lowest(bytes), highest(bytes) - lowest(bytes) + 1, write);
}

static void log_fill(struct vcpu *v, gva_t gva, const struct place *p, enum tlb_kind kind)
{
    if (log_on(v->exec->log, LOG_MMU))
        log_print(v->exec->log, "fill %d: 0x%llx -> 0x%llx\n", kind, (unsigned long long)gva,
                  (unsigned long long)p->gpa);
}

static int64_t slow_read(struct cpu *c, gva_t gva, unsigned desc)
{
    struct vcpu *v = vcpu_of(c);
    struct x86 *x = &v->x86;
    uint64_t bytes = touched(c, desc);
    if (!bytes)
        return to_bounce(v, gva);
    check_address(x, gva, desc, bytes);
    if (!crosses(gva, desc)) {
        uint64_t hit = known(x, gva, desc);
        if (hit) {
            v->count[COUNT_SLOW_READ_HIT]++;
            return (int64_t)hit;
        }
    }
    struct place p[2];
    unsigned len[2], n = find_all(v, gva, desc, bytes, p, len);
    bool traps = watched(v, gva, bytes);
    if (traps)
        watch(v, gva, bytes, false);
    if (n == 1 && p[0].host && !traps) {
        uint64_t addend = (uint64_t)(uintptr_t)p[0].host - gva;
        enum tlb_kind kind = kind_of(x, desc);
        if (kind != TLB_NONE)
            tlb_fill(x->tlb, x->cur_slot, kind, gva, addend, p[0].walk.fill);
        v->count[COUNT_SLOW_READ_FILL]++;
        log_fill(v, gva, &p[0], kind);
        return (int64_t)addend;
    }
    v->count[n == 2 ? COUNT_SLOW_READ_CROSS : COUNT_SLOW_READ_DEV]++;
    unsigned at = 0;
    for (unsigned i = 0; i < n; i++) {
        read_part(v, &p[i], c->bounce + at, len[i]);
        at += len[i];
    }
    return to_bounce(v, gva);
}

/* RAM that holds no code: the store may go straight there. */
static bool plain(struct vcpu *v, const struct place *p)
{
    return p->host && p->ram_page != UINT64_MAX &&
           !(__atomic_load_n(&v->exec->ram->flags[p->ram_page], __ATOMIC_SEQ_CST) & RAM_CODE);
}

static int64_t fill_write(struct vcpu *v, gva_t gva, unsigned desc, const struct place *p)
{
    struct x86 *x = &v->x86;
    uint64_t addend = (uint64_t)(uintptr_t)p->host - gva;
    enum tlb_kind kind = kind_of(x, desc);
    if (!p->walk.writable || kind == TLB_NONE || !x86_table_whole(gva))
        return (int64_t)addend;
    __atomic_fetch_or(&v->exec->ram->flags[p->ram_page], RAM_WMAPPED, __ATOMIC_SEQ_CST);
    tlb_fill(x->tlb, x->cur_slot, kind, gva, addend, p->walk.fill);
    v->count[COUNT_SLOW_WRITE_FILL]++;
    log_fill(v, gva, p, kind);
    return (int64_t)addend;
}

/* Which of cpu.direct is for the page, if any is, and what its direct_page says then. */
static unsigned direct_place(gva_t gva)
{
    return gva >> 12 & (CPU_DIRECT - 1);
}

static uint64_t direct_key(gva_t gva)
{
    return (gva & ~0xfffull) | 1;
}

/* Does the map have one of those bytes? */
static bool charted(const uint64_t *map, gva_t gva, unsigned size)
{
    for (unsigned at = gva & 0xfff, end = at + size; at < end; at++)
        if (__atomic_load_n(&map[at / 64], __ATOMIC_RELAXED) >> at % 64 & 1)
            return true;
    return false;
}

/* A page with code: if no block rests on the bytes, the store may go straight there, and thunks need not ask for the
 * next ones. */
static bool fill_direct(struct vcpu *v, gva_t gva, unsigned desc, const struct place *p)
{
    struct x86 *x = &v->x86;
    struct cpu *c = &x->cpu;
    enum tlb_kind kind = kind_of(x, desc);
    if (v->exec->config.off[EXEC_CHART] || !p->walk.writable || kind == TLB_NONE || !x86_table_whole(gva))
        return false;
    const uint64_t *map = code_chart(v->exec->code, p->ram_page, v->exec->nvcpus == 1);
    if (!map)
        return false;
    unsigned n = direct_place(gva);
    c->direct_page[n] = direct_key(gva);
    c->direct[n] = (struct cpu_direct){.table = tlb_table(x->tlb, x->cur_slot, kind),
                                       .addend = (uint64_t)(uintptr_t)p->host - gva,
                                       .map = map,
                                       .left = DIRECT_STORES};
    return !charted(map, gva, desc & MD_SIZE);
}

/* The place of a store that a thunk gave up, if its page is known to it: no walk is needed. */
static bool find_direct(struct vcpu *v, gva_t gva, unsigned desc, uint64_t bytes, struct place *p)
{
    struct x86 *x = &v->x86;
    unsigned n = direct_place(gva);
    const struct cpu_direct *d = &x->cpu.direct[n];
    if (x->cpu.direct_page[n] != direct_key(gva) || !d->left || crosses(gva, desc) ||
        d->table != tlb_table(x->tlb, x->cur_slot, kind_of(x, desc)))
        return false;
    *p = (struct place){.bytes = bytes, .host = (uint8_t *)(uintptr_t)(d->addend + gva)};
    p->ram_page = ram_page_of_host(x->ram, p->host);
    return true;
}

static void unlock_world(struct vcpu *v)
{
    if (v->slow.alone)
        world_start(v);
    v->slow.alone = false;
}

/* A locked access that goes through the bounce buffer runs alone from before its read to its commit (vol. 3, 8.1.2:
 * locked operations are atomic at any alignment).  Waiting for that, this vCPU stood outside: if code memory was
 * reused meanwhile, the block it came from may be gone, and the insn begins again. */
static void lock_world(struct vcpu *v)
{
    uint64_t evictions = code_evictions(v->exec->code);
    world_stop(v);
    v->slow.alone = true;
    if (evictions == code_evictions(v->exec->code))
        return;
    unlock_world(v);
    v->x86.cpu.pc = cpu_insn_pc(&v->x86.cpu);
    host_leave(&v->x86.cpu, LEAVE_AGAIN);
}

/* The block that runs now, if one that can be looked up does. */
static const struct block *running_block(struct vcpu *v)
{
    if (!v->in_code)
        return NULL;
    if (v->exec->config.interp)
        return v->interp_block;
    return code_find_host(v->exec->code, cpu_return_address(&v->x86.cpu));
}

/* Before a store to RAM: leave if it hits the running block; else its blocks die.  `again`: after the store, for
 * blocks made meanwhile. */
static void drop_code(struct vcpu *v, const uint8_t *host, unsigned len, bool again)
{
    uint64_t page = ram_page_of_host(v->exec->ram, host);
    unsigned off = (unsigned)((uintptr_t)(host - v->exec->ram->host) & 0xfff);
    if (!(__atomic_load_n(&v->exec->ram->flags[page], __ATOMIC_SEQ_CST) & RAM_CODE))
        return;
    bool self = false, alone = v->exec->nvcpus == 1;
    if (!again && !alone && !code_overlaps(v->exec->code, page, off, len))
        return;
    const struct block *running = again ? NULL : running_block(v);
    if (alone)
        code_overwrite(v->exec->code, page, off, len, running, &self);
    else if (code_write(v->exec->code, page, off, len, running, &self))
        os_code_changed(); /* before the store is seen: jumps to what died were cut in code that others may run now */
    if (self) {
        unlock_world(v);
        v->x86.cpu.one_insn = 1;
        v->x86.cpu.pc = cpu_insn_pc(&v->x86.cpu);
        host_leave(&v->x86.cpu, LEAVE_AGAIN);
    }
}

static int64_t slow_write(struct cpu *c, gva_t gva, unsigned desc)
{
    struct vcpu *v = vcpu_of(c);
    struct x86 *x = &v->x86;
    uint64_t bytes = touched(c, desc);
    c->pending = 0;
    if (!bytes)
        return to_bounce(v, gva);
    check_address(x, gva, desc, bytes);
    if (!crosses(gva, desc)) {
        uint64_t hit = known(x, gva, desc);
        if (hit) {
            v->count[COUNT_SLOW_WRITE_HIT]++;
            return (int64_t)hit;
        }
    }
    struct place p[2];
    bool direct = find_direct(v, gva, desc, bytes, &p[0]);
    unsigned len[2] = {desc & MD_SIZE}, n = direct ? 1 : find_all(v, gva, desc, bytes, p, len);
    if (desc & MD_PROBE)
        return to_bounce(v, gva);
    bool traps = !direct && watched(v, gva, bytes);
    if (traps)
        watch(v, gva, bytes, true);
    if (n == 1 && !traps && !direct && plain(v, &p[0]))
        return fill_write(v, gva, desc, &p[0]);
    if (n == 1 && !traps && p[0].ram_page != UINT64_MAX &&
        (direct ? !charted(x->cpu.direct[direct_place(gva)].map, gva, desc & MD_SIZE)
                : fill_direct(v, gva, desc, &p[0]))) {
        v->count[COUNT_SLOW_WRITE_CHART]++;
        return (int64_t)((uintptr_t)p[0].host - gva);
    }
    v->count[n == 2                        ? COUNT_SLOW_WRITE_CROSS
             : p[0].ram_page == UINT64_MAX ? COUNT_SLOW_WRITE_DEV
                                           : COUNT_SLOW_WRITE_CODE]++;
    if (desc & MD_LOCK && v->exec->nvcpus > 1)
        lock_world(v);
    v->slow.n = n;
    unsigned at = 0;
    for (unsigned i = 0; i < n; i++) {
        v->slow.part[i].gpa = p[i].gpa;
        v->slow.part[i].len = len[i];
        v->slow.part[i].bytes = p[i].bytes;
        v->slow.part[i].host = p[i].ram_page == UINT64_MAX ? NULL : p[i].host;
        if (desc & MD_RMW)
            read_part(v, &p[i], c->bounce + at, len[i]);
        at += len[i];
    }
    for (unsigned i = 0; i < n && desc & MD_ONCE; i++)
        if (v->slow.part[i].host)
            drop_code(v, v->slow.part[i].host, len[i], false);
    c->pending = 1;
    return to_bounce(v, gva);
}

static void write_device(struct vcpu *v, gpa_t gpa, const uint8_t *from, unsigned n)
{
    for (unsigned done = 0; done < n;) {
        unsigned piece = device_piece(n - done);
        bus_write(v->x86.mem, gpa + done, bytes_get(from + done, piece), piece);
        done += piece;
    }
}

static void store_ram(uint8_t *host, const uint8_t *from, unsigned n)
{
    if (n > 8 || n & (n - 1) || (uintptr_t)host & (n - 1)) {
        memcpy(host, from, n);
        return;
    }
    uint64_t value = bytes_get(from, n); /* other vCPUs see it whole (vol. 3, 8.1.1) */
    switch (n) {
    case 1: __atomic_store_n(host, (uint8_t)value, __ATOMIC_RELEASE); break;
    case 2: __atomic_store_n((uint16_t *)host, (uint16_t)value, __ATOMIC_RELEASE); break;
    case 4: __atomic_store_n((uint32_t *)host, (uint32_t)value, __ATOMIC_RELEASE); break;
    default: __atomic_store_n((uint64_t *)host, value, __ATOMIC_RELEASE); break;
    }
}

/* Drop the blocks that a store to RAM changes.  One that changes nothing is not done, and drops nothing: it is as if the
 * bytes were stored in the moment when they are compared.  With one vCPU what stays as it is does not count. */
static void before_store(struct vcpu *v, struct slow_part *p, const uint8_t *from)
{
    unsigned first = p->len, end = 0;
    for (unsigned i = 0; i < p->len; i++)
        if (p->bytes >> i & 1 && from[i] != __atomic_load_n(&p->host[i], __ATOMIC_RELAXED)) {
            first = first < i ? first : i;
            end = i + 1;
        }
    if (!end)
        p->bytes = 0;
    else if (v->exec->nvcpus == 1)
        drop_code(v, p->host + first, end - first, false);
    else
        drop_code(v, p->host, p->len, false);
}

static void slow_commit(struct cpu *c)
{
    struct vcpu *v = vcpu_of(c);
    struct vcpu_slow *s = &v->slow;
    c->pending = 0;
    const uint8_t *from = c->bounce;
    for (unsigned i = 0; i < s->n; from += s->part[i++].len)
        if (s->part[i].host && s->part[i].bytes)
            before_store(v, &s->part[i], from);
    from = c->bounce;
    for (unsigned i = 0; i < s->n; i++) {
        unsigned len = s->part[i].len;
        uint8_t *host = s->part[i].host;
        for (unsigned at = 0, run; (run = next_run(s->part[i].bytes, &at)); at += run) {
            if (host)
                store_ram(host + at, from + at, run);
            else
                write_device(v, s->part[i].gpa + at, from + at, run);
        }
        if (host && s->part[i].bytes && v->exec->nvcpus > 1)
            drop_code(v, host, len, true);
        from += len;
    }
    unlock_world(v);
}

static void divide_error(struct cpu *c)
{
    x86_raise((struct x86 *)c, EX_DE);
}

static void fp_error(struct cpu *c)
{
    struct x86 *x = (struct x86 *)c;
    x86_raise(x, x->cr4 & CR4_OSXMMEXCPT ? EX_XM : EX_UD);
}

const struct x86_access exec_access = {slow_read, slow_write, slow_commit, host_leave};

const struct host_calls *exec_host_calls(void)
{
    static const struct host_calls calls = {slow_read, slow_write, slow_commit, pairs_worn, divide_error, fp_error};
    return &calls;
}

bool exec_peek(struct vcpu *v, gva_t gva, void *to, size_t n)
{
    uint8_t *out = to;
    while (n) {
        struct x86_walk w;
        size_t piece = 0x1000 - (gva & 0xfff) < n ? 0x1000 - (gva & 0xfff) : n;
        if (!x86_walk(&v->x86, gva, WALK_READ | WALK_PEEK, &w) || !bus_copy_out(v->x86.mem, w.gpa, out, piece))
            return false;
        gva += piece;
        out += piece;
        n -= piece;
    }
    return true;
}
