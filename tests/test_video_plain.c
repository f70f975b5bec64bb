/* SPDX-License-Identifier: Apache-2.0 */
/* y4m and raw frames: there and back, and every way in which files and pipes go wrong. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/test.h"
#include "video/plain.h"

static char folder[] = "/tmp/oriel-video-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[4][512];
    static int turn;
    char *p = path[turn++ & 3];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static uint32_t noise(void)
{
    static uint32_t x = 1;
    x = x * 1664525u + 1013904223u;
    return x >> 12;
}

/* A frame of noise; samples behind the rows' ends are of another kind. */
static oriel_frame frame_of(int width, int height, oriel_pixels p, int64_t pts)
{
    oriel_frame f;
    CHECK_OK(oriel_frame_new(&f, width, height, p));
    for (int i = 0; i < oriel_pixels_planes(p); i++) {
        int w, h;
        oriel_frame_plane_size(&f, i, &w, &h);
        for (int y = 0; y < h; y++) {
            memset(f.plane[i] + y * f.stride[i], 0xa5, (size_t)f.stride[i]);
            for (int x = 0; x < w; x++)
                if (p.depth == 8)
                    f.plane[i][y * f.stride[i] + x] = (uint8_t)noise();
                else
                    ((uint16_t *)(void *)(f.plane[i] + y * f.stride[i]))[x] =
                        (uint16_t)(noise() & ((1u << p.depth) - 1));
        }
    }
    f.pts = pts;
    return f;
}

static oriel_video_info info_of(int width, int height, oriel_pixels p)
{
    return (oriel_video_info){.width = width, .height = height, .pixels = p, .time_base = {1001, 30000},
                              .rate = {30000, 1001}, .aspect = {4, 3}, .fields = ORIEL_BOTTOM_FIRST,
                              .colour = {.range = ORIEL_RANGE_FULL, .site = ORIEL_CHROMA_TOPLEFT}};
}

static bool same_head(const oriel_video_info *a, const oriel_video_info *b)
{
    return a->width == b->width && a->height == b->height && !memcmp(a->time_base, b->time_base, sizeof a->time_base) &&
           !memcmp(a->rate, b->rate, sizeof a->rate) && !memcmp(a->aspect, b->aspect, sizeof a->aspect) &&
           a->fields == b->fields && a->colour.range == b->colour.range;
}

/* Three frames to a file and from it. raw: how raw frames are told, NULL for y4m. */
static void there_and_back(const char *path, const oriel_video_info *info, const char *pix_fmt, const char *raw)
{
    oriel_video_writer *w = NULL;
    oriel_video_reader *r = NULL;
    oriel_frame f[3], g = {0};
    oriel_video_writer_options wo = {.pix_fmt = pix_fmt, .container = raw ? "raw" : NULL};
    CHECK_OK(oriel_video_create(&w, path, info, &wo));
    for (int i = 0; i < 3; i++)
        f[i] = frame_of(info->width, info->height, info->pixels, 7 + i);
    for (int i = 0; w && i < 3; i++)
        CHECK_OK(oriel_video_write(w, &f[i]));
    CHECK(access(path, F_OK) != 0); /* not before it is complete */
    if (w) {
        CHECK_OK(oriel_video_finish(w));
        CHECK_INT(oriel_video_written_of(w).frames, ==, 3);
        CHECK(!*oriel_video_written_of(w).notes);
    }
    oriel_video_writer_free(&w);
    CHECK_OK(oriel_video_open(&r, path, &(oriel_video_reader_options){.raw = raw, .strict = true}));
    if (r) {
        const oriel_video_info *got = oriel_video_info_of(r);
        CHECK(raw || same_head(got, info));
        CHECK_INT(got->frames, ==, 3);
        for (int i = 0; i < 3; i++) {
            CHECK_OK(oriel_video_read(r, &g));
            CHECK(oriel_frame_same(&f[i], &g));
            CHECK_INT(g.pts, ==, i);
            CHECK_INT(g.duration, ==, 1);
            oriel_frame_free(&g);
        }
        CHECK(oriel_video_read(r, &g) == ORIEL_EOF);
        CHECK(oriel_video_read(r, &g) == ORIEL_EOF);
        oriel_video_damage d = oriel_video_damage_of(r);
        CHECK_INT(d.packets + d.frames + d.resized, ==, 0);
    }
    oriel_video_reader_free(&r);
    for (int i = 0; i < 3; i++)
        oriel_frame_free(&f[i]);
    CHECK(!unlink(path));
}

static const int sizes[][2] = {{1, 1}, {2, 2}, {3, 5}, {64, 2}, {101, 35}};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void y4m_formats(void)
{
    static const char *const names[] = {"yuv420p",   "yuv422p",   "yuv444p",   "yuv440p",   "yuv411p",  "gray",
                                        "yuva444p",  "yuv420p9",  "yuv420p10", "yuv420p12", "yuv420p14", "yuv420p16",
                                        "yuv422p10", "yuv422p16", "yuv444p10", "yuv444p12", "yuv444p16", "gray9",
                                        "gray10",    "gray12",    "gray16"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        for (int i = 0; i < SIZES; i++) {
            oriel_pixels p;
            CHECK(oriel_pixels_named(&p, names[k]));
            oriel_video_info info = info_of(sizes[i][0], sizes[i][1], p);
            if (p.depth > 8 || p.model != ORIEL_PIXELS_YUV || !p.shift_x || !p.shift_y)
                info.colour.site = ORIEL_CHROMA_UNKNOWN;
            there_and_back(in_folder("a.y4m"), &info, NULL, NULL);
        }
}

static void raw_formats(void)
{
    static const char *const names[] = {
        "yuv420p", "yuv422p", "yuv444p",  "yuv440p",  "yuv410p",  "yuva420p", "yuv420p10", "yuv444p16", "gray",   "gray12",
        "gbrp",    "gbrap",   "gbrp10",   "rgb24",    "bgr24",    "rgba",     "bgra",      "argb",      "abgr",   "rgb0",
        "bgr0",    "0rgb",    "0bgr",     "rgb48le",  "bgr48le",  "rgba64le", "bgra64le",  "ya8",       "ya16le", "nv12",
        "nv21",    "nv16",    "nv24",     "p010le",   "p012le",   "p016le",   "p210le",    "yuyv422",   "uyvy422"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        for (int i = 0; i < SIZES; i++) {
            plain_layout l;
            char raw[64];
            CHECK(plain_layout_named(&l, names[k]));
            oriel_video_info info = info_of(sizes[i][0], sizes[i][1], l.pixels);
            snprintf(raw, sizeof raw, "%dx%d:%s:30000/1001", info.width, info.height, names[k]);
            there_and_back(in_folder("a.raw"), &info, names[k], raw);
        }
}

int main(void)
{
    CHECK(mkdtemp(folder));
    y4m_formats();
    raw_formats();
    CHECK(!rmdir(folder));
    return test_end();
}
