/* SPDX-License-Identifier: Apache-2.0 */
/* What the FFmpeg writer takes from an FFmpeg reader: its streams, and the packets of those that are
 * copied. */
#ifndef VIDEO_FFMPEG_H
#define VIDEO_FFMPEG_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include "video/video.h"

/* The demuxer's context, for streams, chapters and metadata: constant once open. NULL: the reader has
 * another back end. */
const AVFormatContext *video_ffmpeg_input(const oriel_video_reader *r);
int video_ffmpeg_video_index(const oriel_video_reader *r); /* of the stream that is decoded */
/* The time of the first frame that is handed out, in microseconds of the container's clock; what is copied
 * moves by as much as frames do. */
int64_t video_ffmpeg_start(const oriel_video_reader *r);

/* Queue the packets of these streams (wanted[i] for stream i), from the beginning of what is read: to be called
 * before the first frame is read. Without it none is kept. Packets wholly before `from` or after `to` are
 * left out; what began before the key frame that decoding begins at may be, too (a long subtitle). */
oriel_status video_ffmpeg_keep(oriel_video_reader *r, const bool *wanted);
/* Move the oldest waiting packet to p; false: none waits. At any time, from any thread. */
bool video_ffmpeg_packet(oriel_video_reader *r, AVPacket *p);
/* Queue what the demuxer still has of wanted streams after the last frame (audio that is longer); no other
 * thread may read then. */
oriel_status video_ffmpeg_drain(oriel_video_reader *r);

/* An AVFrame with nothing but side data (HDR, captions, timecode) of a frame that was read; NULL: none. */
const AVFrame *video_ffmpeg_extra(const oriel_frame *f);

/* ---- both (ffmpeg.c) ---------------------------------------------------------------------- */

/* Set the error text from FFmpeg's code, "WHAT: text", and choose the status. */
oriel_status video_ffmpeg_fail(int code, const char *format, ...) ORIEL_PRINTF(2, 3);
/* Send FFmpeg's messages to oriel's log: its errors as information, its warnings to debug. Once a process. */
void video_ffmpeg_log(void);
enum AVPixelFormat video_ffmpeg_format(oriel_pixels p); /* AV_PIX_FMT_NONE: FFmpeg has none */

#endif
