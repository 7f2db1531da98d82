/* test/bare/segments32.c: protected mode without paging: limits and types of segments, gates and stacks, LDT, asking
 * about descriptors, 16-bit code, task switches.  Sections: Intel SDM vol. 3 unless named otherwise.
 */
#include "lib/bare.h"

#define PA(p) ((uintptr_t)(p))
enum { A = FREE, B = FREE + 8, C = FREE + 16, D = FREE + 24 };

/* ---- limits and types: 5.3, 5.5
 * -------------------------------------------------------------------------------------------- */

struct access {
    unsigned selector, offset;
};
#define ACCESS(name, insn)                                                                                             \
    CODE(name, "mov 4(%esp), %eax\nmov 4(%eax), %ecx\nmov (%eax), %fs\nxor %eax, %eax\n" AT(name) insn)
ACCESS(fs_load1, "movb %fs:(%ecx), %al")
ACCESS(fs_load4, "movl %fs:(%ecx), %eax")
ACCESS(fs_store1, "movb %al, %fs:(%ecx)")
ACCESS(fs_store4, "movl %eax, %fs:(%ecx)")
ACCESS(fs_rmw, "incb %fs:(%ecx)")
ACCESS(fs_movups, "movups %fs:(%ecx), %xmm0")
CODE(ss_load, "mov %ss, %edx\nmov %esp, %ebx\nmov 4(%esp), %eax\nmov 4(%eax), %ebp\nmov (%eax), %ss\n" AT(
                  ss_load) "movl (%ebp), %eax\nmov %edx, %ss\nmov %ebx, %esp")
CODE(ss_push, "mov %ss, %edx\nmov %esp, %ebx\nmov 4(%esp), %eax\nmov (%eax), %ss\nmov 4(%eax), %esp\n" AT(
                  ss_push) "push %eax\nmov %edx, %ss\nmov %ebx, %esp")
CODE(cs_load, "mov 4(%esp), %eax\nmov 4(%eax), %ecx\n" AT(cs_load) "movl %cs:(%ecx), %eax")
CODE(cs_store, "mov 4(%esp), %eax\nmov 4(%eax), %ecx\n" AT(cs_store) "movl %eax, %cs:(%ecx)")

static void expect(const char *name, void (*fn)(void *), char *at, unsigned selector, unsigned offset, unsigned vector)
{
    struct access a = {selector, offset};
    catch_call(fn, &a);
    if (vector == NONE)
        CHECK(name, caught.vector, NONE);
    else
        CHECK_CAUGHT(name, vector, 0, at);
}
#define EXPECT(name, fn, selector, offset, vector) expect(name, fn, fn##_at, selector, offset, vector)

static uint8_t area[8192] __attribute__((aligned(4096)));

