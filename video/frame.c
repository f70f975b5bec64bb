/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: planes that are counted, what is beside them, and the names of formats. */
#include <stdio.h>
#include <string.h>

#include "video/video.h"

enum { MAX_SIDE = 1 << 16, ALIGN = 64 };

/* ---- ownership ---------------------------------------------------------------------------- */

oriel_shared *video_share(void *what, void (*free)(void *what))
{
    oriel_shared *s = oriel_alloc(sizeof *s);
    if (s) {
        atomic_init(&s->count, 1);
        s->free = free;
        s->what = what;
    }
    return s;
}

oriel_shared *video_hold(oriel_shared *s)
{
    if (s)
        atomic_fetch_add_explicit(&s->count, 1, memory_order_relaxed);
    return s;
}

void video_drop(oriel_shared **s)
{
    oriel_shared *own = *s;
    *s = NULL;
    if (own && atomic_fetch_sub_explicit(&own->count, 1, memory_order_acq_rel) == 1) {
        own->free(own->what);
        oriel_dealloc(own);
    }
}

/* ---- formats ------------------------------------------------------------------------------ */

int oriel_pixels_planes(oriel_pixels p)
{
    return (p.model == ORIEL_PIXELS_GREY ? 1 : 3) + p.alpha;
}

static int shifted(int n, int shift)
{
    return (n + (1 << shift) - 1) >> shift;
}

void oriel_frame_plane_size(const oriel_frame *f, int plane, int *width, int *height)
{
    bool chroma = f->pixels.model == ORIEL_PIXELS_YUV && (plane == 1 || plane == 2);
    *width = shifted(f->width, chroma ? f->pixels.shift_x : 0);
    *height = shifted(f->height, chroma ? f->pixels.shift_y : 0);
}

oriel_status oriel_frame_check(int width, int height, oriel_pixels p)
{
    if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE)
        return oriel_fail(ORIEL_E_ARG, "frame: %d x %d: a side is 1 to %d pixels", width, height, MAX_SIDE);
    if ((unsigned)p.model > ORIEL_PIXELS_RGB)
        return oriel_fail(ORIEL_E_ARG, "frame: pixel model %d", (int)p.model);
    if (p.depth < 8 || p.depth > 16)
        return oriel_fail(ORIEL_E_ARG, "frame: %d bits a sample, not 8 to 16", p.depth);
    if (p.shift_x < 0 || p.shift_x > 2 || p.shift_y < 0 || p.shift_y > 2 ||
        (p.model != ORIEL_PIXELS_YUV && (p.shift_x || p.shift_y)))
        return oriel_fail(ORIEL_E_ARG, "frame: chroma shifts %d and %d", p.shift_x, p.shift_y);
    return ORIEL_OK;
}

static const struct {
    const char *name;
    int x, y;
} chroma[] = {{"444", 0, 0}, {"422", 1, 0}, {"420", 1, 1}, {"440", 0, 1}, {"411", 2, 0}, {"410", 2, 2}};

bool oriel_pixels_named(oriel_pixels *p, const char *name)
{
    *p = (oriel_pixels){.depth = 8};
    const char *at = name;
    if (!strncmp(at, "gray", 4) || !strncmp(at, "grey", 4)) {
        p->model = ORIEL_PIXELS_GREY;
        at += 4;
    } else if (!strncmp(at, "gbrap", 5) || !strncmp(at, "gbrp", 4)) {
        p->model = ORIEL_PIXELS_RGB;
        p->alpha = at[3] == 'a';
        at += p->alpha ? 5 : 4;
    } else if (!strncmp(at, "yuv", 3)) { /* yuv420p, yuva444p10, yuvj420p */
        at += 3;
        p->alpha = *at == 'a';
        at += *at == 'a' || *at == 'j';
        size_t k = 0;
        while (k < sizeof chroma / sizeof *chroma && strncmp(at, chroma[k].name, 3) != 0)
            k++;
        if (k == sizeof chroma / sizeof *chroma || at[3] != 'p')
            return false;
        p->shift_x = chroma[k].x;
        p->shift_y = chroma[k].y;
        at += 4;
    } else {
        return false;
    }
    if (*at >= '1' && *at <= '9') {
        p->depth = 0;
        while (*at >= '0' && *at <= '9' && p->depth < 100)
            p->depth = 10 * p->depth + (*at++ - '0');
        if (!strcmp(at, "le"))
            at += 2;
    }
    return !*at && p->depth >= 8 && p->depth <= 16;
}

