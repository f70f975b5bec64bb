/* SPDX-License-Identifier: Apache-2.0 */
/* Attention over windows that slide along X, AVX2: attn_near_simd.h over simd_avx2.h. */
#if defined(__x86_64__)
#include "core/cpu/simd_avx2.h"

#define LEVEL_PER 1    /* numbers of a lane */
#define LEVEL_ROWS 3   /* rows of queries of a tile */
#define LEVEL_SUMS 12  /* sums of logits in registers */
#define LEVEL_GROUP 6  /* queries that share values */
#define LEVEL_VECS 2   /* and vectors of these */

SIMD_INLINE vec v_mac(vec a, vec b, vec sum) { return v_fma(a, b, sum); }
SIMD_INLINE vec v_values(const float *const row[1], int d, int left)
{
    return left >= LANES ? v_load(row[0] + d) : v_load_first(row[0] + d, left);
}
SIMD_INLINE void v_put_weights(float *to, vec last, vec a, vec b, bool two)
{
    (void)last;
    v_store(to, a);
    if (two)
        v_store(to + LANES, b);
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
