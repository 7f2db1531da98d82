/* host/amd64/emit_x87.c: x87 and MMX insns, byte for byte on the host's own x87.
 *
 * The guest's x87 and MMX registers, stack top, tags, control and status word are the host's while generated code runs,
 * with all exceptions masked (guest/x86/sys_x87.c sees to both), so a register form is the guest's bytes and a memory
 * form the guest's bytes on [rax + address].  A host fault at a memory form leaves the x87 as it was, so the cold stub
 * may start it again.
 *
 * The host's own FIP and FDP mean nothing.  cpu.x87_ip takes the address of the last insn that records it, but only
 * when C code may look: `x87_due` is carried along the block, written before ops that leave the block or call, and in
 * the cold stubs of memory accesses.
 */
#include "host/amd64/emit.h"

static void record(struct emitter *e, struct asmbuf *a)
{
    asm_load(a, I64, RAX, rm_cpu(offsetof(struct cpu, reg[IR_PCB])));
    if (e->x87_off)
        asm_lea(a, I64, RAX, rm_mem(RAX, e->x87_off));
    asm_store(a, I64, rm_cpu(offsetof(struct cpu, x87_ip)), RAX);
}

/* Other memory ops leave the block by their cold stub only; a vector op also by a numeric exception. */
static bool may_be_seen(const struct ir_op *o)
{
    unsigned effects = ir_effects(o);
    if (o->op == IR_INSN || o->op == IR_X87)
        return false;
    if (effects & (IRE_READS | IRE_WRITES))
        return o->op == IR_VEC || o->op == IR_AVX;
    return effects & (IRE_CALLS | IRE_ENDS | IRE_FAULTS | IRE_STAYS);
}

void x87_tell(struct emitter *e)
{
    if (!e->x87_due || !may_be_seen(e->op))
        return;
    record(e, &e->a);
    e->x87_due = false;
}

void x87_tell_cold(struct emitter *e)
{
    if (!e->x87_due)
        return;
    struct rm keep = rm_cpu(offsetof(struct cpu, scratch[6]));
    asm_store(&e->cold, I64, keep, RAX);
    record(e, &e->cold);
    asm_load(&e->cold, I64, RAX, keep);
}

/* The insn with these operands; for register forms both are in its modrm. */
static void put_insn(struct emitter *e, int reg, struct rm m)
{
    const struct ir_op *o = e->op;
    asm_insn(&e->a, 0, ir_x87_byte(o, IR_X87_MAP), ir_x87_byte(o, 0), o->imm & IR_X87_W ? ASM_W : 0, reg, m);
    if (o->imm & IR_X87_HAS_IMM)
        asm_byte(&e->a, ir_x87_byte(o, IR_X87_IMM));
}

static int reg_field(const struct ir_op *o)
{
    return (int)(o->imm >> (IR_X87_MODRM + 3)) & 7;
}

static int rm_field(const struct ir_op *o)
{
    return (int)(o->imm >> IR_X87_MODRM) & 7;
}

static void register_form(struct emitter *e)
{
    const struct ir_op *o = e->op;
    if (ir_x87_byte(o, IR_X87_MAP) == 1 && ir_x87_byte(o, 0) == 0x77) { /* EMMS */
        asm_byte(&e->a, 0x0f);
        asm_byte(&e->a, 0x77);
        return;
    }
    put_insn(e, reg_field(o), rm_reg(rm_field(o)));
}

static void memory_form(struct emitter *e)
{
    const struct ir_op *o = e->op;
    unsigned desc = ir_x87_byte(o, IR_X87_BYTES) | (o->sub == X87_WRITE ? MD_WRITE | MD_ONCE : 0);
    struct rm m;
    mem_begin(e, desc, false, &m);
    mem_fault_here(e);
    put_insn(e, reg_field(o), m);
    mem_end(e);
}

static void to_general(struct emitter *e)
{
    const struct ir_op *o = e->op;
    unsigned opcode = ir_x87_byte(o, 0);
    int d = place_dst(e, o->d, IR_NONE);
    if (!ir_x87_byte(o, IR_X87_MAP)) { /* FNSTSW AX */
        register_form(e);
        asm_insn(&e->a, 0, 1, 0xb7, 0, d, rm_reg(RAX)); /* movzx d, ax */
    } else if (opcode == 0x7e) {                        /* MOVD, MOVQ: the general register is r/m */
        put_insn(e, reg_field(o), rm_reg(d));
    } else {
        put_insn(e, d, rm_reg(rm_field(o)));
    }
    place_dst_done(e, o->d, I64, d);
}

static void from_general(struct emitter *e)
{
    const struct ir_op *o = e->op;
    int s = place_src(e, o->a, I64, RAX);
    if (ir_x87_byte(o, IR_X87_MAP)) {
        put_insn(e, reg_field(o), rm_reg(s));
        return;
    }
    struct rm m = rm_cpu(offsetof(struct cpu, scratch[6])); /* FLDCW */
    asm_store(&e->a, I16, m, s);
    put_insn(e, reg_field(o), m);
}

void emit_x87(struct emitter *e)
{
    note_vec(e);
    switch ((enum ir_x87_form)e->op->sub) {
    case X87_READ:
    case X87_WRITE: memory_form(e); break;
    case X87_TO_GPR: to_general(e); break;
    case X87_FROM_GPR: from_general(e); break;
    case X87_FLAGS:
        f_define(e);
        register_form(e);
        f_defined(e);
        break;
    case X87_CMOV: f_load(e); /* fall through */
    default: register_form(e); break;
    }
    if (e->op->imm & IR_X87_RECORDS) {
        e->x87_due = true;
        e->x87_off = e->insn_off;
    }
}
