/* SPDX-License-Identifier: Apache-2.0 */
/* AVFrames as frames. Planes are shared where FFmpeg's samples lie as ours do. Other formats (NV12, P010,
 * packed and paletted ones, bits, the other endianness) are taken apart sample by sample by FFmpeg's own
 * description of them: slower than swscale, but no value changes, whatever the format. swscale is for what
 * must change: frames of another size or format than the first. */
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>

#include "video/ffmpeg_compat.h"
#include "video/ffmpeg_read.h"

/* ---- formats ------------------------------------------------------------------------------ */

/* Bits a sample, over all components. */
static int deepest(const AVPixFmtDescriptor *d)
{
    int bits = 0;
    for (int c = 0; c < d->nb_components; c++)
        bits = d->comp[c].depth > bits ? d->comp[c].depth : bits;
    return bits;
}

bool ffmpeg_pixels(enum AVPixelFormat format, oriel_pixels *p)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(format);
    *p = (oriel_pixels){0};
    if (!d || d->flags & (AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_BAYER) || !d->nb_components ||
        format == AV_PIX_FMT_XYZ12LE || format == AV_PIX_FMT_XYZ12BE ||
        format == AV_PIX_FMT_UYYVYY411) /* its luma is not evenly spaced */
        return false;
    bool palette = d->flags & AV_PIX_FMT_FLAG_PAL;
    p->alpha = d->flags & AV_PIX_FMT_FLAG_ALPHA;
    p->model = palette || d->flags & AV_PIX_FMT_FLAG_RGB   ? ORIEL_PIXELS_RGB
               : d->nb_components - p->alpha < 3           ? ORIEL_PIXELS_GREY
                                                           : ORIEL_PIXELS_YUV;
    p->depth = (int)oriel_max(8, oriel_min(16, deepest(d)));
    if (p->model == ORIEL_PIXELS_YUV) {
        p->shift_x = d->log2_chroma_w;
        p->shift_y = d->log2_chroma_h;
    }
    return p->shift_x <= 2 && p->shift_y <= 2;
}

/* Do FFmpeg's samples lie as ours? Components are in the order of our planes, whatever plane they are in. */
static bool lies_as_ours(const AVPixFmtDescriptor *d, oriel_pixels p)
{
    int bytes = p.depth > 8 ? 2 : 1;
    bool big = d->flags & AV_PIX_FMT_FLAG_BE, big_here = AV_NE(true, false);
    if (d->flags & (AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM | AV_PIX_FMT_FLAG_FLOAT) ||
        (bytes == 2 && big != big_here))
        return false;
    for (int c = 0; c < d->nb_components; c++) {
        const AVComponentDescriptor *k = &d->comp[c];
        if (k->depth != p.depth || k->shift || k->offset || k->step != bytes)
            return false;
    }
    return d->nb_components == oriel_pixels_planes(p);
}

static oriel_range range_of(const AVFrame *f)
{
    switch (f->format) {
    case AV_PIX_FMT_YUVJ420P: case AV_PIX_FMT_YUVJ422P: case AV_PIX_FMT_YUVJ444P:
    case AV_PIX_FMT_YUVJ440P: case AV_PIX_FMT_YUVJ411P:
        return ORIEL_RANGE_FULL;
    default:
        return f->color_range == AVCOL_RANGE_MPEG   ? ORIEL_RANGE_LIMITED
               : f->color_range == AVCOL_RANGE_JPEG ? ORIEL_RANGE_FULL
                                                    : ORIEL_RANGE_UNKNOWN;
    }
}

static oriel_colour colour_of(const AVFrame *f)
{
    return (oriel_colour){
        .primaries = f->color_primaries, /* FFmpeg's numbers are H.273's */
        .transfer = f->color_trc,
        .matrix = f->colorspace,
        .range = range_of(f),
        .site = f->chroma_location == AVCHROMA_LOC_LEFT      ? ORIEL_CHROMA_LEFT
                : f->chroma_location == AVCHROMA_LOC_CENTER  ? ORIEL_CHROMA_CENTER
                : f->chroma_location == AVCHROMA_LOC_TOPLEFT ? ORIEL_CHROMA_TOPLEFT
                                                             : ORIEL_CHROMA_UNKNOWN,
    };
}

