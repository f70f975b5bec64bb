/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention inside windows (attn_win.h) in vectors: included once a level, after core/cpu/simd_*.h and
 * for bf16 WIN_PAIRS with its own PER_STEP, v_mac(), put_weights(), put_row(), give() and pair_values().
 *
 * Contract: what win_reject() takes.
 * Layout: rows go in steps of 4 bytes, a float or a pair of bf16. Logits are s[key][query], queries in
 *   lanes, a strip of up to STRIP queries at a time: q is transposed, keys are read in place, a step of one
 *   for all lanes. Softmax runs down the lanes. Outputs have channels in lanes: values are read and outputs
 *   written in place, and queries need no padding there. Up to LANES / 4 queries that would have a vector
 *   for themselves (49 = 3 x 16 + 1) have channels in lanes for their logits too.
 * Registers: SUMS sums, of up to 12 keys (queries) x up to VECS vectors of queries (channels).
 * Bound: FMA. Beside it a key and vector of queries take an exp2 and 4 more operations, a vector of queries
 *   a transposition. A strip's logits stay in L1, or in L2 where windows are large: keys and values are read
 *   once a strip. The rows of the next window and head are prefetched.
 * Work: windows and heads, each written once; the bits do not depend on who does which.
 */
#include <math.h>

#include "attn2d3d/attn_win.h"
#include "core/cpu/panel.h"

enum { STRIP = WIN_PAD, SUMS = VECS * 6, LONE = LANES / 4, S_BYTES = 65536, LINE = 64 };
enum { SUM_KEYS = 64 /* summed by themselves: many keys alike do not add up their rounding */ };

static const float NOTHING = -1e38f, LOG2_E = 1.442695041f;

SIMD_INLINE vec exp2_of(vec x)
{
    static const float c[] = PANEL_EXP2;
    enum { TOP = sizeof c / sizeof *c - 1 };
    vec n = v_round(x), f = v_sub(x, n), p = v_set(c[TOP]);
#pragma GCC unroll 8
    for (int i = TOP - 1; i >= 0; i--)
        p = v_fma(p, f, v_set(c[i]));
    return v_scale(p, n);
}

/* ---- what differs between floats and pairs of bf16 ---------------------------------------- */

#ifndef WIN_PAIRS
enum { PER_STEP = 1 };

/* sum + a b */
SIMD_INLINE vec v_mac(vec a, vec b, vec sum) { return v_fma(a, b, sum); }

/* Weights of keys j and, if two, j + 1 into the column s. */
SIMD_INLINE void put_weights(float *s, ptrdiff_t ld, int j, vec a, vec b, const bool two)
{
    v_store(s + j * ld, a);
    if (two)
        v_store(s + (j + 1) * ld, b);
}

/* A query's weights into its column s. */
SIMD static void put_row(float *s, ptrdiff_t ld, const float *row, int keys)
{
    for (int j = 0; j < keys; j++)
        s[j * ld] = row[j];
}

/* n numbers of a row of out from number `at` on */
SIMD_INLINE void give(char *row, int at, vec a, int n) { v_store_first((float *)(void *)row + at, a, n); }
#endif

/* ---- a worker ----------------------------------------------------------------------------- */

typedef struct win_rows { /* of a window and head, in place or copied */
    const char **q, **k, **v; /* (queries + LANES), (keys + LANES): the last one again; v: (key steps) */
    char       **out;         /* (queries) */
} win_rows;

