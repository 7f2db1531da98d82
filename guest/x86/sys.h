/* guest/x86/sys.h: what the sys_*.c files share: the shape of a helper, guest memory in bulk, what a CPU model offers.
 *
 * Private to guest/x86.  Bulk accesses go in pieces of at most 64 bytes; an insn that must not store half of its
 * operand calls sys_probe_write first, one that must not load half of it reads everything into a buffer before it
 * changes any state.  Bulk accesses check no alignment: an insn that does calls sys_check_alignment before them.
 */
#ifndef RHEA_X86_SYS_H
#define RHEA_X86_SYS_H

#include "guest/x86/run_int.h"

#include <string.h>

/* The head of a helper's definition; few of them use all three arguments. */
#define X86_HELP(fn)                                                                                                   \
    uint64_t fn(struct x86 *x, uint64_t a __attribute__((unused)), uint64_t b __attribute__((unused)),                 \
                uint64_t c __attribute__((unused)))

/* ---- sys_xsave.c ------------------------------------------------------------------------------------------- */

/* Offset in the standard format and size of state component n (2..62); size 0: no such component. */
unsigned xsave_component_size(unsigned n);
unsigned xsave_component_offset(unsigned n);
/* Bytes of an XSAVE area that holds `components`. */
unsigned xsave_area_size(uint64_t components, bool compacted);
enum { MXCSR_MASK = 0xffff }; /* DAZ, no misaligned-exception bit */

/* ---- sys_io.c ---------------------------------------------------------------------------------------------- */

/* Raise #GP(0) if the insn may not touch these ports. */
void sys_io_check(struct x86 *x, unsigned port, unsigned bytes);

/* ---- sys_x87.c, sys_mmx.c ---------------------------------------------------------------------------------- */

/* Where things lie in struct x86's fx (FXSAVE64, SDM vol. 2, table 3-46). */
enum {
    FX_CW = 0,
    FX_SW = 2,
    FX_TW = 4,
    FX_OP = 6,
    FX_IP = 8,
    FX_DP = 16,
    FX_MXCSR = 24,
    FX_MXCSR_MASK = 28,
    FX_ST = 32,
    FX_XMM = 160,
};
enum { X87_SW_ES = 0x80, X87_SW_B = 0x8000 };
static inline uint16_t fx_get(const struct x86 *x, unsigned at)
{
    return (uint16_t)bytes_get(x->fx + at, 2);
}
static inline void fx_put(struct x86 *x, unsigned at, uint16_t v)
{
    bytes_put(x->fx + at, v, 2);
}
/* An insn for help_x87, taken apart. */
struct x87_insn {
    uint8_t op, modrm, map, prefix, imm, rex, osize;
    bool mem;
    gva_t gva; /* of the memory operand */
    enum x86_seg seg;
};
/* Between these x->fx is the x87 state.  give: length of the insn; leaves the block if an exception is unmasked now and
 * was not, or the other way round, so it comes last. */
void x87_take(struct x86 *x);
void x87_give(struct x86 *x, unsigned length);
/* Set ES and B as the exception flags and masks say.  After every load of the control or status word. */
void x87_summary(struct x86 *x);
void x87_init(struct x86 *x); /* what FNINIT does */
/* Run `code` on the host's own x87 with the state of image fx (x->fx or a copy); buf is the memory operand, [rax].
 * FOP, FIP and FDP stay as they were. */
void x87_native(struct x86 *x, void *fx, const uint8_t *code, unsigned n, void *buf);
void x87_mmx(struct x86 *x, const struct x87_insn *i);

/* ---- model.c ----------------------------------------------------------------------------------------------- */

bool x86_model_has(const struct x86_model *m, enum x86_feature f);
bool x86_model_is_intel(const struct x86_model *m);
uint64_t x86_model_xcr0(const struct x86_model *m); /* components XSETBV may enable */

/* ---- guest memory in bulk ---------------------------------------------------------------------------------- */

static inline unsigned sys_tag(enum x86_seg seg)
{
    return (unsigned)seg << MD_TAG_SHIFT;
}

/* An operand that must be aligned: the address itself is looked at first.  #SS or #GP by its segment (vol. 3, 6.15). */
static inline void sys_check_aligned(struct x86 *x, gva_t gva, unsigned align, enum x86_seg seg)
{
    if (!x86_canonical(x, gva))
        x86_raise_error(x, seg == SEG_SS ? EX_SS : EX_GP, 0);
    if (gva & (align - 1))
        x86_raise_error(x, EX_GP, 0);
}

/* #AC if the guest asks for checks and gva is not aligned so (vol. 3, 6.15, interrupt 17). */
static inline void sys_check_alignment(struct x86 *x, gva_t gva, unsigned align, enum x86_seg seg)
{
    if (!x86_canonical(x, gva))
        x86_raise_error(x, seg == SEG_SS ? EX_SS : EX_GP, 0);
    if (gva & (align - 1) && x86_table_kind(x, x86_walk_access(x, 0)) == TLB_NONE)
        x86_raise_error(x, EX_AC, 0);
}

/* An unsigned view of the host address of a guest one. */
static inline void *sys_host(gva_t gva, int64_t addend)
{
    return (void *)(uintptr_t)(gva + (uint64_t)addend);
}

static inline void sys_read(struct x86 *x, gva_t gva, void *to, unsigned n, enum x86_seg seg)
{
    for (unsigned done = 0; done < n;) {
        unsigned k = n - done < 64 ? n - done : 64;
        x86_read_bytes(x, gva + done, (uint8_t *)to + done, k, MD_ANY_ALIGN | sys_tag(seg));
        done += k;
    }
}

static inline void sys_write(struct x86 *x, gva_t gva, const void *from, unsigned n, enum x86_seg seg)
{
    for (unsigned done = 0; done < n;) {
        unsigned k = n - done < 64 ? n - done : 64;
        x86_write_bytes(x, gva + done, (const uint8_t *)from + done, k, MD_ANY_ALIGN | sys_tag(seg));
        done += k;
    }
}

/* Fault as a store of one operand of n bytes would, its alignment checked; change nothing. */
static inline void sys_probe_operand(struct x86 *x, gva_t gva, unsigned n, enum x86_seg seg)
{
    x->access->write(&x->cpu, gva, n | MD_WRITE | MD_PROBE | sys_tag(seg));
    x->cpu.pending = 0;
}

/* Fault as a write of [gva, gva + n) would; change nothing. */
static inline void sys_probe_write(struct x86 *x, gva_t gva, unsigned n, enum x86_seg seg)
{
    for (unsigned done = 0; done < n;) {
        unsigned to_page = 4096 - (unsigned)((gva + done) & 4095), k = n - done < to_page ? n - done : to_page;
        x->access->write(&x->cpu, gva + done, 1 | MD_WRITE | MD_PROBE | sys_tag(seg));
        x->cpu.pending = 0;
        done += k;
    }
}

#endif
