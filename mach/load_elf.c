/* mach/load_elf.c: ELF kernels: loading of segments, and the PVH way to start (Xen's docs/misc/pvh.pandoc and
 * xen/include/public/arch-x86/hvm/start_info.h): a note names a 32-bit entry point; EBX points to a start_info at
 * PC_BOOT_INFO, with the memory map and the module list behind it.
 *
 * Program headers come from a file nobody has checked: every offset and size is held against the file and against RAM
 * before use.
 */
#include <elf.h>
#include <string.h>

#include "mach/mach.h"

enum {
    NOTE_PHYS32_ENTRY = 18,
    START_MAGIC = 0x336ec578,
    START_SIZE = 56,
    MODULE_SIZE = 32,
    MAP_ENTRY_SIZE = 24,
    START_AT = PC_BOOT_INFO,
    MODULES_AT = PC_BOOT_INFO + 0x80,
    MAP_AT = PC_BOOT_INFO + 0x100,
    SEGMENTS_MAX = 256,
};

/* Our own things below 1 MB, which no segment may cover. */
static const struct {
    uint64_t from, to;
} own[] = {
    {PC_BOOT_INFO, PC_BOOT_INFO + 4096},
    {PC_BOOT_GDT, PC_BOOT_GDT + PC_GDT_SIZE},
    {PC_CMDLINE, PC_CMDLINE + PC_CMDLINE_MAX},
};

/* Of either class. */
struct segment {
    uint32_t type;
    uint64_t offset, vaddr, paddr, file_size, mem_size;
};

bool elf_is(const struct pc_file *f)
{
    const uint8_t *id = pc_file_at(f, 0, EI_NIDENT);
    return id && !memcmp(id, ELFMAG, SELFMAG) && id[EI_DATA] == ELFDATA2LSB &&
           (id[EI_CLASS] == ELFCLASS32 || id[EI_CLASS] == ELFCLASS64);
}

struct header {
    bool wide;
    uint64_t entry, offset;
    unsigned count, size;
};

static bool header_read(const struct pc_file *f, struct header *h, struct status *st)
{
    const uint8_t *id = pc_file_at(f, 0, EI_NIDENT);
    h->wide = id[EI_CLASS] == ELFCLASS64;
    const void *p = pc_file_at(f, 0, h->wide ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr));
    if (!p)
        return status_set(st, "%s: truncated ELF file: the header is not complete", f->path);
    Elf64_Ehdr e64;
    Elf32_Ehdr e32;
    unsigned machine, type;
    if (h->wide) {
        memcpy(&e64, p, sizeof e64);
        *h = (struct header){true, e64.e_entry, e64.e_phoff, e64.e_phnum, e64.e_phentsize};
        machine = e64.e_machine;
        type = e64.e_type;
    } else {
        memcpy(&e32, p, sizeof e32);
        *h = (struct header){false, e32.e_entry, e32.e_phoff, e32.e_phnum, e32.e_phentsize};
        machine = e32.e_machine;
        type = e32.e_type;
    }
    if ((machine != EM_386 && machine != EM_X86_64) || (type != ET_EXEC && type != ET_DYN))
        return status_set(st, "%s: an ELF file, but not an x86 executable", f->path);
    if (h->size != (h->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) || !h->count || h->count > SEGMENTS_MAX ||
        !pc_file_at(f, h->offset, (uint64_t)h->count * h->size))
        return status_set(st, "%s: bad ELF file: its program headers are not where it says", f->path);
    return true;
}

static struct segment segment_read(const struct pc_file *f, const struct header *h, unsigned i)
{
    const uint8_t *p = pc_file_at(f, h->offset + (uint64_t)i * h->size, h->size);
    if (h->wide) {
        Elf64_Phdr s;
        memcpy(&s, p, sizeof s);
        return (struct segment){s.p_type, s.p_offset, s.p_vaddr, s.p_paddr, s.p_filesz, s.p_memsz};
    }
    Elf32_Phdr s;
    memcpy(&s, p, sizeof s);
    return (struct segment){s.p_type, s.p_offset, s.p_vaddr, s.p_paddr, s.p_filesz, s.p_memsz};
}

static bool segment_covers_own(const struct segment *s)
{
    bool covers = false;
    for (unsigned i = 0; i < ARRAY_LEN(own); i++)
        covers |= s->paddr < own[i].to && s->paddr + s->mem_size > own[i].from;
    return covers;
}

