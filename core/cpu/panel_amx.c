/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Panel products and attention with bf16 operands in AMX tiles; norms as in AVX-512.
 *
 * Tiles: weights A (16 outputs x 32 channels), a pair panel is B as it lies (16 rows of pairs x 16
 *   lanes), C 16 outputs x 16 lanes of fp32. Two of A and two of B feed four of C.
 * Contract: enter() before and leave() after, on the same thread.
 * Attention: S = K Q with rows of keys as A and pairs of q as B; the weights, packed as pairs of keys,
 *   are the B of O = V P, whose A is v's rows as they lie and a row of ones: it makes the weights' sums.
 *   Weights come without the largest logit first, as in panel_simd.h.
 * Bound: 16 clocks a tile product, 16 a store of C on Sapphire Rapids; at SwinIR's sizes the vectors (exponentials,
 *   GELU, norms, pairs) take longer. Padding: outputs to 16, channels (and those of a head) to 32.
 */
#if defined(__x86_64__)
#include "core/cpu/panel.h"
#include "core/cpu/simd_bf16.h"

#define SIMD_PAIRS
#define PANEL_NO_GEMM
#define PANEL_NO_ATTEND
#include "core/cpu/panel_simd.h"

#define AMX __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,amx-tile,amx-bf16")))

#ifndef PANEL_AMX_NAME /* tests run the same code on tiles in C */
#define PANEL_AMX_NAME "avx512 amx"
#endif

enum { TILE = 16 };

SIMD static void pair32(void *dst, const float *src, ptrdiff_t ld, int c, int t)
{
    pair_rows(dst, ld, src, ld, c, t, PANEL_AMX_K);
}

/* Palette 1, eight tiles of 16 rows of 64 bytes (Intel SDM, LDTILECFG). Constant, because gcc 12 tells
 * the compiler that the instruction reads 8 bytes of the 64: stores to the others would go. */
static const struct {
    _Alignas(64) uint8_t palette;
    uint8_t  start, reserved[14];
    uint16_t bytes[16];
    uint8_t  rows[16];
} eight_tiles = {.palette = 1,
                 .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                 .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

AMX static void enter(void)
{
    _tile_loadconfig(&eight_tiles);
}

AMX static void leave(void)
{
    _tile_release();
}

/* c[0 .. 32)[0 .. 32) = outputs n .. n + 32 (or 16) of lanes t .. t + 32 (or 16) */
AMX static void product(const panel_gemm *g, int n, int t, bool two_n, bool two_t, float c[32][32])
{
    int             steps = (g->w->k + PANEL_AMX_K - 1) / PANEL_AMX_K;
    const size_t    tile = TILE * PANEL_AMX_K, block = tile * (size_t)steps * (size_t)g->w->taps;
    const uint16_t *w = (const uint16_t *)g->w->data + (size_t)(n / TILE) * block;
    const size_t    ld = (size_t)g->ldx * 4;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int tap = 0; tap < g->w->taps; tap++) {
        const uint32_t *x = (const uint32_t *)g->x + (g->tap ? g->tap[tap] : 0) + t;
        for (int s = 0; s < steps; s++, w += tile, x += TILE * g->ldx) {
            _tile_loadd(4, w, 64);
            _tile_loadd(6, x, ld);
            _tile_dpbf16ps(0, 4, 6);
            if (two_t) {
                _tile_loadd(7, x + TILE, ld);
                _tile_dpbf16ps(1, 4, 7);
            }
            if (two_n) {
                _tile_loadd(5, w + block, 64);
                _tile_dpbf16ps(2, 5, 6);
                if (two_t)
                    _tile_dpbf16ps(3, 5, 7);
            }
        }
    }
    _tile_stored(0, &c[0][0], 128);
    if (two_t)
        _tile_stored(1, &c[0][TILE], 128);
    if (two_n) {
        _tile_stored(2, &c[TILE][0], 128);
        if (two_t)
            _tile_stored(3, &c[TILE][TILE], 128);
    }
}

