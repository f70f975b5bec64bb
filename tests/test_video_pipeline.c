/* SPDX-License-Identifier: Apache-2.0 */
/* The pipeline: order, bounds, the end, failures at every place and moment. An item is a counted
 * box; what is alive at the end was leaked, what is dropped twice is seen. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include <oriel/video.h>

#include "tests/test.h"

enum { MOST = 10000, STAGES = ORIEL_PIPELINE_STAGES };

typedef struct box {
    int number; /* from 0, in the order of making */
    int seen;   /* by how many stages */
} box;

static atomic_int alive, most_alive, dropped, dropped_elsewhere;
static pthread_t caller;

static box *box_new(int number)
{
    box *b = malloc(sizeof *b);
    *b = (box){number, 1};
    int n = atomic_fetch_add(&alive, 1) + 1, most = atomic_load(&most_alive);
    while (n > most && !atomic_compare_exchange_weak(&most_alive, &most, n))
        ;
    return b;
}

static void box_free(void *item)
{
    free(item);
    atomic_fetch_sub(&alive, 1);
}

static void drop(void *user, void *item)
{
    atomic_fetch_add(&dropped, 1);
    if (user != &dropped || !pthread_equal(pthread_self(), caller))
        atomic_fetch_add(&dropped_elsewhere, 1);
    box_free(item);
}

