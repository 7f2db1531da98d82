/* The decoder: every row of x86.def is reached and none hides another; single forms as the manual spells them; any
 * bytes at all, on the edge of an unreadable page; lengths beside capstone's, on random bytes and on all of bash and
 * libc.
 *
 * Where capstone 4.0.2 is known to be wrong, or to know another truth, capstone_differs says so with the reason.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#define x86_insn capstone_x86_insn /* capstone has a type of that name */
#include <capstone/capstone.h>
#undef x86_insn
#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/x86/decode_table.h"

/* ---- the table ----------------------------------------------------------------------------------------------- */

static void reach(bool *reached, enum x86_bits bits, const uint8_t *p, size_t n)
{
    struct x86_insn i;
    uint8_t bytes[15] = {0};
    memcpy(bytes, p, n);
    bytes[n] = 0x0d; /* SIB: index 1, no base, for the forms that must have one */
    if (x86_decode(bits, bytes, sizeof(bytes), &i) == X86_OK) {
        reached[x86_row_index(i.row)] = true;
    }
}

static void walk_legacy(bool *reached, enum x86_bits bits, unsigned prefix, unsigned opcode)
{
    static const uint8_t mandatory[4] = {0, 0x66, 0xf3, 0xf2}, escape[4] = {0, 0, 0x38, 0x3a};
    for (unsigned map = 0; map < 4; map++) {
        for (unsigned rest = 0; rest < 512; rest++) {
            uint8_t b[8];
            unsigned n = 0;
            if (mandatory[prefix]) {
                b[n++] = mandatory[prefix];
            }
            if (bits == X86_64 && rest >= 256) {
                b[n++] = 0x48;
            }
            if (map > 0) {
                b[n++] = 0x0f;
            }
            if (map > 1) {
                b[n++] = escape[map];
            }
            b[n++] = opcode;
            b[n++] = rest;
            reach(reached, bits, b, n);
        }
    }
}

static void walk_vex(bool *reached, unsigned pp, unsigned opcode)
{
    for (unsigned map = 1; map < 4; map++) {
        for (unsigned wl = 0; wl < 4; wl++) {
            for (unsigned modrm = 0; modrm < 256; modrm++) {
                uint8_t b[] = {0xc4, 0xe0 | map, (wl & 1) << 7 | 0x78 | (wl & 2) << 1 | pp, opcode, modrm};
                reach(reached, X86_64, b, sizeof(b));
            }
        }
    }
}

static void walk_evex(bool *reached, unsigned pp, unsigned opcode)
{
    for (unsigned map = 1; map < 7; map++) {
        for (unsigned wl = 0; wl < 12; wl++) {
            for (unsigned modrm = 0; modrm < 256; modrm++) {
                uint8_t p2 = (wl >> 2) << 5 | 8 | (wl >> 1 & 1);
                uint8_t b[] = {0x62, 0xf0 | map, (wl & 1) << 7 | 0x7c | pp, p2, opcode, modrm};
                reach(reached, X86_64, b, sizeof(b));
            }
        }
    }
}

static void test_every_row_is_reached(void **state)
{
    (void)state;
    bool *reached = calloc(x86_row_count, 1);
    for (unsigned opcode = 0; opcode < 256; opcode++) {
        for (unsigned prefix = 0; prefix < 4; prefix++) {
            walk_legacy(reached, X86_32, prefix, opcode);
            walk_legacy(reached, X86_64, prefix, opcode);
            walk_vex(reached, prefix, opcode);
            walk_evex(reached, prefix, opcode);
        }
    }
    unsigned missing = 0;
    for (unsigned r = 0; r < x86_row_count; r++) {
        if (!reached[r]) {
            print_error("row not reached: %s space %u map %u opcode %02x\n", x86_rows[r].name, x86_rows[r].space,
                        x86_rows[r].map, x86_rows[r].opcode);
            missing++;
        }
    }
    free(reached);
    assert_int_equal(missing, 0);
}

static void test_rows_are_in_order(void **state)
{
    (void)state;
    for (unsigned r = 1; r < x86_row_count; r++) {
        assert_true(x86_rows[r - 1].key <= x86_rows[r].key);
        if (x86_rows[r - 1].key == x86_rows[r].key) {
            assert_int_equal(x86_rows[r - 1].modrm, x86_rows[r].modrm);
        }
    }
}

