/* tool/explain.h: what explain.c and elf.c share: the guest code to be explained. */
#ifndef RHEA_TOOL_EXPLAIN_H
#define RHEA_TOOL_EXPLAIN_H

#include "base/base.h"

enum { EXPLAIN_PAGES = 2, EXPLAIN_BYTES = EXPLAIN_PAGES * 4096 };

struct explain_code {
    gva_t addr;
    int bits;                    /* 16, 32, 64; 0: not told yet */
    unsigned n;                  /* bytes known from addr on, up to the end of the page after addr's */
    uint8_t page[EXPLAIN_BYTES]; /* from the start of addr's page */
};
/* Code of an ELF file: at a symbol, or (symbol NULL) at address c->addr.  Fills addr, n, page, and bits if it was 0. */
bool elf_code(struct explain_code *c, const char *path, const char *symbol, struct status *st);

#endif
