/* test/bare/x87.c: x87 and MMX where they meet the rest of the processor: faults in the middle of a sequence, stores
 * over two pages and over code, the pointers to insn and operand, unmasked exceptions.
 */
#include "lib/bare.h"

#define PA(p) ((uint64_t)(uintptr_t)(p))
#define T     0x8000000000ull
extern uint64_t pml4[512];
static uint64_t pdpt1[512] __attribute__((aligned(4096))), pd1[512] __attribute__((aligned(4096))),
    pt1[512] __attribute__((aligned(4096)));
static uint8_t page[3][4096] __attribute__((aligned(4096)));
static uint8_t image[512] __attribute__((aligned(64)));
static uint32_t env[7];

static const uint8_t pi[10] = {0x35, 0xc2, 0x68, 0x21, 0xa2, 0xda, 0x0f, 0xc9, 0x00, 0x40};
static const uint8_t one[10] = {0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f};

static unsigned status(void)
{
    uint16_t sw;
    __asm__ volatile("fnstsw %0" : "=a"(sw));
    return sw;
}

static unsigned top(void)
{
    return status() >> 11 & 7;
}

static void environment(void)
{
    __asm__ volatile("fnstenv %0" : "=m"(env));
}

/* ---- stores that fault, or lie on two pages
 * ---------------------------------------------------------------------------------- */

CODE(store_pi, "fninit; fld1\n" AT(store_pi) "fldpi\n" NEXT(store_pi) "fstpt (%rdi)")
CODE(store_again, "fstpt (%rdi)")
CODE(load_t, "fninit; fld1\n" AT(load_t) "fldt (%rdi)")
CODE(store_double, "fninit; fld1; fstpl (%rdi)")
CODE(store_mmx, "fninit; mov $0x1122334455667788, %rax; movq %rax, %mm3\n" AT(store_mmx) "movq %mm3, (%rdi)")

static void pages(void)
{
    pml4[1] = PA(pdpt1) | 7;
    pdpt1[0] = PA(pd1) | 7;
    pd1[0] = PA(pt1) | 7;
    pt1[0] = PA(page[0]) | 7;
    pt1[1] = 0;
    memset(page[0], 0x55, 4096);
    memset(page[1], 0x55, 4096);

    catch_call(store_pi, (void *)(T + 4096 - 8));
    CHECK_CAUGHT("#PF: FSTP m80 whose last two bytes are missing", PF, 2, store_pi_next);
    CHECK("CR2 is the second page", READ_REG(cr2), T + 4096);
    CHECK("nothing was popped", top(), 6);
    CHECK("no flag was set", status() & 0xff, 0);
    CHECK("nothing was stored", page[0][4088] == 0x55 && page[0][4095] == 0x55, true);
    environment();
    CHECK("FIP is that of the insn before", env[3], (uint32_t)PA(store_pi_at));
    pt1[1] = PA(page[2]) | 7;
    invlpg((void *)(T + 4096));
    catch_call(store_again, (void *)(T + 4096 - 8));
    CHECK("then it is stored", memcmp(page[0] + 4088, pi, 8) == 0 && memcmp(page[2], pi + 8, 2) == 0, true);
    CHECK("and popped once", top(), 7);
    for (unsigned n = 1; n < 10; n++) {
        memset(page[2], 0, 16);
        catch_call(store_pi, (void *)(T + 4096 - n));
        bool good = caught.vector == NONE && top() == 7 && !memcmp(page[0] + 4096 - n, pi, n) &&
                    !memcmp(page[2], pi + n, 10 - n) && !page[2][10 - n];
        if (!good || n == 9)
            CHECK("FSTP m80 over two pages, at every place", good, true);
    }
    catch_call(load_t, (void *)(T + 4096 - 9));
    __asm__ volatile("fstpt %0" : "=m"(image));
    CHECK("FLD m80 over two pages", memcmp(image, pi, 10), 0);
    catch_call(store_double, (void *)(T + 4096 - 3));
    CHECK("FSTP m64 over two pages", page[2][3] == 0xf0 && page[2][4] == 0x3f && top() == 0, true);

    pt1[1] = PA(page[2]) | 5; /* read-only, and CR0.WP may be off: so at CPL 3 */
    invlpg((void *)(T + 4096));
    catch_call(store_mmx, (void *)0x8000000000000000ull);
    CHECK_CAUGHT("#GP: MOVQ to a non-canonical address", GP, 0, store_mmx_at);
    __asm__ volatile("movq %%mm3, %0; emms" : "=m"(image));
    CHECK("MM3 is still there", *(uint64_t *)image, 0x1122334455667788);
}

