/* guest/x86/sys_x87.c: x87 insns on the saved state, and who has the state.
 *
 * While all x87 exceptions are masked, generated code runs x87 and MMX insns itself (IR op X87), and the state is in the
 * host's x87 (x->x87_live) from one block to the next, while C runs too: rhea's C code uses neither x87 nor MMX.
 *   - x86_x87_enter puts it there before generated code runs;
 *   - a helper that only looks calls x86_x87_fetch, which makes x->fx current;
 *   - a helper that changes it calls x87_take first, works on x->fx, and calls x87_give when nothing can fault any more.
 *     If it faults between the two, the next x86_x87_enter loads what x->fx is then.
 *   - FIP and FDP are in struct cpu (x87_ip, x87_dp); x->fx gets them by fetch and take, gives them back by give.
 * With an exception unmasked (MODE_X87_IMAGE) nothing is live, and every x87 and MMX insn is a call of help_x87, as are
 * always the few that generated code has no form for.  x->native then loads the image x->fx, runs one insn with its
 * memory operand at [rax], and saves it again, so results, flags and stack faults are the hardware's own.  In C are
 * only the insns that move the image's fields about.
 *
 * The lifter calls help_x87 with
 *     a   bits  7..0   opcode: D8..DF, 9B (FWAIT); MMX: the byte after 0F
 *              15..8   modrm, as it stands in the code
 *              23..16  map: 0 x87; 1 = 0F, 2 = 0F 38, 3 = 0F 3A: MMX (sys_mmx.c)
 *              31..24  mandatory prefix: 0, 66, F2, F3
 *              39..32  immediate byte
 *              47..40  REX: W 8, R 4, X 2, B 1
 *              55..48  operand size in bytes (2, 4, 8)
 *     b   linear address of the memory operand, 0 if there is none
 *     c   bits 31..24  its segment's number
 *               7..0   length of the insn
 *
 * Rules to know before editing
 *   - The host must never see an unmasked exception pending: it would kill us by SIGFPE.  ES (x87_summary) is always
 *     up to date, and an insn that waits raises #MF while ES is set, so native never starts with one pending.
 *   - A change of "an exception is unmasked" changes the mode, so x87_give leaves the block (it does not come back).
 *   - A store is probed before the insn runs, and done after; an unmasked exception may have suppressed it (see
 *     run_store).
 *   - The register area is in stack order: ST(i) is physical register (TOP + i) & 7.  Whoever changes TOP by hand
 *     rotates it.
 *   - FCS and FDS are always zero (CPUID.7.0:EBX[13]), FOP is kept only with an unmasked exception (SDM vol. 1, 8.1.9).
 *   - CR0.NE = 0 asks for FERR# and IRQ 13; #MF is raised all the same.
 */
#include "guest/x86/sys.h"

enum { X87_UNTOUCHED = 0xa7 }; /* fills a buffer that a store may leave alone */

/* Bytes of the memory operand: > 0 read, < 0 written, 0: no such insn, or done in C. */
static const int8_t operand_bytes[8][8] = {
    {4, 4, 4, 4, 4, 4, 4, 4}, {4, 0, -4, -4, 0, 0, 0, 0},  {4, 4, 4, 4, 4, 4, 4, 4}, {4, -4, -4, -4, 0, 10, 0, -10},
    {8, 8, 8, 8, 8, 8, 8, 8}, {8, -8, -8, -8, 0, 0, 0, 0}, {2, 2, 2, 2, 2, 2, 2, 2}, {2, -2, -2, -2, 10, 8, -10, -8},
};

/* ---- who has the state
 * ------------------------------------------------------------------------------------------------ */

void x86_x87_fetch(struct x86 *x)
{
    if (x->x87_live)
        x->x87_save(x->fx);
    bytes_put(x->fx + FX_IP, x->cpu.x87_ip, 8);
    bytes_put(x->fx + FX_DP, x->cpu.x87_dp, 8);
}

