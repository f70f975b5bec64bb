/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention from inside: a checked problem, and the implementations that may run it.
 *
 * An implementation that is for plain problems alone (queries and keys of one raster, no field after
 * `bias` in use) asks attn_plain_fields() in its reject().
 */
#ifndef ATTN2D3D_ATTN_H
#define ATTN2D3D_ATTN_H

#include "attn2d3d/window.h"
#include "core/internal.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { ATTN_DIM_MAX = 256, ATTN_EXTENT_MAX = 1 << 24 };

typedef struct attn_job {
    oriel_attn           a; /* as given, but no field is zero that means something else */
    const oriel_attn_io *io;
    int64_t              tokens, key_tokens; /* T Y X */
    int                  q_blocks[3], k_blocks[3]; /* of lists: blocks along the axes */
} attn_job;

/* One way to run problems. */
typedef struct attn_impl {
    const char *name; /* with bf16 in it: weights are rounded to bf16 before they meet values */
    /* NULL: it takes the problem on a CPU with these flags; else why not */
    const char *(*reject)(const attn_job *j, unsigned cpu);
    oriel_status (*run)(const attn_job *j, oriel_pool *pool);
} attn_impl;

extern const attn_impl attn_c;
#if defined(__x86_64__)
extern const attn_impl attn_avx2, attn_avx512, attn_bf16, attn_near_avx2, attn_near_avx512, attn_near_bf16;
extern const attn_impl attn_win_avx2, attn_win_avx512, attn_win_bf16;
#endif
extern const attn_impl *const attn_impls[]; /* fastest first; attn_c takes all; then NULL */

/* The problem with its defaults filled in, or ORIEL_E_ARG (attn_check.c). */
oriel_status attn_prepare(attn_job *j, const oriel_attn *a, const oriel_attn_io *io);
/* NULL if the problem is plain; else the first other feature that it uses, in words. For reject(). */
const char *attn_plain_fields(const attn_job *j);
/* The one that oriel_attn_run() would use; NULL and a message if ORIEL_ATTN names none. */
const attn_impl *attn_choose(const attn_job *j, unsigned cpu);

ORIEL_LAW oriel_axis attn_axis(const attn_job *j, int head, int axis)
{
    return j->io->axes ? j->io->axes[head * 3 + axis] : j->a.axis[axis];
}

ORIEL_LAW int attn_int(const oriel_tensor *t, int64_t at)
{
    return ((const int32_t *)t->data)[at];
}

/* The keys along an axis that the query at place i sees, lists apart: in [0, keys), but with pad_keys. */
ORIEL_LAW oriel_span attn_span_by(const attn_job *j, oriel_axis a, int axis, int i)
{
    const oriel_tensor *t = &j->io->spans[axis];
    if (a.kind == ORIEL_AXIS_SPANS) {
        oriel_span s = {attn_int(t, i * t->stride[0]), 1, attn_int(t, i * t->stride[0] + t->stride[1])};
        return s;
    }
    return oriel_axis_keys(a, j->a.keys[axis], j->a.pool[axis], j->a.pad_keys, i + j->a.at[axis]);
}
ORIEL_LAW oriel_span attn_span(const attn_job *j, int head, int axis, int i)
{
    return attn_span_by(j, attn_axis(j, head, axis), axis, i);
}

/* What a span has in [low, high). */
ORIEL_LAW oriel_span attn_clip(oriel_span s, int low, int high)
{
    int skip = s.first < low ? (low - s.first + s.step - 1) / s.step : 0, first = s.first + skip * s.step;
    int n = first < high ? (high - first + s.step - 1) / s.step : 0;
    s.count = oriel_axis_high(oriel_axis_low(s.count - skip, n), 0);
    s.first = first;
    return s;
}

/* The window of ORIEL_TEXT_WINDOWS that begins at key i; the next begins at first + count. */
ORIEL_LAW oriel_span attn_window(const attn_job *j, int head, int axis, int i)
{
    int pool = j->a.pool[axis];
    return oriel_axis_keys(attn_axis(j, head, axis), j->a.keys[axis], pool, j->a.pad_keys, i * pool);
}

/* Place i of the queries in units of keys, from which a bias by offset counts. */
ORIEL_LAW int attn_place(const attn_job *j, int axis, int i)
{
    return (i + j->a.at[axis]) / j->a.pool[axis];
}

ORIEL_LAW float attn_scale(const attn_job *j, int head)
{
    const oriel_tensor *t = &j->io->scales;
    return t->data ? ((const float *)t->data)[head * t->stride[0]] : j->a.scale;
}

