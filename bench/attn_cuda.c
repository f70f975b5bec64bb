/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over windows on a GPU: ms, TFLOP/s of needed work, share of a GEMM's rate, a line a problem.
 *
 *     bench_attn_cuda [PATTERN] [--index N] [--csv] [--every]
 *
 * PATTERN is a part of a problem's name; ORIEL_ATTN=mma and so on choose the kernel, --every times each that
 * takes the problem but `plain`. Whole calls, from and to packed tensors (B, T, Y, X, H, D): the median, the
 * least and the most of CUDA events round single calls, after warm-up. Needed work is 2 (D + Dv) flops a query
 * and key that it sees. The GEMM is cuBLASLt's on 8192 x 8192 x 8192 in bf16 in the same run
 * (oriel_device_rates). bench/attn_cuda_torch.py sets PyTorch's cuDNN and FlashAttention beside the dense rows.
 */
#include <oriel/attn.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn2d3d/cuda/attn_cuda.h"

enum { TIMES_MOST = 60, HEADS_MOST = 32, NOISE = 1 << 23 };

#define NA(n, ...) {.kind = ORIEL_AXIS_NEIGHBOR, .size = n, __VA_ARGS__}
#define BLOCK(n, s) {.kind = ORIEL_AXIS_BLOCK, .size = n, .shift = s}
#define STA {NA(18, .stride = 6), NA(24, .stride = 8), NA(24, .stride = 8)}

static const struct problem {
    const char *name;
    oriel_attn  a;
    bool        mix; /* other windows for two thirds of the heads */
} problems[] = {
    {"sta 30x48x80 18x24x24", {.heads = 24, .dim = 128, .extent = {30, 48, 80}, .axis = STA}, false},
    {"sta, 256 text", {.heads = 24, .dim = 128, .extent = {30, 48, 80}, .axis = STA, .extra = 256, .text = 256}, false},
    {"sta, windows mixed", {.heads = 24, .dim = 128, .extent = {30, 48, 80}, .axis = STA}, true},
    {"na 30x48x80 18x24x24", {.heads = 24, .dim = 128, .extent = {30, 48, 80}, .axis = {NA(18, 0), NA(24, 0), NA(24, 0)}}, false},
    {"na 30x48x80 causal", {.heads = 24, .dim = 128, .extent = {30, 48, 80}, .axis = {NA(18, .causal = true), NA(24, 0), NA(24, 0)}}, false},
    {"na 256x256 80x80", {.heads = 24, .dim = 128, .extent = {1, 256, 256}, .axis = {{0}, NA(80, 0), NA(80, 0)}}, false},
    {"na 256x256 80x80 stride 16", {.heads = 24, .dim = 128, .extent = {1, 256, 256}, .axis = {{0}, NA(80, .stride = 16), NA(80, .stride = 16)}}, false},
    {"na 16x44x80 8x16x16", {.heads = 16, .dim = 128, .extent = {16, 44, 80}, .axis = {NA(8, 0), NA(16, 0), NA(16, 0)}}, false},
    {"na 16x44x80 8x24x24 stride 8", {.heads = 16, .dim = 128, .extent = {16, 44, 80}, .axis = {NA(8, .stride = 8), NA(24, .stride = 8), NA(24, .stride = 8)}}, false},
    {"na 64x64 k7", {.heads = 32, .dim = 64, .extent = {1, 64, 64}, .axis = {{0}, NA(7, 0), NA(7, 0)}}, false},
    {"na 128x128 k15", {.heads = 16, .dim = 64, .extent = {1, 128, 128}, .axis = {{0}, NA(15, 0), NA(15, 0)}}, false},
    {"dense 32760", {.heads = 12, .dim = 128, .extent = {21, 30, 52}}, false},
    {"dense 115200", {.heads = 24, .dim = 128, .extent = {30, 48, 80}}, false},
    {"chunk 4680 on 18720", {.heads = 12, .dim = 128, .extent = {3, 30, 52}, .keys = {12, 30, 52}}, false},
    {"chunk 4680 on 32760", {.heads = 12, .dim = 128, .extent = {3, 30, 52}, .keys = {21, 30, 52}}, false},
    {"swin-t stage 1, batch 128", {.dtype = ORIEL_F16, .batch = 128, .heads = 3, .dim = 32, .extent = {1, 56, 56}, .axis = {{0}, BLOCK(7, 3), BLOCK(7, 3)}, .bias = ORIEL_BIAS_OFFSET}, false},
    {"swinir 1280x720", {.dtype = ORIEL_F16, .heads = 6, .dim = 30, .extent = {1, 720, 1280}, .axis = {{0}, BLOCK(8, 4), BLOCK(8, 4)}, .bias = ORIEL_BIAS_OFFSET}, false},
    {"hat 1280x720", {.dtype = ORIEL_F16, .heads = 6, .dim = 30, .extent = {1, 720, 1280}, .axis = {{0}, BLOCK(16, 8), BLOCK(16, 8)}, .bias = ORIEL_BIAS_OFFSET}, false},
    {"na 256x256 k13, heads of 10", {.heads = 12, .dim = 10, .extent = {1, 256, 256}, .axis = {{0}, NA(13, 0), NA(13, 0)}}, false},
    {"na 256x256 k13, heads of 32", {.heads = 12, .dim = 32, .extent = {1, 256, 256}, .axis = {{0}, NA(13, 0), NA(13, 0)}}, false},
    {"na 256x256 k13, heads of 40", {.heads = 12, .dim = 40, .extent = {1, 256, 256}, .axis = {{0}, NA(13, 0), NA(13, 0)}}, false},
    {"na 256x256 k13, heads of 96", {.heads = 12, .dim = 96, .extent = {1, 256, 256}, .axis = {{0}, NA(13, 0), NA(13, 0)}}, false},
    {"na 256x256 k13, heads of 256", {.heads = 12, .dim = 256, .extent = {1, 256, 256}, .axis = {{0}, NA(13, 0), NA(13, 0)}}, false},
    {"na 64x64 k7, f32", {.dtype = ORIEL_F32, .heads = 4, .dim = 64, .extent = {1, 64, 64}, .axis = {{0}, NA(7, 0), NA(7, 0)}}, false},
};

