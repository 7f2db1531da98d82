/* test/fuzz/bytes.c: random instruction bytes.
 *
 * Three kinds are mixed: noise; an encoding of a row of the instruction table with random prefixes and operands; and
 * "programs", runs of a few insns that bring the processor into another state by a legal way (control registers,
 * descriptor tables, far transfers, frames for IRET, page table entries, stores into the code itself).  Nothing here
 * knows what an insn computes.
 */
#include <string.h>

#include "guest/x86/decode_table.h"
#include "test/fuzz/fuzz.h"

struct writer {
    struct rng *r;
    enum x86_bits bits;
    bool tame; /* rather what does not fault, so that runs last */
    uint8_t *p;
};

/* ---- random numbers -------------------------------------------------------------------------------------------- */

uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->s += 0x9e3779b97f4a7c15ull); /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

uint64_t rng_edge(struct rng *r)
{
    switch (rng_below(r, 8)) {
    case 0:
    case 1: return rng_below(r, 20) - 4ull;
    case 2: return (1ull << rng_below(r, 64)) - rng_below(r, 3);
    case 3: return (uint64_t)-1 << rng_below(r, 64);
    case 4: return rng_next(r) >> rng_below(r, 64);
    case 5:
    case 6: return rng_address(r);
    default: return rng_next(r);
    }
}

uint64_t rng_address(struct rng *r)
{
    /* clang-format off */
    static const uint64_t bases[] = {
        GPA_CODE, GPA_DATA, GPA_DATA, GPA_DATA, GPA_DEVICE_DATA, GPA_DEVICE_DATA - 0x1000, GPA_STACK + 0x1000,
        GPA_STACK + STACK_SIZE, GPA_PML4, GPA_PDPT, GPA_PD, GPA_PT, GPA_PD32, GPA_PT32, GPA_GDT, GPA_IDT, GPA_TSS,
        GPA_HANDLERS, GPA_DEVICE, GPA_ROM, RAM_LOW, 0xf0000, 0x100000, 0x140000, 0x200000, 0xffff, 0x10000,
        0xfffff000, 0x100000000, 0x100040000, 0xfee00000, 0
    };
    static const uint64_t aliases[] = {
        0, 0, 0, 0, 0, 0, 0x200000, 0x400000, 0x40000000, 0xffff800000000000, 0xffffffffc0000000, 0xffffff0000000000,
        0x1000000000000, 0xff00000000000000
    };
    static const uint64_t borders[] = {
        0, 0x7fffffff, 0x80000000, 0xffffffff, 0x800000000000, 0xffff800000000000, 0x8000000000000000,
        0xffff7fffffffffff
    };
    /* clang-format on */
    uint64_t at = bases[rng_below(r, ARRAY_LEN(bases))] + aliases[rng_below(r, ARRAY_LEN(aliases))];
    switch (rng_below(r, 6)) {
    case 0: return at + 0x1000 - rng_below(r, 20);
    case 1: return at - rng_below(r, 20);
    case 2: return at + (rng_next(r) & 0x1ff8);
    case 3: return borders[rng_below(r, ARRAY_LEN(borders))] + rng_below(r, 32) - 16;
    default: return at + (rng_next(r) & 0xfff);
    }
}

static void put(struct writer *w, uint64_t v, unsigned n)
{
    bytes_put(w->p, v, n);
    w->p += n;
}

/* ---- one row of the table ---------------------------------------------------------------------------------------- */

static void put_prefixes(struct writer *w, const struct x86_row *row)
{
    static const uint8_t segments[] = {0x64, 0x65, 0x2e, 0x3e, 0x26, 0x36};
    if (rng_chance(w->r, 8))
        put(w, segments[rng_below(w->r, sizeof segments)], 1);
    if (rng_chance(w->r, 6))
        put(w, 0x67, 1);
    if (rng_chance(w->r, row->attr & ATTR_LOCK ? 20 : !w->tame))
        put(w, 0xf0, 1);
    if (row->space != X86_LEGACY)
        return;
    if (row->prefix == PFX_66 || (row->prefix != PFX_NP && rng_chance(w->r, 12)))
        put(w, 0x66, 1);
    if (row->prefix == PFX_F3 || (row->prefix == PFX__ && rng_chance(w->r, 8)))
        put(w, 0xf3, 1);
    if (row->prefix == PFX_F2 || (row->prefix == PFX__ && rng_chance(w->r, 3)))
        put(w, 0xf2, 1);
    bool wide = row->w == W_1 || row->w == W_G1 || rng_chance(w->r, 30);
    if (w->bits == X86_64 && (wide || rng_chance(w->r, 40)))
        put(w, 0x40 | (wide ? 8 : 0) | rng_below(w->r, 8), 1);
}

