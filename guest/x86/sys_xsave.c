/* guest/x86/sys_xsave.c: FXSAVE and FXRSTOR, the XSAVE family, MXCSR, and whether SSE and x87 insns are allowed at all.
 *
 * An XSAVE area (SDM vol. 1, 13.4):
 *
 *     0      x87: FCW FSW FTW FOP FIP FDP     24 MXCSR, MXCSR_MASK     32 ST0..ST7     160 XMM0..XMM15     416..511
 *     not touched
 *     512    header: XSTATE_BV, XCOMP_BV, 48 bytes of zeros
 *     576    components 2.. at fixed offsets (standard), or one after the other in order of number (compacted,
 *     XCOMP_BV bit 63)
 *
 * Components: 0 x87, 1 SSE, 2 AVX (upper halves of YMM0..15), 5 opmasks, 6 upper halves of ZMM0..15, 7 ZMM16..31,
 * 9 PKRU, where Intel's processors have them.  CPUID leaf 0DH (model.c) tells the same numbers, from the table below.
 *
 * Rules to know before editing
 *   - Nothing is stored before the whole area is known to be writable, nothing is loaded before all checks have passed.
 *   - Without REX.W, FIP and FDP are 32 bits with a selector behind them, which we keep at zero.
 *   - Vector registers 8 and up exist only in 64-bit mode; outside, saves and restores leave them alone.
 *   - The image in x->fx is x87 only, and must be fetched or taken first (sys_x87.c); MXCSR lives in cpu.mxcsr, vectors in
 *     cpu.vec and cpu.mask.
 */
#include "guest/x86/sys.h"

enum {
    AREA_HEADER = 512,
    AREA_EXTENDED = 576,
    AREA_MAX = 2696,
    COMPONENT_MAX = 1024,
    PKRU_NUMBER = 9,
    MXCSR_RESET = 0x1f80,
    KIND_SAVE = 0,
    KIND_OPT = 1,
    KIND_COMPACT = 2,
    KIND_SUPERVISOR = 3,
};

struct header {
    uint64_t xstate, xcomp, zero[6];
};

/* ---- where components lie ------------------------------------------------------------------------------------- */

/* A component made of registers: `count` of them from `first` on, `bytes` of each from byte `from` on. */
struct component {
    uint16_t offset, size;
    uint8_t first, count, from, bytes;
};
enum { OPMASK_NUMBER = 5 };
static const struct component components[] = {
    [2] = {576, 256, 0, 16, 16, 16},   [OPMASK_NUMBER] = {1088, 64, 0, 0, 0, 0}, [6] = {1152, 512, 0, 16, 32, 32},
    [7] = {1664, 1024, 16, 16, 0, 64}, [PKRU_NUMBER] = {2688, 8, 0, 0, 0, 0},
};

unsigned xsave_component_size(unsigned n)
{
    return n < ARRAY_LEN(components) ? components[n].size : 0;
}

unsigned xsave_component_offset(unsigned n)
{
    return n < ARRAY_LEN(components) ? components[n].offset : 0;
}

/* Offset of component n in an area of this layout. */
static unsigned offset_in(unsigned n, uint64_t components, bool compacted)
{
    unsigned at = AREA_EXTENDED;

    if (!compacted)
        return xsave_component_offset(n);
    for (unsigned k = 2; k < n; k++)
        if (components >> k & 1)
            at += xsave_component_size(k);
    return at;
}

unsigned xsave_area_size(uint64_t components, bool compacted)
{
    unsigned size = AREA_EXTENDED;

    for (unsigned n = 2; n < 63; n++) {
        if (!(components >> n & 1))
            continue;
        unsigned end = offset_in(n, components, compacted) + xsave_component_size(n);
        if (end > size)
            size = end;
    }
    return size;
}

/* ---- components to and from an image of the area ----------------------------------------------------------------- */

static unsigned vectors(const struct x86 *x)
{
    return x->mode & MODE_64 ? 16 : 8;
}

