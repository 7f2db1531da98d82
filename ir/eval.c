/* ir/eval.c: what the ops compute: values and flags of all ops that touch neither guest memory nor struct cpu.
 *
 * The reference interpreter and constant folding both come here, so there is one C meaning of the arithmetic.  It is
 * written for clarity, not speed.
 *
 * Rules to know before editing
 *   - Operands come with any high bits; every function masks to the op's width first.
 *   - Results are at the op's width, zero above; inserting them into the destination is the caller's business.
 *   - Flags that the Intel SDM and AMD APM vol. 3 call undefined are those of AMD Zen processors, as measured
 *     (test_eval.c compares with the processor at hand):
 *         AND OR XOR TEST        AF = 0
 *         shifts, SHLD SHRD      AF = 1; OF by any count: SHL, SHLD carry xor top bit; SHR top bit of a for 1, else
 *         0; SHRD
 *                                as if shifted once more from count - 1
 *         rotates                OF by any count as by 1
 *         multiplications        only CF, OF change
 *         divisions              AF = 1, PF ZF SF = 0, CF OF stay
 *         BT BTS BTR BTC         only CF changes
 *         BSF BSR                of zero: PF ZF; else: PF of the index, the others 0
 *         TZCNT LZCNT            OF stays, PF AF SF = 0
 *         SHLD SHRD of 16 bits by more than 16: the second operand rotates; CF = 0
 */
#include "ir/ir.h"

__extension__ typedef unsigned __int128 u128;
__extension__ typedef __int128 s128;

static unsigned bit(uint64_t v, unsigned n)
{
    return (unsigned)(v >> n & 1);
}

static unsigned flag(unsigned cond, unsigned f)
{
    return cond ? f : 0;
}

/* PF, ZF, SF of a result. */
static unsigned pzs(uint64_t v, unsigned bits)
{
    return flag(!__builtin_parity(v & 0xff), IRF_PF) | flag(v == 0, IRF_ZF) | flag(bit(v, bits - 1), IRF_SF);
}

static struct ir_result result(uint64_t d, unsigned f)
{
    return (struct ir_result){.d = d, .f = f};
}

static struct ir_result add(uint64_t a, uint64_t b, unsigned carry, unsigned bits)
{
    uint64_t r = (a + b + carry) & mask_bits(bits);
    uint64_t carries = (a & b) | ((a | b) & ~r);
    uint64_t over = (a ^ r) & (b ^ r);
    return result(r, pzs(r, bits) | flag(bit(carries, bits - 1), IRF_CF) | flag(bit(a ^ b ^ r, 4), IRF_AF) |
                         flag(bit(over, bits - 1), IRF_OF));
}

static struct ir_result sub(uint64_t a, uint64_t b, unsigned borrow, unsigned bits)
{
    uint64_t r = (a - b - borrow) & mask_bits(bits);
    uint64_t borrows = (~a & b) | ((~a | b) & r);
    uint64_t over = (a ^ b) & (a ^ r);
    return result(r, pzs(r, bits) | flag(bit(borrows, bits - 1), IRF_CF) | flag(bit(a ^ b ^ r, 4), IRF_AF) |
                         flag(bit(over, bits - 1), IRF_OF));
}

static struct ir_result logic(uint64_t r, unsigned bits)
{
    return result(r, pzs(r, bits));
}

/* INC, DEC: as ADD, SUB of 1, CF stays. */
static struct ir_result keep_cf(struct ir_result r, unsigned f)
{
    r.f = (r.f & ~(unsigned)IRF_CF) | (f & IRF_CF);
    return r;
}

static struct ir_result shift(unsigned op, uint64_t a, unsigned n, unsigned bits, unsigned f)
{
    uint64_t r;
    unsigned cf, of;
    if (n == 0)
        return result(a, f);
    if (op == IR_SHL) {
        r = a << n & mask_bits(bits);
        cf = n <= bits ? bit(a, bits - n) : 0;
        of = cf ^ bit(r, bits - 1);
    } else if (op == IR_SHR) {
        r = a >> n;
        cf = bit(a, n - 1);
        of = bit(a >> (n - 1), bits - 1);
    } else {
        int64_t s = sign_extend(a, bits);
        r = (uint64_t)(s >> n) & mask_bits(bits);
        cf = bit((uint64_t)(s >> (n - 1)), 0);
        of = 0;
    }
    return result(r, pzs(r, bits) | IRF_AF | flag(cf, IRF_CF) | flag(of, IRF_OF));
}

