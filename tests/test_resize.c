/* SPDX-License-Identifier: Apache-2.0 */
/* Resize against Pillow, PyTorch and MATLAB (golden/resize.bin); what must hold for any size. */
#include <math.h>
#include <stdint.h>

#include "core/internal.h"
#include "tests/hash.h"
#include "tests/test.h"

#include <oriel/vision.h>

static oriel_tensor view(float *data, int64_t rows, int64_t columns, int64_t channels)
{
    return oriel_tensor_of(data, ORIEL_F32, 3, (int64_t[]){rows, columns, channels});
}

static float *floats(uint64_t seed, size_t n)
{
    float *p = malloc((n + 1) * sizeof *p);
    for (size_t i = 0; p && i < n; i++)
        p[i] = test_unit(seed, i);
    if (!p)
        abort();
    return p;
}

/* ---- golden ------------------------------------------------------------------------------- */

typedef struct record {
    int32_t kind, rule, filter, channels, src_w, src_h, dst_w, dst_h, bytes;
} record;

static void describe(const record *r, int seed)
{
    fprintf(stderr, "  record %d: kind %d, rule %d, filter %d, %d channels, %d x %d to %d x %d\n",
            seed, r->kind, r->rule, r->filter, r->channels, r->src_w, r->src_h, r->dst_w, r->dst_h);
}

/* As make_resize_golden.py's picture(), or 16 bits. */
static void fill_picture(oriel_image *img, uint64_t seed)
{
    size_t n = (size_t)img->width * (size_t)img->height * (size_t)img->channels;
    for (size_t i = 0; i < n; i++) {
        uint64_t v = test_hash(seed, i);
        bool     alpha = img->channels % 2 == 0 && (int)(i % (size_t)img->channels) ==
                                                   img->channels - 1;
        if (img->depth == 16)
            ((uint16_t *)img->data)[i] = (uint16_t)(v >> 48);
        else if (alpha && (v >> 56) < 80)
            ((uint8_t *)img->data)[i] = 0;
        else if (alpha && (v >> 56) >= 176)
            ((uint8_t *)img->data)[i] = 255;
        else
            ((uint8_t *)img->data)[i] = (uint8_t)(v >> 56);
    }
}

/* The largest difference; 8 bits must be equal, 16 bits may be off by their own rounding. */
static double picture_error(const record *r, int seed, const void *golden)
{
    oriel_resize_options opt = {.filter = (oriel_filter)r->filter,
                                .rule = (oriel_resize_rule)r->rule};
    oriel_image          src = {0}, dst = {0};
    double               worst = INFINITY;
    if (oriel_image_new(&src, r->src_w, r->src_h, r->channels, r->kind == 0 ? 8 : 16))
        return INFINITY;
    fill_picture(&src, (uint64_t)seed);
    if (oriel_image_resize(&dst, &src, r->dst_w, r->dst_h, &opt) == ORIEL_OK && dst.data) {
        int n = r->dst_w * r->dst_h * r->channels;
        worst = 0;
        for (int i = 0; i < n; i++)
            worst = fmax(worst, r->kind == 0 ? abs(((const uint8_t *)dst.data)[i] -
                                                   ((const uint8_t *)golden)[i])
                                             : fabs(((const uint16_t *)dst.data)[i] -
                                                    (double)((const float *)golden)[i]));
    }
    oriel_image_free(&src);
    oriel_image_free(&dst);
    return worst;
}

static double tensor_error(const record *r, int seed, const float *golden)
{
    oriel_resize_options opt = {.filter = (oriel_filter)r->filter,
                                .rule = (oriel_resize_rule)r->rule};
    size_t  n = (size_t)r->dst_w * (size_t)r->dst_h * (size_t)r->channels;
    float  *src = floats((uint64_t)seed, (size_t)r->src_w * (size_t)r->src_h * (size_t)r->channels);
    float  *dst = floats(0, n);
    double  worst = 0;
    if (oriel_resize(view(dst, r->dst_h, r->dst_w, r->channels),
                     view(src, r->src_h, r->src_w, r->channels), &opt))
        worst = INFINITY;
    for (size_t i = 0; i < n; i++)
        worst = dst[i] == dst[i] ? fmax(worst, fabs((double)dst[i] - (double)golden[i])) : INFINITY;
    free(src);
    free(dst);
    return worst;
}