typedef struct work { /* a worker's own, and the window and head that it is at */
    const win_plan *plan;
    win_item        at, next;
    win_rows        rows, next_rows;
    int             next_n, asked;          /* rows of the next one, 0 if there is none; those prefetched */
    int64_t         size;                   /* bytes of a number of q, k, v and out */
    const float    *bias;                   /* runs of the strip's first query */
    int             keys, steps, key_steps; /* steps of a row of q and k, and of keys for values() */
    int             strips, ld;             /* of the window; of panel and s */
    float          *panel, *s;              /* (steps, ld) queries; (keys, ld) logits, then weights */
    float          *top, *sum, *inv;        /* (ld) */
    float          *mul, *row;              /* (keys + LANES) scale of a key; logits of one query */
    float          *q_mul;                  /* (queries + LANES) 1 / length, if cosine */
    const float    *lane_mul;               /* q_mul of the strip, or NULL */
    float          *q_copy, *k_copy, *v_copy, *out_copy;
    float          *before;                 /* (SUMS, LANES) of values(): keys before these */
    float          *zeros;                  /* a row */
    float          *pairs;                  /* (keys / 2, Dv) of bf16 values */
} work;

SIMD_INLINE vec v_every(const char *p) /* a step for all lanes */
{
    float x;
    memcpy(&x, p, sizeof x);
    return v_set(x);
}
SIMD_INLINE vec v_steps(const char *p) /* LANES of them */
{
    return v_load((const float *)(const void *)p);
}
SIMD_INLINE vec v_first_steps(const char *p, int n) /* no more than n */
{
    return v_load_first((const float *)(const void *)p, n < LANES ? n : LANES);
}

/* A row into L2: L1 has no room for the next window beside this one. */
SIMD_INLINE void fetch(const char *p, int64_t bytes)
{
    const char *end = p + bytes;
    for (p -= (uintptr_t)p % LINE; p < end; p += LINE)
        __builtin_prefetch(p, 0, 2);
}

/* Rows of the next window and head up to `end`. Inline by force: gcc leaves out calls of functions that do
 * nothing but prefetch. */
SIMD_INLINE void ahead(work *w, int end)
{
    const win_rows *r = &w->next_rows;
    int64_t         d = w->plan->j->a.dim * w->size, dv = w->plan->j->a.dim_v * w->size;
    for (; w->asked < end; w->asked++) {
        if (w->asked < w->next.shape->keys) {
            fetch(r->k[w->asked], d);
            fetch(r->v[w->asked], dv);
        }
        if (w->asked < w->next.shape->queries) {
            fetch(r->q[w->asked], d);
            fetch(r->out[w->asked], dv);
        }
    }
}

/* ---- queries in lanes --------------------------------------------------------------------- */

/* s[j .. j + rows)[lanes at i] = mul q k + bias; top: the largest yet */
SIMD_INLINE void logits(const work *w, int i, vec *top, int j, const int rows, const int vecs)
{
    vec                s[12][VECS];
    const float       *q = w->panel + i;
    const char *const *k = w->rows.k + j;
    const int32_t     *run = w->at.shape->bias + j;
#pragma GCC unroll 12
    for (int a = 0; a < rows; a++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            s[a][v] = v_set(0.f);
    for (int d = 0; d < w->steps; d++, q += w->ld) {
        vec x[VECS];
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            x[v] = v_load(q + v * LANES);
#pragma GCC unroll 12
        for (int a = 0; a < rows; a++) {
            vec b = v_every(k[a] + 4 * (ptrdiff_t)d);
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++)
                s[a][v] = v_mac(x[v], b, s[a][v]);
        }
    }
    if (PER_STEP > 1 && w->lane_mul) /* floats are multiplied by it in the panel */
#pragma GCC unroll 12
        for (int a = 0; a < rows; a++)
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++)
                s[a][v] = v_mul(s[a][v], v_load(w->lane_mul + i + v * LANES));
#pragma GCC unroll 12
    for (int a = 0; a < rows; a++) {
        const float *bias = w->bias + run[a] + i;
        float       *to = w->s + (ptrdiff_t)(j + a) * w->ld + i;
        vec          mul = v_set(w->mul[j + a]);
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            vec l = v_fma(s[a][v], mul, v_load(bias + v * LANES));
            top[v] = v_max(top[v], l);
            v_store(to + v * LANES, l);
        }
    }
}

