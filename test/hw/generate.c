/* test/hw/generate.c: from a row of the instruction table to a case.
 *
 * The bytes are encode.c's.  The rest of a case follows from the decoded insn: the address of its memory operand is
 * chosen first, then base, index and displacement are made to give it; registers that lead elsewhere (rSP, rSI, rDI,
 * bit offsets, jump targets) are set for the lifters that use them.
 *
 * Nothing here knows what an insn computes.
 */
#include <string.h>

#include "guest/x86/decode_table.h"
#include "guest/x86/state.h"
#include "test/hw/hw.h"

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static const char *excluded_by_lifter(const struct x86_row *row)
{
    switch (row->lift) {
    case LIFT_cpuid:
    case LIFT_rdtsc:
    case LIFT_rdtscp:
    case LIFT_rdrand:
    case LIFT_rdseed:
    case LIFT_rdpid:
    case LIFT_rdpkru:
    case LIFT_wrpkru:
    case LIFT_rdpmc:
    case LIFT_xgetbv: return "its result depends on more than the case";
    case LIFT_syscall:
    case LIFT_sysenter: return "enters the kernel";
    case LIFT_call_far:
    case LIFT_jmp_far:
    case LIFT_ret_far:
    case LIFT_iret: return "needs the host's descriptor tables";
    case LIFT_sgdt:
    case LIFT_sldt:
    case LIFT_str:
    case LIFT_smsw: return "the host's kernel emulates it (UMIP)";
    case LIFT_ud: return row->opcode != 0x0b ? "processors differ in whether it has a ModRM byte" : NULL;
    case LIFT_into: return "a trap: where it began is not told";
    case LIFT_int: return row->opcode == 0xf1 ? "hypervisors tell it in their own way" : NULL;
    case LIFT_monitor:
    case LIFT_mwait: return "the host's kernel may switch it off";
    case LIFT_xsave:
    case LIFT_xrstor: return "the host has more state components";
    default: return NULL;
    }
}

/* VRCP14, VRSQRT14 */
static bool is_estimate(const struct x86_row *row)
{
    return row->space == X86_EVEX && row->map == 2 && row->opcode >= 0x4c && row->opcode <= 0x4f;
}

const char *hw_row_excluded(const struct x86_row *row, const struct hw_run *run)
{
    const uint32_t *features = run->features;
    unsigned bits = run->options->bits;
    if (row->attr & (bits == 64 ? ATTR_NO64 : ATTR_ONLY64))
        return "not in this mode";
    if (bits != 64 && (row->w == W_G1 || (row->space == X86_LEGACY && row->w == W_1)))
        return "not in this mode";
    if (bits == 16 && row->opcode == 0xf7 &&
        (row->lift == LIFT_maskmov || row->lift == LIFT_avx_maskmov || row->lift == LIFT_mmx))
        return "processors differ: a mask of zero may fault";
    if (bits != 64 && row->lift == LIFT_sysret)
        return "processors differ: #UD or #GP";
    if (row->feature && !(features[row->feature / 32] >> (row->feature % 32) & 1))
        return "this processor lacks it";
    if ((run->options->generic || run->options->vector) && is_estimate(row))
        return "processors differ: an estimate";
    return row->attr & ATTR_CPL0 ? NULL : excluded_by_lifter(row);
}

uint32_t hw_flag_bits(unsigned irf)
{
    static const uint16_t bit[6] = {FL_CF, FL_PF, FL_AF, FL_ZF, FL_SF, FL_OF};
    uint32_t f = 0;
    for (unsigned i = 0; i < 6; i++)
        f |= irf >> i & 1 ? bit[i] : 0;
    return f;
}

/* ---- addresses --------------------------------------------------------------------------------------------------- */

struct gen {
    struct rng r;
    struct hw_case *c;
    struct x86_insn i;
    unsigned disp_at, npatches;
    bool spoiled;
    bool undefined; /* these bytes are no insn: the rest of i means nothing but its length */
};

/* Where an access of n bytes goes. */
static uint64_t choose_address(struct gen *g, unsigned n)
{
    enum { PAGE = 0x1000 };
    struct rng *r = &g->r;
    unsigned near = 1 + rng_below(r, n > 1 ? n - 1 : 1);
    uint64_t inside = HW_DATA + PAGE + rng_below(r, 2 * PAGE - 1024) + 256;
    switch (rng_below(r, 25)) {
    case 0:
    case 1:
    case 2: return inside;
    case 3:
    case 4: return HW_DATA + 2 * PAGE - near;                             /* crosses a page */
    case 5: return HW_DATA + 3 * PAGE - near;                             /* the second page is not there */
    case 6: return HW_DATA + PAGE - near;                                 /* the first is not */
    case 7: return HW_DATA + 4 * PAGE + 64 + (rng_below(r, 3000) & ~63u); /* read-only */
    case 8: return HW_DATA + 5 * PAGE - near;                             /* from read-only to writable */
    case 9: return HW_DATA + 3 * PAGE + rng_below(r, PAGE - 512);
    case 10: return HW_DATA + 3 * PAGE - n; /* the last that fits */
    case 11: return HW_DATA + 6 * PAGE - n;
    default: return (n & (n - 1)) == 0 && n ? inside & ~(uint64_t)(n - 1) : inside & ~63ull;
    }
}

