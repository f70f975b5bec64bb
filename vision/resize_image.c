/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resizing pictures.
 *
 * 8 bits under PIL's rule and MATLAB's: two passes over bytes, rounded and clamped after each, as
 * both programs do it. PIL filters along x first (Pillow 13 no longer where the height shrinks much
 * more than the width), MATLAB along the axis that shrinks more, along y if equal. PIL's weights
 * are whole multiples of 2^-22, so sums of them in double are exact and equal to PIL's integers.
 * All else: floats, rounded once.
 *
 * Colour is multiplied by alpha before and divided after; bytes as PIL does it (RGBa). Nearest only
 * picks pixels, hidden colours included.
 */
#include <math.h>

#include "core/internal.h"
#include "vision/resize.h"

static bool has_alpha(const oriel_image *img)
{
    return img->channels == 2 || img->channels == 4;
}

/* ---- bytes -------------------------------------------------------------------------------- */

static void quantise(oriel_taps *t)
{
    const double one = 1 << 22;
    for (size_t i = 0; i < (size_t)t->dst * (size_t)t->max; i++) {
        double w = t->weight[i] * one;
        t->weight[i] = trunc(w < 0 ? w - 0.5 : w + 0.5) / one;
    }
}

static inline uint8_t to_byte(double v)
{
    v += 0.5;
    return v >= 255 ? 255 : v > 0 ? (uint8_t)v : 0;
}

/* dst (rows, dst, C) from src (rows, src, C), C known where it is inlined */
static inline __attribute__((always_inline)) void along_x_of(uint8_t *restrict dst,
                                                             const uint8_t *restrict src,
                                                             const oriel_taps *t, int rows, int C)
{
    for (int y = 0; y < rows; y++, src += (size_t)t->src * C)
        for (int i = 0; i < t->dst; i++, dst += C) {
            const double  *w = t->weight + (size_t)i * t->max;
            const uint8_t *p = src + (size_t)t->range[i].first * C;
            double         sum[4] = {0};
            for (int k = 0; k < t->range[i].count; k++)
                for (int c = 0; c < C; c++)
                    sum[c] += w[k] * p[k * C + c];
            for (int c = 0; c < C; c++)
                dst[c] = to_byte(sum[c]);
        }
}

static void along_x(uint8_t *dst, const uint8_t *src, const oriel_taps *t, int rows, int C)
{
    switch (C) {
    case 1:
        along_x_of(dst, src, t, rows, 1);
        break;
    case 2:
        along_x_of(dst, src, t, rows, 2);
        break;
    case 3:
        along_x_of(dst, src, t, rows, 3);
        break;
    default:
        along_x_of(dst, src, t, rows, 4);
    }
}

/* dst (dst, width) from src (src, width), in pieces that stay in the first-level cache */
static void along_y(uint8_t *dst, const uint8_t *src, const oriel_taps *t, size_t width)
{
    enum { PIECE = 1024 };
    double sum[PIECE];
    for (int i = 0; i < t->dst; i++, dst += width) {
        const double  *w = t->weight + (size_t)i * t->max;
        const uint8_t *first = src + (size_t)t->range[i].first * width;
        for (size_t x = 0; x < width; x += PIECE) {
            size_t n = width - x < PIECE ? width - x : PIECE;
            memset(sum, 0, n * sizeof *sum);
            for (int k = 0; k < t->range[i].count; k++) {
                const uint8_t *p = first + (size_t)k * width + x;
                for (size_t j = 0; j < n; j++)
                    sum[j] += w[k] * p[j];
            }
            for (size_t j = 0; j < n; j++)
                dst[x + j] = to_byte(sum[j]);
        }
    }
}

/* (count, C), the last of C being alpha */
static void premultiply(uint8_t *dst, const uint8_t *src, size_t count, int C)
{
    for (size_t i = 0; i < count; i++, dst += C, src += C) {
        unsigned a = src[C - 1];
        for (int c = 0; c < C - 1; c++) {
            unsigned v = src[c] * a + 128;
            dst[c] = (uint8_t)((v + (v >> 8)) >> 8); /* v / 255, rounded */
        }
        dst[C - 1] = (uint8_t)a;
    }
}

static void unpremultiply(uint8_t *p, size_t count, int C)
{
    for (size_t i = 0; i < count; i++, p += C) {
        unsigned a = p[C - 1];
        for (int c = 0; a != 0 && a != 255 && c < C - 1; c++)
            p[c] = (uint8_t)oriel_min(255 * p[c] / a, 255);
    }
}

static oriel_status resize_bytes(oriel_image *dst, const oriel_image *src, oriel_taps *x,
                                 oriel_taps *y, const oriel_resize_options *opt)
{
    int            C = src->channels;
    bool           alpha = has_alpha(src) && opt->filter != ORIEL_NEAREST;
    bool           pil = opt->rule == ORIEL_RESIZE_PIL;
    bool           x_first = pil || (int64_t)x->dst * y->src < (int64_t)y->dst * x->src;
    size_t         pixels = (size_t)src->width * (size_t)src->height;
    size_t         between = (size_t)(x_first ? x->dst : x->src) *
                     (size_t)(x_first ? y->src : y->dst) * (size_t)C;
    const uint8_t *in = src->data;
    uint8_t       *out = dst->data;
    uint8_t       *weighted = alpha ? oriel_alloc(pixels * (size_t)C) : NULL;
    uint8_t       *temp = alpha && !weighted ? NULL : oriel_alloc(between);
    if (temp) {
        if (pil) {
            quantise(x);
            quantise(y);
        }
        if (alpha) {
            premultiply(weighted, in, pixels, C);
            in = weighted;
        }
        if (x_first) {
            along_x(temp, in, x, y->src, C);
            along_y(out, temp, y, (size_t)x->dst * (size_t)C);
        } else {
            along_y(temp, in, y, (size_t)x->src * (size_t)C);
            along_x(out, temp, x, y->dst, C);
        }
        if (alpha)
            unpremultiply(out, (size_t)x->dst * (size_t)y->dst, C);
    }
    oriel_dealloc(weighted);
    oriel_dealloc(temp);
    return temp ? ORIEL_OK : ORIEL_E_NOMEM;
}

