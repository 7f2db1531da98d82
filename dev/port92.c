/* dev/port92.c: system control port A: bit 1 is the A20 gate, a rising bit 0 resets the machine.
 */
#include <pthread.h>

#include "dev/dev.h"

enum { PORT = 0x92, BIT_RESET = 1, BIT_A20 = 2 };

struct port92 {
    pthread_mutex_t lock;
    struct dev_request reset, a20;
    uint8_t value;
};

static uint64_t port92_read(void *dev, uint64_t offset, unsigned size)
{
    (void)offset, (void)size;
    struct port92 *p = dev;
    pthread_mutex_lock(&p->lock);
    uint8_t v = p->value;
    pthread_mutex_unlock(&p->lock);
    return v;
}

static void port92_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    (void)offset, (void)size;
    struct port92 *p = dev;
    pthread_mutex_lock(&p->lock);
    uint8_t before = p->value;
    p->value = (uint8_t)value & (BIT_RESET | BIT_A20);
    pthread_mutex_unlock(&p->lock);
    if ((before ^ value) & BIT_A20)
        dev_request_send(&p->a20, !!(value & BIT_A20));
    if ((value & BIT_RESET) && !(before & BIT_RESET))
        dev_request_send(&p->reset, 0);
}

void port92_reset(struct port92 *p)
{
    pthread_mutex_lock(&p->lock);
    p->value = BIT_A20;
    pthread_mutex_unlock(&p->lock);
}

static const struct mmio_ops port92_ops = {port92_read, port92_write, W8};

struct port92 *port92_init(const struct dev_env *e, struct dev_request reset, struct dev_request a20)
{
    struct port92 *p = arena_alloc(e->arena, sizeof *p);
    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    p->reset = reset;
    p->a20 = a20;
    port92_reset(p);
    return dev_map_io(e, PORT, 1, &port92_ops, p, "port92") ? p : NULL;
}
