/* host/amd64/emit_mem.c: guest memory accesses.
 *
 * Hot path, with the guest address in a register `ga` (or [ga + disp]: then LEA stands for MOV, and the access has it, too):
 *         mov  rax, ga
 *         test al, size - 1
 *         jnz  misaligned                 (cold)
 *         shr  rax, 9
 *         and  rax, [rsp + mask]          index of bits 47..12, times 8
 *         add  rax, [rsp + tab_r or tab_w]
 *         mov  rax, [rax]                 host address - guest address, or 0
 *         test rax, rax
 *         jz   miss
 *   access: op   [rax + ga]
 * Where tables have two levels (many vCPUs), the shift, the and and the add are a call of the thunk that does it.
 * The *full* guest address is added, so one that differs from a mapped one only in bits 63..48 makes a non-canonical
 * host address: the host faults at `access` and the handler goes on at the cold stub, where the slow path finds out
 * that it is the guest's fault.
 *
 * Cold path, entered for a miss, a misaligned address, or by the signal handler (with cpu.faulted set):
 *         call slow thunk of ga's register
 *         jmp  access;  dd desc;  dw insn_off, disp
 *         copy of the access's instructions; call commit; jmp end         (stores only)
 * The thunk first sees whether the table has an entry for it after all, and no page is crossed: then it returns at
 * once.  Else it calls the slow path, which gives the addend in rax: of real memory, or of cpu.bounce.  Loads then simply run `access`.  A store into the bounce buffer is told by cpu.pending: the thunk returns further
 * on, to a copy of the access, after which the commit thunk does what the store really does (a device, two
 * pages, a page with code) and keeps the host's flags.
 *
 * Vector accesses of more than 8 bytes are seldom aligned: where alignment is not demanded, the hot path first sees
 * whether they cross a page, and the cold one is for those that do:
 *         mov  eax, ga;  and eax, 0xfff;  cmp eax, 4096 - size;  ja misaligned
 *
 * An access with a remembered entry (ir_op.pair) has a shorter path: one range check, which also sees to page crossing.
 *         mov  rax, ga;  sub rax, [rsp + pair_page];  cmp rax, 4096 - size;  ja miss;  mov rax, [rsp + pair_addend]
 * Data may then be on their way before the entry is.  Their thunks look into the R table (the W table for stores and
 * IR_NEAR) and remember the entry found there, before they resort to the slow path.  A place that misses often is told
 * to mem_worn, every PAIR_BUDGET misses.
 *
 * Both paths want F in cpu.cc, unless only the cold one may want it and can compute it anew (owed.c).
 *
 * Accesses that share (opt/share.c): the first finds the entry of all of them, one way or the other, and keeps it:
 *         lea  eax, [base + from];  and eax, 0xfff;  cmp eax, 4096 - size;  ja cold       all on one page?
 *         lea  rax, [base + from];  (the lookup);  mov [rsp + shared], rax;  op [rax + base + disp]
 * The others:
 *         mov  rax, [rsp + shared];  test rax, rax;  jz cold;  op [rax + base + disp]
 * If there is no such entry the first makes the slot 0, and each looks into the table by itself in its cold stub.  Whoever
 * drops entries makes slots 0, too (tlb_remembered).
 *
 * An access may be "merged": the host address is put together in one register first, to free rax (CMPXCHG, or
 * operations that need F loaded). The guest address is then kept in cpu.scratch[1] beforehand.
 */
#include <string.h>

#include "host/amd64/emit.h"

void fault_here(struct emitter *e)
{
    check(e, CHECK_FAULT, IR_NONE, NOREG);
    e->out->fault[e->out->nfaults++] = (struct host_fault){.at = asm_at(&e->a), .cold = 0, .insn_off = e->insn_off};
}

