/* dev/uart.c: 16550A serial port (National PC16550D data sheet).
 *
 * A written byte goes to the back end at once: the transmitter is always empty, and baud rates are only remembered.
 * Received bytes wait in a FIFO of 16 (1 when FIFOs are off); the back end holds back what does not fit, so nothing
 * is lost.  Bytes below the trigger level are reported as a character timeout at once instead of after four character
 * times.
 *
 * The interrupt is not gated by OUT2, as PC boards do it: kernels that have only met emulators do not set it.
 */
#include <pthread.h>

#include "dev/dev.h"

enum {
    REG_DATA = 0, /* and divisor low */
    REG_IER = 1,  /* and divisor high */
    REG_IIR = 2,  /* write: FCR */
    REG_LCR = 3,
    REG_MCR = 4,
    REG_LSR = 5,
    REG_MSR = 6,
    REG_SCRATCH = 7,
    PORTS = 8,

    IER_RECEIVE = 1,
    IER_TRANSMIT = 2,
    IER_LINE = 4,
    IER_MODEM = 8,
    IIR_NONE = 1,
    IIR_MODEM = 0,
    IIR_TRANSMIT = 2,
    IIR_RECEIVE = 4,
    IIR_LINE = 6,
    IIR_TIMEOUT = 12,
    IIR_FIFOS = 0xc0,
    FCR_ENABLE = 1,
    FCR_CLEAR_RECEIVE = 2,
    LCR_DIVISOR = 0x80,
    MCR_DTR = 1,
    MCR_RTS = 2,
    MCR_OUT1 = 4,
    MCR_OUT2 = 8,
    MCR_LOOP = 16,
    LSR_DATA = 1,
    LSR_OVERRUN = 2,
    LSR_BREAK = 16,
    LSR_EMPTY = 0x60, /* holding register and shift register */
    LSR_FIFO_ERROR = 0x80,
    LSR_ERRORS = 0x1e,
    MSR_CTS = 16,
    MSR_DSR = 32,
    MSR_RI = 64,
    MSR_DCD = 128,

    FIFO_SIZE = 16,
};

struct uart {
    pthread_mutex_t lock;
    struct dev_line irq;
    struct back_char *back;
    uint8_t ier, fcr, lcr, mcr, msr, scratch, errors; /* errors: LSR bits that a read of LSR clears */
    uint16_t divisor;
    bool transmit_pending;    /* the transmitter-empty interrupt was not answered yet */
    uint16_t fifo[FIFO_SIZE]; /* byte | its LSR error bits << 8 */
    unsigned head, count;
};

static unsigned fifo_room(const struct uart *u)
{
    return (u->fcr & FCR_ENABLE ? FIFO_SIZE : 1) - u->count;
}