static struct ir_result rotate(unsigned op, uint64_t a, unsigned n, unsigned bits, unsigned f)
{
    if (n == 0)
        return result(a, f);
    bool left = op == IR_ROL || op == IR_RCL;
    unsigned cf = f & IRF_CF;
    for (unsigned i = 0; i < n; i++) {
        unsigned out = left ? bit(a, bits - 1) : bit(a, 0);
        uint64_t in = op == IR_ROL || op == IR_ROR ? out : cf;
        a = left ? (a << 1 | in) & mask_bits(bits) : a >> 1 | in << (bits - 1);
        cf = out;
    }
    unsigned of = left ? cf ^ bit(a, bits - 1) : bit(a, bits - 1) ^ bit(a, bits - 2);
    return result(a, (f & ~(unsigned)(IRF_CF | IRF_OF)) | flag(cf, IRF_CF) | flag(of, IRF_OF));
}

static struct ir_result double_shift(unsigned op, uint64_t a, uint64_t b, unsigned n, unsigned bits, unsigned f)
{
    uint64_t r;
    unsigned cf, of;
    if (n == 0)
        return result(a, f);
    unsigned over = n > bits ? n - bits : 0; /* 16 bits only */
    if (op == IR_SHLD) {
        u128 pair = (u128)a << bits | b;
        r = over ? b << over | b >> (bits - over) : (uint64_t)(pair << n >> bits);
        cf = over ? 0 : bit(a, bits - n);
    } else {
        u128 pair = (u128)b << bits | a;
        r = over ? b >> over | b << (bits - over) : (uint64_t)(pair >> n);
        cf = over ? 0 : bit(a, n - 1);
    }
    r &= mask_bits(bits);
    if (op == IR_SHRD)
        of = bit(r, bits - 1) ^ bit(r, bits - 2);
    else
        of = n < bits ? cf ^ bit(r, bits - 1) : cf;
    return result(r, pzs(r, bits) | IRF_AF | flag(cf, IRF_CF) | flag(of, IRF_OF));
}

/* The full product of two numbers of `bits`, as two halves. */
static struct ir_result multiply(uint64_t a, uint64_t b, bool is_signed, unsigned bits, unsigned f)
{
    u128 p = is_signed ? (u128)((s128)sign_extend(a, bits) * sign_extend(b, bits)) : (u128)a * b;
    struct ir_result r = {.d = (uint64_t)p & mask_bits(bits), .e = (uint64_t)(p >> bits) & mask_bits(bits)};
    uint64_t fits = is_signed && bit(r.d, bits - 1) ? mask_bits(bits) : 0;
    r.f = (f & ~(unsigned)(IRF_CF | IRF_OF)) | flag(r.e != fits, IRF_CF | IRF_OF);
    if (bits == 8)
        r.d |= r.e << 8;
    return r;
}

/* high:low / c.  #DE where the quotient does not fit (Intel SDM vol. 2, DIV, IDIV). */
static struct ir_result divide(uint64_t high, uint64_t low, uint64_t c, bool is_signed, unsigned bits, unsigned f)
{
    struct ir_result r = {.f = (f & (IRF_CF | IRF_OF)) | IRF_AF};
    u128 n = (u128)high << bits | low;
    bool minus_n = is_signed && bit(high, bits - 1), minus_c = is_signed && bit(c, bits - 1);
    if (minus_n)
        n = bits == 64 ? -n : -n & (((u128)1 << 2 * bits) - 1);
    if (minus_c)
        c = -c & mask_bits(bits);
    u128 most = is_signed ? ((u128)1 << (bits - 1)) - (minus_n == minus_c) : mask_bits(bits);
    if (c == 0 || n / c > most)
        return (struct ir_result){.fault = true, .f = f};
    uint64_t q = (uint64_t)(n / c), rest = (uint64_t)(n % c);
    r.d = (minus_n != minus_c ? -q : q) & mask_bits(bits);
    r.e = (minus_n ? -rest : rest) & mask_bits(bits);
    if (bits == 8)
        r.d |= r.e << 8;
    return r;
}

