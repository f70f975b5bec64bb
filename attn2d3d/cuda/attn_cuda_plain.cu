/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over windows on CUDA, plainly: the meaning, one query and head a warp.
 *
 * Contract: takes everything, as plain C does (attn_c.c), whose functions of the law it shares.
 * Keys come in the same order, 32 at a time, a key a lane: its logit, the largest of the 32, their
 *   weights; then lanes go over the values' channels, key after key (online softmax, arXiv 1805.02867).
 * Grid: warps of blocks of 4 go over the queries and heads of all batch items, the text's after the
 *   raster's.
 * Bound: latency: 32 rows of keys at unrelated addresses, again for every query.
 */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <math_constants.h>

#include "attn2d3d/cuda/attn_cuda.h"

enum { LANES = 32, WARPS = 4, PARTS = ATTN_DIM_MAX / LANES, BLOCKS_A_SM = 16 };

static __device__ float load(const void *data, oriel_dtype t, int64_t at)
{
    if (t == ORIEL_F32)
        return ((const float *)data)[at];
    if (t == ORIEL_F16)
        return __half2float(((const __half *)data)[at]);
    return __bfloat162float(((const __nv_bfloat16 *)data)[at]);
}

static __device__ void store(void *data, oriel_dtype t, int64_t at, float x)
{
    if (t == ORIEL_F32)
        ((float *)data)[at] = x;
    else if (t == ORIEL_F16)
        ((__half *)data)[at] = __float2half_rn(x);
    else
        ((__nv_bfloat16 *)data)[at] = __float2bfloat16_rn(x);
}

static __device__ float sum_of(float x)
{
    for (int far = LANES / 2; far; far /= 2)
        x += __shfl_xor_sync(~0u, x, far);
    return x;
}

/* A key of one lane. No data: a row of zeros. */
typedef struct key {
    const oriel_tensor *k, *v;
    int64_t             k_at, v_at;
    float               bias;
    bool                there;
} key;

/* One query on its way; the same in all lanes, but for sum. */
typedef struct query {
    const attn_job *j;
    float          *channels; /* (D) of the query, scaled */
    int             lane, b, h, kv;
    float           top, weight, sum[PARTS]; /* channels r * 32 + lane of the sum */
} query;

static __device__ void begin(query *q, const oriel_tensor *t, int64_t at)
{
    const oriel_attn *a = &q->j->a;
    int64_t           step = t->stride[t->ndim - 1];
    float             scale = attn_scale(q->j, q->h), squares = 0;
    for (int d = q->lane; d < a->dim; d += LANES) {
        float x = load(t->data, a->dtype, at + d * step);
        q->channels[d] = x;
        squares += x * x;
    }
    if (a->cosine)
        scale /= fmaxf(sqrtf(sum_of(squares)), 1e-12f);
    for (int d = q->lane; d < a->dim; d += LANES)
        q->channels[d] *= scale;
    q->top = -CUDART_INF_F;
    q->weight = 0;
    for (int r = 0; r < PARTS; r++)
        q->sum[r] = 0;
    __syncwarp();
}

static __device__ float logit_of(const query *q, const key *k)
{
    const oriel_attn *a = &q->j->a;
    float             dot = 0, squares = 0;
    if (!k->there)
        return -CUDART_INF_F;
    for (int d = 0; k->k->data && d < a->dim; d++) {
        float x = load(k->k->data, a->dtype, k->k_at + d * k->k->stride[k->k->ndim - 1]);
        dot += q->channels[d] * x;
        squares += x * x;
    }
    if (a->cosine)
        dot /= fmaxf(sqrtf(squares), 1e-12f);
    return dot + k->bias;
}

/* A key a lane. */
static __device__ void see(query *q, const key *k)
{
    const oriel_attn *a = &q->j->a;
    float             logit = logit_of(q, k), top = logit;
    for (int far = LANES / 2; far; far /= 2)
        top = fmaxf(top, __shfl_xor_sync(~0u, top, far));
    top = fmaxf(top, q->top);
    if (top == -CUDART_INF_F)
        return; /* no key yet */
    float fade = expf(q->top - top), weight = expf(logit - top); /* fade is 0 the first time */
    q->top = top;
    q->weight = q->weight * fade + sum_of(weight);
    float    sum[PARTS] = {}; /* a step's by itself: many keys alike do not add up their rounding */
    bool     adds = k->there && k->v->data;
    unsigned all = __ballot_sync(~0u, adds);
#pragma unroll 1
    for (; all; all &= all - 1) {
        int         i = __ffs((int)all) - 1;
        float       w = __shfl_sync(~0u, weight, i);
        int64_t     at = __shfl_sync(~0u, k->v_at, i);
        int64_t     step = __shfl_sync(~0u, adds ? k->v->stride[k->v->ndim - 1] : 0, i);
        const void *data = (const void *)__shfl_sync(~0u, adds ? (unsigned long long)k->v->data : 0, i);
#pragma unroll
        for (int r = 0; r < PARTS; r++)
            if (r * LANES + q->lane < a->dim_v)
                sum[r] += w * load(data, a->dtype, at + (r * LANES + q->lane) * step);
    }
    for (int r = 0; r < PARTS; r++)
        q->sum[r] = q->sum[r] * fade + sum[r];
}

