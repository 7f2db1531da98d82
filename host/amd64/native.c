/* host/amd64/native.c: run one guest instruction natively on a saved state, for the reference interpreter and for x87.
 *
 * The instruction is put into executable memory between code that loads the state and code that stores it.  x87 and
 * MMX instructions come again and again, and writing code costs far more than running it, so their pieces are kept:
 * one a thread and slot, found by the bytes.
 */
#include <string.h>
#include <sys/mman.h>

#include "host/amd64/emit.h"

enum { SLOT_BYTES = 64, SLOTS = 1024, KEY_BYTES = 15, SCRATCH = SLOT_BYTES * SLOTS };

/* A thread's executable memory, made at first use. */
struct native {
    uint8_t *code; /* SLOTS kept pieces, then a page for pieces that are not kept */
    struct {
        uint8_t len, bytes[KEY_BYTES];
    } key[SLOTS];
};
static __thread struct native native;

static void native_init(void)
{
    if (native.code)
        return;
    native.code = mmap(NULL, SCRATCH + 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    rh_assert(native.code != MAP_FAILED, "the host gives executable memory");
}

static struct asmbuf native_begin(void)
{
    native_init();
    uint8_t *at = native.code + SCRATCH;
    return (struct asmbuf){.start = at, .p = at, .end = at + 4096};
}

/* fn(rdi: state, rsi: memory operand), after: ret */
static void native_call(struct asmbuf *a, void *state, void *mem)
{
    asm_byte(a, 0xc3);
    void (*fn)(void *, void *) = (void *)a->start;
    fn(state, mem);
}

static void *native_piece(const uint8_t *code, unsigned len)
{
    uint32_t h = 0x811c9dc5u;
    for (unsigned i = 0; i < len; i++)
        h = (h ^ code[i]) * 0x01000193u;
    unsigned n = (h ^ h >> 15) % SLOTS;
    uint8_t *at = native.code + n * SLOT_BYTES;
    if (native.key[n].len == len && !memcmp(native.key[n].bytes, code, len))
        return at;
    struct asmbuf b = {.start = at, .p = at, .end = at + SLOT_BYTES}, *a = &b;
    native.key[n].len = (uint8_t)len;
    memcpy(native.key[n].bytes, code, len);
    asm_insn(a, 0, 1, 0xae, ASM_W, 1, rm_mem(RDI, 0)); /* fxrstor64 [rdi] */
    asm_mov_rr(a, I64, RAX, RSI);
    memcpy(a->p, code, len);
    a->p += len;
    asm_insn(a, 0, 1, 0xae, ASM_W, 0, rm_mem(RDI, 0)); /* fxsave64 [rdi] */
    asm_byte(a, 0xdb); /* fninit: C expects an empty stack and the default control word */
    asm_byte(a, 0xe3);
    asm_byte(a, 0xc3);
    return at;
}

void host_native_run(void *fx, const uint8_t *code, unsigned len, void *mem)
{
    rh_assert(len <= KEY_BYTES, "an x87 piece of %u bytes", len);
    native_init();
    void (*fn)(void *, void *) = native_piece(code, len);
    uint32_t own = __builtin_ia32_stmxcsr(); /* conversions between MMX and XMM run under the image's */
    fn(fx, mem);
    __builtin_ia32_ldmxcsr(own);
}

/* FXRSTOR loads more than is wanted: MXCSR is put into the image, vector registers are named as lost. */
#define VECTORS                                                                                                        \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",         \
        "xmm13", "xmm14", "xmm15"
enum { FX_WORDS = 6, FX_MXCSR = 24, FX_REGISTERS = 32, FX_REGISTER_BYTES = 128 };

void host_x87_save(void *fx)
{
    uint8_t all[512] __attribute__((aligned(16)));
    __asm__ volatile("fxsave64 %0" : "=m"(all));
    memcpy(fx, all, FX_WORDS);
    memcpy((uint8_t *)fx + FX_REGISTERS, all + FX_REGISTERS, FX_REGISTER_BYTES);
}

void host_x87_load(void *fx)
{
    uint32_t own = __builtin_ia32_stmxcsr();
    memcpy((uint8_t *)fx + FX_MXCSR, &own, sizeof own);
    __asm__ volatile("fxrstor64 %0" : : "m"(*(const uint8_t(*)[512])fx) : VECTORS, "memory");
}

/* The pieces' memory operand is [rax].  A general operand goes by way of `general`, or through rcx. */
static unsigned x87_piece(const struct ir_op *o, uint8_t code[KEY_BYTES])
{
    struct asmbuf b = {.start = code, .p = code, .end = code + KEY_BYTES}, *a = &b;
    unsigned opcode = ir_x87_byte(o, 0), map = ir_x87_byte(o, IR_X87_MAP), modrm = ir_x87_byte(o, IR_X87_MODRM);
    unsigned w = o->imm & IR_X87_W ? ASM_W : 0;
    int reg = modrm >> 3 & 7, rm = modrm & 7;
    bool through_rcx = o->sub == X87_TO_GPR && map && opcode != 0x7e;
    if (o->sub == X87_CMOV) { /* push [rax]; popfq */
        asm_insn(a, 0, 0, 0xff, 0, 6, rm_mem(RAX, 0));
        asm_byte(a, 0x9d);
    }
    if (o->sub == X87_TO_GPR && !map)
        asm_insn(a, 0, 0, 0xdd, 0, 7, rm_mem(RAX, 0)); /* FNSTSW AX, to memory */
    else if (map == 1 && opcode == 0x77)
        asm_imm(a, 0x770f, 2);
    else if (o->sub == X87_REG || o->sub >= X87_FLAGS)
        asm_insn(a, 0, map, opcode, w, reg, rm_reg(rm));
    else if (through_rcx)
        asm_insn(a, 0, map, opcode, w, RCX, rm_reg(rm));
    else
        asm_insn(a, 0, map, opcode, w, reg, rm_mem(RAX, 0));
    if (o->imm & IR_X87_HAS_IMM)
        asm_byte(a, ir_x87_byte(o, IR_X87_IMM));
    if (o->sub == X87_FLAGS) { /* pushfq; pop rcx */
        asm_byte(a, 0x9c);
        asm_byte(a, 0x59);
    }
    if (through_rcx || o->sub == X87_FLAGS)
        asm_store(a, I64, rm_mem(RAX, 0), RCX);
    return asm_at(a);
}

void host_x87_exec(struct cpu *c, void *fx, const struct ir_op *o, void *mem)
{
    enum { POINTERS = 6, POINTER_BYTES = FX_MXCSR - POINTERS };
    uint8_t code[KEY_BYTES + 8], pointers[POINTER_BYTES];
    uint32_t mxcsr = 0x1f80;
    uint64_t general = 0;
    if (o->sub == X87_FROM_GPR)
        general = c->reg[o->a];
    if (o->sub == X87_CMOV)
        general = cpu_flags(c) | 2;
    memcpy(pointers, (uint8_t *)fx + POINTERS, sizeof pointers);
    memcpy((uint8_t *)fx + FX_MXCSR, &mxcsr, sizeof mxcsr);
    host_native_run(fx, code, x87_piece(o, code), mem ? mem : &general);
    memcpy((uint8_t *)fx + POINTERS, pointers, sizeof pointers);
    if (o->sub == X87_TO_GPR)
        c->reg[o->d] = general;
    if (o->sub == X87_FLAGS)
        cpu_set_flags(c, (uint32_t)general);
}

/* Rows with registers that the encoding implies: xmm0, rax, rdx, rcx.  None of them raises exceptions. */
static void vec_implied(struct cpu *c, const struct ir_op *o, void *mem)
{
    const struct ir_vec_row *row = &ir_vec_rows[o->row];
    struct asmbuf b = native_begin(), *a = &b;
    struct {
        uint64_t rax, rdx, rcx, flags;
        uint8_t x[3][16] __attribute__((aligned(16)));
    } state __attribute__((aligned(16))) = {.rax = c->reg[0], .rdx = c->reg[2]};
    bool string = row->form >= VF_I_U;
    ir_ref reg = string ? o->b : o->d;
    memcpy(state.x[0], c->vec[0], 16);
    memcpy(state.x[1], c->vec[reg - IR_VEC0], 16);
    if (!mem)
        memcpy(state.x[2], c->vec[o->a - IR_VEC0], 16);
    for (int i = 0; i < 3; i++)
        asm_insn(a, 0, 1, 0x28, 0, i, rm_mem(RDI, (int32_t)offsetof(__typeof__(state), x) + 16 * i));
    asm_load(a, I64, RAX, rm_mem(RDI, (int32_t)offsetof(__typeof__(state), rax)));
    asm_load(a, I64, RDX, rm_mem(RDI, (int32_t)offsetof(__typeof__(state), rdx)));
    asm_insn(a, row->prefix, row->map, row->opcode, row->w ? ASM_W : 0, 1, mem ? rm_mem(RSI, 0) : rm_reg(2));
    asm_imm(a, o->imm, row->has_imm);
    asm_byte(a, 0x9c); /* pushfq; pop rdx */
    asm_byte(a, 0x5a);
    asm_store(a, I64, rm_mem(RDI, (int32_t)offsetof(__typeof__(state), flags)), RDX);
    asm_store(a, I64, rm_mem(RDI, (int32_t)offsetof(__typeof__(state), rcx)), RCX);
    for (int i = 0; i < 2; i++)
        asm_insn(a, 0, 1, 0x29, 0, i, rm_mem(RDI, (int32_t)offsetof(__typeof__(state), x) + 16 * i));
    native_call(a, &state, mem);
    if (string)
        cpu_set_flags(c, (uint32_t)state.flags);
    if (row->form == VF_I_U || row->form == VF_I_M)
        c->reg[1] = state.rcx;
    else
        memcpy(c->vec[o->d - IR_VEC0], state.x[string ? 0 : 1], 16);
}

/* The vector state an AVX op runs on: a copy, because an unmasked exception must leave the guest's alone. */
struct avx_state {
    uint8_t vec[IR_NVEC][64];
    uint64_t mask[IR_NMASK], gpr, flags;
} __attribute__((aligned(64)));

static void avx_move(struct asmbuf *a, bool save)
{
    bool wide = host_vec_bytes() == 64;
    struct ir_avx movaps = {.form = IR_AVX_REG_MEM, .map = 1, .opcode = save ? 0x29 : 0x28};
    struct ir_avx kmovq = {.form = IR_AVX_REG_MEM, .map = 1, .w = 1, .opcode = save ? 0x91 : 0x90};
    movaps.l = wide ? 2 : 1;
    movaps.evex = wide;
    for (int i = 0; i < (wide ? 32 : 16); i++) { /* no displacement: EVEX would scale a short one */
        asm_lea(a, I64, RCX, rm_mem(RDI, (int32_t)offsetof(struct avx_state, vec[i])));
        asm_avx(a, &movaps, (struct asm_avx){.reg = i}, rm_mem(RCX, 0));
    }
    for (int i = 0; wide && i < IR_NMASK; i++)
        asm_avx(a, &kmovq, (struct asm_avx){.reg = i}, rm_mem(RDI, (int32_t)offsetof(struct avx_state, mask[i])));
}

/* A general register is rax. */
static int avx_number(ir_ref r)
{
    return r == IR_NONE || ir_is_reg(r) ? RAX : ir_is_vec(r) ? r - IR_VEC0 : r - IR_MASK0;
}

static void avx_insn(struct asmbuf *a, const struct ir_op *o)
{
    const struct ir_avx *x = &o->avx;
    const struct ir_avx_form_row *f = &ir_avx_forms[x->form];
    int at[IR_AT_LAST + 1] = {0};
    at[f->a] = avx_number(o->a);
    at[f->b] = avx_number(o->b);
    at[f->c] = o->c == IR_NONE ? 0 : avx_number(o->c);
    at[f->d] = avx_number(o->d);
    bool ext = x->form == IR_AVX_VVVV_RM || x->form == IR_AVX_VVVV_MEM;
    struct asm_avx r = {ext ? x->ext : at[IR_AT_REG], at[IR_AT_VVVV], 0, 0};
    if (x->evex)
        r.mask = at[IR_AT_LAST];
    else
        r.last = at[IR_AT_LAST];
    asm_avx(a, x, r, x->msize ? rm_mem(RSI, 0) : rm_reg(at[IR_AT_RM]));
}

/* Run a->start on state under mxcsr; the exceptions it raised.  False: one of them is unmasked. */
static bool run_masked(struct asmbuf *a, struct cpu *c, void *state, void *mem)
{
    uint32_t own = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr((c->mxcsr & ~0x3fu) |
                           0x1f80); /* all exceptions masked: those the guest unmasked are told by the flags */
    native_call(a, state, mem);
    uint32_t flags = __builtin_ia32_stmxcsr() & 0x3f, unmasked = flags & ~(c->mxcsr >> 7);
    __builtin_ia32_ldmxcsr(own);
    if (unmasked & 7) /* invalid, denormal, zero-divide are found before the result (SDM vol. 1, 11.5.2) */
        flags &= 7;
    c->mxcsr |= flags;
    return !unmasked;
}

static bool avx_exec(struct cpu *c, const struct ir_op *o, void *mem)
{
    struct asmbuf b = native_begin(), *a = &b;
    struct avx_state s;
    ir_ref general = ir_is_reg(o->b) ? o->b : ir_is_reg(o->a) && !o->avx.msize ? o->a : IR_NONE;
    memcpy(s.vec, c->vec, sizeof s.vec);
    memcpy(s.mask, c->mask, sizeof s.mask);
    s.gpr = general == IR_NONE ? 0 : c->reg[general];
    avx_move(a, false);
    asm_load(a, I64, RAX, rm_mem(RDI, (int32_t)offsetof(struct avx_state, gpr)));
    avx_insn(a, o);
    asm_byte(a, 0x9c); /* pushfq; pop rdx */
    asm_byte(a, 0x5a);
    asm_store(a, I64, rm_mem(RDI, (int32_t)offsetof(struct avx_state, gpr)), RAX);
    asm_store(a, I64, rm_mem(RDI, (int32_t)offsetof(struct avx_state, flags)), RDX);
    avx_move(a, true);
    if (!run_masked(a, c, &s, mem))
        return false;
    memcpy(c->vec, s.vec, sizeof s.vec);
    memcpy(c->mask, s.mask, sizeof s.mask);
    if (ir_is_reg(o->d))
        c->reg[o->d] = s.gpr;
    if (ir_avx_sets_flags(&o->avx))
        cpu_set_flags(c, (uint32_t)s.flags);
    return true;
}

bool host_vec_exec(struct cpu *c, const struct ir_op *o, void *mem)
{
    if (o->op == IR_AVX)
        return avx_exec(c, o, mem);
    const struct ir_vec_row *row = &ir_vec_rows[o->row];
    if (row->form >= VF_Y_U0) {
        vec_implied(c, o, mem);
        return true;
    }
    struct asmbuf b = native_begin(), *a = &b;
    uint64_t gpr = ir_is_vec(o->a) || o->a >= IR_NREG ? 0 : c->reg[o->a];
    struct {
        uint64_t result, flags, source;
        uint8_t x[2][16] __attribute__((aligned(16)));
    } state __attribute__((aligned(16))) = {.source = gpr};
    bool a_vec = ir_is_vec(o->a), uses_mem = row->msize && mem;
    ir_ref reg = row->form == VF_M_U || row->form == VF_F_U || row->form == VF_F_M ? o->b : o->d;
    if (ir_is_vec(reg))
        memcpy(state.x[0], c->vec[reg - IR_VEC0], 16);
    if (a_vec)
        memcpy(state.x[1], c->vec[o->a - IR_VEC0], 16);
    asm_insn(a, 0, 1, 0x28, 0, 0, rm_mem(RDI, (int32_t)offsetof(__typeof__(state), x[0])));
    asm_insn(a, 0, 1, 0x28, 0, 1, rm_mem(RDI, (int32_t)offsetof(__typeof__(state), x[1])));
    asm_load(a, I64, RAX, rm_mem(RDI, (int32_t)offsetof(__typeof__(state), source)));
    struct rm m = uses_mem ? rm_mem(RSI, 0) : a_vec ? rm_reg(1) : rm_reg(RAX);
    int r = 0;
    if (row->form == VF_Y) {
        m = rm_reg(0);
        r = row->ext;
    } else if (row->form == VF_R_U && row->ext) {
        m = rm_reg(RAX);
        r = 1;
    } else if (row->form == VF_R_U || row->form == VF_R_M) {
        r = RAX;
    }
    asm_insn(a, row->prefix, row->map, row->opcode, row->w ? ASM_W : 0, r, m);
    asm_imm(a, o->imm, row->has_imm);
    asm_byte(a, 0x9c); /* pushfq; pop rdx */
    asm_byte(a, 0x5a);
    asm_store(a, I64, rm_mem(RDI, (int32_t)offsetof(__typeof__(state), result)), RAX);
    asm_store(a, I64, rm_mem(RDI, (int32_t)offsetof(__typeof__(state), flags)), RDX);
    asm_insn(a, 0, 1, 0x29, 0, 0, rm_mem(RDI, (int32_t)offsetof(__typeof__(state), x[0])));
    if (!run_masked(a, c, &state, mem))
        return false;
    if (row->form == VF_R_U || row->form == VF_R_M)
        c->reg[o->d] = state.result;
    else if (row->form == VF_F_U || row->form == VF_F_M)
        cpu_set_flags(c, (uint32_t)state.flags);
    else if (row->form != VF_M_U)
        memcpy(c->vec[reg - IR_VEC0], state.x[0], 16);
    return true;
}
