/* SPDX-License-Identifier: Apache-2.0 */
/* Packets of what is not video, from the demuxer to a writer that copies them. A queue under a lock: the
 * reader's thread puts in, the writer's takes out. It holds what the container interleaves between two
 * frames, plus what the frames under way between reader and writer span. */
#include <math.h>

#include "video/ffmpeg_read.h"

oriel_status ffmpeg_packets_init(ffmpeg_packets *q)
{
    q->end = &q->oldest;
    q->from = INT64_MIN;
    q->to = INT64_MAX;
    return pthread_mutex_init(&q->lock, NULL) ? oriel_fail(ORIEL_E_DEVICE, "a lock cannot be made") : ORIEL_OK;
}

/* The lock is held. */
static AVPacket *take(ffmpeg_packets *q)
{
    ffmpeg_waiting *w = q->oldest;
    if (!w)
        return NULL;
    AVPacket *p = w->packet;
    if (!(q->oldest = w->next))
        q->end = &q->oldest;
    oriel_dealloc(w);
    return p;
}

void ffmpeg_packets_clear(ffmpeg_packets *q)
{
    pthread_mutex_lock(&q->lock);
    for (AVPacket *p; (p = take(q));)
        av_packet_free(&p);
    pthread_mutex_unlock(&q->lock);
}

void ffmpeg_packets_free(ffmpeg_packets *q)
{
    ffmpeg_packets_clear(q);
    pthread_mutex_destroy(&q->lock);
    oriel_dealloc(q->wanted);
}

void ffmpeg_packets_limit(ffmpeg_reader *r, int64_t first)
{
    const int *base = r->base.info.time_base;
    const oriel_video_reader_options *opt = &r->base.opt;
    const double far = 1e12; /* seconds; microseconds of it are in range */
    int64_t begin = av_rescale_q(first, (AVRational){base[0], base[1]}, AV_TIME_BASE_Q);
    begin = oriel_max(-INT64_MAX / 4, oriel_min(begin, INT64_MAX / 4));
    if (opt->from > 0)
        r->packets.from = begin + (int64_t)(fmin(opt->from, far) * AV_TIME_BASE);
    if (opt->to > 0)
        r->packets.to = begin + (int64_t)(fmin(opt->to, far) * AV_TIME_BASE);
}

/* Wholly before `from` or after `to`? Covers have no time. */
static bool outside(const ffmpeg_reader *r, const AVPacket *p)
{
    const AVStream *st = r->input->streams[p->stream_index];
    int64_t pts = p->pts == AV_NOPTS_VALUE ? p->dts : p->pts;
    if (pts == AV_NOPTS_VALUE || st->disposition & AV_DISPOSITION_ATTACHED_PIC)
        return false;
    int64_t begin = av_rescale_q(pts, st->time_base, AV_TIME_BASE_Q);
    int64_t last = p->duration > 0 ? av_rescale_q(pts + p->duration, st->time_base, AV_TIME_BASE_Q) : begin + 1;
    return last <= r->packets.from || begin >= r->packets.to;
}

static bool wanted(const ffmpeg_packets *q, int stream)
{
    return q->keeping == KEEP_ALL ||
           (q->keeping == KEEP_WANTED && (unsigned)stream < q->count && q->wanted[stream]);
}

oriel_status ffmpeg_packets_add(ffmpeg_reader *r, AVPacket *p)
{
    ffmpeg_packets *q = &r->packets;
    oriel_status s = ORIEL_OK;
    pthread_mutex_lock(&q->lock);
    if (wanted(q, p->stream_index) && !outside(r, p)) {
        ffmpeg_waiting *w = oriel_alloc(sizeof *w);
        AVPacket *own = w ? av_packet_alloc() : NULL;
        if (own) {
            av_packet_move_ref(own, p);
            *w = (ffmpeg_waiting){.packet = own};
            *q->end = w;
            q->end = &w->next;
        } else {
            oriel_dealloc(w);
            s = video_ffmpeg_fail(AVERROR(ENOMEM), "a packet");
        }
    }
    pthread_mutex_unlock(&q->lock);
    av_packet_unref(p);
    return s;
}

