/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading weights: by name and shape, with errors that say what was due and what was found.
 *
 * A binder has a sticky status, so a network's bind() is one list of names; its scratch memory goes
 * with bind_end().
 */
#ifndef MODELS_BIND_H
#define MODELS_BIND_H

#include "models/model.h"

typedef struct binder {
    oriel_device           *dev;
    const oriel_checkpoint *c;
    oriel_status            status;
    uint64_t                bytes; /* of packed weights so far */
    void                   *scratch; /* list of what bind_tensor() made */
    bool                   *taken;   /* (tensors of c) which of them were asked for */
} binder;

/* The tensor `name` (printf) as f32, of exactly this shape (ndim sizes). NULL after a failure.
 * Lives until bind_end() or bind_release(). */
float *bind_tensor(binder *b, int ndim, const int64_t *shape, const char *name, ...) ORIEL_PRINTF(4, 5);
/* Is there such a tensor? With its size along an axis: bind_size(), 0 if there is none. */
bool    bind_has(const binder *b, const char *name, ...) ORIEL_PRINTF(2, 3);
int64_t bind_size(const binder *b, int axis, const char *name, ...) ORIEL_PRINTF(3, 4);
void    bind_fail(binder *b, oriel_status s);

/* A convolution `name`.weight (n, k, kernel, kernel) with its .bias (n), packed; outputs times
 * scale, plus add[channel] (channel = output / shuffle^2; NULL: nothing). */
typedef struct bind_conv_how {
    int          n, k, kernel, shuffle;
    oriel_dtype  operand; /* as in core/ops.h */
    float        scale; /* 0 means 1 */
    const float *add;
} bind_conv_how;
void bind_conv(binder *b, op_conv *w, const bind_conv_how *how, const char *name, ...)
    ORIEL_PRINTF(4, 5);
/* LayerNorm `name`.weight and .bias (c). */
void bind_norm(binder *b, op_norm *w, int c, float eps, const char *name, ...) ORIEL_PRINTF(5, 6);

void bind_release(binder *b); /* scratch of the tensors so far */
/* The end of the list: every tensor of the file but stored buffers must have been asked for, or a
 * block whose first tensor is missing would be left out in silence. Frees what the binder holds;
 * returns its status. */
oriel_status bind_end(binder *b);

#endif