const char *oriel_pixels_name(oriel_pixels p, char *buf, size_t size)
{
    char bits[8] = "";
    const char *shape = "???";
    if (p.depth > 8)
        snprintf(bits, sizeof bits, "%d", p.depth < 99 ? p.depth : 99);
    for (size_t k = 0; k < sizeof chroma / sizeof *chroma; k++)
        if (chroma[k].x == p.shift_x && chroma[k].y == p.shift_y)
            shape = chroma[k].name;
    if (p.model == ORIEL_PIXELS_GREY)
        snprintf(buf, size, "gray%s%s", bits, p.alpha ? "+alpha" : "");
    else if (p.model == ORIEL_PIXELS_RGB)
        snprintf(buf, size, "gbr%sp%s", p.alpha ? "a" : "", bits);
    else
        snprintf(buf, size, "yuv%s%sp%s", p.alpha ? "a" : "", shape, bits);
    return buf;
}

/* ---- frames ------------------------------------------------------------------------------- */

oriel_status oriel_frame_new(oriel_frame *f, int width, int height, oriel_pixels pixels)
{
    oriel_status s = oriel_frame_check(width, height, pixels);
    *f = (oriel_frame){.width = width, .height = height, .pixels = pixels, .pts = ORIEL_NO_TIME};
    size_t begin[ORIEL_PLANES], bytes = 0;
    int planes = oriel_pixels_planes(pixels);
    if (s)
        goto failed;
    for (int i = 0; i < planes; i++) { /* at most 4 * 2^33 bytes */
        int w, h;
        oriel_frame_plane_size(f, i, &w, &h);
        f->stride[i] = (ptrdiff_t)oriel_round_up((int64_t)w * (pixels.depth > 8 ? 2 : 1), ALIGN);
        begin[i] = bytes;
        bytes += (size_t)f->stride[i] * (size_t)h;
    }
    s = ORIEL_E_NOMEM;
    uint8_t *data = oriel_alloc_aligned(bytes + ALIGN); /* kernels may read a vector from the last row's end */
    if (!data)
        goto failed;
    if (!(f->owner = video_share(data, oriel_dealloc_aligned))) {
        oriel_dealloc_aligned(data);
        goto failed;
    }
    for (int i = 0; i < planes; i++)
        f->plane[i] = data + begin[i];
    return ORIEL_OK;
failed:
    *f = (oriel_frame){0};
    return s;
}

void oriel_frame_free(oriel_frame *f)
{
    if (!f)
        return;
    video_drop(&f->owner);
    video_drop(&f->extra);
    *f = (oriel_frame){0};
}

oriel_frame oriel_frame_hold(const oriel_frame *f)
{
    oriel_frame held = *f;
    video_hold(held.owner);
    video_hold(held.extra);
    return held;
}

void oriel_frame_copy_tags(oriel_frame *dst, const oriel_frame *src)
{
    oriel_shared *extra = video_hold(src->extra);
    video_drop(&dst->extra);
    dst->extra = extra;
    dst->colour = src->colour;
    dst->aspect[0] = src->aspect[0];
    dst->aspect[1] = src->aspect[1];
    dst->fields = src->fields;
    dst->pts = src->pts;
    dst->duration = src->duration;
}

bool oriel_frame_same(const oriel_frame *a, const oriel_frame *b)
{
    oriel_pixels p = a->pixels, q = b->pixels;
    if (a->width != b->width || a->height != b->height || p.model != q.model || p.depth != q.depth ||
        p.shift_x != q.shift_x || p.shift_y != q.shift_y || p.alpha != q.alpha)
        return false;
    for (int i = 0; i < oriel_pixels_planes(p); i++) {
        int w, h;
        oriel_frame_plane_size(a, i, &w, &h);
        if (a->plane[i] == b->plane[i] && a->stride[i] == b->stride[i])
            continue;
        for (int y = 0; y < h; y++)
            if (memcmp(a->plane[i] + y * a->stride[i], b->plane[i] + y * b->stride[i],
                       (size_t)w * (p.depth > 8 ? 2 : 1)) != 0)
                return false;
    }
    return true;
}
