/* SPDX-License-Identifier: Apache-2.0 */
/* Attention over windows that slide along X, AVX-512: attn_near_simd.h over simd_avx512.h. */
#if defined(__x86_64__)
#include "core/cpu/simd_avx512.h"

#define LEVEL_ROWS 4   /* rows of queries of a tile */
#define LEVEL_SUMS 24  /* sums of logits in registers */
#define LEVEL_GROUP 8  /* queries that share values */
#define LEVEL_VECS 4   /* and vectors of these, together 24 at most */

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

#include "attn2d3d/attn_near_simd.h"

static const char *reject(const attn_job *j, unsigned cpu)
{
    return cpu & ORIEL_CPU_AVX512 ? near_reject(j) : "no AVX-512";
}

const attn_impl attn_near_avx512 = {"near-avx512", reject, run};
#else
typedef int oriel_no_attn_near_avx512;
#endif