void fault_divide_here(struct emitter *e, bool restore_rdx)
{
    fault_here(e);
    if (!restore_rdx)
        return;
    e->out->fault[e->out->nfaults - 1].cold = (uint16_t)(asm_at(&e->cold) - e->cold_at);
    asm_load(&e->cold, I64, RDX, rm_cpu(offsetof(struct cpu, scratch[3])));
    asm_jmp_abs(&e->cold, e->t->rx + e->t->divide_error);
}

/* rax = the guest address of e->op, whose base is in ga. */
static void load_address(struct emitter *e, enum ir_type t, int ga)
{
    if (e->op->disp)
        asm_lea(&e->a, t, RAX, rm_mem(ga, e->op->disp));
    else
        asm_mov_rr(&e->a, t, RAX, ga);
}

static unsigned pair_of(const struct emitter *e)
{
    return e->op->pair ? e->op->pair : e->op->flags & IR_NEAR ? e->b->near_pair : 0;
}

/* rax = an address; becomes the remembered entry of e->op, if that is for `size` bytes from there on. */
static void try_pair(struct emitter *e, struct access *c, unsigned size)
{
    c->pair = (uint8_t)pair_of(e);
    unsigned n = c->pair - 1u;
    asm_alu(&e->a, I64, 5, RAX, rm_cpu(offsetof(struct cpu, pair_page[n])));
    asm_alu_imm(&e->a, I64, 7, rm_reg(RAX), 0x1000 - (int)size);
    c->miss = asm_jcc(&e->a, CC_A);
    asm_load(&e->a, I64, RAX, rm_cpu(offsetof(struct cpu, pair_addend[n])));
}

/* eax = an address, which is spoilt: the jump if `size` bytes from there on are not on one page. */
static uint32_t try_page(struct emitter *e, unsigned size)
{
    asm_alu_imm(&e->a, I32, 4, rm_reg(RAX), 0xfff);
    asm_alu_imm(&e->a, I32, 7, rm_reg(RAX), 0x1000 - (int)size);
    return asm_jcc(&e->a, CC_A);
}

/* By way of the remembered entry. */
static void begin_pair(struct emitter *e, struct access *c, int ga)
{
    unsigned size = c->desc & MD_SIZE;
    c->near = e->op->flags & IR_NEAR;
    load_address(e, I64, ga);
    if (c->desc & MD_ALIGN) {
        asm_test_imm(&e->a, I8, rm_reg(RAX), (int8_t)(size - 1));
        c->misaligned = asm_jcc(&e->a, CC_NE);
    }
    try_pair(e, c, size);
}

void mem_table_entry(struct asmbuf *a, const struct host_thunks *t, enum table which, int reg, cpu_field *field)
{
    static const size_t table[] = {[TABLE_R] = offsetof(struct cpu, tab_r),
                                   [TABLE_W] = offsetof(struct cpu, tab_w),
                                   [TABLE_X] = offsetof(struct cpu, tab_x)};
    const uint32_t thunk[] = {[TABLE_R] = t->entry_r, [TABLE_W] = t->entry_w, [TABLE_X] = t->entry_x};
    if (t->two_levels) {
        rh_assert(reg == RAX, "the thunk of a table's entry takes rax");
        asm_call_abs(a, t->rx + thunk[which]);
        return;
    }
    asm_shift_imm(a, I64, 5, rm_reg(reg), 9);
    asm_alu(a, I64, 4, reg, field(offsetof(struct cpu, page_mask)));
    asm_alu(a, I64, 0, reg, field(table[which]));
}

struct mem_lookup mem_lookup(struct asmbuf *a, const struct host_thunks *t, bool write, bool sized)
{
    struct mem_lookup at = {.misaligned = 0};
    if (sized) {
        asm_test_imm(a, I8, rm_reg(RAX), 0);
        at.low_bits = asm_at(a) - 1;
        at.misaligned = asm_jcc(a, CC_NE);
    }
    mem_table_entry(a, t, write ? TABLE_W : TABLE_R, RAX, rm_cpu);
    asm_load(a, I64, RAX, rm_mem(RAX, 0));
    asm_test_self(a, I64, RAX);
    at.miss = asm_jcc(a, CC_E);
    return at;
}

