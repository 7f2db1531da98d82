/* code.c: code memory and what goes into it: regions, transactions, eviction, the death of blocks.
 *
 *     | thunks | region 0 | region 1 | ...      | blocks of region 0 | of region 1 | ...       each region: see code.h
 *
 * A region is FREE, OWNED by one writer (vCPU) that fills it, or FULL.  Only its owner moves a region's `used` and
 * `nblocks`, and only forward, so block addresses ascend with their index: code_find_host searches them without a
 * lock, even from a signal handler.
 *
 * A block dies once: block_drop takes it out of the hash table, its pages' lists and all links.  Its code and its
 * struct stay as they are until the region is evicted, so a vCPU that is just inside, or that holds a pointer from a
 * lookup, comes to no harm. Eviction takes the region that was filled longest ago, with the other vCPUs stopped; it
 * is the only thing that reuses memory.
 *
 * Rules to know before editing
 *   - What `size` asks for is code and blocks together: a region is full when its code and its blocks have region_size.
 *   - stop_others is called without the lock: the vCPUs that are to stop may be waiting for it.
 *   - A writer owns at most one region, so code memory must have more regions than there are vCPUs.
 */
#include "code/internal.h"

#include <stdlib.h>
#include <string.h>

/* What a block may need behind its cold part besides aux. */
enum { KEPT_MORE = CODE_AUX_ALIGN + _Alignof(struct block_second) + sizeof(struct block_second) };

#define CODE_SIZE_MIN   ((size_t)8 << 20)
#define REGION_SIZE_MIN ((size_t)1 << 20)
#define CODE_SIZE_MAX   ((size_t)256 << 30) /* numbers of links have 32 bits */

/* ---- making and giving back -------------------------------------------------------------------------------- */

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) & ~(to - 1);
}

static size_t blocks_bytes(const struct code *c)
{
    return (size_t)c->nregions * c->blocks_max * sizeof(struct block);
}

static bool regions_init(struct code *c)
{
    size_t share =
        round_up(c->memory.size / CODE_REGIONS, PAGE_BYTES); /* large code memory gets larger, not more, regions */

    c->region_size = share > REGION_SIZE_MIN ? share : REGION_SIZE_MIN;
    c->nregions = (unsigned)((c->memory.size - CODE_FIXED) / c->region_size);
    c->blocks_max = (unsigned)(c->region_size / 2 / sizeof(struct block));
    c->blocks = os_reserve(blocks_bytes(c));
    if (!c->blocks)
        return false;
    for (unsigned i = 0; i < c->nregions; i++) {
        c->region[i].rw = c->memory.rw + CODE_FIXED + i * c->region_size;
        c->region[i].block = c->blocks + (size_t)i * c->blocks_max;
    }
    return true;
}

bool code_init(struct code **out, size_t size, uint64_t max_pages, uint8_t *marks, const struct code_hooks *h,
               struct status *st)
{
    if (size < CODE_SIZE_MIN || size > CODE_SIZE_MAX)
        return status_set(st, "code memory of %zu MB: give 8 MB or more (and no more than 256 GB)", size >> 20);
    struct code *c = calloc(1, sizeof(*c));
    if (!c)
        return status_set(st, "code memory: no memory for its tables");
    c->hooks = *h;
    c->marks = marks;
    c->max_pages = max_pages;
    /* Thunks are extra, so that 8 MB are 8 regions. */
    pthread_mutex_init(&c->lock, NULL);
    c->memory.file = -1;
    if (!os_code_memory(&c->memory, round_up(size, PAGE_BYTES) + CODE_FIXED, h->named, st)) {
        code_fini(c);
        return false;
    }
    if (!regions_init(c) || !hash_init(c) || !pages_init(c) || !chart_init(c) || !asleep_init(c)) {
        code_fini(c);
        return status_set(st, "code memory: the host refused address space for its tables");
    }
    *out = c;
    return true;
}

