/* test/guest/sysfake.h: an x86 processor over plain memory, for tests of helpers.
 *
 * Guest linear address = offset in `mem`.  Each page is RAM, a hole (#PF), or slow (reachable only through
 * cpu.bounce, as devices and pages with code are); stores to an "again" page leave with LEAVE_AGAIN, though a probe
 * finds nothing wrong.  A helper runs inside fake_call, which returns -1 when it came back, else why it left.
 */
#ifndef TEST_GUEST_SYSFAKE_H
#define TEST_GUEST_SYSFAKE_H

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "guest/x86/sys.h"

enum { FAKE_PAGES = 64, FAKE_BYTES = FAKE_PAGES * 4096, FAKE_PC = 0x1234 };
enum fake_page { PAGE_RAM, PAGE_HOLE, PAGE_SLOW, PAGE_AGAIN };

struct fake {
    struct x86 x;
    uint8_t mem[FAKE_BYTES];
    enum fake_page page[FAKE_PAGES];
    gva_t store_gva;
    unsigned store_bytes, commits;
    unsigned kick_after; /* slow paths until `kick` is set; 0: never */
    jmp_buf out;
};

_Noreturn static void fake_leave(struct cpu *c, enum cpu_leave why)
{
    longjmp(((struct fake *)c)->out, (int)why + 1);
}

/* RAM or slow; holes raise #PF. */
static bool fake_real(struct fake *f, gva_t gva, unsigned n)
{
    bool real = (gva & 4095) + n <= 4096;

    for (unsigned i = 0; i < n; i++) {
        unsigned p = (unsigned)((gva + i) / 4096);
        if (p >= FAKE_PAGES || f->page[p] == PAGE_HOLE) {
            f->x.cr2 = gva + i;
            x86_raise_error(&f->x, EX_PF, 0);
        }
        real &= f->page[p] == PAGE_RAM;
    }
    if (f->kick_after && !--f->kick_after)
        f->x.cpu.kick = 1;
    return real;
}

static int64_t fake_read(struct cpu *c, gva_t gva, unsigned desc)
{
    struct fake *f = (struct fake *)c;

    if (fake_real(f, gva, desc & MD_SIZE))
        return (int64_t)(uintptr_t)f->mem;
    memcpy(c->bounce, f->mem + gva, desc & MD_SIZE);
    return (int64_t)((uintptr_t)c->bounce - gva);
}

static int64_t fake_write(struct cpu *c, gva_t gva, unsigned desc)
{
    struct fake *f = (struct fake *)c;

    if (fake_real(f, gva, desc & MD_SIZE))
        return (int64_t)(uintptr_t)f->mem;
    if (f->page[gva / 4096] == PAGE_AGAIN && !(desc & MD_PROBE))
        fake_leave(c, LEAVE_AGAIN);
    f->store_gva = gva;
    f->store_bytes = desc & MD_SIZE;
    if (desc & MD_RMW)
        memcpy(c->bounce, f->mem + gva, desc & MD_SIZE);
    c->pending = !(desc & MD_PROBE);
    return (int64_t)((uintptr_t)c->bounce - gva);
}

static void fake_commit(struct cpu *c)
{
    struct fake *f = (struct fake *)c;

    memcpy(f->mem + f->store_gva, c->bounce, f->store_bytes);
    f->commits++;
    c->pending = 0;
}

/* fxrstor64 [rdi]; mov rax, rcx; <code>; fxsave64 [rdi]; fninit; ldmxcsr [rsi]; ret */
static void fake_native(void *fx, const uint8_t *code, unsigned len, void *mem)
{
    static const uint8_t before[] = {0x48, 0x0f, 0xae, 0x0f, 0x48, 0x89, 0xc8};
    static const uint8_t after[] = {0x48, 0x0f, 0xae, 0x07, 0xdb, 0xe3, 0x0f, 0xae, 0x16, 0xc3};
    uint32_t mxcsr = 0x1f80;
    uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    rh_assert(p != MAP_FAILED, "no executable page");
    memcpy(p, before, sizeof before);
    memcpy(p + sizeof before, code, len);
    memcpy(p + sizeof before + len, after, sizeof after);
    ((void (*)(void *, void *, void *, void *))(uintptr_t)p)(fx, &mxcsr, NULL, mem);
    munmap(p, 4096);
}

static const struct x86_access fake_access = {fake_read, fake_write, fake_commit, fake_leave};

static struct fake *fake_new(const char *model)
{
    struct fake *f = aligned_alloc(64, (sizeof *f + 63) & ~63ul);
    struct x86_model *m;
    struct status st = {""};

    memset(f, 0, sizeof *f);
    rh_assert(x86_model_parse(&m, model, &st), "%s", st.text);
    x86_model_apply(&f->x, m);
    f->x.access = &fake_access;
    f->x.native = fake_native;
    f->x.nvcpus = 1;
    f->x.tsc_hz = 2994376000;
    f->x.mode = MODE_64 | MODE_PROT | MODE_FLAT | MODE_FLAT_FSGS | MODE_SS32;
    f->x.cr0 = CR0_PE | CR0_NE | CR0_PG;
    f->x.cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_PAE;
    f->x.efer = EFER_LMA | EFER_LME;
    f->x.xcr0 = XCOMP_X87 | XCOMP_SSE;
    f->x.cpu.mxcsr = 0x1f80;
    f->x.cpu.reg[X86_DF] = 1;
    f->x.cpu.reg[IR_PCB] = FAKE_PC & ~4095u;
    f->x.cpu.insn_off = FAKE_PC & 4095;
    f->x.flags = 2;
    x87_init(&f->x);
    return f;
}

static void fake_free(struct fake *f)
{
    x86_model_free((struct x86_model *)f->x.model);
    free(f);
}

static int fake_call(struct fake *f, x86_helper_fn *fn, uint64_t a, uint64_t b, uint64_t c)
{
    int why = setjmp(f->out);

    if (why)
        return why - 1;
    fn(&f->x, a, b, c);
    return -1;
}

#endif
