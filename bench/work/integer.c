/* bench/work/integer.c: integer programs, the kind of code that compilers, interpreters and servers are made of. */
#include <stdarg.h>

#include "work.h"

#define NOINLINE __attribute__((noinline, noclone))

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static NOINLINE unsigned fib(unsigned n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static uint64_t run_fib(unsigned n)
{
    work_begin();
    unsigned f = fib(n);
    work_end();
    return f;
}

static NOINLINE unsigned op_add(unsigned a) { return a + 7; }
static NOINLINE unsigned op_xor(unsigned a) { return a ^ 0x5555; }
static NOINLINE unsigned op_rotate(unsigned a) { return a << 3 | a >> 29; }
static NOINLINE unsigned op_times(unsigned a) { return a * 5; }
static unsigned (*const volatile ops[])(unsigned) = {op_add, op_xor, op_rotate, op_times, op_xor, op_add, op_times, op_rotate};

static uint64_t run_indirect(unsigned n)
{
    uint64_t seed = 1;
    uint8_t order[4096];
    for (unsigned i = 0; i < sizeof order; i++)
        order[i] = work_random(&seed) & 7;
    unsigned a = 1;
    work_begin();
    for (unsigned i = 0; i < n; i++)
        a = ops[order[i & 4095]](a);
    work_end();
    return a;
}

/* ---- an interpreter of a small stack machine ----------------------------------------------------------------------- */

enum { PUSH, ADD, MUL, XOR, DUP, SWAP, LOAD, STORE, DEC, JNZ, HALT };

static NOINLINE uint64_t interpret(const uint8_t *code, uint64_t rounds)
{
    uint64_t stack[32], *sp = stack, slot[8] = {rounds};
    for (;;)
        switch (*code++) {
        case PUSH: *sp++ = *code++; break;
        case ADD: sp--; sp[-1] += *sp; break;
        case MUL: sp--; sp[-1] *= *sp; break;
        case XOR: sp--; sp[-1] ^= *sp; break;
        case DUP: *sp = sp[-1]; sp++; break;
        case SWAP: { uint64_t t = sp[-1]; sp[-1] = sp[-2]; sp[-2] = t; break; }
        case LOAD: *sp++ = slot[*code++ & 7]; break;
        case STORE: slot[*code++ & 7] = *--sp; break;
        case DEC: slot[*code++ & 7]--; break;
        case JNZ: { uint8_t back = *code++; if (slot[0]) code -= back; break; }
        default: return slot[1];
        }
}

static uint64_t run_switch(unsigned n)
{
    static const uint8_t program[] = {LOAD, 1, PUSH, 3, ADD, DUP, PUSH, 17, MUL, XOR, LOAD, 0, SWAP, ADD, STORE, 1, DEC, 0, JNZ, 20, HALT};
    work_begin();
    uint64_t r = interpret(program, n);
    work_end();
    return r;
}

/* ---- sorting, hashing, strings, allocation ------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint64_t run_qsort(unsigned n)
{
    uint64_t seed = 42, sum = 0;
    uint32_t *v = malloc(n * sizeof *v);
    for (unsigned i = 0; i < n; i++)
        v[i] = (uint32_t)work_random(&seed);
    work_begin();
    qsort(v, n, sizeof *v, compare);
    work_end();
    for (unsigned i = 0; i < n; i++)
        sum = work_mix(sum, v[i]);
    return sum;
}

static uint64_t run_hash(unsigned n)
{
    enum { SIZE = 1 << 16 };
    uint64_t *key = calloc(SIZE, sizeof *key), *value = calloc(SIZE, sizeof *value), seed = 7, found = 0;
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        uint64_t k = (work_random(&seed) % 40000) + 1;
        unsigned at = (unsigned)(k * 0x9e3779b97f4a7c15ull >> 48);
        while (key[at] && key[at] != k)
            at = (at + 1) % SIZE;
        found += key[at] == k;
        key[at] = k;
        value[at] += i;
    }
    work_end();
    for (unsigned i = 0; i < SIZE; i++)
        found = work_mix(found, value[i]);
    return found;
}

static uint64_t run_string(unsigned n)
{
    char line[256], copy[256];
    uint64_t sum = 0;
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        strcpy(line, "the quick brown fox jumps over the lazy dog; key=");
        size_t l = strlen(line);
        line[l] = (char)('a' + i % 26);
        strcpy(line + l + 1, ",value=none");
        strcpy(copy, line);
        sum += (uint64_t)(strchr(copy, ';') - copy) + strlen(strstr(copy, "value")) + (uint64_t)(strcmp(copy, line) == 0);
        sum += (uint64_t)memcmp(copy, line, l) + strcspn(copy, ",");
        for (char *save, *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
            sum = work_mix(sum, (unsigned char)word[0]);
    }
    work_end();
    return sum;
}

static uint64_t run_printf(unsigned n)
{
    char text[128];
    uint64_t sum = 0;
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        int l = snprintf(text, sizeof text, "%d %08x %s %5.2f %c|%-10u|", (int)i - 100, i * 77u, "word", i * 0.25, 'a' + (int)(i % 26), i);
        sum = work_mix(sum, (uint64_t)l + (unsigned char)text[l / 2]);
        sum += strtoul(text, NULL, 10);
    }
    work_end();
    return sum;
}

static uint64_t run_malloc(unsigned n)
{
    enum { KEPT = 512 };
    char *kept[KEPT] = {0};
    uint64_t seed = 3, sum = 0;
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        uint64_t r = work_random(&seed);
        unsigned at = r % KEPT, size = 16 + (r >> 20) % (i % 64 ? 200 : 4000);
        if (kept[at])
            sum += (unsigned char)kept[at][0];
        free(kept[at]);
        kept[at] = malloc(size);
        kept[at][0] = (char)i;
    }
    work_end();
    return sum;
}

static uint64_t run_sieve(unsigned n)
{
    char *composite = calloc(n, 1);
    uint64_t primes = 0;
    work_begin();
    for (unsigned i = 2; i < n; i++)
        if (!composite[i]) {
            primes++;
            for (unsigned k = 2 * i; k < n; k += i)
                composite[k] = 1;
        }
    work_end();
    return primes;
}

/* ---- a mix in the proportions of embedded benchmarks: lists, a matrix, a state machine, CRC ------------------------- */

struct node {
    struct node *next;
    int16_t value, index;
};

static NOINLINE uint16_t crc(uint16_t sum, uint16_t value)
{
    for (unsigned bit = 0; bit < 16; bit++) {
        unsigned odd = (sum ^ value) & 1;
        value >>= 1;
        sum = (uint16_t)(sum >> 1 ^ (odd ? 0xa001 : 0));
    }
    return sum;
}

static NOINLINE struct node *reverse(struct node *l)
{
    struct node *r = NULL;
    while (l) {
        struct node *next = l->next;
        l->next = r;
        r = l;
        l = next;
    }
    return r;
}

static NOINLINE const struct node *find(const struct node *l, int value)
{
    while (l && l->value != value)
        l = l->next;
    return l;
}

static NOINLINE uint16_t matrix(int16_t a[][12], int16_t b[][12], uint16_t sum)
{
    for (unsigned i = 0; i < 12; i++)
        for (unsigned k = 0; k < 12; k++) {
            int t = 0;
            for (unsigned j = 0; j < 12; j++)
                t += a[i][j] * b[j][k];
            sum = crc(sum, (uint16_t)t);
        }
    return sum;
}

/* Counts integers, decimals and words in a text, a state a character. */
static NOINLINE uint16_t scan(const char *text, uint16_t sum)
{
    enum { START, INTEGER, DECIMAL, WORD } state = START;
    uint16_t count[4] = {0};
    for (; *text; text++)
        switch (state) {
        case START: state = *text >= '0' && *text <= '9' ? INTEGER : *text == ' ' ? START : WORD; break;
        case INTEGER:
            if (*text == '.')
                state = DECIMAL;
            else if (*text == ' ')
                count[INTEGER]++, state = START;
            break;
        case DECIMAL:
        case WORD:
            if (*text == ' ')
                count[state]++, state = START;
            break;
        }
    for (unsigned i = 0; i < 4; i++)
        sum = crc(sum, count[i]);
    return sum;
}

static uint64_t run_mix(unsigned n)
{
    static struct node node[200];
    static int16_t a[12][12], b[12][12];
    struct node *list = NULL;
    uint16_t sum = 0;
    for (int i = 0; i < 200; i++) {
        node[i] = (struct node){list, (int16_t)(i * 37 % 200), (int16_t)i};
        list = &node[i];
        a[i % 12][i / 12 % 12] = (int16_t)(i - 50);
        b[i / 12 % 12][i % 12] = (int16_t)(i * 3);
    }
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        list = reverse(list);
        for (int k = 0; k < 10; k++)
            sum = crc(sum, (uint16_t)find(list, (int)(i * 13 + (unsigned)k * 17) % 200)->index);
        a[i % 12][i / 12 % 12]++;
        sum = matrix(a, b, sum);
        sum = scan("12 3.14 word 99 x 8.5e3 seven 0 17 2.5 end ", sum);
    }
    work_end();
    return sum;
}

