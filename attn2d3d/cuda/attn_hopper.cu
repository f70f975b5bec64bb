/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over large windows on Hopper: TMA, wgmma.
 *
 * A block of 384 threads has 128 queries, a box of the raster, and goes over the boxes of keys that
 * cover the union of their windows. Boxes come from the tensors as they lie (one 5-D TMA box of 64
 * channels each); what is outside is 0 and masked.
 *
 *   warpgroup 0      setmaxnreg 40. Warp 0 loads queries and keys, warp 1 values; one thread each,
 * which keeps two or three words in memory, the kernel's only spills. warpgroups 1, 2  setmaxnreg
 * 232, 64 queries each: S = Q K' (64 x N, fp32 registers), softmax with one running maximum a row,
 * O += P V with P in registers. The product of the next keys is issued before P V of these, so that
 * exponentials run under products; the two warpgroups take turns to issue. Q is in registers, where
 * 192 hold it all.
 *
 * Loop axis 0 is the one along which the two warpgroups' queries lie (if it has one query, the next
 * that has more). A warpgroup passes over the slabs of boxes along it that it does not see. Where
 * two boxes of queries share most of their keys, two blocks form a cluster: each loads half of
 * every box of keys into both (multicast), which halves what comes from L2. Masks: a box that all
 * 64 queries see whole has none. Else each axis gives each row an interval, and an interval is a
 * run of bits over groups of 8 columns; their product is tested bit by bit. Maximum: O is scaled
 * down only when a row's maximum grew by more than 2^8 (weights are then at most 2^8 of what they
 * should be, which fp32 sums and 16 bit weights carry as well).
 *
 * Shared memory: Q 128 x D | K stages x N x D | V stages x N x D, tiles of 64 channels, 128B
 * swizzle. Grid: one block a multiprocessor; cluster c takes items c, c + clusters, ...; heads with
 * large windows first. Contract: see reject(). Bound: tensor cores, 4 D flops a query and key of
 * the boxes taken: 72.5 % of their cycles on STA, where keys and values come from L2 at 3.8 TB/s in
 * clusters, 5 TB/s without (H100, 2026-11-22), and in long runs the card's power. Exponentials are
 * half of the products' time at D 128, all of it at D 64.
 */
#include <float.h>
#include <math.h>

#include "attn2d3d/cuda/attn_cuda.h"
#include "attn2d3d/cuda/attn_hopper.h"
#include "attn2d3d/cuda/hopper.cuh"

enum { WARPGROUP = 128, THREADS = 3 * WARPGROUP, ROWS = 64, CHUNK = 64 /* channels of a tile */ };
enum { CLEAN = 1 /* << warpgroup */, LIST = 4 };
static const float GROWTH = 8; /* of log2 of a weight, before O is scaled */

typedef struct hopper_args {
    CUtensorMap q, k, v, extra_k, extra_v; /* (head, loop axes 0, 1, 2, channel) */
    char *out;
    float *lse;                /* or NULL */
    int64_t out_stride[4];     /* of loop axes and heads; bytes */
    int64_t lse_stride[4];     /* elements */
    int nq[3], tiles[3];       /* queries; items along each axis */
    int q_log[3], item_log[3]; /* box of queries of a block, of a cluster */
    int k_box[3];
    int fine;                    /* k_box[2] is 4: two rows of it in 8 columns */
    int groups_x, groups_slab;   /* groups of 8 columns in a row; in a slab of axis 0 */
    uint32_t repeat_x, repeat_y; /* a run of bits in every row; in every slab */
    int clusters, along;         /* blocks of a cluster, 1 or 2; along which loop axis they lie */
    int items, group, dim_v, extra;
    float scale, scale2;                                    /* of logits; and log2(e) times that */
    unsigned char head[HOPPER_HEADS], window[HOPPER_HEADS]; /* by work, most first */
    const int2 *spans;                      /* (window, loop axis, query): first key, end */
    int span_at[3], span_step[3], span_all; /* where an axis begins; 0: all its queries have one */
} hopper_args;

/* Sizes of an instance: heads of D channels, N keys at a time. */
template <int D, int N> struct sizes {
    enum {
        Q = HOPPER_QUERIES * D * 2,
        KEYS = N * D * 2,
        MOST = (232448 - 1024 - Q) / (2 * KEYS),
        STAGES = MOST > 6 ? 6 : MOST,
        BYTES = Q + 2 * STAGES * KEYS + 1024,
        Q_REGS = N / 2 + N / 4 + D / 2 + D / 4 <= 192 ? D / 4
                                                      : 0 /* registers of Q, where there is room */
    };
};

/* What lies behind the tiles in shared memory. */
template <int S> struct control {
    uint64_t q_full, q_empty, full[2][S], empty[2][S]; /* of K, of V */
    int4 box[S]; /* of K's stage: where, how much of it, flags */
};

/* One item: a head and a box of queries; where its keys are. */
typedef struct work {
    int head, at[3]; /* first query of this block */
    const int2 *spans;
    int from[3], n[3], end[3]; /* first key, boxes, keys from there: of the cluster */
    int lists, total;          /* boxes of extra keys, which come first; all boxes */
} work;

static __device__ __forceinline__ int ceil_div(int a, int b)
{
    return (a + b - 1) / b;
}

