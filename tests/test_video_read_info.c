/* SPDX-License-Identifier: Apache-2.0 */
/* What a reader says of a clip: times, tags, side data, streams beside the video; and clips by pipe. */
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
#include <pthread.h>
#include <stdatomic.h>

#include <libavutil/mastering_display_metadata.h>

#include "video/ffmpeg.h"

#define X264 "-c:v libx264 -preset ultrafast -g 6 -bf 2 -pix_fmt yuv420p -threads 1 "

static void make_clips(void)
{
    uint8_t words[] = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/10\nSTART=0\nEND=4\ntitle=a\n[CHAPTER]\nTIMEBASE=1/10\nSTART=4\nEND=8\ntitle=b\n";
    uint8_t lines[] = "1\n00:00:00,100 --> 00:00:00,700\nhello\n";
    CHECK(clip_save(clip_path("chapters.txt"), words, sizeof words - 1) && clip_save(clip_path("words.srt"), lines, sizeof lines - 1));
    CHECK(clip_ffmpeg("-f lavfi -i testsrc2=s=64x48:r=25:d=0.8 -f lavfi -i sine=d=1.2 -i words.srt -i chapters.txt "
                      "-map 0 -map 1 " X264 "-c:a aac plain.mp4 "
                      "-map 0 -map 1 " X264 "-c:a mp2 plain.ts "
                      "-map 0 -map 1 -map 1 -map 2 -map_metadata 3 -map_chapters 3 -attach words.srt -metadata:s:t mimetype=text/plain " X264
                      "-c:a mp2 -c:s srt many.mkv "
                      "-map 0 " X264 "-vf settb=1/90000,\"setpts='N*3600+mod(N,3)*1000'\" -fps_mode passthrough -enc_time_base 1/90000 vfr.mp4 "
                      "-map 0 " X264 "-vf settb=1/1000,\"setpts='N*40+mod(N,3)*13'\" -fps_mode passthrough -enc_time_base 1/1000 vfr.mkv "
                      "-map 0 " X264 "-r 24000/1001 film.mkv "
                      "-map 0 " X264 "-vf setsar=4/3 aspect.mkv "
                      "-map 0 -c:v libx264 -bf 0 -pix_fmt yuvj420p -color_range pc -colorspace bt709 -color_primaries bt709 -color_trc bt709 full.mp4 "
                      "-map 0 -c:v mpeg2video -flags +ilme+ildct -top 0 bottom.mpg "
                      "-map 0 -c:v rawvideo -pix_fmt uyvy422 big.mov -map 0 " X264 "-flags +ildct -top 1 top.mkv -map 0 -frames:v 1 cover.png"));
    CHECK(clip_ffmpeg("-ss 0.3 -i plain.mp4 -i cover.png -map 0:v -map 0:a -map 1 -c copy -disposition:v:1 attached_pic cut.mp4 "
                      "-map 0:v -c copy -output_ts_offset -2 -muxdelay 0 -muxpreload 0 -avoid_negative_ts disabled minus.ts"));
}

/* ---- times -------------------------------------------------------------------------------- */

/* The same times as ffprobe's, frame by frame. */
static void check_times(const char *name, int variable, int num, int den)
{
    char command[512], line[128];
    const char *path = clip_path(name);
    clip_frames c = clip_read(path, NULL, CLIP_NO_SAMPLES);
    snprintf(command, sizeof command,
             "ffprobe -v error -threads 1 -select_streams v:0 -show_entries frame=best_effort_timestamp -of csv=p=0 %s", path);
    FILE *p = popen(command, "r");
    int n = 0, wrong = 0;
    while (p && fgets(line, sizeof line, p))
        if (line[0] != '\n') {
            wrong += n >= c.count || c.pts[n] != atoll(line);
            n++;
        }
    if (p)
        pclose(p);
    if (c.status != ORIEL_EOF || wrong || n != c.count)
        fprintf(stderr, "%s: %d frames, by ffprobe %d, %d times differ\n", name, c.count, n, wrong);
    CHECK(c.status == ORIEL_EOF && !wrong && n == c.count && n > 10);
    if (variable >= 0)
        CHECK_INT(c.info.variable, ==, variable);
    if (num)
        CHECK(c.info.rate[0] == num && c.info.rate[1] == den);
    clip_free(&c);
}

