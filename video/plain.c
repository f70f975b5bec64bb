/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts of uncompressed frames: one table, read in both directions. */
#include "video/plain.h"

#define YUV(d, x, y) {ORIEL_PIXELS_YUV, d, x, y, false}
#define RGB(d) {ORIEL_PIXELS_RGB, d, 0, 0, false}
#define RGBA(d) {ORIEL_PIXELS_RGB, d, 0, 0, true}
#define GREYA(d) {ORIEL_PIXELS_GREY, d, 0, 0, true}
#define PACKED(step, r, g, b) {{0, step, r}, {0, step, g}, {0, step, b}}
#define PACKED_A(r, g, b, a) {{0, 4, r}, {0, 4, g}, {0, 4, b}, {0, 4, a}}
#define SEMI(u, v) {{0, 1, 0}, {1, 2, u}, {1, 2, v}}

static const struct {
    const char  *name;
    plain_layout layout;
} interleaved[] = {
    {"rgb24", {RGB(8), 1, 0, 1, PACKED(3, 0, 1, 2)}},
    {"bgr24", {RGB(8), 1, 0, 1, PACKED(3, 2, 1, 0)}},
    {"rgb0", {RGB(8), 1, 0, 1, PACKED(4, 0, 1, 2)}},
    {"bgr0", {RGB(8), 1, 0, 1, PACKED(4, 2, 1, 0)}},
    {"0rgb", {RGB(8), 1, 0, 1, PACKED(4, 1, 2, 3)}},
    {"0bgr", {RGB(8), 1, 0, 1, PACKED(4, 3, 2, 1)}},
    {"rgba", {RGBA(8), 1, 0, 1, PACKED_A(0, 1, 2, 3)}},
    {"bgra", {RGBA(8), 1, 0, 1, PACKED_A(2, 1, 0, 3)}},
    {"argb", {RGBA(8), 1, 0, 1, PACKED_A(1, 2, 3, 0)}},
    {"abgr", {RGBA(8), 1, 0, 1, PACKED_A(3, 2, 1, 0)}},
    {"rgb48le", {RGB(16), 2, 0, 1, PACKED(3, 0, 1, 2)}},
    {"bgr48le", {RGB(16), 2, 0, 1, PACKED(3, 2, 1, 0)}},
    {"rgba64le", {RGBA(16), 2, 0, 1, PACKED_A(0, 1, 2, 3)}},
    {"bgra64le", {RGBA(16), 2, 0, 1, PACKED_A(2, 1, 0, 3)}},
    {"ya8", {GREYA(8), 1, 0, 1, {{0, 2, 0}, {0, 2, 1}}}},
    {"ya16le", {GREYA(16), 2, 0, 1, {{0, 2, 0}, {0, 2, 1}}}},
    {"nv12", {YUV(8, 1, 1), 1, 0, 2, SEMI(0, 1)}},
    {"nv21", {YUV(8, 1, 1), 1, 0, 2, SEMI(1, 0)}},
    {"nv16", {YUV(8, 1, 0), 1, 0, 2, SEMI(0, 1)}},
    {"nv24", {YUV(8, 0, 0), 1, 0, 2, SEMI(0, 1)}},
    {"p010le", {YUV(10, 1, 1), 2, 6, 2, SEMI(0, 1)}},
    {"p012le", {YUV(12, 1, 1), 2, 4, 2, SEMI(0, 1)}},
    {"p016le", {YUV(16, 1, 1), 2, 0, 2, SEMI(0, 1)}},
    {"p210le", {YUV(10, 1, 0), 2, 6, 2, SEMI(0, 1)}},
    {"yuyv422", {YUV(8, 1, 0), 1, 0, 1, {{0, 2, 0}, {0, 4, 1}, {0, 4, 3}}}},
    {"uyvy422", {YUV(8, 1, 0), 1, 0, 1, {{0, 2, 1}, {0, 4, 0}, {0, 4, 2}}}},
};

plain_layout plain_planar(oriel_pixels p)
{
    static const int gbr[ORIEL_PLANES] = {2, 0, 1, 3};
    plain_layout l = {.pixels = p, .bytes = p.depth > 8 ? 2 : 1, .planes = oriel_pixels_planes(p)};
    for (int i = 0; i < l.planes; i++) {
        l.of[i].plane = p.model == ORIEL_PIXELS_RGB ? gbr[i] : i;
        l.of[i].step = 1;
    }
    return l;
}

