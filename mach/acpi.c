/* mach/acpi.c: the ACPI tables (ACPI 6.4, chapter 5) that describe the board to an operating system when no firmware
 * does.
 *
 *     F5000h          RSDP, found by scanning
 *     tables_at       RSDT, XSDT, FADT, MADT, HPET, DSDT              (e820: ACPI)
 *     last page       FACS                                            (e820: NVS)
 * The last two are at the top of RAM below 4 GB.
 *
 * AML is written by the small builder in the middle.  Its package lengths always take three bytes, which is legal and
 * lets a package be closed after its contents are known.
 */
#include <string.h>

#include "mach/mach.h"

enum {
    AREA = 0x10000, /* at the top of low RAM, FACS page included */
    PAGE = 4096,
    RSDP_AT = 0xf5000,
    RSDP_SIZE = 36,
    HEADER_SIZE = 36,
    FADT_SIZE = 244,
    HPET_SIZE = 56,
    FACS_SIZE = 64,
    SCI_IRQ = 9,
    RESET_PORT = 0xcf9,
    RESET_VALUE = 0x06,
    SPACE_MEMORY = 0,
    SPACE_IO = 1,
    PCI_GSI = 16, /* INTA..INTD, turning with the slot: inputs 16..19 */
};

/* ---- tables -------------------------------------------------------------------------------------------------- */

struct area {
    uint8_t *host;
    uint64_t gpa;
    uint32_t used, size;
};

static uint8_t checksum(const uint8_t *p, size_t n)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (uint8_t)(sum + p[i]);
    return (uint8_t)-sum;
}

/* Room for a table, zeroed, with its header filled but for length and checksum. */
static uint8_t *table_open(struct area *a, const char *signature, uint8_t revision)
{
    a->used = (a->used + 15) & ~15u;
    uint8_t *t = a->host + a->used;
    memcpy(t, signature, 4);
    t[8] = revision;
    memcpy(t + 10, "RHEA  RHEAPC  ", 14);
    bytes_put(t + 24, 1, 4);
    memcpy(t + 28, "RHEA", 4);
    bytes_put(t + 32, 1, 4);
    return t;
}

/* Gives the table's guest-physical address. */
static uint64_t table_close(struct area *a, uint8_t *t, uint32_t length)
{
    rh_assert(a->used + length <= a->size, "ACPI tables do not fit");
    bytes_put(t + 4, length, 4);
    t[9] = 0;
    t[9] = checksum(t, length);
    uint64_t at = a->gpa + a->used;
    a->used += length;
    return at;
}

/* Generic address structure, 5.2.3.2. */
static void put_gas(uint8_t *p, uint8_t space, uint8_t bits, uint8_t access, uint64_t address)
{
    p[0] = space;
    p[1] = bits;
    p[2] = 0;
    p[3] = access;
    bytes_put(p + 4, address, 8);
}

static void put_port(uint8_t *fadt, unsigned offset32, unsigned offset_gas, uint8_t bits, uint16_t port)
{
    bytes_put(fadt + offset32, port, 4);
    put_gas(fadt + offset_gas, SPACE_IO, bits, bits == 16 ? 2 : bits == 32 ? 3 : 0, port);
}

static uint64_t build_fadt(struct area *a, uint64_t facs, uint64_t dsdt)
{
    uint8_t *t = table_open(a, "FACP", 3);
    enum { WBINVD = 1, PROC_C1 = 4, NO_SLEEP_BUTTON = 32, NO_RTC_WAKE = 64, TIMER_32 = 256, RESET_REGISTER = 1024 };
    enum { LEGACY_DEVICES = 1, NO_VGA = 4 };
    bytes_put(t + 36, facs, 4);
    bytes_put(t + 40, dsdt, 4);
    bytes_put(t + 46, SCI_IRQ, 2);
    put_port(t, 56, 148, 32, PC_PM_BASE + ACPI_PM1_EVENT);
    put_port(t, 64, 172, 16, PC_PM_BASE + ACPI_PM1_CONTROL);
    put_port(t, 76, 208, 32, PC_PM_BASE + ACPI_PM_TIMER);
    put_port(t, 80, 220, 32, PC_PM_BASE + ACPI_GPE0);
    t[88] = 4; /* lengths: PM1 event, PM1 control, timer, GPE0 */
    t[89] = 2;
    t[91] = 4;
    t[92] = 4;
    bytes_put(t + 96, 0xfff, 2); /* no C2, no C3 */
    bytes_put(t + 98, 0xfff, 2);
    t[108] = 0x32; /* century, in CMOS */
    bytes_put(t + 109, LEGACY_DEVICES | NO_VGA, 2);
    bytes_put(t + 112, WBINVD | PROC_C1 | NO_SLEEP_BUTTON | NO_RTC_WAKE | TIMER_32 | RESET_REGISTER, 4);
    put_gas(t + 116, SPACE_IO, 8, 1, RESET_PORT);
    t[128] = RESET_VALUE;
    bytes_put(t + 140, dsdt, 8); /* X_FIRMWARE_CTRL stays 0: the 32-bit field says it (5.2.9) */
    return table_close(a, t, FADT_SIZE);
}

