/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of liboriel_video share: a reader and a writer are a back end behind one face. */
#ifndef VIDEO_VIDEO_H
#define VIDEO_VIDEO_H

#include <stdatomic.h>

#include <oriel/video.h>

#include "core/internal.h"

/* ---- ownership (frame.c) ------------------------------------------------------------------ */

struct oriel_shared {
    atomic_int count;
    void (*free)(void *what);
    void *what;
};

/* Takes `what` over; NULL when memory is short, and `what` stays the caller's. */
oriel_shared *video_share(void *what, void (*free)(void *what));
oriel_shared *video_hold(oriel_shared *s); /* NULL-safe */
void          video_drop(oriel_shared **s);

/* ---- bytes (bytes.c) ---------------------------------------------------------------------- */

/* A file or stdin, read once from the front; its beginning can be looked at first. */
typedef struct video_bytes {
    int     fd;
    char    name[256]; /* for messages: the end of a long path */
    uint8_t peek[64];
    size_t  peeked, at; /* of peek: filled, handed out */
} video_bytes;

oriel_status video_bytes_open(video_bytes *b, const char *path); /* "-": stdin. ORIEL_E_IO */
/* Look at up to sizeof peek bytes. Fewer are there only at the end. ORIEL_E_IO */
oriel_status video_bytes_peek(video_bytes *b);
/* Read up to `size` bytes; *got is less only at the end. ORIEL_E_IO */
oriel_status video_bytes_read(video_bytes *b, void *to, size_t size, size_t *got);
/* Read what is there, at least a byte: a live pipe is not waited for. *got is 0 only at the end. ORIEL_E_IO */
oriel_status video_bytes_some(video_bytes *b, void *to, size_t size, size_t *got);
void         video_bytes_close(video_bytes *b);

/* ---- readers (reader.c) ------------------------------------------------------------------- */

typedef struct video_reader_ops {
    oriel_status (*read)(oriel_video_reader *r, oriel_frame *f); /* f is all zero */
    void (*free)(oriel_video_reader *r);                         /* r and all that it holds */
} video_reader_ops;

/* The first member of each back end's own struct. Back ends hand out frames from before `from` and
 * after `to` if that is simpler: the face leaves them out. */
struct oriel_video_reader {
    const video_reader_ops    *ops;
    oriel_video_reader_options opt; /* opt.raw is not kept */
    oriel_video_info           info;
    oriel_video_damage         damage;
    int64_t                    first; /* pts of the clip's first frame */
    bool                       ended, failed;
};

/* b is taken over, also on failure. */
oriel_status video_y4m_open(oriel_video_reader **out, video_bytes *b, const oriel_video_reader_options *opt);
oriel_status video_raw_open(oriel_video_reader **out, video_bytes *b, const oriel_video_reader_options *opt);
/* path as FFmpeg takes it; b: bytes to read in its place (stdin, taken over), or NULL. */
oriel_status video_ffmpeg_open(oriel_video_reader **out, const char *path, video_bytes *b,
                               const oriel_video_reader_options *opt);

/* ---- writers (writer.c) ------------------------------------------------------------------- */

typedef struct video_writer_ops {
    oriel_status (*write)(oriel_video_writer *w, const oriel_frame *f);
    oriel_status (*finish)(oriel_video_writer *w, bool complete); /* flushed, closed; named if complete */
    void (*free)(oriel_video_writer *w);
} video_writer_ops;

/* The first member of each back end's own struct. The face checks that frames fit and pts rise. */
struct oriel_video_writer {
    const video_writer_ops *ops;
    oriel_video_info        frames; /* what was announced */
    oriel_video_written     done;
    char                   *path, *part; /* part: NULL for pipes */
    char                   *notes;       /* grown by video_note() */
    int64_t                 last;        /* pts of the last frame */
    bool                    overwrite, ended, failed;
};

/* One more sentence to the writer's notes, and to the log. Out of memory loses it, no more. */
void video_note(oriel_video_writer *w, const char *format, ...) ORIEL_PRINTF(2, 3);

/* The container is "y4m" or "raw". */
oriel_status video_plain_create(oriel_video_writer **out, const char *path, const char *container,
                                const oriel_video_info *frames, const oriel_video_writer_options *opt);
oriel_status video_ffmpeg_create(oriel_video_writer **out, const char *path,
                                 const oriel_video_info *frames, const oriel_video_writer_options *opt);

/* "out.part.mp4" of "out.mp4"; to be freed. NULL and status text: out of memory. */
char *video_part_name(const char *path);
/* Whether path is "-", a pipe, a socket or a device, which is written to directly. */
bool video_is_stream(const char *path);
/* Give the complete part its name; with overwrite in place of what is there. ORIEL_E_IO */
oriel_status video_publish(const char *part, const char *path, bool overwrite);

#endif