static void limits(void)
{
    gdt[A / 8] = descriptor(PA(area), 99, 0x93, 4); /* data, 100 bytes */
    EXPECT("last byte inside the limit", fs_load1, A, 99, NONE);
    EXPECT("#GP: first byte beyond", fs_load1, A, 100, GP);
    EXPECT("last 4 bytes inside", fs_load4, A, 96, NONE);
    EXPECT("#GP: 4 bytes, one beyond", fs_load4, A, 97, GP);
    EXPECT("#GP: store beyond", fs_store4, A, 97, GP);
    EXPECT("#GP: read-modify-write beyond", fs_rmw, A, 100, GP);
    EXPECT("#GP: 16 bytes, one beyond", fs_movups, A, 85, GP);
    EXPECT("16 bytes inside", fs_movups, A, 84, NONE);
    EXPECT("#GP: offset FFFFFFFFH", fs_load4, A, 0xffffffff, GP);
    area[42] = 0x77;
    EXPECT("base is added", fs_load1, A, 42, NONE);
    gdt[A / 8] = descriptor(PA(area), 99, 0x91, 4); /* read-only */
    EXPECT("read-only: read", fs_load1, A, 0, NONE);
    EXPECT("#GP: read-only: write", fs_store1, A, 0, GP);
    EXPECT("#GP: read-only: read-modify-write", fs_rmw, A, 0, GP);
    gdt[A / 8] = descriptor(PA(area), 99, 0x97, 4); /* expand-down: offsets above 99 */
    EXPECT("#GP: expand-down: at the limit", fs_load1, A, 99, GP);
    EXPECT("expand-down: above", fs_load1, A, 100, NONE);
    EXPECT("#GP: expand-down: 4 bytes across 4 GB", fs_load4, A, 0xfffffffd, GP);
    gdt[A / 8] = descriptor(PA(area), 99, 0x97, 0); /* B = 0: up to FFFFH */
    EXPECT("expand-down, B = 0: last byte", fs_load1, A, 0xffff, NONE);
    EXPECT("#GP: expand-down, B = 0: beyond", fs_load1, A, 0x10000, GP);
    EXPECT("#GP: expand-down, B = 0: 4 bytes across", fs_load4, A, 0xfffd, GP);
    gdt[A / 8] = descriptor(PA(area), 0, 0x93, 12); /* granularity: limit 0 is 4 KB */
    EXPECT("granularity: byte 4095", fs_load1, A, 4095, NONE);
    EXPECT("#GP: granularity: byte 4096", fs_load1, A, 4096, GP);
    gdt[A / 8] = descriptor(PA(area), 99, 0x9b, 4); /* readable code */
    EXPECT("readable code: read", fs_load1, A, 0, NONE);
    EXPECT("#GP: code: write", fs_store1, A, 0, GP);
    EXPECT("#GP: null FS", fs_load1, 0, 0, GP);
    EXPECT("#GP: null FS with RPL", fs_load1, 3, 0, GP);
    EXPECT("CS: read", cs_load, 0, PA(area), NONE);
    EXPECT("#GP: CS: write", cs_store, 0, PA(area), GP);
    /* SS: #SS(0), while delivering on that stack needs a good one: limit below ESP's frame only for reads far away */
    gdt[A / 8] = descriptor(0, 0x7ff, 0x93, 12); /* 8 MB: holds our stack */
    EXPECT("#SS: beyond SS's limit", ss_load, A, 0x800000, SS);
    EXPECT("#SS: across SS's limit", ss_load, A, 0x7ffffd, SS);
    EXPECT("inside SS's limit", ss_load, A, 0x7ffffc, NONE);
    gdt[A / 8] = descriptor(0xfffff000, 0xfffff, 0x93, 12); /* base + offset wraps at 4 GB */
    EXPECT("linear addresses wrap at 4 GB", fs_load1, A, 0x1000 + PA(area) + 42, NONE);
    struct access a = {A, 0x1000 + PA(area) + 42};
    uint32_t v;
    __asm__ volatile("mov %1, %%fs\nmovzbl %%fs:(%2), %0" : "=r"(v) : "r"(a.selector), "r"(a.offset));
    CHECK("and read what is there", v, 0x77);
}

/* ---- the insn pointer against CS's limit: 5.3
 * --------------------------------------------------------------------------------- */

CODE(far_to, "mov 4(%esp), %eax\npushl (%eax)\npushl 4(%eax)\n" AT(far_to) "lret")
CODE(jmp_far_to, "mov 4(%esp), %eax\n" AT(jmp_far_to) "ljmp *(%eax)")
CODE(loop_far, "mov 4(%esp), %eax\nmov (%eax), %ecx\nmov 4(%eax), %eax\npushl (%eax)\npushl 4(%eax)\nlret")
static void loop_from(uint32_t count, struct access *a)
{
    struct {
        uint32_t count;
        struct access *to;
    } arg = {count, a};
    catch_call(loop_far, &arg);
}

