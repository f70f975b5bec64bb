/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors, one file and many: what is read, and what is refused and in which words. */
#include <cjson/cJSON.h>
#include <sys/stat.h>

#include "models/checkpoint/sha256.h"
#include "tests/checkpoint_samples.h"

/* "name":{...} of a header */
#define ITEM(name, type, shape, offsets)                                                           \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_good(void)
{
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"\\u00e9\"}," ITEM(
        "model.a", "F32", "[2,3]",
        "[0,24]") "," ITEM("model.b", "I16", "[4]",
                           "[25,33]") "," ITEM("model.c", "BOOL", "[]",
                                               "[24,25]") "," ITEM("model.z", "F16", "[0,7]",
                                                                   "[33,33]") "," ITEM("model.u",
                                                                                       "U64", "[1]",
                                                                                       "[33,41]") "} ";
    bytes b = safetensors(header, 41); /* nothing is aligned */
    oriel_checkpoint *c = NULL;
    CHECK_OK(ckpt_parse(&c, b.p, b.n, NULL));
    if (c) {
        oriel_checkpoint_info info = info_of(c);
        CHECK(!strcmp(info.format, "safetensors") && !*info.key && !*info.other_keys);
        CHECK_INT(info.tensors, ==, 4); /* U64 is left out */
        CHECK_INT(info.parameters, ==, 6);
        CHECK_INT(info.bytes, ==, b.n);
        CHECK(!strcmp(info.sample_keys, "a, b, c, z"));
        CHECK(!strcmp(ckpt_metadata(c, "format"), "pt"));
        CHECK(!strcmp(ckpt_metadata(c, "note"), "\xc3\xa9") && !ckpt_metadata(c, "x"));
        const oriel_tensor *t = ckpt_find(c, "a");
        const unsigned char *data = b.p + 8 + strlen(header);
        CHECK(t && t->data == data && t->ndim == 2 && t->shape[1] == 3);
        t = ckpt_find(c, "b");
        float v[4];
        CHECK(t && t->data == data + 25 && t->dtype == ORIEL_I16);
        ckpt_to_f32(t, v);
        for (int i = 0; i < 4; i++)
            CHECK_NUM(v[i], ==, 25 + 2 * i + 256 * (26 + 2 * i));
        t = ckpt_find(c, "c");
        CHECK(t && t->ndim == 0 && t->data == data + 24 && t->dtype == ORIEL_BOOL);
        CHECK(ckpt_find(c, "z") && !ckpt_find(c, "u") && !ckpt_find(c, "model.a"));
        CHECK(!ckpt_value_at(c, "args.x"));
    }
    oriel_checkpoint_free(&c);
    CHECK_FAILS(ckpt_parse(&c, b.p, b.n, &(oriel_checkpoint_options){.key = "params"}),
                ORIEL_E_ARG);
    CHECK_OK(ckpt_parse(&c, b.p, b.n, &(oriel_checkpoint_options){.key = ""}));
    oriel_checkpoint_free(&c);
    size_t opened = 0;
    for (size_t n = 0; n < b.n; n++) /* a byte less, or one more, is another file */
        opened += ckpt_parse(&c, b.p, n, NULL) == ORIEL_OK;
    CHECK_INT(opened, ==, 0);
    free(b.p);
    b = safetensors(header, 42);
    CHECK_FAILS(ckpt_parse(&c, b.p, b.n, NULL), ORIEL_E_FORMAT);
    free(b.p);
}

static void test_types(void)
{
    static const struct {
        const char *name;
        oriel_dtype type;
    } types[] = {
        {"F32", ORIEL_F32},         {"F16", ORIEL_F16},   {"BF16", ORIEL_BF16},
        {"F64", ORIEL_F64},         {"I64", ORIEL_I64},   {"I32", ORIEL_I32},
        {"I16", ORIEL_I16},         {"I8", ORIEL_I8},     {"U8", ORIEL_U8},
        {"U16", ORIEL_U16},         {"BOOL", ORIEL_BOOL}, {"F8_E4M3", ORIEL_F8_E4M3},
        {"F8_E5M2", ORIEL_F8_E5M2},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char header[256];
        size_t n = 3 * oriel_dtype_size(types[i].type);
        snprintf(header, sizeof header, "{" ITEM("x", "%s", "[3]", "[0,%zu]") "}", types[i].name,
                 n);
        bytes b = safetensors(header, n);
        oriel_checkpoint *c = NULL;
        CHECK_OK(ckpt_parse(&c, b.p, b.n, NULL));
        CHECK(c && ckpt_find(c, "x") && ckpt_find(c, "x")->dtype == types[i].type);
        oriel_checkpoint_free(&c);
        free(b.p);
    }
}

