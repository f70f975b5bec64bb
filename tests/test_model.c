/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a model promises beside its pixels: memory known before the run and small, progress, cancel,
 * clear errors for checkpoints with a fault, and no leak where memory ends.
 */
#include <math.h>
#include <oriel/oriel.h>

#include "hash.h"
#include "models/model.h"
#include "swinir_net.h"
#include "test.h"

static char path[] = "/tmp/oriel-model-XXXXXX";

static const swinir_net small = {"small", "pixelshuffledirect", 2, 3, 12, 2, 8, 24, 0, {1, 2}};

static oriel_tensor tensor4(float *data, int b, int y, int x, int c)
{
    return oriel_tensor_of(data, ORIEL_F32, 4, (int64_t[]){b, y, x, c});
}

static float *picture(size_t n)
{
    float *p = malloc(n * sizeof *p);
    for (size_t i = 0; i < n; i++)
        p[i] = test_unit(7, i);
    return p;
}

/* ---- memory --------------------------------------------------------------------------------- */

static uint64_t planned(const int64_t shape[4], int threads)
{
    oriel_device *dev = NULL;
    oriel_model  *m = NULL;
    oriel_plan    plan = {0};
    CHECK_OK(oriel_device_open(&dev, &(oriel_device_options){.threads = threads}));
    CHECK_OK(oriel_model_open(&m, dev, path, NULL));
    CHECK_OK(oriel_model_plan(m, shape, &plan));
    oriel_model_free(&m);
    oriel_device_free(&dev);
    return plan.activation_bytes;
}

/* Maps that are alive at once: at most 3.5 of the body's, beside what each thread holds. */
static void check_memory(const swinir_net *n, int side)
{
    int64_t  shape[4] = {1, side, side, n->channels};
    double   padded = (side + n->window - 1) / n->window * n->window;
    double   map = padded * padded * n->embed * sizeof(float);
    uint64_t one = planned(shape, 1), two = planned(shape, 2);
    CHECK_INT(two, >=, one);
    double maps = ((double)one - (double)(two - one)) / map;
    CHECK_NUM(maps, <=, 3.5 + 65536 / map); /* a sanitizer's red zones */
    CHECK_NUM(maps, >=, 2); /* t and f, at least */
    printf("%-12s %4d x %-4d %.2f maps, %.1f MB\n", n->name, side, side, maps, 1e-6 * (double)one);
}

static void test_memory(void)
{
    static const swinir_net real[] = { /* the published sizes, two blocks of them */
        {"classical2", "pixelshuffle", 2, 3, 180, 6, 8, 360, 0, {1, 1}},
        {"classical3", "pixelshuffle", 3, 3, 180, 6, 8, 360, 0, {1, 1}},
        {"classical4", "pixelshuffle", 4, 3, 180, 6, 8, 360, 0, {1, 1}},
        {"classical8", "pixelshuffle", 8, 3, 180, 6, 8, 360, 0, {1, 1}},
        {"light2", "pixelshuffledirect", 2, 3, 60, 6, 8, 120, 0, {1, 1}},
        {"light3", "pixelshuffledirect", 3, 3, 60, 6, 8, 120, 0, {1, 1}},
        {"light4", "pixelshuffledirect", 4, 3, 60, 6, 8, 120, 0, {1, 1}},
        {"real4m", "nearest+conv", 4, 3, 180, 6, 8, 360, 0, {1, 1}},
        {"real4l", "nearest+conv", 4, 3, 240, 8, 8, 480, 1, {1, 1}},
        {"noisegrey", "none", 1, 1, 180, 6, 8, 360, 0, {1, 1}},
        {"noisecolour", "none", 1, 3, 180, 6, 8, 360, 0, {1, 1}},
        {"jpeggrey", "none", 1, 1, 180, 6, 7, 360, 0, {1, 1}},
        {"jpegcolour", "none", 1, 3, 180, 6, 7, 360, 0, {1, 1}},
    };
    for (size_t i = 0; i < sizeof real / sizeof *real; i++) {
        CHECK(swinir_net_write(&real[i], path, NULL));
        check_memory(&real[i], 256);
        check_memory(&real[i], 4096);
    }
}

