/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over windows: GFLOP/s of needed work and share of the FMA peak, a line a problem.
 *
 *     bench_attn [PATTERN]            ORIEL_ATTN=avx2 and so on choose the implementation
 *
 * Needed work is 2 (D + Dv) flops a query and key that it sees, no matter what a kernel computes beside.
 * One thread, by its CPU time (best of several runs), the peak by the same clock: so the figures hold on
 * a loaded machine too, but for what others take of the caches and of the clock rate.
 */
#include <oriel/attn.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn2d3d/window.h"
#include "bench/peak.h"

#define NA(n, ...) {.kind = ORIEL_AXIS_NEIGHBOR, .size = n, __VA_ARGS__}
#define BLOCK(n, ...) {.kind = ORIEL_AXIS_BLOCK, .size = n, __VA_ARGS__}

static const struct {
    const char *name;
    oriel_attn  a;
} problems[] = {
    {"na 56x56 k7", {.heads = 4, .dim = 32, .extent = {1, 56, 56}, .axis = {{0}, NA(7, 0), NA(7, 0)}}},
    {"na 128x128 k13", {.heads = 4, .dim = 32, .extent = {1, 128, 128}, .axis = {{0}, NA(13, 0), NA(13, 0)}}},
    {"na 16x32x32 k5x9x9 causal", {.heads = 4, .dim = 32, .extent = {16, 32, 32}, .axis = {NA(5, .causal = true), NA(9, 0), NA(9, 0)}}},
    {"swin 56x56 w7 bias", {.heads = 3, .dim = 32, .extent = {1, 56, 56}, .axis = {{0}, BLOCK(7, 0), BLOCK(7, 0)}, .bias = ORIEL_BIAS_OFFSET}},
    {"swin 64x64 w8 s4 bias", {.heads = 6, .dim = 30, .extent = {1, 64, 64}, .axis = {{0}, BLOCK(8, .shift = 4), BLOCK(8, .shift = 4)}, .bias = ORIEL_BIAS_OFFSET}},
    {"hat 64x64 w16 bias", {.heads = 6, .dim = 30, .extent = {1, 64, 64}, .axis = {{0}, BLOCK(16, 0), BLOCK(16, 0)}, .bias = ORIEL_BIAS_OFFSET}},
    {"sta 12x24x24 tile 6x8x8", {.heads = 2, .dim = 64, .extent = {12, 24, 24}, .axis = {NA(12, .stride = 6), NA(24, .stride = 8), NA(24, .stride = 8)}}},
    {"sta 12x24x24 one tile", {.heads = 2, .dim = 64, .extent = {12, 24, 24}, .axis = {NA(6, .stride = 6), NA(8, .stride = 8), NA(8, .stride = 8)}}},
};

static double flops(const oriel_attn *a)
{
    double pairs = 1;
    for (int x = 0; x < 3; x++) {
        double sum = 0;
        for (int i = 0; i < a->extent[x]; i++)
            sum += oriel_axis_span(a->axis[x], a->extent[x], i).count;
        pairs *= sum;
    }
    return pairs * a->heads * 4.0 * a->dim;
}

static oriel_tensor noise(int ndim, const int64_t *shape)
{
    oriel_tensor t = oriel_tensor_of(NULL, ORIEL_F32, ndim, shape);
    int64_t      n = oriel_tensor_count(&t);
    float       *p = malloc((size_t)n * sizeof *p);
    uint32_t     r = 1;
    if (!p)
        abort();
    for (int64_t i = 0; i < n; i++) {
        r = r * 1664525u + 1013904223u;
        p[i] = (float)(r >> 8) * 0x1p-23f - 1;
    }
    t.data = p;
    return t;
}

static int measure(oriel_device *dev, const char *name, const oriel_attn *a, double peak)
{
    const int64_t each[6] = {1, a->extent[0], a->extent[1], a->extent[2], a->heads, a->dim};
    oriel_attn_io io = {.q = noise(6, each), .k = noise(6, each), .v = noise(6, each), .out = noise(6, each)};
    int64_t       table[4] = {a->heads, 1, 1, 1};
    double        best = 1e9, total = 0;
    for (int x = 0; x < 3; x++)
        table[x + 1] = 2 * (a->axis[x].size ? a->axis[x].size : a->extent[x]) - 1;
    if (a->bias)
        io.bias = noise(4, table);
    for (int n = 0; n < 60 && (n < 4 || total < 0.4); n++) {
        double t = bench_cpu_now();
        if (oriel_attn_run(dev, a, &io))
            return fprintf(stderr, "%s: %s\n", name, oriel_error()), 1;
        t = bench_cpu_now() - t;
        total += t;
        best = fmin(best, t);
    }
    double rate = flops(a) / best / 1e9;
    printf("%-28s %10.0f us %8.1f GFLOP/s %5.2f of the peak\n", name, best * 1e6, rate, rate / peak);
    free(io.q.data);
    free(io.k.data);
    free(io.v.data);
    free(io.out.data);
    free(io.bias.data);
    return 0;
}

int main(int argc, char **argv)
{
    oriel_device *dev;
    int           bad = 0;
    if (oriel_device_open(&dev, &(oriel_device_options){.threads = 1}))
        return fprintf(stderr, "%s\n", oriel_error()), 1;
    double peak = bench_cpu_peak();
    printf("%s, one thread, CPU time; FMA peak %.1f GFLOP/s\n", oriel_device_name(dev), peak);
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        if (argc < 2 || strstr(problems[i].name, argv[1]))
            bad |= measure(dev, problems[i].name, &problems[i].a, peak);
    oriel_device_free(&dev);
    return bad;
}
