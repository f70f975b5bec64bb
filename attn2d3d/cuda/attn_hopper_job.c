/* SPDX-License-Identifier: Apache-2.0 */
/* A job for the Hopper kernel: its different windows as tables of spans, axes seen whole made one.
 */
#include "attn2d3d/cuda/attn_hopper.h"

enum {
    ROW_BYTES = 16 /* what the copy engine asks of strides */,
    SPAN_MAX = 60000 /* the kernel's 16 bits */,
    TOKENS_MAX = 1 << 28
};

static hopper_rows rows_of(const oriel_tensor *t, bool list)
{
    const int64_t *s = t->stride;
    if (list)
        return (hopper_rows){t->data, {0, 0, s[1], s[2]}, s[0]};
    return (hopper_rows){t->data, {s[1], s[2], s[3], s[4]}, s[0]};
}

/* ---- what it refuses
 * ------------------------------------------------------------------------------------ */

/* Rows of 16-bit numbers that the copy engine can load: every stride a positive multiple of 16
 * bytes. */
static bool loads(const oriel_tensor *t)
{
    bool ok = (uintptr_t)t->data % ROW_BYTES == 0 &&
              (t->stride[t->ndim - 1] == 1 || t->shape[t->ndim - 1] == 1);
    for (int i = 0; i < t->ndim - 1; i++)
        ok &= t->shape[i] == 1 || (t->stride[i] > 0 && t->stride[i] % (ROW_BYTES / 2) == 0 &&
                                   t->stride[i] < (int64_t)1 << 38);
    return ok;
}

static bool whole(const attn_job *j, int h, int x)
{
    oriel_span a = attn_span(j, h, x, 0), b = attn_span(j, h, x, j->a.extent[x] - 1);
    return a.count == j->a.keys[x] && b.count == j->a.keys[x];
}

static bool same_window(const attn_job *j, int g, int h)
{
    for (int x = 0; x < 3; x++) {
        oriel_axis a = attn_axis(j, g, x), b = attn_axis(j, h, x);
        if (a.kind != b.kind || a.size != b.size || a.stride != b.stride || a.shift != b.shift ||
            a.left != b.left || a.right != b.right || a.causal != b.causal)
            return false;
    }
    return true;
}

/* The different windows: which one a head has, and first[w], a head that has it. Their number. */
static int find_windows(const attn_job *j, int window[HOPPER_HEADS], int first[HOPPER_WINDOWS])
{
    int n = 0;
    for (int h = 0; h < j->a.heads; h++) {
        int w = 0;
        while (w < n && !same_window(j, first[w], h))
            w++;
        if (w == HOPPER_WINDOWS)
            return HOPPER_WINDOWS + 1;
        if (w == n)
            first[n++] = h;
        window[h] = w;
    }
    return n;
}

static const char *refuse_windows(const attn_job *j)
{
    int window[HOPPER_HEADS], first[HOPPER_WINDOWS], n;
    if (j->a.heads > HOPPER_HEADS)
        return "more than 128 heads";
    if ((n = find_windows(j, window, first)) > HOPPER_WINDOWS)
        return "more than 32 different windows";
    for (int w = 0; w < n; w++)
        for (int x = 0; x < 3; x++) {
            if (attn_axis(j, first[w], x).dilation > 1)
                return "dilation";
            for (int i = 0; j->a.keys[x] > SPAN_MAX && !whole(j, first[w], x) && i < j->a.extent[x];
                 i++)
                if (attn_span(j, first[w], x, i).count > SPAN_MAX)
                    return "more than 60000 keys along an axis, but not all";
        }
    return NULL;
}

const char *hopper_job_refuse(const attn_job *j)
{
    const oriel_attn *a = &j->a;
    const oriel_attn_io *io = j->io;
    const oriel_tensor *all[] = {&io->q,       &io->k,       &io->v,      &io->out,
                                 &io->extra_k, &io->extra_v, &io->text_q, &io->text_out};
    if (a->bias)
        return "a bias";
    if (a->pad_keys || a->cosine || io->scales.data || a->text_mode || a->segments || a->lists)
        return "pad_keys, cosine, scales, text in windows, segments or lists";
    if (!(a->scale > 0))
        return "a negative scale";
    if (j->tokens > TOKENS_MAX)
        return "more than 2^28 tokens";
    if (a->dim_v % 8)
        return "dim_v is not a multiple of 8";
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]->data && !loads(all[i]))
            return "a stride or address that is no multiple of 16 bytes, or negative";
    return refuse_windows(j);
}

