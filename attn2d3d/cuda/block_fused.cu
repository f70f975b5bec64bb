/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window block as one kernel, in f16 or bf16 operands with sums and residual stream in f32, for sm_80 and later:
 * x += proj(attention(norm1(x))), x += fc2(gelu(fc1(norm2(x)))); the map is read once and written once.
 *
 * Contract: shape_of(). Windows up to 8 x 8, C a multiple of 4, heads up to 32 wide.
 *
 * A warp has MT strips of 16 tokens of one window, 4 / MT warps a window. Its rows of x stay in registers as
 * the sums (C fragments) of proj and fc2; normalized they are the A of q, k and fc1 and, as B, of v transposed, so
 * that what a lane computes of q, k, v, weights, head outputs and hidden channels is what it needs of them as the next
 * product's operand: no layout changes, and k and v alone pass through shared memory, as fragments.
 * Sums of a softmax's weights are products with ones.
 *
 * Weights (block_fused.h) stay in shared memory where they fit (RESIDENT: C 60), and blocks walk over windows. Else they
 * stream through a ring of stages, once for WINDOWS windows; the warp that leaves a stage last asks for the
 * stage's next chunk, and nobody waits for room.
 *
 * What bounds it: shared memory, 2 clocks for a product of a strip and 8 columns; tensor cores take 1.6.
 */
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "attn2d3d/cuda/block_cuda.h"
#include "attn2d3d/cuda/block_fused.cuh"
#include "attn2d3d/cuda/block_fused.h"

enum { GROUP_BARRIER = 1 };

template <int CS_, int KS_, int DS_, int MT_, int WINDOWS_, bool RESIDENT_, bool SPARE_, bool BF16_> struct kind {
    static constexpr int  CS = CS_, KS = KS_, DS = DS_, MT = MT_, WINDOWS = WINDOWS_;
    static constexpr bool RESIDENT = RESIDENT_; /* all weights at once in shared memory */
    static constexpr bool SPARE = SPARE_;       /* registers: normalized x lies in shared memory */
    static constexpr bool BF16 = BF16_;
    static constexpr int  GROUP = 32 * 4 / MT; /* threads to a window */
    static constexpr int  THREADS = GROUP * WINDOWS;
    static constexpr int  PAIR = 2 * 4 * DS * 32; /* uint4 of k and v of a window's head */
};

/* ---- shared memory ------------------------------------------------------------------------ */

/* [stages][units], [WINDOWS][2] (k, v), SPARE: [THREADS / 32][MT][KS] units; barriers, counts */
template <class K> static __host__ __device__ inline int memory_bytes(int weights_units)
{
    int units = weights_units + (2 * K::WINDOWS * K::PAIR + (K::SPARE ? K::THREADS * K::MT * K::KS : 0)) / 32;
    return units * FUSED_UNIT + FUSED_STAGES * 12;
}

/* A warp's view of the stream. */
template <class K> struct stream {
    const fused_args &a;
    uint4            *stages;
    uint64_t         *full;
    uint32_t         *left;
    int               slot, index, ahead; /* stage; chunk of this round; chunks that are still to be read by all */
    uint32_t          parity;
    const uint4      *here;
};

template <class K> static __device__ __forceinline__ void stream_ask(const stream<K> &s, int slot, int index)
{
    fused_chunk c = fused_chunk_at(&s.a.shape, index);
    stream_bring(s.full + slot, s.stages + slot * s.a.stage_units * 32, (const uint4 *)s.a.stream + c.first * 32, c.units * FUSED_UNIT);
}

