/* ir/avx.c: op AVX: its forms, its encoding as text, and which bytes of memory an operation under a mask touches. */
#include "ir/text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

const struct ir_avx_form_row ir_avx_forms[IR_AVX_FORM_COUNT] = {
#define IR_AVX_FORM(name, operands, d, a, b, c) {#name, operands, IR_AT_##d, IR_AT_##a, IR_AT_##b, IR_AT_##c},
#include "ir/avx.def"
};

/* ---- selected elements ------------------------------------------------------------------------------------- */

uint32_t ir_avx_select_how(const struct ir_avx *x)
{
    unsigned elements = (unsigned)__builtin_ctz((unsigned)x->msize >> x->element | 64);
    return x->select | (uint32_t)x->element << 3 | (uint32_t)x->count << 5 | elements << 8;
}

uint64_t ir_avx_signs(const uint8_t *v, unsigned bytes)
{
    uint64_t set = 0;
    for (unsigned n = 0; n < 64 / bytes; n++)
        set |= (uint64_t)(v[n * bytes + bytes - 1] >> 7) << n;
    return set;
}

unsigned ir_avx_checked_alignment(uint32_t how)
{
    return ir_avx_selects_by_sign(how) ? 1 : ir_avx_element_bytes(how);
}

uint64_t ir_avx_selected(uint32_t how, uint64_t from)
{
    unsigned bytes = ir_avx_element_bytes(how), count = 1u << (how >> 5 & 7);
    unsigned repeat = 1u << (how >> 8 & 7);
    uint64_t elements = from & mask_bits(count), selected = 0;
    switch ((enum ir_select)(how & 7)) {
    case IR_SELECT_ALL: return ~0ull;
    case IR_SELECT_PACKED: elements = mask_bits((unsigned)__builtin_popcountll(elements)); break;
    case IR_SELECT_MASK:
        for (; count > repeat; count /= 2)
            elements = (elements | elements >> count / 2) & mask_bits(count / 2);
        break;
    case IR_SELECT_SIGN: break;
    }
    for (unsigned n = 0; n < 64 / bytes; n++)
        if (elements >> n & 1)
            selected |= mask_bits(bytes) << n * bytes;
    return selected;
}

/* ---- text -------------------------------------------------------------------------------------------------- */

static const char *const spaces[2] = {"vex", "evex"};
static const char *const prefixes[4] = {"np", "66", "f3", "f2"};
static const char *const maps[8] = {"?", "0f", "0f38", "0f3a", "map4", "map5", "map6", "map7"};
static const char *const selects[8] = {"all", "mask", "packed", "sign", "?", "?", "?", "?"};

void ir_avx_print(FILE *out, const struct ir_avx *x)
{
    for (const char *s = ir_avx_forms[x->form].name; *s; s++)
        fputc(*s == '_' ? '_' : *s | 0x20, out);
    fprintf(out, ".%s.%u.%s.%s.w%u.%02x", spaces[x->evex], 128u << x->l, prefixes[x->pp], maps[x->map], x->w,
            x->opcode);
    if (x->ext)
        fprintf(out, "/%u", x->ext);
    if (x->z)
        fputs(".z", out);
    if (x->b)
        fputs(".b", out);
    if (x->raises)
        fputs(".x", out);
    if (x->has_imm)
        fprintf(out, ".i%02x", x->imm);
    if (x->msize)
        fprintf(out, ".m%u%s", x->msize, x->align ? "a" : "");
    if (x->select)
        fprintf(out, ".%s.%ux%u", selects[x->select], 1u << x->element, 1u << x->count);
}

static int find(const char *const *table, unsigned n, const char *word)
{
    for (unsigned i = 0; i < n; i++)
        if (word && strcasecmp(table[i], word) == 0)
            return (int)i;
    return -1;
}

static int find_form(const char *word)
{
    for (unsigned i = 0; i < IR_AVX_FORM_COUNT; i++)
        if (word && strcasecmp(ir_avx_forms[i].name, word) == 0)
            return (int)i;
    return -1;
}

/* What may follow the opcode, one word. */
static bool parse_option(struct ir_avx *x, const char *word, char **save)
{
    unsigned v, bytes, count;
    int n;
    char a = 0;
    if (strcmp(word, "z") == 0)
        return x->z = 1, true;
    if (strcmp(word, "b") == 0)
        return x->b = 1, true;
    if (strcmp(word, "x") == 0)
        return x->raises = 1, true;
    if (sscanf(word, "i%x", &v) == 1 && v < 256)
        return x->imm = (uint8_t)v, x->has_imm = 1, true;
    if (sscanf(word, "m%u%c", &v, &a) >= 1 && v <= 64)
        return x->msize = (uint8_t)v, x->align = a == 'a', true;
    if ((n = find(selects, 4, word)) < 1)
        return false;
    x->select = (unsigned)n & 7;
    word = strtok_r(NULL, ".", save);
    if (!word || sscanf(word, "%ux%u", &bytes, &count) != 2 || !bytes || bytes > 8 || !count || count > 64)
        return false;
    x->element = (unsigned)__builtin_ctz(bytes) & 3;
    x->count = (unsigned)__builtin_ctz(count) & 7;
    return true;
}

bool ir_avx_parse(char *s, struct ir_avx *x)
{
    char *save = NULL;
    int form = find_form(strtok_r(s, ".", &save)), space = find(spaces, 2, strtok_r(NULL, ".", &save));
    const char *length = strtok_r(NULL, ".", &save);
    int l = length ? atoi(length) / 128 : 0, pp = find(prefixes, 4, strtok_r(NULL, ".", &save));
    int map = find(maps, 8, strtok_r(NULL, ".", &save));
    const char *w = strtok_r(NULL, ".", &save), *opcode = strtok_r(NULL, ".", &save);
    unsigned byte, ext = 0;
    if (form < 0 || space < 0 || l < 1 || pp < 0 || map < 0 || !w || !opcode ||
        sscanf(opcode, "%x/%u", &byte, &ext) < 1)
        return false;
    *x = (struct ir_avx){.form = (uint8_t)form, .opcode = (uint8_t)byte};
    x->evex = (unsigned)space & 1;
    x->l = (unsigned)__builtin_ctz((unsigned)l) & 3;
    x->pp = (unsigned)pp & 3;
    x->map = (unsigned)map & 7;
    x->w = w[1] == '1';
    x->ext = ext & 7;
    for (const char *word; (word = strtok_r(NULL, ".", &save));)
        if (!parse_option(x, word, &save))
            return false;
    return true;
}
