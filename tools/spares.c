/* SPDX-License-Identifier: Apache-2.0 */
#include "spares.h"

void spares_init(spares *s)
{
    *s = (spares){0};
    pthread_mutex_init(&s->lock, NULL);
}

void spares_destroy(spares *s)
{
    for (int i = 0; i < SPARES_MOST; i++)
        oriel_image_free(&s->image[i]);
    pthread_mutex_destroy(&s->lock);
}

void spares_give(spares *s, oriel_image *img)
{
    oriel_image bare = {.width = img->width,
                        .height = img->height,
                        .channels = img->channels,
                        .depth = img->depth,
                        .data = img->data};
    img->data = NULL;
    oriel_image_free(img); /* what is beside the pixels */
    pthread_mutex_lock(&s->lock);
    int place = s->next;
    for (int i = 0; i < SPARES_MOST; i++)
        if (!s->image[i].data)
            place = i;
    oriel_image old = s->image[place]; /* sizes change: the oldest goes */
    s->image[place] = bare;
    s->next = (place + 1) % SPARES_MOST;
    pthread_mutex_unlock(&s->lock);
    oriel_image_free(&old);
}

void spares_take(spares *s, oriel_image *img, int width, int height, int channels, int depth)
{
    *img = (oriel_image){0};
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < SPARES_MOST && !img->data; i++) {
        oriel_image *o = &s->image[i];
        if (o->data && o->width == width && o->height == height && o->channels == channels &&
            o->depth == depth) {
            *img = *o;
            *o = (oriel_image){0};
        }
    }
    pthread_mutex_unlock(&s->lock);
}
