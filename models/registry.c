/* SPDX-License-Identifier: Apache-2.0 */
/* The networks of this build. */
#include "models/model.h"
#include "models/registry.h"

static const model_kind *const kinds[] = {&model_swinir};

const model_kind *model_find(ckpt_arch a)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i]->arch == a)
            return kinds[i];
    return NULL;
}

bool oriel_model_runnable(ckpt_arch a)
{
    return model_find(a) != NULL;
}
