/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/image_samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

void bytes_add(bytes *b, const void *data, size_t size)
{
    if (!size)
        return;
    b->data = realloc(b->data, b->size + size);
    if (!b->data)
        abort();
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

void bytes_put(bytes *b, unsigned v, int size, bool little)
{
    for (int i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)(v >> 8 * (little ? i : size - 1 - i));
        bytes_add(b, &byte, 1);
    }
}

void bytes_free(bytes *b)
{
    free(b->data);
    *b = (bytes){0};
}

unsigned sample_value(int x, int y, int c, unsigned max)
{
    unsigned h =
        (unsigned)x * 2654435761u + (unsigned)y * 40503u * 65537u + (unsigned)c * 977u + 12345u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    if (h % 7 == 0)
        return 0;
    return h % 7 == 1 ? max : h % (max + 1);
}

/* ---- PNG ---------------------------------------------------------------------------------- */

static void png_out(png_structp png, png_bytep data, size_t size)
{
    bytes_add(png_get_io_ptr(png), data, size);
}

static void png_done(png_structp png)
{
    (void)png;
}

static void png_rows(png_structp png, const png_spec *s, int channels)
{
    uint8_t *row = calloc((size_t)s->width, 8);
    int passes = png_set_interlace_handling(png);
    if (!row)
        abort();
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < s->height; y++) {
            memset(row, 0, (size_t)s->width * 8);
            for (int i = 0; i < s->width * channels; i++) {
                unsigned v = sample_value(i / channels, y, i % channels, (1u << s->bits) - 1);
                if (s->bits == 16) {
                    row[2 * i] = (uint8_t)(v >> 8);
                    row[2 * i + 1] = (uint8_t)v;
                } else {
                    int bit = i * s->bits;
                    row[bit / 8] |= (uint8_t)(v << (8 - s->bits - bit % 8));
                }
            }
            png_write_row(png, row);
        }
    free(row);
}

static void png_transparency(png_structp png, png_infop info, const png_spec *s)
{
    png_byte alpha[2] = {(png_byte)palette_alpha(0), (png_byte)palette_alpha(1)};
    png_color_16 key = {.red = 1, .green = 2, .blue = 3, .gray = PNG_TRNS_GREY};
    if (s->type == PNG_COLOR_TYPE_PALETTE)
        png_set_tRNS(png, info, alpha, 2, NULL);
    else
        png_set_tRNS(png, info, NULL, 0, &key);
}

bytes make_png(const png_spec *s)
{
    static const int channels[] = {1, 0, 3, 1, 2, 0, 4};
    bytes out = {0};
    png_color palette[256];
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    if (!info || setjmp(png_jmpbuf(png)))
        abort();
    png_set_write_fn(png, &out, png_out, png_done);
    png_set_IHDR(png, info, (png_uint_32)s->width, (png_uint_32)s->height, s->bits, s->type,
                 s->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, 0, 0);
    for (int i = 0; i < 256; i++)
        palette[i] = (png_color){(png_byte)(i * 37), (png_byte)(255 - i), (png_byte)(i * 11)};
    if (s->type == PNG_COLOR_TYPE_PALETTE)
        png_set_PLTE(png, info, palette, 1 << s->bits);
    if (s->trns)
        png_transparency(png, info, s);
    if (s->srgb)
        png_set_sRGB_gAMA_and_cHRM(png, info, PNG_sRGB_INTENT_PERCEPTUAL);
    if (s->gamma > 0)
        png_set_gAMA(png, info, s->gamma);
    if (s->icc.size)
        png_set_iCCP(png, info, "test", 0, s->icc.data, (png_uint_32)s->icc.size);
    if (s->exif.size)
        png_set_eXIf_1(png, info, (png_uint_32)s->exif.size, s->exif.data);
    png_write_info(png, info);
    png_rows(png, s, channels[s->type]);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    return out;
}

/* ---- metadata ----------------------------------------------------------------------------- */

static void entry(bytes *b, bool little, unsigned tag, unsigned type, unsigned v)
{
    bytes_put(b, tag, 2, little);
    bytes_put(b, type, 2, little);
    bytes_put(b, 1, 4, little);
    bytes_put(b, v, type == 3 ? 2 : 4, little);
    if (type == 3)
        bytes_put(b, 0, 2, little);
}

