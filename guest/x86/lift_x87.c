/* guest/x86/lift_x87.c: x87 and MMX insns, and the saving of processor state.
 *
 * While all x87 exceptions are masked and CR0 lets them run, x87 and MMX insns are X87 ops: nothing can be pending, so
 * they wait for nothing, and what they do to registers and status word is the host's affair.  They tell where they are
 * (FIP) by IR_X87_RECORDS, and their operand (FDP) by a store into struct cpu.
 *
 * Else, and for the insns that move whole environments, help_x87 (sys_x87.c) takes the insn packed into a word and checks
 * CR0 and pending exceptions.  Segments' checks come before help_x87, so where they can fault check_first comes before
 * them.
 *
 * FLDCW may unmask an exception: then it is left to the helper, which leaves the block, for the mode changes.
 */
#include "guest/x86/lift_int.h"

/* Bytes an x87 memory operand takes, for the check of a segment that is not flat; negative: written.  By opcode and
 * modrm.reg; environment and state depend on the operand size (SDM vol. 2, FLDENV, FRSTOR). */
static int x87_bytes(const struct x86_insn *i)
{
    static const int8_t bytes[8][8] = {
        {4, 4, 4, 4, 4, 4, 4, 4},       {4, 0, -4, -4, 28, 2, -28, -2},  {4, 4, 4, 4, 4, 4, 4, 4},
        {4, -4, -4, -4, 0, 10, 0, -10}, {8, 8, 8, 8, 8, 8, 8, 8},        {8, -8, -8, -8, 108, 0, -108, -2},
        {2, 2, 2, 2, 2, 2, 2, 2},       {2, -2, -2, -2, 10, 8, -10, -8},
    };
    int n = bytes[i->opcode & 7][i->modrm >> 3 & 7];

    if (i->osize == 2 && (n >= 28 || n <= -28))
        n += n > 0 ? -14 : 14;
    return n;
}

/* Generated code has the x87 and may use it (see MODE_X87_IMAGE). */
static bool runs_natively(const struct x86_lift *l)
{
    return !(l->mode & (MODE_NOFPU | MODE_X87_IMAGE));
}

static void call_x87(struct x86_lift *l, const struct x86_insn *i, ir_ref addr)
{
    unsigned modrm = i->has_modrm ? i->modrm : 0xc0; /* EMMS: no memory operand */
    uint64_t a = i->opcode | (uint64_t)modrm << 8 | (uint64_t)i->map << 16 | (uint64_t)i->mandatory << 24 |
                 (uint64_t)(uint8_t)i->imm << 32 | (uint64_t)i->rex << 40 | (uint64_t)i->osize << 48;

    ops_call(l, HELPER_X87, ops_const(l, (int64_t)a), addr == IR_NONE ? ops_const(l, 0) : addr,
             ops_const(l, (int64_t)i->mem.seg << 24 | i->length));
}

static struct ir_op *append(struct x86_lift *l, const struct x86_insn *i, enum ir_x87_form form)
{
    struct ir_op *o = ir_append(l->b, IR_X87, I64);

    o->sub = form;
    o->imm = i->opcode | (int64_t)(i->has_modrm ? i->modrm : 0) << IR_X87_MODRM | (int64_t)i->map << IR_X87_MAP;
    return o;
}

static struct ir_op *append_memory(struct x86_lift *l, const struct x86_insn *i, ir_ref addr, unsigned bytes,
                                   bool write)
{
    struct ir_op *o = append(l, i, write ? X87_WRITE : X87_READ);

    o->a = addr;
    o->imm |= (int64_t)bytes << IR_X87_BYTES;
    o->tag = i->mem.seg;
    o->flags = ops_near(i);
    return o;
}

/* What is 0 where segments are flat: a linear address is an offset there. */
static bool base_is_zero(const struct x86_lift *l, unsigned seg)
{
    return mode64(l) || (mode_flat(l) && seg != SEG_FS && seg != SEG_GS);
}

static void store_pointer(struct x86_lift *l, size_t field, ir_ref v)
{
    struct ir_op *o = ir_append(l->b, IR_STF, I64);

    o->imm = (int64_t)field;
    o->a = v;
}

static ir_ref offset_in(struct x86_lift *l, ir_ref linear, unsigned seg)
{
    if (base_is_zero(l, seg))
        return linear;
    return ops_op2(l, IR_SUB, I32, 0, IR_NONE, linear, (ir_ref)(IR_REG0 + X86_BASE_ES + seg));
}