/* The same, copied where it can be. */
static struct mem_lookup lookup_copy(struct emitter *e, bool write, bool sized)
{
    if (e->t->two_levels)
        return mem_lookup(&e->a, e->t, write, sized);
    const struct host_fixed *f = &e->t->lookup[write][sized];
    uint32_t start = fixed_copy(&e->a, f);
    return (struct mem_lookup){start + f->at[FIXED_MISS], start + f->at[FIXED_MISALIGNED],
                               start + f->at[FIXED_LOW_BITS]};
}

/* The entry for access c, to ga, in rax, and what leads away from it. */
static void lookup(struct emitter *e, struct access *c, int ga)
{
    unsigned size = c->desc & MD_SIZE;
    /* Ten bytes have no alignment that keeps them on one page, vectors often are not aligned: look where the access ends
     * (the thunk will find that it crosses). */
    bool by_end = size & (size - 1) || (size > 8 && !(c->desc & MD_ALIGN)), sized = size > 1 && !by_end;
    if (by_end) {
        load_address(e, I32, ga);
        c->misaligned = try_page(e, size);
    }
    load_address(e, I64, ga);
    struct mem_lookup at = lookup_copy(e, (c->desc & MD_WRITE) != 0, sized);
    c->miss = at.miss;
    if (sized) {
        c->misaligned = at.misaligned;
        e->a.start[at.low_bits] = (uint8_t)(size - 1);
    }
}

/* One of several accesses off a base: the first looks up where all of them lie. */
static void begin_shared(struct emitter *e, struct access *c, int ga)
{
    const struct ir_op *o = e->op;
    const struct ir_share *s = &e->b->share[o->share - 1];
    struct asmbuf *a = &e->a;
    struct rm kept = rm_cpu(offsetof(struct cpu, shared[o->share - 1]));
    if (c->desc & MD_ALIGN) {
        load_address(e, I32, ga);
        asm_test_imm(a, I8, rm_reg(RAX), (int8_t)((c->desc & MD_SIZE) - 1));
        c->misaligned = asm_jcc(a, CC_NE);
    }
    if (!(o->flags & IR_FIRST)) {
        asm_load(a, I64, RAX, kept);
        asm_test_self(a, I64, RAX);
        c->miss = asm_jcc(a, CC_E);
        return;
    }
    bool pair = pair_of(e);
    if (!pair) {
        asm_lea(a, I32, RAX, rm_mem(ga, s->from));
        c->crosses = try_page(e, s->size);
    }
    asm_lea(a, I64, RAX, rm_mem(ga, s->from));
    if (pair)
        try_pair(e, c, s->size);
    else
        c->miss = lookup_copy(e, s->write, false).miss;
    c->keep = asm_at(a);
    asm_store(a, I64, kept, RAX);
}

/* Put the host address together in one register, which is ga's or a's own. */
static struct rm merge_address(struct emitter *e, ir_ref a, int ga)
{
    int host = ir_is_reg(a) && !place_unpinned(a) ? place_scratch(e) : ga;
    place_forget(e, a);
    asm_lea(&e->a, I64, host, rm_index(RAX, ga, 0, 0));
    check(e, CHECK_SPOIL, a, host);
    if (ir_is_temp(a) && !place_dies(e, a)) { /* the temp lives on: have it in its slot, without this register */
        rh_assert(place_in_slot(e, a), "a merged access to a living temp was spilled first");
        place_gone(e, a);
    }
    return rm_mem(host, 0);
}

struct access *mem_begin(struct emitter *e, unsigned desc, bool merge, struct rm *m)
{
    const struct ir_op *o = e->op;
    struct access *c = &e->access;
    uint32_t maker = f_for_faults(e);
    int ga = place_src_kept(e, o->a, I64);
    *c = (struct access){
        .desc = desc | (unsigned)o->tag << MD_TAG_SHIFT, .maker = maker, .addr = (int8_t)ga, .merged = merge};
    *m = rm_index(RAX, ga, 0, o->disp);
    if (merge)
        asm_store(&e->a, I64, rm_cpu(offsetof(struct cpu, scratch[1])), ga);
    if (o->share)
        begin_shared(e, c, ga);
    else if (pair_of(e) && !merge && !(desc & (MD_LOCK | MD_PROBE)))
        begin_pair(e, c, ga);
    else
        lookup(e, c, ga);
    c->at = asm_at(&e->a);
    if (merge)
        *m = merge_address(e, o->a, ga);
    return c;
}