/* The keys [x, y) that query i sees along loop axis a. */
static __device__ __forceinline__ int2 span_of(const work &w, const hopper_args &p, int a, int i)
{
    return __ldg(w.spans + p.span_at[a] + i * p.span_step[a]);
}

static __device__ __forceinline__ void work_begin(work &w, const hopper_args &p, int item, int rank,
                                                  int list_step)
{
    int each = p.tiles[0] * p.tiles[1] * p.tiles[2], i = item / each, rest = item - i * each;
    int tile[3];
    tile[2] = rest % p.tiles[2];
    rest /= p.tiles[2];
    tile[1] = rest % p.tiles[1];
    tile[0] = rest / p.tiles[1];
    w.head = p.head[i];
    w.spans = p.spans + p.window[i] * p.span_all;
#pragma unroll
    for (int a = 0; a < 3; a++) {
        int first = tile[a] << p.item_log[a];
        w.at[a] = first + (a == p.along ? rank << p.q_log[a] : 0);
        w.from[a] = span_of(w, p, a, first).x;
        w.end[a] = span_of(w, p, a, min(first + (1 << p.item_log[a]), p.nq[a]) - 1).y - w.from[a];
        w.n[a] = ceil_div(w.end[a], p.k_box[a]);
    }
    w.lists = ceil_div(p.extra, list_step);
    w.total = w.n[0] * w.n[1] * w.n[2] + w.lists;
}

/* Along loop axis 0 warpgroup g needs the boxes [first, end); none if it has no queries. */
typedef struct need {
    int first, end;
} need;

static __device__ __forceinline__ need need_of(const work &w, const hopper_args &p, int g)
{
    const int half = 1 << p.q_log[0] >> 1, low = w.at[0] + g * half,
              high = min(low + max(half, 1), p.nq[0]) - 1;
    if (low >= p.nq[0] || w.at[1] >= p.nq[1] || w.at[2] >= p.nq[2])
        return need{0, 0};
    return need{(span_of(w, p, 0, low).x - w.from[0]) / p.k_box[0],
                ceil_div(span_of(w, p, 0, high).y - w.from[0], p.k_box[0])};
}

/* ---- producers
 * ---------------------------------------------------------------------------------------- */

/* Along loop axis a the boxes [low, high) are seen whole by queries from first to last. */
static __device__ __forceinline__ void clean_boxes(const work &w, const hopper_args &p, int a,
                                                   int first, int last, int &low, int &high)
{
    low = ceil_div(span_of(w, p, a, min(last, p.nq[a] - 1)).x - w.from[a], p.k_box[a]);
    high = (span_of(w, p, a, min(first, p.nq[a] - 1)).y - w.from[a]) / p.k_box[a];
}

struct ring {
    uint32_t tiles, full; /* addresses; the `empty` barriers lie 16 S bytes on, see control */
    uint32_t peer;        /* of the other block's `empty`; 0: this block is alone */
    int stage;
    uint32_t phase;
};

template <int S> static __device__ __forceinline__ void ring_next(ring &r)
{
    if (++r.stage == S) {
        r.stage = 0;
        r.phase ^= 1;
    }
}

/* One box of N keys, its channels in chunks of 64. The blocks of a cluster load every other chunk
 * (of one: keys or values), for both. */
template <int D, int N>
static __device__ __forceinline__ void load_keys(ring &r, const CUtensorMap *map, int skip, int c0,
                                                 int c1, int c2, int head)
{
    uint32_t bar = r.full + r.stage * 8, dst = r.tiles + r.stage * (int)sizes<D, N>::KEYS;
    hop_bar_expect(bar, sizes<D, N>::KEYS);
#pragma unroll
    for (int d = 0; d < D / CHUNK; d++)
        if (!r.peer)
            hop_load_box(dst + d * N * CHUNK * 2, map, bar, d * CHUNK, c2, c1, c0, head);
        else if ((d & 1) != skip)
            hop_load_box_both(dst + d * N * CHUNK * 2, map, bar, d * CHUNK, c2, c1, c0, head);
    ring_next<sizes<D, N>::STAGES>(r);
}

