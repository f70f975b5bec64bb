/* SPDX-License-Identifier: Apache-2.0 */
/* Clips that tests of video make with the ffmpeg command, in a folder that goes at the end. */
#ifndef TESTS_VIDEO_CLIPS_H
#define TESTS_VIDEO_CLIPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <oriel/video.h>

bool        clips_begin(void); /* false: there is no ffmpeg command */
void        clips_end(void);
const char *clip_path(const char *name); /* in the folder; one of eight turns */
bool        clip_has_encoder(const char *name);
/* ffmpeg -v error -y ARGUMENTS, in the folder; false and its words if it fails. */
bool clip_ffmpeg(const char *format, ...) ORIEL_PRINTF(1, 2);

/* A whole file; to be freed. Size 0 and NULL: it cannot be read. */
uint8_t *clip_load(const char *path, size_t *size);
bool     clip_save(const char *path, const uint8_t *bytes, size_t size);

/* What reading a clip to its end gave. */
typedef struct clip_frames {
    oriel_status       status; /* ORIEL_EOF: all is well */
    oriel_video_info   info;
    oriel_video_damage damage;
    int                count;
    oriel_fields       fields; /* of the first frame */
    int64_t           *pts, *duration;
    uint64_t          *hash;    /* of a frame's samples */
    uint8_t           *samples; /* all frames as ffmpeg -f rawvideo writes them; packed: RGB(A) interleaved */
    size_t             size;
} clip_frames;

typedef enum clip_layout { CLIP_PLANES = 0, CLIP_PACKED, CLIP_NO_SAMPLES } clip_layout;

/* Open and read all; status is that of opening if it fails. */
clip_frames clip_read(const char *path, const oriel_video_reader_options *opt, clip_layout layout);
void        clip_free(clip_frames *c);

#endif
