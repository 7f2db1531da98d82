/* mem: the guest-physical map, RAM, device ranges, per-vCPU translation tables, and marks on pages that hold code.
 *
 * Two kinds of address map: `struct bus` maps guest-physical memory (RAM and device registers) or I/O ports (devices
 * only) to who answers.  `struct tlb` is one vCPU's cache of guest page walks, as sparse linear tables (see ir/cpu.h
 * and below).
 *
 * Threads: a bus is filled before vCPUs run; after that bus_move (PCI BARs) replaces its table as a whole (readers
 * see the old or the new one).  A tlb belongs to its vCPU's thread; other threads ask through tlb_request_*.
 */
#ifndef RHEA_MEM_H
#define RHEA_MEM_H

#include "base/base.h"

/* ---- buses ------------------------------------------------------------------------------------------------- */

enum { W8 = 1, W16 = 2, W32 = 4, W64 = 8 }; /* access widths a device takes, or-ed */

struct mmio_ops {
    uint64_t (*read)(void *dev, uint64_t offset, unsigned size);
    void (*write)(void *dev, uint64_t offset, uint64_t value, unsigned size);
    unsigned widths; /* W8|...; wider accesses are split, narrower ones go through as they are */
};

struct bus_range {
    gpa_t base;
    uint64_t size;
    uint8_t *host; /* RAM or ROM: its bytes; NULL: a device */
    bool readonly; /* ROM: writes are dropped */
    const struct mmio_ops *ops;
    void *dev;
    const char *name;
};

struct bus;
/* `bits`: width of addresses (16 for ports, 52 for memory).  What nobody answers reads as all ones. */
bool bus_init(struct bus **b, unsigned bits, struct log *log, struct status *st);
void bus_fini(struct bus *b);
/* Later ranges lie over earlier ones where they overlap.  Copies *r; false if the table is full. */
bool bus_map(struct bus *b, const struct bus_range *r);
void bus_unmap(struct bus *b, const struct bus_range *r); /* the range with this base and dev */
/* The range at addr, or NULL.  Valid until the next bus_map or bus_unmap. */
const struct bus_range *bus_find(const struct bus *b, uint64_t addr);
uint64_t bus_read(struct bus *b, uint64_t addr, unsigned size); /* size 1, 2, 4, 8; may cross ranges */
void bus_write(struct bus *b, uint64_t addr, uint64_t value, unsigned size);
/* Host address of [gpa, gpa+len) if it is wholly in one RAM (or, with write false, ROM) range, else NULL. */
uint8_t *bus_host(const struct bus *b, gpa_t gpa, uint64_t len, bool write);
/* Bytes in and out across ranges, devices included; false if some byte had no RAM or ROM behind it. */
bool bus_copy_in(struct bus *b, gpa_t gpa, const void *from, uint64_t len);
bool bus_copy_out(struct bus *b, gpa_t gpa, void *to, uint64_t len);
/* Call fn for each range as it stands, lowest address first (monitor's info mtree). */
void bus_each(const struct bus *b, void (*fn)(void *arg, const struct bus_range *r, uint64_t from, uint64_t to),
              void *arg);

/* ---- RAM --------------------------------------------------------------------------------------------------- */

struct ram {
    uint8_t *host;
    uint64_t size;  /* bytes */
    uint64_t low;   /* bytes mapped from 0; the rest from 4 GB */
    uint8_t *flags; /* one byte a page of RAM: RAM_ bits; changed atomically */
};
enum {
    RAM_CODE = 1,    /* holds translated code: never entered in a W table */
    RAM_WMAPPED = 2, /* was entered in some W table since it was last scanned */
};
bool ram_init(struct ram *r, uint64_t size, uint64_t low_max, struct status *st);
void ram_fini(struct ram *r);
bool ram_map(struct ram *r, struct bus *mem);
/* Page index in flags of a guest-physical or host address; UINT64_MAX if it is not RAM. */
uint64_t ram_page_of_gpa(const struct ram *r, gpa_t gpa);
uint64_t ram_page_of_host(const struct ram *r, const void *host);
gpa_t ram_gpa_of_page(const struct ram *r, uint64_t page);

