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

/* A row of a tensor, zeros if it has no data. */
static void load(float *to, const oriel_tensor *t, int64_t at, int n)
{
    if (t->data)
        attn_load(to, t, at, n);
    else
        memset(to, 0, (size_t)n * sizeof *to);
}

static void take_keys(query *q)
{
    float top = q->top, v[ATTN_DIM_MAX], sum[ATTN_DIM_MAX], weight = 0;
    int   dim = q->j->a.dim_v;
    for (int i = 0; i < q->n; i++)
        top = fmaxf(top, q->logit[i]);
    float fade = expf(q->top - top); /* 0 the first time */
    q->top = top;
    memset(sum, 0, (size_t)dim * sizeof *sum);
    for (int i = 0; i < q->n; i++) {
        float p = expf(q->logit[i] - top);
        load(v, q->v[i], q->at[i], dim);
        weight += p;
        for (int d = 0; d < dim; d++)
            sum[d] += p * v[d];
    }
    q->weight = q->weight * fade + weight; /* a step's sum by itself: many keys alike do not add up their rounding */
    for (int d = 0; d < dim; d++)
        q->sum[d] = q->sum[d] * fade + sum[d];
    q->n = 0;
}

static void see(query *q, const oriel_tensor *k, int64_t k_at, const oriel_tensor *v, int64_t v_at,
                float bias)
{
    float key[ATTN_DIM_MAX];
    load(key, k, k_at, q->j->a.dim);
    if (q->j->a.cosine)
        attn_normalize(key, q->j->a.dim);
    q->logit[q->n] = dot(q->q, key, q->j->a.dim) + bias;
    q->v[q->n] = v;
    q->at[q->n] = v_at;
    if (++q->n == KEYS)
        take_keys(q);
}

static void begin(query *q, const oriel_tensor *t, int64_t at)
{
    float scale = attn_scale(q->j, q->h);
    attn_load(q->q, t, at, q->j->a.dim);
    if (q->j->a.cosine)
        attn_normalize(q->q, q->j->a.dim);
    for (int d = 0; d < q->j->a.dim; d++)
        q->q[d] *= scale;
    memset(q->sum, 0, sizeof q->sum);
    q->top = -INFINITY;
    q->weight = 0;
    q->n = 0;
}

/* What was summed, divided: zeros if no key was seen. Returns the log-sum-exp. */
static float end(query *q)
{
    if (q->n)
        take_keys(q);
    for (int d = 0; d < q->j->a.dim_v && q->weight > 0; d++)
        q->sum[d] /= q->weight;
    return logf(q->weight) + q->top;
}

static void see_extra(query *q)
{
    const oriel_attn_io *io = q->j->io;
    for (int i = 0; i < q->j->a.extra; i++)
        see(q, &io->extra_k, attn_list_at(&io->extra_k, q->b, i, q->kv), &io->extra_v,
            attn_list_at(&io->extra_v, q->b, i, q->kv), 0);
}

/* The keys of three spans. i: the query's place, NULL for text. box: no others, and of it `valid`. */
static void see_spans(query *q, const oriel_span s[3], const int i[3], const attn_box *box)
{
    const attn_job      *j = q->j;
    const oriel_attn_io *io = j->io;
    const int           *n = j->a.keys;
    oriel_span           c[3] = {s[0], s[1], s[2]};
    int                  k[3];
    for (int x = 0; x < 3 && box; x++)
        c[x] = attn_clip(s[x], box->first[x], box->end[x]);
    for (int t = 0; t < c[0].count; t++)
        for (int y = 0; y < c[1].count; y++)
            for (int x = 0; x < c[2].count; x++) {
                k[0] = c[0].first + t * c[0].step;
                k[1] = c[1].first + y * c[1].step;
                k[2] = c[2].first + x * c[2].step;
                float add = i ? attn_bias(j, q->h, i, k) : 0;
                if (box && attn_box_place(box, k) >= box->valid)
                    continue;
                if (k[0] < 0 || k[0] >= n[0] || k[1] < 0 || k[1] >= n[1] || k[2] < 0 || k[2] >= n[2])
                    see(q, &io->pad_k, q->kv * io->pad_k.stride[0], &io->pad_v, q->kv * io->pad_v.stride[0], add);
                else
                    see(q, &io->k, attn_at(&io->k, q->b, k, q->kv), &io->v, attn_at(&io->v, q->b, k, q->kv), add);
            }
}

