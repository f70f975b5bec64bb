/* SPDX-License-Identifier: Apache-2.0 */
/* Resizing inside: what weights an axis has, and rows that are made from rows. */
#ifndef VISION_RESIZE_H
#define VISION_RESIZE_H

#include <oriel/vision.h>

/* One axis of a resize: output i is the sum of weight[i * max + k] * input[first + k], k < count.
 * Borders are folded in, so that every tap is inside the input. */
typedef struct oriel_tap_range {
    int first, count;
} oriel_tap_range;

typedef struct oriel_taps {
    int              src, dst;
    int              max;        /* taps of an output at most */
    oriel_tap_range *range;      /* [dst] */
    double          *weight;     /* [dst][max] */
    float           *weight_f32; /* [dst][max], the same rounded */
} oriel_taps;

/* ORIEL_E_ARG if opt is not a filter or a rule, else ORIEL_E_UNSUPPORTED if the rule lacks it. */
oriel_status oriel_resize_check(const oriel_resize_options *opt);
/* Both sizes are in 1..ORIEL_IMAGE_MAX_SIDE and opt is checked. ORIEL_E_NOMEM. */
oriel_status oriel_taps_new(oriel_taps *t, int src, int dst, const oriel_resize_options *opt);
void         oriel_taps_free(oriel_taps *t);

/* Where float rows (X, C) come from and go to. `row` has room for one and may be left unused. */
typedef struct oriel_row_io {
    void *ctx;
    const float *(*load)(void *ctx, int y, float *row); /* source row y */
    float *(*target)(void *ctx, int y, float *row);     /* where to make output row y */
    void (*store)(void *ctx, int y, const float *row);  /* done, where target said */
} oriel_row_io;

/* Columns, then rows. Source rows are loaded in order, once each; of them, filtered along x, only
 * those are kept that the rows to come still need. ORIEL_E_NOMEM. */
oriel_status oriel_resize_rows(const oriel_row_io *io, const oriel_taps *y, const oriel_taps *x,
                               int channels);

#endif