static bool segment_load(struct pc *pc, const struct pc_file *f, const struct segment *s, struct elf_image *image,
                         struct status *st)
{
    if (!s->mem_size)
        return true;
    const uint8_t *from = pc_file_at(f, s->offset, s->file_size);
    if (!from || s->file_size > s->mem_size)
        return status_set(st, "%s: truncated ELF file: a segment lies beyond its end", f->path);
    uint8_t *to =
        s->paddr < pc->tables_at && s->mem_size <= pc->tables_at - s->paddr ? pc_ram(pc, s->paddr, s->mem_size) : NULL;
    if (!to || segment_covers_own(s))
        return status_set(st, "%s: a segment of %llu KB at %#llx %s", f->path, (unsigned long long)(s->mem_size >> 10),
                          (unsigned long long)s->paddr,
                          to ? "lies where the loader keeps its own tables (0x5000 to 0x7000, 0x20000 to 0x30000)"
                             : "does not fit in memory: give the machine more (-m)");
    memcpy(to, from, s->file_size);
    memset(to + s->file_size, 0, s->mem_size - s->file_size);
    if (s->paddr < image->low)
        image->low = s->paddr;
    if (s->paddr + s->mem_size > image->high)
        image->high = s->paddr + s->mem_size;
    return true;
}

/* Notes: name size, descriptor size, type, then name and descriptor, each filled up to 4 bytes. */
static void notes_read(const struct pc_file *f, const struct segment *s, struct elf_image *image)
{
    const uint8_t *p = pc_file_at(f, s->offset, s->file_size);
    uint64_t at = 0, n = p ? s->file_size : 0;
    while (n - at >= 12) {
        uint64_t name = bytes_get(p + at, 4), desc = bytes_get(p + at + 4, 4), type = bytes_get(p + at + 8, 4);
        uint64_t body = at + 12, descriptor = body + ((name + 3) & ~3ull), next = descriptor + ((desc + 3) & ~3ull);
        if (next > n)
            return;
        if (type == NOTE_PHYS32_ENTRY && name == 4 && !memcmp(p + body, "Xen", 4) && desc >= 4)
            image->pvh_entry = (uint32_t)bytes_get(p + descriptor, 4);
        at = next;
    }
}

bool elf_load(struct pc *pc, const struct pc_file *f, struct elf_image *image, struct status *st)
{
    struct header h = {0};
    if (!header_read(f, &h, st))
        return false;
    *image = (struct elf_image){.entry = h.entry, .low = UINT64_MAX};
    bool placed = false;
    for (unsigned i = 0; i < h.count; i++) {
        struct segment s = segment_read(f, &h, i);
        if (s.type == PT_NOTE)
            notes_read(f, &s, image);
        else if (s.type == PT_LOAD && !segment_load(pc, f, &s, image, st))
            return false;
        if (s.type == PT_LOAD && !placed && h.entry - s.vaddr < s.mem_size) { /* e_entry is a virtual address */
            image->entry = h.entry - s.vaddr + s.paddr;
            placed = true;
        }
    }
    if (!image->high)
        return status_set(st, "%s: an ELF file with nothing to load", f->path);
    return true;
}

static void start_info_build(struct pc *pc, gpa_t initrd, uint64_t initrd_size)
{
    uint8_t *s = pc_ram(pc, START_AT, 4096);
    memset(s, 0, 4096);
    bytes_put(s, START_MAGIC, 4);
    bytes_put(s + 4, 1, 4); /* version: with a memory map */
    if (initrd_size) {
        bytes_put(s + 12, 1, 4);
        bytes_put(s + 16, MODULES_AT, 8);
        bytes_put(s + (MODULES_AT - START_AT), initrd, 8);
        bytes_put(s + (MODULES_AT - START_AT) + 8, initrd_size, 8);
    }
    bytes_put(s + 24, PC_CMDLINE, 8);
    bytes_put(s + 32, pc->rsdp, 8);
    bytes_put(s + 40, MAP_AT, 8);
    bytes_put(s + 48, pc->e820.n, 4);
    for (unsigned i = 0; i < pc->e820.n; i++) {
        uint8_t *e = s + (MAP_AT - START_AT) + i * MAP_ENTRY_SIZE;
        bytes_put(e, pc->e820.entry[i].base, 8);
        bytes_put(e + 8, pc->e820.entry[i].size, 8);
        bytes_put(e + 16, pc->e820.entry[i].type, 4);
    }
}

enum pc_loaded load_pvh(struct pc *pc, const struct pc_file *f, struct status *st)
{
    if (!elf_is(f))
        return PC_NOT_MINE;
    struct elf_image image;
    if (!elf_load(pc, f, &image, st))
        return PC_BAD;
    if (!image.pvh_entry) {
        status_set(st,
                   "%s: an ELF file without a way to start it: it has neither a PVH entry note nor a multiboot header",
                   f->path);
        return PC_BAD;
    }
    gpa_t initrd;
    uint64_t initrd_size;
    if (!pc_cmdline_place(pc, PC_CMDLINE_MAX - 1, st) ||
        !pc_initrd_place(pc, image.high, pc->tables_at, &initrd, &initrd_size, st))
        return PC_BAD;
    start_info_build(pc, initrd, initrd_size);
    pc->entry = boot_entry_protected(pc, image.pvh_entry);
    pc->entry.ebx = START_AT;
    return PC_LOADED;
}
