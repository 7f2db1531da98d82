/* lookup.c: from a guest address to its block, and from a host address to its block.  Neither takes a lock.
 *
 * The hash table's chains are only ever prepended to; a removed block keeps its own `hash_next`, so a reader that
 * stands on it walks on into the chain as it was or is.  The memory of removed blocks is reused only when no vCPU is
 * looking (see eviction in code.c).
 *
 * An entry is a block's number, sixteen bits of its key, and what followed when it was written: the bit tag % 16 is set if an
 * entry with such a tag did.  Who looks for what is not there seldom has to look at a block, which would be a cache miss.
 *     | tag of the key | what follows | number of a block |
 *      63            48 47          32 31                0
 */
#include "code/internal.h"

enum {
    HASH_BYTES_A_BLOCK = 512, /* of code memory: about one block a bucket when it is full */
    HASH_BYTES_A_BUCKET = 4,  /* of guest code */
    ENTRY_TAG = 48,           /* first bit */
    ENTRY_FOLLOW = 32,
};

struct block *code_numbered(const struct code *c, block_number n)
{
    return n ? &c->blocks[n - 1] : NULL;
}

struct link *code_numbered_link(const struct code *c, link_number n)
{
    return n ? &code_numbered(c, n / 2)->link[n % 2] : NULL;
}

static uint64_t page_hash(gpa_t gpa, uint32_t mode)
{
    return (gpa / PAGE_BYTES ^ (uint64_t)mode << 40) * 0x9e3779b97f4a7c15ull;
}

/* Blocks that are near each other in a page have buckets near each other: they are looked up and added together. */
static uint64_t *hash_bucket(const struct code *c, gpa_t gpa, uint32_t mode)
{
    return &c->hash[((page_hash(gpa, mode) >> 32) + gpa % PAGE_BYTES / HASH_BYTES_A_BUCKET) & c->hash_mask];
}

static unsigned key_tag(gpa_t gpa, uint32_t mode)
{
    return (uint16_t)(page_hash(gpa, mode) >> 16 ^ gpa % PAGE_BYTES);
}

static unsigned entry_tag(uint64_t e)
{
    return (unsigned)(e >> ENTRY_TAG);
}

static uint64_t follow_bit(unsigned tag)
{
    return 1ull << (ENTRY_FOLLOW + tag % 16);
}

static struct block *entry_block(const struct code *c, uint64_t e)
{
    return code_numbered(c, (block_number)e);
}

bool hash_init(struct code *c)
{
    uint64_t n = 1024;

    while (n < c->memory.size / HASH_BYTES_A_BLOCK)
        n *= 2;
    c->hash_mask = n - 1;
    c->hash = os_reserve(n * sizeof(c->hash[0]));
    if (c->hash)
        os_prefer_huge(c->hash, n * sizeof(c->hash[0]));
    return c->hash != NULL;
}

void hash_fini(struct code *c)
{
    if (c->hash)
        os_release(c->hash, (c->hash_mask + 1) * sizeof(c->hash[0]));
}

void hash_add(struct code *c, struct block *b)
{
    uint64_t *bucket = hash_bucket(c, b->gpa, b->mode), next = *bucket, e = block_number_of(c, b);

    if (next)
        e |= follow_bit(entry_tag(next)) | (next & (0xffffull << ENTRY_FOLLOW));
    b->hash_next = next;
    __atomic_store_n(bucket, e | (uint64_t)key_tag(b->gpa, b->mode) << ENTRY_TAG, __ATOMIC_RELEASE);
}

void hash_remove(struct code *c, struct block *b)
{
    uint64_t *at = hash_bucket(c, b->gpa, b->mode);

    while (entry_block(c, *at) != b)
        at = &entry_block(c, *at)->hash_next;
    __atomic_store_n(at, b->hash_next, __ATOMIC_RELEASE);
}

/* The first block of that key from entry e on. */
static struct block *hash_match(const struct code *c, uint64_t e, gpa_t gpa, uint32_t mode)
{
    unsigned tag = key_tag(gpa, mode);
    while (e) {
        struct block *b = entry_block(c, e);
        if (entry_tag(e) == tag && b->gpa == gpa && b->mode == mode && block_alive(b))
            return b;
        if (!(e & follow_bit(tag)))
            break;
        e = __atomic_load_n(&b->hash_next, __ATOMIC_ACQUIRE);
    }
    return NULL;
}

struct block *code_lookup(const struct code *c, gpa_t gpa, uint32_t mode)
{
    return hash_match(c, __atomic_load_n(hash_bucket(c, gpa, mode), __ATOMIC_ACQUIRE), gpa, mode);
}

struct block *code_lookup_next(const struct code *c, const struct block *b)
{
    return hash_match(c, __atomic_load_n(&b->hash_next, __ATOMIC_ACQUIRE), b->gpa, b->mode);
}

static bool same_second(const struct block *a, const struct block *b)
{
    return a->two_pages == b->two_pages && (!a->two_pages || block_second(a)->gpa == block_second(b)->gpa);
}

struct block *hash_find_same(const struct code *c, const struct block *b)
{
    struct block *same = code_lookup(c, b->gpa, b->mode);

    while (same && !same_second(same, b))
        same = code_lookup_next(c, same);
    return same;
}

struct block *code_find_host(const struct code *c, const void *hpc)
{
    uintptr_t at = (uintptr_t)hpc - (uintptr_t)c->memory.rx - CODE_FIXED;
    if (at / c->region_size >= c->nregions)
        return NULL;
    const struct region *r = &c->region[at / c->region_size];
    unsigned low = 0, high = __atomic_load_n(&r->nblocks, __ATOMIC_ACQUIRE);
    bool cold = at % c->region_size >= region_middle(c);

    /* Find the last block that begins at hpc or before. */
    while (low < high) {
        unsigned middle = (low + high) / 2;
        const struct block *b = &r->block[middle];
        if ((uintptr_t)(cold ? block_cold(b) : b->rx) <= (uintptr_t)hpc)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    struct block *b = &r->block[low - 1];
    return block_holds(b, hpc) ? b : NULL;
}