static void code_limit(void)
{
    memset(area, 0x90, 256);
    gdt[A / 8] = descriptor(PA(area), 99, 0x9b, 4);
    struct access a = {A, 100};
    catch_call(far_to, &a);
    CHECK_CAUGHT("#GP: far RET beyond CS's limit", GP, 0, far_to_at);
    a.offset = 90;
    catch_call(far_to, &a);
    CHECK_CAUGHT("#GP: running past CS's limit", GP, 0, 100);
    CHECK("its CS", caught.cs, A);
    area[98] = 0xb8; /* an insn across the limit */
    catch_call(far_to, &a);
    CHECK_CAUGHT("#GP: an insn across CS's limit", GP, 0, 98);
    area[98] = 0xeb; /* jmp beyond */
    area[99] = 0x10;
    catch_call(far_to, &a);
    CHECK_CAUGHT("#GP: JMP beyond CS's limit (vol. 2: fault of the JMP)", GP, 0, 98);
    area[98] = 0xe2; /* loop beyond: ECX as it was (vol. 2, LOOPcc) */
    loop_from(5, &a);
    CHECK_CAUGHT("#GP: LOOP beyond CS's limit, of the LOOP", GP, 0, 98);
    CHECK("#GP: LOOP: ECX is not counted down", caught.cx, 5);
    area[97] = 0x67; /* the same by CX */
    area[98] = 0xe2;
    loop_from(0x70000, &a);
    CHECK_CAUGHT("#GP: LOOP by CX", GP, 0, 97);
    CHECK("#GP: LOOP by CX: ECX is not counted down", caught.cx, 0x70000);
    area[97] = 0x90;
    area[98] = 0xe3; /* jecxz beyond */
    loop_from(0, &a);
    CHECK_CAUGHT("#GP: JECXZ beyond CS's limit, of the JECXZ", GP, 0, 98);
    area[96] = 0xe2; /* a loop that ends: counted down, on to the insn behind */
    area[97] = 0x10;
    area[98] = 0xcc;
    loop_from(1, &a);
    CHECK("LOOP that is not taken does not look at its target", caught.vector << 8 | caught.cx, BP << 8);
    area[96] = 0xcd; /* int $0x80 that ends at the limit's end */
    area[97] = 0x80;
    catch_call(far_to, &a);
    CHECK_CAUGHT("an insn before the limit", EXIT, 0, 98);
}

/* ---- 16-bit protected code: vol. 1, 3.3.5
 * ------------------------------------------------------------------------------------- */

__asm__(".pushsection .text\n.code16\n"
        "code16_begin:\n"
        "    mov $0x1234, %ax\n" /* B8 34 12 */
        "    mov $0xffff, %bx\n"
        "    inc %bx\n" /* 16 bits */
        "    pushw %ax\n"
        "    popw %cx\n"
        "    addr32 movl (%esi), %edx\n"
        "    int $0x80\n"
        "code16_end:\n"
        ".code32\n.popsection\n");
extern char code16_begin[], code16_end[];
CODE(run16, "mov 4(%esp), %eax\nmov $-1, %ebx\nmov $-1, %ecx\nmov 8(%eax), %esi\nljmp *(%eax)")

static void code16(void)
{
    gdt[A / 8] = descriptor(PA(code16_begin), 0xffff, 0x9b, 0);
    static uint32_t value = 0xcafebabe;
    struct {
        uint32_t offset, selector, value;
    } a = {0, A, PA(&value)};
    catch_call(run16, &a);
    CHECK_CAUGHT("16-bit code runs", EXIT, 0, code16_end - code16_begin);
    CHECK("16-bit operations keep the upper half", caught.bx, 0xffff0000);
    CHECK("16-bit push and pop", caught.cx, 0xffff1234);
    CHECK("prefixes give 32-bit operands and addresses", caught.dx, 0xcafebabe);
    CHECK("CS pushed", caught.cs, A);
}

/* ---- gates to CPL 0 with parameters: 5.8.5
 * --------------------------------------------------------------------------------------- */

static struct {
    uint32_t offset;
    uint16_t selector;
} __attribute__((packed)) far_gate = {0, B | 3};
extern char gate_entry[];
CODE(call_gate, "mov 4(%esp), %eax\npush $0x11\npush $0x22\npush $0x33\n" AT(call_gate) "lcall *(%eax)" NEXT(
                    call_gate) "int $0x80")
__asm__(".pushsection .text\ngate_entry: int $0x80\ngate_ret: mov %cs, %ebx\n lret $12\n.popsection\n");
extern char gate_ret[];

static void call_gates(void)
{
    gdt[B / 8] =
        (PA(gate_entry) & 0xffff) | KCODE << 16 | (uint64_t)(0xec00 | 3) << 32 | (uint64_t)(PA(gate_entry) >> 16) << 48;
    catch_user(call_gate, &far_gate);
    CHECK_CAUGHT("32-bit call gate", EXIT, 0, gate_entry + 2);
    uint32_t *sp = (uint32_t *)(caught_at + 16); /* same level: nothing but error, EIP, CS, EFLAGS was pushed */
    CHECK("stack: EIP, CS", sp[0] == PA(call_gate_next) && sp[1] == USER32, true);
    CHECK("stack: three parameters", sp[2] == 0x33 && sp[3] == 0x22 && sp[4] == 0x11, true);
    CHECK("stack: ESP, SS", sp[5] == PA(user_stack_top) - 64 - 12 && sp[6] == USERDS, true);
    CHECK("stack: from TSS.ESP0", PA(sp + 7), PA(kernel_stack_top));
    gdt[B / 8] =
        (PA(gate_ret) & 0xffff) | KCODE << 16 | (uint64_t)(0xec00 | 3) << 32 | (uint64_t)(PA(gate_ret) >> 16) << 48;
    catch_user(call_gate, &far_gate);
    CHECK_CAUGHT("32-bit call gate and RET 12", EXIT, 0, call_gate_next + 2);
    CHECK("parameters released from both stacks", caught.sp, PA(user_stack_top) - 64);
    CHECK("it was CPL 0", caught.bx, KCODE);
}

