/* guest/x86/segment.c: segment registers and the descriptor tables they are loaded from (Intel SDM vol. 3, chapters 3
 * and 5).
 *
 *      descriptor    63      56 55 54 53 52 51   48 47 46 45 44 43  40 39     16 15       0
 *                   | base    | G DB  L AVL| limit | P  DPL  S | type |  base   |  limit   |
 *                               '---------- x86_segment.attr ---------'  (limit's bits masked out)
 *
 * Rules to know before editing
 *   - All checks first, then the accessed bit in memory, then the register: a helper can be abandoned at any memory
 *     access.
 *   - The checks below stand in the order of the manual's pseudocode, for that decides which fault is seen.
 */
#include "guest/x86/run_int.h"

/* ---- descriptors -------------------------------------------------------------------------------------------- */

bool x86_desc_read(struct x86 *x, uint16_t selector, struct x86_descriptor *d)
{
    uint64_t base = x->gdtr.base, limit = x->gdtr.limit;
    if (selector & 4) {
        if (!(x->ldtr.attr & SEG_P))
            return false;
        base = x->ldtr.base;
        limit = x->ldtr.limit;
    }
    unsigned at = selector & 0xfff8;
    if (at + 7 > limit)
        return false;
    gva_t gva = base + at;
    if (!x86_long_mode(x))
        gva = (uint32_t)gva;
    *d = (struct x86_descriptor){.low = x86_load_system(x, gva, 8), .at = gva, .selector = selector};
    return true;
}

bool x86_desc_read_high(struct x86 *x, struct x86_descriptor *d)
{
    uint64_t limit = d->selector & 4 ? x->ldtr.limit : x->gdtr.limit;
    if ((d->selector & 0xfff8u) + 15 > limit)
        return false;
    d->high = x86_load_system(x, d->at + 8, 8);
    return (d->high >> 40 & 0x1f) == 0; /* vol. 3, figure 7-4: zero where a type would be */
}

void x86_desc_accessed(struct x86 *x, struct x86_descriptor *d)
{
    if (d->low >> 40 & 1)
        return;
    d->low |= 1ull << 40;
    x86_store_system(x, d->at + 5, d->low >> 40, 1);
}

struct x86_segment x86_desc_segment(const struct x86_descriptor *d, uint16_t selector)
{
    struct x86_segment s = {.selector = selector, .attr = x86_desc_attr(d)};
    s.limit = (uint32_t)((d->low & 0xffff) | (d->low >> 32 & 0xf0000));
    if (s.attr & SEG_G)
        s.limit = s.limit << 12 | 0xfff;
    s.base = (d->low >> 16 & 0xffffff) | (d->low >> 32 & 0xff000000);
    if (!(s.attr & SEG_S))
        s.base |= d->high << 32;
    return s;
}

bool x86_seg_within(const struct x86_segment *s, uint64_t off, unsigned n)
{
    uint64_t last = off + n - 1;
    if ((s->attr & (SEG_S | 8 | 4)) == (SEG_S | 4)) /* expand-down data: vol. 3, 5.3 */
        return off > s->limit && last <= (s->attr & SEG_DB ? 0xffffffffu : 0xffffu);
    return last <= s->limit;
}

void x86_seg_8086(struct x86_segment *s, uint16_t selector, bool vm86)
{
    s->selector = selector;
    s->base = (uint64_t)selector << 4;
    if (vm86) { /* vol. 3, 20.2.1: DPL 3, 64 KB, writable */
        s->limit = 0xffff;
        s->attr = SEG_P | 3 << 5 | SEG_S | 3;
    } else if (!(s->attr & SEG_P)) { /* was null in protected mode; else limit and rights stay (vol. 3, 9.9.2) */
        s->limit = 0xffff;
        s->attr = SEG_P | SEG_S | 3;
    }
}

void x86_set_base(struct x86 *x, enum x86_seg seg, uint64_t base)
{
    x->seg[seg].base = base;
    x->cpu.reg[X86_BASE_ES + seg] = x->mode & MODE_64 && seg < SEG_FS ? 0 : base;
}

/* ---- MOV Sreg, POP Sreg, LDS..: vol. 2, MOV ----------------------------------------------------------------- */

static void load_null(struct x86 *x, enum x86_seg seg, uint16_t selector)
{
    unsigned cpl = x86_cpl(x);
    if (seg == SEG_SS) {
        if (!(x->mode & MODE_64) || cpl == 3 || (selector & 3) != cpl)
            x86_raise_error(x, EX_GP, 0);
        x->seg[seg] = (struct x86_segment){.selector = selector, .attr = (uint16_t)(cpl << 5)};
    } else {
        x->seg[seg] = (struct x86_segment){.selector = selector};
    }
    x86_mode_update(x);
}

