/* tool/machine.c: from options to a running machine: board, code cache, processors and consoles; start, stop, reset,
 * end.
 *
 * Threads.  The main thread runs the event loop and does everything here but cpu_main.  A vCPU's thread that finds a
 * reason to end or reset (a device register, a triple fault) only notes it in machine.events, asks all vCPUs to stand
 * still, and wakes the loop: the rest happens there, so that no vCPU runs on past its own power-off for long and
 * nobody tears down what it stands on.
 */
#include "tool/tool.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum { JOIN_SECONDS = 5 };

/* ---- starting and stopping
 * ----------------------------------------------------------------------------------------- */

void machine_stop(struct machine *m)
{
    m->stopped = true;
    for (unsigned i = 0; i < m->nstarted; i++)
        vcpu_ask(m->cpu[i].vcpu, REQUEST_PAUSE);
    for (unsigned i = 0; i < m->nstarted; i++)
        vcpu_pause(m->cpu[i].vcpu);
}

void machine_continue(struct machine *m)
{
    m->stopped = false;
    for (unsigned i = 0; i < m->nstarted; i++)
        vcpu_resume(m->cpu[i].vcpu);
}

void machine_quit(struct machine *m, int exit_code)
{
    if (m->ending)
        return;
    m->ending = true;
    m->exit_code = exit_code;
    loop_stop(m->loop);
}

/* The state each processor starts with; they stand still or have no thread yet. */
static void boot_states(struct machine *m)
{
    for (unsigned i = 0; i < m->ncpus; i++) {
        struct vcpu *v = m->cpu[i].vcpu;
        x86_reset(&v->x86, false);
        v->wait_sipi = !pc_boot_state(&m->pc, &v->x86);
        v->halted = false;
        x86_mode_update(&v->x86);
    }
}

void machine_reset(struct machine *m)
{
    struct status st = {""};
    bool was_stopped = m->stopped;
    machine_stop(m);
    for (unsigned i = 0; i < m->ncpus; i++)
        __atomic_fetch_and(&m->cpu[i].vcpu->requests, (uint32_t)REQUEST_PAUSE, __ATOMIC_SEQ_CST);
    code_flush(m->exec.code);
    if (!pc_reset(&m->pc, &st)) {
        fprintf(stderr, "rhea: cannot reset the machine: %s\n", st.text);
        machine_quit(m, 1);
        return;
    }
    boot_states(m);
    if (!was_stopped)
        machine_continue(m);
}

/* ---- what the machine asks for
 * ---------------------------------------------------------------------------------------- */

static void show_triple(struct machine *m)
{
    machine_stop(m);
    m->stopped = false;
    fprintf(stderr, "rhea: triple fault on processor %u: the machine %s\n", m->triple_cpu,
            m->options->no_reboot ? "stops" : "is reset");
    x86_print(stderr, &m->cpu[m->triple_cpu].vcpu->x86);
}

/* On the loop's thread. */
static void serve_events(void *arg)
{
    struct machine *m = arg;
    uint32_t events = __atomic_exchange_n(&m->events, 0, __ATOMIC_SEQ_CST);
    if (!events || m->ending)
        return;
    if (events & EVENT_EXIT) {
        machine_quit(m, m->exit_code);
        return;
    }
    if (events & EVENT_TRIPLE)
        show_triple(m);
    if ((events & EVENT_POWER_OFF) || m->options->no_reboot) {
        if (m->options->no_shutdown)
            machine_stop(m);
        else
            machine_quit(m, 0);
        return;
    }
    machine_reset(m);
}

static void post_event(struct machine *m, enum machine_event e)
{
    __atomic_fetch_or(&m->events, (uint32_t)e, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < m->ncpus; i++)
        vcpu_ask(m->cpu[i].vcpu, REQUEST_PAUSE);
    loop_post(m->loop, serve_events, m);
}

static void on_power_off(void *arg)
{
    post_event(arg, EVENT_POWER_OFF);
}

static void on_reset(void *arg)
{
    post_event(arg, EVENT_RESET);
}

static void on_debug_exit(void *arg, int code)
{
    struct machine *m = arg;
    m->exit_code = code;
    post_event(m, EVENT_EXIT);
}

static void on_triple(void *arg)
{
    struct machine_cpu *c = arg;
    c->machine->triple_cpu = c->index;
    post_event(c->machine, EVENT_TRIPLE);
}

/* Firmware and kernels change the A20 gate while one processor runs, and that is the one that asks: nobody else uses
 * the tables. */