/* 5.2.12.2 and 5.2.12.12: ids that the short form does not hold take the x2APIC form. */
static uint8_t *put_processor(uint8_t *p, unsigned uid, uint32_t id, bool enabled)
{
    bool x2 = id >= 255;
    p[0] = x2 ? 9 : 0;
    p[1] = x2 ? 16 : 8;
    if (x2) {
        bytes_put(p + 4, id, 4);
        bytes_put(p + 8, enabled, 4);
        bytes_put(p + 12, uid, 4);
    } else {
        p[2] = (uint8_t)uid;
        p[3] = (uint8_t)id;
        bytes_put(p + 4, enabled, 4);
    }
    return p + p[1];
}

static uint64_t build_madt(struct area *a, const struct pc *pc)
{
    uint8_t *t = table_open(a, "APIC", 3), *p = t + 44;
    bytes_put(t + 36, APIC_BASE, 4);
    bytes_put(t + 40, 1, 4); /* a pair of 8259s is there too */
    const struct x86_topology *topology = &pc->config.topology;
    unsigned places = topology->sockets * topology->dies * topology->cores * topology->threads;
    for (unsigned i = 0; i < places; i++)
        p = put_processor(p, i, x86_topology_id(topology, i), i < pc->config.cpus);
    p[0] = 1; /* I/O APIC: inputs from 0 */
    p[1] = 12;
    p[2] = PC_IOAPIC_ID;
    bytes_put(p + 4, IOAPIC_BASE, 4);
    p += 12;
    static const uint8_t override[2][3] = {{0, 2, 0}, {SCI_IRQ, SCI_IRQ, 0xd}}; /* 0xd: active high, level */
    for (unsigned i = 0; i < 2; i++, p += 10) {
        p[0] = 2;
        p[1] = 10;
        p[3] = override[i][0];
        bytes_put(p + 4, override[i][1], 4);
        bytes_put(p + 8, override[i][2], 2);
    }
    p[0] = 4; /* NMI on LINT1 of every processor */
    p[1] = 6;
    p[2] = 0xff;
    p[5] = 1;
    p += 6;
    p[0] = 10; /* the same for those with x2APIC entries */
    p[1] = 12;
    bytes_put(p + 4, 0xffffffffu, 4);
    p[8] = 1;
    p += 12;
    return table_close(a, t, (uint32_t)(p - t));
}

static uint64_t build_hpet(struct area *a)
{
    uint8_t *t = table_open(a, "HPET", 1);
    bytes_put(t + 36, 0x8086a201u, 4); /* the low half of its capabilities register */
    put_gas(t + 40, SPACE_MEMORY, 64, 0, HPET_BASE);
    bytes_put(t + 53, 128, 2); /* least ticks in periodic mode */
    return table_close(a, t, HPET_SIZE);
}

/* ---- AML (chapter 20) ------------------------------------------------------------------------------------------ */

struct aml {
    uint8_t *at, *end;
};

enum {
    AML_ZERO = 0x00,
    AML_ONE = 0x01,
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_WORD = 0x0b,
    AML_DWORD = 0x0c,
    AML_STRING = 0x0d,
    AML_SCOPE = 0x10,
    AML_BUFFER = 0x11,
    AML_PACKAGE = 0x12,
    AML_EXT = 0x5b,
    AML_EXT_DEVICE = 0x82,
};

static void aml_put(struct aml *a, uint64_t v, unsigned n)
{
    rh_assert(a->at + n <= a->end, "AML does not fit");
    bytes_put(a->at, v, n);
    a->at += n;
}

static void aml_seg(struct aml *a,
                    const char *name) /* four letters, with a root backslash before them if it is there */
{
    if (*name == '\\')
        aml_put(a, (uint8_t)*name++, 1);
    for (unsigned i = 0; i < 4; i++)
        aml_put(a, *name ? (uint8_t)*name++ : '_', 1);
}

