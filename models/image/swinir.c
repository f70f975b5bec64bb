/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SwinIR: image restoration with shifted windows. Liang et al. 2021, arXiv 2108.10257.
 *
 *   image -> normalise -> conv -> f
 *   f -> norm -> [ group ] x n -> norm -> conv -> + f -> upsampler -> denormalise -> image
 *   group = [ block ] x depth -> conv -> + its input; odd blocks shift their windows by half
 *
 * Upsamplers, by their tensors: pixelshuffle (classical), pixelshuffledirect (lightweight),
 * nearest+conv (real-world), none (denoising and JPEG: the network predicts what to add).
 * Weights: the authors' names. Activations: (Y, X, C), of which three are alive at a time.
 *
 * Details that have caused bugs: mean and range are not in the file (mean for RGB only; range 255
 * exactly when the window is 7). LeakyReLU is 0.01 before the upsampler, 0.2 in it and in the
 * 3-convolution groups. The mask is -100, not -infinity. Stored attn_mask and
 * relative_position_index are for the training size: not read. Range and mean of the output are
 * folded into the last convolution.
 */
#include <math.h>
#include <stdio.h>

#include "attn2d3d/block.h"
#include "models/bind.h"
#include "models/chain.h"

enum { MAX_GROUPS = 32, MAX_DEPTH = 64 };

typedef enum upsampler { NONE, SHUFFLE, SHUFFLE_DIRECT, NEAREST_CONV } upsampler;

typedef struct config {
    int       dim, heads, window, hidden, groups, channels, scale;
    int       depth[MAX_GROUPS];
    bool      three; /* three convolutions behind a group, not one */
    upsampler up;
    int       features; /* between body and output: 64 */
    float     range, mean[4];
    oriel_dtype operand; /* of products */
    oriel_dtype last;    /* of those that make the picture: f32 on CPUs, where they are few; the same on a GPU, whose
                            f32 is slow beside its tensor cores */
    oriel_pad pad;
} config;

typedef struct tail { /* one or three convolutions C -> C */
    op_conv    conv[3];
    chain_step step[3];
    int        n;
} tail;

typedef struct group {
    attn_block block[MAX_DEPTH];
    tail       tail;
} group;

typedef struct swinir {
    config     c;
    op_conv    first;
    op_norm    norm_in, norm;
    group     *group; /* c.groups */
    tail       body;
    op_conv    up[8];
    chain_step step[8];
    int        steps;
} swinir;

/* ---- configuration ------------------------------------------------------------------------ */

static oriel_status odd(const char *what)
{
    return oriel_fail(ORIEL_E_UNSUPPORTED, "SwinIR: %s", what);
}

static oriel_status read_upsampler(config *c, const binder *b)
{
    int out = c->channels;
    int64_t features = bind_size(b, 0, "conv_before_upsample.0.weight");
    if (features > 1024)
        return odd("more than 1024 channels behind conv_before_upsample");
    c->features = (int)features;
    if (bind_has(b, "conv_up1.weight")) {
        c->up = NEAREST_CONV;
        c->scale = bind_has(b, "conv_up2.weight") ? 4 : 2;
    } else if (c->features) {
        c->up = SHUFFLE;
        c->scale = 1;
        for (int i = 0; c->scale <= 16 && bind_has(b, "upsample.%d.weight", i); i += 2) {
            int64_t n = bind_size(b, 0, "upsample.%d.weight", i);
            c->scale *= n == 4 * (int64_t)c->features ? 2 : n == 9 * (int64_t)c->features ? 3 : 0;
        }
        if (c->scale < 2 || c->scale > 16)
            return odd("upsample.* are not PixelShuffle steps of 2 or 3");
    } else if (bind_has(b, "upsample.0.weight")) {
        int64_t n = bind_size(b, 0, "upsample.0.weight");
        c->up = SHUFFLE_DIRECT;
        for (c->scale = 2; c->scale <= 16 && c->scale * c->scale * out != n; c->scale++)
            ;
        if (c->scale > 16)
            return odd("upsample.0 is not a PixelShuffle to the picture's channels");
    } else {
        c->up = NONE;
        c->scale = 1;
    }
    return ORIEL_OK;
}

