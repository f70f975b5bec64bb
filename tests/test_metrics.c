/* SPDX-License-Identifier: Apache-2.0 */
/* PSNR and SSIM against BasicSR's definitions in numpy (golden/metrics.txt). */
#include <math.h>

#include "core/internal.h"
#include "tests/hash.h"
#include "tests/test.h"

#include <oriel/vision.h>

static int get(const oriel_image *img, size_t i)
{
    return img->depth == 8 ? ((const uint8_t *)img->data)[i] : ((const uint16_t *)img->data)[i];
}

static void set(oriel_image *img, size_t i, int v)
{
    if (img->depth == 8)
        ((uint8_t *)img->data)[i] = (uint8_t)v;
    else
        ((uint16_t *)img->data)[i] = (uint16_t)v;
}

static size_t samples(const oriel_image *img)
{
    return (size_t)img->width * (size_t)img->height * (size_t)img->channels;
}

/* As make_metrics_golden.py's pair(). */
static void fill_pair(oriel_image *a, oriel_image *b, uint64_t line)
{
    for (size_t i = 0; i < samples(a); i++)
        set(a, i, (int)(test_hash(2 * line, i) >> (64 - a->depth)));
    for (size_t i = 0; i < samples(b); i++) {
        int v = (int)(test_hash(2 * line + 1, i) >> (64 - b->depth)), top = (1 << b->depth) - 1;
        if (a->channels == b->channels && a->depth == b->depth)
            v = get(a, i) + (v >> 3) - (1 << (a->depth - 4));
        set(b, i, v < 0 ? 0 : v > top ? top : v);
    }
}

/* Doubles summed in another order: some hundred terms in 1e-16, times 1e3 where SSIM subtracts. */
static void test_golden(void)
{
    FILE *f = fopen("tests/golden/metrics.txt", "r");
    int   w, h, ca, da, cb, db, y, crop, lines = 0;
    double psnr, ssim, max_abs;
    CHECK(f != NULL);
    if (!f)
        return;
    while (fscanf(f, "%d%d%d%d%d%d%d%d%lf%lf%lf", &w, &h, &ca, &da, &cb, &db, &y, &crop, &psnr,
                  &ssim, &max_abs) == 11) {
        oriel_image          a = {0}, b = {0};
        oriel_compare_result r = {0};
        CHECK_OK(oriel_image_new(&a, w, h, ca, da));
        CHECK_OK(oriel_image_new(&b, w, h, cb, db));
        fill_pair(&a, &b, (uint64_t)lines++);
        CHECK_OK(oriel_image_compare(&r, &a, &b, &(oriel_compare_options){y != 0, crop}));
        CHECK_NUM(fabs(r.psnr - psnr), <=, 1e-11);
        CHECK_NUM(fabs(r.max_abs - max_abs), <=, 1e-11);
        if (isnan(ssim))
            CHECK(isnan(r.ssim));
        else
            CHECK_NUM(fabs(r.ssim - ssim), <=, 1e-11);
        CHECK_OK(oriel_image_compare(&r, &a, &a, &(oriel_compare_options){y != 0, crop}));
        CHECK(isinf(r.psnr) && r.psnr > 0 && r.max_abs == 0);
        CHECK(isnan(ssim) ? isnan(r.ssim) : fabs(r.ssim - 1) <= 1e-11);
        oriel_image_free(&a);
        oriel_image_free(&b);
    }
    CHECK(feof(f));
    CHECK_INT(lines, >=, 17);
    fclose(f);
}

/* What is under alpha or outside the crop does not count. */
static void test_ignored(void)
{
    oriel_image          a = {0}, b = {0};
    oriel_compare_result r = {0};
    CHECK_OK(oriel_image_new(&a, 15, 16, 4, 8));
    CHECK_OK(oriel_image_new(&b, 15, 16, 4, 8));
    for (int i = 0; i < 15 * 16; i++) {
        int border = i % 15 < 2 || i % 15 >= 13 || i / 15 < 2 || i / 15 >= 14;
        set(&a, (size_t)i * 4, border ? 255 : 9);
        set(&b, (size_t)i * 4, 9);
        set(&a, (size_t)i * 4 + 3, i & 255);
    }
    CHECK_OK(oriel_image_compare(&r, &a, &b, &(oriel_compare_options){.crop = 2}));
    CHECK(isinf(r.psnr) && fabs(r.ssim - 1) <= 1e-11 && r.max_abs == 0);
    CHECK_OK(oriel_image_compare(&r, &a, &b, &(oriel_compare_options){.crop = 1}));
    CHECK_NUM(r.max_abs, ==, 246);
    CHECK_OK(oriel_image_compare(&r, &a, &b, NULL));
    CHECK_NUM(r.psnr, <, 20);
    oriel_image_free(&a);
    oriel_image_free(&b);
}

static void test_failures(void)
{
    oriel_image          a = {0}, b = {0}, bad;
    oriel_compare_result r;
    CHECK_OK(oriel_image_new(&a, 15, 16, 3, 8));
    CHECK_OK(oriel_image_new(&b, 15, 16, 3, 8));
    CHECK_FAILS(oriel_image_compare(NULL, &a, &b, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_compare(&r, NULL, &b, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_compare(&r, &a, NULL, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_compare(&r, &a, &(oriel_image){0}, NULL), ORIEL_E_ARG);
    bad = b, bad.width = 14;
    CHECK_FAILS(oriel_image_compare(&r, &a, &bad, NULL), ORIEL_E_ARG);
    bad = b, bad.height = 15;
    CHECK_FAILS(oriel_image_compare(&r, &a, &bad, NULL), ORIEL_E_ARG);
    bad = b, bad.channels = 0;
    CHECK_FAILS(oriel_image_compare(&r, &a, &bad, NULL), ORIEL_E_ARG);
    bad = b, bad.depth = 1;
    CHECK_FAILS(oriel_image_compare(&r, &bad, &b, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_compare(&r, &a, &b, &(oriel_compare_options){.crop = -1}), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_compare(&r, &a, &b, &(oriel_compare_options){.crop = 8}), ORIEL_E_ARG);
    CHECK_OK(oriel_image_compare(&r, &a, &b, &(oriel_compare_options){.crop = 7}));
    for (int n = 1, done = 0; !done; n++) {
        oriel_alloc_fail_at((uint64_t)n);
        oriel_status s = oriel_image_compare(&r, &a, &b, NULL);
        oriel_alloc_fail_at(0);
        done = s == ORIEL_OK;
        CHECK(done ? n > 1 : s == ORIEL_E_NOMEM);
    }
    oriel_image_free(&a);
    oriel_image_free(&b);
}

int main(void)
{
    test_golden();
    test_ignored();
    test_failures();
    return test_end();
}
