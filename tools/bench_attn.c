/* SPDX-License-Identifier: Apache-2.0 */
/* oriel bench attn: how fast attention over windows is on this machine, and by which kernel. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <oriel/attn.h>

#include "args.h"
#include "batch.h"
#include "cmd_bench.h"
#include "tool.h"

enum { SAMPLES = 7, NOISE = 1 << 20, MAX_TENSORS = 5 };

#define NA(n, ...) {.kind = ORIEL_AXIS_NEIGHBOR, .size = n, __VA_ARGS__}
#define BLOCK(n, s) {.kind = ORIEL_AXIS_BLOCK, .size = n, .shift = s}

/* Clips are as HunyuanVideo and Wan have them; what a CPU would need hours for is left out there. */
static const struct row {
    const char *name;
    oriel_attn a;
    bool large;
} rows[] = {
    {"sliding tiles, clip", {.heads = 24, .dim = 128, .extent = {30, 48, 80}, .axis = {NA(18, .stride = 6), NA(24, .stride = 8), NA(24, .stride = 8)}}, true},
    {"neighbourhood, clip", {.heads = 24, .dim = 128, .extent = {30, 48, 80}, .axis = {NA(18, 0), NA(24, 0), NA(24, 0)}}, true},
    {"dense, 32760 tokens", {.heads = 12, .dim = 128, .extent = {21, 30, 52}}, true},
    {"rollout chunk", {.heads = 12, .dim = 128, .extent = {3, 30, 52}, .keys = {21, 30, 52}}, true},
    {"neighbourhood 7x7", {.heads = 32, .dim = 64, .extent = {1, 64, 64}, .axis = {{0}, NA(7, 0), NA(7, 0)}}, false},
    {"neighbourhood 15x15", {.heads = 16, .dim = 64, .extent = {1, 128, 128}, .axis = {{0}, NA(15, 0), NA(15, 0)}}, false},
    {"Swin 7x7 shifted", {.batch = 8, .heads = 3, .dim = 32, .extent = {1, 56, 56}, .axis = {{0}, BLOCK(7, 3), BLOCK(7, 3)}, .bias = ORIEL_BIAS_OFFSET}, false},
    {"SwinIR 8x8 shifted", {.heads = 6, .dim = 30, .extent = {1, 360, 640}, .axis = {{0}, BLOCK(8, 4), BLOCK(8, 4)}, .bias = ORIEL_BIAS_OFFSET}, false},
};

#define DTYPE_WORDS "bf16|f16|f32"
static const oriel_dtype dtypes[] = {ORIEL_BF16, ORIEL_F16, ORIEL_F32};

typedef struct bench {
    const char *device_text, *extent, *window, *stride, *dilation, *block, *shift;
    int heads, dim, batch, dtype, threads;
    bool causal;
    oriel_device_kind kind;
    int gpu;
    oriel_device *device;
    double peak; /* flop/s of the GPU's large products; 0: not known */
} bench;

static const char more[] =
    "Without --extent: a list of problems of image and video networks. Tensors are packed,\n"
    "(batch, T, Y, X, heads, dim), and lie in the device's memory. ms is the median of seven\n"
    "samples, each of as many calls as fill 10 ms; TFLOP/s counts the work that the problem needs,\n"
    "4 dim for each query and key that it sees. On a GPU the last column is the share of what\n"
    "large products of bf16 matrices reach in the same run (cuBLASLt).\n"
    "ORIEL_ATTN=NAME asks for a kernel, as everywhere.\n";

/* ---- tensors ------------------------------------------------------------------------------ */

typedef struct tensors {
    oriel_device *device;
    void *memory[MAX_TENSORS];
    int count;
} tensors;

static uint16_t half_of(float f, oriel_dtype t) /* cut off: it is noise */
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if (t == ORIEL_BF16)
        return (uint16_t)(u >> 16);
    int exponent = (int)(u >> 23 & 255) - 112;
    return (uint16_t)(u >> 31 << 15 | (exponent <= 0 ? 0 : (uint32_t)exponent << 10 | (u >> 13 & 1023)));
}

/* Numbers in -1 .. 1; the same NOISE of them again and again. */
static oriel_status noise(tensors *t, oriel_tensor *x)
{
    size_t size = oriel_dtype_size(x->dtype), bytes = (size_t)oriel_tensor_count(x) * size, part = NOISE * size;
    char *host = need(NOISE, size);
    uint32_t r = 1;
    oriel_status s = oriel_memory_alloc(t->device, &x->data, bytes);
    if (!s)
        t->memory[t->count++] = x->data;
    for (size_t i = 0; i < NOISE; i++) {
        r = r * 1664525u + 1013904223u;
        float f = (float)(r >> 8) * 0x1p-23f - 1;
        uint16_t h = half_of(f, x->dtype);
        memcpy(host + i * size, x->dtype == ORIEL_F32 ? (void *)&f : (void *)&h, size);
    }
    for (size_t at = 0; at < bytes && !s; at += part)
        s = oriel_memory_upload(t->device, (char *)x->data + at, host, bytes - at < part ? bytes - at : part);
    free(host);
    return s;
}

