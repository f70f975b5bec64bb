/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies between the host and a GPU, through a ring of page-locked chunks.
 *
 * A copy from or to pageable memory makes the driver stage it, while the caller waits. Here the processor
 * copies one chunk while the GPU's copy engine moves the other, so that both directions run at the rate of
 * memcpy or of the bus, whichever is less, and an upload returns before the last chunk has arrived. Chunks
 * are made at the first copy. Where no memory can be page-locked, copies go the driver's way.
 */
#include "core/cuda/cuda.h"

enum { CHUNK = 4 << 20 };

static oriel_status failed(oriel_device *d, cudaError_t e, const char *what)
{
    return e ? cuda_fail(e, "%s: %s", d->name, what) : ORIEL_OK;
}

static bool ring_ready(cuda_ring *r)
{
    if (r->chunk[0] || r->refused)
        return !r->refused;
    cudaError_t e = cudaHostAlloc(&r->chunk[0], (size_t)2 * CHUNK, cudaHostAllocDefault);
    for (int i = 0; i < 2 && !e; i++)
        e = cudaEventCreateWithFlags(&r->done[i], cudaEventDisableTiming);
    if (e) {
        (void)cudaGetLastError();
        cuda_ring_free(r);
        r->refused = true;
        return false;
    }
    r->chunk[1] = (char *)r->chunk[0] + CHUNK;
    return true;
}

void cuda_ring_free(cuda_ring *r)
{
    for (int i = 0; i < 2; i++)
        if (r->done[i])
            cudaEventDestroy(r->done[i]);
    cudaFreeHost(r->chunk[0]);
    (void)cudaGetLastError();
    *r = (cuda_ring){0};
}

/* The driver's way. */
static oriel_status plain(oriel_device *d, void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind)
{
    cudaError_t e = cudaMemcpyAsync(dst, src, bytes, kind, d->cuda->stream);
    return failed(d, e ? e : cudaStreamSynchronize(d->cuda->stream), kind == cudaMemcpyHostToDevice ? "upload" : "download");
}

oriel_status cuda_upload(oriel_device *d, void *dst, const void *src, size_t bytes)
{
    cuda_ring   *r = &d->cuda->ring;
    cudaStream_t stream = d->cuda->stream;
    cudaError_t  e = cudaSuccess;
    oriel_status s = cuda_enter(d);
    if (s)
        return s;
    if (cuda_capturing(d))
        return oriel_fail(ORIEL_E_DEVICE, "%s: an upload while a graph is captured", d->name);
    if (!ring_ready(r))
        return plain(d, dst, src, bytes, cudaMemcpyHostToDevice);
    for (size_t at = 0; at < bytes && !e; at += CHUNK, r->turn ^= 1) {
        size_t n = bytes - at < CHUNK ? bytes - at : CHUNK;
        if ((e = cudaEventSynchronize(r->done[r->turn]))) /* what was in the chunk has left */
            break;
        memcpy(r->chunk[r->turn], (const char *)src + at, n);
        if (!(e = cudaMemcpyAsync((char *)dst + at, r->chunk[r->turn], n, cudaMemcpyHostToDevice, stream)))
            e = cudaEventRecord(r->done[r->turn], stream);
    }
    return failed(d, e, "upload");
}

oriel_status cuda_download(oriel_device *d, void *dst, const void *src, size_t bytes)
{
    cuda_ring   *r = &d->cuda->ring;
    cudaStream_t stream = d->cuda->stream;
    cudaError_t  e = cudaSuccess;
    oriel_status s = cuda_enter(d);
    if (s)
        return s;
    if (cuda_capturing(d))
        return oriel_fail(ORIEL_E_DEVICE, "%s: a download while a graph is captured", d->name);
    if (!ring_ready(r))
        return plain(d, dst, src, bytes, cudaMemcpyDeviceToHost);
    size_t n = 0, before = 0; /* bytes of this chunk and of the one before, which waits to be taken */
    for (size_t at = 0; at < bytes + before && !e; at += n, before = n, r->turn ^= 1) {
        n = at < bytes ? bytes - at < CHUNK ? bytes - at : CHUNK : 0;
        if (n && !(e = cudaMemcpyAsync(r->chunk[r->turn], (const char *)src + at, n, cudaMemcpyDeviceToHost, stream)))
            e = cudaEventRecord(r->done[r->turn], stream);
        if (before && !e && !(e = cudaEventSynchronize(r->done[r->turn ^ 1])))
            memcpy((char *)dst + at - before, r->chunk[r->turn ^ 1], before);
    }
    return failed(d, e, "download");
}
