/* SPDX-License-Identifier: Apache-2.0 */
/* The file or pipe that is written: video as it is encoded, the source's other packets beside it by time.
 * Nothing is kept back but what is ahead of the video, so what was flushed plays. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <libavutil/avstring.h>
#include <libavutil/time.h>

#include "video/ffmpeg_compat.h"
#include "video/ffmpeg_write.h"

enum { FLUSH_EVERY = 2000000, FLUSH_AT_KEY = 500000, WAIT_FOR_ALL = 10000000, FLUSH_BYTES = 8 << 20, IO_BUFFER = 1 << 16 };

oriel_status video_io_fail(int code, const char *path)
{
    if (code == AVERROR(EPIPE))
        return oriel_fail(ORIEL_E_IO, "%s: the reader of the pipe is gone", path);
    oriel_status s = video_ffmpeg_fail(code, "%s", path);
    return s == ORIEL_E_FORMAT ? oriel_fail(ORIEL_E_IO, "%s: %s", path, av_err2str(code)) : s;
}

/* ---- pipes -------------------------------------------------------------------------------- */

/* A reader that has gone is an error to report, not a signal to die of: SIGPIPE is held back while we
 * write, and taken if it was ours. It also comes where a part was written before the reader went. */
static ssize_t write_quietly(int fd, const uint8_t *from, size_t size)
{
    sigset_t pipe_alone, before, pending;
    const struct timespec now = {0};
    sigemptyset(&pipe_alone);
    sigaddset(&pipe_alone, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_alone, &before);
    ssize_t n;
    while ((n = write(fd, from, size)) < 0 && errno == EINTR)
        ;
    int why = errno;
    if (n != (ssize_t)size && !sigismember(&pending, SIGPIPE))
        while (sigtimedwait(&pipe_alone, NULL, &now) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = why;
    return n;
}

#if LIBAVFORMAT_VERSION_MAJOR >= 61
static int write_pipe(void *user, const uint8_t *from, int size)
#else
static int write_pipe(void *user, uint8_t *from, int size)
#endif
{
    const video_mux *m = user;
    for (int done = 0; done < size;) {
        ssize_t n = write_quietly(m->fd, from + done, (size_t)(size - done));
        if (n < 0)
            return AVERROR(errno);
        done += (int)n;
    }
    return size;
}

static oriel_status open_pipe(video_mux *m, const char *path)
{
    m->fd = !strcmp(path, "-") ? STDOUT_FILENO : open(path, O_WRONLY | O_CLOEXEC);
    if (m->fd < 0)
        return video_io_fail(AVERROR(errno), path);
    uint8_t *buffer = av_malloc(IO_BUFFER);
    m->out->pb = buffer ? avio_alloc_context(buffer, IO_BUFFER, 1, m, NULL, write_pipe, NULL) : NULL;
    if (!m->out->pb) {
        av_free(buffer);
        return oriel_fail(ORIEL_E_NOMEM, "out of memory: a pipe's buffer");
    }
    m->out->pb->seekable = 0;
    m->out->flags |= AVFMT_FLAG_CUSTOM_IO;
    return ORIEL_OK;
}

static oriel_status open_file(video_mux *m, const char *path)
{
    m->out->url = video_url(path);
    int code = m->out->url ? avio_open(&m->out->pb, m->out->url, AVIO_FLAG_WRITE) : AVERROR(ENOMEM);
    return code < 0 ? video_io_fail(code, path) : ORIEL_OK;
}

static oriel_status close_io(video_mux *m)
{
    AVIOContext *pb = m->out ? m->out->pb : NULL;
    int code = 0;
    if (!pb)
        return ORIEL_OK;
    if (m->piped) {
        avio_flush(pb);
        code = pb->error;
        av_freep(&pb->buffer);
        avio_context_free(&m->out->pb);
        if (m->fd > STDERR_FILENO)
            close(m->fd);
        m->fd = -1;
    } else {
        code = avio_closep(&m->out->pb);
    }
    return code < 0 ? video_io_fail(code, m->w->path) : ORIEL_OK;
}

/* ---- what is copied ----------------------------------------------------------------------- */

static void leave_out(video_mux *m, unsigned i, const char *why)
{
    const AVStream *st = m->in->streams[i];
    const AVDictionaryEntry *language = av_dict_get(st->metadata, "language", NULL, 0);
    const char *kind = av_get_media_type_string(st->codecpar->codec_type);
    video_note(m->w, "left out: stream %u, %s%s%s%s (%s): %s", i, language ? language->value : "", language ? " " : "",
               st->disposition & AV_DISPOSITION_ATTACHED_PIC ? "cover, " : "", kind ? kind : "data",
               avcodec_get_name(st->codecpar->codec_id), why);
    m->copied[i].to = -1;
}

/* Does the muxer begin a file with this stream beside the video? Some say so only when they try. */
static bool header_holds(video_mux *m)
{
    AVFormatContext *out = NULL;
    AVDictionary *options = NULL;
    uint8_t *bytes = NULL;
    bool held = !video_layout(m, &out, NULL) && !video_layout_options(m, &options, true) &&
                avio_open_dyn_buf(&out->pb) >= 0 && avformat_write_header(out, &options) >= 0;
    if (out && out->pb) {
        avio_close_dyn_buf(out->pb, &bytes);
        av_free(bytes);
        out->pb = NULL;
    }
    avformat_free_context(out);
    av_dict_free(&options);
    return held;
}

/* NULL: it can be tried. "": nothing is lost. */
static const char *refuses(const video_mux *m, unsigned i, const oriel_video_writer_options *opt)
{
    const AVStream *st = m->in->streams[i];
    const AVCodecParameters *par = st->codecpar;
    bool cover = st->disposition & AV_DISPOSITION_ATTACHED_PIC;
    if ((int)i == video_ffmpeg_video_index(m->source) || (par->codec_type == AVMEDIA_TYPE_AUDIO && opt->no_audio) ||
        (par->codec_type == AVMEDIA_TYPE_SUBTITLE && opt->no_subtitles))
        return "";
    if (par->codec_type == AVMEDIA_TYPE_VIDEO && !cover)
        return "one video stream is written";
    if (par->codec_type == AVMEDIA_TYPE_DATA && m->in->nb_chapters && par->codec_id == AV_CODEC_ID_BIN_DATA)
        return ""; /* mov's chapters, which are written as such */
    if (par->codec_tag == MKTAG('t', 'm', 'c', 'd') && video_is_mov(m->container))
        return ""; /* the muxer makes it anew of the metadata */
    if (cover && strcmp(m->container->name, "mp4") != 0 && strcmp(m->container->name, "ipod") != 0 &&
        strcmp(m->container->name, "matroska") != 0)
        return "the container has no place for covers";
    if (cover && video_is_matroska(m->container))
        return NULL;
    if (par->codec_type == AVMEDIA_TYPE_ATTACHMENT && strcmp(m->container->name, "matroska") != 0)
        return "the container has no attachments";
    if (par->codec_type == AVMEDIA_TYPE_ATTACHMENT)
        return NULL;
    if (par->codec_id == AV_CODEC_ID_NONE || par->codec_type == AVMEDIA_TYPE_UNKNOWN)
        return "its codec is unknown";
    if (par->codec_type == AVMEDIA_TYPE_DATA && video_container_takes(m->container, par->codec_id) != 1)
        return "the container does not take it";
    return video_container_takes(m->container, par->codec_id) ? NULL : "the container does not take it";
}

/* Streams keep their order; without a source the video is alone. */
static void number_streams(video_mux *m)
{
    m->streams = 0;
    m->video = m->in ? -1 : m->streams++;
    for (unsigned i = 0; m->in && i < m->in->nb_streams; i++) {
        if ((int)i == video_ffmpeg_video_index(m->source))
            m->video = m->streams++;
        else if (m->copied[i].to >= 0)
            m->copied[i].to = m->streams++;
    }
}

static void try_each(video_mux *m)
{
    unsigned n = m->in->nb_streams;
    for (unsigned i = 0; i < n; i++) { /* it alone beside the video */
        if (m->copied[i].to < 0)
            continue;
        for (unsigned k = 0; k < n; k++)
            m->copied[k].noted = m->copied[k].to >= 0; /* set aside */
        for (unsigned k = 0; k < n; k++)
            m->copied[k].to = k == i ? 0 : -1;
        number_streams(m);
        bool held = header_holds(m);
        for (unsigned k = 0; k < n; k++) {
            m->copied[k].to = m->copied[k].noted ? 0 : -1;
            m->copied[k].noted = false;
        }
        if (!held)
            leave_out(m, i, oriel_error());
    }
}

static bool wants_plain(const video_mux *m, unsigned i)
{
    const AVCodecParameters *par = m->in->streams[i]->codecpar;
    return m->copied[i].to >= 0 && par->codec_id == AV_CODEC_ID_AAC && !par->extradata_size &&
           (video_is_mov(m->container) || video_is_matroska(m->container));
}

static oriel_status open_plain(video_mux *m, unsigned i)
{
    const AVBitStreamFilter *filter = av_bsf_get_by_name("aac_adtstoasc");
    AVBSFContext **b = &m->copied[i].plain;
    int code = filter ? av_bsf_alloc(filter, b) : AVERROR_BSF_NOT_FOUND;
    if (code >= 0 && (code = avcodec_parameters_copy((*b)->par_in, m->in->streams[i]->codecpar)) >= 0) {
        (*b)->time_base_in = m->in->streams[i]->time_base;
        code = av_bsf_init(*b);
    }
    return code < 0 ? video_ffmpeg_fail(code, "aac_adtstoasc") : ORIEL_OK;
}

/* What the headers said goes to where the file's head finds it. False: the packet is none. */
static bool make_plain(AVBSFContext *b, AVPacket *p)
{
    if (av_bsf_send_packet(b, p) < 0 || av_bsf_receive_packet(b, p) < 0)
        return false;
    size_t size = 0;
    const uint8_t *side = av_packet_get_side_data(p, AV_PKT_DATA_NEW_EXTRADATA, &size);
    AVCodecParameters *par = b->par_out;
    if (side && !par->extradata_size && (par->extradata = av_mallocz(size + AV_INPUT_BUFFER_PADDING_SIZE))) {
        memcpy(par->extradata, side, size);
        par->extradata_size = (int)size;
    }
    return true;
}

oriel_status video_mux_plan(video_mux *m, const oriel_video_writer_options *opt)
{
    unsigned n = m->in ? m->in->nb_streams : 0;
    oriel_status s = ORIEL_E_NOMEM;
    bool *wanted = oriel_alloc_zero(n + 1, sizeof *wanted);
    m->copied = oriel_alloc_zero(n + 1, sizeof *m->copied);
    m->written = oriel_alloc_zero(n + 1, sizeof *m->written);
    m->packet = av_packet_alloc();
    if (!wanted || !m->copied || !m->written || !m->packet)
        goto done;
    for (unsigned i = 0; i < n; i++) {
        const char *why = refuses(m, i, opt);
        m->copied[i] = (video_copied){.to = why ? -1 : 0, .last = AV_NOPTS_VALUE, .skip = AV_NOPTS_VALUE};
        if (why && *why)
            leave_out(m, i, why);
    }
    if (m->in && m->in->nb_chapters && !video_is_mov(m->container) && !video_is_matroska(m->container) &&
        strcmp(m->container->name, "nut") != 0 && strcmp(m->container->name, "ogg") != 0)
        video_note(m->w, "left out: %u chapters: the container has none", m->in->nb_chapters);
    number_streams(m);
    if (m->streams > 1 && !header_holds(m)) {
        try_each(m);
        number_streams(m);
    }
    if (!header_holds(m)) {
        s = oriel_fail(ORIEL_E_UNSUPPORTED, "%s cannot hold %s as it was asked for", m->container->name, m->w->done.codec);
        goto done;
    }
    for (unsigned i = 0; i < n; i++)
        wanted[i] = m->copied[i].to >= 0 && m->in->streams[i]->codecpar->codec_type != AVMEDIA_TYPE_ATTACHMENT &&
                    !(m->in->streams[i]->disposition & AV_DISPOSITION_ATTACHED_PIC);
    s = m->in ? video_ffmpeg_keep(m->source, wanted) : ORIEL_OK;
    for (unsigned i = 0; !s && i < n; i++)
        if (wants_plain(m, i))
            s = open_plain(m, i);
done:
    oriel_dealloc(wanted);
    return s;
}

/* ---- packets that wait -------------------------------------------------------------------- */

static int64_t micro(const video_mux *m, int stream, int64_t t)
{
    return av_rescale_q(t, m->out->streams[stream]->time_base, AV_TIME_BASE_Q);
}

/* What the part has already is dropped; of uncompressed audio, where packets have any length, to the
 * sample. */
static bool is_there(const video_copied *c, AVPacket *p, const AVStream *st)
{
    const AVCodecParameters *par = st->codecpar;
    if (c->skip == AV_NOPTS_VALUE || p->dts == AV_NOPTS_VALUE)
        return false;
    int align = av_get_exact_bits_per_sample(par->codec_id) > 0 && par->sample_rate > 0 ? par->block_align : 0;
    if (align > 0 && p->dts < c->skip && p->dts + p->duration > c->skip) {
        int64_t bytes = av_rescale_q(c->skip - p->dts, st->time_base, (AVRational){1, par->sample_rate}) * align;
        if (bytes <= 0 || bytes >= p->size)
            return true;
        p->data += bytes;
        p->size -= (int)bytes;
        p->duration -= c->skip - p->dts;
        p->pts = p->dts = c->skip;
        return false;
    }
    return p->dts < c->skip;
}

static oriel_status push(video_mux *m, AVPacket *p)
{
    if (m->waits == m->room) {
        int room = m->room ? 2 * m->room : 64;
        AVPacket **grown = oriel_realloc(m->waiting, (size_t)room * sizeof *grown);
        if (!grown)
            return ORIEL_E_NOMEM;
        m->waiting = grown;
        m->room = room;
    }
    AVPacket *own = av_packet_alloc();
    if (!own)
        return oriel_fail(ORIEL_E_NOMEM, "out of memory: a packet");
    av_packet_move_ref(own, p);
    m->waiting[m->waits++] = own;
    return ORIEL_OK;
}

/* Take the source's packets, in microseconds moved to where the clip begins but still in their own base. */
static oriel_status pull(video_mux *m)
{
    oriel_status s = ORIEL_OK;
    while (!s && m->in && video_ffmpeg_packet(m->source, m->packet)) {
        AVPacket *p = m->packet;
        const AVStream *from = m->in->streams[p->stream_index];
        int64_t start = av_rescale_q(video_ffmpeg_start(m->source), AV_TIME_BASE_Q, from->time_base);
        if (m->copied[p->stream_index].to >= 0) {
            if (p->dts == AV_NOPTS_VALUE)
                p->dts = p->pts;
            p->pts -= p->pts == AV_NOPTS_VALUE ? 0 : start;
            p->dts -= p->dts == AV_NOPTS_VALUE ? 0 : start;
            p->pos = -1;
            if (!m->copied[p->stream_index].plain || make_plain(m->copied[p->stream_index].plain, p))
                s = push(m, p);
        }
        av_packet_unref(p);
    }
    return s;
}

/* A copied packet goes into the file; one that the muxer refuses is lost, and said. */
static oriel_status write_copied(video_mux *m, AVPacket *p)
{
    video_copied *c = &m->copied[p->stream_index];
    unsigned from = (unsigned)p->stream_index;
    const AVStream *st = m->out->streams[c->to];
    int64_t raise = av_rescale_q(m->raise, AV_TIME_BASE_Q, st->time_base);
    av_packet_rescale_ts(p, m->in->streams[from]->time_base, st->time_base);
    p->pts += p->pts == AV_NOPTS_VALUE ? 0 : raise;
    p->dts += p->dts == AV_NOPTS_VALUE ? 0 : raise;
    if (is_there(c, p, st)) {
        av_packet_unref(p);
        return ORIEL_OK;
    }
    bool strict = !(m->container->flags & AVFMT_TS_NONSTRICT);
    if (c->last != AV_NOPTS_VALUE && (p->dts == AV_NOPTS_VALUE || p->dts < c->last + strict))
        p->dts = c->last + strict;
    if (p->pts != AV_NOPTS_VALUE && p->pts < p->dts)
        p->pts = p->dts;
    c->last = p->dts == AV_NOPTS_VALUE ? c->last : p->dts;
    p->stream_index = c->to;
    oriel_status s = video_mux_write(m, p);
    if (s && !m->broken && s != ORIEL_E_NOMEM) {
        if (!c->noted)
            video_note(m->w, "stream %u: packets were lost that the container does not take: %s", from, oriel_error());
        c->noted = true;
        s = ORIEL_OK;
    }
    return s;
}

/* Those not later than `until`, microseconds in the file. */
static oriel_status write_waiting(video_mux *m, int64_t until)
{
    oriel_status s = ORIEL_OK;
    int kept = 0;
    for (int i = 0; i < m->waits; i++) {
        AVPacket *p = m->waiting[i];
        AVRational base = m->in->streams[p->stream_index]->time_base;
        if (s || (p->dts != AV_NOPTS_VALUE && until < INT64_MAX &&
                  av_rescale_q(p->dts, base, AV_TIME_BASE_Q) + m->raise > until)) {
            m->waiting[kept++] = p;
            continue;
        }
        s = write_copied(m, p);
        av_packet_free(&p);
    }
    m->waits = kept;
    return s;
}

/* ---- the file ----------------------------------------------------------------------------- */

static bool can_stream(const AVOutputFormat *c)
{
    static const char *const names[] = {"mpegts", "nut", "flv", "ogg", "mpeg", "vob", "h264", "hevc", "ivf", "mjpeg", "m4v", "asf"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(c->name, names[i]))
            return true;
    return video_is_mov(c) || video_is_matroska(c);
}

oriel_status video_mux_open(video_mux *m, const char *path)
{
    if (m->piped && !can_stream(m->container))
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s cannot be written to a pipe (matroska, nut, mpegts and mp4 can)",
                          m->container->name);
    avformat_free_context(m->out);
    m->out = NULL;
    oriel_status s = video_layout(m, &m->out, NULL);
    m->last = m->end = AV_NOPTS_VALUE;
    m->opened = m->flushed = av_gettime_relative();
    if (s)
        return s;
    return m->piped ? open_pipe(m, path) : open_file(m, path);
}

