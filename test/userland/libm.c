/* test/userland/libm.c: a line for each function of libm: a hash of its results for COUNT random arguments (first argument of the program; a
 * million), in float, double and long double.  Run natively and in a guest, the lines must be the same. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t random_state;

static uint64_t next(void) /* splitmix64 */
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* One in four is any bit pattern; the others lie where functions do their real work. */
static double argument(void)
{
    uint64_t r = next();
    double x;
    if (r % 4 == 0) {
        r = next();
        memcpy(&x, &r, sizeof x);
        return x;
    }
    x = (double)(int64_t)next() / 9223372036854775808.0;
    return r % 4 == 1 ? x : r % 4 == 2 ? x * 40 : x * 1e4;
}

static uint64_t hash;

static void mix(const void *p, size_t n)
{
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ b[i]) * 0x100000001b3ull;
}

static const struct {
    const char *name;
    double (*d)(double);
    float (*f)(float);
    long double (*l)(long double);
} one[] = {
#define F(name) {#name, name, name##f, name##l}
    F(sin),  F(cos),  F(tan),   F(asin),  F(acos),  F(atan),  F(sinh),      F(cosh),  F(tanh),
    F(exp),  F(exp2), F(expm1), F(log),   F(log2),  F(log10), F(log1p),     F(cbrt),  F(sqrt),
    F(erf),  F(erfc), F(tgamma), F(lgamma), F(asinh), F(acosh), F(atanh),   F(floor), F(ceil),
    F(rint), F(trunc), F(round), F(nearbyint), F(j0), F(y0),   F(logb),
#undef F
};

static const struct {
    const char *name;
    double (*d)(double, double);
    float (*f)(float, float);
    long double (*l)(long double, long double);
} two[] = {
#define F(name) {#name, name, name##f, name##l}
    F(pow), F(atan2), F(fmod), F(hypot), F(remainder), F(fdim), F(nextafter), F(copysign),
#undef F
};

static void report(const char *name, const char *type)
{
    printf("%s %s %016llx\n", name, type, (unsigned long long)hash);
    hash = 0xcbf29ce484222325ull;
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? atol(argv[1]) : 1000000;
    hash = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < sizeof one / sizeof *one; i++) {
        random_state = i;
        for (long n = 0; n < count; n++) {
            double r = one[i].d(argument());
            mix(&r, sizeof r);
        }
        report(one[i].name, "double");
        for (long n = 0; n < count; n++) {
            float r = one[i].f((float)argument());
            mix(&r, sizeof r);
        }
        report(one[i].name, "float");
        for (long n = 0; n < count; n++) {
            long double r = one[i].l((long double)argument() * (1 + (long double)next() / 1e30L));
            mix(&r, 10); /* the other six bytes are padding */
        }
        report(one[i].name, "long double");
    }
    for (size_t i = 0; i < sizeof two / sizeof *two; i++) {
        random_state = 1000 + i;
        for (long n = 0; n < count; n++) {
            double x = argument(), r = two[i].d(x, argument());
            mix(&r, sizeof r);
        }
        report(two[i].name, "double");
        for (long n = 0; n < count; n++) {
            float x = (float)argument(), r = two[i].f(x, (float)argument());
            mix(&r, sizeof r);
        }
        report(two[i].name, "float");
        for (long n = 0; n < count; n++) {
            long double x = argument(), r = two[i].l(x, argument());
            mix(&r, 10);
        }
        report(two[i].name, "long double");
    }
    return 0;
}
