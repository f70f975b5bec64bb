/* SPDX-License-Identifier: Apache-2.0 */
/* What a batch tells while it runs, all on stderr: a bar, JSON lines, or only what went wrong.
 * Any thread may call any of these. */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <pthread.h>
#include <stdbool.h>

#define PROGRESS_WORDS "auto|bar|json|none"
typedef enum progress_kind {
    PROGRESS_AUTO, /* a bar if stderr is a terminal, else none */
    PROGRESS_BAR,
    PROGRESS_JSON,
    PROGRESS_NONE
} progress_kind;

typedef struct progress {
    pthread_mutex_t lock;
    progress_kind kind;
    int total, ended;           /* files */
    int computed;               /* files that wait for the writer */
    double begun, shown;        /* seconds_now() */
    double part;                /* of the file in work, 0..1 */
    const char *input, *output; /* of the file in work, or NULL */
    bool drawn;                 /* a bar stands on the terminal's line */
} progress;

void progress_begin(progress *p, progress_kind kind, int total);
void progress_destroy(progress *p);
/* The file that is worked on from now; the strings must stay until the next. */
void progress_file(progress *p, const char *input, const char *output);
void progress_part(progress *p, double part);
/* The file in work waits for the writer now. */
void progress_computed(progress *p);
/* A file has ended (which waited for the writer, or did not): event is "done", "skipped", "failed"
 * or "stopped"; error may be NULL. */
void progress_ended(progress *p, const char *event, const char *input, const char *output,
                    const char *error, bool waited);
/* A sentence: "oriel: TEXT", or {"event":"message","text":"TEXT"}. */
void progress_note(progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The last line. quiet: only a program hears it. */
void progress_end(progress *p, int done, int skipped, int failed, int stopped, bool quiet);

#endif
