/* host/amd64/emit_vec.c: vector operations: the row's own encoding on the pinned vector registers (0..15 are
 * xmm0..xmm15). They run under the guest's MXCSR; an unmasked exception is a SIGFPE at the instruction and becomes
 * the guest's #XM. */
#include "host/amd64/emit.h"

static int xmm(ir_ref r)
{
    rh_assert(ir_is_vec(r) && r < IR_VEC0 + 16, "vector register 0..15");
    return r - IR_VEC0;
}

static void put_row(struct emitter *e, const struct ir_vec_row *row, int reg, struct rm m)
{
    asm_insn(&e->a, row->prefix, row->map, row->opcode, row->w ? ASM_W : 0, reg, m);
    asm_imm(&e->a, e->op->imm, row->has_imm);
}

static void memory_form(struct emitter *e, const struct ir_vec_row *row)
{
    const struct ir_op *o = e->op;
    bool store = row->form == VF_M_U;
    unsigned desc = row->msize | (store ? MD_WRITE : 0) | (row->align > 1 ? MD_ALIGN : 0);
    struct rm m;
    mem_begin(e, desc, false, &m);
    int reg = NOREG;
    switch (row->form) {
    case VF_M_U:
    case VF_F_M: reg = xmm(o->b); break;
    case VF_R_M: reg = place_dst(e, o->d, IR_NONE); break;
    default: reg = xmm(o->d); break;
    }
    if (reg == RAX && row->form == VF_R_M) /* rax holds the addend */
        reg = place_scratch(e);
    mem_fault_here(e);
    put_row(e, row, reg, m);
    mem_end(e);
    if (row->form == VF_R_M) {
        int home = place_dst(e, o->d, IR_NONE);
        if (home != reg)
            asm_mov_rr(&e->a, I64, home, reg);
        place_dst_done(e, o->d, I64, home);
    }
}

/* PCMPxSTRx: lengths in eax and edx, so that the addend has to leave rax first. */
static void string_form(struct emitter *e, const struct ir_vec_row *row)
{
    const struct ir_op *o = e->op;
    if (!row->msize) {
        f_keep(e);
        asm_mov_rr(&e->a, I64, RAX, host_pin[o->e]);
        put_row(e, row, xmm(o->b), rm_reg(xmm(o->a)));
        return;
    }
    struct rm m;
    mem_begin(e, row->msize, false, &m);
    int at = place_scratch(e);
    asm_lea(&e->a, I64, at, m);
    asm_mov_rr(&e->a, I64, RAX, host_pin[o->e]);
    mem_fault_here(e);
    put_row(e, row, xmm(o->b), rm_mem(at, 0));
    mem_end(e);
}

void emit_vec(struct emitter *e)
{
    const struct ir_op *o = e->op;
    const struct ir_vec_row *row = &ir_vec_rows[o->row];
    note_vec(e);
    switch ((enum ir_vec_form)row->form) {
    case VF_W_M:
    case VF_Y_M:
    case VF_M_U:
    case VF_R_M:
    case VF_F_M:
    case VF_Y_M0: memory_form(e, row); break;
    case VF_W_U:
    case VF_Y_U:
    case VF_Y_U0:
        f_keep(e);
        fault_here(e);
        put_row(e, row, xmm(o->d), rm_reg(xmm(o->a)));
        break;
    case VF_F_U:
        f_keep(e);
        fault_here(e);
        put_row(e, row, xmm(o->b), rm_reg(xmm(o->a)));
        break;
    case VF_R_U: {
        f_keep(e);
        int d = place_dst(e, o->d, IR_NONE);
        fault_here(e);
        put_row(e, row, row->ext ? xmm(o->a) : d, rm_reg(row->ext ? d : xmm(o->a)));
        place_dst_done(e, o->d, I64, d);
        break;
    }
    case VF_W_R:
    case VF_Y_R: {
        f_keep(e);
        int s = place_src(e, o->a, o->type, RAX);
        fault_here(e);
        put_row(e, row, xmm(o->d), rm_reg(s));
        break;
    }
    case VF_I_U:
    case VF_I_M:
    case VF_K_U:
    case VF_K_M: string_form(e, row); break;
    case VF_Y: put_row(e, row, row->ext, rm_reg(xmm(o->d))); return;
    }
    f_defined(e);
}