static uint64_t no_canonical(struct gen *g)
{
    if (g->c->bits != 64)
        return HW_DATA + 0x3000 + rng_below(&g->r, 0x1000);
    return (rng_next(&g->r) & 0x0000ffffffffffff) | (uint64_t)(1 + rng_below(&g->r, 0x7ffe)) << 48;
}

static uint8_t *add_patch(struct gen *g, uint64_t at)
{
    if (g->npatches == HW_PATCHES_MAX)
        return NULL;
    unsigned k = g->npatches++;
    g->c->patch[k].at = at;
    for (unsigned n = 0; n < 64; n += 16)
        rng_vector(&g->r, g->c->patch[k].bytes + n);
    if (rng_chance(&g->r, 40))
        bytes_put(g->c->patch[k].bytes, rng_edge(&g->r), 8);
    return g->c->patch[k].bytes;
}

static uint64_t reg_get(const struct gen *g, int n)
{
    return n < 0 ? 0 : g->c->in.gpr[n];
}

static void put_disp(struct gen *g, uint64_t v, unsigned n)
{
    bytes_put(g->c->code + g->disp_at, v, n);
    g->i.mem.disp = sign_extend(v, 8 * n);
}

/* 16-bit addresses: what is above 64 KB is cut off. */
static bool aim_16(struct gen *g, uint64_t want)
{
    int base = g->i.mem.base;
    if (base < 0)
        put_disp(g, want, 2);
    else
        g->c->in.gpr[base] = ((want - reg_get(g, g->i.mem.index) - (uint64_t)g->i.mem.disp) & 0xffff) | rng_next(&g->r)
                                                                                                            << 16;
    return true;
}

/* Choose base, index and displacement such that the operand lies at linear address `at`.  false: these registers
 * cannot. */
static bool aim(struct gen *g, uint64_t at)
{
    struct hw_state *in = &g->c->in;
    int base = g->i.mem.base, index = g->i.mem.index;
    bool wide = g->disp_at && (g->i.mod == 2 || g->i.mod == 0);
    uint64_t seg = hw_segment_base(g->c, g->i.mem.seg);
    uint64_t want = at - seg, high = g->i.asize == 4 ? rng_next(&g->r) << 32 : 0;
    if (g->i.asize == 4)
        want = (uint32_t)want;
    if (g->i.asize == 2)
        return aim_16(g, want);
    if (g->i.mem.rip) {
        put_disp(g, want - (g->c->pc + g->c->length), 4);
        return seg == 0;
    }
    if (base < 0) { /* displacement and perhaps index */
        if (index >= 0)
            in->gpr[index] = (rng_below(&g->r, 0x10000) - 0x8000ull) & ~high;
        put_disp(g, want - (reg_get(g, index) << g->i.mem.scale), 4);
        return (int64_t)(want - (reg_get(g, index) << g->i.mem.scale)) == g->i.mem.disp;
    }
    if (base == index) {
        uint64_t factor = 1 + (1ull << g->i.mem.scale), rest = (want - (uint64_t)g->i.mem.disp) % factor;
        if (rest && !wide)
            return false;
        if (wide && rest)
            put_disp(g, (uint64_t)g->i.mem.disp + rest, 4);
        in->gpr[base] = (want - (uint64_t)g->i.mem.disp) / factor;
        return in->gpr[base] * factor + (uint64_t)g->i.mem.disp == want;
    }
    uint64_t left = want - (reg_get(g, index) << g->i.mem.scale) - (uint64_t)g->i.mem.disp;
    in->gpr[base] = g->i.asize == 4 ? (uint32_t)left | high : left;
    return true;
}

static unsigned memory_bytes(const struct x86_insn *i)
{
    unsigned n = 0;
    for (unsigned k = 0; k < i->noperands; k++)
        if (i->op[k].kind == OPERAND_MEM && i->op[k].bytes > n)
            n = i->op[k].bytes;
    return n ? n : i->row->lift == LIFT_x87 ? 108 : 8;
}

