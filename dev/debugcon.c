/* dev/debugcon.c: the debug console of Bochs and QEMU: a byte written to the port goes out, a read gives E9h to say
 * it is there.
 */
#include "dev/dev.h"

enum { SIGNATURE = 0xe9 };

static uint64_t debugcon_read(void *dev, uint64_t offset, unsigned size)
{
    (void)dev, (void)offset, (void)size;
    return SIGNATURE;
}

static void debugcon_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    (void)offset, (void)size;
    uint8_t byte = (uint8_t)value;
    back_write(dev, &byte, 1);
}

static const struct mmio_ops debugcon_ops = {debugcon_read, debugcon_write, W8};

bool debugcon_init(const struct dev_env *e, uint16_t port, struct back_char *out)
{
    return dev_map_io(e, port, 1, &debugcon_ops, out, "debugcon");
}
