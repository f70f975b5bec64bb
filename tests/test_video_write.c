/* SPDX-License-Identifier: Apache-2.0 */
/* Clips written through FFmpeg: every format without loss, tags, times, what is copied beside the video,
 * stopped and killed runs that go on, and what can go wrong. */
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "core/internal.h"
#include "tests/test.h"
#include "tests/video_clips.h"

#if !WITH_FFMPEG
int main(void)
{
    SKIP("a build without FFmpeg");
    return test_end();
}
#else

/* These libraries leave some of what they were told behind. Seen from outside, for a sanitizer in a library. */
ORIEL_API const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libx264\nleak:libx265\n";
}

static const oriel_video_writer_options plain = {.overwrite = true, .preset = "ultrafast", .threads = 2};

/* A path in the folder of clips, which stays. */
static const char *at(const char *name)
{
    static char paths[96][320];
    int k = 0;
    const char *path = clip_path(name);
    while (k < 95 && paths[k][0] && strcmp(paths[k], path) != 0)
        k++;
    snprintf(paths[k], sizeof paths[k], "%.319s", path);
    return paths[k];
}

/* ---- frames ------------------------------------------------------------------------------- */

static unsigned sample(oriel_pixels p, int plane, int x, int y, int n, bool noise)
{
    uint32_t h = (uint32_t)(plane * 7919 + x * 104729 + y * 1299709 + n * 31337 + 17) * 2654435761u;
    unsigned top = (1u << p.depth) - 1;
    return noise ? (h ^ h >> 15) >> 7 & top : (unsigned)(x + 2 * y + 3 * n + 40 * plane) * top / 255 % (top + 1);
}

static oriel_frame made(const oriel_video_info *i, int n, bool noise)
{
    oriel_frame f;
    if (oriel_frame_new(&f, i->width, i->height, i->pixels))
        return f;
    for (int k = 0; k < oriel_pixels_planes(i->pixels); k++) {
        int w, h;
        oriel_frame_plane_size(&f, k, &w, &h);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++)
                if (i->pixels.depth > 8)
                    ((uint16_t *)(void *)(f.plane[k] + y * f.stride[k]))[x] = (uint16_t)sample(i->pixels, k, x, y, n, noise);
                else
                    f.plane[k][y * f.stride[k] + x] = (uint8_t)sample(i->pixels, k, x, y, n, noise);
    }
    f.colour = i->colour;
    f.fields = i->fields;
    return f;
}

static oriel_video_info clip(int width, int height, const char *format)
{
    oriel_video_info i = {.width = width, .height = height, .time_base = {1, 25}, .rate = {25, 1}};
    CHECK(oriel_pixels_named(&i.pixels, format));
    return i;
}

typedef enum ending { FINISH, STOP, FREE, KILL } ending;

/* Write n frames; pts NULL: 0, 1, 2. What the writer said last is in *done if that is not NULL (the
 * strings in said). */
static char said[4096];

static oriel_status written(const char *path, const oriel_video_info *i, const oriel_video_writer_options *opt, int n,
                            const int64_t *pts, const int64_t *duration, bool noise, ending e,
                            oriel_video_written *done)
{
    oriel_video_writer *w = NULL;
    oriel_status s = oriel_video_create(&w, path, i, opt);
    for (int k = s ? 0 : (int)oriel_video_written_of(w).resumed; !s && k < n; k++) {
        oriel_frame f = made(i, k, noise);
        f.pts = pts ? pts[k] : k;
        f.duration = duration ? duration[k] : 0;
        s = f.owner ? oriel_video_write(w, &f) : ORIEL_E_NOMEM;
        oriel_frame_free(&f);
    }
    if (!s && e == KILL)
        _exit(0);
    if (!s && e != FREE)
        s = e == FINISH ? oriel_video_finish(w) : oriel_video_stop(w);
    if (w) {
        oriel_video_written d = oriel_video_written_of(w);
        snprintf(said, sizeof said, "%s", d.notes);
        if (done)
            *done = d;
    }
    oriel_video_writer_free(&w);
    return s;
}

/* Read one clip, write another; `stop`: after so many frames, -1 for all. */
static oriel_status copied(const char *from, const char *to, oriel_video_writer_options o,
                           const oriel_video_reader_options *ro, int stop)
{
    oriel_video_reader *r = NULL;
    oriel_video_writer *w = NULL;
    oriel_frame f = {0};
    oriel_status s = oriel_video_open(&r, from, ro);
    o.source = r;
    *said = 0;
    if (!s)
        s = oriel_video_create(&w, to, oriel_video_info_of(r), &o);
    int64_t skip = s ? 0 : oriel_video_written_of(w).resumed;
    for (int n = 0; !s && n != stop && !(s = oriel_video_read(r, &f)); n++) {
        if (n >= skip)
            s = oriel_video_write(w, &f);
        oriel_frame_free(&f);
    }
    if (s == ORIEL_EOF)
        s = oriel_video_finish(w);
    else if (!s)
        s = oriel_video_stop(w);
    if (w)
        snprintf(said, sizeof said, "%s", oriel_video_written_of(w).notes);
    oriel_video_writer_free(&w);
    oriel_video_reader_free(&r);
    return s;
}

