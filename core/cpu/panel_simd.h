/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Panel kernels over a vector vocabulary (simd_avx2.h, simd_avx512.h): included once a level.
 *
 * Registers: a product holds PANEL_ROWS outputs x VECS vectors of tokens: 24 of 32 with AVX-512,
 *   12 of 16 with AVX2; a step loads VECS vectors and PANEL_ROWS weights for PANEL_ROWS x VECS FMAs.
 * Bound: FMA. A strip of 64 tokens uses each weight 64 times and streams x from L1 or L2.
 * SIMD_PAIRS: operands are pairs of bf16, exponentials as exact as those need them.
 * Sums run over taps, then channels, in order, so the bits do not depend on where a strip begins.
 */

#include "core/cpu/simd_words.h"

#ifdef SIMD_PAIRS
/* 2^x; 2^-125 below the range (its subnormal neighbours cost Intel's cores 100 clocks each), inf or NaN above it */
SIMD_INLINE vec v_exp2(vec x)
{
    static const float c[] = PANEL_EXP2_HALF;
    vec                f, p;
    x = v_max(v_set(-125.f), x);
    f = v_fraction(x);
    p = v_fma(v_fma(v_set(c[3]), f, v_set(c[2])), f, v_set(c[1]));
    return v_scale_floor(v_fma(p, f, v_set(c[0])), x);
}
#else
/* 2^x; 0 far below the range, inf or NaN above it */
SIMD_INLINE vec v_exp2(vec x)
{
    static const float c[] = PANEL_EXP2;
    enum { TOP = sizeof c / sizeof *c - 1 };
    vec n = v_round(x), f = v_sub(x, n), p = v_set(c[TOP]);
#pragma GCC unroll 8
    for (int i = TOP - 1; i >= 0; i--)
        p = v_fma(p, f, v_set(c[i]));
    return v_scale(p, n);
}
#endif

#ifdef SIMD_PAIRS
SIMD_INLINE vec v_gelu(vec x)
{
    static const float c[4][LANES] = PANEL_GELU_PIECES;
    vec     t = v_min(v_abs(x), v_set(PANEL_PIECES_END));
    __m512i at = (__m512i)v_fma(t, v_set(PANEL_PIECES_A_UNIT), v_set(0x1p23f)); /* in the low bits */
    vec     p = v_fma(v_pick(c[3], at), t, v_pick(c[2], at));
    p = v_fma(v_fma(p, t, v_pick(c[1], at)), t, v_pick(c[0], at));
    return v_sub(v_max(x, v_set(0.f)), p);
}
#else
SIMD_INLINE vec v_gelu(vec x)
{
    static const float c[] = PANEL_GELU_TAIL;
    enum { TOP = sizeof c / sizeof *c - 1 };
    vec t = v_min(v_abs(x), v_set(PANEL_GELU_END)), p = v_set(c[TOP]);
#pragma GCC unroll 8
    for (int i = TOP - 1; i >= 0; i--)
        p = v_fma(p, t, v_set(c[i]));
    return v_sub(v_max(x, v_set(0.f)), v_mul(t, v_exp2(p)));
}
#endif

/* GELU of rows just written: apart, so that a product's sums never leave registers. */
SIMD static void gelu_rows(float *y, ptrdiff_t ldy, int rows, int lanes)
{
    for (int r = 0; r < rows; r++, y += ldy)
        for (int i = 0; i < lanes; i += LANES)
            v_store(y + i, v_gelu(v_load(y + i)));
}

/* Write rows of a product: bias, activation, sum. */
SIMD_INLINE void put(const panel_gemm *g, vec acc[PANEL_ROWS][VECS], int n, int t, const int vecs)
{
    const int    rows = g->w->n - n < PANEL_ROWS ? g->w->n - n : PANEL_ROWS;
    const float *bias = g->w->bias + n;
    float       *y = g->y + n * g->ldy + t;
#pragma GCC unroll 6
    for (int r = 0; r < PANEL_ROWS; r++) {
        float *row = y + r * g->ldy;
        if (r < rows)
#pragma GCC unroll 4
            for (int i = 0; i < vecs; i++) {
                vec v = v_add(acc[r][i], v_set(bias[r]));
                if (g->act == PANEL_LEAKY)
                    v = v_leaky(v, v_set(g->slope));
                v_store(row + i * LANES, g->add ? v_add(v_load(row + i * LANES), v) : v);
            }
    }
    if (g->act == PANEL_GELU) /* never with add */
        gelu_rows(y, g->ldy, rows, vecs * LANES);
}

