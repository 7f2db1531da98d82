/* The ACPI tables as an operating system finds them: by scanning, with right checksums, lengths and contents; AML
 * that parses. */
#include "test/mach/board.h"

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;
    while (n--)
        s = (uint8_t)(s + *p++);
    return s;
}

static const uint8_t *rsdp_find(struct pc *pc)
{
    for (gpa_t at = 0xe0000; at < 0x100000; at += 16) {
        const uint8_t *p = pc_ram(pc, at, 36);
        if (!memcmp(p, "RSD PTR ", 8) && sum(p, 20) == 0)
            return p;
    }
    return NULL;
}

static const uint8_t *table_at(struct pc *pc, uint64_t at)
{
    const uint8_t *t = pc_ram(pc, at, 36);
    assert_non_null(t);
    uint64_t n = bytes_get(t + 4, 4);
    assert_non_null(pc_ram(pc, at, n));
    assert_int_equal(sum(t, n), 0);
    return t;
}

/* By the XSDT; the RSDT must name the same. */
static const uint8_t *table_find(struct pc *pc, const char *signature)
{
    const uint8_t *rsdp = rsdp_find(pc), *found = NULL;
    assert_non_null(rsdp);
    assert_int_equal(sum(rsdp, 36), 0);
    const uint8_t *xsdt = table_at(pc, bytes_get(rsdp + 24, 8)), *rsdt = table_at(pc, bytes_get(rsdp + 16, 4));
    assert_memory_equal(xsdt, "XSDT", 4);
    assert_memory_equal(rsdt, "RSDT", 4);
    uint64_t n = (bytes_get(xsdt + 4, 4) - 36) / 8;
    assert_int_equal(n, (bytes_get(rsdt + 4, 4) - 36) / 4);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = bytes_get(xsdt + 36 + i * 8, 8);
        assert_int_equal(at, bytes_get(rsdt + 36 + i * 4, 4));
        const uint8_t *t = table_at(pc, at);
        if (!memcmp(t, signature, 4))
            found = t;
    }
    return found;
}

static void start(struct board *b, uint64_t ram, unsigned cpus)
{
    board_init(b, ram, cpus);
    assert_true(back_null_init(&b->config.serial[0], &b->st));
    board_start(b);
    acpi_build(&b->pc);
    e820_build(&b->pc);
}

static void finish(struct board *b)
{
    back_fini(b->config.serial[0]);
    board_fini(b);
}

static void test_fadt(void **state)
{
    (void)state;
    struct board b;
    start(&b, 64 << 20, 1);
    const uint8_t *t = table_find(&b.pc, "FACP");
    assert_non_null(t);
    assert_int_equal(bytes_get(t + 4, 4), 244);
    assert_int_equal(bytes_get(t + 46, 2), 9);
    assert_int_equal(bytes_get(t + 56, 4), 0x600);
    assert_int_equal(bytes_get(t + 64, 4), 0x604);
    assert_int_equal(bytes_get(t + 76, 4), 0x608);
    assert_int_equal(bytes_get(t + 120, 8), 0xcf9);
    assert_int_equal(t[148], 1); /* X_PM1a_EVT_BLK: ports */
    assert_int_equal(bytes_get(t + 152, 8), 0x600);
    uint64_t facs = bytes_get(t + 36, 4);
    assert_int_equal(facs & 63, 0);
    assert_memory_equal(pc_ram(&b.pc, facs, 64), "FACS", 4);
    assert_memory_equal(table_at(&b.pc, bytes_get(t + 140, 8)), "DSDT", 4);
    assert_int_equal(bytes_get(t + 40, 4), bytes_get(t + 140, 8));
    /* The hardware must be where the table says. */
    assert_int_equal(bus_read(b.pc.io, bytes_get(t + 64, 4), 2) & 1, 1);
    finish(&b);
}

