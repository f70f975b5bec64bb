/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which runs of a model are recorded and played, on a device that counts: a CPU which, while it records, runs, and
 * plays by doing nothing.
 */
#include "core/device.h"
#include "hash.h"
#include "models/model.h"
#include "models/replay.h"
#include "swinir_net.h"
#include "test.h"

static char path[] = "/tmp/oriel-replay-XXXXXX";

static struct { /* what the device was asked for */
    int  begun, ended, thrown_away, played, freed;
    bool refuses, is_stale, fails; /* fails: an operation does while it records */
} counts;
static ops        failing;
static const ops *whole;

static void fail_norm(run *r, op_map y, op_map x, const op_norm *w, void *scratch)
{
    (void)y, (void)x, (void)w, (void)scratch;
    run_fail(r, oriel_fail(ORIEL_E_UNSUPPORTED, "not while recording"));
}

struct device_graph {
    int number;
};

static oriel_status begin(oriel_device *d)
{
    counts.begun++;
    if (counts.fails)
        d->ops = &failing;
    return ORIEL_OK;
}

static oriel_status end(oriel_device *d, device_graph **graph)
{
    d->ops = whole;
    if (!graph)
        return counts.thrown_away++, ORIEL_OK;
    *graph = NULL;
    if (counts.refuses)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "not this one");
    *graph = oriel_alloc_zero(1, sizeof **graph);
    (*graph)->number = ++counts.ended;
    return ORIEL_OK;
}

static oriel_status play(oriel_device *d, device_graph *g)
{
    (void)d;
    CHECK(g->number > 0);
    counts.played++;
    return ORIEL_OK;
}

static bool stale(const oriel_device *d, const device_graph *g)
{
    (void)d, (void)g;
    return counts.is_stale;
}

static void free_graph(oriel_device *d, device_graph *g)
{
    (void)d;
    counts.freed++;
    oriel_dealloc(g);
}

static const device_graphs graphs = {begin, end, play, stale, free_graph};

enum { PLACES = 6 };
static float in[PLACES][40 * 40 * 3], out[PLACES][80 * 80 * 3];

static oriel_status run_options(oriel_model *m, int place, int side, const oriel_run_options *opt)
{
    int64_t from[4] = {1, side, side, 3}, to[4] = {1, 2 * side, 2 * side, 3};
    return oriel_model_run(m, oriel_tensor_of(in[place], ORIEL_F32, 4, from),
                           oriel_tensor_of(out[place], ORIEL_F32, 4, to), opt);
}

static oriel_status run_at(oriel_model *m, int place, int side, oriel_progress_fn *progress, void *user)
{
    return run_options(m, place, side, &(oriel_run_options){.progress = progress, .user = user});
}

/* begun, played and freed after one more run */
static void expect(oriel_model *m, int place, int side, int begun, int played, int freed)
{
    CHECK_OK(run_at(m, place, side, NULL, NULL));
    CHECK_INT(counts.begun, ==, begun);
    CHECK_INT(counts.played, ==, played);
    CHECK_INT(model_played(m), ==, played);
    CHECK_INT(counts.freed, ==, freed);
}

static void test_steady(oriel_model *m)
{
    expect(m, 0, 16, 0, 0, 0);
    expect(m, 0, 16, 1, 1, 0); /* the second: recorded, played */
    expect(m, 0, 16, 1, 2, 0);
    expect(m, 0, 8, 1, 2, 0); /* another shape, in the same places */
    expect(m, 1, 16, 1, 2, 0);
    expect(m, 0, 16, 1, 3, 0);
    expect(m, 1, 16, 2, 4, 0);
    expect(m, 0, 8, 3, 5, 0);
    expect(m, 2, 16, 3, 5, 0); /* four rows now */
    expect(m, 0, 16, 3, 6, 0);
    expect(m, 3, 16, 3, 6, 1); /* in place of (1, 16), used longest ago */
    expect(m, 0, 16, 3, 7, 1);
    expect(m, 1, 16, 3, 7, 2); /* in place of (0, 8) */
    expect(m, 0, 24, 3, 7, 3); /* the arena moves: no graph of it is left */
    expect(m, 0, 16, 3, 7, 3);
    expect(m, 0, 16, 4, 8, 3);
    counts.is_stale = true;
    expect(m, 0, 16, 5, 9, 4); /* recorded again */
    counts.is_stale = false;
    expect(m, 0, 16, 5, 10, 4);
}

