/* SPDX-License-Identifier: Apache-2.0 */
/* What a batch tells while it runs, all on stderr: a bar, JSON lines, or only what went wrong.
 * Any thread may call any of these. */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_WORDS "auto|bar|json|none"
typedef enum progress_kind {
    PROGRESS_AUTO, /* a bar if stderr is a terminal, else none */
    PROGRESS_BAR,
    PROGRESS_JSON,
    PROGRESS_NONE
} progress_kind;

enum { PROGRESS_LANES = 8 };

/* A file in work. */
typedef struct progress_work {
    const char *input, *output; /* NULL: none */
    double part;                /* 0..1 */
} progress_work;

typedef struct progress {
    pthread_mutex_t lock;
    progress_kind kind;
    int total, ended;    /* files */
    int computed;        /* files that wait for the writer */
    double begun, shown; /* seconds_now() */
    progress_work work[PROGRESS_LANES];
    int at;               /* the one that the bar shows */
    bool drawn;           /* a bar stands on the terminal's line */
    bool clip;            /* the only file in work is one: what follows is of it */
    double clip_begun;    /* seconds_now() */
    int64_t frames_shown; /* in the last event */
    int64_t frames, frames_total, frames_before; /* written; all, 0 unknown; by an earlier run */
} progress;

void progress_begin(progress *p, progress_kind kind, int total);
void progress_destroy(progress *p);
/* The file that a lane works on from now; the strings must stay until its next. */
void progress_file(progress *p, int lane, const char *input, const char *output);
void progress_part(progress *p, int lane, double part);
/* The file in work is a clip of which `frames` are written, `before` of them by an earlier run;
 * total 0: unknown. */
void progress_frames(progress *p, int64_t frames, int64_t total, int64_t before);
/* What became of the clip: to programs as {"event":"clip",...FIELDS}, a text ",\"same\":3"; before
 * progress_ended(). */
void progress_clip(progress *p, const char *input, const char *output, const char *fields);
/* The lane's file waits for the writer now. */
void progress_computed(progress *p, int lane);
/* A file has ended (which waited for the writer, or did not): event is "done", "skipped", "failed"
 * or "stopped"; error may be NULL. */
void progress_ended(progress *p, const char *event, const char *input, const char *output,
                    const char *error, bool waited);
/* A sentence: "oriel: TEXT", or {"event":"message","text":"TEXT"}. */
void progress_note(progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The last line. quiet: only a program hears it. */
void progress_end(progress *p, int done, int skipped, int failed, int stopped, bool quiet);

#endif
