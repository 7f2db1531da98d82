/* test/bare/lib/bare.h: what a bare-metal test guest has: ports, printing, checks, and a way to run code that faults.
 *
 * Two runtimes share this header: start64.S + trap64.c (long mode, 4-level paging, all of the first 4 GB mapped to
 * itself, user pages) and start32.S + trap32.c (protected mode, paging off).  A guest has test_main() and uses:
 *
 *     CHECK(name, got, wanted)    prints "ok name" or "FAIL name: got .. wanted .."
 *     catch_call(fn, arg)         runs fn(arg) at CPL 0; an exception ends it and is described by `caught`; false:
 *     none happened
 *     catch_user(fn, arg)         the same at CPL 3 on the user stack; ends by any exception, or `int $0x80`
 *     (user_exit())
 *     on_vector[n]                if set: called for vector n instead, then IRET
 *
 * The machine is left as the code under test left it, but for RSP, the callee-saved registers, IF = 0, TF = 0, DF =
 * 0, AC = 0, CS, DS, ES and SS.
 */
#ifndef BARE_H
#define BARE_H

typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef signed char int8_t;
typedef int int32_t;
typedef long long int64_t;
typedef unsigned long uintptr_t;
typedef unsigned long size_t;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL         ((void *)0)
#define ARRAY_LEN(a) (sizeof(a) / sizeof *(a))

enum { DE, DB, NMI, BP, OF, BR, UD, NM, DF, TS = 10, NP, SS, GP, PF, MF = 16, AC, MC, XM, NONE = 255, EXIT = 0x80 };
enum {
    F_CF = 1,
    F_PF = 4,
    F_AF = 16,
    F_ZF = 64,
    F_SF = 128,
    F_TF = 256,
    F_IF = 512,
    F_DF = 1024,
    F_OF = 2048,
    F_NT = 1 << 14,
    F_RF = 1 << 16,
    F_VM = 1 << 17,
    F_AC = 1 << 18,
    F_VIF = 1 << 19,
    F_VIP = 1 << 20,
    F_ID = 1 << 21
};
/* Selectors of both runtimes' GDT; USER32, USERDS, USER64 are laid out as SYSRET wants them. */
enum {
    KCODE = 0x08,
    KDATA = 0x10,
    KCODE32 = 0x18,
    USER32 = 0x23,
    USERDS = 0x2b,
    USER64 = 0x33,
    CODE16 = 0x38,
    DATA16 = 0x40,
    TSS = 0x48,
    FREE = 0x58 /* first free GDT entry */,
    GDT_ENTRIES = 64
};

#ifdef __x86_64__
/* As trap stubs push it. */
struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, di, si, bp, bx, dx, cx, ax;
    uint64_t vector, error, ip, cs, flags, sp, ss;
};
#else
struct frame {
    uint32_t gs, fs, es, ds;
    uint32_t di, si, bp, unused, bx, dx, cx, ax;
    uint32_t vector, error, ip, cs, flags, sp, ss; /* sp, ss: only if the privilege changed */
    uint32_t v_es, v_ds, v_fs, v_gs;               /* only from virtual-8086 mode */
};
#endif
extern struct frame
    /* of the last catch_*: vector NONE if nothing happened; has an error code of 0 where the vector pushes none */
    caught;
extern uintptr_t caught_cr2;
extern uintptr_t
    caught_at; /* address of the frame's error code (or of where it would be): where the processor pushed */
extern volatile unsigned interrupts[256];
extern void (*on_vector[256])(struct frame *);
extern uint64_t gdt[GDT_ENTRIES];
#ifdef __x86_64__
extern uint64_t idt[256][2];
extern uint8_t tss64[104 + 8192 + 1];
extern uint32_t boot_info[]; /* multiboot information, 64-bit runtime only */
#else
extern uint64_t idt[256];
extern struct tss32 { /* vol. 3, figure 7-2 */
    uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi, es, cs,
        ss, ds, fs, gs, ldt;
    uint16_t trap, map;
    uint8_t bitmap[8193];
} tss32;
#endif
extern uint8_t user_stack[], user_stack_top[], kernel_stack_top[], catch_stack_top[];
extern char stub_table[];

