/* SPDX-License-Identifier: Apache-2.0 */
/* Frames to RGB and back, against the formulas of H.273 in double precision. */
#include <float.h>
#include <math.h>

#include "tests/test.h"
#include "video/video.h"

static uint32_t noise(void)
{
    static uint32_t x = 1;
    x = x * 1664525u + 1013904223u;
    return x >> 8;
}

static unsigned get(const oriel_frame *f, int plane, int x, int y)
{
    const uint8_t *row = f->plane[plane] + y * f->stride[plane];
    return f->pixels.depth > 8 ? ((const uint16_t *)(const void *)row)[x] : row[x];
}

static void set(oriel_frame *f, int plane, int x, int y, unsigned v)
{
    uint8_t *row = f->plane[plane] + y * f->stride[plane];
    if (f->pixels.depth > 8)
        ((uint16_t *)(void *)row)[x] = (uint16_t)v;
    else
        row[x] = (uint8_t)v;
}

static oriel_frame frame_of(int width, int height, const char *format, oriel_colour colour, int value)
{
    oriel_frame f;
    oriel_pixels p;
    CHECK(oriel_pixels_named(&p, format));
    CHECK_OK(oriel_frame_new(&f, width, height, p));
    for (int i = 0; i < oriel_pixels_planes(p); i++) {
        int w, h;
        oriel_frame_plane_size(&f, i, &w, &h);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++)
                set(&f, i, x, y, value < 0 ? noise() & ((1u << p.depth) - 1) : (unsigned)value);
    }
    f.colour = colour;
    return f;
}

/* ---- the oracle --------------------------------------------------------------------------- */

