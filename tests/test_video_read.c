/* SPDX-License-Identifier: Apache-2.0 */
/* Clips of many codecs, containers and formats, made by the ffmpeg command: the same samples and times as
 * ffmpeg decodes, from the beginning and from any moment. */
#include "tests/test.h"
#include "tests/video_clips.h"

#if !WITH_FFMPEG
int main(void)
{
    SKIP("a build without FFmpeg");
    return test_end();
}
#else
#include <libavutil/pixdesc.h>

#include "video/ffmpeg_read.h"

/* ---- every format ------------------------------------------------------------------------- */

/* The value of component c at a pixel, from its hash. */
static uint16_t value(int c, int x, int y, int bits)
{
    uint32_t h = (uint32_t)(c * 7919 + x * 104729 + y * 1299709 + 17) * 2654435761u;
    return (uint16_t)((h ^ h >> 15) >> 7 & ((1u << bits) - 1));
}

/* What FFmpeg's writer of single samples puts into a frame is what oriel's planes hold. */
static void check_format(enum AVPixelFormat format)
{
    enum { W = 37, H = 11 };
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(format);
    oriel_pixels p;
    AVFrame *av = av_frame_alloc();
    oriel_frame f = {0};
    ffmpeg_shape shape;
    av->width = W;
    av->height = H;
    av->format = format;
    if (!ffmpeg_pixels(format, &p)) {
        CHECK_FAILS(ffmpeg_shape_of(&shape, av), ORIEL_E_UNSUPPORTED);
        av_frame_free(&av);
        return;
    }
    CHECK_OK(ffmpeg_shape_of(&shape, av));
    CHECK(av_frame_get_buffer(av, 0) >= 0);
    for (int i = 0; i < 4 && av->buf[i]; i++)
        memset(av->buf[i]->data, 0, av->buf[i]->size);
    bool palette = d->flags & AV_PIX_FMT_FLAG_PAL;
    for (int k = 0; palette && k < 256; k++)
        ((uint32_t *)av->data[1])[k] = (uint32_t)k * 16777259u;
    int planes = oriel_pixels_planes(p);
    for (int c = 0; c < d->nb_components; c++)
        for (int y = 0; y < H; y++) {
            uint16_t line[W];
            bool chroma = planes >= 3 && (c == 1 || c == 2) && !(d->flags & AV_PIX_FMT_FLAG_RGB);
            if (chroma && y >= (H + (1 << d->log2_chroma_h) - 1) >> d->log2_chroma_h)
                continue;
            int w = chroma ? (W + (1 << d->log2_chroma_w) - 1) >> d->log2_chroma_w : W;
            for (int x = 0; x < w; x++)
                line[x] = value(c, x, y, d->comp[c].depth);
            av_write_image_line(line, av->data, av->linesize, d, 0, y, c, w);
        }
    CHECK_OK(ffmpeg_frame(&f, av, NULL));
    int wrong = 0;
    for (int i = 0; i < planes; i++) {
        int w, h, c = palette ? 0 : i, bits = d->comp[c].depth;
        oriel_frame_plane_size(&f, i, &w, &h);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                const uint8_t *row = f.plane[i] + y * f.stride[i];
                unsigned got = p.depth > 8 ? ((const uint16_t *)row)[x] : row[x], v = value(c, x, y, bits);
                if (palette)
                    v = (v * 16777259u >> (i == 3 ? 24 : 16 - 8 * i)) & 255;
                else if (bits < p.depth)
                    v = (unsigned)((double)v * ((1 << p.depth) - 1) / ((1 << bits) - 1) + 0.5);
                wrong += got != (format == AV_PIX_FMT_MONOWHITE ? 255 - v : v);
            }
    }
    if (wrong)
        fprintf(stderr, "%s: %d samples are wrong\n", d->name, wrong);
    CHECK(!wrong);
    oriel_frame_free(&f);
    av_frame_free(&av);
}

