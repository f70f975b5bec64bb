/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions 1 x 1 and 3 x 3 on tensor cores: an implicit matrix product, maps f32 in and out.
 *
 * Contract: operands bf16 or f16, pixels rounded to nearest even as they are read; sums f32. Any sizes. Sums run over
 *   inputs, then taps, in one order: the same bits always.
 * Block: 16 x 16 pixels, NT outputs, 8 warps as 8 / WN rows of pixels times WN parts of the outputs; a warp has 2 WN rows
 *   of 16 pixels. Steps of 16 inputs in shared memory, in pieces of eight, 16 bytes: pixels with their halo
 *   [piece][row][column], weights [tap][piece][output]. Eight neighbours of a piece are 128 bytes in a row, so ldmatrix
 *   meets no bank twice, wherever a tap's pixels begin.
 * A row's fragments, once read, serve the three taps above each other. A step is copied while the one before is
 *   multiplied: pixels arrive as f32 and are rounded within shared memory. Two blocks a multiprocessor.
 */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#include "core/cuda/conv.cuh"
#include "core/cuda/cuda.h"
#include "core/cuda/mma.cuh"

enum { ROWS = 16, COLS = 16, THREADS = 256, PIECES = CONV_MMA_K / 8 };

/* SIDE x SIDE pixels in shared memory. The four quarters of a pixel's step arrive side by side. */
template <int EDGE> struct halo {
    static constexpr int SIDE = ROWS + 2 * EDGE, PIXELS = SIDE * SIDE;
    static constexpr int PLANE = (PIXELS + 3) / 8 * 8 + 4; /* 4 mod 8: pieces of four pixels lie in different banks */
};

template <int NT, int SIDE> struct stage {
    float4 raw[2][halo<SIDE / 2>::PIXELS * 2 * PIECES];
    uint4  ws[2][SIDE * SIDE * PIECES * NT];
    uint4  xs[PIECES * halo<SIDE / 2>::PLANE];
};

/* Inputs k .. k + 15 of the block's pixels and the halo. */
template <int EDGE>
static __device__ __forceinline__ void copy_pixels(const conv_args &a, uint32_t to, int row, int col, int k)
{
    typedef halo<EDGE> h;
    constexpr int NEXT = THREADS / 4; /* pixels from one of a thread's copies to the next */
    const float  *corner = a.x + ((int64_t)(row - EDGE - a.x_y0) * a.width + col - EDGE) * a.k; /* may lie outside */
    int           end = a.row + a.rows + EDGE < a.height ? a.row + a.rows + EDGE : a.height;
    int           c = k + (int)threadIdx.x % 4 * 4;
    int           py = (int)threadIdx.x / 4 / h::SIDE, px = (int)threadIdx.x / 4 % h::SIDE;
#pragma unroll
    for (int i = 0; i < (h::PIXELS + NEXT - 1) / NEXT; i++) {
        int y = row - EDGE + py, x = col - EDGE + px;
        if (py < h::SIDE) {
            uint32_t     place = to + 16 * (threadIdx.x + (unsigned)i * THREADS);
            bool         inside = y >= 0 && y < end && x >= 0 && x < a.width;
            const float *from = corner + (py * a.width + px) * a.k + c;
            if (a.read4) {
                bool there = inside && c < a.k;
                copy_async<16>(place, there ? from : a.x, there ? 16 : 0);
            } else {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    bool there = inside && c + e < a.k;
                    copy_async<4>(place + 4u * (unsigned)e, there ? from + e : a.x, there ? 4 : 0);
                }
            }
        }
        py += NEXT / h::SIDE;
        px += NEXT % h::SIDE;
        if (px >= h::SIDE) {
            px -= h::SIDE;
            py++;
        }
    }
}

template <int COUNT> static __device__ __forceinline__ void copy_weights(uint32_t to, const uint4 *w)
{
#pragma unroll
    for (int i = (int)threadIdx.x; i < COUNT; i += THREADS)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to + 16 * (uint32_t)i), "l"(w + i) : "memory");
}

/* Round the pixels of a step. Which half of a piece a thread reads first spreads four pixels over the banks. */
template <typename T, int EDGE> static __device__ __forceinline__ void round_pixels(uint4 *xs, const float4 *raw)
{
    typedef halo<EDGE> h;
#pragma unroll
    for (int i = (int)threadIdx.x; i < h::PIXELS * PIECES; i += THREADS) {
        int    pixel = i / PIECES, piece = i % PIECES, first = pixel / 2 % 2;
        float4 u = raw[2 * i + first], v = raw[2 * i + 1 - first], low = first ? v : u, high = first ? u : v;
        xs[piece * h::PLANE + pixel] = make_uint4(pack2(low.x, low.y, T()), pack2(low.z, low.w, T()),
                                                  pack2(high.x, high.y, T()), pack2(high.z, high.w, T()));
    }
}

