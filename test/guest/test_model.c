/* Tests of guest/x86/model.c, sys_msr.c, sys_flags.c and sys_misc.c: CPUID agrees with itself and with what insns do,
 * -cpu's words, MSR rules, the flags image, decimal arithmetic. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "guest/x86/model_int.h"
#include "test/guest/sysfake.h"

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static struct cpuid ask(struct fake *f, uint32_t leaf, uint32_t sub)
{
    f->x.cpu.reg[X86_RAX] = leaf;
    f->x.cpu.reg[X86_RCX] = sub;
    assert_int_equal(fake_call(f, help_cpuid, 0, 0, 0), -1);
    const uint64_t *r = f->x.cpu.reg;
    return (struct cpuid){(uint32_t)r[X86_RAX], (uint32_t)r[X86_RBX], (uint32_t)r[X86_RCX], (uint32_t)r[X86_RDX]};
}

static int msr_read(struct fake *f, uint32_t msr, uint64_t *v)
{
    f->x.cpu.reg[X86_RCX] = msr;
    int why = fake_call(f, help_rdmsr, 0, 0, 0);
    *v = f->x.cpu.reg[X86_RDX] << 32 | f->x.cpu.reg[X86_RAX];
    return why;
}

static int msr_write(struct fake *f, uint32_t msr, uint64_t v)
{
    f->x.cpu.reg[X86_RCX] = msr;
    f->x.cpu.reg[X86_RAX] = (uint32_t)v;
    f->x.cpu.reg[X86_RDX] = v >> 32;
    return fake_call(f, help_wrmsr, 0, 0, 0);
}

static void test_identity(void **state)
{
    struct fake *f = fake_new("max"), *q = fake_new("qemu64");
    struct cpuid c = ask(f, 0, 0);
    (void)state;

    assert_int_equal(c.eax, 0x1f);
    assert_memory_equal(&c.ebx, "Genu", 4);
    assert_memory_equal(&c.edx, "ineI", 4);
    assert_memory_equal(&c.ecx, "ntel", 4);
    assert_int_equal(ask(f, 1, 0).eax, 0x606a6); /* family 6, model 6AH, stepping 6 */
    assert_int_equal(f->x.cpuid_signature, 0x606a6);
    assert_int_equal(ask(q, 1, 0).eax, 0x60fb1); /* family 15, model 107, stepping 1 */
    c = ask(q, 0x80000000, 0);
    assert_int_equal(c.eax, 0x8000000a);
    assert_memory_equal(&c.edx, "enti", 4);
    assert_int_equal(ask(q, 0x80000001, 0).edx & 0x0183f3ff, ask(q, 1, 0).edx & 0x0183f3ff);
    assert_int_equal(ask(q, 0x12345, 0).eax, 0);
    assert_int_equal(ask(f, 0x12345, 1).ebx, ask(f, 0x1f, 1).ebx);
    fake_free(f);
    fake_free(q);
}

static void test_xsave_leaf(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    struct cpuid all = ask(f, 0xd, 0), sub = ask(f, 0xd, 9);
    uint64_t components = all.eax | (uint64_t)all.edx << 32;
    assert_true(components == x86_model_xcr0(f->x.model));
    assert_int_equal(all.ebx, 576);               /* x87 and SSE enabled */
    assert_int_equal(all.ecx, sub.ebx + sub.eax); /* PKRU is the last */
    assert_int_equal(ask(f, 0xd, 1).ebx, 576);
    f->x.cpu.reg[X86_RCX] = 0;
    f->x.cpu.reg[X86_RAX] = (uint32_t)components;
    f->x.cpu.reg[X86_RDX] = components >> 32;
    assert_int_equal(fake_call(f, help_xsetbv, 0, 0, 0), -1);
    assert_int_equal(ask(f, 0xd, 0).ebx, all.ecx);
    unsigned compacted = 576;
    for (unsigned n = 2; n < 63; n++)
        compacted += components >> n & 1 ? ask(f, 0xd, n).eax : 0;
    assert_int_equal(ask(f, 0xd, 1).ebx, compacted);
    fake_free(f);
    f = fake_new("max,-xsave");
    assert_int_equal(ask(f, 0xd, 0).eax | ask(f, 0xd, 1).eax | (ask(f, 1, 0).ecx >> 26 & 1), 0);
    assert_false(f->x.cr4_allowed & CR4_OSXSAVE);
    fake_free(f);
}

