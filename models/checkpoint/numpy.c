/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays of numpy in a pickle, as detectron2 publishes weights: the bytes are in the pickle, or in
 * a text that stands for them (protocol 2 knows no bytes and encodes them as Latin-1). */

#include "models/checkpoint/torch.h"

static const struct {
    const char *name;
    oriel_dtype type;
} types[] = {
    {"f4", ORIEL_F32}, {"f2", ORIEL_F16}, {"f8", ORIEL_F64}, {"i8", ORIEL_I64}, {"i4", ORIEL_I32},
    {"i2", ORIEL_I16}, {"i1", ORIEL_I8},  {"u1", ORIEL_U8},  {"u2", ORIEL_U16}, {"b1", ORIEL_BOOL},
};

/* dtype('f4', False, True) with the state (3, '<', ...): ORIEL_DTYPE_COUNT if it is none of ours */
static oriel_dtype read_dtype(const pk_node *n)
{
    if (!n || n->kind != PK_OBJECT || n->calls != PK_CALL_DTYPE)
        return ORIEL_DTYPE_COUNT;
    ckpt_text name = pk_text(pk_item(n->u.obj->args, 0));
    ckpt_text order = pk_text(pk_item(n->u.obj->state, 1));
    if (name.n == 3 && (name.s[0] == '<' || name.s[0] == '|'))
        name = (ckpt_text){name.s + 1, 2};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (ckpt_text_is(name, types[i].name) && !ckpt_text_is(order, ">"))
            return types[i].type;
    return ORIEL_DTYPE_COUNT;
}

/* The bytes that _codecs.encode(text, 'latin1') makes: code points 0 to 255 from UTF-8 */
static const char *encode(ckpt_mem *mem, ckpt_text from, size_t want, oriel_status *s)
{
    if (want > from.n) {
        *s = oriel_fail(ORIEL_E_FORMAT, "pickle: an array whose bytes are missing");
        return NULL;
    }
    char *to = ckpt_take(mem, want);
    *s = to ? ORIEL_OK : ORIEL_E_NOMEM;
    size_t n = 0;
    for (size_t i = 0; to && i < from.n; n++) {
        unsigned c = (unsigned char)from.s[i++];
        bool two = (c & 0xfe) == 0xc2 && i < from.n && ((unsigned char)from.s[i] & 0xc0) == 0x80;
        if (n == want || (c >= 0x80 && !two)) {
            n = want + 1;
            break;
        }
        to[n] = (char)(two ? (c & 3) << 6 | ((unsigned char)from.s[i++] & 0x3f) : c);
    }
    if (to && n != want)
        *s = oriel_fail(ORIEL_E_FORMAT, "pickle: an array whose text is not %zu bytes", want);
    return *s ? NULL : to;
}

static oriel_status find_bytes(ckpt_mem *mem, pk_node *n, size_t want, const char **bytes)
{
    oriel_status s = ORIEL_OK;
    *bytes = NULL;
    if (n && n->kind == PK_OBJECT && n->calls == PK_CALL_ENCODE) {
        /* The decoded text stands in for the call from now on: it is decoded once, however many
         * arrays name it. */
        *bytes = encode(mem, pk_text(pk_item(n->u.obj->args, 0)), want, &s);
        if (*bytes && want <= UINT32_MAX)
            *n = (pk_node){.kind = PK_BYTES, .n = (uint32_t)want, .u.text = *bytes};
        return s;
    }
    ckpt_text t = pk_text(n);
    if (!n || (n->kind != PK_BYTES && n->kind != PK_STR) || t.n != want)
        return oriel_fail(ORIEL_E_FORMAT, "pickle: an array of %zu bytes that brings %zu", want,
                          t.n);
    *bytes = t.s;
    return s;
}

oriel_status numpy_resolve(ckpt_mem *mem, const pk_node *n, const char *name, oriel_tensor *t,
                           const char **why)
{
    bool frombuffer = n->calls == PK_CALL_FROM_BUFFER; /* (bytes, dtype, shape, 'C') */
    const pk_node *a =
        frombuffer ? n->u.obj->args : n->u.obj->state; /* (1, shape, dtype, F, bytes) */
    const pk_node *shape = pk_item(a, frombuffer ? 2 : 1), *f = pk_item(a, 3);
    pk_node *data = pk_item(a, frombuffer ? 0 : 4);
    oriel_dtype type = read_dtype(pk_item(a, frombuffer ? 1 : 2));
    if (!shape || shape->kind != PK_TUPLE || shape->n > CKPT_MAX_DIMS || !data || !f)
        return oriel_fail(ORIEL_E_FORMAT, "array %s: a state that numpy never writes",
                          SHOWN(((ckpt_text){name, strlen(name)})));
    *why = type == ORIEL_DTYPE_COUNT ? "a type that is not read" : "over 6 axes";
    if (type == ORIEL_DTYPE_COUNT || shape->n > ORIEL_MAX_DIMS)
        return ORIEL_EOF;

    bool fortran = f->kind == PK_BOOL ? f->u.i : ckpt_text_is(pk_text(f), "F");
    int64_t dims[ORIEL_MAX_DIMS] = {0}, count = 1;
    int ndim = (int)shape->n;
    for (int i = 0; i < ndim; i++) {
        const pk_node *d = shape->u.item[i];
        dims[i] = d->kind == PK_INT ? d->u.i : -1;
        if (dims[i] < 0 || __builtin_mul_overflow(count, dims[i], &count) ||
            count > INT32_MAX * 4LL)
            return oriel_fail(ORIEL_E_FORMAT, "array %s: a shape out of range",
                              SHOWN(((ckpt_text){name, strlen(name)})));
    }
    const char *bytes;
    oriel_status s = find_bytes(mem, data, (size_t)count * oriel_dtype_size(type), &bytes);
    if (s)
        return s;
    *t = oriel_tensor_of((void *)(uintptr_t)bytes, type, ndim, dims);
    int64_t step = 1;
    for (int i = 0; fortran && i < ndim; step *= dims[i++])
        t->stride[i] = step;
    return ORIEL_OK;
}
