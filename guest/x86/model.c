/* guest/x86/model.c: what a CPU model means: CPUID, and the bits CR4 and EFER may have.
 *
 * A model (model_int.h) is what the words of -cpu made of a row of models.def (model_words.c).  CPUID's leaves are made
 * from its set of features when asked, together with what only the running processor knows (its APIC id, OSXSAVE, the
 * frequency).
 *
 * Why "max" is a GenuineIntel, family 6, model 6AH.  A guest kernel must learn the TSC's frequency from leaves 15H
 * and 16H instead of measuring it, and Linux reads those of Intel processors only.  It must not pay for defects that
 * a translator does not have: IA32_ARCH_CAPABILITIES (sys_msr.c) says so for each, which turns off page-table
 * isolation, buffer clearing and L1 flushes, and IBRS_ALL ("enhanced IBRS") makes it set SPEC_CTRL once where it
 * would use retpolines.  Some kernels want branch history cleared although BHI_NO is told; BHI_CTRL lets them set a
 * bit of SPEC_CTRL instead of running a loop at every system call.
 *
 * Frequencies.  The "core crystal clock" is also the local APIC timer's input clock, which counts nanoseconds: 1 GHz.
 * Leaf 15H says TSC = crystal * EBX / EAX; Linux computes that in kHz and 32 bits, so EBX stays below 2^32 / 10^6,
 * which makes the ratio coarse. A wrong TSC frequency is a wrong clock, a slightly wrong timer is only a late tick,
 * so the crystal takes up the difference.
 *
 * Caches are made up: 32 KB + 32 KB first level and 1 MB second, a core's own; 16 MB third, a die's.  Packages, dies,
 * cores and threads are x->topology's.
 *
 * Rules to know before editing
 *   - Leaf 0DH must agree with sys_xsave.c: sizes and offsets come from there.
 *   - Features that need others (requirements[]) go with them.
 *   - Leaves beyond the last: Intel answers with the last basic leaf, AMD with zeros.
 */
#include "guest/x86/model_int.h"

const struct x86_feature_row x86_features[FEAT_COUNT] = {
#define X86_FEATURE(NAME, text, leaf, subleaf, reg, bit) [FEAT_##NAME] = {text, leaf, subleaf, reg, bit},
#include "guest/x86/features.def"
};

static const struct {
    enum x86_feature feature, needs;
} requirements[] = {
    {FEAT_XSAVEOPT, FEAT_XSAVE},
    {FEAT_XSAVEC, FEAT_XSAVE},
    {FEAT_XSAVES, FEAT_XSAVEC},
    {FEAT_XGETBV1, FEAT_XSAVE},
    {FEAT_AVX, FEAT_XSAVE},
    {FEAT_SSE2, FEAT_SSE},
    {FEAT_SSE, FEAT_FXSR},
    {FEAT_PCID, FEAT_LM},
    {FEAT_SSE3, FEAT_SSE2},
    {FEAT_AVX2, FEAT_AVX},
    {FEAT_F16C, FEAT_AVX},
    {FEAT_FMA, FEAT_AVX},
    {FEAT_VAES, FEAT_AVX},
    {FEAT_VPCLMULQDQ, FEAT_AVX},
    {FEAT_AVX_VNNI, FEAT_AVX2},
    {FEAT_AVX512F, FEAT_AVX2},
    {FEAT_AVX512BW, FEAT_AVX512F},
    {FEAT_AVX512CD, FEAT_AVX512F},
    {FEAT_AVX512DQ, FEAT_AVX512F},
    {FEAT_AVX512VL, FEAT_AVX512F},
    {FEAT_AVX512IFMA, FEAT_AVX512F},
    {FEAT_AVX512VBMI, FEAT_AVX512BW},
    {FEAT_AVX512VBMI2, FEAT_AVX512BW},
    {FEAT_AVX512VNNI, FEAT_AVX512F},
    {FEAT_AVX512BITALG, FEAT_AVX512BW},
    {FEAT_AVX512VPOPCNTDQ, FEAT_AVX512F},
    {FEAT_AVX512BF16, FEAT_AVX512BW},
    {FEAT_AVX512VP2INTERSECT, FEAT_AVX512F},
};

/* ---- the set of features
 * -------------------------------------------------------------------------------------------- */