/* What ffprobe says, spaces for newlines; "" where it fails. */
static const char *probe(const char *path, const char *what)
{
    static char text[8][1 << 16];
    static int turn;
    char command[1024], *t = text[turn++ & 7];
    snprintf(command, sizeof command, "ffprobe -v error %s -of csv=p=0 '%.300s' 2>/dev/null", what, path);
    FILE *p = popen(command, "r");
    size_t n = p ? fread(t, 1, sizeof text[0] - 1, p) : 0;
    t[n] = 0;
    for (size_t i = 0; i < n; i++)
        t[i] = t[i] == '\n' ? ' ' : t[i];
    return p && !pclose(p) ? t : "";
}

#define CHECK_TEXT(a, b)                                                                                               \
    do {                                                                                                               \
        const char *a_ = (a), *b_ = (b);                                                                               \
        if (*a_ && !strcmp(a_, b_))                                                                                    \
            test_passed++;                                                                                             \
        else {                                                                                                         \
            test_failed++;                                                                                             \
            fprintf(stderr, "%s:%d: failed: %s is [%.300s], not [%.300s]\n", __FILE__, __LINE__, #a, a_, b_);          \
        }                                                                                                              \
    } while (0)

#define CHECK_QUIET() CHECK(!*said || (fprintf(stderr, "[%s]\n", said), 0))
#define CHECK_SAYS(text, part) CHECK((strstr(text, part) || (fprintf(stderr, "[%s] lacks [%s]\n", text, part), 0)))

/* ---- pixels ------------------------------------------------------------------------------- */

static void check_lossless(const char *path, const char *codec, const char *format, double crf)
{
    oriel_video_info i = clip(crf > 0 ? 38 : 37, crf > 0 ? 12 : 11, format);
    oriel_video_writer_options o = {.overwrite = true, .codec = codec, .crf = crf};
    oriel_video_written d = {0};
    oriel_video_reader *r = NULL;
    oriel_frame f = {0};
    CHECK_OK(written(path, &i, &o, 3, NULL, NULL, true, FINISH, &d));
    CHECK_INT(d.frames, ==, 3);
    CHECK_QUIET();
    CHECK_OK(oriel_video_open(&r, path, NULL));
    for (int n = 0; r && n < 3; n++) {
        oriel_frame want = made(&i, n, true);
        CHECK_OK(oriel_video_read(r, &f));
        CHECK(oriel_frame_same(&f, &want));
        oriel_frame_free(&want);
        oriel_frame_free(&f);
    }
    CHECK(!r || oriel_video_read(r, &f) == ORIEL_EOF);
    oriel_video_reader_free(&r);
}

static void test_pixels(void)
{
    static const char *const formats[] = {
        "gray", "gray10", "gray12", "gray16", "yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p",
        "yuv420p9", "yuv422p10", "yuv444p12", "yuv420p14", "yuv444p16", "yuva420p", "yuva444p10", "gbrp9",
        "gbrp10", "gbrp12", "gbrp14", "gbrp16", "gbrap10", "gbrap12"};
    for (size_t k = 0; k < sizeof formats / sizeof *formats; k++)
        check_lossless(at("l.mkv"), "ffv1", formats[k], 0);
    if (clip_has_encoder("libx264"))
        check_lossless(at("l.mp4"), "libx264", "yuv420p", 0.001);
}

/* The nearest format, and what is said about it; RGB comes back with the right matrix and range. */
static void test_nearest(void)
{
    static const struct {
        const char *format, *taken, *note;
    } rows[] = {{"yuv444p12", "yuv444p10le", "12 bits become 10"},
                {"gbrp", "yuv444p", "nearest"},
                {"yuva420p", "yuv420p", "alpha is lost"},
                {"yuv411p", "yuv422p", "nearest"},
                {"gbrp16", "yuv444p10le", "16 bits become 10"},
                {"yuv440p", "yuv444p", "nearest"}};
    if (!clip_has_encoder("libx264"))
        return;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        oriel_video_info i = clip(64, 48, rows[k].format);
        oriel_video_written d = {0};
        CHECK_OK(written(at("n.mp4"), &i, &plain, 2, NULL, NULL, false, FINISH, &d));
        CHECK_TEXT(d.pix_fmt, rows[k].taken);
        CHECK_SAYS(said, rows[k].note);
    }
    oriel_video_info i = clip(64, 48, "gbrp"); /* one colour: R 200, G 100, B 50 */
    oriel_video_writer_options o = plain;
    oriel_video_writer *w = NULL;
    oriel_frame f = made(&i, 0, false);
    for (int y = 0; y < 48; y++)
        for (int k = 0; k < 3; k++)
            memset(f.plane[k] + y * f.stride[k], k == 0 ? 200 : k == 1 ? 100 : 50, 64);
    f.pts = 0;
    o.crf = 1;
    CHECK_OK(oriel_video_create(&w, at("n.mp4"), &i, &o));
    CHECK_OK(oriel_video_write(w, &f));
    CHECK_OK(oriel_video_finish(w));
    oriel_video_writer_free(&w);
    oriel_frame_free(&f);
    CHECK(clip_ffmpeg("-i n.mp4 -pix_fmt rgb24 -f rawvideo n.raw"));
    size_t size;
    uint8_t *raw = clip_load(at("n.raw"), &size);
    CHECK(raw && abs(raw[0] - 200) < 4 && abs(raw[1] - 100) < 4 && abs(raw[2] - 50) < 4);
    free(raw);
}

