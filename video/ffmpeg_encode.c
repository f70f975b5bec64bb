/* SPDX-License-Identifier: Apache-2.0 */
/* The encoder: opened for the frames' format or the nearest, frames in, packets with the frames' own
 * times out. */
#include <stdio.h>

#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>

#include "video/ffmpeg_write.h"

/* ---- what is told to the codec ------------------------------------------------------------- */

/* What is tagged. A matrix that is unknown is said: who plays the clip would guess it by another size. */
static oriel_colour colour_of(const oriel_video_info *i, enum AVPixelFormat to)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(to);
    oriel_frame like = {.width = i->width, .height = i->height, .pixels = i->pixels, .colour = i->colour};
    oriel_colour c = i->colour, known = oriel_frame_colour(&like);
    bool rgb = d->flags & AV_PIX_FMT_FLAG_RGB;
    if (rgb) {
        c.matrix = AVCOL_SPC_RGB;
        c.range = i->pixels.model == ORIEL_PIXELS_RGB ? known.range : ORIEL_RANGE_FULL;
        c.site = ORIEL_CHROMA_UNKNOWN;
    } else if (i->pixels.model == ORIEL_PIXELS_RGB) {
        c.matrix = c.primaries == 9 ? 9 : i->height < 720 ? 6 : 1;
        c.range = ORIEL_RANGE_LIMITED;
    } else {
        c.matrix = known.matrix;
        c.range = known.range;
    }
    if (!strncmp(d->name, "yuvj", 4))
        c.range = ORIEL_RANGE_FULL;
    return c;
}

static int code_point(int v)
{
    return v ? v : 2;
}

static void set_colour(AVCodecContext *c, oriel_colour from)
{
    static const enum AVChromaLocation sites[] = {AVCHROMA_LOC_UNSPECIFIED, AVCHROMA_LOC_LEFT, AVCHROMA_LOC_CENTER,
                                                  AVCHROMA_LOC_TOPLEFT};
    bool rgb = av_pix_fmt_desc_get(c->pix_fmt)->flags & AV_PIX_FMT_FLAG_RGB;
    c->color_primaries = (enum AVColorPrimaries)code_point(from.primaries);
    c->color_trc = (enum AVColorTransferCharacteristic)code_point(from.transfer);
    c->colorspace = rgb ? AVCOL_SPC_RGB : (enum AVColorSpace)code_point(from.matrix);
    c->color_range = from.range == ORIEL_RANGE_FULL ? AVCOL_RANGE_JPEG
                     : from.range == ORIEL_RANGE_LIMITED ? AVCOL_RANGE_MPEG : AVCOL_RANGE_UNSPECIFIED;
    c->chroma_sample_location = sites[from.site];
}

/* Codecs whose streams count frames at a fixed rate. */
static bool counts(enum AVCodecID id)
{
    return id == AV_CODEC_ID_MPEG4 || id == AV_CODEC_ID_MPEG2VIDEO || id == AV_CODEC_ID_MPEG1VIDEO ||
           id == AV_CODEC_ID_H263 || id == AV_CODEC_ID_H263P || id == AV_CODEC_ID_MSMPEG4V2 ||
           id == AV_CODEC_ID_MSMPEG4V3 || id == AV_CODEC_ID_WMV1 || id == AV_CODEC_ID_WMV2 ||
           id == AV_CODEC_ID_FLV1 || id == AV_CODEC_ID_THEORA;
}

static void set_times(AVCodecContext *c, const video_encoder *e, const oriel_video_info *i)
{
    c->framerate = (AVRational){i->rate[0], i->rate[1]};
    c->time_base = (AVRational){i->time_base[0], i->time_base[1]};
    if (!i->rate[0]) /* the time base is one frame, or nobody knows */
        c->framerate = av_q2d(c->time_base) > 0.004 ? av_inv_q(c->time_base) : (AVRational){25, 1};
    if (e->evenly || e->counts) { /* streams that state their rate state the true one */
        int num, den;             /* MPEG-4's clock has 16 bits */
        av_reduce(&num, &den, c->framerate.num, c->framerate.den, 65535);
        c->framerate = (AVRational){num, den};
        c->time_base = av_inv_q(c->framerate);
    }
}

