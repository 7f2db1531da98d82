/* page.c: which RAM pages hold translated code, and what stores to them do.
 *
 * A marked page (RAM_CODE in marks) is in no W table, so every store to it comes to code_write.  That looks at the
 * page's bitmap of 64-byte lines first, without a lock: most stores near code hit none of it.  Otherwise it takes the
 * lock and compares bytes.
 *
 * A translator reads guest bytes without a lock, so the bytes may be stored to before its block is known here.  Each
 * store to a marked page is therefore remembered in a ring of the last CODE_STORES ones, counted by `stores`:
 *
 *     translator: v = stores, mark page, read bytes, ..., enter lines, look at the stores since v, enter block
 *     writer:     write bytes, stores++, look at lines
 *
 * Both sides write their word before they read the other's, sequentially consistent, so at least one sees the other.
 * An entry ("turn": how often the ring had come round, to know it from an old one):
 *
 *     63      57 56      45 44      32 31        0
 *     |  turn   |  offset  |  length  |   page    |
 *
 * When a page's last block goes, so does its mark; whoever is translating from it must then fail, as stores are no
 * longer seen: that is remembered as a store to the whole page.  A mark without blocks (nobody committed) goes after
 * MARK_IDLE further stores to such pages.  So does that of a page whose last block went by a store more than KEEP_MARK
 * times: it will have another soon.
 *
 * A page's list of blocks holds numbers of blocks, doubled, with bit 0 telling which of the block's two pages this is;
 * the next one is in page_next of struct block or struct block_second.
 */
#include "code/internal.h"

enum { MARK_IDLE = 1024, KEEP_MARK = 2 };

bool pages_init(struct code *c)
{
    c->page = os_reserve(c->max_pages * sizeof(c->page[0]));
    return c->page != NULL;
}

void pages_fini(struct code *c)
{
    if (c->page)
        os_release(c->page, c->max_pages * sizeof(c->page[0]));
}

/* ---- where a block lies ------------------------------------------------------------------------------------ */

struct part block_part(const struct block *b, unsigned which)
{
    unsigned off = (unsigned)(b->gpa % PAGE_BYTES), first = b->guest_size;

    if (b->two_pages && first > PAGE_BYTES - off)
        first = PAGE_BYTES - off;
    if (which == 0)
        return (struct part){off, first};
    return (struct part){0, b->guest_size - first};
}

static bool parts_overlap(struct part a, struct part b)
{
    return a.off < b.off + b.len && b.off < a.off + a.len;
}

static uint64_t part_lines(struct part p)
{
    if (p.len == 0)
        return 0;
    return mask_bits((p.off + p.len - 1) / 64 + 1) & ~mask_bits(p.off / 64);
}

/* ---- the ring of stores ------------------------------------------------------------------------------------ */

/* From 1, so that an entry never written is not one of the first turn. */
static uint32_t store_turn(uint32_t n)
{
    return (n / CODE_STORES + 1) & 0x7f;
}

static uint64_t store_entry(uint32_t n, uint64_t page, struct part p)
{
    return (uint64_t)store_turn(n) << 57 | (uint64_t)p.off << 45 | (uint64_t)p.len << 32 | (uint32_t)page;
}

void store_remember(struct code *c, uint64_t page, struct part p)
{
    uint32_t n = __atomic_fetch_add(&c->stores, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&c->store[n % CODE_STORES], store_entry(n, page, p), __ATOMIC_RELEASE);
}

/* Whether bytes p of the page may have been stored to since `seen`. */
static bool store_since(const struct code *c, uint32_t seen, uint64_t page, struct part p)
{
    uint32_t now = __atomic_load_n(&c->stores, __ATOMIC_SEQ_CST);

    /* Half of the ring is left to writers that are at it right now. */
    if (now - seen > CODE_STORES / 2)
        return true;
    for (uint32_t n = seen; n != now; n++) {
        uint64_t e = __atomic_load_n(&c->store[n % CODE_STORES], __ATOMIC_ACQUIRE);
        struct part stored = {(unsigned)(e >> 45 & 0xfff), (unsigned)(e >> 32 & 0x1fff)};
        if (e >> 57 != store_turn(n))
            return true; /* counted, not yet written down */
        if ((uint32_t)e == (uint32_t)page && parts_overlap(stored, p))
            return true;
    }
    return false;
}

void pages_spoil_all(struct code *c)
{
    __atomic_fetch_add(&c->stores, CODE_STORES, __ATOMIC_SEQ_CST);
}

/* ---- lists and marks --------------------------------------------------------------------------------------- */

