/* test/fuzz/input.c: from a number to an input: memory and processor state that hang together well enough for code to
 * run for a while, and wrong enough in places.
 *
 *     linear (64-bit mode)   0..2M: pages of 4 KB, identity up to 1 MB, then RAM at 4 GB, then odd ones; again at 2M
 *     (one large page), 4M,
 *                            1 GB, in the upper half and at the top; PML4[510] shows the tables themselves
 */
#include <string.h>

#include "test/fuzz/fuzz.h"

enum { P = 1, W = 2, U = 4, PS = 0x80, G = 0x100 };

struct maker {
    struct rng r;
    struct fuzz_input *in;
    enum x86_bits bits;
    bool long_mode, pae;
    unsigned ring;
};

/* ---- page tables
 * --------------------------------------------------------------------------------------------------- */

static uint64_t random_entry(struct maker *m)
{
    uint64_t v = rng_next(&m->r) & 0x1fffff;
    if (rng_chance(&m->r, 15))
        v |= 1ull << rng_below(&m->r, 64);
    return v | (rng_chance(&m->r, 80) ? P : 0);
}

static uint64_t leaf(struct maker *m, unsigned page, unsigned odd)
{
    uint64_t at = page < 256   ? page * 0x1000ull
                  : page < 320 ? 0x100000000ull + (page - 256) * 0x1000ull
                               : (page & 0xff) * 0x1000ull;
    if (rng_chance(&m->r, odd))
        return random_entry(m);
    return at | P | W | U | (rng_chance(&m->r, 10) ? G : 0);
}

static void make_tables(struct maker *m)
{
    uint8_t *ram = m->in->ram;
    uint64_t all = P | W | U;
    unsigned odd = rng_chance(&m->r, 40) ? 0 : rng_below(&m->r, 20);
    static const uint16_t roots[] = {0, 256, 511};
    for (unsigned i = 0; i < 3; i++)
        for (unsigned level = 0; level < 2; level++)
            bytes_put(ram + (level ? GPA_PML5 : GPA_PML4) + 8 * roots[i], (level ? GPA_PML4 : GPA_PDPT) | all, 8);
    bytes_put(ram + GPA_PML4 + 8 * 510, GPA_PML4 | all, 8);
    static const uint16_t seconds[] = {0, 1, 511};
    for (unsigned i = 0; i < 3; i++)
        bytes_put(ram + GPA_PDPT + 8 * seconds[i], GPA_PD | all, 8);
    bytes_put(ram + GPA_PDPT + 8 * 3, all | PS, 8);
    bytes_put(ram + GPA_PDPT + 8 * 4, 0x100000000ull | all | PS, 8);
    static const uint16_t thirds[] = {0, 2, 511};
    for (unsigned i = 0; i < 3; i++) {
        bytes_put(ram + GPA_PD + 8 * thirds[i], GPA_PT | all, 8);
        bytes_put(ram + GPA_PD32 + 4 * (thirds[i] & 0x3ff), GPA_PT32 | all, 4);
    }
    bytes_put(ram + GPA_PD + 8, all | PS, 8);
    bytes_put(ram + GPA_PD32 + 4, all | PS, 4);
    for (unsigned i = 0; i < 4; i++)
        bytes_put(ram + GPA_PDPT_PAE + 8 * i, GPA_PD | P, 8);
    for (unsigned i = 0; i < 512; i++) {
        bytes_put(ram + GPA_PT + 8 * i, leaf(m, i, odd), 8);
        bytes_put(ram + GPA_PT32 + 4 * i, leaf(m, i & 255, odd), 4);
    }
    for (unsigned i = 0; odd && i < 30; i++)
        bytes_put(ram + GPA_PML4 + 8 * rng_below(&m->r, 3 * 512), random_entry(m), 8);
    for (unsigned i = 0; i < 512; i++) /* what code stands on stays mapped, most of the time */
        if ((i < 0x14 || (i >= 0x30 && i < 0x33)) && rng_chance(&m->r, 99)) {
            bytes_put(ram + GPA_PT + 8 * i, i * 0x1000ull | all, 8);
            bytes_put(ram + GPA_PT32 + 4 * i, i * 0x1000ull | all, 4);
        }
}

/* ---- descriptors
 * ---------------------------------------------------------------------------------------------------- */

