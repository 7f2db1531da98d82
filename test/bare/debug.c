/* test/bare/debug.c: single step, breakpoints, what holds debug traps and interrupts off, NMI blocking.  Sections:
 * Intel SDM vol. 3.
 */
#include "lib/bare.h"

#define PA(p)    ((uint64_t)(uintptr_t)(p))
#define DR6_INIT 0xffff0ff0ull
enum { BS = 1 << 14, BD = 1 << 13 };

static uint64_t trace[64], trace_dr6[64], trace_flags[64];
static unsigned traced;

static void step_handler(struct frame *f)
{
    if (traced < ARRAY_LEN(trace)) {
        trace[traced] = f->ip;
        trace_dr6[traced] = READ_REG(dr6);
        trace_flags[traced] = f->flags;
    }
    traced++;
    WRITE_REG(dr6, DR6_INIT);
}

/* A fault-like #DB: go on with RF set, as 17.3.1.1 wants. */
static void breakpoint_handler(struct frame *f)
{
    step_handler(f);
    f->flags |= F_RF;
}

static void begin(void (*handler)(struct frame *))
{
    traced = 0;
    memset(trace, 0, sizeof trace);
    on_vector[DB] = handler;
    WRITE_REG(dr6, DR6_INIT);
}

static void end(void)
{
    on_vector[DB] = NULL;
    WRITE_REG(dr7, 0x400);
    WRITE_REG(dr6, DR6_INIT);
}

#define LABELS(...) extern char __VA_ARGS__
__asm__(".pushsection .text\n"
        "step_code:\n"
        "    pushfq\n orl $0x100, (%rsp)\n popfq\n" /* TF: the trap comes after the insn that follows POPF */
        "s1: nop\n"
        "s2: mov $1, %eax\n"
        "s3: push %rax\n"
        "s4: pop %rax\n"
        "s5: jmp s7\n"
        "s6: nop\n"
        "s7: rep lodsb\n" /* three rounds: a trap after each (17.3.1.4) */
        "s8: mov %ss, %eax\n"
        "s9: mov %eax, %ss\n" /* no trap after it (6.8.3) */
        "s10: nop\n"
        "s11: pushfq\n"
        "s12: andl $~0x100, (%rsp)\n"
        "s13: popfq\n" /* TF was set when it began: one more trap */
        "s14: nop\n"
        "    ret\n"
        "step_int: pushfq\n orl $0x100, (%rsp)\n popfq\n"
        "i1: int $0x60\n" /* TF is cleared on entry; no trap before the handler's IRET has run */
        "i2: nop\n"
        "i3: pushfq\n andl $~0x100, (%rsp)\n popfq\n ret\n"
        "step_fault: pushfq\n orl $0x100, (%rsp)\n popfq\n"
        "f1: ud2\n" /* the fault's handler skips it */
        "f2: nop\n"
        "f3: pushfq\n andl $~0x100, (%rsp)\n popfq\n ret\n"
        "step_syscall: ret\n"
        ".popsection\n");
LABELS(s1[], s2[], s3[], s4[], s5[], s6[], s7[], s8[], s9[], s10[], s11[], s12[], s13[], s14[], i1[], i2[], i3[], f1[],
       f2[], f3[]);
void step_code(void *), step_int(void *), step_fault(void *);

static void nothing(struct frame *f)
{
    (void)f;
}

static uint64_t skip_flags;
static void skip_ud2(struct frame *f)
{
    skip_flags = f->flags;
    f->ip += 2;
}

