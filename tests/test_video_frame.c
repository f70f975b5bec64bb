/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: planes, holds, tags, names of formats, and what can be no frame. */
#include <limits.h>

#include "tests/test.h"
#include "video/video.h"

static const oriel_pixels yuv420 = {.depth = 8, .shift_x = 1, .shift_y = 1};

static void planes(void)
{
    static const struct {
        oriel_pixels p;
        int          planes, size[4][2]; /* of 5 x 7 */
    } cases[] = {{{.depth = 8, .shift_x = 1, .shift_y = 1}, 3, {{5, 7}, {3, 4}, {3, 4}}},
                 {{.depth = 10, .shift_x = 1, .alpha = true}, 4, {{5, 7}, {3, 7}, {3, 7}, {5, 7}}},
                 {{.depth = 8, .shift_x = 2, .shift_y = 2}, 3, {{5, 7}, {2, 2}, {2, 2}}},
                 {{ORIEL_PIXELS_GREY, 16, 0, 0, false}, 1, {{5, 7}}},
                 {{ORIEL_PIXELS_GREY, 8, 0, 0, true}, 2, {{5, 7}, {5, 7}}},
                 {{ORIEL_PIXELS_RGB, 12, 0, 0, true}, 4, {{5, 7}, {5, 7}, {5, 7}, {5, 7}}}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        oriel_frame f;
        CHECK_OK(oriel_frame_new(&f, 5, 7, cases[k].p));
        CHECK_INT(oriel_pixels_planes(f.pixels), ==, cases[k].planes);
        CHECK(f.pts == ORIEL_NO_TIME && !f.duration && !f.colour.matrix && !f.extra);
        for (int i = 0; i < ORIEL_PLANES; i++) {
            int w, h;
            if (i >= cases[k].planes) {
                CHECK(!f.plane[i] && !f.stride[i]);
                continue;
            }
            oriel_frame_plane_size(&f, i, &w, &h);
            CHECK(w == cases[k].size[i][0] && h == cases[k].size[i][1]);
            CHECK_INT((uintptr_t)f.plane[i] % 64, ==, 0);
            CHECK_INT(f.stride[i] % 64, ==, 0);
            memset(f.plane[i], i, (size_t)f.stride[i] * (size_t)h); /* the sanitizer sees a byte too many */
        }
        for (int i = 0; i < cases[k].planes; i++)
            CHECK_INT(f.plane[i][0], ==, i); /* planes are apart */
        oriel_frame_free(&f);
        CHECK(!f.owner && !f.plane[0] && !f.width);
        oriel_frame_free(&f);
    }
    oriel_frame_free(NULL);
}

static int freed;

static void count_free(void *what)
{
    freed++;
    oriel_dealloc(what);
}

static void holds(void)
{
    oriel_frame f, held, other;
    CHECK_OK(oriel_frame_new(&f, 4, 4, yuv420));
    CHECK_OK(oriel_frame_new(&other, 4, 4, yuv420));
    f.extra = video_share(oriel_alloc(1), count_free);
    f.colour = (oriel_colour){1, 2, 3, ORIEL_RANGE_FULL, ORIEL_CHROMA_LEFT};
    f.aspect[0] = 4;
    f.aspect[1] = 3;
    f.fields = ORIEL_TOP_FIRST;
    f.pts = 77;
    f.duration = 2;
    held = oriel_frame_hold(&f);
    CHECK(held.plane[0] == f.plane[0] && held.pts == 77);
    oriel_frame_copy_tags(&other, &f);
    CHECK(other.pts == 77 && other.duration == 2 && other.fields == ORIEL_TOP_FIRST && other.aspect[0] == 4 &&
          other.aspect[1] == 3 && !memcmp(&other.colour, &f.colour, sizeof f.colour) && other.extra == f.extra);
    CHECK(other.plane[0] != f.plane[0]);
    oriel_frame_copy_tags(&other, &other); /* itself */
    oriel_frame_free(&f);
    CHECK_INT(freed, ==, 0);
    memset(held.plane[0], 1, 4); /* still there */
    oriel_frame_free(&held);
    CHECK_INT(freed, ==, 0);
    oriel_frame plain;
    CHECK_OK(oriel_frame_new(&plain, 1, 1, yuv420));
    oriel_frame_copy_tags(&other, &plain); /* lets go of what it had */
    CHECK_INT(freed, ==, 1);
    CHECK(!other.extra && other.pts == ORIEL_NO_TIME);
    oriel_frame_free(&other);
    oriel_frame_free(&plain);
    oriel_frame mine = {.width = 1, .height = 1, .pixels = yuv420, .plane = {(uint8_t[1]){0}}}; /* the caller's memory */
    held = oriel_frame_hold(&mine);
    oriel_frame_free(&held);
    oriel_frame_free(&mine);
}

