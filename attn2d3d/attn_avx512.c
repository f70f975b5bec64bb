/* SPDX-License-Identifier: Apache-2.0 */
/* Attention over windows, AVX-512: attn_simd.h over simd_avx512.h. */
#if defined(__x86_64__)
#include "core/cpu/simd_avx512.h"

#include "attn2d3d/attn_simd.h"

static const char *reject(const attn_job *j, unsigned cpu)
{
    (void)j;
    return cpu & ORIEL_CPU_AVX512 ? NULL : "no AVX-512";
}

const attn_impl attn_avx512 = {"avx512", reject, run};
#else
typedef int oriel_no_attn_avx512;
#endif