static void single_step(void)
{
    begin(step_handler);
    __asm__ volatile("call step_code" : : "S"(s1), "c"(3) : "rax", "rdx", "memory", "cc");
    static char *const wanted[] = {s2, s3, s4, s5, s7, s7, s7, s8, s9, s11, s12, s13, s14};
    CHECK("single step: number of traps", traced, ARRAY_LEN(wanted));
    unsigned wrong = 0, first = 99;
    for (unsigned n = 0; n < ARRAY_LEN(wanted); n++)
        if (trace[n] != PA(wanted[n])) {
            wrong++;
            if (first == 99)
                first = n;
        }
    CHECK("single step: where (6.8.3: none after MOV SS; 17.3.1.4: one for each round of REP)", wrong, 0);
    if (wrong)
        put("first difference: trap %u at %x wanted %x\n", first, trace[first], PA(wanted[first]));
    CHECK("single step: DR6.BS", trace_dr6[0], DR6_INIT | BS);
    CHECK("single step: TF in the image, RF not", trace_flags[0] & (F_TF | F_RF), F_TF);
    end();

    begin(step_handler);
    on_vector[0x60] = nothing;
    catch_call(step_int, NULL);
    CHECK("single step over INT n: first trap is after the insn behind it (17.3.1.4)", trace[0], PA(i3));
    CHECK("single step: IRET that sets TF: one insn runs before the trap", traced >= 1 && trace[0] == PA(i3), true);
    end();
    on_vector[0x60] = NULL;

    begin(step_handler);
    on_vector[UD] = skip_ud2;
    catch_call(step_fault, NULL);
    CHECK("single step: a faulting insn makes no trap of its own", trace[0], PA(f3));
    CHECK("single step: the fault's image has TF", skip_flags & F_TF, F_TF);
    end();
    on_vector[UD] = NULL;
}

/* ---- breakpoints: 17.2
 * ----------------------------------------------------------------------------------------------- */

static uint8_t watched[64] __attribute__((aligned(64)));

__asm__(".pushsection .text\n"
        "data_code:\n"
        "d1: mov %eax, (%rdi)\n"
        "d2: mov (%rdi), %eax\n"
        "d3: movb %al, 3(%rdi)\n"
        "d4: movb %al, 4(%rdi)\n"
        "d5: mov %rax, -4(%rdi)\n"
        "d6: addl $1, (%rdi)\n"
        "d7: movups (%rdi), %xmm0\n"
        "d8: nop\n ret\n"
        "exec_code:\n"
        "e1: nop\n"
        "e2: nop\n"
        "e3: nop\n"
        "e4: loop e3\n"
        "e5: ret\n"
        "stos_code:\n"
        "    mov $16, %ecx\n"
        "t1: rep stosb\n"
        "t2: nop\n ret\n"
        "io_code:\n"
        "    mov $0x81, %edx\n"
        "o1: in (%dx), %al\n"
        "o2: in $0x80, %al\n"
        "o3: nop\n ret\n"
        "ss_code:\n"
        "    mov %ss, (%rdi)\n"
        "v1: nop\n"
        "v2: mov (%rdi), %ss\n"
        "v3: nop\n"
        "v4: nop\n ret\n"
        "ss_int1_code:\n"
        "    mov %ss, (%rdi)\n"
        "    mov (%rdi), %ss\n"
        "    .byte 0xf1\n"
        "x1: nop\n ret\n"
        "gd_code:\n"
        "g1: mov %dr0, %rax\n"
        "    ret\n"
        ".popsection\n");
LABELS(d1[], d2[], d3[], d4[], d5[], d6[], d7[], d8[], e1[], e2[], e3[], e4[], e5[], t1[], t2[], o1[], o2[], o3[], v1[],
       v2[], v3[], v4[], g1[], x1[]);
void data_code(void *), exec_code(void *), stos_code(void *), io_code(void *), ss_code(void *), gd_code(void *),
    ss_int1_code(void *);

/* Breakpoint n: type 0 execute, 1 write, 2 I/O, 3 read or write; length 1, 2, 4 or 8. */
static uint64_t dr7(unsigned n, unsigned type, unsigned length)
{
    unsigned len = length == 8 ? 2 : length - 1;
    return 0x400 | 2ull << (2 * n) | (uint64_t)(type | len << 2) << (16 + 4 * n);
}

