/* arena.c: memory that is given back all at once.
 *
 * One reservation, handed out from the bottom.  Pages are committed when first touched; a reset keeps them, so that
 * the arena of a translator settles at its high-water mark and never asks the host again.  What arena_alloc returns
 * is zeroed each time, not at reset: most of an arena is not used again before the next reset.
 */
#include "base/base.h"

#include <string.h>

enum { ARENA_ALIGN = 16 };

bool arena_init(struct arena *a, size_t size, struct status *st)
{
    *a = (struct arena){0};
    uint8_t *base = os_reserve(size);
    if (!base)
        return status_set(st, "no memory: the host refused to reserve %zu bytes for an arena", size);
    *a = (struct arena){.base = base, .size = size};
    return true;
}

void arena_fini(struct arena *a)
{
    if (a->base)
        os_release(a->base, a->size);
    *a = (struct arena){0};
}

void *arena_alloc(struct arena *a, size_t n)
{
    void *p = arena_room(a, n);
    return p ? memset(p, 0, n) : NULL;
}

void *arena_room(struct arena *a, size_t n)
{
    size_t room = a->size - a->used;
    if (n > room)
        return NULL;
    uint8_t *p = a->base + a->used;
    size_t padded = (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    a->used += padded < room ? padded : room;
    return p;
}

void arena_reset(struct arena *a)
{
    a->used = 0;
}
