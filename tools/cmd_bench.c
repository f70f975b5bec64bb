/* SPDX-License-Identifier: Apache-2.0 */
/* oriel bench: how long a network takes on this machine, from pixels in the device's memory to pixels. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <oriel/models.h>

#include "args.h"
#include "batch.h"
#include "cmd_bench.h"
#include "find_model.h"
#include "tool.h"

enum { MAX_RUNS = 1000, MAX_STAGES = 16, WARM_UP = 3 };
static const char *const precision_names[] = {"f32", "bf16", "f16"}; /* of oriel_precision */
enum { PRECISIONS = 3 };

typedef struct bench {
    const char *model, *device_text, *sizes, *precisions;
    int runs, threads;
    bool json;
    oriel_device_kind kind;
    int gpu;
    double products, copies; /* flop/s and bytes/s that the GPU reaches; 0: not known */
} bench;

typedef struct stage {
    const char *name;
    double seconds[MAX_RUNS]; /* of each run, all stages of this name together */
    int times;                /* in a run */
} stage;

/* One network at one size: what is measured, and what it is measured with. */
typedef struct measured {
    oriel_device *device;
    oriel_model *model;
    oriel_model_info info;
    oriel_tensor in, out;
    oriel_plan plan;
    double seconds[MAX_RUNS];
    stage stages[MAX_STAGES];
    int count, run; /* of stages; the run that is timed */
    double began;   /* the stage */
} measured;

static const char more[] =
    "Also: oriel bench attn, which has options of its own (--help). Times are of one picture of noise, batch 1, which lies in\n"
    "the device's memory: reading and writing files, and copies to a GPU, are left out. Runs\n"
    "follow three that warm up. Stages are timed in runs of their own, each waiting for the\n"
    "device at each stage: on a GPU their sum is more than a run's time.\n";

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* ---- one row ------------------------------------------------------------------------------ */

static void on_stage(void *user, const char *name)
{
    measured *m = user;
    int i = 0;
    if (oriel_device_sync(m->device))
        return; /* the run's own wait fails, too */
    double now = seconds_now();
    while (i < m->count && strcmp(m->stages[i].name, name) != 0)
        i++;
    if (i == MAX_STAGES)
        return;
    if (i == m->count)
        m->stages[m->count++].name = name;
    m->stages[i].seconds[m->run] += now - m->began;
    m->stages[i].times += m->run == 0;
    m->began = seconds_now();
}

static oriel_status run_once(measured *m, const oriel_run_options *opt)
{
    oriel_status s = oriel_model_run(m->model, m->in, m->out, opt);
    return s ? s : oriel_device_sync(m->device);
}

static oriel_status time_runs(measured *m, int runs)
{
    const oriel_run_options staged = {.user = m, .stage = on_stage};
    oriel_status s = ORIEL_OK;
    for (int i = -WARM_UP; i < runs && !s; i++) {
        double start = seconds_now();
        s = run_once(m, NULL);
        if (i >= 0)
            m->seconds[i] = seconds_now() - start;
    }
    for (m->run = 0; m->run < runs && !s; m->run++) {
        m->began = seconds_now();
        s = run_once(m, &staged);
    }
    return s;
}

/* A picture of noise in the device's memory, and room for the result. */
static oriel_status make_tensors(measured *m, int width, int height)
{
    int64_t from[4] = {1, height, width, m->info.channels};
    oriel_status s = oriel_model_plan(m->model, from, &m->plan);
    if (s)
        return s;
    m->in = oriel_tensor_of(NULL, ORIEL_F32, 4, from);
    m->out = oriel_tensor_of(NULL, ORIEL_F32, 4, m->plan.shape_out);
    size_t n = (size_t)oriel_tensor_count(&m->in), bytes = n * sizeof(float);
    float *noise = need(n, sizeof *noise);
    uint32_t seed = 1;
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        noise[i] = (float)(seed >> 8) / 16777216.f;
    }
    if (!(s = oriel_memory_alloc(m->device, &m->in.data, bytes)) &&
        !(s = oriel_memory_alloc(m->device, &m->out.data,
                                 (size_t)oriel_tensor_count(&m->out) * sizeof(float))))
        s = oriel_memory_upload(m->device, m->in.data, noise, bytes);
    free(noise);
    return s;
}

