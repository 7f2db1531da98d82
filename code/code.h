/* code: code memory, blocks, their lookup, links between them, and dropping them when guest code changes.
 *
 * Code memory is one reservation seen twice (writable and executable) and cut into regions.  The first 16 KB hold the
 * host's thunks.  A vCPU emits into a region it owns; a full region is left as it is and another taken; when none is
 * free the oldest is evicted: its blocks are unlinked and dropped, its bytes reused.  The world is never stopped to
 * start from empty.
 *
 *     region:  | host code of block 0 | 1 | ...  free  | cold part of block 0 | its aux | 1 | ... free |    | struct block 0 | 1 | ... |
 *
 * What seldom runs is in the second half of the region, so that code that runs lies close.  The structs lie in memory of
 * their own: code memory, being mapped twice, is dearer to touch first.
 *
 * Blocks are keyed by guest-physical address and mode.  Lookup takes no lock (a chain is only ever prepended to, and
 * removed blocks stay readable until their region is reused).  Everything that changes structure holds `code->lock`,
 * the one lock of this folder: it guards region states, hash chains' writers, pages' block lists and link lists.  It
 * is taken after no other lock but device locks, and nothing is called outside code/ while it is held, but
 * host_link_set and the hook.
 *
 * Self-modifying code.  Each RAM page with blocks has a struct code_page with a bit a 64-byte line.  code_write drops
 * exactly the blocks whose guest bytes overlap the stored ones, unless they read these when they run (chart.c).  A page
 * gets its RAM_CODE mark before the translator reads its bytes and loses it when its last block is dropped.
 */
#ifndef RHEA_CODE_H
#define RHEA_CODE_H

#include "base/base.h"

/* Blocks and links name each other by numbers (code_numbered, code_numbered_link), half as long as addresses; 0: none. */
typedef uint32_t block_number, link_number;
struct block;

/* One patchable jump of a block. */
struct link {
    block_number to;     /* 0 while not linked */
    link_number next_in; /* others that go to the same block */
    union {
        uint32_t page; /* cross: the page it led to last, + 1; 0: it never was linked */
        struct {
            uint16_t stub_at, f_regs; /* not cross */
        };
    };
    uint16_t jump_at, miss_at, guard_at; /* offsets from the block's host code, see struct host_jump */
    uint8_t f : 2;
    bool present : 1, cross : 1, second : 1; /* second: it is link[1] */
};

/* Why a block was dropped; ASLEEP: its bytes were stored to, but it may be woken. */
enum block_death { ALIVE, DEAD_WRITE, DEAD_EVICTED, DEAD_FLUSH, DEAD_WORN, ASLEEP };

struct block {
    gpa_t gpa;          /* of the first guest byte */
    const uint8_t *rx;  /* host code, executable view */
    uint64_t hash_next; /* see lookup.c */
    uint32_t mode;      /* the guest's mode bits */
    uint32_t page;      /* index of the RAM page */
    uint32_t page_next; /* list of that page, see page.c */
    link_number in;     /* links that come here */
    struct link link[2];
    uint16_t guest_size, ninsns;
    uint16_t host_size, cold_size; /* of host code, see struct host_span */
    uint32_t cold_at;              /* offset of the cold part from rx */
    uint16_t nfaults;
    uint16_t f_spoils;
    uint8_t death;        /* enum block_death */
    uint8_t entry, f_use; /* see struct host_entry */
    uint8_t remembered;   /* bit a table of the jump caches: it has had it */
    bool two_pages;       /* it runs over its page's end */
};
/* What is known besides of a block on two pages; few are. */
struct block_second {
    gpa_t gpa; /* of the second page's first byte */
    uint32_t page, page_next;
};
static inline struct block *link_from(struct link *l)
{
    return CONTAINER_OF(l - l->second, struct block, link);
}
/* Where it is entered with F in cpu.cc. */
static inline const void *block_entry(const struct block *b)
{
    return b->rx + b->entry;
}
static inline const uint8_t *block_cold(const struct block *b)
{
    return b->rx + b->cold_at;
}
static inline bool block_holds(const struct block *b, const void *hpc)
{
    return (uintptr_t)hpc - (uintptr_t)b->rx < b->host_size || (uintptr_t)hpc - (uintptr_t)block_cold(b) < b->cold_size;
}
/* Behind a block's cold part is kept: struct block_second, if it is on two pages; then its aux, which is nfaults of
 * host_fault, ascending by `at` (or IR, see exec/interp.c).  `cold`: where the cold part is, in either view. */