static uint64_t descriptor(uint32_t base, uint32_t limit, unsigned attr) /* attr as in x86_segment */
{
    if (attr & SEG_G)
        limit >>= 12;
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(attr & 0xf0ff) << 40 |
           (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)(base >> 24) << 56;
}

static uint64_t gate(struct maker *m, uint32_t offset, unsigned cs, unsigned type, unsigned dpl)
{
    return (offset & 0xffff) | (uint64_t)cs << 16 | (uint64_t)(SEG_P | dpl << 5 | type) << 40 |
           (uint64_t)(offset >> 16) << 48 | (rng_chance(&m->r, 10) ? (uint64_t)rng_below(&m->r, 8) << 32 : 0);
}

static void put_gdt(struct maker *m, unsigned n, uint64_t d)
{
    bytes_put(m->in->ram + GPA_GDT + 8 * n, d, 8);
}

static unsigned kernel_code(const struct maker *m)
{
    return m->long_mode ? GDT_CODE64 : m->bits == X86_32 ? GDT_CODE32 : GDT_CODE16;
}

static void make_gdt(struct maker *m)
{
    enum { CODE = SEG_P | SEG_S | 11, DATA = SEG_P | SEG_S | 3 };
    uint32_t limit = rng_chance(&m->r, 70) ? 0xffffffff : (uint32_t)rng_address(&m->r);
    uint32_t base = rng_chance(&m->r, 80) ? 0 : (uint32_t)rng_address(&m->r) & 0xfffff;
    for (unsigned ring = 0; ring < 2; ring++) {
        unsigned dpl = ring * 3u << 5;
        put_gdt(m, GDT_CODE64 + ring, descriptor(0, 0xffffffff, CODE | dpl | SEG_L | SEG_G));
        put_gdt(m, GDT_CODE32 + ring, descriptor(0, 0xffffffff, CODE | dpl | SEG_DB | SEG_G));
        put_gdt(m, GDT_CODE16 + ring, descriptor(0, 0x3ffff, CODE | dpl | SEG_G));
        put_gdt(m, GDT_DATA + ring, descriptor(base, limit, DATA | dpl | SEG_DB | SEG_G));
        put_gdt(m, GDT_DATA16 + ring, descriptor(GPA_DATA, 0xffff, DATA | dpl));
    }
    put_gdt(m, GDT_TSS, descriptor(GPA_TSS, 0x1067, SEG_P | 9));
    put_gdt(m, GDT_LDT, descriptor(GPA_LDT, 0xff, SEG_P | 2));
    for (unsigned i = GDT_GATES; i < GDT_COUNT; i++) {
        uint64_t d = rng_next(&m->r);
        if (i % 4 == 0) /* call gates, task gates */
            d = gate(m, GPA_CODE + rng_below(&m->r, CODE_SIZE), kernel_code(m) * 8,
                     rng_chance(&m->r, 70) ? 12 : 4 + rng_below(&m->r, 2), 3);
        else if (i % 4 == 1)
            d = descriptor((uint32_t)rng_address(&m->r), (uint32_t)rng_address(&m->r) & 0xfffff,
                           (unsigned)rng_next(&m->r) & 0xd0ff) |
                1ull << 47;
        else if (i % 4 == 2) /* upper halves in long mode */
            d &= 0xffffffff;
        put_gdt(m, i, d);
        bytes_put(m->in->ram + GPA_LDT + 8 * (i % 32), d, 8);
    }
    for (unsigned i = 0; i < 0x200; i += 4) /* TSS: stacks, and a whole processor state for task switches */
        bytes_put(m->in->ram + GPA_TSS + i, m->long_mode ? 0 : (rng_next(&m->r) & 0x1f8) | GPA_CODE, 4);
    for (unsigned i = 0; i < 10; i++) /* 64-bit: RSP0..2, IST; else ESP0, SS0 */
        bytes_put(m->in->ram + GPA_TSS + 4 + (m->long_mode ? 8u * i : 4u), GPA_STACK + STACK_SIZE - 0x100, 4);
    if (!m->long_mode)
        bytes_put(m->in->ram + GPA_TSS + 8, GDT_DATA * 8, 4);
    bytes_put(m->in->ram + GPA_TSS + 102, 0x68, 2);
    for (unsigned i = 0; i < 0x800; i++)
        m->in->ram[GPA_TSS + 0x68 + i] = rng_chance(&m->r, 50) ? 0 : (uint8_t)rng_next(&m->r);
}