static void breakpoints(void)
{
    static char *const writes[] = {d2, d4, d6, d7}, *const all[] = {d2, d3, d4, d6, d7, d8};
    unsigned wrong = 0;
    begin(step_handler);
    WRITE_REG(dr0, PA(watched) + 8);
    WRITE_REG(dr7, dr7(0, 1, 4));
    CHECK("DR7 reads back", READ_REG(dr7), dr7(0, 1, 4));
    data_code(watched + 8);
    for (unsigned n = 0; n < ARRAY_LEN(writes); n++)
        wrong += trace[n] != PA(writes[n]);
    CHECK("write breakpoint of 4 bytes: number of traps", traced, ARRAY_LEN(writes));
    CHECK("write breakpoint: traps after the insn", wrong, 0);
    CHECK("write breakpoint: DR6.B0", trace_dr6[0], DR6_INIT | 1);
    end();

    begin(step_handler);
    WRITE_REG(dr3, PA(watched) + 8);
    WRITE_REG(dr7, dr7(3, 3, 4));
    data_code(watched + 8);
    for (unsigned n = wrong = 0; n < ARRAY_LEN(all); n++)
        wrong += trace[n] != PA(all[n]);
    CHECK("read or write breakpoint: number of traps", traced, ARRAY_LEN(all));
    CHECK("read or write breakpoint: where", wrong, 0);
    CHECK("read or write breakpoint: DR6.B3", trace_dr6[0], DR6_INIT | 8);
    end();

    begin(step_handler);
    WRITE_REG(dr1, PA(watched) + 8);
    WRITE_REG(dr7, dr7(1, 1, 1));
    data_code(watched + 5); /* d1 writes 5..8, d3 writes 8, d5 writes 1..8, d6 5..8; d4 writes 9 */
    CHECK("write breakpoint of 1 byte: overlapping stores", traced, 4);
    CHECK("write breakpoint of 1 byte: first", trace[0], PA(d2));
    end();

    begin(breakpoint_handler);
    WRITE_REG(dr0, PA(e2));
    WRITE_REG(dr2, PA(e3));
    WRITE_REG(dr7, dr7(0, 0, 1) | dr7(2, 0, 1));
    __asm__ volatile("call exec_code" : : "c"(3) : "memory");
    CHECK("code breakpoints: faults (17.3.1.1)", traced, 4);
    CHECK("code breakpoint: before the insn", trace[0], PA(e2));
    CHECK("code breakpoint: DR6.B0", trace_dr6[0], DR6_INIT | 1);
    CHECK("code breakpoint: second", trace[1] == PA(e3) && trace[3] == PA(e3), true);
    CHECK("code breakpoint: DR6.B2", trace_dr6[1], DR6_INIT | 4);
    end();

    begin(step_handler); /* a breakpoint on the insn whose page watch is also the stack's */
    WRITE_REG(dr0, PA(watched) + 5);
    WRITE_REG(dr7, dr7(0, 1, 1));
    __asm__ volatile("call stos_code" : : "D"(watched), "a"(1) : "rcx", "memory");
    CHECK("write breakpoint in REP STOSB: one trap", traced, 1);
    CHECK("write breakpoint in REP STOSB: after that round (17.3.1.2)", trace[0], PA(t1));
    end();

    begin(step_handler);
    WRITE_REG(cr4, READ_REG(cr4) | CR4_DE);
    WRITE_REG(dr0, 0x80);
    WRITE_REG(dr7, dr7(0, 2, 1));
    io_code(NULL);
    CHECK("I/O breakpoint: one trap", traced, 1);
    CHECK("I/O breakpoint: after the insn (17.3.1.3)", trace[0], PA(o3));
    WRITE_REG(cr4, READ_REG(cr4) & ~(uintptr_t)CR4_DE);
    end();

    begin(step_handler); /* 6.8.3: what MOV SS hits waits for the end of the next insn */
    WRITE_REG(dr0, PA(watched));
    WRITE_REG(dr7, dr7(0, 3, 2));
    ss_code(watched);
    CHECK("breakpoint hit by MOV SS: traps", traced, 2);
    CHECK("breakpoint hit by MOV SS: after the insn behind it (6.8.3)", trace[1], PA(v4));
    end();

    begin(step_handler);
    WRITE_REG(dr0, PA(watched));
    WRITE_REG(dr7, dr7(0, 3, 2));
    ss_int1_code(watched);
    CHECK("breakpoint hit by MOV SS before INT1: one #DB for both", traced, 2);
    CHECK("it is INT1's, and DR6 tells of the breakpoint", trace[1] == PA(x1) && trace_dr6[1] == (DR6_INIT | 1), true);
    end();

    begin(breakpoint_handler);
    WRITE_REG(dr0, PA(e2));
    WRITE_REG(dr7, dr7(0, 0, 1));
    WRITE_REG(dr6, DR6_INIT | BS | 8);
    __asm__ volatile("call exec_code" : : "c"(1) : "memory");
    CHECK("DR6: B0 to B3 are written anew, BS stays (17.2.3; AMD APM vol. 2, 13.1.1.3)", trace_dr6[0],
          DR6_INIT | BS | 1);
    end();

    begin(step_handler); /* disabled: nothing */
    WRITE_REG(dr0, PA(watched) + 8);
    WRITE_REG(dr7, dr7(0, 1, 4) & ~3ull);
    data_code(watched + 8);
    CHECK("a disabled breakpoint", traced, 0);
    end();

    begin(step_handler); /* L and G do the same; both kinds at once, with a step */
    WRITE_REG(dr0, PA(watched) + 8);
    WRITE_REG(dr7, (dr7(0, 1, 4) & ~3ull) | 1);
    data_code(watched + 8);
    CHECK("L0 enables as G0 does", traced, 4);
    end();

    WRITE_REG(dr7, 0x400 | BD);
    catch_call(gd_code, NULL); /* 17.2.4 */
    CHECK_CAUGHT("GD: MOV from DR0 is #DB, before it runs", DB, 0, g1);
    CHECK("GD: DR6.BD", READ_REG(dr6), DR6_INIT | BD);
    CHECK("GD: cleared on entry", READ_REG(dr7), 0x400);
    end();
    WRITE_REG(dr4, 0xffffffff); /* 17.2.2: aliases of DR6 without DE */
    CHECK("DR4 is DR6; reserved bits of DR6 read back fixed", READ_REG(dr6) & 0xffff1ff0, 0xffff0ff0);
    end();
}

