/* guest/x86/sys_msr.c: model-specific registers, the time stamp counter, performance counters.
 *
 * What exists is what Linux touches and what firmware needs (SDM vol. 4; vol. 3 where a section is named).  Three
 * kinds:
 *   - plain ones, a field of struct x86 each, in plain[] with the rule their value must obey;
 *   - ones with consequences or rules of their own, in the two switches;
 *   - x2APIC's and TSC_DEADLINE, which belong to the interrupt controller.
 * Anything else is #GP(0), as on a processor that lacks it, and a line in the log item "unimp".
 *
 * IA32_ARCH_CAPABILITIES lists the defects this processor does not have: see model.c.  There are no machine-check
 * banks.
 *
 * The guest's TSC runs at the host's frequency: TSC = host's + cpu.tsc_offset, and generated code computes the same.
 */
#include "guest/x86/sys.h"

enum msr {
    MSR_P5_MC_ADDR = 0x0,
    MSR_P5_MC_TYPE = 0x1,
    MSR_TSC = 0x10,
    MSR_PLATFORM_ID = 0x17,
    MSR_APIC_BASE = 0x1b,
    MSR_FEATURE_CONTROL = 0x3a,
    MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48,
    MSR_PRED_CMD = 0x49,
    MSR_UPDATE_TRIGGER = 0x79,
    MSR_UPDATE_SIGNATURE = 0x8b,
    MSR_PLATFORM_INFO = 0xce,
    MSR_MTRR_CAP = 0xfe,
    MSR_ARCH_CAPABILITIES = 0x10a,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9,
    MSR_MTRR_VAR = 0x200,
    MSR_MTRR_VAR_LAST = 0x20f,
    MSR_MTRR_FIX64K = 0x250,
    MSR_MTRR_FIX16K = 0x258,
    MSR_MTRR_FIX4K = 0x268,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF = 0x2ff,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_PKRS = 0x6e1,
    MSR_X2APIC = 0x800,
    MSR_X2APIC_LAST = 0x8ff,
    MSR_XSS = 0xda0,
};
/* Too large for an enumerator of ISO C: extended and AMD registers (APM vol. 2, appendix A). */
#define MSR_EFER             0xc0000080u
#define MSR_STAR             0xc0000081u
#define MSR_LSTAR            0xc0000082u
#define MSR_CSTAR            0xc0000083u
#define MSR_FMASK            0xc0000084u
#define MSR_FS_BASE          0xc0000100u
#define MSR_GS_BASE          0xc0000101u
#define MSR_KERNEL_GS_BASE   0xc0000102u
#define MSR_TSC_AUX          0xc0000103u
#define MSR_AMD_PERF         0xc0010000u /* four selections, four counters */
#define MSR_AMD_PERF_LAST    0xc0010007u
#define MSR_AMD_SYSCFG       0xc0010010u
#define MSR_AMD_HWCR         0xc0010015u
#define MSR_AMD_TOP_MEM      0xc001001au
#define MSR_AMD_TOP_MEM2     0xc001001du
#define MSR_AMD_NB_CFG       0xc001001fu
#define MSR_AMD_PATCH_LOADER 0xc0010020u
#define MSR_AMD_INT_PENDING  0xc0010055u
#define MSR_AMD_DE_CFG       0xc0011029u

enum rule { ANY, CANONICAL, WIDTH32 };

static const struct {
    uint32_t msr;
    enum rule rule;
    enum x86_feature feature; /* without it the register is not there */
    size_t offset;
} plain[] = {
    {MSR_SYSENTER_CS, ANY, FEAT_SEP, offsetof(struct x86, sysenter_cs)},
    {MSR_SYSENTER_ESP, CANONICAL, FEAT_SEP, offsetof(struct x86, sysenter_esp)},
    {MSR_SYSENTER_EIP, CANONICAL, FEAT_SEP, offsetof(struct x86, sysenter_eip)},
    {MSR_STAR, ANY, FEAT_SYSCALL, offsetof(struct x86, star)},
    {MSR_LSTAR, CANONICAL, FEAT_LM, offsetof(struct x86, lstar)},
    {MSR_CSTAR, CANONICAL, FEAT_LM, offsetof(struct x86, cstar)},
    {MSR_FMASK, WIDTH32, FEAT_LM, offsetof(struct x86, fmask)},
    {MSR_KERNEL_GS_BASE, CANONICAL, FEAT_LM, offsetof(struct x86, kernel_gs_base)},
    {MSR_MCG_STATUS, ANY, FEAT_MCA, offsetof(struct x86, mcg_status)},
};