static void test_golden(void)
{
    static char file[200000];
    static float at[sizeof file / sizeof(float)]; /* aligned, unlike in the file */
    FILE   *f = fopen("tests/golden/resize.bin", "rb");
    size_t  size = f ? fread(file, 1, sizeof file, f) : 0, pos = 8;
    int32_t count = 0, seen[3] = {0};
    double  worst[3] = {0};
    if (f)
        fclose(f);
    CHECK(size > 8 && size < sizeof file && !memcmp(file, "ORSZ", 4));
    if (size <= 8)
        return;
    memcpy(&count, file + 4, 4);
    for (int i = 0; i < count && pos + sizeof(record) <= size; i++) {
        record r;
        memcpy(&r, file + pos, sizeof r);
        pos += sizeof r;
        if (r.kind < 0 || r.kind > 2 || pos + (size_t)r.bytes > size)
            break;
        memcpy(at, file + pos, (size_t)r.bytes);
        pos += (size_t)r.bytes;
        /* floats: 2^-24 for each of some sixteen operations on values about 1; 16 bits: half a
         * level to round, and 2^-24 of 65535 for each of some eighty operations */
        const double limit[3] = {0, 16 * 0x1p-24, 0.5 + 80 * 0x1p-24 * 65535};
        double       e = r.kind == 1 ? tensor_error(&r, i, at) : picture_error(&r, i, at);
        seen[r.kind]++;
        worst[r.kind] = fmax(worst[r.kind], e);
        CHECK_NUM(e, <=, limit[r.kind]);
        if (!(e <= limit[r.kind]))
            describe(&r, i);
    }
    CHECK_INT(pos, ==, size);
    CHECK_INT(seen[0] + seen[1] + seen[2], ==, count);
    for (int k = 0; k < 3; k++)
        CHECK_INT(seen[k], >=, 20);
    printf("golden: 8-bit pictures %g, tensors %.2g, 16-bit pictures %.3g off at most\n", worst[0],
           worst[1], worst[2]);
}

/* ---- what holds for any input --------------------------------------------------------------- */

static const struct {
    oriel_resize_rule rule;
    oriel_filter      filter;
} modes[] = {
    {ORIEL_RESIZE_PIL, ORIEL_BICUBIC},    {ORIEL_RESIZE_PIL, ORIEL_BILINEAR},
    {ORIEL_RESIZE_PIL, ORIEL_LANCZOS3},   {ORIEL_RESIZE_PIL, ORIEL_AREA},
    {ORIEL_RESIZE_PIL, ORIEL_NEAREST},    {ORIEL_RESIZE_TORCH, ORIEL_BICUBIC},
    {ORIEL_RESIZE_TORCH, ORIEL_BILINEAR}, {ORIEL_RESIZE_TORCH, ORIEL_AREA},
    {ORIEL_RESIZE_TORCH, ORIEL_NEAREST},  {ORIEL_RESIZE_MATLAB, ORIEL_BICUBIC},
    {ORIEL_RESIZE_MATLAB, ORIEL_BILINEAR},
};
enum { MODES = sizeof modes / sizeof modes[0] };

static oriel_resize_options mode(int m)
{
    return (oriel_resize_options){.filter = modes[m].filter, .rule = modes[m].rule};
}

/* A view with every stride odd, rows upwards and columns leftwards, in a field of NaN. */
enum { FIELD = 60000 };
static oriel_tensor scattered(float *field, int64_t rows, int64_t columns, int64_t channels)
{
    int64_t c = 3, x = c * channels + 2, y = x * columns + 7;
    for (int i = 0; i < FIELD; i++)
        field[i] = NAN;
    return (oriel_tensor){.data = field + 5 + y * (rows - 1) + x * (columns - 1),
                          .dtype = ORIEL_F32,
                          .ndim = 3,
                          .shape = {rows, columns, channels},
                          .stride = {-y, -x, c}};
}

