/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SwinIR on the CPU: time, GFLOP/s and share of the FMA peak measured in the same run. On a GPU (--device cuda):
 * the time from one wait for the device to the next, pictures in its memory, threads and peak left out.
 *
 *     bench_swinir [--device cpu|cuda] [--net light-x4,m-x4] [--size 256x256] [--threads 1,2]
 *                  [--precision f32,bf16,f16] [--runs 5] [--csv] [--stages]
 *
 * Weights are seeded noise of the official sizes: time does not depend on them. A row is the median
 * of the runs after three to warm up (CPU: one); GFLOP are those the network needs (2 a multiply-add, padding of
 * the picture to whole windows included, of vectors not). The share is of the f32 peak in every row.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <oriel/oriel.h>

#include "peak.h"

typedef struct net {
    const char *name;
    int         dim, heads, groups, depth, scale;
    bool        direct; /* pixelshuffledirect, else pixelshuffle */
} net;

static const net nets[] = {
    {"light-x2", 60, 6, 4, 6, 2, true},
    {"light-x4", 60, 6, 4, 6, 4, true},
    {"m-x2", 180, 6, 6, 6, 2, false},
    {"m-x4", 180, 6, 6, 6, 4, false},
};

/* ---- a checkpoint of noise ---------------------------------------------------------------- */

typedef struct writer {
    FILE    *header, *data;
    int64_t  offset;
    uint32_t seed;
} writer;

static void put(writer *w, const char *name, float centre, float spread, int a, int b, int c)
{
    int64_t n = (int64_t)a * (b ? b : 1) * (c ? c * c : 1);
    fprintf(w->header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%d", w->offset ? "," : "", name, a);
    if (b)
        fprintf(w->header, ",%d", b);
    if (c)
        fprintf(w->header, ",%d,%d", c, c);
    fprintf(w->header, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", w->offset, w->offset + 4 * n);
    w->offset += 4 * n;
    for (int64_t i = 0; i < n; i++) {
        w->seed = w->seed * 1664525u + 1013904223u;
        float v = centre + spread * ((float)(w->seed >> 8) / 8388608.f - 1.f);
        fwrite(&v, 4, 1, w->data);
    }
}

static void layer(writer *w, const char *name, int n, int k, int kernel)
{
    char full[160];
    snprintf(full, sizeof full, "%s.weight", name);
    put(w, full, k ? 0.f : 1.f, 0.05f, n, k, kernel);
    snprintf(full, sizeof full, "%s.bias", name);
    put(w, full, 0.f, 0.05f, n, 0, 0);
}

static void block(writer *w, const net *t, int g, int i)
{
    static const char *const part[] = {"norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"};
    int  n[] = {1, 3, 1, 1, 2, 1}, k[] = {0, 1, 1, 0, 1, 2};
    char name[128];
    for (int p = 0; p < 6; p++) {
        snprintf(name, sizeof name, "layers.%d.residual_group.blocks.%d.%s", g, i, part[p]);
        layer(w, name, n[p] * t->dim, k[p] * t->dim, 0);
    }
    snprintf(name, sizeof name,
             "layers.%d.residual_group.blocks.%d.attn.relative_position_bias_table", g, i);
    put(w, name, 0.f, 0.1f, 15 * 15, t->heads, 0);
}

static void all_layers(writer *w, const net *t)
{
    char name[64];
    layer(w, "conv_first", t->dim, 3, 3);
    layer(w, "patch_embed.norm", t->dim, 0, 0);
    for (int g = 0; g < t->groups; g++) {
        for (int i = 0; i < t->depth; i++)
            block(w, t, g, i);
        snprintf(name, sizeof name, "layers.%d.conv", g);
        layer(w, name, t->dim, t->dim, 3);
    }
    layer(w, "norm", t->dim, 0, 0);
    layer(w, "conv_after_body", t->dim, t->dim, 3);
    if (t->direct) {
        layer(w, "upsample.0", 3 * t->scale * t->scale, t->dim, 3);
        return;
    }
    layer(w, "conv_before_upsample.0", 64, t->dim, 3);
    for (int s = t->scale, i = 0; s > 1; s /= 2, i += 2) {
        snprintf(name, sizeof name, "upsample.%d", i);
        layer(w, name, 256, 64, 3);
    }
    layer(w, "conv_last", 3, 64, 3);
}

static bool write_checkpoint(const net *t, const char *path)
{
    char  *text = NULL, *bytes = NULL;
    size_t text_size = 0, size = 0;
    writer w = {.header = open_memstream(&text, &text_size), .data = open_memstream(&bytes, &size),
                .seed = 1};
    FILE  *f = fopen(path, "wb");
    if (!w.header || !w.data || !f)
        return false;
    fprintf(w.header, "{");
    all_layers(&w, t);
    fprintf(w.header, "}");
    fclose(w.header);
    fclose(w.data);
    uint64_t n = text_size;
    bool     ok = fwrite(&n, 8, 1, f) == 1 && fwrite(text, 1, text_size, f) == text_size &&
              fwrite(bytes, 1, size, f) == size;
    free(text);
    free(bytes);
    return fclose(f) == 0 && ok;
}

/* ---- timing ------------------------------------------------------------------------------- */

typedef struct wish {
    const char *nets, *threads, *precision;
    int         width, height, runs;
    bool        csv, cuda, stages;
} wish;

enum { MAX_RUNS = 256 };
static const char *const precisions[] = {"f32", "bf16", "f16"}; /* of oriel_precision */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; (p = strstr(p, name)); p += n)
        if ((p == list || p[-1] == ',') && (p[n] == 0 || p[n] == ','))
            return true;
    return false;
}