static uint64_t *plain_find(struct x86 *x, uint32_t msr, enum rule *rule)
{
    for (unsigned i = 0; i < ARRAY_LEN(plain); i++)
        if (plain[i].msr == msr && x86_model_has(x->model, plain[i].feature)) {
            *rule = plain[i].rule;
            return (uint64_t *)((char *)x + plain[i].offset);
        }
    return NULL;
}

/* ---- time (vol. 3, 18.17)
 * ------------------------------------------------------------------------------------------- */

static uint64_t tsc_now(const struct x86 *x)
{
    return __builtin_ia32_rdtsc() + x->cpu.tsc_offset;
}

static void put_edx_eax(struct x86 *x, uint64_t v)
{
    x->cpu.reg[X86_RAX] = (uint32_t)v;
    x->cpu.reg[X86_RDX] = v >> 32;
}

X86_HELP(help_rdtsc)
{
    if ((x->cr4 & CR4_TSD) && x86_cpl(x))
        x86_raise_error(x, EX_GP, 0);
    put_edx_eax(x, tsc_now(x));
    if (a)
        x->cpu.reg[X86_RCX] = x->tsc_aux;
    return 0;
}

X86_HELP(help_rdpid)
{
    return x->tsc_aux;
}

/* Intel's CPUID says that there are no counters, so every number is out of range; AMD's processors always have four (APM vol. 2, 13.2),
 * which here stand still. */
X86_HELP(help_rdpmc)
{
    enum { AMD_COUNTERS = 4 };
    bool allowed = (x->cr4 & CR4_PCE) || !x86_cpl(x);
    if (!allowed || x86_model_is_intel(x->model) || (uint32_t)x->cpu.reg[X86_RCX] >= AMD_COUNTERS)
        x86_raise_error(x, EX_GP, 0);
    put_edx_eax(x, 0);
    return 0;
}

/* ---- memory types (vol. 3, 12.11, 12.12)
 * ------------------------------------------------------------------------------ */

static bool types_valid(uint64_t bytes, unsigned n, unsigned allowed)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned type = bytes >> (8 * i) & 0xff;
        if (type > 7 || !(allowed >> type & 1))
            return false;
    }
    return true;
}

enum {
    MTRR_TYPES = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6, /* UC WC WT WP WB */
    PAT_TYPES = MTRR_TYPES | 1 << 7,                         /* and UC- */
    MTRR_CAP = 8 | 1 << 8 | 1 << 10,                         /* 8 variable ranges, fixed ranges, WC */
};

/* Index in mtrr_fixed, or -1. */
static int mtrr_fixed_index(uint32_t msr)
{
    if (msr == MSR_MTRR_FIX64K)
        return 0;
    if (msr == MSR_MTRR_FIX16K || msr == MSR_MTRR_FIX16K + 1)
        return 1 + (int)(msr - MSR_MTRR_FIX16K);
    if (msr >= MSR_MTRR_FIX4K && msr < MSR_MTRR_FIX4K + 8)
        return 3 + (int)(msr - MSR_MTRR_FIX4K);
    return -1;
}

static uint64_t *mtrr_find(struct x86 *x, uint32_t msr)
{
    int fixed = mtrr_fixed_index(msr);

    if (!x86_model_has(x->model, FEAT_MTRR))
        return NULL;
    if (fixed >= 0)
        return &x->mtrr_fixed[fixed];
    if (msr >= MSR_MTRR_VAR && msr <= MSR_MTRR_VAR_LAST)
        return &x->mtrr_var[msr - MSR_MTRR_VAR];
    return msr == MSR_MTRR_DEF ? &x->mtrr_def : NULL;
}

static bool mtrr_valid(const struct x86 *x, uint32_t msr, uint64_t v)
{
    uint64_t beyond = ~mask_bits(x86_phys_bits(x));

    if (mtrr_fixed_index(msr) >= 0)
        return types_valid(v, 8, MTRR_TYPES);
    if (msr == MSR_MTRR_DEF)
        return !(v & ~0xcffull) && types_valid(v, 1, MTRR_TYPES);
    if (msr & 1)
        return !(v & (beyond | 0x7ff));
    return !(v & (beyond | 0xf00)) && types_valid(v, 1, MTRR_TYPES);
}

/* ---- reading
 * ---------------------------------------------------------------------------------------------------------- */

