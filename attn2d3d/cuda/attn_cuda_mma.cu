/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over windows on tensor cores of sm_80 and later: 64 queries a block, keys 64 or 32 a step.
 *
 * Contract: f16, bf16; the law but pad_keys, cosine, text in windows, segments, lists. Any strides; rows
 *   that begin at multiples of 16 bytes are fastest.
 * Tile: 64 queries of a box of the raster (attn_cuda_tile.c), or 64 text queries. Its keys are those of
 *   the box that holds all its queries' windows, in raster order, then the extra ones. Threads find the
 *   rows of the next step's keys, and for each key a mask of the queries that see it: along an axis
 *   these are a run of places, since spans grow with the query. Steps whose keys everybody sees take no
 *   notice of masks, and warps whose queries see none of a step's keys skip it.
 * Block: 4 warps of 16 queries each, mma.m16n8k16, sums in fp32; online softmax in powers of 2 (arXiv
 *   2205.14135); weights are rounded to the tensors' type for the second product, their sum is not.
 * Shared memory: two steps of keys and values, rows of DIM elements, chunks of 16 bytes swizzled by the
 *   row so that ldmatrix has no bank conflicts; columns from D on are zeros, and are computed with.
 * Bound: reading a step's keys and values from shared memory once for each 16 queries.
 */
#include <math_constants.h>

#include "attn2d3d/cuda/attn_cuda.h"
#include "attn2d3d/cuda/attn_cuda_tile.cuh"
#include "core/cuda/mma.cuh"

enum { CHUNK = 8 /* elements of 16 bytes */ };

/* ---- rows into shared memory -------------------------------------------------------------- */

/* Byte of chunk c of row r: the same chunk of 8 rows that follow each other lies in all banks. */
template <int DIM> static __device__ __forceinline__ uint32_t swizzled(int r, int c)
{
    return (uint32_t)(r * DIM * 2 + ((c ^ (DIM == 32 ? r >> 1 & 3 : r & 7)) * 16));
}

/* Zeros in the columns beyond the first n, which no row writes later. */
template <int DIM> static __device__ void clear_columns(uint32_t to, int rows, int n, int thread)
{
    constexpr int ALONG = DIM / CHUNK;
    int           c = thread % ALONG;
    for (int r = thread / ALONG; c * CHUNK >= n && r < rows; r += THREADS / ALONG)
        asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(to + swizzled<DIM>(r, c)), "r"(0) : "memory");
}

/* The last chunk of a row, or one of a row that begins anywhere: `have` elements, then zeros. */
static __device__ void load_chunk(uint32_t to, const char *from, int have, int align, int64_t step, const void *safe)
{
    if (align == 8)
        for (int i = 0; i < 2; i++) {
            int part = have - 4 * i < 0 ? 0 : have - 4 * i > 4 ? 4 : have - 4 * i;
            copy_async<8>(to + 8 * i, part ? from + 8 * i : (const char *)safe, part * 2);
        }
    else if (align == 4)
        for (int i = 0; i < 4; i++) {
            int part = have - 2 * i < 0 ? 0 : have - 2 * i > 2 ? 2 : have - 2 * i;
            copy_async<4>(to + 4 * i, part ? from + 4 * i : (const char *)safe, part * 2);
        }
    else {
        uint32_t w[4] = {0, 0, 0, 0};
#pragma unroll
        for (int i = 0; i < CHUNK; i++)
            if (i < have)
                w[i / 2] |= (uint32_t)*(const uint16_t *)(from + i * 2 * step) << (i % 2 * 16);
        asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3])
                     : "memory");
    }
}

/* Rows of n elements at the addresses `at` (0: a row of zeros). step: of the innermost axis; safe: an
 * address that may be read. */
template <int DIM, int ROWS_HERE>
static __device__ void load_rows(uint32_t to, const uint64_t *at, int n, int align, int64_t step, const void *safe,
                                 int thread)
{
    constexpr int ALONG = DIM / CHUNK; /* 4, 8, 16, 32: divides THREADS */
    int           c = thread % ALONG, left = n - c * CHUNK;
    if (left <= 0)
        return;
    left = left > CHUNK ? CHUNK : left;
    if (align == 16) {
#pragma unroll
        for (int i = 0; i < ROWS_HERE * ALONG / THREADS; i++) {
            int      r = thread / ALONG + i * (THREADS / ALONG);
            uint64_t from = at[r];
            copy_async<16>(to + swizzled<DIM>(r, c), from ? (const char *)from + c * CHUNK * 2 : (const char *)safe,
                           from ? left * 2 : 0);
        }
        return;
    }
#pragma unroll 1
    for (int r = thread / ALONG; r < ROWS_HERE; r += THREADS / ALONG)
        load_chunk(to + swizzled<DIM>(r, c), (const char *)at[r] + c * CHUNK * 2 * step, at[r] ? left : 0, align, step,
                   safe);
}

