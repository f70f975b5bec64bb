/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over windows that slide along X, in vectors: included once a level, over core/cpu/simd_*.h,
 * v_where_bits() and the level's LEVEL_* numbers. What a problem must be: near_reject(); why this works:
 * attn_near.h.
 *
 * Tile: up to LEVEL_ROWS rows of LANES queries. Nothing is computed that no query needs but for the
 *   lanes beyond a row's end.
 * Logits: queries lie in lanes, q[d][row][lane], keys in a panel k[d][place], so that the keys at offset
 *   o of LANES queries are LANES places from o on: one load, mostly across two cache lines, which
 *   `rows` FMAs share. LEVEL_SUMS sums of rows x offsets stay in registers.
 * Values: channels lie in lanes, v[place][channel]; neighbouring queries (up to LEVEL_GROUP) share the
 *   values of a place, each takes its weight by a broadcast. A place before the last query's first or
 *   behind the first query's last belongs to some of the group alone; the code for each such number is
 *   unrolled. So nothing is transposed but queries and keys.
 * Pairs: with LEVEL_PER 2 a lane holds two bf16 numbers and an FMA is a dot product of two: q and k as they
 *   lie, two channels, v two neighbouring places. Queries then come in couples, an even place and the odd one behind it,
 *   whose windows lie in the same pairs; weights beyond a window are 0 there (of 7 places in 8, of 13 in 14).
 * Bound: FMA; beside it loads (a load across lines counts twice): rows of 4, 7 offsets: 22 to 28 FMAs.
 * Memory: the rows of the next step are prefetched into L2 while this one computes, a few tokens a row of keys.
 * Work: items of whole rows, each written once; the bits do not depend on who does which.
 */
#include <math.h>

#include "attn2d3d/attn_near.h"
#include "core/cpu/panel.h"

static const float MASKED = -1e30f, NOTHING = -1e38f, LOG2E = 1.442695041f;

#define NO_KEY INT64_MIN

typedef struct work { /* a worker's own */
    const near_plan    *p;
    near_item           it;
    near_ahead          ahead;
    int                 at, kv, h; /* of the tile */
    int                 held;   /* keys before this have been in the ring */
    int                 rows, x0, n; /* rows of the tile; its first query in the segment; queries of a row */
    int                 from[NEAR_ROWS], to[NEAR_ROWS]; /* inner keys of each row */
    int                 seen[NEAR_ROWS];  /* rows of keys in this step */
    bool                begun[NEAR_ROWS], masked;
    unsigned            sees[NEAR_KEYS];  /* lanes that see an offset, if masked */
    float top[NEAR_ROWS * LANES], sum[NEAR_ROWS * LANES], fade[NEAR_ROWS * LANES];
    float zeros[ATTN_DIM_MAX];
    float copy[LANES * ATTN_DIM_MAX];
    float scale; /* of logits of pairs */
    int64_t k_at[NEAR_WIDE + NEAR_KEYS + LANES], v_at[NEAR_WIDE + NEAR_KEYS]; /* of a place along X, or NO_KEY */
    float        *k, *v, *q, *s, *o; /* (slots, D / per, ld_k), (slots, places / per, Dv), (D / per, rows, LANES),
                                        (rows, step, keys, LANES), (rows, LANES, Dv); Dv in whole vectors */
    const float **value;             /* (rows, step): rows of values */
} work;

/* 2^x for x <= 0; far below the range 0 */
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

/* ---- rows of keys and values into the ring -------------------------------------------------- */

static const float *row_of(work *w, const oriel_tensor *t, int64_t at, int n, int i)
{
    float *to = w->copy + i * ATTN_DIM_MAX;
    if (LEVEL_PER == 2)
        return (const float *)(const void *)((const uint16_t *)t->data + at);
    if (t->dtype == ORIEL_F32 && t->stride[5] == 1)
        return (const float *)t->data + at;
    attn_load(to, t, at, n);
    return to;
}

