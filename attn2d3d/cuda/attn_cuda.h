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

extern const attn_cuda_impl attn_cuda_window, attn_cuda_boxes, attn_cuda_near, attn_cuda_hopper, attn_cuda_mma, attn_cuda_ffma, attn_cuda_plain;
extern const attn_cuda_impl *const attn_cuda_impls[]; /* fastest first; attn_cuda_plain last; then NULL */

/* The one that oriel_attn_run() would use. ORIEL_E_ARG: ORIEL_ATTN names none; ORIEL_E_UNSUPPORTED:
 * none takes it, and the text has the last one's reason. */
oriel_status attn_cuda_choose(const attn_cuda_impl **out, const attn_job *j, const cuda_device *gpu);
oriel_status attn_cuda_run(const attn_job *j, oriel_device *dev);
oriel_status attn_cuda_name(const char **name, const attn_job *j, oriel_device *dev); /* of that one */

/* What a job says, where kernels can read it: its tables and structs, copied to the GPU. */
typedef struct attn_cuda_copy {
    oriel_attn_io    io;    /* the job's, its tables (axes, spans, indptr, indices, k_valid) those on the GPU,
                               packed; segments NULL. For kernels that take it by value */
    const attn_part *parts; /* on the GPU: the job, or each of its segments, with that io */
    const int64_t   *starts; /* on the GPU: where the queries of each segment begin; NULL without segments */
    void            *more;  /* on the GPU, 256-byte aligned, not cleared */
} attn_cuda_copy;

/* Copy them to the device's scratch memory, and leave `more` bytes there for the caller's own use. One
 * of these a run: the next one takes the place of this. */
oriel_status attn_cuda_copy_job(attn_cuda_copy *c, const attn_job *j, oriel_device *dev, size_t more);

#ifdef __cplusplus
}
#endif
#endif
