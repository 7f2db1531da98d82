/* guest/x86/state.h: one x86 processor's state: where the lift side and the run side meet.
 *
 * Conventions
 *   - cpu.reg[0..15]: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15.  X86_BASE_ES.. : linear bases of the segments as
 *     accesses must add them (in 64-bit mode zero for ES CS SS DS).  X86_DF: +1 or -1.
 *   - RIP is never stored: RIP = cpu.pc - base of CS (truncated to the mode) when outside generated code.
 *   - RFLAGS = arithmetic flags (cpu.cc) | DF (X86_DF) | `flags` (all other bits: IF TF IOPL NT RF VM AC VIF VIP ID
 *     and bit 1).
 *   - `mode` and cpu.jc_tag, cpu.tab_* are derived: x86_mode_update recomputes them after anything they depend on has
 *     changed.
 */
#ifndef RHEA_X86_STATE_H
#define RHEA_X86_STATE_H

#include "ir/cpu.h"

enum { X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI };
enum x86_seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT, SEG_NONE = 15 };
enum { X86_BASE_ES = 16, X86_BASE_CS, X86_BASE_SS, X86_BASE_DS, X86_BASE_FS, X86_BASE_GS, X86_DF = 22 };

/* Packages, dies a package, cores a die, threads a core. */
struct x86_topology {
    unsigned sockets, dies, cores, threads;
};

/* RFLAGS, Intel SDM vol. 1, 3.4.3. */
enum {
    FL_CF = 1 << 0,
    FL_PF = 1 << 2,
    FL_AF = 1 << 4,
    FL_ZF = 1 << 6,
    FL_SF = 1 << 7,
    FL_TF = 1 << 8,
    FL_IF = 1 << 9,
    FL_DF = 1 << 10,
    FL_OF = 1 << 11,
    FL_IOPL = 3 << 12,
    FL_NT = 1 << 14,
    FL_RF = 1 << 16,
    FL_VM = 1 << 17,
    FL_AC = 1 << 18,
    FL_VIF = 1 << 19,
    FL_VIP = 1 << 20,
    FL_ID = 1 << 21,
};
/* CR0, CR4, EFER: vol. 3, 2.5 and 2.2.1. */
enum {
    CR0_PE = 1,
    CR0_MP = 2,
    CR0_EM = 4,
    CR0_TS = 8,
    CR0_ET = 16,
    CR0_NE = 32,
    CR0_WP = 1 << 16,
    CR0_AM = 1 << 18,
    CR0_NW = 1 << 29,
    CR0_CD = 1 << 30,
    CR4_VME = 1,
    CR4_PVI = 2,
    CR4_TSD = 4,
    CR4_DE = 8,
    CR4_PSE = 16,
    CR4_PAE = 32,
    CR4_MCE = 64,
    CR4_PGE = 128,
    CR4_PCE = 256,
    CR4_OSFXSR = 512,
    CR4_OSXMMEXCPT = 1024,
    CR4_UMIP = 2048,
    CR4_LA57 = 4096,
    CR4_FSGSBASE = 1 << 16,
    CR4_PCIDE = 1 << 17,
    CR4_OSXSAVE = 1 << 18,
    CR4_SMEP = 1 << 20,
    CR4_SMAP = 1 << 21,
    CR4_PKE = 1 << 22,
    CR4_PKS = 1 << 24,
    EFER_SCE = 1,
    EFER_LME = 1 << 8,
    EFER_LMA = 1 << 10,
    EFER_NXE = 1 << 11,
    EFER_AIBRSE = 1 << 21, /* AMD: automatic IBRS */
};
#define CR0_PG 0x80000000u
/* XCR0 and XSTATE_BV, vol. 1, 13.1. */
enum {
    XCOMP_X87 = 1,
    XCOMP_SSE = 2,
    XCOMP_AVX = 4,
    XCOMP_AVX512 = 7 << 5, /* opmasks, upper halves of ZMM0..15, ZMM16..31 */
    XCOMP_PKRU = 1 << 9,
};
#define XCOMP_COMPACT (1ull << 63)
enum x86_vector {
    EX_DE,
    EX_DB,
    EX_NMI,
    EX_BP,
    EX_OF,
    EX_BR,
    EX_UD,
    EX_NM,
    EX_DF,
    EX_TS = 10,
    EX_NP,
    EX_SS,
    EX_GP,
    EX_PF,
    EX_MF = 16,
    EX_AC,
    EX_MC,
    EX_XM,
    EX_CP = 21
};

