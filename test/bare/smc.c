/* test/bare/smc.c: code that changes.  Intel SDM vol. 3, 8.1.3 and 11.6: on one processor a store to code is seen by
 * the next insn fetched after a jump; P6 and later processors see it at once, with no jump between (11.6: "checks
 * whether a write to a code segment may modify an instruction that has been prefetched").  A store through another
 * linear address needs a serializing insn: MOV CR2 stands there.
 */
#include "lib/bare.h"

#define T     0x8000000000ull
#define PA(p) ((uint64_t)(uintptr_t)(p))
enum { P = 1, W = 2, U = 4 };
extern uint64_t pml4[512];
static uint64_t pdpt1[512] __attribute__((aligned(4096))), pd1[512] __attribute__((aligned(4096))),
    pt1[512] __attribute__((aligned(4096)));
static uint8_t page[4][4096] __attribute__((aligned(4096)));

typedef uint32_t fn0(void);
typedef uint32_t fn1(uint32_t);

static void serialize(void)
{
    WRITE_REG(cr2, 0);
}

/* mov $v, %eax; ret */
static void emit_const(uint8_t *at, uint32_t v)
{
    at[0] = 0xb8;
    *(volatile uint32_t *)(at + 1) = v;
    at[5] = 0xc3;
}

/* ---- (a) a loop that patches one of its insns
 * ---------------------------------------------------------------------------- */

__asm__(".pushsection .text\n"
        ".balign 4096\n"
        "patch_loop:\n" /* eax(count): sum of count .. 1, each through the immediate of an insn in the loop */
        "    mov %edi, %ecx\n"
        "    xor %eax, %eax\n"
        "1:  mov %ecx, patch_here + 1(%rip)\n"
        "patch_here:\n"
        "    mov $0, %edx\n"
        "    add %edx, %eax\n"
        "    dec %ecx\n"
        "    jnz 1b\n"
        "    ret\n"
        "patch_far_loop:\n" /* the same, the patch is made by another block, with a jump between */
        "    mov %edi, %ecx\n"
        "    xor %eax, %eax\n"
        "1:  mov %ecx, patch_there + 1(%rip)\n"
        "    jmp patch_there\n"
        "    .skip 64\n"
        "patch_there:\n"
        "    mov $0, %edx\n"
        "    add %edx, %eax\n"
        "    dec %ecx\n"
        "    jnz 1b\n"
        "    ret\n"
        "patch_opcode_loop:\n" /* alternates inc (FF C0) and dec (FF C8) of eax: ends at 0 for an even count */
        "    mov %edi, %ecx\n"
        "    xor %eax, %eax\n"
        "1:  xorb $8, patch_opcode + 1(%rip)\n"
        "patch_opcode:\n"
        "    inc %eax\n"
        "    imul $3, %eax, %eax\n"
        "    dec %ecx\n"
        "    jnz 1b\n"
        "    ret\n"
        /* (d) an insn that stores into the very next one, and into itself */
        "store_next:\n"
        "    mov %edi, next_imm + 1(%rip)\n"
        "next_imm:\n"
        "    mov $0, %eax\n"
        "    ret\n"
        "store_next_call:\n" /* CALL pushes its return address over code */
        "    mov %rsp, %rdx\n"
        "    lea pushed_here + 16(%rip), %rsp\n"
        "    push %rdi\n"
        "    mov %rdx, %rsp\n"
        "    jmp pushed_here\n"
        "    .balign 8\n"
        "pushed_here: .skip 24, 0x90\n"
        "    ret\n"
        "store_self:\n" /* changes its own immediate: the old one is what this run stores */
        "    movl $0x11111111, store_self + 6(%rip)\n"
        "    mov store_self + 6(%rip), %eax\n"
        "    ret\n"
        "store_movups:\n"
        "    movups (%rdi), %xmm0\n"
        "    movups %xmm0, vector_here(%rip)\n"
        "vector_here: .skip 16, 0x90\n"
        "    ret\n"
        "store_xchg:\n"
        "    xchg %edi, xchg_here + 1(%rip)\n"
        "xchg_here: mov $0, %eax\n"
        "    ret\n"
        "store_cmpxchg:\n"
        "    mov cmpxchg_here + 1(%rip), %eax\n"
        "    lock cmpxchg %edi, cmpxchg_here + 1(%rip)\n"
        "cmpxchg_here: mov $0x1234, %eax\n"
        "    ret\n"
        "store_fst:\n"
        "    fninit\n"
        "    push %rdi\n"
        "    fildl (%rsp)\n"
        "    pop %rdi\n"
        "    fistpl fst_here + 1(%rip)\n"
        "fst_here: mov $0, %eax\n"
        "    ret\n"
        "store_movnti:\n"
        "    movnti %edi, movnti_here + 1(%rip)\n"
        "movnti_here: mov $0, %eax\n"
        "    ret\n"
        /* (e) string insns over the code that follows them */
        "stos_next:\n" /* 6 bytes: inc %al repeated */
        "    mov %edi, %eax\n"
        "    lea stos_here(%rip), %rdi\n"
        "    mov $6, %ecx\n"
        "    rep stosb\n"
        "stos_here: .byte 0x90, 0x90, 0x90, 0x90, 0x90, 0x90\n"
        "    mov %ecx, %eax\n"
        "    ret\n"
        "movs_next:\n"
        "    mov %rdi, %rsi\n"
        "    lea movs_here(%rip), %rdi\n"
        "    mov $8, %ecx\n"
        "    rep movsb\n"
        "movs_here: .skip 8, 0x90\n"
        "    ret\n"
        "movs_down:\n"
        "    lea 7(%rdi), %rsi\n"
        "    lea movs_down_here + 7(%rip), %rdi\n"
        "    mov $8, %ecx\n"
        "    std\n"
        "    rep movsb\n"
        "movs_down_here: .skip 8, 0x90\n"
        "    cld\n"
        "    ret\n"
        /* a callee that changes what its caller does next */
        "caller_changes:\n"
        "    push %rbx\n"
        "    mov %edi, %ebx\n"
        "    call 2f\n"
        "caller_here: mov $0, %eax\n"
        "    pop %rbx\n"
        "    ret\n"
        "2:  mov %ebx, caller_here + 1(%rip)\n"
        "    ret\n"
        /* flags across a store that ends the block early */
        "flags_kept:\n"
        "    mov $0x7fffffff, %eax\n"
        "    add $1, %eax\n" /* OF SF AF PF */
        "    mov %edi, flags_here + 1(%rip)\n"
        "flags_here: mov $0, %ecx\n"
        "    pushfq\n"
        "    pop %rax\n"
        "    and $0x8d5, %eax\n"
        "    ret\n"
        ".popsection\n");