static float *element(const oriel_tensor *t, int64_t y, int64_t x, int64_t c)
{
    return (float *)t->data + y * t->stride[0] + x * t->stride[1] + c * t->stride[2];
}

/* Any number of channels, in any strides, is each channel for itself; nothing else is written. */
static void test_channels_and_strides(void)
{
    static float field_a[FIELD], field_b[FIELD];
    const int    sh = 11, sw = 13, dh = 17, dw = 7;
    for (int m = 0; m < MODES; m++)
        for (int C = 1; C <= 6; C++) {
            oriel_resize_options opt = mode(m);
            oriel_tensor src = scattered(field_a, sh, sw, C), dst = scattered(field_b, dh, dw, C);
            float        one[11 * 13], out[17 * 7];
            int          differ = 0, written = 0;
            for (int i = 0; i < sh * sw * C; i++)
                *element(&src, i / C / sw, i / C % sw, i % C) = test_unit(9, (uint64_t)i);
            CHECK_OK(oriel_resize(dst, src, &opt));
            for (int c = 0; c < C; c++) {
                for (int i = 0; i < sh * sw; i++)
                    one[i] = *element(&src, i / sw, i % sw, c);
                CHECK_OK(oriel_resize(view(out, dh, dw, 1), view(one, sh, sw, 1), &opt));
                for (int i = 0; i < dh * dw; i++)
                    differ += *element(&dst, i / dw, i % dw, c) != out[i];
            }
            for (int i = 0; i < FIELD; i++)
                written += field_b[i] == field_b[i];
            CHECK_INT(differ, ==, 0);
            CHECK_INT(written, ==, dh * dw * C);
        }
}

/* One value stays that value: the weights of each output sum to 1, but for 2^-24 a tap, and there
 * are up to 283 of them along each axis. */
static void test_constant(void)
{
    const int sides[] = {1, 2, 3, 11, 64, 283};
    for (int m = 0; m < MODES; m++)
        for (int a = 0; a < 6; a++)
            for (int b = 0; b < 6; b++) {
                int    sw = sides[a], sh = sides[5 - b], dw = sides[b], dh = sides[a];
                float *src = floats(1, (size_t)(sw * sh)), *dst = floats(2, (size_t)(dw * dh));
                double worst = 0;
                for (int i = 0; i < sw * sh; i++)
                    src[i] = 0.7f;
                oriel_resize_options opt = mode(m);
                CHECK_OK(oriel_resize(view(dst, dh, dw, 1), view(src, sh, sw, 1), &opt));
                for (int i = 0; i < dw * dh; i++)
                    worst = fmax(worst, fabs((double)dst[i] - (double)0.7f));
                CHECK_NUM(worst, <=, 2 * 283 * 0x1p-24);
                free(src);
                free(dst);
            }
}

/* Area to one pixel is the mean; to a whole fraction, the mean of each block. */
static void test_area(void)
{
    float *src = floats(3, 210 * 143), dst[1], blocks[14 * 11];
    double sum = 0, worst = 0;
    for (int i = 0; i < 210 * 143; i++)
        sum += (double)src[i];
    for (int rule = ORIEL_RESIZE_PIL; rule <= ORIEL_RESIZE_TORCH; rule++) {
        oriel_resize_options opt = {.filter = ORIEL_AREA, .rule = (oriel_resize_rule)rule};
        CHECK_OK(oriel_resize(view(dst, 1, 1, 1), view(src, 143, 210, 1), &opt));
        CHECK_NUM(fabs((double)dst[0] - sum / (210 * 143)), <=, (210 + 143) * 0x1p-24);
        CHECK_OK(oriel_resize(view(blocks, 11, 14, 1), view(src, 143, 210, 1), &opt));
        for (int i = 0; i < 11 * 14; i++) {
            double mean = 0;
            for (int k = 0; k < 13 * 15; k++)
                mean += (double)src[(i / 14 * 13 + k / 15) * 210 + i % 14 * 15 + k % 15] / 195;
            worst = fmax(worst, fabs((double)blocks[i] - mean));
        }
        CHECK_NUM(worst, <=, (13 + 15 + 4) * 0x1p-24);
    }
    free(src);
}

