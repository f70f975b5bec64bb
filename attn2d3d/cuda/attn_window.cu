/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention in blocks of up to 256 tokens (Swin, SwinIR, HAT, ViTDet) in f16 and bf16, for sm_80 and later.
 *
 * Contract: reject() at the end. Axes are BLOCK or FULL, the same for all heads; D = Dv <= 96; bias by
 * offset or none. Tensors have any strides, but D is contiguous. A block cut by the border at the end of
 * an axis and the one at its beginning share a window where they fit, as Swin's roll does; who sees whom
 * follows from the law all the same.
 *
 * What bounds it: memory, up to blocks of 64 tokens; above, exponentials and bias. A thread block stays
 * with one group of heads and walks over windows; rows of q, k, v come by cp.async, as wide as addresses
 * allow, some windows ahead, and lie in shared memory as [head][slot][D], each head's row 16-byte aligned
 * whatever D. A warp has 16 (or 32) queries of one head. Products are mma.m16n8k16 that begin from the
 * bias, with sums in fp32; softmax is in registers, weights are rounded to 16 bits. Results replace q in
 * shared memory and leave it in whole rows.
 *
 * Two kernels. Up to 64 tokens all logits of a query lie in registers, and so does its bias, read once
 * for all windows. Above, keys come in steps of 32 with the bias from a table in shared memory, and sums
 * are rescaled only when a logit exceeds the reference by more than 8 in powers of two.
 */
#include <cuda_runtime.h>

#include "attn2d3d/cuda/attn_cuda.h"
#include "attn2d3d/cuda/small.cuh"

enum {
    DIM_MAX = 96,
    SMALL = 64,          /* tokens, at most, of the first kernel */
    LARGE = 256,         /* and of the second */
    SMALL_THREADS = 128, /* of a thread block at most */
    LARGE_THREADS = 256,
    STEP = 32,     /* keys of a step of the second kernel */
    STAGES = 4,    /* windows in shared memory at most */
    NOWHERE = 255, /* region of a slot without a token */
    LSE = 4        /* q, k, v, out, lse: the tensors, in this order */
};
#define HIDDEN (-1e30f) /* a product that does not count: its weight is 0 */
#define LOWEST (-1e20f) /* what references are at least, in powers of two */
#define LOG2E 1.4426950408889634f

/* Windows along an axis: blocks that begin at lead, lead + size, ...; the last may be cut. The `lead`
 * tokens before them are part of the last window (joined) or have one of their own behind it. */
typedef struct window_axis {
    int  n, size, lead, windows;
    bool joined;
} window_axis;

typedef struct window_args {
    const uint16_t *in[3]; /* q, k, v */
    uint16_t       *out;
    float          *lse;          /* or NULL */
    const float    *bias;         /* or NULL: at offset 0 of head 0 */
    int64_t         stride[5][5]; /* of q, k, v, out, lse: b, t, y, x, h */
    int64_t         bias_stride[4];
    int64_t         back[5][3]; /* from the end of an axis to its beginning: - n stride */
    window_axis     axis[3];
    int             windows; /* of all batch items */
    int             step[4]; /* from a window to the block's next: b, t, y, x, each less than its count */
    int             heads, shared_by;      /* H, H / Hkv */
    int             dim, width, out_width; /* D; elements of a copy */
    int             early, early_head;     /* elements that head 0 lies behind a multiple of 4, what a head adds; else 0 */
    int             group;                 /* heads of a thread block */
    int             row;         /* slots to a row of a window: its tokens, rounded up to 8 by the second kernel */
    int             slots, room; /* of a window; rows that are kept for them */
    bool            large;       /* the second kernel */
    bool            padded;      /* it has slots without tokens in each window */
    bool            alike;       /* q, k, v have the same strides */
    int             stages, threads;
    float           scale; /* more than 0 */
} window_args;

/* One window: where it lies, and whether some slot has no token or a token may not see all others. */
typedef struct place {
    int64_t at[5];    /* offset of its first token in q, k, v, out, lse; of head 0 */
    int     count[3]; /* along each axis: tokens from there, then `wrap` from the axis' beginning */
    int     wrap[3];
    int     ragged;
} place;

/* A window's number along b, t, y, x. */
typedef struct walker {
    int at[4];
} walker;

/* Shared memory of a thread block. */
typedef struct memory {
    uint32_t  rows;          /* [stage][q, k, v][group][room] rows */
    int       tensor, stage; /* bytes */
    int      *tile;          /* [room / 8]: what eight slots add to an index of the table, in bytes */
    place    *windows;       /* [stages + 1] */
    int      *at;            /* [5][room]: bytes from the window's first token to a slot's */
    uint32_t *local;         /* [room]: its place in the window, t, y, x in bytes; ~0: none */
    walker   *ahead;         /* at the window that is looked up next */
    float    *table;         /* bias of the head over scale by key - query, [2t - 1][2y - 1][2 row], twice */
    float    *lse;           /* [group][room] */
    uint8_t  *region;        /* [stage][room] */
} memory;

static __host__ __device__ inline int rows_bytes(const window_args &a, int pitch)
{
    return a.stages * 3 * a.group * a.room * pitch;
}
static __host__ __device__ inline int table_floats(const window_args &a) /* of one copy */
{
    return a.large ? (2 * a.axis[0].size - 1) * (2 * a.axis[1].size - 1) * 2 * a.row + 2 : 0;
}
/* The second copy is an odd number of floats behind, so that pairs at odd places are aligned there, and
 * half the banks away, since the lanes of a warp read both. */
