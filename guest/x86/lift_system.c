/* guest/x86/lift_system.c: system insns: mostly one helper call, and the question whether the block may go on after it.
 *
 * A helper that "ends" (helpers.def) may have changed the mode, the page tables or the code that follows, so the
 * block ends with a jump to the next insn.  So does one that serializes (vol. 3, 8.3): what another processor stored
 * to the code that follows must run, not what was translated before.  Privilege and CPUID were checked by the driver; what depends on control
 * registers, IOPL or the I/O bitmap is the helper's.
 */
#include "guest/x86/lift_int.h"

static void call(struct x86_lift *l, enum x86_helper h, int64_t a)
{
    ops_call_const(l, h, a, 0, 0);
}

static void call_and_end(struct x86_lift *l, enum x86_helper h, ir_ref a, ir_ref b)
{
    ops_call(l, h, a, b, IR_NONE);
    ops_goto_next(l);
}

/* Operand n as a value a helper may look at in full. */
static ir_ref value(struct x86_lift *l, const struct x86_insn *i, unsigned n)
{
    ir_ref v = ops_read(l, i, n);
    return i->op[n].kind == OPERAND_MEM ? v : ops_zero_extend(l, i->op[n].bytes, v);
}

/* ---- nothing to do ------------------------------------------------------------------------------------------------ */

void lift_nop(struct x86_lift *l, const struct x86_insn *i)
{
    (void)l;
    (void)i;
}

void lift_endbr(struct x86_lift *l, const struct x86_insn *i)
{
    (void)l;
    (void)i;
}

void lift_prefetch(struct x86_lift *l, const struct x86_insn *i)
{
    (void)l;
    (void)i;
}

/* Faults as a load of a byte does (SDM vol. 2, CLFLUSH). */
void lift_clflush(struct x86_lift *l, const struct x86_insn *i)
{
    ops_load(l, 1, ops_memory(l, i, 1, false));
}

/* MFENCE, SFENCE (guest non-temporal stores are the host's own).  LFENCE /5 orders loads, which the host's are. */
void lift_fence(struct x86_lift *l, const struct x86_insn *i)
{
    if ((i->modrm >> 3 & 7) != 5)
        ir_append(l->b, IR_FENCE, I64);
}

/* Nothing here runs ahead of the guest but the block itself. */
void lift_serialize(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    ir_append(l->b, IR_FENCE, I64);
    ops_goto_next(l);
}

static void probe(struct x86_lift *l, ir_ref addr, unsigned bytes, unsigned seg)
{
    struct ir_op *o = ir_append(l->b, IR_PROBE, I64);
    o->a = addr;
    o->imm = bytes;
    o->tag = (uint8_t)seg;
}

enum { LINE = 64 };

/* The line that DS:rAX is in becomes zeros (AMD APM vol. 3, CLZERO). */
void lift_clzero(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref byte = ops_linear(l, i, 1, true);
    ir_ref line = ops_op2(l, IR_AND, I64, 0, IR_NONE, byte, ops_const(l, -LINE));

    probe(l, line, LINE, i->mem.seg);
    for (unsigned n = 0; n < LINE; n += 8)
        ops_store(l, 8, ops_at(ops_linear_plus(l, line, n), i->mem.seg), ops_const(l, 0));
}

static ir_ref line_at(struct x86_lift *l, const struct x86_insn *i)
{
    return ops_segment(l, SEG_ES, ops_address_reg(l, i->asize, (ir_ref)(IR_REG0 + i->op[0].reg)), LINE, true);
}

/* 64 bytes from memory to ES:op0, which must be aligned (SDM vol. 2, MOVDIR64B). */
void lift_movdir64b(struct x86_lift *l, const struct x86_insn *i)
{
    int aligned = ir_label(l->b);
    ir_ref part[LINE / 8];

    ops_branch_zero(l, true, I64, ops_op2(l, IR_AND, I64, 0, IR_NONE, line_at(l, i), ops_const(l, LINE - 1)), aligned);
    ops_call_const(l, HELPER_RAISE, EX_GP, 0, 1);
    ops_label(l, aligned);
    ir_ref to = line_at(l, i), from = ops_linear(l, i, LINE, false);
    for (unsigned n = 0; n < LINE / 8; n++)
        part[n] = ops_load(l, 8, ops_at(ops_linear_plus(l, from, n * 8), i->mem.seg));
    probe(l, to, LINE, SEG_ES);
    for (unsigned n = 0; n < LINE / 8; n++)
        ops_store(l, 8, ops_at(ops_linear_plus(l, to, n * 8), SEG_ES), part[n]);
}

