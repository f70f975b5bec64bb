/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One sample of a surface as a number of RGB and back: what the C loops and the CUDA kernels share.
 *
 * Chroma of 4:2:0 goes the way of video/convert.c: up by linear interpolation at its site, down by the
 * filter that gives back what was interpolated: [-1 2 6 2 -1] / 8 where it is co-sited, [-1 3 3 -1] / 4 where
 * it is centred, mirrored at the border on the outermost sample or behind it.
 */
#ifndef VISION_SURFACE_H
#define VISION_SURFACE_H

#include <oriel/vision.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__CUDACC__)
#define SURFACE_FN static __host__ __device__ inline
#else
#define SURFACE_FN static inline
#endif

/* A surface and a tensor that fit each other, with what is the same for all their pixels. */
typedef struct surface_job {
    oriel_surface s;
    float        *t;         /* (Y, X, C) */
    int64_t       stride[3]; /* of t */
    int           channels;  /* of t */
    int           low;       /* unused bits below a sample: 6 for P010 */
    float         most;      /* the largest code */
    float         zero[3], to[3][3], from[3][3]; /* code = from x rgb + zero; rgb = to x (code - zero) */
    float         mean[4], scale[4];             /* t = (value - mean) scale */
} surface_job;

SURFACE_FN int surface_code(const surface_job *j, int plane, int x, int y, int step, int c)
{
    const char *row = (const char *)j->s.plane[plane] + (int64_t)y * j->s.pitch[plane];
    int64_t     at = (int64_t)x * step + c;
    return j->s.layout == ORIEL_SURFACE_8 || j->s.layout == ORIEL_SURFACE_NV12 ? ((const uint8_t *)row)[at]
                                                                           : ((const uint16_t *)row)[at] >> j->low;
}

/* Rounded half to even and clamped; NaN is 0. */
SURFACE_FN void surface_put(const surface_job *j, int plane, int x, int y, int step, int c, float v)
{
    char   *row = (char *)j->s.plane[plane] + (int64_t)y * j->s.pitch[plane];
    int64_t at = (int64_t)x * step + c;
    v = v > 0 ? v : 0;
    v = v < j->most ? v : j->most;
    v += 8388608.f; /* 2^23: the sum has no bits below 1 */
    int code = (int)(v - 8388608.f);
    if (j->s.layout == ORIEL_SURFACE_8 || j->s.layout == ORIEL_SURFACE_NV12)
        ((uint8_t *)row)[at] = (uint8_t)code;
    else
        ((uint16_t *)row)[at] = (uint16_t)(code << j->low);
}

SURFACE_FN float *surface_at(const surface_job *j, int x, int y)
{
    return j->t + y * j->stride[0] + x * j->stride[1];
}

/* ---- interleaved -------------------------------------------------------------------------- */

SURFACE_FN void surface_load(const surface_job *j, int x, int y)
{
    float *t = surface_at(j, x, y);
    for (int c = 0; c < j->channels; c++)
        t[c * j->stride[2]] = ((float)surface_code(j, 0, x, y, j->s.channels, j->s.first + c) / j->most - j->mean[c]) * j->scale[c];
}

/* False: some value is no finite number. */
SURFACE_FN bool surface_store(const surface_job *j, int x, int y)
{
    const float *t = surface_at(j, x, y);
    bool         finite = true;
    for (int c = 0; c < j->channels; c++) {
        float v = t[c * j->stride[2]] / j->scale[c] + j->mean[c];
        finite = finite && v - v == 0;
        surface_put(j, 0, x, y, j->s.channels, j->s.first + c, v < 1 ? v * j->most : v == v ? j->most : 0);
    }
    return finite;
}

/* ---- 4:2:0 -------------------------------------------------------------------------------- */

/* The two chroma places along an axis of n luma samples, and the weight of the second, for luma at i. */
SURFACE_FN void surface_up(int i, int n, bool cosited, int at[2], float *weight)
{
    int half = (n + 1) / 2, other = cosited ? i / 2 + (i & 1) : i & 1 ? i / 2 + 1 : i / 2 - 1;
    at[0] = i / 2;
    at[1] = other < 0 ? 0 : other >= half ? half - 1 : other;
    *weight = cosited ? 0.5f * (float)(i & 1) : 0.25f;
}

