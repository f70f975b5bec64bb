/* SPDX-License-Identifier: Apache-2.0 */
/* Going on from a part file. Its packets up to a point where all frames before are there are copied into
 * a fresh part, which then takes its place; the encoder goes on with a keyframe. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "video/ffmpeg_write.h"

enum { STUB_BYTES = 64 << 10 };

/* ---- the end of a part --------------------------------------------------------------------- */

/* Was the file closed, or was its writer killed? A closed mp4 ends with an mfro box, in a closed matroska
 * file the segment's size is that of the file. */
static bool was_closed(const AVOutputFormat *container, const char *path)
{
    uint8_t head[4096], tail[16];
    FILE *f = fopen(path, "rb");
    bool closed = false;
    if (!f)
        return false;
    size_t n = fread(head, 1, sizeof head, f);
    long size = !fseek(f, 0, SEEK_END) ? ftell(f) : -1;
    if (video_is_mov(container)) {
        closed = size >= 16 && !fseek(f, -16, SEEK_END) && fread(tail, 1, 16, f) == 16 && !memcmp(tail + 4, "mfro", 4);
    } else {
        for (size_t i = 0; i + 12 <= n && !closed; i++)
            if (!memcmp(head + i, "\x18\x53\x80\x67\x01", 5)) { /* Segment, a size of 8 bytes */
                uint64_t length = 0;
                for (int k = 5; k < 12; k++)
                    length = length << 8 | head[i + (size_t)k];
                closed = size >= 0 && length + i + 12 == (uint64_t)size;
                break;
            }
    }
    fclose(f);
    return closed;
}

typedef struct part {
    const char      *path;
    AVFormatContext *in;
    AVPacket        *packet;
    AVBSFContext    *as_encoded; /* containers store H.264 and H.265 in another form than encoders make */
    bool             closed;
    int64_t          frames, first; /* video packets that are kept; pts of the first frame */
} part;

static oriel_status open_part(part *p)
{
    char *url = video_url(p->path);
    int code = url ? avformat_open_input(&p->in, url, NULL, NULL) : AVERROR(ENOMEM);
    av_free(url);
    if (code >= 0 && (p->packet = av_packet_alloc()))
        return ORIEL_OK;
    if (code == AVERROR(ENOMEM) || code >= 0)
        return oriel_fail(ORIEL_E_NOMEM, "out of memory: %s", p->path);
    return oriel_fail(ORIEL_E_FORMAT, "%s cannot be resumed: %s; remove it to begin anew", p->path, av_err2str(code));
}

/* A writer that was killed in its first seconds has left no frame, and at most a piece of the header. */
static bool is_stub(const char *path)
{
    uint8_t head[8] = {0};
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    size_t n = fread(head, 1, sizeof head, f);
    bool begun = !n || (n == sizeof head && (!memcmp(head + 4, "ftyp", 4) || !memcmp(head, "\x1a\x45\xdf\xa3", 4)));
    bool small = !fseek(f, 0, SEEK_END) && ftell(f) < STUB_BYTES;
    fclose(f);
    return begun && small;
}

static void close_part(part *p)
{
    avformat_close_input(&p->in);
    av_packet_free(&p->packet);
    av_bsf_free(&p->as_encoded);
}

/* ---- does it belong to this run? ------------------------------------------------------------ */

static bool same_extradata(const AVCodecContext *encoder, const AVCodecParameters *par)
{
    /* H.264 and H.265 are stored in another form, and AV1 and VP9 in a derived one: settings must do */
    if (encoder->codec_id != par->codec_id)
        return false;
    if (encoder->codec_id != AV_CODEC_ID_FFV1 || !encoder->extradata_size)
        return true;
    return encoder->extradata_size == par->extradata_size &&
           !memcmp(encoder->extradata, par->extradata, (size_t)par->extradata_size);
}

static oriel_status check_part(video_mux *m, const part *p)
{
    const AVDictionaryEntry *tag = av_dict_get(p->in->metadata, "ORIEL", NULL, 0);
    const char *settings = tag ? strchr(tag->value, ' ') : NULL;
    if (!settings || strncmp(tag->value, "raise=", 6) != 0 || (int)p->in->nb_streams < m->streams)
        return oriel_fail(ORIEL_E_FORMAT, "%s cannot be resumed: it is not the part file of such a run; remove it to begin anew",
                          p->path);
    if (strcmp(settings + 1, m->settings) != 0 ||
        !same_extradata(m->encoder, p->in->streams[m->video]->codecpar))
        return oriel_fail(ORIEL_E_ARG, "%s: settings differ from those of the stopped run: [%s], not [%s]", p->path,
                          settings + 1, m->settings);
    m->raise = strtoll(tag->value + 6, NULL, 10);
    return ORIEL_OK;
}

/* ---- how much of it ------------------------------------------------------------------------- */

/* Frames come in the order of coding. Before a frame that is shown later than all before it, nothing is
 * missing; after the last such frame something may be, if the writer was killed. */
static oriel_status count_frames(const video_mux *m, part *p)
{
    int64_t seen = 0, latest = INT64_MIN, whole = 0;
    int code;
    while ((code = av_read_frame(p->in, p->packet)) >= 0) {
        bool video = p->packet->stream_index == m->video, torn = p->packet->flags & AV_PKT_FLAG_CORRUPT;
        int64_t pts = p->packet->pts;
        av_packet_unref(p->packet);
        if (!video)
            continue;
        if (torn || pts == AV_NOPTS_VALUE) {
            p->closed = false;
            break;
        }
        p->first = seen && p->first < pts ? p->first : pts;
        if (pts > latest) {
            latest = pts;
            whole = seen;
        }
        seen++;
    }
    if (code == AVERROR(ENOMEM))
        return oriel_fail(ORIEL_E_NOMEM, "out of memory: %s", p->path);
    p->frames = p->closed ? seen : whole;
    return ORIEL_OK;
}

