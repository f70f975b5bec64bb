/* SPDX-License-Identifier: Apache-2.0 */
/* checkattn: a problem's tensors, among poison. */
#include <stdlib.h>

#include "checkattn.h"
#include "core/device.h"
#include "hash.h"
#include "na_hash.h"

oriel_device *checkattn_device[THREADS];

/* ---- tensors among poison ----------------------------------------------------------------- */

static const uint32_t poison32 = 0x7fc0dead;
static const uint16_t poison16 = 0x7fad; /* NaN in f16 and bf16 */

static void poison(void *p, size_t bytes, oriel_dtype t)
{
    size_t size = oriel_dtype_size(t);
    for (size_t i = 0; i < bytes; i += size)
        memcpy((char *)p + i, size == 4 ? (const void *)&poison32 : &poison16, size);
}

/* Element e of the packed order as an offset into t. */
static int64_t place(const oriel_tensor *t, int64_t e)
{
    int64_t at = 0;
    for (int i = t->ndim - 1; i >= 0; i--) {
        at += e % t->shape[i] * t->stride[i];
        e /= t->shape[i];
    }
    return at;
}

/* Strides that differ everywhere: gaps between rows of every axis, some axes backwards (not where rows begin
 * at multiples of 8: Hopper's copy engine loads those, and only forwards). Where they begin at multiples of 4, that
 * is so of tokens, and every other head, from the first on, lies 2 behind: as packed heads of 30 do. */
static view view_new(problem *p, oriel_dtype dtype, int ndim, const int64_t *shape)
{
    view    v = {.t = oriel_tensor_of(NULL, dtype, ndim, shape)};
    int64_t all = p->wide ? draw(p, 1, 3) : 1, first = 0, align = p->align ? p->align : 1;
    for (int i = ndim - 1; i >= 0; i--) {
        bool back = (i < ndim - 1 || p->wide) && draw(p, 0, 5) == 0 && align < 8;
        v.t.stride[i] = back ? -all : all;
        first += back ? (shape[i] - 1) * all : 0;
        all = oriel_round_up(all * shape[i] + draw(p, 1, 6), align);
        all += align == 4 && ndim == 6 && i == 5 ? 2 : 0;
    }
    first = oriel_round_up(first + 17, align) + (align == 4 && ndim == 6 ? 2 : 0);
    size_t size = oriel_dtype_size(dtype);
    v.bytes = (size_t)(all + 40 + align) * size;
    v.memory = malloc(v.bytes);
    if (!v.memory)
        abort();
    poison(v.memory, v.bytes, dtype);
    v.t.data = v.memory + (size_t)first * size;
    return v;
}

static void put(const view *v, int64_t e, float x)
{
    int64_t at = place(&v->t, e);
    if (v->t.dtype == ORIEL_F32)
        ((float *)v->t.data)[at] = x;
    else if (v->t.dtype == ORIEL_I32)
        ((int32_t *)v->t.data)[at] = (int32_t)x;
    else /* exact: the test's numbers have 8 bits at most */
        ((uint16_t *)v->t.data)[at] = v->t.dtype == ORIEL_F16 ? oriel_f32_to_f16(x) : oriel_f32_to_bf16(x);
}

double view_get(const view *v, int64_t e)
{
    int64_t at = place(&v->t, e);
    if (v->t.dtype == ORIEL_F32)
        return (double)((float *)v->t.data)[at];
    if (v->t.dtype == ORIEL_I32)
        return ((int32_t *)v->t.data)[at];
    uint16_t u = ((uint16_t *)v->t.data)[at];
    return (double)(v->t.dtype == ORIEL_F16 ? oriel_f16_to_f32(u) : oriel_bf16_to_f32(u));
}

static view view_input(problem *p, oriel_dtype dtype, int ndim, const int64_t *shape, uint64_t seed, double amp)
{
    view    v = view_new(p, dtype, ndim, shape);
    int64_t n = oriel_tensor_count(&v.t);
    v.values = malloc((size_t)n * sizeof *v.values);
    if (!v.values)
        abort();
    for (int64_t e = 0; e < n; e++) {
        v.values[e] = na_value(seed, (uint64_t)e, amp);
        put(&v, e, v.values[e]);
    }
    return v;
}

