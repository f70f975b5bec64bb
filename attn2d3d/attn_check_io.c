/* SPDX-License-Identifier: Apache-2.0 */
/* Attention: do the tensors fit, and are the tables of integers what they must be? */
#include "attn2d3d/attn_check.h"

#include <stdio.h>

static oriel_status check_shape(const char *name, const oriel_tensor *t, oriel_dtype dtype, int ndim,
                                const int64_t *shape)
{
    char         have[128], want[128];
    oriel_tensor due = oriel_tensor_of(NULL, dtype, ndim, shape);
    bool         same = t->ndim == ndim && t->dtype == dtype;
    for (int i = 0; same && i < ndim; i++)
        same = t->shape[i] == shape[i];
    if (same)
        return ORIEL_OK;
    if (t->ndim < 0 || t->ndim > ORIEL_MAX_DIMS || (unsigned)t->dtype >= ORIEL_DTYPE_COUNT)
        return oriel_fail(ORIEL_E_ARG, "attn: %s is no tensor: ndim %d, dtype %d", name, t->ndim, (int)t->dtype);
    return oriel_fail(ORIEL_E_ARG, "attn: %s is %s where %s is due", name,
                      oriel_tensor_str(t, have, sizeof have), oriel_tensor_str(&due, want, sizeof want));
}