/* ---- one shape for all frames ------------------------------------------------------------- */

oriel_status ffmpeg_shape_of(ffmpeg_shape *s, const AVFrame *f)
{
    *s = (ffmpeg_shape){f->width, f->height, f->format, {0}, colour_of(f)};
    if (!ffmpeg_pixels(s->format, &s->pixels)) {
        const char *name = av_get_pix_fmt_name(s->format);
        return oriel_fail(ORIEL_E_UNSUPPORTED, "pixel format %s", name ? name : "unknown");
    }
    return oriel_frame_check(s->width, s->height, s->pixels) ? ORIEL_E_FORMAT : ORIEL_OK;
}

bool ffmpeg_fits(const ffmpeg_shape *s, const AVFrame *f)
{
    oriel_pixels p, q = s->pixels;
    oriel_range range = range_of(f);
    return f->width == s->width && f->height == s->height && ffmpeg_pixels(f->format, &p) &&
           p.model == q.model && p.depth == q.depth && p.shift_x == q.shift_x && p.shift_y == q.shift_y &&
           p.alpha == q.alpha && (!range || !s->colour.range || range == s->colour.range);
}

static bool full(oriel_range range, oriel_pixels p)
{
    return range ? range == ORIEL_RANGE_FULL : p.model == ORIEL_PIXELS_RGB;
}

oriel_status ffmpeg_bring(struct SwsContext **sws, const ffmpeg_shape *s, AVFrame *f)
{
    enum AVPixelFormat format = video_ffmpeg_format(s->pixels);
    oriel_pixels p;
    if (format == AV_PIX_FMT_NONE)
        format = s->format; /* grey with alpha, which FFmpeg interleaves */
    if (!ffmpeg_pixels(f->format, &p) || !sws_isSupportedInput(f->format) || !sws_isSupportedOutput(format))
        return oriel_fail(ORIEL_E_UNSUPPORTED, "the clip changes to pixel format %s", av_get_pix_fmt_name(f->format));
    *sws = sws_getCachedContext(*sws, f->width, f->height, f->format, s->width, s->height, format,
                                SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP, NULL, NULL,
                                NULL);
    AVFrame *to = av_frame_alloc();
    if (!*sws || !to) {
        av_frame_free(&to);
        return video_ffmpeg_fail(AVERROR(ENOMEM), "a frame of another size");
    }
    sws_setColorspaceDetails(*sws, sws_getCoefficients(f->colorspace), full(range_of(f), p),
                             sws_getCoefficients(s->colour.matrix), full(s->colour.range, s->pixels), 0, 1 << 16,
                             1 << 16);
    to->width = s->width;
    to->height = s->height;
    to->format = format;
    int e = av_frame_get_buffer(to, 0);
    if (e >= 0)
        e = sws_scale(*sws, (const uint8_t *const *)f->data, f->linesize, 0, f->height, to->data, to->linesize);
    if (e >= 0)
        e = av_frame_copy_props(to, f);
    if (e >= 0) {
        to->colorspace = (enum AVColorSpace)s->colour.matrix;
        to->color_range = s->colour.range == ORIEL_RANGE_LIMITED ? AVCOL_RANGE_MPEG
                          : s->colour.range                      ? AVCOL_RANGE_JPEG
                                                                 : AVCOL_RANGE_UNSPECIFIED;
        av_frame_unref(f);
        av_frame_move_ref(f, to);
    }
    av_frame_free(&to);
    return e < 0 ? video_ffmpeg_fail(e, "a frame of another size") : ORIEL_OK;
}

/* ---- samples ------------------------------------------------------------------------------ */