/* ---- asking: LAR, LSL, VERR, VERW, ARPL: vol. 2
 * -------------------------------------------------------------------------------------- */

static uint32_t lar(unsigned selector)
{
    uint32_t v = 0xdead;
    bool ok;
    __asm__("lar %2, %0\nsetz %b1" : "+r"(v), "=q"(ok) : "r"(selector) : "cc");
    return ok ? v : 0xdead;
}

static uint32_t lsl(unsigned selector)
{
    uint32_t v = 0xdead;
    bool ok;
    __asm__("lsl %2, %0\nsetz %b1" : "+r"(v), "=q"(ok) : "r"(selector) : "cc");
    return ok ? v : 0xdead;
}

static bool verr(unsigned selector)
{
    bool ok;
    __asm__("verr %w1\nsetz %0" : "=q"(ok) : "r"(selector) : "cc");
    return ok;
}

static bool verw(unsigned selector)
{
    bool ok;
    __asm__("verw %w1\nsetz %0" : "=q"(ok) : "r"(selector) : "cc");
    return ok;
}

static void asking(void)
{
    gdt[A / 8] = descriptor(0, 0x123, 0xf1, 4); /* read-only, DPL 3 */
    gdt[C / 8] = descriptor(0, 0x123, 0x99, 4); /* execute-only */
    gdt[D / 8] = descriptor(0, 0x123, 0x8e, 0); /* interrupt gate: not a type LAR knows */
    CHECK("LAR", lar(KDATA) & 0xf0ff00, 0xc09300);
    CHECK("LSL: bytes", lsl(KDATA), 0xffffffff);
    CHECK("LAR of a TSS", lar(TSS) & 0xff00, 0x8b00);
    CHECK("LSL of a TSS", lsl(TSS), sizeof tss32 - 1);
    CHECK("LAR of a call gate", lar(B) & 0xff00, 0xec00);
    CHECK("LSL of a call gate: none", lsl(B), 0xdead);
    CHECK("LAR of an interrupt gate: none", lar(D), 0xdead);
    CHECK("LAR with an RPL above DPL: none", lar(KDATA | 3), 0xdead);
    CHECK("LAR of null, of what is beyond", lar(0) == 0xdead && lar(GDT_ENTRIES * 8) == 0xdead, true);
    CHECK("VERR, VERW of data", verr(KDATA) && verw(KDATA), true);
    CHECK("VERR, VERW of read-only data", verr(A | 3) && !verw(A | 3), true);
    CHECK("VERR, VERW of code", verr(KCODE) && !verw(KCODE), true);
    CHECK("VERR of execute-only code", verr(C), false);
    CHECK("VERR of a system segment", verr(TSS), false);
    uint16_t s = 0x50;
    bool z;
    __asm__("arpl %w2, %0\nsetz %1" : "+r"(s), "=q"(z) : "r"(0x1b) : "cc");
    CHECK("ARPL raises RPL", s == 0x53 && z, true);
    __asm__("arpl %w2, %0\nsetz %1" : "+r"(s), "=q"(z) : "r"(0x19) : "cc");
    CHECK("ARPL leaves a higher RPL", s == 0x53 && !z, true);
}

/* ---- LDT: 3.5.1, vol. 2 LLDT
 * -------------------------------------------------------------------------------------------------------- */

static uint64_t ldt[4];
CODE(load_fs, "mov 4(%esp), %eax\n" AT(load_fs) "mov %eax, %fs")
CODE(do_lldt, "mov 4(%esp), %eax\n" AT(do_lldt) "lldt %ax")
CODE(do_ltr, "mov 4(%esp), %eax\n" AT(do_ltr) "ltr %ax")

