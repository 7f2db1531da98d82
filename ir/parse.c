/* ir/parse.c: text to ops, for tests and tools.  The form is described in ir.h.
 *
 * A line is split at blanks and commas into words; the first is the op's name with type and sub, "=" ends the
 * destinations, words that begin with ! ? or are lock, near, poll, tag=N, disp=N, pair=N are attributes, and the others fill
 * the operands by the op's letters. The parser accepts blocks that the verifier would reject: tests need them.
 */
#include "ir/text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LINE_MAX_CHARS = 256, WORDS_MAX = 24 };

struct parser {
    struct ir_block *b;
    int (*helper_number)(const char *);
    struct status *st;
    unsigned line;
};

static bool fail(struct parser *p, const char *what, const char *word)
{
    return status_set(p->st, "line %u: %s: \"%s\"", p->line, what, word);
}

static int find_word(const char *const *table, unsigned n, const char *word)
{
    for (unsigned i = 0; i < n; i++)
        if (strcasecmp(table[i], word) == 0)
            return (int)i;
    return -1;
}

static int find_op(const char *name)
{
    for (unsigned i = 0; i < IR_OP_COUNT; i++)
        if (strcasecmp(ir_shapes[i].name, name) == 0)
            return (int)i;
    return -1;
}

static bool parse_number(const char *s, int64_t *v)
{
    char *end;
    bool minus = *s == '-';
    if (minus)
        s++;
    if (*s < '0' || *s > '9')
        return false;
    uint64_t u = strtoull(s, &end, 0);
    *v = (int64_t)(minus ? -u : u);
    return *end == 0;
}

/* "paddb.y_u" or "paddb.y_u~1" */
static int find_row(char *s)
{
    char *tilde = strchr(s, '~'), *dot = strchr(s, '.');
    unsigned skip = 0;
    if (!dot)
        return -1;
    *dot = 0;
    if (tilde) {
        *tilde = 0;
        skip = (unsigned)atoi(tilde + 1);
    }
    int form = find_word(ir_text_form, VF_K_M + 1, dot + 1);
    for (unsigned i = 0; i < ir_vec_row_count; i++)
        if (ir_vec_rows[i].form == form && strcasecmp(ir_vec_rows[i].name, s) == 0 && skip-- == 0)
            return (int)i;
    return -1;
}

static bool parse_sub(struct parser *p, struct ir_op *o, char *s)
{
    int v = -1;
    int64_t n;
    switch (ir_text_sub(o->op)) {
    case IR_SUB_CC: v = find_word(ir_text_cc, 16, s); break;
    case IR_SUB_OP: v = find_op(s); break;
    case IR_SUB_TYPE: v = find_word(ir_text_types, IR_TYPE_COUNT, s); break;
    case IR_SUB_LEAVE: v = find_word(ir_text_leave, LEAVE_NEXT + 1, s); break;
    case IR_SUB_ROW:
        v = find_row(s);
        o->row = (uint16_t)v;
        return v >= 0 || fail(p, "no such row of vec.def", s);
    case IR_SUB_AVX: return ir_avx_parse(s, &o->avx) || fail(p, "not an encoding", s);
    case IR_SUB_NUMBER:
        if (parse_number(s, &n) && n >= 0 && n < 256)
            v = (int)n;
        break;
    }
    o->sub = (uint8_t)v;
    return v >= 0 || fail(p, "not a sub of this op", s);
}

/* "name[.type][.sub]" */
static bool parse_name(struct parser *p, char *word, struct ir_op **out)
{
    char *rest = strchr(word, '.');
    if (rest)
        *rest++ = 0;
    int op = find_op(word);
    if (op < 0)
        return fail(p, "no such op", word);
    struct ir_op *o = *out = ir_append(p->b, op, I8);
    if (rest) {
        char *sub = strchr(rest, '.');
        if (sub)
            *sub = 0;
        int type = find_word(ir_text_types, IR_TYPE_COUNT, rest);
        if (sub)
            *sub = '.';
        if (type >= 0) {
            o->type = (uint8_t)type;
            rest = sub ? sub + 1 : NULL;
        }
    }
    if (rest)
        return parse_sub(p, o, rest);
    return ir_text_sub(op) == IR_SUB_NUMBER || fail(p, "op without its sub", word);
}

static bool parse_ref(struct parser *p, const char *word, ir_ref *r)
{
    int64_t v;
    if (strcmp(word, "_") == 0)
        return *r = IR_NONE, true;
    if (!parse_number(word + 1, &v))
        return fail(p, "not an operand", word);
    if (*word == '#')
        return *r = ir_const(p->b, v), true;
    if (*word == 'r' && v >= 0 && v < IR_NREG)
        return *r = (ir_ref)v, true;
    if (*word == 'v' && v >= 0 && v < IR_NVEC)
        return *r = (ir_ref)(IR_VEC0 + v), true;
    if (*word == 'k' && v >= 0 && v < IR_NMASK)
        return *r = (ir_ref)(IR_MASK0 + v), true;
    if (*word != 't' || v < 0 || v >= IR_TEMP_MAX - IR_TEMP0)
        return fail(p, "not an operand", word);
    if (p->b->ntemps <= v)
        p->b->ntemps = (unsigned)v + 1;
    return *r = (ir_ref)(IR_TEMP0 + v), true;
}