/* ---- single forms --------------------------------------------------------------------------------------------- */

/* "OP rax,[ss:rbp+rcx*4-8]/8,#5": operands as text; widths after a slash for memory. */
static void print_memory(char *out, const struct x86_insn *i, const struct x86_operand *o)
{
    static const char *const seg[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    out += sprintf(out, "[%s:", seg[i->mem.seg]);
    out += i->mem.rip ? sprintf(out, "rip") : i->mem.base >= 0 ? sprintf(out, "r%d", i->mem.base) : 0;
    if (i->mem.index >= 0) {
        out += sprintf(out, "+r%d*%d", i->mem.index, 1 << i->mem.scale);
    }
    if (i->mem.disp) {
        out += sprintf(out, "%s%#llx", i->mem.disp < 0 ? "-" : "+", llabs((long long)i->mem.disp));
    }
    sprintf(out, "]/%u", o->bytes);
}

static void print_operand(char *out, const struct x86_insn *i, unsigned k)
{
    static const char *const letter[] = {
        [OPERAND_SEG] = "s",  [OPERAND_CR] = "cr", [OPERAND_DR] = "dr",  [OPERAND_VEC] = "v",
        [OPERAND_MMX] = "mm", [OPERAND_ST] = "st", [OPERAND_MASK] = "k", [OPERAND_TILE] = "t"};
    const struct x86_operand *o = &i->op[k];
    bool second = k > 0 && o->kind == OPERAND_IMM && i->op[k - 1].kind == OPERAND_IMM;
    switch (o->kind) {
    case OPERAND_GPR: sprintf(out, "%c%u/%u", o->high ? 'h' : 'r', o->reg, o->bytes); break;
    case OPERAND_MEM: print_memory(out, i, o); break;
    case OPERAND_IMM: sprintf(out, "#%lld", (long long)(second ? i->imm2 : i->imm)); break;
    case OPERAND_REL: sprintf(out, "@%lld", (long long)i->imm); break;
    case OPERAND_FAR: sprintf(out, "%llx:%llx", (long long)i->imm2, (long long)i->imm); break;
    default: sprintf(out, "%s%u", letter[o->kind], o->reg); break;
    }
}

static void print_insn(char *out, const struct x86_insn *i)
{
    out += sprintf(out, "%s", i->row->name);
    for (unsigned k = 0; k < i->noperands; k++) {
        *out++ = k ? ',' : ' ';
        print_operand(out, i, k);
        out += strlen(out);
    }
}

static const struct form {
    enum x86_bits bits;
    const char *hex, *text; /* text: the insn; or UD, LONG, MORE */
} forms[] = {
    /* ModRM, SIB, REX: vol. 2A, 2.1.5 and 2.2.1 */
    {X86_64, "4801d8", "ADD r0/8,r3/8"},
    {X86_64, "01d8", "ADD r0/4,r3/4"},
    {X86_64, "6601d8", "ADD r0/2,r3/2"},
    {X86_64, "00e0", "ADD r0/1,h0/1"},
    {X86_64, "4000e0", "ADD r0/1,r4/1"},
    {X86_64, "4d8b4c8df8", "MOV r9/8,[ds:r13+r1*4-0x8]/8"},
    {X86_64, "8b6c2410", "MOV r5/4,[ss:r4+0x10]/4"},
    {X86_64, "8b0510000000", "MOV r0/4,[ds:rip+0x10]/4"},
    {X86_32, "8b0510000000", "MOV r0/4,[ds:+0x10]/4"},
    {X86_64, "648b042510000000", "MOV r0/4,[fs:+0x10]/4"},
    {X86_64, "64268b00", "MOV r0/4,[fs:r0]/4"},
    {X86_32, "64268b00", "MOV r0/4,[es:r0]/4"},
    {X86_64, "488d047f", "LEA r0/8,[ds:r7+r7*2]/0"},
    {X86_64, "4a8b0420", "MOV r0/8,[ds:r0+r12*1]/8"},
    {X86_16, "8b02", "MOV r0/2,[ss:r5+r6*1]/2"},
    {X86_16, "8b0e3412", "MOV r1/2,[ds:+0x1234]/2"},
    {X86_16, "67668b4104", "MOV r0/4,[ds:r1+0x4]/4"},
    {X86_64, "488341", "MORE"},
    {X86_64, "4883c1ff", "ADD r1/8,#-1"},
    {X86_64, "48b8ffffffffffffff7f", "MOV r0/8,#9223372036854775807"},
    {X86_64, "48a10102030405060708", "MOV r0/8,[ds:+0x807060504030201]/8"},
    {X86_64, "0fb6c4", "MOVZX r0/4,h0/1"},
    {X86_64, "4863c1", "MOVSXD r0/8,r1/4"},
    {X86_32, "63c1", "ARPL r1/2,r0/2"},
    {X86_32, "41", "INC r1/4"},
    {X86_64, "48", "MORE"},
    {X86_64, "4801", "MORE"},
    /* default-64 and forced-64 forms */
    {X86_64, "55", "PUSH r5/8"},
    {X86_64, "6655", "PUSH r5/2"},
    {X86_64, "4155", "PUSH r13/8"},
    {X86_64, "66e800010000", "CALL @256"},
    {X86_32, "66e80001", "CALL @256"},
    {X86_64, "ffd0", "CALL r0/8"},
    {X86_64, "c8100002", "ENTER #16,#2"},
    {X86_32, "9a785634120800", "CALL 8:12345678"},
    {X86_64, "9a785634120800", "UD"},
    {X86_64, "06", "UD"},
    {X86_64, "90", "NOP"},
    {X86_64, "4190", "XCHG r8/4,r0/4"},
    {X86_64, "f390", "PAUSE"},
    {X86_64, "8ec8", "UD"},
    {X86_64, "0f22c0", "MOV cr0,r0/8"},
    {X86_64, "0f2210", "MOV cr2,r0/8"},
    {X86_64, "440f20c0", "MOV r0/8,cr8"},
    {X86_64, "0f20c8", "UD"},
    {X86_64, "a4", "MOVS [ds:r6]/1,[ds:r6]/1"},
    {X86_64, "d7", "XLAT [ds:r3]/1"},
    /* LOCK, length */
    {X86_64, "f00108", "ADD [ds:r0]/4,r1/4"},
    {X86_64, "f001c8", "UD"},
    {X86_64, "f03908", "UD"},
    {X86_64, "f00308", "UD"},
    {X86_64, "6666666666666666666666666690", "NOP"},
    {X86_64, "666666666666666666666666666690", "NOP"},
    {X86_64, "66666666666666666666666666666690", "LONG"},
    /* mandatory prefixes */
    {X86_64, "66f30f6fc1", "MOVDQU v0,v1"},
    {X86_64, "660f6fc1", "MOVDQA v0,v1"},
    {X86_64, "0f6fc1", "MOVQ mm0,mm1"},
    {X86_64, "f20f6fc1", "UD"},
    {X86_64, "66f30fb8c1", "POPCNT r0/2,r1/2"},
    {X86_64, "f30fbcc1", "TZCNT r0/4,r1/4"},
    {X86_64, "f20fbcc1", "BSF r0/4,r1/4"},
    {X86_64, "66480f6ec1", "MOVQ v0,r1/8"},
    {X86_64, "66f20f38f1c1", "CRC32 r0/4,r1/2"},
    {X86_64, "660f78c00102", "EXTRQ v0,#1,#2"},
    /* x87 */
    {X86_64, "d8c1", "FADD st0,st1"},
    {X86_64, "dce9", "FSUB st1,st0"},
    {X86_64, "db2c24", "FLD [ss:r4]/10"},
    {X86_64, "d930", "FNSTENV [ds:r0]/28"},
    /* VEX and EVEX: vol. 2A, 2.3 and 2.7 */
    {X86_64, "c5f877", "VZEROUPPER"},
    {X86_64, "c5fc58c1", "VADDPS v0,v0,v1"},
    {X86_64, "c4e2790001", "VPSHUFB v0,v0,[ds:r1]/16"},
    {X86_64, "66c5f877", "UD"},
    {X86_64, "48c5f877", "UD"},
    {X86_64, "c5e828c1", "UD"}, /* vvvv used though VMOVAPS has no such operand */
    {X86_32, "c5f877", "VZEROUPPER"},
    {X86_32, "c508", "LDS r1/4,[ds:r0]/6"},
    {X86_64, "c508", "MORE"},
    {X86_32, "6208", "BOUND r1/4,[ds:r0]/8"},
    {X86_64, "c4e37149c203", "UD"},
    {X86_64, "c4e3714bc230", "VBLENDVPD v0,v1,v2,v3"},
    {X86_64, "62f17c4858c1", "VADDPS v0,v0,v1"},
    {X86_64, "62017c4858c1", "VADDPS v24,v0,v25"},
    {X86_64, "62f17c48584101", "VADDPS v0,v0,[ds:r1+0x40]/64"},
    {X86_64, "62f17c58584101", "VADDPS v0,v0,[ds:r1+0x4]/4"},
    {X86_64, "62f17c08584101", "VADDPS v0,v0,[ds:r1+0x10]/16"},
    {X86_64, "62f17e08584101", "VADDSS v0,v0,[ds:r1+0x4]/4"},
    {X86_64, "62f27d49904c8001", "VPGATHERDD v1,[ds:r0+r0*4+0x4]/4"},
    {X86_64, "62f27d48904c8001", "UD"}, /* gathers need a mask */
    {X86_64, "62f17e6858c1", "UD"},     /* LL = 3 without rounding, though the scalar form ignores LL */
    {X86_64, "62f2fd498b4101", "VPCOMPRESSQ [ds:r1+0x8]/64,v0"},
    {X86_64, "62f17d48ef", "MORE"},
};

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t n = strlen(hex) / 2;
    for (size_t k = 0; k < n; k++) {
        unsigned v;
        sscanf(hex + 2 * k, "%2x", &v);
        out[k] = v;
    }
    return n;
}