CODE(read_dr4, AT(read_dr4) "mov %dr4, %rax")
static void dr4(void)
{
    WRITE_REG(cr4, READ_REG(cr4) | CR4_DE);
    catch_call(read_dr4, NULL);
    CHECK_CAUGHT("#UD: DR4 with CR4.DE", UD, 0, read_dr4_at);
    WRITE_REG(cr4, READ_REG(cr4) & ~(uintptr_t)CR4_DE);
}

/* ---- at CPL 3, and into the kernel
 * ------------------------------------------------------------------------------------------ */

CODE(user_step, "pushfq\norl $0x100, (%rsp)\npopfq\n" NEXT(user_step) "nop\nsyscall\nuser_step_back: nop\nint $0x80")
CODE(syscall_entry, "nop\nsysretq")
CODE(user_store, "mov %rax, (%rdi)" NEXT(user_store) "nop\nint $0x80")
extern char user_step_back[];

static void user_debugging(void)
{
    wrmsr(EFER, rdmsr(EFER) | 1);
    wrmsr(0xc0000081, (uint64_t)KCODE << 32 | (uint64_t)(USER32 & ~3u) << 48);
    wrmsr(0xc0000082, PA(syscall_entry));
    wrmsr(0xc0000084, F_TF);
    begin(step_handler);
    catch_user(user_step, NULL);
    CHECK("single step at CPL 3: first trap", trace[0], PA(user_step_next) + 1);
    CHECK("single step: SYSCALL with TF in FMASK: none in the kernel; SYSRET brings TF back and traps at once",
          trace[1], PA(user_step_back));
    end();
    begin(step_handler);
    WRITE_REG(dr2, PA(watched) + 16);
    WRITE_REG(dr7, dr7(2, 1, 8));
    catch_user(user_store, watched + 23);
    CHECK("write breakpoint of 8 bytes at CPL 3", traced == 1 && trace[0] == PA(user_store_next), true);
    catch_user(user_store, watched + 24);
    CHECK("the byte behind it is not watched", traced, 1);
    end();
}