/* out[queries i .. i + rows)[vectors c .. c + vecs) = sum of weights times values, over the sum of weights */
SIMD_INLINE void values(const work *w, char *const *out, int c, int i, const int rows, const int vecs)
{
    vec          o[12][VECS];
    const float *p = w->s + i;
    ptrdiff_t    at = (ptrdiff_t)c * LANES;
    int          last = w->plan->j->a.dim_v - (c + vecs - 1) * LANES;
    int          j = 0, end;
    last = last < LANES ? last : LANES;
    do {
        bool first = j == 0;
        end = oriel_axis_low(j + SUM_KEYS / PER_STEP, w->key_steps);
#pragma GCC unroll 12
        for (int a = 0; a < rows; a++)
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++)
                o[a][v] = v_set(0.f);
        for (; j < end; j++, p += w->ld) {
            const char *val = w->rows.v[j] + 4 * at;
            vec         x[VECS];
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++)
                x[v] = v < vecs - 1 ? v_steps(val + 4 * v * LANES) : v_first_steps(val + 4 * v * LANES, last);
#pragma GCC unroll 12
            for (int a = 0; a < rows; a++) {
                vec b = v_set(p[a]);
#pragma GCC unroll 4
                for (int v = 0; v < vecs; v++)
                    o[a][v] = v_mac(x[v], b, o[a][v]);
            }
        }
        if (!first)
#pragma GCC unroll 12
            for (int a = 0; a < rows; a++)
#pragma GCC unroll 4
                for (int v = 0; v < vecs; v++)
                    o[a][v] = v_add(o[a][v], v_load(w->before + (a * vecs + v) * LANES));
        if (end < w->key_steps)
#pragma GCC unroll 12
            for (int a = 0; a < rows; a++)
#pragma GCC unroll 4
                for (int v = 0; v < vecs; v++)
                    v_store(w->before + (a * vecs + v) * LANES, o[a][v]);
    } while (end < w->key_steps);
#pragma GCC unroll 12
    for (int a = 0; a < rows; a++) {
        vec inv = v_set(w->inv[i + a]);
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            give(out[i + a], (int)at + v * LANES, v_mul(o[a][v], inv), v < vecs - 1 ? LANES : last);
    }
}

/* Rows go in blocks of one of these sizes, the last block over some that were done before: whatever is
 * computed twice comes out the same. */
static const unsigned char block_sizes[4][5] = {
    {12, 4, 1},
    {VECS > 2 ? 12 : 6, VECS > 2 ? 10 : 5, VECS > 2 ? 8 : 3, VECS > 2 ? 4 : 1, 1},
    {8, 7, 4, 1},
    {6, 5, 1}};

/* The size for n rows: the fewest rows computed, a block itself counted as one. */
static inline int block_size(int n, int vecs)
{
    const unsigned char *s = block_sizes[vecs - 1];
    int                  size = 1, least = 2 * n;
    for (int i = 0; s[i] > 1; i++) {
        int cost = (n + s[i] - 1) / s[i] * (s[i] + 1);
        if (s[i] <= n && cost < least)
            size = s[i], least = cost;
    }
    return size;
}

/* f(..., size, vecs) with a constant size, one of those */
#define WITH_SIZE(size, vecs, f, ...)                                                              \
    switch (size) {                                                                                \
    case 1: f(__VA_ARGS__, 1, vecs); break;                                                        \
    case 3: if (VECS == 2 && (vecs) == 2) f(__VA_ARGS__, 3, vecs); break;                          \
    case 4: if (VECS > 2 ? (vecs) < 4 : (vecs) == 1) f(__VA_ARGS__, 4, vecs); break;               \
    case 5: if ((vecs) == VECS) f(__VA_ARGS__, 5, vecs); break;                                    \
    case 6: if ((vecs) == VECS) f(__VA_ARGS__, 6, vecs); break;                                    \
    case 7: if ((vecs) == 3) f(__VA_ARGS__, 7, vecs); break;                                       \
    case 8: if (VECS > 2 && ((vecs) == 2 || (vecs) == 3)) f(__VA_ARGS__, 8, vecs); break;             \
    case 10: if ((vecs) == 2 && VECS > 2) f(__VA_ARGS__, 10, vecs); break;                         \
    default: if (12 * (vecs) <= SUMS) f(__VA_ARGS__, 12, vecs); break;                             \
    }

