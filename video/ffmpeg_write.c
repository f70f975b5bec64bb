/* SPDX-License-Identifier: Apache-2.0 */
/* The writer on FFmpeg: an encoder and a file. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "video/ffmpeg_write.h"

typedef struct ffmpeg_writer {
    oriel_video_writer         base;
    oriel_video_info           info;
    oriel_video_writer_options opt; /* without its strings but those below */
    char                       words[3][64]; /* codec, preset, pix_fmt */
    video_encoder              encoder;
    video_mux                  mux;
    AVFrame                   *hdr; /* what the stream announces */
} ffmpeg_writer;

static oriel_status take_packet(void *user, AVPacket *p)
{
    ffmpeg_writer *w = user;
    return video_mux_packet(&w->mux, p);
}

/* ---- frames ------------------------------------------------------------------------------- */

static bool has_hdr(const AVFrame *f)
{
    return f && (av_frame_get_side_data(f, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA) ||
                 av_frame_get_side_data(f, AV_FRAME_DATA_CONTENT_LIGHT_LEVEL));
}

static oriel_status copy_hdr(ffmpeg_writer *w, const AVFrame *from)
{
    static const enum AVFrameSideDataType kinds[] = {AV_FRAME_DATA_MASTERING_DISPLAY_METADATA,
                                                     AV_FRAME_DATA_CONTENT_LIGHT_LEVEL};
    if (!w->hdr && !(w->hdr = av_frame_alloc()))
        return oriel_fail(ORIEL_E_NOMEM, "out of memory: side data");
    for (int i = 0; i < 2; i++) {
        const AVFrameSideData *d = av_frame_get_side_data(from, kinds[i]);
        AVFrameSideData *to = d ? av_frame_new_side_data(w->hdr, kinds[i], d->size) : NULL;
        if (d && !to)
            return oriel_fail(ORIEL_E_NOMEM, "out of memory: side data");
        if (d)
            memcpy(to->data, d->data, d->size);
    }
    return ORIEL_OK;
}

static oriel_status open_encoder(ffmpeg_writer *w)
{
    oriel_status s = video_encoder_open(&w->encoder, &w->base, w->mux.container, &w->info, &w->opt, w->hdr);
    w->mux.encoder = w->encoder.context;
    w->mux.settings = w->encoder.settings;
    w->mux.hdr = w->hdr;
    return s;
}

/* What the display was is known with the first frame; the encoder announces it in its first packet. */
static oriel_status note_hdr(ffmpeg_writer *w, const oriel_frame *f)
{
    const AVFrame *extra = video_ffmpeg_extra(f);
    if (w->hdr || !has_hdr(extra) || w->mux.begun)
        return ORIEL_OK;
    oriel_status s = copy_hdr(w, extra);
    if (s)
        return s;
    video_encoder_close(&w->encoder);
    oriel_dealloc(w->base.notes); /* they are said again */
    w->base.notes = NULL;
    return open_encoder(w);
}

static oriel_status write_frame(oriel_video_writer *base, const oriel_frame *f)
{
    ffmpeg_writer *w = (ffmpeg_writer *)base;
    oriel_status s = w->encoder.frames ? ORIEL_OK : note_hdr(w, f);
    return s ? s : video_encoder_write(&w->encoder, f, take_packet, w);
}

/* ---- the end ------------------------------------------------------------------------------ */

/* The file's blocks, then its name: a crash leaves the one or the other. */
static oriel_status publish(ffmpeg_writer *w)
{
    oriel_video_writer *b = &w->base;
    if (!video_is_mov(w->mux.container) && !b->done.resumed)
        return video_publish(b->part, b->path, b->overwrite);
    char *fresh = video_part_name(b->part);
    oriel_status s = fresh ? video_layout_again(&w->mux, b->part, fresh) : ORIEL_E_NOMEM;
    if (!s)
        s = video_publish(fresh, b->path, b->overwrite);
    if (!s && unlink(b->part))
        s = oriel_fail(ORIEL_E_IO, "%s: %s", b->part, strerror(errno));
    if (s && fresh)
        unlink(fresh);
    oriel_dealloc(fresh);
    return s;
}

static oriel_status finish(oriel_video_writer *base, bool complete)
{
    ffmpeg_writer *w = (ffmpeg_writer *)base;
    oriel_status s = ORIEL_OK, ended;
    if (w->encoder.context && !w->mux.broken && w->encoder.frames)
        s = video_encoder_write(&w->encoder, NULL, take_packet, w);
    bool any = w->mux.begun;
    if (s)
        complete = false;
    ended = video_mux_end(&w->mux, complete);
    s = s ? s : ended;
    if (!any && !base->failed && base->part)
        unlink(base->part);
    if (!s && complete && !any)
        return oriel_fail(ORIEL_E_ARG, "%s: no frame was written", base->path);
    return s || !complete || !base->part ? s : publish(w);
}

