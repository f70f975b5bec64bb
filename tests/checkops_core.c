/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on maps: convolutions, norm, nearest neighbour, input. Through core/ops.h. */
#include "checkops.h"
#include "core/ops.h"

/* ---- a run ---------------------------------------------------------------------------------- */

enum { MAPS = 4 };

typedef struct stage { /* a device at the problem's level, and a run on it */
    oriel_device *dev;
    run           plan, r;
    op_map        here[MAPS], there[MAPS]; /* the problem's maps, and where the device has them */
    int           maps;
} stage;

static void stage_open(problem *q, stage *s)
{
    oriel_device *dev = device_of(q);
    *s = (stage){.dev = dev, .plan = {.dev = dev, .planning = true}, .r = {.dev = dev}};
    s->r.arena.gpu = q->gpu;
}

/* The map where the device reads it. */
static op_map stage_map(problem *q, stage *s, op_map here)
{
    op_map there = here;
    assert(s->maps < MAPS);
    there.t.data = there_new(q, here.t.data, (size_t)oriel_tensor_count(&here.t));
    s->here[s->maps] = here;
    s->there[s->maps++] = there;
    return there;
}

/* Memory for what the planning run took. */
static void stage_ready(stage *s)
{
    if (oriel_arena_reserve(&s->r.arena, s->plan.arena.peak))
        abort();
}

/* What the device has in its maps now. */
static void stage_back(problem *q, stage *s)
{
    for (int i = 0; i < s->maps; i++)
        there_back(q, s->there[i].t.data, s->here[i].t.data, (size_t)oriel_tensor_count(&s->here[i].t));
}

static void stage_close(problem *q, stage *s)
{
    if (s->r.status)
        fault(q, "%s", oriel_error());
    if (s->r.arena.peak != s->plan.arena.peak)
        fault(q, "took %zu bytes where %zu were planned", s->r.arena.peak, s->plan.arena.peak);
    for (int i = 0; i < s->maps; i++)
        there_free(q, s->there[i].t.data);
    oriel_arena_free(&s->r.arena);
    device_done(q, s->dev);
}

/* A map of random samples in rows y0 .. y1 of `height`, or poison. */
static op_map map_new(problem *q, int y0, int y1, int height, int width, int channels, bool filled)
{
    int64_t shape[3] = {y1 - y0, width, channels};
    size_t  n = (size_t)(y1 - y0) * (size_t)width * (size_t)channels;
    float  *p = zone_new(n);
    for (size_t i = 0; filled && i < n; i++)
        p[i] = draw_sample(q);
    return (op_map){oriel_tensor_of(p, ORIEL_F32, 3, shape), y0, height};
}

static void map_free(problem *q, op_map *m)
{
    if (!zone_whole(m->t.data, (size_t)oriel_tensor_count(&m->t)))
        fault(q, "wrote beside a map");
    zone_free(m->t.data);
}

static double at(const op_map *m, int y, int x, int c)
{
    int64_t i = ((y - m->y0) * m->t.shape[1] + x) * m->t.shape[2] + c;
    return (double)((const float *)m->t.data)[i];
}

/* ---- convolution ---------------------------------------------------------------------------- */

typedef struct convolution {
    int          n, k, side, shuffle, height, width;
    float       *w, *bias; /* (n, k, side, side), (n) */
    op_conv      packed;
    op_map       x, y, add; /* here */
    op_map       added;     /* add there */
    float       *xr, *wr;   /* x and w as products take them */
    op_conv_call call;
} convolution;

static float *rounded_copy(problem *q, const float *v, size_t count)
{
    float *p = zone_new(count);
    for (size_t i = 0; i < count; i++)
        p[i] = rounded(q, v[i]);
    return p;
}

