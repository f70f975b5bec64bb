/* SPDX-License-Identifier: Apache-2.0 */
/* What the convolution kernels share: where outputs go. */
#ifndef CORE_CUDA_CONV_CUH
#define CORE_CUDA_CONV_CUH

#include "core/cuda/ops_kernels.h"

static __device__ __forceinline__ float conv_act(const conv_args &a, float v, float bias)
{
    v += bias;
    return a.leaky != 0.f && v < 0.f ? v * a.leaky : v;
}

/* A place of y that takes four outputs at once, for maps that are not shuffled. */
static __device__ __forceinline__ size_t conv_place(const conv_args &a, int row, int col, int n)
{
    return ((size_t)(row - a.y_y0) * (size_t)a.y_cols + (size_t)col) * (size_t)a.c + (size_t)n;
}

static __device__ __forceinline__ float4 conv_act4(const conv_args &a, float4 v, int n)
{
    float4 b = *(const float4 *)(a.bias + n);
    return make_float4(conv_act(a, v.x, b.x), conv_act(a, v.y, b.y), conv_act(a, v.z, b.z), conv_act(a, v.w, b.w));
}

/* Outputs n .. n + 3 of pixel (row, col), n being a multiple of 4: bias, LeakyReLU, PixelShuffle, add; what lies outside
 * of y is left out. */
static __device__ __forceinline__ void conv_store4(const conv_args &a, int row, int col, int n, float4 v)
{
    int line = a.r * a.c; /* outputs of a row of the pixel's r x r */
    if (row >= a.row + a.rows || col >= a.cols || n >= a.n)
        return;
    v = conv_act4(a, v, n);
    if (a.write4) {
        int i = a.r > 1 ? n / line : 0, y = row * a.r + i - a.y_y0;
        if (y < 0 || y >= a.y_rows)
            return;
        size_t at = (size_t)y * (size_t)(a.y_cols * a.c) + (size_t)(col * line + n - i * line);
        if (a.add) {
            float4 s = *(const float4 *)(a.add + at);
            v = make_float4(v.x + s.x, v.y + s.y, v.z + s.z, v.w + s.w);
        }
        *(float4 *)(a.y + at) = v;
        return;
    }
    const float e[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int k = 0; k < 4; k++) {
        int i = (n + k) / line, rest = (n + k) % line, y = row * a.r + i - a.y_y0;
        if (n + k >= a.n || y < 0 || y >= a.y_rows || col * a.r + rest / a.c >= a.y_cols)
            continue;
        size_t at = (size_t)y * (size_t)a.y_cols * (size_t)a.c + (size_t)col * (size_t)line + (size_t)rest;
        a.y[at] = a.add ? a.add[at] + e[k] : e[k];
    }
}

#endif
