/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window block as one kernel, in f16 or bf16 operands with sums and residual stream in f32:
 * x += proj(attention(norm1(x))), x += fc2(gelu(fc1(norm2(x)))); the map is read once and written once.
 *
 * Contract: choose() in block_fused.c. Windows to 64 tokens, C a multiple of 4 to 256, heads to 32 wide.
 *
 * A warp has MT strips of 16 tokens of one window, 4 / MT warps a window. Its rows of x stay in registers as the sums
 * (C fragments) of proj and fc2, and normalized they are an A. What a lane computes of q, k, softmax's weights, head
 * outputs and hidden channels is what it needs of them as the next product's operand: v alone is transposed, 8 x 8 at a
 * time, and k and v alone pass through shared memory. The sums of a softmax's weights are products with ones.
 *
 * Weights (block_fused.h) stay in shared memory where they fit (RESIDENT: C 60), and blocks walk over windows. Else
 * they stream through a ring of stages, once for WINDOWS windows. The warps take turns in asking for a stage's next
 * chunk, LAG chunks after they left it, when the others have left it, too.
 *
 * What bounds it: by mma, shared memory, 2 clocks for a product of a strip and 8 columns where tensor cores take 1.6.
 * By warpgroups (HOPPER) weights are read once a window, and waiting for products with one or two windows to a
 * scheduler is what is left.
 */
#ifndef ATTN2D3D_CUDA_BLOCK_FUSED_KERNEL_CUH
#define ATTN2D3D_CUDA_BLOCK_FUSED_KERNEL_CUH

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "attn2d3d/cuda/block_fused.cuh"
#include "attn2d3d/cuda/block_fused.h"
#ifdef FUSED_HOPPER
#include "attn2d3d/cuda/hopper.cuh"
#endif

enum { GROUP_BARRIER = 1 };

template <int CS_, int KS_, int DS_, int MT_, int WINDOWS_, bool RESIDENT_, bool SPARE_, bool HOPPER_, bool BF16_>
struct kind {
    static constexpr int  CS = CS_, KS = KS_, DS = DS_, MT = MT_, WINDOWS = WINDOWS_;
    static constexpr bool RESIDENT = RESIDENT_; /* all weights at once in shared memory */
    static constexpr bool SPARE = SPARE_;       /* registers: normalized x lies in shared memory */
    static constexpr bool HOPPER = HOPPER_;     /* products by warpgroups, which are windows: MT 1 */
    static constexpr bool BF16 = BF16_;
    static constexpr int  GROUP = 32 * 4 / MT; /* threads to a window */
    static constexpr int  THREADS = GROUP * WINDOWS;
    static constexpr int  WARPS = THREADS / 32;
    static constexpr int  LAG = HOPPER ? 4 : 2; /* chunks, more than a warp reads at a time */
    static constexpr int  LONG = (DS > 2 ? DS : 2) * (KS > CS ? KS : CS);
    static constexpr int  PITCH = RESIDENT ? 0 : LONG > FUSED_BIAS_UNITS ? LONG : FUSED_BIAS_UNITS; /* of chunks */
    static constexpr int  PAIR = 2 * 4 * DS * 32; /* uint4 of k and v of a window's head */
};

/* ---- shared memory ------------------------------------------------------------------------ */

/* [stages][units], [WINDOWS][2] (k, v), SPARE: [WARPS][MT][KS] units; barriers */
template <class K> static __host__ __device__ inline int memory_bytes(int weights_units)
{
    int units = weights_units + (2 * K::WINDOWS * K::PAIR + (K::SPARE ? K::WARPS * 32 * K::MT * K::KS : 0)) / 32;
    return units * FUSED_UNIT + FUSED_STAGES * 16;
}

/* A warp's view of the stream. */
template <class K> struct stream {
    const fused_args &a;
    uint4            *stages;
    uint64_t         *full, *empty; /* a stage's barriers: its chunk is there; all warps have left it */
    int               chunks;       /* of a round */
    int               left;         /* to be read, of all rounds */
    int               slot, turn;   /* the stage that is next; whose turn it is to ask */
    int               owed;         /* stages before it that this warp has not left */
    int               next;         /* what will be asked for: a chunk of a round */
    uint32_t          parity;       /* of the rounds through the ring */
    const uint4      *here;
};

