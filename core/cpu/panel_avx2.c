/* SPDX-License-Identifier: Apache-2.0 */
/* Panel kernels, AVX2: panel_simd.h over simd_avx2.h. */
#if defined(__x86_64__)
#include "core/cpu/panel.h"
#include "core/cpu/simd_avx2.h"

#include "core/cpu/panel_simd.h"

const panel_ops panel_avx2 = {
    .name = "avx2",
    .lanes = LANES,
    .k_step = 1,
    .n_step = PANEL_ROWS,
    .gemm = gemm,
    .gather = gather,
    .scatter = scatter,
    .norm = norm,
    .attend = attend,
};
#else
typedef int oriel_no_avx2;
#endif
