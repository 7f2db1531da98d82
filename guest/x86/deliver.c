/* guest/x86/deliver.c: through the IDT to a handler, INT n, and back with IRET (Intel SDM vol. 3, chapter 6 and 20;
 * vol. 2, INT n, IRET).
 *
 *      real mode          IVT entry, 4 bytes          FLAGS CS IP                    on the same stack
 *      protected mode     gate, 8 bytes               [SS ESP] EFLAGS CS EIP [error] 16- or 32-bit by the gate
 *      virtual-8086       gate to ring 0              GS FS DS ES SS ESP EFLAGS CS EIP [error]
 *      long mode          gate, 16 bytes, IST         SS RSP RFLAGS CS RIP [error]   always, stack aligned to 16
 *
 * Rules to know before editing
 *   - Push everything, then change registers: any push may fault, and the event is then delivered again from
 *     unchanged state.
 *   - Order of changes: SS (it carries CPL), RSP, flags, then x86_enter_cs, which recomputes the mode.
 *   - Error codes on the way carry the event's EXT bit; that of the IDT entry itself is vector * 8 + 2.
 */
#include "guest/x86/run_int.h"

static uint32_t idt_error(const struct x86_event *e)
{
    return e->vector * 8u + 2 + e->ext;
}

static void clear_flags(struct x86 *x, uint32_t flags)
{
    x->flags &= ~flags;
}

/* ---- real mode, and virtual-8086 mode's own handlers ---------------------------------------------------------- */

static void enter_8086(struct x86 *x, uint64_t ivt, uint8_t vector, uint64_t rip, uint64_t flags)
{
    uint64_t entry = x86_load(x, ivt + vector * 4u, 4, SEG_NONE);
    struct x86_stack s;
    x86_stack_current(x, &s);
    x86_push(x, &s, flags, 2);
    x86_push(x, &s, x->seg[SEG_CS].selector, 2);
    x86_push(x, &s, rip, 2);
    x86_stack_commit(x, &s);
    struct x86_segment cs = x->seg[SEG_CS];
    x86_seg_8086(&cs, (uint16_t)(entry >> 16), x86_vm86(x));
    clear_flags(x, FL_TF | FL_RF | FL_AC);
    x86_enter_cs(x, &cs, entry & 0xffff);
}

static void deliver_real(struct x86 *x, const struct x86_event *e)
{
    if (e->vector * 4u + 3 > x->idtr.limit)
        x86_raise_error(x, EX_GP, idt_error(e));
    enter_8086(x, x->idtr.base, e->vector, e->rip, e->flags);
    clear_flags(x, FL_IF);
}

/* INT n in a virtual-8086 task that handles it itself (vol. 3, 20.3.3, table 20-2). */
void x86_deliver_8086(struct x86 *x, uint8_t vector, uint64_t rip, uint64_t flags)
{
    bool own_if = x86_iopl(x) == 3;
    if (!own_if)
        flags = (flags & ~(uint64_t)FL_IF) | FL_IOPL | (x->flags & FL_VIF ? FL_IF : 0);
    enter_8086(x, 0, vector, rip, flags);
    clear_flags(x, own_if ? FL_IF : FL_VIF);
}

/* ---- protected mode ------------------------------------------------------------------------------------------- */

/* The code segment a gate leads to; conforming or not, DPL <= CPL. */
static struct x86_segment gate_code(struct x86 *x, uint16_t selector, uint32_t ext)
{
    uint32_t error = (selector & 0xfffcu) | ext;
    struct x86_descriptor d;
    if (!(selector & 0xfffc))
        x86_raise_error(x, EX_GP, ext);
    if (!x86_desc_read(x, selector, &d))
        x86_raise_error(x, EX_GP, error);
    uint16_t attr = x86_desc_attr(&d);
    if (!seg_is_code(attr) || seg_dpl(attr) > x86_cpl(x))
        x86_raise_error(x, EX_GP, error);
    if (x86_long_mode(x) && (attr & (SEG_L | SEG_DB)) != SEG_L)
        x86_raise_error(x, EX_GP, error);
    if (!(attr & SEG_P))
        x86_raise_error(x, EX_NP, error);
    x86_desc_accessed(x, &d);
    return x86_desc_segment(&d, selector);
}

