/* guest/x86/sys_misc.c: insns that are too long or too rare to be lifted: stack frames, bounds, decimal arithmetic,
 * the double-width compare and exchange, random numbers, protection keys, FS and GS bases, and insns without a lifter.
 *
 * Rules to know before editing
 *   - Several stores or loads: registers change after the last of them.
 *   - What the manual calls undefined in flags is zero here.
 */
#include "guest/x86/sys.h"

#include <sys/random.h>

/* The low `bytes` of a general register become v; 4 clears the upper half. */
static void reg_put(struct x86 *x, unsigned reg, uint64_t v, unsigned bytes)
{
    uint64_t *r = &x->cpu.reg[reg];

    *r = bytes == 2 ? (*r & ~0xffffull) | (v & 0xffff) : bytes == 4 ? (uint32_t)v : v;
}

/* ---- stack frames (SDM vol. 2, ENTER, PUSHA, POPA)
 * -------------------------------------------------------------------- */

static gva_t stack_linear(struct x86 *x, const struct x86_stack *s, uint64_t offset, unsigned bytes, bool write)
{
    if (s->flat)
        return offset;
    return help_seg_linear(x, offset & s->mask, SEG_SS, bytes | (write ? SEG_WRITES : 0u));
}

X86_HELP(help_enter)
{
    unsigned size = (unsigned)c, level = b & 31;
    uint64_t rbp = x->cpu.reg[X86_RBP];
    struct x86_stack s;

    x86_stack_current(x, &s);
    x86_push(x, &s, rbp, size);
    uint64_t frame = s.sp;
    for (unsigned i = 1; i < level; i++) {
        uint64_t at = stack_linear(x, &s, rbp - i * size, size, false);
        x86_push(x, &s, x86_load(x, at, size, SEG_SS), size);
    }
    if (level)
        x86_push(x, &s, frame, size);
    s.sp = (s.sp & ~s.mask) | ((s.sp - (a & 0xffff)) & s.mask);
    sys_probe_operand(x, stack_linear(x, &s, s.sp, size, true), size, SEG_SS);
    x86_stack_commit(x, &s);
    reg_put(x, X86_RBP, frame, size);
    return 0;
}

X86_HELP(help_pusha)
{
    struct x86_stack s;

    x86_stack_current(x, &s);
    for (unsigned reg = X86_RAX; reg <= X86_RDI; reg++)
        x86_push(x, &s, x->cpu.reg[reg], (unsigned)a);
    x86_stack_commit(x, &s);
    return 0;
}

X86_HELP(help_popa)
{
    struct x86_stack s;
    uint64_t v[8];

    x86_stack_current(x, &s);
    for (unsigned reg = 8; reg-- > 0;)
        v[reg] = x86_pop(x, &s, (unsigned)a);
    x86_stack_commit(x, &s);
    for (unsigned reg = X86_RAX; reg <= X86_RDI; reg++)
        if (reg != X86_RSP)
            reg_put(x, reg, v[reg], (unsigned)a);
    return 0;
}

X86_HELP(help_bound)
{
    unsigned size = (unsigned)c, bits = size * 8;
    int64_t low = sign_extend(x86_load(x, b, size, SEG_DS), bits);
    int64_t high = sign_extend(x86_load(x, b + size, size, SEG_DS), bits), index = sign_extend(a, bits);

    if (index < low || index > high)
        x86_raise(x, EX_BR);
    return 0;
}

/* ---- decimal arithmetic (vol. 2, AAA AAD AAM AAS DAA DAS)
 * ------------------------------------------------------------- */

static uint32_t flags_of_al(uint8_t al)
{
    return (al ? 0 : FL_ZF) | (al & 0x80 ? FL_SF : 0) | (__builtin_parity(al) ? 0 : FL_PF);
}

/* DAA and DAS: `sign` +1 or -1. */
static uint32_t decimal_adjust(uint8_t *al, uint32_t flags, int sign)
{
    uint8_t old = *al;
    uint32_t out = 0;

    if ((old & 15) > 9 || (flags & FL_AF)) {
        *al = (uint8_t)(*al + sign * 6);
        out |= FL_AF;
        if (sign < 0 && old < 6)
            out |= FL_CF;
    }
    if (old > 0x99 || (flags & FL_CF)) {
        *al = (uint8_t)(*al + sign * 0x60);
        out |= FL_CF;
    }
    return out | flags_of_al(*al);
}

/* AAA and AAS on AX. */
static uint32_t ascii_adjust(uint16_t *ax, uint32_t flags, int sign)
{
    uint32_t out = 0;

    if ((*ax & 15) > 9 || (flags & FL_AF)) {
        *ax = (uint16_t)(*ax + sign * 0x106);
        out = FL_AF | FL_CF;
    }
    *ax &= 0xff0f;
    return out | flags_of_al((uint8_t)*ax);
}

X86_HELP(help_bcd)
{
    enum { DAA, DAS, AAA, AAS, AAM, AAD };
    uint16_t ax = (uint16_t)x->cpu.reg[X86_RAX];
    uint8_t al = (uint8_t)ax, ah = ax >> 8, base = (uint8_t)b;
    uint32_t flags = cpu_flags(&x->cpu);

    switch (a) {
    case DAA:
    case DAS:
        flags = decimal_adjust(&al, flags, a == DAA ? 1 : -1);
        ax = (uint16_t)(ah << 8 | al);
        break;
    case AAA:
    case AAS: flags = ascii_adjust(&ax, flags, a == AAA ? 1 : -1); break;
    case AAM:
        if (!base)
            x86_raise(x, EX_DE);
        ax = (uint16_t)((al / base) << 8 | al % base);
        flags = flags_of_al((uint8_t)ax);
        break;
    default:
        ax = (uint8_t)(al + ah * base);
        flags = flags_of_al((uint8_t)ax);
        break;
    }
    cpu_set_flags(&x->cpu, flags);
    reg_put(x, X86_RAX, ax, 2);
    return 0;
}