static void test_bad(void)
{
    static const struct {
        const char *header;
        size_t data;
        const char *says;
    } cases[] = {
        {"{", 0, "header of 1"},
        {"{\"a\"}", 0, "broken JSON"},
        {"{}x", 0, "broken JSON"},
        {"{\"a\":1}", 0, "no object"},
        {"{\"a\":{}}", 0, "no dtype"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__"},
        {"{" ITEM("a", "F32", "[1]", "[0,4]") "}", 3, "out of the file"},
        {"{" ITEM("a", "F32", "[1]", "[0,4]") "}", 5, "after the last tensor"},
        {"{" ITEM("a", "F32", "[2]", "[0,4]") "}", 4, "as its shape says"},
        {"{" ITEM("a", "F32", "[1]", "[0,8]") "}", 8, "as its shape says"},
        {"{" ITEM("a", "F32", "[1]", "[4,0]") "}", 4, "out of the file"},
        {"{" ITEM("a", "F32", "[1]", "[0]") "}", 4, "two numbers"},
        {"{" ITEM("a", "F32", "[1]", "[0,4,4]") "}", 4, "two numbers"},
        {"{" ITEM("a", "F32", "[1]", "[0.5,4.5]") "}", 4, "two numbers"},
        {"{" ITEM("a", "F32", "[1]", "[-4,0]") "}", 4, "two numbers"},
        {"{" ITEM("a", "F32", "[-1]", "[0,4]") "}", 4, "shape out of range"},
        {"{" ITEM("a", "F32", "[1e300]", "[0,4]") "}", 4, "shape out of range"},
        {"{" ITEM("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "shape out of range"},
        {"{" ITEM("a", "F64", "[4294967296,1073741824]", "[0,0]") "}", 0, "shape out of range"},
        {"{" ITEM("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, "shape out of range"},
        {"{" ITEM("a", "U8", "[2]", "[0,2]") "," ITEM("b", "U8", "[2]", "[1,3]") "}", 3, "overlap"},
        {"{" ITEM("a", "U8", "[1]", "[0,1]") "," ITEM("b", "U8", "[1]", "[2,3]") "}", 3, "hole"},
        {"{" ITEM("a", "U8", "[1]", "[0,1]") "," ITEM("a", "U8", "[1]", "[1,2]") "}", 2,
         "two tensors named a"},
        {"{" ITEM("", "U8", "[1]", "[0,1]") "}", 1, "empty"},
        {"{" ITEM("a\\u0000b", "U8", "[1]", "[0,1]") "}", 1, "zero byte"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes b = safetensors(cases[i].header, cases[i].data);
        oriel_checkpoint *c = NULL;
        CHECK_FAILS(ckpt_parse(&c, b.p, b.n, NULL), ORIEL_E_FORMAT);
        CHECK(!c && strstr(oriel_error(), cases[i].says));
        if (!strstr(oriel_error(), cases[i].says))
            fprintf(stderr, "  %s\n  said: %s\n", cases[i].header, oriel_error());
        free(b.p);
    }
}

/* cJSON recurses: many levels must be refused, not run out of stack. And values cost it memory. */
static void test_limits(void)
{
    enum { DEEP = 200000, MANY = 5 << 20 };
    char *header = malloc(2 * MANY + 16);
    oriel_checkpoint *c = NULL;
    if (!header)
        exit(1);
    strcpy(header, "{\"a\":");
    memset(header + 5, '[', DEEP);
    header[5 + DEEP] = 0;
    bytes b = safetensors(header, 0);
    CHECK_FAILS(ckpt_parse(&c, b.p, b.n, NULL), ORIEL_E_FORMAT);
    free(b.p);
    strcpy(header + 5, "[0");
    for (size_t i = 0; i < MANY; i++)
        memcpy(header + 7 + 2 * i, ",0", 2);
    memcpy(header + 7 + 2 * MANY, "]}", 3);
    b = safetensors(header, 0);
    CHECK_FAILS(ckpt_parse(&c, b.p, b.n, NULL), ORIEL_E_UNSUPPORTED);
    CHECK(strstr(oriel_error(), "4 M values"));
    free(b.p);
    free(header);
    b = safetensors("{}", 0);
    uint64_t huge = 100 * 1000 * 1000 + 1;
    memcpy(b.p, &huge, 8);
    CHECK_FAILS(ckpt_parse(&c, b.p, b.n, NULL), ORIEL_E_FORMAT);
    free(b.p);
}

/* Every byte changed: it opens, or it says why not; what opens stays within the data. */
static void test_damaged(void)
{
    bytes b = safetensors("{" ITEM("a.b", "F32", "[2]", "[0,8]") "," ITEM(
                              "c", "U8", "[1]", "[8,9]") ",\"__metadata__\":{\"k\":\"v\"}}",
                          9);
    size_t wrong = 0, refused = 0;
    for (size_t i = 0; i < b.n; i++)
        for (int k = 1; k < 256; k++) {
            oriel_checkpoint *c = NULL;
            b.p[i] = (unsigned char)(b.p[i] ^ k);
            oriel_status s = ckpt_parse(&c, b.p, b.n, NULL);
            wrong += !s != !!c || (s && !oriel_error()[0]);
            refused += s != ORIEL_OK;
            for (int64_t t = 0; c && t < ckpt_count(c); t++) {
                const unsigned char *p = ckpt_tensor(c, t)->data;
                wrong += p < b.p || p > b.p + b.n;
            }
            oriel_checkpoint_free(&c);
            b.p[i] = (unsigned char)(b.p[i] ^ k);
        }
    CHECK_INT(wrong, ==, 0);
    CHECK_INT(refused, >, 1000);
    free(b.p);
}

/* ---- architectures ------------------------------------------------------------------------------
 */

/* Names and what they must be taken for. Of some, the names of another are there too: the order of
 * the fingerprints decides. */
static const struct {
    const char *architecture, *names;
} fingerprints[] = {
#define BLOCK  "layers.0.residual_group.blocks.0."
#define SWINIR "conv_first.weight " BLOCK "attn.relative_position_bias_table "
    {"HAT",
     SWINIR "layers.0.residual_group.overlap_attn.qkv.weight " BLOCK "conv_block.cab.0.weight"},
    {"SwinIR", SWINIR "layers.0.residual_group.overlap_attn.qkv.weight"},
    {"ATD", SWINIR "layers.0.residual_group.td"},
    {"SRFormer", SWINIR BLOCK "attn.aligned_relative_position_index"},
    {"SRFormer", SWINIR BLOCK "attn.q.weight " BLOCK "attn.kv.weight " BLOCK
                              "mlp.dwconv.depthwise_conv.0.weight"},
    {"DRCT", "conv_first.weight layers.0.swin1.attn.qkv.weight layers.0.adjust1.weight"},
    {"CRAFT", "conv_first.weight layers.0.residual_group.hf_blocks.0.attn.temperature"},
    {"HiT-SR", "conv_first.weight " BLOCK "correlation.qv.linear.weight"},
    {"CAT", "layers.0.blocks.0.attns.0.pos.pos_proj.weight before_RG.1.weight"},
    {"Swin2SR", SWINIR BLOCK "attn.logit_scale patch_embed.proj.weight"},
    {"SwinIR", SWINIR},
    {"SwinIR", "conv_first.1.weight " BLOCK "attn.relative_position_bias_table"},
    {"CAMixerSR", "head.weight global_predictor.0.weight body.3.x"},
    {"NGswin", "encoder_layer1.blocks.0.ngram_window_partition.x"},
    {"RF-DETR", "backbone.0.encoder.encoder.encoder.layer.0.attention.attention.query.weight "
                "transformer.decoder.layers.0.cross_attn.sampling_offsets.weight"},
    {"LW-DETR", "backbone.0.encoder.blocks.0.attn.q_bias "
                "transformer.decoder.layers.0.cross_attn.sampling_offsets.weight"},
    {"ViTDet", "backbone.net.blocks.0.attn.rel_pos_h proposal_generator.rpn_head.conv.weight"},
    {"SAM image encoder", "image_encoder.blocks.0.attn.rel_pos_h"},
    {"Swin R-CNN", "backbone.layers.0.blocks.0.attn.relative_position_bias_table "
                   "roi_head.bbox_head.0.x"},
    {"Swin v2", "layers.0.blocks.0.attn.cpb_mlp.0.weight head.weight patch_embed.proj.weight "
                "layers.0.blocks.0.attn.relative_position_bias_table"},
    {"Swin", "layers.0.blocks.0.attn.relative_position_bias_table patch_embed.proj.weight "
             "head.fc.weight"},
    {"NAT", "levels.0.blocks.0.attn.rpb"},
    {"CSWin", "stage1.0.attns.0.get_v.weight merge1.conv.weight"},
    {"FasterViT", "levels.2.global_tokenizer.x"},
    {"FasterViT", "levels.2.blocks.0.hat_attn.qkv"},
    {"MViTv2", "blocks.0.attn.norm_q.weight"},
    {"MViTv2", "module.blocks.0.attn.pool_q.weight"},
    {NULL, "head.weight body.0.x"},
    {NULL, BLOCK "attn.relative_position_bias_table"},
    {NULL, "levels.0.blocks.0.attn.rpb2"},
};

static void test_architectures(void)
{
    for (size_t i = 0; i < sizeof fingerprints / sizeof *fingerprints; i++) {
        char header[2048] = "{";
        size_t n = 1;
        for (const char *p = fingerprints[i].names; *p;) {
            size_t len = strcspn(p, " ");
            n += (size_t)snprintf(header + n, sizeof header - n,
                                  "%s\"%.*s\":{\"dtype\":\"F32\",\"shape\":[0],"
                                  "\"data_offsets\":[0,0]}",
                                  n > 1 ? "," : "", (int)len, p);
            p += len + strspn(p + len, " ");
        }
        strcpy(header + n, "}");
        bytes b = safetensors(header, 0);
        oriel_checkpoint *c = NULL;
        CHECK_OK(ckpt_parse(&c, b.p, b.n, NULL));
        const char *got = c ? info_of(c).architecture : "none",
                   *want = fingerprints[i].architecture;
        CHECK(!got == !want && (!got || !strcmp(got, want)));
        if (got && want && strcmp(got, want) != 0)
            fprintf(stderr, "  %s where %s was due\n", got, want);
        oriel_checkpoint_free(&c);
        free(b.p);
    }
}

/* Tensors of these names and shapes: "name:2,3 name:4" */
static void check_details(const char *tensors, const char *want)
{
    char header[4096] = "{";
    size_t n = 1, at = 0;
    for (const char *p = tensors; *p;) {
        size_t len = strcspn(p, " "), name = strcspn(p, ":"), bytes_due = 4;
        for (const char *q = p + name + 1; q < p + len; q += strcspn(q, ", ") + 1)
            bytes_due *= strtoul(q, NULL, 10);
        n += (size_t)snprintf(header + n, sizeof header - n,
                              "%s\"%.*s\":{\"dtype\":\"F32\",\"shape\":[%.*s],"
                              "\"data_offsets\":[%zu,%zu]}",
                              n > 1 ? "," : "", (int)name, p, (int)(len - name - 1), p + name + 1,
                              at, at + bytes_due);
        at += bytes_due;
        p += len + strspn(p + len, " ");
    }
    strcpy(header + n, "}");
    bytes b = safetensors(header, at);
    oriel_checkpoint *c = NULL;
    CHECK_OK(ckpt_parse(&c, b.p, b.n, NULL));
    CHECK(c && !strcmp(info_of(c).details, want));
    if (c && strcmp(info_of(c).details, want) != 0)
        fprintf(stderr, "  said: %s\n  due:  %s\n", info_of(c).details, want);
    oriel_checkpoint_free(&c);
    free(b.p);
}

static void test_details(void)
{
#define GROUPS                                                                                     \
    "layers.0.residual_group.blocks.0.norm1.weight:8 "                                             \
    "layers.0.residual_group.blocks.1.norm1.weight:8 "                                             \
    "layers.1.residual_group.blocks.0.norm1.weight:8 " BLOCK "mlp.fc1.weight:12,8 " BLOCK          \
    "attn.relative_position_bias_table:225,4 "                                                     \
    "layers.1.residual_group.blocks.0.attn.relative_position_bias_table:225,4 "
    check_details("conv_first.weight:8,3,3,3 " GROUPS "conv_after_body.weight:8,8,3,3 "
                  "conv_before_upsample.0.weight:16,8,3,3 upsample.0.weight:64,16,3,3 "
                  "upsample.2.weight:64,16,3,3 conv_last.weight:3,16,3,3",
                  "x4, embed 8, depths 2 1, heads 4, window 8, mlp 1.5, pixelshuffle, 3 channels");
    check_details("conv_first.weight:8,3,3,3 " GROUPS "conv_after_body.0.weight:2,8,3,3 "
                  "conv_before_upsample.0.weight:16,8,3,3 upsample.0.weight:144,16,3,3",
                  "x3, embed 8, depths 2 1, heads 4, window 8, mlp 1.5, pixelshuffle, 3conv, "
                  "3 channels");
    check_details("conv_first.weight:8,3,3,3 " GROUPS "conv_after_body.weight:8,8,3,3 "
                  "conv_before_upsample.0.weight:16,8,3,3 conv_up1.weight:16,16,3,3 "
                  "conv_up2.weight:16,16,3,3",
                  "x4, embed 8, depths 2 1, heads 4, window 8, mlp 1.5, nearest+conv, 3 channels");
    check_details("conv_first.weight:8,1,3,3 " GROUPS "conv_after_body.weight:8,8,3,3 "
                  "conv_last.weight:1,8,3,3",
                  "x1, embed 8, depths 2 1, heads 4, window 8, mlp 1.5, no upsampler, 1 channel");
    check_details("conv_first.1.weight:8,12,3,3 " GROUPS "conv_after_body.weight:8,8,3,3 "
                  "conv_before_upsample.0.weight:16,8,3,3 conv_up1.weight:16,16,3,3 "
                  "conv_up2.weight:16,16,3,3",
                  "x2, embed 8, depths 2 1, heads 4, window 8, mlp 1.5, nearest+conv, 3 channels");
    check_details("patch_embed.proj.weight:8,3,4,4 head.weight:10,16 "
                  "layers.0.blocks.0.norm1.weight:8 layers.1.blocks.0.norm1.weight:16 "
                  "layers.1.blocks.1.norm1.weight:16 layers.0.blocks.0.mlp.fc1.weight:32,8 "
                  "layers.0.blocks.0.attn.relative_position_bias_table:169,2 "
                  "layers.1.blocks.0.attn.relative_position_bias_table:169,4",
                  "embed 8, depths 1 2, heads 2 4, window 7, mlp 4, 10 classes");
}

/* ---- an index and its shards --------------------------------------------------------------------
 */

static char folder[] = "/tmp/oriel-index-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void save(const char *name, const void *p, size_t n)
{
    FILE *f = fopen(in_folder(name), "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f))
        exit(1);
}

static oriel_status open_index(oriel_checkpoint **c, const char *json)
{
    save("m.safetensors.index.json", json, strlen(json));
    return oriel_checkpoint_open(c, in_folder("m.safetensors.index.json"),
                                 &(oriel_checkpoint_options){.sha256 = true});
}

static void check_index(const bytes *shard)
{
    oriel_checkpoint *c = NULL;
    unsigned char digest[64];
    char hex[65];
    CHECK_OK(open_index(&c, " {\"metadata\":{\"total_size\":12},\"weight_map\":{\"z\":\"2.st\","
                            "\"a\":\"1.st\",\"b\":\"2.st\"}}"));
    if (!c)
        return;
    oriel_checkpoint_info info = info_of(c);
    CHECK(!strcmp(info.format, "safetensors index"));
    CHECK_INT(info.tensors, ==, 3);
    CHECK_INT(info.bytes, ==, shard[0].n + shard[1].n);
    CHECK(!strcmp(ckpt_name(c, 0), "z")); /* the index's order */
    for (int i = 0; i < 2; i++)
        sha256(shard[i].p, shard[i].n, digest + 32 * i);
    sha256(digest, 64, digest);
    sha256_hex(digest, hex);
    CHECK(!strcmp(info.sha256, hex));
    float v[2];
    ckpt_to_f32(ckpt_find(c, "b"), v); /* bytes 2 and 3 of the second shard */
    CHECK(v[0] == 2 && v[1] == 3);
    CHECK(!ckpt_find(c, "extra")); /* in a shard, not in the index */
    oriel_checkpoint_free(&c);
}

static void test_index(void)
{
    static const struct {
        const char *map, *says;
        oriel_status status;
    } bad[] = {
        {"{\"a\":\"../1.st\"}", "plain name", ORIEL_E_FORMAT},
        {"{\"a\":\"/etc/passwd\"}", "plain name", ORIEL_E_FORMAT},
        {"{\"a\":\"..\"}", "plain name", ORIEL_E_FORMAT},
        {"{\"a\":\"\"}", "plain name", ORIEL_E_FORMAT},
        {"{\"a\":\"x\\\\1.st\"}", "plain name", ORIEL_E_FORMAT},
        {"{\"a\":3}", "plain name", ORIEL_E_FORMAT},
        {"{}", "no tensor", ORIEL_E_FORMAT},
        {"[]", "no weight_map", ORIEL_E_FORMAT},
        {"{\"a\":\"3.st\"}", "3.st", ORIEL_E_IO},
        {"{\"a\":\"1.st\",\"c\":\"1.st\"}", "c is not in 1.st", ORIEL_E_FORMAT},
        {"{\"a\":\"1.st\",\"a\":\"1.st\"}", "two tensors named a", ORIEL_E_FORMAT},
        {"{\"a\":\"m.safetensors.index.json\"}", "header", ORIEL_E_FORMAT},
    };
    bytes shard[2] = {
        safetensors("{" ITEM("a", "U8", "[4]", "[0,4]") "}", 4),
        safetensors("{" ITEM("z", "U8", "[2]", "[0,2]") "," ITEM(
                        "b", "U8", "[2]", "[2,4]") "," ITEM("extra", "U8", "[1]", "[4,5]") "}",
                    5),
    };
    if (!mkdtemp(folder)) {
        SKIP("no temporary folder");
        return;
    }
    save("1.st", shard[0].p, shard[0].n);
    save("2.st", shard[1].p, shard[1].n);
    check_index(shard);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char json[256];
        oriel_checkpoint *c = NULL;
        snprintf(json, sizeof json, "{\"weight_map\":%s}", bad[i].map);
        CHECK_FAILS(open_index(&c, json), bad[i].status);
        CHECK(!c && strstr(oriel_error(), bad[i].says));
        if (!strstr(oriel_error(), bad[i].says))
            fprintf(stderr, "  %s\n  said: %s\n", bad[i].map, oriel_error());
    }
    save("2.st", shard[1].p, shard[1].n - 1); /* cut short */
    oriel_checkpoint *c = NULL;
    CHECK_FAILS(open_index(&c, "{\"weight_map\":{\"a\":\"1.st\",\"z\":\"2.st\"}}"), ORIEL_E_FORMAT);
    for (int i = 0; i < 2; i++)
        free(shard[i].p);
    const char *made[] = {"1.st", "2.st", "m.safetensors.index.json"};
    for (int i = 0; i < 3; i++)
        unlink(in_folder(made[i]));
    rmdir(folder);
}

/* cJSON allocates by itself; its hooks let this test count its requests too. It does not tell a
 * lack of memory from broken text, and so the error names both. */
static void test_no_memory(void)
{
    bytes b =
        safetensors("{\"__metadata__\":{\"a\":\"b\"}," ITEM("x", "U8", "[1]", "[0,1]") "}", 1);
    oriel_status s = ORIEL_E_NOMEM;
    uint64_t n = 1;
    cJSON_InitHooks(&(cJSON_Hooks){oriel_alloc, oriel_dealloc});
    for (; s != ORIEL_OK && n < 1000; n++) {
        oriel_checkpoint *c = NULL;
        oriel_alloc_fail_at(n);
        s = ckpt_parse(&c, b.p, b.n, NULL);
        oriel_alloc_fail_at(0);
        CHECK(!s == !!c);
        CHECK(s == ORIEL_OK || s == ORIEL_E_NOMEM || strstr(oriel_error(), "or no memory"));
        oriel_checkpoint_free(&c);
    }
    cJSON_InitHooks(NULL);
    CHECK_INT(s, ==, ORIEL_OK);
    CHECK_INT(n, >, 20);
    free(b.p);
}

int main(void)
{
    test_good();
    test_types();
    test_bad();
    test_limits();
    test_damaged();
    test_architectures();
    test_details();
    test_index();
    test_no_memory();
    return test_end();
}
