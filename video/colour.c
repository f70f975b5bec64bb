/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers of ITU-T H.273 (07/2021): 8.3, equations 38 to 50 and table 4. */
#include "video/convert.h"

enum { RGB = 0, BT709 = 1, UNSPECIFIED = 2, FCC = 4, BT470BG = 5, BT601 = 6, SMPTE240 = 7, YCGCO = 8, BT2020 = 9 };

static const struct {
    int    matrix;
    double kr, kb;
    int    primaries, transfer; /* what a stream of that matrix has where it does not say */
} known[] = {
    {BT709, 0.2126, 0.0722, 1, 1},     {FCC, 0.30, 0.11, 4, 4},         {BT470BG, 0.299, 0.114, 5, 6},
    {BT601, 0.299, 0.114, 6, 6},       {SMPTE240, 0.212, 0.087, 7, 7}, {YCGCO, 0, 0, 1, 1},
    {BT2020, 0.2627, 0.0593, 9, 14},
};
enum { KNOWN = sizeof known / sizeof *known };

oriel_colour oriel_frame_colour(const oriel_frame *f)
{
    oriel_colour c = f->colour;
    bool rgb = f->pixels.model == ORIEL_PIXELS_RGB;
    if (rgb)
        c.matrix = RGB;
    else if (c.matrix == RGB || c.matrix == UNSPECIFIED)
        c.matrix = f->height < 720 ? BT601 : BT709;
    int primaries = 1, transfer = rgb ? 13 : 1; /* sRGB has BT.709's primaries */
    for (int k = 0; k < KNOWN; k++)
        if (known[k].matrix == c.matrix) {
            primaries = known[k].primaries;
            transfer = known[k].transfer;
        }
    if (c.primaries == 0 || c.primaries == UNSPECIFIED)
        c.primaries = primaries;
    if (c.transfer == 0 || c.transfer == UNSPECIFIED)
        c.transfer = transfer;
    if (c.range == ORIEL_RANGE_UNKNOWN)
        c.range = rgb ? ORIEL_RANGE_FULL : ORIEL_RANGE_LIMITED;
    if (c.site == ORIEL_CHROMA_UNKNOWN)
        c.site = ORIEL_CHROMA_LEFT;
    return c;
}

/* RGB to Y, Cb, Cr of nominal ranges 0 to 1 and -1/2 to 1/2, and back. */
static void by_luma(double kr, double kb, double from[3][3], double to[3][3])
{
    double kg = 1 - kr - kb, b = 2 * (1 - kb), r = 2 * (1 - kr);
    const double f[3][3] = {{kr, kg, kb}, {-kr / b, -kg / b, 0.5}, {0.5, -kg / r, -kb / r}};
    const double t[3][3] = {{1, 0, r}, {1, -kb * b / kg, -kr * r / kg}, {1, b, 0}};
    memcpy(from, f, sizeof f);
    memcpy(to, t, sizeof t);
}

static bool coefficients(int matrix, double from[3][3], double to[3][3])
{
    static const double one[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    static const double lifted[3][3] = {{.25, .5, .25}, {-.25, .5, -.25}, {.5, 0, -.5}};
    static const double unlifted[3][3] = {{1, -1, 1}, {1, 1, 0}, {1, -1, -1}};
    if (matrix == RGB || matrix == YCGCO) {
        memcpy(from, matrix == RGB ? one : lifted, sizeof one);
        memcpy(to, matrix == RGB ? one : unlifted, sizeof one);
        return true;
    }
    for (int k = 0; k < KNOWN; k++)
        if (known[k].matrix == matrix) {
            by_luma(known[k].kr, known[k].kb, from, to);
            return true;
        }
    return false;
}

oriel_status video_matrix_of(video_matrix *m, oriel_pixels p, const oriel_colour *colour)
{
    double from[3][3], to[3][3], step = 1 << (p.depth - 8), whole = (1 << p.depth) - 1;
    bool full = colour->range == ORIEL_RANGE_FULL, yuv = p.model == ORIEL_PIXELS_YUV;
    if (!coefficients(colour->matrix, from, to))
        return oriel_fail(ORIEL_E_UNSUPPORTED, "matrix %d of H.273 is not one that oriel converts: it is no product "
                          "with gamma-coded RGB, or seldom used", colour->matrix);
    /* YCgCo is computed of RGB's codes, so its differences have luma's scale. */
    double luma = full ? whole : 219 * step, chroma = full ? whole : colour->matrix == YCGCO ? luma : 224 * step;
    for (int i = 0; i < 3; i++) {
        bool difference = yuv && i > 0;
        double scale = difference ? chroma : luma;
        m->zero[i] = (float)(difference ? 128 * step : full ? 0 : 16 * step);
        for (int k = 0; k < 3; k++) {
            m->from[i][k] = (float)(from[i][k] * scale);
            m->to[k][i] = (float)(to[k][i] / scale);
        }
    }
    return ORIEL_OK;
}
