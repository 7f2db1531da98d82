/* ir/verify.c: is a block well-formed?  Run by tests after every lift and pass, and on demand in the product.
 *
 * Two halves.  check_op looks at one op: operand classes, type, sub, immediate, setf.  check_flow walks the block
 * once in order and follows every path at the same time (branches only go forward, so what is known at a label is
 * merged before the label is met):
 *   - temps are written, wide enough, before they are read, and not across a LABEL;
 *   - labels are placed once, ahead of their branches; after a terminal op comes a LABEL or the end; the end is a
 *     terminal op;
 *   - precise faults: on no path does an op that may fault follow, in the same insn, an op that wrote guest state.
 *
 * Precise faults, exactly.  Guest state is guest, vector and mask registers, F (an op whose setf is not 0), and fields of struct cpu other than its scratch.  "The same insn" is: since the last INSN marker on the
 * path; a lifter that commits an iteration of a repeated insn places the marker again.  An op's own results do not
 * count against it: it writes them after its fault.  CALL is exempt as the op that may fault (a helper raises its
 * faults before it changes anything, which cannot be seen here) and as the op that writes.  Stores to guest memory
 * are not state here: on real processors too they stay when a later part of the insn faults; where they must not, the
 * lifter uses PROBE, and that cannot be checked.
 */
#include "ir/text.h"

#include <string.h>

/* What is known where control may be. */
struct path {
    bool reached, wrote;
    int64_t insn; /* offset of the insn it is in; NO_INSN: before the first one */
};
enum { NO_INSN = INT32_MIN, MIXED = INT32_MIN + 1 }; /* MIXED: depends on how control came here */

struct verifier {
    const struct ir_block *b;
    const struct ir_op *o;
    struct status *st;
    struct path now, at_label[IR_LABEL_MAX];
    bool placed[IR_LABEL_MAX];
    unsigned slots;                              /* link slots seen */
    int64_t last_insn;                           /* of the last marker in the text: what hosts use */
    unsigned section;                            /* counts LABELs, from 1 */
    uint16_t section_of[IR_TEMP_MAX - IR_TEMP0]; /* where the temp was last written */
    uint8_t bits_of[IR_TEMP_MAX - IR_TEMP0];     /* low bits that have a value */
};

static bool bad(struct verifier *v, const char *what)
{
    const char *name = v->o->op < IR_OP_COUNT ? ir_shapes[v->o->op].name : "?";
    return status_set(v->st, "op %u (%s): %s", (unsigned)(v->o - v->b->op), name, what);
}

/* ---- one op ------------------------------------------------------------------------------------------------ */

static bool legal_ref(const struct verifier *v, char letter, ir_ref r)
{
    bool reg = r == IR_NONE ? false : ir_is_reg(r), temp = ir_is_temp(r) && r - IR_TEMP0 < (int)v->b->ntemps;
    bool constant = ir_is_const(r) && r - IR_CONST0 < (int)v->b->nconsts;
    switch (letter) {
    case 'R':
    case 'X':
    case 'T': return reg || temp;
    case 'V':
    case 'A': return reg || temp || constant;
    case 'W':
    case 'Y':
    case 'U': return ir_is_vec(r);
    case 'D':
    case 'S': return reg || ir_is_vec(r) || ir_is_mask(r);
    default: return r == IR_NONE;
    }
}

/* May field n of o be absent though its letter names an operand? */
static bool may_be_absent(const struct ir_op *o, unsigned n)
{
    switch (o->op) {
    case IR_LEA: return n == IR_A || n == IR_B;
    case IR_AVX: return n == IR_C && ir_avx_forms[o->avx.form].c == IR_AT_LAST;
    case IR_CALL: return n != IR_E;
    case IR_UMUL:
    case IR_SMUL:
    case IR_UDIV:
    case IR_SDIV: return o->type == I8 && (n == IR_E || (n == IR_B && o->op >= IR_UDIV));
    case IR_RMW:
        return n == IR_C ||
               (n == IR_B && (o->sub == IR_NOT || o->sub == IR_NEG || o->sub == IR_INC || o->sub == IR_DEC));
    default: return false;
    }
}

static bool must_be_absent(const struct ir_op *o, unsigned n)
{
    if (o->op == IR_RMW)
        return n == IR_C ? o->sub != IR_SHLD && o->sub != IR_SHRD : n == IR_B && may_be_absent(o, n);
    return o->op != IR_LEA && o->op != IR_CALL && o->op != IR_AVX && may_be_absent(o, n);
}

