/* dev/pci.c: PCI bus 0 behind configuration mechanism #1 (PCI Local Bus 3.0, 3.2.2.3.2): address at CF8h, data at
 * CFCh; and the reset control register at CF9h, which lies over the address port's second byte.
 *
 * A function is 256 bytes of configuration space with masks that say which bits a guest may write or clear.  BARs are
 * mapped onto the buses here, when the command register and an address say so; a device only says how large each is
 * and who answers.
 *
 * Lock order: ours, then the bus's own.  A function's `changed` is called with our lock held.
 */
#include <inttypes.h>
#include <pthread.h>

#include "dev/dev.h"

enum {
    PORT_ADDRESS = 0xcf8,
    PORT_DATA = 0xcfc,
    ADDRESS_ENABLE = 1u << 31,
    RESET_OFFSET = 1, /* CF9h */
    RESET_SYSTEM = 2,
    RESET_CPU = 4,
    RESET_BITS = 0x0e,

    CONFIG_ID = 0x00,
    CONFIG_COMMAND = 0x04,
    CONFIG_CLASS = 0x08,
    CONFIG_HEADER = 0x0e,
    CONFIG_BAR = 0x10,
    CONFIG_BAR_END = 0x28,
    COMMAND_IO = 1,
    COMMAND_MEMORY = 2,
    BARS = 6,
    FUNCTIONS_MAX = 256,
};

struct pci {
    pthread_mutex_t lock;
    const struct dev_env *env;
    struct dev_request reset;
    uint32_t address;
    uint8_t reset_control;
    struct pci_function *function[FUNCTIONS_MAX]; /* by device and function number */
};

void pci_put(struct pci_function *f, unsigned offset, uint32_t v, unsigned size)
{
    bytes_put(f->config + offset, v, size);
}

void pci_bar(struct pci_function *f, unsigned n, uint32_t size, bool io, const struct mmio_ops *ops)
{
    f->bar[n].size = size;
    f->bar[n].io = io;
    f->bar[n].ops = ops;
    pci_put(f, CONFIG_BAR + n * 4, io, 4);
    bytes_put(f->writable + CONFIG_BAR + n * 4, ~(size - 1), 4);
    f->writable[CONFIG_COMMAND] |= io ? COMMAND_IO : COMMAND_MEMORY;
}

static struct bus_range bar_range(const struct pci_function *f, unsigned n)
{
    return (struct bus_range){
        .base = f->bar[n].at, .size = f->bar[n].size, .ops = f->bar[n].ops, .dev = f->dev, .name = f->name};
}

/* Map BARs as command register and addresses now say. */
static void function_map(struct pci *p, struct pci_function *f)
{
    uint8_t command = f->config[CONFIG_COMMAND];
    for (unsigned n = 0; n < BARS; n++) {
        if (!f->bar[n].size)
            continue;
        bool io = f->bar[n].io;
        uint64_t at = bytes_get(f->config + CONFIG_BAR + n * 4, 4) & ~(uint64_t)(io ? 3 : 15);
        bool want =
            (command & (io ? COMMAND_IO : COMMAND_MEMORY)) && at && at + f->bar[n].size <= (io ? 0x10000u : 1ull << 32);
        struct bus *bus = io ? p->env->io : p->env->mem;
        if (f->bar[n].mapped && (!want || at != f->bar[n].at)) {
            struct bus_range r = bar_range(f, n);
            bus_unmap(bus, &r);
            f->bar[n].mapped = false;
        }
        if (want && !f->bar[n].mapped) {
            f->bar[n].at = at;
            struct bus_range r = bar_range(f, n);
            f->bar[n].mapped = bus_map(bus, &r);
        }
    }
}

static void config_write(struct pci *p, struct pci_function *f, unsigned offset, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        uint8_t v = (uint8_t)(value >> i * 8), *c = &f->config[offset + i];
        uint8_t w = f->writable[offset + i];
        *c = (uint8_t)((*c & ~w) | (v & w));
        *c &= (uint8_t) ~(v & f->clear[offset + i]);
    }
    bool maps = offset < CONFIG_BAR_END && offset + size > CONFIG_COMMAND;
    if (maps)
        function_map(p, f);
    if (f->changed)
        f->changed(f, offset, size);
}

