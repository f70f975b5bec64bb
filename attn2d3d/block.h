/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window transformer block as one operation:
 *
 *     x += proj(attention(norm1(x)));  x += fc2(gelu(fc1(norm2(x))))
 *
 * with attention inside the windows of a BLOCK axis of size w and shift s, relative position bias,
 * and Swin's mask (-100 between the parts that a cyclic shift brings into one window).
 * Liu et al. 2021, arXiv 2103.14030; used unchanged by SwinIR, arXiv 2108.10257.
 */
#ifndef ATTN2D3D_BLOCK_H
#define ATTN2D3D_BLOCK_H

#include "attn2d3d/window.h"
#include "core/ops.h"

/* What a checkpoint holds, f32 packed, borrowed. C channels, H heads, w window, F hidden. */
typedef struct attn_block_data {
    int          c, heads, window, hidden;
    const float *norm1_gamma, *norm1_beta, *norm2_gamma, *norm2_beta; /* (C) */
    float        eps;
    float       *qkv, *qkv_bias; /* (3C, C), (3C): q, k, v, each (H, D); q's rows get scaled */
    const float *proj, *proj_bias; /* (C, C) */
    const float *fc1, *fc1_bias;   /* (F, C) */
    const float *fc2, *fc2_bias;   /* (C, F) */
    const float *bias_table;       /* ((2w - 1)^2, H), by (dy + w - 1)(2w - 1) + dx + w - 1,
                                      d = query - key */
} attn_block_data;

typedef struct attn_block {
    int    c, heads, window, hidden;
    size_t bytes;
    const struct attn_block_kind *is;
    void  *packed; /* the kind's own */
} attn_block;

/* Products' operands are rounded to `operand` (F32, BF16, F16). ORIEL_E_NOMEM, ORIEL_E_UNSUPPORTED,
 * ORIEL_E_DEVICE; *b is empty then. Scales d's qkv and qkv_bias. */
oriel_status attn_block_pack(oriel_device *dev, attn_block *b, const attn_block_data *d, oriel_dtype operand);
void         attn_block_unpack(oriel_device *dev, attn_block *b);
/* y = block(x); x and y are whole maps of multiples of w that begin, as a run's do, at multiples of 16 bytes; they may be
 * the same. */
void attn_block_run(run *r, op_map y, op_map x, const attn_block *b, int shift);

/* How a device does it. */
typedef struct attn_block_kind {
    oriel_status (*pack)(oriel_device *dev, attn_block *b, const attn_block_data *d, oriel_dtype operand); /* failed: unpack() follows */
    void (*unpack)(oriel_device *dev, attn_block *b);
    size_t (*scratch)(const run *r, const attn_block *b, op_map x); /* bytes; x has no data when planning */
    void (*run)(run *r, op_map y, op_map x, const attn_block *b, int shift, void *scratch);
} attn_block_kind;

extern const attn_block_kind attn_block_cpu;  /* block_cpu.c */
extern const attn_block_kind attn_block_cuda; /* cuda/block_cuda.c; only with ORIEL_WITH_CUDA */

#endif
