/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions 1 x 1 and 3 x 3 on tensor cores: an implicit matrix product, maps f32 in and out.
 *
 * Contract: operands bf16 or f16, pixels rounded to nearest even as they are read; sums f32. Any sizes. Sums run over
 *   inputs, then taps, in one order: the same bits always.
 * Block: 16 x 16 pixels, NT outputs, 8 warps as 8 / WN rows of pixels times WN parts of the outputs; a warp has 2 WN rows
 *   of 16 pixels. Steps of 32 inputs in shared memory, in pieces of eight inputs, 16 bytes: pixels with their halo
 *   [piece][row][column], weights [tap][piece][output]. Eight neighbours of a piece are 128 bytes in a row, so ldmatrix
 *   meets no bank twice, wherever a tap's pixels begin.
 * A row's fragments, once read, serve the three taps above each other. Two blocks a multiprocessor: one computes while the other reads.
 */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#include "core/cuda/conv.cuh"
#include "core/cuda/cuda.h"

enum { ROWS = 16, COLS = 16, THREADS = 256, PIECES = CONV_MMA_K / 8 };

static __device__ __forceinline__ void ldmatrix4(uint32_t r[4], uint32_t at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

static __device__ __forceinline__ void mma(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1, __nv_bfloat16)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
static __device__ __forceinline__ void mma(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1, __half)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

static __device__ __forceinline__ uint32_t pair(float low, float high, __nv_bfloat16)
{
    __nv_bfloat162 p = __floats2bfloat162_rn(low, high);
    return *(const uint32_t *)&p;
}
static __device__ __forceinline__ uint32_t pair(float low, float high, __half)
{
    __half2 p = __floats2half2_rn(low, high);
    return *(const uint32_t *)&p;
}

/* A block of pixels in shared memory: SIDE x SIDE of them, in planes of a piece each. A plane's length is 2 or 6 mod 8:
 * the four pieces of two pixels, written at once, lie in different banks. */
template <int EDGE> struct halo {
    static constexpr int SIDE = ROWS + 2 * EDGE, PIXELS = SIDE * SIDE, PLANE = PIXELS + 2;
};

/* Eight inputs from k on of a pixel, zeros beyond the last. */
template <typename T> static __device__ __forceinline__ uint4 read_piece(const conv_args &a, const float *x, int k)
{
    float v[8] = {};
    if (a.read4) {
        if (k < a.k)
            *(float4 *)v = *(const float4 *)(x + k);
        if (k + 4 < a.k)
            *(float4 *)(v + 4) = *(const float4 *)(x + k + 4);
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (k + i < a.k)
                v[i] = x[k + i];
    }
    return make_uint4(pair(v[0], v[1], T()), pair(v[2], v[3], T()), pair(v[4], v[5], T()), pair(v[6], v[7], T()));
}

template <typename T, int EDGE>
static __device__ __forceinline__ void read_pixels(const conv_args &a, uint4 *xs, int row, int col, int k)
{
    typedef halo<EDGE> h;
#pragma unroll 2
    for (int i = (int)threadIdx.x; i < h::PIXELS * PIECES; i += THREADS) {
        int  pixel = i / PIECES, piece = i % PIECES, y = row - EDGE + pixel / h::SIDE, x = col - EDGE + pixel % h::SIDE;
        bool there = y >= 0 && y < a.height && x >= 0 && x < a.width && y < a.row + a.rows + EDGE;
        const float *from = a.x + ((size_t)(y - a.x_y0) * (size_t)a.width + (size_t)x) * (size_t)a.k;
        xs[piece * h::PLANE + pixel] = there ? read_piece<T>(a, from, k + 8 * piece) : make_uint4(0, 0, 0, 0);
    }
}

/* The weights of a step, the first `pieces` of each tap. */
template <int NT, int TAPS> static __device__ __forceinline__ void read_weights(uint32_t ws, const uint4 *w, int pieces)
{
    for (int i = (int)threadIdx.x; i < TAPS * PIECES * NT; i += THREADS)
        if (i / NT % PIECES < pieces)
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(ws + 16 * (uint32_t)i), "l"(w + i) : "memory");
}

/* Sixteen inputs of a step. */
template <typename T, int NT, int WN, int SIDE>
static __device__ __forceinline__ void multiply(float (&sum)[2 * WN][NT / WN / 8][4], uint32_t xs, uint32_t ws, int warp_row,
                                                int warp_n, int which)
{
    constexpr int R = 2 * WN, EDGE = SIDE / 2, H = halo<EDGE>::SIDE, PLANE = halo<EDGE>::PLANE;
    int           lane = (int)threadIdx.x % 32;
    uint32_t      from = xs + 16u * (uint32_t)((2 * which + lane / 16) * PLANE + warp_row * H + lane % 16);
    uint32_t      of = ws + 16u * (uint32_t)((2 * which + lane / 8 % 2) * NT + warp_n + lane / 16 * 8 + lane % 8);
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
                    mma(sum[i][2 * j], x[i + dy], w[0], w[1], T());
                    mma(sum[i][2 * j + 1], x[i + dy], w[2], w[3], T());
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

template <typename T, int NT, int WN, int SIDE>
__global__ void __launch_bounds__(THREADS, 2) conv_mma_kernel(const __grid_constant__ conv_args a)
{
    constexpr int EDGE = SIDE / 2, TAPS = SIDE * SIDE, R = 2 * WN, N8 = NT / WN / 8;
    extern __shared__ uint4 shared[];
    uint4   *xs = shared, *ws = shared + PIECES * halo<EDGE>::PLANE;
    uint32_t xs_at = (uint32_t)__cvta_generic_to_shared(xs), ws_at = (uint32_t)__cvta_generic_to_shared(ws);
    int      row = a.row + (int)blockIdx.z * ROWS, col = (int)blockIdx.y * COLS, n = (int)blockIdx.x * NT;
    int      warp = (int)threadIdx.x / 32, warp_row = warp / WN * R, warp_n = warp % WN * (NT / WN);
    float    sum[R][N8][4] = {};
    const uint4 *w = (const uint4 *)a.w + (size_t)blockIdx.x * (size_t)((a.k + CONV_MMA_K - 1) / CONV_MMA_K) * (TAPS * PIECES * NT);
    for (int k = 0; k < a.k; k += CONV_MMA_K, w += TAPS * PIECES * NT) {
        int halves = a.k - k > 16 ? 2 : 1;
        __syncthreads();
        read_weights<NT, TAPS>(ws_at, w, 2 * halves);
        asm volatile("cp.async.commit_group;" ::: "memory");
        read_pixels<T, EDGE>(a, xs, row, col, k);
        asm volatile("cp.async.wait_group 0;" ::: "memory");
        __syncthreads();
        for (int i = 0; i < halves; i++)
            multiply<T, NT, WN, SIDE>(sum, xs_at, ws_at, warp_row, warp_n, i);
    }
    store<R, N8>(a, sum, row + warp_row, col, n + warp_n);
}

template <typename T, int NT, int WN, int SIDE> static oriel_status launch(const conv_args *a, cudaStream_t stream)
{
    void (*kernel)(conv_args) = conv_mma_kernel<T, NT, WN, SIDE>;
    int  bytes = 16 * PIECES * (halo<SIDE / 2>::PLANE + SIDE * SIDE * NT);
    dim3 grid((unsigned)oriel_ceil_div(a->n, NT), (unsigned)oriel_ceil_div(a->cols, COLS), (unsigned)oriel_ceil_div(a->rows, ROWS));
    if (grid.y > 65535 || grid.z > 65535)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "convolution: a map of %d x %d is more than a launch takes", a->rows, a->cols);
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
