/* test/hw/emulate.c: run cases in rhea: one vCPU in 64-bit mode at CPL 3, with page tables that give it the address
 * space of hw.h.
 *
 * A case runs as in exec/loop.c, but for links: find the block, enter it, go on until a fault is raised.  The fault is
 * looked at, not delivered.
 *
 *     gpa 1000H  page tables   gpa 100000H  as HW_CODE   gpa 110000H  as HW_DATA   gpa 200000H  GDT (supervisor, at
 * SYSTEM)
 */
#include <cpuid.h>
#include <stdlib.h>
#include <string.h>

#include "exec/exec.h"
#include "test/hw/hw.h"

enum { RAM_SIZE = 4 << 20, CODE_MEMORY = 16 << 20, GPA_CODE = 0x100000, GPA_DATA = 0x110000, GPA_GDT = 0x200000 };
enum { STEPS_MAX = 4096, LDT = 0x400 };
#define SYSTEM 0xffff800000000000ull /* where the processor's own tables are */

struct emulator {
    struct exec exec;
    struct vcpu *v;
    struct ram ram;
    struct bus *mem, *io;
    struct log log;
    struct x86_model *model;
    uint8_t template[HW_MEM_SIZE], copy[HW_MEM_SIZE];
    unsigned dirty_at, dirty_n;
};

void hw_host_features(uint32_t features[HW_FEATURE_WORDS])
{
    enum { EAX, EBX, ECX, EDX };
    static const struct {
        uint32_t leaf, subleaf;
        uint8_t reg, bit;
    } where[] = {
        {0, 0, 0, 0},
#define X86_FEATURE(NAME, text, leaf, subleaf, reg, bit) {leaf, subleaf, reg, bit},
#include "guest/x86/features.def"
    };
    memset(features, 0, 4 * HW_FEATURE_WORDS);
    for (unsigned f = 1; f < FEAT_COUNT; f++) {
        unsigned r[4] = {0};
        if (!__get_cpuid_count(where[f].leaf, where[f].subleaf, &r[0], &r[1], &r[2], &r[3]))
            memset(r, 0, sizeof r);
        features[f / 32] |= (r[where[f].reg] >> where[f].bit & 1u) << (f % 32);
    }
}

static void map_page(struct emulator *e, uint64_t gva, uint64_t gpa, uint64_t rights)
{
    enum { P = 1 };
    bytes_put(e->ram.host + 0x4000 + 8 * (gva >> 12 & 511), gpa | P | rights, 8);
}

static void map_all(struct emulator *e)
{
    enum { P = 1, W = 2, U = 4, PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, PT = 0x4000 };
    uint8_t *ram = e->ram.host;
    bytes_put(ram + PML4, PDPT | P | W | U, 8);
    bytes_put(ram + PDPT, PD | P | W | U, 8);
    bytes_put(ram + PD + 8 * (HW_CODE >> 21), PT | P | W | U, 8);
    for (unsigned i = 0; i < HW_CODE_SIZE; i += 4096)
        map_page(e, HW_CODE + i, GPA_CODE + i, U);
    map_page(e, HW_DATA + 0x1000, GPA_DATA, W | U);
    map_page(e, HW_DATA + 0x2000, GPA_DATA + 0x1000, W | U);
    map_page(e, HW_DATA + 0x4000, GPA_DATA + 0x2000, U);
    map_page(e, HW_DATA + 0x5000, GPA_DATA + 0x3000, W | U);
    bytes_put(ram + PML4 + 8 * 256, 0x5000 | P | W, 8);
    bytes_put(ram + 0x5000, 0x6000 | P | W, 8);
    bytes_put(ram + 0x6000, 0x7000 | P | W, 8);
    bytes_put(ram + 0x7000, GPA_GDT | P | W, 8);
}

/* The descriptors a Linux process sees (arch/x86 of Linux: GDT entries 4 to 6). */
static void make_segments(struct emulator *e)
{
    struct x86 *x = &e->v->x86;
    static const uint64_t gdt[16] = {[4] = 0x00cffb000000ffff, [5] = 0x00cff3000000ffff, [6] = 0x00affb000000ffff};
    memcpy(e->ram.host + GPA_GDT, gdt, sizeof gdt);
    for (unsigned i = 1; i < HW_SEGMENTS; i++)
        bytes_put(e->ram.host + GPA_GDT + LDT + 8 * i, hw_descriptor(i), 8);
    bytes_put(e->ram.host + GPA_GDT + 0x800 + 0x66, 0x68, 2); /* TSS: no I/O permission bitmap */
    x->gdtr.base = SYSTEM;
    x->gdtr.limit = sizeof gdt - 1;
    x->idtr.limit = 0;
    x->ldtr =
        (struct x86_segment){.selector = 0x48, .attr = SEG_P | 2, .limit = HW_SEGMENTS * 8 - 1, .base = SYSTEM + LDT};
    x->tr = (struct x86_segment){.selector = 0x40, .attr = SEG_P | 11, .limit = 0x67, .base = SYSTEM + 0x800};
}