/* The forward run takes exactly what its plan said. */
static void test_peak(const swinir_net *n)
{
    oriel_device       *dev = NULL;
    oriel_checkpoint   *c = NULL;
    oriel_model_options opt = {0};
    oriel_model_info    info = {0};
    void               *net = NULL;
    int64_t             from[3] = {19, 37, n->channels}, to[3] = {19 * n->scale, 37 * n->scale, n->channels};
    float              *in = picture(19 * 37 * 3), *out = picture((size_t)(to[0] * to[1] * to[2]));
    CHECK(swinir_net_write(n, path, NULL));
    CHECK_OK(oriel_device_open(&dev, &(oriel_device_options){.threads = 2}));
    CHECK_OK(oriel_checkpoint_open(&c, path, NULL));
    const model_kind *kind = model_find(ckpt_architecture(c));
    CHECK_OK(kind->open(&net, dev, c, &opt, &info));
    run plan = {.dev = dev, .planning = true}, r = {.dev = dev};
    kind->forward(&plan, net, oriel_tensor_of(NULL, ORIEL_F32, 3, from), oriel_tensor_of(NULL, ORIEL_F32, 3, to));
    CHECK_OK(oriel_arena_reserve(&r.arena, plan.arena.peak));
    kind->forward(&r, net, oriel_tensor_of(in, ORIEL_F32, 3, from), oriel_tensor_of(out, ORIEL_F32, 3, to));
    CHECK_OK(r.status);
    CHECK_INT(r.arena.peak, ==, plan.arena.peak);
    CHECK_NUM(fabs(r.flops - plan.flops), <=, 1e-9 * plan.flops);
    CHECK_NUM(plan.flops, >, 0);
    CHECK_NUM(r.map_bytes, ==, plan.map_bytes);
    double blocks = n->depth[0] + n->depth[1]; /* each reads a map and writes one */
    CHECK_NUM(plan.map_bytes, >, blocks * 8 * 19 * 37 * n->embed);
    oriel_arena_free(&r.arena);
    kind->free(dev, net);
    oriel_checkpoint_free(&c);
    oriel_device_free(&dev);
    free(in);
    free(out);
}

/* Where memory ends the text says what is free and which square picture that is enough for: it is, and one window
 * more is not. */
static void test_too_large(void)
{
    oriel_device *dev = NULL;
    oriel_model  *m = NULL;
    float        *in = picture(16 * 16 * 3), *out = picture(32 * 32 * 3);
    double        takes = 0, free_mib = 0, mib = 1048576;
    long long     side = 0, again = 0;
    oriel_plan    plan = {0};
    CHECK(swinir_net_write(&small, path, NULL));
    CHECK_OK(oriel_device_open(&dev, &(oriel_device_options){.threads = 1}));
    CHECK_OK(oriel_model_open(&m, dev, path, NULL));
    oriel_alloc_fail_at(1);
    CHECK_FAILS(oriel_model_run(m, tensor4(in, 1, 16, 16, 3), tensor4(out, 1, 32, 32, 3), NULL), ORIEL_E_NOMEM);
    oriel_alloc_fail_at(0);
    CHECK_INT(sscanf(oriel_error(), "run: a picture of 16 x 16 takes %lf MiB beside input and output, where %lf MiB", &takes,
                     &free_mib), ==, 2);
    const char *enough = strstr(oriel_error(), "enough for ");
    CHECK(enough && sscanf(enough, "enough for %lld x %lld", &side, &again) == 2 && side == again && side > 16);
    CHECK_OK(oriel_model_plan(m, (int64_t[]){1, 16, 16, 3}, &plan));
    CHECK_NUM(fabs((double)plan.activation_bytes / mib - takes), <=, 0.051);
    CHECK_OK(oriel_model_plan(m, (int64_t[]){1, side, side, 3}, &plan));
    CHECK_NUM((double)plan.activation_bytes / mib, <=, free_mib + 0.051);
    CHECK_OK(oriel_model_plan(m, (int64_t[]){1, side + 8, side + 8, 3}, &plan));
    CHECK_NUM((double)plan.activation_bytes / mib, >, free_mib - 0.051);
    CHECK_OK(oriel_model_run(m, tensor4(in, 1, 16, 16, 3), tensor4(out, 1, 32, 32, 3), NULL));
    oriel_model_free(&m);
    oriel_device_free(&dev);
    free(in);
    free(out);
}

