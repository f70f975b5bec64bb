/* SPDX-License-Identifier: Apache-2.0 */
/* The problems of checkattn: conformance cases, the patterns that the field uses, random ones. */
#include "checkattn.h"
#include "hash.h"
#include "na_cases.h"

#include <stdio.h>
#include <string.h>

int draw(problem *p, int low, int high)
{
    return low + (int)(test_hash(p->seed, p->drawn++) % (uint64_t)(high - low + 1));
}

bool problem_na(problem *p, int i)
{
    if (i >= NA_CASES)
        return false;
    const na_case *c = &na_cases[i];
    *p = (problem){.seed = (unsigned)i, .lse = true, .amp = (double)c->amp, .data = 1 + (uint64_t)i * 8};
    snprintf(p->name, sizeof p->name, "%s", c->name);
    p->a = (oriel_attn){.batch = c->b, .heads = c->h, .kv_heads = c->hkv, .dim = c->d, .dim_v = c->dv,
                        .extent = {1, 1, 1}, .scale = c->scale, .extra = c->extra};
    for (int x = 0; x < c->rank; x++) {
        int to = 3 - c->rank + x;
        p->a.extent[to] = c->extent[x];
        p->a.axis[to] = (oriel_axis){.kind = ORIEL_AXIS_NEIGHBOR, .size = c->size[x], .stride = c->stride[x],
                                     .dilation = c->dilation[x], .causal = c->causal[x] != 0};
    }
    return true;
}

#define NA(n, ...) {.kind = ORIEL_AXIS_NEIGHBOR, .size = n, __VA_ARGS__}
#define BLOCK(n, ...) {.kind = ORIEL_AXIS_BLOCK, .size = n, __VA_ARGS__}
#define SLIDE(l, r, ...) {.kind = ORIEL_AXIS_SLIDE, .left = l, .right = r, __VA_ARGS__}

