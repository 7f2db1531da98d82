/* bus.c: an address map: RAM, ROM and devices by address, for memory and for ports.
 *
 * Ranges are given in order, later ones over earlier ones:
 *
 *     given     |------------ RAM ------------|            flattened   | RAM |  ROM  |   RAM   |
 *                     |- ROM -|
 *
 * bus_map and bus_unmap build a new table (the ranges, and the segments they flatten to, sorted and without overlap)
 * and publish it with one pointer store.  Readers load that pointer once an access and search the segments; they take
 * no lock and see the old or the new map.  Nobody knows when the last reader of a table is gone, so tables are kept
 * until bus_fini; one that was published before is published again rather than built twice (a guest that switches a
 * device off and on costs nothing).
 *
 * Rules to know before editing
 *   - `lock` serialises bus_map and bus_unmap; it is a leaf.
 *   - A published table is never written.
 *   - An access goes whole to a range that holds it whole and takes its size; otherwise it is split into naturally
 *     sized pieces, lowest address first.  RAM accesses that are aligned are single host accesses.
 *   - Guests choose where PCI devices lie: a range outside of the address space is legal and answers nothing.
 */
#include "mem/mem.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { BUS_RANGES = 256 };

struct bus_segment {
    uint64_t from, to; /* both inside */
    const struct bus_range *range;
};

struct bus_table {
    struct bus_table *older;
    unsigned nranges, nsegments;
    struct bus_range *range;
    struct bus_segment segment[];
};

struct bus {
    struct bus_table *table; /* the map now; changed atomically */
    struct bus_table *all;   /* every table there was, newest first */
    uint64_t last;           /* highest address */
    struct log *log;
    pthread_mutex_t lock;
};

/* ---- building tables --------------------------------------------------------------------------------------- */

