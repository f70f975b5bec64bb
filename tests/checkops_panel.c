/* SPDX-License-Identifier: Apache-2.0 */
/* Panel kernels one by one. */
#include "checkops.h"

/* ---- tables of random numbers --------------------------------------------------------------- */

/* A zone of rows x ld with samples in the first t lanes of each row and poison behind. */
static float *rows_new(problem *q, int rows, int ld, int t, double size)
{
    float *p = zone_new((size_t)rows * (size_t)ld);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < t; i++)
            p[r * ld + i] = (float)size * draw_sample(q);
    return p;
}

static float *copy_of(const float *p, size_t n)
{
    float *c = zone_new(n);
    memcpy(c, p, n * sizeof *p);
    return c;
}

/* Lanes t .. ld of the rows and the red zones are untouched. */
static void check_walls(problem *q, const float *p, int rows, int ld, int t)
{
    bool whole = zone_whole(p, (size_t)rows * (size_t)ld);
    for (int r = 0; r < rows; r++)
        for (int i = t; i < ld; i++)
            whole &= poisoned(p[r * ld + i]);
    if (!whole)
        fault(q, "wrote beside its output");
}

static int lanes_of(problem *q, int most)
{
    return q->p->lanes * draw(q, 1, most / q->p->lanes);
}

/* ---- gemm ----------------------------------------------------------------------------------- */

typedef struct product {
    int           n, k, taps, t, ldx, ldy, reach; /* reach: lanes of x beyond t that taps use */
    ptrdiff_t     tap[9];
    float        *w, *bias, *x, *y, *before;
    void         *pairs;
    int          *row;
    panel_weights packed;
    panel_gemm    g;
} product;

static void product_new(problem *q, product *m)
{
    const panel_ops *p = q->p;
    *m = (product){.n = draw(q, 1, 70), .k = draw(q, 1, 70), .taps = draw(q, 0, 2) ? 1 : draw(q, 2, 9)};
    m->t = lanes_of(q, 160);
    m->reach = m->taps > 1 ? draw(q, 0, 16) : 0;
    int span = (int)oriel_round_up(m->t + m->reach, p->lanes);
    m->ldx = span + draw(q, 0, 9);
    m->ldy = m->t + draw(q, 0, 9);
    m->w = rows_new(q, m->n, m->k * m->taps, m->k * m->taps, 1);
    m->bias = draw(q, 0, 3) ? rows_new(q, 1, m->n, m->n, 3) : NULL;
    m->x = rows_new(q, m->k, m->ldx, span, 1);
    m->y = rows_new(q, m->n, m->ldy, 0, 1);
    m->row = draw(q, 0, 1) ? malloc((size_t)m->n * sizeof *m->row) : NULL;
    for (int i = 0, turn = draw(q, 0, m->n - 1); m->row && i < m->n; i++)
        m->row[i] = (i + turn) % m->n;
    for (int i = 0; i < m->taps && m->taps > 1; i++)
        m->tap[i] = draw(q, 0, m->reach);
    if (panel_pack(&m->packed, p, m->w, m->bias, m->n, m->k, m->taps, m->row))
        abort();
    m->g = (panel_gemm){.w = &m->packed, .x = m->x, .ldx = m->ldx, .tap = m->taps > 1 ? m->tap : NULL,
                        .y = m->y, .ldy = m->ldy, .t = m->t, .act = (panel_act)draw(q, 0, 2),
                        .slope = 0.01f * (float)draw(q, 1, 30)};
    m->g.add = m->g.act != PANEL_GELU && draw(q, 0, 1); /* panel.h: GELU never adds */
    if (p->bf16) {
        m->pairs = zone_new((size_t)oriel_round_up(m->k, p->k_step) / 2 * (size_t)m->ldx);
        p->pair(m->pairs, m->x, m->ldx, m->k, span);
        m->g.x = m->pairs;
    }
    for (int r = 0; m->g.add && r < m->n; r++)
        for (int i = 0; i < m->t; i++)
            m->y[r * m->ldy + i] = 2 * draw_sample(q);
    m->before = copy_of(m->y, (size_t)m->n * (size_t)m->ldy);
    snprintf(q->what, sizeof q->what, "n %d k %d taps %d t %d act %d%s", m->n, m->k, m->taps, m->t,
             (int)m->g.act, m->g.add ? " add" : "");
}

static void product_free(product *m)
{
    panel_unpack(&m->packed);
    zone_free(m->w);
    zone_free(m->x);
    zone_free(m->y);
    zone_free(m->before);
    if (m->bias)
        zone_free(m->bias);
    if (m->pairs)
        zone_free(m->pairs);
    free(m->row);
}