void lift_pause(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call(l, HELPER_PAUSE, 0);
}

/* ---- interrupts, ports
 * ---------------------------------------------------------------------------------------------- */

static void store_field(struct x86_lift *l, enum ir_type t, size_t offset, ir_ref v)
{
    struct ir_op *o = ir_append(l->b, IR_STF, t);
    o->a = v;
    o->imm = (int64_t)offset;
}

void lift_cli(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    if (l->mode & MODE_CPL) {
        call(l, HELPER_CLI, 0);
        return;
    }
    ir_ref flags = ops_field(l, 4, offsetof(struct x86, flags));
    store_field(l, I32, offsetof(struct x86, flags),
                ops_op2(l, IR_AND, I32, 0, IR_NONE, flags, ops_const(l, ~(int64_t)FL_IF)));
}

void lift_sti(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call(l, HELPER_STI, 0);
    l->last = 1;
}

void lift_in(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned bytes = i->op[0].bytes;
    ir_ref port = i->op[1].kind == OPERAND_IMM ? ops_const(l, (uint8_t)i->imm) : ops_zero_extend(l, 2, X86_RDX);

    ops_set_reg(l, bytes, X86_RAX, ops_call(l, HELPER_IN, port, ops_const(l, bytes), IR_NONE));
}

void lift_out(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned bytes = i->op[1].bytes;
    ir_ref port = i->op[0].kind == OPERAND_IMM ? ops_const(l, (uint8_t)i->imm) : ops_zero_extend(l, 2, X86_RDX);

    ops_call(l, HELPER_OUT, port, ops_const(l, bytes), ops_zero_extend(l, bytes, X86_RAX));
}

void lift_bound(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref addr = ops_linear(l, i, i->osize * 2u, false);
    ops_call(l, HELPER_BOUND, value(l, i, 0), addr, ops_const(l, i->osize));
}

/* ---- control and debug registers
 * -------------------------------------------------------------------------------------- */

static ir_ref general(struct x86_lift *l, const struct x86_operand *o)
{
    return ops_zero_extend(l, mode64(l) ? 8 : 4, (ir_ref)(IR_REG0 + o->reg));
}

/* LOCK MOV of CR0 is MOV of CR8 where no REX prefix can name that. */
void lift_mov_cr(struct x86_lift *l, const struct x86_insn *i)
{
    bool write = i->op[0].kind == OPERAND_CR;
    int64_t n = i->prefix & PREFIX_LOCK ? 8 : i->op[write ? 0 : 1].reg;

    if (i->prefix & PREFIX_LOCK && !lift_has_feature(l, FEAT_CR8LEGACY))
        ops_raise(l, EX_UD);
    else if (write)
        call_and_end(l, HELPER_WRITE_CR, ops_const(l, n), general(l, &i->op[1]));
    else
        ops_set_reg(l, mode64(l) ? 8 : 4, i->op[0].reg, ops_call_const(l, HELPER_READ_CR, n, 0, 0));
}

void lift_mov_dr(struct x86_lift *l, const struct x86_insn *i)
{
    if (i->op[0].kind == OPERAND_DR)
        call_and_end(l, HELPER_WRITE_DR, ops_const(l, i->op[0].reg), general(l, &i->op[1]));
    else
        ops_set_reg(l, mode64(l) ? 8 : 4, i->op[0].reg, ops_call_const(l, HELPER_READ_DR, i->op[1].reg, 0, 0));
}

void lift_clts(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call_and_end(l, HELPER_CLTS, IR_NONE, IR_NONE);
}

void lift_lmsw(struct x86_lift *l, const struct x86_insn *i)
{
    call_and_end(l, HELPER_LMSW, value(l, i, 0), IR_NONE);
}

void lift_smsw(struct x86_lift *l, const struct x86_insn *i)
{
    ops_write(l, i, 0, ops_call_const(l, HELPER_SMSW, 0, 0, 0));
}

