/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a model promises on a GPU beside its pixels (test_swinir --device cuda): recorded runs give the bits of runs
 * made call by call, shapes in flight do not meet, memory is as planned, and a run that cannot be says what could.
 */
#include <math.h>

#include <oriel/oriel.h>

#include "core/device.h"
#include "hash.h"
#include "models/model.h"
#include "swinir_net.h"
#include "test.h"

static char          path[] = "/tmp/oriel-model-cuda-XXXXXX";
static oriel_device *dev;

static const swinir_net narrow = {"narrow", "pixelshuffledirect", 2, 3, 12, 2, 8, 24, 0, {1, 2}};
static const swinir_net light = {"light", "pixelshuffledirect", 4, 3, 60, 6, 8, 120, 0, {2, 2}};
static const swinir_net real = {"real", "nearest+conv", 4, 3, 60, 6, 8, 120, 1, {1, 2}};

static const struct {
    const char     *name;
    oriel_precision precision;
} types[] = {{"f32", ORIEL_PRECISION_F32}, {"bf16", ORIEL_PRECISION_BF16}, {"f16", ORIEL_PRECISION_F16}};
enum { TYPES = 3 };

/* Input and output of runs, in the GPU's memory. */
typedef struct place {
    oriel_tensor in, out;
} place;

static place place_new(const swinir_net *n, int batch, int height, int width, unsigned seed)
{
    place   p;
    int64_t from[4] = {batch, height, width, n->channels};
    int64_t to[4] = {batch, height * n->scale, width * n->scale, n->channels};
    p.in = oriel_tensor_of(NULL, ORIEL_F32, 4, from);
    p.out = oriel_tensor_of(NULL, ORIEL_F32, 4, to);
    size_t count = (size_t)oriel_tensor_count(&p.in);
    float *host = malloc(count * sizeof *host);
    for (size_t i = 0; i < count; i++)
        host[i] = test_unit(seed, i);
    CHECK_OK(oriel_memory_alloc(dev, &p.in.data, count * sizeof *host));
    CHECK_OK(oriel_memory_upload(dev, p.in.data, host, count * sizeof *host));
    CHECK_OK(oriel_memory_alloc(dev, &p.out.data, (size_t)oriel_tensor_count(&p.out) * sizeof *host));
    free(host);
    return p;
}

static void place_free(place *p)
{
    oriel_memory_free(dev, &p->in.data);
    oriel_memory_free(dev, &p->out.data);
}

static float *result(const place *p) /* malloc */
{
    size_t bytes = (size_t)oriel_tensor_count(&p->out) * sizeof(float);
    float *host = malloc(bytes);
    memset(host, 0xff, bytes);
    CHECK_OK(oriel_memory_download(dev, host, p->out.data, bytes));
    return host;
}

/* What a run gives now; NaN is written to the output before. */
static float *run_once(oriel_model *m, const place *p)
{
    size_t bytes = (size_t)oriel_tensor_count(&p->out) * sizeof(float);
    float *nan = malloc(bytes);
    memset(nan, 0xff, bytes);
    CHECK_OK(oriel_memory_upload(dev, p->out.data, nan, bytes));
    free(nan);
    CHECK_OK(oriel_model_run(m, p->in, p->out, NULL));
    return result(p);
}

static bool alike(const place *p, const float *a, const float *b)
{
    return !memcmp(a, b, (size_t)oriel_tensor_count(&p->out) * sizeof *a) && !isnan(a[0]);
}

static void check_alike(const place *p, const float *want, float *have)
{
    CHECK(alike(p, want, have));
    free(have);
}

static oriel_model *model_of(const swinir_net *n, oriel_precision precision)
{
    oriel_model *m = NULL;
    CHECK(swinir_net_write(n, path, NULL));
    CHECK_OK(oriel_model_open(&m, dev, path, &(oriel_model_options){.precision = precision}));
    return m;
}

/* ---- recorded runs -------------------------------------------------------------------------- */

static void test_played(const swinir_net *n, int type)
{
    oriel_model *m = model_of(n, types[type].precision);
    place        a = place_new(n, 1, 43, 70, 1), b = place_new(n, 2, 17, 33, 2);
    if (m) {
        float *first = run_once(m, &a), *other = run_once(m, &b);
        for (int i = 0; i < 2; i++) {
            check_alike(&a, first, run_once(m, &a));
            check_alike(&b, other, run_once(m, &b));
        }
        printf("%-6s %-4s: %d of 6 runs played\n", n->name, types[type].name, model_played(m));
        if (types[type].precision) /* f32's operations need not be such that can be recorded */
            CHECK_INT(model_played(m), ==, 4);
        /* in flight: nobody waits between them */
        for (int i = 0; i < 3; i++) {
            CHECK_OK(oriel_model_run(m, a.in, a.out, NULL));
            CHECK_OK(oriel_model_run(m, b.in, b.out, NULL));
        }
        check_alike(&a, first, result(&a));
        check_alike(&b, other, result(&b));
        free(first);
        free(other);
    }
    place_free(&a);
    place_free(&b);
    oriel_model_free(&m);
}