/* One sample of `from` bits as one of `to` bits, both over their whole range. */
static unsigned spread(uint32_t v, int from, int to)
{
    uint64_t most = ((uint64_t)1 << from) - 1, ours = ((uint64_t)1 << to) - 1;
    return (unsigned)((v * ours + most / 2) / most);
}

/* Floats from 0 to 1 as 16 bits; what is outside is cut off. */
static unsigned of_float(uint32_t bits, int size)
{
    float v;
    if (size == 16)
        v = oriel_f16_to_f32((uint16_t)bits);
    else
        memcpy(&v, &bits, sizeof v);
    return !(v > 0) ? 0 : v >= 1 ? 65535 : (unsigned)(v * 65535.0f + 0.5f);
}

/* A row of component c as `depth` bits a sample, in place: line has w samples. */
static void convert_row(uint32_t *line, int w, const AVPixFmtDescriptor *d, int c, int depth)
{
    int from = d->comp[c].depth;
    if (d->flags & AV_PIX_FMT_FLAG_FLOAT)
        for (int x = 0; x < w; x++)
            line[x] = of_float(line[x], from);
    else if (from != depth)
        for (int x = 0; x < w; x++)
            line[x] = spread(line[x], from, depth);
}

/* A palette is 256 words of ARGB; plane 0 .. 3 of ours is R, G, B, A. */
static void look_up(uint32_t *line, int w, const uint32_t *palette, int plane)
{
    static const int shift[] = {16, 8, 0, 24};
    for (int x = 0; x < w; x++)
        line[x] = palette[line[x] & 255] >> shift[plane] & 255;
}

/* f is new; its planes from av's samples. */
static oriel_status take_apart(oriel_frame *f, const AVFrame *av)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(av->format);
    bool palette = d->flags & AV_PIX_FMT_FLAG_PAL;
    uint32_t *line = oriel_alloc((size_t)f->width * sizeof *line);
    if (!line)
        return ORIEL_E_NOMEM;
    for (int i = 0; i < oriel_pixels_planes(f->pixels); i++) {
        int w, h, c = palette ? 0 : i;
        oriel_frame_plane_size(f, i, &w, &h);
        for (int y = 0; y < h; y++) {
            uint8_t *row = f->plane[i] + y * f->stride[i];
            av_read_image_line2(line, (const uint8_t **)av->data, av->linesize, d, 0, y, c, w, 0, sizeof *line);
            if (palette)
                look_up(line, w, (const uint32_t *)av->data[1], i);
            else
                convert_row(line, w, d, c, f->pixels.depth);
            unsigned flip = av->format == AV_PIX_FMT_MONOWHITE ? 255 : 0;
            if (f->pixels.depth == 8)
                for (int x = 0; x < w; x++)
                    row[x] = (uint8_t)(line[x] ^ flip);
            else
                for (int x = 0; x < w; x++)
                    ((uint16_t *)row)[x] = (uint16_t)line[x];
        }
    }
    oriel_dealloc(line);
    return ORIEL_OK;
}

/* ---- side data ---------------------------------------------------------------------------- */

static void free_av(void *what)
{
    AVFrame *av = what;
    av_frame_free(&av);
}

/* What is said of the picture and of what it shows, not of how it was coded. */
static bool travels(enum AVFrameSideDataType type)
{
    switch (type) {
    case AV_FRAME_DATA_A53_CC:
    case AV_FRAME_DATA_STEREO3D:
    case AV_FRAME_DATA_AFD:
    case AV_FRAME_DATA_MASTERING_DISPLAY_METADATA:
    case AV_FRAME_DATA_GOP_TIMECODE:
    case AV_FRAME_DATA_SPHERICAL:
    case AV_FRAME_DATA_CONTENT_LIGHT_LEVEL:
    case AV_FRAME_DATA_ICC_PROFILE:
    case AV_FRAME_DATA_S12M_TIMECODE:
    case AV_FRAME_DATA_DYNAMIC_HDR_PLUS:
    case AV_FRAME_DATA_DYNAMIC_HDR_VIVID:
    case AV_FRAME_DATA_DOVI_RPU_BUFFER:
    case AV_FRAME_DATA_DOVI_METADATA:
        return true;
    default:
        return false;
    }
}

