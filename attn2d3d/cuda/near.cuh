/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two kernels for small neighbourhoods share: a warp's arithmetic, the bias by offset, and which problems
 * they are given. Keys come in stages of two rows of the map, [k, v][2][row] rows of D elements (small.cuh).
 *
 * A warp has 2 x 8 queries, rows of fragments: query (y, x) is row x, (y + 1, x) is row 8 + x; where the map has
 * one row, 1 x 16. Products begin from 0 or HIDDEN, made once: where along x a query sees a key is the same in all
 * rows. Softmax is in registers, weights are rounded to 16 bits, sums are in fp32 and rescaled only when a logit
 * exceeds the reference by more than 8 in powers of two.
 */
#ifndef ATTN2D3D_CUDA_NEAR_CUH
#define ATTN2D3D_CUDA_NEAR_CUH

#include <cuda_runtime.h>

#include "attn2d3d/cuda/attn_cuda.h"
#include "attn2d3d/cuda/small.cuh"

enum {
    KEYS_MAX = 512,    /* of a window */
    EXTENT_MAX = 4096, /* of an axis */
    TABLE_MAX = 8192,  /* offsets of a bias */
    COLUMNS = 3, /* groups of eight keys of a row, at a time */
    LSE = 4      /* q, k, v, out, lse: the tensors, in this order */
};
#define HIDDEN (-1e30f) /* a product that does not count: its weight is 0 */
#define LOWEST (-1e20f) /* what references are at least, in powers of two */
#define LOG2E 1.4426950408889634f

typedef struct near_args {
    const uint16_t *q, *k, *v;
    uint16_t       *out;
    float          *lse;          /* or NULL */
    const float    *bias;         /* or NULL: at offset 0 of head 0 */
    int64_t         stride[5][5]; /* of q, k, v, out, lse: b, t, y, x, h */
    int64_t         bias_stride[4];
    oriel_axis      axis[3];
    int             n[3];
    int             classes[3], boxes[3]; /* residue classes of y and x; boxes of the largest. t: 1, n */
    int             heads, shared_by;     /* H, H / Hkv */
    int             dim, width, out_width; /* D; elements of a copy */
    int             warps_y, warps_x;
    bool            flat;   /* a warp has 1 x 16 queries */
    int             row;    /* keys of a row of a stage, a multiple of 8 */
    int             reach[3]; /* offsets of the bias are less than this */
    float           scale;
} near_args;

/* ---- the bias ----------------------------------------------------------------------------- */

static __host__ __device__ inline int table_slack(const near_args &a) /* floats read, but not used, around the table */
{
    return 3 * (2 * a.reach[2] - 1) + 128;
}
static __host__ __device__ inline int table_floats(const near_args &a)
{
    return a.bias ? (2 * a.reach[0] - 1) * (2 * a.reach[1] - 1) * (2 * a.reach[2] - 1) + 2 * table_slack(a) : 0;
}

static __device__ void table_begin(const near_args &a, float *table, int head)
{
    int wx = 2 * a.reach[2] - 1, wy = 2 * a.reach[1] - 1, slack = table_slack(a), all = table_floats(a);
    for (int i = (int)threadIdx.x; i < all; i += (int)blockDim.x) {
        int at = i - slack, x = at % wx - a.reach[2] + 1, y = at / wx % wy - a.reach[1] + 1, t = at / wx / wy - a.reach[0] + 1;
        /* from place (at - middle) to place 0 */
        bool real = at >= 0 && i < all - slack;
        table[i] = real ? a.bias[head * a.bias_stride[0] - t * a.bias_stride[1] - y * a.bias_stride[2] - x * a.bias_stride[3]] / a.scale : 0;
    }
}

/* ---- a warp's queries --------------------------------------------------------------------- */

/* Row i (0 .. 15) of a warp: its query, counted from the box's first along y and x; may be none. */
static __device__ __forceinline__ int2 query_of(const near_args &a, int i)
{
    int warp = (int)threadIdx.x / 32, y = warp / a.warps_x, x = warp % a.warps_x;
    return a.flat ? make_int2(y, 16 * x + i) : make_int2(2 * y + (i >> 3), 8 * x + (i & 7));
}

