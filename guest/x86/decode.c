/* guest/x86/decode.c: from bytes to one instruction: prefixes, opcode, row, ModRM; operands are decode_operand.c's.
 *
 *   [legacy prefixes] [REX] [0F | 0F 38 | 0F 3A]                opcode [ModRM [SIB] [displacement]] [immediates]
 *                     C5 RvvvvLpp                                 "
 *                     C4 RXBmmmmm WvvvvLpp                        "
 *                     62 RXBR'0mmm Wvvvv1pp zL'LbV'aaa            "
 *
 * (Intel SDM vol. 2A, chapter 2.)  Where few bytes are left they are copied, followed by zeros, and no reader looks for the end:
 * whether the insn ran past what was there, or past 15 bytes, is asked once, when its length is known.  That question
 * comes before "undefined", because an insn found undefined by bytes that are not there may be another one.
 *
 * Most insns do not come here: decode_simple.c.
 *
 * Rules to know:
 *   - The row is chosen by key (space, map, opcode) through x86_last_row, then by walking backwards over the rows of
 *     that key.
 *   - F2 and F3: the last one counts; it goes before 66 where they select a row.  66 then still sets the operand size.
 *   - REX counts only right before the opcode.
 *   - Near branches in 64-bit mode ignore 66, as Intel's processors do (vol. 2A, JMP: "operand size forced to 64");
 *     AMD's would truncate the target to 16 bits.  Compilers and kernels use neither.
 *   - LOCK is legal on a memory destination of a row that says so, else #UD (vol. 2A, LOCK).  AMD's LOCK MOV CR0 for
 *     CR8 decodes too: its lifter asks for the feature (APM vol. 3, MOV CRn).
 *   - VEX and EVEX after 66, F2, F3, LOCK or REX are #UD (2.3.2); unused vvvv must be 1111b (2.3.5.6).
 */
#include "guest/x86/decode_table.h"
#include "guest/x86/state.h"

/* The longest insn; as far as readers can reach, which take eight bytes at a time. */
enum { LONGEST = 15, FARTHEST = 48 };

/* A bit a byte: 26 2E 36 3E 64 65 66 67 F0 F2 F3, and in 64-bit mode 40 to 4F. */
static const uint32_t prefix_bits[2][8] = {{[1] = 0x40404040, [3] = 0xf0, [7] = 0xd0000},
                                           {[1] = 0x40404040, [2] = 0xffff, [3] = 0xf0, [7] = 0xd0000}};

static bool is_prefix(const struct x86_decoder *d, uint8_t b)
{
    return prefix_bits[d->bits == X86_64][b / 32] >> b % 32 & 1;
}

static bool is_rex(const struct x86_decoder *d, uint8_t b)
{
    return (b & 0xf0) == 0x40 && d->bits == X86_64;
}

static void decode_any_prefixes(struct x86_decoder *d)
{
    struct x86_insn *i = d->insn;
    for (; d->at < LONGEST; d->at++) {
        uint8_t b = d->bytes[d->at];
        if (!is_prefix(d, b)) {
            return;
        }
        if (is_rex(d, b)) {
            i->rex = b & 15;
            i->prefix |= PREFIX_REX;
            continue;
        }
        switch (b) {
        case 0xf0: i->prefix |= PREFIX_LOCK; break;
        case 0xf2: i->prefix = (i->prefix & ~PREFIX_REP) | PREFIX_REPNE; break;
        case 0xf3: i->prefix = (i->prefix & ~PREFIX_REPNE) | PREFIX_REP; break;
        case 0x66: i->prefix |= PREFIX_66; break;
        case 0x67: i->prefix |= PREFIX_67; break;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
            if (d->bits != X86_64) { /* vol. 1, 3.4.2.1: no effect in 64-bit mode, and FS or GS before it stays */
                i->prefix |= PREFIX_SEG;
                d->seg = SEG_ES + ((b >> 3) & 3);
            }
            break;
        case 0x64:
        case 0x65:
            i->prefix |= PREFIX_SEG;
            d->seg = SEG_FS + (b & 1);
            break;
        }
        i->rex = 0;
        i->prefix &= ~PREFIX_REX;
    }
}

