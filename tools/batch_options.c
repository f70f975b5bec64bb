/* SPDX-License-Identifier: Apache-2.0 */
/* What the batch commands take, and how they begin. */
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "find_model.h"

batch_options batch_defaults(void)
{
    return (batch_options){.overlap = -1};
}

void batch_table(arg_option table[BATCH_MAX_OPTIONS], const arg_option *own, batch_options *b)
{
    const arg_option shared[] = {
        ARG_TEXT("output", 'o', &b->out, "OUT",
                 "the file to write, the folder to write into, or - for stdout"),
        ARG_FLAG("recursive", 'r', &b->recursive,
                 "take the folders inside folders too; OUT gets the same tree"),
        ARG_FLAG("force", 'f', &b->overwrite, "replace outputs that exist"),
        ARG_FLAG("skip-existing", 0, &b->skip_existing,
                 "leave inputs whose output exists: goes on where a run was stopped"),
        ARG_FLAG("fail-fast", 0, &b->fail_fast, "stop at the first file that fails"),
        ARG_TEXT("shard", 0, &b->shard_text, "I/N",
                 "the I-th of N equal parts of the files (I from 1 to N): one\n"
                 "part for each of N machines"),
        ARG_CHOICE("alpha", 0, &b->alpha, ALPHA_WORDS,
                   "how alpha goes: through the model (auto and model; auto keeps\n"
                   "an alpha that is the same everywhere), bicubic, or dropped"),
        ARG_CHOICE("depth", 0, &b->depth, DEPTH_WORDS, "bits a sample of the result"),
        ARG_CHOICE("format", 0, &b->format, FORMAT_WORDS,
                   "of outputs; auto: as OUT's name says, else PNG"),
        ARG_FLAG("drop-metadata", 0, &b->drop_metadata,
                 "leave out the ICC profile, EXIF and gAMA of the input"),
        ARG_TEXT("key", 0, &b->key, "KEY",
                 "take this dictionary of the model's file, such as params_ema"),
        ARG_CHOICE("precision", 0, &b->precision, PRECISION_WORDS,
                   "of the network; bf16 is faster where the CPU has it"),
        ARG_CHOICE("pad", 0, &b->pad, PAD_WORDS,
                   "how pictures reach a multiple of the window; symmetric is what\n"
                   "published figures were measured with"),
        ARG_INT("threads", 't', &b->threads, "N", 1, 1024, "default: all cores of this process"),
        ARG_INT("tile", 0, &b->tile, "N", 1, 1 << 20,
                "cut inputs into tiles of N x N pixels, blended: less memory"),
        ARG_INT("overlap", 0, &b->overlap, "P", 0, 1 << 20,
                "pixels that tiles share; default: four windows of the model"),
        ARG_INT("memory", 0, &b->memory, "MIB", 1, 1 << 30,
                "refuse pictures that take more; default: what the machine has\nfree"),
        ARG_FLAG("dry-run", 'n', &b->dry_run,
                 "read the inputs, print what would be done, write nothing"),
        ARG_CHOICE("progress", 0, &b->progress, PROGRESS_WORDS,
                   "on stderr: a bar, JSON lines for programs; auto: a bar on a\nterminal"),
        ARG_TEXT("report", 0, &b->report, "FILE", "write what became of each file, as JSON"),
        ARG_FLAG("verbose", 'v', &b->verbose, "tell the model and what each picture takes"),
    };
    int n = 0;
    for (; own->name; own++)
        table[n++] = *own;
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++)
        table[n++] = shared[i];
    table[n] = (arg_option)ARG_END;
}

int batch_check(const char *command, batch_options *b)
{
    char end;
    if (!b->out)
        return args_misused(command, "where to write? -o OUT");
    if (b->overlap >= 0 && !b->tile)
        return args_misused(command, "--overlap is of tiles: --tile is missing");
    if (b->tile && b->overlap >= b->tile)
        return args_misused(command, "--overlap %d is not less than --tile %d", b->overlap,
                            b->tile);
    if (b->shard_text && (sscanf(b->shard_text, "%d/%d%c", &b->shard, &b->shards, &end) != 2 ||
                          b->shard < 1 || b->shard > b->shards))
        return args_misused(command, "--shard is I/N with I from 1 to N, such as 1/4, not '%s'",
                            b->shard_text);
    return ARGS_GO_ON;
}

/* A network for the batch, of the given file; an upscaler enlarges, other networks do not. On
 * failure returns EXIT_MODEL and has told why, else ARGS_GO_ON. */
static int batch_open(oriel_device **device, network *n, const char *path, bool upscaler,
                      const batch_options *b)
{
    oriel_device_options device_options = {.threads = b->threads};
    oriel_model_options model_options = {(oriel_precision)b->precision, (oriel_pad)b->pad, b->key};
    trouble why = {""};
    *n = (network){.scale = b->scale,
                   .alpha = (alpha_mode)b->alpha,
                   .depth = (depth_mode)b->depth,
                   .tile = b->tile,
                   .overlap = b->overlap,
                   .drop_metadata = b->drop_metadata};
    if (oriel_device_open(device, &device_options) ||
        oriel_model_open(&n->model, *device, path, &model_options)) {
        trouble_of_file(&why, path);
        fprintf(stderr, "oriel: %s\n", why.text);
        return EXIT_MODEL;
    }
    n->device = *device;
    oriel_model_describe(n->model, &n->info);
    if (upscaler == (n->info.scale > 1))
        return ARGS_GO_ON;
    fprintf(stderr, "oriel: %s: %s, task %s, scale %d: 'oriel %s' is what runs it\n", path,
            n->info.architecture, n->info.task, n->info.scale, upscaler ? "restore" : "upscale");
    return EXIT_MODEL;
}

int batch_main(const char *command, char *const *operands, int count, const batch_options *b)
{
    inputs_options opt = {.out = b->out,
                          .format = (oriel_image_format)b->format,
                          .recursive = b->recursive,
                          .overwrite = b->overwrite,
                          .skip_existing = b->skip_existing,
                          .shard = b->shard,
                          .shards = b->shards};
    inputs in;
    network n = {0};
    oriel_device *device = NULL;
    trouble why = {""};
    char *path = NULL;
    int code = EXIT_MODEL;
    if (!inputs_collect(&in, operands, count, &opt, &why)) {
        code = args_misused(command, "%s", why.text);
        goto done;
    }
    path = b->model ? find_model(b->model, &why) : find_upscaler(b->scale, &why);
    if (!path) {
        fprintf(stderr, "oriel: %s\n", why.text);
        goto done;
    }
    code = batch_open(&device, &n, path, !strcmp(command, "upscale"), b);
    if (code == ARGS_GO_ON)
        code = batch_run(&in, &n, b);
done:
    oriel_model_free(&n.model);
    oriel_device_free(&device);
    inputs_free(&in);
    free(path);
    return code;
}
