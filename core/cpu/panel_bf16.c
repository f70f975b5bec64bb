/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Panel kernels with bf16 operands through AVX512-BF16's dot products.
 *
 * As panel_simd.h, with two channels a lane: half the steps. Operands are rounded to bf16 (8 bits of
 * mantissa), products and sums are fp32, and so are norms, softmax and the residual stream.
 * Bound: where a core does two 512-bit dot products a clock (Zen 4 and 5), twice the f32 rate.
 */
#if defined(__x86_64__)
#include "core/cpu/panel.h"
#include "core/cpu/simd_bf16.h"

#define SIMD_PAIRS
#include "core/cpu/panel_simd.h"

SIMD static void pair2(void *dst, const float *src, ptrdiff_t ld, int c, int t)
{
    pair_rows(dst, ld, src, ld, c, t, PER);
}

const panel_ops panel_bf16 = {
    .name = "avx512 bf16",
    .lanes = LANES,
    .bf16 = true,
    .k_step = PER,
    .n_step = PANEL_ROWS,
    .gemm = gemm,
    .pair = pair2,
    .gather = gather,
    .scatter = scatter,
    .norm = norm,
    .attend = attend,
};
#else
typedef int oriel_no_bf16;
#endif
