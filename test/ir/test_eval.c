/* test_eval: every ALU op against the same instruction of the processor at hand, at every width, values and flags.
 *
 * The insn runs in a small piece of generated code that loads RAX RCX RDX RBX and the flags, and stores them back;
 * the op runs in the reference interpreter on r0..r3.  Flags that the manuals call undefined are compared on AMD
 * only: ir/eval.c says what Zen does.
 */
#include "ir/ir.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

enum { ROUNDS = 3000, ALL_TYPES = 15, NOT_I8 = 14, NOT_I8_I16 = 12, ONLY_I64 = 8 };

struct state {
    uint64_t reg[4], flags;
};

enum form {
    RM_REG,  /* opcode, rm = RAX, reg = RBX; opcode - 1 for bytes */
    REG_RM,  /* opcode, reg = RAX, rm = RBX */
    GROUP_A, /* opcode /ext on RAX; opcode - 1 for bytes */
    GROUP_B, /* opcode /ext on RBX; implicit RAX, RDX */
    PLAIN,   /* the opcode alone */
};
struct row {
    enum ir_opcode op;
    enum form form;
    uint8_t prefix;
    uint16_t opcode; /* 0x0fxx: two bytes */
    uint8_t ext, types;
    const char *refs;   /* d e a b c: register digits or - */
    unsigned undefined; /* flags the SDM calls undefined */
};

enum { C = IRF_CF, P = IRF_PF, A = IRF_AF, Z = IRF_ZF, S = IRF_SF, O = IRF_OF };
static const struct row rows[] = {
    {IR_MOV, RM_REG, 0, 0x89, 0, ALL_TYPES, "0-3--", 0},
    {IR_ADD, RM_REG, 0, 0x01, 0, ALL_TYPES, "0-03-", 0},
    {IR_OR, RM_REG, 0, 0x09, 0, ALL_TYPES, "0-03-", A},
    {IR_ADC, RM_REG, 0, 0x11, 0, ALL_TYPES, "0-03-", 0},
    {IR_SBB, RM_REG, 0, 0x19, 0, ALL_TYPES, "0-03-", 0},
    {IR_AND, RM_REG, 0, 0x21, 0, ALL_TYPES, "0-03-", A},
    {IR_SUB, RM_REG, 0, 0x29, 0, ALL_TYPES, "0-03-", 0},
    {IR_XOR, RM_REG, 0, 0x31, 0, ALL_TYPES, "0-03-", A},
    {IR_CMP, RM_REG, 0, 0x39, 0, ALL_TYPES, "--03-", 0},
    {IR_TEST, RM_REG, 0, 0x85, 0, ALL_TYPES, "--03-", A},
    {IR_NOT, GROUP_A, 0, 0xf7, 2, ALL_TYPES, "0-0--", 0},
    {IR_NEG, GROUP_A, 0, 0xf7, 3, ALL_TYPES, "0-0--", 0},
    {IR_INC, GROUP_A, 0, 0xff, 0, ALL_TYPES, "0-0--", 0},
    {IR_DEC, GROUP_A, 0, 0xff, 1, ALL_TYPES, "0-0--", 0},
    {IR_ROL, GROUP_A, 0, 0xd3, 0, ALL_TYPES, "0-01-", O},
    {IR_ROR, GROUP_A, 0, 0xd3, 1, ALL_TYPES, "0-01-", O},
    {IR_RCL, GROUP_A, 0, 0xd3, 2, ALL_TYPES, "0-01-", O},
    {IR_RCR, GROUP_A, 0, 0xd3, 3, ALL_TYPES, "0-01-", O},
    {IR_SHL, GROUP_A, 0, 0xd3, 4, ALL_TYPES, "0-01-", O | A | C},
    {IR_SHR, GROUP_A, 0, 0xd3, 5, ALL_TYPES, "0-01-", O | A | C},
    {IR_SAR, GROUP_A, 0, 0xd3, 7, ALL_TYPES, "0-01-", O | A},
    {IR_SHLD, RM_REG, 0, 0x0fa5, 0, NOT_I8, "0-031", O | A},
    {IR_SHRD, RM_REG, 0, 0x0fad, 0, NOT_I8, "0-031", O | A},
    {IR_MUL, REG_RM, 0, 0x0faf, 0, NOT_I8, "0-03-", S | Z | A | P},
    {IR_UMUL, GROUP_B, 0, 0xf7, 4, ALL_TYPES, "0203-", S | Z | A | P},
    {IR_SMUL, GROUP_B, 0, 0xf7, 5, ALL_TYPES, "0203-", S | Z | A | P},
    {IR_UDIV, GROUP_B, 0, 0xf7, 6, ALL_TYPES, "02023", IRF_ALL},
    {IR_SDIV, GROUP_B, 0, 0xf7, 7, ALL_TYPES, "02023", IRF_ALL},
    {IR_BT, RM_REG, 0, 0x0fa3, 0, NOT_I8, "--03-", O | S | A | P},
    {IR_BTS, RM_REG, 0, 0x0fab, 0, NOT_I8, "0-03-", O | S | A | P},
    {IR_BTR, RM_REG, 0, 0x0fb3, 0, NOT_I8, "0-03-", O | S | A | P},
    {IR_BTC, RM_REG, 0, 0x0fbb, 0, NOT_I8, "0-03-", O | S | A | P},
    {IR_BSF, REG_RM, 0, 0x0fbc, 0, NOT_I8, "0-3--", C | O | S | A | P},
    {IR_BSR, REG_RM, 0, 0x0fbd, 0, NOT_I8, "0-3--", C | O | S | A | P},
    {IR_TZCNT, REG_RM, 0xf3, 0x0fbc, 0, NOT_I8, "0-3--", O | S | A | P},
    {IR_LZCNT, REG_RM, 0xf3, 0x0fbd, 0, NOT_I8, "0-3--", O | S | A | P},
    {IR_POPCNT, REG_RM, 0xf3, 0x0fb8, 0, NOT_I8, "0-3--", 0},
    {IR_ZX8, REG_RM, 0, 0x0fb6, 0, NOT_I8, "0-3--", 0},
    {IR_ZX16, REG_RM, 0, 0x0fb7, 0, NOT_I8_I16, "0-3--", 0},
    {IR_SX8, REG_RM, 0, 0x0fbe, 0, NOT_I8, "0-3--", 0},
    {IR_SX16, REG_RM, 0, 0x0fbf, 0, NOT_I8_I16, "0-3--", 0},
    {IR_SX32, REG_RM, 0, 0x63, 0, ONLY_I64, "0-3--", 0},
    {IR_BSWAP, PLAIN, 0, 0x0fc8, 0, NOT_I8_I16, "0-0--", 0},
    {IR_STC, PLAIN, 0, 0xf9, 0, 1, "-----", 0},
    {IR_CLC, PLAIN, 0, 0xf8, 0, 1, "-----", 0},
    {IR_CMC, PLAIN, 0, 0xf5, 0, 1, "-----", 0},
};