static void test_live_bits(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    assert_true(ask(f, 1, 0).ecx >> 27 & 1); /* OSXSAVE mirrors CR4 */
    f->x.cr4 = 0;
    assert_false(ask(f, 1, 0).ecx >> 27 & 1);
    assert_false(ask(f, 7, 0).ecx >> 4 & 1);
    f->x.cr4 = CR4_PKE;
    assert_true(ask(f, 7, 0).ecx >> 4 & 1);
    assert_false(ask(f, 1, 0).edx >> 28 & 1);
    f->x.nvcpus = 6;
    f->x.apic_id = 5;
    assert_true(ask(f, 1, 0).edx >> 28 & 1);
    assert_int_equal(ask(f, 1, 0).ebx >> 24, 5);
    assert_int_equal(ask(f, 0xb, 1).eax, 3);
    assert_int_equal(ask(f, 0xb, 1).ebx, 6);
    assert_int_equal(ask(f, 0xb, 0).edx, 5);
    assert_int_equal(ask(f, 0xb, 2).ecx, 2); /* no such level: type 0 */
    fake_free(f);
}

/* Two packages of two dies of three cores of two threads: ids are thread 0, core 2..1, die 3, package 4 (vol. 3, 8.9). */
static void test_topology(void **state)
{
    struct fake *f = fake_new("max"), *q = fake_new("qemu64");
    (void)state;

    f->x.topology = q->x.topology = (struct x86_topology){2, 2, 3, 2};
    f->x.nvcpus = q->x.nvcpus = 24;
    f->x.apic_id = q->x.apic_id = x86_topology_id(&f->x.topology, 23);
    assert_int_equal(f->x.apic_id, 1 << 4 | 1 << 3 | 2 << 1 | 1);
    assert_int_equal(x86_topology_id(&f->x.topology, 6), 1 << 3);
    assert_int_equal(ask(f, 1, 0).ebx >> 16 & 255, 16); /* ids in a package */
    assert_int_equal(ask(f, 1, 0).ebx >> 24, 29);
    assert_int_equal(ask(f, 4, 0).eax >> 26, 7);         /* ids of cores in a package - 1 */
    assert_int_equal(ask(f, 4, 2).eax >> 14 & 0xfff, 1); /* second level: ids that share it - 1: a core's */
    assert_int_equal(ask(f, 4, 3).eax >> 14 & 0xfff, 7); /* third: a die's */
    struct {
        uint32_t leaf, sub, shift, count, type;
    } level[] = {{0xb, 0, 1, 2, 1},  {0xb, 1, 4, 12, 2},  {0xb, 2, 0, 0, 0}, {0x1f, 0, 1, 2, 1},
                 {0x1f, 1, 3, 6, 2}, {0x1f, 2, 4, 12, 5}, {0x1f, 3, 0, 0, 0}};
    for (unsigned i = 0; i < ARRAY_LEN(level); i++) {
        struct cpuid c = ask(f, level[i].leaf, level[i].sub);
        assert_int_equal(c.eax, level[i].shift);
        assert_int_equal(c.ebx, level[i].count);
        assert_int_equal(c.ecx, level[i].type << 8 | level[i].sub);
        assert_int_equal(c.edx, 29);
    }
    assert_int_equal(ask(q, 0x80000008, 0).ecx, 11 | 4 << 12);
    assert_true(ask(q, 0x80000001, 0).ecx & 2); /* CmpLegacy */
    fake_free(f);
    fake_free(q);
}

