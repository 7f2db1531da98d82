/* guest/x86/control.c: control and debug registers, EFER, TLB invalidation, the derived mode, and reset.
 *
 * Address spaces.  x->tlb has a few slots, each a full set of translation tables.  With CR4.PCIDE a slot belongs to a
 * PCID and MOV CR3 mostly just switches slots; without it one slot serves all.  A slot that goes to another PCID keeps its
 * global entries, as a processor does (vol. 3, 4.10.2.4), so a hundred processes in turn do not lose the kernel's.
 *
 * Jump caches.  cpu.jc is the table for cpu.jc_tag: (generation, mode).  An entry rests on an X entry in some slot; when
 * such may have gone there is a new generation, so its table is never entered again.  User code has a generation a slot.
 * Supervisor code has one for all slots as long as all of it is global (x->global_code); a slot where some is not gets one of
 * its own (slot.own_code) until that is flushed.
 *
 * Rules to know before editing
 *   - Checks first (#GP leaves at once), then the register, then flushes, then x86_mode_update.
 *   - Anything that revokes a right or changes what an entry means flushes; anything that only picks other tables
 *     does not (vol. 3, 4.10.4).
 */
#include "guest/x86/run_int.h"

#include <string.h>

enum { PCID_MASK = 0xfff };
#define CR4_ALL                                                                                                        \
    (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR |             \
     CR4_OSXMMEXCPT | CR4_UMIP | CR4_LA57 | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP | CR4_PKE |   \
     CR4_PKS)

/* ---- jump cache tags ------------------------------------------------------------------------------------------ */

static void table_clear(struct cpu *c, unsigned n)
{
    bool all = c->jc_logged[n] > CPU_JC_LOG;
    unsigned entries = all ? CPU_JC_SIZE : c->jc_logged[n];
    for (unsigned i = 0; i < entries; i++)
        __atomic_store_n(&c->jc_table[n][all ? i : c->jc_log[n][i]].hpc, c->jc_none, __ATOMIC_RELAXED);
    c->jc_logged[n] = 0;
}

/* The table of a tag that has none: one that nobody wants, or that nobody has wanted for longest. */
static unsigned table_for(struct cpu *c, uint64_t tag)
{
    unsigned victim = 0;
    for (unsigned n = 0; n < CPU_JC_TABLES; n++) {
        if (c->jc_tags[n] == CPU_JC_NO_TAG)
            c->jc_used[n] = 0;
        if (c->jc_used[n] < c->jc_used[victim])
            victim = n;
    }
    table_clear(c, victim);
    c->jc_tags[victim] = tag;
    return victim;
}

void x86_jc_enter(struct x86 *x, uint64_t tag)
{
    struct cpu *c = &x->cpu;
    unsigned n = 0;
    if (tag == c->jc_tag)
        return;
    while (n < CPU_JC_TABLES && c->jc_tags[n] != tag)
        n++;
    if (n == CPU_JC_TABLES)
        n = table_for(c, tag);
    c->jc_used[n] = ++c->jc_clock;
    c->jc = c->jc_table[n];
    c->jc_tag = tag;
}

void x86_jc_clear(struct x86 *x)
{
    uint64_t tag = x->cpu.jc_tag;
    for (unsigned n = 0; n < CPU_JC_TABLES; n++)
        x->cpu.jc_tags[n] = CPU_JC_NO_TAG;
    x->cpu.jc_tag = CPU_JC_NO_TAG;
    x86_jc_enter(x, tag);
}

static void tag_update(struct x86 *x)
{
    unsigned n = x->cur_slot;
    uint32_t generation = (x->mode & MODE_CPL) == 3 ? x->slot[n].generation
                          : x->slot[n].own_code     ? x->slot[n].own_code
                                                    : x->global_code;
    x86_jc_enter(x, (uint64_t)generation << 32 | x->mode);
}