static void test_odd_sizes(void)
{
    oriel_video_info one = clip(1, 1, "yuv420p"), odd = clip(37, 11, "yuv420p");
    oriel_video_written d = {0};
    oriel_video_writer_options o = {.overwrite = true, .codec = "ffv1"};
    CHECK_OK(written(at("o.mkv"), &one, &o, 3, NULL, NULL, true, FINISH, &d));
    CHECK_TEXT(probe(at("o.mkv"), "-count_frames -show_entries stream=width,height,nb_read_frames"), "1,1,3 ");
    if (!clip_has_encoder("libx264"))
        return;
    CHECK_OK(written(at("o.mp4"), &odd, &plain, 3, NULL, NULL, false, FINISH, &d));
    CHECK_TEXT(d.pix_fmt, "yuv444p");
    CHECK_SAYS(said, "odd size");
    CHECK_TEXT(probe(at("o.mp4"), "-count_frames -show_entries stream=width,height,nb_read_frames"), "37,11,3 ");
    o = plain;
    o.pix_fmt = "yuv420p";
    CHECK_FAILS(written(at("o.mp4"), &odd, &o, 3, NULL, NULL, false, FINISH, NULL), ORIEL_E_ARG);
}

/* ---- tags --------------------------------------------------------------------------------- */

static void test_tags(void)
{
    static const char *const files[] = {"t.mp4", "t.mkv"};
    const char *what = "-select_streams v -show_entries "
                       "stream=sample_aspect_ratio,color_range,color_space,color_transfer,color_primaries,chroma_location";
    if (!clip_has_encoder("libx264"))
        return;
    for (int k = 0; k < 2; k++) {
        oriel_video_info i = clip(64, 48, "yuv420p10");
        const char *path = at(files[k]);
        i.colour = (oriel_colour){9, 16, 9, ORIEL_RANGE_LIMITED, ORIEL_CHROMA_TOPLEFT};
        i.aspect[0] = 4;
        i.aspect[1] = 3;
        CHECK_OK(written(path, &i, &plain, 3, NULL, NULL, false, FINISH, NULL));
        CHECK_TEXT(probe(path, what), "4:3,tv,bt2020nc,smpte2084,bt2020,topleft ");
        /* what nobody said is what oriel_frame_to_tensor() takes: by the rows */
        i = clip(64, 48, "yuv420p");
        CHECK_OK(written(path, &i, &plain, 3, NULL, NULL, false, FINISH, NULL));
        CHECK_TEXT(probe(path, "-select_streams v -show_entries stream=color_range,color_space"), "tv,smpte170m ");
        i = clip(16, 720, "yuv420p");
        i.colour.range = ORIEL_RANGE_FULL;
        CHECK_OK(written(path, &i, &plain, 3, NULL, NULL, false, FINISH, NULL));
        CHECK_TEXT(probe(path, "-select_streams v -show_entries stream=color_range,color_space"), "pc,bt709 ");
        i.fields = ORIEL_TOP_FIRST;
        CHECK_OK(written(path, &i, &plain, 3, NULL, NULL, false, FINISH, NULL));
        CHECK_SAYS(probe(path, "-select_streams v -show_entries frame=interlaced_frame,top_field_first"), "1,1 1,1");
    }
    oriel_video_info i = clip(64, 48, "yuv420p");
    i.rotation = 90;
    CHECK_OK(written(at("t.mp4"), &i, &plain, 3, NULL, NULL, false, FINISH, NULL));
    CHECK_SAYS(probe(at("t.mp4"), "-show_entries stream_side_data=rotation"), "-90");
}

static void test_hdr(void)
{
    const char *want = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)";
    const char *what = "-select_streams v -read_intervals %+#1 -show_entries "
                       "frame_side_data=red_x,max_luminance,max_content,max_average";
    if (!clip_has_encoder("libx265") || !clip_has_encoder("libx264")) {
        SKIP("no libx265 or libx264: HDR");
        return;
    }
    CHECK(clip_ffmpeg("-f lavfi -i testsrc=s=64x64:d=0.2 -pix_fmt yuv420p10le -c:v libx265 -x265-params "
                      "'log-level=error:master-display=%s:max-cll=1000,400' h.mp4", want));
    CHECK_OK(copied(at("h.mp4"), at("h4.mp4"), plain, NULL, -1));
    CHECK_SAYS(probe(at("h4.mp4"), "-show_entries stream_side_data=red_x,max_luminance,max_content"), "34000/50000,10000000/10000 1000");
    CHECK(clip_ffmpeg("-v info -i h4.mp4 -frames:v 1 -c copy -bsf:v trace_headers -f null - 2>&1 | grep -q 'Mastering Display'"));
    oriel_video_writer_options o = plain;
    o.codec = "libx265";
    CHECK_OK(copied(at("h.mp4"), at("h5.mkv"), o, NULL, -1));
    CHECK_SAYS(probe(at("h5.mkv"), what), "1000,400");
    CHECK_SAYS(probe(at("h5.mkv"), "-show_entries stream_side_data=max_content"), "1000"); /* the container, too */
}

/* ---- times -------------------------------------------------------------------------------- */

/* pts of the packets of a stream, sorted, in seconds. */
static const char *times(const char *path, const char *stream)
{
    static char text[8][1 << 16];
    static int turn;
    char command[1024], *t = text[turn++ & 7];
    snprintf(command, sizeof command, "ffprobe -v error -select_streams %s -show_entries packet=pts_time -of csv=p=0 '%.300s' | "
             "cut -d, -f1 | sort -n | tr '\\n' ' '", stream, path);
    FILE *p = popen(command, "r");
    size_t n = p ? fread(t, 1, sizeof text[0] - 1, p) : 0;
    t[n] = 0;
    return p && !pclose(p) ? t : "";
}