void lift_xgetbv(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call(l, HELPER_XGETBV, 0);
}

void lift_xsetbv(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call_and_end(l, HELPER_XSETBV, IR_NONE, IR_NONE);
}

/* ---- descriptor tables
 * ------------------------------------------------------------------------------------------------ */

static unsigned table_bytes(const struct x86_lift *l)
{
    return mode64(l) ? 10 : 6;
}

/* SGDT /0, SIDT /1, LGDT /2, LIDT /3. */
void lift_sgdt(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref addr = ops_linear(l, i, table_bytes(l), true);
    ops_call(l, HELPER_SGDT, addr, IR_NONE, ops_const(l, i->modrm >> 3 & 1));
}

void lift_lgdt(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref addr = ops_linear(l, i, table_bytes(l), false);
    ir_ref size = ops_const(l, mode64(l) ? 8 : i->osize);

    ops_call(l, HELPER_LGDT, addr, size, ops_const(l, i->modrm >> 3 & 1));
    ops_goto_next(l);
}

void lift_sldt(struct x86_lift *l, const struct x86_insn *i)
{
    ops_write(l, i, 0, ops_call_const(l, HELPER_SLDT, 0, 0, 0));
}

void lift_str(struct x86_lift *l, const struct x86_insn *i)
{
    ops_write(l, i, 0, ops_call_const(l, HELPER_SLDT, 0, 1, 0));
}

void lift_lldt(struct x86_lift *l, const struct x86_insn *i)
{
    call_and_end(l, HELPER_LLDT, value(l, i, 0), IR_NONE);
}

void lift_ltr(struct x86_lift *l, const struct x86_insn *i)
{
    call_and_end(l, HELPER_LTR, value(l, i, 0), IR_NONE);
}

/* The helper gives the whole old destination back when it clears ZF, so that a 32-bit one keeps its upper half then. */
static void rights(struct x86_lift *l, const struct x86_insn *i, enum x86_helper h)
{
    unsigned bytes = i->op[0].bytes, reg = i->op[0].reg;
    ir_ref selector = ops_zero_extend(l, 2, ops_read(l, i, 1));
    ir_ref v = ops_call(l, h, selector, (ir_ref)(IR_REG0 + reg), ops_const(l, bytes));

    ops_set_reg(l, bytes == 2 ? 2 : 8, reg, v);
}

void lift_lar(struct x86_lift *l, const struct x86_insn *i)
{
    rights(l, i, HELPER_LAR);
}

void lift_lsl(struct x86_lift *l, const struct x86_insn *i)
{
    rights(l, i, HELPER_LSL);
}

void lift_verr(struct x86_lift *l, const struct x86_insn *i)
{
    ops_call(l, HELPER_VERR, value(l, i, 0), ops_const(l, 0), IR_NONE);
}

void lift_verw(struct x86_lift *l, const struct x86_insn *i)
{
    ops_call(l, HELPER_VERR, value(l, i, 0), ops_const(l, 1), IR_NONE);
}

/* The helper sets ZF, so memory must have proved writable before it runs. */
void lift_arpl(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref b = ops_zero_extend(l, 2, (ir_ref)(IR_REG0 + i->op[1].reg)), addr = IR_NONE, a;

    if (i->op[0].kind == OPERAND_MEM) {
        addr = ops_linear(l, i, 2, true);
        probe(l, addr, 2, i->mem.seg);
        a = ops_load(l, 2, ops_at(addr, i->mem.seg));
    } else
        a = value(l, i, 0);
    ir_ref v = ops_call(l, HELPER_ARPL, a, b, IR_NONE);
    if (addr != IR_NONE)
        ops_store(l, 2, ops_at(addr, i->mem.seg), v);
    else
        ops_set_reg(l, 2, i->op[0].reg, v);
}

/* ---- translation caches, model-specific registers
 * ------------------------------------------------------------------- */

void lift_invlpg(struct x86_lift *l, const struct x86_insn *i)
{
    call_and_end(l, HELPER_INVLPG, ops_linear(l, i, 1, false), IR_NONE);
}

