/* tool/option_values.c: what each option of options.def does with its value.
 *
 * A function fills struct options, or says in one line what is wrong with the value and what would be right.  What
 * QEMU's command lines carry and changes nothing here is accepted; what would change the machine and is not there is
 * refused by name.
 */
#include "tool/tool.h"

#include <string.h>

enum { RAM_MIN_MB = 1, RAM_MAX_GB = 64, CODE_MB_MIN = 8, CODE_MB_MAX = 2047 };

static enum options_result checked(bool good)
{
    return good ? OPTIONS_RUN : OPTIONS_BAD;
}

#define OPTION_VALUE(fn)                                                                                               \
    enum options_result option_##fn(struct options *o __attribute__((unused)),                                         \
                                    const char *value __attribute__((unused)),                                         \
                                    struct status *st __attribute__((unused)))

/* ---- help
 * ---------------------------------------------------------------------------------------------------------- */

OPTION_VALUE(help)
{
    options_help(stdout, "rhea run");
    return OPTIONS_DONE;
}

OPTION_VALUE(version)
{
    printf("rhea version " RHEA_VERSION "\n");
    return OPTIONS_DONE;
}

/* ---- the machine
 * --------------------------------------------------------------------------------------------------- */

OPTION_VALUE(memory)
{
    struct option_word w;
    bool found = false;
    for (const char *list = value; option_next(&list, &w);) {
        if (w.key[0] && strcmp(w.key, "size"))
            return checked(status_set(st, "-m: no setting '%s'; write -m 512M", w.key));
        if (found || !option_size(w.value, 1 << 20, &o->ram))
            return checked(status_set(st, "-m: '%s' is not a size; write -m 512, -m 512M or -m 2G", value));
        found = true;
    }
    if (!found || o->ram < (uint64_t)RAM_MIN_MB << 20 || o->ram > (uint64_t)RAM_MAX_GB << 30)
        return checked(
            status_set(st, "-m: '%s' is out of range; RAM can be %dM to %dG", value, RAM_MIN_MB, RAM_MAX_GB));
    o->ram = (o->ram + 4095) & ~4095ull;
    return OPTIONS_RUN;
}

/* What -smp gave, 0 where it gave nothing. */
struct smp_words {
    uint64_t cpus, maxcpus, sockets, dies, clusters, cores, threads;
};

/* QEMU's rule for what is missing: of cores, sockets and threads the first that is not given takes what is left of
 * maxcpus, the others are 1. */
static void smp_complete(struct smp_words *s)
{
    uint64_t *const order[] = {&s->cores, &s->sockets, &s->threads};
    bool counted = s->cpus || s->maxcpus;
    uint64_t *rest = NULL, others = 1;
    s->dies = s->dies ? s->dies : 1;
    s->clusters = s->clusters ? s->clusters : 1;
    s->maxcpus = s->maxcpus ? s->maxcpus : s->cpus;
    for (unsigned i = 0; i < ARRAY_LEN(order); i++)
        if (!*order[i] && counted && !rest)
            rest = order[i];
        else
            others *= *order[i] = *order[i] ? *order[i] : 1;
    others *= s->dies * s->clusters;
    if (rest)
        *rest = s->maxcpus / others;
    else if (!counted)
        s->maxcpus = others;
    s->cpus = s->cpus ? s->cpus : s->maxcpus;
}

