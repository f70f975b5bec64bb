/* SPDX-License-Identifier: Apache-2.0 */
/* y4m and raw frames: there and back, what first lines say, and clips that are not whole. What goes wrong
 * in writing is in test_video_plain_write.c. */
#include <fcntl.h>

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

/* Bytes 1, 2, 3, ... as 2 x 2 pixels: where each plane's first and second sample come from. */
static void known_bytes(void)
{
    static const struct {
        const char *name;
        int         bytes, first[4], second[4];
    } cases[] = {{"yuv420p", 6, {1, 5, 6}, {2}},
                 {"yuva444p", 16, {1, 5, 9, 13}, {2, 6, 10, 14}},
                 {"gbrp", 12, {9, 1, 5}, {10, 2, 6}},
                 {"gbrap", 16, {9, 1, 5, 13}, {10, 2, 6, 14}},
                 {"rgb24", 12, {1, 2, 3}, {4, 5, 6}},
                 {"bgr24", 12, {3, 2, 1}, {6, 5, 4}},
                 {"rgba", 16, {1, 2, 3, 4}, {5, 6, 7, 8}},
                 {"bgra", 16, {3, 2, 1, 4}, {7, 6, 5, 8}},
                 {"argb", 16, {2, 3, 4, 1}, {6, 7, 8, 5}},
                 {"abgr", 16, {4, 3, 2, 1}, {8, 7, 6, 5}},
                 {"rgb0", 16, {1, 2, 3}, {5, 6, 7}},
                 {"bgr0", 16, {3, 2, 1}, {7, 6, 5}},
                 {"0rgb", 16, {2, 3, 4}, {6, 7, 8}},
                 {"0bgr", 16, {4, 3, 2}, {8, 7, 6}},
                 {"ya8", 8, {1, 2}, {3, 4}},
                 {"nv12", 6, {1, 5, 6}, {2}},
                 {"nv21", 6, {1, 6, 5}, {2}},
                 {"nv16", 8, {1, 5, 6}, {2}},
                 {"nv24", 12, {1, 5, 6}, {2, 7, 8}},
                 {"yuyv422", 8, {1, 2, 4}, {3}},
                 {"uyvy422", 8, {2, 1, 3}, {4}},
                 {"rgb48le", 24, {0x201, 0x403, 0x605}, {0x807, 0xa09, 0xc0b}},
                 {"rgba64le", 32, {0x201, 0x403, 0x605, 0x807}, {0xa09}},
                 {"p016le", 12, {0x201, 0xa09, 0xc0b}, {0x403}},
                 {"p010le", 12, {0x201 >> 6, 0xa09 >> 6, 0xc0b >> 6}, {0x403 >> 6}},
                 {"yuv420p10", 12, {0x201, 0x3ff, 0x3ff}, {0x3ff}}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char raw[64], path[512];
        oriel_video_reader *r = NULL;
        oriel_frame f = {0};
        int wrong = 0;
        snprintf(raw, sizeof raw, "2x2:%s:25", cases[k].name);
        snprintf(path, sizeof path, "%s", in_folder("known"));
        FILE *file = fopen(path, "wb");
        for (int i = 0; i < cases[k].bytes; i++)
            putc(i + 1, file);
        CHECK(!fclose(file));
        CHECK_OK(oriel_video_open(&r, path, &(oriel_video_reader_options){.raw = raw}));
        CHECK_INT(oriel_video_info_of(r)->frames, ==, 1);
        CHECK_OK(oriel_video_read(r, &f));
        for (int i = 0; i < oriel_pixels_planes(f.pixels); i++) {
            bool two = f.pixels.depth > 8;
            const uint16_t *wide = (const uint16_t *)(const void *)f.plane[i];
            wrong += (two ? wide[0] : f.plane[i][0]) != cases[k].first[i];
            wrong += cases[k].second[i] && (two ? wide[1] : f.plane[i][1]) != cases[k].second[i];
        }
        if (wrong)
            fprintf(stderr, "%s: %d samples are not where they should be\n", cases[k].name, wrong);
        CHECK_INT(wrong, ==, 0);
        oriel_frame_free(&f);
        oriel_video_reader_free(&r);
        CHECK(!unlink(path));
    }
}