static void put_vector_prefix(struct writer *w, const struct x86_row *row)
{
    unsigned pp = row->prefix & PFX_66 ? 1 : row->prefix & PFX_F3 ? 2 : row->prefix & PFX_F2 ? 3 : 0;
    unsigned l = row->l & 1 ? rng_below(w->r, 2) : row->l >> 1 & 1, wide = row->w == W_1 || row->w == W_G1;
    unsigned vvvv = row->vvvv ? rng_below(w->r, 16) : 15;
    unsigned rxb = w->bits == X86_64 ? rng_below(w->r, 8) : 7;
    if (row->space == X86_VEX) {
        put(w, 0xc4, 1);
        put(w, rxb << 5 | row->map, 1);
        put(w, wide << 7 | vvvv << 3 | l << 2 | pp, 1);
        return;
    }
    put(w, 0x62, 1);
    put(w, rxb << 5 | 0x10 | row->map, 1);
    put(w, wide << 7 | vvvv << 3 | 4 | pp, 1);
    put(w, rng_below(w->r, 4) << 5 | 8 | (rng_chance(w->r, 20) ? rng_next(w->r) & 0x97 : 0), 1);
}

static void put_modrm(struct writer *w, const struct x86_row *row)
{
    unsigned mod = row->mod == 1          ? 3
                   : row->mod == 2        ? rng_below(w->r, 3)
                   : rng_chance(w->r, 35) ? 3
                                          : rng_below(w->r, 3);
    unsigned reg = row->ext >= 0 ? (unsigned)row->ext : rng_below(w->r, 8),
             rm = row->rm >= 0 ? (unsigned)row->rm : rng_below(w->r, 8);
    put(w, mod << 6 | reg << 3 | rm, 1);
    if (mod == 3)
        return;
    bool sib = w->bits != X86_16 && rm == 4;
    uint8_t second = (uint8_t)rng_next(w->r);
    if (sib)
        put(w, second, 1);
    bool wide = mod == 2 || (mod == 0 && (rm == 5 || (sib && (second & 7) == 5)));
    if (mod == 1)
        put(w, rng_next(w->r), 1);
    else if (wide)
        put(w, rng_chance(w->r, w->tame ? 90 : 50) ? rng_below(w->r, 64) - 32ull : rng_address(w->r),
            w->bits == X86_16 ? 2 : 4);
}

/* Jumps mostly stay near, so that the run goes on. */
static void bend_jump(struct writer *w, const struct x86_insn *i, uint8_t *start)
{
    for (unsigned k = 0; k < i->noperands; k++)
        if (i->op[k].kind == OPERAND_REL && rng_chance(w->r, 90)) {
            unsigned n = i->op[k].bytes;
            if (n && n < i->length)
                bytes_put(start + i->length - n, rng_below(w->r, 200) - 80ull, n);
        }
}

static bool suits(const struct writer *w, const struct x86_row *row)
{
    static const uint16_t wild[] = {LIFT_int,      LIFT_ud,      LIFT_hlt,      LIFT_iret,    LIFT_syscall,
                                    LIFT_sysenter, LIFT_jmp_far, LIFT_call_far, LIFT_ret_far, LIFT_pop_seg,
                                    LIFT_ret,      LIFT_leave,   LIFT_load_far, LIFT_bound};
    if (row->lift == LIFT_none)
        return false;
    if (!w->tame)
        return true;
    for (unsigned i = 0; i < ARRAY_LEN(wild); i++)
        if (row->lift == wild[i])
            return false;
    return !(row->attr & (ATTR_CPL0 | (w->bits == X86_64 ? ATTR_NO64 : ATTR_ONLY64))) && row->space == X86_LEGACY;
}