enum { X86_SLOT_FREE = 0x1000 }; /* no PCID */

/* What a translation takes for granted: part of every block's key. */
enum {
    MODE_CPL = 3,       /* bits 1..0 */
    MODE_64 = 1 << 2,   /* CS.L in long mode */
    MODE_CS32 = 1 << 3, /* CS.D: default size 32 (when not MODE_64) */
    MODE_SS32 = 1 << 4, /* SS.B: stack pointer is ESP (when not MODE_64) */
    MODE_FLAT = 1 << 5, /* CS DS ES SS: base 0, limit 4 GB, usable for every access: no checks (always in MODE_64) */
    MODE_PROT = 1 << 6, /* CR0.PE */
    MODE_VM86 = 1 << 7,
    MODE_STEP = 1 << 8,       /* TF or an active breakpoint: one insn a block, the loop looks after each */
    MODE_NOFPU = 1 << 9,      /* CR0.EM or TS: x87 and MMX raise #NM (exact case told by helper) */
    MODE_NOSSE = 1 << 10,     /* EM, TS or no OSFXSR: SSE raises #UD or #NM */
    MODE_AVX = 1 << 11,       /* generated code keeps YMM in host registers: AVX runs (see vec_wanted) */
    MODE_FLAT_FSGS = 1 << 12, /* FS and GS: limit 4 GB and usable (base in the register); always in MODE_64 */
    MODE_X87_IMAGE = 1 << 13, /* an x87 exception is unmasked: x87 and MMX run by helpers, on the saved image */
    MODE_AVX512 = 1 << 14,    /* as MODE_AVX, ZMM and opmasks too: AVX-512 runs */
    MODE_BITS = 15,
};

struct x86_segment {
    uint16_t selector;
    uint16_t attr;  /* descriptor bits 55..40: type 3..0, S 4, DPL 6..5, P 7, AVL 12, L 13, D/B 14, G 15 */
    uint32_t limit; /* in bytes, granularity applied */
    uint64_t base;
};
enum { SEG_WRITES = 1 << 16 }; /* helper SEG_LINEAR: an access of so many bytes, and this bit for a write */
enum { SEG_S = 1 << 4, SEG_P = 1 << 7, SEG_L = 1 << 13, SEG_DB = 1 << 14, SEG_G = 1 << 15 };
static inline unsigned seg_dpl(uint16_t attr)
{
    return (attr >> 5) & 3;
}

/* A guest fault is data. */
struct x86_fault {
    uint8_t vector;
    bool has_error, soft; /* soft: INT n, INT3, INTO: checked against the gate's DPL */
    uint32_t error;
    uint8_t length; /* soft and traps: return address is pc + length */
};

/* A gather or scatter, what the lift side tells help_gather in one word. */
union x86_gather {
    struct {
        uint64_t data : 5, index : 5, mask : 5; /* registers; mask: an opmask for EVEX, else a vector register */
        uint64_t scale : 2;
        uint64_t data8 : 1, index8 : 1; /* elements of 8 bytes, else 4 */
        uint64_t evex : 1, scatter : 1;
        uint64_t count : 5; /* elements */
        uint64_t seg : 3, asize : 4;
    };
    uint64_t packed;
};

/* A VEC or AVX op, its immediate or encoding apart, what the lift side tells help_generic in one word. */
union x86_generic {
    struct {
        uint64_t d : 8, a : 8, b : 8, c : 8; /* ir_ref; FFH: none */
        uint64_t tag : 8, row : 15, avx : 1, setf : 1;
    };
    uint64_t packed;
};

