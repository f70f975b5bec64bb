/* SPDX-License-Identifier: Apache-2.0 */
#include "patterns.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "hash.h"

/* ---- memory ------------------------------------------------------------------------------- */

static void *taken[4096];
static int   takings;

void *take(size_t count, size_t size)
{
    void *p = calloc(count + !count, size);
    if (!p || takings == (int)(sizeof taken / sizeof *taken))
        abort();
    return taken[takings++] = p;
}

void drop(void)
{
    while (takings)
        free(taken[--takings]);
}

/* ---- maps --------------------------------------------------------------------------------- */

map map_new(int y, int x)
{
    return (map){y, x, take((size_t)y * (size_t)x, sizeof(int))};
}

map map_ids(int y, int x)
{
    map m = map_new(y, x);
    for (int i = 0; i < y * x; i++)
        m.at[i] = i;
    return m;
}

map map_roll(map m, int dy, int dx)
{
    map r = map_new(m.y, m.x);
    for (int y = 0; y < m.y; y++)
        for (int x = 0; x < m.x; x++)
            r.at[(y + dy + m.y) % m.y * m.x + (x + dx + m.x) % m.x] = m.at[y * m.x + x];
    return r;
}

map map_windows(map m, int wy, int wx) /* view(Y / wy, wy, X / wx, wx), permute(0, 2, 1, 3) */
{
    map  r = map_new(m.y / wy * (m.x / wx), wy * wx);
    int *to = r.at;
    if (m.y % wy || m.x % wx)
        abort();
    for (int gy = 0; gy < m.y; gy += wy)
        for (int gx = 0; gx < m.x; gx += wx)
            for (int y = 0; y < wy; y++)
                for (int x = 0; x < wx; x++)
                    *to++ = m.at[(gy + y) * m.x + gx + x];
    return r;
}

map map_interleave(map m, int wy, int wx) /* view(wy, Y / wy, wx, X / wx), permute(1, 0, 3, 2) */
{
    map  r = map_new(m.y, m.x);
    int *to = r.at, ny = m.y / wy, nx = m.x / wx;
    for (int b = 0; b < ny; b++)
        for (int a = 0; a < wy; a++)
            for (int d = 0; d < nx; d++)
                for (int c = 0; c < wx; c++)
                    *to++ = m.at[(a * ny + b) * m.x + c * nx + d];
    return r;
}

map map_unfold(map m, int k, int step, int pad)
{
    int  ny = (m.y + 2 * pad - k) / step + 1, nx = (m.x + 2 * pad - k) / step + 1;
    map  r = map_new(ny * nx, k * k);
    int *to = r.at;
    for (int g = 0; g < ny * nx; g++)
        for (int i = 0; i < k * k; i++) {
            int y = g / nx * step - pad + i / k, x = g % nx * step - pad + i % k;
            *to++ = y >= 0 && y < m.y && x >= 0 && x < m.x ? m.at[y * m.x + x] : -1;
        }
    return r;
}

static int slice_end(int i, int n)
{
    i = i < 0 ? i + n : i;
    return i < 0 ? 0 : i > n ? n : i;
}

void map_slice(map m, int y0, int y1, int x0, int x1, int value)
{
    for (int y = slice_end(y0, m.y); y < slice_end(y1, m.y); y++)
        for (int x = slice_end(x0, m.x); x < slice_end(x1, m.x); x++)
            m.at[y * m.x + x] = value;
}

/* ---- a layer ------------------------------------------------------------------------------ */

static float number(uint64_t seed, int64_t i)
{
    return (2 * test_unit(seed, (uint64_t)i) - 1) * 2;
}

float *numbers(uint64_t seed, int n, double amplitude)
{
    float *p = take((size_t)n, sizeof *p);
    for (int i = 0; i < n; i++)
        p[i] = (float)(amplitude / 2 * (double)number(seed, i));
    return p;
}

/* p[n * step + which * H * D + h * D + d] of all tokens n */
static void fill(const layer *l, float *p, int64_t step, int tokens, int kinds, uint64_t seed)
{
    int64_t i = 0;
    for (int which = 0; which < kinds; which++)
        for (int h = 0; h < l->heads; h++)
            for (int n = 0; n < tokens; n++)
                for (int d = 0; d < l->dim; d++)
                    p[n * step + (which * l->heads + h) * l->dim + d] = number(seed, i++);
}

