/* SPDX-License-Identifier: Apache-2.0 */
/* Clips that are cut short, damaged, change, are absurd, or are none. */
#include "tests/test.h"
#include "tests/video_clips.h"

#if !WITH_FFMPEG
int main(void)
{
    SKIP("a build without FFmpeg");
    return test_end();
}
#else
#include <fcntl.h>

#include "core/internal.h"
#include "video/video.h"

#define X264 "-c:v libx264 -preset ultrafast -g 6 -bf 2 -pix_fmt yuv420p -threads 1 "

static const oriel_video_reader_options strict = {.strict = true};

static void make_clips(void)
{
    CHECK(clip_ffmpeg("-f lavfi -i testsrc2=s=64x48:r=25:d=0.96 -f lavfi -i testsrc2=s=96x64:r=25:d=0.48 -f lavfi -i sine=d=1 "
                      "-f lavfi -i rgbtestsrc=s=33x17:r=25:d=0.12 "
                      "-map 0 -map 2 " X264 "-c:a mp2 late.mp4 "
                      "-map 0 -map 2 " X264 "-c:a mp2 -movflags +faststart early.mp4 "
                      "-map 0 -map 2 " X264 "-c:a mp2 a.mkv -map 0 " X264 "a.ts -map 0 -c:v mpeg4 -g 6 a.avi "
                      "-map 0 -c:v ffv1 -level 3 -g 6 lossless.mkv -map 0 -c:v mjpeg mjpeg.mov "
                      "-map 0 " X264 "-t 0.48 small.264 -map 1 " X264 "large.264 -map 0 " X264 "-t 0.48 -pix_fmt yuv444p other.264 "
                      "-map 2 tone.wav -map 0 -frames:v 1 cover.png "
                      "-map 3 -vf crop=1:1:exact=1 -c:v ffv1 -pix_fmt yuv420p one.mkv -map 3 -c:v ffv1 -pix_fmt yuv420p odd.mkv -map 3 -c:v mjpeg -pix_fmt yuvj420p odd.avi "
                      "-map 0 -c:v ffv1 -t 0 zero.mkv -map 0 -c:v rawvideo -t 0 zero.avi"));
    CHECK(clip_ffmpeg("-i tone.wav -i cover.png -map 0 -map 1 -c:a aac -c:v copy -disposition:v attached_pic cover.m4a "
                      "-map 0 -c:a mp2 -attach cover.png -metadata:s:t mimetype=image/png cover.mkv"));
    CHECK(clip_ffmpeg("-i a.mkv -map 0:v -c copy -bsf:v noise=amount=400 noise.mkv -map 0:v -c copy -bsf:v noise=drop=\"'eq(mod(n,5),3)'\" drops.mkv"));
}

/* ---- no clip ------------------------------------------------------------------------------ */

static void refused(const char *path, oriel_status status, const char *word)
{
    oriel_video_reader *r = (oriel_video_reader *)&strict;
    oriel_status s = oriel_video_open(&r, path, NULL);
    if (s != status || !strstr(oriel_error(), word))
        fprintf(stderr, "%s: %s: %s\n", path, oriel_status_name(s), oriel_error());
    CHECK(s == status && strstr(oriel_error(), word));
    CHECK(s == ORIEL_OK || !r);
    if (!s)
        oriel_video_reader_free(&r);
}

static void test_refusals(void)
{
    uint8_t noise[5000];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)((i + 1) * 2654435761u >> 13);
    CHECK(clip_save(clip_path("noise.bin"), noise, sizeof noise));
    CHECK(clip_save(clip_path("empty.mp4"), noise, 0));
    CHECK(clip_save(clip_path("words.bin"), (const uint8_t *)"not a clip at all\n", 18));
    refused(clip_path("absent.mp4"), ORIEL_E_IO, "absent.mp4");
    refused(clip_path("."), ORIEL_E_IO, "irectory");
    refused(clip_path("empty.mp4"), ORIEL_E_FORMAT, "empty.mp4");
    refused(clip_path("noise.bin"), ORIEL_E_FORMAT, "noise.bin");
    refused(clip_path("words.bin"), ORIEL_E_FORMAT, "words.bin");
    refused(clip_path("tone.wav"), ORIEL_E_FORMAT, "no video stream: 1 of audio");
    refused(clip_path("cover.m4a"), ORIEL_E_FORMAT, "1 cover");
    refused(clip_path("cover.mkv"), ORIEL_E_FORMAT, "1 cover");
    refused("nothing://of.the/kind", ORIEL_E_UNSUPPORTED, "nothing://");
}