static uint8_t *code;
static sigjmp_buf divided;

static uint64_t random64(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

/* Values near the edges as often as any others. */
static uint64_t random_value(uint64_t *s)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     0x7f,
                                     0x80,
                                     0xff,
                                     0x7fff,
                                     0x8000,
                                     0xffff,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     0x7fffffffffffffff,
                                     0x8000000000000000,
                                     ~0ull};
    uint64_t v = random64(s);
    unsigned kind = random64(s) % 4;
    if (kind == 0)
        return edges[v % ARRAY_LEN(edges)];
    return kind == 1 ? v & 0x3f : v >> (v & 31);
}

static unsigned encode(uint8_t *out, const struct row *r, unsigned type, unsigned cc)
{
    uint8_t *p = out;
    if (type == I16)
        *p++ = 0x66;
    if (r->prefix)
        *p++ = r->prefix;
    if (type == I64)
        *p++ = 0x48;
    if (r->opcode >> 8)
        *p++ = 0x0f;
    uint8_t op = (uint8_t)(r->opcode + cc);
    bool bytes = type == I8 && (r->form == RM_REG || r->form == GROUP_A || r->form == GROUP_B);
    *p++ = bytes ? op - 1 : op;
    switch (r->form) {
    case RM_REG: *p++ = 0xd8; break;
    case REG_RM: *p++ = 0xc3; break;
    case GROUP_A: *p++ = (uint8_t)(0xc0 | r->ext << 3); break;
    case GROUP_B: *p++ = (uint8_t)(0xc3 | r->ext << 3); break;
    case PLAIN: break;
    }
    return (unsigned)(p - out);
}

