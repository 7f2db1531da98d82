/* test/fuzz/guest.c: one machine of two processors that runs inputs, and the eyes on it.
 *
 *     host memory   | no access | canary | RAM | canary | no access |
 *
 * A canary that changed means that the guest wrote outside its RAM.  There are canaries inside, too: pages of RAM
 * that a device or ROM lies over, which no guest address leads to, right behind pages that the guest uses much.  A
 * host page fault (not the general protection fault that a non-canonical host address gives, which is how
 * non-canonical guest addresses are found) means that it tried to.  Either ends the process, with the input still at
 * hand in the parent (session.c).
 *
 * While the vCPU runs on its own thread this one injects interrupts, waits until it stands or time is up, asks it to
 * quit and waits a second at most.
 */
#include <errno.h>
#include <execinfo.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "exec/exec.h"
#include "guest/x86/sys.h"
#include "test/fuzz/fuzz.h"
#include "tool/disasm.h"

enum { MODELS = 4, CANARY = 0x10000, CANARY_BYTE = 0xa5, CPUS = 2, ANSWER_SECONDS = 1, POLL_NS = 40000 };
enum { SANITIZED_SLOWNESS = 5 };

struct guest {
    struct exec exec;
    struct vcpu *v[CPUS];
    struct ram ram;
    struct bus *mem, *io;
    struct log log;
    struct x86_model *model[MODELS];
    unsigned current; /* which model the vCPUs are */
    FILE *nowhere;
    uint8_t *map, *rom;
    struct rng r;
    int pending[CPUS]; /* interrupt vector, -1: none; atomic */
    uint64_t insns;
};

/* ---- host signals
 * ------------------------------------------------------------------------------------------------------ */

/* What the back end installed: a handler has nowhere else to find it. */
static struct sigaction backend;

static void print_stack(const char *why, const void *at)
{
    void *frames[40];
    char line[120];
    int n = snprintf(line, sizeof line, "fuzz: %s %p\n", why, at);
    if (write(2, line, (size_t)n) < 0)
        _exit(1);
    backtrace_symbols_fd(frames, backtrace(frames, 40), 2);
}

static void on_segv(int sig, siginfo_t *info, void *context)
{
    if (info->si_code != SEGV_MAPERR && info->si_code != SEGV_ACCERR) {
        backend.sa_sigaction(sig, info, context);
        return;
    }
    print_stack("host page fault at", info->si_addr);
    signal(sig, SIG_DFL);
}

static void on_usr1(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)info;
    print_stack("a vCPU does not answer; it is at", (void *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP]);
    abort();
}

static void watch_signals(void)
{
    struct sigaction sa = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK},
                     usr = {.sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &sa, &backend);
    sigaction(SIGUSR1, &usr, NULL);
}

/* ---- the machine
 * ----------------------------------------------------------------------------------------------------------- */

static const uint32_t hidden[] = {GPA_DEVICE_CODE, GPA_DEVICE_DATA, GPA_DEVICE_STACK, GPA_DEVICE, GPA_ROM};

static uint64_t device_read(void *dev, uint64_t offset, unsigned size)
{
    (void)dev;
    return (offset * 0x9e3779b97f4a7c15ull) >> (64 - 8 * size);
}
static void device_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    (void)dev, (void)offset, (void)value, (void)size;
}
static const struct mmio_ops any_width = {device_read, device_write, W8 | W16 | W32 | W64};
static const struct mmio_ops words = {device_read, device_write, W32};
static const struct mmio_ops ports = {device_read, device_write, W8 | W16 | W32};

static int intc_pending(void *dev)
{
    return __atomic_load_n((int *)dev, __ATOMIC_RELAXED);
}
static int intc_accept(void *dev)
{
    return __atomic_exchange_n((int *)dev, -1, __ATOMIC_RELAXED);
}
static uint64_t intc_get(void *dev)
{
    (void)dev;
    return 0;
}
static void intc_set_tpr(void *dev, uint64_t v)
{
    (void)dev, (void)v;
}
static bool intc_set_base(void *dev, uint64_t v)
{
    (void)dev;
    return !(v & 1);
}
static bool intc_msr_read(void *dev, uint32_t msr, uint64_t *v)
{
    (void)dev;
    *v = msr;
    return msr & 1;
}
static bool intc_msr_write(void *dev, uint32_t msr, uint64_t v)
{
    (void)dev, (void)v;
    return msr & 1;
}

