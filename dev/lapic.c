/* dev/lapic.c: one processor's local APIC (Intel SDM vol. 3, chapter 11): xAPIC and x2APIC registers, interrupt
 * priorities, local vectors, the timer in its three modes, and sending (ICR).
 *
 * An interrupt's way: lapic_take sets its bit in IRR; lapic_refresh works out what the processor would get now and
 * leaves it in the atomic `pending`; the processor looks at it (no lock), and takes it by lapic_accept, which moves
 * the bit to ISR; EOI clears it.
 *
 * Rules to know before editing
 *   - Everything but `pending` is guarded by `lock`.  Each entry point locks, changes, calls lapic_unlock, which
 *     refreshes, unlocks, and then kicks.  Nothing is called out while the lock is held but timers.
 *   - Messages to other APICs, EOI broadcasts and the PIC's acknowledge happen after unlocking (dev.h's order).
 *   - The timer counts at 1 GHz before its divider: one tick is one nanosecond of the environment's clock.
 *   - Registers are named by their offset in the page; x2APIC numbers are 800H + offset / 16.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "dev/dev.h"

enum {
    REG_ID = 0x20,
    REG_VERSION = 0x30,
    REG_TPR = 0x80,
    REG_APR = 0x90,
    REG_PPR = 0xa0,
    REG_EOI = 0xb0,
    REG_RRD = 0xc0,
    REG_LDR = 0xd0,
    REG_DFR = 0xe0,
    REG_SVR = 0xf0,
    REG_ISR = 0x100, /* ..170 */
    REG_TMR = 0x180,
    REG_IRR = 0x200,
    REG_ESR = 0x280,
    REG_ICR_LOW = 0x300,
    REG_ICR_HIGH = 0x310,
    REG_LVT = 0x320, /* ..370, in the order of enum lvt */
    REG_INITIAL_COUNT = 0x380,
    REG_CURRENT_COUNT = 0x390,
    REG_DIVIDE = 0x3e0,
    REG_SELF_IPI = 0x3f0, /* x2APIC only */

    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800,
    MSR_X2APIC_LAST = 0x8ff,

    VERSION = 0x14 | 5 << 16, /* integrated APIC, LVT entries 0..5 */
    SVR_ENABLE = 1 << 8,
    SVR_BITS = 0x3ff,
    BASE_BSP = 1 << 8,
    BASE_X2 = 1 << 10,
    BASE_ENABLE = 1 << 11,
    LVT_MODE_SHIFT = 8,
    LVT_PIN_LEVEL = 1 << 15,
    LVT_MASK = 1 << 16,
    LVT_TIMER_SHIFT = 17,
    ICR_LOGICAL = 1 << 11,
    ICR_ASSERT = 1 << 14,
    ICR_LEVEL = 1 << 15,
    ICR_SHORTHAND_SHIFT = 18,
    ESR_SEND_VECTOR = 1 << 5,
    ESR_RECEIVE_VECTOR = 1 << 6,
    ESR_REGISTER = 1 << 7,

    PENDING_NONE = -1,
    PENDING_EXTINT = 256,
};
enum lvt { LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };
enum { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_DEADLINE };

static const uint32_t lvt_writable[LVT_COUNT] = {0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};

struct lapic {
    pthread_mutex_t lock;
    const struct dev_env *env;
    struct apic_net *net;
    struct lapic_cpu cpu;
    struct pic *extint;
    atomic_int pending; /* vector, PENDING_NONE or PENDING_EXTINT */

    uint32_t id;      /* as the processor got it at power-on, and x2APIC mode's */
    uint32_t answers; /* to this physical id: xAPIC mode's may be written (11.4.6).  Changed and read atomically */
    bool bsp, pin[2];
    uint64_t base;
    uint32_t tpr, ldr, dfr, svr, esr, esr_next, divide, initial_count;
    uint32_t isr[8], tmr[8], irr[8];
    uint32_t lvt[LVT_COUNT];
    uint64_t icr;