void x86_model_put(struct x86_model *m, enum x86_feature f, bool on)
{
    if (on)
        m->set[f / 32] |= 1u << (f % 32);
    else
        m->set[f / 32] &= ~(1u << (f % 32));
}

bool x86_model_has(const struct x86_model *m, enum x86_feature f)
{
    return m->set[f / 32] >> (f % 32) & 1;
}

bool x86_model_is_intel(const struct x86_model *m)
{
    return !m || m->intel; /* none: a processor without CPUID, in tests */
}

unsigned x86_model_phys_bits(const struct x86_model *m)
{
    return m && m->phys_bits ? m->phys_bits : X86_PHYS_BITS_MAX;
}

const uint32_t *x86_model_features(const struct x86_model *m)
{
    return m->set;
}

uint64_t x86_model_xcr0(const struct x86_model *m)
{
    if (!x86_model_has(m, FEAT_XSAVE))
        return 0;
    return XCOMP_X87 | XCOMP_SSE | (x86_model_has(m, FEAT_AVX) ? XCOMP_AVX : 0) |
           (x86_model_has(m, FEAT_AVX512F) ? XCOMP_AVX512 : 0) | (x86_model_has(m, FEAT_PKU) ? XCOMP_PKRU : 0);
}

void x86_model_close(struct x86_model *m)
{
    for (unsigned again = 0; again < 3; again++)
        for (unsigned i = 0; i < ARRAY_LEN(requirements); i++)
            if (!x86_model_has(m, requirements[i].needs))
                x86_model_put(m, requirements[i].feature, false);
}

/* ---- what the model means for the processor
 * ----------------------------------------------------------------------------- */

static uint32_t signature(const struct x86_model *m)
{
    unsigned base = m->family < 15 ? m->family : 15, extended = m->family - base;

    return extended << 20 | m->model >> 4 << 16 | base << 8 | (m->model & 15) << 4 | m->stepping;
}

void x86_model_apply(struct x86 *x, const struct x86_model *m)
{
    static const struct {
        enum x86_feature feature;
        uint32_t cr4;
    } bits[] = {
        {FEAT_VME, CR4_VME | CR4_PVI}, {FEAT_TSC, CR4_TSD},   {FEAT_DE, CR4_DE},      {FEAT_PSE, CR4_PSE},
        {FEAT_PAE, CR4_PAE},           {FEAT_MCE, CR4_MCE},   {FEAT_PGE, CR4_PGE},    {FEAT_FXSR, CR4_OSFXSR},
        {FEAT_SSE, CR4_OSXMMEXCPT},    {FEAT_UMIP, CR4_UMIP}, {FEAT_PCID, CR4_PCIDE}, {FEAT_FSGSBASE, CR4_FSGSBASE},
        {FEAT_XSAVE, CR4_OSXSAVE},     {FEAT_SMEP, CR4_SMEP}, {FEAT_SMAP, CR4_SMAP},  {FEAT_PKU, CR4_PKE},
        {FEAT_LA57, CR4_LA57},         {FEAT_PKS, CR4_PKS},
    };

    x->model = m;
    x->cpuid_signature = signature(m);
    x->cr4_allowed = CR4_PCE;
    for (unsigned i = 0; i < ARRAY_LEN(bits); i++)
        if (x86_model_has(m, bits[i].feature))
            x->cr4_allowed |= bits[i].cr4;
    x->efer_allowed = (x86_model_has(m, FEAT_SYSCALL) ? EFER_SCE : 0) | (x86_model_has(m, FEAT_LM) ? EFER_LME : 0) |
                      (x86_model_has(m, FEAT_NX) ? EFER_NXE : 0) | (x86_model_has(m, FEAT_AUTO_IBRS) ? EFER_AIBRSE : 0);
}

/* ---- leaves
 * ------------------------------------------------------------------------------------------------------------- */

struct leaf {
    uint32_t r[4];
};

static void leaf_vendor(const struct x86 *x, uint32_t last, struct leaf *l)
{
    const char *name = x->model->vendor;

    l->r[EAX] = last;
    memcpy(&l->r[EBX], name, 4);
    memcpy(&l->r[EDX], name + 4, 4);
    memcpy(&l->r[ECX], name + 8, 4);
}

