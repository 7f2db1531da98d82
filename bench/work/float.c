/* bench/work/float.c: floating point: scalar double, single-precision vectors with SSE and AVX2, the C library's functions, x87. */
#include <immintrin.h>
#include <math.h>

#include "work.h"

/* ---- five bodies under gravity ------------------------------------------------------------------------------------- */

struct body {
    double x[3], v[3], mass;
};

static uint64_t run_nbody(unsigned n)
{
    struct body b[5];
    for (int i = 0; i < 5; i++)
        b[i] = (struct body){
            {i * 1.5 + 0.1, i * i * 0.7 - 1, 2.0 - i}, {0.1 * i, 0.2 - 0.05 * i, 0.03 * i * i}, 1.0 / (1 + i)};
    work_begin();
    for (unsigned step = 0; step < n; step++) {
        for (int i = 0; i < 5; i++)
            for (int j = i + 1; j < 5; j++) {
                double d[3], r2 = 0.01;
                for (int k = 0; k < 3; k++) {
                    d[k] = b[i].x[k] - b[j].x[k];
                    r2 += d[k] * d[k];
                }
                double m = 0.001 / (r2 * sqrt(r2));
                for (int k = 0; k < 3; k++) {
                    b[i].v[k] -= d[k] * b[j].mass * m;
                    b[j].v[k] += d[k] * b[i].mass * m;
                }
            }
        for (int i = 0; i < 5; i++)
            for (int k = 0; k < 3; k++)
                b[i].x[k] += 0.001 * b[i].v[k];
    }
    work_end();
    uint64_t sum = 0;
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 3; k++)
            sum = work_mix_double(sum, b[i].x[k]);
    return sum;
}

/* ---- products of 128 x 128 matrices --------------------------------------------------------------------------------- */

enum { SIDE = 128 };
static float left[SIDE][SIDE] __attribute__((aligned(32))), right[SIDE][SIDE] __attribute__((aligned(32))),
    product[SIDE][SIDE] __attribute__((aligned(32)));

static void matrices(void)
{
    for (int i = 0; i < SIDE; i++)
        for (int k = 0; k < SIDE; k++) {
            left[i][k] = (float)((i * 7 + k) % 13 - 6);
            right[i][k] = (float)((i + k * 5) % 11 - 5);
        }
}

static uint64_t matrix_sum(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < SIDE; i++)
        for (int k = 0; k < SIDE; k++)
            sum = work_mix(sum, (uint64_t)(int64_t)product[i][k]);
    return sum;
}

static uint64_t run_sse(unsigned n)
{
    matrices();
    work_begin();
    for (unsigned r = 0; r < n; r++)
        for (int i = 0; i < SIDE; i++)
            for (int k = 0; k < SIDE; k += 8) {
                __m128 a = _mm_setzero_ps(), b = _mm_setzero_ps();
                for (int j = 0; j < SIDE; j++) {
                    __m128 l = _mm_set1_ps(left[i][j]);
                    a = _mm_add_ps(a, _mm_mul_ps(l, _mm_load_ps(&right[j][k])));
                    b = _mm_add_ps(b, _mm_mul_ps(l, _mm_load_ps(&right[j][k + 4])));
                }
                _mm_store_ps(&product[i][k], a);
                _mm_store_ps(&product[i][k + 4], b);
            }
    work_end();
    return matrix_sum();
}

__attribute__((target("avx2,fma"))) static uint64_t run_avx2(unsigned n)
{
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        work_skip("no AVX2 and FMA");
    matrices();
    work_begin();
    for (unsigned r = 0; r < n; r++)
        for (int i = 0; i < SIDE; i++)
            for (int k = 0; k < SIDE; k += 16) {
                __m256 a = _mm256_setzero_ps(), b = _mm256_setzero_ps();
                for (int j = 0; j < SIDE; j++) {
                    __m256 l = _mm256_set1_ps(left[i][j]);
                    a = _mm256_fmadd_ps(l, _mm256_load_ps(&right[j][k]), a);
                    b = _mm256_fmadd_ps(l, _mm256_load_ps(&right[j][k + 8]), b);
                }
                _mm256_store_ps(&product[i][k], a);
                _mm256_store_ps(&product[i][k + 8], b);
            }
    work_end();
    return matrix_sum();
}

/* ---- the C library's functions --------------------------------------------------------------------------------------- */

static uint64_t run_libm(unsigned n)
{
    double s = 0, e = 0, l = 0, p = 0;
    work_begin();
    for (unsigned i = 1; i <= n; i++) {
        double x = i * 0.001;
        s += sin(x);
        e += exp(-x * 0.01);
        l += log(x);
        p += pow(x, 0.3);
    }
    work_end();
    return work_mix_double(work_mix_double(work_mix_double(work_mix_double(0, s), e), l), p);
}

/* ---- x87: long double, and what only x87 has -------------------------------------------------------------------------- */

static uint64_t run_x87(unsigned n)
{
    long double x = 0.1L, y = 1.3L, sum = 0;
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        x = x * 1.0009765625L + y / (1.5L + x);
        if (x > 8)
            x -= 7.875L;
        y = sqrtl(y + x);
        sum += x - y;
    }
    work_end();
    return work_mix_double(work_mix_double(0, (double)sum), (double)x);
}

/* Sums of products and a relaxation over arrays: every value is loaded, and half of them stored. */
static uint64_t run_x87_arrays(unsigned n)
{
    enum { SIZE = 256 };
    static long double a[SIZE], b[SIZE];
    long double sum = 0;
    for (unsigned i = 0; i < SIZE; i++) {
        a[i] = 1.0L / (i + 1);
        b[i] = (i % 7) * 0.125L;
    }
    work_begin();
    for (unsigned k = 0; k < n; k++)
        for (unsigned i = 1; i < SIZE; i++) {
            sum += a[i] * b[i];
            a[i] = a[i] * 0.9375L + a[i - 1] * 0.0625L;
        }
    work_end();
    return work_mix_double(work_mix_double(0, (double)sum), (double)a[SIZE / 2]);
}

static uint64_t run_x87_trig(unsigned n)
{
    long double sum = 0;
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        long double x = i * 0.001L, s, c;
        __asm__("fsincos" : "=t"(c), "=u"(s) : "0"(x));
        sum += s * c;
    }
    work_end();
    return work_mix_double(0, (double)sum);
}

const struct work works[] = {
    {"nbody", run_nbody}, {"matrix-sse", run_sse},        {"matrix-avx2", run_avx2},  {"libm", run_libm},
    {"x87", run_x87},     {"x87-arrays", run_x87_arrays}, {"x87-trig", run_x87_trig}, {NULL, NULL}};
