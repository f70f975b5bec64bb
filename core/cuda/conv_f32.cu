/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions 1 x 1 and 3 x 3 by fp32 multiply-adds.
 *
 * Contract: maps and weights f32, products and sums too. Any sizes. Sums run over inputs, then taps, in one order: the
 *   same bits always.
 * Block: 8 x 16 pixels, 64 outputs, 256 threads with 8 pixels of a row times 4 outputs each. Eight inputs a step lie in
 *   shared memory: pixels with their halo [input][row][column], weights [tap][input][output]. The next step is read
 *   while one is multiplied.
 * Per input a thread reads 9 + 9 vectors of 16 bytes for 288 multiply-adds: the FMA units bound it.
 */
#include "core/cuda/conv.cuh"
#include "core/cuda/cuda.h"

enum { ROWS = 8, COLS = 16, THREADS = 256, PITCH = COLS + 4, STEP = CONV_F32_K, N = CONV_F32_N };
enum { PLANE = (ROWS + 2) * PITCH + 4 }; /* 12 mod 32: the eight inputs of a pixel lie in different banks */

/* The inputs of a thread: the same place of each step, PER pixels' worth. */
template <int EDGE> struct reader {
    static constexpr int WIDE = COLS + 2 * EDGE, COUNT = (ROWS + 2 * EDGE) * WIDE * STEP;
    static constexpr int PER = (COUNT + THREADS - 1) / THREADS;

    const float *from; /* the halo's corner, which may lie outside of the map */
    int          at[PER]; /* from there on; -1: zero */
    float        v[PER];

    __device__ __forceinline__ reader(const conv_args &a, int row, int col)
    {
        from = a.x + ((int64_t)(row - EDGE - a.x_y0) * a.width + col - EDGE) * a.k;
#pragma unroll
        for (int j = 0; j < PER; j++) {
            int  i = (int)threadIdx.x + j * THREADS, py = i / STEP / WIDE, px = i / STEP % WIDE;
            int  y = row - EDGE + py, x = col - EDGE + px;
            bool there = i < COUNT && y >= 0 && y < a.height && x >= 0 && x < a.width && y < a.row + a.rows + EDGE;
            at[j] = there ? (py * a.width + px) * a.k + i % STEP : -1;
        }
    }
    __device__ __forceinline__ void read(const conv_args &a, int k)
    {
        bool there = k + (int)threadIdx.x % STEP < a.k;
#pragma unroll
        for (int j = 0; j < PER; j++)
            v[j] = there && at[j] >= 0 ? from[at[j] + k] : 0.f;
    }
    __device__ __forceinline__ void write(float *xs) const
    {
#pragma unroll
        for (int j = 0; j < PER; j++) {
            int i = (int)threadIdx.x + j * THREADS, pixel = i / STEP;
            if (i < COUNT)
                xs[i % STEP * PLANE + pixel / WIDE * PITCH + pixel % WIDE] = v[j];
        }
    }
};