/* All boxes of keys, and the queries, or of values of this block's items. One thread. */
template <int D, int N, bool keys>
static __device__ void produce(const hopper_args &p, ring r, uint32_t q_tiles,
                               control<sizes<D, N>::STAGES> *c, int rank)
{
    constexpr int S = sizes<D, N>::STAGES;
    const CUtensorMap *map = keys ? &p.k : &p.v, *list = keys ? &p.extra_k : &p.extra_v;
    const int skip = rank == (keys ? 0 : 1) ? 1 : 0;
    uint32_t q_phase = 1;
#pragma unroll 1
    for (int item = blockIdx.x / p.clusters; item < p.items; item += gridDim.x / p.clusters) {
        work w;
        work_begin(w, p, item, rank, N);
        int low0[2], high0[2], low[3], high[3], kv = w.head / p.group;
        if (keys) {
            int half = 1 << p.q_log[0] >> 1;
            for (int g = 0; g < 2; g++)
                clean_boxes(w, p, 0, w.at[0] + g * half, w.at[0] + g * half + max(half, 1) - 1,
                            low0[g], high0[g]);
            for (int a = 1; a < 3; a++)
                clean_boxes(w, p, a, w.at[a], w.at[a] + (1 << p.q_log[a]) - 1, low[a], high[a]);
            hop_bar_wait(hop_shared(&c->q_empty), q_phase);
            q_phase ^= 1;
            hop_bar_expect(hop_shared(&c->q_full), sizes<D, N>::Q);
            for (int d = 0; d < D / CHUNK; d++)
                hop_load_box(q_tiles + d * HOPPER_QUERIES * CHUNK * 2, &p.q, hop_shared(&c->q_full),
                             d * CHUNK, w.at[2], w.at[1], w.at[0], w.head);
        }
#pragma unroll 1
        for (int i = 0; i < w.lists; i++) {
            hop_bar_wait(r.full + 16 * S + r.stage * 8, r.phase ^ 1);
            if (keys)
                c->box[r.stage] = make_int4(0, 0, 0, min(p.extra - i * N, N) << 16 | LIST << 24);
            load_keys<D, N>(r, list, skip, 0, 0, i * N, kv);
        }
#pragma unroll 1
        for (int i0 = 0; i0 < w.n[0]; i0++)
#pragma unroll 1
            for (int i1 = 0; i1 < w.n[1]; i1++)
#pragma unroll 1
                for (int i2 = 0; i2 < w.n[2]; i2++) {
                    int b0 = i0 * p.k_box[0], b1 = i1 * p.k_box[1], b2 = i2 * p.k_box[2];
                    hop_bar_wait(r.full + 16 * S + r.stage * 8, r.phase ^ 1);
                    if (keys) {
                        bool clean = i1 >= low[1] && i1 < high[1] && i2 >= low[2] && i2 < high[2];
                        int flags = (clean && i0 >= low0[0] && i0 < high0[0] ? CLEAN : 0) |
                                    (clean && i0 >= low0[1] && i0 < high0[1] ? CLEAN << 1 : 0);
                        int much = min(w.end[0] - b0, p.k_box[0]) |
                                   min(w.end[1] - b1, p.k_box[1]) << 8 |
                                   min(w.end[2] - b2, p.k_box[2]) << 16;
                        c->box[r.stage] = make_int4(b0, b1, b2, much | flags << 24);
                    }
                    load_keys<D, N>(r, map, skip, w.from[0] + b0, w.from[1] + b1, w.from[2] + b2,
                                    kv);
                }
    }
}

/* ---- consumers
 * ---------------------------------------------------------------------------------------- */

/* What a thread knows of its rows r and r + 8. */
struct rows {
    uint32_t span[2][3]; /* first key | end << 16, from the item's first; 0xffff: no end */
    float top[2],
        sum[2]; /* maximum of raw logits that weights refer to; sum of this thread's weights */
};

static __device__ void rows_begin(rows &r, const work &w, const hopper_args &p, int row)
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int at[3], x = row + 8 * i;
        at[2] = x & ((1 << p.q_log[2]) - 1);
        x >>= p.q_log[2];
        at[1] = x & ((1 << p.q_log[1]) - 1);
        at[0] = x >> p.q_log[1];
#pragma unroll
        for (int a = 0; a < 3; a++) {
            int2 s = span_of(w, p, a, min(w.at[a] + at[a], p.nq[a] - 1));
            r.span[i][a] = (uint32_t)(s.x - w.from[a]) | (uint32_t)min(s.y - w.from[a], 0xffff)
                                                             << 16;
        }
        r.top[i] = -INFINITY;
        r.sum[i] = 0;
    }
}

/* bits low .. high - 1; none if high <= low */
static __device__ __forceinline__ uint32_t run_of_bits(int low, int high)
{
    return (1u << max(low, high)) - (1u << low);
}

/* Which groups of 8 columns of a box rows r and r + 8 see: bit g of sees[row][e] is column 8 g + t % 4 * 2 + e.
 * box: see control. */
static __device__ __forceinline__ void see(uint32_t (&sees)[2][2], const rows &r, const hopper_args &p, int4 box)
{
    const int lane = threadIdx.x & 3, base[3] = {box.x, box.y, box.z};
    if (box.w >> 24 & LIST) {
        int n = box.w >> 16 & 0xff;
        sees[0][0] = sees[1][0] = run_of_bits(0, (n - 2 * lane + 7) >> 3);
        sees[0][1] = sees[1][1] = run_of_bits(0, (n - 2 * lane + 6) >> 3);
        return;
    }
    const int down = p.fine ? lane >> 1 : 0, across = p.fine ? 2 * lane & 3 : 2 * lane;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int low[3], high[3];
#pragma unroll
        for (int a = 0; a < 3; a++) {
            int most = box.w >> 8 * a & 0xff, first = r.span[i][a] & 0xffff, end = r.span[i][a] >> 16;
            low[a] = max(min(first - base[a], most), 0);
            high[a] = max(end == 0xffff ? most : min(end - base[a], most), 0);
        }
        uint32_t both = run_of_bits(low[0] * p.groups_slab, high[0] * p.groups_slab) &
                        run_of_bits(((low[1] - down + p.fine) >> p.fine) * p.groups_x,
                                    ((high[1] - down + p.fine) >> p.fine) * p.groups_x) *
                            p.repeat_y;
#pragma unroll
        for (int e = 0; e < 2; e++)
            sees[i][e] = both & run_of_bits((low[2] - across + 7 - e) >> 3, (high[2] - across + 7 - e) >> 3) * p.repeat_x;
    }
}

/* Logits of keys that a row does not see become -infinity. Bits of a word one after the other: the compiler
 * moves seven at a time to predicates. */