/* Left half opaque red, right half transparent green: no green may show, at any depth and rule. */
static void test_alpha(void)
{
    for (int depth = 8; depth <= 16; depth += 8)
        for (int m = 0; m < MODES; m++) {
            oriel_resize_options opt = mode(m);
            oriel_image          src = {0}, dst = {0};
            int                  top = depth == 8 ? 255 : 65535, green = 0, faded = 0, soft = 0;
            CHECK_OK(oriel_image_new(&src, 16, 5, 4, depth));
            for (int i = 0; src.data && i < 16 * 5 * 4; i++) {
                int left = i / 4 % 16 < 8, c = i % 4, v = left ? c == 0 || c == 3 : c == 1;
                if (depth == 8)
                    ((uint8_t *)src.data)[i] = (uint8_t)(v * top);
                else
                    ((uint16_t *)src.data)[i] = (uint16_t)(v * top);
            }
            CHECK_OK(oriel_image_resize(&dst, &src, 23, 7, &opt));
            for (int i = 0; dst.data && i < 23 * 7; i++) {
                int p[4];
                for (int c = 0; c < 4; c++)
                    p[c] = depth == 8 ? ((uint8_t *)dst.data)[4 * i + c]
                                      : ((uint16_t *)dst.data)[4 * i + c];
                green += p[3] > 0 && p[1] > 0;
                soft += p[3] > 0 && p[3] < top;
                faded += p[3] > top / 16 && p[0] < top - top / 200;
            }
            CHECK_INT(green, ==, 0);
            CHECK_INT(faded, ==, 0);
            if (opt.filter == ORIEL_BICUBIC)
                CHECK_INT(soft, >, 0); /* else nothing was shown */
            oriel_image_free(&src);
            oriel_image_free(&dst);
        }
}

static void test_same_size(void)
{
    for (int channels = 1; channels <= 4; channels++)
        for (int depth = 8; depth <= 16; depth += 8)
            for (int m = 0; m < MODES; m++) {
                oriel_resize_options opt = mode(m);
                oriel_image          src = {0}, dst = {0};
                CHECK_OK(oriel_image_new(&src, 9, 4, channels, depth));
                fill_picture(&src, 77);
                CHECK_OK(oriel_image_resize(&dst, &src, 9, 4, &opt));
                CHECK(dst.depth == depth && dst.channels == channels);
                CHECK(dst.data && !memcmp(dst.data, src.data, (size_t)(36 * channels * depth / 8)));
                oriel_image_free(&src);
                oriel_image_free(&dst);
            }
}

/* ---- failures ------------------------------------------------------------------------------- */