static int memory_operand(const struct x86_insn *i)
{
    for (unsigned k = 0; k < i->noperands; k++)
        if (i->op[k].kind == OPERAND_MEM)
            return (int)k;
    return -1;
}

/* VSIB: each element leads to a place of its own, as far as scale and width of the indices allow. */
static bool aim_vector(struct gen *g)
{
    struct hw_state *in = &g->c->in;
    int base = g->i.mem.base;
    unsigned width = g->i.opcode & 1 ? 8 : 4, bytes = memory_bytes(&g->i);
    bool strays = rng_chance(&g->r, 20);
    uint64_t seg = hw_segment_base(g->c, g->i.mem.seg);
    if (base >= 0)
        in->gpr[base] = HW_DATA + rng_below(&g->r, 0x8000) - seg - (uint64_t)g->i.mem.disp;
    else
        put_disp(g, HW_DATA - seg, 4);
    uint64_t origin = seg + reg_get(g, base) + (uint64_t)g->i.mem.disp;
    for (unsigned at = 0; at < 64; at += width) {
        uint64_t inside = HW_DATA + 0x1000 + rng_below(&g->r, 0x2000 - 32) + 16;
        uint64_t to = strays && rng_chance(&g->r, 20) ? choose_address(g, bytes) : inside;
        bytes_put(in->vec[g->i.mem.index] + at, (uint64_t)((int64_t)(to - origin) >> g->i.mem.scale), width);
        if (at == 0)
            add_patch(g, to);
    }
    return true;
}

/* Registers that are read before the address is known: a bit offset moves the operand (vol. 2A, BT). */
static uint64_t bit_offset_bytes(struct gen *g)
{
    if (g->i.row->lift != LIFT_bt || g->i.op[1].kind != OPERAND_GPR || g->i.op[0].kind != OPERAND_MEM)
        return 0;
    unsigned reg = g->i.op[1].reg, bits = 8u * g->i.osize;
    if ((int)reg == g->i.mem.base || (int)reg == g->i.mem.index)
        return 0;
    int64_t offset = (int64_t)rng_below(&g->r, 40000) - 20000;
    g->c->in.gpr[reg] = (uint64_t)offset;
    if (bits < 64)
        g->c->in.gpr[reg] = ((uint64_t)offset & mask_bits(bits)) | rng_next(&g->r) << bits;
    return (uint64_t)(sign_extend((uint64_t)offset, bits) >> (bits == 16 ? 4 : bits == 32 ? 5 : 6)) * g->i.osize;
}

/* Images of x87 and SSE state hold pointers that the processor may leave out, and reserved bytes. */
static void skip_undefined(struct gen *g, uint64_t at)
{
    struct hw_case *c = g->c;
    unsigned from = 0, to = 0;
    bool save = g->i.row->lift == LIFT_x87 &&
                (g->i.op[0].bytes == 14 || g->i.op[0].bytes == 28 || g->i.op[0].bytes == 94 || g->i.op[0].bytes == 108);
    if (save) {
        bool small = g->i.osize == 2;
        from = small ? 6 : 12, to = small ? 14 : 28;
    }
    if (g->i.row->lift == LIFT_fxsave)
        from = 6, to = 24;
    if (from < to)
        c->skip_at = at;
    for (unsigned i = from; i < to; i++)
        c->skip[i / 64] |= 1ull << (i % 64);
    if (g->i.row->lift == LIFT_fxsave) /* MXCSR_MASK, reserved bytes */
        for (unsigned i = 0; i < 512; i++)
            if ((i >= 28 && i < 32) || i >= 416 || (i >= 32 && i < 160 && (i & 15) >= 10))
                c->skip[i / 64] |= 1ull << (i % 64);
}

static bool place_memory(struct gen *g)
{
    int k = memory_operand(&g->i);
    if (k < 0 || g->i.row->lift == LIFT_string || !g->i.has_modrm || g->i.mod == 3)
        return true;
    unsigned n = memory_bytes(&g->i);
    bool free_base = g->i.mem.base >= 0 && g->i.asize == 8 && g->i.mem.base != g->i.mem.index &&
                     g->i.mem.seg != SEG_FS && g->i.mem.seg != SEG_GS;
    uint64_t at = free_base && rng_chance(&g->r, 2) ? no_canonical(g) : choose_address(g, n);
    if (g->i.row->lift == LIFT_arpl)
        at = HW_DATA + 0x1000 + rng_below(&g->r, 0x2000 - 2); /* whether it writes what it leaves alone is not told */
    if (g->i.row->feature == FEAT_SHA)
        at &= ~15ull; /* Intel's raise #GP, AMD's do not */
    if (hw_indexed_by_vector(g->i.row))
        return aim_vector(g);
    uint64_t moved = bit_offset_bytes(g);
    if (!aim(g, at - moved))
        return false;
    add_patch(g, at);
    skip_undefined(g, at);
    return true;
}