static int clamped(int i, int n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* Chroma at luma's (x, y): linear between the nearest two samples, along x and then y. An axis that four
 * share is two halvings, each of them linear. */
static double chroma_at(const oriel_frame *f, int plane, int x, int y, int halved_x, int halved_y)
{
    const int sx = f->pixels.shift_x, sy = f->pixels.shift_y;
    oriel_chroma_site site = f->colour.site ? f->colour.site : ORIEL_CHROMA_LEFT;
    if (halved_x < sx || halved_y < sy) {
        bool across = halved_x < sx;
        int n = across ? f->width : f->height;
        for (int k = 0; k <= (across ? halved_x : halved_y); k++)
            n = (n + 1) / 2;
        double first = (across ? site == ORIEL_CHROMA_CENTER : site != ORIEL_CHROMA_TOPLEFT) ? 0.5 : 0;
        double at = ((across ? x : y) - first) / 2, part = at - floor(at);
        int a = clamped((int)floor(at), n), b = clamped((int)floor(at) + 1, n);
        return across ? (1 - part) * chroma_at(f, plane, a, y, halved_x + 1, halved_y) +
                            part * chroma_at(f, plane, b, y, halved_x + 1, halved_y)
                      : (1 - part) * chroma_at(f, plane, x, a, halved_x, halved_y + 1) +
                            part * chroma_at(f, plane, x, b, halved_x, halved_y + 1);
    }
    return get(f, plane, x, y);
}

static void luma_weights(int matrix, double *kr, double *kb)
{
    static const double table[10][2] = {{0}, {.2126, .0722}, {0}, {0}, {.30, .11}, {.299, .114}, {.299, .114},
                                        {.212, .087}, {0}, {.2627, .0593}};
    *kr = table[matrix][0];
    *kb = table[matrix][1];
}

/* A pixel; *size: the sum of what its terms amount to, to bound rounding by. */
static void oracle_rgb(const oriel_frame *f, int x, int y, double rgb[3], double *size)
{
    double step = 1 << (f->pixels.depth - 8), top = (1 << f->pixels.depth) - 1, kr, kb;
    oriel_colour c = oriel_frame_colour(f);
    bool full = c.range == ORIEL_RANGE_FULL;
    double black = full ? 0 : 16 * step, range = full ? top : 219 * step;
    double a = (get(f, 0, x, y) - black) / range;
    *size = fabs(a) + black / range;
    for (int i = 0; i < 3; i++)
        rgb[i] = a;
    if (f->pixels.model == ORIEL_PIXELS_RGB)
        for (int i = 0; i < 3; i++)
            rgb[i] = (get(f, i, x, y) - black) / range;
    if (f->pixels.model != ORIEL_PIXELS_YUV)
        return;
    double difference = full ? top : c.matrix == 8 ? 219 * step : 224 * step;
    double u = (chroma_at(f, 1, x, y, 0, 0) - 128 * step) / difference;
    double v = (chroma_at(f, 2, x, y, 0, 0) - 128 * step) / difference;
    *size += 3 * fabs(u) + 3 * fabs(v);
    if (c.matrix == 8) { /* Cg, Co */
        rgb[1] = a + u;
        rgb[2] = a - u - v;
        rgb[0] = rgb[2] + 2 * v;
        return;
    }
    luma_weights(c.matrix, &kr, &kb);
    rgb[0] = a + 2 * (1 - kr) * v;
    rgb[2] = a + 2 * (1 - kb) * u;
    rgb[1] = (a - kr * rgb[0] - kb * rgb[2]) / (1 - kr - kb);
}

/* A code before it is rounded. */
static double oracle_code(const oriel_frame *f, int plane, const double rgb[3])
{
    double step = 1 << (f->pixels.depth - 8), top = (1 << f->pixels.depth) - 1, kr, kb;
    oriel_colour c = oriel_frame_colour(f);
    bool full = c.range == ORIEL_RANGE_FULL;
    double black = full ? 0 : 16 * step, range = full ? top : 219 * step;
    if (f->pixels.model == ORIEL_PIXELS_RGB)
        return rgb[plane] * range + black;
    if (c.matrix == 8)
        return plane == 0   ? (rgb[0] + 2 * rgb[1] + rgb[2]) / 4 * range + black
               : plane == 1 ? (2 * rgb[1] - rgb[0] - rgb[2]) / 4 * range + 128 * step
                            : (rgb[0] - rgb[2]) / 2 * range + 128 * step;
    luma_weights(c.matrix, &kr, &kb);
    double y = kr * rgb[0] + (1 - kr - kb) * rgb[1] + kb * rgb[2];
    if (plane == 0)
        return y * range + black;
    double d = plane == 1 ? (rgb[2] - y) / (2 * (1 - kb)) : (rgb[0] - y) / (2 * (1 - kr));
    return d * (full ? top : 224 * step) + 128 * step;
}

static int reflected(int i, int n, bool centred) /* ... 2 1 0 1 2 ..., or ... 1 0 0 1 ... */
{
    if (n == 1)
        return 0;
    int period = centred ? 2 * n : 2 * n - 2;
    i = (i % period + period) % period;
    return i < n ? i : centred ? period - 1 - i : period - i;
}

/* One axis of a plane of doubles halved, in place. */
static void oracle_halve(double *v, int n, int apart, bool centred)
{
    double out[1024];
    static const double cosited[5] = {-.125, .25, .75, .25, -.125}, between[5] = {0, -.25, .75, .75, -.25};
    for (int i = 0; i < (n + 1) / 2; i++) {
        out[i] = 0;
        for (int k = 0; k < 5; k++)
            out[i] += (centred ? between : cosited)[k] * v[reflected(2 * i + k - 2, n, centred) * apart];
    }
    for (int i = 0; i < (n + 1) / 2; i++)
        v[i * apart] = out[i];
}

/* ---- checks ------------------------------------------------------------------------------- */

static const oriel_colour colours[] = {
    {.matrix = 1, .range = ORIEL_RANGE_LIMITED, .site = ORIEL_CHROMA_LEFT},
    {.matrix = 6, .range = ORIEL_RANGE_FULL, .site = ORIEL_CHROMA_CENTER},
    {.matrix = 9, .range = ORIEL_RANGE_LIMITED, .site = ORIEL_CHROMA_TOPLEFT},
    {.matrix = 4, .range = ORIEL_RANGE_FULL, .site = ORIEL_CHROMA_TOPLEFT},
    {.matrix = 5, .range = ORIEL_RANGE_LIMITED},
    {.matrix = 7, .range = ORIEL_RANGE_LIMITED, .site = ORIEL_CHROMA_CENTER},
    {.matrix = 8, .range = ORIEL_RANGE_FULL, .site = ORIEL_CHROMA_LEFT},
    {.matrix = 8, .range = ORIEL_RANGE_LIMITED, .site = ORIEL_CHROMA_LEFT},
    {0},
};
static const char *const formats[] = {"yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "yuva420p",
                                      "gray",    "gbrp",    "gbrap"};
static const int sizes[][2] = {{1, 1}, {2, 1}, {1, 2}, {2, 2}, {3, 3}, {4, 5}, {5, 4}, {7, 6}, {6, 7}, {9, 10},
                               {16, 8}, {31, 17}, {513, 4}, {514, 3}, {1030, 3}, {33, 18}, {130, 34}};
enum { COLOURS = sizeof colours / sizeof *colours, FORMATS = sizeof formats / sizeof *formats,
       SIZES = sizeof sizes / sizeof *sizes, MOST = 130 * 34 };

static void format_name(char *name, size_t size, int k, int depth)
{
    snprintf(name, size, depth > 8 ? "%s%d" : "%s", formats[k], depth);
}

static double worst_rgb; /* of the bound */

static void check_to(const oriel_frame *f, int channels)
{
    static float data[MOST * 4];
    oriel_tensor t = oriel_tensor_of(data, ORIEL_F32, 3, (int64_t[]){f->height, f->width, channels});
    CHECK_OK(oriel_frame_to_tensor(f, t));
    int wrong = 0, last = oriel_pixels_planes(f->pixels) - 1;
    double top = (1 << f->pixels.depth) - 1;
    for (int y = 0; y < f->height; y++)
        for (int x = 0; x < f->width; x++) {
            const float *got = data + ((size_t)y * (size_t)f->width + (size_t)x) * (size_t)channels;
            double rgb[3], size;
            oracle_rgb(f, x, y, rgb, &size);
            /* a coefficient, a product and two sums are rounded, each by at most half an ulp of the sizes; the
             * coefficients of one row are up to 2.2 and its terms are counted three times above */
            double bound = 4 * 0.5 * FLT_EPSILON * (1 + size);
            for (int i = 0; i < 3 && channels >= 3; i++) {
                double off = fabs(got[i] - rgb[i]) / bound;
                wrong += !(off <= 1);
                worst_rgb = off > worst_rgb ? off : worst_rgb;
            }
            if (channels == 4)
                wrong += fabs(got[3] - (f->pixels.alpha ? get(f, last, x, y) / top : 1)) > FLT_EPSILON;
            if (channels == 1) {
                double luma = f->pixels.model == ORIEL_PIXELS_RGB ? .2126 * rgb[0] + .7152 * rgb[1] + .0722 * rgb[2] : 0;
                oriel_frame grey = *f;
                grey.pixels.model = ORIEL_PIXELS_GREY;
                if (f->pixels.model != ORIEL_PIXELS_RGB) {
                    oracle_rgb(&grey, x, y, rgb, &size);
                    luma = rgb[0];
                }
                wrong += !(fabs(got[0] - luma) <= bound);
            }
        }
    CHECK_INT(wrong, ==, 0);
}

static int64_t codes, codes_off;

static void check_there_and_back(const oriel_frame *f, int channels)
{
    static float data[MOST * 4];
    oriel_tensor t = oriel_tensor_of(data, ORIEL_F32, 3, (int64_t[]){f->height, f->width, channels});
    oriel_frame g;
    int most = 0;
    CHECK_OK(oriel_frame_new(&g, f->width, f->height, f->pixels));
    g.colour = f->colour;
    CHECK_OK(oriel_frame_to_tensor(f, t));
    CHECK_OK(oriel_frame_from_tensor(&g, t));
    for (int i = 0; i < oriel_pixels_planes(f->pixels); i++) {
        int w, h;
        oriel_frame_plane_size(f, i, &w, &h);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                int off = abs((int)get(f, i, x, y) - (int)get(&g, i, x, y));
                most = off > most ? off : most;
                codes++;
                codes_off += off > 0;
            }
    }
    /* f32 keeps 24 bits, of which 16 are the code's, some go to overshoots and the filters' gain: under half
     * a code is lost, so that rounding finds it again */
    CHECK_INT(most, ==, 0);
    oriel_frame_free(&g);
}