/* Linux computes kHz as (crystal / 1000) * EBX / EAX in 32 bits. */
static void test_frequency(void **state)
{
    static const uint64_t hz[] = {1000000000, 1999999123, 2994376000, 2400001000, 3700000000,
                                  4200123456, 800000000,  3000300000, 2400084000};
    struct fake *f = fake_new("max");
    (void)state;

    for (unsigned i = 0; i < ARRAY_LEN(hz); i++) {
        f->x.tsc_hz = hz[i];
        struct cpuid c = ask(f, 0x15, 0);
        assert_true((uint64_t)(c.ecx / 1000) * c.ebx < 1ull << 32);
        double khz = c.ecx / 1000 * c.ebx / c.eax, off = khz - (double)hz[i] / 1000;
        assert_true(off > -1.6 && off < 1.6);
        assert_true(c.ecx > 999700000 && c.ecx < 1000300000);
        assert_int_equal(ask(f, 0x16, 0).eax, (hz[i] + 500000) / 1000000);
    }
    fake_free(f);
}

static void refuse(const char *text, const char *mentions)
{
    struct x86_model *m = NULL;
    struct status st = {""};

    assert_false(x86_model_parse(&m, text, &st));
    assert_non_null(strstr(st.text, mentions));
}

static void test_words(void **state)
{
    struct fake *f = fake_new("max,-smap,smep=off,rdrand=on,+umip");
    (void)state;

    struct cpuid c = ask(f, 7, 0);
    assert_false(c.ebx >> 20 & 1);
    assert_false(c.ebx >> 7 & 1);
    assert_true(c.ecx >> 2 & 1);
    assert_int_equal(f->x.cr4_allowed & (CR4_SMAP | CR4_SMEP | CR4_UMIP), CR4_UMIP);
    fake_free(f);
    refuse("pentium9", "pentium9");
    refuse("max,+nonsense", "nonsense");
    refuse("max,smap=maybe", "smap=maybe");
    refuse("max,+vmx,enforce", "vmx");
    refuse("max,+aees", "do you mean \"aes\"?");
    refuse("hasswell", "do you mean \"Haswell\"?");
    refuse("max,vendor=me", "12 characters");
    refuse("max,family=300", "from 0 to 270");
    refuse("max,stepping=x", "not a number");
    refuse("max,", "\"\"");
    fake_free(fake_new("qemu64,+tsc-deadline,+tsc_deadline"));
}

/* What x86_model_warn says of a value of -cpu. */
static void warning(const char *text, char *to, size_t size)
{
    struct x86_model *m = NULL;
    struct status st = {""};
    FILE *out = fmemopen(to, size, "w");

    assert_true(x86_model_parse(&m, text, &st));
    x86_model_warn(m, text, out);
    fclose(out);
    x86_model_free(m);
}

static void test_warnings(void **state)
{
    char text[2200] = "";
    (void)state;

    warning("max", text, sizeof text);
    assert_string_equal(text, "");
    warning("host", text, sizeof text);
    assert_string_equal(text, "");
    warning("max,+vmx,+smx", text, sizeof text);
    assert_string_equal(text, "rhea: warning: -cpu max: the guest does without these features: vmx smx\n");
    memset(text, 0, sizeof text);
    warning("max,+vmx,check=off", text, sizeof text);
    assert_string_equal(text, "");
    warning("max,+vmx,-vmx,enforce", text, sizeof text);
    assert_string_equal(text, "");
    warning("Haswell", text, sizeof text);
    assert_non_null(strstr(text, " rtm"));
    memset(text, 0, sizeof text);
    warning("Nehalem,enforce", text, sizeof text);
    assert_string_equal(text, "");
}

