/* Loaders: good files of each kind end up as their protocols say; bad, cut and oversized ones give a message and no
 * more. */
#include <elf.h>

#include "test/mach/board.h"

enum { MB = 1 << 20, SETUP = 5 * 512, CODE = 8192 };

static void put(uint8_t *at, uint64_t v, unsigned n)
{
    bytes_put(at, v, n);
}

/* A bzImage of protocol 2.12 with four setup sectors. */
static void bzimage(uint8_t file[SETUP + CODE])
{
    memset(file, 0, SETUP);
    memset(file + SETUP, 0x90, CODE);
    file[0x1f1] = 4;
    put(file + 0x1f4, CODE / 16, 4);
    put(file + 0x1fe, 0xaa55, 2);
    put(file + 0x200, 0x66eb, 2);
    memcpy(file + 0x202, "HdrS", 4);
    put(file + 0x206, 0x020c, 2);
    file[0x211] = 1;
    put(file + 0x214, 0x100000, 4);
    put(file + 0x22c, 0x37ffffff, 4);
    put(file + 0x230, 0x200000, 4);
    file[0x234] = 1;
    put(file + 0x236, 1, 2);
    put(file + 0x238, 255, 4);
    put(file + 0x258, 16 * MB, 8);
    put(file + 0x260, 2 * MB, 4);
}

static bool load(struct board *b)
{
    board_start(b);
    memset(&b->st, 0, sizeof b->st);
    bool ok = pc_load(&b->pc, &b->st);
    assert_int_equal(ok, !b->st.text[0]); /* a message exactly when it failed */
    assert_null(strchr(b->st.text, '\n'));
    return ok;
}

static void test_linux64(void **state)
{
    (void)state;
    struct board b;
    uint8_t file[SETUP + CODE], initrd[5000];
    bzimage(file);
    memset(initrd, 0x77, sizeof initrd);
    board_init(&b, 64 * MB, 1);
    b.config.kernel = board_file(&b, file, sizeof file);
    b.config.initrd = board_file(&b, initrd, sizeof initrd);
    b.config.append = "console=ttyS0";
    assert_true(load(&b));
    const struct pc_entry *e = &b.pc.entry;
    assert_int_equal(e->mode, PC_LONG);
    assert_int_equal(e->rip, 16 * MB + 0x200);
    assert_memory_equal(pc_ram(&b.pc, 16 * MB, CODE), file + SETUP, CODE);
    const uint8_t *zp = pc_ram(&b.pc, e->rsi, 4096);
    assert_memory_equal(zp + 0x202, "HdrS", 4);
    assert_int_equal(zp[0x210], 0xff);
    assert_string_equal((const char *)pc_ram(&b.pc, bytes_get(zp + 0x228, 4), 20), "console=ttyS0");
    uint64_t at = bytes_get(zp + 0x218, 4);
    assert_int_equal(bytes_get(zp + 0x21c, 4), sizeof initrd);
    assert_int_equal(at & 4095, 0);
    assert_memory_equal(pc_ram(&b.pc, at, sizeof initrd), initrd, sizeof initrd);
    assert_int_equal(bytes_get(zp + 0x070, 8), b.pc.rsdp);
    assert_int_equal(zp[0x1e8], b.pc.e820.n);
    assert_int_equal(bytes_get(zp + 0x2d0 + 8, 8), 0x9fc00);
    /* What it must be able to reach is mapped to itself: walk for the last byte of 4 GB and for the kernel. */
    const uint64_t probe[] = {0, 16 * MB, 0xffffffff};
    for (unsigned i = 0; i < 3; i++) {
        uint64_t t = e->cr3;
        for (int shift = 39; shift >= 21; shift -= 9) {
            t = bytes_get(pc_ram(&b.pc, (t & ~4095ull) + (probe[i] >> shift & 511) * 8, 8), 8);
            assert_int_equal(t & 3, 3);
        }
        assert_int_equal(t & 0x80, 0x80);
        assert_int_equal(t & ~0x1fffffull, probe[i] & ~0x1fffffull);
    }
    board_fini(&b);
}

