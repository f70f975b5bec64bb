/* SPDX-License-Identifier: Apache-2.0 */
/* Writing y4m and raw frames: names while they are written, stopping and going on, pipes, full disks. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/test.h"
#include "video/plain.h"

static char folder[] = "/tmp/oriel-video-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[8][512];
    static int turn;
    char *p = path[turn++ & 7];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static off_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) ? -1 : st.st_size;
}

static const oriel_pixels grey = {ORIEL_PIXELS_GREY, 8, 0, 0, false};
static const oriel_video_info small = {.width = 4, .height = 2, .pixels = {ORIEL_PIXELS_GREY, 8, 0, 0, false},
                                       .time_base = {1, 25}, .rate = {25, 1}};
enum { HEAD = sizeof "YUV4MPEG2 W4 H2 F25:1 Ip A0:0 Cmono\n" - 1, FRAME = 6 + 8 };

static oriel_status put(oriel_video_writer *w, int64_t pts)
{
    oriel_frame f;
    const oriel_video_info *i = &w->frames;
    oriel_status s = oriel_frame_new(&f, i->width, i->height, i->pixels);
    for (int k = 0; !s && k < oriel_pixels_planes(i->pixels); k++) {
        int width, height;
        oriel_frame_plane_size(&f, k, &width, &height);
        memset(f.plane[k], 'a' + (int)pts % 26, (size_t)f.stride[k] * (size_t)height);
    }
    f.pts = pts;
    if (!s)
        s = oriel_video_write(w, &f);
    oriel_frame_free(&f);
    return s;
}

static bool holds(const char *path, const char *text, size_t size)
{
    char got[512];
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(got, 1, sizeof got, f) : 0;
    if (f)
        fclose(f);
    return f && n == size && !memcmp(got, text, n);
}

static void names_and_bytes(void)
{
    static const char due[] = "YUV4MPEG2 W4 H2 F25:1 Ip A0:0 Cmono\nFRAME\naaaaaaaaFRAME\nbbbbbbbb";
    for (int raw = 0; raw < 2; raw++) {
        const char *path = in_folder(raw ? "a.yuv" : "a.y4m"), *part = in_folder(raw ? "a.part.yuv" : "a.part.y4m");
        oriel_video_writer *w = NULL;
        CHECK_OK(oriel_video_create(&w, path, &small, NULL));
        CHECK(!strcmp(oriel_video_written_of(w).part, part));
        CHECK(!strcmp(oriel_video_written_of(w).container, raw ? "raw" : "y4m"));
        CHECK(!strcmp(oriel_video_written_of(w).pix_fmt, "gray"));
        CHECK_INT(size_of(part), ==, raw ? 0 : HEAD);
        CHECK_OK(put(w, 0));
        CHECK_OK(put(w, 1));
        CHECK_INT(size_of(part), ==, raw ? 16 : HEAD + 2 * FRAME); /* whole frames at any time */
        CHECK_INT(size_of(path), ==, -1);
        CHECK_OK(oriel_video_finish(w));
        CHECK_FAILS(oriel_video_finish(w), ORIEL_E_IO);
        CHECK_FAILS(put(w, 2), ORIEL_E_IO);
        CHECK(raw ? holds(path, "aaaaaaaabbbbbbbb", 16) : holds(path, due, sizeof due - 1));
        CHECK_INT(size_of(part), ==, -1);
        oriel_video_writer_free(&w);
        CHECK_FAILS(oriel_video_create(&w, path, &small, NULL), ORIEL_E_IO); /* exists */
        CHECK(!w && size_of(part) == -1);
        CHECK_OK(oriel_video_create(&w, path, &small, &(oriel_video_writer_options){.overwrite = true}));
        CHECK(size_of(path) > 0); /* until the other is complete */
        CHECK_OK(oriel_video_finish(w));
        CHECK_INT(size_of(path), ==, raw ? 0 : HEAD); /* no frames are a clip, too */
        oriel_video_writer_free(&w);
        CHECK(!unlink(path));
    }
}

