/* guest/x86/sys_generic.c: insns whose unit the host lacks, in C (lift_generic.c makes the calls).
 *
 * Memory is reached as the emitter and the interpreter do: one access of the whole operand, under a mask only of the
 * elements that count; the operation; the commit of a store.
 */
#include "guest/x86/lift.h"
#include "guest/x86/sys.h"
#include "ir/ir.h"

static ir_ref reference(unsigned packed)
{
    return packed == 0xff ? IR_NONE : (ir_ref)packed;
}

static struct ir_op unpack(uint64_t imm, uint64_t packed)
{
    union x86_generic g = {.packed = packed};
    struct ir_op o = {.op = g.avx ? IR_AVX : IR_VEC, .row = g.row, .tag = g.tag, .setf = g.setf ? IRF_ALL : 0};
    o.imm = (int64_t)imm;
    o.d = reference(g.d);
    o.e = IR_NONE;
    o.a = reference(g.a);
    o.b = reference(g.b);
    o.c = reference(g.c);
    return o;
}

struct access {
    unsigned desc;
    bool store;
};

static struct access access_of(struct x86 *x, const struct ir_op *o)
{
    unsigned tag = (unsigned)o->tag << MD_TAG_SHIFT;
    if (o->op == IR_VEC) {
        const struct ir_vec_row *row = &ir_vec_rows[o->row];
        bool store = row->form == VF_M_U;
        return (struct access){tag | row->msize | (store ? MD_WRITE : 0) | (row->align > 1 ? MD_ALIGN : 0), store};
    }
    const struct ir_avx *a = &o->avx;
    bool store = ir_avx_stores(a);
    unsigned desc = tag | a->msize | (store ? MD_WRITE : 0) | (a->align ? MD_ALIGN : 0);
    if (a->select) {
        desc |= MD_SELECT;
        x->cpu.select_how = ir_avx_select_how(a);
        x->cpu.select = a->select == IR_SELECT_SIGN ? ir_avx_signs(x->cpu.vec[o->b - IR_VEC0], 1u << a->element)
                                                    : x->cpu.mask[o->c - IR_MASK0];
    } else if (store && a->evex && o->c != IR_NONE) {
        desc |= MD_RMW; /* what is masked off stays as it is */
    }
    return (struct access){desc, store};
}

/* Register 0 lends itself to the general operand. */
static bool run(struct x86 *x, const struct ir_op *o, uint64_t *general, void *mem)
{
    uint64_t saved = x->cpu.reg[0];
    x->cpu.reg[0] = *general;
    bool done = ir_generic(&x->cpu, o, mem);
    *general = x->cpu.reg[0];
    x->cpu.reg[0] = saved;
    return done;
}

X86_HELP(help_generic)
{
    struct ir_op o = unpack(b, c);
    struct access how = access_of(x, &o);
    uint64_t general = a;
    void *mem = NULL;
    if (how.desc & MD_SIZE)
        mem = sys_host(a, (how.store ? x->access->write : x->access->read)(&x->cpu, a, how.desc));
    if (!run(x, &o, &general, mem)) {
        x->cpu.pending = 0;
        x86_raise(x, x->cr4 & CR4_OSXMMEXCPT ? EX_XM : EX_UD);
    }
    if (how.store && x->cpu.pending)
        x->access->commit(&x->cpu);
    return general;
}

X86_HELP(help_eval)
{
    struct ir_op o = {.op = c & 0xff, .type = c >> 8 & 3, .setf = c >> 16 & 1 ? IRF_ALL : 0};
    struct ir_result r = ir_eval(&o, 0, a, b, 0, ir_f_of_x86(cpu_flags(&x->cpu)));
    if (o.setf)
        cpu_set_flags(&x->cpu, ir_f_to_x86(r.f));
    uint64_t d = r.d & mask_bits(ir_bits(o.type));
    return o.type == I16 ? (b & ~0xffffull) | d : d;
}