struct x86;
/* Memory as instructions see it; the same slow path generated code takes (see host.h).  Set at start-up by exec. */
struct x86_access {
    int64_t (*read)(struct cpu *, gva_t, unsigned desc);
    int64_t (*write)(struct cpu *, gva_t, unsigned desc);
    void (*commit)(struct cpu *);
    void (*leave)(struct cpu *, enum cpu_leave); /* never returns: call it through x86_leave */
};
/* The interrupt controller as the processor sees it (local APIC).  Set by the board; may be absent (NULL). */
struct x86_intc {
    void *dev;
    int (*pending)(void *dev);      /* vector that would be delivered now, or -1; any thread */
    int (*accept)(void *dev);       /* acknowledge it: moves to in service, returns the vector or -1 */
    uint64_t (*get_tpr)(void *dev); /* CR8 */
    void (*set_tpr)(void *dev, uint64_t v);
    uint64_t (*get_base)(void *dev); /* IA32_APIC_BASE */
    bool (*set_base)(void *dev, uint64_t v);
    bool (*msr_read)(void *dev, uint32_t msr, uint64_t *v); /* x2APIC 800H..8FFH and TSC_DEADLINE; false: #GP */
    bool (*msr_write)(void *dev, uint32_t msr, uint64_t v);
};

struct tlb;
struct bus;
struct ram;
struct log;
struct x86_model;

struct x86 {
    struct cpu cpu; /* first: generated code's view */

    /* what generated code may touch by LDF/STF */
    uint32_t flags; /* RFLAGS but arithmetic and DF */
    uint32_t mode;  /* MODE_ bits, derived */
    struct x86_segment seg[SEG_COUNT];
    uint64_t cr0, cr2, cr3, cr4, efer, xcr0, xss;
    uint32_t pkru, pkrs, tsc_aux;
    uint64_t tsc_deadline_unused;

    /* How much vector state generated code shall keep in host registers at CPL 0..2 and at CPL 3: cpu.vec_bytes, if the
     * control registers allow it.  It grows when an insn wants more.  At CPL 0 that holds until the next change of
     * mode, interrupt or the like, since kernels use vectors in few places, and calls of C are cheap without. */
    uint8_t vec_wanted[2];
    uint8_t vec_host; /* at most so much; the homes hold the rest, and insns on it run in C; 0: no limit */

    struct x86_segment ldtr, tr;
    struct {
        uint64_t base;
        uint16_t limit;
    } gdtr, idtr;
    uint64_t dr[8];
    uint64_t pdpte[4]; /* PAE: loaded with CR3 (vol. 3, 4.4.1) */

    uint64_t star, lstar, cstar, fmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, misc_enable, mtrr_def, mtrr_fixed[11], mtrr_var[16], tsc_adjust, debugctl, mcg_status,
        feature_control, spec_ctrl;

    struct x86_fault fault; /* of a LEAVE_FAULT */
    bool delivering;        /* an exception is being delivered (double fault rules) */
    uint8_t delivering_vector;
    uint8_t delivering_depth; /* exceptions raised in a row, each by the delivery of the one before */
    uint8_t shadow;           /* 1: interrupts are held off for one insn (STI); 2: debug traps too (MOV SS) */
    bool nmi_blocked;
    uint8_t nmi_pending; /* how many will be delivered: at most one waits for another's IRET */
    uint32_t nmi_asked;  /* how many came since x86_nmi_count last looked; any thread adds */
    bool triple;         /* triple fault: shut down until reset */
    uint64_t pending_db; /* DR6 bits of debug traps to raise after the current insn */
    bool step_tf;        /* TF was set when the insn that now runs alone began */
    bool step_rf;        /* RF was set then: it ends with the insn */
    bool step_shadow;    /* shadow was set then: it ends with the insn */
    uint64_t watch_pc;   /* 1 + address of the insn that runs alone because of a watchpoint */

    /* x87 and MMX in FXSAVE64 layout.  FCW, FSW, FTW and registers are only a copy while x87_live: then the host's x87
     * has them.  FIP and FDP are those of struct cpu.  See sys_x87.c. */
    uint8_t fx[512] __attribute__((aligned(64)));
    bool x87_live, x87_lent; /* lent: was live when a helper took it */

    /* address spaces: which slot of tlb holds what */
    struct {
        uint32_t pcid;       /* whose it is; X86_SLOT_FREE: nobody's */
        uint64_t used;       /* for choosing a victim */
        uint32_t generation; /* of user code; new whenever X entries of the slot may have gone: see control.c */
        uint32_t own_code;   /* of supervisor code, if that is not global; else 0 */
    } slot[8];
    uint32_t global_code; /* generation of global supervisor code, in all slots without own_code */
    unsigned cur_slot;
    uint64_t slot_clock;
    uint8_t *pairs_of[2][2];            /* tab_r and tab_w that remembered entries of supervisor, user are of */
    uint8_t *table[8][9];               /* what tlb_table answers for (slot, kind), once asked */
    uint32_t generations;               /* last generation given out */
    uint64_t cr4_allowed, efer_allowed; /* bits the CPU model has, set with the model; 0: all we know but LA57 */
    uint32_t cpuid_signature;           /* CPUID.1:EAX, which reset leaves in EDX */

