/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The weights of an axis under each rule, in the arithmetic of its original: PIL and MATLAB compute
 * them in double, PyTorch in float, with fused multiply-adds where its x86 kernels have them: a
 * coordinate in the thousands that is rounded twice moves the result by 1e-5.
 */
#include <math.h>

#include "core/internal.h"
#include "vision/resize.h"

oriel_status oriel_resize_check(const oriel_resize_options *opt)
{
    static const unsigned filters[] = {
        [ORIEL_RESIZE_PIL] = 1 << ORIEL_BICUBIC | 1 << ORIEL_BILINEAR | 1 << ORIEL_LANCZOS3 |
                             1 << ORIEL_AREA | 1 << ORIEL_NEAREST,
        [ORIEL_RESIZE_TORCH] =
            1 << ORIEL_BICUBIC | 1 << ORIEL_BILINEAR | 1 << ORIEL_AREA | 1 << ORIEL_NEAREST,
        [ORIEL_RESIZE_MATLAB] = 1 << ORIEL_BICUBIC | 1 << ORIEL_BILINEAR,
    };
    static const char *const rule[] = {"PIL", "PyTorch", "MATLAB"};
    static const char *const filter[] = {"bicubic", "bilinear", "lanczos3", "area", "nearest"};
    if ((unsigned)opt->rule > ORIEL_RESIZE_MATLAB)
        return oriel_fail(ORIEL_E_ARG, "resize: no rule %d", (int)opt->rule);
    if ((unsigned)opt->filter > ORIEL_NEAREST)
        return oriel_fail(ORIEL_E_ARG, "resize: no filter %d", (int)opt->filter);
    if (!(filters[opt->rule] >> opt->filter & 1))
        return oriel_fail(ORIEL_E_UNSUPPORTED, "resize: %s has no %s here", rule[opt->rule],
                          filter[opt->filter]);
    return ORIEL_OK;
}

/* ---- kernels ------------------------------------------------------------------------------ */

static double box(double x)
{
    return x > -0.5 && x <= 0.5;
}

