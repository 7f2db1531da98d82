#include "tool/tool.h"
int explain_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return 1;
}