/* ---- progress ------------------------------------------------------------------------------- */

typedef struct listener {
    double last, first;
    int    calls, stop_at, falls;
} listener;

static bool listen(void *user, double done)
{
    listener *l = user;
    l->first = l->calls ? l->first : done;
    l->falls += done < l->last || done > 1;
    l->last = done;
    return ++l->calls != l->stop_at;
}

static void test_progress(void)
{
    oriel_device     *dev = NULL;
    oriel_model      *m = NULL;
    listener          l = {0};
    oriel_run_options opt = {.progress = listen, .user = &l};
    float            *in = picture(2 * 30 * 20 * 3), *out = picture(2 * 60 * 40 * 3), *ref = picture(2 * 60 * 40 * 3);
    CHECK(swinir_net_write(&small, path, NULL));
    CHECK_OK(oriel_device_open(&dev, NULL));
    CHECK_OK(oriel_model_open(&m, dev, path, NULL));
    CHECK_OK(oriel_model_run(m, tensor4(in, 2, 30, 20, 3), tensor4(ref, 2, 60, 40, 3), &opt));
    CHECK_INT(l.falls, ==, 0);
    CHECK_NUM(l.first, ==, 0);
    CHECK_NUM(l.last, ==, 1);
    CHECK_INT(l.calls, >, 10);
    for (int stop = 1, calls = l.calls; stop <= calls; stop++) { /* cancel at every step */
        l = (listener){.stop_at = stop};
        CHECK_FAILS(oriel_model_run(m, tensor4(in, 2, 30, 20, 3), tensor4(out, 2, 60, 40, 3), &opt), ORIEL_E_DEVICE);
        CHECK_INT(l.calls, ==, stop); /* and nothing is asked after that */
    }
    CHECK_OK(oriel_model_run(m, tensor4(in, 2, 30, 20, 3), tensor4(out, 2, 60, 40, 3), NULL));
    CHECK(!memcmp(out, ref, 2 * 60 * 40 * 3 * sizeof *out));
    oriel_model_free(&m);
    oriel_device_free(&dev);
    free(in);
    free(out);
    free(ref);
}

/* ---- arguments ------------------------------------------------------------------------------ */