static bool smp_set(struct options *o, struct smp_words *s, struct status *st)
{
    smp_complete(s);
    uint64_t places = s->sockets * s->dies * s->clusters * s->cores * s->threads;
    if (places != s->maxcpus)
        return status_set(st,
                          "-smp: impossible: %llu sockets * %llu dies * %llu cores * %llu threads do not make "
                          "%llu processors",
                          (unsigned long long)s->sockets, (unsigned long long)(s->dies * s->clusters),
                          (unsigned long long)s->cores, (unsigned long long)s->threads, (unsigned long long)s->maxcpus);
    if (s->maxcpus > VCPUS_MAX)
        return status_set(st, "-smp: %llu processors: the number is 1 to %d", (unsigned long long)s->maxcpus,
                          VCPUS_MAX);
    if (s->cpus > s->maxcpus)
        return status_set(st, "-smp: %llu processors are more than maxcpus=%llu", (unsigned long long)s->cpus,
                          (unsigned long long)s->maxcpus);
    if (s->clusters > 1)
        return status_set(st, "-smp: a PC has no clusters of cores; leave clusters= out");
    o->cpus = (unsigned)s->cpus;
    o->topology =
        (struct x86_topology){(unsigned)s->sockets, (unsigned)s->dies, (unsigned)s->cores, (unsigned)s->threads};
    return true;
}

OPTION_VALUE(smp)
{
    struct smp_words s = {0};
    const struct {
        const char *key;
        uint64_t *to;
    } words[] = {{"", &s.cpus},     {"cpus", &s.cpus},   {"maxcpus", &s.maxcpus}, {"sockets", &s.sockets},
                 {"dies", &s.dies}, {"cores", &s.cores}, {"threads", &s.threads}, {"clusters", &s.clusters}};
    struct option_word w;
    for (const char *list = value; option_next(&list, &w);) {
        uint64_t *to = NULL;
        for (unsigned i = 0; i < ARRAY_LEN(words); i++)
            to = !strcmp(w.key, words[i].key) ? words[i].to : to;
        if (!to)
            return checked(status_set(st, "-smp: no setting '%s'; write -smp N or -smp cpus=N,cores=N,...", w.key));
        if (!option_number(w.value, 1, VCPUS_MAX, to))
            return checked(status_set(st, "-smp: '%s' is not a number of processors from 1 to %d", w.value, VCPUS_MAX));
    }
    return checked(smp_set(o, &s, st));
}

OPTION_VALUE(cpu)
{
    if (!strcmp(value, "help") || !strcmp(value, "?")) {
        x86_model_list(stdout);
        return OPTIONS_DONE;
    }
    struct x86_model *m;
    if (!x86_model_parse(&m, value, st))
        return OPTIONS_BAD;
    x86_model_free(m);
    o->cpu = value;
    return OPTIONS_RUN;
}

static bool set_accel(struct options *o, const char *name, struct status *st)
{
    struct option_word w = {"", ""};
    for (const char *p = name; *p; p += strcspn(p, ":"), p += *p == ':') {
        snprintf(w.value, sizeof w.value, "%.*s", (int)strcspn(p, ":"), p);
        if (!strcmp(w.value, "tcg") || !strcmp(w.value, "interp")) {
            o->exec.interp = w.value[0] == 'i';
            return true;
        }
    }
    return status_set(st, "-accel: no '%s'; there are tcg (translate) and interp (interpret the IR)", name);
}

static bool set_flag(const char *option, const struct option_word *w, bool *flag, struct status *st)
{
    if (!strcmp(w->value, "on") || !strcmp(w->value, "yes") || !strcmp(w->value, "true"))
        *flag = true;
    else if (!strcmp(w->value, "off") || !strcmp(w->value, "no") || !strcmp(w->value, "false"))
        *flag = false;
    else
        return status_set(st, "%s: %s is on or off, not '%s'", option, w->key, w->value);
    return true;
}

static bool set_board(const char *name, struct status *st)
{
    if (!strcmp(name, "pc") || !strncmp(name, "pc-i440fx", 9))
        return true;
    if (!strcmp(name, "q35") || !strncmp(name, "pc-q35", 6)) {
        fprintf(stderr, "rhea: there is no q35 board yet; going on with pc\n");
        return true;
    }
    return status_set(st, "-machine: no board '%s'; there is pc", name);
}