/* How far from GELU a level's fit may be, as panel.h says. */
static double gelu_fit(const problem *q)
{
    return q->p->bf16 ? 4.0e-6 : 1.5e-7;
}

static double gelu(double x)
{
    return 0.5 * x * erfc(-x * sqrt(0.5));
}

static void product_check(problem *q, const product *m, int n, int i)
{
    int    from = m->row ? m->row[n] : n;
    double sum = m->bias ? (double)m->bias[from] : 0, size = fabs(sum);
    for (int c = 0; c < m->k; c++)
        for (int tap = 0; tap < m->taps; tap++) {
            double a = rounded(q, m->w[(from * m->k + c) * m->taps + tap]);
            double b = rounded(q, m->x[c * m->ldx + i + (int)m->tap[tap]]);
            sum += a * b;
            size += fabs(a * b);
        }
    /* a sum of K terms in order: errors grow as sqrt(K) */
    double bound = EPS * (2 * sqrt((double)m->k * m->taps) + 2) * size;
    if (m->g.act == PANEL_GELU) {
        sum = gelu(sum);
        bound = 1.13 * bound + gelu_fit(q) + 4 * EPS * fabs(sum);
    } else if (m->g.act == PANEL_LEAKY)
        sum = sum < 0 ? sum * (double)m->g.slope : sum;
    double old = m->g.add ? (double)m->before[n * m->ldy + i] : 0;
    bound += EPS * (fabs(sum) + 2 * fabs(old + sum));
    expect(q, (double)m->y[n * m->ldy + i], old + sum, bound, "output, lane", n, i);
}

static void check_gemm(problem *q)
{
    product m;
    product_new(q, &m);
    panel_enter(q->p);
    q->p->gemm(&m.g);
    panel_leave(q->p);
    for (int n = 0; n < m.n; n++)
        for (int i = 0; i < m.t; i++)
            product_check(q, &m, n, i);
    check_walls(q, m.y, m.n, m.ldy, m.t);
    size_t all = (size_t)m.n * (size_t)m.ldy;
    float *first = copy_of(m.y, all);
    memcpy(m.y, m.before, all * sizeof *first);
    panel_enter(q->p);
    q->p->gemm(&m.g);
    panel_leave(q->p);
    if (memcmp(m.y, first, all * sizeof *first))
        fault(q, "other bits the second time");
    zone_free(first);
    product_free(&m);
}

/* GELU alone, from far left to far right: the fit must hold everywhere. */
static void check_gelu(problem *q)
{
    enum { T = 960 };
    float         one = 1, *x = zone_new(2 * T), *y = zone_new(T);
    panel_weights w;
    if (panel_pack(&w, q->p, &one, NULL, 1, 1, 1, NULL))
        abort();
    for (int i = 0; i < T; i++)
        x[i] = (float)bf16((float)((i - T / 2) * 0.015625 + 1e-3 * (double)draw_sample(q)));
    x[0] = -1e30f, x[1] = 1e30f, x[2] = -90, x[3] = 90, x[4] = 0, x[5] = -0.f;
    float *pairs = zone_new(16 * T);
    if (q->p->bf16)
        q->p->pair(pairs, x, T, 1, T);
    snprintf(q->what, sizeof q->what, "gelu");
    panel_enter(q->p);
    q->p->gemm(&(panel_gemm){.w = &w, .x = q->p->bf16 ? pairs : x, .ldx = T, .y = y, .ldy = T, .t = T,
                             .act = PANEL_GELU});
    panel_leave(q->p);
    for (int i = 0; i < T; i++) {
        double v = rounded(q, x[i]);
        expect(q, (double)y[i], gelu(v), gelu_fit(q) + 2 * EPS * fabs(gelu(v)), "lane", i, 0);
    }
    panel_unpack(&w);
    zone_free(pairs);
    zone_free(x);
    zone_free(y);
}

typedef struct gemm_call {
    const panel_ops *p;
    panel_gemm       g;
} gemm_call;

static void call_gemm(void *arg)
{
    gemm_call *c = arg;
    c->p->gemm(&c->g);
}