void x86_seg_load(struct x86 *x, enum x86_seg seg, uint16_t selector)
{
    if (!x86_protected(x)) {
        x86_seg_8086(&x->seg[seg], selector, x86_vm86(x));
        x86_mode_update(x);
        return;
    }
    if (!(selector & 0xfffc)) {
        load_null(x, seg, selector);
        return;
    }
    unsigned cpl = x86_cpl(x), rpl = selector & 3, error = selector & 0xfffc;
    struct x86_descriptor d;
    if (!x86_desc_read(x, selector, &d))
        x86_raise_error(x, EX_GP, error);
    uint16_t attr = x86_desc_attr(&d);
    if (seg == SEG_SS) {
        if (rpl != cpl || !seg_is_writable(attr) || seg_dpl(attr) != cpl)
            x86_raise_error(x, EX_GP, error);
    } else {
        if (!seg_is_readable(attr))
            x86_raise_error(x, EX_GP, error);
        if (!seg_is_conforming(attr) && (rpl > seg_dpl(attr) || cpl > seg_dpl(attr)))
            x86_raise_error(x, EX_GP, error);
    }
    if (!(attr & SEG_P))
        x86_raise_error(x, seg == SEG_SS ? EX_SS : EX_NP, error);
    x86_desc_accessed(x, &d);
    x->seg[seg] = x86_desc_segment(&d, selector);
    x86_mode_update(x);
}

uint64_t help_load_seg(struct x86 *x, uint64_t seg, uint64_t selector, uint64_t c)
{
    (void)c;
    if (seg == SEG_CS || seg >= SEG_COUNT)
        x86_raise(x, EX_UD);
    x86_seg_load(x, (enum x86_seg)seg, (uint16_t)selector);
    return 0;
}

/* ---- checks of accesses outside flat modes: vol. 3, 5.3 and 5.5 ---------------------------------------------- */

uint64_t help_seg_linear(struct x86 *x, uint64_t offset, uint64_t seg, uint64_t c)
{
    const struct x86_segment *s = &x->seg[seg];
    unsigned n = c & (SEG_WRITES - 1);
    if (x->mode & MODE_64)
        return x->cpu.reg[X86_BASE_ES + seg] + offset;
    bool ok = true;
    if (x86_protected(x)) {
        ok = s->attr & SEG_P && (c & SEG_WRITES ? seg_is_writable(s->attr) : seg_is_readable(s->attr));
        ok = ok && x86_seg_within(s, (uint32_t)offset, n);
    } else { /* CS may be written there: types do not count, limits do */
        ok = (uint32_t)offset + (uint64_t)n - 1 <= s->limit;
    }
    if (!ok)
        x86_raise_error(x, seg == SEG_SS ? EX_SS : EX_GP, 0);
    return (uint32_t)(s->base + offset);
}

uint64_t help_cs_check(struct x86 *x, uint64_t offset, uint64_t bytes, uint64_t raise)
{
    uint64_t pc = x->cpu.reg[IR_PCB] + offset;
    uint32_t eip = (uint32_t)(pc - x->seg[SEG_CS].base);
    if (x->mode & MODE_64 || eip + bytes - 1 <= x->seg[SEG_CS].limit)
        return 0;
    if (raise)
        x86_raise_error(x, EX_GP, 0);
    x->cpu.one_insn = 1;
    x->cpu.pc = (uint32_t)pc;
    x86_leave(x, LEAVE_AGAIN);
}

uint64_t help_jump_check(struct x86 *x, uint64_t ip, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    if (x->mode & MODE_64 ? !x86_canonical(x, ip) : (uint32_t)ip > x->seg[SEG_CS].limit)
        x86_raise_error(x, EX_GP, 0);
    return 0;
}

/* ---- LDTR, TR, GDTR, IDTR ------------------------------------------------------------------------------------ */

/* A system descriptor for LLDT or LTR, wholly read; faults. */
static struct x86_segment system_segment(struct x86 *x, uint16_t selector, unsigned want, struct x86_descriptor *d)
{
    uint32_t error = selector & 0xfffc;
    if (selector & 4 || !x86_desc_read(x, selector, d))
        x86_raise_error(x, EX_GP, error);
    uint16_t attr = x86_desc_attr(d);
    unsigned type = seg_type(attr);
    bool tss = type == SYS_TSS32 || (type == SYS_TSS16 && !x86_long_mode(x));
    if (attr & SEG_S || !(want == SYS_LDT ? type == SYS_LDT : tss))
        x86_raise_error(x, EX_GP, error);
    if (!(attr & SEG_P))
        x86_raise_error(x, EX_NP, error);
    if (x86_long_mode(x) && !x86_desc_read_high(x, d))
        x86_raise_error(x, EX_GP, error);
    struct x86_segment s = x86_desc_segment(d, selector);
    if (!x86_canonical(x, s.base))
        x86_raise_error(x, EX_GP, error);
    return s;
}

uint64_t help_lldt(struct x86 *x, uint64_t selector, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    x86_need_cpl0(x);
    struct x86_descriptor d;
    struct x86_segment s = {.selector = (uint16_t)selector};
    if (selector & 0xfffc)
        s = system_segment(x, (uint16_t)selector, SYS_LDT, &d);
    x->ldtr = s;
    return 0;
}