static void test_times(void)
{
    static const char *const files[] = {"v.mp4", "v.mov", "v.mkv"};
    static const char *const codecs[] = {NULL, "mpeg4"};
    enum { N = 40 };
    int64_t pts[N], duration[N];
    char want[N * 16] = "";
    for (int k = 0; k < N; k++) { /* milliseconds */
        pts[k] = k ? pts[k - 1] + duration[k - 1] : 0;
        duration[k] = k == N - 1 ? 700 : 11 + (k * 37) % 90;
        snprintf(want + strlen(want), sizeof want - strlen(want), "%d.%03d000 ", (int)pts[k] / 1000, (int)pts[k] % 1000);
    }
    for (int k = 0; k < 6; k++) {
        oriel_video_info i = clip(64, 48, "yuv420p");
        oriel_video_writer_options o = {.overwrite = true, .codec = codecs[k / 3]};
        const char *path = at(files[k % 3]);
        i.time_base[1] = 1000;
        i.variable = true;
        i.rate[0] = 18;
        CHECK_OK(written(path, &i, &o, N, pts, duration, false, FINISH, NULL));
        CHECK_TEXT(times(path, "v"), want);
        double seconds = atof(probe(path, "-show_entries format=duration"));
        CHECK_NUM(fabs(seconds - (double)(pts[N - 1] + 700) / 1000), <, 0.0011);
    }
    /* 23.976 and a clock of 90 kHz: nothing is rounded */
    oriel_video_info i = clip(64, 48, "yuv420p");
    i.time_base[1] = 90000;
    i.variable = true;
    i.rate[0] = 24000;
    i.rate[1] = 1001;
    for (int k = 0; k < N; k++)
        pts[k] = 17 + k * 3753 + (k & 1);
    oriel_video_writer_options o = plain;
    o.preset = NULL;
    CHECK_OK(written(at("v.mp4"), &i, &o, N, pts, NULL, false, FINISH, NULL));
    clip_frames c = clip_read(at("v.mp4"), NULL, CLIP_NO_SAMPLES);
    CHECK_INT(c.count, ==, N);
    CHECK_INT(c.info.time_base[1] % 90000, ==, 0);
    for (int k = 0; k < c.count && k < N; k++)
        CHECK_INT(c.pts[k] * 90000 / c.info.time_base[1], ==, pts[k]);
    clip_free(&c);
}

/* ---- what is copied ----------------------------------------------------------------------- */

static bool make_rich(void)
{
    static const char texts[] = "1\n00:00:00,500 --> 00:00:01,200\nhello\n\n2\n00:00:01,500 --> 00:00:01,900\nworld\n";
    static const char chapters[] = ";FFMETADATA1\ntitle=A title\nartist=Someone\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=800\n"
                                   "title=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=800\nEND=2000\ntitle=Two\n";
    uint8_t font[3000];
    memset(font, 'f', sizeof font);
    return clip_save(at("s.srt"), (const uint8_t *)texts, sizeof texts - 1) &&
           clip_save(at("c.txt"), (const uint8_t *)chapters, sizeof chapters - 1) &&
           clip_save(at("font.ttf"), font, sizeof font) &&
           clip_ffmpeg("-f lavfi -i color=red:s=32x32 -frames:v 1 cover.jpg") &&
           clip_ffmpeg("-f lavfi -i testsrc=s=64x48:r=25:d=2 -f lavfi -i sine=d=2.5 -f lavfi -i sine=f=600:d=2 -i s.srt -i c.txt "
                       "-i cover.jpg -map 0 -map 1 -map 2 -map 3 -map 5 -map_metadata 4 -map_chapters 4 -c:v:0 mpeg4 "
                       "-pix_fmt yuv420p -c:a:0 aac -c:a:1 ac3 -c:s mov_text -c:v:1 copy -disposition:v:1 attached_pic "
                       "-metadata:s:a:0 language=eng -metadata:s:a:1 language=deu -disposition:a:1 forced rich.mp4") &&
           clip_ffmpeg("-i rich.mp4 -i s.srt -map 0:v:0 -map 0:a -map 1 -c copy -c:s ass -attach font.ttf "
                       "-metadata:s:t mimetype=application/x-truetype-font rich.mkv");
}

static void check_streams(const char *a, const char *b, int streams)
{
    for (int k = 0; k < streams; k++) {
        char stream[8];
        snprintf(stream, sizeof stream, "%d", k);
        CHECK_TEXT(times(a, stream), times(b, stream));
    }
}