/* Defects this processor does not have (vol. 4, IA32_ARCH_CAPABILITIES). */
static uint64_t arch_capabilities(void)
{
    static const uint8_t bits[] = {
        0,          /* RDCL_NO: Meltdown, L1TF */
        1,          /* IBRS_ALL */
        3,          /* SKIP_L1DFL_VMENTRY */
        4,          /* SSB_NO */
        5,          /* MDS_NO */
        6,          /* IF_PSCHANGE_MC_NO */
        8,          /* TAA_NO */
        13, 14, 15, /* SBDR_SSDP_NO, FBSDP_NO, PSDP_NO: MMIO stale data */
        20,         /* BHI_NO */
        24,         /* PBRSB_NO */
        26,         /* GDS_NO */
        27,         /* RFDS_NO */
        62,         /* ITS_NO */
    };
    uint64_t v = 0;

    for (unsigned i = 0; i < sizeof bits; i++)
        v |= 1ull << bits[i];
    return v;
}

/* The bits SPEC_CTRL has (vol. 4; AMD APM vol. 2, 3.2.9); 0: there is no such register.  Intel tells IBRS, STIBP and SSBD by
 * one bit each, of which the first has always come with the second. */
static uint32_t spec_ctrl_bits(const struct x86 *x)
{
    enum { IBRS = 1, STIBP = 2, SSBD = 4, BHI_DIS_S = 1 << 10 };
    static const struct {
        enum x86_feature feature;
        uint32_t bits;
    } of[] = {
        {FEAT_SPEC_CTRL, IBRS | STIBP | SSBD},
        {FEAT_STIBP, STIBP},
        {FEAT_SSBD, SSBD},
        {FEAT_IBRS, IBRS},
        {FEAT_AMD_STIBP, STIBP},
        {FEAT_AMD_SSBD, SSBD},
        {FEAT_BHI_CTRL, BHI_DIS_S},
    };
    uint32_t bits = 0;

    for (unsigned i = 0; i < ARRAY_LEN(of); i++)
        bits |= x86_model_has(x->model, of[i].feature) ? of[i].bits : 0;
    return bits;
}

enum {
    MISC_NO_BTS = 1 << 11,
    MISC_NO_PEBS = 1 << 12,
    MISC_WRITABLE = 1 << 0 | 1 << 3 | 1 << 7 | 1 << 16 | 1 << 18 | 1 << 22 | 1 << 23,
    FEATURE_CONTROL_LOCK = 1,
    BUS_HZ = 100000000,
    LFENCE_SERIALIZES = 2,
    TSC_AT_P0 = 1 << 24, /* HWCR: the TSC counts at one rate */
};
#define MISC_NO_XD (1ull << 34)

static bool amd_read(struct x86 *x, uint32_t msr, uint64_t *v)
{
    if (x86_model_is_intel(x->model))
        return false;
    switch (msr) {
    case MSR_AMD_HWCR: *v = TSC_AT_P0; return true;
    case MSR_AMD_PERF ... MSR_AMD_PERF_LAST:
    case MSR_AMD_SYSCFG:
    case MSR_AMD_TOP_MEM:
    case MSR_AMD_TOP_MEM2:
    case MSR_AMD_NB_CFG:
    case MSR_AMD_INT_PENDING: *v = 0; return true;
    case MSR_AMD_DE_CFG: *v = LFENCE_SERIALIZES; return true;
    default: return false;
    }
}

static bool intel_read(struct x86 *x, uint32_t msr, uint64_t *v)
{
    if (!x86_model_is_intel(x->model))
        return false;
    switch (msr) {
    case MSR_PLATFORM_ID: *v = 0; return true;
    case MSR_FEATURE_CONTROL: *v = x->feature_control; return true;
    case MSR_PLATFORM_INFO: *v = (x->tsc_hz + BUS_HZ / 2) / BUS_HZ << 8; return true;
    case MSR_MISC_ENABLE: *v = x->misc_enable | MISC_NO_BTS | MISC_NO_PEBS; return true;
    default: return false;
    }
}

/* Whether the model has the local APIC that this register belongs to. */
static bool apic_has(const struct x86 *x, uint32_t msr)
{
    return x86_model_has(x->model, msr == MSR_APIC_BASE      ? FEAT_APIC
                                   : msr == MSR_TSC_DEADLINE ? FEAT_TSC_DEADLINE
                                                             : FEAT_X2APIC);
}

