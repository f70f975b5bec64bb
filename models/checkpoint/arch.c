/* SPDX-License-Identifier: Apache-2.0 */
/* Fingerprints: which architecture a set of names belongs to. The first row whose keys are all
 * present wins, so those whose names contain another's come before it. */

#include "models/checkpoint/arch.h"

/* Alternatives are split by '|'; a key that ends with '*' is a prefix. */
#define GROUP "layers.0.residual_group."
#define BLOCK GROUP "blocks.0."
static const struct {
    ckpt_arch arch;
    const char *key[3];
} fingerprint[] = {
    {CKPT_HAT, {GROUP "overlap_attn.qkv.weight", BLOCK "conv_block.cab.0.weight"}},
    {CKPT_ATD, {GROUP "td"}},
    {CKPT_SRFORMER, {BLOCK "attn.aligned_relative_position_index"}},
    {CKPT_SRFORMER,
     {BLOCK "attn.q.weight", BLOCK "attn.kv.weight", BLOCK "mlp.dwconv.depthwise_conv.0.weight"}},
    {CKPT_DRCT, {"layers.0.swin1.attn.qkv.weight", "layers.0.adjust1.weight"}},
    {CKPT_CRAFT, {GROUP "hf_blocks.0.attn.temperature"}},
    {CKPT_HIT_SR, {BLOCK "correlation.qv.linear.weight"}},
    {CKPT_CAT, {"layers.0.blocks.0.attns.0.pos.pos_proj.weight", "before_RG.1.weight"}},
    {CKPT_SWIN2SR, {BLOCK "attn.logit_scale", "patch_embed.proj.weight", "conv_first.weight"}},
    {CKPT_SWINIR,
     {BLOCK "attn.relative_position_bias_table", "conv_first.weight|conv_first.1.weight"}},
    {CKPT_CAMIXERSR, {"global_predictor.0.weight", "head.weight", "body.*"}},
    {CKPT_NGSWIN, {"encoder_layer1.blocks.0.ngram_window_partition.*"}},
    {CKPT_IMDTN,
     {"fea_conv.weight",
      "IMDTB1.transformer.residual_group.blocks.0.attn.relative_position_bias_table"}},
    {CKPT_MOBILESR, {"head.weight", "body.layers.0.0.attn.qkv.weight", "upsapling.0.weight"}},
    {CKPT_ELAN,
     {"head.weight", "body.0.modules_lfe.0.lfe.0.weight",
      "body.0.modules_gmsa.0.project_inp.0.weight"}},
    {CKPT_RFDETR,
     {"backbone.0.encoder.encoder.encoder.layer.0.attention.attention.query.weight",
      "transformer.decoder.layers.0.cross_attn.sampling_offsets.weight"}},
    {CKPT_LWDETR,
     {"backbone.0.encoder.blocks.0.attn.q_bias",
      "transformer.decoder.layers.0.cross_attn.sampling_offsets.weight"}},
    {CKPT_VITDET, {"backbone.net.blocks.0.attn.rel_pos_h", "proposal_generator.rpn_head.*"}},
    {CKPT_SAM_ENCODER, {"image_encoder.blocks.0.attn.rel_pos_h"}},
    {CKPT_SWIN_RCNN,
     {"backbone.layers.0.blocks.0.attn.relative_position_bias_table", "roi_head.bbox_head.*"}},
    {CKPT_SWIN_V2, {"layers.0.blocks.0.attn.cpb_mlp.0.weight", "head.weight|head.fc.weight"}},
    {CKPT_SWIN_V1,
     {"layers.0.blocks.0.attn.relative_position_bias_table", "patch_embed.proj.weight",
      "head.weight|head.fc.weight"}},
    {CKPT_NAT, {"levels.0.blocks.0.attn.rpb"}},
    {CKPT_CSWIN, {"stage1.0.attns.0.get_v.weight", "merge1.conv.weight"}},
    {CKPT_FASTERVIT, {"levels.2.blocks.0.hat_attn.*|levels.2.global_tokenizer.*"}},
    {CKPT_MVITV2, {"blocks.0.attn.pool_q.weight|blocks.0.attn.norm_q.weight"}},
};

static const char *const names[CKPT_ARCH_COUNT] = {
    [CKPT_HAT] = "HAT",
    [CKPT_ATD] = "ATD",
    [CKPT_SRFORMER] = "SRFormer",
    [CKPT_DRCT] = "DRCT",
    [CKPT_CRAFT] = "CRAFT",
    [CKPT_HIT_SR] = "HiT-SR",
    [CKPT_CAT] = "CAT",
    [CKPT_SWIN2SR] = "Swin2SR",
    [CKPT_SWINIR] = "SwinIR",
    [CKPT_CAMIXERSR] = "CAMixerSR",
    [CKPT_NGSWIN] = "NGswin",
    [CKPT_IMDTN] = "IMDTN",
    [CKPT_MOBILESR] = "MobileSR",
    [CKPT_ELAN] = "ELAN",
    [CKPT_RFDETR] = "RF-DETR",
    [CKPT_LWDETR] = "LW-DETR",
    [CKPT_VITDET] = "ViTDet",
    [CKPT_SAM_ENCODER] = "SAM image encoder",
    [CKPT_SWIN_RCNN] = "Swin R-CNN",
    [CKPT_SWIN_V2] = "Swin v2",
    [CKPT_SWIN_V1] = "Swin",
    [CKPT_NAT] = "NAT",
    [CKPT_CSWIN] = "CSWin",
    [CKPT_FASTERVIT] = "FasterViT",
    [CKPT_MVITV2] = "MViTv2",
};

const char *ckpt_arch_name(ckpt_arch a)
{
    return a > CKPT_UNKNOWN && a < CKPT_ARCH_COUNT ? names[a] : NULL;
}

/* Is `key`, or a name that begins with it, among the names? */
static bool present(const ckpt_text *sorted, size_t n, size_t strip, ckpt_text key)
{
    bool prefix = key.n && key.s[key.n - 1] == '*';
    key.n -= prefix;
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        ckpt_text name = {sorted[mid].s + strip, sorted[mid].n - strip};
        if (ckpt_text_cmp(name, key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == n)
        return false;
    ckpt_text name = {sorted[lo].s + strip, sorted[lo].n - strip};
    return name.n >= key.n && (prefix || name.n == key.n) && !memcmp(name.s, key.s, key.n);
}

static bool any_present(const ckpt_text *sorted, size_t n, size_t strip, const char *keys)
{
    for (const char *p = keys; *p;) {
        size_t len = strcspn(p, "|");
        if (present(sorted, n, strip, (ckpt_text){p, len}))
            return true;
        p += len + (p[len] == '|');
    }
    return false;
}

ckpt_arch ckpt_detect(const ckpt_text *sorted, size_t n, size_t strip)
{
    for (size_t i = 0; i < sizeof fingerprint / sizeof *fingerprint; i++) {
        bool all = true;
        for (int k = 0; k < 3 && all && fingerprint[i].key[k]; k++)
            all = any_present(sorted, n, strip, fingerprint[i].key[k]);
        if (all)
            return fingerprint[i].arch;
    }
    return CKPT_UNKNOWN;
}

bool ckpt_is_buffer(const char *name)
{
    static const char *const buffers[] = {
        "attn_mask",
        "attn_mask_0",
        "attn_mask_1",
        "mask",
        "relative_position_index",
        "running_mean",
        "running_var",
        "rpe_biases",
        "relative_coords_table",
        "num_batches_tracked",
    };
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (!strcmp(last, buffers[i]))
            return true;
    return false;
}
