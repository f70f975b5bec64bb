/* SPDX-License-Identifier: Apache-2.0 */
/* Pixels to and from tensors, and pictures turned as EXIF says. */
#include "vision/image.h"

/* ---- tensors ------------------------------------------------------------------------------ */

static oriel_status check_tensor(const oriel_image *img, int c0, const oriel_tensor *t)
{
    char text[128];
    if (!img || !img->data)
        return oriel_fail(ORIEL_E_ARG, "image: no picture");
    if (!t->data || t->dtype != ORIEL_F32 || t->ndim != 3)
        return oriel_fail(ORIEL_E_ARG, "image: %s where f32 (Y, X, C) is due",
                          oriel_tensor_str(t, text, sizeof text));
    if (t->shape[0] != img->height || t->shape[1] != img->width || t->shape[2] < 1 || c0 < 0 ||
        t->shape[2] > img->channels - c0)
        return oriel_fail(ORIEL_E_ARG, "image: %s and samples from %d of %d x %d x %d",
                          oriel_tensor_str(t, text, sizeof text), c0, img->height, img->width,
                          img->channels);
    return ORIEL_OK;
}

/* n samples, `step` apart in the picture and `stride` apart in the tensor. */
static void to_floats(float *dst, int64_t stride, const oriel_image *img, int64_t first, int step,
                      int64_t n)
{
    if (img->depth == 8) {
        const uint8_t *src = (const uint8_t *)img->data + first;
        if (stride == 1 && step == 1)
            for (int64_t i = 0; i < n; i++)
                dst[i] = (float)src[i] / 255.0f;
        else
            for (int64_t i = 0; i < n; i++)
                dst[i * stride] = (float)src[i * step] / 255.0f;
    } else {
        const uint16_t *src = (const uint16_t *)img->data + first;
        if (stride == 1 && step == 1)
            for (int64_t i = 0; i < n; i++)
                dst[i] = (float)src[i] / 65535.0f;
        else
            for (int64_t i = 0; i < n; i++)
                dst[i * stride] = (float)src[i * step] / 65535.0f;
    }
}

/* A value times `max`, clamped and rounded half to even, without a branch, so that compilers
 * vectorise the loop. What is not over 0, NaN too, becomes 0; the bits of floats from 0 up are ordered
 * as integers; adding 2^23 leaves the integer in the low bits. */
static inline uint32_t quantize(float v, float max)
{
    const uint32_t one = 0x3f800000; /* the bits of 1.0f */
    uint32_t bits;
    memcpy(&bits, &v, 4);
    bits &= 0u - (uint32_t)(v > 0.0f);
    bits = bits < one ? bits : one;
    memcpy(&v, &bits, 4);
    v = v * max + 8388608.0f;
    memcpy(&bits, &v, 4);
    return bits & 0xffff;
}

static void from_floats(oriel_image *img, int64_t first, int step, const float *src, int64_t stride,
                        int64_t n)
{
    if (img->depth == 8) {
        uint8_t *dst = (uint8_t *)img->data + first;
        if (stride == 1 && step == 1)
            for (int64_t i = 0; i < n; i++)
                dst[i] = (uint8_t)quantize(src[i], 255.0f);
        else
            for (int64_t i = 0; i < n; i++)
                dst[i * step] = (uint8_t)quantize(src[i * stride], 255.0f);
    } else {
        uint16_t *dst = (uint16_t *)img->data + first;
        if (stride == 1 && step == 1)
            for (int64_t i = 0; i < n; i++)
                dst[i] = (uint16_t)quantize(src[i], 65535.0f);
        else
            for (int64_t i = 0; i < n; i++)
                dst[i * step] = (uint16_t)quantize(src[i * stride], 65535.0f);
    }
}

/* All channels, and rows without gaps: a row is one run of samples. */
static bool whole_rows(const oriel_image *img, const oriel_tensor *t)
{
    return t->shape[2] == img->channels && t->stride[2] == 1 && t->stride[1] == t->shape[2];
}