static void aml_number(struct aml *a, uint32_t v)
{
    if (v <= 1) {
        aml_put(a, v ? AML_ONE : AML_ZERO, 1);
    } else {
        unsigned n = v < 0x100 ? 1 : v < 0x10000 ? 2 : 4;
        aml_put(a, n == 1 ? AML_BYTE : n == 2 ? AML_WORD : AML_DWORD, 1);
        aml_put(a, v, n);
    }
}

static uint8_t *aml_open(struct aml *a)
{
    uint8_t *length = a->at;
    aml_put(a, 0, 3);
    return length;
}

static void aml_close(struct aml *a, uint8_t *length)
{
    uint32_t n = (uint32_t)(a->at - length); /* counts its own bytes (20.2.4) */
    length[0] = (uint8_t)(0x80 | (n & 15));
    bytes_put(length + 1, n >> 4, 2);
}

static uint8_t *aml_scope(struct aml *a, const char *name)
{
    aml_put(a, AML_SCOPE, 1);
    uint8_t *l = aml_open(a);
    aml_seg(a, name);
    return l;
}

static uint8_t *aml_device(struct aml *a, const char *name)
{
    aml_put(a, AML_EXT, 1);
    aml_put(a, AML_EXT_DEVICE, 1);
    uint8_t *l = aml_open(a);
    aml_seg(a, name);
    return l;
}

static void aml_name(struct aml *a, const char *name)
{
    aml_put(a, AML_NAME, 1);
    aml_seg(a, name);
}

static void aml_name_number(struct aml *a, const char *name, uint32_t v)
{
    aml_name(a, name);
    aml_number(a, v);
}

static uint8_t *aml_package(struct aml *a, unsigned elements)
{
    aml_put(a, AML_PACKAGE, 1);
    uint8_t *l = aml_open(a);
    aml_put(a, elements, 1);
    return l;
}

/* _HID: a compressed EISA id, "PNP0501", or a string, "ACPI0007". */
static void aml_hid(struct aml *a, const char *id)
{
    aml_name(a, "_HID");
    if (strlen(id) != 7) {
        aml_put(a, AML_STRING, 1);
        for (const char *c = id; *c; c++)
            aml_put(a, (uint8_t)*c, 1);
        aml_put(a, 0, 1);
        return;
    }
    uint32_t v = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 | (uint32_t)(id[2] - '@') << 16;
    for (unsigned i = 3; i < 7; i++) {
        uint32_t digit = (uint32_t)(id[i] <= '9' ? id[i] - '0' : id[i] - 'A' + 10);
        v |= digit << (4 * (6 - i));
    }
    aml_put(a, AML_DWORD, 1);
    aml_put(a, __builtin_bswap32(v), 4);
}

/* _CRS: a buffer of resource descriptors (6.4); its size is filled in when it ends. */
struct resources {
    uint8_t *length, *size;
};

static struct resources aml_crs_open(struct aml *a)
{
    struct resources r;
    aml_name(a, "_CRS");
    aml_put(a, AML_BUFFER, 1);
    r.length = aml_open(a);
    aml_put(a, AML_WORD, 1);
    r.size = a->at;
    aml_put(a, 0, 2);
    return r;
}

static void aml_crs_close(struct aml *a, struct resources r)
{
    aml_put(a, 0x0079, 2); /* end tag; checksum 0: not used */
    bytes_put(r.size, (uint64_t)(a->at - r.size - 2), 2);
    aml_close(a, r.length);
}

static void crs_io(struct aml *a, uint16_t port, uint8_t count)
{
    aml_put(a, 0x0147, 2); /* I/O port descriptor, 16 bits decoded */
    aml_put(a, port, 2);
    aml_put(a, port, 2);
    aml_put(a, 1, 1);
    aml_put(a, count, 1);
}

static void crs_irq(struct aml *a, unsigned irq)
{
    aml_put(a, 0x22, 1);
    aml_put(a, 1u << irq, 2);
}

static void crs_memory(struct aml *a, uint32_t base, uint32_t size)
{
    aml_put(a, 0x000986, 3); /* 32-bit fixed memory, 9 bytes */
    aml_put(a, 0, 1);        /* read only */
    aml_put(a, base, 4);
    aml_put(a, size, 4);
}

enum { WINDOW_MEMORY = 0, WINDOW_IO = 1, WINDOW_BUS = 2 };

