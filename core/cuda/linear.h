/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dense layers on CUDA devices, by cuBLASLt, which is opened when the first layer runs.
 *
 * What a layer takes at its first run with so many rows (a plan of cuBLASLt's, and at the device's first layer its
 * handle and workspace) is kept: later runs allocate nothing and wait for nothing, and may be captured in a graph.
 */
#ifndef CORE_CUDA_LINEAR_H
#define CORE_CUDA_LINEAR_H

#include "core/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cuda_linear {
    int         n, k;    /* outputs, inputs */
    oriel_dtype operand; /* of x and w: F32, F16, BF16; sums are f32 (of F32: no tf32) */
    oriel_dtype out;     /* of y and bias: operand, or F32 */
    const void *w;       /* (n, k) packed, in the device's memory like all that follows */
    const void *bias;    /* (n); NULL: none */
} cuda_linear;

/* y (m, n) = x (m, k) w^T + bias + add (m, n), queued. Tensors are packed; add has y's type and may be y; NULL: none.
 * ORIEL_E_DEVICE: no cuBLASLt, or it failed; ORIEL_E_UNSUPPORTED: it has nothing for these sizes, or this build had
 * no header of it; ORIEL_E_NOMEM. */
oriel_status cuda_linear_run(oriel_device *d, const cuda_linear *w, int64_t m, void *y, const void *x, const void *add);

/* Of a device that is closed. */
void cuda_linears_free(struct cuda_linears *l);

#ifdef __cplusplus
}
#endif
#endif
