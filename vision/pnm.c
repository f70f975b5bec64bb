/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PNM: P1 to P3 in decimal digits, P4 to P6 binary (1 bit, or 1 or 2 bytes a sample, the high byte
 * first), P7 (PAM) binary with named fields. Samples run from 0 to maxval; a maxval up to 255
 * becomes 8 bits, a larger one 16, each sample v becoming v * full / maxval rounded to nearest.
 */
#include <stdio.h>

#include "vision/image.h"

typedef struct reader {
    const uint8_t *at, *end;
} reader;

typedef struct header {
    uint64_t width, height, depth, maxval;
    bool bitmap;      /* P1, P4: a 1 is black */
    bool in_digits;   /* P1 to P3 */
    bool packed_bits; /* P4 */
} header;

static oriel_status truncated(void)
{
    return oriel_fail(ORIEL_E_FORMAT, "pnm: the file is truncated");
}

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_space(reader *r)
{
    for (; r->at < r->end && (is_space(*r->at) || *r->at == '#'); r->at++)
        if (*r->at == '#')
            while (r->at + 1 < r->end && *r->at != '\n' && *r->at != '\r')
                r->at++;
}

/* A decimal number after white space and comments. Values over 2^32 are as good as infinite. */
static oriel_status number(reader *r, uint64_t *out)
{
    skip_space(r);
    if (r->at == r->end)
        return truncated();
    if (*r->at < '0' || *r->at > '9')
        return oriel_fail(ORIEL_E_FORMAT, "pnm: byte 0x%02x where a number is due", *r->at);
    uint64_t v = 0;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++)
        v = v < UINT32_MAX ? v * 10 + (*r->at - '0') : v;
    *out = v;
    return ORIEL_OK;
}

static oriel_status pnm_header(reader *r, header *h, int kind)
{
    oriel_status s;
    h->bitmap = kind == 1 || kind == 4;
    h->in_digits = kind <= 3;
    h->packed_bits = kind == 4;
    h->depth = kind == 3 || kind == 6 ? 3 : 1;
    h->maxval = 1;
    if ((s = number(r, &h->width)) || (s = number(r, &h->height)) ||
        (!h->bitmap && (s = number(r, &h->maxval))))
        return s;
    if (r->at == r->end)
        return truncated();
    if (!is_space(*r->at++)) /* exactly one byte stands before binary samples */
        return oriel_fail(ORIEL_E_FORMAT, "pnm: no white space after the header");
    return ORIEL_OK;
}

/* The rest of a line, without the spaces around it. */
static oriel_status line(reader *r, char *out, size_t size)
{
    const uint8_t *begin = r->at, *end = memchr(r->at, '\n', (size_t)(r->end - r->at));
    if (!end)
        return truncated();
    r->at = end + 1;
    while (begin < end && is_space(*begin))
        begin++;
    while (begin < end && is_space(end[-1]))
        end--;
    size_t n = (size_t)(end - begin) < size ? (size_t)(end - begin) : size - 1;
    memcpy(out, begin, n);
    out[n] = 0;
    return ORIEL_OK;
}

static oriel_status pam_field(header *h, char *tuple, size_t tuple_size, const char *text)
{
    static const char *const names[] = {"WIDTH", "HEIGHT", "DEPTH", "MAXVAL"};
    uint64_t *const fields[] = {&h->width, &h->height, &h->depth, &h->maxval};
    size_t n = strcspn(text, " \t");
    for (int i = 0; i < 4; i++) {
        if (strlen(names[i]) != n || strncmp(text, names[i], n) != 0)
            continue;
        reader r = {(const uint8_t *)text + n, (const uint8_t *)text + strlen(text)};
        return number(&r, fields[i]);
    }
    if (n == 8 && !strncmp(text, "TUPLTYPE", 8)) {
        snprintf(tuple, tuple_size, "%s", text + n + strspn(text + n, " \t"));
        return ORIEL_OK;
    }
    return oriel_fail(ORIEL_E_FORMAT, "pam: header line '%s'", text);
}

static oriel_status pam_header(reader *r, header *h)
{
    static const char *const tuples[] = {
        "",    "",          "BLACKANDWHITE",   "GRAYSCALE",
        "RGB", "RGB_ALPHA", "GRAYSCALE_ALPHA", "BLACKANDWHITE_ALPHA"};
    static const int depths[] = {0, 0, 1, 1, 3, 4, 2, 2};
    char text[128], tuple[64] = "";
    oriel_status s;
    for (;;) {
        if ((s = line(r, text, sizeof text)))
            return s;
        if (!strcmp(text, "ENDHDR"))
            break;
        if (text[0] && text[0] != '#' && (s = pam_field(h, tuple, sizeof tuple, text)))
            return s;
    }
    if (h->depth < 1 || h->depth > 4)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "pam: %llu channels", (unsigned long long)h->depth);
    if (!tuple[0])
        return ORIEL_OK;
    for (size_t i = 2; i < sizeof depths / sizeof *depths; i++)
        if (!strcmp(tuple, tuples[i]) && h->depth == (uint64_t)depths[i])
            return ORIEL_OK;
    return oriel_fail(ORIEL_E_UNSUPPORTED, "pam: tuple type '%s' of depth %d", tuple,
                      (int)h->depth);
}