/* ---- first lines -------------------------------------------------------------------------- */

static oriel_video_reader *opened(const char *bytes, size_t size, const oriel_video_reader_options *opt,
                                  oriel_status due)
{
    oriel_video_reader *r = NULL;
    const char *path = in_folder("given");
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, size, f) == size && !fclose(f));
    if (due)
        CHECK_FAILS(oriel_video_open(&r, path, opt), due);
    else
        CHECK_OK(oriel_video_open(&r, path, opt));
    CHECK(!r == !!due);
    CHECK(!unlink(path));
    return r;
}

static void heads(void)
{
    static const struct {
        const char *line, *format;
        int         rate[2], aspect[2], fields, site, range;
    } good[] = {
        {"W3 H5", "yuv420p", {25, 1}, {0, 0}, 0, ORIEL_CHROMA_CENTER, 0},
        {"W3 H5 F30000:1001 It A12:11 C420mpeg2", "yuv420p", {30000, 1001}, {12, 11}, ORIEL_TOP_FIRST, ORIEL_CHROMA_LEFT, 0},
        {"W3  H5 F24:1 Ib A0:0 C420paldv XCOLORRANGE=FULL", "yuv420p", {24, 1}, {0, 0}, ORIEL_BOTTOM_FIRST, ORIEL_CHROMA_TOPLEFT, ORIEL_RANGE_FULL},
        {"W3 H5 F0:0 Ip A1:0 C420jpeg XCOLORRANGE=LIMITED", "yuv420p", {25, 1}, {0, 0}, 0, ORIEL_CHROMA_CENTER, ORIEL_RANGE_LIMITED},
        {"H5 W3 F1:0 I? C422 XYSCSS=444 Zwhat", "yuv422p", {25, 1}, {0, 0}, 0, 0, 0},
        {"W3 H5 F2147483647:1 XYSCSS=420PALDV", "yuv420p", {2147483647, 1}, {0, 0}, 0, ORIEL_CHROMA_TOPLEFT, 0},
        {"W3 H5 F1:2147483647 Im XYSCSS=420P10", "yuv420p10", {1, 2147483647}, {0, 0}, 0, 0, 0},
        {"W3 H5 F25:1 C440", "yuv440p", {25, 1}, {0, 0}, 0, 0, 0},
        {"W3 H5 F25:1 C411", "yuv411p", {25, 1}, {0, 0}, 0, 0, 0},
        {"W3 H5 F25:1 C444alpha", "yuva444p", {25, 1}, {0, 0}, 0, 0, 0},
        {"W3 H5 F25:1 C422p16", "yuv422p16", {25, 1}, {0, 0}, 0, 0, 0},
        {"W3 H5 F25:1 Cmono9", "gray9", {25, 1}, {0, 0}, 0, 0, 0},
        {"W3 H5 F25:1 Cmono", "gray", {25, 1}, {0, 0}, 0, 0, 0},
    };
    for (size_t k = 0; k < sizeof good / sizeof *good; k++) {
        char line[256], name[24];
        int n = snprintf(line, sizeof line, "YUV4MPEG2 %s\n", good[k].line);
        oriel_video_reader *r = opened(line, (size_t)n, NULL, ORIEL_OK);
        oriel_frame f;
        if (!r)
            continue;
        const oriel_video_info *i = oriel_video_info_of(r);
        bool right = i->width == 3 && i->height == 5 && !strcmp(oriel_pixels_name(i->pixels, name, sizeof name), good[k].format) &&
                     i->rate[0] == good[k].rate[0] && i->rate[1] == good[k].rate[1] && i->time_base[0] == i->rate[1] &&
                     i->time_base[1] == i->rate[0] && !memcmp(i->aspect, good[k].aspect, sizeof i->aspect) &&
                     (int)i->fields == good[k].fields && (int)i->colour.site == good[k].site &&
                     (int)i->colour.range == good[k].range && !strcmp(i->container, "y4m") && i->frames == 0;
        if (!right)
            fprintf(stderr, "%s", line);
        CHECK(right);
        CHECK(oriel_video_read(r, &f) == ORIEL_EOF); /* no frames are no error */
        CHECK_INT(oriel_video_damage_of(r).packets, ==, 0);
        oriel_video_reader_free(&r);
    }
}

