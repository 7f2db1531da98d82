/* PIT, RTC, HPET and the ACPI timer against a clock that the test moves: they must agree with it and raise what is
 * due. */
#include "test/dev/fake.h"

#define SECOND 1000000000ull

static void test_pit_modes(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f);
    assert_non_null(pit_init(&f.env, fake_wire(&f, 0)));
    fake_out(&f, 0x43, 0x34); /* channel 0, low and high, mode 2 */
    fake_out(&f, 0x40, 11932 & 255);
    fake_out(&f, 0x40, 11932 >> 8); /* 100.0 Hz */
    unsigned before = f.rises[0];
    fake_pass(&f, SECOND);
    assert_in_range(f.rises[0] - before, 99, 100);
    fake_out(&f, 0x43, 0x34);
    fake_out(&f, 0x40, 0);
    fake_out(&f, 0x40, 0x10); /* 4096: low for the last tick only, 838 ns */
    fake_pass(&f, dev_scale(4095, SECOND, 1193182) - 200);
    assert_true(f.line[0]);
    fake_pass(&f, 600);
    assert_false(f.line[0]);
    fake_pass(&f, 838);
    assert_true(f.line[0]);
    fake_out(&f, 0x43, 0x30); /* mode 0: once */
    fake_out(&f, 0x40, 0xff);
    fake_out(&f, 0x40, 0xff);
    assert_false(f.line[0]);
    before = f.rises[0];
    fake_pass(&f, 54 * SECOND / 1000);
    assert_int_equal(f.rises[0], before);
    fake_pass(&f, 2 * SECOND / 1000);
    assert_int_equal(f.rises[0], before + 1);
    fake_pass(&f, SECOND);
    assert_int_equal(f.rises[0], before + 1);
    assert_true(f.line[0]);
    fake_fini(&f);
}

/* What kernels do to calibrate: channel 2, mode 0, gate and output at port 61h. */
static void test_pit_channel2(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f);
    assert_non_null(pit_init(&f.env, fake_wire(&f, 0)));
    fake_out(&f, 0x61, (uint8_t)((fake_in(&f, 0x61) & ~2) | 1));
    fake_out(&f, 0x43, 0xb0);
    fake_out(&f, 0x42, 59659 & 255); /* 50 ms */
    fake_out(&f, 0x42, 59659 >> 8);
    fake_pass(&f, 25 * SECOND / 1000);
    assert_int_equal(fake_in(&f, 0x61) & 0x20, 0);
    fake_out(&f, 0x43, 0x80); /* latch */
    unsigned v = fake_in(&f, 0x42);
    v |= (unsigned)fake_in(&f, 0x42) << 8;
    assert_in_range(v, 59659 / 2 - 2, 59659 / 2 + 2);
    fake_pass(&f, 26 * SECOND / 1000);
    assert_int_equal(fake_in(&f, 0x61) & 0x20, 0x20);
    fake_out(&f, 0x43, 0xe8); /* read back status of channel 2 */
    assert_int_equal(fake_in(&f, 0x42), 0xb0);
    fake_fini(&f);
}

static uint8_t cmos(struct fake *f, uint8_t reg)
{
    fake_out(f, 0x70, reg);
    return fake_in(f, 0x71);
}

static void cmos_set(struct fake *f, uint8_t reg, uint8_t v)
{
    fake_out(f, 0x70, reg);
    fake_out(f, 0x71, v);
}

