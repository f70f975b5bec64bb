/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The batch: some threads read, one a lane computes (lanes.h), some write, with short queues
 * between them. A job belongs to one thread at a time and passes on with the queues.
 *
 *     readers --(to_compute, a lane's each)--> lanes --(to_write, a lane's each)--> writers
 *
 * At most 2 readers + 3 lanes + writers pictures are in memory. What a picture takes is counted
 * from where its computing begins to where it is written (turns.h): one that does not fit beside
 * the others waits. A clip passes the reader unread, and is read, computed and written while no
 * picture is, by all lanes (clip.c).
 */
#include "batch.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clip.h"
#include "lanes.h"
#include "queue.h"
#include "spares.h"
#include "stop.h"
#include "turns.h"

typedef struct batch {
    inputs *in;
    lane_set *lanes;
    const batch_options *opt;
    progress progress;
    turns turns;
    spares spares;
    queue to_compute, to_write;
    atomic_int next;               /* job to be read */
    atomic_int reading, computing; /* threads, and the one that starts them */
    atomic_int begun;              /* lanes */
    atomic_bool stop;              /* begin nothing new: --fail-fast */
    atomic_bool cut_told;          /* that a picture is cut into tiles */
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
    turns_change(&b->turns, j->promised, 0);
    j->promised = 0;
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

static uint64_t sum(uint64_t a, uint64_t b)
{
    return a < UINT64_MAX - b ? a + b : UINT64_MAX;
}

/* The memory for pictures. `held`: what a model holds from earlier runs counts as free, its next
 * run uses it. */
static uint64_t memory_for(const batch *b, uint64_t held)
{
    return b->opt->memory ? (uint64_t)b->opt->memory << 20 : sum(memory_available(), held);
}

/* A thread before the queue has ended: the last one closes it. */
static void ended(atomic_int *running, queue *q)
{
    if (atomic_fetch_sub(running, 1) == 1)
        queue_close(q);
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
    int i;
    while (!stopping(b) && (i = atomic_fetch_add(&b->next, 1)) < b->in->count) {
        job *j = &b->in->list[i];
        if (read_job(b, j) && !queue_push(&b->to_compute, j))
            job_stopped(b, j);
    }
    ended(&b->reading, &b->to_compute);
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
    if (j->result.data && !b->opt->memory) /* what is kept is beside the limit */
        spares_give(&b->spares, &j->result);
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

typedef struct computer {
    batch *b;
    lane *lane;
    int index; /* of the lane */
} computer;

static bool in_picture(void *user, double done)
{
    computer *c = user;
    progress_part(&c->b->progress, c->index, done);
    return !stop_asked();
}

static uint64_t picture_limit(void *user)
{
    const computer *c = user;
    return memory_for(c->b, c->lane->held);
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

static void tell_plan(batch *b, const job *j, const picture_plan *plan)
{
    char *text = plan_text(j, plan);
    if (b->opt->dry_run)
        printf("%s -> %s: %s\n", j->in, j->out, text);
    else if (b->opt->verbose || plan->bytes >= LARGE_PLAN)
        progress_note(&b->progress, "%s -> %s: %s", j->in, j->out, text);
    free(text);
}

/* That the GPU's memory asks for tiles is said of the first picture. */
static void tell_cut(batch *b, const job *j, const char *text)
{
    if (text[0] && !atomic_exchange(&b->cut_told, true))
        progress_note(&b->progress, "%s: %s", j->in, text);
}

static bool compute_job(computer *c, job *j, trouble *why)
{
    batch *b = c->b;
    network n = c->lane->net;
    picture_plan plan;
    trouble cut = {""};
    current = j->in;
    bool planned = picture_plan_make(&n, &j->source, &plan, why) &&
                   picture_cut_for_gpu(&n, &j->source, &plan, &cut, why);
    j->promised = planned ? plan.bytes : 0;
    memory_limit limit = {turns_begin(&b->turns, j->promised, picture_limit, c), b->opt->memory};
    progress_file(&b->progress, c->index, j->in, j->out);
    if (!planned || !picture_fits(&n, &j->source, &plan, 0, limit, why))
        return false;
    j->width_out = plan.width;
    j->height_out = plan.height;
    tell_cut(b, j, cut.text);
    tell_plan(b, j, &plan);
    if (b->opt->dry_run)
        return true;
    double begun = seconds_now();
    spares_take(&b->spares, &j->result, plan.width, plan.height, plan.channels, plan.depth);
    if (!picture_run(&n, &j->source, &j->result, in_picture, c, why))
        return false;
    if (!n.gpu && plan.activation_bytes > c->lane->held)
        c->lane->held = plan.activation_bytes;
    j->seconds = seconds_now() - begun;
    j->computed = true;
    progress_computed(&b->progress, c->index);
    oriel_image_free(&j->source);
    turns_change(&b->turns, j->promised, plan.result_bytes);
    j->promised = plan.result_bytes;
    return true;
}

static void compute_clip(computer *c, job *j)
{
    batch *b = c->b;
    trouble why = {""};
    uint64_t held = 0;
    current = j->in;
    turns_begin_clip(&b->turns);
    progress_file(&b->progress, c->index, j->in, j->out);
    for (int i = 0; i < b->lanes->count; i++)
        held += b->lanes->list[i].held;
    memory_limit limit = {memory_for(b, held), b->opt->memory};
    clip_end end = CLIP_FAILED;
    if (!b->in->to_folder || b->opt->dry_run || make_parents(j->out, &why))
        end = clip_run(j, b->lanes, b->opt, &b->progress, limit, &why);
    turns_end_clip(&b->turns);
    if (end == CLIP_FAILED)
        job_failed(b, j, why.text);
    else if (end == CLIP_STOPPED)
        job_stopped(b, j);
    else
        job_done(b, j, JOB_DONE, "done");
}

static void *compute(void *arg)
{
    batch *b = arg;
    int index = atomic_fetch_add(&b->begun, 1);
    computer c = {b, &b->lanes->list[index], index};
    job *j;
    while ((j = queue_pop(&b->to_compute))) {
        trouble why = {""};
        if (stopping(b))
            job_stopped(b, j);
        else if (j->clip)
            compute_clip(&c, j);
        else if (!compute_job(&c, j, &why) && stop_asked())
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
    ended(&b->computing, &b->to_write);
    return NULL;
}

/* ---- the whole ---------------------------------------------------------------------------- */

static void tell_model(batch *b)
{
    const network *n = &b->lanes->list[0].net;
    const oriel_model_info *m = &n->info;
    char bytes[32];
    progress_note(&b->progress,
                  "%s (%s), task %s, %.2f million parameters, %s of weights, on %s, %d lane%s",
                  m->architecture, m->details, m->task, (double)m->parameters / 1e6,
                  bytes_text(m->weight_bytes, bytes, sizeof bytes), oriel_device_name(n->device),
                  b->lanes->count, b->lanes->count > 1 ? "s" : "");
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
    bool reported = !b->opt->report || report_write(b->in, &b->lanes->list[0].net, b->opt, &why);
    if (!reported)
        progress_note(&b->progress, "%s", why.text);
    bool quiet = !b->opt->verbose && b->in->count == 1 && !stopped && !count[JOB_SKIPPED];
    progress_end(&b->progress, count[JOB_DONE], count[JOB_SKIPPED], count[JOB_FAILED], stopped,
                 quiet || b->opt->dry_run);
    if (stop_asked())
        return 128 + stop_asked();
    return count[JOB_FAILED] || stopped || !reported ? EXIT_SOME_FAILED : EXIT_DONE;
}

enum { THREADS_MOST = 32 }; /* that read, and that write */

/* Threads that write: the cores that computing leaves. A PNG takes as long to write as a GPU takes
 * for ten of them. */
static int cores_left(const batch *b)
{
    const batch_options *opt = b->opt;
    bool gpu = opt->device == ORIEL_CUDA; /* a lane waits for it on a core */
    int taken = gpu ? 1 : oriel_device_threads(b->lanes->list[0].net.device);
    int left = (gpu && opt->threads ? opt->threads : cores_all()) - taken * b->lanes->count;
    return left < 1 ? 1 : left < THREADS_MOST ? left : THREADS_MOST;
}

/* Returns how many could be started; *running (or NULL) counts them. */
static int start(pthread_t *thread, int count, void *(*run)(void *), batch *b, atomic_int *running)
{
    int started = 0;
    while (started < count) {
        if (running)
            atomic_fetch_add(running, 1);
        if (pthread_create(&thread[started], NULL, run, b)) {
            if (running)
                atomic_fetch_sub(running, 1);
            break;
        }
        started++;
    }
    return started;
}

static void join(const pthread_t *thread, int count)
{
    for (int i = 0; i < count; i++)
        pthread_join(thread[i], NULL);
}

/* This thread is the first lane. */
static void run_threads(batch *b)
{
    pthread_t reading[THREADS_MOST], writing[THREADS_MOST], computing[LANES_MOST];
    int left = cores_left(b), count = b->in->count;
    int most_readers = left / 4 > 1 ? left / 4 : 1;
    atomic_store(&b->reading, 1);
    atomic_store(&b->computing, 1);
    int writers = start(writing, left < count ? left : count, writer, b, NULL);
    int readers = 0, lanes = 0;
    if (writers)
        readers =
            start(reading, most_readers < count ? most_readers : count, reader, b, &b->reading);
    ended(&b->reading, &b->to_compute);
    if (!readers)
        progress_note(&b->progress, "no thread could be started");
    else
        lanes = start(computing, b->lanes->count - 1, compute, b, &b->computing);
    compute(b);
    join(computing, lanes);
    join(reading, readers);
    join(writing, writers);
}

int batch_run(inputs *in, lane_set *l, const batch_options *opt)
{
    batch b = {.in = in, .lanes = l, .opt = opt};
    stop_catch();
    progress_begin(&b.progress, (progress_kind)opt->progress, in->count);
    oriel_log_set(note_log, &b.progress, opt->verbose ? ORIEL_LOG_INFO : ORIEL_LOG_WARN);
    if (opt->verbose)
        tell_model(&b);
    turns_init(&b.turns);
    spares_init(&b.spares);
    queue_init(&b.to_compute, l->count);
    queue_init(&b.to_write, l->count);
    run_threads(&b);
    int code = finish(&b);
    oriel_log_set(NULL, NULL, ORIEL_LOG_WARN);
    queue_destroy(&b.to_compute);
    queue_destroy(&b.to_write);
    spares_destroy(&b.spares);
    turns_destroy(&b.turns);
    progress_destroy(&b.progress);
    return code;
}