/* LANES rows of n words to panel[d][lane], times scale unless these are pairs. */
SIMD_INLINE void turn(float *panel, ptrdiff_t ld, const float *const row[LANES], int n, vec scale)
{
    for (int d = 0; d < n; d += LANES) {
        vec r[LANES];
        int cols = n - d;
        for (int i = 0; i < LANES; i++)
            r[i] = cols >= LANES ? v_load(row[i] + d) : v_load_first(row[i] + d, cols);
        v_transpose(r);
        if (cols >= LANES)
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                v_store(panel + (d + i) * ld, LEVEL_PER == 2 ? r[i] : v_mul(r[i], scale));
        else
            for (int i = 0; i < cols; i++)
                v_store(panel + (d + i) * ld, LEVEL_PER == 2 ? r[i] : v_mul(r[i], scale));
    }
}

SIMD static void take_keys(work *w, float *panel, int64_t at)
{
    const near_plan    *p = w->p;
    const oriel_tensor *k = &p->j->io->k;
    int                 places = (int)oriel_round_up(w->it.x->count, LANES) + p->keys - 1;
    for (int u = 0; u < places; u += LANES) {
        const float *row[LANES];
        for (int i = 0; i < LANES; i++)
            row[i] = w->k_at[u + i] == NO_KEY ? w->zeros : row_of(w, k, at + w->k_at[u + i], p->j->a.dim, i);
        turn(panel + u, p->ld_k, row, p->j->a.dim / LEVEL_PER, v_set(1.f));
    }
}

SIMD static void take_values(work *w, float *to, int64_t at)
{
    const near_plan    *p = w->p;
    const oriel_tensor *v = &p->j->io->v;
    int                 places = (w->it.x->count + p->keys + LEVEL_PER - 2), dim = p->j->a.dim_v;
    for (int u = 0; u < places; u += LEVEL_PER, to += p->vecs_v * LANES) {
        const float *row[LEVEL_PER];
        for (int i = 0; i < LEVEL_PER; i++)
            row[i] = w->v_at[u + i] == NO_KEY ? w->zeros : row_of(w, v, at + w->v_at[u + i], dim, i);
        for (int d = 0; d < dim; d += LANES)
            v_store(to + d, v_values(row, d, dim - d));
    }
}

static ptrdiff_t slot(const work *w, int kv, int outer, int inner)
{
    return ((ptrdiff_t)(kv - w->it.kv0) * w->p->deep + outer) * w->p->ring + inner % w->p->ring;
}
static float *keys_of(const work *w, ptrdiff_t s)
{
    return w->k + s * (w->p->j->a.dim / LEVEL_PER) * w->p->ld_k;
}
static float *values_of(const work *w, ptrdiff_t s)
{
    return w->v + s * w->p->rows_v * w->p->vecs_v * LANES;
}

/* The ring holds the inner keys up to `end`. */
static void hold(work *w, int begin, int end)
{
    const near_plan    *p = w->p;
    const oriel_tensor *k = &p->j->io->k, *v = &p->j->io->v;
    if (w->held < begin)
        w->held = begin;
    for (; w->held < end; w->held++)
        for (int i = 0; i < w->it.outer.count; i++) {
            int at[3] = {0};
            at[p->outer] = w->it.outer.first + i * w->it.outer.step;
            at[p->inner] = w->it.first + w->held * w->it.y->step;
            for (int kv = w->it.kv0; kv < w->it.kv0 + w->it.kvs; kv++)
                take_keys(w, keys_of(w, slot(w, kv, i, w->held)), attn_at(k, w->it.b, at, kv));
            for (int kv = w->it.kv0; kv < w->it.kv0 + w->it.kvs; kv++)
                take_values(w, values_of(w, slot(w, kv, i, w->held)), attn_at(v, w->it.b, at, kv));
        }
}

/* ---- one row of keys --------------------------------------------------------------------------- */