static void test_copied(void)
{
    const char *chapters = "-show_entries chapter=start_time,end_time:chapter_tags=title";
    const char *tags = "-show_entries format_tags=title,artist";
    const char *streams = "-show_entries stream=codec_name:stream_disposition=forced,attached_pic:stream_tags=language";
    if (!make_rich()) {
        SKIP("this ffmpeg cannot make the source: copied streams");
        return;
    }
    const char *mp4 = at("rich.mp4"), *mkv = at("rich.mkv"), *out = at("r.mp4");
    oriel_video_writer_options o = plain;
    o.codec = "mpeg4";
    o.preset = NULL;
    CHECK_OK(copied(mp4, out, o, NULL, -1));
    CHECK_QUIET();
    check_streams(out, mp4, 4);
    CHECK_TEXT(probe(out, chapters), probe(mp4, chapters));
    CHECK_TEXT(probe(out, tags), probe(mp4, tags));
    CHECK_TEXT(probe(out, streams), probe(mp4, streams));
    CHECK(access(at("r.part.mp4"), F_OK) != 0);
    uint8_t head[64] = {0};
    FILE *f = fopen(out, "rb");
    CHECK(f && fread(head, 1, sizeof head, f) == sizeof head);
    if (f)
        fclose(f);
    CHECK(!memcmp(head + 4 + (head[3] | head[2] << 8), "moov", 4)); /* in front */
    /* subtitles and a cover; attachments */
    CHECK_OK(copied(mp4, at("r.mkv"), o, NULL, -1));
    CHECK_SAYS(said, "subtitle (mov_text)");
    CHECK_SAYS(probe(at("r.mkv"), streams), "mjpeg");
    CHECK_OK(copied(mkv, at("r2.mkv"), o, NULL, -1));
    CHECK_QUIET();
    check_streams(at("r2.mkv"), mkv, 4);
    CHECK_SAYS(probe(at("r2.mkv"), "-show_entries stream_tags=filename"), "font.ttf");
    CHECK_OK(copied(mkv, out, o, NULL, -1));
    CHECK_SAYS(said, "subtitle (ass)");
    CHECK_SAYS(said, "attachment (ttf)");
    check_streams(out, mkv, 1);
    o.no_audio = true;
    CHECK_OK(copied(mkv, out, o, NULL, -1));
    CHECK_TEXT(probe(out, "-select_streams v -show_entries format=nb_streams"), "2 "); /* mov makes one of the chapters */
    o.no_audio = false;
    /* a stretch of it: audio and video keep their distance */
    oriel_video_reader_options part = {.from = 0.79, .to = 1.6};
    CHECK_OK(copied(mp4, out, o, &part, -1));
    CHECK_INT(atoi(probe(out, "-select_streams v:0 -count_packets -show_entries stream=nb_read_packets")), ==, 20);
    double audio = atof(times(out, "1")), first = atof(times(out, "0"));
    CHECK_NUM(fabs(first), <, 1e-6);
    double was = atof(strstr(times(mp4, "1"), "0.76") ? strstr(times(mp4, "1"), "0.76") : "99");
    CHECK_NUM(fabs(audio - (was - 0.8)), <, 0.0242); /* some packet of 23 ms before the cut */
    CHECK_TEXT(probe(out, "-show_entries chapter=start_time,end_time"), "0.000000,0.810000 ");
    CHECK(clip_ffmpeg("-i rich.mp4 -map 0:v:0 plain.y4m"));
    CHECK_OK(copied(at("plain.y4m"), out, o, &(oriel_video_reader_options){.from = 1.23}, -1));
    CHECK_NUM(fabs(atof(times(out, "v"))), <, 1e-6);
    /* AAC in MPEG-TS has headers that mp4 has not */
    CHECK(clip_ffmpeg("-i rich.mp4 -map 0:v:0 -map 0:a:0 -c:a copy -c:v mpeg2video rich.ts"));
    CHECK_OK(copied(at("rich.ts"), out, o, NULL, -1));
    CHECK_QUIET();
    CHECK(clip_ffmpeg("-i rich.ts -map 0:a -f md5 a.md5") && clip_ffmpeg("-i r.mp4 -map 0:a -f md5 b.md5"));
    size_t n, m;
    uint8_t *a = clip_load(at("a.md5"), &n), *b = clip_load(at("b.md5"), &m);
    CHECK(a && b && n == m && !memcmp(a, b, n));
    free(a);
    free(b);
    /* webm takes none of these */
    o.codec = NULL;
    if (clip_has_encoder("libvpx-vp9")) {
        CHECK_OK(copied(mp4, at("r.webm"), o, NULL, -1));
        CHECK_SAYS(said, "libvpx-vp9 was chosen");
        CHECK_SAYS(said, "audio (aac)");
        CHECK_SAYS(said, "audio (ac3)");
    }
}

/* ---- stopped and killed ------------------------------------------------------------------- */

static void check_whole(const char *path, const char *like)
{
    clip_frames a = clip_read(path, NULL, CLIP_NO_SAMPLES), b = clip_read(like, NULL, CLIP_NO_SAMPLES);
    CHECK_INT(a.status, ==, ORIEL_EOF);
    CHECK_INT(a.count, ==, b.count);
    CHECK_INT(a.damage.packets + a.damage.frames, ==, 0);
    for (int k = 0; k < a.count && k < b.count; k++)
        CHECK_INT(a.pts[k], ==, b.pts[k]);
    clip_free(&a);
    clip_free(&b);
}

static int frames_in(const char *path)
{
    clip_frames c = clip_read(path, NULL, CLIP_NO_SAMPLES);
    int n = c.status == ORIEL_EOF ? c.count : -1;
    clip_free(&c);
    return n;
}

