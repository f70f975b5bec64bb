/* SPDX-License-Identifier: Apache-2.0 */
#include "oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Neighbourhood attention by search. The tokens of i's residue class, cut into groups of `stride`; the
 * leader of i's group is its middle token (right of the middle if even; the class's last at most).
 * Of all runs of `size` tokens of the class the one whose token size / 2 lies nearest the leader.
 * Causal: not after i, and less than `size` before the last place of the group. */
static void neighbor(unsigned char *row, oriel_axis a, int n, int i)
{
    int  size = a.size ? a.size : n, d = a.dilation ? a.dilation : 1, s = a.stride ? a.stride : 1;
    int *token = malloc((size_t)n * sizeof *token), m = 0, own = 0;
    for (int j = i % d; j < n; j += d, m++) {
        token[m] = j;
        own = j == i ? m : own;
    }
    int lead = own, seen = 0, best = -1, off = 2 * n + 2;
    for (int j = 0; j < m; j++)
        if (j / s == own / s && (a.causal || seen++ <= s / 2))
            lead = j;
    if (a.causal) {
        for (int j = 0; j <= own; j++)
            if (lead - j < size)
                row[token[j]] = 1;
    } else {
        for (int first = 0; first + size <= m; first++)
            if (abs(first + size / 2 - lead) < off)
                off = abs(first + size / 2 - lead), best = first;
        for (int j = 0; j < size; j++)
            row[token[best + j]] = 1;
    }
    free(token);
}

/* Shifted windows: roll by -shift, cut into windows, forbid what the mask's slices part. */
static int block(oriel_axis a, int n, int i, int j)
{
    int size = a.size ? a.size : n, s = a.shift, all = (n + size - 1) / size * size;
    int ri = (i - s + all) % all, rj = (j - s + all) % all;
    int ci = ri < all - size ? 0 : ri < all - s ? 1 : 2, cj = rj < all - size ? 0 : rj < all - s ? 1 : 2;
    return ri / size == rj / size && ci == cj && !(a.causal && j > i);
}

void oracle_axis(unsigned char *row, oriel_axis a, int n, int i)
{
    memset(row, 0, (size_t)n);
    if (a.kind == ORIEL_AXIS_NEIGHBOR)
        neighbor(row, a, n, i);
    else
        for (int j = 0; j < n; j++)
            row[j] = a.kind == ORIEL_AXIS_BLOCK ? block(a, n, i, j) != 0
                     : a.kind == ORIEL_AXIS_SLIDE
                         ? i - j <= a.left && j - i <= a.right && !(a.causal && j > i)
                         : !(a.causal && j > i);
}

/* An axis of one raster: n queries from `at` on, m keys of `pool` tokens, and what axis law holds. */
typedef struct line {
    int        n, m, at, pool;
    bool       pad;
    oriel_axis a;
    const int *spans;
} line;

size_t oracle_room(int n)
{
    return (size_t)n * 6 + 16;
}

/* Token t of an axis, which may lie beyond its ends: in i's block, or up to `left` before one that is,
 * or up to `right` after one. Padded to whole blocks, the axis has more tokens. */
static bool near_block(const line *l, int n, int i, int t)
{
    int size = l->a.size ? l->a.size : n, all = l->pad ? (n + size - 1) / size * size : n;
    if (l->a.causal && t > i)
        return false;
    for (int u = t - l->a.right; u <= t + l->a.left; u++)
        if (u >= 0 && u < all && block((oriel_axis){.size = l->a.size, .shift = l->a.shift}, n, i, u))
            return true;
    return false;
}

/* May the query at place i see key c? */
static bool may_see(const line *l, const unsigned char *row, int i, int c)
{
    int p = i + l->at, t = c * l->pool;
    if (!l->pad && (c < 0 || c >= l->m))
        return false;
    switch (l->a.kind) {
    case ORIEL_AXIS_SPANS: return c >= l->spans[2 * i] && c < l->spans[2 * i] + l->spans[2 * i + 1];
    case ORIEL_AXIS_SLIDE: return p - t <= l->a.left && t - p <= l->a.right && !(l->a.causal && t > p);
    case ORIEL_AXIS_BLOCK: return near_block(l, l->m * l->pool, p, t);
    default: return c >= 0 && c < l->m && row[c];
    }
}

