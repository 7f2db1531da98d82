/* tool/elf.c: the bytes of a function, or at an address, of an ELF file, by libelf.
 *
 * libelf checks offsets and sizes against the file; what it hands out is used only within the sizes that it tells.
 * In relocatable files (.o) addresses are those of the sections, all zero as a rule, and relocations are not applied.
 */
#include "tool/explain.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <string.h>
#include <unistd.h>

/* Bytes [at, at + n) of the file that lie at address c->addr, into c. */
static void take(struct explain_code *c, const uint8_t *bytes, uint64_t n)
{
    unsigned off = (unsigned)(c->addr & 4095);
    c->n = n < EXPLAIN_BYTES - off ? (unsigned)n : EXPLAIN_BYTES - off;
    memcpy(c->page + off, bytes, c->n);
}

/* The section that holds c->addr (or is number `index`, if not 0). */
static bool from_sections(struct explain_code *c, Elf *elf, size_t index, uint64_t size)
{
    for (Elf_Scn *scn = elf_nextscn(elf, NULL); scn; scn = elf_nextscn(elf, scn)) {
        GElf_Shdr sh;
        if (!gelf_getshdr(scn, &sh) || !(sh.sh_flags & SHF_ALLOC) || sh.sh_type == SHT_NOBITS)
            continue;
        if (index ? elf_ndxscn(scn) != index : c->addr < sh.sh_addr || c->addr - sh.sh_addr >= sh.sh_size)
            continue;
        Elf_Data *data = elf_rawdata(scn, NULL);
        uint64_t at = c->addr - sh.sh_addr;
        if (!data || !data->d_buf || at >= data->d_size)
            return false;
        uint64_t n = data->d_size - at;
        take(c, (const uint8_t *)data->d_buf + at, size && size < n ? size : n);
        return true;
    }
    return false;
}

/* Files without section headers: the segment that holds c->addr. */
static bool from_segments(struct explain_code *c, Elf *elf, uint64_t size)
{
    size_t count, file_size;
    const uint8_t *file = (const uint8_t *)elf_rawfile(elf, &file_size);
    if (!file || elf_getphdrnum(elf, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr ph;
        if (!gelf_getphdr(elf, (int)i, &ph) || ph.p_type != PT_LOAD)
            continue;
        if (c->addr < ph.p_vaddr || c->addr - ph.p_vaddr >= ph.p_filesz)
            continue;
        uint64_t in = c->addr - ph.p_vaddr, n = ph.p_filesz - in;
        if (ph.p_offset > file_size || in >= file_size - ph.p_offset)
            return false;
        uint64_t rest = file_size - ph.p_offset - in;
        n = n < rest ? n : rest;
        take(c, file + ph.p_offset + in, size && size < n ? size : n);
        return true;
    }
    return false;
}

static bool find_symbol(Elf *elf, const char *name, GElf_Sym *sym)
{
    for (Elf_Scn *scn = elf_nextscn(elf, NULL); scn; scn = elf_nextscn(elf, scn)) {
        GElf_Shdr sh;
        if (!gelf_getshdr(scn, &sh) || (sh.sh_type != SHT_SYMTAB && sh.sh_type != SHT_DYNSYM))
            continue;
        Elf_Data *data = elf_getdata(scn, NULL);
        for (int i = 0; data && gelf_getsym(data, i, sym); i++) {
            const char *s = elf_strptr(elf, sh.sh_link, sym->st_name);
            if (s && !strcmp(s, name) && sym->st_shndx != SHN_UNDEF)
                return true;
        }
    }
    return false;
}

static bool read_code(struct explain_code *c, Elf *elf, const char *path, const char *symbol, struct status *st)
{
    GElf_Ehdr eh;
    GElf_Sym sym = {0};
    if (elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &eh))
        return status_set(st, "%s is not an ELF file", path);
    if (eh.e_machine != EM_X86_64 && eh.e_machine != EM_386)
        return status_set(st, "%s is for another processor (ELF machine %u), not x86", path, eh.e_machine);
    if (!c->bits)
        c->bits = eh.e_machine == EM_X86_64 ? 64 : 32;
    if (symbol && !find_symbol(elf, symbol, &sym))
        return status_set(st, "%s has no symbol '%s'", path, symbol);
    if (symbol)
        c->addr = sym.st_value;
    size_t index = symbol && eh.e_type == ET_REL ? sym.st_shndx : 0;
    if (from_sections(c, elf, index, sym.st_size) || from_segments(c, elf, sym.st_size))
        return true;
    return status_set(st, "%s has no bytes at 0x%llx", path, (unsigned long long)c->addr);
}

bool elf_code(struct explain_code *c, const char *path, const char *symbol, struct status *st)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return status_set(st, "cannot read %s: %s", path, strerror(errno));
    elf_version(EV_CURRENT);
    Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
    bool good = elf ? read_code(c, elf, path, symbol, st) : status_set(st, "cannot read %s: %s", path, elf_errmsg(-1));
    if (elf)
        elf_end(elf);
    close(fd);
    return good;
}
