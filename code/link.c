/* link.c: patched jumps between blocks, and the registry that can cut them.
 *
 * A link that is made is in exactly one list, `in` of the block it goes to.  So a dying block finds every jump that
 * leads to it, and its own two jumps are taken out of the lists of where they led.  Host code is reached through
 * hooks.link_set only.
 */
#include "code/internal.h"

static link_number number_of(const struct code *c, const struct link *l)
{
    return 2 * block_number_of(c, link_from((struct link *)l)) + l->second;
}

bool code_link(struct code *c, struct link *l, struct block *to, bool alone)
{
    uint32_t page = l->cross ? (uint32_t)(to->gpa / PAGE_BYTES) + 1 : 0; /* all that a guard compares */
    bool done = true;

    pthread_mutex_lock(&c->lock);
    if (l->present && !l->to && block_alive(link_from(l)) && block_alive(to)) {
        done = alone || !l->cross || !l->page || l->page == page;
        if (!done)
            goto out;
        if (l->cross)
            l->page = page;
        c->hooks.link_set(c->hooks.arg, l, to);
        __atomic_store_n(&l->to, block_number_of(c, to), __ATOMIC_RELAXED);
        l->next_in = to->in;
        to->in = number_of(c, l);
        c->counts.links_made++;
    }
out:
    pthread_mutex_unlock(&c->lock);
    return done;
}

unsigned code_reach(struct code *c, struct block *b, struct block **list, unsigned max)
{
    unsigned n = 0;
    pthread_mutex_lock(&c->lock);
    if (block_alive(b))
        list[n++] = b;
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < ARRAY_LEN(b->link) && n < max; k++) {
            struct block *to = code_numbered(c, list[i]->link[k].to);
            unsigned known = 0;
            while (known < n && list[known] != to)
                known++;
            if (to && known == n)
                list[n++] = to;
        }
    pthread_mutex_unlock(&c->lock);
    return n;
}

/* Cut a link that is in no list any more.  `patch`: its code is still there to be run. */
static void link_cut(struct code *c, struct link *l, bool patch)
{
    if (patch)
        c->hooks.link_set(c->hooks.arg, l, NULL);
    __atomic_store_n(&l->to, 0, __ATOMIC_RELAXED);
    l->next_in = 0;
    c->counts.links_cut++;
}

void links_cut_to(struct code *c, struct block *b)
{
    while (b->in) {
        struct link *l = code_numbered_link(c, b->in);
        b->in = l->next_in;
        link_cut(c, l, true);
    }
}

void links_cut_own(struct code *c, struct block *b, bool patch)
{
    for (unsigned i = 0; i < ARRAY_LEN(b->link); i++) {
        struct link *l = &b->link[i];
        if (!l->to)
            continue;
        link_number n = number_of(c, l), *at = &code_numbered(c, l->to)->in;
        while (*at != n)
            at = &code_numbered_link(c, *at)->next_in;
        *at = l->next_in;
        link_cut(c, l, patch);
    }
}
