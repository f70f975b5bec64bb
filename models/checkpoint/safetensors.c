/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors: a u64 length, that many bytes of JSON {name: {dtype, shape, data_offsets}}, and the
 * data, of which every byte belongs to one tensor. The JSON is cJSON's to parse; here is what the
 * values must be. */

#include <stdlib.h>

#include "models/checkpoint/torch.h"

#ifdef ORIEL_JSON
#include <cjson/cJSON.h>

#include "models/checkpoint/json.h"

static const struct {
    const char *name;
    oriel_dtype type;
    uint8_t bits;
} types[] = {
    {"F32", ORIEL_F32, 32},
    {"F16", ORIEL_F16, 16},
    {"BF16", ORIEL_BF16, 16},
    {"F64", ORIEL_F64, 64},
    {"I64", ORIEL_I64, 64},
    {"I32", ORIEL_I32, 32},
    {"I16", ORIEL_I16, 16},
    {"I8", ORIEL_I8, 8},
    {"U8", ORIEL_U8, 8},
    {"U16", ORIEL_U16, 16},
    {"BOOL", ORIEL_BOOL, 8},
    {"F8_E4M3", ORIEL_F8_E4M3, 8},
    {"F8_E5M2", ORIEL_F8_E5M2, 8},
    {"U32", ORIEL_DTYPE_COUNT, 32},
    {"U64", ORIEL_DTYPE_COUNT, 64},
    {"C64", ORIEL_DTYPE_COUNT, 64},
};

typedef struct range {
    uint64_t begin, end;
} range;

typedef struct header {
    ckpt_mem *mem;
    const unsigned char *data; /* after the header */
    uint64_t size;
    range *range; /* of every tensor, those left out too */
    size_t ranges;
    ckpt_entry *entry;
    size_t entries;
    ckpt_pair *meta;
    size_t metas;
} header;

static oriel_status bad(const char *name, const char *what)
{
    return oriel_fail(ORIEL_E_FORMAT, "safetensors: tensor %s: %s",
                      SHOWN(((ckpt_text){name, strlen(name)})), what);
}

/* dtype and shape: the number of bytes due; type ORIEL_DTYPE_COUNT if it is not one of ours */
static oriel_status read_shape(const cJSON *item, oriel_tensor *t, uint64_t *bytes)
{
    const char *name = item->string;
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
    if (!cJSON_IsString(dtype) || !cJSON_IsArray(shape))
        return bad(name, "no dtype or no shape");
    uint64_t bits = 0, count = 1, dim;
    oriel_dtype type = ORIEL_DTYPE_COUNT;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, dtype->valuestring)) {
            type = types[i].type;
            bits = types[i].bits;
        }
    int ndim = 0;
    int64_t dims[CKPT_MAX_DIMS];
    for (const cJSON *d = shape->child; d; d = d->next) {
        if (ndim == CKPT_MAX_DIMS || !json_u64(d, &dim) ||
            __builtin_mul_overflow(count, dim, &count))
            return bad(name, "a shape out of range");
        dims[ndim++] = (int64_t)dim;
    }
    if (__builtin_mul_overflow(count, bits / 8, bytes))
        return bad(name, "a shape out of range");
    if (!bits)
        *bytes = UINT64_MAX; /* unknown */
    if (ndim > ORIEL_MAX_DIMS)
        type = ORIEL_DTYPE_COUNT;
    *t = type == ORIEL_DTYPE_COUNT ? (oriel_tensor){.dtype = type}
                                   : oriel_tensor_of(NULL, type, ndim, dims);
    return ORIEL_OK;
}

static oriel_status read_tensor(header *h, const cJSON *item)
{
    oriel_tensor t;
    uint64_t bytes = 0;
    const char *name = item->string;
    size_t length = strlen(name);
    if (!length || length > CKPT_MAX_NAME)
        return bad(name, "a name that is empty or over 1024 bytes");
    oriel_status s = read_shape(item, &t, &bytes);
    if (s)
        return s;
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    const cJSON *begin = cJSON_IsArray(offsets) ? offsets->child : NULL;
    const cJSON *end = begin ? begin->next : NULL;
    range r;
    if (!end || end->next || !json_u64(begin, &r.begin) || !json_u64(end, &r.end))
        return bad(name, "data_offsets are not two numbers");
    if (r.begin > r.end || r.end > h->size)
        return bad(name, "its data is out of the file (is the file cut short?)");
    if (bytes != UINT64_MAX && r.end - r.begin != bytes)
        return bad(name, "its data is not as long as its shape says");
    h->range[h->ranges++] = r;
    if (t.dtype == ORIEL_DTYPE_COUNT) {
        oriel_logf(ORIEL_LOG_WARN, "tensor %s is left out: a type that is not read, or over 6 axes",
                   SHOWN(((ckpt_text){name, length})));
        return ORIEL_OK;
    }
    t.data = (void *)(uintptr_t)(h->data + r.begin); /* a view for reading */
    ckpt_entry *e = &h->entry[h->entries++];
    *e = (ckpt_entry){ckpt_take_text(h->mem, name, length), t};
    return e->name ? ORIEL_OK : ORIEL_E_NOMEM;
}

