/* bench/work/code.c: code that writes code. */
#include <sys/mman.h>

#include "work.h"

enum { SIZE = 1 << 20 };

static uint8_t *code_memory(void)
{
    uint8_t *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED)
        work_fail("mmap");
    memset(m, 0xc3, SIZE);
    return m;
}

/* Change the operand of one insn, run it: mov eax, i; ret. */
static uint64_t run_patch(unsigned n)
{
    uint8_t *m = code_memory();
    uint32_t (*volatile function)(void) = (uint32_t (*)(void))m;
    uint64_t sum = 0;
    m[0] = 0xb8;
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        memcpy(m + 1, &i, 4);
        sum += function();
    }
    work_end();
    return sum;
}

/* Write a function of some 60 insns, run it four times, go on behind it; after a megabyte begin again. */
static uint64_t run_jit(unsigned n)
{
    uint8_t *m = code_memory(), *p = m;
    uint64_t sum = 0, seed = 11;
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        uint8_t *start = p;
        *p++ = 0x89; /* mov eax, edi */
        *p++ = 0xf8;
        for (unsigned k = 0; k < 20; k++) {
            uint32_t r = (uint32_t)work_random(&seed);
            *p++ = 0x05; /* add eax, r */
            memcpy(p, &r, 4);
            p += 4;
            *p++ = 0xd1; /* rol eax, 1 */
            *p++ = 0xc0;
            *p++ = 0x31; /* xor eax, edi */
            *p++ = 0xf8;
        }
        *p++ = 0xc3;
        p += -(uintptr_t)p & 15;
        uint32_t (*volatile function)(uint32_t) = (uint32_t (*)(uint32_t))start;
        for (unsigned k = 0; k < 4; k++)
            sum += function(k + i);
        if (p + 256 > m + SIZE)
            p = m;
    }
    work_end();
    return sum;
}

const struct work works[] = {{"patch", run_patch}, {"jit", run_jit}, {NULL, NULL}};
