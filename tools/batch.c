/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The batch: a thread reads, this one computes, a third writes, with short queues between them, so
 * that at most five pictures are in memory. A job belongs to one thread at a time and passes on
 * with the queues.
 *
 *     reader --(to_compute, 1)--> compute --(to_write, 1)--> writer
 *
 * A clip passes the reader unread, and is read, computed and written in its turn (clip.c).
 */
#include "batch.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clip.h"
#include "queue.h"
#include "stop.h"

typedef struct batch {
    inputs *in;
    const network *network;
    const batch_options *opt;
    progress progress;
    queue to_compute, to_write;
    atomic_bool stop; /* begin nothing new: --fail-fast */
    uint64_t held;    /* bytes that the model keeps between runs */
} batch;

static bool stopping(batch *b)
{
    return stop_asked() || atomic_load(&b->stop);
}

/* ---- the end of a job --------------------------------------------------------------------- */

static void job_done(batch *b, job *j, job_state state, const char *event)
{
    j->state = state;
    oriel_image_free(&j->source);
    oriel_image_free(&j->result);
    progress_ended(&b->progress, event, j->in, j->out, j->error, j->computed);
}

static void job_failed(batch *b, job *j, const char *why)
{
    j->error = need_text("%s", why);
    if (b->opt->fail_fast)
        atomic_store(&b->stop, true);
    job_done(b, j, JOB_FAILED, "failed");
}

static void job_stopped(batch *b, job *j)
{
    job_done(b, j, JOB_STOPPED, "stopped");
}

/* What this thread works on, for the library's warnings. */
static _Thread_local const char *current;

static void note_log(void *user, oriel_log_level level, const char *text)
{
    (void)level;
    progress_note(user, "%s%s%s", current ? current : "", current ? ": " : "", text);
}

/* What the model holds from earlier runs counts as free: the next run uses it. */
static memory_limit limit_now(const batch *b)
{
    if (b->opt->memory)
        return (memory_limit){(uint64_t)b->opt->memory << 20, true};
    uint64_t left = memory_available();
    return (memory_limit){left < UINT64_MAX - b->held ? left + b->held : left, false};
}

/* ---- reader ------------------------------------------------------------------------------- */

static bool read_job(batch *b, job *j)
{
    /* a pixel takes no less than two floats: what is larger would be refused after it is read */
    uint64_t most = (b->opt->memory ? (uint64_t)b->opt->memory << 20 : memory_available()) / 8;
    oriel_image_read_options opt = {.max_pixels = most < 1 << 30 ? most + 1 : 1 << 30};
    bool pipe = !strcmp(j->in, "-");
    if ((b->opt->skip_existing || b->opt->clip.resume) && strcmp(j->out, "-") &&
        !access(j->out, F_OK)) {
        job_done(b, j, JOB_SKIPPED, "skipped");
        return false;
    }
    if (j->clip)
        return true; /* read as it is computed */
    stop_while_idle(pipe);
    current = j->in;
    oriel_status s = oriel_image_read(&j->source, j->in, &opt);
    stop_while_idle(false);
    if (s) {
        job_failed(b, j, oriel_error());
        return false;
    }
    j->width_in = j->source.width;
    j->height_in = j->source.height;
    return true;
}

static void *reader(void *arg)
{
    batch *b = arg;
    for (int i = 0; i < b->in->count && !stopping(b); i++) {
        job *j = &b->in->list[i];
        if (read_job(b, j) && !queue_push(&b->to_compute, j))
            job_stopped(b, j);
    }
    queue_close(&b->to_compute);
    return NULL;
}

/* ---- writer ------------------------------------------------------------------------------- */

static void write_job(batch *b, job *j)
{
    oriel_image_write_options opt = {.format = batch_image_format(b->opt),
                                     .compression = b->opt->compression,
                                     .overwrite = b->opt->overwrite,
                                     .drop_metadata = b->opt->drop_metadata};
    trouble why = {""};
    if (b->in->to_folder && !make_parents(j->out, &why)) {
        job_failed(b, j, why.text);
        return;
    }
    stop_while_writing(true);
    current = j->out;
    oriel_status s = oriel_image_write(&j->result, j->out, &opt);
    stop_while_writing(false);
    if (s)
        job_failed(b, j, oriel_error());
    else
        job_done(b, j, JOB_DONE, "done");
}

static void *writer(void *arg)
{
    batch *b = arg;
    job *j;
    while ((j = queue_pop(&b->to_write)))
        write_job(b, j); /* what is computed is written, also when stopping */
    return NULL;
}

/* ---- compute ------------------------------------------------------------------------------ */

static bool in_picture(void *user, double done)
{
    batch *b = user;
    progress_part(&b->progress, done);
    return !stop_asked();
}

/* "120 x 80 -> 240 x 160, 3 channels of 8 bits, ..." */
static char *plan_text(const job *j, const picture_plan *p)
{
    char bytes[32];
    return need_text("%d x %d -> %d x %d, %d channels of %d bits, %d pass%s, %s, %.3g GFLOP",
                     j->width_in, j->height_in, p->width, p->height, p->channels, p->depth,
                     p->passes, p->passes > 1 ? "es" : "",
                     bytes_text(p->bytes, bytes, sizeof bytes), p->flops / 1e9);
}

enum { LARGE_PLAN = 1 << 30 }; /* bytes: said without being asked */

