/* SPDX-License-Identifier: Apache-2.0 */
/* Window blocks on CUDA devices: the ways to run one. */
#ifndef ATTN2D3D_CUDA_BLOCK_CUDA_H
#define ATTN2D3D_CUDA_BLOCK_CUDA_H

#include "attn2d3d/block.h"
#include "core/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cuda_block_way {
    const char *name;
    /* NULL: it takes the block on this GPU; else why not */
    const char *(*reject)(const attn_block_data *d, oriel_dtype operand, const cuda_device *gpu);
    attn_block_kind kind;
} cuda_block_way;

extern const cuda_block_way cuda_block_fused; /* block_fused.c */
extern const cuda_block_way cuda_block_parts; /* block_parts.c */

/* ---- kernels of block_parts.c (block_kernels.cu) --------------------------------------------- */

enum { CUDA_BLOCK_CHANNELS = 1024 }; /* of a norm at most */

/* y (rows, padded) = norm of x (rows, c) f32, rounded to y's type; zeros beyond c. gamma and beta are (padded), zeros
 * beyond c; padded is a multiple of 8. Queued, as all of these. */
oriel_status cuda_block_norm(oriel_device *d, void *y, oriel_dtype type, const float *x, int64_t rows, int c, int padded,
                             const float *gamma, const float *beta, float eps);
/* x (n) of `type` = x Phi(x), the GELU of erf; n is a multiple of 8. */
oriel_status cuda_block_gelu(oriel_device *d, void *x, oriel_dtype type, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
