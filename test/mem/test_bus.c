/* The bus: overlaps, splitting, copies, what is not there; and RAM's place in it. */
#include "mem/mem.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* A device that answers each byte with its offset and writes down what it was asked. */
struct echo {
    char text[256];
};
static uint64_t echo_read(void *dev, uint64_t offset, unsigned size)
{
    struct echo *e = dev;
    uint64_t v = 0;
    sprintf(e->text + strlen(e->text), "r%u@%x ", size, (unsigned)offset);
    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)(uint8_t)(offset + i) << (8 * i);
    return v;
}
static void echo_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    struct echo *e = dev;
    sprintf(e->text + strlen(e->text), "w%u@%x=%llx ", size, (unsigned)offset, (unsigned long long)value);
}
static const struct mmio_ops echo_8 = {echo_read, echo_write, W8};
static const struct mmio_ops echo_32 = {echo_read, echo_write, W32};
static const struct mmio_ops echo_8_32 = {echo_read, echo_write, W8 | W32};
static const struct mmio_ops echo_64 = {echo_read, echo_write, W64};
static const struct mmio_ops echo_mute = {NULL, NULL, W8};

struct fixture {
    struct bus *bus;
    struct log log;
    struct echo echo;
    uint8_t ram[0x4000], rom[0x1000];
};

static int setup(void **state)
{
    struct status st = {0};
    struct fixture *f = calloc(1, sizeof(*f));
    assert_true(bus_init(&f->bus, 52, &f->log, &st));
    *state = f;
    return 0;
}
static int teardown(void **state)
{
    struct fixture *f = *state;
    bus_fini(f->bus);
    free(f);
    return 0;
}

static struct bus_range map_ram(struct fixture *f, gpa_t base, uint64_t size)
{
    struct bus_range r = {.base = base, .size = size, .host = f->ram, .name = "ram"};
    assert_true(bus_map(f->bus, &r));
    return r;
}
static struct bus_range map_dev(struct fixture *f, gpa_t base, uint64_t size, const struct mmio_ops *ops)
{
    struct bus_range r = {.base = base, .size = size, .ops = ops, .dev = &f->echo, .name = "echo"};
    assert_true(bus_map(f->bus, &r));
    return r;
}

static void print_range(void *arg, const struct bus_range *r, uint64_t from, uint64_t to)
{
    char *text = arg;
    sprintf(text + strlen(text), "%s %llx-%llx;", r->name, (unsigned long long)from, (unsigned long long)to);
}
static void expect_map(struct fixture *f, const char *want)
{
    char text[512] = "";
    bus_each(f->bus, print_range, text);
    assert_string_equal(text, want);
}

static void test_overlap(void **state)
{
    struct fixture *f = *state;

    assert_null(bus_find(f->bus, 0));
    expect_map(f, "");
    map_ram(f, 0x1000, 0x4000);
    struct bus_range dev = map_dev(f, 0x2000, 0x1000, &echo_8);
    expect_map(f, "ram 1000-1fff;echo 2000-2fff;ram 3000-4fff;");
    assert_null(bus_find(f->bus, 0xfff));
    assert_string_equal(bus_find(f->bus, 0x1fff)->name, "ram");
    assert_string_equal(bus_find(f->bus, 0x2000)->name, "echo");
    assert_string_equal(bus_find(f->bus, 0x2fff)->name, "echo");
    assert_string_equal(bus_find(f->bus, 0x4fff)->name, "ram");
    assert_null(bus_find(f->bus, 0x5000));
    /* Behind the hole RAM goes on with the bytes it would have without it. */
    f->ram[0x2000] = 0x77;
    assert_int_equal(bus_read(f->bus, 0x3000, 1), 0x77);

    /* Moving back and forth: the later one lies on top. */
    bus_unmap(f->bus, &dev);
    expect_map(f, "ram 1000-4fff;");
    dev = map_dev(f, 0x800, 0x1000, &echo_8);
    expect_map(f, "echo 800-17ff;ram 1800-4fff;");
    bus_unmap(f->bus, &dev);
    struct bus_range gone = {.base = 0x1000, .dev = &f->log};
    bus_unmap(f->bus, &gone); /* nobody has that base and that dev */
    expect_map(f, "ram 1000-4fff;");
}

static void test_edges_of_space(void **state)
{
    struct fixture *f = *state;

    map_dev(f, 0xffffffffff000, 0x2000, &echo_8);
    map_dev(f, 0xfffffffffffff000, 0x1000, &echo_8);
    map_dev(f, 0x5000, 0, &echo_8);
    expect_map(f, "echo ffffffffff000-fffffffffffff;");
    assert_null(bus_find(f->bus, 1ull << 52));
    assert_null(bus_find(f->bus, ~0ull));
    assert_true(bus_read(f->bus, ~0ull - 7, 8) == ~0ull);
    bus_write(f->bus, 0xffffffffffffe, 0x04030201, 4); /* the last two bytes fall off the end */
    assert_string_equal(f->echo.text, "w1@ffe=1 w1@fff=2 ");
}