void x86_x87_changed(struct x86 *x)
{
    x->x87_live = false;
    x->cpu.x87_ip = bytes_get(x->fx + FX_IP, 8);
    x->cpu.x87_dp = bytes_get(x->fx + FX_DP, 8);
}

void x86_x87_enter(struct x86 *x)
{
    if (x->x87_live || x->mode & MODE_X87_IMAGE)
        return;
    x->x87_load(x->fx);
    x->x87_live = true;
}

void x87_take(struct x86 *x)
{
    x86_x87_fetch(x);
    x->x87_lent = x->x87_live;
    x->x87_live = false;
}

void x87_give(struct x86 *x, unsigned length)
{
    bool image = (fx_get(x, FX_CW) & 0x3f) != 0x3f;

    x86_x87_changed(x);
    if (image == ((x->mode & MODE_X87_IMAGE) != 0)) {
        if (x->x87_lent)
            x86_x87_enter(x);
        return;
    }
    x->mode ^= MODE_X87_IMAGE; /* as x86_mode_update would; nothing else depends on it */
    x86_jc_enter(x, x->cpu.jc_tag ^ MODE_X87_IMAGE);
    x->count.mode_changes++;
    x->cpu.pc = cpu_insn_pc(&x->cpu) + length;
    x86_leave(x, LEAVE_NEXT);
}

/* ---- the image
 * -------------------------------------------------------------------------------------------------------- */

void x87_summary(struct x86 *x)
{
    uint16_t sw = fx_get(x, FX_SW) & (uint16_t) ~(X87_SW_ES | X87_SW_B);

    if (sw & ~fx_get(x, FX_CW) & 0x3f)
        sw |= X87_SW_ES | X87_SW_B;
    fx_put(x, FX_SW, sw);
}

static unsigned top(const struct x86 *x)
{
    return (fx_get(x, FX_SW) >> 11) & 7;
}

/* The status word becomes sw; the physical registers stay where they are. */
static void set_status(struct x86 *x, uint16_t sw)
{
    uint8_t old[8][16];
    unsigned by = ((sw >> 11) - top(x)) & 7;

    memcpy(old, x->fx + FX_ST, sizeof old);
    for (unsigned i = 0; i < 8; i++)
        memcpy(x->fx + FX_ST + 16 * i, old[(i + by) & 7], 16);
    fx_put(x, FX_SW, sw);
}

void x87_init(struct x86 *x)
{
    set_status(x, 0);
    fx_put(x, FX_CW, 0x37f);
    fx_put(x, FX_TW, 0);
    fx_put(x, FX_OP, 0);
    bytes_put(x->fx + FX_IP, 0, 8);
    bytes_put(x->fx + FX_DP, 0, 8);
}

void x87_native(struct x86 *x, void *fx, const uint8_t *code, unsigned n, void *buf)
{
    uint8_t pointers[FX_MXCSR - FX_OP], *image = fx;

    rh_assert(!x->x87_live, "the image is the state");
    memcpy(pointers, image + FX_OP, sizeof pointers);
    bytes_put(image + FX_MXCSR, (x->cpu.mxcsr & 0xffc0) | 0x1f80, 4);
    x->native(image, code, n, buf);
    memcpy(image + FX_OP, pointers, sizeof pointers);
}

/* ---- the environment: FNSTENV, FLDENV, FNSAVE, FRSTOR (SDM vol. 1, 8.1.10)
 * ------------------------------------------ */

/* Two bits a physical register: 0 valid, 1 zero, 2 special, 3 empty. */
static uint16_t full_tag_word(const struct x86 *x)
{
    unsigned tags = 0;

    for (unsigned r = 0; r < 8; r++) {
        const uint8_t *st = x->fx + FX_ST + 16 * ((r - top(x)) & 7);
        uint64_t mantissa = bytes_get(st, 8);
        unsigned exponent = bytes_get(st + 8, 2) & 0x7fff, tag = 2;
        if (!(x->fx[FX_TW] >> r & 1))
            tag = 3;
        else if (!exponent && !mantissa)
            tag = 1;
        else if (exponent && exponent != 0x7fff && mantissa >> 63)
            tag = 0;
        tags |= tag << (2 * r);
    }
    return (uint16_t)tags;
}

