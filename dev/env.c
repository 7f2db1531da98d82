/* dev/env.c: what devices are made from: the host's clock behind struct dev_clock, timers, and mapping registers onto
 * buses.
 */
#include <time.h>

#include "dev/dev.h"

static uint64_t host_now(void *arg)
{
    (void)arg;
    return os_nanoseconds();
}

static void host_set(void *arg, struct loop_timer *t, uint64_t deadline)
{
    (void)arg;
    loop_timer_set(t, deadline);
}

static int64_t host_date(void *arg)
{
    (void)arg;
    return (int64_t)time(NULL);
}

void dev_clock_host(struct dev_clock *c, struct loop *l)
{
    *c = (struct dev_clock){.now = host_now, .set = host_set, .date = host_date, .loop = l};
}

void dev_timer_init(const struct dev_env *e, struct loop_timer *t, void (*fn)(void *), void *arg)
{
    loop_timer_init(t, e->clock->loop, fn, arg);
}

void dev_timer_set(const struct dev_env *e, struct loop_timer *t, uint64_t deadline)
{
    e->clock->set(e->clock->arg, t, deadline);
}

bool dev_map_io(const struct dev_env *e, uint16_t port, unsigned count, const struct mmio_ops *ops, void *dev,
                const char *name)
{
    return dev_map_mem(&(struct dev_env){.mem = e->io}, port, count, ops, dev, name);
}

bool dev_map_mem(const struct dev_env *e, gpa_t base, uint64_t size, const struct mmio_ops *ops, void *dev,
                 const char *name)
{
    struct bus_range r = {.base = base, .size = size, .ops = ops, .dev = dev, .name = name};
    return bus_map(e->mem, &r);
}
