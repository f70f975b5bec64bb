/* SPDX-License-Identifier: Apache-2.0 */
/* A torch tensor is a view of a storage: (storage, offset, size, stride). Here the four become an
 * oriel_tensor, once nothing of it can leave the storage. */

#include "models/checkpoint/torch.h"

static const struct {
    const char *storage, *dtype; /* torch.FloatStorage, torch.float32 */
    oriel_dtype type;
    uint8_t item; /* for those that have no oriel_dtype */
} types[] = {
    {"FloatStorage", "float32", ORIEL_F32, 4},
    {"HalfStorage", "float16", ORIEL_F16, 2},
    {"BFloat16Storage", "bfloat16", ORIEL_BF16, 2},
    {"DoubleStorage", "float64", ORIEL_F64, 8},
    {"LongStorage", "int64", ORIEL_I64, 8},
    {"IntStorage", "int32", ORIEL_I32, 4},
    {"ShortStorage", "int16", ORIEL_I16, 2},
    {"CharStorage", "int8", ORIEL_I8, 1},
    {"ByteStorage", "uint8", ORIEL_U8, 1},
    {"BoolStorage", "bool", ORIEL_BOOL, 1},
    {"UntypedStorage", "", ORIEL_U8, 1},
    {"", "uint16", ORIEL_U16, 2},
    {"", "float8_e4m3fn", ORIEL_F8_E4M3, 1},
    {"", "float8_e5m2", ORIEL_F8_E5M2, 1},
    {"ComplexFloatStorage", "complex64", ORIEL_DTYPE_COUNT, 8},
    {"ComplexDoubleStorage", "complex128", ORIEL_DTYPE_COUNT, 16},
    {"QInt8Storage", "qint8", ORIEL_DTYPE_COUNT, 1},
    {"QUInt8Storage", "quint8", ORIEL_DTYPE_COUNT, 1},
    {"QInt32Storage", "qint32", ORIEL_DTYPE_COUNT, 4},
    {"", "uint32", ORIEL_DTYPE_COUNT, 4},
    {"", "uint64", ORIEL_DTYPE_COUNT, 8},
};

bool torch_storage_read(const pk_node *storage, torch_storage *s)
{
    const pk_node *id = storage && storage->kind == PK_STORAGE ? storage->u.obj->args : NULL;
    const pk_node *type = pk_item(id, 1), *key = pk_item(id, 2), *count = pk_item(id, 4);
    if (!ckpt_text_is(pk_text(pk_item(id, 0)), "storage") || !type || type->kind != PK_GLOBAL ||
        !key || key->kind != PK_STR || !count || count->kind != PK_INT || count->u.i < 0)
        return false;
    *s = (torch_storage){.key = pk_text(key), .dtype = ORIEL_DTYPE_COUNT, .count = count->u.i};
    ckpt_text name = pk_text(type->u.obj->args);
    for (size_t i = 0; name.n && i < sizeof types / sizeof *types; i++)
        if (ckpt_text_is(name, types[i].storage)) {
            s->dtype = types[i].type;
            s->item = types[i].item;
        }
    return true;
}

/* The dtype of _rebuild_tensor_v3's argument, torch.float8_e5m2 say */
static void named_dtype(const pk_node *global, torch_storage *s)
{
    s->dtype = ORIEL_DTYPE_COUNT;
    s->item = 0;
    ckpt_text name =
        global && global->kind == PK_GLOBAL ? pk_text(global->u.obj->args) : (ckpt_text){"", 0};
    for (size_t i = 0; name.n && i < sizeof types / sizeof *types; i++)
        if (ckpt_text_is(name, types[i].dtype)) {
            s->dtype = types[i].type;
            s->item = types[i].item;
        }
}

bool torch_is_tensor(const pk_node *n)
{
    return n &&
           (n->kind == PK_TENSOR || (n->kind == PK_OBJECT && (n->calls == PK_CALL_NDARRAY ||
                                                              n->calls == PK_CALL_FROM_BUFFER)));
}

