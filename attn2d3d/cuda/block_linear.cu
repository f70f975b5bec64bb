/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dense layers of a window block in f16 and bf16, for sm_80 and later: many rows, few inputs and outputs.
 *
 * Contract: block_cuda.h. Each row's bits are the same whatever the rows beside it.
 * Layout: a warp has 16 STRIPS rows and keeps CHUNK steps of 32 inputs of them in registers, as fragments A that come
 *   straight from memory: which inputs a fragment's places stand for is free, if A and B agree, so a lane takes eight
 *   that lie side by side. Weights lie in that order (block_cuda.h) and are read as they are, 512 bytes a warp; all
 *   warps of a multiprocessor read the same ones, from L1. Nothing passes through shared memory, no warp waits for
 *   another.
 * Norm: the four lanes of a row have all of it, in registers, before it is rounded.
 * Bound: bytes of maps and operands; then L1, 512 bytes for 2 STRIPS products of 16 x 8 x 16.
 */
#include <cuda_runtime.h>

#include "attn2d3d/cuda/block_cuda.h"
#include "attn2d3d/cuda/small.cuh"

enum { THREADS = 128 };

typedef struct linear_args {
    const void  *x;
    const uint4 *w;
    const float *bias, *add;
    void        *y;
    int64_t      m;
    int          n, k, groups, steps;
    bool         whole; /* rows of maps in pieces of 16 bytes */
    float        eps;
} linear_args;

/* x Phi(x), for results of 16 bits: erfc by Hastings' polynomial (Abramowitz and Stegun, 7.1.26), whose error is below
 * 1.5e-7. */
static __device__ __forceinline__ float gelu(float x)
{
    float z = fabsf(x) * 0.70710678f, t = __fdividef(1.f, fmaf(0.3275911f, z, 1.f)), tail;
    tail = fmaf(fmaf(fmaf(fmaf(1.061405429f, t, -1.453152027f), t, 1.421413741f), t, -0.284496736f), t, 0.254829592f) * t;
    tail *= 0.5f * __expf(-z * z); /* of the side that x is not on */
    return x * (x < 0 ? tail : 1.f - tail);
}

/* A lane's eight channels of a row of a map, of which `left` are there from the first on; zeros beyond. */
static __device__ __forceinline__ void map_load(float (&v)[8], const float *at, int left, bool whole)
{
#pragma unroll
    for (int h = 0; h < 2; h++)
        if (whole) {
            float4 p = 16 * h < left ? *(const float4 *)(at + 16 * h) : make_float4(0, 0, 0, 0);
            v[4 * h] = p.x, v[4 * h + 1] = p.y, v[4 * h + 2] = p.z, v[4 * h + 3] = p.w;
        } else
#pragma unroll
            for (int i = 0; i < 4; i++)
                v[4 * h + i] = 16 * h + i < left ? at[16 * h + i] : 0;
}
static __device__ __forceinline__ void map_store(float *at, const float (&v)[8], int left, bool whole)
{
#pragma unroll
    for (int h = 0; h < 2; h++)
        if (whole) {
            if (16 * h < left)
                *(float4 *)(at + 16 * h) = make_float4(v[4 * h], v[4 * h + 1], v[4 * h + 2], v[4 * h + 3]);
        } else
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (16 * h + i < left)
                    at[16 * h + i] = v[4 * h + i];
}

template <bool BF16> static __device__ __forceinline__ uint4 pack8(const float (&v)[8])
{
    return make_uint4(pack<BF16>(v[0], v[1]), pack<BF16>(v[2], v[3]), pack<BF16>(v[4], v[5]), pack<BF16>(v[6], v[7]));
}

/* What lane c of a row's four has of each 32 inputs: cuda_block_lane(). */
template <bool BF16, int CHUNK> struct row_inputs {
    /* the norm of a row of a map */
    static __device__ __forceinline__ void normed(uint4 (&x)[CHUNK], const linear_args &a, int64_t row, int c)
    {
        float        v[CHUNK][8], mean = 0, square = 0;
        const float *at = (const float *)a.x + row * a.k + 4 * c;
#pragma unroll
        for (int j = 0; j < CHUNK; j++)
            map_load(v[j], at + 32 * j, a.k - 32 * j - 4 * c, a.whole);
#pragma unroll
        for (int j = 0; j < CHUNK; j++)
#pragma unroll
            for (int e = 0; e < 8; e++)
                mean += v[j][e];
        mean = row_sum(mean) / (float)a.k;
#pragma unroll
        for (int j = 0; j < CHUNK; j++)
#pragma unroll
            for (int e = 0; e < 8; e++) {
                v[j][e] = 32 * j + 4 * c + e / 4 * 16 + e % 4 < a.k ? v[j][e] - mean : 0;
                square = fmaf(v[j][e], v[j][e], square);
            }
        float scale = rsqrtf(row_sum(square) / (float)a.k + a.eps);
#pragma unroll
        for (int j = 0; j < CHUNK; j++) {
#pragma unroll
            for (int e = 0; e < 8; e++)
                v[j][e] *= scale;
            x[j] = pack8<BF16>(v[j]);
        }
    }
    /* a row of operands, from input `first` on */
    static __device__ __forceinline__ void plain(uint4 (&x)[CHUNK], const linear_args &a, int64_t row, int first, int c)
    {
        const uint16_t *at = (const uint16_t *)a.x + row * a.k;
#pragma unroll
        for (int j = 0; j < CHUNK; j++) {
            int k = first + 32 * j + 8 * c;
            x[j] = k < a.k ? *(const uint4 *)(at + k) : make_uint4(0, 0, 0, 0);
        }
    }
};

