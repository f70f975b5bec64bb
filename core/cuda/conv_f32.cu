/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions 1 x 1 and 3 x 3 by fp32 multiply-adds.
 *
 * Contract: maps and weights f32; operands are rounded to a.operand as they are read, products and sums are f32. Any
 *   sizes. Sums run over inputs, then taps, in one order: the same bits always.
 * Block: 8 x 16 pixels, 64 outputs, 256 threads with 8 pixels of a row times 4 outputs each. Eight inputs a step lie in
 *   shared memory: pixels with their halo [input][row][column], weights [tap][input][output].
 * Per input a thread reads 9 + 9 vectors of 16 bytes for 288 multiply-adds: the FMA units bound it.
 */
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/cuda/conv.cuh"
#include "core/cuda/cuda.h"

enum { ROWS = 8, COLS = 16, THREADS = 256, PITCH = COLS + 4, STEP = CONV_F32_K, N = CONV_F32_N };
enum { PLANE = (ROWS + 2) * PITCH + 4 }; /* 12 mod 32: the eight inputs of a pixel lie in different banks */

static __device__ __forceinline__ float rounded(float v, int operand)
{
    return operand == ORIEL_BF16  ? __bfloat162float(__float2bfloat16_rn(v))
           : operand == ORIEL_F16 ? __half2float(__float2half_rn(v))
                                  : v;
}

/* Inputs k .. k + 7 of the block's pixels and the halo. */
template <int EDGE> static __device__ __forceinline__ void read_pixels(const conv_args &a, float *xs, int row, int col, int k)
{
    constexpr int WIDE = COLS + 2 * EDGE, COUNT = (ROWS + 2 * EDGE) * WIDE * STEP;
#pragma unroll
    for (int j = 0; j < (COUNT + THREADS - 1) / THREADS; j++) {
        int  i = (int)threadIdx.x + j * THREADS, pixel = i / STEP, c = i % STEP;
        int  y = row - EDGE + pixel / WIDE, x = col - EDGE + pixel % WIDE;
        bool there = i < COUNT && y >= 0 && y < a.height && x >= 0 && x < a.width && k + c < a.k &&
                     y < a.row + a.rows + EDGE;
        float v = there ? a.x[((size_t)(y - a.x_y0) * (size_t)a.width + (size_t)x) * (size_t)a.k + (size_t)(k + c)] : 0.f;
        if (i < COUNT)
            xs[c * PLANE + pixel / WIDE * PITCH + pixel % WIDE] = rounded(v, a.operand);
    }
}

template <int SIDE> __global__ void __launch_bounds__(THREADS, 2) conv_f32_kernel(const __grid_constant__ conv_args a)
{
    constexpr int    EDGE = SIDE / 2, TAPS = SIDE * SIDE, WEIGHTS = TAPS * STEP * N / 4;
    __shared__ float xs[STEP * PLANE];
    __shared__ float4 ws[WEIGHTS];
    int   row = a.row + (int)blockIdx.y * ROWS, col = (int)blockIdx.x * COLS, steps = (a.k + STEP - 1) / STEP;
    int   tn = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 32, tx = (int)threadIdx.x / 16 % 2 * 8;
    float sum[8][4] = {};
    const float4 *w = (const float4 *)a.w + (size_t)blockIdx.z * (size_t)steps * WEIGHTS;
    for (int s = 0; s < steps; s++, w += WEIGHTS) {
        __syncthreads();
#pragma unroll
        for (int j = 0; j < (WEIGHTS + THREADS - 1) / THREADS; j++)
            if ((int)threadIdx.x + j * THREADS < WEIGHTS)
                ws[threadIdx.x + j * THREADS] = w[threadIdx.x + j * THREADS];
        read_pixels<EDGE>(a, xs, row, col, s * STEP);
        __syncthreads();
#pragma unroll 2
        for (int c = 0; c < STEP; c++)
#pragma unroll
            for (int dy = 0; dy < SIDE; dy++) {
                const float4 *line = (const float4 *)(xs + c * PLANE + (ty + dy) * PITCH + tx);
                float         v[12];
#pragma unroll
                for (int i = 0; i < 2 + EDGE; i++)
                    *(float4 *)(v + 4 * i) = line[i];
#pragma unroll
                for (int dx = 0; dx < SIDE; dx++) {
                    float4 t = ws[((dy * SIDE + dx) * STEP + c) * (N / 4) + tn];
#pragma unroll
                    for (int p = 0; p < 8; p++) {
                        sum[p][0] = fmaf(v[p + dx], t.x, sum[p][0]);
                        sum[p][1] = fmaf(v[p + dx], t.y, sum[p][1]);
                        sum[p][2] = fmaf(v[p + dx], t.z, sum[p][2]);
                        sum[p][3] = fmaf(v[p + dx], t.w, sum[p][3]);
                    }
                }
            }
    }
#pragma unroll
    for (int p = 0; p < 8; p++)
        conv_store4(a, row + ty, col + tx + p, (int)blockIdx.z * N + 4 * tn,
                    make_float4(sum[p][0], sum[p][1], sum[p][2], sum[p][3]));
}

extern "C" oriel_status conv_f32(const conv_args *a, int side, cudaStream_t stream)
{
    dim3 grid((unsigned)oriel_ceil_div(a->cols, COLS), (unsigned)oriel_ceil_div(a->rows, ROWS),
              (unsigned)oriel_ceil_div(a->n, N));
    if (grid.y > 65535 || grid.z > 65535)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "convolution: %d rows of %d outputs are more than a launch takes", a->rows, a->n);
    if (side == 3)
        conv_f32_kernel<3><<<grid, THREADS, 0, stream>>>(*a);
    else
        conv_f32_kernel<1><<<grid, THREADS, 0, stream>>>(*a);
    return cuda_launched("conv_f32");
}
