/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clips through liboriel_video, beside the ffmpeg command on the same clip with the same codec settings, in
 * turns; a row is the median of --runs.
 *
 *     bench_video CLIP [--preset veryfast] [--crf 23] [--runs 3]     decode, convert, encode
 *     bench_video CLIP --model FILE [--frames 8]                     the pipeline beside its slowest stage alone
 *     bench_video CLIP --memory                                      resident memory while a clip runs through
 *
 * "convert" is planes to f32 RGB and back; of ffmpeg -vf format=gbrpf32le,format=(the clip's own).
 */
#include <oriel/models.h>
#include <oriel/video.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const char *clip, *preset = "veryfast", *model_path;
static double      crf = 23;
static int         runs = 3, frames_wanted = 8;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(void)
{
    fprintf(stderr, "bench_video: %s\n", oriel_error());
    exit(1);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *t, int n)
{
    qsort(t, (size_t)n, sizeof *t, ascending);
    return t[n / 2];
}

/* ---- a clip through, without a network ---------------------------------------------------- */

typedef enum what { DECODE, ENCODE, CONVERT } what;

typedef struct job {
    oriel_video_reader *in;
    oriel_video_writer *out;
    float              *rgb;
    int64_t             frames, limit;
    bool                watch;  /* print resident memory each ten seconds */
    double              begun, told, first; /* first: MiB after ten seconds */
    double              least, most;
} job;

static double resident(void) /* MiB */
{
    long  pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static void watch(job *j)
{
    double t = now() - j->begun, mib;
    if (t < 10 || t - j->told < 1)
        return;
    mib = resident();
    j->first = j->first > 0 ? j->first : mib;
    j->least = j->least > 0 && j->least < mib ? j->least : mib;
    j->most = j->most > mib ? j->most : mib;
    if ((int)(t / 10) != (int)(j->told / 10))
        printf("%6.0f s %8lld frames %8.1f MiB\n", t, (long long)j->frames, mib);
    fflush(stdout);
    j->told = t;
}

static oriel_status read_one(void *user, void **item)
{
    job         *j = user;
    oriel_frame *f = calloc(1, sizeof *f);
    oriel_status s = !f ? ORIEL_E_NOMEM : j->limit && j->frames >= j->limit ? ORIEL_EOF : oriel_video_read(j->in, f);
    if (s) {
        free(f);
        return s;
    }
    *item = f;
    j->frames++;
    if (j->watch)
        watch(j);
    return ORIEL_OK;
}

static oriel_status convert_one(void *user, void **item)
{
    job          *j = user;
    oriel_frame  *f = *item, again = {0};
    const int64_t shape[3] = {f->height, f->width, 3};
    oriel_tensor  rgb = oriel_tensor_of(j->rgb, ORIEL_F32, 3, shape);
    oriel_status  s;
    if ((s = oriel_frame_to_tensor(f, rgb)) || (s = oriel_frame_new(&again, f->width, f->height, f->pixels)))
        return s;
    oriel_frame_copy_tags(&again, f);
    s = oriel_frame_from_tensor(&again, rgb);
    oriel_frame_free(f);
    *f = again;
    return s;
}

static oriel_status write_one(void *user, void **item)
{
    job         *j = user;
    oriel_status s = j->out ? oriel_video_write(j->out, *item) : ORIEL_OK;
    oriel_frame_free(*item);
    free(*item);
    *item = NULL;
    return s;
}

static void drop(void *user, void *item)
{
    (void)user;
    oriel_frame_free(item);
    free(item);
}

/* Seconds to run the clip through; *count becomes its frames. */
static double ours(what w, job *j, int64_t *count)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/bench-video-%d.mp4", (int)getpid());
    j->begun = now();
    if (oriel_video_open(&j->in, clip, NULL))
        die();
    const oriel_video_info    *i = oriel_video_info_of(j->in);
    oriel_video_writer_options opt = {.codec = "libx264", .preset = preset, .crf = crf, .overwrite = true, .source = j->in};
    if (w != DECODE && oriel_video_create(&j->out, path, i, &opt))
        die();
    j->rgb = malloc((size_t)i->width * (size_t)i->height * 3 * sizeof *j->rgb);
    const oriel_stage three[] = {{"read", read_one, j, 0}, {"convert", convert_one, j, 0}, {"write", write_one, j, 0}};
    const oriel_stage two[] = {three[0], three[2]};
    if (w == CONVERT ? oriel_pipeline_run(three, 3, drop, NULL, NULL) : oriel_pipeline_run(two, 2, drop, NULL, NULL))
        die();
    if (j->out && oriel_video_finish(j->out))
        die();
    oriel_video_writer_free(&j->out);
    oriel_video_reader_free(&j->in);
    double t = now() - j->begun;
    free(j->rgb);
    unlink(path);
    *count = j->frames;
    return t;
}

static double theirs(what w)
{
    char        line[2048], name[24], path[64];
    job         j = {0};
    const char *decode = "ffmpeg -v error -nostdin -y -i '%s' -an -f null -";
    snprintf(path, sizeof path, "/tmp/bench-video-%d.mp4", (int)getpid());
    if (oriel_video_open(&j.in, clip, NULL))
        die();
    oriel_pixels_name(oriel_video_info_of(j.in)->pixels, name, sizeof name);
    oriel_video_reader_free(&j.in);
    if (w == DECODE)
        snprintf(line, sizeof line, decode, clip);
    else
        snprintf(line, sizeof line,
                 "ffmpeg -v error -nostdin -y -i '%s' %s%s%s -c:v libx264 -preset %s -crf %g -c:a copy -movflags +faststart '%s'",
                 clip, w == CONVERT ? "-vf format=gbrpf32le,format=" : "", w == CONVERT ? name : "", "", preset, crf, path);
    double begun = now();
    int    code = system(line);
    double t = now() - begun;
    unlink(path);
    return code ? -1 : t;
}

static void compare(void)
{
    static const char *const names[] = {"decode", "decode, encode", "decode, convert, encode"};
    printf("%s, libx264 %s crf %g, %s\n%-26s %9s %9s %7s\n", clip, preset, crf, oriel_video_backend(), "", "oriel", "ffmpeg", "ratio");
    for (int w = DECODE; w <= CONVERT; w++) {
        double  a[16], b[16];
        int64_t count = 0;
        for (int i = 0; i < runs; i++) {
            job j = {0};
            a[i] = ours((what)w, &j, &count);
            b[i] = theirs((what)w);
        }
        double mine = median(a, runs), peer = median(b, runs);
        printf("%-26s %5.0f fps", names[w], (double)count / mine);
        if (peer > 0)
            printf(" %5.0f fps %7.2f", (double)count / peer, peer / mine);
        printf("\n");
    }
}

/* ---- with a network ----------------------------------------------------------------------- */

typedef struct network {
    oriel_device    *device;
    oriel_model     *model;
    oriel_model_info info;
    oriel_plan       plan;
    float           *in, *out;
    int64_t          shape[4];
} network;

static oriel_status compute_one(void *user, void **item)
{
    network     *n = user;
    oriel_frame *f = *item, large = {0};
    oriel_status s;
    oriel_tensor x = oriel_tensor_of(n->in, ORIEL_F32, 3, n->shape + 1), y = oriel_tensor_of(n->out, ORIEL_F32, 3, n->plan.shape_out + 1);
    if ((s = oriel_frame_to_tensor(f, x)) ||
        (s = oriel_model_run(n->model, oriel_tensor_of(n->in, ORIEL_F32, 4, n->shape),
                             oriel_tensor_of(n->out, ORIEL_F32, 4, n->plan.shape_out), NULL)) ||
        (s = oriel_frame_new(&large, f->width * n->info.scale, f->height * n->info.scale, f->pixels)))
        return s;
    oriel_frame_copy_tags(&large, f);
    s = oriel_frame_from_tensor(&large, y);
    oriel_frame_free(f);
    *f = large;
    return s;
}

static void with_network(void)
{
    network n = {0};
    job     j = {.limit = frames_wanted};
    char    path[64];
    snprintf(path, sizeof path, "/tmp/bench-video-%d.mp4", (int)getpid());
    if (oriel_device_open(&n.device, NULL) || oriel_model_open(&n.model, n.device, model_path, NULL) ||
        oriel_video_open(&j.in, clip, NULL))
        die();
    oriel_video_info like = *oriel_video_info_of(j.in);
    oriel_model_describe(n.model, &n.info);
    memcpy(n.shape, (int64_t[4]){1, like.height, like.width, n.info.channels}, sizeof n.shape);
    if (oriel_model_plan(n.model, n.shape, &n.plan))
        die();
    oriel_tensor x = oriel_tensor_of(NULL, ORIEL_F32, 4, n.shape), y = oriel_tensor_of(NULL, ORIEL_F32, 4, n.plan.shape_out);
    x.data = n.in = calloc((size_t)oriel_tensor_count(&x), sizeof(float));
    y.data = n.out = calloc((size_t)oriel_tensor_count(&y), sizeof(float));
    if (!n.in || !n.out || oriel_model_run(n.model, x, y, NULL)) /* warm */
        die();
    double begun = now();
    for (int i = 0; i < frames_wanted; i++)
        if (oriel_model_run(n.model, x, y, NULL))
            die();
    double alone = now() - begun;
    like.width *= n.info.scale;
    like.height *= n.info.scale;
    oriel_stage_times times[3];
    const oriel_stage three[] = {{"read", read_one, &j, 0}, {"compute", compute_one, &n, 0}, {"write", write_one, &j, 0}};
    begun = now();
    if (oriel_video_create(&j.out, path, &like, &(oriel_video_writer_options){.preset = preset, .crf = crf, .overwrite = true, .source = j.in}) ||
        oriel_pipeline_run(three, 3, drop, NULL, times) || oriel_video_finish(j.out))
        die();
    double whole = now() - begun;
    printf("%s, %s %s on %s, %lld frames\nthe network alone %.2f s, the pipeline %.2f s: %.3f\n", clip, n.info.architecture, n.info.details,
           oriel_device_name(n.device), (long long)j.frames, alone * (double)j.frames / frames_wanted, whole,
           whole / alone * frames_wanted / (double)j.frames);
    for (int i = 0; i < 3; i++)
        printf("  %-8s busy %6.2f s, starved %6.2f s, blocked %6.2f s\n", three[i].name, times[i].busy, times[i].starved, times[i].blocked);
    oriel_video_writer_free(&j.out);
    oriel_video_reader_free(&j.in);
    oriel_model_free(&n.model);
    oriel_device_free(&n.device);
    free(n.in);
    free(n.out);
    unlink(path);
}

static void memory(void)
{
    job     j = {.watch = true};
    int64_t count;
    double  t = ours(CONVERT, &j, &count);
    printf("%lld frames in %.0f s; after the first ten seconds %.1f MiB, then %.1f to %.1f: %+.1f %%\n", (long long)count, t, j.first, j.least,
           j.most, 100 * (j.most / j.first - 1));
}

int main(int argc, char **argv)
{
    bool flat = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--memory"))
            flat = true;
        else if (argv[i][0] != '-')
            clip = argv[i];
        else if (!strcmp(argv[i++], "--model"))
            model_path = value;
        else if (!strcmp(argv[i - 1], "--frames"))
            frames_wanted = atoi(value);
        else if (!strcmp(argv[i - 1], "--preset"))
            preset = value;
        else if (!strcmp(argv[i - 1], "--crf"))
            crf = atof(value);
        else if (!strcmp(argv[i - 1], "--runs"))
            runs = atoi(value);
        else
            clip = NULL, i = argc;
    }
    if (!clip || runs < 1 || runs > 16 || frames_wanted < 1)
        return fprintf(stderr, "usage: bench_video CLIP [--preset P] [--crf N] [--runs N] | --model FILE [--frames N] | --memory\n"), 2;
    if (flat)
        memory();
    else if (model_path)
        with_network();
    else
        compare();
    return 0;
}