/* ---- translation tables ------------------------------------------------------------------------------------ */

/* A tlb has `nslots` address-space slots; each has one table a kind.  A table has 2^36 entries of 8 bytes, indexed by
 * bits 47..12 of the address, zero = not known: one reservation, or, with many vCPUs, two levels (bits 47..39, bits
 * 38..12), which bit 0 of its address tells (TLB_TWO_LEVELS).  Every entry ever filled is in the slot's log, so that a
 * flush touches only what was filled; when the log is full the slot is flushed and its memory discarded. */
enum tlb_kind {
    TLB_R_USER,
    TLB_R_SUP,
    TLB_R_SUPAC, /* SUPAC: supervisor that may touch user pages (no SMAP, or EFLAGS.AC) */
    TLB_W_USER,
    TLB_W_SUP,
    TLB_W_SUPAC,
    TLB_X_USER,
    TLB_X_SUP,
    TLB_NONE, /* never filled: for when every access must be looked at */
    TLB_KINDS
};
enum { TLB_SLOTS_MAX = 8 };
/* What a fill remembers beside the entry. */
enum {
    TLB_GLOBAL = 1, /* survives a non-global flush */
    TLB_LARGE = 2,  /* from a 2 MB or 4 MB page: INVLPG drops the 4 MB around */
    TLB_HUGE = 4,   /* from a 1 GB page: INVLPG drops the 1 GB around */
};
struct tlb;
/* nslots, and how many levels tables have, are chosen from how many vCPUs share the host's 47 bits. */
enum { TLB_TWO_LEVELS = 1 };
bool tlb_two_levels(unsigned nvcpus);
bool tlb_init(struct tlb **t, unsigned nvcpus, struct status *st);
void tlb_fini(struct tlb *t);
unsigned tlb_slots(const struct tlb *t);
uint8_t *tlb_table(const struct tlb *t, unsigned slot, enum tlb_kind kind); /* for cpu.tab_* */
static inline uint64_t *tlb_entry(uint8_t *table, gva_t gva)
{
    if ((uintptr_t)table & TLB_TWO_LEVELS)
        return (uint64_t *)(((uint8_t **)(table - TLB_TWO_LEVELS))[gva >> 39 & 511] + (gva >> 9 & 0x3ffffff8));
    return (uint64_t *)(table + ((gva >> 9) & 0x7ffffffff8ull));
}
void tlb_fill(struct tlb *t, unsigned slot, enum tlb_kind kind, gva_t gva, uint64_t entry, unsigned flags);
/* Each returns how many entries it dropped.  *x_dropped gains TLB_X_ bits for the X entries among them, since jump caches
 * rest on those; bits are never cleared. */
enum {
    TLB_X_OF_USER = 1,
    TLB_X_OF_SUP = 2,
    TLB_X_LOST = 4, /* earlier, any: a log was full */
};
unsigned tlb_flush_slot(struct tlb *t, unsigned slot, bool keep_global, unsigned *x_dropped);
unsigned tlb_flush_all(struct tlb *t, unsigned *x_dropped);
/* Drop gva's page from `slot` and, if its entry may be global, from every slot. */
unsigned tlb_flush_page(struct tlb *t, unsigned slot, gva_t gva, unsigned *x_dropped);
/* Drop every W entry whose host address lies in the 4 KB page at `host` (the page gains code).  Looks no further if
 * RAM_WMAPPED is not set for it: who fills a W entry sets that first, then fills, then looks at RAM_CODE again. */
unsigned tlb_drop_writes(struct tlb *t, const struct ram *r, const uint8_t *host);
/* Somebody (`which` is 0 to 2) remembers entries beside the tables, as long as n words say so: those become `none` whenever
 * entries are dropped. */
void tlb_remembered(struct tlb *t, unsigned which, uint64_t *word, unsigned n, uint64_t none);
/* Live entries of a slot, for the monitor. */
void tlb_each(const struct tlb *t, unsigned slot, void (*fn)(void *arg, enum tlb_kind k, gva_t gva, uint64_t entry),
              void *arg);

#endif
