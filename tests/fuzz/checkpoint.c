/* SPDX-License-Identifier: Apache-2.0 */
/* A whole checkpoint of any format: open it, read every element of every tensor, look up values. */
#include <stdio.h>
#include <stdlib.h>

#include <oriel/models.h>

#include "core/internal.h"
#include "models/checkpoint/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every element is read through its strides; what a broadcast multiplies is not. */
static float sum(const oriel_tensor *t)
{
    float all = 0, *v;
    if (oriel_tensor_count(t) > 1 << 16)
        return 0;
    v = oriel_alloc((size_t)oriel_tensor_count(t) * sizeof *v);
    if (!v)
        return 0;
    ckpt_to_f32(t, v);
    for (int64_t i = 0; i < oriel_tensor_count(t); i++)
        all += v[i];
    oriel_dealloc(v);
    return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    float all = 0;
    oriel_checkpoint *c = NULL;
    if (ckpt_parse(&c, data, size, &(oriel_checkpoint_options){.sha256 = size < 4096}))
        return 0;
    oriel_checkpoint_info info;
    oriel_checkpoint_describe(c, &info);
    for (int64_t i = 0; i < info.tensors; i++) {
        const char *name;
        oriel_tensor t;
        if (oriel_checkpoint_tensor(c, i, &name, &t) || !ckpt_find(c, name))
            abort(); /* what is listed is found */
        all += sum(&t);
    }
    snprintf((char[32]){0}, 32, "%g", all); /* so that no read is left out */
    char text[16];
    const ckpt_value *v = ckpt_value_at(c, "args.stages.0");
    ckpt_value_text(v, text, sizeof text);
    ckpt_value_text(ckpt_value_at(c, "args.me.me.name"), text, sizeof text);
    oriel_checkpoint_free(&c);
    return 0;
}
