/* test/bare/smc_counters.c: what stores near code cost.  run.sh runs it twice and compares rhea's counters (`info
 * jit`): with "stores" on the command line it does DATA_STORES stores between functions, each missing all code, and
 * CODE_STORES that each hit one function; with "patches" it changes one operand CODE_PATCHES times and runs it.  Then it
 * says "ready" and halts.
 */
#include "lib/bare.h"

enum { FUNCTIONS = 64, DATA_STORES = 10000, CODE_STORES = 10, CODE_PATCHES = 1000 };
static uint8_t page[4096] __attribute__((aligned(4096)));

typedef uint32_t fn0(void);

static uint32_t call_all(void)
{
    uint32_t sum = 0;
    for (unsigned n = 0; n < FUNCTIONS; n++)
        sum += ((fn0 *)(page + 64 * n))();
    return sum;
}

static bool asked_for(const char *what, unsigned n)
{
    const uint32_t *info = (const uint32_t *)(uintptr_t)*boot_info;
    for (const char *s = (const char *)(uintptr_t)info[4]; *s; s++)
        if (!memcmp(s, what, n))
            return true;
    return false;
}

void test_main(void)
{
    uint32_t count = 0, code = 0;
    if (asked_for(" stores", 7)) {
        count = DATA_STORES;
        code = CODE_STORES;
    }
    for (unsigned n = 0; n < FUNCTIONS; n++) {
        uint8_t *f = page + 64 * n;
        f[0] = 0xb8; /* mov $n, %eax; ret */
        *(uint32_t *)(f + 1) = n;
        f[5] = 0xc3;
    }
    uint32_t sum = call_all() + call_all();
    for (uint32_t n = 0; n < count; n++)
        *(volatile uint32_t *)(page + 64 * (n % FUNCTIONS) + 8 + 4 * (n % 13)) = n;
    sum += call_all();
    for (uint32_t n = 0; n < code; n++) { /* the second finds no block; one that changes nothing would be no store */
        *(volatile uint32_t *)(page + 64 * n + 1) = ~n;
        *(volatile uint32_t *)(page + 64 * n + 1) = n;
    }
    sum += call_all();
    if (asked_for(" patches", 8))
        for (uint32_t n = 0; n < CODE_PATCHES; n++) {
            *(volatile uint32_t *)(page + 1) = n + 1;
            sum += ((fn0 *)page)() != n + 1;
        }
    put("sum %x\nready\n", (uint64_t)sum);
    for (;;)
        __asm__ volatile("cli\nhlt");
}