extern fn1 patch_loop, patch_far_loop, patch_opcode_loop, store_next, store_xchg, store_cmpxchg, store_fst,
    store_movnti, stos_next, caller_changes, flags_kept;
extern fn0 store_self;
uint32_t store_next_call(uint64_t), store_movups(const void *), movs_next(const void *), movs_down(const void *);

static void patched(void)
{
    CHECK("a loop that patches its own insn, 1000 times", patch_loop(1000), 1000 * 1001 / 2);
    CHECK("again, already translated", patch_loop(3000), 3000 * 3001 / 2);
    CHECK("a loop that patches another block", patch_far_loop(3000), 3000 * 3001 / 2);
    uint32_t wanted = 0;
    for (unsigned n = 0; n < 1001; n++)
        wanted = (wanted + (n & 1 ? 1 : (uint32_t)-1)) * 3;
    CHECK("a loop that patches an opcode", patch_opcode_loop(1001), wanted);
    unsigned wrong = 0;
    for (uint32_t n = 1; n < 500; n++)
        wrong += store_next(n * 0x01010101) != n * 0x01010101;
    CHECK("a store into the next insn", wrong, 0);
    for (uint32_t n = 1; n < 200; n++)
        wrong += store_xchg(n * 3) != n * 3 || store_cmpxchg(n * 5) != n * 5;
    CHECK("XCHG and LOCK CMPXCHG into the next insn", wrong, 0);
    for (uint32_t n = 1; n < 200; n++)
        wrong += store_fst(n * 3) != n * 3 || store_movnti(n * 5) != n * 5;
    CHECK("FISTP and MOVNTI into the next insn", wrong, 0);
    for (uint32_t n = 1; n < 200; n++)
        wrong += caller_changes(n * 7) != n * 7;
    CHECK("a callee that patches its caller's next insn", wrong, 0);
    for (uint32_t n = 1; n < 50; n++)
        wrong += flags_kept(n) != (0x800 | 0x80 | 0x10 | 0x4);
    CHECK("flags live across a store into the next insn", wrong, 0);
    CHECK("a store into itself stores the old immediate", store_self(), 0x11111111);
    for (uint32_t n = 1; n < 100; n++) {
        uint8_t code[16] = {0xb8, n,    0,    0,    0,    0xc3, 0x90, 0x90,
                            0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90}; /* mov $n, %eax; ret */
        wrong += store_movups(code) != n;
        wrong += movs_next(code) != n;
        code[5] = 0x90;
        wrong += movs_down(code) != n;
        uint64_t word = 0xb8 | (uint64_t)n << 8 | 0x9090ull << 48 | 0x90ull << 40;
        word = (word & ~(0xffffffull << 40)) | 0x9090c3ull << 40;
        wrong += store_next_call(word) != n;
    }
    CHECK("MOVUPS, PUSH, REP MOVSB up and down over the next insns", wrong, 0);
    stos_next(0x90);
    CHECK("REP STOSB over the next insns: none", stos_next(0x90), 0);
    CHECK("REP STOSB over the next insns: F8 (CLC)", stos_next(0xf8), 0);
    CHECK("REP STOSB over the next insns: 40 (a prefix)", stos_next(0x40), 0);
}

