/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiles of queries for kernels with 64 queries a block: the box that costs least by count.
 *
 * A tile takes along each axis a run of one residue class. Both ends of the spans grow along it, so
 * that its first and its last query say which keys somebody sees. A run may be cut where blocks and
 * strides begin too: there the spans jump.
 */
#include "attn2d3d/cuda/attn_cuda_tile.h"

enum { SIDES = 10, LOOKS = 48 }; /* runs that are looked at to know the mean of their keys */

/* How an axis is cut: runs of at most `most`; period 0: nowhere else. */
typedef struct way {
    int    most, period, step; /* period in queries of a class; step: the dilation */
    int    shift;              /* the class' queries -shift, period - shift, ... begin a run */
    double runs, keys;         /* how many, and the mean of the keys that somebody of one sees */
} way;

/* Segment after segment: *at is where the next one begins. False: there are none. */
static bool next_run(attn_segment *s, const way *w, int n, int at[2])
{
    if (at[1] >= n && ++at[0] < w->step)
        at[1] = at[0];
    if (at[0] >= w->step || at[1] >= n)
        return false;
    int left = (n - at[1] + w->step - 1) / w->step, most = w->most;
    if (w->period)
        most = (int)oriel_min(most, w->period - (at[1] / w->step + w->shift) % w->period);
    *s = (attn_segment){at[1], w->step, (int)oriel_min(most, left)};
    at[1] += s->count * w->step;
    return true;
}

static int run_keys(const attn_job *j, int h, int x, attn_segment s)
{
    oriel_span a = attn_span(j, h, x, s.first), b = attn_span(j, h, x, s.first + (s.count - 1) * s.step);
    return (b.first - a.first) / b.step + b.count;
}

static void measure(way *w, const attn_job *j, int h, int x)
{
    int          n = j->a.extent[x], at[2] = {0, 0}, looked = 0, all = 0;
    attn_segment s;
    double       keys = 0;
    while (next_run(&s, w, n, at))
        all++;
    at[0] = at[1] = 0;
    for (int i = 0; next_run(&s, w, n, at); i++)
        if (i % (all / LOOKS + 1) == 0) {
            keys += run_keys(j, h, x, s);
            looked++;
        }
    w->runs = all;
    w->keys = keys / looked;
}

/* Ways to cut an axis that are worth a thought. */
static int ways(way *w, const attn_job *j, int h, int x)
{
    oriel_axis a = attn_axis(j, h, x);
    int        n = j->a.extent[x], size = a.size ? a.size : n, d = a.dilation ? a.dilation : 1, found = 0;
    int        period = 0, shift = 0;
    if (a.kind == ORIEL_AXIS_BLOCK) {
        period = size;
        shift = (j->a.at[x] - a.shift) % size;
        shift += shift < 0 ? size : 0;
    } else if (a.kind == ORIEL_AXIS_NEIGHBOR && a.stride > 1 && j->a.at[x] == 0)
        period = a.stride;
    const int side[SIDES] = {1, 2, 4, 8, 16, 32, 64, period, (period + 1) / 2, (period + 2) / 3};
    for (int i = 0; i < SIDES; i++)
        for (int cuts = 0; cuts <= (period > 1); cuts++)
            if (side[i] >= 1 && side[i] <= ATTN_TILE && (side[i] < 2 * n || i == 0)) {
                w[found] = (way){.most = (int)oriel_min(side[i], n), .period = cuts ? period : 0, .shift = shift,
                                 .step = a.kind == ORIEL_AXIS_NEIGHBOR ? d : 1};
                measure(&w[found++], j, h, x);
            }
    return found;
}

/* Steps of keys, and what a tile costs by itself. */
static void cheapest(way best[3], const attn_job *j, int h, int step)
{
    enum { OWN = 3 };
    way    w[3][2 * SIDES];
    int    n[3];
    double least = -1;
    for (int x = 0; x < 3; x++)
        n[x] = ways(w[x], j, h, x);
    for (int t = 0; t < n[0]; t++)
        for (int y = 0; y < n[1]; y++)
            for (int x = 0; x < n[2]; x++) {
                const way *u = &w[0][t], *v = &w[1][y], *z = &w[2][x];
                if ((int64_t)u->most * v->most * z->most > ATTN_TILE)
                    continue;
                double cost = u->runs * v->runs * z->runs *
                              ((u->keys * v->keys * z->keys + j->a.extra) / step + 0.5 + OWN);
                if (least < 0 || cost < least) {
                    least = cost;
                    best[0] = *u, best[1] = *v, best[2] = *z;
                }
            }
}

