/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over small neighbourhoods (NAT, DiNAT: windows of 3 x 3 to about 22 x 22) in f16 and bf16, for
 * sm_80 and later.
 *
 * Contract: reject() at the end. Axes of any kind, the same for all heads; a window of at most 512 keys;
 * D = Dv <= 96; bias by offset or none. Tensors have any strides, but D is contiguous.
 *
 * A thread block has a box of queries of one frame, head and residue class (of a dilated axis), 8 x 16 if
 * the map is that large, and a warp 2 x 8 of them, rows of fragments: query (y, x) is row x, (y + 1, x) is
 * row 8 + x. Where the map has one row, a warp has 1 x 16. The keys that the box sees come by cp.async, two
 * rows of the map a stage, two stages ahead. A warp leaves out stages and groups of eight keys that none
 * of its queries sees. Products begin from 0 or HIDDEN, made once: where along x a query sees a key is the
 * same in all rows. Softmax is in registers, weights are rounded to 16 bits, sums are in fp32 and
 * rescaled only when a logit exceeds the reference by more than 8 in powers of two.
 *
 * What bounds it: windows up to 7 x 7, memory; above, L2 for the keys that neighbouring boxes share, and
 * matrix products over the keys of 2 x 8 queries, of which each sees less.
 */
#include <cuda_runtime.h>

#include "attn2d3d/cuda/attn_cuda.h"
#include "attn2d3d/cuda/small.cuh"

enum {
    DIM_MAX = 96,
    KEYS_MAX = 512,    /* of a window */
    EXTENT_MAX = 4096, /* of an axis */
    TABLE_MAX = 8192, /* offsets of a bias */
    WARPS = 8,
    STAGES = 3,
    COLUMNS = 3, /* groups of eight keys of a row, at a time */
    BOX_BYTES = 4096, /* of shared memory, that the box may take */
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

/* An axis for a thread block: place p of residue class g is coordinate g + d p. */
typedef struct side {
    int g, d, len;
    int first;     /* of its queries */
    int low, high; /* of the keys that they see */
} side;

/* Where a thread block works, in shared memory. */
typedef struct box {
    int64_t    at[5]; /* offset of frame 0, place (0, 0) in q, k, v, out, lse */
    side       y, x;
    oriel_span ts; /* frames of keys */
    int        t, head;
    int2       seen[2][16 * WARPS]; /* keys of its y's and x's, [x, y); past the last: the last one's */
} box;

static_assert(sizeof(box) <= BOX_BYTES, "the box is not larger");

/* What query p sees, as places. */
static __device__ int2 seen(const near_args &a, int axis, const side &s, int p)
{
    oriel_span k = oriel_axis_span(a.axis[axis], a.n[axis], s.g + s.d * p);
    int        low = (k.first - s.g) / s.d;
    return make_int2(low, low + k.count);
}

/* By one warp. The law's ends do not fall, so that the first and the last query say what all see. */
static __device__ void side_make(box *o, side *s, const near_args &a, int axis, int g, int first, int queries)
{
    side   it = {g, a.classes[axis], (a.n[axis] - g + a.classes[axis] - 1) / a.classes[axis], first, 0, 0};
    int2  *to = o->seen[axis - 1];
    for (int i = (int)threadIdx.x; i < queries && first < it.len; i += 32)
        to[i] = seen(a, axis, it, first + i < it.len ? first + i : it.len - 1);
    __syncwarp();
    if (threadIdx.x == 0) {
        it.low = first < it.len ? to[0].x : 0;
        it.high = first < it.len ? to[queries - 1].y : 0;
        *s = it;
    }
}

static __device__ void box_make(box *o, const near_args &a, unsigned item)
{
    unsigned part[4]; /* x box, x class, y box, y class */
    int      head = (int)(item % (unsigned)a.heads), b, t, tensor = (int)threadIdx.x;
    item /= (unsigned)a.heads;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        unsigned n = (unsigned)(i & 1 ? a.classes[2 - i / 2] : a.boxes[2 - i / 2]);
        part[i] = n > 1 ? item % n : 0;
        item = n > 1 ? item / n : item;
    }
    t = a.n[0] > 1 ? (int)(item % (unsigned)a.n[0]) : 0;
    b = a.n[0] > 1 ? (int)(item / (unsigned)a.n[0]) : (int)item;
    int tall = a.warps_y * (a.flat ? 1 : 2), wide = a.warps_x * (a.flat ? 16 : 8);
    side_make(o, &o->y, a, 1, (int)part[3], (int)part[2] * tall, tall);
    side_make(o, &o->x, a, 2, (int)part[1], (int)part[0] * wide, wide);
    if (tensor <= LSE) {
        int h = tensor == 1 || tensor == 2 ? head / a.shared_by : head;
        o->at[tensor] = b * a.stride[tensor][0] + (int)part[3] * a.stride[tensor][2] + (int)part[1] * a.stride[tensor][3] + h * a.stride[tensor][4];
    }
    if (tensor == 0) {
        o->ts = oriel_axis_span(a.axis[0], a.n[0], t);
        o->t = t;
        o->head = head;
    }
}