/* ---- the copy ------------------------------------------------------------------------------- */

static oriel_status open_form(part *p, int video)
{
    const AVStream *st = p->in->streams[video];
    const char *name = st->codecpar->codec_id == AV_CODEC_ID_H264   ? "h264_mp4toannexb"
                       : st->codecpar->codec_id == AV_CODEC_ID_HEVC ? "hevc_mp4toannexb" : "null";
    const AVBitStreamFilter *filter = av_bsf_get_by_name(name);
    int code = filter ? av_bsf_alloc(filter, &p->as_encoded) : AVERROR_BSF_NOT_FOUND;
    if (code >= 0 && (code = avcodec_parameters_copy(p->as_encoded->par_in, st->codecpar)) >= 0) {
        p->as_encoded->time_base_in = st->time_base;
        code = av_bsf_init(p->as_encoded);
    }
    return code < 0 ? video_ffmpeg_fail(code, "%s: %s", p->path, name) : ORIEL_OK;
}

static oriel_status copy_video(video_mux *m, const part *from)
{
    AVPacket *p = from->packet;
    const AVStream *st = m->out->streams[m->video];
    int code = av_bsf_send_packet(from->as_encoded, p);
    if (code < 0 || (code = av_bsf_receive_packet(from->as_encoded, p)) < 0)
        return video_ffmpeg_fail(code, "%s", from->path);
    bool strict = !(m->container->flags & AVFMT_TS_NONSTRICT);
    if (p->dts == AV_NOPTS_VALUE)
        p->dts = m->last == AV_NOPTS_VALUE ? p->pts - av_rescale_q(1, (AVRational){1, 1}, st->time_base) : m->last + strict;
    if (m->last != AV_NOPTS_VALUE && p->dts < m->last + strict)
        p->dts = m->last + strict;
    video_mux_reach(m, p);
    return video_mux_write(m, p);
}

static void note_copied(video_mux *m, const AVPacket *p)
{
    for (unsigned i = 0; i < m->in->nb_streams; i++)
        if (m->copied[i].to == p->stream_index && p->dts != AV_NOPTS_VALUE) {
            m->copied[i].last = p->dts;
            /* a duration is how far samples reach, where packets have any length */
            bool samples = av_get_exact_bits_per_sample(m->in->streams[i]->codecpar->codec_id) > 0;
            m->copied[i].skip = p->dts + (samples && p->duration > 0 ? p->duration : 1);
        }
}

/* Raw AAC loses its headers in the container, and texts in fragments their durations: their packets come
 * from the source again. */
static bool is_copied(const video_mux *m, int to)
{
    for (unsigned i = 0; m->in && i < m->in->nb_streams; i++) {
        const AVCodecParameters *par = m->in->streams[i]->codecpar;
        if (m->copied[i].to == to)
            return !(m->in->streams[i]->disposition & AV_DISPOSITION_ATTACHED_PIC) &&
                   (par->codec_id != AV_CODEC_ID_AAC || par->extradata_size) && par->codec_id != AV_CODEC_ID_MOV_TEXT;
    }
    return false;
}

static oriel_status copy_part(video_mux *m, part *p)
{
    oriel_status s = ORIEL_OK;
    for (int64_t frames = 0; !s && frames < p->frames;) {
        int code = av_read_frame(p->in, p->packet);
        if (code < 0)
            return oriel_fail(ORIEL_E_IO, "%s: %s", p->path, av_err2str(code));
        int from = p->packet->stream_index;
        bool video = from == m->video;
        if (!video && !is_copied(m, from)) {
            av_packet_unref(p->packet);
            continue;
        }
        av_packet_rescale_ts(p->packet, p->in->streams[from]->time_base, m->out->streams[from]->time_base);
        p->packet->pos = -1;
        if (!video && m->in)
            note_copied(m, p->packet);
        s = video ? copy_video(m, p) : video_mux_write(m, p->packet);
        frames += video;
        if (!s && m->bytes >= 8 << 20)
            s = video_mux_flush(m);
    }
    return s ? s : video_mux_flush(m);
}

oriel_status video_resume(video_mux *m, const char *path)
{
    part p = {.path = path, .closed = was_closed(m->container, path)};
    char *fresh = NULL;
    oriel_status s = ORIEL_OK;
    if (!video_is_mov(m->container) && !video_is_matroska(m->container))
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: a stopped run goes on in mp4, mov and matroska alone, not in %s", path,
                          m->container->name);
    if ((s = open_part(&p)) == ORIEL_E_FORMAT && is_stub(path)) {
        close_part(&p);
        return video_mux_open(m, path);
    }
    if (s || (s = check_part(m, &p)) || (s = count_frames(m, &p)))
        goto done;
    close_part(&p);
    if (!p.frames) {
        m->raise = -1;
        s = video_mux_open(m, path);
        goto done;
    }
    s = ORIEL_E_NOMEM;
    if (!(fresh = video_part_name(path)) || (s = open_part(&p)) || (s = open_form(&p, m->video)) ||
        (s = video_mux_open(m, fresh)) ||
        (s = video_mux_begin(m, m->shift + (p.first > 0))) || (s = copy_part(m, &p)))
        goto done;
    if (rename(fresh, path))
        s = oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
    m->w->done.resumed = m->w->done.frames = p.frames;
done:
    if (s && fresh)
        unlink(fresh);
    close_part(&p);
    oriel_dealloc(fresh);
    return s;
}
