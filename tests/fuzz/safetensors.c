/* SPDX-License-Identifier: Apache-2.0 */
/* The header of safetensors; and, where a file begins with '{', the index of shards. */
#include <stdlib.h>

#include "models/checkpoint/format.h"
#include "models/checkpoint/index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ckpt_mem mem = {0};
    ckpt_file f = {data, size, CKPT_BORROWED};
    ckpt_entry *entry;
    ckpt_pair *meta;
    size_t entries, metas;
    index_map map;
    if (size && data[0] == '{') {
        if (!index_parse(&mem, data, size, &map))
            for (size_t i = 0; i < map.rows; i++)
                check(!strchr(map.row[i].file, '/') && map.row[i].shard < map.files);
    } else if (!safetensors_read(&mem, &f, &entry, &entries, &meta, &metas)) {
        for (size_t i = 0; i < entries; i++) {
            const oriel_tensor *t = &entry[i].tensor;
            size_t n = (size_t)oriel_tensor_count(t) * oriel_dtype_size(t->dtype);
            const uint8_t *p = t->data;
            check(p >= data && n <= size && p <= data + size - n);
        }
    }
    ckpt_mem_free(&mem);
    return 0;
}