#ifndef PANEL_NO_GEMM
SIMD_INLINE void product(const panel_gemm *g, const word *w, int n, int t, const int vecs)
{
    vec acc[PANEL_ROWS][VECS];
    for (int r = 0; r < PANEL_ROWS; r++)
        for (int i = 0; i < vecs; i++)
            acc[r][i] = v_set(0.f);
    for (int tap = 0; tap < g->w->taps; tap++) {
        const word *x = (const word *)g->x + (g->tap ? g->tap[tap] : 0) + t;
        for (int c = (g->w->k + PER - 1) / PER; c > 0; c--, x += g->ldx, w += PANEL_ROWS) {
            words a[VECS];
            for (int i = 0; i < vecs; i++)
                a[i] = w_load(x + i * LANES);
            for (int r = 0; r < PANEL_ROWS; r++) {
                words b = w_set(w[r]);
                for (int i = 0; i < vecs; i++)
                    acc[r][i] = v_dot(acc[r][i], a[i], b);
            }
        }
    }
    put(g, acc, n, t, vecs);
}

SIMD static void gemm(const panel_gemm *g)
{
    size_t step = (size_t)g->w->taps * (size_t)((g->w->k + PER - 1) / PER) * PANEL_ROWS;
    for (int t = 0; t < g->t;) {
        const word *w = g->w->data;
        int         left = (g->t - t) / LANES;
        if (left >= VECS)
            for (int n = 0; n < g->w->n; n += PANEL_ROWS, w += step)
                product(g, w, n, t, VECS);
        else if (left >= 2)
            for (int n = 0; n < g->w->n; n += PANEL_ROWS, w += step)
                product(g, w, n, t, 2);
        else
            for (int n = 0; n < g->w->n; n += PANEL_ROWS, w += step)
                product(g, w, n, t, 1);
        t += LANES * (left >= VECS ? VECS : left >= 2 ? 2 : 1);
    }
}
#endif

SIMD static void gather(float *panel, ptrdiff_t ld, const float *const *token, int t, int channels)
{
    for (int i = 0; i < t; i += LANES)
        for (int c = 0; c < channels; c += LANES) {
            vec r[LANES];
            int rows = t - i < LANES ? t - i : LANES, cols = channels - c;
            for (int j = 0; j < LANES; j++)
                r[j] = j >= rows          ? v_set(0.f)
                       : cols >= LANES ? v_load(token[i + j] + c)
                                          : v_load_first(token[i + j] + c, cols);
            v_transpose(r);
            for (int j = 0; j < LANES; j++)
                if (j < cols)
                    v_store(panel + (c + j) * ld + i, r[j]);
        }
}

SIMD static void scatter(float *const *token, const float *panel, ptrdiff_t ld, int t, int channels)
{
    for (int i = 0; i < t; i += LANES)
        for (int c = 0; c < channels; c += LANES) {
            vec r[LANES];
            int rows = t - i < LANES ? t - i : LANES, cols = channels - c;
            for (int j = 0; j < LANES; j++)
                r[j] = j < cols ? v_load(panel + (c + j) * ld + i) : v_set(0.f);
            v_transpose(r);
            for (int j = 0; j < LANES; j++)
                if (j < rows) {
                    if (cols >= LANES)
                        v_store(token[i + j] + c, r[j]);
                    else
                        v_store_first(token[i + j] + c, r[j], cols);
                }
        }
}

/* Norm of `vecs` vectors of lanes, so that their sums do not wait for one another. */
SIMD_INLINE void norm_lanes(float *dst, const float *src, ptrdiff_t ld, int c, const float *gamma,
                            const float *beta, float eps, const int vecs)
{
    const vec inv = v_set(1.f / (float)c);
    vec       sum[VECS][2], var[VECS][2], mean[VECS], scale[VECS];
    for (int i = 0; i < vecs; i++)
        for (int k = 0; k < 2; k++)
            sum[i][k] = var[i][k] = v_set(0.f);
    for (int r = 0; r < c; r += 2)
        for (int k = 0; k < 2 && r + k < c; k++)
            for (int i = 0; i < vecs; i++)
                sum[i][k] = v_add(sum[i][k], v_load(src + (r + k) * ld + i * LANES));
    for (int i = 0; i < vecs; i++)
        mean[i] = v_mul(v_add(sum[i][0], sum[i][1]), inv);
    for (int r = 0; r < c; r += 2)
        for (int k = 0; k < 2 && r + k < c; k++)
            for (int i = 0; i < vecs; i++) {
                vec a = v_sub(v_load(src + (r + k) * ld + i * LANES), mean[i]);
                var[i][k] = v_fma(a, a, var[i][k]);
            }
    for (int i = 0; i < vecs; i++)
        scale[i] = v_div(v_set(1.f), v_sqrt(v_fma(v_add(var[i][0], var[i][1]), inv, v_set(eps))));
    for (int r = 0; r < c; r++)
        for (int i = 0; i < vecs; i++) {
            vec a = v_mul(v_sub(v_load(src + r * ld + i * LANES), mean[i]), scale[i]);
            v_store(dst + r * ld + i * LANES, v_fma(a, v_set(gamma[r]), v_set(beta[r])));
        }
}