/* ---- floats ------------------------------------------------------------------------------- */

typedef struct image_io {
    const oriel_image *src;
    oriel_image       *dst;
    bool               alpha; /* weight colour by it */
} image_io;

static const float *load_image(void *ctx, int y, float *row)
{
    const image_io *io = ctx;
    const int       C = io->src->channels;
    const size_t    n = (size_t)io->src->width * (size_t)C, at = (size_t)y * n;
    if (io->src->depth == 8)
        for (size_t i = 0; i < n; i++)
            row[i] = ((const uint8_t *)io->src->data)[at + i];
    else
        for (size_t i = 0; i < n; i++)
            row[i] = ((const uint16_t *)io->src->data)[at + i];
    if (io->alpha)
        for (size_t i = 0; i < n; i += (size_t)C)
            for (int c = 0; c < C - 1; c++)
                row[i + (size_t)c] *= row[i + (size_t)C - 1] / (io->src->depth == 8 ? 255 : 65535);
    return row;
}

static float *target_image(void *ctx, int y, float *row)
{
    (void)ctx, (void)y;
    return row;
}

static void store_image(void *ctx, int y, const float *row)
{
    const image_io *io = ctx;
    const int       C = io->dst->channels;
    const float     top = io->dst->depth == 8 ? 255 : 65535;
    size_t          at = (size_t)y * (size_t)io->dst->width * (size_t)C;
    for (int x = 0; x < io->dst->width; x++, row += C)
        for (int c = 0; c < C; c++, at++) {
            float v = row[c], a = row[C - 1];
            if (io->alpha && c < C - 1)
                v = a >= 0.5f ? v / a * top : 0; /* what rounds to alpha 0 has no colour */
            v = v > 0 ? v < top ? v : top : 0;
            v = (v + 0x1p23f) - 0x1p23f; /* to a whole number, half to even */
            if (io->dst->depth == 8)
                ((uint8_t *)io->dst->data)[at] = (uint8_t)v;
            else
                ((uint16_t *)io->dst->data)[at] = (uint16_t)v;
        }
}

static oriel_status resize_floats(oriel_image *dst, const oriel_image *src, const oriel_taps *x,
                                  const oriel_taps *y, const oriel_resize_options *opt)
{
    image_io     images = {src, dst, has_alpha(src) && opt->filter != ORIEL_NEAREST};
    oriel_row_io io = {&images, load_image, target_image, store_image};
    return oriel_resize_rows(&io, y, x, src->channels);
}

/* ---- the door ----------------------------------------------------------------------------- */

static oriel_status check_image(const oriel_image *img)
{
    if (!img || !img->data)
        return oriel_fail(ORIEL_E_ARG, "resize: no picture");
    if (img->width < 1 || img->width > ORIEL_IMAGE_MAX_SIDE || img->height < 1 ||
        img->height > ORIEL_IMAGE_MAX_SIDE || img->channels < 1 || img->channels > 4 ||
        (img->depth != 8 && img->depth != 16))
        return oriel_fail(ORIEL_E_ARG, "resize: a picture of %d x %d, %d channels, %d bits",
                          img->width, img->height, img->channels, img->depth);
    return ORIEL_OK;
}

oriel_status oriel_image_resize(oriel_image *dst, const oriel_image *src, int width, int height,
                                const oriel_resize_options *opt)
{
    oriel_resize_options o = opt ? *opt : (oriel_resize_options){0};
    oriel_taps           x = {0}, y = {0};
    oriel_status         s;
    if ((s = check_image(src)) || (s = oriel_resize_check(&o)))
        return s;
    if (!dst || dst == src)
        return oriel_fail(ORIEL_E_ARG, "resize: %s", dst ? "dst is src" : "no dst");
    if (width < 1 || width > ORIEL_IMAGE_MAX_SIDE || height < 1 || height > ORIEL_IMAGE_MAX_SIDE)
        return oriel_fail(ORIEL_E_ARG, "resize: to %d x %d; sides go from 1 to %d", width, height,
                          ORIEL_IMAGE_MAX_SIDE);
    if ((s = oriel_image_new(dst, width, height, src->channels, src->depth)))
        return s;
    if ((s = oriel_image_copy_metadata(dst, src)))
        goto done;
    if (width == src->width && height == src->height) {
        memcpy(dst->data, src->data,
               (size_t)width * (size_t)height * (size_t)(src->channels * (src->depth / 8)));
        goto done;
    }
    if ((s = oriel_taps_new(&x, src->width, width, &o)) ||
        (s = oriel_taps_new(&y, src->height, height, &o)))
        goto done;
    s = src->depth == 8 && o.rule != ORIEL_RESIZE_TORCH ? resize_bytes(dst, src, &x, &y, &o)
                                                        : resize_floats(dst, src, &x, &y, &o);
done:
    oriel_taps_free(&x);
    oriel_taps_free(&y);
    if (s)
        oriel_image_free(dst);
    return s;
}