/* By all threads of the block. rounds: how often the stream is read. */
template <class K> static __device__ __forceinline__ void stream_begin(stream<K> &s, int rounds)
{
    int units = fused_units(&s.a.shape), warp = (int)threadIdx.x / 32;
    s.here = s.stages;
    if (K::RESIDENT) {
        for (int i = (int)threadIdx.x; i < units * 32; i += K::THREADS)
            copy_async<8>(shared_at(s.stages + i), (const uint16_t *)s.a.stream + 8 * i);
        copies_commit();
        copies_wait(0);
        __syncthreads();
        return;
    }
    s.slot = s.index = 0;
    s.parity = 0;
    s.ahead = rounds * fused_chunks(&s.a.shape);
    if (threadIdx.x == 0) {
        for (int i = 0; i < s.a.stages; i++) {
            stream_barrier(s.full + i);
            s.left[i] = 0;
        }
        stream_barriers_made();
    }
    __syncthreads();
    for (int i = 0; warp == 0 && i < s.a.stages && i < s.ahead; i++)
        stream_ask(s, i, i % fused_chunks(&s.a.shape));
}

/* The next chunk, of `units` units, is there. */
template <class K> static __device__ __forceinline__ const uint4 *stream_open(stream<K> &s, int units)
{
    const uint4 *at = s.here + (threadIdx.x & 31);
    if (K::RESIDENT) {
        s.here += units * 32;
        return at;
    }
    stream_wait(s.full + s.slot, s.parity);
    return at;
}

/* This warp has read it. */
template <class K> static __device__ __forceinline__ void stream_close(stream<K> &s)
{
    if (K::RESIDENT)
        return;
    if (stream_leave(s.left + s.slot, K::THREADS / 32) && s.ahead > s.a.stages)
        stream_ask(s, s.slot, (s.index + s.a.stages) % fused_chunks(&s.a.shape));
    s.ahead--;
    s.index = s.index + 1 == fused_chunks(&s.a.shape) ? 0 : s.index + 1;
    s.slot++;
    s.here += s.a.stage_units * 32;
    if (s.slot == s.a.stages) {
        s.slot = 0;
        s.parity ^= 1;
        s.here = s.stages;
    }
}

/* ---- a warp's strips ---------------------------------------------------------------------- */

/* x: rows r and r + 8, channels 16 j + 4 c .. + 3 in tiles 2 j and 2 j + 1. */
template <class K> struct strips {
    float    x[K::MT][2 * K::CS][4];
    uint4    a[K::SPARE ? 1 : K::MT][K::SPARE ? 1 : K::KS]; /* normalized */
    uint4   *spare;                                         /* or here, [MT][KS][lane] */
};

template <class K> static __device__ __forceinline__ void normal_set(strips<K> &w, int m, int k, const uint32_t (&a)[4])
{
    if constexpr (K::SPARE)
        w.spare[(m * K::KS + k) * 32] = make_uint4(a[0], a[1], a[2], a[3]);
    else
        w.a[m][k] = make_uint4(a[0], a[1], a[2], a[3]);
}
template <class K> static __device__ __forceinline__ uint4 normal_get(const strips<K> &w, int m, int k)
{
    if constexpr (K::SPARE)
        return w.spare[(m * K::KS + k) * 32];
    else
        return w.a[m][k];
}

/* Mean and 1 / deviation of the two rows of a lane. */
template <class K> static __device__ __forceinline__ void moments(const float (&x)[2 * K::CS][4], int c, float eps, float *mean, float *scale)
{
    int own = 4 * ((int)threadIdx.x & 3);
#pragma unroll
    for (int row = 0; row < 2; row++) {
        float sum = 0, square = 0;
#pragma unroll
        for (int j = 0; j < 2 * K::CS; j++)
            sum += x[j][2 * row] + x[j][2 * row + 1]; /* zeros beyond C */
        mean[row] = row_sum(sum) / (float)c;
#pragma unroll
        for (int j = 0; j < K::CS; j++) {
            float part = 0;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float d = x[2 * j + i / 2][2 * row + i % 2] - mean[row];
                part += d * d;
            }
            square += 16 * j + own < c ? part : 0.f;
        }
        scale[row] = rsqrtf(row_sum(square) / (float)c + eps);
    }
}

