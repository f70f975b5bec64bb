/* SPDX-License-Identifier: Apache-2.0 */
/* Which of a codec's pixel formats loses least, frames as FFmpeg wants them, and conversion. */
#include <stdlib.h>

#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>

#include "video/ffmpeg_write.h"

const enum AVPixelFormat *video_codec_formats(const AVCodec *codec)
{
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(61, 13, 100)
    const void *list = NULL;
    avcodec_get_supported_config(NULL, codec, AV_CODEC_CONFIG_PIX_FORMAT, 0, &list, NULL);
    return list;
#else
    return codec->pix_fmts;
#endif
}

bool video_format_divides(enum AVPixelFormat format, int width, int height)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(format);
    return !(width & ((1 << d->log2_chroma_w) - 1)) && !(height & ((1 << d->log2_chroma_h) - 1));
}

/* ---- ranking ------------------------------------------------------------------------------ */

static int lost(int had, int has)
{
    return had > has ? had - has : 0;
}

/* What p loses as d, in steps that do not mix: bits, then colour, then alpha, then needless size.
 * Negative: d cannot stand for p. */
static int loss(const AVPixFmtDescriptor *d, oriel_pixels p)
{
    const uint64_t no = AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM |
                        AV_PIX_FMT_FLAG_BAYER | AV_PIX_FMT_FLAG_FLOAT;
    int depth = 99;
    for (int i = 0; i < d->nb_components; i++)
        depth = d->comp[i].depth < depth ? d->comp[i].depth : depth;
    bool rgb = d->flags & AV_PIX_FMT_FLAG_RGB, grey = d->nb_components < 3;
    bool alpha = d->flags & AV_PIX_FMT_FLAG_ALPHA, was_rgb = p.model == ORIEL_PIXELS_RGB;
    bool foreign = depth > 8 && !(d->flags & AV_PIX_FMT_FLAG_BE) != !AV_NE(1, 0);
    if (d->flags & no || foreign || depth < 8 || depth > 16 || !strncmp(d->name, "xyz", 3))
        return -1;
    int n = 10000000 * lost(p.depth, depth) + 60 * lost(depth, p.depth);
    if (p.model == ORIEL_PIXELS_GREY)
        n += grey ? 0 : rgb ? 40 : 10 + 10 * (2 - lost(d->log2_chroma_w, 0)) - 10 * d->log2_chroma_h;
    else if (grey)
        n += 9000000;
    else
        n += 1000000 * (lost(d->log2_chroma_w, p.shift_x) + lost(d->log2_chroma_h, p.shift_y)) +
             10 * (lost(p.shift_x, d->log2_chroma_w) + lost(p.shift_y, d->log2_chroma_h));
    n += p.model != ORIEL_PIXELS_GREY && rgb != was_rgb ? 400000 : 0;
    n += p.alpha && !alpha ? 200000 : !p.alpha && alpha ? 5 : 0;
    n += (d->flags & AV_PIX_FMT_FLAG_PLANAR) && d->comp[d->nb_components > 2 ? 1 : 0].step <= 2 ? 0 : 2;
    return n + (!strncmp(d->name, "yuvj", 4) ? 3 : 0);
}

int video_rank_formats(const enum AVPixelFormat *list, oriel_pixels p, enum AVPixelFormat *ranked, int room)
{
    int n = 0, score[64];
    for (; list && *list != AV_PIX_FMT_NONE; list++) {
        const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(*list);
        int s = d ? loss(d, p) : -1, at = n;
        if (s < 0 || n == room || n == 64)
            continue;
        for (; at > 0 && score[at - 1] > s; at--) {
            score[at] = score[at - 1];
            ranked[at] = ranked[at - 1];
        }
        score[at] = s;
        ranked[at] = *list;
        n++;
    }
    return n;
}

/* ---- frames ------------------------------------------------------------------------------- */

static void let_go(void *opaque, uint8_t *data)
{
    oriel_shared *owner = opaque;
    (void)data;
    video_drop(&owner);
}

