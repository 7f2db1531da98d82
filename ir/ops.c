/* ir/ops.c: what an op is, read off ops.def: names, shapes, effects, and which flags it writes and reads.
 *
 * Passes, the verifier and host back ends ask here and never switch over opcodes for such facts, so a new op is one
 * row of ops.def and one case of eval.c or interp.c.
 *
 * Rules to know before editing
 *   - Everything is asked for every op of every translated block by several passes: table lookups, no loops.
 *   - A wrong answer in the direction "writes more, reads less" breaks guests silently; the other direction only
 *     costs speed.
 */
#include "ir/ir.h"

/* The words of ops.def's flag columns.  Low six bits: always.  The six above: KEEP, read as far as setf asks for
 * them. */
enum {
    ARITH = IRF_ALL,
    CF = IRF_CF,
    NOT_CF = IRF_ALL & ~IRF_CF,
    NOT_ZF = IRF_ALL & ~IRF_ZF,
    CF_OF = IRF_CF | IRF_OF,
    KEEP_SHIFT = 8,
    KEEP = IRF_ALL << KEEP_SHIFT,
    KEEP_CF = KEEP | IRF_CF,
    KEEP_PAZS = (IRF_PF | IRF_AF | IRF_ZF | IRF_SF) << KEEP_SHIFT,
    KEEP_PASO = (IRF_PF | IRF_AF | IRF_SF | IRF_OF) << KEEP_SHIFT,
    KEEP_OF = IRF_OF << KEEP_SHIFT,
    CC = 1 << 16,
    SUB = 1 << 17,
};

enum {
    PURE = IRE_PURE,
    READS = IRE_READS | IRE_FAULTS,
    WRITES = IRE_WRITES | IRE_FAULTS,
    READS_WRITES = IRE_READS | IRE_WRITES | IRE_FAULTS,
    CALLS = IRE_CALLS,
    LOADS = IRE_LOADS,
    STORES = IRE_STORES,
    ENDS = IRE_ENDS,
    FAULTS = IRE_FAULTS,
    STAYS = IRE_STAYS,
    VECTOR = 1 << 15,
};

const struct ir_shape ir_shapes[IR_OP_COUNT] = {
#define IR_OP(NAME, operands, writes_f, reads_f, effects, doc) [IR_##NAME] = {#NAME, operands, doc},
#include "ir/ops.def"
};

/* Which ops write the whole of d, whatever their type; never; and where that depends on more: see ir_write_bits. */
#define WRITES_WHOLE(op)                                                                                               \
    ((op) == IR_CRC32 || (op) == IR_PC || (op) == IR_GETF || (op) == IR_LDF || (op) == IR_LDC || (op) == IR_LDZ)
#define WRITES_PART(op) ((op) == IR_SETCC)
#define ODD_WIDTH(op)   ((op) == IR_LDS)
#define SHIFTS(op)      ((op) >= IR_SHL && (op) <= IR_SHRD)

