/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in the file beside packets: streams, side data, chapters, metadata; and the complete file
 * laid out again with its index in front. */
#include <stdio.h>

#include <libavutil/avstring.h>
#include <libavutil/display.h>
#include <libavutil/opt.h>

#include "video/ffmpeg_write.h"

static oriel_status no_memory(void)
{
    return oriel_fail(ORIEL_E_NOMEM, "out of memory: the layout of a clip");
}

bool video_is_mov(const AVOutputFormat *c)
{
    static const char *const names[] = {"mp4", "mov", "ipod", "3gp", "3g2", "psp", "ismv", "f4v"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(c->name, names[i]))
            return true;
    return false;
}

bool video_is_matroska(const AVOutputFormat *c)
{
    return !strcmp(c->name, "matroska") || !strcmp(c->name, "webm");
}

char *video_url(const char *path)
{
    return av_asprintf("file:%s", path);
}

/* ---- side data ---------------------------------------------------------------------------- */

static bool add_data(AVStream *st, enum AVPacketSideDataType type, const void *data, size_t size)
{
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 29, 100)
    AVCodecParameters *par = st->codecpar;
    AVPacketSideData *d = av_packet_side_data_new(&par->coded_side_data, &par->nb_coded_side_data, type, size, 0);
    uint8_t *to = d ? d->data : NULL;
#else
    uint8_t *to = av_stream_new_side_data(st, type, size);
#endif
    if (to)
        memcpy(to, data, size);
    return to;
}

static bool copy_data(AVStream *to, const AVStream *from)
{
#if LIBAVUTIL_VERSION_INT < AV_VERSION_INT(58, 29, 100) /* later it is among the parameters */
    for (int i = 0; i < from->nb_side_data; i++)
        if (!add_data(to, from->side_data[i].type, from->side_data[i].data, from->side_data[i].size))
            return false;
#else
    (void)to, (void)from;
#endif
    return true;
}

static bool add_hdr(AVStream *st, const AVFrame *hdr)
{
    const AVFrameSideData *d = av_frame_get_side_data(hdr, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA);
    const AVFrameSideData *l = av_frame_get_side_data(hdr, AV_FRAME_DATA_CONTENT_LIGHT_LEVEL);
    return (!d || add_data(st, AV_PKT_DATA_MASTERING_DISPLAY_METADATA, d->data, d->size)) &&
           (!l || add_data(st, AV_PKT_DATA_CONTENT_LIGHT_LEVEL, l->data, l->size));
}

/* ---- streams ------------------------------------------------------------------------------ */

static oriel_status describe_video(const video_mux *m, AVStream *st)
{
    static const char *const stale[] = {"rotate", "encoder", "DURATION", "BPS", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES",
                                        "_STATISTICS_WRITING_APP", "_STATISTICS_WRITING_DATE_UTC",
                                        "_STATISTICS_TAGS", "vendor_id"};
    const oriel_video_info *i = m->info;
    char encoder[64];
    if (avcodec_parameters_from_context(st->codecpar, m->encoder) < 0)
        return no_memory();
    st->time_base = (AVRational){i->time_base[0], i->time_base[1]};
    st->sample_aspect_ratio = m->encoder->sample_aspect_ratio;
    if (!i->variable && i->rate[0])
        st->avg_frame_rate = (AVRational){i->rate[0], i->rate[1]};
    if (m->in) {
        const AVStream *from = m->in->streams[video_ffmpeg_video_index(m->source)];
        st->disposition = from->disposition;
        if (av_dict_copy(&st->metadata, from->metadata, 0) < 0)
            return no_memory();
        for (size_t k = 0; k < sizeof stale / sizeof *stale; k++)
            av_dict_set(&st->metadata, stale[k], NULL, 0);
    }
    snprintf(encoder, sizeof encoder, "%s %s", LIBAVCODEC_IDENT, m->encoder->codec->name);
    if (av_dict_set(&st->metadata, "encoder", encoder, 0) < 0)
        return no_memory();
    if (i->rotation) {
        int32_t matrix[9];
        av_display_rotation_set(matrix, i->rotation);
        if (!add_data(st, AV_PKT_DATA_DISPLAYMATRIX, matrix, sizeof matrix))
            return no_memory();
    }
    return m->hdr && !add_hdr(st, m->hdr) ? no_memory() : ORIEL_OK;
}

