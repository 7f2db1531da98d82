/* exec/loop.c: the vCPU loop on one page, and how other threads reach a vCPU.
 *
 *     look at requests and interrupts -> find the block at pc -> run it until generated code leaves -> see why -> again
 *
 * Generated code looks at cpu.kick on backward and indirect jumps only, so whoever wants a vCPU's attention sets it
 * (vcpu_kick).  The loop clears kick first and looks at what it may mean afterwards, so no wish is lost.  All
 * run-side functions that may raise a guest fault run under host_guard.
 *
 * Order of locks: vcpu.lock is taken last and held briefly; nothing is called with it.
 */
#include <string.h>

#include "exec/exec.h"

/* ---- guarded calls ------------------------------------------------------------------------------------------------ */

static enum cpu_leave guarded(struct vcpu *v, void (*fn)(struct cpu *))
{
    exec_spend(v, SPENT_DELIVER);
    enum cpu_leave why = host_guard(&v->exec->thunks, &v->x86.cpu, fn);
    exec_spend(v, SPENT_LOOP);
    return why;
}
static void deliver_fault(struct cpu *c)
{
    x86_deliver_fault((struct x86 *)c);
}
static void take_interrupt(struct cpu *c)
{
    x86_take_interrupt((struct x86 *)c);
}

/* Deliver the fault in x86.fault, and those that delivering it raises. */
static void faults(struct vcpu *v)
{
    while (!v->x86.triple && guarded(v, deliver_fault) == LEAVE_FAULT)
        v->count[COUNT_LEAVE_FAULT]++;
}

/* ---- requests and sleep ------------------------------------------------------------------------------------------ */

void vcpu_kick(struct vcpu *v)
{
    struct exec *e = v->exec;
    __atomic_store_n(&v->x86.cpu.kick, 1, __ATOMIC_SEQ_CST);
    if (e->config.single) { /* the one thread waits for any of them */
        pthread_mutex_lock(&e->world);
        pthread_cond_broadcast(&e->world_changed);
        pthread_mutex_unlock(&e->world);
        return;
    }
    if (__atomic_load_n(&v->halted, __ATOMIC_SEQ_CST) || __atomic_load_n(&v->paused, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&v->lock);
        pthread_cond_broadcast(&v->wake);
        pthread_mutex_unlock(&v->lock);
    }
}

void vcpu_ask(struct vcpu *v, uint32_t requests)
{
    __atomic_fetch_or(&v->requests, requests, __ATOMIC_SEQ_CST);
    vcpu_kick(v);
}

void vcpu_nmi(struct vcpu *v)
{
    x86_nmi_ask(&v->x86);
    vcpu_kick(v);
}

void vcpu_pause(struct vcpu *v)
{
    vcpu_ask(v, REQUEST_PAUSE);
    pthread_mutex_lock(&v->lock);
    while (!v->paused && !v->stopped)
        pthread_cond_wait(&v->changed, &v->lock);
    pthread_mutex_unlock(&v->lock);
}

void vcpu_resume(struct vcpu *v)
{
    __atomic_fetch_and(&v->requests, ~(uint32_t)REQUEST_PAUSE, __ATOMIC_SEQ_CST);
    if (v->exec->config.single) /* else its own thread does that when it goes on */
        __atomic_store_n(&v->paused, false, __ATOMIC_SEQ_CST);
    vcpu_kick(v);
}

static uint32_t requests(const struct vcpu *v)
{
    return __atomic_load_n(&v->requests, __ATOMIC_SEQ_CST);
}

bool vcpu_runnable(struct vcpu *v)
{
    return requests(v) || (!v->wait_sipi && x86_interrupt_ready(&v->x86));
}

static void set_halted(struct vcpu *v, bool on) /* on its own thread; others look */
{
    __atomic_store_n(&v->halted, on, __ATOMIC_RELAXED);
}

