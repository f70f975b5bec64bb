/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures: decoding, encoding, metadata, tensors. `test_image --corpus DIR` writes the samples. */
#include <math.h>
#include <png.h>

#include <oriel/vision.h>

#include "core/internal.h"
#include "tests/image_samples.h"
#include "tests/test.h"

static unsigned get(const oriel_image *img, int x, int y, int c)
{
    size_t i = ((size_t)y * img->width + x) * img->channels + c;
    return img->depth == 8 ? ((uint8_t *)img->data)[i] : ((uint16_t *)img->data)[i];
}

static void fill(oriel_image *img)
{
    for (int y = 0; y < img->height; y++)
        for (int x = 0; x < img->width; x++)
            for (int c = 0; c < img->channels; c++) {
                size_t i = ((size_t)y * img->width + x) * img->channels + c;
                unsigned v = sample_value(x, y, c, img->depth == 8 ? 255 : 65535);
                if (img->depth == 8)
                    ((uint8_t *)img->data)[i] = (uint8_t)v;
                else
                    ((uint16_t *)img->data)[i] = (uint16_t)v;
            }
}

static bool is_zero(const oriel_image *img)
{
    return !img->data && !img->icc && !img->exif && !img->width && !img->height && !img->channels;
}

static bool same_pixels(const oriel_image *a, const oriel_image *b)
{
    return a->width == b->width && a->height == b->height && a->channels == b->channels &&
           a->depth == b->depth &&
           !memcmp(a->data, b->data, (size_t)a->width * a->height * a->channels * (a->depth / 8));
}

/* Decode text written in a test; the caller frees. */
static oriel_status decode(oriel_image *img, const void *data, size_t size)
{
    /* A block of its own size, so that ASan sees a byte too many. */
    void *copy = malloc(size ? size : 1);
    if (size)
        memcpy(copy, data, size);
    oriel_status s = oriel_image_decode(img, copy, size, NULL);
    free(copy);
    return s;
}

#define REFUSED(text, status) CHECK_FAILS(decode(&img, text, sizeof text - 1), status)

/* ---- values and tensors ------------------------------------------------------------------- */