static void test_rtc_time(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f);
    f.date = 951782399; /* 2000-02-28 23:59:59 UTC, a Monday */
    assert_non_null(rtc_init(&f.env, 1ull << 30, 2ull << 30, fake_wire(&f, 8)));
    assert_int_equal(cmos(&f, 0), 0x59);
    assert_int_equal(cmos(&f, 4), 0x23);
    assert_int_equal(cmos(&f, 7), 0x28);
    assert_int_equal(cmos(&f, 6), 2);
    fake_pass(&f, SECOND);
    assert_int_equal(cmos(&f, 0), 0);
    assert_int_equal(cmos(&f, 4), 0);
    assert_int_equal(cmos(&f, 7), 0x29); /* leap day */
    assert_int_equal(cmos(&f, 8), 2);
    assert_int_equal(cmos(&f, 9), 0);
    assert_int_equal(cmos(&f, 0x32), 0x20);
    assert_int_equal(cmos(&f, 13), 0x80);
    assert_int_equal(cmos(&f, 0x34) | cmos(&f, 0x35) << 8, ((1 << 30) - (16 << 20)) >> 16);
    assert_int_equal(cmos(&f, 0x5b) | cmos(&f, 0x5c) << 8, 0x8000);
    cmos_set(&f, 11, 0x82); /* SET: stop, write, go on */
    cmos_set(&f, 4, 0x12);
    cmos_set(&f, 2, 0x34);
    cmos_set(&f, 0, 0x56);
    fake_pass(&f, 5 * SECOND);
    assert_int_equal(cmos(&f, 0), 0x56);
    cmos_set(&f, 11, 0x02);
    fake_pass(&f, 4 * SECOND);
    assert_int_equal(cmos(&f, 0), 0);
    assert_int_equal(cmos(&f, 2), 0x35);
    assert_int_equal(cmos(&f, 4), 0x12);
    cmos_set(&f, 11, 0x04); /* binary, 12 hours */
    assert_int_equal(cmos(&f, 4), 12 | 0x80);
    fake_fini(&f);
}

static void test_rtc_interrupts(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f);
    f.date = 1000000000; /* 01:46:40 */
    assert_non_null(rtc_init(&f.env, 1 << 30, 0, fake_wire(&f, 8)));
    cmos(&f, 12);
    cmos_set(&f, 11, 0x42); /* periodic, 1024 Hz */
    for (unsigned i = 0; i < 16; i++) {
        fake_pass(&f, SECOND / 1024 + 1);
        assert_true(f.line[8]);
        assert_int_equal(cmos(&f, 12) & 0xc0, 0xc0);
        assert_false(f.line[8]);
    }
    cmos_set(&f, 11, 0x22); /* alarm at 01:46:45 */
    cmos_set(&f, 1, 0x45);
    cmos_set(&f, 3, 0x46);
    cmos_set(&f, 5, 0x01);
    cmos(&f, 12);
    fake_pass(&f, 4 * SECOND);
    assert_false(f.line[8]);
    fake_pass(&f, SECOND);
    assert_true(f.line[8]);
    assert_int_equal(cmos(&f, 12) & 0xa0, 0xa0);
    cmos_set(&f, 11, 0x12); /* update ended */
    cmos(&f, 12);
    fake_pass(&f, SECOND);
    assert_int_equal(cmos(&f, 12) & 0x90, 0x90);
    cmos_set(&f, 11, 0x02);
    fake_pass(&f, 2 * SECOND);
    assert_false(f.line[8]);
    fake_fini(&f);
}

static void on_legacy(void *arg, bool on)
{
    *(bool *)arg = on;
}

static uint64_t hpet(struct fake *f, unsigned reg)
{
    return bus_read(f->env.mem, HPET_BASE + reg, 8);
}

static void hpet_set32(struct fake *f, unsigned reg, uint32_t v)
{
    bus_write(f->env.mem, HPET_BASE + reg, v, 4);
}