static view view_ints(problem *p, int ndim, const int64_t *shape, const int *ints)
{
    view    v = view_new(p, ORIEL_I32, ndim, shape);
    int64_t n = oriel_tensor_count(&v.t);
    v.values = malloc((size_t)n * sizeof *v.values + 1);
    v.ints = malloc((size_t)n * sizeof *v.ints + 1);
    if (!v.values || !v.ints)
        abort();
    for (int64_t e = 0; e < n; e++) {
        v.ints[e] = ints[e];
        put(&v, e, v.values[e] = (float)ints[e]);
    }
    return v;
}

/* Only poison beside the elements? */
bool view_gaps_whole(const view *v)
{
    size_t         size = oriel_dtype_size(v->t.dtype);
    unsigned char *copy = malloc(v->bytes);
    bool           whole = true;
    memcpy(copy, v->memory, v->bytes);
    for (int64_t e = 0, n = oriel_tensor_count(&v->t); e < n; e++)
        poison(copy + ((unsigned char *)v->t.data - v->memory) + place(&v->t, e) * (int64_t)size, size, v->t.dtype);
    for (size_t i = 0; i < v->bytes; i += size)
        whole &= !memcmp(copy + i, size == 4 ? (const void *)&poison32 : &poison16, size);
    free(copy);
    return whole;
}

/* ---- a problem with its tensors ----------------------------------------------------------- */

static oriel_attn filled(oriel_attn a) /* the header's defaults, by another hand */
{
    a.batch = a.batch ? a.batch : 1;
    a.heads = a.heads ? a.heads : 1;
    a.kv_heads = a.kv_heads ? a.kv_heads : a.heads;
    a.dim_v = a.dim_v ? a.dim_v : a.dim;
    for (int x = 0; x < 3; x++) {
        a.extent[x] = a.extent[x] ? a.extent[x] : 1;
        a.pool[x] = a.pool[x] ? a.pool[x] : 1;
        a.keys[x] = a.keys[x] ? a.keys[x] : (a.extent[x] + a.pool[x] - 1) / a.pool[x];
        a.q_block[x] = a.q_block[x] ? a.q_block[x] : a.extent[x];
        a.k_block[x] = a.k_block[x] ? a.k_block[x] : a.keys[x];
    }
    return a;
}

/* A table of spans that never fall: about as far as the query is along its axis. */
static void make_spans(problem *p, setting *s, const oriel_attn *a, int x)
{
    int  n = a->extent[x], keys = a->keys[x], low = a->pad_keys ? -keys : 0, high = a->pad_keys ? 2 * keys : keys;
    int *t = malloc((size_t)n * 2 * sizeof *t), before = low, end = low;
    for (int i = 0; i < n; i++) {
        int about = i == 0 ? low : (int)((int64_t)i * keys / n) - draw(p, 0, 3);
        before = about > before ? about : before;
        before = before < high ? before : high - 1;
        int to = before + draw(p, 1, 5);
        end = to > end ? to < high ? to : high : end;
        t[2 * i] = before;
        t[2 * i + 1] = end - before;
    }
    s->v[SPANS + x] = view_ints(p, 2, (int64_t[]){n, 2}, t);
    free(t);
}