bytes make_exif(bool little, int orientation, int width, int height)
{
    bytes b = {0};
    bytes_add(&b, little ? "II" : "MM", 2);
    bytes_put(&b, 42, 2, little);
    bytes_put(&b, 8, 4, little);
    bytes_put(&b, 3, 2, little); /* at 8: the first directory */
    entry(&b, little, 0x0101, 4, (unsigned)height);
    entry(&b, little, 0x0112, 3, (unsigned)orientation); /* value at 30 */
    entry(&b, little, 0x8769, 4, 50);
    bytes_put(&b, 80, 4, little);                   /* at 46: the thumbnail's directory */
    bytes_put(&b, 2, 2, little);                    /* at 50: the EXIF directory */
    entry(&b, little, 0xa002, 3, (unsigned)width);  /* value at 60 */
    entry(&b, little, 0xa003, 4, (unsigned)height); /* value at 72 */
    bytes_put(&b, 0, 4, little);
    bytes_put(&b, 1, 2, little); /* at 80 */
    entry(&b, little, 0x0112, 3, (unsigned)orientation);
    bytes_put(&b, 0, 4, little);
    return b;
}

bytes make_icc(size_t size, bool grey)
{
    static const uint8_t d50[] = {0, 0, 0xf6, 0xd6, 0, 1, 0, 0, 0, 0, 0xd3, 0x2d};
    bytes b = {calloc(size, 1), size};
    if (!b.data)
        abort();
    b.data[0] = (uint8_t)(size >> 24);
    b.data[1] = (uint8_t)(size >> 16);
    b.data[2] = (uint8_t)(size >> 8);
    b.data[3] = (uint8_t)size;
    b.data[8] = 4; /* version */
    memcpy(b.data + 12, grey ? "mntrGRAYXYZ " : "mntrRGB XYZ ", 12);
    memcpy(b.data + 36, "acsp", 4);
    memcpy(b.data + 68, d50, sizeof d50);
    for (size_t i = 132; i < size; i++)
        b.data[i] = (uint8_t)(i * 7);
    return b;
}

/* ---- JPEG, BMP, TGA ----------------------------------------------------------------------- */

static void stb_out(void *context, void *data, int size)
{
    bytes_add(context, data, (size_t)size);
}

static uint8_t *samples(int width, int height, int channels)
{
    uint8_t *p = malloc((size_t)width * height * channels);
    if (!p)
        abort();
    for (int i = 0; i < width * height * channels; i++)
        p[i] = (uint8_t)sample_value(i / channels % width, i / channels / width, i % channels, 255);
    return p;
}

bytes make_bmp(int width, int height, int channels)
{
    bytes b = {0};
    uint8_t *p = samples(width, height, channels);
    stbi_write_bmp_to_func(stb_out, &b, width, height, channels, p);
    free(p);
    return b;
}

bytes make_tga(int width, int height, int channels, bool runs)
{
    bytes b = {0};
    uint8_t *p = samples(width, height, channels);
    if (runs) /* something to run for */
        memset(p + (size_t)width * channels, 77, (size_t)width * channels);
    stbi_write_tga_with_rle = runs;
    stbi_write_tga_to_func(stb_out, &b, width, height, channels, p);
    free(p);
    return b;
}

unsigned jpeg_ramp(int x, int y, int c, int width, int height)
{
    return (unsigned)(c == 1 ? 255 - 255 * x / width : (127 * x / width + 127 * y / height));
}

bytes make_jpeg(int width, int height, int channels)
{
    bytes b = {0};
    uint8_t *p = malloc((size_t)width * height * channels);
    if (!p)
        abort();
    for (int i = 0; i < width * height * channels; i++)
        p[i] = (uint8_t)jpeg_ramp(i / channels % width, i / channels / width, i % channels, width,
                                  height);
    stbi_write_jpg_to_func(stb_out, &b, width, height, channels, p, 95);
    free(p);
    return b;
}

bytes make_progressive_jpeg(void)
{
    static const uint8_t head[] = {0xff, 0xd8, 0xff, 0xdb, 0, 67, 0};
    static const uint8_t rest[] = {
        0xff, 0xc2, 0, 11, 8, 0, 8, 0, 16, 1, 1, 0x11, 0,            /* SOF2: 16 x 8, grey */
        0xff, 0xc4, 0, 21, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* DHT: two codes of 2 bits */
        0, 0, 0, 10, 11, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0,         /* SOS: DC */
        /* 00 0000000000: -1023; 01 11111111110: 2046; ones to fill */
        0x00, 0x07, 0xff, 0x00, 0x7f, 0xff, 0xd9};
    bytes b = {0};
    bytes_add(&b, head, sizeof head);
    for (int i = 0; i < 64; i++)
        bytes_put(&b, i ? 1 : 8, 1, false);
    bytes_add(&b, rest, sizeof rest);
    return b;
}

