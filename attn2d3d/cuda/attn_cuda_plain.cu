/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over windows on CUDA, plainly: the meaning, one query and head a warp.
 *
 * Contract: queries and keys of one raster; no field after `bias`.
 * Keys come in raster order, then the extra ones, 32 at a time, a key a lane: its logit, the largest of
 *   the 32, their weights; then lanes go over the values' channels, key after key (online softmax,
 *   arXiv 1805.02867).
 * Grid: warps of blocks of 4 go over the queries and heads of all batch items, then over the text's.
 * Bound: latency: 32 rows of keys at unrelated addresses, again for every query.
 */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <math_constants.h>

#include "attn2d3d/cuda/attn_cuda.h"

enum { LANES = 32, WARPS = 4, PARTS = ATTN_DIM_MAX / LANES, BLOCKS_A_SM = 16 };

typedef struct args {
    oriel_attn    a;  /* filled in */
    oriel_attn_io io; /* data and axes in the GPU's memory */
    int64_t       tokens, items;
} args;

static __device__ float load(const oriel_tensor *t, int64_t at)
{
    if (t->dtype == ORIEL_F32)
        return ((const float *)t->data)[at];
    if (t->dtype == ORIEL_F16)
        return __half2float(((const __half *)t->data)[at]);
    return __bfloat162float(((const __nv_bfloat16 *)t->data)[at]);
}

static __device__ void store(const oriel_tensor *t, int64_t at, float x)
{
    if (t->dtype == ORIEL_F32)
        ((float *)t->data)[at] = x;
    else if (t->dtype == ORIEL_F16)
        ((__half *)t->data)[at] = __float2half_rn(x);
    else
        ((__nv_bfloat16 *)t->data)[at] = __float2bfloat16_rn(x);
}

static __device__ oriel_axis axis_of(const args *p, int h, int x)
{
    return p->io.axes ? p->io.axes[h * 3 + x] : p->a.axis[x];
}

/* One query on its way. Uniform in a warp, but for sum. */
typedef struct query {
    int        b, h, kv, at[3];
    bool       text;
    oriel_span span[3];
    int64_t    raster, keys; /* how many keys are of the raster; all of them */
    float      top, weight, sum[PARTS];
} query;

static __device__ float bias_of(const args *p, const query *q, const int k[3])
{
    const oriel_tensor *t = &p->io.bias;
    const int          *n = p->a.extent;
    int64_t             at = q->h * t->stride[0];
    if (p->a.bias == ORIEL_BIAS_NONE || q->text)
        return 0;
    if (p->a.bias == ORIEL_BIAS_DENSE)
        at += (((int64_t)q->at[0] * n[1] + q->at[1]) * n[2] + q->at[2]) * t->stride[1] +
              (((int64_t)k[0] * n[1] + k[1]) * n[2] + k[2]) * t->stride[2];
    else
        for (int x = 0; x < 3; x++) {
            int step = axis_of(p, q->h, x).dilation;
            at += ((q->at[x] - k[x]) / (step ? step : 1) + t->shape[x + 1] / 2) * t->stride[x + 1];
        }
    return ((const float *)t->data)[at];
}

/* Where key i's rows lie, and its bias. */
static __device__ float find_key(const args *p, const query *q, int64_t i, int64_t *k_at, int64_t *v_at)
{
    if (i >= q->raster) {
        *k_at = attn_list_at(&p->io.extra_k, q->b, (int)(i - q->raster), q->kv);
        *v_at = attn_list_at(&p->io.extra_v, q->b, (int)(i - q->raster), q->kv);
        return 0;
    }
    int64_t   row = i / q->span[2].count;
    const int k[3] = {q->span[0].first + (int)(row / q->span[1].count) * q->span[0].step,
                      q->span[1].first + (int)(row % q->span[1].count) * q->span[1].step,
                      q->span[2].first + (int)(i % q->span[2].count) * q->span[2].step};
    *k_at = attn_at(&p->io.k, q->b, k, q->kv);
    *v_at = attn_at(&p->io.v, q->b, k, q->kv);
    return bias_of(p, q, k);
}

/* Query `item` of all; its scaled channels into shared memory. */
static __device__ void begin(const args *p, query *q, int64_t item, float *channels, int lane)
{
    int64_t rest = item / p->a.heads, i = rest % (p->tokens + p->a.text);
    q->h = (int)(item % p->a.heads);
    q->kv = q->h / (p->a.heads / p->a.kv_heads);
    q->b = (int)(rest / (p->tokens + p->a.text));
    q->text = i >= p->tokens;
    q->at[0] = (int)(i / p->a.extent[2] / p->a.extent[1]);
    q->at[1] = (int)(i / p->a.extent[2] % p->a.extent[1]);
    q->at[2] = (int)(i % p->a.extent[2]);
    for (int x = 0; x < 3; x++)
        q->span[x] = q->text ? oriel_span{0, 1, p->a.extent[x]}
                             : oriel_axis_span(axis_of(p, q->h, x), p->a.extent[x], q->at[x]);
    q->raster = (int64_t)q->span[0].count * q->span[1].count * q->span[2].count;
    q->keys = q->raster + p->a.extra;
    if (q->text)
        q->at[0] = (int)(i - p->tokens);
    const oriel_tensor *t = q->text ? &p->io.text_q : &p->io.q;
    int64_t             at = q->text ? attn_list_at(t, q->b, q->at[0], q->h) : attn_at(t, q->b, q->at, q->h);
    int64_t             step = t->stride[t->ndim - 1];
    for (int d = lane; d < p->a.dim; d += LANES)
        channels[d] = load(t, at + d * step) * p->a.scale;
    q->top = -CUDART_INF_F;
    q->weight = 0;
    for (int r = 0; r < PARTS; r++)
        q->sum[r] = 0;
    __syncwarp();
}