/* A lane's two queries, in rows r and r + 8 of fragments, and what they have gathered. */
template <int DK> struct gathered {
    int   table[2]; /* index of the bias of key (frame 0, place 0, 2c) */
    float o[2 * DK][4], high[2], sum[2]; /* high: the reference, in powers of two */
};

/* (y, x): place of the box's first query */
template <int DK> static __device__ void gathered_begin(gathered<DK> &g, const near_args &a, int y, int x)
{
    int l = (int)threadIdx.x & 31, wx = 2 * a.reach[2] - 1;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int2 p = query_of(a, (l >> 2) + 8 * i);
        g.table[i] = table_floats(a) / 2 - (y + p.x) * wx - x - p.y + 2 * (l & 3);
        g.high[i] = LOWEST;
        g.sum[i] = 0;
    }
#pragma unroll
    for (int n = 0; n < 2 * DK; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            g.o[n][e] = 0;
}

/* Groups of eight keys of a row: HIDDEN where a lane's queries do not see. `x`: place of the first key. */
static __device__ __forceinline__ void hide(float (&from)[COLUMNS][4], int2 low, int2 high, int x)
{
    int l = (int)threadIdx.x & 31;
    int2 sees[2] = {low, high};
#pragma unroll
    for (int n = 0; n < COLUMNS; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int key = x + 8 * n + 2 * (l & 3) + (e & 1);
            from[n][e] = key >= sees[e >> 1].x && key < sees[e >> 1].y ? 0 : HIDDEN;
        }
}

/* Who of a warp's rows 0 .. 7 and 8 .. 15 of queries sees the keys of y and of y + 1: bit 2 key + query. */
static __device__ __forceinline__ int see(int2 low, int2 high, int y)
{
    int2 sees[2] = {low, high};
    int  bits = 0;
#pragma unroll
    for (int e = 0; e < 4; e++)
        bits |= (y + (e >> 1) >= sees[e & 1].x && y + (e >> 1) < sees[e & 1].y) << e;
    return bits;
}

/* ---- a step ------------------------------------------------------------------------------ */

/* Tile j of a step: two groups of the first row, two of the second, the third of each. */
static __device__ __forceinline__ constexpr int tile_row(int j)
{
    return j < 4 ? j >> 1 : j & 1;
}
static __device__ __forceinline__ constexpr int tile_column(int j)
{
    return j < 4 ? j & 1 : 2;
}

/* N tiles: fade what was gathered if a logit is above its reference by far; then logits become weights. */
template <int DK, int N> static __device__ __forceinline__ void weigh(gathered<DK> &g, float (&s)[N][4], float scale)
{
    float top[2] = {fmaxf(s[0][0], s[0][1]), fmaxf(s[0][2], s[0][3])};
    bool  more = false;
#pragma unroll
    for (int j = 1; j < N; j++)
#pragma unroll
        for (int i = 0; i < 2; i++)
            top[i] = fmaxf(top[i], fmaxf(s[j][2 * i], s[j][2 * i + 1]));
#pragma unroll
    for (int i = 0; i < 2; i++)
        more |= fmaf(top[i], scale, -g.high[i]) > 8;
    if (__any_sync(~0u, more))
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float high = fmaxf(g.high[i], row_high(top[i]) * scale), fade = power2(g.high[i] - high);
            g.high[i] = high;
            g.sum[i] *= fade;
#pragma unroll
            for (int n = 0; n < 2 * DK; n++) {
                g.o[n][2 * i] *= fade;
                g.o[n][2 * i + 1] *= fade;
            }
        }
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            s[j][2 * i] = power2(fmaf(s[j][2 * i], scale, -g.high[i]));
            s[j][2 * i + 1] = power2(fmaf(s[j][2 * i + 1], scale, -g.high[i]));
            g.sum[i] += s[j][2 * i] + s[j][2 * i + 1];
        }
}