static void bad_heads(void)
{
    static const char *const format[] = {
        "",         "W3",          "H5",       "W0 H5",      "W3 H0",     "W65537 H5", "W3 H65537", "W-3 H5",
        "W3 H5x",   "W H5",        "W3 H5 F",  "W3 H5 F25",  "W3 H5 F:1", "W3 H5 F25:1:1", "W3 H5 F-1:1", "W3 H5 F1:",
        "W3 H5 A1", "W3 H5 Ix",    "W3 H5 I",  "W3 H5 Ipp",  "W99999999999 H5", "W4294967299 H5", "W3 H5 F4294967321:1",
        "W3 H5 F99999999999999999999:1", "W3 H5 F18446744073709551641:1"};
    static const char *const unsupported[] = {"W3 H5 C", "W3 H5 C420x", "W3 H5 C420p17", "W3 H5 C420p7", "W3 H5 C420p",
                                              "W3 H5 Cmono0", "W3 H5 C4444", "W3 H5 XYSCSS=RGB", "W3 H5 C420p10x"};
    char line[4096];
    for (size_t k = 0; k < sizeof format / sizeof *format; k++)
        opened(line, (size_t)snprintf(line, sizeof line, "YUV4MPEG2 %s\n", format[k]), NULL, ORIEL_E_FORMAT);
    for (size_t k = 0; k < sizeof unsupported / sizeof *unsupported; k++)
        opened(line, (size_t)snprintf(line, sizeof line, "YUV4MPEG2 %s\n", unsupported[k]), NULL, ORIEL_E_UNSUPPORTED);
    opened("YUV4MPEG2 W3 H5", 15, NULL, ORIEL_E_FORMAT); /* no line feed */
    opened("YUV4MPEG2 W3 H5\0 F25:1\n", 23, NULL, ORIEL_E_FORMAT);
    memset(line, 'X', sizeof line);
    memcpy(line, "YUV4MPEG2 W3 H5 ", 16);
    line[sizeof line - 1] = '\n';
    opened(line, sizeof line, NULL, ORIEL_E_FORMAT); /* a line without end */
    line[Y4M_LINE - 1] = '\n';
    oriel_video_reader *r = opened(line, Y4M_LINE, NULL, ORIEL_OK); /* the longest */
    oriel_video_reader_free(&r);
    line[Y4M_LINE - 1] = 'X';
    line[Y4M_LINE] = '\n';
    opened(line, Y4M_LINE + 1, NULL, ORIEL_E_FORMAT);
}

static void raw_forms(void)
{
    static const char *const bad[] = {
        "",           "x",         "4x4",         "4x4:gray",     "4x4:gray:",      "4x4:gray:0",    "4x4:gray:25/0",
        "4x4:gray:a", "4x4:gray:25x", "4x4::25",  "4x:gray:25",   "x4:gray:25",     "-4x4:gray:25",  "4x4:rgb:25",
        "0x4:gray:25", "4x65537:gray:25", "4x4 :gray:25", "9999999999x4:gray:25", "4x4:gray:25/1/1", "4x4:yuv420p17:25",
        "4x4:averylongnameofapixelformat:25"};
    static const struct {
        const char *raw;
        int         rate[2];
    } good[] = {{"4x4:gray:25", {25, 1}},          {"4x4:gray:30000/1001", {30000, 1001}}, {"4x4:gray:23.976", {2997, 125}},
                {"4x4:gray:0.5", {1, 2}},          {"4x4:gray:29.9700", {2997, 100}},      {"4x4:gray:999999999", {999999999, 1}}};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        opened("0123456789abcdef", 16, &(oriel_video_reader_options){.raw = bad[k]}, ORIEL_E_ARG);
    for (size_t k = 0; k < sizeof good / sizeof *good; k++) {
        oriel_video_reader *r = opened("0123456789abcdef", 16, &(oriel_video_reader_options){.raw = good[k].raw}, ORIEL_OK);
        CHECK(r && !memcmp(oriel_video_info_of(r)->rate, good[k].rate, sizeof good[k].rate));
        CHECK(r && oriel_video_info_of(r)->frames == 1);
        oriel_video_reader_free(&r);
    }
}

