/* dev/hpet.c: high precision event timers (IA-PC HPET specification 1.0a): a 64-bit counter at 100 MHz and three
 * comparators.
 *
 * The counter is computed from the clock.  Each comparator has a loop timer that waits for its match.  Interrupts go
 * to the I/O APIC pin named in its configuration, or for timers 0 and 1 to where the PIT's and the RTC's went (legacy
 * replacement), or as a message (FSB).
 */
#include <pthread.h>

#include "dev/dev.h"

enum {
    REG_CAPABILITIES = 0x000,
    REG_CONFIG = 0x010,
    REG_STATUS = 0x020,
    REG_COUNTER = 0x0f0,
    REG_TIMER = 0x100, /* and every 20h: configuration, comparator, FSB route */
    TIMER_STRIDE = 0x20,
    TIMER_CONFIG = 0x00,
    TIMER_COMPARATOR = 0x08,
    TIMER_FSB = 0x10,
    SIZE = 0x400,
    TIMERS = 3,

    CONFIG_ENABLE = 1,
    CONFIG_LEGACY = 2,
    T_LEVEL = 1 << 1,
    T_ENABLE = 1 << 2,
    T_PERIODIC = 1 << 3,
    T_PERIODIC_CAP = 1 << 4,
    T_64_CAP = 1 << 5,
    T_SET = 1 << 6,
    T_32 = 1 << 8,
    T_ROUTE_SHIFT = 9,
    T_FSB = 1 << 14,
    T_FSB_CAP = 1 << 15,
    T_WRITABLE = T_LEVEL | T_ENABLE | T_PERIODIC | T_32 | 0x1f << T_ROUTE_SHIFT | T_FSB,
    TICK_NS = HPET_PERIOD_FS / 1000000,
};
#define ROUTES       (0x00f00004ull << 32) /* pins 2 and 20..23 */
#define CAPABILITIES ((uint64_t)HPET_PERIOD_FS << 32 | 0x8086a001u | (TIMERS - 1) << 8)

struct hpet;
struct comparator {
    struct hpet *hpet;
    unsigned n;
    uint64_t config, match, period, fsb;
    bool line; /* as driven; where is in `driven` */
    struct dev_line driven;
    struct loop_timer timer;
};

struct hpet {
    pthread_mutex_t lock;
    const struct dev_env *env;
    struct dev_line route, legacy[2];
    struct apic_net *msi;
    void (*legacy_changed)(void *arg, bool on);
    void *legacy_arg;
    uint64_t config, status;
    uint64_t counter, started; /* the counter stood at `counter` at nanosecond `started` */
    struct comparator timer[TIMERS];
};

static uint64_t hpet_counter(const struct hpet *h)
{
    if (!(h->config & CONFIG_ENABLE))
        return h->counter;
    return h->counter + (dev_now(h->env) - h->started) / TICK_NS;
}

static uint64_t comparator_mask(const struct comparator *t)
{
    return t->config & T_32 ? 0xffffffffu : ~0ull;
}

static struct dev_line comparator_line(const struct comparator *t)
{
    const struct hpet *h = t->hpet;
    if ((h->config & CONFIG_LEGACY) && t->n < 2)
        return h->legacy[t->n];
    struct dev_line l = h->route;
    l.n = t->config >> T_ROUTE_SHIFT & 0x1f;
    return l;
}

/* Bring the wire to what status and configuration say.  A wire no longer meant is let go; one raised by an edge stays
 * up while nothing changes, because an 8259 forgets a request whose line falls before it is acknowledged. */
static void comparator_drive(struct comparator *t)
{
    bool level_mode = t->config & T_LEVEL;
    bool up = (t->config & T_ENABLE) && !(t->config & T_FSB) && (level_mode ? t->hpet->status >> t->n & 1 : t->line);
    struct dev_line want = comparator_line(t);
    if (t->line && (!up || want.n != t->driven.n || want.fn != t->driven.fn)) {
        dev_line_set(&t->driven, false);
        t->line = false;
    }
    if (up && !t->line && level_mode) {
        t->driven = want;
        t->line = true;
        dev_line_set(&t->driven, true);
    }
}