/* A clip without a frame is empty or refused, but not an error of another kind. */
static void test_zero_frames(void)
{
    static const char *const names[] = {"zero.mkv", "zero.avi"};
    for (int k = 0; k < 2; k++) {
        clip_frames c = clip_read(clip_path(names[k]), NULL, CLIP_NO_SAMPLES);
        CHECK(!c.count && (c.status == ORIEL_E_FORMAT || (c.status == ORIEL_EOF && c.info.width == 64 && c.info.height == 48)));
        clip_free(&c);
    }
}

static void test_sizes(void)
{
    static const struct {
        const char *name;
        int w, h;
    } all[] = {{"one.mkv", 1, 1}, {"odd.mkv", 33, 17}, {"odd.avi", 33, 17}};
    for (int k = 0; k < 3; k++) {
        clip_frames c = clip_read(clip_path(all[k].name), NULL, CLIP_PLANES);
        size_t chroma = (size_t)((all[k].w + 1) / 2) * (size_t)((all[k].h + 1) / 2);
        CHECK(c.status == ORIEL_EOF && c.count == 3 && c.info.width == all[k].w && c.info.height == all[k].h);
        CHECK_INT(c.size, ==, 3 * ((size_t)all[k].w * (size_t)all[k].h + 2 * chroma));
        clip_free(&c);
    }
}

/* Headers that claim what no memory holds, or no time. */
static void test_absurd(void)
{
    if (!clip_has_encoder("libvpx-vp9")) {
        SKIP("this ffmpeg has no libvpx-vp9");
        return;
    }
    CHECK(clip_ffmpeg("-i a.mkv -map 0:v -c:v libvpx-vp9 -cpu-used 8 -deadline realtime rates.ivf"));
    size_t size;
    uint8_t *bytes = clip_load(clip_path("rates.ivf"), &size);
    static const uint8_t rates[][8] = {{255, 255, 255, 127, 1, 0, 0, 0}, {1, 0, 0, 0, 255, 255, 255, 127}, {0}, {0, 0, 0, 0, 1, 0, 0, 0}};
    for (int k = 0; k < 4; k++) {
        memcpy(bytes + 16, rates[k], 8); /* of the time base */
        CHECK(clip_save(clip_path("rates.ivf"), bytes, size));
        clip_frames c = clip_read(clip_path("rates.ivf"), NULL, CLIP_NO_SAMPLES);
        CHECK(c.status == ORIEL_E_FORMAT || (c.status == ORIEL_EOF && c.count == 24));
        for (int i = 1; i < c.count; i++)
            CHECK(c.pts[i] > c.pts[i - 1]);
        clip_free(&c);
    }
    bytes[12] = bytes[13] = bytes[14] = bytes[15] = 255; /* and of the size: the stream's own holds */
    CHECK(clip_save(clip_path("rates.ivf"), bytes, size));
    clip_frames c = clip_read(clip_path("rates.ivf"), NULL, CLIP_NO_SAMPLES);
    CHECK(c.status == ORIEL_E_FORMAT || c.info.width == 64);
    clip_free(&c);
    free(bytes);
}

/* A header that claims frames of 65000 x 65000. */
static void test_huge(void)
{
    size_t size;
    uint8_t *bytes = clip_load(clip_path("a.avi"), &size);
    for (size_t i = 0; i + 24 < size; i++)
        if (!memcmp(bytes + i, "strf", 4)) { /* name, size, then its own size, width, height */
            memcpy(bytes + i + 12, (uint8_t[]){0xe8, 0xfd, 0, 0, 0xe8, 0xfd, 0, 0}, 8);
            memcpy(bytes + i + 24, "FFV1", 4); /* which decodes what it is told to */
        }
    CHECK(clip_save(clip_path("huge.avi"), bytes, size));
    free(bytes);
    refused(clip_path("huge.avi"), ORIEL_E_UNSUPPORTED, "65000 x 65000");
}

/* ---- cut short and damaged ---------------------------------------------------------------- */

