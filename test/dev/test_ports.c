/* The small ones: keyboard controller, port 92h, debug ports, PCI configuration and the reset register. */
#include "test/dev/fake.h"

static void test_i8042(void **state)
{
    (void)state;
    struct fake f, a20;
    fake_init(&f);
    memset(&a20, 0, sizeof a20);
    assert_non_null(i8042_init(&f.env, fake_wire(&f, 1), fake_listener(&f), fake_listener(&a20)));
    assert_int_equal(fake_in(&f, 0x64) & 3, 0);
    fake_out(&f, 0x64, 0xaa);
    assert_int_equal(fake_in(&f, 0x64) & 1, 1);
    assert_int_equal(fake_in(&f, 0x60), 0x55);
    assert_int_equal(fake_in(&f, 0x64) & 1, 0);
    fake_out(&f, 0x64, 0x60);
    fake_out(&f, 0x60, 0x61);
    fake_out(&f, 0x64, 0x20);
    assert_int_equal(fake_in(&f, 0x60), 0x61);
    assert_int_equal(f.rises[1], 1); /* answers interrupt now */
    fake_out(&f, 0x60, 0xf2);        /* identify: nobody is there */
    assert_int_equal(fake_in(&f, 0x64) & 0x41, 0x41);
    assert_int_equal(fake_in(&f, 0x60), 0xfe);
    fake_out(&f, 0x64, 0xd1);
    fake_out(&f, 0x60, 0xdd);
    assert_int_equal(a20.requests, 1);
    assert_int_equal(a20.request, 0);
    fake_out(&f, 0x64, 0xdf);
    assert_int_equal(a20.request, 1);
    assert_int_equal(f.requests, 0);
    fake_out(&f, 0x64, 0xff); /* pulses nothing */
    assert_int_equal(f.requests, 0);
    fake_out(&f, 0x64, 0xfe);
    assert_int_equal(f.requests, 1);
    fake_fini(&f);
}

static void test_port92(void **state)
{
    (void)state;
    struct fake f, a20;
    fake_init(&f);
    memset(&a20, 0, sizeof a20);
    assert_non_null(port92_init(&f.env, fake_listener(&f), fake_listener(&a20)));
    assert_int_equal(fake_in(&f, 0x92), 2);
    fake_out(&f, 0x92, 2);
    assert_int_equal(a20.requests, 0);
    fake_out(&f, 0x92, 0);
    assert_int_equal(a20.requests, 1);
    assert_int_equal(a20.request, 0);
    fake_out(&f, 0x92, 3);
    assert_int_equal(a20.request, 1);
    assert_int_equal(f.requests, 1);
    fake_fini(&f);
}

static void test_debug_exit(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f);
    assert_true(debug_exit_init(&f.env, 0xf4, 4, fake_listener(&f)));
    bus_write(f.env.io, 0xf4, 0x10, 4);
    assert_int_equal(f.request, 0x21);
    fake_fini(&f);
}

static void test_testdev(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f);
    assert_true(testdev_init(&f.env, fake_wire(&f, 0)));
    bus_write(f.env.io, 0xe0, 0x44332211, 4);
    assert_int_equal(bus_read(f.env.io, 0xe0, 4), 0x44332211);
    fake_out(&f, 0xe1, 0xaa);
    assert_int_equal(bus_read(f.env.io, 0xe0, 2), 0xaa11);
    bus_write(f.env.io, 0xe4, 0x1000, 4);
    assert_int_equal(bus_read(f.env.io, 0xe0, 4), 0x4433aa11);
    fake_out(&f, 0x2000 + 14, 2);
    fake_out(&f, 0x2000 + 23, 1);
    fake_out(&f, 0x2000 + 24, 1); /* not a line */
    assert_true(f.line[14] && f.line[23]);
    assert_int_equal(f.rises[0] + f.rises[24], 0);
    fake_out(&f, 0x2000 + 14, 0);
    assert_false(f.line[14]);
    bus_write(f.env.mem, 0xff00fff8, 0x8877665544332211, 8);
    assert_int_equal(bus_read(f.env.mem, 0xff00fffa, 2), 0x4433);
    fake_fini(&f);
}