oriel_status video_wrap_frame(AVFrame *to, const oriel_frame *f, enum AVPixelFormat format)
{
    /* FFmpeg's planes of RGB are G, B, R */
    static const int turned[ORIEL_PLANES] = {1, 2, 0, 3}, straight[ORIEL_PLANES] = {0, 1, 2, 3};
    const int *from = f->pixels.model == ORIEL_PIXELS_RGB ? turned : straight;
    av_frame_unref(to);
    to->format = format;
    to->width = f->width;
    to->height = f->height;
    for (int i = 0; i < oriel_pixels_planes(f->pixels); i++) {
        to->data[i] = f->plane[from[i]];
        to->linesize[i] = (int)f->stride[from[i]];
    }
    if (!f->owner)
        return ORIEL_OK; /* the encoder copies what it keeps */
    oriel_shared *owner = video_hold(f->owner);
    /* the first plane's bytes stand for all: nobody may write to them */
    to->buf[0] = av_buffer_create(f->plane[0], 1, let_go, owner, AV_BUFFER_FLAG_READONLY);
    if (!to->buf[0]) {
        video_drop(&owner);
        return oriel_fail(ORIEL_E_NOMEM, "out of memory: a frame for the encoder");
    }
    return ORIEL_OK;
}

/* ---- conversion --------------------------------------------------------------------------- */

/* Where chroma lies, in 1/256 of a luma sample, for swscale. */
static void set_site(struct SwsContext *sws, const char *side, enum AVPixelFormat format, oriel_chroma_site site)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(format);
    char x[24], y[24];
    snprintf(x, sizeof x, "%s_h_chr_pos", side);
    snprintf(y, sizeof y, "%s_v_chr_pos", side);
    if (d->log2_chroma_w == 1)
        av_opt_set_int(sws, x, site == ORIEL_CHROMA_CENTER ? 128 : 0, 0);
    if (d->log2_chroma_h == 1)
        av_opt_set_int(sws, y, site == ORIEL_CHROMA_TOPLEFT ? 0 : 128, 0);
}

static const int *coefficients(int matrix)
{
    return sws_getCoefficients(matrix == 1 || matrix == 4 || matrix == 7 || matrix == 9 ? matrix : SWS_CS_ITU601);
}

oriel_status video_convert_open(video_convert *c, const oriel_video_info *i, enum AVPixelFormat of,
                                enum AVPixelFormat to, oriel_colour colour)
{
    oriel_frame like = {.width = i->width, .height = i->height, .pixels = i->pixels, .colour = i->colour};
    oriel_colour was = oriel_frame_colour(&like);
    c->frame = av_frame_alloc();
    c->sws = sws_alloc_context();
    if (!c->frame || !c->sws)
        return oriel_fail(ORIEL_E_NOMEM, "out of memory: a converter of formats");
    av_opt_set_int(c->sws, "srcw", i->width, 0);
    av_opt_set_int(c->sws, "srch", i->height, 0);
    av_opt_set_int(c->sws, "src_format", of, 0);
    av_opt_set_int(c->sws, "dstw", i->width, 0);
    av_opt_set_int(c->sws, "dsth", i->height, 0);
    av_opt_set_int(c->sws, "dst_format", to, 0);
    av_opt_set_int(c->sws, "sws_flags", SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP, 0);
    set_site(c->sws, "src", of, was.site);
    set_site(c->sws, "dst", to, colour.site);
    int matrix = i->pixels.model == ORIEL_PIXELS_RGB ? colour.matrix : was.matrix;
    sws_setColorspaceDetails(c->sws, coefficients(matrix), was.range == ORIEL_RANGE_FULL, coefficients(colour.matrix),
                             colour.range == ORIEL_RANGE_FULL, 0, 1 << 16, 1 << 16);
    int code = sws_init_context(c->sws, NULL, NULL);
    if (code < 0)
        return video_ffmpeg_fail(code, "%s to %s", av_get_pix_fmt_name(of), av_get_pix_fmt_name(to));
    c->frame->format = to;
    c->frame->width = i->width;
    c->frame->height = i->height;
    return ORIEL_OK;
}

oriel_status video_convert_run(video_convert *c, const AVFrame *from)
{
    AVFrame *to = c->frame;
    int format = to->format, width = to->width, height = to->height, code;
    av_frame_unref(to); /* the encoder may still hold the last one */
    to->format = format;
    to->width = width;
    to->height = height;
    if ((code = av_frame_get_buffer(to, 0)) < 0 ||
        (code = sws_scale(c->sws, (const uint8_t *const *)from->data, from->linesize, 0, height, to->data,
                          to->linesize)) < 0)
        return video_ffmpeg_fail(code, "converting a frame");
    return ORIEL_OK;
}

void video_convert_close(video_convert *c)
{
    av_frame_free(&c->frame);
    sws_freeContext(c->sws);
    c->sws = NULL;
}