const struct ir_facts ir_facts[IR_OP_COUNT] = {
#define IR_OP(NAME, operands, writes, reads, eff, doc)                                                                 \
    [IR_##NAME] = {                                                                                                    \
        .effects = (eff) & ~VECTOR,                                                                                    \
        .writes_f = (writes)&IRF_ALL,                                                                                  \
        .reads_f = (eff)&IRE_FAULTS ? IRF_ALL : (reads)&IRF_ALL,                                                       \
        .keeps_f = (reads) >> KEEP_SHIFT & IRF_ALL,                                                                    \
        .cc = (reads)&CC ? IRF_ALL : 0,                                                                                \
        .whole = WRITES_WHOLE(IR_##NAME) ? 1 << I8 | 1 << I16 | 1 << I32 | 1 << I64                                    \
                 : operands[IR_D] != 'R' || operands[IR_E] != '.' || WRITES_PART(IR_##NAME) || ODD_WIDTH(IR_##NAME)    \
                     ? 0                                                                                               \
                     : 1 << I32 | 1 << I64,                                                                            \
        .odd = ((eff) == VECTOR ? IR_ODD_EFFECTS : 0) |                                                                \
               ((writes) == SUB || IR_##NAME == IR_SETF ? IR_ODD_WRITES : 0) |                                         \
               (!((eff)&IRE_FAULTS) && ((reads) == SUB || SHIFTS(IR_##NAME)) ? IR_ODD_READS : 0) |                     \
               (operands[IR_E] != '.' || ODD_WIDTH(IR_##NAME) ? IR_ODD_DEST : 0),                                      \
        .accesses = (eff) == VECTOR || ((eff) & (IRE_READS | IRE_WRITES)),                                             \
    },
#include "ir/ops.def"
};

/* Rows that may raise a floating-point exception (Intel SDM vol. 2, "SIMD Floating-Point Exceptions" of each
 * instruction). */
static bool row_raises(const struct ir_vec_row *r)
{
    switch (r->map << 8 | r->opcode) {
    case 0x12a:
    case 0x12c:
    case 0x12d:
    case 0x12e:
    case 0x12f: /* conversions with integers, COMI */
    case 0x151:
    case 0x158:
    case 0x159:
    case 0x15a:
    case 0x15b:
    case 0x15c:
    case 0x15d:
    case 0x15e:
    case 0x15f:
    case 0x17c:
    case 0x17d:
    case 0x1c2:
    case 0x1d0:
    case 0x1e6:
    case 0x308:
    case 0x309:
    case 0x30a:
    case 0x30b:
    case 0x340:
    case 0x341: return true;
    default: return false;
    }
}

static unsigned vec_effects(const struct ir_vec_row *r)
{
    switch (r->form) {
    case VF_W_M:
    case VF_Y_M:
    case VF_R_M:
    case VF_F_M:
    case VF_Y_M0:
    case VF_I_M:
    case VF_K_M: return IRE_READS | IRE_FAULTS;
    case VF_M_U: return IRE_WRITES | IRE_FAULTS;
    default: return row_raises(r) ? IRE_FAULTS : IRE_PURE;
    }
}

static unsigned x87_effects(unsigned form)
{
    return form == X87_READ ? IRE_READS | IRE_FAULTS : form == X87_WRITE ? IRE_WRITES | IRE_FAULTS : IRE_STAYS;
}

static unsigned avx_effects(const struct ir_avx *x)
{
    if (x->msize)
        return (ir_avx_stores(x) ? IRE_WRITES : IRE_READS) | IRE_FAULTS;
    return x->form == IR_AVX_PLAIN ? IRE_STAYS : x->raises ? IRE_FAULTS : IRE_PURE;
}

unsigned ir_odd_effects(const struct ir_op *o)
{
    if (o->op == IR_AVX)
        return avx_effects(&o->avx);
    return o->op == IR_X87 ? x87_effects(o->sub) : vec_effects(&ir_vec_rows[o->row]);
}

bool ir_takes_disp(unsigned opcode, unsigned sub, unsigned flags)
{
    switch (opcode) {
    case IR_LD:
    case IR_LDZ:
    case IR_LDS:
    case IR_ST:
    case IR_VEC:
    case IR_AVX: return true;
    case IR_RMW: /* those that neither read flags nor leave any alone */
        return !(flags & IR_LOCK) &&
               (sub == IR_ADD || sub == IR_SUB || sub == IR_AND || sub == IR_OR || sub == IR_XOR || sub == IR_NOT);
    default: return false;
    }
}

bool ir_access_only(const struct ir_op *o)
{
    switch (o->op) {
    case IR_LD:
    case IR_LDZ:
    case IR_LDS:
    case IR_ST:
    case IR_PROBE: return true;
    case IR_VEC: return ir_vec_rows[o->row].msize && !row_raises(&ir_vec_rows[o->row]);
    case IR_AVX: return o->avx.msize && !o->avx.raises;
    case IR_X87: return o->sub == X87_READ || o->sub == X87_WRITE; /* all its exceptions are masked */
    default: return false;
    }
}

static bool row_sets_flags(const struct ir_op *o)
{
    unsigned form = ir_vec_rows[o->row].form;
    return form == VF_F_U || form == VF_F_M || form >= VF_I_U;
}

unsigned ir_odd_writes_f(const struct ir_op *o)
{
    if (o->op == IR_SETF)
        return o->sub;
    if (o->op == IR_VEC)
        return row_sets_flags(o) ? IRF_ALL : 0;
    if (o->op == IR_X87)
        return o->sub == X87_FLAGS ? IRF_ALL : 0;
    if (o->op == IR_AVX)
        return ir_avx_sets_flags(&o->avx) ? IRF_ALL : 0;
    return ir_facts[o->sub].writes_f; /* RMW */
}

unsigned ir_odd_reads_f(const struct ir_op *o)
{
    const struct ir_facts *f = &ir_facts[o->op];
    if (ir_effects(o) & IRE_FAULTS)
        return IRF_ALL;
    if (o->op == IR_X87)
        return o->sub == X87_CMOV ? IRF_CF | IRF_ZF | IRF_PF : 0;
    if (ir_is_shift(o->op) && ir_is_const(o->op >= IR_SHLD ? o->c : o->b))
        return f->reads_f;
    return f->reads_f | (f->keeps_f & o->setf);
}

const uint8_t ir_cc_flags[8] = {
    IRF_OF, IRF_CF, IRF_ZF, IRF_CF | IRF_ZF, IRF_SF, IRF_PF, IRF_SF | IRF_OF, IRF_ZF | IRF_SF | IRF_OF,
};

const char *ir_operands(const struct ir_op *o)
{
    static const char *const of_form[] = {
        [VF_W_U] = "W.U..I", [VF_W_M] = "W.A..I", [VF_Y_U] = "Y.U..I",  [VF_Y_M] = "Y.A..I",  [VF_M_U] = "..AU.I",
        [VF_R_U] = "R.U..I", [VF_R_M] = "R.A..I", [VF_W_R] = "W.T..I",  [VF_Y_R] = "Y.T..I",  [VF_F_U] = "..UU.I",
        [VF_F_M] = "..AU.I", [VF_Y] = "Y....I",   [VF_Y_U0] = "Y.UU.I", [VF_Y_M0] = "Y.AU.I", [VF_I_U] = "RTUUTI",
        [VF_I_M] = "RTAUTI", [VF_K_U] = "WTUUTI", [VF_K_M] = "WTAUTI",
    };
    static const char *const of_x87[X87_FORMS] = {
        [X87_REG] = ".....I",      [X87_READ] = "..A..I",  [X87_WRITE] = "..A..I", [X87_TO_GPR] = "R....I",
        [X87_FROM_GPR] = "..T..I", [X87_FLAGS] = ".....I", [X87_CMOV] = ".....I",
    };
    if (o->op == IR_X87)
        return of_x87[o->sub < X87_FORMS ? o->sub : X87_REG];
    if (o->op == IR_VEC)
        return of_form[ir_vec_rows[o->row].form];
    return o->op == IR_AVX ? ir_avx_forms[o->avx.form].operands : ir_shapes[o->op].operands;
}

unsigned ir_read_bits(const struct ir_op *o, unsigned n)
{
    unsigned bits = ir_bits(o->type);
    switch (o->op) {
    case IR_CRC32: return n == IR_A ? 32 : bits;
    case IR_ZX8:
    case IR_SX8: return 8;
    case IR_ZX16:
    case IR_SX16:
    case IR_SETF: return 16;
    case IR_SX32: return 32;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
    case IR_ROL:
    case IR_ROR:
    case IR_RCL:
    case IR_RCR: return n == IR_B ? 8 : bits;
    case IR_SHLD:
    case IR_SHRD: return n == IR_C ? 8 : bits;
    case IR_UDIV:
    case IR_SDIV: return o->type == I8 && n == IR_A ? 16 : bits;
    case IR_RMW:
        if (n == IR_A)
            return 64;
        return n == IR_C || (n == IR_B && ir_is_shift(o->sub) && o->sub < IR_SHLD) ? 8 : bits;
    case IR_LD:
    case IR_LDZ:
    case IR_LDS:
    case IR_ST:
    case IR_XADD:
    case IR_XCHG:
    case IR_CMPXCHG:
    case IR_PROBE: return n == IR_A ? 64 : bits;
    case IR_VEC:
    case IR_X87:
    case IR_AVX:
    case IR_CALL:
    case IR_GOTOI:
    case IR_LEAVEI: return 64;
    default: return bits;
    }
}

unsigned ir_write_bits(const struct ir_op *o, unsigned n)
{
    unsigned type = o->type;
    if (ir_facts[o->op].whole >> type & 1)
        return 64;
    switch (o->op) {
    case IR_SETCC: return 8;
    case IR_UMUL:
    case IR_SMUL:
    case IR_UDIV:
    case IR_SDIV:
        if (type == I8)
            return n == IR_D ? 16 : 0;
        break;
    case IR_LDS: type = o->sub; break;
    case IR_VEC:
    case IR_X87:
    case IR_AVX: return 64;
    default: break;
    }
    return type >= I32 ? 64 : ir_bits(type);
}
