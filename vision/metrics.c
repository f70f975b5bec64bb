/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PSNR and SSIM as BasicSR's calculate_psnr and calculate_ssim: samples 0..255 in double; luma is
 * weighed in double and kept in float, as there. SSIM's Gaussian is separable, so a row of the map
 * needs the sums along x of eleven rows: of a, b, aa, bb and ab, which a ring keeps.
 */
#include <math.h>

#include "core/internal.h"

#include <oriel/vision.h>

enum { TAPS = 11, SUMS = 5 };

/* What is compared. */
typedef struct frame {
    int  width, height; /* after the crop */
    int  crop;
    int  channels; /* 1 or 3 */
    bool y;        /* compare luma */
} frame;

static double sample(const oriel_image *img, size_t pixel, int c)
{
    size_t at = pixel * (size_t)img->channels + (size_t)c;
    return img->depth == 8 ? ((const uint8_t *)img->data)[at]
                           : ((const uint16_t *)img->data)[at] / 257.0;
}

/* 0..1 in float, as BasicSR has it before it weighs the colours */
static float unit(const oriel_image *img, size_t pixel, int c)
{
    size_t at = pixel * (size_t)img->channels + (size_t)c;
    return img->depth == 8 ? (float)((const uint8_t *)img->data)[at] / 255.0f
                           : (float)((const uint16_t *)img->data)[at] / 65535.0f;
}

/* Grey is three equal colours, as a reader that gives RGB hands it to BasicSR. */
static double luma(const oriel_image *img, size_t pixel)
{
    int    g = img->channels < 3 ? 0 : 1, b = img->channels < 3 ? 0 : 2;
    double v = (65.481 * (double)unit(img, pixel, 0) + 128.553 * (double)unit(img, pixel, g) +
                24.966 * (double)unit(img, pixel, b) + 16.0) /
               255.0;
    return (float)v * 255.0f;
}

/* Row y of the frame, its channel c. */
static void load_row(double *row, const oriel_image *img, const frame *f, int y, int c)
{
    size_t pixel = ((size_t)y + (size_t)f->crop) * (size_t)img->width + (size_t)f->crop;
    for (int x = 0; x < f->width; x++, pixel++)
        row[x] = f->y ? luma(img, pixel) : sample(img, pixel, img->channels < 3 ? 0 : c);
}

/* The sum of squared differences of a row, and the largest difference so far. */
static double row_error(const double *a, const double *b, int n, double *max_abs)
{
    double sum = 0;
    for (int x = 0; x < n; x++) {
        double d = fabs(a[x] - b[x]);
        sum += d * d;
        *max_abs = d > *max_abs ? d : *max_abs;
    }
    return sum;
}

static void gaussian(double w[TAPS])
{
    double sum = 0;
    for (int i = 0; i < TAPS; i++)
        sum += w[i] = exp(-(i - 5) * (i - 5) / (2 * 1.5 * 1.5));
    for (int i = 0; i < TAPS; i++)
        w[i] /= sum;
}

/* out[s][n] = the window's sums along x of a, b, aa, bb, ab */
static void sums_along_x(double *out, const double *a, const double *b, const double w[TAPS], int n)
{
    memset(out, 0, SUMS * (size_t)n * sizeof *out);
    for (int k = 0; k < TAPS; k++)
        for (int x = 0; x < n; x++) {
            double p = a[x + k], q = b[x + k];
            out[x] += w[k] * p;
            out[n + x] += w[k] * q;
            out[2 * n + x] += w[k] * (p * p);
            out[3 * n + x] += w[k] * (q * q);
            out[4 * n + x] += w[k] * (p * q);
        }
}