oriel_status torch_check_view(const oriel_tensor *t, int64_t offset, int64_t count,
                              const char *name)
{
    int64_t last = offset, elements = 1, bytes;
    bool fits = offset >= 0, empty = false;
    for (int i = 0; i < t->ndim && fits; i++) {
        int64_t n = t->shape[i], s = t->stride[i], reach;
        fits = n >= 0 && s >= 0 && !__builtin_mul_overflow(elements, n > 0 ? n : 1, &elements);
        empty |= n == 0;
        fits = fits && (n == 0 || (!__builtin_mul_overflow(n - 1, s, &reach) &&
                                   !__builtin_add_overflow(last, reach, &last)));
    }
    fits = fits && !__builtin_mul_overflow(elements, 8, &bytes) && (empty || last < count) &&
           offset <= count;
    return fits ? ORIEL_OK
                : oriel_fail(ORIEL_E_FORMAT, "tensor %s: its shape leaves the storage of %lld",
                             SHOWN(((ckpt_text){name, strlen(name)})), (long long)count);
}

/* Sizes and strides: tuples (or lists) of n ints each, n <= CKPT_MAX_DIMS */
static bool read_ints(const pk_node *n, int64_t *v, size_t *count)
{
    if (!n || (n->kind != PK_TUPLE && n->kind != PK_LIST) || n->n > CKPT_MAX_DIMS)
        return false;
    *count = n->n;
    for (size_t i = 0; i < n->n; i++) {
        if (n->u.item[i]->kind != PK_INT)
            return false;
        v[i] = n->u.item[i]->u.i;
    }
    return true;
}

static oriel_status malformed(const pk_node *n, const char *name)
{
    return oriel_fail(ORIEL_E_FORMAT, "tensor %s: arguments of %s that torch never writes",
                      SHOWN(((ckpt_text){name, strlen(name)})), pk_class(n).s);
}

oriel_status torch_resolve(ckpt_mem *mem, const torch_source *src, const pk_node *n,
                           const char *name, oriel_tensor *t, const char **why)
{
    if (n->kind == PK_OBJECT)
        return numpy_resolve(mem, n, name, t, why);
    const pk_node *args = n->u.obj->args, *offset = pk_item(args, 1);
    int64_t shape[CKPT_MAX_DIMS], stride[CKPT_MAX_DIMS], count;
    size_t dims, strides;
    torch_storage s;
    if (!torch_storage_read(pk_item(args, 0), &s) || !offset || offset->kind != PK_INT ||
        !read_ints(pk_item(args, 2), shape, &dims) ||
        !read_ints(pk_item(args, 3), stride, &strides) || dims != strides)
        return malformed(n, name);
    count = s.count;
    if (n->calls == PK_CALL_TENSOR_3) { /* its storage is counted in bytes */
        named_dtype(pk_item(args, 6), &s);
        count = s.item ? s.count / (int64_t)s.item : 0;
    }
    *why = s.dtype == ORIEL_DTYPE_COUNT ? "a type that is not read" : "over 6 axes";
    if (s.dtype == ORIEL_DTYPE_COUNT || dims > ORIEL_MAX_DIMS)
        return ORIEL_EOF;

    *t = (oriel_tensor){.dtype = s.dtype, .ndim = (int)dims};
    memcpy(t->shape, shape, dims * sizeof *shape);
    memcpy(t->stride, stride, dims * sizeof *stride);
    oriel_status st = torch_check_view(t, offset->u.i, count, name);
    const unsigned char *data = NULL;
    size_t size = 0;
    if (!st)
        st = src && src->find ? src->find(src->user, s.key, s.item, &data, &size)
                              : malformed(n, name);
    if (!st && (uint64_t)count > size / s.item)
        st = oriel_fail(ORIEL_E_FORMAT, "tensor %s: storage %s has %zu bytes, %lld of %zu were due",
                        SHOWN(((ckpt_text){name, strlen(name)})), SHOWN(s.key), size,
                        (long long)count, s.item);
    if (!st) /* a view for reading, whose type has no const */
        t->data = (void *)(uintptr_t)(data + (size_t)offset->u.i * s.item);
    return st;
}
