/* mach/load_multiboot.c: multiboot 1 kernels (Multiboot Specification 0.6.96).  The header is in the first 8 KB of
 * the file, at a multiple of 4; it says itself where the image goes, or the file is ELF (32-bit, or 64-bit that
 * starts in 32-bit mode).
 *
 *     PC_BOOT_INFO  information structure, module list, memory map          PC_CMDLINE  command lines, one after the
 *     other
 *     modules       behind the kernel, each on a page
 *
 * A wish for a video mode (flag 2) is not fulfilled and not an error: kernels that have it run on a serial port too.
 */
#include <stdlib.h>
#include <string.h>

#include "mach/mach.h"

enum {
    HEADER_MAGIC = 0x1badb002,
    SEARCH = 8192,
    HEADER_SIZE = 32,       /* with the address fields */
    WANTS_UNKNOWN = 0xfff8, /* required features (bits 3..15) that nobody has defined */
    HAS_ADDRESSES = 1 << 16,

    BOOT_MAGIC = 0x2badb002,
    INFO_MEMORY = 1 << 0,
    INFO_CMDLINE = 1 << 2,
    INFO_MODULES = 1 << 3,
    INFO_MAP = 1 << 6,
    INFO_NAME = 1 << 9,
    INFO_SIZE = 116,
    MODULES_AT = PC_BOOT_INFO + 0x80,
    MODULES_MAX = 64,
    MODULE_SIZE = 16,
    MAP_AT = MODULES_AT + MODULES_MAX * MODULE_SIZE,
    MAP_ENTRY_SIZE = 24,
    INFO_END = PC_BOOT_INFO + 4096,
};

struct multiboot {
    struct pc *pc;
    const struct pc_file *file;
    struct status *st;
    uint64_t header; /* its offset in the file */
    uint32_t flags, entry;
    gpa_t next;    /* first free page behind what is loaded */
    gpa_t strings; /* first free byte for command lines */
    uint8_t *info;
    unsigned modules;
};

static bool header_find(struct multiboot *m)
{
    for (uint64_t at = 0; at < SEARCH; at += 4) {
        const uint8_t *p = pc_file_at(m->file, at, 12);
        if (!p)
            return false;
        uint32_t magic = (uint32_t)bytes_get(p, 4), flags = (uint32_t)bytes_get(p + 4, 4);
        if (magic == HEADER_MAGIC && magic + flags + (uint32_t)bytes_get(p + 8, 4) == 0) {
            m->header = at;
            m->flags = flags;
            return true;
        }
    }
    return false;
}

/* An image that says itself where it goes (3.1.3). */
static bool image_place(struct multiboot *m)
{
    const uint8_t *h = pc_file_at(m->file, m->header, HEADER_SIZE);
    const char *path = m->file->path;
    if (!h)
        return status_set(m->st, "%s: truncated multiboot header", path);
    uint64_t header = bytes_get(h + 12, 4), load = bytes_get(h + 16, 4), load_end = bytes_get(h + 20, 4),
             bss_end = bytes_get(h + 24, 4);
    m->entry = (uint32_t)bytes_get(h + 28, 4);
    if (load > header || header - load > m->header)
        return status_set(m->st, "%s: bad multiboot header: its load address lies before the file's start", path);
    uint64_t offset = m->header - (header - load);
    uint64_t n = load_end ? load_end - load : m->file->size - offset;
    const uint8_t *from = (load_end && load_end < load) ? NULL : pc_file_at(m->file, offset, n);
    if (!from)
        return status_set(m->st, "%s: bad multiboot header or truncated file: it names bytes beyond the file's end",
                          path);
    uint64_t size = bss_end > load + n ? bss_end - load : n;
    uint8_t *to = load >= PC_CMDLINE + PC_CMDLINE_MAX && load < m->pc->tables_at && size <= m->pc->tables_at - load
                      ? pc_ram(m->pc, load, size)
                      : NULL;
    if (!to)
        return status_set(m->st, "%s: an image of %llu KB cannot go to %#llx: memory is free from %#x to %#llx", path,
                          (unsigned long long)(size >> 10), (unsigned long long)load, PC_CMDLINE + PC_CMDLINE_MAX,
                          (unsigned long long)m->pc->tables_at);
    memcpy(to, from, n);
    memset(to + n, 0, size - n);
    m->next = load + size;
    return true;
}

static bool kernel_place(struct multiboot *m)
{
    if (m->flags & HAS_ADDRESSES)
        return image_place(m);
    if (!elf_is(m->file))
        return status_set(m->st, "%s: a multiboot header without addresses, in a file that is not ELF", m->file->path);
    struct elf_image image;
    if (!elf_load(m->pc, m->file, &image, m->st))
        return false;
    m->entry = (uint32_t)image.entry;
    m->next = image.high;
    return true;
}

