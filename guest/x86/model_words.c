/* guest/x86/model_words.c: the words of -cpu: a row of models.def, then changes to it.
 *
 *     -cpu MODEL,+feature,-feature,feature,feature=on|off,vendor=...,family=...,level=...,check,enforce
 *
 * What a model or a word asks for and cannot be had (rhea does not know it) is left out.  The user is told in one line (x86_model_warn), unless check=off; with
 * enforce it is an error.  Names that mean nothing are errors, which suggest the nearest name that does.
 *
 * Rules to know before editing
 *   - `available` is what can be had: the features of "max", those with "?" included.  "max" and "host" ask for those
 *     alone that this processor has units for: the others run in C, slowly, for whom asks for them by name.
 *   - A leaf beyond the model's last cannot be seen, so level and xlevel grow with the features, unless they are given.
 */
#include "guest/x86/model_int.h"

#include <ctype.h>
#include <stdlib.h>

enum vendor { INTEL, AMD, HYGON, HOST };
static const char *const vendor_names[] = {"GenuineIntel", "AuthenticAMD", "HygonGenuine", ""};

struct row {
    const char *name;
    enum vendor vendor;
    unsigned family, model, stepping;
    uint32_t level, xlevel;
    const char *brand, *doc, *features;
};
static const struct row rows[] = {
#define X86_MODEL(...) {__VA_ARGS__},
#define X86_VARIANT(...)
#include "guest/x86/models.def"
};

struct variant {
    const char *name, *model, *words, *doc;
};
static const struct variant variants[] = {
#define X86_MODEL(...)
#define X86_VARIANT(...) {__VA_ARGS__},
#include "guest/x86/models.def"
};

/* Features whose insns generated code runs as the host's own, and the bytes of a vector register it needs for them.  Where
 * the host lacks one they run in C (lift_generic.c). */
static const struct {
    uint16_t feature;
    uint8_t vec_bytes;
} native[] = {
    {FEAT_AES, 0},
    {FEAT_PCLMULQDQ, 0},
    {FEAT_SHA, 0},
    {FEAT_GFNI, 0},
    {FEAT_BMI1, 0},
    {FEAT_BMI2, 0},
    {FEAT_ABM, 0},
    {FEAT_SSE4A, 0},
    {FEAT_AVX, 32},
    {FEAT_AVX2, 32},
    {FEAT_FMA, 32},
    {FEAT_F16C, 32},
    {FEAT_VAES, 32},
    {FEAT_VPCLMULQDQ, 32},
    {FEAT_AVX_VNNI, 32},
    {FEAT_AVX512F, 64},
    {FEAT_AVX512CD, 64},
    {FEAT_AVX512BW, 64},
    {FEAT_AVX512DQ, 64},
    {FEAT_AVX512VL, 64},
    {FEAT_AVX512IFMA, 64},
    {FEAT_AVX512VBMI, 64},
    {FEAT_AVX512VBMI2, 64},
    {FEAT_AVX512VNNI, 64},
    {FEAT_AVX512BF16, 64},
    {FEAT_AVX512FP16, 64},
    {FEAT_AVX512BITALG, 64},
    {FEAT_AVX512VPOPCNTDQ, 64},
    {FEAT_AVX512VP2INTERSECT, 64},
};

/* Other names that QEMU and Linux have for features. */
static const struct {
    const char *alias;
    enum x86_feature feature;
} aliases[] = {
    {"sse3", FEAT_SSE3},          {"xd", FEAT_NX},     {"i64", FEAT_LM}, {"ffxsr", FEAT_FXSR_OPT},
    {"pclmuldq", FEAT_PCLMULQDQ}, {"lzcnt", FEAT_ABM},
};

static const char *const settings[] = {"vendor", "family", "model",   "stepping",  "model-id",      "level",
                                       "xlevel", "check",  "enforce", "phys-bits", "host-phys-bits"};

/* ---- names
 * ------------------------------------------------------------------------------------------------------------- */

static bool is_separator(char c)
{
    return c == '-' || c == '_' || c == '.';
}

/* Names are the same whatever separators they have: sse4.1, sse4_1, sse41. */
static bool same_name(const char *name, const char *text, size_t n)
{
    size_t i = 0;

    for (;; name++, i++) {
        while (is_separator(*name))
            name++;
        while (i < n && is_separator(text[i]))
            i++;
        if (!*name || i == n)
            return !*name && i == n;
        if (*name != text[i])
            return false;
    }
}

