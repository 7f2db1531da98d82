/* tool: the program rhea: its subcommands, its options, the running machine, the monitor.
 *
 *     main.c        which subcommand
 *     options.c     rhea run's command line (options.def) to struct options
 *     machine.c     options to a board, processors, consoles; starting, stopping, resetting, ending
 *     monitor.c     the (rhea) prompt: commands.def
 *     explain.c     rhea explain
 *
 * Only this folder ends the program.  Everything that can be wrong about the outside world is found before the first
 * guest instruction runs: option_parse and machine_init say so in a struct status, main prints it and ends with exit
 * status 1.
 */
#ifndef RHEA_TOOL_H
#define RHEA_TOOL_H

#include "exec/exec.h"
#include "mach/mach.h"
#include "tool/disasm.h"

#define RHEA_VERSION "0.1"

/* ---- options (options.c, option_values.c) ----------------------------------------------------------------------- */

struct options {
    uint64_t ram; /* bytes */
    unsigned cpus;
    struct x86_topology topology;
    const char *cpu, *kernel, *initrd, *append, *bios;
    const char *serial[PC_SERIAL_MAX];
    unsigned nserial;
    const char *monitor, *debugcon;
    uint32_t log_items; /* LOG_ bits */
    const char *log_file, *log_filter;
    bool nographic, no_display;
    bool no_reboot, no_shutdown, start_stopped;
    bool no_acpi, no_hpet, no_pit;
    bool testdev, debug_exit;
    unsigned debug_exit_port, debug_exit_size;
    bool perfmap, jitdump;
    const char *symbols; /* of the guest's kernel */
    struct exec_config exec;
};

enum options_result {
    OPTIONS_RUN,
    OPTIONS_DONE, /* help or the like was printed: end with 0 */
    OPTIONS_BAD,  /* the status says why: end with 1 */
};
/* argv[0] is the first option, not the program.  Strings stay argv's. */
enum options_result options_parse(struct options *o, int argc, char **argv, struct status *st);
void options_help(FILE *out, const char *program);

/* An option's row calls one of these. */
typedef enum options_result option_fn(struct options *o, const char *value, struct status *st);
#define OPTION(name, fn, arg, help) option_fn option_##fn;
#include "tool/options.def"

/* One "key=value" or "value" of a comma list; ",," stands for a comma (as in QEMU). */
struct option_word {
    char key[64], value[1024]; /* key is empty for a bare word */
};
/* The next word of *list, which moves past it; false at the end.  Words too long are cut. */
bool option_next(const char **list, struct option_word *w);
/* "512M", "0x10000", "2G": a number with an optional suffix (B K M G T); `unit` multiplies a bare number. */
bool option_size(const char *text, uint64_t unit, uint64_t *v);
bool option_number(const char *text, uint64_t min, uint64_t max, uint64_t *v);

/* ---- the running machine (machine.c, console.c)
 * -------------------------------------------------------------------- */

struct monitor;
struct machine;

struct consoles {
    struct back_char *serial[PC_SERIAL_MAX], *debugcon, *monitor;
    struct back_char *owned[PC_SERIAL_MAX + 2]; /* to be given back */
    unsigned nowned;
    struct back_mux *mux;
    bool stdio_used;
};
/* Open what -serial, -monitor, -debugcon and -nographic ask for. */
bool consoles_open(struct machine *m, struct status *st);
void consoles_close(struct machine *m);

enum machine_event { EVENT_POWER_OFF = 1, EVENT_RESET = 2, EVENT_TRIPLE = 4, EVENT_EXIT = 8 };

/* What callbacks of a vCPU get. */
struct machine_cpu {
    struct machine *machine;
    struct vcpu *vcpu;
    unsigned index;
};
struct machine {
    const struct options *options;
    struct loop *loop;
    struct log log;
    struct consoles consoles;
    struct x86_model *model;
    struct pc pc;
    struct exec exec;
    struct machine_cpu cpu[VCPUS_MAX];
    unsigned ncpus, nstarted;
    struct monitor *monitor;
    struct perf *perf;
    uint32_t events; /* enum machine_event; any thread, atomic */
    unsigned triple_cpu;
    int signals; /* descriptor that reads SIGINT, SIGTERM, SIGHUP */
    int exit_code;
    bool pc_made, exec_made, stopped, ending;
};

/* Everything but the processors' threads.  On false, machine_fini is still to be called. */
bool machine_init(struct machine *m, const struct options *o, struct status *st);
/* Runs until power-off, quit or a debug exit; the exit status. */
int machine_run(struct machine *m, struct status *st);
void machine_fini(struct machine *m);
/* The loop's thread only. */
void machine_stop(struct machine *m); /* all vCPUs stand still */
void machine_continue(struct machine *m);
void machine_reset(struct machine *m);
void machine_quit(struct machine *m, int exit_code);

/* ---- names of blocks for perf (perf.c), of guest addresses (symbols.c) -------------------------------------------- */

struct perf;
struct symbols;
/* On false, *p may have been made and perf_fini is still to be called. */
bool perf_init(struct perf **p, const struct options *o, const struct exec *e, struct status *st);
void perf_fini(struct perf *p);                               /* while the exec still is */
void perf_block(void *perf, const struct block *b, gva_t pc); /* exec.made */

bool symbols_read(struct symbols **s, const char *path, struct status *st);
void symbols_free(struct symbols *s);
/* The symbol that `at` lies in and how far, or NULL; s may be NULL. */
const char *symbols_find(const struct symbols *s, gva_t at, uint64_t *offset);

/* ---- the monitor (monitor.c, monitor_info.c, examine.c)
 * --------------------------------------------------------------- */

bool monitor_init(struct monitor **mon, struct machine *m, struct back_char *back, struct status *st);
void monitor_fini(struct monitor *mon);

/* ---- subcommands
 * ----------------------------------------------------------------------------------------------------------- */

int run_main(int argc, char **argv); /* argv[0] is the first option */
int explain_main(int argc, char **argv);

#endif
