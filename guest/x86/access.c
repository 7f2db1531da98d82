/* guest/x86/access.c: guest memory as the run side's own code reads and writes it, and stacks in the making.
 *
 * Two ways to the bytes.  The translation tables answer in a few host instructions when they hold the page; else
 * x->access, the slow path that generated code takes too, walks, fills, reaches devices and faults.  Pushes and pops
 * go through struct x86_stack, a copy that moves ahead of RSP: RSP changes only when the whole transfer has succeeded
 * (x86_stack_commit).
 *
 * Rules to know before editing
 *   - A table entry is never used for an address that is not canonical, nor across a page.
 *   - MD_SYSTEM accesses have supervisor rights and, with SMAP, never touch user pages (implicit accesses, vol. 3,
 *     4.6).
 */
#include "guest/x86/run_int.h"

#include <string.h>

uint64_t x86_table_entry(const struct x86 *x, uint8_t *table, gva_t gva)
{
    uint64_t entry = *tlb_entry(table, gva);
    if (x->cr4 & CR4_LA57 && entry && ram_page_of_host(x->ram, (const void *)(uintptr_t)(gva + entry)) == UINT64_MAX)
        return 0;
    return entry;
}

bool x86_table_whole(gva_t gva)
{
    return (gva_t)sign_extend(gva, 48) == gva;
}

/* Host address of [gva, gva+n) if the table of `kind` knows it, else NULL. */
static uint8_t *known(struct x86 *x, gva_t gva, unsigned n, unsigned kind)
{
    if (!x->tlb || (gva & 4095) + n > 4096 || !x86_canonical(x, gva))
        return NULL;
    uint64_t entry = x86_table_entry(x, x86_table(x, x->cur_slot, kind), gva);
    return entry ? (uint8_t *)(uintptr_t)(gva + entry) : NULL;
}

static unsigned kind_of(const struct x86 *x, unsigned desc)
{
    return x86_table_kind(x, x86_walk_access(x, desc));
}

void x86_read_bytes(struct x86 *x, gva_t gva, void *to, unsigned n, unsigned md)
{
    uint8_t *host = known(x, gva, n, kind_of(x, md));
    if (!host)
        host = (uint8_t *)(uintptr_t)(gva + (uint64_t)x->access->read(&x->cpu, gva, n | md));
    memcpy(to, host, n);
}

void x86_write_bytes(struct x86 *x, gva_t gva, const void *from, unsigned n, unsigned md)
{
    md |= MD_WRITE;
    uint8_t *host = known(x, gva, n, kind_of(x, md));
    if (host) {
        memcpy(host, from, n);
        return;
    }
    host = (uint8_t *)(uintptr_t)(gva + (uint64_t)x->access->write(&x->cpu, gva, n | md));
    memcpy(host, from, n);
    if (x->cpu.pending)
        x->access->commit(&x->cpu);
}

uint64_t x86_load(struct x86 *x, gva_t gva, unsigned bytes, enum x86_seg seg)
{
    uint64_t v = 0;
    x86_read_bytes(x, gva, &v, bytes, (unsigned)seg << MD_TAG_SHIFT);
    return v;
}

void x86_store(struct x86 *x, gva_t gva, uint64_t v, unsigned bytes, enum x86_seg seg)
{
    x86_write_bytes(x, gva, &v, bytes, (unsigned)seg << MD_TAG_SHIFT);
}

uint64_t x86_load_system(struct x86 *x, gva_t gva, unsigned bytes)
{
    uint64_t v = 0;
    x86_read_bytes(x, gva, &v, bytes, MD_SYSTEM | (unsigned)SEG_NONE << MD_TAG_SHIFT);
    return v;
}

void x86_store_system(struct x86 *x, gva_t gva, uint64_t v, unsigned bytes)
{
    x86_write_bytes(x, gva, &v, bytes, MD_SYSTEM | (unsigned)SEG_NONE << MD_TAG_SHIFT);
}

/* ---- stacks ------------------------------------------------------------------------------------------------- */

void x86_stack_current(const struct x86 *x, struct x86_stack *s)
{
    *s = (struct x86_stack){
        .ss = x->seg[SEG_SS],
        .sp = x->cpu.reg[X86_RSP],
        .mask = x->mode & MODE_64              ? ~0ull
                : x->seg[SEG_SS].attr & SEG_DB ? 0xffffffffu
                                               : 0xffff,
        .flat = x->mode & MODE_64,
    };
}

/* Linear address of [off, off+n) on the stack; #SS if it is outside. */
static gva_t stack_linear(struct x86 *x, const struct x86_stack *s, uint64_t off, unsigned n)
{
    if (s->flat) {
        if (!x86_canonical(x, off) || !x86_canonical(x, off + n - 1))
            x86_raise_error(x, EX_SS, s->error);
        return off;
    }
    if (!x86_seg_within(&s->ss, off, n))
        x86_raise_error(x, EX_SS, s->error);
    return (uint32_t)(s->ss.base + off);
}

static unsigned stack_md(const struct x86_stack *s)
{
    return s->md | (unsigned)SEG_SS << MD_TAG_SHIFT;
}

static void stack_move(struct x86_stack *s, uint64_t by)
{
    s->sp = (s->sp & ~s->mask) | ((s->sp + by) & s->mask);
}

void x86_push(struct x86 *x, struct x86_stack *s, uint64_t v, unsigned bytes)
{
    struct x86_stack next = *s;
    stack_move(&next, -(uint64_t)bytes);
    x86_write_bytes(x, stack_linear(x, s, next.sp & s->mask, bytes), &v, bytes, stack_md(s));
    s->sp = next.sp;
}

uint64_t x86_pop(struct x86 *x, struct x86_stack *s, unsigned bytes)
{
    uint64_t v = 0;
    x86_read_bytes(x, stack_linear(x, s, s->sp & s->mask, bytes), &v, bytes, stack_md(s));
    stack_move(s, bytes);
    return v;
}

void x86_stack_commit(struct x86 *x, const struct x86_stack *s)
{
    uint64_t *rsp = &x->cpu.reg[X86_RSP];
    if (s->mask == 0xffff)
        *rsp = (*rsp & ~0xffffull) | (s->sp & 0xffff);
    else
        *rsp = s->sp & s->mask;
}