static void push_8086_segments(struct x86 *x, struct x86_stack *s, unsigned bytes)
{
    x86_push(x, s, x->seg[SEG_GS].selector, bytes);
    x86_push(x, s, x->seg[SEG_FS].selector, bytes);
    x86_push(x, s, x->seg[SEG_DS].selector, bytes);
    x86_push(x, s, x->seg[SEG_ES].selector, bytes);
}

static void deliver_gate(struct x86 *x, const struct x86_event *e, uint64_t gate, bool is32, bool is_trap)
{
    struct x86_segment cs = gate_code(x, (uint16_t)(gate >> 16), e->ext);
    uint32_t error = (cs.selector & 0xfffcu) | e->ext;
    uint64_t eip = (gate & 0xffff) | (is32 ? gate >> 32 & 0xffff0000 : 0);
    unsigned cpl = x86_cpl(x), bytes = is32 ? 4 : 2;
    bool inner = !seg_is_conforming(cs.attr) && seg_dpl(cs.attr) < cpl, vm86 = x86_vm86(x);
    if (vm86 && (!inner || seg_dpl(cs.attr) != 0))
        x86_raise_error(x, EX_GP, error);
    struct x86_stack s;
    if (inner) {
        cpl = seg_dpl(cs.attr);
        x86_inner_stack(x, cpl, 0, e->ext, &s);
        if (vm86)
            push_8086_segments(x, &s, bytes);
        x86_push(x, &s, x->seg[SEG_SS].selector, bytes);
        x86_push(x, &s, x->cpu.reg[X86_RSP], bytes);
    } else {
        x86_stack_current(x, &s);
        s.error = e->ext;
    }
    x86_push(x, &s, e->flags, bytes);
    x86_push(x, &s, x->seg[SEG_CS].selector, bytes);
    x86_push(x, &s, e->rip, bytes);
    if (e->has_error)
        x86_push(x, &s, e->error, bytes);
    if (eip > cs.limit)
        x86_raise_error(x, EX_GP, e->ext);

    if (vm86)
        x->seg[SEG_GS] = x->seg[SEG_FS] = x->seg[SEG_DS] = x->seg[SEG_ES] = (struct x86_segment){0};
    x->seg[SEG_SS] = s.ss;
    x86_stack_commit(x, &s);
    clear_flags(x, FL_TF | FL_NT | FL_RF | FL_VM | (is_trap ? 0 : FL_IF));
    cs.selector = (uint16_t)((cs.selector & ~3u) | cpl);
    x86_enter_cs(x, &cs, eip);
}

static void deliver_task(struct x86 *x, const struct x86_event *e, uint64_t gate)
{
    x86_task_gate(x, (uint16_t)(gate >> 16), TASK_GATE, e->rip, e->ext);
    if (!e->has_error)
        return;
    struct x86_stack s; /* on the new task's stack; what fails now fails in the new task */
    x86_stack_current(x, &s);
    s.error = e->ext;
    x86_push(x, &s, e->error, seg_type(x->tr.attr) & 8 ? 4 : 2);
    x86_stack_commit(x, &s);
}

static void deliver_protected(struct x86 *x, const struct x86_event *e)
{
    if (e->vector * 8u + 7 > x->idtr.limit)
        x86_raise_error(x, EX_GP, idt_error(e));
    uint64_t gate = x86_load_system(x, (uint32_t)(x->idtr.base + e->vector * 8u), 8);
    unsigned type = gate >> 40 & 31;
    if (type != SYS_TASK && type != SYS_INT16 && type != SYS_TRAP16 && type != SYS_INT32 && type != SYS_TRAP32)
        x86_raise_error(x, EX_GP, idt_error(e));
    if (e->soft && (gate >> 45 & 3) < x86_cpl(x))
        x86_raise_error(x, EX_GP, idt_error(e));
    if (!(gate >> 47 & 1))
        x86_raise_error(x, EX_NP, idt_error(e));
    if (type == SYS_TASK)
        deliver_task(x, e, gate);
    else
        deliver_gate(x, e, gate, type & 8, type & 1);
}