/* QEMU's settings; family, model and stepping as leaf 1 packs them (SDM vol. 2, CPUID). */
static void test_settings(void **state)
{
    struct fake *f =
        fake_new("max,vendor=AuthenticAMD,family=25,model=0x61,stepping=2,model-id=Some processor,level=5");
    struct cpuid c = ask(f, 0, 0);
    (void)state;

    assert_int_equal(c.eax, 5);
    assert_memory_equal(&c.ebx, "Auth", 4);
    assert_int_equal(ask(f, 1, 0).eax, 0xa60f12);
    assert_int_equal(ask(f, 0x80000001, 0).eax, 0xa60f12);
    c = ask(f, 0x80000002, 0);
    assert_memory_equal(&c, "Some processor\0\0", 16);
    assert_int_equal(ask(f, 7, 0).ebx, 0); /* beyond the last leaf: zeros on an AMD */
    fake_free(f);
    f = fake_new("pentium3,+smep,hypervisor=off,+btc-no");
    assert_int_equal(ask(f, 0, 0).eax, 7); /* leaves grow with features */
    assert_int_equal(ask(f, 0x80000000, 0).eax, 0x80000008);
    assert_int_equal(ask(f, 1, 0).ecx >> 31, 0);
    fake_free(f);
    f = fake_new("max,host-phys-bits,phys-bits=36");
    assert_int_equal(ask(f, 0x80000008, 0).eax & 0xff, 36);
    assert_int_equal(msr_write(f, 0x201, 0xfffc00800), -1);
    assert_int_equal(msr_write(f, 0x201, 0x1ffffc00800), LEAVE_FAULT);
    fake_free(f);
}

/* Public facts: signature and vendor. */
static void test_known_models(void **state)
{
    static const struct {
        const char *name, *vendor;
        uint32_t signature;
    } known[] = {
        {"Nehalem", "Genu", 0x106a3},        {"Westmere", "Genu", 0x206c1},
        {"SandyBridge", "Genu", 0x206a1},    {"Haswell-noTSX", "Genu", 0x306c1},
        {"Skylake-Server", "Genu", 0x50654}, {"Icelake-Server", "Genu", 0x606a6},
        {"SapphireRapids", "Genu", 0x806f4}, {"Opteron_G1", "Auth", 0xf61},
        {"Opteron_G5", "Auth", 0x600f20},    {"EPYC", "Auth", 0x800f12},
        {"EPYC-Rome", "Auth", 0x830f10},     {"EPYC-Genoa", "Auth", 0xa10f10},
        {"Dhyana", "Hygo", 0x900f01},        {"486", "Genu", 0x480},
        {"pentium3", "Genu", 0x683},
    };
    (void)state;

    for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
        struct fake *f = fake_new(known[i].name);
        uint32_t ebx = ask(f, 0, 0).ebx;
        assert_int_equal(ask(f, 1, 0).eax, known[i].signature);
        assert_memory_equal(&ebx, known[i].vendor, 4);
        fake_free(f);
    }
}

/* For every name of -cpu help: CPUID, the bits CR4 and EFER may have, and what the lifter is told agree. */
static void test_every_model(void **state)
{
    static const struct {
        enum x86_feature feature;
        uint64_t cr4, efer;
    } bits[] = {
        {FEAT_FXSR, CR4_OSFXSR, 0},  {FEAT_SMEP, CR4_SMEP, 0}, {FEAT_SMAP, CR4_SMAP, 0}, {FEAT_UMIP, CR4_UMIP, 0},
        {FEAT_PKU, CR4_PKE, 0},      {FEAT_PKS, CR4_PKS, 0},   {FEAT_LA57, CR4_LA57, 0}, {FEAT_XSAVE, CR4_OSXSAVE, 0},
        {FEAT_PCID, CR4_PCIDE, 0},   {FEAT_PAE, CR4_PAE, 0},   {FEAT_LM, 0, EFER_LME},   {FEAT_NX, 0, EFER_NXE},
        {FEAT_SYSCALL, 0, EFER_SCE},
    };
    char text[16384], name[64];
    FILE *out = fmemopen(text, sizeof text, "w");
    unsigned models = 0;
    (void)state;

    x86_model_list(out);
    fclose(out);
    for (const char *p = strchr(text, '\n') + 1; *p == ' '; p = strchr(p, '\n') + 1, models++) {
        assert_int_equal(sscanf(p, "%63s", name), 1);
        struct fake *f = fake_new(name);
        const uint32_t *set = x86_model_features(f->x.model);
        for (unsigned n = 1; n < FEAT_COUNT; n++) {
            const struct x86_feature_row *r = &x86_features[n];
            uint32_t regs[4];
            struct cpuid c = ask(f, r->leaf, r->subleaf);
            memcpy(regs, &c, sizeof regs);
            if (set[n / 32] >> (n % 32) & 1)
                assert_true(regs[r->reg] >> r->bit & 1);
        }
        for (unsigned i = 0; i < ARRAY_LEN(bits); i++) {
            bool has = x86_model_has(f->x.model, bits[i].feature);
            assert_int_equal(!!(f->x.cr4_allowed & bits[i].cr4) || !!(f->x.efer_allowed & bits[i].efer), has);
        }
        fake_free(f);
    }
    assert_true(models > 50);
}

