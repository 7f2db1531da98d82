/* host/amd64/thunks.c: the code that all blocks share: entering, leaving, and the way into C and back.
 *
 * A thunk called from a block saves every pinned register to its home in struct cpu, the vector registers to cpu.vec, and MXCSR; calls C
 * under the host's MXCSR; and takes everything back.  So C sees the whole guest state, may change it, and may abandon the block by host_leave
 * (which only needs the stack pointer kept in cpu.host_rsp).
 *
 * Stack: enter pushes six registers and makes room for spill slots so that rsp is a multiple of 16 in blocks.
 */
#include "host/amd64/emit.h"

static struct rm field(size_t offset)
{
    return rm_gs(offset);
}
#define FIELD(name) field(offsetof(struct cpu, name))

static void mxcsr(struct asmbuf *a, unsigned load_or_store, struct rm m) /* 2: LDMXCSR, 3: STMXCSR */
{
    asm_insn(a, 0, 1, 0xae, 0, (int)load_or_store, m);
}

static void save_guest(struct asmbuf *a)
{
    for (unsigned i = 0; i < NPINNED; i++)
        asm_store(a, I64, FIELD(reg[i]), host_pin[i]);
    for (int i = 0; i < 16; i++)
        asm_insn(a, 0, 1, 0x29, 0, i, FIELD(vec[i]));   /* movaps */
    mxcsr(a, 3, FIELD(mxcsr));
    mxcsr(a, 2, FIELD(host_mxcsr));
}

static void load_guest(struct asmbuf *a)
{
    mxcsr(a, 2, FIELD(mxcsr));
    for (int i = 0; i < 16; i++)
        asm_insn(a, 0, 1, 0x28, 0, i, FIELD(vec[i]));
    for (unsigned i = 0; i < NPINNED; i++)
        asm_load(a, I64, host_pin[i], FIELD(reg[i]));
}

static void push_pop(struct asmbuf *a, bool push)
{
    static const int8_t saved[6] = {RBX, RBP, R12, R13, R14, R15};
    for (unsigned i = 0; i < 6; i++) {
        int r = saved[push ? i : 5 - i];
        if (r >= 8)
            asm_byte(a, 0x41);
        asm_byte(a, (push ? 0x50u : 0x58u) | ((unsigned)r & 7));
    }
}

static void call_c(struct asmbuf *a, const void *fn)
{
    asm_load(a, I64, RDI, FIELD(self));
    asm_mov_imm(a, RAX, (int64_t)(uintptr_t)fn);
    asm_byte(a, 0xff);
    asm_byte(a, 0xd0);
}

static void stack(struct asmbuf *a, int n)
{
    asm_alu_imm(a, I64, n > 0 ? 0 : 5, rm_reg(RSP), n > 0 ? n : -n);
}

static void emit_leave(struct asmbuf *a, struct host_thunks *t)
{
    const struct {
        uint32_t *at;
        unsigned why;
    } exits[] = {{&t->exit_link, LEAVE_LINK}, {&t->exit_lookup, LEAVE_LOOKUP}, {&t->exit_kick, LEAVE_KICK}, {&t->exit_pc, LEAVE_NEXT}};
    for (unsigned i = 0; i < ARRAY_LEN(exits); i++) {   /* rax: the pc */
        *exits[i].at = asm_at(a);
        asm_store(a, I64, FIELD(pc), RAX);
        asm_mov_imm(a, RAX, exits[i].why);
        asm_byte(a, 0xeb);                              /* jmp short to leave, patched below */
        asm_byte(a, 0);
    }
    t->leave = asm_at(a);                               /* eax: the reason; guest registers still in host registers */
    for (unsigned i = 0; i < ARRAY_LEN(exits); i++) {
        uint32_t end = i + 1 < ARRAY_LEN(exits) ? *exits[i + 1].at : t->leave;
        a->start[end - 1] = (uint8_t)(t->leave - end);
    }
    save_guest(a);
    stack(a, FRAME + 8);
    push_pop(a, false);
    asm_byte(a, 0xc3);
}