static oriel_status read_config(config *c, const binder *b)
{
    static const float rgb[3] = {0.4488f, 0.4371f, 0.4040f};
    const char        *table = "layers.0.residual_group.blocks.0.attn.relative_position_bias_table";
    if (bind_has(b, "conv_first.1.weight"))
        return odd("a network behind PixelUnshuffle (conv_first.1) is not known here");
    if (bind_has(b, "absolute_pos_embed"))
        return odd("absolute position embeddings tie it to one size");
    c->dim = (int)bind_size(b, 0, "conv_first.weight");
    c->channels = (int)bind_size(b, 1, "conv_first.weight");
    c->heads = (int)bind_size(b, 1, "%s", table);
    c->window = ((int)lround(sqrt((double)bind_size(b, 0, "%s", table))) + 1) / 2;
    c->hidden = (int)bind_size(b, 0, "layers.0.residual_group.blocks.0.mlp.fc1.weight");
    while (c->groups < MAX_GROUPS &&
           bind_has(b, "layers.%d.residual_group.blocks.0.norm1.weight", c->groups)) {
        int *d = &c->depth[c->groups];
        while (*d < MAX_DEPTH &&
               bind_has(b, "layers.%d.residual_group.blocks.%d.norm1.weight", c->groups, *d))
            ++*d;
        c->groups++;
    }
    if (c->dim < 1 || c->dim > 1024 || c->heads < 1 || c->dim % c->heads || c->hidden < 1 ||
        c->hidden > 16384 || c->groups < 1)
        return odd("embedding, heads, hidden size or groups do not fit together");
    if (c->window < 2 || c->window > 32)
        return odd("windows are 2 to 32 pixels");
    if (c->channels != 1 && c->channels != 3)
        return odd("pictures of 1 or 3 channels are meant");
    c->three = !bind_has(b, "conv_after_body.weight");
    c->range = c->window == 7 ? 255.f : 1.f;
    if (c->channels == 3)
        memcpy(c->mean, rgb, sizeof rgb);
    return read_upsampler(c, b);
}

/* ---- weights ------------------------------------------------------------------------------ */

static void bind_block(binder *b, attn_block *w, const config *c, int g, int i)
{
#define AT "layers.%d.residual_group.blocks.%d."
    int             side = 2 * c->window - 1;
    int64_t         C[1] = {c->dim}, F[1] = {c->hidden}, C3[1] = {3 * c->dim};
    int64_t         CC[2] = {c->dim, c->dim}, qkv[2] = {3 * c->dim, c->dim};
    int64_t         fc1[2] = {c->hidden, c->dim}, fc2[2] = {c->dim, c->hidden};
    int64_t         table[2] = {side * side, c->heads};
    attn_block_data d = {.c = c->dim, .heads = c->heads, .window = c->window, .hidden = c->hidden,
                         .eps = 1e-5f};
    d.norm1_gamma = bind_tensor(b, 1, C, AT "norm1.weight", g, i);
    d.norm1_beta = bind_tensor(b, 1, C, AT "norm1.bias", g, i);
    d.norm2_gamma = bind_tensor(b, 1, C, AT "norm2.weight", g, i);
    d.norm2_beta = bind_tensor(b, 1, C, AT "norm2.bias", g, i);
    d.qkv = bind_tensor(b, 2, qkv, AT "attn.qkv.weight", g, i);
    d.qkv_bias = bind_tensor(b, 1, C3, AT "attn.qkv.bias", g, i);
    d.proj = bind_tensor(b, 2, CC, AT "attn.proj.weight", g, i);
    d.proj_bias = bind_tensor(b, 1, C, AT "attn.proj.bias", g, i);
    d.fc1 = bind_tensor(b, 2, fc1, AT "mlp.fc1.weight", g, i);
    d.fc1_bias = bind_tensor(b, 1, F, AT "mlp.fc1.bias", g, i);
    d.fc2 = bind_tensor(b, 2, fc2, AT "mlp.fc2.weight", g, i);
    d.fc2_bias = bind_tensor(b, 1, C, AT "mlp.fc2.bias", g, i);
    d.bias_table = bind_tensor(b, 2, table, AT "attn.relative_position_bias_table", g, i);
#undef AT
    if (!b->status)
        bind_fail(b, attn_block_pack(b->dev, w, &d, c->operand));
    b->bytes += w->bytes;
    bind_release(b);
}