/* ---- clips that are not whole ------------------------------------------------------------- */

/* Frames read until the end; *end: how it ended. */
static int count(oriel_video_reader *r, oriel_status *end)
{
    oriel_frame f;
    int n = 0;
    while (!(*end = oriel_video_read(r, &f))) {
        oriel_frame_free(&f);
        n++;
    }
    return n;
}

/* Two frames of 4 x 2 grey, cut at every byte; through files and, of unknown length, pipes. */
static void truncated(void)
{
    static const char y4m[] = "YUV4MPEG2 W4 H2 F25:1 Cmono\nFRAME\nabcdefghFRAME Xa\nijklmnop", raw[] = "abcdefghijklmnop";
    const int head = 28, first = head + 6 + 8, all = sizeof y4m - 1;
    for (int is_raw = 0; is_raw < 2; is_raw++)
        for (int strict = 0; strict < 2; strict++)
            for (int piped = 0; piped < 2; piped++)
                for (int size = is_raw ? 0 : head; size <= (is_raw ? 16 : all); size++) {
                    oriel_video_reader_options opt = {.strict = strict, .raw = is_raw ? "4x2:gray:25" : NULL};
                    int whole = is_raw ? size / 8 : size < first ? 0 : size < all ? 1 : 2;
                    bool cut = is_raw ? size % 8 : size != head && size != first && size != all;
                    oriel_video_reader *r = NULL;
                    oriel_status end;
                    if (piped) { /* as stdin */
                        int kept = dup(0), fd[2];
                        CHECK(!pipe(fd) && write(fd[1], is_raw ? raw : y4m, (size_t)size) == size);
                        dup2(fd[0], 0);
                        close(fd[0]);
                        close(fd[1]);
                        CHECK_OK(oriel_video_open(&r, "-", &opt));
                        CHECK_INT(oriel_video_info_of(r)->frames, ==, 0);
                        CHECK_INT(count(r, &end), ==, whole);
                        dup2(kept, 0);
                        close(kept);
                    } else {
                        r = opened(is_raw ? raw : y4m, (size_t)size, &opt, ORIEL_OK);
                        CHECK_INT(count(r, &end), ==, whole);
                    }
                    CHECK_INT(end, ==, cut && strict ? ORIEL_E_FORMAT : ORIEL_EOF);
                    CHECK_INT(oriel_video_damage_of(r).packets, ==, cut);
                    oriel_frame f;
                    CHECK_INT(oriel_video_read(r, &f), ==, cut && strict ? ORIEL_E_IO : ORIEL_EOF);
                    oriel_video_reader_free(&r);
                }
}

/* Headers that claim much cost nothing; those that claim too much are refused. */
static void claims(void)
{
    static const char big[] = "YUV4MPEG2 W16384 H16384 F25:1 C444p16\nFRAME\nabc", larger[] = "YUV4MPEG2 W16384 H16385\n";
    oriel_status end;
    opened(larger, sizeof larger - 1, NULL, ORIEL_E_UNSUPPORTED);
    oriel_video_reader *r = opened(big, sizeof big - 1, NULL, ORIEL_OK);
    CHECK_INT(count(r, &end), ==, 0);
    CHECK_INT(end, ==, ORIEL_EOF);
    CHECK_INT(oriel_video_damage_of(r).packets, ==, 1);
    oriel_video_reader_free(&r);
}