static void print_text(const bench *b, measured *m, int width, int height, const char *precision)
{
    char peak[32], weights[32];
    double middle = median(m->seconds, b->runs);
    printf("%4d x %-4d %-4s %9.3f ms (%.3f to %.3f)  %8.2f MPix/s  %8.1f GFLOP/s  %s + %s weights\n",
           width, height, precision, 1e3 * middle, 1e3 * m->seconds[0], 1e3 * m->seconds[b->runs - 1],
           1e-6 * width * height / middle, 1e-9 * m->plan.flops / middle,
           bytes_text(m->plan.activation_bytes, peak, sizeof peak),
           bytes_text(m->info.weight_bytes, weights, sizeof weights));
    if (b->products > 0)
        printf("    %.2f of what large bf16 products reach, %.2f of what copies do (%.3g GB of maps)\n",
               m->plan.flops / middle / b->products, m->plan.map_bytes / middle / b->copies,
               1e-9 * m->plan.map_bytes);
    for (int i = 0; i < m->count; i++) {
        stage *s = &m->stages[i];
        printf("    %-20s %9.3f ms", s->name, 1e3 * median(s->seconds, b->runs));
        printf(s->times > 1 ? " (%d of them)\n" : "\n", s->times);
    }
}

static void print_json(const bench *b, measured *m, int width, int height, const char *precision)
{
    double middle = median(m->seconds, b->runs);
    printf("{\"width\":%d,\"height\":%d,\"precision\":\"%s\",\"runs\":%d,\"seconds\":%.9f,\"least\":%.9f,"
           "\"most\":%.9f,\"flops\":%.0f,\"activation_bytes\":%llu,\"weight_bytes\":%llu",
           width, height, precision, b->runs, middle, m->seconds[0], m->seconds[b->runs - 1],
           m->plan.flops, (unsigned long long)m->plan.activation_bytes,
           (unsigned long long)m->info.weight_bytes);
    for (int i = 0; i < m->count; i++)
        printf(",\"stage %s\":%.9f", m->stages[i].name, median(m->stages[i].seconds, b->runs));
    printf("}\n");
}

static oriel_status row(const bench *b, oriel_device *device, const char *path, int width,
                        int height, oriel_precision precision)
{
    measured *m = need(1, sizeof *m);
    oriel_status s;
    m->device = device;
    if (!(s = oriel_model_open(&m->model, device, path,
                               &(oriel_model_options){.precision = precision}))) {
        oriel_model_describe(m->model, &m->info);
        if (!(s = make_tensors(m, width, height)) && !(s = time_runs(m, b->runs)))
            (b->json ? print_json : print_text)(b, m, width, height, precision_names[precision]);
        fflush(stdout);
    }
    oriel_memory_free(device, &m->in.data);
    oriel_memory_free(device, &m->out.data);
    oriel_model_free(&m->model);
    free(m);
    return s;
}

/* ---- the command -------------------------------------------------------------------------- */

/* The next of a list of WxH; false at its end or where it is none (*list is not at its end then). */
static bool next_size(const char **list, int *width, int *height)
{
    int used = 0;
    if (sscanf(*list, "%6dx%6d%n", width, height, &used) != 2 || *width < 1 || *height < 1)
        return false;
    *list += used;
    *list += **list == ',' && (*list)[1];
    return true;
}

static bool sizes_are_good(const char *list)
{
    int width, height;
    while (*list)
        if (!next_size(&list, &width, &height))
            return false;
    return true;
}

/* Is the word in the list? Without a word: are all of the list's words known? */
static bool has_precision(const char *list, const char *word)
{
    char copy[64];
    snprintf(copy, sizeof copy, "%s", list);
    for (char *rest = NULL, *w = strtok_r(copy, ",", &rest); w; w = strtok_r(NULL, ",", &rest)) {
        bool known = false;
        for (int i = 0; i < PRECISIONS; i++)
            known |= !strcmp(w, precision_names[i]);
        if (word ? !strcmp(w, word) : !known)
            return word != NULL;
    }
    return word == NULL;
}

