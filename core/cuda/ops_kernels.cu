/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Norms, nearest neighbours and inputs of maps: each element is read once and written once, or as often as it is wanted;
 * memory bounds them.
 *
 * norm: a group of 8 to 32 lanes holds a pixel's channels in registers: mean, then variance about it, then the result.
 */
#include "core/cuda/ops_kernels.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/cuda/cuda.h"

enum { THREADS = 256 };

template <int LANES> static __device__ __forceinline__ float sum_over(float v)
{
#pragma unroll
    for (int i = LANES / 2; i; i /= 2)
        v += __shfl_xor_sync(~0u, v, i);
    return v;
}

/* Channel of element e of a lane: vectors of four, or single ones, side by side over the lanes. */
template <int LANES, bool BY4> static __device__ __forceinline__ int channel(int lane, int e)
{
    return BY4 ? (e / 4 * LANES + lane) * 4 + e % 4 : e * LANES + lane;
}

template <int LANES, int HELD, bool BY4>
__global__ void __launch_bounds__(THREADS) norm_map(float *y, const float *x, const float *gamma, const float *beta, int c,
                                                    float eps, int64_t pixels)
{
    int     lane = (int)threadIdx.x % LANES;
    int64_t pixel = (int64_t)blockIdx.x * (THREADS / LANES) + threadIdx.x / LANES;
    float   v[HELD], mean = 0, var = 0;
    bool    there = pixel < pixels; /* all lanes take part in the sums */
    x += pixel * c;
    y += pixel * c;
#pragma unroll
    for (int e = 0; e < HELD; e += BY4 ? 4 : 1) {
        int k = channel<LANES, BY4>(lane, e);
        if (BY4)
            *(float4 *)(v + e) = there && k < c ? *(const float4 *)(x + k) : make_float4(0, 0, 0, 0);
        else
            v[e] = there && k < c ? x[k] : 0.f;
    }
#pragma unroll
    for (int e = 0; e < HELD; e++)
        mean += v[e];
    mean = sum_over<LANES>(mean) / (float)c;
#pragma unroll
    for (int e = 0; e < HELD; e++)
        var += channel<LANES, BY4>(lane, e) < c ? (v[e] - mean) * (v[e] - mean) : 0.f;
    float scale = 1.f / sqrtf(sum_over<LANES>(var) / (float)c + eps);
    if (!there)
        return;
#pragma unroll
    for (int e = 0; e < HELD; e += BY4 ? 4 : 1) {
        int k = channel<LANES, BY4>(lane, e);
        if (k >= c)
            continue;
        if (BY4) {
            float4 g = *(const float4 *)(gamma + k), b = *(const float4 *)(beta + k);
            *(float4 *)(y + k) = make_float4((v[e] - mean) * scale * g.x + b.x, (v[e + 1] - mean) * scale * g.y + b.y,
                                             (v[e + 2] - mean) * scale * g.z + b.z, (v[e + 3] - mean) * scale * g.w + b.w);
        } else {
            y[k] = (v[e] - mean) * scale * gamma[k] + beta[k];
        }
    }
}

template <int LANES, int HELD, bool BY4>
static void norm_launch(float *y, const float *x, const op_norm *w, int64_t pixels, cudaStream_t stream)
{
    unsigned blocks = (unsigned)oriel_ceil_div(pixels, THREADS / LANES);
    norm_map<LANES, HELD, BY4><<<blocks, THREADS, 0, stream>>>(y, x, w->gamma, w->beta, w->c, w->eps, pixels);
}

template <bool BY4> static void norm_any(float *y, const float *x, const op_norm *w, int64_t pixels, cudaStream_t stream)
{
    if (w->c <= 32)
        norm_launch<8, 4, BY4>(y, x, w, pixels, stream);
    else if (w->c <= 64)
        norm_launch<16, 4, BY4>(y, x, w, pixels, stream);
    else if (w->c <= 128)
        norm_launch<32, 4, BY4>(y, x, w, pixels, stream);
    else if (w->c <= 256)
        norm_launch<32, 8, BY4>(y, x, w, pixels, stream);
    else
        norm_launch<32, NORM_MOST / 32, BY4>(y, x, w, pixels, stream);
}

extern "C" oriel_status norm_kernel(float *y, const float *x, const op_norm *w, int64_t pixels, cudaStream_t stream)
{
    if (w->c % 4 == 0 && ((uintptr_t)x | (uintptr_t)y | (uintptr_t)w->gamma | (uintptr_t)w->beta) % 16 == 0)
        norm_any<true>(y, x, w, pixels, stream);
    else
        norm_any<false>(y, x, w, pixels, stream);
    return cuda_launched("norm_map");
}

/* ---- nearest ------------------------------------------------------------------------------ */

/* T: what is copied at once; c and widths count it. A thread a place of x in a row of y: two writes. */
template <typename T>
__global__ void __launch_bounds__(THREADS) nearest_map(T *y, const T *x, int width, int c, int y_y0, int x_y0,
                                                       int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, row = (int64_t)width * c;
    if (i >= count)
        return;
    int64_t line = i / row, at = i % row, col = at / c;
    T       v = x[((y_y0 + line) / 2 - x_y0) * row + at];
    T      *to = y + line * 2 * row + at + col * c;
    to[0] = v;
    to[c] = v;
}