/* The share of n that part i of `parts` takes, all alike but for 1. */
static inline int share(int n, int parts, int i)
{
    return n / parts + (i < n % parts);
}

SIMD_INLINE void weights(work *w, int i, vec top)
{
    vec    all = v_set(0.f);
    float *s = w->s + i;
    int    ld = w->ld, j = 0;
    while (j < w->keys) {
        vec sum = v_set(0.f), sum1 = sum;
        int end = oriel_axis_low(j + SUM_KEYS, w->keys);
        for (; j + 1 < end; j += 2) {
            const float *l = s + (ptrdiff_t)j * ld;
            vec          a = exp2_of(v_sub(v_load(l), top)), b = exp2_of(v_sub(v_load(l + ld), top));
            sum = v_add(sum, a);
            sum1 = v_add(sum1, b);
            put_weights(s, ld, j, a, b, true);
        }
        if (j < end) {
            vec a = exp2_of(v_sub(v_load(s + (ptrdiff_t)j * ld), top));
            sum = v_add(sum, a);
            put_weights(s, ld, j++, a, v_set(0.f), false);
        }
        all = v_add(all, v_add(sum, sum1));
    }
    v_store(w->top + i, top);
    v_store(w->sum + i, all);
    v_store(w->inv + i, v_div(v_set(1.f), all));
}

/* Weights of `vecs` vectors of queries at lane i. */
SIMD_INLINE void lanes(work *w, int i, const int vecs)
{
    vec top[VECS];
    int size = block_size(w->keys, vecs);
    int rows = (int)oriel_ceil_div((int64_t)w->next_n * size, (int64_t)w->strips * w->keys); /* a block's share */
    for (int v = 0; v < vecs; v++)
        top[v] = v_set(NOTHING);
    for (int j = 0; j < w->keys; j += size) {
        if (i == 0)
            ahead(w, oriel_axis_low(w->next_n, w->asked + rows));
        j = j + size > w->keys ? w->keys - size : j;
        WITH_SIZE(size, vecs, logits, w, i, top, j)
    }
    for (int v = 0; v < vecs; v++)
        weights(w, i + v * LANES, top[v]);
}

/* Outputs of n queries, `vecs` vectors of channels from c on. */
SIMD_INLINE void channels(const work *w, char *const *out, int n, int c, const int vecs)
{
    int size = block_size(n, vecs);
    for (int i = 0; i < n; i += size) {
        i = i + size > n ? n - size : i;
        WITH_SIZE(size, vecs, values, w, out, c, i)
    }
}

/* f(..., n) with a constant n of 1 to VECS */
#define WITH_VECS(n, f, ...)                                                                       \
    switch (n) {                                                                                   \
    case 1: f(__VA_ARGS__, 1); break;                                                              \
    case 2: f(__VA_ARGS__, 2); break;                                                              \
    case 3: if (VECS > 2) f(__VA_ARGS__, (VECS > 2 ? 3 : 1)); break;                               \
    default: if (VECS > 2) f(__VA_ARGS__, (VECS > 2 ? 4 : 1)); break;                              \
    }

/* All channels. Not inline: gcc's registers for logits() suffer. */
SIMD __attribute__((noinline)) static void outputs(const work *w, char *const *out, int n)
{
    int dims = (w->plan->j->a.dim_v + LANES - 1) / LANES, parts = (dims + VECS - 1) / VECS;
    for (int p = 0, c = 0; p < parts; c += share(dims, parts, p++))
        WITH_VECS(share(dims, parts, p), channels, w, out, n, c)
}

