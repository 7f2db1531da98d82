/* guest/x86/lift.c: the block driver: decode an insn, ask whether it may run here, lift it, and decide where the
 * block ends.
 *
 * A block ends at an insn that jumps or changes the mode, at the caller's limit, or at the end of the page.  Only a
 * block of one insn runs into a second page: an insn that crosses is left for a block of its own.
 *
 * Rules to know before editing
 *   - Checks go in the order the processor makes them (SDM vol. 3, 6.9): length and fetch, #UD, #NM, then #GP by
 *     privilege.
 *   - What the mode can tell is decided here and costs nothing at run time.  What cannot be told (the limit of CS, see
 *     CS_CHECK) is one helper call at the block's start, only in modes where segments are not flat.
 *   - Translations of a block are shared by every address it is mapped at: only page offsets may enter the IR.
 */
#include "guest/x86/lift_int.h"

#include <string.h>

static x86_lift_fn *const lifters[] = {
#define X86_LIFT(name) lift_##name,
#include "guest/x86/lift.def"
};

static const char *const helper_names[X86_HELPER_COUNT] = {
#define X86_HELPER(NAME, fn, doc) #NAME,
#include "guest/x86/helpers.def"
};

const char *x86_helper_name(unsigned n)
{
    return n < X86_HELPER_COUNT ? helper_names[n] : NULL;
}

int x86_helper_number(const char *name)
{
    for (unsigned n = 0; n < X86_HELPER_COUNT; n++)
        if (strcmp(name, helper_names[n]) == 0)
            return (int)n;
    return -1;
}

/* ---- one insn --------------------------------------------------------------------------------------------------- */

/* LIFT_none: counted, then #UD; the guest sees a processor without the insn. */
void lift_none(struct x86_lift *l, const struct x86_insn *i)
{
    ops_call_const(l, HELPER_UNLIFTED, x86_row_index(i->row), 0, 0);
    ops_leave(l, LEAVE_NEXT, l->off);
}

bool lift_has_feature(const struct x86_lift *l, unsigned feature)
{
    return feature == 0 || l->features == NULL || (l->features[feature / 32] >> (feature % 32) & 1);
}

/* TZCNT, LZCNT and WBNOINVD are BSF, BSR and WBINVD with an ignored prefix on processors without them. */
static bool falls_back(const struct x86_insn *i)
{
    return i->map == 1 && (i->opcode == 0xbc || i->opcode == 0xbd || i->opcode == 0x09);
}

/* What rows must not ask for in this mode. */
static uint32_t denied(uint32_t mode)
{
    bool v8086_or_real = !(mode & MODE_PROT) || (mode & MODE_VM86);
    return (v8086_or_real ? ATTR_PROT : 0u) | (mode & MODE_CPL ? ATTR_CPL0 : 0u);
}

