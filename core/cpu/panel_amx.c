/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Panel products and attention with bf16 operands in AMX tiles; norms as in AVX-512.
 *
 * Tiles: weights A (16 outputs x 32 channels), a pair panel is B as it lies (16 rows of pairs x 16
 *   lanes), C 16 outputs x 16 lanes of fp32. Two of A and two of B feed four of C.
 * Contract: enter() before and leave() after, on the same thread.
 * Attention: S = K Q with rows of keys as A and pairs of q as B; the weights, packed as pairs of keys,
 *   are the B of O = V P, whose A is v's rows as they lie.
 * Bound: 16 clocks a tile product on Sapphire Rapids; at SwinIR's sizes the exponentials and the
 *   stores of C take longer. Padding: outputs to 16, channels (and those of a head) to 32.
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

SIMD static void finish(const panel_gemm *g, const float c[32][32], int n, int rows, int t, int lanes)
{
    for (int r = 0; r < rows; r++) {
        vec b = v_set(g->w->bias[n + r]);
        for (int i = 0; i < lanes; i += LANES) {
            float *y = g->y + (n + r) * g->ldy + t + i;
            vec    v = v_add(v_load(&c[r][i]), b);
            if (g->act == PANEL_GELU)
                v = v_gelu(v);
            else if (g->act == PANEL_LEAKY)
                v = v_leaky(v, v_set(g->slope));
            v_store(y, g->add ? v_add(v_load(y), v) : v);
        }
    }
}

static void gemm(const panel_gemm *g)
{
    _Alignas(64) float c[32][32];
    for (int n = 0; n < g->w->n; n += 32) {
        int rows = (int)oriel_min(32, g->w->n - n);
        for (int t = 0; t < g->t; t += 32) {
            int lanes = (int)oriel_min(32, g->t - t);
            product(g, n, t, rows > TILE, lanes > TILE, c);
            finish(g, (const float(*)[32])c, n, rows, t, lanes);
        }
    }
}

/* ---- attention ---------------------------------------------------------------------------- */

typedef struct halves {
    uint32_t *q;        /* (d32 / 2, t) pairs of channels */
    uint32_t *k;        /* (nk16, d32 / 2) keys by row */
    uint32_t *v;        /* (d16, nk32 / 2) pairs of keys */
    int       steps;    /* of 32 channels */
    int       nk16, nk32;
} halves;

/* Keys by row: 16 x 16 pairs of k's panel at a time, transposed. */
SIMD static void keys_by_row(const panel_attend *a, const halves *h)
{
    for (int j = 0; j < h->nk16; j += LANES)
        for (int s = 0; s < h->steps; s++) {
            vec r[LANES];
            for (int p = 0; p < LANES; p++) {
                int          c = s * PANEL_AMX_K + 2 * p;
                const float *k = a->k + c * a->ld + j;
                vec          lo = c < a->d ? v_load(k) : v_set(0.f);
                vec          hi = c + 1 < a->d ? v_load(k + a->ld) : v_set(0.f);
                r[p] = _mm512_castsi512_ps(v_pair(lo, hi));
            }
            v_transpose(r);
            for (int p = 0; p < LANES; p++)
                _mm512_storeu_ps(h->k + ((ptrdiff_t)(j + p) * h->steps + s) * TILE, r[p]);
        }
}

SIMD static void halve(const panel_attend *a, halves *h)
{
    h->steps = (a->d + PANEL_AMX_K - 1) / PANEL_AMX_K;
    h->nk16 = (a->nk + TILE - 1) / TILE * TILE;
    h->nk32 = (a->nk + 31) / 32 * 32;
    h->q = (uint32_t *)a->s + (ptrdiff_t)h->nk32 * PANEL_STRIP;
    h->k = h->q + (ptrdiff_t)h->steps * TILE * a->t;
    h->v = h->k + (ptrdiff_t)h->nk16 * h->steps * TILE;
    pair_rows(h->q, a->t, a->q, a->ld, a->d, a->t, PANEL_AMX_K);
    keys_by_row(a, h);
    for (int d = 0; d < (a->d + TILE - 1) / TILE * TILE; d++)
        for (int j = 0; j < h->nk32; j += LANES)
            v_store_half(h->v + (d * h->nk32 + j) / 2,
                         d < a->d && j < a->t ? v_load(a->v + d * a->ld + j) : v_set(0.f));
}