static oriel_status time_runs(oriel_device *dev, oriel_model *m, oriel_tensor x, oriel_tensor y, const wish *w,
                              double *t)
{
    oriel_status s = ORIEL_OK;
    for (int r = w->cuda ? -3 : -1; r < w->runs && !s; r++) { /* on a GPU the second run is recorded, the others played */
        double start = bench_now();
        if (!(s = oriel_model_run(m, x, y, NULL)))
            s = oriel_device_sync(dev);
        if (r >= 0)
            t[r] = bench_now() - start;
    }
    qsort(t, (size_t)w->runs, sizeof *t, by_value);
    return s;
}

typedef struct watch { /* the stages of a run, one by one */
    oriel_device *dev;
    double        began, seconds[8];
    const char   *name[8];
    int           count;
} watch;

static void on_stage(void *user, const char *name)
{
    watch *w = user;
    int    i = 0;
    if (oriel_device_sync(w->dev))
        return;
    while (i < w->count && strcmp(w->name[i], name) != 0)
        i++;
    if (i == 8)
        return;
    w->name[i] = name;
    w->count += i == w->count;
    w->seconds[i] += bench_now() - w->began;
    w->began = bench_now();
}

static oriel_status print_stages(oriel_device *dev, oriel_model *m, oriel_tensor x, oriel_tensor y)
{
    watch        w = {.dev = dev, .began = bench_now()};
    oriel_status s = oriel_model_run(m, x, y, &(oriel_run_options){.user = &w, .stage = on_stage});
    for (int i = 0; i < w.count; i++)
        printf("%s%s %.3f ms", i ? ", " : "# ", w.name[i], 1e3 * w.seconds[i]);
    printf("\n");
    return s ? s : oriel_device_sync(dev);
}

static oriel_status time_model(oriel_device *dev, oriel_model *m, const wish *w, oriel_plan *plan, double *seconds)
{
    int64_t      shape[4] = {1, w->height, w->width, 3};
    oriel_status s = oriel_model_plan(m, shape, plan);
    if (s)
        return s;
    size_t       n_in = (size_t)(shape[1] * shape[2] * 3);
    size_t       n_out = (size_t)(plan->shape_out[1] * plan->shape_out[2] * 3);
    float       *in = malloc(n_in * 4);
    double       t[MAX_RUNS] = {0};
    oriel_tensor x = oriel_tensor_of(NULL, ORIEL_F32, 4, shape);
    oriel_tensor y = oriel_tensor_of(NULL, ORIEL_F32, 4, plan->shape_out);
    if (!in) {
        fprintf(stderr, "bench_swinir: out of memory\n");
        exit(1);
    }
    for (size_t i = 0; i < n_in; i++)
        in[i] = (float)(i * 2654435761u >> 8 & 0xffff) / 65536.f;
    if (!(s = oriel_memory_alloc(dev, &x.data, n_in * 4)) && !(s = oriel_memory_alloc(dev, &y.data, n_out * 4)) &&
        !(s = oriel_memory_upload(dev, x.data, in, n_in * 4)))
        s = time_runs(dev, m, x, y, w, t);
    if (!s && w->stages)
        s = print_stages(dev, m, x, y);
    *seconds = t[w->runs / 2];
    oriel_memory_free(dev, &x.data);
    oriel_memory_free(dev, &y.data);
    free(in);
    return s;
}

