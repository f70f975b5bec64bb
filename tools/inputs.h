/* SPDX-License-Identifier: Apache-2.0 */
/* From operands to a list of files to read and files to write, all settled before any work. */
#ifndef TOOLS_INPUTS_H
#define TOOLS_INPUTS_H

#include <oriel/vision.h>

#include "tool.h"

typedef enum job_state { JOB_WAITING, JOB_DONE, JOB_SKIPPED, JOB_FAILED, JOB_STOPPED } job_state;

typedef struct job {
    char *in, *out; /* "-" is a pipe */
    char *stem;     /* out without its extension; used while names are settled */
    job_state state;
    char *error; /* of JOB_FAILED */
    /* filled by the run */
    bool computed;
    int width_in, height_in, width_out, height_out;
    double seconds; /* of computing */
    oriel_image source, result;
} job;

typedef struct inputs {
    job *list;
    int count, room;
    int others;  /* files in folders that are no pictures, left alone */
    int folders; /* folders inside folders, left out without -r */
    bool to_folder;
} inputs;

typedef struct inputs_options {
    const char *out;
    oriel_image_format format; /* AUTO: as a file's name says, PNG in folders */
    bool recursive, overwrite, skip_existing;
    int shard, shards; /* 1 <= shard <= shards; 0, 0: all */
} inputs_options;

/* Fill *in from the operands. False: nothing can be begun (misuse), and why. */
bool inputs_collect(inputs *in, char *const *operands, int count, const inputs_options *opt,
                    trouble *why);
void inputs_free(inputs *in);

/* The pictures in a folder, names sorted; -1 and why, else their number. Each and the list are to
 * be freed. */
int inputs_list(const char *folder, char ***names, trouble *why);

#endif
