/* SPDX-License-Identifier: Apache-2.0 */
/* Attention over windows, AVX2: attn_simd.h over simd_avx2.h. */
#if defined(__x86_64__)
#include "core/cpu/simd_avx2.h"

#include "attn2d3d/attn_simd.h"

static const char *reject(const attn_job *j, unsigned cpu)
{
    (void)j;
    return cpu & ORIEL_CPU_AVX2 ? NULL : "no AVX2";
}

const attn_impl attn_avx2 = {"avx2", reject, run};
#else
typedef int oriel_no_attn_avx2;
#endif
