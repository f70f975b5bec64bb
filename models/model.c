/* SPDX-License-Identifier: Apache-2.0 */
/* A model from outside: open, plan, run. */
#include "models/model.h"
#include "models/replay.h"

struct oriel_model {
    oriel_device     *dev;
    oriel_checkpoint *ckpt; /* kept for its strings */
    const model_kind *kind;
    void             *net;
    oriel_model_info  info;
    oriel_arena       arena;
    replay            replay;
    int               played; /* runs so far that were */
    op_tap_fn        *tap;
    void             *tap_user;
};

oriel_dtype model_operand(oriel_precision p)
{
    return p == ORIEL_PRECISION_F32 ? ORIEL_F32 : p == ORIEL_PRECISION_BF16 ? ORIEL_BF16 : ORIEL_F16;
}

static oriel_status build(oriel_model *m, const char *path, const oriel_model_options *opt)
{
    oriel_status          s;
    oriel_checkpoint_info about;
    if ((s = oriel_checkpoint_open(&m->ckpt, path, &(oriel_checkpoint_options){.key = opt->key})))
        return s;
    oriel_checkpoint_describe(m->ckpt, &about);
    if (!about.architecture)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: unknown architecture; its keys look like %s",
                          path, about.sample_keys);
    if (!(m->kind = model_find(ckpt_architecture(m->ckpt))))
        return oriel_fail(ORIEL_E_UNSUPPORTED,
                          "%s: this is %s (%s), which this version cannot run yet", path,
                          about.architecture, about.details);
    m->info.architecture = about.architecture;
    m->info.details = about.details;
    m->info.parameters = about.parameters;
    return m->kind->open(&m->net, m->dev, m->ckpt, opt, &m->info);
}

oriel_status oriel_model_open(oriel_model **out, oriel_device *dev, const char *path,
                              const oriel_model_options *opt)
{
    static const oriel_model_options defaults;
    if (!out)
        return oriel_fail(ORIEL_E_ARG, "model: no place for the result");
    *out = NULL;
    if (!dev || !path)
        return oriel_fail(ORIEL_E_ARG, "model: no %s", dev ? "path" : "device");
    oriel_status s = dev->is->enter(dev);
    if (s)
        return s;
    if (!opt)
        opt = &defaults;
    if (opt->precision < ORIEL_PRECISION_F32 || opt->precision > ORIEL_PRECISION_F16)
        return oriel_fail(ORIEL_E_ARG, "model: precision %d is not known", (int)opt->precision);
    if (opt->pad != ORIEL_PAD_REFLECT && opt->pad != ORIEL_PAD_SYMMETRIC)
        return oriel_fail(ORIEL_E_ARG, "model: pad %d is not known", (int)opt->pad);
    oriel_model *m = oriel_alloc_zero(1, sizeof *m);
    if (!m)
        return ORIEL_E_NOMEM;
    m->dev = dev;
    m->arena.gpu = dev->kind == ORIEL_CPU ? NULL : dev;
    if ((s = build(m, path, opt))) {
        oriel_model_free(&m);
        return s;
    }
    *out = m;
    return ORIEL_OK;
}

void oriel_model_free(oriel_model **mp)
{
    if (!mp || !*mp)
        return;
    oriel_model *m = *mp;
    if (m->net)
        m->kind->free(m->dev, m->net);
    replay_clear(&m->replay, m->dev);
    oriel_checkpoint_free(&m->ckpt);
    oriel_arena_free(&m->arena);
    oriel_dealloc(m);
    *mp = NULL;
}

void oriel_model_describe(const oriel_model *m, oriel_model_info *info)
{
    *info = m->info;
}

void model_tap(oriel_model *m, op_tap_fn *fn, void *user)
{
    m->tap = fn;
    m->tap_user = user;
}

int model_played(const oriel_model *m)
{
    return m->played;
}

enum { SIDE_MAX = 1 << 20 };

static oriel_status check_shape(const oriel_model *m, const int64_t shape[4])
{
    if (shape[0] < 1 || shape[0] > INT_MAX)
        return oriel_fail(ORIEL_E_ARG, "model: a batch of %lld", (long long)shape[0]);
    for (int i = 1; i < 3; i++)
        if (shape[i] < 1 || shape[i] > SIDE_MAX)
            return oriel_fail(ORIEL_E_ARG, "model: a side of %lld pixels is not 1 to %d",
                              (long long)shape[i], SIDE_MAX);
    if (shape[3] != m->info.channels)
        return oriel_fail(ORIEL_E_ARG, "model: %lld channels where the network has %d",
                          (long long)shape[3], m->info.channels);
    return ORIEL_OK;
}

