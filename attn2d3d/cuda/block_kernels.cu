/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Norm and GELU of a window block, around cuBLASLt's products.
 *
 * norm: LANES lanes of a warp have a row, in 4 channels at a time; the row stays in registers between the sums of
 *   its values and of their squared distances from the mean.
 * gelu: 16 bytes a thread, in place.
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
template <class T> static __device__ float2 pair_from(uint32_t bits);
template <> __device__ float2 pair_from<__half>(uint32_t bits)
{
    return __half22float2(*(const __half2 *)&bits);
}
template <> __device__ float2 pair_from<__nv_bfloat16>(uint32_t bits)
{
    return __bfloat1622float2(*(const __nv_bfloat162 *)&bits);
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
    const float *x, *gamma, *beta;
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
        float4 g = *(const float4 *)(a.gamma + c), b = *(const float4 *)(a.beta + c);
        v[i][0] = (v[i][0] - mean) * scale * g.x + b.x;
        v[i][1] = (v[i][1] - mean) * scale * g.y + b.y;
        v[i][2] = (v[i][2] - mean) * scale * g.z + b.z;
        v[i][3] = (v[i][3] - mean) * scale * g.w + b.w;
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

oriel_status cuda_block_norm(oriel_device *d, void *y, oriel_dtype type, const float *x, int64_t rows, int c, int padded,
                             const float *gamma, const float *beta, float eps)
{
    const norm_args a = {y, x, gamma, beta, rows, c, padded, c % 4 == 0 && (uintptr_t)x % 16 == 0, eps};
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

/* For values that are rounded to 16 bits: erfc by Hastings' polynomial (Abramowitz and Stegun, 7.1.26), whose error
 * is below 1.5e-7 of 2. */
static __device__ float gelu_short(float x)
{
    float z = fabsf(x) * 0.70710678f, t = __fdividef(1.f, fmaf(0.3275911f, z, 1.f)), tail;
    tail = fmaf(fmaf(fmaf(fmaf(1.061405429f, t, -1.453152027f), t, 1.421413741f), t, -0.284496736f), t, 0.254829592f) * t;
    tail *= 0.5f * __expf(-z * z); /* of the side that x is not on */
    return x * (x < 0 ? tail : 1.f - tail);
}

template <class T> static __device__ void gelu8(T *x)
{
    uint4     v = *(uint4 *)x;
    uint32_t *p = &v.x;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 f = pair_from<T>(p[i]);
        p[i] = pair_of<T>(gelu_short(f.x), gelu_short(f.y));
    }
    *(uint4 *)x = v;
}
static __device__ void gelu8(float *x)
{
#pragma unroll
    for (int i = 0; i < 8; i += 4) {
        float4 v = *(float4 *)(x + i);
        *(float4 *)(x + i) = make_float4(gelu(v.x), gelu(v.y), gelu(v.z), gelu(v.w));
    }
}

template <class T> static __global__ void __launch_bounds__(THREADS) gelu_kernel(T *x, int64_t n)
{
    int64_t i = 8 * ((int64_t)blockIdx.x * THREADS + threadIdx.x);
    if (i < n)
        gelu8(x + i);
}

oriel_status cuda_block_gelu(oriel_device *d, void *x, oriel_dtype type, int64_t n)
{
    unsigned     blocks = (unsigned)oriel_ceil_div(n / 8, THREADS);
    cudaStream_t stream = d->cuda->stream;
    assert(n % 8 == 0);
    if (type == ORIEL_F32)
        gelu_kernel<<<blocks, THREADS, 0, stream>>>((float *)x, n);
    else if (type == ORIEL_F16)
        gelu_kernel<<<blocks, THREADS, 0, stream>>>((__half *)x, n);
    else
        gelu_kernel<<<blocks, THREADS, 0, stream>>>((__nv_bfloat16 *)x, n);
    return cuda_launched("window block, GELU");
}