static void test_forms(void **state)
{
    (void)state;
    static const char *const not_ok[] = {[X86_MORE] = "MORE", [X86_UNDEFINED] = "UD", [X86_LONG] = "LONG"};
    for (unsigned f = 0; f < ARRAY_LEN(forms); f++) {
        uint8_t bytes[32];
        char text[200];
        struct x86_insn i;
        size_t n = from_hex(forms[f].hex, bytes);
        enum x86_status status = x86_decode(forms[f].bits, bytes, n, &i);
        if (status == X86_OK) {
            print_insn(text, &i);
            assert_int_equal(i.length, n);
        } else {
            strcpy(text, not_ok[status]);
        }
        if (strcmp(text, forms[f].text) != 0) {
            fail_msg("%s: %s, expected %s", forms[f].hex, text, forms[f].text);
        }
    }
}

/* ---- any bytes ------------------------------------------------------------------------------------------------ */

static uint64_t next_random(uint64_t *s) /* xorshift64* */
{
    *s ^= *s >> 12;
    *s ^= *s << 25;
    *s ^= *s >> 27;
    return *s * 2685821657736338717ull;
}

/* Random bytes, three times in four made to start like something rarer than a one-byte opcode. */
static void random_bytes(uint64_t *seed, enum x86_bits bits, uint8_t *b)
{
    static const uint8_t prefixes[] = {0x66, 0xf2, 0xf3, 0x67, 0x2e, 0x65, 0xf0, 0x48, 0x41, 0x4f};
    for (unsigned k = 0; k < 16; k += 8) {
        bytes_put(b + k, next_random(seed), 8);
    }
    unsigned at = 0, choice = next_random(seed) >> 61;
    for (; choice < 6 && at < 4 && next_random(seed) >> 62 == 0; at++) {
        b[at] = prefixes[next_random(seed) % (bits == X86_64 ? 10 : 7)];
    }
    if (choice == 2 || choice == 3) {
        b[at] = 0x0f;
    } else if (choice == 4 || choice == 5) {
        b[at] = 0x0f;
        b[at + 1] = choice == 4 ? 0x38 : 0x3a;
    } else if (choice == 6) {
        b[0] = 0xc4;
        b[1] = (b[1] & 0xe0) | (1 + b[15] % 3);
        b[2] |= b[14] & 1 ? 0x78 : 0;
    } else if (choice == 7) {
        b[0] = 0x62;
        b[1] = (b[1] & 0xf0) | (1 + b[15] % 6);
        b[2] |= b[14] & 1 ? 0x7c : 4;
        b[3] = (b[3] | 8) & (b[14] & 2 ? 0xff : 0x68);
    }
    if (choice >= 6 && bits != X86_64) {
        b[1] |= 0xc0;
    }
}

