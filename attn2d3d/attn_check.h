/* SPDX-License-Identifier: Apache-2.0 */
/* What the checks of attention's numbers (attn_check.c) and tensors (attn_check_io.c) share. */
#ifndef ATTN2D3D_ATTN_CHECK_H
#define ATTN2D3D_ATTN_CHECK_H

#include "attn2d3d/attn.h"

/* An axis of a raster: places of queries, and where they lie among keys of `pool` tokens each. */
typedef struct attn_line {
    int queries, at, keys, pool;
} attn_line;

extern const char attn_letters[]; /* of the axes */

oriel_status attn_in_range(const char *name, int64_t v, int64_t low, int64_t high);
oriel_status attn_check_axis(const attn_job *j, const oriel_axis *a, int x, attn_line l);
/* A raster's numbers, whose defaults are filled in. */
oriel_status attn_check_raster(const int extent[3], const int keys[3], const int at[3], const int pool[3]);
oriel_status attn_check_io(const attn_job *j);

#endif
