/* SPDX-License-Identifier: Apache-2.0 */
#include "picture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"

static bool has_alpha(const oriel_image *img)
{
    return img->channels == 2 || img->channels == 4;
}

static int colours(const oriel_image *img)
{
    return img->channels - has_alpha(img);
}

static bool library_failed(trouble *why)
{
    return trouble_set(why, "%s", oriel_error());
}

/* ---- plan --------------------------------------------------------------------------------- */

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Memory of one pass over width x height, all frames included, and its work. */
static bool plan_pass(const network *n, int64_t width, int64_t height, picture_plan *plan,
                      trouble *why)
{
    int64_t c = n->info.channels, scale = n->info.scale;
    int64_t w = width, h = height, tiles = 1;
    uint64_t frames = (uint64_t)(width * height * c * (1 + scale * scale)) * sizeof(float);
    oriel_plan run;
    if (frame_is_tiled(n, width, height)) {
        oriel_tiles t;
        if (!frame_tiles(n, (int)width, (int)height, &t, why))
            return false;
        w = t.tile_x;
        h = t.tile_y;
        tiles = (int64_t)t.count_x * t.count_y;
        int64_t padded = (int64_t)t.width * t.height;
        frames = (uint64_t)((width * height + (padded + w * h) * (1 + scale * scale)) * c) *
                 sizeof(float);
    }
    if (oriel_model_plan(n->model, (int64_t[4]){1, h, w, c}, &run))
        return library_failed(why);
    uint64_t ends = (uint64_t)(w * h * c * (1 + scale * scale)) * sizeof(float);
    plan->activation_bytes = most(plan->activation_bytes, run.activation_bytes);
    if (n->gpu) {
        plan->gpu_bytes = most(plan->gpu_bytes, ends + run.activation_bytes);
        plan->bytes = most(plan->bytes, plan->direct ? 0 : frames);
    } else {
        plan->bytes = most(plan->bytes, frames + run.activation_bytes);
    }
    plan->flops += run.flops * (double)tiles;
    return true;
}

bool picture_plan_make(const network *n, const oriel_image *src, picture_plan *plan, trouble *why)
{
    int scale = n->info.scale;
    double asked = n->scale > 0 ? n->scale : scale;
    int64_t w = src->width, h = src->height;
    double out_w = floor(src->width * asked + 0.5), out_h = floor(src->height * asked + 0.5);
    *plan = (picture_plan){0};
    if (colours(src) > n->info.channels)
        return trouble_set(why, "the picture has colours, the model takes grey ones only");
    if (out_w > ORIEL_IMAGE_MAX_SIDE || out_h > ORIEL_IMAGE_MAX_SIDE)
        return trouble_set(why, "%.0f x %.0f is too large for a picture", out_w, out_h);
    plan->width = out_w < 1 ? 1 : (int)out_w;
    plan->height = out_h < 1 ? 1 : (int)out_h;
    plan->channels = n->alpha == ALPHA_DROP ? colours(src) : src->channels;
    plan->depth = n->depth == DEPTH_8 ? 8 : n->depth == DEPTH_16 ? 16 : src->depth;
    double reached = 1;
    plan->direct = src->channels == n->info.channels && w * scale == plan->width &&
                   h * scale == plan->height && !frame_is_tiled(n, w, h);
    do {
        if (w * scale > ORIEL_IMAGE_MAX_SIDE || h * scale > ORIEL_IMAGE_MAX_SIDE)
            return trouble_set(why, "%lld x %lld is too large for a picture",
                               (long long)(w * scale), (long long)(h * scale));
        if (!plan_pass(n, w, h, plan, why))
            return false;
        plan->passes++;
        reached *= scale;
        w *= scale;
        h *= scale;
    } while (scale > 1 && reached < asked - 1e-9);
    uint64_t samples = (uint64_t)plan->width * (uint64_t)plan->height;
    if (w != plan->width || h != plan->height) {
        uint64_t resize =
            ((uint64_t)(w * h) + samples) * (uint64_t)n->info.channels * sizeof(float);
        plan->bytes = most(plan->bytes, resize);
    }
    /* the result, and at worst as much again for its file */
    plan->result_bytes = 2 * samples * (uint64_t)plan->channels * (uint64_t)(plan->depth / 8);
    plan->bytes += plan->result_bytes;
    if (has_alpha(src) && n->alpha != ALPHA_DROP)
        plan->bytes += (uint64_t)src->width * (uint64_t)src->height * 5; /* frame_bleed() */
    return true;
}