static const struct {
    const char *name;
    double      amp;
    oriel_attn  a;
    int         heads_differ; /* the first two heads of named() */
    int         listed;       /* as in problem; under 0: with k_valid */
    bool        scales, pad_rows;
    oriel_segment segments[5];
} named[] = {
    {"dense", 1, {.dim = 16, .extent = {3, 5, 7}}, .heads_differ = 0},
    {"dense causal hot", 8, {.dim = 40, .extent = {1, 1, 77}, .axis = {{0}, {0}, {.causal = true}}, .scale = 1}, .heads_differ = 0},
    {"swin 7x7 bias", 1, {.heads = 3, .dim = 32, .extent = {1, 21, 28}, .axis = {{0}, BLOCK(7, 0), BLOCK(7, 0)}, .bias = ORIEL_BIAS_OFFSET}, .heads_differ = 0},
    {"swin 7x7 shifted bias", 1, {.heads = 2, .dim = 32, .extent = {1, 14, 28}, .axis = {{0}, BLOCK(7, .shift = 3), BLOCK(7, .shift = 3)}, .bias = ORIEL_BIAS_OFFSET}, .heads_differ = 0},
    {"swin 8x8 shifted bf16", 1, {.dtype = ORIEL_BF16, .heads = 2, .dim = 30, .extent = {1, 24, 16}, .axis = {{0}, BLOCK(8, .shift = 4), BLOCK(8, .shift = 4)}, .bias = ORIEL_BIAS_OFFSET}, .heads_differ = 0},
    {"hat 16x16 bias", 1, {.heads = 1, .dim = 30, .extent = {1, 32, 48}, .axis = {{0}, BLOCK(16, .shift = 8), BLOCK(16, .shift = 8)}, .bias = ORIEL_BIAS_OFFSET}, .heads_differ = 0},
    {"seedvr ragged text", 1, {.heads = 2, .dim = 64, .extent = {5, 11, 14}, .axis = {BLOCK(2, .shift = 1), BLOCK(4, .shift = 2), BLOCK(5, .shift = 2)}, .extra = 13, .text = 13}, .heads_differ = 0},
    {"sta text f16", 1, {.dtype = ORIEL_F16, .heads = 2, .dim = 64, .extent = {6, 8, 12}, .axis = {NA(6, .stride = 2), NA(6, .stride = 2), NA(12, .stride = 4)}, .extra = 9, .text = 11}, .heads_differ = 0},
    {"sta per head", 1, {.heads = 4, .dim = 24, .extent = {5, 6, 9}, .axis = {NA(5, 0), NA(3, .stride = 1), NA(9, .stride = 3)}}, .heads_differ = 1},
    {"cswin stripes", 1, {.heads = 2, .dim = 16, .extent = {1, 12, 14}}, .heads_differ = 2},
    {"nat k7 bias dilated", 1, {.heads = 2, .dim = 32, .extent = {1, 23, 29}, .axis = {{0}, NA(7, .dilation = 3), NA(7, .dilation = 4)}, .bias = ORIEL_BIAS_OFFSET}, .heads_differ = 0},
    {"video slide", 1, {.heads = 2, .kv_heads = 1, .dim = 48, .dim_v = 56, .extent = {9, 5, 6}, .axis = {SLIDE(3, 0, .causal = true), NA(3, 0), SLIDE(2, 1, 0)}}, .heads_differ = 0},
    {"dense bias hot", 8, {.heads = 2, .dim = 20, .extent = {2, 7, 9}, .axis = {{0}, NA(4, 0), NA(5, .stride = 2)}, .bias = ORIEL_BIAS_DENSE, .scale = 1}, .heads_differ = 0},
    {"iwin strided", 1, {.heads = 2, .dim = 32, .extent = {1, 28, 21}, .axis = {{0}, NA(7, .stride = 7, .dilation = 4), NA(7, .stride = 7, .dilation = 3)}}, .heads_differ = 0},
    {"dim 1", 8, {.heads = 2, .dim = 1, .dim_v = 3, .extent = {1, 9, 11}, .axis = {{0}, NA(3, 0), NA(4, 0)}}, .heads_differ = 0},
    {"dim 256 bf16", 1, {.dtype = ORIEL_BF16, .dim = 256, .extent = {2, 5, 9}, .axis = {{0}, NA(3, 0), NA(5, 0)}}, .heads_differ = 0},
    {"text over many keys", 1, {.dim = 8, .extent = {1, 60, 100}, .axis = {{0}, NA(2, 0), NA(2, 0)}, .text = 3}, .heads_differ = 0},
    {"one token", 1, {.batch = 2, .heads = 2, .dim = 8, .extent = {1, 1, 1}, .text = 1}, .heads_differ = 0},
    {"long row", 1, {.dim = 16, .extent = {1, 2, 331}, .axis = {{0}, {0}, NA(7, 0)}}, .heads_differ = 0},
    {"wide rows", 1, {.dim = 16, .heads = 2, .extent = {1, 17, 70}, .axis = {{0}, NA(5, 0), NA(3, 0)}, .bias = ORIEL_BIAS_OFFSET}, .heads_differ = 0},
    {"hat ocab", 1, {.heads = 2, .dim = 30, .extent = {1, 32, 48}, .axis = {{0}, BLOCK(16, .left = 4, .right = 4), BLOCK(16, .left = 4, .right = 4)}, .bias = ORIEL_BIAS_OFFSET, .pad_keys = true}, .listed = 0},
    {"halo pad rows ragged shifted", 1, {.heads = 2, .kv_heads = 1, .dim = 24, .extent = {1, 21, 19}, .axis = {{0}, BLOCK(8, .left = 3, .right = 2), BLOCK(8, .shift = 3, .left = 8)}, .pad_keys = true}, .pad_rows = true},
    {"slide unfold zeros", 1, {.heads = 2, .dim = 16, .extent = {1, 9, 70}, .axis = {{0}, SLIDE(1, 1, 0), SLIDE(2, 3, 0)}, .bias = ORIEL_BIAS_OFFSET, .pad_keys = true}, .listed = 0},
    {"srformer permuted", 1, {.heads = 3, .dim = 10, .dim_v = 10, .extent = {1, 32, 48}, .axis = {{0}, BLOCK(16, 0), BLOCK(16, 0)}, .bias = ORIEL_BIAS_OFFSET, .pool = {0, 2, 2}}, .listed = 0},
    {"srformer shifted by spans", 1, {.heads = 2, .dim = 10, .extent = {1, 22, 44}, .axis = {{0}, {.kind = ORIEL_AXIS_SPANS}, {.kind = ORIEL_AXIS_SPANS}}, .bias = ORIEL_BIAS_OFFSET, .pool = {0, 2, 2}}, .listed = 0},
    {"pooled cross", 1, {.heads = 2, .dim = 40, .extent = {1, 13, 17}, .keys = {1, 4, 3}, .bias = ORIEL_BIAS_DENSE}, .listed = 0},
    {"stream chunk causal", 1, {.heads = 2, .kv_heads = 1, .dim = 64, .extent = {3, 6, 7}, .keys = {9, 6, 7}, .at = {5, 0, 0}, .axis = {SLIDE(4, 0, .causal = true), NA(3, 0), NA(5, 0)}, .bias = ORIEL_BIAS_OFFSET}, .listed = 0},
    {"stream chunk dilated", 1, {.dim = 16, .extent = {1, 1, 37}, .keys = {1, 1, 90}, .at = {0, 0, 41}, .axis = {{0}, {0}, NA(7, .stride = 2, .dilation = 5)}, .bias = ORIEL_BIAS_OFFSET}, .listed = 0},
    {"swin v2 cosine", 1, {.heads = 3, .dim = 32, .extent = {1, 16, 24}, .axis = {{0}, BLOCK(8, .shift = 4), BLOCK(8, .shift = 4)}, .bias = ORIEL_BIAS_OFFSET, .cosine = true}, .scales = true},
    {"cosine na text bf16", 1, {.dtype = ORIEL_BF16, .heads = 2, .dim = 48, .extent = {1, 14, 19}, .axis = {{0}, NA(5, 0), NA(7, 0)}, .extra = 5, .text = 6, .cosine = true, .scale = 9}, .listed = 0},
    {"seedvr2 text in windows", 1, {.heads = 2, .dim = 64, .extent = {5, 11, 14}, .axis = {BLOCK(2, .shift = 1), BLOCK(4, .shift = 2), BLOCK(5, .shift = 2)}, .extra = 13, .text = 13, .text_mode = ORIEL_TEXT_WINDOWS}, .listed = 0},
    {"text in many windows f16", 1, {.dtype = ORIEL_F16, .heads = 2, .dim = 16, .extent = {2, 9, 21}, .axis = {{0}, BLOCK(3, 0), BLOCK(2, 0)}, .extra = 70, .text = 70, .text_mode = ORIEL_TEXT_WINDOWS}, .listed = 0},
    {"swin 7 of 3 heads f16", 1, {.dtype = ORIEL_F16, .batch = 2, .heads = 3, .dim = 32, .extent = {1, 21, 28}, .axis = {{0}, BLOCK(7, .shift = 3), BLOCK(7, .shift = 3)}, .bias = ORIEL_BIAS_OFFSET}, .listed = 0},
    {"swinir 8 hot bf16", 8, {.dtype = ORIEL_BF16, .heads = 6, .dim = 30, .extent = {1, 24, 32}, .axis = {{0}, BLOCK(8, .shift = 4), BLOCK(8, .shift = 4)}, .bias = ORIEL_BIAS_OFFSET, .scale = 1}, .listed = 0},
    {"hat 16 ragged f16", 1, {.dtype = ORIEL_F16, .heads = 2, .dim = 30, .extent = {1, 44, 50}, .axis = {{0}, BLOCK(16, .shift = 8), BLOCK(16, .shift = 8)}, .bias = ORIEL_BIAS_OFFSET}, .listed = 0},
    {"vitdet 14 hot bf16", 8, {.dtype = ORIEL_BF16, .heads = 2, .kv_heads = 1, .dim = 64, .extent = {1, 28, 32}, .axis = {{0}, BLOCK(14, 0), BLOCK(14, 0)}, .scale = 1}, .listed = 0},
    {"video blocks f16", 1, {.dtype = ORIEL_F16, .heads = 2, .dim = 16, .extent = {5, 15, 21}, .axis = {BLOCK(2, .shift = 1), BLOCK(5, .shift = 2), BLOCK(7, .shift = 3)}, .bias = ORIEL_BIAS_OFFSET}, .listed = 0},
    {"nat k7 f16", 1, {.dtype = ORIEL_F16, .heads = 2, .dim = 64, .extent = {1, 23, 37}, .axis = {{0}, NA(7, 0), NA(7, 0)}, .bias = ORIEL_BIAS_OFFSET}, .listed = 0},
    {"dinat k5 hot bf16", 8, {.dtype = ORIEL_BF16, .heads = 2, .kv_heads = 1, .dim = 40, .extent = {1, 26, 33}, .axis = {{0}, NA(5, .dilation = 4), NA(5, .dilation = 3)}, .scale = 1}, .listed = 0},
    {"near k9 causal f16", 1, {.dtype = ORIEL_F16, .heads = 2, .dim = 80, .extent = {3, 13, 41}, .axis = {NA(2, .causal = true), NA(9, .stride = 3), SLIDE(3, 5, 0)}}, .listed = 0},
    {"near heads in turn f16", 1, {.dtype = ORIEL_F16, .heads = 24, .kv_heads = 8, .dim = 8, .extent = {1, 40, 56}, .axis = {{0}, NA(3, 0), NA(5, 0)}}, .listed = 0},
    {"near k41 of a row bf16", 8, {.dtype = ORIEL_BF16, .batch = 2, .heads = 3, .dim = 24, .extent = {1, 1, 300}, .axis = {{0}, {0}, NA(41, 0)}, .scale = 1}, .listed = 0},
    {"near k21 wide, frames before f16", 1, {.dtype = ORIEL_F16, .heads = 2, .dim = 40, .extent = {4, 11, 75}, .axis = {NA(2, .dilation = 2, .causal = true), NA(3, 0), NA(21, 0)}, .bias = ORIEL_BIAS_OFFSET}, .listed = 0},
    {"radial lists", 1, {.heads = 2, .dim = 32, .extent = {1, 1, 1000}, .extra = 7, .text = 5, .lists = true, .q_block = {0, 0, 128}, .k_block = {0, 0, 128}}, .listed = 5},
    {"vsa cubes", 1, {.batch = 2, .heads = 2, .dim = 32, .extent = {6, 9, 11}, .lists = true, .q_block = {4, 4, 4}, .k_block = {4, 4, 4}}, .listed = 4},
    {"vsa padded cubes f16", 1, {.dtype = ORIEL_F16, .heads = 2, .dim = 64, .extent = {1, 1, 640}, .bias = ORIEL_BIAS_DENSE, .lists = true, .q_block = {0, 0, 64}, .k_block = {0, 0, 64}}, .listed = -4},
    {"causal lists", 8, {.heads = 2, .dim = 24, .extent = {1, 1, 300}, .axis = {{0}, {0}, {.causal = true}}, .scale = 1, .lists = true, .q_block = {0, 0, 32}, .k_block = {0, 0, 16}}, .listed = 3},
    {"lists of another raster", 1, {.heads = 2, .dim = 16, .extent = {2, 10, 12}, .keys = {5, 11, 13}, .at = {3, 1, 1}, .axis = {{.causal = true}, NA(7, 0), NA(9, .dilation = 1)}, .bias = ORIEL_BIAS_OFFSET, .lists = true, .q_block = {2, 4, 5}, .k_block = {1, 3, 13}}, .listed = 8},
    {"segments of clips", 1, {.batch = 2, .heads = 2, .dim = 32, .extent = {1, 1, 36 + 105 + 36 + 1 + 66}, .axis = {{0}, SLIDE(1, 0, 0), SLIDE(2, 1, 0)}, .extra = 3, .segments = 5}, .segments = {{.extent = {2, 3, 6}}, {.extent = {3, 5, 7}}, {.extent = {2, 3, 6}}, {.extent = {1, 1, 1}}, {.extent = {1, 2, 33}}}},
    {"segments with keys of their own", 1, {.heads = 3, .dim = 24, .extent = {1, 1, 40 + 9 + 77}, .keys = {1, 1, 50 + 9 + 80}, .axis = {{0}, {0}, {.causal = true}}, .bias = ORIEL_BIAS_DENSE, .segments = 3}, .segments = {{.extent = {0, 0, 40}, .keys = {0, 0, 50}, .at = {0, 0, 10}}, {.extent = {0, 0, 9}}, {.extent = {0, 7, 11}, .keys = {0, 5, 16}, .at = {0, 0, 5}}}},
    {"freeswim", 1, {.heads = 2, .dim = 32, .extent = {3, 12, 20}, .axis = {{0}, NA(5, 0), NA(9, 0)}, .scale = 0.19f}, .listed = 0},
    {"slide along X, one row", 1, {.heads = 2, .dim = 24, .extent = {1, 1, 149}, .axis = {{0}, {0}, SLIDE(9, 3, 0)}}, .listed = 0},
    {"neighbours all but one", 8, {.heads = 2, .dim = 33, .extent = {1, 14, 17}, .axis = {{0}, NA(13, 0), NA(16, 0)}, .scale = 1}, .listed = 0},
    {"neighbours fewer than lanes", 1, {.heads = 3, .kv_heads = 1, .dim = 40, .dim_v = 7, .extent = {3, 11, 7}, .axis = {NA(2, 0), NA(6, 0), NA(6, 0)}}, .listed = 0},
    {"neighbours of a frame and before", 1, {.heads = 2, .dim = 32, .extent = {7, 13, 19}, .axis = {NA(3, .causal = true), NA(9, 0), NA(9, 0)}}, .listed = 0},
    {"neighbours dilated, primes", 1, {.dim = 48, .extent = {1, 31, 67}, .axis = {{0}, NA(5, .dilation = 3), NA(8, .dilation = 5)}}, .listed = 0},
    {"neighbours before, dilated", 8, {.heads = 2, .dim = 17, .dim_v = 65, .extent = {5, 1, 83}, .axis = {NA(3, .causal = true), {0}, NA(6, .dilation = 4, .causal = true)}, .scale = 1}, .listed = 0},
    {"neighbours 31 wide, blocks of rows", 1, {.heads = 2, .dim = 16, .dim_v = 80, .extent = {2, 21, 97}, .axis = {{0}, BLOCK(5, .shift = 2), NA(31, 0)}}, .listed = 0},
    {"neighbours bf16", 1, {.dtype = ORIEL_BF16, .heads = 2, .dim = 32, .extent = {1, 19, 40}, .axis = {{0}, NA(7, 0), NA(7, 0)}}, .listed = 0},
    {"neighbours bf16, even, odd rows", 8, {.dtype = ORIEL_BF16, .heads = 2, .kv_heads = 1, .dim = 46, .dim_v = 75, .extent = {3, 6, 37}, .axis = {NA(2, .causal = true), NA(4, 0), NA(8, .dilation = 3)}, .scale = 1}, .listed = 0},
    {"neighbours f16, rows far apart", 1, {.dtype = ORIEL_F16, .batch = 2, .dim = 32, .extent = {1, 24, 23}, .axis = {{0}, NA(5, .stride = 3), NA(5, 0)}}, .listed = 0},
    {"windows of a token", 1, {.heads = 2, .dim = 30, .extent = {2, 3, 9}, .axis = {BLOCK(1, 0), BLOCK(1, 0), BLOCK(1, 0)}, .bias = ORIEL_BIAS_OFFSET}, .listed = 0},
    {"windows of 20 x 20", 1, {.heads = 2, .dim = 10, .extent = {1, 27, 45}, .axis = {{0}, BLOCK(20, .shift = 7), BLOCK(20, .shift = 10)}, .bias = ORIEL_BIAS_OFFSET, .cosine = true}, .listed = 0},
    {"windows of 2 x 2 bf16", 1, {.dtype = ORIEL_BF16, .heads = 2, .dim = 32, .extent = {1, 9, 7}, .axis = {{0}, BLOCK(2, .shift = 1), BLOCK(2, 0)}, .bias = ORIEL_BIAS_OFFSET}, .listed = 0},
    {"windows dim 100 shared keys", 8, {.batch = 2, .heads = 4, .kv_heads = 2, .dim = 100, .dim_v = 70, .extent = {1, 17, 16}, .axis = {{0}, BLOCK(7, .shift = 3), BLOCK(7, .shift = 5)}, .extra = 5, .scale = 1}, .listed = 0},
    {"windows dim 1", 8, {.dim = 1, .dim_v = 33, .extent = {1, 14, 9}, .axis = {{0}, BLOCK(7, 0), BLOCK(9, 0)}, .bias = ORIEL_BIAS_OFFSET}, .listed = 0},
    {"windows 3-D bias", 1, {.heads = 2, .dim = 32, .extent = {6, 14, 11}, .axis = {BLOCK(4, .shift = 2), BLOCK(7, .shift = 3), BLOCK(7, .shift = 3)}, .bias = ORIEL_BIAS_OFFSET}, .listed = 0},
    {"windows 7 x 7 bf16 extra", 8, {.dtype = ORIEL_BF16, .heads = 2, .kv_heads = 1, .dim = 48, .dim_v = 33, .extent = {1, 14, 16}, .axis = {{0}, BLOCK(7, 0), BLOCK(7, .shift = 3)}, .extra = 3, .bias = ORIEL_BIAS_OFFSET, .scale = 1}, .listed = 0},
    {"hat ocab bf16 pad rows", 1, {.dtype = ORIEL_BF16, .heads = 2, .kv_heads = 1, .dim = 30, .extent = {1, 16, 32}, .axis = {{0}, BLOCK(16, .left = 4, .right = 4), BLOCK(16, .left = 4, .right = 4)}, .bias = ORIEL_BIAS_OFFSET, .pad_keys = true}, .pad_rows = true},
    {"swin v2 cosine bf16", 1, {.dtype = ORIEL_BF16, .heads = 3, .dim = 32, .extent = {1, 19, 16}, .axis = {{0}, BLOCK(8, .shift = 4), BLOCK(8, 0)}, .bias = ORIEL_BIAS_OFFSET, .cosine = true}, .scales = true},
    {"windows of 1000 keys", 1, {.heads = 1, .dim = 8, .dim_v = 16, .extent = {1, 1, 1000}, .bias = ORIEL_BIAS_OFFSET}, .listed = 0},
    {"windows of frames before", 1, {.heads = 2, .dim = 32, .extent = {5, 14, 7}, .axis = {{.causal = true}, BLOCK(7, 0), BLOCK(7, 0)}, .bias = ORIEL_BIAS_OFFSET}, .listed = 0},
    {"windows f16 7 x 7", 1, {.dtype = ORIEL_F16, .batch = 2, .heads = 2, .dim = 24, .extent = {1, 14, 7}, .axis = {{0}, BLOCK(7, 0), {0}}, .bias = ORIEL_BIAS_OFFSET, .cosine = true}, .listed = 0},
    {"windows 5 x 7, 35 tokens", 1, {.heads = 2, .dim = 30, .extent = {1, 15, 21}, .axis = {{0}, BLOCK(5, 0), BLOCK(7, 0)}}, .listed = 0},
    {"windows of many keys alike", 1, {.heads = 2, .dim = 16, .extent = {1, 31, 33}, .axis = {{0}, BLOCK(30, 0), BLOCK(32, 0)}, .pad_keys = true}, .pad_rows = true},
    {"windows bf16, an odd dim", 1, {.dtype = ORIEL_BF16, .heads = 2, .dim = 31, .extent = {1, 9, 14}, .axis = {{0}, BLOCK(3, 0), BLOCK(7, 0)}}, .listed = 0},
    {"neighbours bf16, an odd dim", 1, {.dtype = ORIEL_BF16, .heads = 2, .dim = 31, .extent = {1, 9, 21}, .axis = {{0}, NA(3, 0), NA(5, 0)}}, .listed = 0},
    {"more queries than keys", 1, {.heads = 2, .dim = 40, .extent = {1, 13, 23}, .keys = {1, 2, 3}, .at = {0, 0, 0}}, .listed = 0},
    {"pooled from an odd token", 1, {.heads = 2, .dim = 16, .extent = {1, 5, 9}, .keys = {1, 4, 6}, .at = {0, 1, 1}, .bias = ORIEL_BIAS_OFFSET, .pool = {0, 2, 2}}, .listed = 0},
    {"cosine of tiny rows", 2e-13, {.heads = 2, .dim = 16, .extent = {1, 12, 14}, .axis = {{0}, BLOCK(6, 0), BLOCK(7, 0)}, .cosine = true}, .listed = 0},
    {"cosine, padded", 1, {.heads = 2, .kv_heads = 1, .dim = 24, .extent = {1, 13, 10}, .axis = {{0}, BLOCK(6, 0), BLOCK(4, .left = 2)}, .pad_keys = true, .cosine = true}, .listed = 0},
    {"cosine, pad rows", 1, {.heads = 2, .dim = 24, .extent = {1, 13, 10}, .axis = {{0}, BLOCK(6, 0), BLOCK(4, .left = 2)}, .pad_keys = true, .cosine = true}, .pad_rows = true},
    {"dilated lists", 1, {.heads = 2, .dim = 16, .extent = {1, 11, 40}, .axis = {{0}, NA(3, .dilation = 3), NA(5, .dilation = 4)}, .lists = true, .q_block = {0, 4, 7}, .k_block = {0, 3, 6}}, .listed = -8},
    {"pooled windows in halves", 1, {.heads = 2, .dim = 8, .extent = {1, 24, 256}, .axis = {{0}, BLOCK(1, 0), BLOCK(128, 0)}, .bias = ORIEL_BIAS_OFFSET, .pool = {0, 0, 2}}, .listed = 0},
    {"large windows 3-D, 128 channels", 1, {.dtype = ORIEL_BF16, .heads = 2, .dim = 128, .extent = {7, 13, 22}, .axis = {NA(4, 0), NA(6, 0), NA(9, 0)}}, .listed = 0},
    {"large windows of frames before, f16", 8, {.dtype = ORIEL_F16, .heads = 2, .kv_heads = 1, .dim = 96, .extent = {9, 12, 20}, .axis = {NA(5, .causal = true), NA(7, 0), NA(9, .stride = 4)}, .extra = 70, .scale = 1}, .listed = 0},
};