/* Where audio begins before the video, all moves: by what the source says, and further if the container
 * knows no negative times (what a codec is to skip first). */
static void choose_raise(video_mux *m)
{
    if (!m->in)
        return;
    int64_t start = video_ffmpeg_start(m->source);
    bool whole = m->source->opt.from <= 0 && m->in->start_time != AV_NOPTS_VALUE;
    m->raise = whole && m->in->start_time < start ? start - m->in->start_time : 0;
    for (int i = 0; video_is_matroska(m->container) && i < m->waits; i++) {
        const AVPacket *p = m->waiting[i];
        if (p->pts == AV_NOPTS_VALUE)
            continue;
        int64_t t = av_rescale_q_rnd(p->pts, m->in->streams[p->stream_index]->time_base, AV_TIME_BASE_Q, AV_ROUND_DOWN);
        m->raise = -t > m->raise ? -t : m->raise;
    }
}

/* Does a stream begin after the clip does? One that is not seen yet may. */
static bool begins_late(const video_mux *m, int64_t pts)
{
    bool late = m->raise > 0 || pts > m->shift;
    for (unsigned i = 0; m->in && i < m->in->nb_streams; i++) {
        bool early = m->in->streams[i]->codecpar->codec_type != AVMEDIA_TYPE_AUDIO || m->copied[i].to < 0;
        for (int k = 0; k < m->waits && !early; k++)
            early = m->waiting[k]->stream_index == (int)i && m->waiting[k]->dts != AV_NOPTS_VALUE &&
                    m->waiting[k]->dts <= 0;
        late |= !early;
    }
    return late;
}

