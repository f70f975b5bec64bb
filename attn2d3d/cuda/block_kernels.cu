/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Norm and GELU of a window block, where they are no part of a product.
 *
 * norm: LANES lanes of a warp have a row, in 4 channels at a time; the row stays in registers between the sums of
 *   its values and of their squared distances from the mean.
 * gelu: 32 bytes a thread, in place.
 * Bound: bytes, of the L2 where the caller's pieces fit it.
 */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "attn2d3d/cuda/block_cuda.h"

enum { THREADS = 256 };

/* Two floats in 32 bits of T, the first in the low half. */
template <class T> static __device__ uint32_t pair_of(float a, float b);
template <> __device__ uint32_t pair_of<__half>(float a, float b)
{
    __half2 p = __floats2half2_rn(a, b);
    return *(const uint32_t *)&p;
}
template <> __device__ uint32_t pair_of<__nv_bfloat16>(float a, float b)
{
    __nv_bfloat162 p = __floats2bfloat162_rn(a, b);
    return *(const uint32_t *)&p;
}
template <class T> static __device__ void store4(T *to, const float (&v)[4])
{
    *(uint2 *)to = make_uint2(pair_of<T>(v[0], v[1]), pair_of<T>(v[2], v[3]));
}
static __device__ void store4(float *to, const float (&v)[4])
{
    *(float4 *)to = make_float4(v[0], v[1], v[2], v[3]);
}

/* ---- norm --------------------------------------------------------------------------------- */

typedef struct norm_args {
    void        *y;
    const float *x;
    int64_t      rows;
    int          c, padded;
    bool         whole; /* rows of x in pieces of 16 bytes */
    float        eps;
} norm_args;

template <int LANES> static __device__ float sum_of(float v)
{
#pragma unroll
    for (int far = LANES / 2; far; far /= 2)
        v += __shfl_xor_sync(~0u, v, far);
    return v;
}

/* Channels 4 (i LANES + lane) .. + 3 of a row are v[i]; zeros beyond. */
template <int LANES, int N> static __device__ void load_row(float (&v)[N][4], const norm_args &a, int64_t row, int lane)
{
    const float *x = a.x + row * a.c;
#pragma unroll
    for (int i = 0; i < N; i++) {
        int c = 4 * (i * LANES + lane);
        if (a.whole) {
            float4 p = c < a.c ? *(const float4 *)(x + c) : make_float4(0, 0, 0, 0);
            v[i][0] = p.x, v[i][1] = p.y, v[i][2] = p.z, v[i][3] = p.w;
        } else
#pragma unroll
            for (int e = 0; e < 4; e++)
                v[i][e] = c + e < a.c ? x[c + e] : 0;
    }
}

template <class T, int LANES, int N> static __global__ void __launch_bounds__(THREADS) norm_kernel(const norm_args a)
{
    int64_t row = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / LANES;
    int     lane = (int)threadIdx.x % LANES;
    bool    real = row < a.rows; /* all lanes take part in the sums */
    float   v[N][4], mean = 0, square = 0;
    load_row<LANES>(v, a, real ? row : 0, lane);
#pragma unroll
    for (int i = 0; i < N; i++)
        mean += v[i][0] + v[i][1] + (v[i][2] + v[i][3]);
    mean = sum_of<LANES>(mean) / (float)a.c;
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (4 * (i * LANES + lane) + e < a.c)
                square += (v[i][e] - mean) * (v[i][e] - mean);
    float scale = rsqrtf(sum_of<LANES>(square) / (float)a.c + a.eps);
#pragma unroll
    for (int i = 0; i < N; i++) {
        int c = 4 * (i * LANES + lane);
        if (!real || c >= a.padded)
            break;
#pragma unroll
        for (int e = 0; e < 4; e++)
            v[i][e] = c + e < a.c ? (v[i][e] - mean) * scale : 0;
        store4((T *)a.y + row * a.padded + c, v[i]);
    }
}

template <class T, int LANES, int N> static void norm_queue(const norm_args &a, cudaStream_t stream)
{
    int64_t blocks = oriel_ceil_div(a.rows * LANES, THREADS);
    norm_kernel<T, LANES, N><<<(unsigned)blocks, THREADS, 0, stream>>>(a);
}

template <class T> static void norm_of(const norm_args &a, cudaStream_t stream)
{
    int n = a.padded / 4;
    if (n <= 16)
        norm_queue<T, 16, 1>(a, stream);
    else if (n <= 32)
        norm_queue<T, 16, 2>(a, stream);
    else if (n <= 64)
        norm_queue<T, 32, 2>(a, stream);
    else if (n <= 128)
        norm_queue<T, 32, 4>(a, stream);
    else
        norm_queue<T, 32, 8>(a, stream);
}

oriel_status cuda_block_norm(oriel_device *d, void *y, oriel_dtype type, const float *x, int64_t rows, int c, int padded, float eps)
{
    const norm_args a = {y, x, rows, c, padded, c % 4 == 0 && (uintptr_t)x % 16 == 0, eps};
    cudaStream_t    stream = d->cuda->stream;
    assert(padded <= CUDA_BLOCK_CHANNELS && padded % 8 == 0);
    if (type == ORIEL_F32)
        norm_of<float>(a, stream);
    else if (type == ORIEL_F16)
        norm_of<__half>(a, stream);
    else
        norm_of<__nv_bfloat16>(a, stream);
    return cuda_launched("window block, norm");
}

/* ---- GELU --------------------------------------------------------------------------------- */

static __device__ float gelu(float x)
{
    return 0.5f * x * erfcf(-0.70710678f * x);
}

static __global__ void __launch_bounds__(THREADS) gelu_kernel(float *x, int64_t n)
{
    int64_t at = 8 * ((int64_t)blockIdx.x * THREADS + threadIdx.x);
#pragma unroll
    for (int64_t i = at; i < at + 8 && i < n; i += 4) {
        float4 v = *(float4 *)(x + i);
        *(float4 *)(x + i) = make_float4(gelu(v.x), gelu(v.y), gelu(v.z), gelu(v.w));
    }
}

oriel_status cuda_block_gelu(oriel_device *d, float *x, int64_t n)
{
    assert(n % 8 == 0);
    gelu_kernel<<<(unsigned)oriel_ceil_div(n / 8, THREADS), THREADS, 0, d->cuda->stream>>>(x, n);
    return cuda_launched("window block, GELU");
}
