/* dev/ioapic.c: the I/O APIC (82093AA data sheet, 290566): 24 input pins, each with a redirection entry that says
 * which message a request becomes on the way to the local APICs.
 *
 * Registers are reached by an index at +00h and a window at +10h; +40h is the EOI register of later versions, which
 * we do not claim. An edge pin sends one message at each rising edge; an edge under the mask is lost (data sheet,
 * 3.2.4, bit 16).  A level pin sends one when its line is high and remote IRR is clear; EOI for its vector clears
 * remote IRR, and a line still high sends again.
 *
 * EOI arrives from a local APIC which holds no lock then (dev.h's order).
 */
#include <inttypes.h>
#include <pthread.h>

#include "dev/dev.h"

enum {
    REG_INDEX = 0x00,
    REG_WINDOW = 0x10,
    INDEX_ID = 0x00,
    INDEX_VERSION = 0x01,
    INDEX_ARBITRATION = 0x02,
    INDEX_TABLE = 0x10,
    PINS = 24,
    VERSION = 0x11,
    WINDOW_SIZE = 0x1000,

    ENTRY_VECTOR = 0xff,
    ENTRY_MODE_SHIFT = 8,
    ENTRY_LOGICAL = 1 << 11,
    ENTRY_STATUS = 1 << 12,
    ENTRY_REMOTE_IRR = 1 << 14,
    ENTRY_LEVEL = 1 << 15,
    ENTRY_MASK = 1 << 16,
    ENTRY_DEST_SHIFT = 56,
};

struct ioapic {
    pthread_mutex_t lock;
    struct apic_net *net;
    uint8_t id, id_reset, index;
    uint32_t pins; /* levels of the inputs */
    uint64_t entry[PINS];
};

/* Send pin n's message if it is due; `rising`: its line has just gone up. */
static void ioapic_serve(struct ioapic *io, unsigned n, bool rising)
{
    uint64_t *entry = &io->entry[n];
    bool level = *entry & ENTRY_LEVEL;
    if (*entry & ENTRY_MASK)
        return;
    if (level ? !(io->pins >> n & 1) || (*entry & ENTRY_REMOTE_IRR) : !rising)
        return;
    uint8_t mode = *entry >> ENTRY_MODE_SHIFT & 7;
    if (level && (mode == APIC_FIXED || mode == APIC_LOWEST))
        *entry |= ENTRY_REMOTE_IRR;
    struct apic_message m = {
        .dest = (uint32_t)(*entry >> ENTRY_DEST_SHIFT),
        .vector = (uint8_t)(*entry & ENTRY_VECTOR),
        .mode = mode,
        .logical = *entry & ENTRY_LOGICAL,
        .level = level,
    };
    apic_deliver(io->net, &m);
}

void ioapic_line(void *ioapic, unsigned pin, bool level)
{
    struct ioapic *io = ioapic;
    if (pin >= PINS)
        return;
    pthread_mutex_lock(&io->lock);
    uint32_t bit = 1u << pin;
    bool rising = level && !(io->pins & bit);
    io->pins = level ? io->pins | bit : io->pins & ~bit;
    ioapic_serve(io, pin, rising);
    pthread_mutex_unlock(&io->lock);
}

static void ioapic_eoi(void *arg, uint8_t vector)
{
    struct ioapic *io = arg;
    pthread_mutex_lock(&io->lock);
    for (unsigned n = 0; n < PINS; n++) {
        uint64_t *entry = &io->entry[n];
        if ((*entry & ENTRY_VECTOR) == vector && (*entry & ENTRY_LEVEL) && (*entry & ENTRY_REMOTE_IRR)) {
            *entry &= ~(uint64_t)ENTRY_REMOTE_IRR;
            ioapic_serve(io, n, false);
        }
    }
    pthread_mutex_unlock(&io->lock);
}

