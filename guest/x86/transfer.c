/* guest/x86/transfer.c: far jumps, calls and returns, call gates, and what they share with interrupts (Intel SDM vol.
 * 3, 5.8; vol. 2, CALL, JMP, RET).
 *
 *      selector names      far JMP                      far CALL
 *      code segment        same CPL                     same CPL, CS and return address pushed
 *      call gate           target of DPL = CPL          also inward: stack from the TSS, parameters copied
 *      TSS, task gate      task switch (task.c)         nested task
 *
 * Rules to know before editing
 *   - Nothing is changed before the last check and the last push: see run_int.h.
 *   - In long mode only code segments and 64-bit call gates exist, and a gate's stack has a null SS.
 */
#include "guest/x86/run_int.h"
#include "guest/x86/sys.h"

/* ---- shared with delivery and IRET ---------------------------------------------------------------------------- */

void x86_enter_cs(struct x86 *x, const struct x86_segment *cs, uint64_t rip)
{
    x->seg[SEG_CS] = *cs;
    x86_mode_update(x);
    x->cpu.pc = x86_pc(x, rip);
}

void x86_null_outer_segments(struct x86 *x, unsigned new_cpl)
{
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    for (unsigned n = 0; n < ARRAY_LEN(data); n++) {
        struct x86_segment *s = &x->seg[data[n]];
        if (s->attr & SEG_S && !seg_is_conforming(s->attr) && seg_dpl(s->attr) < new_cpl)
            *s = (struct x86_segment){.base = s->base}; /* which 64-bit mode goes on using in FS and GS */
    }
}

/* SS of an inner level, named by the TSS: checked as vol. 3, 5.8.5 says. */
static struct x86_segment inner_ss(struct x86 *x, uint16_t selector, unsigned cpl, uint32_t ext)
{
    uint32_t error = (selector & 0xfffcu) | ext;
    struct x86_descriptor d;
    if (!(selector & 0xfffc))
        x86_raise_error(x, EX_TS, ext);
    if (!x86_desc_read(x, selector, &d))
        x86_raise_error(x, EX_TS, error);
    uint16_t attr = x86_desc_attr(&d);
    if ((selector & 3u) != cpl || seg_dpl(attr) != cpl || !seg_is_writable(attr))
        x86_raise_error(x, EX_TS, error);
    if (!(attr & SEG_P))
        x86_raise_error(x, EX_SS, error);
    x86_desc_accessed(x, &d);
    return x86_desc_segment(&d, selector);
}

void x86_inner_stack(struct x86 *x, unsigned cpl, unsigned ist, uint32_t ext, struct x86_stack *s)
{
    uint32_t tss_error = (x->tr.selector & 0xfffcu) | ext;
    *s = (struct x86_stack){.md = MD_SYSTEM, .error = ext};
    if (x86_long_mode(x)) { /* vol. 3, figure 7-11 */
        unsigned at = ist ? 36 + 8 * (ist - 1) : 4 + 8 * cpl;
        if (at + 7 > x->tr.limit)
            x86_raise_error(x, EX_TS, tss_error);
        s->sp = x86_load_system(x, x->tr.base + at, 8);
        s->mask = ~0ull;
        s->flat = true;
        s->ss = (struct x86_segment){.selector = (uint16_t)cpl, .attr = (uint16_t)(cpl << 5)};
        return;
    }
    bool is32 = seg_type(x->tr.attr) & 8;
    unsigned width = is32 ? 4 : 2, at = is32 ? 4 + 8 * cpl : 2 + 4 * cpl;
    if (at + width + 1 > x->tr.limit)
        x86_raise_error(x, EX_TS, tss_error);
    s->sp = x86_load_system(x, (uint32_t)(x->tr.base + at), width);
    s->ss = inner_ss(x, (uint16_t)x86_load_system(x, (uint32_t)(x->tr.base + at + width), 2), cpl, ext);
    s->mask = s->ss.attr & SEG_DB ? 0xffffffffu : 0xffff;
    s->error = (s->ss.selector & 0xfffcu) | ext;
}

