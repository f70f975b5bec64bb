/* SPDX-License-Identifier: Apache-2.0 */
/* A clip through a network: read | prepare | compute | convert | write, each on a thread. */
#ifndef TOOLS_CLIP_H
#define TOOLS_CLIP_H

#include "batch.h"

typedef enum clip_end { CLIP_DONE, CLIP_STOPPED, CLIP_FAILED } clip_end;

/* Run the job, or with --dry-run say what it would be. What there is to tell goes to p. *held:
 * bytes that the model keeps between runs. */
clip_end clip_run(job *j, const network *n, const batch_options *b, progress *p, memory_limit limit,
                  uint64_t *held, trouble *why);

#endif
