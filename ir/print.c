/* ir/print.c: ops as text.  The form is described in ir.h; parse.c reads it back to the same block.
 *
 * Nothing here knows single ops beyond how their `sub` is written: operands are walked by their letters.
 */
#include "ir/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

const char *const ir_text_types[IR_TYPE_COUNT] = {"i8", "i16", "i32", "i64"};
const char *const ir_text_cc[16] = {
    "o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g",
};
const char *const ir_text_leave[LEAVE_NEXT + 1] = {
    [LEAVE_LINK] = "link", [LEAVE_LOOKUP] = "lookup", [LEAVE_KICK] = "kick", [LEAVE_FAULT] = "fault",
    [LEAVE_HALT] = "halt", [LEAVE_AGAIN] = "again",   [LEAVE_NEXT] = "next",
};
const char *const ir_text_form[VF_K_M + 1] = {
    [VF_W_U] = "w_u",   [VF_W_M] = "w_m",   [VF_Y_U] = "y_u", [VF_Y_M] = "y_m", [VF_M_U] = "m_u", [VF_R_U] = "r_u",
    [VF_R_M] = "r_m",   [VF_W_R] = "w_r",   [VF_Y_R] = "y_r", [VF_F_U] = "f_u", [VF_F_M] = "f_m", [VF_Y] = "y",
    [VF_Y_U0] = "y_u0", [VF_Y_M0] = "y_m0", [VF_I_U] = "i_u", [VF_I_M] = "i_m", [VF_K_U] = "k_u", [VF_K_M] = "k_m",
};
const char ir_text_flags[7] = "CZSOAP";
const uint8_t ir_text_flag_bits[6] = {IRF_CF, IRF_ZF, IRF_SF, IRF_OF, IRF_AF, IRF_PF};

enum ir_text_sub ir_text_sub(unsigned opcode)
{
    switch (opcode) {
    case IR_CMOV:
    case IR_SETCC:
    case IR_BRCC:
    case IR_GOTOCC: return IR_SUB_CC;
    case IR_RMW: return IR_SUB_OP;
    case IR_LDS: return IR_SUB_TYPE;
    case IR_LEAVE:
    case IR_LEAVEI: return IR_SUB_LEAVE;
    case IR_VEC: return IR_SUB_ROW;
    case IR_AVX: return IR_SUB_AVX;
    default: return IR_SUB_NUMBER;
    }
}

bool ir_text_typeless(unsigned opcode)
{
    const char *s = ir_shapes[opcode].operands;
    return opcode == IR_VEC || opcode == IR_AVX || opcode == IR_X87 || strspn(s, ".ILP") == strlen(s);
}

static void print_lower(FILE *out, const char *s)
{
    while (*s)
        fputc(tolower((unsigned char)*s++), out);
}

static void print_row(FILE *out, unsigned row)
{
    const struct ir_vec_row *r = &ir_vec_rows[row];
    unsigned before = 0;
    for (unsigned i = 0; i < row; i++)
        before += ir_vec_rows[i].form == r->form && strcasecmp(ir_vec_rows[i].name, r->name) == 0;
    fputc('.', out);
    print_lower(out, r->name);
    fprintf(out, ".%s", ir_text_form[r->form]);
    if (before)
        fprintf(out, "~%u", before);
}

static void print_name(FILE *out, const struct ir_op *o)
{
    print_lower(out, ir_shapes[o->op].name);
    if (!ir_text_typeless(o->op) || o->type != I8)
        fprintf(out, ".%s", ir_text_types[o->type & 3]);
    switch (ir_text_sub(o->op)) {
    case IR_SUB_CC: fprintf(out, ".%s", ir_text_cc[o->sub & 15]); break;
    case IR_SUB_TYPE: fprintf(out, ".%s", ir_text_types[o->sub & 3]); break;
    case IR_SUB_LEAVE: fprintf(out, ".%s", o->sub <= LEAVE_NEXT ? ir_text_leave[o->sub] : "?"); break;
    case IR_SUB_ROW: print_row(out, o->row); break;
    case IR_SUB_AVX:
        fputc('.', out);
        ir_avx_print(out, &o->avx);
        break;
    case IR_SUB_OP:
        fputc('.', out);
        print_lower(out, o->sub < IR_OP_COUNT ? ir_shapes[o->sub].name : "?");
        break;
    case IR_SUB_NUMBER:
        if (o->sub)
            fprintf(out, ".%u", o->sub);
        break;
    }
}

