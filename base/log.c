/* log.c: the items of -d and the address ranges of -dfilter.
 *
 * What can be logged is log.def, one row an item; this file only reads the user's choice and prints.  Each log_print
 * is one call into stdio, so lines of different threads do not mix if each line is one call.
 */
#include "base/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    uint32_t bit;
    const char *text, *help;
} log_rows[] = {
#define LOG_ITEM(NAME, text, help) {LOG_##NAME, text, help},
#include "base/log.def"
};

static bool log_help(struct status *st, const char *head, const char *name, size_t len)
{
    char text[sizeof(st->text)];
    size_t n = (size_t)snprintf(text, sizeof(text), head, (int)(len < 32 ? len : 32), name);

    for (unsigned i = 0; i < ARRAY_LEN(log_rows) && n < sizeof(text); i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "\n  %-13s%s", log_rows[i].text, log_rows[i].help);
    return status_set(st, "%s", text);
}

static uint32_t log_item_bits(const char *name, size_t len)
{
    if (len == 3 && !memcmp(name, "all", 3))
        return (1u << LOG_ITEM_COUNT) - 1;
    for (unsigned i = 0; i < ARRAY_LEN(log_rows); i++)
        if (strlen(log_rows[i].text) == len && !memcmp(log_rows[i].text, name, len))
            return log_rows[i].bit;
    return 0;
}

bool log_parse(struct log *l, const char *list, struct status *st)
{
    uint32_t items = 0;

    for (const char *p = list;; p++) {
        size_t len = strcspn(p, ",");
        if (len == 4 && !memcmp(p, "help", 4))
            return log_help(st, "items of -d%.*s, or 'all':", "", 0);
        uint32_t bits = log_item_bits(p, len);
        if (!bits)
            return log_help(st, "-d: no item '%.*s'; there are:", p, len);
        items |= bits;
        p += len;
        if (!*p)
            break;
    }
    l->items = items;
    return true;
}

/* A number in C's notation at *p, which moves past it. */
static bool log_number(const char **p, uint64_t *v)
{
    char *end;

    if (**p < '0' || **p > '9')
        return false;
    errno = 0;
    *v = strtoull(*p, &end, 0);
    *p = end;
    return !errno;
}

/* One of "A..B" (both inside), "A+N" (N bytes from A up) and "A-N" (N bytes from A down) at *p, which moves past it. */
static bool log_range(const char **p, gva_t *from, gva_t *to)
{
    uint64_t a, b;

    if (!log_number(p, &a))
        return false;
    char how = **p;
    if (how == '.' && (*p)[1] == '.')
        *p += 2;
    else if (how == '+' || how == '-')
        *p += 1;
    else
        return false;
    if (!log_number(p, &b))
        return false;
    if (how != '.' && b == 0)
        return false;
    *from = how == '-' ? a - (b - 1) : a;
    *to = how == '-' ? a : how == '+' ? a + (b - 1) : b;
    return *from <= *to;
}

bool log_filter(struct log *l, const char *list, struct status *st)
{
    struct log got = {0};

    for (const char *p = list;; p++) {
        const char *start = p;
        if (got.nranges == ARRAY_LEN(got.range))
            return status_set(st, "-dfilter: more than %zu ranges", ARRAY_LEN(got.range));
        bool good = log_range(&p, &got.range[got.nranges].from, &got.range[got.nranges].to);
        if (!good || (*p && *p != ','))
            return status_set(st, "-dfilter: '%.*s' is not a range; write START..END, START+SIZE or START-SIZE",
                              (int)strcspn(start, ","), start);
        got.nranges++;
        if (!*p)
            break;
    }
    memcpy(l->range, got.range, sizeof(l->range));
    l->nranges = got.nranges;
    return true;
}

bool log_wants_pc(const struct log *l, gva_t pc)
{
    for (unsigned i = 0; i < l->nranges; i++)
        if (pc >= l->range[i].from && pc <= l->range[i].to)
            return true;
    return l->nranges == 0;
}

void log_print(struct log *l, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vfprintf(l->out ? l->out : stderr, fmt, ap);
    va_end(ap);
}
