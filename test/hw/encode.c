/* test/hw/encode.c: the bytes of one form of a row of the instruction table.
 *
 * hw_encode writes prefixes, opcode, ModRM, SIB, displacement and immediate as the row's columns allow, everything else
 * at random, and asks the decoder whether the row came out.
 *
 *     legacy   [segment] [67] [LOCK] [66] [F2 | F3] [REX] [0F [38 | 3A]] opcode ...
 *     VEX      [segment] [67] C5 RvvvvLpp | C4 RXBmmmmm WvvvvLpp opcode ...
 *     EVEX     [segment] [67] 62 RXBR'0mmm Wvvvv1pp zL'LbV'aaa opcode ...
 *
 * hw_spoil then changes such bytes a little: a prefix more, a bit turned, another opcode.  What comes out is mostly
 * undefined, too long, or another row; the decoder says which.
 *
 * What a row says of the vector length, W, mask, zeroing, broadcast and rounding is obeyed; registers that do not
 * exist outside 64-bit mode are not named there.
 */
#include <string.h>

#include "guest/x86/decode_table.h"
#include "test/hw/hw.h"

struct encoder {
    struct rng *r;
    const struct x86_row *row;
    uint8_t *p;
    uint8_t prefix; /* PFX_ bit chosen */
    uint8_t rex, mod;
    uint8_t bits;
    bool other_address; /* 67 */
    bool plain;         /* for sequences: no needless prefixes, memory by base and disp32 only */
};

static void choose_prefix(struct encoder *e)
{
    static const uint8_t usual[8] = {PFX_NP, PFX_NP, PFX_NP, PFX_NP, PFX_66, PFX_66, PFX_F3, PFX_F2};
    do {
        unsigned bit = rng_below(e->r, 4);
        e->prefix = e->row->prefix == PFX__ ? usual[rng_below(e->r, e->plain ? 6 : 8)] : (uint8_t)(1u << bit);
    } while (!(e->row->prefix & e->prefix));
}

static void choose_rex(struct encoder *e)
{
    bool wide = e->bits == 64;
    if (!wide && e->row->space == X86_LEGACY)
        return;
    e->rex = wide && rng_chance(e->r, 50) ? (uint8_t)rng_below(e->r, 8) : 0;
    bool w = e->row->w == W_1 || e->row->w == W_G1 || ((e->row->w == W__) && rng_chance(e->r, 35));
    e->rex |= w ? 8 : 0;
}

static void put_legacy_prefixes(struct encoder *e)
{
    static const uint8_t segments[] = {0x64, 0x65, 0x2e, 0x3e, 0x26, 0x36};
    if (!e->plain && rng_chance(e->r, 6))
        *e->p++ = segments[rng_below(e->r, sizeof segments)];
    e->other_address = !e->plain && rng_chance(e->r, 5);
    if (e->other_address)
        *e->p++ = 0x67;
}

static void put_legacy(struct encoder *e)
{
    put_legacy_prefixes(e);
    bool lockable = e->row->attr & ATTR_LOCK;
    if (rng_chance(e->r, lockable ? 25 : 1) && !e->plain)
        *e->p++ = 0xf0;
    if (e->prefix == PFX_66 || (!e->plain && e->prefix != PFX_NP && rng_chance(e->r, 10)))
        *e->p++ = 0x66;
    if (e->prefix == PFX_F2 || e->prefix == PFX_F3)
        *e->p++ = e->prefix == PFX_F3 ? 0xf3 : 0xf2;
    if (e->rex || (e->bits == 64 && rng_chance(e->r, 15)))
        *e->p++ = 0x40 | e->rex;
    if (e->row->map)
        *e->p++ = 0x0f;
    if (e->row->map >= 2)
        *e->p++ = e->row->map == 2 ? 0x38 : 0x3a;
}

static unsigned pp_of(const struct encoder *e)
{
    return e->prefix == PFX_66 ? 1 : e->prefix == PFX_F3 ? 2 : e->prefix == PFX_F2 ? 3 : 0;
}

/* One of the vector lengths that the row permits, below `end`. */
static unsigned choose_length(struct encoder *e, unsigned end)
{
    unsigned l = 0;
    if (e->row->l & ((1u << end) - 1))
        do
            l = rng_below(e->r, end);
        while (!(e->row->l >> l & 1));
    return l;
}