/* The generation that follows `old`, whose tables are of no use any longer. */
static uint32_t generation_after(struct x86 *x, uint32_t old)
{
    for (unsigned n = 0; n < CPU_JC_TABLES; n++)
        if (x->cpu.jc_tags[n] >> 32 == old)
            x->cpu.jc_tags[n] = CPU_JC_NO_TAG;
    return ++x->generations;
}

/* Slot n lost X entries, of which `all`: global ones too. */
static void code_lost(struct x86 *x, unsigned n, unsigned lost, bool all)
{
    if (lost & (TLB_X_OF_USER | TLB_X_LOST))
        x->slot[n].generation = generation_after(x, x->slot[n].generation);
    if (lost & TLB_X_LOST || (lost & TLB_X_OF_SUP && (all || !x->slot[n].own_code)))
        x->global_code = generation_after(x, x->global_code);
    if (lost & (TLB_X_OF_SUP | TLB_X_LOST) && x->slot[n].own_code)
        x->slot[n].own_code = generation_after(x, x->slot[n].own_code);
}

/* ---- slots ------------------------------------------------------------------------------------------------------ */

static void slot_flush(struct x86 *x, unsigned slot, bool keep_global)
{
    unsigned lost = 0;
    x->count.cr3_flushes++;
    tlb_flush_slot(x->tlb, slot, keep_global, &lost);
    code_lost(x, slot, lost, !keep_global);
    x->slot[slot].own_code = 0; /* what is left is global */
}

static unsigned slot_count(const struct x86 *x)
{
    unsigned n = tlb_slots(x->tlb);
    return n < ARRAY_LEN(x->slot) ? n : (unsigned)ARRAY_LEN(x->slot);
}

void x86_fill_code(struct x86 *x, gva_t pc, uint64_t entry, unsigned fill)
{
    bool user = x86_cpl(x) == 3;
    uint32_t *own = &x->slot[x->cur_slot].own_code;
    if (!user && !(fill & TLB_GLOBAL) && !*own) {
        *own = ++x->generations;
        tag_update(x);
    }
    tlb_fill(x->tlb, x->cur_slot, user ? TLB_X_USER : TLB_X_SUP, pc, entry, fill);
}

void x86_flush_all(struct x86 *x)
{
    if (!x->tlb)
        return;
    for (unsigned n = 0; n < slot_count(x); n++)
        slot_flush(x, n, false);
}

/* Forget whose the slots are: after CR4.PCIDE changed and at reset. */
static void slots_free(struct x86 *x)
{
    for (unsigned n = 0; n < ARRAY_LEN(x->slot); n++) {
        x->slot[n].pcid = X86_SLOT_FREE;
        x->slot[n].used = 0;
        x->slot[n].generation = ++x->generations;
    }
    x->global_code = ++x->generations;
    x->cur_slot = 0;
    x86_flush_all(x);
}

enum { NO_SLOT = -1 };

static int slot_of(const struct x86 *x, uint64_t pcid)
{
    for (unsigned n = 0; n < slot_count(x); n++)
        if (x->slot[n].pcid == pcid)
            return (int)n;
    return NO_SLOT;
}

/* The slot of a PCID, given to it if it has none; what it holds of that PCID's goes if `flush`. */
static unsigned slot_for(struct x86 *x, uint32_t pcid, bool flush)
{
    unsigned victim = 0;
    int own = slot_of(x, pcid);
    if (own != NO_SLOT) {
        if (flush)
            slot_flush(x, (unsigned)own, true);
        return (unsigned)own;
    }
    for (unsigned n = 1; n < slot_count(x); n++)
        if (x->slot[n].used < x->slot[victim].used)
            victim = n;
    slot_flush(x, victim, true);
    x->slot[victim].pcid = pcid;
    return victim;
}

static void address_space_enter(struct x86 *x, bool flush)
{
    if (!x->tlb)
        return;
    if (!(x->cr4 & CR4_PCIDE)) {
        if (flush)
            slot_flush(x, x->cur_slot, true);
        return;
    }
    x->cur_slot = slot_for(x, x->cr3 & PCID_MASK, flush);
    x->slot[x->cur_slot].used = ++x->slot_clock;
}