    struct tlb *tlb;
    struct bus *mem, *io;
    struct ram *ram;
    struct log *log;
    const struct x86_model *model; /* CPUID */
    const struct x86_access *access;
    /* Run one x87 or MMX insn, memory operand [rax] = mem, on the FXSAVE64 image fx (host_native_run). Set by exec. */
    void (*native)(void *fx, const uint8_t *code, unsigned len, void *mem);
    void (*x87_save)(void *fx); /* host_x87_save, host_x87_load */
    void (*x87_load)(void *fx);
    struct x86_intc intc;
    uint32_t index, apic_id, nvcpus;
    struct x86_topology topology;
    bool crowded;        /* more vCPUs than processors of the host */
    bool no_string_runs; /* MOVS and STOS by elements: for measuring */
    uint32_t pauses;     /* PAUSE insns run */
    uint64_t tsc_hz;
    uint64_t a20_mask;                /* and-ed to guest-physical addresses */
    void (*reset_request)(void *arg); /* triple fault and the like */
    void *reset_arg;

    uint64_t *unlifted; /* counts by row of x86.def: insns that had no lifter */
    struct x86_counts {
        uint64_t faults[32], interrupts, walks, cr3_writes, cr3_flushes, invlpg, mode_changes, hlt, msr, io, x87,
            strings;
    } count;
};

/* How many of each there are in the next larger.  cores 0: nothing is told, all vCPUs are cores of one package. */
static inline struct x86_topology x86_topology(const struct x86 *x)
{
    return x->topology.cores ? x->topology : (struct x86_topology){1, 1, x->nvcpus ? x->nvcpus : 1, 1};
}
/* Bits of an APIC id that number n things. */
static inline unsigned x86_topology_bits(unsigned n)
{
    return n > 1 ? 32u - (unsigned)__builtin_clz(n - 1) : 0;
}
static inline unsigned x86_topology_core_shift(const struct x86_topology *t)
{
    return x86_topology_bits(t->threads);
}
static inline unsigned x86_topology_die_shift(const struct x86_topology *t)
{
    return x86_topology_core_shift(t) + x86_topology_bits(t->cores);
}
static inline unsigned x86_topology_package_shift(const struct x86_topology *t)
{
    return x86_topology_die_shift(t) + x86_topology_bits(t->dies);
}
/* The APIC id of the n-th processor: thread, core, die and package, each in bits of its own (vol. 3, 8.9.1). */
static inline uint32_t x86_topology_id(const struct x86_topology *t, unsigned n)
{
    unsigned thread = n % t->threads, core = n / t->threads % t->cores;
    unsigned die = n / t->threads / t->cores % t->dies, package = n / t->threads / t->cores / t->dies;
    return package << x86_topology_package_shift(t) | die << x86_topology_die_shift(t) |
           core << x86_topology_core_shift(t) | thread;
}

/* Abandon the insn that runs: back to the loop for reason `why`. */
static inline _Noreturn void x86_leave(struct x86 *x, enum cpu_leave why)
{
    x->access->leave(&x->cpu, why);
    __builtin_unreachable();
}
static inline uint64_t x86_rflags(const struct x86 *x)
{
    return cpu_flags(&x->cpu) | x->flags | 2u | ((int64_t)x->cpu.reg[X86_DF] < 0 ? FL_DF : 0);
}
static inline void x86_set_rflags(struct x86 *x, uint64_t f) /* no checks, no consequences: see x86_mode_update */
{
    cpu_set_flags(&x->cpu, (uint32_t)f);
    x->cpu.reg[X86_DF] = f & FL_DF ? (uint64_t)-1 : 1;
    x->flags = ((uint32_t)f & ~(CPU_ARITH | FL_DF)) | 2u;
}
static inline unsigned x86_cpl(const struct x86 *x)
{
    return x->mode & MODE_CPL;
}

#endif
