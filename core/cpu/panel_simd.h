/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Panel kernels over a vector vocabulary (simd_avx2.h, simd_avx512.h): included once a level.
 *
 * Registers: a product holds PANEL_ROWS outputs x VECS vectors of tokens: 24 of 32 with AVX-512,
 *   12 of 16 with AVX2; a step loads VECS vectors and PANEL_ROWS weights for PANEL_ROWS x VECS FMAs.
 * Bound: FMA. A strip of 64 tokens uses each weight 64 times and streams x from L1 or L2.
 * PANEL_HALF: exponentials as exact as bf16 operands need them.
 * Sums run over taps, then channels, in order, so the bits do not depend on where a strip begins.
 */

/* 2^x for finite x; far below the range 0 */
SIMD_INLINE vec v_exp2(vec x)
{
#ifdef PANEL_HALF
    static const float c[] = PANEL_EXP2_HALF;
#else
    static const float c[] = PANEL_EXP2;
#endif
    enum { TOP = sizeof c / sizeof *c - 1 };
    vec n = v_round(x), f = v_sub(x, n), p = v_set(c[TOP]);
#pragma GCC unroll 8
    for (int i = TOP - 1; i >= 0; i--)
        p = v_fma(p, f, v_set(c[i]));
    return v_scale(p, n);
}

SIMD_INLINE vec v_gelu(vec x)
{
#ifdef PANEL_HALF
    static const float c[] = PANEL_GELU_TAIL_HALF;
#else
    static const float c[] = PANEL_GELU_TAIL;
#endif
    enum { TOP = sizeof c / sizeof *c - 1 };
    vec t = v_min(v_abs(x), v_set(PANEL_GELU_END)), p = v_set(c[TOP]);
#pragma GCC unroll 8
    for (int i = TOP - 1; i >= 0; i--)
        p = v_fma(p, t, v_set(c[i]));
    return v_sub(v_max(x, v_set(0.f)), v_mul(t, v_exp2(p)));
}

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
SIMD_INLINE void product(const panel_gemm *g, const float *w, int n, int t, const int vecs)
{
    vec acc[PANEL_ROWS][VECS];
    for (int r = 0; r < PANEL_ROWS; r++)
        for (int i = 0; i < vecs; i++)
            acc[r][i] = v_set(0.f);
    for (int tap = 0; tap < g->w->taps; tap++) {
        const float *x = (const float *)g->x + (g->tap ? g->tap[tap] : 0) + t;
        for (int c = g->w->k; c > 0; c--, x += g->ldx, w += PANEL_ROWS) {
            vec a[VECS];
            for (int i = 0; i < vecs; i++)
                a[i] = v_load(x + i * LANES);
            for (int r = 0; r < PANEL_ROWS; r++) {
                vec b = v_set(w[r]);
                for (int i = 0; i < vecs; i++)
                    acc[r][i] = v_fma(a[i], b, acc[r][i]);
            }
        }
    }
    put(g, acc, n, t, vecs);
}