/* The strips of x normalized, with ones behind the channels and zeros behind those. */
template <class K> static __device__ __forceinline__ void normalize(strips<K> &w, int c, float eps)
{
    const uint32_t ones = K::BF16 ? 0x3f803f80u : 0x3c003c00u;
    int            own = 4 * ((int)threadIdx.x & 3);
#pragma unroll
    for (int m = 0; m < K::MT; m++) {
        float mean[2], scale[2];
        moments<K>(w.x[m], c, eps, mean, scale);
#pragma unroll
        for (int k = 0; k < K::KS; k++) {
            uint32_t one = 16 * k + own == c ? ones : 0u, a[4] = {one, one, 0, 0};
            if (k < K::CS && 16 * k + own < c) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const float *p = w.x[m][2 * (k < K::CS ? k : 0) + i / 2];
                    int          row = i % 2;
                    a[i] = pack<K::BF16>((p[2 * row] - mean[row]) * scale[row], (p[2 * row + 1] - mean[row]) * scale[row]);
                }
            }
            normal_set(w, m, k, a);
        }
    }
}

/* x += a bias, (16 CS) */
template <class K> static __device__ __forceinline__ void add_bias(strips<K> &w, const float *bias)
{
#pragma unroll
    for (int j = 0; j < K::CS; j++) {
        float4 b = __ldg((const float4 *)bias + 4 * j + (threadIdx.x & 3));
#pragma unroll
        for (int m = 0; m < K::MT; m++)
#pragma unroll
            for (int row = 0; row < 2; row++) {
                w.x[m][2 * j][2 * row] += b.x;
                w.x[m][2 * j][2 * row + 1] += b.y;
                w.x[m][2 * j + 1][2 * row] += b.z;
                w.x[m][2 * j + 1][2 * row + 1] += b.w;
            }
    }
}

/* Two C tiles side by side as an A */
template <bool BF16> static __device__ __forceinline__ void pack_a(uint32_t (&a)[4], const float (&l)[4], const float (&r)[4])
{
    a[0] = pack<BF16>(l[0], l[1]);
    a[1] = pack<BF16>(l[2], l[3]);
    a[2] = pack<BF16>(r[0], r[1]);
    a[3] = pack<BF16>(r[2], r[3]);
}

template <class K, int N> static __device__ __forceinline__ void zero(float (&acc)[K::MT][2 * N][4])
{
#pragma unroll
    for (int m = 0; m < K::MT; m++)
#pragma unroll
        for (int i = 0; i < 8 * N; i++)
            acc[m][i / 4][i % 4] = 0;
}

/* acc = normalized x times N pairs of tiles of a chunk */
template <class K, int N>
static __device__ __forceinline__ void project(float (&acc)[K::MT][2 * N][4], const strips<K> &w, const uint4 *chunk)
{
    zero<K, N>(acc);
#pragma unroll
    for (int k = 0; k < K::KS; k++)
#pragma unroll
        for (int i = 0; i < N; i++) {
            uint4 u = chunk[(k * N + i) * 32];
#pragma unroll
            for (int m = 0; m < K::MT; m++) {
                uint4          n = normal_get(w, m, k);
                const uint32_t a[4] = {n.x, n.y, n.z, n.w};
                mma<K::BF16>(acc[m][2 * i], a, u.x, u.y, acc[m][2 * i]);
                mma<K::BF16>(acc[m][2 * i + 1], a, u.z, u.w, acc[m][2 * i + 1]);
            }
        }
}

/* The same transposed: tiles of 16 rows of weights and 8 tokens */
template <class K, int N>
static __device__ __forceinline__ void project_turned(float (&acc)[K::MT][2 * N][4], const strips<K> &w, const uint4 *chunk)
{
    zero<K, N>(acc);
#pragma unroll
    for (int k = 0; k < K::KS; k++)
#pragma unroll
        for (int i = 0; i < N; i++) {
            uint4          u = chunk[(k * N + i) * 32];
            const uint32_t v[4] = {u.x, u.y, u.z, u.w};
#pragma unroll
            for (int m = 0; m < K::MT; m++) {
                uint4          n = normal_get(w, m, k);
                const uint32_t a[4] = {n.x, n.y, n.z, n.w};
                mma<K::BF16>(acc[m][2 * i], v, a[0], a[2], acc[m][2 * i]);
                mma<K::BF16>(acc[m][2 * i + 1], v, a[1], a[3], acc[m][2 * i + 1]);
            }
        }
}