/* Most insns have none, or REX alone. */
static void decode_prefixes(struct x86_decoder *d)
{
    struct x86_insn *i = d->insn;
    bool rex = is_rex(d, d->bytes[0]);
    if (is_prefix(d, d->bytes[rex])) {
        decode_any_prefixes(d);
        return;
    }
    d->at = rex;
    i->rex = rex ? d->bytes[0] & 15 : 0;
    i->prefix = rex ? PREFIX_REX : 0;
}

/* The prefix that selects a row, in VEX.pp's numbering, and which set of rows that is. */
enum { PP_NONE, PP_66, PP_F3, PP_F2 };
static const uint8_t mandatory_of_pp[4] = {0, 0x66, 0xf3, 0xf2};
static const uint8_t rows_of_pp[4] = {PFX_NP, PFX_66, PFX_F3, PFX_F2};

static void set_mandatory(struct x86_decoder *d, unsigned pp)
{
    d->insn->mandatory = mandatory_of_pp[pp & 3];
    d->prefix = rows_of_pp[pp & 3];
}

static void decode_legacy_opcode(struct x86_decoder *d)
{
    struct x86_insn *i = d->insn;
    i->opcode = x86_decoder_take(d, 1);
    if (i->opcode == 0x0f) {
        i->opcode = x86_decoder_take(d, 1);
        i->map = 1;
        if (i->opcode == 0x38 || i->opcode == 0x3a) {
            i->map = i->opcode == 0x38 ? 2 : 3;
            i->opcode = x86_decoder_take(d, 1);
        }
    }
    unsigned p = i->prefix & (PREFIX_REP | PREFIX_REPNE | PREFIX_66);
    set_mandatory(d, p == 0 ? PP_NONE : p & PREFIX_REP ? PP_F3 : p & PREFIX_REPNE ? PP_F2 : PP_66);
}

/* After C4 or C5.  Outside 64-bit mode registers above 7 cannot be named: R and X were ModRM.mod, B and the top bit
 * of vvvv are ignored (vol. 2A, 2.3.5). */
static bool decode_vex(struct x86_decoder *d, bool three)
{
    struct x86_insn *i = d->insn;
    uint8_t p1 = x86_decoder_take(d, 1), p2 = p1;
    i->space = X86_VEX;
    i->map = 1;
    i->rex = p1 & 0x80 ? 0 : 4;
    if (three) {
        p2 = x86_decoder_take(d, 1);
        i->map = p1 & 31;
        i->rex = (~p1 >> 5 & 7) | (p2 >> 4 & 8);
    }
    i->vvvv = ~p2 >> 3 & 15;
    i->vl = p2 >> 2 & 1;
    set_mandatory(d, p2);
    if (d->bits != X86_64)
        i->rex &= 8;
    return i->map >= 1 && i->map <= 3;
}

/* After 62 (vol. 2A, 2.7.1). */
static bool decode_evex(struct x86_decoder *d, uint8_t *reg_high)
{
    struct x86_insn *i = d->insn;
    uint8_t p0 = x86_decoder_take(d, 1), p1 = x86_decoder_take(d, 1), p2 = x86_decoder_take(d, 1);
    bool high = !(p2 & 8);
    i->space = X86_EVEX;
    i->map = p0 & 7;
    i->rex = (~p0 >> 5 & 7) | (p1 >> 4 & 8);
    *reg_high = p0 & 0x10 ? 0 : 16;
    i->vvvv = (~p1 >> 3 & 15) | (high ? 16 : 0);
    set_mandatory(d, p1);
    i->evex_z = p2 >> 7;
    i->vl = p2 >> 5 & 3;
    i->evex_b = p2 >> 4 & 1;
    i->evex_mask = p2 & 7;
    if (d->bits != X86_64) {
        i->rex &= 8;
        *reg_high = 0;
        if (high) {
            return false;
        }
    }
    return (p0 & 8) == 0 && (p1 & 4) != 0 && i->map != 0 && i->map != 4 && i->map != 7;
}

