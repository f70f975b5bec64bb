/* SPDX-License-Identifier: Apache-2.0 */
/* Surfaces to tensors and back: arguments, colours, the loops of CPUs. */
#include "vision/surface.h"

#include "core/device.h"
#include "vision/image.h"

static bool is_420(oriel_surface_layout l)
{
    return l == ORIEL_SURFACE_NV12 || l == ORIEL_SURFACE_P010;
}

/* RGB to codes and back: ITU-T H.273 (07/2021), 8.3, equations 38 to 50. */
static void colours(surface_job *j)
{
    bool         p010 = j->s.layout == ORIEL_SURFACE_P010, known = j->s.kr != 0 || j->s.kb != 0;
    double       kr = known ? j->s.kr : 0.2126, kb = known ? j->s.kb : 0.0722, kg = 1 - kr - kb;
    double       b = 2 * (1 - kb), r = 2 * (1 - kr), step = p010 ? 4 : 1;
    double       luma = j->s.full_range ? (double)j->most : 219 * step, chroma = j->s.full_range ? (double)j->most : 224 * step;
    const double from[3][3] = {{kr, kg, kb}, {-kr / b, -kg / b, 0.5}, {0.5, -kg / r, -kb / r}};
    const double to[3][3] = {{1, 0, r}, {1, -kb * b / kg, -kr * r / kg}, {1, b, 0}};
    for (int i = 0; i < 3; i++) {
        double scale = i ? chroma : luma;
        j->zero[i] = (float)(i ? 128 * step : j->s.full_range ? 0 : 16 * step);
        for (int k = 0; k < 3; k++) {
            j->from[i][k] = (float)(from[i][k] * scale);
            j->to[k][i] = (float)(to[k][i] / scale);
        }
    }
}

static oriel_status check(const oriel_surface *s, const oriel_tensor *t)
{
    char text[128];
    if (!s || s->layout < ORIEL_SURFACE_8 || s->layout > ORIEL_SURFACE_P010 || s->width < 1 || s->height < 1 ||
        s->width > ORIEL_IMAGE_MAX_SIDE || s->height > ORIEL_IMAGE_MAX_SIDE)
        return oriel_fail(ORIEL_E_ARG, "surface: %s", s ? "layout or size is none" : "there is none");
    bool two = is_420(s->layout);
    if (!s->plane[0] || (two && !s->plane[1]))
        return oriel_fail(ORIEL_E_ARG, "surface: a plane is missing");
    if (two ? s->channels || s->first : s->channels < 1 || s->channels > 4 || s->first < 0)
        return oriel_fail(ORIEL_E_ARG, "surface: channels %d, first %d", s->channels, s->first);
    if (!(s->kr >= 0) || !(s->kb >= 0) || !(s->kr + s->kb < 1))
        return oriel_fail(ORIEL_E_ARG, "surface: kr %g, kb %g are no shares of luma", s->kr, s->kb);
    if (!t->data || t->dtype != ORIEL_F32 || t->ndim != 3 || t->shape[0] != s->height || t->shape[1] != s->width ||
        t->shape[2] < 1 || (two ? t->shape[2] != 3 : t->shape[2] > s->channels - s->first))
        return oriel_fail(ORIEL_E_ARG, "surface: %d x %d, %d samples from %d, and a tensor %s", s->width, s->height,
                          two ? 3 : s->channels, s->first, oriel_tensor_str(t, text, sizeof text));
    return ORIEL_OK;
}

static oriel_status job_of(surface_job *j, const oriel_surface *s, const oriel_tensor *t, const oriel_normal *n)
{
    oriel_status e = check(s, t);
    if (e)
        return e;
    bool wide = s->layout == ORIEL_SURFACE_16 || s->layout == ORIEL_SURFACE_P010, two = is_420(s->layout);
    *j = (surface_job){.s = *s, .t = t->data, .channels = (int)t->shape[2], .low = s->layout == ORIEL_SURFACE_P010 ? 6 : 0,
                       .most = s->layout == ORIEL_SURFACE_16 ? 65535.f : s->layout == ORIEL_SURFACE_P010 ? 1023.f : 255.f};
    memcpy(j->stride, t->stride, sizeof j->stride);
    ptrdiff_t bytes = wide ? 2 : 1, packed[2] = {s->width * (two ? 1 : s->channels) * bytes, (s->width + 1) / 2 * 2 * bytes};
    for (int p = 0; p < 2; p++) {
        j->s.pitch[p] = s->pitch[p] ? s->pitch[p] : packed[p];
        if ((p == 0 || two) && (j->s.pitch[p] < packed[p] || j->s.pitch[p] % bytes))
            return oriel_fail(ORIEL_E_ARG, "surface: rows of plane %d are %td bytes apart, and a row has %td", p,
                              j->s.pitch[p], packed[p]);
    }
    for (int c = 0; c < 4; c++) {
        j->mean[c] = n ? n->mean[c] : 0;
        j->scale[c] = n && n->scale[c] != 0 ? n->scale[c] : 1;
    }
    if (two)
        colours(j);
    return ORIEL_OK;
}

/* ---- the CPU's loops ---------------------------------------------------------------------- */

typedef struct rows {
    const surface_job *j;
    bool              *odd; /* (threads): something was not finite */
} rows;