static AVCodecContext *context_for(const video_encoder *e, const AVOutputFormat *container,
                                   const oriel_video_info *i, int threads, enum AVPixelFormat format)
{
    AVCodecContext *c = avcodec_alloc_context3(e->codec);
    if (!c)
        return NULL;
    c->width = i->width;
    c->height = i->height;
    c->pix_fmt = format;
    c->thread_count = threads;
    c->sample_aspect_ratio = (AVRational){i->aspect[0], i->aspect[1] ? i->aspect[1] : 1};
    c->field_order = i->fields == ORIEL_TOP_FIRST      ? AV_FIELD_TT
                     : i->fields == ORIEL_BOTTOM_FIRST ? AV_FIELD_BB : AV_FIELD_PROGRESSIVE;
    if (i->fields != ORIEL_PROGRESSIVE)
        c->flags |= AV_CODEC_FLAG_INTERLACED_DCT;
    if (container->flags & AVFMT_GLOBALHEADER)
        c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    set_times(c, e, i);
    set_colour(c, e->colour);
    return c;
}

/* ---- opening ------------------------------------------------------------------------------ */

static oriel_status try_format(video_encoder *e, oriel_video_writer *w, const AVOutputFormat *container,
                               const oriel_video_info *frames, const oriel_video_writer_options *opt,
                               const AVFrame *hdr, enum AVPixelFormat format)
{
    AVDictionary *options = NULL;
    oriel_status s = ORIEL_E_NOMEM;
    e->colour = colour_of(frames, format);
    if (!(e->context = context_for(e, container, frames, opt->threads, format)))
        return oriel_fail(s, "out of memory: %s", e->codec->name);
    if (!(s = video_codec_options(e->context, &options, w, opt, hdr))) {
        char *said = NULL;
        av_dict_get_string(options, &said, '=', ' ');
        snprintf(e->settings, sizeof e->settings, "%s %s %dx%d q%d %s", e->codec->name, av_get_pix_fmt_name(format),
                 frames->width, frames->height, e->context->global_quality, said ? said : "");
        av_free(said);
        int code = avcodec_open2(e->context, e->codec, &options);
        const AVDictionaryEntry *left = av_dict_get(options, "", NULL, AV_DICT_IGNORE_SUFFIX);
        if (code < 0)
            s = code == AVERROR(ENOMEM) ? video_ffmpeg_fail(code, "%s", e->codec->name)
                : oriel_fail(opt->preset || opt->crf > 0 ? ORIEL_E_ARG : ORIEL_E_UNSUPPORTED,
                             "%s does not take %d x %d %s%s%s: %s", e->codec->name, frames->width, frames->height,
                             av_get_pix_fmt_name(format), opt->preset ? " with preset " : "",
                             opt->preset ? opt->preset : "", av_err2str(code));
        else if (left)
            s = oriel_fail(ORIEL_E_ARG, "%s has no option %s", e->codec->name, left->key);
    }
    av_dict_free(&options);
    if (s)
        avcodec_free_context(&e->context);
    return s;
}

static oriel_status ranked_formats(enum AVPixelFormat *ranked, int room, int *count, const video_encoder *e,
                                   oriel_pixels p, const char *wanted)
{
    const enum AVPixelFormat *list = video_codec_formats(e->codec), asked = wanted ? av_get_pix_fmt(wanted) : AV_PIX_FMT_NONE;
    char name[24];
    if (wanted && asked == AV_PIX_FMT_NONE)
        return oriel_fail(ORIEL_E_ARG, "pixel format %s is unknown (ffmpeg -pix_fmts lists them)", wanted);
    if (wanted || !list) {
        bool in = !list;
        for (; list && *list != AV_PIX_FMT_NONE; list++)
            in |= *list == asked;
        ranked[0] = wanted ? asked : e->format;
        *count = 1;
        return in && sws_isSupportedOutput(ranked[0]) ? ORIEL_OK
               : oriel_fail(ORIEL_E_UNSUPPORTED, "%s does not take pixel format %s", e->codec->name, wanted);
    }
    *count = video_rank_formats(list, p, ranked, room);
    return *count ? ORIEL_OK : oriel_fail(ORIEL_E_UNSUPPORTED, "%s takes nothing like %s", e->codec->name,
                                          oriel_pixels_name(p, name, sizeof name));
}

static void note_format(oriel_video_writer *w, const video_encoder *e, oriel_pixels p, bool odd)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(e->context->pix_fmt);
    char name[24], bits[48] = "";
    int depth = d->comp[0].depth;
    bool coarser = p.model != ORIEL_PIXELS_GREY && (d->log2_chroma_w > p.shift_x || d->log2_chroma_h > p.shift_y);
    if (depth < p.depth)
        snprintf(bits, sizeof bits, "; %d bits become %d", p.depth, depth);
    video_note(w, "frames of %s are encoded as %s, the nearest that %s takes%s%s%s%s",
               oriel_pixels_name(p, name, sizeof name), d->name, e->codec->name, odd ? " at an odd size" : "", bits,
               coarser ? "; chroma gets coarser" : "",
               p.alpha && !(d->flags & AV_PIX_FMT_FLAG_ALPHA) ? "; alpha is lost" : "");
}

