/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over small neighbourhoods (NAT: windows of 3 x 3 to about 22 x 22) in f16 and bf16, for sm_90.
 *
 * Contract: reject() at the end: what attn_near.cu takes, but rows that begin at multiples of 16 bytes, D <= 64, and
 * no dilation along y and x.
 *
 * A thread block has a box of queries of one frame, 8 x 16 if the map is that large, and walks over heads; a warp has
 * 2 x 8 of them (near.cuh). Keys and values of two rows of the map make a stage; they come, and results leave, as boxes
 * of the copy engine, which leaves out what is beyond the map. The warp that leaves a slot of the ring last loads it
 * anew, from head to head without a pause, so that warps wait for keys and never for each other. What queries see is
 * found once for all heads.
 *
 * What bounds it: windows up to 7 x 7, memory; above, fragments of 16 queries read from shared memory for products
 * with the keys of 2 x 8, of which each sees less.
 */
#include <cuda.h>

#include "attn2d3d/cuda/hopper.cuh"
#include "attn2d3d/cuda/near.cuh"

enum {
    DIM_MAX = 64,
    WARPS = 8,
    STAGES_MAX = 8,
    STAGES_MIN = 3,
    ROW_MAX = 256, /* keys of a row: the most of a box */
    RESERVED = 1024 /* bytes of shared memory that a block takes besides what it asks for */
};

typedef struct boxes_args {
    near_args near;
    int       stages, walks, each; /* a ring's; blocks that share a box's heads, and heads of each */
} boxes_args;

typedef struct boxes_maps {
    CUtensorMap k, v, out;
} boxes_maps;

/* Where a block works, and which keys its queries see. */
typedef struct place {
    int y, x, t, b, f;                      /* its first query; frame, batch item, frame of all */
    int key_y, key_x, pairs;                /* the first key, pairs of rows of keys */
    int frame, frame_step, frames, f_keys;  /* of keys: the first, how far apart, how many; the batch item's first */
    int ahead;                              /* the first from the query's, in steps */
} place;

/* What a warp's queries see: places of keys [x, y). */
typedef struct sight {
    int     first, end;             /* groups of eight keys of a row */
    ushort2 sees_y[2], sees_x[16];  /* by queries in rows 0 .. 7 and 8 .. 15; by row */
} sight;

/* A block's, in shared memory, where it takes no registers. */
typedef struct control {
    uint64_t full[STAGES_MAX];
    int      left[STAGES_MAX]; /* how many warps have left a slot */
    place    place;
    sight    sight[WARPS];
} control;

/* By a warp, each lane of which asks the law one question; what holds for the block is said by the first. */
static __device__ void look(sight *s, place *o, const near_args &a, int at_box)
{
    int l = (int)threadIdx.x & 31, t, b, bx = at_box % a.boxes[2], by = at_box / a.boxes[2] % a.boxes[1];
    int tall = a.warps_y * (a.flat ? 1 : 2), wide = a.warps_x * (a.flat ? 16 : 8), f = at_box / a.boxes[2] / a.boxes[1], y = by * tall, x = bx * wide;
    t = f % a.n[0];
    b = f / a.n[0];
    /* 0 .. 15: a row's x; 16, 17: y of rows 0 and 8; 18, 19: the box's first and last y; 20, 21: x; then t */
    int2       mine = query_of(a, l < 16 ? l : l == 17 ? 8 : 0);
    int        axis = l < 16 ? 2 : l < 20 ? 1 : l < 22 ? 2 : 0;
    int        at = l < 16 ? x + mine.y : l < 18 ? y + mine.x : l == 18 ? y : l == 19 ? y + tall - 1 : l == 20 ? x : l == 21 ? x + wide - 1 : t;
    oriel_span span = oriel_axis_span(a.axis[axis], a.n[axis], at < a.n[axis] ? at : a.n[axis] - 1);
    int2       keys = make_int2(span.first, span.first + span.count);
    int        key_y = __shfl_sync(~0u, keys.x, 18), key_x = __shfl_sync(~0u, keys.x, 20), high = __shfl_sync(~0u, keys.y, 19);
    int        first = (__shfl_sync(~0u, keys.x, 0) - key_x) / 8, end = (__shfl_sync(~0u, keys.y, 15) - key_x + 7) / 8;
    if (l < 16)
        s->sees_x[l] = make_ushort2((uint16_t)keys.x, (uint16_t)keys.y);
    else if (l < 18)
        s->sees_y[l - 16] = make_ushort2((uint16_t)keys.x, (uint16_t)keys.y);
    else if (l == 22 && threadIdx.x < 32)
        *o = place{y, x, t, b, f, key_y, key_x, (high - key_y + 1) / 2, span.first, span.step, span.count, b * a.n[0], span.first / span.step - t / span.step};
    else if (l == 23) {
        s->first = first;
        s->end = end;
    }
    __syncwarp();
}

