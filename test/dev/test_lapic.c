/* Local APIC and I/O APIC: priorities, EOI and its broadcast, timer modes, IPIs and destinations, ExtINT, x2APIC. */
#include <stdlib.h>

#include "test/dev/fake.h"

enum {
    CPUS = 4,
    TSC_HZ = 2000000000,
    TPR = 0x80,
    EOI = 0xb0,
    SVR = 0xf0,
    ICR = 0x300,
    ICR2 = 0x310,
    LVT_TIMER = 0x320,
    LINT0 = 0x350
};

struct machine {
    struct fake f;
    struct apic_net *net;
    struct pic *pic;
    struct ioapic *io;
    struct lapic *l[CPUS];
    unsigned kicks[CPUS], nmis[CPUS], inits[CPUS], startups[CPUS];
    int vector;
    struct who {
        struct machine *m;
        unsigned n;
    } who[CPUS];
};

static void on_kick(void *arg)
{
    struct who *w = arg;
    w->m->kicks[w->n]++;
}

static void on_nmi(void *arg)
{
    struct who *w = arg;
    w->m->nmis[w->n]++;
}

static void on_init(void *arg)
{
    struct who *w = arg;
    w->m->inits[w->n]++;
}

static void on_startup(void *arg, uint8_t vector)
{
    struct who *w = arg;
    w->m->startups[w->n]++;
    w->m->vector = vector;
}

static uint64_t on_tsc(void *arg)
{
    return dev_scale(((struct who *)arg)->m->f.now, TSC_HZ, 1000000000);
}

static void intr(void *arg, unsigned n, bool level)
{
    struct machine *m = arg;
    if (m->l[0])
        lapic_lint(m->l[0], n, level);
}

static struct machine *start(void)
{
    struct machine *m = calloc(1, sizeof *m);
    fake_init(&m->f);
    m->net = apic_net_init(&m->f.env);
    m->pic = pic_init(&m->f.env, (struct dev_line){intr, m, 0});
    for (unsigned i = 0; i < CPUS; i++) {
        m->l[i] = lapic_init(&m->f.env, m->net, i, i, TSC_HZ, i ? NULL : m->pic);
        m->who[i] = (struct who){m, i};
        struct lapic_cpu cpu = {.kick = on_kick,
                                .nmi = on_nmi,
                                .init = on_init,
                                .startup = on_startup,
                                .tsc = on_tsc,
                                .tsc_arg = &m->who[i],
                                .arg = &m->who[i]};
        lapic_attach(m->l[i], &cpu);
        lapic_write(m->l[i], SVR, 0x1ff, 4);
    }
    m->io = ioapic_init(&m->f.env, IOAPIC_BASE, 0, m->net);
    return m;
}

static void finish(struct machine *m)
{
    apic_net_fini(m->net);
    fake_fini(&m->f);
    free(m);
}

static void send(struct machine *m, unsigned cpu, uint8_t vector)
{
    apic_deliver(m->net, &(struct apic_message){.dest = cpu, .vector = vector});
}

static void test_priorities(void **state)
{
    (void)state;
    struct machine *m = start();
    struct lapic *l = m->l[0];
    send(m, 0, 0x31);
    assert_int_equal(m->kicks[0], 1);
    assert_int_equal(m->kicks[1], 0);
    send(m, 0, 0x52);
    assert_int_equal(lapic_pending(l), 0x52);
    assert_int_equal(lapic_accept(l), 0x52);
    assert_int_equal(lapic_pending(l), -1); /* 3x is below class 5 in service */
    assert_int_equal(lapic_read(l, 0xa0, 4), 0x50);
    send(m, 0, 0x5f);
    assert_int_equal(lapic_pending(l), -1); /* same class: waits */
    send(m, 0, 0x61);
    assert_int_equal(lapic_accept(l), 0x61);
    assert_int_equal(lapic_read(l, 0x120, 4), 1u << (0x52 - 0x40)); /* ISR 40..5F */
    assert_int_equal(lapic_read(l, 0x130, 4), 1u << (0x61 - 0x60));
    lapic_write(l, EOI, 0, 4);
    lapic_write(l, EOI, 0, 4);
    assert_int_equal(lapic_accept(l), 0x5f);
    lapic_write(l, EOI, 0, 4);
    lapic_set_tpr(l, 3);
    assert_int_equal(lapic_read(l, TPR, 4), 0x30);
    assert_int_equal(lapic_pending(l), -1);
    unsigned kicks = m->kicks[0];
    lapic_write(l, TPR, 0x20, 4);
    assert_int_equal(m->kicks[0], kicks + 1);
    assert_int_equal(lapic_accept(l), 0x31);
    finish(m);
}