static bool check_operands(struct verifier *v)
{
    const struct ir_op *o = v->o;
    const char *s = ir_operands(o);
    for (unsigned n = IR_D; n < IR_FIELDS; n++) {
        ir_ref r = ir_get(o, n);
        if (r == IR_NONE ? s[n] != '.' && !may_be_absent(o, n) : must_be_absent(o, n))
            return bad(v, "an operand is missing or one too many");
        if (r != IR_NONE && !legal_ref(v, s[n], r))
            return bad(v, "an operand of the wrong class, or a temp or constant out of range");
    }
    if (s[IR_E] == 'R' && o->e == o->d)
        return bad(v, "both results go to one place");
    return true;
}

static bool legal_type(const struct ir_op *o)
{
    switch (o->op) {
    case IR_LEA:
    case IR_PDEP:
    case IR_PEXT:
    case IR_BSWAP: return o->type >= I32;
    case IR_SX32: return o->type == I64;
    case IR_ZX16:
    case IR_SX16: return o->type >= I32;
    case IR_ZX8:
    case IR_SX8:
    case IR_SHLD:
    case IR_SHRD:
    case IR_MUL:
    case IR_BT:
    case IR_BTS:
    case IR_BTR:
    case IR_BTC:
    case IR_BSF:
    case IR_BSR:
    case IR_TZCNT:
    case IR_LZCNT:
    case IR_POPCNT:
    case IR_CMOV: return o->type >= I16;
    case IR_LDS: return o->sub <= I64 && o->type < o->sub;
    case IR_RMW: return o->type >= I16 || o->sub < IR_SHLD || o->sub > IR_BTC;
    default: return true;
    }
}

static bool legal_rmw(const struct ir_op *o)
{
    switch (o->sub) {
    case IR_ADD:
    case IR_SUB:
    case IR_ADC:
    case IR_SBB:
    case IR_AND:
    case IR_OR:
    case IR_XOR:
    case IR_NOT:
    case IR_NEG:
    case IR_INC:
    case IR_DEC:
    case IR_BTS:
    case IR_BTR:
    case IR_BTC: return true;
    default: return ir_is_shift(o->sub) && !(o->flags & IR_LOCK);
    }
}

static bool legal_sub(struct verifier *v)
{
    const struct ir_op *o = v->o;
    switch (ir_text_sub(o->op)) {
    case IR_SUB_CC: return o->sub < 16;
    case IR_SUB_OP: return legal_rmw(o);
    case IR_SUB_TYPE: return o->sub <= I64;
    case IR_SUB_LEAVE: return o->sub <= LEAVE_NEXT;
    default: break;
    }
    switch (o->op) {
    case IR_INSN: return o->sub <= 15;
    case IR_LEA: return o->sub <= 3;
    case IR_GOTO: return o->sub <= 1;
    case IR_X87: return o->sub < X87_FORMS;
    case IR_SETF: return o->sub <= IRF_ALL && ir_f_to_x86(o->sub) == o->imm;
    default: return o->sub == 0;
    }
}

static bool check_flags(struct verifier *v)
{
    const struct ir_op *o = v->o;
    unsigned lockable = o->op == IR_RMW || o->op == IR_XADD || o->op == IR_XCHG || o->op == IR_CMPXCHG;
    if (o->setf & ~ir_writes_f(o))
        return bad(v, "setf has flags that the op does not write");
    bool memory = ir_effects(o) & (IRE_READS | IRE_WRITES);
    unsigned may =
        (lockable ? IR_LOCK : 0u) | (o->op == IR_GOTO || o->op == IR_GOTOCC ? IR_POLL : 0u) | (memory ? IR_NEAR : 0u);
    if (o->flags & ~(may | (o->share ? IR_FIRST : 0u)))
        return bad(v, "lock, near, poll or first on an op that knows it not");
    bool disp = o->op == IR_GOTOCC || (memory && ir_takes_disp(o->op, o->sub, o->flags));
    if (o->share > IR_SHARES || (o->share && !memory) || ((o->share || o->disp) && !disp))
        return bad(v, "share or disp on an op that knows it not");
    return true;
}