SIMD static void norm(float *dst, const float *src, ptrdiff_t ld, int c, int t, const float *gamma,
                      const float *beta, float eps)
{
    int i = 0;
    for (; i + VECS * LANES <= t; i += VECS * LANES)
        norm_lanes(dst + i, src + i, ld, c, gamma, beta, eps, VECS);
    for (; i < t; i += LANES)
        norm_lanes(dst + i, src + i, ld, c, gamma, beta, eps, 1);
}

#ifndef PANEL_NO_ATTEND
/*
 * Attention. Logits become weights 2^(s - top) while they are in registers: any `top` within 2^40
 * of the largest logit serves, since sums and weights are floats, and 0 nearly always does. Where
 * the sum says that it does not, the largest logit is found first and the strip made again.
 */
typedef struct operands {
    const word *q, *k;   /* (depth, t) */
    const word *v;       /* (d, t / PER): pairs are of keys */
    ptrdiff_t   ld, ldv; /* of q and k; of v */
    int         depth;   /* words of a head */
} operands;

#ifdef SIMD_PAIRS
SIMD static operands operands_of(const panel_attend *a)
{
    int       depth = (a->d + 1) / 2;
    uint32_t *q = (uint32_t *)a->s + (size_t)oriel_round_up(a->nk, 32) * PANEL_STRIP;
    uint32_t *k = q + depth * a->t, *v = k + depth * a->t;
    pair_rows(q, a->t, a->q, a->ld, a->d, a->t, PER);
    pair_rows(k, a->t, a->k, a->ld, a->d, a->t, PER);
    for (int d = 0; d < a->d; d++)
        for (int i = 0; i < a->t; i += LANES)
            v_store_half(v + d * (a->t / 2) + i / 2, v_load(a->v + d * a->ld + i));
    return (operands){q, k, v, a->t, a->t / 2, depth};
}
#else
SIMD_INLINE operands operands_of(const panel_attend *a)
{
    return (operands){a->q, a->k, a->v, a->ld, a->ld, a->d};
}
#endif

/* s = logits - top of a block of keys from j against a strip of queries at i */
SIMD_INLINE void logits(const panel_attend *a, const operands *o, vec s[4][VECS], const vec top[VECS],
                        int j, int i, const int keys, const int vecs)
{
    for (int r = 0; r < keys; r++)
        for (int v = 0; v < vecs; v++)
            s[r][v] = v_sub(a->bias ? v_load(a->bias + (ptrdiff_t)(j + r) * a->t + i + v * LANES)
                                    : v_set(0.f),
                            top[v]);
    if (a->region)
        for (int v = 0; v < vecs; v++) {
            vec own = v_load(a->region + i + v * LANES);
            for (int r = 0; r < keys; r++)
                s[r][v] = v_add_where_differ(s[r][v], v_set(a->masked), own,
                                             v_set(a->region[j + r]));
        }
    const word *q = o->q + i, *k = o->k + j;
    for (int d = o->depth; d > 0; d--, q += o->ld, k += o->ld) {
        words qv[VECS];
        for (int v = 0; v < vecs; v++)
            qv[v] = w_load(q + v * LANES);
        for (int r = 0; r < keys; r++) {
            words b = w_set(k[r]);
            for (int v = 0; v < vecs; v++)
                s[r][v] = v_dot(s[r][v], qv[v], b);
        }
    }
}

/* Weights to a->s, a row for PER keys; sum grows by them as they are stored, rounded. */
#ifdef SIMD_PAIRS
SIMD_INLINE vec put_weights(float *p, vec sum, vec lo, vec hi)
{
    words w = v_pair(lo, hi);
    _mm512_storeu_si512(p, w);
    return v_dot(sum, w, w_set(PAIR_OF_ONES));
}
#else
SIMD_INLINE vec put_weights(float *p, vec sum, vec w, vec unused)
{
    (void)unused;
    v_store(p, w);
    return v_add(sum, w);
}
#endif

