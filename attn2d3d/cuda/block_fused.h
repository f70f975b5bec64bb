/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window block as one kernel: its weights as the kernel reads them.
 *
 * Weights are a stream of units of 512 bytes in the order of use: 16 columns (summed) of two tiles of 8 rows, as B. Lane l
 * of a warp reads the 16 bytes at 16 l, which are operands of two m16n8k16 products (fragments: small.cuh); for
 * warpgroups they lie in boxes of 8 rows of 16 bytes instead. For each head
 *
 *   q     [ks][ds]   rows are head dims; scaled by log2(e) / sqrt(D)
 *   k, v  [ks][ds]   the same, not scaled
 *   bias  [4][4]     as C, of 16 queries and two tiles of 8 keys each, f16, times log2(e); -inf: no such key
 *   proj  [ds][cs]   rows are channels
 *
 * and for each slice of 32 hidden channels
 *
 *   fc1   [ks][2]    rows are hidden channels
 *   fc2   [2][cs]    rows are channels
 *
 * Channels pass through fragments in an order in which a lane has four neighbours (fused_channel()). The
 * norms' gamma and beta are in the weights that follow; the input has two columns of ones behind its C
 * channels, whose weights are the bias and what rounding left of it.
 */
#ifndef ATTN2D3D_CUDA_BLOCK_FUSED_H
#define ATTN2D3D_CUDA_BLOCK_FUSED_H

#include "attn2d3d/block.h"
#include "attn2d3d/window.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    FUSED_UNIT = 512,       /* bytes */
    FUSED_TOKENS = 64,      /* of a window at most */
    FUSED_BIAS_UNITS = 16,  /* of a head */
    FUSED_SLICE = 32,       /* hidden channels */
    FUSED_HEAD_CHUNKS = 5,  /* q, k, v, bias, proj */
    FUSED_SLICE_CHUNKS = 2, /* fc1, fc2 */
    FUSED_ONES = 2,         /* columns of ones behind the channels */
    FUSED_STAGES = 16       /* of the ring at most */
};

/* Which of the kernels; steps of 16: of channels, of channels and ones, of head dims. */
typedef struct fused_shape {
    int c, heads, dim, window, hidden;
    int cs, ks, ds, slices;
    bool boxes; /* not fragments: see put_unit() */
    int pitch; /* units from a chunk to the next: q, k, ... fc2 are one each; 0: without gaps */
} fused_shape;

/* Channel of column i of 16 in a fragment: i = 8 half + 2 lane + e. */
ORIEL_LAW int fused_channel(int i)
{
    return (i & 6) * 2 + (i >> 3) * 2 + (i & 1);
}
ORIEL_LAW int fused_head_units(const fused_shape *s)
{
    return s->ds * (3 * s->ks + s->cs) + FUSED_BIAS_UNITS;
}
ORIEL_LAW int fused_slice_units(const fused_shape *s)
{
    return 2 * (s->ks + s->cs);
}
ORIEL_LAW int fused_chunks(const fused_shape *s)
{
    return s->heads * FUSED_HEAD_CHUNKS + s->slices * FUSED_SLICE_CHUNKS;
}
ORIEL_LAW int fused_units(const fused_shape *s)
{
    return s->pitch ? fused_chunks(s) * s->pitch : s->heads * fused_head_units(s) + s->slices * fused_slice_units(s);
}
/* Behind the stream: proj's and fc2's bias, f32 (16 cs) each. */
ORIEL_LAW size_t fused_bytes(const fused_shape *s)
{
    return (size_t)fused_units(s) * FUSED_UNIT + 2 * 16 * 4 * (size_t)s->cs;
}

/* What a kernel is told. */
typedef struct fused_args {
    const float *x;
    float       *y;
    const void  *stream;
    const float *added; /* proj's bias, fc2's */
    fused_shape  shape;
    int          ny, nx, shift;
    int          across, windows;
    int          stages;
    uint64_t     low, right; /* tokens of a window whose row or column is at least window - shift */
    float        eps;
} fused_args;

/* A kernel, for shapes up to its steps; in order of cost, the last one has cs 0. */
typedef struct fused_kernel {
    int cs, ks, ds, windows, threads; /* windows and threads of a block */
    int pitch;                        /* of its chunks; 0: the whole stream lies in shared memory */
    bool boxes;                       /* how it wants its units */
    int (*bytes)(int units);          /* of shared memory, with so many of weights */
    const void *entry[2];              /* f16, bf16 */
} fused_kernel;

extern const fused_kernel fused_kernels[], fused_kernels_hopper[]; /* block_fused.cu, block_fused_hopper.cu */

/* block_fused_pack.c: fill fused_bytes(s) of host memory. */
void fused_pack(uint8_t *out, const fused_shape *s, const attn_block_data *d, oriel_dtype operand);

#ifdef __cplusplus
}
#endif
#endif