/* Logits of offsets o and on for rows r and on; k is the panel at the tile's first place. */
SIMD_INLINE void logits(work *w, const float *k, int r, int o, const int rows, const int offsets)
{
    vec          s[LEVEL_ROWS][LEVEL_SUMS];
    const float *q = w->q + (ptrdiff_t)r * LANES;
    ptrdiff_t    ld = w->p->ld_k;
    k += o;
#pragma GCC unroll 4
    for (int a = 0; a < rows; a++)
#pragma GCC unroll 12
        for (int i = 0; i < offsets; i++)
            s[a][i] = v_set(0.f);
    for (int d = w->p->j->a.dim / LEVEL_PER; d > 0; d--, q += LEVEL_ROWS * LANES, k += ld) {
        vec x[LEVEL_ROWS];
#pragma GCC unroll 4
        for (int a = 0; a < rows; a++)
            x[a] = v_keep(v_load(q + a * LANES));
#pragma GCC unroll 12
        for (int i = 0; i < offsets; i++) {
            vec key = v_keep(v_load(k + i));
#pragma GCC unroll 4
            for (int a = 0; a < rows; a++)
                s[a][i] = v_mac(x[a], key, s[a][i]);
        }
    }
    if (LEVEL_PER == 2)
#pragma GCC unroll 12
        for (int i = 0; i < offsets; i++)
#pragma GCC unroll 4
            for (int a = 0; a < rows; a++)
                s[a][i] = v_mul(s[a][i], v_set(w->scale));
    if (w->masked)
#pragma GCC unroll 12
        for (int i = 0; i < offsets; i++)
#pragma GCC unroll 4
            for (int a = 0; a < rows; a++)
                s[a][i] = v_where_bits(w->sees[o + i], s[a][i], v_set(MASKED));
#pragma GCC unroll 4
    for (int a = 0; a < rows; a++) {
        float *to = w->s + ((ptrdiff_t)((r + a) * w->p->step + w->seen[r + a]) * w->p->keys + o) * LANES;
        vec    top = v_load(w->top + (r + a) * LANES);
#pragma GCC unroll 12
        for (int i = 0; i < offsets; i++) {
            v_store(to + i * LANES, s[a][i]);
            top = v_max(top, s[a][i]);
        }
        v_store(w->top + (r + a) * LANES, top);
    }
}

#define LOGITS(rows, n) \
    case n: logits(w, k, r, o, rows, (n) * (rows) <= LEVEL_SUMS ? n : 1); break;
#define LOGITS_OF(rows)                                                                            \
    SIMD static void logits_##rows(work *w, const float *k, int r, int o, int n)                    \
    {                                                                                              \
        switch (n) {                                                                               \
            LOGITS(rows, 1) LOGITS(rows, 2) LOGITS(rows, 3) LOGITS(rows, 4) LOGITS(rows, 5)         \
            LOGITS(rows, 6) LOGITS(rows, 7) LOGITS(rows, 8) LOGITS(rows, 9) LOGITS(rows, 10)        \
            LOGITS(rows, 11) LOGITS(rows, 12)                                                      \
        default: break;                                                                            \
        }                                                                                          \
    }
LOGITS_OF(1)
LOGITS_OF(2)
LOGITS_OF(3)
#if LEVEL_ROWS > 3
LOGITS_OF(4)
#endif

/* All offsets of a row of keys for rows r .. r + rows - 1, some offsets at a time. */
static void logits_row(work *w, const float *k, int r, int rows)
{
    int keys = w->p->keys, most = LEVEL_SUMS / rows < 12 ? LEVEL_SUMS / rows : 12, parts = (keys + most - 1) / most;
    for (int o = 0; parts > 0; parts--) {
        int n = (keys - o + parts - 1) / parts;
        switch (rows) {
        case 1: logits_1(w, k, r, o, n); break;
        case 2: logits_2(w, k, r, o, n); break;
        case 3: logits_3(w, k, r, o, n); break;
#if LEVEL_ROWS > 3
        case 4: logits_4(w, k, r, o, n); break;
#endif
        default: break;
        }
        o += n;
    }
}

/* ---- a step: weights, values -------------------------------------------------------------------- */

/* Logits of a row of keys to weights; returns their sum. */
SIMD_INLINE vec weights_row(float *s, int keys, vec top)
{
    vec sum = v_set(0.f), sum1 = sum, last = sum;
    for (int j = 0; j < keys + LEVEL_PER - 1; j += 2) { /* couples take a pair more where keys are even */
        vec a = j < keys ? exp2_of(v_sub(v_load(s + j * LANES), top)) : v_set(0.f);
        vec b = j + 1 < keys ? exp2_of(v_sub(v_load(s + (j + 1) * LANES), top)) : v_set(0.f);
        sum = v_add(sum, a);
        sum1 = v_add(sum1, b);
        v_put_weights(s + j / LEVEL_PER * LANES, last, a, b, j + 1 < keys);
        last = b;
    }
    return v_add(sum, sum1);
}

