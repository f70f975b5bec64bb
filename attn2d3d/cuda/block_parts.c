/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Window block on a GPU from parts: norm, products by cuBLASLt, attention from attn_cuda.h, GELU.
 *
 * Contract: any window, C to 1024, heads of up to 256 channels, F32, F16, BF16; x and y packed.
 * Layout: operands are padded with zeros to multiples of 8: channels (Cp), hidden (Fp), and each head's channels
 *   (Dp), so that attention reads q, k, v from the product's (tokens, 3, H, Dp) in copies of 16 bytes and leaves
 *   (tokens, H, Dp) to the projection, whose weights have zeros in those columns. Maps are f32, and what a product
 *   adds to one is never rounded.
 * Work: pieces of whole rows of windows, which see no other piece: [0, shift + k w) in the grid that begins at
 *   `shift`, then k w rows at a time, the last one cut at the end. Swin's -100 is the law's "not seen": that differs
 *   by exp(-100) of a weight.
 * Memory: what a piece has between its operations stays in L2, where it is written and read; this also bounds the
 *   scratch: a token's widest pair of operands, next to each other.
 */
#include <math.h>

#include "attn2d3d/cuda/attn_cuda.h"
#include "attn2d3d/cuda/block_cuda.h"
#include "core/cuda/linear.h"

enum { DIM_MAX = ATTN_DIM_MAX, PAD = 8 };

typedef struct weights {
    int         dim, head, cp, fp; /* D, Dp, Cp, Fp */
    oriel_dtype operand;
    float       eps;
    void       *memory; /* on the GPU, with all that follows */
    float      *norm[2]; /* gamma (Cp), beta (Cp) */
    float      *bias;    /* (H, 1, 2w - 1, 2w - 1) by query - key */
    cuda_linear qkv, proj, fc1, fc2;
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

/* A layer whose outputs and inputs lie as `rows` and `columns` say. */
static void pile_linear(pile *p, cuda_linear *l, const float *w, const float *bias, spread rows, spread columns,
                        oriel_dtype operand, oriel_dtype out)
{
    int n = rows.parts * rows.n, k = columns.parts * columns.n;
    *l = (cuda_linear){.n = rows.parts * rows.room, .k = columns.parts * columns.room, .operand = operand, .out = out};
    unsigned char *to = pile_take(p, (size_t)l->n * (size_t)l->k, operand, &l->w);
    for (int i = 0; to && i < n; i++)
        for (int j = 0; j < k; j++)
            put(to, operand, spread_at(rows, i) * (size_t)l->k + spread_at(columns, j), w[(size_t)i * (size_t)k + (size_t)j]);
    to = pile_take(p, (size_t)l->n, out, &l->bias);
    for (int i = 0; to && i < n; i++)
        put(to, out, spread_at(rows, i), bias[i]);
}

static void pile_norm(pile *p, float **there, const float *gamma, const float *beta, int c, int cp)
{
    unsigned char *to = pile_take(p, 2 * (size_t)cp, ORIEL_F32, there);
    for (int i = 0; to && i < c; i++) {
        put(to, ORIEL_F32, (size_t)i, gamma[i]);
        put(to, ORIEL_F32, (size_t)(cp + i), beta[i]);
    }
}

static void pile_weights(pile *p, weights *w, const attn_block_data *d)
{
    const spread c = {1, d->c, d->c}, padded_c = {1, d->c, w->cp}, f = {1, d->hidden, w->fp};
    const spread qkv = {3 * d->heads, w->dim, w->head}, heads = {d->heads, w->dim, w->head};
    size_t       offsets = (size_t)(2 * d->window - 1) * (size_t)(2 * d->window - 1), h = (size_t)d->heads;
    pile_norm(p, &w->norm[0], d->norm1_gamma, d->norm1_beta, d->c, w->cp);
    pile_norm(p, &w->norm[1], d->norm2_gamma, d->norm2_beta, d->c, w->cp);
    pile_linear(p, &w->qkv, d->qkv, d->qkv_bias, qkv, padded_c, w->operand, w->operand);
    pile_linear(p, &w->proj, d->proj, d->proj_bias, c, heads, w->operand, ORIEL_F32);
    pile_linear(p, &w->fc1, d->fc1, d->fc1_bias, f, padded_c, w->operand, w->operand);
    pile_linear(p, &w->fc2, d->fc2, d->fc2_bias, c, f, w->operand, ORIEL_F32);
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
    int64_t most = (int64_t)(dev->cuda->l2 / 2) / (token * x.t.shape[1] * b->window);
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

static oriel_status run_piece(oriel_device *dev, const attn_block *b, const piece *p)
{
    const weights *w = b->packed;
    oriel_status   s;
    if ((s = cuda_block_norm(dev, p->narrow, w->operand, p->x, p->tokens, b->c, w->cp, w->norm[0], w->norm[0] + w->cp, w->eps)) ||
        (s = cuda_linear_run(dev, &w->qkv, p->tokens, p->wide, p->narrow, NULL)) ||
        (s = attend(dev, b, p)) ||
        (s = cuda_linear_run(dev, &w->proj, p->tokens, p->y, p->narrow, p->x)) ||
        (s = cuda_block_norm(dev, p->narrow, w->operand, p->y, p->tokens, b->c, w->cp, w->norm[1], w->norm[1] + w->cp, w->eps)) ||
        (s = cuda_linear_run(dev, &w->fc1, p->tokens, p->wide, p->narrow, NULL)) ||
        (s = cuda_block_gelu(dev, p->wide, w->operand, p->tokens * w->fp)))
        return s;
    return cuda_linear_run(dev, &w->fc2, p->tokens, p->y, p->wide, p->y);
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