static bool map_ram(struct guest *g, struct status *st)
{
    size_t size = RAM_SIZE + 4 * CANARY;
    g->map = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g->rom = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->map == MAP_FAILED || g->rom == MAP_FAILED ||
        mprotect(g->map + CANARY, size - 2 * CANARY, PROT_READ | PROT_WRITE))
        return status_set(st, "no memory: %s", strerror(errno));
    memset(g->map + CANARY, CANARY_BYTE, CANARY);
    memset(g->map + 2 * CANARY + RAM_SIZE, CANARY_BYTE, CANARY);
    g->ram =
        (struct ram){.host = g->map + 2 * CANARY, .size = RAM_SIZE, .low = RAM_LOW, .flags = calloc(RAM_SIZE >> 12, 1)};
    return g->ram.flags || status_set(st, "no memory");
}

static bool map_devices(struct guest *g)
{
    const struct bus_range ranges[] = {
        {.base = GPA_DEVICE, .size = 4096, .ops = &any_width, .name = "device"},
        {.base = GPA_DEVICE_CODE, .size = 4096, .ops = &words, .name = "behind code"},
        {.base = GPA_DEVICE_DATA, .size = 4096, .ops = &any_width, .name = "amid data"},
        {.base = GPA_DEVICE_STACK, .size = 4096, .ops = &ports, .name = "behind stack"},
        {.base = 0xfee00000, .size = 4096, .ops = &words, .name = "words"},
        {.base = GPA_ROM, .size = 4096, .host = g->rom, .readonly = true, .name = "rom"},
    };
    const struct bus_range all = {.base = 0, .size = 0x10000, .ops = &ports, .name = "ports"};
    if (!ram_map(&g->ram, g->mem))
        return false;
    for (unsigned i = 0; i < ARRAY_LEN(ranges); i++)
        if (!bus_map(g->mem, &ranges[i]))
            return false;
    return bus_map(g->io, &all);
}

static const char *const models[MODELS] = {"max", "qemu64", "max,+la57", "qemu64,-sse,-mmx"};

bool guest_init(struct guest **out, struct status *st)
{
    struct guest *g = calloc(1, sizeof *g);
    if (!g)
        return status_set(st, "no memory");
    *out = g;
    const struct exec_config config = {.code_size = 8 << 20};
    if (!map_ram(g, st) || !bus_init(&g->mem, 52, &g->log, st) || !bus_init(&g->io, 16, &g->log, st))
        return false;
    if (!map_devices(g))
        return status_set(st, "the devices do not fit the bus");
    if (!exec_init(&g->exec, &config, g->mem, g->io, &g->ram, &g->log, st))
        return false;
    for (unsigned i = 0; i < MODELS; i++)
        if (!x86_model_parse(&g->model[i], models[i], st))
            return false;
    g->nowhere = fopen("/dev/null", "w");
    g->exec.disassemble = disasm_print;
    for (unsigned i = 0; i < CPUS; i++) {
        if (!vcpu_new(&g->v[i], &g->exec, i, CPUS, g->model[0], st))
            return false;
        g->v[i]->x86.intc = (struct x86_intc){&g->pending[i], intc_pending,  intc_accept,   intc_get,      intc_set_tpr,
                                              intc_get,       intc_set_base, intc_msr_read, intc_msr_write};
        g->v[i]->x86.tsc_hz = 1000000000;
    }
    watch_signals();
    return true;
}

void guest_fini(struct guest *g)
{
    for (unsigned i = 0; i < CPUS; i++)
        vcpu_free(g->v[i]);
    exec_fini(&g->exec);
    for (unsigned i = 0; i < MODELS; i++)
        x86_model_free(g->model[i]);
    fclose(g->nowhere);
    bus_fini(g->mem);
    bus_fini(g->io);
    munmap(g->map, RAM_SIZE + 4 * CANARY);
    munmap(g->rom, 4096);
    free(g->ram.flags);
    free(g);
}

