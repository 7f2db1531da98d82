/* guest/x86/fault.c: faults as data, what follows from them, interrupts, and debug exceptions.
 *
 *     helper or slow path --x86_raise--> x->fault --leave--> loop --x86_deliver_fault--> transfer.c enters the handler
 *
 * Delivery itself may fault.  The slow path then leaves to the loop again with the new fault, and x->delivering tells
 * x86_deliver_fault that it happened on the way to `delivering_vector`: the rules of vol. 3, 6.15, "Double Fault",
 * decide what is delivered instead.
 *
 * Rules to know before editing
 *   - x86_raise* never return and may be called anywhere a helper may be abandoned.
 *   - While x->delivering, cpu.pc is already the right return address and cpu.insn_off means nothing.
 *   - nmi_pending may be set by other threads: it is taken with an atomic exchange.
 *   - INIT and start-up IPIs are the loop's business (x86_reset).
 */
#include "guest/x86/run_int.h"

/* ---- raising ------------------------------------------------------------------------------------------------ */

static _Noreturn void raise_fault(struct x86 *x, struct x86_fault f)
{
    x->fault = f;
    if (!x->delivering)
        x->cpu.pc = cpu_insn_pc(&x->cpu);
    x86_leave(x, LEAVE_FAULT);
}

_Noreturn void x86_raise(struct x86 *x, enum x86_vector v)
{
    raise_fault(x, (struct x86_fault){.vector = (uint8_t)v});
}

_Noreturn void x86_raise_error(struct x86 *x, enum x86_vector v, uint32_t error)
{
    raise_fault(x, (struct x86_fault){.vector = (uint8_t)v, .has_error = true, .error = error});
}

_Noreturn void x86_raise_pf(struct x86 *x, gva_t gva, uint32_t error)
{
    x->cr2 = gva;
    if (log_on(x->log, LOG_MMU))
        log_print(x->log, "page fault at %016llx error %02x\n", (unsigned long long)gva, error);
    x86_raise_error(x, EX_PF, error);
}

uint64_t help_raise(struct x86 *x, uint64_t vector, uint64_t error, uint64_t has_error)
{
    raise_fault(x,
                (struct x86_fault){.vector = (uint8_t)vector, .has_error = has_error != 0, .error = (uint32_t)error});
}

void x86_need_cpl0(struct x86 *x)
{
    if (x86_cpl(x))
        x86_raise_error(x, EX_GP, 0);
}

/* ---- delivering --------------------------------------------------------------------------------------------- */

/* Vol. 3, tables 6-4 and 6-5. */
enum fault_class { BENIGN, CONTRIBUTORY, PAGE, DOUBLE };

static enum fault_class fault_class(unsigned vector)
{
    switch (vector) {
    case EX_DE:
    case EX_TS:
    case EX_NP:
    case EX_SS:
    case EX_GP:
    case EX_CP: return CONTRIBUTORY;
    case EX_PF: return PAGE;
    case EX_DF: return DOUBLE;
    default: return BENIGN;
    }
}

static bool is_fault(unsigned vector) /* restarts the insn: RF is set in the image (vol. 3, 17.3.1.1) */
{
    return vector != EX_DB && vector != EX_NMI && vector != EX_BP && vector != EX_OF && vector != EX_MC;
}

static void triple_fault(struct x86 *x, unsigned first, unsigned second)
{
    x->triple = true;
    x->delivering = false;
    if (log_on(x->log, LOG_INT | LOG_GUEST_ERRORS)) {
        log_print(x->log, "cpu %u: triple fault (vector %u while delivering %u)\n", x->index, second, first);
        if (x->log->out)
            x86_print(x->log->out, x);
    }
    if (x->reset_request)
        x->reset_request(x->reset_arg);
    x86_leave(x, LEAVE_HALT);
}

static void log_event(struct x86 *x, const char *what, const struct x86_event *e)
{
    if (!log_on(x->log, LOG_INT) || !log_wants_pc(x->log, x->cpu.pc))
        return;
    log_print(x->log, "cpu %u: %s %02x error %04x at %04x:%016llx rsp %04x:%016llx cr2 %016llx rax %016llx\n", x->index,
              what, e->vector, e->has_error ? e->error : 0, x->seg[SEG_CS].selector, (unsigned long long)e->rip,
              x->seg[SEG_SS].selector, (unsigned long long)x->cpu.reg[X86_RSP], (unsigned long long)x->cr2,
              (unsigned long long)x->cpu.reg[X86_RAX]);
}

/* Benign exceptions are delivered one after another (vol. 3, table 6-5); a delivery that always raises the next, as
 * #AC on a handler's own stack may, never ends on hardware either.  A shutdown after so many says the same and lets
 * the machine be reset. */
