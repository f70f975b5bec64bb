/* SPDX-License-Identifier: Apache-2.0 */
/* Attention: is it a problem, and do the tensors fit? Every message names the field and its value. */
#include <math.h>

#include "attn2d3d/attn.h"

enum { EXTENT_MAX = 1 << 24, TENSORS_TOO_LARGE = INT_MAX };

static const char *const kinds[] = {"full", "neighbor", "block", "slide"};
static const char        letters[] = "TYX";

static oriel_status in_range(const char *name, int v, int low, int high)
{
    if (v >= low && v <= high)
        return ORIEL_OK;
    return oriel_fail(ORIEL_E_ARG, "attn: %s %d is not in %d .. %d", name, v, low, high);
}

/* A field of an axis, between low and high; one that its kind has not, is 0. */
static oriel_status field(const oriel_axis *a, int x, const char *name, int v, bool has, int low, int high)
{
    if (!has && v)
        return oriel_fail(ORIEL_E_ARG, "attn: axis %c: %s has no %s, which is %d", letters[x],
                          kinds[a->kind], name, v);
    if (has && (v < low || v > high))
        return oriel_fail(ORIEL_E_ARG, "attn: axis %c: %s %d is not in %d .. %d", letters[x], name, v,
                          low, high);
    return ORIEL_OK;
}

static oriel_status check_axis(const oriel_axis *a, int x, int n)
{
    oriel_status s;
    if ((unsigned)a->kind > ORIEL_AXIS_SLIDE)
        return oriel_fail(ORIEL_E_ARG, "attn: axis %c: kind %d is not known", letters[x], (int)a->kind);
    bool near = a->kind == ORIEL_AXIS_NEIGHBOR, block = a->kind == ORIEL_AXIS_BLOCK;
    bool slide = a->kind == ORIEL_AXIS_SLIDE;
    int  size = a->size ? a->size : n, dilation = a->dilation ? a->dilation : 1;
    if ((s = field(a, x, "size", a->size, near || block, 0, n)) ||
        (s = field(a, x, "stride", a->stride, near, 0, size)) ||
        (s = field(a, x, "dilation", a->dilation, near, 0, n)) ||
        (s = field(a, x, "shift", a->shift, block, 0, size - 1)) ||
        (s = field(a, x, "left", a->left, slide, 0, EXTENT_MAX)) ||
        (s = field(a, x, "right", a->right, slide, 0, EXTENT_MAX)))
        return s;
    if (near && size < 2)
        return oriel_fail(ORIEL_E_ARG, "attn: axis %c: size %d is less than 2", letters[x], size);
    if (near && (int64_t)size * dilation > n)
        return oriel_fail(ORIEL_E_ARG, "attn: axis %c: size %d times dilation %d is more than its %d tokens",
                          letters[x], size, dilation, n);
    return ORIEL_OK;
}

/* How far a query sees along an axis: offsets are less than this. */
static int reach(oriel_axis a, int n)
{
    int far = a.left > a.right ? a.left : a.right;
    if (a.kind == ORIEL_AXIS_SLIDE)
        return far < n ? far + 1 : n;
    return a.size ? a.size : n;
}

static oriel_status check_tensor(const char *name, const oriel_tensor *t, oriel_dtype dtype, int ndim,
                                 const int64_t *shape)
{
    char         have[128], want[128];
    oriel_tensor due = oriel_tensor_of(NULL, dtype, ndim, shape);
    bool         same = t->ndim == ndim && t->dtype == dtype;
    if (!t->data)
        return oriel_fail(ORIEL_E_ARG, "attn: %s has no data", name);
    for (int i = 0; same && i < ndim; i++)
        same = t->shape[i] == shape[i];
    if (same)
        return ORIEL_OK;
    if (t->ndim < 0 || t->ndim > ORIEL_MAX_DIMS || (unsigned)t->dtype >= ORIEL_DTYPE_COUNT)
        return oriel_fail(ORIEL_E_ARG, "attn: %s is no tensor: ndim %d, dtype %d", name, t->ndim, (int)t->dtype);
    return oriel_fail(ORIEL_E_ARG, "attn: %s is %s where %s is due", name,
                      oriel_tensor_str(t, have, sizeof have), oriel_tensor_str(&due, want, sizeof want));
}