static __host__ __device__ inline int table_second(const window_args &a)
{
    return a.large ? (table_floats(a) + 31) / 32 * 32 + 17 : 0;
}
static __host__ __device__ inline int memory_bytes(const window_args &a, int pitch)
{
    return rows_bytes(a, pitch) + (a.stages + 1) * (int)sizeof(place) + (int)sizeof(walker) + 5 * 4 * a.room + 4 * a.room + a.room / 2 +
           4 * (table_second(a) + table_floats(a)) + 4 * a.group * a.room + a.stages * a.room;
}

static __device__ memory memory_in(const window_args &a, uint8_t *base, int pitch)
{
    memory m;
    m.rows = shared_at(base);
    m.tensor = a.group * a.room * pitch;
    m.stage = 3 * m.tensor;
    m.tile = (int *)(base + rows_bytes(a, pitch));
    m.windows = (place *)(m.tile + a.room / 8);
    m.ahead = (walker *)(m.windows + a.stages + 1);
    m.at = (int *)(m.ahead + 1);
    m.local = (uint32_t *)(m.at + 5 * a.room);
    m.table = (float *)(m.local + a.room);
    m.lse = m.table + table_second(a) + table_floats(a);
    m.region = (uint8_t *)(m.lse + a.group * a.room);
    return m;
}

/* A place in the window as an index of the table, (t, y, x) of [2t - 1][2y - 1][2 row]. */
static __device__ int table_at(const window_args &a, int t, int y, int x)
{
    return (t * (2 * a.axis[1].size - 1) + y) * 2 * a.row + x;
}

/* What is the same for all windows. Rows begin as zeros: where D ends before a fragment, and in slots
 * without tokens, products must be finite. */
static __device__ void memory_begin(const window_args &a, const memory &m, uint8_t *base, int pitch, int head)
{
    int sy = a.axis[1].size, one = table_floats(a);
    for (int i = (int)threadIdx.x; i < rows_bytes(a, pitch) / 16; i += a.threads)
        ((uint4 *)base)[i] = make_uint4(0, 0, 0, 0);
    for (int i = (int)threadIdx.x; i < a.room; i += a.threads) {
        int s = i < a.slots ? i : 0, x = s % a.row, y = s / a.row % sy, t = s / a.row / sy;
        m.local[i] = i < a.slots && x < a.axis[2].size ? (uint32_t)(t | y << 8 | x << 16) : ~0u;
        for (int j = 0; j < 5; j++)
            m.at[j * a.room + i] = (j == LSE ? 4 : 2) * (int)(t * a.stride[j][1] + y * a.stride[j][2] + x * a.stride[j][3]);
        if (i % 8 == 0)
            m.tile[i / 8] = 4 * table_at(a, t, y, x);
    }
    for (int i = (int)threadIdx.x; i < one; i += a.threads) {
        /* from place (i - middle) to place 0; offsets that no two tokens have are not in the bias */
        int  x = i % (2 * a.row) - a.row + 1, y = i / (2 * a.row) % (2 * sy - 1) - sy + 1, t = i / (2 * a.row) / (2 * sy - 1) - a.axis[0].size + 1;
        bool real = a.bias && x < a.axis[2].size && -x < a.axis[2].size && t < a.axis[0].size;
        m.table[i] = real ? a.bias[head * a.bias_stride[0] - t * a.bias_stride[1] - y * a.bias_stride[2] - x * a.bias_stride[3]] / a.scale : 0;
        m.table[table_second(a) + i] = m.table[i];
    }
}

/* ---- where windows lie -------------------------------------------------------------------- */

static __device__ walker walker_at(const window_args &a, int window)
{
    walker w;
    for (int i = 2; i >= 0; i--) {
        w.at[1 + i] = window % a.axis[i].windows;
        window /= a.axis[i].windows;
    }
    w.at[0] = window;
    return w;
}
static __device__ void walker_next(walker *w, const window_args &a)
{
    int carry = 0;
#pragma unroll
    for (int i = 3; i > 0; i--) {
        w->at[i] += a.step[i] + carry;
        carry = w->at[i] >= a.axis[i - 1].windows;
        w->at[i] -= carry ? a.axis[i - 1].windows : 0;
    }
    w->at[0] += a.step[0] + carry;
}

/* By one warp, that walks on: lane j writes the offset in tensor j, lanes under 3 an axis each. */
static __device__ void window_make(place *w, const window_args &a, walker *ahead)
{
    int    lane = (int)threadIdx.x & 31, ragged = 0;
    walker at = *ahead;
    __syncwarp();
    if (lane == LSE + 1) {
        walker next = at;
        walker_next(&next, a);
        *ahead = next;
    }
    if (lane > LSE)
        return;
    int64_t sum = at.at[0] * a.stride[lane][0];
#pragma unroll
    for (int i = 0; i < 3; i++) {
        const window_axis &x = a.axis[i];
        int  start = x.lead + at.at[1 + i] * x.size, left = x.n - start;
        bool behind = left <= 0; /* the cut block that begins the axis */
        int  count = behind ? x.lead : left < x.size ? left : x.size;
        sum += behind ? 0 : start * a.stride[lane][1 + i];
        ragged |= count < x.size;
        if (lane == i) {
            w->count[i] = count;
            w->wrap[i] = x.joined && at.at[1 + i] == x.windows - 1 ? x.lead : 0;
        }
    }
    w->at[lane] = sum;
    if (lane == 0)
        w->ragged = ragged;
}

