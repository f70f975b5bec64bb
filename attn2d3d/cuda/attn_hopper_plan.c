/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which boxes the Hopper kernel takes: the cheapest of some thousand by a count of boxes.
 *
 * Windows are products of spans, so the boxes of keys that a box of queries takes are a product
 * too, and sums over all boxes of queries are products of sums over the axes: each axis is counted
 * once for every size, and a shape costs a few multiplications.
 *
 * Cycles of a multiprocessor at 1.7 GHz, N keys a box: both warpgroups busy, one alone, a mask, a box, an item.
 * Fitted to 71 readings of forced shapes on an H100 (LADDER.md), which they meet within 7 %, root of the mean square.
 */
#include "attn2d3d/cuda/attn_hopper.h"

enum {
    LOGS = 8 /* boxes of 2^0 .. 2^7 queries along an axis, and twice that for a cluster */,
    KEYS = 257
};

static const double BOTH = 20.6, ALONE = 13.8, BOTH64 = 14, ALONE64 = 10, BOX = 384, ITEM = 1700;
static const double MASK = 1.33, MASK_BOX = 105, MASK_SHARED = 3;
static const double SHARED = 19.2,
                    SHARED64 = 13; /* both warpgroups busy in both blocks of a cluster */
static const double ACROSS = 1.08, /* rows of a box that do not follow each other along X */
    FINE = 1.05;                   /* keys of 4 along the innermost axis */

typedef struct rates {
    double both, alone, shared;
} rates;

/* Sums over the boxes of queries along an axis. The halves of a box of one query are along another
 * axis. */
typedef struct sums {
    double boxes;       /* of keys */
    double both, alone; /* as the loop axis 0: those that both halves need, that one needs */
    double clean; /* seen whole by all queries of the box; as axis 0: by those of a half, halves
                     added up */
} sums;

static int ceil_div(int a, int b)
{
    return (a + b - 1) / b;
}

/* Of n queries with these spans (whole: one for all), in boxes of q queries and k keys. */
static sums count_axis(const hopper_span *span, int n, bool whole, int q, int k, bool split)
{
    sums s = {0};
    if (whole) {
        int boxes = ceil_div(n, q), halves = !split   ? boxes
                                             : q == 1 ? 2 * n
                                                      : n / q * 2 + (n % q > q / 2) + (n % q > 0);
        int wide = span[0][1] - span[0][0], keys = ceil_div(wide, k), two = halves - boxes;
        return (sums){(double)boxes * keys, (double)two * keys, (double)(boxes - two) * keys,
                      (double)halves * (wide / k)};
    }
    for (int at = 0; at < n; at += q) {
        int last = oriel_axis_low(at + q, n) - 1, from = span[at][0],
            boxes = ceil_div(span[last][1] - from, k);
        s.boxes += boxes;
        for (int h = 0; h < (split ? 2 : 1); h++) {
            int a = at + h * q / 2, b = split && q > 1 ? oriel_axis_low(a + q / 2 - 1, last) : last;
            if (a <= last)
                s.clean +=
                    oriel_axis_high((span[a][1] - from) / k - ceil_div(span[b][0] - from, k), 0);
        }
        if (split && q == 1)
            s.both += boxes;
        else if (split) {
            int half = at + q / 2;
            bool two = half <= last;
            int end0 = ceil_div(span[two ? half - 1 : last][1] - from, k),
                first1 = two ? (span[half][0] - from) / k : boxes;
            s.both += end0 - first1;
            s.alone += first1 + boxes - end0;
        }
    }
    return s;
}

/* One axis of one window: its spans, and what was counted so far. */
typedef struct counted {
    const hopper_span *span;
    int n;
    bool whole;
    sums of[2][LOGS + 1][KEYS];
    bool known[2][LOGS + 1][KEYS];
} counted;

static const sums *look_up(counted *c, int log, int k, bool split)
{
    sums *s = &c->of[split][log][k];
    if (!c->known[split][log][k]) {
        *s = count_axis(c->span, c->n, c->whole, 1 << log, k, split);
        c->known[split][log][k] = true;
    }
    return s;
}

