/* tool/symbols.c: names of guest addresses: the symbol table of an ELF file (vmlinux), or a text of lines "ADDRESS TYPE NAME" as System.map and
 * /proc/kallsyms have them.
 *
 * Sorted once, then searched.  A name holds until the next symbol, but no further than a megabyte.  Addresses are the file's: a kernel that
 * moves itself must be told not to (nokaslr).
 */
#include "tool/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REACH = 1 << 20 };

struct symbol {
    gva_t at;
    char *name;
};
struct symbols {
    struct symbol *list;
    size_t n, room;
};

static bool add(struct symbols *s, gva_t at, const char *name)
{
    if (s->n == s->room) {
        size_t room = s->room ? 2 * s->room : 1024;
        struct symbol *list = realloc(s->list, room * sizeof *list);
        if (!list)
            return false;
        s->list = list;
        s->room = room;
    }
    char *copy = strdup(name);
    if (!copy)
        return false;
    s->list[s->n++] = (struct symbol){at, copy};
    return true;
}

static bool read_elf(struct symbols *s, Elf *elf)
{
    for (Elf_Scn *scn = elf_nextscn(elf, NULL); scn; scn = elf_nextscn(elf, scn)) {
        GElf_Shdr sh;
        GElf_Sym sym;
        if (!gelf_getshdr(scn, &sh) || (sh.sh_type != SHT_SYMTAB && sh.sh_type != SHT_DYNSYM))
            continue;
        Elf_Data *data = elf_getdata(scn, NULL);
        for (int i = 0; data && gelf_getsym(data, i, &sym); i++) {
            const char *name = elf_strptr(elf, sh.sh_link, sym.st_name);
            unsigned type = GELF_ST_TYPE(sym.st_info);
            bool code = type == STT_FUNC || type == STT_NOTYPE;
            if (code && sym.st_shndx != SHN_UNDEF && sym.st_value && name && *name && !add(s, sym.st_value, name))
                return false;
        }
    }
    return true;
}

static bool read_text(struct symbols *s, FILE *in)
{
    char line[512], name[256], type;
    unsigned long long at;
    while (fgets(line, sizeof line, in))
        if (sscanf(line, "%llx %c %255s", &at, &type, name) == 3 && strchr("tTwW", type) && !add(s, at, name))
            return false;
    return true;
}

static int by_address(const void *a, const void *b)
{
    const struct symbol *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

bool symbols_read(struct symbols **out, const char *path, struct status *st)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return status_set(st, "cannot read %s: %s", path, strerror(errno));
    struct symbols *s = calloc(1, sizeof *s);
    elf_version(EV_CURRENT);
    Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
    FILE *text = NULL;
    bool good = s != NULL;
    if (good && elf && elf_kind(elf) == ELF_K_ELF)
        good = read_elf(s, elf);
    else if (good)
        good = (text = fopen(path, "re")) && read_text(s, text);
    if (elf)
        elf_end(elf);
    if (text)
        fclose(text);
    close(fd);
    if (!good)
        status_set(st, "no memory for the symbols of %s", path);
    else if (!s->n)
        good = status_set(st, "%s has no symbols: it is to be an ELF file or have lines ADDRESS TYPE NAME", path);
    if (!good) {
        symbols_free(s);
        return false;
    }
    qsort(s->list, s->n, sizeof *s->list, by_address);
    *out = s;
    return true;
}

void symbols_free(struct symbols *s)
{
    for (size_t i = 0; s && i < s->n; i++)
        free(s->list[i].name);
    if (s)
        free(s->list);
    free(s);
}

const char *symbols_find(const struct symbols *s, gva_t at, uint64_t *offset)
{
    size_t low = 0, high = s ? s->n : 0;
    while (low < high) { /* the last that is not above `at` */
        size_t mid = (low + high) / 2;
        if (s->list[mid].at <= at)
            low = mid + 1;
        else
            high = mid;
    }
    if (!low || at - s->list[low - 1].at >= REACH)
        return NULL;
    *offset = at - s->list[low - 1].at;
    return s->list[low - 1].name;
}