static void leaf_1(const struct x86 *x, struct leaf *l)
{
    enum { CLFLUSH_BYTES = 64, OSXSAVE = 1 << 27, APIC = 1 << 9, HTT = 1 << 28, BASE_ENABLE = 1 << 11 };
    struct x86_topology t = x86_topology(x);
    uint32_t logical = 1u << x86_topology_package_shift(&t); /* ids in the package */

    l->r[EAX] = signature(x->model);
    l->r[EBX] = (CLFLUSH_BYTES / 8) << 8 | (logical < 255 ? logical : 255) << 16 | (x->apic_id & 255) << 24;
    if (x->cr4 & CR4_OSXSAVE)
        l->r[ECX] |= OSXSAVE;
    if (logical > 1)
        l->r[EDX] |= HTT;
    if (x->intc.get_base && !(x->intc.get_base(x->intc.dev) & BASE_ENABLE))
        l->r[EDX] &= ~(uint32_t)APIC;
}

/* Leaf 4, and 8000001DH in the same form: deterministic cache parameters. */
static void leaf_cache(const struct x86 *x, uint32_t n, struct leaf *l)
{
    static const struct {
        uint8_t type, level, ways;
        bool shared; /* by the die; else by the core */
        uint32_t sets;
    } caches[] = {{1, 1, 8, false, 64}, {2, 1, 8, false, 64}, {3, 2, 16, false, 1024}, {3, 3, 16, true, 16384}};
    struct x86_topology t = x86_topology(x);
    uint32_t core_ids = 1u << x86_topology_core_shift(&t), die_ids = 1u << x86_topology_die_shift(&t);
    uint32_t cores = 1u << (x86_topology_package_shift(&t) - x86_topology_core_shift(&t));

    if (n >= ARRAY_LEN(caches))
        return;
    l->r[EAX] = caches[n].type | caches[n].level << 5 | 1 << 8 | ((caches[n].shared ? die_ids : core_ids) - 1) << 14;
    if (x->model->intel)
        l->r[EAX] |= (cores < 64 ? cores - 1 : 63) << 26;
    l->r[EBX] = 63 | (caches[n].ways - 1u) << 22;
    l->r[ECX] = caches[n].sets - 1;
}

/* MONITOR: lines of 64 bytes, no C-states below C0 worth asking for. */
static void leaf_monitor(const struct x86 *x, struct leaf *l)
{
    enum { EXTENSIONS = 1, BREAK_ON_MASKED = 2 };

    if (x86_model_has(x->model, FEAT_MONITOR))
        *l = (struct leaf){{64, 64, EXTENSIONS | BREAK_ON_MASKED, 0}};
}

static void leaf_7(const struct x86 *x, uint32_t sub, struct leaf *l)
{
    enum { OSPKE = 1 << 4, NO_FCS_FDS = 1 << 13 };

    if (sub)
        return;
    l->r[EAX] = 2;
    l->r[EBX] |= NO_FCS_FDS;
    if (x->cr4 & CR4_PKE)
        l->r[ECX] |= OSPKE;
}

/* 0BH and, where dies are told too, 1FH: at each level, how far to shift the id for the next, and how many processors
 * there are. */
static void leaf_topology(const struct x86 *x, uint32_t sub, bool dies, struct leaf *l)
{
    enum { LEVEL_SMT = 1, LEVEL_CORE = 2, LEVEL_DIE = 5 };
    struct x86_topology t = x86_topology(x);
    unsigned package = t.threads * t.cores * t.dies, shift = x86_topology_package_shift(&t);

    if (sub == 0)
        *l = (struct leaf){{x86_topology_core_shift(&t), t.threads, LEVEL_SMT << 8, 0}};
    else if (sub == 1 && dies && t.dies > 1)
        *l = (struct leaf){{x86_topology_die_shift(&t), t.threads * t.cores, LEVEL_CORE << 8 | 1, 0}};
    else if (sub == 1)
        *l = (struct leaf){{shift, package, LEVEL_CORE << 8 | 1, 0}};
    else if (sub == 2 && dies && t.dies > 1)
        *l = (struct leaf){{shift, package, LEVEL_DIE << 8 | 2, 0}};
    else
        l->r[ECX] = sub & 255;
    l->r[EDX] = x->apic_id;
}

