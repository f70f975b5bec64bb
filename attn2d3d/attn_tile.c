/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiles of queries for the vector kernels.
 *
 * A tile is a box of the raster whose queries see nearly the same keys: along each axis it is a run
 * of one residue class, so both ends of the spans grow along it, and its first and last query say
 * which keys somebody sees (first's first to last's last) and which all see (last's first to first's
 * last). The keys between are masked by one bit a query. Where lists say which blocks of keys are seen,
 * tiles keep inside the blocks of queries, and the same is done for one box of keys after the other.
 */
#include "attn2d3d/attn_tile.h"

#include <stdlib.h>

enum { SIDES = 13 };

/* Cut an axis into segments of at most `most` queries, at borders of blocks and strides too if
 * `aligned`; returns how many, and the sum of their keys. */
static int cut(attn_segment *out, const attn_job *j, int h, int x, int most, bool aligned, double *keys, int *widest)
{
    oriel_axis a = attn_axis(j, h, x);
    int        step = a.kind == ORIEL_AXIS_NEIGHBOR && a.dilation ? a.dilation : 1, count = 0;
    int        n = j->a.extent[x], block = j->a.lists ? j->a.q_block[x] : n;
    *keys = 0;
    *widest = 1;
    for (int group = 0; group < step && group < n; group++)
        for (int i = group; i < n;) {
            oriel_span first = attn_span_by(j, a, x, i), last = first;
            int        c = 1, end = oriel_axis_low(n, i - i % block + block);
            for (; c < most && i + c * step < end; c++) {
                oriel_span s = attn_span_by(j, a, x, i + c * step);
                if (aligned && s.first != first.first)
                    break;
                last = s;
            }
            *keys += (last.first - first.first) / step + last.count;
            *widest = c > *widest ? c : *widest;
            if (out)
                out[count] = (attn_segment){i, step, c};
            count++;
            i += c * step;
        }
    return count;
}

typedef struct choice {
    int    most, widest, count;
    bool   aligned;
    double keys;
} choice;

/* Ways to cut an axis that are worth a thought. */
static int choices(choice *c, const attn_job *j, int h, int x)
{
    oriel_axis a = attn_axis(j, h, x);
    const int  side[SIDES] = {1, 2, 3, 4, 6, 8, 16, 32, 64, a.size, (a.size + 1) / 2, a.stride, j->a.lists ? j->a.q_block[x] : 0};
    bool       cuts = a.kind == ORIEL_AXIS_BLOCK || a.kind == ORIEL_AXIS_SPANS || (a.kind == ORIEL_AXIS_NEIGHBOR && a.stride > 1);
    int        found = 0;
    for (int i = 0; i < SIDES; i++)
        for (int aligned = 0; aligned <= cuts; aligned++)
            if (side[i] >= 1 && side[i] <= ATTN_TILE && (side[i] <= j->a.extent[x] || i == 0)) {
                choice *y = &c[found++];
                *y = (choice){.most = side[i], .aligned = aligned};
                y->count = cut(NULL, j, h, x, y->most, y->aligned, &y->keys, &y->widest);
            }
    return found;
}

/* The cheapest box: keys times lanes, and what a tile costs by itself. */
static void plan_head(attn_head_plan *p, const attn_job *j, int h, int lanes)
{
    choice c[3][2 * SIDES], best[3];
    int    n[3];
    double least = 0;
    for (int x = 0; x < 3; x++)
        n[x] = choices(c[x], j, h, x);
    for (int t = 0; t < n[0]; t++)
        for (int y = 0; y < n[1]; y++)
            for (int x = 0; x < n[2]; x++) {
                const choice *u = &c[0][t], *v = &c[1][y], *w = &c[2][x];
                int64_t       queries = (int64_t)u->widest * v->widest * w->widest;
                double        tiles = (double)u->count * v->count * w->count;
                if (queries > ATTN_TILE)
                    continue;
                double cost = (u->keys * v->keys * w->keys + tiles * (j->a.extra + 24)) *
                              (double)(oriel_round_up(queries, lanes) + 8);
                if (least == 0 || cost < least) {
                    least = cost;
                    best[0] = *u, best[1] = *v, best[2] = *w;
                }
            }
    p->tiles = 1;
    for (int x = 0; x < 3; x++) {
        p->count[x] = cut(p->segment[x], j, h, x, best[x].most, best[x].aligned, &best[x].keys, &best[x].widest);
        p->tiles *= p->count[x];
    }
    p->all = p->tiles + oriel_ceil_div(j->a.text, ATTN_TILE);
}