/* n steps from step d on, LANES at most, of a vector of queries. */
SIMD_INLINE void turn(const work *w, const char *const *from, int l, int d, const int n)
{
    vec r[LANES], mul = w->lane_mul ? v_load(w->lane_mul + l) : v_set(1.f);
    for (int i = 0; i < LANES; i++)
        r[i] = n == LANES ? v_steps(from[i] + 4 * (ptrdiff_t)d) : v_first_steps(from[i] + 4 * (ptrdiff_t)d, n);
    v_transpose(r);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        if (i < n)
            v_store(w->panel + (ptrdiff_t)(d + i) * w->ld + l, PER_STEP == 1 ? v_mul(r[i], mul) : r[i]);
}

/* The rows of n queries into lanes, and some of the next ones beside the last. */
SIMD static void take_queries(const work *w, const char *const *from, int n)
{
    for (int l = 0; l < n; l += LANES) {
        int d = 0;
        for (; d + LANES <= w->steps; d += LANES)
            turn(w, from + l, l, d, LANES);
        if (d < w->steps)
            turn(w, from + l, l, d, w->steps - d);
    }
}

/* ---- a query by itself -------------------------------------------------------------------- */

/* Logits of a query for LANES keys from j on. */
SIMD_INLINE vec lone_logits(const work *w, const char *q, vec mul, int j)
{
    vec r[LANES];
    for (int a = 0; a < LANES; a++)
        r[a] = v_set(0.f);
    for (int d = 0; d < w->steps; d += LANES) {
        int n = w->steps - d < LANES ? w->steps - d : LANES;
        vec x = v_first_steps(q + 4 * (ptrdiff_t)d, n);
#pragma GCC unroll 16
        for (int a = 0; a < LANES; a++)
            r[a] = v_mac(v_first_steps(w->rows.k[j + a] + 4 * (ptrdiff_t)d, n), x, r[a]);
    }
    return v_fma(v_mul(v_totals(r), mul), v_load(w->mul + j), v_load(w->row + j));
}

/* Weights of a query that is alone in its vector, into lane i; `bias` are its runs. */
SIMD static void lone(work *w, const char *q, const float *bias, int i)
{
    const int32_t *run = w->at.shape->bias;
    vec            top = v_set(NOTHING), sum = v_set(0.f), mul = v_set(w->lane_mul ? w->lane_mul[i] : 1.f);
    int            j;
    for (j = 0; j < w->keys; j++)
        w->row[j] = bias[run[j]];
    for (j = 0; j < w->keys; j += LANES)
        v_store(w->row + j, lone_logits(w, q, mul, j));
    for (int e = w->keys; e < j; e++)
        w->row[e] = NOTHING;
    for (j = 0; j < w->keys; j += LANES)
        top = v_max(top, v_load(w->row + j));
    w->top[i] = v_most(top);
    top = v_set(w->top[i]);
    for (j = 0; j < w->keys; j += LANES) {
        vec a = exp2_of(v_sub(v_load(w->row + j), top));
        sum = v_add(sum, a);
        v_store(w->row + j, a);
    }
    w->sum[i] = v_total(sum);
    w->inv[i] = 1 / w->sum[i];
    put_row(w->s + i, w->ld, w->row, w->keys);
}


/* `vecs` vectors of queries from `first` on, then `rest` by themselves; n queries in all. */
SIMD static void strip(work *w, int first, int vecs, int rest, int n)
{
    const attn_job *j = w->plan->j;
    int             full = vecs * LANES;
    w->bias = w->at.bias + first;
    w->lane_mul = w->q_mul ? w->q_mul + first : NULL;
    take_queries(w, w->rows.q + first, full);
    for (int v = 0; v < vecs; v += VECS)
        WITH_VECS(vecs - v < VECS ? vecs - v : VECS, lanes, w, v * LANES)
    for (int i = 0; i < rest; i++)
        lone(w, w->rows.q[first + full + i], w->bias + full + i, full + i);
    outputs(w, w->rows.out + first, n);
    for (int i = 0; j->io->lse.data && i < n; i++)
        ((float *)j->io->lse.data)[w->at.lse + w->at.shape->lse[first + i]] =
            logf(w->sum[i]) + w->top[i] * 0.6931471806f;
}