/* Keys and values of a step. */
template <int DIM, int KEYS>
static __device__ void load_step(uint32_t k_to, uint32_t v_to, const tile<KEYS> *t, const attn_cuda_tiles *p, int turn, int thread)
{
    const oriel_attn *a = &t->part.job.a;
    load_rows<DIM, KEYS>(k_to, t->k_at[turn], a->dim, p->k_align, p->k.stride[5], p->k.data, thread);
    load_rows<DIM, KEYS>(v_to, t->v_at[turn], a->dim_v, p->v_align, p->v.stride[5], p->v.data, thread);
}

/* ---- products and softmax ----------------------------------------------------------------- */

/* A warp's queries: rows lane / 4 and lane / 4 + 8 of its 16. */
template <int DIM> struct rows16 {
    static constexpr bool KEPT = DIM <= 128; /* queries stay in registers */
    uint32_t              q[KEPT ? DIM / 16 : 1][4];
    float                 out[DIM / 8][4];
    float                 top[2], weight[2]; /* of this thread's columns */
};

template <int DIM> static __device__ void clear(rows16<DIM> *w)
{
#pragma unroll
    for (int side = 0; side < 2; side++) {
        w->top[side] = -CUDART_INF_F;
        w->weight[side] = 0;
    }
#pragma unroll
    for (int n = 0; n < DIM / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            w->out[n][i] = 0;
}

template <typename T, int DIM, int KEYS>
static __device__ void logits(float s[KEYS / 8][4], rows16<DIM> *w, uint32_t q_at, uint32_t k_at, int warp, int lane)
{
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[n][i] = 0;
#pragma unroll
    for (int d = 0; d < DIM / 16; d++) {
        uint32_t a[4];
        if (rows16<DIM>::KEPT)
#pragma unroll
            for (int i = 0; i < 4; i++)
                a[i] = w->q[rows16<DIM>::KEPT ? d : 0][i];
        else
            ldmatrix4(a, q_at + swizzled<DIM>(warp * 16 + lane % 16, 2 * d + lane / 16));
#pragma unroll
        for (int n = 0; n < KEYS / 16; n++) { /* 16 keys by 16 channels */
            uint32_t b[4];
            ldmatrix4(b, k_at + swizzled<DIM>(n * 16 + lane % 8 + lane / 16 * 8, 2 * d + lane / 8 % 2));
            mma16(s[2 * n], a, b[0], b[1], T());
            mma16(s[2 * n + 1], a, b[2], b[3], T());
        }
    }
}

/* s in, its logits times log2(e) out; -inf where the key is not seen. */
template <int KEYS>
static __device__ __forceinline__ void scale_and_mask(float s[KEYS / 8][4], const tile<KEYS> *t, int turn, float scale,
                                                      bool edge, int warp, int lane)
{
    int row = warp % 2 * 16 + lane / 4;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[n][i] *= scale;
    if (!edge)
        return;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            uint32_t sees = t->mask[turn][warp / 2][n * 8 + lane % 4 * 2 + i] >> row;
            s[n][i] = sees & 1 ? s[n][i] : -CUDART_INF_F;
            s[n][i + 2] = sees & 0x100 ? s[n][i + 2] : -CUDART_INF_F;
        }
}

template <int KEYS>
static __device__ void add_bias(float s[KEYS / 8][4], const tile<KEYS> *t, int turn, int warp, int lane)
{
    const float *bias = (const float *)t->part.io.bias.data;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int64_t key = t->bias_key[turn][n * 8 + lane % 4 * 2 + i % 2];
            if (s[n][i] > -CUDART_INF_F && key != INT64_MIN)
                s[n][i] += bias[t->bias_row[warp * 16 + lane / 4 + i / 2 * 8] + key] * CUDART_L2E_F;
        }
}

/* Weights in s; what was summed before is scaled. */
template <int DIM, int KEYS> static __device__ void soften(float s[KEYS / 8][4], rows16<DIM> *w)
{
#pragma unroll
    for (int side = 0; side < 2; side++) {
        float top = w->top[side];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
            top = fmaxf(top, fmaxf(s[n][2 * side], s[n][2 * side + 1]));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
        float base = top == -CUDART_INF_F ? 0 : top, fade = exp2_fast(w->top[side] - base), sum = 0;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 2 * side; i < 2 * side + 2; i++) {
                s[n][i] = exp2_fast(s[n][i] - base);
                sum += s[n][i];
            }
        w->weight[side] = w->weight[side] * fade + sum;
        w->top[side] = top;
#pragma unroll
        for (int n = 0; n < DIM / 8; n++) {
            w->out[n][2 * side] *= fade;
            w->out[n][2 * side + 1] *= fade;
        }
    }
}