template <class K> static __device__ __forceinline__ void stream_ask(const stream<K> &s, int slot, int chunk)
{
    stream_bring(s.full + slot, s.stages + slot * K::PITCH * 32, (const uint4 *)s.a.stream + chunk * K::PITCH * 32,
                 K::PITCH * FUSED_UNIT);
}

/* By all threads of the block. rounds: how often the stream is read. */
template <class K> static __device__ __forceinline__ void stream_begin(stream<K> &s, int rounds)
{
    s.here = s.stages;
    if constexpr (K::RESIDENT) {
        for (int i = (int)threadIdx.x; i < fused_units(&s.a.shape) * 32; i += K::THREADS)
            copy_async<8>(shared_at(s.stages + i), (const uint16_t *)s.a.stream + 8 * i);
        copies_commit();
        copies_wait(0);
        shared_written();
        __syncthreads();
    } else {
        s.chunks = fused_chunks(&s.a.shape);
        s.left = rounds * s.chunks;
        s.slot = s.owed = s.parity = 0;
        s.turn = -K::LAG;
        s.next = s.a.stages - K::LAG;
        if (threadIdx.x == 0) {
            for (int i = 0; i < s.a.stages; i++) {
                stream_barrier(s.full + i, STREAM_ARRIVALS);
                stream_barrier(s.empty + i, K::WARPS);
            }
            shared_written();
        }
        __syncthreads();
        for (int i = 0; threadIdx.x < 32 && i < s.a.stages && i < s.left; i++)
            stream_ask(s, i, i);
    }
}

/* The next chunk, of `units` units, is there. */
template <class K> static __device__ __forceinline__ const uint4 *stream_open(stream<K> &s, int units)
{
    const uint4 *at = s.here;
    if constexpr (K::RESIDENT) {
        s.here += units * 32;
    } else {
        if (s.turn == (int)threadIdx.x / 32 && s.left > s.a.stages - K::LAG) {
            bool before = s.slot < K::LAG; /* it was read in the ring's last round */
            int  slot = before ? s.slot - K::LAG + s.a.stages : s.slot - K::LAG;
            stream_wait(s.empty + slot, s.parity ^ (uint32_t)before);
            stream_ask(s, slot, s.next);
        }
        stream_wait(s.full + s.slot, s.parity);
        s.owed++;
        s.left--;
        s.turn = s.turn + 1 == K::WARPS ? 0 : s.turn + 1;
        s.next = s.next + 1 == s.chunks ? 0 : s.next + 1;
        s.here += K::PITCH * 32;
        if (++s.slot == s.a.stages) {
            s.slot = 0;
            s.parity ^= 1;
            s.here = s.stages;
        }
    }
    return at;
}

/* This warp has read all that it opened. */
template <class K> static __device__ __forceinline__ void stream_close(stream<K> &s)
{
    if constexpr (!K::RESIDENT) {
        for (; s.owed; s.owed--)
            stream_leave(s.empty + (s.slot >= s.owed ? s.slot - s.owed : s.slot - s.owed + s.a.stages));
    }
}

/* ---- a warp's strips ---------------------------------------------------------------------- */

/* x: rows r and r + 8, channels 16 j + 4 c .. + 3 in tiles 2 j and 2 j + 1. */
template <class K> struct strips {
    float    x[K::MT][2 * K::CS][4];
    uint32_t a[K::SPARE ? 1 : K::MT][K::SPARE ? 1 : K::KS][4]; /* normalized */
    uint4   *spare;                                            /* or here, [MT][KS][lane] */
};

template <class K> static __device__ __forceinline__ void normal_set(strips<K> &w, int m, int k, const uint32_t (&a)[4])
{
    if constexpr (K::SPARE) {
        w.spare[(m * K::KS + k) * 32] = make_uint4(a[0], a[1], a[2], a[3]);
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++)
            w.a[m][k][i] = a[i];
    }
}
template <class K> static __device__ __forceinline__ void normal_get(const strips<K> &w, int m, int k, uint32_t (&a)[4])
{
    if constexpr (K::SPARE) {
        uint4 u = w.spare[(m * K::KS + k) * 32];
        a[0] = u.x, a[1] = u.y, a[2] = u.z, a[3] = u.w;
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++)
            a[i] = w.a[m][k][i];
    }
}

