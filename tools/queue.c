/* SPDX-License-Identifier: Apache-2.0 */
#include "queue.h"

#include <assert.h>

void queue_init(queue *q, int limit)
{
    assert(limit >= 1 && limit <= QUEUE_MOST);
    *q = (queue){.limit = limit};
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
}

void queue_destroy(queue *q)
{
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->lock);
}

bool queue_push(queue *q, void *item)
{
    pthread_mutex_lock(&q->lock);
    while (q->count == q->limit && !q->closed)
        pthread_cond_wait(&q->changed, &q->lock);
    bool open = !q->closed;
    if (open) {
        q->item[(q->first + q->count++) % QUEUE_MOST] = item;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return open;
}

void *queue_pop(queue *q)
{
    void *item = NULL;
    pthread_mutex_lock(&q->lock);
    while (!q->count && !q->closed)
        pthread_cond_wait(&q->changed, &q->lock);
    if (q->count) {
        item = q->item[q->first];
        q->first = (q->first + 1) % QUEUE_MOST;
        q->count--;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return item;
}

void queue_close(queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}
