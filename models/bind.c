/* SPDX-License-Identifier: Apache-2.0 */
/* Weights by name and shape. */
#include "models/bind.h"

#include <stdio.h>

enum { NAME_MAX_BYTES = 256 };

typedef struct chunk { /* before each scratch tensor */
    _Alignas(64) struct chunk *next;
} chunk;

void bind_fail(binder *b, oriel_status s)
{
    if (!b->status)
        b->status = s;
}

static float *scratch_new(binder *b, size_t count)
{
    size_t bytes;
    if (!oriel_mul_ok(count, sizeof(float), &bytes) || !oriel_add_ok(bytes, sizeof(chunk), &bytes)) {
        bind_fail(b, oriel_fail(ORIEL_E_NOMEM, "weights: %zu elements", count));
        return NULL;
    }
    chunk *c = oriel_alloc_aligned(bytes);
    if (!c) {
        bind_fail(b, ORIEL_E_NOMEM);
        return NULL;
    }
    c->next = b->scratch;
    b->scratch = c;
    return (float *)(c + 1);
}

void bind_release(binder *b)
{
    for (chunk *c = b->scratch, *next; c; c = next) {
        next = c->next;
        oriel_dealloc_aligned(c);
    }
    b->scratch = NULL;
}

static bool take(binder *b, const oriel_tensor *t)
{
    int64_t n = ckpt_count(b->c), i = 0;
    if (!b->taken && !(b->taken = oriel_alloc_zero((size_t)n, sizeof *b->taken))) {
        bind_fail(b, ORIEL_E_NOMEM);
        return false;
    }
    while (i < n && ckpt_tensor(b->c, i) != t)
        i++;
    b->taken[i] = true;
    return true;
}

oriel_status bind_end(binder *b)
{
    bind_release(b);
    for (int64_t i = 0; !b->status && i < ckpt_count(b->c); i++)
        if ((!b->taken || !b->taken[i]) && !ckpt_is_buffer(ckpt_name(b->c, i)))
            bind_fail(b, oriel_fail(ORIEL_E_FORMAT,
                                    "tensor %s belongs to no part of this network that the file has "
                                    "whole",
                                    ckpt_name(b->c, i)));
    oriel_dealloc(b->taken);
    b->taken = NULL;
    return b->status;
}

static float *tensor(binder *b, int ndim, const int64_t *shape, const char *name)
{
    char have[128], want[128];
    if (b->status)
        return NULL;
    const oriel_tensor *t = ckpt_find(b->c, name);
    if (!t) {
        bind_fail(b, oriel_fail(ORIEL_E_FORMAT, "tensor %s is missing", name));
        return NULL;
    }
    oriel_tensor due = oriel_tensor_of(NULL, t->dtype, ndim, shape);
    if (t->ndim != ndim || memcmp(t->shape, due.shape, (size_t)ndim * sizeof *shape)) {
        bind_fail(b, oriel_fail(ORIEL_E_FORMAT, "tensor %s is %s where %s is due", name,
                                oriel_tensor_str(t, have, sizeof have),
                                oriel_tensor_str(&due, want, sizeof want)));
        return NULL;
    }
    float *data = take(b, t) ? scratch_new(b, (size_t)oriel_tensor_count(t)) : NULL;
    if (data)
        ckpt_to_f32(t, data);
    return data;
}

#define EXPAND(out, name)                                                                          \
    char    out[NAME_MAX_BYTES];                                                                   \
    va_list ap;                                                                                    \
    va_start(ap, name);                                                                            \
    vsnprintf(out, sizeof out, name, ap);                                                          \
    va_end(ap)

float *bind_tensor(binder *b, int ndim, const int64_t *shape, const char *name, ...)
{
    EXPAND(full, name);
    return tensor(b, ndim, shape, full);
}

bool bind_has(const binder *b, const char *name, ...)
{
    EXPAND(full, name);
    return ckpt_find(b->c, full) != NULL;
}

int64_t bind_size(const binder *b, int axis, const char *name, ...)
{
    EXPAND(full, name);
    const oriel_tensor *t = ckpt_find(b->c, full);
    return t && axis < t->ndim ? t->shape[axis] : 0;
}

static float *part(binder *b, int ndim, const int64_t *shape, const char *name, const char *suffix)
{
    char full[NAME_MAX_BYTES + 16];
    snprintf(full, sizeof full, "%s.%s", name, suffix);
    return tensor(b, ndim, shape, full);
}

void bind_conv(binder *b, op_conv *w, const bind_conv_how *how, const char *name, ...)
{
    EXPAND(full, name);
    int64_t shape[4] = {how->n, how->k, how->kernel, how->kernel};
    float  *weight = part(b, 4, shape, full, "weight"), *bias = part(b, 1, shape, full, "bias");
    if (!weight || !bias)
        return;
    int   taps = how->kernel * how->kernel, r2 = how->shuffle > 1 ? how->shuffle * how->shuffle : 1;
    float scale = how->scale != 0.f ? how->scale : 1.f;
    for (int n = 0; n < how->n; n++) {
        bias[n] = bias[n] * scale + (how->add ? how->add[n / r2] : 0.f);
        for (int i = 0; i < how->k * taps; i++)
            weight[(size_t)n * (size_t)(how->k * taps) + (size_t)i] *= scale;
    }
    oriel_status s = op_conv_pack(b->dev, w, how->n, how->k, taps, how->shuffle, weight, bias, how->operand);
    bind_fail(b, s);
    b->bytes += w->bytes;
}

void bind_norm(binder *b, op_norm *w, int c, float eps, const char *name, ...)
{
    EXPAND(full, name);
    int64_t shape[1] = {c};
    float  *gamma = part(b, 1, shape, full, "weight"), *beta = part(b, 1, shape, full, "bias");
    *w = (op_norm){0};
    if (!gamma || !beta)
        return;
    bind_fail(b, op_norm_pack(b->dev, w, c, eps, gamma, beta));
    b->bytes += (size_t)c * 2 * sizeof(float);
}
