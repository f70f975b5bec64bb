/* SPDX-License-Identifier: Apache-2.0 */
/* The fused window block's weights, from a checkpoint's order to that of its products' fragments. */
#include "attn2d3d/cuda/block_fused.h"

#include <math.h>

enum { UNIT = FUSED_UNIT / 2 }; /* elements */

static const double LOG2E = 1.4426950408889634;

/* A linear layer behind a norm or not: weight (n, k) and what comes after the k inputs. */
typedef struct matrix {
    const float *w, *bias, *gamma, *beta; /* (n, k), (n), (k), (k); bias NULL: no columns of ones; gamma NULL: no norm */
    int          n, k;
    double       scale;
} matrix;

typedef uint16_t round_fn(float f);

static uint16_t to_bf16(float f)
{
    return oriel_f32_to_bf16(f);
}

static double from_bits(uint16_t h, bool bf16)
{
    return bf16 ? (double)oriel_bf16_to_f32(h) : (double)oriel_f16_to_f32(h);
}

static double bias_of(const matrix *m, int row)
{
    double sum = (double)m->bias[row];
    for (int i = 0; m->gamma && i < m->k; i++)
        sum += (double)m->w[(size_t)row * (size_t)m->k + (size_t)i] * (double)m->beta[i];
    return sum * m->scale;
}

/* Row `row`, column `col` as the kernel multiplies it; zero outside. */
static uint16_t element(const matrix *m, int row, int col, bool bf16)
{
    round_fn *to = bf16 ? to_bf16 : oriel_f32_to_f16;
    if (row < 0 || row >= m->n || col >= m->k + (m->bias ? FUSED_ONES : 0))
        return 0;
    if (col >= m->k) {
        double   bias = bias_of(m, row);
        uint16_t high = to((float)bias);
        return col == m->k ? high : to((float)(bias - from_bits(high, bf16)));
    }
    double x = (double)m->w[(size_t)row * (size_t)m->k + (size_t)col] * m->scale;
    return to((float)(m->gamma ? x * (double)m->gamma[col] : x));
}

/* Row of the matrix at r of 8 in tile t of a pair, rows in order or as channels; -1: none. */
typedef struct rows {
    int  first, n;
    bool channels;
} rows;

static int row_at(const rows *r, int tile, int i)
{
    int at = r->channels ? fused_channel(8 * tile + i) : 8 * tile + i;
    return at < r->n ? r->first + at : -1;
}

/* Sixteen columns from `col` on, of two tiles of 8 rows: as fragments, or in boxes of 8 rows and 8 columns. */
static void put_unit(uint16_t *out, const matrix *m, rows r, int col, bool channels, bool boxes, bool bf16)
{
    for (int lane = 0; lane < 32; lane++)
        for (int tile = 0; tile < 2; tile++)
            for (int half = 0; half < 2; half++)
                for (int e = 0; e < 2; e++) {
                    int i = 8 * half + 2 * (lane & 3) + e;
                    out[boxes ? 128 * tile + 64 * half + 2 * lane + e : 8 * lane + 4 * tile + 2 * half + e] =
                        element(m, row_at(&r, tile, lane >> 2), col + (channels ? fused_channel(i) : i), bf16);
                }
}

/* Where the next chunk begins, the last one having begun at `out`. */
static uint16_t *next_chunk(uint16_t *out, uint16_t *end, const fused_shape *s)
{
    return s->pitch ? out + (size_t)s->pitch * UNIT : end;
}

static uint16_t *put_bias(uint16_t *out, const fused_shape *s, const float *table, int head)
{
    int w = s->window, n = w * w;
    for (int strip = 0; strip < 4; strip++)
        for (int pair = 0; pair < 4; pair++)
            for (int lane = 0; lane < 32; lane++)
                for (int i = 0; i < 8; i++) { /* tile, row, column of a lane */
                    int    q = 16 * strip + (i >> 1 & 1) * 8 + lane / 4, k = 16 * pair + (i >> 2) * 8 + lane % 4 * 2 + (i & 1);
                    double x = 0;
                    if (q < n && k < n) {
                        int at = (q / w - k / w + w - 1) * (2 * w - 1) + q % w - k % w + w - 1;
                        x = (double)table[(size_t)at * (size_t)s->heads + (size_t)head] * LOG2E;
                    }
                    *out++ = oriel_f32_to_f16(k < n ? (float)x : -INFINITY);
                }
    return out;
}