static oriel_status make_io(tensors *t, const oriel_attn *a, oriel_attn_io *io)
{
    int64_t q[6] = {a->batch ? a->batch : 1, a->extent[0], a->extent[1], a->extent[2], a->heads, a->dim};
    int64_t k[6] = {q[0], 0, 0, 0, a->heads, a->dim}, table[4] = {a->heads, 1, 1, 1};
    oriel_status s;
    for (int x = 0; x < 3; x++) {
        k[x + 1] = a->keys[x] ? a->keys[x] : a->extent[x];
        table[x + 1] = 2 * (a->axis[x].size ? a->axis[x].size : a->extent[x]) - 1;
    }
    *io = (oriel_attn_io){.q = oriel_tensor_of(NULL, a->dtype, 6, q), .k = oriel_tensor_of(NULL, a->dtype, 6, k),
                          .v = oriel_tensor_of(NULL, a->dtype, 6, k), .out = oriel_tensor_of(NULL, a->dtype, 6, q)};
    if ((s = noise(t, &io->q)) || (s = noise(t, &io->k)) || (s = noise(t, &io->v)) || (s = noise(t, &io->out)))
        return s;
    if (!a->bias)
        return ORIEL_OK;
    io->bias = oriel_tensor_of(NULL, ORIEL_F32, 4, table);
    return noise(t, &io->bias);
}

/* ---- time --------------------------------------------------------------------------------- */

/* Seconds of `calls` calls one behind the other. */
static oriel_status time_of(const bench *b, const oriel_attn *a, const oriel_attn_io *io, int calls, double *seconds)
{
    oriel_status s = oriel_device_sync(b->device);
    double began = seconds_now();
    for (int i = 0; i < calls && !s; i++)
        s = oriel_attn_run(b->device, a, io);
    if (!s)
        s = oriel_device_sync(b->device);
    *seconds = seconds_now() - began;
    return s;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static oriel_status measure(const bench *b, const char *name, const oriel_attn *a)
{
    tensors t = {.device = b->device};
    oriel_attn_io io;
    oriel_attn_plan plan;
    double once, each[SAMPLES];
    oriel_status s = make_io(&t, a, &io);
    if (s || (s = oriel_attn_plan_run(b->device, a, &io, &plan)) || (s = time_of(b, a, &io, 1, &once)) ||
        (s = time_of(b, a, &io, 1, &once)))
        goto done;
    int calls = once < 0.01 ? (int)(0.01 / once) + 1 : 1;
    for (int i = 0; i < SAMPLES; i++) {
        if ((s = time_of(b, a, &io, calls, &each[i])))
            goto done;
        each[i] /= calls;
    }
    qsort(each, SAMPLES, sizeof *each, by_value);
    double rate = plan.flops / each[SAMPLES / 2];
    printf("%-22s %-4s %-14s %9.3f ms (%.3f to %.3f) %8.3f TFLOP/s", name, oriel_dtype_name(a->dtype), plan.kernel,
           1e3 * each[SAMPLES / 2], 1e3 * each[0], 1e3 * each[SAMPLES - 1], 1e-12 * rate);
    if (b->peak > 0)
        printf("  %.2f", rate / b->peak);
    printf("\n");
    fflush(stdout);
done:
    for (int i = 0; i < t.count; i++)
        oriel_memory_free(b->device, &t.memory[i]);
    return s;
}

/* ---- the command -------------------------------------------------------------------------- */

/* "TxYxX", "YxX" or "X" into v; the axes before stay. */
static bool triple(const char *text, int v[3])
{
    int n[3], used = 0, count = 0;
    char end = 'x';
    while (count < 3 && end == 'x') {
        if (sscanf(text, "%7d%n", &n[count], &used) != 1 || n[count] < 0)
            return false;
        text += used;
        count++;
        end = *text;
        text += end == 'x';
    }
    if (end)
        return false;
    for (int i = 0; i < count; i++)
        v[3 - count + i] = n[i];
    return true;
}

/* The problem that the options say. */
static int problem(const bench *b, oriel_attn *a)
{
    int window[3] = {0}, stride[3] = {0}, dilation[3] = {0}, block[3] = {0}, shift[3] = {0};
    const struct {
        const char *name, *text;
        int *v;
    } all[] = {{"extent", b->extent, a->extent}, {"window", b->window, window}, {"stride", b->stride, stride},
               {"dilation", b->dilation, dilation}, {"block", b->block, block}, {"shift", b->shift, shift}};
    *a = (oriel_attn){.heads = b->heads, .dim = b->dim, .batch = b->batch, .dtype = dtypes[b->dtype], .extent = {1, 1, 1}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].text && (!triple(all[i].text, i ? all[i].v : a->extent) || (!i && !(a->extent[0] && a->extent[1] && a->extent[2]))))
            return args_misused("bench attn", "--%s is TxYxX, YxX or X, not '%s'", all[i].name, all[i].text);
    if (b->window && b->block)
        return args_misused("bench attn", "--window and --block exclude each other");
    for (int x = 0; x < 3; x++)
        if (block[x])
            a->axis[x] = (oriel_axis)BLOCK(block[x], shift[x]);
        else if (window[x])
            a->axis[x] = (oriel_axis)NA(window[x], .stride = stride[x], .dilation = dilation[x]);
    a->axis[0].causal = b->causal;
    oriel_status s = oriel_attn_check(a, NULL);
    return s ? args_misused("bench attn", "%s", oriel_error()) : ARGS_GO_ON;
}

