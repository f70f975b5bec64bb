/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steady runs on a device that records (core/device.h): the first run on these tensors and this arena is made call
 * by call, the second is recorded and played, the others are played. A few rows are kept; the one that was used
 * longest ago goes. What cannot be recorded is not tried again.
 */
#ifndef MODELS_REPLAY_H
#define MODELS_REPLAY_H

#include "core/device.h"

enum { REPLAY_ROWS = 4 };

typedef struct replay_key { /* what a recorded run has baked in */
    const void *in, *out, *arena;
    int64_t     shape[4]; /* of the input */
} replay_key;

typedef struct replay_row {
    replay_key    key;
    device_graph *graph;
    bool          seen, refused; /* has run; cannot be recorded */
    uint64_t      turn;          /* of its last use; 0: empty */
} replay_row;

typedef struct replay {
    replay_row row[REPLAY_ROWS];
    uint64_t   turn;
} replay;

/* The row of this key, made empty for it if there is none. A graph in it can be played. */
replay_row *replay_find(replay *p, oriel_device *d, const replay_key *key);
void        replay_clear(replay *p, oriel_device *d);

#endif
