/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job as the Hopper kernel sees it (attn_hopper_job.c) and how it is cut (attn_hopper_plan.c):
 * plain numbers, made without a GPU.
 */
#ifndef ATTN2D3D_CUDA_ATTN_HOPPER_H
#define ATTN2D3D_CUDA_ATTN_HOPPER_H

#include "attn2d3d/attn.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    HOPPER_QUERIES = 128, /* of a block: 64 for each of its two consumer warpgroups */
    HOPPER_WINDOWS = 32,  /* different windows in a launch */
    HOPPER_HEADS = 128    /* heads in a launch */
};

/* First key and end, for each query of an axis. */
typedef int hopper_span[2];

/* Rows along the raster's axes and heads; strides in elements. Of one batch item. */
typedef struct hopper_rows {
    char *data; /* NULL: none */
    int64_t stride[4], batch;
} hopper_rows;

/* A raster of three axes, outermost first; axes that all queries see whole have become one where
 * the tensors let them, and come innermost then. Empty axes have 1 token. */
typedef struct hopper_job {
    int nq[3], nk[3];
    bool whole[3];             /* every query sees every key of the axis */
    int windows;               /* different ones */
    int heads[HOPPER_WINDOWS]; /* that have it */
    int window[HOPPER_HEADS];  /* of a head */
    int at[3], spans; /* (window, query along axis x) is span[w spans + at[x] + i]; i 0 if whole */
    hopper_span *span;
    int extra;
    hopper_rows q, k, v, out, lse, extra_k, extra_v; /* the last two along axis 2 */
} hopper_job;

/* The job's raster, or its text queries, which see all. ORIEL_E_NOMEM. */
oriel_status hopper_job_new(hopper_job *h, const attn_job *j, bool text);
void hopper_job_free(hopper_job *h);
/* Why not, as far as windows and the layout of tensors go; NULL: it can be done. */
const char *hopper_job_refuse(const attn_job *j);

/* Boxes of queries and keys. Loop axis a is the job's axis order[a]; 0 is the outermost, along
 * which the two halves of a box of queries lie (where q[0] is 1: the next that has more). */
typedef struct hopper_shape {
    int order[3];
    int q[3];            /* powers of two, HOPPER_QUERIES in all */
    int k[3];            /* k[2] 4 and k[1] even, or k[2] a multiple of 8 */
    int clusters, along; /* blocks that share keys, 1 or 2; loop axis along which their boxes of
                            queries lie */
    double cycles;       /* expected of a multiprocessor */
} hopper_shape;

/* The boxes of `keys` keys that are expected to be fastest for heads of dim (64 or 128) channels.
 * ORIEL_E_NOMEM. */
oriel_status hopper_plan(hopper_shape *s, const hopper_job *h, int dim, int keys, int sms);

#ifdef __cplusplus
}
#endif
#endif