static void test_arguments(void)
{
    float                a[48] = {0}, b[48];
    oriel_tensor         src = view(a, 4, 4, 3), dst = view(b, 2, 8, 3), t;
    oriel_resize_options opt = {0};
    CHECK_OK(oriel_resize(dst, src, NULL));
    t = src, t.data = NULL;
    CHECK_FAILS(oriel_resize(dst, t, NULL), ORIEL_E_ARG);
    t = src, t.dtype = ORIEL_F16;
    CHECK_FAILS(oriel_resize(dst, t, NULL), ORIEL_E_ARG);
    t = src, t.ndim = 2;
    CHECK_FAILS(oriel_resize(dst, t, NULL), ORIEL_E_ARG);
    t = dst, t.shape[0] = 0;
    CHECK_FAILS(oriel_resize(t, src, NULL), ORIEL_E_ARG);
    t = dst, t.shape[1] = ORIEL_IMAGE_MAX_SIDE + 1;
    CHECK_FAILS(oriel_resize(t, src, NULL), ORIEL_E_ARG);
    t = dst, t.shape[2] = 2;
    CHECK_FAILS(oriel_resize(t, src, NULL), ORIEL_E_ARG);
    t = dst, t.stride[1] = 0;
    CHECK_FAILS(oriel_resize(t, src, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_resize(src, src, NULL), ORIEL_E_ARG);
    opt.filter = (oriel_filter)5;
    CHECK_FAILS(oriel_resize(dst, src, &opt), ORIEL_E_ARG);
    opt.filter = ORIEL_BICUBIC, opt.rule = (oriel_resize_rule)3;
    CHECK_FAILS(oriel_resize(dst, src, &opt), ORIEL_E_ARG);
    for (int rule = 0; rule < 3; rule++)
        for (int filter = 0; filter < 5; filter++) {
            bool known = false;
            for (int m = 0; m < MODES; m++)
                known |= (int)modes[m].rule == rule && (int)modes[m].filter == filter;
            opt = (oriel_resize_options){(oriel_filter)filter, (oriel_resize_rule)rule};
            CHECK_INT(oriel_resize(dst, src, &opt), ==, known ? ORIEL_OK : ORIEL_E_UNSUPPORTED);
        }

    oriel_image img = {0}, out = {0}, bad;
    CHECK_OK(oriel_image_new(&img, 3, 3, 3, 8));
    CHECK_FAILS(oriel_image_resize(NULL, &img, 2, 2, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_resize(&img, &img, 2, 2, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_resize(&out, NULL, 2, 2, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_resize(&out, &out, 2, 2, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_resize(&out, &img, 0, 2, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_resize(&out, &img, 2, -1, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_resize(&out, &img, ORIEL_IMAGE_MAX_SIDE + 1, 2, NULL), ORIEL_E_ARG);
    bad = img, bad.channels = 5;
    CHECK_FAILS(oriel_image_resize(&out, &bad, 2, 2, NULL), ORIEL_E_ARG);
    bad = img, bad.depth = 12;
    CHECK_FAILS(oriel_image_resize(&out, &bad, 2, 2, NULL), ORIEL_E_ARG);
    bad = img, bad.width = 0;
    CHECK_FAILS(oriel_image_resize(&out, &bad, 2, 2, NULL), ORIEL_E_ARG);
    CHECK(!out.data);
    oriel_image_free(&img);
}

static void test_no_memory(void)
{
    float               *src = floats(1, 5 * 7 * 3), dst[9 * 4 * 3];
    oriel_resize_options opts[] = {{ORIEL_BICUBIC, ORIEL_RESIZE_PIL},
                                   {ORIEL_BICUBIC, ORIEL_RESIZE_TORCH},
                                   {ORIEL_BICUBIC, ORIEL_RESIZE_MATLAB}};
    for (int n = 1, done = 0; !done; n++) {
        oriel_alloc_fail_at((uint64_t)n);
        oriel_status s = oriel_resize(view(dst, 9, 4, 3), view(src, 5, 7, 3), NULL);
        oriel_alloc_fail_at(0);
        done = s == ORIEL_OK;
        CHECK(done ? n > 6 : s == ORIEL_E_NOMEM);
    }
    free(src);
    for (int k = 0; k < 3; k++)
        for (int depth = 8; depth <= 16; depth += 8) {
            oriel_image img = {0}, out = {0};
            CHECK_OK(oriel_image_new(&img, 5, 7, 4, depth));
            for (int n = 1, done = 0; !done; n++) {
                oriel_alloc_fail_at((uint64_t)n);
                oriel_status s = oriel_image_resize(&out, &img, 9, 4, &opts[k]);
                oriel_alloc_fail_at(0);
                done = s == ORIEL_OK;
                CHECK(done ? n > 8 && out.data : s == ORIEL_E_NOMEM && !out.data);
            }
            oriel_image_free(&img);
            oriel_image_free(&out);
        }
}

int main(void)
{
    test_golden();
    test_channels_and_strides();
    test_constant();
    test_area();
    test_alpha();
    test_same_size();
    test_arguments();
    test_no_memory();
    return test_end();
}
