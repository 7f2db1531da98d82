/* exec/interp.c: -accel interp: run a block's IR by the reference interpreter, for finding out which side is wrong.
 * The block was found (and translated) as usual; its IR is lifted again, so what runs is exactly what was emitted
 * from. */
#include <string.h>

#include "exec/exec.h"

struct run {
    struct vcpu *v;
    const struct ir_block *b;
    enum cpu_leave why;
    unsigned slot;
};

static void vec(struct cpu *c, const struct ir_op *o, void *mem)
{
    if (!host_vec_exec(c, o, mem))
        exec_host_calls()->fp_error(c);
}

static void x87(struct cpu *c, const struct ir_op *o, void *mem)
{
    host_x87_exec(c, ((struct x86 *)c)->fx, o, mem);
}

static void interpret(struct cpu *c)
{
    const struct host_calls *shared = exec_host_calls();
    const struct ir_interp_calls calls = {
        .mem_read = shared->mem_read,
        .mem_write = shared->mem_write,
        .mem_commit = shared->mem_commit,
        .divide_error = shared->divide_error,
        .vec = vec,
        .x87 = x87,
    };
    struct vcpu *v = (struct vcpu *)c;
    struct run *r = v->interp;
    r->why = ir_interp(r->b, c, &calls, &r->slot);
}

static const uint8_t *second_page(void *arg)
{
    struct vcpu *v = arg;
    return bus_host(v->x86.mem, v->interp_block->gpa2, 4096, false);
}

enum cpu_leave exec_interp(struct vcpu *v, struct block *b)
{
    bool second;
    struct ir_block ir;
    enum x86_lift_result lifted;
    arena_reset(&v->arena);
    v->interp_block = b;
    unsigned off = (unsigned)(b->gpa & 0xfff);
    uint8_t copy[16];
    struct x86_source src = {bus_host(v->x86.mem, b->gpa & ~0xfffull, 4096, false), 0x1000 - off, second_page, v};
    if (src.bytes) {
        src.bytes += off;
    } else {
        for (unsigned i = 0; i < sizeof copy; i++)
            copy[i] = (uint8_t)bus_read(v->x86.mem, b->gpa + i, 1);
        src.bytes = copy;
        src.nbytes = sizeof copy;
    }
    bool ok = exec_lift(v, &v->arena, &ir, b->mode, x86_model_features(v->x86.model), off, &src, b->ninsns,
                        b == &v->alone, &second, &lifted);
    rh_assert(ok, "a block that was lifted once is lifted again");
    if (second)
        exec_expect_second(&ir, b->gpa2);
    struct run r = {.v = v, .b = &ir};
    v->interp = &r;
    enum cpu_leave left = host_guard(&v->exec->thunks, &v->x86.cpu, interpret);
    if (left != LEAVE_NEXT)
        return left; /* a slow path or helper left */
    if (r.why == LEAVE_LINK)
        v->x86.cpu.link = b->rx + b->link[r.slot].miss_at + 1;
    return r.why;
}