    struct loop_timer timer;
    uint64_t started, due; /* nanoseconds; due UINT64_MAX: stopped */
    uint64_t deadline;     /* IA32_TSC_DEADLINE, 0: not armed */
    uint64_t tsc_hz;
};

/* ---- bit sets of 256 vectors ------------------------------------------------------------------------------- */

static void set_put(uint32_t *set, unsigned vector, bool on)
{
    uint32_t bit = 1u << (vector & 31);
    set[vector >> 5] = on ? set[vector >> 5] | bit : set[vector >> 5] & ~bit;
}

static bool set_has(const uint32_t *set, unsigned vector)
{
    return set[vector >> 5] >> (vector & 31) & 1;
}

static int set_highest(const uint32_t *set)
{
    for (int i = 7; i >= 0; i--)
        if (set[i])
            return i * 32 + 31 - __builtin_clz(set[i]);
    return -1;
}

/* ---- priorities (11.8.3) ----------------------------------------------------------------------------------- */

static bool lapic_software_enabled(const struct lapic *l)
{
    return (l->base & BASE_ENABLE) && (l->svr & SVR_ENABLE);
}

static unsigned lapic_ppr(const struct lapic *l)
{
    int top = set_highest(l->isr);
    unsigned in_service = top < 0 ? 0 : (unsigned)top;
    return (l->tpr & 0xf0) >= (in_service & 0xf0) ? l->tpr : in_service & 0xf0;
}

/* The PIC's request gets through: no APIC in the way, or LINT0 set up as ExtINT (11.5.1). */
static bool lapic_extint_open(const struct lapic *l)
{
    if (!l->extint || !l->pin[0])
        return false;
    if (!(l->base & BASE_ENABLE))
        return true;
    uint32_t lint0 = l->lvt[LVT_LINT0];
    return !(lint0 & LVT_MASK) && (lint0 >> LVT_MODE_SHIFT & 7) == APIC_EXTINT;
}

static int lapic_fixed(const struct lapic *l)
{
    if (!lapic_software_enabled(l))
        return -1;
    int vector = set_highest(l->irr);
    return vector >= 0 && ((unsigned)vector & 0xf0) > (lapic_ppr(l) & 0xf0) ? vector : -1;
}

/* Bring `pending` up to date; true if the processor should look. */
static bool lapic_refresh(struct lapic *l)
{
    int now = lapic_fixed(l);
    if (now < 0 && lapic_extint_open(l))
        now = PENDING_EXTINT;
    int before = atomic_exchange(&l->pending, now);
    return now != before && now != PENDING_NONE;
}

static void lapic_unlock(struct lapic *l)
{
    bool look = lapic_refresh(l);
    pthread_mutex_unlock(&l->lock);
    if (look && l->cpu.kick)
        l->cpu.kick(l->cpu.arg);
}

int lapic_pending(void *lapic)
{
    struct lapic *l = lapic;
    int v = atomic_load(&l->pending);
    return v == PENDING_EXTINT ? pic_pending(l->extint) : v;
}

int lapic_accept(void *lapic)
{
    struct lapic *l = lapic;
    pthread_mutex_lock(&l->lock);
    int vector = lapic_fixed(l);
    bool from_pic = vector < 0 && lapic_extint_open(l);
    if (vector >= 0) {
        set_put(l->irr, (unsigned)vector, false);
        set_put(l->isr, (unsigned)vector, true);
    }
    lapic_unlock(l);
    return from_pic ? pic_accept(l->extint) : vector;
}

unsigned lapic_priority(struct lapic *l)
{
    pthread_mutex_lock(&l->lock);
    unsigned v = lapic_ppr(l);
    pthread_mutex_unlock(&l->lock);
    return v;
}

/* ---- requests arriving ------------------------------------------------------------------------------------- */

static void lapic_error(struct lapic *l, uint32_t bit);

static void lapic_request(struct lapic *l, uint8_t vector, bool level)
{
    if (!lapic_software_enabled(l))
        return;
    if (vector < 16) {
        lapic_error(l, ESR_RECEIVE_VECTOR);
        return;
    }
    set_put(l->irr, vector, true);
    set_put(l->tmr, vector, level);
}