static void raster_query(query *q, const int i[3])
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
    attn_store(&io->out, attn_at(&io->out, q->b, i, q->h), q->sum, j->a.dim_v);
    if (io->lse.data)
        ((float *)io->lse.data)[attn_at(&io->lse, q->b, i, q->h)] = lse;
}

/* Text query i over the keys of three spans and the extra ones. */
static float text_over(query *q, int i, const oriel_span s[3])
{
    const oriel_tensor *t = &q->j->io->text_q;
    begin(q, t, attn_list_at(t, q->b, i, q->h));
    see_spans(q, s, NULL, NULL);
    see_extra(q);
    return end(q);
}

/* The mean of its answers in each window, into q->sum. */
static void text_in_windows(query *q, int i)
{
    const int *n = q->j->a.keys;
    float      mean[ATTN_DIM_MAX] = {0};
    oriel_span s[3];
    int64_t    windows = 0;
    for (int t = 0; t < n[0]; t = s[0].first + s[0].count) {
        s[0] = attn_window(q->j, q->h, 0, t);
        for (int y = 0; y < n[1]; y = s[1].first + s[1].count) {
            s[1] = attn_window(q->j, q->h, 1, y);
            for (int x = 0; x < n[2]; x = s[2].first + s[2].count, windows++) {
                s[2] = attn_window(q->j, q->h, 2, x);
                text_over(q, i, s);
                for (int d = 0; d < q->j->a.dim_v; d++)
                    mean[d] += q->sum[d];
            }
        }
    }
    for (int d = 0; d < q->j->a.dim_v; d++)
        q->sum[d] = mean[d] / (float)windows;
}

static void text_query(query *q, int i)
{
    const oriel_attn_io *io = q->j->io;
    const int           *n = q->j->a.keys;
    const oriel_span     all[3] = {{0, 1, n[0]}, {0, 1, n[1]}, {0, 1, n[2]}};
    float                lse = 0;
    if (q->j->a.text_mode == ORIEL_TEXT_WINDOWS)
        text_in_windows(q, i);
    else
        lse = text_over(q, i, all);
    attn_store(&io->text_out, attn_list_at(&io->text_out, q->b, i, q->h), q->sum, q->j->a.dim_v);
    if (io->text_lse.data)
        ((float *)io->text_lse.data)[attn_list_at(&io->text_lse, q->b, i, q->h)] = lse;
}

typedef struct task {
    const attn_job *j;
    attn_starts     starts;
} task;

/* Items are queries: of each picture the raster's, or those of all segments, then the text's; all heads. */
static void range(void *arg, int64_t from, int64_t to, int worker)
{
    const task     *a = arg;
    const attn_job *j = a->j;
    attn_part       part;
    int64_t         each = j->tokens + j->a.text, first = 0, end_of_part = 0;
    query           q = {.j = j};
    (void)worker;
    for (int64_t item = from; item < to; item++) {
        int64_t i = item % each;
        q.b = (int)(item / each);
        if (a->starts.q && (item == from || i == 0 || i == end_of_part)) {
            int s = attn_starts_find(a->starts.q, j->a.segments, i);
            first = a->starts.q[s];
            end_of_part = a->starts.q[s + 1];
            attn_part_make(&part, j, s, first, a->starts.k[s]);
            q.j = &part.job;
        }
        const int *n = q.j->a.extent;
        int64_t    own = i - first;
        int        at[3] = {(int)(own / n[2] / n[1]), (int)(own / n[2] % n[1]), (int)(own % n[2])};
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
    task         a = {.j = j};
    int64_t      items = j->a.batch * (j->tokens + j->a.text);
    oriel_status s = attn_starts_new(&a.starts, j);
    if (s)
        return s;
    oriel_parallel_for(pool, items, oriel_pool_grain(pool, items, 64), range, &a);
    attn_starts_free(&a.starts);
    return ORIEL_OK;
}

static const char *reject(const attn_job *j, unsigned cpu)
{
    (void)j;
    (void)cpu;
    return NULL;
}

const attn_impl attn_c = {"c", reject, run};