uint64_t help_ltr(struct x86 *x, uint64_t selector, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    x86_need_cpl0(x);
    if (!(selector & 0xfffc))
        x86_raise_error(x, EX_GP, 0);
    struct x86_descriptor d;
    struct x86_segment s = system_segment(x, (uint16_t)selector, SYS_TSS32, &d);
    s.attr |= 2; /* busy */
    x86_store_system(x, d.at + 5, s.attr & 0xff, 1);
    x->tr = s;
    return 0;
}

static void check_umip(struct x86 *x)
{
    if (x->cr4 & CR4_UMIP && x86_cpl(x) > 0)
        x86_raise_error(x, EX_GP, 0);
}

uint64_t help_sldt(struct x86 *x, uint64_t a, uint64_t tr, uint64_t c)
{
    (void)a, (void)c;
    check_umip(x);
    return tr ? x->tr.selector : x->ldtr.selector;
}

uint64_t help_lgdt(struct x86 *x, uint64_t gva, uint64_t osize, uint64_t idt)
{
    x86_need_cpl0(x);
    unsigned bytes = x->mode & MODE_64 ? 8 : 4;
    uint64_t limit = x86_load(x, gva, 2, SEG_DS), base = x86_load(x, gva + 2, bytes, SEG_DS);
    if (bytes == 4 && osize == 2)
        base &= 0xffffff;
    if (!x86_canonical(x, base))
        x86_raise_error(x, EX_GP, 0);
    if (idt) {
        x->idtr.base = base;
        x->idtr.limit = (uint16_t)limit;
    } else {
        x->gdtr.base = base;
        x->gdtr.limit = (uint16_t)limit;
    }
    return 0;
}

uint64_t help_sgdt(struct x86 *x, uint64_t gva, uint64_t b, uint64_t idt)
{
    (void)b;
    check_umip(x);
    unsigned bytes = x->mode & MODE_64 ? 8 : 4;
    uint8_t image[10];
    bytes_put(image, idt ? x->idtr.limit : x->gdtr.limit, 2);
    bytes_put(image + 2, idt ? x->idtr.base : x->gdtr.base, 8);
    x86_write_bytes(x, gva, image, 2 + bytes, (unsigned)SEG_DS << MD_TAG_SHIFT);
    return 0;
}

/* ---- asking about descriptors: LAR, LSL, VERR, VERW, ARPL (vol. 2) -------------------------------------------- */

/* The descriptor, if the selector may be asked about at all: inside its table, visible at CPL and RPL. */
static bool visible(struct x86 *x, uint16_t selector, struct x86_descriptor *d)
{
    if (!(selector & 0xfffc) || !x86_desc_read(x, selector, d))
        return false;
    uint16_t attr = x86_desc_attr(d);
    return seg_is_conforming(attr) || (x86_cpl(x) <= seg_dpl(attr) && (selector & 3u) <= seg_dpl(attr));
}

static bool system_type_in(const struct x86 *x, uint16_t attr, unsigned legacy, unsigned longmode)
{
    return attr & SEG_S || (x86_long_mode(x) ? longmode : legacy) >> seg_type(attr) & 1;
}

uint64_t help_lar(struct x86 *x, uint64_t selector, uint64_t old, uint64_t osize)
{
    enum {
        LEGACY = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 11 | 1 << 12,
        LONGMODE = 1 << 2 | 1 << 9 | 1 << 11 | 1 << 12
    };
    struct x86_descriptor d;
    bool ok = visible(x, (uint16_t)selector, &d) && system_type_in(x, x86_desc_attr(&d), LEGACY, LONGMODE);
    x86_set_zf(x, ok);
    if (!ok)
        return old;
    return d.low >> 32 & (osize == 2 ? 0xff00 : 0xf0ff00);
}

uint64_t help_lsl(struct x86 *x, uint64_t selector, uint64_t old, uint64_t osize)
{
    enum { LEGACY = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11, LONGMODE = 1 << 2 | 1 << 9 | 1 << 11 };
    struct x86_descriptor d;
    bool ok = visible(x, (uint16_t)selector, &d) && system_type_in(x, x86_desc_attr(&d), LEGACY, LONGMODE);
    x86_set_zf(x, ok);
    if (!ok)
        return old;
    return x86_desc_segment(&d, 0).limit & (osize == 2 ? 0xffff : 0xffffffff);
}

uint64_t help_verr(struct x86 *x, uint64_t selector, uint64_t write, uint64_t c)
{
    (void)c;
    struct x86_descriptor d;
    bool ok = visible(x, (uint16_t)selector, &d);
    if (ok)
        ok = write ? seg_is_writable(x86_desc_attr(&d)) : seg_is_readable(x86_desc_attr(&d));
    x86_set_zf(x, ok);
    return 0;
}

uint64_t help_arpl(struct x86 *x, uint64_t a, uint64_t b, uint64_t c)
{
    (void)c;
    bool less = (a & 3) < (b & 3);
    x86_set_zf(x, less);
    return less ? (a & ~3ull) | (b & 3) : a;
}
