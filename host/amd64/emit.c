/* host/amd64/emit.c: from optimised IR to host code: one forward walk that places values and emits; cold parts are
 * written beside, as they come up.  The register plan and the rules are in emit.h. */
#include "host/amd64/emit.h"

static emit_fn *const emit_op[IR_OP_COUNT] = {
    [IR_MOV] = emit_mov,           [IR_ZX8] = emit_extend,
    [IR_ZX16] = emit_extend,       [IR_SX8] = emit_extend,
    [IR_SX16] = emit_extend,       [IR_SX32] = emit_extend,
    [IR_LEA] = emit_lea,           [IR_PC] = emit_pc,
    [IR_LDF] = emit_load_field,    [IR_LDC] = emit_load_live,
    [IR_STF] = emit_store_field,   [IR_CMOV] = emit_cmov,
    [IR_ADD] = emit_alu,           [IR_SUB] = emit_alu,
    [IR_ADC] = emit_alu,           [IR_SBB] = emit_alu,
    [IR_AND] = emit_alu,           [IR_OR] = emit_alu,
    [IR_XOR] = emit_alu,           [IR_MUL] = emit_alu,
    [IR_CMP] = emit_compare,       [IR_TEST] = emit_compare,
    [IR_SHL] = emit_shift,         [IR_SHR] = emit_shift,
    [IR_SAR] = emit_shift,         [IR_ROL] = emit_shift,
    [IR_ROR] = emit_shift,         [IR_RCL] = emit_shift,
    [IR_RCR] = emit_shift,         [IR_SHLD] = emit_shift,
    [IR_SHRD] = emit_shift,        [IR_UMUL] = emit_mul_div,
    [IR_SMUL] = emit_mul_div,      [IR_UDIV] = emit_mul_div,
    [IR_SDIV] = emit_mul_div,      [IR_BT] = emit_bits,
    [IR_BTS] = emit_bits,          [IR_BTR] = emit_bits,
    [IR_BTC] = emit_bits,          [IR_BSF] = emit_bits,
    [IR_BSR] = emit_bits,          [IR_TZCNT] = emit_bits,
    [IR_LZCNT] = emit_bits,        [IR_POPCNT] = emit_bits,
    [IR_BSWAP] = emit_bits,        [IR_CRC32] = emit_two_sources,
    [IR_PDEP] = emit_two_sources,  [IR_PEXT] = emit_two_sources,
    [IR_NOT] = emit_unary,         [IR_NEG] = emit_unary,
    [IR_INC] = emit_unary,         [IR_DEC] = emit_unary,
    [IR_SETCC] = emit_setcc,       [IR_GETF] = emit_getf,
    [IR_SETF] = emit_setf,         [IR_STC] = emit_carry,
    [IR_CLC] = emit_carry,         [IR_CMC] = emit_carry,
    [IR_LD] = emit_load,           [IR_LDZ] = emit_load,
    [IR_LDS] = emit_load,          [IR_ST] = emit_store,
    [IR_RMW] = emit_rmw,           [IR_CMPXCHG] = emit_cmpxchg,
    [IR_XADD] = emit_exchange,     [IR_XCHG] = emit_exchange,
    [IR_PROBE] = emit_probe,       [IR_VEC] = emit_vec,
    [IR_AVX] = emit_avx,           [IR_X87] = emit_x87,
    [IR_CALL] = emit_call,         [IR_LABEL] = emit_label,
    [IR_BRCC] = emit_branch,       [IR_BRZ] = emit_branch_zero,
    [IR_BRNZ] = emit_branch_zero,  [IR_GOTO] = emit_goto,
    [IR_GOTOCC] = emit_goto_if,    [IR_GOTOI] = emit_goto_indirect,
    [IR_LEAVE] = emit_leave,       [IR_LEAVEI] = emit_leave,
    [IR_XPAGE] = emit_expect_page, [IR_FENCE] = emit_fence,
};

/* The next n of what room is left at *p. */
static void *take(uint8_t **p, size_t n)
{
    uint8_t *taken = *p;
    *p += (n + 15) & ~(size_t)15;
    return taken;
}

static bool emitter_init(struct emitter *e, const struct ir_block *b, struct arena *scratch)
{
    size_t an_op = sizeof *e->branch + 3 * sizeof *e->out->fault;
    uint8_t *p = arena_room(scratch, (b->nops + 8) * an_op + (b->nlabels + 8) * sizeof *e->label_at);
    if (!p)
        return false;
    e->cold_fault = take(&p, (b->nops + 1) * sizeof *e->cold_fault);
    e->branch = take(&p, (b->nops + 1) * sizeof *e->branch);
    e->label_at = take(&p, (b->nlabels + 1) * sizeof *e->label_at);
    e->out->fault = take(&p, (2 * b->nops + 1) * sizeof *e->out->fault);
    return place_init(e, scratch);
}

void note_vec(struct emitter *e)
{
    if (e->vec_noted)
        return;
    e->vec_noted = true;
    asm_insn(&e->a, 0, 0, 0xc6, 0, 0, rm_cpu(offsetof(struct cpu, vec_ran)));
    asm_imm(&e->a, 1, 1);
}

bool host_emit(const struct host_thunks *t, const struct ir_block *b, struct host_span *s, struct arena *scratch,
               struct host_code *out)
{
    *out = (struct host_code){.nfaults = 0};
    struct emitter e = {.b = b, .t = t, .out = out, .f_mem = true};
    e.a = (struct asmbuf){.start = s->rw, .p = s->rw, .end = s->rw + s->size, .rx_delta = s->rx_delta};
    e.cold = (struct asmbuf){s->rw, s->cold, s->cold + s->cold_size, s->rx_delta};
    e.cold_at = asm_at(&e.cold);
    asm_byte(&e.cold, 0xcc); /* offset 0 means: no cold stub */
    if (!emitter_init(&e, b, scratch))
        return false;
    f_look_ahead(&e);
    if (b->counter)
        asm_alu_imm(&e.a, I32, 0, rm_cpu(offsetof(struct cpu, counter[b->counter - 1])), 1);
    for (const struct ir_op *o = b->op, *end = o + b->nops; o < end; o = e.op + 1) {
        e.op = o;
        if (o->op == IR_INSN) {
            e.insn_off = (int32_t)o->imm;
            continue;
        }
        if (asm_full(&e.a) | asm_full(&e.cold))
            return false;
        e.index = (unsigned)(o - b->op);
        x87_tell(&e);
        emit_op[o->op](&e);
        place_op_end(&e);
    }
    for (unsigned i = 0; i < e.nbranches; i++)
        asm_patch(&e.a, e.branch[i].at, e.label_at[e.branch[i].label]);
    f_emit_maker(&e);
    for (unsigned i = 0; i < e.ncold_faults; i++)
        out->fault[out->nfaults++] = e.cold_fault[i];
    s->used = asm_at(&e.a);
    s->cold_used = asm_at(&e.cold) - e.cold_at;
    return !asm_full(&e.a) && !asm_full(&e.cold) && s->used < HOST_FAULT_COLD && s->cold_used < HOST_FAULT_COLD;
}
