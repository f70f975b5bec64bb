/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODELS_CHECKPOINT_ZIP_H
#define MODELS_CHECKPOINT_ZIP_H

#include "models/checkpoint/format.h"

typedef struct zip_entry {
    ckpt_text name;
    size_t begin, data;  /* of its local header, of its bytes */
    size_t packed, size; /* bytes in the file, bytes of content */
    uint32_t crc;
    uint16_t method, flags;
    const unsigned char *content; /* once read */
    size_t swapped;               /* bytes of the elements whose order was turned; 0: none */
} zip_entry;

typedef struct zip_file {
    ckpt_mem *mem;
    const unsigned char *p;
    size_t size;
    zip_entry *entry; /* sorted by name */
    size_t entries;
} zip_file;

/* Read the central directory and check every entry against the file. */
oriel_status zip_open(zip_file *z, ckpt_mem *mem, const void *data, size_t size);
zip_entry *zip_find(const zip_file *z, ckpt_text name);
/* The content: where it lies in the file if stored, else inflated, once. */
oriel_status zip_read(zip_file *z, zip_entry *e, const unsigned char **data, size_t *size);

#endif