static void test_split(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const struct mmio_ops *ops;
        unsigned at, size;
        const char *asked;
        uint64_t value;
    } row[] = {
        {&echo_8, 0x10, 4, "r1@10 r1@11 r1@12 r1@13 ", 0x13121110},
        {&echo_32, 0x10, 4, "r4@10 ", 0x13121110},
        {&echo_32, 0x10, 8, "r4@10 r4@14 ", 0x1716151413121110},
        {&echo_32, 0x12, 1, "r1@12 ", 0x12},
        {&echo_32, 0x12, 2, "r2@12 ", 0x1312},
        {&echo_8_32, 0x12, 2, "r1@12 r1@13 ", 0x1312},
        {&echo_8_32, 0x10, 8, "r4@10 r4@14 ", 0x1716151413121110},
    };

    for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
        struct bus_range r = map_dev(f, 0x8000, 0x100, row[i].ops);
        f->echo.text[0] = 0;
        assert_true(bus_read(f->bus, 0x8000 + row[i].at, row[i].size) == row[i].value);
        assert_string_equal(f->echo.text, row[i].asked);
        bus_unmap(f->bus, &r);
    }
    map_dev(f, 0x8000, 0x100, &echo_8_32);
    f->echo.text[0] = 0;
    bus_write(f->bus, 0x8008, 0x1122334455667788, 8);
    bus_write(f->bus, 0x8002, 0xabcd, 2);
    assert_string_equal(f->echo.text, "w4@8=55667788 w4@c=11223344 w1@2=cd w1@3=ab ");
}

static void test_crossing(void **state)
{
    struct fixture *f = *state;

    map_ram(f, 0, 0x1000);
    map_dev(f, 0x1000, 0x10, &echo_8);
    memcpy(f->ram + 0xffc, "\xa0\xa1\xa2\xa3", 4);
    assert_true(bus_read(f->bus, 0xffe, 4) == 0x0100a3a2);
    assert_true(bus_read(f->bus, 0xffd, 8) == 0x0403020100a3a2a1);
    assert_true(bus_read(f->bus, 0x100e, 4) == 0xffff0f0e);
    bus_write(f->bus, 0xffe, 0x44332211, 4);
    assert_int_equal(f->ram[0xffe], 0x11);
    assert_int_equal(f->ram[0xfff], 0x22);
    assert_non_null(strstr(f->echo.text, "w1@0=33 w1@1=44 "));
    assert_int_equal(f->ram[0x1000], 0);
}

static void test_rom_and_nothing(void **state)
{
    struct fixture *f = *state;
    struct bus_range rom = {.base = 0x10000, .size = 0x1000, .host = f->rom, .readonly = true, .name = "rom"};
    char *text;
    size_t size;

    f->rom[0] = 0x55;
    bus_map(f->bus, &rom);
    map_dev(f, 0x20000, 0x10, &echo_mute);
    f->log.items = LOG_GUEST_ERRORS | LOG_UNIMP;
    f->log.out = open_memstream(&text, &size);
    bus_write(f->bus, 0x10000, 0xff, 1);
    assert_int_equal(bus_read(f->bus, 0x10000, 1), 0x55);
    assert_true(bus_read(f->bus, 0x30000, 8) == ~0ull);
    assert_int_equal(bus_read(f->bus, 0x30000, 2), 0xffff);
    assert_int_equal(bus_read(f->bus, 0x20000, 2), 0xffff);
    bus_write(f->bus, 0x20000, 0, 1);
    bus_write(f->bus, 0x30000, 0, 1);
    fclose(f->log.out);
    assert_non_null(strstr(text, "rom: write of 1 bytes at offset 0x0 dropped"));
    assert_non_null(strstr(text, "read of 8 bytes at physical address 0x30000"));
    free(text);
}

static void test_host(void **state)
{
    struct fixture *f = *state;
    struct bus_range rom = {.base = 0x10000, .size = 0x1000, .host = f->rom, .readonly = true, .name = "rom"};

    map_ram(f, 0x1000, 0x4000);
    map_dev(f, 0x3000, 0x100, &echo_8);
    bus_map(f->bus, &rom);
    assert_ptr_equal(bus_host(f->bus, 0x1800, 0x1800, true), f->ram + 0x800);
    assert_null(bus_host(f->bus, 0x1800, 0x1801, true));
    assert_null(bus_host(f->bus, 0x1800, ~0ull, true));
    assert_null(bus_host(f->bus, 0x3000, 1, false));
    assert_null(bus_host(f->bus, 0x0, 1, false));
    assert_ptr_equal(bus_host(f->bus, 0x3100, 0x1f00, true), f->ram + 0x2100);
    assert_ptr_equal(bus_host(f->bus, 0x10000, 0x1000, false), f->rom);
    assert_null(bus_host(f->bus, 0x10000, 1, true));
}

