/* SPDX-License-Identifier: Apache-2.0 */
/* The FFmpeg reader from inside: ffmpeg_read.c decodes, ffmpeg_open.c opens and describes, ffmpeg_packets.c
 * keeps what is not video, ffmpeg_frame.c makes frames of AVFrames. */
#ifndef VIDEO_FFMPEG_READ_H
#define VIDEO_FFMPEG_READ_H

#include <pthread.h>

#include <libswscale/swscale.h>

#include "video/ffmpeg.h"

/* ---- frames (ffmpeg_frame.c) -------------------------------------------------------------- */

/* What frames are brought to if they change: the first one's size, format and range. */
typedef struct ffmpeg_shape {
    int                width, height;
    enum AVPixelFormat format; /* as FFmpeg decoded it */
    oriel_pixels       pixels;
    oriel_colour       colour;
} ffmpeg_shape;

/* How a format's samples lie as planes; false: it has none here (hardware, Bayer, XYZ). */
bool ffmpeg_pixels(enum AVPixelFormat format, oriel_pixels *p);
/* ORIEL_E_UNSUPPORTED, ORIEL_E_FORMAT (an absurd size). */
oriel_status ffmpeg_shape_of(ffmpeg_shape *s, const AVFrame *f);
bool         ffmpeg_fits(const ffmpeg_shape *s, const AVFrame *f);
/* Scale and convert *f in place to what s says. ORIEL_E_UNSUPPORTED, ORIEL_E_NOMEM. */
oriel_status ffmpeg_bring(struct SwsContext **sws, const ffmpeg_shape *s, AVFrame *f);
/* Planes, size, format, colour, fields and side data; av's planes are shared where they are what oriel
 * has, else copied, and av is left empty. `stream` has side data for frames that lack it. */
oriel_status ffmpeg_frame(oriel_frame *f, AVFrame *av, const AVFrame *stream);

/* ---- the reader --------------------------------------------------------------------------- */

typedef struct ffmpeg_waiting {
    struct ffmpeg_waiting *next;
    AVPacket              *packet;
} ffmpeg_waiting;

/* Until the first frame is read all packets wait, because nobody could yet say which are wanted. */
typedef enum ffmpeg_keeping { KEEP_ALL = 0, KEEP_WANTED, KEEP_NONE } ffmpeg_keeping;

typedef struct ffmpeg_packets {
    pthread_mutex_t lock;
    ffmpeg_waiting *oldest, **end;
    ffmpeg_keeping  keeping;
    bool           *wanted; /* one a stream */
    unsigned        count;
    int64_t         from, to; /* microseconds of the container's clock; what is wholly outside is left out */
} ffmpeg_packets;

typedef struct ffmpeg_reader {
    oriel_video_reader base;
    char              *path; /* as FFmpeg takes it; NULL: bytes are read */
    video_bytes        bytes; /* its name is the clip's in messages */
    int64_t            bytes_begin; /* where in the file on stdin the clip begins; -1: a pipe */
    AVFormatContext   *input;
    AVIOContext       *io; /* of bytes */
    AVCodecContext    *decoder;
    AVPacket          *packet;
    AVFrame           *av;
    AVFrame           *side; /* side data of the stream */
    int                index;
    ffmpeg_shape       shape;
    struct SwsContext *sws;
    ffmpeg_packets     packets;
    oriel_frame        next; /* the frame that opening decoded, */
    bool               waits; /* if it has not been handed out */
    int64_t            start;         /* pts of the first frame that is handed out */
    int64_t            last, spacing; /* pts of the last frame; frame duration by the rate, 0 unknown */
    bool               key, exact;    /* of the last frame: decodes without others; its pts is the stream's */
    bool               clean;         /* nothing has been seen since a key frame that makes frames differ */
    bool               seeking, drained, told_repair, told_size;
    int                failures; /* in a row */
} ffmpeg_reader;

extern const video_reader_ops ffmpeg_reader_ops;

/* The next packet of any stream into r->packet; damage is gone past. ORIEL_EOF (ffmpeg_read.c) */
oriel_status ffmpeg_demux(ffmpeg_reader *r);

/* ffmpeg_open.c. Take the name, and b if it is not NULL, over. */
oriel_status ffmpeg_open_source(ffmpeg_reader *r, const char *path, video_bytes *b);
/* The demuxer and the decoder of the clip's video, at its beginning. */
oriel_status ffmpeg_open_input(ffmpeg_reader *r);
void         ffmpeg_close_input(ffmpeg_reader *r);
/* What is known before a frame is decoded; from the first frame; where there is none. */
oriel_status ffmpeg_describe(ffmpeg_reader *r);
void         ffmpeg_describe_frame(ffmpeg_reader *r, const oriel_frame *f);
oriel_status ffmpeg_describe_empty(ffmpeg_reader *r);

/* ffmpeg_packets.c */
/* Leave out what is outside [from, to) of a clip that begins at pts `first`. */
void         ffmpeg_packets_limit(ffmpeg_reader *r, int64_t first);
oriel_status ffmpeg_packets_init(ffmpeg_packets *q);
void         ffmpeg_packets_clear(ffmpeg_packets *q);
void         ffmpeg_packets_free(ffmpeg_packets *q);
oriel_status ffmpeg_packets_add(ffmpeg_reader *r, AVPacket *p); /* p is left empty */
void         ffmpeg_packets_begin(ffmpeg_reader *r);            /* the first frame is read */

#endif
