/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Windows: queries that all see the same keys (attn_win.c), for the kernels of attn_win_simd.h.
 *
 * A window is a product of parts, one an axis; a part is a run of queries whose spans are equal. Swin's
 * shifted windows fall into parts by themselves, so that nothing is masked. Windows alike in counts and
 * offsets are of one shape: the distances of their rows are known beforehand, and so is their bias by
 * offset. With query l = qo inner + qi (o: the outermost axis that has more than one token, the others are
 * inner) the table of a head and shape is
 *
 *     row[ki][(qo - ko + keys_o - 1) inner + qi] = bias of query (qo, qi) and key (ko, ki)
 *
 * of which key (ko, ki) reads row[ki] from (keys_o - 1 - ko) inner on: one run for all queries, with no
 * copy for each ko. A window of 16 x 16 takes 8 thousand floats in place of 65. Keys that stand for
 * several tokens (pool) have a run each.
 */
#ifndef ATTN2D3D_ATTN_WIN_H
#define ATTN2D3D_ATTN_WIN_H

#include "attn2d3d/attn.h"

enum {
    WIN_KEYS = 1024,      /* of a window at most, extra ones too */
    WIN_QUERIES = 256,    /* of a part at most */
    WIN_KINDS = 16,       /* of parts of an axis at most */
    WIN_PAD = 64,         /* floats that may be read beyond a run of bias */
    WIN_TABLES = 1 << 24  /* floats of all tables at most */
};
#define WIN_BEYOND INT64_MIN /* a key outside of the raster */

typedef struct win_part { /* first query, first key */
    int q, k, kind;
} win_part;

/* Queries q, q + step, ... and keys k, k + step, ..., of which `before` come before the raster and then
 * `inside` in it. Query n lies at place off + (phase + n) / pool of the keys, in steps. */
typedef struct win_kind {
    int queries, keys, step, off, phase, before, inside;
} win_kind;

typedef struct win_axis {
    win_kind  kind[WIN_KINDS];
    int       kinds, count, most_keys, most_queries;
    int64_t   keys; /* of all parts together */
    win_part *part; /* (count) */
} win_axis;

typedef struct win_shape {
    int      queries, keys; /* keys of the raster, and beyond it */
    bool     padded;        /* there are keys beyond */
    int64_t *q, *out, *lse; /* (queries) elements from the window's first row on */
    int64_t *k, *v;         /* (keys), or WIN_BEYOND */
    int32_t *bias;          /* (keys + extra) where the key's run of bias begins among a head's tables */
} win_shape;

typedef struct win_set { /* the windows of a head */
    win_axis   axis[3];
    int64_t    windows;
    win_shape *shape;  /* by kinds (t, y, x) */
    float     *tables; /* of the set's first head, times log2(e): zeros for any run, then by shape */
    int64_t    floats; /* a head */
    void      *memory;
} win_set;

typedef struct win_plan {
    const attn_job *j;
    int             sets;          /* 1, or a set a head */
    win_set        *set;
    float          *tables;
    int64_t         items;         /* windows and heads of a batch item */
    int             queries, keys; /* the most of a window, extra keys too */
} win_plan;

typedef struct win_item { /* one window and head: elements of the tensors at its first query and key */
    const win_shape *shape;
    const float     *bias;
    int              b, h, kv;
    int64_t          q, k, v, out, lse;
} win_item;

/* NULL, or why the problem's windows are not for these kernels. */
const char  *win_reject(const attn_job *j);
oriel_status win_plan_new(win_plan *p, const attn_job *j); /* ORIEL_E_NOMEM */
void         win_plan_free(win_plan *p);
win_item     win_item_at(const win_plan *p, int64_t item); /* of all batch items */

#endif