static void page_unmark(struct code *c, uint64_t page)
{
    __atomic_fetch_and(&c->marks[page], (uint8_t)~MARK_CODE, __ATOMIC_SEQ_CST);
    live_forget(c, page);
    store_remember(c, page, (struct part){0, PAGE_BYTES});
}

/* Make the lines those of the blocks in the list. */
static void page_set_lines(struct code *c, uint64_t page)
{
    uint64_t lines = 0;

    for (uint32_t e = c->page[page].blocks; e; e = *list_next(c, e))
        lines |= part_lines(block_part(list_block(c, e), e & 1));
    __atomic_store_n(&c->page[page].lines, lines, __ATOMIC_SEQ_CST);
    c->page[page].loose = false;
}

/* Bytes p of the page have fewer blocks than before. */
static void page_changed(struct code *c, uint64_t page, struct part p)
{
    page_set_lines(c, page);
    chart_update(c, page, p);
}

/* Lines go with the lock held only, so what is there need not be written: who stored before it was is seen by store_since. */
static void lines_add(struct code_page *page, uint64_t lines)
{
    if (lines & ~__atomic_load_n(&page->lines, __ATOMIC_RELAXED))
        __atomic_fetch_or(&page->lines, lines, __ATOMIC_SEQ_CST);
}

bool pages_add(struct code *c, struct block *b, const uint32_t seen[2])
{
    unsigned n = 1 + b->two_pages;
    bool stored = false;

    rh_assert(b->gpa % PAGE_BYTES + b->guest_size <= n * PAGE_BYTES, "block at 0x%llx: %u bytes on %u page(s)",
              (unsigned long long)b->gpa, b->guest_size, n);
    for (unsigned i = 0; i < n; i++) {
        struct part p = block_part(b, i);
        uint32_t page = block_page(b, i);
        rh_assert(page < c->max_pages, "page %u of %llu", page, (unsigned long long)c->max_pages);
        lines_add(&c->page[page], part_lines(p));
        stored |= store_since(c, seen[i], page, p);
    }
    for (unsigned i = 0; i < n; i++) {
        uint32_t index = block_page(b, i), e = list_entry(c, b, i);
        struct code_page *page = &c->page[index];
        if (stored) {
            page_set_lines(c, index);
        } else {
            uint8_t mark = __atomic_load_n(&c->marks[index], __ATOMIC_RELAXED);
            rh_assert(mark & MARK_CODE, "page %u got a block and is not marked", index);
            *list_next(c, e) = page->blocks;
            page->blocks = e;
            chart_add(c, index, block_part(b, i));
        }
    }
    return !stored;
}

/* Many blocks of a page are evicted one after the other: then lines are found out when a store asks. */
void pages_remove(struct code *c, struct block *b, enum block_death why)
{
    for (unsigned i = 0; i < 1u + b->two_pages; i++) {
        uint32_t index = block_page(b, i), e = list_entry(c, b, i);
        struct code_page *page = &c->page[index];
        uint32_t *at = &page->blocks;
        while (*at != e)
            at = list_next(c, *at);
        *at = *list_next(c, e);
        if (why == DEAD_EVICTED && page->blocks)
            page->loose = true;
        else
            page_changed(c, index, block_part(b, i));
        if (page->blocks)
            continue;
        if ((why != DEAD_WRITE && why != ASLEEP) || page->emptied < KEEP_MARK)
            page_unmark(c, index);
        page->emptied += page->emptied < KEEP_MARK;
    }
}

uint32_t code_page_begin(struct code *c, uint64_t page, bool *fresh)
{
    rh_assert(page < c->max_pages, "page %llu of %llu", (unsigned long long)page, (unsigned long long)c->max_pages);
    /* Read before the mark is set: if the mark is taken away again, that is then always a store since `version`. */
    uint32_t version = __atomic_load_n(&c->stores, __ATOMIC_SEQ_CST);
    /* Who sees the mark sees what was written before it was set.  Should it go from now on, that is a store, too. */
    *fresh = !(__atomic_load_n(&c->marks[page], __ATOMIC_SEQ_CST) & MARK_CODE) &&
             !(__atomic_fetch_or(&c->marks[page], MARK_CODE, __ATOMIC_SEQ_CST) & MARK_CODE);
    if (*fresh)
        __atomic_fetch_add(&c->counts.pages, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&c->page[page].begun, version, __ATOMIC_RELAXED);
    return version;
}

/* ---- stores ------------------------------------------------------------------------------------------------ */

