/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TGA: palette, true colour and grey, plain or run-length coded, from any corner. Ours, because the
 * stb_image of Debian 12 shows uninitialised memory for truncated files (CVE-2023-45663).
 */
#include "vision/image.h"

enum { HEADER = 18, PALETTE = 1, COLOUR = 2, GREY = 3, RUNS = 8 };

typedef struct tga {
    int width, height, kind; /* PALETTE, COLOUR or GREY */
    bool runs, from_right, from_top;
    unsigned bits;                        /* of a stored pixel */
    unsigned first, colours, colour_bits; /* of the palette */
    const uint8_t *palette, *at, *end;
} tga;

static bool colour_bits_ok(unsigned bits)
{
    return bits == 15 || bits == 16 || bits == 24 || bits == 32;
}

bool oriel_tga_sniff(const uint8_t *p, size_t size)
{
    if (size < HEADER || p[1] > 1 || !oriel_le16(p + 12) || !oriel_le16(p + 14))
        return false;
    unsigned bits = p[16], unused = p[17] & 0xc0;
    switch (p[2] & ~RUNS) {
    case PALETTE:
        return p[1] == 1 && (bits == 8 || bits == 16) && colour_bits_ok(p[7]) && !unused;
    case COLOUR:
        return colour_bits_ok(bits) && !unused;
    case GREY:
        return (bits == 8 || bits == 16) && !unused;
    default:
        return false;
    }
}

static oriel_status truncated(void)
{
    return oriel_fail(ORIEL_E_FORMAT, "tga: the file is truncated");
}

static oriel_status parse(tga *t, const oriel_source *src)
{
    const uint8_t *p = src->data;
    *t = (tga){.width = (int)oriel_le16(p + 12),
               .height = (int)oriel_le16(p + 14),
               .kind = p[2] & ~RUNS,
               .runs = p[2] & RUNS,
               .from_right = p[17] & 0x10,
               .from_top = p[17] & 0x20,
               .bits = p[16],
               .first = oriel_le16(p + 3),
               .colours = oriel_le16(p + 5),
               .colour_bits = p[7],
               .end = src->data + src->size};
    /* A true-colour file may carry a palette too; it is stepped over. */
    size_t palette = HEADER + (size_t)p[0];
    size_t pixels = palette + (p[1] ? (size_t)t->colours * ((t->colour_bits + 7) / 8) : 0);
    if (pixels > src->size)
        return truncated();
    t->palette = p + palette;
    t->at = p + pixels;
    if (!t->runs && src->size - pixels < (size_t)t->width * t->height * ((t->bits + 7) / 8))
        return truncated();
    /* A run of 128 pixels takes two bytes or more. */
    if (t->runs && (src->size - pixels) * 64 < (size_t)t->width * t->height)
        return truncated();
    return ORIEL_OK;
}

static int channels_of(const tga *t)
{
    if (t->kind == GREY)
        return t->bits == 16 ? 2 : 1;
    return (t->kind == PALETTE ? t->colour_bits : t->bits) == 32 ? 4 : 3;
}

static uint8_t five(unsigned v)
{
    return (uint8_t)(((v & 31) * 255 + 15) / 31);
}

/* A stored colour of 15 to 32 bits. The sixteenth bit means nothing reliable and is ignored. */
static void colour(uint8_t *dst, const uint8_t *p, unsigned bits)
{
    if (bits <= 16) {
        unsigned v = oriel_le16(p);
        dst[0] = five(v >> 10);
        dst[1] = five(v >> 5);
        dst[2] = five(v);
        return;
    }
    dst[0] = p[2];
    dst[1] = p[1];
    dst[2] = p[0];
    if (bits == 32)
        dst[3] = p[3];
}

/* One stored pixel at p into dst. */
static oriel_status pixel(uint8_t *dst, const uint8_t *p, const tga *t)
{
    if (t->kind == GREY) {
        memcpy(dst, p, t->bits / 8);
    } else if (t->kind == COLOUR) {
        colour(dst, p, t->bits);
    } else {
        unsigned index = t->bits == 8 ? p[0] : oriel_le16(p);
        if (index - t->first >= t->colours) /* wraps if it lies before the first */
            return oriel_fail(ORIEL_E_FORMAT, "tga: colour %u of %u to %u", index, t->first,
                              t->first + t->colours);
        colour(dst, t->palette + (size_t)(index - t->first) * ((t->colour_bits + 7) / 8),
               t->colour_bits);
    }
    return ORIEL_OK;
}

/* All pixels in the order of the file. */
static oriel_status pixels(uint8_t *dst, tga *t, int channels)
{
    const size_t bytes = (t->bits + 7) / 8;
    size_t left = (size_t)t->width * t->height;
    oriel_status s;
    while (left) {
        size_t count = left;
        bool repeat = false;
        if (t->runs) {
            if (t->at == t->end)
                return truncated();
            repeat = *t->at & 0x80;
            count = (*t->at++ & 0x7f) + 1u;
            if (count > left) /* some writers let the last run go on */
                count = left;
        }
        if ((size_t)(t->end - t->at) < (repeat ? 1 : count) * bytes)
            return truncated();
        for (size_t i = 0; i < count; i++, dst += channels)
            if ((s = pixel(dst, t->at + (repeat ? 0 : i * bytes), t)))
                return s;
        t->at += (repeat ? 1 : count) * bytes;
        left -= count;
    }
    return ORIEL_OK;
}

oriel_status oriel_tga_decode(oriel_image *img, const oriel_source *src)
{
    /* By corner of the first pixel: the EXIF orientation that makes it upright. */
    static const int turn[2][2] = {{4, 3}, {1, 2}}; /* [from_top][from_right] */
    tga t;
    oriel_status s;
    if ((s = parse(&t, src)) ||
        (s = oriel_image_check_size("tga", (uint64_t)t.width, (uint64_t)t.height, src->max_pixels)))
        return s;
    int channels = channels_of(&t);
    if ((s = oriel_image_new(img, t.width, t.height, channels, 8)) ||
        (s = pixels(img->data, &t, channels)))
        return s;
    return oriel_image_turn(img, turn[t.from_top][t.from_right]);
}