static void test_software_disabled(void **state)
{
    (void)state;
    struct machine *m = start();
    struct lapic *l = m->l[0];
    lapic_write(l, LVT_TIMER, 0x40, 4);
    lapic_write(l, SVR, 0x0ff, 4);
    assert_int_equal(lapic_read(l, LVT_TIMER, 4), 0x10040); /* masks are forced */
    lapic_write(l, LVT_TIMER, 0x40, 4);
    assert_int_equal(lapic_read(l, LVT_TIMER, 4), 0x10040);
    send(m, 0, 0x31);
    assert_int_equal(lapic_pending(l), -1);
    finish(m);
}

static void test_timer(void **state)
{
    (void)state;
    struct machine *m = start();
    struct lapic *l = m->l[0];
    lapic_write(l, 0x3e0, 0x3, 4); /* by 16 */
    lapic_write(l, LVT_TIMER, 0x40, 4);
    lapic_write(l, 0x380, 1000, 4);
    fake_pass(&m->f, 4000);
    assert_int_equal(lapic_read(l, 0x390, 4), 750);
    assert_int_equal(lapic_pending(l), -1);
    fake_pass(&m->f, 12000);
    assert_int_equal(lapic_accept(l), 0x40);
    assert_int_equal(lapic_read(l, 0x390, 4), 0);
    lapic_write(l, EOI, 0, 4);
    fake_pass(&m->f, 100000);
    assert_int_equal(lapic_pending(l), -1); /* one shot */

    lapic_write(l, 0x3e0, 0xb, 4); /* by 1 */
    lapic_write(l, LVT_TIMER, 0x20041, 4);
    lapic_write(l, 0x380, 5000, 4);
    for (unsigned i = 0; i < 3; i++) {
        fake_pass(&m->f, 4999);
        assert_int_equal(lapic_pending(l), -1);
        fake_pass(&m->f, 1);
        assert_int_equal(lapic_accept(l), 0x41);
        lapic_write(l, EOI, 0, 4);
    }
    fake_pass(&m->f, 1000);
    assert_int_equal(lapic_read(l, 0x390, 4), 4000);
    lapic_write(l, 0x380, 0, 4);
    fake_pass(&m->f, 50000);
    assert_int_equal(lapic_pending(l), -1);
    finish(m);
}

/* 11.5.4: the mode changes, the count goes on; after its end a one-shot count stays zero. */
static void test_timer_modes(void **state)
{
    (void)state;
    struct machine *m = start();
    struct lapic *l = m->l[0];
    lapic_write(l, 0x3e0, 0xb, 4);
    lapic_write(l, LVT_TIMER, 0x20040, 4);
    lapic_write(l, 0x380, 5000, 4);
    fake_pass(&m->f, 7000);
    assert_int_equal(lapic_accept(l), 0x40);
    lapic_write(l, EOI, 0, 4);
    lapic_write(l, LVT_TIMER, 0x40, 4);
    assert_int_equal(lapic_read(l, 0x390, 4), 3000);
    fake_pass(&m->f, 3000);
    assert_int_equal(lapic_accept(l), 0x40);
    lapic_write(l, EOI, 0, 4);
    assert_int_equal(lapic_read(l, 0x390, 4), 0);
    lapic_write(l, 0x380, 5000, 4);
    m->f.now += 6000; /* over, but the timer's thread has not come to it yet */
    lapic_write(l, LVT_TIMER, 0x20041, 4);
    assert_int_equal(lapic_accept(l), 0x40);
    lapic_write(l, EOI, 0, 4);
    assert_int_equal(lapic_read(l, 0x390, 4), 0);
    fake_pass(&m->f, 50000);
    assert_int_equal(lapic_pending(l), -1);
    finish(m);
}

