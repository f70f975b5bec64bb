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
#include "attn2d3d/cuda/near.cuh"

enum {
    DIM_MAX = 96,
    WARPS = 8,
    STAGES = 3,
    BOX_BYTES = 4096 /* of shared memory, that the box may take */
};

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
    int        ahead; /* of the first from the query's frame, in steps */
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
        o->ahead = o->ts.first / o->ts.step - t / o->ts.step;
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

/* Results to the rows where q was, the sums' logarithms to memory. */
template <bool BF16, int DK> static __device__ void finish(const near_args &a, const box &o, gathered<DK> &g, uint32_t at)
{
    __syncwarp(); /* all lanes have read q */
    results<BF16, DK>(g, at);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int2 p = query_of(a, ((int)threadIdx.x >> 2 & 7) + 8 * i);
        if (a.lse && (threadIdx.x & 3) == 0 && is_query(o, p))
            a.lse[token_at(a, o, LSE, o.t, o.y.first + p.x, o.x.first + p.y)] = result_lse(g, i);
    }
}

/* ---- a thread block ----------------------------------------------------------------------- */

/* Rows begin as zeros: where D ends before a fragment, and where no key was brought, products must be finite. */
static __device__ void memory_begin(const near_args &a, uint8_t *base, float *table, int bytes)
{
    for (int i = (int)threadIdx.x; i < bytes / 16; i += (int)blockDim.x)
        ((uint4 *)base)[i] = make_uint4(0, 0, 0, 0);
    table_begin(a, table, (int)(blockIdx.x % (unsigned)a.heads));
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
    gathered_begin(g, a, o.y.first, o.x.first);
    /* the groups of eight that the warp's queries see: its first is row 0's, its last that of row 7 or 15 */
    int first = (o.seen[1][query_of(a, 0).y].x - o.x.low) / 8, end = (o.seen[1][query_of(a, 15).y].y - o.x.low + 7) / 8;
    const int2 *sees[2] = {&o.seen[1][query_of(a, l >> 2).y], &o.seen[1][query_of(a, (l >> 2) + 8).y]};
    hide(from, *sees[0], *sees[1], o.x.low + 8 * first);
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
        int y = o.y.low + 2 * pair, who = see(o.seen[0][query_of(a, 0).x], o.seen[0][query_of(a, 8).x], y);
        for (int n = first; who && n < end; n += COLUMNS) {
            uint32_t k_at = ring + (uint32_t)(i % STAGES * bytes + 8 * n * rows<DK>::PITCH);
            const float *there = a.bias ? table + ((o.ahead + frame) * (2 * a.reach[1] - 1) + y) * (2 * a.reach[2] - 1) + o.x.low + 8 * n : NULL;
            if (end - first > COLUMNS)
                hide(from, *sees[0], *sees[1], o.x.low + 8 * n);
            if (end - n > 2)
                step<BF16, DK, 6>(a, g, q, from, k_at, who, there);
            else
                step<BF16, DK, 4>(a, g, q, from, k_at, who, there);
        }
        pair = pair + 1 < pairs ? pair + 1 : 0;
        frame += pair == 0;
        next_pair = next_pair + 1 < pairs ? next_pair + 1 : 0;
        next_frame += next_pair == 0;
    }
    finish<BF16, DK>(a, o, g, at);
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

static const char *plan(near_args *w, int64_t *blocks, const attn_job *j, const cuda_device *gpu)
{
    const char *why = near_plan(w, blocks, j, WARPS);
    if (!why && w->row > 2048)
        why = "a row of keys does not fit shared memory";
    return why ? why : memory_bytes(w) > gpu->shared - BOX_BYTES ? "rows of keys do not fit shared memory" : NULL;
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
