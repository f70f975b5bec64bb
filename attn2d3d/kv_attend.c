/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention of a chunk over the frames held, read where they lie. Work is split over queries, so the
 * bits do not depend on the number of threads; each thread walks the keys from the sink to the newest.
 */
#include <math.h>

#include "attn2d3d/kv.h"

/* ---- the meaning of a tile ---------------------------------------------------------------- */

static void tile_c(const kv_tile *t)
{
    for (int i = 0; i < t->queries; i++) {
        float       *s = t->s + (ptrdiff_t)i * KV_KEYS, *acc = t->acc + (ptrdiff_t)i * t->dv;
        const float *q = t->q + (ptrdiff_t)i * t->d;
        float        top = t->top[i], sum = 0;
        memset(s, 0, KV_KEYS * sizeof *s);
        for (int d = 0; d < t->d; d++)
            for (int j = 0; j < KV_KEYS; j++)
                s[j] += q[d] * t->k[d * KV_KEYS + j];
        for (int j = 0; j < t->keys; j++)
            top = s[j] > top ? s[j] : top;
        float keep = exp2f(t->top[i] - top);
        for (int c = 0; c < t->dv; c++)
            acc[c] *= keep;
        for (int j = 0; j < t->keys; j++) {
            float p = exp2f(s[j] - top);
            sum += p;
            for (int c = 0; c < t->dv; c++)
                acc[c] += p * t->v[(ptrdiff_t)j * t->dv + c];
        }
        t->sum[i] = t->sum[i] * keep + sum;
        t->top[i] = top;
    }
}

static kv_tile_fn *choose(unsigned cpu)
{
#if defined(__x86_64__)
    if (cpu & ORIEL_CPU_AVX512)
        return kv_tile_avx512;
    if (cpu & ORIEL_CPU_AVX2)
        return kv_tile_avx2;
#endif
    (void)cpu;
    return tile_c;
}

/* ---- filling tiles ------------------------------------------------------------------------ */

typedef struct attend_job {
    oriel_kv           *kv;
    kv_tile_fn         *tile;
    int                 layer, tiles, per_head; /* of queries, a head; query heads a head of keys */
    const oriel_tensor *q, *out, *lse;
} attend_job;

static const float *time_of(const oriel_kv *kv, const float *table, int i)
{
    return table + (size_t)i * 2 * (size_t)kv->pairs[0];
}

/* Queries [first, first + t->queries) of head h, turned and scaled. */
static void fill_queries(const attend_job *j, const kv_tile *t, float *to, int64_t first, int b, int h)
{
    const oriel_kv *kv = j->kv;
    float           scale = (float)(kv->c.scale * 1.4426950408889634);
    for (int i = 0; i < t->queries; i++, to += t->d) {
        int64_t n = first + i;
        kv_read(to, j->q, b * j->q->stride[0] + n * j->q->stride[1] + h * j->q->stride[2], t->d);
        if (kv->c.rope != ORIEL_KV_ROPE_NONE)
            kv_turn3(kv, to, time_of(kv, kv->rope_q, (int)(n / kv->tokens)), (int)(n % kv->tokens));
        for (int c = 0; c < t->d; c++)
            to[c] *= scale;
    }
}

/* Keys and values [first, first + t->keys) of head bh, counted over all frames held. */
static void fill_keys(const attend_job *j, const kv_tile *t, float *k, float *v, int64_t first,
                      int64_t bh, float *x)
{
    const oriel_kv *kv = j->kv;
    for (int i = 0; i < t->keys; i++) {
        int             frame = (int)((first + i) / kv->tokens), token = (int)((first + i) % kv->tokens);
        const kv_block *b = kv_at(kv, j->layer, &kv->slot[frame]);
        kv_load(kv, b, false, bh * kv->tokens + token, x);
        if (kv->c.rope == ORIEL_KV_ROPE_READ)
            kv_turn3(kv, x, time_of(kv, kv->rope_k, frame), token);
        else if (kv->turn[frame])
            kv_turn(x, time_of(kv, kv->rope_k, frame), kv->pairs[0]);
        for (int c = 0; c < t->d; c++)
            k[c * KV_KEYS + i] = x[c];
        kv_load(kv, b, true, bh * kv->tokens + token, v + (ptrdiff_t)i * t->dv);
        for (int c = kv->c.dim_v; c < t->dv; c++)
            v[(ptrdiff_t)i * t->dv + c] = 0;
    }
    for (int i = t->keys; i < KV_KEYS; i++)
        for (int c = 0; c < t->d; c++)
            k[c * KV_KEYS + i] = 0;
}

static void put(const oriel_tensor *t, int64_t at, const float *x, int n)
{
    uint16_t *h = (uint16_t *)t->data + at;
    if (t->dtype == ORIEL_F32)
        memcpy((float *)t->data + at, x, (size_t)n * sizeof *x);
    else
        for (int i = 0; i < n; i++)
            h[i] = t->dtype == ORIEL_BF16 ? oriel_f32_to_bf16(x[i]) : oriel_f32_to_f16(x[i]);
}