static void stop_and_resume(void)
{
    for (int raw = 0; raw < 2; raw++)
        for (int cut = 0; cut <= FRAME; cut++) { /* bytes of a third frame */
            const char *path = in_folder(raw ? "r.raw" : "r.y4m"), *part = in_folder(raw ? "r.part.raw" : "r.part.y4m");
            static const char due[] = "YUV4MPEG2 W4 H2 F25:1 Ip A0:0 Cmono\n"
                                      "FRAME\naaaaaaaaFRAME\nbbbbbbbbFRAME\nccccccccFRAME\ndddddddd";
            oriel_video_writer_options opt = {.resume = true};
            oriel_video_writer *w = NULL;
            CHECK_OK(oriel_video_create(&w, path, &small, &opt)); /* nothing to go on from */
            CHECK_INT(oriel_video_written_of(w).resumed, ==, 0);
            for (int i = 0; i < 3; i++)
                CHECK_OK(put(w, i));
            CHECK_OK(oriel_video_stop(w));
            oriel_video_writer_free(&w);
            int frame = raw ? 8 : FRAME, whole = 2 + (cut >= frame);
            CHECK(!truncate(part, (raw ? 0 : HEAD) + 2 * frame + (cut < frame ? cut : frame)));
            CHECK_OK(oriel_video_create(&w, path, &small, &opt));
            CHECK_INT(oriel_video_written_of(w).resumed, ==, whole);
            CHECK_INT(oriel_video_written_of(w).frames, ==, whole);
            for (int i = whole; i < 4; i++)
                CHECK_OK(put(w, i));
            CHECK_INT(oriel_video_written_of(w).frames, ==, 4);
            CHECK_OK(oriel_video_finish(w));
            oriel_video_writer_free(&w);
            CHECK(raw ? holds(path, "aaaaaaaabbbbbbbbccccccccdddddddd", 32) : holds(path, due, sizeof due - 1));
            CHECK(!unlink(path));
        }
}

static void resume_corners(void)
{
    const char *path = in_folder("r.y4m"), *part = in_folder("r.part.y4m");
    oriel_video_writer_options opt = {.resume = true};
    oriel_video_writer *w = NULL;
    oriel_video_info other = small;
    CHECK_OK(oriel_video_create(&w, path, &small, &opt));
    for (int i = 0; i < 3; i++)
        CHECK_OK(put(w, i));
    oriel_video_writer_free(&w); /* stops it */
    other.rate[0] = 24;
    CHECK_FAILS(oriel_video_create(&w, path, &other, &opt), ORIEL_E_IO); /* other settings */
    CHECK(strstr(oriel_error(), "settings"));
    CHECK_INT(size_of(part), ==, HEAD + 3 * FRAME); /* untouched */
    int fd = open(part, O_WRONLY);
    CHECK(pwrite(fd, "\0\0\0\0\0\0", 6, HEAD + FRAME) == 6 && !close(fd)); /* a hole where the second frame begins */
    CHECK_OK(oriel_video_create(&w, path, &small, &opt));
    CHECK_INT(oriel_video_written_of(w).resumed, ==, 1);
    oriel_video_writer_free(&w);
    CHECK_INT(size_of(part), ==, HEAD + FRAME);
    CHECK(!truncate(part, HEAD - 3)); /* its head not whole */
    CHECK_OK(oriel_video_create(&w, path, &small, &opt));
    CHECK_INT(oriel_video_written_of(w).resumed, ==, 0);
    CHECK_OK(put(w, 0));
    oriel_video_writer_free(&w);
    CHECK_INT(size_of(part), ==, HEAD + FRAME);
    CHECK_OK(oriel_video_create(&w, path, &small, NULL)); /* not asked to: from the beginning */
    CHECK_INT(size_of(part), ==, HEAD);
    oriel_video_writer_free(&w);
    CHECK(!unlink(part));
    CHECK(!mkdir(part, 0700));
    CHECK_FAILS(oriel_video_create(&w, path, &small, &opt), ORIEL_E_IO);
    CHECK(!rmdir(part));
}

static void cannot_write(void)
{
    oriel_video_writer *w = NULL;
    oriel_video_writer_options raw = {.container = "raw"}, y4m = {.container = "y4m"};
    CHECK_FAILS(oriel_video_create(&w, in_folder("none/a.y4m"), &small, NULL), ORIEL_E_IO);
    CHECK_FAILS(oriel_video_create(&w, folder, &small, &y4m), ORIEL_E_IO);
    CHECK_FAILS(oriel_video_create(&w, "/dev/full", &small, &y4m), ORIEL_E_IO); /* its first line already */
    CHECK(strstr(oriel_error(), strerror(ENOSPC)));
    CHECK_OK(oriel_video_create(&w, "/dev/full", &small, &raw));
    CHECK(!*oriel_video_written_of(w).part);
    CHECK_FAILS(put(w, 0), ORIEL_E_IO);
    CHECK(strstr(oriel_error(), strerror(ENOSPC)));
    CHECK_FAILS(put(w, 1), ORIEL_E_IO);
    CHECK_INT(oriel_video_written_of(w).frames, ==, 0);
    oriel_video_writer_free(&w);
}