void mem_fault_here(struct emitter *e)
{
    e->access.fault = e->out->nfaults;
    fault_here(e);
}

/* Words that a thunk finds behind a jump that follows its call. */
static void cold_words(struct emitter *e, unsigned desc)
{
    unsigned pair = e->access.pair ? e->access.pair - 1u : 0;
    asm_imm(&e->cold, desc | pair << MD_PAIR_SHIFT, 4);
    asm_imm(&e->cold, (uint16_t)e->insn_off | (uint32_t)(uint16_t)e->op->disp << 16, 4);
}

/* The first of those that share found no entry for all: they must not use what the slot holds.  With a remembered entry
 * there may still be one in the table. */
static void cold_first(struct emitter *e)
{
    const struct access *c = &e->access;
    const struct ir_share *s = &e->b->share[e->op->share - 1];
    struct asmbuf *a = &e->cold;
    asm_alu_imm(a, I64, 4, rm_cpu(offsetof(struct cpu, shared[e->op->share - 1])), 0);
    if (!c->pair)
        return;
    asm_lea(a, I64, RAX, rm_mem(c->addr, s->from));
    asm_store(a, I64, rm_cpu(offsetof(struct cpu, scratch[1])), RAX);
    asm_call_abs(a, e->t->rx + (s->write ? e->t->span_write : e->t->span_read));
    uint32_t over = asm_jmp(a);
    cold_words(e, s->size);
    asm_patch(a, over, asm_at(a));
    asm_test_self(a, I64, RAX);
    asm_patch(a, asm_jcc(a, CC_NE), c->keep);
}

/* The thunk that finds the access's entry, and from which of its entries on. */
static uint32_t cold_thunk(const struct emitter *e)
{
    const struct access *c = &e->access;
    const struct host_thunks *t = e->t;
    bool write = c->desc & MD_WRITE;
    unsigned variant = c->merged ? THUNK_ADDRESS_KEPT : (unsigned)c->addr;
    uint32_t thunk = write ? t->mem_write : t->mem_read;
    if (c->pair && !e->op->share)
        thunk = write ? t->pair_write : c->near ? t->near_read : t->pair_read;
    return thunk + variant * THUNK_STRIDE;
}

/* A store by way of cpu.bounce: the access's instructions again, and then what it really does. */
static void cold_store(struct emitter *e, uint32_t end)
{
    const struct access *c = &e->access;
    struct asmbuf *a = &e->cold;
    if (c->merged)
        asm_load(a, I64, c->addr, rm_cpu(offsetof(struct cpu, scratch[1])));
    if (c->raises)
        e->cold_fault[e->ncold_faults++] =
            (struct host_fault){.at = (uint16_t)((asm_at(a) - e->cold_at) | HOST_FAULT_COLD), .insn_off = e->insn_off};
    memcpy(a->p, a->start + c->at, end - c->at);
    a->p += end - c->at;
    asm_call_abs(a, e->t->rx + e->t->mem_commit);
    asm_patch(a, asm_jmp(a), end);
}