/* x87's 24 bytes before MXCSR and the registers. */
static void x87_out(const struct x86 *x, uint8_t *area, bool rex_w)
{
    memcpy(area, x->fx, FX_MXCSR);
    if (!rex_w) {
        bytes_put(area + FX_IP + 4, 0, 4);
        bytes_put(area + FX_DP + 4, 0, 4);
    }
    for (unsigned r = 0; r < 8; r++) {
        memcpy(area + FX_ST + 16 * r, x->fx + FX_ST + 16 * r, 10);
        memset(area + FX_ST + 16 * r + 10, 0, 6);
    }
}

static void x87_in(struct x86 *x, const uint8_t *area, bool rex_w)
{
    memcpy(x->fx, area, FX_MXCSR);
    memcpy(x->fx + FX_ST, area + FX_ST, 128);
    if (!rex_w) {
        bytes_put(x->fx + FX_IP + 4, 0, 4);
        bytes_put(x->fx + FX_DP + 4, 0, 4);
    }
    fx_put(x, FX_CW, (fx_get(x, FX_CW) & 0x1f3f) | 0x40);
    fx_put(x, FX_TW, fx_get(x, FX_TW) & 0xff);
    fx_put(x, FX_OP, fx_get(x, FX_OP) & 0x7ff);
    x87_summary(x);
}

static void x87_reset(struct x86 *x)
{
    memset(x->fx, 0, FX_XMM);
    fx_put(x, FX_CW, 0x37f);
}

/* How many registers of component n this mode has. */
static unsigned registers(const struct x86 *x, unsigned n)
{
    return x->mode & MODE_64 ? components[n].count : components[n].first ? 0 : 8;
}

/* Returns how many bytes there are. */
static unsigned component_out(const struct x86 *x, unsigned n, uint8_t *to)
{
    const struct component *c = &components[n];
    if (n == PKRU_NUMBER)
        bytes_put(to, x->pkru, c->size);
    else if (n == OPMASK_NUMBER)
        memcpy(to, x->cpu.mask, c->size);
    if (!c->count)
        return c->size;
    for (unsigned r = 0; r < registers(x, n); r++)
        memcpy(to + c->bytes * r, x->cpu.vec[c->first + r] + c->from, c->bytes);
    return c->bytes * registers(x, n);
}

/* From NULL: the initial state. */
static void component_in(struct x86 *x, unsigned n, const uint8_t *from)
{
    static const uint8_t zeros[COMPONENT_MAX];
    const struct component *c = &components[n];
    if (!from)
        from = zeros;
    if (n == PKRU_NUMBER) {
        uint32_t pkru = (uint32_t)bytes_get(from, 4);
        if (pkru != x->pkru) {
            x->pkru = pkru;
            x86_flush_all(x);
        }
        return;
    }
    if (n == OPMASK_NUMBER)
        memcpy(x->cpu.mask, from, c->size);
    for (unsigned r = 0; c->count && r < registers(x, n); r++)
        memcpy(x->cpu.vec[c->first + r] + c->from, from + c->bytes * r, c->bytes);
}

static void xmm_in(struct x86 *x, const uint8_t *from)
{
    for (unsigned r = 0; r < vectors(x); r++) {
        if (from)
            memcpy(x->cpu.vec[r], from + 16 * r, 16);
        else
            memset(x->cpu.vec[r], 0, 16);
    }
}

static bool all_zero(const uint8_t *p, unsigned n)
{
    uint64_t any = 0;
    unsigned i = 0;

    for (; i + 8 <= n; i += 8)
        any |= bytes_get(p + i, 8);
    for (; i < n; i++)
        any |= p[i];
    return !any;
}

static bool component_in_use(const struct x86 *x, unsigned n)
{
    const struct component *c = &components[n];
    if (n == PKRU_NUMBER)
        return x->pkru;
    if (n == OPMASK_NUMBER)
        return !all_zero((const uint8_t *)x->cpu.mask, c->size);
    for (unsigned r = 0; c->count && r < registers(x, n); r++)
        if (!all_zero(x->cpu.vec[c->first + r] + c->from, c->bytes))
            return true;
    return false;
}

