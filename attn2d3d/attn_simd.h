/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over windows in vectors: included once a level, over core/cpu/simd_*.h and v_where_bits().
 * With SIMD_PAIRS (over simd_bf16.h) for bf16 rows that are packed, of an even D: dot products of pairs.
 *
 * Contract: takes everything.
 * Layout: a tile's queries lie in lanes, q[d][ATTN_TILE] and o[d][ATTN_TILE], scaled to units of log 2;
 *   keys are read in place, a number at a time for all lanes (rows that are no packed floats are
 *   converted first, ATTN_KEYS at a time).
 * Masks: a key that not all queries of its tile see gets MASKED where its bit is off. What such lanes
 *   sum until their first own key is wiped by the fade that it brings.
 * Registers: ROWS keys (or values' columns) x VECS vectors of queries: 24 of 32 with AVX-512, 12 of 16
 *   with AVX2.
 * Pairs: q and keys hold two channels a word, read in place; values two keys, zipped a step at a time. Products
 *   of q and k are exact; weights are rounded to bf16 for their products, not for their sum.
 * Bound: FMA; what is computed beyond the need is the box of keys of a tile less the window of a query.
 * Work: tiles, each written once; the bits do not depend on who does which.
 */
#include <math.h>

#include "attn2d3d/attn_tile.h"
#include "core/cpu/panel.h"
#include "core/cpu/simd_words.h"

enum { ROWS = 6, MANY = 2 * ROWS, PANEL_KEYS = 256 };

static const float MASKED = -1e30f, NOTHING = -1e38f, LOG2E = 1.442695041f;

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

typedef struct work { /* a worker's own */
    word         q[ATTN_DIM_MAX / PER * ATTN_TILE];
    float        o[ATTN_DIM_MAX * ATTN_TILE];
    float        s[ATTN_KEYS * ATTN_TILE];       /* logits; then weights, words of PER keys by row */
    float        top[ATTN_TILE], weight[ATTN_TILE], fade[ATTN_TILE];
#ifdef SIMD_PAIRS
    float        scale;                          /* of logits */
    word         zipped[ATTN_KEYS / PER * ATTN_DIM_MAX];
#else
    float        copy[ATTN_KEYS * 2 * ATTN_DIM_MAX];
#endif
    attn_tile    tile;
    attn_step    step;
    int          done;                           /* keys of the tile before this step */
    float        panel[PANEL_KEYS * ATTN_TILE];  /* bias by offset of a tile without masks; of text in
                                                    windows: the mean [d][ATTN_TILE] */
    int          panel_of[11];                   /* which: head, counts, offsets; 0 in the first: none */
    bool         paneled;                        /* this tile's logits begin with it */
} work;

/* ---- what differs between floats and pairs of bf16 ---------------------------------------- */

#ifdef SIMD_PAIRS
static inline float *copy_of(work *w)
{
    (void)w;
    return NULL;
}

/* Values of two keys a word. */
SIMD static void take_values(work *w)
{
    int dim = w->tile.j->a.dim_v, n = w->step.n;
    for (int j = 0; j < n; j += PER) {
        const uint16_t *a = (const uint16_t *)w->step.v[j], *b = j + 1 < n ? (const uint16_t *)w->step.v[j + 1] : NULL;
        for (int d = 0; d < dim; d += LANES)
            _mm512_storeu_si512(w->zipped + j / PER * ATTN_DIM_MAX + d,
                                v_zip(a + d, b ? b + d : NULL, dim - d < LANES ? dim - d : LANES));
    }
}

SIMD_INLINE const word *values_at(const work *w, int j) { return w->zipped + j * ATTN_DIM_MAX; }
SIMD_INLINE vec first_logit(const float *bias) { return (void)bias, v_set(0.f); }
SIMD_INLINE vec last_logit(const work *w, vec s, const float *bias)
{
    return bias ? v_fma(s, v_set(w->scale), v_load(bias)) : v_mul(s, v_set(w->scale));
}

/* Weights of keys j and, if two, j + 1 into the column s. */
SIMD_INLINE void put_weights(float *s, int j, vec a, vec b, const bool two)
{
    _mm512_storeu_si512(s + j / PER * ATTN_TILE, v_pair(a, two ? b : v_set(0.f)));
}

static inline bool in_place(const oriel_tensor *t) { return (void)t, true; }
static inline char *row_of(const oriel_tensor *t, int64_t at) { return (char *)t->data + 2 * at; }
SIMD_INLINE words query_words(vec bits, vec scale) { return (void)scale, (words)bits; }
SIMD_INLINE void give(char *row, int d, vec a, int n) { v_store_half_first(row + 2 * d, a, n); }
#else
static inline float *copy_of(work *w) { return w->copy; }
static inline void take_values(work *w) { (void)w; }
SIMD_INLINE const word *values_at(const work *w, int j) { return w->step.v[j]; }
SIMD_INLINE vec first_logit(const float *bias) { return bias ? v_load(bias) : v_set(0.f); }
SIMD_INLINE vec last_logit(const work *w, vec s, const float *bias) { return (void)w, (void)bias, s; }
SIMD_INLINE void put_weights(float *s, int j, vec a, vec b, const bool two)
{
    v_store(s + j * ATTN_TILE, a);
    if (two)
        v_store(s + (j + 1) * ATTN_TILE, b);
}

static inline bool in_place(const oriel_tensor *t) { return t->dtype == ORIEL_F32 && t->stride[t->ndim - 1] == 1; }
static inline char *row_of(const oriel_tensor *t, int64_t at) { return (char *)((float *)t->data + at); }
SIMD_INLINE words query_words(vec q, vec scale) { return v_mul(q, scale); }
SIMD_INLINE void give(char *row, int d, vec a, int n)
{
    float *to = (float *)(void *)row + d;
    if (n == LANES)
        v_store(to, a);
    else
        v_store_first(to, a, n);
}
#endif

SIMD_INLINE words w_every(const void *row, int i) /* word i of a row, wherever it lies */
{
    word x;
    memcpy(&x, (const char *)row + i * (ptrdiff_t)sizeof x, sizeof x);
    return w_set(x);
}

/* ---- a step of keys ----------------------------------------------------------------------- */

/* s[r][lanes at i] = q k for rows of keys */
SIMD_INLINE void logits(work *w, int r, int i, const int rows, const int vecs)
{
    vec                 s[MANY][VECS];
    const word         *q = w->q + i;
    const float *const *k = w->step.k + r;
    const float        *from = w->paneled ? w->panel + (ptrdiff_t)(w->done + r) * ATTN_TILE + i : NULL;
    int                 dim = w->tile.j->a.dim / PER;
#pragma GCC unroll 12
    for (int a = 0; a < rows; a++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            s[a][v] = first_logit(from ? from + a * ATTN_TILE + v * LANES : NULL);
    for (int d = 0; d < dim; d++, q += ATTN_TILE) {
        words x[VECS];
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            x[v] = w_load(q + v * LANES);
#pragma GCC unroll 12
        for (int a = 0; a < rows; a++) {
            words b = w_every(k[a], d);
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++)
                s[a][v] = v_dot(s[a][v], x[v], b);
        }
    }
#pragma GCC unroll 12
    for (int a = 0; a < rows; a++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            v_store(w->s + (ptrdiff_t)(r + a) * ATTN_TILE + i + v * LANES,
                    last_logit(w, s[a][v], from ? from + a * ATTN_TILE + v * LANES : NULL));
}

/* o[d .. d + rows)[lanes at i] = fade o + sum of weights times values. A step is summed by itself, so that
 * many keys alike do not add up their rounding. */
SIMD_INLINE void values(work *w, int d, int i, const int rows, const int vecs)
{
    vec          o[MANY][VECS];
    const float *s = w->s + i;
    float       *to = w->o + (ptrdiff_t)d * ATTN_TILE + i;
#pragma GCC unroll 12
    for (int a = 0; a < rows; a++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            o[a][v] = v_set(0.f);
    for (int j = 0; j < (w->step.n + PER - 1) / PER; j++, s += ATTN_TILE) {
        const word *val = values_at(w, j) + d;
        words       p[VECS];
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            p[v] = w_load((const word *)(const void *)(s + v * LANES));
#pragma GCC unroll 12
        for (int a = 0; a < rows; a++) {
            words b = w_set(val[a]);
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++)
                o[a][v] = v_dot(o[a][v], p[v], b);
        }
    }
#pragma GCC unroll 12
    for (int a = 0; a < rows; a++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            v_store(to + a * ATTN_TILE + v * LANES,
                    v_fma(v_load(to + a * ATTN_TILE + v * LANES), v_load(w->fade + i + v * LANES), o[a][v]));
}

SIMD static void masks(work *w)
{
    const attn_step *s = &w->step;
    for (int j = 0; j < s->n; j++)
        if (s->sees[j] != w->tile.everyone)
            for (int i = 0; i < w->tile.n; i += LANES) {
                float *p = w->s + (ptrdiff_t)j * ATTN_TILE + i;
                v_store(p, v_where_bits((unsigned)(s->sees[j] >> i), v_load(p), v_set(MASKED)));
            }
}

/* Bias by offset: a row of the tile is one run of the table. Only what a query sees is in the table. */
SIMD static void bias_offset(const work *w, float *s, int j)
{
    const attn_tile    *t = &w->tile;
    const oriel_tensor *b = &t->j->io->bias;
    int                 c = t->q[2].count;
    uint64_t            all = ~(uint64_t)0 >> (64 - c), sees = w->step.sees[j];
    for (int l = 0; l < t->n; l += c) {
        const float *from = (const float *)b->data + t->bias_at[l] - w->step.bias_at[j];
        uint64_t     own = sees >> l & all;
        if (own == all && b->stride[3] == 1)
            for (int i = 0; i < c; i += LANES) {
                int n = c - i < LANES ? c - i : LANES;
                v_store_first(s + l + i, v_fma(v_load_first(from + i, n), v_set(LOG2E), v_load_first(s + l + i, n)), n);
            }
        else
            for (int i = 0; i < c; i++)
                if (own >> i & 1)
                    s[l + i] += from[i * b->stride[3]] * LOG2E;
    }
}

/* The same where keys are pooled: several queries of a row have one place in the table. */
static void bias_pooled(const work *w, float *s, int j)
{
    const attn_tile *t = &w->tile;
    const float     *table = (const float *)t->j->io->bias.data;
    for (int l = 0; l < t->n; l++)
        if (w->step.sees[j] >> l & 1)
            s[l] += table[t->bias_at[l] - w->step.bias_at[j]] * LOG2E;
}

static void bias_dense(work *w, int j)
{
    const attn_tile *t = &w->tile;
    const float     *from = (const float *)t->j->io->bias.data + w->step.bias_at[j];
    for (int l = 0; l < t->n; l++)
        w->s[j * ATTN_TILE + l] += from[t->bias_at[l]] * LOG2E;
}

static void add_bias(work *w)
{
    if (w->tile.text || w->paneled || w->tile.j->a.bias == ORIEL_BIAS_NONE)
        return;
    for (int j = 0; j < w->step.raster; j++)
        if (w->tile.j->a.bias == ORIEL_BIAS_OFFSET && w->tile.j->a.pool[2] > 1)
            bias_pooled(w, w->s + (ptrdiff_t)j * ATTN_TILE, j);
        else if (w->tile.j->a.bias == ORIEL_BIAS_OFFSET)
            bias_offset(w, w->s + (ptrdiff_t)j * ATTN_TILE, j);
        else
            bias_dense(w, j);
}

/* The panel of the tile, if it can have one: all windows of a kind share it. Its keys are walked once
 * more only where the tile before was of another kind. */
static void want_panel(work *w)
{
    attn_tile       *t = &w->tile;
    const oriel_attn *a = &t->j->a;
    int              kind[11] = {1, t->h}, keys = 1;
    w->paneled = false;
    if (a->bias != ORIEL_BIAS_OFFSET || t->text || a->extra || t->listed)
        return;
    for (int x = 0; x < 3; x++) {
        if ((int64_t)keys * t->keys[x] > PANEL_KEYS)
            return;
        keys *= t->keys[x];
        for (int i = 0; i < t->keys[x]; i++)
            if (t->sees[x][i] != t->everyone)
                return;
        kind[2 + x] = t->q[x].count;
        kind[5 + x] = t->keys[x];
        kind[8 + x] = (t->q[x].first + a->at[x] - t->key[x][0] * a->pool[x]) / t->q[x].step;
    }
    w->paneled = true;
    if (!memcmp(kind, w->panel_of, sizeof kind))
        return;
    memcpy(w->panel_of, kind, sizeof kind);
    memset(w->panel, 0, (size_t)keys * ATTN_TILE * sizeof(float));
    attn_step_begin(&w->step);
    for (int done = 0; done < keys; done += w->step.n) {
        attn_step_next(&w->step, t, copy_of(w));
        for (int j = 0; j < w->step.n; j++)
            (a->pool[2] > 1 ? bias_pooled : bias_offset)(w, w->panel + (ptrdiff_t)(done + j) * ATTN_TILE, j);
    }
}

/* Logits to weights, a vector of lanes. */
SIMD_INLINE void weights(work *w, int i)
{
    vec    old = v_load(w->top + i), top = old, sum = v_set(0.f), sum1 = sum;
    float *s = w->s + i;
    int    n = w->step.n, j = 0;
    for (j = 0; j < n; j++)
        top = v_max(top, v_load(s + (ptrdiff_t)j * ATTN_TILE));
    vec fade = v_min(exp2_of(v_sub(old, top)), v_set(1.f)); /* exp2_of(0) is 1 + 2^-23 */
    for (j = 0; j + 1 < n; j += 2) {
        const float *p = s + (ptrdiff_t)j * ATTN_TILE;
        vec          a = exp2_of(v_sub(v_load(p), top)), b = exp2_of(v_sub(v_load(p + ATTN_TILE), top));
        sum = v_add(sum, a);
        sum1 = v_add(sum1, b);
        put_weights(s, j, a, b, true);
    }
    if (j < n) {
        vec a = exp2_of(v_sub(v_load(s + (ptrdiff_t)j * ATTN_TILE), top));
        sum = v_add(sum, a);
        put_weights(s, j, a, a, false);
    }
    v_store(w->top + i, top);
    v_store(w->fade + i, fade);
    v_store(w->weight + i, v_fma(v_load(w->weight + i), fade, v_add(sum, sum1)));
}

SIMD_INLINE void logits_strip(work *w, int i, const int vecs)
{
    int r = 0;
    if (2 * vecs <= VECS)
        for (; r + MANY <= w->step.n; r += MANY)
            logits(w, r, i, MANY, vecs);
    for (; r + ROWS <= w->step.n; r += ROWS)
        logits(w, r, i, ROWS, vecs);
    for (; r < w->step.n; r++)
        logits(w, r, i, 1, vecs);
}

SIMD_INLINE void values_strip(work *w, int i, const int vecs)
{
    int d = 0, dim = w->tile.j->a.dim_v;
    if (2 * vecs <= VECS)
        for (; d + MANY <= dim; d += MANY)
            values(w, d, i, MANY, vecs);
    for (; d + ROWS <= dim; d += ROWS)
        values(w, d, i, ROWS, vecs);
    switch (dim - d) {
    case 5: values(w, d, i, 5, vecs); break;
    case 4: values(w, d, i, 4, vecs); break;
    case 3: values(w, d, i, 3, vecs); break;
    case 2: values(w, d, i, 2, vecs); break;
    case 1: values(w, d, i, 1, vecs); break;
    default: break;
    }
}

/* Vectors of queries go VECS at a time, the rest together. */
#define STRIPS(call)                                                                               \
    for (int i = 0, left = (w->tile.n + LANES - 1) / LANES; left > 0; i += VECS * LANES, left -= VECS) \
        switch (left) {                                                                            \
        case 1: call(w, i, 1); break;                                                              \
        case 2: call(w, i, VECS < 2 ? VECS : 2); break;                                            \
        case 3: call(w, i, VECS < 3 ? VECS : 3); break;                                            \
        default: call(w, i, VECS); break;                                                          \
        }

SIMD static void step(work *w)
{
    STRIPS(logits_strip)
    add_bias(w);
    masks(w);
    for (int i = 0; i < w->tile.n; i += LANES)
        weights(w, i);
    take_values(w);
    STRIPS(values_strip)
}

/* The queries' rows into lanes, LANES x LANES words at a time. */
SIMD static void take_queries(work *w)
{
    const attn_tile    *t = &w->tile;
    const oriel_tensor *q = t->text ? &t->j->io->text_q : &t->j->io->q;
    int                 dim = t->j->a.dim, n = dim / PER;
    bool                unit = t->j->a.cosine;
    float               by = attn_scale(t->j, t->h) * LOG2E;
    vec                 scale = v_set(by);
#ifdef SIMD_PAIRS
    w->scale = by;
#endif
    for (int l = 0; l < t->n; l += LANES) {
        const float *from[LANES] = {0};
        for (int i = 0; i < LANES && l + i < t->n; i++) {
            if (in_place(q) && !unit) {
                from[i] = (const float *)(const void *)row_of(q, t->q_at[l + i]);
                continue;
            }
            float *to = copy_of(w) + i * ATTN_DIM_MAX;
            attn_load(to, q, t->q_at[l + i], dim);
            if (unit)
                attn_normalize(to, dim);
            from[i] = to;
        }
        for (int d = 0; d < n; d += LANES) {
            vec r[LANES];
            for (int i = 0; i < LANES; i++)
                r[i] = l + i >= t->n     ? v_set(0.f)
                       : n - d >= LANES ? v_load(from[i] + d)
                                         : v_load_first(from[i] + d, n - d);
            v_transpose(r);
            for (int i = 0; i < LANES && d + i < n; i++)
                w_store(w->q + (d + i) * ATTN_TILE + l, query_words(r[i], scale));
        }
    }
}

/* The sums before the first key. */
SIMD static void begin_sums(work *w)
{
    for (int l = 0; l < w->tile.n; l += LANES) {
        v_store(w->top + l, v_set(NOTHING));
        v_store(w->weight + l, v_set(0.f));
        for (int d = 0; d < w->tile.j->a.dim_v; d++)
            v_store(w->o + d * ATTN_TILE + l, v_set(0.f));
    }
}

/* Which of the lanes from l on have seen a key of their own? */
static unsigned seen(const work *w, int l)
{
    unsigned bits = 0;
    for (int i = 0; i < LANES; i++)
        bits |= (unsigned)(w->top[l + i] > MASKED / 2) << i;
    return bits;
}

SIMD static void give_results(work *w)
{
    const attn_tile    *t = &w->tile;
    const oriel_tensor *out = t->text ? &t->j->io->text_out : &t->j->io->out;
    const oriel_tensor *lse = t->text ? &t->j->io->text_lse : &t->j->io->lse;
    int                 dim = t->j->a.dim_v;
    for (int l = 0; l < t->n; l += LANES) {
        vec inv = v_div(v_set(1.f), v_load(w->weight + l));
        if (t->listed)
            inv = v_where_bits(seen(w, l), inv, v_set(0.f));
        for (int d = 0; d < dim; d += LANES) {
            vec r[LANES];
            int cols = dim - d < LANES ? dim - d : LANES;
            for (int i = 0; i < LANES; i++)
                r[i] = i < cols ? v_mul(v_load(w->o + (d + i) * ATTN_TILE + l), inv) : v_set(0.f);
            v_transpose(r);
            for (int i = 0; i < LANES && l + i < t->n; i++)
                give(in_place(out) ? row_of(out, t->out_at[l + i]) : (char *)(copy_of(w) + i * ATTN_DIM_MAX), d, r[i],
                     cols);
        }
        for (int i = 0; i < LANES && l + i < t->n; i++) {
            if (!in_place(out))
                attn_store(out, t->out_at[l + i], copy_of(w) + i * ATTN_DIM_MAX, dim);
            if (lse->data)
                ((float *)lse->data)[t->lse_at[l + i]] =
                    t->listed && w->top[l + i] <= MASKED / 2 ? -INFINITY
                                                             : logf(w->weight[l + i]) + w->top[l + i] * 0.6931471806f;
        }
    }
}

/* All keys of the tile. */
static void sum_keys(work *w)
{
    begin_sums(w);
    attn_step_begin(&w->step);
    for (w->done = 0;; w->done += w->step.n) {
        attn_step_next(&w->step, &w->tile, copy_of(w));
        if (!w->step.n)
            break;
        step(w);
    }
}

/* The same in one window after the other; the mean, as if of one key. */
SIMD static void sum_windows(work *w)
{
    const attn_tile *t = &w->tile;
    float           *mean = w->panel;
    int              dim = t->j->a.dim_v, windows = 0;
    memset(w->panel_of, 0, sizeof w->panel_of);
    memset(mean, 0, (size_t)dim * ATTN_TILE * sizeof *mean);
    for (; attn_tile_window(&w->tile); windows++) {
        sum_keys(w);
        for (int l = 0; l < t->n; l += LANES) {
            vec inv = v_div(v_set(1.f), v_load(w->weight + l));
            for (int i = l; i < dim * ATTN_TILE; i += ATTN_TILE)
                v_store(mean + i, v_fma(v_load(w->o + i), inv, v_load(mean + i)));
        }
    }
    memcpy(w->o, mean, (size_t)dim * ATTN_TILE * sizeof *mean);
    for (int l = 0; l < t->n; l++)
        w->weight[l] = (float)windows;
}

typedef struct task {
    attn_plan plan;
    char     *memory; /* of the workers */
    size_t    each;
} task;

static void range(void *arg, int64_t from, int64_t to, int worker)
{
    const task *a = arg;
    work       *w = (work *)(void *)(a->memory + a->each * (size_t)worker);
    const int64_t *n = a->plan.room;
    char          *room = (char *)(w + 1);
    for (int x = 0; x < 3; room += (size_t)n[x++] * sizeof(uint64_t))
        w->tile.sees[x] = (uint64_t *)(void *)room;
    for (int x = 0; x < 3; room += (size_t)n[x++] * sizeof(int))
        w->tile.key[x] = (int *)(void *)room;
    memset(w->panel_of, 0, sizeof w->panel_of); /* nothing of another run or worker */
    w->tile.part_of = 0;
    for (; from < to; from++) {
        attn_tile_make(&w->tile, &a->plan, from);
        take_queries(w);
        want_panel(w);
        if (w->tile.text && w->tile.j->a.text_mode == ORIEL_TEXT_WINDOWS)
            sum_windows(w);
        else
            sum_keys(w);
        give_results(w);
    }
}

static oriel_status run(const attn_job *j, oriel_pool *pool)
{
    task         a = {0};
    oriel_status s = attn_plan_new(&a.plan, j, LANES);
    if (s)
        return s;
    const int64_t *n = a.plan.room;
    size_t         axes = (size_t)(n[0] + n[1] + n[2]) * (sizeof(uint64_t) + sizeof(int));
    a.each = (size_t)oriel_round_up((int64_t)(sizeof(work) + axes), 64);
    if ((a.memory = oriel_alloc_aligned(a.each * (size_t)oriel_pool_threads(pool)))) {
        int64_t tiles = j->a.batch * a.plan.tiles;
        oriel_parallel_for(pool, tiles, oriel_pool_grain(pool, tiles, 16), range, &a);
    } else
        s = ORIEL_E_NOMEM;
    attn_plan_free(&a.plan);
    oriel_dealloc_aligned(a.memory);
    return s;
}
