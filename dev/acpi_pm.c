/* dev/acpi_pm.c: ACPI fixed hardware (ACPI 6.4, 4.8): PM1a event and control blocks, the power management timer at
 * 3.579545 MHz with 32 bits, and an empty GPE0 block.  SLP_TYP S5 with SLP_EN asks to power off.
 *
 * There is no SMI command port, so the machine is always in ACPI mode: SCI_EN reads as one.
 */
#include <pthread.h>

#include "dev/dev.h"

enum {
    REG_STATUS = ACPI_PM1_EVENT,
    REG_ENABLE = ACPI_PM1_EVENT + 2,
    REG_CONTROL = ACPI_PM1_CONTROL,
    REG_TIMER = ACPI_PM_TIMER,
    REG_GPE_STATUS = ACPI_GPE0,
    REG_GPE_ENABLE = ACPI_GPE0 + 2,
    REG_END = ACPI_GPE0 + 4,

    STATUS_TIMER = 1 << 0,
    STATUS_POWER_BUTTON = 1 << 8,
    STATUS_BITS = 0x8731,
    ENABLE_BITS = 0x0721,
    CONTROL_SCI = 1,
    CONTROL_SLEEP_TYPE_SHIFT = 10,
    CONTROL_SLEEP = 1 << 13,
    TIMER_HZ = 3579545,
    TIMER_TOP = 31, /* bit whose change sets TMR_STS */
};

struct acpi_pm {
    pthread_mutex_t lock;
    const struct dev_env *env;
    struct dev_line sci;
    struct dev_request power_off;
    struct loop_timer timer;
    struct bus_range range;
    bool mapped;
    uint16_t status, enable, control, gpe_status, gpe_enable;
    uint64_t seen; /* timer's ticks when TMR_STS was last worked out */
};

static uint64_t pm_ticks(const struct acpi_pm *a)
{
    return dev_scale(dev_now(a->env), TIMER_HZ, 1000000000);
}

static void pm_update(struct acpi_pm *a)
{
    uint64_t now = pm_ticks(a), due = UINT64_MAX;
    if (now >> TIMER_TOP != a->seen >> TIMER_TOP)
        a->status |= STATUS_TIMER;
    a->seen = now;
    if ((a->enable & STATUS_TIMER) && !(a->status & STATUS_TIMER))
        due = dev_scale(((now >> TIMER_TOP) + 1) << TIMER_TOP, 1000000000, TIMER_HZ) + 1;
    dev_timer_set(a->env, &a->timer, due);
    dev_line_set(&a->sci, (a->status & a->enable) || (a->gpe_status & a->gpe_enable));
}

static void pm_event(void *arg)
{
    struct acpi_pm *a = arg;
    pthread_mutex_lock(&a->lock);
    pm_update(a);
    pthread_mutex_unlock(&a->lock);
}

/* The registers as bytes, for accesses of any width and place. */
static void pm_bytes(struct acpi_pm *a, uint8_t b[REG_END])
{
    bytes_put(b + REG_STATUS, a->status, 2);
    bytes_put(b + REG_ENABLE, a->enable, 2);
    bytes_put(b + REG_CONTROL, a->control | CONTROL_SCI, 4);
    bytes_put(b + REG_TIMER, pm_ticks(a), 4);
    bytes_put(b + REG_GPE_STATUS, a->gpe_status, 2);
    bytes_put(b + REG_GPE_ENABLE, a->gpe_enable, 2);
}

static uint64_t pm_read(void *dev, uint64_t offset, unsigned size)
{
    struct acpi_pm *a = dev;
    uint8_t b[REG_END];
    if (offset + size > REG_END)
        return 0;
    pthread_mutex_lock(&a->lock);
    if (offset < REG_ENABLE) /* TMR_STS may be due; the timer, read often, needs none of this */
        pm_update(a);
    pm_bytes(a, b);
    pthread_mutex_unlock(&a->lock);
    return bytes_get(b + offset, size);
}

/* The part of the 16-bit register at reg that an access writes, as value and mask. */
static uint16_t pm_part(unsigned reg, uint64_t offset, uint64_t value, unsigned size, uint16_t *mask)
{
    uint64_t all = size < 8 ? mask_bits(size * 8) : ~0ull;
    unsigned shift = offset >= reg ? (unsigned)(offset - reg) * 8 : 0,
             back = offset < reg ? (unsigned)(reg - offset) * 8 : 0;
    if (shift >= 16 || back >= 64) {
        *mask = 0;
        return 0;
    }
    *mask = (uint16_t)(all >> back << shift);
    return (uint16_t)((value & all) >> back << shift);
}

static void pm_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    struct acpi_pm *a = dev;
    uint16_t m, v;
    bool off = false;
    pthread_mutex_lock(&a->lock);
    pm_update(a);
    a->status &= (uint16_t)~pm_part(REG_STATUS, offset, value, size, &m);
    v = pm_part(REG_ENABLE, offset, value, size, &m);
    a->enable = (uint16_t)(((a->enable & ~m) | v) & ENABLE_BITS);
    v = pm_part(REG_CONTROL, offset, value, size, &m);
    if (m) {
        a->control = (uint16_t)(((a->control & ~m) | v) & ~CONTROL_SLEEP);
        off = (v & CONTROL_SLEEP) && (a->control >> CONTROL_SLEEP_TYPE_SHIFT & 7) == ACPI_S5;
    }
    a->gpe_status &= (uint16_t)~pm_part(REG_GPE_STATUS, offset, value, size, &m);
    v = pm_part(REG_GPE_ENABLE, offset, value, size, &m);
    a->gpe_enable = (uint16_t)((a->gpe_enable & ~m) | v);
    pm_update(a);
    pthread_mutex_unlock(&a->lock);
    if (off)
        dev_request_send(&a->power_off, 0);
}

void acpi_pm_power_button(struct acpi_pm *a)
{
    pthread_mutex_lock(&a->lock);
    a->status |= STATUS_POWER_BUTTON;
    pm_update(a);
    pthread_mutex_unlock(&a->lock);
}

void acpi_pm_move(struct acpi_pm *a, uint16_t base, bool enabled)
{
    pthread_mutex_lock(&a->lock);
    if (a->mapped && (!enabled || a->range.base != base)) {
        bus_unmap(a->env->io, &a->range);
        a->mapped = false;
    }
    if (enabled && !a->mapped) {
        a->range.base = base;
        a->mapped = bus_map(a->env->io, &a->range);
    }
    pthread_mutex_unlock(&a->lock);
}

void acpi_pm_reset(struct acpi_pm *a)
{
    pthread_mutex_lock(&a->lock);
    a->status = a->enable = a->control = a->gpe_status = a->gpe_enable = 0;
    a->seen = pm_ticks(a);
    pm_update(a);
    pthread_mutex_unlock(&a->lock);
}

static const struct mmio_ops pm_ops = {pm_read, pm_write, W8 | W16 | W32};

struct acpi_pm *acpi_pm_init(const struct dev_env *e, uint16_t base, struct dev_line sci, struct dev_request power_off)
{
    struct acpi_pm *a = arena_alloc(e->arena, sizeof *a);
    if (!a)
        return NULL;
    pthread_mutex_init(&a->lock, NULL);
    a->env = e;
    a->sci = sci;
    a->power_off = power_off;
    dev_timer_init(e, &a->timer, pm_event, a);
    a->range = (struct bus_range){.base = base, .size = ACPI_PM_SIZE, .ops = &pm_ops, .dev = a, .name = "acpi-pm"};
    acpi_pm_reset(a);
    acpi_pm_move(a, base, true);
    return a->mapped ? a : NULL;
}
