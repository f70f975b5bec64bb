/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of vision that read and write picture files share. */
#ifndef VISION_IMAGE_H
#define VISION_IMAGE_H

#include <oriel/vision.h>

#include "core/internal.h"

/* ---- decoding ----------------------------------------------------------------------------- */

/* The bytes of a file, whole. A decoder reads no others and keeps no pointer to them. */
typedef struct oriel_source {
    const uint8_t *data;
    size_t size;
    uint64_t max_pixels;
} oriel_source;

/* Fill *img, which is all zero. What a failed decoder leaves in it, the caller frees. Orientation
 * is not applied: the EXIF block is left as found. */
typedef oriel_status oriel_decode_fn(oriel_image *img, const oriel_source *src);

oriel_decode_fn oriel_png_decode, oriel_jpeg_decode, oriel_bmp_decode, oriel_tga_decode,
    oriel_pnm_decode;

/* Is this the head of a TGA file? The format has no magic number, so every field must make sense.
 */
bool oriel_tga_sniff(const uint8_t *data, size_t size);

/* The most that a decoder needs to tell what a file is. */
enum { ORIEL_SNIFF_BYTES = 64 };
/* ORIEL_E_FORMAT or ORIEL_E_UNSUPPORTED if no decoder takes a file that begins so. */
oriel_status oriel_image_sniff(const uint8_t *head, size_t size);

/* Are these dimensions acceptable? `format` begins the message. */
oriel_status oriel_image_check_size(const char *format, uint64_t width, uint64_t height,
                                    uint64_t max_pixels);

static inline unsigned oriel_le16(const uint8_t *p)
{
    return p[0] | (unsigned)p[1] << 8;
}
static inline unsigned oriel_be16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}
static inline uint32_t oriel_le32(const uint8_t *p)
{
    return oriel_le16(p) | (uint32_t)oriel_le16(p + 2) << 16;
}

/* ---- encoding ----------------------------------------------------------------------------- */

/* Bytes that grow. All zero is empty. */
typedef struct oriel_buffer {
    uint8_t *data;
    size_t size, capacity;
} oriel_buffer;

oriel_status oriel_buffer_reserve(oriel_buffer *b, size_t more); /* room for `more` bytes */
oriel_status oriel_buffer_add(oriel_buffer *b, const void *bytes, size_t size);

oriel_status oriel_png_encode(oriel_buffer *out, const oriel_image *img,
                              const oriel_image_write_options *opt);
oriel_status oriel_pnm_encode(oriel_buffer *out, const oriel_image *img);

/* ---- metadata ----------------------------------------------------------------------------- */

/* Is there a TIFF header that we can follow? */
bool oriel_exif_valid(const uint8_t *exif, size_t size);
/* 1 to 8; 1 if the block does not say. */
int oriel_exif_orientation(const uint8_t *exif, size_t size);
/* Say that the pixels are upright, and forget the thumbnail, which is not. */
void oriel_exif_set_upright(uint8_t *exif, size_t size);
/* Where the block gives the picture's size, let it be this. */
void oriel_exif_set_size(uint8_t *exif, size_t size, int width, int height);

/* Copies of these bytes; what cannot be an ICC profile or EXIF is left out with a warning. */
oriel_status oriel_image_keep_icc(oriel_image *img, const char *format, const void *icc,
                                  size_t size);
oriel_status oriel_image_keep_exif(oriel_image *img, const char *format, const void *exif,
                                   size_t size);

/* Turn the pixels as EXIF orientation 1 to 8 says. ORIEL_E_NOMEM leaves the picture as it was. */
oriel_status oriel_image_turn(oriel_image *img, int orientation);

typedef struct oriel_span {
    size_t at, size;
} oriel_span;

/* What the marker segments of a JPEG say. Spans are of the file; size 0: absent. */
typedef struct oriel_jpeg_info {
    int width, height, components;
    oriel_span exif;
    int icc_parts; /* of the ICC profile, in order; 0 if any is missing */
    oriel_span icc[255];
} oriel_jpeg_info;

/* Walk the markers to the end and refuse what the decoder behind us could not digest. */
oriel_status oriel_jpeg_scan(oriel_jpeg_info *info, const uint8_t *data, size_t size);

/* ---- files -------------------------------------------------------------------------------- */

/* The whole of a file or of stdin ("-"), if it begins like a picture. */
oriel_status oriel_file_read(oriel_buffer *out, const char *path);
/* All or nothing under that name, or to stdout ("-"). */
oriel_status oriel_file_write(const char *path, const void *bytes, size_t size, bool overwrite);
/* Give temp its final name if nothing has that name. Two ways to do it: the second is for
 * filesystems that cannot do the first. ORIEL_E_IO leaves temp. */
oriel_status oriel_file_publish(const char *temp, const char *path);
oriel_status oriel_file_publish_by_claim(const char *temp, const char *path);

#endif
