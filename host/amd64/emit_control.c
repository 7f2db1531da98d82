/* host/amd64/emit_control.c: helper calls, branches inside a block, links, indirect jumps, leaving.
 *
 * A direct jump is `jmp rel32` that host_link_set patches; unlinked it reaches its exit stub.  A jump to another
 * guest page is guarded:
 *         mov rax, gs:[PCB]; lea rax, [rax + pages]       the target's page
 *         mov r14, rax; shr r14, 9; and r14, gs:[page_mask]; add r14, gs:[tab_x]
 *         cmp dword [r14], expected physical page + 1     patched with the link
 *         jne exit;  mov gs:[PCB], rax;  jmp rel32
 * An indirect jump probes the jump cache's present table inline (cpu_jc_offset says how an entry is found).
 */
#include "host/amd64/emit.h"

static struct rm pcb(void)
{
    return rm_cpu(offsetof(struct cpu, reg[IR_PCB]));
}

static void store_insn_off(const struct emitter *e, struct asmbuf *a)
{
    asm_insn(a, 0, 0, 0xc7, 0, 0, rm_cpu(offsetof(struct cpu, insn_off)));
    asm_imm(a, e->insn_off, 4);
}

void emit_call(struct emitter *e)
{
    const struct ir_op *o = e->op;
    const ir_ref arg[3] = {o->a, o->b, o->c};
    f_spoil(e);
    f_save(e);
    for (unsigned i = 0; i < 3; i++) {
        if (arg[i] == IR_NONE)
            continue;
        struct rm to = rm_cpu(offsetof(struct cpu, scratch) + i * 8);
        int64_t v = ir_is_const(arg[i]) ? ir_const_value(e->b, arg[i]) : 0;
        if (ir_is_const(arg[i]) && fits32(v)) {
            asm_insn(&e->a, 0, 0, 0xc7, ASM_W, 0, to);
            asm_imm(&e->a, v, 4);
        } else {
            asm_store(&e->a, I64, to, place_src(e, arg[i], I64, RAX));
        }
    }
    store_insn_off(e, &e->a);
    asm_mov_imm(&e->a, RAX, o->imm);
    asm_call_abs(&e->a, e->t->rx + e->t->call);
    e->vec_noted = false;
    e->f_host = false;
    e->f_mem = true;
    e->f_owed = false;
    place_forget_all(e);
    if (o->d != IR_NONE) {
        e->locked = 0;
        int d = place_dst(e, o->d, IR_NONE);
        asm_mov_rr(&e->a, I64, d, RAX);
        place_dst_done(e, o->d, I64, d);
    }
}

static void branch_to(struct emitter *e, uint32_t at)
{
    e->branch[e->nbranches].at = at;
    e->branch[e->nbranches++].label = e->op->imm;
}

/* A jump's exit begins here in the cold part: have the jump at displacement `from` lead there. */
static void exit_here(struct emitter *e, uint32_t from)
{
    asm_patch(&e->cold, from, asm_at(&e->cold));
}

/* An exit to a thunk that finds the page offset of a pc in eax. */
static void exit_at(struct emitter *e, int64_t pc, bool call, uint32_t thunk)
{
    asm_exit(&e->cold, (int32_t)pc, call, e->t->rx + thunk);
}

static uint32_t poll(struct emitter *e)
{
    return fixed_copy(&e->a, &e->t->poll) + e->t->poll.at[FIXED_MISS];
}

/* Poll before a jump to pc, which has F like that. */
static void poll_jump(struct emitter *e, int64_t pc, enum host_f f)
{
    exit_here(e, poll(e));
    if (f == HOST_F_OWED)
        f_make(e, &e->cold, e->f_maker, rm_cpu);
    exit_at(e, pc, false, f == HOST_F_OWED ? e->t->exit_kick_f : e->t->exit_kick_off);
}

/* Where jump j goes until it is linked; by a call, so that cpu.link tells which jump it was. */
static void link_exit(struct emitter *e, struct host_jump *j)
{
    exit_here(e, j->jump_at);
    j->cold_at = e->cold_at;
    j->miss_at = asm_at(&e->cold) - e->cold_at;
    if (j->f == HOST_F_OWED) {
        f_make(e, &e->cold, e->f_maker, rm_cpu);
        asm_align(&e->cold, 1);
        j->stub_at = asm_jmp(&e->cold) - e->cold_at;
    }
    exit_at(e, j->target, true, j->f == HOST_F_KEPT ? e->t->exit_link : e->t->exit_link_f);
}

/* How a jump will have F; puts it away if there is no other way.  Guards and polls spoil the host's flags.  To owe F costs a
 * store, to find it in the host's flags costs a block that may show it four instructions. */
