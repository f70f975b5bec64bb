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
    const AVBSFContext *plain = m->copied[from->index].plain;
    unsigned tag;
    if (avcodec_parameters_copy(st->codecpar, plain ? plain->par_out : from->codecpar) < 0 || !copy_data(st, from) ||
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

/* A stream that begins late is delayed by an empty edit, in the file's own unit of time: one that all
 * streams share. */
static int64_t movie_unit(const video_mux *m)
{
    int64_t unit = m->info->time_base[1];
    for (unsigned i = 0; m->in && i < m->in->nb_streams; i++) {
        int rate = m->copied[i].to >= 0 ? m->in->streams[i]->codecpar->sample_rate : 0;
        int64_t both = rate > 0 ? unit / av_gcd(unit, rate) * rate : unit;
        unit = both <= 100000000 ? both : unit;
    }
    return unit;
}

oriel_status video_layout_options(const video_mux *m, AVDictionary **options, bool part)
{
    static const char fragments[] = "frag_custom+delay_moov+default_base_moof+use_metadata_tags";
    int code = 0;
    if (video_is_mov(m->container))
        code = av_dict_set(options, "movflags", part ? fragments : "faststart", 0);
    if (code >= 0 && m->late && video_is_mov(m->container))
        code = av_dict_set_int(options, "movie_timescale", movie_unit(m), 0);
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

/* The part is read once for each stream, at the same time, so that one whose runs or fragments lie one after
 * the other comes out interleaved. Fragments do not say how long their last sample is: the next one does. */
typedef struct side {
    AVFormatContext *in;
    AVPacket        *next, *after; /* empty: ended */
    int              stream;
} side;

static oriel_status side_read(side *d, AVPacket *to, const char *part)
{
    for (;;) {
        int code = av_read_frame(d->in, to);
        if (code < 0)
            return code == AVERROR_EOF ? ORIEL_OK : video_ffmpeg_fail(code, "%s", part);
        if (to->stream_index == d->stream)
            return ORIEL_OK;
        av_packet_unref(to);
    }
}

static oriel_status side_open(side *d, int stream, const char *part)
{
    char *url = video_url(part);
    d->stream = stream;
    d->next = av_packet_alloc();
    d->after = av_packet_alloc();
    int code = url && d->next && d->after ? avformat_open_input(&d->in, url, NULL, NULL) : AVERROR(ENOMEM);
    av_free(url);
    if (code < 0)
        return video_ffmpeg_fail(code, "%s", part);
    if (stream >= (int)d->in->nb_streams)
        return oriel_fail(ORIEL_E_IO, "%s: it has changed", part);
    for (unsigned i = 0; i < d->in->nb_streams; i++)
        d->in->streams[i]->discard = (int)i == stream ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
    if (d->in->streams[stream]->disposition & AV_DISPOSITION_ATTACHED_PIC ||
        d->in->streams[stream]->codecpar->codec_type == AVMEDIA_TYPE_ATTACHMENT)
        return ORIEL_OK;
    oriel_status s = side_read(d, d->next, part);
    return s ? s : side_read(d, d->after, part);
}

static oriel_status side_step(side *d, const char *part)
{
    av_packet_unref(d->next);
    av_packet_move_ref(d->next, d->after);
    return d->next->size ? side_read(d, d->after, part) : ORIEL_OK;
}

static AVRational side_base(const side *d)
{
    return d->in->streams[d->stream]->time_base;
}

static side *earliest(side *sides, int count)
{
    side *best = NULL;
    for (side *d = sides; d < sides + count; d++)
        if (d->next->size && (!best || av_compare_ts(d->next->dts, side_base(d), best->next->dts, side_base(best)) < 0))
            best = d;
    return best;
}

static int64_t duration_of(const video_mux *m, const side *d)
{
    const AVPacket *p = d->next;
    bool subtitle = d->in->streams[d->stream]->codecpar->codec_type == AVMEDIA_TYPE_SUBTITLE;
    if (d->stream == m->video && p->pts == m->tail)
        return m->end - m->tail;
    if (subtitle && d->after->size && d->after->dts != AV_NOPTS_VALUE)
        return d->after->dts - p->dts;
    if (!d->after->size && d->stream != m->video && m->written[d->stream].duration > 0)
        return m->written[d->stream].duration;
    return p->duration;
}

static oriel_status copy_packets(const video_mux *m, AVFormatContext *out, side *sides, const char *part)
{
    side *d;
    while ((d = earliest(sides, m->streams))) {
        AVPacket *p = d->next;
        bool gap = d->in->streams[d->stream]->codecpar->codec_id == AV_CODEC_ID_MOV_TEXT && p->size <= 2;
        if (gap) { /* an empty text ends the last one: muxers write these of themselves */
            oriel_status s = side_step(d, part);
            if (s)
                return s;
            continue;
        }
        p->duration = duration_of(m, d);
        av_packet_rescale_ts(p, side_base(d), out->streams[d->stream]->time_base);
        p->pos = -1;
        int code = av_write_frame(out, p);
        if (code < 0 || (out->pb && (code = out->pb->error) < 0))
            return video_io_fail(code, m->w->path);
        oriel_status s = side_step(d, part);
        if (s)
            return s;
    }
    return ORIEL_OK;
}

static oriel_status write_again(video_mux *m, AVFormatContext *out, side *sides, const char *part, const char *path)
{
    AVDictionary *options = NULL;
    oriel_status s = video_layout_options(m, &options, false);
    int code = 0;
    if (video_is_mov(m->container) || video_is_matroska(m->container))
        out->avoid_negative_ts = 0;
    if (!s && !(out->url = video_url(path)))
        s = no_memory();
    if (!s && ((code = avio_open(&out->pb, out->url, AVIO_FLAG_WRITE)) < 0 ||
               (code = avformat_write_header(out, &options)) < 0))
        s = video_io_fail(code, path);
    av_dict_free(&options);
    if (!s && !(s = video_write_covers(m, out)))
        s = copy_packets(m, out, sides, part);
    if (!s && ((code = av_write_trailer(out)) < 0 || (code = out->pb->error) < 0))
        s = video_io_fail(code, path);
    if (out->pb && (code = avio_closep(&out->pb)) < 0 && !s)
        s = video_io_fail(code, path);
    return s;
}

oriel_status video_layout_again(video_mux *m, const char *part, const char *path)
{
    side *sides = oriel_alloc_zero((size_t)m->streams, sizeof *sides);
    AVFormatContext *out = NULL;
    oriel_status s = sides ? ORIEL_OK : ORIEL_E_NOMEM;
    for (int i = 0; !s && i < m->streams; i++)
        s = side_open(&sides[i], i, part);
    if (!s)
        s = video_layout(m, &out, sides[0].in);
    if (!s)
        s = write_again(m, out, sides, part, path);
    avformat_free_context(out);
    for (int i = 0; sides && i < m->streams; i++) {
        avformat_close_input(&sides[i].in);
        av_packet_free(&sides[i].next);
        av_packet_free(&sides[i].after);
    }
    oriel_dealloc(sides);
    return s;
}