/* XINUSE: components that are not in their initial state (vol. 1, 13.6). */
static uint64_t in_use(const struct x86 *x)
{
    uint64_t used = 0;

    if (fx_get(x, FX_CW) != 0x37f || !all_zero(x->fx + FX_SW, FX_MXCSR - FX_SW) ||
        !all_zero(x->fx + FX_ST, FX_XMM - FX_ST))
        used |= XCOMP_X87;
    for (unsigned r = 0; r < vectors(x); r++)
        if (!all_zero(x->cpu.vec[r], 16))
            used |= XCOMP_SSE;
    for (unsigned n = 2; n < ARRAY_LEN(components); n++)
        if (component_in_use(x, n))
            used |= 1ull << n;
    return used;
}

/* ---- FXSAVE, FXRSTOR (vol. 2)
 * ---------------------------------------------------------------------------------------- */

static void fx_checks(struct x86 *x, gva_t gva, enum x86_seg seg)
{
    if (x->cr0 & (CR0_EM | CR0_TS))
        x86_raise(x, EX_NM);
    sys_check_alignment(x, gva, 4, seg); /* AMD's; vol. 3, 6.15 leaves open what goes before #GP */
    sys_check_aligned(x, gva, 16, seg);
}

X86_HELP(help_fxsave)
{
    uint8_t area[FX_XMM + 256];
    bool sse = x->cr4 & CR4_OSFXSR;
    unsigned n = FX_XMM + (sse ? 16 * vectors(x) : 0);

    fx_checks(x, a, (enum x86_seg)(b >> 8));
    x86_x87_fetch(x);
    x87_out(x, area, b & 1);
    bytes_put(area + FX_MXCSR, x->cpu.mxcsr, 4);
    bytes_put(area + FX_MXCSR_MASK, MXCSR_MASK, 4);
    for (unsigned r = 0; r < vectors(x); r++)
        memcpy(area + FX_XMM + 16 * r, x->cpu.vec[r], 16);
    sys_probe_write(x, a, 512, SEG_DS);
    sys_write(x, a, area, n, SEG_DS);
    return 0;
}

X86_HELP(help_fxrstor)
{
    uint8_t area[512];

    fx_checks(x, a, (enum x86_seg)(b >> 8));
    sys_read(x, a, area, sizeof area, SEG_DS);
    uint32_t mxcsr = (uint32_t)bytes_get(area + FX_MXCSR, 4);
    if (mxcsr & ~MXCSR_MASK)
        x86_raise_error(x, EX_GP, 0);
    x87_take(x);
    x87_in(x, area, b & 1);
    x->cpu.mxcsr = mxcsr;
    if (x->cr4 & CR4_OSFXSR)
        xmm_in(x, area + FX_XMM);
    x87_give(x, c >> 8 & 0xff);
    return 0;
}

/* ---- XSAVE, XSAVEOPT, XSAVEC, XSAVES (vol. 1, 13.7 to 13.11)
 * ------------------------------------------------------- */

static void x_checks(struct x86 *x, gva_t gva, bool supervisor, enum x86_seg seg)
{
    if (!(x->cr4 & CR4_OSXSAVE))
        x86_raise(x, EX_UD);
    if (x->cr0 & CR0_TS)
        x86_raise(x, EX_NM);
    if (supervisor)
        x86_need_cpl0(x);
    sys_check_aligned(x, gva, 64, seg);
}

static uint64_t edx_eax(const struct x86 *x)
{
    return (x->cpu.reg[X86_RDX] << 32) | (uint32_t)x->cpu.reg[X86_RAX];
}

/* Store components `stored` of an area made for `layout`. */
static void save(struct x86 *x, gva_t gva, uint64_t stored, uint64_t layout, bool compacted, bool mxcsr, bool rex_w)
{
    uint8_t area[FX_XMM + 256], part[COMPONENT_MAX] = {0};

    x87_out(x, area, rex_w);
    bytes_put(area + FX_MXCSR, x->cpu.mxcsr, 4);
    bytes_put(area + FX_MXCSR_MASK, MXCSR_MASK, 4);
    if (stored & XCOMP_X87) {
        sys_write(x, gva, area, FX_MXCSR, SEG_DS);
        sys_write(x, gva + FX_ST, area + FX_ST, FX_XMM - FX_ST, SEG_DS);
    }
    if (mxcsr)
        sys_write(x, gva + FX_MXCSR, area + FX_MXCSR, 8, SEG_DS);
    for (unsigned r = 0; r < vectors(x); r++)
        memcpy(area + FX_XMM + 16 * r, x->cpu.vec[r], 16);
    if (stored & XCOMP_SSE)
        sys_write(x, gva + FX_XMM, area + FX_XMM, 16 * vectors(x), SEG_DS);
    for (unsigned n = 2; n < 63; n++) {
        if (!(stored >> n & 1))
            continue;
        unsigned size = component_out(x, n, part);
        sys_write(x, gva + offset_in(n, layout, compacted), part, size, SEG_DS);
    }
}