static void test_any_bytes_at_the_edge(void **state)
{
    (void)state;
    uint8_t *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(page + 4096, 4096, PROT_NONE);
    uint64_t seed = 0x1234567;
    for (unsigned round = 0; round < 300000; round++) {
        enum x86_bits bits = round % 3;
        uint8_t bytes[16];
        random_bytes(&seed, bits, bytes);
        struct x86_insn whole, part;
        enum x86_status status = x86_decode(bits, bytes, sizeof(bytes), &whole);
        assert_int_not_equal(status, X86_MORE);
        for (unsigned n = 0; n <= 16; n++) {
            uint8_t *p = page + 4096 - n;
            memcpy(p, bytes, n);
            enum x86_status got = x86_decode(bits, p, n, &part);
            if (status == X86_OK) {
                assert_int_equal(got, n < whole.length ? X86_MORE : X86_OK);
            }
            if (got == X86_OK) {
                assert_memory_equal(&part, &whole, sizeof(part));
            }
        }
    }
    munmap(page, 8192);
}

/* ---- capstone -------------------------------------------------------------------------------------------------- */

static bool capstone_differs(const struct x86_insn *i)
{
    const char *name = i->row->name;
    bool near = i->row->attr & ATTR_F64;
    if (i->space == X86_EVEX) {
        return i->evex_b && i->mod == 3; /* 4.0.2 counts one byte too many with embedded rounding */
    }
    if (strcmp(name, "UD0") == 0 || strcmp(name, "UD1") == 0) {
        return true; /* Intel's have a ModRM byte (vol. 2B, UD), 4.0.2's do not */
    }
    if (near && (i->prefix &
                 PREFIX_66)) { /* 64-bit mode: see the head of decode.c; elsewhere 4.0.2 forgets 66 after F2 or F3 */
        return i->osize == 8 || (i->prefix & (PREFIX_REP | PREFIX_REPNE));
    }
    if (strcmp(name, "INSERTQ") == 0) {
        return true; /* AMD's only, 4.0.2 takes it for VMREAD outside 64-bit mode */
    }
    return strcmp(name, "RET") == 0 && (i->rex & 8); /* 4.0.2 gives RET imm16 with REX.W a longer immediate */
}

