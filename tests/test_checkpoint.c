/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints as PyTorch and numpy wrote them, element by element; the choice of the dictionary and
 * of the architecture; the published files. */
#include <fcntl.h>
#include <sys/stat.h>

#include "models/checkpoint/sha256.h"
#include "tests/checkpoint_samples.h"

#define DIR "tests/golden/checkpoints/"

/* ---- values -----------------------------------------------------------------------------------
 */

/* Tensor `name` has this type and shape, and element (i, j, k, l) is made(t, ...) at the index
 * i s0 + j s1 + k s2 + l s3 + offset. */
static void check_tensor(const oriel_checkpoint *c, const char *name, oriel_dtype type, int t,
                         int ndim, const int64_t *shape, const int64_t *at, int64_t offset)
{
    const oriel_tensor *x = ckpt_find(c, name);
    float v[256];
    CHECK(x);
    if (!x)
        return;
    CHECK_INT(x->dtype, ==, type);
    CHECK_INT(x->ndim, ==, ndim);
    int64_t n = oriel_tensor_count(x), wrong = 0;
    CHECK(n <= 256);
    for (int i = 0; i < ndim; i++)
        CHECK_INT(x->shape[i], ==, shape[i]);
    if (n > 256 || x->ndim != ndim)
        return;
    ckpt_to_f32(x, v);
    for (int64_t i = 0; i < n; i++) {
        int64_t from = offset, rest = i;
        for (int k = ndim - 1; k >= 0; k--) {
            from += rest % shape[k] * at[k];
            rest /= shape[k];
        }
        wrong += v[i] != made(t, from, type);
    }
    if (wrong)
        fprintf(stderr, "%s: %lld of %lld wrong\n", name, (long long)wrong, (long long)n);
    CHECK_INT(wrong, ==, 0);
}

static void check_packed(const oriel_checkpoint *c, const char *name, oriel_dtype type, int t,
                         int64_t n0, int64_t n1)
{
    check_tensor(c, name, type, t, n1 ? 2 : 1, (int64_t[]){n0, n1}, (int64_t[]){n1 ? n1 : 1, 1}, 0);
}

static const oriel_dtype types[] = {ORIEL_F32, ORIEL_F16, ORIEL_BF16, ORIEL_F64, ORIEL_I64,
                                    ORIEL_I32, ORIEL_I16, ORIEL_I8,   ORIEL_U8,  ORIEL_BOOL};

static void test_types(void)
{
    static const struct {
        const char *file, *format;
    } files[] = {{"zip_types.pth", "torch zip"},
                 {"zip_protocol4.pth", "torch zip"},
                 {"deflated.pth", "torch zip"},
                 {"zip64.pth", "torch zip"},
                 {"legacy_types.pth", "torch legacy"}};
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        oriel_checkpoint *c = NULL;
        char path[256];
        snprintf(path, sizeof path, DIR "%s", files[f].file);
        CHECK_OK(oriel_checkpoint_open(&c, path, NULL));
        if (!c)
            continue;
        for (int t = 0; t < 10; t++) {
            char name[32];
            snprintf(name, sizeof name, "t%d.weight", t);
            check_packed(c, name, types[t], t, 3, 5);
            CHECK(!strcmp(ckpt_name(c, t), name));
        }
        check_tensor(c, "scalar", ORIEL_F32, 10, 0, NULL, NULL, 0);
        check_packed(c, "empty", ORIEL_F32, 0, 0, 3);
        CHECK(!ckpt_find(c, "t0") && !ckpt_find(c, "") && !ckpt_find(c, "zz"));
        oriel_checkpoint_info info = info_of(c);
        CHECK(!strcmp(info.format, files[f].format));
        CHECK(!info.architecture && !info.runnable && !*info.details);
        CHECK(strstr(info.sample_keys, "t0.weight"));
        CHECK_INT(info.tensors, ==, 12);
        CHECK_INT(info.parameters, ==, 4 * 15 + 1);
        CHECK(!info.sha256[0]);
        oriel_checkpoint_free(&c);
        CHECK(!c);
    }
}