void mem_end(struct emitter *e)
{
    const struct access *c = &e->access;
    struct asmbuf *a = &e->cold;
    uint32_t start = asm_at(a), restore = 0;
    if (c->misaligned)
        asm_patch(a, c->misaligned, start);
    if (c->crosses)
        asm_patch(a, c->crosses, start);
    if (c->misaligned && c->pair) /* no other entry will do */
        asm_mov_imm(a, RAX, 0);
    asm_patch(a, c->miss, asm_at(a));
    e->out->fault[c->fault].cold = (uint16_t)(start - e->cold_at);
    if (e->f_entry)
        asm_call_abs(a, e->t->rx + e->t->f_resolve);
    if (c->maker)
        f_pay(e, c->maker);
    x87_tell_cold(e);
    if (c->select)
        avx_select(e);
    if (e->op->flags & IR_FIRST)
        cold_first(e);
    asm_call_abs(a, e->t->rx + cold_thunk(e));
    if (c->merged)
        restore = asm_jmp(a);
    else
        asm_patch(a, asm_jmp(a), c->at);
    cold_words(e, c->desc);
    if (c->desc & MD_WRITE)
        cold_store(e, asm_at(&e->a));
    if (c->merged) {
        asm_patch(a, restore, asm_at(a));
        asm_load(a, I64, c->addr, rm_cpu(offsetof(struct cpu, scratch[1])));
        asm_patch(a, asm_jmp(a), c->at);
    }
}

/* The read-modify-write instruction on m.  The source, if in a register, is in `src`. */
static void rmw_apply(struct emitter *e, struct rm m, int src)
{
    const struct ir_op *o = e->op;
    struct asmbuf *a = &e->a;
    enum ir_type t = o->type;
    mem_fault_here(e);
    if (o->flags & IR_LOCK)
        asm_byte(a, 0xf0);
    switch (o->sub) {
    case IR_NOT: asm_typed(a, t, 0, 0xf7, 2, m); return;
    case IR_NEG: asm_typed(a, t, 0, 0xf7, 3, m); return;
    case IR_INC: asm_typed(a, t, 0, 0xff, 0, m); return;
    case IR_DEC: asm_typed(a, t, 0, 0xff, 1, m); return;
    case IR_BTS:
    case IR_BTR:
    case IR_BTC: {
        unsigned n = o->sub == IR_BTS ? 5 : o->sub == IR_BTR ? 6 : 7;
        if (ir_is_const(o->b)) {
            asm_typed(a, t, 1, 0xba, (int)n, m);
            asm_byte(a, (unsigned)ir_const_value(e->b, o->b) & (ir_bits(t) - 1));
        } else {
            asm_typed(a, t, 1, 0x83 | n << 3, src, m);
        }
        return;
    }
    case IR_SHLD:
    case IR_SHRD: {
        unsigned opcode = o->sub == IR_SHLD ? 0xa4 : 0xac;
        asm_insn(a, t == I16 ? 0x66 : 0, 1, ir_is_const(o->c) ? opcode : opcode + 1, t == I64 ? ASM_W : 0, src, m);
        if (ir_is_const(o->c))
            asm_byte(a, (unsigned)ir_const_value(e->b, o->c) & 0xff);
        return;
    }
    case IR_ROL:
    case IR_ROR:
    case IR_RCL:
    case IR_RCR:
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
        if (ir_is_const(o->b)) {
            asm_shift_imm(a, t, shift_number(o->sub), m, (unsigned)ir_const_value(e->b, o->b) & 0xff);
        } else {
            rh_assert(place_reg_of(e, o->b) == RCX, "a shift of memory by a variable count has it in register 1");
            asm_typed(a, t, 0, 0xd3, (int)shift_number(o->sub), m);
        }
        return;
    default:
        if (src == NOREG)
            asm_alu_imm(a, t, alu_number(o->sub), m, sign_extend((uint64_t)ir_const_value(e->b, o->b), ir_bits(t)));
        else
            asm_alu_to(a, t, alu_number(o->sub), m, src);
    }
}

/* A merged access to a temp that lives on spoils its register: have the value in its slot too. */
static void keep_address(struct emitter *e, ir_ref a)
{
    if (ir_is_temp(a) && !place_dies(e, a)) {
        int reg = place_src_kept(e, a, I64);
        place_gone(e, a);
        e->held[reg == R14 ? 0 : 1] = a;
        e->reg[a] = (int8_t)reg;
    }
}

