/* test/bare/live.c: operands that are stored to over and over, which rhea reads anew each time their insn runs
 * (code/chart.c), and everything that looks like that and is not.  Each function is patched and run ROUNDS times, which is
 * far more than it takes.  Intel SDM vol. 3, 8.1.3 and 11.6, as in smc.c.
 */
#include "lib/bare.h"

#define T     0x8000000000ull
#define PA(p) ((uint64_t)(uintptr_t)(p))
enum { P = 1, W = 2, U = 4, ROUNDS = 60 };
extern uint64_t pml4[512];
static uint64_t pdpt1[512] __attribute__((aligned(4096))), pd1[512] __attribute__((aligned(4096))),
    pt1[512] __attribute__((aligned(4096)));
static uint8_t page[4][4096] __attribute__((aligned(4096)));
static uint64_t seed = 77;

typedef uint64_t fn1(uint64_t);

static uint64_t next(void)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return seed >> 13;
}

static void map(unsigned n, const void *physical)
{
    pml4[1] = PA(pdpt1) | P | W | U;
    pdpt1[0] = PA(pd1) | P | W | U;
    pd1[0] = PA(pt1) | P | W | U;
    pt1[n] = PA(physical) | P | W | U;
    invlpg(T + n * 4096ull);
}

/* Store `bytes` bytes of v: one store. */
static void poke(void *at, uint64_t v, unsigned bytes)
{
    switch (bytes) {
    case 1: *(volatile uint8_t *)at = (uint8_t)v; break;
    case 2: *(volatile uint16_t *)at = (uint16_t)v; break;
    case 4: *(volatile uint32_t *)at = (uint32_t)v; break;
    default: *(volatile uint64_t *)at = v;
    }
}

/* ---- insns with an immediate
 * ------------------------------------------------------------------------------------------- */

/* f(a): what the bytes do to rax = rdi = a, rdx = 0, with the stack to use.  The same insn with its immediate in a
 * register, by the oracle: the same bytes somewhere else, written once and never changed. */
struct form {
    uint8_t bytes[24];
    uint8_t n, at, imm; /* length; where the immediate is, and its bytes */
};

