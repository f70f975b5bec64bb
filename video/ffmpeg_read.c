/* SPDX-License-Identifier: Apache-2.0 */
/* The FFmpeg reader: packets to frames with times that rise, past damage, from any moment of the clip. */
#include <math.h>

#include <libavutil/time.h>

#include "video/ffmpeg_compat.h"
#include "video/ffmpeg_read.h"

/* ---- damage ------------------------------------------------------------------------------- */

/* What was gone past to get to a frame that nobody asked for is not counted. */
static oriel_status damaged(ffmpeg_reader *r, int64_t *count, const char *what)
{
    if (r->seeking)
        r->clean = false;
    else if (r->base.opt.strict)
        return oriel_fail(ORIEL_E_FORMAT, "%s: %s", r->bytes.name, what);
    else
        ++*count;
    return ORIEL_OK;
}

/* A packet that FFmpeg cannot read or decode. Far too many in a row are the end: nothing may come again. */
static oriel_status undecoded(ffmpeg_reader *r, int e, const char *what)
{
    enum { HOPELESS = 256 };
    if (e == AVERROR(ENOMEM))
        return video_ffmpeg_fail(e, "%s", r->bytes.name);
    oriel_status s = damaged(r, &r->base.damage.packets, what);
    return s ? s : ++r->failures > HOPELESS ? ORIEL_EOF : ORIEL_OK;
}

/* Packets of the video that an index of all of them says lie beyond the file's end. */
static oriel_status count_missing(ffmpeg_reader *r)
{
    AVStream *st = r->input->streams[r->index];
    int n = avformat_index_get_entries_count(st);
    int64_t size = r->input->pb ? avio_size(r->input->pb) : 0;
    for (int i = 0; i < n && n == st->nb_frames && size > 0; i++)
        if (avformat_index_get_entry(st, i)->pos >= size &&
            damaged(r, &r->base.damage.packets, "the file ends before the clip"))
            return ORIEL_E_FORMAT;
    return ORIEL_OK;
}

/* ---- packets ------------------------------------------------------------------------------ */

oriel_status ffmpeg_demux(ffmpeg_reader *r)
{
    for (int e; (e = av_read_frame(r->input, r->packet)) < 0;) {
        const AVIOContext *io = r->input->pb;
        if (io && io->error < 0 && io->error != AVERROR_EOF)
            return video_ffmpeg_fail(io->error, "%s", r->bytes.name);
        if (e == AVERROR_EOF)
            return ORIEL_EOF;
        if (e == AVERROR(EAGAIN)) {
            av_usleep(1000);
            continue;
        }
        if (!io && e == AVERROR(EIO))
            return video_ffmpeg_fail(e, "%s", r->bytes.name);
        oriel_status s = undecoded(r, e, "a packet that cannot be read");
        if (s)
            return s;
    }
    return ORIEL_OK;
}

/* The next packet of the video into r->packet. */
static oriel_status video_packet(ffmpeg_reader *r)
{
    oriel_status s;
    while (!(s = ffmpeg_demux(r)) && r->packet->stream_index != r->index)
        if ((s = ffmpeg_packets_add(r, r->packet)))
            return s;
    if (!s && r->packet->flags & AV_PKT_FLAG_CORRUPT)
        s = damaged(r, &r->base.damage.packets, "a packet that is cut short");
    return s;
}

/* The decoder's next frame into r->av. */
static oriel_status decode(ffmpeg_reader *r)
{
    int e;
    while ((e = avcodec_receive_frame(r->decoder, r->av)) < 0) {
        oriel_status s = ORIEL_OK;
        if (e == AVERROR_EOF || (e == AVERROR(EAGAIN) && r->drained))
            return ORIEL_EOF;
        if (e == AVERROR(EAGAIN)) {
            s = video_packet(r);
            r->drained = s == ORIEL_EOF;
            if (r->drained)
                s = count_missing(r);
            if (s)
                return s;
            e = avcodec_send_packet(r->decoder, r->drained ? NULL : r->packet);
            av_packet_unref(r->packet);
        }
        s = e < 0 ? undecoded(r, e, "a packet that cannot be decoded") : ORIEL_OK;
        if (s)
            return s;
    }
    r->failures = 0;
    return ORIEL_OK;
}

