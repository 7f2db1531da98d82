/* guest/x86/walk.c: from linear to physical addresses: the page tables of Intel SDM vol. 3, chapter 4.
 *
 * One loop walks all four formats.  They differ in the data that `struct format` holds: how many levels, how wide an
 * entry and an index, which levels may map a page.  PAE's top level is not in memory (x->pdpte) and grants no rights,
 * so its walk begins one level lower.
 *
 *      level   4-level, 5-level        PAE             32-bit
 *        5     PML5E
 *        4     PML4E
 *        3     PDPTE (1 GB page)       x->pdpte
 *        2     PDE (2 MB page)         PDE (2 MB)      PDE (4 MB page with CR4.PSE)
 *        1     PTE                     PTE             PTE
 *
 * Rules to know before editing
 *   - Nothing here raises a fault: a failed walk is an answer (error code), because debuggers and prefetches ask too.
 *   - An entry changes only by compare-and-exchange against what was read; if another processor was faster the walk
 *     starts over.
 *   - A of upper levels is set on the way, A and D of the entry that maps the page only when the access is allowed
 *     (vol. 3, 4.8).
 */
#include "guest/x86/run_int.h"

/* Bits of paging-structure entries, vol. 3, tables 4-5 to 4-20. */
enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 32, PTE_D = 64, PTE_PS = 128, PTE_G = 256 };
#define PTE_NX (1ull << 63)
/* Page-fault error code, vol. 3, figure 4-12. */
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16, PF_PK = 32 };

struct format {
    uint8_t levels; /* in memory */
    uint8_t entry;  /* bytes of an entry */
    uint8_t index_bits;
    uint8_t page_level; /* highest level that may map a page */
    bool pae;           /* bits 62..52 reserved */
};

struct entry {
    gpa_t at;
    void *host; /* where to compare and exchange, NULL: not RAM */
    uint64_t value;
};

bool x86_canonical(const struct x86 *x, gva_t gva)
{
    unsigned bits = x->cr4 & CR4_LA57 ? 57 : 48;
    return (gva_t)sign_extend(gva, bits) == gva;
}

static struct format format_now(const struct x86 *x)
{
    if (x86_long_mode(x))
        return (struct format){x->cr4 & CR4_LA57 ? 5 : 4, 8, 9, 3, false};
    if (x->cr4 & CR4_PAE)
        return (struct format){2, 8, 9, 2, true};
    return (struct format){2, 4, 10, x->cr4 & CR4_PSE ? 2 : 1, false};
}

static void entry_read(struct x86 *x, struct entry *e, const struct format *f)
{
    e->at &= x->a20_mask;
    e->host = bus_host(x->mem, e->at, f->entry, true);
    if (!e->host)
        e->value = bus_read(x->mem, e->at, f->entry);
    else if (f->entry == 8)
        e->value = __atomic_load_n((uint64_t *)e->host, __ATOMIC_ACQUIRE);
    else
        e->value = __atomic_load_n((uint32_t *)e->host, __ATOMIC_ACQUIRE);
}

/* Set bits in an entry.  false: it is no longer what was read. */
static bool entry_set(struct x86 *x, struct entry *e, const struct format *f, uint64_t bits)
{
    uint64_t now = e->value | bits;
    if (now == e->value)
        return true;
    if (!e->host) {
        bus_write(x->mem, e->at, now, f->entry);
    } else if (f->entry == 8) {
        if (!__atomic_compare_exchange_n((uint64_t *)e->host, &e->value, now, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_ACQUIRE))
            return false;
    } else {
        uint32_t old = (uint32_t)e->value;
        if (!__atomic_compare_exchange_n((uint32_t *)e->host, &old, (uint32_t)now, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_ACQUIRE))
            return false;
    }
    e->value = now;
    return true;
}