/* The ring of stages in shared memory. */
typedef struct ring {
    uint32_t at, full; /* barriers are of 8 bytes */
    int      bytes, stages;
} ring;

/* How many warps had left the slot; what they read of it has been read. */
static __device__ __forceinline__ int leave(int *left)
{
    int before;
    asm volatile("atom.acq_rel.cta.shared::cta.add.s32 %0, [%1], 1;" : "=r"(before) : "r"(shared_at(left)) : "memory");
    return before;
}

/* Load to a slot what is `ahead` stages after a pair of rows of a frame and head, if the block needs it. By one thread. */
static __device__ __forceinline__ void load_stage(const ring &r, const near_args &a, const boxes_maps &m, const place &s, int slot, int ahead, int pair,
                                                  int frame, int head, int end)
{
    uint32_t full = r.full + 8 * slot, to = r.at + (uint32_t)(slot * r.bytes);
#pragma unroll 1
    for (pair += ahead; pair >= s.pairs; pair -= s.pairs)
        if (++frame == s.frames) {
            frame = 0;
            head++;
        }
    if (head >= end)
        return;
    int f = s.f_keys + s.frame + frame * s.frame_step, y = s.key_y + 2 * pair, kv = head / a.shared_by;
    hop_bar_expect(full, r.bytes);
    hop_load_box(to, &m.k, full, 0, s.key_x, y, kv, f);
    hop_load_box(to + (uint32_t)(r.bytes / 2), &m.v, full, 0, s.key_x, y, kv, f);
}

/* Shared memory of a block: the ring, warps' results, the control, the bias. */
static __host__ __device__ inline int stage_bytes(const near_args &a, int pitch)
{
    return 4 * a.row * pitch;
}
static __host__ __device__ inline int warps_of(const near_args &a)
{
    return a.warps_y * a.warps_x;
}
static __host__ __device__ inline int control_at(const near_args &a, int stages, int pitch)
{
    return stages * stage_bytes(a, pitch) + warps_of(a) * 16 * pitch;
}
static __host__ __device__ inline int memory_bytes(const near_args &a, int stages, int pitch)
{
    return control_at(a, stages, pitch) + (int)sizeof(control) + 4 * table_floats(a);
}

/* A warp's queries of a head as fragments; what is none, or beyond D, is 0. And the next head's on the way to L2. */
template <int DK> static __device__ __forceinline__ void queries(uint32_t (&q)[DK][4], const near_args &a, const place &s, int head, bool more)
{
    int l = (int)threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int2            p = query_of(a, (l >> 2) + 8 * i);
        bool            real = s.y + p.x < a.n[1] && s.x + p.y < a.n[2];
        const uint16_t *row = a.q + s.b * a.stride[0][0] + s.t * a.stride[0][1] + (s.y + p.x) * a.stride[0][2] + (s.x + p.y) * a.stride[0][3] +
                              head * a.stride[0][4];
#pragma unroll
        for (int k = 0; k < DK; k++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                q[k][2 * half + i] = real && 16 * k + 8 * half < a.dim ? __ldg((const uint32_t *)(row + 16 * k + 8 * half + 2 * (l & 3))) : 0;
        if (real && more && (l & 3) == 0)
            asm volatile("prefetch.global.L2 [%0];" ::"l"(row + a.stride[0][4]));
    }
}

