/* guest/x86/task.c: hardware task switches, 16- and 32-bit (Intel SDM vol. 3, chapter 7).  Never in long mode.
 *
 * Two halves.  Up to the point of no return everything is read, checked and saved in the old task's name; a fault
 * there belongs to the old task and the insn can be run again.  Then the registers change, and what fails while the
 * new task's segments are loaded belongs to the new task, at its first insn (vol. 3, 7.3).
 *
 *      32-bit TSS   0 link | 28 CR3 | 32 EIP | 36 EFLAGS | 40 EAX..EDI | 72 ES CS SS DS FS GS | 96 LDT | 100 T, I/O map
 *      16-bit TSS   0 link |        | 14 IP  | 16 FLAGS  | 18 AX..DI   | 34 ES CS SS DS       | 42 LDT
 *
 * Rules to know before editing
 *   - Saving the old state twice (because a later access faulted) is harmless: it is the same state.
 *   - Between the halves each segment register holds a selector without a descriptor; SS's attr carries the new CPL
 *     already.
 */
#include "guest/x86/run_int.h"

#include <string.h>

struct layout {
    uint8_t width, ip, flags, regs, segs, nsegs, ldt, size;
};
static const struct layout layouts[2] = {
    {2, 14, 16, 18, 34, 4, 42, 44},
    {4, 32, 36, 40, 72, 6, 96, 104},
};

static const struct layout *layout_of(uint16_t attr)
{
    return &layouts[seg_type(attr) >> 3 & 1];
}

static void tss_read(struct x86 *x, uint64_t base, uint8_t *to, unsigned n)
{
    for (unsigned at = 0; at < n; at += 4)
        bytes_put(to + at, x86_load_system(x, (uint32_t)(base + at), 4), 4);
}

/* Registers into the old TSS, from its IP field on. */
static void state_save(struct x86 *x, enum x86_task_reason why, uint64_t next_rip)
{
    const struct layout *l = layout_of(x->tr.attr);
    uint64_t flags = x86_rflags(x);
    if (why == TASK_IRET)
        flags &= ~(uint64_t)FL_NT;
    uint64_t at = x->tr.base;
    x86_store_system(x, (uint32_t)(at + l->ip), next_rip, l->width);
    x86_store_system(x, (uint32_t)(at + l->flags), flags, l->width);
    for (unsigned n = 0; n < 8; n++)
        x86_store_system(x, (uint32_t)(at + l->regs + n * l->width), x->cpu.reg[n], l->width);
    for (unsigned n = 0; n < l->nsegs; n++)
        x86_store_system(x, (uint32_t)(at + l->segs + n * l->width), x->seg[n].selector, 2);
}

/* ---- the second half ------------------------------------------------------------------------------------------ */

static void ldt_load(struct x86 *x, uint16_t selector, uint32_t ext)
{
    struct x86_descriptor d;
    x->ldtr = (struct x86_segment){.selector = selector};
    if (!(selector & 0xfffc))
        return;
    if (selector & 4 || !x86_desc_read(x, selector, &d))
        x86_raise_error(x, EX_TS, (selector & 0xfffcu) | ext);
    uint16_t attr = x86_desc_attr(&d);
    if (attr & SEG_S || seg_type(attr) != SYS_LDT || !(attr & SEG_P))
        x86_raise_error(x, EX_TS, (selector & 0xfffcu) | ext);
    x->ldtr = x86_desc_segment(&d, selector);
}

/* Vol. 3, table 7-1: the checks of a segment register in the new task. */
static void seg_load(struct x86 *x, unsigned seg, unsigned cpl, uint32_t ext)
{
    uint16_t selector = x->seg[seg].selector;
    unsigned rpl = selector & 3, error = (selector & 0xfffcu) | ext;
    struct x86_descriptor d;
    if (!(selector & 0xfffc)) {
        if (seg == SEG_CS || seg == SEG_SS)
            x86_raise_error(x, EX_TS, ext);
        return;
    }
    if (!x86_desc_read(x, selector, &d))
        x86_raise_error(x, EX_TS, error);
    uint16_t attr = x86_desc_attr(&d);
    unsigned dpl = seg_dpl(attr);
    bool ok;
    if (seg == SEG_CS)
        ok = seg_is_code(attr) && (seg_is_conforming(attr) ? dpl <= rpl : dpl == rpl);
    else if (seg == SEG_SS)
        ok = seg_is_writable(attr) && dpl == cpl && rpl == cpl;
    else
        ok = seg_is_readable(attr) && (seg_is_conforming(attr) || (dpl >= cpl && dpl >= rpl));
    if (!ok)
        x86_raise_error(x, EX_TS, error);
    if (!(attr & SEG_P))
        x86_raise_error(x, seg == SEG_SS ? EX_SS : EX_NP, error);
    x86_desc_accessed(x, &d);
    x->seg[seg] = x86_desc_segment(&d, selector);
}

