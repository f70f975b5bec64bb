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

typedef struct sum { /* of one query */
    const oracle *o;
    const float  *q;
    double        top, weight, scale, parts;
    double       *out;
} sum;

/* One key after the other, rescaling; so that no list of logits is needed. */
static void see(sum *s, const float *k, const float *v, double bias)
{
    double logit = 0, parts = 0;
    for (int d = 0; d < s->o->a.dim; d++) {
        double x = s->scale * (double)s->q[d] * (double)k[d];
        logit += x;
        parts += fabs(x);
    }
    logit += bias;
    s->parts = fmax(s->parts, parts + fabs(bias));
    if (logit > s->top) {
        double fade = exp(s->top - logit);
        s->weight *= fade;
        for (int d = 0; d < s->o->a.dim_v; d++)
            s->out[d] *= fade;
        s->top = logit;
    }
    double p = exp(logit - s->top);
    s->weight += p;
    for (int d = 0; d < s->o->a.dim_v; d++)
        s->out[d] += p * (double)v[d];
}

static double bias(const oracle *o, int h, const int i[3], const int k[3])
{
    const int *n = o->a.extent;
    long       N = (long)n[0] * n[1] * n[2], at = h;
    if (o->a.bias == ORIEL_BIAS_NONE)
        return 0;
    if (o->a.bias == ORIEL_BIAS_DENSE)
        return (double)o->bias[(h * N + (i[0] * n[1] + i[1]) * n[2] + i[2]) * N + (k[0] * n[1] + k[1]) * n[2] + k[2]];
    for (int x = 0; x < 3; x++) {
        int step = (o->axes ? o->axes[h * 3 + x] : o->a.axis[x]).dilation;
        at = at * o->offsets[x] + (o->offsets[x] - 1) / 2 + (i[x] - k[x]) / (step ? step : 1);
    }
    return (double)o->bias[at];
}

/* The keys that coordinate i of an axis sees, in order; how many. */
static int keys_of(const oracle *o, int h, int x, int i, bool all)
{
    int            n = o->a.extent[x], count = 0;
    unsigned char *row = malloc((size_t)n);
    if (all)
        memset(row, 1, (size_t)n);
    else
        oracle_axis(row, o->axes ? o->axes[h * 3 + x] : o->a.axis[x], n, i);
    for (int j = 0; j < n; j++)
        if (row[j])
            o->keys[x][count++] = j;
    free(row);
    return count;
}

long oracle_query(const oracle *o, int b, int h, long i, double *out, double *lse, double *top)
{
    const oriel_attn *a = &o->a;
    const int        *n = a->extent;
    long              N = (long)n[0] * n[1] * n[2];
    bool              text = i >= N;
    int  at[3] = {(int)(i / n[2] / n[1]), (int)(i / n[2] % n[1]), (int)(i % n[2])}, c[3], k[3];
    int  kv = h / (a->heads / a->kv_heads);
    sum  s = {.o = o, .top = -INFINITY, .out = out,
              .scale = a->scale != 0 ? (double)a->scale : 1 / sqrt(a->dim)};
    s.q = text ? o->text_q + ((b * (long)a->text + i - N) * a->heads + h) * a->dim
               : o->q + ((b * N + i) * a->heads + h) * a->dim;
    for (int x = 0; x < 3; x++)
        c[x] = keys_of(o, h, x, at[x], text);
    memset(out, 0, (size_t)a->dim_v * sizeof *out);
    for (int t = 0; t < c[0]; t++)
        for (int y = 0; y < c[1]; y++)
            for (int x = 0; x < c[2]; x++) {
                k[0] = o->keys[0][t], k[1] = o->keys[1][y], k[2] = o->keys[2][x];
                long j = (b * N + (k[0] * n[1] + k[1]) * n[2] + k[2]) * a->kv_heads + kv;
                see(&s, o->k + j * a->dim, o->v + j * a->dim_v, text ? 0 : bias(o, h, at, k));
            }
    for (int e = 0; e < a->extra; e++) {
        long j = (b * (long)a->extra + e) * a->kv_heads + kv;
        see(&s, o->extra_k + j * a->dim, o->extra_v + j * a->dim_v, 0);
    }
    for (int d = 0; d < a->dim_v; d++)
        out[d] /= s.weight;
    *lse = log(s.weight) + s.top;
    *top = s.parts;
    return (long)c[0] * c[1] * c[2] + a->extra;
}
