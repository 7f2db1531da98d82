/* test/hw/native.c: run cases on this machine's processor, in a child process, so that whatever they do does no harm
 * here.
 *
 * The child maps the address space of hw.h, loads all registers, jumps to the case's bytes, and gets the registers
 * back either from the jump put
 * behind those bytes or from the signal that ended them.  Registers lie at fixed addresses below 2 GB (struct page at
 * HW_NATIVE), which every
 * instruction can name without a base register.
 *
 * While a case runs, FS and GS are its own: the signal handler sets FS back before it does anything else, and calls no
 * library.
 * A child that dies is replaced; its case is marked HW_DIED.
 */
#include <cpuid.h>
#include <asm/ldt.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "guest/x86/state.h"
#include "test/hw/hw.h"

/* An XSAVE area in the standard format (SDM vol. 1, 13.4). */
enum { NO_VECTOR = 0xffff }; /* the case ended by the jump behind it */
enum { AREA_SIZE = 4096, AREA_XMM = 160, AREA_BV = 512, COMPONENTS = 0xe7 };
enum { X87, SSE, AVX, OPMASK = 5, ZMM_HIGH, ZMM_16_TO_31, NCOMPONENTS };

/* At HW_NATIVE, in the child. */
struct page {
    struct hw_state in, out;
    uint8_t area_in[AREA_SIZE] __attribute__((aligned(64))), area_out[AREA_SIZE] __attribute__((aligned(64)));
    uint64_t target, exit, resume, host_rsp, host_fs, host_gs;
    uint16_t ds, es, ss, fs, gs; /* selectors */
    uint16_t out_ds, out_es, out_ss;
    uint16_t out_fs, out_gs;
    uint64_t flags[4];  /* a small stack for POPF and PUSHF */
    uint64_t code_base; /* of the case's CS */
    uint32_t mxcsr;
    uint32_t vector, error;
    uint64_t components;          /* of XSAVE areas, */
    uint32_t offset[NCOMPONENTS]; /* and where they lie */
    uint64_t pc, cr2;
    struct {
        uint32_t offset;
        uint16_t selector;
    } far __attribute__((aligned(8))); /* entry in compatibility mode */
};
static struct page *const page = (struct page *)HW_NATIVE;
_Static_assert(sizeof(struct page) <= 0x4000, "below the stubs");
enum { STUBS = HW_NATIVE + 0x4000, STUB_BACK = STUBS + 64 }; /* into compatibility mode, and back from it */

enum { USER32_CS = 0x23, USER_DS = 0x2b, USER_CS = 0x33 }; /* Linux's selectors */

struct shared {
    unsigned now; /* the case that runs */
};
struct native {
    unsigned batch;
    struct shared *shared;
    struct hw_case *cases;
    struct hw_result *results;
    pid_t child;
    int to_child[2], from_child[2];
    unsigned from, to;
};

/* ---- the processor's vector state ------------------------------------------------------------------------------- */

struct part {
    uint8_t component;
    uint8_t first, count; /* registers */
    uint8_t at, bytes;    /* of each */
};
static const struct part parts[] = {
    {SSE, 0, 16, 0, 16}, {AVX, 0, 16, 16, 16}, {ZMM_HIGH, 0, 16, 32, 32}, {ZMM_16_TO_31, 16, 16, 0, 64}};

static void learn_components(struct page *p)
{
    unsigned size, offset, c, d;
    __asm__("xgetbv" : "=a"(c), "=d"(d) : "c"(0));
    p->components = c & COMPONENTS;
    p->offset[SSE] = AREA_XMM;
    for (unsigned n = AVX; n < NCOMPONENTS; n++) {
        __cpuid_count(0xd, n, size, offset, c, d);
        rh_assert(!(p->components >> n & 1) || offset + size <= AREA_SIZE, "the XSAVE area has room");
        p->offset[n] = offset;
    }
}

static void pack(struct page *p, const struct hw_state *s)
{
    uint8_t *area = p->area_in;
    memcpy(area, s->fx, HW_FX);
    bytes_put(area + AREA_BV, p->components, 8);
    for (unsigned k = 0; k < ARRAY_LEN(parts); k++) {
        const struct part *t = &parts[k];
        uint8_t *to = area + p->offset[t->component];
        for (unsigned i = 0; p->components >> t->component & 1 && i < t->count; i++)
            memcpy(to + i * t->bytes, s->vec[t->first + i] + t->at, t->bytes);
    }
    if (p->components >> OPMASK & 1)
        memcpy(area + p->offset[OPMASK], s->k, sizeof s->k);
}

