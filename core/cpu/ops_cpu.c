/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on the CPU: convolutions and norms over strips of pixels, as panels.
 *
 * A strip is PANEL_STRIP pixels of a row. A convolution keeps the panels of the three rows that it
 * needs in a ring and moves down a band of rows, so with 16 rows each pixel is transposed 1.125
 * times and read nine times from cache. Work is split over strips and bands: outputs, never sums.
 */
#include "core/cpu/ops_cpu.h"

enum { HALO = PANEL_STRIP + PANEL_LANES_MAX /* lanes of a row's panel */ };

/* ---- weights ------------------------------------------------------------------------------ */

oriel_status cpu_panel(const panel_ops **p, const oriel_device *dev, oriel_dtype operand)
{
    if (operand != ORIEL_F32 && operand != ORIEL_BF16)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: a CPU has f32 and bf16", oriel_dtype_name(operand));
    if (!(*p = panel_choose(dev->cpu, operand == ORIEL_BF16)))
        return oriel_fail(ORIEL_E_UNSUPPORTED,
                          "bf16: this CPU has neither AVX512-BF16 nor AMX (or they are hidden)");
    return ORIEL_OK;
}

static oriel_status pack(oriel_device *dev, op_conv *w, const float *data, const float *bias,
                         const int *row, oriel_dtype operand)
{
    oriel_status s;
    cpu_weights *c = oriel_alloc_zero(1, sizeof *c);
    if (!c)
        return ORIEL_E_NOMEM;
    if ((s = cpu_panel(&c->p, dev, operand))) {
        oriel_dealloc(c);
        return s;
    }
    s = panel_pack(&c->w, c->p, data, bias, w->n, w->k, w->taps, row);
    if (s) {
        oriel_dealloc(c);
        return s;
    }
    w->packed = c;
    w->bytes = c->w.bytes;
    return ORIEL_OK;
}

static void unpack(oriel_device *dev, op_conv *w)
{
    (void)dev;
    cpu_weights *c = w->packed;
    panel_unpack(&c->w);
    oriel_dealloc(c);
}

/* ---- convolution -------------------------------------------------------------------------- */

typedef struct conv_scratch {
    size_t row, f32, out, flat, zero, size; /* lanes or floats of each part; size of all, bytes */
} conv_scratch;

static conv_scratch conv_layout(const panel_ops *p, const op_conv *w)
{
    conv_scratch l;
    size_t       k = (size_t)oriel_round_up(w->k, p->k_step);
    size_t       n = (size_t)oriel_round_up(w->n, PANEL_AMX_ROWS);
    l.row = k / (p->bf16 ? 2 : 1) * HALO;
    l.f32 = p->bf16 ? (size_t)oriel_round_up(w->k, 2) * HALO : 0;
    l.out = n * PANEL_STRIP;
    l.flat = w->shuffle > 1 ? (size_t)w->n * PANEL_STRIP : 0;
    l.zero = (size_t)oriel_round_up(w->k, PANEL_LANES_MAX);
    l.size = (size_t)oriel_round_up((int64_t)((3 * l.row + l.f32 + l.out + l.flat + l.zero) * 4), 64);
    return l;
}

static size_t conv_scratch_bytes(const run *r, const op_conv_call *c)
{
    const cpu_weights *w = c->w->packed;
    return conv_layout(w->p, c->w).size * (size_t)oriel_pool_threads(r->dev->pool);
}

typedef struct conv_job {
    const op_conv_call *c;
    const cpu_weights  *w;
    conv_scratch        l;
    float              *scratch;
    int                 strips, band, y0, y1; /* output rows in the input's resolution */
} conv_job;

static inline float *map_at(const op_map *m, int64_t y, int64_t x)
{
    return (float *)m->t.data + (y - m->y0) * m->t.stride[0] + x * m->t.stride[1];
}

/* Panel of pixels x0 - edge .. of row y into dst; zeros outside of the map. */
static void conv_row(const conv_job *j, float *dst, float *f32, const float *zero, int y, int x0)
{
    const op_conv *w = j->c->w;
    const op_map  *m = &j->c->x;
    int            edge = w->taps == 9, t = PANEL_STRIP + 2 * edge;
    const float   *token[HALO];
    bool           inside = y >= 0 && y < m->height;
    assert(!inside || (y >= m->y0 && y < m->y0 + m->t.shape[0]));
    for (int i = 0; i < t; i++) {
        int x = x0 - edge + i;
        token[i] = inside && x >= 0 && x < m->t.shape[1] ? map_at(m, y, x) : zero;
    }
    const panel_ops *p = j->w->p;
    p->gather(p->bf16 ? f32 : dst, HALO, token, t, w->k);
    if (p->bf16)
        p->pair(dst, f32, HALO, w->k, (int)oriel_round_up(t, p->lanes));
}

