/* tool/monitor_info.c: the monitor's `info` commands.  They only look; the vCPUs stand still. */
#include "tool/monitor.h"

#include <string.h>

typedef unsigned long long ull;

void info_registers(struct monitor *mon, const char *args)
{
    bool all = !strcmp(args, "-a");
    for (unsigned i = 0; i < mon->machine->ncpus; i++)
        if (all || i == mon->cpu)
            x86_print(mon->out, &mon->machine->cpu[i].vcpu->x86);
}

void info_cpus(struct monitor *mon, const char *args)
{
    (void)args;
    for (unsigned i = 0; i < mon->machine->ncpus; i++) {
        const struct vcpu *v = mon->machine->cpu[i].vcpu;
        fprintf(mon->out, "%c cpu %u: pc 0x%016llx%s\n", i == mon->cpu ? '*' : ' ', i, (ull)v->x86.cpu.pc,
                v->wait_sipi    ? " (waits for a start-up ipi)"
                : v->x86.triple ? " (shut down)"
                : v->halted     ? " (halted)"
                                : "");
    }
}

void info_status(struct monitor *mon, const char *args)
{
    (void)args;
    fprintf(mon->out, "VM status: %s\n", mon->machine->stopped ? "paused" : "running");
}

void info_version(struct monitor *mon, const char *args)
{
    (void)args;
    fprintf(mon->out, "rhea " RHEA_VERSION "\n");
}

void info_jit(struct monitor *mon, const char *args)
{
    (void)args;
    exec_print_counters(mon->out, &mon->machine->exec);
}

void info_lapic(struct monitor *mon, const char *args)
{
    (void)args;
    lapic_print(mon->out, mon->machine->pc.lapic[mon->cpu]);
}

void info_pic(struct monitor *mon, const char *args)
{
    (void)args;
    ioapic_print(mon->out, mon->machine->pc.ioapic);
}

void info_pci(struct monitor *mon, const char *args)
{
    (void)args;
    pci_print(mon->out, mon->machine->pc.pci);
}

/* ---- physical memory --------------------------------------------------------------------------------------------- */

static void print_range(void *arg, const struct bus_range *r, uint64_t from, uint64_t to)
{
    fprintf(arg, "  %016llx-%016llx  %-4s %s\n", (ull)from, (ull)to, r->host ? r->readonly ? "rom" : "ram" : "io",
            r->name ? r->name : "");
}

void info_mtree(struct monitor *mon, const char *args)
{
    (void)args;
    fprintf(mon->out, "memory\n");
    bus_each(mon->machine->pc.mem, print_range, mon->out);
    fprintf(mon->out, "I/O ports\n");
    bus_each(mon->machine->pc.io, print_range, mon->out);
}

/* ---- page tables: SDM vol. 3, 4.3 to 4.5
 * ---------------------------------------------------------------------------- */

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_PS = 128 };

/* Tables may lead back to themselves: what a guest makes of them must not keep the monitor for ever. */
enum { TABLES_MAX = 1 << 17, LINES_MAX = 10000 };

/* Neighbours with the same rights become one line. */
struct ranges {
    FILE *out;
    struct bus *mem;
    bool wide;              /* 8-byte entries */
    unsigned tables, lines; /* walked, printed */
    gva_t from, next;
    unsigned rights; /* 0: no range begun */
};

static void ranges_end(struct ranges *r)
{
    if (r->rights && ++r->lines <= LINES_MAX)
        fprintf(r->out, "%016llx-%016llx %016llx %c%c%c%c\n", (ull)r->from, (ull)r->next, (ull)(r->next - r->from),
                r->rights & PTE_U ? 'u' : '-', 'r', r->rights & PTE_W ? 'w' : '-', r->rights & 8 ? '-' : 'x');
    r->rights = 0;
}

static void ranges_add(struct ranges *r, gva_t at, uint64_t size, unsigned rights)
{
    if (r->rights != rights || r->next != at) {
        ranges_end(r);
        r->from = at;
        r->rights = rights;
    }
    r->next = at + size;
}