static void capstone_open(csh *h, enum x86_bits bits, cs_insn **insn)
{
    static const cs_mode mode[] = {CS_MODE_16, CS_MODE_32, CS_MODE_64};
    assert_int_equal(cs_open(CS_ARCH_X86, mode[bits], h), CS_ERR_OK);
    *insn = cs_malloc(*h);
}

static void compare_random(enum x86_bits bits)
{
    csh h;
    cs_insn *theirs;
    capstone_open(&h, bits, &theirs);
    uint64_t seed = 77 + bits;
    unsigned compared = 0, wrong = 0;
    for (unsigned round = 0; round < 300000; round++) {
        uint8_t bytes[16];
        random_bytes(&seed, bits, bytes);
        const uint8_t *p = bytes;
        size_t left = sizeof(bytes);
        uint64_t address = 0;
        struct x86_insn ours;
        if (x86_decode(bits, bytes, sizeof(bytes), &ours) != X86_OK ||
            !cs_disasm_iter(h, &p, &left, &address, theirs)) {
            continue;
        }
        compared++;
        if (ours.length != theirs->size && !capstone_differs(&ours)) {
            print_error("mode %u: %s %u, capstone %s %s %u\n", bits, ours.row->name, ours.length, theirs->mnemonic,
                        theirs->op_str, theirs->size);
            wrong++;
        }
    }
    cs_free(theirs, 1);
    cs_close(&h);
    assert_true(compared > 100000);
    assert_int_equal(wrong, 0);
}