static void assemble(const uint8_t *insn, unsigned n)
{
    static const uint8_t before[] = {
        0x53,                                                                              /* push rbx */
        0x48, 0x8b, 0x07, 0x48, 0x8b, 0x4f, 8, 0x48, 0x8b, 0x57, 16, 0x48, 0x8b, 0x5f, 24, /* load rax rcx rdx rbx */
        0xff, 0x77, 32,   0x9d,                                                            /* push flags; popfq */
    };
    static const uint8_t after[] = {
        0x9c, 0x8f, 0x47, 32, /* pushfq; pop flags */
        0x48, 0x89, 0x07, 0x48, 0x89, 0x4f, 8, 0x48, 0x89, 0x57, 16, 0x48, 0x89, 0x5f, 24, 0x5b, 0xc3,
    };
    memcpy(code, before, sizeof before);
    memcpy(code + sizeof before, insn, n);
    memcpy(code + sizeof before + n, after, sizeof after);
}

static void on_sigfpe(int sig)
{
    (void)sig;
    siglongjmp(divided, 1);
}

/* false: the processor raised #DE. */
static bool run_host(struct state *s)
{
    if (sigsetjmp(divided, 1))
        return false;
    ((void (*)(struct state *))(uintptr_t)code)(s);
    return true;
}

static jmp_buf interp_divided;
static void on_divide(struct cpu *c)
{
    (void)c;
    longjmp(interp_divided, 1);
}

static bool run_interp(const struct ir_block *b, struct cpu *c, struct state *s)
{
    static const struct ir_interp_calls calls = {.divide_error = on_divide};
    unsigned slot;
    if (setjmp(interp_divided))
        return false;
    memcpy(c->reg, s->reg, sizeof s->reg);
    cpu_set_flags(c, (uint32_t)s->flags);
    assert_int_equal(ir_interp(b, c, &calls, &slot), LEAVE_NEXT);
    memcpy(s->reg, c->reg, sizeof s->reg);
    s->flags = cpu_flags(c);
    return true;
}

static ir_ref ref_of(char digit)
{
    return digit == '-' ? IR_NONE : (ir_ref)(digit - '0');
}

static struct ir_op *make(struct ir_block *b, const struct row *r, unsigned type, unsigned sub)
{
    b->nops = 0;
    struct ir_op *o = ir_append(b, r->op, type);
    for (unsigned n = 0; n < IR_FIELDS; n++)
        *ir_field(o, n) = ref_of(r->refs[n]);
    bool wide = r->op == IR_UMUL || r->op == IR_SMUL || r->op == IR_UDIV || r->op == IR_SDIV;
    if (wide && type == I8) {
        o->e = IR_NONE;
        if (r->op >= IR_UDIV)
            o->b = IR_NONE;
    }
    o->sub = (uint8_t)sub;
    o->setf = IRF_ALL;
    o->setf = (uint8_t)ir_writes_f(o);
    ir_append(b, IR_LEAVE, I64)->sub = LEAVE_NEXT;
    return o;
}

static void compare(const struct row *r, unsigned type, unsigned sub, const struct state *in, const struct state *host,
                    const struct state *ours, bool host_ran, bool we_ran, unsigned undefined)
{
    unsigned x = ir_f_to_x86(IRF_ALL & ~undefined);
    bool same =
        host_ran == we_ran &&
        (!host_ran || (memcmp(host->reg, ours->reg, sizeof host->reg) == 0 && ((host->flags ^ ours->flags) & x) == 0));
    if (same)
        return;
    fail_msg("%s i%u sub %u: rax %llx rcx %llx rdx %llx rbx %llx f %llx\n"
             "  processor %d: %llx %llx %llx f %llx\n  we        %d: %llx %llx %llx f %llx",
             ir_shapes[r->op].name, ir_bits(type), sub, (unsigned long long)in->reg[0], (unsigned long long)in->reg[1],
             (unsigned long long)in->reg[2], (unsigned long long)in->reg[3], (unsigned long long)in->flags, host_ran,
             (unsigned long long)host->reg[0], (unsigned long long)host->reg[1], (unsigned long long)host->reg[2],
             (unsigned long long)(host->flags & 0x8d5), we_ran, (unsigned long long)ours->reg[0],
             (unsigned long long)ours->reg[1], (unsigned long long)ours->reg[2],
             (unsigned long long)(ours->flags & 0x8d5));
}