static oriel_status check_tensor(const char *name, const oriel_tensor *t, oriel_dtype dtype, int ndim,
                                 const int64_t *shape)
{
    if (!t->data)
        return oriel_fail(ORIEL_E_ARG, "attn: %s has no data", name);
    return check_shape(name, t, dtype, ndim, shape);
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

static oriel_status check_absent(const char *name, const void *data, const char *field_name)
{
    return data ? oriel_fail(ORIEL_E_ARG, "attn: %s is given, but %s is 0", name, field_name) : ORIEL_OK;
}

/* Places from a query to the farthest key that it sees: offsets of a bias are less than this. */
static int64_t reach(const attn_job *j, int h, int x, attn_line l)
{
    oriel_axis a = attn_axis(j, h, x);
    int64_t    n = (int64_t)l.keys * l.pool, size = a.size ? a.size : n, far = oriel_max(a.left, a.right), most = 0;
    if (a.kind == ORIEL_AXIS_NEIGHBOR)
        return size;
    if (a.kind == ORIEL_AXIS_SLIDE)
        return j->a.pad_keys ? far + 1 : oriel_min(far + 1, n);
    if (a.kind == ORIEL_AXIS_BLOCK)
        return (j->a.pad_keys ? size + far : oriel_min(size + far, n)) / l.pool;
    if (a.kind == ORIEL_AXIS_FULL)
        return oriel_max((l.at + l.queries - 1) / l.pool, l.keys - 1 - l.at / l.pool) + 1;
    for (int i = 0; i < l.queries; i++) {
        oriel_span s = attn_span(j, h, x, i);
        int        at = attn_place(j, x, i);
        most = oriel_max(most, oriel_max(at - s.first, s.first + s.count - 1 - at));
    }
    return most + 1;
}

static oriel_status check_offsets(const attn_job *j, int x, attn_line l)
{
    const oriel_tensor *t = &j->io->bias;
    for (int h = 0; h < (j->io->axes ? j->a.heads : 1); h++) {
        int64_t due = 2 * reach(j, h, x, l) - 1;
        if (t->shape[x + 1] % 2 == 0 || t->shape[x + 1] < due)
            return oriel_fail(ORIEL_E_ARG, "attn: bias: %lld offsets along %c, where an odd number from %lld is due",
                              (long long)t->shape[x + 1], attn_letters[x], (long long)due);
    }
    return ORIEL_OK;
}

static oriel_status check_bias(const attn_job *j)
{
    const oriel_attn   *a = &j->a;
    const oriel_tensor *t = &j->io->bias;
    const int64_t       dense[3] = {a->heads, j->tokens, j->key_tokens};
    if (a->bias == ORIEL_BIAS_NONE)
        return check_absent("bias tensor", t->data, "the problem's bias");
    if (a->bias == ORIEL_BIAS_DENSE)
        return check_tensor("bias", t, ORIEL_F32, 3, dense);
    if (!t->data)
        return oriel_fail(ORIEL_E_ARG, "attn: bias has no data");
    if (t->dtype != ORIEL_F32 || t->ndim != 4 || t->shape[0] != a->heads)
        return oriel_fail(ORIEL_E_ARG, "attn: bias by offset is f32 (%d, 2t - 1, 2y - 1, 2x - 1)", a->heads);
    return ORIEL_OK;
}

/* The laws of a raster, and does the bias reach? */
static oriel_status check_windows(const attn_job *j, const int extent[3], const int keys[3], const int at[3])
{
    oriel_status s;
    for (int x = 0; x < 3; x++) {
        attn_line l = {extent[x], at[x], keys[x], j->a.pool[x]};
        for (int h = 0; h < (j->io->axes ? j->a.heads : 1); h++)
            if ((s = attn_check_axis(j, j->io->axes ? &j->io->axes[h * 3 + x] : &j->a.axis[x], x, l)))
                return s;
        if (j->a.bias == ORIEL_BIAS_OFFSET && (s = check_offsets(j, x, l)))
            return s;
    }
    return ORIEL_OK;
}

static oriel_status check_segments(const attn_job *j)
{
    int64_t q = 0, k = 0;
    char    why[512];
    if (!j->io->segments)
        return oriel_fail(ORIEL_E_ARG, "attn: segments is %d, but their list is NULL", j->a.segments);
    for (int i = 0; i < j->a.segments; i++) {
        oriel_segment s = j->io->segments[i];
        oriel_status  bad = attn_check_raster(s.extent, s.keys, s.at, j->a.pool);
        s = attn_segment_filled(j, s);
        if (bad || (bad = attn_check_raster(s.extent, s.keys, s.at, j->a.pool)) ||
            (bad = check_windows(j, s.extent, s.keys, s.at))) {
            snprintf(why, sizeof why, "%s", oriel_error());
            return oriel_fail(bad, "attn: segment %d: %s", i, why);
        }
        q += (int64_t)s.extent[0] * s.extent[1] * s.extent[2];
        k += (int64_t)s.keys[0] * s.keys[1] * s.keys[2];
    }
    if (q != j->tokens || k != j->key_tokens)
        return oriel_fail(ORIEL_E_ARG, "attn: segments hold %lld queries and %lld keys, but extent[2] is %lld, keys[2] %lld",
                          (long long)q, (long long)k, (long long)j->tokens, (long long)j->key_tokens);
    return ORIEL_OK;
}

/* The table of axis x: present if a head asks for it; its spans stay among the keys and never fall. */
static oriel_status check_spans(const attn_job *j, int x)
{
    static const char *const names[] = {"spans[0]", "spans[1]", "spans[2]"};
    const oriel_tensor      *t = &j->io->spans[x];
    const int64_t            shape[2] = {j->a.extent[x], 2};
    int          keys = j->a.keys[x], low = j->a.pad_keys ? -keys : 0, high = j->a.pad_keys ? 2 * keys : keys;
    int          before = low, end = low;
    bool         used = false;
    oriel_status s;
    for (int h = 0; h < (j->io->axes ? j->a.heads : 1); h++)
        used |= attn_axis(j, h, x).kind == ORIEL_AXIS_SPANS;
    if (!used)
        return t->data ? oriel_fail(ORIEL_E_ARG, "attn: %s is given, but axis %c is not by spans", names[x], attn_letters[x])
                       : ORIEL_OK;
    if ((s = check_tensor(names[x], t, ORIEL_I32, 2, shape)))
        return s;
    for (int i = 0; i < j->a.extent[x]; i++) {
        int     first = attn_int(t, i * t->stride[0]), count = attn_int(t, i * t->stride[0] + t->stride[1]);
        int64_t to = (int64_t)first + count;
        if (count < 1 || first < low || to > high)
            return oriel_fail(ORIEL_E_ARG, "attn: %s[%d]: %d keys from %d are not in %d .. %d", names[x], i, count, first,
                              low, high - 1);
        if (first < before || to < end)
            return oriel_fail(ORIEL_E_ARG, "attn: %s[%d]: keys %d .. %lld fall behind %d .. %d", names[x], i, first,
                              (long long)to - 1, before, end - 1);
        before = first, end = (int)to;
    }
    return ORIEL_OK;
}

/* One list: rising, of blocks that there are. */
static oriel_status check_list(const attn_job *j, int from, int to)
{
    const oriel_tensor *t = &j->io->indices;
    int                 blocks = j->k_blocks[0] * j->k_blocks[1] * j->k_blocks[2], before = -1;
    for (int i = from; i < to; i++) {
        int v = attn_int(t, i * t->stride[0]);
        if (v <= before || v >= blocks)
            return oriel_fail(ORIEL_E_ARG, "attn: indices[%d] %d is not in %d .. %d: lists rise", i, v, before + 1,
                              blocks - 1);
        before = v;
    }
    return ORIEL_OK;
}

static oriel_status check_k_valid(const attn_job *j)
{
    const oriel_tensor *t = &j->io->k_valid;
    const int64_t       blocks = (int64_t)j->k_blocks[0] * j->k_blocks[1] * j->k_blocks[2];
    oriel_status        s = check_tensor("k_valid", t, ORIEL_I32, 1, &blocks);
    if (s)
        return s;
    if (j->a.text)
        return oriel_fail(ORIEL_E_ARG, "attn: k_valid is given, but text is %d", j->a.text);
    for (int i = 0; i < blocks; i++) {
        attn_box b = attn_key_box(j, i);
        int64_t  most = (int64_t)(b.end[0] - b.first[0]) * (b.end[1] - b.first[1]) * (b.end[2] - b.first[2]);
        int      v = attn_int(t, i * t->stride[0]);
        if (v < 0 || v > most)
            return oriel_fail(ORIEL_E_ARG, "attn: k_valid[%d] %d is not in 0 .. %lld", i, v, (long long)most);
    }
    return ORIEL_OK;
}

static oriel_status check_lists(const attn_job *j)
{
    const oriel_attn_io *io = j->io;
    const oriel_tensor  *p = &io->indptr, *t = &io->indices;
    oriel_status         s;
    if (!j->a.lists)
        return (s = check_absent("indptr", p->data, "lists")) || (s = check_absent("indices", t->data, "lists"))
                   ? s
                   : check_absent("k_valid", io->k_valid.data, "lists");
    int64_t blocks = (int64_t)j->q_blocks[0] * j->q_blocks[1] * j->q_blocks[2];
    int64_t shape[3] = {p->ndim == 3 && p->shape[0] == 1 ? 1 : j->a.batch,
                        p->ndim == 3 && p->shape[1] == 1 ? 1 : j->a.heads, blocks + 1};
    if ((s = check_tensor("indptr", p, ORIEL_I32, 3, shape)))
        return s;
    if (t->ndim != 1 || t->dtype != ORIEL_I32 || t->shape[0] < 0 || t->shape[0] > INT_MAX || (t->shape[0] && !t->data))
        return oriel_fail(ORIEL_E_ARG, "attn: indices has no data, or is not i32 (n)");
    for (int64_t b = 0; b < shape[0]; b++)
        for (int64_t h = 0; h < shape[1]; h++) {
            int64_t at = b * p->stride[0] + h * p->stride[1], before = attn_int(p, at);
            if ((s = attn_in_range("indptr[0]", before, 0, t->shape[0])))
                return s;
            for (int64_t i = 1; i <= blocks; i++) {
                int v = attn_int(p, at + i * p->stride[2]);
                if (v < before || v > t->shape[0])
                    return oriel_fail(ORIEL_E_ARG, "attn: indptr[%lld][%lld][%lld] %d is not in %lld .. %lld", (long long)b,
                                      (long long)h, (long long)i, v, (long long)before, (long long)t->shape[0]);
                if ((s = check_list(j, (int)before, v)))
                    return s;
                before = v;
            }
        }
    return io->k_valid.data ? check_k_valid(j) : ORIEL_OK;
}

static oriel_status check_beside(const attn_job *j)
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
    } else if ((s = check_absent("extra_k", io->extra_k.data, "extra")) ||
               (s = check_absent("extra_v", io->extra_v.data, "extra")))
        return s;
    if (!a->text)
        return (s = check_absent("text_q", io->text_q.data, "text")) ||
                       (s = check_absent("text_out", io->text_out.data, "text"))
                   ? s
                   : check_absent("text_lse", io->text_lse.data, "text");
    if ((s = check_tensor("text_q", &io->text_q, a->dtype, 4, q)) ||
        (s = check_output("text_out", &io->text_out, a->dtype, 4, o)))
        return s;
    if (io->text_lse.data && a->text_mode == ORIEL_TEXT_WINDOWS)
        return oriel_fail(ORIEL_E_ARG, "attn: text_lse is given, but text_mode windows gives a mean, which has none");
    return io->text_lse.data ? check_output("text_lse", &io->text_lse, ORIEL_F32, 3, q) : ORIEL_OK;
}