static __device__ void see_extra(query *q)
{
    const oriel_attn_io *io = q->j->io;
    for (int first = 0; first < q->j->a.extra; first += LANES) {
        int i = first + q->lane;
        key k = {&io->extra_k, &io->extra_v, 0, 0, 0, i < q->j->a.extra};
        if (k.there) {
            k.k_at = attn_list_at(k.k, q->b, i, q->kv);
            k.v_at = attn_list_at(k.v, q->b, i, q->kv);
        }
        see(q, &k);
    }
}

/* Key n of the product of three spans. i: the query's place, NULL for text. box: it has `valid` keys. */
static __device__ key find_key(const query *q, const oriel_span c[3], int64_t n, const int *i, const attn_box *box)
{
    const attn_job      *j = q->j;
    const oriel_attn_io *io = j->io;
    const int           *m = j->a.keys;
    int64_t              row = n / c[2].count;
    const int            at[3] = {c[0].first + (int)(row / c[1].count) * c[0].step,
                                  c[1].first + (int)(row % c[1].count) * c[1].step,
                                  c[2].first + (int)(n % c[2].count) * c[2].step};
    key                  k = {&io->k, &io->v, 0, 0, 0, !box || attn_box_place(box, at) < box->valid};
    if (!k.there)
        return k;
    if (i)
        k.bias = attn_bias(j, q->h, i, at);
    if (at[0] < 0 || at[0] >= m[0] || at[1] < 0 || at[1] >= m[1] || at[2] < 0 || at[2] >= m[2]) {
        k.k = &io->pad_k;
        k.v = &io->pad_v;
        k.k_at = q->kv * k.k->stride[0];
        k.v_at = q->kv * k.v->stride[0];
    } else {
        k.k_at = attn_at(k.k, q->b, at, q->kv);
        k.v_at = attn_at(k.v, q->b, at, q->kv);
    }
    return k;
}

static __device__ void see_spans(query *q, const oriel_span s[3], const int *i, const attn_box *box)
{
    oriel_span c[3] = {s[0], s[1], s[2]};
    for (int x = 0; x < 3 && box; x++)
        c[x] = attn_clip(s[x], box->first[x], box->end[x]);
    int64_t keys = (int64_t)c[0].count * c[1].count * c[2].count;
    for (int64_t first = 0; first < keys; first += LANES) {
        key k = {};
        if (first + q->lane < keys)
            k = find_key(q, c, first + q->lane, i, box);
        see(q, &k);
    }
}

/* The sum divided: zeros if no key was seen. Returns the log-sum-exp. */
static __device__ float end(query *q)
{
    for (int r = 0; r < PARTS && q->weight > 0; r++)
        q->sum[r] /= q->weight;
    __syncwarp(); /* before the next query's channels */
    return logf(q->weight) + q->top;
}

static __device__ void write(const query *q, const oriel_tensor *out, int64_t at, const oriel_tensor *lse,
                             int64_t lse_at, float value)
{
#pragma unroll
    for (int r = 0; r < PARTS; r++)
        if (r * LANES + q->lane < q->j->a.dim_v)
            store(out->data, out->dtype, at + (r * LANES + q->lane) * out->stride[out->ndim - 1], q->sum[r]);
    if (lse->data && q->lane == 0)
        ((float *)lse->data)[lse_at] = value;
}

static __device__ void raster_query(query *q, const int i[3])
{
    const attn_job      *j = q->j;
    const oriel_attn_io *io = j->io;
    const int           *side = j->a.q_block, *blocks = j->q_blocks;
    oriel_span           s[3];
    for (int x = 0; x < 3; x++)
        s[x] = attn_span(j, q->h, x, i[x]);
    begin(q, &io->q, attn_at(&io->q, q->b, i, q->h));
    if (j->a.lists) {
        int64_t   own = ((int64_t)(i[0] / side[0]) * blocks[1] + i[1] / side[1]) * blocks[2] + i[2] / side[2];
        attn_list list = attn_list_of(j, q->b, q->h, own);
        for (int64_t n = list.from; n < list.to; n++) {
            attn_box box = attn_key_box(j, attn_int(&io->indices, n * io->indices.stride[0]));
            see_spans(q, s, i, &box);
        }
    } else
        see_spans(q, s, i, NULL);
    see_extra(q);
    float lse = end(q);
    write(q, &io->out, attn_at(&io->out, q->b, i, q->h), &io->lse, io->lse.data ? attn_at(&io->lse, q->b, i, q->h) : 0,
          lse);
}

