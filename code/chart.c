/* chart.c: what is known byte by byte of pages that are written to and run: which bytes blocks rest on, and which
 * operands blocks read anew each time they run.
 *
 * A *charted* page has a map with a bit for each byte that a block rests on.  A store that touches none of them concerns
 * no block, so whoever looks at the map first may store straight to memory (host/amd64/thunks.c does).  The map may
 * have bits too many, never too few.  Such stores are not in the ring of page.c.  So while a page is charted, nobody
 * may make a block of it but the vCPU that stores: with several vCPUs a translator ends the charting first, with the
 * others standing outside (code_unchart).  Each time that happened the page must be stored to twice as often before it
 * is charted again, so that translators come to an end.
 *
 * A *live* byte belongs to an operand (an immediate) that blocks read from memory when the insn runs, because it was
 * stored to over and over: "stylized" self-modifying code in the words of J. Dehnert et al., "The Transmeta Code Morphing
 * Software", CGO 2003.  A store to live bytes only drops nothing, and the map has no bits for them.
 *
 *     stored to LIVE_AFTER times at one place, each time dropping a block  ->  its bytes are live, and nothing that
 *     covers them is left;  a translator that meets live bytes makes an operand of them that is read at run time, or,
 *     if they are anything else (an opcode, two insns), takes the liveness away (code_not_live) and the page has to
 *     wait twice as long
 *
 * Rules to know before editing
 *   - Everything that changes here is changed with the lock held; the map is read without it, so a bit that is needed
 *     must not go, not even for a moment.
 *   - While a byte is live, all blocks that cover it read it when they run.  So bytes become live in the moment when no
 *     block covers them, and that counts as a store to them: a translator that did not see them live is refused.
 */
#include "code/internal.h"

#include <string.h>

enum {
    LIVE_AFTER = 3,
    LIVE_BYTES = 8,     /* no longer operands are there */
    PATIENCE_MAX = 6,   /* LIVE_AFTER << 6 fits a byte */
    CHART_AFTER = 32,   /* stores, if there are other vCPUs */
    UNCHARTED_MAX = 10, /* CHART_AFTER << 10 */
};

static size_t chart_bytes(const struct code *c)
{
    return c->max_pages * sizeof(c->chart[0]) + 8; /* readers take 8 bytes at a time, from any byte */
}

bool chart_init(struct code *c)
{
    c->chart = os_reserve(chart_bytes(c));
    c->live = os_reserve(c->max_pages * sizeof(c->live[0]));
    return c->chart && c->live;
}

void chart_fini(struct code *c)
{
    if (c->chart)
        os_release(c->chart, chart_bytes(c));
    if (c->live)
        os_release(c->live, c->max_pages * sizeof(c->live[0]));
}

/* The bits of p in word w. */
static uint64_t part_bits(struct part p, unsigned w)
{
    unsigned from = p.off > w * 64 ? p.off - w * 64 : 0, to = p.off + p.len - w * 64;
    if (p.len == 0 || from >= 64 || p.off + p.len <= w * 64)
        return 0;
    return mask_bits(to < 64 ? to : 64) & ~mask_bits(from);
}

static unsigned first_word(struct part p)
{
    return p.off / 64;
}

static unsigned end_word(struct part p)
{
    return p.len ? (p.off + p.len - 1) / 64 + 1 : first_word(p);
}

/* ---- charted pages -------------------------------------------------------------------------------------------- */

void chart_add(struct code *c, uint64_t page, struct part p)
{
    if (!c->page[page].charted)
        return;
    for (unsigned w = first_word(p); w < end_word(p); w++)
        __atomic_fetch_or(&c->chart[page][w], part_bits(p, w) & ~c->live[page].bits[w], __ATOMIC_RELEASE);
}

void chart_update(struct code *c, uint64_t page, struct part p)
{
    uint64_t bits[LIVE_WORDS];

    if (!c->page[page].charted || !p.len)
        return;
    memset(bits, 0, sizeof bits);
    for (uint32_t e = c->page[page].blocks; e; e = *list_next(c, e)) {
        struct part b = block_part(list_block(c, e), e & 1);
        for (unsigned w = first_word(p); w < end_word(p); w++)
            bits[w] |= part_bits(b, w);
    }
    for (unsigned w = first_word(p); w < end_word(p); w++)
        __atomic_store_n(&c->chart[page][w], bits[w] & ~c->live[page].bits[w], __ATOMIC_RELEASE);
}

