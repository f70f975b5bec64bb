/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window block against the paper: roll, partition, attention with bias and mask, back, MLP; in
 * double and step by step.
 */
#include "attn2d3d/block.h"
#include "checkops.h"
#if ORIEL_WITH_CUDA
#include "core/cuda/cuda.h"
#endif

typedef struct block {
    int             c, heads, w, hidden, ny, nx, shift;
    bool            half, hot, small; /* small: make_small() */
    float          *weights[13];
    size_t          sizes[13];
    attn_block_data d;
    double         *x, *t, *u, *wide; /* tokens of the rendering */
    double          top;              /* the largest sum of a logit's parts, and the largest value */
    double          size;
} block;

enum { GAMMA1, BETA1, QKV, QKV_BIAS, PROJ, PROJ_BIAS, GAMMA2, BETA2, FC1, FC1_BIAS, FC2, FC2_BIAS, TABLE };

/* What only GPUs are asked for: their kernels are another from size to size. */
static void block_sizes_wide(problem *q, block *m)
{
    int heads = DRAW_OF(q, 1, 2, 3, 6, 8), d = draw(q, 1, heads == 1 ? 130 : 40), w = DRAW_OF(q, 2, 7, 8, 8, 12, 16, 32);
    *m = (block){.c = heads * d, .heads = heads, .w = w, .hidden = draw(q, 1, 400), .ny = w * (w > 8 ? 1 : draw(q, 1, 3)),
                 .nx = w * (w > 16 ? 1 : draw(q, 1, 3)), .hot = draw(q, 0, 3) == 0};
}

static void block_sizes(problem *q, block *m)
{
    int heads = DRAW_OF(q, 1, 2, 3, 4), d = draw(q, 1, 16), w = DRAW_OF(q, 7, 8, 16, 4, 5, 3);
    int side = w == 16 ? 1 : 3;
    *m = (block){.c = heads * d, .heads = heads, .w = w, .hidden = draw(q, 1, 60), .ny = w * draw(q, 1, side),
                 .nx = w * draw(q, 1, side + 1), .hot = draw(q, 0, 3) == 0};
}

static void block_new(problem *q, block *m)
{
    if (q->gpu && q->seed % 2)
        block_sizes_wide(q, m);
    else
        block_sizes(q, m);
    int w = m->w, heads = m->heads;
    m->half = q->operand != ORIEL_F32;
    m->small = q->seed % 3 == 0;
    m->shift = draw(q, 0, 2) ? w / 2 : draw(q, 0, w - 1);
    int          c = m->c, f = m->hidden, table = (2 * w - 1) * (2 * w - 1) * heads;
    const size_t sizes[13] = {c, c, 3 * c * c, 3 * c, c * c, c, c, c, f * c, f, c * f, c, table};
    for (int i = 0; i < 13; i++) {
        double size = i == QKV  ? (m->hot ? 6 : 1.5) / sqrt(c)
                      : i == FC2 ? 1 / sqrt(f)
                      : i == TABLE || i == GAMMA1 || i == GAMMA2 ? 1.5
                      : i == PROJ || i == FC1 ? 1 / sqrt(c)
                                              : 0.3;
        m->sizes[i] = sizes[i];
        m->weights[i] = zone_new(sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++)
            m->weights[i][k] = (float)size * draw_sample(q);
    }
    float **p = m->weights;
    m->d = (attn_block_data){.c = c, .heads = heads, .window = w, .hidden = f, .eps = 1e-5f,
                             .norm1_gamma = p[GAMMA1], .norm1_beta = p[BETA1], .norm2_gamma = p[GAMMA2],
                             .norm2_beta = p[BETA2], .proj = p[PROJ], .proj_bias = p[PROJ_BIAS], .fc1 = p[FC1],
                             .fc1_bias = p[FC1_BIAS], .fc2 = p[FC2], .fc2_bias = p[FC2_BIAS], .bias_table = p[TABLE]};
    size_t tokens = (size_t)(m->ny * m->nx);
    m->x = calloc(tokens * (size_t)c, sizeof(double));
    m->t = calloc(tokens * (size_t)c, sizeof(double));
    m->u = calloc(tokens * (size_t)c, sizeof(double));
    m->wide = calloc(tokens * (size_t)(3 * c + f), sizeof(double));
    snprintf(q->what, sizeof q->what, "%dx%d window %d shift %d c %d heads %d hidden %d%s", m->ny, m->nx, w,
             m->shift, c, heads, f, m->hot ? " hot" : "");
}

