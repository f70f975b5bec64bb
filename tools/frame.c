/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool frame_new(frame *f, int width, int height, int channels, trouble *why)
{
    size_t pixels = (size_t)width * (size_t)height;
    *f = (frame){NULL, width, height, channels};
    f->data = calloc(pixels, (size_t)channels * sizeof(float));
    return f->data ||
           trouble_set(why, "out of memory for %d x %d x %d floats", width, height, channels);
}

void frame_free(frame *f)
{
    free(f->data);
    *f = (frame){0};
}

/* to takes the place of *f. */
static bool replace(frame *f, frame *to)
{
    frame_free(f);
    *f = *to;
    return true;
}

static bool give_up(frame *f, trouble *why)
{
    frame_free(f);
    return trouble_set(why, "%s", oriel_error());
}

oriel_tensor frame_view(const frame *f)
{
    return oriel_tensor_of(f->data, ORIEL_F32, 3, (int64_t[3]){f->height, f->width, f->channels});
}

static oriel_tensor batch_view(const frame *f) /* (1, Y, X, C) */
{
    return oriel_tensor_of(f->data, ORIEL_F32, 4,
                           (int64_t[4]){1, f->height, f->width, f->channels});
}

bool frame_read(frame *f, const oriel_image *src, int first, int count, trouble *why)
{
    if (!frame_new(f, src->width, src->height, count, why))
        return false;
    return !oriel_image_to_tensor(src, first, frame_view(f)) || give_up(f, why);
}

bool frame_write(const frame *f, oriel_image *dst, int first, trouble *why)
{
    return !oriel_image_from_tensor(dst, first, frame_view(f)) ||
           trouble_set(why, "%s", oriel_error());
}

/* ---- colours under alpha ------------------------------------------------------------------ */

typedef struct bleed {
    frame *f;
    uint8_t *ring;  /* (Y, X) 0: no colour yet, 1: has one, 2: gets one in this ring */
    int32_t *queue; /* pixels in the order in which they get their colour */
    size_t queued;
} bleed;

/* Call visit on the neighbours of pixel i, itself included. */
static void around(bleed *b, int32_t i, void (*visit)(bleed *b, int32_t i, void *arg), void *arg)
{
    int w = b->f->width, h = b->f->height, x = i % w, y = i / w;
    for (int v = y ? y - 1 : 0; v <= y + 1 && v < h; v++)
        for (int u = x ? x - 1 : 0; u <= x + 1 && u < w; u++)
            visit(b, v * w + u, arg);
}

static void enqueue(bleed *b, int32_t i, void *arg)
{
    (void)arg;
    if (!b->ring[i]) {
        b->ring[i] = 2;
        b->queue[b->queued++] = i;
    }
}

/* sum is of the channels (at most 4), then of the neighbours. */
static void add_colour(bleed *b, int32_t i, void *arg)
{
    float *sum = arg;
    int c = b->f->channels;
    if (b->ring[i] != 1)
        return;
    for (int k = 0; k < c; k++)
        sum[k] += b->f->data[(size_t)i * (size_t)c + (size_t)k];
    sum[4]++;
}

static void take_mean(bleed *b, int32_t i)
{
    int c = b->f->channels;
    float sum[5] = {0};
    around(b, i, add_colour, sum);
    for (int k = 0; k < c; k++)
        b->f->data[(size_t)i * (size_t)c + (size_t)k] = sum[k] / sum[4];
}

bool frame_bleed(frame *f, const float *mask, trouble *why)
{
    size_t n = (size_t)f->width * (size_t)f->height;
    bleed b = {f, calloc(n, 1), calloc(n, sizeof(int32_t)), 0};
    if (!b.ring || !b.queue || n > INT32_MAX) {
        free(b.ring);
        free(b.queue);
        return trouble_set(why, "out of memory for %zu pixels", n);
    }
    for (size_t i = 0; i < n; i++)
        b.ring[i] = mask[i] > 0;
    for (size_t i = 0; i < n; i++)
        if (b.ring[i] == 1)
            around(&b, (int32_t)i, enqueue, NULL);
    /* ring by ring: the colours of one ring come from the rings before it alone */
    for (size_t begin = 0, end = b.queued; begin < end; begin = end, end = b.queued) {
        for (size_t k = begin; k < end; k++)
            take_mean(&b, b.queue[k]);
        for (size_t k = begin; k < end; k++)
            b.ring[b.queue[k]] = 1;
        for (size_t k = begin; k < end; k++)
            around(&b, b.queue[k], enqueue, NULL);
    }
    free(b.ring);
    free(b.queue);
    return true;
}

/* ---- grey --------------------------------------------------------------------------------- */

bool frame_spread(frame *f, int channels, trouble *why)
{
    frame to;
    size_t n = (size_t)f->width * (size_t)f->height, c = (size_t)channels;
    if (f->channels == channels)
        return true;
    if (!frame_new(&to, f->width, f->height, channels, why))
        return false;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < c; k++)
            to.data[i * c + k] = f->data[i];
    return replace(f, &to);
}