/* Lists of key blocks: `listed` of 16 blocks, some lists empty, some full. */
static void make_lists(problem *p, setting *s, const oriel_attn *a)
{
    int64_t nq = 1, nk = 1, lb = p->list_batches ? a->batch : 1, lh = p->list_heads ? a->heads : 1;
    for (int x = 0; x < 3; x++) {
        nq *= (a->extent[x] + a->q_block[x] - 1) / a->q_block[x];
        nk *= (a->keys[x] + a->k_block[x] - 1) / a->k_block[x];
    }
    int *indptr = malloc((size_t)(lb * lh * (nq + 1)) * sizeof *indptr), *to = indptr;
    int *indices = malloc((size_t)(lb * lh * nq * nk) * sizeof *indices), n = 0;
    for (int64_t row = 0; row < lb * lh; row++) {
        *to++ = n;
        for (int64_t i = 0; i < nq; i++, *to++ = n) {
            int share = draw(p, 0, 11) == 0 ? 0 : draw(p, 0, 11) == 0 ? 16 : p->listed;
            for (int64_t k = 0; k < nk; k++)
                if (draw(p, 1, 16) <= share)
                    indices[n++] = (int)k;
        }
    }
    s->v[INDPTR] = view_ints(p, 3, (int64_t[]){lb, lh, nq + 1}, indptr);
    s->v[INDICES] = view_ints(p, 1, (int64_t[]){n}, indices);
    if (p->k_valid) {
        int i = 0;
        for (int t = 0; t < a->keys[0]; t += a->k_block[0])
            for (int y = 0; y < a->keys[1]; y += a->k_block[1])
                for (int x = 0; x < a->keys[2]; x += a->k_block[2]) {
                    int b[3] = {t, y, x}, box = 1;
                    for (int e = 0; e < 3; e++)
                        box *= b[e] + a->k_block[e] < a->keys[e] ? a->k_block[e] : a->keys[e] - b[e];
                    indices[i++] = draw(p, 0, 3) ? box : draw(p, 0, box);
                }
        s->v[K_VALID] = view_ints(p, 1, &nk, indices);
    }
    free(indptr);
    free(indices);
}

