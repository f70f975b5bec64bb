/* SPDX-License-Identifier: Apache-2.0 */
/* Window block on CUDA devices: which way does it. */
#include "attn2d3d/cuda/block_cuda.h"

#include <stdlib.h>

/* Fastest first; the last one takes all that any takes. */
static const cuda_block_way *const ways[] = {&cuda_block_fused, &cuda_block_parts, NULL};

/* The environment variable ORIEL_BLOCK (a way's name) asks for one, and for those after it where that one refuses. */
static oriel_status pack(oriel_device *dev, attn_block *b, const attn_block_data *d, oriel_dtype operand)
{
    const char *wish = getenv("ORIEL_BLOCK"), *why = NULL;
    int         i = 0;
    if (wish && *wish) {
        while (ways[i] && strcmp(ways[i]->name, wish) != 0)
            i++;
        if (!ways[i])
            return oriel_fail(ORIEL_E_ARG, "window block: ORIEL_BLOCK=%s is no way of this build", wish);
    }
    for (; ways[i]; i++) {
        if (!(why = ways[i]->reject(d, operand, dev->cuda))) {
            b->is = &ways[i]->kind;
            return b->is->pack(dev, b, d, operand);
        }
        oriel_logf(ORIEL_LOG_DEBUG, "window block: not %s: %s", ways[i]->name, why);
    }
    return oriel_fail(ORIEL_E_UNSUPPORTED, "window block: not on %s: %s", dev->name, why);
}

/* Once it is packed, a block is its way's. */
const attn_block_kind attn_block_cuda = {pack, NULL, NULL, NULL};
