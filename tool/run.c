/* tool/run.c: `rhea run`: options, machine, exit status. */
#include "tool/tool.h"

#include <stdlib.h>

int run_main(int argc, char **argv)
{
    struct options o;
    struct status st = {""};
    enum options_result r = options_parse(&o, argc, argv, &st);
    if (r == OPTIONS_DONE)
        return 0;
    if (r == OPTIONS_BAD) {
        fprintf(stderr, "rhea: %s\n", st.text);
        return 1;
    }
    struct machine *m = calloc(1, sizeof *m);
    if (!m) {
        fprintf(stderr, "rhea: no memory\n");
        return 1;
    }
    int code = machine_init(m, &o, &st) ? machine_run(m, &st) : 1;
    machine_fini(m);
    free(m);
    if (st.text[0])
        fprintf(stderr, "rhea: %s\n", st.text);
    return code;
}