enum { CODE_AUX_ALIGN = 2 };
static inline struct block_second *block_second_in(const struct block *b, const uint8_t *cold)
{
    uintptr_t align = _Alignof(struct block_second);
    return (struct block_second *)(((uintptr_t)cold + b->cold_size + align - 1) & ~(align - 1));
}
static inline void *block_aux_in(const struct block *b, const uint8_t *cold)
{
    uintptr_t end = b->two_pages ? (uintptr_t)(block_second_in(b, cold) + 1) : (uintptr_t)cold + b->cold_size;
    return (void *)((end + CODE_AUX_ALIGN - 1) & ~(uintptr_t)(CODE_AUX_ALIGN - 1));
}
static inline const struct block_second *block_second(const struct block *b)
{
    return block_second_in(b, block_cold(b));
}
static inline const void *block_aux(const struct block *b)
{
    return block_aux_in(b, block_cold(b));
}

/* By cause, always on. */
struct code_counts {
    uint64_t blocks, guest_bytes, host_bytes, dropped[5], links_made, links_cut, evictions, code_stores,
        code_stores_hit, pages, charted, woken;
};

struct code;
struct code_writer;
/* How this folder reaches the host back end, set once. */
struct code_hooks {
    void *arg;
    bool named; /* see struct os_code */
    void (*link_set)(void *arg, struct link *l,
                     const struct block *to); /* to NULL: unlink.  Called with the lock held */
    /* b has just died: who remembers its entry must forget it.  Called with the lock held; may be NULL. */
    void (*dropped)(void *arg, const struct block *b);
    /* Around the reuse of a region, without the lock held: no other vCPU may be in generated code, nor hold a block or
     * link that it got before, nor find one in a jump cache or return stack afterwards.  NULL if there is one vCPU. */
    void (*stop_others)(void *arg, struct code_writer *w); /* w: of the vCPU that asks */
    void (*start_others)(void *arg, struct code_writer *w);
    const uint8_t *ram; /* the pages' bytes, if there is one vCPU only: blocks may sleep (asleep.c); else NULL */
    bool live_operands; /* an operand that is stored to over and over may become live */
};
/* `size` bytes in all, at least 8 MB; max_pages: pages of RAM; marks: ram.flags (RAM_CODE is bit 0). */
bool code_init(struct code **c, size_t size, uint64_t max_pages, uint8_t *marks, const struct code_hooks *h,
               struct status *st);
void code_fini(struct code *c);
struct code_counts *code_counts(struct code *c);
size_t code_size(const struct code *c, size_t *used);
intptr_t code_rx_delta(const struct code *c);
uint8_t *code_rw(const struct code *c, const struct block *b); /* b's host code, writable view */
/* The bytes at the start of code memory that are never reused (for thunks). */
uint8_t *code_fixed(struct code *c, size_t *size);

/* ---- a transaction: reserve, emit, commit or abort ---------------------------------------------------------- */

struct code_span {
    uint8_t *rw, *cold; /* each with room for `size` bytes */
    size_t size;
    struct block *block; /* zeroed, to be filled by the caller before commit */
    gpa_t gpa2;          /* block->two_pages: see struct block_second */
    size_t aux_size;     /* bytes kept with the block, see code_aux */
    unsigned region;
};
/* One a vCPU. */
struct code_writer {
    int region; /* -1: none yet */
};
/* Room for `need` bytes of host code, and as much for its cold part and aux; evicts a region if it must.  Always succeeds
 * for need <= 256 KB.  If code_evictions is not what it was before, every block and link that the caller held is void, and so are its jump
 * caches. */
void code_reserve(struct code *c, struct code_writer *w, size_t need, struct code_span *s);
/* Room behind s->block's cold_size bytes for `size` bytes, aligned to CODE_AUX_ALIGN, to keep with it (two_pages is set); what is reserved
 * must have it. */
void *code_aux(struct code_span *s, size_t size);
/* Publish s->block (gpa, two_pages, mode, sizes, nfaults, links' offsets set by the caller) with host_size bytes of code and
 * its aux.  pages: indexes of its one or two RAM pages in marks (page[1] = ~0 if one).  If another vCPU published the same key first, that block is returned
 * and this one is given up. If a byte of its guest code was stored to since `seen` (from code_page_begin), returns
 * NULL: translate again. */
