/* tool/monitor.c: the (rhea) prompt: line editing, the table of commands, and those that control the machine.
 *
 * Runs on the event loop's thread.  Around each command the vCPUs stand still, so that it may look at anything; they
 * go on afterwards unless the command (or somebody before) stopped the machine.  Output is collected and sent with CR
 * LF, as terminals and sockets both take it.
 *
 * Keys: backspace, Ctrl-u (drop the line), Ctrl-l, arrows up and down (earlier lines).
 */
#include "tool/monitor.h"

#include <stdlib.h>
#include <string.h>

static const char prompt[] = "(rhea) ";

static const struct command {
    const char *name, *other;
    monitor_fn *fn;
    const char *args, *help;
} commands[] = {
#define COMMAND(name, other, fn, args, help) {name, other, command_##fn, args, help},
#include "tool/commands.def"
};
static const struct {
    const char *name;
    monitor_fn *fn;
    const char *help;
} infos[] = {
#define INFO(name, fn, help) {name, info_##fn, help},
#include "tool/commands.def"
};

/* ---- output ------------------------------------------------------------------------------------------------------ */

static void send_text(struct monitor *mon, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        back_write(mon->back, text, n);
        text += n;
        if (*text == '\n') {
            back_write(mon->back, "\r\n", 2);
            text++;
        }
    }
}

static void send_prompt(struct monitor *mon)
{
    send_text(mon, prompt);
    mon->prompted = true;
}

/* ---- commands ----------------------------------------------------------------------------------------------------- */

static const struct command *command_find(const char *name, size_t n)
{
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
        const struct command *c = &commands[i];
        if ((strlen(c->name) == n && !memcmp(c->name, name, n)) ||
            (c->other && strlen(c->other) == n && !memcmp(c->other, name, n)))
            return c;
    }
    return NULL;
}

static void help_line(FILE *out, const struct command *c)
{
    char left[64];
    snprintf(left, sizeof left, "%s%s%s %s", c->name, c->other ? "|" : "", c->other ? c->other : "",
             c->args ? c->args : "");
    fprintf(out, "%-24s %s\n", left, c->help);
}

void command_help(struct monitor *mon, const char *args)
{
    const struct command *one = command_find(args, strlen(args));
    if (one) {
        help_line(mon->out, one);
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++)
        help_line(mon->out, &commands[i]);
    fprintf(mon->out, "Ctrl-a c switches between the guest's serial port and this prompt, Ctrl-a x ends rhea.\n");
}

void command_info(struct monitor *mon, const char *args)
{
    size_t n = strcspn(args, " ");
    for (unsigned i = 0; i < ARRAY_LEN(infos); i++)
        if (strlen(infos[i].name) == n && !memcmp(infos[i].name, args, n)) {
            infos[i].fn(mon, args + n + strspn(args + n, " "));
            return;
        }
    if (n)
        fprintf(mon->out, "nothing known about '%s'; there are:\n", args);
    for (unsigned i = 0; i < ARRAY_LEN(infos); i++)
        fprintf(mon->out, "info %-12s %s\n", infos[i].name, infos[i].help);
}

void command_cpu(struct monitor *mon, const char *args)
{
    uint64_t n;
    if (option_number(args, 0, mon->machine->ncpus - 1, &n))
        mon->cpu = (unsigned)n;
    else
        fprintf(mon->out, "cpu: processors are 0 to %u\n", mon->machine->ncpus - 1);
}

void command_stop(struct monitor *mon, const char *args)
{
    (void)args;
    mon->machine->stopped = true;
}

void command_cont(struct monitor *mon, const char *args)
{
    (void)args;
    mon->machine->stopped = false;
}

void command_reset(struct monitor *mon, const char *args)
{
    (void)args;
    machine_reset(mon->machine);
}

void command_powerdown(struct monitor *mon, const char *args)
{
    (void)args;
    acpi_pm_power_button(mon->machine->pc.acpi);
}

void command_nmi(struct monitor *mon, const char *args)
{
    (void)args;
    vcpu_nmi(monitor_vcpu(mon));
}

void command_log(struct monitor *mon, const char *args)
{
    struct log *l = &mon->machine->log;
    struct status st = {""};
    if (!strcmp(args, "none"))
        l->items = 0;
    else if (!log_parse(l, args, &st))
        fprintf(mon->out, "%s\n", st.text);
}

void command_quit(struct monitor *mon, const char *args)
{
    (void)args;
    machine_quit(mon->machine, 0);
}

