/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiles: where they lie, and how their borders fade into each other.
 *
 * Along an axis tile i begins at i * step, the last one so that it ends with the picture. Where it
 * was cut a network's result is wrong, by tens of levels in the outermost window and hardly at all three
 * windows further in; so in an overlap with the tile before or after it a tile's weight is 0 in the
 * outer quarter, rises linearly over the middle half, and is 1 in the last quarter. Divided by the sum
 * over the tiles at a pixel, weights sum to 1 even where more than two meet: of these some tile is past
 * its outer quarter. The weight of a pixel is the product of those along x and y.
 */
#include "core/internal.h"

#include <oriel/vision.h>

/* ---- along one axis ------------------------------------------------------------------------ */

typedef struct axis {
    int64_t size, tile, step, count;
} axis;

static axis axis_of(int size, int tile, int overlap, int align)
{
    axis a = {.size = size, .tile = tile < size ? tile : size, .step = 1, .count = 1};
    if (tile < size) {
        a.step = (tile - overlap) / align * align;
        a.count = 1 + oriel_ceil_div(size - tile, a.step);
    }
    return a;
}

static axis axis_x(const oriel_tiles *t)
{
    return axis_of(t->width, t->tile_x, t->overlap, t->align);
}

static axis axis_y(const oriel_tiles *t)
{
    return axis_of(t->height, t->tile_y, t->overlap, t->align);
}

static int64_t origin(axis a, int64_t i)
{
    return oriel_min(i * a.step, a.size - a.tile);
}

/* The weight at this share of an overlap, from the tile's cut edge inwards. */
static double feather(double share)
{
    double v = 2 * share - 0.5;
    return v < 0 ? 0 : v < 1 ? v : 1;
}

/* Tile i's share of upscaled pixel p before it is divided by the sum; 0 outside the tile. */
static double ramp(axis a, int64_t i, int64_t p, int scale)
{
    double begin = (double)(origin(a, i) * scale), end = begin + (double)(a.tile * scale);
    double at = (double)p + 0.5, v = 1;
    if (at < begin || at > end)
        return 0;
    if (i > 0) {
        double overlap = (double)((origin(a, i - 1) + a.tile) * scale) - begin;
        v = at - begin < overlap ? feather((at - begin) / overlap) : v;
    }
    if (i + 1 < a.count) {
        double overlap = end - (double)(origin(a, i + 1) * scale);
        double right = end - at < overlap ? feather((end - at) / overlap) : 1;
        v = right < v ? right : v;
    }
    return v;
}

/* The weight of tile i at pixel p of its own. */
static float weight(axis a, int64_t i, int64_t p, int scale)
{
    int64_t at = origin(a, i) * scale + p, x = at / scale;
    double  sum = 0;
    for (int64_t j = i; j >= 0 && origin(a, j) + a.tile > x; j--)
        sum += ramp(a, j, at, scale);
    for (int64_t j = i + 1; j < a.count && origin(a, j) <= x; j++)
        sum += ramp(a, j, at, scale);
    return (float)(ramp(a, i, at, scale) / sum);
}

/* ---- plan ---------------------------------------------------------------------------------- */

oriel_status oriel_tiles_plan(oriel_tiles *t, int width, int height, int tile, int overlap,
                              int align)
{
    if (!t)
        return oriel_fail(ORIEL_E_ARG, "tiles: nowhere to put the plan");
    if (width < 1 || width > ORIEL_IMAGE_MAX_SIDE || height < 1 || height > ORIEL_IMAGE_MAX_SIDE)
        return oriel_fail(ORIEL_E_ARG, "tiles: a picture of %d x %d", width, height);
    if (tile < 1 || overlap < 0 || overlap >= tile)
        return oriel_fail(ORIEL_E_ARG, "tiles: size %d with overlap %d", tile, overlap);
    if (align < 0 || align > tile - overlap)
        return oriel_fail(ORIEL_E_ARG, "tiles: no step of %d fits size %d less overlap %d", align,
                          tile, overlap);
    align = align ? align : 1;
    axis x = axis_of(width, tile, overlap, align), y = axis_of(height, tile, overlap, align);
    if (x.count * y.count > INT_MAX)
        return oriel_fail(ORIEL_E_ARG, "tiles: %lld x %lld of them are too many",
                          (long long)x.count, (long long)y.count);
    *t = (oriel_tiles){width,           height, (int)x.tile,  (int)y.tile,
                       overlap, (int)x.count, (int)y.count, align};
    return ORIEL_OK;
}