/* Registers that come with a feature are gone with it. */
static void test_msr_features(void **state)
{
    static const struct {
        const char *cpu;
        uint32_t msr;
    } gone[] = {
        {"max,-sep", 0x174},
        {"max,-mtrr", 0x2ff},
        {"max,-mtrr", 0x250},
        {"max,-pat", 0x277},
        {"max,-mca", 0x179},
        {"max,-xsaves", 0xda0},
        {"max,-rdtscp", 0xc0000103},
        {"max,-tsc_adjust", 0x3b},
        {"max,-syscall", 0xc0000081},
        {"qemu32", 0xc0000080},
        {"qemu32", 0xc0000100},
        {"max,-arch-capabilities", 0x10a},
        {"max,-spec-ctrl,-bhi-ctrl", 0x48},
        {"max,-tsc", 0x10},
        {"max,-pks", 0x6e1},
    };
    uint64_t v;
    (void)state;

    for (unsigned i = 0; i < ARRAY_LEN(gone); i++) {
        struct fake *f = fake_new(gone[i].cpu);
        assert_int_equal(msr_read(f, gone[i].msr, &v), LEAVE_FAULT);
        assert_int_equal(msr_write(f, gone[i].msr, 0), LEAVE_FAULT);
        fake_free(f);
        f = fake_new("max");
        assert_int_equal(msr_read(f, gone[i].msr, &v), -1);
        fake_free(f);
    }
    struct fake *f = fake_new("EPYC-Milan,-ibrs,+amd-ssbd");
    assert_int_equal(msr_write(f, 0x48, 4), -1);
    assert_int_equal(msr_write(f, 0x48, 1), LEAVE_FAULT);
    fake_free(f);
}

static bool any_base(void *dev, uint64_t v)
{
    (void)dev, (void)v;
    return true;
}

static void test_msr_rules(void **state)
{
    struct fake *f = fake_new("max");
    uint64_t v;
    (void)state;

    assert_int_equal(msr_write(f, 0xc0000082, 0xffffffff81000000), -1);
    assert_int_equal(msr_read(f, 0xc0000082, &v), -1);
    assert_true(v == 0xffffffff81000000);
    assert_int_equal(msr_write(f, 0xc0000082, 0x8000000000000000), LEAVE_FAULT); /* not canonical */
    assert_int_equal(f->x.fault.vector, EX_GP);
    assert_int_equal(msr_write(f, 0x277, 0x0007040600070406), -1);
    assert_int_equal(msr_write(f, 0x277, 0x0007040600070402), LEAVE_FAULT); /* type 2 is reserved */
    assert_int_equal(msr_write(f, 0x2ff, 0xc06), -1);
    assert_int_equal(msr_write(f, 0x2ff, 0xc02), LEAVE_FAULT);
    assert_int_equal(msr_write(f, 0x201, 0xffc0000800), -1);
    assert_int_equal(msr_write(f, 0x201, 0xffc0000801), LEAVE_FAULT);
    assert_int_equal(msr_write(f, 0x201, 1ull << 40), LEAVE_FAULT);
    assert_int_equal(msr_write(f, 0xfe, 0), LEAVE_FAULT); /* read only */
    f->x.intc.set_base = any_base;
    assert_int_equal(msr_write(f, 0x1b, 0xfee00800 | 1ull << 39), -1);
    assert_int_equal(msr_write(f, 0x1b, 0xfee00800 | 1ull << 40), LEAVE_FAULT);
    assert_int_equal(msr_read(f, 0x49, &v), LEAVE_FAULT); /* write only */
    assert_int_equal(msr_read(f, 0x12345678, &v), LEAVE_FAULT);
    assert_int_equal(msr_write(f, 0xda0, 1), LEAVE_FAULT);
    assert_int_equal(msr_read(f, 0xc0011029, &v), LEAVE_FAULT); /* AMD's */
    assert_int_equal(msr_read(f, 0x10a, &v), -1);
    assert_int_equal(v & 0x163, 0x163); /* RDCL_NO IBRS_ALL MDS_NO PSCHANGE_MC_NO TAA_NO */
    f->x.mode |= 3;
    assert_int_equal(msr_read(f, 0xfe, &v), LEAVE_FAULT);
    fake_free(f);
}