static void all_formats(void)
{
    static const int depths[] = {8, 9, 10, 12, 14, 16};
    char name[24];
    for (int k = 0; k < FORMATS; k++)
        for (int d = 0; d < 6; d++)
            for (int c = 0; c < COLOURS; c++)
                for (int s = 0; s < SIZES; s++) {
                    format_name(name, sizeof name, k, depths[d]);
                    oriel_frame f = frame_of(sizes[s][0], sizes[s][1], name, colours[c], -1);
                    if (s == SIZES - 1 || d == 0 || c == s % COLOURS) {
                        check_to(&f, s % 2 ? 3 : 4);
                        check_to(&f, 1);
                    }
                    check_there_and_back(&f, f.pixels.alpha || s % 2 ? 4 : 3);
                    oriel_frame_free(&f);
                }
    printf("%lld codes there and back, %lld of them off; rounding at most %.2f of its bound\n", (long long)codes,
           (long long)codes_off, worst_rgb);
}

/* Colours that no interpolation made: the filters and the rounding. */
static void check_from(const oriel_frame *like)
{
    static float data[MOST * 3];
    static double plane[MOST];
    oriel_tensor t = oriel_tensor_of(data, ORIEL_F32, 3, (int64_t[]){like->height, like->width, 3});
    oriel_frame f;
    int wrong = 0, w = like->width, h = like->height;
    double top = (1 << like->pixels.depth) - 1;
    oriel_chroma_site site = oriel_frame_colour(like).site;
    CHECK_OK(oriel_frame_new(&f, w, h, like->pixels));
    f.colour = like->colour;
    for (int i = 0; i < w * h * 3; i++)
        data[i] = (float)(noise() & 0xfff) / 4095 * 1.2f - 0.1f; /* some are out of range */
    CHECK_OK(oriel_frame_from_tensor(&f, t));
    for (int i = 0; i < oriel_pixels_planes(f.pixels); i++) {
        int pw, ph;
        oriel_frame_plane_size(&f, i, &pw, &ph);
        for (int k = 0; k < w * h; k++)
            plane[k] = oracle_code(&f, i, (double[]){data[3 * k], data[3 * k + 1], data[3 * k + 2]});
        for (int n = w; n > pw; n = (n + 1) / 2)
            for (int y = 0; y < h; y++)
                oracle_halve(plane + y * w, n, 1, site == ORIEL_CHROMA_CENTER);
        for (int n = h; n > ph; n = (n + 1) / 2)
            for (int x = 0; x < pw; x++)
                oracle_halve(plane + x, n, w, site != ORIEL_CHROMA_TOPLEFT);
        for (int y = 0; y < ph; y++)
            for (int x = 0; x < pw; x++) {
                double due = fmin(fmax(plane[y * w + x], 0), top);
                wrong += !(fabs(due - get(&f, i, x, y)) <= 0.5 + 8 * FLT_EPSILON * top);
            }
    }
    CHECK_INT(wrong, ==, 0);
    oriel_frame_free(&f);
}