struct x86_segment x86_return_code(struct x86 *x, uint16_t selector)
{
    uint32_t error = selector & 0xfffc;
    unsigned rpl = selector & 3;
    struct x86_descriptor d;
    if (!error || !x86_desc_read(x, selector, &d))
        x86_raise_error(x, EX_GP, error);
    uint16_t attr = x86_desc_attr(&d);
    if (!seg_is_code(attr) || rpl < x86_cpl(x))
        x86_raise_error(x, EX_GP, error);
    if (seg_is_conforming(attr) ? seg_dpl(attr) > rpl : seg_dpl(attr) != rpl)
        x86_raise_error(x, EX_GP, error);
    if (x86_long_mode(x) && attr & SEG_L && attr & SEG_DB)
        x86_raise_error(x, EX_GP, error);
    if (!(attr & SEG_P))
        x86_raise_error(x, EX_NP, error);
    x86_desc_accessed(x, &d);
    return x86_desc_segment(&d, selector);
}

struct x86_segment x86_return_stack(struct x86 *x, uint16_t selector, unsigned cpl, bool to64)
{
    uint32_t error = selector & 0xfffc;
    struct x86_descriptor d;
    if (!error && to64 && cpl != 3 && (selector & 3u) == cpl)
        return (struct x86_segment){.selector = selector, .attr = (uint16_t)(cpl << 5)};
    if (!error || !x86_desc_read(x, selector, &d))
        x86_raise_error(x, EX_GP, error);
    uint16_t attr = x86_desc_attr(&d);
    if ((selector & 3u) != cpl || !seg_is_writable(attr) || seg_dpl(attr) != cpl)
        x86_raise_error(x, EX_GP, error);
    if (!(attr & SEG_P))
        x86_raise_error(x, EX_SS, error);
    x86_desc_accessed(x, &d);
    return x86_desc_segment(&d, selector);
}

void x86_check_target(struct x86 *x, const struct x86_segment *cs, uint64_t rip)
{
    bool to64 = x86_long_mode(x) && cs->attr & SEG_L;
    if (to64 ? !x86_canonical(x, rip) : rip > cs->limit)
        x86_raise_error(x, EX_GP, 0);
}

/* ---- far JMP and CALL ------------------------------------------------------------------------------------------- */

struct far {
    uint16_t selector;
    uint64_t offset;
    unsigned osize; /* bytes */
    bool call;
    uint64_t next; /* return address */
};

static void far_8086(struct x86 *x, const struct far *f)
{
    if (f->offset > x->seg[SEG_CS].limit)
        x86_raise_error(x, EX_GP, 0);
    if (f->call) {
        struct x86_stack s;
        x86_stack_current(x, &s);
        x86_push(x, &s, x->seg[SEG_CS].selector, f->osize);
        x86_push(x, &s, f->next, f->osize);
        x86_stack_commit(x, &s);
    }
    struct x86_segment cs = x->seg[SEG_CS];
    x86_seg_8086(&cs, f->selector, x86_vm86(x));
    x86_enter_cs(x, &cs, f->offset);
}

/* Enter cs at the present CPL, with a return address on the stack for a call. */
static void far_same_level(struct x86 *x, const struct far *f, struct x86_segment *cs, uint64_t rip, unsigned bytes)
{
    struct x86_stack s;
    x86_stack_current(x, &s);
    if (f->call) {
        x86_push(x, &s, x->seg[SEG_CS].selector, bytes);
        x86_push(x, &s, f->next, bytes);
    }
    x86_check_target(x, cs, rip);
    if (f->call)
        x86_stack_commit(x, &s);
    cs->selector = (uint16_t)((cs->selector & ~3u) | x86_cpl(x));
    x86_enter_cs(x, cs, rip);
}

static void far_code(struct x86 *x, const struct far *f, struct x86_descriptor *d)
{
    uint32_t error = f->selector & 0xfffc;
    uint16_t attr = x86_desc_attr(d);
    unsigned cpl = x86_cpl(x);
    if (seg_is_conforming(attr) ? seg_dpl(attr) > cpl : (f->selector & 3u) > cpl || seg_dpl(attr) != cpl)
        x86_raise_error(x, EX_GP, error);
    if (x86_long_mode(x) && attr & SEG_L && attr & SEG_DB)
        x86_raise_error(x, EX_GP, error);
    if (!(attr & SEG_P))
        x86_raise_error(x, EX_NP, error);
    x86_desc_accessed(x, d);
    struct x86_segment cs = x86_desc_segment(d, f->selector);
    far_same_level(x, f, &cs, f->offset, f->osize);
}