static const struct form forms[] = {
    {{0xb8}, 5, 1, 4},                                              /* mov $, %eax */
    {{0x48, 0xb8}, 10, 2, 8},                                       /* mov $, %rax */
    {{0x48, 0xc7, 0xc0}, 7, 3, 4},                                  /* mov $ (sign-extended), %rax */
    {{0x66, 0xb8}, 4, 2, 2},                                        /* mov $, %ax */
    {{0xb0}, 2, 1, 1},                                              /* mov $, %al */
    {{0xb4}, 2, 1, 1},                                              /* mov $, %ah */
    {{0x41, 0xb8, 0, 0, 0, 0, 0x4c, 0x89, 0xc0}, 9, 2, 4},          /* mov $, %r8d; mov %r8, %rax */
    {{0x05}, 5, 1, 4},                                              /* add $, %eax */
    {{0x48, 0x2d}, 6, 2, 4},                                        /* sub $, %rax */
    {{0x2c}, 2, 1, 1},                                              /* sub $, %al */
    {{0x83, 0xf0}, 3, 2, 1},                                        /* xor $ (8 bits), %eax */
    {{0x48, 0x83, 0xc8}, 4, 3, 1},                                  /* or $ (8 bits), %rax */
    {{0x66, 0x81, 0xe0}, 5, 3, 2},                                  /* and $, %ax */
    {{0x80, 0xc4}, 3, 2, 1},                                        /* add $, %ah */
    {{0xf9, 0x48, 0x15}, 7, 3, 4},                                  /* stc; adc $, %rax */
    {{0xf8, 0x83, 0xd8}, 4, 3, 1},                                  /* clc; sbb $, %eax */
    {{0x48, 0x3d, 0, 0, 0, 0, 0x0f, 0x9c, 0xc0}, 9, 2, 4},          /* cmp $, %rax; setl %al */
    {{0x3c, 0, 0x0f, 0x97, 0xc0}, 5, 1, 1},                         /* cmp $, %al; seta %al */
    {{0xa9, 0, 0, 0, 0, 0x0f, 0x9a, 0xc0}, 8, 1, 4},                /* test $, %eax; setp %al */
    {{0xa8, 0, 0x0f, 0x94, 0xc0}, 5, 1, 1},                         /* test $, %al; sete %al */
    {{0xf7, 0xc0, 0, 0, 0, 0, 0x0f, 0x98, 0xc0}, 9, 2, 4},          /* test $, %eax; sets %al */
    {{0x69, 0xc0}, 6, 2, 4},                                        /* imul $, %eax, %eax */
    {{0x6b, 0xc0}, 3, 2, 1},                                        /* imul $ (8 bits), %eax, %eax */
    {{0x68, 0, 0, 0, 0, 0x58}, 6, 1, 4},                            /* push $; pop %rax */
    {{0x6a, 0, 0x58}, 3, 1, 1},                                     /* push $ (8 bits); pop %rax */
    {{0x50, 0x48, 0xc7, 0x04, 0x24, 0, 0, 0, 0, 0x58}, 10, 5, 4},   /* push %rax; movq $, (%rsp); pop %rax */
    {{0x50, 0x66, 0xc7, 0x04, 0x24, 0, 0, 0x58}, 8, 5, 2},          /* ... movw $, (%rsp) */
    {{0x50, 0xc6, 0x44, 0x24, 0x03, 0, 0x58}, 7, 5, 1},             /* ... movb $, 3(%rsp) */
    {{0x50, 0x81, 0x04, 0x24, 0, 0, 0, 0, 0x58}, 9, 4, 4},          /* ... addl $, (%rsp) */
    {{0x50, 0xf0, 0x48, 0x83, 0x34, 0x24, 0, 0x58}, 8, 6, 1},       /* ... lock xorq $, (%rsp) */
    {{0x50, 0x80, 0x3c, 0x24, 0, 0x0f, 0x92, 0xc0, 0x5a}, 9, 4, 1}, /* ... cmpb $, (%rsp); setb %al; pop %rdx */
    {{0x50, 0x48, 0x69, 0x04, 0x24, 0, 0, 0, 0, 0x5a}, 10, 5, 4},   /* ... imul $, (%rsp), %rax; pop %rdx */
    /* what no block reads when it runs */
    {{0xc1, 0xe0}, 3, 2, 1},                            /* shl $, %eax */
    {{0x48, 0xc1, 0xc8}, 4, 3, 1},                      /* ror $, %rax */
    {{0x0f, 0xba, 0xe0, 0, 0x0f, 0x92, 0xc0}, 7, 3, 1}, /* bt $, %eax; setc %al */
    {{0x48, 0x8d, 0x80}, 7, 3, 4},                      /* lea d(%rax), %rax */
    {{0x50, 0x8a, 0x44, 0x24, 0x07, 0x5a}, 6, 0, 0},    /* nothing changes */
    {{0x66, 0x48, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0x70, 0xc0, 0, 0x66, 0x48, 0x0f, 0x7e, 0xc0}, 15, 9, 1}, /* pshufd $ */
    {{0x0f, 0xac, 0xf8}, 4, 3, 1}, /* shrd $, %edi, %eax */
};

/* At `at`: mov %rdi, %rax; xor %edx, %edx; the form; ret. */
static uint8_t *write_form(uint8_t *at, const struct form *f)
{
    static const uint8_t before[] = {0x48, 0x89, 0xf8, 0x31, 0xd2};
    memcpy(at, before, sizeof before);
    memcpy(at + sizeof before, f->bytes, f->n);
    at[sizeof before + f->n] = 0xc3;
    return at + sizeof before;
}

static uint64_t fresh(const struct form *f, uint64_t imm, uint64_t a)
{
    static unsigned place; /* another one each time, so never patched */
    uint8_t *at = page[2] + place++ % 64 * 64;
    uint8_t *insn = write_form(at, f);
    memcpy(insn + f->at, &imm, f->imm);
    return ((fn1 *)at)(a);
}

