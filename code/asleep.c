/* asleep.c: blocks whose bytes were stored to, kept for the case that the same bytes come back.
 *
 * Much code that is patched goes to and fro between few forms: a static key, a jump's target, an inline cache.  A block
 * that dies by a store sleeps: it is out of lookups, lists and the links to it, and found again by address, mode and
 * bytes (code_wake).  Its own links stay: should what they lead to die they are cut like any others.
 *
 *     | SETS | WAYS of (block, its bytes) |
 *
 * The bytes are copied from memory when the block dies, before they are stored to.  That is what it was made of only if nobody
 * else could store to them: so there is one vCPU, or nobody sleeps (hooks.ram), only code_overwrite lets blocks sleep, and
 * any other store to a page buries those of it.
 *
 * Rules to know before editing
 *   - Who sleeps was made without regard to bytes that became live since, so it is not woken if there are any.
 *   - Whatever ends the memory of a block or what it was made for (eviction, flush) must bury it.
 */
#include "code/internal.h"

#include <string.h>

enum { SETS = 256, WAYS = 16, BYTES = 88 };

struct asleep {
    struct block *b; /* NULL: none */
    uint8_t bytes[BYTES];
};

static size_t table_bytes(void)
{
    return SETS * WAYS * sizeof(struct asleep);
}

bool asleep_init(struct code *c)
{
    c->asleep = c->hooks.ram ? os_reserve(table_bytes()) : NULL;
    return c->asleep || !c->hooks.ram;
}

void asleep_fini(struct code *c)
{
    if (c->asleep)
        os_release(c->asleep, table_bytes());
}

static struct asleep *set_of(struct code *c, gpa_t gpa, uint32_t mode)
{
    return &c->asleep[((gpa ^ (uint64_t)mode << 40) * 0x9e3779b97f4a7c15ull >> 56) % SETS * WAYS];
}

static const uint8_t *bytes_of(const struct code *c, const struct block *b)
{
    return c->hooks.ram + (uint64_t)b->page * PAGE_BYTES + b->gpa % PAGE_BYTES;
}

static void bury(struct code *c, struct asleep *e)
{
    struct block *b = e->b;
    e->b = NULL;
    __atomic_store_n(&b->death, (uint8_t)DEAD_WRITE, __ATOMIC_RELEASE);
    links_cut_own(c, b, false);
    c->nasleep--;
}

bool asleep_may(const struct code *c, const struct block *b)
{
    return c->asleep && !b->two_pages && b->guest_size <= BYTES;
}

void asleep_lay(struct code *c, struct block *b)
{
    struct asleep *set = set_of(c, b->gpa, b->mode), *e = NULL;
    for (unsigned i = 0; i < WAYS; i++)
        if (!set[i].b || (set[i].b->gpa == b->gpa && set[i].b->mode == b->mode &&
                          !memcmp(set[i].bytes, bytes_of(c, b), b->guest_size)))
            e = &set[i];
    if (!e)
        e = &set[c->asleep_turn++ % WAYS];
    if (e->b)
        bury(c, e);
    e->b = b;
    memcpy(e->bytes, bytes_of(c, b), b->guest_size);
    c->nasleep++;
}

void asleep_bury(struct code *c, struct block *b)
{
    struct asleep *set = set_of(c, b->gpa, b->mode);
    for (unsigned i = 0; i < WAYS; i++)
        if (set[i].b == b)
            bury(c, &set[i]);
}

void asleep_bury_page(struct code *c, uint64_t page)
{
    for (unsigned i = 0; c->nasleep && i < SETS * WAYS; i++)
        if (c->asleep[i].b && c->asleep[i].b->page == page)
            bury(c, &c->asleep[i]);
}

void asleep_bury_all(struct code *c)
{
    for (unsigned i = 0; c->nasleep && i < SETS * WAYS; i++)
        if (c->asleep[i].b)
            bury(c, &c->asleep[i]);
}

static bool matches(const struct code *c, const struct asleep *e, gpa_t gpa, uint32_t mode, uint64_t page)
{
    const struct block *b = e->b;
    return b && b->gpa == gpa && b->mode == mode && b->page == page &&
           !memcmp(e->bytes, bytes_of(c, b), b->guest_size) && !live_touches(c, page, block_part(b, 0));
}

struct block *code_wake(struct code *c, gpa_t gpa, uint32_t mode, uint64_t page)
{
    struct block *woken = NULL;
    if (!c->nasleep || !(__atomic_load_n(&c->marks[page], __ATOMIC_SEQ_CST) & MARK_CODE))
        return NULL;
    pthread_mutex_lock(&c->lock);
    struct asleep *set = set_of(c, gpa, mode);
    for (unsigned i = 0; i < WAYS && !woken; i++)
        if (matches(c, &set[i], gpa, mode, page)) {
            const uint32_t seen[2] = {c->stores};
            woken = set[i].b;
            set[i].b = NULL;
            c->nasleep--;
            bool added = pages_add(c, woken, seen);
            rh_assert(added, "the only vCPU is here");
            __atomic_store_n(&woken->death, (uint8_t)ALIVE, __ATOMIC_RELEASE);
            hash_add(c, woken);
            c->counts.woken++;
        }
    pthread_mutex_unlock(&c->lock);
    return woken;
}
