/* tlb.c: one vCPU's cache of guest page walks, as sparse linear tables that generated code reads.
 *
 * Each address-space slot has one table a kind (see mem.h), reserved when first asked for.  A table is made of leaves:
 *
 *     | 2^n entries of 8 bytes: what generated code reads | 2^n bytes: META_ bits of each entry |
 *
 * Direct tables are one leaf of 2^36 entries, which is half a terabyte of address space: the host has room for 24
 * slots of them.  With more than DIRECT_VCPUS processors tables have two levels: a top of 512 pointers to leaves of
 * 2^27 entries (512 GB of guest addresses each, as one entry of the guest's own top-level page table).  Leaves come
 * from the vCPU's pool when first filled; what is not there points to a leaf that stays empty, so readers need not
 * look.  When the pool runs dry everything is dropped and it begins anew.
 *
 * Beside each table there are two logs of the pages that were ever filled, each once a log: one of global entries, one
 * of others.  So a flush touches only what it may drop, and switching to another of a hundred processes does not
 * depend on how much of the kernel is in the table.  When a log is full the table is emptied by giving its memory back.
 *
 * Finding what INVLPG must drop without looking everywhere (Intel SDM vol. 3A 4.10.4.1: INVLPG drops the page in the
 * current PCID, and global translations of it in all) needs four more sparse maps:
 *     slot.touched    a byte a 4 MB region: in which kinds there ever was an entry
 *     global_page     a byte a page:  which slots may have a global entry for it, from a 4 KB page
 *     large           for each 4 MB region: which slots were filled from a large page there, and which of those from
 *                     a global one
 *     huge            the same for 1 GB regions
 * These say "may": a bit too many costs a look, a bit too few would leave a stale entry behind.  So fills set bits
 * first, and only a drop of everything that a bit stands for clears it.
 *
 * Finding the writable entries of one host page (tlb_drop_writes) uses `writes`, a set-associative index by host page
 * of where W entries were filled.  It may list entries that are gone; it lists all that are there, unless the set is
 * marked as overflowed: then all W logs are searched.
 *
 * Rules to know before editing
 *   - Everything here belongs to the vCPU's own thread; there is no lock.
 *   - A processor may drop cached translations at any time (SDM vol. 3A 4.10.2.4), so what falls out of a full log
 *     harms nobody, except that jump caches rest on X entries: see x_lost.
 */
#include "mem/mem.h"

#include <stdlib.h>
#include <string.h>

#define PAGES      (1ull << 36) /* of the guest's 48 bits */
#define PAGES_MASK (PAGES - 1)

enum {
    META_LOGGED = 1,        /* the page is in the log of others */
    META_LOGGED_GLOBAL = 2, /* ... of global ones */
    META_GLOBAL = 4,        /* the entry survives a non-global flush */
};
enum { LOG_OTHER, LOG_GLOBAL, LOGS };
enum {
    VCPUS_MAX = 255,
#ifdef __SANITIZE_ADDRESS__
    SLOTS_OF_HOST = 16, /* its shadow takes some 20 TB */
#else
    SLOTS_OF_HOST = 24, /* direct tables, all vCPUs together: 24 * 8 of 0.56 TB of the host's 128 */
#endif
    DIRECT_VCPUS = 8,
    DIRECT_BITS = 36, /* entries of a leaf, as a shift */
    LEAF_BITS = 27,
    TOP_ENTRIES = 1 << (36 - LEAF_BITS),
    LEAVES_MAX = 256,  /* of one vCPU: 288 GB */
    LOG_MAX = 1 << 18, /* pages of one log; 1 GB of guest memory */
    LARGE_BITS = 10,   /* pages in a region of 4 MB, the largest "large" page, as a shift */
    HUGE_BITS = 18,    /* pages in a 1 GB region */
    REGIONS_LARGE = 1 << (36 - LARGE_BITS),
    REGIONS_HUGE = 1 << (36 - HUGE_BITS),
    W_KINDS = 1 << TLB_W_USER | 1 << TLB_W_SUP | 1 << TLB_W_SUPAC,
    X_KINDS = 1 << TLB_X_USER | 1 << TLB_X_SUP,
    WRITES_SETS = 1 << 14,
    WRITES_WAYS = 8,
};
/* A writable fill in the index: slot << 40 | kind << 37 | 1 << 36 | page; never zero. */
#define WRITE_PRESENT  (1ull << 36)
#define WRITE_OVERFLOW (~0ull)

