/* bench/work/cold.c: runs each function of a large generated program (cold.awk) once. */
#include "work.h"

extern uint64_t (*const cold_functions[])(uint64_t);
extern const uint32_t cold_count;

static uint64_t run(unsigned first, unsigned last)
{
    uint64_t sum = 1;
    for (unsigned i = first; i < last; i++)
        sum = cold_functions[i](sum);
    return sum;
}

static uint64_t run_all(unsigned n)
{
    uint64_t sum = 0;
    work_begin();
    for (unsigned i = 0; i < n; i++)
        sum = work_mix(sum, run(0, cold_count));
    work_end();
    return sum;
}

/* For `wide` of system.c: before main, since it is one argument short of a workload. */
__attribute__((constructor)) static void eighth(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "eighth"))
        _Exit(run(0, cold_count / 8) == 0);
}

const struct work works[] = {{"all", run_all}, {NULL, NULL}};