static void ldts(void)
{
    ldt[1] = descriptor(PA(area), 99, 0x92, 4);
    gdt[A / 8] = descriptor(PA(ldt), sizeof ldt - 1, 0x82, 0);
    catch_call(do_lldt, (void *)A);
    CHECK("LLDT", caught.vector, NONE);
    catch_call(load_fs, (void *)0xc);
    CHECK("a segment of the LDT", caught.vector, NONE);
    CHECK("its accessed bit", ldt[1] >> 40 & 1, 1);
    catch_call(load_fs, (void *)0x24);
    CHECK_CAUGHT("#GP: beyond the LDT", GP, 0x24, load_fs_at);
    catch_call(do_lldt, (void *)KDATA);
    CHECK_CAUGHT("#GP: LLDT of data", GP, KDATA, do_lldt_at);
    catch_call(do_lldt, (void *)0xc);
    CHECK_CAUGHT("#GP: LLDT of an LDT selector", GP, 0xc, do_lldt_at);
    gdt[A / 8] = descriptor(PA(ldt), sizeof ldt - 1, 0x02, 0);
    catch_call(do_lldt, (void *)A);
    CHECK_CAUGHT("#NP: LLDT not present", NP, A, do_lldt_at);
    catch_call(do_ltr, (void *)TSS);
    CHECK_CAUGHT("#GP: LTR of a busy TSS", GP, TSS, do_ltr_at);
    catch_call(do_ltr, (void *)0);
    CHECK_CAUGHT("#GP: LTR of null", GP, 0, do_ltr_at);
    __asm__ volatile("lldt %w0" : : "r"(0));
}

/* ---- exceptions that only 32-bit code has
 * -------------------------------------------------------------------------------------------- */

CODE(bound32,
     "sub $8, %esp\nmovl $-5, (%esp)\nmovl $5, 4(%esp)\nmov $6, %eax\n" AT(bound32) "bound %eax, (%esp)\nadd $8, %esp")
CODE(bound_ok, "sub $8, %esp\nmovl $-5, (%esp)\nmovl $5, 4(%esp)\nmov $-5, %eax\nbound %eax, (%esp)\nmov $5, "
               "%eax\nbound %eax, (%esp)\nadd $8, %esp")
CODE(into32, "mov $0x80000000, %eax\ndec %eax\ninto" NEXT(into32) "nop")
CODE(into_not, "xor %eax, %eax\ninto")
CODE(int3_user, "int3" NEXT(int3_user) "nop")
CODE(syscall32, AT(syscall32) "syscall")
CODE(aam0, AT(aam0) "aam $0")
CODE(push_cs_pop, "push %cs\npop %eax\npush %es\npop %es")

static void only32(void)
{
    catch_call(bound32, NULL);
    CHECK_CAUGHT("#BR", BR, 0, bound32_at);
    catch_call(bound_ok, NULL);
    CHECK("BOUND at both ends", caught.vector, NONE);
    catch_user(into32, NULL);
    CHECK_CAUGHT("#OF at CPL 3 (trap)", OF, 0, into32_next);
    catch_call(into_not, NULL);
    CHECK("INTO without OF", caught.vector, NONE);
    catch_user(int3_user, NULL);
    CHECK_CAUGHT("#BP at CPL 3", BP, 0, int3_user_next);
    CHECK("pushed SS, ESP", caught.ss == USERDS && caught.sp == PA(user_stack_top) - 64, true);
    catch_call(syscall32, NULL);
    CHECK_CAUGHT("#UD: SYSCALL outside 64-bit mode", UD, 0, syscall32_at);
    catch_call(aam0, NULL);
    CHECK_CAUGHT("#DE: AAM 0", DE, 0, aam0_at);
    catch_call(push_cs_pop, NULL);
    CHECK("PUSH CS, PUSH ES, POP ES", caught.vector, NONE);
}

/* ---- task switches: chapter 7
 * ------------------------------------------------------------------------------------------------------------ */

static struct tss32 other __attribute__((aligned(128)));
static uint8_t other_stack[4096];
enum { OTHER = FREE + 32, TASK_GATE = FREE + 40 };
CODE(task_code, "1: mov $0x2222, %ebx\niret\nmov $0x3333, %ebx\niret\njmp 1b")
CODE(task_exit, "int $0x80")
CODE(call_task, "mov $0x1111, %ebx\nlcall $0x78, $0" NEXT(call_task) "nop")
CODE(jmp_task, AT(jmp_task) "ljmp $0x78, $0" NEXT(jmp_task) "nop")
CODE(int_task, "mov $0x44, %ebx\nint $0x70" NEXT(int_task) "nop")
CODE(gp_error, "mov $0xfff8, %eax\n" AT(gp_error) "mov %eax, %ds")
__asm__(".pushsection .text\ngp_task: pop %edx\n mov %edx, gp_task_error\n movl $gp_resume, tss32 + 32\n iret\n jmp "
        "gp_task\ngp_resume: ret\n.popsection\n");