static void test_madt(void **state)
{
    (void)state;
    struct board b;
    start(&b, 64 << 20, 3);
    const uint8_t *t = table_find(&b.pc, "APIC");
    assert_non_null(t);
    assert_int_equal(bytes_get(t + 36, 4), 0xfee00000);
    unsigned cpus = 0, ioapics = 0, overrides = 0, nmis = 0;
    uint64_t n = bytes_get(t + 4, 4), at = 44;
    for (; at < n; at += t[at + 1]) {
        const uint8_t *e = t + at;
        assert_true(e[1] >= 2);
        switch (e[0]) {
        case 0:
            assert_int_equal(e[1], 8);
            assert_int_equal(e[3], cpus++);
            assert_int_equal(bytes_get(e + 4, 4), 1);
            break;
        case 1:
            assert_int_equal(e[1], 12);
            assert_int_equal(bytes_get(e + 4, 4), 0xfec00000);
            ioapics++;
            break;
        case 2:
            assert_int_equal(e[1], 10);
            assert_int_equal(bytes_get(e + 4, 4), e[3] == 0 ? 2 : 9);
            assert_int_equal(bytes_get(e + 8, 2), e[3] == 0 ? 0 : 0xd);
            overrides++;
            break;
        case 4:
            assert_int_equal(e[1], 6);
            assert_int_equal(e[5], 1);
            nmis++;
            break;
        case 10:
            assert_int_equal(e[1], 12);
            assert_int_equal(bytes_get(e + 4, 4), 0xffffffff);
            assert_int_equal(e[8], 1);
            nmis++;
            break;
        default: fail();
        }
    }
    assert_int_equal(at, n);
    assert_int_equal(cpus, 3);
    assert_int_equal(ioapics, 1);
    assert_int_equal(overrides, 2);
    assert_int_equal(nmis, 2);
    finish(&b);
}

/* 85 cores of three threads: ids go up to 338 (thread in bits 1..0), those from 255 on in x2APIC entries; and places
 * without a processor are there, not enabled. */
static void test_madt_many(void **state)
{
    (void)state;
    struct board b;
    board_init(&b, 64 << 20, 254);
    b.config.topology = (struct x86_topology){1, 1, 85, 3};
    b.config.kernel = "/dev/null";
    board_start(&b);
    acpi_build(&b.pc);
    const uint8_t *t = table_find(&b.pc, "APIC");
    unsigned small = 0, wide = 0, enabled = 0;
    uint64_t n = bytes_get(t + 4, 4);
    for (uint64_t at = 44; at < n; at += t[at + 1]) {
        const uint8_t *e = t + at;
        unsigned i = small + wide, id = i / 3 << 2 | i % 3;
        if (e[0] == 0) {
            assert_int_equal(e[3], id);
            enabled += e[4];
            small++;
        } else if (e[0] == 9) {
            assert_int_equal(e[1], 16);
            assert_int_equal(bytes_get(e + 4, 4), id);
            assert_int_equal(bytes_get(e + 12, 4), i);
            enabled += e[8];
            wide++;
        }
    }
    assert_int_equal(small + wide, 255);
    assert_int_equal(small, 192);
    assert_int_equal(enabled, 254);
    assert_int_equal(lapic_id(b.pc.lapic[253]), 337);
    finish(&b);
}

/* Enough of AML to walk what the builder may write: named packages, devices, scopes, numbers, strings, buffers. */
static const uint8_t *pkg_end(const uint8_t **p)
{
    const uint8_t *start = *p;
    unsigned extra = *start >> 6;
    uint32_t n = extra ? *start & 15 : *start & 63;
    for (unsigned i = 0; i < extra; i++)
        n |= (uint32_t)start[1 + i] << (4 + 8 * i);
    *p += 1 + extra;
    return start + n;
}

static const uint8_t *name_skip(const uint8_t *p)
{
    if (*p == '\\')
        p++;
    for (unsigned i = 0; i < 4; i++)
        assert_true((p[i] >= 'A' && p[i] <= 'Z') || p[i] == '_' || (i && p[i] >= '0' && p[i] <= '9'));
    return p + 4;
}

struct seen {
    unsigned devices, processors, routes;
};

static const uint8_t *aml_walk(const uint8_t *p, const uint8_t *end, struct seen *s);