static void test_refused(oriel_model *m)
{
    counts.refuses = true;
    float want[32 * 32 * 3];
    expect(m, 4, 16, 5, 10, 4);
    memcpy(want, out[4], sizeof want);
    memset(out[4], 0, sizeof out[4]);
    expect(m, 4, 16, 6, 10, 4); /* tried, and run call by call */
    CHECK(!memcmp(out[4], want, sizeof want));
    expect(m, 4, 16, 6, 10, 4); /* not tried again */
    counts.refuses = false;
    expect(m, 4, 16, 6, 10, 4);
    expect(m, 4, 8, 6, 10, 4);
    counts.fails = true;
    expect(m, 4, 8, 7, 10, 4);
    counts.fails = false;
    CHECK_INT(counts.thrown_away, ==, 1);
    expect(m, 4, 8, 7, 10, 4);
}

static bool no(void *user, double done)
{
    ++*(int *)user;
    return done > 0;
}

static bool count(void *user, double done)
{
    int *calls = user;
    CHECK_NUM(done, ==, *calls == 0 ? 0 : 1);
    ++*calls;
    return true;
}

static void on_tap(void *user, const char *name, int index, oriel_tensor t)
{
    (void)name, (void)index, (void)t;
    ++*(int *)user;
}

static void on_stage(void *user, const char *stage)
{
    char *names = user;
    snprintf(names + strlen(names), 128 - strlen(names), "%s,", stage);
}

static void test_progress(oriel_model *m)
{
    int calls = 0, played = counts.played, taps = 0;
    CHECK_OK(run_at(m, 0, 16, count, &calls)); /* played: at 0 and at 1 */
    CHECK_INT(calls, ==, 2);
    CHECK_INT(counts.played, ==, played + 1);
    calls = 0;
    CHECK_FAILS(run_at(m, 0, 16, no, &calls), ORIEL_E_DEVICE);
    CHECK_INT(calls, ==, 1);
    CHECK_INT(counts.played, ==, played + 1); /* cancelled before it was queued */
    model_tap(m, on_tap, &taps); /* who wants to see maps has the run call by call */
    CHECK_OK(run_at(m, 0, 16, NULL, NULL));
    model_tap(m, NULL, NULL);
    CHECK_INT(taps, >, 3);
    CHECK_INT(counts.played, ==, played + 1);
    char names[128] = ""; /* the same of who wants to know the stages */
    CHECK_OK(run_options(m, 0, 16, &(oriel_run_options){.user = names, .stage = on_stage}));
    CHECK(!strcmp(names, "input,first convolution,group,group,body convolution,upsampler,"));
    CHECK_INT(counts.played, ==, played + 1);
}

int main(void)
{
    static const swinir_net net = {"small", "pixelshuffledirect", 2, 3, 12, 2, 8, 24, 0, {1, 2}};
    oriel_device           *dev = NULL;
    oriel_model            *m = NULL;
    int                     file = mkstemp(path);
    if (file < 0)
        return 1;
    close(file);
    for (int i = 0; i < PLACES; i++)
        for (int j = 0; j < 40 * 40 * 3; j++)
            in[i][j] = test_unit((unsigned)i, (uint64_t)j);
    CHECK(swinir_net_write(&net, path, NULL));
    CHECK_OK(oriel_device_open(&dev, NULL));
    device_kind kind = *dev->is;
    kind.graphs = &graphs;
    dev->is = &kind;
    whole = dev->ops;
    failing = *whole;
    failing.norm = fail_norm;
    CHECK_OK(oriel_model_open(&m, dev, path, NULL));
    test_steady(m);
    test_refused(m);
    test_progress(m);
    oriel_model_free(&m);
    CHECK_INT(counts.freed, ==, counts.ended);
    oriel_device_free(&dev);
    remove(path);
    return test_end();
}