/* x += a (N steps of 16) times a chunk */
template <class K, int N>
static __device__ __forceinline__ void add_product(strips<K> &w, const uint32_t (&a)[K::MT][N][4], const uint4 *chunk)
{
#pragma unroll
    for (int k = 0; k < N; k++)
#pragma unroll
        for (int j = 0; j < K::CS; j++) {
            uint4 u = chunk[(k * K::CS + j) * 32];
#pragma unroll
            for (int m = 0; m < K::MT; m++) {
                mma<K::BF16>(w.x[m][2 * j], a[m][k], u.x, u.y, w.x[m][2 * j]);
                mma<K::BF16>(w.x[m][2 * j + 1], a[m][k], u.z, u.w, w.x[m][2 * j + 1]);
            }
        }
}

/* ---- attention ---------------------------------------------------------------------------- */

static __device__ __forceinline__ float half_low(uint32_t x)
{
    return __half2float(__ushort_as_half((unsigned short)x));
}
static __device__ __forceinline__ float half_high(uint32_t x)
{
    return __half2float(__ushort_as_half((unsigned short)(x >> 16)));
}

/* Logits of a strip begin as the bias. */
static __device__ __forceinline__ void logits_begin(float (&s)[8][4], const uint4 *bias)
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint4 u = bias[i * 32];
        s[2 * i][0] = half_low(u.x), s[2 * i][1] = half_high(u.x);
        s[2 * i][2] = half_low(u.y), s[2 * i][3] = half_high(u.y);
        s[2 * i + 1][0] = half_low(u.z), s[2 * i + 1][1] = half_high(u.z);
        s[2 * i + 1][2] = half_low(u.w), s[2 * i + 1][3] = half_high(u.w);
    }
}

/* Keys of other regions than `token`'s, of those of this lane: bits 8 tile + e. */
static __device__ __forceinline__ uint64_t others(uint64_t low, uint64_t right, int token)
{
    uint64_t all = (low ^ (uint64_t)0 - (low >> token & 1)) | (right ^ (uint64_t)0 - (right >> token & 1));
    return all >> 2 * ((int)threadIdx.x & 3);
}

static __device__ __forceinline__ void hide(float (&s)[8][4], uint64_t low, uint64_t right, int first)
{
    int      token = first + (((int)threadIdx.x & 31) >> 2);
    uint64_t above = others(low, right, token), below = others(low, right, token + 8);
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            s[j][e] = above >> (8 * j + e) & 1 ? -INFINITY : s[j][e];
            s[j][2 + e] = below >> (8 * j + e) & 1 ? -INFINITY : s[j][2 + e];
        }
}