static void all_forms(void)
{
    unsigned wrong = 0, parts = 0, wide = 0;
    for (unsigned k = 0; k < ARRAY_LEN(forms); k++) {
        const struct form *f = &forms[k];
        uint8_t *at = page[0] + k * 64;
        uint8_t *insn = write_form(at, f);
        uint64_t imm = 0;
        for (unsigned n = 0; n < ROUNDS && f->imm; n++) {
            uint64_t a = next();
            imm = next();
            poke(insn + f->at, imm, f->imm);
            wrong += ((fn1 *)at)(a) != fresh(f, imm, a);
        }
        for (unsigned n = 0; n < ROUNDS && f->imm >= 2; n++) { /* a piece of it */
            uint64_t a = next();
            unsigned from = n % f->imm, bytes = from % 2 == 0 && from + 2 <= f->imm && n % 3 ? 2 : 1;
            memcpy(&imm, insn + f->at, 8);
            uint64_t v = next();
            poke(insn + f->at + from, v, bytes);
            memcpy((uint8_t *)&imm + from, &v, bytes);
            parts += ((fn1 *)at)(a) != fresh(f, imm, a);
        }
        for (unsigned n = 0; n < ROUNDS && f->imm; n++) { /* and what stands around it */
            uint64_t a = next(), whole, v = next();
            imm = v;
            uint8_t *from = insn + f->at - 2;
            memcpy(&whole, from, 8);
            memcpy((uint8_t *)&whole + 2, &v, f->imm < 6 ? f->imm : 6);
            if (f->imm > 6)
                memcpy((uint8_t *)&imm + 6, insn + f->at + 6, 2);
            poke(from, whole, 8);
            wide += ((fn1 *)at)(a) != fresh(f, imm, a);
        }
    }
    CHECK("immediates of 32 insns and what no immediate is, stored to whole", wrong, 0);
    CHECK("... in pieces", parts, 0);
    CHECK("... with the bytes before and behind them", wide, 0);
}

/* ---- one place, several meanings
 * ------------------------------------------------------------------------------------------ */

static void meanings(void)
{
    unsigned wrong = 0;
    uint8_t *f = page[1];
    /* (a) mov $, %eax and sub $, %eax by turns, opcode and immediate in one store; ret */
    static const uint8_t start[] = {0x89, 0xf8, 0xb8, 0, 0, 0, 0, 0xc3};
    memcpy(f, start, sizeof start);
    for (uint32_t n = 0; n < 4 * ROUNDS; n++) {
        uint32_t v = (uint32_t)next();
        bool sub = n / ROUNDS & 1;
        if (n % 3)
            poke(f + 3, v, 4); /* with the opcode that was there */
        else
            poke(f + 2, (sub ? 0x2d : 0xb8) | (uint64_t)v << 8 | 0xc3ull << 40, 8);
        wrong += ((fn1 *)f)(n) != (f[2] == 0x2d ? n - v : v);
    }
    CHECK("opcode and immediate, by turns with the immediate alone", wrong, 0);
    /* the whole insn, of two bytes: mov $, %al; add $, %al; xor $, %al */
    f = page[1] + 0x80;
    static const uint8_t op[] = {0xb0, 0x04, 0x34};
    memcpy(f, start, sizeof start);
    f[4] = 0xc3;
    for (uint32_t n = 0; n < 4 * ROUNDS; n++) {
        unsigned which = n / 8 % 3, v = next() & 0xff;
        poke(f + 2, op[which] | v << 8, 2);
        wrong += ((fn1 *)f)(n & 0x7f) != (which == 0 ? v : which == 1 ? ((n & 0x7f) + v) % 256 : (n & 0x7f) ^ v);
    }
    CHECK("opcode and immediate in one store", wrong, 0);
    /* (b) the immediate is code as well: entered in its middle */
    f = page[1] + 0x100;
    for (uint32_t n = 0; n < ROUNDS; n++) {
        static const uint8_t inner[] = {0xb8, 0x0c, 0x05, 0xc3, 0x90, 0xc3}; /* mov $, %eax; ret | or $5, %al; ret */
        if (!n)
            memcpy(f, inner, sizeof inner);
        poke(f + 2, n, 1);
        wrong += ((fn1 *)f)(0) != (0x90c3000cu | n << 8);
        uint32_t got;
        __asm__ volatile("xor %%eax, %%eax\n call *%1" : "=&a"(got) : "r"(f + 1) : "memory", "cc");
        wrong += got != n;
    }
    CHECK("an immediate that is code as well", wrong, 0);
    /* (c) stores over the border of two insns: the last bytes of one immediate, the opcode of the next insn */
    f = page[1] + 0x200;
    static const uint8_t two[] = {0xb8, 0,    0,    0,   0,
                                  0x83, 0xc0, 0x01, 0xc3}; /* mov $, %eax; add (or 1 is sub) $, %eax */
    memcpy(f, two, sizeof two);
    for (uint32_t n = 0; n < ROUNDS; n++) {
        uint32_t v = (uint32_t)next(), high = v >> 16;
        poke(f + 1, v, 2);
        poke(f + 3, high | 0x83u << 16 | (n & 1 ? 0xe8u : 0xc0u) << 24, 4);
        wrong += ((fn1 *)f)(0) != (uint32_t)(n & 1 ? v - 1 : v + 1);
    }
    CHECK("stores over the border of two insns", wrong, 0);
    /* (d) a jump's displacement, and the immediate where it leads */
    f = page[1] + 0x300;
    memset(f, 0x90, 256);
    f[0] = 0xe9;
    for (unsigned k = 0; k < 16; k++) {
        f[5 + 8 * k] = 0xb8;
        f[5 + 8 * k + 5] = 0xc3;
        poke(f + 5 + 8 * k + 1, k, 4);
    }
    for (uint32_t n = 0; n < ROUNDS; n++) {
        poke(f + 1, n % 16 * 8, 4);
        poke(f + 5 + n % 16 * 8 + 1, n, 4);
        wrong += ((fn1 *)f)(0) != n;
    }
    CHECK("a jump's displacement", wrong, 0);
    /* (e) data where code was, and code again */
    f = page[1] + 0x500;
    for (uint32_t n = 0; n < 8 * ROUNDS; n++) {
        memcpy(f, start, sizeof start);
        poke(f + 3, n, 4);
        if (n / ROUNDS & 1)
            continue;
        wrong += ((fn1 *)f)(1) != n;
        poke(f + 3, n + 1, 4);
        wrong += ((fn1 *)f)(1) != n + 1;
        memset(page[1] + 0x500, 0xcc, 64);
    }
    CHECK("data where code was, and code again", wrong, 0);
}