static void lapic_error(struct lapic *l, uint32_t bit)
{
    l->esr_next |= bit;
    uint32_t lvt = l->lvt[LVT_ERROR];
    if (!(lvt & LVT_MASK) && (lvt & 0xff) >= 16)
        lapic_request(l, (uint8_t)lvt, false);
}

/* INIT keeps the id and IA32_APIC_BASE; power-on sets those too (11.4.7). */
static void lapic_clear(struct lapic *l)
{
    l->tpr = l->ldr = l->esr = l->esr_next = l->divide = l->initial_count = 0;
    l->dfr = 0xffffffffu;
    l->svr = 0xff;
    l->icr = l->deadline = 0;
    for (unsigned i = 0; i < 8; i++)
        l->isr[i] = l->tmr[i] = l->irr[i] = 0;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        l->lvt[i] = LVT_MASK;
    l->due = UINT64_MAX;
    dev_timer_set(l->env, &l->timer, UINT64_MAX);
}

void lapic_take(struct lapic *l, const struct apic_message *m)
{
    void (*call)(void *) = NULL;
    pthread_mutex_lock(&l->lock);
    bool enabled = l->base & BASE_ENABLE;
    if (enabled) {
        switch (m->mode) {
        case APIC_FIXED:
        case APIC_LOWEST: lapic_request(l, m->vector, m->level); break;
        case APIC_SMI: call = l->cpu.smi; break;
        case APIC_NMI: call = l->cpu.nmi; break;
        case APIC_INIT:
            lapic_clear(l);
            call = l->cpu.init;
            break;
        }
    }
    lapic_unlock(l);
    if (call)
        call(l->cpu.arg);
    if (enabled && m->mode == APIC_STARTUP && l->cpu.startup)
        l->cpu.startup(l->cpu.arg, m->vector);
}

/* x2APIC: cluster in bits 31..16, one bit of 16 in the cluster (11.12.10.2). */
static uint32_t x2_logical_id(uint32_t id)
{
    return (id >> 4) << 16 | 1u << (id & 15);
}

uint32_t lapic_answers(const struct lapic *l)
{
    return __atomic_load_n(&l->answers, __ATOMIC_RELAXED);
}

static void lapic_answer_to(struct lapic *l, uint32_t id)
{
    __atomic_store_n(&l->answers, id, __ATOMIC_RELAXED);
}

static bool lapic_matches_logical(const struct lapic *l, uint32_t dest)
{
    if (l->base & BASE_X2) {
        uint32_t ldr = x2_logical_id(l->id);
        return (ldr >> 16) == (dest >> 16) && (ldr & dest & 0xffff);
    }
    uint32_t ldr = l->ldr >> 24;
    dest &= 0xff;
    if (l->dfr >> 28 == 0xf)
        return ldr & dest;
    return ((dest >> 4) == 0xf || (ldr >> 4) == (dest >> 4)) && (ldr & dest & 0xf);
}

bool lapic_matches(struct lapic *l, const struct apic_message *m)
{
    pthread_mutex_lock(&l->lock);
    bool all = m->x2 ? m->dest == 0xffffffffu : m->dest == 0xff && (!m->logical || (l->base & BASE_X2));
    bool yes = all;
    if (!all && m->logical)
        yes = lapic_matches_logical(l, m->dest);
    else if (!all)
        yes = m->dest == lapic_answers(l);
    pthread_mutex_unlock(&l->lock);
    return yes;
}

void lapic_lint(void *lapic, unsigned pin, bool level)
{
    struct lapic *l = lapic;
    bool nmi = false;
    pthread_mutex_lock(&l->lock);
    bool rise = level && !l->pin[pin];
    l->pin[pin] = level;
    uint32_t lvt = l->lvt[LVT_LINT0 + pin];
    unsigned mode = lvt >> LVT_MODE_SHIFT & 7;
    if (rise && !(l->base & BASE_ENABLE)) {
        nmi = pin == 1; /* without an APIC the pins are INTR and NMI */
    } else if (rise && !(lvt & LVT_MASK)) {
        nmi = mode == APIC_NMI;
        if (mode == APIC_FIXED)
            lapic_request(l, (uint8_t)lvt, false);
    }
    lapic_unlock(l);
    if (nmi && l->cpu.nmi)
        l->cpu.nmi(l->cpu.arg);
}