static void from_noise(void)
{
    static const int depths[] = {8, 10, 16};
    char name[24];
    for (int k = 0; k < FORMATS; k++)
        for (int d = 0; d < 3; d++)
            for (int s = 0; s < SIZES; s++) {
                format_name(name, sizeof name, k, depths[d]);
                oriel_frame f = frame_of(sizes[s][0], sizes[s][1], name, colours[(k + d + s) % COLOURS], 0);
                if (!f.pixels.alpha)
                    check_from(&f);
                oriel_frame_free(&f);
            }
}

/* SMPTE's bars of 75 %, 8 bits, limited, BT.709: codes as published. */
static void bars(void)
{
    static const struct {
        float rgb[3];
        int   yuv[3];
    } bar[] = {{{.75f, .75f, .75f}, {180, 128, 128}}, {{.75f, .75f, 0}, {168, 44, 136}},
               {{0, .75f, .75f}, {145, 147, 44}},     {{0, .75f, 0}, {133, 63, 52}},
               {{.75f, 0, .75f}, {63, 193, 204}},     {{.75f, 0, 0}, {51, 109, 212}},
               {{0, 0, .75f}, {28, 212, 120}}};
    for (size_t k = 0; k < sizeof bar / sizeof *bar; k++) {
        float px[3] = {bar[k].rgb[0], bar[k].rgb[1], bar[k].rgb[2]};
        oriel_frame f = frame_of(1, 1, "yuv444p", colours[0], 0);
        oriel_tensor t = oriel_tensor_of(px, ORIEL_F32, 3, (int64_t[]){1, 1, 3});
        CHECK_OK(oriel_frame_from_tensor(&f, t));
        for (int i = 0; i < 3; i++)
            CHECK_INT(f.plane[i][0], ==, bar[k].yuv[i]);
        CHECK_OK(oriel_frame_to_tensor(&f, t));
        for (int i = 0; i < 3; i++) /* half a code of luma and of the colour difference */
            CHECK_NUM(fabsf(px[i] - bar[k].rgb[i]), <=, 0.5 / 219 + 0.93 * 2 / 224);
        oriel_frame_free(&f);
    }
}

