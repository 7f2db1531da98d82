/* bench/work/main.c: the main function of every workload program; see work.h. */
#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "work.h"

static struct timespec began, ended;

void work_begin(void)
{
    clock_gettime(CLOCK_MONOTONIC, &began);
}

void work_end(void)
{
    clock_gettime(CLOCK_MONOTONIC, &ended);
}

void work_skip(const char *why)
{
    printf("skip %s\n", why);
    exit(0);
}

void work_fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

int main(int argc, char **argv)
{
    for (const struct work *w = works; argc == 3 && w->name; w++) {
        if (strcmp(w->name, argv[1]))
            continue;
        uint64_t sum = w->run((unsigned)atoi(argv[2]));
        double seconds = (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) * 1e-9;
        printf("seconds %.9f sum %016" PRIx64 "\n", seconds, sum);
        return 0;
    }
    fprintf(stderr, "usage: %s NAME ROUNDS\n", argv[0]);
    return 2;
}