static void bind_tail(binder *b, tail *t, const config *c, const char *name)
{
    int C = c->dim, quarter = C / 4;
    if (!c->three) {
        t->n = 1;
        bind_conv(b, &t->conv[0], &(bind_conv_how){.n = C, .k = C, .kernel = 3, .operand = c->operand},
                  "%s", name);
    } else {
        t->n = 3;
        bind_conv(b, &t->conv[0],
                  &(bind_conv_how){.n = quarter, .k = C, .kernel = 3, .operand = c->operand}, "%s.0", name);
        bind_conv(b, &t->conv[1],
                  &(bind_conv_how){.n = quarter, .k = quarter, .kernel = 1, .operand = c->operand}, "%s.2",
                  name);
        bind_conv(b, &t->conv[2],
                  &(bind_conv_how){.n = C, .k = quarter, .kernel = 3, .operand = c->operand}, "%s.4", name);
    }
    for (int i = 0; i < t->n; i++)
        t->step[i] = (chain_step){.conv = &t->conv[i], .leaky = i + 1 < t->n ? 0.2f : 0.f};
    bind_release(b);
}

/* The next step of the upsampler: a convolution (name) or, without one, nearest x 2. */
static void bind_step(binder *b, swinir *m, bind_conv_how how, float leaky, const char *name)
{
    op_conv *conv = &m->up[m->steps];
    m->step[m->steps++] = (chain_step){.conv = name ? conv : NULL, .leaky = leaky};
    if (name)
        bind_conv(b, conv, &how, "%s", name);
}

static void bind_upsampler(binder *b, swinir *m)
{
    const config *c = &m->c;
    int           f = c->features, out = c->channels;
    bind_conv_how mid = {.n = f, .k = f, .kernel = 3, .operand = c->operand};
    bind_conv_how into = {.n = f, .k = c->dim, .kernel = 3, .operand = c->operand};
    bind_conv_how last = {.n = out, .k = c->up == NONE ? c->dim : f, .kernel = 3,
                          .operand = c->last, .scale = 1.f / c->range, .add = c->up == NONE ? NULL : c->mean};
    if (c->up == SHUFFLE_DIRECT) {
        bind_conv_how direct = {.n = out * c->scale * c->scale, .k = c->dim, .kernel = 3,
                                .shuffle = c->scale, .operand = c->last, .scale = 1.f / c->range, .add = c->mean};
        bind_step(b, m, direct, 0.f, "upsample.0");
        return;
    }
    if (c->up != NONE)
        bind_step(b, m, into, 0.01f, "conv_before_upsample.0");
    if (c->up == SHUFFLE) {
        for (int left = c->scale, i = 0; left > 1; i += 2) {
            char name[32];
            snprintf(name, sizeof name, "upsample.%d", i);
            int r = bind_size(b, 0, "%s.weight", name) == 9 * (int64_t)f ? 3 : 2;
            bind_step(b, m, (bind_conv_how){.n = f * r * r, .k = f, .kernel = 3, .shuffle = r,
                                            .operand = c->operand}, 0.f, name);
            left /= r;
        }
    } else if (c->up == NEAREST_CONV) {
        bind_step(b, m, mid, 0.f, NULL);
        bind_step(b, m, mid, 0.2f, "conv_up1");
        if (c->scale == 4) {
            bind_step(b, m, mid, 0.f, NULL);
            bind_step(b, m, mid, 0.2f, "conv_up2");
        }
        bind_step(b, m, mid, 0.2f, "conv_hr");
    }
    bind_step(b, m, last, 0.f, "conv_last");
}

/* The one list of weights: names, shapes, loads, counts. */
static oriel_status bind(binder *b, swinir *m)
{
    const config *c = &m->c;
    bind_conv(b, &m->first, &(bind_conv_how){.n = c->dim, .k = c->channels, .kernel = 3},
              "conv_first");
    bind_norm(b, &m->norm_in, c->dim, 1e-5f, "patch_embed.norm");
    bind_norm(b, &m->norm, c->dim, 1e-5f, "norm");
    for (int g = 0; g < c->groups && !b->status; g++) {
        char name[32];
        for (int i = 0; i < c->depth[g] && !b->status; i++)
            bind_block(b, &m->group[g].block[i], c, g, i);
        snprintf(name, sizeof name, "layers.%d.conv", g);
        bind_tail(b, &m->group[g].tail, c, name);
    }
    bind_tail(b, &m->body, c, "conv_after_body");
    bind_upsampler(b, m);
    bind_release(b);
    return b->status;
}

static void swinir_free(oriel_device *dev, void *net)
{
    swinir *m = net;
    op_conv_unpack(dev, &m->first);
    op_norm_unpack(dev, &m->norm_in);
    op_norm_unpack(dev, &m->norm);
    for (int g = 0; m->group && g < m->c.groups; g++) {
        for (int i = 0; i < m->c.depth[g]; i++)
            attn_block_unpack(dev, &m->group[g].block[i]);
        for (int i = 0; i < 3; i++)
            op_conv_unpack(dev, &m->group[g].tail.conv[i]);
    }
    for (int i = 0; i < 3; i++)
        op_conv_unpack(dev, &m->body.conv[i]);
    for (int i = 0; i < 8; i++)
        op_conv_unpack(dev, &m->up[i]);
    oriel_dealloc(m->group);
    oriel_dealloc(m);
}