static void comparator_fire(struct comparator *t)
{
    struct hpet *h = t->hpet;
    if (t->config & T_LEVEL)
        h->status |= 1u << t->n;
    if (!(t->config & T_ENABLE))
        return;
    if (t->config & T_FSB) {
        apic_msi(h->msi, t->fsb >> 32, (uint32_t)t->fsb);
    } else if (t->config & T_LEVEL) {
        comparator_drive(t);
    } else {
        t->driven = comparator_line(t);
        t->line = true;
        dev_line_set(&t->driven, false);
        dev_line_set(&t->driven, true);
    }
}

static void comparator_arm(struct comparator *t)
{
    struct hpet *h = t->hpet;
    uint64_t due = UINT64_MAX;
    if (h->config & CONFIG_ENABLE) {
        uint64_t ticks = (t->match - hpet_counter(h)) & comparator_mask(t);
        if (ticks < UINT64_MAX / TICK_NS / 2)
            due = dev_now(h->env) + (ticks ? ticks : comparator_mask(t) >> 8) * TICK_NS;
    }
    dev_timer_set(h->env, &t->timer, due);
}

/* The match has passed if the counter is less than half its range ahead of it. */
static bool comparator_due(const struct comparator *t)
{
    uint64_t behind = (hpet_counter(t->hpet) - t->match) & comparator_mask(t);
    return behind <= comparator_mask(t) >> 1;
}

static void comparator_event(void *arg)
{
    struct comparator *t = arg;
    struct hpet *h = t->hpet;
    pthread_mutex_lock(&h->lock);
    if ((h->config & CONFIG_ENABLE) && comparator_due(t)) {
        bool periodic = (t->config & T_PERIODIC) && t->period;
        if (periodic) {
            uint64_t behind = (hpet_counter(h) - t->match) & comparator_mask(t);
            t->match = (t->match + (behind / t->period + 1) * t->period) & comparator_mask(t);
        }
        comparator_fire(t);
        if (periodic || (t->config & T_32))
            comparator_arm(t);
    } else {
        comparator_arm(t);
    }
    pthread_mutex_unlock(&h->lock);
}

static void hpet_arm_all(struct hpet *h)
{
    for (unsigned i = 0; i < TIMERS; i++)
        comparator_arm(&h->timer[i]);
}

static uint64_t timer_register(const struct comparator *t, unsigned reg)
{
    switch (reg) {
    case TIMER_CONFIG: return t->config | ROUTES | T_64_CAP | T_FSB_CAP | T_PERIODIC_CAP;
    case TIMER_COMPARATOR: return t->match;
    case TIMER_FSB: return t->fsb;
    default: return 0;
    }
}

static uint64_t hpet_get(const struct hpet *h, unsigned reg)
{
    switch (reg) {
    case REG_CAPABILITIES: return CAPABILITIES;
    case REG_CONFIG: return h->config;
    case REG_STATUS: return h->status;
    case REG_COUNTER: return hpet_counter(h);
    }
    if (reg >= REG_TIMER && reg < REG_TIMER + TIMERS * TIMER_STRIDE)
        return timer_register(&h->timer[(reg - REG_TIMER) / TIMER_STRIDE], (reg - REG_TIMER) % TIMER_STRIDE);
    return 0;
}

/* 2.3.9.2.2: a write sets the comparator, but while periodic only if T_SET asks for it; it sets the period too.
 * T_SET ends with the last half written. */
static void comparator_write(struct comparator *t, uint64_t v, uint64_t written)
{
    uint64_t mask = comparator_mask(t);
    if (!(t->config & T_PERIODIC) || (t->config & T_SET))
        t->match = v & mask;
    if (t->config & T_PERIODIC)
        t->period = ((t->period & ~written) | (v & written)) & mask;
    if (written >> 32 || (t->config & T_32))
        t->config &= ~(uint64_t)T_SET;
    comparator_arm(t);
}

static void timer_register_set(struct comparator *t, unsigned reg, uint64_t v, uint64_t written)
{
    switch (reg) {
    case TIMER_CONFIG:
        t->config = v & (T_WRITABLE | T_SET);
        if (t->config & T_32) {
            t->match &= 0xffffffffu;
            t->period &= 0xffffffffu;
        }
        if (!(t->config & T_LEVEL))
            t->hpet->status &= ~(1ull << t->n);
        comparator_drive(t);
        comparator_arm(t);
        break;
    case TIMER_COMPARATOR: comparator_write(t, v, written); break;
    case TIMER_FSB: t->fsb = v; break;
    }
}

