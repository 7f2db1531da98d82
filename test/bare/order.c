/* test/bare/order.c: who comes when.  Each processor enters its number in one log, at its own pace; run with
 * thread=single, two runs print the same (run.sh compares), and every processor gets its share.
 */
#include "lib/smp.h"

enum { EACH = 3000 };
static uint8_t order[EACH * SMP_MAX];
static uint32_t at;

static void enter(unsigned cpu, void *arg)
{
    (void)arg;
    for (unsigned n = 0; n < EACH; n++) {
        order[__atomic_fetch_add(&at, 1, __ATOMIC_SEQ_CST)] = (uint8_t)cpu;
        for (volatile unsigned pace = (n * (cpu + 3)) % 17; pace; pace--)
            ;
    }
}

void test_main(void)
{
    unsigned n = smp_start(), changes = 0;
    uint64_t hash = 1469598103934665603ull;
    smp_run(enter, NULL);
    for (unsigned i = 0; i < at; i++) {
        changes += i && order[i] != order[i - 1];
        hash = (hash ^ order[i]) * 1099511628211ull;
    }
    put("order %x\n", hash);
    CHECK("all entries are there", at, n * EACH);
    CHECK("no processor ran to its end before the next began", changes > 2 * n, true);
}
