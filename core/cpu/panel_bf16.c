/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Panel kernels with bf16 operands through AVX512-BF16's dot products.
 *
 * As panel_simd.h, with two channels a lane: half the steps. Operands are rounded to bf16 (8 bits of
 * mantissa), products and sums are fp32, and so are norms, softmax and the residual stream.
 * Bound: where a core does two 512-bit dot products a clock (Zen 4 and 5), twice the f32 rate.
 */
#if defined(__x86_64__)
#include "core/cpu/panel.h"
#include "core/cpu/simd_bf16.h"

#define PANEL_HALF
#define PANEL_NO_GEMM
#define PANEL_NO_ATTEND
#include "core/cpu/panel_simd.h"

enum { K_STEP = 2 };

SIMD static void pair2(void *dst, const float *src, ptrdiff_t ld, int c, int t)
{
    pair_rows(dst, ld, src, ld, c, t, K_STEP);
}

SIMD_INLINE void product(const panel_gemm *g, const uint32_t *w, int n, int t, const int vecs)
{
    vec acc[PANEL_ROWS][VECS];
    for (int r = 0; r < PANEL_ROWS; r++)
        for (int i = 0; i < vecs; i++)
            acc[r][i] = v_set(0.f);
    for (int tap = 0; tap < g->w->taps; tap++) {
        const uint32_t *x = (const uint32_t *)g->x + (g->tap ? g->tap[tap] : 0) + t;
        for (int c = (g->w->k + 1) / 2; c > 0; c--, x += g->ldx, w += PANEL_ROWS) {
            __m512i a[VECS];
            for (int i = 0; i < vecs; i++)
                a[i] = _mm512_loadu_si512(x + i * LANES);
            for (int r = 0; r < PANEL_ROWS; r++) {
                __m512i b = _mm512_set1_epi32((int)w[r]);
                for (int i = 0; i < vecs; i++)
                    acc[r][i] = v_dot(acc[r][i], a[i], b);
            }
        }
    }
    put(g, acc, n, t, vecs);
}

SIMD static void gemm(const panel_gemm *g)
{
    size_t step = (size_t)g->w->taps * (size_t)((g->w->k + 1) / 2) * PANEL_ROWS;
    for (int t = 0; t < g->t;) {
        const uint32_t *w = g->w->data;
        int             vecs = (g->t - t) / LANES >= VECS ? VECS : 1;
        for (int n = 0; n < g->w->n; n += PANEL_ROWS, w += step)
            if (vecs == VECS)
                product(g, w, n, t, VECS);
            else
                product(g, w, n, t, 1);
        t += LANES * vecs;
    }
}

/* ---- attention ---------------------------------------------------------------------------- */

/* q and k as pairs of channels, v as pairs of keys */
typedef struct halves {
    uint32_t *q, *k, *v; /* (d / 2, t), (d / 2, t), (d, t / 2) */
    int       pairs;
} halves;

SIMD_INLINE void logits(const panel_attend *a, const halves *h, int j, int i, const int keys,
                        const int vecs)
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
    const uint32_t *q = h->q + i, *k = h->k + j;
    for (int d = h->pairs; d > 0; d--, q += a->t, k += a->t) {
        __m512i qv[VECS];
        for (int v = 0; v < vecs; v++)
            qv[v] = _mm512_loadu_si512(q + v * LANES);
        for (int r = 0; r < keys; r++) {
            __m512i b = _mm512_set1_epi32((int)k[r]);
            for (int v = 0; v < vecs; v++)
                s[r][v] = v_dot(s[r][v], qv[v], b);
        }
    }
    for (int r = 0; r < keys; r++)
        for (int v = 0; v < vecs; v++)
            v_store(a->s + (ptrdiff_t)(j + r) * PANEL_STRIP + v * LANES, s[r][v]);
}