void setting_new(setting *s, problem *p)
{
    *s = (setting){.p = p, .impl = ""};
    oriel_attn a = filled(p->a);
    int64_t    b = a.batch, h = a.heads, hk = a.kv_heads, d = a.dim, dv = a.dim_v, e = a.extra, x = a.text;
    int64_t    t = a.extent[0], y = a.extent[1], z = a.extent[2], n = t * y * z;
    int64_t    kt = a.keys[0], ky = a.keys[1], kz = a.keys[2];
    uint64_t   seed = p->data;
    view      *v = s->v;
    s->tokens = n;
    v[Q] = view_input(p, a.dtype, 6, (int64_t[]){b, t, y, z, h, d}, seed, p->amp);
    v[K] = view_input(p, a.dtype, 6, (int64_t[]){b, kt, ky, kz, hk, d}, seed + 1, p->amp);
    v[V] = view_input(p, a.dtype, 6, (int64_t[]){b, kt, ky, kz, hk, dv}, seed + 2, 1);
    v[OUT] = view_new(p, a.dtype, 6, (int64_t[]){b, t, y, z, h, dv});
    if (e) {
        v[EXTRA_K] = view_input(p, a.dtype, 4, (int64_t[]){b, e, hk, d}, seed + 3, p->amp);
        v[EXTRA_V] = view_input(p, a.dtype, 4, (int64_t[]){b, e, hk, dv}, seed + 4, 1);
    }
    if (x) {
        v[TEXT_Q] = view_input(p, a.dtype, 4, (int64_t[]){b, x, h, d}, seed + 5, p->amp);
        v[TEXT_OUT] = view_new(p, a.dtype, 4, (int64_t[]){b, x, h, dv});
    }
    if (p->lse)
        v[LSE] = view_new(p, ORIEL_F32, 5, (int64_t[]){b, t, y, z, h});
    if (p->lse && x && a.text_mode == ORIEL_TEXT_ALL)
        v[TEXT_LSE] = view_new(p, ORIEL_F32, 3, (int64_t[]){b, x, h});
    if (a.bias == ORIEL_BIAS_DENSE)
        v[BIAS] = view_input(p, ORIEL_F32, 3, (int64_t[]){h, n, kt * ky * kz}, seed + 6, 1);
    else if (a.bias == ORIEL_BIAS_OFFSET)
        v[BIAS] = view_input(p, ORIEL_F32, 4, (int64_t[]){h, p->offsets[0], p->offsets[1], p->offsets[2]}, seed + 6, 1);
    if (p->scales)
        v[SCALES] = view_input(p, ORIEL_F32, 1, &h, seed + 7, 1);
    if (p->pad_rows) {
        v[PAD_K] = view_input(p, a.dtype, 2, (int64_t[]){hk, d}, seed + 8, p->amp);
        v[PAD_V] = view_input(p, a.dtype, 2, (int64_t[]){hk, dv}, seed + 9, 1);
    }
    for (int i = 0; i < 3; i++) {
        bool used = p->a.axis[i].kind == ORIEL_AXIS_SPANS && !p->per_head;
        for (int k = 0; k < h && p->per_head; k++)
            used |= p->axes[k][i].kind == ORIEL_AXIS_SPANS;
        if (used)
            make_spans(p, s, &a, i);
    }
    if (a.lists)
        make_lists(p, s, &a);
    for (int i = 0; i < a.segments; i++) {
        oriel_attn one = {.extent = {p->segments[i].extent[0], p->segments[i].extent[1], p->segments[i].extent[2]},
                          .keys = {p->segments[i].keys[0], p->segments[i].keys[1], p->segments[i].keys[2]},
                          .pool = {a.pool[0], a.pool[1], a.pool[2]}};
        one = filled(one);
        s->segments[i] = p->segments[i];
        memcpy(s->segments[i].extent, one.extent, sizeof one.extent);
        memcpy(s->segments[i].keys, one.keys, sizeof one.keys);
    }
    s->io = (oriel_attn_io){.q = v[Q].t, .k = v[K].t, .v = v[V].t, .out = v[OUT].t, .lse = v[LSE].t, .bias = v[BIAS].t,
                            .extra_k = v[EXTRA_K].t, .extra_v = v[EXTRA_V].t, .text_q = v[TEXT_Q].t,
                            .text_out = v[TEXT_OUT].t, .text_lse = v[TEXT_LSE].t,
                            .axes = p->per_head ? p->axes[0] : NULL, .scales = v[SCALES].t,
                            .spans = {v[SPANS].t, v[SPANS + 1].t, v[SPANS + 2].t}, .pad_k = v[PAD_K].t,
                            .pad_v = v[PAD_V].t, .segments = a.segments ? p->segments : NULL,
                            .indptr = v[INDPTR].t, .indices = v[INDICES].t, .k_valid = v[K_VALID].t};
    s->o = (oracle){.a = a, .axes = s->io.axes, .q = v[Q].values, .k = v[K].values, .v = v[V].values,
                    .extra_k = v[EXTRA_K].values, .extra_v = v[EXTRA_V].values, .text_q = v[TEXT_Q].values,
                    .bias = v[BIAS].values, .offsets = {p->offsets[0], p->offsets[1], p->offsets[2]},
                    .scales = v[SCALES].values, .pad_k = v[PAD_K].values, .pad_v = v[PAD_V].values,
                    .spans = {v[SPANS].ints, v[SPANS + 1].ints, v[SPANS + 2].ints}, .segments = s->segments,
                    .indptr = v[INDPTR].ints, .indices = v[INDICES].ints, .k_valid = v[K_VALID].ints,
                    .list_batches = p->list_batches ? a.batch : 1, .list_heads = p->list_heads ? a.heads : 1};
    for (int i = 0; i < 3; i++)
        s->o.keys[i] = malloc(oracle_room(a.segments ? a.keys[2] : a.keys[i]) * sizeof(int));
    for (int i = 0; i < a.heads; i++)
        s->work += (oracle_pairs(&s->o, i) + (double)a.text * (double)(kt * ky * kz + a.extra)) * a.batch * (d + dv);
}

void setting_free(setting *s)
{
    for (int i = 0; i < VIEWS; i++) {
        free(s->v[i].memory);
        free(s->v[i].values);
        free(s->v[i].ints);
    }
    for (int i = 0; i < 3; i++)
        free(s->o.keys[i]);
}


/* ---- a run -------------------------------------------------------------------------------- */

void poison_outputs(setting *s)
{
    for (int i = OUT; i < VIEWS; i++)
        if (s->v[i].memory)
            poison(s->v[i].memory, s->v[i].bytes, s->v[i].t.dtype);
}

oriel_status run_on(setting *s, const attn_impl *impl, int threads)
{
    poison_outputs(s);
    return impl->run(&s->job, checkattn_device[threads - 1]->pool);
}

uint64_t bits(const setting *s)
{
    uint64_t sum = 0xcbf29ce484222325u;
    for (int i = OUT; i < VIEWS; i++)
        for (size_t b = 0; b < s->v[i].bytes; b++)
            sum = (sum ^ s->v[i].memory[b]) * 0x100000001b3u;
    return sum;
}