void jpeg_insert(bytes *jpeg, int marker, const void *head, size_t head_size, const void *body,
                 size_t body_size)
{
    bytes out = {0};
    bytes_add(&out, jpeg->data, 2);
    bytes_put(&out, 0xff, 1, false);
    bytes_put(&out, (unsigned)marker, 1, false);
    bytes_put(&out, (unsigned)(2 + head_size + body_size), 2, false);
    bytes_add(&out, head, head_size);
    bytes_add(&out, body, body_size);
    bytes_add(&out, jpeg->data + 2, jpeg->size - 2);
    bytes_free(jpeg);
    *jpeg = out;
}

/* ---- all ---------------------------------------------------------------------------------- */

static bytes literal(const char *text, size_t size)
{
    bytes b = {0};
    bytes_add(&b, text, size);
    return b;
}

static bytes photo(void)
{
    bytes b = make_jpeg(24, 16, 3), exif = make_exif(true, 6, 24, 16), icc = make_icc(300, false);
    jpeg_insert(&b, 0xe2, "ICC_PROFILE\0\2\2", 14, icc.data + 100, 200);
    jpeg_insert(&b, 0xe2, "ICC_PROFILE\0\1\2", 14, icc.data, 100);
    jpeg_insert(&b, 0xe1, "Exif\0", 6, exif.data, exif.size);
    bytes_free(&exif);
    bytes_free(&icc);
    return b;
}

static bytes small_bmp(int bits, unsigned compression)
{
    bytes b = {0};
    int colours = bits <= 8 ? 1 << (bits < 4 ? bits : 4) : 0, masks = compression ? 12 : 0;
    int row = (5 * bits + 31) / 32 * 4, offset = 54 + colours * 4 + masks;
    bytes_add(&b, "BM", 2);
    bytes_put(&b, (unsigned)(offset + row * 3), 4, true);
    bytes_put(&b, 0, 4, true);
    bytes_put(&b, (unsigned)offset, 4, true);
    bytes_put(&b, 40, 4, true);
    bytes_put(&b, 5, 4, true);
    bytes_put(&b, bits == 16 ? (unsigned)-3 : 3, 4, true); /* 16 bits: from the top */
    bytes_put(&b, 1, 2, true);
    bytes_put(&b, (unsigned)bits, 2, true);
    bytes_put(&b, compression, 4, true);
    for (int i = 0; i < 3; i++)
        bytes_put(&b, 0, 4, true);
    bytes_put(&b, (unsigned)colours, 4, true);
    bytes_put(&b, 0, 4, true);
    for (int i = 0; i < masks / 4; i++)
        bytes_put(&b, (unsigned[]){0xf800, 0x07e0, 0x001f}[i], 4, true);
    for (int i = 0; i < colours; i++)
        bytes_put(&b, (unsigned)i * 0x010307u, 4, true);
    for (int i = 0; i < 3 * row; i++) /* indices of 8 bits stay below 16 */
        bytes_put(&b, sample_value(i, 0, 0, bits == 8 ? 15 : 255), 1, true);
    return b;
}

static bytes palette_tga(bool runs)
{
    bytes b = {0};
    bytes_put(&b, 2, 1, true); /* two bytes of text */
    bytes_put(&b, 1, 1, true);
    bytes_put(&b, runs ? 9 : 1, 1, true);
    bytes_put(&b, 4, 2, true); /* the palette's first index */
    bytes_put(&b, 3, 2, true);
    bytes_put(&b, 24, 1, true);
    bytes_put(&b, 0, 4, true);
    bytes_put(&b, 3, 2, true);
    bytes_put(&b, 2, 2, true);
    bytes_put(&b, 8, 1, true);
    bytes_put(&b, 0x30, 1, true); /* from the top right */
    bytes_add(&b, "hi", 2);
    bytes_add(&b, "\1\2\3\4\5\6\7\10\11", 9);
    if (runs)
        bytes_add(&b, "\202\4\2\5\6\4", 6); /* 4 4 4, then 5 6 4 */
    else
        bytes_add(&b, "\4\4\4\5\6\4", 6);
    return b;
}

