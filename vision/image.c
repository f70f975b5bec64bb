/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures as values, and which decoder takes which bytes. */
#include "vision/image.h"

/* ---- values ------------------------------------------------------------------------------- */

oriel_status oriel_image_new(oriel_image *img, int width, int height, int channels, int depth)
{
    size_t bytes;
    if (!img)
        return oriel_fail(ORIEL_E_ARG, "image: no picture to fill");
    *img = (oriel_image){0};
    if (width < 1 || height < 1 || width > ORIEL_IMAGE_MAX_SIDE || height > ORIEL_IMAGE_MAX_SIDE)
        return oriel_fail(ORIEL_E_ARG, "image: size %d x %d", width, height);
    if (channels < 1 || channels > 4 || (depth != 8 && depth != 16))
        return oriel_fail(ORIEL_E_ARG, "image: %d channels of %d bits", channels, depth);
    if (!oriel_mul_ok((size_t)width * channels * (depth / 8), height, &bytes))
        return oriel_fail(ORIEL_E_NOMEM, "image: %d x %d does not fit in memory", width, height);
    void *data = oriel_alloc_zero(bytes, 1);
    if (!data)
        return ORIEL_E_NOMEM;
    *img = (oriel_image){.width = width,
                         .height = height,
                         .channels = channels,
                         .depth = depth,
                         .data = data,
                         .source_bits = depth};
    return ORIEL_OK;
}

void oriel_image_free(oriel_image *img)
{
    if (!img)
        return;
    oriel_dealloc(img->data);
    oriel_dealloc(img->icc);
    oriel_dealloc(img->exif);
    *img = (oriel_image){0};
}

static oriel_status keep(uint8_t **block, size_t *block_size, const void *bytes, size_t size)
{
    uint8_t *copy = oriel_alloc(size);
    if (!copy)
        return ORIEL_E_NOMEM;
    memcpy(copy, bytes, size);
    oriel_dealloc(*block);
    *block = copy;
    *block_size = size;
    return ORIEL_OK;
}

oriel_status oriel_image_keep_icc(oriel_image *img, const char *format, const void *icc,
                                  size_t size)
{
    /* The header of a profile has 128 bytes, with "acsp" at 36. */
    if (size < 128 || memcmp((const uint8_t *)icc + 36, "acsp", 4) != 0) {
        oriel_logf(ORIEL_LOG_WARN, "%s: the ICC profile is damaged and is left out", format);
        return ORIEL_OK;
    }
    return keep(&img->icc, &img->icc_size, icc, size);
}

oriel_status oriel_image_keep_exif(oriel_image *img, const char *format, const void *exif,
                                   size_t size)
{
    if (!oriel_exif_valid(exif, size)) {
        oriel_logf(ORIEL_LOG_WARN, "%s: the EXIF block is damaged and is left out", format);
        return ORIEL_OK;
    }
    return keep(&img->exif, &img->exif_size, exif, size);
}

oriel_status oriel_image_copy_metadata(oriel_image *dst, const oriel_image *src)
{
    uint8_t *icc = NULL, *exif = NULL;
    size_t icc_size = 0, exif_size = 0;
    if (!dst || !src)
        return oriel_fail(ORIEL_E_ARG, "image: metadata of no picture");
    if ((src->icc && keep(&icc, &icc_size, src->icc, src->icc_size)) ||
        (src->exif && keep(&exif, &exif_size, src->exif, src->exif_size))) {
        oriel_dealloc(icc);
        return ORIEL_E_NOMEM;
    }
    if (exif)
        oriel_exif_set_size(exif, exif_size, dst->width, dst->height);
    oriel_dealloc(dst->icc);
    oriel_dealloc(dst->exif);
    dst->icc = icc;
    dst->icc_size = icc_size;
    dst->exif = exif;
    dst->exif_size = exif_size;
    dst->gamma = src->gamma;
    return ORIEL_OK;
}

/* ---- decoding ----------------------------------------------------------------------------- */

oriel_status oriel_image_check_size(const char *format, uint64_t width, uint64_t height,
                                    uint64_t max_pixels)
{
    if (!width || !height)
        return oriel_fail(ORIEL_E_FORMAT, "%s: the picture is empty", format);
    if (width > ORIEL_IMAGE_MAX_SIDE || height > ORIEL_IMAGE_MAX_SIDE ||
        width * height > max_pixels)
        return oriel_fail(ORIEL_E_UNSUPPORTED,
                          "%s: %llu x %llu is too large (limits: %llu pixels, side %d)", format,
                          (unsigned long long)width, (unsigned long long)height,
                          (unsigned long long)max_pixels, ORIEL_IMAGE_MAX_SIDE);
    return ORIEL_OK;
}