static void leaf_xsave(const struct x86 *x, uint32_t sub, struct leaf *l)
{
    uint64_t all = x86_model_xcr0(x->model);

    if (!all)
        return;
    if (sub == 0) {
        *l = (struct leaf){
            {(uint32_t)all, xsave_area_size(x->xcr0, false), xsave_area_size(all, false), (uint32_t)(all >> 32)}};
    } else if (sub == 1) {
        if (x86_model_has(x->model, FEAT_XSAVEC))
            l->r[EBX] = xsave_area_size(x->xcr0 | x->xss, true);
    } else if (sub < 63 && (all >> sub & 1)) {
        *l = (struct leaf){{xsave_component_size(sub), xsave_component_offset(sub), 0, 0}};
    }
}

/* Of all ratios n / d that fit, the one by which the reader's arithmetic comes nearest; the crystal gives way a
 * little. */
static void leaf_tsc(const struct x86 *x, struct leaf *l)
{
    enum { CRYSTAL_KHZ = 1000000, TOLERANCE_KHZ = 200, MOST = 4290 };
    uint64_t khz = (x->tsc_hz + 500) / 1000, best = UINT64_MAX;

    for (uint64_t d = 1; d <= MOST && best; d++) {
        uint64_t n = (khz * d + CRYSTAL_KHZ / 2) / CRYSTAL_KHZ;
        if (!n || n > MOST)
            continue;
        uint64_t crystal = (khz * d + n / 2) / n, told = crystal * n / d, off = told > khz ? told - khz : khz - told;
        if (crystal + TOLERANCE_KHZ < CRYSTAL_KHZ || crystal > CRYSTAL_KHZ + TOLERANCE_KHZ || off >= best)
            continue;
        best = off;
        *l = (struct leaf){{(uint32_t)d, (uint32_t)n, (uint32_t)crystal * 1000, 0}};
    }
}

static void leaf_frequency(const struct x86 *x, struct leaf *l)
{
    uint32_t mhz = (uint32_t)((x->tsc_hz + 500000) / 1000000);

    *l = (struct leaf){{mhz, mhz, 100, 0}};
}

static void leaf_basic(const struct x86 *x, uint32_t leaf, uint32_t sub, struct leaf *l)
{
    bool intel = x->model->intel;
    enum { ARAT = 4 };

    switch (leaf) {
    case 0: leaf_vendor(x, x->model->level, l); break;
    case 1: leaf_1(x, l); break;
    case 2:
        if (intel)
            *l = (struct leaf){{0x00feff01, 0xf0, 0, 0}}; /* FF: see leaf 4; FE: TLBs likewise; F0: 64-byte prefetch */
        break;
    case 4:
        if (intel)
            leaf_cache(x, sub, l);
        break;
    case 5: leaf_monitor(x, l); break;
    case 6: l->r[EAX] = ARAT; break;
    case 7: leaf_7(x, sub, l); break;
    case 0xb: leaf_topology(x, sub, false, l); break;
    case 0xd: leaf_xsave(x, sub, l); break;
    case 0x15: leaf_tsc(x, l); break;
    case 0x16: leaf_frequency(x, l); break;
    case 0x1f: leaf_topology(x, sub, true, l); break;
    default: break;
    }
}

/* AMD: bits of leaf 1 that 80000001H:EDX repeats. */
static void leaf_amd_mirror(const struct x86 *x, struct leaf *l)
{
    enum { REPEATED = 0x0183f3ff };

    for (unsigned f = 1; f < FEAT_COUNT; f++)
        if (x86_features[f].leaf == 1 && x86_features[f].reg == EDX && x86_model_has(x->model, (enum x86_feature)f))
            l->r[EDX] |= (1u << x86_features[f].bit) & REPEATED;
}