/* x87, SSE, AVX and AVX-512 as far as the host's kernel has switched them on. */
static uint64_t host_components(void)
{
    unsigned a, d;
    __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return a & 0xe7;
}

static void make_processor(struct emulator *e)
{
    struct x86 *x = &e->v->x86;
    x->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    x->cr3 = 0x1000;
    x->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE | CR4_OSXSAVE | CR4_UMIP;
    x->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    x->xcr0 = host_components();
    make_segments(e);
    x86_mode_update(x);
}

bool emulator_init(struct emulator **out, const struct hw_options *o, struct status *st)
{
    struct emulator *e = aligned_alloc(64, (sizeof *e + 63) & ~63ul);
    memset(e, 0, sizeof *e);
    *out = e;
    const struct exec_config config = {.code_size = CODE_MEMORY, .off[EXEC_UNITS] = o->generic, .vec_bytes = o->vector};
    if (!ram_init(&e->ram, RAM_SIZE, RAM_SIZE, st) || !bus_init(&e->mem, 52, &e->log, st) ||
        !bus_init(&e->io, 16, &e->log, st))
        return false;
    if (!ram_map(&e->ram, e->mem))
        return status_set(st, "RAM does not fit the bus");
    if (!exec_init(&e->exec, &config, e->mem, e->io, &e->ram, &e->log, st) || !x86_model_parse(&e->model, "max", st) ||
        !vcpu_new(&e->v, &e->exec, 0, 1, e->model, st))
        return false;
    /* everything that this processor has, whatever the model offers yet: only row->feature is decided by it */
    hw_host_features((uint32_t *)x86_model_features(e->model));
    map_all(e);
    make_processor(e);
    memset(e->ram.host + GPA_CODE, 0xcc, HW_CODE_SIZE);
    hw_template(e->template);
    memcpy(e->ram.host + GPA_DATA, e->template, HW_MEM_SIZE);
    host_thread_init(&e->v->x86.cpu);
    return true;
}

void emulator_fini(struct emulator *e)
{
    vcpu_free(e->v);
    exec_fini(&e->exec);
    x86_model_free(e->model);
    bus_fini(e->mem);
    bus_fini(e->io);
    ram_fini(&e->ram);
    free(e);
}

/* As a store by a device would change it. */
static void set_code(struct emulator *e, unsigned at, const void *bytes, unsigned n)
{
    bool self;
    memcpy(e->ram.host + GPA_CODE + at, bytes, n);
    for (unsigned done = 0; done < n;) {
        unsigned off = (at + done) & 0xfff, piece = 0x1000 - off < n - done ? 0x1000 - off : n - done;
        code_write(e->exec.code, (GPA_CODE + at + done) >> 12, off, piece, NULL, &self);
        done += piece;
    }
}

static void put_code(struct emulator *e, const struct hw_case *c)
{
    uint8_t breakpoints[HW_BYTES_MAX];
    memset(breakpoints, 0xcc, sizeof breakpoints);
    set_code(e, e->dirty_at, breakpoints, e->dirty_n);
    e->dirty_at = (unsigned)(c->pc - HW_CODE);
    e->dirty_n = c->length;
    set_code(e, e->dirty_at, c->code, c->length);
}

static struct x86_segment segment_of(const struct hw_case *c, unsigned seg)
{
    unsigned n = c->seg[seg];
    if (n != HW_FLAT && n != HW_NULL) {
        uint64_t d = hw_descriptor(n);
        uint32_t limit = hw_segments[n].limit;
        return (struct x86_segment){.selector = (uint16_t)hw_selector(n, 0),
                                    .attr = (uint16_t)(d >> 40 & 0xf0ff),
                                    .limit = hw_segments[n].pages ? limit << 12 | 0xfff : limit,
                                    .base = hw_segments[n].base};
    }
    if (seg == SEG_FS || seg == SEG_GS || n == HW_NULL)
        return (struct x86_segment){.base = hw_segment_base(c, seg)};
    if (seg != SEG_CS)
        return (struct x86_segment){.selector = 0x2b, .attr = 0xc0f3, .limit = 0xffffffff};
    return (struct x86_segment){
        .selector = c->bits == 64 ? 0x33 : 0x23, .attr = c->bits == 64 ? 0xa0fb : 0xc0fb, .limit = 0xffffffff};
}