extern "C" oriel_status nearest2_kernel(op_map y, op_map x, cudaStream_t stream)
{
    int      width = (int)x.t.shape[1], c = (int)x.t.shape[2];
    bool     by4 = c % 4 == 0 && ((uintptr_t)x.t.data | (uintptr_t)y.t.data) % 16 == 0;
    int64_t  count = y.t.shape[0] * width * (by4 ? c / 4 : c);
    unsigned blocks = (unsigned)oriel_ceil_div(count, THREADS);
    if (by4)
        nearest_map<<<blocks, THREADS, 0, stream>>>((float4 *)y.t.data, (const float4 *)x.t.data, width, c / 4, y.y0,
                                                    x.y0, count);
    else
        nearest_map<<<blocks, THREADS, 0, stream>>>((float *)y.t.data, (const float *)x.t.data, width, c, y.y0, x.y0,
                                                    count);
    return cuda_launched("nearest_map");
}

/* ---- input -------------------------------------------------------------------------------- */

typedef struct input_args {
    const float *x; /* (ny, nx, c), strides row and col */
    float       *y; /* (., width, c) */
    int64_t      row, col, count;
    int          ny, nx, c, width, first_y, first_x;
    float        scale, mean[4];
} input_args;

/* Where coordinate i of a mirrored axis of n samples comes from. */
static __device__ int mirror(int i, int n, bool repeat)
{
    int period = repeat ? 2 * n : n > 1 ? 2 * (n - 1) : 1;
    i %= period;
    return i < n ? i : period - i - (repeat ? 1 : 0);
}

static __device__ int input_from(int i, int n, int first)
{
    return first > n ? mirror(mirror(i, first, false), n, true) : mirror(i, n, false);
}

__global__ void __launch_bounds__(THREADS) input_map(const __grid_constant__ input_args a)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.count)
        return;
    const float *from = a.x + input_from((int)(i / a.width), a.ny, a.first_y) * a.row +
                        input_from((int)(i % a.width), a.nx, a.first_x) * a.col;
    for (int k = 0; k < a.c; k++)
        a.y[i * a.c + k] = (from[k] - (k == 0 ? a.mean[0] : k == 1 ? a.mean[1] : k == 2 ? a.mean[2] : a.mean[3])) * a.scale;
}

extern "C" oriel_status input_kernel(const op_input_call *c, cudaStream_t stream)
{
    input_args a = {};
    a.x = (const float *)c->x.data;
    a.y = (float *)c->y.t.data;
    a.row = c->x.stride[0];
    a.col = c->x.stride[1];
    a.count = c->y.t.shape[0] * c->y.t.shape[1];
    a.ny = (int)c->x.shape[0];
    a.nx = (int)c->x.shape[1];
    a.c = (int)c->x.shape[2];
    a.width = (int)c->y.t.shape[1];
    a.first_y = c->first_y;
    a.first_x = c->first_x;
    a.scale = c->scale;
    memcpy(a.mean, c->mean, sizeof a.mean);
    input_map<<<(unsigned)oriel_ceil_div(a.count, THREADS), THREADS, 0, stream>>>(a);
    return cuda_launched("input_map");
}

/* ---- casts round about a library's convolution -------------------------------------------- */

static __device__ __forceinline__ void put(float *to, float v)
{
    *to = v;
}
static __device__ __forceinline__ void put(__nv_bfloat16 *to, float v)
{
    *to = __float2bfloat16_rn(v);
}
static __device__ __forceinline__ void put(__half *to, float v)
{
    *to = __float2half_rn(v);
}
static __device__ __forceinline__ float get(const float *from)
{
    return *from;
}
static __device__ __forceinline__ float get(const __nv_bfloat16 *from)
{
    return __bfloat162float(*from);
}
static __device__ __forceinline__ float get(const __half *from)
{
    return __half2float(*from);
}

template <typename T>
__global__ void __launch_bounds__(THREADS) cast_map(T *to, int channels, const float *from, int c, int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, k = i % channels;
    if (i < count)
        put(to + i, k < c ? from[i / channels * c + k] : 0.f);
}

template <typename T>
__global__ void __launch_bounds__(THREADS) bias_map(float *to, int c, const T *from, int channels, const float *bias,
                                                    int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, k = i % c;
    if (i < count)
        to[i] = get(from + i / c * channels + k) + bias[k];
}

extern "C" oriel_status cast_kernel(void *to, int channels, oriel_dtype type, const float *from, int c, int64_t pixels,
                                    cudaStream_t stream)
{
    int64_t  count = pixels * channels;
    unsigned blocks = (unsigned)oriel_ceil_div(count, THREADS);
    if (type == ORIEL_BF16)
        cast_map<<<blocks, THREADS, 0, stream>>>((__nv_bfloat16 *)to, channels, from, c, count);
    else if (type == ORIEL_F16)
        cast_map<<<blocks, THREADS, 0, stream>>>((__half *)to, channels, from, c, count);
    else
        cast_map<<<blocks, THREADS, 0, stream>>>((float *)to, channels, from, c, count);
    return cuda_launched("cast_map");
}

extern "C" oriel_status bias_kernel(float *to, int c, const void *from, int channels, oriel_dtype type, const float *bias,
                                    int64_t pixels, cudaStream_t stream)
{
    int64_t  count = pixels * c;
    unsigned blocks = (unsigned)oriel_ceil_div(count, THREADS);
    if (type == ORIEL_BF16)
        bias_map<<<blocks, THREADS, 0, stream>>>(to, c, (const __nv_bfloat16 *)from, channels, bias, count);
    else if (type == ORIEL_F16)
        bias_map<<<blocks, THREADS, 0, stream>>>(to, c, (const __half *)from, channels, bias, count);
    else
        bias_map<<<blocks, THREADS, 0, stream>>>(to, c, (const float *)from, channels, bias, count);
    return cuda_launched("bias_map");
}