/* ---- to and fro between forms of the same code
 * ---------------------------------------------------------------------------------- */

__asm__(".pushsection .text\n"
        ".balign 4096\n"
        "fro_caller:\n" /* calls and jumps directly: the links have to find the form of now */
        "    call fro_site\n"
        "    add $100, %eax\n"
        "    test %edi, %edi\n"
        "    jnz fro_site\n"
        "    ret\n"
        "    .balign 16\n"
        "fro_site: .skip 32, 0xcc\n"
        "fro_taken: add $7, %eax\n"
        "    ret\n"
        ".balign 4096\n"
        ".popsection\n");
extern uint8_t fro_site[], fro_taken[];
extern fn1 fro_caller;

static void to_and_fro(void)
{
    /* eax becomes edi + 1, 2, ... 5; the last by way of a jump */
    static const uint8_t form[][12] = {{0x8d, 0x47, 0x01, 0xc3},
                                       {0x89, 0xf8, 0x83, 0xc0, 0x02, 0xc3},
                                       {0x8d, 0x47, 0x04, 0xff, 0xc8, 0xc3},
                                       {0x90, 0x8d, 0x47, 0x05, 0xff, 0xc8, 0xc3},
                                       {0x8d, 0x47, 0xfe, 0xeb, 0x1b}};
    unsigned wrong = 0;
    uint32_t last = 0;
    for (uint32_t n = 0; n < 20 * ROUNDS; n++) {
        unsigned k = n < 10 * ROUNDS ? n % 5 : next() % 5;
        if (n % 3)
            memcpy(fro_site, form[k], sizeof form[k]);
        else
            for (unsigned i = 0; i < sizeof form[k]; i++)
                poke(fro_site + i, form[k][i], 1);
        last = n & 1;
        wrong += fro_caller(last) != (last ? 2 + k : 101 + k);
        wrong += ((fn1 *)fro_site)(n) != (uint32_t)(n + k + 1);
    }
    CHECK("five forms of a function, by turns and at random", wrong, 0);
    /* more forms than are remembered, and the same bytes stored again */
    uint8_t *f = page[3] + 0x200;
    for (uint32_t n = 0; n < 60 * ROUNDS; n++) {
        unsigned k = next() % 40;
        uint8_t code[8] = {0x8d, 0x47, (uint8_t)k, 0x90, 0x90, 0x90, 0x90, 0xc3}; /* lea k(%rdi), %eax */
        uint64_t word;
        if (k > 20)
            code[3] = 0xff, code[4] = 0xc0; /* inc %eax */
        memcpy(&word, code, 8);
        poke(f, word, 8);
        wrong += ((fn1 *)f)(n) != (uint32_t)(n + k + (k > 20));
        poke(f, word, 8);
        wrong += ((fn1 *)f)(n) != (uint32_t)(n + k + (k > 20));
    }
    CHECK("forty forms", wrong, 0);
    /* a form comes back with an operand in it that was found to change meanwhile */
    f = page[3] + 0x300;
    static const uint8_t a[] = {0x89, 0xf8, 0x05, 1, 0, 0, 0, 0x90, 0xc3},
                         b[] = {0x89, 0xf8, 0x05, 1, 0, 0, 0, 0x40, 0xff, 0xc0, 0xc3};
    for (uint32_t n = 0; n < 4 * ROUNDS; n++) {
        memcpy(f, n & 4 ? b : a, n & 4 ? sizeof b : sizeof a);
        if (n & 4)
            f[7] = 0x90;
        wrong += ((fn1 *)f)(n) != n + 1 + (n & 4 ? 1 : 0);
        if (n > 2 * ROUNDS)
            poke(f + 3, n, 4);
        wrong += ((fn1 *)f)(n) != n + (n > 2 * ROUNDS ? n : 1) + (n & 4 ? 1 : 0);
        poke(f + 3, 1, 4);
        wrong += ((fn1 *)f)(n) != n + 1 + (n & 4 ? 1 : 0);
    }
    CHECK("an operand that begins to change in a form that comes back", wrong, 0);
}