static void attend_some(void *arg, int64_t begin, int64_t end, int worker)
{
    const attend_job *j = arg;
    const oriel_kv   *kv = j->kv;
    int               hq = (int)j->q->shape[2], d = kv->c.dim;
    int               dv = (int)oriel_round_up(kv->c.dim_v, KV_LANES);
    int64_t           queries = j->q->shape[1], keys = (int64_t)kv->held * kv->tokens;
    float *v = kv->scratch + (size_t)worker * kv->scratch_each, *acc = v + KV_KEYS * dv;
    float *s = acc + KV_QUERIES * dv, *k = s + KV_QUERIES * KV_KEYS, *q = k + KV_KEYS * d;
    float *top = q + KV_QUERIES * d, *sum = top + KV_QUERIES, *x = sum + KV_QUERIES;
    for (int64_t item = begin; item < end; item++) {
        int64_t first = item % j->tiles * KV_QUERIES;
        int     h = (int)(item / j->tiles % hq), b = (int)(item / j->tiles / hq);
        kv_tile t = {.queries = (int)oriel_min(KV_QUERIES, queries - first), .d = d, .dv = dv,
                     .q = q, .k = k, .v = v, .s = s, .acc = acc, .top = top, .sum = sum};
        fill_queries(j, &t, q, first, b, h);
        memset(acc, 0, (size_t)t.queries * (size_t)dv * sizeof *acc);
        for (int i = 0; i < t.queries; i++)
            top[i] = -INFINITY, sum[i] = 0;
        for (int64_t at = 0; at < keys; at += KV_KEYS) {
            t.keys = (int)oriel_min(KV_KEYS, keys - at);
            fill_keys(j, &t, k, v, at, (int64_t)b * kv->c.heads + h / j->per_head, x);
            j->tile(&t);
        }
        for (int i = 0; i < t.queries; i++) {
            const oriel_tensor *o = j->out, *l = j->lse;
            float              *row = acc + (ptrdiff_t)i * dv;
            for (int c = 0; c < kv->c.dim_v; c++)
                row[c] /= sum[i];
            put(o, b * o->stride[0] + (first + i) * o->stride[1] + h * o->stride[2], row, kv->c.dim_v);
            if (l)
                ((float *)l->data)[b * l->stride[0] + (first + i) * l->stride[1] + h * l->stride[2]] =
                    (top[i] + log2f(sum[i])) * 0.69314718f;
        }
    }
}

/* ---- the door ----------------------------------------------------------------------------- */

/* The rotations of this chunk. Of keys rotated when written, those turn whose distance to the newest
 * frame is not what it was: the sink's, and those beyond a gap. */
static void angles(oriel_kv *kv)
{
    int    n = kv->pairs[0], first = kv->held - kv->chunk;
    bool   read = kv->c.rope == ORIEL_KV_ROPE_READ;
    kv_positions(kv, kv->want);
    double shift = read ? 0 : kv->slot[kv->held - 1].at - kv->want[kv->held - 1];
    for (int i = 0; i < kv->held; i++) {
        double stored = read ? 0 : kv->slot[i].at, turn = kv->want[i] + shift - stored;
        kv->turn[i] = kv->c.rope == ORIEL_KV_ROPE_WRITE && turn != 0;
        if (kv->turn[i] || read)
            kv_angles(kv->rope_k + (size_t)i * 2 * (size_t)n, turn, n, kv->c.theta);
        if (i >= first)
            kv_angles(kv->rope_q + (size_t)(i - first) * 2 * (size_t)n, kv->want[i] + shift, n,
                      kv->c.theta);
    }
}

static oriel_status check(const oriel_kv *kv, int layer, const oriel_tensor *q, const oriel_tensor *out,
                          const oriel_tensor *lse)
{
    oriel_status s;
    if ((s = kv_check_call(kv, layer)) || (s = kv_check_tensor(kv, "q", q, kv->c.dim)) ||
        (s = kv_check_tensor(kv, "out", out, kv->c.dim_v)))
        return s;
    if (!kv->written[layer])
        return oriel_fail(ORIEL_E_ARG, "kv: layer %d has not written frame %lld", layer,
                          (long long)kv->unwritten);
    if (out->shape[2] != q->shape[2])
        return oriel_fail(ORIEL_E_ARG, "kv: q has %lld heads, out %lld", (long long)q->shape[2],
                          (long long)out->shape[2]);
    if (lse && (!lse->data || lse->dtype != ORIEL_F32 || lse->ndim != 3 ||
                lse->shape[0] != q->shape[0] || lse->shape[1] != q->shape[1] ||
                lse->shape[2] != q->shape[2]))
        return oriel_fail(ORIEL_E_ARG, "kv: lse is not f32 (%lld, %lld, %lld)", (long long)q->shape[0],
                          (long long)q->shape[1], (long long)q->shape[2]);
    return ORIEL_OK;
}

oriel_status oriel_kv_attend(oriel_kv *kv, int layer, const oriel_tensor *q, const oriel_tensor *out,
                             const oriel_tensor *lse)
{
    oriel_status s;
    if ((s = check(kv, layer, q, out, lse)))
        return s;
    angles(kv);
    attend_job j = {.kv = kv, .tile = choose(kv->dev->cpu), .layer = layer, .q = q, .out = out, .lse = lse};
    j.tiles = (int)oriel_ceil_div(q->shape[1], KV_QUERIES);
    j.per_head = (int)(q->shape[2] / kv->c.heads);
    oriel_parallel_for(kv->dev->pool, (int64_t)j.tiles * q->shape[2] * kv->c.batch, 1, attend_some, &j);
    return ORIEL_OK;
}