/* ---- what single lifters need ------------------------------------------------------------------------------------ */

static uint64_t code_address(struct gen *g)
{
    uint64_t at, end = g->c->pc + g->c->length;
    do
        at = HW_CODE + rng_below(&g->r, HW_CODE_SIZE);
    while (at >= g->c->pc && at < end);
    if (rng_chance(&g->r, 2))
        return no_canonical(g);
    return rng_chance(&g->r, 5) ? HW_CODE + HW_CODE_SIZE + rng_below(&g->r, 0x800) : at;
}

static uint64_t code_offset(struct gen *g)
{
    return code_address(g) - hw_segment_base(g->c, SEG_CS);
}

static void use_stack(struct gen *g)
{
    struct hw_case *c = g->c;
    unsigned ss = c->seg[SEG_SS], width = c->bits == 64 ? 8 : ss == HW_FLAT || hw_segments[ss].big ? 4 : 2;
    bool is_base = g->i.has_modrm && g->i.mod != 3 && (g->i.mem.base == X86_RSP || g->i.mem.index == X86_RSP);
    if (is_base)
        return;
    uint64_t at = rng_chance(&g->r, 2) ? no_canonical(g) : choose_address(g, 8);
    if (g->i.row->lift == LIFT_push_seg || g->i.row->lift == LIFT_pop_seg)
        at &= ~7ull; /* fewer bytes may be touched than reserved */
    uint16_t lift = g->i.row->lift;
    bool pops = lift == LIFT_pop || lift == LIFT_popf || lift == LIFT_ret || lift == LIFT_pop_seg;
    uint64_t top = pops || lift == LIFT_leave ? at : at + g->i.osize;
    c->in.gpr[lift == LIFT_leave ? X86_RBP : X86_RSP] = hw_offset(&g->r, c, SEG_SS, top, width);
    if (lift == LIFT_enter)
        c->in.gpr[X86_RBP] = hw_offset(&g->r, c, SEG_SS, choose_address(g, 8), width);
    uint8_t *bytes = add_patch(g, at);
    if (lift == LIFT_push_seg && g->i.osize == 4) { /* AMD's write 32 bits, Intel's 16 */
        g->c->skip_at = at;
        g->c->skip[0] = 0xc;
    }
    if (lift == LIFT_ret)
        bytes_put(bytes, code_offset(g), 8);
    if (lift == LIFT_popf)
        bytes[1] &= 0xfe; /* TF: single steps are not compared */
}

static void use_string(struct gen *g)
{
    struct hw_state *in = &g->c->in;
    unsigned n = memory_bytes(&g->i), asize = g->i.asize;
    uint64_t high = asize == 8 ? 0 : rng_next(&g->r) << 8 * asize;
    bool only_to = g->i.mem.base == X86_RDI;
    uint64_t from = choose_address(g, n),
             to = rng_chance(&g->r, 20) ? from + rng_below(&g->r, 32) - 16 : choose_address(g, n);
    in->gpr[X86_RSI] = hw_offset(&g->r, g->c, only_to ? SEG_DS : g->i.mem.seg, from, asize);
    in->gpr[X86_RDI] = hw_offset(&g->r, g->c, SEG_ES, to, asize);
    bool io = g->i.opcode >= 0x6c &&
              g->i.opcode <= 0x6f; /* rights to the port are looked at even for a count of zero by AMD's */
    in->gpr[X86_RCX] = (rng_chance(&g->r, 5) ? rng_below(&g->r, 3000) : rng_below(&g->r, 20)) | high;
    in->gpr[X86_RCX] += io;
    g->c->undefined_fault = hw_flag_bits(63); /* Intel's restore the flags when an iteration faults, AMD's do not */
    add_patch(g, from & ~15ull);
    uint8_t *second = add_patch(g, to & ~15ull);
    if (rng_chance(&g->r, 70)) /* so that repeated comparisons last */
        memset(second, (int)in->gpr[X86_RAX], 64);
    if (rng_chance(&g->r, 70))
        memcpy(second, g->c->patch[g->npatches - 2].bytes, rng_below(&g->r, 64));
}