/* Two models of different needs take turns on one device: its scratch memory moves under the first one's graph. */
static void test_two_models(int type)
{
    oriel_model *m = model_of(&narrow, types[type].precision), *large = model_of(&light, types[type].precision);
    place        a = place_new(&narrow, 1, 16, 24, 3), b = place_new(&light, 1, 200, 264, 4);
    if (m && large) {
        float *first = run_once(m, &a), *other;
        check_alike(&a, first, run_once(m, &a));
        other = run_once(large, &b);
        check_alike(&a, first, run_once(m, &a));
        check_alike(&b, other, run_once(large, &b));
        check_alike(&a, first, run_once(m, &a));
        check_alike(&b, other, run_once(large, &b));
        free(first);
        free(other);
    }
    place_free(&a);
    place_free(&b);
    oriel_model_free(&m);
    oriel_model_free(&large);
}

/* ---- memory --------------------------------------------------------------------------------- */

static void test_peak(const swinir_net *n, int type)
{
    oriel_checkpoint   *c = NULL;
    oriel_model_options opt = {.precision = types[type].precision};
    oriel_model_info    info = {0};
    void               *net = NULL;
    place               p = place_new(n, 1, 19, 37, 5);
    oriel_tensor        in = oriel_tensor_of(p.in.data, ORIEL_F32, 3, p.in.shape + 1);
    oriel_tensor        out = oriel_tensor_of(p.out.data, ORIEL_F32, 3, p.out.shape + 1);
    CHECK(swinir_net_write(n, path, NULL));
    CHECK_OK(oriel_checkpoint_open(&c, path, NULL));
    const model_kind *kind = model_find(ckpt_architecture(c));
    oriel_status      s = kind->open(&net, dev, c, &opt, &info);
    CHECK_OK(s);
    if (!s) {
        run plan = {.dev = dev, .planning = true}, r = {.dev = dev, .arena = {.gpu = dev}};
        kind->forward(&plan, net, in, out);
        CHECK_OK(plan.status);
        CHECK_OK(oriel_arena_reserve(&r.arena, plan.arena.peak));
        kind->forward(&r, net, in, out);
        CHECK_OK(r.status);
        CHECK_OK(oriel_device_sync(dev));
        CHECK_INT(r.arena.peak, ==, plan.arena.peak);
        CHECK_NUM(fabs(r.flops - plan.flops), <=, 1e-9 * plan.flops);
        oriel_arena_free(&r.arena);
        kind->free(dev, net);
    }
    oriel_checkpoint_free(&c);
    place_free(&p);
}

/* 1280 x 720 through the lightweight network: the maps of one block are the peak, however many there are. */
static void test_hd(int type)
{
    oriel_model *m = model_of(&light, types[type].precision);
    oriel_plan   plan = {0};
    if (m) {
        CHECK_OK(oriel_model_plan(m, (int64_t[]){1, 720, 1280, 3}, &plan));
        printf("light  %-4s: 1280 x 720 takes %.1f MiB\n", types[type].name, (double)plan.activation_bytes / 1048576);
        if (types[type].precision)
            CHECK_NUM((double)plan.activation_bytes, <=, 1.5 * (1 << 30));
    }
    oriel_model_free(&m);
}

/* A picture far too large is refused with the side that fits, which is right; then a small one runs. */
static void test_too_large(int type)
{
    enum { HUGE_SIDE = 200000 };
    oriel_model *m = model_of(&light, types[type].precision);
    place        p = place_new(&light, 1, 24, 24, 6);
    int64_t      from[4] = {1, HUGE_SIDE, HUGE_SIDE, 3}, to[4] = {1, 4 * HUGE_SIDE, 4 * HUGE_SIDE, 3};
    long long    side = 0, again = 0;
    oriel_plan   plan = {0};
    size_t       free_bytes = 0, all = 0;
    if (m) {
        float *want = run_once(m, &p);
        CHECK_FAILS(oriel_model_run(m, oriel_tensor_of(p.in.data, ORIEL_F32, 4, from),
                                    oriel_tensor_of(p.out.data, ORIEL_F32, 4, to), NULL),
                    ORIEL_E_NOMEM);
        printf("%s\n", oriel_error());
        const char *text = strstr(oriel_error(), "enough for ");
        CHECK(text && sscanf(text, "enough for %lld x %lld", &side, &again) == 2 && side == again);
        CHECK_OK(oriel_memory_info(dev, &free_bytes, &all));
        CHECK_OK(oriel_model_plan(m, (int64_t[]){1, side, side, 3}, &plan));
        CHECK_NUM((double)plan.activation_bytes, <=, (double)free_bytes);
        CHECK_OK(oriel_model_plan(m, (int64_t[]){1, side + 64, side + 64, 3}, &plan));
        CHECK_NUM((double)plan.activation_bytes, >, (double)free_bytes - (192 << 20));
        check_alike(&p, want, run_once(m, &p));
        free(want);
    }
    place_free(&p);
    oriel_model_free(&m);
}