template <int N> static __device__ __forceinline__ void mask(float (&s)[N / 2], const uint32_t (&sees)[2][2])
{
#pragma unroll
    for (int e = 0; e < 4; e++)
#pragma unroll
        for (int g = 0; g < N / 8; g++)
            if (!(sees[e >> 1][e & 1] & 1u << g))
                s[4 * g + e] += -INFINITY;
}

/* Logits to weights, 2^(scale2 (s - top)); true: tops grew, and what was summed before must shrink
 * by `shrink`. The same for all lanes of a warp. */
template <int N>
static __device__ __forceinline__ bool weigh(float (&s)[N / 2], rows &r, float scale2,
                                             float (&shrink)[2])
{
    float top[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float even = s[2 * i], odd = s[2 * i + 1];
#pragma unroll
        for (int g = 1; g < N / 8; g++) {
            even = fmaxf(even, s[4 * g + 2 * i]);
            odd = fmaxf(odd, s[4 * g + 2 * i + 1]);
        }
        top[i] = fmaxf(r.top[i], fmaxf(even, odd)); /* of this thread's columns */
    }
    bool grew = __any_sync(~0u, (top[0] - r.top[0]) * scale2 > GROWTH ||
                                    (top[1] - r.top[1]) * scale2 > GROWTH);
    if (grew) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            top[i] = fmaxf(top[i], __shfl_xor_sync(~0u, top[i], 1));
            top[i] = fmaxf(top[i], __shfl_xor_sync(~0u, top[i], 2));
            shrink[i] = top[i] == -INFINITY ? 1 : hop_exp2((r.top[i] - top[i]) * scale2);
            r.top[i] = top[i];
            r.sum[i] *= shrink[i];
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float from = r.top[i] == -INFINITY ? 0 : r.top[i] * scale2, even = 0, odd = 0;
#pragma unroll
        for (int g = 0; g < N / 8; g++) {
            even += s[4 * g + 2 * i] = hop_exp2(fmaf(s[4 * g + 2 * i], scale2, -from));
            odd += s[4 * g + 2 * i + 1] = hop_exp2(fmaf(s[4 * g + 2 * i + 1], scale2, -from));
        }
        r.sum[i] += even + odd;
    }
    return grew;
}

template <bool F16, int N>
static __device__ __forceinline__ void pack(uint32_t (&w)[N / 4], const float (&s)[N / 2])
{
#pragma unroll
    for (int i = 0; i < N / 4; i++)
        w[i] = hop_pack<F16>(s[2 * i], s[2 * i + 1]);
}

template <int D>
static __device__ __forceinline__ void shrink_sums(float (&o)[D / 2], const float (&by)[2])
{
#pragma unroll
    for (int i = 0; i < D / 2; i++)
        o[i] *= by[i >> 1 & 1];
}

/* S = Q K' of a stage; queued. Q from registers where they hold it, else from shared memory. */
template <bool F16, int D, int N>
static __device__ __forceinline__ void multiply_keys(float (&s)[N / 2], uint32_t q,
                                                     const uint32_t *q_regs, uint32_t k)
{
    uint64_t a = hop_desc_rows(q), b = hop_desc_rows(k);
    hop_mma_fence();
#pragma unroll
    for (int i = 0; i < D / 16; i++) {
        uint64_t keys = hop_desc_on(b, i / 4 * N * CHUNK * 2 + i % 4 * 32);
        if constexpr (sizes<D, N>::Q_REGS)
            hop_mma_rows<F16, N>(s, q_regs + 4 * i, keys, i > 0);
        else
            hop_mma_rows<F16, N>(s, hop_desc_on(a, i / 4 * HOPPER_QUERIES * CHUNK * 2 + i % 4 * 32),
                                 keys, i > 0);
    }
    hop_mma_commit();
}

/* O += P V of a stage, or = ; queued */
template <bool F16, int D, int N>
static __device__ __forceinline__ void
multiply_values(float (&o)[D / 2], const uint32_t (&w)[N / 4], uint32_t v, bool keep)
{
    uint64_t b = hop_desc_columns(v, N * CHUNK * 2);
    hop_mma_fence();
#pragma unroll
    for (int i = 0; i < N / 16; i++)
        hop_mma_columns<F16, D>(o, &w[4 * i], hop_desc_on(b, i * 2048), i > 0 || keep);
    hop_mma_commit();
}

/* This warp has done with what the barrier guards; so it says to the other block too (peer 0:
 * none). */
static __device__ __forceinline__ void release(uint32_t bar, uint32_t peer)
{
    const int lane = threadIdx.x & 31;
    __syncwarp();
    if (lane == 0)
        hop_bar_arrive(bar);
    if (lane == 1 && peer)
        hop_bar_arrive_far(peer);
}

template <int S> static __device__ __forceinline__ void release_next(ring &r)
{
    release(r.full + 16 * S + r.stage * 8, r.peer ? r.peer + r.stage * 8 : 0);
    ring_next<S>(r);
}

/* n boxes that others need, keys and values by turns: they wait for this warpgroup with either. */
template <int S> static __device__ __forceinline__ void pass_over(ring &k, ring &v, int n)
{
#pragma unroll 1
    for (; n > 0; n--) {
        hop_bar_wait(k.full + k.stage * 8, k.phase);
        release_next<S>(k);
        hop_bar_wait(v.full + v.stage * 8, v.phase);
        release_next<S>(v);
    }
}

