/* test/hw/report.c: how often each row was compared, how its cases ended, and why rows were not. */
#include <inttypes.h>
#include <string.h>

#include "test/hw/hw.h"

static const char *const outcomes[HW_OUTCOMES] = {
    [0] = "#DE",       [1] = "#DB",  [4] = "#OF",  [5] = "#BR",     [6] = "#UD",
    [7] = "#NM",       [10] = "#TS", [11] = "#NP", [12] = "#SS",    [13] = "#GP",
    [14] = "#PF",      [16] = "#MF", [17] = "#AC", [HW_XM] = "#XM", [HW_FINISHED] = "ended",
    [HW_LOST] = "lost"};

static const char *const space_names[] = {"", "VEX ", "EVEX "};
static const char *const map_names[] = {"", "0F ", "0F38 ", "0F3A ", "map4 ", "map5 ", "map6 "};
static const char *const prefix_names[16] = {
    [PFX_NP] = "NP ", [PFX_66] = "66 ", [PFX_F3] = "F3 ", [PFX_F2] = "F2 ", [PFX_NP66] = "NP/66 "};

/* A row as a reader of the manual would name it: VEX 66 0F38 90 W1. */
static void print_name(FILE *out, uint32_t i)
{
    const struct x86_row *row = &x86_rows[i];
    const char *prefix = prefix_names[row->prefix];
    fprintf(out, "%5u %-18s %s%s%s%02X", i, row->name, space_names[row->space], prefix ? prefix : "",
            map_names[row->map], row->opcode);
    if (row->ext >= 0)
        fprintf(out, " /%d", row->ext);
    if (row->mod)
        fprintf(out, " %s", row->mod == 1 ? "reg" : "mem");
    if (row->w == W_0 || row->w == W_1)
        fprintf(out, " W%d", row->w == W_1);
}

static void print_outcomes(FILE *out, const struct hw_count *n)
{
    for (unsigned k = 0; k < HW_OUTCOMES; k++)
        if (n->outcome[k])
            fprintf(out, " %s %" PRIu64, outcomes[k] ? outcomes[k] : "?", n->outcome[k]);
}

static void print_row(FILE *out, const struct hw_run *g, uint32_t i)
{
    const struct hw_count *n = &g->counts[i];
    const char *why = hw_row_excluded(&x86_rows[i], g);
    print_name(out, i);
    if (why) {
        fprintf(out, ": not compared: %s\n", why);
        return;
    }
    if (x86_rows[i].lift == LIFT_none) {
        fprintf(out, ": no lifter; the processor alone ran %" PRIu64 ", of them #UD %" PRIu64 "\n", n->native_only,
                n->native_ud);
        return;
    }
    fprintf(out, ": compared %" PRIu64 ", differ %" PRIu64 " |", n->run, n->differ);
    print_outcomes(out, n);
    if (n->refused)
        fprintf(out, " | no such case %" PRIu64, n->refused);
    if (n->unlifted)
        fprintf(out, " | no lifter %" PRIu64, n->unlifted);
    if (n->undefined)
        fprintf(out, " | undefined flags differ %" PRIu64, n->undefined);
    fprintf(out, "\n");
}

void hw_report(FILE *out, const struct hw_run *g)
{
    fprintf(out, "# %u-bit code, %" PRIu64 " cases, seed 0x%" PRIx64 "\n", g->options->bits, g->options->count,
            g->options->seed);
    fprintf(out, "# row, name, encoding: cases compared, of them different | how the processor ended them\n");
    for (uint32_t i = 0; i < x86_row_count; i++)
        print_row(out, g, i);
    for (uint32_t i = x86_row_count; i < HW_COUNTS; i++) {
        const struct hw_count *n = &g->counts[i];
        fprintf(out, "%s: compared %" PRIu64 ", differ %" PRIu64 " |",
                i == x86_row_count ? "sequences" : "spoiled insns", n->run, n->differ);
        print_outcomes(out, n);
        fprintf(out, "\n");
    }
}

static void print_reasons(const struct hw_run *g)
{
    const char *seen[32];
    unsigned nseen = 0, times[32] = {0};
    for (uint32_t i = 0; i < x86_row_count; i++) {
        const char *why = hw_row_excluded(&x86_rows[i], g);
        unsigned k = 0;
        if (!why)
            continue;
        while (k < nseen && strcmp(seen[k], why))
            k++;
        rh_assert(k < ARRAY_LEN(seen), "few reasons");
        seen[k] = why;
        times[k]++;
        nseen += k == nseen;
    }
    for (unsigned k = 0; k < nseen; k++)
        printf("%6u rows not compared: %s\n", times[k], seen[k]);
}

uint64_t hw_summary(const struct hw_run *g, uint64_t *cases)
{
    unsigned compared = 0, never = 0, differing = 0, unlifted = 0, undefined = 0;
    uint64_t least = UINT64_MAX, differ = 0, insns = 0;
    *cases = 0;
    for (uint32_t i = 0; i < HW_COUNTS; i++) {
        const struct hw_count *n = &g->counts[i];
        *cases += n->run + n->native_only;
        insns += n->insns;
        differ += n->differ;
    }
    for (unsigned k = 0; k < g->nchosen; k++) {
        const struct hw_count *n = &g->counts[g->chosen[k]];
        compared += n->run != 0;
        never += n->run == 0 && n->native_only == 0;
        unlifted += n->native_only != 0;
        differing += n->differ != 0;
        undefined += n->undefined != 0;
        least = n->run && n->run < least ? n->run : least;
        bool strange = n->native_ud || (n->run + n->native_only == 0 && g->options->count > 100000);
        if (n->differ || strange)
            print_row(stdout, g, g->chosen[k]);
    }
    print_reasons(g);
    printf("%6u rows compared, the least often %" PRIu64
           " times; %u never, %u have no lifter; %u with undefined flags that differ\n",
           compared, compared ? least : 0, never, unlifted, undefined);
    printf("%" PRIu64 " cases, %" PRIu64 " insns, %u bits, seed 0x%" PRIx64 ": %" PRIu64 " differ, in %u rows, %" PRIu64
           " sequences and %" PRIu64 " spoiled insns\n",
           *cases, insns, g->options->bits, g->options->seed, differ, differing, g->counts[x86_row_count].differ,
           g->counts[x86_row_count + 1].differ);
    return differ;
}