enum { NESTED_MAX = 16 };

void x86_deliver_fault(struct x86 *x)
{
    struct x86_fault f = x->fault;
    x->delivering_depth = x->delivering ? x->delivering_depth + 1 : 0;
    if (x->delivering) {
        if (x->delivering_depth > NESTED_MAX)
            triple_fault(x, x->delivering_vector, f.vector);
        enum fault_class first = fault_class(x->delivering_vector), second = fault_class(f.vector);
        bool worse = second == CONTRIBUTORY || second == PAGE;
        if (first == DOUBLE && worse)
            triple_fault(x, x->delivering_vector, f.vector);
        if ((first == CONTRIBUTORY && second == CONTRIBUTORY) || (first == PAGE && worse))
            f = (struct x86_fault){.vector = EX_DF, .has_error = true};
    }
    struct x86_event e = {
        .vector = f.vector,
        .soft = f.soft,
        .has_error = f.has_error,
        .error = f.error,
        .ext = !f.soft,
        .rip = x86_rip(x, x->cpu.pc + f.length),
        .flags = x86_rflags(x),
    };
    if (!f.soft && is_fault(f.vector))
        e.flags |= FL_RF;
    x->delivering = true;
    x->delivering_vector = f.vector;
    x->shadow = false;
    x->watch_pc = 0;
    x->count.faults[f.vector & 31]++;
    if (f.vector == EX_DB)
        x->dr[7] &= ~(1ull << 13); /* GD: vol. 3, 17.2.4 */
    log_event(x, "exception", &e);
    x86_deliver(x, &e);
    x->delivering = false;
}

/* B0 to B3 say what this exception is about, all else in DR6 stays until software clears it (vol. 3, 18.2.3; AMD APM vol. 2, 13.1.1.3). */
void x86_debug_status(struct x86 *x, uint64_t conditions)
{
    x->dr[6] = (x->dr[6] & ~15ull) | conditions;
}

/* ---- interrupts --------------------------------------------------------------------------------------------- */

void x86_nmi_ask(struct x86 *x)
{
    __atomic_fetch_add(&x->nmi_asked, 1, __ATOMIC_RELEASE);
}

static bool nmi_waits(const struct x86 *x)
{
    return !x->nmi_blocked && (x->nmi_pending || __atomic_load_n(&x->nmi_asked, __ATOMIC_ACQUIRE));
}

/* A processor takes an NMI at once, and while its handler runs remembers one more (vol. 3, 6.7.1).  Here two may come
 * before either is looked at: the first would have been taken by then. */
void x86_nmi_count(struct x86 *x)
{
    uint32_t most = x->nmi_blocked ? 1 : 2, n = x->nmi_pending;
    if (__atomic_load_n(&x->nmi_asked, __ATOMIC_RELAXED)) {
        uint32_t asked = __atomic_exchange_n(&x->nmi_asked, 0, __ATOMIC_ACQ_REL);
        n = asked < most - n ? n + asked : most;
        x->nmi_pending = (uint8_t)n;
    }
}

static bool external_ready(const struct x86 *x)
{
    return x->flags & FL_IF && x->intc.pending && x->intc.pending(x->intc.dev) >= 0;
}

bool x86_interrupt_ready(struct x86 *x)
{
    if (x->triple || x->shadow)
        return false;
    return x->pending_db || nmi_waits(x) || external_ready(x);
}

void x86_check_kick(struct x86 *x)
{
    if (x86_interrupt_ready(x))
        __atomic_store_n(&x->cpu.kick, 1, __ATOMIC_SEQ_CST);
}

static void deliver_external(struct x86 *x, unsigned vector, const char *what)
{
    struct x86_event e = {.vector = (uint8_t)vector, .ext = 1, .rip = x86_rip(x, x->cpu.pc), .flags = x86_rflags(x)};
    e.flags &= ~(uint64_t)FL_RF;
    x->watch_pc = 0;
    x->delivering = true;
    x->delivering_vector = EX_NMI; /* benign, whatever its number */
    log_event(x, what, &e);
    x86_deliver(x, &e);
    x->delivering = false;
}