static void on_a20(void *arg, bool on)
{
    struct machine *m = arg;
    uint64_t mask = on ? ~0ull : ~(1ull << 20);
    for (unsigned i = 0; i < m->ncpus; i++) {
        struct x86 *x = &m->cpu[i].vcpu->x86;
        unsigned dropped = 0;
        if (x->a20_mask == mask)
            continue;
        x->a20_mask = mask;
        tlb_flush_all(x->tlb, &dropped);
        x86_jc_clear(x);
    }
}

/* ---- what a local APIC asks of its processor
 * ---------------------------------------------------------------------------- */

static void cpu_kick(void *arg)
{
    vcpu_kick(((struct machine_cpu *)arg)->vcpu);
}

static void cpu_nmi(void *arg)
{
    vcpu_nmi(((struct machine_cpu *)arg)->vcpu);
}

static void cpu_smi(void *arg)
{
    struct machine_cpu *c = arg;
    if (log_on(&c->machine->log, LOG_UNIMP))
        log_print(&c->machine->log, "cpu %u: SMI ignored, there is no system management mode\n", c->index);
}

static void cpu_init(void *arg)
{
    struct vcpu *v = ((struct machine_cpu *)arg)->vcpu;
    /* A SIPI that came before is not for the state that INIT makes. */
    __atomic_fetch_and(&v->requests, ~(uint32_t)REQUEST_STARTUP, __ATOMIC_SEQ_CST);
    vcpu_ask(v, REQUEST_INIT);
}

static void cpu_startup(void *arg, uint8_t vector)
{
    struct vcpu *v = ((struct machine_cpu *)arg)->vcpu;
    __atomic_store_n(&v->startup_vector, vector, __ATOMIC_RELAXED); /* perhaps while v starts by the one before */
    vcpu_ask(v, REQUEST_STARTUP);
}

static void enter_cpu(void *arg, unsigned index)
{
    struct machine *m = arg;
    pc_cpu_thread(&m->pc, index);
}

/* thread=single: the first processor's thread runs them all. */
static void *all_cpus_main(void *arg)
{
    struct machine_cpu *c = arg;
    exec_single_loop(&c->machine->exec, enter_cpu, c->machine);
    return NULL;
}

static void *cpu_main(void *arg)
{
    struct machine_cpu *c = arg;
    pc_cpu_thread(&c->machine->pc, c->index);
    vcpu_loop(c->vcpu);
    return NULL;
}

/* ---- set-up
 * ---------------------------------------------------------------------------------------------------------------- */

static bool log_init(struct machine *m, struct status *st)
{
    const struct options *o = m->options;
    m->log.out = stderr;
    m->log.items = o->log_items;
    if (o->log_filter && !log_filter(&m->log, o->log_filter, st))
        return false;
    if (!o->log_file)
        return true;
    m->log.out = fopen(o->log_file, "we");
    if (!m->log.out)
        return status_set(st, "-D: cannot write %s: %s", o->log_file, strerror(errno));
    return true;
}

static void on_signal(void *arg)
{
    struct machine *m = arg;
    struct signalfd_siginfo info;
    if (read(m->signals, &info, sizeof info) != sizeof info)
        return;
    fprintf(stderr, "rhea: ended by signal %u (%s)\n", info.ssi_signo, strsignal((int)info.ssi_signo));
    machine_quit(m, 0);
}

/* Signals that end rhea are read by the loop, so that the terminal and files are put in order. */
static bool signals_init(struct machine *m, struct status *st)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    m->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (m->signals < 0 || !loop_watch(m->loop, m->signals, on_signal, m))
        return status_set(st, "cannot watch signals: %s", strerror(errno));
    return true;
}

static bool board_init(struct machine *m, struct status *st)
{
    const struct options *o = m->options;
    struct pc_config c = {
        .ram_size = o->ram,
        .cpus = o->cpus,
        .topology = o->topology,
        .kernel = o->kernel,
        .initrd = o->initrd,
        .append = o->append,
        .bios = o->bios,
        .debugcon = m->consoles.debugcon,
        .debug_exit = o->debug_exit,
        .debug_exit_port = (uint16_t)o->debug_exit_port,
        .debug_exit_size = o->debug_exit_size,
        .testdev = o->testdev,
        .no_acpi = o->no_acpi,
        .no_hpet = o->no_hpet,
        .no_pit = o->no_pit,
    };
    const struct pc_requests r = {on_power_off, on_reset, on_debug_exit, on_a20, m};
    memcpy(c.serial, m->consoles.serial, sizeof c.serial);
    m->pc_made = pc_init(&m->pc, &c, &r, m->loop, &m->log, st);
    return m->pc_made;
}

