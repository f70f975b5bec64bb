/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over all keys from attention over some of them: rows are weighed by their share of the sum of
 * exponentials. A row is read from all parts before it is written, so a part may be the result's own place.
 * Bound: memory, one pass.
 */
#include <math.h>

#include "attn2d3d/attn.h"
#include "core/device.h"

typedef struct merge {
    int                 n;
    const oriel_tensor *out, *lse, *merged, *merged_lse; /* merged_lse may be NULL */
} merge;

/* Row i of all but the last `drop` axes, as an offset. */
static int64_t row_at(const oriel_tensor *t, int drop, int64_t i)
{
    int64_t at = 0;
    for (int x = t->ndim - 1 - drop; x >= 0; x--) {
        at += i % t->shape[x] * t->stride[x];
        i /= t->shape[x];
    }
    return at;
}

static void merge_row(const merge *m, int64_t i)
{
    int   dim = (int)m->merged->shape[m->merged->ndim - 1];
    float sum[ATTN_DIM_MAX] = {0}, v[ATTN_DIM_MAX], top = -INFINITY, weight = 0;
    for (int p = 0; p < m->n; p++)
        top = fmaxf(top, ((const float *)m->lse[p].data)[row_at(&m->lse[p], 0, i)]);
    for (int p = 0; p < m->n && top > -INFINITY; p++) {
        float w = expf(((const float *)m->lse[p].data)[row_at(&m->lse[p], 0, i)] - top);
        if (w == 0) /* it saw no key, or as good as none: its row may be anything */
            continue;
        attn_load(v, &m->out[p], row_at(&m->out[p], 1, i), dim);
        weight += w;
        for (int d = 0; d < dim; d++)
            sum[d] += w * v[d];
    }
    for (int d = 0; d < dim && weight > 0; d++)
        sum[d] /= weight;
    attn_store(m->merged, row_at(m->merged, 1, i), sum, dim);
    if (m->merged_lse)
        ((float *)m->merged_lse->data)[row_at(m->merged_lse, 0, i)] = logf(weight) + top;
}

static void range(void *arg, int64_t from, int64_t to, int worker)
{
    (void)worker;
    for (; from < to; from++)
        merge_row(arg, from);
}

/* A tensor of values like the result, or (lse) of numbers for its rows. */
static oriel_status check(const char *name, int part, const oriel_tensor *t, const oriel_tensor *like, bool lse,
                          bool written)
{
    int  ndim = like->ndim - lse;
    bool fits = t->ndim == ndim && (t->dtype == ORIEL_F32 || (!lse && (t->dtype == ORIEL_F16 || t->dtype == ORIEL_BF16)));
    for (int x = 0; fits && x < ndim; x++)
        fits = t->shape[x] == like->shape[x] && !(written && t->stride[x] == 0 && t->shape[x] > 1);
    if (!t->data)
        return oriel_fail(ORIEL_E_ARG, "attn merge: %s of part %d has no data", name, part);
    return fits ? ORIEL_OK
                : oriel_fail(ORIEL_E_ARG, "attn merge: %s of part %d (-1: the result) has another shape, dtype or no strides",
                             name, part);
}

static oriel_status check_merge(const merge *m)
{
    const oriel_tensor *to = m->merged;
    oriel_status        s;
    if (m->n < 1 || !m->out || !m->lse || !to)
        return oriel_fail(ORIEL_E_ARG, "attn merge: %d parts, or no tensors", m->n);
    if (to->ndim < 1 || to->ndim > ORIEL_MAX_DIMS || to->shape[to->ndim - 1] < 1 ||
        to->shape[to->ndim - 1] > ATTN_DIM_MAX)
        return oriel_fail(ORIEL_E_ARG, "attn merge: the result's last axis is not of 1 to %d", ATTN_DIM_MAX);
    for (int x = 0; x < to->ndim; x++)
        if (to->shape[x] < 0)
            return oriel_fail(ORIEL_E_ARG, "attn merge: the result's shape[%d] is %lld", x, (long long)to->shape[x]);
    if ((s = check("out", -1, to, to, false, true)) ||
        (m->merged_lse && (s = check("lse", -1, m->merged_lse, to, true, true))))
        return s;
    for (int p = 0; p < m->n; p++)
        if ((s = check("out", p, &m->out[p], to, false, false)) || (s = check("lse", p, &m->lse[p], to, true, false)))
            return s;
    return ORIEL_OK;
}

oriel_status oriel_attn_merge(oriel_device *dev, int n, const oriel_tensor *out, const oriel_tensor *lse,
                              const oriel_tensor *merged, const oriel_tensor *merged_lse)
{
    merge        m = {n, out, lse, merged, merged_lse};
    oriel_status s;
    if (!dev)
        return oriel_fail(ORIEL_E_ARG, "attn merge: no device");
    if ((s = device_must_be_cpu(dev, "attn: parts are merged")) || (s = check_merge(&m)))
        return s;
    int64_t rows = 1;
    for (int x = 0; x < merged->ndim - 1; x++)
        rows *= merged->shape[x];
    oriel_parallel_for(dev->pool, rows, oriel_pool_grain(dev->pool, rows, 256), range, &m);
    return ORIEL_OK;
}