/* Debug traps come before NMI, NMI before external interrupts (vol. 3, table 6-2). */
void x86_take_interrupt(struct x86 *x)
{
    if (x->pending_db) {
        x86_debug_status(x, x->pending_db);
        x->pending_db = 0;
        x->fault = (struct x86_fault){.vector = EX_DB};
        x86_mode_update(x);
        x86_deliver_fault(x);
        return;
    }
    if (nmi_waits(x)) {
        x86_nmi_count(x);
        x->nmi_pending--;
        x->nmi_blocked = true;
        deliver_external(x, EX_NMI, "nmi");
        return;
    }
    if (!(x->flags & FL_IF) || !x->intc.accept)
        return;
    int vector = x->intc.accept(x->intc.dev);
    if (vector < 0)
        return;
    x->count.interrupts++;
    deliver_external(x, (unsigned)vector, "interrupt");
}

/* ---- debug exceptions: vol. 3, 17.2 and 17.3 ---------------------------------------------------------------- */

enum { DR_EXECUTE, DR_WRITE, DR_IO, DR_ACCESS }; /* R/W fields of DR7 */

static bool dr_enabled(const struct x86 *x, unsigned n)
{
    return x->dr[7] >> (2 * n) & 3;
}

static unsigned dr_kind(const struct x86 *x, unsigned n)
{
    return x->dr[7] >> (16 + 4 * n) & 3;
}

static unsigned dr_length(const struct x86 *x, unsigned n)
{
    static const uint8_t length[] = {1, 2, 8, 4};
    return length[x->dr[7] >> (18 + 4 * n) & 3];
}

static bool dr_hits(const struct x86 *x, unsigned n, uint64_t at, unsigned bytes)
{
    unsigned length = dr_length(x, n);
    uint64_t from = x->dr[n] & ~(uint64_t)(length - 1);
    return at < from + length && from < at + bytes;
}

bool x86_before_step(struct x86 *x)
{
    x->step_tf = x->flags & FL_TF;
    x->step_shadow = x->shadow;
    x->step_rf = x->flags & FL_RF;
    if (x->step_rf)
        return false;
    uint64_t hit = 0;
    for (unsigned n = 0; n < 4; n++)
        if (dr_enabled(x, n) && dr_kind(x, n) == DR_EXECUTE && x->dr[n] == x->cpu.pc)
            hit |= 1u << n;
    if (!hit)
        return false;
    x86_debug_status(x, hit);
    x->fault = (struct x86_fault){.vector = EX_DB};
    return true;
}

bool x86_after_step(struct x86 *x)
{
    if (x->step_rf)
        x->flags &= ~(uint32_t)FL_RF;
    if (x->step_shadow)
        x->shadow = false;
    else if (x->shadow == 2) /* MOV SS, POP SS: no step trap, breakpoints wait for the next insn (vol. 3, 6.8.3) */
        return false;
    uint64_t due = x->pending_db | (x->step_tf ? 1u << 14 : 0);
    if (!due)
        return false;
    x->pending_db = 0;
    x->step_tf = false;
    x86_debug_status(x, due);
    x86_mode_update(x);
    x->fault = (struct x86_fault){.vector = EX_DB};
    return true;
}

/* A data or I/O breakpoint was hit: its trap comes right after this insn, so the insn must run alone. */
static void trap_after(struct x86 *x, uint64_t hit)
{
    uint64_t pc = cpu_insn_pc(&x->cpu);
    if (x->delivering || x->mode & MODE_STEP || x->watch_pc == pc + 1) {
        x->watch_pc = 0;
        x->pending_db |= hit;
        __atomic_store_n(&x->cpu.kick, 1, __ATOMIC_SEQ_CST);
        return;
    }
    x->watch_pc = pc + 1;
    x->cpu.one_insn = 1;
    x->cpu.pc = pc;
    x86_leave(x, LEAVE_AGAIN);
}

void x86_watch(struct x86 *x, gva_t gva, unsigned n, bool write)
{
    uint64_t hit = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned kind = dr_kind(x, i);
        if (dr_enabled(x, i) && (kind == DR_ACCESS || (kind == DR_WRITE && write)) && dr_hits(x, i, gva, n))
            hit |= 1u << i;
    }
    if (hit)
        trap_after(x, hit);
}

void x86_watch_io(struct x86 *x, uint16_t port, unsigned n)
{
    if (!(x->cr4 & CR4_DE))
        return;
    uint64_t hit = 0;
    for (unsigned i = 0; i < 4; i++)
        if (dr_enabled(x, i) && dr_kind(x, i) == DR_IO && dr_hits(x, i, port, n))
            hit |= 1u << i;
    if (hit)
        trap_after(x, hit);
}

bool x86_page_watched(const struct x86 *x, gva_t gva)
{
    if (!(x->dr[7] & 0xff))
        return false;
    for (unsigned n = 0; n < 4; n++)
        if (dr_enabled(x, n) && dr_kind(x, n) & 1 && dr_hits(x, n, gva & ~0xfffull, 4096))
            return true;
    return false;
}