/* ---- insns that store to what runs
 * ------------------------------------------------------------------------------------------ */

__asm__(".pushsection .text\n"
        ".balign 4096\n"
        "live_chain:\n" /* each insn stores the next one's immediate: %eax = %edi + 4 */
        "    lea 1(%rdi), %ecx\n"
        "    mov %ecx, 1f + 1(%rip)\n"
        "1:  mov $0, %eax\n"
        "    inc %eax\n"
        "    mov %eax, 2f + 1(%rip)\n"
        "2:  mov $0, %edx\n"
        "    .byte 0x90\n"
        "    lea 1(%rdx), %eax\n"
        "    mov %eax, 3f + 1(%rip)\n"
        "3:  mov $0, %eax\n"
        "    inc %eax\n"
        "    ret\n"
        "live_bytes:\n" /* the immediate, byte by byte, in the same block */
        "    mov %edi, %eax\n"
        "    mov %al, 1f + 1(%rip)\n"
        "    mov %ah, 1f + 2(%rip)\n"
        "    shr $16, %eax\n"
        "    mov %ax, 1f + 3(%rip)\n"
        "1:  mov $0, %eax\n"
        "    ret\n"
        "live_self:\n" /* adds to its own immediate; the insn that does so has read it before */
        "    .byte 0x81, 0x05, 0xfc, 0xff, 0xff, 0xff, 1, 0, 0, 0\n"
        "    mov live_self + 6(%rip), %eax\n"
        "    ret\n"
        "live_locked:\n"
        "    mov %edi, %eax\n"
        "    xchg %eax, 1f + 1(%rip)\n"
        "    lock incl 1f + 1(%rip)\n"
        "1:  mov $0, %eax\n"
        "    ret\n"
        "live_string:\n"
        "    mov %edi, %eax\n"
        "    lea 1f + 1(%rip), %rdi\n"
        "    stosl\n"
        "1:  mov $0, %eax\n"
        "    ret\n"
        "live_vector:\n" /* sixteen bytes: two insns and what is between */
        "    movups (%rdi), %xmm0\n"
        "    movups %xmm0, 1f(%rip)\n"
        "1:  .skip 16, 0x90\n"
        "    ret\n"
        "live_loop:\n" /* the block is its own next: sum of %edi .. 1 */
        "    xor %eax, %eax\n"
        "1:  mov %edi, 2f + 1(%rip)\n"
        "2:  .byte 0x05, 0, 0, 0, 0\n"
        "    dec %edi\n"
        "    jnz 1b\n"
        "    ret\n"
        ".balign 4096\n"
        ".popsection\n");