/* Logits of row r to weights. */
SIMD static void weights(work *w, int r, vec old)
{
    int    keys = w->p->keys;
    float *s = w->s + (ptrdiff_t)r * w->p->step * keys * LANES;
    vec    top = v_load(w->top + r * LANES), sum = v_set(0.f);
    vec    fade = v_min(exp2_of(v_sub(old, top)), v_set(1.f)); /* exp2_of(0) is 1 + 2^-23 */
    for (int n = 0; n < w->seen[r]; n++, s += keys * LANES)
        sum = v_add(sum, weights_row(s, keys, top));
    v_store(w->fade + r * LANES, fade);
    v_store(w->sum + r * LANES, v_fma(v_load(w->sum + r * LANES), fade, sum));
}

/* Place c of a group (pair c, with pairs): queries (couples) low .. high - 1 of it see it. s is at offset c of
 * the group's first. */
SIMD_INLINE void place(vec o[LEVEL_GROUP * LEVEL_PER][LEVEL_VECS], const float *v, const float *s, const int low,
                       const int high, const int vecs)
{
    vec x[LEVEL_VECS];
#pragma GCC unroll 4
    for (int i = 0; i < vecs; i++)
        x[i] = v_keep(v_load(v + i * LANES));
#pragma GCC unroll 8
    for (int a = low * LEVEL_PER; a < high * LEVEL_PER; a++) {
        vec b = v_keep(v_set(s[a - a / LEVEL_PER * LANES]));
#pragma GCC unroll 4
        for (int i = 0; i < vecs; i++)
            o[a][i] = v_mac(b, x[i], o[a][i]);
    }
}

/* o = fade o + sum of weights times values: `count` queries (couples) from query i of row r on, `vecs` vectors of
 * channels from c on. count <= places that a query (pairs that a couple) sees. */
SIMD_INLINE void values(work *w, int r, int i, int c, const int count, const int vecs)
{
    const near_plan    *p = w->p;
    vec                 o[LEVEL_GROUP * LEVEL_PER][LEVEL_VECS];
    ptrdiff_t           ld = (ptrdiff_t)p->vecs_v * LANES;
    const float        *s = w->s + (ptrdiff_t)r * p->step * p->keys * LANES + i;
    const float *const *value = w->value + (ptrdiff_t)r * p->step;
    float              *to = w->o + (ptrdiff_t)(r * LANES + i) * ld + c;
#pragma GCC unroll 12
    for (int a = 0; a < count * LEVEL_PER; a++) {
        vec fade = v_set(w->fade[r * LANES + i + a]);
#pragma GCC unroll 4
        for (int b = 0; b < vecs; b++)
            o[a][b] = w->begun[r] ? v_mul(v_load(to + a * ld + b * LANES), fade) : v_set(0.f);
    }
    for (int n = 0; n < w->seen[r]; n++, s += p->keys * LANES) {
        const float *v = value[n] + (w->x0 + i) / LEVEL_PER * ld + c, *at = s;
#pragma GCC unroll 8
        for (int a = 1; a < count; a++, v += ld, at += LANES)
            place(o, v, at, 0, a, vecs);
        for (int m = p->sees - count; m >= 0; m--, v += ld, at += LANES)
            place(o, v, at, 0, count, vecs);
#pragma GCC unroll 8
        for (int a = 1; a < count; a++, v += ld, at += LANES)
            place(o, v, at, a, count, vecs);
    }
#pragma GCC unroll 12
    for (int a = 0; a < count * LEVEL_PER; a++)
#pragma GCC unroll 4
        for (int b = 0; b < vecs; b++)
            v_store(to + a * ld + b * LANES, o[a][b]);
}

#define VALUES(n, vecs) \
    case n: values(w, r, i, c, (n) * (vecs) * LEVEL_PER <= LEVEL_SUMS && (n) <= LEVEL_GROUP ? n : 1, vecs); break;
#define VALUES_OF(vecs)                                                                            \
    SIMD static void values_##vecs(work *w, int r, int i, int c, int n)                             \
    {                                                                                              \
        switch (n) {                                                                               \
            VALUES(1, vecs) VALUES(2, vecs) VALUES(3, vecs) VALUES(4, vecs)                        \
            VALUES(5, vecs) VALUES(6, vecs) VALUES(7, vecs) VALUES(8, vecs)                        \
        default: break;                                                                            \
        }                                                                                          \
    }