/* The region of a slot's token, which sees its own region alone: a bit an axis says that it lies at the
 * axis' beginning. NOWHERE without a token. */
static __device__ int region_of(const place &w, uint32_t local)
{
    int region = local == ~0u ? NOWHERE : 0;
#pragma unroll
    for (int i = 0; i < 3; i++) {
        int l = (int)(local >> 8 * i & 255);
        region |= l >= w.count[i] + w.wrap[i] ? NOWHERE : l >= w.count[i] ? 1 << i : 0;
    }
    return region;
}
/* What a region adds to the offsets of its tokens. */
static __device__ int64_t region_at(const window_args &a, int region, int tensor)
{
    int64_t at = 0;
#pragma unroll
    for (int i = 0; i < 3; i++)
        at += region >> i & 1 ? a.back[tensor][i] : 0;
    return at;
}

/* ---- copies ------------------------------------------------------------------------------- */

/* In rows, heads that begin at no multiple of 8 bytes, though tokens do, lie as they do in memory: behind
 * `early` elements, 0 or 2. Then one copy of a row, its first or its last, is of half the width. */
static __device__ __forceinline__ int early_of(const window_args &a, int head)
{
    return (a.early + head * a.early_head) & 2;
}

/* A thread's part: the copy at column d of rows of head h of the group, of slots first, first + step, ... */
typedef struct part {
    int  h, d, first, step, early;
    bool half;
} part;

/* It is found once, and kept in one register from window to window. */
static __device__ uint32_t part_of(const window_args &a, int width, int group_first)
{
    int  each = (a.dim + width - 1) / width, pieces = a.group * each, piece = (int)threadIdx.x % pieces, h = piece / each;
    int  step = a.threads / pieces, first = (int)threadIdx.x < step * pieces && group_first + h < a.heads ? (int)threadIdx.x / pieces : 511;
    int  early = early_of(a, group_first + h), d = piece % each * width;
    bool half = a.dim % width && (early ? d == 0 : d + width > a.dim);
    return (uint32_t)(h | (d ? d : early) << 4 | first << 11 | step << 20 | early << 29) | (uint32_t)half << 31;
}
static __device__ __forceinline__ part part_out(uint32_t packed)
{
    asm volatile("" : "+r"(packed)); /* what follows from it is not worth registers all the time */
    return part{(int)(packed & 15), (int)(packed >> 4 & 127), (int)(packed >> 11 & 511), (int)(packed >> 20 & 511), (int)(packed >> 29 & 2), packed >> 31 != 0};
}
/* Its place in a stage's tensor, but for the slot. */
template <int DK> static __device__ uint32_t part_row(const window_args &a, const part &p)
{
    return (uint32_t)(p.h * a.room * rows<DK>::PITCH + (p.d & 7) * 2);
}

/* Begin to copy a window's rows. */
template <int DK, int W>
static __device__ void bring(const window_args &a, const memory &m, const place &w, uint32_t to, const part &p, int head)
{
    const char *at[3];
    bool        look = w.ragged || a.padded;
    int         h = head + p.h, kv = a.shared_by == 1 ? h : h / a.shared_by;
    for (int j = 0; j < 3; j++)
        at[j] = (const char *)(a.in[j] + w.at[j] + (j ? kv : h) * a.stride[j][4] + p.d - p.early);
    to += part_row<DK>(a, p);
    for (int slot = p.first; slot < a.slots; slot += p.step) {
        int      region = look ? region_of(w, m.local[slot]) : 0, one = m.at[slot];
        int      off[3] = {one, a.alike ? one : m.at[a.room + slot], a.alike ? one : m.at[2 * a.room + slot]};
        uint32_t dst = to + rows<DK>::at(slot, p.d >> 3);
        if (region == 0) {
#pragma unroll
            for (int j = 0; j < 3; j++)
                copy_async<W>(dst + (uint32_t)(j * m.tensor), (const uint16_t *)(at[j] + off[j]), p.half);
        } else if (region != NOWHERE)
            for (int j = 0; j < 3; j++)
                copy_async<W>(dst + (uint32_t)(j * m.tensor), (const uint16_t *)(at[j] + off[j]) + region_at(a, region, j), p.half);
    }
}

template <int DK>
static __device__ void bring_any(const window_args &a, const memory &m, const place &w, int stage, uint32_t packed, int head)
{
    part     p = part_out(packed);
    uint32_t to = m.rows + (uint32_t)(stage * m.stage);
    if (w.ragged || a.padded)
        for (int i = (int)threadIdx.x; i < a.room; i += a.threads)
            m.region[stage * a.room + i] = (uint8_t)region_of(w, m.local[i]);
    if (a.width == 8)
        bring<DK, 8>(a, m, w, to, p, head);
    else if (a.width == 4)
        bring<DK, 4>(a, m, w, to, p, head);
    else if (a.width == 2)
        bring<DK, 2>(a, m, w, to, p, head);
    else
        bring<DK, 1>(a, m, w, to, p, head);
}

/* Write a window's results, which lie where q was. */
template <int DK, int W>
static __device__ void take(const window_args &a, const memory &m, const place &w, uint32_t from, const part &p, int head)
{
    char *to = (char *)(a.out + w.at[3] + (head + p.h) * a.stride[3][4] + p.d - p.early);
    bool      look = w.ragged || a.padded;
    from += part_row<DK>(a, p);
    for (int slot = p.first; slot < a.slots; slot += p.step) {
        int region = look ? region_of(w, m.local[slot]) : 0;
        if (region != NOWHERE)
            copy_out<W>((uint16_t *)(to + m.at[3 * a.room + slot]) + (region ? region_at(a, region, 3) : 0),
                        from + rows<DK>::at(slot, p.d >> 3), p.half);
    }
}