static enum host_f f_at_jump(struct emitter *e, bool cross, bool spoils, bool shown)
{
    if (e->f_mem)
        return HOST_F_KEPT;
    if (!e->t->f_kept && !cross) {
        bool live = e->f_host && !spoils;
        if ((!live || shown) && f_can_make(e))
            return HOST_F_OWED;
        if (live)
            return HOST_F_LIVE;
    }
    f_save(e);
    return HOST_F_KEPT;
}

/* Say in cpu.f_maker who makes F; a block that jumps to itself may know that nobody asks. */
static void owe(struct emitter *e, int64_t target)
{
    if (target == e->b->guest_off && e->out->entry.f_use == HOST_F_UNSEEN)
        return;
    asm_insn(&e->a, 0, 0, 0xc7, 0, 0, rm_cpu(offsetof(struct cpu, f_maker)));
    e->owes[e->nowes++] = asm_at(&e->a);
    asm_imm(&e->a, 0, 4);
}

/* The guard of a jump to another page: returns where it leaves, if that is not the page the jump was linked to. */
static uint32_t emit_guard(struct emitter *e, struct host_jump *j)
{
    int64_t pages = j->target & ~0xfffll;
    rh_assert(fits32(pages), "a direct jump reaches 2 GB");
    int page = RAX, entry = R14;
    if (e->t->two_levels) {
        asm_load(&e->a, I64, RAX, pcb());
        asm_lea(&e->a, I64, RAX, rm_mem(RAX, (int32_t)pages));
        asm_mov_rr(&e->a, I64, page = R14, RAX);
        mem_table_entry(&e->a, e->t, TABLE_X, entry = RAX, rm_cpu);
    } else {
        uint32_t at = fixed_copy(&e->a, &e->t->cross);
        bytes_put(e->a.start + at + e->t->cross.at[FIXED_PAGES], (uint64_t)pages, 4);
    }
    asm_align(&e->a, entry == R14 ? 3 : 2); /* 41 81 3e imm32, 81 38 imm32 */
    asm_insn(&e->a, 0, 0, 0x81, 0, 7, rm_mem(entry, 0));
    j->guard_at = asm_at(&e->a);
    asm_imm(&e->a, -1, 4);
    uint32_t other = asm_jcc(&e->a, CC_NE);
    asm_store(&e->a, I64, pcb(), page);
    return other;
}

static void go(struct emitter *e, unsigned slot, int64_t target, bool polls)
{
    struct host_jump *j = &e->out->jump[slot];
    bool cross = (target & ~0xfffll) != 0;
    enum host_f f = f_at_jump(e, cross, polls, e->b->f_shown[slot]);
    e->f_host = false;
    if (polls)
        poll_jump(e, target, f);
    *j = (struct host_jump){.present = true, .target = target, .cross = cross, .f = (uint8_t)f};
    if (f == HOST_F_OWED) {
        j->f_regs = f_made_of(e);
        owe(e, target);
    }
    uint32_t other = cross ? emit_guard(e, j) : 0;
    asm_align(&e->a, 1);
    j->jump_at = asm_jmp(&e->a);
    if (other)
        exit_here(e, other);
    link_exit(e, j);
}

void emit_goto(struct emitter *e)
{
    const struct ir_op *o = e->op;
    rh_assert(o->sub < 2 && !e->out->jump[o->sub].present, "a block has one jump a slot");
    go(e, o->sub, o->imm, o->flags & IR_POLL);
}

/* With one host jump taken each way. */
void emit_goto_if(struct emitter *e)
{
    const struct ir_op *o = e->op;
    bool polls = o->flags & IR_POLL, cross = (o->imm & ~0xfffll) != 0;
    if (e->t->f_kept || (cross && !polls))
        f_save(e);
    unsigned cc = f_condition(e, o->sub);
    bool f_host = e->f_host, f_mem = e->f_mem;
    if (polls) { /* a loop, most likely: fall into it */
        uint32_t out = asm_jcc(&e->a, cc ^ 1);
        go(e, 1, o->imm, true);
        asm_patch(&e->a, out, asm_at(&e->a));
        e->f_host = f_host;
        e->f_mem = f_mem;
        go(e, 0, o->disp, false);
    } else if (cross) {
        uint32_t taken = asm_jcc(&e->a, cc);
        go(e, 0, o->disp, false);
        asm_patch(&e->a, taken, asm_at(&e->a));
        go(e, 1, o->imm, false);
    } else {
        asm_align(&e->a, 2);
        e->out->jump[1] = (struct host_jump){
            .present = true, .target = o->imm, .jump_at = asm_jcc(&e->a, cc), .f = f_mem ? HOST_F_KEPT : HOST_F_LIVE};
        link_exit(e, &e->out->jump[1]);
        go(e, 0, o->disp, false);
    }
}