static struct ir_result bit_test(unsigned op, uint64_t a, uint64_t b, unsigned bits, unsigned f)
{
    uint64_t m = 1ull << (b & (bits - 1));
    uint64_t r = op == IR_BTS ? a | m : op == IR_BTR ? a & ~m : op == IR_BTC ? a ^ m : a;
    return result(r, (f & ~(unsigned)IRF_CF) | flag((a & m) != 0, IRF_CF));
}

static struct ir_result scan(unsigned op, uint64_t d, uint64_t a)
{
    if (a == 0)
        return (struct ir_result){.d = d, .f = IRF_ZF | IRF_PF, .keep = true};
    uint64_t r = (uint64_t)(op == IR_BSF ? __builtin_ctzll(a) : 63 - __builtin_clzll(a));
    return result(r, pzs(r, 64) & IRF_PF);
}

static struct ir_result count(unsigned op, uint64_t a, unsigned bits, unsigned f)
{
    if (op == IR_POPCNT)
        return result((uint64_t)__builtin_popcountll(a), flag(a == 0, IRF_ZF));
    uint64_t r = bits;
    if (a != 0)
        r = op == IR_TZCNT ? (uint64_t)__builtin_ctzll(a) : (uint64_t)__builtin_clzll(a) - (64 - bits);
    return result(r, (f & IRF_OF) | flag(a == 0, IRF_CF) | flag(r == 0, IRF_ZF));
}

static struct ir_result set_flags(const struct ir_op *o, uint64_t a, unsigned f)
{
    return result(0, (f & ~(unsigned)o->sub) | (ir_f_of_x86((uint32_t)a) & o->sub));
}

/* CRC-32C (polynomial 11EDC6F41H), reflected; SDM vol. 2, CRC32. */
static uint64_t crc32c(uint64_t crc, uint64_t v, unsigned bits)
{
    crc = (uint32_t)crc;
    for (unsigned i = 0; i < bits; i++) {
        bool one = (crc ^ v >> i) & 1;
        crc = crc >> 1 ^ (one ? 0x82f63b78u : 0);
    }
    return crc;
}

static uint64_t deposit(uint64_t a, uint64_t mask)
{
    uint64_t r = 0;
    for (; mask; mask &= mask - 1, a >>= 1)
        r |= a & 1 ? mask & -mask : 0;
    return r;
}

static uint64_t extract(uint64_t a, uint64_t mask)
{
    uint64_t r = 0;
    for (unsigned n = 0; mask; mask &= mask - 1, n++)
        r |= (a & mask & -mask ? 1ull : 0) << n;
    return r;
}

/* Moves, extensions and others without flags. */
static struct ir_result plain(const struct ir_op *o, uint64_t d, uint64_t a, uint64_t b, unsigned f)
{
    unsigned bits = ir_bits(o->type);
    uint64_t r = 0;
    switch (o->op) {
    case IR_MOV: r = a; break;
    case IR_ZX8: r = a & 0xff; break;
    case IR_ZX16: r = a & 0xffff; break;
    case IR_SX8: r = (uint64_t)sign_extend(a, 8); break;
    case IR_SX16: r = (uint64_t)sign_extend(a, 16); break;
    case IR_SX32: r = (uint64_t)sign_extend(a, 32); break;
    case IR_LEA: r = a + (b << o->sub) + (uint64_t)o->imm; break;
    case IR_NOT: r = ~a; break;
    case IR_BSWAP: r = o->type == I64 ? __builtin_bswap64(a) : __builtin_bswap32((uint32_t)a); break;
    case IR_CMOV: r = ir_cc_holds(o->sub, f) ? a : d; break;
    case IR_SETCC: return result(ir_cc_holds(o->sub, f), f);
    case IR_GETF: return result(ir_f_to_x86(f), f);
    default: rh_panic(__FILE__, __LINE__, "ir_eval: %s has no value", ir_shapes[o->op].name);
    }
    return result(r & mask_bits(bits), f);
}