template <int DK>
static __device__ void take_any(const window_args &a, const memory &m, const place &w, int stage, uint32_t packed, int head)
{
    part     p = part_out(packed);
    uint32_t from = m.rows + (uint32_t)(stage * m.stage);
    if (a.out_width == 8)
        take<DK, 8>(a, m, w, from, p, head);
    else if (a.out_width == 4)
        take<DK, 4>(a, m, w, from, p, head);
    else if (a.out_width == 2)
        take<DK, 2>(a, m, w, from, p, head);
    else
        take<DK, 1>(a, m, w, from, p, head);
}

static __device__ void take_lse(const window_args &a, const memory &m, const place &w, int group_first)
{
    for (int i = (int)threadIdx.x; i < a.group * a.room; i += a.threads) {
        int slot = i % a.room, head = group_first + i / a.room, region = region_of(w, m.local[slot]);
        if (region != NOWHERE && head < a.heads)
            a.lse[w.at[LSE] + head * a.stride[LSE][4] + m.at[LSE * a.room + slot] / 4 + region_at(a, region, LSE)] = m.lse[i];
    }
}

/* ---- arithmetic of a warp ----------------------------------------------------------------- */

/* A lane's row r (and r + 8) and columns 2c and 2c + 1 of fragments, and the row and piece of 16 bytes
 * that it names to ldmatrix: for A and turned B, rows 0 .. 7, 8 .. 15, then the next piece; for B the
 * other way round. */
typedef struct lanes {
    int r, c, a_row, a_piece, b_row, b_piece;
} lanes;

static __device__ lanes lanes_of(void)
{
    int l = (int)threadIdx.x & 31;
    asm volatile("" : "+r"(l)); /* found anew for each window: cheaper than registers */
    return lanes{l >> 2, l & 3, (l & 7) + (l & 8), l >> 4, (l & 7) + (l >> 4) * 8, l >> 3 & 1};
}

/* O of 16 queries over their sums, to columns from `early` on of rows in shared memory, whose others stay
 * 0: were they NaN, so would be all windows that follow. And the sums' logarithms. `high` is in powers of two. */
template <bool BF16, int DK>
static __device__ void results(const float (&o)[2 * DK][4], const float (&high)[2], const float (&sum)[2], uint32_t q_rows,
                               float *lse, int row, const lanes &l, int early, int dim)
{
    __syncwarp(); /* all lanes have read q */
    uint32_t at = q_rows + (uint32_t)((row + l.r) * rows<DK>::PITCH + 4 * l.c);
    int      turn = rows<DK>::turn(l.r); /* of row + r and row + r + 8 too */
    float    one[2] = {sum[0] > 0 ? __frcp_rn(sum[0]) : 0, sum[1] > 0 ? __frcp_rn(sum[1]) : 0}; /* 0: no token */
#pragma unroll
    for (int n = 0; n < 2 * DK; n++)
#pragma unroll
        for (int i = 0; i < 2; i++)
            if ((unsigned)(8 * n + 2 * l.c - early) < (unsigned)dim)
                asm volatile("st.shared.u32 [%0], %1;" ::"r"(at + (uint32_t)(8 * i * rows<DK>::PITCH + ((n ^ turn) << 4))),
                         "r"(pack<BF16>(o[n][2 * i] * one[i], o[n][2 * i + 1] * one[i]))
                         : "memory");
    if (l.c == 0) {
        lse[row + l.r] = (high[0] + __log2f(sum[0])) * (1 / LOG2E);
        lse[row + l.r + 8] = (high[1] + __log2f(sum[1])) * (1 / LOG2E);
    }
}

/* ---- up to 64 tokens ---------------------------------------------------------------------- */

/* The bias of a warp's 16 queries and all keys, over scale; HIDDEN for keys that are none. */
static __device__ void bias_of(float (&bias)[8][4], const window_args &a, const memory &m, int head, int row, const lanes &l)
{
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int      key = 8 * n + 2 * l.c + (e & 1), query = row + l.r + 8 * (e >> 1);
            uint32_t q = m.local[query < a.slots ? query : 0], k = m.local[key < a.slots ? key : 0];
            int64_t  at = head * a.bias_stride[0];
            for (int i = 0; i < 3; i++)
                at += ((int)(q >> 8 * i & 255) - (int)(k >> 8 * i & 255)) * a.bias_stride[1 + i];
            bias[n][e] = key >= a.slots ? HIDDEN : a.bias ? a.bias[at] / a.scale : 0;
        }
}