/* ---- (b) a writer that emits functions and calls them many times
 * ------------------------------------------------------------ */

static void jit(void)
{
    uint8_t *at = page[0];
    unsigned wrong = 0;
    uint32_t sum = 0, wanted = 0;
    for (uint32_t n = 0; n < 2000; n++) { /* the same place, another function each time */
        emit_const(at, n * 77);
        sum += ((fn0 *)at)();
        wanted += n * 77;
    }
    CHECK("JIT: one place, 2000 functions", sum, wanted);
    for (uint32_t n = 0; n < 256; n++) { /* a pool of functions, called a thousand times each, some rewritten */
        emit_const(at + 16 * n, n);
    }
    sum = wanted = 0;
    for (uint32_t round = 0; round < 100; round++) {
        uint32_t again = round * 7 % 256;
        emit_const(at + 16 * again, again + round);
        for (uint32_t n = 0; n < 256; n++)
            sum += ((fn0 *)(at + 16 * n))();
        emit_const(at + 16 * again, again);
        wanted += 255 * 256 / 2 + round;
    }
    CHECK("JIT: a pool, one rewritten each round", sum, wanted);
    /* (c) data between functions: stores next to code */
    for (uint32_t n = 0; n < 20000; n++) {
        volatile uint32_t *data = (uint32_t *)(at + 16 * (n & 255) + 8);
        *data = n;
        wrong += *data != n;
        if (!(n & 15))
            wrong += ((fn0 *)(at + 16 * (n & 255)))() != (n & 255);
    }
    CHECK("JIT: data between functions", wrong, 0);
    /* A function becomes longer, shorter, other insns at overlapping places. */
    uint8_t *f = page[1];
    for (uint32_t n = 0; n < 300; n++) {
        unsigned pad = n % 23;
        memset(f, 0x90, pad);
        emit_const(f + pad, n);
        wrong += ((fn0 *)f)() != n;
        wrong += ((fn0 *)(f + pad))() != n;
    }
    CHECK("JIT: the same function at sliding places", wrong, 0);
    /* Jumping into the middle of an insn: b8 (mov $imm) whose immediate is itself code. */
    static const uint8_t overlap[] = {0xb8, 0xb0, 0x07,
                                      0xc3, 0x90, 0xc3}; /* mov $0x90c307b0, %eax; ret   |   mov $7, %al; ret */
    memcpy(f, overlap, sizeof overlap);
    CHECK("overlapping insns: outer", ((fn0 *)f)(), 0x90c307b0);
    CHECK("overlapping insns: inner", ((fn0 *)(f + 1))() & 0xff, 7);
    f[2] = 9;
    CHECK("overlapping insns, patched: outer", ((fn0 *)f)(), 0x90c309b0);
    CHECK("overlapping insns, patched: inner", ((fn0 *)(f + 1))() & 0xff, 9);
}