static void test_boot_state(void **state)
{
    (void)state;
    struct board b;
    uint8_t file[SETUP + CODE];
    bzimage(file);
    board_init(&b, 64 * MB, 2);
    b.config.kernel = board_file(&b, file, sizeof file);
    assert_true(load(&b));
    struct x86 *x = calloc(2, sizeof *x);
    for (unsigned i = 0; i < 2; i++)
        pc_attach_cpu(&b.pc, i, &x[i], &(struct lapic_cpu){0});
    assert_true(pc_boot_state(&b.pc, &x[0]));
    assert_false(pc_boot_state(&b.pc, &x[1])); /* waits for SIPI */
    assert_int_equal(x[0].cpu.pc, 16 * MB + 0x200);
    assert_int_equal(x[0].cpu.reg[X86_RSI], b.pc.entry.rsi);
    assert_int_equal(x[0].seg[SEG_CS].selector, 0x10);
    assert_int_equal(x[0].seg[SEG_CS].attr, 0xa09b);
    assert_int_equal(x[0].seg[SEG_DS].selector, 0x18);
    assert_int_equal(x[0].seg[SEG_SS].attr, 0xc093);
    assert_int_equal(x[0].efer, 0x500);
    assert_int_equal(x[0].cr0 & 0x80000001, 0x80000001);
    assert_int_equal(x[0].cr4, 0x20);
    assert_int_equal(x86_rflags(&x[0]), 2);
    /* The table in memory says what the hidden parts say: base 0, limit FFFFF pages. */
    assert_int_equal(bytes_get(pc_ram(&b.pc, x[0].gdtr.base + 0x10, 8), 8), 0x00af9b000000ffff);
    assert_int_equal(bytes_get(pc_ram(&b.pc, x[0].gdtr.base + 0x18, 8), 8), 0x00cf93000000ffff);
    assert_int_equal(x[1].apic_id, 1);
    uint64_t tsc = x[0].intc.get_base(x[0].intc.dev);
    assert_int_equal(tsc, 0xfee00900);
    free(x);
    board_fini(&b);
}

static void test_linux32(void **state)
{
    (void)state;
    struct board b;
    uint8_t file[SETUP + CODE];
    bzimage(file);
    put(file + 0x236, 0, 2);
    board_init(&b, 64 * MB, 1);
    b.config.kernel = board_file(&b, file, sizeof file);
    assert_true(load(&b));
    assert_int_equal(b.pc.entry.mode, PC_PROTECTED);
    assert_int_equal(b.pc.entry.rip, 16 * MB);
    board_fini(&b);
}

static void expect_bad(const void *kernel, size_t n, const char *initrd, const char *append, uint64_t ram,
                       const char *says)
{
    struct board b;
    board_init(&b, ram, 1);
    b.config.kernel = board_file(&b, kernel, n);
    b.config.initrd = initrd;
    b.config.append = append;
    if (load(&b))
        fail_msg("loaded, should say '%s'", says);
    if (!strstr(b.st.text, says))
        fail_msg("'%s' should say '%s'", b.st.text, says);
    board_fini(&b);
}

static void test_linux_bad(void **state)
{
    (void)state;
    uint8_t file[SETUP + CODE];
    char *big = calloc(1, 60 * MB), line[400];
    memset(line, 'a', sizeof line);
    line[399] = 0;
    bzimage(file);
    expect_bad(file, SETUP + 100, NULL, NULL, 64 * MB, "truncated");
    expect_bad(file, SETUP, NULL, NULL, 64 * MB, "truncated");
    expect_bad(file, sizeof file, NULL, line, 64 * MB, "command line");
    expect_bad(file, sizeof file, "/nonexistent", NULL, 64 * MB, "/nonexistent");
    expect_bad(file, sizeof file, NULL, NULL, 2 * MB, "needs 2 MB");
    struct board b;
    board_init(&b, 64 * MB, 1);
    expect_bad(file, sizeof file, board_file(&b, big, 60 * MB), NULL, 64 * MB, "does not fit");
    board_fini(&b);
    put(file + 0x206, 0x0204, 2);
    expect_bad(file, sizeof file, NULL, NULL, 64 * MB, "needs a BIOS");
    expect_bad("", 0, NULL, NULL, 64 * MB, "not a kernel");
    expect_bad("hello", 5, NULL, NULL, 64 * MB, "not a kernel");
    bzimage(file);
    for (unsigned n = 0; n < SETUP + CODE; n += 37)
        expect_bad(file, n, NULL, NULL, 64 * MB, n < 0x290 ? "not a kernel" : "truncated");
    free(big);
}

struct elf {
    Elf64_Ehdr header;
    Elf64_Phdr load, note;
    uint32_t xen[3];
    char name[4];
    uint64_t entry;
    uint32_t multiboot[3];
    uint8_t code[256];
};