static void leaf_extended(const struct x86 *x, uint32_t leaf, uint32_t sub, struct leaf *l)
{
    const struct x86_model *m = x->model;
    bool intel = m->intel;
    enum { CMP_LEGACY = 2 };
    struct x86_topology t = x86_topology(x);
    unsigned package = t.threads * t.cores * t.dies;

    switch (leaf) {
    case 0x80000000:
        if (intel)
            l->r[EAX] = m->xlevel;
        else
            leaf_vendor(x, m->xlevel, l);
        break;
    case 0x80000001:
        if (!intel) {
            l->r[EAX] = signature(m);
            leaf_amd_mirror(x, l);
            l->r[ECX] |= package > 1 ? CMP_LEGACY : 0;
        }
        break;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: memcpy(l->r, m->brand + 16 * (leaf - 0x80000002), 16); break;
    case 0x80000005: /* first level: TLBs of 64 entries, 32 KB caches, 8 ways, 64-byte lines */
        if (!intel)
            *l = (struct leaf){
                {0xff40ff40, 0xff40ff40, 32 << 24 | 8 << 16 | 1 << 8 | 64, 32 << 24 | 8 << 16 | 1 << 8 | 64}};
        break;
    case 0x80000006: /* second level: 1 MB, 16 ways (8); third: 16 MB in units of 512 KB */
        l->r[ECX] = 1024u << 16 | 8 << 12 | (intel ? 0 : 1 << 8) | 64;
        if (!intel)
            l->r[EDX] = 32 << 18 | 8 << 12 | 1 << 8 | 64;
        break;
    case 0x80000008:
        l->r[EAX] = x86_model_phys_bits(m) | (x86_model_has(x->model, FEAT_LA57) ? 57u : 48u) << 8;
        if (!intel)
            l->r[ECX] = (package - 1) | x86_topology_package_shift(&t) << 12;
        break;
    case 0x8000001d:
        if (x86_model_has(m, FEAT_TOPOEXT))
            leaf_cache(x, sub, l);
        break;
    case 0x8000001e: /* EBX: core in the package, threads a core; ECX: a node is a die */
        if (x86_model_has(m, FEAT_TOPOEXT))
            *l = (struct leaf){
                {x->apic_id,
                 (x->apic_id & ((1u << x86_topology_package_shift(&t)) - 1)) >> x86_topology_core_shift(&t) |
                     (t.threads - 1) << 8,
                 x->apic_id >> x86_topology_die_shift(&t) | (t.dies - 1) << 8, 0}};
        break;
    default: break;
    }
}

/* The features of this leaf. */
static void leaf_features(const struct x86 *x, uint32_t leaf, uint32_t sub, struct leaf *l)
{
    for (unsigned f = 1; f < FEAT_COUNT; f++)
        if (x86_features[f].leaf == leaf && x86_features[f].subleaf == sub &&
            x86_model_has(x->model, (enum x86_feature)f))
            l->r[x86_features[f].reg] |= 1u << x86_features[f].bit;
}

static bool has_subleaves(uint32_t leaf)
{
    return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x14 || leaf == 0x1f || leaf == 0x8000001d;
}

/* 40000000H and on: who is underneath. */
static void leaf_hypervisor(uint32_t leaf, struct leaf *l)
{
    if (leaf != 0x40000000)
        return;
    l->r[EAX] = 0x40000000;
    memcpy(&l->r[EBX], "RHEARHEARHEA", 12);
}

static struct leaf cpuid(const struct x86 *x, uint32_t leaf, uint32_t sub)
{
    const struct x86_model *m = x->model;
    struct leaf l = {{0}};

    if (leaf >> 16 == 0x4000 && x86_model_has(x->model, FEAT_HYPERVISOR)) {
        leaf_hypervisor(leaf, &l);
        return l;
    }
    if (leaf >> 31 ? leaf > m->xlevel : leaf > m->level) {
        if (!m->intel)
            return l;
        leaf = m->level;
    }
    leaf_features(x, leaf, has_subleaves(leaf) ? sub : 0, &l);
    if (leaf >> 31)
        leaf_extended(x, leaf, sub, &l);
    else
        leaf_basic(x, leaf, sub, &l);
    return l;
}

X86_HELP(help_cpuid)
{
    struct leaf l = cpuid(x, (uint32_t)x->cpu.reg[X86_RAX], (uint32_t)x->cpu.reg[X86_RCX]);

    x->cpu.reg[X86_RAX] = l.r[EAX];
    x->cpu.reg[X86_RBX] = l.r[EBX];
    x->cpu.reg[X86_RCX] = l.r[ECX];
    x->cpu.reg[X86_RDX] = l.r[EDX];
    return 0;
}