bool problem_named(problem *p, int i)
{
    if (i >= (int)(sizeof named / sizeof *named))
        return false;
    *p = (problem){.seed = (unsigned)(1000 + i), .a = named[i].a, .lse = i % 3 != 0, .amp = named[i].amp,
                   .data = 5000 + (uint64_t)i * 16, .per_head = named[i].heads_differ != 0, .wide = i % 4 == 1};
    snprintf(p->name, sizeof p->name, "%s", named[i].name);
    for (int h = 0; h < HEADS_MAX; h++)
        for (int x = 0; x < 3; x++)
            p->axes[h][x] = p->a.axis[x];
    if (named[i].heads_differ == 1) {
        p->axes[1][1] = (oriel_axis)NA(6, .stride = 2);
        p->axes[2][0] = (oriel_axis){0};
        p->axes[3][2] = (oriel_axis)NA(3, .stride = 3);
    } else if (named[i].heads_differ == 2) {
        p->axes[0][1] = (oriel_axis)BLOCK(3, 0);
        p->axes[1][2] = (oriel_axis)BLOCK(2, 0);
    }
    for (int x = 0; x < 3; x++) /* a bias that reaches one further than it must */
        p->offsets[x] = 2 * (p->a.axis[x].size && p->a.axis[x].kind ? p->a.axis[x].size + p->a.axis[x].left
                             : p->a.keys[x] > p->a.extent[x]          ? p->a.keys[x]
                                                                      : p->a.extent[x]) + 1;
    if (p->a.lists) {
        p->listed = named[i].listed < 0 ? -named[i].listed : named[i].listed;
        p->k_valid = named[i].listed < 0;
        p->list_heads = true;
    }
    p->scales = named[i].scales;
    p->pad_rows = named[i].pad_rows;
    memcpy(p->segments, named[i].segments, sizeof named[i].segments);
    return true;
}