static oriel_status open_format(video_encoder *e, oriel_video_writer *w, const AVOutputFormat *container,
                                const oriel_video_info *frames, const oriel_video_writer_options *opt,
                                const AVFrame *hdr)
{
    enum AVPixelFormat ranked[64];
    int count = 0;
    bool odd = false;
    oriel_status s = ranked_formats(ranked, 64, &count, e, frames->pixels, opt->pix_fmt), first = s;
    for (int i = 0; !first && i < count; i++) {
        if (odd && !video_format_divides(ranked[i], frames->width, frames->height))
            continue;
        bool limited_jpeg = e->codec->id == AV_CODEC_ID_MJPEG && i + 1 < count && frames->colour.range != ORIEL_RANGE_FULL &&
                            strncmp(av_get_pix_fmt_name(ranked[i]), "yuvj", 4) != 0;
        if (limited_jpeg) /* JPEG is of full range, whatever list it is in */
            continue;
        s = try_format(e, w, container, frames, opt, hdr, ranked[i]);
        if (!s || odd || s == ORIEL_E_NOMEM)
            break;
        if (video_format_divides(ranked[i], frames->width, frames->height))
            break;
        odd = true; /* 4:2:0 of an odd size: some codecs refuse, and 4:4:4 is left */
    }
    if (!s && e->context->pix_fmt != e->format && !opt->pix_fmt)
        note_format(w, e, frames->pixels, odd);
    return s;
}

oriel_status video_encoder_open(video_encoder *e, oriel_video_writer *w, const AVOutputFormat *container,
                                const oriel_video_info *frames, const oriel_video_writer_options *opt,
                                const AVFrame *hdr)
{
    char name[24];
    e->format = video_ffmpeg_format(frames->pixels);
    if (e->format == AV_PIX_FMT_NONE)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "FFmpeg has no pixel format like %s",
                          oriel_pixels_name(frames->pixels, name, sizeof name));
    oriel_status s = video_choose_codec(&e->codec, w, container, opt->codec);
    if (s)
        return s;
    e->counts = counts(e->codec->id);
    e->evenly = frames->rate[0] && !frames->variable;
    e->base = (AVRational){frames->time_base[0], frames->time_base[1]};
    if ((s = open_format(e, w, container, frames, opt, hdr)))
        return s;
    if (e->context->pix_fmt != e->format &&
        (s = video_convert_open(&e->convert, frames, e->format, e->context->pix_fmt, e->colour)))
        return s;
    e->frame = av_frame_alloc();
    e->packet = av_packet_alloc();
    if (!e->frame || !e->packet)
        return oriel_fail(ORIEL_E_NOMEM, "out of memory: an encoder's frame and packet");
    snprintf(w->done.codec, sizeof w->done.codec, "%s", e->codec->name);
    snprintf(w->done.pix_fmt, sizeof w->done.pix_fmt, "%s", av_get_pix_fmt_name(e->context->pix_fmt));
    return ORIEL_OK;
}

void video_encoder_close(video_encoder *e)
{
    video_convert_close(&e->convert);
    avcodec_free_context(&e->context);
    av_frame_free(&e->frame);
    av_packet_free(&e->packet);
    oriel_dealloc(e->times);
    *e = (video_encoder){0};
}

/* ---- times -------------------------------------------------------------------------------- */

/* What the encoder is told for f: its time, or the tick that it is nearest to. */
static int64_t tick_of(const video_encoder *e, const oriel_frame *f)
{
    if (!e->evenly && !e->counts)
        return f->pts;
    int64_t n = e->frames ? e->tick + 1 : 0;
    if (e->counts)
        return n;
    int64_t at = e->frames ? av_rescale_q(f->pts - e->first, e->base, e->context->time_base) : 0;
    return at > n ? at : n;
}

/* Times of frames are kept until no packet can be before them in the order of coding. */
enum { KEPT_TIMES = 512 };

static oriel_status remember(video_encoder *e, const oriel_frame *f, int64_t sent)
{
    int done = 0;
    while (done < e->known - KEPT_TIMES && e->times[done].out)
        done++;
    if (done >= KEPT_TIMES) {
        memmove(e->times, e->times + done, (size_t)(e->known - done) * sizeof *e->times);
        e->known -= done;
    }
    if (e->known == e->room) {
        int room = e->room ? 2 * e->room : 64;
        video_time *times = oriel_realloc(e->times, (size_t)room * sizeof *times);
        if (!times)
            return ORIEL_E_NOMEM;
        e->times = times;
        e->room = room;
    }
    video_time *last = e->known ? &e->times[e->known - 1] : NULL;
    if (last && last->duration <= 0)
        last->duration = f->pts - last->pts;
    e->times[e->known++] = (video_time){sent, f->pts, f->duration, false};
    if (!e->frames)
        e->first = f->pts;
    e->tick = sent;
    e->frames++;
    return ORIEL_OK;
}

