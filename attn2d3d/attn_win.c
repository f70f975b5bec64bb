/* SPDX-License-Identifier: Apache-2.0 */
/* Windows: an axis cut into parts, shapes with their rows and tables of bias. See attn_win.h. */
#include "attn2d3d/attn_win.h"

static const float LOG2E = 1.442695041f;

static win_kind kind_of(const attn_job *j, int h, int x, int i, int step)
{
    oriel_span s = attn_span(j, h, x, i);
    int        n = j->a.keys[x], pool = j->a.pool[x], end = s.first + s.count * s.step;
    win_kind   k = {.queries = 1, .keys = s.count, .step = step};
    k.before = s.first < 0 ? oriel_axis_low(-s.first, s.count) : 0; /* such axes have a step of 1 */
    k.inside = s.count - k.before - (end > n && s.step == 1 ? oriel_axis_low(end - n, s.count) : 0);
    k.off = (attn_place(j, x, i) - s.first) / step;
    k.phase = (i + j->a.at[x]) % pool;
    return k;
}

/* Cut axis x into runs of queries with equal spans; false: of too many kinds. part may be NULL. */
static bool cut(win_axis *c, const attn_job *j, int h, int x)
{
    oriel_axis a = attn_axis(j, h, x);
    int        step = a.kind == ORIEL_AXIS_NEIGHBOR && a.dilation ? a.dilation : 1, n = j->a.extent[x];
    *c = (win_axis){.part = c->part};
    for (int group = 0; group < step; group++)
        for (int i = group; i < n;) {
            oriel_span s = attn_span(j, h, x, i);
            win_kind   kind = kind_of(j, h, x, i, step);
            int        k = 0, *count = &kind.queries;
            for (; *count < WIN_QUERIES && i + *count * step < n; ++*count) {
                oriel_span next = attn_span(j, h, x, i + *count * step);
                if (next.first != s.first || next.count != s.count)
                    break;
            }
            while (k < c->kinds && memcmp(&c->kind[k], &kind, sizeof kind) != 0)
                k++;
            if (k == WIN_KINDS)
                return false;
            c->kind[k] = kind;
            c->kinds = oriel_axis_high(c->kinds, k + 1);
            if (c->part)
                c->part[c->count] = (win_part){i, s.first, k};
            c->count++;
            c->keys += s.count;
            c->most_keys = oriel_axis_high(c->most_keys, s.count);
            c->most_queries = oriel_axis_high(c->most_queries, *count);
            i += *count * step;
        }
    return true;
}

/* The kinds of a shape. o: the outermost axis with more than one token, along which bias slides; or 3. */
typedef struct kinds {
    win_kind x[3];
    int      o, queries, keys;
    int      inner_queries, inner_keys, slides; /* rows and their runs */
} kinds;

static kinds kinds_of(const win_set *s, const attn_job *j, int i)
{
    const win_axis *a = s->axis;
    kinds k = {.x = {a[0].kind[i / a[2].kinds / a[1].kinds], a[1].kind[i / a[2].kinds % a[1].kinds],
                     a[2].kind[i % a[2].kinds]}, .queries = 1, .keys = 1};
    for (int x = 0; x < 3; x++) {
        k.queries *= k.x[x].queries;
        k.keys *= k.x[x].keys;
    }
    while (k.o < 2 && k.x[k.o].keys == 1 && k.x[k.o].queries == 1)
        k.o++;
    if (j->a.pool[0] > 1 || j->a.pool[1] > 1 || j->a.pool[2] > 1)
        k.o = 3;
    k.inner_queries = k.o == 3 ? k.queries : k.queries / k.x[k.o].queries;
    k.inner_keys = k.o == 3 ? k.keys : k.keys / k.x[k.o].keys;
    k.slides = k.o == 3 ? 1 : k.x[k.o].queries + k.x[k.o].keys - 1;
    return k;
}

static int64_t table_size(const kinds *k)
{
    return (int64_t)k->inner_keys * k->slides * k->inner_queries;
}

static int shapes(const win_set *s)
{
    return s->axis[0].kinds * s->axis[1].kinds * s->axis[2].kinds;
}

static int64_t zeros(const win_set *s) /* a run of bias for any window */
{
    return (int64_t)s->axis[0].most_queries * s->axis[1].most_queries * s->axis[2].most_queries + WIN_PAD;
}

/* Floats of a head's tables. */
static int64_t table_floats(const win_set *s, const attn_job *j)
{
    int64_t sum = zeros(s);
    for (int i = 0; j->a.bias == ORIEL_BIAS_OFFSET && i < shapes(s); i++) {
        kinds k = kinds_of(s, j, i);
        sum += table_size(&k);
    }
    return sum + WIN_PAD;
}