static void frame_lines(void)
{
    static const struct {
        const char *text;
        int         frames;
        oriel_status end;
    } cases[] = {{"FRAME\naFRAME\nb", 2, ORIEL_EOF},     {"FRAME Ip\naFRAME X\nb", 2, ORIEL_EOF}, {"FRAMES\na", 0, ORIEL_E_FORMAT},
                 {"FRAME\naframe\nb", 1, ORIEL_E_FORMAT}, {"FRAME\na\nFRAME\nb", 1, ORIEL_E_FORMAT}, {"x", 0, ORIEL_E_FORMAT}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char clip[128];
        oriel_status end;
        int n = snprintf(clip, sizeof clip, "YUV4MPEG2 W1 H1 F25:1 Cmono\n%s", cases[k].text);
        oriel_video_reader *r = opened(clip, (size_t)n, NULL, ORIEL_OK);
        CHECK_INT(count(r, &end), ==, cases[k].frames);
        CHECK_INT(end, ==, cases[k].end);
        oriel_video_reader_free(&r);
    }
    static const char mixed[] = "YUV4MPEG2 W1 H1 F25:1 Im Cmono\nFRAME Itii\naFRAME IBip\nbFRAME I1pp\ncFRAME Ittp\nd";
    static const oriel_fields due[] = {ORIEL_TOP_FIRST, ORIEL_BOTTOM_FIRST, ORIEL_PROGRESSIVE, ORIEL_PROGRESSIVE};
    oriel_video_reader *r = opened(mixed, sizeof mixed - 1, NULL, ORIEL_OK);
    for (int i = 0; i < 4; i++) {
        oriel_frame f;
        CHECK_OK(oriel_video_read(r, &f));
        CHECK_INT(f.fields, ==, due[i]);
        CHECK_INT(f.plane[0][0], ==, 'a' + i);
        oriel_frame_free(&f);
    }
    oriel_video_reader_free(&r);
}

/* 10 bits with samples of more: cut to what an encoder may be given. */
static void too_bright(void)
{
    static const char clip[] = "YUV4MPEG2 W2 H1 F25:1 Cmono10\nFRAME\n\xff\x03\x01\x02" "FRAME\n\x00\x04\xff\xff";
    for (int strict = 0; strict < 2; strict++) {
        oriel_video_reader *r = opened(clip, sizeof clip - 1, &(oriel_video_reader_options){.strict = strict}, ORIEL_OK);
        oriel_frame f;
        CHECK_OK(oriel_video_read(r, &f));
        CHECK(((uint16_t *)(void *)f.plane[0])[0] == 0x3ff && ((uint16_t *)(void *)f.plane[0])[1] == 0x201);
        oriel_frame_free(&f);
        CHECK_INT(oriel_video_read(r, &f), ==, strict ? ORIEL_E_FORMAT : ORIEL_OK);
        CHECK(strict || (((uint16_t *)(void *)f.plane[0])[0] == 0x3ff && ((uint16_t *)(void *)f.plane[0])[1] == 0x3ff));
        oriel_frame_free(&f);
        CHECK_INT(oriel_video_damage_of(r).frames, ==, !strict);
        oriel_video_reader_free(&r);
    }
}

static void parts(void)
{
    char clip[256] = "YUV4MPEG2 W1 H1 F10:1 Cmono\n";
    for (int i = 0; i < 20; i++)
        snprintf(clip + strlen(clip), sizeof clip - strlen(clip), "FRAME\n%c", 'a' + i);
    static const struct {
        double from, to;
        int    first, frames;
    } cases[] = {{0, 0, 0, 20}, {0.5, 0, 5, 15}, {0.5, 1, 5, 5}, {0.45, 0.51, 5, 1}, {1.9, 9, 19, 1}, {2, 0, 20, 0}, {0, 0.1, 0, 1}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        oriel_video_reader *r = opened(clip, strlen(clip), &(oriel_video_reader_options){.from = cases[k].from, .to = cases[k].to}, ORIEL_OK);
        oriel_frame f;
        oriel_status end;
        CHECK_INT(oriel_video_info_of(r)->frames, ==, 20);
        CHECK_NUM(oriel_video_info_of(r)->seconds, ==, 2);
        if (cases[k].frames) {
            CHECK_OK(oriel_video_read(r, &f));
            CHECK_INT(f.pts, ==, cases[k].first);
            CHECK_INT(f.plane[0] ? f.plane[0][0] : 0, ==, 'a' + cases[k].first);
            oriel_frame_free(&f);
        }
        CHECK_INT(count(r, &end) + !!cases[k].frames, ==, cases[k].frames);
        oriel_video_reader_free(&r);
    }
}

