/* guest/x86/print.c: the registers as people read them: `info registers`, triple faults, -d cpu.
 *
 * Changes nothing and takes no lock; for a processor that runs at the moment it may show a mixture of two moments.
 */
#include "guest/x86/run_int.h"

static void print_segment(FILE *out, const char *name, const struct x86_segment *s)
{
    unsigned a = s->attr;
    fprintf(out, "%-4s %04x base %016llx limit %08x attr %04x dpl %u%s%s%s%s\n", name, s->selector,
            (unsigned long long)s->base, s->limit, a, (a >> 5) & 3, a & SEG_P ? "" : " not present",
            a & SEG_S ? (a & 8 ? " code" : " data") : " system", a & SEG_L ? " 64" : "", a & SEG_DB ? " 32" : "");
}

static void print_flags(FILE *out, uint64_t flags)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {
        {FL_CF, "cf"}, {FL_PF, "pf"},   {FL_AF, "af"},   {FL_ZF, "zf"}, {FL_SF, "sf"}, {FL_TF, "tf"},
        {FL_IF, "if"}, {FL_DF, "df"},   {FL_OF, "of"},   {FL_NT, "nt"}, {FL_RF, "rf"}, {FL_VM, "vm"},
        {FL_AC, "ac"}, {FL_VIF, "vif"}, {FL_VIP, "vip"}, {FL_ID, "id"},
    };
    fprintf(out, "rflags %08llx [", (unsigned long long)flags);
    for (unsigned n = 0; n < ARRAY_LEN(names); n++)
        if (flags & names[n].bit)
            fprintf(out, " %s", names[n].name);
    fprintf(out, " ] iopl %u", (unsigned)(flags >> 12 & 3));
}

void x86_print(FILE *out, const struct x86 *x)
{
    static const char *const reg[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static const char *const seg[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    fprintf(out, "cpu %u  rip %016llx  pc %016llx  cpl %u  mode %04x\n", x->index,
            (unsigned long long)x86_rip(x, x->cpu.pc), (unsigned long long)x->cpu.pc, x86_cpl(x), x->mode);
    for (unsigned n = 0; n < 16; n++)
        fprintf(out, "%-3s %016llx%s", reg[n], (unsigned long long)x->cpu.reg[n], n % 4 == 3 ? "\n" : "  ");
    print_flags(out, x86_rflags(x));
    fprintf(out, "%s%s%s\n", x->shadow ? "  shadow" : "", x->nmi_blocked ? "  nmi blocked" : "",
            x->triple ? "  shut down" : "");
    for (unsigned n = 0; n < SEG_COUNT; n++)
        print_segment(out, seg[n], &x->seg[n]);
    print_segment(out, "ldtr", &x->ldtr);
    print_segment(out, "tr", &x->tr);
    fprintf(out, "gdtr %016llx limit %04x  idtr %016llx limit %04x\n", (unsigned long long)x->gdtr.base, x->gdtr.limit,
            (unsigned long long)x->idtr.base, x->idtr.limit);
    fprintf(out, "cr0 %08llx  cr2 %016llx  cr3 %016llx  cr4 %08llx  efer %04llx  xcr0 %llx  pkru %08x\n",
            (unsigned long long)x->cr0, (unsigned long long)x->cr2, (unsigned long long)x->cr3,
            (unsigned long long)x->cr4, (unsigned long long)x->efer, (unsigned long long)x->xcr0, x->pkru);
    fprintf(out, "dr0 %016llx  dr1 %016llx  dr2 %016llx  dr3 %016llx  dr6 %08llx  dr7 %08llx\n",
            (unsigned long long)x->dr[0], (unsigned long long)x->dr[1], (unsigned long long)x->dr[2],
            (unsigned long long)x->dr[3], (unsigned long long)x->dr[6], (unsigned long long)x->dr[7]);
    fprintf(out, "kernel gs base %016llx  star %016llx  lstar %016llx  fmask %08llx\n",
            (unsigned long long)x->kernel_gs_base, (unsigned long long)x->star, (unsigned long long)x->lstar,
            (unsigned long long)x->fmask);
}