/* Waiting packets that are not wanted go; the lock is held. */
static void sift(ffmpeg_packets *q)
{
    ffmpeg_waiting *w = q->oldest, *next;
    q->oldest = NULL;
    q->end = &q->oldest;
    for (; w; w = next) {
        next = w->next;
        w->next = NULL;
        if (wanted(q, w->packet->stream_index)) {
            *q->end = w;
            q->end = &w->next;
        } else {
            av_packet_free(&w->packet);
            oriel_dealloc(w);
        }
    }
}

/* From now on; the demuxer need not even look for what is not wanted. */
static void choose(ffmpeg_reader *r, ffmpeg_keeping keeping)
{
    r->packets.keeping = keeping;
    sift(&r->packets);
    for (unsigned i = 0; i < r->input->nb_streams; i++)
        if ((int)i != r->index)
            r->input->streams[i]->discard = wanted(&r->packets, (int)i) ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
}

void ffmpeg_packets_begin(ffmpeg_reader *r)
{
    pthread_mutex_lock(&r->packets.lock);
    if (r->packets.keeping == KEEP_ALL)
        choose(r, KEEP_NONE);
    pthread_mutex_unlock(&r->packets.lock);
}

/* ---- for the writer ----------------------------------------------------------------------- */

static ffmpeg_reader *own(const oriel_video_reader *r)
{
    return r && r->ops == &ffmpeg_reader_ops ? (ffmpeg_reader *)r : NULL;
}

const AVFormatContext *video_ffmpeg_input(const oriel_video_reader *r)
{
    return own(r) ? own(r)->input : NULL;
}

int video_ffmpeg_video_index(const oriel_video_reader *r)
{
    return own(r) ? own(r)->index : -1;
}

int64_t video_ffmpeg_start(const oriel_video_reader *r)
{
    const ffmpeg_reader *f = own(r);
    if (!f)
        return 0;
    AVRational base = {f->base.info.time_base[0], f->base.info.time_base[1]};
    return av_rescale_q(f->start, base, AV_TIME_BASE_Q);
}

oriel_status video_ffmpeg_keep(oriel_video_reader *r, const bool *streams)
{
    ffmpeg_reader *f = own(r);
    if (!f)
        return ORIEL_OK;
    unsigned n = f->input->nb_streams;
    bool *copy = oriel_alloc(n * sizeof *copy);
    if (!copy)
        return ORIEL_E_NOMEM;
    memcpy(copy, streams, n * sizeof *copy);
    copy[f->index] = false;
    pthread_mutex_lock(&f->packets.lock);
    oriel_dealloc(f->packets.wanted);
    f->packets.wanted = copy;
    f->packets.count = n;
    choose(f, KEEP_WANTED);
    pthread_mutex_unlock(&f->packets.lock);
    return ORIEL_OK;
}

bool video_ffmpeg_packet(oriel_video_reader *r, AVPacket *p)
{
    ffmpeg_reader *f = own(r);
    if (!f)
        return false;
    pthread_mutex_lock(&f->packets.lock);
    AVPacket *oldest;
    while ((oldest = take(&f->packets)) && outside(f, oldest)) /* `from` was not known exactly before */
        av_packet_free(&oldest);
    if (oldest)
        av_packet_move_ref(p, oldest);
    pthread_mutex_unlock(&f->packets.lock);
    bool any = oldest;
    av_packet_free(&oldest);
    return any;
}

/* Has the demuxer come so far past `to` that no packet from before it can follow? Containers interleave
 * streams to a second or so. */
static bool past_end(const ffmpeg_reader *f, const AVPacket *p)
{
    if (p->dts == AV_NOPTS_VALUE || f->packets.to == INT64_MAX)
        return false;
    return av_rescale_q(p->dts, f->input->streams[p->stream_index]->time_base, AV_TIME_BASE_Q) >
           f->packets.to + 10 * (int64_t)AV_TIME_BASE;
}

oriel_status video_ffmpeg_drain(oriel_video_reader *r)
{
    ffmpeg_reader *f = own(r);
    if (!f || f->packets.keeping != KEEP_WANTED)
        return ORIEL_OK;
    for (bool done = false; !done;) {
        oriel_status s = ffmpeg_demux(f);
        if (s)
            return s == ORIEL_EOF ? ORIEL_OK : s;
        done = past_end(f, f->packet);
        if (f->packet->stream_index == f->index)
            av_packet_unref(f->packet);
        else if ((s = ffmpeg_packets_add(f, f->packet)))
            return s;
    }
    return ORIEL_OK;
}