extern fn1 live_chain, live_bytes, live_self, live_locked, live_string, live_vector, live_loop;

static void by_itself(void)
{
    unsigned wrong = 0;
    for (uint32_t n = 0; n < ROUNDS; n++)
        wrong += live_chain(n) != n + 4;
    CHECK("each insn stores the next one's immediate", wrong, 0);
    for (uint32_t n = 0; n < ROUNDS; n++) {
        uint32_t v = (uint32_t)next();
        wrong += live_bytes(v) != v;
        wrong += live_locked(v) != v + 1;
        wrong += live_string(v) != v;
    }
    CHECK("byte by byte, XCHG and LOCK INC, STOS", wrong, 0);
    uint32_t self = 1;
    for (uint32_t n = 0; n < 12; n++) { /* 1, 2, 4, 8 ... */
        self *= 2;
        wrong += live_self(0) != self;
    }
    CHECK("an insn that adds its immediate to itself", wrong, 0);
    for (uint32_t n = 0; n < ROUNDS; n++) {
        uint8_t code[16] = {0xb8, 0, 0, 0, 0, 0x05, 0, 0, 0, 0, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90};
        poke(code + 1, n * 0x10203, 4);
        poke(code + 6, n, 4);
        wrong += live_vector(PA(code)) != n * 0x10204;
    }
    CHECK("MOVUPS over two insns", wrong, 0);
    CHECK("a loop of one block that patches itself", live_loop(5000), 5000 * 5001 / 2);
}

/* ---- addresses, privileges
 * --------------------------------------------------------------------------------------------------- */

static void emit_const(uint8_t *at, uint32_t v)
{
    static const uint8_t code[] = {0xb8, 0, 0, 0, 0, 0xc3};
    memcpy(at, code, sizeof code);
    poke(at + 1, v, 4);
}

static void run_user(void *at)
{
    uint32_t a;
    __asm__ volatile("call *%1\n int $0x80" : "=a"(a) : "r"(at) : "memory");
}

CODE(store_there, "mov $0x8000001081, %rax\n" AT(store_there) "movl $6, (%rax)")
CODE(store_as_user, "mov $0x8000001081, %rax\n" AT(store_as_user) "movl $6, (%rax)")
CODE(store_nowhere, "mov $0x1008000001081, %rax\n" AT(store_nowhere) "movl $6, (%rax)")
CODE(store_crossing, "mov $0x8000001ffe, %rax\n" AT(store_crossing) "movl $6, (%rax)")

