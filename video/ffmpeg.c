/* SPDX-License-Identifier: Apache-2.0 */
/* What the FFmpeg reader and writer share: errors, messages, formats. */
#include <pthread.h>
#include <stdio.h>

#include <libavutil/pixdesc.h>

#include "video/ffmpeg.h"

bool oriel_video_has_ffmpeg(void)
{
    return true;
}

/* ---- messages ----------------------------------------------------------------------------- */

oriel_status video_ffmpeg_fail(int code, const char *format, ...)
{
    char what[256], why[AV_ERROR_MAX_STRING_SIZE];
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    av_strerror(code, why, sizeof why);
    oriel_status s = code == AVERROR(ENOMEM)                                                  ? ORIEL_E_NOMEM
                     : code == AVERROR_INVALIDDATA                                            ? ORIEL_E_FORMAT
                     : code == AVERROR_DECODER_NOT_FOUND || code == AVERROR_ENCODER_NOT_FOUND ||
                               code == AVERROR_DEMUXER_NOT_FOUND || code == AVERROR_MUXER_NOT_FOUND ||
                               code == AVERROR_PROTOCOL_NOT_FOUND || code == AVERROR_PATCHWELCOME ||
                               code == AVERROR(ENOSYS)
                         ? ORIEL_E_UNSUPPORTED
                         : ORIEL_E_IO;
    return oriel_fail(s, "%s: %s", what, why);
}

static void to_our_log(void *from, int level, const char *format, va_list ap)
{
    static _Thread_local int begin = 1;
    char line[512];
    if (level > AV_LOG_WARNING)
        return;
    av_log_format_line(from, level, format, ap, line, sizeof line, &begin);
    size_t n = strlen(line);
    if (n && line[n - 1] == '\n')
        line[n - 1] = 0;
    oriel_logf(level <= AV_LOG_ERROR ? ORIEL_LOG_INFO : ORIEL_LOG_DEBUG, "ffmpeg: %s", line);
}

static void set_log(void)
{
    av_log_set_callback(to_our_log);
}

void video_ffmpeg_log(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_log);
}

/* ---- what this FFmpeg can ----------------------------------------------------------------- */

static char backend[256];

static void describe(void)
{
    static const char *const names[] = {"libx264", "libopenh264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1"};
    int n = snprintf(backend, sizeof backend, "FFmpeg %s, encoders:", av_version_info());
    for (size_t i = 0; i < sizeof names / sizeof *names && n > 0 && (size_t)n < sizeof backend; i++)
        if (avcodec_find_encoder_by_name(names[i]))
            n += snprintf(backend + n, sizeof backend - (size_t)n, " %s", names[i]);
}

const char *oriel_video_backend(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, describe);
    return backend;
}

enum AVPixelFormat video_ffmpeg_format(oriel_pixels p)
{
    char name[32], native[40];
    oriel_pixels_name(p, name, sizeof name);
    snprintf(native, sizeof native, "%s%s", name, p.depth == 8 ? "" : (union { uint16_t u; uint8_t b; }){1}.b ? "le" : "be");
    return av_get_pix_fmt(native);
}