static void test_copy(void **state)
{
    struct fixture *f = *state;
    struct bus_range rom = {.base = 0x4000, .size = 0x1000, .host = f->rom, .readonly = true, .name = "rom"};
    uint8_t buf[32];

    map_ram(f, 0, 0x1000);
    map_dev(f, 0x1000, 0xb, &echo_32);
    map_ram(f, 0x2000, 0x1000);
    bus_map(f->bus, &rom);

    memset(f->ram, 0x5a, sizeof(f->ram));
    memset(buf, 0, sizeof(buf));
    assert_false(bus_copy_out(f->bus, 0xffe, buf, 16));
    assert_memory_equal(buf, "\x5a\x5a\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\xff\xff\xff", 16);
    assert_int_equal(buf[16], 0);
    assert_string_equal(f->echo.text, "r4@0 r4@4 r2@8 r1@a ");

    f->echo.text[0] = 0;
    for (int i = 0; i < 16; i++)
        buf[i] = (uint8_t)(i + 1);
    assert_false(bus_copy_in(f->bus, 0xffe, buf, 16));
    assert_memory_equal(f->ram + 0xffe, "\x01\x02\x5a", 3);
    assert_string_equal(f->echo.text, "w4@0=6050403 w4@4=a090807 w2@8=c0b w1@a=d ");

    assert_true(bus_copy_in(f->bus, 0x2ffe, buf, 2));
    assert_memory_equal(f->ram + 0xffe, "\x01\x02", 2);
    assert_true(bus_copy_in(f->bus, 0x4000, buf, 2)); /* ROM: there, but not written */
    assert_int_equal(f->rom[0], 0);
    assert_true(bus_copy_out(f->bus, 0x4000, buf, 2));
    assert_int_equal(buf[0], 0);
    map_dev(f, 0x6000, 0x100, &echo_64);
    f->echo.text[0] = 0;
    bus_copy_out(f->bus, 0x6004, buf, 13);
    assert_string_equal(f->echo.text, "r4@4 r8@8 r1@10 ");
    assert_false(bus_copy_out(f->bus, 0x9000, buf, 2));
    assert_int_equal(buf[1], 0xff);
}

static void test_full_and_two(void **state)
{
    struct fixture *f = *state;
    struct status st = {0};
    struct bus *ports;
    unsigned n = 0;

    assert_true(bus_init(&ports, 16, &f->log, &st));
    struct bus_range r = {.size = 16, .ops = &echo_8, .dev = &f->echo, .name = "p"};
    for (; n < 10000; n++, r.base += 32)
        if (!bus_map(ports, &r))
            break;
    assert_in_range(n, 64, 9999);
    assert_string_equal(bus_find(ports, (n - 1) * 32)->name, "p");
    assert_null(bus_find(ports, n * 32));
    assert_null(bus_find(ports, (n - 1) * 32 + 16));
    expect_map(f, "");
    assert_null(bus_find(ports, 0x10000));
    bus_fini(ports);
}

static void test_ram(void **state)
{
    struct fixture *f = *state;
    struct status st = {0};
    struct ram r, small;

    assert_false(ram_init(&r, 4097, 0x80000000, &st));
    assert_true(st.text[0]);
    st.text[0] = 0;
    assert_true(ram_init(&r, 6ull << 30, 3ull << 30, &st));
    assert_true(ram_map(&r, f->bus));
    expect_map(f, "ram 0-bfffffff;ram-high 100000000-1bfffffff;");
    assert_true(r.low == 3ull << 30);
    assert_true(ram_page_of_gpa(&r, 0x5123) == 5);
    assert_true(ram_page_of_gpa(&r, 3ull << 30) == UINT64_MAX);
    assert_true(ram_page_of_gpa(&r, 0xffffffff) == UINT64_MAX);
    assert_true(ram_page_of_gpa(&r, 4ull << 30) == (3ull << 30) / 4096);
    assert_true(ram_page_of_gpa(&r, 7ull << 30) == UINT64_MAX);
    for (gpa_t gpa = 0x3000; gpa < 7ull << 30; gpa += 0x3ffff000) {
        uint64_t page = ram_page_of_gpa(&r, gpa);
        if (page == UINT64_MAX)
            continue;
        assert_true(ram_gpa_of_page(&r, page) == gpa);
        assert_true(ram_page_of_host(&r, bus_host(f->bus, gpa, 1, true) + 7) == page);
    }
    assert_true(ram_page_of_host(&r, r.host - 1) == UINT64_MAX);
    assert_true(ram_page_of_host(&r, r.host + r.size) == UINT64_MAX);
    bus_write(f->bus, 0x1bffffff8, 0x1234, 8);
    assert_int_equal(r.host[r.size - 8], 0x34);
    assert_int_equal(r.flags[r.size / 4096 - 1], 0);

    assert_true(ram_init(&small, 1 << 20, 3ull << 30, &st));
    assert_true(small.low == 1 << 20);
    assert_true(ram_page_of_gpa(&small, 4ull << 30) == UINT64_MAX);
    ram_fini(&small);
    ram_fini(&r);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_overlap), T(test_edges_of_space), T(test_split),        T(test_crossing), T(test_rom_and_nothing),
        T(test_host),    T(test_copy),           T(test_full_and_two), T(test_ram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
