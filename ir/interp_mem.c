/* ir/interp_mem.c: the interpreter's ops on guest memory.
 *
 * Every access asks the slow path where its bytes are (host address minus guest address), does its work there, and
 * tells it when a store waits in the bounce buffer (cpu.pending).  Atomic ops work by compare-and-swap on host
 * memory, so they are atomic against generated code on other threads too.
 *
 * Rule to know before editing: nothing of the guest's state may change before the last slow path call that can fault.
 */
#include "ir/interp.h"

static unsigned describe(const struct ir_op *o, unsigned size, unsigned bits)
{
    return size | bits | (unsigned)o->tag << MD_TAG_SHIFT;
}

static void *reach(struct interp *r, const struct ir_op *o, unsigned size, unsigned bits)
{
    gva_t gva = interp_get(r, o->a) + (uint64_t)(int64_t)o->disp;
    unsigned desc = describe(o, size, bits);
    r->c->insn_off = (uint32_t)r->insn_off;
    int64_t addend = bits & MD_WRITE ? r->calls->mem_write(r->c, gva, desc) : r->calls->mem_read(r->c, gva, desc);
    return (void *)(uintptr_t)(gva + (uint64_t)addend);
}

static void commit(struct interp *r)
{
    if (r->c->pending)
        r->calls->mem_commit(r->c);
}