/* ---- derived state ------------------------------------------------------------------------------------------------ */

/* Remembered entries (cpu.pair_page) of one privilege stay good while the other runs, and until its tables change. */
static void pairs_check(struct x86 *x)
{
    unsigned half = CPU_PAIRS / 2, user = x86_cpl(x) == 3;
    uint8_t **of = x->pairs_of[user];
    if (of[0] == x->cpu.tab_r && of[1] == x->cpu.tab_w)
        return;
    of[0] = x->cpu.tab_r;
    of[1] = x->cpu.tab_w;
    for (unsigned n = 0; n < half; n++)
        x->cpu.pair_page[user * half + n] = CPU_NO_PAGE;
}

static void tables_update(struct x86 *x)
{
    if (!x->tlb)
        return;
    unsigned user = x86_cpl(x) == 3 ? WALK_USER : 0;
    x->cpu.tab_r = x86_table(x, x->cur_slot, x86_table_kind(x, user | WALK_READ));
    x->cpu.tab_w = x86_table(x, x->cur_slot, x86_table_kind(x, user | WALK_WRITE));
    x->cpu.tab_x = x86_table(x, x->cur_slot, x86_table_kind(x, user | WALK_FETCH));
    pairs_check(x);
}

static bool flat_data(const struct x86_segment *s)
{
    /* writable, expand-up, present */
    return (s->attr & (SEG_P | SEG_S | 8 | 4 | 2)) == (SEG_P | SEG_S | 2) && s->limit == 0xffffffff;
}

static bool flat_code(const struct x86_segment *s)
{
    return (s->attr & (SEG_P | SEG_S | 8 | 2)) == (SEG_P | SEG_S | 8 | 2) && s->limit == 0xffffffff && !s->base;
}

static uint32_t mode_segments(const struct x86 *x)
{
    const struct x86_segment *s = x->seg;
    uint32_t m = 0;
    if (s[SEG_CS].attr & SEG_DB)
        m |= MODE_CS32;
    if (s[SEG_SS].attr & SEG_DB)
        m |= MODE_SS32;
    if (!(x->cr0 & CR0_PE))
        return m;
    if (x->flags & FL_VM)
        return (m & ~(uint32_t)(MODE_CS32 | MODE_SS32)) | MODE_VM86 | 3;
    m |= seg_dpl(s[SEG_SS].attr);
    if (flat_code(&s[SEG_CS]) && flat_data(&s[SEG_SS]) && flat_data(&s[SEG_DS]) && flat_data(&s[SEG_ES]) &&
        !(s[SEG_SS].base | s[SEG_DS].base | s[SEG_ES].base))
        m |= MODE_FLAT;
    if (flat_data(&s[SEG_FS]) && flat_data(&s[SEG_GS]))
        m |= MODE_FLAT_FSGS;
    return m;
}

static bool steps(const struct x86 *x)
{
    if (x->flags & FL_TF || x->pending_db)
        return true;
    if (!(x->dr[7] & 0xff))
        return false;
    for (unsigned n = 0; n < 4; n++)
        if (x->dr[7] >> (2 * n) & 3 && !(x->dr[7] >> (16 + 4 * n) & 3))
            return true;
    return false;
}

static uint32_t mode_units(const struct x86 *x)
{
    uint32_t m = 0;
    if (x->cr0 & (CR0_EM | CR0_TS))
        m |= MODE_NOFPU | MODE_NOSSE;
    if (!(x->cr4 & CR4_OSFXSR))
        m |= MODE_NOSSE;
    if (!x->x87_live && (x->fx[0] & 0x3f) != 0x3f) /* FCW; while live all are masked */
        m |= MODE_X87_IMAGE;
    return m;
}

unsigned x86_vec_usable(const struct x86 *x)
{
    const uint64_t avx = XCOMP_SSE | XCOMP_AVX, avx512 = avx | XCOMP_AVX512;
    if (!(x->cr4 & CR4_OSXSAVE) || (x->xcr0 & avx) != avx)
        return 16;
    return (x->xcr0 & avx512) == avx512 ? 64 : 32;
}

