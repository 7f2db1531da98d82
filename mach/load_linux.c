/* mach/load_linux.c: Linux bzImage by the boot protocol (kernel source, Documentation/arch/x86/boot.rst), without its
 * real-mode part.
 *
 *     file: boot sector and setup code, (setup_sects + 1) * 512 bytes with the header at 1F1h; then the kernel proper
 *     RAM:  PC_BOOT_PARAMS zero page, PC_CMDLINE command line, PC_BOOT_GDT, PC_PAGE_TABLES; kernel at its preferred
 *     address; initrd as high
 *           as the kernel allows
 *
 * A kernel with a 64-bit entry (xloadflags bit 0) starts at +200h in long mode, others at +0 in flat 32-bit mode.
 */
#include <string.h>

#include "mach/mach.h"

/* Setup header, offsets in the file and in the zero page alike. */
enum {
    HDR_START = 0x1f1,
    HDR_SETUP_SECTS = 0x1f1,
    HDR_SYSSIZE = 0x1f4,
    HDR_BOOT_FLAG = 0x1fe,
    HDR_JUMP = 0x201,
    HDR_MAGIC = 0x202,
    HDR_VERSION = 0x206,
    HDR_LOADER = 0x210,
    HDR_LOADFLAGS = 0x211,
    HDR_CODE32 = 0x214,
    HDR_INITRD = 0x218,
    HDR_INITRD_SIZE = 0x21c,
    HDR_CMDLINE = 0x228,
    HDR_INITRD_MAX = 0x22c,
    HDR_RELOCATABLE = 0x234,
    HDR_XLOADFLAGS = 0x236,
    HDR_CMDLINE_SIZE = 0x238,
    HDR_PREFERRED = 0x258,
    HDR_INIT_SIZE = 0x260,
    HDR_END_MAX = 0x290,

    ZP_RSDP = 0x070,
    ZP_ALT_MEM_K = 0x1e0,
    ZP_E820_COUNT = 0x1e8,
    ZP_E820 = 0x2d0,
    ZP_SIZE = 4096,

    LOADED_HIGH = 1,
    XLF_64 = 1,
    LOADER_UNNAMED = 0xff,
    ENTRY_64 = 0x200,
    DEFAULT_AT = 0x100000,
    OLDEST = 0x0206, /* what came before has no cmdline_size, and is from 2006 */
    WITH_INIT_SIZE = 0x020a,
    WITH_XLOADFLAGS = 0x020c,
};

struct bzimage {
    const uint8_t *header; /* the file's start: HDR_ offsets */
    uint64_t setup_size, code_size;
    uint16_t version;
    bool entry64;
    gpa_t at;
    uint64_t init_size; /* what it needs from `at` before it looks at the memory map */
};

static uint64_t field(const struct bzimage *k, unsigned offset, unsigned n)
{
    return bytes_get(k->header + offset, n);
}

/* Is it a Linux kernel, and one that can start without a BIOS? */
static enum pc_loaded bzimage_parse(struct bzimage *k, const struct pc_file *f, struct status *st)
{
    k->header = pc_file_at(f, 0, HDR_END_MAX);
    if (!k->header || field(k, HDR_BOOT_FLAG, 2) != 0xaa55 || memcmp(k->header + HDR_MAGIC, "HdrS", 4))
        return PC_NOT_MINE;
    k->version = (uint16_t)field(k, HDR_VERSION, 2);
    if (k->version < OLDEST || !(field(k, HDR_LOADFLAGS, 1) & LOADED_HIGH)) {
        status_set(st,
                   "%s: Linux boot protocol %u.%02u%s needs a BIOS to start: use a bzImage of protocol 2.06 (Linux "
                   "2.6.22) or later",
                   f->path, k->version >> 8, k->version & 0xff,
                   field(k, HDR_LOADFLAGS, 1) & LOADED_HIGH ? "" : " (zImage)");
        return PC_BAD;
    }
    uint64_t sectors = field(k, HDR_SETUP_SECTS, 1);
    k->setup_size = ((sectors ? sectors : 4) + 1) * 512;
    uint64_t wanted = field(k, HDR_SYSSIZE, 4) * 16;
    if (!pc_file_at(f, k->setup_size, wanted) || f->size == k->setup_size) {
        status_set(st, "%s: truncated Linux kernel: the file has %llu bytes, its header speaks of %llu", f->path,
                   (unsigned long long)f->size, (unsigned long long)(k->setup_size + wanted));
        return PC_BAD;
    }
    k->code_size = f->size - k->setup_size;
    k->entry64 = k->version >= WITH_XLOADFLAGS && (field(k, HDR_XLOADFLAGS, 2) & XLF_64);
    return PC_LOADED;
}

