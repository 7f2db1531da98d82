/* ir/interp.c: the reference interpreter: what a block means, one op after the other, with no cleverness.
 *
 * Host back ends and passes are tested against it.  It runs on struct cpu alone: guest registers in reg[], vec[] and mask[],
 * F in cc, all of them exact at every op, so slow paths and helpers see what they would see from generated code.
 *
 * Rules to know before editing
 *   - An op whose setf is not 0 changes every flag in its writes-F, wanted or not, as the host's instruction would.
 *   - Faults leave by longjmp (or whatever the calls do): nothing here owns anything.
 */
#include "ir/interp.h"

typedef uint64_t helper_fn(struct cpu *, uint64_t, uint64_t, uint64_t);

uint64_t interp_get(const struct interp *r, ir_ref ref)
{
    if (ref == IR_NONE)
        return 0;
    if (ir_is_const(ref))
        return (uint64_t)ir_const_value(r->b, ref);
    return ir_is_temp(ref) ? r->temp[ref - IR_TEMP0] : r->c->reg[ref];
}

void interp_put(struct interp *r, ir_ref ref, uint64_t v, unsigned bits)
{
    if (ref == IR_NONE)
        return;
    uint64_t *at = ir_is_temp(ref) ? &r->temp[ref - IR_TEMP0] : &r->c->reg[ref];
    *at = (*at & ~mask_bits(bits)) | (v & mask_bits(bits));
}

unsigned interp_get_f(const struct interp *r)
{
    return ir_f_of_x86(cpu_flags(r->c));
}

void interp_put_f(struct interp *r, const struct ir_op *o, unsigned f)
{
    unsigned m = ir_writes_f(o);
    if (m == 0)
        return;
    cpu_set_flags(r->c, ir_f_to_x86((interp_get_f(r) & ~m) | (f & m)));
}

static void run_alu(struct interp *r, const struct ir_op *o)
{
    uint64_t d = ir_operands(o)[IR_D] == 'X' ? interp_get(r, o->d) : 0;
    unsigned f = o->setf || ir_reads_f(o) ? interp_get_f(r) : 0;
    struct ir_result v = ir_eval(o, d, interp_get(r, o->a), interp_get(r, o->b), interp_get(r, o->c), f);
    if (v.fault) {
        r->c->insn_off = (uint32_t)r->insn_off;
        r->calls->divide_error(r->c);
        rh_panic(__FILE__, __LINE__, "divide_error came back");
    }
    if (!v.keep)
        interp_put(r, o->d, v.d, ir_write_bits(o, IR_D));
    if (o->e != IR_NONE)
        interp_put(r, o->e, v.e, ir_write_bits(o, IR_E));
    interp_put_f(r, o, v.f);
}

static void run_call(struct interp *r, const struct ir_op *o)
{
    helper_fn *fn = (helper_fn *)(uintptr_t)r->c->helper[o->imm];
    uint64_t a = interp_get(r, o->a), b = interp_get(r, o->b), c = interp_get(r, o->c);
    r->c->insn_off = (uint32_t)r->insn_off;
    interp_put(r, o->d, fn(r->c, a, b, c), ir_write_bits(o, IR_D));
}

static void run_field(struct interp *r, const struct ir_op *o)
{
    uint8_t *field = (uint8_t *)r->c + o->imm;
    unsigned bytes = 1u << o->type;
    if (o->op == IR_LDF)
        interp_put(r, o->d, bytes_get(field, bytes), 64);
    else
        bytes_put(field, interp_get(r, o->a), bytes);
}

static bool branch_taken(const struct interp *r, const struct ir_op *o)
{
    if (o->op == IR_BRCC)
        return ir_cc_holds(o->sub, interp_get_f(r));
    bool zero = (interp_get(r, o->a) & mask_bits(ir_bits(o->type))) == 0;
    return zero == (o->op == IR_BRZ);
}

static const struct ir_op *find_label(const struct ir_block *b, const struct ir_op *from, int64_t label)
{
    for (const struct ir_op *o = from; o < b->op + b->nops; o++)
        if (o->op == IR_LABEL && o->imm == label)
            return o;
    rh_panic(__FILE__, __LINE__, "no label L%lld ahead", (long long)label);
}

/* The terminal op o: where to, and why. */
static enum cpu_leave end_block(struct interp *r, const struct ir_op *o, unsigned *slot)
{
    struct cpu *c = r->c;
    bool fall = o->op == IR_GOTOCC && !ir_cc_holds(o->sub, interp_get_f(r)),
         direct = o->op != IR_GOTOI && o->op != IR_LEAVEI;
    c->pc = direct ? c->reg[IR_PCB] + (uint64_t)(fall ? o->disp : o->imm) : interp_get(r, o->a);
    if (o->op == IR_LEAVE || o->op == IR_LEAVEI)
        return o->sub;
    bool kicked = __atomic_load_n(&c->kick, __ATOMIC_RELAXED) != 0;
    if (o->op == IR_GOTOI)
        return kicked ? LEAVE_KICK : LEAVE_LOOKUP;
    *slot = o->op == IR_GOTOCC ? !fall : o->sub;
    return kicked && o->flags & IR_POLL && !fall ? LEAVE_KICK : LEAVE_LINK;
}

enum cpu_leave ir_interp(const struct ir_block *b, struct cpu *c, const struct ir_interp_calls *calls, unsigned *slot)
{
    struct interp r;
    r.b = b;
    r.c = c;
    r.calls = calls;
    r.insn_off = b->guest_off;
    for (const struct ir_op *o = b->op; o < b->op + b->nops; o++) {
        unsigned effects = ir_effects(o);
        if (effects & IRE_ENDS)
            return end_block(&r, o, slot);
        switch (o->op) {
        case IR_INSN: r.insn_off = o->imm; break;
        case IR_LABEL: break;
        case IR_XPAGE: {
            gva_t second = r.c->reg[IR_PCB] + 0x1000;
            if ((uint32_t)*cpu_table_entry(r.c->tab_x, second) != (uint32_t)o->imm) {
                r.c->pc = cpu_insn_pc(r.c);
                return LEAVE_LOOKUP;
            }
            break;
        }
        case IR_FENCE: __atomic_thread_fence(__ATOMIC_SEQ_CST); break;
        case IR_BRCC:
        case IR_BRZ:
        case IR_BRNZ:
            if (branch_taken(&r, o))
                o = find_label(b, o, o->imm);
            break;
        case IR_PC: interp_put(&r, o->d, c->reg[IR_PCB] + (uint64_t)o->imm, 64); break;
        case IR_LDF:
        case IR_STF: run_field(&r, o); break;
        case IR_LDC: {
            uint64_t v = bytes_get((const uint8_t *)(uintptr_t)o->imm, 1u << o->type);
            interp_put(&r, o->d, (uint64_t)sign_extend(v, ir_bits(o->type)), 64);
            break;
        }
        case IR_CALL: run_call(&r, o); break;
        case IR_VEC: interp_vec(&r, o); break;
        case IR_X87: interp_x87(&r, o); break;
        case IR_AVX: interp_avx(&r, o); break;
        default:
            if (effects & (IRE_READS | IRE_WRITES))
                interp_memory(&r, o);
            else
                run_alu(&r, o);
        }
    }
    rh_panic(__FILE__, __LINE__, "the block has no end");
}
