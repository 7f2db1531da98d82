/* host/amd64/emit_avx.c: op AVX: the guest's own encoding, on the host registers of the same numbers.  Only general
 * registers and the address are renamed.  As for VEC, an unmasked exception is a SIGFPE at the instruction.
 *
 * An operation under a mask that touches memory runs as it is when its whole operand lies on a page that the table
 * knows: what is masked off is then merely not used.  Else its cold stub tells the slow path which elements count
 * (cpu.select, MD_SELECT), and the operation runs on the bounce buffer.
 */
#include "host/amd64/emit.h"

static int number(ir_ref r)
{
    if (r == IR_NONE)
        return 0;
    rh_assert(ir_is_vec(r) || ir_is_mask(r), "a vector or mask register");
    return ir_is_vec(r) ? r - IR_VEC0 : r - IR_MASK0;
}

/* The host register of a source; a general one is loaded into rax if it has none. */
static int source(struct emitter *e, ir_ref r)
{
    return ir_is_reg(r) ? place_src(e, r, I64, RAX) : number(r);
}

/* The destination's; rax must stay if it holds the addend. */
static int destination(struct emitter *e, ir_ref d, bool keep_rax)
{
    if (!ir_is_reg(d))
        return number(d);
    int reg = place_dst(e, d, IR_NONE);
    return reg == RAX && keep_rax ? place_scratch(e) : reg;
}

static void destination_done(struct emitter *e, ir_ref d, int reg)
{
    if (!ir_is_reg(d))
        return;
    int home = place_dst(e, d, IR_NONE);
    asm_mov_rr(&e->a, I64, home, reg);
    place_dst_done(e, d, I64, home);
}

/* The operands, each where it stands; rm apart where that is memory. */
static struct asm_avx standing(const struct ir_op *o, const int at[IR_AT_LAST + 1])
{
    const struct ir_avx *x = &o->avx;
    bool ext = x->form == IR_AVX_VVVV_RM || x->form == IR_AVX_VVVV_MEM;
    return (struct asm_avx){.reg = ext ? x->ext : at[IR_AT_REG],
                            .vvvv = at[IR_AT_VVVV],
                            .mask = x->evex ? at[IR_AT_LAST] : 0,
                            .last = x->evex ? 0 : at[IR_AT_LAST]};
}

static void memory_form(struct emitter *e)
{
    const struct ir_op *o = e->op;
    const struct ir_avx *x = &o->avx;
    const struct ir_avx_form_row *f = &ir_avx_forms[x->form];
    unsigned desc = x->msize | (ir_avx_stores(x) ? MD_WRITE : 0) | (x->align ? MD_ALIGN : 0);
    if (ir_avx_stores(x) && x->evex && o->c != IR_NONE && !x->select) /* what is masked off stays as it is */
        desc |= MD_RMW;
    struct rm m;
    int at[IR_AT_LAST + 1] = {0};
    struct access *c = mem_begin(e, desc | (x->select ? MD_SELECT : 0), false, &m);
    c->select = x->select;
    c->raises = x->raises;
    at[f->b] = number(o->b);
    at[f->c] = number(o->c);
    int d = at[f->d] = destination(e, o->d, true);
    mem_fault_here(e);
    asm_avx(&e->a, x, standing(o, at), m);
    mem_end(e);
    destination_done(e, o->d, d);
}

static void register_form(struct emitter *e)
{
    const struct ir_op *o = e->op;
    const struct ir_avx_form_row *f = &ir_avx_forms[o->avx.form];
    int at[IR_AT_LAST + 1] = {0};
    f_keep(e);
    at[f->a] = source(e, o->a);
    at[f->b] = source(e, o->b);
    at[f->c] = number(o->c);
    int d = at[f->d] = destination(e, o->d, false);
    fault_here(e);
    asm_avx(&e->a, &o->avx, standing(o, at), rm_reg(at[IR_AT_RM]));
    destination_done(e, o->d, d);
}

void emit_avx(struct emitter *e)
{
    note_vec(e);
    if (e->op->avx.msize)
        memory_form(e);
    else
        register_form(e);
    f_defined(e);
}

/* In a cold stub: rax may hold the addend. */
void avx_select(struct emitter *e)
{
    const struct ir_op *o = e->op;
    static const struct ir_avx kmovq = {.form = IR_AVX_MEM_REG, .map = 1, .w = 1, .opcode = 0x91};
    struct asmbuf *a = &e->cold;
    struct rm select = rm_cpu(offsetof(struct cpu, select)), kept = rm_cpu(offsetof(struct cpu, scratch[6]));
    if (o->avx.select == IR_SELECT_SIGN) {
        struct ir_avx movmsk = {.form = IR_AVX_REG_RM, .map = 1, .opcode = 0x50, .l = o->avx.l};
        movmsk.pp = o->avx.element == 3;
        asm_store(a, I64, kept, RAX);
        asm_avx(a, &movmsk, (struct asm_avx){.reg = RAX}, rm_reg(number(o->b)));
        asm_store(a, I64, select, RAX);
        asm_load(a, I64, RAX, kept);
    } else {
        asm_avx(a, &kmovq, (struct asm_avx){.reg = number(o->c)}, select);
    }
    asm_insn(a, 0, 0, 0xc7, 0, 0, rm_cpu(offsetof(struct cpu, select_how)));
    asm_imm(a, ir_avx_select_how(&o->avx), 4);
}