VALUES_OF(1)
VALUES_OF(2)
#if LEVEL_VECS > 2
VALUES_OF(3)
VALUES_OF(4)
#endif

static void values_row(work *w, int r)
{
    const near_plan *p = w->p;
    int              parts = (p->vecs_v + LEVEL_VECS - 1) / LEVEL_VECS, all = (w->n + LEVEL_PER - 1) / LEVEL_PER;
    for (int c = 0; parts > 0; parts--) {
        int vecs = (p->vecs_v - c + parts - 1) / parts, most = LEVEL_SUMS / (vecs * LEVEL_PER);
        most = oriel_axis_low(oriel_axis_low(most, LEVEL_GROUP), p->sees);
        for (int i = 0, groups = (all + most - 1) / most; groups > 0; groups--) {
            int n = (all - i + groups - 1) / groups;
            switch (vecs) {
            case 1: values_1(w, r, i * LEVEL_PER, c * LANES, n); break;
            case 2: values_2(w, r, i * LEVEL_PER, c * LANES, n); break;
#if LEVEL_VECS > 2
            case 3: values_3(w, r, i * LEVEL_PER, c * LANES, n); break;
            case 4: values_4(w, r, i * LEVEL_PER, c * LANES, n); break;
#endif
            default: break;
            }
            i += n;
        }
        c += vecs;
    }
}

/* ---- a tile ------------------------------------------------------------------------------------- */

static void query_at(const work *w, int row, int y0, int at[3])
{
    at[w->p->outer] = w->at;
    at[w->p->inner] = w->it.y->first + (y0 + row) * w->it.y->step;
    at[2] = w->it.x->first + w->x0 * w->it.x->step;
}

SIMD static void take_queries(work *w, int y0)
{
    const oriel_tensor *q = &w->p->j->io->q;
    int                 dim = w->p->j->a.dim;
    for (int r = 0; r < w->rows; r++) {
        const float *row[LANES];
        int          at[3];
        query_at(w, r, y0, at);
        int64_t from = attn_at(q, w->it.b, at, w->h), each = q->stride[3] * w->it.x->step;
        for (int i = 0; i < LANES; i++)
            row[i] = i >= w->n ? w->zeros : row_of(w, q, from + i * each, dim, i);
        turn(w->q + r * LANES, LEVEL_ROWS * LANES, row, dim / LEVEL_PER, v_set(w->p->j->a.scale * LOG2E));
        v_store(w->top + r * LANES, v_set(NOTHING));
        v_store(w->sum + r * LANES, v_set(0.f));
        w->begun[r] = false;
        w->seen[r] = 0;
    }
}

SIMD static void give_results(work *w, int y0)
{
    const oriel_tensor *out = &w->p->j->io->out, *lse = &w->p->j->io->lse;
    int                 dim = w->p->j->a.dim_v;
    bool                in_place = LEVEL_PER == 1 && out->dtype == ORIEL_F32 && out->stride[5] == 1;
    for (int r = 0; r < w->rows; r++) {
        int at[3];
        query_at(w, r, y0, at);
        int64_t      to = attn_at(out, w->it.b, at, w->h), each = out->stride[3] * w->it.x->step;
        const float *o = w->o + (ptrdiff_t)r * LANES * w->p->vecs_v * LANES;
        for (int i = 0; i < w->n; i++, to += each, o += w->p->vecs_v * LANES) {
            vec    inv = v_set(1.f / w->sum[r * LANES + i]);
            float *row = in_place ? (float *)out->data + to : w->copy;
            int    d = 0;
#if LEVEL_PER == 2
            for (; d < dim; d += LANES)
                v_store_halves((uint16_t *)out->data + to + d, v_mul(v_load(o + d), inv), dim - d);
            continue;
#endif
            for (; d + LANES <= dim; d += LANES)
                v_store(row + d, v_mul(v_load(o + d), inv));
            if (d < dim)
                v_store_first(row + d, v_mul(v_load(o + d), inv), dim - d);
            if (!in_place)
                attn_store(out, to, row, dim);
        }
        if (lse->data)
            for (int i = 0; i < w->n; i++)
                ((float *)lse->data)[attn_at(lse, w->it.b, at, w->h) + i * w->it.x->step * lse->stride[3]] =
                    logf(w->sum[r * LANES + i]) + w->top[r * LANES + i] * 0.6931471806f;
    }
}