SIMD static void gemm(const panel_gemm *g)
{
    size_t step = (size_t)g->w->taps * (size_t)g->w->k * PANEL_ROWS;
    for (int t = 0; t < g->t;) {
        const float *w = g->w->data;
        int          left = (g->t - t) / LANES;
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

SIMD static void norm(float *dst, const float *src, ptrdiff_t ld, int c, int t, const float *gamma,
                      const float *beta, float eps)
{
    const vec inv = v_set(1.f / (float)c);
    for (int i = 0; i < t; i += LANES) {
        vec sum = v_set(0.f), sum1 = sum, var = sum, var1 = sum;
        int r = 0;
        for (; r + 1 < c; r += 2) {
            sum = v_add(sum, v_load(src + r * ld + i));
            sum1 = v_add(sum1, v_load(src + (r + 1) * ld + i));
        }
        if (r < c)
            sum = v_add(sum, v_load(src + r * ld + i));
        vec mean = v_mul(v_add(sum, sum1), inv);
        for (r = 0; r + 1 < c; r += 2) {
            vec a = v_sub(v_load(src + r * ld + i), mean);
            vec b = v_sub(v_load(src + (r + 1) * ld + i), mean);
            var = v_fma(a, a, var);
            var1 = v_fma(b, b, var1);
        }
        if (r < c) {
            vec a = v_sub(v_load(src + r * ld + i), mean);
            var = v_fma(a, a, var);
        }
        vec scale = v_div(v_set(1.f), v_sqrt(v_fma(v_add(var, var1), inv, v_set(eps))));
        for (r = 0; r < c; r++) {
            vec a = v_mul(v_sub(v_load(src + r * ld + i), mean), scale);
            v_store(dst + r * ld + i, v_fma(a, v_set(gamma[r]), v_set(beta[r])));
        }
    }
}

#ifndef PANEL_NO_ATTEND
/* s[j .. j + keys)[0 .. strip) = logits of a block of keys against a strip of queries at i */
SIMD_INLINE void logits(const panel_attend *a, int j, int i, const int keys, const int vecs)
{
    vec s[4][VECS];
    for (int r = 0; r < keys; r++)
        for (int v = 0; v < vecs; v++)
            s[r][v] = a->bias ? v_load(a->bias + (ptrdiff_t)(j + r) * a->t + i + v * LANES)
                              : v_set(0.f);
    if (a->region)
        for (int v = 0; v < vecs; v++) {
            vec own = v_load(a->region + i + v * LANES);
            for (int r = 0; r < keys; r++)
                s[r][v] = v_add_where_differ(s[r][v], v_set(a->masked), own,
                                             v_set(a->region[j + r]));
        }
    const float *q = a->q + i, *k = a->k + j;
    for (int d = a->d; d > 0; d--, q += a->ld, k += a->ld) {
        vec qv[VECS];
        for (int v = 0; v < vecs; v++)
            qv[v] = v_load(q + v * LANES);
        for (int r = 0; r < keys; r++) {
            vec b = v_set(k[r]);
            for (int v = 0; v < vecs; v++)
                s[r][v] = v_fma(qv[v], b, s[r][v]);
        }
    }
    for (int r = 0; r < keys; r++)
        for (int v = 0; v < vecs; v++)
            v_store(a->s + (ptrdiff_t)(j + r) * PANEL_STRIP + v * LANES, s[r][v]);
}

/* o[d0 .. d0 + rows) of a strip: sum over keys, times 1 / sum of weights */
SIMD_INLINE void values(const panel_attend *a, const vec inv[VECS], int d0, int i, const int rows,
                        const int vecs)
{
    vec o[5][VECS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++)
            o[r][v] = v_set(0.f);
    const float *val = a->v + d0 * a->ld, *s = a->s;
    for (int j = 0; j < a->nk; j++, s += PANEL_STRIP) {
        vec p[VECS];
        for (int v = 0; v < vecs; v++)
            p[v] = v_load(s + v * LANES);
        for (int r = 0; r < rows; r++) {
            vec b = v_set(val[r * a->ld + j]);
            for (int v = 0; v < vecs; v++)
                o[r][v] = v_fma(p[v], b, o[r][v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++)
            v_store(a->o + (d0 + r) * a->ld + i + v * LANES, v_mul(o[r][v], inv[v]));
}

SIMD_INLINE void attend_strip(const panel_attend *a, int i, const int vecs)
{
    int j = 0;
    for (; j + 4 <= a->nk; j += 4)
        logits(a, j, i, 4, vecs);
    for (; j < a->nk; j++)
        logits(a, j, i, 1, vecs);
    vec top[VECS], sum[VECS], inv[VECS];
    for (int v = 0; v < vecs; v++)
        top[v] = v_load(a->s + v * LANES), sum[v] = v_set(0.f);
    for (j = 1; j < a->nk; j++)
        for (int v = 0; v < vecs; v++)
            top[v] = v_max(top[v], v_load(a->s + (ptrdiff_t)j * PANEL_STRIP + v * LANES));
    for (j = 0; j < a->nk; j++)
        for (int v = 0; v < vecs; v++) {
            float *s = a->s + (ptrdiff_t)j * PANEL_STRIP + v * LANES;
            vec    e = v_exp2(v_sub(v_load(s), top[v]));
            sum[v] = v_add(sum[v], e);
            v_store(s, e);
        }
    for (int v = 0; v < vecs; v++)
        inv[v] = v_div(v_set(1.f), sum[v]);
    for (int d = 0; d < a->d;) {
        int left = a->d - d, blocks = (left + 4) / 5, rows = (left + blocks - 1) / blocks;
        switch (rows) {
        case 5: values(a, inv, d, i, 5, vecs); break;
        case 4: values(a, inv, d, i, 4, vecs); break;
        case 3: values(a, inv, d, i, 3, vecs); break;
        case 2: values(a, inv, d, i, 2, vecs); break;
        default: values(a, inv, d, i, 1, vecs); break;
        }
        d += rows;
    }
}

SIMD static void attend(const panel_attend *a)
{
    for (int i = 0; i < a->t;) {
        int left = (a->t - i) / LANES;
        if (left >= VECS) {
            attend_strip(a, i, VECS);
            i += VECS * LANES;
        } else {
            attend_strip(a, i, 1);
            i += LANES;
        }
    }
}
#endif
