/* guest/x86/lift_string.c: MOVS CMPS STOS LODS SCAS INS OUTS.
 *
 * Without a repeat prefix a string insn is a few ops.  With one it is a helper that makes all iterations and leaves
 * exactly in the middle for interrupts and faults.  INS and OUTS always are, for the I/O permission check.
 *
 * Index registers change only after the last access, at the address size; X86_DF is +1 or -1, so a step is one LEA.
 */
#include "guest/x86/lift_int.h"

static enum x86_string kind_of(const struct x86_insn *i)
{
    switch (i->opcode & 0xfe) {
    case 0xa4: return STR_MOVS;
    case 0xa6: return STR_CMPS;
    case 0xaa: return STR_STOS;
    case 0xac: return STR_LODS;
    case 0xae: return STR_SCAS;
    case 0x6c: return STR_INS;
    default: return STR_OUTS;
    }
}

/* Bytes of an element: those of the memory operand. */
static unsigned element(const struct x86_insn *i)
{
    return i->op[0].kind == OPERAND_MEM ? i->op[0].bytes : i->op[1].bytes;
}

static unsigned source_seg(const struct x86_insn *i)
{
    return i->prefix & PREFIX_SEG ? i->mem.seg : SEG_DS;
}

static struct ops_place index_place(struct x86_lift *l, const struct x86_insn *i, unsigned reg, bool write)
{
    unsigned seg = reg == X86_RDI ? SEG_ES : source_seg(i);
    return ops_at(ops_segment(l, seg, ops_address_reg(l, i->asize, (ir_ref)reg), element(i), write), seg);
}

static void advance(struct x86_lift *l, const struct x86_insn *i, unsigned reg)
{
    unsigned shift = type_of(element(i));
    ir_ref r = (ir_ref)reg;

    if (i->asize == 2)
        ops_set_reg(l, 2, reg, ops_lea(l, I32, IR_NONE, r, X86_DF, shift, 0));
    else
        ops_lea(l, type_of(i->asize), r, r, X86_DF, shift, 0);
}

static ir_ref load(struct x86_lift *l, const struct x86_insn *i, unsigned reg)
{
    return ops_load(l, element(i), index_place(l, i, reg, false));
}

static void store(struct x86_lift *l, const struct x86_insn *i, ir_ref v)
{
    ops_store(l, element(i), index_place(l, i, X86_RDI, true), v);
}

static void compare(struct x86_lift *l, const struct x86_insn *i, ir_ref a, ir_ref b)
{
    ir_alu(l->b, IR_CMP, type_of(element(i)), IRF_ALL, IR_NONE, a, b);
}

static void by_helper(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned rep = i->prefix & PREFIX_REPNE ? 2 : i->prefix & PREFIX_REP ? 1 : 0;
    uint32_t a = (uint32_t)kind_of(i) | element(i) << 8 | (uint32_t)i->asize << 16 | source_seg(i) << 24 | rep << 28;

    ops_call_const(l, HELPER_STRING, a, 0, 0);
}

void lift_string(struct x86_lift *l, const struct x86_insn *i)
{
    enum x86_string kind = kind_of(i);
    ir_ref v;

    if ((i->prefix & (PREFIX_REP | PREFIX_REPNE)) || kind == STR_INS || kind == STR_OUTS) {
        by_helper(l, i);
        return;
    }
    switch (kind) {
    case STR_MOVS:
        store(l, i, load(l, i, X86_RSI));
        advance(l, i, X86_RSI);
        advance(l, i, X86_RDI);
        break;
    case STR_CMPS:
        v = load(l, i, X86_RSI);
        compare(l, i, v, load(l, i, X86_RDI));
        advance(l, i, X86_RSI);
        advance(l, i, X86_RDI);
        break;
    case STR_STOS:
        store(l, i, X86_RAX);
        advance(l, i, X86_RDI);
        break;
    case STR_LODS:
        v = load(l, i, X86_RSI);
        ops_set_reg(l, element(i), X86_RAX, v);
        advance(l, i, X86_RSI);
        break;
    default: /* STR_SCAS */
        compare(l, i, X86_RAX, load(l, i, X86_RDI));
        advance(l, i, X86_RDI);
        break;
    }
}