/* A warp's results of a head, which lie in its rows, and the logarithms of their sums. */
template <int DK>
static __device__ __forceinline__ void write(const near_args &a, const boxes_maps &m, const place &s, const gathered<DK> &g, uint32_t rows_at,
                                             int2 first, int head)
{
    int l = (int)threadIdx.x & 31;
    hop_fence();
    __syncwarp();
    if (l == 0)
        hop_store_box(&m.out, rows_at, 0, s.x + first.y, s.y + first.x, head, s.f);
    if (a.lse && (l & 3) == 0)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int2 p = query_of(a, (l >> 2) + 8 * i);
            if (s.y + p.x < a.n[1] && s.x + p.y < a.n[2])
                a.lse[s.b * a.stride[LSE][0] + s.t * a.stride[LSE][1] + (s.y + p.x) * a.stride[LSE][2] +
                      (s.x + p.y) * a.stride[LSE][3] + head * a.stride[LSE][4]] = result_lse(g, i);
        }
}

/* COLUMNS groups from `group` on, those before `from_group` hidden: they were met. */
static __device__ __forceinline__ void hide_columns(float (&from)[COLUMNS][4], const sight &s, int key_x, int group, int from_group)
{
    int  r = (int)threadIdx.x >> 2 & 7;
    int2 low = make_int2(s.sees_x[r].x, s.sees_x[r].y), high = make_int2(s.sees_x[r + 8].x, s.sees_x[r + 8].y);
    low.x = max(low.x, key_x + 8 * from_group);
    high.x = max(high.x, key_x + 8 * from_group);
    hide(from, low, high, key_x + 8 * group);
}

template <bool BF16, int DK, bool BIAS>
static __global__ void __launch_bounds__(32 * WARPS, 2) boxes_kernel(const __grid_constant__ boxes_args all, const __grid_constant__ boxes_maps m)
{
    extern __shared__ __align__(1024) uint8_t base[];
    constexpr int    PITCH = rows<DK>::PITCH;
    const near_args &a = all.near;
    const int        l = (int)threadIdx.x & 31, warp = __shfl_sync(~0u, (int)threadIdx.x / 32, 0);
    control         *c = (control *)(base + control_at(a, all.stages, PITCH));
    float           *table = (float *)(c + 1);
    const sight     &sees = c->sight[warp];
    const place     &s = c->place;
    const ring       r = {shared_at(base), shared_at(c->full), stage_bytes(a, PITCH), all.stages};
    const uint32_t   out_at = r.at + (uint32_t)(r.stages * r.bytes + warp * 16 * PITCH);
    const int2       mine = query_of(a, 0);
    int              head = (int)blockIdx.x % all.walks * all.each, end = min(head + all.each, a.heads);
    if (threadIdx.x == 0) {
        for (int i = 0; i < r.stages; i++) {
            hop_bar_init(r.full + 8 * i, 1);
            c->left[i] = 0;
        }
        hop_bar_init_done();
    }
    if (BIAS)
        table_begin(a, table, head);
    look(&c->sight[warp], &c->place, a, (int)blockIdx.x / all.walks);
    __syncthreads();
    const int pairable = a.row / 8 - 2;            /* the last group that has one behind it: tiles go in pairs */
    if (threadIdx.x == 0)
        for (int i = 0; i < r.stages; i++)
            load_stage(r, a, m, s, i, i, 0, 0, head, end);
    gathered<DK> g;
    uint32_t     q[DK][4], parity = 0;
    float        from[COLUMNS][4];
    int          stage = 0;
    hide_columns(from, sees, s.key_x, min(sees.first, pairable), sees.first);
    for (; head < end; head++) {
        queries<DK>(q, a, s, head, head + 1 < end);
        gathered_begin(g, a, s.y, s.x);
        for (int frame = 0; frame < s.frames; frame++)
            for (int pair = 0; pair < s.pairs; pair++) {
                hop_bar_wait(r.full + 8 * stage, parity);
                int y = s.key_y + 2 * pair, who = see(make_int2(sees.sees_y[0].x, sees.sees_y[0].y), make_int2(sees.sees_y[1].x, sees.sees_y[1].y), y);
                for (int n = sees.first; who && n < sees.end; n += COLUMNS) {
                    int group = min(n, pairable);
                    int          there = ((s.ahead + frame) * (2 * a.reach[1] - 1) + y) * (2 * a.reach[2] - 1) + s.key_x + 8 * group;
                    const float *bias = BIAS ? table + there : NULL;
                    if (sees.end - sees.first > COLUMNS)
                        hide_columns(from, sees, s.key_x, group, n);
                    uint32_t k_at = r.at + (uint32_t)(stage * r.bytes + 8 * group * PITCH);
                    if (sees.end - n > 2)
                        step<BF16, DK, 6>(a, g, q, from, k_at, who, bias);
                    else
                        step<BF16, DK, 4>(a, g, q, from, k_at, who, bias);
                }
                __syncwarp();
                if (l == 0 && leave(&c->left[stage]) == warps_of(a) - 1) { /* who leaves last loads it anew */
                    c->left[stage] = 0;
                    hop_fence();
                    load_stage(r, a, m, s, stage, r.stages, pair, frame, head, end);
                }
                if (++stage == r.stages) {
                    stage = 0;
                    parity ^= 1;
                }
            }
        if (l == 0)
            hop_stores_read();
        __syncwarp();
        results<BF16, DK>(g, out_at);
        write(a, m, s, g, out_at, mine, head);
    }
    if (l == 0)
        hop_stores_read();
}