/* 11.4.6 */
static void test_id(void **state)
{
    (void)state;
    struct machine *m = start();
    lapic_write(m->l[2], 0x20, 7u << 24, 4);
    assert_int_equal(lapic_read(m->l[2], 0x20, 4), 7u << 24);
    send(m, 7, 0x50);
    assert_int_equal(lapic_pending(m->l[2]), 0x50);
    send(m, 2, 0x60);
    assert_int_equal(lapic_pending(m->l[2]), 0x50);
    lapic_write(m->l[3], 0x20, 7u << 24, 4); /* two of one id */
    send(m, 7, 0x70);
    assert_int_equal(lapic_pending(m->l[2]), 0x70);
    assert_int_equal(lapic_pending(m->l[3]), 0x70);
    assert_true(lapic_set_base(m->l[2], APIC_BASE | 1 << 11 | 1 << 10));
    send(m, 2, 0x80);
    assert_int_equal(lapic_pending(m->l[2]), 0x80);
    assert_true(lapic_set_base(m->l[2], APIC_BASE));
    assert_true(lapic_set_base(m->l[2], APIC_BASE | 1 << 11));
    assert_int_equal(lapic_read(m->l[2], 0x20, 4), 2u << 24);
    finish(m);
}

static void test_deadline(void **state)
{
    (void)state;
    struct machine *m = start();
    struct lapic *l = m->l[2];
    uint64_t v = 1;
    assert_true(lapic_msr_write(l, 0x6e0, 5)); /* other mode: ignored */
    assert_true(lapic_msr_read(l, 0x6e0, &v));
    assert_int_equal(v, 0);
    lapic_write(l, LVT_TIMER, 0x40042, 4);
    uint64_t tsc = on_tsc(&m->who[2]);
    assert_true(lapic_msr_write(l, 0x6e0, tsc + TSC_HZ / 1000)); /* in a millisecond */
    assert_true(lapic_msr_read(l, 0x6e0, &v));
    assert_int_equal(v, tsc + TSC_HZ / 1000);
    fake_pass(&m->f, 999000);
    assert_int_equal(lapic_pending(l), -1);
    fake_pass(&m->f, 2000);
    assert_int_equal(lapic_accept(l), 0x42);
    assert_true(lapic_msr_read(l, 0x6e0, &v));
    assert_int_equal(v, 0);
    lapic_write(l, EOI, 0, 4);
    assert_true(lapic_msr_write(l, 0x6e0, 1)); /* long ago: at once */
    assert_int_equal(lapic_pending(l), 0x42);
    finish(m);
}

static void test_ipis(void **state)
{
    (void)state;
    struct machine *m = start();
    lapic_write(m->l[0], ICR2, 2u << 24, 4);
    lapic_write(m->l[0], ICR, 0x4500, 4); /* INIT */
    assert_int_equal(m->inits[2], 1);
    lapic_write(m->l[0], ICR, 0x4699, 4); /* SIPI */
    assert_int_equal(m->startups[2], 1);
    assert_int_equal(m->vector, 0x99);
    assert_int_equal(m->startups[0] + m->startups[1] + m->startups[3], 0);
    lapic_write(m->l[0], ICR, 0xc8500, 4); /* INIT de-assert to all others: nothing */
    assert_int_equal(m->inits[1], 0);
    lapic_write(m->l[0], ICR, 0xc4400, 4); /* NMI to all others */
    assert_int_equal(m->nmis[0], 0);
    assert_int_equal(m->nmis[1] + m->nmis[2] + m->nmis[3], 3);
    lapic_write(m->l[1], ICR, 0x80040, 4); /* fixed to all and self */
    assert_int_equal(lapic_pending(m->l[0]), 0x40);
    assert_int_equal(lapic_pending(m->l[1]), 0x40);
    assert_int_equal(lapic_pending(m->l[2]), -1); /* INIT has disabled it */
    lapic_write(m->l[3], ICR, 0x40055, 4);        /* self */
    assert_int_equal(lapic_pending(m->l[3]), 0x55);
    lapic_write(m->l[0], ICR2, 1u << 24, 4);
    lapic_write(m->l[0], ICR, 0x0000c, 4); /* vector 12: refused */
    lapic_write(m->l[0], 0x280, 0, 4);
    assert_int_equal(lapic_read(m->l[0], 0x280, 4), 1 << 5);
    finish(m);
}