/* One picture without data: what it takes. */
static oriel_status plan_one(oriel_model *m, const int64_t shape[4], run *r, oriel_tensor *in,
                             oriel_tensor *out)
{
    int64_t s = m->info.scale;
    int64_t to[3] = {shape[1] * s, shape[2] * s, shape[3]};
    *in = oriel_tensor_of(NULL, ORIEL_F32, 3, shape + 1);
    *out = oriel_tensor_of(NULL, ORIEL_F32, 3, to);
    *r = (run){.dev = m->dev, .planning = true};
    m->kind->forward(r, m->net, *in, *out);
    return r->status;
}

oriel_status oriel_model_plan(oriel_model *m, const int64_t shape_in[4], oriel_plan *plan)
{
    oriel_status s;
    oriel_tensor in, out;
    run          r;
    if (!m || !shape_in || !plan)
        return oriel_fail(ORIEL_E_ARG, "plan: an argument is missing");
    if ((s = check_shape(m, shape_in)) || (s = plan_one(m, shape_in, &r, &in, &out)))
        return s;
    *plan = (oriel_plan){.activation_bytes = r.arena.peak, .flops = r.flops * (double)shape_in[0],
                          .map_bytes = r.map_bytes * (double)shape_in[0]};
    plan->shape_out[0] = shape_in[0];
    memcpy(plan->shape_out + 1, out.shape, 3 * sizeof(int64_t));
    return ORIEL_OK;
}

/* ---- memory ------------------------------------------------------------------------------- */

/* What a run on a GPU takes beside its arena, which is made before it: kernels are loaded at their first launch,
 * and operations keep scratch memory. */
enum { SPARE = 64 << 20 };

/* The largest side of a square picture whose run takes no more than `bytes`; 0: none. */
static int64_t largest_side(oriel_model *m, size_t bytes)
{
    oriel_tensor in, out;
    run          r;
    int64_t      least = 0, beyond = SIDE_MAX + 1;
    while (beyond - least > 1) {
        int64_t side = least + (beyond - least) / 2;
        bool    fits = !plan_one(m, (int64_t[]){1, side, side, m->info.channels}, &r, &in, &out) &&
                    r.arena.peak <= bytes;
        *(fits ? &least : &beyond) = side;
    }
    return least;
}

/* `free_bytes`: without the arena of the run before. */
static oriel_status too_large(oriel_model *m, const int64_t shape[4], size_t need, size_t free_bytes)
{
    size_t  spare = m->arena.gpu ? SPARE : 0;
    int64_t side = largest_side(m, free_bytes > spare ? free_bytes - spare : 0);
    return oriel_fail(ORIEL_E_NOMEM,
                      "run: a picture of %lld x %lld takes %.1f MiB beside input and output, where %.1f MiB are free "
                      "on %s: enough for %lld x %lld",
                      (long long)shape[2], (long long)shape[1], (double)need / 1048576, (double)free_bytes / 1048576,
                      oriel_device_name(m->dev), (long long)side, (long long)side);
}

static oriel_status reserve(oriel_model *m, const int64_t shape[4], size_t need)
{
    oriel_status s;
    size_t       free_bytes, all;
    if (m->arena.size >= need)
        return oriel_arena_reserve(&m->arena, need);
    replay_clear(&m->replay, m->dev);
    oriel_arena_free(&m->arena); /* the run before needs it no more: its bytes count as free */
    if (m->arena.gpu) {
        if ((s = oriel_memory_info(m->dev, &free_bytes, &all)))
            return s;
        if (free_bytes < SPARE || need > free_bytes - SPARE)
            return too_large(m, shape, need, free_bytes);
    }
    s = oriel_arena_reserve(&m->arena, need);
    if (s == ORIEL_E_NOMEM && !oriel_memory_info(m->dev, &free_bytes, &all))
        return too_large(m, shape, need, free_bytes);
    return s;
}

/* ---- running ------------------------------------------------------------------------------ */

static oriel_status check_tensors(const oriel_model *m, const oriel_tensor *in,
                                  const oriel_tensor *out)
{
    oriel_status s;
    char         have[128], want[128];
    if (!in->data || !out->data || in->dtype != ORIEL_F32 || out->dtype != ORIEL_F32 ||
        in->ndim != 4 || out->ndim != 4 || !oriel_tensor_packed(in) || !oriel_tensor_packed(out))
        return oriel_fail(ORIEL_E_ARG, "run: input and output must be packed f32 (B, Y, X, C)");
    if ((s = check_shape(m, in->shape)))
        return s;
    int64_t shape[4] = {in->shape[0], in->shape[1] * m->info.scale, in->shape[2] * m->info.scale,
                        in->shape[3]};
    if (memcmp(shape, out->shape, sizeof shape)) {
        oriel_tensor due = oriel_tensor_of(NULL, ORIEL_F32, 4, shape);
        return oriel_fail(ORIEL_E_ARG, "run: output is %s where %s is due",
                          oriel_tensor_str(out, have, sizeof have),
                          oriel_tensor_str(&due, want, sizeof want));
    }
    if (!m->dev->is->reaches(m->dev, in->data) || !m->dev->is->reaches(m->dev, out->data))
        return oriel_fail(ORIEL_E_ARG, "run: input and output must lie in the memory of %s", m->dev->name);
    return ORIEL_OK;
}