/* ---- compression: greedy LZ with a hash of four bytes ---------------------------------------------------------------- */

static size_t lz_pack(const uint8_t *in, size_t n, uint8_t *out)
{
    static uint32_t last[1 << 14];
    uint8_t *o = out;
    memset(last, 0, sizeof last);
    for (size_t i = 0; i < n;) {
        uint32_t four = 0;
        if (i + 4 <= n)
            memcpy(&four, in + i, 4);
        uint32_t *slot = &last[four * 2654435761u >> 18];
        size_t from = *slot, length = 0;
        *slot = (uint32_t)i + 1;
        if (from-- && i - from < 65536)
            while (length < 255 && i + length < n && in[from + length] == in[i + length])
                length++;
        if (length >= 4) {
            *o++ = (uint8_t)length;
            *o++ = (uint8_t)(i - from);
            *o++ = (uint8_t)((i - from) >> 8);
            i += length;
        } else {
            *o++ = 0;
            *o++ = in[i++];
        }
    }
    return (size_t)(o - out);
}

static size_t lz_unpack(const uint8_t *in, size_t n, uint8_t *out)
{
    uint8_t *o = out;
    for (size_t i = 0; i < n;)
        if (in[i]) {
            const uint8_t *from = o - (in[i + 1] | in[i + 2] << 8);
            for (unsigned k = in[i]; k--;)
                *o++ = *from++;
            i += 3;
        } else {
            *o++ = in[i + 1];
            i += 2;
        }
    return (size_t)(o - out);
}

