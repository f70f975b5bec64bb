/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions of any kernel over frames of maps, (N, D, H, W, C) packed f32, by cuDNN 9, which is opened when the first
 * of them is packed. A picture is a clip with D = 1. (Kernels of 1 and 3 over pictures are ops_kernels.h's, which need no
 * library.)
 */
#ifndef CORE_CUDA_CONV_H
#define CORE_CUDA_CONV_H

#include "core/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cuda_conv_shape {
    int         n, k;                 /* outputs, inputs */
    int         kernel[3], stride[3]; /* of D, H, W */
    int         before[3], after[3];  /* zeros at either end of D, H, W */
    oriel_dtype operand; /* what pixels and weights are rounded to: F32 (no tf32), BF16, F16; sums are f32 */
} cuda_conv_shape;

typedef struct cuda_conv cuda_conv;

/* data (n, k, kernel), bias (n) or NULL: the host's. ORIEL_E_DEVICE: no cuDNN; ORIEL_E_UNSUPPORTED: the operand, or this
 * build had no header of cuDNN; ORIEL_E_NOMEM. */
oriel_status cuda_conv_pack(oriel_device *d, cuda_conv **out, const cuda_conv_shape *s, const float *data, const float *bias);
void         cuda_conv_free(oriel_device *d, cuda_conv **c);

/* Prepare for maps x (N, D, H, W): y's sizes, and bytes of scratch memory that a run takes. Does nothing if x is as
 * before. Engines that compile at run time, or whose bits may differ from run to run, are not chosen, nor those that take
 * over 32 MiB. ORIEL_E_UNSUPPORTED: cuDNN has none then. */
oriel_status cuda_conv_plan(oriel_device *d, cuda_conv *c, const int64_t x[4], int64_t y[4], size_t *scratch);
/* y (N, D', H', W', n) = x (N, D, H, W, k) * w + bias, sizes as planned; queued, may be captured in a graph. Scratch
 * memory is 256-byte aligned. Where cuDNN has no engine that leaves sums in f32, they are rounded to the operand's type
 * before the bias: cuda_conv_rounds(). */
oriel_status cuda_conv_run(oriel_device *d, const cuda_conv *c, float *y, const float *x, void *scratch);
bool         cuda_conv_rounds(const cuda_conv *c);

/* Of a device that is closed. */
void cuda_dnn_free(struct cuda_dnn *dnn);

#ifdef __cplusplus
}
#endif
#endif