/* Keys of two rows of the map, y and y + 1, two (N 4) or three (N 6) groups from `k_at` on; who: see(). */
template <bool BF16, int DK, int N>
static __device__ __forceinline__ void step(const near_args &a, gathered<DK> &g, const uint32_t (&q)[DK][4], const float (&from)[COLUMNS][4],
                                            uint32_t k_at, int who, const float *table)
{
    float    s[N][4], scale = a.scale * LOG2E;
    uint32_t f[4], below = (uint32_t)(a.row * rows<DK>::PITCH), v_at = k_at + 2 * below;
    int      l = (int)threadIdx.x & 31, in_k = l >> 4, in_v = l >> 3 & 1; /* which tile of a pair the lane names a row of */
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            s[j][e] = from[tile_column(j)][e];
    if (table)
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                s[j][e] += table[g.table[e >> 1] + tile_row(j) * (2 * a.reach[2] - 1) + 8 * tile_column(j) + (e & 1)];
#pragma unroll
    for (int k = 0; k < DK; k++)
#pragma unroll
        for (int j = 0; j < N; j += 2) {
            uint32_t pair = j < 4 ? (j >> 1) * below + in_k * 8 * rows<DK>::PITCH : in_k * below + 16 * rows<DK>::PITCH;
            load4(f, k_at + pair + rows<DK>::at(l & 7, 2 * k + (l >> 3 & 1)));
            mma<BF16>(s[j], q[k], f[0], f[1], s[j]);
            mma<BF16>(s[j + 1], q[k], f[2], f[3], s[j + 1]);
        }
    if (who != 15)
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                s[j][e] = who >> (2 * tile_row(j) + (e >> 1)) & 1 ? s[j][e] : HIDDEN;
    weigh<DK, N>(g, s, scale);
#pragma unroll
    for (int j = 0; j < N; j += 2) {
        uint32_t p[4] = {pack<BF16>(s[j][0], s[j][1]), pack<BF16>(s[j][2], s[j][3]), pack<BF16>(s[j + 1][0], s[j + 1][1]),
                         pack<BF16>(s[j + 1][2], s[j + 1][3])};
        uint32_t pair = j < 4 ? (j >> 1) * below + in_v * 8 * rows<DK>::PITCH : in_v * below + 16 * rows<DK>::PITCH;
#pragma unroll
        for (int n = 0; n < 2 * DK; n += 2) {
            load4_turned(f, v_at + pair + rows<DK>::at(l & 7, n + (l >> 4)));
            mma<BF16>(g.o[n], p, f[0], f[1], g.o[n]);
            mma<BF16>(g.o[n + 1], p, f[2], f[3], g.o[n + 1]);
        }
    }
}

/* O over the sums to 16 rows in shared memory. */
template <bool BF16, int DK> static __device__ __forceinline__ void results(gathered<DK> &g, uint32_t at)
{
    int l = (int)threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        g.sum[i] = row_sum(g.sum[i]);
        float one = __frcp_rn(g.sum[i]);
#pragma unroll
        for (int n = 0; n < 2 * DK; n++)
            asm volatile("st.shared.u32 [%0], %1;" ::"r"(at + rows<DK>::at((l >> 2) + 8 * i, n) + 4 * (l & 3)),
                         "r"(pack<BF16>(g.o[n][2 * i] * one, g.o[n][2 * i + 1] * one))
                         : "memory");
    }
}
template <int DK> static __device__ __forceinline__ float result_lse(const gathered<DK> &g, int i)
{
    return (g.high[i] + __log2f(g.sum[i])) * (1 / LOG2E);
}

/* ---- on the host -------------------------------------------------------------------------- */

static void tensors_of(near_args *w, const oriel_attn_io *io)
{
    const oriel_tensor *t[5] = {&io->q, &io->k, &io->v, &io->out, &io->lse};
    for (int i = 0; i < 5; i++)
        for (int x = 0; x < 5; x++)
            w->stride[i][x] = t[i]->data ? t[i]->stride[x] : 0;
    w->q = (const uint16_t *)io->q.data;
    w->k = (const uint16_t *)io->k.data;
    w->v = (const uint16_t *)io->v.data;
    w->out = (uint16_t *)io->out.data;
    w->lse = (float *)io->lse.data;
    w->width = copy_width(&io->v, copy_width(&io->k, copy_width(&io->q, 8)));
    w->out_width = copy_width(&io->out, 8);
    if (io->bias.data) {
        w->bias = (const float *)io->bias.data;
        for (int x = 0; x < 4; x++) {
            w->bias_stride[x] = io->bias.stride[x];
            w->bias += x ? io->bias.shape[x] / 2 * io->bias.stride[x] : 0;
        }
    }
}