/* ---- before a run
 * --------------------------------------------------------------------------------------------------------------- */

static void load_memory(struct guest *g, const struct fuzz_input *in)
{
    bool self;
    memcpy(g->rom, in->rom, sizeof in->rom);
    for (unsigned page = 0; page < RAM_SIZE >> 12; page++)
        if (memcmp(g->ram.host + page * 4096, in->ram + page * 4096, 4096)) { /* as a device stores */
            memcpy(g->ram.host + page * 4096, in->ram + page * 4096, 4096);
            code_write(g->exec.code, page, 0, 4096, NULL, &self);
        }
    for (unsigned i = 0; i < ARRAY_LEN(hidden); i++)
        memset(g->ram.host + hidden[i], CANARY_BYTE, 4096);
}

static void load_processor(struct vcpu *v, const struct fuzz_input *in)
{
    struct x86 *x = &v->x86;
    unsigned dropped = 0;
    x86_reset(x, false);
    tlb_flush_all(x->tlb, &dropped);
    memcpy(x->cpu.reg, in->gpr, sizeof in->gpr);
    x86_set_rflags(x, in->rflags);
    x->cr0 = in->cr0;
    x->cr3 = in->cr3;
    x->cr4 = in->cr4 & x->cr4_allowed;
    x->efer = in->efer & x->efer_allowed;
    x->xcr0 = (in->xcr0 & x86_model_xcr0(x->model)) | 1;
    x->dr[7] = in->dr7;
    for (unsigned i = 0; i < 4; i++) {
        x->dr[i] = GPA_CODE + (in->seed + i * 77) % CODE_SIZE;
        x->pdpte[i] = bytes_get(in->ram + GPA_PDPT_PAE + 8 * i, 8);
    }
    memcpy(x->fx, in->fx, sizeof in->fx);
    x87_summary(x);
    x86_x87_changed(x);
    for (unsigned i = 0; i < 16; i++)
        memcpy(x->cpu.vec[i], in->vec[i], 16);
    x->cpu.mxcsr = in->mxcsr;
    memcpy(x->seg, in->seg, sizeof in->seg);
    x->ldtr = in->ldtr;
    x->tr = in->tr;
    x->gdtr.base = GPA_GDT;
    x->gdtr.limit = in->gdt_limit;
    x->idtr.base = in->mode == FUZZ_REAL ? 0 : GPA_IDT;
    x->idtr.limit = in->idt_limit;
    x->fault = (struct x86_fault){0};
    x->lstar = x->cstar = x->sysenter_eip = GPA_CODE + 0x800;
    x->sysenter_cs = 8;
    x->star = 0x0008000800000000;
    x->fmask = FL_IF | FL_TF;
    v->requests = 0;
    v->halted = v->paused = v->stopped = v->wait_sipi = false;
    x86_mode_update(x);
    x->cpu.pc = in->pc + (in->mode == FUZZ_REAL ? 0 : x->cpu.reg[X86_BASE_CS]) + v->index * 0x100;
}

static void configure(struct guest *g, const struct fuzz_input *in)
{
    struct exec_config *c = &g->exec.config;
    c->interp = in->how & HOW_INTERP;
    c->no_links = in->how & HOW_NO_LINKS;
    c->off[EXEC_PASSES] = in->how & HOW_NO_PASSES;
    c->insns_max = in->how & HOW_SHORT_BLOCKS ? 3 : BLOCK_INSNS_MAX;
    g->log.out = g->nowhere;
    g->log.items = in->how & HOW_LOG ? ~0u : 0;
    unsigned model = (in->how & HOW_MODEL) >> 8;
    if (model == g->current)
        return;
    g->current = model;
    code_flush(g->exec.code);
    for (unsigned i = 0; i < CPUS; i++)
        x86_model_apply(&g->v[i]->x86, g->model[model]);
}

/* ---- a run
 * -------------------------------------------------------------------------------------------------------------------------- */

static bool stands(struct vcpu *v)
{
    return __atomic_load_n(&v->halted, __ATOMIC_SEQ_CST);
}

