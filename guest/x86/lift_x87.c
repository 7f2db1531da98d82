/* guest/x86/lift_x87.c: x87 and MMX insns, and the saving of processor state: all by helpers.
 *
 * help_x87 (sys_x87.c) takes the insn packed into a word, and checks CR0, pending exceptions and the existence of the
 * insn itself.
 */
#include "guest/x86/lift_int.h"

/* Bytes an x87 memory operand takes, for the check of a segment that is not flat; negative: written.  By opcode and
 * modrm.reg; environment and state depend on the operand size (SDM vol. 2, FLDENV, FRSTOR). */
static int x87_bytes(const struct x86_insn *i)
{
    static const int8_t bytes[8][8] = {
        {4, 4, 4, 4, 4, 4, 4, 4},       {4, 1, -4, -4, 28, 2, -28, -2},  {4, 4, 4, 4, 4, 4, 4, 4},
        {4, -4, -4, -4, 1, 10, 1, -10}, {8, 8, 8, 8, 8, 8, 8, 8},        {8, -8, -8, -8, 108, 1, -108, -2},
        {2, 2, 2, 2, 2, 2, 2, 2},       {2, -2, -2, -2, 10, 8, -10, -8},
    };
    int n = bytes[i->opcode & 7][i->modrm >> 3 & 7];

    if (i->osize == 2 && (n >= 28 || n <= -28))
        n += n > 0 ? -14 : 14;
    return n;
}

static void call_x87(struct x86_lift *l, const struct x86_insn *i, ir_ref addr)
{
    unsigned modrm = i->has_modrm ? i->modrm : 0xc0; /* EMMS: no memory operand */
    uint64_t a = i->opcode | (uint64_t)modrm << 8 | (uint64_t)i->map << 16 | (uint64_t)i->mandatory << 24 |
                 (uint64_t)(uint8_t)i->imm << 32 | (uint64_t)i->rex << 40 | (uint64_t)i->osize << 48;

    ops_call(l, HELPER_X87, ops_const(l, (int64_t)a), addr == IR_NONE ? ops_const(l, 0) : addr,
             ops_const(l, (int64_t)i->mem.seg << 24));
}

/* Where the segment can fault: #NM and a pending #MF go before it (SDM vol. 3, 6.9).  family: of help_sse_check. */
static void check_first(struct x86_lift *l, const struct x86_insn *i, unsigned family, bool waits, bool write)
{
    enum { FAMILY_FWAIT = 4 };
    bool fs_gs = i->mem.seg == SEG_FS || i->mem.seg == SEG_GS;

    if (mode64(l) || (mode_flat(l) && !fs_gs && !(write && i->mem.seg == SEG_CS)))
        return;
    ops_call_const(l, HELPER_SSE_CHECK, family, 0, 0);
    if (waits)
        ops_call_const(l, HELPER_SSE_CHECK, FAMILY_FWAIT, 0, 0);
}

/* D8..DF, and FWAIT 9B. */
void lift_x87(struct x86_lift *l, const struct x86_insn *i)
{
    if (i->opcode == 0x9b) {
        ops_call_const(l, HELPER_SSE_CHECK, 4, 0, 0);
        return;
    }
    int n = x87_bytes(i);
    bool mem = i->modrm < 0xc0, control = (i->opcode == 0xd9 || i->opcode == 0xdd) && (i->modrm >> 3 & 7) >= 6;
    if (mem)
        check_first(l, i, 1, !control, n < 0);
    call_x87(l, i, mem ? ops_linear(l, i, (unsigned)(n < 0 ? -n : n), n < 0) : IR_NONE);
}

static bool mmx_writes_memory(const struct x86_insn *i)
{
    return i->op[0].kind == OPERAND_MEM;
}

void lift_mmx(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref addr = IR_NONE;
    bool waits = i->map != 1 || i->opcode != 0x2a; /* not CVTPI2PS and CVTPI2PD from memory */

    for (unsigned n = 0; n < i->noperands; n++)
        if (i->op[n].kind == OPERAND_MEM) {
            check_first(l, i, 2, waits, mmx_writes_memory(i) || i->opcode == 0xf7);
            addr = ops_linear(l, i, i->op[n].bytes, mmx_writes_memory(i) || i->opcode == 0xf7);
        }
    call_x87(l, i, addr);
}

/* ---- state images
 * ----------------------------------------------------------------------------------------------------- */

enum { FXSAVE_BYTES = 512, XSAVE_HEADER_END = 576 };

static void check_x87(struct x86_lift *l)
{
    if (l->mode & MODE_NOFPU)
        ops_call_const(l, HELPER_SSE_CHECK, 1, 0, 0);
}

static void save(struct x86_lift *l, const struct x86_insn *i, enum x86_helper h, unsigned bytes, bool write,
                 unsigned c)
{
    ir_ref addr = ops_linear(l, i, bytes, write);
    ops_call(l, h, addr, ops_const(l, (i->rex & 8 ? 1 : 0) | i->mem.seg << 8), ops_const(l, c));
}

void lift_fxsave(struct x86_lift *l, const struct x86_insn *i)
{
    check_x87(l);
    save(l, i, HELPER_FXSAVE, FXSAVE_BYTES, true, 0);
}

void lift_fxrstor(struct x86_lift *l, const struct x86_insn *i)
{
    check_x87(l);
    save(l, i, HELPER_FXRSTOR, FXSAVE_BYTES, false, 0);
}

/* XSAVE 0F AE /4, XSAVEOPT 0F AE /6, XSAVEC 0F C7 /4, XSAVES 0F C7 /5. */
void lift_xsave(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned reg = i->modrm >> 3 & 7;
    save(l, i, HELPER_XSAVE, XSAVE_HEADER_END, true, i->opcode == 0xae ? (reg == 6 ? 1 : 0) : reg - 2);
}

/* XRSTOR 0F AE /5, XRSTORS 0F C7 /3. */
void lift_xrstor(struct x86_lift *l, const struct x86_insn *i)
{
    save(l, i, HELPER_XRSTOR, XSAVE_HEADER_END, false, i->opcode == 0xae ? 0 : 3);
}