static void use_divide(struct gen *g)
{
    uint64_t *a = &g->c->in.gpr[X86_RAX], *d = &g->c->in.gpr[X86_RDX];
    unsigned bits = 8u * g->i.osize;
    bool is_signed = g->i.row->lift == LIFT_idiv;
    if (rng_chance(&g->r, 30))
        return;
    if (bits == 8)
        *a = is_signed ? (uint64_t)(int64_t)(int8_t)*a : (*a & 0xff);
    else
        *d = is_signed && (*a >> (bits - 1) & 1) ? ~0ull : rng_chance(&g->r, 20) ? rng_below(&g->r, 4) : 0;
}

/* LAR and its like: selectors of Linux's table, of which ring 3 sees entries 4 to 6, and of the absent local one.
 * Entry 15 tells the processor's
 * number. */
static void use_selector(struct gen *g)
{
    unsigned source = g->i.noperands - 1, selector = rng_below(&g->r, 0x78) | (rng_chance(&g->r, 10) ? 4 : 0);
    if (rng_chance(&g->r, 60))
        selector = (4 + rng_below(&g->r, 3)) * 8 | rng_below(&g->r, 4);
    if (g->i.row->lift == LIFT_lar) { /* limit 19..16: vol. 2, LAR */
        g->c->loose_reg = g->i.op[0].reg;
        g->c->loose_bits = 0xf0000;
    }
    if (g->i.op[source].kind == OPERAND_GPR)
        g->c->in.gpr[g->i.op[source].reg] = (g->c->in.gpr[g->i.op[source].reg] & ~0xffffull) | selector;
    else if (g->npatches)
        bytes_put(g->c->patch[g->npatches - 1].bytes, selector, 2);
}

/* The operand at rDI: a mask of zero may or may not fault. */
static void use_masked(struct gen *g)
{
    uint64_t at = HW_DATA + 0x1000 + rng_below(&g->r, 0x2000 - 16);
    g->c->in.gpr[X86_RDI] = hw_offset(&g->r, g->c, g->i.mem.seg, at, g->i.asize);
    add_patch(g, at);
}

/* An unmasked exception: Intel's leave the flags, AMD's do not (FCOMI and its like). */
static void use_x87(struct gen *g)
{
    unsigned group = g->i.modrm >> 3 & 7, masks = g->c->in.fx[FX_FCW] & 0x3f;
    bool fcomi = (g->i.opcode == 0xdb || g->i.opcode == 0xdf) && g->i.mod == 3 && (group == 5 || group == 6);
    if (fcomi && masks != 0x3f)
        g->c->undefined = hw_flag_bits(63);
}

/* Let the comparison succeed often: the accumulator is what memory or the register holds. */
static void use_exchange(struct gen *g)
{
    uint64_t *gpr = g->c->in.gpr, value;
    if (rng_chance(&g->r, 50))
        return;
    if (g->i.op[0].kind == OPERAND_GPR) {
        gpr[X86_RAX] = g->i.op[0].high ? gpr[g->i.op[0].reg] >> 8 : gpr[g->i.op[0].reg];
        return;
    }
    bool address =
        g->i.mem.base == X86_RAX || g->i.mem.index == X86_RAX || g->i.mem.base == X86_RDX || g->i.mem.index == X86_RDX;
    if (address || !g->npatches)
        return;
    value = bytes_get(g->c->patch[0].bytes, 8);
    if (g->i.row->lift == LIFT_cmpxchg8b) {
        bool wide = g->i.osize == 8;
        gpr[X86_RAX] = wide ? value : (uint32_t)value;
        gpr[X86_RDX] = wide ? bytes_get(g->c->patch[0].bytes + 8, 8) : value >> 32;
    } else {
        gpr[X86_RAX] = value;
    }
}

/* Jump targets: in the operand register, in memory, or relative. */
static void use_target(struct gen *g)
{
    const struct x86_operand *o = &g->i.op[0];
    struct hw_case *c = g->c;
    if (o->kind == OPERAND_REL) {
        unsigned n = o->bytes;
        uint64_t end = c->pc + c->length, to = code_address(g);
        if (n == 1) {
            to = end + (uint64_t)(int64_t)(int8_t)rng_next(&g->r);
            if (to >= c->pc && to < end)
                to = end;
        } else if (to >> 32) {
            to = HW_CODE - 8;
        }
        bytes_put(c->code + c->length - n, to - end, n);
        return;
    }
    uint64_t to = code_offset(g);
    if (o->kind == OPERAND_GPR)
        c->in.gpr[o->reg] = to;
    else if (o->kind == OPERAND_MEM && g->npatches)
        bytes_put(c->patch[g->npatches - 1].bytes, to, 8);
    if (to >> 47 && g->i.row->lift == LIFT_call) { /* known: what was pushed stays though the call faults */
        c->skip_at = c->in.gpr[X86_RSP] - 8;
        c->skip[0] = 0xff;
    }
}