/* One raster's plan, and the room that its tiles need. */
static oriel_status plan_raster(attn_raster_plan *r, int64_t room[3], const attn_job *j, int lanes)
{
    const int *n = j->a.extent;
    int        plans = j->io->axes ? j->a.heads : 1; /* heads alike share one */
    size_t     each = ((size_t)n[0] + (size_t)n[1] + (size_t)n[2]) * sizeof(attn_segment);
    size_t     bytes = (size_t)j->a.heads * sizeof(attn_head_plan);
    r->tiles = 0;
    if (!(r->head = oriel_alloc(bytes + (size_t)plans * each)))
        return ORIEL_E_NOMEM;
    attn_segment *at = (attn_segment *)(void *)((char *)r->head + bytes);
    for (int h = 0; h < j->a.heads; h++) {
        attn_head_plan *q = &r->head[h];
        if (h && !j->io->axes) {
            *q = r->head[0];
        } else {
            for (int x = 0; x < 3; at += n[x++]) {
                oriel_span low = attn_span(j, h, x, 0), high = attn_span(j, h, x, n[x] - 1);
                q->segment[x] = at;
                room[x] = oriel_max(room[x], oriel_max(j->a.keys[x], high.first + high.count - low.first));
                if (j->a.text_mode == ORIEL_TEXT_WINDOWS) /* the last one may be padded */
                    room[x] = oriel_max(room[x], 2 * (int64_t)j->a.keys[x]);
            }
            plan_head(q, j, h, lanes);
        }
        r->tiles += q->all;
    }
    return ORIEL_OK;
}

typedef struct shape { /* of a segment, and which one it is */
    oriel_segment s;
    int           index;
} shape;

static int by_shape(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(oriel_segment));
}

/* A plan for each shape of segments, and how many tiles lie before each segment. */
static oriel_status plan_segments(attn_plan *p, int lanes)
{
    const attn_job *j = p->j;
    size_t          n = (size_t)j->a.segments;
    attn_part      *part = oriel_alloc(sizeof *part);
    shape          *all = oriel_alloc_zero(n, sizeof *all);
    oriel_status    s = attn_starts_new(&p->starts, j);
    p->of = oriel_alloc_zero(n, sizeof *p->of);
    p->first = oriel_alloc_zero(n + 1, sizeof *p->first);
    p->raster = oriel_alloc_zero(n, sizeof *p->raster);
    if (s || !part || !all || !p->of || !p->first || !p->raster)
        s = ORIEL_E_NOMEM;
    for (int i = 0; !s && i < j->a.segments; i++)
        all[i] = (shape){attn_segment_filled(j, j->io->segments[i]), i};
    if (!s)
        qsort(all, n, sizeof *all, by_shape);
    for (int i = 0; !s && i < j->a.segments; i++) {
        int at = all[i].index;
        if (!i || by_shape(&all[i - 1], &all[i])) {
            attn_part_make(part, j, at, p->starts.q[at], p->starts.k[at]);
            s = plan_raster(&p->raster[p->rasters++], p->room, &part->job, lanes);
        }
        p->of[at] = p->rasters - 1;
    }
    for (int i = 0; !s && i < j->a.segments; i++)
        p->first[i + 1] = p->first[i] + p->raster[p->of[i]].tiles;
    if (!s)
        p->tiles = p->first[j->a.segments];
    oriel_dealloc(all);
    oriel_dealloc(part);
    return s;
}