/* The windows that a search gave HunyuanVideo's heads, in tiles: most are of a few kinds (18x24x24 apart). */
static void mixed_windows(oriel_axis axes[HEADS_MOST][3], const oriel_attn *a)
{
    static const int tokens[6][3] = {{18, 24, 24}, {30, 24, 24}, {6, 48, 80}, {18, 24, 40}, {30, 8, 80}, {18, 24, 24}};
    for (int h = 0; h < a->heads; h++)
        for (int x = 0; x < 3; x++) {
            axes[h][x] = a->axis[x];
            axes[h][x].size = tokens[h % 6][x];
        }
}

/* ---- tensors ------------------------------------------------------------------------------ */

typedef struct tensors {
    oriel_device *dev;
    void         *memory[16];
    int           n;
    bool          failed;
} tensors;

/* Numbers evenly spread over -1 .. 1, the same NOISE of them again and again. */
static oriel_tensor noise(tensors *t, oriel_dtype dtype, int ndim, const int64_t *shape)
{
    oriel_tensor x = oriel_tensor_of(NULL, dtype, ndim, shape);
    size_t       size = oriel_dtype_size(dtype), all = (size_t)oriel_tensor_count(&x) * size;
    char        *host = malloc((size_t)NOISE * size);
    uint32_t     r = 1;
    if (!host || oriel_memory_alloc(t->dev, &x.data, all)) {
        free(host);
        t->failed = true;
        return x;
    }
    t->memory[t->n++] = x.data;
    for (int i = 0; i < NOISE; i++) {
        r = r * 1664525u + 1013904223u;
        float f = (float)(r >> 8) * 0x1p-23f - 1;
        if (dtype == ORIEL_F32)
            ((float *)(void *)host)[i] = f;
        else
            ((uint16_t *)(void *)host)[i] = dtype == ORIEL_F16 ? oriel_f32_to_f16(f) : oriel_f32_to_bf16(f);
    }
    for (size_t at = 0; at < all; at += (size_t)NOISE * size)
        t->failed |= oriel_memory_upload(t->dev, (char *)x.data + at, host, all - at < (size_t)NOISE * size ? all - at : (size_t)NOISE * size) != 0;
    free(host);
    return x;
}

static oriel_attn_io make_io(tensors *t, const oriel_attn *a)
{
    const int64_t b = a->batch ? a->batch : 1, h = a->heads, d = a->dim;
    int64_t       q[6] = {b, a->extent[0], a->extent[1], a->extent[2], h, d}, k[6] = {b, 0, 0, 0, h, d}, table[4] = {h, 1, 1, 1};
    const int64_t extra[4] = {b, a->extra, h, d}, text[4] = {b, a->text, h, d};
    for (int x = 0; x < 3; x++) {
        k[x + 1] = a->keys[x] ? a->keys[x] : a->extent[x];
        table[x + 1] = 2 * (a->axis[x].size ? a->axis[x].size : a->extent[x]) - 1;
    }
    oriel_attn_io io = {.q = noise(t, a->dtype, 6, q), .k = noise(t, a->dtype, 6, k), .v = noise(t, a->dtype, 6, k), .out = noise(t, a->dtype, 6, q)};
    if (a->extra) {
        io.extra_k = noise(t, a->dtype, 4, extra);
        io.extra_v = noise(t, a->dtype, 4, extra);
    }
    if (a->text) {
        io.text_q = noise(t, a->dtype, 4, text);
        io.text_out = noise(t, a->dtype, 4, text);
    }
    if (a->bias)
        io.bias = noise(t, ORIEL_F32, 4, table);
    return io;
}