static bool set_machine(struct options *o, const struct option_word *w, struct status *st)
{
    static const char *const off_only[] = {"usb", "vmport", "graphics", "mem-merge", "dump-guest-core", "smm"};
    bool flag;
    if (!w->key[0] || !strcmp(w->key, "type"))
        return set_board(w->value, st);
    if (!strcmp(w->key, "accel"))
        return set_accel(o, w->value, st);
    const struct {
        const char *key;
        bool *off;
    } parts[] = {{"acpi", &o->no_acpi}, {"hpet", &o->no_hpet}, {"pit", &o->no_pit}};
    for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
        if (strcmp(w->key, parts[i].key))
            continue;
        if (!set_flag("-machine", w, &flag, st))
            return false;
        *parts[i].off = !flag;
        return true;
    }
    for (unsigned i = 0; i < ARRAY_LEN(off_only); i++)
        if (!strcmp(w->key, off_only[i]))
            return (set_flag("-machine", w, &flag, st) && !flag) ||
                   (!st->text[0] && status_set(st, "-machine: %s can only be off", w->key));
    return status_set(st, "-machine: no setting '%s'; there are accel=, acpi=, hpet=, pit=", w->key);
}

OPTION_VALUE(machine)
{
    struct option_word w;
    if (!strcmp(value, "help") || !strcmp(value, "?")) {
        printf("pc             i440FX-like PC (default)\n\nsettings: accel=tcg|interp, acpi=on|off, hpet=on|off, "
               "pit=on|off\n");
        return OPTIONS_DONE;
    }
    for (const char *list = value; option_next(&list, &w);)
        if (!set_machine(o, &w, st))
            return OPTIONS_BAD;
    return OPTIONS_RUN;
}

static bool set_accel_key(struct options *o, const struct option_word *w, struct status *st)
{
    uint64_t n;
    if (!strcmp(w->key, "thread")) {
        o->exec.single = !strcmp(w->value, "single");
        return o->exec.single || !strcmp(w->value, "multi") ||
               status_set(st, "-accel: thread is multi or single, not '%s'", w->value);
    }
    if (!strcmp(w->key, "one-insn-per-tb")) {
        bool one = false;
        bool good = set_flag("-accel", w, &one, st);
        o->exec.insns_max = one ? 1 : 0;
        return good;
    }
    if (!strcmp(w->key, "tb-size")) {
        if (!option_number(w->value, CODE_MB_MIN, CODE_MB_MAX, &n))
            return status_set(st, "-accel: tb-size is %d to %d (megabytes), not '%s'", CODE_MB_MIN, CODE_MB_MAX,
                              w->value);
        o->exec.code_size = n << 20;
        return true;
    }
    if (!strcmp(w->key, "x-insns")) {
        bool good = option_number(w->value, 1, BLOCK_INSNS_MAX, &n);
        o->exec.insns_max = good ? (unsigned)n : 0;
        return good ||
               status_set(st, "-accel: x-insns is 1 to %d (guest insns a block), not '%s'", BLOCK_INSNS_MAX, w->value);
    }
    if (!strcmp(w->key, "x-vector")) {
        bool good = option_number(w->value, 16, 64, &n) && !(n & (n - 1));
        o->exec.vec_bytes = good ? (unsigned)n : 0;
        return good ||
               status_set(st, "-accel: x-vector is 16, 32 or 64 (bytes of a vector on the host's units), not '%s'",
                          w->value);
    }
    static const char *const optimisation[] = {
#define OPTIMISATION(NAME, name, text) "x-" name,
#include "exec/optimisations.def"
    };
    for (unsigned i = 0; i < ARRAY_LEN(optimisation); i++) {
        bool on = true;
        if (strcmp(w->key, optimisation[i]))
            continue;
        bool good = set_flag("-accel", w, &on, st);
        o->exec.off[i] = !on;
        return good;
    }
    if (!strcmp(w->key, "stats"))
        return set_flag("-accel", w, &o->exec.stats, st);
    return status_set(st, "-accel: no setting '%s'; there are tb-size=, thread=, stats=, one-insn-per-tb=, x-insns=, x-vector="
#define OPTIMISATION(NAME, name, text) ", x-" name "="
#include "exec/optimisations.def"
                      ,
                      w->key);
}