struct table {
    uint8_t **top; /* leaves, by the high bits of the page; NULL: not asked for yet */
    uint8_t *one;  /* direct: the only leaf */
    uint64_t *log[LOGS];
    unsigned nlog[LOGS];
};

struct slot {
    struct table table[TLB_KINDS];
    uint8_t *touched;
    unsigned kinds; /* bits of those with a table */
};

struct region {
    uint8_t filled, global; /* bits of slots */
};

struct tlb {
    unsigned nslots;
    unsigned bits; /* entries of a leaf, as a shift */
    uint8_t *empty, *leaf[LEAVES_MAX];
    unsigned nleaves, nused; /* reserved; handed to tables */
    bool overflowed;         /* some set of `writes` is */
    bool x_lost;             /* X entries fell out of a full log: nobody was told */
    struct slot *slot;
    uint8_t *global_page;
    struct region *large, *huge;
    uint64_t (*writes)[WRITES_WAYS];
    struct remembered {
        uint64_t *word, none;
        unsigned n;
    } remembered[3]; /* see tlb_remembered */
};

/* ---- making and giving back -------------------------------------------------------------------------------- */

static void *reserve_small(size_t size)
{
    void *p = os_reserve(size);
    if (p)
        os_prefer_small(p, size);
    return p;
}

static size_t leaf_size(unsigned bits)
{
    return (size_t)9 << bits;
}

/* What the table's pages lead to before anything is filled. */
static bool table_make(const struct tlb *t, struct table *tab)
{
    if (t->bits == DIRECT_BITS) {
        tab->one = reserve_small(leaf_size(t->bits));
        tab->top = tab->one ? &tab->one : NULL;
        return tab->one != NULL;
    }
    tab->top = reserve_small(TOP_ENTRIES * sizeof(tab->top[0]));
    for (unsigned i = 0; tab->top && i < TOP_ENTRIES; i++)
        tab->top[i] = t->empty;
    return tab->top != NULL;
}

static bool slot_reserve(const struct tlb *t, struct slot *s, enum tlb_kind kind)
{
    struct table *tab = &s->table[kind];

    if (tab->top)
        return true;
    if (!s->touched)
        s->touched = reserve_small(REGIONS_LARGE);
    for (unsigned l = 0; l < LOGS; l++) {
        if (!tab->log[l])
            tab->log[l] = reserve_small(LOG_MAX * sizeof(uint64_t));
        if (!tab->log[l])
            return false;
    }
    if (!s->touched || !table_make(t, tab))
        return false;
    s->kinds |= 1u << kind;
    return true;
}

bool tlb_two_levels(unsigned nvcpus)
{
#ifdef RHEA_TWO_LEVELS /* thread sanitizer: it leaves little address space */
    (void)nvcpus;
    return true;
#else
    return nvcpus > DIRECT_VCPUS;
#endif
}

static unsigned slots_for(unsigned nvcpus)
{
    unsigned n = tlb_two_levels(nvcpus) ? TLB_SLOTS_MAX : SLOTS_OF_HOST / nvcpus;
    return n < TLB_SLOTS_MAX ? n : TLB_SLOTS_MAX;
}

bool tlb_init(struct tlb **out, unsigned nvcpus, struct status *st)
{
    if (nvcpus == 0 || nvcpus > VCPUS_MAX)
        return status_set(st, "%u vCPUs: there are translation tables for 1 to %d", nvcpus, VCPUS_MAX);
    struct tlb *t = calloc(1, sizeof(*t));
    if (!t)
        return status_set(st, "translation tables: no memory");
    t->nslots = slots_for(nvcpus);
    t->bits = tlb_two_levels(nvcpus) ? LEAF_BITS : DIRECT_BITS;
    t->empty = t->bits == DIRECT_BITS ? NULL : reserve_small(leaf_size(t->bits));
    t->slot = calloc(t->nslots, sizeof(t->slot[0]));
    t->global_page = reserve_small(PAGES);
    t->large = reserve_small(REGIONS_LARGE * sizeof(t->large[0]));
    t->huge = reserve_small(REGIONS_HUGE * sizeof(t->huge[0]));
    t->writes = reserve_small(WRITES_SETS * sizeof(t->writes[0]));
    /* One table now, so that a host that refuses is known before the guest runs. */
    if ((t->bits != DIRECT_BITS && !t->empty) || !t->slot || !t->global_page || !t->large || !t->huge || !t->writes ||
        !slot_reserve(t, &t->slot[0], TLB_R_SUP)) {
        tlb_fini(t);
        return status_set(st,
                          "the host refused to reserve address space for translation tables (576 GB each); check that "
                          "`ulimit -v` is unlimited and vm.overcommit_memory is not 2");
    }
    *out = t;
    return true;
}