/* The same, and no two of its elements share a place by a stride of 0. */
static oriel_status check_output(const char *name, const oriel_tensor *t, oriel_dtype dtype, int ndim,
                                 const int64_t *shape)
{
    oriel_status s = check_tensor(name, t, dtype, ndim, shape);
    for (int i = 0; !s && i < ndim; i++)
        if (t->stride[i] == 0 && t->shape[i] > 1)
            return oriel_fail(ORIEL_E_ARG, "attn: %s is written, but its stride[%d] is 0", name, i);
    return s;
}

static oriel_status check_absent(const char *name, const oriel_tensor *t, const char *field_name)
{
    return t->data ? oriel_fail(ORIEL_E_ARG, "attn: %s is given, but %s is 0", name, field_name) : ORIEL_OK;
}

static oriel_status check_bias(const attn_job *j)
{
    const oriel_attn   *a = &j->a;
    const oriel_tensor *t = &j->io->bias;
    const int64_t       dense[3] = {a->heads, j->tokens, j->tokens};
    if (a->bias == ORIEL_BIAS_NONE)
        return check_absent("bias tensor", t, "the problem's bias");
    if (a->bias == ORIEL_BIAS_DENSE)
        return check_tensor("bias", t, ORIEL_F32, 3, dense);
    if (!t->data)
        return oriel_fail(ORIEL_E_ARG, "attn: bias has no data");
    if (t->dtype != ORIEL_F32 || t->ndim != 4 || t->shape[0] != a->heads)
        return oriel_fail(ORIEL_E_ARG, "attn: bias by offset is f32 (%d, 2t - 1, 2y - 1, 2x - 1)", a->heads);
    for (int h = 0; h < a->heads; h++)
        for (int x = 0; x < 3; x++) {
            int far = reach(attn_axis(j, h, x), a->extent[x]);
            if (t->shape[x + 1] % 2 == 0 || t->shape[x + 1] < 2 * (int64_t)far - 1)
                return oriel_fail(ORIEL_E_ARG, "attn: bias: %lld offsets along %c, where an odd number from %lld is due",
                                  (long long)t->shape[x + 1], letters[x], 2 * (long long)far - 1);
        }
    return ORIEL_OK;
}

static oriel_status check_lists(const attn_job *j)
{
    const oriel_attn    *a = &j->a;
    const oriel_attn_io *io = j->io;
    oriel_status         s;
    const int64_t k[4] = {a->batch, a->extra, a->kv_heads, a->dim}, v[4] = {a->batch, a->extra, a->kv_heads, a->dim_v};
    const int64_t q[4] = {a->batch, a->text, a->heads, a->dim}, o[4] = {a->batch, a->text, a->heads, a->dim_v};
    if (a->extra) {
        if ((s = check_tensor("extra_k", &io->extra_k, a->dtype, 4, k)) ||
            (s = check_tensor("extra_v", &io->extra_v, a->dtype, 4, v)))
            return s;
    } else if ((s = check_absent("extra_k", &io->extra_k, "extra")) ||
               (s = check_absent("extra_v", &io->extra_v, "extra")))
        return s;
    if (!a->text)
        return (s = check_absent("text_q", &io->text_q, "text")) ||
                       (s = check_absent("text_out", &io->text_out, "text"))
                   ? s
                   : check_absent("text_lse", &io->text_lse, "text");
    if ((s = check_tensor("text_q", &io->text_q, a->dtype, 4, q)) ||
        (s = check_output("text_out", &io->text_out, a->dtype, 4, o)))
        return s;
    return io->text_lse.data ? check_output("text_lse", &io->text_lse, ORIEL_F32, 3, q) : ORIEL_OK;
}