static void test_stopped(void)
{
    static const struct {
        const char *file, *part, *codec;
    } rows[] = {{"p.mp4", "p.part.mp4", "libx264"}, {"p.mkv", "p.part.mkv", "libx264"}, {"q.mkv", "q.part.mkv", "ffv1"},
                {"p.mov", "p.part.mov", "mpeg4"}, {"x.mp4", "x.part.mp4", "libx265"}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const char *path = at(rows[k].file), *part = at(rows[k].part), *whole;
        oriel_video_writer_options o = {.codec = rows[k].codec, .threads = 2}, other = o;
        oriel_video_reader_options piece = {.to = 1.9};
        if (!clip_has_encoder(rows[k].codec))
            continue;
        whole = at(strstr(rows[k].file, "mkv") ? "whole.mkv" : strstr(rows[k].file, "mov") ? "whole.mov" : "whole.mp4");
        unlink(path);
        unlink(part);
        other.overwrite = true;
        CHECK_OK(copied(at("rich.mp4"), whole, other, &piece, -1));
        CHECK_OK(copied(at("rich.mp4"), path, o, &piece, 29));
        CHECK(access(path, F_OK) != 0);
        CHECK_INT(frames_in(part), ==, 29);
        other.resume = true;
        if (!strcmp(rows[k].codec, "ffv1"))
            other.pix_fmt = "yuv444p"; /* not the format of before */
        else
            other.crf = 11;
        CHECK_FAILS(copied(at("rich.mp4"), path, other, &piece, -1), ORIEL_E_ARG);
        CHECK_INT(frames_in(part), ==, 29);
        o.resume = true;
        CHECK_OK(copied(at("rich.mp4"), path, o, &piece, 37)); /* stopped once more */
        CHECK_INT(frames_in(part), ==, 37);
        CHECK_OK(copied(at("rich.mp4"), path, o, &piece, -1));
        CHECK(access(part, F_OK) != 0);
        check_whole(path, whole);
        CHECK_TEXT(times(path, "a:0"), times(whole, "a:0"));
        CHECK_TEXT(times(path, "a:1"), times(whole, "a:1"));
    }
}

/* No seam: the frames about it are as like the source as the others. */
static void errors_of(const char *path, const oriel_video_info *i, double *error, int n)
{
    oriel_video_reader *r = NULL;
    oriel_frame f = {0};
    CHECK_OK(oriel_video_open(&r, path, NULL));
    for (int k = 0; r && k < n; k++) {
        oriel_frame want = made(i, k, false);
        error[k] = 0;
        CHECK_OK(oriel_video_read(r, &f));
        for (int y = 0; f.plane[0] && y < i->height; y++)
            for (int x = 0; x < i->width; x++) {
                double d = f.plane[0][y * f.stride[0] + x] - want.plane[0][y * want.stride[0] + x];
                error[k] += d * d / (i->height * i->width);
            }
        oriel_frame_free(&f);
        oriel_frame_free(&want);
    }
    oriel_video_reader_free(&r);
}

static void test_seam(void)
{
    enum { N = 60 };
    oriel_video_info i = clip(64, 48, "yuv420p");
    oriel_video_writer_options o = {.resume = true, .threads = 1};
    double whole[N], seam[N], worst = 0;
    CHECK_OK(written(at("unbroken.mp4"), &i, &o, N, NULL, NULL, false, FINISH, NULL));
    CHECK_OK(written(at("seam.mp4"), &i, &o, 31, NULL, NULL, false, STOP, NULL));
    CHECK_OK(written(at("seam.mp4"), &i, &o, N, NULL, NULL, false, FINISH, NULL));
    errors_of(at("unbroken.mp4"), &i, whole, N);
    errors_of(at("seam.mp4"), &i, seam, N);
    for (int k = 0; k < N; k++)
        worst = whole[k] > worst ? whole[k] : worst;
    for (int k = 0; k < N; k++)
        CHECK_NUM(seam[k], <, worst + 20); /* a frame out of place is over 700 */
}

/* A part cut anywhere is resumed, or refused in words. */
static void test_cut(void)
{
    static const char *const files[] = {"cut.mp4", "cut.mkv"}, *const parts[] = {"cut.part.mp4", "cut.part.mkv"};
    oriel_video_info i = clip(64, 48, "yuv420p");
    uint32_t seed = 12345;
    char whole[60 * 12] = "";
    for (int k = 0; k < 60; k++)
        snprintf(whole + strlen(whole), sizeof whole - strlen(whole), "%d.%03d000 ", k / 25, k % 25 * 40);
    for (int k = 0; k < 2; k++) {
        const char *path = at(files[k]), *part = at(parts[k]);
        oriel_video_writer_options o = {.resume = true, .threads = 1};
        int resumed = 0;
        size_t size;
        oriel_video_written d = {0};
        unlink(path);
        CHECK_OK(written(path, &i, &o, 40, NULL, NULL, false, STOP, NULL));
        uint8_t *bytes = clip_load(part, &size);
        for (int n = 0; bytes && n < 12; n++) {
            seed = seed * 1664525 + 1013904223;
            CHECK(clip_save(part, bytes, size - (n < 4 ? (size_t)n * 7 : seed % size)));
            unlink(path);
            oriel_status s = written(path, &i, &o, 60, NULL, NULL, false, FINISH, &d);
            CHECK(!s || s == ORIEL_E_FORMAT);
            if (!s) {
                CHECK_TEXT(times(path, "v"), whole);
                resumed += d.resumed > 0;
            } else {
                CHECK_SAYS(oriel_error(), "cannot be resumed");
            }
            CHECK(n || d.resumed == 40);
        }
        CHECK_INT(resumed, >=, 4);
        free(bytes);
        unlink(part);
    }
}

