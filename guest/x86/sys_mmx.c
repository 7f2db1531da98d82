/* guest/x86/sys_mmx.c: MMX insns, and the SSE insns that use MMX registers, run by the host on the x87 image.
 *
 * help_x87 (sys_x87.c) says how the lifter describes an insn.  MMX registers are the physical x87 registers, which
 * the host's FXSAVE puts where they belong.  General registers never reach the host's: MOVD and PINSRW from one
 * become their memory form on a buffer; PEXTRW, PMOVMSKB and MASKMOVQ take MOVQ's copy of their operand and do the
 * rest in C.
 *
 * CVTPI2PS and its relatives, MOVQ2DQ and MOVDQ2Q also need the guest's XMM registers: they are copied into the image
 * and back. SIMD exceptions are always masked there; what the guest has unmasked is raised afterwards, with nothing
 * else changed.
 */
#include "guest/x86/sys.h"

static bool in_set(const uint64_t set[4], uint8_t op)
{
    return set[op >> 6] >> (op & 63) & 1;
}

/* Opcodes of the 0F map without prefix that are MMX insns. */
static bool is_plain_mmx(const struct x87_insn *i)
{
    static const uint64_t set[4] = {
        0,
        1ull << 0x3e | 1ull << 0x3f | 0xffull << 0x30 | 0xfffull << 0x20 | 3ull << 0x2e, /* 60..6B 6E 6F 70..77 7E 7F */
        0,
        3ull << 4 | 0x1full << 0x11 | 0x1ffull << 0x17 | 0x3full << 0x20 | 0x1ffull << 0x27 |
            0x3fffull << 0x31, /* C4 C5 D1..D5 D7..DF E0..E5 E7..EF F1..FE */
    };
    static const uint8_t shifts[3] = {1 << 2 | 1 << 4 | 1 << 6, 1 << 2 | 1 << 4 | 1 << 6, 1 << 2 | 1 << 6};
    bool registers_only = i->op == 0xc5 || i->op == 0xd7 || i->op == 0xf7;

    if (i->op >= 0x71 && i->op <= 0x73)
        return !i->mem && (shifts[i->op - 0x71] >> (i->modrm >> 3 & 7) & 1);
    if (i->op == 0xe7)
        return i->mem;
    return in_set(set, i->op) && !(registers_only && i->mem);
}

/* Insns that have an XMM operand too. */
static bool is_mixed(const struct x87_insn *i)
{
    if (i->map != 1)
        return false;
    if (i->op == 0xd6)
        return !i->mem && (i->prefix == 0xf2 || i->prefix == 0xf3);
    return (i->op == 0x2a || i->op == 0x2c || i->op == 0x2d) && (i->prefix == 0 || i->prefix == 0x66);
}

/* CVTPI2PS, CVTPI2PD from memory: no transition to MMX, and no x87 exceptions (SDM vol. 2, CVTPI2PD; CVTPI2PS as
 * processors do it). */
static bool is_plain_sse(const struct x87_insn *i)
{
    return i->map == 1 && i->op == 0x2a && i->mem;
}

static bool is_defined(const struct x87_insn *i)
{
    if (is_mixed(i))
        return true;
    if (i->prefix)
        return false;
    if (i->map == 1)
        return is_plain_mmx(i);
    if (i->map == 2)
        return i->op <= 0x0b || (i->op >= 0x1c && i->op <= 0x1e);
    return i->map == 3 && i->op == 0x0f;
}

/* Bytes of the memory operand; negative: written. */
static int operand_bytes(const struct x87_insn *i)
{
    if (i->map != 1)
        return 8;
    switch (i->op) {
    case 0x60:
    case 0x61:
    case 0x62: return 4;
    case 0x6e: return i->rex & 8 ? 8 : 4;
    case 0x7e: return i->rex & 8 ? -8 : -4;
    case 0x7f:
    case 0xe7: return -8;
    case 0xc4: return 2;
    case 0x2c:
    case 0x2d: return i->prefix ? 16 : 8;
    default: return 8;
    }
}

static bool has_imm(const struct x87_insn *i)
{
    return i->map == 3 || (i->map == 1 && ((i->op >= 0x70 && i->op <= 0x73) || i->op == 0xc4));
}

/* Run i with this modrm; memory forms use buf. */
static void run(struct x86 *x, const struct x87_insn *i, uint8_t modrm, void *buf)
{
    uint8_t code[8];
    unsigned n = 0, rex = i->rex & 8;

    if (is_mixed(i))
        rex |= i->rex & (modrm >> 6 == 3 ? 5 : 4);
    if (i->prefix)
        code[n++] = i->prefix;
    if (rex)
        code[n++] = (uint8_t)(0x40 | rex);
    code[n++] = 0x0f;
    if (i->map > 1)
        code[n++] = i->map == 2 ? 0x38 : 0x3a;
    code[n++] = i->op;
    if (!(i->map == 1 && i->op == 0x77))
        code[n++] = modrm;
    if (has_imm(i))
        code[n++] = i->imm;
    x87_native(x, x->fx, code, n, buf);
}

