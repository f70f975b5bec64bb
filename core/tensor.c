/* SPDX-License-Identifier: Apache-2.0 */
/* Tensor views. */
#include <stdio.h>

#include "core/internal.h"

static const struct {
    const char *name;
    size_t      size;
} dtypes[ORIEL_DTYPE_COUNT] = {
    [ORIEL_F32] = {"f32", 4}, [ORIEL_F16] = {"f16", 2},         [ORIEL_BF16] = {"bf16", 2},
    [ORIEL_F64] = {"f64", 8}, [ORIEL_I64] = {"i64", 8},         [ORIEL_I32] = {"i32", 4},
    [ORIEL_I16] = {"i16", 2}, [ORIEL_I8] = {"i8", 1},           [ORIEL_U8] = {"u8", 1},
    [ORIEL_U16] = {"u16", 2}, [ORIEL_BOOL] = {"bool", 1},       [ORIEL_F8_E4M3] = {"f8_e4m3", 1},
    [ORIEL_F8_E5M2] = {"f8_e5m2", 1},
};

size_t oriel_dtype_size(oriel_dtype t)
{
    return (unsigned)t < ORIEL_DTYPE_COUNT ? dtypes[t].size : 0;
}

const char *oriel_dtype_name(oriel_dtype t)
{
    return (unsigned)t < ORIEL_DTYPE_COUNT ? dtypes[t].name : "?";
}

/* Wraps where no memory could hold the tensor: such shapes are described, too, to be refused. */
static int64_t product(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a * (uint64_t)b);
}

oriel_tensor oriel_tensor_of(void *data, oriel_dtype dtype, int ndim, const int64_t *shape)
{
    oriel_tensor t = {0};
    if (ndim < 0 || ndim > ORIEL_MAX_DIMS)
        return t;
    t.data = data;
    t.dtype = dtype;
    t.ndim = ndim;
    int64_t stride = 1;
    for (int i = ndim; i-- > 0;) {
        t.shape[i] = shape[i];
        t.stride[i] = stride;
        stride = product(stride, shape[i]);
    }
    return t;
}

oriel_tensor oriel_tensor_slice(oriel_tensor t, int axis, int64_t begin, int64_t end)
{
    if (axis < 0 || axis >= t.ndim)
        return t;
    begin = oriel_max(0, oriel_min(begin, t.shape[axis]));
    end = oriel_max(begin, oriel_min(end, t.shape[axis]));
    if (t.data)
        t.data = (char *)t.data + begin * t.stride[axis] * (int64_t)oriel_dtype_size(t.dtype);
    t.shape[axis] = end - begin;
    return t;
}

int64_t oriel_tensor_count(const oriel_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n = product(n, t->shape[i]);
    return n;
}

bool oriel_tensor_packed(const oriel_tensor *t)
{
    int64_t stride = 1;
    for (int i = t->ndim; i-- > 0;) {
        if (t->shape[i] != 1 && t->stride[i] != stride)
            return false;
        stride = product(stride, t->shape[i]);
    }
    return true;
}

const char *oriel_tensor_str(const oriel_tensor *t, char *buf, size_t size)
{
    size_t n = 0;
    int    w = snprintf(buf, size, "%s (", oriel_dtype_name(t->dtype));
    for (int i = 0; w >= 0 && (n += (size_t)w) < size && i < t->ndim; i++)
        w = snprintf(buf + n, size - n, i ? ", %lld" : "%lld", (long long)t->shape[i]);
    if (n < size)
        snprintf(buf + n, size - n, ")");
    return buf;
}
