/* SPDX-License-Identifier: Apache-2.0 */
/*
 * panel_amx.c with AMX's tiles done in C, so that its logic is tested on CPUs that have none. It
 * still needs AVX512-BF16.
 *
 * Tiles have the rows and bytes that the file configures. TDPBF16PS (Intel SDM): C[m][n] gains
 * A[m][2k] B[k][2n] and A[m][2k + 1] B[k][2n + 1] for k = 0 .. 15.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

static _Thread_local unsigned char emulated[8][16][64];

static _Thread_local struct { /* the operand of LDTILECFG; all zero: no tile has any row */
    uint8_t  palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t  rows[16];
} config;

static void tile_load(int n, const void *from, size_t stride)
{
    for (int r = 0; r < config.rows[n]; r++)
        memcpy(emulated[n][r], (const char *)from + (size_t)r * stride, config.bytes[n]);
}

static void tile_store(int n, void *to, size_t stride)
{
    for (int r = 0; r < config.rows[n]; r++)
        memcpy((char *)to + (size_t)r * stride, emulated[n][r], config.bytes[n]);
}

static float half_at(int n, int row, int column)
{
    uint16_t h;
    uint32_t u;
    float    f;
    memcpy(&h, &emulated[n][row][2 * column], 2);
    u = (uint32_t)h << 16;
    memcpy(&f, &u, 4);
    return f;
}

static void tile_dot(int c, int a, int b)
{
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++) {
            float v;
            memcpy(&v, &emulated[c][m][4 * n], 4);
            for (int k = 0; k < 16; k++)
                v += half_at(a, m, 2 * k) * half_at(b, k, 2 * n) +
                     half_at(a, m, 2 * k + 1) * half_at(b, k, 2 * n + 1);
            memcpy(&emulated[c][m][4 * n], &v, 4);
        }
}

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _tile_loadd(n, p, stride) tile_load(n, p, stride)
#define _tile_stored(n, p, stride) tile_store(n, p, stride)
#define _tile_zero(n) memset(emulated[n], 0, sizeof emulated[n])
#define _tile_dpbf16ps(c, a, b) tile_dot(c, a, b)
#define _tile_loadconfig(c) memcpy(&config, c, sizeof config)
#define _tile_release() memset(&config, 0, sizeof config)
#define panel_amx panel_amx_emulated
#define PANEL_AMX_NAME "amx emulated"
#include "core/cpu/panel.h"
extern const panel_ops panel_amx_emulated;
#include "core/cpu/panel_amx.c"
#else
typedef int oriel_no_amx;
#endif