/* The keys that place i of an axis sees, in order; how many. */
static int keys_of(const line *l, int i, int *key)
{
    int            count = 0;
    unsigned char *row = malloc((size_t)l->m);
    memset(row, 1, (size_t)l->m);
    if (l->a.kind == ORIEL_AXIS_NEIGHBOR || (l->a.kind == ORIEL_AXIS_FULL && l->a.causal))
        oracle_axis(row, l->a, l->m, i + l->at);
    for (int c = l->pad ? -2 * l->m - 2 : 0; c < (l->pad ? 4 * l->m + 2 : l->m); c++)
        if (may_see(l, row, i, c))
            key[count++] = c;
    free(row);
    return count;
}

typedef struct raster { /* one of several, or the only one */
    const int *n, *m, *at;
    long       q, k; /* where its tokens begin */
} raster;

static raster whole(const oracle *o)
{
    return (raster){o->a.extent, o->a.keys, o->a.at, 0, 0};
}

static raster next_segment(const oracle *o, int s, const raster *before)
{
    const oriel_segment *g = &o->segments[s];
    raster               r = {g->extent, g->keys, g->at, 0, 0};
    if (s) {
        r.q = before->q + (long)before->n[0] * before->n[1] * before->n[2];
        r.k = before->k + (long)before->m[0] * before->m[1] * before->m[2];
    }
    return r;
}

static line line_of(const oracle *o, const raster *r, int h, int x)
{
    return (line){r->n[x], r->m[x], r->at[x], o->a.pool[x], o->a.pad_keys,
                  o->axes ? o->axes[h * 3 + x] : o->a.axis[x], o->spans[x]};
}

typedef struct sum { /* of one query */
    const oracle *o;
    double        q[256], top, weight, scale, parts, sizes[256], size; /* sizes: sums of |v| */
    double       *out;
    long          keys;
} sum;

static double length_of(const float *x, int n)
{
    double s = 0;
    for (int d = 0; d < n; d++)
        s += (double)x[d] * (double)x[d];
    return fmax(sqrt(s), 1e-12);
}

static void begin(sum *s, const float *q)
{
    double by = s->o->a.cosine ? length_of(q, s->o->a.dim) : 1;
    for (int d = 0; d < s->o->a.dim; d++)
        s->q[d] = (double)q[d] / by;
    s->top = -INFINITY;
    s->weight = 0;
    memset(s->out, 0, (size_t)s->o->a.dim_v * sizeof *s->out);
    memset(s->sizes, 0, sizeof s->sizes);
}

/* One key after the other, rescaling; so that no list of logits is needed. NULL: zeros. */
static void see(sum *s, const float *k, const float *v, double bias)
{
    double logit = 0, parts = 0, by = s->o->a.cosine && k ? length_of(k, s->o->a.dim) : 1;
    for (int d = 0; d < s->o->a.dim && k; d++) {
        double x = s->scale * s->q[d] * (double)k[d] / by;
        logit += x;
        parts += fabs(x);
    }
    logit += bias;
    s->keys++;
    s->parts = fmax(s->parts, parts + fabs(bias));
    if (logit > s->top) {
        double fade = exp(s->top - logit);
        s->weight *= fade;
        for (int d = 0; d < s->o->a.dim_v; d++)
            s->out[d] *= fade, s->sizes[d] *= fade;
        s->top = logit;
    }
    double p = exp(logit - s->top);
    s->weight += p;
    for (int d = 0; d < s->o->a.dim_v && v; d++)
        s->out[d] += p * (double)v[d], s->sizes[d] += p * fabs((double)v[d]);
}

static void finish(sum *s)
{
    for (int d = 0; d < s->o->a.dim_v && s->keys; d++) {
        s->out[d] /= s->weight;
        s->size = fmax(s->size, s->sizes[d] / s->weight);
    }
}