/* The largest --tile with which the picture, and `beside`, fit into `limit` bytes, or 0. */
static int fitting_tile(const network *n, const oriel_image *src, uint64_t beside, uint64_t limit,
                        uint64_t *bytes)
{
    int window = n->info.window > 0 ? n->info.window : 8;
    for (int tile = 4096; tile >= 2 * window; tile /= 2) {
        network tiled = *n;
        picture_plan plan;
        trouble why = {""};
        tiled.tile = tile / window * window;
        tiled.overlap = -1;
        if (n->tile && tiled.tile >= n->tile)
            continue;
        if (picture_plan_make(&tiled, src, &plan, &why) && plan.bytes + beside <= limit) {
            *bytes = plan.bytes + beside;
            return tiled.tile;
        }
    }
    return 0;
}

bool picture_fits(const network *n, const oriel_image *src, const picture_plan *plan,
                  uint64_t beside, memory_limit limit, trouble *why)
{
    uint64_t small = 0;
    char text[3][32];
    const char *word = limit.asked ? "allowed" : "free";
    if (plan->bytes + beside <= limit.bytes)
        return true;
    bytes_text(plan->bytes + beside, text[0], sizeof text[0]);
    bytes_text(limit.bytes, text[1], sizeof text[1]);
    int tile = fitting_tile(n, src, beside, limit.bytes, &small);
    if (tile)
        return trouble_set(why, "takes %s of memory where %s are %s: --tile %d takes %s", text[0],
                           text[1], word, tile, bytes_text(small, text[2], sizeof text[2]));
    return trouble_set(why, "takes %s of memory where %s are %s, and no tile is small enough",
                       text[0], text[1], word);
}

/* The largest tile up to `from` with which the run fits into the GPU's memory, or 0. None of less
 * than eight windows: four of them are the overlap without which tiles are seen. */
static int gpu_tile(const network *n, const oriel_image *src, int from, picture_plan *plan)
{
    int window = n->info.window > 0 ? n->info.window : 8;
    network tiled = *n;
    tiled.overlap = -1;
    for (int tile = from / window * window; tile >= 8 * window; tile -= window + tile / 16) {
        trouble why = {""};
        tiled.tile = tile / window * window;
        if (picture_plan_make(&tiled, src, plan, &why) && plan->gpu_bytes <= n->gpu_bytes)
            return tiled.tile;
    }
    return 0;
}

bool picture_cut_for_gpu(network *n, const oriel_image *src, picture_plan *plan, trouble *cut,
                         trouble *why)
{
    char takes[32], has[32];
    picture_plan small;
    if (!n->gpu || plan->gpu_bytes <= n->gpu_bytes)
        return true;
    int side = src->width > src->height ? src->width : src->height;
    for (int pass = 1; pass < plan->passes; pass++)
        side *= n->info.scale;
    int tile = gpu_tile(n, src, n->tile ? n->tile : side, &small);
    bytes_text(plan->gpu_bytes, takes, sizeof takes);
    bytes_text(n->gpu_bytes, has, sizeof has);
    if (!tile)
        return trouble_set(
            why, "takes %s of the GPU's memory where %s are free, and no tile is small enough",
            takes, has);
    if (n->tile)
        return trouble_set(why, "takes %s of the GPU's memory where %s are free: --tile %d fits",
                           takes, has, tile);
    trouble_set(cut,
                "takes %s of the GPU's memory where %s are free: cut into tiles of %d x %d pixels",
                takes, has, tile, tile);
    n->tile = tile;
    n->overlap = -1;
    *plan = small;
    return true;
}

/* ---- run ---------------------------------------------------------------------------------- */

static double sample(const oriel_image *img, size_t i)
{
    return img->depth == 16 ? ((const uint16_t *)img->data)[i] / 65535.0
                            : ((const uint8_t *)img->data)[i] / 255.0;
}

/* Whether the alpha of a picture that has one is the same everywhere. */
static bool constant_alpha(const oriel_image *img)
{
    size_t n = (size_t)img->width * (size_t)img->height, c = (size_t)img->channels;
    for (size_t i = 1; i < n; i++)
        if (sample(img, i * c + c - 1) != sample(img, c - 1))
            return false;
    return true;
}

