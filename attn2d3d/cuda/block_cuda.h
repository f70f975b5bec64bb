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
    bool         normed; /* inputs are a map, and k its channels */
    bool         added;  /* outputs are a map: CUDA_BLOCK_ADD */
    bool         bf16;
    const void  *w;    /* (groups, steps, 1024) by cuda_block_linear_at(), zeros beyond n and k */
    const float *bias; /* (32 groups) */
} cuda_block_linear;

/* Sizes of a layer. */
cuda_block_linear cuda_block_linear_of(int n, int k, bool bf16, bool normed, bool added);

/* Of 32 channels side by side, lane c of a row's four has eight, so that what the four read or write at once lies side
 * by side, 16 bytes each: of operands 8 c .. + 7, of a map 4 c .. + 3 and 16 behind. */
static inline int cuda_block_lane(bool map, int channel)
{
    return map ? channel % 16 / 4 : channel % 32 / 8;
}
static inline int cuda_block_eighth(bool map, int channel)
{
    return map ? channel % 32 / 16 * 4 + channel % 4 : channel % 8;
}

/* Where weight (n, k) lies in w. A step of 32 inputs of 32 outputs is four fragments B of m16n8k16, twice; lane l has of
 * fragment t the inputs of its lane l % 4 for output 2 t + l / 4 % 2 of lane l / 8. */
static inline size_t cuda_block_linear_at(const cuda_block_linear *l, int n, int k)
{
    size_t tile = (size_t)(n / 32) * (size_t)l->steps + (size_t)(k / 32);
    int    place = cuda_block_eighth(l->added, n);
    int    lane = (cuda_block_lane(l->added, n) * 2 + place % 2) * 4 + cuda_block_lane(l->normed, k);
    return ((tile * 4 + (size_t)(place / 2)) * 32 + (size_t)lane) * 8 + (size_t)cuda_block_eighth(l->normed, k);
}

typedef enum cuda_block_form {
    CUDA_BLOCK_HALF, /* y (m, n) of 16 bits = x w^T + bias; n is a multiple of 8 */
    CUDA_BLOCK_GELU, /* the same, and its GELU */
    CUDA_BLOCK_ADD   /* y (m, n) f32 = x w^T + bias + add (m, n), which may be y */
} cuda_block_form;

/* A layer on x (m, k) of 16 bits, k a multiple of 8; or, if it is normed, on the norm of x (m, k) f32. */
oriel_status cuda_block_linear_run(oriel_device *d, const cuda_block_linear *l, cuda_block_form form, int64_t m, void *y,
                                   const void *x, const float *add, float eps);

#ifdef __cplusplus
}
#endif
#endif
