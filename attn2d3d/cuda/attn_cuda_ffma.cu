/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over windows in f32 on CUDA: 64 queries a block, 32 keys a step, no tensor cores (whose tf32
 * has 11 bits).
 *
 * Contract: f32; the law but pad_keys, cosine, text in windows, segments, lists. Any strides.
 * Tile: attn_cuda_tile.cuh.
 * Block: 4 warps of 16 queries each. A thread has 4 queries and, of a step's logits, 4 keys; of the sums,
 *   every 8th run of 4 channels. Weights pass from one to the other through shared memory.
 * Shared memory: queries, a step's keys and values in rows of DIM + 4 floats, so that 8 rows at one
 *   channel lie in all banks; weights.
 * Bound: 8 reads of 16 bytes from shared memory for 64 FMAs.
 */
#include <math_constants.h>

#include "attn2d3d/cuda/attn_cuda_tile.cuh"
#include "core/cuda/mma.cuh"

enum { KEYS = 32, ALONG = 8 /* threads to a query */, OWN = 4 /* queries of a thread */, WEIGHTS = KEYS + 4 };

/* Rows of n floats at the addresses `at` (0: zeros), up to a multiple of 4. */
template <int DIM>
static __device__ void load_rows(float *to, const uint64_t *at, int rows, int n, int align, int64_t step,
                                 const void *safe, int thread)
{
    int all = (n + 3) / 4;
    for (int i = thread; i < rows * all; i += THREADS) {
        int         r = i / all, c = i % all * 4, have = at[r] ? oriel_axis_low(n - c, 4) : 0;
        uint32_t    place = shared_address(to + r * (DIM + 4) + c);
        const char *from = have ? (const char *)at[r] + c * 4 * step : (const char *)safe;
        if (align == 16)
            copy_async<16>(place, from, have * 4);
        else
            for (int e = 0; e < 4; e++)
                copy_async<4>(place + 4 * e, e < have ? from + e * 4 * step : (const char *)safe, e < have ? 4 : 0);
    }
}

/* A thread's queries. */
template <int DIM> struct rows4 {
    float out[OWN][DIM / 32][4]; /* channels m * 32 + lane % 8 * 4 .. + 3 */
    float top[OWN], weight[OWN];
};

/* s[i][n]: query 4 (lane / 8) + i of the warp, key lane % 8 + 8 n. */
template <int DIM>
static __device__ void logits(float s[OWN][4], const float *q, const float *k, int depth, int lane)
{
#pragma unroll
    for (int i = 0; i < OWN; i++)
#pragma unroll
        for (int n = 0; n < 4; n++)
            s[i][n] = 0;
    q += lane / ALONG * OWN * (DIM + 4);
    k += lane % ALONG * (DIM + 4);
    for (int d = 0; d < depth; d += 4) {
        float4 a[OWN], b[4];
#pragma unroll
        for (int i = 0; i < OWN; i++)
            a[i] = *(const float4 *)(q + i * (DIM + 4) + d);
#pragma unroll
        for (int n = 0; n < 4; n++)
            b[n] = *(const float4 *)(k + n * ALONG * (DIM + 4) + d);
#pragma unroll
        for (int i = 0; i < OWN; i++)
#pragma unroll
            for (int n = 0; n < 4; n++)
                s[i][n] += a[i].x * b[n].x + a[i].y * b[n].y + a[i].z * b[n].z + a[i].w * b[n].w;
    }
}

/* Logits times log2(e); -inf where the key is not seen. */
static __device__ void scale_and_mask(float s[OWN][4], const tile<KEYS> *t, int turn, float scale, bool biased, int warp,
                                      int lane)
{
    const float *bias = (const float *)t->part.io.bias.data;
    int          row = warp * 16 + lane / ALONG * OWN;
    bool         edge = t->edge[turn][0] || biased;
#pragma unroll
    for (int n = 0; n < 4; n++) {
        int      key = lane % ALONG + n * ALONG;
        uint32_t sees = edge ? t->mask[turn][row / 32][key] >> (row % 32) : ~0u;
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            float x = s[i][n] * scale;
            if (biased && sees >> i & 1 && t->bias_key[turn][key] != INT64_MIN)
                x += bias[t->bias_row[row + i] + t->bias_key[turn][key]] * CUDART_L2E_F;
            s[i][n] = sees >> i & 1 ? x : -CUDART_INF_F;
        }
    }
}