/* ---- timer (11.5.4) ---------------------------------------------------------------------------------------- */

static unsigned timer_mode(const struct lapic *l)
{
    return l->lvt[LVT_TIMER] >> LVT_TIMER_SHIFT & 3;
}

/* Bits 3, 1, 0 of the divide register name 2, 4, ... 128, 1. */
static unsigned timer_shift(const struct lapic *l)
{
    return (((l->divide >> 1 & 4) | (l->divide & 3)) + 1) & 7;
}

static uint64_t timer_period(const struct lapic *l)
{
    return (uint64_t)l->initial_count << timer_shift(l);
}

static void timer_arm(struct lapic *l, uint64_t due)
{
    l->due = due;
    dev_timer_set(l->env, &l->timer, due);
}

static uint32_t timer_count(const struct lapic *l)
{
    uint64_t period = timer_period(l);
    if (timer_mode(l) == TIMER_DEADLINE || !period || l->due == UINT64_MAX)
        return 0;
    uint64_t elapsed = dev_now(l->env) - l->started;
    if (timer_mode(l) == TIMER_PERIODIC)
        elapsed %= period;
    return elapsed >= period ? 0 : (uint32_t)((period - elapsed + (1u << timer_shift(l)) - 1) >> timer_shift(l));
}

static void timer_start(struct lapic *l)
{
    l->started = dev_now(l->env);
    timer_arm(l, l->initial_count ? l->started + timer_period(l) : UINT64_MAX);
}

static void timer_fire(struct lapic *l)
{
    if (!(l->lvt[LVT_TIMER] & LVT_MASK))
        lapic_request(l, (uint8_t)l->lvt[LVT_TIMER], false);
}

/* Deadline reached, or wait for what is left of it. */
static void timer_check_deadline(struct lapic *l)
{
    uint64_t tsc = l->cpu.tsc ? l->cpu.tsc(l->cpu.tsc_arg) : 0;
    if (!l->deadline) {
        timer_arm(l, UINT64_MAX);
    } else if (tsc >= l->deadline) {
        l->deadline = 0;
        timer_arm(l, UINT64_MAX);
        timer_fire(l);
    } else {
        uint64_t ticks = l->deadline - tsc, most = l->tsc_hz << 20; /* 12 days: look again then */
        timer_arm(l, dev_now(l->env) + dev_scale(ticks < most ? ticks : most, 1000000000, l->tsc_hz) + 1);
    }
}

static void timer_event(void *arg)
{
    struct lapic *l = arg;
    pthread_mutex_lock(&l->lock);
    uint64_t now = dev_now(l->env);
    if (l->due > now) {
        timer_arm(l, l->due); /* set anew while this call was on its way */
    } else if (timer_mode(l) == TIMER_DEADLINE) {
        timer_check_deadline(l);
    } else {
        uint64_t period = timer_period(l);
        timer_fire(l);
        if (timer_mode(l) == TIMER_PERIODIC && period)
            timer_arm(l, l->started + ((now - l->started) / period + 1) * period);
        else
            timer_arm(l, UINT64_MAX);
    }
    lapic_unlock(l);
}

/* A new mode goes on from where the count is; one that has come to its end stands still. */
static void timer_set_lvt(struct lapic *l, uint32_t v)
{
    unsigned before = timer_mode(l);
    uint64_t now = dev_now(l->env), period = timer_period(l);
    if (before != TIMER_DEADLINE && l->due <= now)
        timer_fire(l);
    if (before == TIMER_ONE_SHOT && l->due <= now) {
        timer_arm(l, UINT64_MAX);
    } else if (before == TIMER_PERIODIC && l->due != UINT64_MAX && period) {
        l->started += (now - l->started) / period * period;
        timer_arm(l, l->started + period);
    }
    l->lvt[LVT_TIMER] = v;
    if ((before == TIMER_DEADLINE) != (timer_mode(l) == TIMER_DEADLINE)) {
        l->deadline = 0;
        l->initial_count = 0;
        timer_arm(l, UINT64_MAX);
    }
}

