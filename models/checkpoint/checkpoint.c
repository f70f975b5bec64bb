/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a checkpoint: which format it is, reading it, and what there is to say of it. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "models/checkpoint/arch.h"
#include "models/checkpoint/format.h"
#include "models/checkpoint/sha256.h"
#include "models/registry.h"

/* ---- which format -----------------------------------------------------------------------------
 */

typedef enum kind { ZIP, LEGACY, PICKLE, SAFETENSORS, INDEX, OTHER } kind;

static bool begins(const ckpt_file *f, size_t at, const char *bytes, size_t n)
{
    return f->size >= at + n && !memcmp(f->data + at, bytes, n);
}

static kind recognise(const ckpt_file *f)
{
    size_t at = 0;
    if (begins(f, 0, "PK\3\4", 4) || begins(f, 0, "PK\5\6", 4))
        return ZIP;
    if (begins(f, 0, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14))
        return LEGACY;
    if (f->size >= 2 && f->data[0] == 0x80 && f->data[1] >= 2 && f->data[1] <= 5)
        return PICKLE;
    if (begins(f, 8, "{", 1) && ckpt_u64(f->data) <= 100 * 1000 * 1000)
        return SAFETENSORS;
    while (at < f->size && at < 64 && memchr(" \t\r\n", f->data[at], 4))
        at++;
    return begins(f, at, "{", 1) ? INDEX : OTHER;
}

static oriel_status unknown(const ckpt_file *f)
{
    static const struct {
        size_t at;
        const char *bytes, *what;
    } known[] = {
        {0, "version https://git-lfs", "a pointer of Git LFS; the file itself was not downloaded"},
        {0, "<!DOCTYPE", "a web page"},
        {0, "<!doctype", "a web page"},
        {0, "<html", "a web page"},
        {0, "GGUF", "GGUF, which is not read"},
        {0, "\x1f\x8b", "gzip; unpack it first"},
        {0, "\x89HDF", "HDF5, which is not read"},
        {257, "ustar", "a tar archive: torch's format before 0.2, which is not read"},
    };
    if (!f->size)
        return oriel_fail(ORIEL_E_FORMAT, "checkpoint: the file is empty");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (begins(f, known[i].at, known[i].bytes, strlen(known[i].bytes)))
            return oriel_fail(ORIEL_E_UNSUPPORTED, "checkpoint: this is %s", known[i].what);
    return oriel_fail(ORIEL_E_FORMAT, "checkpoint: neither safetensors nor a file of torch");
}

/* ---- what there is to say ---------------------------------------------------------------------
 */

static int by_name(const void *a, const void *b, void *user)
{
    const ckpt_entry *e = user;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return strcmp(e[x].name, e[y].name);
}

static bool is_float(oriel_dtype t)
{
    return t == ORIEL_F32 || t == ORIEL_F16 || t == ORIEL_BF16 || t == ORIEL_F64 ||
           t == ORIEL_F8_E4M3 || t == ORIEL_F8_E5M2;
}

static const char *sample_keys(oriel_checkpoint *c)
{
    enum { SAMPLES = 5 };
    char buf[SAMPLES * (sizeof(ckpt_shown) + 2)];
    size_t n = 0, last = SIZE_MAX;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t at = c->entries > SAMPLES ? i * (c->entries - 1) / (SAMPLES - 1) : i;
        if (at >= c->entries || at == last)
            continue;
        const char *name = c->entry[at].name;
        n += (size_t)snprintf(buf + n, sizeof buf - n, "%s%s", n ? ", " : "",
                              SHOWN(((ckpt_text){name, strlen(name)})));
        last = at;
    }
    return ckpt_take_text(&c->mem, buf, n);
}

static oriel_status finish(oriel_checkpoint *c)
{
    if (c->entries > UINT32_MAX)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "checkpoint: over 4 G tensors");
    c->by_name = ckpt_take_array(&c->mem, c->entries, sizeof *c->by_name);
    if (!c->by_name)
        return ORIEL_E_NOMEM;
    for (size_t i = 0; i < c->entries; i++) {
        const ckpt_entry *e = &c->entry[i];
        c->by_name[i] = (uint32_t)i;
        if (is_float(e->tensor.dtype) && !ckpt_is_buffer(e->name) &&
            __builtin_add_overflow(c->parameters, oriel_tensor_count(&e->tensor), &c->parameters))
            return oriel_fail(ORIEL_E_FORMAT, "checkpoint: over 2^63 parameters");
    }
    if (c->entries)
        qsort_r(c->by_name, c->entries, sizeof *c->by_name, by_name, c->entry);
    char details[512];
    ckpt_details(c, details, sizeof details);
    c->details = ckpt_take_text(&c->mem, details, strlen(details));
    c->sample_keys = sample_keys(c);
    return c->details && c->sample_keys ? ORIEL_OK : ORIEL_E_NOMEM;
}