const char *win_reject(const attn_job *j)
{
    int     sets = j->io->axes ? j->a.heads : 1;
    int64_t tables = 0;
    if (j->a.text || j->a.segments || j->a.lists || j->a.bias == ORIEL_BIAS_DENSE)
        return "text queries, segments, lists or a dense bias";
    for (int h = 0; h < sets; h++) {
        win_set s = {0};
        double  most = 1, keys = 1, windows = 1, tokens = (double)j->tokens;
        for (int x = 0; x < 3; x++) {
            if (!cut(&s.axis[x], j, h, x))
                return "windows of many kinds";
            most *= s.axis[x].most_keys;
            keys *= (double)s.axis[x].keys;
            windows *= s.axis[x].count;
        }
        if (most + j->a.extra > WIN_KEYS)
            return "windows of more than 1024 keys";
        if (keys > tokens * (tokens < 16 * windows ? 1 : 4)) /* windows that slide */
            return "few queries see the same keys";
        tables += table_floats(&s, j) * (j->io->axes ? 1 : j->a.heads);
        if (tables > WIN_TABLES)
            return "too many numbers of bias";
    }
    return NULL;
}

/* Rows of a raster tensor from the window's first on; keys or queries. */
static void rows(int64_t *out, const kinds *k, const oriel_tensor *t, bool keys)
{
    int n[3], i = 0, at[3];
    for (int x = 0; x < 3; x++)
        n[x] = keys ? k->x[x].keys : k->x[x].queries;
    for (at[0] = 0; at[0] < n[0]; at[0]++)
        for (at[1] = 0; at[1] < n[1]; at[1]++)
            for (at[2] = 0; at[2] < n[2]; at[2]++) {
                int64_t *to = &out[i++];
                *to = 0;
                for (int x = 0; x < 3 && *to != WIN_BEYOND; x++)
                    *to = keys && (unsigned)(at[x] - k->x[x].before) >= (unsigned)k->x[x].inside
                              ? WIN_BEYOND
                              : *to + at[x] * k->x[x].step * t->stride[x + 1];
            }
}

/* Where keys' runs begin in a table at `table`; extra keys have the zeros at 0. */
static void runs(int32_t *out, const kinds *k, const attn_job *j, int64_t table)
{
    bool bias = j->a.bias == ORIEL_BIAS_OFFSET;
    int  keys_o = k->o == 3 ? 1 : k->x[k->o].keys;
    for (int i = 0; i < k->keys + j->a.extra; i++) {
        int ko = i / k->inner_keys, ki = i % k->inner_keys;
        out[i] = bias && i < k->keys
                     ? (int32_t)(table + (ki * k->slides + keys_o - 1 - ko) * (int64_t)k->inner_queries)
                     : 0;
    }
}

/* The table of a shape and head: loops over inner keys, slides, inner queries. */
static void fill(float *to, const kinds *k, const attn_job *j, int h)
{
    const oriel_tensor *t = &j->io->bias;
    const int          *pool = j->a.pool;
    int64_t             at = h * t->stride[0];
    int                 n[3] = {1, 1, 1}, m[3] = {1, 1, 1};
    for (int x = 0; x < 3; x++) {
        at += (k->x[x].off + t->shape[x + 1] / 2 - (x == k->o ? k->x[x].keys - 1 : 0)) * t->stride[x + 1];
        if (x > k->o || k->o == 3)
            n[x] = k->x[x].keys, m[x] = k->x[x].queries;
    }
    for (int i = 0; i < n[0] * n[1] * n[2]; i++)
        for (int d = 0; d < k->slides; d++)
            for (int u = 0; u < m[0]; u++)
                for (int v = 0; v < m[1]; v++) {
                    const float *from = (const float *)t->data + at + (k->o < 3 ? d * t->stride[k->o + 1] : 0) +
                                        ((k->x[0].phase + u) / pool[0] - i / n[2] / n[1]) * t->stride[1] +
                                        ((k->x[1].phase + v) / pool[1] - i / n[2] % n[1]) * t->stride[2] -
                                        i % n[2] * t->stride[3];
                    if (pool[2] == 1 && t->stride[3] == 1)
                        for (int w = 0; w < m[2]; w++)
                            to[w] = from[w] * LOG2E;
                    else
                        for (int w = 0; w < m[2]; w++)
                            to[w] = from[(k->x[2].phase + w) / pool[2] * t->stride[3]] * LOG2E;
                    to += m[2];
                }
}