oriel_status video_mux_begin(video_mux *m, int64_t pts)
{
    char text[256];
    AVDictionary *options = NULL;
    AVIOContext *pb = m->out->pb;
    oriel_status s = pull(m);
    if (s)
        return s;
    if (m->raise < 0) {
        m->raise = 0;
        choose_raise(m);
    }
    m->late = begins_late(m, pts);
    m->out->pb = NULL; /* the layout again: chapters move with the rest, HDR came with the first frame */
    char *url = m->out->url;
    int flags = m->out->flags;
    m->out->url = NULL;
    avformat_free_context(m->out);
    m->out = NULL;
    if ((s = video_layout(m, &m->out, NULL)) || !m->out) {
        if (m->out)
            m->out->pb = pb;
        av_free(url);
        return s;
    }
    m->out->pb = pb;
    m->out->flags |= flags & AVFMT_FLAG_CUSTOM_IO;
    if (url) {
        av_free(m->out->url);
        m->out->url = url;
    }
    if (video_is_mov(m->container) || video_is_matroska(m->container))
        m->out->avoid_negative_ts = 0;
    m->out->max_delay = 700000; /* mpegts and mpeg: how far the clock runs ahead */
    snprintf(text, sizeof text, "raise=%lld %s", (long long)m->raise, m->settings);
    if (!m->piped && (video_is_mov(m->container) || video_is_matroska(m->container)))
        av_dict_set(&m->out->metadata, "ORIEL", text, 0);
    s = video_layout_options(m, &options, true);
    int code = s ? 0 : avformat_write_header(m->out, &options);
    av_dict_free(&options);
    if (!s && code < 0)
        s = video_io_fail(code, m->w->path);
    m->begun = !s;
    return s ? s : video_write_covers(m, m->out);
}