static enum x86_feature feature_find(const char *text, size_t n)
{
    for (unsigned f = 1; f < FEAT_COUNT; f++)
        if (same_name(x86_features[f].name, text, n))
            return (enum x86_feature)f;
    for (unsigned i = 0; i < ARRAY_LEN(aliases); i++)
        if (same_name(aliases[i].alias, text, n))
            return aliases[i].feature;
    return FEAT__;
}

static const struct row *row_find(const char *text, size_t n)
{
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        if (strlen(rows[i].name) == n && !memcmp(rows[i].name, text, n))
            return &rows[i];
    return NULL;
}

static const struct variant *variant_find(const char *text, size_t n)
{
    for (unsigned i = 0; i < ARRAY_LEN(variants); i++)
        if (strlen(variants[i].name) == n && !memcmp(variants[i].name, text, n))
            return &variants[i];
    return NULL;
}

/* How many letters must be put in, left out or changed to make one of the other; upper and lower case are the same. */
static unsigned distance(const char *name, const char *text, size_t n)
{
    enum { LONGEST = 40 };
    unsigned above[LONGEST + 1], row[LONGEST + 1];

    if (n > LONGEST)
        return UINT32_MAX;
    for (unsigned i = 0; i <= n; i++)
        above[i] = i;
    for (; *name; name++) {
        row[0] = above[0] + 1;
        for (unsigned i = 1; i <= n; i++) {
            unsigned changed = above[i - 1] + (tolower((unsigned char)*name) != tolower((unsigned char)text[i - 1]));
            unsigned shorter = (above[i] < row[i - 1] ? above[i] : row[i - 1]) + 1;
            row[i] = changed < shorter ? changed : shorter;
        }
        memcpy(above, row, (n + 1) * sizeof *row);
    }
    return above[n];
}

struct nearest {
    const char *text, *name;
    size_t n;
    unsigned distance;
};

static void consider(struct nearest *s, const char *name)
{
    unsigned d = distance(name, s->text, s->n);

    if (d < s->distance) {
        s->distance = d;
        s->name = name;
    }
}

static bool unknown(struct status *st, const char *what, const struct nearest *s)
{
    unsigned far = s->n < 4 ? 1 : (unsigned)s->n / 3 + 1;

    if (s->name && s->distance <= far)
        return status_set(st, "-cpu: no %s is called \"%.*s\"; do you mean \"%s\"? \"-cpu help\" lists them", what,
                          (int)s->n, s->text, s->name);
    return status_set(st, "-cpu: no %s is called \"%.*s\"; \"-cpu help\" lists them", what, (int)s->n, s->text);
}

static bool unknown_model(struct status *st, const char *text, size_t n)
{
    struct nearest s = {.text = text, .n = n, .distance = UINT32_MAX};

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        consider(&s, rows[i].name);
    for (unsigned i = 0; i < ARRAY_LEN(variants); i++)
        consider(&s, variants[i].name);
    return unknown(st, "model", &s);
}

static bool unknown_feature(struct status *st, const char *text, size_t n)
{
    struct nearest s = {.text = text, .n = n, .distance = UINT32_MAX};

    for (unsigned f = 1; f < FEAT_COUNT; f++)
        consider(&s, x86_features[f].name);
    for (unsigned i = 0; i < ARRAY_LEN(settings); i++)
        consider(&s, settings[i]);
    return unknown(st, "feature", &s);
}

/* ---- what can be had
 * ---------------------------------------------------------------------------------------------------- */

static bool host_has(enum x86_feature f)
{
    uint32_t r[4];

    os_cpuid(x86_features[f].leaf, x86_features[f].subleaf, r);
    return r[x86_features[f].reg] >> x86_features[f].bit & 1;
}

/* The features a row lists; with those it only allows ("?name"), if `allowed`. */
static void add_features(struct x86_model *m, const struct row *r, bool allowed)
{
    for (const char *p = r->features; *p;) {
        char sign = strchr("?-=", *p) ? *p++ : 0;
        size_t n = strcspn(p, " ");
        if (sign == '=') {
            const struct row *base = row_find(p, n);
            rh_assert(base && base < r, "model %s: no model %.*s above it", r->name, (int)n, p);
            add_features(m, base, allowed);
        } else {
            enum x86_feature f = feature_find(p, n);
            rh_assert(f != FEAT__, "model %s: no feature %.*s", r->name, (int)n, p);
            if (sign != '?' || allowed)
                x86_model_put(m, f, sign != '-');
        }
        p += n + (p[n] == ' ');
    }
}