/* ---- a window ----------------------------------------------------------------------------- */

/* Rows in place. */
static void rows_at(const work *w, const char **to, const oriel_tensor *t, int64_t base, const int64_t *at, int n)
{
    const char *from = (const char *)t->data;
    for (int i = 0; i < n; i++)
        to[i] = from + (base + at[i]) * w->size;
}

/* All keys of a window, k or v, in place: of the raster, beyond it, extra ones. */
static void keys_at(const work *w, const win_item *it, const char **to, const oriel_tensor *t, int64_t base,
                    const int64_t *at, const oriel_tensor *pad, const oriel_tensor *extra)
{
    const win_shape *s = it->shape;
    const char      *beyond = pad->data ? (const char *)pad->data + it->kv * pad->stride[0] * w->size
                                        : (const char *)w->zeros;
    if (!s->padded)
        rows_at(w, to, t, base, at, s->keys);
    for (int i = 0; s->padded && i < s->keys; i++)
        to[i] = at[i] == WIN_BEYOND ? beyond : (const char *)t->data + (base + at[i]) * w->size;
    for (int i = 0; i < w->plan->j->a.extra; i++)
        to[s->keys + i] = (const char *)extra->data + attn_list_at(extra, it->b, i, it->kv) * w->size;
}

/* Where the rows of a window and head lie. */
static void find_rows(const work *w, win_rows *r, const win_item *it)
{
    const oriel_attn_io *io = w->plan->j->io;
    const win_shape     *s = it->shape;
    rows_at(w, r->q, &io->q, it->q, s->q, s->queries);
    keys_at(w, it, r->k, &io->k, it->k, s->k, &io->pad_k, &io->extra_k);
    keys_at(w, it, r->v, &io->v, it->v, s->v, &io->pad_v, &io->extra_v);
    for (int i = 0; i < s->queries; i++)
        r->out[i] = (char *)io->out.data + (it->out + s->out[i]) * w->size;
}

/* A copy of n rows of floats in place of those of t that are none. */
static void copy_rows(const char **row, float *to, const oriel_tensor *t, int64_t base, const int64_t *at, int n, int dim)
{
    for (int i = 0; i < n; i++, to += dim)
        if (at[i] != WIN_BEYOND) {
            attn_load(to, t, base + at[i], dim);
            row[i] = (const char *)to;
        }
}

static void copy_keys(const work *w, const char **row, float *to, const oriel_tensor *t, int64_t base, const int64_t *at,
                      int dim, const oriel_tensor *pad, const oriel_tensor *extra)
{
    const win_shape *s = w->at.shape;
    copy_rows(row, to, t, base, at, s->keys, dim);
    for (int i = 0; pad->data && i < s->keys; i++)
        if (at[i] == WIN_BEYOND) {
            attn_load(to + (ptrdiff_t)i * dim, pad, w->at.kv * pad->stride[0], dim);
            row[i] = (const char *)(to + (ptrdiff_t)i * dim);
        }
    for (int i = 0; i < w->plan->j->a.extra; i++) {
        float *x = to + (ptrdiff_t)(s->keys + i) * dim;
        attn_load(x, extra, attn_list_at(extra, w->at.b, i, w->at.kv), dim);
        row[s->keys + i] = (const char *)x;
    }
}

/* 1 / length of each row, times x. */
SIMD static void over_lengths(const work *w, float *to, const char *const *row, int n, float x)
{
    for (int i = 0; i < n; i++) {
        vec sum = v_set(0.f);
        for (int d = 0; d < w->steps; d += LANES) {
            vec a = v_first_steps(row[i] + 4 * (ptrdiff_t)d, w->steps - d);
            sum = v_mac(a, a, sum);
        }
        to[i] = x / fmaxf(sqrtf(v_total(sum)), 1e-12f);
    }
}

