/* SPDX-License-Identifier: Apache-2.0 */
/* The problems of checkattn: conformance cases, the patterns that the field uses, random ones. */
#include "checkattn.h"
#include "hash.h"
#include "na_cases.h"

#include <stdio.h>

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
} named[] = {
    {"dense", 1, {.dim = 16, .extent = {3, 5, 7}}, 0},
    {"dense causal hot", 8, {.dim = 40, .extent = {1, 1, 77}, .axis = {{0}, {0}, {.causal = true}}, .scale = 1}, 0},
    {"swin 7x7 bias", 1, {.heads = 3, .dim = 32, .extent = {1, 21, 28}, .axis = {{0}, BLOCK(7, 0), BLOCK(7, 0)}, .bias = ORIEL_BIAS_OFFSET}, 0},
    {"swin 7x7 shifted bias", 1, {.heads = 2, .dim = 32, .extent = {1, 14, 28}, .axis = {{0}, BLOCK(7, .shift = 3), BLOCK(7, .shift = 3)}, .bias = ORIEL_BIAS_OFFSET}, 0},
    {"swin 8x8 shifted bf16", 1, {.dtype = ORIEL_BF16, .heads = 2, .dim = 30, .extent = {1, 24, 16}, .axis = {{0}, BLOCK(8, .shift = 4), BLOCK(8, .shift = 4)}, .bias = ORIEL_BIAS_OFFSET}, 0},
    {"hat 16x16 bias", 1, {.heads = 1, .dim = 30, .extent = {1, 32, 48}, .axis = {{0}, BLOCK(16, .shift = 8), BLOCK(16, .shift = 8)}, .bias = ORIEL_BIAS_OFFSET}, 0},
    {"seedvr ragged text", 1, {.heads = 2, .dim = 64, .extent = {5, 11, 14}, .axis = {BLOCK(2, .shift = 1), BLOCK(4, .shift = 2), BLOCK(5, .shift = 2)}, .extra = 13, .text = 13}, 0},
    {"sta text f16", 1, {.dtype = ORIEL_F16, .heads = 2, .dim = 64, .extent = {6, 8, 12}, .axis = {NA(6, .stride = 2), NA(6, .stride = 2), NA(12, .stride = 4)}, .extra = 9, .text = 11}, 0},
    {"sta per head", 1, {.heads = 4, .dim = 24, .extent = {5, 6, 9}, .axis = {NA(5, 0), NA(3, .stride = 1), NA(9, .stride = 3)}}, 1},
    {"cswin stripes", 1, {.heads = 2, .dim = 16, .extent = {1, 12, 14}}, 2},
    {"nat k7 bias dilated", 1, {.heads = 2, .dim = 32, .extent = {1, 23, 29}, .axis = {{0}, NA(7, .dilation = 3), NA(7, .dilation = 4)}, .bias = ORIEL_BIAS_OFFSET}, 0},
    {"video slide", 1, {.heads = 2, .kv_heads = 1, .dim = 48, .dim_v = 56, .extent = {9, 5, 6}, .axis = {SLIDE(3, 0, .causal = true), NA(3, 0), SLIDE(2, 1, 0)}}, 0},
    {"dense bias hot", 8, {.heads = 2, .dim = 20, .extent = {2, 7, 9}, .axis = {{0}, NA(4, 0), NA(5, .stride = 2)}, .bias = ORIEL_BIAS_DENSE, .scale = 1}, 0},
    {"iwin strided", 1, {.heads = 2, .dim = 32, .extent = {1, 28, 21}, .axis = {{0}, NA(7, .stride = 7, .dilation = 4), NA(7, .stride = 7, .dilation = 3)}}, 0},
    {"dim 1", 8, {.heads = 2, .dim = 1, .dim_v = 3, .extent = {1, 9, 11}, .axis = {{0}, NA(3, 0), NA(4, 0)}}, 0},
    {"dim 256 bf16", 1, {.dtype = ORIEL_BF16, .dim = 256, .extent = {2, 5, 9}, .axis = {{0}, NA(3, 0), NA(5, 0)}}, 0},
    {"text over many keys", 1, {.dim = 8, .extent = {1, 60, 100}, .axis = {{0}, NA(2, 0), NA(2, 0)}, .text = 3}, 0},
    {"one token", 1, {.batch = 2, .heads = 2, .dim = 8, .extent = {1, 1, 1}, .text = 1}, 0},
    {"long row", 1, {.dim = 16, .extent = {1, 2, 331}, .axis = {{0}, {0}, NA(7, 0)}}, 0},
    {"wide rows", 1, {.dim = 16, .heads = 2, .extent = {1, 17, 70}, .axis = {{0}, NA(5, 0), NA(3, 0)}, .bias = ORIEL_BIAS_OFFSET}, 0},
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
        p->offsets[x] = 2 * (p->a.axis[x].size && p->a.axis[x].kind ? p->a.axis[x].size : p->a.extent[x]) + 1;
    return true;
}

static oriel_axis any_axis(problem *p, int n)
{
    oriel_axis a = {.kind = (oriel_axis_kind)draw(p, 0, 3), .causal = draw(p, 0, 3) == 0};
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
        a.size = draw(p, 0, n);
        a.shift = draw(p, 0, 1) ? 0 : draw(p, 0, (a.size ? a.size : n) - 1);
    } else if (a.kind == ORIEL_AXIS_SLIDE) {
        a.left = draw(p, 0, n + 1);
        a.right = draw(p, 0, n + 1);
    }
    return a;
}

void problem_random(problem *p, unsigned seed)
{
    *p = (problem){.seed = seed, .data = 100000 + (uint64_t)seed * 16};
    snprintf(p->name, sizeof p->name, "random");
    oriel_attn *a = &p->a;
    a->dtype = (oriel_dtype)(draw(p, 0, 2) ? ORIEL_F32 : draw(p, 1, 2));
    a->batch = draw(p, 0, 2);
    a->kv_heads = draw(p, 0, 2);
    a->heads = a->kv_heads ? a->kv_heads * draw(p, 1, 3) : draw(p, 0, 3);
    a->dim = draw(p, 0, 3) ? 8 * draw(p, 1, 5) : draw(p, 1, 256);
    a->dim_v = draw(p, 0, 2) ? 0 : draw(p, 1, draw(p, 0, 3) ? 40 : 256);
    int rank = draw(p, 1, 3), most = rank == 1 ? 300 : rank == 2 ? 30 : 9;
    for (int x = 0; x < 3; x++) {
        a->extent[x] = x >= 3 - rank ? draw(p, 1, most) : draw(p, 0, 1);
        int n = a->extent[x] ? a->extent[x] : 1, far = n;
        a->axis[x] = any_axis(p, n);
        p->offsets[x] = 2 * (far + draw(p, 0, 1)) - 1;
    }
    p->per_head = draw(p, 0, 4) == 0;
    for (int h = 0; h < HEADS_MAX && p->per_head; h++)
        for (int x = 0; x < 3; x++)
            p->axes[h][x] = any_axis(p, a->extent[x] ? a->extent[x] : 1);
    p->amp = draw(p, 0, 2) ? 1 : 8;
    a->scale = p->amp > 1 ? 1 : draw(p, 0, 2) ? 0 : 0.125f;
    a->extra = draw(p, 0, 2) ? 0 : draw(p, 1, 70);
    a->text = draw(p, 0, 3) ? 0 : draw(p, 1, 70);
    a->bias = (oriel_attn_bias)(draw(p, 0, 1) ? 0 : draw(p, 0, 2));
    p->lse = draw(p, 0, 1);
    p->wide = draw(p, 0, 3) == 0;
}