static void addresses(void)
{
    unsigned wrong = 0;
    memset(page, 0xcc, sizeof page);
    for (unsigned n = 0; n < 3; n++)
        emit_const(page[n] + 0x80, n);
    map(0, page[0]);
    map(1, page[0]);
    for (uint32_t n = 0; n < ROUNDS; n++) {
        poke((void *)(T + 0x1081), n, 4); /* through one address, run at another, and the third */
        WRITE_REG(cr2, 0);
        wrong += ((fn1 *)(T + 0x80))(0) != n || ((fn1 *)(page[0] + 0x80))(0) != n;
    }
    CHECK("two linear addresses of one page", wrong, 0);
    for (uint32_t n = 0; n < 3 * ROUNDS; n++) { /* the same address, another page each time, the operands of all live */
        map(0, page[n % 3]);
        poke((void *)(T + 0x81), n, 4);
        wrong += ((fn1 *)(T + 0x80))(0) != n;
        wrong += ((fn1 *)(page[n % 3] + 0x80))(0) != n;
        if (n > 2)
            wrong += ((fn1 *)(page[(n + 1) % 3] + 0x80))(0) != n - 2;
    }
    CHECK("a page remapped between stores", wrong, 0);
    for (uint32_t n = 0; n < ROUNDS; n++) { /* two modes run the same bytes */
        poke(page[0] + 0x81, n, 4);
        catch_user(run_user, (void *)(T + 0x1080));
        wrong += caught.vector != EXIT || (uint32_t)caught.ax != n;
        poke(page[0] + 0x81, ~n, 4);
        wrong += (uint32_t)((fn1 *)(T + 0x1080))(0) != ~n;
    }
    CHECK("user and supervisor code", wrong, 0);
    /* No longer writable: the store faults and changes nothing */
    poke((void *)(T + 0x1081), 5, 4);
    pt1[1] = PA(page[0]) | P | U;
    WRITE_REG(cr0, READ_REG(cr0) | CR0_WP);
    invlpg(T + 0x1000);
    catch_call(store_there, NULL);
    CHECK_CAUGHT("a store to a live operand on a read-only page", PF, 3, store_there_at);
    CHECK("... changed nothing", ((fn1 *)(T + 0x1080))(0), 5);
    pt1[1] = PA(page[0]) | P | W; /* the supervisor's: thunks know it from now on */
    invlpg(T + 0x1000);
    for (uint32_t n = 0; n < 4; n++)
        poke((void *)(T + 0x1081), 5, 4);
    catch_user(store_as_user, NULL);
    CHECK_CAUGHT("a user's store to it", PF, 7, store_as_user_at);
    CHECK("... changed nothing", ((fn1 *)(T + 0x1080))(0), 5);
    map(1, page[3]); /* another page behind the address */
    emit_const((uint8_t *)(T + 0x1080), 9);
    poke((void *)(T + 0x1081), 10, 4);
    wrong += page[0][0x81] != 5 || page[3][0x81] != 10 || ((fn1 *)(T + 0x1080))(0) != 10;
    CHECK("stores go to the page that is there now", wrong, 0);
    catch_call(store_nowhere, NULL);
    CHECK_CAUGHT("the same address but for its highest bits", GP, 0, store_nowhere_at);
    pt1[2] = 0;
    invlpg(T + 0x2000);
    for (uint32_t n = 0; n < ROUNDS; n++) {
        poke((void *)(T + 0x1081), n, 4);
        wrong += ((fn1 *)(T + 0x1080))(0) != n;
    }
    CHECK("the same, on and on", wrong, 0);
    catch_call(store_crossing, NULL);
    CHECK_CAUGHT("a store over the end of a page with code", PF, 2, store_crossing_at);
}

/* A page's end: the map's last bits. */
static void edges(void)
{
    unsigned wrong = 0;
    uint8_t *f = page[0] + 4096 - 6;
    emit_const(f, 0);
    for (uint32_t n = 0; n < ROUNDS; n++) {
        poke(f + 1, n, 4);
        wrong += ((fn1 *)f)(0) != n;
        poke(f + 4, n & 0xff, 1);
        wrong += ((fn1 *)f)(0) != ((n & 0xffffff) | (n & 0xff) << 24);
    }
    emit_const(page[1], 7);
    for (uint32_t n = 0; n < ROUNDS; n++) { /* the immediate runs into the next page */
        uint8_t *g = page[1] - 3;
        if (n == 0)
            emit_const(g, 0);
        poke(g + 1, n * 0x01010101, 4);
        wrong += ((fn1 *)g)(0) != n * 0x01010101;
        poke(page[1], n ^ 0x55, 1);
        wrong += ((fn1 *)g)(0) != ((n * 0x01010101 & 0xff00ffffu) | (n ^ 0x55) << 16);
        wrong += page[1][0] != (n ^ 0x55);
    }
    CHECK("the end of a page", wrong, 0);
    for (uint32_t n = 0; n < 20000; n++) { /* data right behind and before code, of all sizes */
        unsigned bytes = 1u << n % 4, off = n * 7 % 1000;
        uint8_t *at = page[2] + 0x400 + off;
        if (n % 1000 == 0)
            emit_const(page[2] + 0x3fa, n);
        if (off < 1000 - 8)
            poke(at, n, bytes);
        if (n % 50 == 0)
            wrong += ((fn1 *)(page[2] + 0x3fa))(0) != n / 1000 * 1000;
        uint64_t back = 0;
        memcpy(&back, at, bytes);
        if (off < 1000 - 8)
            wrong += back != (n & (bytes == 8 ? ~0ull : (1ull << 8 * bytes) - 1));
    }
    CHECK("data behind code", wrong, 0);
}

void test_main(void)
{
    all_forms();
    meanings();
    to_and_fro();
    by_itself();
    addresses();
    edges();
}