static void test_formats(void)
{
    int shared = 0, all = 0;
    for (const AVPixFmtDescriptor *d = NULL; (d = av_pix_fmt_desc_next(d));) {
        enum AVPixelFormat format = av_pix_fmt_desc_get_id(d);
        oriel_pixels p;
        if (d->flags & AV_PIX_FMT_FLAG_FLOAT || (d->nb_components && d->comp[0].depth > 16))
            continue; /* test_floats() */
        check_format(format);
        all += ffmpeg_pixels(format, &p);
        shared += ffmpeg_pixels(format, &p) && video_ffmpeg_format(p) == format;
    }
    CHECK_INT(all, >, 150);
    CHECK_INT(shared, >, 50);
}

static void test_floats(void)
{
    static const float in[] = {0, 1, 0.5f, -1, 2, 0.25f};
    static const unsigned out[] = {0, 65535, 32768, 0, 65535, 16384};
    AVFrame *av = av_frame_alloc();
    oriel_frame f = {0};
    av->width = 6;
    av->height = 1;
    av->format = AV_PIX_FMT_GBRPF32;
    CHECK(av_frame_get_buffer(av, 0) >= 0);
    for (int i = 0; i < 3; i++)
        memcpy(av->data[i], in, sizeof in);
    CHECK_OK(ffmpeg_frame(&f, av, NULL));
    CHECK(f.pixels.model == ORIEL_PIXELS_RGB && f.pixels.depth == 16);
    for (int k = 0; k < 18 && f.plane[0]; k++)
        CHECK_INT(((uint16_t *)f.plane[k / 6])[k % 6], ==, out[k % 6]);
    oriel_frame_free(&f);
    av_frame_free(&av);
}

/* ---- clips -------------------------------------------------------------------------------- */

typedef struct sample {
    const char *name, *encoder, *arguments;
    const char *pixels; /* as oriel names them */
    const char *as;     /* ffmpeg's -pix_fmt for the comparison, where it does not decode to pixels */

} sample;