oriel_status attn_plan_new(attn_plan *p, const attn_job *j, int lanes)
{
    oriel_status s;
    *p = (attn_plan){.j = j};
    if (j->a.segments)
        s = plan_segments(p, lanes);
    else if (!(p->raster = oriel_alloc_zero(1, sizeof *p->raster)))
        s = ORIEL_E_NOMEM;
    else {
        p->rasters = 1;
        s = plan_raster(p->raster, p->room, j, lanes);
        p->tiles = p->raster->tiles;
    }
    if (s)
        attn_plan_free(p);
    return s;
}

void attn_plan_free(attn_plan *p)
{
    for (int i = 0; i < p->rasters; i++)
        oriel_dealloc(p->raster[i].head);
    oriel_dealloc(p->raster);
    oriel_dealloc(p->of);
    oriel_dealloc(p->first);
    attn_starts_free(&p->starts);
    *p = (attn_plan){0};
}

/* Keys along axis x in [from, to) and who sees them; `inner` lanes to a place of the segment, the
 * pattern repeated over the tile. */
static void along(attn_tile *t, int x, int inner, int from, int to)
{
    oriel_axis a = attn_axis(t->j, t->h, x);
    oriel_span span[ATTN_TILE];
    uint64_t   lanes[ATTN_TILE]; /* of a place of the segment */
    int        c = t->q[x].count, step = t->q[x].step, count = 0;
    span[0] = attn_span_by(t->j, a, x, t->q[x].first);
    span[c - 1] = attn_span_by(t->j, a, x, t->q[x].first + (c - 1) * step);
    oriel_span low = span[0], high = span[c - 1];
    int        k = low.first, end = high.first + high.count * step, all_end = low.first + low.count * step;
    if (low.first != high.first || end != all_end)
        for (int i = 0; i < c; i++) {
            span[i] = attn_span_by(t->j, a, x, t->q[x].first + i * step);
            lanes[i] = 0;
            for (int l = i * inner; l < t->n; l += c * inner)
                lanes[i] |= (~(uint64_t)0 >> (64 - inner)) << l;
        }
    if (k < from)
        k += (from - k + step - 1) / step * step;
    for (end = oriel_axis_low(end, to); k < end; k += step, count++) {
        uint64_t who = t->everyone;
        if (k < high.first || k >= all_end) {
            who = 0;
            for (int i = 0; i < c; i++)
                if (k >= span[i].first && k < span[i].first + span[i].count * step)
                    who |= lanes[i];
        }
        t->key[x][count] = k;
        t->sees[x][count] = who;
    }
    t->keys[x] = count;
}

static void box_of_keys(attn_tile *t, const int from[3], const int to[3])
{
    for (int x = 2, inner = 1; x >= 0; inner *= t->q[x--].count)
        along(t, x, inner, from[x], to[x]);
}

/* The keys of the next block that the tile's list names; false: there are no more. */
static bool next_box(attn_tile *t)
{
    const oriel_tensor *indices = &t->j->io->indices;
    while (t->list.from < t->list.to) {
        t->box = attn_key_box(t->j, attn_int(indices, t->list.from++ * indices->stride[0]));
        box_of_keys(t, t->box.first, t->box.end);
        if (t->keys[0] && t->keys[1] && t->keys[2] && t->box.valid)
            return true;
    }
    t->keys[0] = 0;
    return false;
}

/* Keys of a row of the tile's box that are there: places in it count in raster order. */
static int keys_there(const attn_tile *t, const int at[3])
{
    int n = t->keys[2], k[3] = {at[0], at[1], 0};
    for (; n; n--) {
        k[2] = t->key[2][n - 1];
        if (attn_box_place(&t->box, k) < t->box.valid)
            break;
    }
    return n;
}

