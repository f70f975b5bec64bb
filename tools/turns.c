/* SPDX-License-Identifier: Apache-2.0 */
#include "turns.h"

void turns_init(turns *t)
{
    *t = (turns){0};
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
}

void turns_destroy(turns *t)
{
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
}

/* What the others were promised and have taken already is counted twice where the limit is what the
 * machine has free: then a picture waits that would have fitted, and none is begun that does not.
 */
uint64_t turns_begin(turns *t, uint64_t bytes, turns_limit_fn *limit, void *user)
{
    uint64_t all, left;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        all = limit(user);
        left = all > t->promised ? all - t->promised : 0;
        if (!t->clips && (!t->promised || bytes <= left))
            break;
        pthread_cond_wait(&t->changed, &t->lock);
    }
    t->promised += bytes;
    pthread_mutex_unlock(&t->lock);
    return left;
}

void turns_change(turns *t, uint64_t before, uint64_t after)
{
    pthread_mutex_lock(&t->lock);
    t->promised += after - before;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

void turns_begin_clip(turns *t)
{
    pthread_mutex_lock(&t->lock);
    t->clips++; /* no picture begins from now on */
    while (t->clip || t->promised)
        pthread_cond_wait(&t->changed, &t->lock);
    t->clip = true;
    pthread_mutex_unlock(&t->lock);
}

void turns_end_clip(turns *t)
{
    pthread_mutex_lock(&t->lock);
    t->clip = false;
    t->clips--;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}
