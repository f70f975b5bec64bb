/* SPDX-License-Identifier: Apache-2.0 */
/* Attention over windows that slide along X, AVX2: attn_near_simd.h over simd_avx2.h. */
#if defined(__x86_64__)
#include "core/cpu/simd_avx2.h"

#define LEVEL_ROWS 3   /* rows of queries of a tile */
#define LEVEL_SUMS 12  /* sums of logits in registers */
#define LEVEL_GROUP 6  /* queries that share values */
#define LEVEL_VECS 2   /* and vectors of these */

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

#include "attn2d3d/attn_near_simd.h"

static const char *reject(const attn_job *j, unsigned cpu)
{
    return cpu & ORIEL_CPU_AVX2 ? near_reject(j) : "no AVX2";
}

const attn_impl attn_near_avx2 = {"near-avx2", reject, run};
#else
typedef int oriel_no_attn_near_avx2;
#endif