/* Where many bytes can be read, decode_simple.c is asked first. */
static void test_simple_as_any(void **state)
{
    (void)state;
    enum { ENOUGH = 48 };
    uint64_t seed = 0x7654321;
    unsigned simple = 0;
    for (unsigned round = 0; round < 2000000; round++) {
        uint8_t bytes[ENOUGH] = {0};
        random_bytes(&seed, X86_64, bytes);
        struct x86_insn i, any;
        enum x86_status status = x86_decode(X86_64, bytes, ENOUGH, &i);
        assert_int_equal(x86_decode(X86_64, bytes, ENOUGH - 1, &any), status);
        if (status == X86_OK) {
            assert_memory_equal(&i, &any, sizeof(i));
            simple += x86_decode_simple(bytes, &i);
        }
    }
    assert_true(simple > 200000);
}

static void test_random_beside_capstone(void **state)
{
    (void)state;
    compare_random(X86_16);
    compare_random(X86_32);
    compare_random(X86_64);
}

/* Same insn by name, loosely: capstone spells widths and conditions into the mnemonic. */
static bool same_name(const char *ours, const char *theirs)
{
    static const char *const alias[][2] = {{"CBW", "cwde"},   {"CBW", "cdqe"},   {"CWD", "cdq"},    {"CWD", "cqo"},
                                           {"JCXZ", "jrcxz"}, {"JCXZ", "jecxz"}, {"FWAIT", "wait"}, {"SHL", "sal"}};
    const char *space = strrchr(theirs, ' ');
    theirs = space ? space + 1 : theirs;
    for (unsigned k = 0; k < ARRAY_LEN(alias); k++) {
        if (strcmp(ours, alias[k][0]) == 0 && strcmp(theirs, alias[k][1]) == 0) {
            return true;
        }
    }
    return strncasecmp(ours, theirs, 3) == 0;
}

static void compare_text(const uint8_t *text, size_t size)
{
    csh h;
    cs_insn *theirs;
    capstone_open(&h, X86_64, &theirs);
    unsigned wrong = 0, unknown = 0, count = 0;
    for (size_t at = 0; at < size;) {
        const uint8_t *p = text + at;
        size_t left = size - at;
        uint64_t address = at;
        struct x86_insn ours;
        enum x86_status status = x86_decode(X86_64, text + at, size - at, &ours);
        if (!cs_disasm_iter(h, &p, &left, &address,
                            theirs)) { /* AVX-512 BW mask moves and compares, unknown to 4.0.2 */
            assert_int_equal(status, X86_OK);
            at += ours.length;
            unknown++;
            continue;
        }
        if (status != X86_OK || ours.length != theirs->size || !same_name(ours.row->name, theirs->mnemonic)) {
            print_error("at %zx: %s %u, capstone %s %s %u\n", at, status == X86_OK ? ours.row->name : "undefined",
                        ours.length, theirs->mnemonic, theirs->op_str, theirs->size);
            wrong++;
        }
        at += theirs->size;
        count++;
    }
    cs_free(theirs, 1);
    cs_close(&h);
    assert_int_equal(wrong, 0);
    assert_true(unknown < count / 100);
}

static void compare_file(const char *path)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        print_message("skipped: %s cannot be read\n", path);
        return;
    }
    const uint8_t *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    assert_true(file != MAP_FAILED);
    const Elf64_Ehdr *header = (const void *)file;
    assert_memory_equal(header->e_ident, ELFMAG, SELFMAG);
    const Elf64_Shdr *section = (const void *)(file + header->e_shoff);
    const char *names = (const char *)file + section[header->e_shstrndx].sh_offset;
    for (unsigned k = 0; k < header->e_shnum; k++) {
        if (strcmp(names + section[k].sh_name, ".text") == 0) {
            compare_text(file + section[k].sh_offset, section[k].sh_size);
        }
    }
    munmap((void *)file, (size_t)st.st_size);
}

static void test_real_code_beside_capstone(void **state)
{
    (void)state;
    compare_file("/bin/bash");
    compare_file("/lib/x86_64-linux-gnu/libc.so.6");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_is_reached),
        cmocka_unit_test(test_rows_are_in_order),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_any_bytes_at_the_edge),
        cmocka_unit_test(test_simple_as_any),
        cmocka_unit_test(test_random_beside_capstone),
        cmocka_unit_test(test_real_code_beside_capstone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