/* 4 x 4 words among the 4 lanes of a row: w[i] of lane j becomes w[j] of lane i. */
static __device__ __forceinline__ void turn(uint32_t (&w)[4])
{
    const bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        uint32_t in = __shfl_xor_sync(~0u, odd ? w[i] : w[i + 1], 1);
        (odd ? w[i] : w[i + 1]) = in;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t in = __shfl_xor_sync(~0u, high ? w[i] : w[i + 2], 2);
        (high ? w[i] : w[i + 2]) = in;
    }
}

template <bool F16, int D>
static __device__ void finish(const float (&o)[D / 2], rows &r, const work &w, const hopper_args &p,
                              int row)
{
    const int lane = threadIdx.x & 3;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float sum = r.sum[i];
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        float part = 1 / sum;
        const int x = row + 8 * i;
        const int at[3] = {w.at[0] + (x >> (p.q_log[1] + p.q_log[2])),
                           w.at[1] + (x >> p.q_log[2] & ((1 << p.q_log[1]) - 1)),
                           w.at[2] + (x & ((1 << p.q_log[2]) - 1))};
        const bool there = at[0] < p.nq[0] && at[1] < p.nq[1] && at[2] < p.nq[2];
        char *to = p.out + at[0] * p.out_stride[0] + at[1] * p.out_stride[1] +
                   at[2] * p.out_stride[2] + w.head * p.out_stride[3];
#pragma unroll
        for (int g = 0; g < D / 8; g += 4) {
            uint32_t words[4];
#pragma unroll
            for (int e = 0; e < 4; e++)
                words[e] =
                    hop_pack<F16>(o[4 * (g + e) + 2 * i] * part, o[4 * (g + e) + 2 * i + 1] * part);
            turn(words);
            if (there && (g + lane) * 8 < p.dim_v)
                *(uint4 *)(to + (g + lane) * 16) =
                    make_uint4(words[0], words[1], words[2], words[3]);
        }
        if (p.lse && there && lane == 0)
            p.lse[at[0] * p.lse_stride[0] + at[1] * p.lse_stride[1] + at[2] * p.lse_stride[2] +
                  w.head * p.lse_stride[3]] = r.top[i] * p.scale + logf(sum);
    }
}

template <bool F16, int D, int N>
static __device__ void consume(const hopper_args &p, ring k, ring v, uint32_t q_tiles,
                               control<sizes<D, N>::STAGES> *c, int group, int rank)
{
    constexpr int S = sizes<D, N>::STAGES;
    const int row = group * ROWS + (threadIdx.x & 127) / 32 * 16 + (threadIdx.x & 31) / 4;
    const int mine = 1 + group, other = 2 - group;
    uint32_t q_phase = 0;
    float s[N / 2], o[D / 2], shrink[2];
    uint32_t weights[N / 4], q_regs[sizes<D, N>::Q_REGS + 1], sees[2][2];
    q_tiles += group * ROWS * CHUNK * 2;
    if (group == 1)
        hop_named_arrive(other, 2 * WARPGROUP);
#pragma unroll 1
    for (int item = blockIdx.x / p.clusters; item < p.items; item += gridDim.x / p.clusters) {
        work w;
        rows r;
        work_begin(w, p, item, rank, N);
        rows_begin(r, w, p, row);
        const need me = need_of(w, p, group), they = need_of(w, p, 1 - group);
        const bool active = me.end > me.first, turns = active && they.end > they.first;
        const int slab = w.n[1] * w.n[2];
        hop_bar_wait(hop_shared(&c->q_full), q_phase);
        q_phase ^= 1;
        if constexpr (sizes<D, N>::Q_REGS) {
            for (int i = 0; i < D / 16; i++)
                hop_load_a(q_regs + 4 * i, q_tiles + i / 4 * HOPPER_QUERIES * CHUNK * 2, i % 4);
            release(hop_shared(&c->q_empty), 0);
        }
        bool keep = false;
#pragma unroll 1
        for (int part = w.lists ? 0 : 1; part < 2; part++) { /* the lists, the raster */
            /* boxes: `before` to pass over, `own`, of which both warpgroups have [both, both_end), `after` */
            const int before = part == 0 ? 0 : me.first * slab, own = part == 0 ? w.lists : (me.end - me.first) * slab;
            const int both = part == 0 ? 0 : max(they.first - me.first, 0) * slab;
            const int both_end = !turns ? 0 : part == 0 ? own : (min(me.end, they.end) - me.first) * slab;
            if (!active) {
                pass_over<S>(k, v, part == 0 ? w.lists : w.n[0] * slab);
                continue;
            }
            pass_over<S>(k, v, before);
            bool turn = both == 0 && both_end > 0;
            hop_bar_wait(k.full + k.stage * 8, k.phase);
            if (turn)
                hop_named_wait(mine, 2 * WARPGROUP);
            multiply_keys<F16, D, N>(s, q_tiles, q_regs, k.tiles + k.stage * (int)sizes<D, N>::KEYS);
            if (turn)
                hop_named_arrive(other, 2 * WARPGROUP);
            int4 box = c->box[k.stage];
            bool masked = !(box.w >> 24 & CLEAN << group);
            if (masked)
                see(sees, r, p, box);
            hop_mma_wait<0>();
            release_next<S>(k);
            if (masked)
                mask<N>(s, sees);
            if (weigh<N>(s, r, p.scale2, shrink) && keep)
                shrink_sums<D>(o, shrink);
            pack<F16, N>(weights, s);
#pragma unroll 1
            for (int i = 1; i < own; i++) {
                turn = i >= both && i < both_end;
                hop_bar_wait(k.full + k.stage * 8, k.phase);
                if (turn)
                    hop_named_wait(mine, 2 * WARPGROUP);
                multiply_keys<F16, D, N>(s, q_tiles, q_regs, k.tiles + k.stage * (int)sizes<D, N>::KEYS);
                hop_bar_wait(v.full + v.stage * 8, v.phase);
                multiply_values<F16, D, N>(o, weights, v.tiles + v.stage * (int)sizes<D, N>::KEYS, keep);
                keep = true;
                if (turn)
                    hop_named_arrive(other, 2 * WARPGROUP);
                box = c->box[k.stage];
                masked = !(box.w >> 24 & CLEAN << group);
                if (masked)
                    see(sees, r, p, box);
                hop_mma_wait<1>();
                release_next<S>(k);
                if (masked)
                    mask<N>(s, sees);
                if (weigh<N>(s, r, p.scale2, shrink)) {
                    hop_mma_wait<0>();
                    shrink_sums<D>(o, shrink);
                }
                hop_mma_wait<0>();
                release_next<S>(v);
                pack<F16, N>(weights, s);
            }
            hop_bar_wait(v.full + v.stage * 8, v.phase);
            multiply_values<F16, D, N>(o, weights, v.tiles + v.stage * (int)sizes<D, N>::KEYS, keep);
            keep = true;
            hop_mma_wait<0>();
            release_next<S>(v);
            if (part == 1) {
                if (!sizes<D, N>::Q_REGS)
                    release(hop_shared(&c->q_empty), 0);
                finish<F16, D>(o, r, w, p, row);
                pass_over<S>(k, v, (w.n[0] - me.end) * slab);
            }
        }
        if (!active && !sizes<D, N>::Q_REGS)
            release(hop_shared(&c->q_empty), 0);
    }
}