static oriel_status read_meta(header *h, const cJSON *object)
{
    size_t n = 0;
    for (const cJSON *i = object->child; i; i = i->next)
        n++;
    h->meta = ckpt_take_array(h->mem, n, sizeof *h->meta);
    if (!h->meta)
        return ORIEL_E_NOMEM;
    for (const cJSON *i = object->child; i; i = i->next) {
        if (!cJSON_IsObject(object) || !cJSON_IsString(i))
            return oriel_fail(ORIEL_E_FORMAT, "safetensors: __metadata__ holds more than texts");
        ckpt_pair *p = &h->meta[h->metas++];
        p->key = ckpt_take_text(h->mem, i->string, strlen(i->string));
        p->value = ckpt_take_text(h->mem, i->valuestring, strlen(i->valuestring));
        if (!p->key || !p->value)
            return ORIEL_E_NOMEM;
    }
    return ORIEL_OK;
}

static int by_begin(const void *a, const void *b)
{
    const range *x = a, *y = b;
    return x->begin != y->begin ? (x->begin > y->begin) - (x->begin < y->begin)
                                : (x->end > y->end) - (x->end < y->end);
}

static oriel_status read_header(header *h, const cJSON *root)
{
    size_t n = 0;
    for (const cJSON *i = root->child; i; i = i->next)
        n++;
    h->entry = ckpt_take_array(h->mem, n, sizeof *h->entry);
    h->range = ckpt_take_array(h->mem, n, sizeof *h->range);
    if (!h->entry || !h->range)
        return ORIEL_E_NOMEM;
    for (const cJSON *i = root->child; i; i = i->next) {
        bool meta = !strcmp(i->string, "__metadata__");
        oriel_status s = !cJSON_IsObject(i) ? bad(i->string, "no object")
                         : meta             ? read_meta(h, i)
                                            : read_tensor(h, i);
        if (s)
            return s;
    }
    if (h->ranges)
        qsort(h->range, h->ranges, sizeof *h->range, by_begin);
    uint64_t at = 0;
    for (size_t i = 0; i < h->ranges; at = h->range[i++].end)
        if (h->range[i].begin != at)
            return oriel_fail(ORIEL_E_FORMAT,
                              "safetensors: tensors overlap or leave a hole at %llu",
                              (unsigned long long)at);
    if (at != h->size)
        return oriel_fail(ORIEL_E_FORMAT, "safetensors: %llu bytes after the last tensor",
                          (unsigned long long)(h->size - at));
    return ORIEL_OK;
}

oriel_status safetensors_read(ckpt_mem *mem, const ckpt_file *f, ckpt_entry **entry,
                              size_t *entries, ckpt_pair **meta, size_t *metas)
{
    enum { LENGTH = 8, MAX_HEADER = 100 * 1000 * 1000 };
    uint64_t n = f->size >= LENGTH ? ckpt_u64(f->data) : 0;
    if (n < 2 || n > MAX_HEADER || n > f->size - LENGTH)
        return oriel_fail(ORIEL_E_FORMAT, "safetensors: a header of %llu bytes in a file of %zu",
                          (unsigned long long)n, f->size);
    cJSON *root = NULL;
    header h = {.mem = mem, .data = f->data + LENGTH + n, .size = f->size - LENGTH - n};
    oriel_status s = json_parse(&root, "safetensors", f->data + LENGTH, (size_t)n);
    if (!s)
        s = read_header(&h, root);
    cJSON_Delete(root);
    *entry = h.entry;
    *entries = h.entries;
    if (meta) {
        *meta = h.meta;
        *metas = h.metas;
    }
    return s;
}

#else

oriel_status safetensors_read(ckpt_mem *mem, const ckpt_file *f, ckpt_entry **entry,
                              size_t *entries, ckpt_pair **meta, size_t *metas)
{
    (void)mem, (void)f, (void)entry, (void)entries, (void)meta, (void)metas;
    return oriel_fail(ORIEL_E_UNSUPPORTED, "safetensors: this build has no JSON (ORIEL_JSON=OFF)");
}

#endif

oriel_status ckpt_read_safetensors(oriel_checkpoint *c, const char *key)
{
    if (key && *key)
        return oriel_fail(ORIEL_E_ARG, "safetensors: there is one dictionary, and none named %s",
                          SHOWN(((ckpt_text){key, strlen(key)})));
    oriel_status s =
        safetensors_read(&c->mem, &c->file[0], &c->entry, &c->entries, &c->meta, &c->metas);
    c->format = "safetensors";
    return s ? s : ckpt_settle(c);
}