static oriel_status set_new(win_set *s, const attn_job *j, int h)
{
    const oriel_attn_io *io = j->io;
    const int           *n = j->a.extent;
    int64_t              lists = 0;
    win_part            *part = oriel_alloc_zero((size_t)n[0] + (size_t)n[1] + (size_t)n[2], sizeof *part);
    if (!(s->memory = part))
        return ORIEL_E_NOMEM;
    s->windows = 1;
    for (int x = 0; x < 3; part += n[x++]) {
        s->axis[x].part = part;
        bool few = cut(&s->axis[x], j, h, x);
        assert(few); /* see win_reject() */
        (void)few;
        s->windows *= s->axis[x].count;
    }
    s->floats = table_floats(s, j);
    for (int i = 0; i < shapes(s); i++) {
        kinds k = kinds_of(s, j, i);
        lists += 3 * (int64_t)k.queries + 3 * (int64_t)k.keys + j->a.extra; /* runs take half of their room */
    }
    s->shape = oriel_alloc((size_t)shapes(s) * sizeof *s->shape + (size_t)lists * sizeof(int64_t));
    if (!s->shape)
        return ORIEL_E_NOMEM;
    int64_t *room = (int64_t *)(void *)(s->shape + shapes(s)), table = zeros(s);
    for (int i = 0; i < shapes(s); i++) {
        kinds      k = kinds_of(s, j, i);
        win_shape *w = &s->shape[i];
        *w = (win_shape){.queries = k.queries, .keys = k.keys, .q = room};
        w->out = w->q + k.queries;
        w->lse = w->out + k.queries;
        w->k = w->lse + k.queries;
        w->v = w->k + k.keys;
        w->bias = (int32_t *)(void *)(w->v + k.keys);
        room = w->v + 2 * k.keys + j->a.extra;
        rows(w->q, &k, &io->q, false);
        rows(w->out, &k, &io->out, false);
        rows(w->lse, &k, &io->lse, false);
        rows(w->k, &k, &io->k, true);
        rows(w->v, &k, &io->v, true);
        runs(w->bias, &k, j, table);
        for (int x = 0; x < 3; x++)
            w->padded |= k.x[x].inside < k.x[x].keys;
        table += table_size(&k);
    }
    return ORIEL_OK;
}

/* Tables of all heads. */
static oriel_status tables_new(win_plan *p)
{
    const attn_job *j = p->j;
    int64_t         floats = 0;
    for (int h = 0; h < j->a.heads; h++)
        floats += p->set[p->sets == 1 ? 0 : h].floats;
    if (!(p->tables = oriel_alloc((size_t)floats * sizeof(float))))
        return ORIEL_E_NOMEM;
    float *to = p->tables;
    for (int h = 0; h < j->a.heads; h++) {
        win_set *s = &p->set[p->sets == 1 ? 0 : h];
        if (h < p->sets)
            s->tables = to;
        memset(to, 0, (size_t)s->floats * sizeof(float));
        float *table = to + zeros(s);
        for (int i = 0; j->a.bias == ORIEL_BIAS_OFFSET && i < shapes(s); i++) {
            kinds k = kinds_of(s, j, i);
            fill(table, &k, j, h);
            table += table_size(&k);
        }
        to += s->floats;
    }
    return ORIEL_OK;
}

oriel_status win_plan_new(win_plan *p, const attn_job *j)
{
    oriel_status s = ORIEL_OK;
    *p = (win_plan){.j = j, .sets = j->io->axes ? j->a.heads : 1};
    if (!(p->set = oriel_alloc_zero((size_t)p->sets, sizeof *p->set)))
        return ORIEL_E_NOMEM;
    for (int h = 0; !s && h < p->sets; h++) {
        if ((s = set_new(&p->set[h], j, h)))
            break;
        p->items += p->set[h].windows * (p->sets == 1 ? j->a.heads : 1);
        for (int i = 0; i < shapes(&p->set[h]); i++) {
            p->queries = oriel_axis_high(p->queries, p->set[h].shape[i].queries);
            p->keys = oriel_axis_high(p->keys, p->set[h].shape[i].keys + j->a.extra);
        }
    }
    if (!s)
        s = tables_new(p);
    if (s)
        win_plan_free(p);
    return s;
}

void win_plan_free(win_plan *p)
{
    for (int h = 0; p->set && h < p->sets; h++) {
        oriel_dealloc(p->set[h].memory);
        oriel_dealloc(p->set[h].shape);
    }
    oriel_dealloc(p->set);
    oriel_dealloc(p->tables);
    *p = (win_plan){0};
}

win_item win_item_at(const win_plan *p, int64_t item)
{
    const attn_job      *j = p->j;
    const oriel_attn_io *io = j->io;
    const win_set       *s = p->set;
    win_item             w = {.b = (int)(item / p->items)};
    int                  q[3], k[3], kind[3];
    item %= p->items;
    if (p->sets == 1) { /* heads of a window one after another: their rows are neighbours */
        w.h = (int)(item % j->a.heads);
        item /= j->a.heads;
    } else
        for (; item >= s->windows; s++, w.h++)
            item -= s->windows;
    w.kv = w.h / (j->a.heads / j->a.kv_heads);
    for (int x = 2; x >= 0; x--) {
        const win_axis *a = &s->axis[x];
        const win_part *part = &a->part[item % a->count];
        item /= a->count;
        q[x] = part->q, k[x] = part->k, kind[x] = part->kind;
    }
    w.shape = &s->shape[(kind[0] * s->axis[1].kinds + kind[1]) * s->axis[2].kinds + kind[2]];
    w.bias = s->tables + (p->sets == 1 ? w.h * s->floats : 0);
    w.q = attn_at(&io->q, w.b, q, w.h);
    w.k = attn_at(&io->k, w.b, k, w.kv);
    w.v = attn_at(&io->v, w.b, k, w.kv);
    w.out = attn_at(&io->out, w.b, q, w.h);
    w.lse = io->lse.data ? attn_at(&io->lse, w.b, q, w.h) : 0;
    return w;
}