oriel_status video_mux_write(video_mux *m, AVPacket *p)
{
    video_stream *st = &m->written[p->stream_index];
    m->bytes += p->size;
    st->packets++;
    st->duration = p->duration;
    int code = av_write_frame(m->out, p);
    av_packet_unref(p);
    m->dirty = true;
    if (m->out->pb->error < 0) {
        code = m->out->pb->error;
        m->broken = true;
    }
    return code < 0 ? video_io_fail(code, m->w->path) : ORIEL_OK;
}

/* A fragmented file's head is written with its first fragment and describes what it has seen: it waits a
 * while for streams that begin late, and always for codecs that are described by their packets alone. */
static bool head_is_known(const video_mux *m)
{
    if (!video_is_mov(m->container))
        return true;
    for (int i = 0; i < m->streams; i++) {
        const AVCodecParameters *par = m->out->streams[i]->codecpar;
        enum AVCodecID id = par->codec_id;
        if (m->written[i].packets || m->out->streams[i]->disposition & AV_DISPOSITION_ATTACHED_PIC)
            continue;
        if (id == AV_CODEC_ID_AC3 || id == AV_CODEC_ID_EAC3 || id == AV_CODEC_ID_TRUEHD ||
            (id == AV_CODEC_ID_AAC && !par->extradata_size))
            return false;
        if (par->codec_type == AVMEDIA_TYPE_AUDIO && av_gettime_relative() - m->opened < WAIT_FOR_ALL)
            return false;
    }
    return true;
}