/* An address space descriptor with `n`-byte fields, 2 or 4: what the bridge passes on. */
static void crs_window(struct aml *a, unsigned n, uint8_t type, uint32_t first, uint32_t last)
{
    static const uint8_t type_flags[3] = {1 /* writable, not cached */, 3 /* entire range */, 0};
    aml_put(a, n == 2 ? 0x88 : 0x87, 1);
    aml_put(a, 3 + 5 * n, 2);
    aml_put(a, type, 1);
    aml_put(a, 0x0c, 1); /* minimum and maximum are fixed, positive decode, producer */
    aml_put(a, type_flags[type], 1);
    aml_put(a, 0, n);
    aml_put(a, first, n);
    aml_put(a, last, n);
    aml_put(a, 0, n);
    aml_put(a, last - first + 1, n);
}

/* ---- the board in AML --------------------------------------------------------------------------------------------- */

static void dsdt_routing(struct aml *a)
{
    enum { SLOTS = 32, PINS = 4 };
    aml_name(a, "_PRT");
    uint8_t *all = aml_package(a, SLOTS * PINS);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        for (unsigned pin = 0; pin < PINS; pin++) {
            bool pm = slot == 1 && pin == 0; /* the PIIX4's own: SCI */
            uint8_t *one = aml_package(a, 4);
            aml_number(a, slot << 16 | 0xffff);
            aml_number(a, pin);
            aml_number(a, 0);
            aml_number(a, pm ? SCI_IRQ : PCI_GSI + (slot + pin) % PINS);
            aml_close(a, one);
        }
    aml_close(a, all);
}

static void dsdt_isa_device(struct aml *a, const char *name, const char *hid, unsigned uid, uint16_t port,
                            uint8_t count, unsigned irq)
{
    uint8_t *d = aml_device(a, name);
    aml_hid(a, hid);
    aml_name_number(a, "_UID", uid);
    struct resources r = aml_crs_open(a);
    crs_io(a, port, count);
    crs_irq(a, irq);
    aml_crs_close(a, r);
    aml_close(a, d);
}

static void dsdt_pci(struct aml *a, const struct pc *pc)
{
    uint8_t *bridge = aml_device(a, "PCI0");
    aml_hid(a, "PNP0A03");
    aml_name_number(a, "_UID", 0);
    aml_name_number(a, "_BBN", 0);
    struct resources r = aml_crs_open(a);
    crs_window(a, 2, WINDOW_BUS, 0, 0xff);
    crs_io(a, 0xcf8, 8);
    crs_window(a, 2, WINDOW_IO, 0, 0xcf7);
    crs_window(a, 2, WINDOW_IO, 0xd00, 0xffff);
    crs_window(a, 4, WINDOW_MEMORY, 0xa0000, 0xbffff);
    crs_window(a, 4, WINDOW_MEMORY, PC_PCI_HOLE, IOAPIC_BASE - 1);
    aml_crs_close(a, r);
    dsdt_routing(a);

    uint8_t *isa = aml_device(a, "ISA");
    aml_name_number(a, "_ADR", 0x00010000);
    for (unsigned i = 0; i < PC_SERIAL_MAX; i++) {
        char name[5] = {'C', 'O', 'M', (char)('1' + i), 0};
        if (pc->uart[i])
            dsdt_isa_device(a, name, "PNP0501", i + 1, pc_serial_port[i], 8, pc_serial_irq[i]);
    }
    dsdt_isa_device(a, "RTC", "PNP0B00", 0, 0x70, 2, 8);
    aml_close(a, isa);
    aml_close(a, bridge);
}

static void dsdt_processors(struct aml *a, const struct pc *pc)
{
    static const char hex[] = "0123456789ABCDEF";
    for (unsigned i = 0; i < pc->config.cpus; i++) {
        char name[5] = {'C', 'P', hex[i >> 4], hex[i & 15], 0};
        uint8_t *d = aml_device(a, name);
        aml_hid(a, "ACPI0007");
        aml_name_number(a, "_UID", i);
        aml_close(a, d);
    }
}