static void config_write(struct hpet *h, uint64_t v)
{
    uint64_t now = hpet_counter(h);
    h->config = v & (CONFIG_ENABLE | CONFIG_LEGACY);
    h->counter = now;
    h->started = dev_now(h->env);
    for (unsigned i = 0; i < TIMERS; i++)
        comparator_drive(&h->timer[i]);
    hpet_arm_all(h);
}

static void status_write(struct hpet *h, uint64_t v)
{
    h->status &= ~v;
    for (unsigned i = 0; i < TIMERS; i++)
        comparator_drive(&h->timer[i]);
}

/* `written`: which bits of v the guest wrote (half registers). */
static void hpet_set(struct hpet *h, unsigned reg, uint64_t v, uint64_t written)
{
    if (reg == REG_CONFIG) {
        config_write(h, v);
    } else if (reg == REG_STATUS) {
        status_write(h, v & written);
    } else if (reg == REG_COUNTER) {
        h->counter = v;
        h->started = dev_now(h->env);
        hpet_arm_all(h);
    } else if (reg >= REG_TIMER && reg < REG_TIMER + TIMERS * TIMER_STRIDE) {
        timer_register_set(&h->timer[(reg - REG_TIMER) / TIMER_STRIDE], (reg - REG_TIMER) % TIMER_STRIDE, v, written);
    }
}

static uint64_t hpet_read(void *dev, uint64_t offset, unsigned size)
{
    struct hpet *h = dev;
    pthread_mutex_lock(&h->lock);
    uint64_t v = hpet_get(h, (unsigned)offset & ~7u);
    pthread_mutex_unlock(&h->lock);
    return v >> (offset & 7) * 8 & mask_bits(size * 8);
}

static void hpet_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    struct hpet *h = dev;
    unsigned reg = (unsigned)offset & ~7u, shift = (offset & 7) * 8;
    uint64_t written = mask_bits(size * 8) << shift;
    pthread_mutex_lock(&h->lock);
    bool before = h->config & CONFIG_LEGACY;
    hpet_set(h, reg, (hpet_get(h, reg) & ~written) | (value << shift & written), written);
    bool after = h->config & CONFIG_LEGACY;
    pthread_mutex_unlock(&h->lock);
    if (before != after && h->legacy_changed)
        h->legacy_changed(h->legacy_arg, after);
}

void hpet_reset(struct hpet *h)
{
    pthread_mutex_lock(&h->lock);
    bool legacy = h->config & CONFIG_LEGACY;
    h->config = h->status = h->counter = 0;
    for (unsigned i = 0; i < TIMERS; i++) {
        struct comparator *t = &h->timer[i];
        t->config = t->period = t->fsb = 0;
        t->match = ~0ull;
        comparator_drive(t);
    }
    hpet_arm_all(h);
    pthread_mutex_unlock(&h->lock);
    if (legacy && h->legacy_changed)
        h->legacy_changed(h->legacy_arg, false);
}

static const struct mmio_ops hpet_ops = {hpet_read, hpet_write, W32 | W64};

struct hpet *hpet_init(const struct dev_env *e, gpa_t base, struct dev_line route, struct dev_line legacy0,
                       struct dev_line legacy8, struct apic_net *msi, void (*legacy_changed)(void *arg, bool on),
                       void *arg)
{
    struct hpet *h = arena_alloc(e->arena, sizeof *h);
    if (!h)
        return NULL;
    pthread_mutex_init(&h->lock, NULL);
    h->env = e;
    h->route = route;
    h->legacy[0] = legacy0;
    h->legacy[1] = legacy8;
    h->msi = msi;
    h->legacy_changed = legacy_changed;
    h->legacy_arg = arg;
    for (unsigned i = 0; i < TIMERS; i++) {
        h->timer[i].hpet = h;
        h->timer[i].n = i;
        dev_timer_init(e, &h->timer[i].timer, comparator_event, &h->timer[i]);
    }
    hpet_reset(h);
    return dev_map_mem(e, base, SIZE, &hpet_ops, h, "hpet") ? h : NULL;
}