oriel_status video_mux_flush(video_mux *m)
{
    if (!m->dirty || !head_is_known(m))
        return ORIEL_OK;
    int code = 0;
    if (ffmpeg_may_flush(m->container))
        code = av_write_frame(m->out, NULL);
    avio_flush(m->out->pb);
    m->flushed = av_gettime_relative();
    m->dirty = false;
    m->bytes = 0;
    if (m->out->pb->error < 0) {
        code = m->out->pb->error;
        m->broken = true;
    }
    return code < 0 ? video_io_fail(code, m->w->path) : ORIEL_OK;
}

static oriel_status flush_if_due(video_mux *m, bool key)
{
    int64_t age = av_gettime_relative() - m->flushed;
    return age >= FLUSH_EVERY || (key && age >= FLUSH_AT_KEY) || m->bytes >= FLUSH_BYTES ? video_mux_flush(m) : ORIEL_OK;
}

void video_mux_reach(video_mux *m, const AVPacket *p)
{
    m->last = p->dts;
    if (m->end != AV_NOPTS_VALUE && p->pts <= m->tail)
        return;
    m->tail = p->pts;
    m->end = p->pts + p->duration;
}

oriel_status video_mux_packet(video_mux *m, AVPacket *p)
{
    AVRational base = {m->info->time_base[0], m->info->time_base[1]};
    oriel_status s = m->begun ? pull(m) : video_mux_begin(m, p->pts);
    if (s)
        return s;
    const AVStream *st = m->out->streams[m->video];
    int64_t raise = av_rescale_q(m->raise, AV_TIME_BASE_Q, st->time_base);
    bool strict = !(m->container->flags & AVFMT_TS_NONSTRICT);
    p->pts -= m->shift;
    p->dts -= p->dts == AV_NOPTS_VALUE ? 0 : m->shift;
    av_packet_rescale_ts(p, base, st->time_base);
    p->pts += raise;
    p->dts = p->dts == AV_NOPTS_VALUE ? p->pts : p->dts + raise;
    if (m->last != AV_NOPTS_VALUE && p->dts < m->last + strict) /* where a resumed run begins */
        p->dts = m->last + strict;
    if (p->pts < p->dts)
        p->pts = p->dts;
    video_mux_reach(m, p);
    p->stream_index = m->video;
    p->pos = -1;
    if ((s = write_waiting(m, micro(m, m->video, p->dts))) ||
        (s = flush_if_due(m, p->flags & AV_PKT_FLAG_KEY)))
        return s;
    return video_mux_write(m, p);
}

