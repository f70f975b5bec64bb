/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ORIEL_VIDEO_H
#define ORIEL_VIDEO_H

/*
 * oriel/video.h - clips and streams: read frames, write frames, work on them in threads. The library
 * is liboriel_video, on FFmpeg; a build without FFmpeg still reads and writes y4m and raw frames.
 *
 *     oriel_video_reader *in = NULL;
 *     oriel_video_writer *out = NULL;
 *     oriel_frame f = {0};
 *     oriel_status s;
 *     if ((s = oriel_video_open(&in, "in.mp4", NULL)) ||
 *         (s = oriel_video_create(&out, "out.mkv", oriel_video_info_of(in),
 *                                 &(oriel_video_writer_options){.source = in})))
 *         goto done;
 *     while (!(s = oriel_video_read(in, &f)) && !(s = oriel_video_write(out, &f)))
 *         oriel_frame_free(&f);
 *     if (s == ORIEL_EOF)
 *         s = oriel_video_finish(out);
 * done:
 *     oriel_frame_free(&f);
 *     oriel_video_writer_free(&out);   // an unfinished clip stays playable under its .part name
 *     oriel_video_reader_free(&in);
 *
 * Frames are planes as they were coded: oriel does not convert what nobody asked to have converted.
 * Times are int64_t in units of the clip's time base, never rounded to a frame rate.
 *
 * Threads: a reader is used by one thread at a time, and so are a writer and a frame; a reader, and a
 * writer whose source it is, may be used by two threads at once.
 */

#include <oriel/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- frames ------------------------------------------------------------------------------- */

typedef enum oriel_pixel_model {
    ORIEL_PIXELS_YUV = 0, /* planes Y, Cb, Cr */
    ORIEL_PIXELS_GREY,    /* one plane */
    ORIEL_PIXELS_RGB      /* planes R, G, B */
} oriel_pixel_model;

/* How samples lie in planes. Packed and interleaved formats become planes when they are read. */
typedef struct oriel_pixels {
    oriel_pixel_model model;
    int  depth;            /* bits of a sample, 8 to 16; over 8 a native-endian uint16_t, low bits */
    int  shift_x, shift_y; /* YUV: log2 of the luma columns and rows that a chroma sample covers, 0 to 2 */
    bool alpha;            /* a last plane, of luma's size */
} oriel_pixels;

typedef enum oriel_range { ORIEL_RANGE_UNKNOWN = 0, ORIEL_RANGE_LIMITED, ORIEL_RANGE_FULL } oriel_range;

/* Where chroma samples lie among luma's. */
typedef enum oriel_chroma_site {
    ORIEL_CHROMA_UNKNOWN = 0, /* taken as LEFT */
    ORIEL_CHROMA_LEFT,        /* MPEG-2, H.264 */
    ORIEL_CHROMA_CENTER,      /* JPEG, MPEG-1 */
    ORIEL_CHROMA_TOPLEFT      /* BT.2020 */
} oriel_chroma_site;

/* Tags as in the stream: code points of ITU-T H.273, 0 and 2 for what nobody said. */
typedef struct oriel_colour {
    int               primaries, transfer, matrix;
    oriel_range       range;
    oriel_chroma_site site;
} oriel_colour;

typedef enum oriel_fields { ORIEL_PROGRESSIVE = 0, ORIEL_TOP_FIRST, ORIEL_BOTTOM_FIRST } oriel_fields;

enum { ORIEL_PLANES = 4 };
#define ORIEL_NO_TIME INT64_MIN

typedef struct oriel_shared oriel_shared; /* counted ownership; opaque */

typedef struct oriel_frame {
    int           width, height; /* pixels, from 1 */
    oriel_pixels  pixels;
    oriel_colour  colour;
    int           aspect[2]; /* of a pixel, width : height; 0 : 0 unknown */
    oriel_fields  fields;
    int64_t       pts, duration; /* in time bases; ORIEL_NO_TIME; 0 where a duration is unknown */
    uint8_t      *plane[ORIEL_PLANES];
    ptrdiff_t     stride[ORIEL_PLANES]; /* bytes from row to row */
    oriel_shared *owner; /* of the planes; NULL: the caller's memory */
    oriel_shared *extra; /* side data (HDR, captions), or NULL */
} oriel_frame;

/* A frame of its own memory, rows on 64 bytes, not cleared; what *f held is forgotten. Everything
 * beside width, height, pixels and planes is zero, pts ORIEL_NO_TIME. ORIEL_E_ARG, ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_frame_new(oriel_frame *f, int width, int height,
                                                        oriel_pixels pixels);
ORIEL_API void oriel_frame_free(oriel_frame *f); /* NULL-safe; leaves *f all zero */
/* A second hold on the same planes and side data; both are to be freed. */
ORIEL_API oriel_frame oriel_frame_hold(const oriel_frame *f);
/* What is beside the pixels: colour, aspect, fields, times and side data. */
ORIEL_API void oriel_frame_copy_tags(oriel_frame *dst, const oriel_frame *src);
/* The number of planes, and one plane's size in samples. */
ORIEL_API int  oriel_pixels_planes(oriel_pixels p);
ORIEL_API void oriel_frame_plane_size(const oriel_frame *f, int plane, int *width, int *height);
/* Whether all samples are equal (formats, too); tags are not looked at. */
ORIEL_API bool oriel_frame_same(const oriel_frame *a, const oriel_frame *b);
/* Whether width, height, depth, shifts and model can be a frame's. ORIEL_E_ARG says what cannot. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_frame_check(int width, int height, oriel_pixels p);

/* FFmpeg's names: "yuv420p", "yuv444p10", "gray", "gbrp12", ...; planar formats alone.
 * oriel_pixels_named() returns false for others. */