static bool msr_read(struct x86 *x, uint32_t msr, uint64_t *v)
{
    enum rule rule;
    const uint64_t *field = plain_find(x, msr, &rule);

    if (!field)
        field = mtrr_find(x, msr);
    if (field) {
        *v = *field;
        return true;
    }
    if (msr == MSR_TSC_DEADLINE || (msr >= MSR_X2APIC && msr <= MSR_X2APIC_LAST))
        return apic_has(x, msr) && x->intc.msr_read && x->intc.msr_read(x->intc.dev, msr, v);
    switch (msr) {
    case MSR_P5_MC_ADDR:
    case MSR_P5_MC_TYPE: *v = 0; return true;
    case MSR_MCG_CAP: *v = 0; return x86_model_has(x->model, FEAT_MCA);
    case MSR_TSC: *v = tsc_now(x); return x86_model_has(x->model, FEAT_TSC);
    case MSR_TSC_ADJUST: *v = x->tsc_adjust; return x86_model_has(x->model, FEAT_TSC_ADJUST);
    case MSR_APIC_BASE:
        if (!x->intc.get_base || !apic_has(x, msr))
            return false;
        *v = x->intc.get_base(x->intc.dev);
        return true;
    case MSR_SPEC_CTRL: *v = x->spec_ctrl; return spec_ctrl_bits(x) != 0;
    case MSR_ARCH_CAPABILITIES: *v = arch_capabilities(); return x86_model_has(x->model, FEAT_ARCH_CAPABILITIES);
    case MSR_UPDATE_SIGNATURE: *v = 1ull << 32; return true;
    case MSR_MTRR_CAP: *v = MTRR_CAP; return x86_model_has(x->model, FEAT_MTRR);
    case MSR_PAT: *v = x->pat; return x86_model_has(x->model, FEAT_PAT);
    case MSR_DEBUGCTL: *v = x->debugctl; return true;
    case MSR_PKRS: *v = x->pkrs; return x86_model_has(x->model, FEAT_PKS);
    case MSR_XSS: *v = x->xss; return x86_model_has(x->model, FEAT_XSAVES);
    case MSR_EFER: *v = x->efer; return x->efer_allowed != 0;
    case MSR_FS_BASE: *v = x->seg[SEG_FS].base; return x86_model_has(x->model, FEAT_LM);
    case MSR_GS_BASE: *v = x->seg[SEG_GS].base; return x86_model_has(x->model, FEAT_LM);
    case MSR_TSC_AUX: *v = x->tsc_aux; return x86_model_has(x->model, FEAT_RDTSCP);
    default: return intel_read(x, msr, v) || amd_read(x, msr, v);
    }
}

/* ---- writing
 * ---------------------------------------------------------------------------------------------------------- */

static bool plain_write(struct x86 *x, uint64_t *field, enum rule rule, uint64_t v)
{
    if ((rule == CANONICAL && !x86_canonical(x, v)) || (rule == WIDTH32 && v >> 32))
        return false;
    *field = v;
    return true;
}

static bool base_write(struct x86 *x, enum x86_seg seg, uint64_t v)
{
    if (!x86_canonical(x, v))
        return false;
    x86_set_base(x, seg, v);
    return true;
}

static bool apic_write(struct x86 *x, uint32_t msr, uint64_t v)
{
    enum { X2APIC_ENABLE = 1 << 10 };
    bool ok;

    if (!apic_has(x, msr) || (msr == MSR_APIC_BASE && v & X2APIC_ENABLE && !x86_model_has(x->model, FEAT_X2APIC)))
        return false;
    if (msr == MSR_APIC_BASE)
        ok = !(v & ~mask_bits(x86_phys_bits(x))) && x->intc.set_base && x->intc.set_base(x->intc.dev, v);
    else
        ok = x->intc.msr_write && x->intc.msr_write(x->intc.dev, msr, v);
    if (ok)
        x86_check_kick(x);
    return ok;
}

/* Writing TSC moves TSC_ADJUST by as much (vol. 3, 18.17.3). */
static void tsc_shift(struct x86 *x, uint64_t by)
{
    x->cpu.tsc_offset += by;
    x->tsc_adjust += by;
}

static bool intel_write(struct x86 *x, uint32_t msr, uint64_t v)
{
    if (!x86_model_is_intel(x->model))
        return false;
    switch (msr) {
    case MSR_FEATURE_CONTROL:
        if ((x->feature_control & FEATURE_CONTROL_LOCK) || v & ~(uint64_t)FEATURE_CONTROL_LOCK)
            return false;
        x->feature_control = v;
        return true;
    case MSR_UPDATE_TRIGGER: return true;
    case MSR_MISC_ENABLE: x->misc_enable = v & (MISC_WRITABLE | MISC_NO_XD); return true;
    default: return false;
    }
}