static void release(void *p, size_t size)
{
    if (p)
        os_release(p, size);
}

void tlb_fini(struct tlb *t)
{
    if (!t)
        return;
    for (unsigned i = 0; t->slot && i < t->nslots; i++) {
        for (unsigned k = 0; k < TLB_KINDS; k++) {
            if (t->bits == DIRECT_BITS)
                release(t->slot[i].table[k].one, leaf_size(t->bits));
            else
                release(t->slot[i].table[k].top, TOP_ENTRIES * sizeof(uint8_t *));
            for (unsigned l = 0; l < LOGS; l++)
                release(t->slot[i].table[k].log[l], LOG_MAX * sizeof(uint64_t));
        }
        release(t->slot[i].touched, REGIONS_LARGE);
    }
    for (unsigned i = 0; i < t->nleaves; i++)
        release(t->leaf[i], leaf_size(t->bits));
    release(t->empty, leaf_size(t->bits));
    release(t->global_page, PAGES);
    release(t->large, REGIONS_LARGE * sizeof(t->large[0]));
    release(t->huge, REGIONS_HUGE * sizeof(t->huge[0]));
    release(t->writes, WRITES_SETS * sizeof(t->writes[0]));
    free(t->slot);
    free(t);
}

unsigned tlb_slots(const struct tlb *t)
{
    return t->nslots;
}

uint8_t *tlb_table(const struct tlb *t, unsigned slot, enum tlb_kind kind)
{
    rh_assert(slot < t->nslots && kind < TLB_KINDS, "slot %u of %u, kind %d", slot, t->nslots, kind);
    bool there = slot_reserve(t, &t->slot[slot], kind);
    rh_assert(there, "the host refused address space for a translation table; run with fewer vCPUs");
    const struct table *tab = &t->slot[slot].table[kind];
    return t->bits == DIRECT_BITS ? tab->one : (uint8_t *)tab->top + TLB_TWO_LEVELS;
}

/* ---- entries that others remember --------------------------------------------------------------------------- */

void tlb_remembered(struct tlb *t, unsigned which, uint64_t *word, unsigned n, uint64_t none)
{
    t->remembered[which] = (struct remembered){word, none, n};
}

static void forget(struct tlb *t)
{
    for (unsigned k = 0; k < ARRAY_LEN(t->remembered); k++)
        for (unsigned i = 0; i < t->remembered[k].n; i++)
            t->remembered[k].word[i] = t->remembered[k].none;
}

/* ---- one entry --------------------------------------------------------------------------------------------- */

static uint64_t page_of(gva_t gva)
{
    return gva >> 12 & PAGES_MASK;
}

static gva_t gva_of(uint64_t page)
{
    return (gva_t)sign_extend(page << 12, 48);
}

static uint64_t *entry_of(const struct tlb *t, const struct table *tab, uint64_t page)
{
    return (uint64_t *)(void *)tab->top[page >> t->bits] + (page & mask_bits(t->bits));
}

static uint8_t *meta_of(const struct tlb *t, const struct table *tab, uint64_t page)
{
    return tab->top[page >> t->bits] + ((size_t)8 << t->bits) + (page & mask_bits(t->bits));
}

/* Both logs as one; a page may be in both. */
static unsigned logged(const struct table *tab)
{
    return tab->nlog[LOG_OTHER] + tab->nlog[LOG_GLOBAL];
}

static uint64_t logged_page(const struct table *tab, unsigned i)
{
    unsigned n = tab->nlog[LOG_OTHER];
    return i < n ? tab->log[LOG_OTHER][i] : tab->log[LOG_GLOBAL][i - n];
}

/* Drop one entry; its place in the log stays.  Returns whether there was one. */
static unsigned entry_drop(const struct tlb *t, const struct table *tab, uint64_t page)
{
    uint64_t *e = entry_of(t, tab, page);
    unsigned had = *e != 0;

    if (had)
        *e = 0;
    return had;
}

/* ---- the index of writable entries ------------------------------------------------------------------------- */

static uint64_t *writes_set(const struct tlb *t, uint64_t host)
{
    return t->writes[(host >> 12 ^ host >> 26) & (WRITES_SETS - 1)];
}

