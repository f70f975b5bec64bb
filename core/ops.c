/* SPDX-License-Identifier: Apache-2.0 */
/* The side of operations that all devices share: shapes, memory, counting. */
#include "core/ops.h"

bool run_dead(const run *r)
{
    return r->status != ORIEL_OK;
}

void run_fail(run *r, oriel_status s)
{
    if (!r->status)
        r->status = s;
}

void *run_take(run *r, size_t bytes)
{
    if (run_dead(r))
        return NULL;
    void *p = oriel_arena_take(&r->arena, bytes);
    if (!p && !r->planning)
        run_fail(r, oriel_fail(ORIEL_E_NOMEM, "run: %zu bytes are more than was planned", bytes));
    return p;
}

bool run_step(run *r, double flops)
{
    if (run_dead(r))
        return false;
    r->flops += flops;
    if (r->planning)
        return false;
    if (r->progress && r->flops_total > 0 &&
        !r->progress(r->user, (r->flops - flops) / r->flops_total))
        run_fail(r, oriel_fail(ORIEL_E_DEVICE, "cancelled"));
    return !run_dead(r);
}

void run_stage(run *r, const char *name)
{
    if (r->stage && !r->planning && !run_dead(r))
        r->stage(r->user, name);
}

void run_moves(run *r, const oriel_tensor *map)
{
    r->map_bytes += (double)oriel_tensor_count(map) * sizeof(float);
}

void run_tap(run *r, const char *name, int index, op_map m)
{
    if (r->tap && !r->planning && !run_dead(r))
        r->tap(r->tap_user, name, index, m.t);
}

op_map op_band_new(run *r, int y0, int y1, int height, int width, int channels)
{
    op_map  m = {.y0 = y0, .height = height};
    int64_t shape[3] = {y1 - y0, width, channels};
    m.t = oriel_tensor_of(NULL, ORIEL_F32, 3, shape);
    m.t.data = run_take(r, (size_t)oriel_tensor_count(&m.t) * sizeof(float));
    return m;
}

op_map op_map_new(run *r, int height, int width, int channels)
{
    return op_band_new(r, 0, height, height, width, channels);
}

void op_conv_run(run *r, const op_conv_call *c)
{
    const op_conv *w = c->w;
    int            s = w->shuffle ? w->shuffle : 1;
    assert(c->x.t.shape[2] == w->k && c->y.t.shape[2] * s * s == w->n);
    assert(c->y.t.shape[1] <= c->x.t.shape[1] * s);
    double px = (double)c->y.t.shape[0] / s * (double)c->x.t.shape[1];
    run_moves(r, &c->x.t);
    run_moves(r, &c->y.t);
    if (c->add)
        run_moves(r, &c->add->t);
    size_t mark = oriel_arena_mark(&r->arena);
    void  *scratch = run_take(r, r->dev->ops->conv_scratch(r, c));
    if (run_step(r, 2.0 * w->n * w->k * w->taps * px))
        r->dev->ops->conv(r, c, scratch);
    oriel_arena_rewind(&r->arena, mark);
}

void op_norm_run(run *r, op_map y, op_map x, const op_norm *w)
{
    assert(x.t.shape[2] == w->c && oriel_tensor_count(&x.t) == oriel_tensor_count(&y.t));
    run_moves(r, &x.t);
    run_moves(r, &y.t);
    size_t mark = oriel_arena_mark(&r->arena);
    void  *scratch = run_take(r, r->dev->ops->norm_scratch(r, w->c));
    if (run_step(r, 0))
        r->dev->ops->norm(r, y, x, w, scratch);
    oriel_arena_rewind(&r->arena, mark);
}

void op_nearest2(run *r, op_map y, op_map x)
{
    assert(y.height == 2 * x.height && y.t.shape[1] == 2 * x.t.shape[1]);
    run_moves(r, &x.t);
    run_moves(r, &y.t);
    if (run_step(r, 0))
        r->dev->ops->nearest2(r, y, x);
}

void op_input(run *r, const op_input_call *c)
{
    assert(c->x.ndim == 3 && c->x.shape[2] == c->y.t.shape[2]);
    run_moves(r, &c->x);
    run_moves(r, &c->y.t);
    if (run_step(r, 0))
        r->dev->ops->input(r, c);
}

oriel_status op_conv_pack(oriel_device *dev, op_conv *w, int n, int k, int taps, int shuffle,
                          const float *data, const float *bias, oriel_dtype operand)
{
    *w = (op_conv){.n = n, .k = k, .taps = taps, .shuffle = shuffle};
    if (shuffle <= 1)
        return dev->ops->pack(dev, w, data, bias, NULL, operand);
    /* PixelShuffle's channel c r^2 + i r + j becomes (i, j, c): a pixel's channels side by side. */
    int *row = oriel_alloc((size_t)n * sizeof *row);
    if (!row)
        return ORIEL_E_NOMEM;
    int r2 = shuffle * shuffle, c = n / r2;
    for (int i = 0; i < n; i++)
        row[i] = i % c * r2 + i / c;
    oriel_status s = dev->ops->pack(dev, w, data, bias, row, operand);
    oriel_dealloc(row);
    return s;
}

void op_conv_unpack(oriel_device *dev, op_conv *w)
{
    if (w->packed)
        dev->ops->unpack(dev, w);
    *w = (op_conv){0};
}

oriel_status op_norm_pack(oriel_device *dev, op_norm *w, int c, float eps, const float *gamma, const float *beta)
{
    size_t       bytes = (size_t)c * sizeof(float);
    void        *p;
    oriel_status s = oriel_memory_alloc(dev, &p, 2 * bytes);
    *w = (op_norm){.c = c, .eps = eps};
    if (s)
        return s;
    w->gamma = p;
    w->beta = w->gamma + c;
    if ((s = oriel_memory_upload(dev, w->gamma, gamma, bytes)) || (s = oriel_memory_upload(dev, w->beta, beta, bytes)))
        op_norm_unpack(dev, w);
    return s;
}

void op_norm_unpack(oriel_device *dev, op_norm *w)
{
    void *p = w->gamma;
    oriel_memory_free(dev, &p);
    *w = (op_norm){0};
}