/* Fields that an LDF or STF must leave alone: what generated code keeps in host registers. */
static bool legal_field(const struct ir_op *o)
{
    int64_t from = o->imm, to = o->imm + (1 << o->type);
    if (from < 0)
        return false;
    bool regs = from < (int64_t)(offsetof(struct cpu, reg) + sizeof((struct cpu *)0)->reg) &&
                to > (int64_t)offsetof(struct cpu, reg);
    bool vecs = from < (int64_t)(offsetof(struct cpu, mask) + sizeof((struct cpu *)0)->mask) &&
                to > (int64_t)offsetof(struct cpu, vec);
    bool cc = from < (int64_t)offsetof(struct cpu, f_maker) + 4 && to > (int64_t)offsetof(struct cpu, cc);
    return !regs && !vecs && !cc;
}

/* Registers that a row's encoding implies stand in the op as well. */
static bool legal_implied(const struct ir_op *o)
{
    switch (o->op == IR_VEC ? ir_vec_rows[o->row].form : VF_Y) {
    case VF_Y_U0:
    case VF_Y_M0: return o->b == IR_VEC0;
    case VF_I_U:
    case VF_I_M: return o->d == IR_REG0 + 1 && o->e == IR_REG0 && o->c == IR_REG0 + 2;
    case VF_K_U:
    case VF_K_M: return o->d == IR_VEC0 && o->e == IR_REG0 && o->c == IR_REG0 + 2;
    default: return true;
    }
}

static bool check_values(struct verifier *v)
{
    const struct ir_op *o = v->o;
    if (!legal_implied(o))
        return bad(v, "another register than the row's encoding implies");
    unsigned opcode = o->op == IR_RMW ? o->sub : o->op;
    if (ir_is_shift(opcode)) {
        ir_ref count = opcode >= IR_SHLD ? o->c : o->b;
        if (ir_is_const(count) && (ir_const_value(v->b, count) & ir_count_mask(o->type)) == 0)
            return bad(v, "a constant count of zero (masked): not a shift");
    }
    if (o->op == IR_LEA && o->imm != (int32_t)o->imm)
        return bad(v, "displacement beyond 32 bits");
    if (o->op == IR_X87 && (o->sub == X87_READ || o->sub == X87_WRITE) != (ir_x87_byte(o, IR_X87_BYTES) != 0))
        return bad(v, "bytes of memory without an address, or an address without them");
    if (o->op == IR_PROBE && (o->imm < 1 || o->imm > 64))
        return bad(v, "probe of no or too many bytes");
    if ((o->op == IR_LDF || o->op == IR_STF) && !legal_field(o))
        return bad(v, "the field is one that generated code keeps elsewhere (registers, F)");
    if (o->op == IR_LDC && !o->imm)
        return bad(v, "code at no address");
    unsigned slots = o->op == IR_GOTO ? 1u << o->sub : o->op == IR_GOTOCC ? 3 : 0;
    if (v->slots & slots)
        return bad(v, "link slot used twice");
    v->slots |= slots;
    return true;
}

static bool legal_avx(const struct ir_avx *x)
{
    if (x->form >= IR_AVX_FORM_COUNT)
        return false;
    bool mem = ir_avx_forms[x->form].operands[IR_A] == 'A';
    return x->map && mem == (x->msize != 0) && (mem || !x->select) && x->msize <= 64;
}

static bool check_op(struct verifier *v)
{
    const struct ir_op *o = v->o;
    if (o->op >= IR_OP_COUNT || o->type >= IR_TYPE_COUNT || (o->op == IR_VEC && o->row >= ir_vec_row_count) ||
        (o->op == IR_AVX && !legal_avx(&o->avx)))
        return bad(v, "no such op, type or row");
    if (!legal_sub(v))
        return bad(v, "illegal sub");
    if (!legal_type(o))
        return bad(v, "illegal type");
    return check_operands(v) && check_flags(v) && check_values(v);
}

/* ---- flow -------------------------------------------------------------------------------------------------- */

static void join(struct path *p, const struct path *from)
{
    if (!p->reached) {
        *p = *from;
        return;
    }
    p->wrote |= from->wrote;
    if (p->insn != from->insn)
        p->insn = MIXED;
}

