/* SPDX-License-Identifier: Apache-2.0 */
/* Window block: packing of weights, planning. */
#include "attn2d3d/block.h"

#include <math.h>

#include "core/cpu/ops_cpu.h"

static const double LOG2E = 1.4426950408889634;

static oriel_status norm_pack(op_norm *n, int c, float eps, const float *gamma, const float *beta)
{
    *n = (op_norm){.c = c, .eps = eps};
    if (!(n->gamma = oriel_alloc((size_t)c * 2 * sizeof(float))))
        return ORIEL_E_NOMEM;
    n->beta = n->gamma + c;
    memcpy(n->gamma, gamma, (size_t)c * sizeof(float));
    memcpy(n->beta, beta, (size_t)c * sizeof(float));
    return ORIEL_OK;
}

/* Bias of key j for query i, from the table by offset to (H, keys, lanes). */
static void expand_bias(float *out, const float *table, int heads, int w, int lanes)
{
    memset(out, 0, (size_t)heads * (size_t)(w * w) * (size_t)lanes * sizeof(float));
    for (int h = 0; h < heads; h++)
        for (int j = 0; j < w * w; j++)
            for (int i = 0; i < w * w; i++) {
                int dy = i / w - j / w, dx = i % w - j % w;
                int at = (dy + w - 1) * (2 * w - 1) + dx + w - 1;
                out[((size_t)h * (size_t)(w * w) + (size_t)j) * (size_t)lanes + (size_t)i] =
                    (float)(table[at * heads + h] * LOG2E);
            }
}

oriel_status attn_block_pack(oriel_device *dev, attn_block *b, const attn_block_data *d, bool bf16)
{
    oriel_status     s;
    int              c = d->c;
    const panel_ops *p = panel_choose(dev->cpu, bf16);
    *b = (attn_block){.c = c, .heads = d->heads, .window = d->window, .hidden = d->hidden};
    if (!p)
        return oriel_fail(ORIEL_E_UNSUPPORTED,
                          "bf16: this CPU has neither AVX512-BF16 nor AMX (or they are hidden)");
    b->lanes = (int)oriel_round_up(d->window * d->window, p->lanes);
    float scale = (float)(LOG2E / sqrt((double)c / d->heads));
    for (int i = 0; i < c; i++) {
        d->qkv_bias[i] *= scale;
        for (int k = 0; k < c; k++)
            d->qkv[(size_t)i * (size_t)c + (size_t)k] *= scale;
    }
    if ((s = norm_pack(&b->norm1, c, d->eps, d->norm1_gamma, d->norm1_beta)) ||
        (s = norm_pack(&b->norm2, c, d->eps, d->norm2_gamma, d->norm2_beta)) ||
        (s = op_conv_pack(dev, &b->qkv, 3 * c, c, 1, 0, d->qkv, d->qkv_bias, bf16)) ||
        (s = op_conv_pack(dev, &b->proj, c, c, 1, 0, d->proj, d->proj_bias, bf16)) ||
        (s = op_conv_pack(dev, &b->fc1, d->hidden, c, 1, 0, d->fc1, d->fc1_bias, bf16)) ||
        (s = op_conv_pack(dev, &b->fc2, c, d->hidden, 1, 0, d->fc2, d->fc2_bias, bf16)))
        goto fail;
    size_t bytes = (size_t)d->heads * (size_t)(d->window * d->window) * (size_t)b->lanes * 4;
    if (!(b->bias = oriel_alloc_aligned(bytes))) {
        s = ORIEL_E_NOMEM;
        goto fail;
    }
    expand_bias(b->bias, d->bias_table, d->heads, d->window, b->lanes);
    b->bytes = bytes + (size_t)c * 16 + b->qkv.bytes + b->proj.bytes + b->fc1.bytes + b->fc2.bytes;
    return ORIEL_OK;
fail:
    attn_block_unpack(dev, b);
    return s;
}

void attn_block_unpack(oriel_device *dev, attn_block *b)
{
    oriel_dealloc(b->norm1.gamma);
    oriel_dealloc(b->norm2.gamma);
    op_conv_unpack(dev, &b->qkv);
    op_conv_unpack(dev, &b->proj);
    op_conv_unpack(dev, &b->fc1);
    op_conv_unpack(dev, &b->fc2);
    oriel_dealloc_aligned(b->bias);
    *b = (attn_block){0};
}

void attn_block_run(run *r, op_map y, op_map x, const attn_block *b, int shift)
{
    assert(x.t.shape[2] == b->c && x.t.shape[0] % b->window == 0 && x.t.shape[1] % b->window == 0);
    double tokens = (double)x.t.shape[0] * (double)x.t.shape[1], c = b->c;
    double flops = tokens * c * (8.0 * c + 4.0 * b->hidden + 4.0 * b->window * b->window);
    size_t mark = oriel_arena_mark(&r->arena);
    void  *scratch = run_take(r, attn_block_cpu_scratch(r, b));
    if (run_step(r, flops))
        attn_block_cpu(r, y, x, b, shift, scratch);
    oriel_arena_rewind(&r->arena, mark);
}