static void put_row(struct writer *w)
{
    const struct x86_row *row = &x86_rows[rng_below(w->r, x86_row_count)];
    if (!suits(w, row) && rng_chance(w->r, 95))
        return;
    uint8_t *start = w->p;
    put_prefixes(w, row);
    if (row->space != X86_LEGACY) {
        put_vector_prefix(w, row);
    } else {
        if (row->map)
            put(w, 0x0f, 1);
        if (row->map >= 2)
            put(w, row->map == 2 ? 0x38 : 0x3a, 1);
    }
    const uint8_t *o = row->operand;
    bool in_opcode = x86_operand_forms[o[0]].method == METHOD_Z || x86_operand_forms[o[1]].method == METHOD_Z;
    put(w, row->opcode + (in_opcode ? rng_below(w->r, 8 - (row->opcode & 7)) : 0u), 1);
    if (row->modrm)
        put_modrm(w, row);
    bytes_put(w->p, rng_edge(w->r), 8);
    struct x86_insn i;
    if (x86_decode(w->bits, start, 15, &i) == X86_OK) {
        bend_jump(w, &i, start);
        w->p = start + i.length;
    } else {
        w->p += rng_below(w->r, 5);
    }
}

/* ---- programs
 * ------------------------------------------------------------------------------------------------------ */

static void move(struct writer *w, unsigned reg, uint64_t v)
{
    if (w->bits == X86_64)
        put(w, 0x48, 1);
    if (w->bits == X86_16)
        put(w, 0x66, 1);
    put(w, 0xb8 + (reg & 7), 1);
    put(w, v, w->bits == X86_64 ? 8 : 4);
}

/* [disp32] or [disp16], reg in ModRM's middle. */
static void operand_at(struct writer *w, unsigned reg, uint64_t at)
{
    if (w->bits == X86_64) {
        put(w, reg << 3 | 4, 1);
        put(w, 0x25, 1);
        put(w, at, 4);
    } else if (w->bits == X86_32) {
        put(w, reg << 3 | 5, 1);
        put(w, at, 4);
    } else {
        put(w, reg << 3 | 6, 1);
        put(w, at, 2);
    }
}

static uint64_t selector(struct writer *w)
{
    if (rng_chance(w->r, 10))
        return rng_next(w->r) & 0xffff;
    return rng_below(w->r, 34) * 8 | (rng_chance(w->r, 50) ? 0 : rng_below(w->r, 8));
}

static uint64_t code_address(struct writer *w)
{
    return rng_chance(w->r, 90) ? (uint64_t)GPA_CODE + rng_below(w->r, CODE_SIZE) : rng_address(w->r);
}

static uint64_t data_address(struct writer *w)
{
    if (rng_chance(w->r, 25))
        return GPA_DEVICE_DATA - rng_below(w->r, 40);
    return GPA_DATA + 0x800 + rng_below(w->r, DATA_SIZE - 0x1000);
}

static void change_control(struct writer *w)
{
    static const uint8_t which[] = {0, 0, 3, 3, 4, 4, 2, 8};
    static const uint32_t tables[] = {GPA_PML4, GPA_PML4, GPA_PDPT_PAE, GPA_PD32, GPA_PML4 | 5, GPA_PML4 | 0x18};
    unsigned cr = which[rng_below(w->r, w->bits == X86_64 ? 8 : 7)];
    if (cr == 3) {
        move(w, X86_RAX, rng_chance(w->r, 80) ? tables[rng_below(w->r, ARRAY_LEN(tables))] : rng_edge(w->r));
    } else { /* flip a bit or two of what is there */
        put(w, 0x200f, 2);
        put(w, 0xc0 | (cr & 7) << 3, 1);
        for (unsigned n = 1 + rng_below(w->r, 2); n; n--) {
            if (w->bits == X86_16)
                put(w, 0x66, 1);
            put(w, 0xf8ba0f, 3); /* btc eax, n */
            put(w, rng_chance(w->r, 15) ? 31 : rng_below(w->r, 23), 1);
        }
    }
    if (cr == 8)
        put(w, 0x44, 1);
    put(w, 0x220f, 2);
    put(w, 0xc0 | (cr & 7) << 3, 1);
}

