/* ram.c: the guest's RAM: one host mapping, committed as the guest touches it, and a byte of flags a page.
 *
 *     host      | 0 ... low                  | low ... size                |
 *     gpa       | 0 ... low |    devices     | 4 GB ... 4 GB + size - low  |
 *
 * Pages are counted in host order, so a page index is an offset in the host mapping divided by the page size.
 */
#include "mem/mem.h"

#include <string.h>

#define RAM_PAGE 4096ull
#define RAM_HIGH 0x100000000ull /* where the rest of RAM goes on */

bool ram_init(struct ram *r, uint64_t size, uint64_t low_max, struct status *st)
{
    *r = (struct ram){0};
    if (size == 0 || size % RAM_PAGE || low_max % RAM_PAGE)
        return status_set(st, "RAM size %llu is not a positive multiple of 4 KB", (unsigned long long)size);
    uint8_t *host = os_reserve(size);
    if (!host)
        return status_set(st, "the host refused %llu MB for the guest's RAM; ask for less (-m)",
                          (unsigned long long)(size >> 20));
    uint8_t *flags = os_reserve(size / RAM_PAGE);
    if (!flags) {
        os_release(host, size);
        return status_set(st, "the host refused %llu bytes for page flags", (unsigned long long)(size / RAM_PAGE));
    }
    os_prefer_huge(host, size);
    os_shared_with_guest(host, size);
    *r = (struct ram){.host = host, .size = size, .low = size < low_max ? size : low_max, .flags = flags};
    return true;
}

void ram_fini(struct ram *r)
{
    if (r->host) {
        os_release(r->host, r->size);
        os_release(r->flags, r->size / RAM_PAGE);
    }
    *r = (struct ram){0};
}

bool ram_map(struct ram *r, struct bus *mem)
{
    const struct bus_range low = {.base = 0, .size = r->low, .host = r->host, .name = "ram"};
    const struct bus_range high = {
        .base = RAM_HIGH, .size = r->size - r->low, .host = r->host + r->low, .name = "ram-high"};

    if (low.size && !bus_map(mem, &low))
        return false;
    return high.size == 0 || bus_map(mem, &high);
}

uint64_t ram_page_of_gpa(const struct ram *r, gpa_t gpa)
{
    if (gpa < r->low)
        return gpa / RAM_PAGE;
    if (gpa >= RAM_HIGH && gpa - RAM_HIGH < r->size - r->low)
        return (r->low + (gpa - RAM_HIGH)) / RAM_PAGE;
    return UINT64_MAX;
}

uint64_t ram_page_of_host(const struct ram *r, const void *host)
{
    uint64_t offset = (uint64_t)((uintptr_t)host - (uintptr_t)r->host);
    return offset < r->size ? offset / RAM_PAGE : UINT64_MAX;
}

gpa_t ram_gpa_of_page(const struct ram *r, uint64_t page)
{
    uint64_t offset = page * RAM_PAGE;
    return offset < r->low ? offset : RAM_HIGH + (offset - r->low);
}