/* Mean and 1 / deviation of the two rows of a lane. */
template <class K>
static __device__ __forceinline__ void moments(const float (&x)[2 * K::CS][4], int c, float eps, float *mean, float *scale)
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
template <bool BF16>
static __device__ __forceinline__ void pack_a(uint32_t (&a)[4], const float (&l)[4], const float (&r)[4])
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

/* Begin d (64, 16 N) += a of STEPS steps times units [STEPS][N], by the warpgroup; or = where `fresh`. */
template <class K, int N, int STEPS>
static __device__ __forceinline__ void group_begin(float (&d)[2 * N][4], const uint32_t (*a)[4], const uint4 *units, bool fresh)
{
#ifdef FUSED_HOPPER
    uint64_t at = hop_desc_boxes(units);
    hop_mma_fence();
#pragma unroll
    for (int k = 0; k < STEPS; k++)
        hop_mma_rows<!K::BF16, 16 * N>(reinterpret_cast<float(&)[8 * N]>(d), a[k],
                                       hop_desc_on(at, (uint32_t)(k * N * FUSED_UNIT)), k || !fresh);
    hop_mma_commit();
#endif
}
/* All that was begun is done. */
template <class K> static __device__ __forceinline__ void group_end()
{
#ifdef FUSED_HOPPER
    if constexpr (K::HOPPER)
        hop_mma_wait<0>();
#endif
}

/* acc = normalized x times N pairs of tiles of a chunk; Hopper: with group_end() */
template <class K, int N>
static __device__ __forceinline__ void project(float (&acc)[K::MT][2 * N][4], const strips<K> &w, const uint4 *chunk)
{
    zero<K, N>(acc);
    if constexpr (K::HOPPER) {
        group_begin<K, N, K::KS>(acc[0], w.a[0], chunk, true);
    } else {
#pragma unroll
        for (int k = 0; k < K::KS; k++)
#pragma unroll
            for (int i = 0; i < N; i++) {
                uint4 u = chunk[(k * N + i) * 32 + (threadIdx.x & 31)];
#pragma unroll
                for (int m = 0; m < K::MT; m++) {
                    uint32_t a[4];
                    normal_get(w, m, k, a);
                    mma<K::BF16>(acc[m][2 * i], a, u.x, u.y, acc[m][2 * i]);
                    mma<K::BF16>(acc[m][2 * i + 1], a, u.z, u.w, acc[m][2 * i + 1]);
                }
            }
    }
}

/* x += a (N steps of 16) times a chunk */
template <class K, int N>
static __device__ __forceinline__ void add_product(strips<K> &w, const uint32_t (&a)[K::MT][N][4], const uint4 *chunk)
{
    if constexpr (K::HOPPER) {
        group_begin<K, K::CS, N>(w.x[0], a[0], chunk, false);
        group_end<K>();
    } else {
#pragma unroll
        for (int k = 0; k < N; k++)
#pragma unroll
            for (int j = 0; j < K::CS; j++) {
                uint4 u = chunk[(k * K::CS + j) * 32 + (threadIdx.x & 31)];
#pragma unroll
                for (int m = 0; m < K::MT; m++) {
                    mma<K::BF16>(w.x[m][2 * j], a[m][k], u.x, u.y, w.x[m][2 * j]);
                    mma<K::BF16>(w.x[m][2 * j + 1], a[m][k], u.z, u.w, w.x[m][2 * j + 1]);
                }
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

/* s += q k */
template <class K>
static __device__ __forceinline__ void add_keys(float (&s)[8][4], const uint32_t (&q)[K::DS][4], const uint4 *keys)
{
    if constexpr (K::HOPPER) {
        group_begin<K, 4, K::DS>(s, q, keys, false);
        group_end<K>();
    } else {
        keys += threadIdx.x & 31;
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int k = 0; k < K::DS; k++) {
                uint4 u = keys[(i * K::DS + k) * 32];
                mma<K::BF16>(s[2 * i], q[k], u.x, u.y, s[2 * i]);
                mma<K::BF16>(s[2 * i + 1], q[k], u.z, u.w, s[2 * i + 1]);
            }
    }
}

/* o += p v */
template <class K>
static __device__ __forceinline__ void add_values(float (&o)[2 * K::DS][4], const uint32_t (&p)[4][4], const uint4 *values)
{
    if constexpr (K::HOPPER) {
        group_begin<K, K::DS, 4>(o, p, values, false);
        group_end<K>();
    } else {
        values += threadIdx.x & 31;
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int k = 0; k < K::DS; k++) {
                uint4 u = values[(i * K::DS + k) * 32];
                mma<K::BF16>(o[2 * k], p[i], u.x, u.y, o[2 * k]);
                mma<K::BF16>(o[2 * k + 1], p[i], u.z, u.w, o[2 * k + 1]);
            }
    }
}

/* out (an A of proj) = softmax(q k + bias) v, of one strip; keys, values: this head's. */
template <class K>
static __device__ __forceinline__ void attend(uint32_t (&out)[K::DS][4], const uint32_t (&q)[K::DS][4], const uint4 *bias,
                                              const uint4 *keys, const uint4 *values, uint64_t low, uint64_t right, int first)
{
    const uint32_t ones = K::BF16 ? 0x3f803f80u : 0x3c003c00u;
    float          s[8][4], o[2 * K::DS][4] = {}, sum[4] = {};
    uint32_t       p[4][4];
    logits_begin(s, bias);
    add_keys<K>(s, q, keys);
    if (low | right)
        hide(s, low, right, first);
    weights<K::BF16>(p, s);
#pragma unroll
    for (int i = 0; i < 4; i++)
        mma<K::BF16>(sum, p[i], ones, ones, sum);
    add_values<K>(o, p, values);
    float by[2] = {__fdividef(1.f, sum[0]), __fdividef(1.f, sum[2])};
#pragma unroll
    for (int k = 0; k < K::DS; k++) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            o[2 * k + i / 4][i % 4] *= by[i % 4 / 2];
        pack_a<K::BF16>(out[k], o[2 * k], o[2 * k + 1]);
    }
}

