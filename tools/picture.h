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

/* Memory of a device that is kept from picture to picture; it grows. */
typedef struct device_room {
    void *data;
    size_t bytes;
} device_room;

/* A network, and what is asked of it. One thread at a time. */
typedef struct network {
    oriel_device *device;
    bool gpu;           /* device is one: its memory is not the host's */
    uint64_t gpu_bytes; /* of it, for runs */
    device_room *room;  /* for a run's input and its output */
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
    bool direct;               /* samples go to the device and come from it as they are stored */
    uint64_t activation_bytes; /* of the network's run */
    uint64_t bytes;     /* of the host: the highest sum of that, of the frames and of the result */
    uint64_t gpu_bytes; /* of the GPU, where the run and its input and output lie there */
    uint64_t
        result_bytes; /* of the result and its file: of bytes, what stays until it is written */
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

/* On a GPU: whether the picture fits into the memory for runs, or into tiles of less, the largest
 * that do. Where nobody has asked for tiles n and plan get them, and *cut says so. */
bool picture_cut_for_gpu(network *n, const oriel_image *src, picture_plan *plan, trouble *cut,
                         trouble *why);

/* dst, which is all zero or has the result's shape and no metadata, becomes the result. progress is
 * called as in oriel_run_options, from 0 to 1 over the whole picture; where it returns false the
 * work ends with `stopped` in *why. */
bool picture_run(const network *n, const oriel_image *src, oriel_image *dst,
                 oriel_progress_fn *progress, void *user, trouble *why);

#endif