static void test_times(void)
{
    check_times("plain.mp4", false, 25, 1);
    check_times("plain.ts", false, 25, 1);
    check_times("vfr.mp4", true, 0, 0);
    check_times("vfr.mkv", -1, 0, 0); /* its header claims a rate */
    check_times("film.mkv", false, 24000, 1001);
    check_times("cut.mp4", false, 25, 1); /* an edit list hides the frames before the cut */
    check_times("minus.ts", false, 25, 1);
    clip_frames c = clip_read(clip_path("minus.ts"), NULL, CLIP_NO_SAMPLES);
    CHECK_INT(c.count, ==, 14);
    CHECK_INT(c.count ? c.pts[0] : 0, <, 0);
    clip_free(&c);
    c = clip_read(clip_path("vfr.mp4"), NULL, CLIP_NO_SAMPLES);
    CHECK(c.count == 20 && c.info.time_base[0] == 1 && c.info.time_base[1] == 90000);
    for (int k = 0; k < c.count; k++)
        CHECK_INT(c.pts[k] - c.pts[0], ==, k * 3600 + k % 3 * 1000);
    clip_free(&c);
    c = clip_read(clip_path("plain.mp4"), NULL, CLIP_NO_SAMPLES);
    CHECK(c.info.frames == 20 && c.info.seconds > 0.79 && c.info.seconds < 0.81);
    clip_free(&c);
    c = clip_read(clip_path("cut.mp4"), NULL, CLIP_NO_SAMPLES);
    CHECK_INT(c.info.frames, ==, c.count);
    CHECK_INT(c.info.attachments, ==, 1);
    clip_free(&c);
}

/* ---- tags --------------------------------------------------------------------------------- */

static clip_frames info_of(const char *name)
{
    clip_frames c = clip_read(clip_path(name), NULL, CLIP_NO_SAMPLES);
    CHECK(c.status == ORIEL_EOF && c.count > 0);
    return c;
}

/* A matrix in the MP4's track header, as cameras write it: the picture is to be turned. */
static void check_rotation(int a, int b, int c, int d, int degrees)
{
    size_t size;
    uint8_t *bytes = clip_load(clip_path("full.mp4"), &size);
    int m[] = {a, b, 0, c, d};
    for (size_t i = 0; i + 100 < size; i++)
        if (!memcmp(bytes + i, "tkhd", 4))
            for (int k = 0; k < 5; k++) /* 16.16, big-endian */
                memcpy(bytes + i + 44 + 4 * k, (uint8_t[]){(uint8_t)(m[k] < 0 ? 255 : 0), (uint8_t)m[k], 0, 0}, 4);
    CHECK(clip_save(clip_path("turned.mp4"), bytes, size));
    free(bytes);
    clip_frames t = info_of("turned.mp4");
    CHECK_INT(t.info.rotation, ==, degrees);
    CHECK(t.info.width == 64 && t.info.height == 48);
    clip_free(&t);
}

static void test_tags(void)
{
    clip_frames c = info_of("full.mp4");
    CHECK(c.info.colour.range == ORIEL_RANGE_FULL && c.info.colour.matrix == 1 && c.info.colour.primaries == 1 &&
          c.info.colour.transfer == 1);
    CHECK(!strcmp(c.info.container, "mp4") && !strcmp(c.info.codec, "h264") && !c.info.rotation);
    clip_free(&c);
    c = info_of("aspect.mkv");
    CHECK(c.info.aspect[0] == 4 && c.info.aspect[1] == 3 && !strcmp(c.info.container, "matroska"));
    CHECK(c.info.fields == ORIEL_PROGRESSIVE && c.info.colour.range != ORIEL_RANGE_FULL);
    clip_free(&c);
    c = info_of("top.mkv");
    CHECK(c.info.fields == ORIEL_TOP_FIRST && c.fields == ORIEL_TOP_FIRST);
    clip_free(&c);
    c = info_of("bottom.mpg");
    CHECK(c.info.fields == ORIEL_BOTTOM_FIRST && c.fields == ORIEL_BOTTOM_FIRST);
    CHECK(c.info.colour.site == ORIEL_CHROMA_LEFT);
    clip_free(&c);
    c = info_of("many.mkv");
    CHECK(c.info.audio == 2 && c.info.subtitles == 1 && c.info.attachments == 1 && c.info.chapters == 2 && !c.info.data && !c.info.hdr);
    clip_free(&c);
    check_rotation(0, 1, -1, 0, 90);
    check_rotation(-1, 0, 0, -1, 180);
    check_rotation(0, -1, 1, 0, 270);
}

/* Every frame carries the mastering display and light level, whether a frame's bits or the container say them. */
static void check_hdr(const char *name)
{
    oriel_video_reader *r = NULL;
    oriel_frame f;
    int frames = 0;
    CHECK_OK(oriel_video_open(&r, clip_path(name), NULL));
    if (!r)
        return;
    const oriel_video_info *i = oriel_video_info_of(r);
    CHECK(i->hdr && i->colour.primaries == 9 && i->colour.transfer == 16 && i->colour.matrix == 9 && i->colour.range == ORIEL_RANGE_LIMITED);
    CHECK(i->pixels.depth == 10 && i->colour.site == ORIEL_CHROMA_TOPLEFT);
    for (; oriel_video_read(r, &f) == ORIEL_OK; frames++) {
        const AVFrame *extra = video_ffmpeg_extra(&f);
        AVFrameSideData *m = extra ? av_frame_get_side_data(extra, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA) : NULL;
        AVFrameSideData *l = extra ? av_frame_get_side_data(extra, AV_FRAME_DATA_CONTENT_LIGHT_LEVEL) : NULL;
        CHECK(m && av_q2d(((AVMasteringDisplayMetadata *)m->data)->max_luminance) == 1000);
        CHECK(l && ((AVContentLightMetadata *)l->data)->MaxCLL == 900);
        oriel_frame_free(&f);
    }
    CHECK_INT(frames, ==, 6);
    oriel_video_reader_free(&r);
}

