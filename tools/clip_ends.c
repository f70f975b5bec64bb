/* SPDX-License-Identifier: Apache-2.0 */
#include "clip_ends.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kind.h"
#include "stop.h"

/* ---- a picture as a frame ----------------------------------------------------------------- */

static int sample(const void *row, int i, int depth)
{
    return depth == 16 ? ((const uint16_t *)row)[i] : ((const uint8_t *)row)[i];
}

static void set_sample(void *row, int i, int depth, int value)
{
    if (depth == 16)
        ((uint16_t *)row)[i] = (uint16_t)value;
    else
        ((uint8_t *)row)[i] = (uint8_t)value;
}

/* Between 8 and 16 bits. */
static int with_depth(int value, int from, int to)
{
    if (from == to)
        return value;
    return to == 16 ? value * 257 : (value + 128) / 257;
}

/* The picture's colours into f, which is RGB; grey ones are three equal colours, alpha is left. */
static void frame_of_image(oriel_frame *f, const oriel_image *img)
{
    int c = img->channels, depth = f->pixels.depth;
    size_t row = (size_t)img->width * (size_t)c * (size_t)(img->depth / 8);
    for (int plane = 0; plane < 3; plane++)
        for (int y = 0; y < f->height; y++) {
            const uint8_t *from = (const uint8_t *)img->data + (size_t)y * row;
            uint8_t *to = f->plane[plane] + y * f->stride[plane];
            for (int x = 0; x < f->width; x++) {
                int value = sample(from, x * c + (c > 2 ? plane : 0), img->depth);
                set_sample(to, x, depth, with_depth(value, img->depth, depth));
            }
        }
}

/* A picture of all the frame's planes: grey or RGB, with alpha or without, 8 or 16 bits. */
static oriel_status image_of_frame(oriel_image *img, const oriel_frame *f)
{
    int c = oriel_pixels_planes(f->pixels), depth = f->pixels.depth;
    size_t row = (size_t)f->width * (size_t)c * (size_t)(depth / 8);
    oriel_status s = oriel_image_new(img, f->width, f->height, c, depth);
    for (int plane = 0; !s && plane < c; plane++)
        for (int y = 0; y < f->height; y++) {
            const uint8_t *from = f->plane[plane] + y * f->stride[plane];
            uint8_t *to = (uint8_t *)img->data + (size_t)y * row;
            for (int x = 0; x < f->width; x++)
                set_sample(to, x * c + plane, depth, sample(from, x, depth));
        }
    return s;
}

/* ---- source ------------------------------------------------------------------------------- */

static oriel_status read_picture(clip_source *s, oriel_frame *f)
{
    const char *path = s->series->list[s->next], *first = s->series->list[0];
    oriel_image img = {0};
    if (stop_asked())
        return ORIEL_EOF;
    oriel_status st = oriel_image_read(&img, path, NULL);
    if (st)
        return st;
    if (img.width != s->info.width || img.height != s->info.height)
        st = oriel_fail(ORIEL_E_FORMAT,
                        "%s is %d x %d, and %s is %d x %d: the pictures of a clip are of one size",
                        path, img.width, img.height, first, s->info.width, s->info.height);
    else
        st = oriel_frame_new(f, img.width, img.height, s->info.pixels);
    if (!st) {
        frame_of_image(f, &img);
        f->colour = s->info.colour;
        f->pts = s->next++;
        f->duration = 1;
    }
    oriel_image_free(&img);
    return st;
}

static bool open_series(clip_source *s, const job *j, const batch_options *b, trouble *why)
{
    const int *rate = b->clip.rate;
    oriel_image img = {0};
    if (oriel_image_read(&img, j->series.list[0], NULL))
        return trouble_of_file(why, j->series.list[0]);
    s->series = &j->series;
    s->info = (oriel_video_info){.width = img.width,
                                 .height = img.height,
                                 .pixels = {.model = ORIEL_PIXELS_RGB, .depth = img.depth},
                                 .colour = {.range = ORIEL_RANGE_FULL},
                                 .time_base = {rate[0] ? rate[1] : 1, rate[0] ? rate[0] : 25},
                                 .frames = j->series.count,
                                 .container = "pictures"};
    s->info.rate[0] = s->info.time_base[1];
    s->info.rate[1] = s->info.time_base[0];
    oriel_image_free(&img);
    return true;
}

