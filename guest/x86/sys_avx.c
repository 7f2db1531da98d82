/* guest/x86/sys_avx.c: AVX and AVX-512 beyond what runs as host instructions: the first use, gathers and scatters.
 *
 * Gathers and scatters (SDM vol. 2, VPGATHERDD and its like) go element by element, from the lowest on.  Each element's
 * mask is cleared when it is done, so a fault in the midst leaves a state from which the insn goes on.  Alignment is
 * not checked.
 */
#include "guest/x86/sys.h"
#include "ir/ir.h"

X86_HELP(help_avx_enable)
{
    unsigned usable = x86_vec_usable(x);
    if (usable < a)
        x86_raise(x, EX_UD);
    if (x->cr0 & CR0_TS)
        x86_raise(x, EX_NM);
    unsigned cpl = x->mode & MODE_VM86 ? 3 : x86_cpl(x);
    x->vec_wanted[cpl == 3] = (uint8_t)usable; /* all there is: AVX clears the upper halves of ZMM */
    x86_mode_update(x);
    x->cpu.pc = cpu_insn_pc(&x->cpu);
    x86_leave(x, LEAVE_AGAIN);
}

/* Touch the elements of a masked access one by one, so that the first that faults is told: a page fault or #AC
 * within the segment comes before its limit, as AMD has it. */
static void touch_elements(struct x86 *x, gva_t ea, unsigned seg, uint32_t how, uint64_t selected, bool write)
{
    unsigned bytes = ir_avx_element_bytes(how);
    unsigned desc = bytes | sys_tag(seg) | (ir_avx_checked_alignment(how) == 1 ? MD_ANY_ALIGN : 0);
    for (unsigned at = 0; at < 64; at += bytes) {
        if (!(selected >> at & 1))
            continue;
        if (ea + at > UINT32_MAX)
            x86_raise_error(x, seg == SEG_SS ? EX_SS : EX_GP, 0);
        gva_t gva = help_seg_linear(x, ea + at, seg, bytes | (write ? SEG_WRITES : 0u));
        if (write)
            x->access->write(&x->cpu, gva, desc | MD_WRITE | MD_PROBE);
        else
            x->access->read(&x->cpu, gva, desc);
    }
}

/* What is not touched may lie outside the segment. */
X86_HELP(help_avx_linear)
{
    unsigned seg = b & 0xff, reg = b >> 16 & 31;
    uint32_t how = (uint32_t)c;
    bool sign = ir_avx_selects_by_sign(how);
    uint64_t from = sign ? ir_avx_signs(x->cpu.vec[reg], ir_avx_element_bytes(how)) : x->cpu.mask[reg & 7];
    uint64_t bytes = ir_avx_selected(how, from);

    if (!bytes)
        return (uint32_t)(x->cpu.reg[X86_BASE_ES + seg] + a);
    bool write = b >> 8 & 1, aligned = b >> 9 & 1;
    if (aligned && (x->cpu.reg[X86_BASE_ES + seg] + a) & (ir_avx_memory_bytes(how) - 1))
        x86_raise_error(x, EX_GP, 0);
    unsigned first = (unsigned)__builtin_ctzll(bytes), n = 64 - first - (unsigned)__builtin_clzll(bytes);
    if (a + first > UINT32_MAX || !x86_seg_within(&x->seg[seg], (uint32_t)(a + first), n))
        touch_elements(x, a, seg, how, bytes, write);
    return (uint32_t)(help_seg_linear(x, a + first, seg, n | (write ? SEG_WRITES : 0u)) - first);
}

/* The linear address of element n. */
static gva_t element_address(struct x86 *x, const union x86_gather *g, uint64_t base, unsigned n)
{
    unsigned bytes = g->index8 ? 8 : 4;
    int64_t index = sign_extend(bytes_get(x->cpu.vec[g->index] + n * bytes, bytes), 8 * bytes);
    uint64_t ea = (base + ((uint64_t)index << g->scale)) & mask_bits(8 * g->asize);
    return help_seg_linear(x, ea, g->seg, (g->data8 ? 8 : 4) | (g->scatter ? SEG_WRITES : 0u));
}

static unsigned data_bytes(const union x86_gather *g)
{
    return g->data8 ? 8 : 4;
}

static bool wanted(const struct x86 *x, const union x86_gather *g, unsigned n)
{
    unsigned bytes = data_bytes(g);
    return g->evex ? x->cpu.mask[g->mask] >> n & 1 : x->cpu.vec[g->mask][n * bytes + bytes - 1] & 0x80;
}

/* What lies beyond the elements becomes 0. */
static void finish(struct x86 *x, const union x86_gather *g)
{
    unsigned all = g->count * data_bytes(g);
    if (!g->scatter)
        memset(x->cpu.vec[g->data] + all, 0, 64 - all);
    if (g->evex)
        x->cpu.mask[g->mask] = 0;
    else
        memset(x->cpu.vec[g->mask], 0, 64);
}

/* Element n is behind us.  What a fault further on finds is the implementation's choice; this is AMD's. */
static void pass(struct x86 *x, const union x86_gather *g, unsigned n)
{
    unsigned bytes = data_bytes(g), length = g->count * (g->index8 ? 8 : bytes);
    if (!g->evex) {
        memset(x->cpu.vec[g->mask] + n * bytes, 0, bytes);
    } else if (wanted(x, g, n)) {
        x->cpu.mask[g->mask] &= ~(1ull << n);
        if (!g->scatter)
            memset(x->cpu.vec[g->data] + length, 0, 64 - length);
    }
}

X86_HELP(help_gather)
{
    const union x86_gather g = {.packed = b};
    unsigned bytes = data_bytes(&g), md = sys_tag(g.seg) | MD_ANY_ALIGN;
    uint8_t *data = x->cpu.vec[g.data];

    for (unsigned n = 0; n < g.count; n++) {
        if (wanted(x, &g, n)) {
            gva_t at = element_address(x, &g, a, n);
            if (g.scatter)
                x86_write_bytes(x, at, data + n * bytes, bytes, md);
            else
                x86_read_bytes(x, at, data + n * bytes, bytes, md);
        }
        pass(x, &g, n);
    }
    finish(x, &g);
    return 0;
}
