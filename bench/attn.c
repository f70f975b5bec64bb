/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over windows: GFLOP/s of needed work and share of the FMA peak, a line a problem.
 *
 *     bench_attn [PATTERN] [--dtype f32,bf16] [--threads 1,2] [--csv]
 *
 * PATTERN is a part of a problem's name; ORIEL_ATTN=avx2 and so on choose the implementation. Needed work is
 * 2 (D + Dv) flops a query and key that it sees, no matter what a kernel computes beside. The share is of
 * the f32 peak in every row, measured just before on as many threads. One thread is timed by its CPU time,
 * so that the figure holds on a loaded machine too, but for what others take of the caches and of the clock
 * rate; several by the clock on the wall. A row is the median of its runs. bench/attn_torch.py sets PyTorch beside it.
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
    {"swin 64x64 w8 bias", {.heads = 6, .dim = 30, .extent = {1, 64, 64}, .axis = {{0}, BLOCK(8, 0), BLOCK(8, 0)}, .bias = ORIEL_BIAS_OFFSET}},
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

static oriel_tensor noise(oriel_dtype dtype, int ndim, const int64_t *shape)
{
    oriel_tensor t = oriel_tensor_of(NULL, dtype, ndim, shape);
    int64_t      n = oriel_tensor_count(&t);
    uint32_t     r = 1;
    if (!(t.data = aligned_alloc(64, (size_t)(n * (int64_t)oriel_dtype_size(dtype) + 63) & ~(size_t)63)))
        abort(); /* as oriel_memory_alloc() and other libraries place tensors */
    for (int64_t i = 0; i < n; i++) {
        r = r * 1664525u + 1013904223u;
        float    f = (float)(r >> 8) * 0x1p-23f - 1;
        uint32_t u;
        memcpy(&u, &f, sizeof u);
        if (dtype == ORIEL_F32)
            ((float *)t.data)[i] = f;
        else
            ((uint16_t *)t.data)[i] = (uint16_t)(u >> 16); /* bf16 */
    }
    return t;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median seconds of some runs; negative if one failed. */
static double seconds(oriel_device *dev, const oriel_attn *a, const oriel_attn_io *io)
{
    double (*now)(void) = oriel_device_threads(dev) == 1 ? bench_cpu_now : bench_now;
    double each[100], total = 0;
    int    n = 0;
    for (int warm = 1; n < 100 && (warm || n < 5 || total < 0.4); warm = 0) {
        double t = now();
        if (oriel_attn_run(dev, a, io))
            return -1;
        if (warm)
            continue;
        total += each[n] = now() - t;
        n++;
    }
    qsort(each, (size_t)n, sizeof *each, ascending);
    return each[n / 2];
}

static int measure(oriel_device *dev, const char *name, oriel_attn a, double peak, bool csv)
{
    const int64_t each[6] = {1, a.extent[0], a.extent[1], a.extent[2], a.heads, a.dim};
    oriel_attn_io io = {.q = noise(a.dtype, 6, each),
                        .k = noise(a.dtype, 6, each),
                        .v = noise(a.dtype, 6, each),
                        .out = noise(a.dtype, 6, each)};
    int64_t       table[4] = {a.heads, 1, 1, 1};
    for (int x = 0; x < 3; x++)
        table[x + 1] = 2 * (a.axis[x].size ? a.axis[x].size : a.extent[x]) - 1;
    if (a.bias)
        io.bias = noise(ORIEL_F32, 4, table);
    double t = seconds(dev, &a, &io), rate = flops(&a) / t / 1e9;
    if (t < 0)
        fprintf(stderr, "%s: %s\n", name, oriel_error());
    else
        printf(csv ? "%s,%s,%d,%.9f,%.1f,%.3f\n" : "%-28s %-5s %3d %10.6f s %8.1f GFLOP/s %5.2f\n", name,
               oriel_dtype_name(a.dtype), oriel_device_threads(dev), t, rate, rate / peak);
    fflush(stdout);
    free(io.q.data);
    free(io.k.data);
    free(io.v.data);
    free(io.out.data);
    free(io.bias.data);
    return t < 0;
}

static int table(int threads, const char *pattern, const char *dtypes, bool csv)
{
    oriel_device *dev;
    int           bad = 0;
    if (oriel_device_open(&dev, &(oriel_device_options){.threads = threads}))
        return fprintf(stderr, "%s\n", oriel_error()), 1;
    double peak = threads == 1 ? bench_cpu_peak() : bench_peak(threads);
    fprintf(csv ? stderr : stdout, "# %s; f32 FMA peak %.1f GFLOP/s\n", oriel_device_name(dev), peak);
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        for (oriel_dtype t = ORIEL_F32; t <= ORIEL_BF16; t++) {
            oriel_attn a = problems[i].a;
            a.dtype = t;
            if (t != ORIEL_F16 && strstr(dtypes, oriel_dtype_name(t)) &&
                (!pattern || strstr(problems[i].name, pattern)))
                bad |= measure(dev, problems[i].name, a, peak, csv);
        }
    oriel_device_free(&dev);
    return bad;
}

int main(int argc, char **argv)
{
    const char *pattern = NULL, *dtypes = "f32", *threads = "1";
    bool        csv = false;
    int         bad = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--csv"))
            csv = true;
        else if (!strcmp(argv[i], "--dtype") && i + 1 < argc)
            dtypes = argv[++i];
        else if (!strcmp(argv[i], "--threads") && i + 1 < argc)
            threads = argv[++i];
        else if (argv[i][0] != '-' && !pattern)
            pattern = argv[i];
        else
            return fprintf(stderr, "usage: bench_attn [PATTERN] [--dtype f32,bf16] [--threads 1,2] [--csv]\n"), 2;
    }
    printf(csv ? "problem,dtype,threads,seconds,gflops,share\n"
               : "problem                      type  thr       time             rate  share of the f32 peak\n");
    for (const char *p = threads; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        bad |= table(atoi(p), pattern, dtypes, csv);
    return bad;
}