SIMD_INLINE void weights(const panel_attend *a, const operands *o, const vec top[VECS],
                         vec sum[VECS], int j, int i, const int keys, const int vecs)
{
    vec s[4][VECS];
    logits(a, o, s, top, j, i, keys, vecs);
    float *p = a->s + (ptrdiff_t)(j / PER) * PANEL_STRIP;
    for (int r = 0; r < keys; r += PER, p += PANEL_STRIP)
        for (int v = 0; v < vecs; v++) {
            vec hi = PER == 2 && r + 1 < keys ? v_exp2(s[r + PER - 1][v]) : v_set(0.f);
            sum[v] = put_weights(p + v * LANES, sum[v], v_exp2(s[r][v]), hi);
        }
}

SIMD_INLINE void all_weights(const panel_attend *a, const operands *o, const vec top[VECS],
                             vec sum[VECS], int i, const int vecs)
{
    int j = 0;
    for (int v = 0; v < vecs; v++)
        sum[v] = v_set(0.f);
    for (; j + 4 <= a->nk; j += 4)
        weights(a, o, top, sum, j, i, 4, vecs);
    for (; j + PER <= a->nk; j += PER)
        weights(a, o, top, sum, j, i, PER, vecs);
    if (j < a->nk)
        weights(a, o, top, sum, j, i, 1, vecs);
}

/* The largest logit of each query. */
SIMD static void tops(const panel_attend *a, const operands *o, vec top[VECS], int i, int vecs)
{
    for (int n = 0; n < vecs; n++) {
        const vec zero[VECS] = {v_set(0.f)};
        vec       s[4][VECS], most = v_set(-__builtin_inff());
        for (int j = 0; j < a->nk; j++) {
            logits(a, o, s, zero, j, i + n * LANES, 1, 1);
            most = v_max(most, s[0][0]);
        }
        top[n] = most;
    }
}

/* o[d0 .. d0 + rows) of a strip: sum over keys, times 1 / sum of weights */
SIMD_INLINE void values(const panel_attend *a, const operands *h, const vec inv[VECS], int d0, int i,
                        const int rows, const int vecs)
{
    vec o[5][VECS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++)
            o[r][v] = v_set(0.f);
    const word *val = h->v + d0 * h->ldv, *p = (const word *)a->s;
    for (int j = 0; j < (a->nk + PER - 1) / PER; j++, p += PANEL_STRIP) {
        words pv[VECS];
        for (int v = 0; v < vecs; v++)
            pv[v] = w_load(p + v * LANES);
        for (int r = 0; r < rows; r++) {
            words b = w_set(val[r * h->ldv + j]);
            for (int v = 0; v < vecs; v++)
                o[r][v] = v_dot(o[r][v], pv[v], b);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++)
            v_store(a->o + (d0 + r) * a->ld + i + v * LANES, v_mul(o[r][v], inv[v]));
}

SIMD_INLINE void attend_strip(const panel_attend *a, const operands *o, int i, const int vecs)
{
    vec  top[VECS], sum[VECS];
    bool good = true;
    for (int v = 0; v < vecs; v++)
        top[v] = v_set(0.f);
    all_weights(a, o, top, sum, i, vecs);
    for (int v = 0; v < vecs; v++)
        good &= v_within(sum[v], PANEL_SUM_LEAST, PANEL_SUM_MOST);
    if (!good) {
        tops(a, o, top, i, vecs);
        all_weights(a, o, top, sum, i, vecs);
    }
    for (int v = 0; v < vecs; v++)
        sum[v] = v_div(v_set(1.f), sum[v]);
    for (int d = 0; d < a->d;) {
        int left = a->d - d, blocks = (left + 4) / 5, rows = (left + blocks - 1) / blocks;
        switch (rows) {
        case 5: values(a, o, sum, d, i, 5, vecs); break;
        case 4: values(a, o, sum, d, i, 4, vecs); break;
        case 3: values(a, o, sum, d, i, 3, vecs); break;
        case 2: values(a, o, sum, d, i, 2, vecs); break;
        default: values(a, o, sum, d, i, 1, vecs); break;
        }
        d += rows;
    }
}

SIMD static void attend(const panel_attend *a)
{
    const operands o = operands_of(a);
    for (int i = 0; i < a->t;) {
        if ((a->t - i) / LANES >= VECS) {
            attend_strip(a, &o, i, VECS);
            i += VECS * LANES;
        } else {
            attend_strip(a, &o, i, 1);
            i += LANES;
        }
    }
}
#endif