static bool pnm_sniff(const uint8_t *p, size_t size)
{
    return size >= 3 && p[0] == 'P' && p[1] >= '1' && p[1] <= '7' &&
           (p[2] == ' ' || (p[2] >= '\t' && p[2] <= '\r') || p[2] == '#');
}

/* What we read by magic number, and what we know but do not read (no decoder). TGA has none. */
static const struct {
    const char *name;
    oriel_decode_fn *decode;
    int at, size;
    const char *magic;
} formats[] = {
    {"PNG", oriel_png_decode, 0, 8, "\x89PNG\r\n\x1a\n"},
    {"JPEG", oriel_jpeg_decode, 0, 3, "\xff\xd8\xff"},
    {"BMP", oriel_bmp_decode, 0, 2, "BM"},
    {"GIF", NULL, 0, 4, "GIF8"},
    {"WebP", NULL, 8, 4, "WEBP"},
    {"TIFF", NULL, 0, 4, "II*\0"},
    {"TIFF", NULL, 0, 4, "MM\0*"},
    {"AVIF", NULL, 4, 8, "ftypavif"},
    {"HEIC", NULL, 4, 7, "ftyphei"},
    {"JPEG XL", NULL, 0, 2, "\xff\x0a"},
    {"JPEG XL", NULL, 4, 4, "JXL "},
    {"JPEG 2000", NULL, 4, 4, "jP  "},
    {"OpenEXR", NULL, 0, 4, "\x76\x2f\x31\x01"},
    {"Photoshop", NULL, 0, 4, "8BPS"},
    {"PFM", NULL, 0, 3, "PF\n"},
};

static oriel_status find_decoder(oriel_decode_fn **out, const uint8_t *head, size_t size)
{
    *out = NULL;
    if (pnm_sniff(head, size)) {
        *out = oriel_pnm_decode;
        return ORIEL_OK;
    }
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (size < (size_t)(formats[i].at + formats[i].size) ||
            memcmp(head + formats[i].at, formats[i].magic, formats[i].size) != 0)
            continue;
        *out = formats[i].decode;
        if (*out)
            return ORIEL_OK;
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s files are not read; convert it to PNG",
                          formats[i].name);
    }
    if (!oriel_tga_sniff(head, size))
        return oriel_fail(ORIEL_E_FORMAT, size ? "not a picture in a known format" : "empty file");
    *out = oriel_tga_decode;
    return ORIEL_OK;
}

oriel_status oriel_image_sniff(const uint8_t *head, size_t size)
{
    oriel_decode_fn *decode;
    return find_decoder(&decode, head, size);
}

/* Apply the EXIF block's orientation and let the block say so. */
static oriel_status make_upright(oriel_image *img)
{
    int orientation = oriel_exif_orientation(img->exif, img->exif_size);
    oriel_status s = oriel_image_turn(img, orientation);
    if (s)
        return s;
    if (orientation != 1) {
        oriel_exif_set_upright(img->exif, img->exif_size);
        oriel_exif_set_size(img->exif, img->exif_size, img->width, img->height);
    }
    return ORIEL_OK;
}

oriel_status oriel_image_decode(oriel_image *img, const void *bytes, size_t size,
                                const oriel_image_read_options *opt)
{
    oriel_decode_fn *decode;
    oriel_status s;
    oriel_source src = {bytes, size, opt && opt->max_pixels ? opt->max_pixels : 1 << 30};
    if (!img)
        return oriel_fail(ORIEL_E_ARG, "image: no picture to fill");
    *img = (oriel_image){0};
    if (!bytes && size)
        return oriel_fail(ORIEL_E_ARG, "image: no bytes to decode");
    if ((s = find_decoder(&decode, bytes, size)) || (s = decode(img, &src)))
        goto done;
    if (img->exif && !(opt && opt->keep_orientation))
        s = make_upright(img);
done:
    if (s)
        oriel_image_free(img);
    return s;
}

oriel_status oriel_image_read(oriel_image *img, const char *path,
                              const oriel_image_read_options *opt)
{
    oriel_buffer file = {0};
    if (!img || !path)
        return oriel_fail(ORIEL_E_ARG, "image: no %s", img ? "path" : "picture to fill");
    *img = (oriel_image){0};
    oriel_status s = oriel_file_read(&file, path);
    if (!s)
        s = oriel_image_decode(img, file.data, file.size, opt);
    oriel_dealloc(file.data);
    return s;
}

/* ---- encoding ----------------------------------------------------------------------------- */