/* A warp's 16 queries of head h of the group, from slot `row` on. */
template <bool BF16, int DK>
static __device__ void attend_small(const window_args &a, const memory &m, bool ragged, int stage, int h, int early, int row,
                                    const float (&bias)[8][4])
{
    const lanes l = lanes_of();
    uint32_t q_rows = m.rows + (uint32_t)(stage * m.stage + h * a.room * rows<DK>::PITCH), f[4], q[DK][4];
    uint32_t q_at = q_rows + (uint32_t)(row * rows<DK>::PITCH), k_at = q_rows + (uint32_t)m.tensor, v_at = k_at + (uint32_t)m.tensor;
    float    s[8][4], o[2 * DK][4], high[2] = {HIDDEN, HIDDEN}, sum[2] = {0, 0}, scale = a.scale * LOG2E;
#pragma unroll
    for (int k = 0; k < DK; k++)
        load4(q[k], q_at + rows<DK>::at(l.a_row, 2 * k + l.a_piece));
#pragma unroll
    for (int n = 0; n < 8; n += 2)
#pragma unroll
        for (int k = 0; k < DK; k++) {
            load4(f, k_at + rows<DK>::at(l.b_row, 2 * k + l.b_piece) + 8 * n * rows<DK>::PITCH);
            if (k) {
                mma<BF16>(s[n], q[k], f[0], f[1], s[n]);
                mma<BF16>(s[n + 1], q[k], f[2], f[3], s[n + 1]);
            } else {
                mma<BF16>(s[n], q[k], f[0], f[1], bias[n]);
                mma<BF16>(s[n + 1], q[k], f[2], f[3], bias[n + 1]);
            }
        }
    if (ragged) {
        const uint8_t *region = m.region + stage * a.room;
        int            mine[2] = {region[row + l.r], region[row + l.r + 8]};
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (region[8 * n + 2 * l.c + (e & 1)] != mine[e >> 1])
                    s[n][e] = HIDDEN;
    }
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            high[e >> 1] = fmaxf(high[e >> 1], s[n][e]);
    high[0] = fmaxf(row_high(high[0]) * scale, LOWEST);
    high[1] = fmaxf(row_high(high[1]) * scale, LOWEST);
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            s[n][e] = power2(fmaf(s[n][e], scale, -high[e >> 1]));
            sum[e >> 1] += s[n][e];
        }
    sum[0] = row_sum(sum[0]);
    sum[1] = row_sum(sum[1]);
