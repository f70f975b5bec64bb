/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BMP: uncompressed, 1, 4, 8 (palette), 16, 24 and 32 bits a pixel, the last three also with masks
 * (BI_BITFIELDS). Ours, because the stb_image of Debian 12 reads memory that it never wrote for
 * palettes that are too short. A palette of greys gives a grey picture. 32 bits without an alpha
 * mask have no alpha, as the format says.
 */
#include "vision/image.h"

enum { FILE_HEADER = 14, RGB = 0, BITFIELDS = 3, ALPHA_BITFIELDS = 6 };

typedef struct bmp {
    uint64_t width, height, row; /* row: bytes from one to the next */
    bool top_down;
    unsigned bits;
    uint32_t mask[4]; /* R, G, B, A */
    const uint8_t *palette, *pixels;
    uint32_t colours, colour_size; /* entries of the palette, bytes of each */
} bmp;

static oriel_status truncated(void)
{
    return oriel_fail(ORIEL_E_FORMAT, "bmp: the file is truncated");
}

static oriel_status check_mask(uint32_t mask)
{
    uint32_t low = mask & (0u - mask);
    if (mask && (mask / low & (mask / low + 1)))
        return oriel_fail(ORIEL_E_FORMAT, "bmp: mask 0x%08x has gaps", (unsigned)mask);
    return ORIEL_OK;
}

/* The masks of 16 and 32 bits: given, or the usual ones. */
static oriel_status masks(bmp *b, const oriel_source *src, uint32_t header, uint32_t compression)
{
    static const uint32_t usual[2][3] = {{0x7c00, 0x03e0, 0x001f}, {0xff0000, 0x00ff00, 0x0000ff}};
    oriel_status s;
    if (compression == RGB) {
        memcpy(b->mask, usual[b->bits == 32], sizeof usual[0]);
        return ORIEL_OK;
    }
    /* In the header if it is long enough, else behind it: the same place, but for the length. */
    int n = header >= 56 || compression == ALPHA_BITFIELDS ? 4 : 3;
    if (src->size < FILE_HEADER + 40 + 4 * (size_t)n)
        return truncated();
    for (int i = 0; i < n; i++) {
        b->mask[i] = oriel_le32(src->data + FILE_HEADER + 40 + 4 * i);
        if ((s = check_mask(b->mask[i])))
            return s;
    }
    if (!b->mask[0] || !b->mask[1] || !b->mask[2])
        return oriel_fail(ORIEL_E_FORMAT, "bmp: a colour has no bits");
    return ORIEL_OK;
}

static oriel_status palette(bmp *b, const oriel_source *src, uint32_t header, uint32_t used)
{
    size_t at = FILE_HEADER + header, room = (size_t)(b->pixels - src->data);
    b->colour_size = header == 12 ? 3 : 4;
    b->colours = 1u << b->bits;
    if (used && used < b->colours)
        b->colours = used;
    if (room < at || (room - at) / b->colour_size < b->colours)
        return oriel_fail(ORIEL_E_FORMAT, "bmp: the palette runs into the pixels");
    b->palette = src->data + at;
    return ORIEL_OK;
}

