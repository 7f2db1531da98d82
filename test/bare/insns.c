/* test/bare/insns.c: insns whose system side matters: division limits, string insns that fault in the middle, x87 and
 * SSE state, CPUID, the TSC.
 */
#include "lib/bare.h"

#define PA(p) ((uint64_t)(uintptr_t)(p))
#define T     0x8000000000ull
extern uint64_t pml4[512];
static uint64_t pdpt1[512] __attribute__((aligned(4096))), pd1[512] __attribute__((aligned(4096))),
    pt1[512] __attribute__((aligned(4096)));
static uint8_t page[3][4096] __attribute__((aligned(4096)));

/* ---- DIV, IDIV: vol. 2
 * ----------------------------------------------------------------------------------------------------- */

struct division {
    uint64_t high, low, by;
};
#define DIVISION(name, insn) CODE(name, "mov (%rdi), %rdx\nmov 8(%rdi), %rax\nmov 16(%rdi), %rcx\n" AT(name) insn)
DIVISION(div8, "div %cl")
DIVISION(div16, "div %cx")
DIVISION(div32, "div %ecx")
DIVISION(div64, "div %rcx\nint $0x80")
DIVISION(idiv8, "idiv %cl\nint $0x80")
DIVISION(idiv16, "idiv %cx\nint $0x80")
DIVISION(idiv32, "idiv %ecx\nint $0x80")
DIVISION(idiv64, "idiv %rcx\nint $0x80")

static void division(void)
{
    const uint64_t m = ~0ull, min = 1ull << 63;
    struct {
        const char *name;
        void (*fn)(void *);
        char *at; /* NULL: no fault */
        struct division d;
        uint64_t quotient, rest;
    } list[] = {
        {"DIV 8 by 0", div8, div8_at, {0, 5, 0}, 0, 0},
        {"DIV 8 overflow", div8, div8_at, {0, 0x100, 1}, 0, 0},
        {"DIV 16 overflow", div16, div16_at, {1, 0, 1}, 0, 0},
        {"DIV 32 overflow", div32, div32_at, {1, 0, 1}, 0, 0},
        {"DIV 64 overflow", div64, div64_at, {1, 0, 1}, 0, 0},
        {"DIV 64 by 0", div64, div64_at, {0, 1, 0}, 0, 0},
        {"DIV 64 of 128 bits", div64, NULL, {1, 0, 2}, min, 0},
        {"DIV 64 largest", div64, NULL, {m - 1, m, m}, m, m - 1},
        {"IDIV 8 -80H / -1", idiv8, idiv8_at, {0, 0xff80, 0xff}, 0, 0},
        {"IDIV 16 -8000H / -1", idiv16, idiv16_at, {0xffff, 0x8000, 0xffff}, 0, 0},
        {"IDIV 32 -80000000H / -1", idiv32, idiv32_at, {0xffffffff, 0x80000000, 0xffffffff}, 0, 0},
        {"IDIV 64 min / -1", idiv64, idiv64_at, {m, min, m}, 0, 0},
        {"IDIV 64 quotient 2^63", idiv64, idiv64_at, {0, min, 1}, 0, 0},
        {"IDIV 64 min / 1", idiv64, NULL, {m, min, 1}, min, 0},
        {"IDIV 64 -7 / 2", idiv64, NULL, {m, -7ull, 2}, -3ull, m},
        {"IDIV 64 of 128 bits", idiv64, NULL, {1, 0, 4}, 1ull << 62, 0},
    };
    for (unsigned n = 0; n < ARRAY_LEN(list); n++) {
        catch_call(list[n].fn, &list[n].d);
        if (list[n].at) {
            CHECK_CAUGHT(list[n].name, DE, 0, list[n].at);
            if (caught.ax != list[n].d.low || caught.dx != list[n].d.high)
                CHECK("its registers are unchanged", 0, 1);
        } else {
            CHECK(list[n].name, caught.vector == EXIT && caught.ax == list[n].quotient && caught.dx == list[n].rest,
                  true);
        }
    }
}

/* ---- string insns that fault in the middle: vol. 2, REP
 * ------------------------------------------------------------------------ */