static void outputs(layer *l)
{
    size_t n = (size_t)l->tokens * (size_t)l->heads, d = (size_t)l->dim;
    l->out = take(n * d, sizeof *l->out), l->lse = take(n, sizeof *l->lse);
    l->want = take(n * d, sizeof *l->want), l->want_lse = take(n, sizeof *l->want_lse);
    l->bound = take(n, sizeof *l->bound), l->times = take(n, sizeof *l->times);
    l->scale = take((size_t)l->heads, sizeof *l->scale);
    for (int h = 0; h < l->heads; h++)
        l->scale[h] = pow(l->dim, -0.5);
}

layer layer_new(const char *name, int heads, int dim, int tokens, uint64_t seed)
{
    int   wide = heads * dim;
    layer l = {.name = name, .heads = heads, .dim = dim, .tokens = tokens, .keys = tokens,
               .q_step = 3 * wide, .k_step = 3 * wide};
    l.q = take((size_t)tokens * 3 * (size_t)wide, sizeof(float));
    l.k = l.q + wide, l.v = l.k + wide;
    fill(&l, l.q, l.q_step, tokens, 3, seed);
    outputs(&l);
    return l;
}

layer layer_new2(const char *name, int heads, int dim, int tokens, int keys, uint64_t seed)
{
    int   wide = heads * dim;
    layer l = {.name = name, .heads = heads, .dim = dim, .tokens = tokens, .keys = keys,
               .q_step = wide, .k_step = 2 * wide};
    l.q = take((size_t)tokens * (size_t)wide, sizeof(float));
    l.k = take((size_t)keys * 2 * (size_t)wide, sizeof(float)), l.v = l.k + wide;
    fill(&l, l.q, l.q_step, tokens, 1, seed);
    fill(&l, l.k, l.k_step, keys, 2, seed + 1);
    outputs(&l);
    return l;
}

/* F.normalize: x / max(|x|, 1e-12) */
static void unit_vector(double *x, int n)
{
    double sum = 0;
    for (int d = 0; d < n; d++)
        sum += x[d] * x[d];
    sum = fmax(sqrt(sum), 1e-12);
    for (int d = 0; d < n; d++)
        x[d] /= sum;
}

static void read_row(const layer *l, double *x, const float *p, int token)
{
    for (int d = 0; d < l->dim; d++)
        x[d] = p ? (double)p[d] : 0;
    if (l->cosine)
        unit_vector(x, l->dim);
    if (l->turn && p)
        l->turn(x, l->dim, token);
}

#define MASKED (-90) /* a logit that a mask of -100 has lowered */

/* Logits into s[nk]; the largest sum of the absolute parts of one that is not masked. */
static double logits(const layer *l, int h, int query, int nk, const int *k, const double *add, double *s)
{
    double q[256], key[256], parts = 0;
    read_row(l, q, l->q + query * l->q_step + h * l->dim, query);
    for (int j = 0; j < nk; j++) {
        double all = add ? fabs(add[j]) : 0;
        read_row(l, key, k[j] < 0 ? NULL : l->k + k[j] * l->k_step + h * l->dim, k[j]);
        s[j] = add ? add[j] : 0;
        for (int d = 0; d < l->dim; d++) {
            double x = l->scale[h] * q[d] * key[d];
            s[j] += x;
            all += l->turn && d % 2 ? l->scale[h] * hypot(q[d - 1], q[d]) * hypot(key[d - 1], key[d]) : l->turn ? 0 : fabs(x);
        }
        parts = add && add[j] < MASKED ? parts : fmax(parts, all);
    }
    return parts;
}