static void free_writer(oriel_video_writer *base)
{
    ffmpeg_writer *w = (ffmpeg_writer *)base;
    video_mux_close(&w->mux);
    video_encoder_close(&w->encoder);
    av_frame_free(&w->hdr);
    oriel_dealloc(w);
}

static const video_writer_ops ops = {write_frame, finish, free_writer};

/* ---- creation ----------------------------------------------------------------------------- */

static const AVOutputFormat *container_of(const char *path, const char *name)
{
    char like[64];
    const AVOutputFormat *c = name ? av_guess_format(name, NULL, NULL) : av_guess_format(NULL, path, NULL);
    if (!c && name) {
        snprintf(like, sizeof like, "x.%s", name);
        c = av_guess_format(NULL, like, NULL);
    }
    return c;
}

static oriel_status keep_options(ffmpeg_writer *w, const char *path, const oriel_video_writer_options *opt)
{
    const char *from[3] = {opt->codec, opt->preset, opt->pix_fmt};
    const char **to[3] = {&w->opt.codec, &w->opt.preset, &w->opt.pix_fmt};
    w->opt = *opt;
    w->opt.container = NULL;
    for (int i = 0; i < 3; i++) {
        if (from[i] && snprintf(w->words[i], sizeof w->words[i], "%s", from[i]) >= (int)sizeof w->words[i])
            return oriel_fail(ORIEL_E_ARG, "%s: no codec, preset or format has so long a name", from[i]);
        *to[i] = from[i] ? w->words[i] : NULL;
    }
    size_t size = strlen(path) + 1;
    if (!(w->base.path = oriel_alloc(size)))
        return ORIEL_E_NOMEM;
    memcpy(w->base.path, path, size);
    w->mux.piped = video_is_stream(path);
    if (!w->mux.piped && !(w->base.part = video_part_name(path)))
        return ORIEL_E_NOMEM;
    return ORIEL_OK;
}

/* The clip begins with the source's first frame that is handed out; y4m and raw frames have no other streams. */
static void source_of(ffmpeg_writer *w)
{
    video_mux *m = &w->mux;
    const oriel_video_reader *r = w->opt.source;
    m->in = w->opt.source ? video_ffmpeg_input(w->opt.source) : NULL;
    m->source = m->in ? w->opt.source : NULL;
    if (m->in)
        m->shift = av_rescale_q(video_ffmpeg_start(m->source), AV_TIME_BASE_Q,
                                (AVRational){w->info.time_base[0], w->info.time_base[1]});
    else if (r)
        m->shift = r->first + (int64_t)ceil(r->opt.from * r->info.time_base[1] / r->info.time_base[0] - 1e-6);
}

static oriel_status begin(ffmpeg_writer *w, const char *path, const oriel_video_writer_options *opt)
{
    video_mux *m = &w->mux;
    oriel_status s = keep_options(w, path, opt);
    m->container = container_of(path, opt->container);
    if (!s && (!m->container || m->container->flags & AVFMT_NOFILE || m->container->video_codec == AV_CODEC_ID_NONE))
        s = oriel_fail(ORIEL_E_UNSUPPORTED, "%s: this FFmpeg (%s) has no video container named so (mp4, mkv, mov, webm, ...)",
                       opt->container ? opt->container : path, av_version_info());
    if (s)
        return s;
    source_of(w);
    if ((s = open_encoder(w)))
        return s;
    snprintf(w->base.done.container, sizeof w->base.done.container, "%s", m->container->name);
    if (strstr(m->container->name, "avi") && w->info.variable)
        video_note(&w->base, "avi has one frame rate: frames that are not evenly spaced are shown at the nearest ticks");
    if ((s = video_mux_plan(m, &w->opt)))
        return s;
    if (opt->resume && w->base.part && !access(w->base.part, F_OK))
        return video_resume(m, w->base.part);
    return video_mux_open(m, w->base.part ? w->base.part : path);
}

oriel_status video_ffmpeg_create(oriel_video_writer **out, const char *path, const oriel_video_info *frames,
                                 const oriel_video_writer_options *opt)
{
    ffmpeg_writer *w = oriel_alloc_zero(1, sizeof *w);
    if (!w)
        return ORIEL_E_NOMEM;
    video_ffmpeg_log();
    w->base.ops = &ops;
    w->base.last = ORIEL_NO_TIME;
    w->info = *frames;
    w->mux.w = &w->base;
    w->mux.info = &w->info;
    w->mux.fd = -1;
    w->mux.raise = -1;
    oriel_status s = begin(w, path, opt);
    if (s) {
        oriel_dealloc(w->base.notes);
        oriel_dealloc(w->base.path);
        oriel_dealloc(w->base.part);
        free_writer(&w->base);
        return s;
    }
    *out = &w->base;
    return ORIEL_OK;
}