static void elf(struct elf *e)
{
    memset(e, 0, sizeof *e);
    memcpy(e->header.e_ident, ELFMAG, 4);
    e->header.e_ident[EI_CLASS] = ELFCLASS64;
    e->header.e_ident[EI_DATA] = ELFDATA2LSB;
    e->header.e_type = ET_EXEC;
    e->header.e_machine = EM_X86_64;
    e->header.e_entry = 0xffffffff80200010;
    e->header.e_phoff = offsetof(struct elf, load);
    e->header.e_phnum = 2;
    e->header.e_phentsize = sizeof(Elf64_Phdr);
    e->load = (Elf64_Phdr){.p_type = PT_LOAD,
                           .p_offset = offsetof(struct elf, code),
                           .p_vaddr = 0xffffffff80200000,
                           .p_paddr = 2 * MB,
                           .p_filesz = 256,
                           .p_memsz = 8192};
    e->note = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = offsetof(struct elf, xen), .p_filesz = 24};
    e->xen[0] = 4;
    e->xen[1] = 8;
    e->xen[2] = 18;
    memcpy(e->name, "Xen", 4);
    e->entry = 2 * MB + 0x40;
    memset(e->code, 0xcc, sizeof e->code);
}

static void test_pvh(void **state)
{
    (void)state;
    struct board b;
    struct elf e;
    elf(&e);
    board_init(&b, 64 * MB, 1);
    b.config.kernel = board_file(&b, &e, sizeof e);
    b.config.initrd = board_file(&b, "initrd", 6);
    b.config.append = "quiet";
    board_start(&b);
    memset(pc_ram(&b.pc, 2 * MB, 8192), 0xee, 8192);
    assert_true(pc_load(&b.pc, &b.st));
    assert_int_equal(b.pc.entry.mode, PC_PROTECTED);
    assert_int_equal(b.pc.entry.rip, 2 * MB + 0x40);
    const uint8_t *code = pc_ram(&b.pc, 2 * MB, 8192), *s = pc_ram(&b.pc, b.pc.entry.ebx, 56);
    assert_int_equal(code[255], 0xcc);
    assert_int_equal(code[256] | code[8191], 0); /* bss is cleared */
    assert_int_equal(bytes_get(s, 4), 0x336ec578);
    assert_int_equal(bytes_get(s + 12, 4), 1);
    const uint8_t *module = pc_ram(&b.pc, bytes_get(s + 16, 8), 32);
    assert_int_equal(bytes_get(module + 8, 8), 6);
    assert_memory_equal(pc_ram(&b.pc, bytes_get(module, 8), 6), "initrd", 6);
    assert_string_equal((const char *)pc_ram(&b.pc, bytes_get(s + 24, 8), 6), "quiet");
    assert_int_equal(bytes_get(s + 32, 8), b.pc.rsdp);
    assert_int_equal(bytes_get(s + 48, 4), b.pc.e820.n);
    const uint8_t *map = pc_ram(&b.pc, bytes_get(s + 40, 8), 24);
    assert_int_equal(bytes_get(map + 8, 8), 0x9fc00);
    assert_int_equal(bytes_get(map + 16, 4), 1);
    board_fini(&b);
}

/* Kernels that want to be in low memory, beside the loader's own tables. */
static void test_elf_low(void **state)
{
    static const struct {
        uint32_t at, size;
        bool good;
    } list[] = {
        {0x8000, 0x18000, true},  {0x30000, 0x1000, true}, {0x1000, 0x4000, true}, {0x1000, 0x4001, false},
        {0x8000, 0x18001, false}, {0x6010, 0x1000, false}, {0x2ffff, 1, false},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(list); i++) {
        struct board b;
        struct elf e;
        elf(&e);
        e.load.p_paddr = list[i].at;
        e.load.p_memsz = list[i].size;
        e.load.p_filesz = 1;
        board_init(&b, 64 * MB, 1);
        b.config.kernel = board_file(&b, &e, sizeof e);
        assert_int_equal(load(&b), list[i].good);
        board_fini(&b);
    }
}