typedef struct block { /* of outputs n .. n + rows and lanes t .. t + lanes */
    int n, rows, t, lanes;
} block;

SIMD_INLINE void finish_as(const panel_gemm *g, const block *b, const float c[32][32], const panel_act act,
                           const bool add)
{
    const float *bias = g->w->bias + b->n;
    const vec    slope = v_set(g->slope);
    float       *y = g->y + b->n * g->ldy + b->t;
    ptrdiff_t    ldy = g->ldy;
    int          rows = b->rows, lanes = b->lanes;
    for (int r = 0; r < rows; r++, y += ldy)
        for (int i = 0; i < lanes; i += LANES) {
            vec v = v_add(v_load(&c[r][i]), v_set(bias[r]));
            if (act == PANEL_GELU)
                v = v_gelu(v);
            else if (act == PANEL_LEAKY)
                v = v_leaky(v, slope);
            v_store(y + i, add ? v_add(v_load(y + i), v) : v);
        }
}

SIMD static void finish(const panel_gemm *g, const block *b, const float c[32][32])
{
    if (g->act == PANEL_GELU)
        finish_as(g, b, c, PANEL_GELU, false);
    else if (g->act == PANEL_LEAKY)
        finish_as(g, b, c, PANEL_LEAKY, g->add);
    else if (g->add)
        finish_as(g, b, c, PANEL_LINEAR, true);
    else
        finish_as(g, b, c, PANEL_LINEAR, false);
}

/* A block's tiles multiply while the vectors of the block before are finished. */
static void gemm(const panel_gemm *g)
{
    _Alignas(64) float c[2][32][32];
    block              last = {0};
    int                turn = 0;
    for (int n = 0; n < g->w->n; n += 32)
        for (int t = 0; t < g->t; t += 32, turn ^= 1) {
            block b = {n, (int)oriel_min(32, g->w->n - n), t, (int)oriel_min(32, g->t - t)};
            product(g, n, t, b.rows > TILE, b.lanes > TILE, c[turn]);
            finish(g, &last, (const float(*)[32])c[!turn]);
            last = b;
        }
    finish(g, &last, (const float(*)[32])c[!turn]);
}

/* ---- attention ---------------------------------------------------------------------------- */

typedef struct halves {
    uint32_t *q;        /* (d32 / 2, t) pairs of channels */
    uint32_t *k;        /* (nk16, ldk) keys by row, pairs of channels */
    ptrdiff_t ldk;      /* 8 for heads of 16 channels or less, else d32 / 2 */
    uint32_t *v;        /* (d16, nk32 / 2) pairs of keys; row d is ones, which makes sums of weights */
    int       steps;    /* of 32 channels */
    int       nk16, nk32;
} halves;

/* 16 keys from j on: pair of channels p of each. Zeros behind the last channel and the last key. */
SIMD_INLINE vec key_pairs(const panel_attend *a, int p, int j)
{
    const float *k = a->k + (ptrdiff_t)2 * p * a->ld + j;
    if (2 * p >= a->d || j >= a->nk)
        return v_set(0.f);
    return (vec)v_pair(v_load(k), 2 * p + 1 < a->d ? v_load(k + a->ld) : v_set(0.f));
}

/* Keys by row: 16 x 16 pairs of k's panel at a time, transposed. */
SIMD static void keys_by_row(const panel_attend *a, const halves *h)
{
    for (int j = 0; j < h->nk16; j += LANES)
        for (int s = 0; s < h->steps; s++) {
            vec r[LANES];
            for (int p = 0; p < LANES; p++)
                r[p] = key_pairs(a, s * TILE + p, j);
            v_transpose(r);
            for (int p = 0; p < LANES; p++)
                v_store((float *)h->k + (j + p) * h->ldk + s * TILE, r[p]);
        }
}