static bool decode_opcode(struct x86_decoder *d, uint8_t *reg_high)
{
    struct x86_insn *i = d->insn;
    uint8_t b = d->bytes[d->at];
    bool vector = b == 0xc4 || b == 0xc5 || b == 0x62;
    if (!vector || (d->bits != X86_64 && d->bytes[d->at + 1] < 0xc0)) {
        decode_legacy_opcode(d);
        return true;
    }
    d->at++;
    bool good = (i->prefix & (PREFIX_LOCK | PREFIX_REPNE | PREFIX_REP | PREFIX_66 | PREFIX_REX)) == 0;
    good &= b == 0x62 ? decode_evex(d, reg_high) : decode_vex(d, b == 0xc4);
    i->opcode = x86_decoder_take(d, 1);
    return good;
}

/* EVEX.b with registers: rounding or no exceptions. */
static bool rounds(const struct x86_row *r, const struct x86_insn *i)
{
    return i->evex_b && i->mod == 3 && (r->attr & (ATTR_ER | ATTR_SAE));
}

static bool row_fits(const struct x86_row *r, const struct x86_decoder *d)
{
    const struct x86_insn *i = d->insn;
    unsigned modrm = (i->mod == 3) << 6 | (i->modrm & 0x3f), w = (d->bits == X86_64 ? 0 : 2) + (i->rex >> 3);
    if (!(r->prefix & d->prefix) || (modrm & r->asked) != r->answer || !(r->w >> w & 1)) {
        return false;
    }
    if (r->attr & (d->bits == X86_64 ? ATTR_NO64 : ATTR_ONLY64)) {
        return false;
    }
    return r->l >> i->vl & 1 || rounds(r, i);
}

static const struct x86_row *find_row(const struct x86_decoder *d, const struct x86_row *last)
{
    if (last->plain) {
        return last;
    }
    for (const struct x86_row *r = last; r->key == last->key; r--) {
        if (row_fits(r, d)) {
            return r;
        }
        if (r == x86_rows) {
            break;
        }
    }
    return NULL;
}

/* Vol. 1, table 3-4 and 3-5; vol. 2A, 2.2.1.7 for what defaults to 64 bits. */
static uint8_t operand_size(const struct x86_decoder *d)
{
    const struct x86_insn *i = d->insn;
    uint32_t attr = i->row->attr;
    bool small = (i->prefix & PREFIX_66) && !(attr & ATTR_NO66);
    if (attr & ATTR_BYTE) {
        return 1;
    }
    if (d->bits != X86_64) {
        return small != (d->bits == X86_16) ? 2 : 4;
    }
    if ((i->rex & 8) || (attr & ATTR_F64)) {
        return 8;
    }
    return small ? 2 : attr & ATTR_D64 ? 8 : 4;
}

static uint8_t address_size(const struct x86_decoder *d)
{
    bool other = d->insn->prefix & PREFIX_67;
    switch (d->bits) {
    case X86_16: return other ? 4 : 2;
    case X86_32: return other ? 2 : 4;
    default: return other ? 4 : 8;
    }
}

static bool lock_is_legal(const struct x86_insn *i)
{
    if (!(i->prefix & PREFIX_LOCK) || i->row->lift == LIFT_mov_cr) {
        return !(i->prefix & PREFIX_LOCK) || i->reg == 0;
    }
    return (i->row->attr & ATTR_LOCK) && i->has_modrm && i->mod != 3;
}