static oriel_status check_rows(const attn_job *j)
{
    const oriel_attn    *a = &j->a;
    const oriel_attn_io *io = j->io;
    const int64_t        heads = a->heads, k[2] = {a->kv_heads, a->dim}, v[2] = {a->kv_heads, a->dim_v};
    oriel_status         s;
    if (io->scales.data && (s = check_tensor("scales", &io->scales, ORIEL_F32, 1, &heads)))
        return s;
    if (!a->pad_keys)
        return (s = check_absent("pad_k", io->pad_k.data, "pad_keys"))
                   ? s
                   : check_absent("pad_v", io->pad_v.data, "pad_keys");
    if (!io->pad_k.data && !io->pad_v.data)
        return ORIEL_OK;
    return (s = check_tensor("pad_k", &io->pad_k, a->dtype, 2, k)) ? s : check_tensor("pad_v", &io->pad_v, a->dtype, 2, v);
}

oriel_status attn_check_io(const attn_job *j)
{
    const oriel_attn    *a = &j->a;
    const oriel_attn_io *io = j->io;
    const int           *n = a->extent, *m = a->keys;
    oriel_status         s;
    const int64_t q[6] = {a->batch, n[0], n[1], n[2], a->heads, a->dim}, o[6] = {a->batch, n[0], n[1], n[2], a->heads, a->dim_v};
    const int64_t k[6] = {a->batch, m[0], m[1], m[2], a->kv_heads, a->dim}, v[6] = {a->batch, m[0], m[1], m[2], a->kv_heads, a->dim_v};
    if ((s = check_tensor("q", &io->q, a->dtype, 6, q)) || (s = check_tensor("k", &io->k, a->dtype, 6, k)) ||
        (s = check_tensor("v", &io->v, a->dtype, 6, v)) || (s = check_output("out", &io->out, a->dtype, 6, o)))
        return s;
    if (io->lse.data && (s = check_output("lse", &io->lse, ORIEL_F32, 5, q)))
        return s;
    if ((s = check_bias(j)) || (s = check_rows(j)) || (s = check_beside(j)))
        return s;
    if (!a->segments && io->segments)
        return oriel_fail(ORIEL_E_ARG, "attn: segments are given, but segments is 0");
    for (int i = 0; i < 3 * a->heads && io->axes; i++) /* kinds first: a table goes with one */
        if ((unsigned)io->axes[i].kind > ORIEL_AXIS_SPANS)
            return oriel_fail(ORIEL_E_ARG, "attn: axis %c: kind %d is not known", attn_letters[i % 3], (int)io->axes[i].kind);
    for (int x = 0; x < 3; x++)
        if ((s = check_spans(j, x)))
            return s;
    if ((s = a->segments ? check_segments(j) : check_windows(j, n, m, a->at)))
        return s;
    return check_lists(j);
}
