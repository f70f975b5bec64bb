/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PNG by libpng. libpng leaves by longjmp() when something fails; guarded() is the one place that
 * catches it. All that the steps change lives in a struct job, not in locals, so nothing is lost by
 * the jump and one function cleans up.
 */
#include <math.h>
#include <setjmp.h>

#include <png.h>

#include "vision/png_fast.h"

enum { MAX_CHUNK = 64 << 20, MAX_CHUNKS = 100 };
/* The most that libpng may ask for at once: a chunk, or a row of the widest picture in 4 x 16 bits.
 * To libpng 1.6.39 a chunk above its limit is a warning, and an eXIf of 2 GiB is allocated. */
#define MAX_ALLOC (MAX_CHUNK + 16 * (size_t)ORIEL_IMAGE_MAX_SIDE)

typedef struct job {
    png_structp png;
    png_infop info;
    oriel_status status;
    bool out_of_memory; /* also where libpng only warns and goes on */
    const char *doing;  /* "png" or "png: writing" */

    oriel_image *img; /* reading */
    const oriel_source *src;
    size_t at; /* the next byte of src */

    oriel_buffer *out; /* writing */
    png_fast *fast;    /* or NULL */
    const oriel_image *from;
    const oriel_image_write_options *opt;
} job;

/* ---- what libpng calls -------------------------------------------------------------------- */

static void on_error(png_structp png, png_const_charp text)
{
    job *j = png_get_error_ptr(png);
    if (!j->status && j->out_of_memory)
        j->status = oriel_fail(ORIEL_E_NOMEM, "%s: out of memory", j->doing);
    if (!j->status)
        j->status = oriel_fail(ORIEL_E_FORMAT, "%s: %s", j->doing, text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    const job *j = png_get_error_ptr(png);
    oriel_logf(ORIEL_LOG_WARN, "%s: %s", j->doing, text);
}

static png_voidp on_alloc(png_structp png, png_alloc_size_t size)
{
    job *j = png_get_mem_ptr(png);
    if (j->src && size > MAX_ALLOC)
        return NULL; /* the chunk is left out, or the file ends in it */
    void *p = oriel_alloc(size);
    if (!p)
        j->out_of_memory = true;
    return p;
}

static void on_free(png_structp png, png_voidp p)
{
    (void)png;
    oriel_dealloc(p);
}

static void on_read(png_structp png, png_bytep to, size_t size)
{
    job *j = png_get_io_ptr(png);
    if (j->src->size - j->at < size)
        png_error(png, "the file is truncated");
    memcpy(to, j->src->data + j->at, size);
    j->at += size;
}

static void on_write(png_structp png, png_bytep from, size_t size)
{
    job *j = png_get_io_ptr(png);
    if ((j->status = oriel_buffer_add(j->out, from, size)))
        png_error(png, "out of memory");
}

static void on_flush(png_structp png)
{
    (void)png;
}

/* ---- the guard ---------------------------------------------------------------------------- */

static void guarded(job *j, void (*step)(job *))
{
    if (setjmp(png_jmpbuf(j->png)))
        return;
    step(j);
    if (j->out_of_memory && !j->status)
        j->status = oriel_fail(ORIEL_E_NOMEM, "%s: out of memory", j->doing);
}

static oriel_status created(job *j)
{
    if (j->png)
        j->info = png_create_info_struct(j->png);
    if (j->info)
        return ORIEL_OK;
    return oriel_fail(ORIEL_E_NOMEM, "%s: out of memory", j->doing);
}

static bool little_endian(void)
{
    const uint16_t one = 1;
    return *(const uint8_t *)&one;
}

/* ---- reading ------------------------------------------------------------------------------ */

/* Have libpng hand out 8 or 16 bit samples, grey or RGB, with alpha where there is transparency. */
static void choose_layout(job *j)
{
    png_uint_32 w = png_get_image_width(j->png, j->info), h = png_get_image_height(j->png, j->info);
    int bits = png_get_bit_depth(j->png, j->info);
    int type = png_get_color_type(j->png, j->info);
    if ((j->status = oriel_image_check_size("png", w, h, j->src->max_pixels)))
        png_longjmp(j->png, 1);
    /* Deflate makes 1032 bytes of one at the very best. */
    if (png_get_rowbytes(j->png, j->info) / 1032 * (uint64_t)h > j->src->size)
        png_error(j->png, "the file is truncated");
    png_set_expand(j->png);
    if (bits == 16 && little_endian())
        png_set_swap(j->png);
    png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
    int channels = png_get_channels(j->png, j->info), depth = png_get_bit_depth(j->png, j->info);
    if ((j->status = oriel_image_new(j->img, (int)w, (int)h, channels, depth)))
        png_longjmp(j->png, 1);
    assert(png_get_rowbytes(j->png, j->info) == (size_t)w * channels * (depth / 8));
    j->img->source_bits = type == PNG_COLOR_TYPE_PALETTE ? 8 : bits;
}

static void read_metadata(job *j)
{
    png_charp name;
    int method;
    png_bytep bytes;
    png_uint_32 size;
    png_fixed_point gamma;
    if (png_get_gAMA_fixed(j->png, j->info, &gamma) && gamma > 0)
        j->img->gamma = gamma / 100000.0;
    if (png_get_iCCP(j->png, j->info, &name, &method, &bytes, &size) &&
        (j->status = oriel_image_keep_icc(j->img, "png", bytes, size)))
        png_longjmp(j->png, 1);
    if (png_get_eXIf_1(j->png, j->info, &size, &bytes) &&
        (j->status = oriel_image_keep_exif(j->img, "png", bytes, size)))
        png_longjmp(j->png, 1);
}

static void read_file(job *j)
{
    static const png_byte skipped[] = "tEXt\0zTXt\0iTXt\0sPLT\0hIST\0pCAL\0sCAL\0tIME";
    png_set_read_fn(j->png, j, on_read);
    png_set_user_limits(j->png, ORIEL_IMAGE_MAX_SIDE, ORIEL_IMAGE_MAX_SIDE);
    png_set_chunk_malloc_max(j->png, MAX_CHUNK);
    png_set_chunk_cache_max(j->png, MAX_CHUNKS);
    png_set_keep_unknown_chunks(j->png, PNG_HANDLE_CHUNK_NEVER, skipped, sizeof skipped / 5);
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    png_set_crc_action(j->png, PNG_CRC_QUIET_USE,
                       PNG_CRC_QUIET_USE); /* fuzzers cannot guess them */
#endif
    png_read_info(j->png, j->info);
    choose_layout(j);
    size_t row = png_get_rowbytes(j->png, j->info);
    int passes = png_get_interlace_type(j->png, j->info) == PNG_INTERLACE_ADAM7 ? 7 : 1;
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < j->img->height; y++)
            png_read_row(j->png, (png_bytep)j->img->data + y * row, NULL);
    png_read_end(j->png, j->info);
    read_metadata(j); /* last: EXIF may stand behind the pixels */
}