/* All of the table at `table`, whose entries map 1 << shift bytes each.  rights: those of the levels above. */
static void walk_table(struct ranges *r, gpa_t table, unsigned shift, unsigned entries, gva_t base, unsigned rights)
{
    unsigned width = r->wide ? 8 : 4, per_level = r->wide ? 9 : 10;
    const uint8_t *host = bus_host(r->mem, table, (uint64_t)entries * width, false);
    bool top = r->tables++ == 0 && shift >= 39;
    for (unsigned i = 0; host && i < entries && r->tables < TABLES_MAX && r->lines < LINES_MAX; i++) {
        uint64_t pte = bytes_get(host + i * width, width);
        gva_t at = base + ((uint64_t)i << shift);
        if (top && i >= entries / 2)
            at |= ~0ull << shift << 9; /* canonical */
        if (!(pte & PTE_P))
            continue;
        unsigned now =
            (rights & (unsigned)pte & (PTE_W | PTE_U)) | PTE_P | (rights & 8) | (r->wide && pte >> 63 ? 8 : 0);
        bool large = (pte & PTE_PS) && shift > 12 && shift <= 30;
        if (shift == 12 || large)
            ranges_add(r, at, 1ull << shift, now);
        else
            walk_table(r, pte & 0xffffffffff000ull, shift - per_level, 1u << per_level, at, now);
    }
}

void info_mem(struct monitor *mon, const char *args)
{
    const struct x86 *x = &monitor_vcpu(mon)->x86;
    struct ranges r = {.out = mon->out, .mem = x->mem, .wide = x->cr4 & CR4_PAE};
    (void)args;
    if (!(x->cr0 & CR0_PG)) {
        fprintf(mon->out, "paging is off\n");
        return;
    }
    if (x->efer & EFER_LMA)
        walk_table(&r, x->cr3 & 0xffffffffff000ull, x->cr4 & CR4_LA57 ? 48 : 39, 512, 0, PTE_W | PTE_U);
    else if (r.wide)
        for (unsigned i = 0; i < 4; i++) {
            if (x->pdpte[i] & PTE_P)
                walk_table(&r, x->pdpte[i] & 0xffffffffff000ull, 21, 512, (gva_t)i << 30, PTE_W | PTE_U);
        }
    else
        walk_table(&r, x->cr3 & 0xfffff000u, 22, 1024, 0, PTE_W | PTE_U);
    ranges_end(&r);
    if (r.tables >= TABLES_MAX || r.lines >= LINES_MAX)
        fprintf(mon->out, "more than %u ranges or %u page tables: the rest is not shown\n", LINES_MAX, TABLES_MAX);
}

/* ---- translation tables
 * ------------------------------------------------------------------------------------------------ */

struct tlb_lines {
    FILE *out;
    const struct ram *ram;
    unsigned n;
};

static void print_entry(void *arg, enum tlb_kind k, gva_t gva, uint64_t entry)
{
    static const char *const name[TLB_KINDS] = {"read user", "read sup",     "read sup+ac", "write user",
                                                "write sup", "write sup+ac", "exec user",   "exec sup"};
    struct tlb_lines *t = arg;
    bool exec = k == TLB_X_USER || k == TLB_X_SUP;
    uint64_t page = exec ? 0 : ram_page_of_host(t->ram, (const void *)(uintptr_t)(gva + entry));
    gpa_t gpa = exec ? (entry - 1) << 12 : page == UINT64_MAX ? ~0ull : ram_gpa_of_page(t->ram, page);
    t->n++;
    fprintf(t->out, "  %016llx: %012llx  %s\n", (ull)gva, (ull)gpa, name[k]);
}

void info_tlb(struct monitor *mon, const char *args)
{
    struct x86 *x = &monitor_vcpu(mon)->x86;
    (void)args;
    for (unsigned slot = 0; slot < tlb_slots(x->tlb) && slot < ARRAY_LEN(x->slot); slot++) {
        struct tlb_lines t = {.out = mon->out, .ram = x->ram};
        if (x->slot[slot].pcid == X86_SLOT_FREE)
            continue;
        fprintf(mon->out, "address space %u (PCID %x)%s\n", slot, x->slot[slot].pcid,
                slot == x->cur_slot ? ", current" : "");
        tlb_each(x->tlb, slot, print_entry, &t);
        fprintf(mon->out, "  %u entries\n", t.n);
    }
}