/* Four event selections and four counters, which every processor by AMD has (APM vol. 2, 13.2). */
static void test_amd_counters(void **state)
{
    struct fake *f = fake_new("qemu64");
    uint64_t v;
    (void)state;

    for (uint32_t msr = 0xc0010000; msr <= 0xc0010007; msr++) {
        assert_int_equal(msr_write(f, msr, 0x430076), -1);
        assert_int_equal(msr_read(f, msr, &v), -1);
    }
    f->x.cpu.reg[X86_RCX] = 3;
    assert_int_equal(fake_call(f, help_rdpmc, 0, 0, 0), -1);
    assert_int_equal(f->x.cpu.reg[X86_RAX] | f->x.cpu.reg[X86_RDX], 0);
    f->x.cpu.reg[X86_RCX] = 4;
    assert_int_equal(fake_call(f, help_rdpmc, 0, 0, 0), LEAVE_FAULT);
    f->x.cpu.reg[X86_RCX] = 0;
    f->x.mode |= 3;
    assert_int_equal(fake_call(f, help_rdpmc, 0, 0, 0), LEAVE_FAULT);
    f->x.cr4 |= CR4_PCE;
    assert_int_equal(fake_call(f, help_rdpmc, 0, 0, 0), -1);
    fake_free(f);
    f = fake_new("max");
    assert_int_equal(msr_read(f, 0xc0010000, &v), LEAVE_FAULT);
    assert_int_equal(fake_call(f, help_rdpmc, 0, 0, 0), LEAVE_FAULT);
    fake_free(f);
}

static void test_tsc(void **state)
{
    struct fake *f = fake_new("max");
    uint64_t v;
    (void)state;

    msr_write(f, 0x10, 1000);
    msr_read(f, 0x10, &v);
    assert_true(v >= 1000 && v < 1000 + 20000000000);
    msr_read(f, 0x3b, &v);
    assert_true(v == f->x.cpu.tsc_offset);
    msr_write(f, 0x3b, 0);
    assert_true(f->x.cpu.tsc_offset == 0);
    f->x.mode |= 3;
    f->x.cr4 |= CR4_TSD;
    assert_int_equal(fake_call(f, help_rdtsc, 0, 0, 0), LEAVE_FAULT);
    f->x.cr4 &= ~(uint64_t)CR4_TSD;
    f->x.tsc_aux = 77;
    assert_int_equal(fake_call(f, help_rdtsc, 1, 0, 0), -1);
    assert_int_equal(f->x.cpu.reg[X86_RCX], 77);
    fake_free(f);
}

/* ---- flags
 * ------------------------------------------------------------------------------------------------------------ */

static int popf(struct fake *f, uint64_t image, unsigned osize)
{
    return fake_call(f, help_popf, image, osize, 0);
}

static void test_popf_rights(void **state)
{
    enum { ALL = 0x3fffff };
    struct fake *f = fake_new("max");
    (void)state;

    f->x.mode = MODE_64 | MODE_PROT | MODE_FLAT;
    assert_int_equal(popf(f, ALL & ~FL_TF & ~FL_AC, 8), -1);
    assert_int_equal(x86_rflags(&f->x), 0x207ed7); /* no VM RF VIF VIP */
    x86_set_rflags(&f->x, 0);
    f->x.mode |= 3;
    assert_int_equal(popf(f, ALL & ~FL_TF & ~FL_AC, 8), -1);
    assert_int_equal(x86_rflags(&f->x), 0x204cd7); /* nor IF and IOPL at CPL 3 */
    x86_set_rflags(&f->x, FL_IOPL);
    assert_int_equal(popf(f, FL_IF, 8), -1);
    assert_int_equal(x86_rflags(&f->x), FL_IOPL | FL_IF | 2);
    assert_int_equal(popf(f, FL_ID, 2), -1); /* 16 bits: the rest stays */
    assert_int_equal(x86_rflags(&f->x), FL_IOPL | 2);
    fake_free(f);
}