/* Is this what oriel_tiles_plan() made? */
static bool planned(const oriel_tiles *t)
{
    if (!t || t->width < 1 || t->width > ORIEL_IMAGE_MAX_SIDE || t->height < 1 ||
        t->height > ORIEL_IMAGE_MAX_SIDE || t->tile_x < 1 || t->tile_x > t->width ||
        t->tile_y < 1 || t->tile_y > t->height || t->overlap < 0 || t->align < 1)
        return false;
    if ((t->tile_x < t->width && t->tile_x - t->overlap < t->align) ||
        (t->tile_y < t->height && t->tile_y - t->overlap < t->align))
        return false;
    return t->count_x == axis_x(t).count && t->count_y == axis_y(t).count &&
           (int64_t)t->count_x * t->count_y <= INT_MAX;
}

oriel_tile oriel_tiles_get(const oriel_tiles *t, int index)
{
    if (!planned(t) || index < 0 || index >= t->count_x * t->count_y)
        return (oriel_tile){0};
    return (oriel_tile){(int)origin(axis_x(t), index % t->count_x),
                        (int)origin(axis_y(t), index / t->count_x), t->tile_x, t->tile_y};
}

/* ---- blend --------------------------------------------------------------------------------- */

static oriel_status check_tensor(const char *name, const oriel_tensor *t, int64_t rows,
                                 int64_t columns)
{
    char text[128];
    if (!t->data || t->dtype != ORIEL_F32 || t->ndim != 3 || t->shape[0] != rows ||
        t->shape[1] != columns || t->shape[2] < 1)
        return oriel_fail(ORIEL_E_ARG, "tiles: %s is %s%s, not f32 (%lld, %lld, C)", name,
                          oriel_tensor_str(t, text, sizeof text), t->data ? "" : " without data",
                          (long long)rows, (long long)columns);
    return ORIEL_OK;
}

oriel_status oriel_tiles_blend(const oriel_tiles *t, int index, int scale, oriel_tensor out,
                               oriel_tensor tile)
{
    enum { PIECE = 256 }; /* columns whose weights are at hand */
    float        across[PIECE];
    oriel_status s;
    if (!planned(t) || index < 0 || index >= t->count_x * t->count_y)
        return oriel_fail(ORIEL_E_ARG, "tiles: no tile %d in this plan", index);
    if (scale < 1 || scale > ORIEL_IMAGE_MAX_SIDE)
        return oriel_fail(ORIEL_E_ARG, "tiles: scale %d", scale);
    const int64_t rows = (int64_t)t->tile_y * scale, columns = (int64_t)t->tile_x * scale;
    if ((s = check_tensor("out", &out, (int64_t)t->height * scale, (int64_t)t->width * scale)) ||
        (s = check_tensor("tile", &tile, rows, columns)))
        return s;
    if (out.shape[2] != tile.shape[2])
        return oriel_fail(ORIEL_E_ARG, "tiles: out has %lld channels, tile %lld",
                          (long long)out.shape[2], (long long)tile.shape[2]);

    const axis    ax = axis_x(t), ay = axis_y(t);
    const int64_t i = index % t->count_x, j = index / t->count_x, C = out.shape[2];
    const float  *src = tile.data;
    float        *dst = (float *)out.data + origin(ay, j) * scale * out.stride[0] +
                 origin(ax, i) * scale * out.stride[1];
    for (int64_t begin = 0; begin < columns; begin += PIECE) {
        int64_t end = oriel_min(begin + PIECE, columns);
        for (int64_t x = begin; x < end; x++)
            across[x - begin] = weight(ax, i, x, scale);
        for (int64_t y = 0; y < rows; y++) {
            const float down = weight(ay, j, y, scale);
            for (int64_t x = begin; x < end; x++) {
                const float *p = src + y * tile.stride[0] + x * tile.stride[1];
                float       *q = dst + y * out.stride[0] + x * out.stride[1];
                for (int64_t c = 0; c < C; c++)
                    q[c * out.stride[2]] += across[x - begin] * down * p[c * tile.stride[2]];
            }
        }
    }
    return ORIEL_OK;
}