#define X264 "-g 5 -bf 2 -preset ultrafast -b-pyramid none"
static const sample samples[] = {
    {"h264.mp4", "libx264", X264 " -pix_fmt yuv420p", "yuv420p", NULL},
    {"h264.mkv", "libx264", X264 " -pix_fmt yuv422p10le", "yuv422p10", NULL},
    {"h264.ts", "libx264", X264 " -pix_fmt yuv420p", "yuv420p", NULL},
    {"h264.avi", "libx264", X264 " -pix_fmt yuv444p", "yuv444p", NULL},
    {"h264.flv", "libx264", X264 " -pix_fmt yuv420p", "yuv420p", NULL},
    {"h264.264", "libx264", X264 " -pix_fmt yuv420p", "yuv420p", NULL},
    {"open.mkv", "libx264", "-pix_fmt yuv420p -x264-params keyint=5:min-keyint=5:open-gop=1:bframes=3:scenecut=0", "yuv420p", NULL},
    {"open.ts", "libx264", "-pix_fmt yuv420p -x264-params keyint=5:min-keyint=5:open-gop=1:bframes=3:scenecut=0", "yuv420p", NULL},
    {"refresh.mkv", "libx264", "-pix_fmt yuv420p -x264-params keyint=5:intra-refresh=1", "yuv420p", NULL},
    {"refresh.ts", "libx264", "-pix_fmt yuv420p -x264-params keyint=5:intra-refresh=1", "yuv420p", NULL},
    {"fields.mp4", "libx264", X264 " -pix_fmt yuv420p -flags +ildct -top 1", "yuv420p", NULL},
    {"rgb.mkv", "libx264rgb", "-qp 0 -pix_fmt rgb24", "gbrp", NULL},
    {"hevc.mp4", "libx265", "-pix_fmt yuv420p -x265-params log-level=none:keyint=5:bframes=2", "yuv420p", NULL},
    {"hevc12.mkv", "libx265", "-pix_fmt yuv422p12le -x265-params log-level=none:keyint=5:open-gop=1", "yuv422p12", NULL},
    {"vp9.webm", "libvpx-vp9", "-g 5 -cpu-used 8 -deadline realtime -pix_fmt yuv420p", "yuv420p", NULL},
    {"av1.mp4", "libsvtav1", "-s 64x64 -g 5 -preset 12 -pix_fmt yuv420p10le", "yuv420p10", NULL},
    {"mpeg4.avi", "mpeg4", "-g 5 -bf 2", "yuv420p", NULL},
    {"mpeg4.mp4", "mpeg4", "-g 5 -bf 2", "yuv420p", NULL},
    {"mpeg2.mpg", "mpeg2video", "-g 5 -bf 2 -flags +ilme+ildct -top 1", "yuv420p", NULL},
    {"mpeg2.ts", "mpeg2video", "-g 5 -bf 2 -pix_fmt yuv422p", "yuv422p", NULL},
    {"410.mkv", "ffv1", "-pix_fmt yuv410p", "yuv410p", NULL},
    {"411.mkv", "ffv1", "-pix_fmt yuv411p", "yuv411p", NULL},
    {"440.mkv", "ffv1", "-pix_fmt yuv440p", "yuv440p", NULL},
    {"444.mkv", "ffv1", "-pix_fmt yuv444p -level 3 -g 5", "yuv444p", NULL},
    {"422p9.mkv", "ffv1", "-pix_fmt yuv422p9le", "yuv422p9", NULL},
    {"420p16.mkv", "ffv1", "-pix_fmt yuv420p16le", "yuv420p16", NULL},
    {"444p14.mkv", "ffv1", "-pix_fmt yuv444p14le", "yuv444p14", NULL},
    {"a420.mkv", "ffv1", "-pix_fmt yuva420p", "yuva420p", NULL},
    {"a444p10.mkv", "ffv1", "-pix_fmt yuva444p10le", "yuva444p10", NULL},
    {"grey.mkv", "ffv1", "-pix_fmt gray", "gray", NULL},
    {"grey10.mkv", "ffv1", "-pix_fmt gray10le", "gray10", NULL},
    {"grey16.mkv", "ffv1", "-pix_fmt gray16le", "gray16", NULL},
    {"gbr10.mkv", "ffv1", "-pix_fmt gbrp10le", "gbrp10", NULL},
    {"gbr16.mkv", "ffv1", "-pix_fmt gbrp16le", "gbrp16", NULL},
    {"gbra12.mkv", "ffv1", "-pix_fmt gbrap12le", "gbrap12", NULL},
    {"bgr0.mkv", "ffv1", "-pix_fmt bgr0", "gbrp", "rgb24"},
    {"bgra.mkv", "ffv1", "-pix_fmt bgra", "gbrap", "rgba"},
    {"greya.mkv", "ffv1", "-pix_fmt ya8", "gray+alpha", "ya8"},
    {"prores.mov", "prores_ks", "-pix_fmt yuva444p10le -profile:v 4444", "yuva444p12", NULL},
    {"mjpeg.avi", "mjpeg", "-pix_fmt yuvj420p", "yuv420p", NULL},
    {"nv12.nut", "rawvideo", "-pix_fmt nv12", "yuv420p", "yuv420p"},
    {"yuyv.avi", "rawvideo", "-pix_fmt yuyv422", "yuv422p", "yuv422p"},
    {"uyvy.mov", "rawvideo", "-pix_fmt uyvy422", "yuv422p", "yuv422p"},
    {"420be.nut", "rawvideo", "-pix_fmt yuv420p10be", "yuv420p10", "yuv420p10le"},
    {"grey16be.nut", "rawvideo", "-pix_fmt gray16be", "gray16", "gray16le"},
    {"bgr24.avi", "rawvideo", "-pix_fmt bgr24", "gbrp", "rgb24"},
    {"rgba.nut", "rawvideo", "-pix_fmt rgba", "gbrap", "rgba"},
    {"rgb48.nut", "rawvideo", "-pix_fmt rgb48be", "gbrp16", "rgb48le"},
    {"mono.nut", "rawvideo", "-pix_fmt monow", "gray", "gray"},
    {"planes.nut", "rawvideo", "-pix_fmt yuv444p12le", "yuv444p12", NULL},
    {"v210.mov", "v210", "", "yuv422p10", NULL},
    {"anim.gif", "gif", "", "gbrap", "rgba"},
    {"png.mov", "png", "-pix_fmt rgb24", "gbrp", "rgb24"},
    {"png48.mkv", "png", "-pix_fmt rgb48be", "gbrp16", "rgb48le"},
    {"anim.apng", "apng", "-f apng -pix_fmt rgba", "gbrap", "rgba"},
    {"qtrle.mov", "qtrle", "-g 5 -pix_fmt rgb24", "gbrp", "rgb24"},
    {"huff.avi", "huffyuv", "-pix_fmt yuv422p", "yuv422p", NULL},
    {"ut.avi", "utvideo", "-pix_fmt yuv444p", "yuv444p", NULL},
    {"utrgb.mkv", "utvideo", "-pix_fmt gbrp", "gbrp", NULL},
    {"zmbv.avi", "zmbv", "-g 5 -pix_fmt bgr0", "gbrp", "rgb24"},
};
enum { SAMPLES = sizeof samples / sizeof *samples, FRAMES = 12 };

