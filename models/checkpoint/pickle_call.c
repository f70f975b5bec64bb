/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of the pickle machine, and what a call would have made: containers become containers,
 * torch's rebuild functions tensors, everything else an object that keeps what it was given. */

#include <stdio.h>

#include "models/checkpoint/pickle_call.h"

/* ---- nodes ------------------------------------------------------------------------------------
 */

pk_node *pk_new(pk_maker *m, pk_kind kind)
{
    if (m->status)
        return NULL;
    if (!m->nodes_left) {
        m->status = oriel_fail(ORIEL_E_UNSUPPORTED, "pickle: over 16 M values");
        return NULL;
    }
    m->nodes_left--;
    pk_node *n = ckpt_take(m->mem, sizeof *n);
    if (n)
        *n = (pk_node){.kind = (uint8_t)kind};
    else
        m->status = ORIEL_E_NOMEM;
    return n;
}

pk_node *pk_new_bool(pk_maker *m, bool b)
{
    pk_node *n = pk_new(m, PK_BOOL);
    if (n)
        n->u.i = b;
    return n;
}

pk_node *pk_new_int(pk_maker *m, int64_t i)
{
    pk_node *n = pk_new(m, PK_INT);
    if (n)
        n->u.i = i;
    return n;
}

pk_node *pk_new_float(pk_maker *m, double f)
{
    pk_node *n = pk_new(m, PK_FLOAT);
    if (n)
        n->u.f = f;
    return n;
}

pk_node *pk_new_text(pk_maker *m, pk_kind kind, const char *s, size_t len)
{
    assert(len <= UINT32_MAX);
    pk_node *n = pk_new(m, kind);
    if (n) {
        n->u.text = s;
        n->n = (uint32_t)len;
    }
    return n;
}

pk_node *pk_new_object(pk_maker *m, pk_kind kind, pk_node *cls, pk_node *args)
{
    pk_node *n = pk_new(m, kind);
    if (!n)
        return NULL;
    n->u.obj = ckpt_take(m->mem, sizeof *n->u.obj);
    if (!n->u.obj) {
        m->status = ORIEL_E_NOMEM;
        return NULL;
    }
    *n->u.obj = (pk_object){.cls = cls, .args = args};
    return n;
}

void pk_append(pk_maker *m, pk_node *to, pk_node **item, size_t n)
{
    if (m->status)
        return;
    if (n > UINT32_MAX / 4 - to->n) {
        m->status = oriel_fail(ORIEL_E_UNSUPPORTED, "pickle: a container of over 1 G items");
        return;
    }
    if (to->cap - to->n < n) {
        size_t grown = to->n ? (size_t)to->n * 2 : 0;
        size_t cap = to->n + n > grown ? to->n + n : grown;
        pk_node **p = ckpt_take_array(m->mem, cap, sizeof *p);
        if (!p) {
            m->status = ORIEL_E_NOMEM;
            return;
        }
        if (to->n)
            memcpy(p, to->u.item, to->n * sizeof *p);
        to->u.item = p;
        to->cap = (uint32_t)cap;
    }
    if (n)
        memcpy(to->u.item + to->n, item, n * sizeof *item);
    to->n += (uint32_t)n;
}

void pk_set_items(pk_maker *m, pk_node *to, pk_node **item, size_t n)
{
    if (m->status)
        return;
    if (to->kind == PK_OBJECT) {
        pk_object *o = to->u.obj;
        if (!o->items)
            o->items = pk_new(m, PK_DICT);
        to = o->items;
    }
    if (to && to->kind == PK_DICT)
        pk_append(m, to, item, n);
    else if (to)
        m->status = oriel_fail(ORIEL_E_FORMAT, "pickle: items for something that is no dictionary");
}

/* ---- what is known ----------------------------------------------------------------------------
 */

static const struct {
    const char *module, *name;
    pk_calls calls;
} known[] = {
    {"collections", "OrderedDict", PK_CALL_DICT},
    {"collections", "defaultdict", PK_CALL_DICT},
    {"collections", "Counter", PK_CALL_DICT},
    {"builtins", "dict", PK_CALL_DICT},
    {"__builtin__", "dict", PK_CALL_DICT},
    {"builtins", "set", PK_CALL_FIRST},
    {"__builtin__", "set", PK_CALL_FIRST},
    {"builtins", "frozenset", PK_CALL_FIRST},
    {"__builtin__", "frozenset", PK_CALL_FIRST},
    {"builtins", "list", PK_CALL_FIRST},
    {"builtins", "tuple", PK_CALL_FIRST},
    {"torch", "Size", PK_CALL_FIRST},
    {"torch", "device", PK_CALL_FIRST},
    {"torch._utils", "_rebuild_tensor", PK_CALL_TENSOR},
    {"torch._utils", "_rebuild_tensor_v2", PK_CALL_TENSOR},
    {"torch._utils", "_rebuild_tensor_v3", PK_CALL_TENSOR_3},
    {"torch._utils", "_rebuild_parameter", PK_CALL_PARAMETER},
    {"torch._utils", "_rebuild_parameter_with_state", PK_CALL_PARAMETER},
    {"torch._tensor", "_rebuild_from_type_v2", PK_CALL_FROM_TYPE},
    {"torch._utils", "_rebuild_from_type_v2", PK_CALL_FROM_TYPE},
    {"_codecs", "encode", PK_CALL_ENCODE},
    {"numpy.core.multiarray", "_reconstruct", PK_CALL_NDARRAY},
    {"numpy._core.multiarray", "_reconstruct", PK_CALL_NDARRAY},
    {"numpy.core.numeric", "_frombuffer", PK_CALL_FROM_BUFFER},
    {"numpy._core.numeric", "_frombuffer", PK_CALL_FROM_BUFFER},
    {"numpy", "dtype", PK_CALL_DTYPE},
};