/* ---- stores into the code that runs
 * ------------------------------------------------------------------------------------------ */

__asm__(".pushsection .data\n"
        ".balign 4096\n"
        "store_code:\n" /* rdi: the new immediate */
        "    fninit\n"
        "    fld1\n"
        "    push %rdi\n"
        "    fildl (%rsp)\n"
        "    pop %rdi\n"
        "    fistpl store_code_here + 1(%rip)\n"
        "store_code_here: mov $0, %eax\n"
        "    ret\n"
        ".popsection");

static void code(void)
{
    uint64_t got;
    for (unsigned n = 1; n <= 5; n++) {
        __asm__ volatile("call store_code" : "=a"(got) : "D"((uint64_t)n * 0x1010101) : "memory", "cc");
        bool good = got == n * 0x1010101 && top() == 7;
        if (!good || n == 5)
            CHECK("FISTP over the next insn: seen by it, and popped once", good, true);
    }
    __asm__ volatile("fstpt %0" : "=m"(image));
    CHECK("what was below is on top", memcmp(image, one, 10), 0);
}

/* ---- pointers: vol. 1, 8.1.8
 * ------------------------------------------------------------------------------------------------- */

CODE(pointers, "fninit\n" AT(pointers) "fldl (%rdi)\n" NEXT(pointers) "fabs; fnstenv env; fnstcw image; fnclex; fwait; "
                                                                      "fldcw image; fxsave64 image")
CODE(pointers_loop, "fninit; mov $100, %ecx; 1: flds (%rdi)\n" AT(pointers_loop) "fstps (%rdi); dec %ecx; jnz 1b; "
                                                                                 "fxsave64 image")
CODE(pointers_none, "fldl (%rdi); fninit; fxsave64 image")

static void last_insn(void)
{
    static double operand = -2;

    catch_call(pointers, &operand);
    CHECK("FNSTENV: FIP", env[3], (uint32_t)PA(pointers_next));
    CHECK("FNSTENV: FDP", env[5], (uint32_t)PA(&operand));
    CHECK("FXSAVE64: control insns leave FIP", *(uint64_t *)(image + 8), PA(pointers_next));
    CHECK("FXSAVE64: FDP", *(uint64_t *)(image + 16), PA(&operand));
    catch_call(pointers_loop, &operand);
    CHECK("FIP after a loop", *(uint64_t *)(image + 8), PA(pointers_loop_at));
    catch_call(pointers_none, &operand);
    CHECK("FNINIT: no FIP, no FDP", *(uint64_t *)(image + 8) | *(uint64_t *)(image + 16), 0);
}

/* ---- unmasked exceptions: vol. 1, 8.7
 * ---------------------------------------------------------------------------------------- */

CODE(unmask_late, "fninit; fld1; fldz; fdivrp; push $0x37b; fldcw (%rsp); pop %rax\n" AT(unmask_late) "fld1")
CODE(unmask_early, "fninit; push $0x37b; fldcw (%rsp); pop %rax; fld1; fldz; fdivrp; nop\n" AT(unmask_early) "fld1")
CODE(unmask_mmx, "fninit; push $0x37b; fldcw (%rsp); pop %rax; fld1; fldz; fdivrp\n" AT(unmask_mmx) "emms")
CODE(unmask_store, "fninit; push $0x37e; fldcw (%rsp); pop %rax; fldpi; fldpi; fmulp; fldl (%rdi); fistpl 8(%rdi)\n" AT(
                       unmask_store) "fwait")