/* What the processor lacks stays as it is. */
static void unpack(const struct page *p, const uint8_t *area, struct hw_state *s)
{
    __builtin_memcpy(s->fx, area, HW_FX);
    for (unsigned k = 0; k < ARRAY_LEN(parts); k++) {
        const struct part *t = &parts[k];
        const uint8_t *from = area + p->offset[t->component];
        if (p->components >> t->component & 1)
            for (unsigned i = 0; i < t->count; i++)
                __builtin_memcpy(s->vec[t->first + i] + t->at, from + i * t->bytes, t->bytes);
    }
    if (p->components >> OPMASK & 1)
        __builtin_memcpy(s->k, area + p->offset[OPMASK], sizeof s->k);
}

/* ---- in the child ----------------------------------------------------------------------------------------------- */

/* The child's view of a case's memory. */
struct room {
    uint8_t *mem, *code; /* second views, always writable */
    uint8_t template[HW_MEM_SIZE];
    unsigned dirty_at, dirty_n; /* code bytes that are not INT3 */
};

#define AT(member)       "i"(HW_NATIVE + offsetof(struct page, member))
#define GPR_LOAD(n, reg) "mov %c[in]+8*" #n ", %%" #reg "\n\t"
#define GPR_SAVE(n, reg) "mov %%" #reg ", %c[out]+8*" #n "\n\t"

/* Load page->in, run at page->target, come back with page->out: through `exit` (registers saved here) or `resume`
 * (saved by the handler). */