/* First and last address of r in the map; false if none of it is in the map. */
static bool range_span(const struct bus_range *r, uint64_t last, uint64_t *from, uint64_t *to)
{
    if (r->size == 0 || r->base > last)
        return false;
    *from = r->base;
    *to = r->size - 1 > last - r->base ? last : r->base + r->size - 1;
    return true;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

/* The topmost range that holds addr. */
static const struct bus_range *topmost(const struct bus_table *t, uint64_t addr, uint64_t last)
{
    uint64_t from, to;

    for (unsigned i = t->nranges; i-- > 0;)
        if (range_span(&t->range[i], last, &from, &to) && addr >= from && addr <= to)
            return &t->range[i];
    return NULL;
}

static void table_flatten(struct bus_table *t, uint64_t last)
{
    uint64_t cut[2 * BUS_RANGES], from, to;
    unsigned n = 0;

    /* Who answers can change only where a range begins or has just ended. */
    for (unsigned i = 0; i < t->nranges; i++) {
        if (!range_span(&t->range[i], last, &from, &to))
            continue;
        cut[n++] = from;
        if (to != last)
            cut[n++] = to + 1;
    }
    qsort(cut, n, sizeof(cut[0]), compare_u64);

    for (unsigned i = 0; i < n; i++) {
        uint64_t end = i + 1 < n ? cut[i + 1] - 1 : last;
        if (i + 1 < n && cut[i + 1] == cut[i])
            continue;
        const struct bus_range *r = topmost(t, cut[i], last);
        struct bus_segment *before = t->nsegments ? &t->segment[t->nsegments - 1] : NULL;
        if (!r)
            continue;
        if (before && before->range == r && before->to + 1 == cut[i])
            before->to = end;
        else
            t->segment[t->nsegments++] = (struct bus_segment){cut[i], end, r};
    }
}

static bool range_equal(const struct bus_range *a, const struct bus_range *b)
{
    return a->base == b->base && a->size == b->size && a->host == b->host && a->readonly == b->readonly &&
           a->ops == b->ops && a->dev == b->dev && a->name == b->name;
}

static struct bus_table *table_find(const struct bus *b, const struct bus_range *range, unsigned n)
{
    for (struct bus_table *t = b->all; t; t = t->older) {
        unsigned same = 0;
        while (t->nranges == n && same < n && range_equal(&t->range[same], &range[same]))
            same++;
        if (t->nranges == n && same == n)
            return t;
    }
    return NULL;
}

/* Publish the map of these ranges.  With the lock held. */
static void bus_publish(struct bus *b, const struct bus_range *range, unsigned n)
{
    struct bus_table *t = table_find(b, range, n);
    if (!t) {
        t = calloc(1, sizeof(*t) + 2 * n * sizeof(t->segment[0]));
        rh_assert(t, "no memory for an address map of %u ranges", n);
        t->range = calloc(n ? n : 1, sizeof(t->range[0]));
        rh_assert(t->range, "no memory for an address map of %u ranges", n);
        if (n)
            memcpy(t->range, range, n * sizeof(t->range[0]));
        t->nranges = n;
        table_flatten(t, b->last);
        t->older = b->all;
        b->all = t;
    }
    __atomic_store_n(&b->table, t, __ATOMIC_RELEASE);
}

bool bus_init(struct bus **out, unsigned bits, struct log *log, struct status *st)
{
    struct bus *b = calloc(1, sizeof(*b));
    if (!b)
        return status_set(st, "address map: no memory");
    b->last = mask_bits(bits);
    b->log = log;
    pthread_mutex_init(&b->lock, NULL);
    bus_publish(b, NULL, 0);
    *out = b;
    return true;
}

void bus_fini(struct bus *b)
{
    if (!b)
        return;
    for (struct bus_table *t = b->all, *older; t; t = older) {
        older = t->older;
        free(t->range);
        free(t);
    }
    pthread_mutex_destroy(&b->lock);
    free(b);
}

bool bus_map(struct bus *b, const struct bus_range *r)
{
    struct bus_range range[BUS_RANGES];

    pthread_mutex_lock(&b->lock);
    unsigned n = b->table->nranges;
    bool room = n < BUS_RANGES;
    if (room) {
        memcpy(range, b->table->range, n * sizeof(range[0]));
        range[n] = *r;
        bus_publish(b, range, n + 1);
    }
    pthread_mutex_unlock(&b->lock);
    return room;
}

void bus_unmap(struct bus *b, const struct bus_range *r)
{
    struct bus_range range[BUS_RANGES];
    unsigned n = 0;

    pthread_mutex_lock(&b->lock);
    for (unsigned i = 0; i < b->table->nranges; i++) {
        const struct bus_range *have = &b->table->range[i];
        if (have->base != r->base || have->dev != r->dev)
            range[n++] = *have;
    }
    bus_publish(b, range, n);
    pthread_mutex_unlock(&b->lock);
}

/* ---- finding ----------------------------------------------------------------------------------------------- */

static const struct bus_table *bus_table(const struct bus *b)
{
    return __atomic_load_n(&b->table, __ATOMIC_ACQUIRE);
}

/* The first segment that ends at addr or later; NULL if there is none.  It holds addr if it begins there or earlier. */
static const struct bus_segment *segment_from(const struct bus_table *t, uint64_t addr)
{
    unsigned low = 0, high = t->nsegments;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (t->segment[middle].to < addr)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->nsegments ? &t->segment[low] : NULL;
}

static const struct bus_segment *segment_find(const struct bus_table *t, uint64_t addr)
{
    const struct bus_segment *s = segment_from(t, addr);
    return s && s->from <= addr ? s : NULL;
}

const struct bus_range *bus_find(const struct bus *b, uint64_t addr)
{
    const struct bus_segment *s = segment_find(bus_table(b), addr);
    return s ? s->range : NULL;
}

uint8_t *bus_host(const struct bus *b, gpa_t gpa, uint64_t len, bool write)
{
    const struct bus_segment *s = segment_find(bus_table(b), gpa);
    if (!s || !s->range->host || (write && s->range->readonly))
        return NULL;
    if (len && len - 1 > s->to - gpa)
        return NULL;
    return s->range->host + (gpa - s->range->base);
}

void bus_each(const struct bus *b, void (*fn)(void *arg, const struct bus_range *r, uint64_t from, uint64_t to),
              void *arg)
{
    const struct bus_table *t = bus_table(b);
    for (unsigned i = 0; i < t->nsegments; i++)
        fn(arg, t->segment[i].range, t->segment[i].from, t->segment[i].to);
}

/* ---- single accesses --------------------------------------------------------------------------------------- */

/* Other vCPUs may use the same bytes at the same time: an aligned access is one host access. */
static uint64_t host_read(const uint8_t *p, unsigned size)
{
    if ((uintptr_t)p % size)
        return bytes_get(p, size);
    switch (size) {
    case 1: return __atomic_load_n(p, __ATOMIC_RELAXED);
    case 2: return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED);
    case 4: return __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_RELAXED);
    default: return __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED);
    }
}

