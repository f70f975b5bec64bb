/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block's tile of 64 queries on the GPU: which keys it walks through, where their rows lie, who sees them.
 *
 * The keys of a tile are those of the box that holds all its queries' windows, in raster order, then the
 * extra ones, KEYS a step. For each key there is a mask of the queries that see it: along an axis these are
 * a run of places, since spans grow with the query.
 */
#ifndef ATTN2D3D_CUDA_ATTN_CUDA_TILE_CUH
#define ATTN2D3D_CUDA_ATTN_CUDA_TILE_CUH

#include "attn2d3d/cuda/attn_cuda_tile.h"

enum {
    THREADS = 128,
    ROWS = ATTN_TILE,
    TURNS = 3 /* steps whose keys are known: the last one, which slow warps may still be at, this, the next */
};

/* What a block knows of its tile. */
template <int KEYS> struct tile {
    uint64_t q_at[ROWS]; /* addresses of the queries' rows; 0: none */
    uint64_t k_at[TURNS][KEYS], v_at[TURNS][KEYS];
    int64_t  bias_row[ROWS], bias_key[TURNS][KEYS]; /* parts of an offset into the bias */
    uint32_t mask[TURNS][2][KEYS];                  /* bit r of word r / 32: query r sees the key */
    uint32_t any[TURNS][KEYS / 32][2];              /* the same of any of 32 keys */
    int      edge[TURNS][KEYS / 32];                /* is one of 32 keys not seen by all? */
    int      low[3][ROWS], high[3][ROWS];       /* along an axis, keys of the box that a place sees */
    int      first[3], step[3], keys[3];        /* the box of keys */
    int      at[3], q_step[3], count[3], queries;
    uint64_t everyone, repeat[3];
    int      b, h, kv, text;
    attn_part part; /* a copy near by */
};

static __device__ uint64_t ones(int n)
{
    return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
}

/* ---- a tile, made by all threads ---------------------------------------------------------- */

template <int KEYS> static __device__ void choose(tile<KEYS> *t, const attn_cuda_tiles *p, int64_t item)
{
    const attn_job *j = &t->part.job;
    int64_t         r = item % p->each;
    t->b = (int)(item / p->each);
    t->text = r < p->text_tiles * j->a.heads;
    if (t->text) {
        t->h = (int)(r / p->text_tiles);
        t->at[0] = (int)(r % p->text_tiles) * ROWS;
        t->queries = oriel_axis_low(j->a.text - t->at[0], ROWS);
        for (int x = 0; x < 3; x++) {
            t->first[x] = 0;
            t->step[x] = 1;
            t->keys[x] = j->a.keys[x];
        }
    } else {
        r -= p->text_tiles * j->a.heads;
        t->h = attn_starts_find(p->starts, j->a.heads, r);
        r -= p->starts[t->h];
        const attn_cuda_head *q = &p->plan[t->h];
        const int             i[3] = {(int)(r / q->count[2] / q->count[1]), (int)(r / q->count[2] % q->count[1]),
                                      (int)(r % q->count[2])};
        t->queries = 1;
        for (int x = 0; x < 3; x++) {
            attn_segment s = p->segments[q->from[x] + i[x]];
            oriel_span   a = attn_span(j, t->h, x, s.first);
            oriel_span   b = attn_span(j, t->h, x, s.first + (s.count - 1) * s.step);
            t->at[x] = s.first;
            t->q_step[x] = s.step;
            t->count[x] = s.count;
            t->queries *= s.count;
            t->first[x] = a.first;
            t->step[x] = a.step;
            t->keys[x] = (b.first - a.first) / a.step + b.count;
        }
    }
    t->kv = t->h / (j->a.heads / j->a.kv_heads);
    t->everyone = ones(t->queries);
    for (int x = 2, inner = 1; x >= 0 && !t->text; inner *= t->count[x--]) {
        t->repeat[x] = 0;
        for (int l = 0; l < t->queries; l += inner * t->count[x])
            t->repeat[x] |= (uint64_t)1 << l;
    }
}

/* Spans of the places, then the queries' rows: a thread each. */
template <int KEYS> static __device__ void spread(tile<KEYS> *t, const attn_cuda_tiles *p, int thread)
{
    const attn_job     *j = &t->part.job;
    const oriel_tensor *q = t->text ? &j->io->text_q : &j->io->q;
    for (int i = thread; i < 3 * ROWS && !t->text; i += THREADS) {
        int x = i / ROWS, place = i % ROWS;
        if (place >= t->count[x])
            continue;
        oriel_span s = attn_span(j, t->h, x, t->at[x] + place * t->q_step[x]);
        t->low[x][place] = (s.first - t->first[x]) / s.step;
        t->high[x][place] = t->low[x][place] + s.count;
    }
    if (thread >= ROWS)
        return;
    int64_t at = 0, bias = 0;
    if (t->text) {
        at = attn_list_at(q, t->b, t->at[0] + thread, t->h);
    } else {
        int i[3] = {thread / t->count[2] / t->count[1], thread / t->count[2] % t->count[1], thread % t->count[2]};
        for (int x = 0; x < 3; x++)
            i[x] = t->at[x] + i[x] * t->q_step[x];
        at = attn_at(q, t->b, i, t->h);
        const oriel_tensor *b = &j->io->bias;
        const int          *n = j->a.extent;
        bias = t->h * b->stride[0];
        if (j->a.bias == ORIEL_BIAS_DENSE)
            bias += (((int64_t)i[0] * n[1] + i[1]) * n[2] + i[2]) * b->stride[1];
        for (int x = 0; x < 3 && j->a.bias == ORIEL_BIAS_OFFSET; x++)
            bias += (attn_place(j, x, i[x]) / t->step[x] + b->shape[x + 1] / 2) * b->stride[x + 1];
    }
    t->bias_row[thread] = bias;
    t->q_at[thread] = thread < t->queries ? (uint64_t)q->data + (uint64_t)(at * p->size) : 0;
}

