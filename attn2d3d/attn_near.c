/* SPDX-License-Identifier: Apache-2.0 */
/* Neighbourhoods as sliding windows: which problems are, and how they are cut (attn_near.h). */
#include "attn2d3d/attn_near.h"

enum {
    TALL = 16,          /* rows of queries of an item at least */
    FLAT = 4,           /* places along outer of an item at most */
    FLAT_RINGS = 1100 << 10, /* bytes of a head's rings up to which they grow by that */
    STEP_FLOATS = 6144, /* logits of a step, for the level 1 cache */
    RINGS = 384 << 10,  /* bytes of an item's rings: the level 2 cache holds the rows of this step and the next too */
    RING_MAX = 8 << 20, /* of one head's ring */
    LINE = 64           /* of a cache */
};

/* The span of a query far from both ends. */
static void window(near_plan *p, oriel_axis a, int n)
{
    int size = a.size ? a.size : n, step = a.dilation ? a.dilation : 1, middle = 2 * n;
    if (a.kind == ORIEL_AXIS_SLIDE) {
        a.left = oriel_axis_low(a.left, n - 1);
        a.right = oriel_axis_low(a.right, n - 1);
    } else
        middle = 2 * size * step;
    a.size = a.kind == ORIEL_AXIS_SLIDE ? 0 : size;
    oriel_span s = oriel_axis_span(a, 2 * middle, middle);
    p->low = (s.first - middle) / step;
    p->keys = s.count;
    p->wraps = a.kind == ORIEL_AXIS_NEIGHBOR && !a.causal;
}

static int step_of(oriel_axis a)
{
    return a.kind == ORIEL_AXIS_NEIGHBOR && a.dilation ? a.dilation : 1;
}

/* Classes one after the other, each in runs of nearly equal length, a multiple of `unit`. */
static int cut(near_segment *out, int n, int step, int most, int unit)
{
    int count = 0;
    for (int group = 0; group < step && group < n; group++) {
        int len = (n - group + step - 1) / step;
        int runs = (int)oriel_ceil_div(len, most), each = (int)oriel_round_up(oriel_ceil_div(len, runs), unit);
        for (int p = 0; p < len; p += each)
            out[count++] = (near_segment){group + p * step, step, oriel_axis_low(each, len - p), p, len};
    }
    return count;
}

/* Inner keys that a tile sees, most of all tiles; and the most of any query. */
static int ring(const near_plan *p, oriel_axis a, int n, int *span)
{
    int most = 0;
    *span = 0;
    for (int i = 0; i < p->ys; i++)
        for (int c = 0; c < p->y[i].count; c += p->rows) {
            int        last = oriel_axis_low(c + p->rows, p->y[i].count) - 1, step = p->y[i].step;
            oriel_span s = oriel_axis_span(a, n, p->y[i].first + c * step);
            oriel_span e = oriel_axis_span(a, n, p->y[i].first + last * step);
            most = oriel_axis_high(most, (e.first - s.first) / s.step + e.count);
            *span = oriel_axis_high(*span, oriel_axis_high(s.count, e.count));
        }
    return most;
}

oriel_span near_outer(const near_plan *p, int at, int n)
{
    oriel_axis a = p->j->a.axis[p->outer];
    int        extent = p->j->a.extent[p->outer];
    oriel_span s = oriel_axis_span(a, extent, at), e = oriel_axis_span(a, extent, at + n - 1);
    s.count = (e.first - s.first) / s.step + e.count;
    return s;
}

/* How many places along outer share a ring: rows of keys are taken in less often, as long as not more than
 * `most` outer keys are held. Neighbours of other residue classes share nothing. */
static void flatten(near_plan *p, int64_t most)
{
    int n = p->j->a.extent[p->outer];
    for (int flat = 1; flat <= FLAT && flat <= n; flat++) {
        int deep = 0;
        for (int i = 0; i < n; i += flat)
            deep = oriel_axis_high(deep, near_outer(p, i, oriel_axis_low(flat, n - i)).count);
        if (flat > 1 && (deep > most || step_of(p->j->a.axis[p->outer]) > 1))
            break;
        p->flat = flat;
        p->deep = deep;
    }
    p->outers = (int)oriel_ceil_div(n, p->flat);
}