static void put_vex(struct encoder *e)
{
    unsigned vvvv = e->row->vvvv ? rng_below(e->r, e->bits == 64 ? 16 : 8) : 0;
    unsigned last = (~vvvv & 15) << 3 | choose_length(e, 2) << 2 | pp_of(e);
    put_legacy_prefixes(e);
    if (e->row->map == 1 && !(e->rex & 11) && rng_chance(e->r, 50)) {
        *e->p++ = 0xc5;
        *e->p++ = (e->rex & 4 ? 0 : 0x80) | last;
        return;
    }
    *e->p++ = 0xc4;
    *e->p++ = (~e->rex & 7) << 5 | e->row->map;
    *e->p++ = (e->rex & 8) << 4 | last;
}

/* z L'L b aaa as the row permits them (vol. 2A, 2.7). */
static unsigned choose_masking(struct encoder *e)
{
    uint32_t attr = e->row->attr;
    bool broadcasts = attr & (ATTR_BCAST16 | ATTR_BCAST32 | ATTR_BCAST64), rounds = attr & (ATTR_ER | ATTR_SAE);
    bool b = rng_chance(e->r, 35) && (e->mod == 3 ? rounds : broadcasts);
    unsigned l = b && e->mod == 3 ? rng_below(e->r, 4) : choose_length(e, 3);
    unsigned mask = attr & ATTR_MASKREQ ? 1 + rng_below(e->r, 7) : 0;
    if (attr & ATTR_MASK && !mask && rng_chance(e->r, 60))
        mask = rng_below(e->r, 8);
    bool z = mask && attr & ATTR_ZERO && rng_chance(e->r, 40);
    return (unsigned)z << 7 | l << 5 | (unsigned)b << 4 | mask;
}

static bool general_rm(const struct encoder *e)
{
    for (unsigned k = 0; k < ARRAY_LEN(e->row->operand); k++) {
        unsigned method = x86_operand_forms[e->row->operand[k]].method;
        if (e->mod == 3 && (method == METHOD_E || method == METHOD_R))
            return true;
    }
    return false;
}

/* A general register's number does not have EVEX.X in it.  But the processor at hand, told R20 for RSP by a set X, reads RSP
 * as it was before the PUSH, POP or CALL just before (`push rbx; vpbroadcastq zmm21, rsp` with X): such sequences are left
 * out. */
static void put_evex(struct encoder *e)
{
    if (e->plain && general_rm(e))
        e->rex &= ~2u;
    bool wide = e->bits == 64, vsib = e->row->attr & ATTR_MASKREQ;
    unsigned vvvv = e->row->vvvv ? rng_below(e->r, wide ? 32 : 8) : vsib && wide ? rng_below(e->r, 2) * 16 : 0;
    unsigned reg_high = wide ? rng_below(e->r, 2) : 0;
    put_legacy_prefixes(e);
    *e->p++ = 0x62;
    *e->p++ = (uint8_t)((~e->rex & 7) << 5 | (reg_high ^ 1) << 4 | e->row->map);
    *e->p++ = (uint8_t)((e->rex & 8) << 4 | (~vvvv & 15) << 3 | 4 | pp_of(e));
    *e->p++ = (uint8_t)(choose_masking(e) | (vvvv & 16 ? 0 : 8));
}

static void put_opcode(struct encoder *e)
{
    const uint8_t *o = e->row->operand;
    bool in_opcode = x86_operand_forms[o[0]].method == METHOD_Z || x86_operand_forms[o[1]].method == METHOD_Z;
    *e->p++ = e->row->opcode + (in_opcode ? rng_below(e->r, 8 - (e->row->opcode & 7)) : 0);
}

bool hw_indexed_by_vector(const struct x86_row *row)
{
    for (unsigned k = 0; k < ARRAY_LEN(row->operand); k++)
        if (x86_operand_forms[row->operand[k]].method == METHOD_VM)
            return true;
    return false;
}

