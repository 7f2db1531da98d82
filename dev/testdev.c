/* dev/testdev.c: pc-testdev, which test programs ask for by that name: ports whose effects are known beforehand.
 *
 *     E0h..E3h      four bytes that read back as they were written
 *     E4h..E7h      "forget what you know of this page": nothing to do here, since nothing is known that is not exact
 *     2000h..2017h  a write drives interrupt line 0..23: 0 low, anything else high
 *     FF000000      64 KB of memory that is no RAM: every access to it is one to a device
 */
#include <string.h>

#include "dev/dev.h"

enum { BYTES_AT = 0xe0, FLUSH_AT = 0xe4, LINES_AT = 0x2000, LINES = 24, MEMORY_SIZE = 0x10000 };
#define MEMORY_AT 0xff000000u

struct testdev {
    uint8_t bytes[4]; /* changed and read atomically */
    struct dev_line line;
    uint8_t memory[MEMORY_SIZE]; /* accesses are as atomic as their sizes, or not at all */
};

static uint64_t bytes_read(void *dev, uint64_t offset, unsigned size)
{
    struct testdev *t = dev;
    uint64_t v = 0;
    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)__atomic_load_n(&t->bytes[(offset + i) & 3], __ATOMIC_RELAXED) << 8 * i;
    return v;
}

static void bytes_write(void *dev, uint64_t offset, uint64_t v, unsigned size)
{
    struct testdev *t = dev;
    for (unsigned i = 0; i < size; i++)
        __atomic_store_n(&t->bytes[(offset + i) & 3], (uint8_t)(v >> 8 * i), __ATOMIC_RELAXED);
}

static uint64_t nothing_read(void *dev, uint64_t offset, unsigned size)
{
    (void)dev, (void)offset, (void)size;
    return 0;
}

static void nothing_write(void *dev, uint64_t offset, uint64_t v, unsigned size)
{
    (void)dev, (void)offset, (void)v, (void)size;
}

static void line_write(void *dev, uint64_t offset, uint64_t v, unsigned size)
{
    (void)size;
    struct testdev *t = dev;
    struct dev_line line = t->line;
    line.n = (unsigned)offset;
    dev_line_set(&line, v != 0);
}

static uint64_t memory_read(void *dev, uint64_t offset, unsigned size)
{
    const struct testdev *t = dev;
    uint64_t v = 0;
    memcpy(&v, t->memory + offset, size);
    return v;
}

static void memory_write(void *dev, uint64_t offset, uint64_t v, unsigned size)
{
    struct testdev *t = dev;
    memcpy(t->memory + offset, &v, size);
}

static const struct mmio_ops memory_ops = {memory_read, memory_write, W8 | W16 | W32 | W64};
static const struct mmio_ops bytes_ops = {bytes_read, bytes_write, W8 | W16 | W32};
static const struct mmio_ops flush_ops = {nothing_read, nothing_write, W8 | W16 | W32};
static const struct mmio_ops line_ops = {nothing_read, line_write, W8};

bool testdev_init(const struct dev_env *e, struct dev_line lines)
{
    struct testdev *t = arena_alloc(e->arena, sizeof *t);
    if (!t)
        return false;
    t->line = lines;
    return dev_map_io(e, BYTES_AT, 4, &bytes_ops, t, "pc-testdev") &&
           dev_map_io(e, FLUSH_AT, 4, &flush_ops, t, "pc-testdev flush") &&
           dev_map_io(e, LINES_AT, LINES, &line_ops, t, "pc-testdev lines") &&
           dev_map_mem(e, MEMORY_AT, MEMORY_SIZE, &memory_ops, t, "pc-testdev memory");
}