/* A law that n tokens of keys, of which each key stands for `pool`, allow. */
static oriel_axis any_axis(problem *p, int n, int pool, bool more)
{
    oriel_axis a = {.kind = (oriel_axis_kind)draw(p, 0, 3), .causal = draw(p, 0, 3) == 0};
    if (pool > 1) {
        a = (oriel_axis){.kind = draw(p, 0, 1) ? ORIEL_AXIS_BLOCK : ORIEL_AXIS_FULL};
        n /= pool;
    }
    if (a.kind == ORIEL_AXIS_NEIGHBOR && n < 2)
        a.kind = ORIEL_AXIS_FULL;
    if (a.kind == ORIEL_AXIS_NEIGHBOR && draw(p, 0, 4)) {
        int zero = draw(p, 0, 9) == 0;
        a.size = zero ? 0 : draw(p, 2, n);
        int size = a.size ? a.size : n;
        a.stride = draw(p, 0, 1) ? 0 : draw(p, 0, size);
        a.dilation = draw(p, 0, 1) ? 0 : draw(p, 0, n / size);
    } else if (a.kind == ORIEL_AXIS_NEIGHBOR) {
        a.size = n < 7 ? n : 7;
    } else if (a.kind == ORIEL_AXIS_BLOCK) {
        a.size = pool * draw(p, 0, n);
        a.shift = draw(p, 0, 1) ? 0 : pool * draw(p, 0, (a.size ? a.size / pool : n) - 1);
        if (more && draw(p, 0, 1)) {
            a.left = pool * draw(p, 0, n < 6 ? n : 6);
            a.right = pool * draw(p, 0, n < 6 ? n : 6);
        }
    } else if (a.kind == ORIEL_AXIS_SLIDE) {
        a.left = draw(p, 0, more ? n : n + 1);
        a.right = draw(p, 0, more ? n : n + 1);
    }
    return a;
}