static int all_rows(bench *b, const char *path)
{
    oriel_device *device = NULL;
    oriel_device_options how = {b->kind, b->threads, b->gpu};
    const char *wanted = b->precisions ? b->precisions : b->kind == ORIEL_CUDA ? "f32,bf16,f16" : "f32";
    int width, height, failed = 0;
    if (oriel_device_open(&device, &how)) {
        fprintf(stderr, "oriel: %s\n", oriel_error());
        return EXIT_MODEL;
    }
    if (b->kind == ORIEL_CUDA && !b->json && oriel_device_rates(device, &b->products, &b->copies))
        fprintf(stderr, "oriel: without shares of the GPU's rates: %s\n", oriel_error());
    if (!b->json)
        printf("%s on %s, %d runs\n", base_name(path), oriel_device_name(device), b->runs);
    for (const char *list = b->sizes; next_size(&list, &width, &height);)
        for (int p = 0; p < PRECISIONS; p++)
            if (has_precision(wanted, precision_names[p]) &&
                row(b, device, path, width, height, (oriel_precision)p)) {
                fprintf(stderr, "oriel: %d x %d, %s: %s\n", width, height, precision_names[p],
                        oriel_error());
                failed = EXIT_MODEL;
            }
    oriel_device_free(&device);
    return failed;
}

int cmd_bench(int argc, char **argv)
{
    bench b = {.sizes = "256x256", .runs = 10};
    trouble why = {""};
    const arg_option options[] = {
        ARG_TEXT("model", 'm', &b.model, "FILE",
                 "the network: a checkpoint, or the name of a model; default:\nswinir-light-x4"),
        ARG_TEXT("size", 0, &b.sizes, "LIST", "of pictures, such as 256x256,1280x720"),
        ARG_TEXT("precision", 0, &b.precisions, "LIST",
                 "such as f32,bf16,f16; default: all three on a GPU, f32 on the\nCPU"),
        ARG_INT("runs", 'n', &b.runs, "N", 1, MAX_RUNS, "of each row; default: 10"),
        ARG_TEXT("device", 0, &b.device_text, "cpu|cuda[:N]", "the CPU, or NVIDIA GPU number N (0)"),
        ARG_INT("threads", 't', &b.threads, "N", 1, 1024, "default: all cores of this process"),
        ARG_FLAG("json", 0, &b.json, "one JSON object a line"),
        ARG_END,
    };
    const arg_command self = {"bench", "upscale", "Measure how long a network takes, or attention.", more, options, 1, 1};
    if (argc > 1 && !strcmp(argv[1], "attn"))
        return bench_attn(argc - 1, argv + 1);
    int code = args_parse(&self, &argc, argv);
    if (code != ARGS_GO_ON)
        return code;
    if (strcmp(argv[1], "upscale") != 0)
        return args_misused("bench", "no bench '%s'; there are upscale and attn", argv[1]);
    if (b.device_text && !batch_device(b.device_text, &b.kind, &b.gpu))
        return args_misused("bench", "--device is cpu, cuda or cuda:N, not '%s'", b.device_text);
    if (b.threads && b.kind == ORIEL_CUDA)
        return args_misused("bench", "--threads is of the CPU");
    if (!*b.sizes || !sizes_are_good(b.sizes))
        return args_misused("bench", "--size is a list such as 256x256,1280x720, not '%s'", b.sizes);
    if (b.precisions && (!*b.precisions || !has_precision(b.precisions, NULL)))
        return args_misused("bench", "--precision is a list of f32, bf16, f16, not '%s'", b.precisions);
    char *path = find_model(b.model ? b.model : "swinir-light-x4", &why);
    if (!path) {
        fprintf(stderr, "oriel: %s\n", why.text);
        return EXIT_MODEL;
    }
    code = all_rows(&b, path);
    free(path);
    return code;
}
