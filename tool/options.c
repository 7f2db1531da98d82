/* tool/options.c: the command line of `rhea run`: finds each option's row in options.def and calls its function.
 *
 * Both -option and --option work, and -option VALUE only (as in QEMU, never -option=VALUE).  The last of an option
 * given twice counts, but
 * -serial, which adds a port.  Nothing here opens a file or touches the host: that comes later, so that --help always
 * works.
 */
#include "tool/tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct row {
    const char *name;
    option_fn *fn;
    const char *arg, *help;
};
static const struct row rows[] = {
#define OPTION(name, fn, arg, help) {name, option_##fn, arg, help},
#include "tool/options.def"
};

/* ---- lists and numbers ------------------------------------------------------------------------------------------- */

bool option_next(const char **list, struct option_word *w)
{
    const char *p = *list;
    size_t n = 0;
    bool key_done = false;
    memset(w, 0, sizeof *w);
    if (!*p)
        return false;
    for (; *p; p++) {
        if (*p == ',' && p[1] != ',')
            break;
        p += *p == ',';
        if (*p == '=' && !key_done && n < sizeof w->key) {
            memcpy(w->key, w->value, n);
            memset(w->value, 0, n);
            n = 0;
            key_done = true;
        } else if (n + 1 < sizeof w->value) {
            w->value[n++] = *p;
        }
    }
    *list = *p ? p + 1 : p;
    return true;
}

bool option_number(const char *text, uint64_t min, uint64_t max, uint64_t *v)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *v = strtoull(text, &end, 0);
    return !errno && !*end && *v >= min && *v <= max;
}

bool option_size(const char *text, uint64_t unit, uint64_t *v)
{
    static const char suffix[] = "bkmgt";
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 0);
    if (errno)
        return false;
    if (*end) {
        const char *at = strchr(suffix, *end | 0x20);
        if (!at || end[1])
            return false;
        unit = 1ull << (10 * (at - suffix));
    }
    *v = n * unit;
    return n <= UINT64_MAX / unit;
}

/* ---- the command line -------------------------------------------------------------------------------------------- */

static const struct row *row_find(const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        if (!strcmp(rows[i].name, name))
            return &rows[i];
    return NULL;
}

enum options_result options_parse(struct options *o, int argc, char **argv, struct status *st)
{
    *o = (struct options){.ram = 128ull << 20, .cpus = 1, .cpu = "max"};
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (word[0] != '-' || !word[1]) {
            status_set(
                st, "'%.200s' is not an option; disk images are not supported yet, a kernel is given by -kernel FILE",
                word);
            return OPTIONS_BAD;
        }
        const struct row *row = row_find(word + (word[1] == '-' ? 2 : 1));
        if (!row) {
            status_set(st, "unknown option %.200s; -help lists the options", word);
            return OPTIONS_BAD;
        }
        if (row->arg && i + 1 >= argc) {
            status_set(st, "option -%s needs an argument: -%s %s", row->name, row->name, row->arg);
            return OPTIONS_BAD;
        }
        enum options_result r = row->fn(o, row->arg ? argv[++i] : NULL, st);
        if (r != OPTIONS_RUN)
            return r;
    }
    return OPTIONS_RUN;
}

void options_help(FILE *out, const char *program)
{
    fprintf(out, "usage: %s [options]\n\n", program);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        char head[128];
        if (!rows[i].help)
            continue;
        int n = snprintf(head, sizeof head, "-%s %s", rows[i].name, rows[i].arg ? rows[i].arg : "");
        fprintf(out, n < 28 ? "  %-28s%s\n" : "  %s\n                              %s\n", head, rows[i].help);
    }
    fprintf(out,
            "\nKeys with -nographic: Ctrl-a x quits, Ctrl-a c switches to the monitor and back, Ctrl-a h lists all.\n");
}