static double bench_gemm(const problem *q, double *seconds)
{
    enum { N = 180, T = 64 };
    float *w = oriel_alloc_zero(N * N, 4), *x = oriel_alloc_zero(256 * T, 4), *y = oriel_alloc_zero(N * T, 4);
    panel_weights packed;
    if (panel_pack(&packed, q->p, w, NULL, N, N, 1, NULL))
        abort();
    gemm_call m = {q->p, {.w = &packed, .x = x, .ldx = T, .y = y, .ldy = T, .t = T}};
    panel_enter(q->p);
    *seconds = best_of(call_gemm, &m);
    panel_leave(q->p);
    panel_unpack(&packed);
    oriel_dealloc(w);
    oriel_dealloc(x);
    oriel_dealloc(y);
    return 2.0 * N * N * T;
}

/* ---- pairs ---------------------------------------------------------------------------------- */

static void check_pair(problem *q)
{
    int    c = draw(q, 1, 70), t = lanes_of(q, 96), ld = t + draw(q, 0, 9);
    int    rows = (int)oriel_round_up(c, q->p->k_step) / 2;
    float *x = rows_new(q, c, ld, t, 10), *y = zone_new((size_t)rows * (size_t)ld);
    for (int i = 0; i < t; i++) /* ties of both kinds */
        x[i] = 1 + 0x1p-8f * (float)i;
    snprintf(q->what, sizeof q->what, "pair: c %d t %d", c, t);
    q->p->pair(y, x, ld, c, t);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < t; i++) {
            uint16_t two[2];
            memcpy(two, &y[r * ld + i], 4);
            for (int k = 0; k < 2; k++) {
                float v = 2 * r + k < c ? bf16(x[(2 * r + k) * ld + i]) : 0;
                expect(q, (double)oriel_bf16_to_f32(two[k]), (double)v, 0, "channel, lane", 2 * r + k, i);
            }
        }
    check_walls(q, y, rows, ld, t);
    zone_free(x);
    zone_free(y);
}

/* ---- gather and scatter --------------------------------------------------------------------- */

static void check_move(problem *q)
{
    int    c = draw(q, 1, 40), t = draw(q, 1, 80), full = (int)oriel_round_up(t, q->p->lanes);
    int    ld = full + draw(q, 0, 9);
    float *panel = zone_new((size_t)c * (size_t)ld), *from[80], *to[80];
    for (int i = 0; i < t; i++) { /* each its own block, as long as it may be read and written */
        from[i] = malloc((size_t)c * sizeof(float));
        to[i] = zone_new((size_t)c);
        for (int k = 0; k < c; k++)
            from[i][k] = draw_sample(q);
    }
    snprintf(q->what, sizeof q->what, "c %d t %d ld %d", c, t, ld);
    q->p->gather(panel, ld, (const float *const *)from, t, c);
    for (int k = 0; k < c; k++)
        for (int i = 0; i < full; i++)
            expect(q, (double)panel[k * ld + i], i < t ? (double)from[i][k] : 0, 0, "gather: channel, lane", k, i);
    check_walls(q, panel, c, ld, full);
    for (int k = 0; k < c; k++) /* scatter writes only what is a token's */
        for (int i = t; i < full; i++)
            panel[k * ld + i] = 1e9f;
    q->p->scatter(to, panel, ld, t, c);
    for (int i = 0; i < t; i++) {
        for (int k = 0; k < c; k++)
            expect(q, (double)to[i][k], (double)from[i][k], 0, "scatter: token, channel", i, k);
        if (!zone_whole(to[i], (size_t)c))
            fault(q, "scatter: wrote beside token %d", i);
        free(from[i]);
        zone_free(to[i]);
    }
    zone_free(panel);
}

/* ---- norm ----------------------------------------------------------------------------------- */

static void norm_lane(problem *q, const float *src, const float *dst, int ld, int c, int i,
                      const float *gamma, const float *beta, double eps)
{
    double mean = 0, var = 0, size = 0;
    for (int r = 0; r < c; r++)
        mean += (double)src[r * ld + i] / c, size = fmax(size, fabs((double)src[r * ld + i]));
    for (int r = 0; r < c; r++) {
        double d = (double)src[r * ld + i] - mean;
        var += d * d / c;
    }
    double scale = 1 / sqrt(var + eps);
    for (int r = 0; r < c; r++) {
        double y = ((double)src[r * ld + i] - mean) * scale, want = y * (double)gamma[r] + (double)beta[r];
        /* the mean's error shifts all; scale's and the last steps' are relative */
        double bound = EPS * (size * scale * (2 * sqrt(c) + 4) * fabs((double)gamma[r]) +
                              (sqrt(c) + 6) * fabs(y * (double)gamma[r]) + 2 * fabs(want));
        expect(q, (double)dst[r * ld + i], want, bound, "channel, lane", r, i);
    }
}

