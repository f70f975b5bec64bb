/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Neighbourhoods along X as sliding windows: what the vector kernels of attn_near_simd.h make of a
 * problem (attn_near.c).
 *
 * Along X a query at place p of its residue class sees `keys` places from p + low on. A window that
 * NEIGHBOR moves inside at a border has the keys of the sliding one, if a place beyond the end stands
 * for the key `keys` places further in: that key has just left the window, or not entered it yet. So
 * rows are laid out with such places beside them, and every window is a run of places. Causal and SLIDE
 * windows are cut instead: there the places beside a row are masked.
 * Along the other two axes a row of queries sees whole rows of keys, whatever the law of the axis.
 */
#ifndef ATTN2D3D_ATTN_NEAR_H
#define ATTN2D3D_ATTN_NEAR_H

#include "attn2d3d/attn.h"

enum {
    NEAR_ROWS = 4,  /* rows of queries of a tile at most */
    NEAR_WIDE = 64, /* queries of a segment along X at most */
    NEAR_KEYS = 96  /* places of a window along X at most */
};

/* Queries first, first + step, ... of one residue class, places p and on of its len. */
typedef struct near_segment {
    int first, step, count, p, len;
} near_segment;

typedef struct near_plan {
    const attn_job *j;
    int             lanes, rows;  /* of a tile of queries */
    int             outer, inner; /* axes of rows: 0 and 1, or 1 and 0 where Y is 1; tiles and rings run along inner */
    int             low, keys;
    bool            wraps;  /* places beyond the ends stand for keys inside, see above */
    int             places; /* of a row of keys, at most */
    int             sees, rows_v; /* places (pairs) that a query (couple) sees; rows of a panel of values */
    int             deep, ring, step; /* outer keys; inner keys held; rows of keys that share a softmax step */
    int             vecs_v, ld_k;   /* vectors of a row of values; floats of a row of the keys' panel */
    near_segment   *x, *y;  /* along X and inner */
    int             xs, ys;
    int             flat, outers; /* places along outer of an item, which share a ring; items along outer */
    int             kvs, kv_heads; /* parts of the key heads, and heads of a part: those whose rows lie side by side */
    int64_t         items;  /* (B, outers, ys, xs, kvs) */
} near_plan;

typedef struct near_item { /* a segment of rows of queries and its keys */
    const near_segment *x, *y;
    int                 b, kv0, kvs, at0, ats; /* batch, key heads, places along outer */
    int                 first; /* inner coordinate of key 0 of the ring's count */
    oriel_span          outer; /* outer keys in the ring */
} near_item;

typedef struct near_run { /* the rest of a row of tokens, of some heads */
    const char *at;
    int64_t     token, head; /* bytes from one to the next */
    int         heads, bytes; /* of a head; all heads are one where they lie side by side */
} near_run;

/* Rows that a step will take in and give, prefetched while the one before it computes. */
typedef struct near_ahead {
    near_item it;
    int       y0, rows;           /* queries: of all places along outer */
    int       inner, inners;      /* keys that are new to the ring: of all outer keys */
    int       row, count, left;   /* the next row, keys first; of how many; tokens left of the one before it */
    int       each;               /* tokens a call */
    near_run  run[2];             /* k and v, or q and out */
} near_ahead;

/* Why the kernels do not take a problem, or NULL. */
const char  *near_reject(const attn_job *j);
oriel_status near_plan_new(near_plan *p, const attn_job *j, int lanes, int rows, int per);
void         near_plan_free(near_plan *p);

near_item near_item_at(const near_plan *p, int64_t i);
/* Inner keys that query n of an item sees, in the ring's count. */
oriel_span near_inner(const near_plan *p, const near_item *it, int n);
/* The step of queries y0 and on of an item, up to `most` rows, whose ring holds the keys before `held`; near_ahead_some()
 * will be called `calls` times. */
void near_ahead_begin(near_ahead *a, const near_plan *p, near_item it, int y0, int most, int held, int calls);
void near_ahead_some(near_ahead *a, const near_plan *p);
/* Outer keys that `n` places from `at` on see. */
oriel_span near_outer(const near_plan *p, int at, int n);
/* Token order within a class that place u of segment s holds, -1 for none. */
int near_place(const near_plan *p, const near_segment *s, int u);

#endif
