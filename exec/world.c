/* exec/world.c: running alone for a moment.
 *
 * A vCPU is "inside" while it may run generated code or hold blocks, links and entries of its tables, that is from
 * world_enter to world_leave, one round of the loop.  world_stop kicks all others and waits until none is inside.
 * Two that stop at once: the second counts as outside while it waits for its turn, so whatever it looked up before
 * may be gone when it goes on.
 *
 * What needs it: reusing code memory, and marking a page as holding code, for which every W table entry must be gone
 * before the translator reads the bytes.  With one vCPU, or one thread, both cost nothing.
 *
 * The lock is held for a few instructions only, never while anything else is called but vcpu_kick.
 */
#include "exec/exec.h"

void world_enter(struct vcpu *v)
{
    struct exec *e = v->exec;
    if (e->nvcpus == 1 || e->config.single)
        return;
    pthread_mutex_lock(&e->world);
    while (e->stopper)
        pthread_cond_wait(&e->world_changed, &e->world);
    v->inside = true;
    pthread_mutex_unlock(&e->world);
}

void world_leave(struct vcpu *v)
{
    struct exec *e = v->exec;
    if (e->nvcpus == 1 || e->config.single)
        return;
    pthread_mutex_lock(&e->world);
    v->inside = false;
    if (e->stopper)
        pthread_cond_broadcast(&e->world_changed);
    pthread_mutex_unlock(&e->world);
}

static bool others_inside(const struct vcpu *v)
{
    for (unsigned i = 0; i < v->exec->nvcpus; i++)
        if (v->exec->vcpu[i] != v && v->exec->vcpu[i]->inside)
            return true;
    return false;
}

void world_stop(struct vcpu *v)
{
    struct exec *e = v->exec;
    if (e->nvcpus == 1 || e->config.single)
        return;
    uint64_t began = os_nanoseconds();
    pthread_mutex_lock(&e->world);
    v->inside = false;
    pthread_cond_broadcast(&e->world_changed);
    while (e->stopper)
        pthread_cond_wait(&e->world_changed, &e->world);
    e->stopper = v;
    v->inside = true;
    for (unsigned i = 0; i < e->nvcpus; i++)
        if (e->vcpu[i] != v && e->vcpu[i]->inside)
            vcpu_kick(e->vcpu[i]);
    while (others_inside(v))
        pthread_cond_wait(&e->world_changed, &e->world);
    pthread_mutex_unlock(&e->world);
    v->count[COUNT_WORLD_STOPS]++;
    v->count[COUNT_WORLD_NS] += os_nanoseconds() - began;
}

void world_start(struct vcpu *v)
{
    struct exec *e = v->exec;
    if (e->nvcpus == 1 || e->config.single)
        return;
    pthread_mutex_lock(&e->world);
    e->stopper = NULL;
    pthread_cond_broadcast(&e->world_changed);
    pthread_mutex_unlock(&e->world);
}