template <typename T, int DIM, int KEYS>
static __device__ void add_values(const float s[KEYS / 8][4], rows16<DIM> *w, uint32_t v_at, int lane)
{
#pragma unroll
    for (int n = 0; n < KEYS / 16; n++) {
        const uint32_t a[4] = {pack2(s[2 * n][0], s[2 * n][1], T()), pack2(s[2 * n][2], s[2 * n][3], T()),
                               pack2(s[2 * n + 1][0], s[2 * n + 1][1], T()),
                               pack2(s[2 * n + 1][2], s[2 * n + 1][3], T())};
#pragma unroll
        for (int d = 0; d < DIM / 16; d++) { /* 16 keys by 16 channels */
            uint32_t b[4];
            ldmatrix4_transposed(b, v_at + swizzled<DIM>(n * 16 + lane % 16, 2 * d + lane / 16));
            mma16(w->out[2 * d], a, b[0], b[1], T());
            mma16(w->out[2 * d + 1], a, b[2], b[3], T());
        }
    }
}

/* ---- results ------------------------------------------------------------------------------ */

template <typename T, int DIM, int KEYS>
static __device__ void write(const rows16<DIM> *w, const tile<KEYS> *t, const attn_cuda_tiles *p, int warp, int lane)
{
    const oriel_attn_io *io = &t->part.io;
    const oriel_tensor  *out = t->text ? &io->text_out : &io->out, *lse = t->text ? &io->text_lse : &io->lse;
    int64_t              step = out->stride[out->ndim - 1];
#pragma unroll
    for (int side = 0; side < 2; side++) {
        int   r = warp * 16 + lane / 4 + side * 8;
        float weight = w->weight[side];
        weight += __shfl_xor_sync(~0u, weight, 1);
        weight += __shfl_xor_sync(~0u, weight, 2);
        if (r >= t->queries)
            continue; /* its lanes of four leave together, but the next row's are others' */
        int64_t at, lse_at;
        find_row(t, r, &at, &lse_at);
        if (lse->data && lane % 4 == 0)
            ((float *)lse->data)[lse_at] = weight > 0 ? (w->top[side] + log2f(weight)) * CUDART_LN2_F : -CUDART_INF_F;
        float inverse = weight > 0 ? 1 / weight : 0;
        T    *row = (T *)out->data + at;
#pragma unroll
        for (int n = 0; n < DIM / 8; n++) {
            int      d = n * 8 + lane % 4 * 2;
            uint32_t two = pack2(w->out[n][2 * side] * inverse, w->out[n][2 * side + 1] * inverse, T());
            if (d + 1 < t->part.job.a.dim_v && p->out_align >= 4)
                *(uint32_t *)(row + d) = two;
            else {
                if (d < t->part.job.a.dim_v)
                    ((uint16_t *)row)[d * step] = (uint16_t)two;
                if (d + 1 < t->part.job.a.dim_v)
                    ((uint16_t *)row)[(d + 1) * step] = (uint16_t)(two >> 16);
            }
        }
    }
}

/* ---- the kernel --------------------------------------------------------------------------- */

template <int DIM, int KEYS> static constexpr int shared_bytes()
{
    return 2 * 2 * KEYS * DIM * 2 + (rows16<DIM>::KEPT ? 0 : ROWS * DIM * 2) + 128;
}

