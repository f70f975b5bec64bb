/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stages in threads, a bounded queue before each but the first. One lock is enough: it is held for
 * a few stores an item, and an item is a frame. A queue has one giver and one taker, of whom one at
 * most waits (it cannot be full and empty), so one condition each suffices.
 *
 *     stage 0 --(queue 1)--> stage 1 --(queue 2)--> ... stage n - 1, on the caller's thread
 */
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "video/video.h"

enum { MOST_WAITING = 64, USUAL_WAITING = 2 };

typedef struct queue {
    pthread_cond_t changed;
    void *item[MOST_WAITING];
    int first, count, limit;
    bool ended; /* no more items come in */
} queue;

typedef struct pipeline pipeline;

typedef struct worker {
    pipeline *line;
    const oriel_stage *stage;
    queue *in, *out; /* NULL: the first has none before it, the last none behind it */
    void *left;      /* an item that went no further because of a failure */
    oriel_stage_times times;
    pthread_t thread;
} worker;

struct pipeline {
    pthread_mutex_t lock; /* of all below, and of the queues */
    bool failed;
    oriel_status status; /* of the first failure */
    char text[512];
    int count;
    void (*drop)(void *user, void *item); /* called on the caller's thread alone */
    void *user;
    queue queue[ORIEL_PIPELINE_STAGES];
    worker worker[ORIEL_PIPELINE_STAGES];
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Note the first failure and wake everybody. This thread's error text is the stage's. */
static void fail(pipeline *p, oriel_status s)
{
    pthread_mutex_lock(&p->lock);
    if (!p->failed) {
        p->failed = true;
        p->status = s;
        snprintf(p->text, sizeof p->text, "%s", oriel_error());
    }
    for (int i = 1; i < p->count; i++)
        pthread_cond_broadcast(&p->queue[i].changed);
    pthread_mutex_unlock(&p->lock);
}

/* The next item for w. False: none comes any more. */
static bool take(worker *w, void **item)
{
    queue *q = w->in;
    *item = NULL;
    if (!q)
        return !w->line->failed;
    double begun = now();
    while (!q->count && !q->ended && !w->line->failed)
        pthread_cond_wait(&q->changed, &w->line->lock);
    w->times.starved += now() - begun;
    if (!q->count || w->line->failed)
        return false;
    *item = q->item[q->first];
    q->first = (q->first + 1) % MOST_WAITING;
    q->count--;
    pthread_cond_signal(&q->changed);
    return true;
}

/* Pass on what the stage has left, if anything; after a failure it stays where it is. */
static void give(worker *w)
{
    queue *q = w->out;
    double begun = now();
    if (!w->left)
        return;
    while (q->count == q->limit && !w->line->failed)
        pthread_cond_wait(&q->changed, &w->line->lock);
    w->times.blocked += now() - begun;
    if (w->line->failed)
        return;
    q->item[(q->first + q->count++) % MOST_WAITING] = w->left;
    w->left = NULL;
    pthread_cond_signal(&q->changed);
}

static void drop(pipeline *p, void *item)
{
    if (item && p->drop)
        p->drop(p->user, item);
}

static void end(worker *w)
{
    if (!w->out)
        return;
    w->out->ended = true;
    pthread_cond_signal(&w->out->changed);
}

/* One stage, to its end. The lock is held but while the stage runs. */
static void *work(void *arg)
{
    worker *w = arg;
    pipeline *p = w->line;
    pthread_mutex_lock(&p->lock);
    while (!w->left && take(w, &w->left)) {
        pthread_mutex_unlock(&p->lock);
        double begun = now();
        oriel_status s = w->stage->run(w->stage->user, &w->left);
        w->times.busy += now() - begun;
        if (s && (w->in || s != ORIEL_EOF))
            fail(p, s);
        bool counts = w->in || w->left;
        if (!s && !w->out) { /* on the caller's thread */
            drop(p, w->left);
            w->left = NULL;
        }
        pthread_mutex_lock(&p->lock);
        if (s)
            break;
        w->times.items += counts;
        give(w);
    }
    end(w);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static oriel_status checked(const oriel_stage *stages, int count)
{
    if (!stages || count < 1 || count > ORIEL_PIPELINE_STAGES)
        return oriel_fail(ORIEL_E_ARG, "oriel_pipeline_run: %d stages, not 1 to %d",
                          stages ? count : 0, ORIEL_PIPELINE_STAGES);
    for (int i = 0; i < count; i++) {
        if (!stages[i].run)
            return oriel_fail(ORIEL_E_ARG, "oriel_pipeline_run: stage %d has no function", i);
        if (stages[i].queue < 0 || stages[i].queue > MOST_WAITING)
            return oriel_fail(ORIEL_E_ARG,
                              "oriel_pipeline_run: %d items may wait before stage %d, not 1 to %d",
                              stages[i].queue, i, MOST_WAITING);
    }
    return ORIEL_OK;
}

static void begin(pipeline *p, const oriel_stage *stages, int count)
{
    *p = (pipeline){.count = count};
    pthread_mutex_init(&p->lock, NULL);
    for (int i = 0; i < count; i++) {
        p->queue[i].limit = stages[i].queue ? stages[i].queue : USUAL_WAITING;
        pthread_cond_init(&p->queue[i].changed, NULL);
        p->worker[i] = (worker){.line = p,
                                .stage = &stages[i],
                                .in = i ? &p->queue[i] : NULL,
                                .out = i + 1 < count ? &p->queue[i + 1] : NULL};
    }
}

/* All stages have ended: what is still under way is dropped, from the last stage to the first. */
static void clear(pipeline *p)
{
    for (int i = p->count - 1; i >= 0; i--) {
        queue *q = &p->queue[i];
        drop(p, p->worker[i].left);
        for (; q->count; q->count--, q->first = (q->first + 1) % MOST_WAITING)
            drop(p, q->item[q->first]);
        pthread_cond_destroy(&q->changed);
    }
    pthread_mutex_destroy(&p->lock);
}

oriel_status oriel_pipeline_run(const oriel_stage *stages, int count,
                                void (*drop_item)(void *user, void *item), void *user,
                                oriel_stage_times *times)
{
    pipeline p;
    int started = 0;
    oriel_status s = checked(stages, count);
    if (s)
        return s;
    begin(&p, stages, count);
    p.drop = drop_item;
    p.user = user;
    for (int last = count - 1; started < last; started++) {
        int code = pthread_create(&p.worker[started].thread, NULL, work, &p.worker[started]);
        if (code) {
            fail(&p,
                 oriel_fail(ORIEL_E_DEVICE, "no thread for stage %d of %d (%s): %s", started + 1,
                            count, stages[started].name ? stages[started].name : "unnamed",
                            strerror(code)));
            break;
        }
    }
    if (started == count - 1)
        work(&p.worker[started]);
    for (int i = 0; i < started; i++)
        pthread_join(p.worker[i].thread, NULL);
    for (int i = 0; times && i < count; i++)
        times[i] = p.worker[i].times;
    clear(&p);
    return p.failed ? oriel_fail(p.status, "%s", p.text) : ORIEL_OK;
}