/* Where the rows of a raster tile lie. */
static void places(attn_tile *t)
{
    const oriel_attn_io *io = t->j->io;
    const oriel_tensor  *bias = &io->bias;
    const int           *n = t->j->a.extent;
    bool                 dense = t->j->a.bias == ORIEL_BIAS_DENSE, offset = t->j->a.bias == ORIEL_BIAS_OFFSET;
    int                  l = 0, at[3];
    for (int x = 0; x < 3; x++)
        t->bias_step[x] = offset ? t->q[x].step : 1;
    for (int i = 0; i < t->q[0].count; i++)
        for (int j = 0; j < t->q[1].count; j++)
            for (int k = 0; k < t->q[2].count; k++, l++) {
                at[0] = t->q[0].first + i * t->q[0].step;
                at[1] = t->q[1].first + j * t->q[1].step;
                at[2] = t->q[2].first + k * t->q[2].step;
                t->q_at[l] = attn_at(&io->q, t->b, at, t->h);
                t->out_at[l] = attn_at(&io->out, t->b, at, t->h);
                if (io->lse.data)
                    t->lse_at[l] = attn_at(&io->lse, t->b, at, t->h);
                if (dense)
                    t->bias_at[l] = t->h * bias->stride[0] +
                                    (((int64_t)at[0] * n[1] + at[1]) * n[2] + at[2]) * bias->stride[1];
                if (offset) {
                    t->bias_at[l] = t->h * bias->stride[0];
                    for (int x = 0; x < 3; x++)
                        t->bias_at[l] += (attn_place(t->j, x, at[x]) / t->q[x].step + bias->shape[x + 1] / 2) *
                                         bias->stride[x + 1];
                }
            }
}

/* Up to ATTN_TILE text queries, which see everything. */
static void text_tile(attn_tile *t, int first)
{
    const oriel_attn_io *io = t->j->io;
    t->n = (int)oriel_min(t->j->a.text - first, ATTN_TILE);
    t->everyone = ~(uint64_t)0 >> (64 - t->n);
    for (int x = 0; x < 3; x++) {
        t->keys[x] = t->j->a.keys[x];
        t->window[x] = 0;
        t->bias_step[x] = 1;
        for (int i = 0; i < t->keys[x]; i++) {
            t->key[x][i] = i;
            t->sees[x][i] = t->everyone;
        }
    }
    for (int l = 0; l < t->n; l++) {
        t->q_at[l] = attn_list_at(&io->text_q, t->b, first + l, t->h);
        t->out_at[l] = attn_list_at(&io->text_out, t->b, first + l, t->h);
        if (io->text_lse.data)
            t->lse_at[l] = attn_list_at(&io->text_lse, t->b, first + l, t->h);
    }
}

bool attn_tile_window(attn_tile *t)
{
    const int *n = t->j->a.keys;
    if (t->window[0] >= n[0])
        return false;
    for (int x = 0; x < 3; x++) {
        oriel_span s = attn_window(t->j, t->h, x, t->window[x]);
        t->keys[x] = s.count;
        for (int i = 0; i < s.count; i++) {
            t->key[x][i] = s.first + i;
            t->sees[x][i] = t->everyone;
        }
    }
    for (int x = 2; x >= 0; x--) { /* from here to the window after this one, X first */
        t->window[x] = t->key[x][0] + t->keys[x];
        if (t->window[x] < n[x] || x == 0)
            break;
        t->window[x] = 0;
    }
    return true;
}

static bool in_place(const oriel_tensor *t)
{
    return t->dtype == ORIEL_F32 && t->stride[t->ndim - 1] == 1;
}

/* A row of floats: in place, or a copy of it, of length 1 if `unit`. Without room for one: in place, of
 * whatever type. */
static const float *row(const oriel_tensor *t, int64_t at, int n, float *copy, bool unit)
{
    if (!copy || (in_place(t) && !unit))
        return (const float *)(const void *)((const char *)t->data + at * (int64_t)oriel_dtype_size(t->dtype));
    attn_load(copy, t, at, n);
    if (unit)
        attn_normalize(copy, n);
    return copy;
}

/* What stands for keys beyond the raster. */
static void pad_rows(attn_tile *t)
{
    const oriel_tensor *k = &t->j->io->pad_k, *v = &t->j->io->pad_v;
    int                 d = t->j->a.dim, dv = t->j->a.dim_v;
    memset(t->pad, 0, (size_t)(d + dv) * sizeof *t->pad);
    if (!k->data)
        return;
    attn_load(t->pad, k, t->kv * k->stride[0], d);
    attn_load(t->pad + d, v, t->kv * v->stride[0], dv);
    if (t->j->a.cosine)
        attn_normalize(t->pad, d);
}