/* Logits to weights of softmax, their sums left out */
template <bool BF16> static __device__ __forceinline__ void weights(uint32_t (&p)[4][4], float (&s)[8][4])
{
#pragma unroll
    for (int row = 0; row < 2; row++) {
        float top = fmaxf(s[0][2 * row], s[0][2 * row + 1]);
#pragma unroll
        for (int j = 1; j < 8; j++)
            top = fmaxf(top, fmaxf(s[j][2 * row], s[j][2 * row + 1]));
        top = row_high(top);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            s[j][2 * row] = power2(s[j][2 * row] - top);
            s[j][2 * row + 1] = power2(s[j][2 * row + 1] - top);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        pack_a<BF16>(p[i], s[2 * i], s[2 * i + 1]);
}

/* out (an A of proj) = softmax(q k + bias) v, of one strip; keys, values: this head's, at the lane. */
template <class K>
static __device__ __forceinline__ void attend(uint32_t (&out)[K::DS][4], const uint32_t (&q)[K::DS][4], const uint4 *bias,
                                              const uint4 *keys, const uint4 *values, uint64_t low, uint64_t right, int first)
{
    const uint32_t ones = K::BF16 ? 0x3f803f80u : 0x3c003c00u;
    float          s[8][4], o[2 * K::DS][4] = {}, sum[4] = {};
    uint32_t       p[4][4];
    logits_begin(s, bias);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int k = 0; k < K::DS; k++) {
            uint4 u = keys[(i * K::DS + k) * 32];
            mma<K::BF16>(s[2 * i], q[k], u.x, u.y, s[2 * i]);
            mma<K::BF16>(s[2 * i + 1], q[k], u.z, u.w, s[2 * i + 1]);
        }
    if (low | right)
        hide(s, low, right, first);
    weights<K::BF16>(p, s);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        mma<K::BF16>(sum, p[i], ones, ones, sum);
#pragma unroll
        for (int k = 0; k < K::DS; k++) {
            uint4 u = values[(i * K::DS + k) * 32];
            mma<K::BF16>(o[2 * k], p[i], u.x, u.y, o[2 * k]);
            mma<K::BF16>(o[2 * k + 1], p[i], u.z, u.w, o[2 * k + 1]);
        }
    }
    float by[2] = {__fdividef(1.f, sum[0]), __fdividef(1.f, sum[2])};
#pragma unroll
    for (int k = 0; k < K::DS; k++) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            o[2 * k + i / 4][i % 4] *= by[i % 4 / 2];
        pack_a<K::BF16>(out[k], o[2 * k], o[2 * k + 1]);
    }
}

/* k and v of this warp's strips, as B of the two products, for the window's other warps. */
template <class K, bool TURNED> static __device__ __forceinline__ void share(uint4 *to, const float (&acc)[K::MT][2 * K::DS][4])
{
#pragma unroll
    for (int m = 0; m < K::MT; m++)
#pragma unroll
        for (int k = 0; k < K::DS; k++) {
            const float(&l)[4] = acc[m][2 * k], (&r)[4] = acc[m][2 * k + 1];
            to[(m * K::DS + k) * 32] = make_uint4(pack<K::BF16>(l[0], l[1]), pack<K::BF16>(r[0], r[1]),
                                                  pack<K::BF16>(l[2], l[3]), pack<K::BF16>(r[2], r[3]));
        }
}

/* Where a warp works: its first strip, its window's barrier and k, v, at the lane. */
template <class K> struct spot {
    int    strip, barrier;
    uint4 *shared; /* [2][k, v][4][DS] units */
    int    turn;   /* which of the two */
};

/* x += proj(attention(normalized x)) */
template <class K>
static __device__ __forceinline__ void attention(strips<K> &w, stream<K> &s, spot<K> &at, uint64_t low, uint64_t right)
{
    constexpr int D = K::DS;
#pragma unroll 1
    for (int h = 0; h < s.a.shape.heads; h++) {
        float        acc[K::MT][2 * D][4];
        uint32_t     q[K::MT][D][4], o[K::MT][D][4];
        uint4       *keys = at.shared + at.turn * K::PAIR, *values = keys + K::PAIR / 2;
        const uint4 *chunk = stream_open(s, D * K::KS);
        project<K, D>(acc, w, chunk);
        stream_close(s);
#pragma unroll
        for (int m = 0; m < K::MT; m++)
#pragma unroll
            for (int k = 0; k < D; k++)
                pack_a<K::BF16>(q[m][k], acc[m][2 * k], acc[m][2 * k + 1]);
        chunk = stream_open(s, D * K::KS);
        project<K, D>(acc, w, chunk);
        stream_close(s);
        share<K, false>(keys + at.strip * D * 32, acc);
        chunk = stream_open(s, D * K::KS);
        project_turned<K, D>(acc, w, chunk);
        stream_close(s);
        share<K, true>(values + at.strip * D * 32, acc);
        group_wait(at.barrier, K::GROUP); /* with two of them, one wait a head: who is here has read the other one */
        chunk = stream_open(s, FUSED_BIAS_UNITS);
#pragma unroll
        for (int m = 0; m < K::MT; m++)
            attend<K>(o[m], q[m], chunk + (at.strip + m) * 4 * 32, keys, values, low, right, 16 * (at.strip + m));
        stream_close(s);
        chunk = stream_open(s, D * K::CS);
        add_product<K, D>(w, o, chunk);
        stream_close(s);
        at.turn ^= 1;
    }
}