static void timer_set_divide(struct lapic *l, uint32_t v)
{
    uint64_t left = timer_count(l);
    l->divide = v & 0xb;
    if (l->due == UINT64_MAX || timer_mode(l) == TIMER_DEADLINE)
        return;
    uint64_t now = dev_now(l->env);
    l->started = now - (timer_period(l) - (left << timer_shift(l)));
    timer_arm(l, now + (left << timer_shift(l)));
}

/* ---- registers --------------------------------------------------------------------------------------------- */

static bool lapic_x2(const struct lapic *l)
{
    return l->base & BASE_X2;
}

static bool reg_get(struct lapic *l, unsigned reg, uint32_t *v)
{
    *v = 0;
    if (reg >= REG_ISR && reg < REG_ISR + 0x80)
        *v = l->isr[(reg - REG_ISR) >> 4];
    else if (reg >= REG_TMR && reg < REG_TMR + 0x80)
        *v = l->tmr[(reg - REG_TMR) >> 4];
    else if (reg >= REG_IRR && reg < REG_IRR + 0x80)
        *v = l->irr[(reg - REG_IRR) >> 4];
    else if (reg >= REG_LVT && reg < REG_LVT + LVT_COUNT * 0x10)
        *v = l->lvt[(reg - REG_LVT) >> 4];
    else
        switch (reg) {
        case REG_ID: *v = lapic_x2(l) ? l->id : l->answers << 24; break;
        case REG_VERSION: *v = VERSION; break;
        case REG_TPR: *v = l->tpr; break;
        case REG_PPR: *v = lapic_ppr(l); break;
        case REG_APR:
        case REG_RRD:
        case REG_EOI: return !lapic_x2(l);
        case REG_LDR: *v = lapic_x2(l) ? x2_logical_id(l->id) : l->ldr; break;
        case REG_DFR: *v = l->dfr; return !lapic_x2(l);
        case REG_SVR: *v = l->svr; break;
        case REG_ESR: *v = l->esr; break;
        case REG_ICR_LOW: *v = (uint32_t)l->icr; break;
        case REG_ICR_HIGH: *v = (uint32_t)(l->icr >> 32); return !lapic_x2(l);
        case REG_INITIAL_COUNT: *v = l->initial_count; break;
        case REG_CURRENT_COUNT: *v = timer_count(l); break;
        case REG_DIVIDE: *v = l->divide; break;
        default: return false;
        }
    return true;
}

static void svr_set(struct lapic *l, uint32_t v)
{
    l->svr = v & SVR_BITS;
    if (!(v & SVR_ENABLE)) /* 11.4.7.2: masks are set, and stay so until enabled again */
        for (unsigned i = 0; i < LVT_COUNT; i++)
            l->lvt[i] |= LVT_MASK;
}

static void lvt_set(struct lapic *l, unsigned n, uint32_t v)
{
    v &= lvt_writable[n];
    if (!(l->svr & SVR_ENABLE))
        v |= LVT_MASK;
    if (n == LVT_TIMER)
        timer_set_lvt(l, v);
    else
        l->lvt[n] = v;
}

/* What a register write leaves to be done without the lock. */
struct after {
    bool eoi, send;
    uint8_t vector;
};

static void eoi_write(struct lapic *l, struct after *after)
{
    int vector = set_highest(l->isr);
    if (vector < 0)
        return;
    set_put(l->isr, (unsigned)vector, false);
    after->eoi = set_has(l->tmr, (unsigned)vector);
    after->vector = (uint8_t)vector;
}