static uint64_t build_dsdt(struct area *area, const struct pc *pc)
{
    uint8_t *t = table_open(area, "DSDT", 2);
    struct aml a = {.at = t + HEADER_SIZE, .end = area->host + area->size};
    uint8_t *root = aml_scope(&a, "\\_SB");
    dsdt_pci(&a, pc);
    dsdt_processors(&a, pc);
    if (!pc->config.no_hpet) {
        uint8_t *d = aml_device(&a, "HPET");
        aml_hid(&a, "PNP0103");
        aml_name_number(&a, "_UID", 0);
        struct resources r = aml_crs_open(&a);
        crs_memory(&a, HPET_BASE, 0x400);
        aml_crs_close(&a, r);
        aml_close(&a, d);
    }
    aml_close(&a, root);
    aml_name(&a, "\\_S5");
    uint8_t *s5 = aml_package(&a, 4);
    for (unsigned i = 0; i < 4; i++)
        aml_number(&a, ACPI_S5);
    aml_close(&a, s5);
    return table_close(area, t, (uint32_t)(a.at - t));
}

/* ---- all together
 * ---------------------------------------------------------------------------------------------------- */

static void build_rsdp(uint8_t *r, uint64_t rsdt, uint64_t xsdt)
{
    memset(r, 0, RSDP_SIZE);
    memcpy(r, "RSD PTR ", 8);
    memcpy(r + 9, "RHEA  ", 6);
    r[15] = 2;
    bytes_put(r + 16, rsdt, 4);
    bytes_put(r + 20, RSDP_SIZE, 4);
    bytes_put(r + 24, xsdt, 8);
    r[8] = checksum(r, 20);
    r[32] = checksum(r, RSDP_SIZE);
}

static void build_facs(uint8_t *f)
{
    memset(f, 0, FACS_SIZE);
    memcpy(f, "FACS", 4);
    bytes_put(f + 4, FACS_SIZE, 4);
    f[32] = 2; /* version */
}

void acpi_build(struct pc *pc)
{
    pc->rsdp = 0;
    pc->tables_at = pc->ram.low;
    if (pc->config.no_acpi || pc->ram.low < 0x100000 + 2 * AREA)
        return;
    uint64_t facs = pc->ram.low - PAGE;
    pc->tables_at = pc->ram.low - AREA;
    struct area a = {.gpa = pc->tables_at, .size = AREA - PAGE, .host = pc_ram(pc, pc->tables_at, AREA)};
    uint8_t *rsdp = pc_ram(pc, RSDP_AT, RSDP_SIZE);
    rh_assert(a.host && rsdp);
    memset(a.host, 0, AREA);
    build_facs(a.host + AREA - PAGE);

    uint64_t table[3];
    unsigned n = 0;
    uint64_t dsdt = build_dsdt(&a, pc);
    table[n++] = build_fadt(&a, facs, dsdt);
    table[n++] = build_madt(&a, pc);
    if (!pc->config.no_hpet)
        table[n++] = build_hpet(&a);
    uint64_t root[2];
    for (unsigned wide = 0; wide < 2; wide++) {
        unsigned width = wide ? 8 : 4;
        uint8_t *t = table_open(&a, wide ? "XSDT" : "RSDT", 1);
        for (unsigned i = 0; i < n; i++)
            bytes_put(t + HEADER_SIZE + i * width, table[i], width);
        root[wide] = table_close(&a, t, HEADER_SIZE + n * width);
    }
    build_rsdp(rsdp, root[0], root[1]);
    pc->rsdp = RSDP_AT;
}

static void e820_add(struct pc_e820 *m, uint64_t from, uint64_t to, uint32_t type)
{
    if (from >= to)
        return;
    rh_assert(m->n < E820_MAX);
    m->entry[m->n].base = from;
    m->entry[m->n].size = to - from;
    m->entry[m->n++].type = type;
}

void e820_build(struct pc *pc)
{
    struct pc_e820 *m = &pc->e820;
    m->n = 0;
    e820_add(m, 0, PC_EBDA, E820_RAM);
    e820_add(m, PC_EBDA, 0xa0000, E820_RESERVED);
    e820_add(m, 0xf0000, 0x100000, E820_RESERVED);
    e820_add(m, 0x100000, pc->tables_at, E820_RAM);
    if (pc->rsdp) {
        e820_add(m, pc->tables_at, pc->ram.low - PAGE, E820_ACPI);
        e820_add(m, pc->ram.low - PAGE, pc->ram.low, E820_NVS);
    }
    e820_add(m, IOAPIC_BASE, IOAPIC_BASE + PAGE, E820_RESERVED);
    e820_add(m, APIC_BASE, APIC_BASE + PAGE, E820_RESERVED);
    if (pc->ram.size > pc->ram.low)
        e820_add(m, 1ull << 32, (1ull << 32) + pc->ram.size - pc->ram.low, E820_RAM);
}