/* What can be had; `units`: of what the host has units for. */
static void find_available(struct x86_model *m, bool units)
{
    memset(m, 0, sizeof *m);
    add_features(m, &rows[0], true);
    for (unsigned i = 0; units && i < ARRAY_LEN(native); i++)
        if (!host_has(native[i].feature))
            x86_model_put(m, native[i].feature, false);
    bool wide = host_has(FEAT_AVX512BW) && host_has(FEAT_AVX512DQ) && host_has(FEAT_AVX512VL);
    if (units && !wide) /* thunks save AVX-512's state with insns of these */
        x86_model_put(m, FEAT_AVX512F, false);
    x86_model_close(m);
}

bool x86_model_generic(const struct x86_model *m, unsigned vec_bytes, uint32_t *set)
{
    bool any = false;

    memset(set, 0, sizeof m->set);
    for (unsigned i = 0; i < ARRAY_LEN(native); i++) {
        unsigned f = native[i].feature;
        if (host_has(f) && native[i].vec_bytes <= vec_bytes)
            continue;
        set[f / 32] |= 1u << f % 32;
        any |= x86_model_has(m, f);
    }
    return any;
}

static void keep_available(struct x86_model *m, const struct x86_model *available)
{
    for (unsigned i = 0; i < ARRAY_LEN(m->set); i++)
        m->set[i] &= available->set[i];
}

static void copy_text(char *to, size_t size, const char *from, size_t n)
{
    n = n < size - 1 ? n : size - 1;
    memcpy(to, from, n);
    memset(to + n, 0, size - n);
}

static void set_vendor(struct x86_model *m, const char *name)
{
    copy_text(m->vendor, sizeof m->vendor, name, strlen(name));
    m->intel = strcmp(name, vendor_names[AMD]) && strcmp(name, vendor_names[HYGON]);
}

/* This computer's own processor, with what rhea has of it. */
static void describe_host(struct x86_model *m)
{
    enum { LAST_AMD = 0xd, LAST_INTEL = 0x1f };
    uint32_t r[4], brand[12];
    char vendor[VENDOR_BYTES + 1] = "";

    os_cpuid(0, 0, r);
    memcpy(vendor, &r[EBX], 4);
    memcpy(vendor + 4, &r[EDX], 4);
    memcpy(vendor + 8, &r[ECX], 4);
    set_vendor(m, vendor);
    m->level = m->intel ? LAST_INTEL : LAST_AMD;
    os_cpuid(0x80000000, 0, r);
    m->xlevel = m->intel ? 0x80000008 : r[EAX];
    for (unsigned i = 0; i < 3; i++)
        os_cpuid(0x80000002 + i, 0, brand + 4 * i);
    memcpy(m->brand, brand, sizeof brand);
    os_cpuid(1, 0, r);
    unsigned family = r[EAX] >> 8 & 15;
    m->family = family == 15 ? 15 + (r[EAX] >> 20 & 255) : family;
    m->model = (r[EAX] >> 4 & 15) | (family == 6 || family == 15 ? r[EAX] >> 12 & 0xf0 : 0);
    m->stepping = r[EAX] & 15;
    for (unsigned f = 1; f < FEAT_COUNT; f++)
        if (host_has((enum x86_feature)f))
            x86_model_put(m, (enum x86_feature)f, true);
}

static void start_from(struct x86_model *m, const struct row *r, const struct x86_model *available)
{
    *m = (struct x86_model){
        .family = r->family, .model = r->model, .stepping = r->stepping, .level = r->level, .xlevel = r->xlevel};
    set_vendor(m, vendor_names[r->vendor]);
    copy_text(m->brand, sizeof m->brand, r->brand, strlen(r->brand));
    if (r->vendor == HOST)
        describe_host(m);
    add_features(m, r, false);
    if (r->vendor == HOST || r == rows)
        keep_available(m, available);
}

/* ---- words
 * ------------------------------------------------------------------------------------------------------------- */

struct words {
    struct x86_model *m;
    struct status *st;
    bool enforce, level_given, xlevel_given;
};