/* ---- corners ------------------------------------------------------------------------------ */

/* Black, white and grey are met exactly at any depth; values out of range stay. */
static void exact_values(void)
{
    for (int depth = 8; depth <= 16; depth++)
        for (int full = 0; full < 2; full++) {
            char name[24];
            float px[3];
            int step = 1 << (depth - 8), top = (1 << depth) - 1;
            snprintf(name, sizeof name, depth > 8 ? "yuv444p%d" : "yuv444p", depth);
            oriel_frame f = frame_of(1, 1, name, (oriel_colour){.matrix = 1, .range = full ? ORIEL_RANGE_FULL : ORIEL_RANGE_LIMITED},
                                     128 * step);
            oriel_tensor t = oriel_tensor_of(px, ORIEL_F32, 3, (int64_t[]){1, 1, 3});
            for (int k = 0; k < 3; k++) {
                double due = k == 2 && !full ? (top - 16.0 * step) / (219.0 * step) : k ? 1 : 0;
                set(&f, 0, 0, 0, (unsigned)(k == 2 ? top : k ? (full ? top : 235 * step) : full ? 0 : 16 * step));
                CHECK_OK(oriel_frame_to_tensor(&f, t));
                CHECK(px[0] == px[1] && px[1] == px[2]);
                CHECK_NUM(fabs(px[0] - due), <=, FLT_EPSILON * due);
            }
            memcpy(px, (float[]){NAN, INFINITY, -INFINITY}, sizeof px);
            CHECK_OK(oriel_frame_from_tensor(&f, t));
            CHECK_INT(get(&f, 0, 0, 0), ==, top);
            CHECK_INT(get(&f, 1, 0, 0), ==, 0);
            memcpy(px, (float[]){NAN, NAN, NAN}, sizeof px);
            CHECK_OK(oriel_frame_from_tensor(&f, t));
            CHECK_INT(get(&f, 0, 0, 0), ==, full ? 0 : 16 * step);
            oriel_frame_free(&f);
        }
}