/* One segment as a problem of its own. */
typedef struct attn_part {
    attn_job      job;
    oriel_attn_io io;
} attn_part;
/* Segment s, whose queries and keys begin at q and k in their lists (attn_part.c). */
void attn_part_make(attn_part *p, const attn_job *j, int s, int64_t q, int64_t k);
/* A segment's defaults filled in. */
oriel_segment attn_segment_filled(const attn_job *j, oriel_segment s);
/* Where the segments begin in the lists of queries and of keys, and where the last one ends. */
typedef struct attn_starts {
    int64_t *q, *k; /* (segments + 1) */
} attn_starts;
oriel_status attn_starts_new(attn_starts *s, const attn_job *j); /* ORIEL_E_NOMEM; NULL without segments */
void         attn_starts_free(attn_starts *s);
ORIEL_LAW int attn_starts_find(const int64_t *starts, int n, int64_t i) /* the segment that holds i */
{
    int low = 0, high = n - 1; /* starts[low] <= i < starts[high + 1] */
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        if (starts[middle] <= i)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Key blocks of a query block: indices[from .. to). */
typedef struct attn_list {
    int64_t from, to;
} attn_list;
ORIEL_LAW attn_list attn_list_of(const attn_job *j, int b, int h, int64_t q_block)
{
    const oriel_tensor *t = &j->io->indptr;
    int64_t at = (t->shape[0] > 1 ? b * t->stride[0] : 0) + (t->shape[1] > 1 ? h * t->stride[1] : 0) +
                 q_block * t->stride[2];
    attn_list list = {attn_int(t, at), attn_int(t, at + t->stride[2])};
    return list;
}
/* Key block i: its box [first, end), and how many of its keys, in raster order, are there. */
typedef struct attn_box {
    int first[3], end[3];
    int valid;
} attn_box;
ORIEL_LAW attn_box attn_key_box(const attn_job *j, int i)
{
    const int          *n = j->k_blocks, *side = j->a.k_block;
    const oriel_tensor *t = &j->io->k_valid;
    attn_box            b = {{i / n[2] / n[1] * side[0], i / n[2] % n[1] * side[1], i % n[2] * side[2]}, {0}, INT_MAX};
    for (int x = 0; x < 3; x++)
        b.end[x] = oriel_axis_low(b.first[x] + side[x], j->a.keys[x]);
    if (t->data)
        b.valid = attn_int(t, i * t->stride[0]);
    return b;
}
ORIEL_LAW int64_t attn_box_place(const attn_box *b, const int k[3]) /* of key k in raster order */
{
    return ((int64_t)(k[0] - b->first[0]) * (b->end[1] - b->first[1]) + (k[1] - b->first[1])) *
               (b->end[2] - b->first[2]) + (k[2] - b->first[2]);
}

/* Offset in elements of (b, t, y, x, h) of a raster tensor; of (b, i, h) of a list. */
ORIEL_LAW int64_t attn_at(const oriel_tensor *t, int b, const int at[3], int h)
{
    return b * t->stride[0] + at[0] * t->stride[1] + at[1] * t->stride[2] + at[2] * t->stride[3] +
           h * t->stride[4];
}
ORIEL_LAW int64_t attn_list_at(const oriel_tensor *t, int b, int i, int h)
{
    return b * t->stride[0] + i * t->stride[1] + h * t->stride[2];
}

/* Bias of the raster query at i for the key at k. */
ORIEL_LAW float attn_bias(const attn_job *j, int h, const int i[3], const int k[3])
{
    const oriel_tensor *t = &j->io->bias;
    const int          *n = j->a.extent, *m = j->a.keys;
    if (j->a.bias == ORIEL_BIAS_NONE)
        return 0;
    int64_t at = h * t->stride[0];
    if (j->a.bias == ORIEL_BIAS_DENSE)
        at += (((int64_t)i[0] * n[1] + i[1]) * n[2] + i[2]) * t->stride[1] +
              (((int64_t)k[0] * m[1] + k[1]) * m[2] + k[2]) * t->stride[2];
    else
        for (int x = 0; x < 3; x++) {
            int step = attn_axis(j, h, x).dilation;
            at += ((attn_place(j, x, i[x]) - k[x]) / (step ? step : 1) + t->shape[x + 1] / 2) * t->stride[x + 1];
        }
    return ((const float *)t->data)[at];
}

/* n values of the innermost axis from offset `at` on, as float, and back (attn.c). */
void attn_load(float *dst, const oriel_tensor *t, int64_t at, int n);
void attn_store(const oriel_tensor *t, int64_t at, const float *src, int n);
/* x[n] divided by max(its length, 1e-12). */
void attn_normalize(float *x, int n);

#ifdef __cplusplus
}
#endif
#endif