/* The raster of tile `item` of a batch item; the item in its own count. */
static const attn_raster_plan *raster_of(attn_tile *t, const attn_plan *p, int64_t *item)
{
    if (!p->of) {
        t->j = p->j;
        return p->raster;
    }
    int s = attn_starts_find(p->first, p->j->a.segments, *item);
    *item -= p->first[s];
    if (t->part_of != s + 1)
        attn_part_make(&t->part, p->j, s, p->starts.q[s], p->starts.k[s]);
    t->part_of = s + 1;
    t->j = &t->part.job;
    return &p->raster[p->of[s]];
}

void attn_tile_make(attn_tile *t, const attn_plan *p, int64_t item)
{
    static const int      least[3] = {INT_MIN, INT_MIN, INT_MIN}, most[3] = {INT_MAX, INT_MAX, INT_MAX};
    const attn_head_plan *q;
    t->b = (int)(item / p->tiles);
    item %= p->tiles;
    q = raster_of(t, p, &item)->head;
    for (t->h = 0; item >= q->all; t->h++)
        item -= q++->all;
    t->kv = t->h / (t->j->a.heads / t->j->a.kv_heads);
    t->text = item >= q->tiles;
    t->listed = t->j->a.lists && !t->text;
    t->in_place = in_place(&t->j->io->k) && in_place(&t->j->io->v) && !t->j->a.cosine;
    if (t->j->a.pad_keys)
        pad_rows(t);
    if (t->text) {
        text_tile(t, (int)(item - q->tiles) * ATTN_TILE);
        return;
    }
    t->q[0] = q->segment[0][item / q->count[2] / q->count[1]];
    t->q[1] = q->segment[1][item / q->count[2] % q->count[1]];
    t->q[2] = q->segment[2][item % q->count[2]];
    t->n = t->q[0].count * t->q[1].count * t->q[2].count;
    t->everyone = ~(uint64_t)0 >> (64 - t->n);
    places(t);
    if (t->listed) {
        const int *side = t->j->a.q_block, *n = t->j->q_blocks;
        t->list = attn_list_of(t->j, t->b, t->h,
                               ((int64_t)(t->q[0].first / side[0]) * n[1] + t->q[1].first / side[1]) * n[2] +
                                   t->q[2].first / side[2]);
        t->keys[0] = 0; /* the first box comes when it is asked for */
    } else
        box_of_keys(t, least, most);
}

/* Distance in the bias of neighbours along an axis. */
static void key_bias(const attn_tile *t, int64_t each[3])
{
    const oriel_tensor *b = &t->j->io->bias;
    const int          *n = t->j->a.keys;
    for (int x = 0; x < 3; x++)
        each[x] = t->text || t->j->a.bias == ORIEL_BIAS_NONE ? 0
                  : t->j->a.bias == ORIEL_BIAS_OFFSET        ? b->stride[x + 1]
                  : x == 2                                   ? b->stride[2]
                  : x == 1                                   ? n[2] * b->stride[2]
                                                             : (int64_t)n[1] * n[2] * b->stride[2];
}

/* Keys of a row of the tile from i on, as many as fit; `sees` and row_bias are what they share. */
typedef struct key_row {
    int      at[3], i, last;
    uint64_t sees;
    int64_t  bias_at, bias;
} key_row;

/* Nothing to copy, nothing beyond the raster. */
static void take_row_in_place(attn_step *s, const attn_tile *t, const key_row *r)
{
    const oriel_tensor *k = &t->j->io->k, *v = &t->j->io->v;
    int64_t             size = (int64_t)oriel_dtype_size(k->dtype), each = k->stride[3] * size, each_v = v->stride[3] * size;
    const char         *key = (const char *)k->data + attn_at(k, t->b, r->at, t->kv) * size;
    const char         *value = (const char *)v->data + attn_at(v, t->b, r->at, t->kv) * size;
    int                 step = t->bias_step[2], n = s->n, end = oriel_axis_low(n + r->last - r->i, ATTN_KEYS);
    const int          *x = t->key[2] + r->i - n;
    const uint64_t     *sees = t->sees[2] + r->i - n;
    for (; n < end; n++) {
        s->k[n] = (const float *)(const void *)(key + x[n] * each);
        s->v[n] = (const float *)(const void *)(value + x[n] * each_v);
        s->sees[n] = r->sees & sees[n];
        s->bias_at[n] = r->bias_at + x[n] / step * r->bias;
    }
    s->n = end;
}