/* A file system that is full after two frames and a half: both are kept, and a later run goes on. */
static void full(void)
{
    const char *path = in_folder("f.y4m"), *part = in_folder("f.part.y4m");
    oriel_video_writer *w = NULL;
    struct rlimit old, limit;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = HEAD + 2 * FRAME + 7;
    signal(SIGXFSZ, SIG_IGN);
    CHECK_OK(oriel_video_create(&w, path, &small, NULL));
    setrlimit(RLIMIT_FSIZE, &limit);
    oriel_status s[3];
    for (int i = 0; i < 3; i++)
        s[i] = put(w, i);
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK(!s[0] && !s[1] && s[2] == ORIEL_E_IO);
    CHECK_OK(oriel_video_finish(w)); /* not complete: it keeps its name */
    CHECK_INT(size_of(path), ==, -1);
    CHECK_INT(size_of(part), ==, HEAD + 2 * FRAME);
    oriel_video_writer_free(&w);
    CHECK_OK(oriel_video_create(&w, path, &small, &(oriel_video_writer_options){.resume = true}));
    CHECK_INT(oriel_video_written_of(w).resumed, ==, 2);
    oriel_video_writer_free(&w);
    CHECK(!unlink(part));
}

/* The reader of a pipe goes: an error, no signal, neither now nor when signals are looked at. */
static void pipe_gone(void)
{
    const char *path = in_folder("pipe");
    oriel_video_writer *w = NULL;
    char head[HEAD];
    sigset_t pending;
    CHECK(!mkfifo(path, 0600));
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    CHECK_OK(oriel_video_create(&w, path, &small, &(oriel_video_writer_options){.container = "y4m"}));
    CHECK_OK(put(w, 0));
    CHECK_INT(read(fd, head, HEAD), ==, HEAD);
    close(fd);
    signal(SIGPIPE, SIG_DFL);
    CHECK_FAILS(put(w, 1), ORIEL_E_IO);
    CHECK(strstr(oriel_error(), "reader of the pipe is gone"));
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGPIPE));
    CHECK_OK(oriel_video_finish(w));
    oriel_video_writer_free(&w);
    CHECK(!unlink(path));
}

/* "-", non-blocking and too small for a frame, read slowly by another process. */
static void standard_output(void)
{
    oriel_video_info info = small;
    info.width = info.height = 1000;
    int fd[2], kept = dup(1), status = 1;
    fflush(stdout);
    CHECK(!pipe(fd));
    pid_t child = fork();
    if (!child) {
        static char got[4096];
        size_t n = 0;
        ssize_t k;
        close(fd[1]);
        usleep(20000);
        while ((k = read(fd[0], got, sizeof got)) > 0)
            n += (size_t)k;
        _exit(n != sizeof "YUV4MPEG2 W1000 H1000 F25:1 Ip A0:0 Cmono\n" - 1 + 2 * 1000006);
    }
    close(fd[0]);
    fcntl(fd[1], F_SETFL, O_NONBLOCK);
    dup2(fd[1], 1);
    close(fd[1]);
    oriel_video_writer *w = NULL;
    CHECK_OK(oriel_video_create(&w, "-", &info, NULL));
    CHECK_OK(put(w, 0));
    CHECK_OK(put(w, 1));
    CHECK_OK(oriel_video_finish(w));
    oriel_video_writer_free(&w);
    dup2(kept, 1);
    close(kept);
    CHECK(waitpid(child, &status, 0) == child && !status);
}