/* The host page that entry e of a page leads to. */
static uint64_t host_of(uint64_t e, uint64_t page)
{
    return (e + gva_of(page)) & ~0xfffull;
}

/* The same for the entry behind an index record; 0 if it was dropped. */
static uint64_t writes_host(const struct tlb *t, uint64_t record, uint64_t **entry)
{
    uint64_t page = record & PAGES_MASK;
    uint64_t *e = entry_of(t, &t->slot[record >> 40].table[record >> 37 & 7], page);

    *entry = e;
    return *e ? host_of(*e, page) : 0;
}

static void writes_add(struct tlb *t, unsigned slot, unsigned kind, uint64_t page, uint64_t host)
{
    uint64_t record = (uint64_t)slot << 40 | (uint64_t)kind << 37 | WRITE_PRESENT | page;
    uint64_t *set = writes_set(t, host), *entry;

    if (set[0] == WRITE_OVERFLOW)
        return;
    for (unsigned i = 0; i < WRITES_WAYS; i++)
        if (set[i] == 0 || set[i] == record) {
            set[i] = record;
            return;
        }
    for (unsigned i = 0; i < WRITES_WAYS; i++) {
        uint64_t other = writes_host(t, set[i], &entry);
        if (!other || writes_set(t, other) != set) {
            set[i] = record;
            return;
        }
    }
    set[0] = WRITE_OVERFLOW;
    t->overflowed = true;
}

/* Read every W log: drop the entries that lead to the host page, and list the others of its set anew. */
static unsigned writes_search(struct tlb *t, uint64_t host)
{
    uint64_t *set = writes_set(t, host);
    unsigned dropped = 0;

    memset(set, 0, sizeof(t->writes[0]));
    for (unsigned s = 0; s < t->nslots; s++)
        for (unsigned k = TLB_W_USER; k <= TLB_W_SUPAC; k++) {
            const struct table *tab = &t->slot[s].table[k];
            for (unsigned i = 0; i < logged(tab); i++) {
                uint64_t page = logged_page(tab, i), e = *entry_of(t, tab, page), to = host_of(e, page);
                if (e && to == host)
                    dropped += entry_drop(t, tab, page);
                else if (e && writes_set(t, to) == set)
                    writes_add(t, s, k, page, to);
            }
        }
    return dropped;
}

unsigned tlb_drop_writes(struct tlb *t, const struct ram *r, const uint8_t *host)
{
    uint64_t page = ram_page_of_host(r, host), *entry;
    unsigned dropped = 0;

    if (page == UINT64_MAX || !(__atomic_load_n(&r->flags[page], __ATOMIC_SEQ_CST) & RAM_WMAPPED))
        return 0;
    forget(t);
    uint64_t at = (uint64_t)(uintptr_t)host & ~0xfffull;
    uint64_t *set = writes_set(t, at);
    if (set[0] == WRITE_OVERFLOW)
        return writes_search(t, at);
    for (unsigned i = 0; i < WRITES_WAYS && set[i]; i++)
        if (writes_host(t, set[i], &entry) == at) {
            *entry = 0;
            dropped++;
        }
    return dropped;
}

/* ---- filling ----------------------------------------------------------------------------------------------- */

/* Drop the whole table, without a look at its log.  The maps that say "may" stay as they are. */
static void table_empty(struct tlb *t, struct table *tab, unsigned kind)
{
    for (uint64_t i = 0; i < PAGES >> t->bits; i++)
        if (tab->top[i] != t->empty)
            os_discard(tab->top[i], leaf_size(t->bits));
    tab->nlog[LOG_OTHER] = tab->nlog[LOG_GLOBAL] = 0;
    forget(t);
    if (1u << kind & X_KINDS)
        t->x_lost = true;
}

/* The pool ran dry: every table gives its leaves back. */
static void leaves_take_back(struct tlb *t)
{
    for (unsigned s = 0; s < t->nslots; s++)
        for (unsigned kinds = t->slot[s].kinds; kinds; kinds &= kinds - 1) {
            unsigned kind = (unsigned)__builtin_ctz(kinds);
            table_empty(t, &t->slot[s].table[kind], kind);
            for (unsigned i = 0; i < TOP_ENTRIES; i++)
                t->slot[s].table[kind].top[i] = t->empty;
        }
    t->nused = 0;
}

