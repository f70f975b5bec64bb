/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chain of convolutions at growing resolution, a band of rows at a time.
 *
 * An upsampler's feature maps are up to scale^2 times as large as the body's. The chain runs bands
 * of output rows from top to bottom, each with the halo of rows that its convolutions need, so what
 * lies between is small; borders of the picture alone are padded with zeros, and the bits are those
 * of the chain run whole.
 */
#ifndef MODELS_CHAIN_H
#define MODELS_CHAIN_H

#include "core/ops.h"

typedef struct chain_step {
    const op_conv *conv;    /* NULL: nearest neighbour, twice the size */
    float          leaky;   /* slope of LeakyReLU behind the convolution; 0: none */
} chain_step;

/* out = (add +) the steps on x; out may be smaller than the whole (cropped at the far borders).
 * With one step add may be out. */
void chain_run(run *r, op_map out, op_map x, const op_map *add, const chain_step *steps, int n);

#endif