oriel_status oriel_image_to_tensor(const oriel_image *img, int c0, oriel_tensor dst)
{
    oriel_status s = check_tensor(img, c0, &dst);
    if (s)
        return s;
    bool whole = whole_rows(img, &dst);
    for (int64_t y = 0; y < dst.shape[0]; y++) {
        float *row = (float *)dst.data + y * dst.stride[0];
        int64_t first = y * img->width * img->channels + c0;
        if (whole)
            to_floats(row, 1, img, first, 1, (int64_t)img->width * img->channels);
        else
            for (int64_t c = 0; c < dst.shape[2]; c++)
                to_floats(row + c * dst.stride[2], dst.stride[1], img, first + c, img->channels,
                          img->width);
    }
    return ORIEL_OK;
}

oriel_status oriel_image_from_tensor(oriel_image *img, int c0, oriel_tensor src)
{
    oriel_status s = check_tensor(img, c0, &src);
    if (s)
        return s;
    bool whole = whole_rows(img, &src);
    for (int64_t y = 0; y < src.shape[0]; y++) {
        const float *row = (const float *)src.data + y * src.stride[0];
        int64_t first = y * img->width * img->channels + c0;
        if (whole)
            from_floats(img, first, 1, row, 1, (int64_t)img->width * img->channels);
        else
            for (int64_t c = 0; c < src.shape[2]; c++)
                from_floats(img, first + c, img->channels, row + c * src.stride[2], src.stride[1],
                            img->width);
    }
    return ORIEL_OK;
}

/* ---- orientation -------------------------------------------------------------------------- */

/* dst (Y, X) = src walked from `src` by step_x and step_y pixels, in squares that stay in cache. */
static inline void walk(uint8_t *dst, int width, int height, const uint8_t *src, ptrdiff_t step_x,
                        ptrdiff_t step_y, size_t pixel)
{
    enum { SQUARE = 32 };
    for (int y0 = 0; y0 < height; y0 += SQUARE)
        for (int x0 = 0; x0 < width; x0 += SQUARE)
            for (int y = y0; y < y0 + SQUARE && y < height; y++)
                for (int x = x0; x < x0 + SQUARE && x < width; x++)
                    memcpy(dst + ((size_t)y * width + x) * pixel,
                           src + (x * step_x + y * step_y) * (ptrdiff_t)pixel, pixel);
}

oriel_status oriel_image_turn(oriel_image *img, int orientation)
{
    if (orientation <= 1 || orientation > 8)
        return ORIEL_OK;
    const int w = img->width, h = img->height;
    const bool transpose = orientation >= 5;
    /* Which way the upright picture's first pixel lies in the stored one. */
    const bool right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    const ptrdiff_t across = right ? -1 : 1, down = below ? -(ptrdiff_t)w : w;
    const ptrdiff_t step_x = transpose ? down : across, step_y = transpose ? across : down;
    const size_t pixel = (size_t)img->channels * (img->depth / 8);

    uint8_t *dst = oriel_alloc((size_t)w * h * pixel);
    if (!dst)
        return ORIEL_E_NOMEM;
    const size_t start = (right ? (size_t)w - 1 : 0) + (below ? (size_t)(h - 1) * w : 0);
    const uint8_t *src = (const uint8_t *)img->data + start * pixel;
    const int width = transpose ? h : w, height = transpose ? w : h;
    switch (pixel) { /* a constant size makes the copy one or two moves */
    case 1:
        walk(dst, width, height, src, step_x, step_y, 1);
        break;
    case 2:
        walk(dst, width, height, src, step_x, step_y, 2);
        break;
    case 3:
        walk(dst, width, height, src, step_x, step_y, 3);
        break;
    case 4:
        walk(dst, width, height, src, step_x, step_y, 4);
        break;
    case 6:
        walk(dst, width, height, src, step_x, step_y, 6);
        break;
    default:
        walk(dst, width, height, src, step_x, step_y, 8);
        break;
    }
    oriel_dealloc(img->data);
    img->data = dst;
    img->width = width;
    img->height = height;
    return ORIEL_OK;
}