/* What keys, which windows; afterwards what of the rest goes with it. */
static void any_raster(problem *p, bool more)
{
    oriel_attn *a = &p->a;
    int         rank = draw(p, 1, 3), most = rank == 1 ? 300 : rank == 2 ? 30 : 9;
    bool        other = more && draw(p, 0, 2) == 0, spans = more && draw(p, 0, 4) == 0;
    for (int x = 0; x < 3; x++) {
        a->extent[x] = x >= 3 - rank ? draw(p, 1, most) : draw(p, 0, 1);
        int n = a->extent[x] ? a->extent[x] : 1, pool = 1;
        if (other && x >= 3 - rank) {
            pool = a->pool[x] = draw(p, 0, 2) ? draw(p, 0, 1) : draw(p, 2, 4);
            pool += !pool;
            a->at[x] = draw(p, 0, 1) ? 0 : draw(p, 1, 7);
            a->keys[x] = a->at[x] || draw(p, 0, 1) ? (a->at[x] + n + pool - 1) / pool + draw(p, 0, 5) : 0;
        }
        int keys = a->keys[x] ? a->keys[x] : (n + pool - 1) / pool;
        a->axis[x] = any_axis(p, keys * pool, pool, more);
        if (spans && draw(p, 0, 1))
            a->axis[x] = (oriel_axis){.kind = ORIEL_AXIS_SPANS};
        for (int h = 0; h < HEADS_MAX && p->per_head; h++)
            p->axes[h][x] = any_axis(p, keys * pool, pool, more);
        p->offsets[x] = 2 * ((keys * pool > n ? keys * pool : n) + draw(p, 0, 1)) - 1;
    }
    a->pad_keys = more && draw(p, 0, 2) == 0;
    for (int x = 0; x < 3 && a->pad_keys; x++) /* a span may begin or end as far again outside */
        p->offsets[x] = 2 * p->offsets[x] + 9;
}

