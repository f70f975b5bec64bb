/* SPDX-License-Identifier: Apache-2.0 */
/* Python pickles, read without executing anything. */
#ifndef MODELS_CHECKPOINT_PICKLE_H
#define MODELS_CHECKPOINT_PICKLE_H

#include "models/checkpoint/format.h"

typedef enum pk_kind {
    PK_NONE,
    PK_BOOL,
    PK_INT,
    PK_LONG, /* an int of more than 8 bytes: u.text, little-endian two's complement */
    PK_FLOAT,
    PK_BYTES,
    PK_STR,
    PK_TUPLE,
    PK_LIST, /* sets too */
    PK_DICT,
    PK_GLOBAL, /* a name: u.obj->cls is the module, u.obj->args the name; calls says what it does */
    PK_STORAGE, /* u.obj->args is the persistent id */
    PK_TENSOR,  /* u.obj: a _rebuild_tensor function and its arguments */
    PK_OBJECT   /* any other class or function with what it was given */
} pk_kind;

/* What calling a global would make. */
typedef enum pk_calls {
    PK_CALL_OTHER = 0,
    PK_CALL_DICT,
    PK_CALL_FIRST,    /* its first argument: sets, torch.Size, torch.device */
    PK_CALL_TENSOR,   /* torch._utils._rebuild_tensor, _v2 */
    PK_CALL_TENSOR_3, /* _v3: names its dtype */
    PK_CALL_PARAMETER,
    PK_CALL_FROM_TYPE,
    PK_CALL_ENCODE,  /* _codecs.encode: bytes of protocol 2 */
    PK_CALL_NDARRAY, /* numpy's _reconstruct */
    PK_CALL_FROM_BUFFER,
    PK_CALL_DTYPE
} pk_calls;

typedef struct pk_node pk_node;

typedef struct pk_object {
    pk_node *cls, *args, *state, *items; /* state: of BUILD; items: a dict, of SETITEM; or NULL */
} pk_object;

/* By reference everywhere: a node may be in many places, and may contain itself. */
struct pk_node {
    uint8_t kind;
    uint8_t calls; /* of PK_GLOBAL, and of a PK_OBJECT or PK_TENSOR the one of its function */
    uint8_t seen;  /* for walkers */
    uint32_t n;    /* bytes of text; items; in a dict keys and values are items by turns */
    uint32_t cap;
    union {
        int64_t i;
        double f;
        const char *text; /* in the pickle itself, not terminated */
        pk_node **item;
        pk_object *obj;
    } u;
};

/* What one pickle held. */
typedef struct pk_result {
    pk_node *root;
    pk_node *storages; /* every PK_STORAGE, the next one being u.obj->items */
    size_t used;       /* bytes of the pickle */
} pk_result;

/* Read one pickle from the front of [data, data + size). Nodes live in mem, texts stay in data.
 * Memory: at most about 60 bytes for each byte of pickle, and 16 M nodes. */
oriel_status pk_parse(ckpt_mem *mem, const void *data, size_t size, pk_result *result);

static inline ckpt_text pk_text(const pk_node *n) /* "" if n is no text */
{
    bool text = n && (n->kind == PK_STR || n->kind == PK_BYTES || n->kind == PK_LONG);
    return text ? (ckpt_text){n->u.text, n->n} : (ckpt_text){"", 0};
}
/* Item i of a list or tuple; NULL beyond its end or if n is neither. */
pk_node *pk_item(const pk_node *n, size_t i);
/* The value of a text key in a dict, a field or an item of an object; NULL if absent. The last of
 * equal keys, as in Python. Linear. */
pk_node *pk_get(const pk_node *n, ckpt_text key);
/* The dict of an object's fields, its items, or n itself if it is a dict; else NULL. */
const pk_node *pk_fields(const pk_node *n);
/* "module.name" of a global or of an object's class, for error texts. */
ckpt_shown pk_class(const pk_node *n);
bool pk_global_is(const pk_node *n, const char *module, const char *name);

#endif