/* Write a strip of outputs as r x r pixels each, cropped to y's map. */
static void conv_shuffle(const conv_job *j, const float *flat, int y, int x0, int t)
{
    const op_map *m = &j->c->y;
    int           r = j->c->w->shuffle, n = j->c->w->n, c = n / (r * r);
    for (int i = 0; i < r; i++) {
        int64_t oy = (int64_t)y * r + i;
        if (oy < m->y0 || oy >= m->y0 + m->t.shape[0])
            continue;
        for (int x = 0; x < t; x++) { /* r pixels lie side by side on both sides */
            int64_t ox = (int64_t)(x0 + x) * r, pixels = oriel_min(r, m->t.shape[1] - ox);
            if (pixels > 0)
                memcpy(map_at(m, oy, ox), flat + (size_t)x * (size_t)n + (size_t)(i * r * c),
                       (size_t)(pixels * c) * sizeof(float));
        }
    }
}

static void conv_out(const conv_job *j, const panel_gemm *g, float *flat, int y, int x0, int t)
{
    const panel_ops *p = j->w->p;
    float           *token[PANEL_STRIP];
    int              n = j->c->w->n;
    if (j->c->w->shuffle > 1) {
        p->gemm(g);
        for (int i = 0; i < t; i++)
            token[i] = flat + (size_t)i * (size_t)n;
        p->scatter(token, g->y, g->ldy, t, n);
        conv_shuffle(j, flat, y, x0, t);
        return;
    }
    t = (int)oriel_min(t, j->c->y.t.shape[1] - x0); /* cropped */
    if (t <= 0)
        return;
    if (j->c->add) {
        const float *from[PANEL_STRIP];
        for (int i = 0; i < t; i++)
            from[i] = map_at(j->c->add, y, x0 + i);
        p->gather(g->y, g->ldy, from, t, n);
    }
    p->gemm(g);
    for (int i = 0; i < t; i++)
        token[i] = map_at(&j->c->y, y, x0 + i);
    p->scatter(token, g->y, g->ldy, t, n);
}

static void conv_piece(const conv_job *j, int strip, int band, int worker)
{
    const conv_scratch *l = &j->l;
    float              *ring = (float *)((char *)j->scratch + l->size * (size_t)worker);
    float              *f32 = ring + 3 * l->row, *out = f32 + l->f32, *flat = out + l->out;
    float              *zero = flat + l->flat;
    const op_conv      *w = j->c->w;
    int                 edge = w->taps == 9, x0 = strip * PANEL_STRIP;
    int                 t = (int)oriel_min(PANEL_STRIP, j->c->x.t.shape[1] - x0);
    int                 y0 = j->y0 + band * j->band, y1 = (int)oriel_min(y0 + j->band, j->y1);
    ptrdiff_t           tap[9] = {0};
    panel_gemm          g = {.w = &j->w->w,
                             .x = ring,
                             .ldx = HALO,
                             .tap = tap,
                             .y = out,
                             .ldy = PANEL_STRIP,
                             .t = (int)oriel_round_up(t, j->w->p->lanes),
                             .act = j->c->leaky != 0.f ? PANEL_LEAKY : PANEL_LINEAR,
                             .slope = j->c->leaky,
                             .add = j->c->add != NULL};
    memset(zero, 0, l->zero * sizeof(float));
    for (int y = y0 - edge; y < y0 + edge; y++)
        conv_row(j, ring + (size_t)((y + 3) % 3) * l->row, f32, zero, y, x0);
    for (int y = y0; y < y1; y++) {
        conv_row(j, ring + (size_t)((y + edge + 3) % 3) * l->row, f32, zero, y + edge, x0);
        for (int i = 0; i < w->taps; i++)
            tap[i] = edge ? (y - 1 + i / 3 + 3) % 3 * (ptrdiff_t)l->row + i % 3
                          : (y + 3) % 3 * (ptrdiff_t)l->row;
        conv_out(j, &g, flat, y, x0, t);
    }
}

static void conv_range(void *arg, int64_t begin, int64_t end, int worker)
{
    const conv_job *j = arg;
    panel_enter(j->w->p);
    for (int64_t i = begin; i < end; i++)
        conv_piece(j, (int)(i % j->strips), (int)(i / j->strips), worker);
    panel_leave(j->w->p);
}

static void conv(run *r, const op_conv_call *c, void *scratch)
{
    const cpu_weights *w = c->w->packed;
    int                s = c->w->shuffle > 1 ? c->w->shuffle : 1;
    conv_job           j = {.c = c, .w = w, .l = conv_layout(w->p, c->w), .scratch = scratch};
    j.strips = (int)oriel_ceil_div(c->x.t.shape[1], PANEL_STRIP);
    j.y0 = c->y.y0 / s;
    j.y1 = (int)oriel_ceil_div(c->y.y0 + c->y.t.shape[0], s);
    int64_t grain = oriel_pool_grain(r->dev->pool, (int64_t)j.strips * (j.y1 - j.y0), 16);
    j.band = (int)oriel_max(grain, 4);
    oriel_parallel_for(r->dev->pool, (int64_t)j.strips * oriel_ceil_div(j.y1 - j.y0, j.band), 1,
                       conv_range, &j);
}