static const uint8_t *data_walk(const uint8_t *p, struct seen *s)
{
    const uint8_t *end;
    unsigned n;
    switch (*p++) {
    case 0x00:
    case 0x01: return p;
    case 0x0a: return p + 1;
    case 0x0b: return p + 2;
    case 0x0c: return p + 4;
    case 0x0d: s->processors += !strcmp((const char *)p, "ACPI0007"); return p + strlen((const char *)p) + 1;
    case 0x11:
        end = pkg_end(&p);
        assert_int_equal(*p, 0x0b);
        assert_int_equal(bytes_get(p + 1, 2), end - (p + 3));
        for (p += 3; p < end; p += p[0] & 0x80 ? 3 + bytes_get(p + 1, 2) : 1u + (p[0] & 7))
            if (p[0] == 0x79)
                assert_ptr_equal(p + 2, end);
        assert_ptr_equal(p, end);
        return p;
    case 0x12:
        end = pkg_end(&p);
        n = *p++;
        for (unsigned i = 0; i < n; i++)
            p = data_walk(p, s);
        assert_ptr_equal(p, end);
        s->routes += n == 128;
        return p;
    default: fail_msg("data %02x", p[-1]); return p;
    }
}

static const uint8_t *aml_walk(const uint8_t *p, const uint8_t *end, struct seen *s)
{
    while (p < end) {
        const uint8_t *inner_end;
        switch (*p++) {
        case 0x08: p = data_walk(name_skip(p), s); break;
        case 0x10:
            inner_end = pkg_end(&p);
            p = aml_walk(name_skip(p), inner_end, s);
            break;
        case 0x5b:
            assert_int_equal(*p++, 0x82);
            inner_end = pkg_end(&p);
            s->devices++;
            p = aml_walk(name_skip(p), inner_end, s);
            break;
        default: fail_msg("opcode %02x", p[-1]);
        }
    }
    assert_ptr_equal(p, end);
    return p;
}

static void test_dsdt(void **state)
{
    (void)state;
    struct board b;
    struct seen s = {0};
    start(&b, 64 << 20, 20);
    const uint8_t *t = table_at(&b.pc, bytes_get(table_find(&b.pc, "FACP") + 140, 8));
    aml_walk(t + 36, t + bytes_get(t + 4, 4), &s);
    assert_int_equal(s.processors, 20);
    assert_int_equal(s.routes, 1);
    assert_int_equal(s.devices, 20 + 5); /* PCI0, ISA, COM1, RTC, HPET */
    /* PNP0501 compressed: P N P = 16, 14, 16 in five bits each */
    static const uint8_t com[] = {0x41, 0xd0, 0x05, 0x01};
    assert_non_null(memmem(t, bytes_get(t + 4, 4), com, 4));
    static const uint8_t s5[] = {0x08, '\\', '_', 'S', '5', '_', 0x12};
    assert_non_null(memmem(t, bytes_get(t + 4, 4), s5, sizeof s5));
    finish(&b);
}

static void test_hpet_table(void **state)
{
    (void)state;
    struct board b;
    start(&b, 64 << 20, 1);
    const uint8_t *t = table_find(&b.pc, "HPET");
    assert_non_null(t);
    assert_int_equal(bytes_get(t + 44, 8), 0xfed00000);
    assert_int_equal(bytes_get(t + 36, 4), bus_read(b.pc.mem, 0xfed00000, 4));
    finish(&b);
}

static void test_memory_map(void **state)
{
    (void)state;
    struct board b;
    start(&b, 4ull << 30, 1);
    const struct pc_e820 *m = &b.pc.e820;
    uint64_t ram = 0, last = 0;
    for (unsigned i = 0; i < m->n; i++) {
        assert_true(m->entry[i].base >= last); /* sorted, no overlap */
        last = m->entry[i].base + m->entry[i].size;
        if (m->entry[i].type == E820_RAM) {
            ram += m->entry[i].size;
            assert_non_null(pc_ram(&b.pc, m->entry[i].base, m->entry[i].size));
        }
    }
    assert_int_equal(last, 5ull << 30); /* 3 GB below, 1 GB from 4 GB */
    assert_true(ram > (4ull << 30) - (1 << 20) && ram < 4ull << 30);
    assert_null(pc_ram(&b.pc, 3ull << 30, 1));
    assert_null(pc_ram(&b.pc, (5ull << 30) - 1, 2));
    assert_non_null(pc_ram(&b.pc, (5ull << 30) - 1, 1));
    assert_int_equal(bus_read(b.pc.mem, 0xb8000, 2), 0xffff); /* no display */
    finish(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fadt), cmocka_unit_test(test_madt),       cmocka_unit_test(test_madt_many),
        cmocka_unit_test(test_dsdt), cmocka_unit_test(test_hpet_table), cmocka_unit_test(test_memory_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