/* ---- MLP ---------------------------------------------------------------------------------- */

/* x Phi(x) = max(x, 0) - |x| Phi(-|x|). The logarithm of Phi(-a) is smooth: a polynomial of degree 5 in a, fitted on
 * 0 .. 6 for the least error of a Phi(-a), which is 7e-7; below -6 it goes on to fall. */
static __device__ __forceinline__ float gelu(float x)
{
    float a = fabsf(x), p = -0.0004732841916847974f;
    p = fmaf(p, a, 0.007084399461746216f);
    p = fmaf(p, a, -0.05182703211903572f);
    p = fmaf(p, a, -0.45999276638031006f);
    p = fmaf(p, a, -1.1507877111434937f);
    p = fmaf(p, a, -1.000037670135498f);
    return fmaf(-a, power2(p), fmaxf(x, 0.f));
}

/* x += fc2(gelu(fc1(normalized x))) */
template <class K> static __device__ __forceinline__ void mlp(strips<K> &w, stream<K> &s)
{
#pragma unroll 1
    for (int i = 0; i < s.a.shape.slices; i++) {
        float        acc[K::MT][4][4];
        uint32_t     a[K::MT][2][4];
        const uint4 *chunk = stream_open(s, 2 * K::KS);
        project<K, 2>(acc, w, chunk);
        stream_close(s);
#pragma unroll
        for (int m = 0; m < K::MT; m++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
#pragma unroll
                for (int e = 0; e < 4; e++)
                    acc[m][j][e] = gelu(acc[m][j][e]);
                if (j % 2)
                    pack_a<K::BF16>(a[m][j / 2], acc[m][j - 1], acc[m][j]);
            }
        chunk = stream_open(s, 2 * K::CS);
        add_product<K, 2>(w, a, chunk);
        stream_close(s);
    }
}

/* ---- windows ------------------------------------------------------------------------------ */

/* Offset of `token` in the map, the window's first one at (wy, wx) of windows. */
static __device__ __forceinline__ int64_t token_at(const fused_args &a, int wy, int wx, int token)
{
    int y = wy * a.shape.window + a.shift + token / a.shape.window;
    int x = wx * a.shape.window + a.shift + token % a.shape.window;
    y -= y < a.ny ? 0 : a.ny;
    x -= x < a.nx ? 0 : a.nx;
    return ((int64_t)y * a.nx + x) * a.shape.c;
}

template <class K> static __device__ __forceinline__ void load(strips<K> &w, const fused_args &a, const int64_t (&at)[2 * K::MT])
{
    int own = 4 * ((int)threadIdx.x & 3);
#pragma unroll
    for (int i = 0; i < 2 * K::MT; i++)
#pragma unroll
        for (int j = 0; j < K::CS; j++) {
            float4 v = make_float4(0, 0, 0, 0);
            if (at[i] >= 0 && 16 * j + own < a.shape.c)
                v = *(const float4 *)(a.x + at[i] + 16 * j + own);
            w.x[i / 2][2 * j][i % 2 * 2] = v.x;
            w.x[i / 2][2 * j][i % 2 * 2 + 1] = v.y;
            w.x[i / 2][2 * j + 1][i % 2 * 2] = v.z;
            w.x[i / 2][2 * j + 1][i % 2 * 2 + 1] = v.w;
        }
}

