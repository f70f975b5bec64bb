/* SPDX-License-Identifier: Apache-2.0 */
/* What frames of a clip become: size, planes, colour tags, and the memory that it takes. */
#ifndef TOOLS_CLIP_FORMAT_H
#define TOOLS_CLIP_FORMAT_H

#include <oriel/video.h>

#include "batch.h"

typedef struct clip_format {
    picture_plan plan; /* of one frame */
    uint64_t beside;   /* bytes of what waits in the pipeline, and of lanes but the first */
    int colours;       /* 1 or 3 */
    bool alpha;        /* is kept */
    oriel_video_info out;
    bool recoloured; /* frames get out's colour tags, not their source's */
} clip_format;

/* For `lanes` networks like n, which may get tiles: then *cut says so. */
bool clip_format_make(clip_format *f, const oriel_video_info *in, const job *j, network *n,
                      int lanes, const batch_options *b, memory_limit limit, trouble *cut,
                      trouble *why);
/* One line: with --dry-run on stdout, with --verbose or where it is much as a note. */
void clip_format_tell(const clip_format *f, const oriel_video_info *in, const job *j,
                      const batch_options *b, progress *p);

#endif