/* What a shorter clip still gives is the beginning of what the whole one gives. */
static void test_truncated(void)
{
    static const char *const names[] = {"early.mp4", "a.mkv", "a.ts", "a.avi"};
    for (int k = 0; k < 4; k++) {
        size_t size;
        uint8_t *bytes = clip_load(clip_path(names[k]), &size);
        clip_frames whole = clip_read(clip_path(names[k]), NULL, CLIP_NO_SAMPLES);
        CHECK(whole.count == 24 && !whole.damage.packets);
        int least = 24, most = 0;
        for (int part = 3; part < 10; part++) {
            CHECK(clip_save(clip_path("cut"), bytes, size * (size_t)part / 10));
            clip_frames c = clip_read(clip_path("cut"), NULL, CLIP_NO_SAMPLES);
            CHECK(c.status == ORIEL_EOF || (c.status == ORIEL_E_FORMAT && part < 6));
            CHECK(c.count <= 24);
            for (int i = 0; i + 3 < c.count; i++) /* the last ones may have been cut */
                CHECK(c.hash[i] == whole.hash[i] && c.pts[i] == whole.pts[i]);
            least = c.count < least ? c.count : least;
            most = c.count > most ? c.count : most;
            if (k == 0 && c.count && c.count < 24)
                CHECK_INT(c.damage.packets, >, 0); /* its index knows of packets that are not there */
            clip_free(&c);
        }
        CHECK(least < 12 && most > 12);
        clip_free(&whole);
        free(bytes);
    }
    size_t size;
    uint8_t *bytes = clip_load(clip_path("late.mp4"), &size);
    CHECK(clip_save(clip_path("cut.mp4"), bytes, size * 8 / 10));
    refused(clip_path("cut.mp4"), ORIEL_E_FORMAT, "moov");
    free(bytes);
}

static void test_damaged(void)
{
    clip_frames c = clip_read(clip_path("noise.mkv"), NULL, CLIP_NO_SAMPLES);
    CHECK(c.status == ORIEL_EOF && c.count > 12 && c.count <= 24);
    CHECK_INT(c.damage.packets + c.damage.frames, >, 0);
    for (int i = 1; i < c.count; i++)
        CHECK(c.pts[i] > c.pts[i - 1]);
    clip_free(&c);
    c = clip_read(clip_path("noise.mkv"), &strict, CLIP_NO_SAMPLES);
    CHECK(c.status == ORIEL_E_FORMAT && strstr(oriel_error(), "noise.mkv"));
    clip_free(&c);
    c = clip_read(clip_path("a.mkv"), &strict, CLIP_NO_SAMPLES);
    CHECK(c.status == ORIEL_EOF && c.count == 24);
    clip_free(&c);
    c = clip_read(clip_path("drops.mkv"), NULL, CLIP_NO_SAMPLES); /* frames that are not there are not made up */
    CHECK(c.status == ORIEL_EOF && c.count > 6 && c.count < 24);
    clip_free(&c);
}

/* ---- changes ------------------------------------------------------------------------------ */

static void join(const char *a, const char *b, const char *to)
{
    size_t na, nb;
    uint8_t *x = clip_load(clip_path(a), &na), *y = clip_load(clip_path(b), &nb);
    x = realloc(x, na + nb);
    memcpy(x + na, y, nb);
    CHECK(clip_save(clip_path(to), x, na + nb));
    free(x);
    free(y);
}

static double distance(const uint8_t *a, const uint8_t *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += abs(a[i] - b[i]);
    return sum / (double)n;
}

static void test_changes(void)
{
    enum { BYTES = 64 * 48 * 3 / 2 };
    join("small.264", "large.264", "size.264");
    join("small.264", "other.264", "format.264");
    static const char *const names[] = {"size.264", "format.264"};
    CHECK(clip_ffmpeg("-i small.264 -f rawvideo same.raw -i large.264 -map 1 -s 64x48 -sws_flags bicubic -f rawvideo scaled.raw"));
    size_t size;
    uint8_t *scaled = clip_load(clip_path("scaled.raw"), &size);
    for (int k = 0; k < 2; k++) {
        clip_frames c = clip_read(clip_path(names[k]), NULL, CLIP_PLANES);
        CHECK(c.status == ORIEL_EOF && c.count == 24 && c.size == 24 * BYTES && size == 12 * BYTES);
        CHECK_INT(c.damage.resized, ==, 12);
        if (c.size == 24 * BYTES && k == 0)
            CHECK_NUM(distance(c.samples + 12 * BYTES, scaled, 12 * BYTES), <, 1.0);
        if (c.size == 24 * BYTES && k == 1) /* the same pictures, coded apart */
            CHECK_NUM(distance(c.samples + 12 * BYTES, c.samples, 12 * BYTES), <, 8.0);
        clip_free(&c);
        c = clip_read(clip_path(names[k]), &strict, CLIP_NO_SAMPLES);
        CHECK(c.status == ORIEL_E_FORMAT && c.count == 12);
        clip_free(&c);
    }
    free(scaled);
}