/* ---- long mode: vol. 3, 6.14 ---------------------------------------------------------------------------------- */

static void deliver_long(struct x86 *x, const struct x86_event *e)
{
    uint64_t gate[2];
    if (e->vector * 16u + 15 > x->idtr.limit)
        x86_raise_error(x, EX_GP, idt_error(e));
    x86_read_bytes(x, x->idtr.base + e->vector * 16u, gate, 16, MD_SYSTEM | (unsigned)SEG_NONE << MD_TAG_SHIFT);
    unsigned type = gate[0] >> 40 & 31, ist = gate[0] >> 32 & 7;
    if ((type != SYS_INT32 && type != SYS_TRAP32) || (e->soft && (gate[0] >> 45 & 3) < x86_cpl(x)))
        x86_raise_error(x, EX_GP, idt_error(e));
    if (!(gate[0] >> 47 & 1))
        x86_raise_error(x, EX_NP, idt_error(e));
    struct x86_segment cs = gate_code(x, (uint16_t)(gate[0] >> 16), e->ext);
    uint64_t rip = (gate[0] & 0xffff) | (gate[0] >> 32 & 0xffff0000) | gate[1] << 32;
    if (!x86_canonical(x, rip))
        x86_raise_error(x, EX_GP, e->ext);
    unsigned cpl = x86_cpl(x);
    bool inner = !seg_is_conforming(cs.attr) && seg_dpl(cs.attr) < cpl;
    struct x86_stack s = {
        .ss = x->seg[SEG_SS], .sp = x->cpu.reg[X86_RSP], .mask = ~0ull, .flat = true, .error = e->ext};
    if (inner)
        cpl = seg_dpl(cs.attr);
    if (inner || ist)
        x86_inner_stack(x, cpl, ist, e->ext, &s);
    if (!inner)
        s.ss = x->seg[SEG_SS];

    uint64_t frame[6] = {
        e->error, e->rip, x->seg[SEG_CS].selector, e->flags, x->cpu.reg[X86_RSP], x->seg[SEG_SS].selector};
    unsigned skip = e->has_error ? 0 : 1, n = (6 - skip) * 8;
    s.sp = (s.sp & ~15ull) - n;
    if (!x86_canonical(x, s.sp) || !x86_canonical(x, s.sp + n - 1))
        x86_raise_error(x, EX_SS, e->ext);
    x86_write_bytes(x, s.sp, frame + skip, n, (cpl < 3 ? MD_SYSTEM : 0) | (unsigned)SEG_SS << MD_TAG_SHIFT);

    x->seg[SEG_SS] = s.ss;
    x->cpu.reg[X86_RSP] = s.sp;
    clear_flags(x, FL_TF | FL_NT | FL_RF | FL_VM | (type == SYS_INT32 ? FL_IF : 0));
    cs.selector = (uint16_t)((cs.selector & ~3u) | cpl);
    x86_enter_cs(x, &cs, rip);
}

void x86_deliver(struct x86 *x, const struct x86_event *e)
{
    if (x86_long_mode(x))
        deliver_long(x, e);
    else if (x->cr0 & CR0_PE)
        deliver_protected(x, e);
    else
        deliver_real(x, e);
}

/* ---- INT n, INT3, INTO, INT1: vol. 2 -------------------------------------------------------------------------- */

enum { INT_N, INT_3, INT_O, INT_1 };

/* Bit `vector` of the current TSS's interrupt redirection map (vol. 3, 20.3.3): true: the monitor takes it. */
static bool redirected_to_monitor(struct x86 *x, uint8_t vector)
{
    if (x->tr.limit < 103)
        return true;
    uint64_t map = x86_load_system(x, x->tr.base + 102, 2);
    uint64_t at = map - 32 + vector / 8;
    if (map < 32 || at > x->tr.limit)
        return true;
    return x86_load_system(x, x->tr.base + at, 1) >> (vector & 7) & 1;
}