/* Lanes whose place at each offset lies inside the row, where windows are cut at its ends. */
static void masks(work *w)
{
    const near_plan *p = w->p;
    int              at = w->it.x->p + w->x0 + p->low, len = w->it.x->len;
    w->masked = !p->wraps && (at < 0 || at + LANES + p->keys - 1 > len);
    if (w->masked)
        for (int o = 0; o < p->keys; o++) {
            w->sees[o] = 0;
            for (int i = 0; i < LANES; i++)
                w->sees[o] |= (unsigned)(at + o + i >= 0 && at + o + i < len) << i;
        }
}

SIMD static void finish_step(work *w, float *old)
{
    for (int r = 0; r < w->rows; r++)
        if (w->seen[r]) {
            weights(w, r, v_load(old + r * LANES));
            values_row(w, r);
            w->begun[r] = true;
            w->seen[r] = 0;
            v_store(old + r * LANES, v_load(w->top + r * LANES));
        }
}

/* A row of keys for the rows of queries that see it, which lie side by side. */
static void row_of_keys(work *w, int outer, int inner)
{
    ptrdiff_t at = slot(w, w->kv, outer, inner);
    int       low = 0, high = w->rows;
    while (low < high && w->to[low] <= inner)
        low++;
    while (low < high && w->from[high - 1] > inner)
        high--;
    if (low == high)
        return;
    logits_row(w, keys_of(w, at) + w->x0, low, high - low);
    for (int r = low; r < high; r++)
        w->value[r * w->p->step + w->seen[r]++] = values_of(w, at);
}

SIMD static void tile(work *w, int y0)
{
    float old[LEVEL_ROWS * LANES];
    int   done = 0;
    take_queries(w, y0);
    masks(w);
    for (int r = 0; r < w->rows; r++)
        v_store(old + r * LANES, v_set(NOTHING));
    oriel_span outer = oriel_axis_span(w->p->j->a.axis[w->p->outer], w->p->j->a.extent[w->p->outer], w->at);
    int        first = (outer.first - w->it.outer.first) / outer.step;
    for (int i = first; i < first + outer.count; i++)
        for (int y = w->from[0]; y < w->to[w->rows - 1]; y++) {
            near_ahead_some(&w->ahead, w->p);
            row_of_keys(w, i, y);
            if (++done == w->p->step) {
                finish_step(w, old);
                done = 0;
            }
        }
    finish_step(w, old);
    give_results(w, y0);
}

/* ---- items -------------------------------------------------------------------------------------- */

static void begin_item(work *w, int64_t i)
{
    const near_plan    *p = w->p;
    const oriel_tensor *k = &p->j->io->k, *v = &p->j->io->v;
    w->it = near_item_at(p, i);
    w->held = 0;
    for (int u = 0; u < NEAR_WIDE + NEAR_KEYS + LANES; u++) {
        int     place = near_place(p, w->it.x, u);
        int64_t at = w->it.x->first - (int64_t)w->it.x->p * w->it.x->step + (int64_t)place * w->it.x->step;
        w->k_at[u] = place < 0 ? NO_KEY : at * k->stride[3];
        if (u < NEAR_WIDE + NEAR_KEYS)
            w->v_at[u] = place < 0 ? NO_KEY : at * v->stride[3];
    }
}

/* What comes after step y0 of item i. The item before asks for the first rows of an item, if they are one thread's: i + 1 < end. */
static void look_ahead(work *w, int64_t i, int64_t end, int y0)
{
    const near_plan *p = w->p;
    int              tiles = w->it.ats * ((w->it.x->count + LANES - 1) / LANES) * w->it.kvs * (p->j->a.heads / p->j->a.kv_heads);
    int              calls = tiles * near_outer(p, w->it.at0, 1).count * (w->to[w->rows - 1] - w->from[0]);
    if (y0 + LEVEL_ROWS < w->it.y->count)
        near_ahead_begin(&w->ahead, p, w->it, y0 + LEVEL_ROWS, LEVEL_ROWS, w->held, calls);
    else if (i + 1 < end)
        near_ahead_begin(&w->ahead, p, near_item_at(p, i + 1), 0, LEVEL_ROWS, 0, calls);
    else
        w->ahead.each = 0;
}