/* ---- frames ------------------------------------------------------------------------------- */

/* Times: the container's; what it does not say from the frame before; what does not rise, next to it. */
static void set_times(ffmpeg_reader *r, oriel_frame *f, int64_t pts, int64_t duration)
{
    const int64_t far = INT64_MAX / 4; /* keeps sums and differences of times in range */
    bool known = pts != AV_NOPTS_VALUE && pts > -far && pts < far;
    f->duration = duration > 0 && duration < INT32_MAX ? duration : r->spacing;
    if (!known)
        pts = r->last == ORIEL_NO_TIME ? 0 : r->last + (r->spacing ? r->spacing : 1);
    if (r->last != ORIEL_NO_TIME && pts <= r->last) {
        if (!r->told_repair)
            oriel_logf(ORIEL_LOG_INFO, "%s: a frame's time does not rise: it and others like it are put right after the frame before",
                       r->bytes.name);
        r->told_repair = true;
        pts = r->last + 1;
        known = false;
    }
    r->exact = known;
    r->last = f->pts = pts;
}

static oriel_status next_frame(ffmpeg_reader *r, oriel_frame *f)
{
    oriel_status s = decode(r);
    AVFrame *av = r->av;
    if (s)
        return s;
    int64_t pts = av->best_effort_timestamp, duration = ffmpeg_duration(av);
    AVRational aspect = av_guess_sample_aspect_ratio(r->input, r->input->streams[r->index], av);
    r->key = ffmpeg_is_key(av) && av->pts != AV_NOPTS_VALUE;
    if (av->decode_error_flags || av->flags & AV_FRAME_FLAG_CORRUPT) {
        s = damaged(r, &r->base.damage.frames, "a frame decoded with errors");
        r->key = false;
    }
    if (!s && !r->shape.width)
        s = ffmpeg_shape_of(&r->shape, av);
    else if (!s && !ffmpeg_fits(&r->shape, av)) {
        if (!r->told_size)
            oriel_logf(ORIEL_LOG_WARN, "%s: frames change to %d x %d; they are brought to the first one's %d x %d",
                       r->bytes.name, av->width, av->height, r->shape.width, r->shape.height);
        r->told_size = true;
        if (!(s = damaged(r, &r->base.damage.resized, "frames change their size or format")))
            s = ffmpeg_bring(&r->sws, &r->shape, av);
    }
    if (!s)
        s = ffmpeg_frame(f, av, r->side);
    av_frame_unref(av);
    if (s)
        return s;
    f->aspect[0] = aspect.num > 0 && aspect.den > 0 ? aspect.num : 0;
    f->aspect[1] = f->aspect[0] ? aspect.den : 0;
    set_times(r, f, pts, duration);
    return ORIEL_OK;
}

/* ---- from any moment ---------------------------------------------------------------------- */

/* Decode up to the first frame that is asked for, which then waits. r->clean: it cannot differ from what
 * decoding from the clip's beginning gives, because a frame that stands alone came first, with the
 * container's own times, and no error since. */
static oriel_status advance(ffmpeg_reader *r, int64_t from)
{
    oriel_status s = ORIEL_OK;
    bool begun = false;
    r->clean = true;
    for (; !r->waits; r->waits = r->next.pts >= from) {
        oriel_frame_free(&r->next);
        if ((s = next_frame(r, &r->next)))
            break;
        if (!begun) /* errors before a frame that stands alone are of no consequence */
            r->clean = begun = r->key && r->next.pts <= from;
        r->clean = r->clean && r->exact;
    }
    r->clean = r->clean && begun;
    return s == ORIEL_EOF ? ORIEL_OK : s;
}

static void forget(ffmpeg_reader *r)
{
    oriel_frame_free(&r->next);
    r->waits = false;
    r->last = ORIEL_NO_TIME;
    r->drained = false;
    r->failures = 0;
    ffmpeg_packets_clear(&r->packets);
}