static void test_views(void)
{
    static const char *const files[] = {DIR "zip_views.pth", DIR "legacy_views.pth"};
    for (int f = 0; f < 2; f++) {
        oriel_checkpoint *c = NULL;
        CHECK_OK(oriel_checkpoint_open(&c, files[f], NULL));
        if (!c)
            continue;
        check_packed(c, "whole", ORIEL_F32, 0, 6, 4);
        check_tensor(c, "transposed", ORIEL_F32, 0, 2, (int64_t[]){4, 6}, (int64_t[]){1, 4}, 0);
        check_tensor(c, "slice", ORIEL_F32, 0, 2, (int64_t[]){2, 2}, (int64_t[]){4, 1}, 9);
        check_tensor(c, "expanded", ORIEL_F32, 1, 2, (int64_t[]){3, 4}, (int64_t[]){0, 1}, 0);
        check_tensor(c, "channels_last", ORIEL_F32, 2, 4, (int64_t[]){2, 3, 4, 5},
                     (int64_t[]){60, 20, 5, 1}, 0);
        check_packed(c, "parameter", ORIEL_F32, 3, 2, 3);
        check_packed(c, "noted", ORIEL_F32, 4, 2, 2);
        check_packed(c, "subclass", ORIEL_F32, 5, 2, 3);
        /* What shares a storage in Python shares its bytes here. */
        CHECK(ckpt_find(c, "whole")->data == ckpt_find(c, "transposed")->data);
        CHECK_INT(ckpt_find(c, "channels_last")->stride[1], ==, 1);
        CHECK_INT(ckpt_count(c), ==, 8);
        oriel_checkpoint_free(&c);
    }
}

static int warnings;
static void count_warning(void *user, oriel_log_level level, const char *text)
{
    (void)user, (void)text;
    warnings += level == ORIEL_LOG_WARN;
}

static void test_rare(void)
{
    oriel_checkpoint *c = NULL;
    oriel_log_set(count_warning, NULL, ORIEL_LOG_WARN);
    warnings = 0;
    CHECK_OK(oriel_checkpoint_open(&c, DIR "zip_rare.pth", NULL));
    oriel_log_set(NULL, NULL, ORIEL_LOG_WARN);
    CHECK_INT(warnings, ==, 3); /* complex, sparse, seven axes: left out, and it is said */
    if (!c)
        return;
    static const char *const f8[] = {"float8_e4m3fn", "float8_e5m2"};
    static const float want[2][4] = {{-4, -3, -2.25f, -1.375f}, {-0.125f, 0.75f, 1.5f, 2.5f}};
    for (int i = 0; i < 2; i++) { /* rounded when they were written: 3 and 2 bits of mantissa */
        const oriel_tensor *t = ckpt_find(c, f8[i]);
        float v[4];
        CHECK(t && t->dtype == (i ? ORIEL_F8_E5M2 : ORIEL_F8_E4M3) && t->shape[0] == 4);
        ckpt_to_f32(t, v);
        for (int k = 0; k < 4; k++)
            CHECK_NUM(v[k], ==, want[i][k]);
    }
    check_packed(c, "uint16", ORIEL_U16, 2, 4, 0);
    check_packed(c, "last", ORIEL_F32, 4, 4, 0);
    CHECK(!ckpt_find(c, "complex") && !ckpt_find(c, "sparse") && !ckpt_find(c, "seven"));
    CHECK_INT(ckpt_count(c), ==, 4);
    oriel_checkpoint_free(&c);

    CHECK_OK(oriel_checkpoint_open(&c, DIR "big_endian.pth", NULL));
    if (!c)
        return;
    check_packed(c, "a", ORIEL_F32, 0, 3, 5);
    check_packed(c, "b", ORIEL_I64, 1, 4, 0);
    oriel_checkpoint_free(&c);
}

