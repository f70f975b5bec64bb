/* SPDX-License-Identifier: Apache-2.0 */
/* A build without FFmpeg: y4m and raw frames alone. */
#include "video/video.h"

static const char how[] =
    "this oriel was built without FFmpeg and reads and writes y4m and raw frames alone: pipe through the ffmpeg "
    "command (ffmpeg -i in.mp4 -f yuv4mpegpipe -strict -1 - | oriel ... -), or build oriel where libavformat, "
    "libavcodec, libswscale and libavutil are (Debian: libavformat-dev libavcodec-dev libswscale-dev)";

bool oriel_video_has_ffmpeg(void)
{
    return false;
}

const char *oriel_video_backend(void)
{
    return how;
}

oriel_status video_ffmpeg_open(oriel_video_reader **out, const char *path, video_bytes *b,
                               const oriel_video_reader_options *opt)
{
    (void)out, (void)opt;
    if (b)
        video_bytes_close(b);
    return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: not y4m, and %s", path, how);
}

oriel_status video_ffmpeg_create(oriel_video_writer **out, const char *path, const oriel_video_info *frames,
                                 const oriel_video_writer_options *opt)
{
    (void)out, (void)frames, (void)opt;
    return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: not y4m, and %s", path, how);
}