/* Where the kernel goes: its preferred address if RAM reaches so far. */
static bool bzimage_choose(struct pc *pc, struct bzimage *k, const struct pc_file *f, struct status *st)
{
    bool sized = k->version >= WITH_INIT_SIZE;
    k->at = sized ? field(k, HDR_PREFERRED, 8) : DEFAULT_AT;
    k->init_size = sized ? field(k, HDR_INIT_SIZE, 4) : k->code_size * 3;
    if (k->init_size < k->code_size)
        k->init_size = k->code_size;
    bool relocatable = field(k, HDR_RELOCATABLE, 1);
    if (relocatable && (k->at < DEFAULT_AT || k->at > pc->tables_at || k->init_size > pc->tables_at - k->at))
        k->at = DEFAULT_AT;
    if (k->at < DEFAULT_AT || k->at > pc->tables_at || k->init_size > pc->tables_at - k->at)
        return status_set(
            st, "%s: the kernel needs %llu MB at %#llx, the machine's memory ends at %#llx: give it more (-m)", f->path,
            (unsigned long long)(k->init_size >> 20), (unsigned long long)k->at, (unsigned long long)pc->tables_at);
    return true;
}

static void zero_page_e820(uint8_t *zp, const struct pc_e820 *m)
{
    for (unsigned i = 0; i < m->n; i++) {
        uint8_t *e = zp + ZP_E820 + i * 20;
        bytes_put(e, m->entry[i].base, 8);
        bytes_put(e + 8, m->entry[i].size, 8);
        bytes_put(e + 16, m->entry[i].type, 4);
    }
    zp[ZP_E820_COUNT] = (uint8_t)m->n;
}

static void zero_page_build(struct pc *pc, const struct bzimage *k, gpa_t initrd, uint64_t initrd_size)
{
    uint8_t *zp = pc_ram(pc, PC_BOOT_PARAMS, ZP_SIZE);
    memset(zp, 0, ZP_SIZE);
    unsigned end = HDR_MAGIC + k->header[HDR_JUMP]; /* the jump over the header says how long it is */
    if (end > HDR_END_MAX)
        end = HDR_END_MAX;
    if (end > HDR_START)
        memcpy(zp + HDR_START, k->header + HDR_START, end - HDR_START);
    zp[HDR_LOADER] = LOADER_UNNAMED;
    bytes_put(zp + HDR_CODE32, k->at, 4);
    bytes_put(zp + HDR_INITRD, initrd, 4);
    bytes_put(zp + HDR_INITRD_SIZE, initrd_size, 4);
    bytes_put(zp + HDR_CMDLINE, PC_CMDLINE, 4);
    bytes_put(zp + ZP_RSDP, pc->rsdp, 8);
    bytes_put(zp + ZP_ALT_MEM_K, (pc->tables_at - DEFAULT_AT) >> 10, 4);
    zero_page_e820(zp, &pc->e820);
}

static struct pc_entry entry_long(struct pc *pc, gpa_t rip)
{
    boot_gdt_write(pc_ram(pc, PC_BOOT_GDT, PC_GDT_SIZE), true);
    rh_assert(boot_page_tables(pc, PC_PAGE_TABLES));
    return (struct pc_entry){.mode = PC_LONG,
                             .rip = rip,
                             .rsp = PC_STACK,
                             .cr3 = PC_PAGE_TABLES,
                             .gdt = PC_BOOT_GDT,
                             .cs = BOOT_CS,
                             .ds = BOOT_DS};
}

enum pc_loaded load_linux(struct pc *pc, const struct pc_file *f, struct status *st)
{
    struct bzimage k;
    enum pc_loaded mine = bzimage_parse(&k, f, st);
    if (mine != PC_LOADED)
        return mine;
    gpa_t initrd, top = field(&k, HDR_INITRD_MAX, 4) + 1;
    uint64_t initrd_size;
    if (top > pc->tables_at)
        top = pc->tables_at;
    if (!bzimage_choose(pc, &k, f, st) || !pc_cmdline_place(pc, field(&k, HDR_CMDLINE_SIZE, 4), st) ||
        !pc_initrd_place(pc, k.at + k.init_size, top, &initrd, &initrd_size, st))
        return PC_BAD;
    memcpy(pc_ram(pc, k.at, k.code_size), f->data + k.setup_size, k.code_size);
    zero_page_build(pc, &k, initrd, initrd_size);
    pc->entry = k.entry64 ? entry_long(pc, k.at + ENTRY_64) : boot_entry_protected(pc, (uint32_t)k.at);
    pc->entry.rsi = PC_BOOT_PARAMS;
    return PC_LOADED;
}