/* The sixteen inputs of a step. */
template <typename T, int NT, int WN, int SIDE>
static __device__ __forceinline__ void multiply(float (&sum)[2 * WN][NT / WN / 8][4], uint32_t xs, uint32_t ws,
                                                int warp_row, int warp_n)
{
    constexpr int R = 2 * WN, EDGE = SIDE / 2, H = halo<EDGE>::SIDE, PLANE = halo<EDGE>::PLANE;
    int           lane = (int)threadIdx.x % 32;
    uint32_t      from = xs + 16u * (uint32_t)(lane / 16 * PLANE + warp_row * H + lane % 16);
    uint32_t      of = ws + 16u * (uint32_t)(lane / 8 % 2 * NT + warp_n + lane / 16 * 8 + lane % 8);
#pragma unroll
    for (int dx = 0; dx < SIDE; dx++) {
        uint32_t x[R + 2 * EDGE][4];
#pragma unroll
        for (int i = 0; i < R + 2 * EDGE; i++)
            ldmatrix4(x[i], from + 16u * (uint32_t)(i * H + dx));
#pragma unroll
        for (int dy = 0; dy < SIDE; dy++)
#pragma unroll
            for (int j = 0; j < NT / WN / 16; j++) {
                uint32_t w[4];
                ldmatrix4(w, of + 16u * (uint32_t)((dy * SIDE + dx) * PIECES * NT + 16 * j));
#pragma unroll
                for (int i = 0; i < R; i++) {
                    mma16(sum[i][2 * j], x[i + dy], w[0], w[1], T());
                    mma16(sum[i][2 * j + 1], x[i + dy], w[2], w[3], T());
                }
            }
    }
}

/* Lanes 2 i and 2 i + 1 hold two outputs each of the same two pixels: after an exchange, four of one each. */
static __device__ __forceinline__ float4 gather4(const float s[4], bool odd)
{
    float a = __shfl_xor_sync(~0u, odd ? s[0] : s[2], 1), b = __shfl_xor_sync(~0u, odd ? s[1] : s[3], 1);
    return odd ? make_float4(a, b, s[2], s[3]) : make_float4(s[0], s[1], a, b);
}

/* Two rows of 16 pixels with 8 N8 outputs each, of maps that are not shuffled. What is added is read before anything is
 * written, so that these reads do not wait for each other. */
template <int N8>
static __device__ __forceinline__ void store_rows(const conv_args &a, float4 (&v)[2][N8], int row, int col, int n)
{
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < N8; j++)
            if (row + i < a.row + a.rows && n + 8 * j < a.n) {
                v[i][j] = conv_act4(a, v[i][j], n + 8 * j);
                if (a.add) {
                    float4 s = *(const float4 *)(a.add + conv_place(a, row + i, col, n + 8 * j));
                    v[i][j] = make_float4(v[i][j].x + s.x, v[i][j].y + s.y, v[i][j].z + s.z, v[i][j].w + s.w);
                }
            }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < N8; j++)
            if (row + i < a.row + a.rows && n + 8 * j < a.n)
                *(float4 *)(a.y + conv_place(a, row + i, col, n + 8 * j)) = v[i][j];
}

/* A warp's R rows. */
template <int R, int N8>
static __device__ __forceinline__ void store(const conv_args &a, const float (&sum)[R][N8][4], int row, int col, int n)
{
    int lane = (int)threadIdx.x % 32;
    col += lane / 4 + lane % 2 * 8;
    n += lane % 4 / 2 * 4;
#pragma unroll
    for (int two = 0; two < R; two += 2) {
        float4 v[2][N8];
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int j = 0; j < N8; j++)
                v[i][j] = gather4(sum[two + i][j], lane % 2);
        if (a.r == 1 && a.write4) {
            if (col < a.cols)
                store_rows<N8>(a, v, row + two, col, n);
            continue;
        }
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int j = 0; j < N8; j++)
                conv_store4(a, row + two + i, col, n + 8 * j, v[i][j]);
    }
}