static void take_row(attn_step *s, const attn_tile *t, float *copy, const key_row *r)
{
    const attn_job     *j = t->j;
    const oriel_tensor *k = &j->io->k, *v = &j->io->v;
    const int          *m = j->a.keys;
    int                 d = j->a.dim, dv = j->a.dim_v;
    int64_t             k_at = attn_at(k, t->b, r->at, t->kv), v_at = attn_at(v, t->b, r->at, t->kv);
    bool pad = j->a.pad_keys, beyond = pad && (r->at[0] < 0 || r->at[0] >= m[0] || r->at[1] < 0 || r->at[1] >= m[1]);
    for (int i = r->i; s->n < ATTN_KEYS && i < r->last; i++, s->n++) {
        int    x = t->key[2][i], n = s->n;
        float *to = copy ? copy + (ptrdiff_t)n * (d + dv) : NULL;
        if (pad && (beyond || x < 0 || x >= m[2])) {
            s->k[n] = t->pad;
            s->v[n] = t->pad + d;
        } else {
            s->k[n] = row(k, k_at + x * k->stride[3], d, to, j->a.cosine);
            s->v[n] = row(v, v_at + x * v->stride[3], dv, to ? to + d : NULL, false);
        }
        s->sees[n] = r->sees & t->sees[2][i];
        s->bias_at[n] = r->bias_at + x / t->bias_step[2] * r->bias;
    }
}

static void take_extra(attn_step *s, const attn_tile *t, float *copy)
{
    const attn_job     *j = t->j;
    const oriel_tensor *k = &j->io->extra_k, *v = &j->io->extra_v;
    int                 d = j->a.dim, dv = j->a.dim_v;
    for (; s->n < ATTN_KEYS && s->extra < j->a.extra; s->extra++, s->n++) {
        float *to = copy ? copy + (ptrdiff_t)s->n * (d + dv) : NULL;
        s->k[s->n] = row(k, attn_list_at(k, t->b, s->extra, t->kv), d, to, j->a.cosine);
        s->v[s->n] = row(v, attn_list_at(v, t->b, s->extra, t->kv), dv, to ? to + d : NULL, false);
        s->sees[s->n] = t->everyone;
    }
}

void attn_step_next(attn_step *s, attn_tile *t, float *copy)
{
    int     *i = s->next;
    int64_t  bias[3];
    key_bias(t, bias);
    s->n = s->raster = 0;
    while (s->n < ATTN_KEYS) {
        if (i[0] == t->keys[0]) {
            if (!t->listed)
                break;
            i[0] = i[1] = i[2] = 0;
            if (!next_box(t))
                break;
        }
        key_row r = {.at = {t->key[0][i[0]], t->key[1][i[1]]}, .i = i[2], .sees = t->sees[0][i[0]] & t->sees[1][i[1]],
                     .bias = bias[2]};
        r.bias_at = r.at[0] / t->bias_step[0] * bias[0] + r.at[1] / t->bias_step[1] * bias[1];
        r.last = t->listed && t->box.valid != INT_MAX ? keys_there(t, r.at) : t->keys[2];
        int before = s->n;
        if (!t->j->a.pad_keys && (t->in_place || !copy))
            take_row_in_place(s, t, &r);
        else
            take_row(s, t, copy, &r);
        s->raster = s->n;
        i[2] += s->n - before;
        if (i[2] < r.last)
            return;
        i[2] = 0;
        if (++i[1] == t->keys[1])
            i[1] = 0, i[0]++;
    }
    if (i[0] == t->keys[0] && !(t->listed && t->list.from < t->list.to))
        take_extra(s, t, copy);
}
