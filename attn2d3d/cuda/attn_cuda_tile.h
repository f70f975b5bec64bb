/* SPDX-License-Identifier: Apache-2.0 */
/* Boxes of queries that share keys, and where they begin: what attn_cuda_mma and attn_cuda_ffma make of a problem. */
#ifndef ATTN2D3D_CUDA_ATTN_CUDA_TILE_H
#define ATTN2D3D_CUDA_ATTN_CUDA_TILE_H

#include "attn2d3d/attn_tile.h"
#include "attn2d3d/cuda/attn_cuda.h"

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

/* What a kernel of tiles is told; a block a tile. Pointers are the GPU's. */
typedef struct attn_cuda_tiles {
    const attn_part      *part;
    const int64_t        *starts; /* of the plan */
    const attn_cuda_head *plan;
    const attn_segment   *segments;
    oriel_tensor          k, v, extra_k, extra_v;
    int64_t               text_tiles; /* of a head */
    int64_t               each;       /* tiles of a batch item: all heads' text, then all heads' raster */
    unsigned              blocks;
    int                   size; /* bytes of an element */
    int                   q_align, k_align, v_align, out_align; /* rows begin at multiples of 16, 8 or 4 bytes,
                                                                    elements side by side; 0: anywhere */
} attn_cuda_tiles;

/* Plan a job, put what it takes on the GPU. ORIEL_E_NOMEM, ORIEL_E_DEVICE, ORIEL_E_UNSUPPORTED: too many
 * tiles for a grid. */
oriel_status attn_cuda_tiles_make(attn_cuda_tiles *t, const attn_job *j, oriel_device *dev, int step);
/* Why not, of the law; else NULL. */
const char *attn_cuda_tiles_reject(const attn_job *j);

#ifdef __cplusplus
}
#endif
#endif