static bool reg_set(struct lapic *l, unsigned reg, uint32_t v, struct after *after)
{
    if (reg >= REG_LVT && reg < REG_LVT + LVT_COUNT * 0x10) {
        lvt_set(l, (reg - REG_LVT) >> 4, v);
        return true;
    }
    switch (reg) {
    case REG_TPR: l->tpr = v & 0xff; break;
    case REG_EOI: eoi_write(l, after); break;
    case REG_SVR: svr_set(l, v); break;
    case REG_ESR:
        l->esr = l->esr_next;
        l->esr_next = 0;
        break;
    case REG_INITIAL_COUNT:
        if (timer_mode(l) != TIMER_DEADLINE) {
            l->initial_count = v;
            timer_start(l);
        }
        break;
    case REG_DIVIDE: timer_set_divide(l, v); break;
    case REG_ICR_LOW:
        l->icr = (l->icr & ~0xffffffffull) | (v & 0xccfff);
        after->send = true;
        break;
    case REG_ICR_HIGH: l->icr = (l->icr & 0xffffffffu) | (uint64_t)(v & 0xff000000u) << 32; break;
    case REG_LDR: l->ldr = v & 0xff000000u; break;
    case REG_DFR: l->dfr = v | 0x0fffffffu; break;
    case REG_ID: lapic_answer_to(l, v >> 24); break;
    case REG_VERSION:
    case REG_PPR:
    case REG_APR:
    case REG_RRD:
    case REG_CURRENT_COUNT: break; /* read only, silently */
    default: return false;
    }
    return true;
}