/* How much vector state generated code keeps in host registers from now on. */
static uint32_t mode_vectors(struct x86 *x, unsigned cpl)
{
    unsigned usable = x->cr0 & CR0_TS ? 16 : x86_vec_usable(x), wanted = x->vec_wanted[cpl == 3];
    x->vec_wanted[0] = 16; /* until asked for again */
    unsigned bytes = wanted < 16 ? 16 : wanted < usable ? wanted : usable;
    x->cpu.vec_bytes = (uint8_t)(x->vec_host && bytes > x->vec_host ? x->vec_host : bytes);
    return (bytes >= 32 ? MODE_AVX : 0) | (bytes >= 64 ? MODE_AVX512 : 0);
}

void x86_mode_update(struct x86 *x)
{
    uint32_t m = x->cr0 & CR0_PE ? MODE_PROT : 0;
    if (x->efer & EFER_LMA && x->seg[SEG_CS].attr & SEG_L)
        m |= MODE_64 | MODE_FLAT | MODE_FLAT_FSGS | seg_dpl(x->seg[SEG_SS].attr);
    else
        m |= mode_segments(x);
    if (__builtin_expect(steps(x), 0))
        m |= MODE_STEP;
    else
        x->flags &= ~(uint32_t)FL_RF; /* nothing it could hold off */
    m |= mode_units(x) | mode_vectors(x, m & MODE_VM86 ? 3 : m & MODE_CPL);
    if (m != x->mode)
        x->count.mode_changes++;
    x->mode = m;
    for (unsigned n = SEG_ES; n <= SEG_DS; n++)
        x->cpu.reg[X86_BASE_ES + n] = m & MODE_64 ? 0 : x->seg[n].base;
    x->cpu.reg[X86_BASE_FS] = x->seg[SEG_FS].base;
    x->cpu.reg[X86_BASE_GS] = x->seg[SEG_GS].base;
    tag_update(x);
    tables_update(x);
}

/* ---- CR0, CR3, CR4, EFER: vol. 3, 2.5, 4.1.2, 9.8.5 ---------------------------------------------------------- */

static void general_protection(struct x86 *x)
{
    x86_raise_error(x, EX_GP, 0);
}

/* Read and check the four PDPTEs of PAE paging (vol. 3, 4.4.1). */
static void pdptes_load(struct x86 *x, uint64_t cr3)
{
    uint64_t p[4], reserved = 0x1e6 | ~mask_bits(x86_phys_bits(x));
    for (unsigned n = 0; n < 4; n++) {
        p[n] = bus_read(x->mem, ((cr3 & 0xffffffe0u) + 8 * n) & x->a20_mask, 8);
        if (p[n] & 1 && p[n] & reserved)
            general_protection(x);
    }
    memcpy(x->pdpte, p, sizeof(p));
}

static bool pae_paging(const struct x86 *x, uint64_t cr0, uint64_t cr4)
{
    return cr0 & CR0_PG && cr4 & CR4_PAE && !(x->efer & EFER_LME);
}

void x86_write_cr0(struct x86 *x, uint64_t v)
{
    uint64_t old = x->cr0, changed;
    if (v >> 32 || (v & CR0_PG && !(v & CR0_PE)) || (v & CR0_NW && !(v & CR0_CD)))
        general_protection(x);
    v = (v & (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)) | CR0_ET;
    changed = old ^ v;
    bool on = changed & v & CR0_PG, off = changed & old & CR0_PG;
    if (on && x->efer & EFER_LME && (!(x->cr4 & CR4_PAE) || x->seg[SEG_CS].attr & SEG_L))
        general_protection(x);
    if (off && (x->mode & MODE_64 || x->cr4 & CR4_PCIDE))
        general_protection(x);
    if (pae_paging(x, v, x->cr4) && changed & (CR0_PG | CR0_CD | CR0_NW))
        pdptes_load(x, x->cr3);
    x->cr0 = v;
    if (on && x->efer & EFER_LME)
        x->efer |= EFER_LMA;
    if (off)
        x->efer &= ~(uint64_t)EFER_LMA;
    if (changed & (CR0_PG | CR0_WP | CR0_PE))
        x86_flush_all(x);
    x86_mode_update(x);
}