static void hash(oriel_checkpoint *c)
{
    unsigned char digest[32];
    if (c->files == 1) {
        sha256(c->file[0].data, c->file[0].size, digest);
    } else { /* an index: the digest of its shards' digests */
        struct {
            unsigned char d[32];
        } *all = oriel_alloc_zero(c->files - 1, sizeof *all);
        if (!all)
            return;
        for (size_t i = 1; i < c->files; i++)
            sha256(c->file[i].data, c->file[i].size, all[i - 1].d);
        sha256(all, (c->files - 1) * sizeof *all, digest);
        oriel_dealloc(all);
    }
    sha256_hex(digest, c->sha256);
}

/* ---- opening ----------------------------------------------------------------------------------
 */

/* path: NULL if the bytes did not come from a file, which then cannot be an index. */
static oriel_status read_file(oriel_checkpoint *c, const char *path,
                              const oriel_checkpoint_options *opt)
{
    oriel_status s;
    c->key = c->other_keys = "";
    switch (recognise(&c->file[0])) {
    case ZIP:
        s = ckpt_read_zip(c, opt->key);
        break;
    case LEGACY:
        s = ckpt_read_legacy(c, opt->key);
        break;
    case PICKLE:
        s = ckpt_read_pickle(c, opt->key);
        break;
    case SAFETENSORS:
        s = ckpt_read_safetensors(c, opt->key);
        break;
    case INDEX:
        s = path ? ckpt_read_index(c, path, opt->key)
                 : oriel_fail(ORIEL_E_UNSUPPORTED, "safetensors index: only from a file");
        break;
    default:
        s = unknown(&c->file[0]);
    }
    if (s || (s = finish(c)))
        return s;
    for (size_t i = c->files > 1; i < c->files; i++)
        c->bytes += c->file[i].size;
    if (opt->sha256)
        hash(c);
    return opt->sha256 && !c->sha256[0] ? ORIEL_E_NOMEM : ORIEL_OK;
}

static oriel_status open_any(oriel_checkpoint **out, const char *path, const ckpt_file *bytes,
                             const oriel_checkpoint_options *opt)
{
    oriel_checkpoint *c = oriel_alloc_zero(1, sizeof *c);
    if (!c)
        return ORIEL_E_NOMEM;
    oriel_status s = ORIEL_E_NOMEM;
    c->file = ckpt_take(&c->mem, sizeof *c->file);
    if (c->file)
        s = bytes ? ORIEL_OK : ckpt_file_open(&c->file[0], path);
    if (!s) {
        if (bytes)
            c->file[0] = *bytes;
        c->files = 1;
        s = read_file(c, path, opt ? opt : &(oriel_checkpoint_options){0});
    }
    if (s)
        oriel_checkpoint_free(&c);
    *out = c;
    return s;
}

oriel_status oriel_checkpoint_open(oriel_checkpoint **out, const char *path,
                                   const oriel_checkpoint_options *opt)
{
    if (!out)
        return oriel_fail(ORIEL_E_ARG, "oriel_checkpoint_open: out is NULL");
    *out = NULL;
    if (!path)
        return oriel_fail(ORIEL_E_ARG, "oriel_checkpoint_open: path is NULL");
    return open_any(out, path, NULL, opt);
}

oriel_status ckpt_parse(oriel_checkpoint **out, const void *data, size_t size,
                        const oriel_checkpoint_options *opt)
{
    *out = NULL;
    return open_any(out, NULL, &(ckpt_file){data, size, CKPT_BORROWED}, opt);
}

void oriel_checkpoint_free(oriel_checkpoint **c)
{
    if (!c || !*c)
        return;
    for (size_t i = 0; i < (*c)->files; i++)
        ckpt_file_close(&(*c)->file[i]);
    ckpt_mem_free(&(*c)->mem);
    oriel_dealloc(*c);
    *c = NULL;
}

void oriel_checkpoint_describe(const oriel_checkpoint *c, oriel_checkpoint_info *info)
{
    assert(c && info);
    *info = (oriel_checkpoint_info){
        .format = c->format,
        .key = c->key,
        .other_keys = c->other_keys,
        .architecture = ckpt_arch_name(c->arch),
        .details = c->details,
        .sample_keys = c->sample_keys,
        .runnable = oriel_model_runnable(c->arch),
        .tensors = (int64_t)c->entries,
        .parameters = c->parameters,
        .bytes = c->bytes,
    };
    memcpy(info->sha256, c->sha256, sizeof info->sha256);
}

oriel_status oriel_checkpoint_tensor(const oriel_checkpoint *c, int64_t index, const char **name,
                                     oriel_tensor *t)
{
    if (!c || !name || !t)
        return oriel_fail(ORIEL_E_ARG, "oriel_checkpoint_tensor: an argument is NULL");
    if (index < 0 || index >= ckpt_count(c))
        return oriel_fail(ORIEL_E_ARG, "oriel_checkpoint_tensor: %" PRId64 " of %" PRId64, index,
                          ckpt_count(c));
    *name = c->entry[index].name;
    *t = c->entry[index].tensor;
    return ORIEL_OK;
}
