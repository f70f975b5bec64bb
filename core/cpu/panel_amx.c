/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Panel products with bf16 operands in AMX tiles; norms and attention as in AVX-512.
 *
 * Tiles: weights A (16 outputs x 32 channels), a pair panel is B as it lies (16 rows of pairs x 16
 *   lanes), C 16 outputs x 16 lanes of fp32. Two of A and two of B feed four of C.
 * Contract: enter() before and leave() after, on the same thread.
 * Bound: 16 clocks a tile product on Sapphire Rapids; padding of outputs to 16 and of channels to 32.
 * Softmax(QK')V stays fp32: a head of 10 or 30 channels leaves a tile half empty.
 */
#if defined(__x86_64__)
#include "core/cpu/panel.h"
#include "core/cpu/simd_bf16.h"

#define PANEL_NO_GEMM
#include "core/cpu/panel_simd.h"

#define AMX __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,amx-tile,amx-bf16")))

enum { TILE = 16 };

static void pair32(void *dst, const float *src, ptrdiff_t ld, int c, int t)
{
    pair(dst, src, ld, c, t, PANEL_AMX_K);
}

AMX static void enter(void)
{
    struct {
        uint8_t  palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t  rows[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.bytes[i] = 64;
        config.rows[i] = 16;
    }
    _tile_loadconfig(&config);
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

const panel_ops panel_amx = {
    .name = "avx512 amx",
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