static bool made[SAMPLES];
static clip_frames whole[SAMPLES];

static void make_clips(void)
{
    static char line[16384];
    size_t n = 0;
    for (int k = 0; k < SAMPLES; k++) {
        const sample *c = &samples[k];
        if (!(made[k] = clip_has_encoder(c->encoder)))
            fprintf(stderr, "skipped: %s: this ffmpeg has no encoder %s\n", c->name, c->encoder);
        else
            n += (size_t)snprintf(line + n, sizeof line - n, " -c:v %s %s -threads 1 %s", c->encoder, c->arguments,
                                  c->name);
    }
    CHECK(clip_ffmpeg("-f lavfi -i testsrc2=s=64x48:r=25:d=0.48 %s 2>ffmpeg.log || { cat ffmpeg.log >&2; false; }", line));
}

/* All clips by one command. */
static void decode_by_ffmpeg(void)
{
    static char in[16384], out[16384];
    size_t n = 0, m = 0;
    int input = 0;
    for (int k = 0; k < SAMPLES; k++) {
        const sample *c = &samples[k];
        if (!made[k])
            continue;
        n += (size_t)snprintf(in + n, sizeof in - n, " -threads 1 -i %s", c->name);
        m += (size_t)snprintf(out + m, sizeof out - m, " -map %d:v:0 -fps_mode passthrough -threads 1 %s %s -f rawvideo %s.raw",
                              input++, c->as ? "-pix_fmt" : "", c->as ? c->as : "", c->name);
    }
    CHECK(clip_ffmpeg("%s %s", in, out));
}

static void check_whole(const sample *c, const clip_frames *got)
{
    char name[24], raw[64];
    size_t size;
    snprintf(raw, sizeof raw, "%s.raw", c->name);
    uint8_t *want = clip_load(clip_path(raw), &size);
    bool as_wanted = !strcmp(oriel_pixels_name(got->info.pixels, name, sizeof name), c->pixels);
    bool equal = size == got->size && !memcmp(want, got->samples, size);
    bool rises = true;
    for (int k = 1; k < got->count; k++)
        rises = rises && got->pts[k] > got->pts[k - 1];
    if (got->status != ORIEL_EOF || !as_wanted || !equal || !rises || got->count != FRAMES)
        fprintf(stderr, "%s: %s (%s), %d frames of %s, %zu bytes, by ffmpeg %zu%s\n", c->name,
                oriel_status_name(got->status), oriel_error(), got->count, name, got->size, size,
                equal ? "" : ", samples differ");
    CHECK(got->status == ORIEL_EOF && got->count == FRAMES && rises);
    CHECK(as_wanted);
    CHECK(equal);
    CHECK(!got->damage.packets && !got->damage.frames && !got->damage.resized);
    free(want);
}

