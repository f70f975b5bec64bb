/* SPDX-License-Identifier: Apache-2.0 */
#include "video/ffmpeg.h"

oriel_status video_ffmpeg_open(oriel_video_reader **out, const char *path, video_bytes *b,
                               const oriel_video_reader_options *opt)
{
    (void)out, (void)opt;
    if (b)
        video_bytes_close(b);
    return oriel_fail(ORIEL_E_UNSUPPORTED, "%s", path);
}