static bool check_label(struct verifier *v)
{
    const struct ir_op *o = v->o;
    if (o->imm < 0 || o->imm >= (int64_t)v->b->nlabels || o->imm >= IR_LABEL_MAX)
        return bad(v, "label number out of range");
    if (v->placed[o->imm])
        return bad(v, o->op == IR_LABEL ? "label placed twice" : "branch to a label behind");
    if (o->op != IR_LABEL) {
        join(&v->at_label[o->imm], &v->now);
        return true;
    }
    v->placed[o->imm] = true;
    v->section++;
    if (v->at_label[o->imm].reached) {
        if (v->now.reached)
            join(&v->at_label[o->imm], &v->now);
        v->now = v->at_label[o->imm];
    }
    return v->now.reached || bad(v, "nothing leads here");
}

static bool check_reads(struct verifier *v)
{
    const struct ir_op *o = v->o;
    const char *s = ir_operands(o);
    for (unsigned n = IR_D; n < IR_FIELDS; n++) {
        ir_ref r = ir_get(o, n);
        if (!ir_is_temp(r) || s[n] == 'R')
            continue;
        if (v->section_of[r - IR_TEMP0] != v->section)
            return bad(v, "a temp is read that was not written since the last label");
        if (v->bits_of[r - IR_TEMP0] < ir_read_bits(o, n))
            return bad(v, "a temp is read wider than it was written");
    }
    return true;
}

/* Take note of o's results; true if they are guest state. */
static bool note_writes(struct verifier *v)
{
    const struct ir_op *o = v->o;
    const char *s = ir_operands(o);
    bool state = o->setf != 0;
    if (o->op == IR_STF)
        state = o->imm < (int64_t)offsetof(struct cpu, scratch) ||
                o->imm >= (int64_t)(offsetof(struct cpu, scratch) + sizeof((struct cpu *)0)->scratch);
    for (unsigned n = IR_D; n <= IR_E; n++) {
        ir_ref r = ir_get(o, n);
        if (s[n] == '.' || r == IR_NONE)
            continue;
        if (!ir_is_temp(r)) {
            state = true;
            continue;
        }
        unsigned bits = ir_write_bits(o, n), t = r - IR_TEMP0;
        if (v->section_of[t] != v->section || v->bits_of[t] < bits)
            v->bits_of[t] = (uint8_t)bits;
        v->section_of[t] = (uint16_t)v->section;
    }
    return state && o->op != IR_CALL;
}

static bool check_faults(struct verifier *v, unsigned effects)
{
    if (!(effects & (IRE_FAULTS | IRE_CALLS)))
        return true;
    if (v->now.insn != v->last_insn)
        return bad(v, "which insn this belongs to depends on the path: place INSN after the label");
    if (effects & IRE_FAULTS && v->now.wrote)
        return bad(v, "may fault after its insn wrote guest state");
    return true;
}

static bool check_flow(struct verifier *v)
{
    const struct ir_op *o = v->o;
    unsigned effects = ir_effects(o);
    if (!v->now.reached && o->op != IR_LABEL)
        return bad(v, "nothing leads here: after the end of a path only a label may follow");
    if (o->op == IR_INSN) {
        v->now = (struct path){.reached = true, .insn = o->imm};
        v->last_insn = o->imm;
    }
    if (!check_reads(v) || !check_faults(v, effects))
        return false;
    if ((o->op == IR_LABEL || o->op == IR_BRCC || o->op == IR_BRZ || o->op == IR_BRNZ) && !check_label(v))
        return false;
    if (note_writes(v))
        v->now.wrote = true;
    if (effects & IRE_ENDS)
        v->now.reached = false;
    return true;
}

static bool check_labels_placed(struct verifier *v)
{
    for (unsigned i = 0; i < v->b->nlabels; i++)
        if (v->at_label[i].reached && !v->placed[i])
            return status_set(v->st, "label L%u is never placed", i);
    return true;
}

bool ir_verify(const struct ir_block *b, struct status *st)
{
    struct verifier v;
    memset(&v, 0, sizeof v);
    v.b = b;
    v.st = st;
    v.now = (struct path){.reached = true, .insn = NO_INSN};
    v.last_insn = NO_INSN;
    v.section = 1;
    if (b->full)
        return status_set(st, "the block is full, and void");
    if (b->nops == 0 || b->nlabels > IR_LABEL_MAX || b->ntemps > IR_TEMP_MAX - IR_TEMP0)
        return status_set(st, "no ops, or too many labels or temps");
    for (v.o = b->op; v.o < b->op + b->nops; v.o++)
        if (!check_op(&v) || !check_flow(&v))
            return false;
    if (v.now.reached)
        return status_set(st, "the block runs off its end");
    return check_labels_placed(&v);
}