static uint64_t run_lz(unsigned n)
{
    enum { SIZE = 1 << 18 };
    uint8_t *plain = malloc(SIZE), *packed = malloc(2 * SIZE), *again = malloc(SIZE + 256);
    uint64_t seed = 9, sum = 0;
    for (size_t i = 0; i < SIZE;) { /* words of a small vocabulary, some noise */
        uint64_t r = work_random(&seed), word = (r % 300) * 0x9e3779b97f4a7c15ull;
        for (unsigned k = 0; k < 3 + r % 7 && i < SIZE; k++)
            plain[i++] = (uint8_t)('a' + (word >> (k * 5)) % 26);
        if (i < SIZE)
            plain[i++] = r >> 32 & 15 ? ' ' : (uint8_t)(r >> 40);
    }
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        size_t size = lz_pack(plain, SIZE, packed);
        if (lz_unpack(packed, size, again) != SIZE || memcmp(plain, again, SIZE))
            work_fail("what was unpacked is not what was packed");
        sum = work_mix(sum, size);
        plain[i % SIZE]++;
    }
    work_end();
    return sum;
}

const struct work works[] = {{"fib", run_fib},       {"indirect", run_indirect}, {"switch", run_switch}, {"qsort", run_qsort},
                             {"hash", run_hash},     {"string", run_string},     {"printf", run_printf}, {"malloc", run_malloc},
                             {"sieve", run_sieve},   {"mix", run_mix},           {"lz", run_lz},         {NULL, NULL}};