/* The rows of the window and head as the kernels read them, and what their products are multiplied by. */
SIMD static void take_rows(work *w)
{
    const attn_job      *j = w->plan->j;
    const oriel_attn_io *io = j->io;
    const win_shape     *s = w->at.shape;
    win_rows            *r = &w->rows;
    float                scale = attn_scale(j, w->at.h) * LOG2_E;
    w->keys = s->keys + j->a.extra;
    w->key_steps = (w->keys + PER_STEP - 1) / PER_STEP;
    if (w->q_copy)
        copy_rows(r->q, w->q_copy, &io->q, w->at.q, s->q, s->queries, j->a.dim);
    if (w->k_copy)
        copy_keys(w, r->k, w->k_copy, &io->k, w->at.k, s->k, j->a.dim, &io->pad_k, &io->extra_k);
    if (w->v_copy)
        copy_keys(w, r->v, w->v_copy, &io->v, w->at.v, s->v, j->a.dim_v, &io->pad_v, &io->extra_v);
    for (int i = 0; w->out_copy && i < s->queries; i++)
        r->out[i] = (char *)(w->out_copy + (ptrdiff_t)i * j->a.dim_v);
    for (int i = 0; i < LANES; i++) {
        r->q[s->queries + i] = r->q[s->queries - 1];
        r->k[w->keys + i] = r->k[w->keys - 1];
    }
    for (int i = 0; i < w->keys; i += LANES)
        v_store(w->mul + i, v_set(scale));
    if (j->a.cosine) {
        over_lengths(w, w->q_mul, r->q, s->queries + LANES, 1);
        over_lengths(w, w->mul, r->k, w->keys, scale);
    }
#ifdef WIN_PAIRS
    pair_values(w->pairs, r->v, w->keys, j->a.dim_v);
#endif
}

SIMD static void window(work *w)
{
    const attn_job  *j = w->plan->j;
    const win_shape *s = w->at.shape;
    int              rest = s->queries % LANES, first = 0;
    take_rows(w);
    rest = rest > LONE ? 0 : rest;
    int vecs = (s->queries - rest + LANES - 1) / LANES;
    int most = S_BYTES / 4 / LANES / w->keys; /* vectors of a strip */
    most = most < VECS / 2 ? VECS / 2 : most > STRIP / LANES ? STRIP / LANES : most;
    w->strips = vecs ? (vecs + most - 1) / most : 1;
    w->ld = (share(vecs, w->strips, 0) + (rest > 0)) * LANES;
    for (int i = 0; i < w->strips; i++) {
        int n = share(vecs, w->strips, i), end = i == w->strips - 1 ? s->queries : first + n * LANES;
        strip(w, first, n, i == w->strips - 1 ? rest : 0, end - first);
        first = end;
    }
    for (int i = 0; w->out_copy && i < s->queries; i++)
        attn_store(&j->io->out, w->at.out + s->out[i], w->out_copy + (ptrdiff_t)i * j->a.dim_v, j->a.dim_v);
}

/* ---- the run ------------------------------------------------------------------------------ */

typedef struct task {
    win_plan plan;
    int64_t  items;
    char    *memory; /* of the workers */
    size_t   each;
} task;

static void *part(char *base, size_t *at, size_t count, size_t size)
{
    void *p = base ? base + *at : NULL;
    *at += (count * size + LINE - 1) / LINE * LINE;
    return p;
}

static bool copied(const attn_job *j, const oriel_tensor *t)
{
    return (PER_STEP == 1 && j->a.dtype != ORIEL_F32) || t->stride[t->ndim - 1] != 1;
}

