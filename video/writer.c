/* SPDX-License-Identifier: Apache-2.0 */
/* Writers: which back end, and what is the same for all. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "video/video.h"

/* ---- names -------------------------------------------------------------------------------- */

static const char *extension_of(const char *path)
{
    const char *base = strrchr(path, '/'), *dot = strrchr(base ? base + 1 : path, '.');
    return dot && dot != path && dot[-1] != '/' ? dot : path + strlen(path);
}

char *video_part_name(const char *path)
{
    size_t size = strlen(path) + sizeof ".part";
    const char *dot = extension_of(path);
    char *part = oriel_alloc(size);
    if (part)
        snprintf(part, size, "%.*s.part%s", (int)(dot - path), path, dot);
    return part;
}

bool video_is_stream(const char *path)
{
    struct stat st;
    return !strcmp(path, "-") || (!stat(path, &st) && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode));
}

oriel_status video_publish(const char *part, const char *path, bool overwrite)
{
    /* link() refuses a name that is taken; where it cannot link at all (FAT), rename() must do. */
    if (!overwrite && !link(part, path))
        return unlink(part) ? oriel_fail(ORIEL_E_IO, "%s: %s", part, strerror(errno)) : ORIEL_OK;
    if (!overwrite && (errno == EEXIST || !access(path, F_OK)))
        return oriel_fail(ORIEL_E_IO, "%s: exists already, and overwriting was not asked for; the clip is %s",
                          path, part);
    return rename(part, path) ? oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno)) : ORIEL_OK;
}

/* ---- notes -------------------------------------------------------------------------------- */

void video_note(oriel_video_writer *w, const char *format, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    oriel_logf(ORIEL_LOG_INFO, "%s", text);
    size_t had = w->notes ? strlen(w->notes) : 0, n = strlen(text);
    char *notes = oriel_realloc(w->notes, had + n + 2);
    if (!notes)
        return;
    w->notes = notes;
    snprintf(notes + had, n + 2, "%s%s", had ? "\n" : "", text);
}

/* ---- the face ----------------------------------------------------------------------------- */

static oriel_status checked(const char *path, const oriel_video_info *i, const oriel_video_writer_options *opt)
{
    if (!path || !*path)
        return oriel_fail(ORIEL_E_ARG, "oriel_video_create: no path");
    if (!i)
        return oriel_fail(ORIEL_E_ARG, "oriel_video_create: frames is NULL");
    if (i->time_base[0] < 1 || i->time_base[1] < 1)
        return oriel_fail(ORIEL_E_ARG, "oriel_video_create: time base %d / %d", i->time_base[0], i->time_base[1]);
    if (i->rate[0] < 0 || i->rate[1] < 0 || !i->rate[0] != !i->rate[1])
        return oriel_fail(ORIEL_E_ARG, "oriel_video_create: rate %d / %d", i->rate[0], i->rate[1]);
    if (!(opt->crf >= 0) || opt->crf > 255)
        return oriel_fail(ORIEL_E_ARG, "oriel_video_create: crf %g", opt->crf);
    return oriel_frame_check(i->width, i->height, i->pixels);
}

oriel_status oriel_video_create(oriel_video_writer **out, const char *path, const oriel_video_info *frames,
                                const oriel_video_writer_options *opt)
{
    oriel_video_writer_options o = opt ? *opt : (oriel_video_writer_options){0};
    struct stat st;
    if (!out)
        return oriel_fail(ORIEL_E_ARG, "oriel_video_create: out is NULL");
    *out = NULL;
    oriel_status s = checked(path, frames, &o);
    if (s)
        return s;
    if (strcmp(path, "-") != 0 && !stat(path, &st) && S_ISDIR(st.st_mode))
        return oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(EISDIR));
    if (!o.overwrite && !video_is_stream(path) && !access(path, F_OK))
        return oriel_fail(ORIEL_E_IO, "%s: exists already, and overwriting was not asked for", path);
    const char *kind = o.container ? o.container : !strcmp(path, "-") ? "y4m" : extension_of(path);
    kind += *kind == '.';
    if (!strcmp(kind, "y4m") || !strcmp(kind, "yuv4mpegpipe") || !strcmp(kind, "yuv4mpeg"))
        s = video_plain_create(out, path, "y4m", frames, &o);
    else if (!strcmp(kind, "raw") || !strcmp(kind, "rawvideo") || !strcmp(kind, "yuv"))
        s = video_plain_create(out, path, "raw", frames, &o);
    else
        s = video_ffmpeg_create(out, path, frames, &o);
    if (s)
        return s;
    (*out)->frames = *frames;
    (*out)->overwrite = o.overwrite;
    return ORIEL_OK;
}

static oriel_status frame_fits(const oriel_video_writer *w, const oriel_frame *f)
{
    oriel_pixels p = w->frames.pixels, q = f->pixels;
    char a[24], b[24];
    if (f->width != w->frames.width || f->height != w->frames.height || p.model != q.model ||
        p.depth != q.depth || p.shift_x != q.shift_x || p.shift_y != q.shift_y || p.alpha != q.alpha)
        return oriel_fail(ORIEL_E_ARG, "oriel_video_write: a frame of %d x %d %s in a clip of %d x %d %s", f->width,
                          f->height, oriel_pixels_name(q, a, sizeof a), w->frames.width, w->frames.height,
                          oriel_pixels_name(p, b, sizeof b));
    if (f->pts == ORIEL_NO_TIME || (w->last != ORIEL_NO_TIME && f->pts <= w->last))
        return oriel_fail(ORIEL_E_ARG, "oriel_video_write: pts %lld after %lld", (long long)f->pts,
                          (long long)w->last);
    return ORIEL_OK;
}

oriel_status oriel_video_write(oriel_video_writer *w, const oriel_frame *f)
{
    oriel_status s = w->ended || w->failed ? oriel_fail(ORIEL_E_IO, "%s: the clip has ended", w->path)
                                           : frame_fits(w, f);
    if (s)
        return s;
    if ((s = w->ops->write(w, f))) {
        w->failed = true;
        return s;
    }
    w->last = f->pts;
    w->done.frames++;
    return ORIEL_OK;
}

static oriel_status end(oriel_video_writer *w, bool complete)
{
    if (w->ended)
        return oriel_fail(ORIEL_E_IO, "%s: the clip has ended", w->path);
    w->ended = true;
    return w->ops->finish(w, complete && !w->failed);
}

oriel_status oriel_video_finish(oriel_video_writer *w)
{
    return end(w, true);
}

oriel_status oriel_video_stop(oriel_video_writer *w)
{
    return end(w, false);
}

oriel_video_written oriel_video_written_of(const oriel_video_writer *w)
{
    oriel_video_written done = w->done;
    done.part = w->part ? w->part : "";
    done.notes = w->notes ? w->notes : "";
    return done;
}

void oriel_video_writer_free(oriel_video_writer **w)
{
    if (!w || !*w)
        return;
    if (!(*w)->ended)
        (void)!end(*w, false);
    oriel_dealloc((*w)->notes);
    oriel_dealloc((*w)->path);
    oriel_dealloc((*w)->part);
    (*w)->ops->free(*w);
    *w = NULL;
}
