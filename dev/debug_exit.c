/* dev/debug_exit.c: QEMU's isa-debug-exit: a write of v ends the program with status (v << 1) | 1.
 */
#include "dev/dev.h"

struct debug_exit {
    struct dev_request quit;
};

static uint64_t debug_exit_read(void *dev, uint64_t offset, unsigned size)
{
    (void)dev, (void)offset, (void)size;
    return 0;
}

static void debug_exit_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    (void)offset, (void)size;
    struct debug_exit *d = dev;
    dev_request_send(&d->quit, (int)((uint32_t)value << 1 | 1));
}

static const struct mmio_ops debug_exit_ops = {debug_exit_read, debug_exit_write, W8 | W16 | W32};

bool debug_exit_init(const struct dev_env *e, uint16_t port, unsigned count, struct dev_request quit)
{
    struct debug_exit *d = arena_alloc(e->arena, sizeof *d);
    if (!d)
        return false;
    d->quit = quit;
    return dev_map_io(e, port, count, &debug_exit_ops, d, "isa-debug-exit");
}
