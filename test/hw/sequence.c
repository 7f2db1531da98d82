/* test/hw/sequence.c: runs of 5 to 50 insns: what one insn leaves (flags, parts of registers, memory) is what the next
 * one finds.
 *
 * Memory operands are [r14 + disp] and [r15 + disp] (RSI, RDI outside 64-bit mode), near the writable pages; no insn
 * that writes those registers is taken.  The stack pointer is as free as any other register: a push may end the case.
 * Some sequences are repeated, by a counter in the register before those two.
 * Conditional jumps go forward, to the beginning of a later insn.  An insn that reads a flag which may be undefined
 * there is not taken.
 */
#include <string.h>

#include "guest/x86/decode_table.h"
#include "guest/x86/state.h"
#include "ir/ir.h"
#include "test/hw/hw.h"

/* Left out: what ends the sequence nearly always, leaves it, goes where its registers happen to point, writes several
 * registers, or stores what is not compared. */
bool hw_row_in_sequence(const struct x86_row *row)
{
    static const uint16_t out[] = {
        LIFT_none,    LIFT_call,     LIFT_jmp,    LIFT_ret,     LIFT_loop,        LIFT_jcxz,        LIFT_int,
        LIFT_into,    LIFT_ud,       LIFT_in,     LIFT_out,     LIFT_string,      LIFT_enter,       LIFT_xlat,
        LIFT_bound,   LIFT_popa,     LIFT_popf,   LIFT_cli,     LIFT_sti,         LIFT_push_seg,    LIFT_pop_seg,
        LIFT_mov_seg, LIFT_load_far, LIFT_arpl,   LIFT_lar,     LIFT_lsl,         LIFT_verr,        LIFT_verw,
        LIFT_ldmxcsr, LIFT_fxrstor,  LIFT_fxsave, LIFT_maskmov, LIFT_avx_maskmov, LIFT_avx_ldmxcsr, LIFT_fsgsbase};
    for (unsigned k = 0; k < ARRAY_LEN(out); k++)
        if (row->lift == out[k])
            return false;
    return !(row->attr & ATTR_CPL0);
}

enum { INSNS_MAX = 50, LENGTH_MAX = HW_BYTES_MAX - 40 };

struct sequence {
    struct rng r;
    struct hw_case *c;
    unsigned n;
    int base; /* registers base and base + 1 lead to memory */
    uint16_t start[INSNS_MAX + 1];
    uint8_t jump_bytes[INSNS_MAX];     /* of its displacement */
    uint8_t jump_to[INSNS_MAX];        /* insn number, 0: no jump */
    unsigned undefined[INSNS_MAX + 6]; /* IRF_ bits, carried to an insn by jumps */
    unsigned now, ever;                /* IRF_ bits undefined here; anywhere */
    bool x87;                          /* mostly x87 and MMX insns, all x87 exceptions masked */
};

static bool keeps_bases(const struct sequence *s, const struct x86_insn *i)
{
    bool exchanges = i->row->lift == LIFT_xchg || i->row->lift == LIFT_xadd || i->row->lift == LIFT_mulx;
    for (unsigned k = 0; k < i->noperands; k++) {
        const struct x86_operand *o = &i->op[k];
        if (o->kind == OPERAND_GPR && (k == 0 || exchanges) && o->reg >= s->base - 1 && o->reg <= s->base + 1)
            return false;
        if (o->kind == OPERAND_MEM && i->mem.base != s->base && i->mem.base != s->base + 1 && i->row->lift != LIFT_lea)
            return false;
    }
    return !(i->row->lift == LIFT_bt && i->op[0].kind == OPERAND_MEM && i->op[1].kind == OPERAND_GPR);
}

/* The displacement: aligned mostly, within the two writable pages from r14 = r15 = their middle. */
static void place(struct sequence *s, const struct x86_insn *i, uint8_t *disp)
{
    unsigned bytes = 8;
    for (unsigned k = 0; k < i->noperands; k++)
        if (i->op[k].kind == OPERAND_MEM && i->op[k].bytes)
            bytes = i->op[k].bytes;
    int at = (int)rng_below(&s->r, 256) - 128;
    if (rng_chance(&s->r, 85) || bytes == 16)
        at &= ~((int)bytes - 1);
    bytes_put(disp, (uint64_t)(int64_t)at, s->c->bits == 16 ? 2 : 4);
}

