/* SPDX-License-Identifier: Apache-2.0 */
/* Where FFmpeg 5 and 6.1 and later say the same thing in different words. */
#ifndef VIDEO_FFMPEG_COMPAT_H
#define VIDEO_FFMPEG_COMPAT_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <oriel/video.h>

#define FFMPEG_6_1 (LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 29, 100))

static inline bool ffmpeg_is_key(const AVFrame *f)
{
#if FFMPEG_6_1
    return f->flags & AV_FRAME_FLAG_KEY;
#else
    return f->key_frame;
#endif
}

static inline oriel_fields ffmpeg_fields(const AVFrame *f)
{
#if FFMPEG_6_1
    bool interlaced = f->flags & AV_FRAME_FLAG_INTERLACED, top = f->flags & AV_FRAME_FLAG_TOP_FIELD_FIRST;
#else
    bool interlaced = f->interlaced_frame, top = f->top_field_first;
#endif
    return !interlaced ? ORIEL_PROGRESSIVE : top ? ORIEL_TOP_FIRST : ORIEL_BOTTOM_FIRST;
}

static inline int64_t ffmpeg_duration(const AVFrame *f)
{
#if FFMPEG_6_1
    return f->duration;
#else
    return f->pkt_duration;
#endif
}

/* Side data that the container has for a whole stream; NULL: none of that type, or under `least` bytes. */
static inline const uint8_t *ffmpeg_stream_data(const AVStream *st, enum AVPacketSideDataType type, size_t least)
{
    size_t size = 0;
#if FFMPEG_6_1
    const AVPacketSideData *d =
        av_packet_side_data_get(st->codecpar->coded_side_data, st->codecpar->nb_coded_side_data, type);
    const uint8_t *data = d ? d->data : NULL;
    size = d ? d->size : 0;
#else
    const uint8_t *data = av_stream_get_side_data(st, type, &size);
#endif
    return data && size >= least ? data : NULL;
}

/* Whether av_write_frame(NULL) may be called; from FFmpeg 6 on it always may. */
static inline bool ffmpeg_may_flush(const AVOutputFormat *container)
{
#if FFMPEG_6_1
    (void)container;
    return true;
#else
    return container->flags & AVFMT_ALLOW_FLUSH;
#endif
}

#endif