bool frame_gather(frame *f, int channels)
{
    size_t n = (size_t)f->width * (size_t)f->height, c = (size_t)f->channels;
    if (f->channels == channels)
        return true;
    for (size_t i = 0; i < n; i++) { /* in place: reads are ahead of writes */
        float sum = 0;
        for (size_t k = 0; k < c; k++)
            sum += f->data[i * c + k];
        f->data[i] = sum / (float)c;
    }
    f->channels = channels;
    return true;
}

/* ---- the network -------------------------------------------------------------------------- */

bool frame_is_tiled(const network *n, int64_t width, int64_t height)
{
    return n->tile && (width > n->tile || height > n->tile);
}

/* Tiles of whole windows over the picture padded to whole windows, as the network itself would pad
 * it: so all windows fall where they fall untiled, and the picture's borders are met alike. By
 * default tiles share four windows, or half a tile if that is less. */
bool frame_tiles(const network *n, int width, int height, oriel_tiles *tiles, trouble *why)
{
    int window = n->info.window > 0 ? n->info.window : 1;
    int tile = n->tile / window * window, overlap = n->overlap;
    if (tile < 2 * window)
        return trouble_set(why, "--tile %d is less than two windows of the model, %d", n->tile,
                           2 * window);
    if (overlap < 0)
        overlap = 4 * window < tile / 2 ? 4 * window : tile / 2;
    if (overlap > tile - window)
        return trouble_set(why, "--overlap %d leaves less than a window of --tile %d: at most %d",
                           overlap, n->tile, tile - window);
    return !oriel_tiles_plan(tiles, (width + window - 1) / window * window,
                             (height + window - 1) / window * window, tile, overlap, window) ||
           trouble_set(why, "%s", oriel_error());
}

/* The index inside 0 .. n - 1 that mirrors i beyond the end. */
static int reflected(int i, int n)
{
    int period = n > 1 ? 2 * (n - 1) : 1;
    i %= period;
    return i < n ? i : period - i;
}

static bool frame_pad(const frame *f, int width, int height, frame *to, trouble *why)
{
    size_t c = (size_t)f->channels;
    if (!frame_new(to, width, height, f->channels, why))
        return false;
    for (int y = 0; y < height; y++) {
        const float *from = f->data + (size_t)reflected(y, f->height) * (size_t)f->width * c;
        float *row = to->data + (size_t)y * (size_t)width * c;
        for (int x = 0; x < width; x++)
            memcpy(row + (size_t)x * c, from + (size_t)reflected(x, f->width) * c, c * sizeof *row);
    }
    return true;
}

/* Keep the top left; the memory stays as large as it was. */
static void frame_crop(frame *f, int width, int height)
{
    size_t c = (size_t)f->channels, row = (size_t)width * c;
    for (int y = 1; y < height; y++)
        memmove(f->data + (size_t)y * row, f->data + (size_t)y * (size_t)f->width * c,
                row * sizeof *f->data);
    f->width = width;
    f->height = height;
}

typedef struct step {
    frame_progress *progress;
    double work; /* of this run */
} step;

static bool step_done(void *user, double done)
{
    const step *s = user;
    const frame_progress *p = s->progress;
    return !p->fn || p->fn(p->user, (p->done + s->work * done) / p->work);
}

static bool room_for(const network *n, device_room *r, const oriel_tensor *t, trouble *why)
{
    size_t bytes = (size_t)oriel_tensor_count(t) * sizeof(float);
    if (r->bytes >= bytes)
        return true;
    oriel_memory_free(n->device, &r->data);
    r->bytes = 0;
    if (oriel_memory_alloc(n->device, &r->data, bytes))
        return trouble_set(why, "%s", oriel_error());
    r->bytes = bytes;
    return true;
}

bool frame_room(const network *n, int width, int height, oriel_tensor *in, oriel_tensor *out,
                trouble *why)
{
    int64_t c = n->info.channels, s = n->info.scale;
    *in = oriel_tensor_of(NULL, ORIEL_F32, 4, (int64_t[4]){1, height, width, c});
    *out = oriel_tensor_of(NULL, ORIEL_F32, 4, (int64_t[4]){1, height * s, width * s, c});
    if (!room_for(n, &n->room[0], in, why) || !room_for(n, &n->room[1], out, why))
        return false;
    in->data = n->room[0].data;
    out->data = n->room[1].data;
    return true;
}

void frame_room_free(const network *n)
{
    for (int i = 0; i < 2; i++) {
        oriel_memory_free(n->device, &n->room[i].data);
        n->room[i].bytes = 0;
    }
}

