/* exec/interp.c: -accel interp: run a block's IR by the reference interpreter, for finding out which side is wrong.
 *
 * The block is found and made as usual, but for its last stage: instead of host code it holds its IR, so that lifting
 * is done once and eviction, stores to code and memory in all are as for translations.  In code memory, as the
 * block's aux:
 *
 *     | struct ir_block | ops | constants |          the struct's own pointers are void: the aux moves at commit
 *
 * Such blocks have EXEC_IR in their mode, so no engine ever finds the other's.  There is nothing to link: each one ends
 * in the loop.
 */
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

static void *aligned(const void *aux)
{
    uintptr_t align = _Alignof(struct ir_block);
    return (void *)(((uintptr_t)aux + align - 1) & ~(align - 1));
}

size_t exec_ir_size(const struct ir_block *ir)
{
    return _Alignof(struct ir_block) + sizeof *ir + ir->nops * sizeof *ir->op + ir->nconsts * sizeof *ir->consts;
}

void exec_ir_keep(void *aux, const struct ir_block *ir)
{
    struct ir_block *kept = aligned(aux);
    struct ir_op *op = (struct ir_op *)(kept + 1);
    *kept = *ir;
    memcpy(op, ir->op, ir->nops * sizeof *op);
    memcpy(op + ir->nops, ir->consts, ir->nconsts * sizeof *ir->consts);
}

enum cpu_leave exec_interp(struct vcpu *v, struct block *b)
{
    const struct ir_block *kept = aligned(block_aux(b));
    struct ir_block ir = *kept;
    ir.op = (struct ir_op *)(kept + 1);
    ir.consts = (int64_t *)(ir.op + ir.nops);
    struct run r = {.v = v, .b = &ir};
    v->interp = &r;
    v->interp_block = b;
    enum cpu_leave left = host_guard(&v->exec->thunks, &v->x86.cpu, interpret);
    return left == LEAVE_NEXT ? r.why : left; /* else a slow path or helper left */
}
