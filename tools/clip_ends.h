/* SPDX-License-Identifier: Apache-2.0 */
/* Where the frames of a clip come from and go to: a clip, or pictures. */
#ifndef TOOLS_CLIP_ENDS_H
#define TOOLS_CLIP_ENDS_H

#include <oriel/video.h>

#include "batch.h"

typedef struct clip_source {
    oriel_video_reader *reader; /* NULL: pictures */
    const names *series;
    int next; /* picture */
    oriel_video_info info;
} clip_source;

bool clip_source_open(clip_source *s, const job *j, const batch_options *b, trouble *why);
/* The next frame; ORIEL_EOF after the last. */
oriel_status clip_source_read(clip_source *s, oriel_frame *f);
oriel_video_damage clip_source_damage(const clip_source *s);
void clip_source_close(clip_source *s);

typedef struct clip_sink {
    oriel_video_writer *writer; /* NULL: pictures */
    const char *out;
    oriel_image_format format; /* of pictures */
    int compression;
    bool overwrite;
    int64_t resumed, frames; /* that an earlier run wrote; all, those included */
} clip_sink;

/* Whether the clip becomes pictures. */
bool clip_becomes_pictures(const job *j);
/* frames: what will be written. */
bool clip_sink_open(clip_sink *s, const job *j, const clip_source *source,
                    const oriel_video_info *frames, const batch_options *b, trouble *why);
oriel_status clip_sink_write(clip_sink *s, const oriel_frame *f);
/* complete: under its name; else what is written so far stays where another run can go on. */
oriel_status clip_sink_end(clip_sink *s, bool complete);
void clip_sink_close(clip_sink *s);

#endif
