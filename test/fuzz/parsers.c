#include "test/fuzz/fuzz.h"
void parsers_run(uint64_t seed, uint64_t run, const char *folder)
{
    (void)seed, (void)run, (void)folder;
}
