/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over windows, plain C: the meaning, one query and head at a time.
 *
 * Contract: takes everything.
 * Keys come in raster order, then the extra ones, KEYS at a time: their logits, the largest one, the
 *   weights, the sum of values; what was summed before is scaled when a larger logit comes (online
 *   softmax, arXiv 1805.02867). Nothing is allocated.
 * Bound: 4 (D + Dv) bytes of keys and values for 2 (D + Dv) flops.
 */
#include <math.h>

#include "attn2d3d/attn.h"

enum { KEYS = 32, PARTS = 8 };

typedef struct query { /* one query and head on its way */
    const attn_job *j;
    int             b, h, kv;
    float           q[ATTN_DIM_MAX], sum[ATTN_DIM_MAX]; /* q is scaled */
    float           top, weight;                        /* largest logit yet; sum of weights */
    int             n;                                  /* keys that wait */
    float           logit[KEYS];
    const oriel_tensor *v[KEYS];
    int64_t             at[KEYS]; /* of their values */
} query;

static float dot(const float *a, const float *b, int n)
{
    float part[PARTS] = {0}, sum = 0;
    int   i = 0;
    for (; i + PARTS <= n; i += PARTS)
        for (int p = 0; p < PARTS; p++)
            part[p] += a[i + p] * b[i + p];
    for (; i < n; i++)
        sum += a[i] * b[i];
    return sum + (((part[0] + part[4]) + (part[1] + part[5])) +
                  ((part[2] + part[6]) + (part[3] + part[7])));
}

static void take_keys(query *q)
{
    float top = q->top, v[ATTN_DIM_MAX];
    int   dim = q->j->a.dim_v;
    for (int i = 0; i < q->n; i++)
        top = fmaxf(top, q->logit[i]);
    float fade = expf(q->top - top); /* 0 the first time */
    q->top = top;
    q->weight *= fade;
    for (int d = 0; d < dim; d++)
        q->sum[d] *= fade;
    for (int i = 0; i < q->n; i++) {
        float p = expf(q->logit[i] - top);
        attn_load(v, q->v[i], q->at[i], dim);
        q->weight += p;
        for (int d = 0; d < dim; d++)
            q->sum[d] += p * v[d];
    }
    q->n = 0;
}

static void see(query *q, const oriel_tensor *k, int64_t k_at, const oriel_tensor *v, int64_t v_at,
                float bias)
{
    float key[ATTN_DIM_MAX];
    attn_load(key, k, k_at, q->j->a.dim);
    q->logit[q->n] = dot(q->q, key, q->j->a.dim) + bias;
    q->v[q->n] = v;
    q->at[q->n] = v_at;
    if (++q->n == KEYS)
        take_keys(q);
}

static void begin(query *q, const oriel_tensor *t, int64_t at)
{
    attn_load(q->q, t, at, q->j->a.dim);
    for (int d = 0; d < q->j->a.dim; d++)
        q->q[d] *= q->j->a.scale;
    memset(q->sum, 0, sizeof q->sum);
    q->top = -INFINITY;
    q->weight = 0;
    q->n = 0;
}

static void end(query *q, const oriel_tensor *out, int64_t at, const oriel_tensor *lse, int64_t lse_at)
{
    if (q->n)
        take_keys(q);
    for (int d = 0; d < q->j->a.dim_v; d++)
        q->sum[d] /= q->weight;
    attn_store(out, at, q->sum, q->j->a.dim_v);
    if (lse->data)
        ((float *)lse->data)[lse_at] = logf(q->weight) + q->top;
}

static void see_extra(query *q)
{
    const oriel_attn_io *io = q->j->io;
    for (int i = 0; i < q->j->a.extra; i++)
        see(q, &io->extra_k, attn_list_at(&io->extra_k, q->b, i, q->kv), &io->extra_v,
            attn_list_at(&io->extra_v, q->b, i, q->kv), 0);
}