/* ---- RF, the interrupt shadow, NMI: 6.7, 6.8
 * ---------------------------------------------------------------------------- */

#define LAPIC ((volatile uint32_t *)0xfee00000)
enum { SPURIOUS = 0xf0 / 4, ICR_LOW = 0x300 / 4, ICR_HIGH = 0x310 / 4, EOI = 0xb0 / 4 };

static uint64_t arrived_at[8];
static unsigned arrived;
static void arrive(struct frame *f)
{
    if (arrived < ARRAY_LEN(arrived_at))
        arrived_at[arrived] = f->ip;
    arrived++;
    LAPIC[EOI] = 0;
}

static void self_ipi(unsigned vector)
{
    LAPIC[ICR_HIGH] = 0;
    LAPIC[ICR_LOW] = 0x40000 | vector;
}

__asm__(".pushsection .text\n"
        "sti_code: sti\n"
        "n1: nop\n"
        "n2: nop\n cli\n ret\n"
        "sti_cli: sti\n cli\n nop\n ret\n"
        "sti_sti: sti\n"
        "m1: sti\n"
        "m2: nop\n"
        "m3: cli\n ret\n"
        "sti_hlt: sti\n"
        "    hlt\n"
        "h1: cli\n ret\n"
        "sti_movss: mov %ss, %eax\n sti\n"
        "    mov %eax, %ss\n"
        "p1: nop\n"
        "p2: nop\n cli\n ret\n"
        "popf_code: pushfq\n orl $0x200, (%rsp)\n popfq\n" /* POPF makes no shadow */
        "q1: nop\n cli\n ret\n"
        "sti_avx: sti\n vmovaps %ymm0, %ymm1\n"
        "u1: nop\n cli\n ret\n"
        "   .balign 4096\n .skip 4095, 0x90\n"
        "sti_page_avx: sti\n"
        "   vmovaps %ymm0, %ymm1\n"
        "u2: nop\n cli\n ret\n"
        "step_avx: pushfq\n orl $0x100, (%rsp)\n popfq\n vmovaps %ymm0, %ymm1\n"
        "u3: pushfq\n andl $~0x100, (%rsp)\n popfq\n ret\n"
        "sti_load: sti\n"
        "l1: testb $0, (%rdi)\n"
        "l2: nop\n cli\n ret\n"
        "movss_only: mov %ss, %eax\n pushfq\n orl $0x200, (%rsp)\n cli\n"
        "    popfq\n"
        "r1: mov %eax, %ss\n"
        "r2: nop\n cli\n ret\n"
        ".popsection\n");
LABELS(l1[], n1[], n2[], m1[], m2[], m3[], h1[], p1[], p2[], q1[], r1[], r2[], u1[], u2[], u3[]);
void sti_code(void *), sti_cli(void *), sti_sti(void *), sti_hlt(void *), sti_movss(void *), popf_code(void *),
    movss_only(void *), sti_avx(void *), sti_page_avx(void *), step_avx(void *), sti_load(void *);

