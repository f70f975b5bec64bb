/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ORIEL_VISION_H
#define ORIEL_VISION_H

/*
 * oriel/vision.h - pictures: read, write, resize, compare, cut into tiles.
 *
 *     oriel_image img = {0};
 *     if ((s = oriel_image_read(&img, "in.jpg", NULL)) == ORIEL_OK) {
 *         s = oriel_image_write(&img, "out.png", NULL);
 *         oriel_image_free(&img);
 *     }
 *
 * A picture is 8 or 16 bits a sample, 1 to 4 channels (grey, grey + alpha, RGB, RGB + alpha, alpha
 * never premultiplied), packed rows from the top. Samples of other widths are widened exactly
 * (1-bit grey becomes 0 and 255). What is beside the pixels travels along: an ICC profile, EXIF, the
 * gAMA value. Pixels are never converted between colour spaces.
 *
 * Everything here is for one thread at a time per image; the functions share no state.
 */

#include <oriel/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- pictures ----------------------------------------------------------------------------- */

enum { ORIEL_IMAGE_MAX_SIDE = 1 << 20 }; /* pixels */

typedef struct oriel_image {
    int      width, height;
    int      channels; /* 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha */
    int      depth;    /* 8 or 16: bits of a stored sample; 16 is native-endian uint16_t */
    void    *data;     /* (Y, X, C) packed */
    uint8_t *icc;      /* an ICC profile as stored in the file, or NULL */
    size_t   icc_size;
    uint8_t *exif; /* a TIFF block, without "Exif\0\0", or NULL; its orientation is 1 unless the
                      picture was read with keep_orientation */
    size_t   exif_size;
    double   gamma;       /* the PNG's gAMA (0.45455, say), 0 if there was none */
    int      source_bits; /* bits a sample in the file, 1 to 16; of a palette's colours 8 */
} oriel_image;

typedef struct oriel_image_read_options {
    bool     keep_orientation; /* do not turn the picture as its EXIF says */
    uint64_t max_pixels;       /* larger ones are ORIEL_E_UNSUPPORTED; 0 means 2^30 */
} oriel_image_read_options;

/* Read a picture: PNG, JPEG, BMP, TGA, PNM (P1-P6, PAM P7), told apart by content. path "-" is stdin.
 * What *img held is forgotten, not freed; on success it owns memory, on failure it is all zero.
 * A file that is cut short is ORIEL_E_FORMAT. CMYK, arithmetic and lossless JPEG and run-length coded
 * BMP are ORIEL_E_UNSUPPORTED. Metadata that are damaged are left out with a warning to the log.
 * ORIEL_E_IO, ORIEL_E_FORMAT, ORIEL_E_UNSUPPORTED, ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_image_read(oriel_image *img, const char *path,
                                                         const oriel_image_read_options *opt);
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_image_decode(oriel_image *img, const void *bytes,
                                                           size_t size,
                                                           const oriel_image_read_options *opt);

typedef enum oriel_image_format {
    ORIEL_IMAGE_AUTO = 0, /* by the path's extension; PNG for "-" */
    ORIEL_IMAGE_PNG,
    ORIEL_IMAGE_PNM /* P5, P6, or P7 (PAM) if there is alpha */
} oriel_image_format;

typedef struct oriel_image_write_options {
    oriel_image_format format;
    int                compression;   /* PNG: zlib level 1 to 9; 0 means 6. 1 is made for photographs, and
                                         several times as fast as 2: no search for what repeats */
    bool               overwrite;     /* else an existing path is ORIEL_E_IO */
    bool               drop_metadata; /* leave out ICC, EXIF and gAMA (PNM holds none) */
} oriel_image_write_options;

/* Write a picture: PNG or PNM. The file appears under its name only when it is complete: bytes go
 * to a temporary name beside it, which is removed on failure; of several that write one new name at
 * once without overwrite, one succeeds. A pipe or device is written to, a symbolic link followed.
 * path "-" is stdout. An ICC profile that does not suit the picture (RGB on grey, say) is left out
 * with a warning to the log.
 * ORIEL_E_ARG (unknown extension), ORIEL_E_IO, ORIEL_E_NOMEM, ORIEL_E_UNSUPPORTED (no libpng). */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_image_write(const oriel_image *img, const char *path,
                                                          const oriel_image_write_options *opt);
