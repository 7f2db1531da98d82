/* guest/x86/syscall.c: SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS (Intel SDM vol. 2; vol. 3, 5.8.7 and 5.8.8).
 *
 * These read no descriptors: CS and SS take fixed attributes, only the selectors come from MSRs.  A kernel runs them
 * a million times a second, so nothing here touches memory.
 *
 * Vendors differ, and the model's is followed.  Intel: SYSCALL and SYSRET are #UD outside 64-bit mode; SYSRET to a
 * non-canonical RCX faults at CPL 0.  AMD (APM vol. 3): SYSCALL and SYSRET work in compatibility mode (by CSTAR) and
 * legacy protected mode (by STAR); SYSENTER and SYSEXIT are #UD in long mode; SYSRET to a non-canonical RCX faults when
 * the insn there is fetched, and SYSRET leaves SS's base, limit and attributes as they were.
 */
#include "guest/x86/run_int.h"
#include "guest/x86/sys.h"

enum { ATTR_CODE = SEG_P | SEG_S | 8 | 2 | 1 | SEG_G, ATTR_DATA = SEG_P | SEG_S | 2 | 1 | SEG_G | SEG_DB };

/* Flat CS of privilege cpl; then on at rip. */
static void enter_flat_code(struct x86 *x, uint16_t cs, unsigned cpl, bool bits64, uint64_t rip)
{
    uint16_t dpl = (uint16_t)(cpl << 5);
    struct x86_segment code = {
        .selector = cs,
        .attr = (uint16_t)(ATTR_CODE | dpl | (bits64 ? SEG_L : SEG_DB)),
        .limit = 0xffffffff,
    };
    x86_enter_cs(x, &code, rip);
}

/* Flat SS too. */
static void enter_flat(struct x86 *x, uint16_t cs, uint16_t ss, unsigned cpl, bool bits64, uint64_t rip)
{
    uint16_t attr = (uint16_t)(ATTR_DATA | cpl << 5);
    x->seg[SEG_SS] = (struct x86_segment){.selector = ss, .attr = attr, .limit = 0xffffffff};
    enter_flat_code(x, cs, cpl, bits64, rip);
}

/* SYSCALL, SYSRET */
static bool allowed(const struct x86 *x)
{
    return x->efer & EFER_SCE && (x->mode & MODE_64 || (!x86_model_is_intel(x->model) && x->cr0 & CR0_PE));
}

/* SYSENTER, SYSEXIT */
static void need_sysenter(struct x86 *x)
{
    if (x86_long_mode(x) && !x86_model_is_intel(x->model))
        x86_raise(x, EX_UD);
    if (!(x->cr0 & CR0_PE) || !(x->sysenter_cs & 0xfffc))
        x86_raise_error(x, EX_GP, 0);
}

uint64_t help_syscall(struct x86 *x, uint64_t length, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    if (!allowed(x))
        x86_raise(x, EX_UD);
    uint16_t cs = (uint16_t)(x->star >> 32 & 0xfffc);
    x->cpu.reg[X86_RCX] = cpu_insn_pc(&x->cpu) + length - (x->mode & MODE_64 ? 0 : x->seg[SEG_CS].base);
    if (!x86_long_mode(x)) {
        x->cpu.reg[X86_RCX] = (uint32_t)x->cpu.reg[X86_RCX];
        x->flags &= ~(uint32_t)(FL_VM | FL_IF | FL_RF);
        enter_flat(x, cs, (uint16_t)(cs + 8), 0, false, (uint32_t)x->star);
        return 0;
    }
    uint64_t flags = x86_rflags(x) & ~(uint64_t)FL_RF;
    x->cpu.reg[11] = flags;
    x86_set_rflags(x, flags & ~x->fmask);
    if (!(x->flags & FL_TF))
        x->step_tf = false;
    enter_flat(x, cs, (uint16_t)(cs + 8), 0, true, x->mode & MODE_64 ? x->lstar : x->cstar);
    return 0;
}

uint64_t help_sysret(struct x86 *x, uint64_t osize, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    if (!allowed(x))
        x86_raise(x, EX_UD);
    x86_need_cpl0(x);
    bool bits64 = osize == 8;
    uint64_t rip = bits64 ? x->cpu.reg[X86_RCX] : (uint32_t)x->cpu.reg[X86_RCX];
    if (!x86_canonical(x, rip) && x86_model_is_intel(x->model))
        x86_raise_error(x, EX_GP, 0);
    if (x->mode & MODE_64)
        x86_set_rflags(x, (x->cpu.reg[11] & 0x3c7fd7) | 2);
    else
        x->flags |= FL_IF;
    x->step_rf = false;
    x->step_tf = false;
    if (x->flags & FL_TF) /* the one insn that looks at TF when it is done: the trap comes before the next insn */
        x->pending_db |= 1u << 14;
    uint16_t base = (uint16_t)(x->star >> 48);
    uint16_t cs = (uint16_t)((base + (bits64 ? 16 : 0)) | 3), ss = (uint16_t)((base + 8) | 3);
    if (x86_model_is_intel(x->model)) {
        enter_flat(x, cs, ss, 3, bits64, rip);
    } else {
        x->seg[SEG_SS].selector = ss;
        x->seg[SEG_SS].attr |= 3 << 5; /* the privilege level is kept there */
        enter_flat_code(x, cs, 3, bits64, rip);
    }
    x86_check_kick(x);
    return 0;
}

uint64_t help_sysenter(struct x86 *x, uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    need_sysenter(x);
    bool lm = x86_long_mode(x);
    x->flags &= ~(uint32_t)(FL_VM | FL_IF | FL_RF);
    x->cpu.reg[X86_RSP] = lm ? x->sysenter_esp : (uint32_t)x->sysenter_esp;
    uint16_t cs = (uint16_t)(x->sysenter_cs & 0xfffc);
    enter_flat(x, cs, (uint16_t)(cs + 8), 0, lm, lm ? x->sysenter_eip : (uint32_t)x->sysenter_eip);
    return 0;
}

uint64_t help_sysexit(struct x86 *x, uint64_t osize, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    need_sysenter(x);
    x86_need_cpl0(x);
    bool bits64 = osize == 8;
    uint64_t rip = x->cpu.reg[X86_RDX], rsp = x->cpu.reg[X86_RCX];
    if (bits64 && (!x86_canonical(x, rip) || !x86_canonical(x, rsp)))
        x86_raise_error(x, EX_GP, 0);
    uint16_t base = (uint16_t)((x->sysenter_cs & 0xfffc) + (bits64 ? 32 : 16));
    x->cpu.reg[X86_RSP] = bits64 ? rsp : (uint32_t)rsp;
    enter_flat(x, (uint16_t)(base | 3), (uint16_t)((base + 8) | 3), 3, bits64, bits64 ? rip : (uint32_t)rip);
    x86_check_kick(x);
    return 0;
}

uint64_t help_swapgs(struct x86 *x, uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    if (!(x->mode & MODE_64))
        x86_raise(x, EX_UD);
    x86_need_cpl0(x);
    uint64_t base = x->seg[SEG_GS].base;
    x86_set_base(x, SEG_GS, x->kernel_gs_base);
    x->kernel_gs_base = base;
    return 0;
}
