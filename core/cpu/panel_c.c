/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Panel kernels in plain C: the meaning, and what runs where there is no AVX2.
 *
 * Contract: any sizes; t a multiple of 4.
 * Bound: 2 n k flops a token; compilers vectorise the loops over t.
 */
#include <math.h>

#include "core/cpu/panel.h"

enum { LANES = 4 };

static float exp2_poly(float x)
{
    static const float c[] = PANEL_EXP2;
    float              n = nearbyintf(x < -126.f ? -126.f : x), f = x < -126.f ? 0.f : x - n;
    return ldexpf(((((c[5] * f + c[4]) * f + c[3]) * f + c[2]) * f + c[1]) * f + c[0], (int)n);
}

static float gelu(float x)
{
    static const float c[] = PANEL_GELU_TAIL;
    float              t = fminf(fabsf(x), PANEL_GELU_END), p = c[6];
    for (int i = 5; i >= 0; i--)
        p = p * t + c[i];
    return fmaxf(x, 0.f) - t * exp2_poly(p);
}

static void gemm(const panel_gemm *g)
{
    const panel_weights *w = g->w;
    for (int n = 0; n < w->n; n++) {
        const float *wn = (const float *)w->data +
                          (size_t)(n / PANEL_ROWS * w->taps) * (size_t)w->k * PANEL_ROWS +
                          n % PANEL_ROWS;
        for (int t0 = 0; t0 < g->t; t0 += PANEL_STRIP) {
            float acc[PANEL_STRIP];
            int   t = (int)oriel_min(PANEL_STRIP, g->t - t0);
            for (int i = 0; i < t; i++)
                acc[i] = 0.f;
            const float *wk = wn;
            for (int tap = 0; tap < w->taps; tap++) {
                const float *x = (const float *)g->x + (g->tap ? g->tap[tap] : 0) + t0;
                for (int c = 0; c < w->k; c++, x += g->ldx, wk += PANEL_ROWS)
                    for (int i = 0; i < t; i++)
                        acc[i] += *wk * x[i];
            }
            float *y = g->y + n * g->ldy + t0;
            for (int i = 0; i < t; i++) {
                float v = acc[i] + w->bias[n];
                if (g->act == PANEL_GELU)
                    v = gelu(v);
                else if (g->act == PANEL_LEAKY)
                    v = v < 0.f ? v * g->slope : v;
                y[i] = g->add ? y[i] + v : v;
            }
        }
    }
}

static void gather(float *panel, ptrdiff_t ld, const float *const *token, int t, int channels)
{
    int lanes = (int)oriel_round_up(t, LANES);
    for (int c = 0; c < channels; c++) {
        for (int i = 0; i < t; i++)
            panel[c * ld + i] = token[i][c];
        for (int i = t; i < lanes; i++)
            panel[c * ld + i] = 0.f;
    }
}

static void scatter(float *const *token, const float *panel, ptrdiff_t ld, int t, int channels)
{
    for (int i = 0; i < t; i++)
        for (int c = 0; c < channels; c++)
            token[i][c] = panel[c * ld + i];
}

static void norm(float *dst, const float *src, ptrdiff_t ld, int c, int t, const float *gamma,
                 const float *beta, float eps)
{
    for (int i = 0; i < t; i++) {
        float mean = 0.f, var = 0.f;
        for (int r = 0; r < c; r++)
            mean += src[r * ld + i];
        mean /= (float)c;
        for (int r = 0; r < c; r++) {
            float d = src[r * ld + i] - mean;
            var += d * d;
        }
        float scale = 1.f / sqrtf(var / (float)c + eps);
        for (int r = 0; r < c; r++)
            dst[r * ld + i] = (src[r * ld + i] - mean) * scale * gamma[r] + beta[r];
    }
}

static void attend(const panel_attend *a)
{
    for (int i = 0; i < a->t; i++) {
        float *s = a->s, top = -INFINITY, sum = 0.f;
        for (int j = 0; j < a->nk; j++) {
            s[j] = a->bias ? a->bias[(ptrdiff_t)j * a->t + i] : 0.f;
            if (a->region && a->region[i] != a->region[j])
                s[j] += a->masked;
            for (int d = 0; d < a->d; d++)
                s[j] += a->q[d * a->ld + i] * a->k[d * a->ld + j];
            top = fmaxf(top, s[j]);
        }
        for (int j = 0; j < a->nk; j++)
            sum += s[j] = exp2_poly(s[j] - top);
        for (int d = 0; d < a->d; d++) {
            float o = 0.f;
            for (int j = 0; j < a->nk; j++)
                o += s[j] * a->v[d * a->ld + j];
            a->o[d * a->ld + i] = o / sum;
        }
    }
}

const panel_ops panel_c = {
    .name = "c",
    .lanes = LANES,
    .k_step = 1,
    .n_step = PANEL_ROWS,
    .gemm = gemm,
    .gather = gather,
    .scatter = scatter,
    .norm = norm,
    .attend = attend,
};