const char *near_reject(const attn_job *j)
{
    oriel_axis x = j->a.axis[2];
    near_plan  p;
    const char *why = attn_plain_fields(j);
    if (why)
        return why;
    if (j->io->axes)
        return "a window of its own for each head";
    if (j->a.extra || j->a.text)
        return "keys or queries beside the raster";
    if (j->a.bias != ORIEL_BIAS_NONE)
        return "a bias";
    if (x.kind != ORIEL_AXIS_SLIDE && (x.kind != ORIEL_AXIS_NEIGHBOR || x.stride > 1))
        return "windows along X that do not slide by one token";
    window(&p, x, j->a.extent[2]);
    if (p.keys > NEAR_KEYS)
        return "long windows along X";
    int64_t rows = oriel_axis_span(j->a.axis[0], j->a.extent[0], j->a.extent[0] / 2).count;
    rows *= oriel_axis_span(j->a.axis[1], j->a.extent[1], j->a.extent[1] / 2).count;
    int64_t wide = oriel_axis_low(j->a.extent[2], NEAR_WIDE) + p.keys;
    return rows * wide * (j->a.dim + j->a.dim_v) * (int64_t)sizeof(float) > RING_MAX ? "windows of many rows" : NULL;
}

oriel_status near_plan_new(near_plan *p, const attn_job *j, int lanes, int rows, int per)
{
    const int *n = j->a.extent;
    *p = (near_plan){.j = j, .lanes = lanes, .rows = rows, .outer = n[1] == 1, .inner = n[1] != 1};
    oriel_axis a = j->a.axis[p->inner];
    int        span, inner = n[p->inner];
    window(p, j->a.axis[2], n[2]);
    if (!(p->x = oriel_alloc(((size_t)n[2] + (size_t)inner) * sizeof *p->x)))
        return ORIEL_E_NOMEM;
    p->xs = cut(p->x, n[2], step_of(j->a.axis[2]), NEAR_WIDE, lanes);
    p->y = p->x + p->xs;
    p->ys = cut(p->y, inner, step_of(a), oriel_axis_high(TALL, 4 * oriel_axis_span(a, inner, inner / 2).count), rows);
    p->ring = ring(p, a, inner, &span);
    int wide = 0;
    for (int i = 0; i < p->xs; i++)
        wide = oriel_axis_high(wide, p->x[i].count);
    p->places = wide + p->keys - 1;
    p->sees = per == 1 ? p->keys : p->keys / 2 + 1;
    p->rows_v = per == 1 ? p->places : (int)oriel_ceil_div(p->places + 2, 2);
    p->vecs_v = (int)oriel_ceil_div(j->a.dim_v, lanes);
    p->ld_k = (int)(oriel_ceil_div(oriel_round_up(wide, lanes) + p->keys - 1, 16) | 1) * 16; /* odd: all sets of a cache */
    int64_t row = (int64_t)p->ring * (j->a.dim / per * p->ld_k + p->rows_v * p->vecs_v * lanes) * (int64_t)sizeof(float);
    flatten(p, FLAT_RINGS / row);
    int64_t each = p->deep * row;
    p->step = oriel_axis_high(1, STEP_FLOATS / (rows * p->keys * lanes));
    p->step = oriel_axis_low(p->step, p->deep * p->ring);
    p->kvs = (int)oriel_ceil_div(j->a.kv_heads, oriel_max(RINGS / each, 1));
    p->kv_heads = (int)oriel_ceil_div(j->a.kv_heads, p->kvs);
    p->kvs = (int)oriel_ceil_div(j->a.kv_heads, p->kv_heads);
    p->items = (int64_t)j->a.batch * p->kvs * p->outers * p->ys * p->xs;
    return ORIEL_OK;
}

void near_plan_free(near_plan *p)
{
    oriel_dealloc(p->x);
    *p = (near_plan){0};
}

near_item near_item_at(const near_plan *p, int64_t i)
{
    const attn_job *j = p->j;
    near_item       it = {.kv0 = (int)(i % p->kvs) * p->kv_heads}; /* threads share no rows */
    it.kvs = oriel_axis_low(p->kv_heads, j->a.kv_heads - it.kv0);
    it.x = &p->x[(i /= p->kvs) % p->xs];
    it.y = &p->y[(i /= p->xs) % p->ys];
    it.at0 = (int)((i /= p->ys) % p->outers) * p->flat;
    it.ats = oriel_axis_low(p->flat, j->a.extent[p->outer] - it.at0);
    it.b = (int)(i / p->outers);
    it.outer = near_outer(p, it.at0, it.ats);
    it.first = it.y->first % it.y->step;
    return it;
}

