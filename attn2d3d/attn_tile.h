/* SPDX-License-Identifier: Apache-2.0 */
/* Boxes of queries that share keys: what the vector kernels make of a problem (attn_tile.c). */
#ifndef ATTN2D3D_ATTN_TILE_H
#define ATTN2D3D_ATTN_TILE_H

#include "attn2d3d/attn.h"

enum {
    ATTN_TILE = 64, /* queries of a tile at most: one bit each of a mask */
    ATTN_KEYS = 48  /* keys of a step */
};

/* Queries along an axis, first, first + step, ...: all of one residue class. */
typedef struct attn_segment {
    int first, step, count;
} attn_segment;

typedef struct attn_head_plan {
    attn_segment *segment[3];
    int           count[3];
    int64_t       tiles; /* of the raster: their product; then come the text's */
    int64_t       all;
} attn_head_plan;

/* A raster's; rasters of one shape share it. */
typedef struct attn_raster_plan {
    attn_head_plan *head;  /* (H), and the memory of the segments */
    int64_t         tiles; /* of all heads */
} attn_raster_plan;

typedef struct attn_plan {
    const attn_job   *j;
    attn_raster_plan *raster;
    int               rasters;
    int              *of;    /* (segments): whose plan; NULL without segments */
    int64_t          *first; /* (segments + 1): their tiles in a batch item */
    attn_starts       starts;
    int64_t           tiles;   /* of a batch item */
    int64_t           room[3]; /* keys of a tile along each axis, at most */
} attn_plan;

/* Cut every head's queries into tiles, for vectors of `lanes`. ORIEL_E_NOMEM. */
oriel_status attn_plan_new(attn_plan *p, const attn_job *j, int lanes);
void         attn_plan_free(attn_plan *p);

/* One tile: its queries and, along each axis, the keys that one of them sees. Lane l is query
 * (l / (cy cx), l / cx % cy, l % cx), counts c of the segments. With lists, and for text in windows,
 * the keys are those of one box after the other. */
typedef struct attn_tile {
    const attn_job *j;
    int             b, h, kv, n; /* n queries */
    bool            text;
    attn_segment    q[3];
    int             keys[3];   /* along each axis */
    int            *key[3];    /* their coordinates */
    uint64_t       *sees[3];   /* lanes that see it, as far as this axis goes */
    uint64_t        everyone;  /* n bits */
    int64_t         q_at[ATTN_TILE], out_at[ATTN_TILE], lse_at[ATTN_TILE]; /* rows in their tensors */
    int64_t         bias_at[ATTN_TILE]; /* of key 0; dense: of the query's row */
    int             bias_step[3];       /* tokens to a step of the bias */
    bool            in_place;           /* keys and values are packed floats, as they are needed */
    bool            listed;             /* its keys are boxes: */
    attn_list       list;               /* those to come */
    attn_box        box;                /* and this one */
    int             window[3];          /* of text in windows: where the next one begins */
    float           pad[2 * ATTN_DIM_MAX]; /* the key beyond the raster, and its value at D */
    attn_part       part;               /* j of a segment */
    int             part_of;            /* which segment + 1; 0: none yet */
} attn_tile;

/* Tile `item` of all batch items. key and sees point to the plan's room; part_of is 0 the first time. */
void attn_tile_make(attn_tile *t, const attn_plan *p, int64_t item);
/* The next window of a text tile (ORIEL_TEXT_WINDOWS); false: there are no more. */
bool attn_tile_window(attn_tile *t);

/* Some keys of a tile, in order. */
typedef struct attn_step {
    int          n;
    const float *k[ATTN_KEYS], *v[ATTN_KEYS]; /* rows of D and Dv floats */
    uint64_t     sees[ATTN_KEYS];
    int64_t      bias_at[ATTN_KEYS]; /* what to take from the tile's; dense: the key's column */
    int          raster;             /* keys of the raster, which come first */
    int          next[3], extra;   /* where the step after this one begins */
} attn_step;

static inline void attn_step_begin(attn_step *s)
{
    s->next[0] = s->next[1] = s->next[2] = s->extra = 0;
}

/* The next keys: n is 0 when there are none left. Rows are read in place if they are packed
 * floats (and not to be normalized), else from `copy`, which has room for ATTN_KEYS (D + Dv). copy NULL:
 * all in place, addresses of what is there; rows of zeros then, and no others, beyond the raster. */
void attn_step_next(attn_step *s, attn_tile *t, float *copy);

#endif