static void block_free(block *m)
{
    for (int i = 0; i < 13; i++)
        zone_free(m->weights[i]);
    free(m->x);
    free(m->t);
    free(m->u);
    free(m->wide);
}

static void layer_norm(const block *m, double *y, const double *x, const float *gamma, const float *beta)
{
    for (int i = 0; i < m->ny * m->nx; i++, x += m->c, y += m->c) {
        double mean = 0, var = 0;
        for (int k = 0; k < m->c; k++)
            mean += x[k] / m->c;
        for (int k = 0; k < m->c; k++)
            var += (x[k] - mean) * (x[k] - mean) / m->c;
        for (int k = 0; k < m->c; k++)
            y[k] = (x[k] - mean) / sqrt(var + 1e-5) * (double)gamma[k] + (double)beta[k];
    }
}

static void dense(const block *m, double *y, const double *x, const float *w, const float *b, int n, int k)
{
    for (int i = 0; i < m->ny * m->nx; i++)
        for (int r = 0; r < n; r++) {
            double sum = (double)b[r];
            for (int c = 0; c < k; c++)
                sum += (double)w[r * k + c] * x[i * k + c];
            y[i * n + r] = sum;
        }
}

/* Which of Swin's three slices a coordinate of the rolled map lies in. */
static int slice(int i, int n, int w, int s)
{
    return i < n - w ? 0 : i < n - s ? 1 : 2;
}

/* Token of the rolled map as a token of the map: roll(-shift). */
static int unrolled(const block *m, int y, int x)
{
    return (y + m->shift) % m->ny * m->nx + (x + m->shift) % m->nx;
}

/* Query (y, x) of the rolled map, head h: out[d]. */
static void query(block *m, int h, int y, int x, double *out)
{
    int    w = m->w, d = m->c / m->heads, n = w * w, wy = y / w * w, wx = x / w * w;
    double s[1024], top = -INFINITY, sum = 0;
    const double *q = m->wide + unrolled(m, y, x) * 3 * m->c + h * d;
    for (int j = 0; j < n; j++) {
        int           ky = wy + j / w, kx = wx + j % w;
        const double *k = m->wide + unrolled(m, ky, kx) * 3 * m->c + m->c + h * d;
        double        all = 0;
        s[j] = 0;
        for (int i = 0; i < d; i++)
            s[j] += q[i] * k[i] / sqrt(d), all += fabs(q[i] * k[i] / sqrt(d));
        s[j] += (double)m->d.bias_table[((y - ky + w - 1) * (2 * w - 1) + x - kx + w - 1) * m->heads + h];
        if (m->shift && (slice(y, m->ny, w, m->shift) != slice(ky, m->ny, w, m->shift) ||
                         slice(x, m->nx, w, m->shift) != slice(kx, m->nx, w, m->shift)))
            s[j] -= 100;
        top = fmax(top, s[j]);
        m->top = fmax(m->top, all);
    }
    for (int j = 0; j < n; j++)
        sum += s[j] = exp(s[j] - top);
    for (int i = 0; i < d; i++)
        out[i] = 0;
    for (int j = 0; j < n; j++) {
        const double *v = m->wide + unrolled(m, wy + j / w, wx + j % w) * 3 * m->c + 2 * m->c + h * d;
        for (int i = 0; i < d; i++)
            out[i] += s[j] / sum * v[i], m->size = fmax(m->size, fabs(v[i]));
    }
}