/* Keys of up to 16 channels are 8 pairs: a transposition serves 32 keys. A tile's rows then run into the next
 * key, which meets zeros of q. */
SIMD static void short_keys_by_row(const panel_attend *a, const halves *h)
{
    enum { HALF = LANES / 2 };
    for (int j = 0; j < h->nk16; j += 2 * LANES) {
        vec r[LANES];
        for (int p = 0; p < LANES; p++)
            r[p] = key_pairs(a, p % HALF, j + p / HALF * LANES);
        v_transpose(r);
        for (int p = 0; p < LANES; p++) {
            _mm256_storeu_si256((__m256i *)(h->k + (j + p) * h->ldk), _mm512_castsi512_si256((__m512i)r[p]));
            if (j + LANES < h->nk16)
                _mm256_storeu_si256((__m256i *)(h->k + (j + LANES + p) * h->ldk),
                                    _mm512_extracti64x4_epi64((__m512i)r[p], 1));
        }
    }
    _mm256_storeu_si256((__m256i *)(h->k + h->nk16 * h->ldk), _mm256_setzero_si256());
}

SIMD static void halve(const panel_attend *a, halves *h)
{
    h->steps = (a->d + PANEL_AMX_K - 1) / PANEL_AMX_K;
    h->nk16 = (a->nk + TILE - 1) / TILE * TILE;
    h->nk32 = (a->nk + 31) / 32 * 32;
    h->q = (uint32_t *)a->s + (ptrdiff_t)h->nk32 * PANEL_STRIP;
    h->k = h->q + (ptrdiff_t)h->steps * TILE * a->t;
    h->ldk = a->d <= TILE ? TILE / 2 : h->steps * TILE;
    h->v = h->k + (ptrdiff_t)h->nk16 * h->steps * TILE;
    pair_rows(h->q, a->t, a->q, a->ld, a->d, a->t, PANEL_AMX_K);
    if (a->d <= TILE)
        short_keys_by_row(a, h);
    else
        keys_by_row(a, h);
    for (int d = 0; d < a->d; d++)
        for (int j = 0; j < h->nk32; j += LANES)
            v_store_half(h->v + (d * h->nk32 + j) / 2, j < a->t ? v_load(a->v + d * a->ld + j) : v_set(0.f));
    for (int d = a->d, i; d % TILE || d == a->d; d++)
        for (i = 0; i < h->nk32 / 2; i += LANES)
            _mm512_storeu_si512(h->v + d * h->nk32 / 2 + i, _mm512_set1_epi32(d == a->d ? PAIR_OF_ONES : 0));
}

/* Tiles 4 .. 8 = 32 channels of the `tiles` x 16 queries at i */
AMX static void hold_queries(const panel_attend *a, const halves *h, int step, int i, int tiles)
{
    const uint32_t *q = h->q + (ptrdiff_t)step * TILE * a->t + i;
    const size_t    ld = (size_t)a->t * 4;
    _tile_loadd(4, q, ld);
    if (tiles > 1)
        _tile_loadd(5, q + TILE, ld);
    if (tiles > 2)
        _tile_loadd(6, q + 2 * TILE, ld);
    if (tiles > 3)
        _tile_loadd(7, q + 3 * TILE, ld);
}