static void host_write(uint8_t *p, uint64_t value, unsigned size)
{
    if ((uintptr_t)p % size) {
        bytes_put(p, value, size);
        return;
    }
    switch (size) {
    case 1: __atomic_store_n(p, (uint8_t)value, __ATOMIC_RELAXED); break;
    case 2: __atomic_store_n((uint16_t *)(void *)p, (uint16_t)value, __ATOMIC_RELAXED); break;
    case 4: __atomic_store_n((uint32_t *)(void *)p, (uint32_t)value, __ATOMIC_RELAXED); break;
    default: __atomic_store_n((uint64_t *)(void *)p, value, __ATOMIC_RELAXED); break;
    }
}

/* How wide to ask a device for an access of `size`: the widest it takes that is not wider; if it only takes wider
 * ones, as it is. */
static unsigned device_width(const struct mmio_ops *ops, unsigned size)
{
    for (unsigned w = size; w; w /= 2)
        if (ops->widths & w)
            return w;
    return size;
}

static uint64_t range_read(const struct bus *b, const struct bus_range *r, uint64_t addr, unsigned size)
{
    uint64_t offset = addr - r->base, value = 0;

    if (r->host)
        return host_read(r->host + offset, size);
    if (!r->ops || !r->ops->read) {
        if (log_on(b->log, LOG_UNIMP))
            log_print(b->log, "%s: read of %u bytes at offset 0x%llx: cannot be read\n", r->name, size,
                      (unsigned long long)offset);
        return mask_bits(size * 8);
    }
    unsigned width = device_width(r->ops, size);
    for (unsigned i = 0; i < size; i += width)
        value |= (r->ops->read(r->dev, offset + i, width) & mask_bits(width * 8)) << (i * 8);
    return value;
}

static void range_write(const struct bus *b, const struct bus_range *r, uint64_t addr, uint64_t value, unsigned size)
{
    uint64_t offset = addr - r->base;

    if (r->host && !r->readonly) {
        host_write(r->host + offset, value, size);
    } else if (r->host) {
        if (log_on(b->log, LOG_GUEST_ERRORS))
            log_print(b->log, "%s: write of %u bytes at offset 0x%llx dropped: read-only\n", r->name, size,
                      (unsigned long long)offset);
    } else if (!r->ops || !r->ops->write) {
        if (log_on(b->log, LOG_UNIMP))
            log_print(b->log, "%s: write of %u bytes at offset 0x%llx: cannot be written\n", r->name, size,
                      (unsigned long long)offset);
    } else {
        unsigned width = device_width(r->ops, size);
        for (unsigned i = 0; i < size; i += width)
            r->ops->write(r->dev, offset + i, value >> (i * 8) & mask_bits(width * 8), width);
    }
}

static void log_unassigned(const struct bus *b, const char *what, uint64_t addr, unsigned size)
{
    if (log_on(b->log, LOG_UNIMP))
        log_print(b->log, "%s of %u bytes at %s 0x%llx: nothing there\n", what, size,
                  b->last == 0xffff ? "port" : "physical address", (unsigned long long)addr);
}

