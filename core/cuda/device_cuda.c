/* SPDX-License-Identifier: Apache-2.0 */
/* A CUDA device: opened, its memory, its errors. cudart is linked statically and loads the driver when
 * it is first asked, so that the library runs where there is none. */
#include "core/cuda/cuda.h"

#include <stdio.h>

#include "core/cuda/conv.h"
#include "core/cuda/linear.h"
#include "core/ops.h"

enum { ARCH_LEAST = 80 };

oriel_status cuda_fail(cudaError_t e, const char *format, ...)
{
    char    what[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    (void)cudaGetLastError(); /* an error that is not sticky would be found by the next call's check */
    return oriel_fail(e == cudaErrorMemoryAllocation ? ORIEL_E_NOMEM : ORIEL_E_DEVICE, "%s: %s (%s)", what,
                      cudaGetErrorName(e), cudaGetErrorString(e));
}

oriel_status cuda_enter(oriel_device *d)
{
    cudaError_t e = cudaSetDevice(d->cuda->index);
    return e ? cuda_fail(e, "%s: cannot be used", d->name) : ORIEL_OK;
}

/* How many GPUs there are; no driver and an old one are told apart here. */
static oriel_status count_gpus(int *n)
{
    int         driver = 0;
    cudaError_t e = cudaDriverGetVersion(&driver);
    if (!e && !driver)
        return oriel_fail(ORIEL_E_DEVICE, "cuda: no NVIDIA driver is loaded on this machine");
    if (!e)
        e = cudaGetDeviceCount(n);
    if (e == cudaErrorInsufficientDriver)
        return cuda_fail(e, "cuda: the driver knows CUDA %d.%d, this liboriel was built with %d.%d", driver / 1000,
                         driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    if (e && e != cudaErrorNoDevice)
        return cuda_fail(e, "cuda: the driver does not start");
    if (e || !*n) {
        (void)cudaGetLastError();
        return oriel_fail(ORIEL_E_DEVICE, "cuda: no GPU is visible");
    }
    return ORIEL_OK;
}

static void find_encode(cuda_device *c)
{
    enum cudaDriverEntryPointQueryResult found;
    void                                *f = NULL;
#if CUDART_VERSION >= 12050
    cudaError_t e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &f, 12000, cudaEnableDefault, &found);
#else
    cudaError_t e = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &f, cudaEnableDefault, &found);
#endif
    if (!e && found == cudaDriverEntryPointSuccess)
        memcpy(&c->encode_tiled, &f, sizeof f); /* a function's address out of an object's */
    (void)cudaGetLastError();
}

static oriel_status describe(oriel_device *d)
{
    struct cudaDeviceProp p;
    cuda_device          *c = d->cuda;
    cudaError_t           e = cudaGetDeviceProperties(&p, c->index);
    if (e)
        return cuda_fail(e, "cuda %d: no properties", c->index);
    c->arch = 10 * p.major + p.minor;
    c->sms = p.multiProcessorCount;
    c->shared = (int)p.sharedMemPerBlockOptin;
    c->memory = p.totalGlobalMem;
    c->l2 = (size_t)p.l2CacheSize;
    snprintf(d->name, sizeof d->name, "cuda %.70s %d", p.name, c->index);
    if (c->arch < ARCH_LEAST)
        return oriel_fail(ORIEL_E_DEVICE, "%s: compute capability %d.%d, where %d.%d is the least", d->name, p.major,
                          p.minor, ARCH_LEAST / 10, ARCH_LEAST % 10);
    return ORIEL_OK;
}

static oriel_status open_gpu(oriel_device *d, const oriel_device_options *opt)
{
    oriel_status s;
    int          n = 0;
    if (opt->threads)
        return oriel_fail(ORIEL_E_ARG, "device: cuda: %d threads, which only a cpu has", opt->threads);
    if (opt->index < 0)
        return oriel_fail(ORIEL_E_ARG, "device: cuda %d: no such number", opt->index);
    if ((s = count_gpus(&n)))
        return s;
    if (opt->index >= n)
        return oriel_fail(ORIEL_E_DEVICE, "device: cuda %d: the last GPU is number %d", opt->index, n - 1);
    if ((s = oriel_pool_new(&d->pool, 1)))
        return s;
    if (!(d->cuda = oriel_alloc_zero(1, sizeof *d->cuda)))
        return ORIEL_E_NOMEM;
    d->cuda->index = opt->index;
    d->ops = &ops_cuda;
    if ((s = describe(d)) || (s = cuda_enter(d)))
        return s;
    find_encode(d->cuda);
    cudaError_t e = cudaStreamCreateWithFlags(&d->cuda->stream, cudaStreamNonBlocking);
    return e ? cuda_fail(e, "%s: no stream", d->name) : ORIEL_OK;
}

