/* SPDX-License-Identifier: Apache-2.0 */
/* A clip through a network: read | prepare | compute | convert | write, each on a thread; compute
 * once a lane. */
#ifndef TOOLS_CLIP_H
#define TOOLS_CLIP_H

#include "batch.h"

typedef enum clip_end { CLIP_DONE, CLIP_STOPPED, CLIP_FAILED } clip_end;

/* Run the job, or with --dry-run say what it would be. What there is to tell goes to p. */
clip_end clip_run(job *j, lane_set *l, const batch_options *b, progress *p, memory_limit limit,
                  trouble *why);

#endif