/* The function the address register names, or NULL. */
static struct pci_function *pci_addressed(const struct pci *p)
{
    bool bus0 = (p->address >> 16 & 0xff) == 0;
    return (p->address & ADDRESS_ENABLE) && bus0 ? p->function[p->address >> 8 & 0xff] : NULL;
}

static uint64_t data_read(void *dev, uint64_t offset, unsigned size)
{
    struct pci *p = dev;
    pthread_mutex_lock(&p->lock);
    const struct pci_function *f = pci_addressed(p);
    uint64_t v = mask_bits(size * 8);
    if (f && (offset & 3) + size <= 4)
        v = bytes_get(f->config + (p->address & 0xfc) + (offset & 3), size);
    pthread_mutex_unlock(&p->lock);
    return v;
}

static void data_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    struct pci *p = dev;
    pthread_mutex_lock(&p->lock);
    struct pci_function *f = pci_addressed(p);
    if (f && (offset & 3) + size <= 4)
        config_write(p, f, (p->address & 0xfc) + (offset & 3), value, size);
    pthread_mutex_unlock(&p->lock);
}

static uint64_t address_read(void *dev, uint64_t offset, unsigned size)
{
    struct pci *p = dev;
    pthread_mutex_lock(&p->lock);
    uint64_t v = mask_bits(size * 8);
    if (offset == 0 && size == 4)
        v = p->address;
    else if (offset == RESET_OFFSET && size == 1)
        v = p->reset_control;
    pthread_mutex_unlock(&p->lock);
    return v;
}

static void address_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    struct pci *p = dev;
    bool reset = false;
    pthread_mutex_lock(&p->lock);
    if (offset == 0 && size == 4) {
        p->address = (uint32_t)value & 0x80fffffcu;
    } else if (offset == RESET_OFFSET && size == 1) {
        reset = (value & RESET_CPU) && !(p->reset_control & RESET_CPU);
        p->reset_control = (uint8_t)value & RESET_BITS;
    }
    pthread_mutex_unlock(&p->lock);
    if (reset)
        dev_request_send(&p->reset, 0);
}

bool pci_add(struct pci *p, struct pci_function *f)
{
    pthread_mutex_lock(&p->lock);
    bool ok = !p->function[f->devfn];
    if (ok) {
        __builtin_memcpy(f->config_reset, f->config, sizeof f->config);
        p->function[f->devfn] = f;
    }
    pthread_mutex_unlock(&p->lock);
    return ok;
}

void pci_reset(struct pci *p)
{
    pthread_mutex_lock(&p->lock);
    p->address = 0;
    p->reset_control = 0;
    for (unsigned i = 0; i < FUNCTIONS_MAX; i++) {
        struct pci_function *f = p->function[i];
        if (!f)
            continue;
        __builtin_memcpy(f->config, f->config_reset, sizeof f->config);
        function_map(p, f);
        if (f->changed)
            f->changed(f, 0, sizeof f->config);
    }
    pthread_mutex_unlock(&p->lock);
}

void pci_print(FILE *out, struct pci *p)
{
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < FUNCTIONS_MAX; i++) {
        const struct pci_function *f = p->function[i];
        if (!f)
            continue;
        fprintf(out, "00:%02x.%u %04x:%04x class %04x %s\n", i >> 3, i & 7, (unsigned)bytes_get(f->config, 2),
                (unsigned)bytes_get(f->config + 2, 2), (unsigned)bytes_get(f->config + 10, 2), f->name);
        for (unsigned n = 0; n < BARS; n++)
            if (f->bar[n].size)
                fprintf(out, "    BAR%u: %s at %" PRIx64 ", size %x%s\n", n, f->bar[n].io ? "ports" : "memory",
                        f->bar[n].at, f->bar[n].size, f->bar[n].mapped ? "" : " (not mapped)");
    }
    pthread_mutex_unlock(&p->lock);
}

static const struct mmio_ops address_ops = {address_read, address_write, W8 | W16 | W32};
static const struct mmio_ops data_ops = {data_read, data_write, W8 | W16 | W32};

struct pci *pci_init(const struct dev_env *e, struct dev_request reset)
{
    struct pci *p = arena_alloc(e->arena, sizeof *p);
    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    p->env = e;
    p->reset = reset;
    bool ok = dev_map_io(e, PORT_ADDRESS, 4, &address_ops, p, "pci-address") &&
              dev_map_io(e, PORT_DATA, 4, &data_ops, p, "pci-data");
    return ok ? p : NULL;
}
