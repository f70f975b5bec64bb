/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a problem: segments as problems of their own. */
#include "attn2d3d/attn.h"

oriel_segment attn_segment_filled(const attn_job *j, oriel_segment s)
{
    for (int x = 0; x < 3; x++) {
        s.extent[x] += !s.extent[x];
        s.keys[x] = s.keys[x] ? s.keys[x] : (int)oriel_ceil_div(s.extent[x], j->a.pool[x]);
    }
    return s;
}

/* Tokens first, first + 1, ... of axis 3 of (B, 1, 1, N, ...) as a raster n. */
static void raster(oriel_tensor *t, int64_t first, const int n[3])
{
    if (!t->data)
        return;
    t->data = (char *)t->data + first * t->stride[3] * (int64_t)oriel_dtype_size(t->dtype);
    t->stride[2] = n[2] * t->stride[3];
    t->stride[1] = n[1] * t->stride[2];
    for (int x = 0; x < 3; x++)
        t->shape[x + 1] = n[x];
}

void attn_part_make(attn_part *p, const attn_job *j, int s, int64_t q, int64_t k)
{
    const oriel_segment g = attn_segment_filled(j, j->io->segments[s]);
    oriel_tensor       *bias = &p->io.bias;
    p->job = *j;
    p->io = *j->io;
    p->job.io = &p->io;
    p->job.a.segments = 0;
    p->job.tokens = p->job.key_tokens = 1;
    for (int x = 0; x < 3; x++) {
        p->job.a.extent[x] = g.extent[x];
        p->job.a.keys[x] = g.keys[x];
        p->job.a.at[x] = g.at[x];
        p->job.tokens *= g.extent[x];
        p->job.key_tokens *= g.keys[x];
    }
    raster(&p->io.q, q, g.extent);
    raster(&p->io.out, q, g.extent);
    raster(&p->io.lse, q, g.extent);
    raster(&p->io.k, k, g.keys);
    raster(&p->io.v, k, g.keys);
    if (j->a.bias == ORIEL_BIAS_DENSE) {
        bias->data = (float *)bias->data + q * bias->stride[1] + k * bias->stride[2];
        bias->shape[1] = p->job.tokens;
        bias->shape[2] = p->job.key_tokens;
    }
}

oriel_status attn_starts_new(attn_starts *s, const attn_job *j)
{
    size_t n = (size_t)j->a.segments + 1;
    *s = (attn_starts){0};
    if (!j->a.segments)
        return ORIEL_OK;
    if (!(s->q = oriel_alloc_zero(2 * n, sizeof *s->q)))
        return ORIEL_E_NOMEM;
    s->k = s->q + n;
    for (int i = 0; i < j->a.segments; i++) {
        oriel_segment g = attn_segment_filled(j, j->io->segments[i]);
        s->q[i + 1] = s->q[i] + (int64_t)g.extent[0] * g.extent[1] * g.extent[2];
        s->k[i + 1] = s->k[i] + (int64_t)g.keys[0] * g.keys[1] * g.keys[2];
    }
    return ORIEL_OK;
}

void attn_starts_free(attn_starts *s)
{
    oriel_dealloc(s->q);
    *s = (attn_starts){0};
}