X86_HELP(help_xsave)
{
    bool compacted = c >= KIND_COMPACT, optimised = c != KIND_SAVE;
    uint64_t enabled = x->xcr0 | (c == KIND_SUPERVISOR ? x->xss : 0);

    x_checks(x, a, c == KIND_SUPERVISOR, (enum x86_seg)(b >> 8));
    x86_x87_fetch(x);
    uint64_t wanted = edx_eax(x) & enabled, used = in_use(x);
    if (compacted && x->cpu.mxcsr != MXCSR_RESET)
        used |= XCOMP_SSE;
    uint64_t stored = optimised ? wanted & used : wanted;
    bool mxcsr = compacted ? (stored & XCOMP_SSE) != 0 : (wanted & (XCOMP_SSE | XCOMP_AVX)) != 0;

    sys_probe_write(x, a, xsave_area_size(wanted, compacted), SEG_DS);
    uint64_t header[2] = {wanted & used, wanted | XCOMP_COMPACT};
    if (!compacted)
        header[0] |= x86_load(x, a + AREA_HEADER, 8, SEG_DS) & ~wanted;
    save(x, a, stored, wanted, compacted, mxcsr, b & 1);
    sys_write(x, a + AREA_HEADER, header, compacted ? 16 : 8, SEG_DS);
    return 0;
}

/* ---- XRSTOR, XRSTORS (vol. 1, 13.8, 13.12)
 * ------------------------------------------------------------------------- */

static bool header_is_valid(const struct x86 *x, const struct header *h, uint64_t enabled, bool supervisor)
{
    bool compacted = h->xcomp & XCOMP_COMPACT;

    if (!compacted)
        return !supervisor && !h->xcomp && !h->zero[0] && !(h->xstate & ~enabled);
    if (!x86_model_has(x->model, FEAT_XSAVEC) || !all_zero((const uint8_t *)h->zero, sizeof h->zero))
        return false;
    return !(h->xcomp & ~XCOMP_COMPACT & ~enabled) && !(h->xstate & ~h->xcomp) && !(h->xstate >> 63);
}

/* A copy of the area that h describes, legacy part and wanted components, each at its place. */
static void fetch(struct x86 *x, gva_t gva, uint8_t *area, const struct header *h, uint64_t wanted)
{
    bool compacted = h->xcomp & XCOMP_COMPACT;

    sys_read(x, gva, area, FX_XMM + 256, SEG_DS);
    for (unsigned n = 2; n < 63; n++) {
        if (!((wanted & h->xstate) >> n & 1))
            continue;
        unsigned at = offset_in(n, h->xcomp, compacted);
        sys_read(x, gva + at, area + at, xsave_component_size(n), SEG_DS);
    }
}