/* What VEX and EVEX rows ask beyond the columns that select them. */
static bool vector_is_legal(struct x86_insn *i)
{
    const struct x86_row *r = i->row;
    if (i->space == X86_LEGACY) {
        return true;
    }
    if (i->space == X86_VEX) {
        return r->vvvv || i->vvvv == 0;
    }
    bool vsib = r->attr & ATTR_MASKREQ;
    if (!r->vvvv && (vsib ? i->vvvv & 15 : i->vvvv)) {
        return false;
    }
    if ((i->evex_mask && !(r->attr & ATTR_MASK)) || (!i->evex_mask && (i->evex_z || vsib))) {
        return false;
    }
    if (i->evex_z && !(r->attr & ATTR_ZERO)) {
        return false;
    }
    if (rounds(r, i)) {
        i->evex_rc = i->vl;
        i->vl = 2;
        return true;
    }
    return !i->evex_b || (i->mod != 3 && (r->attr & (ATTR_BCAST16 | ATTR_BCAST32 | ATTR_BCAST64)));
}

static bool has_rows(unsigned key)
{
    unsigned any = 0;
    for (unsigned reg = 0; reg < ARRAY_LEN(x86_last_row[key]); reg++) {
        any |= x86_last_row[key][reg].number;
    }
    return any;
}

static bool decode_rest(struct x86_decoder *d)
{
    struct x86_insn *i = d->insn;
    uint8_t reg_high = 0;
    if (!decode_opcode(d, &reg_high)) {
        return false;
    }
    unsigned key = X86_KEY(i->space, i->map, i->opcode);
    if (key == X86_KEY(X86_LEGACY, 0, 0x90) && (i->rex & 1)) {
        key++; /* XCHG r8, rAX: what REX.B leaves of NOP */
    }
    unsigned last = x86_last_row[key][d->bytes[d->at] >> 3 & 7].number;
    if (!last) {
        d->at += has_rows(key); /* ModRM was looked at */
        return false;
    }
    const struct x86_row *r = &x86_rows[last - 1];
    if (r->modrm) {
        i->has_modrm = true;
        i->modrm = x86_decoder_take(d, 1);
        i->mod = r->attr & ATTR_MODREG ? 3 : i->modrm >> 6;
        i->reg = (i->modrm >> 3 & 7) | (i->rex & 4 ? 8 : 0) | reg_high;
        i->rm = (i->modrm & 7) | (i->rex & 1 ? 8 : 0);
    }
    i->row = find_row(d, r);
    if (!i->row) {
        return false;
    }
    i->osize = operand_size(d);
    i->asize = address_size(d);
    if (!vector_is_legal(i)) {
        return false;
    }
    if (d->bits != X86_64) {
        i->vvvv &= 7; /* only after the question whether an unused one is 1111b */
    }
    d->memory = i->has_modrm && i->mod != 3;
    if (d->memory) {
        x86_decode_memory(d);
    }
    return x86_decode_operands(d) && lock_is_legal(i);
}

__attribute__((noinline)) static enum x86_status decode_any(enum x86_bits bits, const uint8_t *p, size_t n,
                                                            struct x86_insn *out)
{
    struct x86_decoder d = {.bits = bits, .seg = SEG_NONE, .insn = out, .bytes = p};
    uint8_t few[FARTHEST];
    if (n < FARTHEST) {
        __builtin_memset(few, 0, FARTHEST);
        __builtin_memcpy(few, p, n < LONGEST ? n : LONGEST);
        d.bytes = few;
    }
    *out = (struct x86_insn){.mem = {.base = -1, .index = -1, .seg = SEG_NONE}};
    decode_prefixes(&d);
    bool good = decode_rest(&d);
    if (d.at > n && n < LONGEST) {
        return X86_MORE;
    }
    if (d.at > LONGEST) {
        return X86_LONG;
    }
    out->length = d.at;
    return good ? X86_OK : X86_UNDEFINED;
}

enum x86_status x86_decode(enum x86_bits bits, const uint8_t *p, size_t n, struct x86_insn *out)
{
    return n >= FARTHEST && bits == X86_64 && x86_decode_simple(p, out) ? X86_OK : decode_any(bits, p, n, out);
}
