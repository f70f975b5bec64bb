/* SPDX-License-Identifier: Apache-2.0 */
/* Attention on CUDA devices: which implementation runs. */
#include "attn2d3d/cuda/attn_cuda.h"

#include <stdlib.h>

const attn_cuda_impl *const attn_cuda_impls[] = {
    &attn_cuda_plain,
    NULL,
};

oriel_status attn_cuda_choose(const attn_cuda_impl **out, const attn_job *j, const cuda_device *gpu)
{
    const char *wish = getenv("ORIEL_ATTN"), *why = NULL;
    int         i = 0;
    if (wish && *wish) {
        while (attn_cuda_impls[i] && strcmp(attn_cuda_impls[i]->name, wish) != 0)
            i++;
        if (!attn_cuda_impls[i])
            return oriel_fail(ORIEL_E_ARG, "attn: ORIEL_ATTN=%s is no implementation for CUDA of this build", wish);
    }
    for (; attn_cuda_impls[i]; i++) {
        if (!(why = attn_cuda_impls[i]->reject(j, gpu))) {
            *out = attn_cuda_impls[i];
            return ORIEL_OK;
        }
        oriel_logf(ORIEL_LOG_DEBUG, "attn: not %s: %s", attn_cuda_impls[i]->name, why);
    }
    return oriel_fail(ORIEL_E_UNSUPPORTED, "attn: not on CUDA: %s", why);
}

oriel_status attn_cuda_run(const attn_job *j, oriel_device *dev)
{
    const attn_cuda_impl *impl = NULL;
    oriel_status          s;
    if ((s = cuda_enter(dev)) || (s = attn_cuda_choose(&impl, j, dev->cuda)))
        return s;
    return impl->run(j, dev);
}

size_t attn_cuda_axes_bytes(const attn_job *j)
{
    return j->io->axes ? (size_t)oriel_round_up((int64_t)sizeof(oriel_axis) * 3 * j->a.heads, 256) : 0;
}

oriel_status attn_cuda_axes(const attn_job *j, oriel_device *dev, void *scratch, const oriel_axis **axes)
{
    *axes = (const oriel_axis *)scratch;
    if (!j->io->axes) {
        *axes = NULL;
        return ORIEL_OK;
    }
    return cuda_put(dev, scratch, j->io->axes, sizeof(oriel_axis) * 3 * (size_t)j->a.heads);
}
