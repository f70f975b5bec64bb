/* SPDX-License-Identifier: Apache-2.0 */
/* A picture as floats on its way through a network: f32 (Y, X, C) packed, 0..1. */
#ifndef TOOLS_FRAME_H
#define TOOLS_FRAME_H

#include "picture.h"

typedef struct frame {
    float *data;
    int width, height, channels;
} frame;

/* How far a picture is, over several passes of different size. */
typedef struct frame_progress {
    oriel_progress_fn *fn; /* or NULL */
    void *user;
    double work, done; /* in pixels of the passes' inputs */
} frame_progress;

/* Whether a pass over a frame of this size is cut into tiles, and how. */
bool frame_is_tiled(const network *n, int64_t width, int64_t height);
bool frame_tiles(const network *n, int width, int height, oriel_tiles *tiles, trouble *why);

/* Room on the device for a run over width x height: its input and output, (1, Y, X, C), not
 * cleared. It is kept for the next run, until it grows or is given back. */
bool frame_room(const network *n, int width, int height, oriel_tensor *in, oriel_tensor *out,
                trouble *why);
void frame_room_free(const network *n);
/* One run of the network, tensors in the device's memory; `work` is of *progress. */
bool frame_run_on(const network *n, oriel_tensor in, oriel_tensor out, double work,
                  frame_progress *progress, trouble *why);
extern const char not_a_number[]; /* what is said of such a result */

/* A frame of zeros. */
bool frame_new(frame *f, int width, int height, int channels, trouble *why);
oriel_tensor frame_view(const frame *f); /* (Y, X, C) */
bool frame_read(frame *f, const oriel_image *src, int first, int count, trouble *why);
bool frame_write(const frame *f, oriel_image *dst, int first, trouble *why); /* clamps */
/* Give the pixels whose mask (Y, X) is 0 the colour of their nearest neighbours whose is not; a
 * mask of zeros alone changes nothing. */
bool frame_bleed(frame *f, const float *mask, trouble *why);
/* 1 channel to `channels` equal ones, in place of the frame; the mean of them back to `channels`.
 */
bool frame_spread(frame *f, int channels, trouble *why);
bool frame_gather(frame *f, int channels);
/* Once through the network; the result is clamped to 0..1. */
bool frame_pass(frame *f, const network *n, frame_progress *progress, trouble *why);
/* All passes of the plan, then exactly its size; with the channels that f has. */
bool frame_run(frame *f, const network *n, const picture_plan *plan, frame_progress *progress,
               trouble *why);
bool frame_resize(frame *f, int width, int height, trouble *why); /* bicubic, antialiased */
void frame_free(frame *f);

#endif