/* ---- norm --------------------------------------------------------------------------------- */

typedef struct norm_job {
    const panel_ops *p;
    op_map           y, x;
    const op_norm   *w;
    float           *scratch;
} norm_job;

static size_t norm_scratch(const run *r, int c)
{
    return (size_t)c * PANEL_STRIP * sizeof(float) * (size_t)oriel_pool_threads(r->dev->pool);
}

static void norm_range(void *arg, int64_t begin, int64_t end, int worker)
{
    const norm_job *j = arg;
    int             c = j->w->c;
    float          *panel = j->scratch + (size_t)worker * (size_t)c * PANEL_STRIP;
    const float    *from[PANEL_STRIP];
    float          *to[PANEL_STRIP];
    for (int64_t strip = begin; strip < end; strip++) {
        int64_t at = strip * PANEL_STRIP, tokens = j->x.t.shape[0] * j->x.t.shape[1];
        int     t = (int)oriel_min(PANEL_STRIP, tokens - at);
        for (int i = 0; i < t; i++) {
            from[i] = (const float *)j->x.t.data + (at + i) * c;
            to[i] = (float *)j->y.t.data + (at + i) * c;
        }
        j->p->gather(panel, PANEL_STRIP, from, t, c);
        j->p->norm(panel, panel, PANEL_STRIP, c, (int)oriel_round_up(t, j->p->lanes), j->w->gamma,
                   j->w->beta, j->w->eps);
        j->p->scatter(to, panel, PANEL_STRIP, t, c);
    }
}

static void norm(run *r, op_map y, op_map x, const op_norm *w, void *scratch)
{
    norm_job j = {panel_choose(r->dev->cpu, false), y, x, w, scratch};
    int64_t  strips = oriel_ceil_div(x.t.shape[0] * x.t.shape[1], PANEL_STRIP);
    oriel_parallel_for(r->dev->pool, strips, 16, norm_range, &j);
}

/* ---- nearest, input ----------------------------------------------------------------------- */

typedef struct maps {
    op_map y, x;
} maps;

static void nearest_range(void *arg, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const maps *m = arg;
    size_t      bytes = (size_t)m->x.t.shape[2] * sizeof(float);
    for (int64_t i = begin; i < end; i++) {
        int64_t y = m->y.y0 + i;
        for (int64_t x = 0; x < m->x.t.shape[1]; x++) {
            const float *from = map_at(&m->x, y / 2, x);
            memcpy(map_at(&m->y, y, 2 * x), from, bytes);
            memcpy(map_at(&m->y, y, 2 * x + 1), from, bytes);
        }
    }
}

static void nearest2(run *r, op_map y, op_map x)
{
    maps m = {y, x};
    oriel_parallel_for(r->dev->pool, y.t.shape[0], 4, nearest_range, &m);
}

/* Where coordinate i of a mirrored axis of n samples comes from. */
static int64_t mirror(int64_t i, int64_t n, bool repeat)
{
    int64_t period = repeat ? 2 * n : oriel_max(1, 2 * (n - 1));
    i %= period;
    return i < n ? i : period - i - (repeat ? 1 : 0);
}

static int64_t input_from(int64_t i, int64_t n, int64_t first)
{
    return first > n ? mirror(mirror(i, first, false), n, true) : mirror(i, n, false);
}

static void input_range(void *arg, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const op_input_call *c = arg;
    const oriel_tensor  *s = &c->x;
    for (int64_t y = begin; y < end; y++) {
        int64_t      sy = input_from(y, s->shape[0], c->first_y);
        const float *row = (const float *)s->data + sy * s->stride[0];
        for (int64_t x = 0; x < c->y.t.shape[1]; x++) {
            const float *from = row + input_from(x, s->shape[1], c->first_x) * s->stride[1];
            float       *to = map_at(&c->y, y, x);
            for (int64_t k = 0; k < s->shape[2]; k++)
                to[k] = (from[k] - c->mean[k]) * c->scale;
        }
    }
}

static void input(run *r, const op_input_call *c)
{
    oriel_parallel_for(r->dev->pool, c->y.t.shape[0], 8, input_range, (void *)(uintptr_t)c);
}

const ops ops_cpu = {
    .pack = pack,
    .unpack = unpack,
    .conv = conv,
    .conv_scratch = conv_scratch_bytes,
    .norm = norm,
    .norm_scratch = norm_scratch,
    .nearest2 = nearest2,
    .input = input,
};
