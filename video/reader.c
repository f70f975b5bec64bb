/* SPDX-License-Identifier: Apache-2.0 */
/* Readers: which back end opens a path, and what is the same for all. */
#include <math.h>

#include "video/video.h"

static oriel_status open_bytes(oriel_video_reader **out, const char *path,
                               const oriel_video_reader_options *opt)
{
    video_bytes b;
    bool piped = !strcmp(path, "-");
    oriel_status s = video_bytes_open(&b, path);
    if (s && !piped && !opt->raw && oriel_video_has_ffmpeg()) /* a pattern or an address: FFmpeg's */
        return video_ffmpeg_open(out, path, NULL, opt);
    if (s)
        return s;
    if (opt->raw)
        return video_raw_open(out, &b, opt);
    if ((s = video_bytes_peek(&b))) {
        video_bytes_close(&b);
        return s;
    }
    if (b.peeked >= 10 && !memcmp(b.peek, "YUV4MPEG2 ", 10))
        return video_y4m_open(out, &b, opt);
    if (piped)
        return video_ffmpeg_open(out, path, &b, opt);
    video_bytes_close(&b);
    return video_ffmpeg_open(out, path, NULL, opt);
}

oriel_status oriel_video_open(oriel_video_reader **out, const char *path,
                              const oriel_video_reader_options *opt)
{
    oriel_video_reader_options o = opt ? *opt : (oriel_video_reader_options){0};
    if (!out)
        return oriel_fail(ORIEL_E_ARG, "oriel_video_open: out is NULL");
    *out = NULL;
    if (!path || !*path)
        return oriel_fail(ORIEL_E_ARG, "oriel_video_open: no path");
    if (!(o.from >= 0) || !(o.to >= 0) || !isfinite(o.from) || !isfinite(o.to) || (o.to > 0 && o.to <= o.from))
        return oriel_fail(ORIEL_E_ARG, "oriel_video_open: from %g to %g seconds", o.from, o.to);
    if (o.threads < 0)
        return oriel_fail(ORIEL_E_ARG, "oriel_video_open: %d threads", o.threads);
    oriel_status s = open_bytes(out, path, &o);
    if (!s) {
        (*out)->opt = o;
        (*out)->opt.raw = NULL;
    }
    return s;
}

/* Seconds of a frame from the clip's first. */
static double seconds_of(const oriel_video_reader *r, const oriel_frame *f)
{
    const int *base = r->info.time_base;
    return (double)(f->pts - r->first) * base[0] / base[1];
}

oriel_status oriel_video_read(oriel_video_reader *r, oriel_frame *f)
{
    *f = (oriel_frame){0};
    if (r->failed)
        return oriel_fail(ORIEL_E_IO, "the clip's reading has failed before");
    while (!r->ended) {
        oriel_status s = r->ops->read(r, f);
        r->ended = s == ORIEL_EOF;
        r->failed = s && !r->ended;
        if (s)
            return s;
        double at = seconds_of(r, f), slack = 1e-9;
        if (at >= r->opt.from - slack && (r->opt.to <= 0 || at < r->opt.to - slack))
            return ORIEL_OK;
        r->ended = at >= r->opt.from;
        oriel_frame_free(f);
    }
    return ORIEL_EOF;
}

const oriel_video_info *oriel_video_info_of(const oriel_video_reader *r)
{
    return &r->info;
}

oriel_video_damage oriel_video_damage_of(const oriel_video_reader *r)
{
    return r->damage;
}

void oriel_video_reader_free(oriel_video_reader **r)
{
    if (r && *r)
        (*r)->ops->free(*r);
    if (r)
        *r = NULL;
}