/* The next block of the list from e on that the store overlaps; 0 if none. */
static uint32_t page_overlap(const struct code *c, uint32_t e, struct part p)
{
    while (e && !parts_overlap(block_part(list_block(c, e), e & 1), p))
        e = *list_next(c, e);
    return e;
}

static bool page_lines_hit(const struct code *c, uint64_t page, struct part p)
{
    return __atomic_load_n(&c->page[page].lines, __ATOMIC_SEQ_CST) & part_lines(p);
}

/* A store to a page without blocks: take a mark away that nobody seems to be using. */
static void page_unmark_idle(struct code *c, uint64_t page)
{
    struct code_page *cp = &c->page[page];
    uint32_t idle = __atomic_load_n(&c->stores, __ATOMIC_RELAXED) - __atomic_load_n(&cp->begun, __ATOMIC_RELAXED);

    if (idle < MARK_IDLE)
        return;
    pthread_mutex_lock(&c->lock);
    if (!cp->blocks) {
        cp->emptied = 0;
        page_unmark(c, page);
    }
    pthread_mutex_unlock(&c->lock);
}

unsigned page_drop(struct code *c, uint64_t page, struct part p, enum block_death why)
{
    unsigned dropped = 0;

    /* From the start each time: a block may be in the list twice, and dropping it takes both away. */
    for (uint32_t e; (e = page_overlap(c, c->page[page].blocks, p)); dropped++)
        block_drop(c, list_block(c, e), why);
    return dropped;
}

/* With the lock held. */
static unsigned page_store(struct code *c, uint64_t page, struct part p, const struct block *self, bool *hit_self,
                           enum block_death why)
{
    if (live_covers(c, page, p))
        return 0;
    if (c->page[page].loose)
        page_changed(c, page, (struct part){0, PAGE_BYTES});
    for (uint32_t e = c->page[page].blocks; self && (e = page_overlap(c, e, p)); e = *list_next(c, e))
        if (list_block(c, e) == self) {
            *hit_self = true;
            return 0;
        }
    unsigned dropped = page_drop(c, page, p, why);
    if (dropped)
        live_note(c, page, p);
    return dropped;
}

static unsigned stored(struct code *c, uint64_t page, unsigned off, unsigned len, const struct block *self,
                       bool *hit_self, enum block_death why)
{
    struct part p = {off, len};
    unsigned dropped = 0;

    rh_assert(page < c->max_pages && off + len <= PAGE_BYTES, "page %llu, %u bytes at %u", (unsigned long long)page,
              len, off);
    *hit_self = false;
    /* A read-modify-write, because the caller's store of the bytes must come before the look at the mark. */
    if (len == 0 || !(__atomic_fetch_or(&c->marks[page], 0, __ATOMIC_SEQ_CST) & MARK_CODE))
        return 0;
    store_remember(c, page, p);
    __atomic_fetch_add(&c->counts.code_stores, 1, __ATOMIC_RELAXED);
    if (why == DEAD_WRITE && c->nasleep) {
        pthread_mutex_lock(&c->lock);
        asleep_bury_page(c, page);
        pthread_mutex_unlock(&c->lock);
    }
    if (page_lines_hit(c, page, p)) {
        pthread_mutex_lock(&c->lock);
        dropped = page_store(c, page, p, self, hit_self, why);
        c->counts.code_stores_hit += dropped != 0;
        pthread_mutex_unlock(&c->lock);
    } else if (!__atomic_load_n(&c->page[page].lines, __ATOMIC_RELAXED)) {
        page_unmark_idle(c, page);
    }
    return dropped;
}

unsigned code_write(struct code *c, uint64_t page, unsigned off, unsigned len, const struct block *self, bool *hit_self)
{
    return stored(c, page, off, len, self, hit_self, DEAD_WRITE);
}

unsigned code_overwrite(struct code *c, uint64_t page, unsigned off, unsigned len, const struct block *self,
                        bool *hit_self)
{
    return stored(c, page, off, len, self, hit_self, ASLEEP);
}

bool code_overlaps(const struct code *c, uint64_t page, unsigned off, unsigned len)
{
    struct part p = {off, len};
    /* The lock is no part of what const promises. */
    pthread_mutex_t *lock = (pthread_mutex_t *)&c->lock;

    if (len == 0 || !page_lines_hit(c, page, p))
        return false;
    pthread_mutex_lock(lock);
    bool overlaps = !live_covers(c, page, p) && page_overlap(c, c->page[page].blocks, p) != 0;
    pthread_mutex_unlock(lock);
    return overlaps;
}
