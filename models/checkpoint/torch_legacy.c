/* SPDX-License-Identifier: Apache-2.0 */
/* What torch.save() wrote before 1.6: five pickles (a magic number, a version, facts about the
 * machine, the object, the keys of its storages), then the storages in the order of the keys, each
 * an int64 count and its elements. And plain pickles, whose arrays are numpy's. */

#include <stdlib.h>

#include "models/checkpoint/torch.h"

typedef struct placed {
    torch_storage s;
    const unsigned char *data; /* NULL until the key list named it */
    size_t size;
} placed;

typedef struct legacy {
    placed *storage; /* sorted by key */
    size_t storages;
} legacy;

static int by_key(const void *a, const void *b)
{
    const placed *x = a, *y = b;
    return ckpt_text_cmp(x->s.key, y->s.key);
}

static placed *find_key(const legacy *l, ckpt_text key)
{
    placed want = {.s.key = key};
    return l->storages ? bsearch(&want, l->storage, l->storages, sizeof want, by_key) : NULL;
}

/* Every storage that the object names, once */
static oriel_status collect(legacy *l, ckpt_mem *mem, const pk_node *first)
{
    size_t n = 0;
    for (const pk_node *i = first; i; i = i->u.obj->items)
        n++;
    l->storage = ckpt_take_array(mem, n, sizeof *l->storage);
    if (!l->storage)
        return ORIEL_E_NOMEM;
    for (const pk_node *i = first; i; i = i->u.obj->items) {
        placed p = {0};
        if (!torch_storage_read(i, &p.s))
            return oriel_fail(ORIEL_E_FORMAT, "torch legacy: a storage that torch never writes");
        const pk_node *view = pk_item(i->u.obj->args, 5);
        if (view && view->kind != PK_NONE)
            return oriel_fail(ORIEL_E_UNSUPPORTED,
                              "torch legacy: storage %s is a view of another one", SHOWN(p.s.key));
        l->storage[l->storages++] = p;
    }
    if (n)
        qsort(l->storage, n, sizeof *l->storage, by_key);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept && !by_key(&l->storage[kept - 1], &l->storage[i])) {
            if (l->storage[kept - 1].s.item != l->storage[i].s.item)
                return oriel_fail(ORIEL_E_FORMAT, "torch legacy: storage %s is of two types",
                                  SHOWN(l->storage[i].s.key));
            continue;
        }
        l->storage[kept++] = l->storage[i];
    }
    l->storages = kept;
    return ORIEL_OK;
}

/* Where each storage lies, by the list of keys */
static oriel_status place(legacy *l, const pk_node *keys, const unsigned char *p, size_t left)
{
    if (!keys || keys->kind != PK_LIST)
        return oriel_fail(ORIEL_E_FORMAT, "torch legacy: the storages are not listed");
    for (size_t i = 0; i < keys->n; i++) {
        const pk_node *key = keys->u.item[i];
        placed *s = key->kind == PK_STR ? find_key(l, pk_text(key)) : NULL;
        if (!s || !s->s.item || s->data)
            return oriel_fail(ORIEL_E_FORMAT, "torch legacy: storage %s is listed, but %s",
                              SHOWN(pk_text(key)),
                              !s        ? "no tensor has it"
                              : s->data ? "twice"
                                        : "of a type without a known size");
        uint64_t count = left >= 8 ? ckpt_u64(p) : UINT64_MAX;
        if (left < 8 || count > (left - 8) / s->s.item)
            return oriel_fail(ORIEL_E_FORMAT, "torch legacy: the file ends within storage %s",
                              SHOWN(s->s.key));
        s->data = p + 8;
        s->size = (size_t)count * s->s.item;
        p += 8 + s->size;
        left -= 8 + s->size;
    }
    return ORIEL_OK;
}

static oriel_status find_storage(void *user, ckpt_text key, size_t item, const unsigned char **data,
                                 size_t *size)
{
    const placed *s = find_key(user, key);
    (void)item;
    if (!s || !s->data)
        return oriel_fail(ORIEL_E_FORMAT, "torch legacy: storage %s is not in the file",
                          SHOWN(key));
    *data = s->data;
    *size = s->size;
    return ORIEL_OK;
}

oriel_status ckpt_read_legacy(oriel_checkpoint *c, const char *key)
{
    enum { MAGIC, VERSION, SYSTEM, OBJECT, KEYS, PICKLES };
    pk_result r[PICKLES];
    const unsigned char *p = c->file[0].data;
    size_t left = c->file[0].size;
    for (int i = 0; i < PICKLES; i++) {
        oriel_status s = pk_parse(&c->mem, p, left, &r[i]);
        if (s)
            return s;
        p += r[i].used;
        left -= r[i].used;
    }
    if (r[VERSION].root->kind != PK_INT || r[VERSION].root->u.i != 1001)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "torch legacy: not protocol 1001");
    const pk_node *little = pk_get(r[SYSTEM].root, (ckpt_text){"little_endian", 13});
    if (little && little->kind == PK_BOOL && !little->u.i)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "torch legacy: written by a big-endian machine");
    legacy l = {0};
    oriel_status s = collect(&l, &c->mem, r[OBJECT].storages);
    if (s || (s = place(&l, r[KEYS].root, p, left)))
        return s;
    c->format = "torch legacy";
    c->root = r[OBJECT].root;
    c->pickle_bytes = r[OBJECT].used;
    return ckpt_unwrap(c, &(torch_source){find_storage, &l}, key);
}

oriel_status ckpt_read_pickle(oriel_checkpoint *c, const char *key)
{
    pk_result r;
    oriel_status s = pk_parse(&c->mem, c->file[0].data, c->file[0].size, &r);
    if (s)
        return s;
    c->format = "pickle";
    c->root = r.root;
    c->pickle_bytes = r.used;
    return ckpt_unwrap(c, &(torch_source){0}, key);
}