void test_main(void);
void put(const char *format, ...); /* %s %u %x only; %x takes uint64_t */
void check(const char *name, uint64_t got, uint64_t wanted);
_Noreturn void finish(void);
bool catch_call(void (*fn)(void *), void *arg);
bool catch_user(void (*fn)(void *), void *arg);
bool catch_user_at(void (*fn)(void *), void *arg, uintptr_t stack);
bool catch_user32(void (*fn)(void *), void *arg); /* 64-bit runtime: entered in a 32-bit code segment */
void *memset(void *, int, size_t);
void *memcpy(void *, const void *, size_t);
int memcmp(const void *, const void *, size_t);

#define CHECK(name, got, wanted) check(name, (uint64_t)(got), (uint64_t)(wanted))
/* An exception of this vector with this error code happened at (pushed IP) this address. */
#define CHECK_CAUGHT(name, v, e, at) check_caught(name, v, e, (uintptr_t)(at))
void check_caught(const char *name, unsigned vector, unsigned error, uintptr_t at);

/* A piece of assembly as a function of one argument (RDI, or 4(%esp)), with a label NAME_at for CHECK_CAUGHT where
 * `at:` stands. */
#define CODE(name, text)                                                                                               \
    extern char name##_at[], name##_next[];                                                                            \
    void name(void *);                                                                                                 \
    __asm__(".pushsection .text\n.globl " #name "\n" #name ":\n" text "\nret\n.popsection\n");
#define AT(name)   #name "_at: "
#define NEXT(name) "\n" #name "_next: "

static inline void out8(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}
static inline void out32(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}
static inline uint8_t in8(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline uint64_t rdmsr(uint32_t n)
{
    uint32_t a, d;
    __asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(n) : "memory");
    return a | (uint64_t)d << 32;
}
static inline void wrmsr(uint32_t n, uint64_t v)
{
    __asm__ volatile("wrmsr" : : "c"(n), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}
static inline uint64_t rdtsc(void)
{
    uint32_t a, d;
    __asm__ volatile("rdtsc" : "=a"(a), "=d"(d) : : "memory");
    return a | (uint64_t)d << 32;
}
struct cpuid {
    uint32_t a, b, c, d;
};
static inline struct cpuid cpuid(uint32_t leaf, uint32_t sub)
{
    struct cpuid r;
    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub) : "memory");
    return r;
}
#define READ_REG(reg)                                                                                                  \
    ({                                                                                                                 \
        uintptr_t v_;                                                                                                  \
        __asm__ volatile("mov %%" #reg ", %0" : "=r"(v_) : : "memory");                                                \
        v_;                                                                                                            \
    })
#define WRITE_REG(reg, v) __asm__ volatile("mov %0, %%" #reg : : "r"((uintptr_t)(v)) : "memory")
#define invlpg(p)         __asm__ volatile("invlpg (%0)" : : "r"(p) : "memory")
enum {
    CR0_PE = 1,
    CR0_MP = 2,
    CR0_EM = 4,
    CR0_TS = 8,
    CR0_NE = 32,
    CR0_WP = 1 << 16,
    CR0_AM = 1 << 18,
    CR4_TSD = 4,
    CR4_DE = 8,
    CR4_PSE = 16,
    CR4_PAE = 32,
    CR4_PGE = 128,
    CR4_PCE = 256,
    CR4_OSFXSR = 512,
    CR4_OSXMMEXCPT = 1024,
    CR4_UMIP = 2048,
    CR4_FSGSBASE = 1 << 16,
    CR4_PCIDE = 1 << 17,
    CR4_OSXSAVE = 1 << 18,
    CR4_SMEP = 1 << 20,
    CR4_SMAP = 1 << 21,
    CR4_PKE = 1 << 22,
    CR4_PKS = 1 << 24
};
#define CR0_PG 0x80000000u
#define EFER   0xc0000080u

/* A segment descriptor; access: P DPL S type (8 bits), flags: G DB L AVL (4 bits) (vol. 3, 3.4.5). */
static inline uint64_t descriptor(uint32_t base, uint32_t limit, unsigned access, unsigned flags)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
           (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)flags << 52 | (uint64_t)(base >> 24) << 56;
}
#endif
