/* dev/apic_net.c: what connects local APICs with each other and with I/O APICs: destinations of messages (SDM vol. 3,
 * 11.6.2), EOI broadcasts, message signalled interrupts, and the memory page at which each CPU sees its own local APIC.
 *
 * All CPUs share one bus, so the page belongs to the net; which APIC answers is found by the calling thread
 * (apic_this_thread). The page moves as a whole when a CPU writes another address to IA32_APIC_BASE.  The table of
 * APICs is filled before anything runs and never changes, so nothing here needs a lock but the move.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "dev/dev.h"

enum { PAGE = 4096 };

struct apic_net {
    const struct dev_env *env;
    struct lapic *lapic[APIC_CPUS_MAX];
    unsigned n;
    atomic_uint turn; /* where the search for the lowest priority starts */
    pthread_key_t self;
    pthread_mutex_t move_lock;
    struct bus_range page;
    void (*eoi)(void *arg, uint8_t vector);
    void *eoi_arg;
};

static struct lapic *net_self(const struct apic_net *n)
{
    struct lapic *l = pthread_getspecific(n->self);
    return l ? l : n->lapic[0]; /* the monitor's thread sees CPU 0 */
}

static uint64_t net_read(void *dev, uint64_t offset, unsigned size)
{
    return lapic_read(net_self(dev), offset, size);
}

static void net_write(void *dev, uint64_t offset, uint64_t v, unsigned size)
{
    lapic_write(net_self(dev), offset, v, size);
}

void apic_this_thread(struct apic_net *n, unsigned cpu)
{
    pthread_setspecific(n->self, n->lapic[cpu]);
}

void apic_net_add(struct apic_net *n, struct lapic *l)
{
    rh_assert(n->n < APIC_CPUS_MAX);
    n->lapic[n->n++] = l;
}

static void deliver_lowest(struct apic_net *n, const struct apic_message *m)
{
    unsigned start = atomic_fetch_add(&n->turn, 1), best = ~0u;
    struct lapic *chosen = NULL;
    for (unsigned k = 0; k < n->n; k++) {
        struct lapic *l = n->lapic[(start + k) % n->n];
        if (!lapic_matches(l, m))
            continue;
        unsigned priority = lapic_priority(l);
        if (priority < best) {
            best = priority;
            chosen = l;
        }
    }
    if (chosen)
        lapic_take(chosen, m);
}

void apic_deliver(struct apic_net *n, const struct apic_message *m)
{
    if (m->mode == APIC_LOWEST) {
        deliver_lowest(n, m);
        return;
    }
    bool one = !m->logical && m->dest != (m->x2 ? 0xffffffffu : 0xffu);
    for (unsigned i = 0; i < n->n; i++)
        if ((!one || lapic_answers(n->lapic[i]) == m->dest) && lapic_matches(n->lapic[i], m))
            lapic_take(n->lapic[i], m);
}

void apic_broadcast(struct apic_net *n, const struct apic_message *m, const struct lapic *self, bool also_self)
{
    for (unsigned i = 0; i < n->n; i++)
        if (n->lapic[i] != self || also_self)
            lapic_take(n->lapic[i], m);
}

void apic_eoi(struct apic_net *n, uint8_t vector)
{
    if (n->eoi)
        n->eoi(n->eoi_arg, vector);
}

void apic_eoi_listener(struct apic_net *n, void (*fn)(void *arg, uint8_t vector), void *arg)
{
    n->eoi = fn;
    n->eoi_arg = arg;
}

/* Address: bits 19..12 destination, 3 redirection hint, 2 logical.  Data: 7..0 vector, 10..8 mode, 15 level. */
void apic_msi(struct apic_net *n, uint64_t address, uint32_t data)
{
    struct apic_message m = {
        .dest = (uint32_t)(address >> 12 & 0xff),
        .vector = (uint8_t)data,
        .mode = data >> 8 & 7,
        .logical = address >> 2 & 1,
        .level = data >> 15 & 1,
    };
    apic_deliver(n, &m);
}

void apic_move(struct apic_net *n, gpa_t base)
{
    pthread_mutex_lock(&n->move_lock);
    if (n->page.base != base) {
        bus_unmap(n->env->mem, &n->page);
        n->page.base = base;
        bus_map(n->env->mem, &n->page);
    }
    pthread_mutex_unlock(&n->move_lock);
}

static const struct mmio_ops net_ops = {net_read, net_write, W8 | W16 | W32};

struct apic_net *apic_net_init(const struct dev_env *e)
{
    struct apic_net *n = arena_alloc(e->arena, sizeof *n);
    if (!n || pthread_key_create(&n->self, NULL))
        return NULL;
    n->env = e;
    pthread_mutex_init(&n->move_lock, NULL);
    n->page = (struct bus_range){.base = APIC_BASE, .size = PAGE, .ops = &net_ops, .dev = n, .name = "lapic"};
    return bus_map(e->mem, &n->page) ? n : NULL;
}

void apic_net_fini(struct apic_net *n)
{
    pthread_key_delete(n->self);
}