static bool parse_number(const struct words *w, const char *name, const char *value, size_t n, uint32_t most,
                         uint32_t *out)
{
    char digits[24], *end;

    if (n == 0 || n >= sizeof digits || !isdigit((unsigned char)*value))
        return status_set(w->st, "-cpu: \"%s=%.*s\": not a number", name, (int)n, value);
    copy_text(digits, sizeof digits, value, n);
    unsigned long long v = strtoull(digits, &end, 0);
    if (*end || v > most)
        return status_set(w->st, "-cpu: \"%s=%.*s\": a number from 0 to %u is wanted", name, (int)n, value, most);
    *out = (uint32_t)v;
    return true;
}

static bool parse_switch(const struct words *w, const char *word, size_t n, const char *value, bool *on)
{
    size_t rest = value ? n - (size_t)(value - word) : 0;
    *on = !value || (rest == 2 && !memcmp(value, "on", 2));
    bool off = value && rest == 3 && !memcmp(value, "off", 3);

    return *on || off || status_set(w->st, "-cpu: \"%.*s\": it is \"on\" or \"off\"", (int)n, word);
}

static bool is_word(const char *name, const char *text, size_t n)
{
    return strlen(name) == n && !memcmp(name, text, n);
}

/* name=value that is no feature.  *known: whether there is such a name. */
static bool parse_setting(struct words *w, const char *word, size_t length, size_t n, bool *known)
{
    struct x86_model *m = w->m;
    const char *value = length < n ? word + length + 1 : NULL;
    size_t rest = value ? n - length - 1 : 0;
    bool on;

    *known = true;
    if (is_word("check", word, length) || is_word("enforce", word, length)) {
        if (!parse_switch(w, word, n, value, &on))
            return false;
        if (*word == 'c')
            m->quiet = !on;
        else
            w->enforce = on;
        return true;
    }
    if (is_word("host-phys-bits", word, length)) /* the guest's are never those of this processor: nothing to do */
        return parse_switch(w, word, n, value, &on);
    *known = value != NULL;
    if (!value)
        return true;
    if (is_word("phys-bits", word, length))
        return parse_number(w, "phys-bits", value, rest, X86_PHYS_BITS_MAX, &m->phys_bits) &&
               (m->phys_bits >= X86_PHYS_BITS_LEAST ||
                status_set(w->st, "-cpu: \"phys-bits=%u\": at least %u", m->phys_bits, X86_PHYS_BITS_LEAST));
    if (is_word("family", word, length))
        return parse_number(w, "family", value, rest, 255 + 15, &m->family);
    if (is_word("model", word, length))
        return parse_number(w, "model", value, rest, 255, &m->model);
    if (is_word("stepping", word, length))
        return parse_number(w, "stepping", value, rest, 15, &m->stepping);
    if (is_word("level", word, length))
        return (w->level_given = parse_number(w, "level", value, rest, UINT32_MAX, &m->level));
    if (is_word("xlevel", word, length))
        return (w->xlevel_given = parse_number(w, "xlevel", value, rest, UINT32_MAX, &m->xlevel));
    if (is_word("model-id", word, length)) {
        copy_text(m->brand, sizeof m->brand, value, rest);
        return true;
    }
    *known = is_word("vendor", word, length);
    if (*known && rest != VENDOR_BYTES)
        return status_set(w->st, "-cpu: \"%.*s\": a vendor's name has %d characters", (int)n, word, VENDOR_BYTES);
    if (*known) {
        char vendor[VENDOR_BYTES + 1];
        copy_text(vendor, sizeof vendor, value, rest);
        set_vendor(m, vendor);
    }
    return true;
}

/* One word after the model's name. */
static bool parse_word(struct words *w, const char *word, size_t n)
{
    const char *equals = memchr(word, '=', n);
    size_t length = equals ? (size_t)(equals - word) : n;
    bool on = true, known, signed_word = n && (*word == '+' || *word == '-');

    if (signed_word) {
        on = *word == '+';
        word++;
        length = --n;
    } else {
        if (!parse_setting(w, word, length, n, &known))
            return false;
        if (known)
            return true;
    }
    enum x86_feature f = feature_find(word, length);
    if (f == FEAT__ || n == 0)
        return unknown_feature(w->st, word, length);
    if (!signed_word && !parse_switch(w, word, n, equals ? equals + 1 : NULL, &on))
        return false;
    x86_model_put(w->m, f, on);
    return true;
}

/* All words of a list that begins after a comma. */
static bool parse_words(struct words *w, const char *text)
{
    for (;;) {
        size_t n = strcspn(text, ",");
        if (!parse_word(w, text, n))
            return false;
        if (!text[n])
            return true;
        text += n + 1;
    }
}