/* ---- (f) an insn across two pages
 * -------------------------------------------------------------------------------------------------- */

static void crossing(void)
{
    unsigned wrong = 0;
    for (unsigned split = 1; split < 6; split++) {
        uint8_t *f = page[1] - split; /* b8 imm32 | c3: `split` bytes in page 0 */
        for (uint32_t n = 1; n < 60; n++) {
            emit_const(f, n * 0x01030507);
            wrong += ((fn0 *)f)() != n * 0x01030507;
            page[1][5 - split] = 0xc3;
            if (split < 5) {
                page[1][4 - split] = (uint8_t)n; /* the immediate's last byte, in the second page */
                wrong += ((fn0 *)f)() != ((n * 0x01030507 & 0xffffff) | n << 24);
            }
        }
    }
    CHECK("an insn across two pages, modified in either", wrong, 0);
    /* Many blocks that run on over the page's end */
    memset(page[1] - 32, 0x90, 64);
    emit_const(page[1] + 32, 1);
    for (uint32_t n = 0; n < 60; n++) {
        page[1][33] = (uint8_t)n;
        wrong += ((fn0 *)(page[1] - 32 + n % 32))() != n;
    }
    CHECK("a block that runs on into a page that is modified", wrong, 0);
}

/* ---- (g) remapped pages
 * ---------------------------------------------------------------------------------------------------------------- */

static void map(unsigned n, const void *physical)
{
    pt1[n] = PA(physical) | P | W | U;
    invlpg(T + n * 4096ull);
}

