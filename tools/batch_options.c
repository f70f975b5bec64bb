/* SPDX-License-Identifier: Apache-2.0 */
/* What the batch commands take, and how they begin. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "find_model.h"
#include "kind.h"
#include "lanes.h"

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
                   "of outputs; auto: as OUT's name says, else PNG; of clips in\n"
                   "folders as the input, and y4m on stdout"),
        ARG_INT("compression", 0, &b->compression, "N", 1, 9,
                "of PNG, 1 is fast and 9 is small; default: 6, and 1 on a GPU, which\n"
                "would wait for 6"),
        ARG_FLAG("drop-metadata", 0, &b->drop_metadata,
                 "leave out the ICC profile, EXIF and gAMA of the input"),
        ARG_TEXT("key", 0, &b->key, "KEY",
                 "take this dictionary of the model's file, such as params_ema"),
        ARG_TEXT("device", 0, &b->device_text, "cpu|cuda[:N]",
                 "where the network runs: the CPU, or NVIDIA GPU number N (0)"),
        ARG_CHOICE("precision", 0, &b->precision, PRECISION_WORDS,
                   "of the network; auto: f32 on the CPU, bf16 on a GPU; bf16 is\n"
                   "faster where the CPU has it"),
        ARG_CHOICE("pad", 0, &b->pad, PAD_WORDS,
                   "how pictures reach a multiple of the window; symmetric is what\n"
                   "published figures were measured with"),
        ARG_INT("threads", 't', &b->threads, "N", 1, 1024, "default: all cores of this process"),
        ARG_INT("lanes", 0, &b->lanes, "N", 1, LANES_MOST,
                "networks that compute beside each other; default: 3 on a GPU, 1 on\n"
                "the CPU, where each has its part of the threads"),
        ARG_INT("tile", 0, &b->tile, "N", 1, 1 << 20,
                "cut inputs into tiles of N x N pixels, blended: less memory"),
        ARG_INT("overlap", 0, &b->overlap, "P", 0, 1 << 20,
                "pixels that tiles share; default: four windows of the model"),
        ARG_INT("memory", 0, &b->memory, "MIB", 1, 1 << 30,
                "refuse what takes more; default: what the machine has free"),
        ARG_INT("gpu-memory", 0, &b->gpu_memory, "MIB", 1, 1 << 30,
                "cut what takes more into tiles; default: what the GPU has free"),
        ARG_FLAG("dry-run", 'n', &b->dry_run,
                 "read the inputs, print what would be done, write nothing"),
        ARG_CHOICE("progress", 0, &b->progress, PROGRESS_WORDS,
                   "on stderr: a bar, JSON lines for programs; auto: a bar on a\nterminal"),
        ARG_TEXT("report", 0, &b->report, "FILE", "write what became of each file, as JSON"),
        ARG_FLAG("verbose", 'v', &b->verbose,
                 "tell the model, what each picture takes, and where a\n"
                 "clip's time went"),
        ARG_TEXT("codec", 0, &b->clip.codec, "NAME",
                 "clips: the encoder, as FFmpeg calls it; default: H.264 if there\nis one"),
        ARG_REAL("crf", 0, &b->clip.crf, "X", 0.01, 255,
                 "clips: constant quality, less is better; default: 17 for H.264"),
        ARG_TEXT("preset", 0, &b->clip.preset, "NAME", "clips: of the encoder, such as slow"),
        ARG_TEXT("pix-fmt", 0, &b->clip.pix_fmt, "FORMAT",
                 "clips: planes of the result, such as yuv420p10; default: the\ninput's"),
        ARG_FLAG("ffv1", 0, &b->clip.ffv1, "clips: without loss, in FFV1"),
        ARG_TEXT("from", 0, &b->clip.from_text, "TIME", "clips: begin here, 1:02:03.5 or seconds"),
        ARG_TEXT("to", 0, &b->clip.to_text, "TIME",
                 "clips: end before this, counted from the clip's\n"
                 "beginning"),
        ARG_TEXT("raw", 0, &b->clip.raw, "WxH:FORMAT:FPS",
                 "clips: IN is frames without any header, such as\n1920x1080:yuv420p:30000/1001"),
        ARG_TEXT("fps", 0, &b->clip.fps_text, "R",
                 "clips: pictures a second where pictures become a clip"),
        ARG_FLAG("no-audio", 0, &b->clip.no_audio, "clips: do not copy the audio"),
        ARG_FLAG("no-subtitles", 0, &b->clip.no_subtitles, "clips: do not copy the subtitles"),
        ARG_FLAG("resume", 0, &b->clip.resume,
                 "clips: go on where a run was stopped; leaves what is complete"),
    };
    int n = 0;
    for (; own->name; own++)
        table[n++] = *own;
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++)
        table[n++] = shared[i];
    table[n] = (arg_option)ARG_END;
}

/* "1:02:03.5", "2:03.5" or "123.5". */
static bool seconds_of(const char *text, double *seconds)
{
    double sum = 0;
    for (int field = 0; field < 3; field++) {
        char *end;
        double x = strtod(text, &end);
        if (end == text || !isfinite(x) || x < 0 || (field && x >= 60))
            return false;
        sum = 60 * sum + x;
        if (!*end) {
            *seconds = sum;
            return true;
        }
        if (*end != ':' || x != floor(x))
            return false;
        text = end + 1;
    }
    return false;
}