static void close_gpu(oriel_device *d)
{
    if (d->cuda && d->cuda->stream && !cuda_enter(d)) {
        cudaStreamSynchronize(d->cuda->stream);
        cudaFree(d->cuda->scratch);
        cuda_ring_free(&d->cuda->ring);
        cuda_linears_free(d->cuda->linears);
        cuda_dnn_free(d->cuda->dnn);
        cudaStreamDestroy(d->cuda->stream);
        (void)cudaGetLastError();
    }
    oriel_dealloc(d->cuda);
    oriel_pool_free(&d->pool);
}

static oriel_status alloc_bytes(oriel_device *d, void **p, size_t bytes)
{
    size_t      free_bytes = 0, all = 0;
    cudaError_t e = cudaMalloc(p, bytes);
    if (!e)
        return ORIEL_OK;
    *p = NULL;
    if (e != cudaErrorMemoryAllocation)
        return cuda_fail(e, "%s: %zu bytes of memory", d->name, bytes);
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&free_bytes, &all);
    return oriel_fail(ORIEL_E_NOMEM, "%s: out of memory: %zu bytes, where %zu of %zu are free", d->name, bytes,
                      free_bytes, all);
}

static oriel_status alloc_gpu(oriel_device *d, void **p, size_t bytes)
{
    oriel_status s = cuda_enter(d);
    return s ? s : alloc_bytes(d, p, bytes);
}

static void dealloc_gpu(oriel_device *d, void *p)
{
    if (!cuda_enter(d))
        cudaFree(p); /* waits for what is queued */
    (void)cudaGetLastError();
}

static oriel_status wait_for(oriel_device *d, cudaError_t queued, const char *what)
{
    cudaError_t e = queued ? queued : cudaStreamSynchronize(d->cuda->stream);
    return e ? cuda_fail(e, "%s: %s", d->name, what) : ORIEL_OK;
}

static oriel_status sync_gpu(oriel_device *d)
{
    oriel_status s = cuda_enter(d);
    return s ? s : wait_for(d, cudaSuccess, "what was queued failed");
}

bool cuda_capturing(oriel_device *d)
{
    enum cudaStreamCaptureStatus is = cudaStreamCaptureStatusNone;
    if (cudaStreamIsCapturing(d->cuda->stream, &is))
        (void)cudaGetLastError();
    return is != cudaStreamCaptureStatusNone;
}

oriel_status cuda_scratch(oriel_device *d, void **p, size_t bytes)
{
    cuda_device *c = d->cuda;
    oriel_status s;
    *p = NULL;
    if (bytes > c->scratch_bytes) {
        if (cuda_capturing(d))
            return oriel_fail(ORIEL_E_DEVICE, "%s: %zu bytes of scratch cannot be had while a graph is captured", d->name, bytes);
        if ((s = wait_for(d, cudaSuccess, "what was queued failed")))
            return s;
        cudaFree(c->scratch);
        c->scratch = NULL;
        c->scratch_bytes = 0;
        if ((s = alloc_bytes(d, &c->scratch, bytes)))
            return s;
        c->scratch_bytes = bytes;
    }
    *p = c->scratch;
    return ORIEL_OK;
}

oriel_status cuda_put(oriel_device *d, void *dst, const void *src, size_t bytes)
{
    if (cuda_capturing(d)) /* the graph would read the host's memory again */
        return oriel_fail(ORIEL_E_DEVICE, "%s: a copy of host data cannot be captured in a graph", d->name);
    cudaError_t e = cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, d->cuda->stream);
    return e ? cuda_fail(e, "%s: upload", d->name) : ORIEL_OK;
}

oriel_status cuda_launched(const char *kernel)
{
    cudaError_t e = cudaGetLastError();
    return e ? cuda_fail(e, "cuda: %s", kernel) : ORIEL_OK;
}

static oriel_status memory_gpu(oriel_device *d, size_t *free_bytes, size_t *all)
{
    oriel_status s = cuda_enter(d);
    if (s)
        return s;
    cudaError_t e = cudaMemGetInfo(free_bytes, all);
    return e ? cuda_fail(e, "%s: its memory", d->name) : ORIEL_OK;
}

/* Memory of this GPU, or of the host that is pinned or managed. */
static bool reaches_gpu(oriel_device *d, const void *p)
{
    struct cudaPointerAttributes a;
    bool                         there = !cuda_enter(d) && !cudaPointerGetAttributes(&a, p) && a.devicePointer &&
                 (a.type != cudaMemoryTypeDevice || a.device == d->cuda->index);
    (void)cudaGetLastError();
    return there;
}

const device_kind device_cuda = {.open = open_gpu, .close = close_gpu, .alloc = alloc_gpu, .dealloc = dealloc_gpu,
                                 .upload = cuda_upload, .download = cuda_download, .sync = sync_gpu, .enter = cuda_enter,
                                 .memory = memory_gpu, .rates = cuda_rates, .reaches = reaches_gpu,
                                 .graphs = &graphs_cuda};