static void remapped(void)
{
    pml4[1] = PA(pdpt1) | P | W | U;
    pdpt1[0] = PA(pd1) | P | W | U;
    pd1[0] = PA(pt1) | P | W | U;
    unsigned wrong = 0;
    for (unsigned n = 0; n < 4; n++) {
        memset(page[n], 0xcc, 4096);
        emit_const(page[n] + 0x100, 0x1000 + n);
    }
    for (unsigned n = 0; n < 400; n++) {
        map(0, page[n & 3]);
        wrong += ((fn0 *)(T + 0x100))() != 0x1000 + (n & 3);
    }
    CHECK("a page of code under other frames, INVLPG: indirect call", wrong, 0);
    for (unsigned n = 0; n < 400; n++) {
        pt1[0] = PA(page[n & 3]) | P | W | U;
        WRITE_REG(cr3, READ_REG(cr3));
        wrong += ((fn0 *)(T + 0x100))() != 0x1000 + (n & 3);
    }
    CHECK("the same, MOV CR3", wrong, 0);
    /* Direct call and jump from the page before: a link across pages */
    map(4, page[3]);
    uint8_t *from = page[3];
    from[0x200] = 0xe8; /* call T + 5 * 4096 + 0x100; ret */
    *(uint32_t *)(from + 0x201) = 0x1100 - 0x205;
    from[0x205] = 0xc3;
    from[0x210] = 0xe9; /* jmp there */
    *(uint32_t *)(from + 0x211) = 0x1100 - 0x215;
    for (unsigned n = 0; n < 400; n++) {
        map(5, page[n % 3]);
        wrong += ((fn0 *)(T + 0x4200))() != 0x1000 + n % 3;
        wrong += ((fn0 *)(T + 0x4210))() != 0x1000 + n % 3;
    }
    CHECK("direct call and jump into a remapped page", wrong, 0);
    map(5, page[0]);
    ((fn0 *)(T + 0x4210))();
    pt1[5] = 0;
    invlpg(T + 0x5000);
    catch_call((void (*)(void *))(T + 0x4210), NULL);
    CHECK_CAUGHT("a jump into a page that is gone", PF, 0x10, T + 0x5100);
    pt1[5] = PA(page[1]) | P | 1ull << 63;
    invlpg(T + 0x5000);
    catch_call((void (*)(void *))(T + 0x4210), NULL);
    CHECK_CAUGHT("a jump into a page that is no longer executable", PF, 0x11, T + 0x5100);
    /* A return into a page that was remapped by the callee */
    for (unsigned n = 0; n < 3; n++) {
        page[n][0x300] = 0xff; /* call *%rdi */
        page[n][0x301] = 0xd7;
        emit_const(page[n] + 0x302, 0x2000 + n);
    }
    extern void remap_callee(void);
    for (unsigned n = 0; n < 300; n++) {
        map(6, page[n % 3]);
        extern uint64_t remap_entry;
        remap_entry = PA(page[(n + 1) % 3]) | P | W | U;
        uint32_t r;
        __asm__ volatile("call *%1"
                         : "=a"(r)
                         : "r"(T + 0x6300), "D"(remap_callee), "S"(&pt1[6]), "d"(T + 0x6000)
                         : "memory", "rcx", "cc");
        wrong += r != 0x2000 + (n + 1) % 3;
    }
    CHECK("a return into a page that the callee has remapped", wrong, 0);
    /* A block that runs over the end of one page into another, which is remapped */
    map(8, page[3]);
    memset(page[3] + 4080, 0x90, 16);
    for (unsigned n = 0; n < 3; n++)
        emit_const(page[n], 0x3000 + n);
    for (unsigned n = 0; n < 400; n++) {
        map(9, page[n % 3]);
        wrong += ((fn0 *)(T + 0x9000 - 8))() != 0x3000 + n % 3;
    }
    CHECK("running over a page's end into a remapped page", wrong, 0);
    page[3][4094] = 0xb8; /* an insn whose last bytes are in the remapped page */
    for (unsigned n = 0; n < 3; n++) {
        *(uint32_t *)page[n] = 0xc3000000 | n << 8;
        page[n][3] = 0xc3;
    }
    page[3][4095] = 0x55;
    for (unsigned n = 0; n < 400; n++) {
        map(9, page[n % 3]);
        wrong += ((fn0 *)(T + 0x8ff0))() != (0x55u | (n % 3) << 16);
    }
    CHECK("an insn whose end is in a remapped page", wrong, 0);
    /* Stores through another address of the same frame */
    map(1, page[0]);
    map(2, page[0]);
    for (uint32_t n = 0; n < 400; n++) {
        emit_const((uint8_t *)(T + 0x1400), n);
        serialize();
        wrong += ((fn0 *)(T + 0x2400))() != n;
        wrong += ((fn0 *)(page[0] + 0x400))() != n;
    }
    CHECK("a store through another linear address", wrong, 0);
}
__asm__(".pushsection .text\nremap_callee:\n mov remap_entry(%rip), %rax\n mov %rax, (%rsi)\n invlpg (%rdx)\n "
        "ret\n.popsection\n");
uint64_t remap_entry;

/* ---- a page that is written, run, written ... as a whole
 * ---------------------------------------------------------------------------------- */

static void pages(void)
{
    unsigned wrong = 0;
    for (uint32_t n = 0; n < 50; n++) {
        memset(page[2], 0x90, 4096);
        page[2][4095] = 0x90;
        emit_const(page[2] + 4090, n);
        wrong += ((fn0 *)page[2])() != n; /* 4090 NOPs: several blocks */
        static uint8_t copy[4096];
        memcpy(copy, page[2], 4096);
        copy[4091] = (uint8_t)(n + 1);
        memcpy(page[2], copy, 4096);
        wrong += ((fn0 *)page[2])() != ((n & ~255u) | ((n + 1) & 255));
    }
    CHECK("a whole page written by REP STOSB and REP MOVSB", wrong, 0);
}

void test_main(void)
{
    patched();
    jit();
    crossing();
    remapped();
    pages();
}