/* Little memory is left on the GPU: the side that a refused run names does run, the first of its model, too. */
static void test_enough(int type)
{
    enum { LEFT = 700 << 20 };
    oriel_model *m = model_of(&light, types[type].precision);
    place        p = place_new(&light, 1, 2000, 2000, 9);
    void        *filler = NULL;
    size_t       free_bytes = 0, all = 0;
    long long    side = 0;
    CHECK_OK(oriel_memory_info(dev, &free_bytes, &all));
    if (m && free_bytes > LEFT) {
        CHECK_OK(oriel_memory_alloc(dev, &filler, free_bytes - LEFT));
        CHECK_FAILS(oriel_model_run(m, p.in, p.out, NULL), ORIEL_E_NOMEM);
        const char *text = strstr(oriel_error(), "enough for ");
        CHECK(text && sscanf(text, "enough for %lld", &side) == 1 && side > 500 && side < 2000);
        p.in.shape[1] = p.in.shape[2] = side; /* in the memory of the large picture */
        p.out.shape[1] = p.out.shape[2] = 4 * side;
        p.in = oriel_tensor_of(p.in.data, ORIEL_F32, 4, p.in.shape);
        p.out = oriel_tensor_of(p.out.data, ORIEL_F32, 4, p.out.shape);
        for (int i = 0; i < 3 && side; i++) /* call by call, recorded, played */
            CHECK_OK(oriel_model_run(m, p.in, p.out, NULL));
        CHECK_OK(oriel_device_sync(dev));
        printf("light  %-4s: %lld x %lld where %d MiB were left\n", types[type].name, side, side, LEFT >> 20);
    }
    oriel_memory_free(dev, &filler);
    place_free(&p);
    oriel_model_free(&m);
}

/* ---- doors ---------------------------------------------------------------------------------- */

typedef struct listener {
    double last;
    int    calls, stop_at, falls;
} listener;

static bool listen(void *user, double done)
{
    listener *l = user;
    l->falls += done < l->last || done > 1;
    l->last = done;
    return ++l->calls != l->stop_at;
}

static void test_progress(void)
{
    oriel_model      *m = model_of(&narrow, ORIEL_PRECISION_F32);
    place             p = place_new(&narrow, 2, 30, 20, 7), q = place_new(&narrow, 2, 30, 20, 7);
    listener          l = {0};
    oriel_run_options opt = {.progress = listen, .user = &l};
    if (m) {
        CHECK_OK(oriel_model_run(m, p.in, p.out, &opt));
        CHECK_INT(l.falls, ==, 0);
        CHECK_NUM(l.last, ==, 1);
        CHECK_INT(l.calls, >, 10);
        float *want = result(&p);
        for (int stop = 1, calls = l.calls; stop < calls; stop++) { /* none of them ends: none is recorded */
            l = (listener){.stop_at = stop};
            CHECK_FAILS(oriel_model_run(m, q.in, q.out, &opt), ORIEL_E_DEVICE);
            CHECK_INT(l.calls, ==, stop);
        }
        check_alike(&q, want, run_once(m, &q));
        free(want);
    }
    place_free(&p);
    place_free(&q);
    oriel_model_free(&m);
}

static void test_host_memory(void)
{
    oriel_model *m = model_of(&narrow, ORIEL_PRECISION_F32);
    place        p = place_new(&narrow, 1, 8, 8, 8);
    float       *host = calloc(16 * 16 * 3, sizeof *host);
    oriel_tensor in = p.in, out = p.out;
    in.data = out.data = host;
    if (m) {
        CHECK_FAILS(oriel_model_run(m, in, p.out, NULL), ORIEL_E_ARG);
        CHECK(strstr(oriel_error(), oriel_device_name(dev)) != NULL);
        CHECK_FAILS(oriel_model_run(m, p.in, out, NULL), ORIEL_E_ARG);
        free(run_once(m, &p));
    }
    free(host);
    place_free(&p);
    oriel_model_free(&m);
}

int main(void)
{
    int file = mkstemp(path);
    if (file < 0)
        return 1;
    close(file);
    if (oriel_device_open(&dev, &(oriel_device_options){.kind = ORIEL_CUDA})) {
        printf("skipped: %s\n", oriel_error());
        remove(path);
        return 77;
    }
    printf("%s\n", oriel_device_name(dev));
    for (int t = 0; t < TYPES; t++) /* first: nothing has been loaded yet */
        test_enough(t);
    test_progress();
    test_host_memory();
    for (int t = 0; t < TYPES; t++) {
        test_peak(&narrow, t);
        test_peak(&light, t);
        test_peak(&real, t);
        test_played(&narrow, t);
        test_played(&light, t);
        test_played(&real, t);
        test_two_models(t);
        test_hd(t);
    }
    test_too_large(0);
    test_too_large(1);
    remove(path);
    oriel_device_free(&dev);
    return test_end();
}