/* ---- interrupt handlers: stop, or skip a few bytes and go on
 * ------------------------------------------------------------ */

static void put_handler(struct maker *m, uint8_t *to, bool error)
{
    static const uint8_t skip64[] = {0x48, 0x83, 0x04, 0x24, 3, 0x48, 0xcf}, skip32[] = {0x83, 0x04, 0x24, 3, 0xcf};
    static const uint8_t skip16[] = {0x55, 0x89, 0xe5, 0x83, 0x46, 2, 3, 0x5d, 0xcf};
    enum x86_bits bits = m->in->mode == FUZZ_REAL ? X86_16 : m->long_mode ? X86_64 : m->bits;
    if (error) {
        static const uint8_t drop[3][4] = {{0x83, 0xc4, 2}, {0x83, 0xc4, 4}, {0x48, 0x83, 0xc4, 8}};
        unsigned n = bits == X86_64 ? 4 : 3;
        memcpy(to, drop[bits], n);
        to += n;
    }
    if (bits == X86_64)
        memcpy(to, skip64, sizeof skip64);
    else if (bits == X86_32)
        memcpy(to, skip32, sizeof skip32);
    else
        memcpy(to, skip16, sizeof skip16);
}

static void make_idt(struct maker *m)
{
    uint8_t *ram = m->in->ram;
    unsigned kind = rng_below(&m->r, 10);
    for (unsigned v = 0; v < 256; v++) {
        bool error = v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21;
        uint32_t at = GPA_HANDLERS + (v < 32 ? v : 32) * 16;
        bool real = m->in->mode == FUZZ_REAL;
        if (kind == 0)
            at = GPA_CODE + rng_below(&m->r, CODE_SIZE);
        else if (kind < 3)
            ram[at] = 0xf4;
        else
            put_handler(m, ram + at, error && !real);
        if (real) {
            bytes_put(ram + 4 * v, at & 0xffff, 2);
            bytes_put(ram + 4 * v + 2, at >> 4 & 0xf000, 2);
            continue;
        }
        unsigned type = rng_chance(&m->r, 97) ? (m->bits == X86_16 && !m->long_mode ? 6 : 14) + rng_below(&m->r, 2)
                                              : rng_below(&m->r, 32);
        uint64_t g = gate(m, at, kernel_code(m) * 8, type, v == 0x80 || rng_chance(&m->r, 30) ? 3 : 0);
        bytes_put(ram + GPA_IDT + v * (m->long_mode ? 16 : 8), g, 8);
        if (m->long_mode)
            bytes_put(ram + GPA_IDT + v * 16 + 8, 0, 8);
    }
}

/* ---- the processor
 * ------------------------------------------------------------------------------------------------------ */

static struct x86_segment from_gdt(const struct maker *m, unsigned n, unsigned rpl)
{
    uint64_t d = bytes_get(m->in->ram + GPA_GDT + 8 * n, 8);
    struct x86_segment s = {.selector = (uint16_t)(n * 8 | rpl), .attr = (uint16_t)(d >> 40 & 0xf0ff)};
    s.base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000);
    s.limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000));
    if (s.attr & SEG_G)
        s.limit = s.limit << 12 | 0xfff;
    return s;
}

