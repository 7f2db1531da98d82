/* exec/single.c: -accel tcg,thread=single: all vCPUs on one thread, in turn, for debugging.
 *
 * A turn ends after TURN polls of generated code (backward and indirect jumps), or when the vCPU halts: both depend on
 * the guest alone, so vCPUs follow each other in the same order each time as long as devices, whose timers run by the
 * host's clock, do not interrupt.  Nobody else runs meanwhile, so nothing here needs the others to stand still.
 *
 * The thread sleeps when no vCPU has anything to do; vcpu_kick wakes it by exec.world_changed.
 */
#include "exec/exec.h"

enum { TURN = 1000 };

static bool any_runnable(const struct exec *e)
{
    for (unsigned i = 0; i < e->nvcpus; i++) {
        struct vcpu *v = e->vcpu[i];
        uint32_t requests = __atomic_load_n(&v->requests, __ATOMIC_SEQ_CST);
        if (requests & REQUEST_QUIT)
            return true;
        bool paused = __atomic_load_n(&v->paused, __ATOMIC_SEQ_CST);
        if (requests & REQUEST_PAUSE ? !paused : !(v->halted || v->wait_sipi) || vcpu_runnable(v))
            return true;
    }
    return false;
}

static void sleep_until_any(struct exec *e)
{
    pthread_mutex_lock(&e->world);
    while (!any_runnable(e))
        pthread_cond_wait(&e->world_changed, &e->world);
    pthread_mutex_unlock(&e->world);
}

void exec_single_loop(struct exec *e, void (*enter)(void *arg, unsigned index), void *arg)
{
    for (bool quit = false; !quit;) {
        bool ran = false;
        for (unsigned i = 0; i < e->nvcpus && !quit; i++) {
            struct vcpu *v = e->vcpu[i];
            enum vcpu_round r = ROUND_RAN;
            enter(arg, i);
            vcpu_begin(v);
            for (unsigned n = 0; n < TURN && r == ROUND_RAN; n++)
                r = vcpu_round(v);
            ran |= r == ROUND_RAN;
            quit = r == ROUND_QUIT;
        }
        if (!ran && !quit)
            sleep_until_any(e);
    }
    for (unsigned i = 0; i < e->nvcpus; i++)
        vcpu_end(e->vcpu[i]);
}