/* m->x = block(m->x) */
static void render(block *m)
{
    int     tokens = m->ny * m->nx, c = m->c, f = m->hidden;
    float **p = m->weights;
    layer_norm(m, m->t, m->x, p[GAMMA1], p[BETA1]);
    dense(m, m->wide, m->t, p[QKV], p[QKV_BIAS], 3 * c, c);
    for (int h = 0; h < m->heads; h++)
        for (int y = 0; y < m->ny; y++)
            for (int x = 0; x < m->nx; x++)
                query(m, h, y, x, m->t + unrolled(m, y, x) * c + h * (c / m->heads));
    dense(m, m->u, m->t, p[PROJ], p[PROJ_BIAS], c, c);
    for (int i = 0; i < tokens * c; i++)
        m->x[i] += m->u[i], m->size = fmax(m->size, fabs(m->x[i]));
    layer_norm(m, m->t, m->x, p[GAMMA2], p[BETA2]);
    dense(m, m->wide, m->t, p[FC1], p[FC1_BIAS], f, c);
    for (int i = 0; i < tokens * f; i++)
        m->wide[i] *= 0.5 * erfc(-m->wide[i] * sqrt(0.5));
    dense(m, m->u, m->wide, p[FC2], p[FC2_BIAS], c, f);
    for (int i = 0; i < tokens * c; i++)
        m->x[i] += m->u[i], m->size = fmax(m->size, fabs(m->x[i]));
}

/* A GPU, as if it had one multiprocessor and no L2: maps are cut into many pieces, and work into few thread blocks. */
static void make_small(problem *q, bool small)
{
#if ORIEL_WITH_CUDA
    static size_t l2;
    static int    sms;
    cuda_device  *gpu = q->gpu ? q->gpu->cuda : NULL;
    if (gpu && small) {
        l2 = gpu->l2, gpu->l2 = 1;
        sms = gpu->sms, gpu->sms = 1;
    } else if (gpu) {
        gpu->l2 = l2;
        gpu->sms = sms;
    }
#else
    (void)q, (void)small;
#endif
}

/* Queue the block; `recorded`: as a graph. What copies from the host cannot be one, and must say so. */
static void queue(const block *m, run *r, op_map y, op_map x, const attn_block *b, bool recorded)
{
    const device_graphs *graphs = r->dev->is->graphs;
    device_graph        *g = NULL;
    if (!recorded || graphs->begin(r->dev)) {
        attn_block_run(r, y, x, b, m->shift);
        return;
    }
    attn_block_run(r, y, x, b, m->shift);
    oriel_status s = graphs->end(r->dev, r->status ? NULL : &g);
    if (r->status && strstr(oriel_error(), "graph") && (!m->half || m->c / m->heads > 96 || m->w > 16)) {
        r->status = ORIEL_OK;
        attn_block_run(r, y, x, b, m->shift);
    }
    if (g && !s)
        s = graphs->play(r->dev, g);
    if (s)
        run_fail(r, s);
    if (g)
        graphs->free(r->dev, g);
}

static void run_packed(problem *q, const block *m, oriel_device *dev, const attn_block *b, float *y, float *x, bool recorded)
{
    int64_t       shape[3] = {m->ny, m->nx, m->c};
    size_t        n = (size_t)(m->ny * m->nx * m->c);
    float        *from = there_new(q, x, n), *to = x == y ? from : there_new(q, y, n);
    op_map        out = {oriel_tensor_of(to, ORIEL_F32, 3, shape), 0, m->ny};
    op_map        in = {oriel_tensor_of(from, ORIEL_F32, 3, shape), 0, m->ny};
    run           plan = {.dev = dev, .planning = true}, r = {.dev = dev, .arena.gpu = q->gpu};
    attn_block_run(&plan, out, in, b, m->shift);
    if (oriel_arena_reserve(&r.arena, plan.arena.peak))
        abort();
    if (q->gpu) { /* scratch of NaN */
        float *nan = zone_new(plan.arena.peak / sizeof(float) + 1);
        run_fail(&r, oriel_memory_upload(dev, r.arena.base, nan, plan.arena.peak));
        zone_free(nan);
    }
    queue(m, &r, out, in, b, recorded);
    there_back(q, to, y, n);
    if (x != y)
        there_back(q, from, x, n);
    if (r.status || r.arena.peak != plan.arena.peak)
        fault(q, "the run failed or took other memory than planned: %s", r.status ? oriel_error() : "");
    oriel_arena_free(&r.arena);
    there_free(q, from);
    if (x != y)
        there_free(q, to);
}

