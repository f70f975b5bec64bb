/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded queue between threads. */
#ifndef TOOLS_QUEUE_H
#define TOOLS_QUEUE_H

#include <pthread.h>
#include <stdbool.h>

enum { QUEUE_MOST = 8 };

typedef struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void *item[QUEUE_MOST];
    int first, count, limit;
    bool closed;
} queue;

void queue_init(queue *q, int limit); /* 1 to QUEUE_MOST items */
void queue_destroy(queue *q);
/* Waits for room. False: the queue is closed and the item still the caller's. */
bool queue_push(queue *q, void *item);
/* Waits for an item; NULL when the queue is closed and empty. */
void *queue_pop(queue *q);
/* No more items come in; those inside can still be taken. */
void queue_close(queue *q);

#endif