static double triangle(double x)
{
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

static double cubic_pil(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double cubic_matlab(double x) /* the same curve, in MATLAB's order of operations */
{
    x = fabs(x);
    double x2 = x * x, x3 = x2 * x;
    if (x <= 1)
        return 1.5 * x3 - 2.5 * x2 + 1;
    return x <= 2 ? -0.5 * x3 + 2.5 * x2 - 4 * x + 2 : 0;
}

static double sinc(double x)
{
    return x == 0 ? 1 : sin(x * M_PI) / (x * M_PI);
}

static double lanczos3(double x)
{
    return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

typedef struct kernel {
    double (*f)(double);
    double support; /* f is zero beyond it */
} kernel;

static kernel kernel_of(const oriel_resize_options *opt)
{
    switch (opt->filter) {
    case ORIEL_BILINEAR:
        return (kernel){triangle, 1};
    case ORIEL_LANCZOS3:
        return (kernel){lanczos3, 3};
    case ORIEL_AREA:
        return (kernel){box, 0.5};
    default:
        return (kernel){opt->rule == ORIEL_RESIZE_MATLAB ? cubic_matlab : cubic_pil, 2};
    }
}

/* ---- rules: fill range and weight, from a cleared table ------------------------------------ */

/* Taps outside are left out, the rest are scaled to a sum of 1. */
static void fill_pil(oriel_taps *t, kernel k)
{
    double scale = (double)t->src / t->dst, stretch = scale < 1 ? 1 : scale;
    double support = k.support * stretch, shrink = 1 / stretch;
    for (int i = 0; i < t->dst; i++) {
        double  center = (i + 0.5) * scale, sum = 0;
        double *w = t->weight + (size_t)i * t->max;
        int     first = (int)oriel_max(0, (int)(center - support + 0.5));
        int     end = (int)oriel_min(t->src, (int)(center + support + 0.5));
        t->range[i] = (oriel_tap_range){first, end - first};
        for (int j = 0; j < end - first; j++)
            sum += w[j] = k.f((j + first - center + 0.5) * shrink);
        for (int j = 0; sum != 0 && j < end - first; j++)
            w[j] /= sum;
    }
}

/* PIL steps through the source by repeated addition, rounding included. */
static void fill_pil_nearest(oriel_taps *t)
{
    double step = (double)t->src / t->dst, at = step * 0.5;
    for (int i = 0; i < t->dst; i++, at += step) {
        t->range[i] = (oriel_tap_range){(int)oriel_min((int)at, t->src - 1), 1};
        t->weight[(size_t)i * t->max] = 1;
    }
}

/* The picture is mirrored at its borders, edge pixels twice, as often as the kernel reaches. */
static int mirror(int64_t i, int n)
{
    int64_t period = 2 * (int64_t)n;
    i %= period;
    if (i < 0)
        i += period;
    return (int)(i < n ? i : period - 1 - i);
}

static void fill_matlab(oriel_taps *t, kernel k)
{
    double scale = (double)t->dst / t->src, shrink = scale < 1 ? scale : 1;
    double width = 2 * k.support / shrink;
    int    n = (int)ceil(width) + 2;
    for (int i = 0; i < t->dst; i++) {
        double  at = (i + 1) / scale + 0.5 * (1 - 1 / scale), sum = 0; /* MATLAB counts from 1 */
        int64_t left = (int64_t)floor(at - width / 2);
        double *w = t->weight + (size_t)i * t->max;
        int     first = t->src, last = 0;
        for (int j = 0; j < n; j++) {
            double v = shrink * k.f(shrink * (at - (double)(left + j)));
            int    p = mirror(left + j - 1, t->src);
            sum += v;
            if (v != 0) {
                first = p < first ? p : first;
                last = p > last ? p : last;
            }
        }
        t->range[i] = (oriel_tap_range){first, last - first + 1};
        for (int j = 0; j < n; j++) {
            double v = shrink * k.f(shrink * (at - (double)(left + j)));
            if (v != 0)
                w[mirror(left + j - 1, t->src) - first] += v / sum;
        }
    }
}

/* Two or four taps about a float coordinate; those outside are the border's. */
static void fill_torch(oriel_taps *t, oriel_filter filter)
{
    const float a = -0.75f;
    float       scale = (float)t->src / (float)t->dst;
    for (int i = 0; i < t->dst; i++) {
        float at = fmaf(scale, (float)i + 0.5f, -0.5f);
        if (filter == ORIEL_BILINEAR && at < 0)
            at = 0;
        int   p = (int)floorf(at), n = 2;
        float x = at - (float)p, y = 1 - x, w[4] = {y, x};
        if (filter == ORIEL_BICUBIC) {
            float x1 = x + 1, y1 = y + 1;
            w[0] = fmaf(fmaf(fmaf(a, x1, -5 * a), x1, 8 * a), x1, -4 * a);
            w[1] = fmaf(fmaf(a + 2, x, -(a + 3)) * x, x, 1);
            w[2] = fmaf(fmaf(a + 2, y, -(a + 3)) * y, y, 1);
            w[3] = fmaf(fmaf(fmaf(a, y1, -5 * a), y1, 8 * a), y1, -4 * a);
            p--;
            n = 4;
        }
        int first = (int)oriel_max(0, oriel_min(p, t->src - 1)), last = first;
        for (int j = 0; j < n; j++) {
            last = (int)oriel_max(0, oriel_min(p + j, t->src - 1));
            t->weight[(size_t)i * t->max + (size_t)(last - first)] += w[j];
        }
        t->range[i] = (oriel_tap_range){first, last - first + 1};
    }
}

static void fill_torch_area(oriel_taps *t) /* adaptive_avg_pool2d */
{
    for (int64_t i = 0; i < t->dst; i++) {
        int first = (int)(i * t->src / t->dst);
        int end = (int)oriel_ceil_div((i + 1) * t->src, t->dst);
        t->range[i] = (oriel_tap_range){first, end - first};
        for (int j = 0; j < end - first; j++)
            t->weight[i * t->max + j] = 1.0 / (end - first);
    }
}

static void fill_torch_nearest(oriel_taps *t)
{
    float scale = (float)t->src / (float)t->dst;
    for (int i = 0; i < t->dst; i++) {
        t->range[i] = (oriel_tap_range){(int)oriel_min((int)((float)i * scale), t->src - 1), 1};
        t->weight[(size_t)i * t->max] = 1;
    }
}

/* ---- tables -------------------------------------------------------------------------------- */

static int max_taps(const oriel_taps *t, const oriel_resize_options *opt)
{
    double stretch = oriel_max(t->src, t->dst) / (double)t->dst;
    double n = 1;
    if (opt->filter == ORIEL_NEAREST)
        return 1;
    if (opt->rule == ORIEL_RESIZE_PIL)
        n = 2 * ceil(kernel_of(opt).support * stretch) + 1;
    else if (opt->rule == ORIEL_RESIZE_MATLAB)
        n = ceil(2 * kernel_of(opt).support * stretch) + 2;
    else
        n = opt->filter == ORIEL_AREA ? ceil(stretch) + 2 : 4;
    return (int)fmin(n, t->src);
}

static void fill(oriel_taps *t, const oriel_resize_options *opt)
{
    if (opt->rule == ORIEL_RESIZE_MATLAB)
        fill_matlab(t, kernel_of(opt));
    else if (opt->rule == ORIEL_RESIZE_PIL && opt->filter == ORIEL_NEAREST)
        fill_pil_nearest(t);
    else if (opt->rule == ORIEL_RESIZE_PIL)
        fill_pil(t, kernel_of(opt));
    else if (opt->filter == ORIEL_NEAREST)
        fill_torch_nearest(t);
    else if (opt->filter == ORIEL_AREA)
        fill_torch_area(t);
    else
        fill_torch(t, opt->filter);
}

oriel_status oriel_taps_new(oriel_taps *t, int src, int dst, const oriel_resize_options *opt)
{
    assert(src >= 1 && src <= ORIEL_IMAGE_MAX_SIDE && dst >= 1 && dst <= ORIEL_IMAGE_MAX_SIDE);
    *t = (oriel_taps){.src = src, .dst = dst};
    t->max = max_taps(t, opt);
    size_t count = (size_t)dst * (size_t)t->max;
    t->range = oriel_alloc_zero((size_t)dst, sizeof *t->range);
    t->weight = t->range ? oriel_alloc_zero(count, sizeof *t->weight) : NULL;
    t->weight_f32 = t->weight ? oriel_alloc_zero(count, sizeof *t->weight_f32) : NULL;
    if (!t->weight_f32) {
        oriel_taps_free(t);
        return ORIEL_E_NOMEM;
    }
    if (src == dst) { /* no pass at all in the originals: sinc(1) is not quite zero */
        for (int i = 0; i < dst; i++) {
            t->range[i] = (oriel_tap_range){i, 1};
            t->weight[(size_t)i * t->max] = 1;
        }
    } else {
        fill(t, opt);
    }
    for (size_t i = 0; i < count; i++)
        t->weight_f32[i] = (float)t->weight[i];
    return ORIEL_OK;
}

void oriel_taps_free(oriel_taps *t)
{
    oriel_dealloc(t->range);
    oriel_dealloc(t->weight);
    oriel_dealloc(t->weight_f32);
    *t = (oriel_taps){0};
}