static bytes png_sample(int i)
{
    static const int kinds[][2] = {{0, 1}, {0, 2}, {0, 4}, {0, 8}, {0, 16}, {2, 8}, {2, 16}, {3, 1},
                                   {3, 2}, {3, 4}, {3, 8}, {4, 8}, {4, 16}, {6, 8}, {6, 16}};
    const int *k = kinds[i / 2];
    return make_png(&(png_spec){.width = 9,
                                .height = 7,
                                .bits = k[1],
                                .type = k[0],
                                .interlaced = i % 2,
                                .trns = k[0] < 4 && i % 4 >= 2});
}

static bytes png_with_metadata(void)
{
    bytes icc = make_icc(200, false), exif = make_exif(false, 8, 9, 7);
    bytes b = make_png(&(png_spec){.width = 9,
                                   .height = 7,
                                   .bits = 8,
                                   .type = PNG_COLOR_TYPE_RGB,
                                   .icc = icc,
                                   .exif = exif,
                                   .gamma = 0.5});
    bytes_free(&icc);
    bytes_free(&exif);
    return b;
}

enum { PNGS = 30 };

bool any_sample(int index, const char **name, bytes *out)
{
    static char text[32];
    *name = text;
    if (index < PNGS) {
        snprintf(text, sizeof text, "%02d.png", index);
        *out = png_sample(index);
        return true;
    }
#define TEXT(s) literal(s, sizeof s - 1)
    switch (index - PNGS) {
    case 0:
        *name = "meta.png", *out = png_with_metadata();
        break;
    case 1:
        *name = "1.pnm", *out = TEXT("P1 # bits\n3 2\n101\n0 1 0\n");
        break;
    case 2:
        *name = "2.pnm", *out = TEXT("P2\n#a\n#b\n2 2 7\n0 7\n3 4\n");
        break;
    case 3:
        *name = "3.pnm", *out = TEXT("P3 1 2 65535 0 1 2 65535 300 7\n");
        break;
    case 4:
        *name = "4.pnm", *out = TEXT("P4 10 2\n\xaa\x40\x55\x80");
        break;
    case 5:
        *name = "5.pnm", *out = TEXT("P5 3 1 100\n\0\144\62");
        break;
    case 6:
        *name = "6.pnm", *out = TEXT("P6\n2 1\n1023\n\0\0\3\377\0\1\1\0\2\0\0\3");
        break;
    case 7:
        *name = "7.pam";
        *out = TEXT("P7\n# x\nWIDTH 2\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n"
                    "\1\2\3\4\5\6\7\10");
        break;
    case 8:
        *name = "24.bmp", *out = make_bmp(5, 4, 3);
        break;
    case 9:
        *name = "32.bmp", *out = make_bmp(3, 3, 4);
        break;
    case 10:
        *name = "1.bmp", *out = small_bmp(1, 0);
        break;
    case 11:
        *name = "4.bmp", *out = small_bmp(4, 0);
        break;
    case 12:
        *name = "8.bmp", *out = small_bmp(8, 0);
        break;
    case 13:
        *name = "16.bmp", *out = small_bmp(16, 0);
        break;
    case 14:
        *name = "565.bmp", *out = small_bmp(16, 3);
        break;
    case 15:
        *name = "grey.tga", *out = make_tga(5, 4, 1, false);
        break;
    case 16:
        *name = "greyalpha.tga", *out = make_tga(5, 4, 2, true);
        break;
    case 17:
        *name = "rgb.tga", *out = make_tga(5, 4, 3, true);
        break;
    case 18:
        *name = "rgba.tga", *out = make_tga(5, 4, 4, false);
        break;
    case 19:
        *name = "palette.tga", *out = palette_tga(false);
        break;
    case 20:
        *name = "runs.tga", *out = palette_tga(true);
        break;
    case 21:
        *name = "grey.jpg", *out = make_jpeg(9, 9, 1);
        break;
    case 22:
        *name = "photo.jpg", *out = photo();
        break;
    case 23:
        *name = "progressive.jpg", *out = make_progressive_jpeg();
        break;
    default:
        return false;
    }
#undef TEXT
    return true;
}