/* Rasters of some tokens each; the law is one that the smallest allows. */
static void any_segments(problem *p)
{
    oriel_attn *a = &p->a;
    int         rank = draw(p, 1, 3), most = rank == 1 ? 60 : rank == 2 ? 12 : 5, least[3] = {1 << 20, 1 << 20, 1 << 20};
    int         q = 0, k = 0, far[3] = {1, 1, 1};
    a->segments = draw(p, 1, draw(p, 0, 2) ? 6 : SEGMENTS_MAX);
    for (int i = 0; i < a->segments; i++) {
        oriel_segment *s = &p->segments[i];
        int            nq = 1, nk = 1;
        *s = (oriel_segment){0};
        if (i && draw(p, 0, 2) == 0)
            *s = p->segments[i - 1]; /* often alike */
        for (int x = 0; x < 3; x++) {
            if (!s->extent[x] && x >= 3 - rank) {
                s->extent[x] = draw(p, 1, most);
                s->at[x] = draw(p, 0, 3) ? 0 : draw(p, 1, 4);
                s->keys[x] = s->at[x] || draw(p, 0, 3) == 0 ? s->extent[x] + s->at[x] + draw(p, 0, 4) : 0;
            }
            int n = s->extent[x] ? s->extent[x] : 1, m = s->keys[x] ? s->keys[x] : n;
            nq *= n, nk *= m;
            least[x] = m < least[x] ? m : least[x];
            far[x] = m > far[x] ? m : far[x];
        }
        q += nq, k += nk;
    }
    a->extent[0] = a->extent[1] = 0;
    a->extent[2] = q;
    a->keys[2] = k == q ? 0 : k;
    for (int x = 0; x < 3; x++) {
        a->axis[x] = any_axis(p, least[x], 1, true);
        for (int h = 0; h < HEADS_MAX && p->per_head; h++)
            p->axes[h][x] = any_axis(p, least[x], 1, true);
        p->offsets[x] = 2 * far[x] - 1;
    }
    a->pad_keys = draw(p, 0, 3) == 0;
    for (int x = 0; x < 3 && a->pad_keys; x++)
        p->offsets[x] = 2 * p->offsets[x] + 9;
}