/* What will be added, on its way into the cache while products are made. */
template <int NT> static __device__ __forceinline__ void expect_add(const conv_args &a, int row, int col, int n)
{
    row += (int)threadIdx.x / COLS;
    col += (int)threadIdx.x % COLS;
    if (!a.add || a.r > 1 || row >= a.row + a.rows || col >= a.cols)
        return;
    int last = a.n - n < NT ? a.n - n - 1 : NT - 1;
    for (int i = 0; i < NT; i += 32)
        asm volatile("prefetch.global.L2 [%0];" ::"l"(a.add + conv_place(a, row, col, n + (i < last ? i : last))));
    asm volatile("prefetch.global.L2 [%0];" ::"l"(a.add + conv_place(a, row, col, n + last)));
}

template <typename T, int NT, int WN, int SIDE>
__global__ void __launch_bounds__(THREADS, 2) conv_mma_kernel(const __grid_constant__ conv_args a)
{
    constexpr int EDGE = SIDE / 2, WEIGHTS = SIDE * SIDE * PIECES * NT, R = 2 * WN, N8 = NT / WN / 8;
    extern __shared__ uint4 shared[];
    stage<NT, SIDE> &m = *(stage<NT, SIDE> *)shared;
    int   row = a.row + (int)blockIdx.z * ROWS, col = (int)blockIdx.y * COLS, n = (int)blockIdx.x * NT;
    int   warp = (int)threadIdx.x / 32, warp_row = warp / WN * R, warp_n = warp % WN * (NT / WN);
    int   steps = (a.k + CONV_MMA_K - 1) / CONV_MMA_K;
    float sum[R][N8][4] = {};
    const uint4 *w = (const uint4 *)a.w + (size_t)blockIdx.x * (size_t)steps * WEIGHTS;
    copy_pixels<EDGE>(a, shared_address(m.raw[0]), row, col, 0);
    copy_weights<WEIGHTS>(shared_address(m.ws[0]), w);
    expect_add<NT>(a, row, col, n);
    for (int s = 0; s < steps; s++) {
        int now = s % 2;
        asm volatile("cp.async.wait_all;" ::: "memory");
        __syncthreads(); /* the step has arrived; nobody multiplies the one before any more */
        if (s + 1 < steps) {
            copy_pixels<EDGE>(a, shared_address(m.raw[1 - now]), row, col, (s + 1) * CONV_MMA_K);
            copy_weights<WEIGHTS>(shared_address(m.ws[1 - now]), w + (size_t)(s + 1) * WEIGHTS);
        }
        round_pixels<T, EDGE>(m.xs, m.raw[now]);
        __syncthreads();
        multiply<T, NT, WN, SIDE>(sum, shared_address(m.xs), shared_address(m.ws[now]), warp_row, warp_n);
    }
    store<R, N8>(a, sum, row + warp_row, col, n + warp_n);
}

template <typename T, int NT, int WN, int SIDE> static oriel_status launch(const conv_args *a, cudaStream_t stream)
{
    void (*kernel)(conv_args) = conv_mma_kernel<T, NT, WN, SIDE>;
    int  bytes = (int)sizeof(stage<NT, SIDE>);
    dim3 grid((unsigned)oriel_ceil_div(a->n, NT), (unsigned)oriel_ceil_div(a->cols, COLS),
              (unsigned)oriel_ceil_div(a->rows, ROWS));
    if (grid.y > 65535 || grid.z > 65535)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "convolution: a map of %d x %d is more than a launch takes", a->rows,
                          a->cols);
    cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (e)
        return cuda_fail(e, "conv_mma: %d bytes of shared memory", bytes);
    kernel<<<grid, THREADS, bytes, stream>>>(*a);
    return cuda_launched("conv_mma");
}

template <typename T, int SIDE> static oriel_status launch_tile(const conv_args *a, cudaStream_t stream)
{
    switch (conv_mma_tile(a->n)) {
    case 16: return launch<T, 16, 1, SIDE>(a, stream);
    case 32: return launch<T, 32, 2, SIDE>(a, stream);
    default: return launch<T, 64, 2, SIDE>(a, stream);
    }
}

extern "C" oriel_status conv_mma(const conv_args *a, int side, cudaStream_t stream)
{
    if (a->operand == ORIEL_BF16)
        return side == 3 ? launch_tile<__nv_bfloat16, 3>(a, stream) : launch_tile<__nv_bfloat16, 1>(a, stream);
    return side == 3 ? launch_tile<__half, 3>(a, stream) : launch_tile<__half, 1>(a, stream);
}