/* Bits that must be zero in a present entry. */
static uint64_t reserved_bits(const struct x86 *x, const struct format *f, unsigned level, bool page)
{
    if (f->entry == 4) /* PSE-36: bits 20..13 are address bits 39..32, bit 21 is reserved (vol. 3, table 4-4) */
        return page && level == 2 ? (1ull << 22) - (1ull << (x86_phys_bits(x) - 19)) : 0;
    uint64_t r = mask_bits(52) & ~mask_bits(x86_phys_bits(x));
    if (f->pae)
        r |= mask_bits(63) & ~mask_bits(52);
    if (!(x->efer & EFER_NXE))
        r |= PTE_NX;
    if (level > f->page_level)
        r |= PTE_PS;
    if (page && level > 1)
        r |= mask_bits(12 + 9 * (level - 1)) & ~mask_bits(13);
    return r;
}

static gpa_t page_base(const struct x86 *x, const struct format *f, unsigned level, uint64_t v)
{
    if (f->entry == 4 && level == 2)
        return (v & 0xffc00000u) | (v >> 13 & 0xff) << 32;
    return v & x86_phys_page(x) & ~mask_bits(12 + f->index_bits * (level - 1));
}

/* What a page's key forbids: bit 0 any data access, bit 1 writes (vol. 3, 4.6.2). */
static unsigned key_rights(const struct x86 *x, uint64_t leaf, bool user_page, unsigned access)
{
    if (!(x->cr4 & (user_page ? CR4_PKE : CR4_PKS)) || !x86_long_mode(x) || access & WALK_FETCH)
        return 0;
    unsigned pair = (user_page ? x->pkru : x->pkrs) >> (leaf >> 59 & 15) * 2 & 3;
    if (pair & 1)
        return 3;
    if (pair & 2 && (access & WALK_USER || x->cr0 & CR0_WP))
        return 2;
    return 0;
}

/* Rights of vol. 3, 4.6.1: r holds P, W, U of all levels and-ed, NX or-ed.  Returns whether the access may go on;
 * *writable: a write could. */
static bool allowed(const struct x86 *x, uint64_t r, unsigned access, bool *writable)
{
    bool user_page = r & PTE_U;
    *writable = r & PTE_W;
    if (access & WALK_FETCH) {
        if (r & PTE_NX)
            return false;
        return access & WALK_USER ? user_page : !(user_page && x->cr4 & CR4_SMEP);
    }
    if (access & WALK_USER) {
        if (!user_page)
            return false;
    } else {
        if (user_page && x->cr4 & CR4_SMAP && (access & WALK_IMPLICIT || !(x->flags & FL_AC)))
            return false;
        if (!(x->cr0 & CR0_WP))
            *writable = true;
    }
    return !(access & WALK_WRITE) || *writable;
}

static uint32_t error_code(const struct x86 *x, unsigned access, uint32_t error)
{
    if (access & WALK_WRITE)
        error |= PF_W;
    if (access & WALK_USER)
        error |= PF_U;
    if (access & WALK_FETCH && (x->cr4 & CR4_SMEP || (x->cr4 & CR4_PAE && x->efer & EFER_NXE)))
        error |= PF_I;
    return error;
}

static bool walk_fails(const struct x86 *x, unsigned access, struct x86_walk *w, uint32_t error)
{
    w->error = error_code(x, access, error);
    return false;
}