/* An AVX insn is held back when it is the first in its mode, which a change of CR0.TS makes. */
static void first_avx(void)
{
    struct {
        const char *name;
        void (*fn)(void *);
        char *at;
    } list[] = {
        {"STI: an AVX insn runs before the interrupt", sti_avx, u1},
        {"the same, on the next page", sti_page_avx, u2},
    };
    if (!(cpuid(1, 0).c >> 28 & 1))
        return;
    WRITE_REG(cr4, READ_REG(cr4) | CR4_OSFXSR | CR4_OSXSAVE);
    __asm__ volatile("xsetbv" : : "c"(0), "a"(7), "d"(0));
    for (unsigned n = 0; n < 2 * ARRAY_LEN(list); n++) {
        WRITE_REG(cr0, READ_REG(cr0) | CR0_TS);
        WRITE_REG(cr0, READ_REG(cr0) & ~(uint64_t)CR0_TS);
        arrived = 0;
        self_ipi(0x61);
        list[n / 2].fn(NULL);
        CHECK(list[n / 2].name, arrived == 1 ? arrived_at[0] : arrived, PA(list[n / 2].at));
    }
    begin(step_handler);
    WRITE_REG(cr0, READ_REG(cr0) | CR0_TS);
    WRITE_REG(cr0, READ_REG(cr0) & ~(uint64_t)CR0_TS);
    step_avx(NULL);
    CHECK("single step: one trap behind an AVX insn", trace[0], PA(u3));
    end();
}

static void shadow(void)
{
    wrmsr(0x1b, rdmsr(0x1b) | 0x800);
    LAPIC[SPURIOUS] = 0x1ff;
    on_vector[0x61] = arrive;
    static const struct {
        const char *name;
        void (*fn)(void *);
        char *at;
    } list[] = {
        {"STI: one insn runs before the interrupt (6.8.1; vol. 2, STI)", sti_code, n2},
        {"STI STI: the second makes no new shadow", sti_sti, m2},
        {"STI HLT: the interrupt wakes HLT, returns behind it", sti_hlt, h1},
        {"POPF: the interrupt comes at once", popf_code, q1},
    };
    for (unsigned n = 0; n < ARRAY_LEN(list); n++) {
        arrived = 0;
        self_ipi(0x61);
        list[n].fn(NULL);
        CHECK(list[n].name, arrived == 1 ? arrived_at[0] : arrived, PA(list[n].at));
    }
    unsigned early = 0; /* the load goes to another page each time */
    for (uint64_t n = 0; n < 20000; n++) {
        arrived = 0;
        self_ipi(0x61);
        sti_load((void *)(0x100000 + n % 256 * 4096));
        early += arrived != 1 || arrived_at[0] == PA(l1);
    }
    CHECK("STI, load: never between them", early, 0);
    arrived = 0;
    self_ipi(0x61);
    sti_cli(NULL);
    CHECK("STI CLI: no interrupt", arrived, 0);
    sti_code(NULL);
    CHECK("it is pending still", arrived, 1);
    arrived = 0;
    self_ipi(0x61);
    sti_movss(NULL); /* 6.8.3 lets the processor hold for MOV SS behind STI, or not */
    CHECK("STI, MOV SS: behind either", arrived == 1 && (arrived_at[0] == PA(p1) || arrived_at[0] == PA(p2)), true);
    first_avx();
    on_vector[0x61] = NULL;
}

static unsigned nmis, nested_at_most, depth;
static uint64_t nmi_seen_inside;
static void nmi_handler(struct frame *f)
{
    (void)f;
    nmis++;
    if (++depth > nested_at_most)
        nested_at_most = depth;
    if (nmis == 1) { /* another one: held until IRET (6.7.1) */
        LAPIC[ICR_LOW] = 0x44400;
        for (volatile unsigned n = 0; n < 1000; n++)
            ;
        nmi_seen_inside = nmis;
    }
    depth--;
}

CODE(send_nmi, "mov $0xfee00300, %edx; movl $0x44400, (%rdx)\nnop\nnop\nnop")
static void nmi(void)
{
    on_vector[NMI] = nmi_handler;
    send_nmi(NULL);
    for (volatile unsigned n = 0; n < 1000; n++)
        ;
    CHECK("NMI with IF = 0", nmis >= 1, true);
    CHECK("NMI in an NMI handler waits", nmi_seen_inside, 1);
    CHECK("and comes after its IRET", nmis, 2);
    CHECK("NMIs never nested", nested_at_most, 1);
    on_vector[NMI] = NULL;
}

void test_main(void)
{
    single_step();
    breakpoints();
    dr4();
    user_debugging();
    shadow();
    nmi();
}