/* s[j .. j + 16) = (behind step 0: +=) products of keys j .. j + 16 and the queries that are held */
AMX static void multiply_keys(const panel_attend *a, const halves *h, int step, int j, int tiles)
{
    const size_t ld = PANEL_STRIP * 4;
    float       *s = a->s + j * PANEL_STRIP;
    _tile_loadd(0, h->k + j * h->ldk + step * TILE, (size_t)h->ldk * 4);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (step) {
        _tile_loadd(1, s, ld);
        _tile_loadd(2, s + TILE, ld);
        _tile_loadd(3, s + 2 * TILE, ld);
    }
    _tile_dpbf16ps(1, 0, 4);
    if (tiles > 1)
        _tile_dpbf16ps(2, 0, 5);
    if (tiles > 2)
        _tile_dpbf16ps(3, 0, 6);
    _tile_stored(1, s, ld);
    if (tiles > 3) {
        _tile_zero(1);
        if (step)
            _tile_loadd(1, s + 3 * TILE, ld);
        _tile_dpbf16ps(1, 0, 7);
    }
    if (tiles > 1)
        _tile_stored(2, s + TILE, ld);
    if (tiles > 2)
        _tile_stored(3, s + 2 * TILE, ld);
    if (tiles > 3)
        _tile_stored(1, s + 3 * TILE, ld);
}

typedef vec tops[PANEL_STRIP / LANES];

/* The logits of key j and queries l .. l + 16 of the strip at i, less `top`; plain: with a bias, without regions, less
 * nothing. */
SIMD_INLINE vec logit(const panel_attend *a, int i, int j, int l, vec top, const bool plain)
{
    vec          v = v_load(a->s + j * PANEL_STRIP + l);
    const float *bias = a->bias + (ptrdiff_t)j * a->t + i + l;
    if (plain)
        return v_add(v, v_load(bias));
    if (a->bias)
        v = v_add(v, v_load(bias));
    if (a->region)
        v = v_add_where_differ(v, v_set(a->masked), v_load(a->region + i + l), v_set(a->region[j]));
    return v_sub(v, top);
}

/* Softmax weights of keys j .. j + 16 as pairs of keys, over products that have been used. They are cut off, not
 * rounded: their sums are, too, so what all lose alike does not matter. */
SIMD_INLINE void weights_as(const panel_attend *a, int i, int lanes, int j, const tops top, const bool plain)
{
    int keys = (int)oriel_min(TILE, a->nk - j);
    for (int k = 0; k < TILE; k += 2)
        for (int l = 0; l < lanes; l += LANES) {
            vec lo = v_set(0.f), hi = lo;
            if (k < keys)
                lo = v_exp2(logit(a, i, j + k, l, top[l / LANES], plain));
            if (k + 1 < keys)
                hi = v_exp2(logit(a, i, j + k + 1, l, top[l / LANES], plain));
            v_store(a->s + (j + k) / 2 * PANEL_STRIP + l, (vec)v_pair_cut(lo, hi));
        }
}

SIMD static void weights(const panel_attend *a, int i, int lanes, int j, const tops top, bool plain)
{
    if (plain)
        weights_as(a, i, lanes, j, top, true);
    else
        weights_as(a, i, lanes, j, top, false);
}

/* Products of the strip at i. With `top` its weights, too: tiles multiply while the vectors work on the keys before. */
SIMD static void strip(const panel_attend *a, const halves *h, int i, int lanes, const vec *top, bool plain)
{
    for (int step = 0; step < h->steps; step++) {
        bool last = top && step == h->steps - 1;
        hold_queries(a, h, step, i, lanes / TILE);
        for (int j = 0; j < h->nk16; j += TILE) {
            multiply_keys(a, h, step, j, lanes / TILE);
            if (last && j)
                weights(a, i, lanes, j - TILE, top, plain);
        }
    }
    for (int j = h->nk16 - TILE; top && j < h->nk32; j += TILE)
        weights(a, i, lanes, j, top, plain);
}

/* The largest logit of each query of a strip. */
SIMD static void find_tops(const panel_attend *a, const halves *h, int i, int lanes, tops top)
{
    strip(a, h, i, lanes, NULL, false);
    for (int l = 0; l < lanes; l += LANES) {
        vec most = v_set(-__builtin_inff());
        for (int j = 0; j < a->nk; j++)
            most = v_max(most, logit(a, i, j, l, v_set(0.f), false));
        top[l / LANES] = most;
    }
}

