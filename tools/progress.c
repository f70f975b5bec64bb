/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tool.h"

static const double interval = 0.1; /* seconds between two drawings */

void progress_begin(progress *p, progress_kind kind, int total)
{
    if (kind == PROGRESS_AUTO)
        kind = isatty(STDERR_FILENO) ? PROGRESS_BAR : PROGRESS_NONE;
    *p = (progress){.kind = kind, .total = total, .begun = seconds_now()};
    pthread_mutex_init(&p->lock, NULL);
    if (kind != PROGRESS_JSON)
        return;
    setvbuf(stderr, NULL, _IOLBF, BUFSIZ); /* one write a line */
    fprintf(stderr, "{\"event\":\"start\",\"total\":%d}\n", total);
}

void progress_destroy(progress *p)
{
    pthread_mutex_destroy(&p->lock);
}

/* Files computed, in parts. */
static double files_past(const progress *p)
{
    double past = p->ended + p->computed;
    for (int i = 0; i < PROGRESS_LANES; i++)
        past += p->work[i].input ? p->work[i].part : 0;
    return past;
}

/* Seconds until the end if all files were like those before; NAN while nothing is known. */
static double seconds_left(const progress *p)
{
    double all = files_past(p);
    double past = seconds_now() - p->begun;
    return all > 0 ? past * (p->total - all) / all : NAN;
}

static void wipe(progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}

