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

/* y (rows, padded) = (x - mean) / deviation of x (rows, c) f32, rounded to y's type; zeros beyond c. padded is a multiple
 * of 8. Queued, as all of these. */
oriel_status cuda_block_norm(oriel_device *d, void *y, oriel_dtype type, const float *x, int64_t rows, int c, int padded, float eps);
/* x (n) = x Phi(x), the GELU of erf; n is a multiple of 8. */
oriel_status cuda_block_gelu(oriel_device *d, float *x, int64_t n);

/* ---- dense layers in f16 and bf16 (block_linear.cu) ------------------------------------------- */

enum { CUDA_BLOCK_NORMED = 256 }; /* inputs at most of a layer that norms what it reads */

typedef struct cuda_block_linear {
    int          n, k;   /* outputs, inputs */
    int          groups; /* of 32 outputs */
    int          steps;  /* of 32 inputs: a multiple of `chunk` */
    int          chunk;  /* steps whose inputs a warp holds at a time */
    bool         bf16;
    const void  *w;    /* (groups, steps, 1024) by cuda_block_linear_at(), zeros beyond n and k */
    const float *bias; /* (32 groups) */
} cuda_block_linear;

/* Sizes of a layer; normed: x is a map, and k its channels. */
cuda_block_linear cuda_block_linear_of(int n, int k, bool bf16, bool normed);

/* Where weight (n, k) lies in w. A step of 32 inputs of 32 outputs is four fragments B of m16n8k16 twice; lane l has of
 * fragments t inputs 8 (l % 4) .. + 7 of output 8 (l / 8) + 2 t + l / 4 % 2, so that of outputs, too, a lane has eight
 * that lie side by side. */
static inline size_t cuda_block_linear_at(const cuda_block_linear *l, int n, int k)
{
    size_t tile = (size_t)(n / 32) * (size_t)l->steps + (size_t)(k / 32);
    int    t = n % 8 / 2, lane = (n % 32 / 8 * 2 + n % 2) * 4 + k % 32 / 8;
    return ((tile * 4 + (size_t)t) * 32 + (size_t)lane) * 8 + (size_t)(k % 8);
}

typedef enum cuda_block_form {
    CUDA_BLOCK_HALF, /* y (m, n) of 16 bits = x w^T + bias; n is a multiple of 8 */
    CUDA_BLOCK_GELU, /* the same, and its GELU */
    CUDA_BLOCK_ADD   /* y (m, n) f32 = x w^T + bias + add (m, n), which may be y */
} cuda_block_form;

/* A layer on x (m, k) of 16 bits, k a multiple of 8. */
oriel_status cuda_block_linear_run(oriel_device *d, const cuda_block_linear *l, cuda_block_form form, int64_t m, void *y,
                                   const void *x, const float *add);
/* A layer on the norm of x (m, k) f32; not CUDA_BLOCK_ADD. */
oriel_status cuda_block_linear_normed(oriel_device *d, const cuda_block_linear *l, cuda_block_form form, int64_t m, void *y,
                                      const float *x, float eps);

#ifdef __cplusplus
}
#endif
#endif
