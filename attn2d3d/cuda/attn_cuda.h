/* SPDX-License-Identifier: Apache-2.0 */
/* Attention on CUDA devices: the implementations that may run a checked problem. */
#ifndef ATTN2D3D_CUDA_ATTN_CUDA_H
#define ATTN2D3D_CUDA_ATTN_CUDA_H

#include "attn2d3d/attn.h"
#include "core/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One way to run problems. The tensors of a job lie in the GPU's memory, its axes in the host's. */
typedef struct attn_cuda_impl {
    const char *name;
    /* NULL: it takes the problem on this GPU; else why not */
    const char *(*reject)(const attn_job *j, const cuda_device *gpu);
    /* Queue it on the device's stream. */
    oriel_status (*run)(const attn_job *j, oriel_device *dev);
} attn_cuda_impl;

extern const attn_cuda_impl attn_cuda_plain;
extern const attn_cuda_impl *const attn_cuda_impls[]; /* fastest first; attn_cuda_plain last; then NULL */

/* The one that oriel_attn_run() would use. ORIEL_E_ARG: ORIEL_ATTN names none; ORIEL_E_UNSUPPORTED:
 * none takes it, and the text has the last one's reason. */
oriel_status attn_cuda_choose(const attn_cuda_impl **out, const attn_job *j, const cuda_device *gpu);
oriel_status attn_cuda_run(const attn_job *j, oriel_device *dev);

/* The windows of the heads, (H, 3), copied to the GPU: *axes is NULL where all heads have the job's.
 * They lie in the first attn_cuda_axes_bytes() of the run's scratch memory. */
size_t       attn_cuda_axes_bytes(const attn_job *j);
oriel_status attn_cuda_axes(const attn_job *j, oriel_device *dev, void *scratch, const oriel_axis **axes);

#ifdef __cplusplus
}
#endif
#endif
