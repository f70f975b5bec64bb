/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles cover the picture, lie where they should, and blend into what was cut. */
#include <math.h>

#include "core/internal.h"
#include "tests/hash.h"
#include "tests/test.h"

#include <oriel/vision.h>

static oriel_tensor view(float *data, int64_t rows, int64_t columns, int64_t channels)
{
    return oriel_tensor_of(data, ORIEL_F32, 3, (int64_t[]){rows, columns, channels});
}

/* Along one axis: in order, overlapping by what was asked, from border to border, aligned. */
static void check_axis(int size, int tile, int overlap, int align, const int *at, int count,
                       int got)
{
    CHECK_INT(got, ==, tile < size ? tile : size);
    CHECK_INT(at[0], ==, 0);
    CHECK_INT(at[count - 1] + got, ==, size);
    for (int i = 0; i < count; i++)
        if (i + 1 < count)
            CHECK_INT(at[i] % (align ? align : 1), ==, 0);
    for (int i = 1; i < count; i++) {
        CHECK_INT(at[i], >, at[i - 1]);
        CHECK_INT(at[i - 1] + got - at[i], >=, overlap);
    }
}

static void test_plan(void)
{
    static const int sizes[] = {1, 2, 7, 8, 9, 31, 64, 65, 97};
    static const int kinds[][3] = {/* tile, overlap, align */
                                   {1, 0, 0},  {8, 0, 0},  {8, 0, 8},   {8, 3, 0},  {8, 7, 1},
                                   {16, 4, 4}, {16, 5, 8}, {24, 13, 8}, {64, 8, 8}, {200, 16, 8}};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (int w = 0; w < 9; w++)
            for (int h = 0; h < 9; h++) {
                oriel_tiles t;
                int         xs[128], ys[128];
                CHECK_OK(oriel_tiles_plan(&t, sizes[w], sizes[h], kinds[k][0], kinds[k][1],
                                          kinds[k][2]));
                for (int i = 0; i < t.count_x * t.count_y; i++) {
                    oriel_tile tile = oriel_tiles_get(&t, i);
                    int        x = i % t.count_x, y = i / t.count_x;
                    if (y == 0)
                        xs[x] = tile.x;
                    if (x == 0)
                        ys[y] = tile.y;
                    if (tile.x != xs[x] || tile.y != ys[y] || tile.width != t.tile_x ||
                        tile.height != t.tile_y)
                        CHECK(!"tiles form a grid");
                }
                check_axis(sizes[w], kinds[k][0], kinds[k][1], kinds[k][2], xs, t.count_x,
                           t.tile_x);
                check_axis(sizes[h], kinds[k][0], kinds[k][1], kinds[k][2], ys, t.count_y,
                           t.tile_y);
            }
    /* no more of them than needed */
    oriel_tiles t;
    CHECK_OK(oriel_tiles_plan(&t, 100, 64, 64, 16, 8));
    CHECK(t.count_x == 2 && t.count_y == 1);
    CHECK(oriel_tiles_get(&t, 1).x == 36);
    CHECK_OK(oriel_tiles_plan(&t, 112, 113, 64, 16, 8));
    CHECK(t.count_x == 2 && t.count_y == 3);
}

static int64_t at(const oriel_tensor *t, int64_t y, int64_t x, int64_t c)
{
    return y * t->stride[0] + x * t->stride[1] + c * t->stride[2];
}

/* Cut a picture into its tiles, pixels repeated `scale` times, blend: the same picture again. With
 * strides that are all odd, and NaN in the gaps. Weights are rounded, and the sum once a tile. */
static void check_blend(int width, int height, int tile, int overlap, int align, int scale, int C)
{
    oriel_tiles t;
    CHECK_OK(oriel_tiles_plan(&t, width, height, tile, overlap, align));
    int64_t      W = width * scale, H = height * scale, w = t.tile_x * scale, h = t.tile_y * scale;
    size_t       out_size = (size_t)((W * (C * 2 + 1) + 3) * H), in_size = (size_t)(w * h * C);
    float       *big = malloc(out_size * sizeof *big), *cut = malloc(in_size * sizeof *cut);
    oriel_tensor in = view(cut, h, w, C);
    oriel_tensor out = {.data = big + (W * (C * 2 + 1) + 3) * (H - 1), .ndim = 3,
                        .shape = {H, W, C}, .stride = {-(W * (C * 2 + 1) + 3), C * 2 + 1, 2}};
    if (!big || !cut)
        abort();
    for (size_t i = 0; i < out_size; i++)
        big[i] = NAN;
    for (int64_t i = 0; i < H * W * C; i++)
        ((float *)out.data)[at(&out, i / C / W, i / C % W, i % C)] = 0;
    for (int n = 0; n < t.count_x * t.count_y; n++) {
        oriel_tile place = oriel_tiles_get(&t, n);
        for (int64_t i = 0; i < w * h * C; i++) {
            int64_t y = i / C / w / scale + place.y, x = i / C % w / scale + place.x;
            cut[i] = test_unit(5, (uint64_t)((y * width + x) * C + i % C));
        }
        CHECK_OK(oriel_tiles_blend(&t, n, scale, out, in));
    }
    double worst = 0;
    int    numbers = 0;
    for (int64_t i = 0; i < H * W * C; i++) {
        int64_t y = i / C / W / scale, x = i / C % W / scale;
        double  want = (double)test_unit(5, (uint64_t)((y * width + x) * C + i % C));
        double  got = (double)((float *)out.data)[at(&out, i / C / W, i / C % W, i % C)];
        worst = got == got ? fmax(worst, fabs(got - want)) : INFINITY;
    }
    for (size_t i = 0; i < out_size; i++)
        numbers += big[i] == big[i];
    int meet = (t.tile_x / (tile - overlap) + 2) * (t.tile_y / (tile - overlap) + 2);
    CHECK_NUM(worst, <=, (4 + meet) * 0x1p-24);
    CHECK_INT(numbers, ==, H * W * C);
    free(big);
    free(cut);
}

