/* 16550A by register scripts, and the console multiplexer's keys. */
#include "test/dev/fake.h"

enum { PORT = 0x3f8, DATA = PORT, IER, IIR, LCR, MCR, LSR, MSR, SCR };

struct sink {
    struct back_char back;
    char text[256];
    size_t n;
    unsigned accepts;
};

static void sink_write(struct back_char *b, const void *data, size_t n)
{
    struct sink *s = (struct sink *)b;
    memcpy(s->text + s->n, data, n);
    s->n += n;
}

static void sink_accept(struct back_char *b)
{
    ((struct sink *)b)->accepts++;
}

static struct uart *start(struct fake *f, struct sink *s)
{
    fake_init(f);
    *s = (struct sink){.back = {.write = sink_write, .accept = sink_accept}};
    struct uart *u = uart_init(&f->env, PORT, fake_wire(f, 4), &s->back);
    assert_non_null(u);
    return u;
}

static void type(struct sink *s, const char *text)
{
    s->back.receive(s->back.arg, (const uint8_t *)text, strlen(text));
}

static void test_probe(void **state)
{
    (void)state;
    struct fake f;
    struct sink s;
    start(&f, &s);
    fake_out(&f, SCR, 0xa5);
    assert_int_equal(fake_in(&f, SCR), 0xa5);
    fake_out(&f, LCR, 0x83);
    fake_out(&f, DATA, 1);
    fake_out(&f, IER, 2);
    assert_int_equal(fake_in(&f, DATA), 1);
    assert_int_equal(fake_in(&f, IER), 2);
    fake_out(&f, LCR, 3);
    assert_int_equal(fake_in(&f, IER), 0);
    fake_out(&f, IER, 0xff);
    assert_int_equal(fake_in(&f, IER), 0x0f);
    fake_out(&f, IER, 0);
    assert_int_equal(fake_in(&f, IIR), 0x01);
    fake_out(&f, IIR, 1);
    assert_int_equal(fake_in(&f, IIR), 0xc1); /* 16550A: FIFOs work */
    assert_int_equal(fake_in(&f, LSR), 0x60);
    assert_int_equal(fake_in(&f, MSR), 0xb0);
    fake_fini(&f);
}

static void test_transmit(void **state)
{
    (void)state;
    struct fake f;
    struct sink s;
    start(&f, &s);
    fake_out(&f, IER, 2);
    assert_true(f.line[4]); /* empty already */
    assert_int_equal(fake_in(&f, IIR), 2);
    assert_false(f.line[4]); /* reading IIR answers it */
    assert_int_equal(fake_in(&f, IIR), 1);
    fake_out(&f, DATA, 'x');
    assert_true(f.line[4]);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.text[0], 'x');
    fake_fini(&f);
}

static void test_receive(void **state)
{
    (void)state;
    struct fake f;
    struct sink s;
    start(&f, &s);
    assert_int_equal(s.back.room(s.back.arg), 1); /* no FIFO yet */
    fake_out(&f, IIR, 0x81);                      /* trigger at 8 */
    assert_int_equal(s.back.room(s.back.arg), 16);
    fake_out(&f, IER, 1);
    type(&s, "abc");
    assert_true(f.line[4]);
    assert_int_equal(fake_in(&f, IIR), 0xcc); /* below the trigger: timeout */
    type(&s, "defgh");
    assert_int_equal(fake_in(&f, IIR), 0xc4);
    assert_int_equal(s.back.room(s.back.arg), 8);
    unsigned accepts = s.accepts;
    for (const char *c = "abcdefgh"; *c; c++) {
        assert_int_equal(fake_in(&f, LSR), 0x61);
        assert_int_equal(fake_in(&f, DATA), *c);
    }
    assert_int_equal(s.accepts, accepts + 8);
    assert_int_equal(fake_in(&f, LSR), 0x60);
    assert_false(f.line[4]);
    fake_out(&f, IER, 5);
    s.back.line_break(s.back.arg);
    assert_int_equal(fake_in(&f, IIR), 0xc6); /* line status first */
    assert_int_equal(fake_in(&f, LSR) & 0x11, 0x11);
    assert_int_equal(fake_in(&f, DATA), 0);
    assert_int_equal(fake_in(&f, LSR), 0x60);
    fake_fini(&f);
}

static void test_loopback(void **state)
{
    (void)state;
    struct fake f;
    struct sink s;
    start(&f, &s);
    fake_out(&f, MCR, 0x1a); /* loop, OUT2, RTS: the probe of Linux's 8250 driver */
    assert_int_equal(fake_in(&f, MSR) & 0xf0, 0x90);
    fake_out(&f, DATA, 'q');
    assert_int_equal(s.n, 0);
    assert_int_equal(s.back.room(s.back.arg), 0);
    assert_int_equal(fake_in(&f, DATA), 'q');
    fake_out(&f, IER, 8);
    fake_in(&f, MSR);
    fake_out(&f, MCR, 0x18); /* RTS falls: CTS changes */
    assert_true(f.line[4]);
    assert_int_equal(fake_in(&f, IIR), 0);
    assert_int_equal(fake_in(&f, MSR), 0x81);
    assert_false(f.line[4]);
    fake_fini(&f);
}

struct consumer {
    char text[64];
    size_t n, room;
    unsigned breaks;
};

static void take(void *arg, const uint8_t *data, size_t n)
{
    struct consumer *c = arg;
    assert_true(n <= c->room);
    memcpy(c->text + c->n, data, n);
    c->n += n;
    c->room -= n;
}

static size_t room(void *arg)
{
    return ((struct consumer *)arg)->room;
}

static void take_break(void *arg)
{
    ((struct consumer *)arg)->breaks++;
}

static void count(void *arg)
{
    ++*(unsigned *)arg;
}

static void sink_fini(struct back_char *b)
{
    (void)b;
}

static void test_mux(void **state)
{
    (void)state;
    struct status st = {{0}};
    struct sink s = {.back = {.write = sink_write, .fini = sink_fini}};
    struct loop *l;
    struct back_mux *m;
    unsigned quits = 0;
    struct consumer c[2] = {{.room = 5}, {.room = 60}};
    assert_true(loop_init(&l, &st));
    assert_true(back_mux_init(&m, l, &s.back, count, &quits, &st));
    for (unsigned i = 0; i < 2; i++) {
        struct back_char *e = back_mux_end(m, i);
        e->arg = &c[i];
        e->room = room;
        e->receive = take;
        e->line_break = take_break;
    }
    back_write(back_mux_end(m, 0), "out", 3);
    assert_memory_equal(s.text, "out", 3);
    type(&s, "ab\x01\x01"
             "c\x01"
             "b\x01"
             "cmon\x01");
    type(&s, "cxyz");
    assert_int_equal(c[0].breaks, 1);
    assert_int_equal(c[1].n, 3);
    assert_memory_equal(c[1].text, "mon", 3);
    assert_int_equal(c[0].n, 5); /* room for five: the sixth waits */
    assert_memory_equal(c[0].text, "ab\x01xy", 3);
    assert_int_equal(quits, 0);
    type(&s, "\x01x"); /* though the guest does not read */
    assert_int_equal(quits, 1);
    s.n = 0;
    type(&s, "\x01h");
    assert_true(s.n > 20);
    back_mux_fini(m);
    loop_fini(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probe),    cmocka_unit_test(test_transmit), cmocka_unit_test(test_receive),
        cmocka_unit_test(test_loopback), cmocka_unit_test(test_mux),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