static long tokens(const int n[3])
{
    return (long)n[0] * n[1] * n[2];
}
static long place(const int n[3], const int i[3])
{
    return ((long)i[0] * n[1] + i[1]) * n[2] + i[2];
}

static double bias(const oracle *o, const raster *r, int h, const int i[3], const int k[3])
{
    long at = h;
    if (o->a.bias == ORIEL_BIAS_NONE)
        return 0;
    if (o->a.bias == ORIEL_BIAS_DENSE)
        return (double)o->bias[(h * tokens(o->a.extent) + r->q + place(r->n, i)) * tokens(o->a.keys) + r->k + place(r->m, k)];
    for (int x = 0; x < 3; x++) {
        int step = (o->axes ? o->axes[h * 3 + x] : o->a.axis[x]).dilation;
        at = at * o->offsets[x] + (o->offsets[x] - 1) / 2 +
             (int)floor((i[x] + r->at[x]) / (double)o->a.pool[x] - k[x]) / (step ? step : 1);
    }
    return (double)o->bias[at];
}

/* Does the query block of i list the key block of k, and is k one of its keys that are there? */
static bool listed(const oracle *o, int b, int h, const int i[3], const int k[3])
{
    const oriel_attn *a = &o->a;
    int  nq = 1, nk = 1, own = 0, key = 0, rank = 0;
    for (int x = 0; x < 3; x++) {
        int blocks = (a->extent[x] + a->q_block[x] - 1) / a->q_block[x];
        int key_blocks = (a->keys[x] + a->k_block[x] - 1) / a->k_block[x];
        int begin_at = k[x] / a->k_block[x] * a->k_block[x];
        int side = begin_at + a->k_block[x] > a->keys[x] ? a->keys[x] - begin_at : a->k_block[x];
        own = own * blocks + i[x] / a->q_block[x];
        key = key * key_blocks + k[x] / a->k_block[x];
        rank = rank * side + k[x] - begin_at;
        nq *= blocks, nk *= key_blocks;
    }
    const int *p = o->indptr + ((o->list_batches > 1 ? b : 0) * (long)o->list_heads + (o->list_heads > 1 ? h : 0)) * (nq + 1);
    if (o->k_valid && rank >= o->k_valid[key])
        return false;
    for (int n = p[own]; n < p[own + 1]; n++)
        if (o->indices[n] == key)
            return true;
    return false;
}

/* All keys that the coordinates in o->keys name. i NULL: no bias and no lists. */
static void see_keys(sum *s, const raster *r, int b, int h, const int i[3], const int c[3])
{
    const oracle *o = s->o;
    int           kv = h / (o->a.heads / o->a.kv_heads), k[3];
    for (int t = 0; t < c[0]; t++)
        for (int y = 0; y < c[1]; y++)
            for (int x = 0; x < c[2]; x++) {
                k[0] = o->keys[0][t], k[1] = o->keys[1][y], k[2] = o->keys[2][x];
                bool   beyond = false;
                for (int e = 0; e < 3; e++)
                    beyond |= k[e] < 0 || k[e] >= r->m[e];
                if (i && o->a.lists && !listed(o, b, h, i, k))
                    continue;
                double add = i ? bias(o, r, h, i, k) : 0;
                long   j = (b * tokens(o->a.keys) + r->k + place(r->m, k)) * o->a.kv_heads + kv;
                if (beyond)
                    see(s, o->pad_k ? o->pad_k + kv * o->a.dim : NULL, o->pad_v ? o->pad_v + kv * o->a.dim_v : NULL, add);
                else
                    see(s, o->k + j * o->a.dim, o->v + j * o->a.dim_v, add);
            }
}

static void see_extra(sum *s, int b, int h)
{
    const oriel_attn *a = &s->o->a;
    for (int e = 0; e < a->extra; e++) {
        long j = (b * (long)a->extra + e) * a->kv_heads + h / (a->heads / a->kv_heads);
        see(s, s->o->extra_k + j * a->dim, s->o->extra_v + j * a->dim_v, 0);
    }
}