/* Any strides, and not a float or sample more than there are. */
static void strides(void)
{
    static float packed[40 * 30 * 4], loose[2 * 40 * 30 * 12];
    for (int channels = 1; channels <= 4; channels += channels == 1 ? 2 : 1)
        for (int way = 0; way < 4; way++) {
            oriel_frame f = frame_of(37, 29, "yuva420p", colours[0], -1), g = frame_of(37, 29, "yuva420p", colours[0], 0);
            oriel_tensor t = oriel_tensor_of(packed, ORIEL_F32, 3, (int64_t[]){29, 37, channels}), u = t;
            int64_t s[4][3] = {{37 * channels + 5, channels, 1}, {37, 1, 37 * 29 + 3}, {37 * 9, 9, 2}, {-37 * 4, 4, 1}};
            memcpy(u.stride, s[way], sizeof s[way]);
            u.data = loose + (way == 3 ? 28 * 37 * 4 : 0);
            for (size_t i = 0; i < sizeof loose / sizeof *loose; i++)
                loose[i] = 7;
            CHECK_OK(oriel_frame_to_tensor(&f, t));
            CHECK_OK(oriel_frame_to_tensor(&f, u));
            int wrong = 0, written = 0;
            for (int y = 0; y < 29; y++)
                for (int x = 0; x < 37; x++)
                    for (int k = 0; k < channels; k++)
                        wrong += packed[(y * 37 + x) * channels + k] !=
                                 ((float *)u.data)[y * u.stride[0] + x * u.stride[1] + k * u.stride[2]];
            for (size_t i = 0; i < sizeof loose / sizeof *loose; i++)
                written += loose[i] != 7;
            CHECK_INT(wrong, ==, 0);
            CHECK_INT(written, ==, 37 * 29 * channels);
            CHECK_OK(oriel_frame_from_tensor(&g, u));
            oriel_frame h = frame_of(37, 29, "yuva420p", colours[0], 0);
            CHECK_OK(oriel_frame_from_tensor(&h, t));
            CHECK(oriel_frame_same(&g, &h));
            CHECK_INT(get(&h, 3, 5, 5), ==, channels == 4 ? get(&f, 3, 5, 5) : 255);
            oriel_frame_free(&f);
            oriel_frame_free(&g);
            oriel_frame_free(&h);
        }
}

/* All levels of the CPU give the same bits. */
static void levels(void)
{
    static float a[101 * 67 * 3], b[101 * 67 * 3];
    static const unsigned masks[] = {0, ORIEL_CPU_AVX2, ~0u};
    oriel_frame f = frame_of(101, 67, "yuv420p10", colours[0], -1);
    for (int m = 0; m < 3; m++) {
        oriel_frame g = frame_of(101, 67, "yuv420p10", colours[1], 0);
        oriel_cpu_mask(masks[m]);
        float *to = m ? b : a;
        oriel_tensor t = oriel_tensor_of(to, ORIEL_F32, 3, (int64_t[]){67, 101, 3});
        CHECK_OK(oriel_frame_to_tensor(&f, t));
        CHECK(!m || !memcmp(a, b, sizeof a));
        CHECK_OK(oriel_frame_from_tensor(&g, t));
        static oriel_frame first;
        if (!m)
            first = oriel_frame_hold(&g);
        CHECK(oriel_frame_same(&first, &g));
        oriel_frame_free(&g);
        if (m == 2)
            oriel_frame_free(&first);
    }
    oriel_cpu_mask(~0u);
    oriel_frame_free(&f);
}