/* From here on faults are the new task's, at eip. */
static void stand_at(struct x86 *x, uint64_t eip)
{
    x86_mode_update(x);
    x->cpu.pc = x86_pc(x, eip);
    x->cpu.reg[IR_PCB] = x->cpu.pc & ~0xfffull;
    x->cpu.insn_off = x->cpu.pc & 0xfff;
}

static void registers_load(struct x86 *x, const struct layout *l, const uint8_t *tss, uint64_t flags)
{
    for (unsigned n = 0; n < 8; n++) {
        uint64_t v = bytes_get(tss + l->regs + n * l->width, l->width);
        x->cpu.reg[n] = l->width == 4 ? v : (x->cpu.reg[n] & 0xffff0000) | v;
    }
    x86_set_rflags(x, flags & 0x3f7fd5);
    unsigned cpl = flags & FL_VM ? 3 : bytes_get(tss + l->segs + SEG_CS * l->width, 2) & 3;
    for (unsigned n = 0; n < SEG_COUNT; n++) {
        uint16_t selector = n < l->nsegs ? (uint16_t)bytes_get(tss + l->segs + n * l->width, 2) : 0;
        x->seg[n] = (struct x86_segment){.selector = selector};
        if (flags & FL_VM)
            x86_seg_8086(&x->seg[n], selector, true);
    }
    if (flags & FL_VM)
        return;
    x->seg[SEG_SS].attr = (uint16_t)(cpl << 5);
    x->seg[SEG_CS].attr = (uint16_t)(SEG_P | SEG_S | 8 | 2 | cpl << 5 | (l->width == 4 ? SEG_DB : 0));
    x->seg[SEG_CS].limit = 0xffffffff;
}

static void segments_load(struct x86 *x, uint64_t eip, uint32_t ext)
{
    static const uint8_t order[] = {SEG_CS, SEG_SS, SEG_DS, SEG_ES, SEG_FS, SEG_GS};
    unsigned cpl = x86_cpl(x);
    for (unsigned n = 0; n < ARRAY_LEN(order); n++) {
        seg_load(x, order[n], cpl, ext);
        stand_at(x, eip);
    }
}

void x86_task_switch(struct x86 *x, const struct x86_descriptor *d, enum x86_task_reason why, uint64_t next_rip,
                     uint32_t ext)
{
    struct x86_segment new = x86_desc_segment(d, d->selector);
    const struct layout *l = layout_of(new.attr);
    bool nested = why == TASK_CALL || why == TASK_GATE;
    uint8_t tss[104];
    if (new.limit < l->size - 1u)
        x86_raise_error(x, EX_TS, (d->selector & 0xfffcu) | ext);
    tss_read(x, new.base, tss, l->size);
    state_save(x, why, next_rip);
    if (nested)
        x86_store_system(x, (uint32_t) new.base, x->tr.selector, 2);
    else
        x86_store_system(x, (uint32_t)(x->gdtr.base + (x->tr.selector & 0xfff8u) + 5), x->tr.attr & 0xfd, 1);
    new.attr |= 2; /* busy */
    x86_store_system(x, d->at + 5, new.attr & 0xff, 1);

    uint64_t eip = bytes_get(tss + l->ip, l->width), flags = bytes_get(tss + l->flags, l->width);
    if (nested)
        flags |= FL_NT;
    x->tr = new;
    x->cr0 |= CR0_TS;
    x->dr[7] &= ~0x155ull; /* local breakpoints: vol. 3, 17.2.4 */
    registers_load(x, l, tss, flags);
    x->step_tf = x->step_rf = false;
    stand_at(x, eip);
    if (l->width == 4 && x->cr0 & CR0_PG)
        x86_write_cr3(x, bytes_get(tss + 28, 4));
    ldt_load(x, (uint16_t)bytes_get(tss + l->ldt, 2), ext);
    if (!(flags & FL_VM))
        segments_load(x, eip, ext);
    if (eip > x->seg[SEG_CS].limit)
        x86_raise_error(x, EX_GP, ext);
    if (l->width == 4 && tss[100] & 1)
        x->pending_db |= 1 << 15; /* T: BT in DR6 */
    x86_mode_update(x);
    x86_check_kick(x);
}

void x86_task_gate(struct x86 *x, uint16_t selector, enum x86_task_reason why, uint64_t next_rip, uint32_t ext)
{
    uint32_t error = (selector & 0xfffcu) | ext;
    struct x86_descriptor d;
    if (selector & 4 || !x86_desc_read(x, selector, &d))
        x86_raise_error(x, EX_GP, error);
    uint16_t attr = x86_desc_attr(&d);
    if (attr & SEG_S || (seg_type(attr) != SYS_TSS16 && seg_type(attr) != SYS_TSS32))
        x86_raise_error(x, EX_GP, error);
    if (!(attr & SEG_P))
        x86_raise_error(x, EX_NP, error);
    x86_task_switch(x, &d, why, next_rip, ext);
}