struct string {
    uint64_t si, di, cx, ax;
};
#define STRING(name, insn)                                                                                             \
    CODE(name, "mov (%rdi), %rsi\nmov 16(%rdi), %rcx\nmov 24(%rdi), %rax\nmov 8(%rdi), %rdi\n" AT(name) insn)
STRING(rep_movsb, "rep movsb\nint $0x80")
STRING(rep_movsq, "rep movsq\nint $0x80")
STRING(rep_movsb_down, "std\nrep_movsb_down_insn: rep movsb\nint $0x80")
STRING(rep_stosl, "rep stosl\nint $0x80")
STRING(repe_cmpsb, "repe cmpsb\nint $0x80")
STRING(repne_scasb, "repne scasb\nint $0x80")
STRING(rep_lodsb, "rep lodsb\nint $0x80")
STRING(rep_movsb32, "addr32 rep movsb\nint $0x80")
extern char rep_movsb_down_insn[];

static void string_try(const char *name, void (*fn)(void *), uint64_t at, struct string s, unsigned error, uint64_t cr2,
                       uint64_t si, uint64_t di, uint64_t cx)
{
    catch_call(fn, &s);
    CHECK_CAUGHT(name, PF, error, at);
    if (caught_cr2 != cr2 || caught.si != si || caught.di != di || caught.cx != cx) {
        put("cr2 %x si %x di %x cx %x\n", (uint64_t)caught_cr2, caught.si, caught.di, caught.cx);
        CHECK(name, 0, 1);
    }
}

static void strings(void)
{
    pml4[1] = PA(pdpt1) | 7;
    pdpt1[0] = PA(pd1) | 7;
    pd1[0] = PA(pt1) | 7;
    pt1[0] = PA(page[0]) | 7;
    pt1[1] = 0;
    pt1[2] = PA(page[1]) | 7;
    pt1[4] = PA(page[2]) | 5; /* read-only */
    memset(page[0], 1, 4096);
    memset(page[1], 2, 4096);
    string_try("REP MOVSB into a missing page", rep_movsb, PA(rep_movsb_at),
               (struct string){PA(page[1]), T + 4096 - 100, 1000, 0}, 2, T + 4096, PA(page[1]) + 100, T + 4096, 900);
    CHECK("what came before is stored", page[0][4095] == 2 && page[0][3996] == 2 && page[0][3995] == 1, true);
    string_try("REP MOVSB out of a missing page", rep_movsb, PA(rep_movsb_at),
               (struct string){T + 4096 - 3, PA(page[2]), 10, 0}, 0, T + 4096, T + 4096, PA(page[2]) + 3, 7);
    string_try("REP MOVSQ across into a missing page", rep_movsq, PA(rep_movsq_at),
               (struct string){PA(page[1]), T + 4096 - 20, 10, 0}, 2, T + 4096, PA(page[1]) + 16, T + 4096 - 4, 8);
    CHECK("the crossing element stores nothing", page[0][4092], 2);
    string_try("REP MOVSB down into a missing page", rep_movsb_down, PA(rep_movsb_down_insn),
               (struct string){PA(page[2]) + 50, T + 8192 + 4, 20, 0}, 2, T + 8191, PA(page[2]) + 45, T + 8191, 15);
    string_try("REP STOSD into a read-only page", rep_stosl, PA(rep_stosl_at),
               (struct string){0, T + 4 * 4096 - 0, 5, 7}, 3, T + 4 * 4096, 0, T + 4 * 4096, 5);
    string_try("REP LODSB into a missing page", rep_lodsb, PA(rep_lodsb_at), (struct string){T + 4090, 0, 10, 0}, 0,
               T + 4096, T + 4096, 0, 4);
    memset(page[0], 3, 4096);
    memset(page[1], 3, 4096);
    string_try("REPE CMPSB into a missing page", repe_cmpsb, PA(repe_cmpsb_at),
               (struct string){T + 4000, PA(page[1]), 500, 0}, 0, T + 4096, T + 4096, PA(page[1]) + 96, 404);
    string_try("REPNE SCASB into a missing page", repne_scasb, PA(repne_scasb_at), (struct string){0, T + 4000, 500, 0},
               0, T + 4096, 0, T + 4096, 404);
    struct string s = {PA(page[0]), PA(page[1]), 0x100000005ull, 0};
    catch_call(rep_movsb32, &s);
    CHECK("address-size 32: ECX counts, RCX's upper half becomes 0", caught.vector == EXIT ? caught.cx : caught.vector,
          0);
    CHECK("address-size 32: ESI", caught.si, PA(page[0]) + 5);
    s = (struct string){5, 6, 0, 0};
    catch_call(rep_movsb, &s);
    CHECK("RCX = 0: nothing happens, nothing faults", caught.vector == EXIT && caught.si == 5 && caught.di == 6, true);
    memcpy(page[0], "abcdefgh", 8); /* overlap: byte by byte */
    s = (struct string){PA(page[0]), PA(page[0]) + 1, 7, 0};
    catch_call(rep_movsb, &s);
    CHECK("overlapping REP MOVSB repeats the first byte", memcmp(page[0], "aaaaaaaa", 8), 0);
}

