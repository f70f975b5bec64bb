/* SPDX-License-Identifier: Apache-2.0 */
/* The vector vocabulary of panel_simd.h, in AVX2 with FMA. */
#ifndef CORE_CPU_SIMD_AVX2_H
#define CORE_CPU_SIMD_AVX2_H

#include <immintrin.h>
#include <stdbool.h>

#define SIMD __attribute__((target("avx2,fma")))
#define SIMD_INLINE SIMD __attribute__((always_inline)) static inline

typedef __m256 vec;
enum { LANES = 8, VECS = 2 };

SIMD_INLINE vec v_load(const float *p) { return _mm256_loadu_ps(p); }
SIMD_INLINE void v_store(float *p, vec a) { _mm256_storeu_ps(p, a); }
SIMD_INLINE vec v_set(float x) { return _mm256_set1_ps(x); }
SIMD_INLINE vec v_add(vec a, vec b) { return _mm256_add_ps(a, b); }
SIMD_INLINE vec v_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
SIMD_INLINE vec v_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
SIMD_INLINE vec v_div(vec a, vec b) { return _mm256_div_ps(a, b); }
SIMD_INLINE vec v_sqrt(vec a) { return _mm256_sqrt_ps(a); }
SIMD_INLINE vec v_max(vec a, vec b) { return _mm256_max_ps(a, b); }
SIMD_INLINE vec v_min(vec a, vec b) { return _mm256_min_ps(a, b); }
SIMD_INLINE vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
SIMD_INLINE vec v_abs(vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.f), a); }
SIMD_INLINE vec v_round(vec a) { return _mm256_round_ps(a, 8); }
/* a * 2^n, n whole; far below the range: 2^-127 a, which is 0 or next to it; above it inf */
SIMD_INLINE vec v_scale(vec a, vec n)
{
    __m256i e = _mm256_cvtps_epi32(
        _mm256_min_ps(_mm256_max_ps(n, _mm256_set1_ps(-127.f)), _mm256_set1_ps(128.f)));
    e = _mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(a, _mm256_castsi256_ps(e));
}
/* whether all lanes are in lo .. hi; NaN is not */
SIMD_INLINE bool v_within(vec a, float lo, float hi)
{
    return _mm256_movemask_ps(_mm256_and_ps(_mm256_cmp_ps(a, v_set(lo), _CMP_GE_OQ),
                                            _mm256_cmp_ps(a, v_set(hi), _CMP_LE_OQ))) == 0xff;
}
/* a + b where x and y differ, a elsewhere */
SIMD_INLINE vec v_add_where_differ(vec a, vec b, vec x, vec y)
{
    return _mm256_add_ps(a, _mm256_and_ps(b, _mm256_cmp_ps(x, y, _CMP_NEQ_UQ)));
}
/* a * s where a < 0 */
SIMD_INLINE vec v_leaky(vec a, vec s)
{
    return _mm256_blendv_ps(a, _mm256_mul_ps(a, s),
                            _mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_LT_OQ));
}
/* a where the lane's bit is set, else b */
SIMD_INLINE vec v_where_bits(unsigned bits, vec a, vec b)
{
    __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i on = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), lane), lane);
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(on));
}
/* a, in a register: compilers read memory again for each use, which costs more across lines */
SIMD_INLINE vec v_keep(vec a)
{
    __asm__("" : "+x"(a));
    return a;
}
SIMD_INLINE __m256i v_first(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
SIMD_INLINE vec v_load_first(const float *p, int n) { return _mm256_maskload_ps(p, v_first(n)); }
SIMD_INLINE void v_store_first(float *p, vec a, int n) { _mm256_maskstore_ps(p, v_first(n), a); }

SIMD_INLINE void v_transpose(vec r[LANES])
{
    vec t[LANES];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0x44);
            r[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0xee);
        }
    for (int j = 0; j < 4; j++) {
        t[j] = _mm256_permute2f128_ps(r[j], r[j + 4], 0x20);
        t[j + 4] = _mm256_permute2f128_ps(r[j], r[j + 4], 0x31);
    }
    for (int j = 0; j < 8; j++)
        r[j] = t[j];
}

SIMD_INLINE float v_most(vec a)
{
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}
SIMD_INLINE float v_total(vec a)
{
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
/* lane i: the total of r[i] */
SIMD_INLINE vec v_totals(const vec r[LANES])
{
    vec t[4], u[2];
    for (int i = 0; i < 4; i++)
        t[i] = v_add(_mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]), _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]));
    for (int i = 0; i < 2; i++)
        u[i] = v_add(_mm256_shuffle_ps(t[2 * i], t[2 * i + 1], 0x44), _mm256_shuffle_ps(t[2 * i], t[2 * i + 1], 0xee));
    return v_add(_mm256_permute2f128_ps(u[0], u[1], 0x20), _mm256_permute2f128_ps(u[0], u[1], 0x31));
}

#endif