/* The tile of this block. */
template <int KEYS> static __device__ void begin(tile<KEYS> *t, const attn_cuda_tiles *p, int thread)
{
    static_assert(sizeof(attn_part) % 4 == 0, "words");
    for (int i = thread; i < (int)(sizeof(attn_part) / 4); i += THREADS)
        ((uint32_t *)&t->part)[i] = ((const uint32_t *)p->part)[i];
    __syncthreads();
    if (thread == 0) {
        t->part.job.io = &t->part.io;
        choose(t, p, blockIdx.x);
    }
    __syncthreads();
    spread(t, p, thread);
    __syncthreads();
}

/* The queries that see key k of the box along axis x, as bits of all queries. */
template <int KEYS> static __device__ uint64_t seers(const tile<KEYS> *t, int x, int inner, int k)
{
    int n = t->count[x], from = 0, to = n;
    if (k >= t->low[x][n - 1] && k < t->high[x][0])
        return ~(uint64_t)0;
    while (from < n && t->high[x][from] <= k)
        from++;
    while (to > from && t->low[x][to - 1] > k)
        to--;
    return (ones(to * inner) & ~ones(from * inner)) * t->repeat[x];
}

/* Where key n of the tile lies in a step's tables, and who sees it: a thread each. */
template <int KEYS> static __device__ void find_keys(tile<KEYS> *t, const attn_cuda_tiles *p, uint32_t first, int turn, int thread)
{
    if (thread >= KEYS)
        return;
    uint32_t raster = (uint32_t)t->keys[0] * (uint32_t)t->keys[1] * (uint32_t)t->keys[2], n = first + (uint32_t)thread;
    uint64_t mask = 0, k_at = 0, v_at = 0;
    int64_t  bias = INT64_MIN; /* none */
    if (n < raster) {
        const int k[3] = {(int)(n / (uint32_t)t->keys[2] / (uint32_t)t->keys[1]),
                          (int)(n / (uint32_t)t->keys[2] % (uint32_t)t->keys[1]), (int)(n % (uint32_t)t->keys[2])};
        const int at[3] = {t->first[0] + k[0] * t->step[0], t->first[1] + k[1] * t->step[1],
                           t->first[2] + k[2] * t->step[2]};
        k_at = (uint64_t)p->k.data + (uint64_t)(attn_at(&p->k, t->b, at, t->kv) * p->size);
        v_at = (uint64_t)p->v.data + (uint64_t)(attn_at(&p->v, t->b, at, t->kv) * p->size);
        mask = t->everyone;
        if (!t->text)
            mask &= seers(t, 2, 1, k[2]) & seers(t, 1, t->count[2], k[1]) &
                    seers(t, 0, t->count[2] * t->count[1], k[0]);
        const attn_job     *j = &t->part.job;
        const oriel_tensor *b = &j->io->bias;
        const int          *m = j->a.keys;
        if (t->text || j->a.bias == ORIEL_BIAS_NONE)
            ;
        else if (j->a.bias == ORIEL_BIAS_DENSE)
            bias = (((int64_t)at[0] * m[1] + at[1]) * m[2] + at[2]) * b->stride[2];
        else
            bias = -(at[0] / t->step[0] * b->stride[1] + at[1] / t->step[1] * b->stride[2] +
                     at[2] / t->step[2] * b->stride[3]);
    } else if (n - raster < (uint32_t)t->part.job.a.extra) {
        k_at = (uint64_t)p->extra_k.data + (uint64_t)(attn_list_at(&p->extra_k, t->b, (int)(n - raster), t->kv) * p->size);
        v_at = (uint64_t)p->extra_v.data + (uint64_t)(attn_list_at(&p->extra_v, t->b, (int)(n - raster), t->kv) * p->size);
        mask = t->everyone;
    }
    t->k_at[turn][thread] = k_at;
    t->v_at[turn][thread] = v_at;
    t->bias_key[turn][thread] = bias;
    t->mask[turn][0][thread] = (uint32_t)mask;
    t->mask[turn][1][thread] = (uint32_t)(mask >> 32);
    uint32_t any0 = __reduce_or_sync(~0u, (uint32_t)mask), any1 = __reduce_or_sync(~0u, (uint32_t)(mask >> 32));
    bool     edge = __any_sync(~0u, mask != t->everyone);
    if (thread % 32 == 0) {
        t->any[turn][thread / 32][0] = any0;
        t->any[turn][thread / 32][1] = any1;
        t->edge[turn][thread / 32] = edge;
    }
}

/* Where the results of query r lie. */
template <int KEYS>
static __device__ void find_row(const tile<KEYS> *t, int r, int64_t *out_at, int64_t *lse_at)
{
    const oriel_attn_io *io = &t->part.io;
    *lse_at = 0;
    if (t->text) {
        *out_at = attn_list_at(&io->text_out, t->b, t->at[0] + r, t->h);
        if (io->text_lse.data)
            *lse_at = attn_list_at(&io->text_lse, t->b, t->at[0] + r, t->h);
        return;
    }
    int i[3] = {r / t->count[2] / t->count[1], r / t->count[2] % t->count[1], r % t->count[2]};
    for (int x = 0; x < 3; x++)
        i[x] = t->at[x] + i[x] * t->q_step[x];
    *out_at = attn_at(&io->out, t->b, i, t->h);
    if (io->lse.data)
        *lse_at = attn_at(&io->lse, t->b, i, t->h);
}

#endif