static void load_state(struct x86 *x, const struct hw_case *c)
{
    memcpy(x->cpu.reg, c->in.gpr, sizeof c->in.gpr);
    x86_set_rflags(x, c->in.flags | FL_IF);
    memcpy(x->fx, c->in.fx, HW_FX);
    x86_x87_changed(x);
    memcpy(x->cpu.vec, c->in.vec, sizeof c->in.vec);
    memcpy(x->cpu.mask, c->in.k, sizeof c->in.k);
    x->cpu.mxcsr = (uint32_t)bytes_get(c->in.fx + FX_MXCSR, 4);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        x->seg[i] = segment_of(c, i);
    x->cpu.pc = c->pc;
    x->cpu.one_insn = 0;
    x->cpu.kick = 0;
    x->cpu.pending = 0;
    x->fault = (struct x86_fault){0};
    x->shadow = false;
    x->pending_db = 0;
    x86_mode_update(x);
}

static void save_state(struct x86 *x, struct hw_result *r)
{
    memcpy(r->out.gpr, x->cpu.reg, sizeof r->out.gpr);
    r->out.flags = x86_rflags(x);
    x86_x87_fetch(x);
    memcpy(r->out.fx, x->fx, HW_FX);
    memcpy(r->out.vec, x->cpu.vec, sizeof r->out.vec);
    memcpy(r->out.k, x->cpu.mask, sizeof r->out.k);
    bytes_put(r->out.fx + FX_MXCSR, x->cpu.mxcsr, 4);
    r->out.fs = x->cpu.reg[X86_BASE_FS];
    r->out.gs = x->cpu.reg[X86_BASE_GS];
    r->pc = x->cpu.pc;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        r->selector[i] = i == SEG_CS ? 0 : x->seg[i].selector;
}

static enum cpu_leave run(struct emulator *e, bool interp)
{
    struct vcpu *v = e->v;
    struct cpu *c = &v->x86.cpu;
    enum cpu_leave why = LEAVE_NEXT;
    e->exec.config.interp = interp;
    for (unsigned step = 0; step < STEPS_MAX; step++) {
        bool fault;
        struct block *b = exec_block(v, c->pc, &fault);
        if (fault)
            return LEAVE_FAULT;
        c->reg[IR_PCB] = c->pc & ~0xfffull;
        c->one_insn = 0;
        v->in_code = true;
        if (!interp)
            x86_x87_enter(&v->x86);
        why = interp ? exec_interp(v, b) : host_enter(&e->exec.thunks, c, block_entry(b));
        v->in_code = false;
        if (why == LEAVE_FAULT || why == LEAVE_HALT)
            return why;
        if (exec_branched_nowhere(v, why))
            return LEAVE_FAULT;
    }
    return LEAVE_KICK;
}

static void save_fault(const struct x86 *x, struct hw_result *r)
{
    const struct x86_fault *f = &x->fault;
    r->vector = f->vector;
    r->error = f->has_error ? f->error : 0;
    r->cr2 = f->vector == EX_PF ? x->cr2 : 0;
    enum { NO_GATE_3 = 3 * 8 + 2 };
    if (f->vector == EX_GP &&
        r->error == NO_GATE_3) { /* INT3: the IDT is empty, Linux's has no other gate for ring 3 (vol. 3, 6.12.1.2) */
        r->vector = EX_BP;
        r->error = 0;
    }
}

static bool was_unlifted(struct x86 *x)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < x86_row_count; i++) {
        n += x->unlifted[i];
        x->unlifted[i] = 0;
    }
    return n != 0;
}

void emulator_run(struct emulator *e, const struct hw_case *c, bool interp, struct hw_result *r)
{
    struct x86 *x = &e->v->x86;
    uint8_t *mem = e->ram.host + GPA_DATA;
    put_code(e, c);
    hw_patch(c, mem);
    load_state(x, c);
    if (c->flush) {
        unsigned dropped = 0;
        tlb_flush_all(x->tlb, &dropped);
    }
    *r = (struct hw_result){0};
    enum cpu_leave why = run(e, interp);
    save_state(x, r);
    if (why == LEAVE_FAULT)
        save_fault(x, r);
    else
        r->vector = why == LEAVE_HALT ? HW_HALTED : HW_STUCK;
    r->unlifted = r->vector == EX_UD && was_unlifted(x);
    hw_collect(mem, e->template, r);
}
