/* host/amd64/thunks.c: the code that all blocks share: entering, leaving, and the way into C and back.
 *
 * A thunk called from a block saves every pinned register to its home in struct cpu, as much of the vector registers as
 * cpu.vec_bytes says, and MXCSR; calls C under the host's MXCSR; and takes everything back.  So C sees the whole guest
 * state, may change it, and may abandon the block by host_leave (which only needs the stack pointer kept in
 * cpu.host_rsp).
 *
 * Stacks: enter pushes six registers, keeps the stack pointer in cpu.host_rsp and sets rsp to cpu + CPU_FRAME (see
 * cpu.stack).  C runs on the thread's own stack: call_c takes host_rsp, and rbx brings rsp back.
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

/* ---- vector registers: two routines that the thunks call ----------------------------------------------------- */

/* Load or save vector registers from `opcode` on: MOVAPS, 128 to 512 bits by l. */
static void move_vectors(struct asmbuf *a, unsigned opcode, unsigned l, int n)
{
    struct ir_avx movaps = {.form = IR_AVX_REG_MEM, .map = 1, .opcode = (uint8_t)opcode};
    movaps.l = l & 3;
    movaps.evex = l == 2;
    for (int i = 0; i < n; i++) {
        if (l)
            asm_avx(a, &movaps, (struct asm_avx){.reg = i}, FIELD(vec[i]));
        else
            asm_insn(a, 0, 1, opcode, 0, i, FIELD(vec[i]));
    }
}

/* C runs best with the upper halves clear: its SSE code would merge with them. */
static void finish_vectors(struct asmbuf *a, bool save)
{
    static const struct ir_avx vzeroupper = {.form = IR_AVX_PLAIN, .map = 1, .opcode = 0x77};
    if (save)
        asm_avx(a, &vzeroupper, (struct asm_avx){0}, rm_reg(0));
    asm_byte(a, 0xc3);
}

static uint32_t emit_vectors(struct asmbuf *a, bool save)
{
    struct ir_avx kmovq = {.form = IR_AVX_REG_MEM, .map = 1, .w = 1, .opcode = save ? 0x91 : 0x90};
    unsigned movaps = save ? 0x29 : 0x28;
    uint32_t at = asm_at(a);
    asm_alu_imm(a, I8, 7, FIELD(vec_bytes), 32);
    uint32_t less = asm_jcc(a, CC_B), more = asm_jcc(a, CC_A);
    move_vectors(a, movaps, 1, 16);
    finish_vectors(a, save);
    asm_patch(a, less, asm_at(a));
    move_vectors(a, movaps, 0, 16);
    asm_byte(a, 0xc3);
    asm_patch(a, more, asm_at(a));
    move_vectors(a, movaps, 2, 32);
    for (int i = 0; i < IR_NMASK; i++)
        asm_avx(a, &kmovq, (struct asm_avx){.reg = i}, FIELD(mask[i]));
    finish_vectors(a, save);
    return at;
}

static void call_local(struct asmbuf *a, uint32_t to)
{
    asm_byte(a, 0xe8);
    asm_imm(a, 0, 4);
    asm_patch(a, asm_at(a) - 4, to);
}

/* ---- all registers ------------------------------------------------------------------------------------------- */

/* Vector registers and MXCSR: few blocks have changed them since they were loaded.  (STMXCSR alone costs as much as all
 * the other saving together.) */
static void save_vectors(struct asmbuf *a, const struct host_thunks *t)
{
    asm_alu_imm(a, I8, 7, FIELD(vec_ran), 0);
    uint32_t same = asm_jcc(a, CC_E);
    call_local(a, t->save_vectors);
    mxcsr(a, 3, FIELD(mxcsr));
    asm_patch(a, same, asm_at(a));
    mxcsr(a, 2, FIELD(host_mxcsr));
}

static void save_guest(struct asmbuf *a, const struct host_thunks *t)
{
    for (unsigned i = 0; i < 16; i++)
        if (host_pin[i] != NOREG)
            asm_store(a, I64, FIELD(reg[i]), host_pin[i]);
    save_vectors(a, t);
}