/* Cycles of a multiprocessor for a head with window w, over all its boxes of queries. */
static double head_cost(const hopper_job *h, counted *axes, const hopper_shape *s, const int log[3],
                        const rates *c, int w, double items)
{
    const int n = s->k[0] * s->k[1] * s->k[2];
    counted *a0 = &axes[w * 3 + s->order[0]], *a1 = &axes[w * 3 + s->order[1]],
            *a2 = &axes[w * 3 + s->order[2]];
    const sums *t = look_up(a0, log[0], s->k[0], true), *y = look_up(a1, log[1], s->k[1], false),
               *x = look_up(a2, log[2], s->k[2], false);
    double rest = y->boxes * x->boxes, lists = items * ceil_div(h->extra, n),
           each = (2 * t->both + t->alone) * rest;
    double clean = t->clean * y->clean * x->clean;
    if (s->clusters == 1)
        return (t->both * rest + lists) * (c->both * n + BOX) +
               t->alone * rest * (c->alone * n + BOX) + (each - clean) * (MASK * n + MASK_BOX) + items * ITEM;
    double boxes = look_up(a0, log[0] + (s->along == 0), s->k[0], false)->boxes *
                   look_up(a1, log[1] + (s->along == 1), s->k[1], false)->boxes *
                   look_up(a2, log[2] + (s->along == 2), s->k[2], false)->boxes;
    if (s->along != 0)
        each = 4 * boxes;
    /* both blocks go through all boxes in step; a multiprocessor has half of the masks */
    return (boxes + lists) * (c->shared * n + BOX) + (each - clean) / 2 * MASK_SHARED * n + items * ITEM;
}

/* Of a multiprocessor, for everything. */
static double cost(const hopper_job *h, counted *axes, const hopper_shape *s, const int log[3],
                   int dim, int sms)
{
    const double stride = (s->order[2] == 2 ? 1 : ACROSS) * (s->k[2] == 4 ? FINE : 1);
    const rates c = dim == 64 ? (rates){BOTH64 * stride, ALONE64 * stride, SHARED64}
                              : (rates){BOTH * stride, ALONE * stride, SHARED};
    double items = 1, cycles = 0, all = 0;
    for (int a = 0; a < 3; a++)
        items *= ceil_div(h->nq[s->order[a]], s->q[a] << (s->clusters == 2 && a == s->along));
    for (int w = 0; w < h->windows; w++) {
        cycles += head_cost(h, axes, s, log, &c, w, items) * h->heads[w];
        all += items * h->heads[w];
    }
    double rounds = all / (sms / s->clusters); /* the last one is not full */
    return cycles / all * (rounds < 1 ? 1 : rounds + 0.5);
}

static bool box_ok(const int k[3])
{
    return k[2] == 4 ? k[1] % 2 == 0 : k[2] % 8 == 0;
}

/* All boxes of keys for boxes of queries in this order. */
static void try_keys(hopper_shape *best, const hopper_job *h, counted *axes, hopper_shape *s,
                     const int log[3], int dim, int keys, int sms)
{
    for (int x = 4; x <= keys; x += 4)
        for (int y = 1; keys % x == 0 && y <= keys / x; y++) {
            int k[3] = {keys / x / y, y, x};
            if (keys / x % y || !box_ok(k))
                continue;
            memcpy(s->k, k, sizeof k);
            for (int form = 0; form < 4; form++) { /* alone, or two along an axis */
                s->clusters = form ? 2 : 1;
                s->along = form ? form - 1 : 0;
                if (form && h->nq[s->order[s->along]] <= s->q[s->along])
                    continue;
                s->cycles = cost(h, axes, s, log, dim, sms);
                if (s->cycles < best->cycles)
                    *best = *s;
            }
        }
}

static void try_all(hopper_shape *best, const hopper_job *h, counted *axes, int dim, int keys,
                    int sms)
{
    static const int order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                    {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int i = 0; i < 6; i++)
        for (int a = 0; a < LOGS; a++)
            for (int b = 0; a + b < LOGS; b++) {
                const int log[3] = {a, b, LOGS - 1 - a - b};
                hopper_shape s = {.order = {order[i][0], order[i][1], order[i][2]},
                                  .q = {1 << a, 1 << b, 1 << log[2]}};
                try_keys(best, h, axes, &s, log, dim, keys, sms);
            }
}

oriel_status hopper_plan(hopper_shape *best, const hopper_job *h, int dim, int keys, int sms)
{
    counted *axes = oriel_alloc_zero((size_t)h->windows * 3, sizeof *axes);
    if (!axes)
        return ORIEL_E_NOMEM;
    for (int w = 0; w < h->windows; w++)
        for (int x = 0; x < 3; x++) {
            counted *c = &axes[w * 3 + x];
            c->span = (const hopper_span *)h->span + w * h->spans + h->at[x];
            c->n = h->nq[x];
            c->whole = h->whole[x];
        }
    best->cycles = 1e300;
    try_all(best, h, axes, dim, keys, sms);
    oriel_dealloc(axes);
    return ORIEL_OK;
}