/* ---- on the host -------------------------------------------------------------------------- */

typedef void kernel_fn(const boxes_args, const boxes_maps);

template <bool BF16, bool BIAS> static kernel_fn *kernel_of_dim(int dim)
{
    return dim <= 16 ? boxes_kernel<BF16, 1, BIAS> : dim <= 32 ? boxes_kernel<BF16, 2, BIAS> : boxes_kernel<BF16, 4, BIAS>;
}
static kernel_fn *kernel_of(bool bf16, bool bias, int dim)
{
    return bf16 ? bias ? kernel_of_dim<true, true>(dim) : kernel_of_dim<true, false>(dim)
           : bias ? kernel_of_dim<false, true>(dim) : kernel_of_dim<false, false>(dim);
}
static int pitch_of(int dim)
{
    return dim <= 16 ? 32 : dim <= 32 ? 64 : 128;
}

/* Rows that the copy engine can move, of multiples of 16 bytes, else it writes beyond their ends: strides that are
 * positive multiples of that; frames of all batch items are one axis. */
static bool moves(const oriel_tensor *t)
{
    bool ok = (uintptr_t)t->data % 16 == 0 && t->shape[5] % 8 == 0;
    ok &= t->shape[0] == 1 || t->shape[1] == 1 || t->stride[0] == t->shape[1] * t->stride[1];
    for (int i = 0; i < 5; i++)
        ok &= t->shape[i] == 1 || (t->stride[i] > 0 && t->stride[i] % 8 == 0 && t->stride[i] < (int64_t)1 << 38);
    return ok && t->shape[0] * t->shape[1] < INT_MAX;
}