/* ---- FXSAVE, XSAVE: vol. 1, 10.5 and chapter 13
 * --------------------------------------------------------------------------------------- */

static uint8_t image[4096] __attribute__((aligned(64))), again[4096] __attribute__((aligned(64)));
CODE(fxsave_bad, AT(fxsave_bad) "fxsave 8(%rdi)")
CODE(xsave_insn, "mov $-1, %eax; mov $-1, %edx\n" AT(xsave_insn) "xsave (%rdi)")
CODE(xrstor_insn, "mov $-1, %eax; mov $-1, %edx\n" AT(xrstor_insn) "xrstor (%rdi)")
CODE(xsetbv_insn, "mov %rdi, %rax; mov %rdi, %rdx; shr $32, %rdx; xor %ecx, %ecx\n" AT(xsetbv_insn) "xsetbv")
CODE(fxrstor_insn, AT(fxrstor_insn) "fxrstor (%rdi)")

static void states(void)
{
    for (unsigned n = 0; n < 512; n++)
        again[n] = (uint8_t)(n * 7);
    __asm__ volatile("fninit\nfld1\nfldpi\nfldl2e");
    for (unsigned n = 160; n < 416; n++)
        image[n] = (uint8_t)(n * 3);
    __asm__ volatile("fxsave %0" : "=m"(again));
    CHECK("FXSAVE: control word", *(uint16_t *)again, 0x37f);
    CHECK("FXSAVE: TOP is 5", *(uint16_t *)(again + 2) >> 11 & 7, 5);
    CHECK("FXSAVE: abridged tags", again[4], 0xe0);
    static const uint8_t pi[10] = {0x35, 0xc2, 0x68, 0x21, 0xa2, 0xda, 0x0f, 0xc9, 0x00, 0x40};
    CHECK("FXSAVE: ST1 is pi", memcmp(again + 48, pi, 10), 0);
    CHECK("FXSAVE: MXCSR_MASK", *(uint32_t *)(again + 28), 0xffff);
    memcpy(again + 160, image + 160, 256);
    *(uint32_t *)(again + 24) = 0x1fa0;
    catch_call(fxrstor_insn, again);
    CHECK("FXRSTOR", caught.vector, NONE);
    static uint8_t third[512] __attribute__((aligned(64)));
    __asm__ volatile("fxsave %0\nfninit" : "=m"(third));
    CHECK("FXSAVE gives back what FXRSTOR took: x87",
          memcmp(again, third, 24) == 0 && memcmp(again + 32, third + 32, 128) == 0, true);
    CHECK("and XMM, MXCSR", memcmp(again + 160, third + 160, 256) == 0 && *(uint32_t *)(third + 24) == 0x1fa0, true);
    *(uint32_t *)(again + 24) = 0x10000;
    catch_call(fxrstor_insn, again);
    CHECK_CAUGHT("#GP: FXRSTOR with a reserved MXCSR bit", GP, 0, fxrstor_insn_at);
    catch_call(fxsave_bad, image);
    CHECK_CAUGHT("#GP: FXSAVE misaligned", GP, 0, fxsave_bad_at);
    if (!(cpuid(1, 0).c >> 26 & 1)) {
        put("skip: no XSAVE\n");
        return;
    }
    catch_call(xsave_insn, image);
    CHECK_CAUGHT("#UD: XSAVE without OSXSAVE", UD, 0, xsave_insn_at);
    WRITE_REG(cr4, READ_REG(cr4) | CR4_OSXSAVE);
    CHECK("CPUID.1:ECX.OSXSAVE follows CR4", cpuid(1, 0).c >> 27 & 1, 1);
    catch_call(xsetbv_insn, (void *)2);
    CHECK_CAUGHT("#GP: XSETBV without x87", GP, 0, xsetbv_insn_at);
    catch_call(xsetbv_insn, (void *)5);
    CHECK_CAUGHT("#GP: XSETBV: AVX without SSE", GP, 0, xsetbv_insn_at);
    catch_call(xsetbv_insn, (void *)(1ull << 62));
    CHECK_CAUGHT("#GP: XSETBV of an unknown component", GP, 0, xsetbv_insn_at);
    catch_call(xsetbv_insn, (void *)3);
    CHECK("XSETBV 3", caught.vector, NONE);
    CHECK("CPUID.D: size for XCR0 = 3", cpuid(0xd, 0).b, 576);
    memset(image, 0, sizeof image);
    memset(image + 160, 0x5a, 256);
    *(uint32_t *)(image + 24) = 0x1f80;
    *(uint64_t *)(image + 512) = 2;
    catch_call(xrstor_insn, image);
    CHECK("XRSTOR of SSE only", caught.vector, NONE);
    memset(again, 0xee, sizeof again);
    memset(again + 512, 0, 64); /* 13.7: the header's bits that are not asked for stay */
    catch_call(xsave_insn, again);
    CHECK("XSAVE: XMM registers", memcmp(again + 160, image + 160, 256), 0);
    CHECK("XSAVE: x87 in its initial configuration", *(uint16_t *)again, 0x37f);
    CHECK("XSTATE_BV: SSE is in use", *(uint64_t *)(again + 512) >> 1 & 1, 1);
    *(uint64_t *)(image + 512) = 1ull << 40;
    catch_call(xrstor_insn, image);
    CHECK_CAUGHT("#GP: XRSTOR with an unknown component", GP, 0, xrstor_insn_at);
    *(uint64_t *)(image + 512) = 0;
    *(uint64_t *)(image + 528) = 1;
    catch_call(xrstor_insn, image);
    CHECK_CAUGHT("#GP: XRSTOR with a reserved header byte", GP, 0, xrstor_insn_at);
    *(uint64_t *)(image + 528) = 0;
    catch_call(xrstor_insn, image);
    catch_call(xsave_insn, again);
    CHECK("XRSTOR with XSTATE_BV = 0: XMM are 0",
          caught.vector == NONE && (*(uint64_t *)(again + 512) & 2 ? *(uint64_t *)(again + 160) : 0) == 0, true);
    catch_call(xsave_insn, image + 16);
    CHECK_CAUGHT("#GP: XSAVE misaligned", GP, 0, xsave_insn_at);
    WRITE_REG(cr4, READ_REG(cr4) & ~(uintptr_t)CR4_OSXSAVE);
}

