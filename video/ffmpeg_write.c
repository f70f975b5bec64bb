/* SPDX-License-Identifier: Apache-2.0 */
#include "video/ffmpeg.h"

oriel_status video_ffmpeg_create(oriel_video_writer **out, const char *path, const oriel_video_info *frames,
                                 const oriel_video_writer_options *opt)
{
    (void)out, (void)frames, (void)opt;
    return oriel_fail(ORIEL_E_UNSUPPORTED, "%s", path);
}
