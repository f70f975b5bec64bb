/* SPDX-License-Identifier: Apache-2.0 */
/* Window block on CUDA devices: none yet; networks are refused before they ask (models/model.c). */
#include "attn2d3d/block.h"
#include "core/cuda/cuda.h"

static oriel_status pack(oriel_device *dev, attn_block *b, const attn_block_data *d, oriel_dtype operand)
{
    (void)b, (void)d, (void)operand;
    return oriel_fail(ORIEL_E_UNSUPPORTED, "window block: not on %s", dev->name);
}

static void unpack(oriel_device *dev, attn_block *b)
{
    (void)dev, (void)b;
}

static size_t scratch_bytes(const run *r, const attn_block *b, op_map x)
{
    (void)r, (void)b, (void)x;
    return 0;
}

static void run_block(run *r, op_map y, op_map x, const attn_block *b, int shift, void *scratch)
{
    (void)y, (void)x, (void)b, (void)shift, (void)scratch;
    run_fail(r, oriel_fail(ORIEL_E_UNSUPPORTED, "window block: not on %s", r->dev->name));
}

const attn_block_kind attn_block_cuda = {pack, unpack, scratch_bytes, run_block};
