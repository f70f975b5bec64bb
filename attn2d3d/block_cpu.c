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

enum { MAX_SIDE = 32, MAX_TOKENS = MAX_SIDE * MAX_SIDE };

static const float MASKED = -100.f * 1.442695041f; /* Swin's -100, in units of log 2 */

typedef struct layout { /* floats of a worker's panels */
    size_t x, norm, wide, pair, logits, region, size;
} layout;

static layout plan(const panel_ops *p, const attn_block *b)
{
    layout l;
    size_t t = (size_t)b->lanes, c = (size_t)b->c, hidden = (size_t)b->hidden;
    size_t wide = 3 * c > hidden ? 3 * c : hidden, narrow = c > hidden ? c : hidden;
    l.x = c * t;
    l.norm = c * t;
    l.wide = wide * t;
    l.pair = p->bf16 ? (size_t)oriel_round_up((int64_t)narrow, p->k_step) / 2 * t : 0;
    l.logits = panel_attend_floats(b->c / b->heads, b->lanes, b->window * b->window);
    l.region = t;
    l.size = (size_t)oriel_round_up(
        (int64_t)(l.x + l.norm + l.wide + l.pair + l.logits + l.region) * 4, 64);
    return l;
}

typedef struct job {
    op_map            y, x;
    const attn_block *b;
    const panel_ops  *p;
    int               shift;
    layout            l;
    char             *scratch;
} job;

size_t attn_block_cpu_scratch(const run *r, const attn_block *b)
{
    const cpu_weights *w = b->qkv.packed;
    return plan(w->p, b).size * (size_t)oriel_pool_threads(r->dev->pool);
}

/* Y (+)= act(W X + bias) on one panel of tokens; in bf16 the operand is paired first. */
static void linear(const job *j, const op_conv *w, const float *x, uint32_t *pair, float *y,
                   panel_act act, bool add)
{
    const cpu_weights *c = w->packed;
    int                t = j->b->lanes;
    if (j->p->bf16)
        j->p->pair(pair, x, t, w->k, t);
    j->p->gemm(&(panel_gemm){.w = &c->w,
                             .x = j->p->bf16 ? (const void *)pair : x,
                             .ldx = t,
                             .y = y,
                             .ldy = t,
                             .t = t,
                             .act = act,
                             .add = add});
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
    for (int i = w * w; i < j->b->lanes; i++)
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
    const panel_ops  *p = j->p;
    float            *x = (float *)scratch, *norm = x + j->l.x, *wide = norm + j->l.norm;
    uint32_t         *pair = (uint32_t *)(wide + j->l.wide);
    float            *logits = (float *)(pair + j->l.pair), *region = logits + j->l.logits;
    int               t = b->lanes, n = b->window * b->window, d = b->c / b->heads;
    int64_t           at[MAX_TOKENS];
    const float      *from[MAX_TOKENS];
    float            *to[MAX_TOKENS];
    bool              masked = tokens(j, wy, wx, at, region);
    for (int i = 0; i < n; i++) {
        from[i] = (const float *)j->x.t.data + at[i];
        to[i] = (float *)j->y.t.data + at[i];
    }
    p->gather(x, t, from, n, b->c);
    p->norm(norm, x, t, b->c, t, b->norm1.gamma, b->norm1.beta, b->norm1.eps);
    linear(j, &b->qkv, norm, pair, wide, PANEL_LINEAR, false);
    for (int h = 0; h < b->heads; h++) {
        const float *q = wide + (ptrdiff_t)h * d * t;
        prefetch(j, next_y, next_x, h * b->window / b->heads, (h + 1) * b->window / b->heads);
        p->attend(&(panel_attend){.q = q,
                                  .k = q + (ptrdiff_t)b->c * t,
                                  .v = q + (ptrdiff_t)2 * b->c * t,
                                  .o = norm + (ptrdiff_t)h * d * t,
                                  .ld = t,
                                  .d = d,
                                  .t = t,
                                  .nk = n,
                                  .bias = b->bias + (ptrdiff_t)h * n * t,
                                  .region = masked ? region : NULL,
                                  .masked = MASKED,
                                  .s = logits});
    }
    linear(j, &b->proj, norm, pair, x, PANEL_LINEAR, true);
    p->norm(norm, x, t, b->c, t, b->norm2.gamma, b->norm2.beta, b->norm2.eps);
    linear(j, &b->fc1, norm, pair, wide, PANEL_GELU, false);
    linear(j, &b->fc2, wide, pair, x, PANEL_LINEAR, true);
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

void attn_block_cpu(run *r, op_map y, op_map x, const attn_block *b, int shift, void *scratch)
{
    const cpu_weights *w = b->qkv.packed;
    job     j = {y, x, b, w->p, shift, plan(w->p, b), scratch};
    int64_t windows = (x.t.shape[0] / b->window) * (x.t.shape[1] / b->window);
    assert(b->window <= MAX_SIDE);
    oriel_parallel_for(r->dev->pool, windows, 8, range, &j);
}
