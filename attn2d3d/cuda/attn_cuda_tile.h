/* SPDX-License-Identifier: Apache-2.0 */
/* Boxes of queries that share keys, and where they begin: what attn_cuda_mma makes of a problem. */
#ifndef ATTN2D3D_CUDA_ATTN_CUDA_TILE_H
#define ATTN2D3D_CUDA_ATTN_CUDA_TILE_H

#include "attn2d3d/attn_tile.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A head's tiles: the product of its segments along the axes, (count[0], count[1], count[2]). */
typedef struct attn_cuda_head {
    int from[3], count[3]; /* segments[from .. from + count) */
} attn_cuda_head;

/* One block of memory, to be copied as it is. */
typedef struct attn_cuda_plan {
    int64_t        *starts;   /* (H + 1): where the tiles of each head begin */
    attn_cuda_head *heads;    /* (H) */
    attn_segment   *segments; /* of all heads; heads alike share them */
    size_t          bytes;    /* of the block, which begins at starts */
} attn_cuda_plan;

/* Cut every head's queries into tiles of at most ATTN_TILE, keys being taken `step` at a time.
 * ORIEL_E_NOMEM. */
oriel_status attn_cuda_plan_new(attn_cuda_plan *p, const attn_job *j, int step);
void         attn_cuda_plan_free(attn_cuda_plan *p);

#ifdef __cplusplus
}
#endif
#endif
