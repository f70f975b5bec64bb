/* SPDX-License-Identifier: Apache-2.0 */
/* Hyper-parameters from the shapes of tensors, as one line of text for people. What the tensors do
 * not say is not said. */

#include <math.h>
#include <stdio.h>

#include "models/checkpoint/arch.h"

typedef struct line {
    const oriel_checkpoint *c;
    char *buf;
    size_t size, n;
} line;

static void say(line *l, const char *format, ...) ORIEL_PRINTF(2, 3);

static void say(line *l, const char *format, ...)
{
    char part[128];
    va_list args;
    va_start(args, format);
    vsnprintf(part, sizeof part, format, args);
    va_end(args);
    int n = snprintf(l->buf + l->n, l->size - l->n, "%s%s", l->n ? ", " : "", part);
    if (n < 0 || (size_t)n >= l->size - l->n)
        l->buf[l->n] = 0; /* a part that does not fit is left out whole */
    else
        l->n += (size_t)n;
}

/* Axis `axis` of the tensor of this name, given as for printf; -1 if there is none, or if it is
 * beyond what a network has. */
static int64_t dim(const line *l, int axis, const char *format, ...) ORIEL_PRINTF(3, 4);

static int64_t dim(const line *l, int axis, const char *format, ...)
{
    char name[160];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const oriel_tensor *t = ckpt_find(l->c, name);
    return t && axis < t->ndim && t->shape[axis] < 1 << 24 ? t->shape[axis] : -1;
}

/* The root of a square; -1 if it is none */
static int64_t root(int64_t n)
{
    int64_t r = n > 0 ? (int64_t)(sqrt((double)n) + 0.5) : -1;
    return r > 0 && r * r == n ? r : -1;
}

/* Numbers by group, once if all are the same, up to the first that is below 1 */
static void say_list(line *l, const char *what, const int64_t *v, int n, bool merge)
{
    char text[96];
    size_t at = 0;
    int count = 0, same = 0;
    while (count < n && v[count] > 0)
        count++;
    while (same < count && v[same] == v[0])
        same++;
    if (merge && same == count && count)
        count = 1;
    text[0] = 0;
    for (int i = 0; i < count && at < sizeof text - 24; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, " %lld", (long long)v[i]);
    if (count)
        say(l, "%s%s", what, text);
}

enum { MAX_GROUPS = 24, MAX_DEPTH = 64 };

/* How many blocks each group has: the first block of none is where the groups end. The format takes
 * the group and the block. */
static void say_depths(line *l, const char *what, const char *format, int first_group)
{
    int64_t depth[MAX_GROUPS] = {0};
    char name[160];
    for (int g = 0; g < MAX_GROUPS; g++) {
        for (int b = 0; b < MAX_DEPTH; b++) {
            const char *group = strstr(format, "%g"), *block = group ? strstr(group, "%b") : NULL;
            if (!group || !block)
                return;
            snprintf(name, sizeof name, "%.*s%d%.*s%d%s", (int)(group - format), format,
                     g + first_group, (int)(block - group - 2), group + 2, b, block + 2);
            if (!ckpt_find(l->c, name))
                break;
            depth[g]++;
        }
        if (!depth[g])
            break;
    }
    say_list(l, what, depth, MAX_GROUPS, false);
}

static void say_mlp(line *l, int64_t hidden, int64_t embed)
{
    if (hidden > 0 && embed > 0)
        say(l, "mlp %g", (double)hidden / (double)embed);
}

/* ---- the SwinIR family --------------------------------------------------------------------------
 */

typedef struct tail {
    int64_t scale;
    const char *upsampler;
} tail;

static tail find_tail(const line *l, int64_t channels)
{
    tail t = {1, "no upsampler"};
    if (dim(l, 0, "conv_up1.weight") > 0)
        return (tail){dim(l, 0, "conv_up2.weight") > 0 ? 4 : 2, "nearest+conv"};
    if (dim(l, 0, "conv_before_upsample.0.weight") <= 0) {
        int64_t out = dim(l, 0, "upsample.0.weight");
        if (out > 0)
            t = (tail){channels > 0 ? root(out / channels) : -1, "pixelshuffledirect"};
        return t;
    }
    t.upsampler = dim(l, 0, "conv_aux.weight") > 0 ? "pixelshuffle_aux" : "pixelshuffle";
    for (int i = 0; i < 8; i += 2) { /* each step shuffles 2 x 2 or 3 x 3 */
        int64_t out = dim(l, 0, "upsample.%d.weight", i), in = dim(l, 1, "upsample.%d.weight", i);
        if (out > 0 && in > 0)
            t.scale *= root(out / in);
    }
    return t;
}