/* The sum of a row of the SSIM map. Ring row (top + k) % TAPS has weight w[k]; m is (SUMS, n). */
static double ssim_row(double *m, const double *ring, int top, const double w[TAPS], int n)
{
    const double c1 = (0.01 * 255) * (0.01 * 255), c2 = (0.03 * 255) * (0.03 * 255);
    const size_t row = SUMS * (size_t)n;
    double       total = 0;
    memset(m, 0, row * sizeof *m);
    for (int k = 0; k < TAPS; k++)
        for (size_t i = 0; i < row; i++)
            m[i] += w[k] * ring[(size_t)((top + k) % TAPS) * row + i];
    for (int x = 0; x < n; x++) {
        double a = m[x], b = m[n + x], aa = a * a, bb = b * b, ab = a * b;
        total += ((2 * ab + c1) * (2 * (m[4 * n + x] - ab) + c2)) /
                 ((aa + bb + c1) * ((m[2 * n + x] - aa) + (m[3 * n + x] - bb) + c2));
    }
    return total;
}

static oriel_status check_image(const char *name, const oriel_image *img)
{
    if (!img || !img->data)
        return oriel_fail(ORIEL_E_ARG, "compare: no picture %s", name);
    if (img->width < 1 || img->width > ORIEL_IMAGE_MAX_SIDE || img->height < 1 ||
        img->height > ORIEL_IMAGE_MAX_SIDE || img->channels < 1 || img->channels > 4 ||
        (img->depth != 8 && img->depth != 16))
        return oriel_fail(ORIEL_E_ARG, "compare: picture %s is %d x %d, %d channels, %d bits", name,
                          img->width, img->height, img->channels, img->depth);
    return ORIEL_OK;
}

static oriel_status frame_of(frame *f, const oriel_image *a, const oriel_image *b,
                             const oriel_compare_options *opt)
{
    oriel_status s;
    int          crop = opt ? opt->crop : 0;
    if ((s = check_image("a", a)) || (s = check_image("b", b)))
        return s;
    if (a->width != b->width || a->height != b->height)
        return oriel_fail(ORIEL_E_ARG, "compare: %d x %d against %d x %d", a->width, a->height,
                          b->width, b->height);
    if (crop < 0 || crop > (oriel_min(a->width, a->height) - 1) / 2)
        return oriel_fail(ORIEL_E_ARG, "compare: a crop of %d of %d x %d", crop, a->width,
                          a->height);
    f->width = a->width - 2 * crop;
    f->height = a->height - 2 * crop;
    f->crop = crop;
    f->y = opt && opt->y;
    f->channels = !f->y && (a->channels > 2 || b->channels > 2) ? 3 : 1;
    return ORIEL_OK;
}

oriel_status oriel_image_compare(oriel_compare_result *out, const oriel_image *a,
                                 const oriel_image *b, const oriel_compare_options *opt)
{
    frame        f = {0};
    oriel_status s;
    if (!out)
        return oriel_fail(ORIEL_E_ARG, "compare: nowhere to put the result");
    if ((s = frame_of(&f, a, b, opt)))
        return s;
    int     n = f.width - (TAPS - 1), rows = f.height - (TAPS - 1); /* of the SSIM map */
    bool    map = n > 0 && rows > 0;
    size_t  width = (size_t)f.width, sums = map ? SUMS * (size_t)n : 0;
    double *row_a = oriel_alloc_zero(2 * width + (TAPS + 1) * sums, sizeof *row_a);
    if (!row_a)
        return ORIEL_E_NOMEM;
    double *row_b = row_a + width, *down = row_b + width, *ring = down + sums;
    double  w[TAPS], error = 0, max_abs = 0, ssim = 0;
    gaussian(w);
    for (int c = 0; c < f.channels; c++)
        for (int y = 0; y < f.height; y++) {
            load_row(row_a, a, &f, y, c);
            load_row(row_b, b, &f, y, c);
            error += row_error(row_a, row_b, f.width, &max_abs);
            if (!map)
                continue;
            sums_along_x(ring + (size_t)(y % TAPS) * sums, row_a, row_b, w, n);
            if (y >= TAPS - 1)
                ssim += ssim_row(down, ring, y + 1, w, n);
        }
    oriel_dealloc(row_a);
    double samples = (double)f.width * f.height * f.channels;
    *out = (oriel_compare_result){
        .psnr = error > 0 ? 10 * log10(255.0 * 255.0 / (error / samples)) : INFINITY,
        .ssim = map ? ssim / ((double)n * rows * f.channels) : NAN,
        .max_abs = max_abs,
    };
    return ORIEL_OK;
}