/* ---- CMPXCHG8B, CMPXCHG16B
 * ------------------------------------------------------------------------------------------------ */

typedef unsigned __int128 wide_t;

/* Memory may hold any alignment of 8 bytes; 16 are aligned.  Both return what was there. */
static uint64_t exchange_8(void *host, uint64_t old, uint64_t new)
{
    return __sync_val_compare_and_swap((uint64_t *)host, old, new);
}

__attribute__((target("cx16"))) static wide_t exchange_16(void *host, wide_t old, wide_t new)
{
    return __sync_val_compare_and_swap((wide_t *)host, old, new);
}

static wide_t pair(const struct x86 *x, unsigned high, unsigned low, unsigned bytes)
{
    const uint64_t *reg = x->cpu.reg;

    return bytes == 16 ? (wide_t)reg[high] << 64 | reg[low] : (wide_t)(reg[high] << 32 | (uint32_t)reg[low]);
}

X86_HELP(help_cmpxchg8b)
{
    enum x86_seg seg = (enum x86_seg)(c >> 8);
    unsigned bytes = (unsigned)b, desc = bytes | MD_WRITE | MD_RMW | (c & 1 ? MD_LOCK : 0) | sys_tag(seg);
    wide_t old = pair(x, X86_RDX, X86_RAX, bytes), new = pair(x, X86_RCX, X86_RBX, bytes), was;

    if (bytes == 16 && (a & 15))
        x86_raise_error(x, EX_GP, 0);
    void *host = sys_host(a, x->access->write(&x->cpu, a, desc));
    was = bytes == 16 ? exchange_16(host, old, new) : exchange_8(host, (uint64_t)old, (uint64_t) new);
    if (x->cpu.pending)
        x->access->commit(&x->cpu);
    x86_set_zf(x, was == old);
    if (was != old) {
        x->cpu.reg[X86_RAX] = bytes == 16 ? (uint64_t)was : (uint32_t)was;
        x->cpu.reg[X86_RDX] = (uint64_t)(was >> (bytes * 4));
    }
    return 0;
}

/* ---- the rest
 * ---------------------------------------------------------------------------------------------------------- */

/* Fewer bits than asked for from the host count as "none ready": CF = 0 and zero, which the guest must expect. */
X86_HELP(help_rdrand)
{
    uint64_t v = 0;
    bool ready = getrandom(&v, a, GRND_NONBLOCK) == (ssize_t)a;

    cpu_set_flags(&x->cpu, ready ? FL_CF : 0);
    return ready ? v : 0;
}

X86_HELP(help_rdpkru)
{
    if (!(x->cr4 & CR4_PKE))
        x86_raise(x, EX_UD);
    if ((uint32_t)x->cpu.reg[X86_RCX])
        x86_raise_error(x, EX_GP, 0);
    x->cpu.reg[X86_RAX] = x->pkru;
    x->cpu.reg[X86_RDX] = 0;
    return 0;
}

X86_HELP(help_wrpkru)
{
    uint32_t v = (uint32_t)x->cpu.reg[X86_RAX];

    if (!(x->cr4 & CR4_PKE))
        x86_raise(x, EX_UD);
    if ((uint32_t)x->cpu.reg[X86_RCX] || (uint32_t)x->cpu.reg[X86_RDX])
        x86_raise_error(x, EX_GP, 0);
    if (v != x->pkru) {
        x->pkru = v;
        x86_flush_all(x);
    }
    return 0;
}

X86_HELP(help_fsgsbase)
{
    enum x86_seg seg = a & 1 ? SEG_GS : SEG_FS;
    uint64_t v = c == 4 ? (uint32_t)b : b;
    bool writes = a & 2;

    if (!(x->mode & MODE_64) || !(x->cr4 & CR4_FSGSBASE))
        x86_raise(x, EX_UD);
    if (!writes)
        return c == 4 ? (uint32_t)x->seg[seg].base : x->seg[seg].base;
    if (!x86_canonical(x, v))
        x86_raise_error(x, EX_GP, 0);
    x86_set_base(x, seg, v);
    return 0;
}

X86_HELP(help_unlifted)
{
    if (x->unlifted)
        x->unlifted[a]++;
    if (x->log && log_on(x->log, LOG_UNIMP))
        log_print(x->log, "%s at %#llx has no lifter: #UD\n", x86_rows[a].name,
                  (unsigned long long)cpu_insn_pc(&x->cpu));
    x86_raise(x, EX_UD);
}

/* MASKMOVDQU (vol. 2): a byte whose mask bit is clear is not written.  Whether it may fault is the implementation's
 * choice; AMD's processors want all 16 bytes writable. */
uint64_t help_maskmovdqu(struct x86 *x, uint64_t gva, uint64_t regs, uint64_t seg)
{
    const uint8_t *data = x->cpu.vec[regs & 15], *mask = x->cpu.vec[regs >> 8 & 15];
    unsigned tag = (unsigned)seg << MD_TAG_SHIFT;
    gva_t wrap = x->mode & MODE_64 ? ~0ull : 0xffffffff;

    for (unsigned k = 0; k < 16; k += 8) /* halves: that is how alignment is checked */
        x->access->write(&x->cpu, (gva + k) & wrap, 8 | MD_WRITE | MD_PROBE | tag);
    for (unsigned k = 0; k < 16; k++)
        if (mask[k] & 0x80)
            x86_store(x, (gva + k) & wrap, data[k], 1, (enum x86_seg)seg);
    return 0;
}