/* The source operand of a merged access in a register; `spare` if it has none of its own.  As the address's own
 * register is spoilt, a source that is the address comes from where mem_begin kept it. */
static int merged_source(struct emitter *e, int spare)
{
    const struct ir_op *o = e->op;
    if (o->b == o->a && ir_is_temp(o->a)) {
        int reg = spare == NOREG ? place_scratch(e) : spare;
        asm_load(&e->a, I64, reg, rm_cpu(offsetof(struct cpu, scratch[1])));
        return reg;
    }
    int reg = place_reg_of(e, o->b);
    if (reg != NOREG)
        return reg;
    return place_src(e, o->b, o->type, spare == NOREG ? place_scratch(e) : spare);
}

void emit_rmw(struct emitter *e)
{
    const struct ir_op *o = e->op;
    unsigned desc = 1u << o->type | MD_WRITE | MD_RMW | (o->flags & IR_LOCK ? MD_LOCK : 0);
    bool shift = o->sub >= IR_SHL && o->sub <= IR_RCR;
    bool needs_src = o->b != IR_NONE && !shift;
    if (needs_src && ir_is_const(o->b) && o->sub != IR_SHLD && o->sub != IR_SHRD)
        needs_src = o->sub < IR_BTS && !fits32(sign_extend((uint64_t)ir_const_value(e->b, o->b), ir_bits(o->type)));
    unsigned kept = o->setf ? (o->livef & ~ir_writes_f(o)) : 0;
    struct ir_op plain = *o; /* the operation by itself: what it reads and leaves alone */
    plain.op = o->sub;
    bool load_f = ir_reads_f(&plain) || kept;
    bool bit = (o->sub == IR_BTS || o->sub == IR_BTR || o->sub == IR_BTC) && !ir_is_const(o->b);
    struct rm number = rm_cpu(offsetof(struct cpu, scratch[4]));
    if (bit) { /* masked: the host's own form would walk off to another word of memory */
        f_spoil(e);
        f_save(e);
        e->f_host = false;
        if (place_reg_of(e, o->b) != NOREG)
            asm_mov_rr(&e->a, I64, RAX, place_reg_of(e, o->b));
        else
            asm_load(&e->a, I64, RAX, place_rm(e, o->b));
        asm_alu_imm(&e->a, I32, 4, rm_reg(RAX), ir_bits(o->type) - 1);
        asm_store(&e->a, I64, number, RAX);
        e->locked = 0;
        needs_src = false;
    }
    if (load_f)
        keep_address(e, o->a);
    struct rm m;
    mem_begin(e, desc, load_f, &m);
    if (load_f) {
        bool host = e->f_host;
        f_load(e);
        e->f_host = host;
    }
    int src = NOREG;
    if (bit)
        asm_load(&e->a, I64, src = load_f ? RAX : place_scratch(e), number);
    if (needs_src && load_f)
        src = merged_source(e, RAX);
    else if (needs_src)
        src = place_src_kept(e, o->b, o->type);
    rmw_apply(e, m, src);
    mem_end(e);
    f_defined(e);
}

void emit_cmpxchg(struct emitter *e)
{
    const struct ir_op *o = e->op;
    unsigned desc = 1u << o->type | MD_WRITE | MD_RMW | (o->flags & IR_LOCK ? MD_LOCK : 0);
    keep_address(e, o->a);
    struct rm m;
    mem_begin(e, desc, true, &m);
    int b = merged_source(e, NOREG);
    if (place_reg_of(e, o->d) != NOREG)
        asm_mov_rr(&e->a, I64, RAX, place_reg_of(e, o->d));
    else
        asm_load(&e->a, I64, RAX, place_rm(e, o->d));
    mem_fault_here(e);
    if (o->flags & IR_LOCK)
        asm_byte(&e->a, 0xf0);
    asm_typed(&e->a, o->type, 1, 0xb1, b, m);
    mem_end(e);
    /* d takes rax whole: unchanged when equal (I32 too: SDM leaves RAX's high half alone then), loaded when not. */
    place_forget(e, o->d);
    if (place_reg_of(e, o->d) != NOREG)
        asm_mov_rr(&e->a, I64, place_reg_of(e, o->d), RAX);
    else
        asm_store(&e->a, I64, place_rm(e, o->d), RAX);
    f_defined(e);
}

