/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures by the thousand, and clips, through one network: what upscale and restore share. */
#ifndef TOOLS_BATCH_H
#define TOOLS_BATCH_H

#include "args.h"
#include "inputs.h"
#include "picture.h"
#include "progress.h"

#define PRECISION_WORDS "auto|f32|bf16|f16" /* auto: f32 on CPUs, bf16 on GPUs */
#define PAD_WORDS       "reflect|symmetric"
#define FORMAT_WORDS    "auto|png|pnm|y4m|raw|matroska|mp4|mov|webm|avi|mpegts|nut"

/* What is said of clips alone. */
typedef struct clip_options {
    const char *codec, *preset, *pix_fmt, *raw;
    const char *from_text, *to_text, *fps_text;
    double crf; /* 0: the library's */
    bool ffv1, no_audio, no_subtitles, resume;
    double from, to; /* seconds; to 0: the end */
    int rate[2];     /* of pictures that become a clip; 0, 0: not said */
} clip_options;

typedef struct batch_options {
    const char *out, *model, *key, *report, *shard_text, *device_text;
    double scale; /* 0: the model's */
    oriel_device_kind device;
    int gpu;                                            /* its number */
    int threads, tile, overlap, memory;                 /* MiB; 0: what the machine has free */
    int lanes;                                          /* 0: as the device likes */
    int gpu_memory;                                     /* MiB; 0: what the GPU has free */
    int compression;                                    /* of PNG, 1 to 9; 0 until batch_check() */
    int precision, pad, alpha, depth, format, progress; /* indices of the words */
    bool recursive, skip_existing, overwrite, drop_metadata, fail_fast, dry_run, verbose;
    int shard, shards;
    clip_options clip;
} batch_options;

enum { BATCH_MAX_OPTIONS = 48 };

/* The defaults that are not zero. */
batch_options batch_defaults(void);
/* Fill `table`: the command's own options (ended by ARG_END), then those that all batches have. */
void batch_table(arg_option table[BATCH_MAX_OPTIONS], const arg_option *own, batch_options *b);
/* Check what args_parse() cannot. Returns ARGS_GO_ON or an exit code. */
int batch_check(const char *command, batch_options *b);

/* "cpu", "cuda", "cuda:1". */
bool batch_device(const char *text, oriel_device_kind *kind, int *gpu);

/* --format, of pictures and of clips; AUTO and NULL: as a file's name says. */
oriel_image_format batch_image_format(const batch_options *b);
const char *batch_container(const batch_options *b);

enum { LANES_MOST = PROGRESS_LANES };
typedef struct lane_set lane_set; /* lanes.h */

/* Read, compute and write all files; or say what that would take (--dry-run). Returns the exit
 * code. */
int batch_run(inputs *in, lane_set *l, const batch_options *b);

/* The rest of a command after its options: operands to files, the model, the run. Without a model
 * named, that for the scale. */
int batch_main(const char *command, char *const *operands, int count, const batch_options *b);

/* Write what became of each file as JSON. */
bool report_write(const inputs *in, const network *n, const batch_options *b, trouble *why);

#endif