struct block *code_commit(struct code *c, struct code_span *s, const uint64_t page[2], const uint32_t seen[2]);
void code_abort(struct code *c, struct code_span *s);
uint64_t code_evictions(const struct code *c); /* how many regions were evicted so far */

/* ---- lookup and links --------------------------------------------------------------------------------------- */

struct block *code_numbered(const struct code *c, block_number n);
struct link *code_numbered_link(const struct code *c, link_number n);
struct block *code_lookup(const struct code *c, gpa_t gpa, uint32_t mode);
/* An older block of the same gpa and mode (its second page differs: what that is depends on the address space), or
 * NULL. */
struct block *code_lookup_next(const struct code *c, const struct block *b);
/* The block whose host code, cold or not, holds hpc, dead or alive, or NULL. Async-signal-safe. */
struct block *code_find_host(const struct code *c, const void *hpc);
/* Link l to `to` unless either died meanwhile or l is already linked.  false: nothing was done, because l led to another
 * page before, and then it must be done `alone`, while no other vCPU is in generated code (see host_link_set). */
bool code_link(struct code *c, struct link *l, struct block *to, bool alone);

/* ---- pages that hold code ------------------------------------------------------------------------------------ */

/* Mark the page as holding code (before its bytes are read) and return a version for code_commit, which finds out by
 * it what was stored since.  *fresh is set if it was not marked before: every W table entry for it must then be
 * dropped, on every vCPU, before anybody reads the bytes. */
uint32_t code_page_begin(struct code *c, uint64_t page, bool *fresh);
/* A store of len bytes at offset `off` of the page (not past its end).  Drops the blocks whose guest bytes it
 * overlaps; returns how many. If `self` (may be NULL) is among them *hit_self is set and *nothing is dropped*: the
 * caller must leave that block first and store again. With several vCPUs (or for a device's store) it must be called
 * after the bytes are written, too: a translator may have read the old ones meanwhile. */
unsigned code_write(struct code *c, uint64_t page, unsigned off, unsigned len, const struct block *self,
                    bool *hit_self);
/* The same by the only vCPU, before the bytes are written: blocks may sleep until they are as before. */
unsigned code_overwrite(struct code *c, uint64_t page, unsigned off, unsigned len, const struct block *self,
                        bool *hit_self);
/* A block of that key that slept, and whose bytes (on RAM page `page`) are as they were; else NULL. */
struct block *code_wake(struct code *c, gpa_t gpa, uint32_t mode, uint64_t page);
/* True if a store of those bytes would overlap a block. */
bool code_overlaps(const struct code *c, uint64_t page, unsigned off, unsigned len);
/* The page's map of the bytes that blocks rest on, a bit each: a store to others concerns no block and need not come to
 * code_write (see chart.c).  Up to date while code_charted.  NULL: not now.  `alone`: there is one vCPU, the caller's;
 * others have to end it (code_unchart, the others standing outside, who must forget the map) before they translate. */
const uint64_t *code_chart(struct code *c, uint64_t page, bool alone);
bool code_charted(const struct code *c, uint64_t page);
void code_unchart(struct code *c, uint64_t page);
/* Which of the page's bytes are live, a bit each; NULL: none.  Look after code_page_begin.  A block that covers one must
 * read it when it runs; if it cannot, code_not_live (of the insn's bytes) before code_commit. */
const uint64_t *code_live(const struct code *c, uint64_t page);
/* Some bytes of an operand are live: all of them are to be, and what covers them is to be made anew. */
void code_all_live(struct code *c, uint64_t page, unsigned off, unsigned len);
void code_not_live(struct code *c, uint64_t page, unsigned off, unsigned len);
/* b and blocks that it leads to by links, nearest first, at most max; returns how many. */
unsigned code_reach(struct code *c, struct block *b, struct block **list, unsigned max);
/* Drop b, which is to be translated in another way.  Who runs it may go on: it stays on its pages' lists, so stores to
 * it are still told to code_write. */
void code_drop(struct code *c, struct block *b);
/* Drop every block (reset of the machine, change of what the lifter assumes). */
void code_flush(struct code *c);
/* Each live block, for the monitor; the lock is held. */
void code_each(struct code *c, void (*fn)(void *arg, const struct block *b), void *arg);

#endif
