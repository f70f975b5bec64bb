/* SPDX-License-Identifier: Apache-2.0 */
/* Surfaces on CUDA devices: what runs on the host. */
#include "core/cuda/cuda.h"
#include "vision/surface.h"

enum { FLAG_BYTES = 256 }; /* of scratch: the flag, then samples */

static oriel_status queue(oriel_device *dev, const surface_job *j, bool store, int *odd)
{
    cudaStream_t stream = dev->cuda->stream;
    cudaError_t  e = odd ? cudaMemsetAsync(odd, 0, sizeof *odd, stream) : cudaSuccess;
    if (!e)
        e = (cudaError_t)surface_launch(j, store, odd, stream);
    return e ? cuda_fail(e, "%s: surface", dev->name) : ORIEL_OK;
}

static oriel_status ask(oriel_device *dev, const int *odd, bool *finite)
{
    int          flag = 0;
    oriel_status s = oriel_memory_download(dev, &flag, odd, sizeof flag);
    *finite = !flag;
    return s;
}

oriel_status surface_cuda(oriel_device *dev, const surface_job *j, bool store, bool *finite)
{
    void        *odd = NULL;
    oriel_status s = cuda_enter(dev);
    if (s || (finite && (s = cuda_scratch(dev, &odd, FLAG_BYTES))) || (s = queue(dev, j, store, odd)))
        return s;
    return finite ? ask(dev, odd, finite) : ORIEL_OK;
}

oriel_status surface_cuda_host(oriel_device *dev, surface_job *j, void *host, size_t bytes, bool store, bool some, bool *finite)
{
    void        *scratch;
    oriel_status s = cuda_enter(dev);
    if (s || (s = cuda_scratch(dev, &scratch, FLAG_BYTES + bytes)))
        return s;
    int *odd = finite ? scratch : NULL;
    j->s.plane[0] = (char *)scratch + FLAG_BYTES;
    if ((!store || some) && (s = oriel_memory_upload(dev, j->s.plane[0], host, bytes)))
        return s;
    if ((s = queue(dev, j, store, odd)) || !store)
        return s;
    if ((s = oriel_memory_download(dev, host, j->s.plane[0], bytes)))
        return s;
    return finite ? ask(dev, odd, finite) : ORIEL_OK;
}