static oriel_status parse(bmp *b, const oriel_source *src)
{
    const uint8_t *p = src->data + FILE_HEADER;
    oriel_status s;
    if (src->size < FILE_HEADER + 12)
        return truncated();
    uint32_t pixels = oriel_le32(src->data + 10), header = oriel_le32(p), compression = RGB,
             used = 0;
    if (header != 12 && (header < 40 || header > 124))
        return oriel_fail(ORIEL_E_UNSUPPORTED, "bmp: header of %u bytes", (unsigned)header);
    if (src->size < FILE_HEADER + (size_t)header)
        return truncated();
    if (header == 12) {
        b->width = oriel_le16(p + 4);
        b->height = oriel_le16(p + 6);
        b->bits = oriel_le16(p + 10);
    } else {
        uint32_t w = oriel_le32(p + 4), h = oriel_le32(p + 8);
        b->top_down = h >> 31;
        b->width = w;
        b->height = b->top_down ? 0u - h : h;
        b->bits = oriel_le16(p + 14);
        compression = oriel_le32(p + 16);
        used = oriel_le32(p + 32);
    }
    if ((s = oriel_image_check_size("bmp", b->width, b->height, src->max_pixels)))
        return s;
    if (compression != RGB && compression != BITFIELDS && compression != ALPHA_BITFIELDS)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "bmp: compression %u", (unsigned)compression);
    bool direct = b->bits == 16 || b->bits == 24 || b->bits == 32;
    if ((!direct && b->bits != 1 && b->bits != 4 && b->bits != 8) ||
        (compression != RGB && b->bits != 16 && b->bits != 32))
        return oriel_fail(ORIEL_E_UNSUPPORTED, "bmp: %u bits a pixel, compression %u", b->bits,
                          (unsigned)compression);
    b->row = (b->width * b->bits + 31) / 32 * 4;
    if (pixels < FILE_HEADER + header || pixels > src->size ||
        src->size - pixels < b->row * b->height)
        return truncated();
    b->pixels = src->data + pixels;
    if (!direct)
        return palette(b, src, header, used);
    return b->bits == 24 ? ORIEL_OK : masks(b, src, header, compression);
}

/* The masked bits of v as 0 to 255, rounded; 255 if there is no mask. */
static uint8_t part(uint32_t v, uint32_t mask)
{
    if (!mask)
        return 255;
    uint32_t low = mask & (0u - mask);
    uint64_t full = mask / low;
    return (uint8_t)(((uint64_t)((v & mask) / low) * 255 + full / 2) / full);
}

static void direct_row(uint8_t *dst, const uint8_t *src, const bmp *b, int channels)
{
    for (uint64_t x = 0; x < b->width; x++) {
        uint8_t *d = dst + x * channels;
        if (b->bits == 24) {
            d[0] = src[3 * x + 2];
            d[1] = src[3 * x + 1];
            d[2] = src[3 * x];
            continue;
        }
        uint32_t v = b->bits == 16 ? oriel_le16(src + 2 * x) : oriel_le32(src + 4 * x);
        for (int c = 0; c < channels; c++)
            d[c] = part(v, b->mask[c]);
    }
}

static oriel_status palette_row(uint8_t *dst, const uint8_t *src, const bmp *b, int channels)
{
    for (uint64_t x = 0; x < b->width; x++) {
        uint64_t bit = x * b->bits;
        uint32_t index = src[bit / 8] >> (8 - b->bits - bit % 8) & ((1u << b->bits) - 1);
        if (index >= b->colours)
            return oriel_fail(ORIEL_E_FORMAT, "bmp: colour %u of %u", (unsigned)index,
                              (unsigned)b->colours);
        const uint8_t *bgr = b->palette + index * b->colour_size;
        for (int c = 0; c < channels; c++)
            dst[x * channels + c] = bgr[channels == 1 ? 0 : 2 - c];
    }
    return ORIEL_OK;
}

static bool grey_palette(const bmp *b)
{
    for (uint32_t i = 0; i < b->colours; i++) {
        const uint8_t *bgr = b->palette + i * b->colour_size;
        if (bgr[0] != bgr[1] || bgr[1] != bgr[2])
            return false;
    }
    return true;
}

oriel_status oriel_bmp_decode(oriel_image *img, const oriel_source *src)
{
    bmp b = {0};
    oriel_status s = parse(&b, src);
    if (s)
        return s;
    int channels = b.palette ? (grey_palette(&b) ? 1 : 3) : b.mask[3] ? 4 : 3;
    if ((s = oriel_image_new(img, (int)b.width, (int)b.height, channels, 8)))
        return s;
    for (uint64_t y = 0; y < b.height; y++) {
        const uint8_t *row = b.pixels + (b.top_down ? y : b.height - 1 - y) * b.row;
        uint8_t *dst = (uint8_t *)img->data + y * b.width * channels;
        if (!b.palette)
            direct_row(dst, row, &b, channels);
        else if ((s = palette_row(dst, row, &b, channels)))
            return s;
    }
    return ORIEL_OK;
}