/* Side of the window, from the rows of the bias table of group 0 */
static int64_t find_window(const line *l)
{
    int64_t rows = dim(l, 0, "layers.0.residual_group.blocks.0.attn.relative_position_bias_table");
    if (l->c->arch == CKPT_SRFORMER) {
        int64_t r = root(rows);
        return r > 0 ? r + 1 : -1;
    }
    if (l->c->arch == CKPT_DRCT)
        rows = dim(l, 0, "layers.0.swin1.attn.relative_position_bias_table");
    if (l->c->arch == CKPT_SWIN2SR) /* its table is computed; the index has w^4 entries */
        return root(dim(l, 0, "layers.0.residual_group.blocks.0.attn.relative_position_index"));
    int64_t r = root(rows);
    return r > 0 ? (r + 1) / 2 : -1;
}

static void say_heads(line *l)
{
    int64_t heads[MAX_GROUPS] = {0};
    for (int g = 0; g < MAX_GROUPS; g++) {
        const char *block = "residual_group.blocks.0";
        switch (l->c->arch) {
        case CKPT_DRCT:
            heads[g] =
                g < 5 ? dim(l, 1, "layers.0.swin%d.attn.relative_position_bias_table", g + 1) : -1;
            break;
        case CKPT_SWIN2SR:
            heads[g] = dim(l, 0, "layers.%d.%s.attn.logit_scale", g, block);
            break;
        case CKPT_HIT_SR:
            heads[g] = dim(l, 0, "layers.%d.%s.correlation.pos.pos3.2.weight", g, block);
            break;
        default:
            heads[g] = dim(l, 1, "layers.%d.%s.attn.relative_position_bias_table", g, block);
        }
    }
    say_list(l, "heads", heads, MAX_GROUPS, l->c->arch != CKPT_DRCT);
}

static void say_hat(line *l)
{
    static const char cab[] = "layers.0.residual_group.blocks.0.conv_block.cab";
    int64_t embed = dim(l, 0, "conv_first.weight");
    int64_t squeezed = dim(l, 0, "%s.0.weight", cab);
    int64_t attention = dim(l, 0, "%s.3.attention.1.weight", cab);
    if (squeezed > 0)
        say(l, "compress %lld", (long long)(embed / squeezed));
    if (attention > 0)
        say(l, "squeeze %lld", (long long)(embed / attention));
}

static const char *hit_variant(const line *l)
{
    for (size_t i = 0; i < l->c->entries; i++)
        if (strstr(l->c->entry[i].name, "ngram_context"))
            return "HiT-SNG";
    bool dwconv =
        ckpt_find(l->c, "layers.0.residual_group.blocks.0.mlp.dwconv.depthwise_conv.0.weight");
    return dwconv ? "HiT-SRF" : "HiT-SIR";
}

static void swinir_family(line *l)
{
    static const char blocks[] = "layers.%g.residual_group.blocks.%b.norm1.weight";
    int64_t embed = dim(l, 0, "conv_first.weight"), in = dim(l, 1, "conv_first.weight");
    int64_t unshuffle = 1;
    if (embed <= 0) { /* a pixel-unshuffle comes first */
        embed = dim(l, 0, "conv_first.1.weight");
        in = dim(l, 1, "conv_first.1.weight");
        unshuffle = root(in / 3) > 0 ? root(in / 3) : 1;
        in = in / (unshuffle * unshuffle);
    }
    if (l->c->arch == CKPT_HIT_SR)
        say(l, "%s", hit_variant(l));
    tail t = find_tail(l, in);
    if (t.scale > 0 && t.scale % unshuffle == 0)
        say(l, "x%lld", (long long)(t.scale / unshuffle));
    say(l, "embed %lld", (long long)embed);
    if (l->c->arch == CKPT_CRAFT) {
        say_depths(l, "depths", "layers.%g.residual_group.srwa_blocks.%b.norm1.weight", 0);
        say_depths(l, "high-frequency depths",
                   "layers.%g.residual_group.hf_blocks.%b.attn.temperature", 0);
    } else if (l->c->arch != CKPT_DRCT) {
        say_depths(
            l, "depths",
            l->c->arch == CKPT_ATD ? "layers.%g.residual_group.layers.%b.norm1.weight" : blocks, 0);
    }
    say_heads(l);
    if (find_window(l) > 0)
        say(l, "window %lld", (long long)find_window(l));
    say_mlp(l, dim(l, 0, "layers.0.residual_group.blocks.0.mlp.fc1.weight"), embed);
    if (l->c->arch == CKPT_HAT)
        say_hat(l);
    say(l, "%s", t.upsampler);
    if (!ckpt_find(l->c, "conv_after_body.weight"))
        say(l, "3conv");
    if (in > 0)
        say(l, "%lld channel%s", (long long)in, in == 1 ? "" : "s");
}