uint32_t gp_task_error;

static void other_set(uintptr_t eip)
{
    memset(&other, 0, 104);
    other.eip = eip;
    other.esp = PA(other_stack + sizeof other_stack);
    other.eflags = 2;
    other.cs = KCODE;
    other.ss = other.ds = other.es = KDATA;
    other.esp0 = PA(kernel_stack_top);
    other.ss0 = KDATA;
    other.map = 104;
    gdt[OTHER / 8] = descriptor(PA(&other), 103, 0x89, 0);
}

static unsigned busy(unsigned selector)
{
    return gdt[selector / 8] >> 41 & 1;
}

static void tasks(void)
{
    other_set(PA(task_code));
    catch_call(call_task, NULL);
    CHECK("CALL of a TSS and IRET back", caught.vector, NONE);
    CHECK("the other task ran", other.ebx, 0x2222);
    CHECK("its link is our TSS", other.link, TSS);
    CHECK("NT was set in it, cleared as it returned (7.2.1, IRET)", other.eflags & F_NT, 0);
    CHECK("its TSS is not busy any more", busy(OTHER), 0);
    CHECK("ours is", busy(TSS), 1);
    CHECK("our EIP was saved", tss32.eip, PA(call_task_next));
    CHECK("our EBX was saved", tss32.ebx, 0x1111);
    CHECK("CR0.TS is set (2.5)", READ_REG(cr0) & CR0_TS, CR0_TS);
    __asm__ volatile("clts");
    catch_call(call_task, NULL); /* its EIP is behind the first IRET now */
    CHECK("the second CALL goes on where it was", other.ebx, 0x3333);
    idt[0x70] = (uint64_t)OTHER << 16 | 0xe5ull << 40; /* task gate */
    other_set(PA(task_code));
    catch_call(int_task, NULL);
    CHECK("INT through a task gate", other.ebx, 0x2222);
    CHECK("returns behind INT", tss32.eip, PA(int_task_next));
    uint64_t gp = idt[GP];
    idt[GP] = (uint64_t)OTHER << 16 | 0xe5ull << 40;
    other_set(PA(task_code));
    extern char gp_task[];
    other.eip = PA(gp_task);
    catch_call(gp_error, NULL);
    idt[GP] = gp;
    CHECK("#GP through a task gate: its error code is on the new task's stack (6.14)", gp_task_error, 0xfff8);
    CHECK("and the saved EIP is the faulting insn's", caught.vector, NONE);
    other_set(PA(task_exit));
    catch_call(jmp_task, NULL);
    CHECK_CAUGHT("JMP to a TSS", EXIT, 0, PA(task_exit) + 2);
    CHECK("its TSS is busy, ours is not", busy(OTHER) == 1 && busy(TSS) == 0, true);
    CHECK("no link, no NT", other.link == 0 && !(caught.flags & F_NT), true);
    CHECK("our saved EIP is behind JMP", tss32.eip, PA(jmp_task_next));
    gdt[TSS / 8] &= ~(2ull << 40);
    __asm__ volatile("ltr %w0" : : "r"(TSS));
    catch_call(jmp_task, NULL);
    CHECK_CAUGHT("#GP: JMP to a busy TSS", GP, OTHER, jmp_task_at);
    other_set(PA(task_exit));
    gdt[OTHER / 8] = descriptor(PA(&other), 102, 0x89, 0);
    catch_call(jmp_task, NULL);
    CHECK_CAUGHT("#TS: a TSS of 103 bytes", TS, OTHER, jmp_task_at);
    gdt[OTHER / 8] = descriptor(PA(&other), 103, 0x09, 0);
    catch_call(jmp_task, NULL);
    CHECK_CAUGHT("#NP: TSS not present", NP, OTHER, jmp_task_at);
    other_set(PA(task_exit));
    other.ds = 0xff8; /* beyond the GDT: a fault of the new task (7.3, table 7-1) */
    catch_call(jmp_task, NULL);
    CHECK_CAUGHT("#TS: DS of the new task, at its first insn", TS, 0xff8, task_exit);
    gdt[TSS / 8] = descriptor(PA(&tss32), sizeof tss32 - 1, 0x89, 0);
    __asm__ volatile("ltr %w0\nclts" : : "r"(TSS));
    other_set(PA(task_exit));
    other.cs = USER32, other.ss = other.ds = other.es = USERDS, other.eflags = 0x3002;
    catch_call(jmp_task, NULL);
    CHECK_CAUGHT("a task at CPL 3", EXIT, 0, PA(task_exit) + 2);
    CHECK("its CS, SS, IOPL", caught.cs == USER32 && caught.ss == USERDS && (caught.flags & 0x3000) == 0x3000, true);
    gdt[TSS / 8] = descriptor(PA(&tss32), sizeof tss32 - 1, 0x89, 0);
    __asm__ volatile("ltr %w0\nclts" : : "r"(TSS));
    other_set(PA(task_exit)); /* T: debug trap in the new task (7.2.1, 17.3.1.5) */
    other.trap = 1;
    catch_call(jmp_task, NULL);
    CHECK_CAUGHT("T flag: #DB before the first insn", DB, 0, task_exit);
    CHECK("DR6.BT", READ_REG(dr6) & 0x8000, 0x8000);
    WRITE_REG(dr6, 0xffff0ff0);
    gdt[TSS / 8] = descriptor(PA(&tss32), sizeof tss32 - 1, 0x89, 0);
    __asm__ volatile("ltr %w0\nclts" : : "r"(TSS));
}