void brute(layer *l, int h, int nq, const int *q, int nk, const int *k, const double *add)
{
    double *s = malloc(sizeof *s * (size_t)nk);
    for (int i = 0; i < nq; i++) {
        int     at = q[i] * l->heads + h;
        double *out = l->want + at * l->dim, top = -INFINITY, sum = 0, masked = 0;
        const double *row = add ? add + (size_t)i * (size_t)nk : NULL;
        double  parts = logits(l, h, q[i], nk, k, row, s);
        for (int j = 0; j < nk; j++)
            top = fmax(top, s[j]);
        for (int j = 0; j < nk; j++) {
            s[j] = exp(s[j] - top);
            sum += s[j];
            masked += row && row[j] < MASKED ? s[j] : 0;
        }
        for (int j = 0; j < nk; j++)
            for (int d = 0; k[j] >= 0 && d < l->dim; d++)
                out[d] += s[j] / sum * (double)l->v[k[j] * l->k_step + h * l->dim + d];
        l->want_lse[at] = top + log(sum);
        /* a logit is a sum whose parts come to `parts`; a weight is off by as much as its logit; turning
         * rounds each product once more */
        l->bound[at] = (l->turn ? 8 : 4) * 0x1p-23 * (4 + parts) + 2 * masked / sum;
        l->times[at]++;
    }
    free(s);
}

/* ---- the library -------------------------------------------------------------------------- */

oriel_tensor layer_raster(const layer *l, float *p, int64_t step, int first, int t, int y, int x)
{
    oriel_tensor v = oriel_tensor_of(p + first * step, ORIEL_F32, 6, (int64_t[]){1, t, y, x, l->heads, l->dim});
    v.stride[3] = step, v.stride[2] = step * x, v.stride[1] = step * x * y, v.stride[0] = v.stride[1] * t;
    return v;
}

oriel_tensor layer_list(const layer *l, float *p, int64_t step, int first, int n)
{
    oriel_tensor v = oriel_tensor_of(p + first * step, ORIEL_F32, 4, (int64_t[]){1, n, l->heads, l->dim});
    v.stride[1] = step, v.stride[0] = step * n;
    return v;
}

oriel_tensor layer_lse(const layer *l, int first, int n)
{
    return oriel_tensor_of(l->lse + first * l->heads, ORIEL_F32, 3, (int64_t[]){1, n, l->heads});
}

oriel_attn_io layer_io(layer *l, int t, int y, int x)
{
    return (oriel_attn_io){.q = layer_raster(l, l->q, l->q_step, 0, t, y, x),
                           .k = layer_raster(l, l->k, l->k_step, 0, t, y, x),
                           .v = layer_raster(l, l->v, l->k_step, 0, t, y, x),
                           .out = layer_raster(l, l->out, l->heads * l->dim, 0, t, y, x),
                           .lse = oriel_tensor_of(l->lse, ORIEL_F32, 5, (int64_t[]){1, t, y, x, l->heads})};
}

static struct {
    const char   *name;
    unsigned      mask, needs;
    oriel_device *dev;
} levels[LEVELS] = {{"c", 0, 0, NULL}, {"avx2", ORIEL_CPU_AVX2, ORIEL_CPU_AVX2, NULL}, {"best", ~0u, ORIEL_CPU_AVX512, NULL}};

bool levels_open(void)
{
    unsigned all = oriel_cpu_flags();
    bool     ok = true;
    for (int i = 0; i < LEVELS; i++) {
        if ((all & levels[i].needs) != levels[i].needs)
            continue;
        oriel_cpu_mask(levels[i].mask);
        ok = !oriel_device_open(&levels[i].dev, &(oriel_device_options){.threads = 1 + i}) && ok;
    }
    oriel_cpu_mask(~0u);
    return ok;
}

oriel_device *level(int i, const char **name)
{
    *name = levels[i].name;
    return levels[i].dev;
}

void levels_close(void)
{
    for (int i = 0; i < LEVELS; i++)
        oriel_device_free(&levels[i].dev);
}

/* The largest error over its bound of all that brute() answered; how many it did not. */
static double compare(const layer *l, int *untold)
{
    double worst = 0;
    *untold = 0;
    for (int at = 0; at < l->tokens * l->heads; at++) {
        if (l->times[at] != 1) {
            worst = l->times[at] ? INFINITY : worst; /* windows that overlap are the test's mistake */
            *untold += 1;
            continue;
        }
        bool   lse = !l->no_lse || at < l->no_lse * l->heads;
        double e = lse ? fabs((double)l->lse[at] - l->want_lse[at]) / l->bound[at] : 0;
        for (int d = 0; d < l->dim; d++) /* |v| <= 2 */
            e = fmax(e, fabs((double)l->out[at * l->dim + d] - l->want[at * l->dim + d]) / (2 * l->bound[at]));
        for (int d = 0; d < l->dim; d++)
            e = isnan(l->out[at * l->dim + d]) ? INFINITY : e;
        worst = fmax(worst, lse && isnan(l->lse[at]) ? INFINITY : e);
    }
    return worst;
}