void x86_write_cr3(struct x86 *x, uint64_t v)
{
    bool keep = false;
    if (x86_long_mode(x)) {
        if (x->cr4 & CR4_PCIDE) {
            keep = v >> 63;
            v &= ~(1ull << 63);
        }
        if (v & ~mask_bits(x86_phys_bits(x)))
            general_protection(x);
    } else {
        v &= 0xffffffff;
        if (pae_paging(x, x->cr0, x->cr4))
            pdptes_load(x, v);
    }
    x->count.cr3_writes++;
    x->cr3 = v;
    address_space_enter(x, !keep);
    x86_mode_update(x);
}

void x86_write_cr4(struct x86 *x, uint64_t v)
{
    uint64_t changed = x->cr4 ^ v, on = changed & v;
    if (v & ~(x->cr4_allowed ? x->cr4_allowed : (uint64_t)CR4_ALL))
        general_protection(x);
    if (x86_long_mode(x) && (!(v & CR4_PAE) || changed & CR4_LA57))
        general_protection(x);
    if (on & CR4_PCIDE && (!x86_long_mode(x) || x->cr3 & PCID_MASK))
        general_protection(x);
    if (pae_paging(x, x->cr0, v) && changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP))
        pdptes_load(x, x->cr3);
    x->cr4 = v;
    if (changed & CR4_PCIDE) {
        slots_free(x);
        address_space_enter(x, false);
    } else if (changed & (CR4_PGE | CR4_PSE | CR4_PAE | CR4_LA57 | CR4_PKE | CR4_PKS | CR4_SMEP)) {
        x86_flush_all(x);
    }
    x86_mode_update(x);
}

void x86_write_efer(struct x86 *x, uint64_t v)
{
    uint64_t known = x->efer_allowed ? x->efer_allowed : EFER_SCE | EFER_LME | EFER_NXE;
    uint64_t changed = x->efer ^ v;
    if (v & ~(known | EFER_LMA) || (changed & EFER_LME && x->cr0 & CR0_PG))
        general_protection(x);
    x->efer = (v & known) | (x->efer & EFER_LMA);
    if (changed & EFER_NXE)
        x86_flush_all(x);
    x86_mode_update(x);
}

uint64_t help_read_cr(struct x86 *x, uint64_t n, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    x86_need_cpl0(x);
    switch (n) {
    case 0: return x->cr0;
    case 2: return x->cr2;
    case 3: return x->cr3;
    case 4: return x->cr4;
    case 8: return x->intc.get_tpr ? x->intc.get_tpr(x->intc.dev) : 0;
    default: x86_raise(x, EX_UD);
    }
}

uint64_t help_write_cr(struct x86 *x, uint64_t n, uint64_t v, uint64_t c)
{
    (void)c;
    x86_need_cpl0(x);
    if (!(x->mode & MODE_64))
        v &= 0xffffffff;
    switch (n) {
    case 0: x86_write_cr0(x, v); break;
    case 2: x->cr2 = v; break;
    case 3: x86_write_cr3(x, v); break;
    case 4: x86_write_cr4(x, v); break;
    case 8:
        if (v > 15)
            general_protection(x);
        if (x->intc.set_tpr)
            x->intc.set_tpr(x->intc.dev, v);
        x86_check_kick(x);
        break;
    default: x86_raise(x, EX_UD);
    }
    return 0;
}

uint64_t help_clts(struct x86 *x, uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    x86_need_cpl0(x);
    x->cr0 &= ~(uint64_t)CR0_TS;
    x86_mode_update(x);
    return 0;
}