SURFACE_FN void surface_load420(const surface_job *j, int x, int y)
{
    float yuv[3], wx, wy, *t = surface_at(j, x, y);
    int   cx[2], cy[2];
    surface_up(x, j->s.width, j->s.cosited_x, cx, &wx);
    surface_up(y, j->s.height, j->s.cosited_y, cy, &wy);
    yuv[0] = (float)surface_code(j, 0, x, y, 1, 0) - j->zero[0];
    for (int c = 0; c < 2; c++) {
        float row[2];
        for (int k = 0; k < 2; k++)
            row[k] = (1 - wy) * (float)surface_code(j, 1, cx[k], cy[0], 2, c) + wy * (float)surface_code(j, 1, cx[k], cy[1], 2, c);
        yuv[1 + c] = (1 - wx) * row[0] + wx * row[1] - j->zero[1 + c];
    }
    for (int c = 0; c < 3; c++)
        t[c * j->stride[2]] = (j->to[c][0] * yuv[0] + j->to[c][1] * yuv[1] + j->to[c][2] * yuv[2] - j->mean[c]) * j->scale[c];
}

/* RGB of a pixel; NaN is 0, the infinite is cut to what sums can bear. */
SURFACE_FN bool surface_rgb(const surface_job *j, int x, int y, float rgb[3])
{
    const float *t = surface_at(j, x, y);
    bool         finite = true;
    for (int c = 0; c < 3; c++) {
        float v = t[c * j->stride[2]] / j->scale[c] + j->mean[c];
        finite = finite && v - v == 0;
        v = v != v ? 0 : v < 1e6f ? v : 1e6f;
        rgb[c] = v > -1e6f ? v : -1e6f;
    }
    return finite;
}

SURFACE_FN bool surface_store_luma(const surface_job *j, int x, int y)
{
    float rgb[3];
    bool  finite = surface_rgb(j, x, y, rgb);
    surface_put(j, 0, x, y, 1, 0, j->from[0][0] * rgb[0] + j->from[0][1] * rgb[1] + j->from[0][2] * rgb[2] + j->zero[0]);
    return finite;
}

/* Index i of an axis of n that goes on as in a mirror: on its last sample, or behind it. */
SURFACE_FN int surface_mirror(int i, int n, bool behind)
{
    while (n > 1 && (i < 0 || i >= n))
        i = i < 0 ? -i - behind : 2 * (n - 1) - i + behind;
    return n > 1 ? i : 0;
}

/* Taps of chroma sample i: 5 luma places from 2 i - 2 on, of which a centred one leaves out the first. */
SURFACE_FN float surface_tap(int k, bool cosited)
{
    const float on[5] = {-0.125f, 0.25f, 0.75f, 0.25f, -0.125f}, between[5] = {0, -0.25f, 0.75f, 0.75f, -0.25f};
    return cosited ? on[k] : between[k];
}

SURFACE_FN void surface_store_chroma(const surface_job *j, int x, int y) /* of the chroma plane */
{
    float sum[3] = {0, 0, 0};
    for (int ky = j->s.cosited_y ? 0 : 1; ky < 5; ky++) {
        int   at = surface_mirror(2 * y - 2 + ky, j->s.height, !j->s.cosited_y);
        float row[3] = {0, 0, 0}, rgb[3];
        for (int kx = j->s.cosited_x ? 0 : 1; kx < 5; kx++) {
            surface_rgb(j, surface_mirror(2 * x - 2 + kx, j->s.width, !j->s.cosited_x), at, rgb);
            for (int c = 0; c < 3; c++)
                row[c] += surface_tap(kx, j->s.cosited_x) * rgb[c];
        }
        for (int c = 0; c < 3; c++)
            sum[c] += surface_tap(ky, j->s.cosited_y) * row[c];
    }
    for (int c = 1; c < 3; c++)
        surface_put(j, 1, x, y, 2, c - 1, j->from[c][0] * sum[0] + j->from[c][1] * sum[1] + j->from[c][2] * sum[2] + j->zero[c]);
}

/* ---- CUDA (cuda/surface_cuda.c, cuda/surface.cu) ------------------------------------------- */

/* Queue it; with `finite` wait and say. */
oriel_status surface_cuda(oriel_device *dev, const surface_job *j, bool store, bool *finite);
/* The same where plane 0 is the host's: `bytes` of it are uploaded before, unless it is to be stored whole, and
 * downloaded behind a store. */
oriel_status surface_cuda_host(oriel_device *dev, surface_job *j, void *host, size_t bytes, bool store, bool some, bool *finite);
/* Launches; *odd becomes 1 where something was not finite (NULL: nobody asks). A cudaError_t. */
int surface_launch(const surface_job *j, bool store, int *odd, void *stream);

#ifdef __cplusplus
}
#endif
#endif