/* 16-bit double shifts by more than 16 are undefined, result included. */
static bool beyond_manual(const struct row *r, unsigned type, const struct state *in)
{
    return (r->op == IR_SHLD || r->op == IR_SHRD) && type == I16 && (in->reg[1] & 31) > 16;
}

static void run_row(struct ir_block *b, struct cpu *c, const struct row *r, unsigned sub, uint64_t *seed)
{
    bool amd = __builtin_cpu_is("amd");
    for (unsigned type = I8; type <= I64; type++) {
        if (!(r->types >> type & 1))
            continue;
        uint8_t insn[16];
        assemble(insn, encode(insn, r, type, sub));
        make(b, r, type, sub);
        for (unsigned i = 0; i < ROUNDS; i++) {
            struct state in, host, ours;
            for (unsigned k = 0; k < 4; k++)
                in.reg[k] = random_value(seed);
            if ((r->op == IR_UDIV || r->op == IR_SDIV) && i % 2) /* quotients that fit */
                in.reg[2] = r->op == IR_SDIV && in.reg[0] >> (ir_bits(type) - 1) & 1 ? ~0ull : 0;
            in.flags = (random64(seed) & CPU_ARITH) | 2;
            host = ours = in;
            if (!amd && beyond_manual(r, type, &in))
                continue;
            bool host_ran = run_host(&host);
            bool we_ran = run_interp(b, c, &ours);
            compare(r, type, sub, &in, &host, &ours, host_ran, we_ran, amd ? 0 : r->undefined);
        }
    }
}

struct fixture {
    struct arena arena;
    struct ir_block block;
    struct cpu *cpu;
};

static int setup(void **state)
{
    static struct fixture f; /* test program's own */
    struct status st = {0};
    if (!arena_init(&f.arena, 1 << 20, &st) || !ir_block_init(&f.block, &f.arena, 64))
        return -1;
    f.cpu = aligned_alloc(64, sizeof *f.cpu);
    code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *state = &f;
    return code == MAP_FAILED || !f.cpu ? -1 : 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    munmap(code, 4096);
    free(f->cpu);
    arena_fini(&f->arena);
    return 0;
}

static void test_rows(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 0x9e3779b97f4a7c15;
    void (*cmockas)(int) = signal(SIGFPE, on_sigfpe);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        if (!rows[i].prefix || (__builtin_cpu_supports("bmi") && __builtin_cpu_supports("popcnt")))
            run_row(&f->block, f->cpu, &rows[i], 0, &seed);
    signal(SIGFPE, cmockas);
}

static void test_conditions(void **state)
{
    static const struct row setcc = {IR_SETCC, GROUP_A, 0, 0x0f91, 0, 1, "0----", 0}; /* bytes: opcode - 1 */
    static const struct row cmov = {IR_CMOV, REG_RM, 0, 0x0f40, 0, NOT_I8, "0-3--", 0};
    struct fixture *f = *state;
    uint64_t seed = 12345;
    for (unsigned cc = 0; cc < 16; cc++) {
        run_row(&f->block, f->cpu, &setcc, cc, &seed);
        run_row(&f->block, f->cpu, &cmov, cc, &seed);
    }
}

/* Shifts by a constant: the immediate forms of the insns, the constant forms of the ops. */
static void test_constant_counts(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 777;
    bool amd = __builtin_cpu_is("amd");
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        if (r->form != GROUP_A || r->opcode != 0xd3)
            continue;
        for (unsigned type = I8; type <= I64; type++)
            for (unsigned n = 1; n < (type == I64 ? 64u : 32u); n++) {
                struct row imm = *r;
                uint8_t insn[16];
                imm.opcode = 0xc1;
                unsigned len = encode(insn, &imm, type, 0);
                insn[len++] = (uint8_t)n;
                assemble(insn, len);
                make(&f->block, r, type, 0)->b = ir_const(&f->block, n);
                for (unsigned k = 0; k < 20; k++) {
                    struct state in = {{random_value(&seed), 0, 0, 0}, (random64(&seed) & CPU_ARITH) | 2};
                    struct state host = in, ours = in;
                    bool host_ran = run_host(&host), we_ran = run_interp(&f->block, f->cpu, &ours);
                    compare(r, type, n, &in, &host, &ours, host_ran, we_ran, amd ? 0 : r->undefined);
                }
                f->block.nconsts = 0;
            }
    }
}