/* A warp's sums for one group of 32 outputs: v[i][t][2 h + e] is of row 16 i + 8 h + lane / 4 and the (2 t + e)th output of
 * lane % 4. */
template <int STRIPS> struct sums {
    float v[STRIPS][4][4];
};

/* The sums begin from the bias, and from what is added. */
template <cuda_block_form FORM, int STRIPS>
static __device__ __forceinline__ void begin(sums<STRIPS> &s, const linear_args &a, int64_t row, int n)
{
    constexpr bool MAP = FORM == CUDA_BLOCK_ADD;
    const float4   low = *(const float4 *)(a.bias + n), high = *(const float4 *)(a.bias + n + (MAP ? 16 : 4));
    const float    bias[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    float          more[8];
#pragma unroll
    for (int i = 0; i < STRIPS; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int64_t r = row + 16 * i + 8 * h;
            if (MAP)
                map_load(more, a.add + r * a.n + n, r < a.m ? a.n - n : 0, a.whole);
#pragma unroll
            for (int e = 0; e < 8; e++)
                s.v[i][e / 2][2 * h + e % 2] = bias[e] + (MAP ? more[e] : 0);
        }
}

template <bool BF16, cuda_block_form FORM, int STRIPS>
static __device__ __forceinline__ void end(const sums<STRIPS> &s, const linear_args &a, int64_t row, int n)
{
#pragma unroll
    for (int i = 0; i < STRIPS; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int64_t r = row + 16 * i + 8 * h;
            float   v[8];
#pragma unroll
            for (int e = 0; e < 8; e++) {
                v[e] = s.v[i][e / 2][2 * h + e % 2];
                if (FORM == CUDA_BLOCK_GELU)
                    v[e] = gelu(v[e]);
            }
            if (r >= a.m || n >= a.n)
                continue;
            if (FORM == CUDA_BLOCK_ADD)
                map_store((float *)a.y + r * a.n + n, v, a.n - n, a.whole);
            else
                *(uint4 *)((uint16_t *)a.y + r * a.n + n) = pack8<BF16>(v);
        }
}

template <bool BF16, int STRIPS, int CHUNK>
static __device__ __forceinline__ void multiply(sums<STRIPS> &s, const uint4 (&x)[2 * STRIPS][CHUNK], const uint4 *w)
{
#pragma unroll
    for (int j = 0; j < CHUNK; j++)
#pragma unroll
        for (int t = 0; t < 4; t++) {
            const uint4 b = __ldg(w + (4 * j + t) * 32);
#pragma unroll
            for (int i = 0; i < STRIPS; i++) {
                const uint4   &p = x[2 * i][j], &q = x[2 * i + 1][j];
                const uint32_t first[4] = {p.x, q.x, p.y, q.y}, second[4] = {p.z, q.z, p.w, q.w};
                mma<BF16>(s.v[i][t], first, b.x, b.y, s.v[i][t]);
                mma<BF16>(s.v[i][t], second, b.z, b.w, s.v[i][t]);
            }
        }
}

template <bool BF16, bool NORMED, cuda_block_form FORM, int CHUNK, int STRIPS>
static __global__ void __launch_bounds__(THREADS, NORMED && STRIPS * CHUNK > 6 && STRIPS > 1 ? 2 : CHUNK > 2 ? 3 : 4) linear_kernel(const __grid_constant__ linear_args a)
{
    const int     lane = (int)threadIdx.x % 32, c = lane % 4;
    const int64_t row = ((int64_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32) * 16 * STRIPS + lane / 4;
    const int64_t last = a.m - 1; /* rows beyond are that one again */
    uint4         x[2 * STRIPS][CHUNK];
    if (NORMED)
#pragma unroll
        for (int i = 0; i < 2 * STRIPS; i++)
            row_inputs<BF16, CHUNK>::normed(x[i], a, row + 8 * i < a.m ? row + 8 * i : last, c);
    for (int g = (int)blockIdx.y; g < a.groups; g += (int)gridDim.y) {
        const uint4 *w = a.w + (int64_t)g * a.steps * 128 + lane;
        const int    first = 32 * g + (FORM == CUDA_BLOCK_ADD ? 4 : 8) * c; /* output of this lane */
        sums<STRIPS> s;
        begin<FORM>(s, a, row, first);
        for (int step = 0; step < (NORMED ? CHUNK : a.steps); step += CHUNK, w += 128 * CHUNK) {
            if (!NORMED && (g == (int)blockIdx.y || a.steps > CHUNK))
#pragma unroll
                for (int i = 0; i < 2 * STRIPS; i++)
                    row_inputs<BF16, CHUNK>::plain(x[i], a, row + 8 * i < a.m ? row + 8 * i : last, 32 * step, c);
            multiply<BF16, STRIPS, CHUNK>(s, x, w);
        }
        end<BF16, FORM>(s, a, row, first);
    }
}

/* ---- on the host -------------------------------------------------------------------------- */

typedef void kernel_fn(const linear_args);

template <bool BF16, bool NORMED, cuda_block_form FORM> static kernel_fn *kernel_of(int chunk)
{
    return chunk == 2   ? linear_kernel<BF16, NORMED, FORM, 2, 2>
           : chunk == 3 ? linear_kernel<BF16, NORMED, FORM, 3, 2>
           : chunk == 4 ? linear_kernel<BF16, NORMED, FORM, 4, 2>
           : chunk == 6 ? linear_kernel<BF16, NORMED, FORM, 6, 1>
                        : linear_kernel<BF16, NORMED, FORM, 8, 1>;
}
static int strips_of(int chunk)
{
    return chunk > 4 ? 1 : 2;
}

cuda_block_linear cuda_block_linear_of(int n, int k, bool bf16, bool normed, bool added)
{
    cuda_block_linear l = {n, k, (n + 31) / 32, (k + 31) / 32, 0, normed, added, bf16, NULL, NULL};
    int               chunk = l.steps < 2 ? 2 : l.steps == 5 ? 6 : l.steps;
    if (l.steps > 6) /* in pieces; the norm needs all at once */
        chunk = normed ? 8 : (l.steps + 5) / 6 * 6 <= (l.steps + 3) / 4 * 4 ? 6 : 4;
    l.chunk = chunk;
    l.steps = (l.steps + chunk - 1) / chunk * chunk;
    assert(!normed || k <= CUDA_BLOCK_NORMED);
    return l;
}

static oriel_status queue(kernel_fn *kernel, oriel_device *d, const cuda_block_linear *l, linear_args *a)
{
    int64_t rows = THREADS / 32 * 16 * strips_of(l->chunk), blocks = (a->m + rows - 1) / rows;
    int64_t parts = 3 * (int64_t)d->cuda->sms / blocks; /* few rows: outputs apart */
    a->w = (const uint4 *)l->w;
    a->bias = l->bias;
    a->n = l->n;
    a->k = l->k;
    a->groups = l->groups;
    a->steps = l->steps;
    parts = parts < 1 ? 1 : parts > l->groups ? l->groups : parts;
    kernel<<<dim3((unsigned)blocks, (unsigned)parts), THREADS, 0, d->cuda->stream>>>(*a);
    return cuda_launched("window block, a layer");
}

static bool in_fours(const void *p, const void *q, int n)
{
    return n % 4 == 0 && ((uintptr_t)p | (uintptr_t)q) % 16 == 0;
}

template <bool BF16> static kernel_fn *kernel_for(const cuda_block_linear *l, cuda_block_form form)
{
    bool bent = form == CUDA_BLOCK_GELU;
    return l->added    ? kernel_of<BF16, false, CUDA_BLOCK_ADD>(l->chunk)
           : l->normed ? bent ? kernel_of<BF16, true, CUDA_BLOCK_GELU>(l->chunk) : kernel_of<BF16, true, CUDA_BLOCK_HALF>(l->chunk)
           : bent      ? kernel_of<BF16, false, CUDA_BLOCK_GELU>(l->chunk)
                       : kernel_of<BF16, false, CUDA_BLOCK_HALF>(l->chunk);
}

oriel_status cuda_block_linear_run(oriel_device *d, const cuda_block_linear *l, cuda_block_form form, int64_t m, void *y,
                                   const void *x, const float *add, float eps)
{
    linear_args a = {};
    a.x = x;
    a.y = y;
    a.add = add;
    a.m = m;
    a.eps = eps;
    a.whole = l->added ? in_fours(y, add, l->n) : in_fours(x, NULL, l->k);
    assert(l->added == (form == CUDA_BLOCK_ADD) && (l->added || l->n % 8 == 0) && (l->normed || l->k % 8 == 0));
    assert(!l->normed || l->steps == l->chunk);
    return queue(l->bf16 ? kernel_for<true>(l, form) : kernel_for<false>(l, form), d, l, &a);
}