uint64_t help_int(struct x86 *x, uint64_t vector, uint64_t length, uint64_t kind)
{
    uint64_t rip = x86_rip(x, cpu_insn_pc(&x->cpu) + length), flags = x86_rflags(x) & ~(uint64_t)FL_RF;
    if (x86_vm86(x) && kind == INT_N) {
        if (x->cr4 & CR4_VME && !redirected_to_monitor(x, (uint8_t)vector)) {
            x86_deliver_8086(x, (uint8_t)vector, rip, flags);
            return 0;
        }
        if (x86_iopl(x) < 3)
            x86_raise_error(x, EX_GP, 0);
    }
    struct x86_event e = {
        .vector = (uint8_t)vector,
        .soft = kind != INT_1,
        .ext = kind == INT_1,
        .rip = rip,
        .flags = flags,
    };
    if (log_on(x->log, LOG_INT))
        log_print(x->log, "cpu %u: int %02x at %04x:%016llx\n", x->index, e.vector, x->seg[SEG_CS].selector,
                  (unsigned long long)rip);
    uint64_t held_back = kind == INT_1 ? x->pending_db : 0; /* by MOV SS: one #DB tells of both */
    x86_deliver(x, &e);
    if (held_back) {
        x86_debug_status(x, held_back);
        x->pending_db &= ~held_back;
    }
    x->step_tf = false; /* the trap comes after the handler's IRET (vol. 3, 17.3.1.4) */
    return 0;
}

/* ---- IRET ------------------------------------------------------------------------------------------------------- */

/* Put those bits of image into RFLAGS that IRET at this CPL and operand size may change. */
static void iret_flags(struct x86 *x, uint64_t image, unsigned cpl, unsigned osize)
{
    uint32_t mask = CPU_ARITH | FL_TF | FL_DF | FL_NT | FL_RF | FL_AC | FL_ID;
    if (cpl <= x86_iopl(x))
        mask |= FL_IF;
    if (cpl == 0)
        mask |= FL_IOPL | FL_VIF | FL_VIP;
    if (osize == 2)
        mask &= 0xffff;
    x86_set_rflags(x, (x86_rflags(x) & ~(uint64_t)mask) | (image & mask));
    x->step_rf = false;
}

static void iret_8086(struct x86 *x, unsigned osize)
{
    struct x86_stack s;
    if (x86_vm86(x) && x86_iopl(x) < 3 && (!(x->cr4 & CR4_VME) || osize != 2))
        x86_raise_error(x, EX_GP, 0);
    x86_stack_current(x, &s);
    uint64_t ip = x86_pop(x, &s, osize), cs = x86_pop(x, &s, osize), image = x86_pop(x, &s, osize);
    uint32_t mask = CPU_ARITH | FL_TF | FL_IF | FL_DF | FL_NT | FL_IOPL | FL_RF | FL_AC | FL_ID;
    if (ip > x->seg[SEG_CS].limit)
        x86_raise_error(x, EX_GP, 0);
    if (x86_vm86(x)) {
        mask &= ~(uint32_t)FL_IOPL;
        if (x86_iopl(x) < 3) { /* VME: VIF stands for IF (vol. 3, 20.3.2) */
            if (image & FL_TF || (image & FL_IF && x->flags & FL_VIP))
                x86_raise_error(x, EX_GP, 0);
            mask &= ~(uint32_t)(FL_IF);
            x->flags = image & FL_IF ? x->flags | FL_VIF : x->flags & ~(uint32_t)FL_VIF;
        }
    }
    if (osize == 2)
        mask &= 0xffff;
    x86_stack_commit(x, &s);
    x86_set_rflags(x, (x86_rflags(x) & ~(uint64_t)mask) | (image & mask));
    x->step_rf = false;
    struct x86_segment seg = x->seg[SEG_CS];
    x86_seg_8086(&seg, (uint16_t)cs, x86_vm86(x));
    x86_enter_cs(x, &seg, ip);
}