/* ---- other networks that enlarge ----------------------------------------------------------------
 */

/* A last convolution that makes scale^2 pixels of each channel */
static void say_shuffle(line *l, const char *last, const char *first, const char *embed_name)
{
    int64_t out = dim(l, 0, "%s", last), in = dim(l, 1, "%s", first);
    int64_t scale = in > 0 ? root(out / in) : -1;
    if (scale > 0)
        say(l, "x%lld", (long long)scale);
    say(l, "embed %lld", (long long)dim(l, 0, "%s", embed_name));
}

static void camixersr(line *l)
{
    say_shuffle(l, "tail.0.weight", "head.weight", "head.weight");
    say_depths(l, "depths", "body.%g.body.%b.norm1.weight", 0);
    int64_t w = root(dim(l, 1, "body.0.body.0.mixer.route.out_mask.0.weight"));
    if (w > 0)
        say(l, "window %lld", (long long)w);
}

static void ngswin(line *l)
{
    static const char block[] = "encoder_layer1.blocks.0";
    say_shuffle(l, "to_target.before_shuffle.weight", "shallow_extract.conv1.weight",
                "norm.weight");
    say_depths(l, "encoder depths", "encoder_layer%g.blocks.%b.norm1.weight", 1);
    say_depths(l, "decoder depths", "decoder_layer%g.blocks.%b.norm1.weight", 1);
    say(l, "heads %lld", (long long)dim(l, 0, "%s.attn.logit_scale", block));
    int64_t r = root(dim(l, 0, "%s.attn.relative_position_bias_table", block));
    if (r > 0)
        say(l, "window %lld", (long long)(r + 1) / 2);
    say_mlp(l, dim(l, 0, "%s.ffn.fc1.weight", block), dim(l, 1, "%s.ffn.fc1.weight", block));
}

static void imdtn(line *l)
{
    static const char block[] = "IMDTB1.transformer.residual_group.blocks.0";
    say_shuffle(l, "upsampler.0.weight", "fea_conv.weight", "fea_conv.weight");
    say_depths(l, "depths", "IMDTB%g.transformer.residual_group.blocks.%b.norm1.weight", 1);
    say(l, "heads %lld", (long long)dim(l, 1, "%s.attn.relative_position_bias_table", block));
    int64_t r = root(dim(l, 0, "%s.attn.relative_position_bias_table", block));
    if (r > 0)
        say(l, "window %lld", (long long)(r + 1) / 2);
    say_mlp(l, dim(l, 0, "%s.mlp.fc1.weight", block), dim(l, 1, "%s.mlp.fc1.weight", block));
}

static void mobilesr(line *l)
{
    int64_t scale = 1, blocks = 0;
    for (int i = 0; i < 8; i += 2) {
        int64_t out = dim(l, 0, "upsapling.%d.weight", i), in = dim(l, 1, "upsapling.%d.weight", i);
        scale *= out > 0 && in > 0 ? root(out / in) : 1;
    }
    if (scale > 0)
        say(l, "x%lld", (long long)scale);
    say(l, "embed %lld", (long long)dim(l, 0, "head.weight"));
    while (blocks < MAX_DEPTH && dim(l, 0, "body.layers.%d.0.norm1.weight", (int)blocks) > 0)
        blocks++;
    say(l, "depth %lld", (long long)blocks);
}

static void elan(line *l)
{
    int64_t blocks = 0;
    say_shuffle(l, "tail.0.weight", "head.weight", "head.weight");
    while (blocks < MAX_DEPTH && dim(l, 0, "body.%d.modules_lfe.0.lfe.0.weight", (int)blocks) > 0)
        blocks++;
    say(l, "depth %lld", (long long)blocks);
}

/* ---- classifiers and detectors ------------------------------------------------------------------
 */

