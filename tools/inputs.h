/* SPDX-License-Identifier: Apache-2.0 */
/* From operands to a list of files to read and files to write, all settled before any work. */
#ifndef TOOLS_INPUTS_H
#define TOOLS_INPUTS_H

#include <oriel/vision.h>

#include "tool.h"

typedef enum job_state { JOB_WAITING, JOB_DONE, JOB_SKIPPED, JOB_FAILED, JOB_STOPPED } job_state;

/* A list of names, each and the list to be freed. */
typedef struct names {
    char **list;
    int count;
} names;

typedef struct job {
    char *in, *out; /* "-" is a pipe; out may be the numbered name of pictures, "out/%06d.png" */
    char *stem;     /* out without its extension; used while names are settled */
    bool clip;      /* frames go through it, not one picture */
    names series;   /* pictures that are its frames; none: `in` is a clip */
    job_state state;
    char *error; /* of JOB_FAILED */
    /* filled by the run */
    bool computed;
    uint64_t promised; /* bytes of memory that it takes now (turns.h) */
    int width_in, height_in, width_out, height_out;
    double seconds; /* of computing */
    oriel_image source, result;
    int64_t frames, same; /* of a clip: written; of them, the same as the one before */
} job;

typedef struct inputs {
    job *list;
    int count, room;
    int clips;   /* jobs that are clips */
    int series;  /* and those of pictures that become one */
    int others;  /* files in folders that are neither pictures nor clips, left alone */
    int folders; /* folders inside folders, left out without -r */
    bool to_folder;
} inputs;

typedef struct inputs_options {
    const char *out;
    oriel_image_format format; /* of pictures. AUTO: as a file's name says, PNG in folders */
    const char *container;     /* of clips, as FFmpeg calls it; NULL: as a file's name says */
    const char *ending;        /* of clips in folders, ".mkv" say; NULL: as the input's */
    bool raw;                  /* inputs are clips without a header */
    bool recursive, overwrite, skip_existing, resume;
    int shard, shards; /* 1 <= shard <= shards; 0, 0: all */
} inputs_options;

/* Fill *in from the operands. False: nothing can be begun (misuse), and why. */
bool inputs_collect(inputs *in, char *const *operands, int count, const inputs_options *opt,
                    trouble *why);
void inputs_free(inputs *in);

/* The pictures in a folder, names sorted; -1 and why, else their number. Each and the list are to
 * be freed. */
int inputs_list(const char *folder, char ***list, trouble *why);

/* ---- lists of names (series.c) ------------------------------------------------------------ */

/* The operands, those that name no file but match some ("frames/[0-9]*.png") replaced by these. */
bool names_expand(names *n, char *const *operands, int count, trouble *why);
void names_add(names *n, const char *name);
void names_free(names *n);
/* The pictures that the operands name or, being folders, hold: numbers in names by their value. */
bool series_collect(names *series, const names *operands, trouble *why);
/* Where an unfinished clip lies: "out.part.mp4" of "out.mp4". To be freed. */
char *inputs_part(const char *out);
/* The name of picture `number` of a numbered name. To be freed. */
char *inputs_numbered(const char *out, int64_t number);

#endif
