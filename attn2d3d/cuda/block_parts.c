/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Window block on a GPU from parts: norm, products, attention from attn_cuda.h, GELU.
 *
 * Contract: any window, C to 1024, heads of up to 256 channels, F32, F16, BF16; x and y packed.
 * Products: of 16 bits by block_linear.cu, with the norm before and GELU or the residual behind (LADDER.md has
 *   cuBLASLt's figures); of f32 by cuBLASLt.
 * Layout: operands are padded with zeros to multiples of 8: channels (Cp), hidden (Fp), and each head's channels
 *   (Dp), so that attention reads q, k, v from the product's (tokens, 3, H, Dp) in copies of 16 bytes and leaves
 *   (tokens, H, Dp) to the projection, whose weights have zeros in those columns. Maps are f32, and what a product
 *   adds to one is never rounded. A norm's gamma and beta are part of the weights behind it.
 * Work: pieces of whole rows of windows, which see no other piece: [0, shift + k w) in the grid that begins at
 *   `shift`, then k w rows at a time, the last one cut at the end. Swin's -100 is the law's "not seen": that differs
 *   by exp(-100) of a weight.
 * Memory: a piece's map and what it has between its operations are as large as L2; half of that was slower, for each
 *   attention has 13 us of its own. This also bounds the scratch: a token's widest pair of operands, next to each other.
 */
#include <math.h>

#include "attn2d3d/cuda/attn_cuda.h"
#include "attn2d3d/cuda/block_cuda.h"
#include "core/cuda/linear.h"

enum { DIM_MAX = ATTN_DIM_MAX, PAD = 8 };

/* A dense layer: the one for F32 or the other. */
typedef struct layer {
    cuda_linear       full;
    cuda_block_linear half;
} layer;

typedef struct weights {
    int         dim, head, cp, fp; /* D, Dp, Cp, Fp */
    oriel_dtype operand;
    float       eps;
    bool        normed; /* products norm what they read */
    void       *memory; /* on the GPU, with all that follows */
    float      *bias;   /* (H, 1, 2w - 1, 2w - 1) by query - key */
    layer       qkv, proj, fc1, fc2;
} weights;

static int padded(int n)
{
    return (int)oriel_round_up(n, PAD);
}

static const char *reject(const attn_block_data *d, oriel_dtype operand, const cuda_device *gpu)
{
    (void)gpu;
    return d->c > CUDA_BLOCK_CHANNELS       ? "more than 1024 channels"
           : d->c / d->heads > DIM_MAX      ? "heads of more than 256 channels"
           : operand != ORIEL_F32 && operand != ORIEL_F16 && operand != ORIEL_BF16 ? "operands are not f32, f16 or bf16"
                                                                                    : NULL;
}

/* ---- weights ------------------------------------------------------------------------------ */

/* A run of memory on the host and its copy on the GPU; first counted, then filled. */
typedef struct pile {
    unsigned char *host, *gpu; /* NULL: counting */
    size_t         used;
} pile;

/* Room for n numbers: where to fill them (NULL when counting), and where they will be. */
static unsigned char *pile_take(pile *p, size_t n, oriel_dtype type, void *there)
{
    size_t         at = p->used;
    unsigned char *gpu = p->gpu ? p->gpu + at : NULL;
    p->used += (size_t)oriel_round_up((int64_t)(n * oriel_dtype_size(type)), 256);
    memcpy(there, &gpu, sizeof gpu);
    return p->host ? p->host + at : NULL;
}

static void put(unsigned char *to, oriel_dtype type, size_t at, float v)
{
    if (type == ORIEL_F32)
        ((float *)(void *)to)[at] = v;
    else
        ((uint16_t *)(void *)to)[at] = type == ORIEL_F16 ? oriel_f32_to_f16(v) : oriel_f32_to_bf16(v);
}

/* How an axis of a checkpoint's matrix lies in ours: `parts` runs of `n`, each made `room` long. */
typedef struct spread {
    int parts, n, room;
} spread;

static size_t spread_at(spread s, int i)
{
    return (size_t)(i / s.n) * (size_t)s.room + (size_t)(i % s.n);
}

/* A layer as the checkpoint has it, (n, k) and (n); on the norm of its inputs, if there is one. */
typedef struct source {
    const float *w, *bias, *gamma, *beta;
    spread       rows, columns;
    bool         to_map;
} source;

static float source_bias(const source *f, int i)
{
    int    k = f->columns.parts * f->columns.n;
    double sum = (double)f->bias[i];
    for (int j = 0; f->beta && j < k; j++)
        sum += (double)f->w[(size_t)i * (size_t)k + (size_t)j] * (double)f->beta[j];
    return (float)sum;
}

static void pile_layer(pile *p, layer *l, const source *f, oriel_dtype operand, bool normed)
{
    int n = f->rows.parts * f->rows.n, k = f->columns.parts * f->columns.n;
    int rows = f->rows.parts * f->rows.room, columns = f->columns.parts * f->columns.room;
    bool              map = normed && f->gamma;
    cuda_block_linear half = cuda_block_linear_of(rows, map ? k : columns, operand == ORIEL_BF16, map, f->to_map);
    bool   full = operand == ORIEL_F32;
    size_t count = full ? (size_t)rows * (size_t)columns : (size_t)half.groups * (size_t)half.steps * 1024;
    const void    *w, *bias;
    unsigned char *to = pile_take(p, count, operand, &w);
    for (int i = 0; to && i < n; i++)
        for (int j = 0; j < k; j++) {
            size_t r = spread_at(f->rows, i), c = spread_at(f->columns, j);
            put(to, operand, full ? r * (size_t)columns + c : cuda_block_linear_at(&half, (int)r, (int)c),
                f->w[(size_t)i * (size_t)k + (size_t)j] * (f->gamma ? f->gamma[j] : 1));
        }
    to = pile_take(p, full ? (size_t)rows : (size_t)half.groups * 32, ORIEL_F32, &bias);
    for (int i = 0; to && i < n; i++)
        put(to, ORIEL_F32, spread_at(f->rows, i), source_bias(f, i));
    half.w = w;
    half.bias = bias;
    l->half = half;
    l->full = (cuda_linear){.n = rows, .k = columns, .operand = operand, .out = operand, .w = w, .bias = bias};
}

static void pile_weights(pile *p, weights *w, const attn_block_data *d)
{
    const spread c = {1, d->c, d->c}, padded_c = {1, d->c, w->cp}, f = {1, d->hidden, w->fp};
    const spread split = {3 * d->heads, w->dim, w->head}, heads = {d->heads, w->dim, w->head};
    const source qkv = {d->qkv, d->qkv_bias, d->norm1_gamma, d->norm1_beta, split, padded_c, false};
    const source proj = {d->proj, d->proj_bias, NULL, NULL, c, heads, true};
    const source fc1 = {d->fc1, d->fc1_bias, d->norm2_gamma, d->norm2_beta, f, padded_c, false};
    const source fc2 = {d->fc2, d->fc2_bias, NULL, NULL, c, f, true};
    size_t       offsets = (size_t)(2 * d->window - 1) * (size_t)(2 * d->window - 1), h = (size_t)d->heads;
    pile_layer(p, &w->qkv, &qkv, w->operand, w->normed);
    pile_layer(p, &w->proj, &proj, w->operand, w->normed);
    pile_layer(p, &w->fc1, &fc1, w->operand, w->normed);
    pile_layer(p, &w->fc2, &fc2, w->operand, w->normed);
    unsigned char *to = pile_take(p, offsets * h, ORIEL_F32, &w->bias);
    for (size_t i = 0; to && i < offsets * h; i++)
        put(to, ORIEL_F32, i % h * offsets + i / h, d->bias_table[i]);
}

static oriel_status pack(oriel_device *dev, attn_block *b, const attn_block_data *d, oriel_dtype operand)
{
    oriel_status s;
    pile         p = {0};
    weights     *w = b->packed = oriel_alloc_zero(1, sizeof *w);
    if (!w)
        return ORIEL_E_NOMEM;
    w->dim = d->c / d->heads;
    w->head = padded(w->dim);
    w->cp = padded(d->c);
    w->fp = padded(d->hidden);
    w->operand = operand;
    w->eps = d->eps;
    w->normed = operand != ORIEL_F32 && d->c <= CUDA_BLOCK_NORMED;
    pile_weights(&p, w, d);
    b->bytes = p.used;
    if ((s = oriel_memory_alloc(dev, &w->memory, b->bytes)))
        return s;
    p = (pile){oriel_alloc_zero(b->bytes, 1), w->memory, 0};
    if (!p.host)
        return ORIEL_E_NOMEM;
    pile_weights(&p, w, d);
    s = oriel_memory_upload(dev, w->memory, p.host, b->bytes);
    oriel_dealloc(p.host);
    return s;
}

static void unpack(oriel_device *dev, attn_block *b)
{
    weights *w = b->packed;
    oriel_memory_free(dev, &w->memory);
    oriel_dealloc(w);
}

/* ---- a run -------------------------------------------------------------------------------- */

/* How a map is cut, and the bytes of a token's operands. */
typedef struct plan {
    int64_t rows;         /* of a piece, a multiple of w; the first one has `shift` more */
    size_t  narrow, wide; /* norm or attention's answer; q, k, v or hidden */
} plan;

static plan plan_of(const oriel_device *dev, const attn_block *b, op_map x)
{
    const weights *w = b->packed;
    size_t  size = oriel_dtype_size(w->operand);
    int     answer = b->heads * w->head;
    plan    p = {0, size * (size_t)oriel_max(w->cp, answer), size * (size_t)oriel_max(3 * answer, w->fp)};
    int64_t windows = x.t.shape[0] / b->window, token = (int64_t)(p.narrow + p.wide) + 4 * b->c;
    int64_t most = (int64_t)dev->cuda->l2 / (token * x.t.shape[1] * b->window);
    int64_t pieces = oriel_ceil_div(windows, oriel_max(most, 1));
    p.rows = oriel_ceil_div(windows, pieces) * b->window;
    return p;
}

/* The first piece has up to w - 1 rows more than the others. */
static size_t scratch_bytes(const run *r, const attn_block *b, op_map x)
{
    plan   p = plan_of(r->dev, b, x);
    size_t tokens = (size_t)(oriel_min(p.rows + b->window, x.t.shape[0]) * x.t.shape[1]);
    return (size_t)oriel_round_up((int64_t)(tokens * p.narrow), 256) + tokens * p.wide;
}

/* A piece: rows of the maps, in which blocks begin at row `shift_y`. */
typedef struct piece {
    float       *y;
    const float *x;
    int64_t      rows, width, tokens;
    int          shift_y, shift_x;
    void        *narrow, *wide;
} piece;

static oriel_status attend(oriel_device *dev, const attn_block *b, const piece *p)
{
    const weights *w = b->packed;
    const int64_t  heads = b->heads, head = w->head, side = 2 * b->window - 1, token = 3 * heads * head;
    const int64_t  shape[6] = {1, 1, p->rows, p->width, heads, head}, offsets[4] = {heads, 1, side, side};
    const size_t   part = (size_t)(heads * head) * oriel_dtype_size(w->operand);
    oriel_tensor   qkv = oriel_tensor_of(p->wide, w->operand, 6, shape);
    attn_job       j;
    oriel_status   s;
    qkv.stride[3] = token;
    qkv.stride[2] = token * p->width;
    qkv.stride[1] = qkv.stride[0] = qkv.stride[2] * p->rows;
    oriel_attn_io io = {.q = qkv, .k = qkv, .v = qkv, .out = oriel_tensor_of(p->narrow, w->operand, 6, shape),
                        .bias = oriel_tensor_of(w->bias, ORIEL_F32, 4, offsets)};
    io.k.data = (char *)p->wide + part;
    io.v.data = (char *)p->wide + 2 * part;
    const oriel_attn a = {.dtype = w->operand, .heads = b->heads, .dim = w->head,
                          .extent = {1, (int)p->rows, (int)p->width},
                          .axis = {[1] = {.kind = ORIEL_AXIS_BLOCK, .size = (int)oriel_min(b->window, p->rows), .shift = p->shift_y},
                                   [2] = {.kind = ORIEL_AXIS_BLOCK, .size = b->window, .shift = p->shift_x}},
                          .scale = 1 / sqrtf((float)w->dim), .bias = ORIEL_BIAS_OFFSET};
    return (s = attn_prepare(&j, &a, &io)) ? s : attn_cuda_run(&j, dev);
}

/* to = layer(norm of from), then GELU; by way of p->narrow if that is two steps. */
static oriel_status normed(oriel_device *dev, const weights *w, const layer *l, const piece *p, int c, const float *from,
                           cuda_block_form form)
{
    oriel_status s;
    if (w->normed)
        return cuda_block_linear_run(dev, &l->half, form, p->tokens, p->wide, from, NULL, w->eps);
    if ((s = cuda_block_norm(dev, p->narrow, w->operand, from, p->tokens, c, w->cp, w->eps)))
        return s;
    if (w->operand != ORIEL_F32)
        return cuda_block_linear_run(dev, &l->half, form, p->tokens, p->wide, p->narrow, NULL, 0);
    s = cuda_linear_run(dev, &l->full, p->tokens, p->wide, p->narrow, NULL);
    return s || form != CUDA_BLOCK_GELU ? s : cuda_block_gelu(dev, p->wide, p->tokens * l->full.n);
}

/* y = layer(from) + add */
static oriel_status added(oriel_device *dev, const weights *w, const layer *l, const piece *p, const void *from, const float *add)
{
    return w->operand == ORIEL_F32 ? cuda_linear_run(dev, &l->full, p->tokens, p->y, from, add)
                                   : cuda_block_linear_run(dev, &l->half, CUDA_BLOCK_ADD, p->tokens, p->y, from, add, 0);
}

static oriel_status run_piece(oriel_device *dev, const attn_block *b, const piece *p)
{
    const weights *w = b->packed;
    oriel_status   s;
    if ((s = normed(dev, w, &w->qkv, p, b->c, p->x, CUDA_BLOCK_HALF)) || (s = attend(dev, b, p)) ||
        (s = added(dev, w, &w->proj, p, p->narrow, p->x)) || (s = normed(dev, w, &w->fc1, p, b->c, p->y, CUDA_BLOCK_GELU)))
        return s;
    return added(dev, w, &w->fc2, p, p->wide, p->y);
}

static void run_block(run *r, op_map y, op_map x, const attn_block *b, int shift, void *scratch)
{
    const plan    cut = plan_of(r->dev, b, x);
    const int64_t rows = x.t.shape[0], width = x.t.shape[1], row = width * b->c;
    oriel_status  s = cuda_enter(r->dev);
    size_t        tokens = (size_t)(oriel_min(cut.rows + b->window, rows) * width);
    for (int64_t at = 0, end; at < rows && !s; at = end) {
        end = oriel_min(rows, at ? at + cut.rows : shift + cut.rows);
        const piece p = {.y = (float *)y.t.data + at * row, .x = (const float *)x.t.data + at * row, .rows = end - at,
                         .width = width, .tokens = (end - at) * width, .shift_y = at ? 0 : shift, .shift_x = shift,
                         .narrow = scratch,
                         .wide = (char *)scratch + oriel_round_up((int64_t)(tokens * cut.narrow), 256)};
        s = run_piece(r->dev, b, &p);
    }
    if (s)
        run_fail(r, s);
}

const cuda_block_way cuda_block_parts = {"parts", reject, {pack, unpack, scratch_bytes, run_block}};