/* A worker's room in memory, which may be NULL; returns its bytes. */
static size_t work_at(work *w, const win_plan *p, char *memory)
{
    const attn_job      *j = p->j;
    const oriel_attn_io *io = j->io;
    size_t               at = 0, q = (size_t)p->queries, k = (size_t)p->keys, ld = STRIP + LANES;
    size_t               d = (size_t)j->a.dim, dv = (size_t)j->a.dim_v;
    bool                 e = j->a.extra > 0;
    *w = (work){.plan = p, .steps = (j->a.dim + PER_STEP - 1) / PER_STEP,
                .size = (int64_t)oriel_dtype_size(j->a.dtype)};
    w->panel = part(memory, &at, (size_t)w->steps * ld, sizeof(float));
    w->s = part(memory, &at, k * ld, sizeof(float));
    w->top = part(memory, &at, ld, sizeof(float));
    w->sum = part(memory, &at, ld, sizeof(float));
    w->inv = part(memory, &at, ld, sizeof(float));
    w->mul = part(memory, &at, k + LANES, sizeof(float));
    w->row = part(memory, &at, k + LANES, sizeof(float));
    for (int i = 0; i < 2; i++) {
        win_rows *r = i ? &w->next_rows : &w->rows;
        r->q = part(memory, &at, q + LANES, sizeof *r->q);
        r->k = part(memory, &at, k + LANES, sizeof *r->k);
        r->v = part(memory, &at, k, sizeof *r->v);
        r->out = part(memory, &at, q, sizeof *r->out);
    }
    if (copied(j, &io->q))
        w->q_copy = part(memory, &at, q * d, sizeof(float));
    if (copied(j, &io->k) || (e && copied(j, &io->extra_k)) || (io->pad_k.data && copied(j, &io->pad_k)))
        w->k_copy = part(memory, &at, k * d, sizeof(float));
    if (copied(j, &io->v) || (e && copied(j, &io->extra_v)) || (io->pad_v.data && copied(j, &io->pad_v)))
        w->v_copy = part(memory, &at, k * dv, sizeof(float));
    if (copied(j, &io->out))
        w->out_copy = part(memory, &at, q * dv, sizeof(float));
    if (j->a.cosine)
        w->q_mul = part(memory, &at, q + LANES, sizeof(float));
    if (PER_STEP > 1)
        w->pairs = part(memory, &at, (k + 1) / 2 * dv, sizeof(float));
    w->before = part(memory, &at, SUMS * LANES, sizeof(float));
    w->zeros = part(memory, &at, ATTN_DIM_MAX, sizeof(float));
    return at;
}

static void range(void *arg, int64_t from, int64_t to, int worker)
{
    const task *a = arg;
    work        w;
    work_at(&w, &a->plan, a->memory + a->each * (size_t)worker);
    memset(w.row, 0, ((size_t)a->plan.keys + LANES) * sizeof *w.row);
    memset(w.zeros, 0, ATTN_DIM_MAX * sizeof *w.zeros);
    w.next = win_item_at(&a->plan, from);
    find_rows(&w, &w.next_rows, &w.next);
    for (; from < to; from++) {
        win_rows now = w.next_rows;
        w.next_rows = w.rows;
        w.rows = now;
        w.at = w.next;
        w.asked = w.next_n = 0;
        if (from + 1 < a->items) { /* beyond `to` too: the worker comes there next */
            w.next = win_item_at(&a->plan, from + 1);
            w.next_n = oriel_axis_high(w.next.shape->keys, w.next.shape->queries);
            find_rows(&w, &w.next_rows, &w.next);
        }
        window(&w);
    }
}

static oriel_status run(const attn_job *j, oriel_pool *pool)
{
    task         a = {0};
    work         w;
    oriel_status s = win_plan_new(&a.plan, j);
    if (s)
        return s;
    a.items = j->a.batch * a.plan.items;
    a.each = work_at(&w, &a.plan, NULL);
    if ((a.memory = oriel_alloc_aligned(a.each * (size_t)oriel_pool_threads(pool))))
        oriel_parallel_for(pool, a.items, oriel_pool_grain(pool, a.items, 64), range, &a);
    else
        s = ORIEL_E_NOMEM;
    win_plan_free(&a.plan);
    oriel_dealloc_aligned(a.memory);
    return s;
}