/* Make sure that the page's entry can be written. */
static void leaf_need(struct tlb *t, struct table *tab, uint64_t page)
{
    uint8_t **leaf = &tab->top[page >> t->bits];

    if (*leaf != t->empty)
        return;
    if (t->nused == LEAVES_MAX)
        leaves_take_back(t);
    if (t->nused == t->nleaves) {
        t->leaf[t->nleaves] = reserve_small(leaf_size(t->bits));
        rh_assert(t->leaf[t->nleaves], "the host refused address space for a translation table; run with fewer vCPUs");
        t->nleaves++;
    }
    *leaf = t->leaf[t->nused++];
}

static void region_mark(struct region *r, unsigned slot, unsigned flags)
{
    r->filled |= (uint8_t)(1u << slot);
    if (flags & TLB_GLOBAL)
        r->global |= (uint8_t)(1u << slot);
}

static void log_page(struct tlb *t, struct table *tab, enum tlb_kind kind, uint64_t page, unsigned log)
{
    uint8_t *meta = meta_of(t, tab, page), bit = log == LOG_GLOBAL ? META_LOGGED_GLOBAL : META_LOGGED;
    if (!(*meta & bit)) {
        if (tab->nlog[log] == LOG_MAX)
            table_empty(t, tab, kind);
        tab->log[log][tab->nlog[log]++] = page;
    }
    *meta = (uint8_t)((*meta & (META_LOGGED | META_LOGGED_GLOBAL)) | bit | (log == LOG_GLOBAL ? META_GLOBAL : 0));
}

void tlb_fill(struct tlb *t, unsigned slot, enum tlb_kind kind, gva_t gva, uint64_t entry, unsigned flags)
{
    uint64_t page = page_of(gva);
    struct slot *s = &t->slot[slot];
    struct table *tab = &s->table[kind];

    rh_assert(kind <= TLB_R_SUPAC || (gva & ~0xfffull) == gva_of(page),
              "fill of 0x%llx, which the index does not tell whole", (unsigned long long)gva);
    rh_assert(entry, "fill of 0x%llx with nothing", (unsigned long long)gva);
    tlb_table(t, slot, kind);
    leaf_need(t, tab, page);
    log_page(t, tab, kind, page, flags & TLB_GLOBAL ? LOG_GLOBAL : LOG_OTHER);
    s->touched[page >> LARGE_BITS] |= (uint8_t)(1u << kind);
    if (flags & TLB_HUGE)
        region_mark(&t->huge[page >> HUGE_BITS], slot, flags);
    else if (flags & TLB_LARGE)
        region_mark(&t->large[page >> LARGE_BITS], slot, flags);
    else if (flags & TLB_GLOBAL)
        t->global_page[page] |= (uint8_t)(1u << slot);
    *entry_of(t, tab, page) = entry;
    if (1u << kind & W_KINDS)
        writes_add(t, slot, kind, page, host_of(entry, page));
}

/* ---- flushing ---------------------------------------------------------------------------------------------- */

static unsigned table_flush(struct tlb *t, struct table *tab, bool keep_global)
{
    unsigned dropped = 0;

    for (unsigned i = 0; i < tab->nlog[LOG_OTHER]; i++) {
        uint64_t page = tab->log[LOG_OTHER][i], *e = entry_of(t, tab, page);
        uint8_t *meta = meta_of(t, tab, page);
        *meta &= (uint8_t)~META_LOGGED;
        if (*meta & META_GLOBAL) /* it became global: the other log has it */
            continue;
        dropped += *e != 0;
        *e = 0;
    }
    tab->nlog[LOG_OTHER] = 0;
    if (keep_global)
        return dropped;
    for (unsigned i = 0; i < tab->nlog[LOG_GLOBAL]; i++) {
        uint64_t page = tab->log[LOG_GLOBAL][i], *e = entry_of(t, tab, page);
        dropped += *e != 0;
        *e = 0;
        *meta_of(t, tab, page) = 0;
    }
    tab->nlog[LOG_GLOBAL] = 0;
    return dropped;
}

static unsigned x_bit(unsigned kind)
{
    return kind == TLB_X_USER ? TLB_X_OF_USER : kind == TLB_X_SUP ? TLB_X_OF_SUP : 0;
}

unsigned tlb_flush_slot(struct tlb *t, unsigned slot, bool keep_global, unsigned *x_dropped)
{
    struct slot *s = &t->slot[slot];
    unsigned dropped = 0;

    forget(t);
    for (unsigned kinds = s->kinds; kinds; kinds &= kinds - 1) {
        unsigned kind = (unsigned)__builtin_ctz(kinds);
        unsigned n = table_flush(t, &s->table[kind], keep_global);
        dropped += n;
        if (n)
            *x_dropped |= x_bit(kind);
    }
    if (t->x_lost)
        *x_dropped |= TLB_X_LOST;
    return dropped;
}