/* The same into memory; free *bytes with oriel_bytes_free(). */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_image_encode(const oriel_image *img, uint8_t **bytes,
                                                           size_t *size,
                                                           const oriel_image_write_options *opt);
ORIEL_API void oriel_bytes_free(uint8_t **bytes);

/* A zeroed picture, without metadata; what *img held is forgotten. ORIEL_E_ARG, ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_image_new(oriel_image *img, int width, int height,
                                                        int channels, int depth);
ORIEL_API void oriel_image_free(oriel_image *img); /* NULL-safe; leaves *img all zero */
/* Copy ICC, EXIF and gamma from one picture to another; EXIF's pixel dimensions follow dst.
 * ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_image_copy_metadata(oriel_image       *dst,
                                                                  const oriel_image *src);

/* Samples [c0, c0 + C) of the picture to an f32 tensor (Y, X, C), 0..1: value / (2^depth - 1).
 * ORIEL_E_ARG if the shapes differ. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_image_to_tensor(const oriel_image *img, int c0,
                                                              oriel_tensor dst);
/* And back: clamped to 0..1, times 2^depth - 1 in f32, rounded half to even; NaN becomes 0. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_image_from_tensor(oriel_image *img, int c0,
                                                                oriel_tensor src);

/* ---- samples in a device's memory --------------------------------------------------------- */

typedef enum oriel_surface_layout {
    ORIEL_SURFACE_8 = 0, /* (Y, X, channels) of 8 bits, 0..255 for 0..1 */
    ORIEL_SURFACE_16,    /* of 16 bits */
    ORIEL_SURFACE_NV12,  /* 4:2:0: plane 0 is luma of 8 bits, plane 1 Cb and Cr in turns */
    ORIEL_SURFACE_P010   /* the same of 16 bits, the upper 10 in use */
} oriel_surface_layout;

/* Pixels as decoders, cameras and files have them; planes lie in the device's memory. */
typedef struct oriel_surface {
    oriel_surface_layout layout;
    int                  width, height;
    int                  channels, first; /* interleaved: samples a pixel, 1 to 4, and the one that is the
                                             tensor's first. NV12 and P010: 0 */
    void                *plane[2];
    ptrdiff_t            pitch[2]; /* bytes from row to row; 0: packed */
    double               kr, kb;   /* NV12, P010: luma's share of red and of blue; both 0: BT.709's .2126 and
                                      .0722 (BT.601: .299, .114; BT.2020: .2627, .0593) */
    bool                 full_range;
    bool                 cosited_x, cosited_y; /* chroma lies on luma samples (MPEG-2 and H.264: x alone), or between */
} oriel_surface;

/* What a network wants of 0..1: (value - mean) scale, by channel. All zero: as it is. */
typedef struct oriel_normal {
    float mean[4], scale[4];
} oriel_normal;

/* The surface as numbers 0..1, normalised, to an f32 tensor (Y, X, C) of any strides in the device's memory,
 * in one pass; NV12 and P010 as RGB, (Y, X, 3), chroma by linear interpolation at its site. n NULL: as it is.
 * On a GPU it is queued. ORIEL_E_ARG (shapes, layouts), ORIEL_E_DEVICE. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_surface_to_tensor(oriel_device *dev, const oriel_surface *s,
                                                                oriel_tensor dst, const oriel_normal *n);
/* And back: clamped, rounded half to even; NaN becomes 0; chroma by the filter that undoes the interpolation.
 * finite (host memory) NULL: queued, too. Else the call waits, and *finite says whether all numbers were. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_surface_from_tensor(oriel_device *dev, const oriel_surface *s,
                                                                  oriel_tensor src, const oriel_normal *n,
                                                                  bool *finite);
/* oriel_image_to_tensor() and back between a picture, which is the host's, and a tensor in the device's
 * memory, with the same bits: samples cross the bus as they are stored. ORIEL_E_NOMEM, ORIEL_E_DEVICE. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_image_to_device(oriel_device *dev, const oriel_image *img,
                                                              int c0, oriel_tensor dst);
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_image_from_device(oriel_device *dev, oriel_image *img, int c0,
                                                                oriel_tensor src, bool *finite);

/* ---- resize ------------------------------------------------------------------------------- */

