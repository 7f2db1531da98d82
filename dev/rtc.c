/* dev/rtc.c: MC146818 real time clock and 128 bytes of CMOS memory behind ports 70h (index; bit 7 is the NMI mask)
 * and 71h.
 *
 * Time is not stepped: the clock is the host's UTC plus the offset that the guest's settings made.  While SET
 * (register B bit 7) is on, the registers stand still as written.  Interrupt flags in register C come from a timer
 * that runs only while an interrupt is enabled; a read of C without it works out which of them would be set since the
 * last read.
 */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "dev/dev.h"

enum {
    PORT_BASE = 0x70,
    CMOS_SIZE = 128,
    REG_SECONDS = 0,
    REG_SECONDS_ALARM = 1,
    REG_MINUTES = 2,
    REG_MINUTES_ALARM = 3,
    REG_HOURS = 4,
    REG_HOURS_ALARM = 5,
    REG_WEEKDAY = 6,
    REG_DAY = 7,
    REG_MONTH = 8,
    REG_YEAR = 9,
    REG_A = 10,
    REG_B = 11,
    REG_C = 12,
    REG_D = 13,
    REG_CENTURY = 0x32,

    A_UPDATING = 0x80,
    A_DIVIDER = 0x70,
    B_SET = 0x80,
    B_PERIODIC = 0x40,
    B_ALARM = 0x20,
    B_UPDATE = 0x10,
    B_BINARY = 0x04,
    B_24 = 0x02,
    C_IRQ = 0x80,
    D_VALID = 0x80,
    HOUR_PM = 0x80,
    UPDATE_NS = 244000, /* register A says "updating" so long before each second */
};
#define SECOND 1000000000ull

struct rtc {
    pthread_mutex_t lock;
    const struct dev_env *env;
    struct dev_line irq8;
    struct loop_timer timer;
    uint8_t index, cmos[CMOS_SIZE];
    int64_t offset;    /* guest's seconds - seconds of rtc_base */
    int64_t base_date; /* host date and time of the environment's clock taken together once */
    uint64_t base_now;
    uint64_t seen; /* events up to here are in register C */
};

/* Nanoseconds of the guest's wall clock since 1970. */
static int64_t rtc_seconds(const struct rtc *r, uint64_t now)
{
    return r->base_date + r->offset + (int64_t)((now - r->base_now) / SECOND);
}