/* Send what ICR says (11.6.1). */
static void icr_send(struct lapic *l, uint64_t icr, bool x2)
{
    struct apic_message m = {
        .dest = x2 ? (uint32_t)(icr >> 32) : (uint32_t)(icr >> 56),
        .vector = (uint8_t)icr,
        .mode = icr >> LVT_MODE_SHIFT & 7,
        .logical = icr & ICR_LOGICAL,
        .x2 = x2,
    };
    if (m.mode == APIC_RESERVED || m.mode == APIC_EXTINT)
        return;
    if (m.mode == APIC_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
        return; /* INIT level de-assert: for processors of old */
    if ((m.mode == APIC_FIXED || m.mode == APIC_LOWEST) && m.vector < 16) {
        pthread_mutex_lock(&l->lock);
        lapic_error(l, ESR_SEND_VECTOR);
        lapic_unlock(l);
        return;
    }
    switch (icr >> ICR_SHORTHAND_SHIFT & 3) {
    case 0: apic_deliver(l->net, &m); break;
    case 1: lapic_take(l, &m); break;
    case 2: apic_broadcast(l->net, &m, l, true); break;
    case 3: apic_broadcast(l->net, &m, l, false); break;
    }
}

static void lapic_finish(struct lapic *l, const struct after *after, uint64_t icr, bool x2)
{
    if (after->eoi)
        apic_eoi(l->net, after->vector);
    if (after->send)
        icr_send(l, icr, x2);
}

uint64_t lapic_read(void *lapic, uint64_t offset, unsigned size)
{
    struct lapic *l = lapic;
    uint32_t v = 0xffffffffu;
    pthread_mutex_lock(&l->lock);
    if ((l->base & BASE_ENABLE) && !lapic_x2(l)) {
        v = 0;
        if (!reg_get(l, (unsigned)offset & 0xff0, &v))
            lapic_error(l, ESR_REGISTER);
        if ((offset & 0xf) > 3)
            v = 0;
    }
    lapic_unlock(l);
    return v >> (offset & 3) * 8 & mask_bits(size * 8);
}

void lapic_write(void *lapic, uint64_t offset, uint64_t v, unsigned size)
{
    struct lapic *l = lapic;
    struct after after = {0};
    if ((offset & 0xf) || size != 4)
        return; /* 11.4.1.1: only aligned 32-bit writes are defined */
    pthread_mutex_lock(&l->lock);
    if ((l->base & BASE_ENABLE) && !lapic_x2(l) && !reg_set(l, (unsigned)offset & 0xff0, (uint32_t)v, &after))
        lapic_error(l, ESR_REGISTER);
    uint64_t icr = l->icr;
    lapic_unlock(l);
    lapic_finish(l, &after, icr, false);
}

uint64_t lapic_get_tpr(void *lapic)
{
    struct lapic *l = lapic;
    pthread_mutex_lock(&l->lock);
    uint64_t v = l->tpr >> 4;
    pthread_mutex_unlock(&l->lock);
    return v;
}

void lapic_set_tpr(void *lapic, uint64_t v)
{
    struct lapic *l = lapic;
    pthread_mutex_lock(&l->lock);
    l->tpr = (uint32_t)(v & 15) << 4;
    lapic_unlock(l);
}

uint64_t lapic_get_base(void *lapic)
{
    struct lapic *l = lapic;
    pthread_mutex_lock(&l->lock);
    uint64_t v = l->base;
    pthread_mutex_unlock(&l->lock);
    return v;
}

/* Figure 11-27: the ways between disabled, xAPIC and x2APIC that exist. */
static bool base_change_allowed(uint64_t from, uint64_t to)
{
    bool was_on = from & BASE_ENABLE, on = to & BASE_ENABLE, was_x2 = from & BASE_X2, x2 = to & BASE_X2;
    if (!on)
        return !x2;
    return x2 ? was_on : !was_x2;
}

bool lapic_set_base(void *lapic, uint64_t v)
{
    struct lapic *l = lapic;
    const uint64_t page = 0x000ffffffffff000ull;
    if (v & ~(page | BASE_BSP | BASE_X2 | BASE_ENABLE))
        return false;
    pthread_mutex_lock(&l->lock);
    bool ok = base_change_allowed(l->base, v);
    if (ok) {
        bool stopped = (l->base & BASE_ENABLE) && !(v & BASE_ENABLE);
        l->base = (v & ~(uint64_t)BASE_BSP) | (l->bsp ? BASE_BSP : 0);
        if (stopped)
            lapic_clear(l);
        if (stopped || lapic_x2(l))
            lapic_answer_to(l, lapic_x2(l) ? l->id : l->id & 0xff);
    }
    lapic_unlock(l);
    if (ok && (v & BASE_ENABLE) && !(v & BASE_X2))
        apic_move(l->net, v & page);
    return ok;
}

/* ---- model specific registers ------------------------------------------------------------------------------ */

bool lapic_msr_read(void *lapic, uint32_t msr, uint64_t *v)
{
    struct lapic *l = lapic;
    uint32_t low = 0;
    bool ok;
    pthread_mutex_lock(&l->lock);
    if (msr == MSR_TSC_DEADLINE) {
        *v = timer_mode(l) == TIMER_DEADLINE ? l->deadline : 0;
        ok = true;
    } else {
        unsigned reg = (msr - MSR_X2APIC) << 4;
        ok = lapic_x2(l) && msr >= MSR_X2APIC && msr <= MSR_X2APIC_LAST && reg != REG_EOI && reg_get(l, reg, &low);
        *v = reg == REG_ICR_LOW ? l->icr : low;
    }
    pthread_mutex_unlock(&l->lock);
    return ok;
}

/* Bits that may be written to an x2APIC register; 0: not writable at all. */
static uint64_t x2_writable(unsigned reg)
{
    if (reg >= REG_LVT && reg < REG_LVT + LVT_COUNT * 0x10)
        return lvt_writable[(reg - REG_LVT) >> 4] | 0x1000;
    switch (reg) {
    case REG_TPR: return 0xff;
    case REG_SVR: return SVR_BITS | 1 << 12;
    case REG_ICR_LOW: return 0xffffffff000ccfffull;
    case REG_INITIAL_COUNT: return 0xffffffffu;
    case REG_DIVIDE: return 0xb;
    case REG_SELF_IPI: return 0xff;
    default: return 0;
    }
}

static bool x2_write(struct lapic *l, unsigned reg, uint64_t v, struct after *after)
{
    bool zero_only = reg == REG_EOI || reg == REG_ESR;
    if (zero_only ? v != 0 : !x2_writable(reg) || (v & ~x2_writable(reg)))
        return false;
    if (reg == REG_ICR_LOW) {
        l->icr = v;
        after->send = true;
        return true;
    }
    if (reg == REG_SELF_IPI) {
        lapic_request(l, (uint8_t)v, false);
        return true;
    }
    return reg_set(l, reg, (uint32_t)v, after);
}

bool lapic_msr_write(void *lapic, uint32_t msr, uint64_t v)
{
    struct lapic *l = lapic;
    struct after after = {0};
    bool ok = true;
    pthread_mutex_lock(&l->lock);
    if (msr == MSR_TSC_DEADLINE) {
        if (timer_mode(l) == TIMER_DEADLINE) {
            l->deadline = v;
            timer_check_deadline(l);
        }
    } else {
        ok = lapic_x2(l) && msr >= MSR_X2APIC && msr <= MSR_X2APIC_LAST &&
             x2_write(l, (msr - MSR_X2APIC) << 4, v, &after);
    }
    uint64_t icr = l->icr;
    lapic_unlock(l);
    lapic_finish(l, &after, icr, true);
    return ok;
}

/* ---- life -------------------------------------------------------------------------------------------------- */

uint32_t lapic_id(const struct lapic *l)
{
    return l->id;
}

void lapic_reset(struct lapic *l)
{
    pthread_mutex_lock(&l->lock);
    l->base = APIC_BASE | BASE_ENABLE | (l->bsp ? BASE_BSP : 0);
    lapic_answer_to(l, l->id & 0xff);
    lapic_clear(l);
    lapic_unlock(l);
    apic_move(l->net, APIC_BASE);
}

void lapic_virtual_wire(struct lapic *l)
{
    pthread_mutex_lock(&l->lock);
    l->svr = SVR_ENABLE | 0xff;
    l->lvt[LVT_LINT0] = APIC_EXTINT << LVT_MODE_SHIFT;
    l->lvt[LVT_LINT1] = APIC_NMI << LVT_MODE_SHIFT;
    lapic_unlock(l);
}

void lapic_attach(struct lapic *l, const struct lapic_cpu *cpu)
{
    l->cpu = *cpu;
}

static void print_set(FILE *out, const char *name, const uint32_t *set)
{
    fprintf(out, "%s", name);
    for (unsigned v = 0; v < 256; v++)
        if (set_has(set, v))
            fprintf(out, " %02x", v);
    fputc('\n', out);
}

void lapic_print(FILE *out, struct lapic *l)
{
    static const char *const name[LVT_COUNT] = {"timer", "thermal", "perf", "lint0", "lint1", "error"};
    pthread_mutex_lock(&l->lock);
    fprintf(out,
            "lapic %u: base %" PRIx64 " svr %03x tpr %02x ppr %02x ldr %08x dfr %08x esr %02x icr %016" PRIx64 "\n",
            l->id, l->base, l->svr, l->tpr, lapic_ppr(l), lapic_x2(l) ? x2_logical_id(l->id) : l->ldr, l->dfr, l->esr,
            l->icr);
    for (unsigned i = 0; i < LVT_COUNT; i++)
        fprintf(out, "  lvt %-8s %05x\n", name[i], l->lvt[i]);
    fprintf(out, "  timer initial %u current %u divide %u deadline %" PRIu64 "\n", l->initial_count, timer_count(l),
            1u << timer_shift(l), l->deadline);
    print_set(out, "  irr", l->irr);
    print_set(out, "  isr", l->isr);
    pthread_mutex_unlock(&l->lock);
}

struct lapic *lapic_init(const struct dev_env *e, struct apic_net *n, unsigned cpu, uint32_t apic_id, uint64_t tsc_hz,
                         struct pic *extint)
{
    struct lapic *l = arena_alloc(e->arena, sizeof *l);
    if (!l)
        return NULL;
    pthread_mutex_init(&l->lock, NULL);
    l->env = e;
    l->net = n;
    l->id = apic_id;
    l->bsp = cpu == 0;
    l->extint = extint;
    l->tsc_hz = tsc_hz;
    atomic_store(&l->pending, PENDING_NONE);
    dev_timer_init(e, &l->timer, timer_event, l);
    apic_net_add(n, l);
    lapic_reset(l);
    return l;
}
