/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fixed set of threads that share loops. Each begins with a share of its own, the same part of every
 * loop, so that what it wrote in one loop is in its cache in the next; then it takes from the shares
 * of others, so a slow core does less. Results do not depend on who took what, because loops are split
 * over outputs.
 * Between loops workers spin about a millisecond, then sleep: to wake a thread of a virtual machine
 * takes 50 to 300 us, and a network's loops follow one another. With more threads than cores they
 * sleep at once.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "core/internal.h"

enum { SPINS = 30000 /* of 15 to 50 ns */, MAX_THREADS = 1024 };

typedef struct worker {
    oriel_pool *pool;
    int         index;
    pthread_t   thread;
} worker;

typedef struct share { /* [next, end) is left; a cache line each */
    _Alignas(64) atomic_int_fast64_t next;
    int64_t end;
} share;

struct oriel_pool {
    int             threads; /* the caller's included */
    int             spins;
    worker         *workers; /* threads - 1 */
    share          *shares;  /* threads */
    int             started;
    pthread_mutex_t lock;
    pthread_cond_t  wake, done;
    atomic_uint     turn; /* loops begun; odd steps not used */
    atomic_bool     quit;
    atomic_int      running; /* workers that have not finished this loop */
    /* the loop */
    oriel_range_fn *fn;
    void           *arg;
    int64_t         grain;
};

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Some of a share: half of what is left, `most` at most, so that the last pieces are small. */
static bool take(share *s, int64_t most, int64_t *begin, int64_t *end)
{
    *begin = atomic_load_explicit(&s->next, memory_order_relaxed);
    do {
        if (*begin >= s->end)
            return false;
        *end = *begin + oriel_max(1, oriel_min(most, (s->end - *begin) / 2));
    } while (!atomic_compare_exchange_weak_explicit(&s->next, begin, *end, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static void work(oriel_pool *p, int index)
{
    int64_t begin, end;
    for (int i = 0; i < p->threads; i++)
        while (take(&p->shares[(index + i) % p->threads], p->grain, &begin, &end))
            p->fn(p->arg, begin, end, index);
}

static void *worker_main(void *arg)
{
    worker     *w = arg;
    oriel_pool *p = w->pool;
    unsigned    seen = 0;
    for (;;) {
        for (int i = 0; i < p->spins && atomic_load(&p->turn) == seen && !atomic_load(&p->quit); i++)
            relax();
        if (atomic_load(&p->turn) == seen) {
            pthread_mutex_lock(&p->lock);
            while (atomic_load(&p->turn) == seen && !atomic_load(&p->quit))
                pthread_cond_wait(&p->wake, &p->lock);
            pthread_mutex_unlock(&p->lock);
        }
        if (atomic_load(&p->quit))
            return NULL;
        seen = atomic_load(&p->turn);
        work(p, w->index);
        if (atomic_fetch_sub(&p->running, 1) == 1) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
}

static int usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

oriel_status oriel_pool_new(oriel_pool **out, int threads)
{
    *out = NULL;
    if (threads < 0 || threads > MAX_THREADS)
        return oriel_fail(ORIEL_E_ARG, "threads %d: not 0 to %d", threads, MAX_THREADS);
    if (threads == 0)
        threads = (int)oriel_min(usable_cores(), MAX_THREADS);
    oriel_pool *p = oriel_alloc_zero(1, sizeof *p);
    worker     *w = oriel_alloc_zero((size_t)threads, sizeof *w);
    share      *s = oriel_alloc_aligned((size_t)threads * sizeof *s);
    if (!p || !w || !s) {
        oriel_dealloc(p);
        oriel_dealloc(w);
        oriel_dealloc_aligned(s);
        return ORIEL_E_NOMEM;
    }
    p->threads = threads;
    p->spins = threads <= usable_cores() ? SPINS : 0;
    p->workers = w;
    p->shares = s;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    for (; p->started < threads - 1; p->started++) {
        w[p->started] = (worker){.pool = p, .index = p->started + 1};
        if (pthread_create(&w[p->started].thread, NULL, worker_main, &w[p->started])) {
            oriel_pool_free(&p);
            return oriel_fail(ORIEL_E_DEVICE, "could not start %d threads", threads);
        }
    }
    *out = p;
    return ORIEL_OK;
}

void oriel_pool_free(oriel_pool **pp)
{
    oriel_pool *p = *pp;
    if (!p)
        return;
    *pp = NULL;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->quit, true);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->started; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    pthread_cond_destroy(&p->done);
    oriel_dealloc(p->workers);
    oriel_dealloc_aligned(p->shares);
    oriel_dealloc(p);
}

int oriel_pool_threads(const oriel_pool *p)
{
    return p->threads;
}

int64_t oriel_pool_grain(const oriel_pool *p, int64_t n, int64_t most)
{
    enum { PIECES = 16 }; /* a thread: the last to finish is late by a sixteenth at most */
    return oriel_max(1, oriel_min(most, n / ((int64_t)p->threads * PIECES)));
}

void oriel_parallel_for(oriel_pool *p, int64_t n, int64_t grain, oriel_range_fn *fn, void *arg)
{
    assert(grain > 0);
    if (p->threads == 1 || n <= grain) {
        for (int64_t begin = 0; begin < n; begin += grain)
            fn(arg, begin, oriel_min(begin + grain, n), 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->grain = grain;
    for (int i = 0; i < p->threads; i++) {
        p->shares[i].end = n * (i + 1) / p->threads;
        atomic_store_explicit(&p->shares[i].next, n * i / p->threads, memory_order_relaxed);
    }
    atomic_store(&p->running, p->threads - 1);
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->turn, 1);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    work(p, 0);
    for (int i = 0; i < p->spins && atomic_load(&p->running); i++)
        relax();
    if (atomic_load(&p->running)) {
        pthread_mutex_lock(&p->lock);
        while (atomic_load(&p->running))
            pthread_cond_wait(&p->done, &p->lock);
        pthread_mutex_unlock(&p->lock);
    }
}
