/* SPDX-License-Identifier: Apache-2.0 */
#include "clip_format.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "clip_ends.h"

enum { MATRIX_BT709 = 1, UNSPECIFIED = 2 };

static bool matrix_known(const oriel_colour *c)
{
    return c->matrix != 0 && c->matrix != UNSPECIFIED;
}

/* The colour that an untagged frame is taken to have. */
static oriel_colour untagged(int width, int height, oriel_pixels p)
{
    oriel_frame f = {.width = width, .height = height, .pixels = p};
    return oriel_frame_colour(&f);
}

/* ---- planes ------------------------------------------------------------------------------- */

/* The planes that a packed or interleaved format is made from. */
static bool planes_named(oriel_pixels *p, const char *name)
{
    static const char *const packed[][2] = {
        {"rgb24", "gbrp"},      {"bgr24", "gbrp"},      {"rgba", "gbrap"},
        {"bgra", "gbrap"},      {"rgb48le", "gbrp16"},  {"nv12", "yuv420p"},
        {"nv21", "yuv420p"},    {"nv16", "yuv422p"},    {"nv24", "yuv444p"},
        {"yuyv422", "yuv422p"}, {"uyvy422", "yuv422p"}, {"p010le", "yuv420p10"},
        {"p010", "yuv420p10"},
    };
    for (size_t i = 0; i < sizeof packed / sizeof packed[0]; i++)
        if (!strcmp(name, packed[i][0]))
            name = packed[i][1];
    return oriel_pixels_named(p, name);
}

/* For RGB, which few codecs of clips hold: what players play, or all of it where nothing is to be
 * lost. */
static oriel_pixels planes_of_rgb(oriel_pixels in, const job *j, const batch_options *b)
{
    const char *container = batch_container(b), *ending = extension(j->out);
    bool plain = container ? !strcmp(container, "y4m") || !strcmp(container, "raw")
                           : !strcmp(j->out, "-") || !strcmp(ending, ".y4m");
    int shift = plain ? 0 : 1;
    if (b->clip.ffv1)
        return in;
    return (oriel_pixels){.depth = in.depth == 8 ? 8
                                   : plain       ? in.depth
                                                 : 10,
                          .shift_x = shift,
                          .shift_y = shift};
}

static bool choose_planes(oriel_pixels *p, const oriel_video_info *in, const job *j,
                          const batch_options *b, trouble *why)
{
    const char *asked = b->clip.pix_fmt;
    *p = in->pixels;
    if (clip_becomes_pictures(j)) {
        if (asked)
            return trouble_set(why, "--pix-fmt is of clips: pictures are grey or RGB");
        if (p->model != ORIEL_PIXELS_GREY)
            *p = (oriel_pixels){.model = ORIEL_PIXELS_RGB, .alpha = p->alpha};
        p->depth = in->pixels.depth > 8 ? 16 : 8;
    } else if (asked) {
        if (!planes_named(p, asked)) /* the writer knows more formats, or says that it does not */
            *p = in->pixels;
    } else if (j->series.count) {
        *p = planes_of_rgb(in->pixels, j, b);
    }
    if (!asked && b->depth != DEPTH_KEEP)
        p->depth = b->depth == DEPTH_8 ? 8 : 16;
    if (b->alpha == ALPHA_DROP || !in->pixels.alpha)
        p->alpha = false;
    return true;
}

/* Tags stay, but where they say nothing of the new planes, or what they leave unsaid would be taken
 * for something else at the new size. */
static void choose_colour(clip_format *f, const oriel_video_info *in)
{
    oriel_pixels from = in->pixels, to = f->out.pixels;
    oriel_colour usual = untagged(f->out.width, f->out.height, to);
    oriel_colour before = untagged(in->width, in->height, from), *c = &f->out.colour;
    if (from.model == to.model && (matrix_known(c) || before.matrix == usual.matrix))
        return;
    f->recoloured = true;
    if (from.model == to.model) { /* YUV across 720 rows: the matrix stays and is said */
        c->matrix = before.matrix;
        return;
    }
    c->matrix = to.model == ORIEL_PIXELS_YUV ? usual.matrix : 0;
    if (to.model == ORIEL_PIXELS_RGB || from.model == ORIEL_PIXELS_RGB)
        c->range = usual.range;
    if (from.model == ORIEL_PIXELS_RGB && to.model == ORIEL_PIXELS_YUV && c->primaries == 0)
        c->primaries = c->transfer = MATRIX_BT709; /* of these three the code points are one */
}

/* ---- the whole ---------------------------------------------------------------------------- */

static uint64_t plane_bytes(int width, int height, oriel_pixels p)
{
    oriel_frame f = {.width = width, .height = height, .pixels = p};
    uint64_t sum = 0;
    for (int i = 0; i < oriel_pixels_planes(p); i++) {
        int w, h;
        oriel_frame_plane_size(&f, i, &w, &h);
        sum += (uint64_t)w * (uint64_t)h * (p.depth > 8 ? 2 : 1);
    }
    return sum;
}