static void load_guest(struct asmbuf *a, const struct host_thunks *t)
{
    mxcsr(a, 2, FIELD(mxcsr));
    call_local(a, t->load_vectors);
    for (unsigned i = 0; i < 16; i++)
        if (host_pin[i] != NOREG)
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

/* Call what r/m m says on the thread's own stack. */
static void call_rm(struct asmbuf *a, struct rm m)
{
    asm_load(a, I64, RDI, FIELD(self));
    asm_mov_rr(a, I64, RBX, RSP);
    asm_load(a, I64, RSP, FIELD(host_rsp));
    asm_insn(a, 0, 0, 0xff, 0, 2, m);
    asm_mov_rr(a, I64, RSP, RBX);
}

static void call_c(struct asmbuf *a, const void *fn)
{
    asm_mov_imm(a, RAX, (int64_t)(uintptr_t)fn);
    call_rm(a, rm_reg(RAX));
}

static void stack(struct asmbuf *a, int n)
{
    asm_alu_imm(a, I64, n > 0 ? 0 : 5, rm_reg(RSP), n > 0 ? n : -n);
}

static void emit_leave_thunk(struct asmbuf *a, struct host_thunks *t)
{
    const struct {
        uint32_t *at;
        unsigned why;
        bool called, offset; /* called: the return address is cpu.link; offset: eax is a page offset, not the pc */
        uint32_t *f_at;      /* an entry with F in the host's flags, or NULL */
        bool again;          /* registers are as jump_by_entry has them */
    } exits[] = {{&t->exit_link, LEAVE_LINK, true, true, &t->exit_link_f, false},
                 {&t->exit_kick_off, LEAVE_KICK, false, true, &t->exit_kick_f, false},
                 {&t->exit_lookup_off, LEAVE_LOOKUP, false, true, NULL, false},
                 {&t->exit_lookup, LEAVE_LOOKUP, false, false, NULL, true},
                 {&t->exit_kick, LEAVE_KICK, false, false, NULL, false}};
    uint32_t to_leave[ARRAY_LEN(exits)];
    for (unsigned i = 0; i < ARRAY_LEN(exits); i++) {
        if (exits[i].f_at) {
            *exits[i].f_at = asm_at(a);
            asm_store(a, I64, FIELD(scratch[3]), RAX);
            f_put_away(a, FIELD(cc));
            asm_load(a, I64, RAX, FIELD(scratch[3]));
        }
        *exits[i].at = asm_at(a);
        if (exits[i].again) { /* the entry's other place */
            asm_alu_imm(a, I32, 6, rm_reg(R15), CPU_JC_OTHER);
            uint32_t miss = jump_by_entry(a);
            t->jc_none = asm_at(a);
            asm_load(a, I64, RAX, rm_index(R14, R15, 0, offsetof(struct cpu_jc, pc)));
            asm_patch(a, miss, asm_at(a));
        }
        if (exits[i].offset) {
            asm_insn(a, 0, 0, 0x63, ASM_W, RAX, rm_reg(RAX)); /* movsxd rax, eax */
            asm_alu(a, I64, 0, RAX, FIELD(reg[IR_PCB]));
        }
        asm_store(a, I64, FIELD(pc), RAX);
        if (exits[i].called) {
            asm_byte(a, 0x58); /* pop rax */
            asm_store(a, I64, FIELD(link), RAX);
        }
        asm_mov_imm(a, RAX, exits[i].why);
        to_leave[i] = asm_jmp(a);
    }
    t->leave = asm_at(a); /* eax: the reason; guest registers still in host registers */
    for (unsigned i = 0; i < ARRAY_LEN(exits); i++)
        asm_patch(a, to_leave[i], t->leave);
    save_guest(a, t);
    asm_load(a, I64, RSP, FIELD(host_rsp));
    stack(a, 8);
    push_pop(a, false);
    asm_byte(a, 0xc3);
}

/* An entry for each register that may hold the address; they meet at the code that follows. */
static uint32_t emit_entries(struct asmbuf *a)
{
    uint32_t at = asm_at(a), to_common[THUNK_ADDRESS_KEPT];
    for (unsigned reg = 0; reg < THUNK_ADDRESS_KEPT; reg++) {
        asm_store(a, I64, FIELD(scratch[1]), (int)reg);
        to_common[reg] = asm_jmp(a);
        while (asm_at(a) < at + (reg + 1) * THUNK_STRIDE)
            asm_byte(a, 0x90);
    }
    for (unsigned reg = 0; reg < THUNK_ADDRESS_KEPT; reg++)
        asm_patch(a, to_common[reg], asm_at(a));
    return at;
}

/* Add the displacement to the address that an entry has put away.  Changes rax. */
static void emit_whole_address(struct asmbuf *a)
{
    asm_load(a, I64, RAX, rm_mem(RSP, 0));
    asm_insn(a, 0, 1, 0xbf, ASM_W, RAX, rm_mem(RAX, COLD_DISP)); /* movsx rax, word */
    asm_alu_to(a, I64, 0, FIELD(scratch[1]), RAX);
}

/* eax = (address & 0xfff) + size of the access whose desc is in ecx: above 0x1000 it crosses a page. */
static void emit_end_on_page(struct asmbuf *a)
{
    asm_alu_imm(a, I32, 4, rm_reg(RCX), MD_SIZE);
    asm_load(a, I32, RAX, FIELD(scratch[1]));
    asm_alu_imm(a, I32, 4, rm_reg(RAX), 0xfff);
    asm_alu(a, I32, 0, RAX, rm_reg(RCX));
    asm_alu_imm(a, I32, 7, rm_reg(RAX), 0x1000);
}

/* A store to a page with code that touches no byte that a block rests on (struct cpu_direct): return as if the table had
 * had its entry. Changes rax and rcx. */
static void emit_direct_store(struct asmbuf *a, struct rm desc, struct rm rcx)
{
    uint32_t give_up[6];
    struct rm address = FIELD(scratch[1]), rdx = FIELD(scratch[6]), size = FIELD(scratch[7]);
    struct rm page = rm_gs_index(offsetof(struct cpu, direct_page), RDX, 3),
              table = rm_gs_index(offsetof(struct cpu, direct[0].table), RDX, 0),
              addend = rm_gs_index(offsetof(struct cpu, direct[0].addend), RDX, 0),
              map = rm_gs_index(offsetof(struct cpu, direct[0].map), RDX, 0),
              left = rm_gs_index(offsetof(struct cpu, direct[0].left), RDX, 0);
    _Static_assert(sizeof(struct cpu_direct) == 32 && CPU_DIRECT == 8, "as it is computed here");
    asm_store(a, I64, rdx, RDX);
    asm_load(a, I32, RCX, desc);
    asm_test_imm(a, I32, rm_reg(RCX), MD_ALIGN | MD_LOCK | MD_SELECT);
    give_up[0] = asm_jcc(a, CC_NE);
    asm_load(a, I64, RAX, address);
    asm_mov_rr(a, I64, RDX, RAX);
    asm_shift_imm(a, I64, 5, rm_reg(RDX), 12);
    asm_alu_imm(a, I32, 4, rm_reg(RDX), CPU_DIRECT - 1);
    asm_alu_imm(a, I64, 4, rm_reg(RAX), -4096);
    asm_alu_imm(a, I64, 1, rm_reg(RAX), 1);
    asm_alu(a, I64, 7, RAX, page);
    give_up[1] = asm_jcc(a, CC_NE);
    asm_shift_imm(a, I32, 4, rm_reg(RDX), 5);
    asm_load(a, I64, RAX, FIELD(tab_w));
    asm_alu(a, I64, 7, RAX, table);
    give_up[2] = asm_jcc(a, CC_NE);
    emit_end_on_page(a);
    give_up[3] = asm_jcc(a, CC_A);
    asm_alu_imm(a, I32, 7, rm_reg(RCX), 32); /* and 7 of a byte are less than the 64 bits looked at */
    give_up[4] = asm_jcc(a, CC_A);
    asm_alu_imm(a, I32, 7, left, 0);
    give_up[5] = asm_jcc(a, CC_E);
    asm_alu_imm(a, I32, 5, left, 1);
    asm_store(a, I64, size, RCX);
    asm_load(a, I32, RAX, address);
    asm_alu_imm(a, I32, 4, rm_reg(RAX), 0xfff);
    asm_mov_rr(a, I32, RCX, RAX);
    asm_shift_imm(a, I32, 5, rm_reg(RAX), 3);
    asm_alu(a, I64, 0, RAX, map);
    asm_load(a, I64, RAX, rm_mem(RAX, 0));
    asm_alu_imm(a, I32, 4, rm_reg(RCX), 7);
    asm_insn(a, 0, 0, 0xd3, ASM_W, 5, rm_reg(RAX)); /* shr rax, cl: the first byte's bit is bit 0 */
    asm_load(a, I64, RCX, size);
    asm_insn(a, 0, 0, 0xf7, ASM_W, 3, rm_reg(RCX)); /* neg rcx */
    asm_insn(a, 0, 0, 0xd3, ASM_W, 4, rm_reg(RAX)); /* shl rax, cl: only those of the store stay */
    uint32_t hit = asm_jcc(a, CC_NE);
    asm_load(a, I64, RAX, addend);
    asm_load(a, I64, RDX, rdx);
    asm_load(a, I64, RCX, rcx);
    asm_byte(a, 0xc3);
    for (unsigned i = 0; i < ARRAY_LEN(give_up); i++)
        asm_patch(a, give_up[i], asm_at(a));
    asm_patch(a, hit, asm_at(a));
    asm_load(a, I64, RDX, rdx);
}

/* The access by the table, if it merely is misaligned (or shares what there is not); else, or if the host faulted at it, by
 * the slow path.  Returns where the latter begins.
 * See emit_mem.c for the protocol.  On the stack: the address of a jump of 5 bytes, which is where to return to (the host
 * predicts that); desc and insn_off come behind it. */
static uint32_t emit_memory_thunk(struct asmbuf *a, const struct host_thunks *t, uint32_t *at, const void *fn,
                                  bool write)
{
    uint32_t slow[3];
    struct rm desc = FIELD(scratch[0]), addend = FIELD(scratch[2]), rcx = FIELD(scratch[5]);
    *at = emit_entries(a);
    emit_whole_address(a);
    asm_alu_imm(a, I8, 7, FIELD(faulted), 0);
    uint32_t faulted = asm_jcc(a, CC_NE);
    asm_load(a, I64, RAX, FIELD(scratch[1]));
    mem_table_entry(a, t, write ? TABLE_W : TABLE_R, RAX, field);
    asm_load(a, I64, RAX, rm_mem(RAX, 0));
    uint32_t looked = asm_jmp(a);
    asm_patch(a, faulted, asm_at(a));
    asm_insn(a, 0, 0, 0xc6, 0, 0, FIELD(faulted));
    asm_imm(a, 0, 1);
    uint32_t unknown = asm_at(a);
    asm_mov_imm(a, RAX, 0);
    asm_patch(a, looked, asm_at(a));
    asm_store(a, I64, addend, RAX);
    asm_store(a, I64, rcx, RCX);
    asm_load(a, I64, RAX, rm_mem(RSP, 0));
    asm_load(a, I16, RCX, rm_mem(RAX, COLD_INSN_OFF));
    asm_store(a, I32, FIELD(insn_off), RCX);
    asm_load(a, I32, RCX, rm_mem(RAX, COLD_DESC));
    asm_alu_imm(a, I32, 4, rm_reg(RCX), (1 << MD_PAIR_SHIFT) - 1);
    asm_store(a, I32, desc, RCX);
    asm_alu_imm(a, I64, 7, addend, 0);
    slow[0] = asm_jcc(a, CC_E);
    asm_test_imm(a, I32, rm_reg(RCX), MD_ALIGN | MD_LOCK);
    slow[1] = asm_jcc(a, CC_NE);
    emit_end_on_page(a);
    slow[2] = asm_jcc(a, CC_A);
    asm_load(a, I64, RAX, addend); /* just misaligned */
    asm_load(a, I64, RCX, rcx);
    asm_byte(a, 0xc3);
    for (unsigned i = 0; i < ARRAY_LEN(slow); i++)
        asm_patch(a, slow[i], asm_at(a));
    if (write)
        emit_direct_store(a, desc, rcx);
    asm_load(a, I64, RCX, rcx);
    save_guest(a, t);
    asm_load(a, I64, RSI, FIELD(scratch[1]));
    asm_load(a, I32, RDX, desc);
    call_c(a, fn);
    load_guest(a, t);
    if (write) {
        asm_alu_imm(a, I8, 7, FIELD(pending), 0);
        uint32_t real = asm_jcc(a, CC_E);
        asm_alu_imm(a, I64, 0, rm_mem(RSP, 0), COLD_COPY);
        asm_patch(a, real, asm_at(a));
    }
    asm_byte(a, 0xc3);
    return unknown;
}

/* rax: a guest address; becomes the address of its entry in a table of two levels. */
static void emit_entry(struct asmbuf *a, uint32_t *at, struct rm table)
{
    struct rm address = FIELD(scratch[6]), leaf = FIELD(scratch[7]);
    *at = asm_at(a);
    asm_store(a, I64, address, RAX);
    asm_shift_imm(a, I64, 5, rm_reg(RAX), 39 - 3);
    asm_alu_imm(a, I32, 4, rm_reg(RAX), 511 << 3);
    asm_alu(a, I64, 0, RAX, table);
    asm_load(a, I64, RAX, rm_mem(RAX, -1)); /* bit 0 tells that the table is such a one */
    asm_store(a, I64, leaf, RAX);
    asm_load(a, I64, RAX, address);
    asm_shift_imm(a, I64, 5, rm_reg(RAX), 12 - 3);
    asm_alu_imm(a, I32, 4, rm_reg(RAX), 0x3ffffff8);
    asm_alu(a, I64, 0, RAX, leaf);
    asm_byte(a, 0xc3);
}

/* Every PAIR_BUDGET misses of a place (told by the return address), C hears of it. */
static uint32_t emit_budget(struct asmbuf *a)
{
    asm_load(a, I64, RAX, rm_mem(RSP, 0));
    asm_shift_imm(a, I32, 5, rm_reg(RAX), 3);
    asm_alu_imm(a, I32, 4, rm_reg(RAX), CPU_PAIR_BUDGETS - 1);
    struct rm budget = rm_gs_index(offsetof(struct cpu, pair_budget), RAX, 2);
    asm_alu_imm(a, I32, 5, budget, 1);
    return asm_jcc(a, CC_B);
}

/* An access whose remembered entry is that of another page: take the entry of the table (at `tab`) and remember it, or
 * do as mem_read or mem_write (`slow`: their common part).  rax = 0: the host faulted at the access, or it is
 * misaligned: go there at once.  slow = 0: for all accesses that share one; it gives 0 if there is none. */
static void emit_pair_thunk(struct asmbuf *a, const struct host_thunks *t, uint32_t *at, bool write_table,
                            uint32_t slow, const void *worn)
{
    uint32_t give_up[3];
    struct rm address = FIELD(scratch[1]), addend = FIELD(scratch[2]), rcx = FIELD(scratch[5]);
    struct rm page = rm_gs_index(offsetof(struct cpu, pair_page), RCX, 3);
    struct rm entry = rm_gs_index(offsetof(struct cpu, pair_addend), RCX, 3);
    if (slow) {
        *at = emit_entries(a);
        asm_store(a, I64, addend, RAX);
        emit_whole_address(a);
        asm_load(a, I64, RAX, addend);
        asm_test_self(a, I64, RAX);
    } else {
        *at = asm_at(a);
        asm_alu_imm(a, I8, 7, FIELD(faulted), 1);
    }
    give_up[0] = asm_jcc(a, CC_E);
    uint32_t to_worn = emit_budget(a);
    uint32_t again = asm_at(a);
    asm_store(a, I64, rcx, RCX);
    asm_load(a, I64, RAX, address);
    mem_table_entry(a, t, write_table ? TABLE_W : TABLE_R, RAX, field);
    asm_load(a, I64, RAX, rm_mem(RAX, 0));
    asm_test_self(a, I64, RAX);
    give_up[1] = asm_jcc(a, CC_E);
    asm_store(a, I64, addend, RAX);
    asm_load(a, I64, RAX, rm_mem(RSP, 0));
    asm_load(a, I32, RCX, rm_mem(RAX, COLD_DESC));
    emit_end_on_page(a);
    give_up[2] = asm_jcc(a, CC_A);
    asm_load(a, I64, RCX, rm_mem(RSP, 0));
    asm_load(a, I8, RCX, rm_mem(RCX, COLD_DESC + 3));
    asm_load(a, I64, RAX, address);
    asm_alu_imm(a, I64, 4, rm_reg(RAX), -4096);
    asm_store(a, I64, page, RAX);
    asm_load(a, I64, RAX, addend);
    asm_store(a, I64, entry, RAX);
    asm_load(a, I64, RCX, rcx);
    asm_byte(a, 0xc3);
    for (unsigned i = 1; i < ARRAY_LEN(give_up); i++)
        asm_patch(a, give_up[i], asm_at(a));
    asm_load(a, I64, RCX, rcx);
    asm_patch(a, give_up[0], asm_at(a));
    if (slow) {
        asm_patch(a, asm_jmp(a), slow);
    } else {
        asm_mov_imm(a, RAX, 0);
        asm_byte(a, 0xc3);
    }
    asm_patch(a, to_worn, asm_at(a));
    asm_load(a, I64, RAX, address);
    asm_store(a, I64, FIELD(scratch[6]), RAX);
    save_guest(a, t);
    asm_load(a, I64, RSI, rm_mem(RSP, 0));
    asm_load(a, I16, RAX, rm_mem(RSI, COLD_INSN_OFF));
    asm_store(a, I32, FIELD(insn_off), RAX);
    call_c(a, worn);
    load_guest(a, t);
    asm_load(a, I64, RAX, FIELD(scratch[6]));
    asm_store(a, I64, address, RAX);
    asm_patch(a, asm_jmp(a), again);
}

/* In a cold stub: F as the block found it, into cpu.cc, if it is owed.  Keeps rax. */
static void emit_resolve(struct asmbuf *a, struct host_thunks *t)
{
    t->f_resolve = asm_at(a);
    asm_alu_imm(a, I32, 7, FIELD(f_maker), 0);
    uint32_t kept = asm_jcc(a, CC_E);
    asm_store(a, I64, FIELD(scratch[3]), RAX);
    asm_mov_imm(a, RAX, (int64_t)(uintptr_t)t->rx);
    asm_store(a, I64, FIELD(scratch[6]), RAX);
    asm_load(a, I32, RAX, FIELD(f_maker));
    asm_alu(a, I64, 0, RAX, FIELD(scratch[6]));
    asm_insn(a, 0, 0, 0xff, 0, 2, rm_reg(RAX));
    f_put_away(a, FIELD(cc));
    asm_load(a, I64, RAX, FIELD(scratch[3]));
    asm_patch(a, kept, asm_at(a));
    asm_byte(a, 0xc3);
}

static void emit_commit(struct asmbuf *a, const struct host_thunks *t, const void *fn)
{
    asm_byte(a, 0x9c); /* pushfq: F may be in the host's flags; rax may hold a result */
    asm_byte(a, 0x50);
    save_guest(a, t);
    call_c(a, fn);
    load_guest(a, t);
    asm_byte(a, 0x58);
    asm_byte(a, 0x9d);
    asm_byte(a, 0xc3);
}

static void emit_helper_call(struct asmbuf *a, const struct host_thunks *t)
{
    save_guest(a, t);
    asm_insn(a, 0, 0, 0xc6, 0, 0, FIELD(vec_ran));
    asm_imm(a, 0, 1);
    asm_load(a, I64, RSI, FIELD(scratch[0]));
    asm_load(a, I64, RDX, FIELD(scratch[1]));
    asm_load(a, I64, RCX, FIELD(scratch[2]));
    asm_load(a, I64, R8, FIELD(helper));
    call_rm(a, rm_index(R8, RAX, 3, 0));
    load_guest(a, t);
    asm_byte(a, 0xc3);
}

/* Entered by a signal handler's redirection: rsp is a block's. */
static void emit_error(struct asmbuf *a, const struct host_thunks *t, const void *fn)
{
    save_guest(a, t);
    call_c(a, fn);
    asm_byte(a, 0x0f); /* ud2: it does not return */
    asm_byte(a, 0x0b);
}

bool host_thunks_emit(struct host_thunks *t, struct host_span *s, const struct host_calls *calls, bool two_levels)
{
    struct asmbuf b = {.start = s->rw, .p = s->rw, .end = s->rw + s->size, .rx_delta = s->rx_delta}, *a = &b;
    if (s->size < 16 * ASM_ROOM)
        return false;
    t->rx = s->rw + s->rx_delta;
    t->two_levels = two_levels;
    t->f_kept = false;
    fixed_make(t);
    t->save_vectors = emit_vectors(a, true);
    t->load_vectors = emit_vectors(a, false);
    t->enter = asm_at(a); /* (rdi: unused, rsi: hpc) */
    push_pop(a, true);
    stack(a, -8);
    asm_store(a, I64, FIELD(host_rsp), RSP);
    asm_load(a, I64, RSP, FIELD(self));
    stack(a, CPU_FRAME);
    mxcsr(a, 3, FIELD(host_mxcsr));
    asm_mov_rr(a, I64, RAX, RSI);
    load_guest(a, t);
    asm_byte(a, 0xff); /* jmp rax */
    asm_byte(a, 0xe0);
    emit_leave_thunk(a, t);
    emit_resolve(a, t);
    if (two_levels) {
        emit_entry(a, &t->entry_r, FIELD(tab_r));
        emit_entry(a, &t->entry_w, FIELD(tab_w));
        emit_entry(a, &t->entry_x, FIELD(tab_x));
    }
    const uint32_t slow_read = emit_memory_thunk(a, t, &t->mem_read, (const void *)calls->mem_read, false);
    const uint32_t slow_write = emit_memory_thunk(a, t, &t->mem_write, (const void *)calls->mem_write, true);
    const void *worn = (const void *)calls->mem_worn;
    emit_pair_thunk(a, t, &t->near_read, true, slow_read, worn);
    emit_pair_thunk(a, t, &t->pair_read, false, slow_read, worn);
    emit_pair_thunk(a, t, &t->pair_write, true, slow_write, worn);
    emit_pair_thunk(a, t, &t->span_read, false, 0, worn);
    emit_pair_thunk(a, t, &t->span_write, true, 0, worn);
    t->mem_commit = asm_at(a);
    emit_commit(a, t, (const void *)calls->mem_commit);
    t->call = asm_at(a);
    emit_helper_call(a, t);
    t->divide_error = asm_at(a);
    emit_error(a, t, (const void *)calls->divide_error);
    t->fp_error = asm_at(a);
    emit_error(a, t, (const void *)calls->fp_error);
    t->guard = asm_at(a); /* (rdi: cpu, rsi: fn): call fn(cpu) where host_leave works */
    push_pop(a, true);
    stack(a, -8);
    asm_store(a, I64, FIELD(host_rsp), RSP);
    asm_byte(a, 0xff); /* call rsi */
    asm_byte(a, 0xd6);
    asm_mov_imm(a, RAX, LEAVE_NEXT);
    stack(a, 8);
    push_pop(a, false);
    asm_byte(a, 0xc3);
    t->size = s->used = asm_at(a);
    return !asm_full(a);
}
