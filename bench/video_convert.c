/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of 1920 x 1080 to RGB of f32 and back: ms a frame and GB/s, one thread, a line a format.
 *
 *     bench_video_convert [PATTERN]
 *
 * Bytes are those that must move: the frame's and 12 a pixel. The first line is what memory gives: a fill of
 * as many floats, and a sum of them. With FFmpeg, swscale's time for a conversion of the same frame beside
 * it: to planes of f32 RGB and to 16-bit RGB (it converts from planes of f32 only through 16 bits), with
 * accurate rounding and bilinear chroma. The median of runs by the thread's CPU time.
 */
#include <oriel/video.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/peak.h"

#if WITH_FFMPEG
#include <libavutil/frame.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
#endif

enum { WIDTH = 1920, HEIGHT = 1080, RUNS = 15, FLOATS = WIDTH * HEIGHT * 3 };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct job {
    oriel_frame  frame;
    oriel_tensor t;
    void        *sws, *src, *dst;
} job;

/* Milliseconds of one call; negative if it failed. */
static double milliseconds(bool (*fn)(job *), job *j)
{
    double t[RUNS];
    for (int i = 0; i < RUNS; i++) {
        t[i] = bench_cpu_now();
        if (!fn(j))
            return -1;
        t[i] = bench_cpu_now() - t[i];
    }
    qsort(t, RUNS, sizeof *t, ascending);
    return 1e3 * t[RUNS / 2];
}

static volatile float value = 1, sink;

static bool fill(job *j)
{
    float *p = j->t.data, v = value;
    for (int i = 0; i < FLOATS; i++)
        p[i] = v;
    return true;
}

static bool sum(job *j)
{
    const float *p = j->t.data;
    float s[64] = {0};
    for (int i = 0; i + 64 <= FLOATS; i += 64)
        for (int k = 0; k < 64; k++)
            s[k] += p[i + k];
    sink = s[0] + s[63];
    return true;
}

static bool to(job *j)
{
    return !oriel_frame_to_tensor(&j->frame, j->t);
}

static bool from(job *j)
{
    return !oriel_frame_from_tensor(&j->frame, j->t);
}

#if WITH_FFMPEG
static bool scale(job *j)
{
    return sws_scale_frame(j->sws, j->dst, j->src) >= 0;
}

static AVFrame *picture(const char *format)
{
    AVFrame *f = av_frame_alloc();
    if (!f)
        return NULL;
    f->width = WIDTH;
    f->height = HEIGHT;
    f->format = av_get_pix_fmt(format);
    if (f->format == AV_PIX_FMT_NONE || av_frame_get_buffer(f, 64) < 0)
        av_frame_free(&f);
    for (int i = 0; f && i < 4 && f->buf[i]; i++)
        memset(f->buf[i]->data, 0x40, f->buf[i]->size);
    return f;
}

/* swscale's milliseconds; negative where it cannot. */
static double swscale(const char *a, const char *b)
{
    AVFrame *src = picture(a), *dst = picture(b);
    job      j = {.src = src, .dst = dst};
    double   ms = -1;
    if (src && dst)
        j.sws = sws_getContext(WIDTH, HEIGHT, src->format, WIDTH, HEIGHT, dst->format,
                               SWS_BILINEAR | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT, NULL, NULL, NULL);
    if (j.sws)
        ms = milliseconds(scale, &j);
    sws_freeContext(j.sws);
    av_frame_free(&src);
    av_frame_free(&dst);
    return ms;
}
#else
static double swscale(const char *a, const char *b)
{
    (void)a, (void)b;
    return -1;
}
#endif

static void print_ms(double ms)
{
    if (ms < 0)
        printf(" %9s", "-");
    else
        printf(" %9.2f", ms);
}

int main(int argc, char **argv)
{
    static const char *const formats[][2] = { /* ours, FFmpeg's */
        {"yuv420p", "yuv420p"}, {"yuv422p", "yuv422p"}, {"yuv444p", "yuv444p"}, {"yuv420p10", "yuv420p10le"},
        {"yuv444p16", "yuv444p16le"}, {"gbrp", "gbrp"}, {"gray", "gray"}};
    float *data = aligned_alloc(64, FLOATS * sizeof *data);
    if (!data)
        return 1;
    job j = {.t = oriel_tensor_of(data, ORIEL_F32, 3, (int64_t[]){HEIGHT, WIDTH, 3})};
    fill(&j);
    double write = milliseconds(fill, &j), read = milliseconds(sum, &j), gb = FLOATS * sizeof(float) / 1e6;
    printf("%d x %d, %s\n", WIDTH, HEIGHT, oriel_video_backend());
    printf("memory: %.2f ms to fill %.1f MB (%.1f GB/s), %.2f ms to read them (%.1f GB/s)\n", write, gb, gb / write, read,
           gb / read);
    printf("%-10s %9s %9s %9s %9s | swscale: %9s %9s %9s %9s\n", "", "to ms", "GB/s", "from ms", "GB/s", "to f32", "from f32",
           "to rgb48", "from");
    for (size_t k = 0; k < sizeof formats / sizeof *formats; k++) {
        oriel_pixels p;
        if ((argc > 1 && !strstr(formats[k][0], argv[1])) || !oriel_pixels_named(&p, formats[k][0]))
            continue;
        if (oriel_frame_new(&j.frame, WIDTH, HEIGHT, p))
            return 1;
        double bytes = gb;
        for (int i = 0; i < oriel_pixels_planes(p); i++) {
            int w, h;
            oriel_frame_plane_size(&j.frame, i, &w, &h);
            memset(j.frame.plane[i], 0x40, (size_t)j.frame.stride[i] * (size_t)h);
            bytes += (double)w * h * (p.depth > 8 ? 2 : 1) / 1e6;
        }
        double a = milliseconds(to, &j), b = milliseconds(from, &j);
        printf("%-10s %9.2f %9.1f %9.2f %9.1f |         ", formats[k][0], a, bytes / a, b, bytes / b);
        print_ms(swscale(formats[k][1], "gbrpf32le"));
        print_ms(swscale("gbrpf32le", formats[k][1]));
        print_ms(swscale(formats[k][1], "rgb48le"));
        print_ms(swscale("rgb48le", formats[k][1]));
        printf("\n");
        oriel_frame_free(&j.frame);
    }
    free(data);
    return 0;
}