static uint16_t *put_head(uint16_t *out, const fused_shape *s, const attn_block_data *d, int head, bool bf16)
{
    matrix qkv = {d->qkv, d->qkv_bias, d->norm1_gamma, d->norm1_beta, 3 * s->c, s->c, 1};
    matrix proj = {.w = d->proj, .n = s->c, .k = s->c, .scale = 1};
    for (int part = 0; part < 3; part++) {
        uint16_t *at = out;
        qkv.scale = part ? 1 : LOG2E / sqrt(s->dim);
        for (int k = 0; k < s->ks; k++)
            for (int i = 0; i < s->ds; i++, at += UNIT)
                put_unit(at, &qkv, (rows){part * s->c + head * s->dim + 16 * i, s->dim - 16 * i, false}, 16 * k, true, s->boxes, bf16);
        out = next_chunk(out, at, s);
    }
    out = next_chunk(out, put_bias(out, s, d->bias_table, head), s);
    uint16_t *at = out;
    for (int k = 0; k < s->ds; k++) /* the columns behind this head's meet zeros */
        for (int i = 0; i < s->cs; i++, at += UNIT)
            put_unit(at, &proj, (rows){16 * i, s->c - 16 * i, true}, head * s->dim + 16 * k, false, s->boxes, bf16);
    return next_chunk(out, at, s);
}

static uint16_t *put_fc1(uint16_t *out, const fused_shape *s, const attn_block_data *d, int slice, bool bf16)
{
    matrix    fc1 = {d->fc1, d->fc1_bias, d->norm2_gamma, d->norm2_beta, s->hidden, s->c, 1};
    int       first = slice * FUSED_SLICE;
    uint16_t *at = out;
    for (int k = 0; k < s->ks; k++)
        for (int i = 0; i < 2; i++, at += UNIT)
            put_unit(at, &fc1, (rows){first + 16 * i, s->hidden - first - 16 * i, false}, 16 * k, true, s->boxes, bf16);
    return next_chunk(out, at, s);
}

static uint16_t *put_fc2(uint16_t *out, const fused_shape *s, const attn_block_data *d, int slice, bool bf16)
{
    matrix    fc2 = {.w = d->fc2, .n = s->c, .k = s->hidden, .scale = 1};
    uint16_t *at = out;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < s->cs; i++, at += UNIT)
            put_unit(at, &fc2, (rows){16 * i, s->c - 16 * i, true}, slice * FUSED_SLICE + 16 * k, false, s->boxes, bf16);
    return next_chunk(out, at, s);
}

void fused_pack(uint8_t *out, const fused_shape *s, const attn_block_data *d, oriel_dtype operand)
{
    uint16_t *at = (uint16_t *)(void *)out;
    float    *added = (float *)(void *)(out + (size_t)fused_units(s) * FUSED_UNIT);
    memset(out, 0, fused_bytes(s));
    for (int h = 0; h < s->heads; h++)
        at = put_head(at, s, d, h, operand == ORIEL_BF16);
    for (int i = 0; i < s->slices; i++)
        at = put_fc2(put_fc1(at, s, d, i, operand == ORIEL_BF16), s, d, i, operand == ORIEL_BF16);
    assert((void *)at == (void *)added);
    for (int i = 0; i < 16 * s->cs; i++) {
        added[i] = i < s->c ? d->proj_bias[i] : 0.f;
        added[16 * s->cs + i] = i < s->c ? d->fc2_bias[i] : 0.f;
    }
}