/* A cover is a picture among the streams in mp4 and a file among the attachments in matroska. */
static oriel_status attach_cover(AVStream *st, const AVStream *from)
{
    AVCodecParameters *par = st->codecpar;
    bool png = par->codec_id == AV_CODEC_ID_PNG;
    av_freep(&par->extradata);
    if (!(par->extradata = av_mallocz((size_t)from->attached_pic.size + AV_INPUT_BUFFER_PADDING_SIZE)))
        return no_memory();
    memcpy(par->extradata, from->attached_pic.data, (size_t)from->attached_pic.size);
    par->extradata_size = from->attached_pic.size;
    par->codec_type = AVMEDIA_TYPE_ATTACHMENT;
    st->disposition = 0;
    if (!av_dict_get(st->metadata, "filename", NULL, 0))
        av_dict_set(&st->metadata, "filename", png ? "cover.png" : "cover.jpg", 0);
    return av_dict_set(&st->metadata, "mimetype", png ? "image/png" : "image/jpeg", 0) < 0 ? no_memory() : ORIEL_OK;
}

static oriel_status describe_copied(const video_mux *m, AVStream *st, const AVStream *from)
{
    const struct AVCodecTag *const *tags = m->container->codec_tag;
    unsigned tag;
    if (avcodec_parameters_copy(st->codecpar, from->codecpar) < 0 || !copy_data(st, from) ||
        av_dict_copy(&st->metadata, from->metadata, 0) < 0)
        return no_memory();
    AVCodecParameters *par = st->codecpar;
    if (tags && av_codec_get_id(tags, par->codec_tag) != par->codec_id && av_codec_get_tag2(tags, par->codec_id, &tag))
        par->codec_tag = 0; /* the other container's name for it */
    st->time_base = from->time_base;
    st->disposition = from->disposition;
    st->sample_aspect_ratio = from->sample_aspect_ratio;
    st->avg_frame_rate = from->avg_frame_rate;
    if (from->disposition & AV_DISPOSITION_ATTACHED_PIC && video_is_matroska(m->container))
        return attach_cover(st, from);
    return ORIEL_OK;
}

/* ---- chapters and metadata ---------------------------------------------------------------- */

static oriel_status add_chapters(const video_mux *m, AVFormatContext *out)
{
    const oriel_video_reader_options *cut = &m->source->opt;
    int64_t start = video_ffmpeg_start(m->source) - m->raise, length = INT64_MAX;
    if (cut->to > 0)
        length = (int64_t)((cut->to - cut->from) * AV_TIME_BASE);
    for (unsigned i = 0; i < m->in->nb_chapters; i++) {
        const AVChapter *from = m->in->chapters[i];
        int64_t begin = av_rescale_q(from->start, from->time_base, AV_TIME_BASE_Q) - start;
        int64_t end = av_rescale_q(from->end, from->time_base, AV_TIME_BASE_Q) - start;
        if (end <= 0 || begin >= length)
            continue;
        AVChapter **grown = av_realloc_array(out->chapters, out->nb_chapters + 1, sizeof *grown);
        AVChapter *c = grown ? av_mallocz(sizeof *c) : NULL;
        if (grown)
            out->chapters = grown;
        if (!c)
            return no_memory();
        out->chapters[out->nb_chapters++] = c;
        c->id = from->id;
        c->time_base = from->time_base;
        c->start = begin <= 0 ? 0 : av_rescale_q(begin, AV_TIME_BASE_Q, c->time_base);
        c->end = av_rescale_q(end < length ? end : length, AV_TIME_BASE_Q, c->time_base);
        if (av_dict_copy(&c->metadata, from->metadata, 0) < 0)
            return no_memory();
    }
    return ORIEL_OK;
}

