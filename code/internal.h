/* What the files of code/ share.  Nobody else includes this. */
#ifndef RHEA_CODE_INTERNAL_H
#define RHEA_CODE_INTERNAL_H

#include "code/code.h"

#include <pthread.h>

enum {
    CODE_ALIGN = 16,              /* of a block's code */
    CODE_FIXED = 16 << 10,        /* bytes for thunks */
    CODE_REGIONS = 512,           /* at most; twice as many as there may be vCPUs, each of which fills one */
    CODE_RESERVE_MAX = 256 << 10, /* host code and aux of one block */
    CODE_STORES = 8192,           /* stores remembered, see page.c */
    PAGE_BYTES = 4096,
    TOUCH_LEAST = 8 << 10, /* code memory that has pages ahead of what is written */
    TOUCHED_ALL = UINT32_MAX,
    TOUCH_BLOCKS = 640,
    LIVE_WORDS = PAGE_BYTES / 64,
    MARK_CODE = 1, /* bit of code.marks */
};

enum region_state { REGION_FREE, REGION_OWNED, REGION_FULL };

struct region {
    uint8_t *rw;
    struct block *block;
    uint32_t used;    /* bytes of code */
    uint32_t cold;    /* bytes of cold parts and aux, from the region's middle on */
    uint32_t nblocks; /* committed */
    /* Where pages end that were made ahead, of code, cold parts and structs; survive eviction. */
    uint32_t touched, cold_touched, blocks_touched;
    enum region_state state;
    uint64_t filled; /* REGION_FULL: when, counted in regions */
};

struct code_page {
    uint64_t lines;    /* a bit a 64-byte line that holds guest code of a block */
    uint32_t blocks;   /* list, see page.c */
    uint32_t begun;    /* `stores` at the last code_page_begin */
    bool loose;        /* lines may have bits of blocks that were evicted */
    bool charted;      /* its map in code.chart is kept up to date */
    bool live;         /* some of its bytes are */
    uint8_t emptied;   /* how often its last block went by a store, up to KEEP_MARK */
    uint8_t uncharted; /* how often it was charted for nothing */
    uint32_t asked;    /* how often charting was asked for since */
};

/* A place that was stored to, and how often in a row that dropped blocks. */
struct live_place {
    uint16_t off;
    uint8_t len, times;
};
struct code_live {
    uint64_t bits[LIVE_WORDS]; /* a bit a byte that blocks read when they run */
    struct live_place place[6];
    uint8_t patience; /* how often bytes turned out to be no operand */
};

struct code {
    pthread_mutex_t lock;
    struct code_hooks hooks;
    struct code_counts counts;

    struct os_code memory;
    size_t region_size;
    struct block *blocks; /* of all regions, blocks_max of each */
    unsigned blocks_max;
    unsigned nregions;
    struct region region[CODE_REGIONS];
    uint64_t nfilled;

    uint64_t *hash;
    uint64_t hash_mask;

    uint8_t *marks;
    uint64_t max_pages;
    struct code_page *page;
    uint64_t (*chart)[LIVE_WORDS]; /* a bit a byte that a block rests on; see chart.c */
    struct code_live *live;
    struct asleep *asleep; /* see asleep.c; NULL: nobody sleeps */
    unsigned nasleep, asleep_turn;
    uint32_t stores;             /* how many stores to marked pages; changed atomically */
    uint64_t store[CODE_STORES]; /* the last ones */
};

/* code.c */
/* why: ASLEEP is DEAD_WRITE where it may be woken. */
void block_drop(struct code *c, struct block *b, enum block_death why);

static inline struct block_second *block_second_rw(const struct code *c, const struct block *b)
{
    return block_second_in(b, code_rw(c, b) + b->cold_at);
}

/* Where the cold parts of a region begin. */
static inline size_t region_middle(const struct code *c)
{
    return c->region_size / 2;
}

/* lookup.c: with the lock held */
bool hash_init(struct code *c);
void hash_fini(struct code *c);
void hash_add(struct code *c, struct block *b);
void hash_remove(struct code *c, struct block *b);
struct block *hash_find_same(const struct code *c, const struct block *b);

/* link.c: with the lock held */
void links_cut_to(struct code *c, struct block *b);              /* those that lead to b */
void links_cut_own(struct code *c, struct block *b, bool patch); /* b's; patch: its code may still be run */

/* asleep.c: with the lock held */
bool asleep_init(struct code *c);
void asleep_fini(struct code *c);
bool asleep_may(const struct code *c, const struct block *b);
void asleep_lay(struct code *c, struct block *b); /* it is ASLEEP; its bytes are as they were */
void asleep_bury(struct code *c, struct block *b);
void asleep_bury_page(struct code *c, uint64_t page);
void asleep_bury_all(struct code *c);

/* Bytes of one page. */
struct part {
    unsigned off, len;
};

/* page.c: with the lock held */
bool pages_init(struct code *c);
void pages_fini(struct code *c);
/* Enter b in its pages' lists; false, and nothing entered, if a byte of it was stored to since `seen`. */
bool pages_add(struct code *c, struct block *b, const uint32_t seen[2]);
void pages_remove(struct code *c, struct block *b, enum block_death why);
unsigned page_drop(struct code *c, uint64_t page, struct part p, enum block_death why); /* those that overlap p */
/* Make every translation that is under way fail to commit. */
void pages_spoil_all(struct code *c);
/* Where the block lies on its first or second page. */
struct part block_part(const struct block *b, unsigned which);
void store_remember(struct code *c, uint64_t page, struct part p);

/* chart.c: with the lock held */
bool chart_init(struct code *c);
void chart_fini(struct code *c);
void chart_add(struct code *c, uint64_t page, struct part p);          /* a block covers them now */
void chart_update(struct code *c, uint64_t page, struct part p);       /* ... or may do so no longer */
bool live_covers(const struct code *c, uint64_t page, struct part p);  /* all of them are live */
bool live_touches(const struct code *c, uint64_t page, struct part p); /* some are */
void live_note(struct code *c, uint64_t page, struct part p);          /* a store there dropped blocks */
void live_forget(struct code *c, uint64_t page);

static inline block_number block_number_of(const struct code *c, const struct block *b)
{
    return (block_number)(b - c->blocks) + 1;
}

/* A page's list of blocks: see page.c. */
static inline struct block *list_block(const struct code *c, uint32_t e)
{
    return code_numbered(c, e / 2);
}

static inline uint32_t list_entry(const struct code *c, const struct block *b, unsigned which)
{
    return 2 * block_number_of(c, b) + which;
}

/* Where the entry behind e is. */
static inline uint32_t *list_next(const struct code *c, uint32_t e)
{
    struct block *b = list_block(c, e);
    return e & 1 ? &block_second_rw(c, b)->page_next : &b->page_next;
}

static inline uint32_t block_page(const struct block *b, unsigned which)
{
    return which ? block_second(b)->page : b->page;
}

/* On its pages' lists: alive, or worn. */
static inline bool block_listed(const struct block *b)
{
    return __atomic_load_n(&b->death, __ATOMIC_RELAXED) == ALIVE || b->death == DEAD_WORN;
}

static inline bool block_alive(const struct block *b)
{
    return __atomic_load_n(&b->death, __ATOMIC_RELAXED) == ALIVE;
}

#endif