static bool use_xlat(struct gen *g)
{
    struct hw_state *in = &g->c->in;
    uint64_t at = choose_address(g, 1);
    in->gpr[X86_RBX] = hw_offset(&g->r, g->c, g->i.mem.seg, at - (in->gpr[X86_RAX] & 0xff), g->i.asize);
    add_patch(g, at);
    return true;
}

static void use_moffs(struct gen *g)
{
    unsigned n = g->i.asize;
    uint64_t seg = hw_segment_base(g->c, g->i.mem.seg);
    uint64_t at = n == 8 && rng_chance(&g->r, 5) ? no_canonical(g) : choose_address(g, memory_bytes(&g->i));
    bytes_put(g->c->code + g->c->length - n, at - seg, n);
    add_patch(g, at);
}

static void use_mxcsr(struct gen *g)
{
    unsigned at = g->i.row->lift == LIFT_fxrstor ? 24 : 0;
    uint8_t *bytes = g->c->patch[0].bytes;
    if (g->npatches && rng_chance(&g->r, 90))
        bytes_put(bytes + at, rng_next(&g->r) & 0xffff, 4);
    else if (g->npatches)
        bytes[at + 2] &= ~2; /* MISALIGNSSE is AMD's */
    if (at) {
        bytes_put(bytes, 0x37f | (rng_next(&g->r) & 0xf00), 2);
        bytes_put(bytes + 2, rng_next(&g->r) & 0x7f7f & (rng_chance(&g->r, 50) ? 0x7f00 : 0xffff), 2);
    }
}

static unsigned any_selector(struct rng *r)
{
    switch (rng_below(r, 8)) {
    case 0: return rng_below(r, 4);                             /* null */
    case 1: return (4 + rng_below(r, 3)) * 8 | rng_below(r, 4); /* the kernel's flat segments */
    case 2: return rng_below(r, 0x78) | rng_below(r, 2) * 4;    /* perhaps absent, or not of this kind */
    default: return rng_below(r, HW_SEGMENTS + 1) * 8 | (rng_chance(r, 90) ? 7 : 4 + rng_below(r, 4));
    }
}

/* What is loaded into a segment register: in the register, in memory after `at` bytes. */
static void use_segment(struct gen *g)
{
    unsigned at = g->i.row->lift == LIFT_load_far ? g->i.osize : 0, selector = any_selector(&g->r);
    const struct x86_operand *from = &g->i.op[1];
    if (g->i.row->lift == LIFT_mov_seg && g->i.opcode != 0x8e)
        return;
    if (g->i.row->lift == LIFT_mov_seg && from->kind == OPERAND_GPR)
        g->c->in.gpr[from->reg] = (g->c->in.gpr[from->reg] & ~0xffffull) | selector;
    else if (g->npatches)
        bytes_put(g->c->patch[g->npatches - 1].bytes + at, selector, 2);
}

static bool suit(struct gen *g)
{
    switch (g->i.row->lift) {
    case LIFT_push:
    case LIFT_pop:
    case LIFT_pushf:
    case LIFT_popf:
    case LIFT_push_seg:
    case LIFT_pop_seg:
    case LIFT_enter:
    case LIFT_leave: use_stack(g); break;
    case LIFT_ret: use_stack(g); break;
    case LIFT_call: use_stack(g); break;
    case LIFT_string: use_string(g); break;
    case LIFT_div:
    case LIFT_idiv: use_divide(g); break;
    case LIFT_x87: use_x87(g); break;
    case LIFT_mmx:
        if (g->i.map == 1 && g->i.opcode == 0xf7)
            use_masked(g);
        break;
    case LIFT_xlat: return use_xlat(g);
    }
    if (!place_memory(g))
        return false;
    switch (g->i.row->lift) {
    case LIFT_call:
    case LIFT_jmp:
    case LIFT_jcc:
    case LIFT_loop:
    case LIFT_jcxz: use_target(g); break;
    case LIFT_lar:
    case LIFT_lsl:
    case LIFT_verr:
    case LIFT_verw: use_selector(g); break;
    case LIFT_mov_seg:
    case LIFT_load_far:
    case LIFT_pop_seg: use_segment(g); break;
    case LIFT_cmpxchg:
    case LIFT_cmpxchg8b: use_exchange(g); break;
    case LIFT_ldmxcsr:
    case LIFT_avx_ldmxcsr:
    case LIFT_fxrstor: use_mxcsr(g); break;
    case LIFT_fsgsbase:
        if (g->i.op[0].kind == OPERAND_GPR && rng_chance(&g->r, 80))
            g->c->in.gpr[g->i.op[0].reg] &= 0x7fffffffffff;
        break;
    case LIFT_mov:
        if (!g->i.has_modrm && memory_operand(&g->i) >= 0)
            use_moffs(g);
        break;
    }
    return true;
}