bool plain_layout_named(plain_layout *l, const char *name)
{
    oriel_pixels p;
    for (size_t k = 0; k < sizeof interleaved / sizeof *interleaved; k++) {
        const char *ours = interleaved[k].name;
        size_t n = strlen(ours);
        if (!strcmp(name, ours) || (!strcmp(ours + n - 2, "le") && strlen(name) == n - 2 && !strncmp(name, ours, n - 2))) {
            *l = interleaved[k].layout;
            return true;
        }
    }
    if (!oriel_pixels_named(&p, name))
        return false;
    *l = plain_planar(p);
    return true;
}

void plain_plane(const plain_layout *l, int width, int height, int plane, size_t *row, int *rows)
{
    const oriel_frame f = {.width = width, .height = height, .pixels = l->pixels};
    *row = 0;
    *rows = 0;
    for (int i = 0; i < oriel_pixels_planes(l->pixels); i++)
        if (l->of[i].plane == plane) { /* yuyv422 has whole pairs: its chroma says how long a row is */
            int w, h;
            oriel_frame_plane_size(&f, i, &w, &h);
            size_t bytes = (size_t)w * (size_t)(l->of[i].step * l->bytes);
            *row = bytes > *row ? bytes : *row;
            *rows = h;
        }
}

size_t plain_frame_bytes(const plain_layout *l, int width, int height)
{
    size_t bytes = 0, row; /* at most 2^35 */
    int rows;
    for (int p = 0; p < l->planes; p++) {
        plain_plane(l, width, height, p, &row, &rows);
        bytes += row * (size_t)rows;
    }
    return bytes;
}

/* ---- rows --------------------------------------------------------------------------------- */

static void take8(uint8_t *dst, const uint8_t *src, int n, int step)
{
    for (int i = 0; i < n; i++)
        dst[i] = src[(ptrdiff_t)i * step];
}

static void put8(uint8_t *dst, const uint8_t *src, int n, int step)
{
    for (int i = 0; i < n; i++)
        dst[(ptrdiff_t)i * step] = src[i];
}

/* Returns a value that is 0 unless a sample was over `most`. */
static unsigned take16(uint16_t *dst, const uint8_t *src, int n, int step, int low, unsigned most)
{
    unsigned over = 0;
    for (int i = 0; i < n; i++) {
        const uint8_t *at = src + (ptrdiff_t)i * step * 2;
        unsigned v = (at[0] | (unsigned)at[1] << 8) >> low;
        over |= v & ~most;
        dst[i] = (uint16_t)(v < most ? v : most);
    }
    return over;
}

static void put16(uint8_t *dst, const uint16_t *src, int n, int step, int low)
{
    for (int i = 0; i < n; i++) {
        uint8_t *at = dst + (ptrdiff_t)i * step * 2;
        unsigned v = (unsigned)src[i] << low;
        at[0] = (uint8_t)v;
        at[1] = (uint8_t)(v >> 8);
    }
}

bool plain_unpack(const plain_layout *l, int plane, oriel_frame *f, int y, const uint8_t *row)
{
    unsigned over = 0, most = (1u << l->pixels.depth) - 1;
    for (int i = 0; i < oriel_pixels_planes(l->pixels); i++) {
        if (l->of[i].plane != plane)
            continue;
        int w, h, step = l->of[i].step;
        oriel_frame_plane_size(f, i, &w, &h);
        uint8_t *to = f->plane[i] + y * f->stride[i];
        const uint8_t *from = row + (ptrdiff_t)l->of[i].offset * l->bytes;
        if (l->bytes == 2)
            over |= take16((uint16_t *)(void *)to, from, w, step, l->low, most);
        else if (step == 1)
            memcpy(to, from, (size_t)w);
        else
            take8(to, from, w, step);
    }
    return over;
}

void plain_pack(const plain_layout *l, int plane, const oriel_frame *f, int y, uint8_t *row, size_t size)
{
    if (l->of[0].step > 1) /* rgb0's fourth byte, the last pair's second luma */
        memset(row, 0, size);
    for (int i = 0; i < oriel_pixels_planes(l->pixels); i++) {
        if (l->of[i].plane != plane)
            continue;
        int w, h, step = l->of[i].step;
        oriel_frame_plane_size(f, i, &w, &h);
        const uint8_t *from = f->plane[i] + y * f->stride[i];
        uint8_t *to = row + (ptrdiff_t)l->of[i].offset * l->bytes;
        if (l->bytes == 2)
            put16(to, (const uint16_t *)(const void *)from, w, step, l->low);
        else if (step == 1)
            memcpy(to, from, (size_t)w);
        else
            put8(to, from, w, step);
    }
}