/* Images that hold what is not compared, and flags that an unmasked exception leaves alone or does not. */
static bool reads_environment(const struct sequence *s, const struct x86_insn *i)
{
    unsigned bytes = i->op[0].bytes;
    bool large = bytes == 14 || bytes == 28 || bytes == 94 || bytes == 108;
    unsigned group = i->modrm >> 3 & 7;
    bool compares = (i->opcode == 0xdb || i->opcode == 0xdf) && i->mod == 3 && (group == 5 || group == 6);
    bool unmasks = i->opcode == 0xd9 && i->mod != 3 && group == 5;
    bool masked = i->row->lift == LIFT_mmx && i->map == 1 && i->opcode == 0xf7;
    return masked || (i->row->lift == LIFT_x87 && (large || (s->x87 ? unmasks : compares)));
}

static bool take(struct sequence *s, const struct x86_row *row)
{
    struct x86_insn i;
    unsigned disp_at;
    uint8_t bytes[32] = {0};
    if (!hw_encode(&s->r, row, s->c->bits, true, bytes, &i, &disp_at) || !keeps_bases(s, &i) ||
        hw_vendor_form(&i, s->c->bits))
        return false;
    if (row->flags_read & s->now)
        return false;
    if ((row->lift == LIFT_pushf || reads_environment(s, &i)) && (s->now || row->lift != LIFT_pushf))
        return false;
    bool jump = row->lift == LIFT_jcc;
    if (disp_at)
        place(s, &i, bytes + disp_at);
    bool memory = false;
    for (unsigned k = 0; k < i.noperands; k++)
        memory |= i.op[k].kind == OPERAND_MEM;
    if (memory && !disp_at)
        return false; /* moffs */
    memcpy(s->c->code + s->start[s->n], bytes, i.length);
    s->start[s->n + 1] = (uint16_t)(s->start[s->n] + i.length);
    s->jump_to[s->n] = 0;
    if (jump) {
        s->jump_bytes[s->n] = (uint8_t)i.op[0].bytes;
        s->jump_to[s->n] = (uint8_t)(s->n + 1 + rng_below(&s->r, 5));
        s->undefined[s->jump_to[s->n]] |= s->now;
    }
    bool may_write_none = row->lift == LIFT_shift || row->lift == LIFT_shiftd;
    if (!may_write_none)
        s->now &= ~row->flags_written;
    s->now |= row->flags_undefined;
    s->ever |= row->flags_undefined;
    s->n++;
    s->now |= s->undefined[s->n];
    return true;
}

static bool is_vector(const struct x86_row *row)
{
    for (unsigned k = 0; k < ARRAY_LEN(row->operand); k++) {
        unsigned method = x86_operand_forms[row->operand[k]].method;
        if (method == METHOD_V || method == METHOD_W || method == METHOD_U || method == METHOD_KG ||
            method == METHOD_KE)
            return true;
    }
    return false;
}

static void resolve_jumps(struct sequence *s)
{
    for (unsigned k = 0; k < s->n; k++) {
        if (!s->jump_to[k])
            continue;
        unsigned to = s->jump_to[k] < s->n ? s->jump_to[k] : s->n;
        unsigned end = s->start[k + 1];
        unsigned n = s->jump_bytes[k];
        bytes_put(s->c->code + end - n, s->start[to] - end, n);
    }
}

/* Mostly inside the writable pages or where they meet; sometimes where accesses fault, so that what came before is
 * seen. */
static void place_bases(struct sequence *s)
{
    static const uint32_t at[] = {0x1800, 0x1800, 0x2400, 0x2000, 0x2000, 0x5800, 0x3000, 0x4800, 0x5000, 0x1000};
    struct hw_case *c = s->c;
    unsigned width = c->bits / 8;
    bool faults = rng_chance(&s->r, 30);
    for (unsigned i = 0; i < 2; i++)
        c->in.gpr[s->base + (int)i] =
            hw_offset(&s->r, c, SEG_DS, HW_DATA + at[rng_below(&s->r, faults ? ARRAY_LEN(at) : 6)], width);
    if (rng_chance(&s->r, 50))
        c->in.gpr[4] = hw_offset(&s->r, c, SEG_SS, HW_DATA + 0x1c00 + 8 * rng_below(&s->r, 200), width);
    hw_narrow(c);
}