/* ---- a line
 * ---------------------------------------------------------------------------------------------------------- */

static void run_command(struct monitor *mon, const char *line)
{
    size_t n = strcspn(line, " /");
    const struct command *c = command_find(line, n);
    if (!c) {
        fprintf(mon->out, "unknown command '%s'; help lists them\n", line);
        return;
    }
    const char *args = line + n;
    c->fn(mon, args + strspn(args, " "));
}

static void run_line(struct monitor *mon)
{
    struct machine *m = mon->machine;
    char *line = mon->line + strspn(mon->line, " "), *text = NULL;
    size_t size;
    for (size_t n = strlen(line); n && line[n - 1] == ' ';)
        line[--n] = 0;
    if (!*line)
        return;
    memcpy(mon->history[mon->nhistory++ % MONITOR_HISTORY], mon->line, sizeof mon->line);
    mon->out = open_memstream(&text, &size);
    if (!mon->out)
        return;
    bool was_stopped = m->stopped;
    machine_stop(m);
    m->stopped = was_stopped;
    run_command(mon, line);
    if (!m->stopped)
        machine_continue(m);
    fclose(mon->out);
    mon->out = NULL;
    send_text(mon, text);
    free(text);
}

/* ---- keys
 * -------------------------------------------------------------------------------------------------------------- */

static void show_line(struct monitor *mon)
{
    send_text(mon, "\r\033[K");
    send_prompt(mon);
    back_write(mon->back, mon->line, mon->length);
}

static void recall(struct monitor *mon, bool up)
{
    unsigned most = mon->nhistory < MONITOR_HISTORY ? mon->nhistory : MONITOR_HISTORY;
    if (up ? mon->shown == most : mon->shown == 0)
        return;
    mon->shown += up ? 1u : -1u;
    memset(mon->line, 0, sizeof mon->line);
    if (mon->shown)
        memcpy(mon->line, mon->history[(mon->nhistory - mon->shown) % MONITOR_HISTORY], sizeof mon->line);
    mon->length = (unsigned)strlen(mon->line);
    show_line(mon);
}

static void enter(struct monitor *mon)
{
    send_text(mon, "\n");
    mon->line[mon->length] = 0;
    run_line(mon);
    mon->length = mon->shown = 0;
    memset(mon->line, 0, sizeof mon->line);
    if (!mon->machine->ending)
        send_prompt(mon);
}

static bool in_escape(struct monitor *mon, uint8_t key)
{
    if (key == 0x1b) {
        mon->escape = 1;
        return true;
    }
    if (!mon->escape)
        return false;
    if (mon->escape == 2 && (key == 'A' || key == 'B'))
        recall(mon, key == 'A');
    mon->escape = mon->escape == 1 && key == '[' ? 2 : mon->escape == 2 && key < 0x40 ? 2 : 0;
    return true;
}

static void key_pressed(struct monitor *mon, uint8_t key)
{
    if (in_escape(mon, key))
        return;
    switch (key) {
    case '\r':
    case '\n': enter(mon); break;
    case 'U' & 31:
    case 'C' & 31:
        mon->length = 0;
        show_line(mon);
        break;
    case 'L' & 31: show_line(mon); break;
    case 8:
    case 127:
        if (mon->length) {
            mon->length--;
            send_text(mon, "\b \b");
        }
        break;
    default:
        if (key >= ' ' && key < 127 && mon->length + 1 < MONITOR_LINE) {
            mon->line[mon->length++] = (char)key;
            back_write(mon->back, &key, 1);
        }
    }
}

static void monitor_receive(void *arg, const uint8_t *data, size_t n)
{
    struct monitor *mon = arg;
    for (size_t i = 0; i < n && !mon->machine->ending; i++) {
        if (!mon->prompted)
            send_prompt(mon);
        key_pressed(mon, data[i]);
    }
}

bool monitor_init(struct monitor **out, struct machine *m, struct back_char *back, struct status *st)
{
    struct monitor *mon = calloc(1, sizeof *mon);
    if (!mon)
        return status_set(st, "no memory for the monitor");
    mon->machine = m;
    mon->back = back;
    mon->format = 'x';
    mon->size = 'w';
    back->receive = monitor_receive;
    back->arg = mon;
    if (!m->consoles.mux) {
        send_text(mon, "rhea " RHEA_VERSION " monitor, help lists the commands\n");
        send_prompt(mon);
    }
    *out = mon;
    return true;
}

void monitor_fini(struct monitor *mon)
{
    mon->back->receive = NULL;
    free(mon);
}
