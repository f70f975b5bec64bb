/* SPDX-License-Identifier: Apache-2.0 */
/* Set5: our MATLAB bicubic makes the benchmark's own low-resolution pictures, byte for byte, and
 * enlarged again they score what the papers print under "Bicubic". */
#include <math.h>

#include "core/internal.h"
#include "tests/test.h"

#include <oriel/vision.h>

static const oriel_resize_options matlab = {.filter = ORIEL_BICUBIC, .rule = ORIEL_RESIZE_MATLAB};

/* The top left part, sides whole multiples of n. */
static oriel_status crop_to_multiple(oriel_image *out, const oriel_image *in, int n)
{
    int          w = in->width / n * n, h = in->height / n * n;
    oriel_status s = oriel_image_new(out, w, h, in->channels, in->depth);
    size_t       row = (size_t)(w * in->channels * in->depth / 8);
    for (int y = 0; !s && y < h; y++)
        memcpy((char *)out->data + (size_t)y * row,
               (const char *)in->data + (size_t)y * (size_t)in->width * row / (size_t)w, row);
    return s;
}

/* Samples of the published picture that ours does not equal; PSNR and SSIM after the way back. */
static int compare_one(const char *name, int scale, oriel_compare_result *r)
{
    char         path[128];
    const char  *hr_path, *lr_path;
    oriel_image  whole = {0}, hr = {0}, lr = {0}, small = {0}, large = {0};
    int          differ = -1;
    oriel_status s;
    snprintf(path, sizeof path, "set5/HR/%s.png", name);
    hr_path = test_data(path);
    snprintf(path, sizeof path, "set5/LR_bicubic/X%d/%sx%d.png", scale, name, scale);
    lr_path = test_data(path);
    if (!hr_path || !lr_path)
        return -1;
    if (!(s = oriel_image_read(&whole, hr_path, NULL)) &&
        !(s = oriel_image_read(&lr, lr_path, NULL)) &&
        !(s = crop_to_multiple(&hr, &whole, scale)) &&
        !(s = oriel_image_resize(&small, &hr, hr.width / scale, hr.height / scale, &matlab)) &&
        !(s = oriel_image_resize(&large, &small, hr.width, hr.height, &matlab)) &&
        !(s = oriel_image_compare(r, &large, &hr, &(oriel_compare_options){true, scale}))) {
        CHECK(small.width == lr.width && small.height == lr.height && lr.channels == 3);
        differ = 0;
        for (int i = 0; i < lr.width * lr.height * 3; i++)
            differ += ((uint8_t *)small.data)[i] != ((uint8_t *)lr.data)[i];
    }
    CHECK_OK(s);
    oriel_image_free(&whole);
    oriel_image_free(&hr);
    oriel_image_free(&lr);
    oriel_image_free(&small);
    oriel_image_free(&large);
    return differ;
}

int main(void)
{
    static const char *const names[] = {"baby", "bird", "butterfly", "head", "woman"};
    /* Bicubic on Set5 as the papers print it, on Y */
    static const struct {
        int    scale;
        double psnr, ssim;
    } papers[] = {{2, 33.66, 0.9299}, {3, 30.39, 0.8682}, {4, 28.42, 0.8104}};
    if (!test_data("set5/HR/baby.png")) {
        SKIP("no Set5");
        return test_end();
    }
    oriel_image img = {0};
    if (oriel_image_read(&img, test_data("set5/HR/baby.png"), NULL) == ORIEL_E_UNSUPPORTED) {
        SKIP("this build reads no PNG");
        return test_end();
    }
    oriel_image_free(&img);
    for (int k = 0; k < 3; k++) {
        double psnr = 0, ssim = 0;
        for (int i = 0; i < 5; i++) {
            oriel_compare_result r = {0};
            CHECK_INT(compare_one(names[i], papers[k].scale, &r), ==, 0);
            psnr += r.psnr / 5;
            ssim += r.ssim / 5;
        }
        printf("x%d: %.2f dB, %.4f\n", papers[k].scale, psnr, ssim);
        CHECK_NUM(fabs(psnr - papers[k].psnr), <, 0.05);
        CHECK_NUM(fabs(ssim - papers[k].ssim), <, 0.001);
    }
    return test_end();
}