static void change_msr(struct writer *w)
{
    static const uint32_t msrs[] = {0xc0000080, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000084, 0xc0000100,
                                    0xc0000101, 0xc0000102, 0xc0000103, 0x1b,       0x10,       0x3a,
                                    0x48,       0x174,      0x175,      0x176,      0x1a0,      0x1d9,
                                    0x200,      0x250,      0x277,      0x2ff,      0x6e0,      0x808,
                                    0x80f,      0x830,      0xda0,      0x3b,       0x17a};
    move(w, X86_RCX, rng_chance(w->r, 90) ? msrs[rng_below(w->r, ARRAY_LEN(msrs))] : rng_edge(w->r));
    if (rng_chance(w->r, 50)) {
        put(w, 0x320f, 2);
        put(w, 0xf8ba0f, 3);
        put(w, rng_below(w->r, 16), 1);
    } else {
        move(w, X86_RAX, rng_edge(w->r));
        move(w, X86_RDX, rng_edge(w->r));
    }
    put(w, 0x300f, 2);
}

static void load_tables(struct writer *w)
{
    static const uint16_t groups[] = {0x100f, 0x010f, 0x010f, 0x000f, 0x000f};
    unsigned k = rng_below(w->r, 5);
    if (k < 3) { /* LGDT, LIDT of what lies in the data area */
        put(w, 0x010f, 2);
        operand_at(w, 2 + rng_below(w->r, 2), GPA_DATA + rng_below(w->r, 64) * 16);
        return;
    }
    move(w, X86_RAX, selector(w));
    put(w, groups[k], 2); /* LLDT, LTR, VERR.. */
    put(w, 0xc0 | rng_below(w->r, 6) << 3, 1);
}

static void load_segment(struct writer *w)
{
    move(w, X86_RAX, selector(w));
    put(w, 0x8e, 1);
    put(w, 0xc0 | rng_below(w->r, 6) << 3, 1);
}

static void push_value(struct writer *w, uint64_t v)
{
    move(w, X86_RAX, v);
    if (w->bits == X86_16 && rng_chance(w->r, 50))
        put(w, 0x66, 1);
    put(w, 0x50, 1);
}

static uint64_t flags_value(struct writer *w)
{
    uint64_t f = 2 | (rng_next(w->r) & 0x8d5) | (rng_chance(w->r, 50) ? FL_IF : 0);
    unsigned bit = rng_below(w->r, 24);
    return rng_chance(w->r, 40) ? f | 1ull << bit | (rng_chance(w->r, 50) ? (uint64_t)FL_IOPL : 0) : f;
}

static void far_transfer(struct writer *w)
{
    unsigned kind = rng_below(w->r, 5);
    if (kind == 0 && w->bits != X86_64) { /* JMP, CALL ptr16:16/32 */
        put(w, rng_chance(w->r, 50) ? 0xea : 0x9a, 1);
        put(w, code_address(w), w->bits == X86_32 ? 4 : 2);
        put(w, selector(w), 2);
        return;
    }
    if (kind == 1) { /* through memory: the data area holds pointers */
        put(w, 0xff, 1);
        operand_at(w, rng_chance(w->r, 50) ? 3 : 5, GPA_DATA + rng_below(w->r, 64) * 16);
        return;
    }
    if (kind >= 3) {
        push_value(w, selector(w));
        push_value(w, GPA_STACK + rng_below(w->r, STACK_SIZE));
    }
    if (kind != 2)
        push_value(w, flags_value(w));
    push_value(w, selector(w));
    push_value(w, code_address(w));
    if (w->bits == X86_64)
        put(w, 0x48, 1);
    put(w, kind == 2 ? 0xcb : 0xcf, 1); /* RETF, IRET */
}

static void store_code(struct writer *w)
{
    unsigned kind = rng_below(w->r, 4);
    uint64_t at = GPA_CODE + rng_below(w->r, CODE_SIZE);
    if (kind == 0 && w->bits == X86_64) { /* mov dword [rip + near], value */
        put(w, 0x05c7, 2);
        put(w, rng_below(w->r, 40) - 20ull, 4);
        put(w, rng_next(w->r), 4);
    } else if (kind == 1) { /* rep stos or movs over code */
        move(w, X86_RDI, at);
        move(w, X86_RCX, rng_below(w->r, 40));
        put(w, 0xf3, 1);
        put(w, 0xa4 + (rng_below(w->r, 2) ? 6 : 0) + rng_below(w->r, 2), 1);
    } else {
        static const uint8_t stores[] = {0x88, 0x89, 0x01, 0x87, 0x31, 0x8f};
        put(w, stores[rng_below(w->r, sizeof stores)], 1);
        operand_at(w, rng_below(w->r, 4), at);
    }
}

