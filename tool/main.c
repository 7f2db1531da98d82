/* tool/main.c: which program this is: `rhea run ...`, `rhea explain ...`, or rhea-system-x86_64, which is `rhea run`. */
#include "tool/tool.h"

#include <string.h>

static const char usage[] =
    "rhea " RHEA_VERSION ": runs a whole x86-64 machine by translating its code\n\n"
    "  rhea run [options]       run a machine; options are QEMU's, rhea run -help lists them\n"
    "  rhea explain ...         show what becomes of guest code; rhea explain -help\n"
    "  rhea version\n\n"
    "  rhea run -m 512M -nographic -kernel vmlinuz -initrd initrd.img -append \"console=ttyS0\"\n\n"
    "Under the name rhea-system-x86_64 it takes the options of rhea run at once.\n";

static bool is(const char *word, const char *name)
{
    return !strcmp(word, name) || (word[0] == '-' && !strcmp(word + 1 + (word[1] == '-'), name));
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
    if (!strncmp(name, "rhea-system-", 12))
        return run_main(argc - 1, argv + 1);
    if (argc < 2 || is(argv[1], "help") || is(argv[1], "h")) {
        fputs(usage, stdout);
        return 0;
    }
    if (!strcmp(argv[1], "run"))
        return run_main(argc - 2, argv + 2);
    if (!strcmp(argv[1], "explain"))
        return explain_main(argc - 2, argv + 2);
    if (is(argv[1], "version")) {
        printf("rhea version " RHEA_VERSION "\n");
        return 0;
    }
    fprintf(stderr, "rhea: no subcommand '%.100s'; there are run, explain, version, help\n", argv[1]);
    return 1;
}