static uint8_t rtc_encode(const struct rtc *r, int v)
{
    return (uint8_t)(r->cmos[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}

static int rtc_decode(const struct rtc *r, uint8_t v)
{
    return r->cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static void rtc_latch(struct rtc *r, uint64_t now)
{
    time_t t = (time_t)rtc_seconds(r, now);
    struct tm tm;
    gmtime_r(&t, &tm);
    uint8_t *c = r->cmos;
    c[REG_SECONDS] = rtc_encode(r, tm.tm_sec);
    c[REG_MINUTES] = rtc_encode(r, tm.tm_min);
    if (c[REG_B] & B_24) {
        c[REG_HOURS] = rtc_encode(r, tm.tm_hour);
    } else {
        int h = tm.tm_hour % 12 ? tm.tm_hour % 12 : 12;
        c[REG_HOURS] = (uint8_t)(rtc_encode(r, h) | (tm.tm_hour >= 12 ? HOUR_PM : 0));
    }
    c[REG_WEEKDAY] = rtc_encode(r, tm.tm_wday + 1);
    c[REG_DAY] = rtc_encode(r, tm.tm_mday);
    c[REG_MONTH] = rtc_encode(r, tm.tm_mon + 1);
    c[REG_YEAR] = rtc_encode(r, tm.tm_year % 100);
    c[REG_CENTURY] = rtc_encode(r, (tm.tm_year + 1900) / 100);
}

static int rtc_hour(const struct rtc *r, uint8_t v)
{
    if (r->cmos[REG_B] & B_24)
        return rtc_decode(r, v);
    int h = rtc_decode(r, v & (uint8_t)~HOUR_PM) % 12;
    return v & HOUR_PM ? h + 12 : h;
}

/* The registers, as the guest wrote them, become the time. */
static void rtc_set(struct rtc *r, uint64_t now)
{
    const uint8_t *c = r->cmos;
    struct tm tm = {
        .tm_sec = rtc_decode(r, c[REG_SECONDS]),
        .tm_min = rtc_decode(r, c[REG_MINUTES]),
        .tm_hour = rtc_hour(r, c[REG_HOURS]),
        .tm_mday = rtc_decode(r, c[REG_DAY]),
        .tm_mon = rtc_decode(r, c[REG_MONTH]) - 1,
        .tm_year = rtc_decode(r, c[REG_CENTURY]) * 100 + rtc_decode(r, c[REG_YEAR]) - 1900,
    };
    r->offset += (int64_t)timegm(&tm) - rtc_seconds(r, now);
}

static bool rtc_stopped(const struct rtc *r)
{
    return (r->cmos[REG_B] & B_SET) || (r->cmos[REG_A] & A_DIVIDER) != 0x20;
}

/* Nanoseconds between periodic interrupts; 0: none. */
static uint64_t rtc_period(const struct rtc *r)
{
    unsigned rate = r->cmos[REG_A] & 15;
    if (!rate || (r->cmos[REG_A] & A_DIVIDER) != 0x20)
        return 0;
    if (rate < 3)
        rate += 7;
    return (SECOND << (rate - 1)) / 32768;
}

/* Two high bits set mean "any" in an alarm register. */
static bool alarm_field(const struct rtc *r, unsigned reg, int now)
{
    uint8_t v = r->cmos[reg];
    if ((v & 0xc0) == 0xc0)
        return true;
    return now == (reg == REG_HOURS_ALARM ? rtc_hour(r, v) : rtc_decode(r, v));
}

static bool alarm_at(const struct rtc *r, int64_t second)
{
    int day = (int)(((second % 86400) + 86400) % 86400);
    return alarm_field(r, REG_SECONDS_ALARM, day % 60) && alarm_field(r, REG_MINUTES_ALARM, day / 60 % 60) &&
           alarm_field(r, REG_HOURS_ALARM, day / 3600);
}

/* Set the flags of register C for all that happened in (seen, now]. */
static void rtc_catch_up(struct rtc *r, uint64_t now)
{
    uint64_t from = r->seen - r->base_now, to = now - r->base_now, period = rtc_period(r);
    if (period && from / period != to / period)
        r->cmos[REG_C] |= B_PERIODIC;
    uint64_t second = from / SECOND, last = to / SECOND;
    if (second != last && !rtc_stopped(r)) {
        r->cmos[REG_C] |= B_UPDATE;
        uint64_t first = last - second > 86400 ? last - 86400 : second;
        for (uint64_t s = first + 1; s <= last && !(r->cmos[REG_C] & B_ALARM); s++)
            if (alarm_at(r, r->base_date + r->offset + (int64_t)s))
                r->cmos[REG_C] |= B_ALARM;
    }
    r->seen = now;
    if (r->cmos[REG_C] & r->cmos[REG_B] & (B_PERIODIC | B_ALARM | B_UPDATE))
        r->cmos[REG_C] |= C_IRQ;
    dev_line_set(&r->irq8, r->cmos[REG_C] & C_IRQ);
}

static void rtc_arm(struct rtc *r)
{
    uint64_t due = UINT64_MAX, since = r->seen - r->base_now, period = rtc_period(r);
    if ((r->cmos[REG_B] & B_PERIODIC) && period)
        due = r->base_now + (since / period + 1) * period;
    if ((r->cmos[REG_B] & (B_ALARM | B_UPDATE)) && !rtc_stopped(r)) {
        uint64_t second = r->base_now + (since / SECOND + 1) * SECOND;
        due = second < due ? second : due;
    }
    if (r->cmos[REG_C] & C_IRQ)
        due = UINT64_MAX; /* the line is up; the next read of C looks again */
    dev_timer_set(r->env, &r->timer, due);
}

static void rtc_event(void *arg)
{
    struct rtc *r = arg;
    pthread_mutex_lock(&r->lock);
    rtc_catch_up(r, dev_now(r->env));
    rtc_arm(r);
    pthread_mutex_unlock(&r->lock);
}

static uint8_t rtc_read_register(struct rtc *r)
{
    uint64_t now = dev_now(r->env);
    uint8_t v;
    if ((r->index <= REG_YEAR || r->index == REG_CENTURY) && !rtc_stopped(r) &&
        !(r->index & 1 && r->index <= REG_HOURS_ALARM))
        rtc_latch(r, now);
    switch (r->index) {
    case REG_A:
        v = r->cmos[REG_A];
        if (!rtc_stopped(r) && (now - r->base_now) % SECOND >= SECOND - UPDATE_NS)
            v |= A_UPDATING;
        return v;
    case REG_C:
        rtc_catch_up(r, now);
        v = r->cmos[REG_C];
        r->cmos[REG_C] = 0;
        dev_line_set(&r->irq8, false);
        rtc_arm(r);
        return v;
    case REG_D: return D_VALID;
    default: return r->cmos[r->index];
    }
}

static void rtc_write_register(struct rtc *r, uint8_t v)
{
    uint64_t now = dev_now(r->env);
    bool clock = r->index <= REG_YEAR || r->index == REG_CENTURY;
    bool alarm = r->index & 1 && r->index <= REG_HOURS_ALARM;
    switch (r->index) {
    case REG_C:
    case REG_D: return;
    case REG_A:
    case REG_B: {
        bool was = rtc_stopped(r);
        rtc_catch_up(r, now);
        if (!was)
            rtc_latch(r, now);
        r->cmos[r->index] = r->index == REG_A ? v & 0x7f : v;
        if (was && !rtc_stopped(r))
            rtc_set(r, now);
        rtc_catch_up(r, now);
        rtc_arm(r);
        break;
    }
    default:
        if (clock && !alarm && !rtc_stopped(r))
            rtc_latch(r, now);
        r->cmos[r->index] = v;
        if (clock && !alarm && !rtc_stopped(r))
            rtc_set(r, now);
        break;
    }
}

static uint64_t rtc_read(void *dev, uint64_t offset, unsigned size)
{
    (void)size;
    struct rtc *r = dev;
    if (offset == 0)
        return 0xff; /* the index register is write only */
    pthread_mutex_lock(&r->lock);
    uint8_t v = rtc_read_register(r);
    pthread_mutex_unlock(&r->lock);
    return v;
}

static void rtc_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    (void)size;
    struct rtc *r = dev;
    pthread_mutex_lock(&r->lock);
    if (offset == 0)
        r->index = value & 0x7f;
    else
        rtc_write_register(r, (uint8_t)value);
    pthread_mutex_unlock(&r->lock);
}

/* Reset does not touch time and memory, only what asks for interrupts (MC146818 data sheet, RESET). */
void rtc_reset(struct rtc *r)
{
    pthread_mutex_lock(&r->lock);
    r->cmos[REG_B] &= (uint8_t) ~(B_PERIODIC | B_ALARM | B_UPDATE);
    r->cmos[REG_C] = 0;
    r->index = 0;
    dev_line_set(&r->irq8, false);
    rtc_arm(r);
    pthread_mutex_unlock(&r->lock);
}

/* The bytes in which a PC's firmware finds how much memory there is. */
static void rtc_memory_size(struct rtc *r, uint64_t low, uint64_t high)
{
    uint64_t extended = low > 1 << 20 ? (low - (1 << 20)) >> 10 : 0;
    uint64_t above16 = low > 16 << 20 ? (low - (16 << 20)) >> 16 : 0;
    extended = extended > 65535 ? 65535 : extended;
    above16 = above16 > 65535 ? 65535 : above16;
    bytes_put(&r->cmos[0x15], 640, 2);
    bytes_put(&r->cmos[0x17], extended, 2);
    bytes_put(&r->cmos[0x30], extended, 2);
    bytes_put(&r->cmos[0x34], above16, 2);
    bytes_put(&r->cmos[0x5b], high >> 16, 3);
}

static const struct mmio_ops rtc_ops = {rtc_read, rtc_write, W8};

struct rtc *rtc_init(const struct dev_env *e, uint64_t ram_low, uint64_t ram_high, struct dev_line irq8)
{
    struct rtc *r = arena_alloc(e->arena, sizeof *r);
    if (!r)
        return NULL;
    pthread_mutex_init(&r->lock, NULL);
    r->env = e;
    r->irq8 = irq8;
    r->base_date = e->clock->date(e->clock->arg);
    r->base_now = r->seen = dev_now(e);
    dev_timer_init(e, &r->timer, rtc_event, r);
    r->cmos[REG_A] = 0x26; /* 32768 Hz, 1024 interrupts a second */
    r->cmos[REG_B] = B_24;
    r->cmos[0x14] = 0x06; /* equipment: 80x25, coprocessor; no floppy */
    rtc_memory_size(r, ram_low, ram_high);
    rtc_reset(r);
    return dev_map_io(e, PORT_BASE, 2, &rtc_ops, r, "rtc") ? r : NULL;
}