/* DEC of the register before the bases, JNZ to the beginning: two to four times in all. */
static void close_loop(struct sequence *s)
{
    struct hw_case *c = s->c;
    uint8_t *p = c->code + c->length;
    bool wide = c->bits == 64;
    if (wide)
        *p++ = 0x41;
    *p++ = 0xff;
    *p++ = (uint8_t)(0xc8 | ((s->base - 1) & 7));
    *p++ = 0x0f;
    *p++ = 0x85;
    unsigned n = c->bits == 16 ? 2 : 4;
    bytes_put(p, (uint64_t)(c->code - (p + n)), n);
    c->length = (uint16_t)(p + n - c->code);
    c->ninsns += 2;
    c->in.gpr[s->base - 1] = (c->bits == 16 ? c->in.gpr[s->base - 1] & ~0xffffull : 0) + 2 + rng_below(&s->r, 3);
    s->now &= IRF_CF;
}

void hw_sequence(struct hw_case *c, const struct hw_run *run, uint64_t seed)
{
    unsigned bits = run->options->bits;
    struct sequence s = {.r = {seed}, .c = c};
    memset(c, 0, sizeof *c);
    c->seed = seed;
    c->row = HW_SEQUENCE;
    c->bits = (uint8_t)bits;
    s.base = bits == 64 ? 14 : 6;
    s.x87 = rng_chance(&s.r, 15);
    rng_state(&s.r, &c->in, s.x87 || rng_chance(&s.r, 20));
    if (s.x87) {
        bytes_put(c->in.fx + FX_FCW, bytes_get(c->in.fx + FX_FCW, 2) | 0x3f, 2);
        bytes_put(c->in.fx + FX_FSW, bytes_get(c->in.fx + FX_FSW, 2) & 0x7f7f, 2);
    }
    unsigned want = 5 + rng_below(&s.r, INSNS_MAX - 5);
    bool vectors = rng_chance(&s.r, 50), loops = rng_chance(&s.r, 30);
    s.now = loops ? IRF_CF : 0; /* what the iteration before left */
    for (unsigned tries = 0; s.n < want && tries < 2000 && s.start[s.n] < LENGTH_MAX; tries++) {
        const struct x86_row *row = &x86_rows[run->in_sequence[rng_below(&s.r, run->nin_sequence)]];
        bool vector = is_vector(row);
        if (loops && row->lift == LIFT_leave) /* it writes the counter, in 32 bits */
            continue;
        if (rng_chance(&s.r, 25) && !row->flags_read) /* more that look at flags */
            continue;
        if (vector && !vectors)
            continue;
        bool divides = row->lift == LIFT_div || row->lift == LIFT_idiv;
        bool x87 = row->lift == LIFT_x87 || row->lift == LIFT_mmx;
        if ((divides || x87 != s.x87) && rng_chance(&s.r, 80))
            continue;
        take(&s, row);
    }
    resolve_jumps(&s);
    c->length = c->body = s.start[s.n];
    c->ninsns = (uint16_t)s.n;
    for (unsigned k = s.n; k < ARRAY_LEN(s.undefined); k++)
        s.now |= s.undefined[k];
    hw_narrow(c);
    hw_choose_segments(&s.r, c);
    c->pc = HW_CODE + 0x100 + rng_below(&s.r, c->seg[SEG_CS] == HW_FLAT ? 0x1c00 : 0x600);
    place_bases(&s);
    if (loops)
        close_loop(&s);
    c->undefined = hw_flag_bits(s.now);
    c->undefined_fault = hw_flag_bits(s.ever);
    c->stub = c->pc + c->length + 16 - hw_segment_base(c, SEG_CS) <= hw_code_limit(c);
    c->flush = rng_chance(&s.r, 10);
    for (unsigned i = 0; i < 4; i++) {
        c->patch[i].at = c->in.gpr[s.base + (i >= 2)] - 64 + 64 * (i & 1);
        for (unsigned n = 0; n < 64; n += 16)
            rng_vector(&s.r, c->patch[i].bytes + n);
    }
}
