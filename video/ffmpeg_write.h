/* SPDX-License-Identifier: Apache-2.0 */
/* The FFmpeg writer in its parts: an encoder makes packets of frames, a mux puts them into a file beside
 * what is copied from the source, resuming carries a part file over. */
#ifndef VIDEO_FFMPEG_WRITE_H
#define VIDEO_FFMPEG_WRITE_H

#include <libavcodec/bsf.h>
#include <libswscale/swscale.h>

#include "video/ffmpeg.h"

/* ---- formats (ffmpeg_format.c) ------------------------------------------------------------ */

/* The formats of list (ended by AV_PIX_FMT_NONE) that can stand for p, the one that loses least first:
 * depth before chroma, and no more bits than needed. Returns how many are in ranked[room]. */
int video_rank_formats(const enum AVPixelFormat *list, oriel_pixels p, enum AVPixelFormat *ranked, int room);
/* The codec's formats; NULL: it does not say. */
const enum AVPixelFormat *video_codec_formats(const AVCodec *codec);
/* Whether chroma covers the picture without a rest. */
bool video_format_divides(enum AVPixelFormat format, int width, int height);
/* An AVFrame on f's planes, held as long as the AVFrame lives; without an owner they must outlive it.
 * ORIEL_E_NOMEM */
oriel_status video_wrap_frame(AVFrame *to, const oriel_frame *f, enum AVPixelFormat format);

/* Another format of the same size, by swscale: matrix and range as tagged on both sides. */
typedef struct video_convert {
    struct SwsContext *sws;
    AVFrame           *frame;
} video_convert;

oriel_status video_convert_open(video_convert *c, const oriel_video_info *from, enum AVPixelFormat of,
                                enum AVPixelFormat to, oriel_colour colour);
oriel_status video_convert_run(video_convert *c, const AVFrame *from); /* into c->frame */
void         video_convert_close(video_convert *c);

/* ---- the encoder (ffmpeg_encode.c) -------------------------------------------------------- */

typedef struct video_time {
    int64_t sent, pts, duration; /* what the encoder was told, what it was; duration 0: unknown */
    bool    out;                 /* its packet has come out */
} video_time;

typedef struct video_encoder {
    const AVCodec     *codec;
    AVCodecContext    *context;
    enum AVPixelFormat format; /* what the frames are */
    oriel_colour       colour; /* as tagged, of what is encoded */
    video_convert      convert;
    AVFrame           *frame;
    AVPacket          *packet;
    video_time        *times; /* of the last frames, in order */
    int                known, room;
    bool               evenly; /* the clip's rate is fixed, and the codec is told so: ticks, not times */
    bool               counts; /* the codec knows no other than a fixed rate: every frame is a tick */
    int64_t            first, frames, tick; /* pts of the first frame; frames, and the last one's tick */
    AVRational         base;   /* of pts */
    char               settings[192]; /* that a resumed run must share */
} video_encoder;

/* Packets as they come, times in frames->time_base. */
typedef oriel_status video_packet_fn(void *user, AVPacket *p);

/* w: notes, and done.codec, done.pix_fmt. hdr: side data that the stream announces, or NULL. */
oriel_status video_encoder_open(video_encoder *e, oriel_video_writer *w, const AVOutputFormat *container,
                                const oriel_video_info *frames, const oriel_video_writer_options *opt,
                                const AVFrame *hdr);
/* f NULL: the end; the packets that are still inside come out. */
oriel_status video_encoder_write(video_encoder *e, const oriel_frame *f, video_packet_fn *out, void *user);
void         video_encoder_close(video_encoder *e);

/* ---- codecs (ffmpeg_codec.c) -------------------------------------------------------------- */

/* By name, or what container takes. ORIEL_E_UNSUPPORTED, ORIEL_E_ARG (no video codec) */
oriel_status video_choose_codec(const AVCodec **out, oriel_video_writer *w, const AVOutputFormat *container,
                                const char *name);
/* Quality, preset and what the codec needs to be told, before it is opened. text: for settings. */
oriel_status video_codec_options(AVCodecContext *c, AVDictionary **options, oriel_video_writer *w,
                                 const oriel_video_writer_options *opt, const AVFrame *hdr);