/* FIP and FDP after an insn that is not a control insn; addr: IR_NONE if it has no memory operand. */
static void remember(struct x86_lift *l, const struct x86_insn *i, struct ir_op *o, ir_ref addr)
{
    if (mode_flat(l))
        o->imm |= IR_X87_RECORDS;
    else
        store_pointer(l, offsetof(struct cpu, x87_ip), offset_in(l, ops_pc(l, IR_NONE, l->off), SEG_CS));
    if (addr != IR_NONE)
        store_pointer(l, offsetof(struct cpu, x87_dp), offset_in(l, addr, i->mem.seg));
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

static void load_control(struct x86_lift *l, const struct x86_insn *i, ir_ref addr)
{
    const size_t kept = offsetof(struct cpu, scratch[7]);
    int masked = ir_label(l->b);
    ir_ref v = ops_load(l, 2, (struct ops_place){addr, 0, i->mem.seg, ops_near(i)});
    struct ir_op *o = ir_append(l->b, IR_STF, I16);

    o->a = v;
    o->imm = (int64_t)kept;
    ir_ref unmasked = ops_op2(l, IR_XOR, I32, 0, IR_NONE, v, ops_const(l, 0x3f));
    unmasked = ops_op2(l, IR_AND, I32, 0, unmasked, unmasked, ops_const(l, 0x3f));
    ops_branch_zero(l, true, I32, unmasked, masked);
    call_x87(l, i, addr);
    ops_leave(l, LEAVE_NEXT, l->next); /* should the helper have found another value there */
    l->ended = false;
    ops_label(l, masked);
    v = ops_field(l, 2, kept);
    append(l, i, X87_FROM_GPR)->a = v;
}

enum { ENVIRONMENT = 14 }; /* bytes, at least */

/* false: the helper's. */
static bool lift_memory(struct x86_lift *l, const struct x86_insn *i, int n)
{
    unsigned reg = i->modrm >> 3 & 7, bytes = (unsigned)(n < 0 ? -n : n);

    if (bytes >= ENVIRONMENT)
        return false;
    ir_ref addr = ops_linear(l, i, bytes, n < 0);
    if (i->opcode == 0xd9 && reg == 5) {
        load_control(l, i, addr);
        return true;
    }
    struct ir_op *o = append_memory(l, i, addr, bytes, n < 0);
    if (!((i->opcode == 0xd9 || i->opcode == 0xdd) && reg == 7)) /* FNSTCW, FNSTSW */
        remember(l, i, o, addr);
    return true;
}

static bool lift_register(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned group = i->modrm >> 3 & 7;
    enum ir_x87_form form = X87_REG;

    switch (i->opcode << 8 | i->modrm) {
    case 0xdbe0:
    case 0xdbe1:
    case 0xdbe4: return true; /* 8087 and 287 only: nothing */
    case 0xdbe2: append(l, i, X87_REG); return true;
    case 0xdbe3: return false; /* FNINIT */
    case 0xdfe0: {
        ir_ref sw = ops_temp(l);
        append(l, i, X87_TO_GPR)->d = sw;
        ops_set_reg(l, 2, X86_RAX, sw);
        return true;
    }
    }
    if ((i->opcode == 0xda || i->opcode == 0xdb) && group < 4)
        form = X87_CMOV;
    else if ((i->opcode == 0xdb || i->opcode == 0xdf) && (group == 5 || group == 6))
        form = X87_FLAGS;
    struct ir_op *o = append(l, i, form);
    o->setf = form == X87_FLAGS ? IRF_ALL : 0;
    remember(l, i, o, IR_NONE);
    return true;
}

/* D8..DF, and FWAIT 9B. */
void lift_x87(struct x86_lift *l, const struct x86_insn *i)
{
    enum { FAMILY_X87 = 1, FAMILY_FWAIT = 4 };

    if (i->opcode == 0x9b) {
        if (!runs_natively(l))
            ops_call_const(l, HELPER_SSE_CHECK, FAMILY_FWAIT, 0, 0);
        return;
    }
    int n = x87_bytes(i);
    bool mem = i->modrm < 0xc0, control = (i->opcode == 0xd9 || i->opcode == 0xdd) && (i->modrm >> 3 & 7) >= 6;
    if (runs_natively(l) && (mem ? lift_memory(l, i, n) : lift_register(l, i)))
        return;
    if (mem)
        check_first(l, i, FAMILY_X87, !control, n < 0);
    call_x87(l, i, mem ? ops_linear(l, i, (unsigned)(n < 0 ? -n : n), n < 0) : IR_NONE);
}

static bool mmx_writes_memory(const struct x86_insn *i)
{
    return i->op[0].kind == OPERAND_MEM;
}

/* Not those with an XMM operand, nor MASKMOVQ. */
static bool mmx_is_plain(const struct x86_insn *i)
{
    return !i->mandatory && !(i->map == 1 && (i->opcode == 0x2a || i->opcode == 0x2c || i->opcode == 0x2d ||
                                              i->opcode == 0xd6 || i->opcode == 0xf7));
}

static void lift_mmx_native(struct x86_lift *l, const struct x86_insn *i)
{
    bool has_imm = i->map == 3, mov = i->map == 1 && (i->opcode == 0x6e || i->opcode == 0x7e);
    struct ir_op *o = NULL;

    if (i->map == 1)
        has_imm = (i->opcode >= 0x70 && i->opcode <= 0x73) || i->opcode == 0xc4 || i->opcode == 0xc5;
    for (unsigned n = 0; n < i->noperands; n++) {
        const struct x86_operand *p = &i->op[n];
        if (p->kind == OPERAND_MEM) {
            ir_ref addr = ops_linear(l, i, p->bytes, mmx_writes_memory(i));
            o = append_memory(l, i, addr, p->bytes, mmx_writes_memory(i));
        } else if (p->kind == OPERAND_GPR) {
            o = append(l, i, n == 0 ? X87_TO_GPR : X87_FROM_GPR);
            *(n == 0 ? &o->d : &o->a) = (ir_ref)(IR_REG0 + p->reg);
        }
    }
    if (!o)
        o = append(l, i, X87_REG);
    o->imm |= mov && (i->rex & 8) ? IR_X87_W : 0;
    if (has_imm)
        o->imm |= IR_X87_HAS_IMM | (int64_t)(uint8_t)i->imm << IR_X87_IMM;
}

void lift_mmx(struct x86_lift *l, const struct x86_insn *i)
{
    if (runs_natively(l) && mmx_is_plain(i)) {
        lift_mmx_native(l, i);
        return;
    }
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
    save(l, i, HELPER_FXRSTOR, FXSAVE_BYTES, false, (unsigned)i->length << 8);
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
    save(l, i, HELPER_XRSTOR, XSAVE_HEADER_END, false, (i->opcode == 0xae ? 0u : 3u) | (unsigned)i->length << 8);
}