X86_HELP(help_xrstor)
{
    uint8_t area[AREA_MAX];
    struct header h;
    bool supervisor = (c & 0xff) == KIND_SUPERVISOR;
    uint64_t enabled = x->xcr0 | (supervisor ? x->xss : 0);

    x_checks(x, a, supervisor, (enum x86_seg)(b >> 8));
    sys_read(x, a + AREA_HEADER, &h, sizeof h, SEG_DS);
    if (!header_is_valid(x, &h, enabled, supervisor))
        x86_raise_error(x, EX_GP, 0);
    bool compacted = h.xcomp & XCOMP_COMPACT;
    uint64_t wanted = edx_eax(x) & enabled, present = wanted & h.xstate;
    fetch(x, a, area, &h, wanted);

    uint32_t mxcsr = x->cpu.mxcsr;
    if (compacted ? present & XCOMP_SSE : wanted & (XCOMP_SSE | XCOMP_AVX))
        mxcsr = (uint32_t)bytes_get(area + FX_MXCSR, 4);
    else if (compacted && (wanted & XCOMP_SSE))
        mxcsr = MXCSR_RESET;
    if (mxcsr & ~MXCSR_MASK)
        x86_raise_error(x, EX_GP, 0);

    x87_take(x);
    x->cpu.mxcsr = mxcsr;
    if (present & XCOMP_X87)
        x87_in(x, area, b & 1);
    else if (wanted & XCOMP_X87)
        x87_reset(x);
    if (wanted & XCOMP_SSE)
        xmm_in(x, present & XCOMP_SSE ? area + FX_XMM : NULL);
    for (unsigned n = 2; n < 63; n++)
        if (wanted >> n & 1)
            component_in(x, n, present >> n & 1 ? area + offset_in(n, h.xcomp, compacted) : NULL);
    x87_give(x, c >> 8 & 0xff);
    return 0;
}

/* ---- XCR0, MXCSR
 * ------------------------------------------------------------------------------------------------------- */

static void need_osxsave(struct x86 *x)
{
    if (!(x->cr4 & CR4_OSXSAVE))
        x86_raise(x, EX_UD);
}

X86_HELP(help_xgetbv)
{
    uint32_t which = (uint32_t)x->cpu.reg[X86_RCX];
    uint64_t v = x->xcr0;

    need_osxsave(x);
    if (which == 1 && x86_model_has(x->model, FEAT_XGETBV1)) {
        x86_x87_fetch(x);
        v &= in_use(x);
    } else if (which) {
        x86_raise_error(x, EX_GP, 0);
    }
    x->cpu.reg[X86_RAX] = (uint32_t)v;
    x->cpu.reg[X86_RDX] = v >> 32;
    return 0;
}

X86_HELP(help_xsetbv)
{
    uint64_t v = edx_eax(x);

    need_osxsave(x);
    x86_need_cpl0(x);
    bool avx_alone = (v & XCOMP_AVX) && !(v & XCOMP_SSE), avx512 = v & XCOMP_AVX512;
    bool split = avx512 && (~v & (XCOMP_AVX512 | XCOMP_AVX)); /* vol. 1, 13.3: all three, and AVX beside */
    if ((uint32_t)x->cpu.reg[X86_RCX] || (v & ~x86_model_xcr0(x->model)) || !(v & XCOMP_X87) || avx_alone || split)
        x86_raise_error(x, EX_GP, 0);
    x->xcr0 = v;
    x86_mode_update(x);
    return 0;
}

X86_HELP(help_ldmxcsr)
{
    if ((uint32_t)a & ~MXCSR_MASK)
        x86_raise_error(x, EX_GP, 0);
    x->cpu.mxcsr = (uint32_t)a;
    return 0;
}

/* ---- may an insn of this family run? (vol. 3, 2.5, 13.1, 14.1; vol. 2, 2.4)
 * -------------------------------------------- */

enum { FAMILY_SSE, FAMILY_X87, FAMILY_MMX, FAMILY_FWAIT = 4 };

X86_HELP(help_sse_check)
{
    bool undefined = false, unavailable = x->cr0 & CR0_TS;

    switch (a) {
    case FAMILY_SSE: undefined = (x->cr0 & CR0_EM) || !(x->cr4 & CR4_OSFXSR); break;
    case FAMILY_X87: unavailable = x->cr0 & (CR0_EM | CR0_TS); break;
    case FAMILY_MMX: undefined = x->cr0 & CR0_EM; break;
    case FAMILY_FWAIT: unavailable = (x->cr0 & CR0_MP) && (x->cr0 & CR0_TS); break;
    }
    if (undefined)
        x86_raise(x, EX_UD);
    if (unavailable)
        x86_raise(x, EX_NM);
    if (a == FAMILY_FWAIT && !x->x87_live && (fx_get(x, FX_SW) & X87_SW_ES)) /* live: all masked */
        x86_raise(x, EX_MF);
    return 0;
}