/* Waking a thread takes tens of microseconds, and what wakes a halted vCPU is often another's answer that comes sooner.
 * So look for a while before sleeping: longer each time something came soon, not at all once it was long in coming; an
 * idle guest sleeps at once.  Nor where the processor is wanted by others, who may be what this vCPU waits for: when
 * vCPUs outnumber processors, and for a while after this thread had to make room. */
enum { SPIN_FIRST = 10 * 1000, SPIN_MOST = 200 * 1000, SPIN_REST = 50 * 1000 * 1000 }; /* nanoseconds */

static bool spin_halted(struct vcpu *v, uint64_t began)
{
    while (os_nanoseconds() - began < v->spin)
        for (unsigned i = 0; i < 16; i++) {
            if (vcpu_runnable(v))
                return true;
            __builtin_ia32_pause();
        }
    return false;
}

/* A halt that began then is over. */
static void spin_adapt(struct vcpu *v, uint64_t began)
{
    uint64_t now = os_nanoseconds(), preempted = os_times_preempted();
    if (preempted != v->preempted)
        v->spin_again = now + SPIN_REST;
    v->preempted = preempted;
    if (now - began > SPIN_MOST || now < v->spin_again)
        v->spin = 0;
    else
        v->spin = v->spin < SPIN_FIRST ? SPIN_FIRST : v->spin < SPIN_MOST / 2 ? 2 * v->spin : SPIN_MOST;
}

static void sleep_halted(struct vcpu *v)
{
    bool spins = v->x86.nvcpus > 1 && !v->x86.crowded;
    uint64_t began = spins ? os_nanoseconds() : 0;
    exec_spend(v, SPENT_WAIT);
    if (spins && spin_halted(v, began)) {
        v->count[COUNT_HALT_SPUN]++;
    } else {
        v->count[COUNT_HALT_SLEPT]++;
        pthread_mutex_lock(&v->lock);
        __atomic_store_n(&v->halted, true, __ATOMIC_SEQ_CST);
        while (!vcpu_runnable(v))
            pthread_cond_wait(&v->wake, &v->lock);
        if (!(requests(v) & (REQUEST_PAUSE | REQUEST_QUIT)))
            __atomic_store_n(&v->halted, false, __ATOMIC_SEQ_CST);
        pthread_mutex_unlock(&v->lock);
    }
    if (spins)
        spin_adapt(v, began);
    exec_spend(v, SPENT_LOOP);
}

static void stand_still(struct vcpu *v)
{
    x86_x87_fetch(&v->x86); /* for those who look at it */
    exec_spend(v, SPENT_WAIT);
    pthread_mutex_lock(&v->lock);
    __atomic_store_n(&v->paused, true, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&v->changed);
    while (!v->exec->config.single && (requests(v) & REQUEST_PAUSE) && !(requests(v) & REQUEST_QUIT))
        pthread_cond_wait(&v->wake, &v->lock);
    if (!v->exec->config.single || !(requests(v) & REQUEST_PAUSE))
        __atomic_store_n(&v->paused, false, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&v->lock);
    exec_spend(v, SPENT_LOOP);
}

static uint32_t take(struct vcpu *v, uint32_t bits)
{
    return __atomic_fetch_and(&v->requests, ~bits, __ATOMIC_SEQ_CST) & bits;
}

/* What others asked for.  false: leave the thread. */
static bool serve(struct vcpu *v)
{
    if (!requests(v))
        return true;
    if (requests(v) & REQUEST_PAUSE)
        stand_still(v);
    if (requests(v) & REQUEST_QUIT)
        return false;
    if (take(v, REQUEST_INIT)) {
        x86_reset(&v->x86, true);
        v->wait_sipi = v->index != 0;
        set_halted(v, v->wait_sipi);
    }
    if (take(v, REQUEST_STARTUP) && v->wait_sipi) {
        struct x86_segment *cs = &v->x86.seg[SEG_CS]; /* SDM vol. 3, 8.4.4: CS:IP = VV00:0000 */
        uint8_t vector = __atomic_load_n(&v->startup_vector, __ATOMIC_RELAXED);
        cs->selector = (uint16_t)(vector << 8);
        cs->base = (uint64_t)vector << 12;
        x86_mode_update(&v->x86);
        v->x86.cpu.pc = cs->base;
        v->wait_sipi = false;
        set_halted(v, false);
    }
    return true;
}