#pragma unroll
    for (int n = 0; n < 2 * DK; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            o[n][e] = 0;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        uint32_t p[4] = {pack<BF16>(s[2 * k][0], s[2 * k][1]), pack<BF16>(s[2 * k][2], s[2 * k][3]),
                         pack<BF16>(s[2 * k + 1][0], s[2 * k + 1][1]), pack<BF16>(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
        for (int n = 0; n < 2 * DK; n += 2) {
            load4_turned(f, v_at + rows<DK>::at(l.a_row, n + l.a_piece) + 16 * k * rows<DK>::PITCH);
            mma<BF16>(o[n], p, f[0], f[1], o[n]);
            mma<BF16>(o[n + 1], p, f[2], f[3], o[n + 1]);
        }
    }
    results<BF16, DK>(o, high, sum, q_rows, m.lse + h * a.room, row, l, early, a.dim);
}

/* ---- up to 256 tokens --------------------------------------------------------------------- */

/* What MS x 16 queries of a warp have gathered. */
template <int DK, int MS> struct gathered {
    float o[MS][2 * DK][4], high[MS][2], sum[MS][2]; /* high: the reference, in powers of two */
};

/* Is a logit above its reference by far? Then new references, and what was gathered fades. */
template <int DK, int MS>
static __device__ __forceinline__ void refer(gathered<DK, MS> &g, const float (&s)[MS][4][4], float scale)
{
    bool  more = false;
    float top[MS][2];
#pragma unroll
    for (int i = 0; i < MS; i++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            top[i][e] = fmaxf(s[i][0][2 * e], s[i][0][2 * e + 1]);
#pragma unroll
            for (int n = 1; n < 4; n++)
                top[i][e] = fmaxf(top[i][e], fmaxf(s[i][n][2 * e], s[i][n][2 * e + 1]));
            more |= fmaf(top[i][e], scale, -g.high[i][e]) > 8;
        }
    if (!__any_sync(~0u, more))
        return;
#pragma unroll
    for (int i = 0; i < MS; i++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float high = fmaxf(g.high[i][e], row_high(top[i][e]) * scale), fade = power2(g.high[i][e] - high);
            g.high[i][e] = high;
            g.sum[i][e] *= fade;
#pragma unroll
            for (int n = 0; n < 2 * DK; n++) {
                g.o[i][n][2 * e] *= fade;
                g.o[i][n][2 * e + 1] *= fade;
            }
        }
}

/* A warp's MS x 16 queries from slot `row` on. */
template <bool BF16, int DK, int MS>
static __device__ void attend_large(const window_args &a, const memory &m, bool ragged, int stage, int early, int row)
{
    const lanes      l = lanes_of();
    uint32_t         q_rows = m.rows + (uint32_t)(stage * m.stage), f[4], q[MS][DK][4], table[MS][2];
    uint32_t         q_at = q_rows + (uint32_t)(row * rows<DK>::PITCH), k_at = q_rows + (uint32_t)m.tensor, v_at = k_at + (uint32_t)m.tensor;
    const uint8_t   *region = m.region + stage * a.room;
    gathered<DK, MS> g;
    float            scale = a.scale * LOG2E;
#pragma unroll
    for (int i = 0; i < MS; i++) {
#pragma unroll
        for (int k = 0; k < DK; k++)
            load4(q[i][k], q_at + rows<DK>::at(l.a_row, 2 * k + l.a_piece) + 16 * i * rows<DK>::PITCH);
#pragma unroll
        for (int n = 0; n < 2 * DK; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                g.o[i][n][e] = 0;
#pragma unroll
        for (int e = 0; e < 2; e++) { /* where key (0, 2c) is from this query; each pair of keys is aligned */
            int slot = row + 16 * i + l.r + 8 * e;
            int at = table_floats(a) / 2 - 2 - m.tile[slot / 8] / 4 - slot % 8 + 2 * l.c;
            table[i][e] = shared_at(m.table + at + (at & 1 ? table_second(a) : 0));
            g.high[i][e] = LOWEST;
            g.sum[i][e] = 0;
        }
    }
    for (int key = 0; key < a.room; key += STEP, k_at += STEP * rows<DK>::PITCH, v_at += STEP * rows<DK>::PITCH) {
        float s[MS][4][4];
        int4  tiles = *(const int4 *)(m.tile + key / 8);
        int   tile[4] = {tiles.x, tiles.y, tiles.z, tiles.w};
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
            for (int i = 0; i < MS; i++)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];"
                                 : "=f"(s[i][n][2 * e]), "=f"(s[i][n][2 * e + 1])
                                 : "r"(table[i][e] + (uint32_t)tile[n]));
#pragma unroll
        for (int n = 0; n < 4; n += 2)
#pragma unroll
            for (int k = 0; k < DK; k++) {
                load4(f, k_at + rows<DK>::at(l.b_row, 2 * k + l.b_piece) + 8 * n * rows<DK>::PITCH);
#pragma unroll
                for (int i = 0; i < MS; i++) {
                    mma<BF16>(s[i][n], q[i][k], f[0], f[1], s[i][n]);
                    mma<BF16>(s[i][n + 1], q[i][k], f[2], f[3], s[i][n + 1]);
                }
            }
        if (ragged || a.padded)
#pragma unroll
            for (int n = 0; n < 4; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
#pragma unroll
                    for (int i = 0; i < MS; i++)
                        if (region[key + 8 * n + 2 * l.c + (e & 1)] != region[row + 16 * i + l.r + 8 * (e >> 1)])
                            s[i][n][e] = HIDDEN;
        refer(g, s, scale);
        uint32_t p[MS][2][4];
#pragma unroll
        for (int i = 0; i < MS; i++)
#pragma unroll
            for (int n = 0; n < 4; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float x = power2(fmaf(s[i][n][2 * e], scale, -g.high[i][e]));
                    float y = power2(fmaf(s[i][n][2 * e + 1], scale, -g.high[i][e]));
                    g.sum[i][e] += x + y;
                    p[i][n >> 1][(n & 1) * 2 + e] = pack<BF16>(x, y);
                }
#pragma unroll
        for (int k = 0; k < 2; k++)
#pragma unroll
            for (int n = 0; n < 2 * DK; n += 2) {
                load4_turned(f, v_at + rows<DK>::at(l.a_row, n + l.a_piece) + 16 * k * rows<DK>::PITCH);
#pragma unroll
                for (int i = 0; i < MS; i++) {
                    mma<BF16>(g.o[i][n], p[i][k], f[0], f[1], g.o[i][n]);
                    mma<BF16>(g.o[i][n + 1], p[i][k], f[2], f[3], g.o[i][n + 1]);
                }
            }
    }
#pragma unroll
    for (int i = 0; i < MS; i++) {
        g.sum[i][0] = row_sum(g.sum[i][0]);
        g.sum[i][1] = row_sum(g.sum[i][1]);
        results<BF16, DK>(g.o[i], g.high[i], g.sum[i], q_rows, m.lse, row + 16 * i, l, early, a.dim);
    }
}

/* ---- the walk over windows ---------------------------------------------------------------- */

/* Bring a window `stages - 1` ahead, attend, write. The last warp finds
 * out where the one after lies. */
template <bool BF16, int DK, bool IS_LARGE>
static __global__ void __launch_bounds__(IS_LARGE ? LARGE_THREADS : SMALL_THREADS, IS_LARGE ? DK <= 2 ? 2 : 1 : DK <= 2 ? 4 : DK <= 4 ? 3 : 2)
    window_kernel(const __grid_constant__ window_args a)
{
    extern __shared__ __align__(128) uint8_t base[];
    constexpr int MS = IS_LARGE && DK <= 2 ? 2 : 1;
    const memory  m = memory_in(a, base, rows<DK>::PITCH);
    int           groups = (a.heads + a.group - 1) / a.group, head = (int)blockIdx.x % groups * a.group;
    int           each = (int)gridDim.x / groups, first = (int)blockIdx.x / groups, warp = (int)threadIdx.x / 32;
    int           strips = (a.slots + 16 * MS - 1) / (16 * MS), h = IS_LARGE ? 0 : warp / strips, row = warp % strips * 16;
    int           rounds = (a.windows - first + each - 1) / each, scout = a.threads / 32 - 1;
    bool          works = h < a.group && head + h < a.heads;
    uint32_t      in = part_of(a, a.width, head), out = part_of(a, a.out_width, head);
    float         bias[8][4];
    asm volatile("" : "+r"(h), "+r"(row)); /* divisions are not worth doing again */
    memory_begin(a, m, base, rows<DK>::PITCH, head);
    if ((int)threadIdx.x == 32 * scout)
        *m.ahead = walker_at(a, first);
    __syncwarp();
    for (int i = 0; warp == scout && i < a.stages; i++)
        window_make(&m.windows[i], a, m.ahead);
    __syncthreads();
    for (int i = 0; i < a.stages - 1; i++) {
        if (i < rounds)
            bring_any<DK>(a, m, m.windows[i], i, in, head);
        copies_commit();
    }
    if (!IS_LARGE && works)
        bias_of(bias, a, m, head + h, row, lanes_of());
    /* stage and place: of round i in rings of `stages` and `stages + 1` */
    for (int i = 0, stage = 0, place = 0; i < rounds; i++) {
        int next_stage = stage ? stage - 1 : a.stages - 1, free_place = place ? place - 1 : a.stages;
        int next_place = free_place ? free_place - 1 : a.stages;
        copies_wait(a.stages - 2);
        __syncthreads(); /* this window is here, and the one before was written */
        if (i + a.stages - 1 < rounds)
            bring_any<DK>(a, m, m.windows[next_place], next_stage, in, head);
        copies_commit();
        if (warp == scout)
            window_make(&m.windows[free_place], a, m.ahead);
        if (a.stages == 1) {
            copies_wait(0);
            __syncthreads();
        }
        bool ragged = m.windows[place].ragged;
        if (IS_LARGE)
            for (int s = warp; s < strips; s += a.threads / 32)
                attend_large<BF16, DK, MS>(a, m, ragged, stage, early_of(a, head), s * 16 * MS);
        else if (works)
            attend_small<BF16, DK>(a, m, ragged, stage, h, early_of(a, head + h), row, bias);
        __syncthreads();
        take_any<DK>(a, m, m.windows[place], stage, out, head);
        if (a.lse)
            take_lse(a, m, m.windows[place], head);
        stage = stage + 1 < a.stages ? stage + 1 : 0;
        place = place < a.stages ? place + 1 : 0;
    }
}

/* ---- on the host -------------------------------------------------------------------------- */

typedef void kernel_fn(const window_args);

template <bool LARGE_KERNEL, bool BF16> static kernel_fn *kernel_of_dim(int dim)
{
    return dim <= 16   ? window_kernel<BF16, 1, LARGE_KERNEL>
           : dim <= 32 ? window_kernel<BF16, 2, LARGE_KERNEL>
           : dim <= 48 ? window_kernel<BF16, 3, LARGE_KERNEL>
           : dim <= 64 ? window_kernel<BF16, 4, LARGE_KERNEL>
                       : window_kernel<BF16, 6, LARGE_KERNEL>;
}
static kernel_fn *kernel_of(bool large, bool bf16, int dim)
{
    return large ? bf16 ? kernel_of_dim<true, true>(dim) : kernel_of_dim<true, false>(dim)
           : bf16 ? kernel_of_dim<false, true>(dim) : kernel_of_dim<false, false>(dim);
}
static int pitch_of(int dim)
{
    return dim <= 16   ? rows<1>::PITCH
           : dim <= 32 ? rows<2>::PITCH
           : dim <= 48 ? rows<3>::PITCH
           : dim <= 64 ? rows<4>::PITCH
                       : rows<6>::PITCH;
}

static window_axis axis_of(const oriel_axis &axis, int n)
{
    oriel_span  first = oriel_axis_span(axis, n, 0), last = oriel_axis_span(axis, n, n - 1);
    window_axis x = {n, axis.kind == ORIEL_AXIS_BLOCK && axis.size ? axis.size : n, 0, 0, false};
    x.lead = first.count < x.size ? first.count : 0;
    x.windows = (n - x.lead + x.size - 1) / x.size;
    x.joined = x.lead && last.count + x.lead <= x.size;
    x.windows += x.lead && !x.joined;
    return x;
}

static void tensors_of(window_args *w, const oriel_attn_io *io)
{
    const oriel_tensor *t[5] = {&io->q, &io->k, &io->v, &io->out, &io->lse};
    for (int i = 0; i < 5; i++)
        for (int x = 0; x < 5; x++)
            w->stride[i][x] = t[i]->data ? t[i]->stride[x] : 0;
    for (int i = 0; i < 3; i++)
        w->in[i] = (const uint16_t *)t[i]->data;
    w->alike = !memcmp(w->stride[0], w->stride[1], 4 * sizeof(int64_t)) && !memcmp(w->stride[0], w->stride[2], 4 * sizeof(int64_t));
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

/* Rows that begin at multiples of 8 bytes, in which heads do not, in all four tensors alike: two elements
 * early where a head lies so, that copies may be twice as wide. */
static void begin_early(window_args *w, const oriel_attn_io *io)
{
    const oriel_tensor *t[4] = {&io->q, &io->k, &io->v, &io->out};
    int                 base = (int)((uintptr_t)io->q.data / 2 & 3), head = (int)(io->q.stride[4] & 3);
    bool                ok = w->width == 2 && w->shared_by == 1 && w->dim % 4 == 2 && (w->dim + 2 + 15) / 16 == (w->dim + 15) / 16;
    for (int i = 0; i < 4; i++) {
        ok &= (int)((uintptr_t)t[i]->data / 2 & 3) == base && (int)(t[i]->stride[4] & 3) == head && head % 2 == 0;
        for (int x = 0; x < 4; x++)
            ok &= t[i]->shape[x] == 1 || t[i]->stride[x] % 4 == 0;
    }
    if (ok) {
        w->early = base;
        w->early_head = head;
        w->width = w->out_width = 4;
    }
}

/* Heads of a thread block: few without work, then as many as fit. */
static int group_of(const window_args *w, int heads_max)
{
    int best = 1;
    for (int g = 2; g <= heads_max; g++)
        if ((w->heads + g - 1) / g * g <= (w->heads + best - 1) / best * best)
            best = g;
    return best;
}

/* Threads for `warps` of queries, and for each piece of a token. */
static int threads_of(const window_args *w, int warps)
{
    int narrow = w->width < w->out_width ? w->width : w->out_width;
    int pieces = (w->group * ((w->dim + narrow - 1) / narrow) + 31) / 32;
    return 32 * (warps > pieces ? warps : pieces);
}

static const char *plan(window_args *w, const attn_job *j, const cuda_device *gpu)
{
    const oriel_attn *a = &j->a;
    int64_t           windows = a->batch, tokens = 1;
    memset(w, 0, sizeof *w);
    for (int i = 0; i < 3; i++) {
        if (a->axis[i].causal || (a->axis[i].kind != ORIEL_AXIS_BLOCK && a->axis[i].kind != ORIEL_AXIS_FULL))
            return "an axis is not of blocks";
        w->axis[i] = axis_of(a->axis[i], a->extent[i]);
        windows *= w->axis[i].windows;
        tokens = tokens <= LARGE ? tokens * w->axis[i].size : tokens;
    }
    if (tokens > LARGE)
        return "a block has more than 256 tokens";
    w->large = tokens > SMALL;
    w->windows = (int)windows;
    w->row = w->large ? (int)oriel_round_up(w->axis[2].size, 8) : w->axis[2].size;
    w->slots = w->row * w->axis[1].size * w->axis[0].size;
    if (w->slots > LARGE || windows > 1 << 30)
        return "a block's rows, in steps of 8, make more than 256 tokens, or there are more than 2^30 blocks";
    w->room = w->large ? (int)oriel_round_up(w->slots, STEP) : SMALL;
    w->padded = w->large && w->room > tokens;
    w->heads = a->heads;
    w->shared_by = a->heads / a->kv_heads;
    w->dim = a->dim;
    w->scale = a->scale;
    tensors_of(w, j->io);
    begin_early(w, j->io);
    w->stages = 1;
    for (int i = 0; i < 5; i++) {
        int64_t far = 0;
        for (int x = 0; x < 3; x++) {
            w->back[i][x] = -w->axis[x].n * w->stride[i][1 + x];
            far += (w->axis[x].size - 1) * (w->stride[i][1 + x] < 0 ? -w->stride[i][1 + x] : w->stride[i][1 + x]);
        }
        if (far > INT_MAX / 4)
            return "tokens of a block lie 2^29 elements apart";
    }
    int strips = (w->slots + 15) / 16, most = LARGE_THREADS / 32;
    w->group = w->large ? 1 : group_of(w, SMALL_THREADS / 32 / strips);
    while (w->group > 1 && (memory_bytes(*w, pitch_of(w->dim)) > gpu->shared / 2 || threads_of(w, 1) > SMALL_THREADS))
        w->group--;
    if (w->large && w->dim <= 32)
        strips = (strips + 1) / 2;
    w->threads = threads_of(w, w->large ? strips < most ? strips : most : strips * w->group);
    return memory_bytes(*w, pitch_of(w->dim)) > gpu->shared ? "a block does not fit shared memory" : NULL;
}

static const char *reject(const attn_job *j, const cuda_device *gpu)
{
    window_args w;
    const char *why = small_reject(j, DIM_MAX);
    return why ? why : plan(&w, j, gpu);
}

/* As many thread blocks to a multiprocessor as its registers hold, then as many windows ahead as fit; but
 * two where copies are of less than 16 bytes: those pass through what shared memory leaves to L1. */
static cudaError_t occupy(window_args *w, kernel_fn *kernel, const cuda_device *gpu, int *blocks)
{
    int         found = 0, most = 0, best = 1;
    cudaError_t e = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, gpu->shared);
    int ahead = w->width == 8 ? STAGES : 2;
    for (w->stages = 2; !e && w->stages <= ahead && memory_bytes(*w, pitch_of(w->dim)) <= gpu->shared; w->stages++) {
        e = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&found, kernel, w->threads, (size_t)memory_bytes(*w, pitch_of(w->dim)));
        if (found < most || found < 1)
            break;
        most = found;
        best = w->stages;
    }
    w->stages = best;
    *blocks = most ? most : 1;
    return e;
}