static oriel_status row(const wish *w, const net *t, const char *path, int threads, oriel_precision precision,
                        double peak)
{
    oriel_device *dev = NULL;
    oriel_model  *m = NULL;
    oriel_plan    plan;
    double        seconds;
    oriel_device_options how = {.kind = w->cuda ? ORIEL_CUDA : ORIEL_CPU, .threads = threads};
    oriel_status         s = oriel_device_open(&dev, &how);
    if (!s && !(s = oriel_model_open(&m, dev, path, &(oriel_model_options){.precision = precision})) &&
        !(s = time_model(dev, m, w, &plan, &seconds))) {
        double rate = plan.flops / seconds / 1e9;
        printf(w->csv ? "%s,%s,%d,%.6f,%.1f,%.1f,%.3f,%.1f\n"
                      : "%-9s %-5s %3d %10.3f ms %8.1f %9.1f %6.2f %9.1f MiB\n",
               t->name, precisions[precision], threads, w->csv ? seconds : 1e3 * seconds, plan.flops / 1e9, rate,
               peak > 0 ? rate / peak : 0, (double)plan.activation_bytes / 1048576);
        fflush(stdout);
    }
    oriel_model_free(&m);
    oriel_device_free(&dev);
    return s;
}

static int rows(const wish *w, const net *t, const char *path, int threads)
{
    double peak = w->cuda ? 0 : bench_peak(threads);
    int    failed = 0;
    if (!w->csv && !w->cuda)
        printf("# f32 FMA peak on %d threads: %.1f GFLOP/s\n", threads, peak);
    for (int p = ORIEL_PRECISION_F32; p <= ORIEL_PRECISION_F16; p++)
        if (listed(w->precision, precisions[p]) && row(w, t, path, threads, (oriel_precision)p, peak)) {
            fprintf(stderr, "bench_swinir: %s\n", oriel_error());
            failed = 1;
        }
    return failed;
}

static int bench(const wish *w)
{
    char path[] = "/tmp/oriel-bench-XXXXXX";
    int  fd = mkstemp(path), failed = 0;
    if (fd < 0)
        return perror(path), 1;
    close(fd);
    printf(w->csv ? "network,precision,threads,seconds,gflop,gflop_per_s,share,activation_mib\n"
                  : "network   type  thr        time     GFLOP   GFLOP/s  share  activations  "
                    "(%d x %d)\n", w->width, w->height);
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        if (!listed(w->nets, nets[i].name))
            continue;
        if (!write_checkpoint(&nets[i], path))
            return perror(path), 1;
        for (const char *p = w->cuda ? "0" : w->threads; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
            failed |= rows(w, &nets[i], path, atoi(p));
    }
    unlink(path);
    return failed;
}

int main(int argc, char **argv)
{
    wish w = {.nets = "light-x4,m-x4", .threads = "1,2", .precision = NULL, .width = 256,
              .height = 256, .runs = 5};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--csv")) {
            w.csv = true;
            continue;
        }
        if (!strcmp(argv[i], "--stages")) {
            w.stages = true;
            continue;
        }
        if (!strcmp(argv[i], "--net"))
            w.nets = value;
        else if (!strcmp(argv[i], "--threads"))
            w.threads = value;
        else if (!strcmp(argv[i], "--precision"))
            w.precision = value;
        else if (!strcmp(argv[i], "--size") && sscanf(value, "%dx%d", &w.width, &w.height) == 2)
            ;
        else if (!strcmp(argv[i], "--runs") && (w.runs = atoi(value)) > 0 && w.runs <= MAX_RUNS)
            ;
        else if (!strcmp(argv[i], "--device") && (!strcmp(value, "cpu") || !strcmp(value, "cuda")))
            w.cuda = value[1] == 'u';
        else {
            fprintf(stderr, "usage: bench_swinir [--device cpu|cuda] [--net light-x2,light-x4,m-x2,m-x4] [--size WxH]\n"
                            "       [--threads N,N] [--precision f32,bf16,f16] [--runs 1..256] [--csv] [--stages]\n");
            return 2;
        }
        i++;
    }
    if (!w.precision)
        w.precision = w.cuda ? "f32,bf16,f16" : "f32,bf16";
    return bench(&w);
}