static void test_arguments(void)
{
    oriel_device       *dev = NULL;
    oriel_model        *m = NULL;
    oriel_plan          plan;
    float              *in = picture(8 * 8 * 3), *out = picture(16 * 16 * 3);
    oriel_tensor        x = tensor4(in, 1, 8, 8, 3), y = tensor4(out, 1, 16, 16, 3), bad;
    oriel_model_options odd = {.precision = (oriel_precision)7};
    CHECK(swinir_net_write(&small, path, NULL));
    CHECK_OK(oriel_device_open(&dev, NULL));
    CHECK_FAILS(oriel_model_open(NULL, dev, path, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_model_open(&m, NULL, path, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_model_open(&m, dev, path, &odd), ORIEL_E_ARG);
    CHECK_FAILS(oriel_model_open(&m, dev, "/nowhere/at.all", NULL), ORIEL_E_IO);
    CHECK(!m);
    CHECK_OK(oriel_model_open(&m, dev, path, NULL));
    oriel_model_info info;
    oriel_model_describe(m, &info);
    CHECK(info.scale == 2 && info.channels == 3 && info.window == 8 && !strcmp(info.task, "upscale") &&
          !strcmp(info.architecture, "SwinIR") && info.weight_bytes > (uint64_t)info.parameters);
    CHECK_FAILS(oriel_model_plan(m, (int64_t[]){1, 8, 8, 1}, &plan), ORIEL_E_ARG);
    CHECK_FAILS(oriel_model_plan(m, (int64_t[]){0, 8, 8, 3}, &plan), ORIEL_E_ARG);
    CHECK_FAILS(oriel_model_plan(m, (int64_t[]){1, 0, 8, 3}, &plan), ORIEL_E_ARG);
    CHECK_FAILS(oriel_model_plan(m, (int64_t[]){1, 8, INT64_MAX, 3}, &plan), ORIEL_E_ARG);
    CHECK_OK(oriel_model_plan(m, (int64_t[]){3, 8, 9, 3}, &plan));
    CHECK(plan.shape_out[0] == 3 && plan.shape_out[1] == 16 && plan.shape_out[2] == 18 && plan.shape_out[3] == 3);
    bad = tensor4(out, 1, 16, 8, 3);
    CHECK_FAILS(oriel_model_run(m, x, bad, NULL), ORIEL_E_ARG);
    bad = tensor4(in, 1, 8, 8, 3), bad.stride[1] = 8;
    CHECK_FAILS(oriel_model_run(m, bad, y, NULL), ORIEL_E_ARG);
    bad = x, bad.dtype = ORIEL_U8;
    CHECK_FAILS(oriel_model_run(m, bad, y, NULL), ORIEL_E_ARG);
    bad = x, bad.data = NULL;
    CHECK_FAILS(oriel_model_run(m, bad, y, NULL), ORIEL_E_ARG);
    CHECK_OK(oriel_model_run(m, x, y, NULL));
    oriel_model_free(&m);
    oriel_cpu_mask(0);
    oriel_device_free(&dev);
    CHECK_OK(oriel_device_open(&dev, NULL));
    CHECK_FAILS(oriel_model_open(&m, dev, path, &(oriel_model_options){.precision = ORIEL_PRECISION_BF16}),
                ORIEL_E_UNSUPPORTED);
    oriel_cpu_mask(~0u);
    oriel_device_free(&dev);
    free(in);
    free(out);
}

/* ---- checkpoints with a fault --------------------------------------------------------------- */

/* Opening must fail as the file is at fault, and say `name` (NULL: whatever). */
static void check_refused(oriel_device *dev, const swinir_net *n, const swinir_fault *f, const char *name)
{
    oriel_model *m = NULL;
    CHECK(swinir_net_write(n, path, f));
    oriel_status s = oriel_model_open(&m, dev, path, NULL);
    bool         refused = (s == ORIEL_E_FORMAT || s == ORIEL_E_UNSUPPORTED) && !m;
    CHECK(refused);
    if (!refused)
        fprintf(stderr, "%s: opened without %s (or with a longer %s, or with %s)\n", n->name, f->drop, f->grow, f->extra);
    CHECK(oriel_error()[0] && (!name || strstr(oriel_error(), name)));
    if (name && !strstr(oriel_error(), name))
        fprintf(stderr, "%s: %s does not tell of %s\n", n->name, oriel_error(), name);
    oriel_model_free(&m);
}

/* The network's kind and sizes are read from these: without them the text is about the whole. */
static bool tells_kind(const char *name)
{
    return !strncmp(name, "conv_first", 10) || !strncmp(name, "conv_last", 9) || strstr(name, "upsample") ||
           !strncmp(name, "conv_up", 7) || !strncmp(name, "conv_after_body", 15) || strstr(name, "norm1.weight") ||
           !strncmp(name, "layers.0.residual_group.blocks.0.", 33);
}

/* Each tensor in turn is missing, then too long: nothing opens by luck. */
static void test_faults(oriel_device *dev, const swinir_net *n)
{
    const char *name;
    char        keep[128];
    for (int i = 0; (name = swinir_net_tensor(n, i)); i++) {
        snprintf(keep, sizeof keep, "%s", name);
        bool whole = tells_kind(keep);
        check_refused(dev, n, &(swinir_fault){.drop = keep}, whole ? NULL : keep);
        check_refused(dev, n, &(swinir_fault){.grow = keep}, whole ? NULL : keep);
        if (strstr(keep, "weight"))
            check_refused(dev, n, &(swinir_fault){.grow = keep, .grow_axis = strstr(keep, "norm") ? 0 : 1}, NULL);
    }
    check_refused(dev, n, &(swinir_fault){.extra = "layers.7.conv.weight"}, "layers.7.conv.weight");
    oriel_model *m = NULL; /* buffers that PyTorch stores are no fault */
    CHECK(swinir_net_write(n, path, &(swinir_fault){.extra = "layers.0.residual_group.blocks.1.attn_mask"}));
    CHECK_OK(oriel_model_open(&m, dev, path, NULL));
    oriel_model_free(&m);
}

static void test_wrong_checkpoints(void)
{
    static const swinir_net kinds[] = {
        {"direct", "pixelshuffledirect", 2, 3, 12, 2, 8, 24, 0, {1, 2}},
        {"shuffle", "pixelshuffle", 4, 3, 8, 2, 3, 10, 0, {1, 2}},
        {"nearest", "nearest+conv", 4, 3, 8, 2, 3, 10, 1, {1, 2}},
        {"none", "none", 1, 1, 8, 2, 3, 10, 0, {1, 2}},
    };
    swinir_net    odd = small;
    oriel_device *dev = NULL;
    CHECK_OK(oriel_device_open(&dev, &(oriel_device_options){.threads = 1}));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        test_faults(dev, &kinds[i]);
    odd.heads = 5; /* 12 channels do not part into 5 */
    check_refused(dev, &odd, &(swinir_fault){0}, "heads");
    odd = small, odd.window = 40;
    check_refused(dev, &odd, &(swinir_fault){0}, "window");
    odd = small, odd.channels = 2;
    check_refused(dev, &odd, &(swinir_fault){0}, "channels");
    oriel_device_free(&dev);
}

/* ---- lack of memory ------------------------------------------------------------------------- */

/* Request n fails, and all after it, for n = 1, 2, ... until all goes well. */
static void test_no_memory(const swinir_net *n)
{
    oriel_device *dev = NULL;
    float        *in = picture(9 * 11 * 3), *out = picture((size_t)(9 * 11 * 3 * n->scale * n->scale));
    int           failed = 0;
    CHECK(swinir_net_write(n, path, NULL));
    CHECK_OK(oriel_device_open(&dev, &(oriel_device_options){.threads = 2}));
    for (uint64_t at = 1; at < 5000; at++) {
        oriel_model *m = NULL;
        oriel_alloc_fail_at(at);
        oriel_status s = oriel_model_open(&m, dev, path, NULL);
        CHECK((s == ORIEL_OK) == (m != NULL));
        if (!s)
            s = oriel_model_run(m, tensor4(in, 1, 9, 11, n->channels),
                                tensor4(out, 1, 9 * n->scale, 11 * n->scale, n->channels), NULL);
        oriel_alloc_fail_at(0);
        if (s)
            CHECK_INT(s, ==, ORIEL_E_NOMEM);
        if (s && m) /* and the model is as good as new */
            CHECK_OK(oriel_model_run(m, tensor4(in, 1, 9, 11, n->channels),
                                     tensor4(out, 1, 9 * n->scale, 11 * n->scale, n->channels), NULL));
        oriel_model_free(&m);
        if (!s)
            break;
        failed++;
    }
    CHECK_INT(failed, >, 60);
    CHECK_INT(failed, <, 4999);
    oriel_device_free(&dev);
    free(in);
    free(out);
}

int main(void)
{
    static const swinir_net shuffle = {"shuffle", "pixelshuffle", 4, 3, 8, 2, 8, 10, 0, {1, 2}};
    static const swinir_net nearest = {"nearest", "nearest+conv", 4, 3, 8, 2, 8, 10, 1, {1, 2}};
    static const swinir_net none = {"none", "none", 1, 1, 8, 2, 7, 10, 0, {1, 2}};
    int                     file = mkstemp(path);
    if (file < 0)
        return 1;
    close(file);
    test_memory();
    test_peak(&small);
    test_peak(&shuffle);
    test_peak(&nearest);
    test_peak(&none);
    test_too_large();
    test_progress();
    test_arguments();
    test_wrong_checkpoints();
    test_no_memory(&small);
    test_no_memory(&nearest);
    remove(path);
    return test_end();
}