static oriel_status run(const attn_job *j, oriel_device *dev)
{
    const cuda_device *gpu = dev->cuda;
    window_args        w;
    int                blocks;
    if (plan(&w, j, gpu))
        return ORIEL_E_ARG; /* it was rejected */
    kernel_fn  *kernel = kernel_of(w.large, j->a.dtype == ORIEL_BF16, w.dim);
    cudaError_t e = occupy(&w, kernel, gpu, &blocks);
    if (e)
        return cuda_fail(e, "attn window");
    int groups = (w.heads + w.group - 1) / w.group, each = gpu->sms * blocks / groups;
    each = each < 1 ? 1 : each > w.windows ? w.windows : each;
    int rounds = (w.windows + each - 1) / each;
    each = (w.windows + rounds - 1) / rounds;
    for (int i = 3, left = each; i >= 0; i--) {
        int count = i ? w.axis[i - 1].windows : left + 1;
        w.step[i] = left % count;
        left /= count;
    }
    void *args[] = {&w};
    e = cudaLaunchKernel((const void *)kernel, dim3((unsigned)(groups * each)), dim3((unsigned)w.threads), args,
                         (size_t)memory_bytes(w, pitch_of(w.dim)), gpu->stream);
    return e ? cuda_fail(e, "attn window") : cuda_launched("attn window");
}

extern "C" const attn_cuda_impl attn_cuda_window = {"window", reject, run};