static void item(work *w, int64_t i, int64_t end)
{
    int group = w->p->j->a.heads / w->p->j->a.kv_heads;
    begin_item(w, i);
    for (int y0 = 0; y0 < w->it.y->count; y0 += LEVEL_ROWS) {
        w->rows = oriel_axis_low(LEVEL_ROWS, w->it.y->count - y0);
        for (int r = 0; r < w->rows; r++) {
            oriel_span s = near_inner(w->p, &w->it, y0 + r);
            w->from[r] = s.first;
            w->to[r] = s.first + s.count;
        }
        hold(w, w->from[0], w->to[w->rows - 1]);
        look_ahead(w, i, end, y0);
        for (w->at = w->it.at0; w->at < w->it.at0 + w->it.ats; w->at++)
            for (w->x0 = 0; w->x0 < w->it.x->count; w->x0 += LANES)
                for (w->h = w->it.kv0 * group; w->h < (w->it.kv0 + w->it.kvs) * group; w->h++) {
                    w->kv = w->h / group;
                    w->n = oriel_axis_low(LANES, w->it.x->count - w->x0);
                    tile(w, y0);
                }
    }
}

typedef struct task {
    near_plan plan;
    int       threads;
    char     *memory; /* of the workers */
    size_t    each;
} task;

/* Floats of a worker beside its struct. */
static size_t room(const near_plan *p, size_t part[5])
{
    size_t slots = (size_t)p->kv_heads * (size_t)p->deep * (size_t)p->ring, dim = (size_t)p->j->a.dim / LEVEL_PER, dim_v = (size_t)p->vecs_v * LANES, all = 0;
    part[0] = slots * dim * (size_t)p->ld_k;
    part[1] = slots * (size_t)p->rows_v * dim_v;
    part[2] = dim * LEVEL_ROWS * LANES;
    part[3] = (size_t)LEVEL_ROWS * (size_t)p->step * (size_t)p->keys * LANES;
    part[4] = LEVEL_ROWS * LANES * dim_v;
    for (int i = 0; i < 5; i++)
        all += part[i] = (part[i] + 15) / 16 * 16;
    return all;
}

static void range(void *arg, int64_t from, int64_t to, int worker)
{
    const task *a = arg;
    work       *w = (work *)(void *)(a->memory + a->each * (size_t)worker);
    size_t      part[5];
    room(&a->plan, part);
    w->p = &a->plan;
    w->scale = w->p->j->a.scale * LOG2E;
    memset(w->zeros, 0, sizeof w->zeros);
    w->k = (float *)(void *)((char *)w + (sizeof *w + 63) / 64 * 64);
    w->v = w->k + part[0];
    w->q = w->v + part[1];
    w->s = w->q + part[2];
    w->o = w->s + part[3];
    w->value = (const float **)(void *)(w->o + part[4]);
    for (int64_t end = a->plan.items * (worker + 1) / a->threads; from < to; from++) /* of the pool's share for it */
        item(w, from, end);
}

static oriel_status run(const attn_job *j, oriel_pool *pool)
{
    task         a = {0};
    size_t       part[5];
    oriel_status s = near_plan_new(&a.plan, j, LANES, LEVEL_ROWS, LEVEL_PER);
    if (s)
        return s;
    a.threads = oriel_pool_threads(pool);
    a.each = (sizeof(work) + 63) / 64 * 64 + room(&a.plan, part) * sizeof(float) +
             (size_t)LEVEL_ROWS * (size_t)a.plan.step * sizeof(float *);
    a.each = (a.each + 63) / 64 * 64;
    if ((a.memory = oriel_alloc_aligned(a.each * (size_t)a.threads)))
        oriel_parallel_for(pool, a.plan.items, oriel_pool_grain(pool, a.plan.items, 16), range, &a);
    else
        s = ORIEL_E_NOMEM;
    near_plan_free(&a.plan);
    oriel_dealloc_aligned(a.memory);
    return s;
}