oriel_status attn_cuda_plan_new(attn_cuda_plan *p, const attn_job *j, int step)
{
    int    heads = j->a.heads, plans = j->io->axes ? heads : 1;
    size_t each = (size_t)j->a.extent[0] + (size_t)j->a.extent[1] + (size_t)j->a.extent[2];
    size_t head_bytes = (size_t)heads * sizeof(attn_cuda_head);
    size_t start_bytes = ((size_t)heads + 1) * sizeof(int64_t), used = 0;
    *p = (attn_cuda_plan){0};
    if (!(p->starts = oriel_alloc(start_bytes + head_bytes + (size_t)plans * each * sizeof(attn_segment))))
        return ORIEL_E_NOMEM;
    p->heads = (attn_cuda_head *)(void *)((char *)p->starts + start_bytes);
    p->segments = (attn_segment *)(void *)((char *)p->heads + head_bytes);
    p->starts[0] = 0;
    for (int h = 0; h < heads; h++) {
        attn_cuda_head *q = &p->heads[h];
        int64_t         tiles = 1;
        way             best[3];
        if (h < plans)
            cheapest(best, j, h, step);
        for (int x = 0; x < 3 && h < plans; x++) {
            int at[2] = {0, 0};
            q->from[x] = (int)used;
            while (next_run(&p->segments[used], &best[x], j->a.extent[x], at))
                used++;
            q->count[x] = (int)used - q->from[x];
        }
        if (h >= plans)
            *q = p->heads[0];
        for (int x = 0; x < 3; x++)
            tiles *= q->count[x];
        p->starts[h + 1] = p->starts[h] + tiles;
    }
    p->bytes = start_bytes + head_bytes + used * sizeof(attn_segment);
    return ORIEL_OK;
}

void attn_cuda_plan_free(attn_cuda_plan *p)
{
    oriel_dealloc(p->starts);
    *p = (attn_cuda_plan){0};
}

/* The largest of 16, 8, 4 bytes that every row of a tensor begins at a multiple of, its elements lying
 * side by side; else 0. */
static int alignment(const oriel_tensor *t)
{
    uintptr_t all = (uintptr_t)t->data;
    if (!t->data)
        return 16;
    if (t->stride[t->ndim - 1] != 1 && t->shape[t->ndim - 1] > 1)
        return 0;
    for (int i = 0; i < t->ndim - 1; i++)
        if (t->shape[i] > 1)
            all |= (uintptr_t)t->stride[i] * oriel_dtype_size(t->dtype);
    return all % 16 == 0 ? 16 : all % 8 == 0 ? 8 : all % 4 == 0 ? 4 : 0;
}

static int both(const oriel_tensor *a, const oriel_tensor *b)
{
    return (int)oriel_min(alignment(a), alignment(b));
}

oriel_status attn_cuda_tiles_make(attn_cuda_tiles *t, const attn_job *j, oriel_device *dev, int step)
{
    const oriel_attn_io *io = j->io;
    attn_cuda_copy       copy;
    attn_cuda_plan       plan;
    oriel_status         s = attn_cuda_plan_new(&plan, j, step);
    if (s || (s = attn_cuda_copy_job(&copy, j, dev, plan.bytes)) ||
        (s = cuda_put(dev, copy.more, plan.starts, plan.bytes)))
        goto done;
    char *there = copy.more;
    *t = (attn_cuda_tiles){
        .part = copy.parts,
        .starts = copy.more,
        .plan = (const void *)(there + ((char *)plan.heads - (char *)plan.starts)),
        .segments = (const void *)(there + ((char *)plan.segments - (char *)plan.starts)),
        .k = io->k,
        .v = io->v,
        .extra_k = io->extra_k,
        .extra_v = io->extra_v,
        .text_tiles = oriel_ceil_div(j->a.text, ATTN_TILE),
        .size = (int)oriel_dtype_size(j->a.dtype),
        .q_align = both(&io->q, &io->text_q),
        .k_align = both(&io->k, &io->extra_k),
        .v_align = both(&io->v, &io->extra_v),
        .out_align = both(&io->out, &io->text_out),
    };
    t->each = t->text_tiles * j->a.heads + plan.starts[j->a.heads];
    t->blocks = (unsigned)(t->each * j->a.batch);
    if (t->each > INT_MAX / j->a.batch)
        s = oriel_fail(ORIEL_E_UNSUPPORTED, "attn: %lld tiles of queries for each of a batch of %d are more than a grid has",
                       (long long)t->each, j->a.batch);
done:
    attn_cuda_plan_free(&plan);
    return s;
}

static bool same_inner(const oriel_tensor *a, const oriel_tensor *b)
{
    return !b->data || a->stride[a->ndim - 1] == b->stride[b->ndim - 1];
}

const char *attn_cuda_tiles_reject(const attn_job *j)
{
    const oriel_attn_io *io = j->io;
    return j->a.pad_keys    ? "pad_keys"
           : j->a.cosine    ? "cosine"
           : j->a.text_mode ? "text in windows"
           : j->a.segments  ? "segments"
           : j->a.lists     ? "lists"
           : !same_inner(&io->q, &io->text_q) || !same_inner(&io->k, &io->extra_k) ||
                   !same_inner(&io->v, &io->extra_v)
               ? "extra keys or text whose innermost stride is not the raster's"
               : NULL;
}