oriel_span near_inner(const near_plan *p, const near_item *it, int n)
{
    const near_segment *y = it->y;
    oriel_span          s = oriel_axis_span(p->j->a.axis[p->inner], p->j->a.extent[p->inner], y->first + n * y->step);
    s.first = (s.first - it->first) / y->step;
    return s;
}

int near_place(const near_plan *p, const near_segment *s, int u)
{
    int at = s->p + u + p->low;
    if (u >= s->count + p->keys - 1)
        return -1;
    if (at >= 0 && at < s->len)
        return at;
    return !p->wraps ? -1 : at < 0 ? at + p->keys : at - p->keys;
}

/* ---- prefetches ------------------------------------------------------------------------------- */

/* Places of a row that an item's keys have. */
static int places(const near_plan *p, const near_segment *x, int *low)
{
    *low = oriel_axis_high(0, x->p + p->low);
    return oriel_axis_high(0, oriel_axis_low(x->len, x->p + x->count + p->low + p->keys - 1) - *low);
}

void near_ahead_begin(near_ahead *a, const near_plan *p, near_item it, int y0, int most, int held, int calls)
{
    int        low, rows = oriel_axis_low(most, it.y->count - y0);
    oriel_span s = near_inner(p, &it, y0), e = near_inner(p, &it, y0 + rows - 1);
    *a = (near_ahead){.it = it, .y0 = y0, .rows = rows, .inner = oriel_axis_high(held, s.first)};
    a->inners = oriel_axis_high(0, e.first + e.count - a->inner);
    a->count = a->inners * it.outer.count + it.ats * rows;
    int64_t all = (int64_t)a->inners * it.outer.count * places(p, it.x, &low) + (int64_t)it.ats * rows * it.x->count;
    a->each = (int)oriel_ceil_div(all, calls);
}

static near_run run_of(const near_ahead *a, const oriel_tensor *t, const int at[3], int head, int heads, int dim)
{
    int64_t  size = (int64_t)oriel_dtype_size(t->dtype);
    near_run r = {(const char *)t->data + attn_at(t, a->it.b, at, head) * size, a->it.x->step * t->stride[3] * size,
                  t->stride[4] * size, heads, (int)(dim * size)};
    if (r.head == r.bytes) {
        r.bytes *= heads;
        r.heads = 1;
    }
    return r;
}

static void next_row(near_ahead *a, const near_plan *p)
{
    const attn_job      *j = p->j;
    const oriel_attn_io *io = j->io;
    const near_item     *it = &a->it;
    int                  keys = a->inners * it->outer.count, n = a->row++, group = j->a.heads / j->a.kv_heads, low = it->x->p;
    int                  at[3];
    bool                 queries = n >= keys;
    a->left = queries ? it->x->count : places(p, it->x, &low);
    at[2] = it->x->first + (low - it->x->p) * it->x->step;
    if (queries) {
        at[p->outer] = it->at0 + (n - keys) / a->rows;
        at[p->inner] = it->y->first + (a->y0 + (n - keys) % a->rows) * it->y->step;
        a->run[0] = run_of(a, &io->q, at, it->kv0 * group, it->kvs * group, j->a.dim);
        a->run[1] = run_of(a, &io->out, at, it->kv0 * group, it->kvs * group, j->a.dim_v);
    } else {
        at[p->outer] = it->outer.first + n % it->outer.count * it->outer.step;
        at[p->inner] = it->first + (a->inner + n / it->outer.count) * it->y->step;
        a->run[0] = run_of(a, &io->k, at, it->kv0, it->kvs, j->a.dim);
        a->run[1] = run_of(a, &io->v, at, it->kv0, it->kvs, j->a.dim_v);
    }
}

void near_ahead_some(near_ahead *a, const near_plan *p)
{
    for (int n = a->each; n > 0; n--, a->left--) {
        while (!a->left) {
            if (a->row == a->count)
                return;
            next_row(a, p);
        }
        for (near_run *r = a->run; r < a->run + 2; r->at += r->token, r++)
            for (int h = 0; h < r->heads; h++) {
                const char *at = r->at + h * r->head, *end = at + r->bytes;
                for (at -= (uintptr_t)at % LINE; at < end; at += LINE)
                    __builtin_prefetch(at, 0, 2); /* into L2 */
            }
    }
}
