/* mach/file.c: files that go into guest memory: kernels, initial RAM disks, firmware.  A file is mapped whole and
 * read only; loaders look at it through pc_file_at, which never leads past its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mach/mach.h"

bool pc_file_open(struct pc_file *f, const char *path, struct status *st)
{
    *f = (struct pc_file){.path = path};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return status_set(st, "cannot open %s: %s", path, strerror(errno));
    struct stat s;
    bool ok = fstat(fd, &s) == 0;
    if (!ok)
        status_set(st, "cannot look at %s: %s", path, strerror(errno));
    else if (!S_ISREG(s.st_mode))
        ok = status_set(st, "%s is not a regular file", path);
    if (ok && s.st_size) {
        void *p = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            ok = status_set(st, "cannot read %s: %s", path, strerror(errno));
        } else {
            f->data = p;
            f->size = (uint64_t)s.st_size;
        }
    }
    close(fd);
    return ok;
}

void pc_file_close(struct pc_file *f)
{
    if (f->data)
        munmap((void *)f->data, f->size);
    f->data = NULL;
}

const uint8_t *pc_file_at(const struct pc_file *f, uint64_t offset, uint64_t n)
{
    return offset <= f->size && n <= f->size - offset ? f->data + offset : NULL;
}

bool pc_file_place(struct pc *pc, const struct pc_file *f, gpa_t gpa, const char *what, struct status *st)
{
    uint8_t *to = pc_ram(pc, gpa, f->size);
    if (!to)
        return status_set(st, "%s %s (%llu KB) does not fit at %#llx: the machine needs more memory (-m)", what,
                          f->path, (unsigned long long)(f->size >> 10), (unsigned long long)gpa);
    if (f->size)
        memcpy(to, f->data, f->size);
    return true;
}

bool pc_initrd_place(struct pc *pc, gpa_t bottom, gpa_t top, gpa_t *at, uint64_t *size, struct status *st)
{
    *at = *size = 0;
    if (!pc->config.initrd)
        return true;
    struct pc_file f;
    if (!pc_file_open(&f, pc->config.initrd, st))
        return false;
    bool ok = f.size <= top && ((top - f.size) & ~4095ull) >= bottom;
    if (!ok) {
        status_set(st,
                   "%s: an initrd of %llu KB does not fit between the kernel's end at %#llx and %#llx: the machine "
                   "needs more memory (-m)",
                   f.path, (unsigned long long)(f.size >> 10), (unsigned long long)bottom, (unsigned long long)top);
    } else {
        *at = (top - f.size) & ~4095ull;
        *size = f.size;
        ok = pc_file_place(pc, &f, *at, "initrd", st);
    }
    pc_file_close(&f);
    return ok;
}

bool pc_cmdline_place(struct pc *pc, uint64_t max, struct status *st)
{
    const char *line = pc->config.append ? pc->config.append : "";
    size_t n = strlen(line);
    if (n > max || n >= PC_CMDLINE_MAX)
        return status_set(st, "the kernel's command line (-append) has %zu bytes, this kernel takes %llu", n,
                          (unsigned long long)(max < PC_CMDLINE_MAX ? max : PC_CMDLINE_MAX - 1));
    memcpy(pc_ram(pc, PC_CMDLINE, n + 1), line, n + 1);
    return true;
}