static bool write_again(const char *from, const char *to)
{
    oriel_video_reader *r = NULL;
    oriel_video_writer *w = NULL;
    oriel_frame f = {0};
    oriel_status s = oriel_video_open(&r, clip_path(from), NULL);
    if (!s)
        s = oriel_video_create(&w, clip_path(to), oriel_video_info_of(r), &(oriel_video_writer_options){.codec = "ffv1"});
    while (!s && !(s = oriel_video_read(r, &f))) {
        s = oriel_video_write(w, &f);
        oriel_frame_free(&f);
    }
    if (s == ORIEL_EOF)
        s = oriel_video_finish(w);
    CHECK_OK(s);
    oriel_video_writer_free(&w);
    oriel_video_reader_free(&r);
    return !s;
}

static void test_hdr(void)
{
    if (!clip_has_encoder("libx265")) {
        SKIP("this ffmpeg has no libx265");
        return;
    }
    CHECK(clip_ffmpeg("-f lavfi -i testsrc2=s=64x48:r=25:d=0.24 -c:v libx265 -pix_fmt yuv420p10le -color_primaries bt2020 -color_trc smpte2084 "
                      "-colorspace bt2020nc -color_range tv -x265-params \"log-level=none:pools=none:chromaloc=2:hdr10=1:max-cll=900,400:master-display="
                      "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)\" hdr.mkv"));
    check_hdr("hdr.mkv");
    if (write_again("hdr.mkv", "boxes.mkv")) /* FFV1 has no place for it: the container says it */
        check_hdr("boxes.mkv");
}

/* ---- packets of other streams ------------------------------------------------------------- */

/* How many packets of audio FFmpeg finds wholly or in part in [from, to) seconds of a clip that begins at
 * `begin`. */
static int packets_in(const char *path, double begin, double from, double to)
{
    AVFormatContext *in = NULL;
    AVPacket *p = av_packet_alloc();
    int n = 0;
    if (avformat_open_input(&in, path, NULL, NULL) < 0)
        return -1;
    while (av_read_frame(in, p) >= 0) {
        const AVStream *st = in->streams[p->stream_index];
        double at = (double)p->pts * av_q2d(st->time_base) - begin, end = at + (double)p->duration * av_q2d(st->time_base);
        n += st->codecpar->codec_type == AVMEDIA_TYPE_AUDIO && end > from + 1e-6 && at < to - 1e-6;
        av_packet_unref(p);
    }
    av_packet_free(&p);
    avformat_close_input(&in);
    return n;
}

static int packets_kept(const char *path, double from, double to, double *begin)
{
    oriel_video_reader *r = NULL;
    AVPacket *p = av_packet_alloc();
    oriel_frame f;
    int n = 0;
    bool wanted[16];
    memset(wanted, 1, sizeof wanted);
    CHECK_OK(oriel_video_open(&r, path, &(oriel_video_reader_options){.from = from, .to = to}));
    if (!r)
        return -1;
    *begin = (double)video_ffmpeg_start(r) / AV_TIME_BASE;
    CHECK(video_ffmpeg_input(r) && video_ffmpeg_video_index(r) >= 0);
    CHECK_OK(video_ffmpeg_keep(r, wanted));
    for (bool more = true; more;) {
        oriel_status s = oriel_video_read(r, &f);
        more = !s;
        CHECK(!s || s == ORIEL_EOF);
        if (!more)
            CHECK_OK(video_ffmpeg_drain(r));
        while (video_ffmpeg_packet(r, p)) {
            n += video_ffmpeg_input(r)->streams[p->stream_index]->codecpar->codec_type == AVMEDIA_TYPE_AUDIO;
            CHECK(p->stream_index != video_ffmpeg_video_index(r));
            av_packet_unref(p);
        }
        oriel_frame_free(&f);
    }
    oriel_video_reader_free(&r);
    av_packet_free(&p);
    return n;
}

