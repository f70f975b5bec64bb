/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ORIEL_MODELS_H
#define ORIEL_MODELS_H

/*
 * oriel/models.h - checkpoints as their authors publish them, and the networks that run them.
 *
 *     oriel_model *m = NULL;
 *     if ((s = oriel_model_open(&m, dev, "swinir.pth", NULL)) == ORIEL_OK) {
 *         oriel_plan plan;                             // what a run will take, before it runs
 *         s = oriel_model_plan(m, shape_in, &plan);    // (1, Y, X, C)
 *         s = oriel_model_run(m, in, out, NULL);       // f32 tensors of the caller's, 0..1
 *         oriel_model_free(&m);
 *     }
 *
 * A checkpoint is safetensors (one file, or an .index.json with its shards), torch zip, or torch
 * legacy. Pickles are read by an interpreter that executes nothing. The architecture and its
 * hyper-parameters come from the names and shapes of the tensors, never from the file's name.
 */

#include <oriel/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- checkpoints -------------------------------------------------------------------------- */

typedef struct oriel_checkpoint oriel_checkpoint;

typedef struct oriel_checkpoint_options {
    const char *key;    /* take this dictionary of the file ("params_ema", "model.ema", ...) in place
                           of the one that fits best */
    bool        sha256; /* also hash the file(s): reads every byte */
} oriel_checkpoint_options;

typedef struct oriel_checkpoint_info {
    const char *format;       /* "safetensors", "safetensors index", "torch zip", "torch legacy" */
    const char *key;          /* the dictionary taken: "params", ...; "" is the root */
    const char *other_keys;   /* dictionaries with tensors that were not taken, comma separated; "" */
    const char *architecture; /* "SwinIR", "HAT", ...; NULL when unknown */
    const char *details;      /* hyper-parameters: "x4, embed 60, depths 6 6 6 6, ..."; "" if none */
    const char *sample_keys;  /* a few names, comma separated: what to show when unknown */
    bool        runnable;     /* this build has the network */
    int64_t     tensors;      /* in the dictionary taken */
    int64_t     parameters;   /* elements of floating-point tensors, stored buffers left out */
    uint64_t    bytes;        /* of the file, or of all shards */
    char        sha256[65];   /* hex, of the file (index: of all shards' hashes); "" unless asked */
} oriel_checkpoint_info;

/* Map a file and read its directory; tensor data stays where it is. On failure *out is NULL.
 * ORIEL_E_IO, ORIEL_E_FORMAT (truncated, corrupt, hostile), ORIEL_E_UNSUPPORTED, ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_checkpoint_open(oriel_checkpoint **out,
                                                              const char *path,
                                                              const oriel_checkpoint_options *opt);
ORIEL_API void oriel_checkpoint_free(oriel_checkpoint **c);
/* Facts about the file; strings live as long as the checkpoint. */
ORIEL_API void oriel_checkpoint_describe(const oriel_checkpoint *c, oriel_checkpoint_info *info);
/* Tensor `index` in file order, 0 <= index < tensors: a view of the mapped data (read only; strides
 * as stored). *name lives as long as the checkpoint. ORIEL_E_ARG. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_checkpoint_tensor(const oriel_checkpoint *c,
                                                                int64_t index, const char **name,
                                                                oriel_tensor *t);

/* ---- models ------------------------------------------------------------------------------- */

typedef struct oriel_model oriel_model;

typedef enum oriel_precision {
    ORIEL_PRECISION_F32 = 0, /* the reference */
    ORIEL_PRECISION_BF16,    /* bf16 operands, fp32 sums and residual stream; a CPU needs AVX512-BF16
                                or AMX (else ORIEL_E_UNSUPPORTED) */
    ORIEL_PRECISION_F16      /* fp16 operands, likewise; on GPUs alone */
} oriel_precision;

typedef enum oriel_pad {
    ORIEL_PAD_REFLECT = 0, /* to a multiple of the window, as the networks do */
    ORIEL_PAD_SYMMETRIC    /* first by 1 to `window` pixels, edge repeated, as the authors' test
                              program does, whose PSNR is the one published */
} oriel_pad;

typedef struct oriel_model_options {
    oriel_precision precision;
    oriel_pad       pad;
    const char     *key; /* as in oriel_checkpoint_options */
} oriel_model_options;

typedef struct oriel_model_info {
    const char *architecture; /* "SwinIR" */
    const char *details;      /* as in oriel_checkpoint_info */
    const char *task;         /* "upscale", "denoise", "jpeg" */
    int         scale;        /* 1, 2, 3, 4, 8 */
    int         channels;     /* of input and output pictures: 1 or 3 */
    int         window;       /* pixels; sizes are padded to its multiples inside */
    int64_t     parameters;
    uint64_t    weight_bytes; /* as held in memory */
} oriel_model_info;

typedef struct oriel_plan {
    int64_t  shape_out[4];     /* (B, Y, X, C) */
    uint64_t activation_bytes; /* peak of the run's own memory on the device; input and output are the caller's */
    double   flops;            /* 2 x multiply-adds of the network on this input */
    double   map_bytes;        /* of feature maps that its operations read and write, each once: with what a copy
                                  takes, a floor for the time */
} oriel_plan;

/* Called between steps, from the thread that runs the model; returning false cancels the run
 * (ORIEL_E_DEVICE). done grows from 0 to 1. On a GPU a step is done when it is queued, and what was
 * queued before a cancel still runs. */
typedef bool oriel_progress_fn(void *user, double done);

/* Called, from the thread that runs the model, when a stage of the network has been queued: "input", "group" (each of
 * them), "upsampler", as the network names them. To time stages on a GPU, wait for the device in it. */
typedef void oriel_model_stage_fn(void *user, const char *stage);

typedef struct oriel_run_options {
    oriel_progress_fn    *progress;
    void                 *user;
    oriel_model_stage_fn *stage; /* such a run is made call by call: slower than those that are played */
} oriel_run_options;

/* Open a checkpoint and build its network on dev. A missing tensor, a wrong shape, an unknown
 * architecture: ORIEL_E_FORMAT or ORIEL_E_UNSUPPORTED, with a text that names it. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_model_open(oriel_model **out, oriel_device *dev,
                                                         const char *path,
                                                         const oriel_model_options *opt);
ORIEL_API void oriel_model_free(oriel_model **m);
ORIEL_API void oriel_model_describe(const oriel_model *m, oriel_model_info *info);

/* What a run on an input of this shape (B, Y, X, C) gives and takes. Runs nothing, touches no
 * pixel. ORIEL_E_ARG. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_model_plan(oriel_model *m, const int64_t shape_in[4],
                                                         oriel_plan *plan);
/* out = network(in), both f32 (B, Y, X, C) packed, in the device's memory, samples 0..1, not clamped. Memory of
 * the run is kept for the next one and freed with the model. The same bits for any number of threads.
 * On a GPU the run is queued: its output is there for what is queued later (oriel_memory_download()), or after
 * oriel_device_sync(). After a failure the model can run again, unless the GPU itself is lost.
 * ORIEL_E_ARG, ORIEL_E_NOMEM (the text says which size would fit), ORIEL_E_DEVICE. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_model_run(oriel_model *m, oriel_tensor in,
                                                        oriel_tensor             out,
                                                        const oriel_run_options *opt);

#ifdef __cplusplus
}
#endif
#endif