static bool amd_write(struct x86 *x, uint32_t msr)
{
    if (x86_model_is_intel(x->model))
        return false;
    switch (msr) { /* nothing behind them: writes are dropped */
    case MSR_AMD_PERF ... MSR_AMD_PERF_LAST:
    case MSR_AMD_SYSCFG:
    case MSR_AMD_HWCR:
    case MSR_AMD_NB_CFG:
    case MSR_AMD_PATCH_LOADER:
    case MSR_AMD_INT_PENDING:
    case MSR_AMD_DE_CFG: return true;
    default: return false;
    }
}

static bool msr_write(struct x86 *x, uint32_t msr, uint64_t v)
{
    enum { IBPB = 1, BTF = 2, LBR = 1 };
    enum rule rule;
    uint64_t *field = plain_find(x, msr, &rule);

    if (field)
        return plain_write(x, field, rule, v);
    if ((field = mtrr_find(x, msr))) {
        if (mtrr_valid(x, msr, v))
            *field = v;
        return mtrr_valid(x, msr, v);
    }
    if (msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE || (msr >= MSR_X2APIC && msr <= MSR_X2APIC_LAST))
        return apic_write(x, msr, v);
    switch (msr) {
    case MSR_P5_MC_ADDR:
    case MSR_P5_MC_TYPE:
    case MSR_UPDATE_SIGNATURE: return true;
    case MSR_TSC:
        if (x86_model_has(x->model, FEAT_TSC))
            tsc_shift(x, v - tsc_now(x));
        return x86_model_has(x->model, FEAT_TSC);
    case MSR_TSC_ADJUST:
        if (x86_model_has(x->model, FEAT_TSC_ADJUST))
            tsc_shift(x, v - x->tsc_adjust);
        return x86_model_has(x->model, FEAT_TSC_ADJUST);
    case MSR_SPEC_CTRL:
        if (v & ~(uint64_t)spec_ctrl_bits(x) || !spec_ctrl_bits(x))
            return false;
        x->spec_ctrl = v;
        return true;
    case MSR_PRED_CMD:
        return (x86_model_has(x->model, FEAT_SPEC_CTRL) || x86_model_has(x->model, FEAT_IBPB)) &&
               !(v & ~(uint64_t)IBPB);
    case MSR_PAT:
        if (!x86_model_has(x->model, FEAT_PAT) || !types_valid(v, 8, PAT_TYPES))
            return false;
        x->pat = v;
        return true;
    case MSR_DEBUGCTL:
        if (v & ~(uint64_t)(BTF | LBR))
            return false;
        x->debugctl = v;
        return true;
    case MSR_PKRS:
        if (!x86_model_has(x->model, FEAT_PKS) || v >> 32)
            return false;
        if (v != x->pkrs) {
            x->pkrs = (uint32_t)v;
            x86_flush_all(x);
        }
        return true;
    case MSR_XSS: return x86_model_has(x->model, FEAT_XSAVES) && !v;
    case MSR_EFER:
        if (!x->efer_allowed)
            return false;
        x86_write_efer(x, v);
        return true;
    case MSR_FS_BASE: return x86_model_has(x->model, FEAT_LM) && base_write(x, SEG_FS, v);
    case MSR_GS_BASE: return x86_model_has(x->model, FEAT_LM) && base_write(x, SEG_GS, v);
    case MSR_TSC_AUX:
        if (!x86_model_has(x->model, FEAT_RDTSCP) || v >> 32)
            return false;
        x->tsc_aux = (uint32_t)v;
        return true;
    default: return intel_write(x, msr, v) || amd_write(x, msr);
    }
}

static void refuse(struct x86 *x, const char *what, uint32_t msr)
{
    if (x->log && log_on(x->log, LOG_UNIMP))
        log_print(x->log, "%s of MSR %#x at %#llx: #GP\n", what, msr, (unsigned long long)cpu_insn_pc(&x->cpu));
    x86_raise_error(x, EX_GP, 0);
}

X86_HELP(help_rdmsr)
{
    uint32_t msr = (uint32_t)x->cpu.reg[X86_RCX];
    uint64_t v = 0;

    x86_need_cpl0(x);
    x->count.msr++;
    if (!msr_read(x, msr, &v))
        refuse(x, "read", msr);
    put_edx_eax(x, v);
    return 0;
}

X86_HELP(help_wrmsr)
{
    uint32_t msr = (uint32_t)x->cpu.reg[X86_RCX];

    x86_need_cpl0(x);
    x->count.msr++;
    if (!msr_write(x, msr, x->cpu.reg[X86_RDX] << 32 | (uint32_t)x->cpu.reg[X86_RAX]))
        refuse(x, "write", msr);
    return 0;
}