/* Weights into shared memory; what was summed before is scaled. */
template <int DIM>
static __device__ void soften(float s[OWN][4], rows4<DIM> *w, float *weights, int lane)
{
    weights += lane / ALONG * OWN * WEIGHTS + lane % ALONG;
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        float top = fmaxf(w->top[i], fmaxf(fmaxf(s[i][0], s[i][1]), fmaxf(s[i][2], s[i][3]))), sum = 0;
        for (int far = ALONG / 2; far; far /= 2)
            top = fmaxf(top, __shfl_xor_sync(~0u, top, far));
        float base = top == -CUDART_INF_F ? 0 : top, fade = exp2_fast(w->top[i] - base);
#pragma unroll
        for (int n = 0; n < 4; n++) {
            float p = exp2_fast(s[i][n] - base);
            weights[i * WEIGHTS + n * ALONG] = p;
            sum += p;
        }
        w->top[i] = top;
        w->weight[i] = w->weight[i] * fade + sum;
#pragma unroll
        for (int m = 0; m < DIM / 32; m++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                w->out[i][m][e] *= fade;
    }
    __syncwarp();
}

template <int DIM>
static __device__ void add_values(rows4<DIM> *w, const float *weights, const float *v, int dim_v, int lane)
{
    weights += lane / ALONG * OWN * WEIGHTS;
    v += lane % ALONG * 4;
    for (int key = 0; key < KEYS; key += 4) {
        float p[OWN][4];
#pragma unroll
        for (int i = 0; i < OWN; i++)
            *(float4 *)p[i] = *(const float4 *)(weights + i * WEIGHTS + key);
#pragma unroll
        for (int m = 0; m < DIM / 32; m++) {
            if (m * 32 >= dim_v)
                break;
#pragma unroll
            for (int n = 0; n < 4; n++) {
                float x[4];
                *(float4 *)x = *(const float4 *)(v + (key + n) * (DIM + 4) + m * 32);
#pragma unroll
                for (int i = 0; i < OWN; i++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        w->out[i][m][e] += p[i][n] * x[e];
            }
        }
    }
    __syncwarp(); /* before the next step's weights */
}

template <int DIM>
static __device__ void write(const rows4<DIM> *w, const tile<KEYS> *t, int warp, int lane)
{
    const oriel_attn_io *io = &t->part.io;
    const oriel_tensor  *out = t->text ? &io->text_out : &io->out, *lse = t->text ? &io->text_lse : &io->lse;
    int64_t              step = out->stride[out->ndim - 1];
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        int     r = warp * 16 + lane / ALONG * OWN + i;
        int64_t at, lse_at;
        float   weight = w->weight[i];
        for (int far = ALONG / 2; far; far /= 2)
            weight += __shfl_xor_sync(~0u, weight, far);
        if (r >= t->queries)
            continue;
        find_row(t, r, &at, &lse_at);
        if (lse->data && lane % ALONG == 0)
            ((float *)lse->data)[lse_at] = weight > 0 ? (w->top[i] + log2f(weight)) * CUDART_LN2_F : -CUDART_INF_F;
#pragma unroll
        for (int m = 0; m < DIM / 32; m++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int d = m * 32 + lane % ALONG * 4 + e;
                if (d < t->part.job.a.dim_v)
                    ((float *)out->data)[at + d * step] = weight > 0 ? w->out[i][m][e] / weight : 0;
            }
    }
}

template <int DIM> static constexpr int shared_bytes()
{
    return ((ROWS + 2 * KEYS) * (DIM + 4) + ROWS * WEIGHTS) * 4;
}

