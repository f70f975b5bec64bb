/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes: the same network several times, each on a device of its own, for threads that compute
 * beside each other. On one GPU the copies and conversions of one lane hide behind the kernels of
 * another; on CPUs each lane has its part of the threads. */
#ifndef TOOLS_LANES_H
#define TOOLS_LANES_H

#include "batch.h"

typedef struct lane {
    network net;
    device_room room[2];
    _Atomic uint64_t held; /* bytes of the host that the model keeps between runs */
} lane;

struct lane_set {
    lane list[LANES_MOST];
    int count;
};

/* Open as many lanes as the options say, but no more than `useful`, with the network of the given
 * file; an upscaler enlarges, other networks do not. Fewer where the device's memory is short. On
 * failure returns EXIT_MODEL and has told why, else ARGS_GO_ON. Close them in both cases. */
int lanes_open(lane_set *l, const char *path, bool upscaler, int useful, const batch_options *b);
void lanes_close(lane_set *l);

/* The cores that the process may use. */
int cores_all(void);

#endif