static bool real_format(const struct x86 *x)
{
    return !x86_protected(x);
}

/* Make the 14- or 28-byte image at p. */
static void environment_make(const struct x86 *x, uint8_t *p, bool wide)
{
    uint64_t ip = bytes_get(x->fx + FX_IP, 8), dp = bytes_get(x->fx + FX_DP, 8);
    uint16_t op = fx_get(x, FX_OP) & 0x7ff;
    uint32_t w[7] = {fx_get(x, FX_CW), fx_get(x, FX_SW), full_tag_word(x)};

    if (real_format(x)) {
        w[3] = ip & 0xffff;
        w[4] = (uint32_t)(ip >> 16 << 12) | op;
        w[5] = dp & 0xffff;
        w[6] = (uint32_t)(dp >> 16 << 12);
    } else {
        w[3] = (uint32_t)ip;
        w[4] = wide ? (uint32_t)op << 16 : 0;
        w[5] = (uint32_t)dp;
    }
    for (unsigned i = 0; i < 7; i++) {
        bool full = i == 4 || (real_format(x) ? i == 6 : i == 3 || i == 5);
        if (wide)
            bytes_put(p + 4 * i, full ? w[i] : w[i] | 0xffff0000u, 4);
        else
            bytes_put(p + 2 * i, w[i], 2);
    }
}

static void environment_take(struct x86 *x, const uint8_t *p, bool wide)
{
    uint32_t w[7];
    unsigned size = wide ? 4 : 2, abridged = 0;

    for (unsigned i = 0; i < 7; i++)
        w[i] = (uint32_t)bytes_get(p + size * i, size);
    for (unsigned r = 0; r < 8; r++)
        abridged |= (unsigned)((w[2] >> (2 * r) & 3) != 3) << r;
    fx_put(x, FX_CW, (uint16_t)((w[0] & 0x1f3f) | 0x40));
    set_status(x, (uint16_t)w[1]);
    fx_put(x, FX_TW, (uint16_t)abridged);
    if (real_format(x)) {
        bytes_put(x->fx + FX_IP, (w[3] & 0xffff) | (uint64_t)(w[4] >> 12) << 16, 8);
        bytes_put(x->fx + FX_DP, (w[5] & 0xffff) | (uint64_t)(w[6] >> 12) << 16, 8);
        fx_put(x, FX_OP, w[4] & 0x7ff);
    } else {
        bytes_put(x->fx + FX_IP, w[3], 8);
        bytes_put(x->fx + FX_DP, w[5], 8);
        fx_put(x, FX_OP, wide ? w[4] >> 16 & 0x7ff : 0);
    }
    x87_summary(x);
}

static void environment_store(struct x86 *x, const struct x87_insn *i, bool registers)
{
    uint8_t image[108];
    bool wide = i->osize != 2;
    unsigned n = wide ? 28 : 14;

    environment_make(x, image, wide);
    for (unsigned r = 0; registers && r < 8; r++, n += 10)
        memcpy(image + n, x->fx + FX_ST + 16 * r, 10);
    sys_check_alignment(x, i->gva, wide ? 4 : 2, i->seg);
    sys_probe_write(x, i->gva, n, i->seg);
    sys_write(x, i->gva, image, n, i->seg);
    if (registers) {
        x87_init(x);
        return;
    }
    fx_put(x, FX_CW, fx_get(x, FX_CW) | 0x3f);
    x87_summary(x);
}

