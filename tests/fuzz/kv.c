/* SPDX-License-Identifier: Apache-2.0 */
/* Saved frame caches: as they come, and with the checksum of the head set right, so that what it says
 * is looked at too. What opens must be usable. */
#include <oriel/kv.h>
#include <stdlib.h>

#include "tests/kv_seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(oriel_device *dev, const uint8_t *data, size_t size)
{
    const oriel_kv_load_options limit = {.max_bytes = 1 << 20};
    oriel_kv     *kv = NULL;
    oriel_kv_info info;
    if (oriel_kv_decode(&kv, dev, data, size, &limit)) {
        if (kv || !oriel_error()[0])
            abort();
        return;
    }
    oriel_kv_describe(kv, &info);
    const oriel_kv_config *c = &info.config; /* attention is quadratic: small frames alone */
    int64_t n = c->rows * c->columns, count = c->batch * n * c->heads * (c->dim > c->dim_v ? c->dim : c->dim_v);
    float  *x = calloc((size_t)count, sizeof *x);
    oriel_tensor k = oriel_tensor_of(x, ORIEL_F32, 4, (int64_t[]){c->batch, n, c->heads, c->dim}), v = k, o;
    v.shape[3] = c->dim_v;
    o = v;
    if (oriel_kv_encoded_size(kv) != size)
        abort();
    if (!oriel_kv_begin(kv, info.end, 1))
        for (int l = 0; l < c->layers; l++)
            if (oriel_kv_write(kv, l, &k, &v) || (n <= 64 && oriel_kv_attend(kv, l, &k, &o, NULL)))
                abort();
    free(x);
    oriel_kv_free(&kv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static oriel_device *dev;
    if (!dev && oriel_device_open(&dev, &(oriel_device_options){.threads = 1}))
        abort();
    use(dev, data, size);
    uint8_t *copy = malloc(size ? size : 1);
    if (size)
        memcpy(copy, data, size);
    kv_seal_head(copy, size);
    use(dev, copy, size);
    free(copy);
    return 0;
}