static void test_packets(void)
{
    static const char *const names[] = {"plain.mp4", "plain.ts", "many.mkv"};
    for (int k = 0; k < 3; k++) {
        char path[256];
        double begin, part;
        snprintf(path, sizeof path, "%s", clip_path(names[k]));
        int all = packets_kept(path, 0, 0, &begin);
        CHECK_INT(all, ==, packets_in(path, begin, -1e9, 1e9));
        CHECK_INT(all, >, 40);
        int some = packets_kept(path, 0.4, 0.6, &part);
        CHECK_NUM(part - begin, >, 0.399);
        CHECK_NUM(part - begin, <, 0.401);
        CHECK_INT(some, ==, packets_in(path, begin, 0.4, 0.6));
        CHECK_INT(some, >, 5);
    }
}

/* A writer's thread takes packets while the reader's reads. */
typedef struct taker {
    oriel_video_reader *r;
    atomic_bool ended;
    int packets;
} taker;

static void *take_packets(void *arg)
{
    taker *t = arg;
    AVPacket *p = av_packet_alloc();
    for (bool last = false; !last;) {
        last = t->ended;
        for (; video_ffmpeg_packet(t->r, p); t->packets++)
            av_packet_unref(p);
        if (!last)
            usleep(100);
    }
    av_packet_free(&p);
    return NULL;
}

static void test_two_threads(void)
{
    taker t = {0};
    pthread_t thread;
    oriel_frame f;
    int frames = 0;
    double begin;
    char path[256];
    snprintf(path, sizeof path, "%s", clip_path("plain.mp4"));
    CHECK_OK(oriel_video_open(&t.r, path, NULL));
    if (!t.r)
        return;
    CHECK_OK(video_ffmpeg_keep(t.r, (bool[16]){true, true, true}));
    CHECK(!pthread_create(&thread, NULL, take_packets, &t));
    for (; !oriel_video_read(t.r, &f); frames++)
        oriel_frame_free(&f);
    CHECK_OK(video_ffmpeg_drain(t.r));
    t.ended = true;
    pthread_join(thread, NULL);
    oriel_video_reader_free(&t.r);
    CHECK_INT(frames, ==, 20);
    CHECK_INT(t.packets, ==, packets_kept(path, 0, 0, &begin));
}

/* ---- pipes and names ---------------------------------------------------------------------- */

static clip_frames read_stdin(int fd, double from)
{
    int keep = dup(STDIN_FILENO);
    dup2(fd, STDIN_FILENO);
    clip_frames c = clip_read("-", &(oriel_video_reader_options){.from = from}, CLIP_NO_SAMPLES);
    dup2(keep, STDIN_FILENO);
    close(keep);
    return c;
}

static void check_same(clip_frames *got, const clip_frames *want, int first)
{
    CHECK(got->status == ORIEL_EOF && got->count == want->count - first);
    for (int k = 0; k < got->count && k + first < want->count; k++)
        CHECK(got->hash[k] == want->hash[k + first] && got->pts[k] == want->pts[k + first]);
    clip_free(got);
}

static void test_pipes(void)
{
    static const char *const names[] = {"plain.ts", "many.mkv", "plain.mp4", "big.mov"};
    for (int k = 0; k < 4; k++) {
        char command[512], path[256];
        snprintf(path, sizeof path, "%s", clip_path(names[k]));
        snprintf(command, sizeof command, "cat %s", path);
        clip_frames want = clip_read(path, NULL, CLIP_NO_SAMPLES), got;
        CHECK_INT(want.count, ==, 20);
        for (int from = 0; from < 20; from += 13) {
            int fd = open(path, O_RDONLY); /* a file as stdin can be sought in: this MP4 needs it */
            got = read_stdin(fd, from * 0.04);
            check_same(&got, &want, from);
            close(fd);
            FILE *p = popen(command, "r");
            got = read_stdin(fileno(p), from * 0.04);
            if (k < 2)
                check_same(&got, &want, from);
            else
                CHECK((got.status == ORIEL_E_FORMAT && strstr(oriel_error(), "pipe")) || got.count == want.count - from);
            clip_free(&got);
            pclose(p);
        }
        clip_free(&want);
    }
    size_t size;
    uint8_t *bytes = clip_load(clip_path("plain.ts"), &size);
    CHECK(clip_save(clip_path("http:colon.ts"), bytes, size));
    clip_frames c = clip_read(clip_path("http:colon.ts"), NULL, CLIP_NO_SAMPLES);
    CHECK_INT(c.count, ==, 20);
    clip_free(&c);
    free(bytes);
}

int main(void)
{
    if (!clips_begin()) {
        SKIP("there is no ffmpeg command to make clips with");
        return test_end();
    }
    if (clip_has_encoder("libx264")) {
        make_clips();
        test_times();
        test_tags();
        test_packets();
        test_two_threads();
        test_pipes();
    } else {
        SKIP("this ffmpeg has no libx264");
    }
    test_hdr();
    clips_end();
    return test_end();
}
#endif
