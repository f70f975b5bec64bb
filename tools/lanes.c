/* SPDX-License-Identifier: Apache-2.0 */
#include "lanes.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

int cores_all(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

static oriel_precision precision_of(const batch_options *b)
{
    if (b->precision)
        return (oriel_precision)(b->precision - 1); /* the words are auto, then the library's */
    return b->device == ORIEL_CUDA ? ORIEL_PRECISION_BF16 : ORIEL_PRECISION_F32;
}

static oriel_status lane_open(lane *l, const char *path, int lanes, const batch_options *b)
{
    bool gpu = b->device == ORIEL_CUDA;
    int threads = b->threads; /* 0 means all */
    if (lanes > 1)
        threads = (threads ? threads : cores_all()) / lanes;
    if (lanes > 1 && !threads)
        threads = 1;
    oriel_device_options device = {b->device, gpu ? 0 : threads, b->gpu};
    oriel_model_options model = {precision_of(b), (oriel_pad)b->pad, b->key};
    trouble why = {""};
    *l = (lane){.net = {.gpu = gpu,
                        .room = l->room,
                        .scale = b->scale,
                        .alpha = (alpha_mode)b->alpha,
                        .depth = (depth_mode)b->depth,
                        .tile = b->tile,
                        .overlap = b->overlap,
                        .drop_metadata = b->drop_metadata}};
    oriel_status s = oriel_device_open(&l->net.device, &device);
    if (s)
        return s;
    if ((s = oriel_model_open(&l->net.model, l->net.device, path, &model))) {
        trouble_of_file(&why, path);
        return oriel_fail(s, "%s", why.text);
    }
    oriel_model_describe(l->net.model, &l->net.info);
    return ORIEL_OK;
}

static void lane_close(lane *l)
{
    for (int i = 0; i < 2; i++)
        oriel_memory_free(l->net.device, &l->room[i].data);
    oriel_model_free(&l->net.model);
    oriel_device_free(&l->net.device);
}

/* The GPU's free memory in equal parts, less what its libraries take when they are first called. */
static bool share_memory(lane_set *l, const batch_options *b)
{
    enum { LITTLE = 256 << 20 };
    size_t free_bytes, all;
    if (oriel_memory_info(l->list[0].net.device, &free_bytes, &all))
        return false;
    size_t margin = free_bytes / 8 > LITTLE ? free_bytes / 8 : LITTLE;
    free_bytes -= margin < free_bytes ? margin : free_bytes;
    if (b->gpu_memory && (uint64_t)b->gpu_memory << 20 < free_bytes)
        free_bytes = (size_t)b->gpu_memory << 20;
    for (int i = 0; i < l->count; i++)
        l->list[i].net.gpu_bytes = free_bytes / (size_t)l->count;
    return true;
}

/* Whether a GPU has no room for several of everything. */
static bool memory_is_short(const lane *l)
{
    size_t free_bytes, all;
    return oriel_memory_info(l->net.device, &free_bytes, &all) || free_bytes >> 32 == 0;
}

int lanes_open(lane_set *l, const char *path, bool upscaler, int useful, const batch_options *b)
{
    bool gpu = b->device == ORIEL_CUDA;
    int count = b->lanes ? b->lanes : gpu ? 3 : 1;
    const oriel_model_info *info = &l->list[0].net.info;
    oriel_status s = ORIEL_OK;
    count = count < useful ? count : useful;
    for (l->count = 0; !s && l->count < count; l->count++) {
        if (l->count == 1 && gpu && !b->lanes && memory_is_short(&l->list[0]))
            break;
        if ((s = lane_open(&l->list[l->count], path, count, b)))
            lane_close(&l->list[l->count]);
    }
    l->count -= s != ORIEL_OK;
    if ((s && (s != ORIEL_E_NOMEM || !l->count)) || (gpu && !share_memory(l, b))) {
        fprintf(stderr, "oriel: %s\n", oriel_error());
        return EXIT_MODEL;
    }
    if (upscaler == (info->scale > 1))
        return ARGS_GO_ON;
    fprintf(stderr, "oriel: %s: %s, task %s, scale %d: 'oriel %s' is what runs it\n", path,
            info->architecture, info->task, info->scale, upscaler ? "restore" : "upscale");
    return EXIT_MODEL;
}

void lanes_close(lane_set *l)
{
    for (int i = 0; i < l->count; i++)
        lane_close(&l->list[i]);
    l->count = 0;
}
