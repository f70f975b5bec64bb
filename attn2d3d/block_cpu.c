/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Window block on the CPU: a window's tokens go through the whole block in cache.
 *
 * Layout: tokens are gathered from the (Y, X, C) map by their addresses, so the cyclic shift costs
 *   nothing; panels are [channel][token], window^2 tokens rounded up to whole vectors.
 * Work: windows, in any order, each written once in place; nothing is shared but weights.
 * Memory: 2 C floats of map traffic a token against about 16 C^2 flops; a worker's panels (light:
 *   100 KB, SwinIR-M: 250 KB) stay in L2, weights stream from L2 or L3 once a window.
 */
#include "attn2d3d/block.h"
#include "core/cpu/ops_cpu.h"

#include <math.h>

enum { MAX_SIDE = 32, MAX_TOKENS = MAX_SIDE * MAX_SIDE };

static const double LOG2E = 1.4426950408889634;
static const float  MASKED = -100.f * 1.442695041f; /* Swin's -100, in units of log 2 */

typedef struct weights {
    int     lanes; /* w^2 rounded up to the panel's lanes */
    op_norm norm1, norm2;
    op_conv qkv; /* (H, head_rows): q, k and v of a head, then zeros up to what kernels can begin at */
    int     head_rows;
    op_conv proj, fc1, fc2;
    float  *bias; /* (H, w^2 keys, lanes queries), times log2(e) */
} weights;

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

static oriel_status qkv_pack(oriel_device *dev, weights *w, const attn_block_data *d, const panel_ops *p,
                             oriel_dtype operand)
{
    int    c = d->c, dim = c / d->heads, rows = (int)oriel_round_up(3 * dim, p->n_step), n = d->heads * rows;
    size_t row = (size_t)c * sizeof(float);
    float *qkv = oriel_alloc_zero((size_t)n, row), *bias = oriel_alloc_zero((size_t)n, sizeof *bias);
    oriel_status s = qkv && bias ? ORIEL_OK : ORIEL_E_NOMEM;
    for (int i = 0; !s && i < 3 * c; i++) {
        int at = i % c / dim * rows + i / c * dim + i % dim;
        memcpy(qkv + (size_t)at * (size_t)c, d->qkv + (size_t)i * (size_t)c, row);
        bias[at] = d->qkv_bias[i];
    }
    if (!s)
        s = op_conv_pack(dev, &w->qkv, n, c, 1, 0, qkv, bias, operand);
    w->head_rows = rows;
    oriel_dealloc(qkv);
    oriel_dealloc(bias);
    return s;
}

static oriel_status pack(oriel_device *dev, attn_block *b, const attn_block_data *d, oriel_dtype operand)
{
    oriel_status     s;
    int              c = d->c;
    const panel_ops *p;
    weights         *w = b->packed = oriel_alloc_zero(1, sizeof *w);
    if (!w)
        return ORIEL_E_NOMEM;
    if ((s = cpu_panel(&p, dev, operand)))
        return s;
    w->lanes = (int)oriel_round_up(d->window * d->window, p->lanes);
    float scale = (float)(LOG2E / sqrt((double)c / d->heads));
    for (int i = 0; i < c; i++) {
        d->qkv_bias[i] *= scale;
        for (int k = 0; k < c; k++)
            d->qkv[(size_t)i * (size_t)c + (size_t)k] *= scale;
    }
    if ((s = op_norm_pack(dev, &w->norm1, c, d->eps, d->norm1_gamma, d->norm1_beta)) ||
        (s = op_norm_pack(dev, &w->norm2, c, d->eps, d->norm2_gamma, d->norm2_beta)) ||
        (s = qkv_pack(dev, w, d, p, operand)) ||
        (s = op_conv_pack(dev, &w->proj, c, c, 1, 0, d->proj, d->proj_bias, operand)) ||
        (s = op_conv_pack(dev, &w->fc1, d->hidden, c, 1, 0, d->fc1, d->fc1_bias, operand)) ||
        (s = op_conv_pack(dev, &w->fc2, c, d->hidden, 1, 0, d->fc2, d->fc2_bias, operand)))
        return s;
    size_t bytes = (size_t)d->heads * (size_t)(d->window * d->window) * (size_t)w->lanes * 4;
    if (!(w->bias = oriel_alloc_aligned(bytes)))
        return ORIEL_E_NOMEM;
    expand_bias(w->bias, d->bias_table, d->heads, d->window, w->lanes);
    b->bytes = bytes + (size_t)c * 16 + w->qkv.bytes + w->proj.bytes + w->fc1.bytes + w->fc2.bytes;
    return ORIEL_OK;
}