bool frame_run_on(const network *n, oriel_tensor in, oriel_tensor out, double work,
                  frame_progress *progress, trouble *why)
{
    step s = {progress, work};
    oriel_run_options opt = {.progress = step_done, .user = &s};
    if (oriel_model_run(n->model, in, out, &opt))
        return trouble_set(why, "%s", oriel_error());
    progress->done += work;
    return step_done(&s, 0) || trouble_set(why, "stopped");
}

static size_t frame_bytes(const frame *f)
{
    return (size_t)f->width * (size_t)f->height * (size_t)f->channels * sizeof(float);
}

static bool run(const network *n, const frame *in, const frame *out, double work,
                frame_progress *progress, trouble *why)
{
    oriel_tensor from, to;
    if (!n->gpu)
        return frame_run_on(n, batch_view(in), batch_view(out), work, progress, why);
    if (!frame_room(n, in->width, in->height, &from, &to, why))
        return false;
    if (oriel_memory_upload(n->device, from.data, in->data, frame_bytes(in)))
        return trouble_set(why, "%s", oriel_error());
    if (!frame_run_on(n, from, to, work, progress, why))
        return false;
    return !oriel_memory_download(n->device, out->data, to.data, frame_bytes(out)) ||
           trouble_set(why, "%s", oriel_error());
}

static void copy_tile(const frame *in, oriel_tile at, frame *tile)
{
    size_t c = (size_t)in->channels;
    for (int y = 0; y < at.height; y++)
        memcpy(tile->data + (size_t)y * (size_t)at.width * c,
               in->data + ((size_t)(at.y + y) * (size_t)in->width + (size_t)at.x) * c,
               (size_t)at.width * c * sizeof(float));
}

static bool run_tiles(const network *n, const oriel_tiles *t, const frame *in, frame *out,
                      frame_progress *progress, trouble *why)
{
    int scale = n->info.scale, count = t->count_x * t->count_y;
    double work = (double)in->width * in->height / count;
    frame padded = {0}, from = {0}, to = {0};
    bool ok = frame_pad(in, t->width, t->height, &padded, why) &&
              frame_new(&from, t->tile_x, t->tile_y, in->channels, why) &&
              frame_new(&to, t->tile_x * scale, t->tile_y * scale, in->channels, why);
    for (int i = 0; ok && i < count; i++) {
        copy_tile(&padded, oriel_tiles_get(t, i), &from);
        ok = run(n, &from, &to, work, progress, why);
        if (ok && oriel_tiles_blend(t, i, scale, frame_view(out), frame_view(&to)))
            ok = trouble_set(why, "%s", oriel_error());
    }
    if (ok)
        frame_crop(out, in->width * scale, in->height * scale);
    frame_free(&padded);
    frame_free(&from);
    frame_free(&to);
    return ok;
}

const char not_a_number[] = "the network's result is not a number: nothing is written";

/* Clamp to 0..1. What is no number fails: a black picture is no result. */
static bool frame_clamp(frame *f, trouble *why)
{
    size_t samples = (size_t)f->width * (size_t)f->height * (size_t)f->channels;
    for (size_t i = 0; i < samples; i++) {
        if (!isfinite(f->data[i]))
            return trouble_set(why, "%s", not_a_number);
        f->data[i] = f->data[i] > 1 ? 1 : f->data[i] > 0 ? f->data[i] : 0;
    }
    return true;
}

bool frame_pass(frame *f, const network *n, frame_progress *progress, trouble *why)
{
    frame out;
    oriel_tiles t = {.width = f->width, .height = f->height};
    int scale = n->info.scale;
    bool tiled = frame_is_tiled(n, f->width, f->height);
    if (tiled && !frame_tiles(n, f->width, f->height, &t, why))
        return false;
    if (!frame_new(&out, t.width * scale, t.height * scale, f->channels, why))
        return false;
    bool ok = tiled ? run_tiles(n, &t, f, &out, progress, why)
                    : run(n, f, &out, (double)f->width * f->height, progress, why);
    if (!ok || !frame_clamp(&out, why)) {
        frame_free(&out);
        return false;
    }
    return replace(f, &out);
}

bool frame_run(frame *f, const network *n, const picture_plan *plan, frame_progress *progress,
               trouble *why)
{
    int channels = f->channels;
    bool ok = frame_spread(f, n->info.channels, why);
    for (int pass = 0; ok && pass < plan->passes; pass++)
        ok = frame_pass(f, n, progress, why);
    return ok && frame_gather(f, channels) && frame_resize(f, plan->width, plan->height, why);
}

bool frame_resize(frame *f, int width, int height, trouble *why)
{
    frame to;
    if (f->width == width && f->height == height)
        return true;
    if (!frame_new(&to, width, height, f->channels, why))
        return false;
    oriel_resize_options opt = {ORIEL_BICUBIC, ORIEL_RESIZE_PIL};
    if (oriel_resize(frame_view(&to), frame_view(f), &opt))
        return give_up(&to, why);
    return replace(f, &to);
}