static void make_segments(struct maker *m)
{
    struct fuzz_input *in = m->in;
    unsigned user = m->ring == 3, code = m->bits == X86_64 ? GDT_CODE64 : m->bits == X86_32 ? GDT_CODE32 : GDT_CODE16;
    if (in->mode == FUZZ_REAL) {
        for (unsigned i = 0; i < SEG_COUNT; i++) {
            unsigned sel = i == SEG_CS   ? GPA_CODE >> 4
                           : i == SEG_SS ? GPA_STACK >> 4
                                         : (unsigned)rng_address(&m->r) & 0xffff;
            in->seg[i] = (struct x86_segment){(uint16_t)sel, SEG_P | SEG_S | (i == SEG_CS ? 11 : 3), 0xffff, sel * 16u};
        }
        in->ldtr = (struct x86_segment){.attr = SEG_P | 2, .limit = 0xffff};
        in->tr = (struct x86_segment){.attr = SEG_P | 11, .limit = 0xffff};
        return;
    }
    in->seg[SEG_CS] = from_gdt(m, code + user, m->ring);
    bool narrow = m->bits == X86_16 && rng_chance(&m->r, 50);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        if (i != SEG_CS)
            in->seg[i] = from_gdt(m, (narrow ? GDT_DATA16 : GDT_DATA) + user, m->ring);
    in->seg[SEG_FS].base = m->bits == X86_64 ? rng_address(&m->r) : in->seg[SEG_FS].base;
    if (m->bits == X86_64 && sign_extend(in->seg[SEG_FS].base, 48) != (int64_t)in->seg[SEG_FS].base)
        in->seg[SEG_FS].base = 0;
    in->tr = from_gdt(m, GDT_TSS, 0);
    in->tr.attr |= 2; /* busy */
    in->ldtr = from_gdt(m, GDT_LDT, 0);
}

static void make_control(struct maker *m)
{
    struct fuzz_input *in = m->in;
    in->cr0 = CR0_ET | CR0_NE | CR0_MP | (in->mode == FUZZ_REAL ? 0 : CR0_PE);
    in->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | (rng_chance(&m->r, 70) ? CR4_OSXSAVE : 0) |
              (rng_chance(&m->r, 50) ? CR4_PGE : 0) | (rng_chance(&m->r, 50) ? CR4_FSGSBASE : 0) |
              (rng_chance(&m->r, 20) ? CR4_SMEP : 0) | (rng_chance(&m->r, 20) ? CR4_SMAP : 0) |
              (rng_chance(&m->r, 10) ? CR4_UMIP : 0) | (rng_chance(&m->r, 10) ? CR4_DE : 0) | CR4_PSE;
    in->cr0 |= (rng_chance(&m->r, 70) ? CR0_WP : 0) | (rng_chance(&m->r, 20) ? CR0_AM : 0) |
               (rng_chance(&m->r, 5) ? CR0_TS : 0);
    in->efer = EFER_SCE | EFER_NXE;
    in->xcr0 = rng_chance(&m->r, 70) ? 7 : 3;
    if (m->long_mode) {
        in->cr0 |= CR0_PG;
        in->cr4 |= CR4_PAE | (rng_chance(&m->r, 20) ? CR4_PCIDE : 0);
        in->efer |= EFER_LME | EFER_LMA;
        in->cr3 = GPA_PML4;
        if ((in->how & HOW_MODEL) >> 8 == 2 && rng_chance(&m->r, 70)) {
            in->cr4 |= CR4_LA57;
            in->cr3 = GPA_PML5;
        }
    } else if (in->mode != FUZZ_REAL && rng_chance(&m->r, 70)) {
        in->cr0 |= CR0_PG;
        in->cr4 |= m->pae ? CR4_PAE : 0;
        in->cr3 = m->pae ? GPA_PDPT_PAE : GPA_PD32;
    }
    in->dr7 = 0x400 | (rng_chance(&m->r, 5) ? rng_next(&m->r) & 0xffff00ff : 0);
}

static void make_registers(struct maker *m)
{
    struct fuzz_input *in = m->in;
    for (unsigned i = 0; i < 16; i++)
        in->gpr[i] = rng_edge(&m->r);
    in->gpr[X86_RSP] = in->mode == FUZZ_REAL   ? STACK_SIZE - 0x200
                       : rng_chance(&m->r, 90) ? GPA_STACK + STACK_SIZE - 0x800
                                               : rng_address(&m->r);
    in->rflags = 2 | (rng_next(&m->r) & 0x8d5) | (rng_chance(&m->r, 50) ? FL_IF : 0) |
                 (rng_chance(&m->r, 20) ? FL_AC : 0) | (rng_chance(&m->r, 5) ? FL_TF : 0) |
                 (rng_chance(&m->r, 30) ? FL_IOPL : 0);
    in->pc = GPA_CODE + (rng_chance(&m->r, 20) ? 0x1000 - rng_below(&m->r, 30) : rng_below(&m->r, 0x3000));
    in->mxcsr = rng_chance(&m->r, 70) ? 0x1f80 : (uint32_t)rng_next(&m->r) & 0xffff;
    for (unsigned i = 0; i < 512; i += 8)
        bytes_put(in->fx + i, rng_edge(&m->r), 8);
    bytes_put(in->fx, 0x37f & (rng_chance(&m->r, 70) ? 0xffff : rng_next(&m->r)), 2);
    bytes_put(in->fx + 2, rng_chance(&m->r, 70) ? 0 : rng_next(&m->r) & 0x7f7f, 2);
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 16; k += 8)
            bytes_put(in->vec[i] + k, rng_edge(&m->r), 8);
}