/* The most keys that `queries` in a row of an axis see, from the first to the last, all of one class. */
static int64_t widest(const near_args *w, int axis, int queries)
{
    int most = 0, d = w->classes[axis], n = w->n[axis];
    for (int i = 0; i < n; i++) {
        int        last = i + (queries - 1) * d;
        oriel_span one = oriel_axis_span(w->axis[axis], n, i), end = oriel_axis_span(w->axis[axis], n, last < n ? last : i + (n - 1 - i) / d * d);
        int        keys = (end.first - one.first) / d + end.count;
        most = keys > most ? keys : most;
    }
    return most;
}

/* How the problem is cut for blocks of up to `warps`, but for shared memory; `blocks`: boxes of queries of all heads. */
static const char *near_plan(near_args *w, int64_t *blocks, const attn_job *j, int warps)
{
    const oriel_attn *a = &j->a;
    int64_t           keys = 1, offsets = 1;
    memset(w, 0, sizeof *w);
    tensors_of(w, j->io);
    w->heads = a->heads;
    w->shared_by = a->heads / a->kv_heads;
    w->dim = a->dim;
    w->scale = a->scale;
    for (int i = 0; i < 3; i++) {
        w->axis[i] = a->axis[i];
        w->n[i] = a->extent[i];
        if (w->n[i] > EXTENT_MAX)
            return "an axis of more than 4096 tokens";
        w->classes[i] = i && a->axis[i].kind == ORIEL_AXIS_NEIGHBOR && a->axis[i].dilation ? a->axis[i].dilation : 1;
        int64_t span = 0;
        for (int p = 0; p < w->n[i]; p++)
            span = oriel_max(span, oriel_axis_span(w->axis[i], w->n[i], p).count);
        keys *= span;
        if (keys > KEYS_MAX)
            return "a window has more than 512 keys";
    }
    for (int i = 0; i < 3 && w->bias; i++) {
        int far = 0, d = i ? w->classes[i] : a->axis[0].kind == ORIEL_AXIS_NEIGHBOR && a->axis[0].dilation ? a->axis[0].dilation : 1;
        for (int p = 0; p < w->n[i]; p++) {
            oriel_span s = oriel_axis_span(w->axis[i], w->n[i], p);
            far = (int)oriel_max(far, oriel_max((p - s.first) / d, (s.first - p) / d + s.count - 1));
        }
        w->reach[i] = far + 1;
        offsets *= 2 * w->reach[i] - 1;
        if (offsets > TABLE_MAX)
            return "a bias by more than 8192 offsets";
    }
    int len[3];
    for (int i = 0; i < 3; i++)
        len[i] = (w->n[i] + w->classes[i] - 1) / w->classes[i];
    w->flat = len[1] == 1;
    int deep = w->flat ? 1 : 2, wide = w->flat ? 16 : 8;
    w->warps_x = len[2] > wide ? 2 : 1;
    w->warps_y = (int)oriel_min(warps / w->warps_x, (len[1] + deep - 1) / deep);
    if (w->flat)
        w->warps_x = (int)oriel_min(warps, (len[2] + wide - 1) / wide);
    w->boxes[1] = (len[1] + deep * w->warps_y - 1) / (deep * w->warps_y);
    w->boxes[2] = (len[2] + wide * w->warps_x - 1) / (wide * w->warps_x);
    int64_t row = oriel_round_up(widest(w, 2, wide * w->warps_x), 8);
    w->row = (int)row;
    *blocks = (int64_t)w->heads * w->boxes[2] * w->classes[2] * w->boxes[1] * w->classes[1] * w->n[0] * a->batch;
    if (*blocks > INT_MAX)
        return "more than 2^31 boxes of queries";
    return NULL;
}

#endif