static void lift_insn(struct x86_lift *l, const struct x86_insn *i)
{
    const struct x86_row *r = i->row;
    uint32_t denied = r->attr & l->denied;

    l->insn = i;
    l->lacks = !lift_has_feature(l, r->feature);
    if ((denied & ATTR_PROT) || (l->lacks && !falls_back(i)))
        ops_raise(l, EX_UD);
    else if (denied)
        ops_raise(l, EX_GP);
    else
        lifters[r->lift](l, i);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------ */

enum { INSN_MAX = 15 };

struct reader {
    const struct x86_source *src;
    enum x86_bits bits;
    unsigned pos; /* bytes used so far */
    bool second;
};

static enum x86_bits mode_to_bits(uint32_t mode)
{
    return mode & MODE_64 ? X86_64 : mode & MODE_CS32 ? X86_32 : X86_16;
}

/* The insn at r->pos, with bytes of the next page if it needs them.  X86_MORE: that page cannot be fetched. */
static enum x86_status read_across(struct reader *r, struct x86_insn *i)
{
    uint8_t bytes[2 * INSN_MAX];
    unsigned have = r->src->nbytes - r->pos;

    have = have < INSN_MAX ? have : INSN_MAX;
    const uint8_t *next = r->src->next_page ? r->src->next_page(r->src->arg) : NULL;
    if (next == NULL)
        return X86_MORE;
    memcpy(bytes, r->src->bytes + r->pos, have);
    memcpy(bytes + have, next, INSN_MAX);
    r->second = true;
    return x86_decode(r->bits, bytes, have + INSN_MAX, i);
}

static enum x86_status read_insn(struct reader *r, bool first, struct x86_insn *i)
{
    unsigned have = r->src->nbytes - r->pos;
    enum x86_status s = have ? x86_decode(r->bits, r->src->bytes + r->pos, have, i) : X86_MORE;

    return s == X86_MORE && first ? read_across(r, i) : s;
}

/* ---- live operands (code/chart.c) ------------------------------------------------------------------------------- */

/* How many of the page's bytes from `from` to before `to` are. */
static unsigned count_live(const struct x86_live *live, unsigned from, unsigned to)
{
    unsigned n = 0;
    for (; from < to; from++)
        n += __atomic_load_n(&live->bits[from / 64], __ATOMIC_RELAXED) >> from % 64 & 1;
    return n;
}

/* The bytes of its immediate, if that is what the insn ends with and its lifter takes it by ops_read only; else 0. */
static unsigned live_bytes(const struct x86_insn *i)
{
    static const uint16_t lifters_that_may[] = {LIFT_mov, LIFT_alu, LIFT_test, LIFT_imul2, LIFT_push};
    const struct x86_operand *last = i->noperands ? &i->op[i->noperands - 1] : NULL;
    for (unsigned n = 0; last && n < ARRAY_LEN(lifters_that_may); n++)
        if (i->row->lift == lifters_that_may[n] && last->kind == OPERAND_IMM && last->bytes < i->length)
            return last->bytes;
    return 0;
}

static void live_refuse(struct x86_live *live, unsigned from, unsigned to)
{
    live->refused_from = live->refused++ && live->refused_from < from ? live->refused_from : from;
    live->refused_to = live->refused_to > to ? live->refused_to : to;
}

/* Before the insn is lifted; the block lies on one page. */
static void live_begin(struct x86_lift *l, const struct reader *r, bool ok, const struct x86_insn *i)
{
    struct x86_live *live = r->src->live;
    unsigned off = (unsigned)l->off, end = (unsigned)l->next, from = ok ? end - live_bytes(i) : end;
    unsigned n = count_live(live, off, end);
    if (!n)
        return;
    if (count_live(live, off, from)) {
        live_refuse(live, off, end);
        return;
    }
    l->live = r->src->bytes + r->pos + (from - off);
    live->operands++;
    if (n < end - from) {
        live->partly_from = from;
        live->partly_to = end;
    }
}

/* The lifter did not ask for it. */
static void live_end(struct x86_lift *l, struct x86_live *live)
{
    live_refuse(live, (unsigned)l->off, (unsigned)l->next);
    live->operands--;
    if (live->partly_to == (unsigned)l->next)
        live->partly_to = 0;
    l->live = NULL;
}

/* ---- the block -------------------------------------------------------------------------------------------------- */

static void begin_insn(struct x86_lift *l, unsigned length)
{
    struct ir_op *o = ir_append(l->b, IR_INSN, I64);
    o->imm = l->off;
    o->sub = (uint8_t)length;
    l->b->ninsns++;
    l->next = l->off + length;
}

/* Returns the index of the CS_CHECK call, whose size is not known yet. */
static unsigned begin_cs_check(struct x86_lift *l)
{
    unsigned at = l->b->nops;
    ops_call_const(l, HELPER_CS_CHECK, l->off, 0, l->one_insn);
    return at;
}

static void lift_bad(struct x86_lift *l, enum x86_status s)
{
    ops_raise(l, s == X86_LONG ? EX_GP : EX_UD);
}

static void lift_one(struct x86_lift *l, enum x86_status s, const struct x86_insn *i)
{
    unsigned from = l->b->nops;
    l->shadowed = l->last;
    l->in_c = s == X86_OK && lift_lacks_unit(l, i);
    if (s == X86_OK)
        lift_insn(l, i);
    else
        lift_bad(l, s);
    if (l->in_c)
        lift_generic(l, from);
    if (l->shadowed && !l->ended) {
        l->last = 0;
        ops_goto(l, 0, l->next, true);
    }
}

static void tell_shadow(struct x86_lift *l, unsigned shadow)
{
    if (!shadow)
        return;
    struct ir_op *o = ir_append(l->b, IR_STF, I8);
    o->a = ops_const(l, (int64_t)shadow);
    o->imm = offsetof(struct x86, shadow);
}

void ops_keep_shadow(struct x86_lift *l)
{
    tell_shadow(l, l->shadowed);
}

/* The block ends before the insn at l->next.  If that is the one in the shadow of STI or MOV SS, the loop must know. */
static void end_block(struct x86_lift *l)
{
    tell_shadow(l, l->last);
    ops_goto(l, 0, l->next, l->last != 0);
}

enum x86_lift_result x86_lift_block(struct ir_block *b, uint32_t mode, const uint32_t *features,
                                    const uint32_t *generic, int64_t off, const struct x86_source *src,
                                    unsigned max_insns, bool one_insn, bool *second)
{
    struct x86_lift l = {.b = b,
                         .mode = mode,
                         .denied = denied(mode),
                         .features = features,
                         .generic = generic,
                         .off = off,
                         .next = off,
                         .page = src->pc - (uint64_t)off,
                         .one_insn = one_insn};
    struct reader r = {.src = src, .bits = mode_to_bits(mode)};
    bool check = !mode_flat(&l);
    unsigned check_at = 0;
    struct x86_insn i;

    b->guest_off = off;
    while (!l.ended) {
        bool first = r.pos == 0;
        enum x86_status s = read_insn(&r, first, &i);
        if (s == X86_MORE && first)
            return X86_LIFT_FETCH;
        if (s == X86_MORE) {
            l.next = l.off;
            end_block(&l);
            break;
        }
        begin_insn(&l, s == X86_LONG ? INSN_MAX : i.length);
        if (first && check)
            check_at = begin_cs_check(&l);
        if (r.second)
            ir_append(b, IR_XPAGE, I64); /* the caller, who knows the page, puts its number in */
        if (src->live && !r.second)
            live_begin(&l, &r, s == X86_OK, &i);
        lift_one(&l, s, &i);
        if (l.live)
            live_end(&l, src->live);
        r.pos += (unsigned)(l.next - l.off);
        l.off = l.next;
        if (!l.ended && (one_insn || b->ninsns >= max_insns || r.pos >= src->nbytes))
            end_block(&l);
        if (b->full)
            return X86_LIFT_FULL;
    }
    b->guest_size = r.pos;
    if (check)
        b->op[check_at].b = ir_const(b, (int64_t)r.pos);
    *second = r.second;
    return b->full ? X86_LIFT_FULL : X86_LIFT_OK;
}