bool layer_compare(layer *l, const char *who, int untold)
{
    int    left;
    double e = compare(l, &left);
    l->worst = fmax(l->worst, e);
    if (e <= 1 && left == untold)
        return true;
    fprintf(stderr, "%s, %s: %.3f of its bound, %d without a rendering\n", l->name, who, e, left);
    return false;
}

bool layer_check(layer *l, const oriel_attn *a, const oriel_attn_io *io, int untold)
{
    size_t n = (size_t)l->tokens * (size_t)l->heads;
    bool   fits = true;
    for (int i = 0; i < LEVELS; i++) {
        if (!levels[i].dev)
            continue;
        memset(l->out, 0xff, n * (size_t)l->dim * sizeof *l->out); /* NaN */
        memset(l->lse, 0xff, n * sizeof *l->lse);
        if (oriel_attn_run(levels[i].dev, a, io)) {
            fprintf(stderr, "%s, level %s: %s\n", l->name, levels[i].name, oriel_error());
            return false;
        }
        fits &= layer_compare(l, levels[i].name, untold);
    }
    printf("%-28s worst %.3f of its bound\n", l->name, l->worst);
    return fits;
}

/* ---- what two tests share ----------------------------------------------------------------- */

static int bits(int v)
{
    int n = 0;
    for (; v; v >>= 1)
        n++;
    return n;
}

int radial_width(int i, int j, int s, int block, double decay, bool sink)
{
    int    d = abs(i - j);
    double plain = ldexp(1, bits(s) - bits(d)), width = d <= 1 ? s : fmax(plain * decay, block);
    if (sink && j == 0)
        return s;
    if (plain < block && d % (int)(block / plain) != 0)
        return -1;
    return (int)fmin(trunc(width), s);
}

/* ---- golden numbers ----------------------------------------------------------------------- */

static float golden[GOLDEN_LAYERS * GOLDEN_NUMBERS + 1];

bool golden_open(void)
{
    FILE  *f = fopen("tests/golden/patterns.bin", "rb");
    size_t n = f ? fread(golden, sizeof *golden, sizeof golden / sizeof *golden, f) : 0;
    if (f)
        fclose(f);
    return n == GOLDEN_LAYERS * GOLDEN_NUMBERS;
}

static double weight(uint64_t seed, int64_t i)
{
    return 2 * (double)test_unit(seed + 200000, (uint64_t)i) - 1;
}

bool golden_same(const layer *l, const double *want, uint64_t seed, int lse_tokens)
{
    const float *g = golden + (seed - GOLDEN_SEED) * GOLDEN_NUMBERS;
    int          count = l->tokens * l->heads * l->dim, each = l->tokens * l->dim;
    double       sum = 0, lse = 0, off = 0;
    for (int i = 0; i < count; i++) /* the oracle's order is (H, tokens, D) */
        sum += weight(seed, i) * want[(i % each / l->dim * l->heads + i / each) * l->dim + i % l->dim];
    for (int i = 0; i < l->heads * lse_tokens; i++)
        lse += weight(seed, i) * l->want_lse[i % lse_tokens * l->heads + i / lse_tokens];
    for (int i = 0; i < 32; i++) {
        int    at = (int)(test_hash(seed + 100000, (uint64_t)i) % (uint64_t)count);
        double x = want[(at % each / l->dim * l->heads + at / each) * l->dim + at % l->dim];
        off = fmax(off, fabs(x - (double)g[i]) - fabs(x) * 0x1p-24);
    }
    off = fmax(off, fabs(sum - (double)g[32]) - fabs(sum) * 0x1p-24);
    off = fmax(off, fabs(lse - (double)g[33]) - fabs(lse) * 0x1p-24);
    if (off <= 1e-9)
        return true;
    fprintf(stderr, "%s: the rendering differs from the oracle's numbers by %.3g\n", l->name, off);
    return false;
}