uint64_t help_lmsw(struct x86 *x, uint64_t v, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    x86_need_cpl0(x);
    x86_write_cr0(x, (x->cr0 & ~0xeull) | (v & 0xf)); /* PE can be set, not cleared */
    return 0;
}

uint64_t help_smsw(struct x86 *x, uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    if (x->cr4 & CR4_UMIP && x86_cpl(x) > 0)
        general_protection(x);
    return x->cr0;
}

uint64_t help_set_ac(struct x86 *x, uint64_t set, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    if (x86_cpl(x) > 0)
        x86_raise(x, EX_UD);
    x->flags = set ? x->flags | FL_AC : x->flags & ~(uint32_t)FL_AC;
    tables_update(x);
    return 0;
}

/* ---- debug registers: vol. 3, 17.2 ------------------------------------------------------------------------------- */

enum { DR7_GD = 1 << 13 };

static unsigned dr_number(struct x86 *x, uint64_t n)
{
    x86_need_cpl0(x);
    if (n > 7 || ((n == 4 || n == 5) && x->cr4 & CR4_DE))
        x86_raise(x, EX_UD);
    if (x->dr[7] & DR7_GD) {
        x86_debug_status(x, 1 << 13); /* BD */
        x86_raise(x, EX_DB);
    }
    return (unsigned)(n == 4 || n == 5 ? n + 2 : n);
}

uint64_t help_read_dr(struct x86 *x, uint64_t n, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    return x->dr[dr_number(x, n)];
}

uint64_t help_write_dr(struct x86 *x, uint64_t n, uint64_t v, uint64_t c)
{
    (void)c;
    unsigned d = dr_number(x, n);
    if (!(x->mode & MODE_64))
        v &= 0xffffffff;
    if (d >= 6 && v >> 32)
        general_protection(x);
    if (d == 6)
        v = (v & 0xe00f) | 0xffff0ff0;
    if (d == 7)
        v = (v & 0xffff23ff) | 0x400;
    bool watched = x->dr[7] & 0xff || (d == 7 && v & 0xff);
    x->dr[d] = v;
    if (watched && d != 6)
        x86_flush_all(x); /* watched pages never enter the tables */
    x86_mode_update(x);
    return 0;
}

/* ---- INVLPG, INVPCID: vol. 3, 4.10.4.1
 * ----------------------------------------------------------------------------- */

static void page_flush(struct x86 *x, unsigned slot, gva_t gva)
{
    unsigned lost = 0;
    tlb_flush_page(x->tlb, slot, gva, &lost);
    if (!x86_long_mode(x) && !(x->cr4 & CR4_PAE) && x->cr4 & CR4_PSE)
        tlb_flush_page(x->tlb, slot, gva ^ 0x200000, &lost); /* the other half of a 4 MB page */
    for (unsigned n = 0; lost && n < slot_count(x); n++)
        code_lost(x, n, lost, true);
    tag_update(x);
}

uint64_t help_invlpg(struct x86 *x, uint64_t gva, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    x86_need_cpl0(x);
    x->count.invlpg++;
    if (x86_canonical(x, gva))
        page_flush(x, x->cur_slot, gva);
    return 0;
}

uint64_t help_invpcid(struct x86 *x, uint64_t type, uint64_t gva, uint64_t c)
{
    (void)c;
    x86_need_cpl0(x);
    uint64_t d[2];
    x86_read_bytes(x, gva, d, 16, (unsigned)SEG_DS << MD_TAG_SHIFT);
    bool pcide = x->cr4 & CR4_PCIDE;
    if (type > 3 || d[0] & ~PCID_MASK || (type < 2 && !pcide && d[0]) || (type == 0 && !x86_canonical(x, d[1])))
        general_protection(x);
    int own = slot_of(x, d[0]);
    if (type < 2 && !pcide) {
        if (type == 0)
            page_flush(x, x->cur_slot, d[1]);
        else
            slot_flush(x, x->cur_slot, true);
    } else if (type == 0) {
        if (own != NO_SLOT)
            page_flush(x, (unsigned)own, d[1]);
    } else if (type == 1) {
        if (own != NO_SLOT)
            slot_flush(x, (unsigned)own, true);
    } else {
        for (unsigned n = 0; n < slot_count(x); n++)
            slot_flush(x, n, type == 3);
    }
    x86_mode_update(x);
    return 0;
}