static void test_logical(void **state)
{
    (void)state;
    struct machine *m = start();
    for (unsigned i = 0; i < CPUS; i++)
        lapic_write(m->l[i], 0xd0, 1u << (24 + i), 4);
    apic_deliver(m->net, &(struct apic_message){.dest = 0x0a, .vector = 0x60, .logical = true});
    assert_int_equal(lapic_pending(m->l[0]), -1);
    assert_int_equal(lapic_pending(m->l[1]), 0x60);
    assert_int_equal(lapic_pending(m->l[2]), -1);
    assert_int_equal(lapic_pending(m->l[3]), 0x60);
    for (unsigned i = 0; i < CPUS; i++) { /* cluster: two clusters of two */
        lapic_write(m->l[i], 0xe0, 0, 4);
        lapic_write(m->l[i], 0xd0, (i / 2 << 4 | 1u << i % 2) << 24, 4);
    }
    apic_deliver(m->net, &(struct apic_message){.dest = 0x13, .vector = 0x70, .logical = true});
    assert_int_equal(lapic_pending(m->l[1]), 0x60);
    assert_int_equal(lapic_pending(m->l[2]), 0x70);
    assert_int_equal(lapic_pending(m->l[3]), 0x70);
    /* lowest priority: CPU 0 is the only one that does nothing important */
    for (unsigned i = 1; i < CPUS; i++)
        lapic_write(m->l[i], TPR, 0x80, 4);
    for (unsigned i = 0; i < 5; i++) {
        apic_deliver(m->net, &(struct apic_message){.dest = 0xff, .vector = 0x75, .mode = APIC_LOWEST});
        assert_int_equal(lapic_accept(m->l[0]), 0x75);
        lapic_write(m->l[0], EOI, 0, 4);
    }
    finish(m);
}

static void test_x2apic(void **state)
{
    (void)state;
    struct machine *m = start();
    uint64_t v;
    assert_false(lapic_msr_read(m->l[1], 0x802, &v));
    assert_int_equal(lapic_get_base(m->l[0]), 0xfee00900);
    assert_int_equal(lapic_get_base(m->l[1]), 0xfee00800);
    for (unsigned i = 0; i < CPUS; i++)
        assert_true(lapic_set_base(m->l[i], 0xfee00c00));
    assert_false(lapic_set_base(m->l[1], 0xfee00800)); /* no way back but by off */
    assert_false(lapic_set_base(m->l[1], 0xfee00400));
    assert_true(lapic_msr_read(m->l[3], 0x802, &v));
    assert_int_equal(v, 3);
    assert_true(lapic_msr_read(m->l[3], 0x80d, &v));
    assert_int_equal(v, 8);
    assert_int_equal(lapic_read(m->l[3], 0x20, 4), 0xffffffff);
    assert_true(lapic_msr_write(m->l[0], 0x830, 2ull << 32 | 0x44));
    assert_int_equal(lapic_pending(m->l[2]), 0x44);
    assert_int_equal(lapic_pending(m->l[1]), -1);
    assert_true(lapic_msr_write(m->l[0], 0x830, 0xaull << 32 | 0x845)); /* logical: cluster 0, CPUs 1 and 3 */
    assert_int_equal(lapic_pending(m->l[1]), 0x45);
    assert_int_equal(lapic_pending(m->l[3]), 0x45);
    assert_true(lapic_msr_write(m->l[0], 0x83f, 0x46));
    assert_int_equal(lapic_pending(m->l[0]), 0x46);
    assert_false(lapic_msr_write(m->l[0], 0x80b, 1)); /* EOI takes only 0 */
    assert_int_equal(lapic_accept(m->l[0]), 0x46);
    assert_true(lapic_msr_write(m->l[0], 0x80b, 0));
    assert_false(lapic_msr_write(m->l[0], 0x802, 0));
    assert_false(lapic_msr_write(m->l[0], 0x808, 0x100));
    assert_false(lapic_msr_read(m->l[0], 0x80e, &v));
    finish(m);
}