void code_fini(struct code *c)
{
    if (!c)
        return;
    hash_fini(c);
    pages_fini(c);
    chart_fini(c);
    asleep_fini(c);
    if (c->blocks)
        os_release(c->blocks, blocks_bytes(c));
    os_code_memory_free(&c->memory);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

struct code_counts *code_counts(struct code *c)
{
    return &c->counts;
}

uint64_t code_evictions(const struct code *c)
{
    return __atomic_load_n(&c->counts.evictions, __ATOMIC_ACQUIRE);
}

static size_t region_used(const struct region *r)
{
    return r->used + r->cold + __atomic_load_n(&r->nblocks, __ATOMIC_RELAXED) * sizeof(struct block);
}

size_t code_size(const struct code *c, size_t *used)
{
    if (used) {
        *used = 0;
        for (unsigned i = 0; i < c->nregions; i++)
            *used += region_used(&c->region[i]);
    }
    return c->nregions * c->region_size;
}

intptr_t code_rx_delta(const struct code *c)
{
    return (intptr_t)((uintptr_t)c->memory.rx - (uintptr_t)c->memory.rw);
}

uint8_t *code_rw(const struct code *c, const struct block *b)
{
    return c->memory.rw + (b->rx - c->memory.rx);
}

uint8_t *code_fixed(struct code *c, size_t *size)
{
    *size = CODE_FIXED;
    return c->memory.rw;
}

/* ---- regions ----------------------------------------------------------------------------------------------- */

static bool region_fits(const struct code *c, const struct region *r, size_t bytes)
{
    size_t more = bytes + KEPT_MORE + CODE_ALIGN, half = region_middle(c);
    return r->nblocks < c->blocks_max && r->used + more <= half && r->cold + more <= half &&
           region_used(r) + more + sizeof(struct block) <= c->region_size;
}

static void region_seal(struct code *c, struct region *r)
{
    r->state = REGION_FULL;
    r->filled = c->nfilled++;
}

static int region_find_free(const struct code *c)
{
    for (unsigned i = 0; i < c->nregions; i++)
        if (c->region[i].state == REGION_FREE)
            return (int)i;
    return -1;
}

static int region_find_oldest(const struct code *c)
{
    int oldest = -1;

    for (unsigned i = 0; i < c->nregions; i++)
        if (c->region[i].state == REGION_FULL && (oldest < 0 || c->region[i].filled < c->region[oldest].filled))
            oldest = (int)i;
    return oldest;
}

static void region_evict(struct code *c, struct region *r)
{
    /* The last first: it stands first in its pages' lists and its hash chain. */
    for (unsigned i = r->nblocks; i-- > 0;) {
        struct block *b = &r->block[i];
        if (b->death == ASLEEP)
            asleep_bury(c, b);
        if (block_listed(b))
            block_drop(c, b, DEAD_EVICTED);
    }
    __atomic_store_n(&r->nblocks, 0, __ATOMIC_RELEASE);
    r->used = r->cold = 0;
    r->state = REGION_FREE;
    __atomic_fetch_add(&c->counts.evictions, 1, __ATOMIC_RELEASE);
}

/* Give w a region with room, in place of the one it has. */
static void writer_advance(struct code *c, struct code_writer *w)
{
    pthread_mutex_lock(&c->lock);
    if (w->region >= 0)
        region_seal(c, &c->region[w->region]);
    int next = region_find_free(c);
    if (next < 0) {
        w->region = -1;
        pthread_mutex_unlock(&c->lock);
        if (c->hooks.stop_others)
            c->hooks.stop_others(c->hooks.arg, w);
        pthread_mutex_lock(&c->lock);
        /* Another vCPU may have made room while this one waited for its turn. */
        next = region_find_free(c);
        if (next < 0) {
            next = region_find_oldest(c);
            rh_assert(next >= 0, "all %u regions of code memory are owned; more vCPUs need more code memory",
                      c->nregions);
            region_evict(c, &c->region[next]);
        }
        c->region[next].state = REGION_OWNED;
        pthread_mutex_unlock(&c->lock);
        if (c->hooks.start_others)
            c->hooks.start_others(c->hooks.arg, w);
    } else {
        c->region[next].state = REGION_OWNED;
        pthread_mutex_unlock(&c->lock);
    }
    w->region = next;
}

/* ---- transactions ------------------------------------------------------------------------------------------ */

/* A page costs least where many are made at once, ahead of what is written.  Region r is used up to `used`, has pages up to
 * *touched (TOUCHED_ALL: it has all) and may have them up to `end`; what lies beyond is another's. */
static void touch_ahead(struct code *c, struct region *r, size_t used, uint32_t *touched, size_t end)
{
    size_t from = *touched > used ? *touched : round_up(used, PAGE_BYTES);
    size_t next = round_up((uintptr_t)r->rw + from + 1, OS_TOUCH) - (uintptr_t)r->rw;
    next = next < end ? next : end & ~(size_t)(PAGE_BYTES - 1);
    if (from < next)
        os_code_touch(&c->memory, r->rw + from, next - from);
    *touched = next + PAGE_BYTES > end ? TOUCHED_ALL : (uint32_t)next;
}

static void region_touch(struct code *c, struct region *r)
{
    size_t cold = region_middle(c) + r->cold;
    if (r->touched < r->used + TOUCH_LEAST)
        touch_ahead(c, r, r->used, &r->touched, region_middle(c));
    if (r->cold_touched < cold + TOUCH_LEAST)
        touch_ahead(c, r, cold, &r->cold_touched, c->region_size);
    if (r->blocks_touched <= r->nblocks) {
        unsigned left = c->blocks_max - r->nblocks, n = left < TOUCH_BLOCKS ? left : TOUCH_BLOCKS;
        os_touch(r->block + r->nblocks, n * sizeof *r->block);
        r->blocks_touched = r->nblocks + n;
    }
}

void code_reserve(struct code *c, struct code_writer *w, size_t need, struct code_span *s)
{
    rh_assert(need <= CODE_RESERVE_MAX, "%zu bytes", need);
    if (w->region < 0 || !region_fits(c, &c->region[w->region], need))
        writer_advance(c, w);

    struct region *r = &c->region[w->region];
    struct block *b = &r->block[r->nblocks];
    region_touch(c, r);
    uint8_t *rw = r->rw + round_up(r->used, CODE_ALIGN);
    *b = (struct block){.rx = rw + code_rx_delta(c), .link[1].second = true};
    uint8_t *cold = r->rw + region_middle(c) + r->cold;
    b->cold_at = (uint32_t)(cold - rw);
    *s = (struct code_span){.rw = rw, .cold = cold, .size = need, .block = b, .region = (unsigned)w->region};
}

void *code_aux(struct code_span *s, size_t size)
{
    s->aux_size = size;
    return block_aux_in(s->block, s->cold);
}

struct block *code_commit(struct code *c, struct code_span *s, const uint64_t page[2], const uint32_t seen[2])
{
    struct block *b = s->block;
    struct region *r = &c->region[s->region];
    size_t cold = (size_t)((uint8_t *)block_aux_in(b, s->cold) - s->cold) + s->aux_size;

    rh_assert(b->host_size <= s->size && cold <= s->size + KEPT_MORE, "%u and %zu bytes in %zu", b->host_size, cold,
              s->size);
    rh_assert(b->two_pages == (page[1] != ~0ull), "block at 0x%llx: two_pages and page[1] differ",
              (unsigned long long)b->gpa);
    b->page = (uint32_t)page[0];
    if (b->two_pages)
        *block_second_rw(c, b) = (struct block_second){.gpa = s->gpa2, .page = (uint32_t)page[1]};

    pthread_mutex_lock(&c->lock);
    struct block *same = hash_find_same(c, b);
    if (!same && pages_add(c, b, seen)) {
        r->used = (uint32_t)((size_t)(s->rw - r->rw) + b->host_size);
        r->cold = (uint32_t)((size_t)(s->cold - r->rw) - region_middle(c) + cold);
        /* Before anybody can run it, so that a fault in it finds it. */
        __atomic_store_n(&r->nblocks, r->nblocks + 1, __ATOMIC_RELEASE);
        hash_add(c, b);
        c->counts.blocks++;
        c->counts.guest_bytes += b->guest_size;
        c->counts.host_bytes += b->host_size + b->cold_size;
        same = b;
    }
    pthread_mutex_unlock(&c->lock);
    return same;
}

void code_abort(struct code *c, struct code_span *s)
{
    (void)c;
    /* Nothing was published and the region's `used` never moved. */
    s->block = NULL;
}

/* ---- death ------------------------------------------------------------------------------------------------- */

void block_drop(struct code *c, struct block *b, enum block_death why)
{
    bool alive = block_alive(b);
    if (why == ASLEEP && !(alive && asleep_may(c, b)))
        why = DEAD_WRITE;
    __atomic_store_n(&b->death, (uint8_t)why, __ATOMIC_RELEASE);
    if (alive)
        hash_remove(c, b);
    if (why != DEAD_WORN)
        pages_remove(c, b, why);
    links_cut_to(c, b);
    /* A vCPU may still run b when it dies by a write, and must not go on to blocks that could no longer stop it. */
    if (why != ASLEEP)
        links_cut_own(c, b, why != DEAD_EVICTED);
    else
        asleep_lay(c, b);
    c->counts.dropped[why == ASLEEP ? DEAD_WRITE : why]++;
    if (c->hooks.dropped)
        c->hooks.dropped(c->hooks.arg, b);
}

void code_drop(struct code *c, struct block *b)
{
    pthread_mutex_lock(&c->lock);
    if (block_alive(b))
        block_drop(c, b, DEAD_WORN);
    pthread_mutex_unlock(&c->lock);
}

void code_flush(struct code *c)
{
    pthread_mutex_lock(&c->lock);
    for (unsigned i = 0; i < c->nregions; i++)
        for (unsigned k = 0; k < c->region[i].nblocks; k++) {
            struct block *b = &c->region[i].block[k];
            if (block_listed(b))
                block_drop(c, b, DEAD_FLUSH);
        }
    asleep_bury_all(c);
    pages_spoil_all(c);
    pthread_mutex_unlock(&c->lock);
}

void code_each(struct code *c, void (*fn)(void *arg, const struct block *b), void *arg)
{
    pthread_mutex_lock(&c->lock);
    for (unsigned i = 0; i < c->nregions; i++)
        for (unsigned k = 0; k < c->region[i].nblocks; k++) {
            const struct block *b = &c->region[i].block[k];
            if (block_alive(b))
                fn(arg, b);
        }
    pthread_mutex_unlock(&c->lock);
}
