/* SPDX-License-Identifier: Apache-2.0 */
/* Small picture files, made by others' writers (libpng, stb_image_write) or byte by byte. */
#ifndef TESTS_IMAGE_SAMPLES_H
#define TESTS_IMAGE_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bytes {
    uint8_t *data;
    size_t size;
} bytes;

void bytes_add(bytes *b, const void *data, size_t size);
void bytes_put(bytes *b, unsigned v, int size, bool little); /* an integer of 1, 2 or 4 bytes */
void bytes_free(bytes *b);

/* A sample in a file, the same for all tests: depends on everything, reaches 0 and max. */
unsigned sample_value(int x, int y, int c, unsigned max);

/* A PNG as libpng writes it. Samples are sample_value(); a palette has entries
 * (i * 37, 255 - i, i * 11) mod 256. */
typedef struct png_spec {
    int width, height, bits, type; /* type: PNG_COLOR_TYPE_... */
    bool interlaced, trns, srgb;
    const bytes icc, exif;
    double gamma;
} png_spec;
enum { PNG_TRNS_GREY = 1 }; /* the transparent grey of a tRNS; RGB: (1, 2, 3); palette: see below */
static inline unsigned palette_alpha(int i)
{
    return (unsigned)i * 50 % 256; /* of the first two entries; the rest are opaque */
}
bytes make_png(const png_spec *spec);

/* EXIF with both directories, a thumbnail's directory and orientation o. */
bytes make_exif(bool little, int orientation, int width, int height);
/* Something with the head of an ICC profile, `size` bytes (at least 132), RGB or grey. */
bytes make_icc(size_t size, bool grey);

bytes make_bmp(int width, int height, int channels); /* 3 or 4 */
bytes make_tga(int width, int height, int channels, bool runs);
/* A smooth ramp, as `channels` 1 or 3; jpeg_ramp() says what it holds. */
bytes make_jpeg(int width, int height, int channels);
unsigned jpeg_ramp(int x, int y, int c, int width, int height);
/* Grey, two blocks of 8 x 8, black and white, DC alone, progressive. */
bytes make_progressive_jpeg(void);
/* A JPEG with a segment put in after SOI. */
void jpeg_insert(bytes *jpeg, int marker, const void *head, size_t head_size, const void *body,
                 size_t body_size);

/* Everything above in many kinds. Returns false behind the last. Free out->data. */
bool any_sample(int index, const char **name, bytes *out);

#endif