template <typename T, int DIM, int KEYS>
static __global__ void __launch_bounds__(THREADS) attend(const __grid_constant__ attn_cuda_tiles p)
{
    extern __shared__ unsigned char memory[];
    __shared__ tile<KEYS>           t;
    const int      thread = (int)threadIdx.x, warp = thread / 32, lane = thread % 32;
    const uint32_t base = (shared_address(memory) + 127) & ~127u, size = KEYS * DIM * 2;
    const uint32_t q_at = rows16<DIM>::KEPT ? base : base + 4 * size; /* kept in registers: where keys come later */
    rows16<DIM>    w;
    begin(&t, &p, thread);

    const oriel_attn   *a = &t.part.job.a;
    const oriel_tensor *q = t.text ? &t.part.io.text_q : &t.part.io.q;
    load_rows<DIM, ROWS>(q_at, t.q_at, a->dim, p.q_align, q->stride[q->ndim - 1], q->data, thread);
    for (int i = 0; i < 4; i++)
        clear_columns<DIM>(base + i * size, KEYS, i % 2 ? a->dim_v : a->dim, thread);
    if (!rows16<DIM>::KEPT || KEYS < ROWS)
        clear_columns<DIM>(q_at, ROWS, a->dim, thread);
    copies_end_group();
    find_keys(&t, &p, 0, 0, thread);
    copies_wait<0>();
    __syncthreads();
    clear(&w);
    if (rows16<DIM>::KEPT) {
#pragma unroll
        for (int d = 0; d < DIM / 16; d++)
            ldmatrix4(w.q[rows16<DIM>::KEPT ? d : 0], q_at + swizzled<DIM>(warp * 16 + lane % 16, 2 * d + lane / 16));
        __syncthreads();
    }

    const float    scale = attn_scale(&t.part.job, t.h) * CUDART_L2E_F;
    const uint32_t keys = (uint32_t)t.keys[0] * (uint32_t)t.keys[1] * (uint32_t)t.keys[2] + (uint32_t)a->extra;
    const bool     biased = a->bias != ORIEL_BIAS_NONE && !t.text;
    load_step<DIM>(base, base + size, &t, &p, 0, thread);
    copies_end_group();
    int turn = 0, next = 1, side = 0;
    for (uint32_t first = 0; first < keys; first += KEYS, side ^= 1, turn = next, next = (next + 1) % TURNS) {
        const uint32_t k_at = base + side * 2 * size, k_next = base + (side ^ 1) * 2 * size;
        if (first + KEYS < keys)
            find_keys(&t, &p, first + KEYS, next, thread);
        __syncthreads(); /* the step before is done with, and the next one's rows are known */
        if (first + KEYS < keys)
            load_step<DIM>(k_next, k_next + size, &t, &p, next, thread);
        copies_end_group();
        copies_wait<1>();
        __syncthreads(); /* this step's are there */
        uint32_t any = 0;
        bool     edge = false;
        for (int i = 0; i < KEYS / 32; i++) {
            any |= t.any[turn][i][warp / 2] >> (warp % 2 * 16) & 0xffff;
            edge |= t.edge[turn][i] != 0;
        }
        if (!any)
            continue;
        float s[KEYS / 8][4];
        logits<T, DIM, KEYS>(s, &w, q_at, k_at, warp, lane);
        scale_and_mask<KEYS>(s, &t, turn, scale, edge | biased, warp, lane); /* a query that is not there has no bias */
        if (biased)
            add_bias<KEYS>(s, &t, turn, warp, lane);
        soften<DIM, KEYS>(s, &w);
        add_values<T, DIM, KEYS>(s, &w, k_at + size, lane);
    }
    write<T, DIM, KEYS>(&w, &t, &p, warp, lane);
}

/* ---- the host's side ---------------------------------------------------------------------- */

template <typename T, int DIM, int KEYS> static oriel_status launch(const attn_cuda_tiles *p, cudaStream_t stream)
{
    const int   bytes = shared_bytes<DIM, KEYS>();
    cudaError_t e = cudaFuncSetAttribute(attend<T, DIM, KEYS>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (e)
        return cuda_fail(e, "attention, mma: %d bytes of shared memory", bytes);
    attend<T, DIM, KEYS><<<p->blocks, THREADS, (size_t)bytes, stream>>>(*p);
    return cuda_launched("attention, mma");
}

template <typename T> static oriel_status launch_for(const attn_job *j, const attn_cuda_tiles *p, cudaStream_t s)
{
    int dim = oriel_axis_high(j->a.dim, j->a.dim_v);
    return dim <= 32    ? launch<T, 32, 64>(p, s)
           : dim <= 64  ? launch<T, 64, 64>(p, s)
           : dim <= 128 ? launch<T, 128, 64>(p, s)
                        : launch<T, 256, 32>(p, s);
}

static oriel_status run(const attn_job *j, oriel_device *dev)
{
    attn_cuda_tiles p;
    oriel_status    s = attn_cuda_tiles_make(&p, j, dev, j->a.dim > 128 || j->a.dim_v > 128 ? 32 : 64);
    if (s)
        return s;
    return j->a.dtype == ORIEL_F16 ? launch_for<__half>(j, &p, dev->cuda->stream)
                                   : launch_for<__nv_bfloat16>(j, &p, dev->cuda->stream);
}

static const char *reject(const attn_job *j, const cuda_device *gpu)
{
    int dim = oriel_axis_high(j->a.dim, j->a.dim_v);
    if (dim > 128 && gpu->shared < shared_bytes<256, 32>() + (int)sizeof(tile<32>))
        return "dim over 128, for which this GPU has too little shared memory";
    return j->a.dtype == ORIEL_F32 ? "f32, for which there are no tensor cores but by rounding to tf32"
                                   : attn_cuda_tiles_reject(j);
}

extern "C" const attn_cuda_impl attn_cuda_mma = {"mma", reject, run};