static void store_page_table(struct writer *w)
{
    uint64_t table = rng_chance(w->r, 60) ? (uint64_t)GPA_PT : (uint64_t)GPA_PML4 + rng_below(w->r, 7) * 0x1000u;
    uint64_t value = rng_chance(w->r, 70) ? (rng_next(w->r) & 0x1bf067) | 1 : rng_edge(w->r);
    unsigned page = rng_below(w->r, 64);
    move(w, X86_RAX, value);
    if (w->bits == X86_64)
        put(w, 0x48, 1);
    put(w, 0x89, 1);
    operand_at(w, 0, table + page * 8);
    if (rng_chance(w->r, 50)) {
        move(w, X86_RBX, page << 12);
        put(w, 0x010f, 2); /* invlpg [rbx] */
        put(w, w->bits == X86_16 ? 0x3f : 0x3b, 1);
    } else if (rng_chance(w->r, 50)) {
        put(w, 0xd8200fu, 3);
        put(w, 0xd8220fu, 3); /* mov cr3, cr3's value */
    }
}

static void string_run(struct writer *w)
{
    static const uint8_t ops[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0x6c, 0x6d, 0x6e, 0x6f};
    move(w, X86_RDI, rng_address(w->r));
    move(w, X86_RSI, rng_address(w->r));
    move(w, X86_RCX, rng_chance(w->r, 80) ? rng_below(w->r, 600) : rng_edge(w->r));
    if (rng_chance(w->r, 20))
        put(w, 0xfd, 1);
    if (rng_chance(w->r, 10))
        put(w, 0x67, 1);
    put(w, rng_chance(w->r, 80) ? 0xf3 : 0xf2, 1);
    if (w->bits == X86_64 && rng_chance(w->r, 40))
        put(w, 0x48, 1);
    put(w, ops[rng_below(w->r, sizeof ops)], 1);
}

static void odds_and_ends(struct writer *w)
{
    static const uint32_t insns[] = {0x9d,     0x9d,     0xf4fb,   0xfb,     0xfa,     0xcc,     0xce,     0xf1,
                                     0x80cd,   0x050f,   0x070f,   0x340f,   0x350f,   0xf8010f, 0xd0010f, 0xd1010f,
                                     0xf9010f, 0x090f,   0xa20f,   0xf8230f, 0xf0230f, 0xc0230f, 0x060f,   0x770f,
                                     0xf4,     0xc9010f, 0xca010f, 0xcb010f, 0xcf,     0xcb,     0xc3,     0x0fc8};
    uint64_t v = insns[rng_below(w->r, ARRAY_LEN(insns))];
    if (v == 0x9d)
        push_value(w, flags_value(w));
    if ((v & 0xffff) == 0x230f)
        move(w, X86_RAX, v == 0xf8230f ? rng_next(w->r) & 0xffff03ff : GPA_CODE + rng_below(w->r, CODE_SIZE));
    put(w, v, v > 0xffff ? 3 : v > 0xff ? 2 : 1);
}

static void put_program(struct writer *w, bool system)
{
    static void (*const programs[])(struct writer *) = {store_code,     store_code,   string_run,       odds_and_ends,
                                                        far_transfer,   load_segment, store_page_table, change_control,
                                                        change_control, change_msr,   load_tables};
    programs[rng_below(w->r, system ? ARRAY_LEN(programs) : 6)](w);
}

void bytes_fill(struct rng *r, enum x86_bits bits, bool system, uint8_t *to, unsigned size)
{
    uint8_t room[160];
    bool tame = rng_chance(r, 50);
    unsigned noise = tame ? 0 : rng_chance(r, 15) ? 100 : rng_below(r, 6), programs = rng_below(r, tame ? 4 : 30);
    for (unsigned done = 0; done < size;) {
        struct writer w = {.r = r, .bits = bits, .tame = tame, .p = room};
        unsigned kind = rng_below(r, 100);
        if (kind < noise)
            put(&w, rng_next(r), 8);
        else if (kind < noise + programs)
            put_program(&w, system);
        else if (rng_chance(r, tame ? 20 : 12))
            move(&w, rng_below(r, 8), tame && rng_chance(r, 90) ? data_address(&w) : rng_edge(r));
        else
            put_row(&w);
        unsigned n = (unsigned)(w.p - room);
        if (n > size - done)
            n = size - done;
        memcpy(to + done, room, n);
        done += n;
    }
}