static void print_number(FILE *out, char mark, int64_t v)
{
    if (v < 0)
        fprintf(out, "%c-0x%" PRIx64, mark, -(uint64_t)v);
    else
        fprintf(out, "%c0x%" PRIx64, mark, (uint64_t)v);
}

static void print_ref(FILE *out, const struct ir_block *b, ir_ref r)
{
    if (r == IR_NONE)
        fputc('_', out);
    else if (ir_is_const(r))
        print_number(out, '#', ir_const_value(b, r));
    else if (ir_is_temp(r))
        fprintf(out, "t%u", r - IR_TEMP0);
    else if (ir_is_vec(r))
        fprintf(out, "v%u", r - IR_VEC0);
    else if (ir_is_mask(r))
        fprintf(out, "k%u", r - IR_MASK0);
    else
        fprintf(out, "r%u", r);
}

static void print_imm(FILE *out, const struct ir_op *o, char letter, const char *(*helper_name)(unsigned))
{
    const char *name = o->op == IR_CALL && helper_name ? helper_name((unsigned)o->imm) : NULL;
    if (letter == 'L')
        fprintf(out, "L%" PRId64, o->imm);
    else if (name)
        fputs(name, out);
    else
        print_number(out, letter == 'P' ? '@' : '#', o->imm);
}

static void print_operands(FILE *out, const struct ir_block *b, const struct ir_op *o,
                           const char *(*helper_name)(unsigned))
{
    const char *s = ir_operands(o);
    const char *between = " ";
    for (unsigned n = IR_D; n <= IR_E; n++) {
        if (s[n] == '.' || (n == IR_E && o->e == IR_NONE))
            continue;
        fputs(between, out);
        print_ref(out, b, ir_get(o, n));
        between = ", ";
    }
    if (s[IR_D] != '.' || s[IR_E] != '.')
        fputs(" =", out);
    unsigned end = IR_FIELDS; /* absent ones at the end are left out */
    while (s[IR_FIELDS] == '.' && end > IR_A && (s[end - 1] == '.' || ir_get(o, end - 1) == IR_NONE))
        end--;
    between = " ";
    for (unsigned n = IR_A; n < end; n++) {
        if (s[n] == '.')
            continue;
        fputs(between, out);
        print_ref(out, b, ir_get(o, n));
        between = ", ";
    }
    if (s[IR_FIELDS] != '.') {
        fputs(between, out);
        print_imm(out, o, s[IR_FIELDS], helper_name);
    }
}

static void print_flags(FILE *out, const char *mark, unsigned f)
{
    if (f == 0)
        return;
    fputs(mark, out);
    for (unsigned i = 0; i < 6; i++)
        if (f & ir_text_flag_bits[i])
            fputc(ir_text_flags[i], out);
}

/* share=N; of the first also [FROM,SIZE], and w for a W entry. */
static void print_share(FILE *out, const struct ir_block *b, const struct ir_op *o)
{
    const struct ir_share *s = &b->share[o->share - 1];
    fprintf(out, " share=%u", o->share);
    if (o->flags & IR_FIRST)
        fprintf(out, "[%d,%u%s]", s->from, s->size, s->write ? ",w" : "");
}

void ir_print(FILE *out, const struct ir_block *b, const char *(*helper_name)(unsigned))
{
    for (const struct ir_op *o = b->op; o < b->op + b->nops; o++) {
        if (o->op >= IR_OP_COUNT || (o->op == IR_VEC && o->row >= ir_vec_row_count) ||
            (o->op == IR_AVX && o->avx.form >= IR_AVX_FORM_COUNT)) {
            fprintf(out, "; not an op: %u row %u\n", o->op, o->row);
            continue;
        }
        print_name(out, o);
        print_operands(out, b, o, helper_name);
        print_flags(out, " !", o->setf);
        print_flags(out, " ?", o->livef);
        if (o->flags & IR_LOCK)
            fputs(" lock", out);
        if (o->flags & IR_NEAR)
            fputs(" near", out);
        if (o->flags & IR_POLL)
            fputs(" poll", out);
        if (o->pair)
            fprintf(out, " pair=%u", o->pair);
        if (o->disp)
            fprintf(out, " disp=%d", o->disp);
        if (o->share)
            print_share(out, b, o);
        if (o->tag)
            fprintf(out, " tag=%u", o->tag);
        fputc('\n', out);
    }
}