static void guesses(void)
{
    oriel_frame f = {.width = 1, .height = 719, .pixels = {.depth = 8}};
    oriel_colour c = oriel_frame_colour(&f);
    CHECK(c.matrix == 6 && c.primaries == 6 && c.transfer == 6 && c.range == ORIEL_RANGE_LIMITED &&
          c.site == ORIEL_CHROMA_LEFT);
    f.height = 720;
    c = oriel_frame_colour(&f);
    CHECK(c.matrix == 1 && c.primaries == 1 && c.transfer == 1);
    f.colour.matrix = 9;
    c = oriel_frame_colour(&f);
    CHECK(c.matrix == 9 && c.primaries == 9 && c.transfer == 14);
    f.colour = (oriel_colour){2, 16, 2, ORIEL_RANGE_FULL, ORIEL_CHROMA_CENTER};
    c = oriel_frame_colour(&f);
    CHECK(c.matrix == 1 && c.primaries == 1 && c.transfer == 16 && c.range == ORIEL_RANGE_FULL &&
          c.site == ORIEL_CHROMA_CENTER);
    f.pixels.model = ORIEL_PIXELS_RGB;
    f.colour = (oriel_colour){0};
    c = oriel_frame_colour(&f);
    CHECK(c.matrix == 0 && c.primaries == 1 && c.transfer == 13 && c.range == ORIEL_RANGE_FULL);
}

static void refusals(void)
{
    float px[12];
    oriel_frame f = frame_of(2, 2, "yuv420p", (oriel_colour){.matrix = 14}, 0);
    oriel_tensor t = oriel_tensor_of(px, ORIEL_F32, 3, (int64_t[]){2, 2, 3}), bad;
    for (int m = 3; m < 300; m++) {
        f.colour.matrix = m;
        bool can = m >= 4 && m <= 9;
        oriel_status s = oriel_frame_to_tensor(&f, t), back = oriel_frame_from_tensor(&f, t);
        CHECK_INT(s, ==, can ? ORIEL_OK : ORIEL_E_UNSUPPORTED);
        CHECK_INT(back, ==, s);
    }
    f.colour.matrix = -1;
    CHECK_FAILS(oriel_frame_to_tensor(&f, t), ORIEL_E_UNSUPPORTED);
    f.colour.matrix = 1;
    bad = t, bad.dtype = ORIEL_F16;
    CHECK_FAILS(oriel_frame_to_tensor(&f, bad), ORIEL_E_ARG);
    bad = t, bad.shape[0] = 3;
    CHECK_FAILS(oriel_frame_to_tensor(&f, bad), ORIEL_E_ARG);
    bad = t, bad.shape[1] = 1;
    CHECK_FAILS(oriel_frame_from_tensor(&f, bad), ORIEL_E_ARG);
    bad = t, bad.shape[2] = 2;
    CHECK_FAILS(oriel_frame_to_tensor(&f, bad), ORIEL_E_ARG);
    bad = t, bad.ndim = 4;
    CHECK_FAILS(oriel_frame_to_tensor(&f, bad), ORIEL_E_ARG);
    bad = t, bad.data = NULL;
    CHECK_FAILS(oriel_frame_from_tensor(&f, bad), ORIEL_E_ARG);
    oriel_frame odd = f;
    odd.plane[2] = NULL;
    CHECK_FAILS(oriel_frame_to_tensor(&odd, t), ORIEL_E_ARG);
    odd = f;
    odd.pixels.depth = 10;
    odd.stride[1] = 3;
    CHECK_FAILS(oriel_frame_to_tensor(&odd, t), ORIEL_E_ARG);
    odd.pixels.depth = 17;
    CHECK_FAILS(oriel_frame_to_tensor(&odd, t), ORIEL_E_ARG);
    oriel_alloc_fail_at(1);
    oriel_status s = oriel_frame_to_tensor(&f, t), back = oriel_frame_from_tensor(&f, t);
    oriel_alloc_fail_at(0);
    CHECK(s == ORIEL_E_NOMEM && back == ORIEL_E_NOMEM);
    oriel_frame_free(&f);
}

int main(void)
{
    bars();
    exact_values();
    all_formats();
    from_noise();
    strides();
    levels();
    guesses();
    refusals();
    return test_end();
}