template <int SIDE> static __device__ __forceinline__ void read_weights(uint32_t ws, const float4 *w)
{
#pragma unroll
    for (int i = (int)threadIdx.x; i < SIDE * SIDE * STEP * N / 4; i += THREADS)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(ws + 16 * (uint32_t)i), "l"(w + i) : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* The inputs of a step, eight but for the last. */
template <int SIDE>
static __device__ __forceinline__ void multiply(float (&sum)[8][4], const float *xs, const float4 *ws, int inputs,
                                                int ty, int tx, int tn)
{
    constexpr int EDGE = SIDE / 2;
#pragma unroll 2
    for (int c = 0; c < inputs; c++)
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

/* Eight pixels of a row, four outputs each; what is added is read before anything is written. */
static __device__ __forceinline__ void store(const conv_args &a, const float (&sum)[8][4], int row, int col, int n)
{
    if (a.r > 1 || !a.write4) {
#pragma unroll
        for (int p = 0; p < 8; p++)
            conv_store4(a, row, col + p, n, make_float4(sum[p][0], sum[p][1], sum[p][2], sum[p][3]));
        return;
    }
    if (row >= a.row + a.rows || n >= a.n)
        return;
    float4 v[8];
    size_t at = conv_place(a, row, col, n);
#pragma unroll
    for (int p = 0; p < 8; p++) {
        v[p] = conv_act4(a, make_float4(sum[p][0], sum[p][1], sum[p][2], sum[p][3]), n);
        if (a.add && col + p < a.cols) {
            float4 s = *(const float4 *)(a.add + at + p * a.c);
            v[p] = make_float4(v[p].x + s.x, v[p].y + s.y, v[p].z + s.z, v[p].w + s.w);
        }
    }
#pragma unroll
    for (int p = 0; p < 8; p++)
        if (col + p < a.cols)
            *(float4 *)(a.y + at + p * a.c) = v[p];
}

/* Two steps in shared memory: one is read while the other is multiplied. */
template <int SIDE> struct stage {
    float  xs[2][STEP * PLANE];
    float4 ws[2][SIDE * SIDE * STEP * N / 4];
};

template <int SIDE> __global__ void __launch_bounds__(THREADS, 2) conv_f32_kernel(const __grid_constant__ conv_args a)
{
    constexpr int EDGE = SIDE / 2, WEIGHTS = SIDE * SIDE * STEP * N / 4;
    extern __shared__ float4 shared[];
    stage<SIDE> &m = *(stage<SIDE> *)shared;
    int   row = a.row + (int)blockIdx.y * ROWS, col = (int)blockIdx.x * COLS, steps = (a.k + STEP - 1) / STEP;
    int   tn = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 32, tx = (int)threadIdx.x / 16 % 2 * 8;
    float sum[8][4] = {};
    const float4 *w = (const float4 *)a.w + (size_t)blockIdx.z * (size_t)steps * WEIGHTS;
    reader<EDGE>  x(a, row, col);
    read_weights<SIDE>((uint32_t)__cvta_generic_to_shared(m.ws[0]), w);
    x.read(a, 0);
    for (int s = 0; s < steps; s++) {
        int now = s % 2;
        x.write(m.xs[now]);
        asm volatile("cp.async.wait_group 0;" ::: "memory");
        __syncthreads(); /* and nobody multiplies the step before any more */
        if (s + 1 < steps) {
            read_weights<SIDE>((uint32_t)__cvta_generic_to_shared(m.ws[1 - now]), w + (size_t)(s + 1) * WEIGHTS);
            x.read(a, (s + 1) * STEP);
        }
        multiply<SIDE>(sum, m.xs[now], m.ws[now], a.k - s * STEP < STEP ? a.k - s * STEP : STEP, ty, tx, tn);
    }
    store(a, sum, row + ty, col + tx, (int)blockIdx.z * N + 4 * tn);
}

template <int SIDE> static oriel_status launch(const conv_args *a, dim3 grid, cudaStream_t stream)
{
    int         bytes = (int)sizeof(stage<SIDE>);
    cudaError_t e = cudaFuncSetAttribute(conv_f32_kernel<SIDE>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (e)
        return cuda_fail(e, "conv_f32: %d bytes of shared memory", bytes);
    conv_f32_kernel<SIDE><<<grid, THREADS, bytes, stream>>>(*a);
    return cuda_launched("conv_f32");
}

extern "C" oriel_status conv_f32(const conv_args *a, int side, cudaStream_t stream)
{
    dim3 grid((unsigned)oriel_ceil_div(a->cols, COLS), (unsigned)oriel_ceil_div(a->rows, ROWS),
              (unsigned)oriel_ceil_div(a->n, N));
    if (grid.y > 65535 || grid.z > 65535)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "convolution: %d rows of %d outputs are more than a launch takes",
                          a->rows, a->n);
    return side == 3 ? launch<3>(a, grid, stream) : launch<1>(a, grid, stream);
}