static const video_time *sent_at(const video_encoder *e, int64_t sent)
{
    for (int i = e->known - 1; i >= 0 && e->times[i].sent >= sent; i--)
        if (e->times[i].sent == sent)
            return &e->times[i];
    return NULL;
}

/* The packet's own times. What it is decoded at is some frame's time, or before the first. */
static void restore(video_encoder *e, AVPacket *p)
{
    bool ticks = e->evenly || e->counts;
    video_time *t = (video_time *)sent_at(e, p->pts);
    int64_t rate = av_rescale_q(1, av_inv_q(e->context->framerate), e->base);
    if (t) {
        t->out = true;
        p->pts = t->pts;
        p->duration = t->duration > 0 ? t->duration : rate;
    }
    if (ticks && p->dts != AV_NOPTS_VALUE) {
        const video_time *d = sent_at(e, p->dts);
        p->dts = d ? d->pts : e->first + av_rescale_q_rnd(p->dts, e->context->time_base, e->base, AV_ROUND_DOWN);
    }
    if (p->dts != AV_NOPTS_VALUE && p->dts > p->pts)
        p->dts = p->pts;
}

/* ---- frames ------------------------------------------------------------------------------- */

static void set_fields(AVFrame *to, oriel_fields fields)
{
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 29, 100)
    to->flags |= (fields != ORIEL_PROGRESSIVE ? AV_FRAME_FLAG_INTERLACED : 0) |
                 (fields == ORIEL_TOP_FIRST ? AV_FRAME_FLAG_TOP_FIELD_FIRST : 0);
#else
    to->interlaced_frame = fields != ORIEL_PROGRESSIVE;
    to->top_field_first = fields == ORIEL_TOP_FIRST;
#endif
}

static void set_duration(AVFrame *to, int64_t duration)
{
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 29, 100)
    to->duration = duration;
#else
    to->pkt_duration = duration;
#endif
}

static oriel_status prepare(video_encoder *e, AVFrame **out, const oriel_frame *f)
{
    oriel_status s = video_wrap_frame(e->frame, f, e->format);
    AVFrame *to = e->frame;
    if (!s && e->convert.sws) {
        s = video_convert_run(&e->convert, e->frame);
        to = e->convert.frame;
    }
    if (s)
        return s;
    const AVFrame *extra = video_ffmpeg_extra(f);
    for (int i = 0; extra && i < extra->nb_side_data; i++) {
        AVBufferRef *ref = av_buffer_ref(extra->side_data[i]->buf);
        if (!ref || !av_frame_new_side_data_from_buf(to, extra->side_data[i]->type, ref)) {
            av_buffer_unref(&ref);
            return oriel_fail(ORIEL_E_NOMEM, "out of memory: side data");
        }
    }
    to->pts = tick_of(e, f);
    set_duration(to, e->evenly || e->counts ? 1 : f->duration);
    set_fields(to, f->fields);
    to->sample_aspect_ratio = e->context->sample_aspect_ratio;
    to->color_primaries = e->context->color_primaries;
    to->color_trc = e->context->color_trc;
    to->colorspace = e->context->colorspace;
    to->color_range = e->context->color_range;
    to->chroma_location = e->context->chroma_sample_location;
    *out = to;
    return ORIEL_OK;
}

oriel_status video_encoder_write(video_encoder *e, const oriel_frame *f, video_packet_fn *out, void *user)
{
    AVFrame *to = NULL;
    oriel_status s = f ? prepare(e, &to, f) : ORIEL_OK;
    if (!s && f)
        s = remember(e, f, to->pts);
    int code = s ? 0 : avcodec_send_frame(e->context, to);
    if (e->frame)
        av_frame_unref(e->frame);
    if (s)
        return s;
    if (code < 0 && code != AVERROR_EOF)
        return video_ffmpeg_fail(code, "%s", e->codec->name);
    for (;;) {
        code = avcodec_receive_packet(e->context, e->packet);
        if (code == AVERROR(EAGAIN) || code == AVERROR_EOF)
            return ORIEL_OK;
        if (code < 0)
            return video_ffmpeg_fail(code, "%s", e->codec->name);
        restore(e, e->packet);
        if ((s = out(user, e->packet)))
            return s;
    }
}
