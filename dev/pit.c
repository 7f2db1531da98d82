/* dev/pit.c: the 8254 interval timer (Intel 231164) at 40h..43h, and port 61h, which gates channel 2 and shows its
 * output.
 *
 * A counter is not stepped: what it holds and how its output stands are computed from the ticks since it was loaded,
 * at 1.193182 MHz. Channel 0's output is the IRQ0 line; a timer waits for its next change while it matters.  Modes 2
 * and 3 repeat, 0 1 4 5 happen once.
 *
 *     mode 0   out low until the count is over, then high           mode 4   out high, low for one tick at the end
 *     mode 2   out low for the last tick of each period             mode 5   as 4, started by the gate
 *     mode 3   out high for the first half of each period           mode 1   as 0, started by the gate
 */
#include <pthread.h>

#include "dev/dev.h"

enum {
    PORT_BASE = 0x40,
    PORT_CONTROL = 3, /* offset */
    PORT_SPEAKER = 0x61,
    SPEAKER_GATE = 1,
    SPEAKER_DATA = 2,
    SPEAKER_REFRESH = 0x10,
    SPEAKER_OUT = 0x20,
    PIT_HZ = 1193182,
    CHANNELS = 3,
    RW_LATCH = 0,
    RW_LOW = 1,
    RW_HIGH = 2,
    RW_BOTH = 3,
    REFRESH_NS = 15085, /* port 61h bit 4 toggles with memory refresh */
};

struct channel {
    uint32_t count;   /* loaded value, 1..65536 */
    uint64_t started; /* nanoseconds */
    uint8_t mode, rw;
    bool bcd, gate, loaded;
    bool write_high, read_high; /* the next byte is the high one */
    uint8_t write_low;
    bool latched, status_latched;
    uint16_t latch;
    uint8_t status;
};

struct pit {
    pthread_mutex_t lock;
    const struct dev_env *env;
    struct dev_line irq0;
    struct loop_timer timer;
    uint64_t due;
    bool mute, out0;
    uint8_t speaker;
    struct channel ch[CHANNELS];
};

static uint64_t channel_ticks(const struct channel *c, uint64_t now)
{
    return dev_scale(now - c->started, PIT_HZ, 1000000000);
}

static bool channel_runs(const struct channel *c)
{
    bool by_gate = c->mode == 1 || c->mode == 5;
    return c->loaded && (c->gate || by_gate);
}

static bool channel_out(const struct channel *c, uint64_t now)
{
    if (!channel_runs(c))
        return c->mode != 0;
    uint64_t t = channel_ticks(c, now);
    switch (c->mode) {
    case 0:
    case 1: return t >= c->count;
    case 2: return t % c->count != c->count - 1;
    case 3: return t % c->count < (c->count + 1) / 2;
    default: return t != c->count;
    }
}

static uint16_t channel_value(const struct channel *c, uint64_t now)
{
    uint32_t wrap = c->bcd ? 10000 : 0x10000;
    uint32_t v = c->count;
    if (channel_runs(c)) {
        uint64_t t = channel_ticks(c, now);
        if (c->mode == 2)
            v = c->count - (uint32_t)(t % c->count);
        else if (c->mode == 3) /* counts down by two, twice a period */
            v = (c->count & ~1u) - (uint32_t)(2 * t % (c->count < 2 ? 2 : c->count & ~1u));
        else
            v = (uint32_t)((c->count + wrap - t % wrap) % wrap);
    }
    v %= wrap;
    if (c->bcd)
        v = v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 << 12;
    return (uint16_t)v;
}

/* Ticks from loading to the next change of the output after tick t; UINT64_MAX: none. */
static uint64_t channel_next_change(const struct channel *c, uint64_t t)
{
    uint64_t period = t / c->count * c->count, half = (c->count + 1) / 2;
    switch (c->mode) {
    case 0:
    case 1: return t < c->count ? c->count : UINT64_MAX;
    case 2: return t % c->count < c->count - 1 ? period + c->count - 1 : period + c->count;
    case 3: return t % c->count < half ? period + half : period + c->count;
    default: return t < c->count ? c->count : t == c->count ? c->count + 1ull : UINT64_MAX;
    }
}

/* Drive IRQ0 and wait for its next change. */
static void pit_update(struct pit *p)
{
    struct channel *c = &p->ch[0];
    uint64_t now = dev_now(p->env), next = UINT64_MAX;
    bool out = channel_out(c, now);
    if (out != p->out0) {
        p->out0 = out;
        if (!p->mute)
            dev_line_set(&p->irq0, out);
    }
    if (channel_runs(c))
        next = channel_next_change(c, channel_ticks(c, now));
    p->due = next == UINT64_MAX ? next : c->started + dev_scale(next, 1000000000, PIT_HZ) + 1;
    dev_timer_set(p->env, &p->timer, p->due);
}

/* The loop came too late to see every change: a low phase that passed unseen still must be an edge for the PIC. */
static void pit_event(void *arg)
{
    struct pit *p = arg;
    pthread_mutex_lock(&p->lock);
    struct channel *c = &p->ch[0];
    if (p->due <= dev_now(p->env) && p->out0 && !p->mute && channel_runs(c) && (c->mode == 2 || c->mode == 3) &&
        channel_out(c, dev_now(p->env))) {
        dev_line_set(&p->irq0, false);
        dev_line_set(&p->irq0, true);
    }
    pit_update(p);
    pthread_mutex_unlock(&p->lock);
}

static void channel_load(struct pit *p, struct channel *c, uint32_t raw)
{
    if (c->bcd)
        raw = (raw & 15) + (raw >> 4 & 15) * 10 + (raw >> 8 & 15) * 100 + (raw >> 12 & 15) * 1000;
    c->count = raw ? raw : c->bcd ? 10000 : 0x10000;
    c->started = dev_now(p->env);
    c->loaded = true;
}