ORIEL_API bool        oriel_pixels_named(oriel_pixels *p, const char *name);
ORIEL_API const char *oriel_pixels_name(oriel_pixels p, char *buf, size_t size); /* 24 bytes suffice */

/* The frame as RGB, f32 (Y, X, 3) of any strides, nominal black 0 and white 1 (values outside stay), by its
 * matrix and range; chroma by linear interpolation at its site (twice by halves where four rows or columns
 * share a sample), fields taken as one picture. (Y, X, 1): luma alone, of RGB BT.709's. (Y, X, 4): alpha
 * last, 1 where the frame has none. A matrix that is unknown is BT.601 under 720 rows, else BT.709; an
 * unknown range limited for YUV and grey, full for RGB. ORIEL_E_ARG (shapes differ), ORIEL_E_NOMEM,
 * ORIEL_E_UNSUPPORTED (matrices other than 1 and 4 to 9: BT.2020 constant luminance, ICtCp and such are no
 * linear functions of gamma-coded RGB). */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_frame_to_tensor(const oriel_frame *f, oriel_tensor dst);
/* And back: f's planes from RGB of f's size by f's colour, rounded to nearest, clamped to what the
 * depth holds; chroma by the filter that undoes to_tensor's interpolation, so that there and back loses
 * rounding alone. (Y, X, 1): equal colours. NaN is 0. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_frame_from_tensor(oriel_frame *f, oriel_tensor src);
/* What to_tensor and from_tensor take for what is unknown in f: all fields known. */
ORIEL_API oriel_colour oriel_frame_colour(const oriel_frame *f);

/* ---- reading ------------------------------------------------------------------------------ */

/* What a clip is. Of a writer's frames to come: width to rate, the rest may be zero. */
typedef struct oriel_video_info {
    int          width, height;
    oriel_pixels pixels;
    oriel_colour colour;
    int          aspect[2];    /* of a pixel; 0 : 0 unknown */
    oriel_fields fields;
    int          time_base[2]; /* seconds a unit of pts: numerator, denominator */
    int          rate[2];      /* frames a second on average: numerator, denominator; 0, 0 unknown */
    bool         variable;     /* the container says that frames are not evenly spaced */
    int          rotation;     /* degrees clockwise for display: 0, 90, 180, 270 */
    int64_t      frames;       /* as the container says or implies; 0 unknown */
    double       seconds;      /* 0 unknown */
    char         container[32], codec[32];
    int          audio, subtitles, attachments, data, chapters; /* how many beside the video */
    bool         hdr;          /* mastering display or content light level is present */
} oriel_video_info;

/* What went wrong and was gone past. */
typedef struct oriel_video_damage {
    int64_t packets; /* that could not be decoded, were cut short, or are beyond the file's end */
    int64_t frames;  /* decoded with errors; they are handed out */
    int64_t resized; /* of another size or format than the first, brought to it */
} oriel_video_damage;

typedef struct oriel_video_reader oriel_video_reader;

typedef struct oriel_video_reader_options {
    double      from, to; /* seconds from the clip's first frame: [from, to); to 0: the end */
    const char *raw;      /* frames without any header: "WxH:pix_fmt:fps", "1920x1080:nv12:30000/1001" */
    int         threads;  /* of the decoder; 0: as it likes */
    bool        strict;   /* damage ends the reading with ORIEL_E_FORMAT */
} oriel_video_reader_options;

/* Open a clip: "-" is stdin; y4m; what else FFmpeg opens. ORIEL_E_ARG, ORIEL_E_IO, ORIEL_E_FORMAT (no
 * video stream, no clip at all), ORIEL_E_UNSUPPORTED (needs FFmpeg; a codec that this FFmpeg lacks),
 * ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_video_open(oriel_video_reader **out, const char *path,
                                                         const oriel_video_reader_options *opt);
ORIEL_API const oriel_video_info *oriel_video_info_of(const oriel_video_reader *r);
/* The next frame in order of display; pts rises. What *f held is forgotten. All frames are of info's size
 * and format. Planes may be the decoder's, which predicts from them: do not write to them. ORIEL_EOF after
 * the last. After any other error: ORIEL_E_IO again. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_video_read(oriel_video_reader *r, oriel_frame *f);
ORIEL_API oriel_video_damage oriel_video_damage_of(const oriel_video_reader *r);
ORIEL_API void               oriel_video_reader_free(oriel_video_reader **r);

/* ---- writing ------------------------------------------------------------------------------ */

