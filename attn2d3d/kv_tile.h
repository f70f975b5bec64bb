/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What: a tile of queries against a tile of keys of the frame cache, online softmax, over a vector
 *   vocabulary (core/cpu/simd_avx2.h, simd_avx512.h); included once a level.
 * Layout: keys run fastest in k, channels in v; kv.h, kv_tile.
 * Registers: ROWS queries x VECS vectors of logits, or of output: 16 of 32 with AVX-512, 8 of 16
 *   with AVX2; a step loads VECS vectors and broadcasts ROWS numbers.
 * Bound: FMA. Filling k and v is done once for KV_QUERIES queries.
 */
#include "core/cpu/panel.h" /* the coefficients of 2^x */

enum { ROWS = 4 };

/* 2^x, x <= 0; far below: 0; NaN stays */
SIMD_INLINE vec exp2_of(vec x)
{
    static const float c[] = PANEL_EXP2;
    enum { TOP = sizeof c / sizeof *c - 1 };
    x = v_max(v_set(-1000.f), x);
    vec n = v_round(x), f = v_sub(x, n), p = v_set(c[TOP]);
#pragma GCC unroll 8
    for (int i = TOP - 1; i >= 0; i--)
        p = v_fma(p, f, v_set(c[i]));
    return v_scale(p, n);
}

SIMD_INLINE void logits(const kv_tile *t, int i, int j, const int rows)
{
    vec          s[ROWS][VECS];
    const float *q = t->q + (ptrdiff_t)i * t->d, *k = t->k + j;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < VECS; v++)
            s[r][v] = v_set(0.f);
    for (int d = 0; d < t->d; d++, k += KV_KEYS) {
        vec y[VECS];
        for (int v = 0; v < VECS; v++)
            y[v] = v_load(k + v * LANES);
        for (int r = 0; r < rows; r++) {
            vec x = v_set(q[(ptrdiff_t)r * t->d + d]);
            for (int v = 0; v < VECS; v++)
                s[r][v] = v_fma(x, y[v], s[r][v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < VECS; v++)
            v_store(t->s + (ptrdiff_t)(i + r) * KV_KEYS + j + v * LANES, s[r][v]);
}

SIMD_INLINE void values(const kv_tile *t, const float *keep, int i, int c, const int rows,
                        const int vecs)
{
    vec    o[ROWS][VECS];
    float *acc = t->acc + (ptrdiff_t)i * t->dv + c;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++)
            o[r][v] = v_mul(v_set(keep[i + r]), v_load(acc + (ptrdiff_t)r * t->dv + v * LANES));
    for (int j = 0; j < t->keys; j++) {
        vec y[VECS];
        for (int v = 0; v < vecs; v++)
            y[v] = v_load(t->v + (ptrdiff_t)j * t->dv + c + v * LANES);
        for (int r = 0; r < rows; r++) {
            vec p = v_set(t->s[(ptrdiff_t)(i + r) * KV_KEYS + j]);
            for (int v = 0; v < vecs; v++)
                o[r][v] = v_fma(p, y[v], o[r][v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++)
            v_store(acc + (ptrdiff_t)r * t->dv + v * LANES, o[r][v]);
}

SIMD static void weigh(const kv_tile *t, float *keep)
{
    float part[LANES];
    for (int i = 0; i < t->queries; i++) {
        float *s = t->s + (ptrdiff_t)i * KV_KEYS, top = t->top[i], sum = 0;
        for (int j = t->keys; j < KV_KEYS; j++)
            s[j] = -INFINITY;
        vec m = v_load(s);
        for (int j = LANES; j < KV_KEYS; j += LANES)
            m = v_max(m, v_load(s + j));
        v_store(part, m);
        for (int l = 0; l < LANES; l++)
            top = part[l] > top ? part[l] : top;
        m = v_set(0.f);
        for (int j = 0; j < KV_KEYS; j += LANES) {
            vec e = exp2_of(v_sub(v_load(s + j), v_set(top)));
            v_store(s + j, e);
            m = v_add(m, e);
        }
        v_store(part, m);
        for (int l = 0; l < LANES; l++)
            sum += part[l];
        keep[i] = exp2f(t->top[i] - top);
        t->sum[i] = t->sum[i] * keep[i] + sum;
        t->top[i] = top;
    }
}

SIMD_INLINE void rows_of(const kv_tile *t, const float *keep, int i, const int rows, bool first)
{
    int c = 0;
    if (first) {
        for (int j = 0; j < KV_KEYS; j += VECS * LANES)
            logits(t, i, j, rows);
        return;
    }
    for (; c + VECS * LANES <= t->dv; c += VECS * LANES)
        values(t, keep, i, c, rows, VECS);
    for (; c < t->dv; c += LANES)
        values(t, keep, i, c, rows, 1);
}

SIMD static void tile(const kv_tile *t)
{
    float keep[KV_QUERIES];
    for (int first = 1; first >= 0; first--) {
        int i = 0;
        for (; i + ROWS <= t->queries; i += ROWS)
            rows_of(t, keep, i, ROWS, first);
        for (; i < t->queries; i++)
            rows_of(t, keep, i, 1, first);
        if (first)
            weigh(t, keep);
    }
}