/* ---- 16-bit gates and tasks
 * --------------------------------------------------------------------------------------------------- */

static struct tss16 { /* figure 7-10 */
    uint16_t link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt;
} small;
uint16_t frame16[8];
enum { SMALL = 0x78, CODE_AT = 0x80 };
__asm__(".pushsection .text\n"
        "handler16: mov %esp, %eax\n movl (%eax), %ecx\n movl 4(%eax), %edx\n mov %ecx, frame16\n mov %edx, frame16 + "
        "4\n data16 iret\n"
        "small_task: mov $0x4321, %ebx\n iret\n"
        ".popsection\n");
extern char handler16[], small_task[];
/* IP is 16 bits there: code segments whose base is the code. */
CODE(int16gate, ".code16\n mov $0x10, %ax\nint $0x71\nint $0x80\n.code32")
CODE(run_at, "mov 4(%esp), %eax\nljmp *(%eax)")

/* From CPL 3: all that is pushed is words (5.8.5, 6.12.1). */
__asm__(".pushsection .text\nend_here: int $0x80\n.popsection\n");
extern char end_here[];
CODE(call_gate16,
     "mov 4(%esp), %eax\npushw $0x11\npushw $0x22\n" AT(call_gate16) "lcall *(%eax)" NEXT(call_gate16) "int $0x80")
CODE(int71_user, AT(int71_user) "int $0x71" NEXT(int71_user) "int $0x80")

static void small_gates_from_cpl3(void)
{
    gdt[A / 8] = descriptor(PA(end_here), 0xffff, 0x9b, 4);
    gdt[B / 8] = (uint64_t)A << 16 | (uint64_t)(0xe400 | 2) << 32;
    catch_user(call_gate16, &far_gate);
    CHECK_CAUGHT("16-bit call gate from CPL 3", EXIT, 0, 2);
    uint16_t *sp = (uint16_t *)(caught_at + 16);
    CHECK("stack: IP, CS", sp[0] == (uint16_t)PA(call_gate16_next) && sp[1] == USER32, true);
    CHECK("stack: two parameters", sp[2] == 0x22 && sp[3] == 0x11, true);
    CHECK("stack: SP, SS", sp[4] == (uint16_t)(PA(user_stack_top) - 64 - 4) && sp[5] == USERDS, true);
    CHECK("stack: from TSS.ESP0", PA(sp + 6), PA(kernel_stack_top));
    idt[0x71] = (uint64_t)A << 16 | 0xe6ull << 40;
    catch_user(int71_user, NULL);
    idt[0x71] = 0;
    CHECK_CAUGHT("16-bit interrupt gate from CPL 3", EXIT, 0, 2);
    sp = (uint16_t *)(caught_at + 16);
    CHECK("stack: IP, CS, SS", sp[0] == (uint16_t)PA(int71_user_next) && sp[1] == USER32 && sp[4] == USERDS, true);
    CHECK("stack: SP of 16 bits", sp[3], (uint16_t)(PA(user_stack_top) - 64));
}