static void test_values(void)
{
    oriel_image img;
    CHECK_OK(oriel_image_new(&img, 3, 2, 4, 16));
    CHECK(img.width == 3 && img.height == 2 && img.channels == 4 && img.depth == 16);
    CHECK(!img.icc && !img.exif && img.gamma == 0 && img.source_bits == 16);
    for (int i = 0; i < 24; i++)
        CHECK(((uint16_t *)img.data)[i] == 0);
    oriel_image_free(&img);
    CHECK(is_zero(&img));
    oriel_image_free(&img);
    oriel_image_free(NULL);
    CHECK_FAILS(oriel_image_new(&img, 0, 2, 3, 8), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_new(&img, 2, -1, 3, 8), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_new(&img, ORIEL_IMAGE_MAX_SIDE + 1, 1, 3, 8), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_new(&img, 2, 2, 5, 8), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_new(&img, 2, 2, 3, 10), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_decode(NULL, "x", 1, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_decode(&img, NULL, 1, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_decode(&img, NULL, 0, NULL), ORIEL_E_FORMAT);
    REFUSED("GIF89a..", ORIEL_E_UNSUPPORTED);
    CHECK(strstr(oriel_error(), "GIF"));
    REFUSED("desktop.ini", ORIEL_E_FORMAT);
}

/* Every value there and back, and the division is the exact one. */
static void test_tensor_values(int depth)
{
    const int max = (1 << depth) - 1;
    oriel_image img, back;
    float *values = malloc(((size_t)max + 1) * sizeof *values);
    oriel_tensor t = oriel_tensor_of(values, ORIEL_F32, 3, (int64_t[]){1, max + 1, 1});
    int wrong = 0;
    CHECK_OK(oriel_image_new(&img, max + 1, 1, 1, depth));
    CHECK_OK(oriel_image_new(&back, max + 1, 1, 1, depth));
    for (int i = 0; i <= max; i++)
        if (depth == 8)
            ((uint8_t *)img.data)[i] = (uint8_t)i;
        else
            ((uint16_t *)img.data)[i] = (uint16_t)i;
    CHECK_OK(oriel_image_to_tensor(&img, 0, t));
    for (int i = 0; i <= max; i++)
        wrong += values[i] != (float)((double)i / max);
    CHECK_INT(wrong, ==, 0);
    CHECK_OK(oriel_image_from_tensor(&back, 0, t));
    CHECK(same_pixels(&img, &back));

    static const float in[] = {-1, -0.0f, 2, INFINITY, -INFINITY, NAN, 1e-40f, 0.99999f};
    const int want[] = {0, 0, max, max, 0, 0, 0, depth == 8 ? 255 : 65534};
    memcpy(values, in, sizeof in);
    CHECK_OK(oriel_image_from_tensor(&back, 0, t));
    for (int i = 0; i < 8; i++)
        CHECK_INT(get(&back, i, 0, 0), ==, want[i]);
    /* Most of these products lie halfway between integers, in f32. */
    int ties = 0;
    for (int i = 0; i < max; i++) {
        values[i] = ((float)i + 0.5f) / (float)max;
        ties += values[i] * (float)max == (float)i + 0.5f;
    }
    CHECK_INT(ties, >, max / 2);
    CHECK_OK(oriel_image_from_tensor(&back, 0, t));
    for (int i = 0; i < max; i++)
        wrong += get(&back, i, 0, 0) != (unsigned)rintf(values[i] * (float)max);
    CHECK_INT(wrong, ==, 0);
    oriel_image_free(&img);
    oriel_image_free(&back);
    free(values);
}

static void test_tensor_strides(void)
{
    for (int depth = 8; depth <= 16; depth += 8)
        for (int c0 = 0; c0 < 4; c0++)
            for (int n = 1; c0 + n <= 4; n++)
                for (int layout = 0; layout < 4; layout++) {
                    enum { W = 5, H = 3, ALL = 2000 };
                    static float values[ALL];
                    oriel_image img, back;
                    const float max = depth == 8 ? 255.0f : 65535.0f;
                    /* packed; gaps; planar, columns reversed; everything backwards */
                    const int64_t strides[4][3] = {
                        {W * n, n, 1}, {64, 9, 2}, {W, -1, 64}, {-80, -11, -2}};
                    oriel_tensor t = {.data = values + ALL / 2,
                                      .dtype = ORIEL_F32,
                                      .ndim = 3,
                                      .shape = {H, W, n}};
                    memcpy(t.stride, strides[layout], sizeof strides[layout]);
                    for (int i = 0; i < ALL; i++)
                        values[i] = NAN;
                    CHECK_OK(oriel_image_new(&img, W, H, 4, depth));
                    CHECK_OK(oriel_image_new(&back, W, H, 4, depth));
                    fill(&img);
                    fill(&back);
                    CHECK_OK(oriel_image_to_tensor(&img, c0, t));
                    int wrong = 0, touched = 0;
                    for (int i = 0; i < ALL; i++)
                        touched += !isnan(values[i]);
                    CHECK_INT(touched, ==, H * W * n);
                    for (int i = 0; i < H * W * n; i++) {
                        int y = i / n / W, x = i / n % W, c = i % n;
                        float *p =
                            values + ALL / 2 + y * t.stride[0] + x * t.stride[1] + c * t.stride[2];
                        wrong += *p != (float)get(&img, x, y, c0 + c) / max;
                        *p = 1.0f - *p;
                    }
                    CHECK_OK(oriel_image_from_tensor(&back, c0, t));
                    for (int i = 0; i < H * W * 4; i++) {
                        int y = i / 4 / W, x = i / 4 % W, c = i % 4;
                        unsigned was = get(&img, x, y, c);
                        wrong += get(&back, x, y, c) !=
                                 (c >= c0 && c < c0 + n ? (unsigned)max - was : was);
                    }
                    CHECK_INT(wrong, ==, 0);
                    oriel_image_free(&img);
                    oriel_image_free(&back);
                }
}

static void test_tensor_errors(void)
{
    oriel_image img;
    float values[64];
    oriel_tensor t = oriel_tensor_of(values, ORIEL_F32, 3, (int64_t[]){2, 3, 3}), bad;
    CHECK_OK(oriel_image_new(&img, 3, 2, 3, 8));
    CHECK_FAILS(oriel_image_to_tensor(NULL, 0, t), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_to_tensor(&img, 1, t), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_from_tensor(&img, -1, t), ORIEL_E_ARG);
    bad = t, bad.shape[0] = 3, bad.shape[1] = 2;
    CHECK_FAILS(oriel_image_from_tensor(&img, 0, bad), ORIEL_E_ARG);
    bad = t, bad.dtype = ORIEL_F16;
    CHECK_FAILS(oriel_image_to_tensor(&img, 0, bad), ORIEL_E_ARG);
    bad = t, bad.ndim = 2;
    CHECK_FAILS(oriel_image_to_tensor(&img, 0, bad), ORIEL_E_ARG);
    bad = t, bad.shape[2] = 0;
    CHECK_FAILS(oriel_image_to_tensor(&img, 0, bad), ORIEL_E_ARG);
    bad = t, bad.data = NULL;
    CHECK_FAILS(oriel_image_to_tensor(&img, 0, bad), ORIEL_E_ARG);
    oriel_image_free(&img);
}

/* ---- PNG ---------------------------------------------------------------------------------- */

/* What the PNG of make_png(s) must decode to. */
static unsigned png_expected(const png_spec *s, int channels, int x, int y, int c)
{
    static const int stored[] = {1, 0, 3, 1, 2, 0, 4};
    unsigned max = (1u << s->bits) - 1, v[4] = {0};
    for (int k = 0; k < stored[s->type]; k++)
        v[k] = sample_value(x, y, k, max);
    if (s->type == PNG_COLOR_TYPE_PALETTE) {
        unsigned i = v[0], rgb[] = {i * 37 % 256, 255 - i, i * 11 % 256};
        return c < 3 ? rgb[c] : i < 2 ? palette_alpha((int)i) : 255;
    }
    if (s->trns && c == channels - 1) {
        bool clear = s->type == PNG_COLOR_TYPE_GRAY ? v[0] == PNG_TRNS_GREY
                                                    : v[0] == 1 && v[1] == 2 && v[2] == 3;
        return clear ? 0 : s->bits == 16 ? 65535 : 255;
    }
    return s->bits < 8 ? v[c] * 255 / max : v[c];
}

static void test_png_kind(int type, int bits, bool interlaced, bool trns)
{
    static const int channels[] = {1, 0, 3, 3, 2, 0, 4};
    const png_spec spec = {.width = 33,
                           .height = 19,
                           .bits = bits,
                           .type = type,
                           .interlaced = interlaced,
                           .trns = trns};
    bytes file = make_png(&spec);
    oriel_image img;
    int wrong = 0, n = channels[type] + trns;
    CHECK_OK(decode(&img, file.data, file.size));
    CHECK(img.width == 33 && img.height == 19);
    CHECK_INT(img.channels, ==, n);
    CHECK_INT(img.depth, ==, bits == 16 ? 16 : 8);
    CHECK_INT(img.source_bits, ==, type == PNG_COLOR_TYPE_PALETTE ? 8 : bits);
    for (int i = 0; i < 33 * 19 * n && img.channels == n; i++)
        wrong += get(&img, i / n % 33, i / n / 33, i % n) !=
                 png_expected(&spec, n, i / n % 33, i / n / 33, i % n);
    CHECK_INT(wrong, ==, 0);
    CHECK(!img.icc && !img.exif && img.gamma == 0);
    oriel_image_free(&img);
    bytes_free(&file);
}

static void test_png_kinds(void)
{
    for (int interlaced = 0; interlaced < 2; interlaced++)
        for (int bits = 1; bits <= 16; bits *= 2)
            for (int trns = 0; trns < 2; trns++) {
                test_png_kind(PNG_COLOR_TYPE_GRAY, bits, interlaced, trns);
                if (bits <= 8)
                    test_png_kind(PNG_COLOR_TYPE_PALETTE, bits, interlaced, trns);
                if (bits >= 8)
                    test_png_kind(PNG_COLOR_TYPE_RGB, bits, interlaced, trns);
                if (bits >= 8 && !trns) {
                    test_png_kind(PNG_COLOR_TYPE_GRAY_ALPHA, bits, interlaced, false);
                    test_png_kind(PNG_COLOR_TYPE_RGB_ALPHA, bits, interlaced, false);
                }
            }
}

static void test_png_metadata(void)
{
    bytes icc = make_icc(3000, false), exif = make_exif(true, 1, 9, 7);
    bytes file = make_png(&(png_spec){
        .width = 9, .height = 7, .bits = 8, .type = 2, .icc = icc, .exif = exif, .gamma = 0.5});
    oriel_image img;
    CHECK_OK(decode(&img, file.data, file.size));
    CHECK(img.icc_size == icc.size && !memcmp(img.icc, icc.data, icc.size));
    CHECK(img.exif_size == exif.size && !memcmp(img.exif, exif.data, exif.size));
    CHECK_NUM(img.gamma, ==, 0.5);
    oriel_image_free(&img);
    bytes_free(&file);

    file = make_png(&(png_spec){.width = 9, .height = 7, .bits = 8, .type = 0, .srgb = true});
    CHECK_OK(decode(&img, file.data, file.size));
    CHECK_NUM(img.gamma, ==, 0.45455);
    oriel_image_free(&img);
    bytes_free(&file);
    bytes_free(&icc);
    bytes_free(&exif);
}

static void test_limits(void)
{
    oriel_image img;
    const char *name;
    bytes file;
    for (int i = 0; any_sample(i, &name, &file); i++) {
        oriel_image_read_options opt = {.max_pixels = 1};
        CHECK_FAILS(oriel_image_decode(&img, file.data, file.size, &opt), ORIEL_E_UNSUPPORTED);
        CHECK(is_zero(&img));
        bytes_free(&file);
    }
    /* Dimensions in the header alone take no memory. */
    static const char *const heads[] = {
        "P6 60000 60000 255\n", "P2 60000 60000 255\n",
        "P7\nWIDTH 60000\nHEIGHT 60000\nDEPTH 4\nMAXVAL 255\nENDHDR\n"};
    oriel_image_read_options opt = {.max_pixels = UINT64_MAX};
    for (int i = 0; i < 3; i++) {
        uint64_t before = oriel_alloc_count();
        CHECK_FAILS(oriel_image_decode(&img, heads[i], strlen(heads[i]), &opt), ORIEL_E_FORMAT);
        CHECK_INT(oriel_alloc_count(), ==, before);
    }
    REFUSED("P6 99999999999999999999 1 255\n", ORIEL_E_UNSUPPORTED);
    REFUSED("P5 0 1 255\n", ORIEL_E_FORMAT);
}

/* ---- round trips -------------------------------------------------------------------------- */

static void test_round_trips(void)
{
    bytes exif = make_exif(true, 1, 13, 9);
    for (int i = 0; i < 16; i++) {
        const int channels = i % 4 + 1, depth = i & 4 ? 16 : 8;
        oriel_image img, back;
        uint8_t *file;
        size_t size;
        bytes icc = make_icc(500, channels < 3);
        oriel_image_write_options opt = {.format = i & 8 ? ORIEL_IMAGE_PNM : ORIEL_IMAGE_PNG,
                                         .compression = i % 10};
        CHECK_OK(oriel_image_new(&img, 13, 9, channels, depth));
        fill(&img);
        img.icc = icc.data, img.icc_size = icc.size;
        img.exif = exif.data, img.exif_size = exif.size;
        img.gamma = 0.45455;
        for (int drop = 0; drop < 2; drop++) {
            opt.drop_metadata = drop;
            CHECK_OK(oriel_image_encode(&img, &file, &size, &opt));
            CHECK_OK(decode(&back, file, size));
            CHECK(same_pixels(&img, &back));
            CHECK_INT(back.source_bits, ==, depth);
            if (i & 8) {
                CHECK(file[0] == 'P' && file[1] == (channels == 1   ? '5'
                                                    : channels == 3 ? '6'
                                                                    : '7'));
            } else if (drop) {
                CHECK(!back.icc && !back.exif && back.gamma == 0);
            } else {
                CHECK(back.icc_size == icc.size && !memcmp(back.icc, icc.data, icc.size));
                CHECK(back.exif_size == exif.size && !memcmp(back.exif, exif.data, exif.size));
                CHECK_NUM(back.gamma, ==, 0.45455);
            }
            oriel_image_free(&back);
            oriel_bytes_free(&file);
            CHECK(!file);
        }
        img.icc = img.exif = NULL;
        oriel_image_free(&img);
        bytes_free(&icc);
    }
    bytes_free(&exif);
}

static int warnings;

static void count_warning(void *user, oriel_log_level level, const char *text)
{
    (void)user, (void)level, (void)text;
    warnings++;
}

static void test_encode_errors(void)
{
    oriel_image img, back;
    uint8_t *file;
    size_t size;
    CHECK_OK(oriel_image_new(&img, 4, 4, 1, 8));
    CHECK_FAILS(
        oriel_image_encode(&img, &file, &size, &(oriel_image_write_options){.compression = 10}),
        ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_encode(NULL, &file, &size, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_encode(&img, NULL, &size, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_encode(&(oriel_image){0}, &file, &size, NULL), ORIEL_E_ARG);

    /* A profile for RGB on a grey picture: said, left out, and the picture is written. */
    bytes icc = make_icc(500, false);
    img.icc = icc.data, img.icc_size = icc.size;
    warnings = 0;
    oriel_log_set(count_warning, NULL, ORIEL_LOG_WARN);
    CHECK_OK(oriel_image_encode(&img, &file, &size, NULL));
    oriel_log_set(NULL, NULL, ORIEL_LOG_WARN);
    CHECK_INT(warnings, >, 0);
    CHECK_OK(decode(&back, file, size));
    CHECK(!back.icc && same_pixels(&img, &back));
    oriel_image_free(&back);
    oriel_bytes_free(&file);
    img.icc = NULL;
    bytes_free(&icc);
    oriel_image_free(&img);
}

/* ---- EXIF --------------------------------------------------------------------------------- */

/* 3 x 2 pixels 0 to 5 as stored, and upright for each orientation. */
static const struct {
    int width, height;
    char upright[7];
} turned[9] = {{0, 0, ""},       {3, 2, "012345"}, {3, 2, "210543"},
               {3, 2, "543210"}, {3, 2, "345012"}, {2, 3, "031425"},
               {2, 3, "304152"}, {2, 3, "524130"}, {2, 3, "251403"}};

static void test_orientation(int orientation, bool little, int channels, int depth)
{
    bytes exif = make_exif(little, orientation, 3, 2);
    oriel_image img, back;
    uint8_t *file;
    size_t size;
    int wrong = 0;
    CHECK_OK(oriel_image_new(&img, 3, 2, channels, depth));
    for (int i = 0; i < 6 * channels; i++)
        if (depth == 8)
            ((uint8_t *)img.data)[i] = (uint8_t)(i / channels * 10 + i % channels);
        else
            ((uint16_t *)img.data)[i] = (uint16_t)(i / channels * 1000 + i % channels);
    img.exif = exif.data, img.exif_size = exif.size;
    CHECK_OK(oriel_image_encode(&img, &file, &size, NULL));
    img.exif = NULL;

    CHECK_OK(oriel_image_decode(&back, file, size,
                                &(oriel_image_read_options){.keep_orientation = true}));
    CHECK(same_pixels(&img, &back));
    CHECK(back.exif_size == exif.size && !memcmp(back.exif, exif.data, exif.size));
    oriel_image_free(&back);

    CHECK_OK(decode(&back, file, size));
    CHECK(back.width == turned[orientation].width && back.height == turned[orientation].height);
    for (int i = 0; i < 6 * channels; i++) {
        int p = turned[orientation].upright[i / channels] - '0';
        wrong += get(&back, i / channels % back.width, i / channels / back.width, i % channels) !=
                 (unsigned)(p * (depth == 8 ? 10 : 1000) + i % channels);
    }
    CHECK_INT(wrong, ==, 0);
    bytes want = make_exif(little, 1, back.width, back.height);
    if (orientation != 1) /* the thumbnail is cut off; its own orientation stays */
        memset(want.data + 46, 0, 4);
    memcpy(want.data + 80, exif.data + 80, want.size - 80);
    CHECK(back.exif_size == want.size && !memcmp(back.exif, want.data, want.size));
    oriel_image_free(&back);
    oriel_image_free(&img);
    oriel_bytes_free(&file);
    bytes_free(&exif);
    bytes_free(&want);
}

static void test_copy_metadata(void)
{
    oriel_image a, b;
    bytes exif = make_exif(true, 1, 3, 2), icc = make_icc(200, false);
    CHECK_OK(oriel_image_new(&a, 3, 2, 3, 8));
    CHECK_OK(oriel_image_new(&b, 70000, 8, 3, 8));
    a.exif = malloc(exif.size), a.exif_size = exif.size;
    memcpy(a.exif, exif.data, exif.size);
    a.icc = malloc(icc.size), a.icc_size = icc.size;
    memcpy(a.icc, icc.data, icc.size);
    a.gamma = 1;
    for (int i = 0; i < 2; i++) /* twice: what was there is replaced */
        CHECK_OK(oriel_image_copy_metadata(&b, &a));
    CHECK(b.icc_size == icc.size && !memcmp(b.icc, icc.data, icc.size) && b.gamma == 1);
    CHECK_INT(b.exif_size, ==, exif.size);
    CHECK_INT(b.exif[54], ==, 4); /* the width became a LONG */
    CHECK(b.exif[60] == 0x70 && b.exif[61] == 0x11 && b.exif[62] == 1 && b.exif[63] == 0);
    CHECK(b.exif[72] == 8 && b.exif[18] == 8);
    for (int n = 1; n <= 2; n++) { /* all or nothing */
        oriel_alloc_fail_at((uint64_t)n);
        CHECK_FAILS(oriel_image_copy_metadata(&a, &b), ORIEL_E_NOMEM);
        oriel_alloc_fail_at(0);
        CHECK(!memcmp(a.exif, exif.data, exif.size) && a.icc_size == icc.size);
    }
    CHECK_OK(oriel_image_copy_metadata(&a, &a));
    oriel_image_free(&a);
    CHECK_OK(oriel_image_new(&a, 3, 2, 3, 8));
    CHECK_OK(oriel_image_copy_metadata(&b, &a));
    CHECK(!b.icc && !b.exif && b.gamma == 0);
    oriel_image_free(&a);
    oriel_image_free(&b);
    bytes_free(&exif);
    bytes_free(&icc);
}

/* Any byte of an EXIF block wrong, and blocks cut short: nothing breaks, and a block that is kept
 * has kept its size. */
static void test_hostile_exif(void)
{
    static const uint8_t values[] = {0, 1, 6, 0x7f, 0x80, 0xff};
    bytes exif = make_exif(false, 6, 3, 2);
    for (size_t i = 0; i < exif.size; i++)
        for (int k = 0; k <= 6; k++) {
            oriel_image a = {0}, b = {0};
            bytes jpeg = make_jpeg(16, 8, 1);
            uint8_t was = exif.data[i];
            size_t size = k < 6 ? exif.size : i;
            if (k < 6)
                exif.data[i] = values[k];
            jpeg_insert(&jpeg, 0xe1, "Exif\0", 6, exif.data, size);
            exif.data[i] = was;
            oriel_status s = decode(&a, jpeg.data, jpeg.size);
            CHECK_INT(s, ==, ORIEL_OK);
            CHECK(!a.exif || a.exif_size == size);
            CHECK_OK(oriel_image_copy_metadata(&b, &a));
            oriel_image_free(&a);
            oriel_image_free(&b);
            bytes_free(&jpeg);
        }
    bytes_free(&exif);
}

/* ---- the other formats -------------------------------------------------------------------- */

static void check_samples(const char *file, int line, const void *data, size_t size, int width,
                          int height, int channels, int depth, const int *want)
{
    oriel_image img;
    oriel_status s = decode(&img, data, size);
    int wrong = 0;
    if (s || img.width != width || img.height != height || img.channels != channels ||
        img.depth != depth) {
        test_failed++;
        fprintf(stderr, "%s:%d: failed: %s, %d x %d x %d of %d bits\n", file, line,
                s ? oriel_error() : "decoded", img.width, img.height, img.channels, img.depth);
        oriel_image_free(&img);
        return;
    }
    for (int i = 0; i < width * height * channels; i++) {
        int got = (int)get(&img, i / channels % width, i / channels / width, i % channels);
        if (got != want[i] && !wrong++)
            fprintf(stderr, "%s:%d: failed: sample %d is %d, not %d\n", file, line, i, got,
                    want[i]);
    }
    wrong ? test_failed++ : test_passed++;
    oriel_image_free(&img);
}
#define SAMPLES(text, w, h, c, depth, ...)                                                         \
    check_samples(__FILE__, __LINE__, text, sizeof text - 1, w, h, c, depth, (int[]){__VA_ARGS__})

static void test_pnm(void)
{
    oriel_image img;
    SAMPLES("P1\n3 2\n101\n0 1 0", 3, 2, 1, 8, 0, 255, 0, 255, 0, 255);
    SAMPLES("P4\n10 1\n\xaa\x40", 10, 1, 1, 8, 0, 255, 0, 255, 0, 255, 0, 255, 255, 0);
    SAMPLES("P2 #c\n#d\n3 1 #e\n7\n0 7 #f\r3", 3, 1, 1, 8, 0, 255, 109);
    SAMPLES("P2\n4\n1\n1023\n0 1023 1 512\n", 4, 1, 1, 16, 0, 65535, 64, 32800);
    SAMPLES("P5 3 1 100\n\0\144\62", 3, 1, 1, 8, 0, 255, 128);
    SAMPLES("P5 2 1 65535\n\1\2\377\377", 2, 1, 1, 16, 258, 65535);
    SAMPLES("P5 2 1 256\n\1\0\0\200", 2, 1, 1, 16, 65535, 32768);
    SAMPLES("P6 1 1 255\n\1\2\3", 1, 1, 3, 8, 1, 2, 3);
    SAMPLES("P3 1 1 15 15 0 5", 1, 1, 3, 8, 255, 0, 85);
    SAMPLES(
        "P7\nWIDTH 1\nHEIGHT 2\nDEPTH 2\nMAXVAL 255\nTUPLTYPE GRAYSCALE_ALPHA\nENDHDR\n\1\2\3\4", 1,
        2, 2, 8, 1, 2, 3, 4);
    SAMPLES(
        "P7\n#\nDEPTH 1\n\nMAXVAL 1\nTUPLTYPE BLACKANDWHITE\nHEIGHT  1 \nWIDTH\t2\nENDHDR\n\0\1", 2,
        1, 1, 8, 0, 255);
    CHECK_OK(decode(&img, "P5 1 1 1023\n\0\0", sizeof "P5 1 1 1023\n\0\0" - 1));
    CHECK_INT(img.source_bits, ==, 10);
    oriel_image_free(&img);
    REFUSED("P5 1 1 100\n\145", ORIEL_E_FORMAT);
    REFUSED("P2 1 1 100\n101", ORIEL_E_FORMAT);
    REFUSED("P1 1 1 2", ORIEL_E_FORMAT);
    REFUSED("P5 1 1 0\n\0", ORIEL_E_FORMAT);
    REFUSED("P5 1 1 65536\n\0\0\0", ORIEL_E_FORMAT);
    REFUSED("P5 1 1 255x\0", ORIEL_E_FORMAT);
    REFUSED("P5 -1 1 255\n\0", ORIEL_E_FORMAT);
    REFUSED("P7\nWIDTH 1\nHEIGHT 1\nDEPTH 5\nMAXVAL 9\nENDHDR\n.....", ORIEL_E_UNSUPPORTED);
    REFUSED("P7\nWIDTH 1\nTUPLE\nENDHDR\n", ORIEL_E_FORMAT);
}

/* The file of a writer that is not ours must show sample_value(). */
static void check_written(bytes file, int width, int height, int channels, int flat_row)
{
    oriel_image img;
    int wrong = 0;
    CHECK_OK(decode(&img, file.data, file.size));
    CHECK(img.width == width && img.height == height && img.channels == channels && img.depth == 8);
    for (int i = 0; img.channels == channels && i < width * height * channels; i++) {
        int x = i / channels % width, y = i / channels / width, c = i % channels;
        wrong += get(&img, x, y, c) != (y == flat_row ? 77 : sample_value(x, y, c, 255));
    }
    CHECK_INT(wrong, ==, 0);
    oriel_image_free(&img);
    bytes_free(&file);
}

static void test_bmp_tga(void)
{
    oriel_image img;
    check_written(make_bmp(5, 4, 3), 5, 4, 3, -1);
    check_written(make_bmp(5, 4, 4), 5, 4, 4, -1);
    for (int channels = 1; channels <= 4; channels++) {
        check_written(make_tga(5, 4, channels, false), 5, 4, channels, -1);
        check_written(make_tga(300, 4, channels, true), 300, 4, channels, 1);
    }
    /* 4 bits, 2 x 2 of 3 colours, from the bottom; then a colour that is not there. */
#define BMP4                                                                                       \
    "BM----\0\0\0\0\102\0\0\0\50\0\0\0\2\0\0\0\2\0\0\0\1\0\4\0\0\0\0\0------------\3\0\0\0----"
    SAMPLES(BMP4 "\1\2\3\0\4\5\6\0\7\10\11\0\1\0\0\0\20\0\0\0", 2, 2, 3, 8, 6, 5, 4, 3, 2, 1, 3, 2,
            1, 6, 5, 4);
    SAMPLES("BM----\0\0\0\0\66\0\0\0\50\0\0\0\1\0\0\0\376\377\377\377\1\0\30\0\0\0\0\0------------"
            "\0\0\0\0----\1\2\3\0\4\5\6\0",
            1, 2, 3, 8, 3, 2, 1, 6, 5, 4); /* from the top */
    SAMPLES(BMP4 "\1\1\1\0\4\4\4\0\7\7\7\0\1\0\0\0\20\0\0\0", 2, 2, 1, 8, 4, 1, 1, 4);
    REFUSED(BMP4 "\1\2\3\0\4\5\6\0\7\10\11\0\3\0\0\0\20\0\0\0", ORIEL_E_FORMAT);
    /* 16 bits from the top: 555, then masks 565. */
    SAMPLES("BM----\0\0\0\0\66\0\0\0\50\0\0\0\2\0\0\0\377\377\377\377\1\0\20\0\0\0\0\0--------"
            "----\0\0\0\0----\0\174\37\200",
            2, 1, 3, 8, 255, 0, 0, 0, 0, 255);
    SAMPLES("BM----\0\0\0\0\102\0\0\0\50\0\0\0\2\0\0\0\1\0\0\0\1\0\20\0\3\0\0\0--------"
            "----\0\0\0\0----\0\370\0\0\340\7\0\0\37\0\0\0\0\370\0\4",
            2, 1, 3, 8, 255, 0, 0, 0, 130, 0);
    REFUSED("BM----\0\0\0\0\66\0\0\0\50\0\0\0\2\0\0\0\1\0\0\0\1\0\10\0\1\0\0\0--------"
            "----\0\0\0\0----....",
            ORIEL_E_UNSUPPORTED); /* run-length coded */
    /* A palette that begins at 4, from the top right, plain and in runs; 5 bits a colour. */
#define TGA(kind) "\2\1" kind "\4\0\3\0\30----\3\0\2\0\10\60hi\1\2\3\4\5\6\7\10\11"
    SAMPLES(TGA("\1") "\4\4\4\5\6\4", 3, 2, 3, 8, 3, 2, 1, 3, 2, 1, 3, 2, 1, 3, 2, 1, 9, 8, 7, 6, 5,
            4);
    SAMPLES(TGA("\11") "\202\4\2\5\6\4", 3, 2, 3, 8, 3, 2, 1, 3, 2, 1, 3, 2, 1, 3, 2, 1, 9, 8, 7, 6,
            5, 4);
    REFUSED(TGA("\1") "\4\4\4\5\6\7", ORIEL_E_FORMAT);
    REFUSED(TGA("\1") "\4\4\4\5\6\3", ORIEL_E_FORMAT);
    SAMPLES("\0\0\2---------\2\0\1\0\20\40\0\174\37\200", 2, 1, 3, 8, 255, 0, 0, 0, 0, 255);
    SAMPLES("\0\0\3---------\1\0\2\0\10\0\7\11", 1, 2, 1, 8, 9, 7);
}

static void test_jpeg(void)
{
    oriel_image img;
    for (int channels = 1; channels <= 3; channels += 2) {
        bytes file = make_jpeg(50, 35, channels);
        int far = 0;
        CHECK_OK(decode(&img, file.data, file.size));
        CHECK(img.width == 50 && img.height == 35 && img.depth == 8 && img.source_bits == 8);
        /* stb_image_write makes colour of grey */
        for (int i = 0; i < 50 * 35 * 3 && img.channels == 3; i++) {
            int x = i / 3 % 50, y = i / 3 / 50, c = i % 3;
            int want = (int)jpeg_ramp(x, y, channels == 1 ? 0 : c, 50, 35);
            far += abs((int)get(&img, x, y, c) - want) > 6;
        }
        CHECK_INT(img.channels, ==, 3);
        CHECK_INT(far, ==, 0);
        oriel_image_free(&img);
        bytes_free(&file);
    }
    bytes file = make_progressive_jpeg();
    CHECK_OK(decode(&img, file.data, file.size));
    CHECK(img.width == 16 && img.height == 8 && img.channels == 1);
    CHECK(get(&img, 0, 0, 0) == 0 && get(&img, 7, 7, 0) == 0);
    CHECK(get(&img, 8, 0, 0) == 255 && get(&img, 15, 7, 0) == 255);
    oriel_image_free(&img);
    bytes_free(&file);
}

/* One picture that libjpeg wrote in four ways, of the same coefficients. */
static void test_jpeg_codings(void)
{
    static const char *const names[] = {"base420", "prog420", "restart", "progrestart"};
    oriel_image first, img;
    CHECK_OK(oriel_image_read(&first, "tests/fuzz/corpus/image/base420.jpg", NULL));
    CHECK(first.width == 37 && first.height == 29 && first.channels == 3);
    for (int i = 1; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "tests/fuzz/corpus/image/%s.jpg", names[i]);
        CHECK_OK(oriel_image_read(&img, path, NULL));
        CHECK(same_pixels(&first, &img));
        oriel_image_free(&img);
    }
    oriel_image_free(&first);
}

static void test_jpeg_metadata(void)
{
    oriel_image img;
    bytes icc = make_icc(1000, false), exif = make_exif(false, 6, 16, 8);
    for (int kind = 0; kind < 6; kind++) {
        static const char *const heads[6][2] = {
            {"ICC_PROFILE\0\1\2", "ICC_PROFILE\0\2\2"}, /* whole */
            {"ICC_PROFILE\0\1\2", "ICC_PROFILE\0\1\2"}, /* twice the same */
            {"ICC_PROFILE\0\1\3", "ICC_PROFILE\0\2\3"}, /* one missing */
            {"ICC_PROFILE\0\1\2", "ICC_PROFILE\0\2\3"}, /* they disagree */
            {"ICC_PROFILE\0\0\2", "ICC_PROFILE\0\1\2"}, /* number 0 */
            {"ICC_PROFILE\0\377\377", "ICC_PROFILE\0\376\377"}};
        bytes file = make_jpeg(16, 8, 3);
        jpeg_insert(&file, 0xe2, heads[kind][0], 14, icc.data, 600);
        jpeg_insert(&file, 0xe2, heads[kind][1], 14, icc.data + 600,
                    400); /* lands before the first */
        jpeg_insert(&file, 0xe1, "Exif\0", 6, exif.data, exif.size);
        jpeg_insert(&file, 0xe1, "http://ns.adobe.com/xap/1.0/", 29, "<x/>", 4);
        CHECK_OK(decode(&img, file.data, file.size));
        if (kind == 0)
            CHECK(img.icc_size == icc.size && !memcmp(img.icc, icc.data, icc.size));
        else
            CHECK(!img.icc && !img.icc_size);
        CHECK(img.width == 8 && img.height == 16); /* turned */
        CHECK(img.exif && img.exif[31] == 1 && img.exif[61] == 8 && img.exif[75] == 16);
        oriel_image_free(&img);
        bytes_free(&file);
    }
    bytes_free(&icc);
    bytes_free(&exif);
}

/* What stb_image of Debian 12 would not survive must be refused before. */
static void test_hostile_jpeg(void)
{
    oriel_image img;
    uint8_t codes[17 + 16 * 40] = {0};
    bytes file = make_progressive_jpeg();
    memset(codes + 1, 40, 16);
    jpeg_insert(&file, 0xc4, codes, 17, codes + 17, 16 * 40); /* 640 codes */
    CHECK_FAILS(decode(&img, file.data, file.size), ORIEL_E_FORMAT);
    CHECK(strstr(oriel_error(), "Huffman"));
    bytes_free(&file);

    static const struct {
        int find, offset, value; /* set a byte behind a marker */
        oriel_status status;
        const char *text;
    } cases[] = {{0xc4, 4, 1, ORIEL_E_FORMAT, "table"},    /* DC table 1 in place of 0 */
                 {0xc4, 4, 0x10, ORIEL_E_FORMAT, "table"}, /* an AC table */
                 {0xdb, 4, 1, ORIEL_E_FORMAT, "table"},    /* quantisation table 1 */
                 {0xc2, 9, 4, ORIEL_E_FORMAT, "frame"},    /* four components in the room of one */
                 {0xc2, 4, 12, ORIEL_E_UNSUPPORTED, "12 bits"},
                 {0xc2, 1, 0xc9, ORIEL_E_UNSUPPORTED, "arithmetic"},
                 {0xc2, 1, 0xc3, ORIEL_E_UNSUPPORTED, "lossless"},
                 {0xc2, 6, 0, ORIEL_E_FORMAT, "empty"},       /* no height */
                 {0xda, 5, 9, ORIEL_E_FORMAT, "scan"},        /* of a component that is not there */
                 {0xc2, 5, 255, ORIEL_E_FORMAT, "truncated"}, /* 65288 high, of 200 bytes */
                 {0xda, 1, 0xdd, ORIEL_E_FORMAT, ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file = make_progressive_jpeg();
        size_t at = 2;
        while (file.data[at] != 0xff || file.data[at + 1] != cases[i].find)
            at++;
        if (i == 9) /* and 65296 wide */
            file.data[at + 7] = 255;
        file.data[at + cases[i].offset] = (uint8_t)cases[i].value;
        oriel_status s = oriel_image_decode(&img, file.data, file.size,
                                            &(oriel_image_read_options){.max_pixels = UINT64_MAX});
        if (s != cases[i].status || !strstr(oriel_error(), cases[i].text))
            fprintf(stderr, "case %zu: %s: %s\n", i, oriel_status_name(s), oriel_error());
        CHECK(s == cases[i].status && strstr(oriel_error(), cases[i].text));
        CHECK(is_zero(&img));
        bytes_free(&file);
    }
    static const uint8_t cmyk[] = {0xff, 0xd8, 0xff, 0xc0, 0, 20, 8,    0, 8, 0,    8, 4,    1,
                                   0x11, 0,    2,    0x11, 0, 3,  0x11, 0, 4, 0x11, 0, 0xff, 0xd9};
    CHECK_FAILS(decode(&img, cmyk, sizeof cmyk), ORIEL_E_UNSUPPORTED);
    CHECK(strstr(oriel_error(), "CMYK"));
}

static void test_photos(void)
{
    static const struct {
        const char *name;
        int width, height;
    } photos[] = {{"images/elephant-660-480.jpg", 660, 480},
                  {"images/gecko-320-213.jpg", 320, 213},
                  {"images/surfer-240-200.jpg", 240, 200}};
    for (int i = 0; i < 3; i++) {
        const char *path = test_data(photos[i].name);
        oriel_image img;
        double sum = 0, step = 0;
        if (!path) {
            SKIP(photos[i].name);
            continue;
        }
        CHECK_OK(oriel_image_read(&img, path, NULL));
        CHECK(img.width == photos[i].width && img.height == photos[i].height && img.channels == 3);
        for (int k = 3; k < img.width * img.height * 3; k++) {
            sum += ((uint8_t *)img.data)[k];
            step += abs(((uint8_t *)img.data)[k] - ((uint8_t *)img.data)[k - 3]);
        }
        /* A photograph is neither flat nor noise. */
        CHECK_NUM(step / sum, >, 0.001);
        CHECK_NUM(step / sum, <, 0.2);
        oriel_image_free(&img);
    }
}

/* ---- all samples, cut short and starved --------------------------------------------------- */

/* Decimal text can be cut inside its last number, and nobody can tell. */
static size_t shortest_whole(const char *name, const bytes *file)
{
    size_t n = file->size;
    if (name[0] > '3' || strcmp(name + 1, ".pnm") != 0)
        return n;
    while (file->data[n - 1] == '\n')
        n--;
    while (name[0] != '1' && file->data[n - 2] != ' ')
        n--;
    return n;
}

static void test_truncated(void)
{
    oriel_image img;
    const char *name;
    bytes file;
    for (int i = 0; any_sample(i, &name, &file); i++) {
        CHECK_OK(decode(&img, file.data, file.size));
        oriel_image_free(&img);
        size_t whole = shortest_whole(name, &file);
        for (size_t n = 0; n < file.size; n++) {
            oriel_status s = decode(&img, file.data, n);
            bool good = n < whole ? s == ORIEL_E_FORMAT : s == ORIEL_OK;
            if (!good)
                fprintf(stderr, "%s cut at %zu of %zu: %s: %s\n", name, n, file.size,
                        oriel_status_name(s), oriel_error());
            CHECK(good && (!s || is_zero(&img)));
            oriel_image_free(&img);
        }
        bytes_free(&file);
    }
}

static void test_no_memory(void)
{
    oriel_image img;
    uint8_t *out;
    size_t size;
    const char *name;
    bytes file;
    for (int i = 0; any_sample(i, &name, &file); i++) {
        oriel_status s = ORIEL_E_NOMEM;
        int n = 1;
        for (; s && n < 1000; n++) {
            oriel_alloc_fail_at((uint64_t)n);
            s = oriel_image_decode(&img, file.data, file.size, NULL);
            CHECK(s == ORIEL_OK || (s == ORIEL_E_NOMEM && is_zero(&img)));
        }
        oriel_alloc_fail_at(0);
        CHECK_INT(s, ==, ORIEL_OK);
        CHECK_INT(n, >, 2);
        oriel_image_write_options opt = {.format = i % 4 ? ORIEL_IMAGE_PNG : ORIEL_IMAGE_PNM};
        s = ORIEL_E_NOMEM;
        for (n = 1; s && n < 1000; n++) {
            oriel_alloc_fail_at((uint64_t)n);
            s = oriel_image_encode(&img, &out, &size, &opt);
            CHECK(s == ORIEL_OK || (s == ORIEL_E_NOMEM && !out && !size));
        }
        oriel_alloc_fail_at(0);
        CHECK_INT(s, ==, ORIEL_OK);
        CHECK_INT(n, >, 2);
        oriel_bytes_free(&out);
        oriel_image_free(&img);
        bytes_free(&file);
    }
}

static int write_corpus(const char *folder)
{
    const char *name;
    bytes file;
    for (int i = 0; any_sample(i, &name, &file); i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, name);
        FILE *f = fopen(path, "wb");
        if (!f || fwrite(file.data, 1, file.size, f) != file.size || fclose(f))
            return perror(path), 1;
        bytes_free(&file);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "--corpus"))
        return write_corpus(argv[2]);
    test_values();
    test_tensor_values(8);
    test_tensor_values(16);
    test_tensor_strides();
    test_tensor_errors();
    test_png_kinds();
    test_png_metadata();
    test_limits();
    test_round_trips();
    test_encode_errors();
    for (int i = 0; i < 128; i++)
        test_orientation(i % 8 + 1, i & 8, i / 16 % 4 + 1, i & 64 ? 16 : 8);
    test_copy_metadata();
    test_hostile_exif();
    test_pnm();
    test_bmp_tga();
    test_jpeg();
    test_jpeg_codings();
    test_jpeg_metadata();
    test_hostile_jpeg();
    test_photos();
    test_truncated();
    test_no_memory();
    return test_end();
}