/* What speaks against this container: 1 takes it, 0 does not, -1 unknown */
int video_container_takes(const AVOutputFormat *container, enum AVCodecID id);

/* ---- the file (ffmpeg_mux.c, ffmpeg_layout.c) ----------------------------------------------- */

typedef struct video_copied {
    int     to;   /* stream of the output, -1: not copied */
    int64_t last; /* dts of the last packet written, AV_NOPTS_VALUE before the first */
    int64_t skip; /* what ends by then is in the part already; AV_NOPTS_VALUE: nothing */
    AVBSFContext *plain; /* AAC from MPEG-TS has a header in each packet; other containers have one for all */
    bool    noted;
} video_copied;

typedef struct video_stream {
    int64_t packets, duration; /* written; of the last one */
} video_stream;

typedef struct video_mux {
    oriel_video_writer    *w;
    const oriel_video_info *info;
    const AVOutputFormat  *container;
    const AVCodecContext  *encoder;
    const char            *settings;
    oriel_video_reader    *source; /* NULL: none, or not FFmpeg's */
    const AVFormatContext *in;     /* of source */
    const AVFrame         *hdr;    /* side data of the video, or NULL */
    AVFormatContext       *out;
    int                    fd;      /* of a pipe, else -1 */
    int                    video;   /* stream of the output */
    int64_t                shift;   /* of frames: subtracted, in their time base */
    int64_t                raise;   /* added to all times, microseconds: audio may begin before the video */
    video_copied          *copied;  /* one a stream of the source */
    int                    streams; /* of the output */
    video_stream          *written; /* one a stream of the output */
    AVPacket             **waiting; /* copied packets that are ahead of the video */
    int                    waits, room;
    AVPacket              *packet;
    bool                   piped, begun, broken, dirty;
    int64_t                last;    /* dts of video in its stream's time base */
    int64_t                end, tail; /* of the video so far, the same; pts of the frame that ends there */
    bool                   late;    /* a stream begins after the clip */
    int64_t                flushed, opened; /* when, microseconds */
    int64_t                bytes;   /* since the last flush */
} video_mux;

/* mp4, mov and their like: fragments while written, laid out afresh when complete. */
bool video_is_mov(const AVOutputFormat *container);
bool video_is_matroska(const AVOutputFormat *container);
/* Which streams of the source go where, with notes about those that stay behind. */
oriel_status video_mux_plan(video_mux *m, const oriel_video_writer_options *opt);
/* A context with the streams, chapters and metadata; codecs as in part, or NULL. (ffmpeg_layout.c) */
oriel_status video_layout(const video_mux *m, AVFormatContext **out, const AVFormatContext *part);
/* The container's options for a part file or pipe, or for a complete one. */
oriel_status video_layout_options(const video_mux *m, AVDictionary **options, bool part);
oriel_status video_write_covers(const video_mux *m, AVFormatContext *out);
/* Copy the complete part into path, the index in front. */
oriel_status video_layout_again(video_mux *m, const char *part, const char *path);

oriel_status video_mux_open(video_mux *m, const char *path);
/* The header; what waits, and the first frame's time in its own base, say where times begin. */
oriel_status video_mux_begin(video_mux *m, int64_t pts);
oriel_status video_mux_packet(video_mux *m, AVPacket *p); /* of video, times in the frames' base */
/* p as the container has it, of stream p->stream_index; p is left empty */
oriel_status video_mux_write(video_mux *m, AVPacket *p);
void video_mux_reach(video_mux *m, const AVPacket *p); /* a packet of video is the last so far */
oriel_status video_mux_flush(video_mux *m);
/* Write what waits (all, or what is not later than the video), then what ends the file; close. */
oriel_status video_mux_end(video_mux *m, bool complete);
void         video_mux_close(video_mux *m);
oriel_status video_io_fail(int code, const char *path);
/* "file:PATH", for av_free() */
char *video_url(const char *path);

/* ---- going on (ffmpeg_resume.c) ------------------------------------------------------------- */

/* Copy what is complete in the part file at `path` into a fresh one that takes its place; w->done.resumed
 * and frames count its frames. */
oriel_status video_resume(video_mux *m, const char *path);

#endif
