/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiles of queries for the vector kernels.
 *
 * A tile is a box of the raster whose queries see nearly the same keys: along each axis it is a run
 * of one residue class, so both ends of the spans grow along it, and its first and last query say
 * which keys somebody sees (first's first to last's last) and which all see (last's first to first's
 * last). The keys between are masked by one bit a query.
 */
#include "attn2d3d/attn_tile.h"

enum { SIDES = 12 };

/* Cut an axis into segments of at most `most` queries, at borders of blocks and strides too if
 * `aligned`; returns how many, and the sum of their keys. */
static int cut(attn_segment *out, oriel_axis a, int n, int most, bool aligned, double *keys, int *widest)
{
    int step = a.kind == ORIEL_AXIS_NEIGHBOR && a.dilation ? a.dilation : 1, count = 0;
    *keys = 0;
    *widest = 1;
    for (int group = 0; group < step && group < n; group++)
        for (int i = group; i < n;) {
            oriel_span first = oriel_axis_span(a, n, i), last = first;
            int        c = 1;
            for (; c < most && i + c * step < n; c++) {
                oriel_span s = oriel_axis_span(a, n, i + c * step);
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
static int choices(choice *c, oriel_axis a, int n)
{
    const int side[SIDES] = {1, 2, 3, 4, 6, 8, 16, 32, 64, a.size, (a.size + 1) / 2, a.stride};
    bool      cuts = a.kind == ORIEL_AXIS_BLOCK || (a.kind == ORIEL_AXIS_NEIGHBOR && a.stride > 1);
    int       found = 0;
    for (int i = 0; i < SIDES; i++)
        for (int aligned = 0; aligned <= cuts; aligned++)
            if (side[i] >= 1 && side[i] <= ATTN_TILE && (side[i] <= n || i == 0)) {
                choice *x = &c[found++];
                *x = (choice){.most = side[i], .aligned = aligned};
                x->count = cut(NULL, a, n, x->most, x->aligned, &x->keys, &x->widest);
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
        n[x] = choices(c[x], attn_axis(j, h, x), j->a.extent[x]);
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
        p->count[x] = cut(p->segment[x], attn_axis(j, h, x), j->a.extent[x], best[x].most, best[x].aligned,
                          &best[x].keys, &best[x].widest);
        p->tiles *= p->count[x];
    }
    p->all = p->tiles + oriel_ceil_div(j->a.text, ATTN_TILE);
}

oriel_status attn_plan_new(attn_plan *p, const attn_job *j, int lanes)
{
    const int    *n = j->a.extent;
    int           plans = j->io->axes ? j->a.heads : 1; /* heads alike share one */
    size_t        each = ((size_t)n[0] + (size_t)n[1] + (size_t)n[2]) * sizeof(attn_segment);
    size_t        bytes = (size_t)j->a.heads * sizeof(attn_head_plan);
    *p = (attn_plan){.j = j};
    if (!(p->memory = oriel_alloc(bytes + (size_t)plans * each)))
        return ORIEL_E_NOMEM;
    p->head = p->memory;
    attn_segment *room = (attn_segment *)(void *)((char *)p->memory + bytes);
    for (int h = 0; h < j->a.heads; h++) {
        attn_head_plan *q = &p->head[h];
        if (h && !j->io->axes) {
            *q = p->head[0];
        } else {
            for (int x = 0; x < 3; room += n[x++])
                q->segment[x] = room;
            plan_head(q, j, h, lanes);
        }
        p->tiles += q->all;
    }
    return ORIEL_OK;
}

void attn_plan_free(attn_plan *p)
{
    oriel_dealloc(p->memory);
    *p = (attn_plan){0};
}

/* Keys along axis x and who sees them; `inner` lanes to a place of the segment, the pattern repeated
 * over the tile. */
static void along(attn_tile *t, int x, int inner)
{
    oriel_axis axis = attn_axis(t->j, t->h, x);
    oriel_span span[ATTN_TILE];
    uint64_t   lanes[ATTN_TILE]; /* of a place of the segment */
    int        n = t->j->a.extent[x], c = t->q[x].count, step = t->q[x].step, count = 0;
    span[0] = oriel_axis_span(axis, n, t->q[x].first);
    span[c - 1] = oriel_axis_span(axis, n, t->q[x].first + (c - 1) * step);
    oriel_span low = span[0], high = span[c - 1];
    int        end = high.first + high.count * step, all_end = low.first + low.count * step;
    if (low.first != high.first || end != all_end)
        for (int i = 0; i < c; i++) {
            span[i] = oriel_axis_span(axis, n, t->q[x].first + i * step);
            lanes[i] = 0;
            for (int l = i * inner; l < t->n; l += c * inner)
                lanes[i] |= (~(uint64_t)0 >> (64 - inner)) << l;
        }
    for (int k = low.first; k < end; k += step, count++) {
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
                        t->bias_at[l] += (at[x] / t->q[x].step + bias->shape[x + 1] / 2) * bias->stride[x + 1];
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
        t->keys[x] = t->j->a.extent[x];
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

void attn_tile_make(attn_tile *t, const attn_plan *p, int64_t item)
{
    const attn_head_plan *q = p->head;
    t->j = p->j;
    t->b = (int)(item / p->tiles);
    item %= p->tiles;
    for (t->h = 0; item >= q->all; t->h++)
        item -= q++->all;
    t->kv = t->h / (t->j->a.heads / t->j->a.kv_heads);
    t->text = item >= q->tiles;
    if (t->text) {
        text_tile(t, (int)(item - q->tiles) * ATTN_TILE);
        return;
    }
    t->q[0] = q->segment[0][item / q->count[2] / q->count[1]];
    t->q[1] = q->segment[1][item / q->count[2] % q->count[1]];
    t->q[2] = q->segment[2][item % q->count[2]];
    t->n = t->q[0].count * t->q[1].count * t->q[2].count;
    t->everyone = ~(uint64_t)0 >> (64 - t->n);
    for (int x = 2, inner = 1; x >= 0; inner *= t->q[x--].count)
        along(t, x, inner);
    places(t);
}

/* A row of floats: in place, or a copy of it. Without room for one: in place, of whatever type. */
static const float *row(const oriel_tensor *t, int64_t at, int n, float *copy)
{
    if (!copy)
        return (const float *)(const void *)((const char *)t->data + at * (int64_t)oriel_dtype_size(t->dtype));
    if (t->dtype == ORIEL_F32 && t->stride[t->ndim - 1] == 1)
        return (const float *)t->data + at;
    attn_load(copy, t, at, n);
    return copy;
}

/* Distance in the bias of neighbours along an axis. */
static void key_bias(const attn_tile *t, int64_t each[3])
{
    const oriel_tensor *b = &t->j->io->bias;
    const int          *n = t->j->a.extent;
    for (int x = 0; x < 3; x++)
        each[x] = t->text || t->j->a.bias == ORIEL_BIAS_NONE ? 0
                  : t->j->a.bias == ORIEL_BIAS_OFFSET        ? b->stride[x + 1]
                  : x == 2                                   ? b->stride[2]
                  : x == 1                                   ? n[2] * b->stride[2]
                                                             : (int64_t)n[1] * n[2] * b->stride[2];
}

void attn_step_next(attn_step *s, const attn_tile *t, float *copy)
{
    const attn_job     *j = t->j;
    const oriel_tensor *k = &j->io->k, *v = &j->io->v;
    int                 d = j->a.dim, dv = j->a.dim_v, each = d + dv, *i = s->next;
    int64_t             bias[3];
    key_bias(t, bias);
    s->n = s->raster = 0;
    while (s->n < ATTN_KEYS && i[0] < t->keys[0]) {
        int      at[3] = {t->key[0][i[0]], t->key[1][i[1]], 0};
        uint64_t sees = t->sees[0][i[0]] & t->sees[1][i[1]];
        int64_t  row_bias = at[0] / t->bias_step[0] * bias[0] + at[1] / t->bias_step[1] * bias[1];
        int      step = t->bias_step[2];
        int64_t  k_at = attn_at(k, t->b, at, t->kv), v_at = attn_at(v, t->b, at, t->kv);
        for (; s->n < ATTN_KEYS && i[2] < t->keys[2]; i[2]++, s->n++) {
            int      x = t->key[2][i[2]], n = s->n;
            float   *to = copy ? copy + (ptrdiff_t)n * each : NULL;
            s->k[n] = row(k, k_at + x * k->stride[3], d, to);
            s->v[n] = row(v, v_at + x * v->stride[3], dv, to ? to + d : NULL);
            s->sees[n] = sees & t->sees[2][i[2]];
            s->bias_at[n] = row_bias + x / step * bias[2];
        }
        s->raster = s->n;
        if (i[2] < t->keys[2])
            return;
        i[2] = 0;
        if (++i[1] == t->keys[1])
            i[1] = 0, i[0]++;
    }
    for (; s->n < ATTN_KEYS && s->extra < j->a.extra; s->extra++, s->n++) {
        float              *to = copy ? copy + (ptrdiff_t)s->n * each : NULL;
        const oriel_tensor *ek = &j->io->extra_k, *ev = &j->io->extra_v;
        s->k[s->n] = row(ek, attn_list_at(ek, t->b, s->extra, t->kv), d, to);
        s->v[s->n] = row(ev, attn_list_at(ev, t->b, s->extra, t->kv), dv, to ? to + d : NULL);
        s->sees[s->n] = t->everyone;
    }
}