bool code_charted(const struct code *c, uint64_t page)
{
    return __atomic_load_n(&c->page[page].charted, __ATOMIC_SEQ_CST);
}

const uint64_t *code_chart(struct code *c, uint64_t page, bool alone)
{
    struct code_page *cp = &c->page[page];

    pthread_mutex_lock(&c->lock);
    bool ready = alone || ++cp->asked >= (uint32_t)CHART_AFTER << cp->uncharted;
    bool on = cp->blocks && ready;
    if (on && !cp->charted) {
        __atomic_store_n(&cp->charted, true, __ATOMIC_SEQ_CST);
        chart_update(c, page, (struct part){0, PAGE_BYTES});
        if (!alone)
            store_remember(c, page, (struct part){0, PAGE_BYTES}); /* to those who are translating from it */
        c->counts.charted++;
    }
    pthread_mutex_unlock(&c->lock);
    return on ? c->chart[page] : NULL;
}

void code_unchart(struct code *c, uint64_t page)
{
    struct code_page *cp = &c->page[page];

    pthread_mutex_lock(&c->lock);
    __atomic_store_n(&cp->charted, false, __ATOMIC_SEQ_CST);
    cp->asked = 0;
    cp->uncharted += cp->uncharted < UNCHARTED_MAX;
    pthread_mutex_unlock(&c->lock);
}

/* ---- live bytes ----------------------------------------------------------------------------------------------- */

bool live_covers(const struct code *c, uint64_t page, struct part p)
{
    if (!__atomic_load_n(&c->page[page].live, __ATOMIC_RELAXED))
        return false;
    for (unsigned w = first_word(p); w < end_word(p); w++)
        if (part_bits(p, w) & ~c->live[page].bits[w])
            return false;
    return true;
}

bool live_touches(const struct code *c, uint64_t page, struct part p)
{
    uint64_t bits = 0;
    for (unsigned w = first_word(p); c->page[page].live && w < end_word(p); w++)
        bits |= part_bits(p, w) & c->live[page].bits[w];
    return bits;
}

static void live_set(struct code *c, uint64_t page, struct part p, bool on)
{
    struct code_live *l = &c->live[page];
    uint64_t all = 0;

    for (unsigned w = 0; w < LIVE_WORDS; w++) {
        uint64_t bits = on ? l->bits[w] | part_bits(p, w) : l->bits[w] & ~part_bits(p, w);
        __atomic_store_n(&l->bits[w], bits, __ATOMIC_SEQ_CST);
        all |= bits;
    }
    __atomic_store_n(&c->page[page].live, all != 0, __ATOMIC_SEQ_CST);
}

void live_note(struct code *c, uint64_t page, struct part p)
{
    struct code_live *l = &c->live[page];
    struct live_place *at = &l->place[(p.off ^ p.off >> 3) % ARRAY_LEN(l->place)];

    if (!c->hooks.live_operands || p.len > LIVE_BYTES)
        return;
    if (at->off != p.off || at->len != p.len)
        *at = (struct live_place){.off = (uint16_t)p.off, .len = (uint8_t)p.len};
    if (++at->times < LIVE_AFTER << l->patience)
        return;
    at->times = 0;
    live_set(c, page, p, true);
    store_remember(c, page, p);
}

void live_forget(struct code *c, uint64_t page)
{
    if (c->page[page].live)
        live_set(c, page, (struct part){0, PAGE_BYTES}, false);
}

const uint64_t *code_live(const struct code *c, uint64_t page)
{
    return __atomic_load_n(&c->page[page].live, __ATOMIC_SEQ_CST) ? c->live[page].bits : NULL;
}

void code_all_live(struct code *c, uint64_t page, unsigned off, unsigned len)
{
    struct part p = {off, len};

    pthread_mutex_lock(&c->lock);
    page_drop(c, page, p, DEAD_WRITE);
    live_set(c, page, p, true);
    store_remember(c, page, p);
    pthread_mutex_unlock(&c->lock);
}

void code_not_live(struct code *c, uint64_t page, unsigned off, unsigned len)
{
    struct code_live *l = &c->live[page];

    pthread_mutex_lock(&c->lock);
    live_set(c, page, (struct part){off, len}, false);
    l->patience += l->patience < PATIENCE_MAX;
    pthread_mutex_unlock(&c->lock);
}