/* "path" + " " + "arguments", zero-terminated, into the strings' area; its address, or 0. */
static uint32_t string_put(struct multiboot *m, const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b), n = na + (nb ? 1 + nb : 0) + 1;
    if (m->strings + n > PC_CMDLINE + PC_CMDLINE_MAX) {
        status_set(m->st, "command lines of kernel and modules are longer than %u bytes together", PC_CMDLINE_MAX);
        return 0;
    }
    char *to = (char *)pc_ram(m->pc, m->strings, n);
    memcpy(to, a, na);
    if (nb) {
        to[na] = ' ';
        memcpy(to + na + 1, b, nb);
    }
    to[n - 1] = 0;
    uint32_t at = (uint32_t)m->strings;
    m->strings += n;
    return at;
}

/* One of -initrd's "file arguments". */
static bool module_place(struct multiboot *m, char *text)
{
    char *space = strchr(text, ' ');
    uint32_t line = string_put(m, text, "");
    if (space)
        *space = 0;
    if (!line)
        return false;
    if (m->modules == MODULES_MAX)
        return status_set(m->st, "more than %u multiboot modules", MODULES_MAX);
    struct pc_file f;
    if (!pc_file_open(&f, text, m->st))
        return false;
    gpa_t at = (m->next + 4095) & ~4095ull;
    bool ok = at <= m->pc->tables_at && f.size <= m->pc->tables_at - at;
    if (!ok)
        status_set(m->st, "module %s (%llu KB) does not fit in memory at %#llx: give the machine more (-m)", text,
                   (unsigned long long)(f.size >> 10), (unsigned long long)at);
    else
        ok = pc_file_place(m->pc, &f, at, "module", m->st);
    if (ok) {
        uint8_t *entry = m->info + (MODULES_AT - PC_BOOT_INFO) + m->modules++ * MODULE_SIZE;
        bytes_put(entry, at, 4);
        bytes_put(entry + 4, at + f.size, 4);
        bytes_put(entry + 8, line, 4);
        m->next = at + f.size;
    }
    pc_file_close(&f);
    return ok;
}

static bool modules_place(struct multiboot *m)
{
    if (!m->pc->config.initrd)
        return true;
    char *list = strdup(m->pc->config.initrd), *rest = list, *one;
    if (!list)
        return status_set(m->st, "no memory for the list of modules");
    bool ok = true;
    while (ok && (one = strsep(&rest, ",")))
        ok = module_place(m, one);
    free(list);
    return ok;
}

static void map_put(struct multiboot *m)
{
    const struct pc_e820 *e = &m->pc->e820;
    for (unsigned i = 0; i < e->n; i++) {
        uint8_t *p = m->info + (MAP_AT - PC_BOOT_INFO) + i * MAP_ENTRY_SIZE;
        bytes_put(p, 20, 4); /* size of the rest */
        bytes_put(p + 4, e->entry[i].base, 8);
        bytes_put(p + 12, e->entry[i].size, 8);
        bytes_put(p + 20, e->entry[i].type, 4);
    }
    bytes_put(m->info + 44, e->n * MAP_ENTRY_SIZE, 4);
    bytes_put(m->info + 48, MAP_AT, 4);
}

enum pc_loaded load_multiboot(struct pc *pc, const struct pc_file *f, struct status *st)
{
    struct multiboot m = {.pc = pc, .file = f, .st = st, .strings = PC_CMDLINE, .info = pc_ram(pc, PC_BOOT_INFO, 4096)};
    if (!header_find(&m))
        return PC_NOT_MINE;
    if (m.flags & WANTS_UNKNOWN) {
        status_set(st, "%s: a multiboot kernel that requires features (flags %#x) that no specification has", f->path,
                   m.flags);
        return PC_BAD;
    }
    bios_stand_in(pc);
    memset(m.info, 0, 4096);
    uint32_t line, name;
    if (!kernel_place(&m) || !(line = string_put(&m, f->path, pc->config.append ? pc->config.append : "")) ||
        !(name = string_put(&m, "rhea", "")) || !modules_place(&m))
        return PC_BAD;
    bytes_put(m.info, INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MAP | INFO_NAME, 4);
    bytes_put(m.info + 4, PC_EBDA >> 10, 4);
    bytes_put(m.info + 8, (pc->tables_at - 0x100000) >> 10, 4);
    bytes_put(m.info + 16, line, 4);
    bytes_put(m.info + 20, m.modules, 4);
    bytes_put(m.info + 24, MODULES_AT, 4);
    map_put(&m);
    bytes_put(m.info + 64, name, 4);
    pc->entry = boot_entry_protected(pc, m.entry);
    pc->entry.eax = BOOT_MAGIC;
    pc->entry.ebx = PC_BOOT_INFO;
    return PC_LOADED;
}