/* Offset of the token of frame t at places (y, x). */
static __device__ int64_t token_at(const near_args &a, const box &o, int tensor, int t, int y, int x)
{
    const int64_t *s = a.stride[tensor];
    return o.at[tensor] + t * s[1] + o.y.d * y * s[2] + o.x.d * x * s[3];
}

static __host__ __device__ inline int table_slack(const near_args &a) /* floats read, but not used, around the table */
{
    return 3 * (2 * a.reach[2] - 1) + 128;
}
static __host__ __device__ inline int table_floats(const near_args &a)
{
    return a.bias ? (2 * a.reach[0] - 1) * (2 * a.reach[1] - 1) * (2 * a.reach[2] - 1) + 2 * table_slack(a) : 0;
}
static __host__ __device__ inline int stage_rows(const near_args &a) /* [k, v][2][row] */
{
    return 4 * a.row;
}
static __host__ __device__ inline int memory_rows(const near_args &a) /* queries, stages, what is read beyond */
{
    return a.warps_y * a.warps_x * 16 + STAGES * stage_rows(a) + 8 * COLUMNS;
}

/* ---- copies ------------------------------------------------------------------------------- */

/* A thread's part: elements from `piece` on of keys first, first + step, ... of a stage; in one register. */
static __device__ uint32_t part_of(const near_args &a)
{
    int each = a.dim / a.width, step = (int)blockDim.x / each, piece = (int)threadIdx.x % each * a.width;
    int first = (int)threadIdx.x < step * each ? (int)threadIdx.x / each : 511;
    return (uint32_t)(piece | first << 7 | step << 16);
}

/* Begin to copy two rows of keys, y and y + 1 of frame t. */
template <int DK, int W>
static __device__ void bring(const near_args &a, const box &o, uint32_t to, uint32_t part, int t, int y)
{
    int keys = o.x.high - o.x.low, all = y + 1 < o.y.high ? 2 * keys : keys;
    asm volatile("" : "+r"(part)); /* what follows from it is not worth registers all the time */
    int             piece = (int)(part & 127), first = (int)(part >> 7 & 511), step = (int)(part >> 16);
    const uint16_t *k = a.k + token_at(a, o, 1, t, y, o.x.low) + piece, *v = a.v + token_at(a, o, 2, t, y, o.x.low) + piece;
    for (int i = first == 511 ? all : first; i < all; i += step) {
        int      down = i >= keys, x = i - (down ? keys : 0);
        uint32_t at = to + rows<DK>::at(down * a.row + x, piece >> 3) + (piece & 7) * 2;
        copy_async<W>(at, k + o.x.d * x * a.stride[1][3] + (down ? o.y.d * a.stride[1][2] : 0));
        copy_async<W>(at + (uint32_t)(2 * a.row * rows<DK>::PITCH), v + o.x.d * x * a.stride[2][3] + (down ? o.y.d * a.stride[2][2] : 0));
    }
}

template <int DK>
static __device__ void bring_any(const near_args &a, const box &o, uint32_t to, uint32_t part, int frame, int pair)
{
    int t = o.ts.first + frame * o.ts.step, y = o.y.low + 2 * pair;
    if (a.width == 8)
        bring<DK, 8>(a, o, to, part, t, y);
    else if (a.width == 4)
        bring<DK, 4>(a, o, to, part, t, y);
    else if (a.width == 2)
        bring<DK, 2>(a, o, to, part, t, y);
    else
        bring<DK, 1>(a, o, to, part, t, y);
}

