/* SPDX-License-Identifier: Apache-2.0 */
/* What torch.save() writes since 1.6: a zip of <root>/data.pkl and <root>/data/<key>. */

#include "models/checkpoint/torch.h"
#include "models/checkpoint/zip.h"

typedef struct torch_zip {
    zip_file zip;
    ckpt_text root; /* "archive/", with its slash; "" if there is none */
    bool swap;      /* big-endian storages */
} torch_zip;

/* <root><tail><key>; NULL if there is no such entry */
static zip_entry *member(const torch_zip *t, const char *tail, ckpt_text key)
{
    char name[1024];
    size_t n = strlen(tail);
    if (t->root.n + n + key.n > sizeof name)
        return NULL;
    memcpy(name, t->root.s, t->root.n);
    memcpy(name + t->root.n, tail, n);
    memcpy(name + t->root.n + n, key.s, key.n);
    return zip_find(&t->zip, (ckpt_text){name, t->root.n + n + key.n});
}

/* The root is whatever stands before data.pkl. */
static zip_entry *find_pickle(torch_zip *t)
{
    static const char tail[] = "data.pkl";
    const size_t n = sizeof tail - 1;
    zip_entry *found = NULL;
    for (size_t i = 0; i < t->zip.entries; i++) {
        ckpt_text name = t->zip.entry[i].name;
        bool ends = name.n >= n && !memcmp(name.s + name.n - n, tail, n);
        if (!ends || (name.n > n && name.s[name.n - n - 1] != '/'))
            continue;
        if (!found || name.n < found->name.n)
            found = &t->zip.entry[i];
    }
    if (found)
        t->root = (ckpt_text){found->name.s, found->name.n - n};
    return found;
}

static oriel_status swap_entry(torch_zip *t, zip_entry *e, size_t item)
{
    if (e->swapped && e->swapped != item)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "torch zip: %s is big-endian and of two types",
                          SHOWN(e->name));
    if (e->swapped || item < 2)
        return ORIEL_OK;
    unsigned char *to = ckpt_take(t->zip.mem, e->size);
    if (!to)
        return ORIEL_E_NOMEM;
    for (size_t i = 0; i < e->size; i++) { /* a last element that is cut short is nobody's */
        size_t from = i - i % item + (item - 1 - i % item);
        to[i] = e->content[from < e->size ? from : i];
    }
    e->content = to;
    e->swapped = item;
    return ORIEL_OK;
}

static oriel_status find_storage(void *user, ckpt_text key, size_t item, const unsigned char **data,
                                 size_t *size)
{
    torch_zip *t = user;
    zip_entry *e = member(t, "data/", key);
    if (!e)
        return oriel_fail(ORIEL_E_FORMAT, "torch zip: there is no data/%s", SHOWN(key));
    oriel_status s = zip_read(&t->zip, e, data, size);
    if (!s && t->swap && !(s = swap_entry(t, e, item)))
        *data = e->content;
    return s;
}

static oriel_status check_kind(torch_zip *t)
{
    static const ckpt_text nothing = {"", 0};
    if (member(t, "constants.pkl", nothing))
        return oriel_fail(ORIEL_E_UNSUPPORTED, "torch zip: a TorchScript program (constants.pkl, "
                                               "code/); what is read is a saved state_dict()");
    zip_entry *e = member(t, "byteorder", nothing);
    if (!e)
        return ORIEL_OK;
    const unsigned char *p;
    size_t n;
    oriel_status s = zip_read(&t->zip, e, &p, &n);
    if (s)
        return s;
    ckpt_text order = {(const char *)p, n};
    t->swap = ckpt_text_is(order, "big");
    if (!t->swap && !ckpt_text_is(order, "little"))
        return oriel_fail(ORIEL_E_FORMAT, "torch zip: byteorder is \"%s\"", SHOWN(order));
    return ORIEL_OK;
}

oriel_status ckpt_read_zip(oriel_checkpoint *c, const char *key)
{
    torch_zip t = {0};
    oriel_status s = zip_open(&t.zip, &c->mem, c->file[0].data, c->file[0].size);
    if (s)
        return s;
    zip_entry *e = find_pickle(&t);
    if (!e)
        return oriel_fail(ORIEL_E_FORMAT, "zip: no data.pkl: this is no checkpoint of torch");
    const unsigned char *p;
    size_t n;
    pk_result r;
    if ((s = check_kind(&t)) || (s = zip_read(&t.zip, e, &p, &n)) ||
        (s = pk_parse(&c->mem, p, n, &r)))
        return s;
    c->format = "torch zip";
    c->root = r.root;
    c->pickle_bytes = n;
    return ckpt_unwrap(c, &(torch_source){find_storage, &t}, key);
}
