/* SPDX-License-Identifier: Apache-2.0 */
/* A CUDA device from inside: its numbers, its stream, its scratch memory, its errors. */
#ifndef CORE_CUDA_CUDA_H
#define CORE_CUDA_CUDA_H

#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include "core/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Page-locked memory that copies pass through (copy_cuda.c). */
typedef struct cuda_ring {
    void       *chunk[2];
    cudaEvent_t done[2]; /* the last copy from or to the chunk */
    int         turn;    /* the chunk that is next */
    bool        refused; /* none was to be had */
} cuda_ring;

typedef struct cuda_device {
    int          index;
    int          arch;   /* 10 major + minor of the compute capability: 80, 90 */
    int          sms;    /* multiprocessors */
    int          shared; /* bytes of shared memory that a block may ask for */
    size_t       memory, l2;
    cudaStream_t stream; /* all work of the device; it waits for no other stream */
    PFN_cuTensorMapEncodeTiled_v12000 encode_tiled; /* NULL where the driver has it not */
    void                             *scratch;
    size_t                            scratch_bytes;
    cuda_ring                         ring;
    struct cuda_linears              *linears; /* linear.h */
    struct cuda_dnn                  *dnn;     /* conv.h */
} cuda_device;

/* Set the error text, "what: CUDA's name of the error (its sentence)", and return its status:
 * ORIEL_E_NOMEM, ORIEL_E_DEVICE. Takes the error from CUDA's memory unless the GPU is lost. */
oriel_status cuda_fail(cudaError_t e, const char *format, ...) ORIEL_PRINTF(2, 3);

/* Make the device's GPU this thread's current one: before any call of CUDA at a public door. */
oriel_status cuda_enter(oriel_device *d);

/* Is what is queued captured in a graph? Then nothing may be allocated or waited for. */
bool cuda_capturing(oriel_device *d);
/* Memory for the calls of one run: valid for what is queued before the next cuda_scratch(). It is not
 * cleared, 256-byte aligned, and grows when it must; ORIEL_E_DEVICE if it must while capturing. */
oriel_status cuda_scratch(oriel_device *d, void **p, size_t bytes);
/* Queue a copy of host data, which has been read when this returns; ORIEL_E_DEVICE while capturing. */
oriel_status cuda_put(oriel_device *d, void *dst, const void *src, size_t bytes);
/* device_kind's upload and download. */
oriel_status cuda_upload(oriel_device *d, void *dst, const void *src, size_t bytes);
oriel_status cuda_download(oriel_device *d, void *dst, const void *src, size_t bytes);
void         cuda_ring_free(cuda_ring *r);
extern const device_graphs graphs_cuda; /* graph.c */
/* device_kind's rates (rates_cuda.c). */
oriel_status cuda_rates(oriel_device *d, double *flops, double *bytes);
/* After a launch: was it accepted? */
oriel_status cuda_launched(const char *kernel);

#ifdef __cplusplus
}
#endif
#endif