static int run_rows(bench *b, const oriel_attn *one)
{
    double bytes;
    int failed = EXIT_DONE;
    if (b->kind == ORIEL_CUDA && oriel_device_rates(b->device, &b->peak, &bytes))
        fprintf(stderr, "oriel: without the rate of products: %s\n", oriel_error());
    printf("%s", oriel_device_name(b->device));
    if (b->peak > 0)
        printf(": bf16 products %.0f TFLOP/s, copies %.2f TB/s", 1e-12 * b->peak, 1e-12 * bytes);
    printf("\n");
    for (size_t i = 0; i < (one ? 1 : sizeof rows / sizeof rows[0]); i++) {
        oriel_attn a = one ? *one : rows[i].a;
        const char *name = one ? "as asked" : rows[i].name;
        if (!one)
            a.dtype = dtypes[b->dtype];
        if (!one && rows[i].large && b->kind == ORIEL_CPU)
            continue;
        if (measure(b, name, &a)) {
            fprintf(stderr, "oriel: %s: %s\n", name, oriel_error());
            failed = EXIT_SOME_FAILED;
        }
    }
    return failed;
}

int bench_attn(int argc, char **argv)
{
    bench b = {.heads = 8, .dim = 64, .batch = 1};
    oriel_attn one;
    const arg_option options[] = {
        ARG_TEXT("device", 0, &b.device_text, "cpu|cuda[:N]", "the CPU, or NVIDIA GPU number N (0)"),
        ARG_INT("threads", 't', &b.threads, "N", 1, 1024, "default: all cores of this process"),
        ARG_CHOICE("dtype", 0, &b.dtype, DTYPE_WORDS, "of q, k, v and the result"),
        ARG_TEXT("extent", 0, &b.extent, "TxYxX", "tokens of a problem of your own; YxX of a picture"),
        ARG_TEXT("window", 0, &b.window, "TxYxX", "neighbourhood; an axis of 0, or not said, is whole"),
        ARG_TEXT("stride", 0, &b.stride, "TxYxX", "of the neighbourhood: sliding tiles"),
        ARG_TEXT("dilation", 0, &b.dilation, "TxYxX", "of the neighbourhood"),
        ARG_FLAG("causal", 0, &b.causal, "in time"),
        ARG_TEXT("block", 0, &b.block, "TxYxX", "blocks, as Swin has them"),
        ARG_TEXT("shift", 0, &b.shift, "TxYxX", "of the blocks"),
        ARG_INT("heads", 0, &b.heads, "N", 1, 1024, "default: 8"),
        ARG_INT("dim", 0, &b.dim, "N", 1, 256, "of a head; default: 64"),
        ARG_INT("batch", 0, &b.batch, "N", 1, 65536, "default: 1"),
        ARG_END,
    };
    const arg_command self = {"bench attn", "", "Measure attention over windows.", more, options, 0, 0};
    int code = args_parse(&self, &argc, argv);
    if (code != ARGS_GO_ON)
        return code;
    if (b.device_text && !batch_device(b.device_text, &b.kind, &b.gpu))
        return args_misused("bench attn", "--device is cpu, cuda or cuda:N, not '%s'", b.device_text);
    if (b.threads && b.kind == ORIEL_CUDA)
        return args_misused("bench attn", "--threads is of the CPU");
    if (!b.extent && (b.window || b.block || b.stride || b.dilation || b.shift || b.causal))
        return args_misused("bench attn", "of which problem? --extent, such as 64x64");
    if (b.extent && (code = problem(&b, &one)) != ARGS_GO_ON)
        return code;
    if (oriel_device_open(&b.device, &(oriel_device_options){b.kind, b.threads, b.gpu})) {
        fprintf(stderr, "oriel: %s\n", oriel_error());
        return EXIT_MODEL;
    }
    code = run_rows(&b, b.extent ? &one : NULL);
    oriel_device_free(&b.device);
    return code;
}