oriel_status oriel_buffer_reserve(oriel_buffer *b, size_t more)
{
    size_t need;
    if (!oriel_add_ok(b->size, more, &need) || need > SIZE_MAX / 2)
        return oriel_fail(ORIEL_E_NOMEM, "out of memory: %zu bytes more", more);
    if (need <= b->capacity)
        return ORIEL_OK;
    size_t capacity = need > b->capacity * 2 ? need : b->capacity * 2;
    uint8_t *data = oriel_realloc(b->data, capacity);
    if (!data)
        return ORIEL_E_NOMEM;
    b->data = data;
    b->capacity = capacity;
    return ORIEL_OK;
}

oriel_status oriel_buffer_add(oriel_buffer *b, const void *bytes, size_t size)
{
    oriel_status s = oriel_buffer_reserve(b, size);
    if (!s && size) {
        memcpy(b->data + b->size, bytes, size);
        b->size += size;
    }
    return s;
}

void oriel_bytes_free(uint8_t **bytes)
{
    if (!bytes)
        return;
    oriel_dealloc(*bytes);
    *bytes = NULL;
}

static oriel_status check_image(const oriel_image *img)
{
    if (!img || !img->data)
        return oriel_fail(ORIEL_E_ARG, "image: no picture to write");
    if (img->width < 1 || img->height < 1 || img->width > ORIEL_IMAGE_MAX_SIDE ||
        img->height > ORIEL_IMAGE_MAX_SIDE || img->channels < 1 || img->channels > 4 ||
        (img->depth != 8 && img->depth != 16))
        return oriel_fail(ORIEL_E_ARG, "image: %d x %d, %d channels of %d bits", img->width,
                          img->height, img->channels, img->depth);
    return ORIEL_OK;
}

static oriel_status encode(oriel_buffer *out, const oriel_image *img,
                           const oriel_image_write_options *opt)
{
    oriel_status s = check_image(img);
    if (s)
        return s;
    if (opt->compression < 0 || opt->compression > 9)
        return oriel_fail(ORIEL_E_ARG, "image: compression %d is not 0 to 9", opt->compression);
    switch (opt->format) {
    case ORIEL_IMAGE_AUTO:
    case ORIEL_IMAGE_PNG:
        return oriel_png_encode(out, img, opt);
    case ORIEL_IMAGE_PNM:
        return oriel_pnm_encode(out, img);
    }
    return oriel_fail(ORIEL_E_ARG, "image: format %d is not known", (int)opt->format);
}

oriel_status oriel_image_encode(const oriel_image *img, uint8_t **bytes, size_t *size,
                                const oriel_image_write_options *opt)
{
    oriel_buffer out = {0};
    if (!bytes || !size)
        return oriel_fail(ORIEL_E_ARG, "image: nowhere to put the bytes");
    *bytes = NULL;
    *size = 0;
    oriel_status s = encode(&out, img, opt ? opt : &(oriel_image_write_options){0});
    if (s) {
        oriel_dealloc(out.data);
        return s;
    }
    *bytes = out.data;
    *size = out.size;
    return ORIEL_OK;
}

static oriel_status format_of(oriel_image_format *out, const char *path)
{
    static const struct {
        const char *extension;
        oriel_image_format format;
    } known[] = {{".png", ORIEL_IMAGE_PNG},
                 {".pnm", ORIEL_IMAGE_PNM},
                 {".ppm", ORIEL_IMAGE_PNM},
                 {".pgm", ORIEL_IMAGE_PNM},
                 {".pam", ORIEL_IMAGE_PNM}};
    size_t n = strlen(path);
    *out = ORIEL_IMAGE_PNG;
    if (!strcmp(path, "-"))
        return ORIEL_OK;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        *out = known[i].format;
        if (n > 4 && !strcasecmp(path + n - 4, known[i].extension))
            return ORIEL_OK;
    }
    return oriel_fail(ORIEL_E_ARG, "%s: only .png, .ppm, .pgm, .pnm and .pam are written", path);
}

oriel_status oriel_image_write(const oriel_image *img, const char *path,
                               const oriel_image_write_options *opt)
{
    oriel_image_write_options o = opt ? *opt : (oriel_image_write_options){0};
    oriel_buffer file = {0};
    oriel_status s;
    if (!path)
        return oriel_fail(ORIEL_E_ARG, "image: no path");
    if (o.format == ORIEL_IMAGE_AUTO && (s = format_of(&o.format, path)))
        return s;
    s = encode(&file, img, &o);
    if (!s)
        s = oriel_file_write(path, file.data, file.size, o.overwrite);
    oriel_dealloc(file.data);
    return s;
}