/* ---- CPUID, TSC, flags
 * ------------------------------------------------------------------------------------------------------------- */

CODE(popf_user, "pushq $0x3202\npopfq\npushfq\npop %rax\nint $0x80")
CODE(popf_kernel, "pushq $0x243002\npopfq\npushfq\npop %rax\npushq $2\npopfq")
CODE(cmpxchg16_bad, AT(cmpxchg16_bad) "cmpxchg16b 8(%rdi)")
CODE(rdpmc_bad, "mov $0x12345, %ecx\n" AT(rdpmc_bad) "rdpmc")

static void others(void)
{
    struct cpuid c0 = cpuid(0, 0), c1 = cpuid(1, 0);
    CHECK("CPUID: long mode, as we run in it", cpuid(0x80000001, 0).d >> 29 & 1, 1);
    CHECK("CPUID: FPU, TSC, MSR, PAE, APIC, FXSR, SSE, SSE2",
          ~c1.d & (1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 9 | 1 << 24 | 1 << 25 | 1 << 26), 0);
    CHECK("CPUID: a leaf, twice", cpuid(1, 0).a == c1.a && cpuid(0, 0).b == c0.b, true);
    CHECK("CPUID: APIC ID is the local APIC's", c1.b >> 24, *(volatile uint32_t *)0xfee00020 >> 24);
    CHECK("CPUID: AVX2 only with AVX, AVX only with XSAVE",
          (cpuid(7, 0).b >> 5 & 1) <= (c1.c >> 28 & 1) && (c1.c >> 28 & 1) <= (c1.c >> 26 & 1), true);
    uint64_t last = rdtsc();
    unsigned back = 0;
    for (unsigned n = 0; n < 100000; n++) {
        uint64_t now = rdtsc();
        back += now < last;
        last = now;
    }
    CHECK("RDTSC never goes back", back, 0);
    uint64_t before = rdtsc();
    wrmsr(0x10, 1000);
    CHECK("WRMSR of the TSC", rdtsc() < before || before < 100000000, true);
    catch_user(popf_user, NULL);
    CHECK("POPF at CPL 3 cannot set IF or IOPL", caught.ax & 0x3200, 0);
    __asm__ volatile("call popf_kernel" : "=a"(last) : : "memory", "cc");
    CHECK("POPF at CPL 0 sets IOPL, AC, ID", last & 0x243000, 0x243000);
    catch_call(cmpxchg16_bad, image);
    CHECK_CAUGHT("#GP: CMPXCHG16B misaligned", GP, 0, cmpxchg16_bad_at);
    catch_call(rdpmc_bad, NULL);
    CHECK_CAUGHT("#GP: RDPMC of none", GP, 0, rdpmc_bad_at);
}