static oriel_status add_metadata(const video_mux *m, AVFormatContext *out)
{
    static const char *const others[] = {"major_brand", "minor_version", "compatible_brands", "creation_time",
                                         "encoder", "DURATION", "ORIEL"};
    if (m->in) {
        if (av_dict_copy(&out->metadata, m->in->metadata, 0) < 0)
            return no_memory();
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            av_dict_set(&out->metadata, others[i], NULL, 0);
    }
    return ORIEL_OK;
}

oriel_status video_layout(const video_mux *m, AVFormatContext **out, const AVFormatContext *part)
{
    if (avformat_alloc_output_context2(out, m->container, NULL, NULL) < 0)
        return no_memory();
    for (int i = 0; i < m->streams; i++)
        if (!avformat_new_stream(*out, NULL))
            return no_memory();
    oriel_status s = describe_video(m, (*out)->streams[m->video]);
    for (unsigned i = 0; !s && m->in && i < m->in->nb_streams; i++)
        if (m->copied[i].to >= 0)
            s = describe_copied(m, (*out)->streams[m->copied[i].to], m->in->streams[i]);
    for (int i = 0; !s && part && i < m->streams && i < (int)part->nb_streams; i++) {
        /* codecs as the part has them: their headers may have come with the first packets */
        AVCodecParameters *to = (*out)->streams[i]->codecpar;
        const AVCodecParameters *from = part->streams[i]->codecpar;
        if (to->codec_id != from->codec_id || !from->extradata_size)
            continue;
        av_freep(&to->extradata);
        to->extradata_size = 0;
        if (!(to->extradata = av_mallocz((size_t)from->extradata_size + AV_INPUT_BUFFER_PADDING_SIZE)))
            return no_memory();
        memcpy(to->extradata, from->extradata, (size_t)from->extradata_size);
        to->extradata_size = from->extradata_size;
    }
    if (!s && m->in)
        s = add_chapters(m, *out);
    return s ? s : add_metadata(m, *out);
}

oriel_status video_layout_options(const video_mux *m, AVDictionary **options, bool part)
{
    int code = 0;
    if (video_is_mov(m->container)) {
        code = av_dict_set(options, "movflags", part ? "frag_custom+delay_moov+default_base_moof+use_metadata_tags" : "faststart", 0);
        if (code >= 0) /* empty edits, which delay a stream, are in this unit */
            code = av_dict_set_int(options, "movie_timescale", m->info->time_base[1] > 1000 && m->info->time_base[1] <= 1000000 ? m->info->time_base[1] : 1000 * (m->info->time_base[1] < 1000 ? m->info->time_base[1] : 1), 0);
    }
    return code < 0 ? no_memory() : ORIEL_OK;
}

oriel_status video_write_covers(const video_mux *m, AVFormatContext *out)
{
    for (unsigned i = 0; m->in && i < m->in->nb_streams; i++) {
        const AVStream *from = m->in->streams[i];
        if (m->copied[i].to < 0 || !(from->disposition & AV_DISPOSITION_ATTACHED_PIC) || !from->attached_pic.size ||
            video_is_matroska(m->container))
            continue;
        AVPacket *p = av_packet_clone(&from->attached_pic);
        if (!p)
            return no_memory();
        p->stream_index = m->copied[i].to;
        p->pts = p->dts = 0;
        int code = av_write_frame(out, p);
        av_packet_free(&p);
        if (code < 0)
            return video_ffmpeg_fail(code, "%s: the cover", m->w->path);
    }
    return ORIEL_OK;
}

/* ---- the complete file --------------------------------------------------------------------- */

/* The part is read twice at once, for its video and for the rest, so that a part whose runs lie one
 * after the other comes out interleaved. */
