/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over windows that slide along X with AVX512-BF16's dot products: attn_near_simd.h over simd_bf16.h.
 * Products of q and k are exact; weights are rounded to bf16 (2^-8) for their products with v; sums are fp32, the
 * sum of the weights is of those not rounded.
 */
#if defined(__x86_64__)
#include "attn2d3d/attn_near.h"
#include "core/cpu/simd_bf16.h"

#define LEVEL_PER 2    /* numbers of a lane */
#define LEVEL_ROWS 4   /* rows of queries of a tile */
#define LEVEL_SUMS 24  /* sums in registers */
#define LEVEL_GROUP 6  /* couples of queries that share values */
#define LEVEL_VECS 4   /* vectors of these */

SIMD_INLINE vec v_mac(vec a, vec b, vec sum)
{
    return v_dot(sum, (__m512i)a, (__m512i)b);
}
/* Channels d and on of two rows of halves, as pairs. */
SIMD_INLINE vec v_values(const float *const row[2], int d, int left)
{
    __mmask16      m = left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1);
    const uint16_t *lo = (const uint16_t *)(const void *)row[0] + d, *hi = (const uint16_t *)(const void *)row[1] + d;
    __m512i        a = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, lo));
    __m512i        b = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, hi));
    return (vec)_mm512_or_si512(a, _mm512_slli_epi32(b, 16));
}
/* Weights of an even offset, a, and the next, b: even queries' pair is these, that of odd ones the one before and a. */
SIMD_INLINE void v_put_weights(float *to, vec last, vec a, vec b, bool two)
{
    (void)two;
    v_store(to, (vec)v_pair(v_where_bits(0x5555, a, last), v_where_bits(0x5555, b, a)));
}
SIMD_INLINE void v_store_halves(uint16_t *to, vec a, int left)
{
    __mmask16 m = left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1);
    _mm256_mask_storeu_epi16(to, m, (__m256i)_mm512_cvtneps_pbh(a));
}

#include "attn2d3d/attn_near_simd.h"

static const char *reject(const attn_job *j, unsigned cpu)
{
    const oriel_attn_io *io = j->io;
    if (!(cpu & ORIEL_CPU_AVX512_BF16))
        return "no AVX512-BF16";
    if (j->a.dtype != ORIEL_BF16 || j->a.dim % 2)
        return "no pairs of bf16";
    if (io->q.stride[5] != 1 || io->k.stride[5] != 1 || io->v.stride[5] != 1 || io->out.stride[5] != 1)
        return "rows that are not packed";
    return near_reject(j);
}

const attn_impl attn_near_bf16 = {"near-avx512bf16", reject, run};
#else
typedef int oriel_no_attn_near_bf16;
#endif