static void test_elf_bad(void **state)
{
    (void)state;
    struct elf e;
    elf(&e);
    expect_bad(&e, 40, NULL, NULL, 64 * MB, "truncated");
    expect_bad(&e, 80, NULL, NULL, 64 * MB, "program headers");
    expect_bad(&e, sizeof e - 1 - sizeof e.code, NULL, NULL, 64 * MB, "truncated");
    expect_bad(&e, sizeof e, NULL, NULL, 1 * MB, "does not fit");
    e.load.p_paddr = ~0ull - 100;
    expect_bad(&e, sizeof e, NULL, NULL, 64 * MB, "does not fit");
    elf(&e);
    e.load.p_paddr = 0x1000; /* up to 6000h: over our own tables */
    e.load.p_memsz = 0x5000;
    expect_bad(&e, sizeof e, NULL, NULL, 64 * MB, "loader keeps");
    elf(&e);
    e.load.p_offset = ~0ull - 10;
    expect_bad(&e, sizeof e, NULL, NULL, 64 * MB, "truncated");
    elf(&e);
    e.note.p_type = PT_NULL;
    expect_bad(&e, sizeof e, NULL, NULL, 64 * MB, "neither");
    elf(&e);
    e.xen[1] = 0xfffffff0; /* a note that runs out of its segment */
    expect_bad(&e, sizeof e, NULL, NULL, 64 * MB, "neither");
    elf(&e);
    e.header.e_machine = EM_AARCH64;
    expect_bad(&e, sizeof e, NULL, NULL, 64 * MB, "not an x86");
}

static void test_multiboot(void **state)
{
    (void)state;
    struct board b;
    uint8_t file[4096];
    char modules[200];
    memset(file, 0x5a, sizeof file);
    uint8_t *h = file + 0x20;
    put(h, 0x1badb002, 4);
    put(h + 4, 0x10003, 4);
    put(h + 8, (uint32_t) - (0x1badb002 + 0x10003), 4);
    put(h + 12, MB + 0x20, 4);
    put(h + 16, MB, 4);
    put(h + 20, MB + 4096, 4);
    put(h + 24, MB + 8192, 4);
    put(h + 28, MB + 0x40, 4);
    board_init(&b, 64 * MB, 1);
    b.config.kernel = board_file(&b, file, sizeof file);
    const char *first = board_file(&b, "one", 3), *second = board_file(&b, "second", 6);
    snprintf(modules, sizeof modules, "%s a b,%s", first, second);
    b.config.initrd = modules;
    b.config.append = "x=1";
    assert_true(load(&b));
    assert_int_equal(b.pc.entry.mode, PC_PROTECTED);
    assert_int_equal(b.pc.entry.eax, 0x2badb002);
    assert_int_equal(b.pc.entry.rip, MB + 0x40);
    assert_memory_equal(pc_ram(&b.pc, MB, 4096), file, 4096);
    const uint8_t *i = pc_ram(&b.pc, b.pc.entry.ebx, 116);
    uint64_t flags = bytes_get(i, 4);
    assert_int_equal(flags & 0x4d, 0x4d); /* memory, command line, modules, map */
    assert_int_equal(bytes_get(i + 4, 4), 639);
    char line[64];
    snprintf(line, sizeof line, "%s x=1", b.config.kernel);
    assert_string_equal((const char *)pc_ram(&b.pc, bytes_get(i + 16, 4), 64), line);
    assert_int_equal(bytes_get(i + 20, 4), 2);
    const uint8_t *m = pc_ram(&b.pc, bytes_get(i + 24, 4), 32);
    assert_true(bytes_get(m, 4) >= MB + 8192); /* behind the bss */
    assert_int_equal(bytes_get(m + 4, 4) - bytes_get(m, 4), 3);
    assert_memory_equal(pc_ram(&b.pc, bytes_get(m, 4), 3), "one", 3);
    snprintf(line, sizeof line, "%s a b", first);
    assert_string_equal((const char *)pc_ram(&b.pc, bytes_get(m + 8, 4), 64), line);
    assert_memory_equal(pc_ram(&b.pc, bytes_get(m + 16, 4), 6), "second", 6);
    uint32_t vector = (uint32_t)bytes_get(pc_ram(&b.pc, 4 * 0x1c, 4), 4);
    assert_int_equal(*pc_ram(&b.pc, (vector >> 16) * 16 + (vector & 0xffff), 1), 0xcf); /* IRET */
    uint64_t map = bytes_get(i + 48, 4), end = map + bytes_get(i + 44, 4), entries = 0;
    for (; map < end; map += bytes_get(pc_ram(&b.pc, map, 4), 4) + 4)
        entries++;
    assert_int_equal(map, end);
    assert_int_equal(entries, b.pc.e820.n);
    board_fini(&b);

    expect_bad(file, 0x30, NULL, NULL, 64 * MB, "truncated");
    expect_bad(file, 4000, NULL, NULL, 64 * MB, "truncated");
    put(h + 16, 0x1000, 4);
    expect_bad(file, sizeof file, NULL, NULL, 64 * MB, "load address");
    put(h + 16, MB, 4);
    put(h + 24, 0xf0000000, 4);
    expect_bad(file, sizeof file, NULL, NULL, 64 * MB, "cannot go");
    put(h + 24, 0, 4);
    expect_bad(file, sizeof file, "/nonexistent x", NULL, 64 * MB, "/nonexistent:");
    put(h + 4, 0x10013, 4);
    put(h + 8, (uint32_t) - (0x1badb002 + 0x10013), 4);
    expect_bad(file, sizeof file, NULL, NULL, 64 * MB, "requires features");
}