/* ---- branches to nowhere
 * ------------------------------------------------------------------------------------------------ */

/* In 64-bit mode a near branch to a non-canonical address faults itself, with nothing changed (SDM vol. 2, JMP, CALL,
 * RET: #GP(0)).  RSP has moved by then: move it back.  (CALLs come here from pages mapped twice only.) */
static void branch_fault(struct cpu *c)
{
    struct vcpu *v = (struct vcpu *)c;
    struct x86_insn i;
    uint8_t bytes[15] = {0};
    uint64_t pc = cpu_insn_pc(c);
    size_t n = 0x1000 - (pc & 0xfff) < sizeof bytes ? 0x1000 - (pc & 0xfff) : sizeof bytes;
    exec_peek(v, pc + n, bytes + n, sizeof bytes - n); /* may not be there: then the insn ends before it */
    if (exec_peek(v, pc, bytes, n) && x86_decode(X86_64, bytes, sizeof bytes, &i) == X86_OK && i.map == 0) {
        if (i.opcode == 0xc3 || i.opcode == 0xc2)
            c->reg[X86_RSP] -= 8 + (i.opcode == 0xc2 ? (uint16_t)i.imm : 0);
        else if (i.opcode == 0xe8)
            c->reg[X86_RSP] += 8;
        else if (i.opcode != 0xe9 && i.opcode != 0xeb && !(i.opcode == 0xff && (i.reg & 7) == 4))
            return; /* no near branch: the fetch will fault */
        x86_raise_error(&v->x86, EX_GP, 0);
    }
}

bool exec_branched_nowhere(struct vcpu *v, enum cpu_leave why)
{
    struct x86 *x = &v->x86;
    if ((why != LEAVE_LOOKUP && why != LEAVE_NEXT) || !(x->mode & MODE_64) || x86_canonical(x, x->cpu.pc))
        return false;
    return guarded(v, branch_fault) == LEAVE_FAULT;
}

/* ---- one round
 * ------------------------------------------------------------------------------------------------------- */

/* A crossing jump that led to another page before: see code_link. */
static void link_alone(struct vcpu *v, struct link *l, struct block *to)
{
    uint64_t evictions = code_evictions(v->exec->code);
    world_stop(v);
    v->count[COUNT_LINK_MOVED]++;
    if (evictions == code_evictions(v->exec->code))
        code_link(v->exec->code, l, to, true);
    world_start(v);
}

static void after_link(struct vcpu *v, struct block *to)
{
    struct link *l = exec_link_of(v, v->x86.cpu.link);
    if (!l)
        return;
    const struct block *from = link_from(l);
    if (__atomic_load_n(&l->to, __ATOMIC_RELAXED)) /* changes under code's lock */
        v->count[COUNT_LINK_GUARD]++;
    else if (from == &v->alone)
        v->count[COUNT_LINK_ALONE]++;
    else if (to->mode != from->mode || (!l->cross && (from->gpa ^ to->gpa) >> 12))
        v->count[COUNT_LINK_REMAPPED]++;
    else {
        exec_spend(v, SPENT_LINK);
        if (!code_link(v->exec->code, l, to, v->exec->nvcpus == 1))
            link_alone(v, l, to);
    }
}