static uint64_t pushf_image(struct fake *f, unsigned osize)
{
    return help_pushf(&f->x, osize, 0, 0);
}

static void test_virtual_8086(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    f->x.mode = MODE_PROT | MODE_VM86 | 3;
    x86_set_rflags(&f->x, FL_VM | FL_IF);
    assert_int_equal(fake_call(f, help_pushf, 2, 0, 0), LEAVE_FAULT);
    assert_int_equal(fake_call(f, help_cli, 0, 0, 0), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_GP);
    f->x.cr4 |= CR4_VME;
    assert_int_equal(fake_call(f, help_sti, 0, 0, 0), -1); /* VIF for IF */
    assert_int_equal(f->x.flags, FL_VM | FL_IF | FL_VIF | 2);
    assert_int_equal(pushf_image(f, 2) & 0xffff, FL_IOPL | FL_IF | 2);
    assert_int_equal(popf(f, 0, 2), -1);
    assert_int_equal(f->x.flags, FL_VM | FL_IF | 2);
    assert_int_equal(popf(f, FL_TF, 2), LEAVE_FAULT);
    assert_int_equal(popf(f, 0, 4), LEAVE_FAULT);
    f->x.flags |= FL_VIP;
    assert_int_equal(fake_call(f, help_sti, 0, 0, 0), LEAVE_FAULT);
    assert_int_equal(popf(f, FL_IF, 2), LEAVE_FAULT);
    f->x.flags |= FL_IOPL;
    assert_int_equal(fake_call(f, help_cli, 0, 0, 0), -1);
    assert_false(f->x.flags & FL_IF);
    fake_free(f);
}

/* ---- sys_misc.c
 * --------------------------------------------------------------------------------------------------------- */

static unsigned decimal(struct fake *f, unsigned kind, unsigned ax, uint32_t flags, unsigned base)
{
    f->x.cpu.reg[X86_RAX] = ax;
    cpu_set_flags(&f->x.cpu, flags);
    assert_int_equal(fake_call(f, help_bcd, kind, base, 0), -1);
    return (unsigned)f->x.cpu.reg[X86_RAX];
}

/* Packed sums and differences of all pairs: what the insns are for. */
static void test_decimal(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    for (unsigned p = 0; p < 100; p++)
        for (unsigned q = 0; q < 100; q++) {
            unsigned bp = p / 10 << 4 | p % 10, bq = q / 10 << 4 | q % 10, s = bp + bq, d = (bp - bq) & 0xff;
            uint32_t af = (bp & 15) + (bq & 15) > 15 ? FL_AF : 0;
            unsigned sum = (p + q) % 100, difference = (p + 100 - q) % 100;
            assert_int_equal(decimal(f, 0, s & 0xff, af | (s > 255 ? FL_CF : 0), 0), sum / 10 << 4 | sum % 10);
            assert_int_equal(cpu_flags(&f->x.cpu) & FL_CF, p + q >= 100);
            af = (bp & 15) < (bq & 15) ? FL_AF : 0;
            assert_int_equal(decimal(f, 1, d, af | (bp < bq ? FL_CF : 0), 0), difference / 10 << 4 | difference % 10);
            assert_int_equal(cpu_flags(&f->x.cpu) & FL_CF, p < q);
        }
    assert_int_equal(decimal(f, 1, 3, FL_AF, 0), 0xfd); /* DAS: the borrow of the low digit is a borrow of all */
    assert_true(cpu_flags(&f->x.cpu) & FL_CF);
    assert_int_equal(decimal(f, 2, 0x020b, 0, 0), 0x0301);     /* AAA: 11 becomes 1, carry into AH */
    assert_int_equal(decimal(f, 3, 0x02fe, FL_AF, 0), 0x0108); /* AAS: -2 */
    assert_int_equal(decimal(f, 4, 63, 0, 10), 0x0603);
    assert_int_equal(decimal(f, 5, 0x0603, 0, 10), 63);
    assert_int_equal(fake_call(f, help_bcd, 4, 0, 0), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_DE);
    fake_free(f);
}