static void unpack(oriel_device *dev, attn_block *b)
{
    weights *w = b->packed;
    op_norm_unpack(dev, &w->norm1);
    op_norm_unpack(dev, &w->norm2);
    op_conv_unpack(dev, &w->qkv);
    op_conv_unpack(dev, &w->proj);
    op_conv_unpack(dev, &w->fc1);
    op_conv_unpack(dev, &w->fc2);
    oriel_dealloc_aligned(w->bias);
    oriel_dealloc(w);
}


typedef struct layout { /* floats of a worker's panels */
    size_t x, norm, heads, wide, pair, logits, region, size;
} layout;

static layout plan(const panel_ops *p, const attn_block *b)
{
    layout l;
    int    lanes = ((const weights *)b->packed)->lanes;
    size_t t = (size_t)lanes, c = (size_t)b->c, hidden = (size_t)b->hidden;
    size_t head = 3 * c / (size_t)b->heads, wide = head > hidden ? head : hidden;
    size_t narrow = c > hidden ? c : hidden;
    l.x = c * t;
    l.norm = c * t;
    l.heads = p->bf16 ? 0 : c * t; /* pairs are read then: heads may lie where norm does */
    l.wide = wide * t;
    l.pair = p->bf16 ? (size_t)oriel_round_up((int64_t)narrow, p->k_step) / 2 * t : 0;
    l.logits = panel_attend_floats(b->c / b->heads, lanes, b->window * b->window);
    l.region = t;
    l.size = (size_t)oriel_round_up(
        (int64_t)(l.x + l.norm + l.heads + l.wide + l.pair + l.logits + l.region) * 4, 64);
    return l;
}

typedef struct job {
    op_map            y, x;
    const attn_block *b;
    const weights    *w;
    const panel_ops  *p;
    int               shift;
    layout            l;
    char             *scratch;
} job;

static const panel_ops *panel_of(const attn_block *b)
{
    const cpu_weights *w = ((const weights *)b->packed)->qkv.packed;
    return w->p;
}

static size_t scratch_bytes(const run *r, const attn_block *b, op_map x)
{
    (void)x;
    return plan(panel_of(b), b).size * (size_t)oriel_pool_threads(r->dev->pool);
}

/* What products take for a panel of k channels: the panel, or pairs of it. */
static const void *operand_of(const job *j, const float *x, int k, uint32_t *pair)
{
    if (!j->p->bf16)
        return x;
    j->p->pair(pair, x, j->w->lanes, k, j->w->lanes);
    return pair;
}

/* Y (+)= act(W X + bias) on one panel of tokens */
static void linear(const job *j, const panel_weights *w, const void *x, float *y, panel_act act, bool add)
{
    int t = j->w->lanes;
    j->p->gemm(&(panel_gemm){.w = w, .x = x, .ldx = t, .y = y, .ldy = t, .t = t, .act = act, .add = add});
}

static const panel_weights *packed(const op_conv *w)
{
    return &((const cpu_weights *)w->packed)->w;
}

/* o = attention of head h of x; q, k and v never leave L1. */
static void head(const job *j, int h, const void *x, float *qkv, float *o, const float *region, float *logits)
{
    const attn_block *b = j->b;
    ptrdiff_t         t = j->w->lanes;
    int               d = b->c / b->heads, n = b->window * b->window;
    panel_weights     w = panel_rows(packed(&j->w->qkv), j->p, h * j->w->head_rows, 3 * d);
    linear(j, &w, x, qkv, PANEL_LINEAR, false);
    j->p->attend(&(panel_attend){.q = qkv,
                                 .k = qkv + d * t,
                                 .v = qkv + 2 * d * t,
                                 .o = o + h * d * t,
                                 .ld = t,
                                 .d = d,
                                 .t = j->w->lanes,
                                 .nk = n,
                                 .bias = j->w->bias + h * n * t,
                                 .region = region,
                                 .masked = MASKED,
                                 .s = logits});
}

/* One axis of window `at`: where its w tokens lie, and which of them another block of the law has.
 * True if there are any. */
static bool along(int n, int w, int shift, int at, int *place, bool *other)
{
    oriel_axis axis = {.kind = ORIEL_AXIS_BLOCK, .size = w, .shift = shift};
    bool       any = false;
    for (int i = 0; i < w; i++) {
        place[i] = (at * w + shift + i) % n;
        other[i] = oriel_axis_span(axis, n, place[i]).first !=
                   oriel_axis_span(axis, n, place[0]).first;
        any |= other[i];
    }
    return any;
}

/* Addresses of a window's tokens as offsets into a map, and the region of each. True if the window
 * has more than one region. */