static void check_norm(problem *q)
{
    static const double offset[] = {0, 5, 1000};
    int    c = draw(q, 1, 100), t = lanes_of(q, 80), ld = t + draw(q, 0, 9), kind = draw(q, 0, 3);
    double size = DRAW_OF(q, 1, 30, 10000), eps = draw(q, 0, 1) ? 1e-5 : 1e-6;
    float *src = rows_new(q, c, ld, t, size), *gamma = rows_new(q, 1, c, c, 2), *beta = rows_new(q, 1, c, c, 1);
    for (int r = 0; r < c; r++)
        for (int i = 0; i < t; i++) /* kind 3: lanes without variance */
            src[r * ld + i] = kind == 3 ? (float)i : src[r * ld + i] + (float)(offset[kind] * size);
    float *dst = rows_new(q, c, ld, 0, 1), *keep = copy_of(src, (size_t)c * (size_t)ld);
    snprintf(q->what, sizeof q->what, "c %d t %d size %g kind %d", c, t, size, kind);
    q->p->norm(dst, src, ld, c, t, gamma, beta, (float)eps);
    for (int i = 0; i < t; i++)
        norm_lane(q, keep, dst, ld, c, i, gamma, beta, (double)(float)eps);
    check_walls(q, dst, c, ld, t);
    q->p->norm(src, src, ld, c, t, gamma, beta, (float)eps); /* in place */
    if (memcmp(src, dst, (size_t)c * (size_t)ld * sizeof *src))
        fault(q, "in place gives other bits");
    zone_free(src);
    zone_free(dst);
    zone_free(keep);
    zone_free(gamma);
    zone_free(beta);
}

/* ---- attention of a window ------------------------------------------------------------------ */

typedef struct attention {
    int          d, t, nk, ld;
    float       *q, *k, *v, *o, *bias, *region, *s;
    size_t       scratch;
    bool         half;
    double       square, due; /* sums of squares of error and of what its rms may be */
    panel_attend a;
} attention;

static void attention_new(problem *q, attention *m)
{
    bool   hot = draw(q, 0, 2) == 0;
    int    side = DRAW_OF(q, 7, 8, 1, 5, 9, 12);
    double size = hot ? 40 : 1;
    *m = (attention){.d = draw(q, 1, 64), .half = q->p->bf16};
    m->nk = draw(q, 0, 2) ? side * side : draw(q, 1, 90);
    m->t = (int)oriel_round_up(m->nk, q->p->lanes);
    m->ld = m->t + draw(q, 0, 9);
    m->q = rows_new(q, m->d, m->ld, m->t, size / sqrt(m->d));
    m->k = rows_new(q, m->d, m->ld, m->t, size);
    m->v = rows_new(q, m->d, m->ld, m->t, 2);
    m->o = rows_new(q, m->d, m->ld, 0, 1);
    for (int r = 0; r < m->d; r++) /* lanes that are no key say nothing */
        for (int i = m->nk; i < m->t; i++)
            m->k[r * m->ld + i] = m->v[r * m->ld + i] = 1e4f;
    m->bias = draw(q, 0, 2) ? rows_new(q, m->nk, m->t, m->t, hot ? 30 : 3) : NULL;
    m->region = draw(q, 0, 1) ? rows_new(q, 1, m->t, m->t, 1) : NULL;
    for (int i = 0; m->region && i < m->t; i++)
        m->region[i] = (float)draw(q, 0, 3);
    m->scratch = panel_attend_floats(m->d, m->t, m->nk);
    m->s = zone_new(m->scratch);
    m->a = (panel_attend){.q = m->q, .k = m->k, .v = m->v, .o = m->o, .ld = m->ld, .d = m->d, .t = m->t,
                          .nk = m->nk, .bias = m->bias, .region = m->region, .masked = -144.25f, .s = m->s};
    if (draw(q, 0, 1))
        m->a.masked = -3; /* a mask that does not drown what it hides */
    snprintf(q->what, sizeof q->what, "d %d t %d nk %d%s%s%s", m->d, m->t, m->nk, hot ? " hot" : "",
             m->bias ? " bias" : "", m->region ? " regions" : "");
}