/* ---- axes that become one
 * ---------------------------------------------------------------------------------- */

/* Do axes x - 1 and x of n tokens lie as one? */
static bool lies_as_one(const hopper_rows *r, int x, int outer, int n)
{
    return !r->data || outer == 1 || n == 1 || r->stride[x - 1] == r->stride[x] * n;
}

/* Axes x - 1 and x, seen whole, become axis x, if all rows lie so. */
static bool merge(hopper_job *h, int x)
{
    hopper_rows *all[5] = {&h->q, &h->out, &h->lse, &h->k, &h->v};
    if (!h->whole[x - 1] || !h->whole[x])
        return false;
    for (int i = 0; i < 5; i++) {
        const int *n = i < 3 ? h->nq : h->nk;
        if (!lies_as_one(all[i], x, n[x - 1], n[x]))
            return false;
    }
    for (int i = 0; i < 5; i++)
        if ((i < 3 ? h->nq : h->nk)[x] == 1)
            all[i]->stride[x] = all[i]->stride[x - 1];
    h->nq[x] *= h->nq[x - 1];
    h->nk[x] *= h->nk[x - 1];
    h->nq[x - 1] = h->nk[x - 1] = 1;
    return true;
}

/* T, 1, YX become 1, T, YX */
static void move_inwards(hopper_job *h, int from[3])
{
    hopper_rows *all[5] = {&h->q, &h->out, &h->lse, &h->k, &h->v};
    for (int i = 0; i < 5; i++)
        all[i]->stride[1] = all[i]->stride[0];
    h->nq[1] = h->nq[0], h->nk[1] = h->nk[0], h->whole[1] = h->whole[0];
    h->nq[0] = h->nk[0] = 1, h->whole[0] = true;
    from[1] = 0;
}

/* ---- tables of spans
 * ---------------------------------------------------------------------------------------- */

static oriel_status make_spans(hopper_job *h, const attn_job *j, const int first[],
                               const int from[3])
{
    h->spans = 0;
    for (int x = 0; x < 3; x++) {
        h->at[x] = h->spans;
        h->spans += h->whole[x] ? 1 : h->nq[x];
    }
    if (!(h->span = oriel_alloc_zero((size_t)h->spans * (size_t)h->windows, sizeof *h->span)))
        return ORIEL_E_NOMEM;
    for (int w = 0; w < h->windows; w++)
        for (int x = 0; x < 3; x++) {
            hopper_span *to = h->span + w * h->spans + h->at[x];
            to[0][1] = h->nk[x];
            for (int i = 0; !h->whole[x] && i < h->nq[x]; i++) {
                oriel_span s = attn_span(j, first[w], from[x], i);
                to[i][0] = s.first;
                to[i][1] = s.first + s.count;
            }
        }
    return ORIEL_OK;
}

oriel_status hopper_job_new(hopper_job *h, const attn_job *j, bool text)
{
    const oriel_attn_io *io = j->io;
    int first[HOPPER_WINDOWS] = {0}, from[3] = {0, 1, 2};
    *h = (hopper_job){.windows = 1, .extra = j->a.extra};
    if (!text)
        h->windows = find_windows(j, h->window, first);
    for (int i = 0; i < j->a.heads; i++)
        h->heads[h->window[i]]++;
    for (int x = 0; x < 3; x++) {
        h->nk[x] = j->a.keys[x];
        h->nq[x] = !text ? j->a.extent[x] : x == 2 ? j->a.text : 1;
        h->whole[x] = true;
        for (int w = 0; !text && w < h->windows; w++)
            h->whole[x] &= whole(j, first[w], x);
    }
    h->q = rows_of(text ? &io->text_q : &io->q, text);
    h->out = rows_of(text ? &io->text_out : &io->out, text);
    h->lse = rows_of(text ? &io->text_lse : &io->lse, text);
    h->k = rows_of(&io->k, false);
    h->v = rows_of(&io->v, false);
    h->extra_k = rows_of(&io->extra_k, true);
    h->extra_v = rows_of(&io->extra_v, true);
    if (merge(h, 2)) {
        move_inwards(h, from);
        merge(h, 2);
    }
    return make_spans(h, j, first, from);
}

void hopper_job_free(hopper_job *h)
{
    oriel_dealloc(h->span);
    h->span = NULL;
}
