/* Vectors of LANES numbers, and the functions of them that a transformer needs; for vit_pass.c. */
#ifndef VIT_VECTORS_H
#define VIT_VECTORS_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#if !defined(__x86_64__) || !defined(__GNUC__)
#error "written for x86-64 and a compiler with GCC's vectors; elsewhere PyTorch embeds"
#endif

#if LANES == 16
#define UNIT __attribute__((target("avx512f,avx2,fma")))
#define ALIKE(number) ((V)_mm512_set1_ps(number))
#define LARGER(a, b) ((V)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define FLOOR(a) ((V)_mm512_roundscale_ps((__m512)(a), _MM_FROUND_TO_NEG_INF))
#define FUSED(a, b, c) ((V)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#else
#define UNIT __attribute__((target("avx2,fma")))
#define ALIKE(number) ((V)_mm256_set1_ps(number))
#define LARGER(a, b) ((V)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define FLOOR(a) ((V)_mm256_floor_ps((__m256)(a)))
#define FUSED(a, b, c) ((V)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#endif

#define INLINE UNIT static inline __attribute__((always_inline))
#define APART UNIT static __attribute__((noinline))
#define ALL _Pragma("GCC unroll 16")
#define SOME _Pragma("GCC unroll 4")

typedef float V __attribute__((vector_size(4 * LANES), may_alias));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t Whole __attribute__((vector_size(4 * LANES), may_alias));

#define AT(pointer) (*(V *)(pointer)) /* aligned, as all rows here are */
#define CONST_AT(pointer) (*(const V *)(pointer))

/* Half as many where there are sixteen. */
enum { EIGHT = 8 };
typedef float Eight __attribute__((vector_size(4 * EIGHT), may_alias));

#define EIGHT_AT(pointer) (*(const Eight *)(pointer))
#define EIGHT_ALIKE(number) ((Eight)_mm256_set1_ps(number))
#define FUSED_EIGHT(a, b, c) ((Eight)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))

/* The halves are added until one number is left. */
INLINE float total(V sums)
{
    float parts[LANES];
    memcpy(parts, &sums, sizeof parts);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) parts[i] += parts[i + half];
    return parts[0];
}

/* exp(x) for x <= 0, to 2e-7 of it: 2 to the nearest whole number, and a polynomial. */
INLINE V power(V x)
{
    x = LARGER(x, ALIKE(-87.0f));
    const V whole = FLOOR(FUSED(x, ALIKE(1.44269504f), ALIKE(0.5f)));
    x = FUSED(-whole, ALIKE(0.693147182f), x);
    V y = FUSED(x, ALIKE(0.00828929059f), ALIKE(0.0418978221f));
    y = FUSED(x, y, ALIKE(0.166676521f));
    y = FUSED(x, y, ALIKE(0.499991506f));
    y = FUSED(x, y, ALIKE(0.999999701f));
    y = FUSED(x, y, ALIKE(1.0f));
    return (V)((Bits)y + ((Bits)__builtin_convertvector(whole, Whole) << 23));
}

#if LANES == 16
/* erf(x / sqrt(2)) of the bits of an x >= 0: a polynomial for each quarter of an octave, the first
 * from 1/8, the last up to where erf comes to be 1, with the coefficients that Sollya's
 * fpminimax(erf(x / sqrt(2)), 5, [|SG...|], [from; to]) finds; beyond them 1. */