/* The leaf is found: check rights, set A and D, answer.  *again: the entry changed meanwhile. */
static bool walk_leaf(struct x86 *x, gva_t gva, unsigned access, const struct format *f, unsigned level,
                      struct entry *e, uint64_t rights, struct x86_walk *w, bool *again)
{
    bool writable = true;
    bool peek = access & WALK_PEEK;
    if (!peek) {
        unsigned key = key_rights(x, e->value, rights & PTE_U, access);
        bool key_denies = key & 1 || (key & 2 && access & WALK_WRITE);
        if (!allowed(x, rights, access, &writable) || key_denies) /* PK is told even when the rights alone deny (4.7) */
            return walk_fails(x, access, w, PF_P | (key_denies ? PF_PK : 0));
        if (key & 2)
            writable = false;
    }
    if (!peek && !entry_set(x, e, f, PTE_A | (access & WALK_WRITE ? PTE_D : 0))) {
        *again = true;
        return false;
    }
    unsigned shift = 12 + f->index_bits * (level - 1);
    w->gpa = (page_base(x, f, level, e->value) | (gva & mask_bits(shift))) & x->a20_mask;
    w->writable = writable && e->value & PTE_D;
    w->user = rights & PTE_U;
    w->fill = (e->value & PTE_G && x->cr4 & CR4_PGE ? TLB_GLOBAL : 0) | (level == 2 ? TLB_LARGE : 0) |
              (level == 3 ? TLB_HUGE : 0);
    return true;
}

static bool walk_once(struct x86 *x, gva_t gva, unsigned access, struct x86_walk *w, bool *again)
{
    struct format f = format_now(x);
    uint64_t rights = PTE_W | PTE_U;
    gpa_t table = x->cr3 & (f.entry == 4 ? 0xfffff000u : x86_phys_page(x));
    if (f.pae) {
        uint64_t top = x->pdpte[gva >> 30 & 3];
        if (!(top & PTE_P))
            return walk_fails(x, access, w, 0);
        table = top & x86_phys_page(x);
    }
    for (unsigned level = f.levels;; level--) {
        unsigned shift = 12 + f.index_bits * (level - 1);
        struct entry e = {.at = table + (gva >> shift & mask_bits(f.index_bits)) * f.entry};
        entry_read(x, &e, &f);
        if (!(e.value & PTE_P))
            return walk_fails(x, access, w, 0);
        bool page = level == 1 || (level <= f.page_level && e.value & PTE_PS);
        if (e.value & reserved_bits(x, &f, level, page))
            return walk_fails(x, access, w, PF_P | PF_RSVD);
        rights = (rights & (e.value | PTE_NX)) | (e.value & PTE_NX);
        if (page)
            return walk_leaf(x, gva, access, &f, level, &e, rights, w, again);
        if (!(access & WALK_PEEK) && !entry_set(x, &e, &f, PTE_A)) {
            *again = true;
            return false;
        }
        table = f.entry == 4 ? e.value & 0xfffff000u : e.value & x86_phys_page(x);
    }
}

bool x86_walk(struct x86 *x, gva_t gva, unsigned access, struct x86_walk *w)
{
    *w = (struct x86_walk){0};
    if (!(x->cr0 & CR0_PG)) {
        w->gpa = gva & x->a20_mask;
        w->writable = w->user = true;
        return true;
    }
    x->count.walks++;
    for (;;) {
        bool again = false;
        if (walk_once(x, gva, access, w, &again))
            return true;
        if (!again)
            return false;
    }
}

unsigned x86_walk_access(const struct x86 *x, unsigned desc)
{
    unsigned a = desc & (MD_WRITE | MD_RMW) ? WALK_WRITE : WALK_READ;
    if (desc & MD_SYSTEM)
        return a | WALK_IMPLICIT;
    return x86_cpl(x) == 3 ? a | WALK_USER : a;
}

unsigned x86_table_kind(const struct x86 *x, unsigned access)
{
    bool user = access & WALK_USER;
    if (access & WALK_FETCH)
        return user ? TLB_X_USER : TLB_X_SUP;
    if (user && x->cr0 & CR0_AM && x->flags & FL_AC)
        return TLB_NONE; /* alignment is checked: slow path, see exec/slow.c */
    bool ac = !(x->cr4 & CR4_SMAP) || (!(access & WALK_IMPLICIT) && x->flags & FL_AC);
    if (access & WALK_WRITE)
        return user ? TLB_W_USER : ac ? TLB_W_SUPAC : TLB_W_SUP;
    return user ? TLB_R_USER : ac ? TLB_R_SUPAC : TLB_R_SUP;
}