static void test_blend(void)
{
    check_blend(1, 1, 8, 2, 0, 1, 1);
    check_blend(23, 17, 8, 0, 0, 2, 3);
    check_blend(23, 17, 8, 3, 0, 1, 3);
    check_blend(40, 29, 16, 5, 8, 4, 3);
    check_blend(37, 41, 24, 13, 8, 3, 2);
    check_blend(31, 13, 8, 7, 1, 1, 4);  /* eight tiles meet along an axis */
    check_blend(700, 3, 301, 20, 0, 1, 1); /* wider than a piece of weights */
}

/* Across an overlap of four the right tile weighs 0, 1/4, 3/4, 1; at a corner, products. */
static void test_feather(void)
{
    oriel_tiles t;
    float       one[8 * 8], zero[8 * 8] = {0}, out[12 * 12] = {0};
    for (int i = 0; i < 64; i++)
        one[i] = 1;
    CHECK_OK(oriel_tiles_plan(&t, 12, 12, 8, 4, 0));
    CHECK_INT(t.count_x * t.count_y, ==, 4);
    for (int i = 0; i < 4; i++)
        CHECK_OK(oriel_tiles_blend(&t, i, 1, view(out, 12, 12, 1),
                                   view(i == 3 ? one : zero, 8, 8, 1)));
    for (int i = 0; i < 144; i++) {
        double x = fmin(fmax((i % 12 - 3.5) / 2 - 0.5, 0), 1);
        double y = fmin(fmax((i / 12 - 3.5) / 2 - 0.5, 0), 1);
        CHECK_NUM(fabs((double)out[i] - x * y), <=, 3 * 0x1p-24);
    }
}

static void test_arguments(void)
{
    oriel_tiles  t, bad;
    float        a[48 * 4], b[48 * 4];
    oriel_tensor out = view(a, 6, 8, 1), tile = view(b, 4, 4, 1), x;
    CHECK_FAILS(oriel_tiles_plan(NULL, 8, 6, 4, 1, 0), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_plan(&t, 0, 6, 4, 1, 0), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_plan(&t, 8, -1, 4, 1, 0), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_plan(&t, ORIEL_IMAGE_MAX_SIDE + 1, 6, 4, 1, 0), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_plan(&t, 8, 6, 0, 0, 0), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_plan(&t, 8, 6, 4, -1, 0), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_plan(&t, 8, 6, 4, 4, 0), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_plan(&t, 8, 6, 4, 1, -1), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_plan(&t, 8, 6, 4, 1, 4), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_plan(&t, 1 << 20, 1 << 20, 1, 0, 0), ORIEL_E_ARG);
    CHECK_OK(oriel_tiles_plan(&t, 1 << 20, 1, 1, 0, 0));
    CHECK_OK(oriel_tiles_plan(&t, 8, 6, 4, 1, 3));
    CHECK_INT(oriel_tiles_get(&t, -1).width, ==, 0);
    CHECK_INT(oriel_tiles_get(&t, t.count_x * t.count_y).width, ==, 0);
    memset(a, 0, sizeof a);
    memset(b, 0, sizeof b);
    CHECK_OK(oriel_tiles_blend(&t, 0, 1, out, tile));
    CHECK_FAILS(oriel_tiles_blend(NULL, 0, 1, out, tile), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_blend(&t, -1, 1, out, tile), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_blend(&t, t.count_x * t.count_y, 1, out, tile), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_blend(&t, 0, 0, out, tile), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_blend(&t, 0, 2, out, tile), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_blend(&t, 0, 2, view(a, 12, 16, 1), tile), ORIEL_E_ARG);
    CHECK_FAILS(oriel_tiles_blend(&t, 0, 1, out, view(b, 4, 4, 3)), ORIEL_E_ARG);
    x = out, x.data = NULL;
    CHECK_FAILS(oriel_tiles_blend(&t, 0, 1, x, tile), ORIEL_E_ARG);
    x = tile, x.dtype = ORIEL_F64;
    CHECK_FAILS(oriel_tiles_blend(&t, 0, 1, out, x), ORIEL_E_ARG);
    x = tile, x.ndim = 2;
    CHECK_FAILS(oriel_tiles_blend(&t, 0, 1, out, x), ORIEL_E_ARG);
    bad = t, bad.align = 0;
    CHECK_FAILS(oriel_tiles_blend(&bad, 0, 1, out, tile), ORIEL_E_ARG);
    bad = t, bad.count_x++;
    CHECK_FAILS(oriel_tiles_blend(&bad, 0, 1, out, tile), ORIEL_E_ARG);
    bad = t, bad.overlap = 4;
    CHECK_FAILS(oriel_tiles_blend(&bad, 0, 1, out, tile), ORIEL_E_ARG);
}

int main(void)
{
    test_plan();
    test_blend();
    test_feather();
    test_arguments();
    return test_end();
}
