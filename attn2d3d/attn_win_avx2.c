/* SPDX-License-Identifier: Apache-2.0 */
/* Attention inside windows, AVX2: attn_win_simd.h over simd_avx2.h. */
#if defined(__x86_64__)
#include "core/cpu/simd_avx2.h"

#include "attn2d3d/attn_win_simd.h"

static const char *reject(const attn_job *j, unsigned cpu)
{
    return cpu & ORIEL_CPU_AVX2 ? win_reject(j) : "no AVX2";
}

const attn_impl attn_win_avx2 = {"win-avx2", reject, run};
#else
typedef int oriel_no_attn_win_avx2;
#endif