/* ---- reset: vol. 3, table 10-1
 * --------------------------------------------------------------------------------------- */

static void reset_segments(struct x86 *x)
{
    for (unsigned n = 0; n < SEG_COUNT; n++)
        x->seg[n] = (struct x86_segment){.limit = 0xffff, .attr = SEG_P | SEG_S | 3};
    x->seg[SEG_CS].selector = 0xf000;
    x->seg[SEG_CS].base = 0xffff0000;
    x->seg[SEG_CS].attr |= 8;
    x->ldtr = (struct x86_segment){.limit = 0xffff, .attr = SEG_P | SYS_LDT};
    x->tr = (struct x86_segment){.limit = 0xffff, .attr = SEG_P | SYS_TSS32_BUSY};
    x->gdtr.base = x->idtr.base = 0;
    x->gdtr.limit = x->idtr.limit = 0xffff;
}

/* What power-on resets and INIT leaves alone. */
static void reset_units(struct x86 *x)
{
    x->x87_live = false;
    x->cpu.x87_ip = x->cpu.x87_dp = 0;
    memset(x->fx, 0, sizeof(x->fx));
    bytes_put(x->fx, 0x40, 2);     /* FCW */
    bytes_put(x->fx + 4, 0xff, 1); /* tags: all zero, none empty */
    memset(x->cpu.vec, 0, sizeof(x->cpu.vec));
    memset(x->cpu.mask, 0, sizeof(x->cpu.mask));
    memset(x->vec_wanted, 16, sizeof(x->vec_wanted));
    x->cpu.mxcsr = 0x1f80;
    x->xcr0 = 1;
    x->xss = 0;
    x->pkru = x->pkrs = 0;
    x->tsc_aux = 0;
    x->star = x->lstar = x->cstar = x->fmask = x->kernel_gs_base = 0;
    x->sysenter_cs = x->sysenter_esp = x->sysenter_eip = 0;
    x->pat = 0x0007040600070406;
    x->misc_enable = 1;
    x->mtrr_def = 0;
    memset(x->mtrr_fixed, 0, sizeof(x->mtrr_fixed));
    memset(x->mtrr_var, 0, sizeof(x->mtrr_var));
    x->tsc_adjust = x->debugctl = x->mcg_status = x->feature_control = x->spec_ctrl = 0;
    x->a20_mask = ~0ull;
}

void x86_reset(struct x86 *x, bool init_only)
{
    memset(x->cpu.reg, 0, sizeof(x->cpu.reg));
    x->cpu.reg[X86_RDX] = x->cpuid_signature ? x->cpuid_signature : 0x600;
    x->cpu.page_mask = CPU_PAGE_MASK;
    x86_set_rflags(x, 2);
    x->cr0 = (init_only ? x->cr0 & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW) | CR0_ET;
    x->cr2 = x->cr3 = x->cr4 = x->efer = 0;
    reset_segments(x);
    memset(x->dr, 0, sizeof(x->dr));
    x->dr[6] = 0xffff0ff0;
    x->dr[7] = 0x400;
    memset(x->pdpte, 0, sizeof(x->pdpte));
    if (!init_only)
        reset_units(x);
    x->delivering = x->nmi_blocked = x->triple = x->step_tf = x->step_rf = false;
    x->shadow = 0;
    x->step_shadow = false;
    x->nmi_pending = 0;
    __atomic_store_n(&x->nmi_asked, 0, __ATOMIC_RELAXED);
    x->pending_db = x->watch_pc = 0;
    x->cpu.pending = x->cpu.one_insn = 0;
    slots_free(x);
    x86_jc_clear(x);
    x86_mode_update(x);
    x->cpu.pc = 0xfffffff0;
}