static void environment_load(struct x86 *x, const struct x87_insn *i, bool registers)
{
    uint8_t image[108];
    bool wide = i->osize != 2;
    unsigned n = wide ? 28 : 14;

    sys_check_alignment(x, i->gva, wide ? 4 : 2, i->seg);
    sys_read(x, i->gva, image, registers ? n + 80 : n, i->seg);
    environment_take(x, image, wide);
    for (unsigned r = 0; registers && r < 8; r++)
        memcpy(x->fx + FX_ST + 16 * r, image + n + 10 * r, 10);
}

/* ---- insns done in C
 * --------------------------------------------------------------------------------------------------- */

static void wait_pending(struct x86 *x)
{
    if (fx_get(x, FX_SW) & X87_SW_ES)
        x86_raise(x, EX_MF);
}

static bool control_memory(struct x86 *x, const struct x87_insn *i)
{
    unsigned reg = i->modrm >> 3 & 7;

    if (i->op == 0xd9 && reg == 7) {
        x86_store(x, i->gva, fx_get(x, FX_CW), 2, i->seg);
    } else if (i->op == 0xdd && reg == 7) {
        x86_store(x, i->gva, fx_get(x, FX_SW), 2, i->seg);
    } else if (i->op == 0xd9 && reg == 5) {
        wait_pending(x);
        uint64_t cw = x86_load(x, i->gva, 2, i->seg);
        fx_put(x, FX_CW, (uint16_t)((cw & 0x1f3f) | 0x40));
        x87_summary(x);
    } else if ((i->op == 0xd9 || i->op == 0xdd) && reg == 6) {
        environment_store(x, i, i->op == 0xdd);
    } else if ((i->op == 0xd9 || i->op == 0xdd) && reg == 4) {
        wait_pending(x);
        environment_load(x, i, i->op == 0xdd);
    } else {
        return false;
    }
    return true;
}

static bool control_register(struct x86 *x, const struct x87_insn *i)
{
    switch (i->op << 8 | i->modrm) {
    case 0xdbe0:
    case 0xdbe1:
    case 0xdbe4: return true; /* 8087 and 287 only: nothing */
    case 0xdbe2: fx_put(x, FX_SW, fx_get(x, FX_SW) & 0x7f00); return true;
    case 0xdbe3: x87_init(x); return true;
    case 0xdfe0: x->cpu.reg[X86_RAX] = (x->cpu.reg[X86_RAX] & ~0xffffull) | fx_get(x, FX_SW); return true;
    default: return false;
    }
}

/* ---- insns run by the host
 * ------------------------------------------------------------------------------------------------ */

/* FIP, FDP, FOP after an insn that is not a control insn. */
static void remember(struct x86 *x, const struct x87_insn *i)
{
    uint64_t offset = x->mode & MODE_64 ? i->gva : (uint32_t)(i->gva - x->cpu.reg[X86_BASE_ES + i->seg]);

    bytes_put(x->fx + FX_IP, x86_rip(x, cpu_insn_pc(&x->cpu)), 8);
    if (i->mem)
        bytes_put(x->fx + FX_DP, offset, 8);
    if (fx_get(x, FX_SW) & X87_SW_ES)
        fx_put(x, FX_OP, (uint16_t)((i->op & 7) << 8 | i->modrm));
}

/* A store runs on a copy: the store itself may still have to be tried again, from the state as it was. */
static void run_store(struct x86 *x, const struct x87_insn *i, const uint8_t code[2], unsigned bytes)
{
    uint8_t image[sizeof x->fx] __attribute__((aligned(64))), buf[16], untouched[16];

    sys_probe_operand(x, i->gva, bytes, i->seg);
    memcpy(image, x->fx, sizeof image);
    memset(buf, X87_UNTOUCHED, sizeof buf);
    memset(untouched, X87_UNTOUCHED, sizeof untouched);
    x87_native(x, image, code, 2, buf);
    bool suppressed = (bytes_get(image + FX_SW, 2) & X87_SW_ES) && !memcmp(buf, untouched, bytes);
    if (!suppressed)
        sys_write(x, i->gva, buf, bytes, i->seg);
    memcpy(x->fx, image, sizeof image);
}