static void test_lea_getf_setf(void **state)
{
    (void)state;
    struct ir_op lea = {.op = IR_LEA, .type = I64, .sub = 3, .imm = -5};
    assert_int_equal(ir_eval(&lea, 0, 100, 7, 0, 0).d, 100 + 56 - 5);
    lea.type = I32;
    assert_int_equal(ir_eval(&lea, 0, 0xffffffff, 1, 0, 0).d, 2);
    struct ir_op getf = {.op = IR_GETF, .type = I64};
    assert_int_equal(ir_eval(&getf, 0, 0, 0, 0, IRF_ALL).d, CPU_ARITH);
    assert_int_equal(ir_eval(&getf, 0, 0, 0, 0, IRF_OF | IRF_AF).d, 0x810);
    struct ir_op setf = {.op = IR_SETF, .type = I64, .sub = IRF_SF | IRF_ZF, .imm = 0xc0, .setf = IRF_ALL};
    assert_int_equal(ir_writes_f(&setf), IRF_SF | IRF_ZF);
    assert_int_equal(ir_eval(&setf, 0, 0x841, 0, 0, IRF_SF | IRF_PF).f, IRF_ZF | IRF_PF);
}

static uint64_t crc(enum ir_type t, uint64_t a, uint64_t b)
{
    struct ir_op o = {.op = IR_CRC32, .type = (uint8_t)t};
    return ir_eval(&o, 0, a, b, 0, 0).d;
}

static uint64_t bits(unsigned op, enum ir_type t, uint64_t a, uint64_t mask)
{
    struct ir_op o = {.op = (uint8_t)op, .type = (uint8_t)t};
    return ir_eval(&o, 0, a, mask, 0, 0).d;
}

/* The check value of CRC-32C (RFC 3720, B.4), then the processor's own answers. */
static void test_crc(void **state)
{
    uint64_t seed = 99, v = 0xffffffff;
    (void)state;
    for (const char *p = "123456789"; *p; p++)
        v = crc(I8, v, (uint8_t)*p);
    assert_int_equal(v ^ 0xffffffff, 0xe3069283);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t a = random_value(&seed), b = random_value(&seed), got[4];
        uint32_t r8 = (uint32_t)a, r16 = (uint32_t)a, r32 = (uint32_t)a;
        uint64_t r64 = a;
        __asm__("crc32b %b1, %0" : "+r"(r8) : "q"(b));
        __asm__("crc32w %w1, %0" : "+r"(r16) : "r"(b));
        __asm__("crc32l %k1, %0" : "+r"(r32) : "r"(b));
        __asm__("crc32q %1, %0" : "+r"(r64) : "r"(b));
        for (unsigned t = I8; t <= I64; t++)
            got[t] = crc(t, a, b);
        assert_true(got[I8] == r8 && got[I16] == r16 && got[I32] == r32 && got[I64] == r64);
    }
}

static void test_deposit(void **state)
{
    uint64_t seed = 98;
    (void)state;
    assert_int_equal(bits(IR_PDEP, I32, 0x5, 0xff00f), 0x5);
    assert_int_equal(bits(IR_PDEP, I64, 0xab, 0xf000000f), 0xa000000b);
    assert_int_equal(bits(IR_PEXT, I64, 0xa123456b, 0xf000000f), 0xab);
    for (unsigned i = 0; i < ROUNDS && __builtin_cpu_supports("bmi2"); i++) {
        uint64_t a = random_value(&seed), mask = random_value(&seed), d, e;
        uint32_t d32, e32;
        __asm__("pdep %2, %1, %0" : "=r"(d) : "r"(a), "r"(mask));
        __asm__("pext %2, %1, %0" : "=r"(e) : "r"(a), "r"(mask));
        __asm__("pdep %k2, %k1, %0" : "=r"(d32) : "r"(a), "r"(mask));
        __asm__("pext %k2, %k1, %0" : "=r"(e32) : "r"(a), "r"(mask));
        assert_true(bits(IR_PDEP, I64, a, mask) == d && bits(IR_PEXT, I64, a, mask) == e);
        assert_true(bits(IR_PDEP, I32, a, mask) == d32 && bits(IR_PEXT, I32, a, mask) == e32);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),          cmocka_unit_test(test_conditions), cmocka_unit_test(test_constant_counts),
        cmocka_unit_test(test_lea_getf_setf), cmocka_unit_test(test_crc),        cmocka_unit_test(test_deposit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