/* ---- anything at all ---------------------------------------------------------------------- */

static uint32_t state = 12345;

static uint32_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    return state ^= state << 5;
}

/* Damaged anywhere: no crash, no hang, times that rise, frames of one size, a status that is to be expected. */
static void test_fuzzed(void)
{
    static const char *const names[] = {"early.mp4", "a.mkv", "a.ts", "a.avi", "lossless.mkv", "mjpeg.mov", "size.264"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        size_t size;
        uint8_t *bytes = clip_load(clip_path(names[k]), &size), *bad = malloc(size);
        for (int turn = 0; turn < 24; turn++) {
            memcpy(bad, bytes, size);
            size_t reach = turn & 1 ? size : size < 1500 ? size : 1500;
            for (uint32_t n = 1 + draw() % 24; n; n--)
                bad[draw() % reach] = (uint8_t)draw();
            CHECK(clip_save(clip_path("bad"), bad, size));
            clip_frames c = clip_read(clip_path("bad"), &(oriel_video_reader_options){.from = turn % 3 ? 0 : 0.3}, CLIP_NO_SAMPLES);
            CHECK(c.status == ORIEL_EOF || c.status == ORIEL_E_FORMAT || c.status == ORIEL_E_UNSUPPORTED ||
                  c.status == ORIEL_E_IO || c.status == ORIEL_E_NOMEM);
            for (int i = 1; i < c.count; i++)
                CHECK(c.pts[i] > c.pts[i - 1]);
            clip_free(&c);
        }
        free(bytes);
        free(bad);
    }
}

/* Each request for memory fails once: an error, and nothing is left behind. */
static void test_no_memory(void)
{
    oriel_status s = ORIEL_E_NOMEM;
    int n = 0;
    for (; s && n < 200; n++) {
        oriel_video_reader *r = NULL;
        oriel_frame f = {0};
        oriel_alloc_fail_at((uint64_t)n + 1);
        s = oriel_video_open(&r, clip_path("a.mkv"), &(oriel_video_reader_options){.from = 0.3});
        for (int k = 0; !s && k < 4; k++)
            if (!(s = oriel_video_read(r, &f)))
                oriel_frame_free(&f);
        oriel_alloc_fail_at(0);
        CHECK(!s || s == ORIEL_E_NOMEM);
        oriel_video_reader_free(&r);
    }
    CHECK(!s && n > 5);
}

/* A file that cannot be read further is no end. */
static void test_read_error(void)
{
    video_bytes b;
    oriel_video_reader *r = NULL;
    oriel_frame f;
    oriel_status s;
    int ends[2];
    size_t size;
    uint8_t *bytes = clip_load(clip_path("a.ts"), &size);
    FILE *long_clip = fopen(clip_path("long.ts"), "wb");
    for (int k = 0; k < 300; k++) /* more than is read ahead */
        CHECK(fwrite(bytes, 1, size, long_clip) == size);
    fclose(long_clip);
    free(bytes);
    CHECK_OK(video_bytes_open(&b, clip_path("long.ts")));
    CHECK_OK(video_ffmpeg_open(&r, "-", &b, &(oriel_video_reader_options){0}));
    CHECK(!pipe(ends));
    dup2(ends[1], b.fd); /* an end that cannot be read from */
    while (r && !(s = oriel_video_read(r, &f)))
        oriel_frame_free(&f);
    CHECK(r && s == ORIEL_E_IO && oriel_error()[0]);
    CHECK(r && oriel_video_read(r, &f) == ORIEL_E_IO);
    oriel_video_reader_free(&r);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    if (!clips_begin()) {
        SKIP("there is no ffmpeg command to make clips with");
        return test_end();
    }
    if (clip_has_encoder("libx264")) {
        make_clips();
        if (test_failed)
            return clips_end(), test_end();
        test_refusals();
        test_zero_frames();
        test_sizes();
        test_absurd();
        test_huge();
        test_truncated();
        test_damaged();
        test_changes();
        test_fuzzed();
        test_no_memory();
        test_read_error();
    } else {
        SKIP("this ffmpeg has no libx264");
    }
    clips_end();
    return test_end();
}
#endif