/* Parameters of a call gate, copied from the caller's stack to the inner one. */
static void copy_parameters(struct x86 *x, struct x86_stack *to, unsigned count, unsigned bytes)
{
    uint64_t word[31];
    struct x86_stack from;
    x86_stack_current(x, &from);
    for (unsigned n = 0; n < count; n++)
        word[n] = x86_pop(x, &from, bytes);
    while (count--)
        x86_push(x, to, word[count], bytes);
}

static void gate_inward(struct x86 *x, const struct far *f, struct x86_segment *cs, uint64_t rip, unsigned count,
                        unsigned bytes)
{
    unsigned cpl = seg_dpl(cs->attr);
    struct x86_stack s;
    x86_inner_stack(x, cpl, 0, 0, &s);
    x86_push(x, &s, x->seg[SEG_SS].selector, bytes);
    x86_push(x, &s, x->cpu.reg[X86_RSP], bytes);
    copy_parameters(x, &s, count, bytes);
    x86_push(x, &s, x->seg[SEG_CS].selector, bytes);
    x86_push(x, &s, f->next, bytes);
    x86_check_target(x, cs, rip);
    x->seg[SEG_SS] = s.ss;
    x86_stack_commit(x, &s);
    cs->selector = (uint16_t)((cs->selector & ~3u) | cpl);
    x86_enter_cs(x, cs, rip);
}

/* Vol. 3, 5.8.3 and 5.8.4. */
static void far_gate(struct x86 *x, const struct far *f, struct x86_descriptor *gate)
{
    uint32_t error = f->selector & 0xfffc;
    uint16_t attr = x86_desc_attr(gate), selector = (uint16_t)(gate->low >> 16);
    unsigned cpl = x86_cpl(x), bytes = x86_long_mode(x) ? 8 : seg_type(attr) == SYS_CALL32 ? 4 : 2;
    if (seg_dpl(attr) < cpl || seg_dpl(attr) < (f->selector & 3u))
        x86_raise_error(x, EX_GP, error);
    if (bytes == 8 && !x86_desc_read_high(x, gate))
        x86_raise_error(x, EX_GP, error);
    if (!(attr & SEG_P))
        x86_raise_error(x, EX_NP, error);
    uint32_t code_error = selector & 0xfffc;
    struct x86_descriptor d;
    if (!code_error || !x86_desc_read(x, selector, &d))
        x86_raise_error(x, EX_GP, code_error);
    uint16_t code = x86_desc_attr(&d);
    if (!seg_is_code(code) || seg_dpl(code) > cpl || (bytes == 8 && (code & (SEG_L | SEG_DB)) != SEG_L))
        x86_raise_error(x, EX_GP, code_error);
    bool inward = !seg_is_conforming(code) && seg_dpl(code) < cpl;
    if (inward && !f->call)
        x86_raise_error(x, EX_GP, code_error);
    if (!(code & SEG_P))
        x86_raise_error(x, EX_NP, code_error);
    x86_desc_accessed(x, &d);
    struct x86_segment cs = x86_desc_segment(&d, selector);
    uint64_t rip = (gate->low & 0xffff) | (bytes > 2 ? gate->low >> 32 & 0xffff0000 : 0) | gate->high << 32;
    if (inward)
        gate_inward(x, f, &cs, rip, bytes == 8 ? 0 : gate->low >> 32 & 31, bytes);
    else
        far_same_level(x, f, &cs, rip, bytes);
}

static void far_task(struct x86 *x, const struct far *f, struct x86_descriptor *d)
{
    uint32_t error = f->selector & 0xfffc;
    uint16_t attr = x86_desc_attr(d);
    enum x86_task_reason why = f->call ? TASK_CALL : TASK_JMP;
    if (seg_dpl(attr) < x86_cpl(x) || seg_dpl(attr) < (f->selector & 3u))
        x86_raise_error(x, EX_GP, error);
    if (seg_type(attr) != SYS_TASK && f->selector & 4)
        x86_raise_error(x, EX_GP, error);
    if (!(attr & SEG_P))
        x86_raise_error(x, EX_NP, error);
    if (seg_type(attr) == SYS_TASK)
        x86_task_gate(x, (uint16_t)(d->low >> 16), why, f->next, 0);
    else
        x86_task_switch(x, d, why, f->next, 0);
}