static void test_clips(void)
{
    for (int k = 0; k < SAMPLES; k++) {
        if (!made[k])
            continue;
        const char *as = samples[k].as;
        bool packed = as && (!strncmp(as, "rgb", 3) || !strncmp(as, "ya", 2));
        whole[k] = clip_read(clip_path(samples[k].name), NULL, packed ? CLIP_PACKED : CLIP_PLANES);
        check_whole(&samples[k], &whole[k]);
    }
}

/* ---- from any moment ---------------------------------------------------------------------- */

/* Frames, times and all from frame `first` on, and none of before `from`. */
static void check_from(const char *path, const char *name, const clip_frames *all, clip_layout layout, int first, int end)
{
    double unit = (double)all->info.time_base[0] / all->info.time_base[1];
    double from = (double)(all->pts[first] - all->pts[0]) * unit - (first & 1) * 1e-4;
    double to = end < all->count ? (double)(all->pts[end] - all->pts[0]) * unit : 0;
    clip_frames part = clip_read(path, &(oriel_video_reader_options){.from = from, .to = to}, layout);
    bool same = part.status == ORIEL_EOF && part.count == end - first;
    for (int k = 0; same && k < part.count; k++)
        same = part.pts[k] == all->pts[first + k] && part.duration[k] == all->duration[first + k] &&
               part.hash[k] == all->hash[first + k];
    if (!same)
        fprintf(stderr, "%s: from frame %d to %d: %d frames, first at %lld, %s\n", name, first, end, part.count,
                part.count ? (long long)part.pts[0] : 0, oriel_status_name(part.status));
    CHECK(same);
    CHECK(!part.damage.packets && !part.damage.frames);
    clip_free(&part);
}

static void test_from(void)
{
    static const int parts[][2] = {{1, FRAMES}, {4, 7}, {7, FRAMES}, {11, FRAMES}};
    for (int k = 0; k < SAMPLES; k++)
        for (size_t p = 0; p < sizeof parts / sizeof *parts && whole[k].count == FRAMES; p++) {
            const char *as = samples[k].as;
            bool packed = as && (!strncmp(as, "rgb", 3) || !strncmp(as, "ya", 2));
            check_from(clip_path(samples[k].name), samples[k].name, &whole[k], packed ? CLIP_PACKED : CLIP_PLANES,
                       parts[p][0], parts[p][1]);
        }
}

/* ---- real clips --------------------------------------------------------------------------- */

static void test_real(void)
{
    static const char *const names[] = {"clips/friday.mp4", "clips/flower.mp4"};
    static const int frames[] = {185, 150};
    for (int k = 0; k < 2; k++) {
        const char *path = test_data(names[k]);
        if (!path) {
            SKIP("a real clip is not there");
            continue;
        }
        clip_frames all = clip_read(path, NULL, CLIP_NO_SAMPLES);
        CHECK_INT(all.count, ==, frames[k]);
        CHECK_INT(all.info.frames, ==, frames[k]);
        CHECK(!all.info.variable && all.info.audio == 1);
        if (all.count == frames[k]) {
            check_from(path, names[k], &all, CLIP_NO_SAMPLES, 77, 80);
            check_from(path, names[k], &all, CLIP_NO_SAMPLES, frames[k] - 3, frames[k]);
        }
        clip_free(&all);
    }
}

int main(void)
{
    test_formats();
    test_floats();
    if (!clips_begin()) {
        SKIP("there is no ffmpeg command to make clips with");
        return test_end();
    }
    make_clips();
    decode_by_ffmpeg();
    test_clips();
    test_from();
    for (int k = 0; k < SAMPLES; k++)
        clip_free(&whole[k]);
    clips_end();
    test_real();
    return test_end();
}
#endif
