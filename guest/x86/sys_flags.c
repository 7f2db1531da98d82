/* guest/x86/sys_flags.c: the flags register as an image, the interrupt flag, and the insns that wait.
 *
 * Who may change what (SDM vol. 2 PUSHF, POPF, CLI, STI; vol. 3, 21.3 and 21.4):
 *
 *     mode                        IF                        IOPL     VIF instead of IF
 *     real, CPL 0                 yes                       yes      -
 *     protected, CPL > 0          if CPL <= IOPL            no       CLI, STI at CPL 3 with CR4.PVI
 *     virtual-8086, IOPL = 3      yes                       no       -
 *     virtual-8086, IOPL < 3      no: #GP                   no       with CR4.VME (16-bit PUSHF, POPF; CLI, STI)
 *
 * Rules to know before editing
 *   - TF and AC are part of the mode (MODE_STEP, the tables): a change calls x86_mode_update.
 *   - Whoever turns IF on calls x86_check_kick, so that the block's next poll leaves.
 *   - STI's one-insn shadow is the lifter's work: it lifts the following insn into the same block and polls after it.
 */
#include "guest/x86/sys.h"

#include <sched.h>

enum { MWAIT_BYTES = 3 };

/* `image` becomes RFLAGS in the bits of `mask`; RF ends with the insn. */
static void flags_write(struct x86 *x, uint64_t image, uint32_t mask)
{
    uint64_t old = x86_rflags(x), now = ((old & ~(uint64_t)mask) | (image & mask)) & ~(uint64_t)FL_RF;

    x86_set_rflags(x, now);
    if ((old ^ now) & (FL_TF | FL_AC))
        x86_mode_update(x);
    if (now & ~old & FL_IF)
        x86_check_kick(x);
}

X86_HELP(help_pushf)
{
    uint64_t image = x86_rflags(x) & ~(uint64_t)(FL_RF | FL_VM);

    if (!x86_vm86(x) || x86_iopl(x) == 3)
        return image;
    if (!(x->cr4 & CR4_VME) || a != 2)
        x86_raise_error(x, EX_GP, 0);
    image = (image | FL_IOPL) & ~(uint64_t)FL_IF;
    return image | (x->flags & FL_VIF ? FL_IF : 0);
}

static void popf_vme(struct x86 *x, uint64_t image)
{
    if (((x->flags & FL_VIP) && (image & FL_IF)) || (image & FL_TF))
        x86_raise_error(x, EX_GP, 0);
    if (image & FL_IF)
        x->flags |= FL_VIF;
    else
        x->flags &= ~(uint32_t)FL_VIF;
    flags_write(x, image, CPU_ARITH | FL_TF | FL_DF | FL_NT);
}

X86_HELP(help_popf)
{
    uint32_t mask = CPU_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_AC | FL_ID;

    if (x86_vm86(x) && x86_iopl(x) < 3) {
        if (!(x->cr4 & CR4_VME) || b != 2)
            x86_raise_error(x, EX_GP, 0);
        popf_vme(x, a);
        return 0;
    }
    if (x86_cpl(x) > 0)
        mask &= ~(uint32_t)FL_IOPL;
    if (x86_cpl(x) > x86_iopl(x))
        mask &= ~(uint32_t)FL_IF;
    if (b == 2)
        mask &= 0xffff;
    flags_write(x, a, mask);
    return 0;
}

/* True: IF itself may change.  False: VIF stands for it.  Raises #GP when neither. */
static bool owns_if(struct x86 *x)
{
    if (x86_cpl(x) <= x86_iopl(x))
        return true;
    uint64_t need = x86_vm86(x) ? CR4_VME : CR4_PVI;
    if (x86_cpl(x) != 3 || !(x->cr4 & need))
        x86_raise_error(x, EX_GP, 0);
    return false;
}

X86_HELP(help_cli)
{
    x->flags &= ~(uint32_t)(owns_if(x) ? FL_IF : FL_VIF);
    return 0;
}

X86_HELP(help_sti)
{
    if (!owns_if(x)) {
        if (x->flags & FL_VIP)
            x86_raise_error(x, EX_GP, 0);
        x->flags |= FL_VIF;
        return 0;
    }
    if (x->flags & FL_IF)
        return 0;
    x->flags |= FL_IF;
    x86_check_kick(x);
    return 0;
}

X86_HELP(help_hlt)
{
    x86_need_cpl0(x);
    x->count.hlt++;
    return 0;
}

/* MONITOR and MWAIT: SDM vol. 2; #UD at CPL > 0.  Nothing is watched.  With other processors about, one of them may
 * be going to write the line, so MWAIT only lets the host's other threads run and ends at once, as the manual allows;
 * alone it waits as HLT does. */
X86_HELP(help_monitor)
{
    if (x86_cpl(x) && !b)
        x86_raise(x, EX_UD);
    if ((uint32_t)x->cpu.reg[X86_RCX])
        x86_raise_error(x, EX_GP, 0);
    x86_load(x, a, 1, SEG_DS);
    return 0;
}

X86_HELP(help_mwait)
{
    if (x86_cpl(x) && !a)
        x86_raise(x, EX_UD);
    if ((uint32_t)x->cpu.reg[X86_RCX] & (a ? ~3u : ~1u))
        x86_raise_error(x, EX_GP, 0);
    if (a) {
        sched_yield();
        return 0;
    }
    x->count.hlt++;
    if (x->nvcpus > 1) {
        sched_yield();
        x->cpu.pc = cpu_insn_pc(&x->cpu) + MWAIT_BYTES;
        x->access->leave(&x->cpu, LEAVE_NEXT);
    }
    return 0;
}

/* A spin loop.  What it waits for is another vCPU: with a host processor for each, that one runs; else it may be waiting
 * for this very processor, and giving it away at once is the quickest way on. */
X86_HELP(help_pause)
{
    enum { LONG_SPIN = 64 };
    if (x->nvcpus == 1)
        return 0;
    if (x->crowded || ++x->pauses % LONG_SPIN == 0)
        sched_yield();
    else
        __builtin_ia32_pause();
    return 0;
}

X86_HELP(help_cache_op)
{
    x86_need_cpl0(x);
    return 0;
}