/* Data: numbers, far pointers and pseudo-descriptors; stacks: frames. */
static void make_data(struct maker *m)
{
    uint8_t *ram = m->in->ram;
    for (unsigned i = 0; i < DATA_SIZE; i += 8)
        bytes_put(ram + GPA_DATA + i, rng_edge(&m->r), 8);
    for (unsigned i = 0; i < 64; i++) {
        uint8_t *at = ram + GPA_DATA + i * 16;
        if (i % 2 == 0) {
            bytes_put(at, rng_below(&m->r, 0x1000), 2);
            bytes_put(
                at + 2,
                rng_chance(&m->r, 80) ? (uint64_t)(rng_chance(&m->r, 50) ? GPA_GDT : GPA_IDT) : rng_address(&m->r), 8);
        } else {
            unsigned n = m->bits == X86_16 ? 2 : 4;
            bytes_put(at, GPA_CODE + rng_below(&m->r, CODE_SIZE), n);
            bytes_put(at + n, rng_below(&m->r, 34) * 8 | (rng_chance(&m->r, 50) ? 3 : 0), 2);
        }
    }
    for (unsigned i = 0; i < STACK_SIZE; i += 8)
        bytes_put(ram + GPA_STACK + i, rng_chance(&m->r, 40) ? GPA_CODE + rng_below(&m->r, CODE_SIZE) : rng_edge(&m->r),
                  8);
}

void input_make(struct fuzz_input *in, uint64_t seed, uint64_t run, enum fuzz_mode mode, int ring)
{
    struct maker m = {.r = {seed ^ run * 0xd1342543de82ef95ull}, .in = in};
    memset(in, 0, sizeof *in);
    memcpy(in->magic, "rheafuz1", 8);
    in->seed = seed;
    in->run = run;
    rng_next(&m.r);
    in->mode = mode ? mode : 1 + rng_below(&m.r, 4);
    in->ring = in->mode == FUZZ_REAL ? 0 : ring >= 0 ? (uint32_t)ring : rng_chance(&m.r, 50) ? 3 : 0;
    m.ring = in->ring;
    m.bits = in->mode == FUZZ_64 ? X86_64 : in->mode == FUZZ_32 ? X86_32 : X86_16;
    m.long_mode = in->mode == FUZZ_64 || (in->mode != FUZZ_REAL && rng_chance(&m.r, 30));
    m.pae = rng_chance(&m.r, 50);
    in->microseconds = rng_chance(&m.r, 5) ? 10000 : 600;
    in->how = (rng_chance(&m.r, 12) ? HOW_INTERP : 0) | (rng_chance(&m.r, 10) ? HOW_NO_LINKS : 0) |
              (rng_chance(&m.r, 10) ? HOW_NO_PASSES : 0) | (rng_chance(&m.r, 15) ? HOW_SHORT_BLOCKS : 0) |
              (rng_chance(&m.r, 15) ? HOW_SMP : 0) | (rng_chance(&m.r, 30) ? HOW_INTERRUPTS : 0) |
              (rng_chance(&m.r, 2) ? HOW_LOG : 0) | (rng_chance(&m.r, 20) ? rng_below(&m.r, 4) << 8 : 0);
    make_tables(&m);
    if (in->mode != FUZZ_REAL || rng_chance(&m.r, 50))
        make_gdt(&m);
    make_idt(&m);
    make_segments(&m);
    make_control(&m);
    make_registers(&m);
    make_data(&m);
    in->gdt_limit = GDT_COUNT * 8 - 1;
    in->idt_limit = in->mode == FUZZ_REAL ? 0x3ff : 0xfff;
    bytes_fill(&m.r, m.bits, m.ring == 0, in->ram + GPA_CODE, CODE_SIZE);
    bytes_fill(&m.r, m.bits, m.ring == 0, in->rom, sizeof in->rom);
}