/* "24", "30000/1001"; of decimals those that mean n / 1001 are known: 23.976, 29.97. */
static bool rate_of(const char *text, int rate[2])
{
    char *end, last;
    if (sscanf(text, "%d/%d%c", &rate[0], &rate[1], &last) == 2)
        return rate[0] > 0 && rate[1] > 0;
    double x = strtod(text, &end), whole = ceil(x);
    if (end == text || *end || !(x > 0) || x > 1e5)
        return false;
    if (x != whole && fabs(whole * 1000 / 1001 - x) < 0.005) {
        rate[0] = (int)(whole * 1000);
        rate[1] = 1001;
    } else {
        rate[0] = (int)lrint(x * 1000);
        rate[1] = 1000;
    }
    return rate[0] > 0;
}

static int check_clip(const char *command, clip_options *c)
{
    if (c->from_text && !seconds_of(c->from_text, &c->from))
        return args_misused(command, "--from is a time such as 1:02:03.5 or 12.5, not '%s'",
                            c->from_text);
    if (c->to_text && (!seconds_of(c->to_text, &c->to) || c->to <= c->from))
        return args_misused(command,
                            "--to is a time after --from, such as 1:02:03.5 or 12.5, not '%s'",
                            c->to_text);
    if (c->fps_text && !rate_of(c->fps_text, c->rate))
        return args_misused(command, "--fps is a number such as 24, 23.976 or 30000/1001, not '%s'",
                            c->fps_text);
    if (c->ffv1 && c->codec)
        return args_misused(command, "--ffv1 and --codec exclude each other");
    if (c->ffv1 && c->crf > 0)
        return args_misused(command, "--ffv1 is without loss: it has no --crf");
    return ARGS_GO_ON;
}

bool batch_device(const char *text, oriel_device_kind *kind, int *gpu)
{
    char end;
    *kind = strcmp(text, "cpu") ? ORIEL_CUDA : ORIEL_CPU;
    *gpu = 0;
    return *kind == ORIEL_CPU || !strcmp(text, "cuda") ||
           (sscanf(text, "cuda:%d%c", gpu, &end) == 1 && *gpu >= 0);
}

int batch_check(const char *command, batch_options *b)
{
    char end;
    if (!b->out)
        return args_misused(command, "where to write? -o OUT");
    if (b->device_text && !batch_device(b->device_text, &b->device, &b->gpu))
        return args_misused(command, "--device is cpu, cuda or cuda:N, not '%s'", b->device_text);
    if (!b->compression)
        b->compression = b->device == ORIEL_CPU ? 6 : 1;
    if (b->gpu_memory && b->device == ORIEL_CPU)
        return args_misused(command, "--gpu-memory is of --device cuda");
    if (b->overlap >= 0 && !b->tile)
        return args_misused(command, "--overlap is of tiles: --tile is missing");
    if (b->tile && b->overlap >= b->tile)
        return args_misused(command, "--overlap %d is not less than --tile %d", b->overlap,
                            b->tile);
    if (b->shard_text && (sscanf(b->shard_text, "%d/%d%c", &b->shard, &b->shards, &end) != 2 ||
                          b->shard < 1 || b->shard > b->shards))
        return args_misused(command, "--shard is I/N with I from 1 to N, such as 1/4, not '%s'",
                            b->shard_text);
    return check_clip(command, &b->clip);
}