/* Row i (0 .. 15) of a warp: its query, counted from the box's first along y and x; may be none. */
static __device__ int2 query_of(const near_args &a, int i)
{
    int warp = (int)threadIdx.x / 32, y = warp / a.warps_x, x = warp % a.warps_x;
    return a.flat ? make_int2(y, 16 * x + i) : make_int2(2 * y + (i >> 3), 8 * x + (i & 7));
}
static __device__ bool is_query(const box &o, int2 p)
{
    return o.y.first + p.x < o.y.len && o.x.first + p.y < o.x.len;
}

/* A warp's queries in, or its results out. */
template <int DK, int W, bool OUT> static __device__ void queries(const near_args &a, const box &o, uint32_t at)
{
    int     each = a.dim / W, lane = (int)threadIdx.x & 31, row = lane / each, piece = lane % each, down = 32 / each, right = 32 % each;
    int2    p = query_of(a, 0);
    int64_t from = token_at(a, o, OUT ? 3 : 0, o.t, o.y.first + p.x, o.x.first + p.y);
    while (row < 16) {
        int dy = a.flat ? 0 : row >> 3, dx = a.flat ? row : row & 7;
        if (is_query(o, make_int2(p.x + dy, p.y + dx))) {
            uint32_t here = at + rows<DK>::at(row, piece * W >> 3) + (piece * W & 7) * 2;
            int64_t  there = from + dy * o.y.d * a.stride[OUT ? 3 : 0][2] + dx * o.x.d * a.stride[OUT ? 3 : 0][3] + piece * W;
            if (OUT)
                copy_out<W>(a.out + there, here);
            else
                copy_async<W>(here, a.q + there);
        }
        piece += right;
        row += down + (piece >= each);
        piece -= piece >= each ? each : 0;
    }
}

template <int DK, bool OUT> static __device__ void queries_any(const near_args &a, const box &o, uint32_t at)
{
    int width = OUT ? a.out_width : a.width;
    if (width == 8)
        queries<DK, 8, OUT>(a, o, at);
    else if (width == 4)
        queries<DK, 4, OUT>(a, o, at);
    else if (width == 2)
        queries<DK, 2, OUT>(a, o, at);
    else
        queries<DK, 1, OUT>(a, o, at);
}

/* ---- arithmetic of a warp ----------------------------------------------------------------- */

/* A lane's two queries, in rows r and r + 8 of fragments, and what they have gathered. */
template <int DK> struct gathered {
    int   table[2]; /* index of the bias of key (frame 0, place 0, 2c) */
    float o[2 * DK][4], high[2], sum[2]; /* high: the reference, in powers of two */
};

/* Groups of eight keys of a row: HIDDEN where a query does not see. `x`: place of the first key. */
static __device__ __forceinline__ void hide(float (&from)[COLUMNS][4], const near_args &a, const box &o, int x)
{
    int  l = (int)threadIdx.x & 31;
    int2 sees[2] = {o.seen[1][query_of(a, l >> 2).y], o.seen[1][query_of(a, (l >> 2) + 8).y]};
#pragma unroll
    for (int n = 0; n < COLUMNS; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int key = x + 8 * n + 2 * (l & 3) + (e & 1);
            from[n][e] = key >= sees[e >> 1].x && key < sees[e >> 1].y ? 0 : HIDDEN;
        }
}

/* Who of a warp's rows 0 .. 7 and 8 .. 15 of queries sees the keys of y and of y + 1: bit 2 key + query. */
static __device__ __forceinline__ int see(const near_args &a, const box &o, int y)
{
    int2 sees[2] = {o.seen[0][query_of(a, 0).x], o.seen[0][query_of(a, 8).x]};
    int  bits = 0;
#pragma unroll
    for (int e = 0; e < 4; e++)
        bits |= (y + (e >> 1) >= sees[e & 1].x && y + (e >> 1) < sees[e & 1].y) << e;
    return bits;
}

/* Tile j of a step: two groups of the first row, two of the second, the third of each. */
static __device__ __forceinline__ constexpr int tile_row(int j)
{
    return j < 4 ? j >> 1 : j & 1;
}
static __device__ __forceinline__ constexpr int tile_column(int j)
{
    return j < 4 ? j & 1 : 2;
}