static void convolution_new(problem *q, stage *s, convolution *m)
{
    *m = (convolution){.k = draw(q, 1, q->gpu && draw(q, 0, 3) == 0 ? 140 : 36), .side = draw(q, 0, 3) ? 3 : 1,
                       .height = draw(q, 1, 40), .width = draw(q, 0, 3) ? draw(q, 1, 30) : draw(q, 31, 140)};
    m->shuffle = draw(q, 0, 1) ? 0 : draw(q, 2, 4);
    int r = m->shuffle ? m->shuffle : 1, edge = m->side / 2;
    int c = draw(q, 1, m->shuffle ? 5 : q->gpu && m->k > 36 ? 140 : 40);
    m->n = c * r * r;
    size_t weights = (size_t)(m->n * m->k * m->side * m->side);
    m->w = zone_new(weights), m->bias = zone_new((size_t)m->n);
    for (size_t i = 0; i < weights; i++)
        m->w[i] = draw_sample(q);
    for (int i = 0; i < m->n; i++)
        m->bias[i] = draw_sample(q);
    if (op_conv_pack(s->dev, &m->packed, m->n, m->k, m->side * m->side, m->shuffle, m->w, m->bias,
                     q->operand))
        abort();
    /* The output: all, or a band; cropped at the far borders or not. Of x, the rows that it needs. */
    int rows = m->height * r - draw(q, 0, 1) * draw(q, 0, r * m->height - 1);
    int cols = m->width * r - draw(q, 0, 1) * draw(q, 0, r * m->width - 1);
    int y0 = draw(q, 0, 1) ? draw(q, 0, rows - 1) : 0, y1 = draw(q, 0, 1) ? draw(q, y0 + 1, rows) : rows;
    int from = (int)oriel_max(0, y0 / r - edge), to = (int)oriel_min(m->height, (y1 + r - 1) / r + edge);
    m->x = map_new(q, from, to, m->height, m->width, m->k, true);
    m->y = map_new(q, y0, y1, m->height * r, cols, c, false);
    m->add = map_new(q, y0, y1, m->height * r, cols, c, true);
    m->added = stage_map(q, s, m->add);
    m->wr = rounded_copy(q, m->w, weights);
    m->xr = rounded_copy(q, m->x.t.data, (size_t)oriel_tensor_count(&m->x.t));
    m->call = (op_conv_call){.w = &m->packed, .x = stage_map(q, s, m->x), .y = stage_map(q, s, m->y),
                             .leaky = draw(q, 0, 1) ? 0.01f * (float)draw(q, 1, 30) : 0};
    if (!m->shuffle && draw(q, 0, 1))
        m->call.add = &m->added;
    snprintf(q->what, sizeof q->what, "%dx%d k %d n %d side %d shuffle %d rows %d..%d of %d cols %d%s%s",
             m->height, m->width, m->k, m->n, m->side, m->shuffle, y0, y1, m->height * r, cols,
             m->call.add ? " add" : "", m->call.leaky != 0.f ? " leaky" : "");
}

static void convolution_pixel(problem *q, const convolution *m, const op_map *y, int oy, int ox, int c)
{
    int    r = m->shuffle ? m->shuffle : 1, edge = m->side / 2, taps = m->side * m->side;
    int    n = c * r * r + oy % r * r + ox % r; /* PixelShuffle's definition */
    double sum = (double)m->bias[n], size = fabs(sum);
    for (int k = 0; k < m->k; k++)
        for (int i = 0; i < taps; i++) {
            int iy = oy / r + i / m->side - edge, ix = ox / r + i % m->side - edge;
            if (iy < 0 || iy >= m->height || ix < 0 || ix >= m->width)
                continue;
            float  w = m->wr[(n * m->k + k) * taps + i];
            float  x = m->xr[((iy - m->x.y0) * m->width + ix) * m->k + k];
            double term = (double)w * (double)x;
            sum += term;
            size += fabs(term);
        }
    double bound = EPS * (2 * sqrt(m->k * taps) + 2) * size;
    if (m->call.leaky != 0.f && sum < 0)
        sum *= (double)m->call.leaky;
    if (m->call.add)
        sum += at(&m->add, oy, ox, c);
    expect(q, at(y, oy, ox, c), sum, bound + 3 * EPS * (fabs(sum) + 1), "row, column", oy, ox);
}

static void check_conv(problem *q)
{
    stage       s;
    convolution m;
    stage_open(q, &s);
    convolution_new(q, &s, &m);
    op_conv_run(&s.plan, &m.call);
    stage_ready(&s);
    op_conv_run(&s.r, &m.call);
    stage_back(q, &s);
    for (int y = m.y.y0; y < m.y.y0 + (int)m.y.t.shape[0]; y++)
        for (int x = 0; x < (int)m.y.t.shape[1]; x++)
            for (int c = 0; c < (int)m.y.t.shape[2]; c++)
                convolution_pixel(q, &m, &m.y, y, x, c);
    size_t count = (size_t)oriel_tensor_count(&m.y.t);
    float *first = zone_new(count);
    memcpy(first, m.y.t.data, count * sizeof *first);
    op_conv_run(&s.r, &m.call);
    stage_back(q, &s);
    if (memcmp(first, m.y.t.data, count * sizeof *first))
        fault(q, "other bits the second time");
    if (m.call.add) { /* y may be what is added to */
        m.call.y = m.added;
        op_conv_run(&s.r, &m.call);
        stage_back(q, &s);
        if (memcmp(m.add.t.data, first, count * sizeof *first))
            fault(q, "in place gives other bits");
    }
    zone_free(first);
    op_conv_unpack(s.dev, &m.packed);
    map_free(q, &m.x);
    map_free(q, &m.y);
    map_free(q, &m.add);
    zone_free(m.xr);
    zone_free(m.wr);
    zone_free(m.w);
    zone_free(m.bias);
    stage_close(q, &s);
}