CODE(remask, "fninit; push $0x37b; fldcw (%rsp); fld1; movl $0x37f, (%rsp); fldcw (%rsp); pop %rax; fldz; fdivrp; fld1")
CODE(simd, "push $0x1d80; ldmxcsr (%rsp); pop %rax; fninit; pcmpeqd %xmm0, %xmm0; psrld $25, %xmm0; pslld $23, %xmm0; "
           "pxor %xmm1, %xmm1\n" AT(simd) "fld1\n" NEXT(simd) "divss %xmm1, %xmm0")
CODE(unmask_env, "fninit; fnstenv env; andl $~4, env; fldenv env; fld1; fldz; fdivrp\n" AT(unmask_env) "fld1")

static void unmasked(void)
{
    static struct {
        double big;
        uint32_t stored;
    } m = {1e300, 0x5a5a5a5a};

    catch_call(unmask_late, NULL);
    CHECK_CAUGHT("#MF: a flag that FLDCW unmasks", MF, 0, unmask_late_at);
    __asm__ volatile("fnclex");
    catch_call(unmask_early, NULL);
    CHECK_CAUGHT("#MF: 1/0", MF, 0, unmask_early_at);
    CHECK("ZE, ES, B; the operands stay on the stack", status() & 0xb8ff, 0xb084);
    environment();
    __asm__ volatile("fnstcw %0" : "=m"(image));
    CHECK("FNSTENV stores what was, then masks all", env[0] & 0x3f, 0x3b);
    CHECK("as FNSTCW shows", image[0] & 0x3f, 0x3f);
    catch_call(unmask_mmx, NULL);
    CHECK_CAUGHT("#MF: EMMS waits", MF, 0, unmask_mmx_at);
    catch_call(unmask_store, &m);
    CHECK_CAUGHT("#MF: FIST of too much", MF, 0, unmask_store_at);
    CHECK("which stores nothing, and pops nothing", m.stored == 0x5a5a5a5a && top() == 6, true);
    catch_call(remask, NULL);
    CHECK("masked again: no fault", caught.vector == NONE && (status() & 0x84) == 4, true);
    catch_call(unmask_env, NULL);
    CHECK_CAUGHT("#MF: unmasked by FLDENV", MF, 0, unmask_env_at);
    __asm__ volatile("fninit");
    uintptr_t cr4 = READ_REG(cr4);
    WRITE_REG(cr4, cr4 | 1 << 9 | 1 << 10);
    catch_call(simd, NULL);
    WRITE_REG(cr4, cr4);
    CHECK_CAUGHT("#XM", 19, 0, simd_next);
    environment();
    CHECK("finds FIP of the x87 insn before", env[3], (uint32_t)PA(simd_at));
    static const uint32_t masked = 0x1f80;
    __asm__ volatile("ldmxcsr %0; fninit" : : "m"(masked));
}

/* ---- TS: vol. 3, 2.5
 * --------------------------------------------------------------------------------------------------------- */

CODE(use_x87, AT(use_x87) "fldpi")

static void task_switched(void)
{
    __asm__ volatile("fninit; fld1");
    WRITE_REG(cr0, READ_REG(cr0) | 8);
    catch_call(use_x87, NULL);
    CHECK_CAUGHT("#NM: TS", NM, 0, use_x87_at);
    __asm__ volatile("clts");
    CHECK("what was there is there", top(), 7);
    catch_call(use_x87, NULL);
    __asm__ volatile("fstpt %0; fstpt %1" : "=m"(image), "=m"(page[0]));
    CHECK("and goes on", memcmp(image, pi, 10) == 0 && memcmp(page[0], one, 10) == 0, true);
}

void test_main(void)
{
    pages();
    code();
    last_insn();
    unmasked();
    task_switched();
}