/* o[0 .. 16)[0 .. 64): rows d .. d + 16 of V P, unscaled, for `tiles` of 16 queries */
AMX static void mix(const halves *h, const float *p, int d, int tiles, float o[TILE][PANEL_STRIP])
{
    const uint32_t *v = h->v + (ptrdiff_t)d * h->nk32 / 2;
    const size_t    ldv = (size_t)h->nk32 * 2, ldp = PANEL_STRIP * 4, ldo = PANEL_STRIP * 4;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int j = 0; j < h->nk32; j += 32, v += TILE, p += TILE * PANEL_STRIP) {
        _tile_loadd(4, v, ldv);
        _tile_loadd(5, p, ldp);
        _tile_dpbf16ps(0, 4, 5);
        if (tiles > 1) {
            _tile_loadd(6, p + TILE, ldp);
            _tile_dpbf16ps(1, 4, 6);
        }
        if (tiles > 2) {
            _tile_loadd(7, p + 2 * TILE, ldp);
            _tile_dpbf16ps(2, 4, 7);
        }
        if (tiles > 3) {
            _tile_loadd(5, p + 3 * TILE, ldp);
            _tile_dpbf16ps(3, 4, 5);
        }
    }
    _tile_stored(0, &o[0][0], ldo);
    if (tiles > 1)
        _tile_stored(1, &o[0][TILE], ldo);
    if (tiles > 2)
        _tile_stored(2, &o[0][2 * TILE], ldo);
    if (tiles > 3)
        _tile_stored(3, &o[0][3 * TILE], ldo);
}

/* Weights of the strip at query i, and the last tile of rows of V P, of which row a->d is their sums. */
SIMD static void weigh(const panel_attend *a, const halves *h, int i, int lanes, float o[TILE][PANEL_STRIP])
{
    tops top;
    int  last = a->d / TILE * TILE;
    bool good = true;
    for (int l = 0; l < PANEL_STRIP / LANES; l++)
        top[l] = v_set(0.f);
    strip(a, h, i, lanes, top, a->bias && !a->region);
    mix(h, a->s, last, lanes / TILE, o);
    for (int l = 0; l < lanes; l += LANES)
        good &= v_within(v_load(&o[a->d - last][l]), PANEL_SUM_LEAST, PANEL_SUM_MOST);
    if (good)
        return;
    find_tops(a, h, i, lanes, top);
    strip(a, h, i, lanes, top, false);
    mix(h, a->s, last, lanes / TILE, o);
}

SIMD static void attend(const panel_attend *a)
{
    _Alignas(64) float o[TILE][PANEL_STRIP];
    halves             h;
    halve(a, &h);
    for (int i = 0; i < a->t; i += PANEL_STRIP) {
        int lanes = (int)oriel_min(PANEL_STRIP, a->t - i), d = a->d / TILE * TILE;
        vec inv[PANEL_STRIP / LANES];
        weigh(a, &h, i, lanes, o);
        for (int l = 0; l < lanes; l += LANES)
            inv[l / LANES] = v_div(v_set(1.f), v_load(&o[a->d - d][l]));
        for (int rows = a->d - d;; rows = TILE) {
            for (int r = 0; r < rows; r++)
                for (int l = 0; l < lanes; l += LANES)
                    v_store(a->o + (d + r) * a->ld + i + l, v_mul(v_load(&o[r][l]), inv[l / LANES]));
            if ((d -= TILE) < 0)
                break;
            mix(&h, a->s, d, lanes / TILE, o);
        }
    }
}

const panel_ops panel_amx = {
    .name = PANEL_AMX_NAME,
    .lanes = LANES,
    .bf16 = true,
    .k_step = PANEL_AMX_K,
    .n_step = TILE,
    .enter = enter,
    .leave = leave,
    .gemm = gemm,
    .pair = pair32,
    .gather = gather,
    .scatter = scatter,
    .norm = norm,
    .attend = attend,
};
#else
typedef int oriel_no_amx;
#endif
