/* SPDX-License-Identifier: Apache-2.0 */
/* Who may compute when: pictures beside each other while their memory suffices, a clip alone. */
#ifndef TOOLS_TURNS_H
#define TOOLS_TURNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Bytes that a picture could take if no other were in work. */
typedef uint64_t turns_limit_fn(void *user);

typedef struct turns {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t promised; /* bytes of the pictures that are computed or wait to be written */
    int clips;         /* that are computed or wait for their turn */
    bool clip;         /* one is computed */
} turns;

void turns_init(turns *t);
void turns_destroy(turns *t);
/* Wait until a picture of `bytes` fits beside the others, or there is no other; then they are
 * promised to it. Returns the bytes that the others leave: a picture that takes more fits never. */
uint64_t turns_begin(turns *t, uint64_t bytes, turns_limit_fn *limit, void *user);
/* A picture takes `after` in place of `before` bytes from now on; 0: it has ended. */
void turns_change(turns *t, uint64_t before, uint64_t after);
/* Wait until no picture is in work, and no other clip. */
void turns_begin_clip(turns *t);
void turns_end_clip(turns *t);

#endif