static void far_transfer(struct x86 *x, const struct far *f)
{
    if (!x86_protected(x)) {
        far_8086(x, f);
        return;
    }
    uint32_t error = f->selector & 0xfffc;
    struct x86_descriptor d;
    if (!error || !x86_desc_read(x, f->selector, &d))
        x86_raise_error(x, EX_GP, error);
    uint16_t attr = x86_desc_attr(&d);
    unsigned type = attr & SEG_S ? 0 : seg_type(attr);
    bool legacy = !x86_long_mode(x);
    if (seg_is_code(attr))
        far_code(x, f, &d);
    else if (type == SYS_CALL32 || (legacy && type == SYS_CALL16))
        far_gate(x, f, &d);
    else if (legacy && (type == SYS_TASK || type == SYS_TSS16 || type == SYS_TSS32))
        far_task(x, f, &d);
    else
        x86_raise_error(x, EX_GP, error);
    x86_check_kick(x);
}

static void far_helper(struct x86 *x, uint64_t selector, uint64_t offset, uint64_t c, bool call)
{
    struct far f = {
        .selector = (uint16_t)selector,
        .osize = c & 0xff,
        .call = call,
        .next = x86_rip(x, cpu_insn_pc(&x->cpu) + (c >> 8)),
    };
    f.offset = offset & mask_bits(8 * f.osize);
    far_transfer(x, &f);
}

uint64_t help_jmp_far(struct x86 *x, uint64_t selector, uint64_t offset, uint64_t c)
{
    far_helper(x, selector, offset, c, false);
    return 0;
}

uint64_t help_call_far(struct x86 *x, uint64_t selector, uint64_t offset, uint64_t c)
{
    far_helper(x, selector, offset, c, true);
    return 0;
}

/* ---- far RET ------------------------------------------------------------------------------------------------------ */

static void release(struct x86_stack *s, uint64_t bytes)
{
    s->sp = (s->sp & ~s->mask) | ((s->sp + bytes) & s->mask);
}

uint64_t help_call_near(struct x86 *x, uint64_t target, uint64_t next, uint64_t c)
{
    (void)c;
    struct x86_stack s;
    x86_stack_current(x, &s);
    if (!x86_canonical(x, target)) { /* faults of the stack come first, but nothing is stored */
        x->access->write(&x->cpu, s.sp - 8, 8 | MD_WRITE | MD_PROBE | sys_tag(SEG_SS));
        x->cpu.pending = 0;
        x86_raise_error(x, EX_GP, 0);
    }
    x86_push(x, &s, next, 8);
    x86_stack_commit(x, &s);
    x->cpu.pc = target;
    return 0;
}

uint64_t help_ret_far(struct x86 *x, uint64_t osize, uint64_t bytes, uint64_t c)
{
    (void)c;
    struct x86_stack s;
    x86_stack_current(x, &s);
    uint64_t rip = x86_pop(x, &s, (unsigned)osize);
    uint16_t selector = (uint16_t)x86_pop(x, &s, (unsigned)osize);
    struct x86_segment cs = x->seg[SEG_CS], ss = x->seg[SEG_SS];
    if (!x86_protected(x)) {
        if (rip > cs.limit)
            x86_raise_error(x, EX_GP, 0);
        release(&s, bytes);
        x86_stack_commit(x, &s);
        x86_seg_8086(&cs, selector, x86_vm86(x));
        x86_enter_cs(x, &cs, rip);
        return 0;
    }
    cs = x86_return_code(x, selector);
    unsigned rpl = selector & 3;
    bool outer = rpl > x86_cpl(x), to64 = x86_long_mode(x) && cs.attr & SEG_L;
    release(&s, bytes);
    if (outer) {
        uint64_t sp = x86_pop(x, &s, (unsigned)osize);
        ss = x86_return_stack(x, (uint16_t)x86_pop(x, &s, (unsigned)osize), rpl, to64);
        s.sp = sp;
        s.mask = to64 ? ~0ull : ss.attr & SEG_DB ? 0xffffffffu : 0xffff;
        release(&s, bytes);
    }
    x86_check_target(x, &cs, rip);
    x->seg[SEG_SS] = ss;
    x86_stack_commit(x, &s);
    if (outer)
        x86_null_outer_segments(x, rpl);
    x86_enter_cs(x, &cs, rip);
    x86_check_kick(x);
    return 0;
}