/* Returns where the displacement lies, or NULL. */
static uint8_t *put_modrm(struct encoder *e)
{
    const struct x86_row *row = e->row;
    unsigned mod = e->mod;
    unsigned reg = row->ext >= 0 ? (unsigned)row->ext : rng_below(e->r, 8),
             rm = row->rm >= 0 ? (unsigned)row->rm : rng_below(e->r, 8);
    if (hw_indexed_by_vector(row)) {
        rm = 4;
    } else if (e->plain && mod != 3) { /* [r14 + disp32] or [r15 + disp32]; [si + disp16], [di + disp16] */
        rm = (e->bits == 16 ? 4 : 6) + rng_below(e->r, 2);
    }
    *e->p++ = (uint8_t)(mod << 6 | reg << 3 | rm);
    if (mod == 3 || row->attr & ATTR_MODREG)
        return NULL;
    unsigned base = rm;
    bool narrow =
        (e->bits == 16) != (e->bits != 64 && e->other_address); /* 16-bit addresses: no SIB, displacements of 2 bytes */
    if (narrow)
        base = rm == 6 ? 5 : 0;
    else if (rm == 4) {
        uint8_t sib = (uint8_t)rng_next(e->r);
        *e->p++ = sib;
        base = sib & 7;
    }
    uint8_t *disp = e->p;
    bool wide = mod == 2 || (mod == 0 && base == 5);
    unsigned n = mod == 1 ? 1 : wide ? narrow ? 2 : 4 : 0;
    bytes_put(e->p, rng_chance(e->r, 50) ? rng_edge(e->r) : rng_below(e->r, 256), 8);
    e->p += n;
    return n ? disp : NULL;
}

bool hw_encode(struct rng *r, const struct x86_row *row, unsigned bits, bool plain, uint8_t bytes[32],
               struct x86_insn *insn, unsigned *disp_at)
{
    struct encoder e = {.r = r, .row = row, .p = bytes, .plain = plain, .bits = (uint8_t)bits};
    if (plain && hw_indexed_by_vector(row))
        return false;
    choose_prefix(&e);
    choose_rex(&e);
    e.mod = row->mod == 1 ? 3 : row->mod == 2 ? rng_below(r, 3) : rng_chance(r, 40) ? 3 : rng_below(r, 3);
    if (plain && e.mod != 3 && row->modrm) {
        e.mod = 2;
        e.rex |= bits == 64; /* memory operands are based on r14 and r15 */
    }
    if (row->space == X86_EVEX)
        put_evex(&e);
    else if (row->space == X86_VEX)
        put_vex(&e);
    else
        put_legacy(&e);
    put_opcode(&e);
    uint8_t *disp = row->modrm ? put_modrm(&e) : NULL;
    bytes_put(e.p, rng_edge(r), 8);
    bytes_put(e.p + 8, rng_edge(r), 8);
    *disp_at = disp ? (unsigned)(disp - bytes) : 0;
    return x86_decode(hw_mode(bits), bytes, 15, insn) == X86_OK && insn->row == row;
}

/* Insns that enter the host's kernel or hypervisor, whatever the decoder takes them for. */
static bool escapes(const uint8_t *p, unsigned n)
{
    static const struct {
        uint8_t length, bytes[3];
    } bad[] = {
        {2, {0x0f, 0x05}}, {2, {0x0f, 0x34}}, {2, {0xcd, 0x80}}, {3, {0x0f, 0x01, 0xc1}}, {3, {0x0f, 0x01, 0xd9}}};
    for (unsigned at = 0; at < n; at++)
        for (unsigned k = 0; k < ARRAY_LEN(bad); k++)
            if (memcmp(p + at, bad[k].bytes, bad[k].length) == 0)
                return true;
    return false;
}

static void insert(uint8_t bytes[32], const uint8_t *with, unsigned n)
{
    memmove(bytes + n, bytes, 32 - n);
    memcpy(bytes, with, n);
}

bool hw_spoil(struct rng *r, unsigned bits, uint8_t bytes[32], struct x86_insn *insn, enum x86_status *status)
{
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36,
                                       0x3e, 0x26, 0x64, 0x65, 0x40, 0x48, 0x4f};
    unsigned front = insn->length < 6 ? insn->length : 6, n = 1;
    uint8_t more[16];
    for (unsigned i = 0; i < sizeof more; i++)
        more[i] = prefixes[rng_below(r, bits == 64 ? sizeof prefixes : sizeof prefixes - 3)];
    switch (rng_below(r, 6)) {
    case 0:
    case 1: bytes[rng_below(r, front)] ^= (uint8_t)(1u << rng_below(r, 8)); break;
    case 2: bytes[rng_below(r, front)] = (uint8_t)rng_next(r); break;
    case 3:
        n = 1 + rng_below(r, 14); /* up to 15 bytes, and beyond */
    /* fall through */
    default: insert(bytes, more, n);
    }
    *status = x86_decode(hw_mode(bits), bytes, 15, insn);
    return !escapes(bytes, 15);
}