typedef struct conv_call {
    stage       *s;
    op_conv_call c;
    int          times;
} conv_call;

static void call_conv(void *arg)
{
    conv_call *c = arg;
    for (int i = 0; i < c->times; i++)
        op_conv_run(&c->s->r, &c->c);
    run_fail(&c->s->r, oriel_device_sync(c->s->dev));
}

static double bench_conv(const problem *as, double *seconds)
{
    enum { C = 60 };
    problem q = *as;
    stage   s;
    stage_open(&q, &s);
    op_conv w;
    int     side = q.gpu ? 256 : 128, times = q.gpu ? 50 : 1;
    float  *data = oriel_alloc_zero(C * C * 9, 4);
    if (!data || op_conv_pack(s.dev, &w, C, C, 9, 0, data, NULL, q.operand))
        abort();
    op_map    x = map_new(&q, 0, side, side, side, C, true), y = map_new(&q, 0, side, side, side, C, false);
    conv_call c = {&s, {.w = &w, .x = stage_map(&q, &s, x), .y = stage_map(&q, &s, y)}, times};
    op_conv_run(&s.plan, &c.c);
    stage_ready(&s);
    *seconds = best_of(call_conv, &c) / times * (q.gpu ? 1 : 2); /* a CPU: two threads; told a core */
    stage_close(&q, &s);
    map_free(&q, &x);
    map_free(&q, &y);
    op_conv_unpack(q.gpu, &w);
    oriel_dealloc(data);
    return 2.0 * C * C * 9 * side * side;
}

/* ---- norm of a map -------------------------------------------------------------------------- */

static void check_map_norm(problem *q)
{
    stage s;
    stage_open(q, &s);
    int    c = q->gpu ? DRAW_OF(q, 1, 3, 8, 20, 31, 32, 33, 60, 64, 66, 96, 128, 130, 180, 256, 260, 511, 1000, 1024)
                      : draw(q, 1, 70);
    int    height = draw(q, 1, q->gpu ? 9 : 30), width = draw(q, 1, q->gpu ? 30 : 90);
    float *gamma = zone_new((size_t)c), *beta = zone_new((size_t)c);
    for (int i = 0; i < c; i++)
        gamma[i] = draw_sample(q), beta[i] = draw_sample(q);
    op_map  x = map_new(q, 0, height, height, width, c, true), y = map_new(q, 0, height, height, width, c, false);
    op_norm w;
    if (op_norm_pack(s.dev, &w, c, 1e-5f, gamma, beta))
        abort();
    op_map from = stage_map(q, &s, x), to = stage_map(q, &s, y);
    snprintf(q->what, sizeof q->what, "%dx%d c %d", height, width, c);
    op_norm_run(&s.plan, to, from, &w);
    stage_ready(&s);
    op_norm_run(&s.r, to, from, &w);
    stage_back(q, &s);
    for (int i = 0; i < height * width; i++) {
        double mean = 0, var = 0;
        for (int k = 0; k < c; k++)
            mean += at(&x, i / width, i % width, k) / c;
        for (int k = 0; k < c; k++)
            var += (at(&x, i / width, i % width, k) - mean) * (at(&x, i / width, i % width, k) - mean) / c;
        double scale = 1 / sqrt(var + (double)1e-5f);
        for (int k = 0; k < c; k++) {
            double v = (at(&x, i / width, i % width, k) - mean) * scale * (double)gamma[k] + (double)beta[k];
            double bound = EPS * (scale * (2 * sqrt(c) + 4) + (sqrt(c) + 6) * (fabs(v) + 1));
            expect(q, at(&y, i / width, i % width, k), v, bound, "pixel, channel", i, k);
        }
    }
    op_norm_run(&s.r, from, from, &w);
    stage_back(q, &s);
    if (memcmp(x.t.data, y.t.data, (size_t)oriel_tensor_count(&x.t) * sizeof(float)))
        fault(q, "in place gives other bits");
    op_norm_unpack(s.dev, &w);
    map_free(q, &x);
    map_free(q, &y);
    zone_free(gamma);
    zone_free(beta);
    stage_close(q, &s);
}

/* ---- nearest, input ------------------------------------------------------------------------- */