OPTION_VALUE(accel)
{
    struct option_word w;
    if (!strcmp(value, "help") || !strcmp(value, "?")) {
        printf("tcg            translate guest code to host code (default)\n"
               "interp         run the IR by the reference interpreter (slow; tells which side is wrong)\n"
               "\nsettings: tb-size=MB, thread=multi|single, stats=on|off, one-insn-per-tb=on|off, x-insns=N, x-vector=16|32|64\n"
               "what can be turned off, to measure what it brings:\n"
#define OPTIMISATION(NAME, name, text) "  x-" name "=off  " text "\n"
#include "exec/optimisations.def"
        );
        return OPTIONS_DONE;
    }
    for (const char *list = value; option_next(&list, &w);)
        if (!(w.key[0] ? set_accel_key(o, &w, st) : set_accel(o, w.value, st)))
            return OPTIONS_BAD;
    return OPTIONS_RUN;
}

OPTION_VALUE(no_kvm)
{
    return checked(
        status_set(st, "-enable-kvm: rhea translates and uses no hardware virtualisation; leave the option out"));
}

/* ---- what it starts
 * -------------------------------------------------------------------------------------------------- */

OPTION_VALUE(kernel)
{
    o->kernel = value;
    return OPTIONS_RUN;
}

OPTION_VALUE(initrd)
{
    o->initrd = value;
    return OPTIONS_RUN;
}

OPTION_VALUE(append)
{
    o->append = value;
    return OPTIONS_RUN;
}

OPTION_VALUE(bios)
{
    o->bios = value;
    return OPTIONS_RUN;
}

/* ---- consoles
 * -------------------------------------------------------------------------------------------------------- */

OPTION_VALUE(nographic)
{
    o->nographic = true;
    return OPTIONS_RUN;
}

OPTION_VALUE(display)
{
    o->no_display = true;
    return checked(!strcmp(value, "none") || status_set(st, "-display: '%s' is not there; there is none", value));
}

OPTION_VALUE(serial)
{
    if (o->nserial == PC_SERIAL_MAX)
        return checked(status_set(st, "-serial: more than %d ports", PC_SERIAL_MAX));
    o->serial[o->nserial++] = value;
    return OPTIONS_RUN;
}

OPTION_VALUE(monitor)
{
    o->monitor = value;
    return OPTIONS_RUN;
}

OPTION_VALUE(debugcon)
{
    o->debugcon = value;
    return OPTIONS_RUN;
}

OPTION_VALUE(nodefaults)
{
    o->no_display = true;
    return OPTIONS_RUN;
}

OPTION_VALUE(only_none)
{
    return checked(!strcmp(value, "none") || status_set(st, "'%s' is not there yet; there is none", value));
}

/* ---- devices
 * ----------------------------------------------------------------------------------------------------------- */

static bool set_debug_exit(struct options *o, const struct option_word *w, struct status *st)
{
    uint64_t n;
    if (!strcmp(w->key, "iobase")) {
        if (!option_number(w->value, 1, 0xffff, &n))
            return status_set(st, "-device isa-debug-exit: iobase is an I/O port, not '%s'", w->value);
        o->debug_exit_port = (unsigned)n;
        return true;
    }
    if (!strcmp(w->key, "iosize")) {
        if (!option_number(w->value, 1, 4, &n) || n == 3)
            return status_set(st, "-device isa-debug-exit: iosize is 1, 2 or 4, not '%s'", w->value);
        o->debug_exit_size = (unsigned)n;
        return true;
    }
    return !strcmp(w->key, "id") ||
           status_set(st, "-device isa-debug-exit: no setting '%s'; there are iobase=, iosize=", w->key);
}