static oriel_status swinir_open(void **net, oriel_device *dev, const oriel_checkpoint *c,
                                const oriel_model_options *opt, oriel_model_info *info)
{
    binder       b = {.dev = dev, .c = c};
    oriel_status s;
    swinir      *m = oriel_alloc_zero(1, sizeof *m);
    if (!m)
        return ORIEL_E_NOMEM;
    *net = m;
    m->c.operand = model_operand(opt->precision);
    m->c.last = dev->kind == ORIEL_CPU ? ORIEL_F32 : m->c.operand;
    m->c.pad = opt->pad;
    if ((s = read_config(&m->c, &b)))
        goto done;
    if (!(m->group = oriel_alloc_zero((size_t)m->c.groups, sizeof *m->group))) {
        s = ORIEL_E_NOMEM;
        goto done;
    }
    if ((s = bind(&b, m)) || (s = bind_end(&b)))
        goto done;
    info->scale = m->c.scale;
    info->channels = m->c.channels;
    info->window = m->c.window;
    info->task = m->c.scale > 1 ? "upscale" : m->c.window == 7 ? "jpeg" : "denoise";
    info->weight_bytes = b.bytes;
done:
    if (s) {
        bind_fail(&b, s);
        bind_end(&b);
        swinir_free(dev, m);
        *net = NULL;
    }
    return s;
}

/* ---- forward ------------------------------------------------------------------------------ */

/* Sizes after padding: to multiples of the window; the authors' program first adds 1 to `window`
 * pixels, or as many as there are. */
static int padded(const config *c, int64_t n, int *first)
{
    int w = c->window;
    *first = 0;
    if (c->pad == ORIEL_PAD_SYMMETRIC)
        *first = (int)oriel_min((n / w + 1) * w, 2 * n);
    return (int)oriel_round_up(*first ? *first : n, w);
}

static void group_fwd(run *r, const config *c, const group *g, int index, op_map t, op_map u)
{
    for (int i = 0; i < c->depth[index]; i++) {
        attn_block_run(r, u, i ? u : t, &g->block[i], i % 2 ? c->window / 2 : 0);
        run_tap(r, "block", index * 100 + i, u);
    }
    chain_run(r, t, u, &t, g->tail.step, g->tail.n);
    run_tap(r, "group", index, t);
    run_stage(r, "group");
}

static void swinir_forward(run *r, const void *net, oriel_tensor in, oriel_tensor out)
{
    const swinir *m = net;
    const config *c = &m->c;
    int           first_y, first_x;
    int           ny = padded(c, in.shape[0], &first_y), nx = padded(c, in.shape[1], &first_x);
    op_map        f = op_map_new(r, ny, nx, c->dim);
    size_t        mark = oriel_arena_mark(&r->arena);
    op_map        x = op_map_new(r, ny, nx, c->channels);
    op_input_call input = {.x = in, .y = x, .first_y = first_y, .first_x = first_x,
                           .scale = c->range};
    memcpy(input.mean, c->mean, sizeof input.mean);
    op_input(r, &input);
    run_stage(r, "input");
    op_conv_run(r, &(op_conv_call){.w = &m->first, .x = x, .y = f});
    run_tap(r, "first", 0, f);
    oriel_arena_rewind(&r->arena, mark);

    op_map t = op_map_new(r, ny, nx, c->dim), u = op_map_new(r, ny, nx, c->dim);
    op_norm_run(r, t, f, &m->norm_in);
    run_stage(r, "first convolution");
    for (int g = 0; g < c->groups; g++)
        group_fwd(r, c, &m->group[g], g, t, u);
    op_norm_run(r, t, t, &m->norm);
    chain_run(r, f, t, &f, m->body.step, m->body.n);
    run_tap(r, "body", 0, f);
    run_stage(r, "body convolution");
    oriel_arena_rewind(&r->arena, mark);

    op_map to = {.t = out, .height = ny * c->scale};
    op_map from = {.t = in, .height = ny};
    chain_run(r, to, f, c->up == NONE ? &from : NULL, m->step, m->steps);
    run_stage(r, "upsampler");
}

const model_kind model_swinir = {
    .arch = CKPT_SWINIR, .open = swinir_open, .free = swinir_free, .forward = swinir_forward};