static void small_things(void)
{
    gdt[CODE_AT / 8] = descriptor(PA(int16gate), 0xffff, 0x9b, 0); /* 16-bit code */
    gdt[A / 8] = descriptor(PA(handler16), 0xffff, 0x9b, 4);       /* 32-bit code, entered by a 16-bit gate */
    idt[0x71] = 0 | (uint64_t)A << 16 | 0x86ull << 40;
    struct {
        uint32_t offset, selector;
    } at = {0, CODE_AT};
    catch_call(run_at, &at);
    idt[0x71] = 0;
    CHECK_CAUGHT("INT through a 16-bit gate and IRET", EXIT, 0, 7);
    CHECK("16-bit frame: IP, CS", frame16[0] == 5 && frame16[1] == CODE_AT, true);
    small_gates_from_cpl3();
    memset(&small, 0, sizeof small);
    gdt[A / 8] = descriptor(PA(small_task), 0xffff, 0x9b, 4);
    gdt[B / 8] = descriptor(PA(other_stack), sizeof other_stack - 1, 0x93, 4);
    small.cs = A, small.ss = B, small.ds = small.es = KDATA, small.flags = 2, small.sp = sizeof other_stack - 16;
    gdt[SMALL / 8] = descriptor(PA(&small), sizeof small - 1, 0x81, 0);
    catch_call(call_task, NULL);
    CHECK("CALL of a 16-bit TSS and IRET", caught.vector, NONE);
    CHECK("16-bit task: ran, BX saved", small.bx, 0x4321);
    CHECK("16-bit task: link", small.link, TSS);
    CHECK("16-bit task: our EBX came back whole", tss32.ebx, 0x1111);
    gdt[SMALL / 8] = descriptor(PA(&small), 42, 0x81, 0);
    catch_call(jmp_task, NULL);
    CHECK_CAUGHT("#TS: a 16-bit TSS of 43 bytes", TS, SMALL, jmp_task_at);
    __asm__ volatile("clts");
}

/* ---- double fault through a task gate: 6.15, interrupt 8
 * ------------------------------------------------------------------------------------ */

CODE(df_task, "mov (%esp), %eax\nint $0x80")
CODE(bad_stack, "mov %ss, %edx\nmov $0x58, %eax\nmov %eax, %ss\nmov $0x1000, %esp\n" AT(bad_stack) "push %eax")

static void double_fault(void)
{
    gdt[A / 8] = descriptor(0, 0xfff, 0x97, 4); /* expand-down above 4 KB: ESP 1000H has no room below */
    uint64_t df = idt[DF];
    idt[DF] = (uint64_t)OTHER << 16 | 0x85ull << 40;
    other_set(PA(df_task));
    catch_call(bad_stack, NULL);
    idt[DF] = df;
    CHECK_CAUGHT("#DF by a task gate: the task ran", EXIT, 0, PA(df_task) + 5);
    CHECK("its error code is 0", caught.ax, 0);
    CHECK("saved EIP: the PUSH", tss32.eip, PA(bad_stack_at));
    CHECK("saved ESP, SS", tss32.esp == 0x1000 && tss32.ss == A, true);
    gdt[TSS / 8] = descriptor(PA(&tss32), sizeof tss32 - 1, 0x89, 0);
    __asm__ volatile("ltr %w0\nclts" : : "r"(TSS));
    /* #TS with the TSS's stack selector: delivered by a task, as its own stack is bad */
    uint64_t ts = idt[TS];
    idt[TS] = (uint64_t)OTHER << 16 | 0x85ull << 40;
    tss32.ss0 = USERDS;
    other_set(PA(df_task));
    catch_user(int3_user, NULL);
    idt[TS] = ts;
    tss32.ss0 = KDATA;
    CHECK_CAUGHT("#TS: SS0 of the wrong privilege", EXIT, 0, PA(df_task) + 5);
    CHECK("#TS: error code: SS0's selector, no EXT for INT3", caught.ax, USERDS & ~3u);
    gdt[TSS / 8] = descriptor(PA(&tss32), sizeof tss32 - 1, 0x89, 0);
    __asm__ volatile("ltr %w0\nclts" : : "r"(TSS));
}

void test_main(void)
{
    limits();
    code_limit();
    code16();
    call_gates();
    asking();
    ldts();
    only32();
    tasks();
    small_things();
    double_fault();
}