static void test_numpy(void)
{
    static const char *const files[] = {DIR "numpy2.pkl", DIR "numpy4.pkl", DIR "numpy5.pkl"};
    for (int f = 0; f < 3; f++) {
        oriel_checkpoint *c = NULL;
        CHECK_OK(oriel_checkpoint_open(&c, files[f], NULL));
        if (!c)
            continue;
        check_packed(c, "f4", ORIEL_F32, 0, 3, 5);
        check_packed(c, "f2", ORIEL_F16, 1, 4, 0);
        check_packed(c, "i8", ORIEL_I64, 2, 4, 0);
        check_packed(c, "fortran", ORIEL_F32, 3, 3, 5);
        check_tensor(c, "scalar", ORIEL_F32, 4, 0, NULL, NULL, 0);
        CHECK(!ckpt_find(c, "big"));
        CHECK(!strcmp(info_of(c).format, "pickle") && !strcmp(info_of(c).key, "model"));
        oriel_checkpoint_free(&c);
    }
}

/* ---- which dictionary, which architecture -----------------------------------------------------
 */

static const char swinir_details[] =
    "x2, embed 4, depths 2, heads 2, window 2, mlp 2, pixelshuffledirect, 3 channels";
enum { SWINIR_PARAMETERS = 108 + 4 + 2 * (4 + 18 + 32) + 144 + 432 };