static oriel_status add_side_data(AVFrame **to, const AVFrame *from)
{
    for (int i = 0; from && i < from->nb_side_data; i++) {
        const AVFrameSideData *d = from->side_data[i];
        if (!travels(d->type) || !d->buf || (*to && av_frame_get_side_data(*to, d->type)))
            continue;
        AVBufferRef *ref = av_buffer_ref(d->buf);
        if (!*to)
            *to = av_frame_alloc();
        AVFrameSideData *own = *to && ref ? av_frame_new_side_data_from_buf(*to, d->type, ref) : NULL;
        if (!own) {
            av_buffer_unref(&ref);
            return video_ffmpeg_fail(AVERROR(ENOMEM), "side data");
        }
        own->data = d->data;
        own->size = d->size;
    }
    return ORIEL_OK;
}

static oriel_status keep_side_data(oriel_frame *f, const AVFrame *av, const AVFrame *stream)
{
    AVFrame *side = NULL;
    oriel_status s = add_side_data(&side, av);
    if (!s)
        s = add_side_data(&side, stream);
    if (!s && side && !(f->extra = video_share(side, free_av)))
        s = ORIEL_E_NOMEM;
    if (s)
        av_frame_free(&side);
    return s;
}

const AVFrame *video_ffmpeg_extra(const oriel_frame *f)
{
    return f->extra && f->extra->free == free_av ? f->extra->what : NULL;
}

/* ---- a frame ------------------------------------------------------------------------------ */

/* Rows of 16 bits must lie on even bytes. */
static bool aligned(const AVFrame *av, oriel_pixels p)
{
    uintptr_t odd = 0;
    for (int i = 0; i < oriel_pixels_planes(p); i++)
        odd |= (uintptr_t)av->data[i] | (uintptr_t)av->linesize[i];
    return p.depth == 8 || !(odd & 1);
}

static oriel_status share_planes(oriel_frame *f, AVFrame *av)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(av->format);
    AVFrame *owner = av_frame_alloc();
    if (!owner || !(f->owner = video_share(owner, free_av))) {
        av_frame_free(&owner);
        return video_ffmpeg_fail(AVERROR(ENOMEM), "a frame");
    }
    av_frame_move_ref(owner, av);
    for (int i = 0; i < oriel_pixels_planes(f->pixels); i++) {
        f->plane[i] = owner->data[d->comp[i].plane];
        f->stride[i] = owner->linesize[d->comp[i].plane];
    }
    return ORIEL_OK;
}

oriel_status ffmpeg_frame(oriel_frame *f, AVFrame *av, const AVFrame *stream)
{
    oriel_pixels p;
    oriel_status s = ORIEL_OK;
    *f = (oriel_frame){0};
    if (!ffmpeg_pixels(av->format, &p))
        return oriel_fail(ORIEL_E_UNSUPPORTED, "pixel format %d", av->format);
    oriel_frame tags = {.colour = colour_of(av), .fields = ffmpeg_fields(av), .pts = ORIEL_NO_TIME};
    if ((s = keep_side_data(&tags, av, stream)))
        return s;
    if (lies_as_ours(av_pix_fmt_desc_get(av->format), p) && aligned(av, p)) {
        *f = (oriel_frame){.width = av->width, .height = av->height, .pixels = p};
        s = share_planes(f, av);
    } else if (!(s = oriel_frame_new(f, av->width, av->height, p))) {
        s = take_apart(f, av);
        av_frame_unref(av);
    }
    oriel_frame_copy_tags(f, &tags);
    oriel_frame_free(&tags);
    if (s)
        oriel_frame_free(f);
    return s;
}