/* ---- formats ------------------------------------------------------------------------------ */

/* From the fourth word of FORMAT_WORDS on. */
static const struct {
    const char *container, *ending;
} containers[] = {
    {"y4m", ".y4m"},   {"raw", ".yuv"}, {"matroska", ".mkv"}, {"mp4", ".mp4"}, {"mov", ".mov"},
    {"webm", ".webm"}, {"avi", ".avi"}, {"mpegts", ".ts"},    {"nut", ".nut"},
};
enum { FIRST_CONTAINER = ORIEL_IMAGE_PNM + 1 };

oriel_image_format batch_image_format(const batch_options *b)
{
    return b->format < FIRST_CONTAINER ? (oriel_image_format)b->format : ORIEL_IMAGE_AUTO;
}

const char *batch_container(const batch_options *b)
{
    return b->format < FIRST_CONTAINER ? NULL : containers[b->format - FIRST_CONTAINER].container;
}

static const char *clip_ending(const batch_options *b)
{
    if (b->format >= FIRST_CONTAINER)
        return containers[b->format - FIRST_CONTAINER].ending;
    return b->clip.ffv1 ? ".mkv" : NULL;
}

/* What has no effect on these inputs is a misuse, not silence. */
static int check_kinds(const char *command, const inputs *in, const batch_options *b)
{
    const clip_options *c = &b->clip;
    const struct {
        bool said;
        const char *name;
    } of_clips[] = {
        {c->codec, "--codec"},
        {c->crf > 0, "--crf"},
        {c->preset, "--preset"},
        {c->pix_fmt, "--pix-fmt"},
        {c->ffv1, "--ffv1"},
        {c->from_text, "--from"},
        {c->to_text, "--to"},
        {c->raw, "--raw"},
        {c->fps_text, "--fps"},
        {c->no_audio, "--no-audio"},
        {c->no_subtitles, "--no-subtitles"},
        {c->resume, "--resume"},
    };
    for (size_t i = 0; i < sizeof of_clips / sizeof of_clips[0] && !in->clips; i++)
        if (of_clips[i].said)
            return args_misused(command, "%s is of clips, and here is none", of_clips[i].name);
    if (c->fps_text && !in->series)
        return args_misused(command, "--fps is of pictures that become a clip");
    if (in->series && !c->fps_text && !kind_is_numbered(b->out))
        return args_misused(command, "how many pictures a second? --fps, such as 24");
    if (in->series && (c->from_text || c->to_text || c->raw))
        return args_misused(command, "%s is of clips, and here are pictures",
                            c->from_text ? "--from"
                            : c->to_text ? "--to"
                                         : "--raw");
    return ARGS_GO_ON;
}

int batch_main(const char *command, char *const *operands, int count, const batch_options *b)
{
    inputs_options opt = {.out = b->out,
                          .format = batch_image_format(b),
                          .container = batch_container(b),
                          .ending = clip_ending(b),
                          .raw = b->clip.raw,
                          .resume = b->clip.resume,
                          .recursive = b->recursive,
                          .overwrite = b->overwrite,
                          .skip_existing = b->skip_existing,
                          .shard = b->shard,
                          .shards = b->shards};
    inputs in;
    lane_set *l = need(1, sizeof *l);
    trouble why = {""};
    char *path = NULL;
    int code = EXIT_MODEL;
    if (!inputs_collect(&in, operands, count, &opt, &why)) {
        code = args_misused(command, "%s", why.text);
        goto done;
    }
    if ((code = check_kinds(command, &in, b)) != ARGS_GO_ON)
        goto done;
    code = EXIT_MODEL;
    path = b->model ? find_model(b->model, &why) : find_upscaler(b->scale, &why);
    if (!path) {
        fprintf(stderr, "oriel: %s\n", why.text);
        goto done;
    }
    /* a clip goes through all lanes; what is said of pictures comes in their order */
    int useful = b->dry_run ? 1 : in.clips ? LANES_MOST : in.count;
    code = lanes_open(l, path, !strcmp(command, "upscale"), useful, b);
    if (code == ARGS_GO_ON)
        code = batch_run(&in, l, b);
done:
    lanes_close(l);
    free(l);
    inputs_free(&in);
    free(path);
    return code;
}