static bool compute_job(batch *b, job *j, trouble *why)
{
    picture_plan plan;
    current = j->in;
    progress_file(&b->progress, j->in, j->out);
    if (!picture_plan_make(b->network, &j->source, &plan, why) ||
        !picture_fits(b->network, &j->source, &plan, 0, limit_now(b), why))
        return false;
    j->width_out = plan.width;
    j->height_out = plan.height;
    char *text = plan_text(j, &plan);
    if (b->opt->dry_run)
        printf("%s -> %s: %s\n", j->in, j->out, text);
    else if (b->opt->verbose || plan.bytes >= LARGE_PLAN)
        progress_note(&b->progress, "%s -> %s: %s", j->in, j->out, text);
    free(text);
    if (b->opt->dry_run)
        return true;
    double begun = seconds_now();
    if (!picture_run(b->network, &j->source, &j->result, in_picture, b, why))
        return false;
    if (plan.activation_bytes > b->held)
        b->held = plan.activation_bytes;
    j->seconds = seconds_now() - begun;
    j->computed = true;
    progress_computed(&b->progress);
    oriel_image_free(&j->source);
    return true;
}

static void compute_clip(batch *b, job *j)
{
    trouble why = {""};
    current = j->in;
    progress_file(&b->progress, j->in, j->out);
    if (b->in->to_folder && !b->opt->dry_run && !make_parents(j->out, &why)) {
        job_failed(b, j, why.text);
        return;
    }
    clip_end end = clip_run(j, b->network, b->opt, &b->progress, limit_now(b), &b->held, &why);
    if (end == CLIP_FAILED)
        job_failed(b, j, why.text);
    else if (end == CLIP_STOPPED)
        job_stopped(b, j);
    else
        job_done(b, j, JOB_DONE, "done");
}

static void compute(batch *b)
{
    job *j;
    while ((j = queue_pop(&b->to_compute))) {
        trouble why = {""};
        if (stopping(b))
            job_stopped(b, j);
        else if (j->clip)
            compute_clip(b, j);
        else if (!compute_job(b, j, &why) && stop_asked())
            job_stopped(b, j);
        else if (why.text[0])
            job_failed(b, j, why.text);
        else if (b->opt->dry_run)
            job_done(b, j, JOB_DONE, "done");
        else if (!queue_push(&b->to_write, j))
            job_stopped(b, j);
        if (stopping(b))
            queue_close(&b->to_compute);
    }
    queue_close(&b->to_write);
}

/* ---- the whole ---------------------------------------------------------------------------- */

static void tell_model(batch *b)
{
    const oriel_model_info *m = &b->network->info;
    char bytes[32];
    progress_note(&b->progress, "%s (%s), task %s, %.2f million parameters, %s of weights, on %s",
                  m->architecture, m->details, m->task, (double)m->parameters / 1e6,
                  bytes_text(m->weight_bytes, bytes, sizeof bytes),
                  oriel_device_name(b->network->device));
    if (b->in->others || b->in->folders)
        progress_note(&b->progress,
                      "left alone: %d files that are neither pictures nor clips, %d folders",
                      b->in->others, b->in->folders);
}

/* Counts, the failed by name, the report; returns the exit code. */
static int finish(batch *b)
{
    int count[5] = {0};
    trouble why = {""};
    for (int i = 0; i < b->in->count; i++)
        count[b->in->list[i].state]++;
    int stopped = count[JOB_STOPPED] + count[JOB_WAITING];
    bool again =
        b->in->count > 1 && b->progress.kind != PROGRESS_JSON; /* programs keep the events */
    for (int i = 0; i < b->in->count && again; i++)
        if (b->in->list[i].state == JOB_FAILED)
            progress_note(&b->progress, "failed: %s: %s", b->in->list[i].in, b->in->list[i].error);
    bool reported = !b->opt->report || report_write(b->in, b->network, b->opt, &why);
    if (!reported)
        progress_note(&b->progress, "%s", why.text);
    bool quiet = !b->opt->verbose && b->in->count == 1 && !stopped && !count[JOB_SKIPPED];
    progress_end(&b->progress, count[JOB_DONE], count[JOB_SKIPPED], count[JOB_FAILED], stopped,
                 quiet || b->opt->dry_run);
    if (stop_asked())
        return 128 + stop_asked();
    return count[JOB_FAILED] || stopped || !reported ? EXIT_SOME_FAILED : EXIT_DONE;
}

int batch_run(inputs *in, const network *n, const batch_options *opt)
{
    batch b = {.in = in, .network = n, .opt = opt};
    pthread_t reading, writing_thread;
    int code = EXIT_SOME_FAILED;
    stop_catch();
    progress_begin(&b.progress, (progress_kind)opt->progress, in->count);
    oriel_log_set(note_log, &b.progress, opt->verbose ? ORIEL_LOG_INFO : ORIEL_LOG_WARN);
    if (opt->verbose)
        tell_model(&b);
    queue_init(&b.to_compute, 1);
    queue_init(&b.to_write, 1);
    if (pthread_create(&reading, NULL, reader, &b)) {
        progress_note(&b.progress, "no thread could be started");
        goto done;
    }
    if (pthread_create(&writing_thread, NULL, writer, &b)) {
        progress_note(&b.progress, "no thread could be started");
        atomic_store(&b.stop, true);
        queue_close(&b.to_compute);
        pthread_join(reading, NULL);
        goto done;
    }
    compute(&b);
    pthread_join(reading, NULL);
    pthread_join(writing_thread, NULL);
    code = finish(&b);
done:
    oriel_log_set(NULL, NULL, ORIEL_LOG_WARN);
    queue_destroy(&b.to_compute);
    queue_destroy(&b.to_write);
    progress_destroy(&b.progress);
    return code;
}