/* True if *p was `old` and is now `v`.  Alignment is the guest's choice; the host takes any. */
__attribute__((no_sanitize("alignment"))) static bool swap(void *p, uint64_t old, uint64_t v, unsigned size)
{
    uint8_t o1 = (uint8_t)old;
    uint16_t o2 = (uint16_t)old;
    uint32_t o4 = (uint32_t)old;
    switch (size) {
    case 1: return __atomic_compare_exchange_n((uint8_t *)p, &o1, (uint8_t)v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    case 2: return __atomic_compare_exchange_n((uint16_t *)p, &o2, (uint16_t)v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    case 4: return __atomic_compare_exchange_n((uint32_t *)p, &o4, (uint32_t)v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    default: return __atomic_compare_exchange_n((uint64_t *)p, &old, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
}

/* What becomes of memory that holds `old`: the new value in .d, flags in .f; .keep: no store. */
static struct ir_result update(struct interp *r, const struct ir_op *o, uint64_t old)
{
    struct ir_op alu = *o;
    uint64_t b = interp_get(r, o->b), c = interp_get(r, o->c);
    unsigned f = interp_get_f(r);
    switch (o->op) {
    case IR_XCHG: return (struct ir_result){.d = b, .f = f};
    case IR_XADD: alu.op = IR_ADD; return ir_eval(&alu, 0, old, b, 0, f);
    case IR_CMPXCHG: {
        alu.op = IR_CMP;
        struct ir_result v = ir_eval(&alu, 0, interp_get(r, o->d), old, 0, f);
        v.keep = !(v.f & IRF_ZF);
        v.d = b;
        return v;
    }
    default: alu.op = o->sub; return ir_eval(&alu, 0, old, b, c, f);
    }
}

static void run_rmw(struct interp *r, const struct ir_op *o)
{
    unsigned size = 1u << o->type;
    bool atomic = o->flags & IR_LOCK || o->op == IR_XCHG;
    void *p = reach(r, o, size, MD_WRITE | MD_RMW | (atomic ? MD_LOCK : 0));
    uint64_t old;
    struct ir_result v;
    bool done = false;
    do {
        old = bytes_get(p, size);
        v = update(r, o, old);
        if (v.keep)
            break;
        if (atomic)
            done = swap(p, old, v.d, size);
        else
            bytes_put(p, v.d, size);
    } while (atomic && !done);
    commit(r);
    if (o->op == IR_XADD || o->op == IR_XCHG || (o->op == IR_CMPXCHG && v.keep))
        interp_put(r, o->d, old, ir_write_bits(o, IR_D));
    interp_put_f(r, o, v.f);
}

void interp_memory(struct interp *r, const struct ir_op *o)
{
    unsigned size = 1u << o->type;
    uint64_t v;
    void *p;
    switch (o->op) {
    case IR_LD:
    case IR_LDZ:
        v = bytes_get(reach(r, o, size, 0), size);
        interp_put(r, o->d, v, ir_write_bits(o, IR_D));
        break;
    case IR_LDS:
        v = (uint64_t)sign_extend(bytes_get(reach(r, o, size, 0), size), size * 8);
        interp_put(r, o->d, v & mask_bits(ir_bits(o->sub)), ir_write_bits(o, IR_D));
        break;
    case IR_ST:
        p = reach(r, o, size, MD_WRITE);
        bytes_put(p, interp_get(r, o->b), size);
        commit(r);
        break;
    case IR_PROBE:
        r->c->insn_off = (uint32_t)r->insn_off;
        r->calls->mem_write(r->c, interp_get(r, o->a), describe(o, (unsigned)o->imm, MD_WRITE | MD_PROBE));
        break;
    default: run_rmw(r, o); break;
    }
}

/* Vector and x87 ops run on struct cpu, which has no temps: one lends itself to guest register 0 meanwhile.  There is at
 * most one general operand beside the address. */
static void run_native(struct interp *r, const struct ir_op *o, void (*run)(struct cpu *, const struct ir_op *, void *),
                       void *mem)
{
    const char *s = ir_operands(o);
    struct ir_op native = *o;
    ir_ref *general = s[IR_D] == 'R' ? &native.d : s[IR_A] == 'T' ? &native.a : NULL;
    if (!general || !ir_is_temp(*general)) {
        run(r->c, &native, mem);
        return;
    }
    uint64_t saved = r->c->reg[0];
    uint64_t *temp = &r->temp[*general - IR_TEMP0];
    *general = IR_REG0;
    r->c->reg[0] = *temp;
    run(r->c, &native, mem);
    *temp = r->c->reg[0];
    r->c->reg[0] = saved;
}

void interp_vec(struct interp *r, const struct ir_op *o)
{
    const struct ir_vec_row *row = &ir_vec_rows[o->row];
    void *mem = NULL;
    bool store = row->form == VF_M_U;
    if (ir_operands(o)[IR_A] == 'A')
        mem = reach(r, o, row->msize, (store ? MD_WRITE : 0) | (row->align > 1 ? MD_ALIGN : 0));
    r->c->insn_off = (uint32_t)r->insn_off; /* it may raise an exception */
    run_native(r, o, r->calls->vec, mem);
    if (store)
        commit(r);
}

void interp_x87(struct interp *r, const struct ir_op *o)
{
    void *mem = NULL;
    bool store = o->sub == X87_WRITE;
    if (store || o->sub == X87_READ)
        mem = reach(r, o, ir_x87_byte(o, IR_X87_BYTES), store ? MD_WRITE | MD_ONCE : 0);
    run_native(r, o, r->calls->x87, mem);
    if (o->imm & IR_X87_RECORDS)
        r->c->x87_ip = r->c->reg[IR_PCB] + (uint64_t)r->insn_off;
    if (store)
        commit(r);
}

/* No temps: the registers of AVX are the guest's. */
void interp_avx(struct interp *r, const struct ir_op *o)
{
    const struct ir_avx *x = &o->avx;
    unsigned bits = (ir_avx_stores(x) ? MD_WRITE : 0) | (x->align ? MD_ALIGN : 0) | (x->select ? MD_SELECT : 0);
    void *mem = NULL;
    if (ir_avx_stores(x) && x->evex && o->c != IR_NONE && !x->select) /* what is masked off stays as it is */
        bits |= MD_RMW;
    if (x->select) {
        r->c->select_how = ir_avx_select_how(x);
        r->c->select = x->select == IR_SELECT_SIGN ? ir_avx_signs(r->c->vec[o->b - IR_VEC0], 1u << x->element)
                                                   : r->c->mask[o->c - IR_MASK0];
    }
    if (x->msize)
        mem = reach(r, o, x->msize, bits);
    r->c->insn_off = (uint32_t)r->insn_off;
    r->calls->vec(r->c, o, mem);
    if (ir_avx_stores(x) && x->msize)
        commit(r);
}