static void run_memory(struct x86 *x, const struct x87_insn *i)
{
    unsigned reg = i->modrm >> 3 & 7;
    int bytes = operand_bytes[i->op & 7][reg];
    uint8_t code[2] = {i->op, (uint8_t)(reg << 3)}, buf[16];

    if (!bytes)
        x86_raise(x, EX_UD);
    wait_pending(x);
    if (bytes < 0) {
        run_store(x, i, code, (unsigned)-bytes);
        return;
    }
    x86_read_bytes(x, i->gva, buf, (unsigned)bytes, sys_tag(i->seg));
    x87_native(x, x->fx, code, 2, buf);
}

/* FCMOVcc: the condition comes from the guest's flags; the host tests its own CF, made to fit. */
static void run_fcmov(struct x86 *x, const struct x87_insn *i)
{
    static const uint32_t tested[4] = {FL_CF, FL_ZF, FL_CF | FL_ZF, FL_PF};
    bool moves = cpu_flags(&x->cpu) & tested[i->modrm >> 3 & 3];
    uint8_t code[3] = {0xf8, 0xda, (uint8_t)(0xc0 | (i->modrm & 7))};

    if (i->op == 0xdb)
        moves = !moves;
    if (moves)
        code[0] = 0xf9;
    x87_native(x, x->fx, code, 3, NULL);
}

/* F(U)COMI(P), then SETC, SETZ, SETP to the buffer.  An unmasked exception leaves EFLAGS alone. */
static void run_fcomi(struct x86 *x, const struct x87_insn *i)
{
    uint8_t code[13] = {i->op, i->modrm, 0x0f, 0x92, 0x00, 0x0f, 0x94, 0x40, 0x01, 0x0f, 0x9a, 0x40, 0x02};
    uint8_t buf[16] = {0};

    x87_native(x, x->fx, code, sizeof code, buf);
    if (!(fx_get(x, FX_SW) & X87_SW_ES))
        cpu_set_flags(&x->cpu, (buf[0] ? FL_CF : 0u) | (buf[1] ? FL_ZF : 0u) | (buf[2] ? FL_PF : 0u));
}

static void run_register(struct x86 *x, const struct x87_insn *i)
{
    unsigned group = i->modrm >> 3 & 7;
    uint8_t code[2] = {i->op, i->modrm};

    wait_pending(x);
    if ((i->op == 0xda || i->op == 0xdb) && group < 4)
        run_fcmov(x, i);
    else if ((i->op == 0xdb || i->op == 0xdf) && (group == 5 || group == 6))
        run_fcomi(x, i);
    else
        x87_native(x, x->fx, code, 2, NULL);
}

static void run(struct x86 *x, const struct x87_insn *i)
{
    help_sse_check(x, 1, 0, 0);
    if (i->mem ? control_memory(x, i) : control_register(x, i))
        return;
    if (i->mem)
        run_memory(x, i);
    else
        run_register(x, i);
    remember(x, i);
}

X86_HELP(help_x87)
{
    struct x87_insn i = {
        .op = (uint8_t)a,
        .modrm = (uint8_t)(a >> 8),
        .map = (uint8_t)(a >> 16),
        .prefix = (uint8_t)(a >> 24),
        .imm = (uint8_t)(a >> 32),
        .rex = (uint8_t)(a >> 40),
        .osize = (uint8_t)(a >> 48),
        .mem = (a >> 14 & 3) != 3,
        .gva = b,
        .seg = (enum x86_seg)(c >> 24 & 15),
    };

    x->count.x87++;
    x87_take(x);
    if (i.map)
        x87_mmx(x, &i);
    else
        run(x, &i);
    x87_give(x, c & 0xff);
    return 0;
}