SIMD_INLINE void values(const panel_attend *a, const halves *h, const vec inv[VECS], int d0, int i,
                        const int rows, const int vecs)
{
    vec o[5][VECS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++)
            o[r][v] = v_set(0.f);
    ptrdiff_t       ldv = a->t / 2;
    const uint32_t *val = h->v + d0 * ldv;
    const float    *p = a->s;
    for (int j = 0; j < (a->nk + 1) / 2; j++, p += PANEL_STRIP) {
        __m512i pv[VECS];
        for (int v = 0; v < vecs; v++)
            pv[v] = _mm512_loadu_si512(p + v * LANES);
        for (int r = 0; r < rows; r++) {
            __m512i b = _mm512_set1_epi32((int)val[r * ldv + j]);
            for (int v = 0; v < vecs; v++)
                o[r][v] = v_dot(o[r][v], pv[v], b);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++)
            v_store(a->o + (d0 + r) * a->ld + i + v * LANES, v_mul(o[r][v], inv[v]));
}

/* Softmax weights of a strip, in place, as pairs of keys: row j / 2 of s. */
SIMD_INLINE void weights(const panel_attend *a, vec inv[VECS], const int vecs)
{
    for (int v = 0; v < vecs; v++) {
        float *s = a->s + v * LANES;
        vec    top = v_load(s), sum = v_set(0.f);
        for (int j = 1; j < a->nk; j++)
            top = v_max(top, v_load(s + (ptrdiff_t)j * PANEL_STRIP));
        for (int j = 0; j < a->nk; j += 2) {
            const float *row = s + (ptrdiff_t)j * PANEL_STRIP;
            vec          e0 = v_exp2(v_sub(v_load(row), top)), e1 = v_set(0.f);
            if (j + 1 < a->nk)
                e1 = v_exp2(v_sub(v_load(row + PANEL_STRIP), top));
            sum = v_add(sum, v_add(e0, e1));
            _mm512_storeu_si512(s + (ptrdiff_t)(j / 2) * PANEL_STRIP, v_pair(e0, e1));
        }
        inv[v] = v_div(v_set(1.f), sum);
    }
}

SIMD_INLINE void attend_strip(const panel_attend *a, const halves *h, int i, const int vecs)
{
    int j = 0;
    for (; j + 4 <= a->nk; j += 4)
        logits(a, h, j, i, 4, vecs);
    for (; j < a->nk; j++)
        logits(a, h, j, i, 1, vecs);
    vec inv[VECS];
    weights(a, inv, vecs);
    for (int d = 0; d < a->d;) {
        int left = a->d - d, blocks = (left + 4) / 5, rows = (left + blocks - 1) / blocks;
        switch (rows) {
        case 5: values(a, h, inv, d, i, 5, vecs); break;
        case 4: values(a, h, inv, d, i, 4, vecs); break;
        case 3: values(a, h, inv, d, i, 3, vecs); break;
        case 2: values(a, h, inv, d, i, 2, vecs); break;
        default: values(a, h, inv, d, i, 1, vecs); break;
        }
        d += rows;
    }
}

SIMD static void halve(const panel_attend *a, halves *h)
{
    h->pairs = (a->d + 1) / 2;
    h->q = (uint32_t *)a->s + (size_t)oriel_round_up(a->nk, 32) * PANEL_STRIP;
    h->k = h->q + h->pairs * a->t;
    h->v = h->k + h->pairs * a->t;
    pair_rows(h->q, a->t, a->q, a->ld, a->d, a->t, K_STEP);
    pair_rows(h->k, a->t, a->k, a->ld, a->d, a->t, K_STEP);
    for (int d = 0; d < a->d; d++)
        for (int i = 0; i < a->t; i += LANES)
            v_store_half(h->v + d * (a->t / 2) + i / 2, v_load(a->v + d * a->ld + i));
}

SIMD static void attend(const panel_attend *a)
{
    halves h;
    halve(a, &h);
    for (int i = 0; i < a->t;) {
        if ((a->t - i) / LANES >= VECS) {
            attend_strip(a, &h, i, VECS);
            i += VECS * LANES;
        } else {
            attend_strip(a, &h, i, 1);
            i += LANES;
        }
    }
}

const panel_ops panel_bf16 = {
    .name = "avx512 bf16",
    .lanes = LANES,
    .bf16 = true,
    .k_step = K_STEP,
    .n_step = PANEL_ROWS,
    .gemm = gemm,
    .pair = pair2,
    .gather = gather,
    .scatter = scatter,
    .norm = norm,
    .attend = attend,
};
#else
typedef int oriel_no_bf16;
#endif
