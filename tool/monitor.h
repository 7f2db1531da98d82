/* tool/monitor.h: what the monitor's files share. */
#ifndef RHEA_TOOL_MONITOR_H
#define RHEA_TOOL_MONITOR_H

#include "tool/tool.h"

enum { MONITOR_LINE = 512, MONITOR_HISTORY = 16 };

struct monitor {
    struct machine *machine;
    struct back_char *back;
    FILE *out;    /* while a command runs: collects its output */
    unsigned cpu; /* of $registers and virtual addresses */
    bool prompted;
    char line[MONITOR_LINE];
    unsigned length;
    unsigned escape; /* inside ESC [ ... */
    char history[MONITOR_HISTORY][MONITOR_LINE];
    unsigned nhistory, shown; /* shown: how far back the line on the screen is, 0: a new one */
    char format, size;        /* the last of x and xp */
};
typedef void monitor_fn(struct monitor *mon, const char *args);

static inline struct vcpu *monitor_vcpu(struct monitor *mon)
{
    return mon->machine->cpu[mon->cpu].vcpu;
}
#define COMMAND(name, other, fn, args, help) monitor_fn command_##fn;
#include "tool/commands.def"
#define INFO(name, fn, help) monitor_fn info_##fn;
#include "tool/commands.def"

/* A number, $register or expression at *text, which moves past it; false with the reason in *why. */
bool monitor_expression(struct monitor *mon, const char **text, uint64_t *v, const char **why);

#endif