template <int DIM>
static __global__ void __launch_bounds__(THREADS) attend(const __grid_constant__ attn_cuda_tiles p)
{
    extern __shared__ float4 memory[];
    __shared__ tile<KEYS>    t;
    const int                thread = (int)threadIdx.x, warp = thread / 32, lane = thread % 32;
    float                   *q_rows = (float *)memory, *k_rows = q_rows + ROWS * (DIM + 4), *v_rows = k_rows + KEYS * (DIM + 4);
    float                   *weights = v_rows + KEYS * (DIM + 4) + warp * 16 * WEIGHTS;
    rows4<DIM>               w;
    begin(&t, &p, thread);
    const oriel_attn   *a = &t.part.job.a;
    const oriel_tensor *q = t.text ? &t.part.io.text_q : &t.part.io.q;
    load_rows<DIM>(q_rows, t.q_at, ROWS, a->dim, p.q_align, q->stride[q->ndim - 1], q->data, thread);
    find_keys(&t, &p, 0, 0, thread);
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        w.top[i] = -CUDART_INF_F;
        w.weight[i] = 0;
#pragma unroll
        for (int m = 0; m < DIM / 32; m++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                w.out[i][m][e] = 0;
    }
    const float    scale = attn_scale(&t.part.job, t.h) * CUDART_L2E_F;
    const uint32_t keys = (uint32_t)t.keys[0] * (uint32_t)t.keys[1] * (uint32_t)t.keys[2] + (uint32_t)a->extra;
    const bool     biased = a->bias != ORIEL_BIAS_NONE && !t.text;
    int            turn = 0;
    for (uint32_t first = 0; first < keys; first += KEYS, turn ^= 1) {
        __syncthreads(); /* the step before is done with; this one's rows are known */
        load_rows<DIM>(k_rows, t.k_at[turn], KEYS, a->dim, p.k_align, p.k.stride[5], p.k.data, thread);
        load_rows<DIM>(v_rows, t.v_at[turn], KEYS, a->dim_v, p.v_align, p.v.stride[5], p.v.data, thread);
        copies_end_group();
        if (first + KEYS < keys)
            find_keys(&t, &p, first + KEYS, turn ^ 1, thread);
        copies_wait<0>();
        __syncthreads();
        if (!(t.any[turn][0][warp / 2] >> (warp % 2 * 16) & 0xffff))
            continue;
        float s[OWN][4];
        logits<DIM>(s, q_rows + warp * 16 * (DIM + 4), k_rows, a->dim, lane);
        scale_and_mask(s, &t, turn, scale, biased, warp, lane);
        soften<DIM>(s, &w, weights, lane);
        add_values<DIM>(&w, weights, v_rows, a->dim_v, lane);
    }
    write<DIM>(&w, &t, warp, lane);
}

/* ---- the host's side ---------------------------------------------------------------------- */

template <int DIM> static oriel_status launch(const attn_cuda_tiles *p, cudaStream_t stream)
{
    const int   bytes = shared_bytes<DIM>();
    cudaError_t e = cudaFuncSetAttribute(attend<DIM>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (e)
        return cuda_fail(e, "attention, ffma: %d bytes of shared memory", bytes);
    attend<DIM><<<p->blocks, THREADS, (size_t)bytes, stream>>>(*p);
    return cuda_launched("attention, ffma");
}

static oriel_status run(const attn_job *j, oriel_device *dev)
{
    attn_cuda_tiles p;
    int             dim = oriel_axis_high(j->a.dim, j->a.dim_v);
    oriel_status    s = attn_cuda_tiles_make(&p, j, dev, KEYS);
    return s            ? s
           : dim <= 32  ? launch<32>(&p, dev->cuda->stream)
           : dim <= 128 ? launch<128>(&p, dev->cuda->stream)
                        : launch<256>(&p, dev->cuda->stream);
}

static const char *reject(const attn_job *j, const cuda_device *gpu)
{
    int dim = oriel_axis_high(j->a.dim, j->a.dim_v);
    if (dim > 128 && gpu->shared < shared_bytes<256>() + (int)sizeof(tile<KEYS>))
        return "dim over 128, for which this GPU has too little shared memory";
    return j->a.dtype != ORIEL_F32 ? "f16 or bf16" : attn_cuda_tiles_reject(j);
}

extern "C" const attn_cuda_impl attn_cuda_ffma = {"ffma", reject, run};