static replay_row *find_row(oriel_model *m, const oriel_tensor *in, const oriel_tensor *out)
{
    replay_key key = {.in = in->data, .out = out->data, .arena = m->arena.base};
    memcpy(key.shape, in->shape, sizeof key.shape);
    return replay_find(&m->replay, m->dev, &key);
}

/* Call by call: forward() on each picture of the batch. */
static oriel_status run_calls(oriel_model *m, const run *planned, oriel_tensor in, oriel_tensor out,
                              const oriel_run_options *opt)
{
    oriel_tensor in1 = oriel_tensor_of(NULL, ORIEL_F32, 3, in.shape + 1);
    oriel_tensor out1 = oriel_tensor_of(NULL, ORIEL_F32, 3, out.shape + 1);
    run          r = {.dev = m->dev,
                      .arena = m->arena,
                      .flops_total = planned->flops * (double)in.shape[0],
                      .progress = opt->progress,
                      .user = opt->user,
                      .tap = m->tap,
                      .tap_user = m->tap_user,
                      .stage = opt->stage};
    for (int64_t b = 0; b < in.shape[0] && !run_dead(&r); b++) {
        in1.data = (float *)in.data + b * in.stride[0];
        out1.data = (float *)out.data + b * out.stride[0];
        m->kind->forward(&r, m->net, in1, out1);
        oriel_arena_rewind(&r.arena, 0);
    }
    return r.status;
}

static oriel_status tell(const oriel_run_options *opt, double done)
{
    bool on = !opt->progress || opt->progress(opt->user, done);
    return on ? ORIEL_OK : oriel_fail(ORIEL_E_DEVICE, "cancelled");
}

static oriel_status play(oriel_model *m, const replay_row *row, const oriel_run_options *opt)
{
    oriel_status s = tell(opt, 0);
    if (s || (s = m->dev->is->graphs->play(m->dev, row->graph)))
        return s;
    m->played++;
    return tell(opt, 1);
}

/* Fill row->graph; a run that cannot be recorded leaves it empty, and is as if it had not been tried. */
static void record(oriel_model *m, replay_row *row, const run *planned, oriel_tensor in, oriel_tensor out)
{
    static const oriel_run_options quiet;
    const device_graphs           *g = m->dev->is->graphs;
    oriel_status                   s = g->begin(m->dev);
    if (!s) {
        s = run_calls(m, planned, in, out, &quiet);
        if (g->end(m->dev, s ? NULL : &row->graph))
            row->graph = NULL;
    }
    row->refused = !row->graph;
    if (row->refused)
        oriel_logf(ORIEL_LOG_DEBUG, "model: run call by call: %s", oriel_error());
}

oriel_status oriel_model_run(oriel_model *m, oriel_tensor in, oriel_tensor out,
                             const oriel_run_options *opt)
{
    static const oriel_run_options defaults;
    oriel_status                   s;
    oriel_tensor                   in1, out1;
    run                            planned;
    if (!m)
        return oriel_fail(ORIEL_E_ARG, "run: no model");
    if (!opt)
        opt = &defaults;
    if ((s = m->dev->is->enter(m->dev)) || (s = check_tensors(m, &in, &out)))
        return s;
    bool        may_play = m->dev->is->graphs && !m->tap && !opt->stage;
    replay_row *row = may_play ? find_row(m, &in, &out) : NULL;
    if (row && row->graph)
        return play(m, row, opt);
    if ((s = plan_one(m, in.shape, &planned, &in1, &out1)) || (s = reserve(m, in.shape, planned.arena.peak)))
        return s;
    if (row && row->seen && !row->refused) /* a row of an arena that has gone is empty */
        record(m, row, &planned, in, out);
    if (row && row->graph)
        return play(m, row, opt);
    if ((s = run_calls(m, &planned, in, out, opt)))
        return s;
    if (may_play)
        find_row(m, &in, &out)->seen = true; /* anew: the arena may have moved */
    return tell(opt, 1);
}