template <bool F16, int D, int N>
static __global__ void __launch_bounds__(THREADS, 1) attend(const __grid_constant__ hopper_args p)
{
    constexpr int S = sizes<D, N>::STAGES;
    extern __shared__ __align__(1024) char memory[];
    control<S> *c = (control<S> *)(memory + sizes<D, N>::Q + 2 * S * sizes<D, N>::KEYS);
    const int group = __shfl_sync(~0u, threadIdx.x / WARPGROUP, 0); /* known to be uniform */
    const int rank = p.clusters == 2 ? (int)hop_cluster_rank() : 0;
    uint32_t q = hop_shared(memory), tiles = q + sizes<D, N>::Q;
    if (threadIdx.x == 0) {
        hop_bar_init(hop_shared(&c->q_full), 1);
        hop_bar_init(hop_shared(&c->q_empty), 8);
        for (int i = 0; i < S; i++)
            for (int x = 0; x < 2; x++) {
                hop_bar_init(hop_shared(&c->full[x][i]), 1);
                hop_bar_init(hop_shared(&c->empty[x][i]), 8 * p.clusters);
            }
        hop_bar_init_done();
    }
    hop_cluster_sync();
    ring k = {tiles, hop_shared(c->full[0]), 0, 0, 0}, v = k;
    v.tiles += S * (int)sizes<D, N>::KEYS;
    v.full = hop_shared(c->full[1]);
    if (p.clusters == 2) {
        k.peer = hop_far(hop_shared(c->empty[0]), rank ^ 1);
        v.peer = hop_far(hop_shared(c->empty[1]), rank ^ 1);
    }
    if (group == 0) {
        hop_regs_less<40>();
        if (threadIdx.x == 0)
            produce<D, N, true>(p, k, q, c, rank);
        else if (threadIdx.x == 32)
            produce<D, N, false>(p, v, q, c, rank);
        __syncwarp();
    } else {
        hop_regs_more<232>();
        consume<F16, D, N>(p, k, v, q, c, group - 1, rank);
    }
    hop_cluster_sync(); /* no block leaves while the other may still write to it */
}

/* ---- host
 * -------------------------------------------------------------------------------------------------
 */