typedef enum oriel_filter {
    ORIEL_BICUBIC = 0,
    ORIEL_BILINEAR,
    ORIEL_LANCZOS3,
    ORIEL_AREA, /* the mean of the source area; the same as PIL's BOX when antialiased */
    ORIEL_NEAREST
} oriel_filter;

/* Whose arithmetic to follow, to the last bit of what they publish. */
typedef enum oriel_resize_rule {
    ORIEL_RESIZE_PIL = 0, /* antialias, bicubic a = -0.5; 8-bit images round and clamp after each
                             pass (columns first), as PIL does */
    ORIEL_RESIZE_TORCH,   /* F.interpolate, align_corners=False: a = -0.75, no antialias, borders
                             clamped; bicubic and bilinear, nearest and area */
    ORIEL_RESIZE_MATLAB   /* imresize: a = -0.5, antialias, symmetric borders: the low-resolution
                             images of super-resolution papers; bicubic and bilinear */
} oriel_resize_rule;

typedef struct oriel_resize_options {
    oriel_filter      filter;
    oriel_resize_rule rule;
} oriel_resize_options;

/* dst = src resized, both f32 (Y, X, C) of any strides (C contiguous is fastest); every size from
 * 1 up. dst must not overlap src. ORIEL_E_ARG, ORIEL_E_UNSUPPORTED (filter not in rule),
 * ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_resize(oriel_tensor dst, oriel_tensor src,
                                                     const oriel_resize_options *opt);
/* A new picture of the given size with src's depth, channels and metadata. Colour is weighted by
 * alpha, so hidden colours do not bleed. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_image_resize(oriel_image *dst, const oriel_image *src,
                                                           int width, int height,
                                                           const oriel_resize_options *opt);

/* ---- metrics ------------------------------------------------------------------------------ */

typedef struct oriel_compare_options {
    bool y;    /* compare luma (BT.601, 16..235 as BasicSR) in place of RGB */
    int  crop; /* pixels left out at each border */
} oriel_compare_options;

typedef struct oriel_compare_result {
    double psnr; /* dB, peak 255; INFINITY if equal */
    double ssim; /* Wang et al. 2004: 11 x 11 Gaussian, sigma 1.5, valid region; mean over channels;
                    NAN if a side is under 11 after the crop */
    double max_abs; /* largest difference of a sample, of 255 */
} oriel_compare_result;

/* Compare two pictures of one size as BasicSR's calculate_psnr and calculate_ssim do: samples as
 * 0..255 doubles (16-bit divided by 257), alpha ignored, grey taken as three equal colours where RGB
 * or luma is compared. ORIEL_E_ARG (sizes differ, crop leaves nothing), ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_image_compare(oriel_compare_result *out,
                                                            const oriel_image *a,
                                                            const oriel_image *b,
                                                            const oriel_compare_options *opt);

/* ---- tiles -------------------------------------------------------------------------------- */

/* Overlapping tiles of one size that cover a picture. Origins are multiples of `align` wherever a
 * tile does not touch the far border, so windows inside fall where they fall untiled. */
typedef struct oriel_tiles {
    int width, height;     /* of the picture */
    int tile_x, tile_y;    /* size of a tile; at most the picture's */
    int overlap;           /* pixels shared by neighbours, at least */
    int count_x, count_y;  /* tiles along each axis */
    int align;
} oriel_tiles;

typedef struct oriel_tile {
    int x, y, width, height;
} oriel_tile;

/* Plan tiles of tile x tile pixels with `overlap`, origins on multiples of align (0 means 1).
 * ORIEL_E_ARG: tile < 1, overlap < 0 or overlap >= tile, align > tile - overlap. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_tiles_plan(oriel_tiles *t, int width, int height,
                                                         int tile, int overlap, int align);
ORIEL_API oriel_tile oriel_tiles_get(const oriel_tiles *t, int index); /* 0 <= index < count_x * count_y */
/* Add tile `index`, upscaled by scale (f32 (tile_h * scale, tile_w * scale, C)), into out (f32
 * (height * scale, width * scale, C), zero before the first), feathered linearly across the middle half
 * of each overlap: the quarter at a tile's cut edge, where a network misses its surroundings, counts not.
 * The weights of each pixel sum to 1 over all tiles. ORIEL_E_ARG. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_tiles_blend(const oriel_tiles *t, int index, int scale,
                                                          oriel_tensor out, oriel_tensor tile);

#ifdef __cplusplus
}
#endif
#endif