/* k or v of a strip as B of the two products, for the window's other warps: a fragment of its own units, or words in the
 * boxes of 8 x 8 that a warpgroup reads, [DS][strip] units of k and [strip][DS] of v. */
template <class K, bool TURN>
static __device__ __forceinline__ void share(uint4 *to, int strip, const float (&acc)[2 * K::DS][4])
{
    int lane = (int)threadIdx.x & 31;
#pragma unroll
    for (int k = 0; k < K::DS; k++) {
        uint32_t a[4];
        pack_a<K::BF16>(a, acc[2 * k], acc[2 * k + 1]);
#pragma unroll
        for (int i = 0; i < 4 && TURN; i++)
            a[i] = turned(a[i]);
        if constexpr (K::HOPPER) {
            uint32_t *boxes = (uint32_t *)(to + (TURN ? strip * K::DS + k : k * 4 + strip) * 32) + lane;
            boxes[0] = a[0];
            boxes[32] = a[TURN ? 1 : 2];
            boxes[64] = a[TURN ? 2 : 1];
            boxes[96] = a[3];
        } else {
            to[(strip * K::DS + k) * 32 + lane] = TURN ? make_uint4(a[0], a[1], a[2], a[3]) : make_uint4(a[0], a[2], a[1], a[3]);
        }
    }
}

/* Where a warp works: its first strip, its window's barrier and k, v. */
template <class K> struct spot {
    int    strip, barrier;
    uint4 *shared; /* [2][k, v][4][DS] units */
    int    turn;   /* which of the two */
};

template <class K>
static __device__ __forceinline__ void pack_strips(uint32_t (&a)[K::MT][K::DS][4], const float (&acc)[K::MT][2 * K::DS][4])
{
#pragma unroll
    for (int m = 0; m < K::MT; m++)
#pragma unroll
        for (int k = 0; k < K::DS; k++)
            pack_a<K::BF16>(a[m][k], acc[m][2 * k], acc[m][2 * k + 1]);
}
template <class K, bool TURN>
static __device__ __forceinline__ void share_strips(uint4 *to, int strip, const float (&acc)[K::MT][2 * K::DS][4])
{
#pragma unroll
    for (int m = 0; m < K::MT; m++)
        share<K, TURN>(to, strip + m, acc[m]);
}