INLINE V erf_of(Bits x)
{
    enum { PIECES = 32, DEGREE = 5, ONE = 22 };
    static const float table[DEGREE + 1][PIECES] __attribute__((aligned(64))) = {
        {0x1.04ef24p-26f, 0x1.039818p-24f, 0x1.a47a94p-23f, 0x1.35889ap-21f, 0x1.e6db1p-20f,
         0x1.dd0452p-18f, 0x1.714776p-16f, 0x1.cf4426p-15f, 0x1.800676p-13f, 0x1.54b43ap-11f,
         0x1.c6b0c6p-10f, 0x1.f051e4p-9f,  0x1.116296p-7f,  0x1.a2bda6p-7f,  -0x1.a0646cp-9f,
         -0x1.1b1cbcp-4f, -0x1.1579b2p-2f, -0x1.183344p-1f, -0x1.99665p-2f,  0x1.2ed9dap-3f,
         0x1.8e1b32p-1f,  0x1.f5765p-1f,   0x1p0f},
        {0x1.98843ep-1f, 0x1.98840ep-1f, 0x1.988396p-1f, 0x1.988276p-1f, 0x1.987f5ap-1f,
         0x1.98745ep-1f, 0x1.985a8p-1f,  0x1.9828d4p-1f, 0x1.978682p-1f, 0x1.95a118p-1f,
         0x1.91f19ep-1f, 0x1.8bf58ep-1f, 0x1.809c0ep-1f, 0x1.77301ep-1f, 0x1.91bfe6p-1f,
         0x1.f16436p-1f, 0x1.760e08p0f,  0x1.033864p1f,  0x1.ca6dacp0f,  0x1.02663cp0f,
         0x1.d90d08p-3f, 0x1.31f26cp-6f},
        {0x1.6bc99ep-17f, 0x1.e5ff12p-16f, 0x1.18477cp-14f, 0x1.2ea6b8p-13f, 0x1.56556p-12f,
         0x1.c1f5b6p-11f, 0x1.f372cp-10f,  0x1.dca922p-9f,  0x1.149d8ap-7f,  0x1.4b5518p-6f,
         0x1.4271b2p-5f,  0x1.0e6fa8p-4f,  0x1.bf6ccp-4f,   0x1.1e4f56p-3f,  0x1.280096p-4f,
         -0x1.1dfbd6p-3f, -0x1.3b2d86p-1f, -0x1.13b6bp0f,   -0x1.db312ep-1f, -0x1.ed3f7p-2f,
         -0x1.89f15p-4f,  -0x1.bcc844p-8f},
        {-0x1.108aep-3f,  -0x1.10c736p-3f, -0x1.11306ep-3f, -0x1.11e812p-3f, -0x1.13572ap-3f,
         -0x1.16cdap-3f,  -0x1.1c8014p-3f, -0x1.249bfp-3f,  -0x1.37bc04p-3f, -0x1.5e3392p-3f,
         -0x1.92637ep-3f, -0x1.d0bf78p-3f, -0x1.1392bep-2f, -0x1.2d9794p-2f, -0x1.008954p-2f,
         -0x1.0aa1e4p-3f, 0x1.9fad42p-4f,  0x1.29904cp-2f,  0x1.f268bep-3f,  0x1.d9d922p-4f,
         0x1.48cadp-6f,   0x1.43c014p-10f},
        {0x1.e12f46p-12f, 0x1.b08bb8p-11f, 0x1.63f46ap-10f, 0x1.19df7p-9f,   0x1.ca756cp-9f,
         0x1.95ca4ep-8f,  0x1.442e24p-7f,  0x1.d8b08p-7f,   0x1.814e06p-6f,  0x1.3b9832p-5f,
         0x1.c6cadap-5f,  0x1.2ab20ep-4f,  0x1.7f322p-4f,   0x1.aa7ed2p-4f,  0x1.6fb9dep-4f,
         0x1.c73d7cp-5f,  -0x1.ddbc9p-11f, -0x1.457cd2p-5f, -0x1.0839e2p-5f, -0x1.c9eb56p-7f,
         -0x1.12f464p-9f, -0x1.d7e7p-14f},
        {0x1.36c0ap-6f,   0x1.2f1a22p-6f,   0x1.25d0ap-6f,   0x1.1a0b16p-6f,  0x1.0908a8p-6f,
         0x1.d9ac46p-7f,  0x1.990496p-7f,   0x1.54f26ap-7f,  0x1.c1672p-8f,   0x1.0ca358p-9f,
         -0x1.465ea6p-9f, -0x1.a85f4p-8f,   -0x1.58a6ccp-7f, -0x1.92593cp-7f, -0x1.54f54cp-7f,
         -0x1.aaba08p-8f, -0x1.0474ecp-10f, 0x1.20555p-9f,   0x1.c4b4fcp-10f, 0x1.63ef24p-11f,
         0x1.7086eap-14f, 0x1.1376b4p-18f},
    };
    const Whole eighth = (Whole){0} + 0x3e000000, last = (Whole){0} + 0x40b15cee; /* 5.542594 */
    Whole piece = ((Whole)x - eighth - 1) >> 21;
    piece = (Whole)_mm512_max_epi32((__m512i)piece, _mm512_setzero_si512());
    const __mmask16 beyond = _mm512_cmpgt_epi32_mask((__m512i)x, (__m512i)last);
    const __m512i place = _mm512_mask_mov_epi32((__m512i)piece, beyond, _mm512_set1_epi32(ONE));
    V y = {0};
    for (int degree = DEGREE; degree >= 0; degree--) {
        const float *row = table[degree];
        const V some =
            (V)_mm512_permutex2var_ps((__m512)CONST_AT(row), place, (__m512)CONST_AT(row + LANES));
        y = degree == DEGREE ? some : FUSED(y, (V)x, some);
    }
    return y;
}

/* x * (1 + erf(x / sqrt(2))) / 2, as oneDNN has it. */
INLINE V gelu(V x)
{
    const Bits sign = (Bits)x & 0x80000000u;
    return x * ((V)((Bits)erf_of((Bits)x ^ sign) ^ sign) + 1.0f) * 0.5f;
}
#else
/* x / 2 * (1 + erf(x / sqrt(2))), with erf by formula 7.1.26 of Abramowitz and Stegun. */
INLINE V gelu(V x)
{
    const V z = x * 0.707106781f, half = x * 0.5f;
    const V t = 1.0f / FUSED(LARGER(z, -z), ALIKE(0.3275911f), ALIKE(1.0f));
    V y = FUSED(t, ALIKE(1.061405429f), ALIKE(-1.453152027f));
    y = FUSED(y, t, ALIKE(1.421413741f));
    y = FUSED(y, t, ALIKE(-0.284496736f));
    y = FUSED(y, t, ALIKE(0.254829592f));
    const V erf = FUSED(-(power(-(z * z)) * t), y, ALIKE(1.0f));
    return FUSED(half, (V)((Bits)erf ^ ((Bits)z & 0x80000000u)), half);
}
#endif

#endif