/* A run of the library's block; y and x may be one map. On a GPU by the way that the operation's name has behind a dash. */
static void run_block(problem *q, const block *m, float *y, float *x, bool recorded)
{
    attn_block      b;
    oriel_device   *dev = device_of(q);
    attn_block_data d = m->d;
    const char     *way = strchr(q->op, '-');
    float          *qkv = zone_new(m->sizes[QKV]), *bias = zone_new(m->sizes[QKV_BIAS]); /* get scaled */
    memcpy(qkv, m->weights[QKV], m->sizes[QKV] * sizeof *qkv);
    memcpy(bias, m->weights[QKV_BIAS], m->sizes[QKV_BIAS] * sizeof *bias);
    d.qkv = qkv, d.qkv_bias = bias;
    if (way)
        setenv("ORIEL_BLOCK", way + 1, 1);
    if (attn_block_pack(dev, &b, &d, q->operand)) {
        fprintf(stderr, "checkops: %s\n", oriel_error());
        abort();
    }
    unsetenv("ORIEL_BLOCK");
    if (m->small)
        make_small(q, true);
    run_packed(q, m, dev, &b, y, x, recorded);
    if (m->small)
        make_small(q, false);
    attn_block_unpack(dev, &b);
    device_done(q, dev);
    zone_free(qkv);
    zone_free(bias);
}

/* float: four products, softmax and norms behind each other. 16 bits: rms, four products; logits are off by half a step
 * of their size, which softmax makes relative. */
static void judge(problem *q, const block *m, const float *y)
{
    size_t n = (size_t)(m->ny * m->nx * m->c);
    double error = 0, square = 0, step = q->operand == ORIEL_F16 ? 0x1p-11 : 0x1p-8;
    double bound = EPS * m->size * (8 + m->top + 6 * sqrt(m->c) + 2 * sqrt(m->hidden) + 2 * m->w) * 2;
    for (size_t i = 0; i < n; i++) {
        double off = (double)y[i] - m->x[i];
        if (!m->half)
            expect(q, (double)y[i], m->x[i], bound, "pixel, channel", (int)i / m->c, (int)i % m->c);
        error += off * off / (double)n;
        square += m->x[i] * m->x[i] / (double)n;
    }
    if (m->half)
        expect(q, sqrt(error), 0, step * sqrt(square) * (2 + 0.25 * m->top), "rms", 0, 0);
}

static void check_block(problem *q)
{
    block m;
    q->aligned = !strchr(q->op, '-'); /* block.h; products from parts take any */
    block_new(q, &m);
    size_t n = (size_t)(m.ny * m.nx * m.c);
    float *x = zone_new(n), *y = zone_new(n), *keep = zone_new(n);
    for (size_t i = 0; i < n; i++)
        m.x[i] = (double)(keep[i] = x[i] = 2 * draw_sample(q));
    run_block(q, &m, y, x, false);
    if (memcmp(x, keep, n * sizeof *x))
        fault(q, "its input was changed");
    render(&m);
    judge(q, &m, y);
    run_block(q, &m, x, x, false);
    if (memcmp(x, y, n * sizeof *x))
        fault(q, "in place gives other bits");
    if (!zone_whole(x, n) || !zone_whole(y, n))
        fault(q, "wrote beside its map");
    if (q->gpu) {
        memcpy(x, keep, n * sizeof *x);
        run_block(q, &m, x, x, true);
        if (memcmp(x, y, n * sizeof *x))
            fault(q, "as a graph it gives other bits");
    }
    zone_free(x);
    zone_free(y);
    zone_free(keep);
    block_free(&m);
}

const checkop checkops_block[] = {
    {"block", 60, FLOATS | HALVES | DEVICE, check_block, NULL},
    {"block-parts", 60, FLOATS | HALVES | DEVICE | GPU, check_block, NULL},
    {0},
};