static uint32_t window_read(const struct ioapic *io)
{
    unsigned i = io->index;
    if (i == INDEX_ID || i == INDEX_ARBITRATION)
        return (uint32_t)io->id << 24;
    if (i == INDEX_VERSION)
        return VERSION | (PINS - 1) << 16;
    if (i >= INDEX_TABLE && i < INDEX_TABLE + 2 * PINS)
        return (uint32_t)(io->entry[(i - INDEX_TABLE) / 2] >> (i & 1 ? 32 : 0));
    return 0;
}

static void window_write(struct ioapic *io, uint32_t v)
{
    unsigned i = io->index;
    if (i == INDEX_ID) {
        io->id = v >> 24 & 0xf;
    } else if (i >= INDEX_TABLE && i < INDEX_TABLE + 2 * PINS) {
        unsigned n = (i - INDEX_TABLE) / 2;
        const uint64_t fixed = ENTRY_REMOTE_IRR | ENTRY_STATUS;
        uint64_t old = io->entry[n];
        uint64_t now = i & 1 ? (old & 0xffffffffu) | (uint64_t)v << 32 : (old & ~0xffffffffull) | v;
        now = (now & ~fixed & 0xff0000000001ffffull) | (old & fixed);
        if (!(now & ENTRY_LEVEL)) /* turning a pin to edge and back is how software of old clears a stuck remote IRR */
            now &= ~(uint64_t)ENTRY_REMOTE_IRR;
        io->entry[n] = now;
        ioapic_serve(io, n, false);
    }
}

static uint64_t ioapic_read(void *dev, uint64_t offset, unsigned size)
{
    (void)size;
    struct ioapic *io = dev;
    pthread_mutex_lock(&io->lock);
    uint32_t v = offset == REG_INDEX ? io->index : offset == REG_WINDOW ? window_read(io) : 0;
    pthread_mutex_unlock(&io->lock);
    return v;
}

static void ioapic_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    (void)size;
    struct ioapic *io = dev;
    pthread_mutex_lock(&io->lock);
    if (offset == REG_INDEX)
        io->index = (uint8_t)value;
    else if (offset == REG_WINDOW)
        window_write(io, (uint32_t)value);
    pthread_mutex_unlock(&io->lock);
}

void ioapic_reset(struct ioapic *io)
{
    pthread_mutex_lock(&io->lock);
    io->id = io->id_reset;
    io->index = 0;
    for (unsigned n = 0; n < PINS; n++)
        io->entry[n] = ENTRY_MASK;
    pthread_mutex_unlock(&io->lock);
}

void ioapic_print(FILE *out, struct ioapic *io)
{
    static const char *const mode[8] = {"fixed", "lowest", "SMI", "-", "NMI", "INIT", "-", "ExtINT"};
    pthread_mutex_lock(&io->lock);
    for (unsigned n = 0; n < PINS; n++) {
        uint64_t v = io->entry[n];
        fprintf(out, "pin %2u %s: entry %016" PRIx64 " vector %02x %s %s%02x %s%s%s\n", n,
                io->pins >> n & 1 ? "high" : "low ", v, (unsigned)(v & ENTRY_VECTOR), mode[v >> ENTRY_MODE_SHIFT & 7],
                v & ENTRY_LOGICAL ? "logical " : "cpu ", (unsigned)(v >> ENTRY_DEST_SHIFT),
                v & ENTRY_LEVEL ? "level" : "edge", v & ENTRY_MASK ? " masked" : "",
                v & ENTRY_REMOTE_IRR ? " remote-irr" : "");
    }
    pthread_mutex_unlock(&io->lock);
}

static const struct mmio_ops ioapic_ops = {ioapic_read, ioapic_write, W32};

struct ioapic *ioapic_init(const struct dev_env *e, gpa_t base, uint8_t id, struct apic_net *n)
{
    struct ioapic *io = arena_alloc(e->arena, sizeof *io);
    if (!io)
        return NULL;
    pthread_mutex_init(&io->lock, NULL);
    io->net = n;
    io->id_reset = id;
    ioapic_reset(io);
    apic_eoi_listener(n, ioapic_eoi, io);
    return dev_map_mem(e, base, WINDOW_SIZE, &ioapic_ops, io, "ioapic") ? io : NULL;
}