/* Forms that depend on who made the processor.  AMD truncates targets of near branches with 66, Intel does not;
 * decode.c follows Intel. */
bool hw_vendor_form(const struct x86_insn *i, unsigned bits)
{
    uint16_t lift = i->row->lift;
    bool near = lift == LIFT_call || lift == LIFT_jmp || lift == LIFT_jcc || lift == LIFT_ret || lift == LIFT_loop ||
                lift == LIFT_jcxz;
    if (lift == LIFT_int && i->opcode == 0xcc)
        return i->length > 1;               /* a trap: where it began is not told */
    bool low = bits == 32 && i->asize == 2; /* 16-bit addresses: where they lead is not chosen */
    bool large = lift == LIFT_fxsave || lift == LIFT_fxrstor || lift == LIFT_x87; /* may run over 64 KB */
    if (low && (large || i->row->feature == FEAT_SHA || lift == LIFT_arpl || (lift == LIFT_mmx && i->opcode == 0xf7)))
        return true;
    if (bits != 64 && lift == LIFT_mmx && i->opcode == 0xf7 && (i->prefix & PREFIX_SEG))
        return true; /* whether MMX state is entered before the fault */
    if ((lift == LIFT_arpl || lift == LIFT_mmx) && bits != 64 && i->mem.seg == SEG_CS)
        return true; /* likewise, and a mask of zero */
    if (lift == LIFT_movsx && i->opcode == 0x63 && i->osize == 2)
        return true; /* how much of memory is read */
    if (lift == LIFT_load_far && i->osize == 8)
        return true; /* AMD's have no 64-bit offset there */
    if (lift == LIFT_loop && (i->prefix & (PREFIX_REP | PREFIX_REPNE)))
        return true; /* AMD's turn the condition by it */
    return (near && bits == 64 && (i->prefix & PREFIX_66)) ||
           (lift == LIFT_int && i->opcode == 0xcd && (i->imm == 0x80 || i->imm == 3 || i->imm == 4));
}

static bool ends_elsewhere(const struct x86_insn *i)
{
    switch (i->row->lift) {
    case LIFT_call:
    case LIFT_jmp:
    case LIFT_jcc:
    case LIFT_ret:
    case LIFT_loop:
    case LIFT_jcxz:
    case LIFT_int:
    case LIFT_popf:
    case LIFT_ud: return true;
    default: return (i->row->attr & ATTR_CPL0) != 0;
    }
}

static void choose_pc(struct gen *g)
{
    struct hw_case *c = g->c;
    unsigned n = c->length;
    switch (rng_below(&g->r, 20)) {
    case 0: c->pc = HW_CODE + 0x1000 - 1 - rng_below(&g->r, n); break; /* may cross a page */
    case 1: c->pc = HW_CODE + 0x2000 - n; break;
    case 2:
        c->pc = HW_CODE + 0x2000 - n + rng_below(&g->r, n); /* its end may not be there */
        c->length = (uint16_t)(HW_CODE + 0x2000 - c->pc);
        break;
    default: c->pc = HW_CODE + 0x200 + rng_below(&g->r, 0xc00); break;
    }
    uint32_t base = (uint32_t)hw_segment_base(c, SEG_CS), limit = hw_code_limit(c);
    bool short_of = limit < 0xffff && rng_chance(&g->r, 30); /* across the limit */
    if (!short_of && c->pc - base <= limit)
        return;
    unsigned inside = ends_elsewhere(&g->i) ? n - 1 : n; /* AMD's may refuse a branch that ends just there */
    c->pc = base + limit - (short_of ? inside ? rng_below(&g->r, inside) : 0 : 16 + rng_below(&g->r, 0x300));
    c->length = (uint16_t)n;
}

void hw_narrow(struct hw_case *c)
{
    for (unsigned i = 0; i < 16 && c->bits != 64; i++)
        c->in.gpr[i] = i < 8 ? (uint32_t)c->in.gpr[i] : 0;
}

/* Undefined by the manuals, but AMD's run it: VPERMQ and VPERMPD by an immediate ignore VEX.W. */
static bool takes_more(const struct x86_insn *i)
{
    return i->space == X86_VEX && i->map == 3 && i->opcode <= 1 && !(i->rex & 8);
}

