/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Surfaces to tensors and back on a GPU, one pass: a thread a pixel, rows of a block along x.
 *
 * Bound by memory: 12 bytes a pixel of the tensor and 1.5 to 8 of the surface. A chroma sample of 4:2:0 reads
 * 16 to 25 pixels of the tensor, which neighbours have read too: they come from L1.
 */
#include <cuda_runtime.h>

#include "vision/surface.h"

enum { ACROSS = 64, DOWN = 4 };

template <bool TWO> __global__ void __launch_bounds__(ACROSS * DOWN) surface_load_kernel(surface_job j)
{
    int x = (int)(blockIdx.x * ACROSS + threadIdx.x);
    for (int y = (int)(blockIdx.y * DOWN + threadIdx.y); x < j.s.width && y < j.s.height; y += (int)gridDim.y * DOWN) {
        if (TWO)
            surface_load420(&j, x, y);
        else
            surface_load(&j, x, y);
    }
}

template <bool TWO> __global__ void __launch_bounds__(ACROSS * DOWN) surface_store_kernel(surface_job j, int *odd)
{
    int  x = (int)(blockIdx.x * ACROSS + threadIdx.x);
    bool finite = true;
    for (int y = (int)(blockIdx.y * DOWN + threadIdx.y); x < j.s.width && y < j.s.height; y += (int)gridDim.y * DOWN) {
        finite = (TWO ? surface_store_luma(&j, x, y) : surface_store(&j, x, y)) && finite;
        if (TWO && x % 2 == 0 && y % 2 == 0)
            surface_store_chroma(&j, x / 2, y / 2);
    }
    if (odd && !finite)
        *odd = 1;
}

extern "C" int surface_launch(const surface_job *j, bool store, int *odd, void *stream)
{
    bool         two = j->s.layout == ORIEL_SURFACE_NV12 || j->s.layout == ORIEL_SURFACE_P010;
    dim3         block(ACROSS, DOWN), grid((j->s.width + ACROSS - 1) / ACROSS, (j->s.height + DOWN - 1) / DOWN);
    cudaStream_t s = (cudaStream_t)stream;
    grid.y = grid.y < 65535 ? grid.y : 65535;
    if (store && two)
        surface_store_kernel<true><<<grid, block, 0, s>>>(*j, odd);
    else if (store)
        surface_store_kernel<false><<<grid, block, 0, s>>>(*j, odd);
    else if (two)
        surface_load_kernel<true><<<grid, block, 0, s>>>(*j);
    else
        surface_load_kernel<false><<<grid, block, 0, s>>>(*j);
    return (int)cudaGetLastError();
}