/* Back into virtual-8086 mode: six more doublewords on the stack. */
static void iret_to_8086(struct x86 *x, struct x86_stack *s, uint64_t eip, uint64_t cs, uint64_t image)
{
    static const uint8_t order[] = {SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    struct x86_segment seg[SEG_COUNT];
    uint64_t esp = x86_pop(x, s, 4);
    for (unsigned n = 0; n < ARRAY_LEN(order); n++)
        x86_seg_8086(&seg[order[n]], (uint16_t)x86_pop(x, s, 4), true);
    x86_seg_8086(&seg[SEG_CS], (uint16_t)cs, true);
    if (eip > 0xffff)
        x86_raise_error(x, EX_GP, 0);
    for (unsigned n = 0; n < SEG_COUNT; n++)
        x->seg[n] = seg[n];
    x->cpu.reg[X86_RSP] = (uint32_t)esp;
    x86_set_rflags(x, (uint32_t)image & 0x3f7fd5);
    x->step_rf = false;
    x86_enter_cs(x, &seg[SEG_CS], eip);
}

static void iret_task(struct x86 *x, uint64_t length)
{
    uint16_t selector = (uint16_t)x86_load_system(x, (uint32_t)x->tr.base, 2);
    uint32_t error = selector & 0xfffc;
    struct x86_descriptor d;
    if (selector & 4 || !x86_desc_read(x, selector, &d))
        x86_raise_error(x, EX_TS, error);
    uint16_t attr = x86_desc_attr(&d);
    if (attr & SEG_S || (seg_type(attr) != SYS_TSS16_BUSY && seg_type(attr) != SYS_TSS32_BUSY))
        x86_raise_error(x, EX_TS, error);
    if (!(attr & SEG_P))
        x86_raise_error(x, EX_NP, error);
    x86_task_switch(x, &d, TASK_IRET, x86_rip(x, cpu_insn_pc(&x->cpu) + length), 0);
}

static void iret_protected(struct x86 *x, unsigned osize)
{
    struct x86_stack s;
    x86_stack_current(x, &s);
    unsigned cpl = x86_cpl(x);
    uint64_t v[5];
    bool five = x->mode & MODE_64;
    if (five && osize == 8) {
        if (!x86_canonical(x, s.sp) || !x86_canonical(x, s.sp + 39))
            x86_raise_error(x, EX_SS, 0);
        x86_read_bytes(x, s.sp, v, 40, (unsigned)SEG_SS << MD_TAG_SHIFT);
    } else {
        for (unsigned n = 0; n < (five ? 5u : 3u); n++)
            v[n] = x86_pop(x, &s, osize);
    }
    if (!x86_long_mode(x) && osize == 4 && v[2] & FL_VM && cpl == 0) {
        iret_to_8086(x, &s, v[0], v[1], v[2]);
        return;
    }
    struct x86_segment cs = x86_return_code(x, (uint16_t)v[1]), ss = x->seg[SEG_SS];
    unsigned rpl = v[1] & 3;
    bool outer = rpl > cpl;
    if (outer && !five)
        for (unsigned n = 3; n < 5; n++)
            v[n] = x86_pop(x, &s, osize);
    if (outer || five) {
        ss = x86_return_stack(x, (uint16_t)v[4], rpl, cs.attr & SEG_L && x86_long_mode(x));
        s.sp = v[3];
        s.mask = cs.attr & SEG_L && x86_long_mode(x) ? ~0ull : ss.attr & SEG_DB ? 0xffffffffu : 0xffff;
    }
    x86_check_target(x, &cs, v[0]);

    x->seg[SEG_SS] = ss;
    x86_stack_commit(x, &s);
    iret_flags(x, v[2], cpl, osize);
    if (outer)
        x86_null_outer_segments(x, rpl);
    x86_enter_cs(x, &cs, v[0]);
}

uint64_t help_iret(struct x86 *x, uint64_t osize, uint64_t length, uint64_t c)
{
    (void)c;
    x86_nmi_count(x);
    x->nmi_blocked = false; /* even if it faults: vol. 3, 6.7.1 */
    if (!x86_protected(x)) {
        iret_8086(x, (unsigned)osize);
    } else if (x->flags & FL_NT) {
        if (x86_long_mode(x))
            x86_raise_error(x, EX_GP, 0);
        iret_task(x, length ? length : 1);
    } else {
        iret_protected(x, (unsigned)osize);
    }
    x86_check_kick(x);
    return 0;
}