struct ir_result ir_eval(const struct ir_op *o, uint64_t d, uint64_t a, uint64_t b, uint64_t c, unsigned f)
{
    unsigned bits = ir_bits(o->type);
    uint64_t m = mask_bits(bits), x = a & m, y = b & m;
    unsigned mask = ir_count_mask(o->type);
    switch (o->op) {
    case IR_ADD: return add(x, y, 0, bits);
    case IR_ADC: return add(x, y, f & IRF_CF, bits);
    case IR_SUB:
    case IR_CMP: return sub(x, y, 0, bits);
    case IR_SBB: return sub(x, y, f & IRF_CF, bits);
    case IR_AND:
    case IR_TEST: return logic(x & y, bits);
    case IR_OR: return logic(x | y, bits);
    case IR_XOR: return logic(x ^ y, bits);
    case IR_NEG: return sub(0, x, 0, bits);
    case IR_INC: return keep_cf(add(x, 1, 0, bits), f);
    case IR_DEC: return keep_cf(sub(x, 1, 0, bits), f);
    case IR_SHL:
    case IR_SHR:
    case IR_SAR: return shift(o->op, x, (unsigned)b & mask, bits, f);
    case IR_ROL:
    case IR_ROR:
    case IR_RCL:
    case IR_RCR: return rotate(o->op, x, (unsigned)b & mask, bits, f);
    case IR_SHLD:
    case IR_SHRD: return double_shift(o->op, x, y, (unsigned)c & mask, bits, f);
    case IR_MUL:
    case IR_SMUL: return multiply(x, y, true, bits, f);
    case IR_UMUL: return multiply(x, y, false, bits, f);
    case IR_UDIV:
    case IR_SDIV: return divide(bits == 8 ? a >> 8 & 0xff : y, x, c & m, o->op == IR_SDIV, bits, f);
    case IR_BT:
    case IR_BTS:
    case IR_BTR:
    case IR_BTC: return bit_test(o->op, x, y, bits, f);
    case IR_BSF:
    case IR_BSR: return scan(o->op, d, x);
    case IR_TZCNT:
    case IR_LZCNT:
    case IR_POPCNT: return count(o->op, x, bits, f);
    case IR_CRC32: return result(crc32c(a, b, bits), f);
    case IR_PDEP: return result(deposit(x, y), f);
    case IR_PEXT: return result(extract(x, y), f);
    case IR_SETF: return set_flags(o, a, f);
    case IR_STC: return result(0, f | IRF_CF);
    case IR_CLC: return result(0, f & ~(unsigned)IRF_CF);
    case IR_CMC: return result(0, f ^ IRF_CF);
    default: return plain(o, d, a, b, f);
    }
}

bool ir_cc_holds(enum ir_cc cc, unsigned f)
{
    bool less = !(f & IRF_SF) != !(f & IRF_OF);
    bool holds = false;
    switch (cc & ~1u) {
    case CC_O: holds = f & IRF_OF; break;
    case CC_B: holds = f & IRF_CF; break;
    case CC_E: holds = f & IRF_ZF; break;
    case CC_BE: holds = f & (IRF_CF | IRF_ZF); break;
    case CC_S: holds = f & IRF_SF; break;
    case CC_P: holds = f & IRF_PF; break;
    case CC_L: holds = less; break;
    case CC_LE: holds = less || f & IRF_ZF; break;
    }
    return holds != (cc & 1);
}

static const struct {
    uint16_t f, x86;
} positions[] = {{IRF_CF, 1}, {IRF_PF, 4}, {IRF_AF, 0x10}, {IRF_ZF, 0x40}, {IRF_SF, 0x80}, {IRF_OF, 0x800}};

uint32_t ir_f_to_x86(unsigned f)
{
    uint32_t x = 0;
    for (unsigned i = 0; i < ARRAY_LEN(positions); i++)
        x |= f & positions[i].f ? positions[i].x86 : 0;
    return x;
}

unsigned ir_f_of_x86(uint32_t x)
{
    unsigned f = 0;
    for (unsigned i = 0; i < ARRAY_LEN(positions); i++)
        f |= x & positions[i].x86 ? positions[i].f : 0;
    return f;
}