oriel_status oriel_png_decode(oriel_image *img, const oriel_source *src)
{
    job j = {.doing = "png", .img = img, .src = src};
    j.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning, &j, on_alloc,
                                     on_free);
    if (!(j.status = created(&j)))
        guarded(&j, read_file);
    png_destroy_read_struct(&j.png, &j.info, NULL);
    return j.status;
}

/* ---- writing ------------------------------------------------------------------------------ */

static void write_metadata(job *j)
{
    const oriel_image *img = j->from;
    if (img->gamma > 0 && img->gamma < 1000)
        png_set_gAMA_fixed(j->png, j->info, (png_fixed_point)lround(img->gamma * 100000.0));
    if (img->icc && img->icc_size <= UINT32_MAX) {
        png_set_iCCP(j->png, j->info, "ICC profile", PNG_COMPRESSION_TYPE_BASE, img->icc,
                     (png_uint_32)img->icc_size);
        if (!png_get_valid(j->png, j->info, PNG_INFO_iCCP))
            oriel_logf(ORIEL_LOG_WARN,
                       "png: the ICC profile does not suit the picture and is left out");
    }
    if (img->exif && oriel_exif_valid(img->exif, img->exif_size))
        png_set_eXIf_1(j->png, j->info, (png_uint_32)img->exif_size, img->exif);
}

/* The picture's data by our own means, its chunks and their sums by libpng. */
static void write_fast(job *j)
{
    const uint8_t *piece;
    size_t size;
    while ((piece = png_fast_next(j->fast, &size)))
        png_write_chunk(j->png, (png_const_bytep) "IDAT", piece, size);
    png_write_chunk(j->png, (png_const_bytep) "IEND", NULL, 0);
}

static void write_file(job *j)
{
    static const int types[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                                PNG_COLOR_TYPE_RGB_ALPHA};
    const oriel_image *img = j->from;
    png_set_write_fn(j->png, j, on_write, on_flush);
    png_set_user_limits(j->png, ORIEL_IMAGE_MAX_SIDE, ORIEL_IMAGE_MAX_SIDE);
    png_set_chunk_malloc_max(j->png, 0); /* what we were given we write */
    png_set_benign_errors(j->png, 1);    /* a profile that libpng dislikes is a warning */
    png_set_compression_level(j->png, j->opt->compression ? j->opt->compression : 6);
    png_set_IHDR(j->png, j->info, (png_uint_32)img->width, (png_uint_32)img->height, img->depth,
                 types[img->channels - 1], PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
                 PNG_FILTER_TYPE_BASE);
    if (!j->opt->drop_metadata)
        write_metadata(j);
    png_write_info(j->png, j->info);
    if (j->fast) {
        write_fast(j);
        return;
    }
    if (img->depth == 16 && little_endian())
        png_set_swap(j->png);
    size_t row = (size_t)img->width * img->channels * (img->depth / 8);
    for (int y = 0; y < img->height; y++)
        png_write_row(j->png, (png_const_bytep)img->data + y * row);
    png_write_end(j->png, NULL); /* with info, libpng 1.6.39 writes eXIf twice */
}

oriel_status oriel_png_encode(oriel_buffer *out, const oriel_image *img,
                              const oriel_image_write_options *opt)
{
    job j = {.doing = "png: writing", .out = out, .from = img, .opt = opt};
    j.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning, &j, on_alloc,
                                      on_free);
    j.status = created(&j);
    if (!j.status && opt->compression == 1 && !(j.fast = png_fast_new(img)))
        j.status = ORIEL_E_NOMEM;
    if (!j.status)
        guarded(&j, write_file);
    png_destroy_write_struct(&j.png, &j.info);
    png_fast_free(&j.fast);
    return j.status;
}
