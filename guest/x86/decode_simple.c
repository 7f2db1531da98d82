/* guest/x86/decode_simple.c: most insns of 64-bit code, without a question more than they need.
 *
 * These have no prefix but REX, an opcode of one byte or of 0F and one more, and a row all of whose operands are general
 * registers, memory given by ModRM, and one immediate at most.  All others are decode.c's, which finds the same of these, too,
 * when it is asked: test_decode compares the two.
 *
 * Rules to know before editing
 *   - A new insn needs nothing here but its row.
 *   - Each insn is another, so a processor guesses wrong at many branches: what can be looked up or computed is.  But the next
 *     insn waits for the length of this one: what leads to that must be few loads in a row, or branches.
 */
#include "guest/x86/decode_table.h"

/* The row of the insn, of those up to `last` that have its key; NULL: none. */
static inline const struct x86_row *find_row(const struct x86_row *last, unsigned modrm, unsigned w)
{
    unsigned given = (modrm >= 0xc0) << 6 | (modrm & 0x3f);
    for (const struct x86_row *r = last; r->key == last->key; r--) {
        if (r->prefix & PFX_NP && (given & r->asked) == r->answer && r->w >> w & 1 && r->l & 1 &&
            !(r->attr & ATTR_NO64))
            return r;
        if (r == x86_rows)
            break;
    }
    return NULL;
}

/* Compiled twice, with REX and without: where the opcode is must be guessed rather than waited for.  restrict: a byte stored
 * to *out might be any other byte, for all that C knows otherwise. */
static inline __attribute__((always_inline)) bool decode(const uint8_t *restrict p, bool has_rex,
                                                         struct x86_insn *restrict out)
{
    size_t at = has_rex;
    unsigned rex = has_rex ? p[0] & 15 : 0, w = rex >> 3, map = 0, opcode = p[at];
    if (__builtin_expect(opcode == 0x0f, false)) {
        map = 1;
        opcode = p[++at];
    }
    unsigned modrm = p[at + 1];
    const struct x86_last_row *last = &x86_last_row[X86_KEY(X86_LEGACY, map, opcode)][modrm >> 3 & 7];
    unsigned imm_bytes = last->imm_bytes >> 4 * w & 15;
    if (!last->number || (opcode == 0x90 && !map)) /* XCHG r8, rAX or NOP */
        return false;
    const struct x86_row *restrict r = &x86_rows[last->number - 1];
    if (!r->plain) {
        r = find_row(r, modrm, w);
        if (!r)
            return false;
        imm_bytes = r->imm_bytes[w];
    }
    if (!r->simple)
        return false;
    at += 1u + last->modrm;
    unsigned there = 0u - last->modrm;
    modrm &= there;
    *out = (struct x86_insn){.row = r, .asize = 8, .mem = {.base = -1, .index = -1, .seg = SEG_NONE}};
    out->prefix = has_rex ? PREFIX_REX : 0;
    out->map = (uint8_t)map;
    out->opcode = (uint8_t)opcode;
    out->rex = (uint8_t)rex;
    out->has_modrm = r->modrm;
    out->modrm = (uint8_t)modrm;
    out->mod = (uint8_t)(modrm >> 6);
    out->noperands = r->noperands;
    unsigned log_osize = r->log_osize[w];
    out->osize = (uint8_t)(1u << log_osize);
    bool memory = last->modrm & (modrm < 0xc0);
    unsigned reg = (modrm >> 3 & 7) | (rex & there & 4) << 1, rm = (modrm & 7) | (rex & there & 1) << 3;
    out->reg = (uint8_t)reg;
    out->rm = (uint8_t)rm;
    uint64_t numbers = x86_numbers(reg, rm, opcode, rex);
    x86_place_operand(&out->op[0], &x86_operand_forms[r->operand[0]], log_osize, memory, numbers);
    x86_place_operand(&out->op[1], &x86_operand_forms[r->operand[1]], log_osize, memory, numbers);
    if (r->operand[2])
        x86_place_operand(&out->op[2], &x86_operand_forms[r->operand[2]], log_osize, memory, numbers);
    if (r->byte && !has_rex) {
        x86_high_byte(&out->op[0]);
        x86_high_byte(&out->op[1]);
    }
    if (memory)
        at += x86_decode_address(&out->mem, p + at, modrm, rex, true);
    out->imm = x86_immediate(r->imm_signed, p + at, imm_bytes);
    out->length = (uint8_t)(at + imm_bytes);
    return true;
}

bool x86_decode_simple(const uint8_t *p, struct x86_insn *out)
{
    return (p[0] & 0xf0) == 0x40 ? decode(p, true, out) : decode(p, false, out);
}