uint32_t jump_by_entry(struct asmbuf *a)
{
    asm_alu(a, I64, 7, RAX, rm_index(R14, R15, 0, offsetof(struct cpu_jc, pc)));
    uint32_t miss = asm_jcc(a, CC_NE);
    asm_alu_imm(a, I64, 4, rm_reg(RAX), -4096);
    asm_store(a, I64, pcb(), RAX);
    asm_insn(a, 0, 0, 0xff, 0, 4, rm_index(R14, R15, 0, offsetof(struct cpu_jc, hpc)));
    return miss;
}

uint32_t jump_probe(struct asmbuf *a)
{
    asm_load(a, I64, R14, rm_cpu(offsetof(struct cpu, jc)));
    asm_insn(a, 0, 0, 0x6b, 0, R15, rm_reg(RAX)); /* imul r15d, eax, CPU_JC_TIMES: cpu_jc_offset */
    asm_imm(a, CPU_JC_TIMES, 1);
    asm_alu_imm(a, I32, 4, rm_reg(R15), CPU_JC_MASK);
    return jump_by_entry(a);
}

void emit_goto_indirect(struct emitter *e)
{
    struct asmbuf *a = &e->a;
    f_save(e);
    e->f_host = false;
    int s = place_src(e, e->op->a, I64, RAX);
    if (s != RAX)
        asm_mov_rr(a, I64, RAX, s);
    exit_here(e, poll(e));
    asm_jmp_abs(&e->cold, e->t->rx + e->t->exit_kick);
    uint32_t at = fixed_copy(a, &e->t->probe);
    exit_here(e, at + e->t->probe.at[FIXED_MISS]);
    store_insn_off(e, &e->cold); /* of the branch: where the guest stands if the target is none */
    asm_jmp_abs(&e->cold, e->t->rx + e->t->exit_lookup);
}

void emit_label(struct emitter *e)
{
    if (e->f_host)
        f_save(e);
    place_forget_all(e);
    e->label_at[e->op->imm] = asm_at(&e->a);
    e->vec_noted = false;
    e->f_mem = true; /* every branch saved F */
    e->f_owed = false;
    e->f_host = false;
}

void emit_branch(struct emitter *e)
{
    if (!e->f_mem)
        f_save(e);
    unsigned cc = f_condition(e, e->op->sub);
    branch_to(e, asm_jcc(&e->a, cc));
    e->f_host = false; /* simple conditions were tested from memory */
}

void emit_branch_zero(struct emitter *e)
{
    const struct ir_op *o = e->op;
    struct asmbuf *a = &e->a;
    f_spoil(e);
    int reg = ir_is_const(o->a) ? place_src(e, o->a, I64, RAX) : place_reg_of(e, o->a);
    if (reg != NOREG)
        asm_test_self(a, o->type, reg);
    else
        asm_alu_imm(a, o->type, 7, place_rm(e, o->a), 0);
    branch_to(e, asm_jcc(a, o->op == IR_BRZ ? CC_E : CC_NE));
}

void emit_leave(struct emitter *e)
{
    const struct ir_op *o = e->op;
    struct asmbuf *a = &e->a;
    f_save(e);
    e->f_host = false;
    int s = RAX;
    if (o->op == IR_LEAVE) {
        asm_load(a, I64, RAX, pcb());
        asm_lea(a, I64, RAX, rm_mem(RAX, (int32_t)o->imm));
    } else {
        s = place_src(e, o->a, I64, RAX);
    }
    asm_store(a, I64, rm_cpu(offsetof(struct cpu, pc)), s);
    asm_mov_imm(a, RAX, o->sub);
    asm_jmp_abs(a, e->t->rx + e->t->leave);
}

void emit_expect_page(struct emitter *e)
{
    struct asmbuf *a = &e->a;
    f_save(e);
    e->f_host = false;
    asm_load(a, I64, RAX, pcb());
    asm_lea(a, I64, RAX, rm_mem(RAX, 0x1000));
    mem_table_entry(a, e->t, TABLE_X, RAX, rm_cpu);
    asm_insn(a, 0, 0, 0x81, 0, 7, rm_mem(RAX, 0));
    asm_imm(a, e->op->imm, 4);
    exit_here(e, asm_jcc(a, CC_NE));
    exit_at(e, e->insn_off, false, e->t->exit_lookup_off);
}

void emit_fence(struct emitter *e)
{
    asm_byte(&e->a, 0x0f);
    asm_byte(&e->a, 0xae);
    asm_byte(&e->a, 0xf0);
}