static void test_multiboot_elf(void **state)
{
    (void)state;
    struct board b;
    struct elf e;
    elf(&e);
    e.multiboot[0] = 0x1badb002;
    e.multiboot[2] = (uint32_t)-0x1badb002;
    board_init(&b, 64 * MB, 1);
    b.config.kernel = board_file(&b, &e, sizeof e);
    assert_true(load(&b));
    assert_int_equal(b.pc.entry.eax, 0x2badb002);
    assert_int_equal(b.pc.entry.rip, 2 * MB + 0x10); /* e_entry is virtual: translated */
    board_fini(&b);
}

static void test_firmware(void **state)
{
    (void)state;
    struct board b;
    uint8_t *rom = calloc(1, 256 << 10);
    for (unsigned i = 0; i < 256 << 10; i += 4)
        put(rom + i, i, 4);
    board_init(&b, 64 * MB, 1);
    b.config.bios = board_file(&b, rom, 256 << 10);
    assert_true(load(&b));
    assert_true(b.pc.entry.firmware);
    assert_int_equal(bus_read(b.pc.mem, 0xfffffff0, 4), (256 << 10) - 16);
    assert_int_equal(bus_read(b.pc.mem, 0xfffc0000, 4), 0);
    assert_int_equal(bus_read(b.pc.mem, 0xffff0, 4), (256 << 10) - 16);
    assert_int_equal(bus_read(b.pc.mem, 0xe0000, 4), 128 << 10);
    bus_write(b.pc.mem, 0xfffffff0, 0, 4); /* ROM */
    assert_int_equal(bus_read(b.pc.mem, 0xfffffff0, 4), (256 << 10) - 16);
    bus_write(b.pc.mem, 0xffff0, 0, 4); /* the copy is RAM; a reset brings it back */
    assert_true(pc_reset(&b.pc, &b.st));
    assert_int_equal(bus_read(b.pc.mem, 0xffff0, 4), (256 << 10) - 16);
    board_fini(&b);

    board_init(&b, 64 * MB, 1);
    b.config.bios = board_file(&b, rom, 5000);
    assert_false(load(&b));
    assert_non_null(strstr(b.st.text, "firmware"));
    board_fini(&b);
    board_init(&b, 64 * MB, 1);
    assert_false(load(&b));
    assert_non_null(strstr(b.st.text, "nothing to run"));
    board_fini(&b);
    free(rom);
}

/* COM1 and COM3 share IRQ4: one falling silent does not hide the other. */
static void test_shared_line(void **state)
{
    (void)state;
    struct board b;
    board_init(&b, 64 * MB, 1);
    assert_true(back_null_init(&b.config.serial[0], &b.st));
    assert_true(back_null_init(&b.config.serial[2], &b.st));
    board_start(&b);
    bus_write(b.pc.io, 0x3f9, 2, 1); /* transmitter empty: both ask */
    bus_write(b.pc.io, 0x3e9, 2, 1);
    bus_write(b.pc.io, 0x20, 0x0a, 1);
    assert_int_equal(bus_read(b.pc.io, 0x20, 1) & 0x10, 0x10);
    assert_int_equal(bus_read(b.pc.io, 0x3ea, 1) & 15, 2); /* COM3 is answered */
    assert_int_equal(bus_read(b.pc.io, 0x20, 1) & 0x10, 0x10);
    assert_int_equal(bus_read(b.pc.io, 0x3fa, 1) & 15, 2);
    assert_int_equal(bus_read(b.pc.io, 0x20, 1) & 0x10, 0);
    back_fini(b.config.serial[0]);
    back_fini(b.config.serial[2]);
    board_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linux64),   cmocka_unit_test(test_boot_state),  cmocka_unit_test(test_linux32),
        cmocka_unit_test(test_linux_bad), cmocka_unit_test(test_pvh),         cmocka_unit_test(test_elf_low),
        cmocka_unit_test(test_elf_bad),   cmocka_unit_test(test_multiboot),   cmocka_unit_test(test_multiboot_elf),
        cmocka_unit_test(test_firmware),  cmocka_unit_test(test_shared_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