/* ---- time --------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* ms of single calls of go(): least, median, most. False if one failed. */
static bool time_calls(cudaStream_t stream, oriel_status (*go)(void *), void *arg, float ms[3])
{
    cudaEvent_t from, to;
    float       each[TIMES_MOST], all = 0;
    int         n = 0;
    bool        good = !cudaEventCreate(&from) && !cudaEventCreate(&to);
    for (int warm = 2; good && n < TIMES_MOST && (n < 7 || all < 150); warm -= warm > 0) {
        good = !cudaEventRecord(from, stream) && !go(arg) && !cudaEventRecord(to, stream) &&
               !cudaEventSynchronize(to) && !cudaEventElapsedTime(&each[n], from, to);
        all += warm ? 0 : each[n];
        n += !warm;
    }
    if (!good || !n)
        return false;
    qsort(each, (size_t)n, sizeof *each, ascending);
    ms[0] = each[0], ms[1] = each[n / 2], ms[2] = each[n - 1];
    cudaEventDestroy(from);
    cudaEventDestroy(to);
    return true;
}

/* ---- the table ---------------------------------------------------------------------------- */

typedef struct call {
    oriel_device         *dev;
    const attn_job       *j;
    const attn_cuda_impl *impl;
} call;

static oriel_status call_go(void *arg)
{
    const call *c = arg;
    return c->impl->run(c->j, c->dev);
}

static int row(oriel_device *dev, const char *name, const attn_job *j, const attn_cuda_impl *impl, double work, double peak, bool csv)
{
    call   c = {dev, j, impl};
    float  ms[3];
    if (!time_calls(dev->cuda->stream, call_go, &c, ms) || oriel_device_sync(dev))
        return fprintf(stderr, "%s, %s: %s\n", name, impl->name, oriel_error()), 1;
    double rate = work / (double)ms[1] / 1e9;
    printf(csv ? "%s,%s,%s,%.4f,%.4f,%.4f,%.1f,%.3f\n" : "%-30s %-4s %-8s %9.3f ms (%.3f to %.3f) %7.1f TFLOP/s %5.2f\n", name,
           oriel_dtype_name(j->a.dtype), impl->name, (double)ms[1], (double)ms[0], (double)ms[2], rate, peak > 0 ? rate / peak : 0);
    fflush(stdout);
    return 0;
}

static int measure(oriel_device *dev, const struct problem *p, double peak, bool csv, bool every)
{
    static oriel_axis     axes[HEADS_MOST][3];
    tensors               t = {.dev = dev};
    oriel_attn            a = p->a;
    attn_job              j;
    oriel_attn_plan       plan;
    const attn_cuda_impl *impl = NULL;
    int                   bad = 0;
    if (a.dtype == ORIEL_F32 && !strstr(p->name, "f32"))
        a.dtype = ORIEL_BF16;
    oriel_attn_io io = make_io(&t, &a);
    mixed_windows(axes, &a);
    io.axes = p->mix ? axes[0] : NULL;
    if (t.failed || attn_prepare(&j, &a, &io) || oriel_attn_plan_run(dev, &a, &io, &plan) || attn_cuda_choose(&impl, &j, dev->cuda))
        bad = fprintf(stderr, "%s: %s\n", p->name, oriel_error()) > 0;
    else if (!every)
        bad = row(dev, p->name, &j, impl, plan.flops, peak, csv);
    else
        for (int i = 0; attn_cuda_impls[i] != &attn_cuda_plain; i++)
            if (!attn_cuda_impls[i]->reject(&j, dev->cuda))
                bad |= row(dev, p->name, &j, attn_cuda_impls[i], plan.flops, peak, csv);
    for (int i = 0; i < t.n; i++)
        oriel_memory_free(dev, &t.memory[i]);
    return bad;
}

int main(int argc, char **argv)
{
    oriel_device *dev;
    const char   *pattern = NULL;
    int           index = 0, bad = 0;
    bool          csv = false, every = false;
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--index") && i + 1 < argc)
            index = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--csv"))
            csv = true;
        else if (!strcmp(argv[i], "--every"))
            every = true;
        else if (argv[i][0] == '-' || pattern)
            return fprintf(stderr, "usage: bench_attn_cuda [PATTERN] [--index N] [--csv] [--every]\n"), 2;
        else
            pattern = argv[i];
    if (oriel_device_open(&dev, &(oriel_device_options){.kind = ORIEL_CUDA, .index = index}))
        return fprintf(stderr, "%s\n", oriel_error()), 1;
    double peak = 0, copies;
    if (oriel_device_rates(dev, &peak, &copies))
        fprintf(stderr, "%s\n", oriel_error());
    peak /= 1e12;
    fprintf(csv ? stderr : stdout, "# %s; bf16 GEMM %.0f TFLOP/s%s\n", oriel_device_name(dev), peak, peak > 0 ? "" : " (no cuBLAS)");
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        if (!pattern || strstr(problems[i].name, pattern))
            bad |= measure(dev, &problems[i], peak, csv, every);
    oriel_device_free(&dev);
    return bad;
}