static bool tokens(const job *j, int wy, int wx, int64_t *at, float *region)
{
    int  w = j->b->window, y[MAX_SIDE], x[MAX_SIDE];
    bool other_y[MAX_SIDE], other_x[MAX_SIDE];
    bool masked = along((int)j->x.t.shape[0], w, j->shift, wy, y, other_y);
    masked |= along((int)j->x.t.shape[1], w, j->shift, wx, x, other_x);
    for (int r = 0; r < w; r++)
        for (int c = 0; c < w; c++) {
            at[r * w + c] = y[r] * j->x.t.stride[0] + x[c] * j->x.t.stride[1];
            region[r * w + c] = (float)(2 * other_y[r] + other_x[c]);
        }
    for (int i = w * w; i < j->w->lanes; i++)
        region[i] = 0.f;
    return masked;
}

/* Ask for rows [begin, end) of the window that comes next while this one is computed; a few at a time,
 * so that the requests find room. wy -1: there is none. Inline, since gcc drops calls of a function
 * that does nothing but prefetch. */
__attribute__((always_inline)) static inline void prefetch(const job *j, int wy, int wx, int begin, int end)
{
    int     w = j->b->window, ny = (int)j->x.t.shape[0], nx = (int)j->x.t.shape[1];
    int     x = wx * w + j->shift;
    int64_t bytes = w * j->x.t.stride[1] * (int64_t)sizeof(float);
    if (wy < 0 || x + w > nx) /* wraps around: rare */
        return;
    for (int r = begin; r < end; r++) {
        int64_t     y = (wy * w + j->shift + r) % ny;
        const char *p = (const char *)((const float *)j->x.t.data + y * j->x.t.stride[0] +
                                       x * j->x.t.stride[1]);
        for (int64_t i = 0; i < bytes; i += 64)
            __builtin_prefetch(p + i, 0, 2);
    }
}

static void window(const job *j, int wy, int wx, int next_y, int next_x, char *scratch)
{
    const attn_block *b = j->b;
    const weights    *w = j->w;
    const panel_ops  *p = j->p;
    float            *x = (float *)scratch, *norm = x + j->l.x, *heads = norm + j->l.heads;
    float            *wide = heads + j->l.norm;
    uint32_t         *pair = (uint32_t *)(wide + j->l.wide);
    float            *logits = (float *)(pair + j->l.pair), *region = logits + j->l.logits;
    int               t = w->lanes, n = b->window * b->window;
    int64_t           at[MAX_TOKENS];
    const float      *from[MAX_TOKENS];
    float            *to[MAX_TOKENS];
    bool              masked = tokens(j, wy, wx, at, region);
    for (int i = 0; i < n; i++) {
        from[i] = (const float *)j->x.t.data + at[i];
        to[i] = (float *)j->y.t.data + at[i];
    }
    p->gather(x, t, from, n, b->c);
    p->norm(norm, x, t, b->c, t, w->norm1.gamma, w->norm1.beta, w->norm1.eps);
    const void *operand = operand_of(j, norm, b->c, pair);
    for (int h = 0; h < b->heads; h++) {
        prefetch(j, next_y, next_x, h * b->window / b->heads, (h + 1) * b->window / b->heads);
        head(j, h, operand, wide, heads, masked ? region : NULL, logits);
    }
    linear(j, packed(&w->proj), operand_of(j, heads, b->c, pair), x, PANEL_LINEAR, true);
    p->norm(norm, x, t, b->c, t, w->norm2.gamma, w->norm2.beta, w->norm2.eps);
    linear(j, packed(&w->fc1), operand_of(j, norm, b->c, pair), wide, PANEL_GELU, false);
    linear(j, packed(&w->fc2), operand_of(j, wide, b->hidden, pair), x, PANEL_LINEAR, true);
    p->scatter(to, x, t, n, b->c);
}

static void range(void *arg, int64_t begin, int64_t end, int worker)
{
    const job *j = arg;
    int        across = (int)j->x.t.shape[1] / j->b->window;
    panel_enter(j->p);
    for (int64_t i = begin; i < end; i++) {
        int next_y = i + 1 < end ? (int)((i + 1) / across) : -1;
        window(j, (int)(i / across), (int)(i % across), next_y, (int)((i + 1) % across),
               j->scratch + j->l.size * (size_t)worker);
    }
    panel_leave(j->p);
}

static void run_block(run *r, op_map y, op_map x, const attn_block *b, int shift, void *scratch)
{
    const panel_ops *p = panel_of(b);
    job     j = {y, x, b, b->packed, p, shift, plan(p, b), scratch};
    int64_t windows = (x.t.shape[0] / b->window) * (x.t.shape[1] / b->window);
    assert(b->window <= MAX_SIDE);
    oriel_parallel_for(r->dev->pool, windows, 8, range, &j);
}

const attn_block_kind attn_block_cpu = {pack, unpack, scratch_bytes, run_block};