static void pause_us(long us)
{
    nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

/* How a stage behaves, and what it has seen. */
typedef struct actor {
    int items;       /* of the first: how many it makes */
    int fail_at;     /* fails with its n-th item, from 1; 0 never */
    int status;      /* with which status */
    bool keep;       /* leaves its item when it fails, in place of freeing it */
    bool sink;       /* frees items: the last stage */
    bool renew;      /* passes another item on */
    long slow;       /* microseconds an item */
    int swallow;     /* every n-th item goes no further; 0: none */
    int runs, wrong; /* items; those out of order */
    int last;        /* number of the last item + 1 */
    bool apart;      /* ran on another thread than the caller's */
} actor;

static oriel_status ended(actor *a, void **item)
{
    if (!a->keep && *item) {
        box_free(*item);
        *item = NULL;
    }
    return a->status == ORIEL_EOF ? ORIEL_EOF
                                  : oriel_fail((oriel_status)a->status, "item %d broke", a->runs);
}

static oriel_status act(void *user, void **item)
{
    actor *a = user;
    box *b = *item;
    a->apart = !pthread_equal(pthread_self(), caller);
    a->runs++;
    if (!b) { /* the first stage */
        if (a->runs > a->items)
            return ORIEL_EOF;
        *item = b = box_new(a->runs - 1);
    } else {
        b->seen++;
        a->wrong += b->number < a->last;
    }
    a->last = b->number + 1;
    if (a->slow)
        pause_us(a->slow);
    if (a->fail_at == a->runs)
        return ended(a, item);
    if (a->sink || (a->swallow && a->runs % a->swallow == 0)) {
        box_free(b);
        *item = NULL;
    } else if (a->renew) {
        box *other = box_new(b->number);
        other->seen = b->seen;
        box_free(b);
        *item = other;
    }
    return ORIEL_OK;
}

static void line_up(oriel_stage *stages, actor *actors, int count, int queue)
{
    for (int i = 0; i < count; i++)
        stages[i] = (oriel_stage){"actor", act, &actors[i], queue};
    actors[count - 1].sink = true;
    atomic_store(&most_alive, 0);
    atomic_store(&dropped, 0);
}

static oriel_status run(oriel_stage *stages, actor *actors, int count, int queue,
                        oriel_stage_times *times)
{
    line_up(stages, actors, count, queue);
    oriel_status s = oriel_pipeline_run(stages, count, drop, &dropped, times);
    CHECK_INT(atomic_load(&alive), ==, 0);
    CHECK_INT(atomic_load(&dropped_elsewhere), ==, 0);
    for (int i = 0; i < count; i++)
        CHECK_INT(actors[i].wrong, ==, 0);
    return s;
}

static void check_order(void)
{
    for (int count = 1; count <= STAGES; count += count == 1 ? 1 : 7) {
        oriel_stage stages[STAGES];
        oriel_stage_times times[STAGES];
        actor actors[STAGES] = {{.items = MOST}};
        actors[count / 2].renew = count > 2;
        CHECK_OK(run(stages, actors, count, 3, times));
        for (int i = 0; i < count; i++) {
            CHECK_INT(actors[i].last, ==, MOST);
            CHECK_INT(times[i].items, ==,
                      MOST - (count == 1 ? MOST : 0)); /* one stage makes and eats */
            CHECK_INT(actors[i].apart, ==, i < count - 1);
        }
        CHECK_INT(atomic_load(&dropped), ==, 0);
        CHECK_INT(atomic_load(&most_alive), <=, count + 3 * (count - 1) + (count > 2));
    }
}

static void check_nothing(void)
{
    oriel_stage stages[4];
    oriel_stage_times times[4];
    actor actors[4] = {{.items = 0}};
    CHECK_OK(run(stages, actors, 4, 0, times));
    CHECK_INT(actors[1].runs, ==, 0);
    CHECK_INT(times[0].items, ==, 0);
}

/* Memory stays bounded whichever stage is slow, and the times say which it was. */
static void check_slow(void)
{
    for (int slow = 0; slow < 4; slow++)
        for (int queue = 1; queue <= 4; queue *= 4) {
            oriel_stage stages[4];
            oriel_stage_times times[4];
            actor actors[4] = {{.items = 30}};
            actors[slow].slow = 4000;
            CHECK_OK(run(stages, actors, 4, queue, times));
            CHECK_INT(atomic_load(&most_alive), <=, 4 + 3 * queue);
            if (slow == 3) /* everything behind it has filled up */
                CHECK_INT(atomic_load(&most_alive), ==, 4 + 3 * queue);
            CHECK_NUM(times[slow].busy, >=, 30 * 0.004);
            for (int i = 0; i < 4; i++) {
                CHECK_NUM(times[i].starved, >=, i > slow ? 0.04 : 0);
                if (!i)
                    CHECK_NUM(times[i].starved, ==, 0);
                if (i == 3)
                    CHECK_NUM(times[i].blocked, ==, 0);
                else if (i < slow) /* but for those that fit into the queues between: 16 of 30 at
                                      most */
                    CHECK_NUM(times[i].blocked, >=, 0.02);
            }
        }
}

static void check_places(void)
{
    oriel_stage stages[2];
    actor actors[2] = {{.items = 200}, {.slow = 500}};
    CHECK_OK(run(stages, actors, 2, 64, NULL));
    CHECK_INT(atomic_load(&most_alive), ==, 66);
    actors[0].runs = actors[1].last = 0;
    CHECK_OK(run(stages, actors, 2, 0, NULL)); /* two places unless told */
    CHECK_INT(atomic_load(&most_alive), ==, 4);
}

static void check_swallow(void)
{
    oriel_stage stages[4];
    oriel_stage_times times[4];
    actor actors[4] = {{.items = 999}, {.swallow = 3}, {.swallow = 2}};
    CHECK_OK(run(stages, actors, 4, 2, times));
    CHECK_INT(times[1].items, ==, 999);
    CHECK_INT(times[2].items, ==, 666);
    CHECK_INT(times[3].items, ==, 333);
    CHECK_INT(atomic_load(&dropped), ==, 0);
}

/* Each stage fails with its first, a middle and its last item, whether it frees that item or not.
 */
static void check_failures(void)
{
    enum { COUNT = 5, ITEMS = 40 };
    static const int at[] = {1, 2, ITEMS / 2, ITEMS - 1, ITEMS};
    for (int stage = 0; stage < COUNT; stage++)
        for (int k = 0; k < 5; k++)
            for (int how = 0; how < 6; how++) {
                oriel_stage stages[COUNT];
                actor actors[COUNT] = {{.items = ITEMS}};
                char text[64];
                actors[stage].fail_at = at[k];
                actors[stage].status = ORIEL_E_FORMAT;
                actors[stage].keep = how & 1;
                actors[COUNT - 1].slow = how / 2 == 1 ? 200 : 0;
                actors[0].slow = how / 2 == 2 ? 200 : 0;
                oriel_fail(ORIEL_E_IO, "nothing to do with it");
                CHECK_INT(run(stages, actors, COUNT, 1 + how % 3, NULL), ==, ORIEL_E_FORMAT);
                snprintf(text, sizeof text, "item %d broke", at[k]);
                CHECK(!strcmp(oriel_error(), text));
                CHECK_INT(actors[stage].runs, ==, at[k]); /* and no further */
                for (int i = stage + 1; i < COUNT; i++)
                    CHECK_INT(actors[i].runs, <, at[k]);
            }
}

/* The caller is told of the first failure, not of those that came of it. */
static void check_first_failure(void)
{
    oriel_stage stages[3];
    actor actors[3] = {{.items = 9},
                       {.fail_at = 1, .status = ORIEL_E_DEVICE},
                       {.fail_at = 1, .status = ORIEL_E_IO}};
    CHECK_INT(run(stages, actors, 3, 1, NULL), ==, ORIEL_E_DEVICE);
    CHECK_INT(actors[2].runs, ==, 0);
    actor both[2] = {{.items = 9, .fail_at = 2, .status = ORIEL_E_NOMEM, .slow = 3000},
                     {.fail_at = 1, .status = ORIEL_E_IO, .slow = 200000}};
    CHECK_INT(run(stages, both, 2, 1, NULL), ==, ORIEL_E_NOMEM);
    CHECK(!strcmp(oriel_error(), "item 2 broke"));
    CHECK_INT(both[1].runs, ==, 1);
}

/* A later stage has enough. */
static void check_enough(void)
{
    oriel_stage stages[3];
    actor actors[3] = {{.items = MOST}, {0}, {.fail_at = 5, .status = ORIEL_EOF}};
    CHECK_INT(run(stages, actors, 3, 2, NULL), ==, ORIEL_EOF);
    CHECK_INT(actors[0].runs, <, 5 + 4 + 3 + 1);
}

/* What the last stage leaves, and what the first leaves with the end, is dropped. */
static oriel_status pass_on(void *user, void **item)
{
    (void)item;
    ++*(int *)user;
    return ORIEL_OK;
}

static oriel_status one_too_many(void *user, void **item)
{
    int *made = user;
    *item = box_new(*made);
    return ++*made > 3 ? ORIEL_EOF : ORIEL_OK;
}

static void check_dropped(void)
{
    int made = 0, passed = 0;
    oriel_stage stages[2] = {{"make", one_too_many, &made, 0}, {"pass", pass_on, &passed, 0}};
    atomic_store(&dropped, 0);
    CHECK_OK(oriel_pipeline_run(stages, 2, drop, &dropped, NULL));
    CHECK_INT(passed, ==, 3);
    CHECK_INT(atomic_load(&dropped), ==, 4);
    CHECK_INT(atomic_load(&alive), ==, 0);
    oriel_stage_times times;
    made = 0;
    atomic_store(&dropped, 0);
    CHECK_OK(oriel_pipeline_run(stages, 1, drop, &dropped, &times)); /* alone: first and last */
    CHECK_INT(times.items, ==, 3);
    CHECK_INT(atomic_load(&dropped), ==, 4);
}

/* The first stage may pause: NULL without the end. */
static oriel_status every_other(void *user, void **item)
{
    int *n = user;
    if (++*n % 2)
        *item = box_new(*n);
    return *n < 20 ? ORIEL_OK : ORIEL_EOF;
}

static void check_pauses(void)
{
    int n = 0;
    actor last = {.sink = true};
    oriel_stage stages[2] = {{"make", every_other, &n, 0}, {"eat", act, &last, 0}};
    oriel_stage_times times[2];
    CHECK_OK(oriel_pipeline_run(stages, 2, NULL, NULL, times));
    CHECK_INT(last.runs, ==, 10);
    CHECK_INT(times[0].items, ==, 10);
    CHECK_INT(atomic_load(&alive), ==, 0);
}

static void check_arguments(void)
{
    actor a = {0};
    oriel_stage good = {"good", act, &a, 0}, bad[3] = {good, good, good}, many[STAGES + 1];
    for (int i = 0; i <= STAGES; i++)
        many[i] = good;
    CHECK_FAILS(oriel_pipeline_run(NULL, 2, drop, NULL, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_pipeline_run(&good, 0, drop, NULL, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_pipeline_run(many, STAGES + 1, drop, NULL, NULL), ORIEL_E_ARG);
    bad[1].run = NULL;
    CHECK_FAILS(oriel_pipeline_run(bad, 3, drop, NULL, NULL), ORIEL_E_ARG);
    bad[1] = good;
    bad[2].queue = 65;
    CHECK_FAILS(oriel_pipeline_run(bad, 3, drop, NULL, NULL), ORIEL_E_ARG);
    bad[2].queue = -1;
    CHECK_FAILS(oriel_pipeline_run(bad, 3, drop, NULL, NULL), ORIEL_E_ARG);
    CHECK_INT(a.runs, ==, 0);
}

/* No room for a thread's stack: those that began end, and nothing is lost. */
static void check_no_thread(void)
{
    pthread_attr_t usual, huge;
    oriel_stage stages[3];
    actor actors[3] = {{.items = 50}};
    bool can = !pthread_getattr_default_np(&usual) && !pthread_attr_init(&huge) &&
               !pthread_attr_setstacksize(&huge, (size_t)1 << 47) &&
               !pthread_setattr_default_np(&huge);
    if (!can) {
        SKIP("no default stack size here");
        return;
    }
    CHECK_INT(run(stages, actors, 3, 1, NULL), ==, ORIEL_E_DEVICE);
    CHECK(strstr(oriel_error(), "no thread for stage 1 of 3 (actor)") != NULL);
    CHECK_INT(pthread_setattr_default_np(&usual), ==, 0);
    CHECK_INT(actors[2].runs, ==, 0);
    CHECK_OK(run(stages, actors, 3, 1, NULL));
}

int main(void)
{
    caller = pthread_self();
    check_order();
    check_nothing();
    check_slow();
    check_places();
    check_swallow();
    check_failures();
    check_first_failure();
    check_enough();
    check_dropped();
    check_pauses();
    check_arguments();
    check_no_thread();
    return test_end();
}