static void after_lookup(struct vcpu *v, struct block *to, gva_t pc)
{
    struct cpu *c = &v->x86.cpu;
    struct cpu_jc *e = cpu_jc_at(c->jc, cpu_jc_offset(pc));
    unsigned table = (unsigned)(e - c->jc_table[0]) / CPU_JC_SIZE;
    /* What is there may be wanted as well, or be of no use any longer: so by turns. */
    if (__atomic_load_n(&e->hpc, __ATOMIC_RELAXED) != c->jc_none && v->jc_turn++ & 1)
        e = cpu_jc_at(c->jc, cpu_jc_offset(pc) ^ CPU_JC_OTHER);
    if (c->jc_logged[table] < CPU_JC_LOG)
        c->jc_log[table][c->jc_logged[table]++] = (uint16_t)(e - c->jc);
    else
        c->jc_logged[table] = CPU_JC_LOG + 1;
    if (!(__atomic_load_n(&to->remembered, __ATOMIC_RELAXED) & 1u << table))
        __atomic_fetch_or(&to->remembered, (uint8_t)(1u << table), __ATOMIC_RELAXED);
    e->pc = pc; /* only its own thread uses an entry, but others look for dead blocks and let them lead nowhere */
    __atomic_store_n(&e->hpc, block_entry(to), __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* it died meanwhile, or who lets it die will find the entry */
    if (__atomic_load_n(&to->death, __ATOMIC_RELAXED) != ALIVE)
        __atomic_store_n(&e->hpc, c->jc_none, __ATOMIC_RELAXED);
}

static void log_entry(struct vcpu *v, const struct block *b)
{
    struct log *l = v->exec->log;
    if (!log_wants_pc(l, v->x86.cpu.pc))
        return;
    if (log_on(l, LOG_EXEC))
        log_print(l, "run %u: 0x%llx gpa 0x%llx mode 0x%x %u insns\n", v->index, (unsigned long long)v->x86.cpu.pc,
                  (unsigned long long)b->gpa, b->mode, b->ninsns);
    if (log_on(l, LOG_CPU))
        x86_print(l->out, &v->x86);
}

static enum cpu_leave run_block(struct vcpu *v, struct block *b)
{
    struct cpu *c = &v->x86.cpu;
    if (log_on(v->exec->log, LOG_EXEC | LOG_CPU))
        log_entry(v, b);
    c->reg[IR_PCB] = c->pc & ~0xfffull;
    c->insn_off = (uint32_t)(c->pc & 0xfff);
    c->one_insn = 0;
    rh_assert(!c->f_maker, "who left generated code put F away");
    v->in_code = true;
    if (!v->exec->config.interp)
        x86_x87_enter(&v->x86);
    exec_spend_code(v);
    enum cpu_leave why = v->exec->config.interp ? exec_interp(v, b) : host_enter(&v->exec->thunks, c, block_entry(b));
    v->in_code = false;
    exec_spend(v, SPENT_LOOP);
    v->count[COUNT_LEAVE_LINK + why]++;
    return why;
}

/* Find and run blocks until something other than missing links wants attention. */
static enum cpu_leave run(struct vcpu *v)
{
    struct cpu *c = &v->x86.cpu;
    enum cpu_leave why = LEAVE_NEXT;
    const struct exec_config *g = &v->exec->config;
    bool jumps = !g->no_links && !g->interp; /* the interpreter has no jumps to patch */
    do {
        bool fault;
        gva_t pc = c->pc;
        bool step = v->x86.mode & MODE_STEP;
        uint8_t shadow = v->x86.shadow; /* no interrupt between STI and the next insn */
        if (shadow)
            c->one_insn = 1;
        if (step) {
            if (x86_before_step(&v->x86))
                return LEAVE_FAULT;
            c->one_insn = 1;
        }
        uint64_t evictions = code_evictions(v->exec->code);
        struct block *b = exec_block(v, pc, &fault);
        if (fault)
            return LEAVE_FAULT;
        if (evictions != code_evictions(v->exec->code))
            why = LEAVE_NEXT; /* cpu.link may have been in the region that made room */
        if (b != &v->alone && why == LEAVE_LINK && jumps && !g->off[EXEC_LINKS]) {
            after_link(v, b);
            if (evictions != code_evictions(v->exec->code))
                return LEAVE_NEXT; /* while others ran alone b may have gone */
        } else if (b != &v->alone && why == LEAVE_LOOKUP && jumps && !g->off[EXEC_JUMP_CACHE]) {
            after_lookup(v, b, pc);
        }
        if (!step)
            v->x86.shadow = 0; /* ends with the insn, which may make a new one */
        why = run_block(v, b);
        if (!(v->x86.mode & MODE_64))
            c->pc = (uint32_t)c->pc;              /* linear addresses wrap at 4 GB outside 64-bit mode */
        if (why == LEAVE_AGAIN && !v->x86.shadow) /* STI may be before it in the block: nothing may come in between */
            v->x86.shadow = shadow ? shadow : 1;
        if (exec_branched_nowhere(v, why))
            return LEAVE_FAULT;
        if (step && why != LEAVE_FAULT && why != LEAVE_AGAIN && x86_after_step(&v->x86))
            return LEAVE_FAULT;
        if (shadow && !step && x86_interrupt_ready(&v->x86))
            return why;
    } while ((why == LEAVE_LINK || why == LEAVE_LOOKUP) && !__atomic_load_n(&c->kick, __ATOMIC_RELAXED));
    return why;
}

/* What a broken belief shows of this vCPU. */
static void print_panic(void *arg)
{
    struct vcpu *v = arg;
    x86_print(stderr, &v->x86);
    if (v->translating) {
        fprintf(stderr, "the block being translated:\n");
        ir_print(stderr, v->translating, x86_helper_name);
    }
}

enum vcpu_round vcpu_round(struct vcpu *v)
{
    struct x86 *x = &v->x86;
    /* On the one thread of thread=single every poll leaves, so that turns end by what the guest did, not by time. */
    __atomic_store_n(&x->cpu.kick, v->exec->config.single && v->exec->nvcpus > 1, __ATOMIC_SEQ_CST);
    if (!serve(v))
        return ROUND_QUIT;
    if (v->exec->config.single && requests(v) & REQUEST_PAUSE)
        return ROUND_WAITS;
    if (v->halted || v->wait_sipi) {
        if (!vcpu_runnable(v))
            return ROUND_WAITS;
        set_halted(v, v->wait_sipi);
        if (v->wait_sipi)
            return ROUND_RAN;
    }
    world_enter(v);
    if (x86_interrupt_ready(x)) {
        v->count[COUNT_INTERRUPTS]++;
        if (guarded(v, take_interrupt) == LEAVE_FAULT)
            faults(v);
    }
    switch (run(v)) {
    case LEAVE_FAULT: faults(v); break;
    case LEAVE_HALT: set_halted(v, true); break;
    case LEAVE_KICK: pairs_sample(v); break;
    default: break;
    }
    if (v->exec->config.single) { /* the next vCPU's turn on this thread */
        x86_x87_fetch(x);
        x86_x87_changed(x);
    }
    world_leave(v);
    if (x->triple)
        set_halted(v, true);
    return ROUND_RAN;
}

void vcpu_begin(struct vcpu *v)
{
    host_thread_init(&v->x86.cpu);
    rh_panic_hook(print_panic, v);
}

void vcpu_end(struct vcpu *v)
{
    x86_x87_fetch(&v->x86);
    x86_x87_changed(&v->x86); /* this thread's x87 goes with it */
    rh_panic_hook(NULL, NULL);
    pthread_mutex_lock(&v->lock);
    v->stopped = true;
    pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
}

void vcpu_loop(struct vcpu *v)
{
    enum vcpu_round r;
    vcpu_begin(v);
    while ((r = vcpu_round(v)) != ROUND_QUIT)
        if (r == ROUND_WAITS)
            sleep_halted(v);
    vcpu_end(v);
}

/* ---- threads
 * ----------------------------------------------------------------------------------------------------------- */

static void *thread_main(void *arg)
{
    vcpu_loop(arg);
    return NULL;
}

bool vcpu_start(struct vcpu *v, struct status *st)
{
    int err = pthread_create(&v->thread, NULL, thread_main, v);
    if (err)
        return status_set(st, "cannot start a thread for vCPU %u: %s", v->index, strerror(err));
    return true;
}

void vcpu_join(struct vcpu *v)
{
    pthread_join(v->thread, NULL);
}