static bool cpus_init(struct machine *m, struct status *st)
{
    const struct options *o = m->options;
    struct exec_config config = o->exec;
    config.vcpus = o->cpus;
    config.named = o->perfmap;
    m->exec_made = exec_init(&m->exec, &config, m->pc.mem, m->pc.io, &m->pc.ram, &m->log, st);
    if (!m->exec_made)
        return false;
    m->exec.disassemble = disasm_print;
    if ((o->perfmap || o->jitdump) && !perf_init(&m->perf, o, &m->exec, st))
        return false;
    m->exec.made = m->perf ? perf_block : NULL;
    m->exec.made_arg = m->perf;
    for (unsigned i = 0; i < o->cpus; i++) {
        struct machine_cpu *c = &m->cpu[i];
        *c = (struct machine_cpu){.machine = m, .index = i};
        if (!vcpu_new(&c->vcpu, &m->exec, i, o->cpus, m->model, st))
            return false;
        m->ncpus = i + 1;
        const struct lapic_cpu wires = {
            .kick = cpu_kick, .nmi = cpu_nmi, .smi = cpu_smi, .init = cpu_init, .startup = cpu_startup, .arg = c};
        pc_attach_cpu(&m->pc, i, &c->vcpu->x86, &wires);
        c->vcpu->x86.reset_request = on_triple;
        c->vcpu->x86.reset_arg = c;
    }
    return true;
}

bool machine_init(struct machine *m, const struct options *o, struct status *st)
{
    *m = (struct machine){.options = o, .signals = -1};
    if (!o->kernel && !o->bios)
        return status_set(st, "nothing to run: give -kernel FILE or -bios FILE");
    if (!log_init(m, st) || !x86_model_parse(&m->model, o->cpu, st))
        return false;
    x86_model_warn(m->model, o->cpu, stderr);
    if (!loop_init(&m->loop, st) || !signals_init(m, st) || !consoles_open(m, st) || !board_init(m, st) ||
        !cpus_init(m, st) || !pc_load(&m->pc, st))
        return false;
    boot_states(m);
    return !m->consoles.monitor || monitor_init(&m->monitor, m, m->consoles.monitor, st);
}

/* Wait for the processor's thread.  One that does not come back is a bug of rhea's; the user gets his terminal back
 * all the same. */
static void join(struct machine *m, unsigned cpu)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += JOIN_SECONDS;
    if (!pthread_timedjoin_np(m->cpu[cpu].vcpu->thread, NULL, &until))
        return;
    consoles_close(m);
    fprintf(stderr, "rhea: internal error: processor %u does not stop (at 0x%llx)\n", cpu,
            (unsigned long long)m->cpu[cpu].vcpu->x86.cpu.pc);
    fflush(NULL);
    _exit(m->exit_code ? m->exit_code : 1);
}

int machine_run(struct machine *m, struct status *st)
{
    m->stopped = m->options->start_stopped;
    bool single = m->options->exec.single;
    for (unsigned i = 0; i < m->ncpus && m->stopped; i++)
        vcpu_ask(m->cpu[i].vcpu, REQUEST_PAUSE);
    for (unsigned i = 0; i < m->ncpus; i++) {
        struct machine_cpu *c = &m->cpu[i];
        int err = single && i ? 0 : pthread_create(&c->vcpu->thread, NULL, single ? all_cpus_main : cpu_main, c);
        if (err) {
            status_set(st, "cannot start a thread for processor %u: %s", i, strerror(err));
            machine_quit(m, 1);
            break;
        }
        m->nstarted = i + 1;
    }
    if (!m->ending)
        loop_run(m->loop);
    for (unsigned i = 0; i < m->nstarted; i++)
        vcpu_ask(m->cpu[i].vcpu, REQUEST_QUIT);
    for (unsigned i = 0; i < (single && m->nstarted ? 1 : m->nstarted); i++)
        join(m, i);
    if (m->options->exec.stats)
        exec_print_counters(stderr, &m->exec);
    return m->exit_code;
}

void machine_fini(struct machine *m)
{
    if (m->monitor)
        monitor_fini(m->monitor);
    if (m->perf)
        perf_fini(m->perf);
    for (unsigned i = 0; i < m->ncpus; i++)
        vcpu_free(m->cpu[i].vcpu);
    if (m->exec_made)
        exec_fini(&m->exec);
    if (m->pc_made)
        pc_fini(&m->pc);
    consoles_close(m);
    if (m->loop)
        loop_fini(m->loop);
    if (m->signals >= 0)
        close(m->signals);
    if (m->model)
        x86_model_free(m->model);
    if (m->log.out && m->log.out != stderr)
        fclose(m->log.out);
}