static void test_hpet(void **state)
{
    (void)state;
    struct fake f;
    bool on = false;
    fake_init(&f);
    struct hpet *h =
        hpet_init(&f.env, HPET_BASE, fake_wire(&f, 0), fake_wire(&f, 40), fake_wire(&f, 48), NULL, on_legacy, &on);
    assert_non_null(h);
    assert_int_equal(hpet(&f, 0) >> 32, 10000000); /* femtoseconds: 100 MHz */
    fake_pass(&f, SECOND);
    assert_int_equal(hpet(&f, 0xf0), 0);
    hpet_set32(&f, 0x10, 1);
    fake_pass(&f, SECOND);
    assert_int_equal(hpet(&f, 0xf0), 100000000);

    /* Periodic on pin 20 as Linux programs it: comparator with T_SET, then the period. */
    uint32_t now = (uint32_t)hpet(&f, 0xf0);
    hpet_set32(&f, 0x100, 1 << 2 | 1 << 3 | 1 << 6 | 1 << 8 | 20 << 9);
    hpet_set32(&f, 0x108, now + 100000); /* 1 ms */
    hpet_set32(&f, 0x108, 100000);
    fake_pass(&f, 10 * SECOND / 1000);
    assert_int_equal(f.rises[20], 10);
    assert_true(f.line[20]); /* stays up: an 8259 wants to see it when it acknowledges */

    /* Once, level triggered, pin 21. */
    hpet_set32(&f, 0x120, 1 << 1 | 1 << 2 | 21 << 9);
    bus_write(f.env.mem, HPET_BASE + 0x128, hpet(&f, 0xf0) + 1000, 8);
    fake_pass(&f, 9000);
    assert_false(f.line[21]);
    fake_pass(&f, 2000);
    assert_true(f.line[21]);
    assert_int_equal(hpet(&f, 0x20), 2);
    hpet_set32(&f, 0x20, 2);
    assert_false(f.line[21]);

    hpet_set32(&f, 0x10, 3); /* legacy replacement: timer 0 is IRQ0 */
    assert_true(on);
    fake_pass(&f, 5 * SECOND / 1000);
    assert_int_equal(f.rises[40], 5);
    assert_int_equal(f.rises[20], 10);
    assert_false(f.line[20]);
    hpet_reset(h);
    assert_false(on);
    fake_fini(&f);
}

static void test_pm(void **state)
{
    (void)state;
    struct fake f;
    fake_init(&f);
    struct acpi_pm *a = acpi_pm_init(&f.env, 0x600, fake_wire(&f, 9), fake_listener(&f));
    assert_non_null(a);
    uint32_t t0 = (uint32_t)bus_read(f.env.io, 0x608, 4);
    fake_pass(&f, SECOND);
    assert_in_range((uint32_t)bus_read(f.env.io, 0x608, 4) - t0, 3579544, 3579546);
    assert_int_equal(bus_read(f.env.io, 0x604, 2) & 1, 1); /* SCI_EN */
    bus_write(f.env.io, 0x602, 0x100, 2);
    acpi_pm_power_button(a);
    assert_true(f.line[9]);
    assert_int_equal(bus_read(f.env.io, 0x600, 2) & 0x100, 0x100);
    bus_write(f.env.io, 0x600, 0x100, 2);
    assert_false(f.line[9]);
    bus_write(f.env.io, 0x600, 1, 2);
    bus_write(f.env.io, 0x602, 1, 2); /* timer overflow: every 2^31 ticks, ten minutes */
    assert_false(f.line[9]);
    fake_pass(&f, 601 * SECOND);
    assert_true(f.line[9]);
    bus_write(f.env.io, 0x604, 1 << 10 | 1 << 13, 2); /* another sleep state */
    assert_int_equal(f.requests, 0);
    bus_write(f.env.io, 0x604, ACPI_S5 << 10 | 1 << 13, 2);
    assert_int_equal(f.requests, 1);
    acpi_pm_move(a, 0xb000, true);
    assert_int_equal(bus_read(f.env.io, 0x604, 2), 0xffff);
    assert_int_equal(bus_read(f.env.io, 0xb004, 2) & 1, 1);
    fake_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pit_modes),      cmocka_unit_test(test_pit_channel2), cmocka_unit_test(test_rtc_time),
        cmocka_unit_test(test_rtc_interrupts), cmocka_unit_test(test_hpet),         cmocka_unit_test(test_pm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
