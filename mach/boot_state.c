/* mach/boot_state.c: the registers a processor starts with, when a loader and not firmware has prepared the machine:
 * descriptor table, page tables, and the hidden parts of segment registers as if those tables had been used to load
 * them.
 */
#include "mach/mach.h"

enum {
    ATTR_CODE32 = 0xb | SEG_S | SEG_P | SEG_DB | SEG_G,
    ATTR_CODE64 = 0xb | SEG_S | SEG_P | SEG_L | SEG_G,
    ATTR_DATA = 0x3 | SEG_S | SEG_P | SEG_DB | SEG_G,
    ATTR_REAL_CODE = 0xb | SEG_S | SEG_P,
    PAGE = 4096,
    PDE_TABLE = 3, /* present, writable */
    PDE_2MB = 0x83,
};

/* A flat descriptor: limit FFFFFh pages, base 0. */
static uint64_t flat_descriptor(uint16_t attr)
{
    return 0xffffull | (uint64_t)(attr & 0xff) << 40 | 0xfull << 48 | (uint64_t)(attr >> 12) << 52;
}

void boot_gdt_write(uint8_t *at, bool code64)
{
    bytes_put(at, 0, 8);
    bytes_put(at + 8, 0, 8);
    bytes_put(at + BOOT_CS, flat_descriptor(code64 ? ATTR_CODE64 : ATTR_CODE32), 8);
    bytes_put(at + BOOT_DS, flat_descriptor(ATTR_DATA), 8);
}

bool boot_page_tables(struct pc *pc, gpa_t gpa)
{
    uint8_t *t = pc_ram(pc, gpa, 6 * PAGE);
    if (!t)
        return false;
    __builtin_memset(t, 0, 6 * PAGE);
    bytes_put(t, (gpa + PAGE) | PDE_TABLE, 8);
    for (unsigned i = 0; i < 4; i++)
        bytes_put(t + PAGE + i * 8, (gpa + (2 + i) * PAGE) | PDE_TABLE, 8);
    for (uint64_t i = 0; i < 4 * 512; i++)
        bytes_put(t + 2 * PAGE + i * 8, i << 21 | PDE_2MB, 8);
    return true;
}

struct pc_entry boot_entry_protected(struct pc *pc, uint32_t rip)
{
    uint8_t *gdt = pc_ram(pc, PC_BOOT_GDT, PC_GDT_SIZE);
    rh_assert(gdt);
    boot_gdt_write(gdt, false);
    return (struct pc_entry){
        .mode = PC_PROTECTED, .rip = rip, .rsp = PC_STACK, .gdt = PC_BOOT_GDT, .cs = BOOT_CS, .ds = BOOT_DS};
}

static void set_flat(struct x86 *x, const struct pc_entry *e)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        x->seg[i] = (struct x86_segment){.selector = e->ds, .attr = ATTR_DATA, .limit = 0xffffffffu};
    x->seg[SEG_CS].selector = e->cs;
    x->seg[SEG_CS].attr = e->mode == PC_LONG ? ATTR_CODE64 : ATTR_CODE32;
    x->gdtr.base = e->gdt;
    x->gdtr.limit = PC_GDT_SIZE - 1;
    x->cr0 = CR0_PE | CR0_ET;
    if (e->mode == PC_LONG) {
        x->cr0 |= CR0_PG;
        x->cr3 = e->cr3;
        x->cr4 = CR4_PAE;
        x->efer = EFER_LME | EFER_LMA;
    }
}

static void set_real(struct x86 *x, const struct pc_entry *e)
{
    uint16_t cs = (uint16_t)(e->rip >> 4);
    x->seg[SEG_CS] =
        (struct x86_segment){.selector = cs, .attr = ATTR_REAL_CODE, .limit = 0xffff, .base = (uint64_t)cs << 4};
}

void boot_state_set(struct x86 *x, const struct pc_entry *e)
{
    if (e->firmware)
        return; /* reset state is what firmware wants */
    if (e->mode == PC_REAL)
        set_real(x, e);
    else
        set_flat(x, e);
    x86_set_rflags(x, 2);
    x->cpu.pc = e->rip;
    x->cpu.reg[X86_RAX] = e->eax;
    x->cpu.reg[X86_RBX] = e->ebx;
    x->cpu.reg[X86_RSI] = e->rsi;
    x->cpu.reg[X86_RSP] = e->rsp;
}