/* Channels [first, first + count) of src through all passes to the result's size, into dst. */
static bool run_channels(const network *n, const oriel_image *src, int first, int count,
                         oriel_image *dst, const picture_plan *plan, const float *mask,
                         frame_progress *progress, trouble *why)
{
    frame f = {0};
    bool ok = frame_read(&f, src, first, count, why) && (!mask || frame_bleed(&f, mask, why)) &&
              frame_run(&f, n, plan, progress, why) && frame_write(&f, dst, first, why);
    frame_free(&f);
    return ok;
}

/* All of src in one pass, without floats on the host. */
static bool run_direct(const network *n, const oriel_image *src, oriel_image *dst,
                       frame_progress *progress, trouble *why)
{
    oriel_tensor in, out; /* (1, Y, X, C) on the device */
    bool finite = false;
    if (!frame_room(n, src->width, src->height, &in, &out, why))
        return false;
    oriel_tensor from = oriel_tensor_of(in.data, ORIEL_F32, 3, in.shape + 1);
    oriel_tensor to = oriel_tensor_of(out.data, ORIEL_F32, 3, out.shape + 1);
    bool ok = (!oriel_image_to_device(n->device, src, 0, from) || library_failed(why)) &&
              frame_run_on(n, in, out, (double)src->width * src->height, progress, why) &&
              (!oriel_image_from_device(n->device, dst, 0, to, &finite) || library_failed(why)) &&
              (finite || trouble_set(why, "%s", not_a_number));
    if (!n->gpu)
        frame_room_free(n);
    return ok;
}

static bool resize_alpha(const oriel_image *src, oriel_image *dst, trouble *why)
{
    int last = src->channels - 1;
    frame f = {0};
    bool ok = frame_read(&f, src, last, 1, why) && frame_resize(&f, dst->width, dst->height, why) &&
              frame_write(&f, dst, last, why);
    frame_free(&f);
    return ok;
}

static void fill_alpha(const oriel_image *src, oriel_image *dst)
{
    size_t n = (size_t)dst->width * (size_t)dst->height, c = (size_t)dst->channels;
    double a = sample(src, c - 1);
    for (size_t i = 0; i < n; i++) {
        if (dst->depth == 16)
            ((uint16_t *)dst->data)[i * c + c - 1] = (uint16_t)lrint(a * 65535);
        else
            ((uint8_t *)dst->data)[i * c + c - 1] = (uint8_t)lrint(a * 255);
    }
}

/* Work of all passes over one picture, in pixels of their inputs. */
static double work_of(const network *n, const oriel_image *src, const picture_plan *plan, int runs)
{
    double area = (double)src->width * src->height, sum = 0;
    for (int pass = 0; pass < plan->passes; pass++, area *= n->info.scale * n->info.scale)
        sum += area;
    return sum * runs;
}

bool picture_run(const network *n, const oriel_image *src, oriel_image *dst,
                 oriel_progress_fn *progress, void *user, trouble *why)
{
    picture_plan plan;
    frame alpha = {0};
    int c = colours(src);
    if (!picture_plan_make(n, src, &plan, why))
        return false;
    if (!dst->data && oriel_image_new(dst, plan.width, plan.height, plan.channels, plan.depth))
        return library_failed(why);
    bool keep = plan.channels > c;
    bool constant = keep && constant_alpha(src);
    bool through = keep && (n->alpha == ALPHA_MODEL || (n->alpha == ALPHA_AUTO && !constant));
    bool ok = true;
    if (has_alpha(src) && !constant) /* hidden colours must not shine into what is seen */
        ok = frame_read(&alpha, src, c, 1, why);
    frame_progress p = {progress, user, work_of(n, src, &plan, 1 + through), 0};
    if (plan.direct)
        ok = run_direct(n, src, dst, &p, why);
    else
        ok = ok && run_channels(n, src, 0, c, dst, &plan, alpha.data, &p, why);
    frame_free(&alpha);
    if (ok && through)
        ok = run_channels(n, src, c, 1, dst, &plan, NULL, &p, why);
    else if (ok && keep && constant)
        fill_alpha(src, dst);
    else if (ok && keep)
        ok = resize_alpha(src, dst, why);
    if (ok && !n->drop_metadata && oriel_image_copy_metadata(dst, src))
        ok = library_failed(why);
    if (!ok)
        oriel_image_free(dst);
    return ok;
}
