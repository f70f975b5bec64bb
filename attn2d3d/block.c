/* SPDX-License-Identifier: Apache-2.0 */
/* Window block: which device does it, planning. */
#include "attn2d3d/block.h"

oriel_status attn_block_pack(oriel_device *dev, attn_block *b, const attn_block_data *d, oriel_dtype operand)
{
    *b = (attn_block){.c = d->c, .heads = d->heads, .window = d->window, .hidden = d->hidden, .is = &attn_block_cpu};
#if ORIEL_WITH_CUDA
    if (dev->kind == ORIEL_CUDA)
        b->is = &attn_block_cuda;
#endif
    oriel_status s = b->is->pack(dev, b, d, operand);
    if (s)
        attn_block_unpack(dev, b);
    return s;
}

void attn_block_unpack(oriel_device *dev, attn_block *b)
{
    if (b->packed)
        b->is->unpack(dev, b);
    *b = (attn_block){0};
}

void attn_block_run(run *r, op_map y, op_map x, const attn_block *b, int shift)
{
    assert(x.t.shape[2] == b->c && x.t.shape[0] % b->window == 0 && x.t.shape[1] % b->window == 0);
    double tokens = (double)x.t.shape[0] * (double)x.t.shape[1], c = b->c;
    double flops = tokens * c * (8.0 * c + 4.0 * b->hidden + 4.0 * b->window * b->window);
    run_moves(r, &x.t);
    run_moves(r, &y.t);
    size_t mark = oriel_arena_mark(&r->arena);
    void  *scratch = run_take(r, b->is->scratch(r, b, x));
    if (run_step(r, flops))
        b->is->run(r, y, x, b, shift, scratch);
    oriel_arena_rewind(&r->arena, mark);
}