static void raise_levels(const struct words *w)
{
    for (unsigned f = 1; f < FEAT_COUNT; f++) {
        bool extended = x86_features[f].leaf >> 31, given = extended ? w->xlevel_given : w->level_given;
        uint32_t *last = extended ? &w->m->xlevel : &w->m->level;
        if (!given && x86_features[f].leaf > *last && x86_model_has(w->m, (enum x86_feature)f))
            *last = x86_features[f].leaf;
    }
}

static void print_set(char *to, size_t size, const uint32_t *set)
{
    size_t n = 0;

    *to = 0;
    for (unsigned f = 1; f < FEAT_COUNT && n < size; f++)
        if (set[f / 32] >> (f % 32) & 1)
            n += (size_t)snprintf(to + n, size - n, "%s%s", n ? " " : "", x86_features[f].name);
}

/* Leave out what is asked for and cannot be had.  false: nothing had to be. */
static bool find_missing(struct x86_model *m, const struct x86_model *available)
{
    uint32_t any = 0;

    for (unsigned i = 0; i < ARRAY_LEN(m->set); i++)
        any |= m->missing[i] = m->set[i] & ~available->set[i];
    keep_available(m, available);
    return any;
}

bool x86_model_parse(struct x86_model **out, const char *text, struct status *st)
{
    size_t n = strcspn(text, ",");
    const struct variant *v = variant_find(text, n);
    const struct row *row = v ? row_find(v->model, strlen(v->model)) : row_find(text, n);
    struct x86_model units, available, m;
    struct words w = {.m = &m, .st = st};

    if (!row)
        return unknown_model(st, text, n);
    find_available(&units, true);
    find_available(&available, false);
    start_from(&m, row, &units);
    if ((v && !parse_words(&w, v->words)) || (text[n] && !parse_words(&w, text + n + 1)))
        return false;
    if (find_missing(&m, &available) && w.enforce) {
        char names[600];
        print_set(names, sizeof names, m.missing);
        return status_set(st, "-cpu %.*s: enforce is on, and these features cannot be had: %s", (int)n, text, names);
    }
    x86_model_close(&m);
    raise_levels(&w);
    *out = malloc(sizeof m);
    if (!*out)
        return status_set(st, "-cpu: out of memory");
    **out = m;
    return true;
}

void x86_model_warn(const struct x86_model *m, const char *text, FILE *out)
{
    char names[2048];

    print_set(names, sizeof names, m->missing);
    if (*names && !m->quiet)
        fprintf(out, "rhea: warning: -cpu %.*s: the guest does without these features: %s\n", (int)strcspn(text, ","),
                text, names);
}

void x86_model_free(struct x86_model *m)
{
    free(m);
}

/* ---- -cpu help
 * --------------------------------------------------------------------------------------------------------- */

static void list_features(FILE *out, const struct x86_model *available, bool had)
{
    enum { WIDTH = 120 };
    size_t column = 0;

    for (unsigned f = 1; f < FEAT_COUNT; f++) {
        const char *name = x86_features[f].name;
        if (x86_model_has(available, (enum x86_feature)f) != had)
            continue;
        if (column + strlen(name) + 1 > WIDTH)
            column = 0;
        fprintf(out, "%s%s", column ? " " : f == 1 || !column ? "\n  " : "", name);
        column += strlen(name) + (column ? 1 : 2);
    }
    fprintf(out, "\n");
}

void x86_model_list(FILE *out)
{
    struct x86_model units, available;

    find_available(&units, true);
    find_available(&available, false);
    fprintf(out, "Models:\n");
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        fprintf(out, "  %-26s %s\n", rows[i].name, rows[i].doc);
    for (unsigned i = 0; i < ARRAY_LEN(variants); i++)
        fprintf(out, "  %-26s %s\n", variants[i].name, variants[i].doc);
    fprintf(out, "Features (+name or name=on, -name or name=off):");
    list_features(out, &available, true);
    for (unsigned i = 0; i < ARRAY_LEN(units.set); i++)
        units.set[i] ^= available.set[i];
    fprintf(out, "Of these in C, slowly, as this processor lacks them:");
    list_features(out, &units, true);
    fprintf(out, "Features that are known but cannot be had here:");
    list_features(out, &available, false);
    fprintf(out, "Settings: vendor=, family=, model=, stepping=, model-id=, level=, xlevel=, phys-bits=; check=off (no "
                 "warning about\n"
                 "features that cannot be had), enforce (do not start without them)\n");
}
