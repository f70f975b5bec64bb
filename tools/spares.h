/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of results that are written, for those that come: of fresh memory the first touch of
 * every 4 KiB is a page fault, and there are 11,000 in a picture of 1280 x 720 enlarged by 4. */
#ifndef TOOLS_SPARES_H
#define TOOLS_SPARES_H

#include <oriel/vision.h>
#include <pthread.h>

enum { SPARES_MOST = 4 };

typedef struct spares {
    pthread_mutex_t lock;
    oriel_image image[SPARES_MOST]; /* without metadata; those without data are free places */
    int next;                       /* place to be taken where all are full */
} spares;

void spares_init(spares *s);
void spares_destroy(spares *s);
/* Keep the picture's memory, or free it; *img is then all zero. */
void spares_give(spares *s, oriel_image *img);
/* A picture of exactly this shape, without metadata and with any samples, if one is kept; else *img
 * is zero. */
void spares_take(spares *s, oriel_image *img, int width, int height, int channels, int depth);

#endif
