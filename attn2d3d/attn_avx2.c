/* SPDX-License-Identifier: Apache-2.0 */
/* Attention over windows, AVX2: attn_simd.h over simd_avx2.h. */
#if defined(__x86_64__)
#include "core/cpu/simd_avx2.h"

/* a where the lane's bit is set, else b */
SIMD_INLINE vec v_where_bits(unsigned bits, vec a, vec b)
{
    __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i on = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), lane), lane);
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(on));
}

#include "attn2d3d/attn_simd.h"

static const char *reject(const attn_job *j, unsigned cpu)
{
    return cpu & ORIEL_CPU_AVX2 ? attn_plain_fields(j) : "no AVX2";
}

const attn_impl attn_avx2 = {"avx2", reject, run};
#else
typedef int oriel_no_attn_avx2;
#endif