static uint64_t mmx_value(struct x86 *x, unsigned mm)
{
    const uint8_t code[3] = {0x0f, 0x7f, (uint8_t)((mm & 7) << 3)};
    uint64_t v = 0;

    x87_native(x, x->fx, code, 3, &v);
    return v;
}

/* MASKMOVQ: the bytes of `reg` whose byte in `rm` has its top bit set.  All eight must be writable, as AMD's have it. */
static void masked_store(struct x86 *x, const struct x87_insn *i)
{
    uint64_t v = mmx_value(x, i->modrm >> 3), mask = mmx_value(x, i->modrm);

    sys_probe_operand(x, i->gva, 8, i->seg);
    for (unsigned k = 0; k < 8; k++)
        if (mask >> (8 * k + 7) & 1)
            x86_store(x, i->gva + k, v >> (8 * k) & 0xff, 1, i->seg);
}

/* Insns with a general register, or a store at DS:rDI.  false: not one of them. */
static bool with_general(struct x86 *x, const struct x87_insn *i)
{
    uint64_t *rm = &x->cpu.reg[(i->modrm & 7) | (i->rex & 1) << 3];
    uint64_t *reg = &x->cpu.reg[(i->modrm >> 3 & 7) | (i->rex & 4) << 1];
    uint8_t memory_form = i->modrm & 0x38;
    uint64_t v = 0, bytes;

    if (i->map != 1 || i->mem || is_mixed(i))
        return false;
    switch (i->op) {
    case 0x6e:
    case 0xc4:
        v = *rm;
        run(x, i, memory_form, &v);
        return true;
    case 0x7e:
        run(x, i, memory_form, &v);
        *rm = v;
        return true;
    case 0xc5: *reg = mmx_value(x, i->modrm) >> (16 * (i->imm & 3)) & 0xffff; return true;
    case 0xd7:
        bytes = mmx_value(x, i->modrm);
        for (unsigned k = 0; k < 8; k++)
            v |= (bytes >> (8 * k + 7) & 1) << k;
        *reg = v;
        return true;
    case 0xf7: masked_store(x, i); return true;
    default: return false;
    }
}

/* Conversions between MMX and XMM, with all exceptions masked: what the guest has not masked is raised afterwards.
 * Exceptions found before anything is computed come first, and alone (SDM vol. 1, 11.5.2 and 11.5.3). */
static void mixed(struct x86 *x, const struct x87_insn *i, void *buf)
{
    enum { BEFORE = 7 }; /* invalid, denormal, divide by zero */
    uint8_t before[sizeof x->fx];
    uint32_t flags, mxcsr = x->cpu.mxcsr;

    for (unsigned r = 0; r < 16; r++)
        memcpy(x->fx + FX_XMM + 16 * r, x->cpu.vec[r], 16);
    memcpy(before, x->fx, sizeof before);
    run(x, i, i->mem ? i->modrm & 0x38 : i->modrm, buf);
    flags = (uint32_t)bytes_get(x->fx + FX_MXCSR, 4) & 0x3f;
    if (flags & ~(mxcsr >> 7) & 0x3f) {
        if (flags & ~(mxcsr >> 7) & BEFORE)
            flags &= BEFORE;
        memcpy(x->fx, before, sizeof before);
        if (!is_plain_sse(i))
            mmx_value(x, 0); /* the transition to MMX has been made */
        x->cpu.mxcsr = mxcsr | flags;
        x86_raise(x, x->cr4 & CR4_OSXMMEXCPT ? EX_XM : EX_UD);
    }
    x->cpu.mxcsr = mxcsr | flags;
    for (unsigned r = 0; r < 16; r++)
        memcpy(x->cpu.vec[r], x->fx + FX_XMM + 16 * r, 16);
}

void x87_mmx(struct x86 *x, const struct x87_insn *i)
{
    int bytes = operand_bytes(i);
    uint8_t buf[16] __attribute__((aligned(16)));

    if (!is_defined(i))
        x86_raise(x, EX_UD);
    help_sse_check(x, 2, 0, 0);
    if (is_mixed(i))
        help_sse_check(x, 0, 0, 0);
    if ((fx_get(x, FX_SW) & X87_SW_ES) && !is_plain_sse(i))
        x86_raise(x, EX_MF);
    if (with_general(x, i))
        return;
    if (bytes == 16 && i->mem && (i->gva & 15))
        x86_raise_error(x, EX_GP, 0);
    if (i->mem && bytes > 0)
        x86_read_bytes(x, i->gva, buf, (unsigned)bytes, sys_tag(i->seg));
    else if (i->mem)
        sys_probe_operand(x, i->gva, (unsigned)-bytes, i->seg);
    if (is_mixed(i))
        mixed(x, i, buf);
    else
        run(x, i, i->mem ? i->modrm & 0x38 : i->modrm, buf);
    if (i->mem && bytes < 0)
        sys_write(x, i->gva, buf, (unsigned)-bytes, i->seg);
}