/* The map of a tensor (B, T, Y, X, H, D) that moves boxes of y rows of x tokens of a head. */
static bool make_map(CUtensorMap *map, const cuda_device *gpu, bool bf16, const oriel_tensor *t, int y, int x)
{
    int          pitch = pitch_of((int)t->shape[5]);
    const int    of[4] = {3, 2, 4, t->shape[1] > 1 ? 1 : 0}; /* axes of x, y, heads, frames */
    cuuint64_t   size[5] = {(cuuint64_t)t->shape[5], 0, 0, 0, 0}, stride[4];
    cuuint32_t   box[5] = {(cuuint32_t)pitch / 2, (cuuint32_t)x, (cuuint32_t)y, 1, 1}, one[5] = {1, 1, 1, 1, 1};
    for (int i = 0; i < 4; i++) {
        size[1 + i] = (cuuint64_t)t->shape[of[i]];
        stride[i] = t->shape[of[i]] > 1 ? (cuuint64_t)t->stride[of[i]] * 2 : 16;
    }
    size[4] = (cuuint64_t)(t->shape[0] * t->shape[1]);
    return gpu->encode_tiled(map, bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 5, t->data, size, stride, box, one,
                             CU_TENSOR_MAP_INTERLEAVE_NONE,
                             pitch == 32 ? CU_TENSOR_MAP_SWIZZLE_32B : pitch == 64 ? CU_TENSOR_MAP_SWIZZLE_64B : CU_TENSOR_MAP_SWIZZLE_128B,
                             CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

/* `boxes`: of queries, of all heads. */
static const char *plan(boxes_args *w, int64_t *blocks, const attn_job *j, const cuda_device *gpu)
{
    near_args  *a = &w->near;
    const char *why = near_plan(a, blocks, j, WARPS);
    if (why)
        return why;
    if (a->classes[1] > 1 || a->classes[2] > 1)
        return "dilation along y or x";
    a->row = a->row < 16 ? 16 : a->row;
    if (a->row > ROW_MAX)
        return "a row has more than 256 keys";
    int pitch = pitch_of(a->dim), room = (gpu->shared + RESERVED) / 2 - RESERVED; /* of one of two blocks */
    for (w->stages = STAGES_MAX; w->stages > STAGES_MIN && memory_bytes(*a, w->stages, pitch) > room;)
        w->stages--;
    if (memory_bytes(*a, w->stages, pitch) > gpu->shared)
        return "rows of keys do not fit shared memory";
    /* blocks that share a box's heads: as few as keep all multiprocessors at work to the end */
    int64_t boxes = *blocks / a->heads, slots = gpu->sms * (memory_bytes(*a, w->stages, pitch) > room ? 1 : 2), best = INT64_MAX;
    for (int n = a->bias ? a->heads : 1; n <= a->heads; n++) {
        int64_t each = (a->heads + n - 1) / n, time = (boxes * n + slots - 1) / slots * each;
        if (time < best) {
            best = time;
            w->walks = n;
            w->each = (int)each;
        }
    }
    w->walks = (a->heads + w->each - 1) / w->each;
    *blocks = boxes * w->walks;
    return NULL;
}

static const char *reject(const attn_job *j, const cuda_device *gpu)
{
    boxes_args  w;
    int64_t     blocks;
    const char *why = small_reject(j, DIM_MAX);
    if (why)
        return why;
    if (gpu->arch != 90 || !gpu->encode_tiled)
        return "no GPU of compute capability 9.0";
    if (!moves(&j->io->q) || !moves(&j->io->k) || !moves(&j->io->v) || !moves(&j->io->out))
        return "a stride or address that is no multiple of 16 bytes, or negative; or D of 8";
    return plan(&w, &blocks, j, gpu);
}

static oriel_status run(const attn_job *j, oriel_device *dev)
{
    const cuda_device   *gpu = dev->cuda;
    const oriel_attn_io *io = j->io;
    boxes_args           w;
    boxes_maps           m;
    int64_t              blocks;
    if (plan(&w, &blocks, j, gpu))
        return ORIEL_E_ARG; /* it was rejected */
    bool bf16 = j->a.dtype == ORIEL_BF16;
    int  tall = w.near.flat ? 1 : 2, wide = w.near.flat ? 16 : 8;
    if (!make_map(&m.out, gpu, bf16, &io->out, tall, wide) ||
        !make_map(&m.k, gpu, bf16, &io->k, 2, w.near.row) || !make_map(&m.v, gpu, bf16, &io->v, 2, w.near.row))
        return oriel_fail(ORIEL_E_DEVICE, "attn near boxes: the driver makes no map of a tensor");
    kernel_fn  *kernel = kernel_of(bf16, w.near.bias != NULL, w.near.dim);
    void       *args[] = {&w, &m};
    cudaError_t e = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, gpu->shared);
    if (!e)
        e = cudaLaunchKernel((const void *)kernel, dim3((unsigned)blocks), dim3((unsigned)(32 * warps_of(w.near))), args,
                             (size_t)memory_bytes(w.near, w.stages, pitch_of(w.near.dim)), gpu->stream);
    return e ? cuda_fail(e, "attn near boxes") : cuda_launched("attn near boxes");
}

extern "C" const attn_cuda_impl attn_cuda_boxes = {"boxes", reject, run};