oriel_status video_mux_end(video_mux *m, bool complete)
{
    oriel_status s = ORIEL_OK, closed;
    if (m->begun && !m->broken) {
        if (complete && m->in)
            s = video_ffmpeg_drain(m->source);
        if (!s)
            s = pull(m);
        if (!s)
            s = write_waiting(m, complete || m->end == AV_NOPTS_VALUE ? INT64_MAX : micro(m, m->video, m->end) - 1);
        int code = m->broken ? 0 : av_write_trailer(m->out);
        if (!s && code < 0)
            s = video_io_fail(code, m->w->path);
    }
    closed = close_io(m);
    m->begun = false;
    return s ? s : closed;
}

void video_mux_close(video_mux *m)
{
    (void)!close_io(m);
    avformat_free_context(m->out);
    m->out = NULL;
    for (int i = 0; i < m->waits; i++)
        av_packet_free(&m->waiting[i]);
    for (unsigned i = 0; m->copied && m->in && i < m->in->nb_streams; i++)
        av_bsf_free(&m->copied[i].plain);
    oriel_dealloc(m->waiting);
    oriel_dealloc(m->copied);
    oriel_dealloc(m->written);
    av_packet_free(&m->packet);
    m->waiting = NULL;
    m->copied = NULL;
    m->written = NULL;
    m->waits = m->room = 0;
}