static void channel_write(struct pit *p, struct channel *c, uint8_t v)
{
    switch (c->rw) {
    case RW_LOW: channel_load(p, c, v); break;
    case RW_HIGH: channel_load(p, c, (uint32_t)v << 8); break;
    default:
        if (!c->write_high)
            c->write_low = v;
        else
            channel_load(p, c, (uint32_t)v << 8 | c->write_low);
        c->write_high = !c->write_high;
        break;
    }
}

static uint8_t channel_read(struct pit *p, struct channel *c)
{
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    uint16_t v = c->latched ? c->latch : channel_value(c, dev_now(p->env));
    bool high = c->rw == RW_HIGH || (c->rw == RW_BOTH && c->read_high);
    if (c->rw == RW_BOTH)
        c->read_high = !c->read_high;
    if (c->rw != RW_BOTH || high)
        c->latched = false;
    return (uint8_t)(high ? v >> 8 : v);
}

static void channel_latch(struct pit *p, struct channel *c)
{
    if (c->latched)
        return;
    c->latch = channel_value(c, dev_now(p->env));
    c->latched = true;
}

static void channel_latch_status(struct pit *p, struct channel *c)
{
    if (c->status_latched)
        return;
    c->status = (uint8_t)(channel_out(c, dev_now(p->env)) << 7 | !c->loaded << 6 | c->rw << 4 | c->mode << 1 | c->bcd);
    c->status_latched = true;
}

static void pit_control(struct pit *p, uint8_t v)
{
    unsigned n = v >> 6;
    if (n == 3) { /* read back: bits 5, 4 low ask for count, status; 3..1 say of which */
        for (unsigned i = 0; i < CHANNELS; i++) {
            if (!(v & 2u << i))
                continue;
            if (!(v & 0x20))
                channel_latch(p, &p->ch[i]);
            if (!(v & 0x10))
                channel_latch_status(p, &p->ch[i]);
        }
        return;
    }
    struct channel *c = &p->ch[n];
    unsigned rw = v >> 4 & 3;
    if (rw == RW_LATCH) {
        channel_latch(p, c);
        return;
    }
    unsigned mode = v >> 1 & 7;
    c->rw = (uint8_t)rw;
    c->mode = (uint8_t)(mode > 5 ? mode - 4 : mode);
    c->bcd = v & 1;
    c->loaded = c->write_high = c->read_high = c->latched = c->status_latched = false;
}

static uint64_t pit_read(void *dev, uint64_t offset, unsigned size)
{
    (void)size;
    struct pit *p = dev;
    if (offset == PORT_CONTROL)
        return 0xff;
    pthread_mutex_lock(&p->lock);
    uint8_t v = channel_read(p, &p->ch[offset]);
    pthread_mutex_unlock(&p->lock);
    return v;
}

static void pit_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    (void)size;
    struct pit *p = dev;
    pthread_mutex_lock(&p->lock);
    if (offset == PORT_CONTROL)
        pit_control(p, (uint8_t)value);
    else
        channel_write(p, &p->ch[offset], (uint8_t)value);
    pit_update(p);
    pthread_mutex_unlock(&p->lock);
}

static uint64_t speaker_read(void *dev, uint64_t offset, unsigned size)
{
    (void)offset, (void)size;
    struct pit *p = dev;
    pthread_mutex_lock(&p->lock);
    uint64_t now = dev_now(p->env);
    uint8_t v = p->speaker;
    v |= now / REFRESH_NS & 1 ? SPEAKER_REFRESH : 0;
    v |= channel_out(&p->ch[2], now) ? SPEAKER_OUT : 0;
    pthread_mutex_unlock(&p->lock);
    return v;
}

static void speaker_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    (void)offset, (void)size;
    struct pit *p = dev;
    pthread_mutex_lock(&p->lock);
    struct channel *c = &p->ch[2];
    bool gate = value & SPEAKER_GATE;
    if (gate && !c->gate && (c->mode != 0 && c->mode != 4))
        c->started = dev_now(p->env); /* a rising gate starts the count anew */
    c->gate = gate;
    p->speaker = (uint8_t)value & (SPEAKER_GATE | SPEAKER_DATA | 0x0c);
    pthread_mutex_unlock(&p->lock);
}

void pit_mute(void *pit, bool mute)
{
    struct pit *p = pit;
    pthread_mutex_lock(&p->lock);
    if (p->mute != mute) {
        p->mute = mute;
        dev_line_set(&p->irq0, !mute && p->out0);
    }
    pthread_mutex_unlock(&p->lock);
}

void pit_reset(struct pit *p)
{
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < CHANNELS; i++)
        p->ch[i] = (struct channel){.mode = 3, .rw = RW_BOTH, .gate = i != 2, .count = 0x10000, .loaded = false};
    p->mute = false;
    p->speaker = 0;
    pit_update(p);
    pthread_mutex_unlock(&p->lock);
}

static const struct mmio_ops pit_ops = {pit_read, pit_write, W8};
static const struct mmio_ops speaker_ops = {speaker_read, speaker_write, W8};

struct pit *pit_init(const struct dev_env *e, struct dev_line irq0)
{
    struct pit *p = arena_alloc(e->arena, sizeof *p);
    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    p->env = e;
    p->irq0 = irq0;
    dev_timer_init(e, &p->timer, pit_event, p);
    pit_reset(p);
    bool ok =
        dev_map_io(e, PORT_BASE, 4, &pit_ops, p, "pit") && dev_map_io(e, PORT_SPEAKER, 1, &speaker_ops, p, "port61");
    return ok ? p : NULL;
}