static void load_rows(void *arg, int64_t begin, int64_t end, int worker)
{
    const rows *r = arg;
    (void)worker;
    for (int y = (int)begin; y < end; y++)
        for (int x = 0; x < r->j->s.width; x++)
            if (is_420(r->j->s.layout))
                surface_load420(r->j, x, y);
            else
                surface_load(r->j, x, y);
}

static void store_rows(void *arg, int64_t begin, int64_t end, int worker)
{
    const rows        *r = arg;
    const surface_job *j = r->j;
    bool               two = is_420(j->s.layout), finite = true;
    for (int y = (int)begin; y < end; y++)
        for (int x = 0; x < j->s.width; x++)
            finite &= two ? surface_store_luma(j, x, y) : surface_store(j, x, y);
    for (int y = (int)begin; two && y < end; y++)
        for (int x = 0; y % 2 == 0 && x < (j->s.width + 1) / 2; x++)
            surface_store_chroma(j, x, y / 2);
    r->odd[worker] |= !finite;
}

static oriel_status on_cpu(oriel_device *dev, const surface_job *j, bool store, bool *finite)
{
    int   threads = oriel_pool_threads(dev->pool);
    bool *odd = oriel_alloc_zero((size_t)threads, sizeof *odd);
    rows  r = {j, odd};
    if (!odd)
        return ORIEL_E_NOMEM;
    oriel_parallel_for(dev->pool, j->s.height, 16, store ? store_rows : load_rows, &r);
    for (int i = 0; finite && i < threads; i++)
        *finite &= !odd[i];
    oriel_dealloc(odd);
    return ORIEL_OK;
}

static oriel_status run(oriel_device *dev, const surface_job *j, bool store, bool *finite)
{
    if (finite)
        *finite = true;
#if ORIEL_WITH_CUDA
    if (dev->kind == ORIEL_CUDA)
        return surface_cuda(dev, j, store, finite);
#endif
    return on_cpu(dev, j, store, finite);
}

/* ---- the doors ---------------------------------------------------------------------------- */

oriel_status oriel_surface_to_tensor(oriel_device *dev, const oriel_surface *s, oriel_tensor dst, const oriel_normal *n)
{
    surface_job  j;
    oriel_status e = dev ? job_of(&j, s, &dst, n) : oriel_fail(ORIEL_E_ARG, "surface: no device");
    return e ? e : run(dev, &j, false, NULL);
}

oriel_status oriel_surface_from_tensor(oriel_device *dev, const oriel_surface *s, oriel_tensor src, const oriel_normal *n,
                                       bool *finite)
{
    surface_job  j;
    oriel_status e = dev ? job_of(&j, s, &src, n) : oriel_fail(ORIEL_E_ARG, "surface: no device");
    return e ? e : run(dev, &j, true, finite);
}

/* A picture's samples as a surface whose memory is yet to be said. */
static oriel_surface surface_of(const oriel_image *img, int c0)
{
    return (oriel_surface){.layout = img->depth == 8 ? ORIEL_SURFACE_8 : ORIEL_SURFACE_16,
                           .width = img->width,
                           .height = img->height,
                           .channels = img->channels,
                           .first = c0,
                           .plane = {img->data}};
}

/* The picture's samples pass through memory of the GPU's. */
static oriel_status image_on_gpu(oriel_device *dev, surface_job *j, const oriel_image *img, bool store, bool *finite)
{
#if ORIEL_WITH_CUDA
    bool   some = j->channels < img->channels; /* the others stay as they are */
    size_t bytes = (size_t)img->width * (size_t)img->height * (size_t)img->channels * (size_t)(img->depth / 8);
    return surface_cuda_host(dev, j, img->data, bytes, store, some, finite);
#else
    (void)dev, (void)j, (void)img, (void)store, (void)finite;
    return oriel_fail(ORIEL_E_UNSUPPORTED, "image: this liboriel was built without CUDA");
#endif
}

static oriel_status check_picture(const oriel_device *dev, const oriel_image *img)
{
    if (dev && img && img->data)
        return ORIEL_OK;
    return oriel_fail(ORIEL_E_ARG, "image: no %s", dev ? "picture" : "device");
}

oriel_status oriel_image_to_device(oriel_device *dev, const oriel_image *img, int c0, oriel_tensor dst)
{
    oriel_status e = check_picture(dev, img);
    if (e)
        return e;
    oriel_surface s = surface_of(img, c0);
    surface_job   j;
    if ((e = job_of(&j, &s, &dst, NULL)) || dev->kind == ORIEL_CPU)
        return e ? e : run(dev, &j, false, NULL);
    return image_on_gpu(dev, &j, img, false, NULL);
}

oriel_status oriel_image_from_device(oriel_device *dev, oriel_image *img, int c0, oriel_tensor src, bool *finite)
{
    oriel_status e = check_picture(dev, img);
    if (e)
        return e;
    oriel_surface s = surface_of(img, c0);
    surface_job   j;
    if ((e = job_of(&j, &s, &src, NULL)) || dev->kind == ORIEL_CPU)
        return e ? e : run(dev, &j, true, finite);
    return image_on_gpu(dev, &j, img, true, finite);
}