/* ---- samples ------------------------------------------------------------------------------ */

static oriel_status over(uint64_t v, uint64_t maxval)
{
    return oriel_fail(ORIEL_E_FORMAT, "pnm: sample %llu over maxval %llu", (unsigned long long)v,
                      (unsigned long long)maxval);
}

static void store(oriel_image *img, size_t i, uint32_t v, uint32_t maxval)
{
    if (img->depth == 8)
        ((uint8_t *)img->data)[i] = (uint8_t)((v * 255 + maxval / 2) / maxval);
    else
        ((uint16_t *)img->data)[i] = (uint16_t)((v * 65535 + maxval / 2) / maxval);
}

static oriel_status read_digits(oriel_image *img, reader *r, const header *h, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t v;
        oriel_status s = ORIEL_OK;
        if (h->bitmap) { /* digits need no space between them */
            skip_space(r);
            if (r->at == r->end)
                return truncated();
            v = (uint64_t)*r->at++ - '0';
        } else if ((s = number(r, &v))) {
            return s;
        }
        if (v > h->maxval)
            return over(v, h->maxval);
        store(img, i, h->bitmap ? !v : (uint32_t)v, (uint32_t)h->maxval);
    }
    return ORIEL_OK;
}

static void read_bits(oriel_image *img, const reader *r)
{
    size_t row = ((size_t)img->width + 7) / 8;
    for (size_t y = 0; y < (size_t)img->height; y++)
        for (size_t x = 0; x < (size_t)img->width; x++)
            ((uint8_t *)img->data)[y * img->width + x] =
                r->at[y * row + x / 8] >> (7 - x % 8) & 1 ? 0 : 255;
}

static oriel_status read_binary(oriel_image *img, const reader *r, uint32_t maxval, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t v = maxval > 255 ? oriel_be16(r->at + 2 * i) : r->at[i];
        if (v > maxval)
            return over(v, maxval);
        store(img, i, v, maxval);
    }
    return ORIEL_OK;
}

static int bits_of(uint64_t maxval)
{
    int bits = 1;
    while (maxval >> bits)
        bits++;
    return bits;
}

oriel_status oriel_pnm_decode(oriel_image *img, const oriel_source *src)
{
    reader r = {src->data + 2, src->data + src->size};
    header h = {0};
    oriel_status s =
        src->data[1] == '7' ? pam_header(&r, &h) : pnm_header(&r, &h, src->data[1] - '0');
    if (s || (s = oriel_image_check_size("pnm", h.width, h.height, src->max_pixels)))
        return s;
    if (h.maxval < 1 || h.maxval > 65535)
        return oriel_fail(ORIEL_E_FORMAT, "pnm: maxval %llu", (unsigned long long)h.maxval);
    /* Are the bytes there? Known before any memory is taken. A decimal sample has two at least, but
     * for the last one and for bitmaps. */
    size_t count = (size_t)h.width * h.height * h.depth;
    size_t need = h.packed_bits ? (size_t)((h.width + 7) / 8 * h.height)
                  : h.in_digits ? (h.bitmap ? count : 2 * count - 1)
                                : (h.maxval > 255 ? 2 * count : count);
    if ((size_t)(r.end - r.at) < need)
        return truncated();
    if ((s = oriel_image_new(img, (int)h.width, (int)h.height, (int)h.depth,
                             h.maxval > 255 ? 16 : 8)))
        return s;
    img->source_bits = bits_of(h.maxval);
    if (h.in_digits)
        return read_digits(img, &r, &h, count);
    if (!h.packed_bits)
        return read_binary(img, &r, (uint32_t)h.maxval, count);
    read_bits(img, &r);
    return ORIEL_OK;
}

/* ---- writing ------------------------------------------------------------------------------ */

oriel_status oriel_pnm_encode(oriel_buffer *out, const oriel_image *img)
{
    static const char *const tuples[] = {"GRAYSCALE", "GRAYSCALE_ALPHA", "RGB", "RGB_ALPHA"};
    const int maxval = img->depth == 8 ? 255 : 65535;
    const size_t count = (size_t)img->width * img->height * img->channels;
    char text[128];
    oriel_status s;
    if (img->channels == 1 || img->channels == 3)
        snprintf(text, sizeof text, "P%d\n%d %d\n%d\n", img->channels == 1 ? 5 : 6, img->width,
                 img->height, maxval);
    else
        snprintf(text, sizeof text,
                 "P7\nWIDTH %d\nHEIGHT %d\nDEPTH %d\nMAXVAL %d\nTUPLTYPE %s\nENDHDR\n", img->width,
                 img->height, img->channels, maxval, tuples[img->channels - 1]);
    if ((s = oriel_buffer_reserve(out, strlen(text) + count * (img->depth / 8))) ||
        (s = oriel_buffer_add(out, text, strlen(text))))
        return s;
    if (img->depth == 8)
        return oriel_buffer_add(out, img->data, count);
    for (size_t i = 0; i < count; i++) {
        uint16_t v = ((const uint16_t *)img->data)[i];
        out->data[out->size++] = (uint8_t)(v >> 8);
        out->data[out->size++] = (uint8_t)v;
    }
    return ORIEL_OK;
}