static uint32_t config(struct fake *f, unsigned devfn, unsigned reg)
{
    bus_write(f->env.io, 0xcf8, 1u << 31 | devfn << 8 | reg, 4);
    return (uint32_t)bus_read(f->env.io, 0xcfc, 4);
}

static uint64_t bar_read(void *dev, uint64_t offset, unsigned size)
{
    (void)size;
    return *(uint8_t *)dev + offset;
}

static void bar_write(void *dev, uint64_t offset, uint64_t v, unsigned size)
{
    (void)offset, (void)size;
    *(uint8_t *)dev = (uint8_t)v;
}

static void test_pci(void **state)
{
    (void)state;
    static const struct mmio_ops ops = {bar_read, bar_write, W8 | W16 | W32};
    struct fake f;
    uint8_t cell = 0x40;
    fake_init(&f);
    struct acpi_pm *pm = acpi_pm_init(&f.env, 0x600, fake_wire(&f, 9), fake_listener(&f));
    struct pci *p = pci_init(&f.env, fake_listener(&f));
    assert_true(piix_init(&f.env, p, pm, 0x600));
    assert_int_equal(config(&f, 0, 0), 0x12378086);
    assert_int_equal(config(&f, 8, 0), 0x70008086);
    assert_int_equal(config(&f, 8, 8) >> 16, 0x0601);
    assert_int_equal(config(&f, 11, 0), 0x71138086);
    assert_int_equal(config(&f, 16, 0), 0xffffffff);
    assert_int_equal(bus_read(f.env.io, 0xcfe, 1), 0xff);
    config(&f, 0, 0);
    assert_int_equal(bus_read(f.env.io, 0xcfe, 2), 0x1237);
    bus_write(f.env.io, 0xcfc, 0, 4); /* read only */
    assert_int_equal(config(&f, 0, 0), 0x12378086);

    config(&f, 11, 0x40); /* PMBASE */
    bus_write(f.env.io, 0xcfc, 0xb001, 4);
    assert_int_equal(bus_read(f.env.io, 0x604, 2), 0xffff);
    assert_int_equal(bus_read(f.env.io, 0xb004, 2) & 1, 1);

    struct pci_function *c = arena_alloc(&f.arena, sizeof *c);
    c->devfn = 0x18;
    c->dev = &cell;
    pci_put(c, 0, 0x12345678, 4);
    pci_bar(c, 0, 0x1000, false, &ops);
    pci_bar(c, 1, 0x20, true, &ops);
    assert_true(pci_add(p, c));
    assert_false(pci_add(p, c));
    config(&f, 0x18, 0x10);
    bus_write(f.env.io, 0xcfc, 0xffffffff, 4);
    assert_int_equal(config(&f, 0x18, 0x10), 0xfffff000); /* how large it is */
    bus_write(f.env.io, 0xcfc, 0xe0000000, 4);
    config(&f, 0x18, 0x14);
    bus_write(f.env.io, 0xcfc, 0xffffffff, 4);
    assert_int_equal(config(&f, 0x18, 0x14), 0xffffffe1);
    bus_write(f.env.io, 0xcfc, 0xc000, 4);
    assert_int_equal(bus_read(f.env.mem, 0xe0000004, 1), 0xff); /* not enabled */
    config(&f, 0x18, 4);
    bus_write(f.env.io, 0xcfc, 3, 2);
    assert_int_equal(bus_read(f.env.mem, 0xe0000004, 1), 0x44);
    assert_int_equal(bus_read(f.env.io, 0xc001, 1), 0x41);

    fake_out(&f, 0xcf9, 2);
    assert_int_equal(f.requests, 0);
    fake_out(&f, 0xcf9, 6);
    assert_int_equal(f.requests, 1);
    pci_reset(p);
    assert_int_equal(bus_read(f.env.mem, 0xe0000004, 1), 0xff);
    assert_int_equal(bus_read(f.env.io, 0x604, 2) & 1, 1);
    fake_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_i8042),   cmocka_unit_test(test_port92), cmocka_unit_test(test_debug_exit),
        cmocka_unit_test(test_testdev), cmocka_unit_test(test_pci),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