/* One query in double. Operands of products are rounded as the level does; weights not. */
static void attention_lane(problem *q, attention *m, int i)
{
    double s[160], top = -INFINITY, sum = 0, size = 0, spread = 0;
    for (int j = 0; j < m->nk; j++) {
        double add = (m->bias ? (double)m->bias[j * m->t + i] : 0) +
                     (m->region && m->region[i] != m->region[j] ? (double)m->a.masked : 0);
        double all = fabs(add);
        s[j] = add;
        for (int d = 0; d < m->d; d++) {
            float a = m->q[d * m->ld + i], b = m->k[d * m->ld + j];
            double term = m->half ? (double)bf16(a) * (double)bf16(b) : (double)a * (double)b;
            s[j] += term;
            all += fabs(term);
        }
        top = fmax(top, s[j]);
        size = fmax(size, all);
    }
    for (int j = 0; j < m->nk; j++)
        sum += s[j] = exp2(s[j] - top);
    for (int j = 0; j < m->nk; j++)
        spread += s[j] * s[j] / (sum * sum);
    for (int d = 0; d < m->d; d++) {
        double o = 0, big = 0, around = 0;
        for (int j = 0; j < m->nk; j++) {
            float v = m->v[d * m->ld + j];
            o += s[j] / sum * (double)(m->half ? bf16(v) : v);
            big = fmax(big, fabs((double)v));
        }
        for (int j = 0; j < m->nk; j++) {
            float v = m->v[d * m->ld + j];
            around += s[j] / sum * fabs((double)(m->half ? bf16(v) : v) - o);
        }
        /* A logit's error is a weight's relative one; so is exp2's. bf16: exp2 is good to 7.5e-5 and
         * weights, also those that are summed, round by e <= 2^-8 of theirs; o moves by
         * sum(w e (v - o)) / sum(w (1 + e)). */
        double bound = 2 * EPS * (8 + size + sqrt(m->nk)) * big;
        bound += m->half ? (0x1p-8 + 7.5e-5) / (1 - 0x1p-7) * around : 0;
        double have = (double)m->o[d * m->ld + i];
        expect(q, have, o, bound, "channel, query", d, i);
        m->square += (have - o) * (have - o);
        m->due += m->half ? (0x1p-18 * spread + 7.5e-5 * 7.5e-5) * big * big : 0;
    }
}

static void check_attend(problem *q)
{
    attention m;
    attention_new(q, &m);
    panel_enter(q->p);
    q->p->attend(&m.a);
    for (int i = 0; i < m.nk; i++)
        attention_lane(q, &m, i);
    /* bf16: errors of weights are independent, which the largest error does not show. The least
     * that float arithmetic does is allowed besides. */
    if (m.half && m.square > m.due + m.nk * m.d * 1e-9)
        fault(q, "rms error %.3g where %.3g is due", sqrt(m.square), sqrt(m.due));
    check_walls(q, m.o, m.d, m.ld, m.t);
    if (!zone_whole(m.s, m.scratch))
        fault(q, "wrote beside its scratch");
    float *first = copy_of(m.o, (size_t)m.d * (size_t)m.ld);
    q->p->attend(&m.a);
    panel_leave(q->p);
    if (memcmp(first, m.o, (size_t)m.d * (size_t)m.ld * sizeof *first))
        fault(q, "other bits the second time");
    zone_free(first);
    float *all[] = {m.q, m.k, m.v, m.o, m.s, m.bias, m.region};
    for (int i = 0; i < 7; i++)
        if (all[i])
            zone_free(all[i]);
}

typedef struct attend_call {
    const panel_ops *p;
    panel_attend     a;
} attend_call;

static void call_attend(void *arg)
{
    attend_call *c = arg;
    c->p->attend(&c->a);
}

static double bench_attend(const problem *q, double *seconds)
{
    enum { D = 30, T = 64 };
    float *x = oriel_alloc_zero(4 * D * T + T * T + panel_attend_floats(D, T, T), 4);
    attend_call c = {q->p, {.q = x, .k = x + D * T, .v = x + 2 * D * T, .o = x + 3 * D * T, .ld = T,
                            .d = D, .t = T, .nk = T, .bias = x + 4 * D * T, .s = x + 4 * D * T + T * T}};
    panel_enter(q->p);
    *seconds = best_of(call_attend, &c);
    panel_leave(q->p);
    oriel_dealloc(x);
    return 4.0 * D * T * T;
}

const checkop checkops_panel[] = {
    {"gemm", 200, FLOATS | HALVES, check_gemm, bench_gemm},
    {"gelu", 2, FLOATS | HALVES, check_gelu, NULL},
    {"pair", 60, HALVES, check_pair, NULL},
    {"move", 200, FLOATS | HALVES, check_move, NULL},
    {"norm", 200, FLOATS | HALVES, check_norm, NULL},
    {"attend", 150, FLOATS | HALVES, check_attend, bench_attend},
    {0},
};