/* A head's q, and its k and v shared. */
template <class K>
static __device__ __forceinline__ void head_begin(uint32_t (&q)[K::MT][K::DS][4], uint4 *keys, uint4 *values, int strip,
                                                  const strips<K> &w, stream<K> &s)
{
    constexpr int D = K::DS;
    if constexpr (K::HOPPER) { /* as one */
        float all[3][1][2 * D][4];
#pragma unroll
        for (int i = 0; i < 3; i++)
            project<K, D>(all[i], w, stream_open(s, D * K::KS));
        group_end<K>();
        stream_close(s);
        pack_strips<K>(q, all[0]);
        share_strips<K, false>(keys, strip, all[1]);
        share_strips<K, true>(values, strip, all[2]);
        shared_written();
    } else { /* one by one, for want of registers */
        float acc[K::MT][2 * D][4];
        project<K, D>(acc, w, stream_open(s, D * K::KS));
        stream_close(s);
        pack_strips<K>(q, acc);
        project<K, D>(acc, w, stream_open(s, D * K::KS));
        stream_close(s);
        share_strips<K, false>(keys, strip, acc);
        project<K, D>(acc, w, stream_open(s, D * K::KS));
        stream_close(s);
        share_strips<K, true>(values, strip, acc);
    }
}

/* x += proj(attention(normalized x)) */
template <class K>
static __device__ __forceinline__ void attention(strips<K> &w, stream<K> &s, spot<K> &at, uint64_t low, uint64_t right)
{
#pragma unroll 1
    for (int h = 0; h < s.a.shape.heads; h++) {
        uint32_t q[K::MT][K::DS][4], o[K::MT][K::DS][4];
        uint4   *keys = at.shared + at.turn * K::PAIR, *values = keys + K::PAIR / 2;
        head_begin<K>(q, keys, values, at.strip, w, s);
        group_wait(at.barrier, K::GROUP); /* with two of them, one wait a head: who is here has read the other one */
        const uint4 *bias = stream_open(s, FUSED_BIAS_UNITS) + at.strip * 4 * 32 + (threadIdx.x & 31);
#pragma unroll
        for (int m = 0; m < K::MT; m++)
            attend<K>(o[m], q[m], bias + m * 4 * 32, keys, values, low, right, 16 * (at.strip + m));
        stream_close(s);
        add_product<K, K::DS>(w, o, stream_open(s, K::DS * K::CS));
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

template <class K>
static __device__ __forceinline__ void gelu_strips(uint32_t (&a)[K::MT][2][4], float (&acc)[K::MT][4][4])
{
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
}

/* x += fc2(gelu(fc1(normalized x))) */
template <class K> static __device__ __forceinline__ void mlp(strips<K> &w, stream<K> &s)
{
#pragma unroll 1
    for (int i = 0; i < s.a.shape.slices; i++) {
        float    acc[K::MT][4][4];
        uint32_t a[K::MT][2][4];
        project<K, 2>(acc, w, stream_open(s, 2 * K::KS));
        group_end<K>();
        stream_close(s);
        gelu_strips<K>(a, acc);
        add_product<K, 2>(w, a, stream_open(s, 2 * K::CS));
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

template <class K>
static __device__ __forceinline__ void load(strips<K> &w, const fused_args &a, const int64_t (&at)[2 * K::MT])
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

template <class K>
static __device__ __forceinline__ void store(const strips<K> &w, const fused_args &a, const int64_t (&at)[2 * K::MT])
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
    int       weights_units = K::RESIDENT ? fused_units(&a.shape) : a.stages * K::PITCH;
    uint4    *pairs = memory + weights_units * 32, *spare = pairs + 2 * K::WINDOWS * K::PAIR;
    uint64_t *full = (uint64_t *)(spare + (K::SPARE ? K::WARPS * 32 * K::MT * K::KS : 0));
    stream<K> s = {a, memory, full, full + FUSED_STAGES};
    spot<K>   at = {warp % (4 / K::MT) * K::MT, GROUP_BARRIER + group, pairs + 2 * group * K::PAIR, 0};
    int       step = (int)gridDim.x * K::WINDOWS, first = (int)blockIdx.x * K::WINDOWS;
    stream_begin(s, (a.windows - first + step - 1) / step);
    for (; first < a.windows; first += step) {
        if (K::RESIDENT && first + group >= a.windows)
            break;
        s.here = K::RESIDENT ? s.stages : s.here;
        window(s, at, spare + (K::SPARE ? warp * K::MT * K::KS * 32 + lane : 0), first + group);
    }
}

#endif
