/* 8259A pair by register scripts: initialisation, priorities, masks, EOI, rotation, cascade, spurious, edge and
 * level. */
#include "test/dev/fake.h"

static void program(struct fake *f, uint8_t icw4)
{
    static const struct {
        uint16_t port;
        uint8_t v;
    } script[] = {{0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 0}, {0xa0, 0x11}, {0xa1, 0x28}, {0xa1, 2}, {0xa1, 1}};
    for (unsigned i = 0; i < ARRAY_LEN(script); i++)
        fake_out(f, script[i].port, i == 3 ? icw4 : script[i].v);
    fake_out(f, 0x21, 0);
    fake_out(f, 0xa1, 0);
}

static struct pic *start(struct fake *f)
{
    fake_init(f);
    struct pic *p = pic_init(&f->env, fake_wire(f, 0));
    assert_non_null(p);
    program(f, 1);
    return p;
}

static void test_priority(void **state)
{
    (void)state;
    struct fake f;
    struct pic *p = start(&f);
    assert_int_equal(pic_pending(p), -1);
    pic_line(p, 4, true);
    pic_line(p, 1, true);
    assert_true(f.line[0]);
    assert_int_equal(pic_pending(p), 0x21);
    assert_int_equal(pic_accept(p), 0x21);
    assert_int_equal(pic_pending(p), -1); /* 4 is below what is in service */
    pic_line(p, 0, true);
    assert_int_equal(pic_accept(p), 0x20); /* 0 is above */
    fake_out(&f, 0x20, 0x0b);
    assert_int_equal(fake_in(&f, 0x20), 0x03);
    fake_out(&f, 0x20, 0x20); /* EOI: the highest, 0 */
    assert_int_equal(fake_in(&f, 0x20), 0x02);
    fake_out(&f, 0x20, 0x61); /* specific EOI of 1 */
    assert_int_equal(pic_accept(p), 0x24);
    assert_false(f.line[0]);
    fake_fini(&f);
}

static void test_mask_and_cascade(void **state)
{
    (void)state;
    struct fake f;
    struct pic *p = start(&f);
    fake_out(&f, 0xa1, 0x01);
    pic_line(p, 8, true);
    assert_false(f.line[0]);
    fake_out(&f, 0x20, 0x0a);
    assert_int_equal(fake_in(&f, 0x20), 0);
    fake_out(&f, 0xa1, 0x00);
    assert_true(f.line[0]);
    assert_int_equal(pic_accept(p), 0x28);
    fake_out(&f, 0x20, 0x0b);
    fake_out(&f, 0xa0, 0x0b);
    assert_int_equal(fake_in(&f, 0x20), 0x04);
    assert_int_equal(fake_in(&f, 0xa0), 0x01);
    fake_out(&f, 0xa0, 0x20);
    fake_out(&f, 0x20, 0x20);
    assert_int_equal(fake_in(&f, 0x20), 0);
    assert_int_equal(fake_in(&f, 0xa0), 0);
    fake_fini(&f);
}

static void test_edge_level_spurious(void **state)
{
    (void)state;
    struct fake f;
    struct pic *p = start(&f);
    pic_line(p, 5, true);
    assert_int_equal(pic_accept(p), 0x25);
    fake_out(&f, 0x20, 0x20);
    assert_int_equal(pic_pending(p), -1); /* still high, but no new edge */
    pic_line(p, 5, false);
    pic_line(p, 5, true);
    pic_line(p, 5, false); /* goes away before the acknowledge */
    assert_int_equal(pic_accept(p), 0x27);
    fake_out(&f, 0x20, 0x0b);
    assert_int_equal(fake_in(&f, 0x20), 0); /* spurious: not in service */
    fake_out(&f, 0x4d0, 0xff);
    assert_int_equal(fake_in(&f, 0x4d0), 0xf8); /* 0..2 stay edge */
    pic_line(p, 5, true);
    assert_int_equal(pic_accept(p), 0x25);
    fake_out(&f, 0x20, 0x20);
    assert_int_equal(pic_pending(p), 0x25); /* level: asks again */
    fake_fini(&f);
}

static void test_rotate_and_auto_eoi(void **state)
{
    (void)state;
    struct fake f;
    struct pic *p = start(&f);
    fake_out(&f, 0x20, 0xc3); /* set priority: 3 is lowest, so 4 is highest */
    pic_line(p, 3, true);
    pic_line(p, 1, true);
    pic_line(p, 4, true);
    assert_int_equal(pic_accept(p), 0x24);
    fake_out(&f, 0x20, 0xa0); /* rotate on EOI: 4 is lowest now */
    assert_int_equal(pic_accept(p), 0x21);
    program(&f, 3); /* automatic EOI */
    pic_line(p, 6, true);
    assert_int_equal(pic_accept(p), 0x26);
    fake_out(&f, 0x20, 0x0b);
    assert_int_equal(fake_in(&f, 0x20), 0);
    fake_fini(&f);
}

static void test_poll(void **state)
{
    (void)state;
    struct fake f;
    struct pic *p = start(&f);
    pic_line(p, 3, true);
    fake_out(&f, 0x20, 0x0c);
    assert_int_equal(fake_in(&f, 0x20), 0x83);
    fake_out(&f, 0x20, 0x0c);
    assert_int_equal(fake_in(&f, 0x20), 0);
    assert_int_equal(pic_pending(p), -1);
    fake_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_priority),
        cmocka_unit_test(test_mask_and_cascade),
        cmocka_unit_test(test_edge_level_spurious),
        cmocka_unit_test(test_rotate_and_auto_eoi),
        cmocka_unit_test(test_poll),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