OPTION_VALUE(device)
{
    struct option_word w;
    const char *list = value;
    if (!strcmp(value, "help") || !strcmp(value, "?")) {
        printf("isa-debug-exit   iobase=PORT (default 0x501), iosize=BYTES (default 2)\n"
               "pc-testdev       ports that read back, ports that drive interrupt lines (dev/testdev.c)\n");
        return OPTIONS_DONE;
    }
    bool named = option_next(&list, &w) && (!w.key[0] || !strcmp(w.key, "driver"));
    if (named && !strcmp(w.value, "pc-testdev")) {
        o->testdev = true;
        return checked(!*list || status_set(st, "-device pc-testdev: it has no settings, not '%.200s'", list));
    }
    if (!named || strcmp(w.value, "isa-debug-exit"))
        return checked(status_set(st, "-device: no device '%.200s'; there are isa-debug-exit, pc-testdev",
                                  w.value[0] ? w.value : value));
    o->debug_exit = true;
    while (option_next(&list, &w))
        if (!set_debug_exit(o, &w, st))
            return OPTIONS_BAD;
    return OPTIONS_RUN;
}

/* ---- how it runs
 * ------------------------------------------------------------------------------------------------------- */

OPTION_VALUE(no_reboot)
{
    o->no_reboot = true;
    return OPTIONS_RUN;
}

OPTION_VALUE(no_shutdown)
{
    o->no_shutdown = true;
    return OPTIONS_RUN;
}

OPTION_VALUE(stopped)
{
    o->start_stopped = true;
    return OPTIONS_RUN;
}

OPTION_VALUE(no_acpi)
{
    o->no_acpi = true;
    return OPTIONS_RUN;
}

OPTION_VALUE(no_hpet)
{
    o->no_hpet = true;
    return OPTIONS_RUN;
}

OPTION_VALUE(rtc)
{
    struct option_word w;
    for (const char *list = value; option_next(&list, &w);) {
        bool good = (!strcmp(w.key, "base") && !strcmp(w.value, "utc")) ||
                    (!strcmp(w.key, "clock") && !strcmp(w.value, "host"));
        if (!good)
            return checked(status_set(st, "-rtc: '%s' is not there; there is base=utc", value));
    }
    return OPTIONS_RUN;
}

OPTION_VALUE(ignored)
{
    return OPTIONS_RUN;
}

OPTION_VALUE(nothing)
{
    return OPTIONS_RUN;
}

/* ---- the log
 * ------------------------------------------------------------------------------------------------------------- */

static enum options_result log_help(struct status *st)
{
    struct log l = {0};
    log_parse(&l, "help", st);
    printf("%s\n  %-13s%s\n", st->text, "nochain", "come back to the loop after each block");
    return OPTIONS_DONE;
}

OPTION_VALUE(log)
{
    struct option_word w;
    struct status list_of_items = {""};
    if (!strcmp(value, "help") || !strcmp(value, "?"))
        return log_help(st);
    for (const char *list = value; option_next(&list, &w);) {
        struct log l = {0};
        if (!strcmp(w.value, "nochain"))
            o->exec.no_links = true;
        else if (!w.key[0] && log_parse(&l, w.value, &list_of_items))
            o->log_items |= l.items;
        else
            return checked(status_set(st, "-d: no item '%.100s'; -d help lists them", w.value));
    }
    return OPTIONS_RUN;
}

OPTION_VALUE(log_file)
{
    o->log_file = value;
    return OPTIONS_RUN;
}

OPTION_VALUE(perfmap)
{
    o->perfmap = true;
    return OPTIONS_RUN;
}

OPTION_VALUE(symbols)
{
    o->symbols = value;
    return OPTIONS_RUN;
}

OPTION_VALUE(jitdump)
{
    o->jitdump = true;
    return OPTIONS_RUN;
}

OPTION_VALUE(log_filter)
{
    struct log l = {0};
    o->log_filter = value;
    return checked(log_filter(&l, value, st));
}