static oriel_status try_from(ffmpeg_reader *r, int64_t pts, int64_t from)
{
    r->clean = false;
    if (avformat_seek_file(r->input, r->index, INT64_MIN, pts, pts, 0) < 0)
        return ORIEL_OK;
    avcodec_flush_buffers(r->decoder);
    forget(r);
    return advance(r, from);
}

/* Decode from a key frame before `from`; where that does not give what decoding the whole clip would, from
 * an earlier one; then from the beginning. */
static oriel_status go_to(ffmpeg_reader *r, int64_t from)
{
    const int *base = r->base.info.time_base;
    const AVIOContext *io = r->input->pb;
    oriel_status s = ORIEL_OK;
    r->waits = false;
    if (!io || !(io->seekable & AVIO_SEEKABLE_NORMAL) || r->input->iformat->flags & AVFMT_NOTIMESTAMPS)
        return advance(r, from);
    r->clean = false;
    for (int back = 0; back <= 10 && !s && !r->clean; back += 10)
        s = try_from(r, from - av_rescale(back, base[1], base[0]), from);
    if (s || r->clean)
        return s;
    ffmpeg_close_input(r);
    forget(r);
    s = ffmpeg_open_input(r);
    return s ? s : advance(r, from);
}

/* The least pts that the face does not take for one before `from`. */
static int64_t pts_of_from(const ffmpeg_reader *r)
{
    const int *base = r->base.info.time_base;
    double units = ceil((r->base.opt.from - 1e-9) * base[1] / base[0]);
    return units < (double)(INT64_MAX / 4) ? r->base.first + (int64_t)units : INT64_MAX / 2;
}

/* ---- the reader --------------------------------------------------------------------------- */

static oriel_status read_frame(oriel_video_reader *base, oriel_frame *f)
{
    ffmpeg_reader *r = (ffmpeg_reader *)base;
    ffmpeg_packets_begin(r);
    if (!r->waits)
        return next_frame(r, f);
    *f = r->next;
    r->next = (oriel_frame){0};
    r->waits = false;
    return ORIEL_OK;
}

static void free_reader(oriel_video_reader *base)
{
    ffmpeg_reader *r = (ffmpeg_reader *)base;
    oriel_frame_free(&r->next);
    ffmpeg_packets_free(&r->packets);
    ffmpeg_close_input(r);
    sws_freeContext(r->sws);
    av_packet_free(&r->packet);
    av_frame_free(&r->av);
    av_frame_free(&r->side);
    video_bytes_close(&r->bytes);
    oriel_dealloc(r->path);
    oriel_dealloc(r);
}

const video_reader_ops ffmpeg_reader_ops = {read_frame, free_reader};

/* The clip's first frame is decoded here: only it says what frames will be like. */
static oriel_status begin(ffmpeg_reader *r)
{
    oriel_status s = ffmpeg_open_input(r);
    if (s)
        return s;
    ffmpeg_describe(r);
    s = next_frame(r, &r->next);
    if (s == ORIEL_EOF)
        return ffmpeg_describe_empty(r);
    if (s)
        return s;
    r->waits = true;
    r->base.first = r->next.pts;
    ffmpeg_describe_frame(r, &r->next);
    ffmpeg_packets_limit(r, r->base.first);
    r->seeking = r->next.pts < pts_of_from(r);
    if (r->seeking)
        s = go_to(r, pts_of_from(r));
    r->seeking = false;
    r->start = r->waits ? r->next.pts : r->base.first;
    return s;
}

oriel_status video_ffmpeg_open(oriel_video_reader **out, const char *path, video_bytes *b,
                               const oriel_video_reader_options *opt)
{
    ffmpeg_reader *r = oriel_alloc_zero(1, sizeof *r);
    oriel_status s = ORIEL_E_NOMEM;
    video_ffmpeg_log();
    if (!r || (s = ffmpeg_packets_init(&r->packets))) {
        if (b)
            video_bytes_close(b);
        oriel_dealloc(r);
        return s;
    }
    r->base.ops = &ffmpeg_reader_ops;
    r->base.opt = *opt;
    r->last = ORIEL_NO_TIME;
    s = ffmpeg_open_source(r, path, b);
    if (!s)
        s = begin(r);
    if (s)
        free_reader(&r->base);
    else
        *out = &r->base;
    return s;
}