void lift_invpcid(struct x86_lift *l, const struct x86_insn *i)
{
    ir_ref type = value(l, i, 0);
    call_and_end(l, HELPER_INVPCID, type, ops_linear(l, i, 16, false));
}

void lift_invd(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call_and_end(l, HELPER_CACHE_OP, ops_const(l, 0), IR_NONE);
}

void lift_wbinvd(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call_and_end(l, HELPER_CACHE_OP, ops_const(l, 0), IR_NONE);
}

void lift_rdmsr(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call(l, HELPER_RDMSR, 0);
}

void lift_wrmsr(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call_and_end(l, HELPER_WRMSR, IR_NONE, IR_NONE);
}

void lift_rdtsc(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call(l, HELPER_RDTSC, 0);
}

void lift_rdtscp(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call(l, HELPER_RDTSC, 1);
}

void lift_rdpmc(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call(l, HELPER_RDPMC, 0);
}

void lift_rdpid(struct x86_lift *l, const struct x86_insn *i)
{
    ops_set_reg(l, mode64(l) ? 8 : 4, i->op[0].reg, ops_call_const(l, HELPER_RDPID, 0, 0, 0));
}

void lift_cpuid(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call_and_end(l, HELPER_CPUID, ops_const(l, 0), IR_NONE);
}

static void random_value(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned bytes = i->op[0].bytes;
    ops_set_reg(l, bytes, i->op[0].reg, ops_call_const(l, HELPER_RDRAND, bytes, 0, 0));
}

void lift_rdrand(struct x86_lift *l, const struct x86_insn *i)
{
    random_value(l, i);
}

void lift_rdseed(struct x86_lift *l, const struct x86_insn *i)
{
    random_value(l, i);
}

/* Operand 0 is a byte at DS:rAX. */
void lift_monitor(struct x86_lift *l, const struct x86_insn *i)
{
    ops_call(l, HELPER_MONITOR, ops_linear(l, i, 1, false), IR_NONE, IR_NONE);
}

void lift_monitorx(struct x86_lift *l, const struct x86_insn *i)
{
    ops_call(l, HELPER_MONITOR, ops_linear(l, i, 1, false), ops_const(l, 1), IR_NONE);
}

/* Waits for a store, an interrupt or a time; it may also end at once (AMD APM vol. 3, MWAITX). */
void lift_mwaitx(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call(l, HELPER_MWAIT, 1);
}

/* ---- protection, thread pointers
 * ---------------------------------------------------------------------------------------- */

void lift_rdpkru(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call(l, HELPER_RDPKRU, 0);
}

void lift_wrpkru(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    call_and_end(l, HELPER_WRPKRU, IR_NONE, IR_NONE);
}

/* #UD, not #GP, without the privilege (SDM vol. 2, CLAC, STAC). */
static void set_ac(struct x86_lift *l, unsigned value)
{
    if (l->mode & MODE_CPL)
        ops_raise(l, EX_UD);
    else
        call(l, HELPER_SET_AC, value);
}

void lift_clac(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    set_ac(l, 0);
}

void lift_stac(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    set_ac(l, 1);
}

void lift_swapgs(struct x86_lift *l, const struct x86_insn *i)
{
    (void)i;
    if (l->mode & MODE_CPL) {
        call(l, HELPER_SWAPGS, 0);
        return;
    }
    ir_ref other = ops_field(l, 8, offsetof(struct x86, kernel_gs_base));
    store_field(l, I64, offsetof(struct x86, kernel_gs_base), X86_BASE_GS);
    store_field(l, I64, offsetof(struct x86, seg[SEG_GS].base), other);
    ops_op1(l, IR_MOV, I64, X86_BASE_GS, other);
}

/* RDFSBASE /0, RDGSBASE /1, WRFSBASE /2, WRGSBASE /3. */
void lift_fsgsbase(struct x86_lift *l, const struct x86_insn *i)
{
    unsigned which = i->modrm >> 3 & 3, bytes = i->op[0].bytes;
    ir_ref in = which >= 2 ? value(l, i, 0) : IR_NONE;
    ir_ref v = ops_call(l, HELPER_FSGSBASE, ops_const(l, which), in, ops_const(l, bytes));

    if (which < 2)
        ops_set_reg(l, bytes, i->op[0].reg, v);
}