static void formats_refused(void)
{
    static const struct {
        const char *format, *container, *pix_fmt;
        oriel_status due;
    } cases[] = {{"gbrp", "y4m", NULL, ORIEL_E_UNSUPPORTED},        {"yuva420p", "y4m", NULL, ORIEL_E_UNSUPPORTED},
                 {"yuva444p10", "y4m", NULL, ORIEL_E_UNSUPPORTED},  {"yuv410p", "y4m", NULL, ORIEL_E_UNSUPPORTED},
                 {"yuv420p", "y4m", "nv12", ORIEL_E_UNSUPPORTED},   {"yuv420p", "y4m", "yuv444p", ORIEL_E_UNSUPPORTED},
                 {"yuv420p", "raw", "rgb24", ORIEL_E_UNSUPPORTED},  {"yuv420p", "raw", "p010le", ORIEL_E_UNSUPPORTED},
                 {"yuv420p", "raw", "what", ORIEL_E_ARG},           {"yuv420p", "raw", "nv12", ORIEL_OK},
                 {"yuv420p", "y4m", "yuv420p", ORIEL_OK},           {"gbrp", "raw", NULL, ORIEL_OK}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        oriel_video_writer *w = NULL;
        oriel_video_info info = small;
        CHECK(oriel_pixels_named(&info.pixels, cases[k].format));
        oriel_video_writer_options opt = {.container = cases[k].container, .pix_fmt = cases[k].pix_fmt};
        CHECK_INT(oriel_video_create(&w, in_folder("x"), &info, &opt), ==, cases[k].due);
        CHECK(!w == !!cases[k].due);
        oriel_video_writer_free(&w);
        CHECK_INT(unlink(in_folder("x.part")), ==, cases[k].due ? -1 : 0); /* nothing is left of what was refused */
    }
    oriel_video_writer *w = NULL;
    oriel_video_info info = small;
    info.pixels.alpha = true;
    oriel_video_writer_options opt = {.container = "raw"};
    CHECK_FAILS(oriel_video_create(&w, in_folder("x"), &info, &opt), ORIEL_E_UNSUPPORTED);
    opt.pix_fmt = "ya8";
    CHECK_OK(oriel_video_create(&w, in_folder("x"), &info, &opt));
    oriel_video_writer_free(&w);
    CHECK(!unlink(in_folder("x.part")));
}

/* What y4m cannot say is said once; what it can, is not. */
static void notes(void)
{
    static const struct {
        oriel_video_info info;
        int64_t          pts[4];
        const char      *due;
    } cases[] = {
        {{.time_base = {1, 1000}, .rate = {30000, 1001}}, {0, 33, 67, 100}, ""},
        {{.time_base = {1, 1000}, .rate = {30000, 1001}}, {0, 33, 100, 133}, "not evenly"},
        {{.time_base = {1, 25}, .rate = {25, 1}}, {7, 8, 9, 10}, ""},
        {{.time_base = {1, 25}, .rate = {25, 1}}, {7, 8, 10, 11}, "not evenly"},
        {{.time_base = {1, 25}, .rate = {0, 0}}, {0, 1, 2, 3}, "rate is not known"},
        {{.time_base = {1, 25}, .rate = {25, 1}, .colour = {.matrix = 6}}, {0, 1, 2, 3}, ""},
        {{.time_base = {1, 25}, .rate = {25, 1}, .colour = {.matrix = 1}}, {0, 1, 2, 3}, "matrix 1"},
        {{.time_base = {1, 25}, .rate = {25, 1}, .colour = {.transfer = 16}}, {0, 1, 2, 3}, "transfer 16"},
        {{.time_base = {1, 25}, .rate = {25, 1}, .colour = {.site = ORIEL_CHROMA_CENTER}}, {0, 1, 2, 3}, ""},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        oriel_video_writer *w = NULL;
        oriel_video_info info = cases[k].info;
        const char *path = in_folder("n.y4m");
        info.width = info.height = 2;
        info.pixels = (oriel_pixels){.depth = 8, .shift_x = 1, .shift_y = 1};
        CHECK_OK(oriel_video_create(&w, path, &info, NULL));
        for (int i = 0; i < 4; i++)
            CHECK_OK(put(w, cases[k].pts[i]));
        CHECK_OK(oriel_video_finish(w));
        const char *said = oriel_video_written_of(w).notes;
        bool right = *cases[k].due ? strstr(said, cases[k].due) && !strchr(said, '\n') : !*said;
        if (!right)
            fprintf(stderr, "%zu: %s\n", k, said);
        CHECK(right);
        oriel_video_writer_free(&w);
        CHECK(!unlink(path));
    }
}

static void no_memory(void)
{
    for (uint64_t n = 1; n < 30; n++) {
        oriel_video_writer *w = NULL;
        const char *path = in_folder("m.y4m");
        oriel_alloc_fail_at(n);
        oriel_status s = oriel_video_create(&w, path, &small, NULL);
        if (!s)
            s = put(w, 0);
        bool over = oriel_alloc_count() < n;
        oriel_alloc_fail_at(0);
        CHECK_INT(s, ==, over ? ORIEL_OK : ORIEL_E_NOMEM);
        oriel_video_writer_free(&w);
        unlink(in_folder("m.part.y4m"));
        if (over) {
            CHECK_INT(n, >, 4);
            break;
        }
    }
}

int main(void)
{
    CHECK(mkdtemp(folder));
    CHECK(!oriel_frame_check(1, 1, grey));
    names_and_bytes();
    stop_and_resume();
    resume_corners();
    cannot_write();
    full();
    pipe_gone();
    standard_output();
    formats_refused();
    notes();
    no_memory();
    CHECK(!rmdir(folder));
    return test_end();
}