bool pk_global_is(const pk_node *n, const char *module, const char *name)
{
    return n && n->kind == PK_GLOBAL && ckpt_text_is(pk_text(n->u.obj->cls), module) &&
           ckpt_text_is(pk_text(n->u.obj->args), name);
}

pk_node *pk_new_global(pk_maker *m, pk_node *module, pk_node *name)
{
    pk_node *n = pk_new_object(m, PK_GLOBAL, module, name);
    for (size_t i = 0; n && i < sizeof known / sizeof *known; i++)
        if (pk_global_is(n, known[i].module, known[i].name))
            n->calls = (uint8_t)known[i].calls;
    return n;
}

/* ---- calls ------------------------------------------------------------------------------------
 */

/* n items or bytes will be copied: what is written once is copied once, unless to do harm. */
static bool pay(pk_maker *m, size_t n)
{
    if (n > m->copies_left && !m->status)
        m->status = oriel_fail(ORIEL_E_FORMAT, "pickle: more copies than the file could hold");
    m->copies_left -= m->status ? 0 : n;
    return !m->status;
}

/* OrderedDict() or, of Python 2, OrderedDict([[key, value], ...]) */
static pk_node *call_dict(pk_maker *m, const pk_node *args)
{
    pk_node *d = pk_new(m, PK_DICT), *list = pk_item(args, 0);
    if (!d || !list || list->kind != PK_LIST)
        return d;
    if (!pay(m, list->n))
        return NULL;
    for (size_t i = 0; i < list->n; i++) {
        pk_node *pair[2] = {pk_item(list->u.item[i], 0), pk_item(list->u.item[i], 1)};
        if (!pair[0] || !pair[1]) {
            m->status = oriel_fail(ORIEL_E_FORMAT, "pickle: a dictionary of something but pairs");
            return NULL;
        }
        pk_append(m, d, pair, 2);
    }
    return d;
}

pk_node *pk_call(pk_maker *m, pk_node *callee, pk_node *args, int level)
{
    enum { MAX_LEVEL = 4 };
    int calls = callee->kind == PK_GLOBAL && level < MAX_LEVEL ? callee->calls : PK_CALL_OTHER;
    pk_node *first = pk_item(args, 0), *inner;
    bool tensor = false;
    switch (calls) {
    case PK_CALL_DICT:
        return call_dict(m, args);
    case PK_CALL_FIRST:
        return first ? first : pk_new(m, PK_TUPLE);
    case PK_CALL_TENSOR:
    case PK_CALL_TENSOR_3:
        tensor = true;
        break;
    case PK_CALL_PARAMETER: /* (data, requires_grad, hooks[, state]) */
        if (first)
            return first;
        break;
    case PK_CALL_FROM_TYPE: /* (function, type, args, state): the function makes the tensor */
        inner = pk_item(args, 2);
        if (first && inner)
            return pk_call(m, first, inner, level + 1);
        break;
    case PK_CALL_ENCODE: /* decoded when asked for: each text once */
        if (!pay(m, pk_text(first).n))
            return NULL;
        break;
    default:
        break;
    }
    pk_node *n = pk_new_object(m, tensor ? PK_TENSOR : PK_OBJECT, callee, args);
    if (n)
        n->calls = (uint8_t)calls;
    return n;
}

/* ---- looking into nodes -----------------------------------------------------------------------
 */

pk_node *pk_item(const pk_node *n, size_t i)
{
    return n && (n->kind == PK_TUPLE || n->kind == PK_LIST) && i < n->n ? n->u.item[i] : NULL;
}

const pk_node *pk_fields(const pk_node *n)
{
    if (!n || n->kind == PK_DICT)
        return n;
    if (n->kind != PK_OBJECT)
        return NULL;
    const pk_node *state = n->u.obj->state;
    if (n->u.obj->items)
        return n->u.obj->items;
    if (state && state->kind == PK_TUPLE) /* (fields, slots) */
        state = pk_item(state, 0);
    return state && state->kind == PK_DICT ? state : NULL;
}

pk_node *pk_get(const pk_node *n, ckpt_text key)
{
    const pk_node *d = pk_fields(n);
    for (size_t i = d ? d->n : 0; i >= 2; i -= 2) {
        const pk_node *k = d->u.item[i - 2];
        if (k->kind == PK_STR && !ckpt_text_cmp(pk_text(k), key))
            return d->u.item[i - 1];
    }
    return NULL;
}

ckpt_shown pk_class(const pk_node *n)
{
    const pk_node *g = n && n->kind != PK_GLOBAL && n->kind >= PK_STORAGE ? n->u.obj->cls : n;
    if (!g || g->kind != PK_GLOBAL)
        return ckpt_show((ckpt_text){"?", 1});
    ckpt_shown module = ckpt_show(pk_text(g->u.obj->cls));
    ckpt_shown name = ckpt_show(pk_text(g->u.obj->args)), r;
    snprintf(r.s, sizeof r.s, "%.40s.%.40s", module.s, name.s);
    return r;
}