/* Six tiles, or four: fade what was gathered if a logit is above its reference by far; then logits
 * become weights. */
template <int DK> static __device__ __forceinline__ void weigh(gathered<DK> &g, float (&s)[6][4], bool third, float scale)
{
    float top[2] = {s[0][0], s[0][2]};
    bool  more = false;
#pragma unroll
    for (int j = 0; j < 6; j++)
        if (j < 4 || third)
#pragma unroll
            for (int e = 0; e < 4; e++)
                top[e >> 1] = fmaxf(top[e >> 1], s[j][e]);
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
    for (int j = 0; j < 6; j++)
        if (j < 4 || third)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                s[j][e] = power2(fmaf(s[j][e], scale, -g.high[e >> 1]));
                g.sum[e >> 1] += s[j][e];
            }
}

/* Keys of two rows of the map, y and y + 1, COLUMNS groups from `k_at` on; who: see(). */
template <bool BF16, int DK>
static __device__ __forceinline__ void step(const near_args &a, gathered<DK> &g, const uint32_t (&q)[DK][4], const float (&from)[COLUMNS][4],
                                            uint32_t k_at, bool third, int who, const float *table)
{
    float    s[6][4], scale = a.scale * LOG2E;
    uint32_t f[4], below = (uint32_t)(a.row * rows<DK>::PITCH), v_at = k_at + 2 * below;
    int      l = (int)threadIdx.x & 31, in_k = l >> 4, in_v = l >> 3 & 1; /* which tile of a pair the lane names a row of */
#pragma unroll
    for (int j = 0; j < 6; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            s[j][e] = from[tile_column(j)][e];
    if (table)
#pragma unroll
        for (int j = 0; j < 6; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                s[j][e] += table[g.table[e >> 1] + tile_row(j) * (2 * a.reach[2] - 1) + 8 * tile_column(j) + (e & 1)];
#pragma unroll
    for (int j = 0; j < 6; j += 2)
        if (j < 4 || third)
#pragma unroll
            for (int k = 0; k < DK; k++) {
                uint32_t pair = j < 4 ? (j >> 1) * below + in_k * 8 * rows<DK>::PITCH : in_k * below + 16 * rows<DK>::PITCH;
                load4(f, k_at + pair + rows<DK>::at(l & 7, 2 * k + (l >> 3 & 1)));
                mma<BF16>(s[j], q[k], f[0], f[1], s[j]);
                mma<BF16>(s[j + 1], q[k], f[2], f[3], s[j + 1]);
            }
    if (who != 15)
#pragma unroll
        for (int j = 0; j < 6; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                s[j][e] = who >> (2 * tile_row(j) + (e >> 1)) & 1 ? s[j][e] : HIDDEN;
    weigh(g, s, third, scale);
#pragma unroll
    for (int j = 0; j < 6; j += 2)
        if (j < 4 || third) {
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

/* O over the sums to the rows where q was, the sums' logarithms to memory. */
template <bool BF16, int DK> static __device__ void results(const near_args &a, const box &o, gathered<DK> &g, uint32_t at)
{
    int l = (int)threadIdx.x & 31;
    __syncwarp(); /* all lanes have read q */
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float sum = row_sum(g.sum[i]), one = __frcp_rn(sum);
        int   row = (l >> 2) + 8 * i;
        int2  p = query_of(a, row);
#pragma unroll
        for (int n = 0; n < 2 * DK; n++)
            asm volatile("st.shared.u32 [%0], %1;" ::"r"(at + rows<DK>::at(row, n) + 4 * (l & 3)),
                         "r"(pack<BF16>(g.o[n][2 * i] * one, g.o[n][2 * i + 1] * one))
                         : "memory");
        if (a.lse && (l & 3) == 0 && is_query(o, p))
            a.lse[token_at(a, o, LSE, o.t, o.y.first + p.x, o.x.first + p.y)] = (g.high[i] + __log2f(sum)) * (1 / LOG2E);
    }
}

/* ---- a thread block ----------------------------------------------------------------------- */

/* Rows begin as zeros: where D ends before a fragment, and where no key was brought, products must be finite. */
static __device__ void memory_begin(const near_args &a, uint8_t *base, float *table, int bytes)
{
    for (int i = (int)threadIdx.x; i < bytes / 16; i += (int)blockDim.x)
        ((uint4 *)base)[i] = make_uint4(0, 0, 0, 0);
    int     wx = 2 * a.reach[2] - 1, wy = 2 * a.reach[1] - 1, slack = table_slack(a);
    int64_t head = (int)(blockIdx.x % (unsigned)a.heads) * a.bias_stride[0];
    for (int i = (int)threadIdx.x; i < table_floats(a); i += (int)blockDim.x) {
        int at = i - slack, x = at % wx - a.reach[2] + 1, y = at / wx % wy - a.reach[1] + 1, t = at / wx / wy - a.reach[0] + 1;
        /* from place (at - middle) to place 0 */
        bool real = at >= 0 && i < table_floats(a) - slack;
        table[i] = real ? a.bias[head - t * a.bias_stride[1] - y * a.bias_stride[2] - x * a.bias_stride[3]] / a.scale : 0;
    }
}

template <int DK> static __device__ void gathered_begin(gathered<DK> &g, const near_args &a, const box &o)
{
    int l = (int)threadIdx.x & 31, wx = 2 * a.reach[2] - 1;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int2 p = query_of(a, (l >> 2) + 8 * i);
        g.table[i] = table_floats(a) / 2 - (o.y.first + p.x) * wx - o.x.first - p.y + 2 * (l & 3);
        g.high[i] = LOWEST;
        g.sum[i] = 0;
    }
#pragma unroll
    for (int n = 0; n < 2 * DK; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            g.o[n][e] = 0;
}

template <bool BF16, int DK>
static __global__ void __launch_bounds__(32 * WARPS, DK <= 4 ? 2 : 1) near_kernel(const __grid_constant__ near_args a)
{
    extern __shared__ __align__(128) uint8_t base[];
    __shared__ box                           o;
    float   *table = (float *)(base + memory_rows(a) * rows<DK>::PITCH);
    uint32_t at = shared_at(base) + (threadIdx.x / 32) * 16 * rows<DK>::PITCH;
    uint32_t ring = shared_at(base) + (uint32_t)(a.warps_y * a.warps_x * 16 * rows<DK>::PITCH), part = part_of(a);
    if (threadIdx.x < 32)
        box_make(&o, a, blockIdx.x);
    memory_begin(a, base, table, memory_rows(a) * rows<DK>::PITCH);
    __syncthreads();
    if (o.y.first >= o.y.len || o.x.first >= o.x.len)
        return; /* a smaller class */
    int bytes = stage_rows(a) * rows<DK>::PITCH, pairs = (o.y.high - o.y.low + 1) / 2, all = pairs * o.ts.count;
    queries_any<DK, false>(a, o, at);
    bring_any<DK>(a, o, ring, part, 0, 0);
    copies_commit();
    if (all > 1)
        bring_any<DK>(a, o, ring + (uint32_t)bytes, part, pairs == 1, pairs > 1);
    copies_commit();

    gathered<DK> g;
    uint32_t     q[DK][4];
    float        from[COLUMNS][4];
    int          l = (int)threadIdx.x & 31, next_frame = pairs > 2 ? 0 : 3 - pairs, next_pair = pairs > 2 ? 2 : 0, pair = 0, frame = 0;
    gathered_begin(g, a, o);
    /* the groups of eight that the warp's queries see: its first is row 0's, its last that of row 7 or 15 */
    int first = (o.seen[1][query_of(a, 0).y].x - o.x.low) / 8, end = (o.seen[1][query_of(a, 15).y].y - o.x.low + 7) / 8;
    hide(from, a, o, o.x.low + 8 * first);
    for (int i = 0; i < all; i++) {
        copies_wait(1);
        __syncthreads(); /* this stage is here, and the one before was read */
        if (i + 2 < all)
            bring_any<DK>(a, o, ring + (uint32_t)((i + 2) % STAGES * bytes), part, next_frame, next_pair);
        copies_commit();
        if (i == 0)
#pragma unroll
            for (int k = 0; k < DK; k++)
                load4(q[k], at + rows<DK>::at((l & 7) + (l & 8), 2 * k + (l >> 4)));
        int y = o.y.low + 2 * pair, who = see(a, o, y);
        for (int n = first; who && n < end; n += COLUMNS) {
            uint32_t k_at = ring + (uint32_t)(i % STAGES * bytes + 8 * n * rows<DK>::PITCH);
            int      t = o.ts.first / o.ts.step - o.t / o.ts.step + frame; /* from the query's frame, in steps */
            int      there = (t * (2 * a.reach[1] - 1) + y) * (2 * a.reach[2] - 1) + o.x.low + 8 * n;
            if (end - first > COLUMNS)
                hide(from, a, o, o.x.low + 8 * n);
            step<BF16, DK>(a, g, q, from, k_at, end - n > 2, who, a.bias ? table + there : NULL);
        }
        pair = pair + 1 < pairs ? pair + 1 : 0;
        frame += pair == 0;
        next_pair = next_pair + 1 < pairs ? next_pair + 1 : 0;
        next_frame += next_pair == 0;
    }
    results<BF16, DK>(a, o, g, at);
    __syncwarp();
    queries_any<DK, true>(a, o, at);
}

/* ---- on the host -------------------------------------------------------------------------- */

typedef void kernel_fn(const near_args);

template <bool BF16> static kernel_fn *kernel_of(int dim)
{
    return dim <= 16 ? near_kernel<BF16, 1> : dim <= 32 ? near_kernel<BF16, 2> : dim <= 48 ? near_kernel<BF16, 3> : dim <= 64 ? near_kernel<BF16, 4> : near_kernel<BF16, 6>;
}
static int pitch_of(int dim)
{
    return dim <= 16 ? rows<1>::PITCH : dim <= 32 ? rows<2>::PITCH : dim <= 48 ? rows<3>::PITCH : dim <= 64 ? rows<4>::PITCH : rows<6>::PITCH;
}
static int memory_bytes(const near_args *w)
{
    return memory_rows(*w) * pitch_of(w->dim) + 4 * table_floats(*w);
}

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

static const char *plan(near_args *w, int64_t *blocks, const attn_job *j, const cuda_device *gpu)
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
    w->warps_y = (int)oriel_min(WARPS / w->warps_x, (len[1] + deep - 1) / deep);
    if (w->flat)
        w->warps_x = (int)oriel_min(WARPS, (len[2] + wide - 1) / wide);
    w->boxes[1] = (len[1] + deep * w->warps_y - 1) / (deep * w->warps_y);
    w->boxes[2] = (len[2] + wide * w->warps_x - 1) / (wide * w->warps_x);
    int64_t row = oriel_round_up(widest(w, 2, wide * w->warps_x), 8);
    if (row > 2048)
        return "a row of keys does not fit shared memory";
    w->row = (int)row;
    *blocks = (int64_t)w->heads * w->boxes[2] * w->classes[2] * w->boxes[1] * w->classes[1] * w->n[0] * a->batch;
    if (*blocks > INT_MAX)
        return "more than 2^31 boxes of queries";
    return memory_bytes(w) > gpu->shared - BOX_BYTES ? "rows of keys do not fit shared memory" : NULL;
}

static const char *reject(const attn_job *j, const cuda_device *gpu)
{
    near_args   w;
    int64_t     blocks;
    const char *why = small_reject(j, DIM_MAX);
    return why ? why : plan(&w, &blocks, j, gpu);
}

static oriel_status run(const attn_job *j, oriel_device *dev)
{
    near_args w;
    int64_t   blocks;
    if (plan(&w, &blocks, j, dev->cuda))
        return ORIEL_E_ARG; /* it was rejected */
    kernel_fn  *kernel = j->a.dtype == ORIEL_BF16 ? kernel_of<true>(w.dim) : kernel_of<false>(w.dim);
    void       *args[] = {&w};
    cudaError_t e = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, dev->cuda->shared - BOX_BYTES);
    if (!e)
        e = cudaLaunchKernel((const void *)kernel, dim3((unsigned)blocks), dim3((unsigned)(32 * w.warps_y * w.warps_x)), args,
                             (size_t)memory_bytes(&w), dev->cuda->stream);
    return e ? cuda_fail(e, "attn near") : cuda_launched("attn near");
}

extern "C" const attn_cuda_impl attn_cuda_near = {"near", reject, run};