static void same(void)
{
    for (int depth = 8; depth <= 16; depth += 8) {
        oriel_frame a, b;
        oriel_pixels p = {.depth = depth, .shift_x = 1, .shift_y = 1, .alpha = true};
        CHECK_OK(oriel_frame_new(&a, 5, 3, p));
        CHECK_OK(oriel_frame_new(&b, 5, 3, p));
        for (int i = 0; i < 4; i++) {
            int w, h, bytes = depth / 8;
            oriel_frame_plane_size(&a, i, &w, &h);
            for (int y = 0; y < h; y++) { /* what lies behind the rows differs */
                memset(a.plane[i] + y * a.stride[i], 1, (size_t)a.stride[i]);
                memset(b.plane[i] + y * b.stride[i], 2, (size_t)b.stride[i]);
                memset(b.plane[i] + y * b.stride[i], 1, (size_t)(w * bytes));
            }
        }
        b.pts = 5;
        CHECK(oriel_frame_same(&a, &b) && oriel_frame_same(&a, &a));
        for (int i = 0; i < 4; i++) { /* any first or last sample is seen */
            int w, h, bytes = depth / 8;
            oriel_frame_plane_size(&a, i, &w, &h);
            uint8_t *last = b.plane[i] + (h - 1) * b.stride[i] + w * bytes - 1;
            b.plane[i][0]++;
            CHECK(!oriel_frame_same(&a, &b));
            b.plane[i][0]--;
            ++*last;
            CHECK(!oriel_frame_same(&a, &b));
            --*last;
        }
        CHECK(oriel_frame_same(&a, &b));
        for (int k = 0; k < 6; k++) { /* another form is never the same */
            oriel_frame c = oriel_frame_hold(&a);
            c.width -= k == 0;
            c.height -= k == 1;
            c.pixels.alpha = k != 2;
            c.pixels.shift_x = k != 3;
            c.pixels.shift_y = k != 4;
            c.pixels.depth = k == 5 ? 24 - depth : depth;
            CHECK(!oriel_frame_same(&a, &c) && !oriel_frame_same(&c, &a));
            oriel_frame_free(&c);
        }
        oriel_frame_free(&a);
        oriel_frame_free(&b);
    }
}

static void names(void)
{
    static const char *const good[] = {"yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "yuva420p",
                                       "yuva444p16", "yuv420p10", "yuv420p9", "gray", "gray10", "gray16", "gbrp", "gbrp12",
                                       "gbrap", "gbrap16"};
    static const char *const bad[] = {"", "yuv", "yuv420", "yuv420p1", "yuv420p7", "yuv420p17", "yuv420p010", "yuv420p10be",
                                      "yuv420p10le2", "yuv430p", "nv12", "rgb24", "gbr", "gbrpx", "gray8x", "YUV420P", "yuv420pp",
                                      "yuv420p99999999999", "yuvja420p"};
    oriel_pixels p, q;
    char name[24];
    for (size_t k = 0; k < sizeof good / sizeof *good; k++) {
        CHECK(oriel_pixels_named(&p, good[k]));
        CHECK(!strcmp(oriel_pixels_name(p, name, sizeof name), good[k]));
        CHECK(!oriel_frame_check(1, 1, p));
    }
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        if (oriel_pixels_named(&p, bad[k])) {
            fprintf(stderr, "%s is taken for a format\n", bad[k]);
            CHECK(false);
        }
    CHECK(oriel_pixels_named(&p, "yuvj420p") && oriel_pixels_named(&q, "yuv420p") && !memcmp(&p, &q, sizeof p));
    CHECK(oriel_pixels_named(&p, "yuv420p10le") && p.depth == 10);
    CHECK(oriel_pixels_named(&p, "grey") && p.model == ORIEL_PIXELS_GREY);
    for (int i = 0; i < 4096; i++) { /* all that can be a frame has a name, and room for it */
        p = (oriel_pixels){(oriel_pixel_model)(i % 3), 8 + i / 3 % 9, i / 27 % 3, i / 81 % 3, i / 243 % 2};
        if (!oriel_frame_check(1, 1, p))
            CHECK_INT(strlen(oriel_pixels_name(p, name, sizeof name)), <, sizeof name - 1);
    }
}

static void refusals(void)
{
    oriel_frame f;
    static const struct {
        int          width, height;
        oriel_pixels p;
    } bad[] = {{0, 1, {.depth = 8}},        {1, 0, {.depth = 8}},       {-1, 1, {.depth = 8}},       {65537, 1, {.depth = 8}},
               {1, INT_MAX, {.depth = 8}},  {1, 1, {.depth = 7}},       {1, 1, {.depth = 17}},       {1, 1, {.depth = 0}},
               {1, 1, {.depth = 8, .shift_x = 3}}, {1, 1, {.depth = 8, .shift_y = -1}},
               {1, 1, {ORIEL_PIXELS_RGB, 8, 1, 0, false}}, {1, 1, {(oriel_pixel_model)3, 8, 0, 0, false}},
               {1, 1, {(oriel_pixel_model)-1, 8, 0, 0, false}}};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        CHECK_FAILS(oriel_frame_check(bad[k].width, bad[k].height, bad[k].p), ORIEL_E_ARG);
        CHECK_FAILS(oriel_frame_new(&f, bad[k].width, bad[k].height, bad[k].p), ORIEL_E_ARG);
        CHECK(!f.width && !f.owner);
    }
    CHECK_OK(oriel_frame_check(65536, 65536, yuv420));
    for (uint64_t n = 1; n <= 2; n++) {
        oriel_alloc_fail_at(n);
        CHECK_FAILS(oriel_frame_new(&f, 4, 4, yuv420), ORIEL_E_NOMEM);
        oriel_alloc_fail_at(0);
        CHECK(!f.width && !f.plane[0] && !f.owner);
    }
}

int main(void)
{
    planes();
    holds();
    same();
    names();
    refusals();
    return test_end();
}