static void any_lists(problem *p)
{
    oriel_attn *a = &p->a;
    a->lists = true;
    a->pad_keys = false;
    for (int x = 0; x < 3; x++) {
        int n = a->extent[x] ? a->extent[x] : 1, m = a->keys[x] ? a->keys[x] : n / (a->pool[x] ? a->pool[x] : 1);
        a->q_block[x] = draw(p, 0, n < 20 ? n : 20);
        a->k_block[x] = draw(p, 0, m < 20 ? m : 20);
    }
    p->listed = draw(p, 1, 16);
    p->list_batches = draw(p, 0, 1);
    p->list_heads = draw(p, 0, 1);
    p->k_valid = draw(p, 0, 2) == 0 && !a->text;
}

/* A quarter of the random problems: windows that slide along X, which have kernels of their own. */
static void slide_along_x(problem *p)
{
    oriel_attn *a = &p->a;
    int         n = a->extent[2] = draw(p, 2, draw(p, 0, 1) ? 40 : 150), size = draw(p, 2, n < 20 ? n : 20);
    a->extra = a->text = 0;
    if (draw(p, 0, 3) == 0) {
        a->dtype = ORIEL_BF16; /* pairs of channels */
        a->dim += a->dim % 2;
        p->wide = false;
    }
    a->bias = a->bias == ORIEL_BIAS_DENSE ? ORIEL_BIAS_NONE : a->bias;
    p->per_head = false;
    if (draw(p, 0, 3))
        a->axis[2] = (oriel_axis)NA(size, .dilation = draw(p, 0, 1) ? draw(p, 1, n / size) : 0, .causal = draw(p, 0, 2) == 0);
    else
        a->axis[2] = (oriel_axis)SLIDE(draw(p, 0, 12), draw(p, 0, 12), .causal = draw(p, 0, 2) == 0);
    p->offsets[2] = 2 * n - 1;
}

