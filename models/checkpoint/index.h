/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODELS_CHECKPOINT_INDEX_H
#define MODELS_CHECKPOINT_INDEX_H

#include "models/checkpoint/format.h"

typedef struct index_row {
    const char *name, *file;
    size_t shard; /* number of the file, in the order of the files' names */
} index_row;

typedef struct index_map {
    index_row *row; /* as the index has them */
    index_row **by_file;
    size_t rows, files;
} index_map;

/* The JSON of an index; every file is a plain name, without a folder. */
oriel_status index_parse(ckpt_mem *mem, const void *data, size_t size, index_map *out);

#endif
