/* test/bare/lib/common.c: printing to the debug port, checks, and how a guest ends. */
#include "bare.h"

struct frame caught;
uintptr_t caught_cr2, caught_at;
volatile unsigned interrupts[256];
void (*on_vector[256])(struct frame *);
static unsigned passed, failed;

void *memset(void *p, int v, size_t n)
{
    void *start = p;
    __asm__ volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(v) : "memory");
    return start;
}

void *memcpy(void *to, const void *from, size_t n)
{
    void *start = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    return start;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    for (; n; n--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

static void put_char(char c)
{
    out8(0xe9, (uint8_t)c);
}

static void put_hex(uint64_t v)
{
    bool seen = false;
    for (int s = 60; s >= 0; s -= 4) {
        unsigned digit = v >> s & 15;
        seen |= digit || !s;
        if (seen)
            put_char("0123456789abcdef"[digit]);
    }
}

static void put_decimal(unsigned v)
{
    if (v > 9)
        put_decimal(v / 10);
    put_char((char)('0' + v % 10));
}

void put(const char *f, ...)
{
    __builtin_va_list ap;
    __builtin_va_start(ap, f);
    for (; *f; f++) {
        if (*f != '%') {
            put_char(*f);
            continue;
        }
        switch (*++f) {
        case 's':
            for (const char *s = __builtin_va_arg(ap, const char *); *s; s++)
                put_char(*s);
            break;
        case 'u': put_decimal(__builtin_va_arg(ap, unsigned)); break;
        default: put_hex(__builtin_va_arg(ap, uint64_t)); break;
        }
    }
    __builtin_va_end(ap);
}

void check(const char *name, uint64_t got, uint64_t wanted)
{
    if (got == wanted) {
        passed++;
        put("ok %s\n", name);
        return;
    }
    failed++;
    put("FAIL %s: got %x wanted %x\n", name, got, wanted);
}

void check_caught(const char *name, unsigned vector, unsigned error, uintptr_t at)
{
    if (caught.vector == vector && caught.error == error && caught.ip == at) {
        passed++;
        put("ok %s\n", name);
        return;
    }
    failed++;
    put("FAIL %s: got vector %u error %x at %x wanted vector %u error %x at %x\n", name, (unsigned)caught.vector,
        (uint64_t)caught.error, (uint64_t)caught.ip, vector, (uint64_t)error, (uint64_t)at);
}

void finish(void)
{
    put("%u passed, %u failed\n", passed, failed);
    for (;;)
        out32(0xf4, failed ? 1 : 0);
}