template <class K> static __device__ __forceinline__ void store(const strips<K> &w, const fused_args &a, const int64_t (&at)[2 * K::MT])
{
    int own = 4 * ((int)threadIdx.x & 3);
#pragma unroll
    for (int i = 0; i < 2 * K::MT; i++)
#pragma unroll
        for (int j = 0; j < K::CS; j++)
            if (at[i] >= 0 && 16 * j + own < a.shape.c)
                *(float4 *)(a.y + at[i] + 16 * j + own) =
                    make_float4(w.x[i / 2][2 * j][i % 2 * 2], w.x[i / 2][2 * j][i % 2 * 2 + 1], w.x[i / 2][2 * j + 1][i % 2 * 2],
                                w.x[i / 2][2 * j + 1][i % 2 * 2 + 1]);
}

/* A window; a number past the last one goes through the motions, since the stream is for all warps. */
template <class K> static __device__ __forceinline__ void window(stream<K> &s, spot<K> &at, uint4 *spare, int number)
{
    const fused_args &a = s.a;
    int               wy = number / a.across, wx = number % a.across, lane = (int)threadIdx.x & 31;
    bool              live = number < a.windows;
    uint64_t          low = (wy + 1) * a.shape.window == a.ny ? a.low : 0, right = wx + 1 == a.across ? a.right : 0;
    int64_t           from[2 * K::MT];
    strips<K>         w;
    w.spare = spare;
#pragma unroll
    for (int i = 0; i < 2 * K::MT; i++) {
        int token = 16 * at.strip + 8 * i + lane / 4;
        from[i] = live && token < a.shape.window * a.shape.window ? token_at(a, wy, wx, token) : -1;
    }
    load(w, a, from);
    normalize(w, a.shape.c, a.eps);
    add_bias(w, a.added);
    attention(w, s, at, low, right);
    normalize(w, a.shape.c, a.eps);
    add_bias(w, a.added + 16 * K::CS);
    mlp(w, s);
    store(w, a, from);
}

template <class K> __global__ void __launch_bounds__(K::THREADS, 1) block_fused(const __grid_constant__ fused_args a)
{
    extern __shared__ uint4 memory[];
    int       group = (int)threadIdx.x / K::GROUP, warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    int       weights_units = K::RESIDENT ? fused_units(&a.shape) : a.stages * a.stage_units;
    uint4    *pairs = memory + weights_units * 32, *spare = pairs + 2 * K::WINDOWS * K::PAIR;
    uint64_t *full = (uint64_t *)(spare + (K::SPARE ? K::THREADS * K::MT * K::KS : 0));
    stream<K> s = {a, memory, full, (uint32_t *)(full + FUSED_STAGES)};
    spot<K>   at = {warp % (4 / K::MT) * K::MT, GROUP_BARRIER + group, pairs + 2 * group * K::PAIR + lane, 0};
    int       step = (int)gridDim.x * K::WINDOWS, first = (int)blockIdx.x * K::WINDOWS;
    stream_begin(s, (a.windows - first + step - 1) / step);
    for (; first < a.windows; first += step) {
        if (K::RESIDENT && first + group >= a.windows)
            break;
        s.here = K::RESIDENT ? s.stages : s.here;
        window(s, at, spare + (K::SPARE ? warp * K::MT * K::KS * 32 + lane : 0), first + group);
    }
}

/* ---- on the host -------------------------------------------------------------------------- */

#define KERNEL(CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE)                                                                   \
    {CS, KS, DS, WINDOWS, kind<CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE, false>::THREADS, RESIDENT,                        \
     memory_bytes<kind<CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE, false>>,                                                  \
     {(const void *)block_fused<kind<CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE, false>>,                                    \
      (const void *)block_fused<kind<CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE, true>>}}

extern "C" const fused_kernel fused_kernels[] = {
    KERNEL(4, 4, 1, 1, 4, true, false),
    KERNEL(4, 4, 2, 1, 4, false, false),
    KERNEL(8, 8, 2, 1, 2, false, false),
    KERNEL(12, 12, 2, 1, 2, false, false),
    KERNEL(16, 17, 2, 1, 2, false, true),
    {},
};