static oriel_status check_io(const attn_job *j)
{
    const oriel_attn    *a = &j->a;
    const oriel_attn_io *io = j->io;
    const int           *n = a->extent;
    oriel_status         s;
    const int64_t q[6] = {a->batch, n[0], n[1], n[2], a->heads, a->dim}, o[6] = {a->batch, n[0], n[1], n[2], a->heads, a->dim_v};
    const int64_t k[6] = {a->batch, n[0], n[1], n[2], a->kv_heads, a->dim}, v[6] = {a->batch, n[0], n[1], n[2], a->kv_heads, a->dim_v};
    if ((s = check_tensor("q", &io->q, a->dtype, 6, q)) || (s = check_tensor("k", &io->k, a->dtype, 6, k)) ||
        (s = check_tensor("v", &io->v, a->dtype, 6, v)) || (s = check_output("out", &io->out, a->dtype, 6, o)))
        return s;
    if (io->lse.data && (s = check_output("lse", &io->lse, ORIEL_F32, 5, q)))
        return s;
    for (int h = 0; io->axes && h < a->heads; h++)
        for (int x = 0; x < 3; x++)
            if ((s = check_axis(&io->axes[h * 3 + x], x, n[x])))
                return s;
    if ((s = check_bias(j)))
        return s;
    return check_lists(j);
}

static oriel_status check_numbers(attn_job *j)
{
    oriel_attn  *a = &j->a;
    oriel_status s;
    if (a->dtype != ORIEL_F32 && a->dtype != ORIEL_F16 && a->dtype != ORIEL_BF16)
        return oriel_fail(ORIEL_E_ARG, "attn: dtype %d is not f32, f16 or bf16", (int)a->dtype);
    if ((unsigned)a->bias > ORIEL_BIAS_OFFSET)
        return oriel_fail(ORIEL_E_ARG, "attn: bias %d is not known", (int)a->bias);
    if ((s = in_range("batch", a->batch, 0, EXTENT_MAX)) || (s = in_range("heads", a->heads, 0, 1 << 16)) ||
        (s = in_range("dim", a->dim, 1, ATTN_DIM_MAX)) || (s = in_range("dim_v", a->dim_v, 0, ATTN_DIM_MAX)) ||
        (s = in_range("extent[0] (T)", a->extent[0], 0, EXTENT_MAX)) ||
        (s = in_range("extent[1] (Y)", a->extent[1], 0, EXTENT_MAX)) ||
        (s = in_range("extent[2] (X)", a->extent[2], 0, EXTENT_MAX)) ||
        (s = in_range("extra", a->extra, 0, EXTENT_MAX)) || (s = in_range("text", a->text, 0, EXTENT_MAX)))
        return s;
    a->batch += !a->batch;
    a->heads += !a->heads;
    if ((s = in_range("kv_heads", a->kv_heads, 0, a->heads)))
        return s;
    a->kv_heads = a->kv_heads ? a->kv_heads : a->heads;
    if (a->heads % a->kv_heads)
        return oriel_fail(ORIEL_E_ARG, "attn: kv_heads %d does not divide heads %d", a->kv_heads, a->heads);
    a->dim_v = a->dim_v ? a->dim_v : a->dim;
    if (!isfinite(a->scale))
        return oriel_fail(ORIEL_E_ARG, "attn: scale %g is not finite", (double)a->scale);
    if (a->scale == 0)
        a->scale = 1.f / sqrtf((float)a->dim);
    j->tokens = 1;
    for (int x = 0; x < 3; x++) {
        a->extent[x] += !a->extent[x];
        j->tokens *= a->extent[x];
        if (j->tokens > TENSORS_TOO_LARGE)
            return oriel_fail(ORIEL_E_ARG, "attn: extent %d x %d x %d is too large", a->extent[0], a->extent[1],
                              a->extent[2]);
    }
    return ORIEL_OK;
}

oriel_status attn_prepare(attn_job *j, const oriel_attn *a, const oriel_attn_io *io)
{
    oriel_status s;
    if (!a)
        return oriel_fail(ORIEL_E_ARG, "attn: no problem");
    *j = (attn_job){.a = *a, .io = io};
    if ((s = check_numbers(j)))
        return s;
    for (int x = 0; x < 3; x++)
        if ((s = check_axis(&a->axis[x], x, j->a.extent[x])))
            return s;
    return io ? check_io(j) : ORIEL_OK;
}

oriel_status oriel_attn_check(const oriel_attn *a, const oriel_attn_io *io)
{
    attn_job j;
    return attn_prepare(&j, a, io);
}