typedef struct side {
    AVFormatContext *in;
    AVPacket        *next;
    bool             ended;
} side;

static oriel_status side_open(side *d, const char *part, int video, bool want_video)
{
    char *url = video_url(part);
    if (!url || !(d->next = av_packet_alloc())) {
        av_free(url);
        return no_memory();
    }
    int code = avformat_open_input(&d->in, url, NULL, NULL);
    av_free(url);
    if (code < 0)
        return video_ffmpeg_fail(code, "%s", part);
    for (unsigned i = 0; i < d->in->nb_streams; i++)
        if (((int)i == video) != want_video || d->in->streams[i]->disposition & AV_DISPOSITION_ATTACHED_PIC)
            d->in->streams[i]->discard = AVDISCARD_ALL;
    return ORIEL_OK;
}

static oriel_status side_fill(side *d, int streams, const char *part)
{
    while (!d->ended && !d->next->data) {
        int code = av_read_frame(d->in, d->next);
        if (code == AVERROR_EOF)
            d->ended = true;
        else if (code < 0)
            return video_ffmpeg_fail(code, "%s", part);
        else if (d->next->stream_index >= streams || d->in->streams[d->next->stream_index]->discard == AVDISCARD_ALL)
            av_packet_unref(d->next);
    }
    return ORIEL_OK;
}

static void side_close(side *d)
{
    avformat_close_input(&d->in);
    av_packet_free(&d->next);
}

static bool earlier(const side *a, const side *b)
{
    const AVPacket *p = a->next, *q = b->next;
    return av_compare_ts(p->dts, a->in->streams[p->stream_index]->time_base, q->dts,
                         b->in->streams[q->stream_index]->time_base) <= 0;
}

static oriel_status copy_packets(const video_mux *m, AVFormatContext *out, side *video, side *rest, const char *part)
{
    for (;;) {
        oriel_status s = side_fill(video, m->streams, part);
        if (s || (s = side_fill(rest, m->streams, part)))
            return s;
        if (video->ended && rest->ended)
            return ORIEL_OK;
        side *d = rest->ended || (!video->ended && earlier(video, rest)) ? video : rest;
        AVPacket *p = d->next;
        av_packet_rescale_ts(p, d->in->streams[p->stream_index]->time_base, out->streams[p->stream_index]->time_base);
        p->pos = -1;
        int code = av_write_frame(out, p);
        av_packet_unref(p);
        if (code < 0 || (out->pb && (code = out->pb->error) < 0))
            return video_io_fail(code, m->w->path);
    }
}

oriel_status video_layout_again(video_mux *m, const char *part, const char *path)
{
    side video = {0}, rest = {0};
    AVFormatContext *out = NULL;
    AVDictionary *options = NULL;
    char *url = video_url(path);
    int code;
    oriel_status s = url ? side_open(&video, part, m->video, true) : no_memory();
    if (s || (s = side_open(&rest, part, m->video, false)) || (s = video_layout(m, &out, video.in)) ||
        (s = video_layout_options(m, &options, false)))
        goto done;
    if (video_is_mov(m->container))
        out->avoid_negative_ts = 0;
    if ((code = avio_open(&out->pb, url, AVIO_FLAG_WRITE)) < 0 ||
        !(out->url = av_strdup(url)) || (code = avformat_write_header(out, &options)) < 0) {
        s = video_io_fail(code, path);
        goto done;
    }
    if (!(s = video_write_covers(m, out)))
        s = copy_packets(m, out, &video, &rest, part);
    if (!s && ((code = av_write_trailer(out)) < 0 || (code = out->pb->error) < 0))
        s = video_io_fail(code, path);
done:
    if (out && out->pb && (code = avio_closep(&out->pb)) < 0 && !s)
        s = video_io_fail(code, path);
    avformat_free_context(out);
    av_dict_free(&options);
    side_close(&video);
    side_close(&rest);
    av_free(url);
    return s;
}