/* Text query i over the keys of three spans and the extra ones. */
static __device__ float text_over(query *q, int i, const oriel_span s[3])
{
    const oriel_tensor *t = &q->j->io->text_q;
    begin(q, t, attn_list_at(t, q->b, i, q->h));
    see_spans(q, s, NULL, NULL);
    see_extra(q);
    return end(q);
}

/* The mean of its answers in each window, into q->sum. */
static __device__ void text_in_windows(query *q, int i)
{
    const int *n = q->j->a.keys;
    float      mean[PARTS] = {};
    oriel_span s[3];
    int64_t    windows = 0;
    for (int t = 0; t < n[0]; t = s[0].first + s[0].count) {
        s[0] = attn_window(q->j, q->h, 0, t);
        for (int y = 0; y < n[1]; y = s[1].first + s[1].count) {
            s[1] = attn_window(q->j, q->h, 1, y);
            for (int x = 0; x < n[2]; x = s[2].first + s[2].count, windows++) {
                s[2] = attn_window(q->j, q->h, 2, x);
                text_over(q, i, s);
                for (int r = 0; r < PARTS; r++)
                    mean[r] += q->sum[r];
            }
        }
    }
    for (int r = 0; r < PARTS; r++)
        q->sum[r] = mean[r] / (float)windows;
}

static __device__ void text_query(query *q, int i)
{
    const oriel_attn_io *io = q->j->io;
    const int           *n = q->j->a.keys;
    const oriel_span     all[3] = {{0, 1, n[0]}, {0, 1, n[1]}, {0, 1, n[2]}};
    float                lse = 0;
    if (q->j->a.text_mode == ORIEL_TEXT_WINDOWS)
        text_in_windows(q, i);
    else
        lse = text_over(q, i, all);
    write(q, &io->text_out, attn_list_at(&io->text_out, q->b, i, q->h), &io->text_lse,
          io->text_lse.data ? attn_list_at(&io->text_lse, q->b, i, q->h) : 0, lse);
}

typedef struct args {
    const attn_part *parts;
    const int64_t   *starts;
    int              segments, heads, group; /* heads of queries to a head of keys */
    int64_t          tokens, text, items;
} args;

static __global__ void __launch_bounds__(LANES *WARPS) attend(const args p)
{
    __shared__ float channels[WARPS][ATTN_DIM_MAX];
    query            q = {};
    q.lane = (int)threadIdx.x % LANES;
    q.channels = channels[threadIdx.x / LANES];
    for (int64_t item = (int64_t)blockIdx.x * WARPS + threadIdx.x / LANES; item < p.items;
         item += (int64_t)gridDim.x * WARPS) {
        int64_t rest = item / p.heads, i = rest % (p.tokens + p.text), own = i;
        q.h = (int)(item % p.heads);
        q.kv = q.h / p.group;
        q.b = (int)(rest / (p.tokens + p.text));
        q.j = &p.parts->job;
        if (i >= p.tokens) {
            text_query(&q, (int)(i - p.tokens));
            continue;
        }
        if (p.starts) {
            int s = attn_starts_find(p.starts, p.segments, i);
            q.j = &p.parts[s].job;
            own -= p.starts[s];
        }
        const int *n = q.j->a.extent;
        const int  at[3] = {(int)(own / n[2] / n[1]), (int)(own / n[2] % n[1]), (int)(own % n[2])};
        raster_query(&q, at);
    }
}

static oriel_status run(const attn_job *j, oriel_device *dev)
{
    attn_cuda_copy copy;
    oriel_status   s = attn_cuda_copy_job(&copy, j, dev, 0);
    if (s)
        return s;
    args p = {copy.parts, copy.starts, j->a.segments, j->a.heads, j->a.heads / j->a.kv_heads, j->tokens, j->a.text, 0};
    p.items = j->a.batch * (p.tokens + p.text) * p.heads;
    int64_t blocks = oriel_min(oriel_ceil_div(p.items, WARPS), (int64_t)dev->cuda->sms * BLOCKS_A_SM);
    attend<<<(unsigned)blocks, LANES * WARPS, 0, dev->cuda->stream>>>(p);
    return cuda_launched("attention, plain");
}

static const char *reject(const attn_job *j, const cuda_device *gpu)
{
    (void)j;
    (void)gpu;
    return NULL;
}

extern "C" const attn_cuda_impl attn_cuda_plain = {"plain", reject, run};