static void draw_bar(progress *p)
{
    struct winsize size = {0};
    char left[32] = "", bar[21];
    const progress_work *w = &p->work[p->at];
    double eta = seconds_left(p), share = files_past(p) / (p->total ? p->total : 1);
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col ? 80 : size.ws_col;
    int filled = (int)(20 * (share < 1 ? share : 1));
    if (isfinite(eta) && eta < 360000)
        snprintf(left, sizeof left, "%d:%02d:%02d left", (int)eta / 3600, (int)eta / 60 % 60,
                 (int)eta % 60);
    for (int i = 0; i < 20; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[20] = 0;
    wipe(p);
    int n = fprintf(stderr, "[%s] %d/%d %3d%% %s ", bar, p->ended, p->total, (int)(100 * w->part),
                    left);
    if (n < columns)
        fprintf(stderr, "%.*s", columns - n - 1, base_name(w->input));
    p->drawn = true;
}

/* Frames a second of this run; 0 while nothing is known. */
static double frame_rate(const progress *p)
{
    double past = seconds_now() - p->clip_begun;
    return past > 0 ? (double)(p->frames - p->frames_before) / past : 0;
}

static double clip_left(const progress *p)
{
    double rate = frame_rate(p);
    return rate > 0 && p->frames_total ? (double)(p->frames_total - p->frames) / rate : NAN;
}

static double clip_percent(const progress *p)
{
    return p->frames_total ? 100.0 * (double)p->frames / (double)p->frames_total : NAN;
}

/* "[#####...............] 120/720 frames  17%  3.2 fps  0:03:08 left  name" */
static void draw_clip(progress *p)
{
    struct winsize size = {0};
    char bar[21], text[160], total[32] = "", left[48] = "", files[32] = "";
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col ? 80 : size.ws_col;
    const progress_work *w = &p->work[p->at];
    double eta = clip_left(p);
    int filled = (int)(20 * w->part);
    for (int i = 0; i < 20; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[20] = 0;
    if (p->total > 1)
        snprintf(files, sizeof files, "%d/%d ", p->ended, p->total);
    if (p->frames_total)
        snprintf(total, sizeof total, "/%lld", (long long)p->frames_total);
    if (isfinite(eta) && eta < 3600000)
        snprintf(left, sizeof left, "%3d%%  %d:%02d:%02d left  ", (int)(100 * w->part),
                 (int)eta / 3600, (int)eta / 60 % 60, (int)eta % 60);
    wipe(p);
    snprintf(text, sizeof text, "[%s] %s%lld%s frames  %.3g fps  %s", bar, files,
             (long long)p->frames, total, frame_rate(p), left);
    fprintf(stderr, "%.*s", columns - 1, text);
    if ((int)strlen(text) < columns)
        fprintf(stderr, "%.*s", columns - (int)strlen(text) - 1, base_name(w->input));
    p->drawn = true;
}

static void print_frame(progress *p)
{
    p->frames_shown = p->frames;
    fputs("{\"event\":\"frame\",\"input\":", stderr);
    json_string(stderr, p->work[p->at].input);
    fprintf(stderr, ",\"frames\":%lld,\"total\":", (long long)p->frames);
    json_number(stderr, p->frames_total ? (double)p->frames_total : NAN, 0);
    fputs(",\"percent\":", stderr);
    json_number(stderr, clip_percent(p), 1);
    fputs(",\"fps\":", stderr);
    json_number(stderr, frame_rate(p), 3);
    fputs(",\"eta_s\":", stderr);
    json_number(stderr, clip_left(p), 1);
    fputs("}\n", stderr);
}

static void print_file(const progress *p, const progress_work *w)
{
    fputs("{\"event\":\"file\",\"input\":", stderr);
    json_string(stderr, w->input);
    fputs(",\"output\":", stderr);
    json_string(stderr, w->output);
    fprintf(stderr, ",\"done\":%d,\"total\":%d,\"percent\":%.1f,\"eta_s\":", p->ended, p->total,
            100 * w->part);
    json_number(stderr, seconds_left(p), 1);
    fputs("}\n", stderr);
}

/* The bar stays with its file until that ends. */
static void choose_shown(progress *p)
{
    for (int i = 0; i < PROGRESS_LANES && !p->work[p->at].input; i++)
        p->at = (p->at + 1) % PROGRESS_LANES;
}

/* Programs hear of the file of `lane`. */
static void show(progress *p, int lane, bool now)
{
    double time = seconds_now();
    choose_shown(p);
    if (!p->work[p->at].input || (!now && time - p->shown < interval))
        return;
    p->shown = time;
    if (p->kind == PROGRESS_BAR)
        p->clip ? draw_clip(p) : draw_bar(p);
    else if (p->kind == PROGRESS_JSON && p->clip)
        print_frame(p);
    else if (p->kind == PROGRESS_JSON && p->work[lane].input)
        print_file(p, &p->work[lane]);
}

void progress_file(progress *p, int lane, const char *input, const char *output)
{
    pthread_mutex_lock(&p->lock);
    p->work[lane] = (progress_work){input, output, 0};
    p->clip = false;
    show(p, lane, true);
    pthread_mutex_unlock(&p->lock);
}

void progress_part(progress *p, int lane, double part)
{
    pthread_mutex_lock(&p->lock);
    p->work[lane].part = part < 0 ? 0 : part > 1 ? 1 : part;
    show(p, lane, false);
    pthread_mutex_unlock(&p->lock);
}

void progress_frames(progress *p, int64_t frames, int64_t total, int64_t before)
{
    pthread_mutex_lock(&p->lock);
    if (!p->clip) {
        p->clip_begun = seconds_now();
        p->frames_shown = -1;
    }
    p->clip = true;
    p->frames = frames;
    p->frames_total = total && total < frames ? frames : total;
    p->frames_before = before;
    p->work[p->at].part = p->frames_total ? (double)frames / (double)p->frames_total : 0;
    show(p, p->at, false);
    pthread_mutex_unlock(&p->lock);
}

void progress_clip(progress *p, const char *input, const char *output, const char *fields)
{
    pthread_mutex_lock(&p->lock);
    if (p->kind == PROGRESS_JSON) {
        if (p->clip && p->work[p->at].input && p->frames_shown != p->frames)
            print_frame(p); /* the last count */
        fputs("{\"event\":\"clip\",\"input\":", stderr);
        json_string(stderr, input);
        fputs(",\"output\":", stderr);
        json_string(stderr, output);
        fprintf(stderr, "%s}\n", fields);
    }
    pthread_mutex_unlock(&p->lock);
}

void progress_computed(progress *p, int lane)
{
    pthread_mutex_lock(&p->lock);
    p->computed++;
    p->work[lane].input = NULL;
    pthread_mutex_unlock(&p->lock);
}

void progress_ended(progress *p, const char *event, const char *input, const char *output,
                    const char *error, bool waited)
{
    pthread_mutex_lock(&p->lock);
    p->ended++;
    p->computed -= waited;
    for (int i = 0; i < PROGRESS_LANES; i++)
        if (p->work[i].input == input)
            p->work[i].input = NULL;
    if (p->kind == PROGRESS_JSON) {
        fprintf(stderr, "{\"event\":\"%s\",\"input\":", event);
        json_string(stderr, input);
        fputs(",\"output\":", stderr);
        json_string(stderr, output);
        if (error) {
            fputs(",\"error\":", stderr);
            json_string(stderr, error);
        }
        fprintf(stderr, ",\"done\":%d,\"total\":%d}\n", p->ended, p->total);
    } else if (error) {
        wipe(p);
        if (strncmp(error, input, strlen(input)) != 0) /* the library's text may begin with it */
            fprintf(stderr, "oriel: %s: %s\n", input, error);
        else
            fprintf(stderr, "oriel: %s\n", error);
    }
    show(p, p->at, true);
    pthread_mutex_unlock(&p->lock);
}

void progress_note(progress *p, const char *format, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, format);
    int n = vasprintf(&text, format, ap);
    va_end(ap);
    if (n < 0)
        return;
    pthread_mutex_lock(&p->lock);
    if (p->kind == PROGRESS_JSON) {
        fputs("{\"event\":\"message\",\"text\":", stderr);
        json_string(stderr, text);
        fputs("}\n", stderr);
    } else {
        wipe(p);
        fprintf(stderr, "oriel: %s\n", text);
        show(p, p->at, true);
    }
    pthread_mutex_unlock(&p->lock);
    free(text);
}

void progress_end(progress *p, int done, int skipped, int failed, int stopped, bool quiet)
{
    double seconds = seconds_now() - p->begun;
    wipe(p);
    if (p->kind == PROGRESS_JSON)
        fprintf(stderr,
                "{\"event\":\"end\",\"done\":%d,\"skipped\":%d,\"failed\":%d,\"stopped\":%d,"
                "\"seconds\":%.1f}\n",
                done, skipped, failed, stopped, seconds);
    else if (!quiet) {
        static const char *const words[] = {"done", "skipped", "failed", "not done"};
        const int counts[] = {done, skipped, failed, stopped};
        fprintf(stderr, "oriel: ");
        for (int i = 0; i < 4; i++)
            if (counts[i] || !i)
                fprintf(stderr, "%d %s, ", counts[i], words[i]);
        fprintf(stderr, "%.1f s\n", seconds);
    }
}
