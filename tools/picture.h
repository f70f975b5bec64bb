/* SPDX-License-Identifier: Apache-2.0 */
/* One picture through a network: passes, tiles, alpha, grey, depth, exact size. */
#ifndef TOOLS_PICTURE_H
#define TOOLS_PICTURE_H

#include <oriel/models.h>
#include <oriel/vision.h>

#include "tool.h"

#define ALPHA_WORDS "auto|model|resize|drop"
typedef enum alpha_mode {
    ALPHA_AUTO,   /* a constant alpha stays that constant; any other as ALPHA_MODEL */
    ALPHA_MODEL,  /* through the network, as three equal channels */
    ALPHA_RESIZE, /* bicubic */
    ALPHA_DROP    /* the result has none */
} alpha_mode;

#define DEPTH_WORDS "keep|8|16"
typedef enum depth_mode { DEPTH_KEEP, DEPTH_8, DEPTH_16 } depth_mode;

typedef struct network {
    const oriel_device *device;
    oriel_model *model;
    oriel_model_info info;
    double scale; /* of the result; 0 means the model's */
    alpha_mode alpha;
    depth_mode depth;
    int tile, overlap; /* pixels of a pass's input; tile 0: none; overlap < 0: default */
    bool drop_metadata;
} network;

/* What a picture will become, and take. */
typedef struct picture_plan {
    int passes;        /* through the network */
    int width, height; /* of the result */
    int channels, depth;
    uint64_t activation_bytes; /* of the network's run */
    uint64_t bytes;            /* the highest sum of that, of the frames and of the result */
    double flops;
} picture_plan;

/* False: the network cannot take the picture, and why. */
bool picture_plan_make(const network *n, const oriel_image *src, picture_plan *plan, trouble *why);

typedef struct memory_limit {
    uint64_t bytes;
    bool asked; /* by the user; else it is what the machine has free */
} memory_limit;

/* Whether the picture, and `beside` bytes that are not in its plan, fit into memory: a machine that
 * swaps or kills helps nobody. False says which --tile would. */
bool picture_fits(const network *n, const oriel_image *src, const picture_plan *plan,
                  uint64_t beside, memory_limit limit, trouble *why);

/* dst, which is all zero, becomes the result. progress is called as in oriel_run_options, from 0 to
 * 1 over the whole picture; where it returns false the work ends with `stopped` in *why. */
bool picture_run(const network *n, const oriel_image *src, oriel_image *dst,
                 oriel_progress_fn *progress, void *user, trouble *why);

#endif