static void swin(line *l)
{
    int64_t heads[MAX_GROUPS] = {0};
    bool v2 = l->c->arch == CKPT_SWIN_V2;
    for (int g = 0; g < MAX_GROUPS; g++)
        heads[g] = v2 ? dim(l, 0, "layers.%d.blocks.0.attn.logit_scale", g)
                      : dim(l, 1, "layers.%d.blocks.0.attn.relative_position_bias_table", g);
    int64_t classes = dim(l, 0, "head.weight");
    int64_t embed = dim(l, 0, "patch_embed.proj.weight");
    int64_t r = v2 ? dim(l, 1, "layers.0.blocks.0.attn.relative_coords_table")
                   : root(dim(l, 0, "layers.0.blocks.0.attn.relative_position_bias_table"));
    say(l, "embed %lld", (long long)embed);
    say_depths(l, "depths", "layers.%g.blocks.%b.norm1.weight", 0);
    say_list(l, "heads", heads, MAX_GROUPS, false);
    if (r > 0)
        say(l, "window %lld", (long long)(r + 1) / 2);
    say_mlp(l, dim(l, 0, "layers.0.blocks.0.mlp.fc1.weight"), embed);
    classes = classes > 0 ? classes : dim(l, 0, "head.fc.weight");
    say(l, "%lld classes", (long long)classes);
}

static void nat(line *l)
{
    int64_t heads[MAX_GROUPS] = {0};
    for (int g = 0; g < MAX_GROUPS; g++)
        heads[g] = dim(l, 0, "levels.%d.blocks.0.attn.rpb", g);
    say(l, "embed %lld", (long long)dim(l, 0, "levels.0.blocks.0.norm1.weight"));
    say_depths(l, "depths", "levels.%g.blocks.%b.norm1.weight", 0);
    say_list(l, "heads", heads, MAX_GROUPS, false);
    int64_t side = dim(l, 1, "levels.0.blocks.0.attn.rpb");
    if (side > 0)
        say(l, "kernel %lld", (long long)(side + 1) / 2);
    if (dim(l, 0, "head.weight") > 0)
        say(l, "%lld classes", (long long)dim(l, 0, "head.weight"));
}

static void rfdetr(line *l)
{
    static const char embed[] = "backbone.0.encoder.encoder.embeddings";
    int64_t layers = 0, windows;
    say(l, "encoder %lld", (long long)dim(l, 0, "%s.patch_embeddings.projection.bias", embed));
    int64_t patch = dim(l, 2, "%s.patch_embeddings.projection.weight", embed);
    int64_t grid = root(dim(l, 1, "%s.position_embeddings", embed) - 1);
    say(l, "patch %lld", (long long)patch);
    if (grid > 0)
        say(l, "position grid %lld", (long long)grid);
    while (layers < MAX_DEPTH &&
           dim(l, 0, "transformer.decoder.layers.%d.norm1.weight", (int)layers) > 0)
        layers++;
    say(l, "%lld decoder layers", (long long)layers);
    say(l, "%lld classes", (long long)dim(l, 0, "class_embed.weight"));
    if (ckpt_value_int(ckpt_value_at(l->c, "args.num_windows"), &windows))
        say(l, "%lld windows a side", (long long)windows);
}

void ckpt_details(const oriel_checkpoint *c, char *buf, size_t size)
{
    line l = {c, buf, size, 0};
    assert(size);
    buf[0] = 0;
    switch (c->arch) {
    case CKPT_HAT:
    case CKPT_ATD:
    case CKPT_SRFORMER:
    case CKPT_DRCT:
    case CKPT_CRAFT:
    case CKPT_HIT_SR:
    case CKPT_SWIN2SR:
    case CKPT_SWINIR:
        swinir_family(&l);
        break;
    case CKPT_CAMIXERSR:
        camixersr(&l);
        break;
    case CKPT_NGSWIN:
        ngswin(&l);
        break;
    case CKPT_IMDTN:
        imdtn(&l);
        break;
    case CKPT_MOBILESR:
        mobilesr(&l);
        break;
    case CKPT_ELAN:
        elan(&l);
        break;
    case CKPT_SWIN_V1:
    case CKPT_SWIN_V2:
        swin(&l);
        break;
    case CKPT_NAT:
        nat(&l);
        break;
    case CKPT_RFDETR:
        rfdetr(&l);
        break;
    default:
        break;
    }
}