unsigned tlb_flush_all(struct tlb *t, unsigned *x_dropped)
{
    unsigned dropped = 0;

    for (unsigned s = 0; s < t->nslots; s++)
        dropped += tlb_flush_slot(t, s, false, x_dropped);
    /* No entry is left: all that the caller derived from X entries goes now, and overflowed sets can begin anew. */
    t->x_lost = false;
    if (t->overflowed)
        os_discard(t->writes, WRITES_SETS * sizeof(t->writes[0]));
    t->overflowed = false;
    return dropped;
}

static unsigned slot_drop_page(const struct tlb *t, struct slot *s, uint64_t page, unsigned *x_dropped)
{
    unsigned dropped = 0;

    if (!s->touched)
        return 0;
    for (unsigned kinds = s->touched[page >> LARGE_BITS]; kinds; kinds &= kinds - 1) {
        unsigned kind = (unsigned)__builtin_ctz(kinds);
        unsigned n = entry_drop(t, &s->table[kind], page);
        dropped += n;
        if (n)
            *x_dropped |= x_bit(kind);
    }
    return dropped;
}

static unsigned slot_drop_large(const struct tlb *t, struct slot *s, uint64_t page, unsigned *x_dropped)
{
    uint64_t first = page >> LARGE_BITS << LARGE_BITS;
    unsigned dropped = 0;

    for (uint64_t p = first; p < first + (1u << LARGE_BITS); p++)
        dropped += slot_drop_page(t, s, p, x_dropped);
    return dropped;
}

static unsigned slot_drop_huge(const struct tlb *t, struct slot *s, uint64_t page, unsigned *x_dropped)
{
    unsigned dropped = 0;

    for (unsigned k = 0; k < TLB_KINDS; k++) {
        const struct table *tab = &s->table[k];
        for (unsigned i = 0; i < logged(tab); i++)
            if (logged_page(tab, i) >> HUGE_BITS == page >> HUGE_BITS)
                dropped += slot_drop_page(t, s, logged_page(tab, i), x_dropped);
    }
    return dropped;
}

/* Take the slots that INVLPG in `slot` concerns out of r, and return them. */
static unsigned region_take(struct region *r, unsigned slot)
{
    unsigned slots = (r->filled & 1u << slot) | r->global;

    if (slots) {
        r->filled &= (uint8_t)~slots;
        r->global = 0;
    }
    return slots;
}

unsigned tlb_flush_page(struct tlb *t, unsigned slot, gva_t gva, unsigned *x_dropped)
{
    uint64_t page = page_of(gva);
    unsigned dropped = 0;
    forget(t);
    unsigned one = 1u << slot | t->global_page[page];
    unsigned large = region_take(&t->large[page >> LARGE_BITS], slot);
    unsigned huge = region_take(&t->huge[page >> HUGE_BITS], slot);

    if (t->global_page[page])
        t->global_page[page] = 0;
    for (; one; one &= one - 1)
        dropped += slot_drop_page(t, &t->slot[__builtin_ctz(one)], page, x_dropped);
    for (; large; large &= large - 1)
        dropped += slot_drop_large(t, &t->slot[__builtin_ctz(large)], page, x_dropped);
    for (; huge; huge &= huge - 1)
        dropped += slot_drop_huge(t, &t->slot[__builtin_ctz(huge)], page, x_dropped);
    if (t->x_lost)
        *x_dropped |= TLB_X_LOST;
    return dropped;
}

/* ---- for the monitor --------------------------------------------------------------------------------------- */

void tlb_each(const struct tlb *t, unsigned slot, void (*fn)(void *arg, enum tlb_kind k, gva_t gva, uint64_t entry),
              void *arg)
{
    for (unsigned k = 0; k < TLB_KINDS; k++) {
        const struct table *tab = &t->slot[slot].table[k];
        for (unsigned i = 0; i < logged(tab); i++) {
            uint64_t page = logged_page(tab, i), e = *entry_of(t, tab, page);
            bool twice = i >= tab->nlog[LOG_OTHER] && *meta_of(t, tab, page) & META_LOGGED;
            if (e && !twice)
                fn(arg, (enum tlb_kind)k, gva_of(page), e);
        }
    }
}