typedef struct oriel_video_writer oriel_video_writer;

typedef struct oriel_video_writer_options {
    const char *container; /* "mp4", "matroska", "y4m", "raw", ...; NULL: by the path's name, y4m for "-" */
    const char *codec;     /* "libx264", "ffv1", ...; NULL: H.264 if FFmpeg can, else what it can (see notes) */
    const char *preset;    /* the codec's; NULL: its own default */
    double      crf;       /* constant quality of the codec; 0: 17 for H.264, the like for others. 0.001 is lossless with libx264 */
    const char *pix_fmt;   /* NULL: the frames' own, or the nearest that the codec takes (see notes) */
    int         threads;   /* of the encoder; 0: as it likes */
    bool        overwrite; /* else an existing path is ORIEL_E_IO */
    bool        resume;    /* go on from the .part file of a stopped run, if there is one */
    bool        no_audio, no_subtitles;
    oriel_video_reader *source; /* audio, subtitles, chapters, attachments and metadata are copied from it;
                                   to be made a source before its first frame is read, and to live until the writer has ended */
} oriel_video_writer_options;

/* Begin a clip. While it is written it is PATH with ".part" before the extension ("out.part.mp4"),
 * playable at any time; oriel_video_finish() gives it its name. "-" is stdout, pipes and devices are
 * written to directly: y4m and raw frames, and what containers can be written without seeking.
 * ORIEL_E_ARG, ORIEL_E_IO (exists, cannot be written), ORIEL_E_UNSUPPORTED (container or codec not in
 * this build, format that no codec takes), ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_video_create(oriel_video_writer **out, const char *path,
                                                           const oriel_video_info *frames,
                                                           const oriel_video_writer_options *opt);
/* Frames in order; pts in frames->time_base must rise. ORIEL_E_ARG (another size or format, pts that
 * does not rise), ORIEL_E_IO (disk full, reader of the pipe gone), ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_video_write(oriel_video_writer *w, const oriel_frame *f);
/* The clip is complete: it gets its name. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_video_finish(oriel_video_writer *w);
/* The clip ends here unfinished: all frames written so far are in the .part file, which plays, and
 * from which a later run may go on. oriel_video_writer_free() does this where finish was not called. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_video_stop(oriel_video_writer *w);
ORIEL_API void oriel_video_writer_free(oriel_video_writer **w);

typedef struct oriel_video_written {
    int64_t     resumed;  /* frames that the .part file had: skip as many of the source */
    int64_t     frames;   /* written, the resumed ones included */
    char        container[32], codec[32], pix_fmt[24]; /* as chosen */
    const char *part;     /* the name while it is unfinished; "" for pipes */
    const char *notes;    /* sentences for people, one a line: what was chosen otherwise than asked, what
                             streams could not be copied; "" if none. Complete once finished. */
} oriel_video_written;
/* Strings are the writer's and change with it. */
ORIEL_API oriel_video_written oriel_video_written_of(const oriel_video_writer *w);

/* "FFmpeg 5.1.9: libx264, ffv1, ..." or how to get it: for people. Never NULL. */
ORIEL_API const char *oriel_video_backend(void);
ORIEL_API bool        oriel_video_has_ffmpeg(void);

/* ---- the pipeline ------------------------------------------------------------------------- */

/* A stage takes *item and leaves another, or itself, or NULL where the item goes no further. The first
 * stage finds NULL and makes items until it returns ORIEL_EOF. Each stage runs on one thread of its own,
 * items in order. What a stage leaves when it returns anything but ORIEL_OK is dropped, and so is what
 * the last stage leaves. */
typedef oriel_status oriel_stage_fn(void *user, void **item);

typedef struct oriel_stage {
    const char     *name;
    oriel_stage_fn *run;
    void           *user;
    int             queue; /* items that may wait before this stage (not the first), 1 to 64; 0: 2 */
} oriel_stage;

typedef struct oriel_stage_times {
    double  busy, starved, blocked; /* seconds: in run, waiting for an item, for room behind it */
    int64_t items;                  /* taken, of the first made */
} oriel_stage_times;

enum { ORIEL_PIPELINE_STAGES = 16 };

/* Run stages[0] .. stages[count - 1] until the first says ORIEL_EOF and all that it made has passed, or
 * a stage fails: then the others end after the item in hand, and the first failure's status and text
 * are returned (ORIEL_EOF too, of a later stage that has enough). To stop in good order, the first
 * stage returns ORIEL_EOF early. No more items are under way than stages and places in queues.
 * drop(user, item), called on the caller's thread, frees what goes no further; NULL: nothing needs it.
 * The last stage runs on the caller's thread. times: one a stage, or NULL.
 * ORIEL_E_ARG, ORIEL_E_DEVICE (no thread), or a stage's. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_pipeline_run(const oriel_stage *stages, int count,
                                                           void (*drop)(void *user, void *item),
                                                           void *user, oriel_stage_times *times);

#ifdef __cplusplus
}
#endif
#endif