/* clang-format off */
static __attribute__((noinline)) void enter(void)
{
    __asm__ volatile(
        "sub $128, %%rsp\n\t"
        "push %%rbp; push %%rbx; push %%r12; push %%r13; push %%r14; push %%r15\n\t"
        "lea 1f(%%rip), %%rax; mov %%rax, %c[exit]\n\t"
        "lea 2f(%%rip), %%rax; mov %%rax, %c[resume]\n\t"
        "mov %%rsp, %c[host_rsp]\n\t"
        "rdfsbase %%rax; mov %%rax, %c[host_fs]\n\t"
        "rdgsbase %%rax; mov %%rax, %c[host_gs]\n\t"
        "mov %c[ds], %%ds; mov %c[es], %%es; mov %c[fs], %%fs; mov %c[gs], %%gs\n\t"
        "mov %c[in_fs], %%rax; wrfsbase %%rax\n\t"
        "mov %c[in_gs], %%rax; wrgsbase %%rax\n\t"
        "mov %c[components], %%eax; xor %%edx, %%edx; xrstor64 %c[area_in]\n\t"
        "mov %c[ss], %%ss; mov $%c[flags], %%esp; popfq\n\t"
        GPR_LOAD(0, rax) GPR_LOAD(1, rcx) GPR_LOAD(2, rdx) GPR_LOAD(3, rbx)
        GPR_LOAD(5, rbp) GPR_LOAD(6, rsi) GPR_LOAD(7, rdi) GPR_LOAD(8, r8)
        GPR_LOAD(9, r9) GPR_LOAD(10, r10) GPR_LOAD(11, r11) GPR_LOAD(12, r12)
        GPR_LOAD(13, r13) GPR_LOAD(14, r14) GPR_LOAD(15, r15) GPR_LOAD(4, rsp)
        "jmp *%c[target]\n\t"
        "1:\n\t"
        GPR_SAVE(0, rax) GPR_SAVE(1, rcx) GPR_SAVE(2, rdx) GPR_SAVE(3, rbx)
        GPR_SAVE(4, rsp) GPR_SAVE(5, rbp) GPR_SAVE(6, rsi) GPR_SAVE(7, rdi)
        GPR_SAVE(8, r8) GPR_SAVE(9, r9) GPR_SAVE(10, r10) GPR_SAVE(11, r11)
        GPR_SAVE(12, r12) GPR_SAVE(13, r13) GPR_SAVE(14, r14) GPR_SAVE(15, r15)
        "mov $%c[flags]+16, %%esp; pushfq\n\t"
        "mov %c[components], %%eax; xor %%edx, %%edx; xsave64 %c[area_out]\n\t"
        "rdfsbase %%rax; mov %%rax, %c[out_fs]\n\t"
        "rdgsbase %%rax; mov %%rax, %c[out_gs]\n\t"
        "mov %%ss, %c[sel_ss]; mov %%ds, %c[sel_ds]; mov %%es, %c[sel_es]; mov %%fs, %c[sel_fs]; mov %%gs, %c[sel_gs]\n\t"
        "2:\n\t"
        "mov %[user_ds], %%eax; mov %%eax, %%ss; mov %c[host_rsp], %%rsp\n\t"
        "mov %%eax, %%ds; mov %%eax, %%es\n\t"
        "xor %%eax, %%eax; mov %%eax, %%fs; mov %%eax, %%gs\n\t"
        "pushq $0x202; popfq\n\t"
        "fninit; ldmxcsr %c[mxcsr]\n\t"
        "mov %c[host_fs], %%rax; wrfsbase %%rax\n\t"
        "mov %c[host_gs], %%rax; wrgsbase %%rax\n\t"
        "pop %%r15; pop %%r14; pop %%r13; pop %%r12; pop %%rbx; pop %%rbp\n\t"
        "add $128, %%rsp\n\t"
        :
        : [in] AT(in.gpr), [out] AT(out.gpr), [area_in] AT(area_in), [area_out] AT(area_out),
          [components] AT(components), [in_fs] AT(in.fs), [in_gs] AT(in.gs), [out_fs] AT(out.fs), [out_gs] AT(out.gs),
          [flags] AT(flags), [target] AT(target), [exit] AT(exit), [resume] AT(resume), [host_rsp] AT(host_rsp),
          [host_fs] AT(host_fs), [host_gs] AT(host_gs), [mxcsr] AT(mxcsr),
          [ds] AT(ds), [es] AT(es), [ss] AT(ss), [fs] AT(fs), [gs] AT(gs), [user_ds] "i"(USER_DS),
          [sel_ds] AT(out_ds), [sel_es] AT(out_es), [sel_ss] AT(out_ss), [sel_fs] AT(out_fs), [sel_gs] AT(out_gs)
        : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
}
/* clang-format on */

static void on_signal(int sig, siginfo_t *info, void *context)
{
    __asm__ volatile("rdfsbase %%rax; mov %%rax, %c0; mov %c1, %%rax; wrfsbase %%rax"
                     :
                     : AT(out.fs), AT(host_fs)
                     : "rax", "memory");
    __asm__ volatile("rdgsbase %%rax; mov %%rax, %c0" : : AT(out.gs) : "rax", "memory");
    __asm__ volatile("mov %%ds, %c0; mov %%es, %c1; mov %%fs, %c2; mov %%gs, %c3"
                     :
                     : AT(out_ds), AT(out_es), AT(out_fs), AT(out_gs)
                     : "memory");
    __asm__ volatile("sub $128, %%rsp; pushfq; andl $~0x40000, (%%rsp); popfq; add $128, %%rsp"
                     :
                     :
                     : "memory", "cc"); /* AC stays set otherwise */
    static const uint8_t order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                      REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    ucontext_t *u = context;
    const greg_t *g = u->uc_mcontext.gregs;
    (void)sig;
    (void)info;
    for (unsigned i = 0; i < 16; i++)
        page->out.gpr[i] = (uint64_t)g[order[i]];
    page->out.flags = (uint64_t)g[REG_EFL];
    unpack(page, (const uint8_t *)u->uc_mcontext.fpregs, &page->out);
    page->vector = (uint32_t)g[REG_TRAPNO];
    page->error = (uint32_t)g[REG_ERR];
    page->cr2 = (uint64_t)g[REG_CR2];
    page->out_ss = (uint16_t)(g[REG_CSGSFS] >> 48);
    page->pc = page->code_base + (uint64_t)g[REG_RIP] - (page->vector == 3);
    __asm__ volatile("jmp *%c0" : : AT(resume)); /* the frame on the signal stack is given up */
}

static void take_signals(void)
{
    static uint8_t stack[65536];
    stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&ss, NULL);
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    const int which[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (unsigned i = 0; i < ARRAY_LEN(which); i++)
        sigaction(which[i], &sa, NULL);
}

/* One memory, seen at the guest's addresses with the guest's rights and once more with all rights. */
static uint8_t *map_twice(uint64_t at, size_t size, size_t in_fd, int fd, int rights)
{
    uint8_t *there = mmap((void *)at, size, rights, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd, (off_t)in_fd);
    rh_assert(there == (uint8_t *)at, "address 0x%llx is free", (unsigned long long)at);
    return there;
}

static void make_room(struct room *r)
{
    int fd = memfd_create("hwtest", 0);
    rh_assert(fd >= 0 && ftruncate(fd, HW_MEM_SIZE + HW_CODE_SIZE) == 0, "a memory file");
    r->mem = mmap(NULL, HW_MEM_SIZE + HW_CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    r->code = r->mem + HW_MEM_SIZE;
    hw_template(r->template);
    memcpy(r->mem, r->template, HW_MEM_SIZE);
    memset(r->code, 0xcc, HW_CODE_SIZE);
    r->dirty_n = 0;
    enum { RW = PROT_READ | PROT_WRITE };
    map_twice(HW_DATA + 0x1000, 0x2000, 0, fd, RW);
    map_twice(HW_DATA + 0x4000, 0x1000, 0x2000, fd, PROT_READ);
    map_twice(HW_DATA + 0x5000, 0x1000, 0x3000, fd, RW);
    map_twice(HW_CODE, HW_CODE_SIZE, HW_MEM_SIZE, fd, PROT_READ | PROT_EXEC);
    void *own = mmap(page, sizeof *page, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    rh_assert(own == page, "address 0x%x is free", HW_NATIVE);
    page->mxcsr = 0x1f80;
}

/* At STUBS a far jump through page->far, at STUB_BACK a jump through page->exit; both by 32-bit absolute addresses. */
static void make_stubs(void)
{
    static const uint8_t there[3] = {0xff, 0x2c, 0x25}, back[3] = {0xff, 0x24, 0x25};
    uint8_t *p =
        mmap((void *)STUBS, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    rh_assert(p == (uint8_t *)STUBS, "address 0x%x is free", STUBS);
    memcpy(p, there, 3);
    bytes_put(p + 3, HW_NATIVE + offsetof(struct page, far), 4);
    memcpy(p + 64, back, 3);
    bytes_put(p + 67, HW_NATIVE + offsetof(struct page, exit), 4);
    mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static bool put_descriptor(unsigned i)
{
    enum { WRITE = 0x11 };
    const struct hw_segment *h = &hw_segments[i];
    struct user_desc d = {.entry_number = i,
                          .base_addr = h->base,
                          .limit = h->limit,
                          .seg_32bit = h->big,
                          .contents = h->code   ? MODIFY_LDT_CONTENTS_CODE
                                      : h->down ? MODIFY_LDT_CONTENTS_STACK
                                                : MODIFY_LDT_CONTENTS_DATA,
                          .read_exec_only = h->read_only,
                          .limit_in_pages = h->pages};
    return syscall(SYS_modify_ldt, WRITE, &d, sizeof d) == 0;
}

bool hw_segments_allowed(void)
{
    return put_descriptor(1);
}

static void make_descriptors(void)
{
    for (unsigned i = 1; i < HW_SEGMENTS && put_descriptor(i); i++)
        ; /* where the kernel gives none, 64-bit code does without */
}

static void put_code(struct room *r, const struct hw_case *c)
{
    static const uint8_t jump[6] = {0xff, 0x25, 0, 0, 0, 0};
    unsigned at = (unsigned)(c->pc - HW_CODE), n = c->length;
    memset(r->code + r->dirty_at, 0xcc, r->dirty_n);
    memcpy(r->code + at, c->code, n);
    if (c->stub && c->bits == 16 && at + n + 8 <= HW_CODE_SIZE)
        r->code[at + n++] = 0x66; /* far jump with a 32-bit offset */
    if (c->stub && c->bits != 64 && at + n + 7 <= HW_CODE_SIZE) {
        r->code[at + n] = 0xea; /* a far jump */
        bytes_put(r->code + at + n + 1, STUB_BACK, 4);
        bytes_put(r->code + at + n + 5, USER_CS, 2);
        n += 7;
    } else if (c->stub && c->bits == 64 && at + n + 14 <= HW_CODE_SIZE) {
        memcpy(r->code + at + n, jump, 6);
        memcpy(r->code + at + n + 6, &page->exit, 8);
        n += 14;
    }
    r->dirty_at = at;
    r->dirty_n = n;
}

static void run_one(struct room *room, const struct hw_case *c, struct hw_result *r)
{
    put_code(room, c);
    hw_patch(c, room->mem);
    page->in = c->in;
    pack(page, &c->in);
    memcpy(page->out.k, c->in.k, sizeof c->in.k);
    memcpy(page->out.vec, c->in.vec, sizeof c->in.vec);
    page->target = c->bits == 64 ? c->pc : STUBS;
    page->code_base = hw_segment_base(c, SEG_CS);
    page->far.offset = (uint32_t)(c->pc - page->code_base);
    page->far.selector = (uint16_t)hw_selector(c->seg[SEG_CS], USER32_CS);
    page->ss = (uint16_t)hw_selector(c->seg[SEG_SS], USER_DS);
    page->ds = (uint16_t)hw_selector(c->seg[SEG_DS], USER_DS);
    page->es = (uint16_t)hw_selector(c->seg[SEG_ES], USER_DS);
    page->fs = (uint16_t)hw_selector(c->seg[SEG_FS], 0);
    page->gs = (uint16_t)hw_selector(c->seg[SEG_GS], 0);
    page->flags[0] = c->in.flags | 2;
    page->vector = NO_VECTOR;
    enter();
    if (page->vector == NO_VECTOR)
        unpack(page, page->area_out, &page->out);
    r->out = page->out;
    r->selector[SEG_DS] = page->out_ds;
    r->selector[SEG_ES] = page->out_es;
    r->selector[SEG_SS] = page->out_ss;
    r->selector[SEG_FS] = page->out_fs;
    r->selector[SEG_GS] = page->out_gs;
    r->error = 0;
    r->cr2 = 0;
    if (page->vector == NO_VECTOR) {
        r->vector = 3;
        r->pc = c->pc + c->length;
        r->out.flags = page->flags[1];
    } else {
        r->vector = (uint8_t)page->vector;
        r->pc = page->pc;
        r->error = page->error;
        r->cr2 = page->vector == 14 ? page->cr2 : 0;
    }
    hw_collect(room->mem, room->template, r);
}

static _Noreturn void child(struct native *n)
{
    struct room *room = calloc(1, sizeof *room);
    unsigned range[2];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    make_room(room);
    make_stubs();
    make_descriptors();
    take_signals();
    learn_components(page);
    page->in.flags = 2;
    struct hw_case nothing = {.bits = 64,
                              .pc = HW_CODE + HW_CODE_SIZE}; /* learn page->exit: a case that faults at once */
    nothing.in.fx[FX_FCW] = 0x7f, nothing.in.fx[FX_FCW + 1] = 3;
    struct hw_result ignored;
    run_one(room, &nothing, &ignored);
    while (read(n->to_child[0], range, sizeof range) == sizeof range) {
        for (unsigned i = range[0]; i < range[1]; i++) {
            __atomic_store_n(&n->shared->now, i, __ATOMIC_RELEASE);
            run_one(room, &n->cases[i], &n->results[i]);
        }
        if (write(n->from_child[1], "", 1) != 1)
            break;
    }
    _exit(0);
}

/* ---- in the parent ---------------------------------------------------------------------------------------------- */

static void spawn(struct native *n)
{
    rh_assert(pipe(n->to_child) == 0 && pipe(n->from_child) == 0, "pipes");
    fflush(NULL);
    n->child = fork();
    rh_assert(n->child >= 0, "a child process");
    if (n->child == 0) {
        close(n->to_child[1]);
        close(n->from_child[0]);
        child(n);
    }
    close(n->to_child[0]);
    close(n->from_child[1]);
}

bool native_init(struct native **out, unsigned batch, struct status *st)
{
    struct native *n = calloc(1, sizeof *n);
    size_t cases = (batch * sizeof *n->cases + 63) & ~63ul, results = batch * sizeof *n->results;
    uint8_t *p = mmap(NULL, cases + results + 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!n || p == MAP_FAILED)
        return status_set(st, "no memory for %u cases", batch);
    n->batch = batch;
    n->shared = (struct shared *)p;
    n->cases = (struct hw_case *)(p + 4096);
    n->results = (struct hw_result *)(p + 4096 + cases);
    signal(SIGPIPE, SIG_IGN);
    spawn(n);
    *out = n;
    return true;
}

void native_fini(struct native *n)
{
    close(n->to_child[1]);
    close(n->from_child[0]);
    waitpid(n->child, NULL, 0);
    munmap(n->shared, 4096);
    free(n);
}

struct hw_case *native_cases(struct native *n)
{
    return n->cases;
}

const struct hw_result *native_results(struct native *n)
{
    return n->results;
}

void native_start(struct native *n, unsigned from, unsigned to)
{
    unsigned range[2] = {from, to};
    n->from = from;
    n->to = to;
    __atomic_store_n(&n->shared->now, from, __ATOMIC_RELEASE);
    if (from == to)
        return;
    if (write(n->to_child[1], range, sizeof range) != sizeof range)
        rh_assert(errno == EPIPE, "the child's pipe works");
}

void native_wait(struct native *n)
{
    char done;
    while (n->from < n->to && read(n->from_child[0], &done, 1) != 1) {
        unsigned at = __atomic_load_n(&n->shared->now, __ATOMIC_ACQUIRE);
        n->results[at].vector = HW_DIED;
        close(n->to_child[1]);
        close(n->from_child[0]);
        waitpid(n->child, NULL, 0);
        spawn(n);
        native_start(n, at + 1, n->to);
    }
}