bool clip_source_open(clip_source *s, const job *j, const batch_options *b, trouble *why)
{
    oriel_video_reader_options opt = {.from = b->clip.from, .to = b->clip.to, .raw = b->clip.raw};
    bool piped = !strcmp(j->in, "-");
    *s = (clip_source){0};
    if (j->series.count)
        return open_series(s, j, b, why);
    stop_while_idle(piped); /* nothing is begun while a pipe is silent */
    bool ok = !oriel_video_open(&s->reader, j->in, &opt);
    stop_while_idle(false);
    if (!ok)
        return trouble_of_file(why, j->in);
    s->info = *oriel_video_info_of(s->reader);
    double rate = s->info.rate[1] ? (double)s->info.rate[0] / s->info.rate[1] : 0;
    if (s->info.frames && rate > 0 && b->clip.to > 0 && (double)s->info.frames > b->clip.to * rate)
        s->info.frames = (int64_t)(b->clip.to * rate + 0.5);
    if (s->info.frames && b->clip.from > 0)
        s->info.frames -= (int64_t)(b->clip.from * rate + 0.5);
    if (s->info.frames < 0)
        s->info.frames = 0;
    return true;
}

oriel_status clip_source_read(clip_source *s, oriel_frame *f)
{
    if (!s->series)
        return oriel_video_read(s->reader, f);
    return s->next == s->series->count ? ORIEL_EOF : read_picture(s, f);
}

oriel_video_damage clip_source_damage(const clip_source *s)
{
    return s->reader ? oriel_video_damage_of(s->reader) : (oriel_video_damage){0};
}

void clip_source_close(clip_source *s)
{
    oriel_video_reader_free(&s->reader);
}

/* ---- sink --------------------------------------------------------------------------------- */

bool clip_becomes_pictures(const job *j)
{
    return kind_is_numbered(j->out);
}

/* Pictures 1, 2, ... that are there are complete: the run goes on behind them. */
static int64_t pictures_there(const char *out)
{
    for (int64_t n = 1;; n++) {
        char *name = inputs_numbered(out, n);
        bool there = !access(name, F_OK);
        free(name);
        if (!there)
            return n - 1;
    }
}

bool clip_sink_open(clip_sink *s, const job *j, const clip_source *source,
                    const oriel_video_info *frames, const batch_options *b, trouble *why)
{
    const clip_options *c = &b->clip;
    oriel_video_writer_options opt = {.container = batch_container(b),
                                      .codec = c->ffv1 ? "ffv1" : c->codec,
                                      .preset = c->preset,
                                      .crf = c->crf,
                                      .pix_fmt = c->pix_fmt,
                                      .overwrite = b->overwrite,
                                      .resume = c->resume,
                                      .no_audio = c->no_audio,
                                      .no_subtitles = c->no_subtitles,
                                      .source = source->reader};
    *s = (clip_sink){.out = j->out,
                     .format = batch_image_format(b),
                     .compression = b->compression,
                     .overwrite = b->overwrite};
    if (clip_becomes_pictures(j)) {
        if (c->resume || b->skip_existing)
            s->resumed = s->frames = pictures_there(j->out);
        return make_parents(j->out, why);
    }
    if (oriel_video_create(&s->writer, j->out, frames, &opt))
        return trouble_of_file(why, j->out);
    s->resumed = s->frames = oriel_video_written_of(s->writer).resumed;
    return true;
}

static oriel_status write_picture(clip_sink *s, const oriel_frame *f)
{
    oriel_image_write_options opt = {
        .format = s->format, .compression = s->compression, .overwrite = s->overwrite};
    oriel_image img = {0};
    char *name = inputs_numbered(s->out, s->frames + 1);
    oriel_status st = image_of_frame(&img, f);
    stop_while_writing(true);
    if (!st)
        st = oriel_image_write(&img, name, &opt);
    stop_while_writing(false);
    oriel_image_free(&img);
    free(name);
    return st;
}

oriel_status clip_sink_write(clip_sink *s, const oriel_frame *f)
{
    oriel_status st = s->writer ? oriel_video_write(s->writer, f) : write_picture(s, f);
    s->frames += !st;
    return st;
}

oriel_status clip_sink_end(clip_sink *s, bool complete)
{
    if (!s->writer)
        return ORIEL_OK;
    return complete ? oriel_video_finish(s->writer) : oriel_video_stop(s->writer);
}

void clip_sink_close(clip_sink *s)
{
    oriel_video_writer_free(&s->writer);
}