/* Keys [first, first + 32), a lane each. */
static __device__ void take_keys(const args *p, query *q, int64_t first, const float *channels, int lane)
{
    int64_t key = first + lane, k_at = 0, v_at = 0;
    float   logit = -CUDART_INF_F;
    if (key < q->keys) {
        const oriel_tensor *t = key < q->raster ? &p->io.k : &p->io.extra_k;
        float               bias = find_key(p, q, key, &k_at, &v_at), dot = 0;
        for (int d = 0; d < p->a.dim; d++)
            dot += channels[d] * load(t, k_at + d * t->stride[t->ndim - 1]);
        logit = dot + bias;
    }
    float top = logit;
    for (int far = LANES / 2; far; far /= 2)
        top = fmaxf(top, __shfl_xor_sync(~0u, top, far));
    top = fmaxf(top, q->top);
    float fade = expf(q->top - top), weight = expf(logit - top), all = weight; /* fade is 0 the first time */
    for (int far = LANES / 2; far; far /= 2)
        all += __shfl_xor_sync(~0u, all, far);
    q->top = top;
    q->weight = q->weight * fade + all;
    for (int r = 0; r < PARTS; r++)
        q->sum[r] *= fade;
#pragma unroll 1
    for (int i = 0; i < LANES && first + i < q->keys; i++) {
        const oriel_tensor *t = first + i < q->raster ? &p->io.v : &p->io.extra_v;
        float               w = __shfl_sync(~0u, weight, i);
        int64_t             at = __shfl_sync(~0u, v_at, i), step = t->stride[t->ndim - 1];
#pragma unroll
        for (int r = 0; r < PARTS; r++)
            if (r * LANES + lane < p->a.dim_v)
                q->sum[r] += w * load(t, at + (r * LANES + lane) * step);
    }
}

static __device__ void end(const args *p, const query *q, int lane)
{
    const oriel_tensor *t = q->text ? &p->io.text_out : &p->io.out, *l = q->text ? &p->io.text_lse : &p->io.lse;
    int64_t             at = q->text ? attn_list_at(t, q->b, q->at[0], q->h) : attn_at(t, q->b, q->at, q->h);
#pragma unroll
    for (int r = 0; r < PARTS; r++)
        if (r * LANES + lane < p->a.dim_v)
            store(t, at + (r * LANES + lane) * t->stride[t->ndim - 1], q->sum[r] / q->weight);
    if (l->data && lane == 0)
        ((float *)l->data)[q->text ? attn_list_at(l, q->b, q->at[0], q->h) : attn_at(l, q->b, q->at, q->h)] =
            logf(q->weight) + q->top;
    __syncwarp(); /* before the next query's channels */
}

static __global__ void __launch_bounds__(LANES *WARPS) attend(const __grid_constant__ args p)
{
    __shared__ float channels[WARPS][ATTN_DIM_MAX];
    int              lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    query            q;
    for (int64_t item = (int64_t)blockIdx.x * WARPS + warp; item < p.items; item += (int64_t)gridDim.x * WARPS) {
        begin(&p, &q, item, channels[warp], lane);
        for (int64_t first = 0; first < q.keys; first += LANES)
            take_keys(&p, &q, first, channels[warp], lane);
        end(&p, &q, lane);
    }
}

static oriel_status run(const attn_job *j, oriel_device *dev)
{
    args         p = {j->a, *j->io, j->tokens, (int64_t)j->a.batch * (j->tokens + j->a.text) * j->a.heads};
    void        *scratch;
    oriel_status s;
    if ((s = cuda_scratch(dev, &scratch, attn_cuda_axes_bytes(j))) || (s = attn_cuda_axes(j, dev, scratch, &p.io.axes)))
        return s;
    int64_t blocks = oriel_min(oriel_ceil_div(p.items, WARPS), (int64_t)dev->cuda->sms * BLOCKS_A_SM);
    attend<<<(unsigned)blocks, LANES * WARPS, 0, dev->cuda->stream>>>(p);
    return cuda_launched("attention, plain");
}

static const char *reject(const attn_job *j, const cuda_device *gpu)
{
    (void)gpu;
    return attn_plain_fields(j);
}

extern "C" const attn_cuda_impl attn_cuda_plain = {"plain", reject, run};