/* A killed run leaves a file that plays and goes on. */
static void test_killed(void)
{
    static const char *const files[] = {"k.mp4", "k.mkv"}, *const parts[] = {"k.part.mp4", "k.part.mkv"};
    oriel_video_info i = clip(64, 48, "yuv420p");
    for (int k = 0; k < 2; k++) {
        oriel_video_writer_options o = {.codec = "ffv1", .threads = 1}; /* bytes enough to be flushed often */
        if (k == 0)
            o.codec = "mjpeg";
        const char *path = at(files[k]), *part = at(parts[k]);
        i.width = i.height = 512;
        fflush(NULL);
        pid_t child = fork();
        if (!child)
            (void)!written(path, &i, &o, 100, NULL, NULL, true, KILL, NULL);
        int state;
        waitpid(child, &state, 0);
        int frames = frames_in(part);
        CHECK_INT(frames, >=, 1);
        CHECK_INT(frames, <, 100);
        o.resume = true;
        oriel_video_written d = {0};
        CHECK_OK(written(path, &i, &o, 102, NULL, NULL, true, FINISH, &d));
        CHECK_INT(d.resumed, >=, frames - 1);
        CHECK_INT(frames_in(path), ==, 102);
    }
}

/* ---- faults ------------------------------------------------------------------------------- */

static void test_refused(void)
{
    oriel_video_info i = clip(64, 48, "yuv420p");
    oriel_video_writer_options o = {0};
    const char *path = at("f.mkv");
#define FAILS(status, words)                                                                                           \
    do {                                                                                                               \
        CHECK_FAILS(written(path, &i, &o, 2, NULL, NULL, false, FINISH, NULL), status);                                \
        CHECK_SAYS(oriel_error(), words);                                                                              \
    } while (0)
    o.codec = "ffv1";
    CHECK_OK(written(path, &i, &o, 2, NULL, NULL, false, FINISH, NULL));
    FAILS(ORIEL_E_IO, "exists");
    o.overwrite = true;
    o.codec = "nosuch";
    FAILS(ORIEL_E_UNSUPPORTED, "nosuch");
    o.codec = "aac";
    FAILS(ORIEL_E_ARG, "none for video");
    o = (oriel_video_writer_options){.overwrite = true, .container = "nosuch"};
    FAILS(ORIEL_E_UNSUPPORTED, "nosuch");
    o = (oriel_video_writer_options){.overwrite = true, .codec = "ffv1", .container = "mp4"};
    FAILS(ORIEL_E_UNSUPPORTED, "ffv1 does not go into mp4");
    o = (oriel_video_writer_options){.overwrite = true, .codec = "ffv1", .preset = "slow"};
    FAILS(ORIEL_E_ARG, "no presets");
    o = (oriel_video_writer_options){.overwrite = true, .codec = "ffv1", .pix_fmt = "nosuch"};
    FAILS(ORIEL_E_ARG, "nosuch");
    o.pix_fmt = "monow";
    FAILS(ORIEL_E_UNSUPPORTED, "monow");
    o = (oriel_video_writer_options){.overwrite = true, .resume = true, .codec = "ffv1"};
    CHECK(clip_save(at("f.part.mkv"), (const uint8_t *)"nothing of this kind, and long enough to be looked at", 52));
    FAILS(ORIEL_E_FORMAT, "f.part.mkv");
    unlink(at("f.part.mkv"));
    o.resume = false;
    path = "/nowhere/at/all.mkv";
    FAILS(ORIEL_E_IO, "No such file");
    path = at("none.mkv");
    CHECK_FAILS(written(path, &i, &o, 0, NULL, NULL, false, FINISH, NULL), ORIEL_E_ARG);
    CHECK(access(path, F_OK) != 0 && access(at("none.part.mkv"), F_OK) != 0);
    o.container = "avi";
    path = "/dev/full";
    FAILS(ORIEL_E_UNSUPPORTED, "pipe");
    o.container = "matroska";
    FAILS(ORIEL_E_IO, "No space");
#undef FAILS
}

/* A disk that is full: what was written before plays. */
static void test_full(void)
{
    static const char *const files[] = {"full.mp4", "full.mkv"}, *const parts[] = {"full.part.mp4", "full.part.mkv"};
    oriel_video_info i = clip(512, 512, "yuv420p");
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_IGN);
    for (int k = 0; k < 2; k++) {
        oriel_video_writer_options o = {.codec = k ? "ffv1" : "mjpeg", .threads = 1};
        small = before;
        small.rlim_cur = 12 << 20;
        setrlimit(RLIMIT_FSIZE, &small);
        CHECK_FAILS(written(at(files[k]), &i, &o, 80, NULL, NULL, true, FINISH, NULL), ORIEL_E_IO);
        CHECK_SAYS(oriel_error(), "File too large");
        setrlimit(RLIMIT_FSIZE, &before);
        CHECK(access(at(files[k]), F_OK) != 0);
        CHECK_INT(frames_in(at(parts[k])), >, 10);
        unlink(at(parts[k]));
    }
    signal(SIGXFSZ, SIG_DFL);
}