/* XADD and XCHG: the register operand is source and destination of one host instruction. */
void emit_exchange(struct emitter *e)
{
    const struct ir_op *o = e->op;
    bool lock = (o->flags & IR_LOCK) || o->op == IR_XCHG;
    unsigned desc = 1u << o->type | MD_WRITE | MD_RMW | (lock ? MD_LOCK : 0);
    keep_address(e, o->a);
    struct rm m;
    mem_begin(e, desc, true, &m);
    int b = merged_source(e, RAX);
    if (b != RAX)
        asm_mov_rr(&e->a, I64, RAX, b);
    mem_fault_here(e);
    if (o->op == IR_XADD) {
        if (o->flags & IR_LOCK)
            asm_byte(&e->a, 0xf0);
        asm_typed(&e->a, o->type, 1, 0xc1, RAX, m);
    } else {
        asm_typed(&e->a, o->type, 0, 0x87, RAX, m);
    }
    mem_end(e);
    e->locked = 0; /* the access is over: its registers are free for d */
    int d = place_dst(e, o->d, o->b);
    if (d != RAX)
        asm_mov_rr(&e->a, o->type, d, RAX);
    place_dst_done(e, o->d, o->type, d);
    f_defined(e);
}

void emit_load(struct emitter *e)
{
    const struct ir_op *o = e->op;
    struct rm m;
    mem_begin(e, 1u << o->type, false, &m);
    int d = place_dst(e, o->d, o->a);
    mem_fault_here(e);
    enum ir_type done = o->type;
    if (o->op == IR_LDZ) {
        asm_load(&e->a, o->type, d, m);
        done = I64;
    } else if (o->op == IR_LDS) {
        done = o->sub;
        unsigned w = done == I64 ? ASM_W : 0;
        if (o->type == I32)
            asm_insn(&e->a, 0, 0, 0x63, w, d, m);
        else
            asm_insn(&e->a, done == I16 ? 0x66 : 0, 1, o->type == I8 ? 0xbe : 0xbf, w, d, m);
    } else if (o->type >= I32) {
        asm_load(&e->a, o->type, d, m);
    } else {
        asm_typed(&e->a, o->type, 0, 0x8b, d, m); /* merging */
    }
    mem_end(e);
    place_dst_done(e, o->d, done, d);
}

void emit_store(struct emitter *e)
{
    const struct ir_op *o = e->op;
    struct rm m;
    struct access *c = mem_begin(e, 1u << o->type | MD_WRITE, false, &m);
    int64_t v = ir_is_const(o->b) ? sign_extend((uint64_t)ir_const_value(e->b, o->b), ir_bits(o->type)) : 0;
    if (ir_is_const(o->b) && fits32(v)) {
        c->at = asm_at(&e->a);
        mem_fault_here(e);
        enum ir_type t = o->type;
        asm_insn(&e->a, t == I16 ? 0x66 : 0, 0, t == I8 ? 0xc6 : 0xc7, t == I64 ? ASM_W : 0, 0, m);
        asm_imm(&e->a, v, t == I8 ? 1 : t == I16 ? 2 : 4);
    } else {
        int src = place_src_kept(e, o->b, o->type);
        mem_fault_here(e);
        asm_store(&e->a, o->type, m, src);
    }
    mem_end(e);
}

void emit_probe(struct emitter *e)
{
    struct rm m;
    mem_begin(e, ((unsigned)e->op->imm & MD_SIZE) | MD_WRITE | MD_PROBE, false, &m);
    mem_fault_here(e);
    asm_insn(&e->a, 0, 1, 0x1f, 0, 0, m); /* nop [host]: does not touch it */
    mem_end(e);
}