static void check_nearest(problem *q)
{
    stage s;
    stage_open(q, &s);
    int height = draw(q, 1, 20), width = draw(q, 1, 40), c = draw(q, 1, 20);
    int y0 = draw(q, 0, 2 * height - 1), y1 = draw(q, y0 + 1, 2 * height);
    op_map x = map_new(q, y0 / 2, (y1 + 1) / 2, height, width, c, true);
    op_map y = map_new(q, y0, y1, 2 * height, 2 * width, c, false);
    snprintf(q->what, sizeof q->what, "%dx%d c %d rows %d..%d", height, width, c, y0, y1);
    op_map from = stage_map(q, &s, x), to = stage_map(q, &s, y);
    op_nearest2(&s.plan, to, from);
    stage_ready(&s);
    op_nearest2(&s.r, to, from);
    stage_back(q, &s);
    for (int i = y0; i < y1; i++)
        for (int j = 0; j < 2 * width; j++)
            for (int k = 0; k < c; k++)
                expect(q, at(&y, i, j, k), at(&x, i / 2, j / 2, k), 0, "row, column", i, j);
    map_free(q, &x);
    map_free(q, &y);
    stage_close(q, &s);
}

/* Coordinate i of the padded axis, by walking: first out and back over the picture with the edge
 * twice, as if flipped copies were laid on, up to `first`; then to and fro between the ends. */
static int walk(int i, int n, int first)
{
    int m = first > n ? first : n, step = 1, p = 0;
    for (; i > 0 && m > 1; i--) {
        if (p + step < 0 || p + step >= m)
            step = -step;
        p += step;
    }
    if (m == 1)
        p = 0;
    return p / n % 2 ? n - 1 - p % n : p % n;
}

static void check_input(problem *q)
{
    stage s;
    stage_open(q, &s);
    int  c = draw(q, 0, 1) ? 3 : 1, h = draw(q, 1, 12), w = draw(q, 1, 12);
    int  first_y = draw(q, 0, 1) ? draw(q, h + 1, 3 * h) : 0, first_x = draw(q, 0, 1) ? draw(q, w + 1, 3 * w) : 0;
    int  ny = (first_y ? first_y : h) + draw(q, 0, 20), nx = (first_x ? first_x : w) + draw(q, 0, 20);
    int  gap = draw(q, 0, 5), way = draw(q, 0, 1) ? 1 : -1; /* rows with gaps, or upside down */
    size_t count = (size_t)h * (size_t)(w * (c + gap));
    float *pixels = zone_new(count), *there;
    for (size_t i = 0; i < count; i++)
        if ((int)(i % (size_t)(c + gap)) < c)
            pixels[i] = draw_sample(q);
    int64_t       shape[3] = {h, w, c};
    oriel_tensor  x = oriel_tensor_of(way > 0 ? pixels : pixels + (h - 1) * w * (c + gap), ORIEL_F32, 3, shape);
    op_map        y = map_new(q, 0, ny, ny, nx, c, false);
    op_input_call call = {.y = stage_map(q, &s, y), .first_y = first_y, .first_x = first_x, .scale = 255,
                          .mean = {0.25f, 0.5f, 0.125f}};
    x.stride[0] = way * w * (c + gap);
    x.stride[1] = c + gap;
    call.x = x;
    there = there_new(q, pixels, count);
    call.x.data = there + ((float *)x.data - pixels);
    snprintf(q->what, sizeof q->what, "%dx%dx%d to %dx%d first %dx%d", h, w, c, ny, nx, first_y, first_x);
    op_input(&s.plan, &call);
    stage_ready(&s);
    op_input(&s.r, &call);
    stage_back(q, &s);
    for (int i = 0; i < ny; i++)
        for (int j = 0; j < nx; j++)
            for (int k = 0; k < c; k++) {
                const float *row = (const float *)x.data + walk(i, h, first_y) * x.stride[0];
                double       want = ((double)row[walk(j, w, first_x) * (c + gap) + k] - (double)call.mean[k]) * 255;
                expect(q, at(&y, i, j, k), want, 3 * EPS * (fabs(want) + 255), "row, column", i, j);
            }
    there_free(q, there);
    map_free(q, &y);
    zone_free(pixels);
    stage_close(q, &s);
}

const checkop checkops_core[] = {
    {"conv", 100, FLOATS | HALVES | DEVICE, check_conv, bench_conv},
    {"mapnorm", 20, FLOATS | DEVICE, check_map_norm, NULL},
    {"nearest2", 40, FLOATS | DEVICE, check_nearest, NULL},
    {"input", 200, FLOATS | DEVICE, check_input, NULL},
    {0},
};
