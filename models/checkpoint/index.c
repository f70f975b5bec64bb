/* SPDX-License-Identifier: Apache-2.0 */
/* model.safetensors.index.json: {"weight_map": {name: file}}, the files being beside it. */

#include <stdio.h>
#include <stdlib.h>

#include "models/checkpoint/index.h"
#include "models/checkpoint/torch.h"

#ifdef ORIEL_JSON
#include "models/checkpoint/json.h"

enum { MAX_SHARDS = 4096 };

/* One plain name in the index's own folder */
static bool safe_name(const char *s)
{
    return *s && strlen(s) < 256 && !strpbrk(s, "/\\:") && strcmp(s, ".") && strcmp(s, "..");
}

static int by_file(const void *a, const void *b)
{
    const index_row *const *x = a, *const *y = b;
    int d = strcmp((*x)->file, (*y)->file);
    return d ? d : (*x > *y) - (*x < *y);
}

static oriel_status read_map(ckpt_mem *mem, const cJSON *map, index_map *out)
{
    size_t n = 0;
    for (const cJSON *i = map->child; i; i = i->next)
        n++;
    out->row = ckpt_take_array(mem, n, sizeof *out->row);
    out->by_file = ckpt_take_array(mem, n, sizeof *out->by_file);
    if (!out->row || !out->by_file)
        return ORIEL_E_NOMEM;
    for (const cJSON *i = map->child; i; i = i->next) {
        index_row *r = &out->row[out->rows];
        if (!cJSON_IsString(i) || !safe_name(i->valuestring))
            return oriel_fail(ORIEL_E_FORMAT,
                              "safetensors index: the file of %s is no plain name in its folder",
                              SHOWN(((ckpt_text){i->string, strlen(i->string)})));
        r->name = ckpt_take_text(mem, i->string, strlen(i->string));
        r->file = ckpt_take_text(mem, i->valuestring, strlen(i->valuestring));
        if (!r->name || !r->file)
            return ORIEL_E_NOMEM;
        out->by_file[out->rows++] = r;
    }
    if (!n)
        return oriel_fail(ORIEL_E_FORMAT, "safetensors index: it names no tensor");
    qsort(out->by_file, n, sizeof *out->by_file, by_file);
    for (size_t i = 0; i < n; i++) {
        out->files += !i || strcmp(out->by_file[i - 1]->file, out->by_file[i]->file) != 0;
        out->by_file[i]->shard = out->files - 1;
    }
    if (out->files > MAX_SHARDS)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "safetensors index: over %d shards", MAX_SHARDS);
    return ORIEL_OK;
}

oriel_status index_parse(ckpt_mem *mem, const void *data, size_t size, index_map *out)
{
    *out = (index_map){0};
    cJSON *root = NULL;
    oriel_status s = json_parse(&root, "safetensors index", data, size);
    if (s)
        return s;
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(root, "weight_map");
    s = cJSON_IsObject(map)
            ? read_map(mem, map, out)
            : oriel_fail(ORIEL_E_FORMAT, "safetensors index: there is no weight_map in this JSON");
    cJSON_Delete(root);
    return s;
}

#else

oriel_status index_parse(ckpt_mem *mem, const void *data, size_t size, index_map *out)
{
    (void)mem, (void)data, (void)size;
    *out = (index_map){0};
    return oriel_fail(ORIEL_E_UNSUPPORTED,
                      "safetensors index: this build has no JSON (ORIEL_JSON=OFF)");
}

#endif

typedef struct shard {
    ckpt_entry **by_name;
    size_t n;
} shard;

static int entry_by_name(const void *a, const void *b)
{
    const ckpt_entry *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Open one shard and sort its tensors by name */
static oriel_status open_shard(oriel_checkpoint *c, const char *path, const char *name, shard *s)
{
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0, n = strlen(name);
    char *full = oriel_alloc(folder + n + 1);
    if (!full)
        return ORIEL_E_NOMEM;
    memcpy(full, path, folder);
    memcpy(full + folder, name, n + 1);
    ckpt_entry *entry = NULL;
    ckpt_file *f = &c->file[c->files];
    oriel_status st = ckpt_file_open(f, full);
    oriel_dealloc(full);
    if (st)
        return st;
    c->files++;
    if ((st = safetensors_read(&c->mem, f, &entry, &s->n, NULL, NULL)))
        return st;
    s->by_name = ckpt_take_array(&c->mem, s->n, sizeof *s->by_name);
    if (!s->by_name)
        return ORIEL_E_NOMEM;
    for (size_t i = 0; i < s->n; i++)
        s->by_name[i] = &entry[i];
    if (s->n)
        qsort(s->by_name, s->n, sizeof *s->by_name, entry_by_name);
    return ORIEL_OK;
}

static oriel_status gather(oriel_checkpoint *c, const index_map *m, const shard *shards)
{
    c->entry = ckpt_take_array(&c->mem, m->rows, sizeof *c->entry);
    if (!c->entry)
        return ORIEL_E_NOMEM;
    for (size_t i = 0; i < m->rows; i++) {
        ckpt_entry key = {.name = m->row[i].name}, *want = &key, **found;
        const shard *s = &shards[m->row[i].shard];
        found = s->n ? bsearch(&want, s->by_name, s->n, sizeof want, entry_by_name) : NULL;
        if (!found)
            return oriel_fail(ORIEL_E_FORMAT, "safetensors index: %s is not in %s",
                              SHOWN(((ckpt_text){key.name, strlen(key.name)})), m->row[i].file);
        c->entry[c->entries++] = **found;
    }
    return ORIEL_OK;
}

oriel_status ckpt_read_index(oriel_checkpoint *c, const char *path, const char *key)
{
    index_map m;
    oriel_status s = index_parse(&c->mem, c->file[0].data, c->file[0].size, &m);
    if (s)
        return s;
    if (key && *key)
        return oriel_fail(ORIEL_E_ARG, "safetensors: there is one dictionary, and none named %s",
                          SHOWN(((ckpt_text){key, strlen(key)})));
    ckpt_file *file = ckpt_take_array(&c->mem, m.files + 1, sizeof *file);
    shard *shards = ckpt_take_array(&c->mem, m.files, sizeof *shards);
    if (!file || !shards)
        return ORIEL_E_NOMEM;
    file[0] = c->file[0];
    c->file = file;
    for (size_t i = 0; i < m.rows; i++)
        if (m.by_file[i]->shard == c->files - 1 &&
            (s = open_shard(c, path, m.by_file[i]->file, &shards[c->files - 1])))
            return s;
    if ((s = gather(c, &m, shards)))
        return s;
    c->format = "safetensors index";
    return ckpt_settle(c);
}