/* Colour bars from file to file through RGB floats, as a network that changes nothing would have it: over 50 dB. */
static oriel_status through_rgb(const char *from, const char *to)
{
    oriel_video_reader *r = NULL;
    oriel_video_writer *w = NULL;
    oriel_frame f = {0}, g = {0};
    float *rgb = NULL;
    oriel_status s = oriel_video_open(&r, from, NULL);
    const oriel_video_info *i = s ? NULL : oriel_video_info_of(r);
    if (!s && !(rgb = malloc((size_t)i->width * (size_t)i->height * 3 * sizeof *rgb)))
        s = ORIEL_E_NOMEM;
    if (!s)
        s = oriel_video_create(&w, to, i, &(oriel_video_writer_options){.overwrite = true, .source = r});
    while (!s && !(s = oriel_video_read(r, &f))) {
        oriel_tensor t = oriel_tensor_of(rgb, ORIEL_F32, 3, (int64_t[3]){f.height, f.width, 3});
        if (!(s = oriel_frame_to_tensor(&f, t)) && !(s = oriel_frame_new(&g, f.width, f.height, f.pixels))) {
            oriel_frame_copy_tags(&g, &f);
            if (!(s = oriel_frame_from_tensor(&g, t)))
                s = oriel_video_write(w, &g);
        }
        oriel_frame_free(&f);
        oriel_frame_free(&g);
    }
    if (s == ORIEL_EOF)
        s = oriel_video_finish(w);
    oriel_video_writer_free(&w);
    oriel_video_reader_free(&r);
    free(rgb);
    return s;
}

static void test_bars(void)
{
    CHECK(clip_ffmpeg("-f lavfi -i smptehdbars=s=320x180:r=25:d=0.4 -pix_fmt yuv420p -colorspace bt709 -color_range tv "
                      "-c:v ffv1 bars.mkv"));
    CHECK_OK(through_rgb(at("bars.mkv"), at("bars.mp4")));
    clip_frames a = clip_read(at("bars.mkv"), NULL, CLIP_PLANES), b = clip_read(at("bars.mp4"), NULL, CLIP_PLANES);
    CHECK_INT(a.count, ==, 10);
    CHECK(a.size == b.size && a.size == 10 * 320 * 180 * 3 / 2);
    double sum = 0;
    for (size_t k = 0; k < a.size && a.size == b.size; k++)
        sum += (double)(a.samples[k] - b.samples[k]) * (a.samples[k] - b.samples[k]);
    CHECK(a.size && sum / (double)a.size * 1e5 < 255.0 * 255.0);
    CHECK(b.info.colour.matrix == 1 && b.info.colour.range == ORIEL_RANGE_LIMITED);
    clip_free(&a);
    clip_free(&b);
}

/* Containers that need no seeking go to a pipe; a reader that has gone is an error, not a death. */
static void test_pipes(void)
{
    static const char *const containers[] = {"matroska", "mp4", "nut", "mpegts"};
    const char *fifo = at("fifo");
    oriel_video_info i = clip(64, 48, "yuv420p");
    CHECK(!mkfifo(fifo, 0600));
    for (int k = 0; k < 4; k++) {
        oriel_video_writer_options o = {.container = containers[k], .codec = "mpeg4"};
        char command[600];
        snprintf(command, sizeof command, "cat '%.200s' >'%.200s' &", fifo, at("piped"));
        CHECK(!system(command));
        CHECK_OK(written(fifo, &i, &o, 30, NULL, NULL, false, FINISH, NULL));
        int n = 0;
        for (int tries = 0; tries < 50 && n < 30; tries++) {
            n = frames_in(at("piped"));
            usleep(20000);
        }
        CHECK_INT(n, ==, 30);
    }
    char command[600];
    snprintf(command, sizeof command, "head -c 1000 '%.200s' >/dev/null &", fifo);
    CHECK(!system(command));
    i = clip(512, 512, "yuv420p");
    oriel_video_writer_options o = {.container = "nut", .codec = "ffv1"};
    CHECK_FAILS(written(fifo, &i, &o, 30, NULL, NULL, true, FINISH, NULL), ORIEL_E_IO);
    CHECK_SAYS(oriel_error(), "reader of the pipe is gone");
}

/* Every request for memory fails once. */
static void test_memory(void)
{
    oriel_video_info i = clip(16, 16, "yuv420p");
    oriel_video_writer_options o = {.codec = "ffv1", .threads = 1, .overwrite = true}, resume = o;
    const char *path = at("m.mkv"), *part = at("m.part.mkv");
    resume.resume = true;
    for (int kind = 0; kind < 2; kind++) {
        bool passed = false;
        for (uint64_t n = 1; n < 400 && !passed; n++) {
            if (kind)
                CHECK_OK(written(path, &i, &o, 4, NULL, NULL, false, STOP, NULL));
            oriel_alloc_fail_at(n);
            oriel_status s = written(path, &i, kind ? &resume : &o, 9, NULL, NULL, false, FINISH, NULL);
            oriel_alloc_fail_at(0);
            passed = !s && n > 5;
            CHECK(!s || s == ORIEL_E_NOMEM);
            if (passed)
                CHECK_INT(frames_in(path), ==, 9);
            unlink(part);
        }
        CHECK(passed);
    }
}

int main(void)
{
    if (!clips_begin()) {
        SKIP("there is no ffmpeg command");
        return test_end();
    }
    setvbuf(stderr, NULL, _IOLBF, 0);
    test_pixels();
    test_nearest();
    test_odd_sizes();
    test_tags();
    test_bars();
    test_hdr();
    test_times();
    test_copied();
    test_stopped();
    test_seam();
    test_cut();
    test_killed();
    test_refused();
    test_full();
    test_pipes();
    test_memory();
    clips_end();
    return test_end();
}
#endif
