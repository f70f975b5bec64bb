/* SPDX-License-Identifier: Apache-2.0 */
/* What the models take from a checkpoint: tensors by name, values by path. */

#include "models/checkpoint/pickle.h"

ckpt_arch ckpt_architecture(const oriel_checkpoint *c)
{
    return c->arch;
}

const oriel_tensor *ckpt_find(const oriel_checkpoint *c, const char *name)
{
    size_t lo = 0, hi = c->entries;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const ckpt_entry *e = &c->entry[c->by_name[mid]];
        int d = strcmp(e->name, name);
        if (!d)
            return &e->tensor;
        if (d < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

int64_t ckpt_count(const oriel_checkpoint *c)
{
    return (int64_t)c->entries;
}

const char *ckpt_name(const oriel_checkpoint *c, int64_t i)
{
    return c->entry[i].name;
}

const oriel_tensor *ckpt_tensor(const oriel_checkpoint *c, int64_t i)
{
    return &c->entry[i].tensor;
}

void ckpt_to_f32(const oriel_tensor *t, float *dst)
{
    int64_t n = oriel_tensor_count(t), at[ORIEL_MAX_DIMS] = {0}, offset = 0;
    size_t item = oriel_dtype_size(t->dtype);
    if (t->dtype == ORIEL_F32 && oriel_tensor_packed(t)) {
        if (n)
            memcpy(dst, t->data, (size_t)n * sizeof *dst);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint64_t aligned = 0; /* the file need not align its elements */
        memcpy(&aligned, (const char *)t->data + offset * (int64_t)item, item);
        dst[i] = oriel_to_f32(&aligned, t->dtype, 0);
        for (int k = t->ndim - 1; k >= 0; k--) {
            offset += t->stride[k];
            if (++at[k] < t->shape[k])
                break;
            offset -= at[k] * t->stride[k];
            at[k] = 0;
        }
    }
}

const char *ckpt_metadata(const oriel_checkpoint *c, const char *key)
{
    for (size_t i = 0; i < c->metas; i++)
        if (!strcmp(c->meta[i].key, key))
            return c->meta[i].value;
    return NULL;
}

/* ---- values beside the tensors ----------------------------------------------------------------
 */

static const pk_node *child(const pk_node *n, ckpt_text part)
{
    if (n->kind != PK_LIST && n->kind != PK_TUPLE)
        return pk_get(n, part);
    size_t i = 0;
    for (size_t k = 0; k < part.n; k++) {
        if (part.s[k] < '0' || part.s[k] > '9' || i > UINT32_MAX)
            return NULL;
        i = i * 10 + (size_t)(part.s[k] - '0');
    }
    return part.n ? pk_item(n, i) : NULL;
}

const ckpt_value *ckpt_value_at(const oriel_checkpoint *c, const char *path)
{
    const pk_node *n = c->root;
    while (n && *path) {
        size_t len = strcspn(path, ".");
        n = child(n, (ckpt_text){path, len});
        path += len + (path[len] == '.');
    }
    return n;
}

bool ckpt_value_int(const ckpt_value *v, int64_t *out)
{
    if (!v || (v->kind != PK_INT && v->kind != PK_BOOL))
        return false;
    *out = v->u.i;
    return true;
}

bool ckpt_value_float(const ckpt_value *v, double *out)
{
    int64_t i;
    if (v && v->kind == PK_FLOAT)
        *out = v->u.f;
    else if (ckpt_value_int(v, &i))
        *out = (double)i;
    else
        return false;
    return true;
}

bool ckpt_value_text(const ckpt_value *v, char *buf, size_t size)
{
    if (!v || v->kind != PK_STR || !size)
        return false;
    size_t n = v->n < size - 1 ? v->n : size - 1;
    if (n)
        memcpy(buf, v->u.text, n);
    buf[n] = 0;
    return true;
}

int64_t ckpt_value_len(const ckpt_value *v)
{
    return v && (v->kind == PK_LIST || v->kind == PK_TUPLE) ? (int64_t)v->n : 0;
}

const ckpt_value *ckpt_value_item(const ckpt_value *v, int64_t i)
{
    return i < 0 ? NULL : pk_item(v, (size_t)i);
}