/* ---- memory, bytes ------------------------------------------------------------------------ */

static void no_memory(void)
{
    static const char clip[] = "YUV4MPEG2 W4 H2 F25:1 Cmono\nFRAME\nabcdefgh";
    const char *path = in_folder("short");
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(clip, 1, sizeof clip - 1, file) == sizeof clip - 1 && !fclose(file));
    for (int raw = 0; raw < 2; raw++)
        for (uint64_t n = 1; n < 20; n++) {
            oriel_video_reader *r = NULL;
            oriel_frame f = {0};
            oriel_alloc_fail_at(n);
            oriel_status s = oriel_video_open(&r, path, &(oriel_video_reader_options){.raw = raw ? "4x2:gray:25" : NULL});
            if (!s)
                s = oriel_video_read(r, &f);
            bool over = oriel_alloc_count() < n;
            oriel_alloc_fail_at(0);
            CHECK_INT(s, ==, over ? ORIEL_OK : ORIEL_E_NOMEM);
            oriel_frame_free(&f);
            oriel_video_reader_free(&r);
            if (over) {
                CHECK_INT(n, ==, 5); /* the reader, its chunk, the frame and its owner */
                break;
            }
        }
    CHECK(!unlink(path));
}

static void bytes(void)
{
    video_bytes b;
    char got[256];
    size_t n;
    const char *path = in_folder("bytes");
    for (int size = 0; size < 200; size += 21) {
        FILE *f = fopen(path, "wb");
        for (int i = 0; i < size; i++)
            putc(i, f);
        CHECK(!fclose(f));
        for (int step = 1; step < 90; step += 31) {
            CHECK_OK(video_bytes_open(&b, path));
            CHECK_OK(video_bytes_peek(&b));
            CHECK_INT(b.peeked, ==, size < 64 ? size : 64);
            CHECK_OK(video_bytes_peek(&b)); /* there is no more of it */
            int at = 0, wrong = 0;
            do {
                CHECK_OK(video_bytes_read(&b, got, (size_t)step, &n));
                for (size_t i = 0; i < n; i++)
                    wrong += got[i] != (char)(at + (int)i);
                at += (int)n;
            } while (n == (size_t)step);
            CHECK_INT(wrong, ==, 0);
            CHECK_INT(at, ==, size);
            video_bytes_close(&b);
        }
    }
    CHECK(!unlink(path));
    CHECK_FAILS(video_bytes_open(&b, path), ORIEL_E_IO);
    CHECK_OK(video_bytes_open(&b, folder));
    CHECK_FAILS(video_bytes_peek(&b), ORIEL_E_IO); /* a folder */
    video_bytes_close(&b);
}

/* The project's clip, where it is. */
static void park_joy(void)
{
    const char *path = test_data("clips/park_joy_420_720p50_frm0to9_480x270.y4m");
    oriel_video_reader *r = NULL;
    oriel_status end;
    if (!path) {
        SKIP("no clips/park_joy");
        return;
    }
    CHECK_OK(oriel_video_open(&r, path, NULL));
    CHECK_INT(oriel_video_info_of(r)->frames, ==, 10);
    CHECK_INT(oriel_video_info_of(r)->colour.range, ==, ORIEL_RANGE_LIMITED);
    CHECK_INT(count(r, &end), ==, 10);
    oriel_video_reader_free(&r);
}

int main(void)
{
    CHECK(mkdtemp(folder));
    y4m_formats();
    raw_formats();
    known_bytes();
    heads();
    bad_heads();
    raw_forms();
    truncated();
    claims();
    frame_lines();
    too_bright();
    parts();
    no_memory();
    bytes();
    park_joy();
    CHECK(!rmdir(folder));
    return test_end();
}