static void emit_memory_thunk(struct asmbuf *a, const void *fn)
{
    stack(a, -8);
    save_guest(a);
    asm_load(a, I64, RSI, FIELD(scratch[1]));
    asm_load(a, I32, RDX, FIELD(scratch[0]));
    call_c(a, fn);
    load_guest(a);
    stack(a, 8);
    asm_byte(a, 0xc3);
}

static void emit_commit(struct asmbuf *a, const void *fn)
{
    asm_byte(a, 0x9c);                                  /* pushfq: F may be in the host's flags; rax may hold a result */
    asm_byte(a, 0x50);
    stack(a, -8);
    save_guest(a);
    call_c(a, fn);
    load_guest(a);
    stack(a, 8);
    asm_byte(a, 0x58);
    asm_byte(a, 0x9d);
    asm_byte(a, 0xc3);
}

static void emit_helper_call(struct asmbuf *a)
{
    stack(a, -8);
    save_guest(a);
    asm_load(a, I64, RDI, FIELD(self));
    asm_load(a, I64, RSI, FIELD(scratch[0]));
    asm_load(a, I64, RDX, FIELD(scratch[1]));
    asm_load(a, I64, RCX, FIELD(scratch[2]));
    asm_load(a, I64, R8, FIELD(helper));
    asm_insn(a, 0, 0, 0xff, 0, 2, rm_index(R8, RAX, 3, 0)); /* call [r8 + rax*8] */
    load_guest(a);
    stack(a, 8);
    asm_byte(a, 0xc3);
}

/* Entered by a signal handler's redirection: rsp is a block's. */
static void emit_error(struct asmbuf *a, const void *fn)
{
    save_guest(a);
    call_c(a, fn);
    asm_byte(a, 0x0f);                                  /* ud2: it does not return */
    asm_byte(a, 0x0b);
}

bool host_thunks_emit(struct host_thunks *t, struct host_span *s, const struct host_calls *calls)
{
    struct asmbuf b = {.start = s->rw, .p = s->rw, .end = s->rw + s->size, .rx_delta = s->rx_delta}, *a = &b;
    if (s->size < 16 * ASM_ROOM)
        return false;
    t->rx = s->rw + s->rx_delta;
    t->enter = asm_at(a);                               /* (rdi: unused, rsi: hpc) */
    push_pop(a, true);
    stack(a, -(FRAME + 8));
    asm_store(a, I64, FIELD(host_rsp), RSP);
    mxcsr(a, 3, FIELD(host_mxcsr));
    asm_mov_rr(a, I64, RAX, RSI);
    load_guest(a);
    asm_byte(a, 0xff);                                  /* jmp rax */
    asm_byte(a, 0xe0);
    emit_leave(a, t);
    t->mem_read = asm_at(a);
    emit_memory_thunk(a, (const void *)calls->mem_read);
    t->mem_write = asm_at(a);
    emit_memory_thunk(a, (const void *)calls->mem_write);
    t->mem_commit = asm_at(a);
    emit_commit(a, (const void *)calls->mem_commit);
    t->call = asm_at(a);
    emit_helper_call(a);
    t->divide_error = asm_at(a);
    emit_error(a, (const void *)calls->divide_error);
    t->fp_error = asm_at(a);
    emit_error(a, (const void *)calls->fp_error);
    t->guard = asm_at(a);                               /* (rdi: cpu, rsi: fn): call fn(cpu) where host_leave works */
    push_pop(a, true);
    stack(a, -(FRAME + 8));
    asm_store(a, I64, FIELD(host_rsp), RSP);
    asm_byte(a, 0xff);                                  /* call rsi */
    asm_byte(a, 0xd6);
    asm_mov_imm(a, RAX, LEAVE_NEXT);
    stack(a, FRAME + 8);
    push_pop(a, false);
    asm_byte(a, 0xc3);
    t->size = s->used = asm_at(a);
    return !asm_full(a);
}