/* Choose the bytes: mostly a form of the row, sometimes spoiled.  false: none found. */
static bool choose_bytes(struct gen *g, const struct hw_run *run, const struct x86_row *row)
{
    struct hw_case *c = g->c;
    bool spoil = rng_chance(&g->r, 6);
    unsigned disp_at;
    for (unsigned tries = 0; tries < 60; tries++) {
        enum x86_status status = X86_OK;
        memset(c->code, 0, 32);
        if (!hw_encode(&g->r, row, c->bits, false, c->code, &g->i, &disp_at) || hw_vendor_form(&g->i, c->bits))
            continue;
        if (!spoil)
            return true;
        g->spoiled = true;
        if (!hw_spoil(&g->r, c->bits, c->code, &g->i, &status) || (g->i.row && hw_vendor_form(&g->i, c->bits)))
            continue;
        g->undefined = status != X86_OK;
        if (g->undefined && takes_more(&g->i))
            continue;
        if (status == X86_LONG)
            g->i.length = 16;
        if (g->undefined || run->allowed[x86_row_index(g->i.row)])
            return true;
    }
    return false;
}

/* Where the displacement lies: immediates are all that is behind it.  0: there is none. */
static unsigned displacement_at(const struct x86_insn *i)
{
    unsigned n = i->asize == 2 ? 2 : 4, behind = 0;
    bool absolute = i->mod == 0 && (i->mem.base < 0 || i->mem.rip);
    if (!i->has_modrm || i->mod == 3 || !(i->mod || absolute))
        return 0;
    for (unsigned k = 0; k < i->noperands; k++) {
        unsigned method = x86_operand_forms[i->row->operand[k]].method;
        if (method == METHOD_I || method == METHOD_IS || method == METHOD_L)
            behind += i->op[k].kind == OPERAND_IMM ? i->op[k].bytes : 1;
    }
    return i->length - behind - (i->mod == 1 ? 1 : n);
}

bool hw_generate(struct hw_case *c, const struct hw_run *run, uint32_t row_index, uint64_t seed)
{
    struct gen g = {.r = {seed}, .c = c};
    memset(c, 0, sizeof *c);
    c->seed = seed;
    c->row = row_index;
    c->ninsns = 1;
    c->bits = (uint8_t)run->options->bits;
    if (!choose_bytes(&g, run, &x86_rows[row_index]))
        return false;
    c->spoiled = g.spoiled;
    c->length = g.i.length;
    if (g.undefined) {
        c->no_insn = true;
        rng_state(&g.r, &c->in, false);
        choose_pc(&g);
        hw_choose_segments(&g.r, c);
        hw_narrow(c);
        return true;
    }
    const struct x86_row *row = g.i.row;
    g.disp_at = displacement_at(&g.i);
    c->lift = row->lift;
    c->native_only = row->lift == LIFT_none;
    c->aligned = row->attr & ATTR_ALIGN ||
                 (row->space == X86_LEGACY && memory_operand(&g.i) >= 0 && memory_bytes(&g.i) % 16 == 0);
    bool x87 = row->lift == LIFT_x87 || row->lift == LIFT_mmx || row->lift == LIFT_fxsave;
    rng_state(&g.r, &c->in, x87 || rng_chance(&g.r, 3));
    if (row->lift == LIFT_mmx && rng_chance(&g.r, 80)) {
        bytes_put(c->in.fx + FX_FCW, 0x37f, 2);
        bytes_put(c->in.fx + FX_FSW, 0, 2);
    }
    hw_narrow(c);
    if (g.i.prefix & PREFIX_SEG) { /* so that every address can be reached */
        c->in.fs = rng_chance(&g.r, 50) ? 0 : rng_below(&g.r, 0x8000000);
        c->in.gs = rng_chance(&g.r, 50) ? 0 : rng_below(&g.r, 0x8000000);
    }
    if (!(row->opcode == 0xf7 && (row->lift == LIFT_mmx || row->lift == LIFT_maskmov || row->lift == LIFT_avx_maskmov)))
        hw_choose_segments(&g.r, c);
    if (row->lift == LIFT_arpl)
        hw_no_read_only(c);
    choose_pc(&g);
    c->undefined = hw_flag_bits(row->flags_undefined);
    if (c->length == g.i.length && !suit(&g))
        return false;
    hw_narrow(c);
    bool room = c->pc + c->length + 16 - hw_segment_base(c, SEG_CS) <= hw_code_limit(c);
    bool reads_code = c->bits != 64 && g.i.mem.seg == SEG_CS;
    c->stub = room && !reads_code && !g.spoiled && !ends_elsewhere(&g.i) && c->length == g.i.length;
    c->flush = rng_chance(&g.r, 10);
    if (rng_chance(&g.r, 4)) { /* alignment checks; the stub's own access is not aligned */
        c->in.flags |= FL_AC;
        c->stub = false;
    }
    return true;
}