void problem_random(problem *p, unsigned seed)
{
    *p = (problem){.seed = seed, .data = 100000 + (uint64_t)seed * 16};
    snprintf(p->name, sizeof p->name, "random");
    oriel_attn *a = &p->a;
    bool        more = seed % 2 == 0; /* of the fields after bias */
    a->dtype = (oriel_dtype)(draw(p, 0, 2) ? ORIEL_F32 : draw(p, 1, 2));
    a->batch = draw(p, 0, 2);
    a->kv_heads = draw(p, 0, 2);
    a->heads = a->kv_heads ? a->kv_heads * draw(p, 1, 3) : draw(p, 0, 3);
    a->dim = draw(p, 0, 3) ? 8 * draw(p, 1, 5) : draw(p, 1, 256);
    a->dim_v = draw(p, 0, 2) ? 0 : draw(p, 1, draw(p, 0, 3) ? 40 : 256);
    p->per_head = draw(p, 0, 4) == 0;
    p->amp = draw(p, 0, 2) ? 1 : 8;
    a->scale = p->amp > 1 ? 1 : draw(p, 0, 2) ? 0 : 0.125f;
    a->extra = draw(p, 0, 2) ? 0 : draw(p, 1, 70);
    a->bias = (oriel_attn_bias)(draw(p, 0, 1) ? 0 : draw(p, 0, 2));
    p->lse = draw(p, 0, 1);
    p->wide = draw(p, 0, 3) == 0;
    bool segments = more && draw(p, 0, 3) == 0;
    if (segments)
        any_segments(p);
    else {
        any_raster(p, more);
        a->text = draw(p, 0, 3) ? 0 : draw(p, 1, 70);
        if (more && draw(p, 0, 3) == 0)
            any_lists(p);
    }
    if (seed % 4 == 1)
        slide_along_x(p);
    if (a->pad_keys && a->bias == ORIEL_BIAS_DENSE)
        a->bias = ORIEL_BIAS_NONE;
    p->pad_rows = a->pad_keys && draw(p, 0, 1);
    p->scales = more && draw(p, 0, 3) == 0;
    a->cosine = more && draw(p, 0, 3) == 0;
    if (more && !segments && !a->lists && draw(p, 0, 2) == 0) { /* text in windows, if these are windows */
        bool windows = true;
        for (int h = 0; h < (p->per_head ? HEADS_MAX : 1); h++)
            for (int x = 0; x < 3; x++) {
                oriel_axis *b = p->per_head ? &p->axes[h][x] : &a->axis[x];
                b->causal = false;
                b->left = b->right = 0;
                windows &= b->kind == ORIEL_AXIS_FULL || b->kind == ORIEL_AXIS_BLOCK;
            }
        for (int x = 0; x < 3; x++) /* they count where each head has its own, too */
            windows &= !a->axis[x].causal && !a->axis[x].left && !a->axis[x].right &&
                       (a->axis[x].kind == ORIEL_AXIS_FULL || a->axis[x].kind == ORIEL_AXIS_BLOCK);
        a->text_mode = windows ? ORIEL_TEXT_WINDOWS : ORIEL_TEXT_ALL;
        a->text = windows ? draw(p, 1, 70) : a->text;
    }
}
