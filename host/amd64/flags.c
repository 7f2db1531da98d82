/* host/amd64/flags.c: where F lives between ops.
 *
 *     host flags --f_save (mov eax, 0; lahf; seto al; mov [rsp + cc], rax)--> frame (cpu.cc, and 0 in cpu.f_maker)
 *     frame --f_load (movzx eax, [rsp + cc]; add al, 127; sahf)--> host flags      (add makes OF from al: 127 + 1
 *     overflows)
 *
 * Both use rax alone; the MOV spares LAHF and SETO waiting for what rax was before.  LAHF and SAHF: Intel SDM vol. 2; present in 64-bit mode on every x86-64-v2 processor.
 */
#include "host/amd64/emit.h"

void f_put_away(struct asmbuf *a, struct rm cc)
{
    asm_mov_imm(a, RAX, 0);
    asm_byte(a, 0x9f); /* lahf */
    asm_insn(a, 0, 1, 0x90 | CC_O, ASM_BYTE_RM, 0, rm_reg(RAX));
    asm_store(a, I64, cc, RAX);
}

void f_save(struct emitter *e)
{
    if (e->f_mem)
        return;
    if (e->f_owed)
        f_load(e);
    rh_assert(e->f_host, "F is somewhere when op %u (%s) wants it", e->index, ir_shapes[e->op->op].name);
    fixed_copy(&e->a, &e->t->save_f);
    e->f_mem = true;
}

void f_load(struct emitter *e)
{
    if (e->f_host)
        return;
    e->f_host = true;
    if (e->f_owed) {
        e->f_owed = false;
        f_make(e, &e->a, e->f_maker, rm_cpu);
        return;
    }
    asm_load(&e->a, I16, RAX, rm_cpu(offsetof(struct cpu, cc)));
    asm_byte(&e->a, 0x04); /* add al, 0x7f */
    asm_byte(&e->a, 0x7f);
    asm_byte(&e->a, 0x9e); /* sahf */
}

void f_spoil(struct emitter *e)
{
    unsigned wanted = e->op->livef & ~(unsigned)e->op->setf;
    if (e->f_host && (wanted || ir_reads_f(e->op)))
        f_save(e);
    e->f_host = false;
}

void f_define(struct emitter *e)
{
    if (!e->op->setf) {
        if (ir_reads_f(e->op))
            f_load(e); /* saving them, if that is needed too, leaves them in place */
        f_spoil(e);
        return;
    }
    unsigned kept = e->op->livef & ~ir_writes_f(e->op);
    if (kept | ir_reads_f(e->op))
        f_load(e);
}

void f_defined(struct emitter *e)
{
    if (!e->op->setf)
        return;
    e->f_host = true;
    e->f_mem = e->f_owed = e->f_entry = false;
    e->f_maker = e->index;
}

void f_keep(struct emitter *e)
{
    if (e->f_host)
        f_save(e);
    if (e->op->setf)
        e->f_host = false;
}

unsigned f_condition(struct emitter *e, enum ir_cc cc)
{
    static const struct {
        uint8_t high; /* which byte of cc */
        uint8_t mask;
    } simple[8] = {{0, 1}, {1, 0x01}, {1, 0x40}, {1, 0x41}, {1, 0x80}, {1, 0x04}, {0, 0}, {0, 0}};
    if (e->f_host)
        return cc;
    unsigned mask = simple[cc >> 1].mask;
    if (!mask || e->f_owed) {
        f_load(e);
        return cc;
    }
    asm_test_imm(&e->a, I32, rm_cpu(offsetof(struct cpu, cc)), (int32_t)(mask << simple[cc >> 1].high * 8));
    return cc & 1 ? CC_E : CC_NE;
}