/* How much of an access at addr one segment (or one gap) takes: a power of two, at most size. */
static unsigned piece_size(const struct bus_table *t, uint64_t addr, unsigned size, const struct bus_segment **in)
{
    const struct bus_segment *s = segment_from(t, addr);
    uint64_t room = UINT64_MAX; /* bytes after the one at addr */

    *in = s && s->from <= addr ? s : NULL;
    if (s)
        room = *in ? s->to - addr : s->from - addr - 1;
    while (size - 1 > room)
        size /= 2;
    return size;
}

uint64_t bus_read(struct bus *b, uint64_t addr, unsigned size)
{
    const struct bus_table *t = bus_table(b);
    const struct bus_segment *s;
    uint64_t value = 0;

    for (unsigned done = 0; done < size;) {
        unsigned left = size - done;
        unsigned n = piece_size(t, addr + done, left & -left, &s);
        uint64_t part = mask_bits(n * 8);
        if (s)
            part = range_read(b, s->range, addr + done, n);
        else
            log_unassigned(b, "read", addr + done, n);
        value |= part << (done * 8);
        done += n;
    }
    return value;
}

void bus_write(struct bus *b, uint64_t addr, uint64_t value, unsigned size)
{
    const struct bus_table *t = bus_table(b);
    const struct bus_segment *s;

    for (unsigned done = 0; done < size;) {
        unsigned left = size - done;
        unsigned n = piece_size(t, addr + done, left & -left, &s);
        uint64_t part = value >> (done * 8) & mask_bits(n * 8);
        if (s)
            range_write(b, s->range, addr + done, part, n);
        else
            log_unassigned(b, "write", addr + done, n);
        done += n;
    }
}

/* ---- copies ------------------------------------------------------------------------------------------------ */

/* The segment's part of a copy of len bytes from gpa; *mem tells whether there is memory behind it. */
static uint64_t copy_run(const struct bus_table *t, gpa_t gpa, uint64_t len, const struct bus_segment **in, bool *mem)
{
    const struct bus_segment *s = segment_from(t, gpa);
    uint64_t run = len;

    *in = s && s->from <= gpa ? s : NULL;
    *mem = *in && s->range->host;
    if (s) {
        uint64_t room = *in ? s->to - gpa : s->from - gpa - 1;
        if (len - 1 > room)
            run = room + 1;
    }
    return run;
}

/* Devices see a copy as accesses of up to 8 bytes, each aligned to its size. */
static unsigned copy_step(gpa_t gpa, uint64_t len)
{
    unsigned n = 8;
    while (n > len || gpa % n)
        n /= 2;
    return n;
}

bool bus_copy_in(struct bus *b, gpa_t gpa, const void *from, uint64_t len)
{
    const struct bus_table *t = bus_table(b);
    const struct bus_segment *s;
    const uint8_t *p = from;
    bool all = true, mem;

    while (len) {
        uint64_t run = copy_run(t, gpa, len, &s, &mem);
        if (mem && !s->range->readonly)
            memcpy(s->range->host + (gpa - s->range->base), p, run);
        for (uint64_t i = 0, n; s && !mem && i < run; i += n) {
            n = copy_step(gpa + i, run - i);
            range_write(b, s->range, gpa + i, bytes_get(p + i, (unsigned)n), (unsigned)n);
        }
        all = all && mem;
        gpa += run;
        p += run;
        len -= run;
    }
    return all;
}

bool bus_copy_out(struct bus *b, gpa_t gpa, void *to, uint64_t len)
{
    const struct bus_table *t = bus_table(b);
    const struct bus_segment *s;
    uint8_t *p = to;
    bool all = true, mem;

    while (len) {
        uint64_t run = copy_run(t, gpa, len, &s, &mem);
        if (mem)
            memcpy(p, s->range->host + (gpa - s->range->base), run);
        if (!s)
            memset(p, 0xff, run);
        for (uint64_t i = 0, n; s && !mem && i < run; i += n) {
            n = copy_step(gpa + i, run - i);
            bytes_put(p + i, range_read(b, s->range, gpa + i, (unsigned)n), (unsigned)n);
        }
        all = all && mem;
        gpa += run;
        p += run;
        len -= run;
    }
    return all;
}
