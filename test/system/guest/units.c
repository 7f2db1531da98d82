/* test/system/guest/units.c: computes with AVX2, FMA, F16C, AVX-512, AES, SHA, PCLMULQDQ and BMI2, and prints what comes out.
 *
 * The same program runs natively and in the guest, there with the host's units and without (test/system/units.sh): it must print the same.
 * It asks CPUID first, so that a processor that lacks something shows as a line that is missing.
 */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define FOR(...) __attribute__((target(__VA_ARGS__)))

static uint64_t sum(const void *p, size_t n)
{
    uint64_t h = 0xcbf29ce484222325ull;
    for (const uint8_t *b = p; n--; b++)
        h = (h ^ *b) * 0x100000001b3ull;
    return h;
}

static uint8_t data[4096] __attribute__((aligned(64)));

FOR("avx2") static void avx2(uint8_t *to)
{
    __m256i a = _mm256_setzero_si256();
    for (unsigned i = 0; i < sizeof data; i += 32) {
        __m256i v = _mm256_loadu_si256((const void *)(data + i));
        a = _mm256_add_epi32(_mm256_mullo_epi32(a, _mm256_set1_epi32(31)),
                             _mm256_shuffle_epi8(v, _mm256_avg_epu8(v, a)));
        a = _mm256_permutevar8x32_epi32(_mm256_sub_epi16(a, _mm256_maddubs_epi16(v, a)), _mm256_srli_epi32(v, 3));
        a = _mm256_xor_si256(
            a, _mm256_i32gather_epi32((const int *)data, _mm256_and_si256(v, _mm256_set1_epi32(1023)), 4));
    }
    _mm256_storeu_si256((void *)to, a);
}

FOR("avx2,fma") static void fused(uint8_t *to)
{
    __m256d x = _mm256_set_pd(0.1, 0.7, 1.3, 2.9), y = _mm256_set1_pd(1);
    for (unsigned i = 0; i < 2000; i++) {
        y = _mm256_fmadd_pd(y, x,
                            _mm256_div_pd(_mm256_set1_pd(i), _mm256_add_pd(x, _mm256_sqrt_pd(_mm256_set1_pd(i + 1)))));
        x = _mm256_sub_pd(_mm256_min_pd(x, y), _mm256_round_pd(_mm256_mul_pd(x, y), _MM_FROUND_FLOOR));
        y = _mm256_div_pd(y, _mm256_set1_pd(3));
    }
    _mm256_storeu_pd((double *)(void *)to, _mm256_add_pd(x, y));
}

FOR("avx2,f16c") static void f16c(uint8_t *to)
{
    for (unsigned i = 0; i < 256; i++) {
        __m256 v = _mm256_cvtph_ps(_mm_loadu_si128((const void *)(data + 16 * i)));
        __m128i h = _mm256_cvtps_ph(_mm256_mul_ps(v, _mm256_set1_ps(1.1f)), 0);
        _mm_storeu_si128((void *)to, _mm_xor_si128(h, _mm_shuffle_epi32(_mm_loadu_si128((const void *)to), 0x93)));
    }
}

FOR("avx512f,avx512bw,avx512dq,avx512vl,avx512cd") static void avx512(uint8_t *to)
{
    __m512i a = _mm512_set1_epi32(7);
    for (unsigned i = 0; i < sizeof data; i += 64) {
        __m512i v = _mm512_loadu_si512(data + i);
        __mmask16 k = _mm512_cmpgt_epi32_mask(v, a);
        a = _mm512_mask_compress_epi32(_mm512_rolv_epi32(a, v), k, v);
        a = _mm512_ternarylogic_epi64(a, _mm512_conflict_epi32(v), _mm512_lzcnt_epi64(v), 0x96);
        a = _mm512_mask_add_epi8(a, _mm512_movepi8_mask(v), a, _mm512_permutexvar_epi16(v, a));
        __m512 f = _mm512_mask_cvtepi32_ps(_mm512_castsi512_ps(a), (__mmask16)~k, a);
        a = _mm512_xor_si512(a, _mm512_castps_si512(_mm512_scalef_round_ps(f, _mm512_getexp_ps(f), 11)));
    }
    _mm512_storeu_si512(to, a);
}

FOR("aes,pclmul,sha,sse4.1") static void crypto(uint8_t *to)
{
    __m128i a = _mm_set1_epi32(1), b = a;
    for (unsigned i = 0; i < sizeof data; i += 16) {
        __m128i v = _mm_load_si128((const void *)(data + i));
        a = _mm_aesdec_si128(_mm_aesenc_si128(a, v), _mm_aesimc_si128(_mm_aeskeygenassist_si128(v, 0x1b)));
        b = _mm_sha256rnds2_epu32(_mm_sha256msg1_epu32(b, v), _mm_sha1rnds4_epu32(a, b, 2), v);
        b = _mm_xor_si128(b, _mm_clmulepi64_si128(a, v, 0x10));
    }
    _mm_storeu_si128((void *)to, a);
    _mm_storeu_si128((void *)(to + 16), b);
}

FOR("bmi,bmi2,lzcnt") static void bits(uint8_t *to)
{
    uint64_t x = 1, v;
    for (unsigned i = 0; i < sizeof data; i += 8) {
        memcpy(&v, data + i, 8);
        x = _pdep_u64(x + v, ~v) + _pext_u64(v, x | 0xff00ff) + _lzcnt_u64(x) * 3 + _tzcnt_u64(v << (i & 63));
    }
    memcpy(to, &x, 8);
}

static void tell(const char *name, void (*compute)(uint8_t *), int has)
{
    uint8_t to[64] = {0};
    if (!has)
        return;
    compute(to);
    printf("units %s %016llx\n", name, (unsigned long long)sum(to, sizeof to));
}

int main(void)
{
    uint64_t x = 88172645463325252ull;
    for (unsigned i = 0; i < sizeof data; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(data + i, &x, 8);
    }
    tell("avx2", avx2, __builtin_cpu_supports("avx2"));
    tell("fma", fused, __builtin_cpu_supports("fma"));
    tell("f16c", f16c, __builtin_cpu_supports("f16c"));
    tell("avx512", avx512, __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"));
    tell("crypto", crypto, __builtin_cpu_supports("sha"));
    tell("bits", bits, __builtin_cpu_supports("bmi2"));
    return 0;
}
