/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JPEG: baseline and progressive, grey and YCbCr or RGB of 8 bits, by stb_image, behind our own
 * walk of the markers (jpeg_scan.c). CMYK is refused: to turn it into RGB takes its profile. This
 * file is compiled with its own flags (CMakeLists.txt): wrapping arithmetic, which stb_image relies
 * on, and no warnings about its code.
 */
#include "vision/image.h"

static _Thread_local bool out_of_memory; /* stb_image does not always say so */

/* Zeroed: what a damaged file leaves unset must not show what the memory held before. */
static void *stb_alloc(size_t size)
{
    void *p = oriel_alloc_zero(size, 1);
    if (!p)
        out_of_memory = true;
    return p;
}

#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_ASSERT(x)        ((void)0)
#define STBI_MAX_DIMENSIONS   ORIEL_IMAGE_MAX_SIDE
#define STBI_MALLOC(size)     stb_alloc(size)
#define STBI_REALLOC(p, size) oriel_realloc(p, size)
#define STBI_FREE(p)          oriel_dealloc(p)
#include <stb/stb_image.h>

static oriel_status decode_pixels(oriel_image *img, const oriel_source *src,
                                  const oriel_jpeg_info *info)
{
    int width = 0, height = 0, channels = 0;
    uint64_t samples = (uint64_t)info->width * info->height * info->components;
    if (samples >= INT_MAX || src->size > INT_MAX)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "jpeg: more than 2^31 samples are not read");
    out_of_memory = false;
    uint8_t *data = stbi_load_from_memory(src->data, (int)src->size, &width, &height, &channels, 0);
    if (!data && out_of_memory)
        return oriel_fail(ORIEL_E_NOMEM, "jpeg: out of memory for %d x %d", info->width,
                          info->height);
    if (!data)
        return oriel_fail(ORIEL_E_FORMAT, "jpeg: %s", stbi_failure_reason());
    if (width != info->width || height != info->height || channels != info->components) {
        stbi_image_free(data);
        return oriel_fail(ORIEL_E_FORMAT, "jpeg: headers contradict each other");
    }
    *img = (oriel_image){.width = width,
                         .height = height,
                         .channels = channels,
                         .depth = 8,
                         .data = data,
                         .source_bits = 8};
    return ORIEL_OK;
}

static oriel_status keep_profile(oriel_image *img, const uint8_t *data, const oriel_jpeg_info *info)
{
    oriel_buffer icc = {0};
    oriel_status s = ORIEL_OK;
    for (int i = 0; i < info->icc_parts && !s; i++)
        s = oriel_buffer_add(&icc, data + info->icc[i].at, info->icc[i].size);
    if (!s && info->icc_parts)
        s = oriel_image_keep_icc(img, "jpeg", icc.data, icc.size);
    oriel_dealloc(icc.data);
    return s;
}

oriel_status oriel_jpeg_decode(oriel_image *img, const oriel_source *src)
{
    oriel_jpeg_info info;
    oriel_status s = oriel_jpeg_scan(&info, src->data, src->size);
    if (s ||
        (s = oriel_image_check_size("jpeg", (uint64_t)info.width, (uint64_t)info.height,
                                    src->max_pixels)) ||
        (s = decode_pixels(img, src, &info)) || (s = keep_profile(img, src->data, &info)))
        return s;
    if (info.exif.size)
        s = oriel_image_keep_exif(img, "jpeg", src->data + info.exif.at, info.exif.size);
    return s;
}
