/* SPDX-License-Identifier: Apache-2.0 */
/* What the readers of the formats share. Nothing here is seen outside models/checkpoint. */
#ifndef MODELS_CHECKPOINT_FORMAT_H
#define MODELS_CHECKPOINT_FORMAT_H

#include "core/internal.h"
#include "models/checkpoint/checkpoint.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "checkpoints are mapped, not converted: a little-endian machine is needed"
#endif

/* ---- memory that lives as long as the checkpoint (memory.c) --------------------------------- */

typedef struct ckpt_mem {
    struct ckpt_block *head;
    size_t used, size; /* of the newest block */
} ckpt_mem;

/* 16-byte aligned, not cleared; NULL with the text set when memory is out. */
void *ckpt_take(ckpt_mem *m, size_t bytes);
void *ckpt_take_array(ckpt_mem *m, size_t count, size_t size); /* overflow-safe */
char *ckpt_take_text(ckpt_mem *m, const char *s, size_t n);    /* a copy, terminated */
void ckpt_mem_free(ckpt_mem *m);

/* ---- text that is not terminated ------------------------------------------------------------ */

typedef struct ckpt_text {
    const char *s;
    size_t n;
} ckpt_text;

int ckpt_text_cmp(ckpt_text a, ckpt_text b); /* as strcmp */
bool ckpt_text_is(ckpt_text a, const char *b);
/* At most 80 bytes of s, control characters as '?', into buf: for error texts. */
typedef struct ckpt_shown {
    char s[84];
} ckpt_shown;
ckpt_shown ckpt_show(ckpt_text t);
#define SHOWN(text) (ckpt_show(text).s)

static inline uint16_t ckpt_u16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t ckpt_u32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline uint64_t ckpt_u64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* ---- the checkpoint ------------------------------------------------------------------------- */

enum {
    CKPT_MAX_NAME = 1024, /* bytes of a tensor's name */
    CKPT_MAX_DIMS = 8     /* a format error beyond; tensors over ORIEL_MAX_DIMS are left out */
};

typedef struct ckpt_file {
    const unsigned char *data;
    size_t size;
    enum { CKPT_BORROWED, CKPT_MAPPED, CKPT_READ } how;
} ckpt_file;

typedef struct ckpt_entry {
    const char *name;
    oriel_tensor tensor;
} ckpt_entry;

typedef struct ckpt_pair {
    const char *key, *value;
} ckpt_pair;

struct oriel_checkpoint {
    ckpt_mem mem;
    ckpt_file *file; /* the file, or the shards of an index */
    size_t files;
    ckpt_entry *entry; /* file order */
    size_t entries;
    uint32_t *by_name;      /* entries sorted by name */
    const ckpt_value *root; /* the Python object of a torch file, or NULL */
    ckpt_pair *meta;
    size_t metas;
    const char *format, *key, *other_keys, *details, *sample_keys;
    ckpt_arch arch;
    size_t pickle_bytes; /* of the object: names cannot add up to more */
    int64_t parameters;
    uint64_t bytes;
    char sha256[65];
};

/* The file's bytes, mapped where it is a regular file. */
oriel_status ckpt_file_open(ckpt_file *f, const char *path);
void ckpt_file_close(ckpt_file *f);

/* The tensors of one safetensors file, in the order of its header; *meta and *metas may be NULL. */
oriel_status safetensors_read(ckpt_mem *mem, const ckpt_file *f, ckpt_entry **entry,
                              size_t *entries, ckpt_pair **meta, size_t *metas);

/* The readers: fill c from c->file[0]. */
oriel_status ckpt_read_safetensors(oriel_checkpoint *c, const char *key);
oriel_status ckpt_read_index(oriel_checkpoint *c, const char *path, const char *key);
oriel_status ckpt_read_zip(oriel_checkpoint *c, const char *key);
oriel_status ckpt_read_legacy(oriel_checkpoint *c, const char *key);
oriel_status ckpt_read_pickle(oriel_checkpoint *c, const char *key);

#endif
