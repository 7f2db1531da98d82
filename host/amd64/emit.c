/* host/amd64/emit.c: from optimised IR to host code: one forward walk that places values and emits, then the cold
 * parts. The register plan and the rules are in emit.h. */
#include "host/amd64/emit.h"

static void emit_op(struct emitter *e)
{
    switch (e->op->op) {
    case IR_MOV:
    case IR_ZX8:
    case IR_ZX16:
    case IR_SX8:
    case IR_SX16:
    case IR_SX32:
    case IR_LEA:
    case IR_PC:
    case IR_LDF:
    case IR_LDC:
    case IR_STF:
    case IR_CMOV: emit_move(e); break;
    case IR_ADD:
    case IR_SUB:
    case IR_ADC:
    case IR_SBB:
    case IR_AND:
    case IR_OR:
    case IR_XOR:
    case IR_CMP:
    case IR_TEST:
    case IR_MUL: emit_alu(e); break;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
    case IR_ROL:
    case IR_ROR:
    case IR_RCL:
    case IR_RCR:
    case IR_SHLD:
    case IR_SHRD: emit_shift(e); break;
    case IR_UMUL:
    case IR_SMUL:
    case IR_UDIV:
    case IR_SDIV: emit_mul_div(e); break;
    case IR_BT:
    case IR_BTS:
    case IR_BTR:
    case IR_BTC:
    case IR_BSF:
    case IR_BSR:
    case IR_TZCNT:
    case IR_LZCNT:
    case IR_POPCNT:
    case IR_CRC32:
    case IR_PDEP:
    case IR_PEXT:
    case IR_BSWAP: emit_bits(e); break;
    case IR_NOT:
    case IR_NEG:
    case IR_INC:
    case IR_DEC:
    case IR_SETCC:
    case IR_GETF:
    case IR_SETF:
    case IR_STC:
    case IR_CLC:
    case IR_CMC: emit_flag_op(e); break;
    case IR_LD:
    case IR_LDZ:
    case IR_LDS:
    case IR_ST:
    case IR_RMW:
    case IR_XADD:
    case IR_XCHG:
    case IR_CMPXCHG:
    case IR_PROBE: emit_memory(e); break;
    case IR_VEC: emit_vec(e); break;
    case IR_X87: emit_x87(e); break;
    case IR_AVX: emit_avx(e); break;
    default: emit_control(e); break;
    }
}

/* The next n of what room is left at *p. */
static void *take(uint8_t **p, size_t n)
{
    uint8_t *taken = *p;
    *p += (n + 15) & ~(size_t)15;
    return taken;
}

static bool emitter_init(struct emitter *e, const struct ir_block *b, struct arena *scratch)
{
    size_t an_op = sizeof *e->cold + 2 * sizeof *e->exits + sizeof *e->branch + 2 * sizeof *e->out->fault;
    uint8_t *p = arena_room(scratch, (b->nops + 8) * an_op + (b->nlabels + 8) * sizeof *e->label_at);
    if (!p)
        return false;
    e->cold = take(&p, (b->nops + 1) * sizeof *e->cold);
    e->exits = take(&p, (2 * b->nops + 2) * sizeof *e->exits);
    e->branch = take(&p, (b->nops + 1) * sizeof *e->branch);
    e->label_at = take(&p, (b->nlabels + 1) * sizeof *e->label_at);
    e->out->fault = take(&p, (2 * b->nops + 1) * sizeof *e->out->fault);
    return place_init(e, scratch);
}

void note_vec(struct emitter *e)
{
    if (!e->has_vec)
        return;
    asm_insn(&e->a, 0, 0, 0xc6, 0, 0, rm_cpu(offsetof(struct cpu, vec_ran)));
    asm_imm(&e->a, 1, 1);
}

bool host_emit(const struct host_thunks *t, const struct ir_block *b, struct host_span *s, struct arena *scratch,
               struct host_code *out)
{
    *out = (struct host_code){.nfaults = 0};
    struct emitter e = {.b = b, .t = t, .out = out, .f_mem = true};
    e.a = (struct asmbuf){.start = s->rw, .p = s->rw, .end = s->rw + s->size, .rx_delta = s->rx_delta};
    if (!emitter_init(&e, b, scratch))
        return false;
    f_look_ahead(&e);
    note_vec(&e);
    if (b->counter)
        asm_alu_imm(&e.a, I32, 0, rm_cpu(offsetof(struct cpu, counter[b->counter - 1])), 1);
    for (const struct ir_op *o = b->op, *end = o + b->nops; o < end; o = e.op + 1) {
        e.op = o;
        if (o->op == IR_INSN) {
            e.insn_off = (int32_t)o->imm;
            continue;
        }
        if (asm_full(&e.a))
            return false;
        e.index = (unsigned)(o - b->op);
        x87_tell(&e);
        emit_op(&e);
        place_op_end(&e);
    }
    for (unsigned i = 0; i < e.nbranches; i++)
        asm_patch(&e.a, e.branch[i].at, e.label_at[e.branch[i].label]);
    s->used = asm_at(&e.a);
    if (asm_full(&e.a))
        return false;
    asm_go(&e.a, s->cold, s->cold_size);
    e.cold_at = asm_at(&e.a);
    asm_byte(&e.a, 0xcc); /* offset 0 means: no cold stub */
    mem_emit_cold(&e);
    control_emit_exits(&e);
    f_emit_maker(&e);
    s->cold_used = asm_at(&e.a) - e.cold_at;
    return !asm_full(&e.a) && s->used < HOST_FAULT_COLD && s->cold_used < HOST_FAULT_COLD;
}