/* ---- whole lines: vol. 2, MOVDIR64B, MOVDIRI, SERIALIZE; AMD APM vol. 3, CLZERO, MONITORX ---- */

CODE(movdir64b, "lea 64(%rdi), %rax\n" AT(movdir64b) "movdir64b (%rdi), %rax")
CODE(movdir64b_off, "lea 72(%rdi), %rax\n" AT(movdir64b_off) "movdir64b (%rdi), %rax")
CODE(movdiri, "mov $0x1234, %eax\n" AT(movdiri) "movdiri %rax, 8(%rdi)")
CODE(clear_line, "lea 77(%rdi), %rax\n" AT(clear_line) "clzero")
CODE(watch, "mov %rdi, %rax\nxor %ecx, %ecx\nxor %edx, %edx\nmonitorx\nmwaitx\nserialize\nint $0x80")
CODE(watch_extension, "mov %rdi, %rax\nmov $1, %ecx\n" AT(watch_extension) "monitorx")

static void lines(void)
{
    static uint8_t data[256] __attribute__((aligned(64)));
    for (unsigned n = 0; n < sizeof data; n++)
        data[n] = (uint8_t)(n + 1);
    catch_call(movdir64b, data);
    CHECK("MOVDIR64B copies 64 bytes", caught.vector == NONE && memcmp(data, data + 64, 64) == 0 && data[128] == 129,
          true);
    catch_call(movdir64b_off, data);
    CHECK_CAUGHT("#GP: MOVDIR64B to a line it is not aligned to", GP, 0, movdir64b_off_at);
    CHECK("nothing is stored", data[128], 129);
    catch_user(movdir64b, (void *)0x7ffffffff000ull);
    CHECK_CAUGHT("MOVDIR64B from an unmapped page", PF, 4, movdir64b_at);
    catch_call(movdiri, data);
    CHECK("MOVDIRI", *(uint64_t *)(data + 8), 0x1234);
    catch_call(clear_line, data);
    bool zero = data[63] == 64 && data[128] == 129;
    for (unsigned n = 64; n < 128; n++)
        zero &= !data[n];
    CHECK("CLZERO clears the line that rAX is in", caught.vector == NONE && zero, true);
    catch_user(watch, data);
    CHECK("MONITORX, MWAITX, SERIALIZE at CPL 3", caught.vector, EXIT);
    catch_user(watch_extension, data);
    CHECK_CAUGHT("#GP: MONITORX with an extension", GP, 0, watch_extension_at);
}

void test_main(void)
{
    lines();
    division();
    strings();
    states();
    others();
}