/* Frames that are alive at once beside the one that is computed: in hands, in queues, and the last
 * ones kept for comparing. */
static uint64_t waiting_bytes(const clip_format *f, const oriel_video_info *in, int lanes, bool gpu)
{
    enum { READ = 5, WRITTEN = 5 };
    /* on either side of the lanes; inside of one its plan has them, but where a GPU needs none */
    uint64_t floats = 1 + (uint64_t)lanes * (gpu && f->plan.direct ? 2 : 1);
    uint64_t channels = (uint64_t)(f->colours + f->alpha) * sizeof(float);
    uint64_t small = (uint64_t)in->width * (uint64_t)in->height;
    uint64_t large = (uint64_t)f->out.width * (uint64_t)f->out.height;
    return READ * plane_bytes(in->width, in->height, in->pixels) +
           WRITTEN * plane_bytes(f->out.width, f->out.height, f->out.pixels) +
           floats * (small + large) * channels;
}

bool clip_format_make(clip_format *f, const oriel_video_info *in, const job *j, network *n,
                      int lanes, const batch_options *b, memory_limit limit, trouble *cut,
                      trouble *why)
{
    bool grey = in->pixels.model == ORIEL_PIXELS_GREY;
    *f = (clip_format){.colours = grey ? 1 : 3, .out = *in};
    f->alpha = in->pixels.alpha && b->alpha != ALPHA_DROP;
    oriel_image one = {.width = in->width,
                       .height = in->height,
                       .channels = f->colours + f->alpha,
                       .depth = in->pixels.depth > 8 ? 16 : 8};
    if (!picture_plan_make(n, &one, &f->plan, why) ||
        !picture_cut_for_gpu(n, &one, &f->plan, cut, why))
        return false;
    f->out.width = f->plan.width;
    f->out.height = f->plan.height;
    if (!choose_planes(&f->out.pixels, in, j, b, why))
        return false;
    if (oriel_frame_check(f->out.width, f->out.height, f->out.pixels))
        return trouble_set(why, "%s", oriel_error());
    f->alpha = f->alpha && f->out.pixels.alpha;
    choose_colour(f, in);
    if (f->out.height != in->height) /* lines of two fields are mixed */
        f->out.fields = ORIEL_PROGRESSIVE;
    f->beside = waiting_bytes(f, in, lanes, n->gpu) + (uint64_t)(lanes - 1) * f->plan.bytes;
    return picture_fits(n, &one, &f->plan, f->beside, limit, why);
}

/* "640 x 360 yuv420p -> 1280 x 720 yuv420p, 720 frames, 1 pass, 46.1 MiB, 12.3 GFLOP a frame" */
static char *format_text(const clip_format *f, const oriel_video_info *in, const batch_options *b)
{
    char from[24], to[24], bytes[32], frames[32] = "unknown frames";
    const char *codec = b->clip.ffv1 ? "ffv1" : b->clip.codec;
    if (in->frames)
        snprintf(frames, sizeof frames, "%lld frames", (long long)in->frames);
    oriel_pixels_name(in->pixels, from, sizeof from);
    oriel_pixels_name(f->out.pixels, to, sizeof to);
    return need_text("%d x %d %s -> %d x %d %s, %s%s%s%s, %s, %d pass%s, %s, %.3g GFLOP a frame",
                     in->width, in->height, from, f->out.width, f->out.height, to, in->codec,
                     in->codec[0] && codec ? " -> " : "", codec ? codec : "",
                     in->codec[0] || codec ? "" : "pictures", frames, f->plan.passes,
                     f->plan.passes > 1 ? "es" : "",
                     bytes_text(f->plan.bytes + f->beside, bytes, sizeof bytes),
                     f->plan.flops / 1e9);
}

void clip_format_tell(const clip_format *f, const oriel_video_info *in, const job *j,
                      const batch_options *b, progress *p)
{
    enum { MUCH = 1 << 30 }; /* bytes */
    char *text = format_text(f, in, b);
    if (b->dry_run)
        printf("%s -> %s: %s\n", j->in, j->out, text);
    else if (b->verbose || f->plan.bytes + f->beside >= MUCH)
        progress_note(p, "%s -> %s: %s", j->in, j->out, text);
    free(text);
    if (in->fields != ORIEL_PROGRESSIVE && !b->dry_run && f->out.height != in->height)
        progress_note(p,
                      "%s is interlaced: each frame is enlarged with both its fields; deinterlace "
                      "before for less combing",
                      j->in);
    if (extension(j->in)[0] && !b->format && strcmp(j->out, "-") && !b->dry_run &&
        !j->series.count && !clip_becomes_pictures(j) &&
        strcasecmp(extension(j->in), extension(j->out)) && strcmp(j->out, b->out))
        progress_note(p, "%s: clips are not written as %s: the result is %s", j->in,
                      extension(j->in), j->out);
}