/* Does key c of a windowed axis come first of its window? If so, list the window. */
static int window_from(const line *l, int c, int *key)
{
    int count = 0, size = l->a.size ? l->a.size : l->m * l->pool, n = l->m * l->pool;
    int all = l->pad && l->a.kind == ORIEL_AXIS_BLOCK ? (n + size - 1) / size * size / l->pool : l->m;
    for (int k = 0; k < all; k++)
        if (l->a.kind == ORIEL_AXIS_FULL || block(l->a, n, c * l->pool, k * l->pool))
            key[count++] = k;
    return key[0] == c ? count : 0;
}

/* The mean of the answers that each window gives. */
static void text_in_windows(sum *s, int b, int h, const float *q)
{
    const oracle *o = s->o;
    raster        r = whole(o);
    double        mean[256] = {0};
    int           c[3], windows = 0;
    line          l[3] = {line_of(o, &r, h, 0), line_of(o, &r, h, 1), line_of(o, &r, h, 2)};
    for (int t = 0; t < r.m[0]; t++)
        for (int y = 0; y < r.m[1]; y++)
            for (int x = 0; x < r.m[2]; x++) {
                if (!(c[0] = window_from(&l[0], t, o->keys[0])) || !(c[1] = window_from(&l[1], y, o->keys[1])) ||
                    !(c[2] = window_from(&l[2], x, o->keys[2])))
                    continue;
                begin(s, q);
                see_keys(s, &r, b, h, NULL, c);
                see_extra(s, b, h);
                finish(s);
                for (int d = 0; d < o->a.dim_v; d++)
                    mean[d] += s->out[d];
                windows++;
            }
    for (int d = 0; d < o->a.dim_v; d++)
        s->out[d] = mean[d] / windows;
}

long oracle_query(const oracle *o, int b, int h, long i, double *out, double *lse, double *top, double *size)
{
    const oriel_attn *a = &o->a;
    long              N = tokens(a->extent), own = i;
    bool              text = i >= N;
    raster            r = whole(o);
    int               c[3];
    sum s = {.o = o, .out = out, .scale = o->scales ? (double)o->scales[h] : a->scale != 0 ? (double)a->scale
                                                                        : a->cosine ? 1 : 1 / sqrt(a->dim)};
    const float *q = text ? o->text_q + ((b * (long)a->text + i - N) * a->heads + h) * a->dim
                          : o->q + ((b * N + i) * a->heads + h) * a->dim;
    for (int g = 0; g < a->segments; g++) {
        r = next_segment(o, g, &r);
        if (i < r.q + tokens(r.n))
            break;
    }
    own -= r.q;
    int at[3] = {(int)(own / r.n[2] / r.n[1]), (int)(own / r.n[2] % r.n[1]), (int)(own % r.n[2])};
    if (text && a->text_mode == ORIEL_TEXT_WINDOWS)
        text_in_windows(&s, b, h, q);
    else {
        for (int x = 0; x < 3; x++) {
            line l = line_of(o, &r, h, x);
            c[x] = text ? r.m[x] : keys_of(&l, at[x], o->keys[x]);
            for (int k = 0; text && k < r.m[x]; k++)
                o->keys[x][k] = k;
        }
        begin(&s, q);
        see_keys(&s, &r, b, h, text ? NULL : at, c);
        see_extra(&s, b, h);
        finish(&s);
    }
    *lse = log(s.weight) + s.top;
    *top = s.parts;
    *size = s.size;
    return s.keys;
}

double oracle_pairs(const oracle *o, int h)
{
    double all = 0;
    raster r = whole(o);
    for (int g = 0; g < (o->a.segments ? o->a.segments : 1); g++) {
        double pairs = 1;
        r = o->a.segments ? next_segment(o, g, &r) : r;
        for (int x = 0; x < 3; x++) {
            line   l = line_of(o, &r, h, x);
            double sum_of_axis = 0;
            for (int i = 0; i < r.n[x]; i++)
                sum_of_axis += keys_of(&l, i, o->keys[x]);
            pairs *= sum_of_axis;
        }
        all += pairs + (double)tokens(r.n) * o->a.extra;
    }
    return all;
}