static bool parse_imm(struct parser *p, struct ir_op *o, char letter, const char *word)
{
    static const char marks[] = {['I'] = '#', ['L'] = 'L', ['P'] = '@'};
    if (o->op == IR_CALL && *word != '#') {
        int n = p->helper_number ? p->helper_number(word) : -1;
        o->imm = n;
        return n >= 0 || fail(p, "no such helper", word);
    }
    if (*word != marks[(unsigned char)letter] || !parse_number(word + 1, &o->imm))
        return fail(p, "not an immediate of this op", word);
    if (letter == 'L') {
        if (o->imm < 0 || o->imm >= IR_LABEL_MAX)
            return fail(p, "no such label", word);
        if (p->b->nlabels <= (unsigned)o->imm)
            p->b->nlabels = (unsigned)o->imm + 1;
    }
    return true;
}

static bool parse_flags(struct parser *p, const char *letters, uint8_t *f)
{
    for (; *letters; letters++) {
        const char *at = strchr(ir_text_flags, *letters);
        if (!at)
            return fail(p, "not a flag", letters);
        *f |= ir_text_flag_bits[at - ir_text_flags];
    }
    return true;
}

/* *taken: the word was an attribute. */
static bool parse_attribute(struct parser *p, struct ir_op *o, const char *word, bool *taken)
{
    int64_t v;
    *taken = true;
    if (*word == '!')
        return parse_flags(p, word + 1, &o->setf);
    if (*word == '?')
        return parse_flags(p, word + 1, &o->livef);
    if (strcmp(word, "lock") == 0)
        return o->flags |= IR_LOCK, true;
    if (strcmp(word, "near") == 0)
        return o->flags |= IR_NEAR, true;
    if (strcmp(word, "poll") == 0)
        return o->flags |= IR_POLL, true;
    if (strncmp(word, "tag=", 4) == 0) {
        if (!parse_number(word + 4, &v) || v < 0 || v > 255)
            return fail(p, "not a tag", word);
        return o->tag = (uint8_t)v, true;
    }
    if (strncmp(word, "disp=", 5) == 0) {
        if (!parse_number(word + 5, &v) || v != (int16_t)v)
            return fail(p, "not a displacement", word);
        return o->disp = (int16_t)v, true;
    }
    if (strncmp(word, "pair=", 5) == 0) {
        if (!parse_number(word + 5, &v) || v < 0 || v > CPU_PAIRS)
            return fail(p, "not a pair", word);
        return o->pair = (uint8_t)v, true;
    }
    *taken = false;
    return true;
}

/* Fill operands from..to (letters s) with words; the immediate belongs to the sources. */
static bool parse_operands(struct parser *p, struct ir_op *o, unsigned from, unsigned to, char **word, unsigned nwords)
{
    const char *s = ir_operands(o);
    unsigned at = 0, n;
    for (n = from; n < to && at < nwords; n++) {
        if (s[n] == '.')
            continue;
        if (n == IR_FIELDS ? !parse_imm(p, o, s[n], word[at]) : !parse_ref(p, word[at], ir_field(o, n)))
            return false;
        at++;
    }
    if (to > IR_FIELDS && s[IR_FIELDS] != '.' && n < to)
        return fail(p, "op without its immediate", ir_shapes[o->op].name);
    return at == nwords || fail(p, "too many operands", word[at]);
}

static bool parse_line(struct parser *p, char *line)
{
    char *word[WORDS_MAX], *save = NULL;
    unsigned n = 0, dests = 0;
    bool has_dests = false, taken;
    struct ir_op *o = NULL;
    line[strcspn(line, ";")] = 0;
    for (char *w = strtok_r(line, " \t,\r", &save); w; w = strtok_r(NULL, " \t,\r", &save)) {
        if (!o) {
            if (!parse_name(p, w, &o))
                return false;
            continue;
        }
        if (strcmp(w, "=") == 0) {
            has_dests = true;
            dests = n;
            continue;
        }
        if (!parse_attribute(p, o, w, &taken))
            return false;
        if (taken)
            continue;
        if (n == WORDS_MAX)
            return fail(p, "too many operands", w);
        word[n++] = w;
    }
    if (!o)
        return true;
    if (has_dests && !parse_operands(p, o, IR_D, IR_A, word, dests))
        return false;
    p->b->ninsns += o->op == IR_INSN;
    return parse_operands(p, o, IR_A, IR_FIELDS + 1, word + dests, n - dests);
}

bool ir_parse(struct ir_block *b, const char *text, int (*helper_number)(const char *), struct status *st)
{
    struct parser p = {b, helper_number, st, 0};
    char line[LINE_MAX_CHARS];
    while (*text) {
        size_t n = strcspn(text, "\n");
        p.line++;
        if (n >= sizeof line)
            return status_set(st, "line %u: too long", p.line);
        memcpy(line, text, n);
        line[n] = 0;
        text += n + (text[n] != 0);
        if (!parse_line(&p, line))
            return false;
    }
    return !b->full || status_set(st, "line %u: the block is too small for this text", p.line);
}