/* Bias of the query at i for the key at k. */
static float bias(const attn_job *j, int h, const int i[3], const int k[3])
{
    const oriel_tensor *t = &j->io->bias;
    const int          *n = j->a.extent;
    if (j->a.bias == ORIEL_BIAS_NONE)
        return 0;
    int64_t at = h * t->stride[0];
    if (j->a.bias == ORIEL_BIAS_DENSE)
        at += (((int64_t)i[0] * n[1] + i[1]) * n[2] + i[2]) * t->stride[1] +
              (((int64_t)k[0] * n[1] + k[1]) * n[2] + k[2]) * t->stride[2];
    else
        for (int x = 0; x < 3; x++) {
            int step = attn_axis(j, h, x).dilation;
            at += ((i[x] - k[x]) / (step ? step : 1) + t->shape[x + 1] / 2) * t->stride[x + 1];
        }
    return ((const float *)t->data)[at];
}

static void raster_query(query *q, const int i[3])
{
    const attn_job      *j = q->j;
    const oriel_attn_io *io = j->io;
    oriel_span           s[3];
    int                  k[3];
    for (int x = 0; x < 3; x++)
        s[x] = oriel_axis_span(attn_axis(j, q->h, x), j->a.extent[x], i[x]);
    begin(q, &io->q, attn_at(&io->q, q->b, i, q->h));
    for (int t = 0; t < s[0].count; t++)
        for (int y = 0; y < s[1].count; y++)
            for (int x = 0; x < s[2].count; x++) {
                k[0] = s[0].first + t * s[0].step;
                k[1] = s[1].first + y * s[1].step;
                k[2] = s[2].first + x * s[2].step;
                see(q, &io->k, attn_at(&io->k, q->b, k, q->kv), &io->v,
                    attn_at(&io->v, q->b, k, q->kv), bias(j, q->h, i, k));
            }
    see_extra(q);
    end(q, &io->out, attn_at(&io->out, q->b, i, q->h), &io->lse,
        io->lse.data ? attn_at(&io->lse, q->b, i, q->h) : 0);
}

static void text_query(query *q, int i)
{
    const attn_job      *j = q->j;
    const oriel_attn_io *io = j->io;
    int                  k[3];
    begin(q, &io->text_q, attn_list_at(&io->text_q, q->b, i, q->h));
    for (k[0] = 0; k[0] < j->a.extent[0]; k[0]++)
        for (k[1] = 0; k[1] < j->a.extent[1]; k[1]++)
            for (k[2] = 0; k[2] < j->a.extent[2]; k[2]++)
                see(q, &io->k, attn_at(&io->k, q->b, k, q->kv), &io->v,
                    attn_at(&io->v, q->b, k, q->kv), 0);
    see_extra(q);
    end(q, &io->text_out, attn_list_at(&io->text_out, q->b, i, q->h), &io->text_lse,
        io->text_lse.data ? attn_list_at(&io->text_lse, q->b, i, q->h) : 0);
}

/* Items are queries: of each picture the raster's, then the text's; all heads. */
static void range(void *arg, int64_t from, int64_t to, int worker)
{
    const attn_job *j = arg;
    const int      *n = j->a.extent;
    int64_t         each = j->tokens + j->a.text;
    query           q = {.j = j};
    (void)worker;
    for (int64_t item = from; item < to; item++) {
        int64_t i = item % each;
        int     at[3] = {(int)(i / n[2] / n[1]), (int)(i / n[2] % n[1]), (int)(i % n[2])};
        q.b = (int)(item / each);
        for (q.h = 0; q.h < j->a.heads; q.h++) {
            q.kv = q.h / (j->a.heads / j->a.kv_heads);
            if (i < j->tokens)
                raster_query(&q, at);
            else
                text_query(&q, (int)(i - j->tokens));
        }
    }
}

static oriel_status run(const attn_job *j, oriel_pool *pool)
{
    int64_t items = j->a.batch * (j->tokens + j->a.text);
    oriel_parallel_for(pool, items, oriel_pool_grain(pool, items, 64), range, (void *)(uintptr_t)j);
    return ORIEL_OK;
}

static const char *reject(const attn_job *j, unsigned cpu)
{
    (void)j;
    (void)cpu;
    return NULL;
}

const attn_impl attn_c = {"c", reject, run};
