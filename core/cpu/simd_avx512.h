/* SPDX-License-Identifier: Apache-2.0 */
/* The vector vocabulary of panel_simd.h, in AVX-512. */
#ifndef CORE_CPU_SIMD_AVX512_H
#define CORE_CPU_SIMD_AVX512_H

#include <immintrin.h>
#include <stdbool.h>

#ifndef SIMD
#define SIMD __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#endif
#define SIMD_INLINE SIMD __attribute__((always_inline)) static inline

typedef __m512 vec;
enum { LANES = 16, VECS = 4 }; /* lanes of a vector; vectors of a strip that stay in registers */

SIMD_INLINE vec v_load(const float *p) { return _mm512_loadu_ps(p); }
SIMD_INLINE void v_store(float *p, vec a) { _mm512_storeu_ps(p, a); }
SIMD_INLINE vec v_set(float x) { return _mm512_set1_ps(x); }
SIMD_INLINE vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
SIMD_INLINE vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
SIMD_INLINE vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
SIMD_INLINE vec v_div(vec a, vec b) { return _mm512_div_ps(a, b); }
SIMD_INLINE vec v_sqrt(vec a) { return _mm512_sqrt_ps(a); }
SIMD_INLINE vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }
SIMD_INLINE vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); }
SIMD_INLINE vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
SIMD_INLINE vec v_abs(vec a) { return _mm512_abs_ps(a); }
SIMD_INLINE vec v_round(vec a) { return _mm512_roundscale_ps(a, 8); }
/* a * 2^n, n whole; 0 from where it would be subnormal, which costs Intel's cores 100 clocks an
 * operation and which Swin's mask of -100 brings about */
SIMD_INLINE vec v_scale(vec a, vec n)
{
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(n, _mm512_set1_ps(-126.f), _CMP_GT_OQ), a, n);
}
/* whether all lanes are in lo .. hi; NaN is not */
SIMD_INLINE bool v_within(vec a, float lo, float hi)
{
    return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(a, v_set(lo), _CMP_GE_OQ), a, v_set(hi),
                                   _CMP_LE_OQ) == 0xffff;
}
/* a + b where x and y differ, a elsewhere */
SIMD_INLINE vec v_add_where_differ(vec a, vec b, vec x, vec y)
{
    return _mm512_mask_add_ps(a, _mm512_cmp_ps_mask(x, y, _CMP_NEQ_UQ), a, b);
}
/* a * s where a < 0 */
SIMD_INLINE vec v_leaky(vec a, vec s)
{
    return _mm512_mask_mul_ps(a, _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_LT_OQ), a, s);
}
/* a where the lane's bit is set, else b */
SIMD_INLINE vec v_where_bits(unsigned bits, vec a, vec b)
{
    return _mm512_mask_blend_ps((__mmask16)bits, b, a);
}
/* a, in a register: compilers read memory again for each use, which costs more across lines */
SIMD_INLINE vec v_keep(vec a)
{
    __asm__("" : "+v"(a));
    return a;
}
SIMD_INLINE vec v_load_first(const float *p, int n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
SIMD_INLINE void v_store_first(float *p, vec a, int n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a);
}

SIMD_INLINE void v_transpose(vec r[LANES])
{
    vec t[LANES];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + j + 2]);
            r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 4; j++) {
            t[i + j] = _mm512_shuffle_f32x4(r[i + j], r[i + j + 4], 0x88);
            t[i + j + 4] = _mm512_shuffle_f32x4(r[i + j], r[i + j + 4], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        r[j] = _mm512_shuffle_f32x4(t[j], t[j + 8], 0x88);
        r[j + 8] = _mm512_shuffle_f32x4(t[j], t[j + 8], 0xdd);
    }
}

SIMD_INLINE float v_most(vec a) { return _mm512_reduce_max_ps(a); }
SIMD_INLINE float v_total(vec a) { return _mm512_reduce_add_ps(a); }
/* lane i: the total of r[i] */
SIMD_INLINE vec v_totals(const vec r[LANES])
{
    vec t[8], u[4], x[2];
    for (int i = 0; i < 8; i++)
        t[i] = v_add(_mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]), _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]));
    for (int i = 0; i < 4; i++) {
        __m512d a = _mm512_castps_pd(t[2 * i]), b = _mm512_castps_pd(t[2 * i + 1]);
        u[i] = v_add(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
    for (int i = 0; i < 2; i++)
        x[i] = v_add(_mm512_shuffle_f32x4(u[2 * i], u[2 * i + 1], 0x88),
                     _mm512_shuffle_f32x4(u[2 * i], u[2 * i + 1], 0xdd));
    return v_add(_mm512_shuffle_f32x4(x[0], x[1], 0x88), _mm512_shuffle_f32x4(x[0], x[1], 0xdd));
}

#endif