/* The map of rows (head, loop axes, channel) that loads boxes of so many rows and 64 channels. */
static bool make_map(CUtensorMap *map, const cuda_device *gpu, bool f16, const hopper_rows *s,
                     int64_t batch, const int n[3], int heads, int dim, const int order[3],
                     const int box[3])
{
    cuuint64_t size[5] = {(cuuint64_t)dim, 0, 0, 0, (cuuint64_t)heads}, stride[4];
    cuuint32_t part[5] = {CHUNK, 0, 0, 0, 1}, one[5] = {1, 1, 1, 1, 1};
    for (int a = 0; a < 3; a++) {
        size[3 - a] = (cuuint64_t)n[order[a]];
        part[3 - a] = (cuuint32_t)box[a];
        stride[2 - a] = n[order[a]] > 1 ? (cuuint64_t)s->stride[order[a]] * 2 : 16;
    }
    stride[3] = heads > 1 ? (cuuint64_t)s->stride[3] * 2 : 16;
    return gpu->encode_tiled(
               map, f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 5,
               s->data + batch * s->batch * 2, size, stride, part, one,
               CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
               CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

static bool make_maps(hopper_args *g, const attn_job *j, const hopper_job *h, const hopper_shape *s,
                      const cuda_device *gpu, int64_t b)
{
    const oriel_attn *a = &j->a;
    const int as_is[3] = {0, 1, 2}, n[3] = {1, 1, a->extra},
              box[3] = {1, 1, s->k[0] * s->k[1] * s->k[2]};
    const bool f16 = a->dtype == ORIEL_F16;
    return make_map(&g->q, gpu, f16, &h->q, b, h->nq, a->heads, a->dim, s->order, s->q) &&
           make_map(&g->k, gpu, f16, &h->k, b, h->nk, a->kv_heads, a->dim, s->order, s->k) &&
           make_map(&g->v, gpu, f16, &h->v, b, h->nk, a->kv_heads, a->dim_v, s->order, s->k) &&
           (!a->extra ||
            (make_map(&g->extra_k, gpu, f16, &h->extra_k, b, n, a->kv_heads, a->dim, as_is, box) &&
             make_map(&g->extra_v, gpu, f16, &h->extra_v, b, n, a->kv_heads, a->dim_v, as_is,
                      box)));
}

/* Heads in the order of their work, most first. */
static void order_heads(hopper_args *g, const hopper_job *h, int heads)
{
    double much[HOPPER_WINDOWS];
    for (int w = 0; w < h->windows; w++) {
        much[w] = 1;
        for (int x = 0; x < 3; x++) {
            const hopper_span *span = (const hopper_span *)h->span + w * h->spans + h->at[x];
            double sum = 0;
            for (int i = 0; i < (h->whole[x] ? 1 : h->nq[x]); i++)
                sum += span[i][1] - span[i][0];
            much[w] *= sum;
        }
    }
    for (int i = 0; i < heads; i++) {
        int to = i;
        for (; to > 0 && much[g->window[to - 1]] < much[h->window[i]]; to--) {
            g->head[to] = g->head[to - 1];
            g->window[to] = g->window[to - 1];
        }
        g->head[to] = (unsigned char)i;
        g->window[to] = (unsigned char)h->window[i];
    }
}

static void fill_boxes(hopper_args *g, const hopper_job *h, const hopper_shape *s)
{
    g->fine = s->k[2] == 4;
    g->groups_x = g->fine ? 1 : s->k[2] / 8;
    g->groups_slab = g->groups_x * (g->fine ? s->k[1] / 2 : s->k[1]);
    for (int i = 0; i < 32; i += g->groups_x)
        g->repeat_x |= 1u << i;
    for (int i = 0; i < 32; i += g->groups_slab)
        g->repeat_y |= 1u << i;
    for (int a = 0; a < 3; a++) {
        int x = s->order[a];
        g->nq[a] = h->nq[x];
        g->k_box[a] = s->k[a];
        while (1 << g->q_log[a] < s->q[a])
            g->q_log[a]++;
        g->item_log[a] = g->q_log[a] + (s->clusters == 2 && a == s->along);
        g->tiles[a] = (int)oriel_ceil_div(g->nq[a], 1 << g->item_log[a]);
        g->span_at[a] = h->at[x];
        g->span_step[a] = !h->whole[x];
        g->out_stride[a] = h->out.stride[x] * 2;
        g->lse_stride[a] = h->lse.stride[x];
    }
    g->clusters = s->clusters;
    g->along = s->along;
    g->span_all = h->spans;
    g->out_stride[3] = h->out.stride[3] * 2;
    g->lse_stride[3] = h->lse.stride[3];
}

/* Instances: heads of D channels, N keys a box. */
#define INSTANCES(X) X(64, 128) X(64, 176) X(128, 96) X(128, 112) X(128, 128) X(128, 144)

template <bool F16, int D, int N>
static cudaError_t launch(const hopper_args *g, int sms, cudaStream_t stream)
{
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = (unsigned)g->clusters;
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    config.gridDim = dim3((unsigned)(oriel_min(g->items, sms / g->clusters) * g->clusters));
    config.blockDim = dim3(THREADS);
    config.dynamicSmemBytes = sizes<D, N>::BYTES;
    config.stream = stream;
    config.attrs = &cluster;
    config.numAttrs = 1;
    cudaError_t e = cudaFuncSetAttribute(
        attend<F16, D, N>, cudaFuncAttributeMaxDynamicSharedMemorySize, sizes<D, N>::BYTES);
    if (e == cudaSuccess &&
        g->clusters > 1) { /* as many as run at once: a few more would take as long again */
        int at_once = 0;
        e = cudaOccupancyMaxActiveClusters(&at_once, attend<F16, D, N>, &config);
        config.gridDim.x = (unsigned)(oriel_min(g->items, at_once) * g->clusters);
    }
    if (e == cudaSuccess)
        e = cudaLaunchKernelEx(&config, attend<F16, D, N>, *g);
    return e == cudaSuccess ? cudaGetLastError() : e;
}

static cudaError_t launch_instance(const hopper_args *g, bool f16, int dim, int keys, int sms,
                                   cudaStream_t stream)
{
#define LAUNCH(D, N)                                                                               \
    if (dim == D && keys == N)                                                                     \
        return f16 ? launch<true, D, N>(g, sms, stream) : launch<false, D, N>(g, sms, stream);
    INSTANCES(LAUNCH)
#undef LAUNCH
    return cudaErrorInvalidValue;
}

static int padded_dim(const attn_job *j)
{
    return j->a.dim <= 64 && j->a.dim_v <= 64 ? 64 : 128;
}

/* ---- plans are kept: they cost as much as a small launch ---- */

enum { PLANS = 16 };
typedef struct kept_plan {
    uint64_t key;
    hopper_shape shape;
} kept_plan;
static thread_local kept_plan kept[PLANS];
static thread_local int kept_next;

static uint64_t hash(uint64_t h, const void *p, size_t bytes) /* FNV-1a */
{
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ ((const unsigned char *)p)[i]) * 0x100000001b3ull;
    return h;
}

/* The best shape of all instances. A wrong one, were two keys the same, would be slow, not wrong.
 */
static oriel_status choose_shape(hopper_shape *best, const hopper_job *h, int dim, int sms)
{
    uint64_t key = hash(0xcbf29ce484222325ull, h->span,
                        sizeof *h->span * (size_t)h->spans * (size_t)h->windows);
    const int others[] = {h->nq[0], h->nq[1], h->nq[2], h->nk[0], h->nk[1],
                          h->nk[2], h->extra, dim,      sms};
    key = hash(hash(key, others, sizeof others), h->heads, sizeof h->heads);
    for (int i = 0; i < PLANS; i++)
        if (kept[i].key == key) {
            *best = kept[i].shape;
            return ORIEL_OK;
        }
    best->cycles = 1e300;
#define TRY(D, N)                                                                                  \
    if (dim == D) {                                                                                \
        hopper_shape s;                                                                            \
        oriel_status e = hopper_plan(&s, h, dim, N, sms);                                          \
        if (e)                                                                                     \
            return e;                                                                              \
        if (s.cycles < best->cycles)                                                               \
            *best = s;                                                                             \
    }
    INSTANCES(TRY)
#undef TRY
    kept[kept_next] = kept_plan{key, *best};
    kept_next = (kept_next + 1) % PLANS;
    return ORIEL_OK;
}

/* Queue a job cut to a shape, one launch a batch item. spans: h's table on the GPU. */
static oriel_status queue(const attn_job *j, const hopper_job *h, const hopper_shape *s,
                          const int2 *spans, const cuda_device *gpu)
{
    for (int b = 0; b < j->a.batch; b++) {
        hopper_args g = {};
        fill_boxes(&g, h, s);
        order_heads(&g, h, j->a.heads);
        if (!make_maps(&g, j, h, s, gpu, b))
            return oriel_fail(ORIEL_E_DEVICE,
                              "cuda: attention, hopper: the driver refuses a tensor map");
        g.out = h->out.data + b * h->out.batch * 2;
        g.lse = h->lse.data ? (float *)h->lse.data + b * h->lse.batch : NULL;
        g.items = j->a.heads * g.tiles[0] * g.tiles[1] * g.tiles[2];
        g.group = j->a.heads / j->a.kv_heads;
        g.dim_v = j->a.dim_v;
        g.extra = j->a.extra;
        g.scale = j->a.scale;
        g.scale2 = j->a.scale * 1.44269504f;
        g.spans = spans;
        cudaError_t e = launch_instance(&g, j->a.dtype == ORIEL_F16, padded_dim(j),
                                        s->k[0] * s->k[1] * s->k[2], gpu->sms, gpu->stream);
        if (e)
            return cuda_fail(e, "cuda: attention, hopper");
    }
    return ORIEL_OK;
}

/* The raster's queries (text 0), the text's (1). */
static oriel_status run(const attn_job *j, oriel_device *dev)
{
    hopper_job h[2] = {};
    size_t bytes[2] = {0, 0};
    char *gpu = NULL;
    oriel_status s = ORIEL_OK;
    int n = j->a.text ? 2 : 1;
    for (int i = 0; i < n && !s; i++) {
        s = hopper_job_new(&h[i], j, i);
        bytes[i] = sizeof(hopper_span) * (size_t)h[i].spans * (size_t)h[i].windows;
    }
    if (!s)
        s = cuda_scratch(dev, (void **)&gpu, bytes[0] + bytes[1]);
    for (int i = n - 1; i >= 0 && !s; i--) { /* text first: few blocks, each with many keys */
        hopper_shape shape = {};
        if ((s = cuda_put(dev, gpu, h[i].span, bytes[i])) ||
            (s = choose_shape(&shape, &h[i], padded_dim(j), dev->cuda->sms)))
            break;
        s = queue(j, &h[i], &shape, (const int2 *)gpu, dev->cuda);
        gpu += bytes[i];
    }
    for (int i = 0; i < n; i++)
        hopper_job_free(&h[i]);
    return s;
}

static const char *reject(const attn_job *j, const cuda_device *gpu)
{
    if (gpu->arch != 90 || !gpu->encode_tiled)
        return "no GPU of compute capability 9.0";
    if (j->a.dtype != ORIEL_F16 && j->a.dtype != ORIEL_BF16)
        return "dtype is not f16 or bf16";
    if (j->a.dim > 128 || j->a.dim_v > 128)
        return "dim is over 128";
    return hopper_job_refuse(j);
}

extern "C" const attn_cuda_impl attn_cuda_hopper = {"hopper", reject, run};