static void interrupt(struct guest *g, unsigned i)
{
    unsigned kind = rng_below(&g->r, 40);
    if (kind < 30)
        __atomic_store_n(&g->pending[i], 16 + (int)rng_below(&g->r, 240), __ATOMIC_RELAXED);
    if (kind == 30)
        vcpu_nmi(g->v[i]);
    else if (kind == 31 && rng_chance(&g->r, 5))
        vcpu_ask(g->v[i], REQUEST_INIT);
    else if (kind == 32) {
        vcpu_pause(g->v[i]);
        vcpu_resume(g->v[i]);
    } else
        vcpu_kick(g->v[i]);
}

static void wait_for(struct guest *g, const struct fuzz_input *in, unsigned cpus)
{
    uint64_t end = os_nanoseconds() + in->microseconds * 1000ull;
    const struct timespec pause = {.tv_nsec = POLL_NS};
    while (os_nanoseconds() < end) {
        bool all = true;
        nanosleep(&pause, NULL);
        for (unsigned i = 0; i < cpus; i++) {
            all &= stands(g->v[i]) && (!(in->how & HOW_INTERRUPTS) || g->v[i]->x86.triple);
            if (in->how & HOW_INTERRUPTS)
                interrupt(g, i);
        }
        if (all)
            break;
    }
}

/* It must leave its thread within a second of being asked. */
static void end_thread(struct vcpu *v)
{
    struct timespec until;
    vcpu_ask(v, REQUEST_QUIT);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ANSWER_SECONDS * SANITIZED_SLOWNESS;
    int err = 0;
    pthread_mutex_lock(&v->lock);
    while (!v->stopped && !err)
        err = pthread_cond_timedwait(&v->changed, &v->lock, &until);
    pthread_mutex_unlock(&v->lock);
    if (err) {
        fprintf(stderr, "fuzz: vCPU %u: block at 0x%" PRIx64 " + 0x%x, mode 0x%x\n", v->index, v->x86.cpu.reg[IR_PCB],
                v->x86.cpu.insn_off, v->x86.mode);
        pthread_kill(v->thread, SIGUSR1);
        sleep(5);
        abort();
    }
    vcpu_join(v);
}

static void check_memory(const struct guest *g, const struct fuzz_input *in)
{
    const uint8_t *low = g->map + CANARY, *high = g->ram.host + RAM_SIZE;
    for (unsigned i = 0; i < CANARY; i++)
        rh_assert(low[i] == CANARY_BYTE && high[i] == CANARY_BYTE,
                  "the guest wrote outside its RAM, %u bytes after its end or %u before it", i, CANARY - i);
    for (unsigned i = 0; i < ARRAY_LEN(hidden); i++)
        for (unsigned k = 0; k < 4096; k++)
            rh_assert(g->ram.host[hidden[i] + k] == CANARY_BYTE, "the guest wrote to RAM that is hidden: at 0x%x",
                      hidden[i] + k);
    rh_assert(memcmp(g->rom, in->rom, sizeof in->rom) == 0, "the guest wrote to ROM");
}

void guest_run(struct guest *g, const struct fuzz_input *in)
{
    struct status st = {""};
    unsigned cpus = in->how & HOW_SMP ? 2 : 1;
    g->r.s = in->seed + in->run;
    configure(g, in);
    load_memory(g, in);
    for (unsigned i = 0; i < cpus; i++) {
        g->pending[i] = -1;
        load_processor(g->v[i], in);
        rh_assert(vcpu_start(g->v[i], &st), "%s", st.text);
    }
    wait_for(g, in, cpus);
    for (unsigned i = 0; i < cpus; i++)
        end_thread(g->v[i]);
    check_memory(g, in);
}

uint64_t guest_insns(const struct guest *g)
{
    return g->v[0]->count[COUNT_TRANS_INSNS] + g->v[1]->count[COUNT_TRANS_INSNS];
}

void guest_print(FILE *out, const struct guest *g)
{
    exec_print_counters(out, (struct exec *)&g->exec);
    for (unsigned i = 0; i < 32; i++)
        if (g->v[0]->x86.count.faults[i])
            fprintf(out, "%14" PRIu64 "  exceptions with vector %u\n", g->v[0]->x86.count.faults[i], i);
}