/* s[j .. j + 32)[0 .. 32) of a strip at query i: products of keys and queries */
AMX static void scores(const panel_attend *a, const halves *h, float *s, int j, int i, bool two_j,
                       bool two_i)
{
    const size_t    ldk = (size_t)h->steps * 64, ldq = (size_t)a->t * 4, lds = PANEL_STRIP * 4;
    const uint32_t *k = h->k + (ptrdiff_t)j * h->steps * TILE, *q = h->q + i;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int step = 0; step < h->steps; step++, k += TILE, q += (ptrdiff_t)TILE * a->t) {
        _tile_loadd(4, k, ldk);
        _tile_loadd(6, q, ldq);
        _tile_dpbf16ps(0, 4, 6);
        if (two_i) {
            _tile_loadd(7, q + TILE, ldq);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (two_j) {
            _tile_loadd(5, k + (ptrdiff_t)TILE * h->steps * TILE, ldk);
            _tile_dpbf16ps(2, 5, 6);
            if (two_i)
                _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, s, lds);
    if (two_i)
        _tile_stored(1, s + TILE, lds);
    if (two_j) {
        _tile_stored(2, s + TILE * PANEL_STRIP, lds);
        if (two_i)
            _tile_stored(3, s + TILE * PANEL_STRIP + TILE, lds);
    }
}

/* Softmax weights of 16 queries at i, in place in s, as pairs of keys; 1 / their sum. */
SIMD static vec weights(const panel_attend *a, const halves *h, float *s, int i)
{
    const vec own = a->region ? v_load(a->region + i) : v_set(0.f), masked = v_set(a->masked);
    vec       top = v_set(-__builtin_inff()), sum = v_set(0.f);
    for (int j = 0; j < a->nk; j++) {
        float *row = s + (ptrdiff_t)j * PANEL_STRIP;
        vec    v = v_load(row);
        if (a->bias)
            v = v_add(v, v_load(a->bias + (ptrdiff_t)j * a->t + i));
        if (a->region)
            v = v_add_where_differ(v, masked, own, v_set(a->region[j]));
        top = v_max(top, v);
        v_store(row, v);
    }
    for (int j = 0; j < h->nk32; j += 2) {
        const float *row = s + (ptrdiff_t)j * PANEL_STRIP;
        vec          e0 = v_set(0.f), e1 = e0;
        if (j < a->nk)
            e0 = v_exp2(v_sub(v_load(row), top));
        if (j + 1 < a->nk)
            e1 = v_exp2(v_sub(v_load(row + PANEL_STRIP), top));
        __m512i pair = v_pair(e0, e1);
        sum = v_dot(sum, pair, _mm512_set1_epi32(PAIR_OF_ONES));
        _mm512_storeu_si512(s + (ptrdiff_t)(j / 2) * PANEL_STRIP, pair);
    }
    return v_div(v_set(1.f), sum);
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

SIMD static void attend(const panel_attend *a)
{
    _Alignas(64) float o[TILE][PANEL_STRIP];
    halves             h;
    halve(a, &h);
    for (int i = 0; i < a->t; i += PANEL_STRIP) {
        int lanes = (int)oriel_min(PANEL_STRIP, a->t - i);
        vec inv[PANEL_STRIP / LANES];
        for (int j = 0; j < h.nk16; j += 32)
            for (int k = 0; k < lanes; k += 32)
                scores(a, &h, a->s + (ptrdiff_t)j * PANEL_STRIP + k, j, i + k, h.nk16 - j > TILE,
                       lanes - k > TILE);
        for (int k = 0; k < lanes; k += LANES)
            inv[k / LANES] = weights(a, &h, a->s + k, i + k);
        for (int d = 0; d < a->d; d += TILE) {
            int rows = (int)oriel_min(TILE, a->d - d);
            mix(&h, a->s, d, lanes / TILE, o);
            for (int r = 0; r < rows; r++)
                for (int k = 0; k < lanes; k += LANES)
                    v_store(a->o + (d + r) * a->ld + i + k, v_mul(v_load(&o[r][k]), inv[k / LANES]));
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