static void test_cmpxchg(void **state)
{
    struct fake *f = fake_new("max");
    (void)state;

    for (unsigned slow = 0; slow < 2; slow++)
        for (unsigned bytes = 8; bytes <= 16; bytes *= 2) {
            unsigned half = bytes / 2;
            uint64_t *r = f->x.cpu.reg;
            f->page[3] = slow ? PAGE_SLOW : PAGE_RAM;
            bytes_put(f->mem + 0x3000, 0x11111111, 8);
            bytes_put(f->mem + 0x3000 + half, 0x22222222, 8);
            r[X86_RAX] = 0x11111111, r[X86_RDX] = 0x22222222, r[X86_RBX] = 3, r[X86_RCX] = 4;
            cpu_set_flags(&f->x.cpu, FL_CF);
            assert_int_equal(fake_call(f, help_cmpxchg8b, 0x3000, bytes, 1), -1);
            assert_int_equal(cpu_flags(&f->x.cpu), FL_CF | FL_ZF);
            assert_int_equal(bytes_get(f->mem + 0x3000, half), 3);
            assert_int_equal(bytes_get(f->mem + 0x3000 + half, half), 4);
            assert_int_equal(fake_call(f, help_cmpxchg8b, 0x3000, bytes, 1), -1);
            assert_int_equal(cpu_flags(&f->x.cpu), FL_CF);
            assert_int_equal(r[X86_RAX], 3);
            assert_int_equal(r[X86_RDX], 4);
        }
    assert_int_equal(fake_call(f, help_cmpxchg8b, 0x3008, 16, 0), LEAVE_FAULT);
    assert_int_equal(f->x.fault.vector, EX_GP);
    fake_free(f);
}

static void test_frames(void **state)
{
    struct fake *f = fake_new("max");
    uint64_t *r = f->x.cpu.reg;
    (void)state;

    f->x.cpu.reg[X86_RSP] = 0x8000;
    f->x.cpu.reg[X86_RBP] = 0x9000;
    bytes_put(f->mem + 0x8ff8, 0xaaaa, 8);
    assert_int_equal(fake_call(f, help_enter, 0x20, 2, 8), -1); /* old RBP, one outer frame pointer, the new one */
    assert_int_equal(r[X86_RBP], 0x7ff8);
    assert_int_equal(r[X86_RSP], 0x7fe8 - 0x20);
    assert_int_equal(bytes_get(f->mem + 0x7ff8, 8), 0x9000);
    assert_int_equal(bytes_get(f->mem + 0x7ff0, 8), 0xaaaa);
    assert_int_equal(bytes_get(f->mem + 0x7fe8, 8), 0x7ff8);
    r[X86_RSP] = 0x8000;
    r[X86_RBP] = 0x9000;
    f->page[6] = PAGE_HOLE;
    assert_int_equal(fake_call(f, help_enter, 0x1800, 0, 8), LEAVE_FAULT); /* the new top must be writable */
    assert_int_equal(r[X86_RSP], 0x8000);
    assert_int_equal(r[X86_RBP], 0x9000);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity),     cmocka_unit_test(test_xsave_leaf),   cmocka_unit_test(test_live_bits),
        cmocka_unit_test(test_topology),     cmocka_unit_test(test_frequency),    cmocka_unit_test(test_words),
        cmocka_unit_test(test_msr_rules),    cmocka_unit_test(test_amd_counters), cmocka_unit_test(test_tsc),
        cmocka_unit_test(test_popf_rights),  cmocka_unit_test(test_virtual_8086), cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_settings),     cmocka_unit_test(test_known_models), cmocka_unit_test(test_every_model),
        cmocka_unit_test(test_msr_features), cmocka_unit_test(test_decimal),      cmocka_unit_test(test_cmpxchg),
        cmocka_unit_test(test_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