static void test_keys(void)
{
    static const char block[] = "layers.0.residual_group.blocks.0.norm1.weight";
    static const struct {
        const char *file, *key, *taken, *others;
        int first; /* tensor number of conv_first.weight */
    } cases[] = {
        {DIR "wrapped.pth", NULL, "params_ema", "params", 50},
        {DIR "wrapped.pth", "params_ema", "params_ema", "params", 50},
        {DIR "wrapped.pth", "params", "params", "params_ema", 0},
        {DIR "module.pth", NULL, "", "", 0},
        {DIR "module.pth", "", "", "", 0},
        {DIR "lightning.pth", NULL, "state_dict", "", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        oriel_checkpoint *c = NULL;
        CHECK_OK(oriel_checkpoint_open(&c, cases[i].file,
                                       &(oriel_checkpoint_options){.key = cases[i].key}));
        if (!c)
            continue;
        oriel_checkpoint_info info = info_of(c);
        CHECK(!strcmp(info.key, cases[i].taken));
        CHECK(!strcmp(info.other_keys, cases[i].others));
        CHECK(info.architecture && !strcmp(info.architecture, "SwinIR"));
        CHECK(!strcmp(info.details, swinir_details));
        CHECK(info.runnable && ckpt_architecture(c) == CKPT_SWINIR);
        CHECK_INT(info.tensors, ==, 12); /* the mask and the index too, but not vgg */
        CHECK_INT(info.parameters, ==, SWINIR_PARAMETERS);
        check_tensor(c, "conv_first.weight", ORIEL_F32, cases[i].first, 4, (int64_t[]){4, 3, 3, 3},
                     (int64_t[]){27, 9, 3, 1}, 0);
        CHECK(ckpt_find(c, block) && !ckpt_find(c, "loss.vgg.weight"));
        oriel_checkpoint_free(&c);
    }
    oriel_checkpoint *c = (oriel_checkpoint *)&c;
    CHECK_FAILS(
        oriel_checkpoint_open(&c, DIR "wrapped.pth", &(oriel_checkpoint_options){.key = "net"}),
        ORIEL_E_ARG);
    CHECK(!c && strstr(oriel_error(), "net") && strstr(oriel_error(), "params_ema"));
}

/* A network that is known goes before a name that is preferred, and many tensors before few. */
static void test_choice(void)
{
    oriel_checkpoint *c = NULL;
    CHECK_OK(oriel_checkpoint_open(&c, DIR "choice.pkl", NULL));
    if (!c)
        return;
    CHECK(!strcmp(info_of(c).key, "net") && ckpt_architecture(c) == CKPT_SWINIR);
    CHECK(!strcmp(info_of(c).other_keys, "params_ema, small"));
    oriel_checkpoint_free(&c);
}

static void test_values(void)
{
    oriel_checkpoint *c = NULL;
    CHECK_OK(oriel_checkpoint_open(&c, DIR "args.pth", NULL));
    if (!c)
        return;
    int64_t i = 0;
    double f = 0;
    char text[8] = "";
    CHECK(ckpt_value_int(ckpt_value_at(c, "args.num_windows"), &i) && i == 2);
    CHECK(ckpt_value_float(ckpt_value_at(c, "args.lr"), &f) && f == 0.0001);
    CHECK(ckpt_value_float(ckpt_value_at(c, "args.num_windows"), &f) && f == 2);
    CHECK(ckpt_value_text(ckpt_value_at(c, "args.name"), text, sizeof text) &&
          !strcmp(text, "nano"));
    CHECK(ckpt_value_text(ckpt_value_at(c, "args.name"), text, 3) && !strcmp(text, "na"));
    CHECK(ckpt_value_int(ckpt_value_at(c, "args.nested.deep"), &i) && i == 1);
    const ckpt_value *stages = ckpt_value_at(c, "args.stages");
    CHECK_INT(ckpt_value_len(stages), ==, 3);
    CHECK(ckpt_value_int(ckpt_value_item(stages, 2), &i) && i == 9);
    CHECK(ckpt_value_int(ckpt_value_at(c, "args.stages.1"), &i) && i == 6);
    CHECK(!ckpt_value_item(stages, 3) && !ckpt_value_item(stages, -1));
    CHECK(!ckpt_value_at(c, "args.stages.3") && !ckpt_value_at(c, "args.stages.x"));
    CHECK(ckpt_value_at(c, "args.me.me.me.name") == ckpt_value_at(c, "args.name")); /* a cycle */
    CHECK(ckpt_value_at(c, "args.none") && !ckpt_value_int(ckpt_value_at(c, "args.none"), &i));
    CHECK(ckpt_value_at(c, "args.big") && !ckpt_value_int(ckpt_value_at(c, "args.big"), &i));
    CHECK(!ckpt_value_at(c, "args.absent") && !ckpt_value_at(c, "absent.x"));
    CHECK(!ckpt_value_text(NULL, text, sizeof text) && !ckpt_value_float(NULL, &f));
    CHECK(!ckpt_metadata(c, "format"));
    oriel_checkpoint_free(&c);
}

static void test_buffers(void)
{
    CHECK(ckpt_is_buffer("a.attn_mask") && ckpt_is_buffer("running_mean"));
    CHECK(ckpt_is_buffer("x.relative_position_index"));
    CHECK(!ckpt_is_buffer("a.weight") && !ckpt_is_buffer("attn_mask.weight"));
    CHECK(!ckpt_is_buffer("relative_position_bias_table"));
    CHECK(!ckpt_arch_name(CKPT_UNKNOWN) && !ckpt_arch_name(CKPT_ARCH_COUNT));
    for (int a = 1; a < CKPT_ARCH_COUNT; a++)
        CHECK(ckpt_arch_name((ckpt_arch)a));
}

/* ---- SHA-256, pipes, arguments ----------------------------------------------------------------
 */

static void check_hash(const void *data, size_t n, const char *want)
{
    unsigned char digest[32];
    char hex[65];
    sha256(data, n, digest);
    sha256_hex(digest, hex);
    CHECK(!strcmp(hex, want));
}

static void test_sha256(void) /* FIPS 180-4's examples, and a million letters */
{
    static char a[1000000];
    memset(a, 'a', sizeof a);
    check_hash("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_hash("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_hash("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
               "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    check_hash(a, sizeof a, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    check_hash(a, 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
}

static void test_pipe(void)
{
    bytes b = golden("zip_types.pth");
    int end[2];
    char path[64];
    oriel_checkpoint *c = NULL;
    CHECK(!pipe(end) && b.n < 60000);
    CHECK_INT(write(end[1], b.p, b.n), ==, b.n);
    close(end[1]);
    snprintf(path, sizeof path, "/dev/fd/%d", end[0]);
    CHECK_OK(oriel_checkpoint_open(&c, path, &(oriel_checkpoint_options){.sha256 = true}));
    close(end[0]);
    unsigned char digest[32];
    char hex[65];
    sha256(b.p, b.n, digest);
    sha256_hex(digest, hex);
    if (c) {
        check_packed(c, "t3.weight", ORIEL_F64, 3, 3, 5);
        CHECK(!strcmp(info_of(c).sha256, hex));
        CHECK_INT(info_of(c).bytes, ==, b.n);
    }
    oriel_checkpoint_free(&c);
    free(b.p);
}

static void test_arguments(void)
{
    oriel_checkpoint *c = NULL;
    const char *name;
    oriel_tensor t;
    CHECK_FAILS(oriel_checkpoint_open(NULL, DIR "args.pth", NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_checkpoint_open(&c, NULL, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_checkpoint_open(&c, DIR "absent.pth", NULL), ORIEL_E_IO);
    CHECK(strstr(oriel_error(), "absent.pth"));
    CHECK_FAILS(oriel_checkpoint_open(&c, DIR, NULL), ORIEL_E_IO);
    CHECK_OK(oriel_checkpoint_open(&c, DIR "args.pth", NULL));
    CHECK_FAILS(oriel_checkpoint_tensor(c, 1, &name, &t), ORIEL_E_ARG);
    CHECK_FAILS(oriel_checkpoint_tensor(c, -1, &name, &t), ORIEL_E_ARG);
    CHECK_FAILS(oriel_checkpoint_tensor(c, 0, NULL, &t), ORIEL_E_ARG);
    CHECK_OK(oriel_checkpoint_tensor(c, 0, &name, &t));
    CHECK(!strcmp(name, "w") && t.shape[0] == 2 && t.shape[1] == 3);
    oriel_checkpoint_free(&c);
    oriel_checkpoint_free(&c);
    oriel_checkpoint_free(NULL);
}

/* ---- the published files ------------------------------------------------------------------------
 */

static void test_published(void)
{
    static const struct {
        const char *file, *architecture, *scale, *key;
        int64_t parameters;
    } files[] = {
        {"weights/craft_x4.pth", "CRAFT", "x4", "params", 754212},
        {"weights/hit_srf_x4.pth", "HiT-SR", "x4", "params", 866420},
        {"weights/ngswin_x2.pth", "NGswin", "x2", "", 998384},
        {"weights/camixersr_s_x4.pth", "CAMixerSR", "x4", "params_ema", 351238},
        {"weights/imdtn_x4.pth", "IMDTN", "x4", "", 371532},
        {"weights/mobilesr_x4.pth", "MobileSR", "x4", "net", 175883},
        {"weights/elan_light_x4.pth", "ELAN", "x4", "params", 601512},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const char *path = test_data(files[i].file);
        oriel_checkpoint *c = NULL;
        if (!path) {
            SKIP(files[i].file);
            continue;
        }
        CHECK_OK(oriel_checkpoint_open(&c, path, NULL));
        if (!c)
            continue;
        oriel_checkpoint_info info = info_of(c);
        CHECK(info.architecture && !strcmp(info.architecture, files[i].architecture));
        CHECK(strstr(info.details, files[i].scale));
        CHECK(!strcmp(info.key, files[i].key));
        CHECK_INT(info.parameters, ==, files[i].parameters);
        oriel_checkpoint_free(&c);
    }
}

int main(void)
{
    test_types();
    test_views();
    test_rare();
    test_numpy();
    test_keys();
    test_choice();
    test_values();
    test_buffers();
    test_sha256();
    test_pipe();
    test_arguments();
    test_published();
    return test_end();
}