static unsigned fifo_trigger(const struct uart *u)
{
    static const uint8_t level[4] = {1, 4, 8, 14};
    return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* The source with the highest priority (data sheet, table IV). */
static unsigned uart_source(const struct uart *u)
{
    if ((u->ier & IER_LINE) && (u->errors & LSR_ERRORS))
        return IIR_LINE;
    if ((u->ier & IER_RECEIVE) && u->count)
        return u->count >= fifo_trigger(u) ? IIR_RECEIVE : IIR_TIMEOUT;
    if ((u->ier & IER_TRANSMIT) && u->transmit_pending)
        return IIR_TRANSMIT;
    if ((u->ier & IER_MODEM) && (u->msr & 15))
        return IIR_MODEM;
    return IIR_NONE;
}

static void uart_update(struct uart *u)
{
    dev_line_set(&u->irq, uart_source(u) != IIR_NONE);
}

/* Errors belong to the byte at the top of the FIFO and show when it gets there. */
static void fifo_show_errors(struct uart *u)
{
    if (u->count)
        u->errors |= (uint8_t)(u->fifo[u->head] >> 8);
}

static void fifo_put(struct uart *u, uint16_t v)
{
    if (!fifo_room(u)) {
        u->errors |= LSR_OVERRUN;
        return;
    }
    u->fifo[(u->head + u->count++) % FIFO_SIZE] = v;
    if (u->count == 1)
        fifo_show_errors(u);
}

static uint8_t fifo_get(struct uart *u)
{
    if (!u->count)
        return 0;
    uint8_t v = (uint8_t)u->fifo[u->head];
    u->head = (u->head + 1) % FIFO_SIZE;
    u->count--;
    fifo_show_errors(u);
    return v;
}

/* The four modem inputs: the peer is always there, or, in loop-back, our own outputs. */
static void modem_update(struct uart *u)
{
    uint8_t now = MSR_DCD | MSR_DSR | MSR_CTS;
    if (u->mcr & MCR_LOOP)
        now = (uint8_t)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
                        (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
    uint8_t before = u->msr & 0xf0, changed = (uint8_t)((before ^ now) >> 4);
    if (!(before & MSR_RI) || (now & MSR_RI))
        changed &= (uint8_t) ~(MSR_RI >> 4); /* RI reports its trailing edge only */
    u->msr = (uint8_t)(now | (u->msr & 15) | changed);
}

static void uart_transmit(struct uart *u, uint8_t v)
{
    if (u->mcr & MCR_LOOP)
        fifo_put(u, v);
    else
        back_write(u->back, &v, 1);
    u->transmit_pending = true;
}

static uint8_t lsr_read(struct uart *u)
{
    uint8_t v = LSR_EMPTY | u->errors | (u->count ? LSR_DATA : 0);
    for (unsigned i = 0; i < u->count; i++)
        if ((u->fcr & FCR_ENABLE) && u->fifo[(u->head + i) % FIFO_SIZE] >> 8)
            v |= LSR_FIFO_ERROR;
    u->errors = 0;
    if (u->count)
        u->fifo[u->head] &= 0xff;
    return v;
}

static uint8_t register_read(struct uart *u, unsigned reg)
{
    uint8_t v;
    bool divisor = u->lcr & LCR_DIVISOR;
    switch (reg) {
    case REG_DATA: return divisor ? (uint8_t)u->divisor : fifo_get(u);
    case REG_IER: return divisor ? (uint8_t)(u->divisor >> 8) : u->ier;
    case REG_IIR:
        v = (uint8_t)(uart_source(u) | (u->fcr & FCR_ENABLE ? IIR_FIFOS : 0));
        if ((v & 15) == IIR_TRANSMIT)
            u->transmit_pending = false;
        return v;
    case REG_LCR: return u->lcr;
    case REG_MCR: return u->mcr;
    case REG_LSR: return lsr_read(u);
    case REG_MSR:
        v = u->msr;
        u->msr &= 0xf0;
        return v;
    default: return u->scratch;
    }
}

static void fcr_write(struct uart *u, uint8_t v)
{
    bool toggled = (v ^ u->fcr) & FCR_ENABLE;
    if (toggled || (v & FCR_CLEAR_RECEIVE))
        u->head = u->count = 0;
    u->fcr = v & (0xc0 | FCR_ENABLE);
}

static void register_write(struct uart *u, unsigned reg, uint8_t v)
{
    bool divisor = u->lcr & LCR_DIVISOR;
    switch (reg) {
    case REG_DATA:
        if (divisor)
            u->divisor = (uint16_t)((u->divisor & 0xff00) | v);
        else
            uart_transmit(u, v);
        break;
    case REG_IER:
        if (divisor) {
            u->divisor = (uint16_t)((u->divisor & 0xff) | v << 8);
        } else {
            if ((v & IER_TRANSMIT) && !(u->ier & IER_TRANSMIT))
                u->transmit_pending = true; /* the holding register is empty already */
            u->ier = v & 15;
        }
        break;
    case REG_IIR: fcr_write(u, v); break;
    case REG_LCR: u->lcr = v; break;
    case REG_MCR:
        u->mcr = v & 31;
        modem_update(u);
        break;
    case REG_SCRATCH: u->scratch = v; break;
    }
}

static uint64_t uart_read(void *dev, uint64_t offset, unsigned size)
{
    (void)size;
    struct uart *u = dev;
    pthread_mutex_lock(&u->lock);
    unsigned before = u->count;
    uint8_t v = register_read(u, (unsigned)offset);
    bool room = u->count < before;
    uart_update(u);
    pthread_mutex_unlock(&u->lock);
    if (room)
        back_accept(u->back);
    return v;
}

static void uart_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    (void)size;
    struct uart *u = dev;
    pthread_mutex_lock(&u->lock);
    register_write(u, (unsigned)offset, (uint8_t)value);
    bool room = offset == REG_IIR || offset == REG_MCR;
    uart_update(u);
    pthread_mutex_unlock(&u->lock);
    if (room)
        back_accept(u->back);
}

static size_t uart_room(void *arg)
{
    struct uart *u = arg;
    pthread_mutex_lock(&u->lock);
    size_t n = u->mcr & MCR_LOOP ? 0 : fifo_room(u);
    pthread_mutex_unlock(&u->lock);
    return n;
}

static void uart_receive(void *arg, const uint8_t *data, size_t n)
{
    struct uart *u = arg;
    pthread_mutex_lock(&u->lock);
    for (size_t i = 0; i < n; i++)
        fifo_put(u, data[i]);
    uart_update(u);
    pthread_mutex_unlock(&u->lock);
}

static void uart_break(void *arg)
{
    struct uart *u = arg;
    pthread_mutex_lock(&u->lock);
    fifo_put(u, LSR_BREAK << 8);
    uart_update(u);
    pthread_mutex_unlock(&u->lock);
}

void uart_reset(struct uart *u)
{
    pthread_mutex_lock(&u->lock);
    u->ier = u->fcr = u->lcr = u->mcr = u->errors = u->scratch = 0;
    u->msr = MSR_DCD | MSR_DSR | MSR_CTS;
    u->divisor = 12; /* 9600 baud */
    u->transmit_pending = false;
    u->head = u->count = 0;
    uart_update(u);
    pthread_mutex_unlock(&u->lock);
    back_accept(u->back);
}

static const struct mmio_ops uart_ops = {uart_read, uart_write, W8};

struct uart *uart_init(const struct dev_env *e, uint16_t port, struct dev_line irq, struct back_char *back)
{
    struct uart *u = arena_alloc(e->arena, sizeof *u);
    if (!u)
        return NULL;
    pthread_mutex_init(&u->lock, NULL);
    u->irq = irq;
    u->back = back;
    if (back) {
        back->arg = u;
        back->room = uart_room;
        back->line_break = uart_break;
        back->receive = uart_receive;
    }
    uart_reset(u);
    return dev_map_io(e, port, PORTS, &uart_ops, u, "uart") ? u : NULL;
}