static void route(struct machine *m, unsigned pin, uint64_t entry)
{
    bus_write(m->f.env.mem, IOAPIC_BASE, 0x10 + 2 * pin + 1, 4);
    bus_write(m->f.env.mem, IOAPIC_BASE + 0x10, entry >> 32, 4);
    bus_write(m->f.env.mem, IOAPIC_BASE, 0x10 + 2 * pin, 4);
    bus_write(m->f.env.mem, IOAPIC_BASE + 0x10, (uint32_t)entry, 4);
}

static uint32_t entry_low(struct machine *m, unsigned pin)
{
    bus_write(m->f.env.mem, IOAPIC_BASE, 0x10 + 2 * pin, 4);
    return (uint32_t)bus_read(m->f.env.mem, IOAPIC_BASE + 0x10, 4);
}

static void test_ioapic(void **state)
{
    (void)state;
    struct machine *m = start();
    bus_write(m->f.env.mem, IOAPIC_BASE, 1, 4);
    assert_int_equal(bus_read(m->f.env.mem, IOAPIC_BASE + 0x10, 4), 0x00170011);
    assert_int_equal(entry_low(m, 5), 0x10000);
    ioapic_line(m->io, 5, true);
    assert_int_equal(lapic_pending(m->l[1]), -1); /* masked */
    route(m, 5, 1ull << 56 | 0x50);
    assert_int_equal(lapic_pending(m->l[1]), -1); /* that edge is lost */
    ioapic_line(m->io, 5, false);
    ioapic_line(m->io, 5, true);
    assert_int_equal(lapic_accept(m->l[1]), 0x50);
    lapic_write(m->l[1], EOI, 0, 4);
    assert_int_equal(lapic_pending(m->l[1]), -1);

    route(m, 9, 1ull << 56 | 1 << 15 | 0x59); /* level */
    ioapic_line(m->io, 9, true);
    assert_int_equal(entry_low(m, 9), 0xc059); /* remote IRR */
    assert_int_equal(lapic_accept(m->l[1]), 0x59);
    lapic_write(m->l[1], EOI, 0, 4);
    assert_int_equal(lapic_accept(m->l[1]), 0x59); /* still high */
    ioapic_line(m->io, 9, false);
    lapic_write(m->l[1], EOI, 0, 4);
    assert_int_equal(entry_low(m, 9), 0x8059);
    assert_int_equal(lapic_pending(m->l[1]), -1);
    finish(m);
}

static void test_extint(void **state)
{
    (void)state;
    struct machine *m = start();
    static const uint8_t icw[] = {0x08, 4, 1};
    fake_out(&m->f, 0x20, 0x11);
    for (unsigned i = 0; i < 3; i++)
        fake_out(&m->f, 0x21, icw[i]);
    pic_line(m->pic, 3, true);
    assert_int_equal(lapic_pending(m->l[0]), -1); /* LINT0 is masked */
    lapic_write(m->l[0], LINT0, 0x700, 4);
    assert_int_equal(lapic_pending(m->l[0]), 0x0b);
    assert_int_equal(lapic_accept(m->l[0]), 0x0b);
    assert_int_equal(lapic_pending(m->l[0]), -1);
    fake_out(&m->f, 0x20, 0x20);
    pic_line(m->pic, 4, true);
    lapic_write(m->l[0], LINT0, 0x10700, 4);
    assert_int_equal(lapic_pending(m->l[0]), -1);
    assert_true(lapic_set_base(m->l[0], 0xfee00100)); /* off: the PIC gets through */
    assert_int_equal(lapic_accept(m->l[0]), 0x0c);
    finish(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_priorities),  cmocka_unit_test(test_software_disabled),
        cmocka_unit_test(test_timer),       cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_timer_modes), cmocka_unit_test(test_id),
        cmocka_unit_test(test_ipis),        cmocka_unit_test(test_logical),
        cmocka_unit_test(test_x2apic),      cmocka_unit_test(test_ioapic),
        cmocka_unit_test(test_extint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
